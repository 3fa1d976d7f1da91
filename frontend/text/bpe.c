/* frontend/text/bpe.c: byte pair encoding.
 *
 * A piece starts as one symbol per character or byte. The pair of neighbours with the lowest rank
 * (leftmost among equals) merges, until none is left: a heap of candidates, stale ones dropped when
 * they surface. Which pairs merge, and into what, says a table of pairs (GPT-2) or the vocabulary
 * itself (sentencepiece, tiktoken), where a symbol needs no token of its own to become part of one.
 */
#include <stdlib.h>
#include <string.h>

#include "frontend/text/encode.h"
#include "frontend/text/unicode.h"

typedef struct rlx_bpe_symbol {
    int32_t id;           /* -1: its text is no token */
    int32_t start, bytes; /* in the piece; 0 bytes: merged into its left neighbour */
    int32_t prev, next;
} rlx_bpe_symbol;

typedef struct rlx_bpe_candidate {
    int32_t rank, at;    /* at: the left symbol */
    int32_t left, right; /* bytes of the two: others mean that one of them has merged */
    int32_t id;
} rlx_bpe_candidate;

typedef struct rlx_bpe_parts { /* the last way that was seen to make an unused token */
    int32_t id, left;          /* bytes of its left part */
} rlx_bpe_parts;

/* ---- the heap */

static bool before(const rlx_bpe_candidate *a, const rlx_bpe_candidate *b)
{
    return a->rank != b->rank ? a->rank < b->rank : a->at < b->at;
}

static rlx_status heap_push(rlx_encoding *e, rlx_bpe_candidate c)
{
    RLX_ENCODING_GROW(e->heap, e->cap_heap, e->nheap + 1);
    int64_t i = e->nheap++;
    for (; i > 0 && before(&c, &e->heap[(i - 1) / 2]); i = (i - 1) / 2)
        e->heap[i] = e->heap[(i - 1) / 2];
    e->heap[i] = c;
    return RLX_OK;
}

static rlx_bpe_candidate heap_pop(rlx_encoding *e)
{
    rlx_bpe_candidate top = e->heap[0], last = e->heap[--e->nheap];
    int64_t i = 0;
    for (int64_t child; (child = 2 * i + 1) < e->nheap; i = child) {
        if (child + 1 < e->nheap && before(&e->heap[child + 1], &e->heap[child]))
            child++;
        if (!before(&e->heap[child], &last))
            break;
        e->heap[i] = e->heap[child];
    }
    e->heap[i] = last;
    return top;
}

/* ---- candidates */

static bool find_merge(const rlx_tokenizer *t, int32_t left, int32_t right, rlx_bpe_candidate *out)
{
    if (left < 0 || right < 0)
        return false;
    uint32_t i = (uint32_t)rlx_merge_hash(left, right) & t->merge_mask;
    for (int32_t k; (k = t->merge_slots[i]) >= 0; i = (i + 1) & t->merge_mask) {
        const rlx_merge *m = &t->merges[k];
        if (m->left != left || m->right != right)
            continue;
        out->rank = k;
        out->id = m->id;
        return true;
    }
    return false;
}

/* Do two neighbours merge? Puts the candidate's rank and id. */
static bool find_candidate(const rlx_encoding *e, const rlx_bpe_symbol *left,
                           const rlx_bpe_symbol *right, rlx_bpe_candidate *out)
{
    const rlx_tokenizer *t = e->tokenizer;
    if (!t->settings->by_text)
        return find_merge(t, left->id, right->id, out);
    out->id = rlx_table_find_key(t, e->piece + left->start, (size_t)(left->bytes + right->bytes));
    if (out->id >= 0)
        out->rank = t->tokens[out->id].rank;
    return out->id >= 0;
}

/* Of the unused token: few are, and few of those come up in a piece. */
static rlx_bpe_parts *find_parts(const rlx_encoding *e, int32_t id)
{
    for (int64_t i = 0; i < e->nparts; i++)
        if (e->parts[i].id == id)
            return &e->parts[i];
    return NULL;
}

static rlx_status keep_parts(rlx_encoding *e, int32_t id, int32_t left)
{
    rlx_bpe_parts *known = find_parts(e, id);
    if (!known) {
        RLX_ENCODING_GROW(e->parts, e->cap_parts, e->nparts + 1);
        known = &e->parts[e->nparts++];
    }
    *known = (rlx_bpe_parts){id, left};
    return RLX_OK;
}

static rlx_status consider(rlx_encoding *e, int32_t at)
{
    int32_t next = at < 0 ? -1 : e->symbols[at].next;
    if (next < 0)
        return RLX_OK;
    const rlx_bpe_symbol *left = &e->symbols[at], *right = &e->symbols[next];
    rlx_bpe_candidate c = {.at = at, .left = left->bytes, .right = right->bytes};
    if (!find_candidate(e, left, right, &c))
        return RLX_OK;
    if (e->tokenizer->tokens[c.id].flags & RLX_TOKEN_UNUSED)
        RLX_TRY(keep_parts(e, c.id, left->bytes));
    return heap_push(e, c);
}

/* ---- symbols */

typedef struct unknowns { /* unknown characters that have no symbol yet */
    size_t start, bytes;
} unknowns;

static rlx_status add_symbol(rlx_encoding *e, int64_t *n, int32_t id, size_t start, size_t bytes)
{
    RLX_ENCODING_GROW(e->symbols, e->cap_symbols, *n + 1);
    e->symbols[*n] = (rlx_bpe_symbol){.id = id,
                                      .start = (int32_t)start,
                                      .bytes = (int32_t)bytes,
                                      .prev = (int32_t)*n - 1,
                                      .next = (int32_t)*n + 1};
    (*n)++;
    return RLX_OK;
}

static rlx_status flush_unknown(rlx_encoding *e, int64_t *n, unknowns *u)
{
    size_t bytes = u->bytes;
    u->bytes = 0;
    return bytes ? add_symbol(e, n, e->tokenizer->settings->unknown, u->start, bytes) : RLX_OK;
}

static rlx_status add_unknown(rlx_encoding *e, int64_t *n, unknowns *u, size_t start, size_t bytes)
{
    const rlx_text_settings *s = e->tokenizer->settings;
    if (s->unknown < 0)
        return RLX_OK;
    if (!s->fuse_unknown)
        RLX_TRY(flush_unknown(e, n, u));
    if (!u->bytes)
        u->start = start;
    u->bytes += bytes;
    return RLX_OK;
}

/* Without by_text: bytes' own tokens for a character that has none. */
static rlx_status add_bytes(rlx_encoding *e, int64_t *n, const char *p, size_t start, size_t bytes,
                            bool *all)
{
    const rlx_text_settings *s = e->tokenizer->settings;
    *all = s->byte_fallback;
    for (size_t i = 0; i < bytes && *all; i++)
        *all = s->byte_id[(unsigned char)p[start + i]] >= 0;
    for (size_t i = 0; i < bytes && *all; i++)
        RLX_TRY(add_symbol(e, n, s->byte_id[(unsigned char)p[start + i]], start + i, 1));
    return RLX_OK;
}

/* The token of a character, dressed up as it must be for its place in the piece. */
static int32_t find_unit(rlx_encoding *e, const char *p, size_t n, bool first, bool last)
{
    const rlx_tokenizer *t = e->tokenizer;
    rlx_span prefix = first ? (rlx_span){0} : t->settings->prefix;
    rlx_span suffix = last ? t->settings->suffix : (rlx_span){0};
    if (!prefix.bytes && !suffix.bytes)
        return n == 1 ? t->unit[(unsigned char)*p] : rlx_table_find_key(t, p, n);
    rlx_text_clear(&e->affixed);
    rlx_text_put_bytes(&e->affixed, rlx_table_text(t, prefix), prefix.bytes);
    rlx_text_put_bytes(&e->affixed, p, n);
    rlx_text_put_bytes(&e->affixed, rlx_table_text(t, suffix), suffix.bytes);
    return e->affixed.oom ? -1 : rlx_table_find_key(t, e->affixed.data, e->affixed.len);
}

static rlx_status read_symbols(rlx_encoding *e, const char *piece, size_t bytes, int64_t *n)
{
    const rlx_text_settings *s = e->tokenizer->settings;
    unknowns u = {0};
    for (size_t i = 0, len; i < bytes; i += len) {
        len = s->bytes ? 1 : rlx_utf8_read(piece + i, bytes - i, NULL); /* > 0: it is UTF-8 */
        int32_t id = find_unit(e, piece + i, len, i == 0, i + len == bytes);
        if (id >= 0 || s->by_text) {
            RLX_TRY(flush_unknown(e, n, &u));
            RLX_TRY(add_symbol(e, n, id, i, len));
            continue;
        }
        bool spelled;
        RLX_TRY(add_bytes(e, n, piece, i, len, &spelled));
        if (!spelled)
            RLX_TRY(add_unknown(e, n, &u, i, len));
    }
    return flush_unknown(e, n, &u);
}

/* ---- merging */

static rlx_status merge(rlx_encoding *e, int64_t n)
{
    e->nheap = e->nparts = 0;
    for (int64_t i = 0; i < n; i++)
        RLX_TRY(consider(e, (int32_t)i));
    while (e->nheap) {
        rlx_bpe_candidate c = heap_pop(e);
        rlx_bpe_symbol *s = &e->symbols[c.at];
        if (s->bytes != c.left || s->next < 0 || e->symbols[s->next].bytes != c.right)
            continue; /* stale: one of the two merged meanwhile */
        rlx_bpe_symbol *gone = &e->symbols[s->next];
        s->id = c.id;
        s->bytes += gone->bytes;
        s->next = gone->next;
        gone->bytes = 0;
        if (s->next >= 0)
            e->symbols[s->next].prev = c.at;
        RLX_TRY(consider(e, s->prev));
        RLX_TRY(consider(e, c.at));
    }
    return RLX_OK;
}

/* A text of the piece: its token, the parts of an unused one, bytes, or unknown, as an unused one
 * is that nothing was merged into. */
static rlx_status push_text(rlx_encoding *e, int32_t id, int32_t start, int32_t bytes,
                            bool *after_unknown)
{
    const rlx_text_settings *s = e->tokenizer->settings;
    bool spelled = false, was_unknown = *after_unknown;
    *after_unknown = false;
    bool unused = id >= 0 && (e->tokenizer->tokens[id].flags & RLX_TOKEN_UNUSED);
    const rlx_bpe_parts *p = unused ? find_parts(e, id) : NULL;
    if (id >= 0 && !unused)
        return rlx_encoding_push(e, id);
    if (p) {
        const char *at = e->piece + start;
        int32_t left = p->left, rest = bytes - left;
        RLX_TRY(push_text(e, rlx_table_find_key(e->tokenizer, at, (size_t)left), start, left,
                          &was_unknown));
        *after_unknown = was_unknown;
        return push_text(e, rlx_table_find_key(e->tokenizer, at + left, (size_t)rest), start + left,
                         rest, after_unknown);
    }
    RLX_TRY(rlx_encoding_push_bytes(e, e->piece + start, (size_t)bytes, &spelled));
    if (spelled)
        return RLX_OK;
    *after_unknown = true;
    if (s->unknown >= 0 && !(was_unknown && s->fuse_unknown))
        RLX_TRY(rlx_encoding_push(e, s->unknown));
    return RLX_OK;
}

static rlx_status push_symbols(rlx_encoding *e)
{
    bool after_unknown = false;
    for (int32_t i = 0; i >= 0; i = e->symbols[i].next) {
        const rlx_bpe_symbol *y = &e->symbols[i];
        RLX_TRY(push_text(e, y->id, y->start, y->bytes, &after_unknown));
    }
    return RLX_OK;
}

rlx_status rlx_encoding_bpe(rlx_encoding *e, const char *piece, size_t bytes)
{
    if (e->tokenizer->settings->ignore_merges) {
        int32_t id = rlx_table_find_key(e->tokenizer, piece, bytes);
        if (id >= 0)
            return rlx_encoding_push(e, id);
    }
    int64_t n = 0;
    e->piece = piece;
    RLX_TRY(read_symbols(e, piece, bytes, &n));
    if (!n)
        return RLX_OK;
    e->symbols[n - 1].next = -1;
    RLX_TRY(merge(e, n));
    return push_symbols(e);
}
