/* frontend/text/description.c: what readers fill: tokens, merges, added tokens, steps. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/text/description.h"
#include "frontend/text/unicode.h"

/* U+2581, which stands for a space. */
#define MARK "\xe2\x96\x81"

void rlx_description_init(rlx_description *d, const char *name)
{
    *d = (rlx_description){.name = name};
    d->settings.unknown = -1;
    memset(d->settings.byte_id, 0xff, sizeof d->settings.byte_id);
}

void rlx_description_deinit(rlx_description *d)
{
    rlx_text_deinit(&d->strings);
    rlx_text_deinit(&d->scratch);
    free(d->tokens);
    free(d->slots);
    free(d->merges);
    free(d->added);
}

/* ---- texts */

rlx_span rlx_description_text(rlx_description *d, const char *text, size_t bytes)
{
    rlx_span s = {(uint32_t)d->strings.len, (uint32_t)bytes};
    if (d->strings.len + bytes + 1 > UINT32_MAX)
        d->strings.oom = true; /* more than a table holds */
    rlx_text_put_bytes(&d->strings, text, bytes);
    rlx_text_put_bytes(&d->strings, "", 1);
    return d->strings.oom ? (rlx_span){0} : s;
}

rlx_span rlx_description_string(rlx_description *d, const char *text)
{
    return rlx_description_text(d, text, strlen(text));
}

const char *rlx_description_get(const rlx_description *d, rlx_span s)
{
    return d->strings.data ? d->strings.data + s.at : "";
}

/* ---- tokens */

rlx_status rlx_description_reserve(rlx_description *d, int64_t count)
{
    if (count <= 0 || count > RLX_MAX_TOKENS)
        return RLX_DESCRIPTION_FAIL(d, RLX_INVALID_FILE, "a vocabulary of %lld tokens",
                                    (long long)count);
    uint32_t slots = 16;
    while (slots < (uint64_t)count * 2)
        slots *= 2;
    d->tokens = calloc((size_t)count, sizeof *d->tokens);
    d->slots = malloc(slots * sizeof *d->slots);
    if (!d->tokens || !d->slots)
        return RLX_OOM();
    memset(d->slots, 0xff, slots * sizeof *d->slots);
    d->slot_mask = slots - 1;
    d->ntokens = count;
    return RLX_OK;
}

static bool text_is(const rlx_description *d, int32_t id, const char *text, size_t bytes)
{
    rlx_span s = d->tokens[id].text;
    return s.bytes == bytes && !memcmp(rlx_description_get(d, s), text, bytes);
}

/* The slot of a text, or the empty one where it belongs. */
static int32_t *find_slot(const rlx_description *d, const char *text, size_t bytes)
{
    uint32_t i = (uint32_t)rlx_text_hash(text, bytes) & d->slot_mask;
    while (d->slots[i] >= 0 && !text_is(d, d->slots[i], text, bytes))
        i = (i + 1) & d->slot_mask;
    return &d->slots[i];
}

int32_t rlx_description_find(const rlx_description *d, const char *text, size_t bytes)
{
    return d->slots ? *find_slot(d, text, bytes) : -1;
}

static rlx_status put_token(rlx_description *d, int32_t id, const char *text, size_t bytes,
                            uint32_t flags)
{
    rlx_token *k = &d->tokens[id];
    k->text = rlx_description_text(d, text, bytes);
    k->flags = flags | RLX_TOKEN_PRESENT;
    return d->strings.oom ? RLX_OOM() : RLX_OK;
}

rlx_status rlx_description_set_token(rlx_description *d, int32_t id, const char *text, size_t bytes,
                                     uint32_t flags)
{
    int cut = bytes < 200 ? (int)bytes : 200;
    if (id < 0 || id >= d->ntokens)
        return RLX_DESCRIPTION_FAIL(d, RLX_INVALID_FILE, "token \"%.*s\" has the id %d of %lld",
                                    cut, text, id, (long long)d->ntokens);
    if (d->tokens[id].flags & RLX_TOKEN_PRESENT) {
        if (text_is(d, id, text, bytes)) {
            d->tokens[id].flags |= flags;
            return RLX_OK;
        }
        return RLX_DESCRIPTION_FAIL(d, RLX_INVALID_FILE, "id %d is both \"%s\" and \"%.*s\"", id,
                                    rlx_description_get(d, d->tokens[id].text), cut, text);
    }
    int32_t *slot = find_slot(d, text, bytes);
    if (*slot >= 0)
        return RLX_DESCRIPTION_FAIL(d, RLX_INVALID_FILE, "token \"%.*s\" has the ids %d and %d",
                                    cut, text, *slot, id);
    RLX_TRY(put_token(d, id, text, bytes, flags));
    *slot = id;
    return RLX_OK;
}

rlx_status rlx_description_set_copy(rlx_description *d, int32_t id, const char *text, size_t bytes,
                                    uint32_t flags)
{
    if (rlx_description_find(d, text, bytes) < 0)
        return rlx_description_set_token(d, id, text, bytes, flags);
    return put_token(d, id, text, bytes, flags & ~(uint32_t)RLX_TOKEN_MODEL);
}

/* ---- merges */

/* What a merge makes: the right side without the prefix of tokens that continue a word. */
static int32_t find_joined(rlx_description *d, int32_t left, int32_t right)
{
    rlx_span a = d->tokens[left].text, b = d->tokens[right].text, p = d->settings.prefix;
    if (p.bytes && b.bytes >= p.bytes) {
        b.at += p.bytes;
        b.bytes -= p.bytes;
    }
    rlx_text_clear(&d->scratch);
    rlx_text_put_bytes(&d->scratch, rlx_description_get(d, a), a.bytes);
    rlx_text_put_bytes(&d->scratch, rlx_description_get(d, b), b.bytes);
    return d->scratch.oom || !d->scratch.data
               ? -1
               : rlx_description_find(d, d->scratch.data, d->scratch.len);
}

rlx_status rlx_description_add_merge(rlx_description *d, int32_t left, int32_t right)
{
    if (d->nmerges == d->cap_merges) {
        int64_t cap = d->cap_merges ? d->cap_merges * 2 : 1024;
        rlx_merge *grown = cap > 4 * (int64_t)RLX_MAX_TOKENS
                               ? NULL
                               : realloc(d->merges, (size_t)cap * sizeof *grown);
        if (!grown)
            return RLX_OOM();
        d->merges = grown;
        d->cap_merges = cap;
    }
    int32_t id = find_joined(d, left, right);
    if (id < 0)
        return RLX_DESCRIPTION_FAIL(d, RLX_INVALID_FILE,
                                    "merge %lld makes \"%s\", which is not in the vocabulary",
                                    (long long)d->nmerges, d->scratch.data ? d->scratch.data : "");
    d->merges[d->nmerges++] = (rlx_merge){left, right, id};
    return RLX_OK;
}

rlx_status rlx_description_add_merge_text(rlx_description *d, const char *merge, size_t bytes)
{
    const char *end = merge + bytes;
    for (const char *b = merge; (b = memchr(b, ' ', (size_t)(end - b))); b++) {
        int32_t left = rlx_description_find(d, merge, (size_t)(b - merge));
        int32_t right = rlx_description_find(d, b + 1, (size_t)(end - b - 1));
        if (left >= 0 && right >= 0)
            return rlx_description_add_merge(d, left, right);
    }
    return RLX_DESCRIPTION_FAIL(d, RLX_INVALID_FILE,
                                "merge %lld, \"%.*s\", is not of two tokens of the vocabulary",
                                (long long)d->nmerges, bytes < 200 ? (int)bytes : 200, merge);
}

/* ---- added tokens */

rlx_status rlx_description_add_added(rlx_description *d, int32_t id, const char *text, size_t bytes,
                                     uint32_t flags)
{
    if (!bytes)
        return RLX_OK; /* nothing to find in a text */
    if (rlx_utf8_valid(text, bytes) != bytes)
        return RLX_DESCRIPTION_FAIL(d, RLX_INVALID_FILE, "added token %d is not UTF-8", id);
    if (d->nadded == d->cap_added) {
        int64_t cap = d->cap_added ? d->cap_added * 2 : 16;
        rlx_added_token *grown = realloc(d->added, (size_t)cap * sizeof *grown);
        if (!grown)
            return RLX_OOM();
        d->added = grown;
        d->cap_added = cap;
    }
    d->added[d->nadded++] = (rlx_added_token){rlx_description_text(d, text, bytes), id, flags};
    return RLX_OK;
}

/* ---- steps */

static rlx_status add_step(rlx_description *d, rlx_text_step *steps, uint32_t *n, uint32_t kind,
                           const char *what, rlx_text_step **out)
{
    if (*n == RLX_MAX_STEPS)
        return RLX_DESCRIPTION_FAIL(d, RLX_UNSUPPORTED, "more than %d steps of the %s",
                                    RLX_MAX_STEPS, what);
    *out = &steps[(*n)++];
    **out = (rlx_text_step){.kind = kind};
    return RLX_OK;
}

rlx_status rlx_description_add_normal(rlx_description *d, rlx_normal_kind kind, rlx_text_step **out)
{
    return add_step(d, d->settings.normal, &d->settings.nnormal, kind, "normalizer", out);
}

rlx_status rlx_description_add_split(rlx_description *d, rlx_split_kind kind, rlx_text_step **out)
{
    return add_step(d, d->settings.split, &d->settings.nsplit, kind, "pre_tokenizer", out);
}

rlx_status rlx_description_add_decode(rlx_description *d, rlx_decode_kind kind,
                                      rlx_decode_step **out)
{
    if (d->settings.ndecode == RLX_MAX_DECODERS)
        return RLX_DESCRIPTION_FAIL(d, RLX_UNSUPPORTED, "more than %d steps of the decoder",
                                    RLX_MAX_DECODERS);
    *out = &d->settings.decode[d->settings.ndecode++];
    **out = (rlx_decode_step){.kind = kind};
    return RLX_OK;
}

rlx_status rlx_description_split_regex(rlx_description *d, const char *pattern)
{
    rlx_text_step *s = NULL;
    RLX_TRY(rlx_description_add_split(d, RLX_SPLIT_REGEX, &s));
    s->a = rlx_description_string(d, pattern);
    return RLX_OK;
}

rlx_status rlx_description_put_template(rlx_description *d, rlx_text_template *t, int32_t what,
                                        int32_t type)
{
    if (t->n == RLX_MAX_TEMPLATE)
        return RLX_DESCRIPTION_FAIL(d, RLX_UNSUPPORTED, "a template of more than %d parts",
                                    RLX_MAX_TEMPLATE);
    if (what >= d->ntokens)
        return RLX_DESCRIPTION_FAIL(d, RLX_INVALID_FILE,
                                    "the template names the id %d; there are %lld tokens", what,
                                    (long long)d->ntokens);
    t->part[t->n++] = (rlx_template_part){what, type};
    return RLX_OK;
}

rlx_status rlx_description_set_ends(rlx_description *d, int32_t bos, int32_t eos)
{
    rlx_text_template *t[2] = {&d->settings.single, &d->settings.pair};
    if (bos < 0 && eos < 0)
        return RLX_OK;
    for (int pair = 0; pair < 2; pair++)
        for (int i = 0; i <= pair; i++) {
            if (bos >= 0)
                RLX_TRY(rlx_description_put_template(d, t[pair], bos, i));
            RLX_TRY(
                rlx_description_put_template(d, t[pair], i ? RLX_TEMPLATE_B : RLX_TEMPLATE_A, i));
            if (eos >= 0)
                RLX_TRY(rlx_description_put_template(d, t[pair], eos, i));
        }
    return RLX_OK;
}

/* ---- kinds of tokenizers that several readers know */

rlx_status rlx_description_set_bert(rlx_description *d, bool lowercase)
{
    rlx_text_step *s = NULL;
    rlx_decode_step *k = NULL;
    RLX_TRY(rlx_description_add_normal(d, RLX_NORMAL_BERT, &s));
    s->flags = RLX_BERT_CLEAN | RLX_BERT_CJK;
    if (lowercase)
        s->flags |= RLX_BERT_LOWERCASE | RLX_BERT_STRIP_MARKS;
    RLX_TRY(rlx_description_add_split(d, RLX_SPLIT_CLASS, &s));
    s->n = RLX_CHAR_SPACE;
    s->behavior = RLX_SPLIT_REMOVED;
    RLX_TRY(rlx_description_add_split(d, RLX_SPLIT_CLASS, &s));
    s->n = RLX_CHAR_PUNCTUATION;
    d->settings.model = RLX_MODEL_WORDPIECE;
    d->settings.prefix = rlx_description_string(d, "##");
    d->settings.max_chars = 100;
    RLX_TRY(rlx_description_add_decode(d, RLX_DECODE_WORDPIECE, &k));
    k->a = d->settings.prefix;
    RLX_TRY(rlx_description_add_decode(d, RLX_DECODE_CLEANUP, &k));
    d->settings.decode_first = RLX_FIRST_WORDPIECE;
    return RLX_OK;
}

rlx_status rlx_description_set_byte_level(rlx_description *d)
{
    rlx_text_step *s = NULL;
    rlx_decode_step *k = NULL;
    RLX_TRY(rlx_description_add_split(d, RLX_SPLIT_BYTES, &s));
    RLX_TRY(rlx_description_add_decode(d, RLX_DECODE_BYTES, &k));
    d->settings.model = RLX_MODEL_BPE;
    return RLX_OK;
}

/* Ranks order as scores do, the other way round: floats of one sign order as their bits. */
int32_t rlx_description_rank_of_score(float score)
{
    int32_t bits;
    score += 0.0f; /* of the zeros only one */
    memcpy(&bits, &score, sizeof bits);
    return -1 - (bits < 0 ? bits ^ INT32_MAX : bits);
}

float rlx_description_score_of_rank(int32_t rank)
{
    int32_t bits = -1 - rank;
    float score;
    bits = bits < 0 ? bits ^ INT32_MAX : bits;
    memcpy(&score, &bits, sizeof score);
    return score;
}

rlx_status rlx_description_set_sentencepiece(rlx_description *d, uint32_t flags)
{
    rlx_text_settings *s = &d->settings;
    rlx_text_step *n = NULL;
    rlx_decode_step *k = NULL;
    RLX_TRY(rlx_description_add_normal(d, RLX_NORMAL_SENTENCEPIECE, &n));
    n->flags = flags;
    s->by_text = s->fuse_unknown = true;
    RLX_TRY(rlx_description_add_decode(d, RLX_DECODE_REPLACE, &k));
    k->a = rlx_description_string(d, MARK);
    k->b = rlx_description_string(d, " ");
    RLX_TRY(rlx_description_add_decode(d, RLX_DECODE_FALLBACK, &k));
    if ((flags & RLX_SPM_PREFIX) && !(flags & RLX_SPM_SUFFIX)) {
        s->decode_first = RLX_FIRST_STRIP;
        s->decode_strip = 1;
    }
    return RLX_OK;
}

/* ---- what `pre` names */

#define LETTERS_3 "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|"
#define REST_3 "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define UPPER "\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}"
#define LOWER "\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}"
#define SHORT "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
#define GPT2_PATTERN \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
/* Letters with case but the mathematical ones, as they were when DeepSeek listed them. */
#define CASED                                                                                     \
    "A-Za-z\\x{b5}\\x{c0}-\\x{d6}\\x{d8}-\\x{f6}\\x{f8}-\\x{1ba}\\x{1bc}-\\x{1bf}\\x{1c4}-"       \
    "\\x{293}\\x{295}-\\x{2af}\\x{370}-\\x{373}\\x{376}\\x{377}\\x{37b}-\\x{37d}\\x{37f}\\x{386}" \
    "\\x{388}-\\x{38a}\\x{38c}\\x{38e}-\\x{3a1}\\x{3a3}-\\x{3f5}\\x{3f7}-\\x{481}\\x{48a}-"       \
    "\\x{52f}\\x{531}-\\x{556}\\x{10a0}-\\x{10c5}\\x{13a0}-\\x{13f5}\\x{13f8}-\\x{13fd}\\x{1c90}" \
    "-\\x{1cba}\\x{1cbd}-\\x{1cbf}\\x{1d00}-\\x{1d2b}\\x{1d6b}-\\x{1d77}\\x{1d79}-\\x{1d9a}"      \
    "\\x{1e00}-\\x{1f15}\\x{1f18}-\\x{1f1d}\\x{1f20}-\\x{1f45}\\x{1f48}-\\x{1f4d}\\x{1f50}-"      \
    "\\x{1f57}\\x{1f59}\\x{1f5b}\\x{1f5d}\\x{1f5f}-\\x{1f7d}\\x{1f80}-\\x{1fb4}\\x{1fb6}-"        \
    "\\x{1fbc}\\x{1fbe}\\x{1fc2}-\\x{1fc4}\\x{1fc6}-\\x{1fcc}\\x{1fd0}-\\x{1fd3}\\x{1fd6}-"       \
    "\\x{1fdb}\\x{1fe0}-\\x{1fec}\\x{1ff2}-\\x{1ff4}\\x{1ff6}-\\x{1ffc}\\x{2102}\\x{2107}"        \
    "\\x{210a}-\\x{2113}\\x{2115}\\x{2119}-\\x{211d}\\x{2124}\\x{2126}\\x{2128}\\x{212a}-"        \
    "\\x{212d}\\x{212f}-\\x{2134}\\x{2139}\\x{213c}-\\x{213f}\\x{2145}-\\x{2149}\\x{214e}"        \
    "\\x{2183}\\x{2184}\\x{2c00}-\\x{2c7b}\\x{2c7e}-\\x{2ce4}\\x{2ceb}-\\x{2cee}\\x{2cf2}"        \
    "\\x{2cf3}\\x{a640}-\\x{a66d}\\x{a680}-\\x{a69b}\\x{a722}-\\x{a76f}\\x{a771}-\\x{a787}"       \
    "\\x{a78b}-\\x{a78e}\\x{ab70}-\\x{abbf}\\x{fb00}-\\x{fb06}\\x{fb13}-\\x{fb17}\\x{ff21}-"      \
    "\\x{ff3a}\\x{ff41}-\\x{ff5a}\\x{10400}-\\x{1044f}\\x{104b0}-\\x{104d3}\\x{104d8}-"           \
    "\\x{104fb}\\x{10c80}-\\x{10cb2}\\x{10cc0}-\\x{10cf2}\\x{118a0}-\\x{118df}\\x{1e900}-"        \
    "\\x{1e943}"
#define WIDE "[\\x{4e00}-\\x{9fa5}\\x{800}-\\x{4e00}\\x{ac00}-\\x{d7ff}]+"
#define NOT_BLOOM "(\\s|.,!?\\x{2026}\\x{3002}\\x{ff0c}\\x{3001}\\x{964}\\x{6d4}\\x{60c})"

typedef const char *const patterns[RLX_PRE_PATTERNS];
static patterns LLAMA3 = {LETTERS_3 "\\p{N}{1,3}" REST_3};
static patterns QWEN2 = {LETTERS_3 "\\p{N}" REST_3};
static patterns QWEN35 = {"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{"
                          "N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"};
static patterns TEKKEN = {
    "[^\\r\\n\\p{L}\\p{N}]?[" UPPER "]*[" LOWER "]+|[^\\r\\n\\p{L}\\p{N}]?[" UPPER "]+[" LOWER
    "]*|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"};
static patterns GPT4O = {
    "[^\\r\\n\\p{L}\\p{N}]?[" UPPER "]*[" LOWER "]+" SHORT "|[^\\r\\n\\p{L}\\p{N}]?[" UPPER
    "]+[" LOWER "]*" SHORT
    "|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"};
static patterns GPT2 = {GPT2_PATTERN};
static patterns DIGITS_GPT2 = {"\\p{N}", GPT2_PATTERN};
static patterns FALCON = {"[\\p{P}\\$\\+<=>\\^~\\|`]+", GPT2_PATTERN, "\\p{N}+", "[0-9][0-9][0-9]"};
static patterns DEEPSEEK_LLM = {
    "[\\r\\n]",
    "\\s?[" CASED "]+",
    "\\s?[!-/:-~\\x{ff01}-\\x{ff0f}\\x{ff1a}-\\x{ff5e}\\x{2018}-\\x{201f}\\x{3000}-\\x{3002}]+",
    "\\s+$",
    WIDE,
    "\\p{N}"};
static patterns DEEPSEEK_CODER = {"[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", WIDE, "\\p{N}"};
static patterns DEEPSEEK3 = {
    "\\p{N}{1,3}", "[\\x{4e00}-\\x{9fa5}\\x{3040}-\\x{309f}\\x{30a0}-\\x{30ff}]+",
    "[!\"#$%&'()*+,\\-./"
    ":;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}"
    "]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"};
#define UNLESS_HAN "&&[^\\p{Han}]]"
static patterns KIMI = {
    "[\\p{Han}]+|[^\\r\\n\\p{L}\\p{N}]?[" UPPER UNLESS_HAN "*[" LOWER UNLESS_HAN "+" SHORT
    "|[^\\r\\n\\p{L}\\p{N}]?[" UPPER UNLESS_HAN "+[" LOWER UNLESS_HAN "*" SHORT
    "|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"};
static patterns BAILING = {
    "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|"
    "\\s*[\\r\\n]|\\s+(?!\\S)|\\s+"};
static patterns SEED_CODER = {LETTERS_3
                              "\\p{N}| ?[^\\s\\p{L}\\p{N}\\r\\n]+|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"};
static patterns BLOOM = {" ?[^" NOT_BLOOM "]+"};
static patterns VIKING = {" ?[^" NOT_BLOOM "]+", "\\p{N}"};
static patterns SUPERBPE = {"\\p{N}+", "(?=(\\d{3})+(?!\\d))"};
static patterns DEFAULT = {"[\\p{P}\\$\\+<=>\\^~\\|]+", GPT2_PATTERN, "\\p{N}+", "[0-9][0-9][0-9]"};

static const rlx_text_pre pres[] = {
#define PRE(name, patterns, whole_words, bos, nfc) {name, patterns, whole_words, bos, nfc},
#include "frontend/text/pre.def"
#undef PRE
};

const char *rlx_text_pre_name(const char *const *wanted, int n, bool whole_words, bool nfc)
{
    const char *name = NULL;
    for (size_t i = 0; i < sizeof pres / sizeof *pres; i++) {
        int same = 0;
        while (same < n && pres[i].patterns[same] && !strcmp(pres[i].patterns[same], wanted[same]))
            same++;
        if (same < n || (n < RLX_PRE_PATTERNS && pres[i].patterns[n]) ||
            pres[i].whole_words != whole_words)
            continue;
        if (pres[i].nfc == nfc)
            return pres[i].name;
        name = name ? name : pres[i].name;
    }
    return name;
}

const rlx_text_pre *rlx_text_pre_find(const char *name)
{
    for (size_t i = 0; i < sizeof pres / sizeof *pres; i++)
        if (!strcmp(pres[i].name, name))
            return &pres[i];
    return NULL;
}

const char *rlx_description_take_pre(rlx_description *d, const char *absent)
{
    const char *name = d->pre ? d->pre : absent;
    d->pre = NULL;
    return name;
}

rlx_status rlx_description_set_pre(rlx_description *d, const rlx_text_pre *pre)
{
    rlx_text_step *s = NULL;
    if (pre->nfc) {
        RLX_TRY(rlx_description_add_normal(d, RLX_NORMAL_FORM, &s));
        s->n = RLX_NFC;
    }
    for (int i = 0; i < RLX_PRE_PATTERNS && pre->patterns[i]; i++)
        RLX_TRY(rlx_description_split_regex(d, pre->patterns[i]));
    d->settings.ignore_merges = pre->whole_words;
    return rlx_description_set_byte_level(d);
}

bool rlx_text_phi3_strips(const char *added)
{
    return strcmp(added, "<unk>") && strcmp(added, "<s>") && strcmp(added, "<|endoftext|>");
}
