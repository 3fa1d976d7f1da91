/* mir/lower/lower_attention.h: what the two ways through an attention region share.
 *
 *   lower_attention.c        the region; token by token, for steps of few on CPUs
 *   lower_attention_block.c  blocks of tokens against blocks of keys, for prompts
 *   lower_attention_pages.c  a page of those on a GPU, for any step
 *   lower_attention_unit.c   pages by a GPU's matrix unit
 *   lower_attention_dense.c  the same over tensors; lower_attention_seen.c: less of it with masks;
 *                            lower_attention_team.c: on GPUs
 */
#ifndef RLX_MIR_LOWER_ATTENTION_H
#define RLX_MIR_LOWER_ATTENTION_H

#include "mir/lower/lower.h"

enum { KEYS = 1, VALUES = 2 }; /* operands */

typedef struct attention {
    kernel_cx *k;
    rlx_ir_builder *b;
    const rlx_ir_node *node;
    rlx_lir_attention_schedule s;
    int64_t ratio, d, positions;  /* query heads per kv head, head elements, positions per page */
    int64_t window, chunk, block; /* 0: none */
    int64_t unit_width;           /* products that a matrix unit adds at once; 0: they are f32 */
    double scale, softcap;        /* softcap 0: none */
    int key_scales, value_scales, sinks; /* operands; -1: none */
    rlx_ir_value *scores, *sums, *acc;   /* team memory: [R,P], [R], [R,D padded] */
    rlx_ir_value *wide_scales;           /* team memory: [P,D/32], of a page's values; or NULL */
    rlx_ir_value *next_page;             /* i64: of the sequence, or the last one again */
    rlx_ir_value *g, *h0, *t;            /* kv head, first query head, token */
    rlx_ir_value *seq, *len;             /* i64: sequence, one behind the last seen position */
    rlx_ir_value *lowest;                /* i64: the first seen position; NULL: 0 */
    int64_t rows_positions[2], rows_width[2], rows_lanes[2];
} attention;

/* The tile of an operand that lies in memory, as f32: codes as whole numbers. */
rlx_status attention_memory_tile(attention *a, int operand, const coord *c, const tile_space *ts,
                                 rlx_ir_value **out);
/* A score out of a sum of products. */
rlx_ir_value *attention_score(attention *a, rlx_ir_value *sum);
/* Sets lowest and len: the positions that the query at `pos` of sequence a->seq sees. */
rlx_status attention_find_seen(attention *a, rlx_ir_value *pos);
/* The page in slot `slot` of sequence a->seq. */
rlx_status attention_find_page(attention *a, rlx_ir_value *slot, rlx_ir_value **page);
/* o[t, h, d0..] <- x, `width` elements, in the region's result. */
rlx_status attention_store(attention *a, const leaf *l, const coord *at, rlx_ir_value *d0,
                           int64_t width, rlx_ir_value *x);

rlx_status lower_attention_block(attention *a, const leaf *l);
/* The region around a dense_attention. */
rlx_status lower_attention_dense(region_cx *r, const rlx_ir_node *n);

#endif
