/* frontend/text/encode.c: a text, or two, to ids: the whole way. */
#include <stdlib.h>
#include <string.h>

#include "frontend/text/encode.h"
#include "frontend/text/normalize.h"
#include "frontend/text/unicode.h"

/* ---- added tokens */

typedef struct added_match {
    const rlx_added_token *token;
    size_t from, to;
} added_match;

static bool is_word_at(const char *text, size_t bytes, size_t at)
{
    uint32_t c;
    return at < bytes && rlx_utf8_read(text + at, bytes - at, &c) && rlx_char_is(c, RLX_CHAR_WORD);
}

/* The first added token at or after `at`, the longest of those that begin there. */
static bool find_added(const rlx_tokenizer *t, const rlx_added_set *set, const char *text,
                       size_t bytes, size_t at, added_match *out)
{
    for (size_t i = at; i < bytes; i++) {
        if (!set->first[(unsigned char)text[i]])
            continue;
        int32_t found = -1;
        uint32_t node = 0;
        for (size_t j = i; j < bytes; j++) {
            node = rlx_trie_step(&set->trie, node, (unsigned char)text[j]);
            if (!node)
                break;
            if (set->trie.values[node] < 0)
                continue;
            found = set->trie.values[node];
            out->to = j + 1;
        }
        if (found < 0)
            continue;
        out->token = &t->added[found];
        out->from = i;
        return true;
    }
    return false;
}

/* The white space that a token takes; not what an earlier one has (from `done` on). */
static void take_space(const char *text, size_t bytes, size_t done, added_match *m)
{
    uint32_t c;
    while ((m->token->flags & RLX_ADDED_LSTRIP) && m->from > done) {
        size_t p = rlx_utf8_before(text, m->from);
        if (!rlx_utf8_read(text + p, m->from - p, &c) || !rlx_char_is(c, RLX_CHAR_SPACE))
            break;
        m->from = p;
    }
    for (size_t n; (m->token->flags & RLX_ADDED_RSTRIP) && m->to < bytes; m->to += n) {
        n = rlx_utf8_read(text + m->to, bytes - m->to, &c);
        if (!rlx_char_is(c, RLX_CHAR_SPACE))
            break;
    }
}

typedef rlx_status rest_fn(rlx_encoding *e, const char *text, size_t bytes, bool opens);

/* Cuts the tokens of `set` out of the text and hands what lies between them to `rest`. */
static rlx_status cut_added(rlx_encoding *e, const rlx_added_set *set, const char *text,
                            size_t bytes, bool opens, rest_fn *rest)
{
    size_t at = 0, done = 0;
    added_match m;
    while (set->any && find_added(e->tokenizer, set, text, bytes, at, &m)) {
        at = m.to;
        if ((m.token->flags & RLX_ADDED_WORD) &&
            ((m.from > 0 && is_word_at(text, m.from, rlx_utf8_before(text, m.from))) ||
             is_word_at(text, bytes, m.to)))
            continue;
        take_space(text, bytes, done, &m);
        if (m.from > done)
            RLX_TRY(rest(e, text + done, m.from - done, opens && done == 0));
        RLX_TRY(rlx_encoding_push(e, m.token->id));
        done = m.to;
    }
    return done < bytes ? rest(e, text + done, bytes - done, opens && done == 0) : RLX_OK;
}

static rlx_status encode_raw(rlx_encoding *e, const char *text, size_t bytes, bool opens)
{
    const rlx_tokenizer *t = e->tokenizer;
    if (!t->settings->nnormal)
        return cut_added(e, &t->normalized, text, bytes, opens, rlx_encoding_split);
    RLX_TRY(rlx_tokenizer_normalize(t, text, bytes, &e->normal));
    return cut_added(e, &t->normalized, e->normal.len ? e->normal.data : "", e->normal.len, opens,
                     rlx_encoding_split);
}

/* ---- the whole */

enum { MEMO_LEAST = 64, MEMO_MOST = 1 << 14, BYTES_PER_MEMO = 32 };

static rlx_status make_memo(rlx_encoding *e, size_t bytes)
{
    uint32_t n = MEMO_LEAST;
    if (bytes < MEMO_LEAST)
        return RLX_OK; /* not worth it */
    while (n < MEMO_MOST && n < bytes / BYTES_PER_MEMO)
        n *= 2;
    e->memo = calloc(n, sizeof *e->memo);
    e->nmemo = e->memo ? n : 0;
    return e->memo ? RLX_OK : RLX_OOM();
}

static rlx_status check_utf8(const char *text, size_t bytes)
{
    size_t valid = rlx_utf8_valid(text, bytes);
    return valid == bytes
               ? RLX_OK
               : RLX_FAIL(RLX_INVALID_ARGUMENT, "the text is not UTF-8 at byte %zu", valid);
}

typedef struct sequence {
    const char *text;
    size_t bytes;
} sequence;

/* `types` may be NULL. */
static rlx_status encode_parts(rlx_encoding *e, const sequence *s, int n, bool special,
                               int32_t **types)
{
    static const rlx_text_template plain = {.n = 2,
                                            .part = {{RLX_TEMPLATE_A, 0}, {RLX_TEMPLATE_B, 1}}};
    const rlx_text_settings *k = e->tokenizer->settings;
    const rlx_text_template *t = n == 2 ? &k->pair : &k->single;
    int parts = t->n ? t->n : n;
    int64_t cap_types = 0;
    t = t->n ? t : &plain;
    for (int i = 0; i < parts; i++) {
        rlx_template_part p = t->part[i];
        int64_t before = e->nids;
        if (p.what >= 0 && special)
            RLX_TRY(rlx_encoding_push(e, p.what));
        if (p.what == RLX_TEMPLATE_A || (p.what == RLX_TEMPLATE_B && n == 2)) {
            const sequence *q = &s[p.what == RLX_TEMPLATE_B];
            RLX_TRY(cut_added(e, &e->tokenizer->raw, q->text, q->bytes, true, encode_raw));
        }
        if (!types)
            continue;
        RLX_ENCODING_GROW(*types, cap_types, e->nids + 1);
        while (before < e->nids)
            (*types)[before++] = p.type;
    }
    return RLX_OK;
}

static rlx_status encode(const rlx_tokenizer *t, const sequence *s, int n, bool special,
                         int32_t **ids, int32_t **types, int64_t *count)
{
    rlx_encoding e = {.tokenizer = t};
    rlx_status st = RLX_OK;
    size_t bytes = 0;
    for (int i = 0; i < n && !st; i++) {
        st = check_utf8(s[i].text, s[i].bytes);
        bytes += s[i].bytes;
    }
    if (!st)
        st = make_memo(&e, bytes);
    if (!st)
        st = encode_parts(&e, s, n, special, types);
    if (!st) {
        *ids = e.ids;
        *count = e.nids;
        e.ids = NULL;
    }
    rlx_encoding_deinit(&e);
    return st;
}

rlx_status rlx_tokenizer_encode(const rlx_tokenizer *t, const char *text, size_t bytes,
                                bool special, int32_t **ids, int64_t *n)
{
    *ids = NULL;
    *n = 0;
    return encode(t, &(sequence){text, bytes}, 1, special, ids, NULL, n);
}

rlx_status rlx_tokenizer_encode_pair(const rlx_tokenizer *t, const char *text, size_t bytes,
                                     const char *second, size_t second_bytes, bool special,
                                     int32_t **ids, int32_t **types, int64_t *n)
{
    const sequence s[2] = {{text, bytes}, {second, second_bytes}};
    *ids = *types = NULL;
    *n = 0;
    rlx_status st = encode(t, s, second ? 2 : 1, special, ids, types, n);
    if (st) {
        free(*types);
        *types = NULL;
    }
    return st;
}
