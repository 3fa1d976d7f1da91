/* frontend/quantize_text.c: what a hub's directory says about text as a GGUF file's metadata:
 * tokenizer.json, if it is byte-level BPE (others: quantize_spm.c); what ends a text; chat
 * templates. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "frontend/chat.h"
#include "frontend/model_path.h"
#include "frontend/quantize.h"
#include "frontend/text/description.h"

#define KEY "tokenizer.ggml."

static const cJSON *get(const cJSON *o, const char *key)
{
    return cJSON_GetObjectItemCaseSensitive(o, key);
}

static const char *text_of(const cJSON *o, const char *key)
{
    return cJSON_GetStringValue(get(o, key));
}

/* ---- tokens --------------------------------------------------------------------------------- */

static rlx_status set_token(rlx_quantize_tokens *t, const cJSON *id, const char *text, int32_t type)
{
    if (!text || !cJSON_IsNumber(id) || id->valuedouble < 0 || id->valuedouble >= (double)t->n)
        return RLX_FAIL(RLX_INVALID_FILE, "tokenizer.json: token \"%.40s\" has no id of the %lld",
                        text ? text : "?", (long long)t->n);
    free(t->text[id->valueint]);
    t->text[id->valueint] = strdup(text);
    t->type[id->valueint] = type;
    return t->text[id->valueint] ? RLX_OK : RLX_OOM();
}

rlx_status rlx_quantize_refuse_added(const char *what, const char *text)
{
    return RLX_FAIL(
        RLX_UNSUPPORTED,
        "tokenizer.json: %s of added token \"%.40s\" is not written to GGUF files: they "
        "have nothing for it",
        what, text);
}

static rlx_status check_added(const cJSON *token)
{
    static const char *const refused[] = {"lstrip", "rstrip", "single_word"};
    const char *text = text_of(token, "content");
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (cJSON_IsTrue(get(token, refused[i])))
            return rlx_quantize_refuse_added(refused[i], text ? text : "?");
    return RLX_OK;
}

static rlx_status list_tokens(const cJSON *json, rlx_quantize_tokens *t)
{
    const cJSON *v, *vocab = get(get(json, "model"), "vocab");
    cJSON_ArrayForEach(v, vocab)
    {
        RLX_TRY(set_token(t, v, v->string, RLX_QUANTIZE_NORMAL));
    }
    cJSON_ArrayForEach(v, get(json, "added_tokens"))
    {
        bool special = cJSON_IsTrue(get(v, "special"));
        RLX_TRY(check_added(v));
        RLX_TRY(set_token(t, get(v, "id"), text_of(v, "content"),
                          special ? RLX_QUANTIZE_CONTROL : RLX_QUANTIZE_USER_DEFINED));
    }
    return RLX_OK;
}

rlx_status rlx_quantize_put_tokens(rlx_gguf_head *h, const rlx_quantize_tokens *t)
{
    char unused[32];
    rlx_gguf_put_array(h, KEY "tokens", RLX_GGUF_STRING, (uint64_t)t->n);
    for (int64_t i = 0; i < t->n; i++) {
        snprintf(unused, sizeof unused, "[PAD%lld]", (long long)i);
        const char *text = t->text[i] ? t->text[i] : unused;
        rlx_gguf_put_element_text(h, text, strlen(text));
    }
    rlx_gguf_put_array(h, KEY "token_type", RLX_GGUF_I32, (uint64_t)t->n);
    for (int64_t i = 0; i < t->n; i++)
        rlx_gguf_put_element_int(h, RLX_GGUF_I32, t->text[i] ? t->type[i] : RLX_QUANTIZE_UNUSED);
    return h->bytes.oom ? RLX_OOM() : RLX_OK;
}

static rlx_status put_merges(rlx_gguf_head *h, const cJSON *merges)
{
    const cJSON *v;
    rlx_text both = {0};
    if (!cJSON_IsArray(merges))
        return RLX_FAIL(RLX_INVALID_FILE, "tokenizer.json: model.merges is no list");
    rlx_gguf_put_array(h, KEY "merges", RLX_GGUF_STRING, (uint64_t)cJSON_GetArraySize(merges));
    cJSON_ArrayForEach(v, merges)
    {
        const char *left = cJSON_GetStringValue(cJSON_GetArrayItem(v, 0));
        const char *right = cJSON_GetStringValue(cJSON_GetArrayItem(v, 1));
        rlx_text_clear(&both);
        if (cJSON_IsString(v))
            rlx_text_put(&both, v->valuestring);
        else
            rlx_text_putf(&both, "%s %s", left ? left : "", right ? right : "");
        rlx_gguf_put_element_text(h, both.data ? both.data : "", both.len);
    }
    rlx_status st = both.oom ? RLX_OOM() : RLX_OK;
    rlx_text_deinit(&both);
    return st;
}

/* ---- how texts are cut ---------------------------------------------------------------------- */

enum { MAX_STEPS = 4 };

static bool is_type(const cJSON *step, const char *type)
{
    const char *t = text_of(step, "type");
    return t && !strcmp(t, type);
}

/* The patterns of the steps; 0: they are none that GGUF files have a name for. */
static int list_patterns(const cJSON *pre, const char **patterns)
{
    const rlx_text_pre *gpt2 = rlx_text_pre_find("gpt-2");
    const cJSON *steps = is_type(pre, "Sequence") ? get(pre, "pretokenizers") : NULL;
    int n = 0, count = steps ? cJSON_GetArraySize(steps) : 1;
    for (int i = 0; i < count && count <= MAX_STEPS; i++) {
        const cJSON *step = steps ? cJSON_GetArrayItem(steps, i) : pre;
        bool bytes = is_type(step, "ByteLevel");
        if (is_type(step, "Split") && !cJSON_IsTrue(get(step, "invert")))
            patterns[n++] = text_of(get(step, "pattern"), "Regex");
        else if (is_type(step, "Digits") && cJSON_IsTrue(get(step, "individual_digits")))
            patterns[n++] = "\\p{N}";
        else if (bytes && !cJSON_IsFalse(get(step, "use_regex")))
            patterns[n++] = gpt2->patterns[0];
        else if (!bytes)
            return 0;
        if (bytes ? cJSON_IsTrue(get(step, "add_prefix_space")) : !patterns[n - 1])
            return 0;
    }
    return n;
}

/* A key of tokenizer.json, or of its model, that is not as byte-level BPE in GGUF files has it;
 * NULL: there is none. NFC is not written: pre.def has the names that go with it. */
static const char *odd_key(const cJSON *json)
{
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    const cJSON *model = get(json, "model"), *normalizer = get(json, "normalizer");
    if (!is_type(model, "BPE"))
        return "model.type";
    for (size_t i = 0; i < sizeof affixes / sizeof *affixes; i++)
        if (text_of(model, affixes[i]) && *text_of(model, affixes[i]))
            return affixes[i];
    return normalizer && !cJSON_IsNull(normalizer) && !is_type(normalizer, "NFC") ? "normalizer"
                                                                                  : NULL;
}

static rlx_status put_pre(rlx_gguf_head *h, const cJSON *json)
{
    const char *patterns[MAX_STEPS] = {NULL}, *odd = odd_key(json);
    int n = list_patterns(get(json, "pre_tokenizer"), patterns);
    const bool whole_words = cJSON_IsTrue(get(get(json, "model"), "ignore_merges"));
    const bool nfc = is_type(get(json, "normalizer"), "NFC");
    const char *name = n ? rlx_text_pre_name(patterns, n, whole_words, nfc) : NULL;
    if (odd || !name)
        return RLX_FAIL(RLX_UNSUPPORTED,
                        "tokenizer.json: %s: not written to GGUF files: byte-level BPE is, of "
                        "patterns that they have a name for, and BPE with byte fallback",
                        odd ? odd : "pre_tokenizer");
    rlx_gguf_put_text(h, KEY "model", "gpt2");
    rlx_gguf_put_text(h, KEY "pre", name);
    return RLX_OK;
}

/* ---- ends ----------------------------------------------------------------------------------- */

typedef struct text_ends {
    int64_t bos, eos; /* -1: none */
} text_ends;

/* The id of a token that tokenizer_config.json names; `otherwise` when it does not. */
static int64_t id_of(const rlx_quantize_tokens *t, const cJSON *settings, const char *name,
                     int64_t otherwise)
{
    const cJSON *v = get(settings, name);
    const char *text = cJSON_IsObject(v) ? text_of(v, "content") : cJSON_GetStringValue(v);
    for (int64_t i = 0; text && i < t->n; i++)
        if (t->text[i] && !strcmp(t->text[i], text))
            return i;
    return otherwise;
}

/* All that end a text: GGUF files have keys for three. */
static rlx_status put_ends(rlx_gguf_head *h, const rlx_model_config *c, const text_ends *e)
{
    static const char *const keys[] = {KEY "eos_token_id", KEY "eot_token_id", KEY "eom_token_id"};
    enum { KEYS = sizeof keys / sizeof *keys };
    int64_t ids[RLX_MAX_EOS + 1] = {e->eos};
    int n = e->eos >= 0;
    for (int i = 0; i < c->neos; i++) {
        bool known = false;
        for (int k = 0; k < n; k++)
            known |= ids[k] == c->eos[i];
        if (!known)
            ids[n++] = c->eos[i];
    }
    if (n > KEYS)
        return RLX_FAIL(RLX_UNSUPPORTED,
                        "eos_token_id: %d tokens end a text, and GGUF files have keys for %d", n,
                        KEYS);
    if (e->bos >= 0)
        rlx_gguf_put_int(h, KEY "bos_token_id", RLX_GGUF_U32, e->bos);
    for (int i = 0; i < n; i++)
        rlx_gguf_put_int(h, keys[i], RLX_GGUF_U32, ids[i]);
    return RLX_OK;
}

/* Whether texts begin and end with these tokens, as the tokenizer has it. */
static rlx_status put_around(rlx_gguf_head *h, const rlx_model *m, const text_ends *e)
{
    int32_t *plain = NULL, *whole = NULL;
    int64_t n = 0, k = 0;
    RLX_TRY(rlx_model_need_tokenizer(m));
    rlx_status st = rlx_tokenizer_encode(m->tokenizer, "a", 1, false, &plain, &n);
    if (!st)
        st = rlx_tokenizer_encode(m->tokenizer, "a", 1, true, &whole, &k);
    const bool has_bos = !st && k > n && whole[0] == e->bos;
    const bool has_eos = !st && k > n && whole[k - 1] == e->eos;
    bool same = k == n + has_bos + has_eos;
    for (int64_t i = 0; same && i < n; i++)
        same = whole[i + has_bos] == plain[i];
    if (!st && !same)
        st =
            RLX_FAIL(RLX_UNSUPPORTED, "tokenizer.json: post_processor: only a bos token before and "
                                      "an eos token behind a text are written to GGUF files");
    rlx_gguf_put_int(h, KEY "add_bos_token", RLX_GGUF_BOOL, has_bos);
    rlx_gguf_put_int(h, KEY "add_eos_token", RLX_GGUF_BOOL, has_eos);
    free(plain);
    free(whole);
    return st;
}

/* A model may come without a tokenizer; one of another kind would be lost. */
static rlx_status check_none(const char *dir)
{
    static const char *const others[] = {"vocab.json", "vocab.txt"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        char *path;
        RLX_TRY(rlx_path_find(dir, others[i], &path));
        if (path) {
            free(path);
            return RLX_FAIL(RLX_UNSUPPORTED,
                            "'%s': %s without a tokenizer.json is not written to GGUF files yet",
                            dir, others[i]);
        }
    }
    return RLX_OK;
}

static text_ends config_ends(const rlx_model_config *c)
{
    return (text_ends){c->bos, c->neos ? c->eos[0] : -1};
}

static rlx_status put_token_ends(rlx_gguf_head *h, const rlx_quantize_tokens *t,
                                 const cJSON *settings, const rlx_model *m)
{
    text_ends e = config_ends(&m->config);
    e.bos = id_of(t, settings, "bos_token", e.bos);
    e.eos = id_of(t, settings, "eos_token", e.eos);
    RLX_TRY(put_ends(h, &m->config, &e));
    return put_around(h, m, &e);
}

static rlx_status put_ids_only(rlx_gguf_head *h, const char *dir, const rlx_model_config *c)
{
    const text_ends e = config_ends(c);
    RLX_TRY(check_none(dir));
    return put_ends(h, c, &e);
}

static rlx_status put_byte_level(rlx_gguf_head *h, const cJSON *json, rlx_quantize_tokens *t)
{
    RLX_TRY(put_pre(h, json));
    RLX_TRY(list_tokens(json, t));
    RLX_TRY(rlx_quantize_put_tokens(h, t));
    return put_merges(h, get(get(json, "model"), "merges"));
}

/* `json`: tokenizer.json, or NULL: there is a tokenizer.model. */
static rlx_status put_kind(rlx_gguf_head *h, const char *dir, const rlx_model *m, const cJSON *json,
                           rlx_quantize_tokens *t)
{
    cJSON *settings = NULL;
    const bool marks = !json || cJSON_IsTrue(get(get(json, "model"), "byte_fallback"));
    t->text = calloc((size_t)t->n + 1, sizeof *t->text);
    t->type = calloc((size_t)t->n + 1, sizeof *t->type);
    if (!t->text || !t->type)
        return RLX_OOM();
    RLX_TRY(marks ? rlx_quantize_put_sentencepiece(h, dir, !strcmp(m->config.family, "phi3"), t)
                  : put_byte_level(h, json, t));
    RLX_TRY(rlx_path_read_json(dir, "tokenizer_config.json", &settings));
    rlx_status st = put_token_ends(h, t, settings, m);
    cJSON_Delete(settings);
    return st;
}

static rlx_status put_tokenizer(rlx_gguf_head *h, const char *dir, const rlx_model *m)
{
    cJSON *json = NULL;
    char *pieces = NULL;
    rlx_quantize_tokens t = {.n = m->config.vocab};
    rlx_status st = rlx_path_read_json(dir, "tokenizer.json", &json);
    if (!st)
        st = rlx_path_find(dir, "tokenizer.model", &pieces);
    if (!st)
        st = json || pieces ? put_kind(h, dir, m, json, &t) : put_ids_only(h, dir, &m->config);
    for (int64_t i = 0; t.text && i < t.n; i++)
        free(t.text[i]);
    free(t.text);
    free(t.type);
    free(pieces);
    cJSON_Delete(json);
    return st;
}

/* ---- templates ------------------------------------------------------------------------------ */

/* "tokenizer.chat_template" is the one without a name; the others' names are listed. */
static rlx_status put_templates(rlx_gguf_head *h, const char *dir)
{
    rlx_chat *c;
    rlx_text key = {0};
    uint64_t named = 0;
    RLX_TRY(rlx_chat_load(dir, &c));
    for (int i = 0; i < c->nsources; i++) {
        bool is_default = !strcmp(c->sources[i].name, "default");
        rlx_text_clear(&key);
        rlx_text_putf(&key, "tokenizer.chat_template%s%s", is_default ? "" : ".",
                      is_default ? "" : c->sources[i].name);
        if (!key.oom)
            rlx_gguf_put_text(h, key.data, c->sources[i].text);
        named += !is_default;
    }
    if (named)
        rlx_gguf_put_array(h, "tokenizer.chat_templates", RLX_GGUF_STRING, named);
    for (int i = 0; i < c->nsources; i++)
        if (strcmp(c->sources[i].name, "default"))
            rlx_gguf_put_element_text(h, c->sources[i].name, strlen(c->sources[i].name));
    rlx_status st = key.oom ? RLX_OOM() : RLX_OK;
    rlx_text_deinit(&key);
    rlx_chat_destroy(c);
    return st;
}

rlx_status rlx_quantize_put_text(rlx_gguf_head *h, const char *dir, const rlx_model *m)
{
    RLX_TRY(put_tokenizer(h, dir, m));
    RLX_TRY(put_templates(h, dir));
    rlx_model_put_sampling(&m->sampling, h);
    return RLX_OK;
}
