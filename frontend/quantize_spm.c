/* frontend/quantize_spm.c: sentencepiece's BPE, and Hugging Face's with byte fallback, as a GGUF
 * file's metadata: a score for each token, spaces as marks.
 *
 *   tokenizer.model   pieces have scores, also for the same tokens of a tokenizer.json beside it
 *   tokenizer.json    alone: merges become scores, where both say the same: neighbours merge when
 *                     their joined text is a token, that of the highest score first
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/model_path.h"
#include "frontend/quantize.h"
#include "frontend/text/description.h"

#define KEY "tokenizer.ggml."
#define MARK "\xe2\x96\x81" /* U+2581, which stands for a space */

typedef struct writer {
    const rlx_description *d;
    const char *dir;
    bool phi3; /* added tokens are Phi-3's */
    rlx_gguf_head *h;
    rlx_quantize_tokens *tokens;
    float *scores;
    int32_t *group, *members; /* of merges by what they make: its number, and how many they are */
    int32_t ngroups;
} writer;

static rlx_status refuse(const char *part, const char *why)
{
    return RLX_FAIL(RLX_UNSUPPORTED, "the tokenizer's %s: %s, and GGUF files cannot say so", part,
                    why);
}

static bool is_text(const rlx_description *d, rlx_span s, const char *text)
{
    return s.bytes == strlen(text) && !memcmp(rlx_description_get(d, s), text, s.bytes);
}

/* ---- spaces --------------------------------------------------------------------------------- */

typedef struct spaces {
    bool marked, prefix, squeezed;
} spaces;

static rlx_status read_normal(const rlx_description *d, const rlx_text_step *n, spaces *s)
{
    if (n->kind == RLX_NORMAL_PREPEND && is_text(d, n->a, MARK) && !s->marked && !s->prefix) {
        s->prefix = true;
        return RLX_OK;
    }
    if (n->kind == RLX_NORMAL_REPLACE && is_text(d, n->a, " ") && is_text(d, n->b, MARK)) {
        s->marked = true;
        return RLX_OK;
    }
    if (n->kind != RLX_NORMAL_SENTENCEPIECE || (n->flags & RLX_SPM_SUFFIX))
        return refuse("normalizer", "does more than to mark spaces");
    s->marked = n->flags & RLX_SPM_MARKS;
    s->prefix = n->flags & RLX_SPM_PREFIX;
    s->squeezed = n->flags & RLX_SPM_SQUEEZE;
    return RLX_OK;
}

static rlx_status read_split(const rlx_description *d, const rlx_text_step *t, spaces *s)
{
    if (t->kind == RLX_SPLIT_LITERAL && is_text(d, t->a, " ") && s->marked)
        return RLX_OK; /* there are no spaces any more */
    if (t->kind != RLX_SPLIT_METASPACE || !is_text(d, t->a, MARK))
        return refuse("pre_tokenizer", "cuts texts into words");
    if (t->flags & RLX_METASPACE_SPLIT)
        return refuse("pre_tokenizer", "Metaspace begins a word at every space");
    if (t->flags & RLX_METASPACE_FIRST)
        return refuse("pre_tokenizer", "Metaspace puts a space in front of the first words only");
    if (t->flags & RLX_METASPACE_PREFIX)
        return refuse("pre_tokenizer", "Metaspace puts a space in front where there is none");
    s->marked = true;
    return RLX_OK;
}

static rlx_status put_spaces(const writer *w)
{
    const rlx_text_settings *s = &w->d->settings;
    spaces is = {0};
    if (s->model != RLX_MODEL_BPE || s->bytes)
        return refuse("model", "is neither byte-level BPE nor BPE with byte fallback");
    for (uint32_t i = 0; i < s->nnormal; i++)
        RLX_TRY(read_normal(w->d, &s->normal[i], &is));
    for (uint32_t i = 0; i < s->nsplit; i++)
        RLX_TRY(read_split(w->d, &s->split[i], &is));
    if (!is.marked)
        return refuse("normalizer", "leaves spaces as they are");
    rlx_gguf_put_int(w->h, KEY "add_space_prefix", RLX_GGUF_BOOL, is.prefix);
    if (is.squeezed)
        rlx_gguf_put_int(w->h, KEY "remove_extra_whitespaces", RLX_GGUF_BOOL, true);
    if (!s->charsmap.bytes)
        return RLX_OK;
    const char *rules = rlx_description_get(w->d, s->charsmap);
    rlx_gguf_put_array(w->h, KEY "precompiled_charsmap", RLX_GGUF_U8, s->charsmap.bytes);
    for (uint32_t i = 0; i < s->charsmap.bytes; i++)
        rlx_gguf_put_element_int(w->h, RLX_GGUF_U8, (uint8_t)rules[i]);
    return RLX_OK;
}

/* ---- tokens --------------------------------------------------------------------------------- */

static bool is_byte(const char *text)
{
    unsigned value;
    char end;
    return strlen(text) == 6 && sscanf(text, "<0x%2X%c", &value, &end) == 2 && end == '>';
}

static rlx_status list_tokens(const writer *w)
{
    const rlx_description *d = w->d;
    rlx_quantize_tokens *t = w->tokens;
    if (d->ntokens > t->n)
        return RLX_FAIL(RLX_INVALID_FILE, "the tokenizer has %lld tokens, the model %lld",
                        (long long)d->ntokens, (long long)t->n);
    for (int64_t i = 0; i < d->ntokens; i++) {
        const rlx_token *k = &d->tokens[i];
        if (!(k->flags & RLX_TOKEN_PRESENT))
            continue;
        const char *text = rlx_description_get(d, k->text);
        t->text[i] = strndup(text, k->text.bytes);
        if (!t->text[i])
            return RLX_OOM();
        if (strlen(t->text[i]) != k->text.bytes)
            return refuse("vocabulary", "has a token with a NUL");
        t->type[i] = i == d->settings.unknown       ? RLX_QUANTIZE_UNKNOWN
                     : k->flags & RLX_TOKEN_SPECIAL ? RLX_QUANTIZE_CONTROL
                     : is_byte(t->text[i])          ? RLX_QUANTIZE_BYTE
                                                    : RLX_QUANTIZE_NORMAL;
    }
    return RLX_OK;
}

/* Do the added tokens take the white space behind them as those of Phi-3 do? Readers know. */
static bool strips_as_phi3(const rlx_description *d)
{
    for (int64_t i = 0; i < d->nadded; i++)
        if (!(d->added[i].flags & RLX_ADDED_RSTRIP) ==
            rlx_text_phi3_strips(rlx_description_get(d, d->added[i].text)))
            return false;
    return true;
}

/* Files have the tokens as they stand in a text: such are other ones when it is normalized. */
static bool has_spaces(const char *text)
{
    return strchr(text, ' ') || strstr(text, MARK);
}

static rlx_status list_added(const writer *w)
{
    static const struct {
        uint32_t flag;
        const char *key;
    } keys[] = {{RLX_ADDED_LSTRIP, "lstrip"},
                {RLX_ADDED_RSTRIP, "rstrip"},
                {RLX_ADDED_WORD, "single_word"}};
    const rlx_description *d = w->d;
    const uint32_t known = w->phi3 ? RLX_ADDED_RSTRIP : 0;
    if (w->phi3)
        rlx_gguf_put_text(w->h, "general.name", RLX_PHI3_NAME);
    for (int64_t i = 0; i < d->nadded; i++) {
        const rlx_added_token *a = &d->added[i];
        for (size_t k = 0; k < sizeof keys / sizeof *keys; k++)
            if (a->flags & keys[k].flag & ~known)
                return rlx_quantize_refuse_added(keys[k].key, w->tokens->text[a->id]);
        if ((a->flags & RLX_ADDED_NORMALIZED) && has_spaces(w->tokens->text[a->id]))
            return rlx_quantize_refuse_added("normalized", w->tokens->text[a->id]);
        if (w->tokens->type[a->id] == RLX_QUANTIZE_NORMAL)
            w->tokens->type[a->id] = RLX_QUANTIZE_USER_DEFINED;
    }
    return RLX_OK;
}

/* ---- scores --------------------------------------------------------------------------------- */

static bool is_normal(const writer *w, int32_t id)
{
    return id >= 0 && w->tokens->type[id] == RLX_QUANTIZE_NORMAL;
}

static size_t next_char(const char *text, size_t at)
{
    do
        at++;
    while (((unsigned char)text[at] & 0xc0) == 0x80);
    return at;
}

/* In how many ways two symbols may stand beside each other that make up a token: characters, or
 * tokens. */
static int32_t count_ways(const writer *w, const char *text)
{
    const size_t n = strlen(text);
    int32_t ways = 0;
    for (size_t i = n ? next_char(text, 0) : 0; i < n; i = next_char(text, i)) {
        bool left = next_char(text, 0) == i || is_normal(w, rlx_description_find(w->d, text, i));
        bool right =
            next_char(text, i) == n || is_normal(w, rlx_description_find(w->d, text + i, n - i));
        ways += left && right;
    }
    return ways;
}

static rlx_status group_merges(writer *w)
{
    for (int64_t i = 0; i < w->d->nmerges; i++) {
        const int32_t id = w->d->merges[i].id;
        if (w->group[id] < 0)
            w->group[id] = w->ngroups++;
        else if (w->group[id] != w->ngroups - 1)
            return RLX_FAIL(
                RLX_UNSUPPORTED,
                "tokenizer.json: merges: those that make \"%.40s\" are not in a row, and "
                "GGUF files cannot say so",
                w->tokens->text[id]);
        w->members[id]++;
    }
    return RLX_OK;
}

/* What merges say is said by scores when all of them, and no others, make a token of the
 * vocabulary, and those that make the same one stand together. */
static rlx_status score_merges(writer *w)
{
    int32_t rest = 0;
    RLX_TRY(group_merges(w));
    for (int32_t i = 0; i < w->d->ntokens; i++) {
        if (!is_normal(w, i))
            continue;
        if (count_ways(w, w->tokens->text[i]) != w->members[i])
            return RLX_FAIL(RLX_UNSUPPORTED,
                            "tokenizer.json: merges: not all that would make \"%.40s\" are there, "
                            "and GGUF files cannot say so",
                            w->tokens->text[i]);
        w->scores[i] = -(float)(w->group[i] >= 0 ? w->group[i] : w->ngroups + rest++);
    }
    return RLX_OK;
}

static void take_scores(const writer *w, const rlx_description *d)
{
    for (int64_t i = 0; i < d->ntokens && i < w->d->ntokens; i++)
        w->scores[i] = rlx_description_score_of_rank(d->tokens[i].rank);
}

/* Are these the tokens, and do they have scores? */
static bool has_scores_of(const writer *w, const rlx_description *d)
{
    if (d->settings.model != RLX_MODEL_BPE || !d->settings.by_text || d->settings.bytes)
        return false;
    for (int32_t i = 0; i < w->d->ntokens; i++)
        if (is_normal(w, i) &&
            (i >= d->ntokens || !is_text(d, d->tokens[i].text, w->tokens->text[i])))
            return false;
    return true;
}

/* *found: the directory's tokenizer.model has them. */
static rlx_status find_pieces(const writer *w, bool *found)
{
    rlx_description d;
    char *path;
    *found = false;
    RLX_TRY(rlx_path_find(w->dir, "tokenizer.model", &path));
    if (!path)
        return RLX_OK;
    rlx_status st = rlx_description_load(&d, path);
    *found = !st && has_scores_of(w, &d);
    if (*found)
        take_scores(w, &d);
    rlx_description_deinit(&d);
    free(path);
    if (rlx_status_code(st) != RLX_UNSUPPORTED) /* of another kind, then */
        return st;
    rlx_status_free(st);
    return RLX_OK;
}

static rlx_status find_scores(writer *w)
{
    bool found;
    const rlx_text_settings *s = &w->d->settings;
    if (s->by_text) {
        take_scores(w, w->d);
        return RLX_OK;
    }
    if (s->ignore_merges || s->prefix.bytes || s->suffix.bytes)
        return refuse("model", "merges not by its merges alone");
    RLX_TRY(find_pieces(w, &found));
    if (found)
        return RLX_OK;
    w->group = malloc((size_t)(w->d->ntokens + 1) * sizeof *w->group);
    w->members = calloc((size_t)w->d->ntokens + 1, sizeof *w->members);
    if (!w->group || !w->members)
        return RLX_OOM();
    for (int64_t i = 0; i < w->d->ntokens; i++)
        w->group[i] = -1;
    return score_merges(w);
}

/* ---- the whole ------------------------------------------------------------------------------ */

static rlx_status put_all(writer *w)
{
    rlx_gguf_put_text(w->h, KEY "model", "llama");
    rlx_gguf_put_text(w->h, KEY "pre", "default");
    RLX_TRY(list_tokens(w));
    RLX_TRY(list_added(w));
    RLX_TRY(put_spaces(w));
    RLX_TRY(find_scores(w));
    RLX_TRY(rlx_quantize_put_tokens(w->h, w->tokens));
    rlx_gguf_put_array(w->h, KEY "scores", RLX_GGUF_F32, (uint64_t)w->tokens->n);
    for (int64_t i = 0; i < w->tokens->n; i++)
        rlx_gguf_put_element_real(w->h, w->scores[i]);
    if (w->d->settings.unknown >= 0)
        rlx_gguf_put_int(w->h, KEY "unknown_token_id", RLX_GGUF_U32, w->d->settings.unknown);
    return w->h->bytes.oom ? RLX_OOM() : RLX_OK;
}

rlx_status rlx_quantize_put_sentencepiece(rlx_gguf_head *h, const char *dir, bool phi3,
                                          rlx_quantize_tokens *t)
{
    rlx_description d;
    writer w = {.d = &d, .dir = dir, .h = h, .tokens = t};
    rlx_status st = rlx_description_load(&d, dir);
    if (!st) {
        w.phi3 = phi3 && strips_as_phi3(&d);
        w.scores = calloc((size_t)t->n + 1, sizeof *w.scores);
        st = w.scores ? put_all(&w) : RLX_OOM();
    }
    free(w.scores);
    free(w.group);
    free(w.members);
    rlx_description_deinit(&d);
    return st;
}
