/* frontend/text/load.c: what a path stands for, which reader knows it, and the way over the cache.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cjson/cJSON.h>

#include "frontend/model_path.h"
#include "frontend/text/read.h"
#include "runtime/gguf.h"

typedef enum source_kind {
    SOURCE_NONE, /* a directory without any */
    SOURCE_JSON,
    SOURCE_MODEL, /* tokenizer.model: sentencepiece's or a list of ranks */
    SOURCE_VOCAB_JSON,
    SOURCE_VOCAB_TXT,
    SOURCE_GGUF
} source_kind;

/* Files that together are a tokenizer; heap, NULL where there is none. */
typedef struct source {
    source_kind kind;
    char *main, *merges, *config;
} source;

static void source_deinit(source *s)
{
    free(s->main);
    free(s->merges);
    free(s->config);
}

/* ---- paths */

static rlx_status find_in_directory(const char *dir, source *s)
{
    static const struct {
        const char *file;
        source_kind kind;
    } kinds[] = {{"tokenizer.json", SOURCE_JSON},
                 {"tokenizer.model", SOURCE_MODEL},
                 {"vocab.json", SOURCE_VOCAB_JSON},
                 {"vocab.txt", SOURCE_VOCAB_TXT}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds && !s->main; i++) {
        RLX_TRY(rlx_path_find(dir, kinds[i].file, &s->main));
        s->kind = s->main ? kinds[i].kind : SOURCE_NONE;
    }
    return RLX_OK;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static source_kind kind_of_file(const char *path)
{
    return rlx_path_ends(path, ".gguf")             ? SOURCE_GGUF
           : !strcmp(base_name(path), "vocab.json") ? SOURCE_VOCAB_JSON
           : rlx_path_ends(path, ".json")           ? SOURCE_JSON
           : rlx_path_ends(path, ".txt")            ? SOURCE_VOCAB_TXT
                                                    : SOURCE_MODEL;
}

/* What stands beside the main file, for those that look there: files under the names that they have
 * in a model's directory. */
static rlx_status find_beside(source *s)
{
    const char *base = base_name(s->main);
    if (s->kind == SOURCE_JSON || s->kind == SOURCE_GGUF ||
        (s->kind == SOURCE_MODEL && strcmp(base, "tokenizer.model")))
        return RLX_OK;
    char *dir = base > s->main ? strndup(s->main, (size_t)(base - s->main)) : strdup(".");
    rlx_status st = dir ? rlx_path_find(dir, "tokenizer_config.json", &s->config) : RLX_OOM();
    if (!st && s->kind == SOURCE_VOCAB_JSON) {
        s->merges = rlx_path_join(dir, "merges.txt");
        st = s->merges ? RLX_OK : RLX_OOM();
    }
    free(dir);
    return st;
}

/* Weights stand for the directory that they are in. */
static char *directory_of_weights(const char *path)
{
    bool weights = rlx_path_ends(path, ".safetensors") || rlx_path_ends(path, ".index.json");
    const char *base = base_name(path);
    if (!weights)
        return strdup(path);
    return base > path ? strndup(path, (size_t)(base - path)) : strdup(".");
}

static rlx_status find_main(const char *path, source *s)
{
    struct stat st;
    if (stat(path, &st))
        return RLX_FAIL(RLX_NOT_FOUND, "%s: %s", path, strerror(errno));
    if (S_ISDIR(st.st_mode))
        return find_in_directory(path, s);
    s->kind = kind_of_file(path);
    s->main = strdup(path);
    return s->main ? RLX_OK : RLX_OOM();
}

static rlx_status find_source(const char *given, source *s)
{
    char *path = directory_of_weights(given);
    rlx_status st = path ? find_main(path, s) : RLX_OOM();
    free(path);
    return st || !s->main ? st : find_beside(s);
}

/* ---- reading */

typedef struct file_bytes {
    char *data;
    size_t bytes;
} file_bytes;

static rlx_status read_config(const char *path, cJSON **out)
{
    char *text;
    size_t bytes;
    const char *end;
    *out = NULL;
    if (!path)
        return RLX_OK;
    RLX_TRY(rlx_file_read(path, &text, &bytes));
    end = text;
    *out = cJSON_ParseWithLengthOpts(text, bytes, &end, false);
    rlx_status st =
        cJSON_IsObject(*out)
            ? RLX_OK
            : RLX_FAIL(RLX_INVALID_FILE, "%s: no JSON object at byte %td", path, end - text);
    if (st) {
        cJSON_Delete(*out);
        *out = NULL;
    }
    free(text);
    return st;
}

static rlx_status read_model(rlx_description *d, const file_bytes *f, const cJSON *config,
                             const char *pre)
{
    if (rlx_is_tiktoken(f->data, f->bytes))
        return rlx_read_tiktoken(d, f->data, f->bytes, pre, config);
    return rlx_read_sentencepiece(d, f->data, f->bytes, config);
}

static rlx_status read_files(rlx_description *d, const source *s, const char *pre)
{
    file_bytes main = {0}, merges = {0};
    cJSON *config = NULL;
    rlx_status st;
    RLX_TRY_TO(done, rlx_file_read(s->main, &main.data, &main.bytes));
    RLX_TRY_TO(done, read_config(s->config, &config));
    switch (s->kind) {
    case SOURCE_JSON:
        st = rlx_read_json(d, main.data, main.bytes);
        break;
    case SOURCE_MODEL:
        st = read_model(d, &main, config, pre);
        break;
    case SOURCE_VOCAB_JSON:
        RLX_TRY_TO(done, rlx_file_read(s->merges, &merges.data, &merges.bytes));
        st = rlx_read_vocab_json(d, main.data, main.bytes, merges.data, merges.bytes, config);
        break;
    case SOURCE_VOCAB_TXT:
        st = rlx_read_vocab_txt(d, main.data, main.bytes, config);
        break;
    case SOURCE_GGUF:
    case SOURCE_NONE:
        st = RLX_FAIL(RLX_INTERNAL, "no reader for %s", d->name);
    }
done:
    free(main.data);
    free(merges.data);
    cJSON_Delete(config);
    return st;
}

static rlx_status read_gguf(rlx_description *d, const char *path, bool *there)
{
    rlx_gguf **parts;
    int n;
    RLX_TRY(rlx_gguf_open_parts(path, &parts, &n));
    rlx_status st = rlx_read_gguf(d, parts[0], there);
    rlx_gguf_close_parts(parts, n);
    return st;
}

/* ---- tokenizers */

/* A description that a reader filled, or its error, to a tokenizer. */
static rlx_status open_read(rlx_description *d, rlx_status st, bool there, rlx_tokenizer **out)
{
    *out = NULL;
    if (!st && there)
        st = rlx_description_open(d, out);
    rlx_description_deinit(d);
    return st;
}

rlx_status rlx_tokenizer_try_load(const char *path, const rlx_tokenizer_options *options,
                                  rlx_tokenizer **out)
{
    rlx_description d;
    source s = {0};
    bool there = true;
    *out = NULL;
    rlx_status st = find_source(path, &s);
    if (!st && s.kind != SOURCE_NONE) {
        rlx_description_init(&d, s.main);
        st = s.kind == SOURCE_GGUF ? read_gguf(&d, s.main, &there)
                                   : read_files(&d, &s, options ? options->pre : NULL);
        st = open_read(&d, st, there, out);
    }
    source_deinit(&s);
    return st;
}

rlx_status rlx_tokenizer_load(const char *path, const rlx_tokenizer_options *options,
                              rlx_tokenizer **out)
{
    RLX_TRY(rlx_tokenizer_try_load(path, options, out));
    return *out ? RLX_OK
                : RLX_FAIL(RLX_NOT_FOUND,
                           "%s has no tokenizer: no tokenizer.json, tokenizer.model, vocab.json "
                           "with merges.txt, vocab.txt or metadata tokenizer.ggml.model",
                           path);
}

rlx_status rlx_tokenizer_parse(const char *json, const char *name, rlx_tokenizer **out)
{
    rlx_description d;
    rlx_description_init(&d, name);
    return open_read(&d, rlx_read_json(&d, json, strlen(json)), true, out);
}

rlx_status rlx_tokenizer_parse_sentencepiece(const void *data, size_t bytes, const char *name,
                                             rlx_tokenizer **out)
{
    rlx_description d;
    rlx_description_init(&d, name);
    return open_read(&d, rlx_read_sentencepiece(&d, data, bytes, NULL), true, out);
}

rlx_status rlx_tokenizer_read_gguf(const rlx_gguf *f, const char *name, rlx_tokenizer **out)
{
    rlx_description d;
    bool there = false;
    rlx_description_init(&d, name);
    rlx_status st = rlx_read_gguf(&d, f, &there);
    return open_read(&d, st, there, out);
}
