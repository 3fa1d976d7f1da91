/* tests/suites/tokenizers.c: ids, and text back from them, by what other implementations made of
 * the same vocabulary.
 *
 *   DIR/vectors/SET/NAME.gguf.inp, .out  texts, each ended by a line of its own; a line of ids each
 *   DIR/vectors/SET/TEXT-MODEL.json      "token_ids" of SET/TEXT.txt, with special tokens
 *   DIR/FAMILY/..                        vocabularies: the vectors' NAME or MODEL says which
 *   DIR/cases.json                       of the tokenizer in DIR: a list of objects with "text",
 *                                        "pair", "special", "ids", "types", "decoded"; or of
 *                                        {"pre": names, "cases": such a list}, of DIR/vocab.gguf
 *
 * Every text by every form of its vocabulary is a case. Every vocabulary under a DIR with vectors
 * must load, and decode what it encoded of a sentence to UTF-8. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cjson/cJSON.h>

#include "runtime/base/text.h"
#include "tests/frontend/decoded.h"
#include "tests/suites/suites.h"

/* Vocabularies by the names that vectors have; without a name: of any, between `path` and `rest`.
 */
static const struct {
    const char *name, *path, *rest;
} forms[] = {
    {NULL, "gguf-vocab/ggml-vocab-", ".gguf"},
    {NULL, "", "/tokenizer.json"},
    {"gpt-2", "gpt2/tokenizer.json", NULL},
    {"gpt-2", "gpt2/vocab.json", NULL},
    {"gpt-2", "whisper/gpt2.tiktoken", NULL},
    {"gpt2", "gpt2/vocab.json", NULL},
    {"gpt2", "gguf-vocab/ggml-vocab-gpt-2.gguf", NULL},
    {"llama-spm", "llama2/tokenizer.json", NULL},
    {"llama-spm", "llama2/tokenizer.model", NULL},
    {"llama-bpe", "llama3/tokenizer.model", NULL},
    {"qwen2", "qwen", NULL},
    {"phi-3", "phi3/tokenizer.json", NULL},
    {"bert-bge", "bert/minilm/tokenizer.json", NULL},
    {"bert-bge", "bert/uncased/vocab.txt", NULL},
    {"bert-base-uncased", "bert/minilm/tokenizer.json", NULL},
    {"bert-base-uncased", "bert/uncased/vocab.txt", NULL},
    {"bert-base-uncased", "gguf-vocab/ggml-vocab-bert-bge.gguf", NULL},
    {"bert-base-cased", "bert/cased/vocab.txt", NULL},
};
enum { NFORMS = sizeof forms / sizeof *forms };

/* What is compiled of so many stays out of the user's cache. */
static const rlx_tokenizer_options from_files = {.no_cache = true};

static bool is_utf8(const char *s)
{
    for (size_t n = strlen(s), len; n; s += len, n -= len) {
        len = rlx_text_utf8(s, n);
        if (!len)
            return false;
    }
    return true;
}

/* ---- one text */

static const char *place(const char *dir, const char *file, int number, char out[PATH_CHARS])
{
    snprintf(out, PATH_CHARS, "%s/%s %d", dir, file, number);
    return out;
}

static bool expect_ids(conformance *c, const char *where, const int32_t *ids, int64_t n,
                       const int32_t *want, int64_t wanted)
{
    for (int64_t i = 0; i < n && i < wanted; i++)
        if (ids[i] != want[i]) {
            case_failed(c, where, "id %lld is %d, not %d", (long long)i, ids[i], want[i]);
            return false;
        }
    if (n != wanted)
        case_failed(c, where, "%lld ids, not %lld", (long long)n, (long long)wanted);
    return n == wanted;
}

static void check_text(conformance *c, const char *where, const rlx_tokenizer *t, const char *text,
                       size_t bytes, bool special, const int32_t *want, int64_t wanted)
{
    int32_t *ids;
    int64_t n;
    if (case_broke(c, where, rlx_tokenizer_encode(t, text, bytes, special, &ids, &n)))
        return;
    if (expect_ids(c, where, ids, n, want, wanted)) {
        char *back = decoded(t, ids, n);
        if (is_utf8(back))
            case_passed(c);
        else
            case_failed(c, where, "what it decodes to is not UTF-8");
        free(back);
    }
    free(ids);
}

/* ---- NAME.gguf.inp */

static int64_t read_line_of_ids(const char **at, int32_t **ids)
{
    int64_t n = 0, cap = 64;
    *ids = malloc((size_t)cap * sizeof **ids);
    for (char *next; *ids; *at = next) {
        while (**at == ' ')
            ++*at;
        if (!**at || **at == '\n')
            break;
        long id = strtol(*at, &next, 10);
        if (next == *at)
            break;
        if (n == cap)
            *ids = realloc(*ids, (size_t)(cap *= 2) * sizeof **ids);
        if (*ids)
            (*ids)[n++] = (int32_t)id;
    }
    *at += **at == '\n';
    return n;
}

static void check_lines(conformance *c, const char *file, const rlx_tokenizer *t, const char *inp,
                        const char *out)
{
    static const char end[] = "\n__ggml_vocab_test__\n";
    int number = 0;
    for (const char *stop; (stop = strstr(inp, end)); inp = stop + strlen(end)) {
        char where[PATH_CHARS];
        int32_t *want;
        int64_t n = read_line_of_ids(&out, &want);
        snprintf(where, sizeof where, "%.1900s, text %d", file, ++number);
        check_text(c, where, t, inp, (size_t)(stop - inp), false, want, n);
        free(want);
    }
    if (!number)
        case_failed(c, file, "holds no texts");
}

/* Loads a form of a vocabulary when it is there. */
static rlx_tokenizer *load_form(conformance *c, const char *root, int form, const char *name,
                                char path[PATH_CHARS])
{
    rlx_tokenizer *t = NULL;
    if (forms[form].name && strcmp(forms[form].name, name))
        return NULL;
    snprintf(path, PATH_CHARS, "%s/%s%s%s", root, forms[form].path, forms[form].name ? "" : name,
             forms[form].name ? "" : forms[form].rest);
    struct stat st;
    if (!stat(path, &st))
        case_broke(c, path, rlx_tokenizer_load(path, &from_files, &t));
    return t;
}

static char *read_text(conformance *c, const char *path)
{
    char *data = NULL;
    size_t bytes;
    case_broke(c, path, rlx_file_read(path, &data, &bytes));
    return data;
}

static void run_inp(conformance *c, const char *root, const char *dir, const char *file)
{
    static const char before[] = "ggml-vocab-", after[] = ".gguf.inp";
    char path[PATH_CHARS], where[PATH_CHARS + 64], name[128];
    const char *from = strncmp(file, before, strlen(before)) ? file : file + strlen(before);
    snprintf(name, sizeof name, "%.*s", (int)(strlen(from) - strlen(after)), from);
    snprintf(path, sizeof path, "%s/%s", dir, file);
    char *inp = read_text(c, path);
    memcpy(path + strlen(path) - 3, "out", 3);
    char *out = read_text(c, path);
    int used = 0;
    for (int i = 0; inp && out && i < NFORMS; i++) {
        rlx_tokenizer *t = load_form(c, root, i, name, path);
        if (!t)
            continue;
        snprintf(where, sizeof where, "%s of %s", file, path);
        check_lines(c, where, t, inp, out);
        rlx_tokenizer_destroy(t);
        used++;
    }
    if (!used)
        case_skipped(c, file, "no vocabulary \"%s\"", name);
    free(inp);
    free(out);
}

/* ---- TEXT-MODEL.json */

static int32_t *read_ids(const cJSON *list, int64_t *n)
{
    const cJSON *v;
    *n = 0;
    int32_t *ids = malloc(((size_t)cJSON_GetArraySize(list) + 1) * sizeof *ids);
    cJSON_ArrayForEach(v, list) if (ids) ids[(*n)++] = v->valueint;
    return ids;
}

/* The text's name ends where the model's begins: the longest for which there is a text. */
static char *find_text(const char *dir, const char *file, char name[128])
{
    for (const char *dash = file + strlen(file); dash > file; dash--) {
        char path[PATH_CHARS];
        struct stat st;
        if (*dash != '-')
            continue;
        snprintf(path, sizeof path, "%s/%.*s.txt", dir, (int)(dash - file), file);
        if (stat(path, &st))
            continue;
        snprintf(name, 128, "%.*s", (int)(strlen(dash + 1) - strlen(".json")), dash + 1);
        return strdup(path);
    }
    return NULL;
}

static void run_article(conformance *c, const char *root, const char *dir, const char *file)
{
    char path[PATH_CHARS], name[128], where[PATH_CHARS + 64];
    char *text_path = find_text(dir, file, name),
         *text = text_path ? read_text(c, text_path) : NULL;
    snprintf(path, sizeof path, "%s/%s", dir, file);
    char *json = text ? read_text(c, path) : NULL;
    cJSON *root_json = json ? cJSON_Parse(json) : NULL;
    int64_t n;
    int32_t *want = read_ids(cJSON_GetObjectItem(root_json, "token_ids"), &n);
    int used = 0;
    for (int i = 0; want && n && i < NFORMS; i++) {
        rlx_tokenizer *t = load_form(c, root, i, name, path);
        if (!t)
            continue;
        snprintf(where, sizeof where, "%s of %s", file, path);
        check_text(c, where, t, text, strlen(text), true, want, n);
        rlx_tokenizer_destroy(t);
        used++;
    }
    if (!used)
        case_skipped(c, file, "no vocabulary \"%s\", or no text", name);
    free(want);
    cJSON_Delete(root_json);
    free(json);
    free(text);
    free(text_path);
}

/* ---- every vocabulary */

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n >= m && !strcmp(s + n - m, end);
}

static bool is_vocabulary(const char *file)
{
    return !strcmp(file, "tokenizer.json") || strstr(file, ".model") || ends_with(file, ".gguf") ||
           ends_with(file, ".spm") || ends_with(file, ".tiktoken") || !strcmp(file, "vocab.txt") ||
           !strcmp(file, "vocab.json");
}

static void check_vocabulary(conformance *c, const char *path)
{
    static const char text[] = "The quick brown fox's 13 lazy dogs:\n\t\xc3\xa9t\xc3\xa9, "
                               "\xe4\xbd\xa0\xe5\xa5\xbd \xf0\x9f\x98\x80  <s> e\xcc\x81!";
    rlx_tokenizer *t;
    int32_t *ids;
    int64_t n;
    if (case_broke(c, path, rlx_tokenizer_load(path, &from_files, &t)))
        return;
    if (!case_broke(c, path, rlx_tokenizer_encode(t, text, strlen(text), true, &ids, &n))) {
        char *back = decoded(t, ids, n);
        if (n < 5 || !is_utf8(back) || !*back)
            case_failed(c, path, "%lld ids, \"%s\"", (long long)n, back);
        else
            case_passed(c);
        free(back);
        free(ids);
    }
    rlx_tokenizer_destroy(t);
}

/* ---- cases.json */

static char *text_of(const cJSON *o, const char *key)
{
    return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, key));
}

static void check_case(conformance *c, const char *where, const rlx_tokenizer *t, const cJSON *o)
{
    const char *text = text_of(o, "text"), *pair = text_of(o, "pair"),
               *back = text_of(o, "decoded");
    int32_t *ids, *types;
    int64_t n, wanted, wanted_types;
    if (!text) {
        case_failed(c, where, "there is no text");
        return;
    }
    if (case_broke(c, where,
                   rlx_tokenizer_encode_pair(t, text, strlen(text), pair, pair ? strlen(pair) : 0,
                                             cJSON_IsTrue(cJSON_GetObjectItem(o, "special")), &ids,
                                             &types, &n)))
        return;
    const cJSON *type_list = cJSON_GetObjectItem(o, "types");
    int32_t *want = read_ids(cJSON_GetObjectItem(o, "ids"), &wanted);
    int32_t *want_types = read_ids(type_list, &wanted_types);
    char *got = decoded(t, ids, n);
    if (expect_ids(c, where, ids, n, want, wanted) &&
        (!type_list || expect_ids(c, where, types, n, want_types, wanted_types))) {
        if (back && strcmp(back, got))
            case_failed(c, where, "decodes to \"%s\", not \"%s\"", got, back);
        else
            case_passed(c);
    }
    free(got);
    free(want);
    free(want_types);
    free(ids);
    free(types);
}

static void check_list(conformance *c, const char *dir, const char *what, const rlx_tokenizer *t,
                       const cJSON *cases)
{
    char where[PATH_CHARS];
    const cJSON *v;
    int number = 0;
    if (!cJSON_GetArraySize(cases))
        case_failed(c, dir, "%s: no array of cases", what);
    cJSON_ArrayForEach(v, cases) check_case(c, place(dir, what, ++number, where), t, v);
}

/* The vocabulary by each of the patterns' names. */
static void run_names(conformance *c, const char *dir, const cJSON *group)
{
    char path[PATH_CHARS];
    const cJSON *name;
    snprintf(path, sizeof path, "%s/vocab.gguf", dir);
    cJSON_ArrayForEach(name, cJSON_GetObjectItem(group, "pre"))
    {
        const rlx_tokenizer_options o = {.pre = cJSON_GetStringValue(name), .no_cache = true};
        rlx_tokenizer *t = NULL;
        if (!case_broke(c, path, rlx_tokenizer_load(path, &o, &t)))
            check_list(c, dir, o.pre, t, cJSON_GetObjectItem(group, "cases"));
        rlx_tokenizer_destroy(t);
    }
}

static void run_cases(conformance *c, const char *dir)
{
    char path[PATH_CHARS];
    rlx_tokenizer *t = NULL;
    const cJSON *group;
    snprintf(path, sizeof path, "%s/cases.json", dir);
    char *json = read_text(c, path);
    cJSON *cases = json ? cJSON_Parse(json) : NULL;
    if (cJSON_HasObjectItem(cJSON_GetArrayItem(cases, 0), "pre"))
        cJSON_ArrayForEach(group, cases) run_names(c, dir, group);
    else if (!case_broke(c, dir, rlx_tokenizer_load(dir, &from_files, &t)))
        check_list(c, dir, "cases.json", t, cases);
    rlx_tokenizer_destroy(t);
    cJSON_Delete(cases);
    free(json);
}

/* ---- folders */

typedef void file_fn(conformance *c, const char *root, const char *dir, const char *file);

static void walk(conformance *c, const char *root, const char *dir, file_fn *use)
{
    struct dirent **list;
    int n = scandir(dir, &list, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        char path[PATH_CHARS];
        struct stat st;
        int len = snprintf(path, sizeof path, "%s/%s", dir, list[i]->d_name);
        if (list[i]->d_name[0] != '.' && len < PATH_CHARS && !stat(path, &st)) {
            if (S_ISDIR(st.st_mode))
                walk(c, root, path, use);
            else
                use(c, root, dir, list[i]->d_name);
        }
        free(list[i]);
    }
    if (n >= 0)
        free(list);
}

static void use_vector(conformance *c, const char *root, const char *dir, const char *file)
{
    if (ends_with(file, ".gguf.inp"))
        run_inp(c, root, dir, file);
    else if (ends_with(file, ".json"))
        run_article(c, root, dir, file);
}

static void use_vocabulary(conformance *c, const char *root, const char *dir, const char *file)
{
    char path[PATH_CHARS];
    (void)root;
    if (is_vocabulary(file) && snprintf(path, sizeof path, "%s/%s", dir, file) < PATH_CHARS)
        check_vocabulary(c, path);
}

void tokenizers_run(conformance *c, const char *dir)
{
    char path[PATH_CHARS];
    if (has_file(dir, "cases.json"))
        run_cases(c, dir);
    if (!has_file(dir, "vectors"))
        return;
    if (snprintf(path, sizeof path, "%s/vectors", dir) < PATH_CHARS)
        walk(c, dir, path, use_vector);
    walk(c, dir, dir, use_vocabulary);
}
