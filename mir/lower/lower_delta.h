/* mir/lower/lower_delta.h: inside of the lowering of the gated delta rule by chunks.
 *
 *   lower_delta.c       runs, values and outputs, a chunk's end, the kernels
 *   lower_delta_rows.c  a run's rows, products of decays, scores; products of matrices */
#ifndef RLX_MIR_LOWER_DELTA_H
#define RLX_MIR_LOWER_DELTA_H

#include "mir/lower/lower_loops.h"

enum { Q, K, V, DECAY, BETA, STATE, KEYS, VALUES, DECAYS, POS, SEQ };
enum { TOGETHER = 8, LINE = 16 }; /* values in one product; floats of a cache's line */

/* A matrix of the instance's own, in memory. */
typedef struct place {
    rlx_ir_value *buffer;
    int lead; /* axes in front of the matrix's */
    rlx_ir_value *at[2];
} place;

typedef struct delta {
    kernel_cx *k;
    rlx_ir_builder *b;
    const rlx_ir_node *node;
    rlx_lir_delta_schedule s;
    int64_t d, e, c, width;            /* columns of scores per tile */
    bool tokens, tile, matrices;       /* matrices: products of whole tiles */
    tape_buffer *temp[4];              /* of what is neither pool nor result */
    rlx_ir_value *output;              /* NULL: nobody wants it */
    place state, keys, values, decays; /* [D,E], [D,C], [C,E]; row `head` of [H,C+1] */
    place rows, scores, scales;        /* team memory: [2R,D], [2R,C], [2R,1] */
    place products, sums, panel;       /* of decays [R+1,C]; [m,n]; [max(C,D),n] */
    rlx_ir_value *slot, *head, *group; /* sequence */
    rlx_ir_value *from, *count;        /* of the run: first step, how many */
    rlx_ir_value *index, *end;         /* its first step's in the chunk, one behind */
    rlx_ir_value *total;               /* f32: decays of the chunk up to the run's end */
    rlx_ir_value *has_state;           /* 0 or 1: turns of loops over what S gives */
} delta;

/* ---- small things -------------------------------------------------------------------------------
 */

static inline rlx_ir_value *at(delta *x, int64_t v)
{
    return k_const(x->k, v);
}

static inline rlx_ir_value *map2(delta *x, rlx_map_fn fn, rlx_ir_value *p, rlx_ir_value *q)
{
    return rlx_lir_build_map2(x->b, fn, p, q);
}

static inline rlx_ir_value *plus(delta *x, rlx_ir_value *p, rlx_ir_value *q)
{
    return map2(x, RLX_FN_ADD, p, q);
}

static inline rlx_ir_value *minus(delta *x, rlx_ir_value *p, rlx_ir_value *q)
{
    return map2(x, RLX_FN_SUB, p, q);
}

static inline rlx_ir_value *times(delta *x, rlx_ir_value *p, rlx_ir_value *q)
{
    return map2(x, RLX_FN_MUL, p, q);
}

static inline rlx_ir_value *over(delta *x, rlx_ir_value *p, int64_t by)
{
    return map2(x, RLX_FN_DIV, p, at(x, by));
}

static inline rlx_ir_value *choose(delta *x, rlx_ir_value *c, rlx_ir_value *p, rlx_ir_value *q)
{
    return rlx_lir_build_map3(x->b, RLX_FN_SELECT, c, p, q);
}

static inline rlx_ir_value *as_turns(delta *x, rlx_ir_value *condition)
{
    return choose(x, condition, at(x, 1), at(x, 0));
}

static inline rlx_ir_value *f32(delta *x, double v)
{
    return rlx_lir_build_const_f32(x->b, v);
}

static inline rlx_ir_value *zeros(delta *x, int64_t m, int64_t n)
{
    const int64_t dims[2] = {m, n};
    return rlx_lir_build_fill(x->b, RLX_F32, 2, dims, 0);
}

static inline rlx_status begin_loop(delta *x, rlx_ir_value *lo, rlx_ir_value *hi, int64_t step,
                                    rlx_lir_scope *s)
{
    rlx_lir_begin_for(x->b, lo, hi, step, 0, NULL, s);
    return x->b->status ? rlx_ir_builder_finish(x->b) : RLX_OK;
}

static inline rlx_status begin_sum(delta *x, rlx_ir_value *lo, rlx_ir_value *hi, int64_t step,
                                   rlx_ir_value **sum, rlx_lir_scope *s)
{
    rlx_lir_begin_for(x->b, lo, hi, step, 1, sum, s);
    return x->b->status ? rlx_ir_builder_finish(x->b) : RLX_OK;
}

static inline rlx_status end_sum(delta *x, rlx_lir_scope *s, rlx_ir_value *next, rlx_ir_value **sum)
{
    rlx_lir_end_for(x->b, s, &next);
    *sum = s->result[0];
    return rlx_ir_builder_finish(x->b);
}

/* From row r, column c of a matrix: m rows of n columns; 0 is one of them, and no axis. */
static inline int address(const place *p, rlx_ir_value *r, rlx_ir_value *c, int64_t m, int64_t n,
                          rlx_ir_value **index, int64_t *axes, int64_t *dims)
{
    int rank = 0;
    for (int i = 0; i < p->lead; i++)
        index[i] = p->at[i];
    index[p->lead] = r;
    index[p->lead + 1] = c;
    if (m) {
        axes[rank] = p->lead;
        dims[rank++] = m;
    }
    if (n) {
        axes[rank] = p->lead + 1;
        dims[rank++] = n;
    }
    return rank;
}

static inline rlx_ir_value *load(delta *x, place p, rlx_ir_value *r, rlx_ir_value *c, int64_t m,
                                 int64_t n)
{
    rlx_ir_value *index[4];
    int64_t axes[2], dims[2];
    const int rank = address(&p, r, c, m, n, index, axes, dims);
    return rlx_lir_build_load(x->b, p.buffer, RLX_F32, rank, dims, index, axes, NULL);
}

static inline void store(delta *x, place p, rlx_ir_value *r, rlx_ir_value *c, int64_t m, int64_t n,
                         rlx_ir_value *v)
{
    rlx_ir_value *index[4];
    int64_t axes[2], dims[2];
    address(&p, r, c, m, n, index, axes, dims);
    rlx_lir_build_store(x->b, p.buffer, v, index, axes, NULL);
}

/* [m] or [n] as [m,n]. */
static inline rlx_ir_value *spread(delta *x, rlx_ir_value *v, int64_t axis, int64_t m, int64_t n)
{
    const int64_t dims[2] = {m, n};
    return rlx_lir_build_broadcast(x->b, v, 2, dims, &axis);
}

/* The largest power of two, `most` at most, that divides n. */
static inline int64_t step_of(int64_t n, int64_t most)
{
    while (n % most != 0)
        most /= 2;
    return most;
}

/* Rows of one matrix by columns of another: a tile. */
typedef struct product {
    place a, w;
    rlx_ir_value *row, *column;
    int64_t m, n;
} product;

/* Coordinates of a step's row: how many. */
static inline int row_of(const delta *x, rlx_ir_value *step, coord *c)
{
    int n = 0;
    if (!x->tokens)
        c[n++] = coord_of(x->slot, 0, -1);
    c[n++] = coord_of(step, 0, -1);
    return n;
}

/* The index in the chunk of the step whose rows begin at `row`. */
static inline rlx_ir_value *index_of(delta *x, rlx_ir_value *row)
{
    return plus(x, x->index, over(x, row, 2));
}

/* ---- lower_delta_rows.c -------------------------------------------------------------------------
 */

/* `n` elements from `first` of a head's vector of operand `i`; n 0: the head's number. */
rlx_status delta_operand_at(delta *x, int i, rlx_ir_value *step, rlx_ir_value *head,
                            rlx_ir_value *first, int64_t n, rlx_ir_value **out);
/* Zeros to matrix rows from .. to-1 of `columns`. */
rlx_status delta_clear_rows(delta *x, place p, rlx_ir_value *from, rlx_ir_value *to,
                            int64_t columns);
/* *sum + a[row.., j] * w[j, column..], j below `to` ascending; of all D. */
rlx_status delta_add_product(delta *x, const product *p, rlx_ir_value *to, rlx_ir_value **sum);
rlx_status delta_add_whole_product(delta *x, const product *p, rlx_ir_value **sum);
/* Of the run: rows, products of decays (and those to the chunk's), scores. */
rlx_status delta_copy_rows(delta *x);
rlx_status delta_run_decays(delta *x);
rlx_status delta_run_scores(delta *x);

#endif
