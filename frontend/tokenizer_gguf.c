/* frontend/tokenizer_gguf.c: tokenizer.ggml.* of a GGUF file to the tables.
 *
 *   model "gpt2"   byte-level BPE: tokens in the byte alphabet, merges, `pre` names the patterns
 *   model "llama"  sentencepiece BPE: a score for each token, spaces as marks, byte fallback
 *
 * Tokens of type control, unknown and user-defined are cut out of a text before anything else. What
 * would change an id and is not offered is refused by its key. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "frontend/tokenizer_impl.h"
#include "runtime/gguf.h"

#define KEY "tokenizer.ggml."

enum { MAX_TOKENS = 1 << 24 };

/* tokenizer.ggml.token_type. */
enum { TYPE_NORMAL = 1, TYPE_UNKNOWN, TYPE_CONTROL, TYPE_USER_DEFINED, TYPE_UNUSED, TYPE_BYTE };

typedef struct reader {
    rlx_tokenizer *t;
    const rlx_gguf *file;
    bool sentencepiece;
    bool bos; /* the default of tokenizer.ggml.add_bos_token */
} reader;

/* ---- metadata */

static rlx_status wrong(const char *key, const char *what)
{
    return RLX_FAIL(RLX_INVALID_FILE, "metadata " KEY "%s %s", key, what);
}

static rlx_status unsupported(const char *key, const char *what)
{
    return RLX_FAIL(RLX_UNSUPPORTED, "metadata " KEY "%s: %s is not offered", key, what);
}

static const rlx_gguf_value *find(const reader *r, const char *key)
{
    char name[64];
    snprintf(name, sizeof name, KEY "%s", key);
    return rlx_gguf_find(r->file, name);
}

/* An array that must be there with `count` elements (any number for -1) of a type that fits. */
static rlx_status find_array(const reader *r, const char *key, int64_t count,
                             const rlx_gguf_value **out)
{
    *out = find(r, key);
    if (!*out)
        return wrong(key, "is missing");
    if ((*out)->type != RLX_GGUF_ARRAY)
        return wrong(key, "is no array");
    if (count >= 0 && (*out)->count != (uint64_t)count)
        return RLX_FAIL(RLX_INVALID_FILE,
                        "metadata " KEY "%s has %llu elements, and there are %lld tokens", key,
                        (unsigned long long)(*out)->count, (long long)count);
    return RLX_OK;
}

static rlx_status find_texts(const reader *r, const char *key, const rlx_gguf_value **out)
{
    RLX_TRY(find_array(r, key, -1, out));
    return (*out)->elem == RLX_GGUF_STRING ? RLX_OK : wrong(key, "is no array of strings");
}

static rlx_status find_text(const reader *r, const char *key, const char *absent, const char **out)
{
    const rlx_gguf_value *v = find(r, key);
    *out = v ? v->text : absent;
    return !v || v->type == RLX_GGUF_STRING ? RLX_OK : wrong(key, "is no string");
}

static rlx_status find_flag(const reader *r, const char *key, bool absent, bool *out)
{
    const rlx_gguf_value *v = find(r, key);
    *out = v ? v->i != 0 : absent;
    return !v || v->type == RLX_GGUF_BOOL ? RLX_OK : wrong(key, "is no bool");
}

/* A token's id: -1 when the key is missing or says, with all bits set, that there is none. */
static rlx_status find_id(const reader *r, const char *key, int32_t *out)
{
    const rlx_gguf_value *v = find(r, key);
    int64_t id = -1;
    *out = -1;
    if (!v)
        return RLX_OK;
    if (!rlx_gguf_int(v, &id))
        return wrong(key, "is no token id");
    if (id == -1 || id == UINT32_MAX)
        return RLX_OK;
    if (id < 0 || id >= r->t->ntokens)
        return RLX_FAIL(RLX_INVALID_FILE, "metadata " KEY "%s is %lld; there are %lld tokens", key,
                        (long long)id, (long long)r->t->ntokens);
    *out = (int32_t)id;
    return RLX_OK;
}

/* Everything under the prefix is read here, named here as changing nothing, or refused. */
static rlx_status check_keys(const reader *r)
{
    static const char *const known[] = {
        "model",
        "pre",
        "tokens",
        "scores",
        "token_type",
        "merges",
        "add_bos_token",
        "add_eos_token",
        "add_space_prefix",
        "add_sep_token",
        "remove_extra_whitespaces",
        "token_type_count", /* of segment embeddings */
    };
    static const char suffix[] = "_token_id";
    for (int i = 0; i < rlx_gguf_value_count(r->file); i++) {
        const rlx_gguf_value *v = rlx_gguf_value_at(r->file, i);
        if (strncmp(v->key, KEY, strlen(KEY)) != 0)
            continue;
        const char *name = v->key + strlen(KEY);
        size_t n = strlen(name), m = strlen(suffix);
        bool found = n > m && !strcmp(name + n - m, suffix);
        for (size_t k = 0; k < sizeof known / sizeof *known && !found; k++)
            found = !strcmp(name, known[k]);
        if (!found)
            return RLX_FAIL(RLX_UNSUPPORTED, "metadata %s is not offered", v->key);
    }
    return RLX_OK;
}

/* ---- tokens */

static rlx_status read_tokens(reader *r)
{
    const rlx_gguf_value *tokens = NULL, *merges = find(r, "merges");
    RLX_TRY(find_texts(r, "tokens", &tokens));
    if (tokens->count == 0 || tokens->count > MAX_TOKENS)
        return wrong("tokens", "holds none, or too many");
    bool pairs = !r->sentencepiece && merges && merges->type == RLX_GGUF_ARRAY;
    RLX_TRY(
        rlx_tokenizer_reserve(r->t, (int64_t)tokens->count, pairs ? (int64_t)merges->count : 0));
    rlx_gguf_items it = rlx_gguf_walk(tokens);
    const char *text;
    size_t bytes;
    for (int32_t id = 0; rlx_gguf_next_text(&it, &text, &bytes); id++) {
        if (bytes > UINT32_MAX)
            return wrong("tokens", "has one that is too long");
        RLX_TRY(rlx_tokenizer_set_token(r->t, id, text, bytes));
    }
    return RLX_OK;
}

static rlx_status cut_out(reader *r, int32_t id)
{
    const rlx_token *k = &r->t->tokens[id];
    if (!k->text_bytes)
        return RLX_OK;
    rlx_added_token a = {.text = k->text, .bytes = k->text_bytes, .id = id};
    return rlx_tokenizer_add_added(r->t, &r->t->raw, &a);
}

static rlx_status read_types(reader *r)
{
    const rlx_gguf_value *types = NULL;
    if (!find(r, "token_type"))
        return RLX_OK; /* all are normal */
    RLX_TRY(find_array(r, "token_type", r->t->ntokens, &types));
    rlx_gguf_items it = rlx_gguf_walk(types);
    if (types->elem == RLX_GGUF_STRING || types->elem == RLX_GGUF_BOOL)
        return wrong("token_type", "is no array of whole numbers");
    rlx_gguf_value v;
    for (int32_t id = 0; rlx_gguf_next(&it, &v); id++) {
        int64_t type = 0;
        if (!rlx_gguf_int(&v, &type) || type < TYPE_NORMAL || type > TYPE_BYTE)
            return RLX_FAIL(RLX_INVALID_FILE,
                            "metadata " KEY "token_type: token %d has the unknown type %lld", id,
                            (long long)type);
        bool cut = type >= TYPE_UNKNOWN && type <= TYPE_USER_DEFINED;
        r->t->tokens[id].special = type == TYPE_CONTROL || type == TYPE_UNKNOWN;
        if (type != TYPE_NORMAL && type != TYPE_USER_DEFINED)
            r->t->tokens[id].rank = RLX_RANK_NEVER;
        if (cut)
            RLX_TRY(cut_out(r, id));
    }
    return RLX_OK;
}

/* ---- sentencepiece */

static rlx_status read_scores(reader *r)
{
    const rlx_gguf_value *scores = NULL;
    RLX_TRY(find_array(r, "scores", r->t->ntokens, &scores));
    if (scores->elem != RLX_GGUF_F32)
        return wrong("scores", "is no array of f32");
    rlx_gguf_items it = rlx_gguf_walk(scores);
    rlx_gguf_value v;
    for (int32_t id = 0; rlx_gguf_next(&it, &v); id++) {
        if (isnan(v.f))
            return RLX_FAIL(RLX_INVALID_FILE, "metadata " KEY "scores: token %d has none", id);
        r->t->tokens[id].rank = rlx_tokenizer_rank_of_score((float)v.f);
    }
    return RLX_OK;
}

static rlx_status read_sentencepiece(reader *r)
{
    bool squeeze = false, prefix = true;
    r->bos = true;
    RLX_TRY(read_scores(r));
    RLX_TRY(read_types(r));
    RLX_TRY(find_flag(r, "remove_extra_whitespaces", false, &squeeze));
    RLX_TRY(find_flag(r, "add_space_prefix", true, &prefix));
    RLX_TRY(find_id(r, "unknown_token_id", &r->t->unknown));
    rlx_tokenizer_set_sentencepiece(r->t, squeeze, prefix);
    return RLX_OK;
}

/* ---- byte-level BPE */

#define LETTERS_3 "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|"
#define REST_3 "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define UPPER "\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}"
#define LOWER "\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}"

enum { MAX_PATTERNS = 4 };
static const char *const LLAMA3[MAX_PATTERNS] = {LETTERS_3 "\\p{N}{1,3}" REST_3};
static const char *const QWEN2[MAX_PATTERNS] = {LETTERS_3 "\\p{N}" REST_3};
static const char *const TEKKEN[MAX_PATTERNS] = {
    "[^\\r\\n\\p{L}\\p{N}]?[" UPPER "]*[" LOWER "]+|[^\\r\\n\\p{L}\\p{N}]?[" UPPER "]+[" LOWER
    "]*|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"};
static const char *const GPT2[MAX_PATTERNS] = {rlx_tokenizer_gpt2_pattern};
static const char *const DIGITS_GPT2[MAX_PATTERNS] = {"\\p{N}", rlx_tokenizer_gpt2_pattern};
static const char *const DEFAULT[MAX_PATTERNS] = {
    "[\\p{P}\\$\\+<=>\\^~\\|]+", rlx_tokenizer_gpt2_pattern, "\\p{N}+", "[0-9][0-9][0-9]"};

static const struct pre {
    const char *name;
    const char *const *patterns;
    bool whole_words, bos;
} pres[] = {
#define PRE(name, patterns, whole_words, bos) {name, patterns, whole_words, bos},
#include "frontend/tokenizer_pre.def"
#undef PRE
};

static rlx_status read_pre(reader *r)
{
    const char *name = NULL;
    const struct pre *pre = NULL;
    RLX_TRY(find_text(r, "pre", "default", &name));
    for (size_t i = 0; i < sizeof pres / sizeof *pres; i++)
        if (!strcmp(pres[i].name, name))
            pre = &pres[i];
    if (!pre)
        return RLX_FAIL(RLX_UNSUPPORTED, "metadata " KEY "pre: \"%s\" is not offered", name);
    for (int i = 0; i < MAX_PATTERNS && pre->patterns[i]; i++)
        RLX_TRY(rlx_tokenizer_add_split_regex(r->t, pre->patterns[i]));
    rlx_split_step *bytes = NULL;
    RLX_TRY(rlx_tokenizer_add_split(r->t, &bytes));
    bytes->kind = RLX_SPLIT_BYTES;
    r->t->ignore_merges = pre->whole_words;
    r->t->decode_bytes = true;
    r->bos = pre->bos;
    return RLX_OK;
}

static rlx_status read_merges(reader *r)
{
    const rlx_gguf_value *merges = NULL;
    RLX_TRY(find_texts(r, "merges", &merges));
    rlx_gguf_items it = rlx_gguf_walk(merges);
    rlx_text joined = {0};
    rlx_status st = RLX_OK;
    const char *text;
    size_t bytes;
    for (int32_t rank = 0; !st && rlx_gguf_next_text(&it, &text, &bytes); rank++) {
        int32_t left = 0, right = 0;
        if (rlx_tokenizer_find_sides(r->t, text, bytes, &left, &right))
            st = rlx_tokenizer_add_merge(r->t, left, right, rank, &joined);
        else
            st = RLX_FAIL(RLX_INVALID_FILE, "merge %d, \"%.*s\", is not of two tokens", rank,
                          bytes < 200 ? (int)bytes : 200, text);
    }
    rlx_text_deinit(&joined);
    return rlx_status_note(st, __FILE__, __LINE__, "metadata " KEY "merges");
}

static rlx_status read_byte_level(reader *r)
{
    bool prefix = false, squeeze = false;
    RLX_TRY(read_pre(r));
    RLX_TRY(read_types(r));
    RLX_TRY(read_merges(r));
    RLX_TRY(find_flag(r, "add_space_prefix", false, &prefix));
    RLX_TRY(find_flag(r, "remove_extra_whitespaces", false, &squeeze));
    if (prefix)
        return unsupported("add_space_prefix", "true, with " KEY "model \"gpt2\",");
    if (squeeze)
        return unsupported("remove_extra_whitespaces", "true, with " KEY "model \"gpt2\",");
    return RLX_OK;
}

/* ---- the file */

/* Tokens around a text. A default that the file has no token for adds nothing. */
static rlx_status read_ends(reader *r)
{
    rlx_tokenizer *t = r->t;
    bool bos = false, eos = false, sep = false;
    int32_t bos_id = -1, eos_id = -1;
    RLX_TRY(find_flag(r, "add_bos_token", r->bos, &bos));
    RLX_TRY(find_flag(r, "add_eos_token", false, &eos));
    RLX_TRY(find_flag(r, "add_sep_token", false, &sep));
    if (sep)
        return unsupported("add_sep_token", "true");
    RLX_TRY(find_id(r, "bos_token_id", &bos_id));
    RLX_TRY(find_id(r, "eos_token_id", &eos_id));
    if (bos && bos_id < 0 && find(r, "add_bos_token"))
        return wrong("add_bos_token", "is true, and there is no " KEY "bos_token_id");
    if (eos && eos_id < 0)
        return wrong("add_eos_token", "is true, and there is no " KEY "eos_token_id");
    if (bos && bos_id >= 0)
        t->prefix[t->nprefix++] = bos_id;
    if (eos)
        t->suffix[t->nsuffix++] = eos_id;
    return RLX_OK;
}

static rlx_status read_all(reader *r, const char *model)
{
    r->sentencepiece = !strcmp(model, "llama");
    if (!r->sentencepiece && strcmp(model, "gpt2"))
        return RLX_FAIL(RLX_UNSUPPORTED,
                        "metadata " KEY "model: \"%s\" is not offered (gpt2 and llama are)", model);
    RLX_TRY(check_keys(r));
    RLX_TRY(read_tokens(r));
    RLX_TRY(r->sentencepiece ? read_sentencepiece(r) : read_byte_level(r));
    RLX_TRY(read_ends(r));
    return rlx_tokenizer_finish(r->t);
}

rlx_status rlx_tokenizer_read_gguf(const rlx_gguf *f, const char *name, rlx_tokenizer **out)
{
    reader r = {.file = f};
    const char *model = NULL;
    *out = NULL;
    RLX_TRY_NOTE(find_text(&r, "model", "none", &model), "reading %s", name);
    if (!strcmp(model, "none"))
        return RLX_OK;
    RLX_TRY(rlx_tokenizer_create(&r.t));
    rlx_status st = read_all(&r, model);
    if (st) {
        rlx_tokenizer_destroy(r.t);
        RLX_TRY_NOTE(st, "reading the tokenizer of %s", name);
    }
    *out = r.t;
    return RLX_OK;
}
