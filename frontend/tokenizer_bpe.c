/* frontend/tokenizer_bpe.c: the vocabulary, the merges, and a piece to ids.
 *
 * A piece starts as one symbol per character. The pair of neighbours with the lowest rank (leftmost
 * among equals) merges, until none is left: a heap of candidates, stale ones dropped when they
 * surface. Which pairs merge, and into what, says a table of pairs (GPT-2) or the vocabulary itself
 * (sentencepiece, where a symbol needs no token of its own to become part of one). */
#include <stdlib.h>
#include <string.h>

#include "frontend/tokenizer_impl.h"

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

/* ---- tables */

uint64_t rlx_tokenizer_hash(const void *p, size_t n)
{
    const unsigned char *s = p;
    uint64_t h = 0xcbf29ce484222325u; /* FNV-1a, then mixed: tables take the low bits */
    for (size_t i = 0; i < n; i++)
        h = (h ^ s[i]) * 0x100000001b3u;
    return h ^ h >> 29;
}

static uint64_t hash_pair(uint64_t pair)
{
    pair *= 0x9e3779b97f4a7c15u;
    return pair ^ pair >> 32;
}

static uint64_t table_size(int64_t entries)
{
    uint64_t n = 16;
    while (n < (uint64_t)entries * 2)
        n *= 2;
    return n;
}

rlx_status rlx_tokenizer_reserve(rlx_tokenizer *t, int64_t tokens, int64_t merges)
{
    uint64_t nslots = table_size(tokens), nmerges = table_size(merges);
    t->ntokens = tokens;
    t->tokens = RLX_NEW_ARRAY(t->arena, rlx_token, tokens);
    t->slots = RLX_NEW_ARRAY(t->arena, int32_t, nslots);
    t->merges = RLX_NEW_ARRAY(t->arena, rlx_merge, nmerges);
    if (!t->tokens || !t->slots || !t->merges)
        return RLX_OOM();
    t->slot_mask = nslots - 1;
    t->merge_mask = nmerges - 1;
    memset(t->slots, 0xff, sizeof(int32_t) * nslots);
    for (uint64_t i = 0; i < nmerges; i++)
        t->merges[i].rank = -1;
    return RLX_OK;
}

int32_t rlx_tokenizer_lookup(const rlx_tokenizer *t, const char *text, size_t bytes)
{
    for (uint64_t i = rlx_tokenizer_hash(text, bytes) & t->slot_mask;; i = (i + 1) & t->slot_mask) {
        int32_t id = t->slots[i];
        if (id < 0)
            return -1;
        if (t->tokens[id].text_bytes == bytes && !memcmp(t->tokens[id].text, text, bytes))
            return id;
    }
}

void rlx_tokenizer_index(rlx_tokenizer *t, int32_t id)
{
    const rlx_token *k = &t->tokens[id];
    uint64_t i = rlx_tokenizer_hash(k->text, k->text_bytes) & t->slot_mask;
    while (t->slots[i] >= 0)
        i = (i + 1) & t->slot_mask;
    t->slots[i] = id;
}

static const rlx_merge *find_merge(const rlx_tokenizer *t, int32_t left, int32_t right)
{
    uint64_t pair = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    for (uint64_t i = hash_pair(pair) & t->merge_mask;; i = (i + 1) & t->merge_mask) {
        const rlx_merge *m = &t->merges[i];
        if (m->rank < 0)
            return NULL;
        if (m->pair == pair)
            return m;
    }
}

void rlx_tokenizer_put_merge(rlx_tokenizer *t, int32_t left, int32_t right, int32_t rank,
                             int32_t id)
{
    uint64_t pair = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    uint64_t i = hash_pair(pair) & t->merge_mask;
    while (t->merges[i].rank >= 0 && t->merges[i].pair != pair)
        i = (i + 1) & t->merge_mask;
    t->merges[i] =
        (rlx_merge){.pair = pair, .rank = rank, .id = id}; /* a pair twice: the last one */
}

/* ---- growing arrays */

/* The array with room for `need` elements, or NULL. */
static void *grown(void *p, int64_t *cap, int64_t need, size_t each)
{
    if (need <= *cap)
        return p;
    int64_t n = *cap ? *cap : 64;
    while (n < need)
        n *= 2;
    void *q = realloc(p, (size_t)n * each);
    if (q)
        *cap = n;
    return q;
}

#define GROW(array, cap, need)                                          \
    do {                                                                \
        void *grown_ = grown((array), &(cap), (need), sizeof *(array)); \
        if (!grown_)                                                    \
            return RLX_OOM();                                           \
        (array) = grown_;                                               \
    } while (0)

rlx_status rlx_encoding_push(rlx_encoding *e, int32_t id)
{
    GROW(e->ids, e->cap_ids, e->nids + 1);
    e->ids[e->nids++] = id;
    return RLX_OK;
}

void rlx_encoding_deinit(rlx_encoding *e)
{
    free(e->ids);
    free(e->symbols);
    free(e->heap);
    rlx_text_deinit(&e->mapped);
}

/* ---- the heap */

static bool before(const rlx_bpe_candidate *a, const rlx_bpe_candidate *b)
{
    return a->rank != b->rank ? a->rank < b->rank : a->at < b->at;
}

static rlx_status heap_push(rlx_encoding *e, rlx_bpe_candidate c)
{
    GROW(e->heap, e->cap_heap, e->nheap + 1);
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

/* Do two neighbours merge? Puts the candidate's rank and id. */
static bool find_candidate(const rlx_encoding *e, const rlx_bpe_symbol *left,
                           const rlx_bpe_symbol *right, rlx_bpe_candidate *out)
{
    const rlx_tokenizer *t = e->tokenizer;
    if (!t->by_text) {
        const rlx_merge *m = find_merge(t, left->id, right->id);
        if (m) {
            out->rank = m->rank;
            out->id = m->id;
        }
        return m != NULL;
    }
    out->id = rlx_tokenizer_lookup(t, e->piece + left->start, (size_t)(left->bytes + right->bytes));
    out->rank = out->id < 0 ? RLX_RANK_NEVER : t->tokens[out->id].rank;
    return out->rank != RLX_RANK_NEVER;
}

static rlx_status consider(rlx_encoding *e, int32_t at)
{
    int32_t next = at < 0 ? -1 : e->symbols[at].next;
    if (next < 0)
        return RLX_OK;
    const rlx_bpe_symbol *left = &e->symbols[at], *right = &e->symbols[next];
    rlx_bpe_candidate c = {.at = at, .left = left->bytes, .right = right->bytes};
    return find_candidate(e, left, right, &c) ? heap_push(e, c) : RLX_OK;
}

/* ---- pieces */

static rlx_status add_symbol(rlx_encoding *e, int64_t *n, int32_t id, size_t start, size_t bytes)
{
    GROW(e->symbols, e->cap_symbols, *n + 1);
    e->symbols[*n] = (rlx_bpe_symbol){.id = id,
                                      .start = (int32_t)start,
                                      .bytes = (int32_t)bytes,
                                      .prev = (int32_t)*n - 1,
                                      .next = (int32_t)*n + 1};
    (*n)++;
    return RLX_OK;
}

/* Has every byte of a text a token of its own? */
static bool has_bytes(const rlx_tokenizer *t, const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (t->byte_id[(unsigned char)p[i]] < 0)
            return false;
    return t->byte_fallback;
}

/* One symbol per character. Without `by_text`, characters that have no token are spelled in bytes,
 * or unknown. */
static rlx_status read_symbols(rlx_encoding *e, const char *piece, size_t bytes, int64_t *n)
{
    const rlx_tokenizer *t = e->tokenizer;
    bool after_unknown = false;
    for (size_t i = 0, len; i < bytes; i += len) {
        len = rlx_utf8_read(piece + i, bytes - i, NULL); /* > 0: encode took UTF-8 only */
        int32_t id = rlx_tokenizer_lookup(t, piece + i, len);
        bool was_unknown = after_unknown;
        after_unknown = false;
        if (id >= 0 || t->by_text) {
            bool never = id < 0 || (t->by_text && t->tokens[id].rank == RLX_RANK_NEVER);
            RLX_TRY(add_symbol(e, n, never ? -1 : id, i, len));
        } else if (has_bytes(t, piece + i, len)) {
            for (size_t j = i; j < i + len; j++)
                RLX_TRY(add_symbol(e, n, t->byte_id[(unsigned char)piece[j]], j, 1));
        } else {
            after_unknown = true;
            if (t->unknown >= 0 && !(was_unknown && t->fuse_unknown))
                RLX_TRY(add_symbol(e, n, t->unknown, i, len));
        }
    }
    return RLX_OK;
}

static rlx_status merge(rlx_encoding *e, int64_t n)
{
    e->nheap = 0;
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

/* The symbols that are left; those that are no token are spelled in bytes, or unknown. */
static rlx_status push_symbols(rlx_encoding *e)
{
    const rlx_tokenizer *t = e->tokenizer;
    bool after_unknown = false;
    for (int32_t i = 0; i >= 0; i = e->symbols[i].next) {
        const rlx_bpe_symbol *s = &e->symbols[i];
        const char *p = e->piece + s->start;
        bool was_unknown = after_unknown;
        after_unknown = false;
        if (s->id >= 0) {
            RLX_TRY(rlx_encoding_push(e, s->id));
        } else if (has_bytes(t, p, (size_t)s->bytes)) {
            for (int32_t j = 0; j < s->bytes; j++)
                RLX_TRY(rlx_encoding_push(e, t->byte_id[(unsigned char)p[j]]));
        } else {
            after_unknown = true;
            if (t->unknown >= 0 && !(was_unknown && t->fuse_unknown))
                RLX_TRY(rlx_encoding_push(e, t->unknown));
        }
    }
    return RLX_OK;
}

static rlx_status push_part(rlx_encoding *e, const char *piece, size_t bytes)
{
    if (bytes > INT32_MAX)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "a piece of text of %zu bytes is too long", bytes);
    if (e->tokenizer->ignore_merges) {
        int32_t id = rlx_tokenizer_lookup(e->tokenizer, piece, bytes);
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

/* Where nothing merges across the beginning of a word, words are merged one by one: the same ids,
 * from memory that stays in the cache. */
rlx_status rlx_encoding_push_piece(rlx_encoding *e, const char *piece, size_t bytes)
{
    const char *mark = e->tokenizer->word_mark, *end = piece + bytes;
    size_t n = mark ? strlen(mark) : 0;
    while (piece < end) {
        const char *next = piece;
        while (n && (size_t)(end - next) >= n && !memcmp(next, mark, n))
            next += n;
        next = n ? memmem(next, (size_t)(end - next), mark, n) : NULL;
        size_t part = (size_t)((next ? next : end) - piece);
        RLX_TRY(push_part(e, piece, part));
        piece += part;
    }
    return RLX_OK;
}
