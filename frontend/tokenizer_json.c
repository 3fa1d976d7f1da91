/* frontend/tokenizer_json.c: tokenizer.json to the tables. What would change an id and is not
 * offered is refused by its name. "truncation" and "padding" are ignored: the reference switches
 * them off, too, unless a caller asks. */
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "frontend/tokenizer_impl.h"

enum { MAX_TOKENS = 1 << 24 };

typedef struct reader {
    rlx_tokenizer *t;
    const char *name; /* of the file */
    const cJSON *root;
} reader;

/* ---- small readers */

static const cJSON *get(const cJSON *o, const char *key)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(o, key);
    return cJSON_IsNull(v) ? NULL : v;
}

static const char *text_of(const cJSON *o, const char *key)
{
    return cJSON_GetStringValue(get(o, key));
}

static bool flag(const cJSON *o, const char *key, bool absent)
{
    const cJSON *v = get(o, key);
    return v ? cJSON_IsTrue(v) : absent;
}

static bool type_is(const cJSON *o, const char *type)
{
    const char *t = text_of(o, "type");
    return t && !strcmp(t, type);
}

static rlx_status unsupported(const reader *r, const char *part, const char *what)
{
    return RLX_FAIL(RLX_UNSUPPORTED, "%s: %s \"%s\" is not offered", r->name, part,
                    what ? what : "(no type)");
}

static rlx_status malformed(const reader *r, const char *what)
{
    return RLX_FAIL(RLX_INVALID_FILE, "%s: %s", r->name, what);
}

/* ---- vocabulary and merges */

static rlx_status set_token(reader *r, int32_t id, const char *text)
{
    const rlx_token *k = &r->t->tokens[id];
    if (k->text)
        return strcmp(k->text, text)
                   ? RLX_FAIL(RLX_INVALID_FILE, "%s: id %d is both \"%s\" and \"%s\"", r->name, id,
                              k->text, text)
                   : RLX_OK;
    return rlx_tokenizer_set_token(r->t, id, text, strlen(text));
}

static rlx_status read_id(const reader *r, const cJSON *v, const char *token, int32_t *id)
{
    double d = cJSON_IsNumber(v) ? v->valuedouble : -1;
    if (!(d >= 0 && d < MAX_TOKENS) || d != (int32_t)d)
        return RLX_FAIL(RLX_INVALID_FILE, "%s: token \"%s\" has no usable id", r->name, token);
    *id = (int32_t)d;
    return RLX_OK;
}

/* The largest id of the vocabulary and the added tokens, and how many texts there are at most. */
static rlx_status measure(const reader *r, const cJSON *vocab, int32_t *max_id)
{
    const cJSON *v;
    int32_t id = 0;
    *max_id = -1;
    cJSON_ArrayForEach(v, vocab)
    {
        RLX_TRY(read_id(r, v, v->string, &id));
        *max_id = id > *max_id ? id : *max_id;
    }
    cJSON_ArrayForEach(v, get(r->root, "added_tokens"))
    {
        const char *content = text_of(v, "content");
        if (!content || !*content)
            return malformed(r, "an added token has no content");
        RLX_TRY(read_id(r, get(v, "id"), content, &id));
        *max_id = id > *max_id ? id : *max_id;
    }
    return *max_id < 0 ? malformed(r, "the vocabulary is empty") : RLX_OK;
}

static bool both_known(const reader *r, const char *a, size_t abytes, const char *b, int32_t *left,
                       int32_t *right)
{
    *left = rlx_tokenizer_lookup(r->t, a, abytes);
    *right = rlx_tokenizer_lookup(r->t, b, strlen(b));
    return *left >= 0 && *right >= 0;
}

/* "a b" or ["a", "b"]: the two sides. In the first form a side may itself hold spaces. */
static rlx_status merge_sides(const reader *r, const cJSON *m, int32_t *left, int32_t *right)
{
    const char *a = cJSON_GetStringValue(m), *b;
    if (a) {
        if (rlx_tokenizer_find_sides(r->t, a, strlen(a), left, right))
            return RLX_OK;
        return RLX_FAIL(RLX_INVALID_FILE, "%s: merge \"%s\" is not of two tokens of the vocabulary",
                        r->name, a);
    }
    a = cJSON_GetStringValue(cJSON_GetArrayItem(m, 0));
    b = cJSON_GetStringValue(cJSON_GetArrayItem(m, 1));
    if (!a || !b || cJSON_GetArraySize(m) != 2)
        return malformed(r, "a merge is neither \"a b\" nor [\"a\", \"b\"]");
    if (!both_known(r, a, strlen(a), b, left, right))
        return RLX_FAIL(RLX_INVALID_FILE,
                        "%s: merge of \"%s\" and \"%s\": not both in the vocabulary", r->name, a,
                        b);
    return RLX_OK;
}

static rlx_status read_merges(reader *r, const cJSON *merges)
{
    rlx_text joined = {0};
    const cJSON *m;
    rlx_status st = RLX_OK;
    int32_t rank = 0;
    cJSON_ArrayForEach(m, merges)
    {
        int32_t left = 0, right = 0;
        RLX_TRY_TO(done, merge_sides(r, m, &left, &right));
        RLX_TRY_TO(done, rlx_tokenizer_add_merge(r->t, left, right, rank++, &joined));
    }
done:
    rlx_text_deinit(&joined);
    return rlx_status_note(st, __FILE__, __LINE__, "reading %s", r->name);
}

static rlx_status check_model(const reader *r, const cJSON *model)
{
    static const char *const known[] = {
        "type",          "dropout",       "unk_token",
        "fuse_unk",      "byte_fallback", "continuing_subword_prefix",
        "ignore_merges", "vocab",         "end_of_word_suffix",
        "merges"};
    const char *type = text_of(model, "type");
    if (!cJSON_IsObject(model))
        return malformed(r, "there is no \"model\"");
    if (type ? strcmp(type, "BPE") : !get(model, "merges"))
        return unsupported(r, "model", type);
    const cJSON *v;
    cJSON_ArrayForEach(v, model)
    {
        bool found = false;
        for (size_t i = 0; i < sizeof known / sizeof *known; i++)
            found |= !strcmp(v->string, known[i]);
        if (!found)
            return unsupported(r, "model's key", v->string);
    }
    static const char *const empty[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    for (size_t i = 0; i < 2; i++) {
        const char *s = text_of(model, empty[i]);
        if (s && *s)
            return unsupported(r, empty[i], s);
    }
    if (get(model, "dropout"))
        return unsupported(r, "model's key", "dropout");
    return RLX_OK;
}

static rlx_status read_model(reader *r)
{
    const cJSON *model = get(r->root, "model"), *v;
    RLX_TRY(check_model(r, model));
    const cJSON *vocab = get(model, "vocab"), *merges = get(model, "merges");
    if (!cJSON_IsObject(vocab) || !cJSON_IsArray(merges))
        return malformed(r, "model has no vocab object and merges array");
    rlx_tokenizer *t = r->t;
    int32_t max_id = 0;
    RLX_TRY(measure(r, vocab, &max_id));
    RLX_TRY(rlx_tokenizer_reserve(t, (int64_t)max_id + 1, cJSON_GetArraySize(merges)));
    cJSON_ArrayForEach(v, vocab) RLX_TRY(set_token(r, (int32_t)v->valuedouble, v->string));
    cJSON_ArrayForEach(v, get(r->root, "added_tokens"))
    {
        int32_t id = (int32_t)get(v, "id")->valuedouble;
        RLX_TRY(set_token(r, id, text_of(v, "content")));
        t->tokens[id].special = flag(v, "special", false);
    }
    RLX_TRY(read_merges(r, merges));
    t->fuse_unknown = flag(model, "fuse_unk", false);
    t->ignore_merges = flag(model, "ignore_merges", false);
    t->byte_fallback = flag(model, "byte_fallback", false);
    rlx_tokenizer_find_byte_ids(t);
    const char *unknown = text_of(model, "unk_token");
    t->unknown = unknown ? rlx_tokenizer_find(t, unknown) : -1;
    if (unknown && t->unknown < 0)
        return malformed(r, "unk_token is not in the vocabulary");
    return RLX_OK;
}

/* ---- normalizer and pre-tokenizer */

/* Calls `read` for a part, or for each of a Sequence's members under `key`. */
static rlx_status each_of(reader *r, const cJSON *part, const char *key,
                          rlx_status (*read)(reader *r, const cJSON *part))
{
    if (!part)
        return RLX_OK;
    if (!type_is(part, "Sequence"))
        return read(r, part);
    const cJSON *v;
    cJSON_ArrayForEach(v, get(part, key)) RLX_TRY(each_of(r, v, key, read));
    return RLX_OK;
}

static const char *keep(reader *r, const char *s)
{
    return s ? rlx_arena_strdup(r->t->arena, s) : NULL;
}

static rlx_status read_normalizer(reader *r, const cJSON *part)
{
    rlx_tokenizer *t = r->t;
    if (t->nnormal == RLX_MAX_STEPS)
        return unsupported(r, "normalizer", "a longer Sequence");
    rlx_normal_step *s = &t->normal[t->nnormal++];
    if (type_is(part, "Prepend")) {
        s->kind = RLX_NORMAL_PREPEND;
        s->text = keep(r, text_of(part, "prepend"));
    } else if (type_is(part, "Replace")) {
        s->kind = RLX_NORMAL_REPLACE;
        s->pattern = keep(r, text_of(get(part, "pattern"), "String"));
        s->text = keep(r, text_of(part, "content"));
        if (!s->pattern)
            return unsupported(r, "normalizer", "Replace with a regular expression");
    } else {
        return unsupported(r, "normalizer", text_of(part, "type"));
    }
    return s->text ? RLX_OK : malformed(r, "a normalizer has no text");
}

static rlx_status read_split(reader *r, const cJSON *part, rlx_split_step *s)
{
    const char *regex = text_of(get(part, "pattern"), "Regex"), *how = text_of(part, "behavior");
    bool invert = flag(part, "invert", false);
    if (!regex)
        return unsupported(r, "pre_tokenizer", "Split at a string");
    if (how && !strcmp(how, "Isolated")) {
        s->kind = RLX_SPLIT_REGEX;
    } else if (how && !strcmp(how, "Removed")) {
        s->kind = RLX_SPLIT_REGEX_DROP;
        s->keep_matches = invert;
    } else {
        return unsupported(r, "pre_tokenizer's Split behaviour", how);
    }
    RLX_TRY_NOTE(rlx_tokenizer_compile_regex(regex, &s->regex), "reading %s", r->name);
    return RLX_OK;
}

static rlx_status read_byte_level(reader *r, const cJSON *part)
{
    rlx_split_step *s = NULL;
    for (int i = 0; i < r->t->nsplit; i++)
        if (r->t->split[i].kind == RLX_SPLIT_BYTES)
            return unsupported(r, "pre_tokenizer", "a second ByteLevel");
    if (flag(part, "add_prefix_space", true)) {
        RLX_TRY(rlx_tokenizer_add_split(r->t, &s));
        s->kind = RLX_SPLIT_PREFIX;
    }
    if (flag(part, "use_regex", true))
        RLX_TRY(rlx_tokenizer_add_split_regex(r->t, rlx_tokenizer_gpt2_pattern));
    RLX_TRY(rlx_tokenizer_add_split(r->t, &s));
    s->kind = RLX_SPLIT_BYTES;
    return RLX_OK;
}

static rlx_status read_pre_tokenizer(reader *r, const cJSON *part)
{
    rlx_split_step *s = NULL;
    if (type_is(part, "ByteLevel"))
        return read_byte_level(r, part);
    if (type_is(part, "Split")) {
        RLX_TRY(rlx_tokenizer_add_split(r->t, &s));
        return read_split(r, part, s);
    }
    if (!type_is(part, "Metaspace"))
        return unsupported(r, "pre_tokenizer", text_of(part, "type"));
    const char *scheme = text_of(part, "prepend_scheme");
    RLX_TRY(rlx_tokenizer_add_split(r->t, &s));
    s->kind = RLX_SPLIT_SPACE;
    s->text = keep(r, text_of(part, "replacement"));
    s->add_prefix = scheme ? strcmp(scheme, "never") != 0 : flag(part, "add_prefix_space", true);
    s->prefix_once = scheme && !strcmp(scheme, "first");
    s->split = flag(part, "split", true);
    return s->text && *s->text ? RLX_OK : malformed(r, "Metaspace has no replacement");
}

/* ---- added tokens */

static rlx_status read_added(reader *r)
{
    rlx_text normal = {0};
    rlx_status st = RLX_OK;
    const cJSON *v;
    cJSON_ArrayForEach(v, get(r->root, "added_tokens"))
    {
        const char *text = text_of(v, "content");
        bool normalized = flag(v, "normalized", !flag(v, "special", false));
        if (flag(v, "single_word", false)) {
            st = unsupported(r, "single_word of added token", text);
            break;
        }
        rlx_tokenizer_normalize(r->t, text, normalized ? strlen(text) : 0, &normal);
        if (normal.oom) {
            st = RLX_OOM();
            break;
        }
        rlx_added_token a = {
            .text = normalized ? normal.data : text,
            .bytes = (uint32_t)(normalized ? normal.len : strlen(text)),
            .id = (int32_t)get(v, "id")->valuedouble,
            .lstrip = flag(v, "lstrip", false),
            .rstrip = flag(v, "rstrip", false),
        };
        RLX_TRY_TO(done,
                   rlx_tokenizer_add_added(r->t, normalized ? &r->t->normalized : &r->t->raw, &a));
    }
done:
    rlx_text_deinit(&normal);
    return st;
}

/* ---- post-processor */

static rlx_status template_ids(reader *r, const cJSON *part, const char *name, int32_t *ids, int *n)
{
    const cJSON *v, *list = get(get(get(part, "special_tokens"), name), "ids");
    if (!cJSON_IsArray(list))
        return RLX_FAIL(RLX_INVALID_FILE, "%s: post_processor: special token \"%s\" has no ids",
                        r->name, name);
    cJSON_ArrayForEach(v, list)
    {
        if (*n == RLX_MAX_TEMPLATE)
            return unsupported(r, "post_processor", "a longer template");
        RLX_TRY(read_id(r, v, name, &ids[*n]));
        if (ids[(*n)++] >= r->t->ntokens)
            return RLX_FAIL(RLX_INVALID_FILE,
                            "%s: post_processor: \"%s\" has an id without a token", r->name, name);
    }
    return RLX_OK;
}

static rlx_status read_post_processor(reader *r, const cJSON *part)
{
    if (type_is(part, "ByteLevel"))
        return RLX_OK; /* moves offsets, not ids */
    if (!type_is(part, "TemplateProcessing"))
        return unsupported(r, "post_processor", text_of(part, "type"));
    rlx_tokenizer *t = r->t;
    bool after = false;
    const cJSON *v;
    cJSON_ArrayForEach(v, get(part, "single"))
    {
        const char *special = text_of(get(v, "SpecialToken"), "id");
        if (!special)
            after = true; /* {"Sequence": {"id": "A"}} */
        else if (after)
            RLX_TRY(template_ids(r, part, special, t->suffix, &t->nsuffix));
        else
            RLX_TRY(template_ids(r, part, special, t->prefix, &t->nprefix));
    }
    return after ? RLX_OK : malformed(r, "post_processor: the template leaves the text out");
}

/* ---- decoder */

static rlx_status read_decoder(reader *r, const cJSON *part)
{
    rlx_tokenizer *t = r->t;
    if (type_is(part, "ByteLevel")) {
        t->decode_bytes = true;
    } else if (type_is(part, "Metaspace")) {
        const char *scheme = text_of(part, "prepend_scheme");
        t->decode_space = keep(r, text_of(part, "replacement"));
        t->decode_strip = !(scheme && !strcmp(scheme, "never"));
    } else if (type_is(part, "Replace")) {
        const char *what = text_of(get(part, "pattern"), "String"),
                   *with = text_of(part, "content");
        if (!what || !with || strcmp(with, " "))
            return unsupported(r, "decoder", "Replace by anything but a space");
        t->decode_space = keep(r, what);
    } else if (type_is(part, "ByteFallback")) {
        t->decode_fallback = true;
    } else if (type_is(part, "Strip")) {
        const char *what = text_of(part, "content");
        const cJSON *start = get(part, "start"), *stop = get(part, "stop");
        if (!what || strcmp(what, " ") || (stop && stop->valuedouble != 0))
            return unsupported(r, "decoder", "Strip of anything but leading spaces");
        t->decode_strip = start ? start->valueint : 0;
    } else if (!type_is(part, "Fuse")) {
        return unsupported(r, "decoder", text_of(part, "type"));
    }
    return RLX_OK;
}

/* ---- the file */

static rlx_status read_all(reader *r)
{
    RLX_TRY(read_model(r));
    RLX_TRY(each_of(r, get(r->root, "normalizer"), "normalizers", read_normalizer));
    RLX_TRY(each_of(r, get(r->root, "pre_tokenizer"), "pretokenizers", read_pre_tokenizer));
    RLX_TRY(each_of(r, get(r->root, "post_processor"), "processors", read_post_processor));
    RLX_TRY(each_of(r, get(r->root, "decoder"), "decoders", read_decoder));
    RLX_TRY(read_added(r));
    return rlx_tokenizer_finish(r->t);
}

rlx_status rlx_tokenizer_parse(const char *json, const char *name, rlx_tokenizer **out)
{
    rlx_tokenizer *t;
    *out = NULL;
    RLX_TRY(rlx_tokenizer_create(&t));
    const char *end = json;
    cJSON *root = cJSON_ParseWithOpts(json, &end, true);
    reader r = {.t = t, .name = name, .root = root};
    rlx_status st = root ? read_all(&r)
                         : RLX_FAIL(RLX_INVALID_FILE, "%s: not JSON at byte %td", name, end - json);
    cJSON_Delete(root);
    if (st) {
        rlx_tokenizer_destroy(t);
        return st;
    }
    *out = t;
    return RLX_OK;
}
