/* frontend/text/encode.h: what encoding a text shares: the ids so far, and scratch that its pieces
 * reuse.
 *
 *   encode.c     added tokens cut out, what lies between normalized; the template around it
 *   split.c      normalized text to pieces
 *   pieces.c     a piece to ids: looked up among those of this text, or by the model:
 *   bpe.c, wordpiece.c, unigram.c
 */
#ifndef RLX_FRONTEND_TEXT_ENCODE_H
#define RLX_FRONTEND_TEXT_ENCODE_H

#include "frontend/text/table.h"
#include "runtime/base/text.h"

/* A piece that came before, and its ids: one line of the CPU's cache. */
enum { RLX_MEMO_KEY = 22, RLX_MEMO_IDS = 10 };
typedef struct rlx_piece_memo {
    uint8_t bytes, nids; /* no bytes: an empty slot */
    char key[RLX_MEMO_KEY];
    int32_t id[RLX_MEMO_IDS];
} rlx_piece_memo;

typedef struct rlx_encoding {
    const rlx_tokenizer *tokenizer;
    int32_t *ids;
    int64_t nids, cap_ids;
    rlx_piece_memo *memo;
    uint32_t nmemo; /* a power of two; 0: none */
    struct rlx_bpe_symbol *symbols;
    struct rlx_bpe_candidate *heap;
    struct rlx_bpe_parts *parts; /* of unused tokens */
    struct rlx_unigram_node *nodes;
    int64_t cap_symbols, nheap, cap_heap, nparts, cap_parts, cap_nodes;
    rlx_text normal, mapped, affixed;
    const char *piece; /* that is being merged */
    rlx_regex_scratch regex;
} rlx_encoding;

rlx_status rlx_encoding_push(rlx_encoding *e, int32_t id);
void rlx_encoding_deinit(rlx_encoding *e);
/* At least `need` elements of `size` at *array; NULL, and it stays as it was: out of memory. */
void *rlx_encoding_grow(void *array, int64_t *cap, int64_t need, size_t size);
#define RLX_ENCODING_GROW(array, cap, need)                                         \
    do {                                                                            \
        void *grown_ = rlx_encoding_grow((array), &(cap), (need), sizeof *(array)); \
        if (!grown_)                                                                \
            return RLX_OOM();                                                       \
        (array) = grown_;                                                           \
    } while (0)

/* Splits normalized text into pieces and pushes each. `opens`: it begins the whole text. */
rlx_status rlx_encoding_split(rlx_encoding *e, const char *text, size_t bytes, bool opens);
rlx_status rlx_encoding_push_piece(rlx_encoding *e, const char *piece, size_t bytes);

/* A model's ids of a piece of at least one byte. */
rlx_status rlx_encoding_bpe(rlx_encoding *e, const char *piece, size_t bytes);
rlx_status rlx_encoding_wordpiece(rlx_encoding *e, const char *piece, size_t bytes);
rlx_status rlx_encoding_unigram(rlx_encoding *e, const char *piece, size_t bytes);
/* The bytes' own tokens; *all is false, and nothing is pushed, when one has none. */
rlx_status rlx_encoding_push_bytes(rlx_encoding *e, const char *p, size_t n, bool *all);

#endif
