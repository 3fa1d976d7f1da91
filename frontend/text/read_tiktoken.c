/* frontend/text/read_tiktoken.c: lists of ranks: byte-level BPE where two neighbours merge when
 * their joined bytes are on the list. Lists say neither the pattern nor the special tokens: those
 * of known lists are here, told by how many ranks there are. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>
#include <sodium.h>

#include "frontend/text/read.h"

typedef struct special {
    int32_t id;
    const char *text;
} special;

enum { MAX_SPECIALS = 6 };
static const struct known {
    int32_t ranks;
    const char *pre;
    bool llama3;                   /* the 256 special tokens of Llama 3's own code */
    special special[MAX_SPECIALS]; /* ended by one without a text */
} lists[] = {
    {50256, "gpt-2", false, {{50256, "<|endoftext|>"}}},
    {50257, "gpt-2", false, {{50257, "<|endoftext|>"}}}, /* Whisper's of many languages */
    {50280, "gpt-2", false, {{50256, "<|endoftext|>"}}},
    {100256,
     "cl100k",
     false,
     {{100257, "<|endoftext|>"},
      {100258, "<|fim_prefix|>"},
      {100259, "<|fim_middle|>"},
      {100260, "<|fim_suffix|>"},
      {100276, "<|endofprompt|>"}}},
    {128000, "llama-bpe", true, {{0, NULL}}},
    {151643,
     "qwen2",
     false,
     {{151643, "<|endoftext|>"}, {151644, "<|im_start|>"}, {151645, "<|im_end|>"}}},
    {199998, "o200k", false, {{199999, "<|endoftext|>"}, {200018, "<|endofprompt|>"}}},
};

/* ---- lines */

typedef struct line {
    const char *text; /* in base64 */
    size_t bytes;
    int32_t rank;
} line;

/* The next line that is not empty: 1, 0 at the end, -1 when it is no "BASE64 RANK". */
static int next_line(const char **at, const char *end, line *out)
{
    const char *p = *at;
    while (p < end && (*p == '\n' || *p == '\r'))
        p++;
    const char *stop = p < end ? memchr(p, '\n', (size_t)(end - p)) : NULL;
    stop = stop ? stop : end;
    *at = stop;
    if (p == end)
        return 0;
    const char *space = memchr(p, ' ', (size_t)(stop - p));
    if (!space)
        return -1;
    int64_t rank = 0;
    const char *q = space + 1;
    for (; q < stop && *q >= '0' && *q <= '9' && rank < RLX_MAX_TOKENS; q++)
        rank = rank * 10 + (*q - '0');
    if (q == space + 1 || (q < stop && *q != '\r') || rank >= RLX_MAX_TOKENS)
        return -1;
    *out = (line){p, (size_t)(space - p), (int32_t)rank};
    return 1;
}

bool rlx_is_tiktoken(const char *data, size_t bytes)
{
    line l;
    char token[64];
    size_t n;
    const char *at = data;
    return next_line(&at, data + (bytes < 256 ? bytes : 256), &l) == 1 && l.bytes > 0 &&
           !sodium_base642bin((unsigned char *)token, sizeof token, l.text, l.bytes, NULL, &n, NULL,
                              sodium_base64_VARIANT_ORIGINAL);
}

/* ---- the list */

static rlx_status count_ranks(rlx_description *d, const char *data, size_t bytes, int32_t *count,
                              int32_t *max_rank)
{
    const char *at = data;
    line l;
    int got;
    *count = 0;
    *max_rank = -1;
    while ((got = next_line(&at, data + bytes, &l)) == 1) {
        (*count)++;
        *max_rank = l.rank > *max_rank ? l.rank : *max_rank;
    }
    if (got < 0 || !*count)
        return RLX_DESCRIPTION_FAIL(
            d, RLX_INVALID_FILE, "line %d of the list of ranks is no \"BASE64 RANK\"", *count + 1);
    return RLX_OK;
}

/* A token in base64, whose rank is its id less `first`. */
static rlx_status set_rank(rlx_description *d, const line *l, int32_t first)
{
    char few[256], *token = l->bytes <= sizeof few ? few : malloc(l->bytes);
    size_t n = 0;
    rlx_status st = token ? RLX_OK : RLX_OOM();
    bool empty = l->bytes == 1 && *l->text == '='; /* Whisper's list has one: no text becomes it */
    if (token && !empty &&
        (sodium_base642bin((unsigned char *)token, l->bytes, l->text, l->bytes, NULL, &n, NULL,
                           sodium_base64_VARIANT_ORIGINAL) ||
         !n))
        st =
            RLX_DESCRIPTION_FAIL(d, RLX_INVALID_FILE, "the token of rank %d is no base64", l->rank);
    if (!st && !empty) {
        int32_t id = first + l->rank;
        rlx_text_clear(&d->scratch);
        rlx_byte_alphabet_put(&d->scratch, token, n);
        st = d->scratch.oom ? RLX_OOM()
                            : rlx_description_set_token(d, id, d->scratch.data, d->scratch.len,
                                                        RLX_TOKEN_MODEL);
        d->tokens[id].rank = l->rank;
    }
    if (token != few)
        free(token);
    return st;
}

static rlx_status set_ranks(rlx_description *d, const char *data, size_t bytes)
{
    const char *at = data;
    line l;
    while (next_line(&at, data + bytes, &l) == 1)
        RLX_TRY(set_rank(d, &l, 0));
    return RLX_OK;
}

/* ---- special tokens of known lists */

static rlx_status add_special(rlx_description *d, int32_t id, const char *text)
{
    RLX_TRY(rlx_description_set_token(d, id, text, strlen(text), RLX_TOKEN_SPECIAL));
    return rlx_description_add_added(d, id, text, strlen(text), 0);
}

enum { LLAMA3_SPECIALS = 256 };

static rlx_status add_llama3(rlx_description *d, int32_t first)
{
    static const char *const names[] = {
        "<|begin_of_text|>",
        "<|end_of_text|>",
        NULL, /* reserved, as all behind these */
        NULL,
        NULL,
        NULL,
        "<|start_header_id|>",
        "<|end_header_id|>",
        NULL,
        "<|eot_id|>",
    };
    int reserved = 0;
    for (int i = 0; i < LLAMA3_SPECIALS; i++) {
        char text[64];
        const char *name = i < (int)(sizeof names / sizeof *names) ? names[i] : NULL;
        if (!name)
            snprintf(text, sizeof text, "<|reserved_special_token_%d|>", reserved++);
        RLX_TRY(add_special(d, first + i, name ? name : text));
    }
    return rlx_description_set_ends(d, first, -1);
}

static int32_t max_special(const struct known *k)
{
    int32_t most = k->llama3 ? k->ranks + LLAMA3_SPECIALS - 1 : -1;
    for (int i = 0; i < MAX_SPECIALS && k->special[i].text; i++)
        most = k->special[i].id > most ? k->special[i].id : most;
    return most;
}

static rlx_status add_known(rlx_description *d, const struct known *k)
{
    if (k->llama3)
        return add_llama3(d, k->ranks);
    for (int i = 0; i < MAX_SPECIALS && k->special[i].text; i++)
        RLX_TRY(add_special(d, k->special[i].id, k->special[i].text));
    return RLX_OK;
}

static const struct known *find_list(int32_t ranks)
{
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        if (lists[i].ranks == ranks)
            return &lists[i];
    return NULL;
}

rlx_status rlx_read_tiktoken(rlx_description *d, const char *data, size_t bytes,
                             const struct cJSON *config)
{
    const char *name = rlx_description_take_pre(d, NULL);
    int32_t count = 0, max_id = -1;
    RLX_TRY(count_ranks(d, data, bytes, &count, &max_id));
    const struct known *k = find_list(count);
    bool decoder = config && cJSON_GetObjectItemCaseSensitive(config, "added_tokens_decoder");
    if (!name && !k)
        return RLX_DESCRIPTION_FAIL(
            d, RLX_UNSUPPORTED,
            "no list of %d ranks is known: its pattern must be named (pre, as in GGUF files)",
            count);
    const rlx_text_pre *pre = rlx_text_pre_find(name ? name : k->pre);
    if (!pre)
        return RLX_DESCRIPTION_FAIL(d, RLX_UNSUPPORTED, "pre: \"%s\" is not offered", name);
    if (decoder)
        RLX_TRY(rlx_config_max_id(d, config, &max_id));
    else if (k && max_special(k) > max_id)
        max_id = max_special(k);
    RLX_TRY(rlx_description_reserve(d, (int64_t)max_id + 1));
    RLX_TRY(rlx_description_set_pre(d, pre));
    d->settings.by_text = d->settings.ignore_merges = true;
    RLX_TRY(set_ranks(d, data, bytes));
    if (!decoder)
        return k ? add_known(d, k) : RLX_OK;
    RLX_TRY(rlx_config_add_tokens(d, config, true));
    return rlx_config_set_ends(d, config, pre->bos, false);
}

/* ---- Mistral's tekken.json: special tokens first, then the ranks */

static rlx_status tekken_number(rlx_description *d, const cJSON *o, const char *key, int32_t *out)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(o, key);
    double n = cJSON_IsNumber(v) ? v->valuedouble : -1;
    if (!(n >= 0 && n < RLX_MAX_TOKENS) || n != (int32_t)n)
        return RLX_DESCRIPTION_FAIL(d, RLX_INVALID_FILE, "\"%s\" is no number of tokens", key);
    *out = (int32_t)n;
    return RLX_OK;
}

/* Those that the file lists, or, in older ones, which do not, that were always the same. */
static rlx_status add_tekken_names(rlx_description *d, const cJSON *listed, int32_t most)
{
    static const char *const known[] = {"<unk>",
                                        "<s>",
                                        "</s>",
                                        "[INST]",
                                        "[/INST]",
                                        "[AVAILABLE_TOOLS]",
                                        "[/AVAILABLE_TOOLS]",
                                        "[TOOL_RESULTS]",
                                        "[/TOOL_RESULTS]",
                                        "[TOOL_CALLS]",
                                        "[IMG]",
                                        "<pad>",
                                        "[IMG_BREAK]",
                                        "[IMG_END]",
                                        "[PREFIX]",
                                        "[MIDDLE]",
                                        "[SUFFIX]",
                                        "[SYSTEM_PROMPT]",
                                        "[/SYSTEM_PROMPT]",
                                        "[TOOL_CONTENT]"};
    const cJSON *v;
    for (int32_t i = 0; !cJSON_IsArray(listed) && i < 20 && i < most; i++)
        RLX_TRY(add_special(d, i, known[i]));
    cJSON_ArrayForEach(v, listed)
    {
        int32_t id = 0;
        const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(v, "token_str"));
        RLX_TRY(tekken_number(d, v, "rank", &id));
        if (!text || !*text || id >= most)
            return RLX_DESCRIPTION_FAIL(d, RLX_INVALID_FILE,
                                        "special_tokens: %d of %d has no text, or is beyond them",
                                        id, most);
        RLX_TRY(add_special(d, id, text));
    }
    for (int32_t i = 0; i < most; i++) {
        char text[32];
        snprintf(text, sizeof text, "<SPECIAL_%d>", i);
        if (!(d->tokens[i].flags & RLX_TOKEN_PRESENT))
            RLX_TRY(add_special(d, i, text));
    }
    return RLX_OK;
}

/* Files have more ranks than models use: those are the first. */
static rlx_status set_tekken_ranks(rlx_description *d, const cJSON *vocab, int32_t first,
                                   int32_t count)
{
    const cJSON *v;
    int32_t found = 0;
    cJSON_ArrayForEach(v, vocab)
    {
        line l = {0};
        RLX_TRY(tekken_number(d, v, "rank", &l.rank));
        l.text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(v, "token_bytes"));
        l.bytes = l.text ? strlen(l.text) : 0;
        if (!l.bytes)
            return RLX_DESCRIPTION_FAIL(d, RLX_INVALID_FILE, "the token of rank %d has no bytes",
                                        l.rank);
        if (l.rank >= count)
            continue;
        RLX_TRY(set_rank(d, &l, first));
        found++;
    }
    return found == count ? RLX_OK
                          : RLX_DESCRIPTION_FAIL(d, RLX_INVALID_FILE,
                                                 "vocab has %d of the %d ranks", found, count);
}

rlx_status rlx_read_tekken(rlx_description *d, const struct cJSON *root)
{
    const cJSON *config = cJSON_GetObjectItemCaseSensitive(root, "config");
    const char *pattern = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(config, "pattern"));
    int32_t size = 0, first = 0;
    RLX_TRY(tekken_number(d, config, "default_vocab_size", &size));
    RLX_TRY(tekken_number(d, config, "default_num_special_tokens", &first));
    if (!pattern || !*pattern)
        return RLX_DESCRIPTION_FAIL(d, RLX_INVALID_FILE, "%s", "config has no \"pattern\"");
    if (first < 3 || first >= size)
        return RLX_DESCRIPTION_FAIL(d, RLX_INVALID_FILE, "%d of %d tokens are special", first,
                                    size);
    RLX_TRY(rlx_description_reserve(d, size));
    RLX_TRY(rlx_description_split_regex(d, pattern));
    RLX_TRY(rlx_description_set_byte_level(d));
    d->settings.by_text = d->settings.ignore_merges = true;
    RLX_TRY(
        set_tekken_ranks(d, cJSON_GetObjectItemCaseSensitive(root, "vocab"), first, size - first));
    RLX_TRY(add_tekken_names(d, cJSON_GetObjectItemCaseSensitive(root, "special_tokens"), first));
    return rlx_description_set_ends(d, rlx_description_find(d, "<s>", 3), -1);
}
