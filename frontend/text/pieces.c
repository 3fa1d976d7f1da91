/* frontend/text/pieces.c: a piece to ids, by what was found before or by the model. */
#include <stdlib.h>
#include <string.h>

#include "frontend/text/encode.h"

void *rlx_encoding_grow(void *array, int64_t *cap, int64_t need, size_t size)
{
    if (need <= *cap)
        return array;
    int64_t wanted = *cap * 2 > need ? *cap * 2 : need + 64;
    void *grown = realloc(array, (size_t)wanted * size);
    if (grown)
        *cap = wanted;
    return grown;
}

rlx_status rlx_encoding_push(rlx_encoding *e, int32_t id)
{
    RLX_ENCODING_GROW(e->ids, e->cap_ids, e->nids + 1);
    e->ids[e->nids++] = id;
    return RLX_OK;
}

void rlx_encoding_deinit(rlx_encoding *e)
{
    free(e->ids);
    free(e->memo);
    free(e->symbols);
    free(e->heap);
    free(e->parts);
    free(e->nodes);
    rlx_text_deinit(&e->normal);
    rlx_text_deinit(&e->mapped);
    rlx_text_deinit(&e->affixed);
    rlx_regex_scratch_deinit(&e->regex);
}

rlx_status rlx_encoding_push_bytes(rlx_encoding *e, const char *p, size_t n, bool *all)
{
    const rlx_text_settings *s = e->tokenizer->settings;
    *all = s->byte_fallback;
    for (size_t i = 0; i < n && *all; i++)
        *all = s->byte_id[(unsigned char)p[i]] >= 0;
    for (size_t i = 0; i < n && *all; i++)
        RLX_TRY(rlx_encoding_push(e, s->byte_id[(unsigned char)p[i]]));
    return RLX_OK;
}

static rlx_status push_word(rlx_encoding *e, const char *piece, size_t bytes)
{
    int32_t id = rlx_table_find_key(e->tokenizer, piece, bytes);
    if (id < 0)
        id = e->tokenizer->settings->unknown;
    if (id < 0)
        return RLX_FAIL(RLX_INVALID_ARGUMENT,
                        "\"%.*s\" is not in the vocabulary, and there is no unknown token",
                        bytes < 200 ? (int)bytes : 200, piece);
    return rlx_encoding_push(e, id);
}

static rlx_status push_by_model(rlx_encoding *e, const char *piece, size_t bytes)
{
    switch ((rlx_text_model)e->tokenizer->settings->model) {
    case RLX_MODEL_BPE:
        return rlx_encoding_bpe(e, piece, bytes);
    case RLX_MODEL_WORDPIECE:
        return rlx_encoding_wordpiece(e, piece, bytes);
    case RLX_MODEL_UNIGRAM:
        return rlx_encoding_unigram(e, piece, bytes);
    case RLX_MODEL_WORDS:
        return push_word(e, piece, bytes);
    }
    return RLX_FAIL(RLX_INTERNAL, "a tokenizer without a model");
}

static rlx_status push_part(rlx_encoding *e, const char *piece, size_t bytes)
{
    if (bytes > INT32_MAX)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "a piece of text of %zu bytes is too long", bytes);
    if (bytes > RLX_MEMO_KEY || !e->nmemo)
        return push_by_model(e, piece, bytes);
    rlx_piece_memo *m = &e->memo[rlx_text_hash(piece, bytes) & (e->nmemo - 1)];
    if (m->bytes == bytes && !memcmp(m->key, piece, bytes)) {
        RLX_ENCODING_GROW(e->ids, e->cap_ids, e->nids + RLX_MEMO_IDS);
        memcpy(e->ids + e->nids, m->id, sizeof m->id);
        e->nids += m->nids;
        return RLX_OK;
    }
    int64_t before = e->nids;
    RLX_TRY(push_by_model(e, piece, bytes));
    int64_t n = e->nids - before;
    if (n > RLX_MEMO_IDS)
        return RLX_OK;
    m->bytes = (uint8_t)bytes;
    m->nids = (uint8_t)n;
    memcpy(m->key, piece, bytes);
    if (n)
        memcpy(m->id, e->ids + before, (size_t)n * sizeof *m->id);
    return RLX_OK;
}

/* Where nothing merges across the beginning of a word, words are merged one by one: the same ids,
 * from memory that stays in the cache. */
rlx_status rlx_encoding_push_piece(rlx_encoding *e, const char *piece, size_t bytes)
{
    rlx_span s = e->tokenizer->settings->mark;
    if (!s.bytes)
        return push_part(e, piece, bytes);
    const char *mark = rlx_table_text(e->tokenizer, s), *end = piece + bytes;
    while (piece < end) {
        const char *next = piece;
        while ((size_t)(end - next) >= s.bytes && !memcmp(next, mark, s.bytes))
            next += s.bytes;
        next = memmem(next, (size_t)(end - next), mark, s.bytes);
        size_t part = (size_t)((next ? next : end) - piece);
        RLX_TRY(push_part(e, piece, part));
        piece += part;
    }
    return RLX_OK;
}
