/* frontend/text/read_json.c: tokenizer.json: vocabulary, merges, added tokens. What would change an
 * id and is not offered is refused by its name. "truncation" and "padding" are ignored: the
 * reference switches them off, too, unless a caller asks. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "frontend/text/read.h"
#include "frontend/text/read_json.h"

/* ---- small readers */

const cJSON *rlx_json_get(const cJSON *o, const char *key)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(o, key);
    return cJSON_IsNull(v) ? NULL : v;
}

static rlx_status wrong(rlx_json_reader *r, const char *part, const char *key, const char *what)
{
    return RLX_DESCRIPTION_FAIL(r->d, RLX_INVALID_FILE, "%s: \"%s\" is %s", part, key, what);
}

rlx_status rlx_json_text(rlx_json_reader *r, const char *part, const cJSON *o, const char *key,
                         const char **out)
{
    const cJSON *v = rlx_json_get(o, key);
    if (v && !cJSON_IsString(v))
        return wrong(r, part, key, "no string");
    *out = v ? v->valuestring : *out;
    return RLX_OK;
}

rlx_status rlx_json_flag(rlx_json_reader *r, const char *part, const cJSON *o, const char *key,
                         bool *out)
{
    const cJSON *v = rlx_json_get(o, key);
    if (v && !cJSON_IsBool(v))
        return wrong(r, part, key, "neither true nor false");
    *out = v ? cJSON_IsTrue(v) : *out;
    return RLX_OK;
}

rlx_status rlx_json_int(rlx_json_reader *r, const char *part, const cJSON *o, const char *key,
                        int64_t least, int64_t most, int64_t *out)
{
    const cJSON *v = rlx_json_get(o, key);
    if (!v)
        return RLX_OK;
    double d = cJSON_IsNumber(v) ? v->valuedouble : NAN;
    if (!(d >= (double)least && d <= (double)most) || d != (double)(int64_t)d)
        return wrong(r, part, key, "no whole number, or out of range");
    *out = (int64_t)d;
    return RLX_OK;
}

static rlx_status malformed(rlx_json_reader *r, const char *what)
{
    return RLX_DESCRIPTION_FAIL(r->d, RLX_INVALID_FILE, "%s", what);
}

/* ---- vocabularies */

static rlx_status read_id(rlx_json_reader *r, const cJSON *v, const char *token, int32_t *id)
{
    double d = cJSON_IsNumber(v) ? v->valuedouble : -1;
    if (!(d >= 0 && d < RLX_MAX_TOKENS) || d != (int32_t)d)
        return RLX_DESCRIPTION_FAIL(r->d, RLX_INVALID_FILE, "token \"%s\" has no usable id", token);
    *id = (int32_t)d;
    return RLX_OK;
}

/* The largest id of the added tokens and of an object of ids; *max_id is what is known already. */
static rlx_status measure(rlx_json_reader *r, const cJSON *vocab, int32_t *max_id)
{
    const cJSON *v, *added = rlx_json_get(r->root, "added_tokens");
    int32_t id = 0;
    if (cJSON_IsObject(vocab))
        cJSON_ArrayForEach(v, vocab)
        {
            RLX_TRY(read_id(r, v, v->string, &id));
            *max_id = id > *max_id ? id : *max_id;
        }
    if (added && !cJSON_IsArray(added))
        return malformed(r, "\"added_tokens\" is no array");
    cJSON_ArrayForEach(v, added)
    {
        const char *content = NULL;
        RLX_TRY(rlx_json_text(r, "added_tokens", v, "content", &content));
        if (!content || !*content)
            return malformed(r, "added_tokens: one has no content");
        RLX_TRY(read_id(r, rlx_json_get(v, "id"), content, &id));
        *max_id = id > *max_id ? id : *max_id;
    }
    return *max_id < 0 ? malformed(r, "the vocabulary is empty") : RLX_OK;
}

/* {"text": id, ..} */
static rlx_status read_vocab(rlx_json_reader *r, const cJSON *vocab)
{
    const cJSON *v;
    int32_t max_id = -1;
    if (!cJSON_IsObject(vocab))
        return malformed(r, "model: \"vocab\" is no object");
    RLX_TRY(measure(r, vocab, &max_id));
    RLX_TRY(rlx_description_reserve(r->d, (int64_t)max_id + 1));
    cJSON_ArrayForEach(v, vocab) RLX_TRY(rlx_description_set_token(
        r->d, (int32_t)v->valuedouble, v->string, strlen(v->string), RLX_TOKEN_MODEL));
    return RLX_OK;
}

static rlx_status read_one_merge(rlx_json_reader *r, const cJSON *m)
{
    const char *a = cJSON_GetStringValue(m), *b;
    if (a)
        return rlx_description_add_merge_text(r->d, a, strlen(a));
    a = cJSON_GetStringValue(cJSON_GetArrayItem(m, 0));
    b = cJSON_GetStringValue(cJSON_GetArrayItem(m, 1));
    if (!a || !b || cJSON_GetArraySize(m) != 2)
        return malformed(r, "model: a merge is neither \"a b\" nor [\"a\", \"b\"]");
    int32_t left = rlx_description_find(r->d, a, strlen(a));
    int32_t right = rlx_description_find(r->d, b, strlen(b));
    if (left < 0 || right < 0)
        return RLX_DESCRIPTION_FAIL(r->d, RLX_INVALID_FILE,
                                    "merge of \"%s\" and \"%s\": not both in the vocabulary", a, b);
    return rlx_description_add_merge(r->d, left, right);
}

static rlx_status find_unknown(rlx_json_reader *r, const cJSON *model)
{
    const char *text = NULL;
    RLX_TRY(rlx_json_text(r, "model", model, "unk_token", &text));
    if (!text)
        return RLX_OK;
    r->d->settings.unknown = rlx_description_find(r->d, text, strlen(text));
    return r->d->settings.unknown < 0
               ? RLX_DESCRIPTION_FAIL(r->d, RLX_INVALID_FILE,
                                      "model: unk_token \"%s\" is not in the vocabulary", text)
               : RLX_OK;
}

static rlx_status read_affix(rlx_json_reader *r, const cJSON *model, const char *key, rlx_span *out)
{
    const char *text = NULL;
    RLX_TRY(rlx_json_text(r, "model", model, key, &text));
    if (text && *text)
        *out = rlx_description_string(r->d, text);
    return RLX_OK;
}

/* ---- models */

static rlx_status read_bpe(rlx_json_reader *r, const cJSON *model)
{
    rlx_text_settings *s = &r->d->settings;
    const cJSON *merges = rlx_json_get(model, "merges"), *m;
    double dropout = cJSON_IsNumber(rlx_json_get(model, "dropout"))
                         ? rlx_json_get(model, "dropout")->valuedouble
                         : 0;
    if (dropout != 0)
        return RLX_DESCRIPTION_FAIL(r->d, RLX_UNSUPPORTED, "model: dropout %g is not offered",
                                    dropout);
    if (!cJSON_IsArray(merges))
        return malformed(r, "model: \"merges\" is no array");
    s->model = RLX_MODEL_BPE;
    RLX_TRY(read_vocab(r, rlx_json_get(model, "vocab")));
    RLX_TRY(read_affix(r, model, "continuing_subword_prefix", &s->prefix));
    RLX_TRY(read_affix(r, model, "end_of_word_suffix", &s->suffix));
    RLX_TRY(rlx_json_flag(r, "model", model, "fuse_unk", &s->fuse_unknown));
    RLX_TRY(rlx_json_flag(r, "model", model, "ignore_merges", &s->ignore_merges));
    RLX_TRY(rlx_json_flag(r, "model", model, "byte_fallback", &s->byte_fallback));
    cJSON_ArrayForEach(m, merges) RLX_TRY(read_one_merge(r, m));
    return find_unknown(r, model);
}

static rlx_status read_wordpiece(rlx_json_reader *r, const cJSON *model)
{
    rlx_text_settings *s = &r->d->settings;
    int64_t most = 100;
    s->model = RLX_MODEL_WORDPIECE;
    RLX_TRY(read_vocab(r, rlx_json_get(model, "vocab")));
    RLX_TRY(read_affix(r, model, "continuing_subword_prefix", &s->prefix));
    RLX_TRY(rlx_json_int(r, "model", model, "max_input_chars_per_word", 0, INT32_MAX, &most));
    s->max_chars = (uint32_t)most;
    return find_unknown(r, model);
}

/* Without its unknown token a text can have words that there is no id for. */
static rlx_status read_words(rlx_json_reader *r, const cJSON *model)
{
    const char *unknown = "<unk>";
    r->d->settings.model = RLX_MODEL_WORDS;
    RLX_TRY(read_vocab(r, rlx_json_get(model, "vocab")));
    RLX_TRY(rlx_json_text(r, "model", model, "unk_token", &unknown));
    r->d->settings.unknown = rlx_description_find(r->d, unknown, strlen(unknown));
    return RLX_OK;
}

/* What an unknown character costs beyond the worst token. */
enum { UNKNOWN_PENALTY = 10 };

static rlx_status read_scored(rlx_json_reader *r, int32_t id, const cJSON *v, double *least)
{
    const char *text = cJSON_GetStringValue(cJSON_GetArrayItem(v, 0));
    const cJSON *score = cJSON_GetArrayItem(v, 1);
    if (!text || !cJSON_IsNumber(score) || !isfinite(score->valuedouble))
        return RLX_DESCRIPTION_FAIL(r->d, RLX_INVALID_FILE, "model: token %d is not [text, score]",
                                    id);
    RLX_TRY(rlx_description_set_copy(r->d, id, text, strlen(text), RLX_TOKEN_MODEL));
    r->d->tokens[id].score = score->valuedouble;
    *least = score->valuedouble < *least ? score->valuedouble : *least;
    return RLX_OK;
}

static rlx_status read_unigram(rlx_json_reader *r, const cJSON *model)
{
    rlx_text_settings *s = &r->d->settings;
    const cJSON *vocab = rlx_json_get(model, "vocab"), *v;
    int32_t id = 0, max_id;
    int64_t unknown = -1;
    double least = INFINITY;
    if (!cJSON_IsArray(vocab))
        return malformed(r, "model: \"vocab\" is no array");
    s->model = RLX_MODEL_UNIGRAM;
    max_id = cJSON_GetArraySize(vocab) - 1;
    RLX_TRY(measure(r, vocab, &max_id));
    RLX_TRY(rlx_description_reserve(r->d, (int64_t)max_id + 1));
    cJSON_ArrayForEach(v, vocab) RLX_TRY(read_scored(r, id++, v, &least));
    RLX_TRY(rlx_json_flag(r, "model", model, "byte_fallback", &s->byte_fallback));
    RLX_TRY(rlx_json_int(r, "model", model, "unk_id", 0, id - 1, &unknown));
    s->unknown = (int32_t)unknown;
    s->unknown_score = least - UNKNOWN_PENALTY;
    s->fuse_unknown = true;
    return RLX_OK;
}

static const struct {
    const char *type;
    rlx_status (*read)(rlx_json_reader *r, const cJSON *model);
    const char *keys; /* between spaces */
} models[] = {
    {"BPE", read_bpe,
     " type dropout unk_token continuing_subword_prefix end_of_word_suffix fuse_unk byte_fallback "
     "ignore_merges vocab merges "},
    {"WordPiece", read_wordpiece,
     " type unk_token continuing_subword_prefix max_input_chars_per_word vocab "},
    {"Unigram", read_unigram, " type unk_id vocab byte_fallback "},
    {"WordLevel", read_words, " type unk_token vocab "},
};
enum { NMODELS = sizeof models / sizeof *models };

/* Older files leave the type out: then the keys tell. */
static int guess_model(const cJSON *model)
{
    return rlx_json_get(model, "merges")                     ? 0
           : cJSON_IsArray(rlx_json_get(model, "vocab"))     ? 2
           : rlx_json_get(model, "max_input_chars_per_word") ? 1
           : cJSON_IsObject(rlx_json_get(model, "vocab"))    ? 3
                                                             : NMODELS;
}

static rlx_status read_model(rlx_json_reader *r)
{
    const cJSON *model = rlx_json_get(r->root, "model"), *v;
    const char *type = NULL;
    int i = 0;
    if (!cJSON_IsObject(model))
        return malformed(r, "there is no \"model\"");
    RLX_TRY(rlx_json_text(r, "model", model, "type", &type));
    if (type)
        while (i < NMODELS && strcmp(models[i].type, type))
            i++;
    else
        i = guess_model(model);
    if (i == NMODELS)
        return RLX_DESCRIPTION_FAIL(r->d, RLX_UNSUPPORTED, "model \"%s\" is not offered",
                                    type ? type : "(no type)");
    cJSON_ArrayForEach(v, model)
    {
        char key[64];
        snprintf(key, sizeof key, " %s ", v->string);
        if (!strstr(models[i].keys, key))
            return RLX_DESCRIPTION_FAIL(r->d, RLX_UNSUPPORTED, "model's key \"%s\" is not offered",
                                        v->string);
    }
    return models[i].read(r, model);
}

/* ---- added tokens */

static rlx_status read_one_added(rlx_json_reader *r, const cJSON *v)
{
    static const char part[] = "added_tokens";
    static const struct {
        const char *key;
        uint32_t flag;
    } keys[] = {{"lstrip", RLX_ADDED_LSTRIP},
                {"rstrip", RLX_ADDED_RSTRIP},
                {"single_word", RLX_ADDED_WORD}};
    int32_t id = (int32_t)rlx_json_get(v, "id")->valuedouble; /* measure has seen them all */
    const char *text = rlx_json_get(v, "content")->valuestring;
    bool special = false;
    uint32_t flags = 0;
    RLX_TRY(rlx_json_flag(r, part, v, "special", &special));
    bool normalized = !special;
    RLX_TRY(rlx_json_flag(r, part, v, "normalized", &normalized));
    flags = normalized ? RLX_ADDED_NORMALIZED : 0;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        bool set = false;
        RLX_TRY(rlx_json_flag(r, part, v, keys[i].key, &set));
        flags |= set ? keys[i].flag : 0;
    }
    if (!(r->d->tokens[id].flags & RLX_TOKEN_PRESENT) ||
        rlx_description_find(r->d, text, strlen(text)) == id)
        RLX_TRY(rlx_description_set_token(r->d, id, text, strlen(text),
                                          special ? RLX_TOKEN_SPECIAL : 0));
    else if (strcmp(rlx_description_get(r->d, r->d->tokens[id].text), text))
        return RLX_DESCRIPTION_FAIL(r->d, RLX_INVALID_FILE, "id %d is both \"%s\" and \"%s\"", id,
                                    rlx_description_get(r->d, r->d->tokens[id].text), text);
    return rlx_description_add_added(r->d, id, text, strlen(text), flags);
}

static rlx_status read_all(rlx_json_reader *r)
{
    const cJSON *v;
    if (!rlx_json_get(r->root, "model") && cJSON_IsObject(rlx_json_get(r->root, "config")) &&
        cJSON_IsArray(rlx_json_get(r->root, "vocab")))
        return rlx_read_tekken(r->d, r->root);
    RLX_TRY(read_model(r));
    cJSON_ArrayForEach(v, rlx_json_get(r->root, "added_tokens")) RLX_TRY(read_one_added(r, v));
    return rlx_json_read_steps(r);
}

rlx_status rlx_read_json(rlx_description *d, const char *json, size_t bytes)
{
    const char *end = json;
    size_t valid = rlx_utf8_valid(json, bytes); /* cJSON does not look */
    if (valid != bytes)
        return RLX_DESCRIPTION_FAIL(d, RLX_INVALID_FILE, "not UTF-8 at byte %zu", valid);
    cJSON *root = cJSON_ParseWithLengthOpts(json, bytes, &end, false);
    rlx_json_reader r = {.d = d, .root = root};
    rlx_status st =
        root ? read_all(&r)
             : RLX_DESCRIPTION_FAIL(d, RLX_INVALID_FILE, "not JSON at byte %td", end - json);
    cJSON_Delete(root);
    return st;
}
