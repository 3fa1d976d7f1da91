/* frontend/text/read_lists.c: vocabularies as lists: BERT's vocab.txt; GPT-2's vocab.json and
 * merges.txt. */
#include <string.h>

#include "frontend/text/read_json.h"

/* ---- lines */

/* The next line, without its end; false: there are no more. */
static bool next_line(const char **at, const char *end, const char **line, size_t *bytes)
{
    if (*at >= end)
        return false;
    const char *stop = memchr(*at, '\n', (size_t)(end - *at));
    *line = *at;
    *bytes = (size_t)((stop ? stop : end) - *at);
    *at = stop ? stop + 1 : end;
    if (*bytes && (*line)[*bytes - 1] == '\r')
        --*bytes;
    return true;
}

/* ---- vocab.txt */

static bool has_capital(const char *text, size_t n)
{
    bool name = n > 2 && *text == '[' && text[n - 1] == ']'; /* [CLS] is in every one */
    for (size_t i = 0; i < n && !name; i++)
        if (text[i] >= 'A' && text[i] <= 'Z')
            return true;
    return false;
}

static rlx_status read_words(rlx_description *d, const char *data, size_t bytes, bool *capitals)
{
    const char *at = data, *end = data + bytes, *line;
    size_t n;
    int64_t count = 0;
    while (next_line(&at, end, &line, &n))
        count++;
    RLX_TRY(rlx_description_reserve(d, count));
    at = data;
    for (int32_t id = 0; next_line(&at, end, &line, &n); id++) {
        RLX_TRY(rlx_description_set_copy(d, id, line, n, RLX_TOKEN_MODEL));
        *capitals |= has_capital(line, n);
    }
    return RLX_OK;
}

rlx_status rlx_read_vocab_txt(rlx_description *d, const char *data, size_t bytes,
                              const struct cJSON *config)
{
    static const char *const special[] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
    rlx_json_reader r = {.d = d, .root = config};
    bool capitals = false;
    RLX_TRY(read_words(d, data, bytes, &capitals));
    bool lowercase = !capitals;
    RLX_TRY(rlx_json_flag(&r, "tokenizer_config.json", config, "do_lower_case", &lowercase));
    int32_t id[5];
    for (int i = 0; i < 5; i++) {
        id[i] = rlx_description_find(d, special[i], strlen(special[i]));
        if (id[i] < 0)
            continue;
        d->tokens[id[i]].flags |= RLX_TOKEN_SPECIAL;
        RLX_TRY(rlx_description_add_added(d, id[i], special[i], strlen(special[i]), 0));
    }
    if (id[1] < 0)
        return RLX_DESCRIPTION_FAIL(d, RLX_INVALID_FILE, "%s is not in the vocabulary", special[1]);
    d->settings.unknown = id[1];
    RLX_TRY(rlx_description_set_bert(d, lowercase));
    /* [CLS] A [SEP] B [SEP] */
    const rlx_template_part parts[] = {
        {id[2], 0}, {RLX_TEMPLATE_A, 0}, {id[3], 0}, {RLX_TEMPLATE_B, 1}, {id[3], 1}};
    for (int i = 0; i < 5 && id[2] >= 0 && id[3] >= 0; i++) {
        if (i < 3)
            RLX_TRY(
                rlx_description_put_template(d, &d->settings.single, parts[i].what, parts[i].type));
        RLX_TRY(rlx_description_put_template(d, &d->settings.pair, parts[i].what, parts[i].type));
    }
    return RLX_OK;
}

/* ---- vocab.json and merges.txt */

static rlx_status read_vocab(rlx_description *d, const cJSON *vocab, const cJSON *config)
{
    const cJSON *v;
    int32_t max_id = -1;
    cJSON_ArrayForEach(v, vocab)
    {
        double id = cJSON_IsNumber(v) ? v->valuedouble : -1;
        if (!(id >= 0 && id < RLX_MAX_TOKENS) || id != (int32_t)id)
            return RLX_DESCRIPTION_FAIL(d, RLX_INVALID_FILE, "token \"%s\" has no usable id",
                                        v->string ? v->string : "");
        max_id = (int32_t)id > max_id ? (int32_t)id : max_id;
    }
    RLX_TRY(rlx_config_max_id(d, config, &max_id));
    RLX_TRY(rlx_description_reserve(d, (int64_t)max_id + 1));
    cJSON_ArrayForEach(v, vocab) RLX_TRY(rlx_description_set_token(
        d, (int32_t)v->valuedouble, v->string, strlen(v->string), RLX_TOKEN_MODEL));
    return RLX_OK;
}

static rlx_status read_merges(rlx_description *d, const char *data, size_t bytes)
{
    const char *at = data, *line;
    size_t n;
    for (bool first = true; next_line(&at, data + bytes, &line, &n); first = false) {
        bool version = first && n > 8 && !memcmp(line, "#version", 8);
        if (n && !version)
            RLX_TRY(rlx_description_add_merge_text(d, line, n));
    }
    return RLX_OK;
}

/* What the classes of such files do beside the merges. */
static const struct gpt2_class {
    const char *name, *pre;
} classes[] = {
    {"GPT2Tokenizer", "gpt-2"},  {"GPT2TokenizerFast", "gpt-2"},  {"WhisperTokenizer", "gpt-2"},
    {"Qwen2Tokenizer", "qwen2"}, {"Qwen2TokenizerFast", "qwen2"},
};

static rlx_status find_class(rlx_description *d, const cJSON *config, const struct gpt2_class **out)
{
    rlx_json_reader r = {.d = d, .root = config};
    const char *name = classes[0].name;
    RLX_TRY(rlx_json_text(&r, "tokenizer_config.json", config, "tokenizer_class", &name));
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++) {
        *out = &classes[i];
        if (!strcmp(classes[i].name, name))
            return RLX_OK;
    }
    return RLX_DESCRIPTION_FAIL(
        d, RLX_UNSUPPORTED, "tokenizer_class \"%s\" is not offered without a tokenizer.json", name);
}

rlx_status rlx_read_vocab_json(rlx_description *d, const char *vocab, size_t vocab_bytes,
                               const char *merges, size_t merges_bytes, const struct cJSON *config)
{
    const struct gpt2_class *c = NULL;
    const char *end = vocab;
    RLX_TRY(find_class(d, config, &c));
    cJSON *root = cJSON_ParseWithLengthOpts(vocab, vocab_bytes, &end, false);
    rlx_status st =
        cJSON_IsObject(root)
            ? read_vocab(d, root, config)
            : RLX_DESCRIPTION_FAIL(d, RLX_INVALID_FILE, "no JSON object at byte %td", end - vocab);
    cJSON_Delete(root);
    RLX_TRY(st);
    RLX_TRY(read_merges(d, merges, merges_bytes));
    RLX_TRY(rlx_description_set_pre(d, rlx_text_pre_find(c->pre)));
    RLX_TRY(rlx_config_add_tokens(d, config, true));
    return rlx_config_set_ends(d, config, false, false);
}
