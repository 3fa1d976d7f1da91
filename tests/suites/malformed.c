/* tests/suites/malformed.c: weight files through `rlx inspect FILE --json`, by their names:
 *   bad-*     refused, with a message that names the file and a place in it, and nothing else said
 *   ok-*      listed; so is every .safetensors file of a folder named *-ok
 *   either-*  one or the other
 * Whatever ends it otherwise, a signal or a sanitizer's report, fails the case. */
#include <cjson/cJSON.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/suites/suites.h"

typedef enum verdict { BAD, OK, EITHER, UNKNOWN } verdict;

static bool begins_with(const char *s, const char *begin)
{
    return !strncmp(s, begin, strlen(begin));
}

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), k = strlen(end);
    return n >= k && !strcmp(s + n - k, end);
}

static verdict wanted(const char *dir, const char *name)
{
    if (begins_with(name, "bad-"))
        return BAD;
    if (begins_with(name, "either-"))
        return EITHER;
    if (begins_with(name, "ok-") || (ends_with(dir, "-ok") && ends_with(name, ".safetensors")))
        return OK;
    return UNKNOWN;
}

/* A byte, a tensor or a key: in the words that the readers have for them. */
static bool names_place(const char *story)
{
    static const char *const words[] = {"byte ", "tensor '", "tensors '", "key '", "__metadata__"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strstr(story, words[i]))
            return true;
    return false;
}

/* NULL, or what is wrong with a refusal. */
static const char *check_refusal(const program *p, const char *name)
{
    if (!p->err || !begins_with(p->err, "rlx: "))
        return "no message of rlx";
    if (p->out && p->out[0])
        return "refused, and listed";
    if (!strstr(p->err, name))
        return "the message does not name the file";
    return names_place(p->err) ? NULL : "the message names no place in the file";
}

/* The same for a list. */
static const char *check_list(const program *p)
{
    cJSON *list = p->out ? cJSON_Parse(p->out) : NULL;
    bool whole = cJSON_IsArray(cJSON_GetObjectItem(list, "tensors")) &&
                 cJSON_IsArray(cJSON_GetObjectItem(list, "metadata")) &&
                 cJSON_GetArraySize(cJSON_GetObjectItem(list, "files")) == 1;
    cJSON_Delete(list);
    if (p->err && p->err[0])
        return "listed, and complained";
    return whole ? NULL : "no list of files, metadata and tensors";
}

static const char *check(const program *p, verdict v, const char *name)
{
    if (p->code == 0 && v != BAD)
        return check_list(p);
    if (p->code == 1 && v != OK)
        return check_refusal(p, name);
    return p->code == 0 ? "it was not refused" : "it was not listed";
}

static void run_file(conformance *c, const char *dir, const char *name)
{
    char path[PATH_CHARS];
    program p;
    const verdict v = wanted(dir, name);
    snprintf(path, sizeof path, "%s/%s", dir, name);
    if (v == UNKNOWN) {
        case_skipped(c, path, "its name begins with none of bad-, ok-, either-");
        return;
    }
    if (!program_run((const char *const[]){RLX_TOOL, "inspect", path, "--json", NULL}, &p)) {
        case_failed(c, path, "the program could not be run");
        return;
    }
    const char *wrong = check(&p, v, name);
    if (wrong)
        case_failed(c, path, "%s: exit code %d: %.1000s", wrong, p.code, p.err ? p.err : "");
    else
        case_passed(c);
    program_deinit(&p);
}

static int is_weights(const struct dirent *d)
{
    return ends_with(d->d_name, ".gguf") || ends_with(d->d_name, ".safetensors");
}

void malformed_run(conformance *c, const char *dir)
{
    struct dirent **list;
    int n = scandir(dir, &list, is_weights, alphasort);
    for (int i = 0; i < n; i++) {
        run_file(c, dir, list[i]->d_name);
        free(list[i]);
    }
    if (n >= 0)
        free(list);
}
