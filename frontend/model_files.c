/* frontend/model_files.c: what MODEL may be, and everything that is read of it.
 *
 *   DIR                        config.json, model.safetensors[.index.json], generation_config.json,
 *                              tokenizer.json or tokenizer.model (with tokenizer_config.json)
 *   DIR/NAME.safetensors       the same, with these weights; .safetensors.index.json likewise
 *   NAME.gguf                  all in one file, or in parts NAME-00001-of-00003.gguf, any of them
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cjson/cJSON.h>

#include "frontend/model.h"
#include "runtime/gguf.h"

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), k = strlen(end);
    return n > k && !strcmp(s + n - k, end);
}

/* `file` in `dir`; NULL when out of memory. */
static char *join(const char *dir, const char *file)
{
    rlx_text t = {0};
    size_t n = strlen(dir);
    rlx_text_putf(&t, "%s%s%s", dir, n && dir[n - 1] == '/' ? "" : "/", file);
    return rlx_text_take(&t);
}

/* *path: of a file in `dir`, to be freed; NULL when it is not there. */
static rlx_status find_file(const char *dir, const char *file, char **path)
{
    *path = join(dir, file);
    if (!*path)
        return RLX_OOM();
    if (access(*path, F_OK)) {
        free(*path);
        *path = NULL;
    }
    return RLX_OK;
}

static rlx_status read_json(const char *path, cJSON **out)
{
    char *text;
    size_t bytes;
    RLX_TRY(rlx_file_read(path, &text, &bytes));
    const char *end = text;
    *out = cJSON_ParseWithOpts(text, &end, true);
    rlx_status st =
        *out ? RLX_OK : RLX_FAIL(RLX_INVALID_FILE, "%s: not JSON at byte %td", path, end - text);
    free(text);
    return st;
}

/* The JSON of a file that need not be there: then *out is NULL. */
static rlx_status read_optional_json(const char *dir, const char *file, cJSON **out)
{
    char *path;
    *out = NULL;
    RLX_TRY(find_file(dir, file, &path));
    rlx_status st = path ? read_json(path, out) : RLX_OK;
    free(path);
    return st;
}

static rlx_status find_family(const cJSON *config, const char *path, const rlx_family **out)
{
    const char *type = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(config, "model_type"));
    if (!type)
        return RLX_FAIL(RLX_INVALID_FILE, "%s has no \"model_type\"", path);
    *out = rlx_family_find(type);
    if (*out)
        return RLX_OK;
    rlx_text known = {0};
    for (int i = 0; i < rlx_family_count(); i++)
        rlx_text_putf(&known, "%s%s", i ? ", " : "", rlx_family_at(i)->model_type);
    rlx_status st = RLX_FAIL(RLX_UNSUPPORTED, "%s: no family \"%s\"; there are: %s", path, type,
                             known.data ? known.data : "");
    rlx_text_deinit(&known);
    return st;
}

/* A model whose tokenizer is not offered still runs on ids: the story is told when text is asked
 * for. A broken one fails the model. */
static rlx_status keep_tokenizer_error(rlx_model *m, rlx_status st)
{
    if (rlx_status_code(st) != RLX_UNSUPPORTED)
        return st;
    m->tokenizer_error = rlx_status_text(st);
    rlx_status_free(st);
    return m->tokenizer_error ? RLX_OK : RLX_OOM();
}

/* ---- directories */

/* The file that was named, or model.safetensors, or the shards that its index names. */
static rlx_status add_weights(const char *dir, const char *named, rlx_weights *w)
{
    static const char *const names[] = {"model.safetensors", "model.safetensors.index.json"};
    if (named)
        return rlx_weights_add_safetensors(w, named);
    for (int i = 0; i < 2; i++) {
        char *path;
        RLX_TRY(find_file(dir, names[i], &path));
        if (!path)
            continue;
        rlx_status st = rlx_weights_add_safetensors(w, path);
        free(path);
        return st;
    }
    return RLX_FAIL(RLX_NOT_FOUND, "%s has neither %s nor %s", dir, names[0], names[1]);
}

static rlx_status get_flag(const cJSON *json, const char *file, const char *key, bool absent,
                           bool *out)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(json, key);
    *out = v && !cJSON_IsNull(v) ? cJSON_IsTrue(v) : absent;
    return !v || cJSON_IsBool(v) || cJSON_IsNull(v)
               ? RLX_OK
               : RLX_FAIL(RLX_INVALID_FILE, "%s: %s is not true or false", file, key);
}

/* Of tokenizer_config.json, which stands beside a tokenizer.model: does it add to the model, or
 * have it used in another way? */
static rlx_status check_tokenizer_config(const cJSON *json, int64_t count)
{
    static const char file[] = "tokenizer_config.json";
    bool legacy, prefix;
    RLX_TRY(get_flag(json, file, "legacy", true, &legacy));
    RLX_TRY(get_flag(json, file, "add_prefix_space", true, &prefix));
    if (!legacy || !prefix)
        return RLX_FAIL(RLX_UNSUPPORTED, "%s: %s false is not offered without a tokenizer.json",
                        file, legacy ? "add_prefix_space" : "legacy");
    const cJSON *v, *added = cJSON_GetObjectItemCaseSensitive(json, "added_tokens_decoder");
    cJSON_ArrayForEach(v, added)
    {
        if (strtoll(v->string, NULL, 10) >= count)
            return RLX_FAIL(RLX_UNSUPPORTED,
                            "%s: token %s of added_tokens_decoder, behind the %lld of "
                            "tokenizer.model, is not offered without a tokenizer.json",
                            file, v->string, (long long)count);
    }
    return RLX_OK;
}

static rlx_status read_sentencepiece(const char *dir, const char *path, rlx_tokenizer **out)
{
    cJSON *json;
    rlx_tokenizer_ends ends;
    rlx_status st;
    RLX_TRY(read_optional_json(dir, "tokenizer_config.json", &json));
    RLX_TRY_TO(done, get_flag(json, "tokenizer_config.json", "add_bos_token", true, &ends.bos));
    RLX_TRY_TO(done, get_flag(json, "tokenizer_config.json", "add_eos_token", false, &ends.eos));
    RLX_TRY_TO(done, rlx_tokenizer_load_sentencepiece(path, &ends, out));
    st = check_tokenizer_config(json, rlx_tokenizer_count(*out));
    if (st) {
        rlx_tokenizer_destroy(*out);
        *out = NULL;
    }
done:
    cJSON_Delete(json);
    return st;
}

static rlx_status read_tokenizer(rlx_model *m, const char *dir)
{
    char *path;
    RLX_TRY(find_file(dir, "tokenizer.json", &path));
    if (path) {
        rlx_status st = rlx_tokenizer_load(path, &m->tokenizer);
        free(path);
        return st;
    }
    RLX_TRY(find_file(dir, "tokenizer.model", &path));
    rlx_status st = path ? read_sentencepiece(dir, path, &m->tokenizer) : RLX_OK;
    free(path);
    return st;
}

/* `named`: the weights, when the model was given by them; NULL: those of the directory. */
static rlx_status read_directory(const rlx_context *cx, rlx_model *m, const char *dir,
                                 const char *named)
{
    char *path = join(dir, "config.json");
    if (!path)
        return RLX_OOM();
    cJSON *config = NULL, *generation = NULL;
    const rlx_family *family;
    rlx_status st;
    RLX_TRY_TO(done, read_json(path, &config));
    RLX_TRY_TO(done, find_family(config, path, &family));
    RLX_TRY_TO(done, rlx_weights_create(&m->weights));
    RLX_TRY_TO(done, add_weights(dir, named, m->weights));
    RLX_TRY_TO(done, family->build(config, m->weights, &m->flow, &m->config));
    RLX_TRY_TO(done, keep_tokenizer_error(m, read_tokenizer(m, dir)));
    RLX_TRY_TO(done, read_optional_json(dir, "generation_config.json", &generation));
    RLX_TRY_TO(done, rlx_model_read_generation(cx, m, generation));
done:
    cJSON_Delete(generation);
    cJSON_Delete(config);
    free(path);
    return st;
}

/* ---- GGUF */

static rlx_status read_gguf(const rlx_context *cx, rlx_model *m)
{
    rlx_gguf **parts, *first;
    int n;
    cJSON *config = NULL;
    const rlx_family *family;
    rlx_status st;
    RLX_TRY(rlx_gguf_open_parts(m->path, &parts, &n));
    first = parts[0]; /* lives on in the weights */
    RLX_TRY_TO(done, rlx_family_read_gguf(parts, n, &config));
    RLX_TRY_TO(done, find_family(config, m->path, &family));
    RLX_TRY_TO(done,
               keep_tokenizer_error(m, rlx_tokenizer_read_gguf(parts[0], m->path, &m->tokenizer)));
    RLX_TRY_TO(done, rlx_weights_create(&m->weights));
    for (int i = 0; i < n; i++) {
        rlx_gguf *taken = parts[i];
        parts[i] = NULL;
        RLX_TRY_TO(done, rlx_family_add_gguf(m->weights, taken));
    }
    RLX_TRY_TO(done, family->build(config, m->weights, &m->flow, &m->config));
    RLX_TRY_TO(done, rlx_model_read_generation_gguf(cx, m, first));
done:
    rlx_gguf_close_parts(parts, n);
    cJSON_Delete(config);
    return st;
}

/* ---- any */

rlx_status rlx_model_read_files(const rlx_context *cx, rlx_model *m)
{
    if (ends_with(m->path, ".gguf"))
        return read_gguf(cx, m);
    if (!ends_with(m->path, ".safetensors") && !ends_with(m->path, ".safetensors.index.json"))
        return read_directory(cx, m, m->path, NULL);
    const char *slash = strrchr(m->path, '/');
    char *dir = slash ? strndup(m->path, (size_t)(slash - m->path) + 1) : strdup(".");
    rlx_status st = dir ? read_directory(cx, m, dir, m->path) : RLX_OOM();
    free(dir);
    return st;
}

rlx_status rlx_model_need_tokenizer(const rlx_model *m)
{
    if (m->tokenizer)
        return RLX_OK;
    if (m->tokenizer_error)
        return RLX_FAIL(RLX_UNSUPPORTED, "the model's tokenizer: %s", m->tokenizer_error);
    return RLX_FAIL(RLX_NOT_FOUND, "the model has no tokenizer: %s %s", m->path,
                    ends_with(m->path, ".gguf")
                        ? "has no metadata tokenizer.ggml.model"
                        : "comes with neither tokenizer.json nor tokenizer.model");
}
