/* mir/lower/lower_attention_dense.h: what the files of attention over tensors share.
 *
 *   lower_attention_dense.c  the region, its masks; the kernel on CPUs
 *   lower_attention_team.c   the kernel on GPUs
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

/* Maximum and sum of no keys, or of the head's sink: scalars. */
rlx_status dense_first_sums(dense *g, rlx_ir_value **max, rlx_ir_value **sum);
/* Begins the grid whose last axis is blocks of the schedule's tokens and whose middle one is heads,
 * `shares` of each; *share: i64, which of them. Sets what an instance is. */
rlx_status dense_begin_grid(dense *g, int64_t shares, rlx_lir_scope *grid, rlx_ir_value **share);
/* A loop over chunks of keys begin .. end-1: sets x.page_at and live. */
rlx_status dense_begin_chunk(dense *g, rlx_ir_value *begin, rlx_ir_value *end, int ncarried,
                             rlx_ir_value *const *init, rlx_lir_scope *loop);

/* What scores of a column of keys become, for every row tile. */
typedef struct column {
    rlx_ir_value *j;           /* first key of the chunk */
    rlx_ir_value *bias, *seen; /* of all rows alike; NULL: none, or by row tiles */
} column;
rlx_status dense_begin_column(dense *g, column *c);
/* Sums of products of the row tile at r, as scores. */
rlx_status dense_finish_scores(dense *g, const column *c, rlx_ir_value *r, rlx_ir_value **s);
/* o = acc / sum, sum one at least; with a mask a sign of 0 is none. */
rlx_ir_value *dense_result(dense *g, rlx_ir_value *acc, rlx_ir_value *sum);

/* The whole kernel, as a GPU has it. */
rlx_status lower_attention_team(dense *g, const leaf *l);

/* ---- lower_attention_seen.c ---- */

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
