/* frontend/text/read_gguf.c: tokenizer.ggml.* of a GGUF file.
 *
 *   model "gpt2"   byte-level BPE: tokens in the byte alphabet, merges, `pre` names the patterns
 *   model "llama"  sentencepiece BPE: a score for each token, spaces as marks, byte fallback
 *   model "t5"     sentencepiece Unigram: the same, with its compiled rules
 *   model "bert"   WordPiece: a mark in front of what begins a word, none of what continues one
 *
 * Tokens of type control, unknown and user-defined are cut out of a text before anything else. What
 * would change an id and is not offered is refused by its key. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "frontend/text/normalize.h"
#include "frontend/text/read.h"
#include "runtime/gguf.h"

#define KEY "tokenizer.ggml."

/* U+2581, which stands for a space. */
#define MARK "\xe2\x96\x81"

/* tokenizer.ggml.token_type. */
enum { TYPE_NORMAL = 1, TYPE_UNKNOWN, TYPE_CONTROL, TYPE_USER_DEFINED, TYPE_UNUSED, TYPE_BYTE };

typedef struct reader {
    rlx_description *d;
    const rlx_gguf *file;
    const struct kind *kind;
    bool bos, eos; /* the defaults of add_bos_token and add_eos_token */
    bool by_score; /* sentencepiece's BPE */
    bool phi3;     /* added tokens take white space behind them: rlx_text_phi3_strips */
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
    if (id < 0 || id >= r->d->ntokens)
        return RLX_FAIL(RLX_INVALID_FILE, "metadata " KEY "%s is %lld; there are %lld tokens", key,
                        (long long)id, (long long)r->d->ntokens);
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
        "precompiled_charsmap",
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
    const rlx_gguf_value *tokens = NULL;
    RLX_TRY(find_texts(r, "tokens", &tokens));
    if (tokens->count == 0 || tokens->count > RLX_MAX_TOKENS)
        return wrong("tokens", "holds none, or too many");
    RLX_TRY(rlx_description_reserve(r->d, (int64_t)tokens->count));
    rlx_gguf_items it = rlx_gguf_walk(tokens);
    const char *text;
    size_t bytes;
    for (int32_t id = 0; rlx_gguf_next_text(&it, &text, &bytes); id++) {
        if (bytes > UINT32_MAX)
            return wrong("tokens", "has one that is too long");
        RLX_TRY(rlx_description_set_copy(r->d, id, text, bytes, RLX_TOKEN_MODEL));
    }
    return RLX_OK;
}

static rlx_status set_type(reader *r, int32_t id, int64_t type)
{
    rlx_token *k = &r->d->tokens[id];
    if (type < TYPE_NORMAL || type > TYPE_BYTE)
        return RLX_FAIL(RLX_INVALID_FILE,
                        "metadata " KEY "token_type: token %d has the unknown type %lld", id,
                        (long long)type);
    if (type == TYPE_CONTROL || type == TYPE_UNKNOWN)
        k->flags |= RLX_TOKEN_SPECIAL;
    if (type == TYPE_USER_DEFINED)
        k->flags |= RLX_TOKEN_USER;
    else if (type == TYPE_UNUSED && r->by_score)
        k->flags |= RLX_TOKEN_UNUSED;
    else if (type != TYPE_NORMAL)
        k->flags &= ~(uint32_t)RLX_TOKEN_MODEL;
    if (type < TYPE_UNKNOWN || type > TYPE_USER_DEFINED)
        return RLX_OK;
    const char *text = rlx_description_get(r->d, k->text);
    rlx_text copy = {0}; /* adding may move the text */
    rlx_text_put_bytes(&copy, text, k->text.bytes);
    const char *added = copy.len ? copy.data : "";
    const uint32_t flags = r->phi3 && rlx_text_phi3_strips(added) ? RLX_ADDED_RSTRIP : 0;
    rlx_status st =
        copy.oom ? RLX_OOM() : rlx_description_add_added(r->d, id, added, copy.len, flags);
    rlx_text_deinit(&copy);
    return st;
}

static rlx_status read_types(reader *r)
{
    const rlx_gguf_value *types = NULL;
    if (!find(r, "token_type"))
        return RLX_OK; /* all are normal */
    RLX_TRY(find_array(r, "token_type", r->d->ntokens, &types));
    rlx_gguf_items it = rlx_gguf_walk(types);
    if (types->elem == RLX_GGUF_STRING || types->elem == RLX_GGUF_BOOL)
        return wrong("token_type", "is no array of whole numbers");
    rlx_gguf_value v;
    for (int32_t id = 0; rlx_gguf_next(&it, &v); id++) {
        int64_t type = 0;
        rlx_gguf_int(&v, &type);
        RLX_TRY(set_type(r, id, type));
    }
    return RLX_OK;
}

/* ---- sentencepiece */

/* What an unknown character costs beyond the worst token. */
enum { UNKNOWN_PENALTY = 10 };

static rlx_status read_scores(reader *r)
{
    const rlx_gguf_value *scores = NULL;
    bool bpe = r->d->settings.model == RLX_MODEL_BPE;
    float least = INFINITY;
    RLX_TRY(find_array(r, "scores", r->d->ntokens, &scores));
    if (scores->elem != RLX_GGUF_F32)
        return wrong("scores", "is no array of f32");
    rlx_gguf_items it = rlx_gguf_walk(scores);
    rlx_gguf_value v;
    for (int32_t id = 0; rlx_gguf_next(&it, &v); id++) {
        rlx_token *k = &r->d->tokens[id];
        float score = (float)v.f;
        if (isnan(v.f))
            return RLX_FAIL(RLX_INVALID_FILE, "metadata " KEY "scores: token %d has none", id);
        if (bpe) {
            k->rank = rlx_description_rank_of_score(score);
            continue;
        }
        k->score = k->flags & RLX_TOKEN_USER ? 0 : (double)score; /* beats what has a probability */
        if ((k->flags & RLX_TOKEN_MODEL) && !(k->flags & RLX_TOKEN_USER))
            least = fminf(least, score);
    }
    if (!bpe)
        r->d->settings.unknown_score = (double)(least - UNKNOWN_PENALTY);
    return RLX_OK;
}

static rlx_status read_rules(reader *r)
{
    const rlx_gguf_value *v = find(r, "precompiled_charsmap");
    if (!v)
        return RLX_OK;
    if (v->type != RLX_GGUF_ARRAY || (v->elem != RLX_GGUF_U8 && v->elem != RLX_GGUF_I8))
        return wrong("precompiled_charsmap", "is no array of bytes");
    RLX_TRY_NOTE(rlx_charsmap_check((const char *)v->items, (size_t)v->count),
                 "metadata " KEY "precompiled_charsmap");
    r->d->settings.charsmap = rlx_description_text(r->d, (const char *)v->items, (size_t)v->count);
    return RLX_OK;
}

/* Other readers tell these models by their name, too. */
static bool is_phi3(const rlx_gguf *f)
{
    const rlx_gguf_value *name = rlx_gguf_find(f, "general.name");
    return name && name->type == RLX_GGUF_STRING &&
           (strcasestr(name->text, RLX_PHI3_NAME) || strcasestr(name->text, "phi3"));
}

static rlx_status read_sentencepiece(reader *r)
{
    bool squeeze = false, prefix = true;
    r->phi3 = is_phi3(r->file);
    RLX_TRY(read_types(r));
    RLX_TRY(read_scores(r));
    RLX_TRY(read_rules(r));
    RLX_TRY(find_flag(r, "remove_extra_whitespaces", false, &squeeze));
    RLX_TRY(find_flag(r, "add_space_prefix", true, &prefix));
    RLX_TRY(find_id(r, "unknown_token_id", &r->d->settings.unknown));
    r->d->settings.byte_fallback = true;
    return rlx_description_set_sentencepiece(r->d, RLX_SPM_MARKS | (squeeze ? RLX_SPM_SQUEEZE : 0) |
                                                       (prefix ? RLX_SPM_PREFIX : 0));
}

/* ---- byte-level BPE */

static rlx_status read_pre(reader *r)
{
    const char *name = NULL;
    RLX_TRY(find_text(r, "pre", "default", &name));
    name = rlx_description_take_pre(r->d, name);
    const rlx_text_pre *pre = rlx_text_pre_find(name);
    if (!pre)
        return RLX_FAIL(RLX_UNSUPPORTED, "metadata " KEY "pre: \"%s\" is not offered", name);
    r->bos = pre->bos;
    return rlx_description_set_pre(r->d, pre);
}

static rlx_status read_merges(reader *r)
{
    const rlx_gguf_value *merges = NULL;
    RLX_TRY(find_texts(r, "merges", &merges));
    rlx_gguf_items it = rlx_gguf_walk(merges);
    rlx_status st = RLX_OK;
    const char *text;
    size_t bytes;
    while (!st && rlx_gguf_next_text(&it, &text, &bytes))
        st = rlx_description_add_merge_text(r->d, text, bytes);
    return rlx_status_note(st, __FILE__, __LINE__, "metadata " KEY "merges");
}

static rlx_status read_byte_level(reader *r)
{
    bool prefix = false, squeeze = false;
    rlx_text_step *first = NULL;
    RLX_TRY(find_flag(r, "add_space_prefix", false, &prefix));
    RLX_TRY(find_flag(r, "remove_extra_whitespaces", false, &squeeze));
    if (squeeze)
        return unsupported("remove_extra_whitespaces", "true, with " KEY "model \"gpt2\",");
    if (prefix)
        RLX_TRY(rlx_description_add_split(r->d, RLX_SPLIT_PREFIX, &first));
    RLX_TRY(read_pre(r));
    RLX_TRY(read_types(r));
    return read_merges(r);
}

/* ---- WordPiece */

static bool has_capital(const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (text[i] >= 'A' && text[i] <= 'Z')
            return true;
    return false;
}

/* Back to the texts of a vocab.txt: nothing in front of what begins a word, "##" of what goes on.
 */
static rlx_status read_words(reader *r)
{
    const rlx_gguf_value *tokens = NULL, *types = find(r, "token_type");
    RLX_TRY(find_texts(r, "tokens", &tokens));
    if (tokens->count == 0 || tokens->count > RLX_MAX_TOKENS)
        return wrong("tokens", "holds none, or too many");
    if (types)
        RLX_TRY(find_array(r, "token_type", (int64_t)tokens->count, &types));
    RLX_TRY(rlx_description_reserve(r->d, (int64_t)tokens->count));
    rlx_gguf_items it = rlx_gguf_walk(tokens), ty = types ? rlx_gguf_walk(types) : it;
    bool capitals = false;
    const char *text;
    size_t bytes;
    for (int32_t id = 0; rlx_gguf_next_text(&it, &text, &bytes); id++) {
        rlx_gguf_value v;
        int64_t type = TYPE_NORMAL;
        if (types && rlx_gguf_next(&ty, &v))
            rlx_gguf_int(&v, &type);
        bool begins = bytes > 3 && !memcmp(text, MARK, 3);
        bool as_is = type != TYPE_NORMAL || (bytes > 2 && *text == '[' && text[bytes - 1] == ']');
        rlx_text_clear(&r->d->scratch);
        if (!begins && !as_is)
            rlx_text_put(&r->d->scratch, "##");
        rlx_text_put_bytes(&r->d->scratch, begins ? text + 3 : text, begins ? bytes - 3 : bytes);
        if (r->d->scratch.oom)
            return RLX_OOM();
        RLX_TRY(rlx_description_set_copy(r->d, id, r->d->scratch.data, r->d->scratch.len,
                                         RLX_TOKEN_MODEL));
        capitals |= !as_is && has_capital(text, bytes);
    }
    return rlx_description_set_bert(r->d, !capitals);
}

static rlx_status read_bert(reader *r)
{
    int32_t unknown = -1;
    r->bos = r->eos = true;
    RLX_TRY(read_types(r));
    RLX_TRY(find_id(r, "unknown_token_id", &unknown));
    r->d->settings.unknown = unknown >= 0 ? unknown : rlx_description_find(r->d, "[UNK]", 5);
    return RLX_OK;
}

/* ---- the file */

static const struct kind {
    const char *name;
    rlx_text_model model;
    rlx_status (*tokens)(reader *r);
    rlx_status (*rest)(reader *r);
    const char *bos, *eos; /* keys of what stands around a text */
} kinds[] = {
    {"gpt2", RLX_MODEL_BPE, read_tokens, read_byte_level, "bos_token_id", "eos_token_id"},
    {"llama", RLX_MODEL_BPE, read_tokens, read_sentencepiece, "bos_token_id", "eos_token_id"},
    {"t5", RLX_MODEL_UNIGRAM, read_tokens, read_sentencepiece, "bos_token_id", "eos_token_id"},
    {"bert", RLX_MODEL_WORDPIECE, read_words, read_bert, "cls_token_id", "seperator_token_id"},
};
enum { NKINDS = sizeof kinds / sizeof *kinds };

static rlx_status find_end(const reader *r, const char *key, const char *other, int32_t *id)
{
    RLX_TRY(find_id(r, key, id));
    return *id < 0 ? find_id(r, other, id) : RLX_OK;
}

/* Tokens around a text. A default that the file has no token for adds nothing. */
static rlx_status read_ends(reader *r)
{
    bool bos = false, eos = false, sep = false;
    int32_t bos_id = -1, eos_id = -1;
    RLX_TRY(find_flag(r, "add_bos_token", r->bos, &bos));
    RLX_TRY(find_flag(r, "add_eos_token", r->eos, &eos));
    RLX_TRY(find_flag(r, "add_sep_token", false, &sep));
    if (sep && r->kind->model != RLX_MODEL_WORDPIECE)
        return unsupported("add_sep_token", "true");
    RLX_TRY(find_end(r, r->kind->bos, "bos_token_id", &bos_id));
    RLX_TRY(find_end(r, r->kind->eos, "eos_token_id", &eos_id));
    if (bos && bos_id < 0 && find(r, "add_bos_token"))
        return wrong("add_bos_token", "is true, and there is no " KEY "bos_token_id");
    if (eos && eos_id < 0 && find(r, "add_eos_token"))
        return wrong("add_eos_token", "is true, and there is no " KEY "eos_token_id");
    return rlx_description_set_ends(r->d, bos ? bos_id : -1, eos ? eos_id : -1);
}

static rlx_status read_all(reader *r, const char *model)
{
    int i = 0;
    while (i < NKINDS && strcmp(kinds[i].name, model))
        i++;
    if (i == NKINDS)
        return RLX_FAIL(
            RLX_UNSUPPORTED,
            "metadata " KEY "model: \"%s\" is not offered (gpt2, llama, t5 and bert are)", model);
    r->kind = &kinds[i];
    r->d->settings.model = kinds[i].model;
    r->by_score = r->kind->rest == read_sentencepiece && r->kind->model == RLX_MODEL_BPE;
    r->bos = r->by_score;
    r->eos = r->kind->model == RLX_MODEL_UNIGRAM;
    RLX_TRY(check_keys(r));
    RLX_TRY(kinds[i].tokens(r));
    RLX_TRY(kinds[i].rest(r));
    return read_ends(r);
}

rlx_status rlx_read_gguf(rlx_description *d, const rlx_gguf *f, bool *there)
{
    reader r = {.d = d, .file = f};
    const char *model = NULL;
    RLX_TRY_NOTE(find_text(&r, "model", "none", &model), "reading %s", d->name);
    *there = strcmp(model, "none") != 0;
    if (!*there)
        return RLX_OK;
    RLX_TRY_NOTE(read_all(&r, model), "reading the tokenizer of %s", d->name);
    return RLX_OK;
}
