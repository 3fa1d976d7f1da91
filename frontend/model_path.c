#include "frontend/model_path.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cjson/cJSON.h>

#include "frontend/text/unicode.h"
#include "runtime/base/text.h"

enum { LISTED = 8 }; /* files that a message names */

bool rlx_path_ends(const char *path, const char *end)
{
    size_t n = strlen(path), k = strlen(end);
    return n > k && !strcmp(path + n - k, end);
}

char *rlx_path_join(const char *dir, const char *file)
{
    rlx_text t = {0};
    size_t n = strlen(dir);
    rlx_text_putf(&t, "%s%s%s", dir, n && dir[n - 1] == '/' ? "" : "/", file);
    return rlx_text_take(&t);
}

rlx_status rlx_path_find(const char *dir, const char *file, char **path)
{
    *path = rlx_path_join(dir, file);
    if (!*path)
        return RLX_OOM();
    if (access(*path, F_OK)) {
        free(*path);
        *path = NULL;
    }
    return RLX_OK;
}

static rlx_status parse_object(const char *path, const char *text, size_t bytes, cJSON **json)
{
    const char *end = text;
    const size_t valid = rlx_utf8_valid(text, bytes); /* cJSON does not look */
    if (valid < bytes)
        return RLX_FAIL(RLX_INVALID_FILE, "%s: not UTF-8 at byte %zu", path, valid);
    *json = cJSON_ParseWithLengthOpts(text, bytes + 1, &end, true); /* a NUL is behind the text */
    rlx_status st = RLX_OK;
    if (!*json || end != text + bytes)
        st = RLX_FAIL(RLX_INVALID_FILE, "%s: not JSON at byte %td", path, end - text);
    else if (!cJSON_IsObject(*json))
        st = RLX_FAIL(RLX_INVALID_FILE, "%s: no JSON object", path);
    if (st) {
        cJSON_Delete(*json);
        *json = NULL;
    }
    return st;
}

rlx_status rlx_path_read_json(const char *dir, const char *file, cJSON **json)
{
    char *path, *text;
    size_t bytes;
    *json = NULL;
    RLX_TRY(rlx_path_find(dir, file, &path));
    if (!path)
        return RLX_OK;
    rlx_status st = rlx_file_read(path, &text, &bytes);
    if (!st) {
        st = parse_object(path, text, bytes, json);
        free(text);
    }
    free(path);
    return st;
}

static bool is_weights(const char *name)
{
    return rlx_path_ends(name, ".gguf") || rlx_path_ends(name, ".safetensors") ||
           rlx_path_ends(name, ".safetensors.index.json");
}

rlx_status rlx_model_path_init(const char *given, rlx_model_path *out)
{
    struct stat info;
    *out = (rlx_model_path){.given = given};
    if (stat(given, &info))
        return errno == ENOENT
                   ? RLX_FAIL(RLX_NOT_FOUND, "there is no file or directory '%s'", given)
                   : RLX_FAIL(RLX_IO, "'%s': %s", given, strerror(errno));
    out->named = !S_ISDIR(info.st_mode);
    if (out->named && !is_weights(given))
        return RLX_FAIL(RLX_INVALID_ARGUMENT,
                        "'%s' is no model: a directory, a .gguf file, or a .safetensors file or "
                        ".safetensors.index.json",
                        given);
    out->gguf = out->named && rlx_path_ends(given, ".gguf");
    const char *slash = out->named ? strrchr(given, '/') : NULL;
    out->dir =
        slash ? strndup(given, (size_t)(slash - given) + 1) : strdup(out->named ? "." : given);
    return out->dir ? RLX_OK : RLX_OOM();
}

void rlx_model_path_deinit(rlx_model_path *p)
{
    free(p->dir);
}

static int may_be_meant(const struct dirent *d)
{
    return is_weights(d->d_name);
}

/* There are no weights of the usual names: which could have been meant? */
static rlx_status refuse_directory(const char *dir, const char *const names[2])
{
    struct dirent **list;
    rlx_text found = {0};
    int n = scandir(dir, &list, may_be_meant, alphasort);
    for (int i = 0; i < n; i++) {
        if (i < LISTED)
            rlx_text_putf(&found, "%s%s",
                          i ? ", " : "; name one of its files as the model: ", list[i]->d_name);
        free(list[i]);
    }
    if (n >= 0)
        free(list);
    rlx_status st = RLX_FAIL(RLX_NOT_FOUND, "%s has neither %s nor %s%s%s", dir, names[0], names[1],
                             found.data ? found.data : "", n > LISTED ? ", ..." : "");
    rlx_text_deinit(&found);
    return st;
}

rlx_status rlx_model_path_add_weights(const rlx_model_path *p, rlx_weights *w)
{
    static const char *const names[] = {"model.safetensors", "model.safetensors.index.json"};
    if (p->gguf)
        return rlx_weights_add_gguf(w, p->given);
    if (p->named)
        return rlx_weights_add_safetensors(w, p->given);
    for (int i = 0; i < 2; i++) {
        char *path;
        RLX_TRY(rlx_path_find(p->dir, names[i], &path));
        if (!path)
            continue;
        rlx_status st = rlx_weights_add_safetensors(w, path);
        free(path);
        return st;
    }
    return refuse_directory(p->dir, names);
}
