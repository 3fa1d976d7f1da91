/* mir/lower/lower_attention_dense.h: what the files of attention over tensors share.
 *
 *   lower_attention_dense.c  the kernel
 *   lower_attention_seen.c   keys that a mask hides from all rows of a tile are left out
 */
#ifndef RLX_MIR_LOWER_ATTENTION_DENSE_H
#define RLX_MIR_LOWER_ATTENTION_DENSE_H

#include "mir/lower/lower_attention_block.h"

enum { CHUNK = RLX_MIR_DENSE_CHUNK };

typedef struct dense {
    block x;
    const rlx_ir_node *node;
    int nb;                 /* axes of B.. */
    coord at[RLX_MAX_RANK]; /* of the instance, along B.. */
    rlx_ir_value *h, *end;  /* head; one behind the block's last query */
    int64_t d, e;           /* elements of a key and of a value */
    rlx_dim s, keys;        /* extents */
    rlx_ir_value *live;     /* keys in the chunk that begins at x.page_at */
    rlx_ir_value
        *visible;      /* i32[row tiles, 2], keys that some row sees; NULL: no key is left out */
    rlx_ir_value *all; /* bool: no key is left out, whatever is there */
} dense;

static inline rlx_ir_value *dense_operand(const dense *g, rlx_mir_dense_options option)
{
    const int i = rlx_mir_dense_option(g->node, option);
    return i < 0 ? NULL : g->node->in[i];
}

/* Coordinates of q, k, v: row i of head h, from element c on. */
static inline void dense_place(const dense *g, coord i, coord h, coord c, coord *out)
{
    copy_coords(g->at, g->nb, out);
    out[g->nb] = i;
    out[g->nb + 1] = h;
    out[g->nb + 2] = c;
}

/* Keys are whole tiles of so many, wherever they begin. */
static inline bool dense_keys_fit(const dense *g, int64_t step)
{
    return rlx_dim_is_const(g->keys) && g->keys % step == 0;
}

static inline rlx_ir_value *dense_keys_limit(dense *g, int64_t step)
{
    return dense_keys_fit(g, step) ? NULL : k_extent(g->x.k, g->keys);
}

/* Whether a bias or a mask, of the scores' shape, hangs on the query. */
bool dense_hangs_on_query(const dense *g, const rlx_ir_value *v);

/* Before anything is built: takes the memory, if there is a mask and are rows enough. */
void dense_take_visible(dense *g);
/* What rows see, before the chunks. *first: 0, or 1 when no key may be left out. */
rlx_status dense_find_visible(dense *g, rlx_ir_value **first);
/* From here on keys are left out, but not if `all`. */
void dense_begin_visible(dense *g, rlx_ir_value *all);
/* Behind the chunks: i64, 1 if a row for which keys were left out met none, 0 if not. */
rlx_status dense_find_blind(dense *g, rlx_ir_value **blind);
/* Keys of the chunk that row tile r goes through: from a multiple of 32 on, up to one or all. */
void dense_visible_in_chunk(dense *g, rlx_ir_value *r, rlx_ir_value **from, rlx_ir_value **to);

#endif
