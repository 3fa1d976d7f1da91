/* frontend/text/load.c: what a path stands for, which reader knows it, and the way over the cache.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cjson/cJSON.h>

#include "frontend/model_path.h"
#include "frontend/text/cache.h"
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

/* Below this reading is as quick as mapping. */
enum { CACHED_BYTES = 16 << 10 };

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
                 {"tekken.json", SOURCE_JSON},
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

/* What stands beside the main file, for kinds that say less than a tokenizer needs. */
static rlx_status find_beside(source *s)
{
    const char *base = base_name(s->main);
    if (s->kind == SOURCE_JSON || s->kind == SOURCE_GGUF)
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

/* The files' contents, as far as there are files, and what they are together. */
typedef struct contents {
    file_bytes main, merges, config;
    rlx_gguf **parts; /* of a GGUF file */
    int nparts;
    rlx_hash key;
} contents;

static void contents_deinit(contents *c)
{
    free(c->main.data);
    free(c->merges.data);
    free(c->config.data);
    rlx_gguf_close_parts(c->parts, c->nparts);
}

static rlx_status read_file(const char *path, file_bytes *out)
{
    return path ? rlx_file_read(path, &out->data, &out->bytes) : RLX_OK;
}

static void hash_bytes(rlx_hasher *h, const void *data, size_t bytes)
{
    uint64_t n = bytes;
    rlx_hasher_add(h, &n, sizeof n);
    if (bytes)
        rlx_hasher_add(h, data, bytes);
}

static void hash_value(rlx_hasher *h, const rlx_gguf_value *v)
{
    hash_bytes(h, v->key, strlen(v->key));
    hash_bytes(h, &v->type, sizeof v->type);
    if (v->type == RLX_GGUF_STRING) {
        hash_bytes(h, v->text, strlen(v->text));
    } else if (v->type != RLX_GGUF_ARRAY) {
        hash_bytes(h, &v->u, sizeof v->u);
    } else {
        rlx_gguf_items it = rlx_gguf_walk(v);
        rlx_gguf_value item;
        const char *text;
        size_t bytes;
        hash_bytes(h, &v->elem, sizeof v->elem);
        if (v->elem == RLX_GGUF_STRING)
            while (rlx_gguf_next_text(&it, &text, &bytes))
                hash_bytes(h, text, bytes);
        else
            while (rlx_gguf_next(&it, &item))
                rlx_hasher_add(h, &item.u, sizeof item.u);
    }
}

static void hash_gguf(rlx_hasher *h, const rlx_gguf *f)
{
    static const char prefix[] = "tokenizer.ggml.";
    for (int i = 0; i < rlx_gguf_value_count(f); i++)
        if (!strncmp(rlx_gguf_value_at(f, i)->key, prefix, strlen(prefix)) ||
            !strcmp(rlx_gguf_value_at(f, i)->key, "general.name"))
            hash_value(h, rlx_gguf_value_at(f, i));
}

static rlx_status read_contents(const source *s, const char *how, contents *c)
{
    static const char build[] = RLX_TABLE_BUILD;
    rlx_hasher h;
    rlx_hasher_init(&h);
    hash_bytes(&h, build, sizeof build);
    hash_bytes(&h, &s->kind, sizeof s->kind);
    hash_bytes(&h, how, how ? strlen(how) : 0);
    if (s->kind == SOURCE_GGUF) {
        RLX_TRY(rlx_gguf_open_parts(s->main, &c->parts, &c->nparts));
        hash_gguf(&h, c->parts[0]);
    } else {
        RLX_TRY(read_file(s->main, &c->main));
        RLX_TRY(read_file(s->merges, &c->merges));
        RLX_TRY(read_file(s->config, &c->config));
        hash_bytes(&h, c->main.data, c->main.bytes);
        hash_bytes(&h, c->merges.data, c->merges.bytes);
        hash_bytes(&h, c->config.data, c->config.bytes);
    }
    c->key = rlx_hasher_finish(&h);
    return RLX_OK;
}

static rlx_status parse_config(const char *path, const file_bytes *f, cJSON **out)
{
    *out = NULL;
    if (!path)
        return RLX_OK;
    const char *end = f->data;
    *out = cJSON_ParseWithLengthOpts(f->data, f->bytes, &end, false);
    if (cJSON_IsObject(*out))
        return RLX_OK;
    cJSON_Delete(*out);
    *out = NULL;
    return RLX_FAIL(RLX_INVALID_FILE, "%s: no JSON object at byte %td", path, end - f->data);
}

static rlx_status read_list(rlx_description *d, const file_bytes *f, const cJSON *config)
{
    if (rlx_is_tiktoken(f->data, f->bytes))
        return rlx_read_tiktoken(d, f->data, f->bytes, config);
    return rlx_read_sentencepiece(d, f->data, f->bytes, config);
}

/* What stands beside a file of any name may be another vocabulary's: when it does not fit, its
 * tokens have other ids than the file's, the file stands alone. */
static rlx_status read_model(rlx_description *d, const source *s, const file_bytes *f,
                             const cJSON *config)
{
    const char *pre = d->pre;
    rlx_status st = read_list(d, f, config);
    if (!st || !config || !strcmp(base_name(s->main), "tokenizer.model"))
        return st;
    rlx_status_free(st);
    rlx_description_deinit(d);
    rlx_description_init(d, s->main);
    d->pre = pre;
    return read_list(d, f, NULL);
}

/* Contents to a description. */
static rlx_status read_source(rlx_description *d, const source *s, const contents *c, bool *there)
{
    cJSON *config;
    RLX_TRY(parse_config(s->config, &c->config, &config));
    rlx_status st = RLX_OK;
    switch (s->kind) {
    case SOURCE_JSON:
        st = rlx_read_json(d, c->main.data, c->main.bytes);
        break;
    case SOURCE_MODEL:
        st = read_model(d, s, &c->main, config);
        break;
    case SOURCE_VOCAB_JSON:
        st = rlx_read_vocab_json(d, c->main.data, c->main.bytes, c->merges.data, c->merges.bytes,
                                 config);
        break;
    case SOURCE_VOCAB_TXT:
        st = rlx_read_vocab_txt(d, c->main.data, c->main.bytes, config);
        break;
    case SOURCE_GGUF:
        st = rlx_read_gguf(d, c->parts[0], there);
        break;
    case SOURCE_NONE:
        *there = false;
    }
    cJSON_Delete(config);
    if (!st && *there && d->pre)
        st = RLX_DESCRIPTION_FAIL(d, RLX_INVALID_ARGUMENT,
                                  "pre \"%s\" names the pattern of a list of ranks or of a GGUF "
                                  "file's byte-level vocabulary, and this is neither",
                                  d->pre);
    return st;
}

rlx_status rlx_description_load(rlx_description *d, const char *path)
{
    source s = {0};
    contents c = {0};
    bool there = true;
    rlx_description_init(d, path);
    rlx_status st = find_source(path, &s);
    if (!st)
        st = read_contents(&s, NULL, &c);
    if (!st)
        st = read_source(d, &s, &c, &there);
    if (!st && !there)
        st = RLX_FAIL(RLX_NOT_FOUND, "%s has no tokenizer", path);
    contents_deinit(&c);
    source_deinit(&s);
    return st;
}

/* ---- tokenizers */

/* A description that a reader filled, or its error, to a tokenizer. `cache`, with the content's
 * key: puts the table there; or NULL. */
static rlx_status open_read(rlx_description *d, rlx_status st, bool there,
                            const rlx_text_cache *cache, const rlx_hash *key, rlx_tokenizer **out)
{
    void *block = NULL;
    size_t bytes = 0;
    *out = NULL;
    if (!st && there) {
        if (key)
            memcpy(d->source, key->bytes, sizeof d->source);
        st = rlx_description_compile(d, &block, &bytes);
        if (!st && cache)
            rlx_text_cache_put(cache, key, block, bytes);
        if (!st)
            st = rlx_table_open(block, bytes, false, out);
    }
    rlx_description_deinit(d);
    return st;
}

static rlx_status load_contents(const source *s, const char *pre, const rlx_text_cache *cache,
                                rlx_tokenizer **out)
{
    contents c = {0};
    bool there = true;
    rlx_status st = read_contents(s, pre, &c);
    if (!st && cache)
        *out = rlx_text_cache_find_content(cache, &c.key);
    if (!st && !*out) {
        rlx_description d;
        rlx_description_init(&d, s->main);
        d.pre = pre;
        st = read_source(&d, s, &c, &there);
        st = open_read(&d, st, there, cache, &c.key, out);
    }
    contents_deinit(&c);
    return st;
}

static bool is_worth_it(const char *path)
{
    struct stat st;
    return !stat(path, &st) && st.st_size >= CACHED_BYTES;
}

/* A name like NAME-00002-of-00003.gguf to that of the first part, which holds all metadata. */
static void name_first_part(char *path)
{
    static const char form[] = "-00000-of-00000.gguf";
    size_t n = strlen(path), m = sizeof form - 1;
    char *end = path + n - m;
    for (size_t i = 0; n >= m && i < m; i++)
        if (form[i] == '0' ? end[i] < '0' || end[i] > '9' : end[i] != form[i])
            return;
    if (n >= m)
        memcpy(end, "-00001", 6);
}

static rlx_status load_source(const source *s, const rlx_tokenizer_options *o, rlx_tokenizer **out)
{
    const char *pre = o ? o->pre : NULL;
    char *first = s->kind == SOURCE_GGUF ? strdup(s->main) : NULL;
    if (first)
        name_first_part(first);
    if ((o && o->no_cache) || !is_worth_it(first ? first : s->main)) {
        free(first);
        return load_contents(s, pre, NULL, out);
    }
    rlx_text_files files = {.how = pre, .folder = o ? o->cache_folder : NULL};
    const char *const paths[RLX_TEXT_FILES] = {s->main, first ? first : s->merges, s->config};
    for (int i = 0; i < RLX_TEXT_FILES; i++)
        if (paths[i])
            files.path[files.n++] = paths[i];
    rlx_text_cache cache;
    rlx_text_cache_init(&cache, &files);
    *out = rlx_text_cache_find(&cache);
    rlx_status st = *out ? RLX_OK : load_contents(s, pre, &cache, out);
    rlx_text_cache_deinit(&cache);
    free(first);
    return st;
}

rlx_status rlx_tokenizer_try_load(const char *path, const rlx_tokenizer_options *options,
                                  rlx_tokenizer **out)
{
    source s = {0};
    *out = NULL;
    rlx_status st = find_source(path, &s);
    if (!st && s.kind != SOURCE_NONE)
        st = load_source(&s, options, out);
    source_deinit(&s);
    return st;
}

rlx_status rlx_tokenizer_load(const char *path, const rlx_tokenizer_options *options,
                              rlx_tokenizer **out)
{
    RLX_TRY(rlx_tokenizer_try_load(path, options, out));
    return *out ? RLX_OK
                : RLX_FAIL(RLX_NOT_FOUND,
                           "%s has no tokenizer: no tokenizer.json, tekken.json, tokenizer.model, "
                           "vocab.json "
                           "with merges.txt, vocab.txt or metadata tokenizer.ggml.model",
                           path);
}

rlx_status rlx_tokenizer_parse(const char *json, const char *name, rlx_tokenizer **out)
{
    rlx_description d;
    rlx_description_init(&d, name);
    return open_read(&d, rlx_read_json(&d, json, strlen(json)), true, NULL, NULL, out);
}

rlx_status rlx_tokenizer_parse_sentencepiece(const void *data, size_t bytes, const char *name,
                                             rlx_tokenizer **out)
{
    rlx_description d;
    rlx_description_init(&d, name);
    return open_read(&d, rlx_read_sentencepiece(&d, data, bytes, NULL), true, NULL, NULL, out);
}

rlx_status rlx_tokenizer_read_gguf(const rlx_gguf *f, const char *name, rlx_tokenizer **out)
{
    rlx_description d;
    bool there = false;
    rlx_description_init(&d, name);
    rlx_status st = rlx_read_gguf(&d, f, &there);
    return open_read(&d, st, there, NULL, NULL, out);
}
