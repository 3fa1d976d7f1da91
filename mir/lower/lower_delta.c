/* mir/lower/lower_delta.c: the gated delta rule by chunks.
 *
 * An instance is a head (of a sequence, or of all that a step has tokens of). Steps that follow one
 * another in a chunk are a run, and go together: key and query of each are two rows.
 *
 *   for runs {
 *     rows -> team memory, keys -> the chunk's; products of decays
 *     row tiles { scores = rows * keys, by the decays }
 *     for columns {
 *       S -> panel
 *       row tiles { sums = rows * panel + scores * values before the tile; step by step the values
 *                   of its keys, what its queries read } }
 *     at the chunk's end, for columns { S = S * decay + keys * values } }
 *
 * What a chunk has so far lies in the session's pools, of sequences that are whole in temps. Every
 * sum is a chain of fmas from its first term to its last, so a run of one step has
 * the bits of a chunk's. */
#include <string.h>

#include "mir/lower/lower_loops.h"

enum { Q, K, V, DECAY, BETA, STATE, KEYS, VALUES, DECAYS, POS, SEQ };
enum { TOGETHER = 8 }; /* values in one product */

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

static rlx_ir_value *at(delta *x, int64_t v)
{
    return k_const(x->k, v);
}

static rlx_ir_value *map2(delta *x, rlx_map_fn fn, rlx_ir_value *p, rlx_ir_value *q)
{
    return rlx_lir_build_map2(x->b, fn, p, q);
}

static rlx_ir_value *plus(delta *x, rlx_ir_value *p, rlx_ir_value *q)
{
    return map2(x, RLX_FN_ADD, p, q);
}

static rlx_ir_value *minus(delta *x, rlx_ir_value *p, rlx_ir_value *q)
{
    return map2(x, RLX_FN_SUB, p, q);
}

static rlx_ir_value *times(delta *x, rlx_ir_value *p, rlx_ir_value *q)
{
    return map2(x, RLX_FN_MUL, p, q);
}

static rlx_ir_value *over(delta *x, rlx_ir_value *p, int64_t by)
{
    return map2(x, RLX_FN_DIV, p, at(x, by));
}

static rlx_ir_value *choose(delta *x, rlx_ir_value *c, rlx_ir_value *p, rlx_ir_value *q)
{
    return rlx_lir_build_map3(x->b, RLX_FN_SELECT, c, p, q);
}

static rlx_ir_value *as_turns(delta *x, rlx_ir_value *condition)
{
    return choose(x, condition, at(x, 1), at(x, 0));
}

static rlx_ir_value *f32(delta *x, double v)
{
    return rlx_lir_build_const_f32(x->b, v);
}

static rlx_ir_value *zeros(delta *x, int64_t m, int64_t n)
{
    const int64_t dims[2] = {m, n};
    return rlx_lir_build_fill(x->b, RLX_F32, 2, dims, 0);
}

static rlx_status begin_loop(delta *x, rlx_ir_value *lo, rlx_ir_value *hi, int64_t step,
                             rlx_lir_scope *s)
{
    rlx_lir_begin_for(x->b, lo, hi, step, 0, NULL, s);
    return x->b->status ? rlx_ir_builder_finish(x->b) : RLX_OK;
}

static rlx_status begin_sum(delta *x, rlx_ir_value *lo, rlx_ir_value *hi, int64_t step,
                            rlx_ir_value **sum, rlx_lir_scope *s)
{
    rlx_lir_begin_for(x->b, lo, hi, step, 1, sum, s);
    return x->b->status ? rlx_ir_builder_finish(x->b) : RLX_OK;
}

static rlx_status end_sum(delta *x, rlx_lir_scope *s, rlx_ir_value *next, rlx_ir_value **sum)
{
    rlx_lir_end_for(x->b, s, &next);
    *sum = s->result[0];
    return rlx_ir_builder_finish(x->b);
}

/* From row r, column c of a matrix: m rows of n columns; 0 is one of them, and no axis. */
static int address(const place *p, rlx_ir_value *r, rlx_ir_value *c, int64_t m, int64_t n,
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

static rlx_ir_value *load(delta *x, place p, rlx_ir_value *r, rlx_ir_value *c, int64_t m, int64_t n)
{
    rlx_ir_value *index[4];
    int64_t axes[2], dims[2];
    const int rank = address(&p, r, c, m, n, index, axes, dims);
    return rlx_lir_build_load(x->b, p.buffer, RLX_F32, rank, dims, index, axes, NULL);
}

static void store(delta *x, place p, rlx_ir_value *r, rlx_ir_value *c, int64_t m, int64_t n,
                  rlx_ir_value *v)
{
    rlx_ir_value *index[4];
    int64_t axes[2], dims[2];
    address(&p, r, c, m, n, index, axes, dims);
    rlx_lir_build_store(x->b, p.buffer, v, index, axes, NULL);
}

/* [m] or [n] as [m,n]. */
static rlx_ir_value *spread(delta *x, rlx_ir_value *v, int64_t axis, int64_t m, int64_t n)
{
    const int64_t dims[2] = {m, n};
    return rlx_lir_build_broadcast(x->b, v, 2, dims, &axis);
}

/* The largest power of two, `most` at most, that divides n. */
static int64_t step_of(int64_t n, int64_t most)
{
    while (n % most != 0)
        most /= 2;
    return most;
}

/* ---- operands -----------------------------------------------------------------------------------
 */

/* Coordinates of a step's row: how many. */
static int row_of(const delta *x, rlx_ir_value *step, coord *c)
{
    int n = 0;
    if (!x->tokens)
        c[n++] = coord_of(x->slot, 0, -1);
    c[n++] = coord_of(step, 0, -1);
    return n;
}

/* `n` elements from `first` of a head's vector of operand `i`; n 0: the head's number. */
static rlx_status operand_at(delta *x, int i, rlx_ir_value *step, rlx_ir_value *head,
                             rlx_ir_value *first, int64_t n, rlx_ir_value **out)
{
    const rlx_ir_value *v = x->node->in[i];
    coord c[4];
    int rank = row_of(x, step, c);
    c[rank] = coord_of(head, v->type.dim[rank], -1);
    rank++;
    tile_space ts = {.rank = 0};
    if (n) {
        ts = (tile_space){.rank = 1, .dim = {n}, .root = {first}};
        c[rank] = coord_of(first, v->type.dim[rank], 0);
    }
    return tile_at(x->k, v, c, &ts, out);
}

/* i64 entry of pos or seq. */
static rlx_status place_at(delta *x, int i, rlx_ir_value *token, rlx_ir_value **out)
{
    const tile_space none = {0};
    const coord c = coord_of(token, 0, -1);
    RLX_TRY(tile_at(x->k, x->node->in[i], &c, &none, out));
    *out = rlx_lir_build_cast(x->b, *out, RLX_I64);
    return *out ? RLX_OK : rlx_ir_builder_finish(x->b);
}

/* ---- a run's rows -------------------------------------------------------------------------------
 */

/* Key and query of step `from + r`: two rows; the key is a column of the chunk's. */
static rlx_status copy_step(delta *x, rlx_ir_value *r)
{
    const int64_t n = step_of(x->d, TOGETHER);
    rlx_ir_value *step = plus(x, x->from, r), *row = times(x, r, at(x, 2)), *key, *query;
    rlx_lir_scope loop;
    RLX_TRY(begin_loop(x, at(x, 0), at(x, x->d), n, &loop));
    RLX_TRY(operand_at(x, K, step, x->group, loop.index[0], n, &key));
    RLX_TRY(operand_at(x, Q, step, x->group, loop.index[0], n, &query));
    store(x, x->rows, row, loop.index[0], 0, n, key);
    store(x, x->rows, plus(x, row, at(x, 1)), loop.index[0], 0, n, query);
    store(x, x->keys, loop.index[0], plus(x, x->index, r), n, 0, key);
    rlx_lir_end_for(x->b, &loop, NULL);
    return rlx_ir_builder_finish(x->b);
}

/* Zeros to matrix rows from .. to-1 of `columns`. */
static rlx_status clear_rows(delta *x, place p, rlx_ir_value *from, rlx_ir_value *to,
                             int64_t columns)
{
    const int64_t n = step_of(columns, TOGETHER);
    rlx_lir_scope row, loop;
    RLX_TRY(begin_loop(x, from, to, 1, &row));
    RLX_TRY(begin_loop(x, at(x, 0), at(x, columns), n, &loop));
    store(x, p, row.index[0], loop.index[0], 0, n, rlx_lir_build_fill(x->b, RLX_F32, 1, &n, 0));
    rlx_lir_end_for(x->b, &loop, NULL);
    rlx_lir_end_for(x->b, &row, NULL);
    return rlx_ir_builder_finish(x->b);
}

static rlx_status copy_rows(delta *x)
{
    rlx_lir_scope loop;
    RLX_TRY(begin_loop(x, at(x, 0), x->count, 1, &loop));
    RLX_TRY(copy_step(x, loop.index[0]));
    rlx_lir_end_for(x->b, &loop, NULL);
    if (x->s.m == 2)
        return RLX_OK;
    rlx_ir_value *rows = times(x, x->count, at(x, 2)), *m = at(x, x->s.m);
    rlx_ir_value *to = times(x, over(x, plus(x, rows, at(x, x->s.m - 1)), x->s.m), m);
    RLX_TRY(clear_rows(x, x->rows, rows, to, x->d)); /* so many as fill the last tile */
    return clear_rows(x, x->scales, rows, to, 1);
}

/* ---- decays -------------------------------------------------------------------------------------
 */

/* The products before the run to row 0: those that the chunk has, or none. */
static rlx_status begin_products(delta *x, rlx_ir_value **total)
{
    const int64_t n = x->width;
    rlx_ir_value *begun = map2(x, RLX_FN_LT, at(x, 0), x->index), *one = f32(x, 1);
    rlx_ir_value *none = rlx_lir_build_fill(x->b, RLX_F32, 1, &n, 0);
    rlx_lir_scope loop;
    RLX_TRY(begin_loop(x, at(x, 0), at(x, x->c), n, &loop));
    rlx_ir_value *row = load(x, x->decays, x->head, loop.index[0], 0, n);
    store(x, x->products, at(x, 0), loop.index[0], 0, n, choose(x, begun, row, none));
    rlx_lir_end_for(x->b, &loop, NULL);
    rlx_lir_build_barrier(x->b);
    *total = choose(x, begun, load(x, x->decays, x->head, at(x, x->c), 0, 0), one);
    return *total ? RLX_OK : rlx_ir_builder_finish(x->b);
}

/* Row r + 1: row r times the decay, 1 at the step's own index i, 0 behind it. */
static rlx_status next_products(delta *x, rlx_ir_value *r, rlx_ir_value *i, rlx_ir_value *decay)
{
    const int64_t n = x->width;
    rlx_ir_value *none = rlx_lir_build_fill(x->b, RLX_F32, 1, &n, 0);
    rlx_ir_value *one = rlx_lir_build_fill(x->b, RLX_F32, 1, &n, 1);
    rlx_ir_value *own = rlx_lir_build_cast(x->b, i, RLX_I32);
    rlx_lir_scope loop;
    RLX_TRY(begin_loop(x, at(x, 0), at(x, x->c), n, &loop));
    rlx_ir_value *j = rlx_lir_build_iota(x->b, RLX_I32, 1, &n);
    j = plus(x, j, rlx_lir_build_cast(x->b, loop.index[0], RLX_I32));
    rlx_ir_value *row = times(x, load(x, x->products, r, loop.index[0], 0, n), decay);
    row = choose(x, map2(x, RLX_FN_LT, j, own), row, none);
    row = choose(x, map2(x, RLX_FN_EQ, j, own), one, row);
    store(x, x->products, plus(x, r, at(x, 1)), loop.index[0], 0, n, row);
    rlx_lir_end_for(x->b, &loop, NULL);
    rlx_lir_build_barrier(x->b);
    return rlx_ir_builder_finish(x->b);
}

static rlx_status run_decays(delta *x)
{
    rlx_ir_value *total, *decay;
    rlx_lir_scope loop;
    RLX_TRY(begin_products(x, &total));
    RLX_TRY(begin_sum(x, at(x, 0), x->count, 1, &total, &loop));
    rlx_ir_value *r = loop.index[0], *row = times(x, r, at(x, 2));
    RLX_TRY(operand_at(x, DECAY, plus(x, x->from, r), x->head, NULL, 0, &decay));
    RLX_TRY(next_products(x, r, plus(x, x->index, r), decay));
    rlx_ir_value *next = times(x, loop.carried[0], decay);
    store(x, x->scales, row, at(x, 0), 0, 0, next);
    store(x, x->scales, plus(x, row, at(x, 1)), at(x, 0), 0, 0, next);
    return end_sum(x, &loop, next, &x->total);
}

/* The last row is what the chunk goes on with. */
static rlx_status keep_products(delta *x)
{
    rlx_lir_scope loop;
    RLX_TRY(begin_loop(x, at(x, 0), at(x, x->c), x->width, &loop));
    rlx_ir_value *row = load(x, x->products, x->count, loop.index[0], 0, x->width);
    store(x, x->decays, x->head, loop.index[0], 0, x->width, row);
    rlx_lir_end_for(x->b, &loop, NULL);
    store(x, x->decays, x->head, at(x, x->c), 0, 0, x->total);
    rlx_lir_build_barrier(x->b);
    return rlx_ir_builder_finish(x->b);
}

/* ---- products of matrices -----------------------------------------------------------------------
 */

/* Rows of one matrix by columns of another: a tile. */
typedef struct product {
    place a, w;
    rlx_ir_value *row, *column;
    int64_t m, n;
} product;

/* *sum + a[row.., j] * w[j, column..], j from .. to-1 ascending. */
static rlx_status add_each(delta *x, const product *p, rlx_ir_value *from, rlx_ir_value *to,
                           rlx_ir_value **sum)
{
    rlx_lir_scope loop;
    RLX_TRY(begin_sum(x, from, to, 1, sum, &loop));
    rlx_ir_value *a = spread(x, load(x, p->a, p->row, loop.index[0], p->m, 0), 0, p->m, p->n);
    rlx_ir_value *w = spread(x, load(x, p->w, loop.index[0], p->column, 0, p->n), 1, p->m, p->n);
    return end_sum(x, &loop, rlx_lir_build_map3(x->b, RLX_FN_FMA, a, w, loop.carried[0]), sum);
}

/* The same of j below `to`, by matrices where the target has them. */
static rlx_status add_product(delta *x, const product *p, rlx_ir_value *to, rlx_ir_value **sum)
{
    if (!x->matrices)
        return add_each(x, p, at(x, 0), to, sum);
    rlx_ir_value *whole = times(x, over(x, to, TOGETHER), at(x, TOGETHER));
    rlx_lir_scope loop;
    RLX_TRY(begin_sum(x, at(x, 0), whole, TOGETHER, sum, &loop));
    rlx_ir_value *a = load(x, p->a, p->row, loop.index[0], p->m, TOGETHER);
    rlx_ir_value *w = load(x, p->w, loop.index[0], p->column, TOGETHER, p->n);
    RLX_TRY(end_sum(x, &loop, rlx_lir_build_outer(x->b, loop.carried[0], a, w), sum));
    return add_each(x, p, whole, to, sum);
}

/* The same of all D. */
static rlx_status add_whole_product(delta *x, const product *p, rlx_ir_value **sum)
{
    if (!x->matrices)
        return add_each(x, p, at(x, 0), at(x, x->d), sum);
    rlx_ir_value *a = load(x, p->a, p->row, at(x, 0), p->m, x->d);
    rlx_ir_value *w = load(x, p->w, at(x, 0), p->column, x->d, p->n);
    *sum = rlx_lir_build_outer(x->b, *sum, a, w);
    return *sum ? RLX_OK : rlx_ir_builder_finish(x->b);
}

/* ---- scores -------------------------------------------------------------------------------------
 */

/* The index in the chunk of the step whose rows begin at `row`. */
static rlx_ir_value *index_of(delta *x, rlx_ir_value *row)
{
    return plus(x, x->index, over(x, row, 2));
}

/* Rows by the keys from j0, where some row of the tile has any of them before it. */
static rlx_status score_tiles(delta *x, rlx_ir_value *j0)
{
    const int64_t m = x->s.m, n = x->width;
    rlx_lir_scope tile, sees;
    RLX_TRY(begin_loop(x, at(x, 0), times(x, x->count, at(x, 2)), m, &tile));
    rlx_ir_value *behind = plus(x, index_of(x, tile.index[0]), at(x, m / 2)), *sum = zeros(x, m, n);
    RLX_TRY(begin_loop(x, at(x, 0), as_turns(x, map2(x, RLX_FN_LT, j0, behind)), 1, &sees));
    const product p = {x->rows, x->keys, tile.index[0], j0, m, n};
    RLX_TRY(add_whole_product(x, &p, &sum));
    store(x, x->scores, tile.index[0], j0, m, n, sum);
    rlx_lir_end_for(x->b, &sees, NULL);
    rlx_lir_end_for(x->b, &tile, NULL);
    return rlx_ir_builder_finish(x->b);
}

/* Both rows of step r by its products of decays. */
static rlx_status decay_scores(delta *x, rlx_ir_value *r)
{
    const int64_t n = x->width;
    rlx_ir_value *row = times(x, r, at(x, 2)), *next = plus(x, r, at(x, 1));
    rlx_lir_scope loop;
    RLX_TRY(begin_loop(x, at(x, 0), plus(x, x->index, next), n, &loop));
    rlx_ir_value *decays = load(x, x->products, next, loop.index[0], 0, n);
    for (int i = 0; i < 2; i++) {
        rlx_ir_value *of = i ? plus(x, row, at(x, 1)) : row;
        rlx_ir_value *scores = load(x, x->scores, of, loop.index[0], 0, n);
        rlx_lir_build_barrier(x->b);
        store(x, x->scores, of, loop.index[0], 0, n, times(x, scores, decays));
    }
    rlx_lir_end_for(x->b, &loop, NULL);
    return rlx_ir_builder_finish(x->b);
}

static rlx_status run_scores(delta *x)
{
    rlx_lir_scope loop;
    RLX_TRY(begin_loop(x, at(x, 0), x->end, x->width, &loop));
    RLX_TRY(score_tiles(x, loop.index[0]));
    rlx_lir_end_for(x->b, &loop, NULL);
    rlx_lir_build_barrier(x->b);
    RLX_TRY(begin_loop(x, at(x, 0), x->count, 1, &loop));
    RLX_TRY(decay_scores(x, loop.index[0]));
    rlx_lir_end_for(x->b, &loop, NULL);
    rlx_lir_build_barrier(x->b);
    return rlx_ir_builder_finish(x->b);
}

/* ---- values and outputs -------------------------------------------------------------------------
 */

/* Columns e0.. of S to the panel. */
static rlx_status copy_state(delta *x, rlx_ir_value *e0)
{
    const int64_t n = x->s.n, step = step_of(x->d, TOGETHER);
    rlx_lir_scope has, loop;
    if (!x->s.panels)
        return RLX_OK;
    RLX_TRY(begin_loop(x, at(x, 0), x->has_state, 1, &has));
    RLX_TRY(begin_loop(x, at(x, 0), at(x, x->d), step, &loop));
    store(x, x->panel, loop.index[0], at(x, 0), step, n,
          load(x, x->state, loop.index[0], e0, step, n));
    rlx_lir_end_for(x->b, &loop, NULL);
    rlx_lir_end_for(x->b, &has, NULL);
    rlx_lir_build_barrier(x->b);
    return rlx_ir_builder_finish(x->b);
}

/* What S and the values before the tile's steps give its rows, to sums. */
static rlx_status sum_tile(delta *x, rlx_ir_value *row, rlx_ir_value *e0)
{
    const int64_t m = x->s.m, n = x->s.n;
    rlx_ir_value *sum = zeros(x, m, n);
    rlx_lir_scope has;
    const product state = {
        x->rows, x->s.panels ? x->panel : x->state, row, x->s.panels ? at(x, 0) : e0, m, n};
    RLX_TRY(begin_sum(x, at(x, 0), x->has_state, 1, &sum, &has));
    rlx_ir_value *next = has.carried[0];
    RLX_TRY(add_whole_product(x, &state, &next));
    RLX_TRY(end_sum(x, &has, next, &sum));
    sum = times(x, sum, spread(x, load(x, x->scales, row, at(x, 0), m, 0), 0, m, n));
    const product values = {x->scores, x->values, row, e0, m, n};
    RLX_TRY(add_product(x, &values, index_of(x, row), &sum));
    store(x, x->sums, at(x, 0), at(x, 0), m, n, sum);
    rlx_lir_build_barrier(x->b);
    return rlx_ir_builder_finish(x->b);
}

/* Row `of` of sums with the values of the tile's steps, `first` .. end-1 of the chunk. */
static rlx_status sum_steps(delta *x, rlx_ir_value *row, rlx_ir_value *of, rlx_ir_value *first,
                            rlx_ir_value *end, rlx_ir_value *e0, rlx_ir_value **sum)
{
    const int64_t n = x->s.n;
    rlx_lir_scope loop;
    *sum = load(x, x->sums, of, at(x, 0), 0, n);
    RLX_TRY(begin_sum(x, first, end, 1, sum, &loop));
    rlx_ir_value *score = load(x, x->scores, plus(x, row, of), loop.index[0], 0, 0);
    rlx_ir_value *value = load(x, x->values, loop.index[0], e0, 0, n);
    return end_sum(x, &loop, rlx_lir_build_map3(x->b, RLX_FN_FMA, score, value, loop.carried[0]),
                   sum);
}

/* Elements e0.. of a step's output. */
static rlx_status store_output(delta *x, rlx_ir_value *step, rlx_ir_value *e0, rlx_ir_value *v)
{
    coord c[4];
    const int rank = row_of(x, step, c);
    c[rank] = coord_of(x->head, 0, -1);
    c[rank + 1] = coord_of(e0, x->e, 0);
    const tile_space ts = {.rank = 1, .dim = {x->s.n}, .root = {e0}};
    return tile_store(x->k, kernel_result(x->k, 0), v, c, &ts);
}

/* The tile's steps in turn: the value of a key, what its query reads. */
static rlx_status step_tile(delta *x, rlx_ir_value *row, rlx_ir_value *e0)
{
    rlx_ir_value *first = index_of(x, row), *sum, *v, *beta;
    rlx_ir_value *left = minus(x, x->count, over(x, row, 2));
    rlx_lir_scope loop;
    RLX_TRY(begin_loop(x, at(x, 0), map2(x, RLX_FN_MIN, left, at(x, x->s.m / 2)), 1, &loop));
    rlx_ir_value *i = plus(x, first, loop.index[0]), *of = times(x, loop.index[0], at(x, 2));
    rlx_ir_value *step = plus(x, x->from, minus(x, i, x->index)), *next = plus(x, i, at(x, 1));
    RLX_TRY(operand_at(x, V, step, x->head, e0, x->s.n, &v));
    RLX_TRY(operand_at(x, BETA, step, x->head, NULL, 0, &beta));
    RLX_TRY(sum_steps(x, row, of, first, i, e0, &sum));
    store(x, x->values, i, e0, 0, x->s.n, times(x, minus(x, v, sum), beta));
    rlx_lir_build_barrier(x->b);
    RLX_TRY(sum_steps(x, row, plus(x, of, at(x, 1)), first, next, e0, &sum));
    RLX_TRY(store_output(x, step, e0, sum));
    rlx_lir_end_for(x->b, &loop, NULL);
    rlx_lir_build_barrier(x->b);
    return rlx_ir_builder_finish(x->b);
}

static rlx_status run_values(delta *x)
{
    rlx_lir_scope columns, tile;
    RLX_TRY(begin_loop(x, at(x, 0), at(x, x->e), x->s.n, &columns));
    RLX_TRY(copy_state(x, columns.index[0]));
    RLX_TRY(begin_loop(x, at(x, 0), times(x, x->count, at(x, 2)), x->s.m, &tile));
    RLX_TRY(sum_tile(x, tile.index[0], columns.index[0]));
    RLX_TRY(step_tile(x, tile.index[0], columns.index[0]));
    rlx_lir_end_for(x->b, &tile, NULL);
    rlx_lir_end_for(x->b, &columns, NULL);
    rlx_lir_build_barrier(x->b);
    return rlx_ir_builder_finish(x->b);
}

/* ---- a chunk's end ------------------------------------------------------------------------------
 */

/* Columns e0.. of the chunk's values, by the decays up to its end, to the panel. */
static rlx_status copy_values(delta *x, rlx_ir_value *e0)
{
    rlx_lir_scope loop;
    RLX_TRY(begin_loop(x, at(x, 0), x->end, 1, &loop));
    rlx_ir_value *decay = load(x, x->products, x->count, loop.index[0], 0, 0);
    rlx_ir_value *value = load(x, x->values, loop.index[0], e0, 0, x->s.n);
    store(x, x->panel, loop.index[0], at(x, 0), 0, x->s.n, times(x, value, decay));
    rlx_lir_end_for(x->b, &loop, NULL);
    rlx_lir_build_barrier(x->b);
    return rlx_ir_builder_finish(x->b);
}

static rlx_status next_state(delta *x, rlx_ir_value *d0, rlx_ir_value *e0)
{
    const int64_t m = x->s.state_m, n = x->s.n;
    rlx_ir_value *sum = zeros(x, m, n);
    rlx_lir_scope has;
    RLX_TRY(begin_sum(x, at(x, 0), x->has_state, 1, &sum, &has));
    RLX_TRY(end_sum(x, &has, times(x, load(x, x->state, d0, e0, m, n), x->total), &sum));
    const product p = {x->keys, x->panel, d0, at(x, 0), m, n};
    RLX_TRY(add_product(x, &p, x->end, &sum));
    store(x, x->state, d0, e0, m, n, sum);
    return rlx_ir_builder_finish(x->b);
}

static rlx_status end_chunk(delta *x, rlx_ir_value *ends)
{
    rlx_lir_scope when, columns, rows;
    RLX_TRY(begin_loop(x, at(x, 0), as_turns(x, ends), 1, &when));
    RLX_TRY(begin_loop(x, at(x, 0), at(x, x->e), x->s.n, &columns));
    RLX_TRY(copy_values(x, columns.index[0]));
    RLX_TRY(begin_loop(x, at(x, 0), at(x, x->d), x->s.state_m, &rows));
    RLX_TRY(next_state(x, rows.index[0], columns.index[0]));
    rlx_lir_end_for(x->b, &rows, NULL);
    rlx_lir_build_barrier(x->b);
    rlx_lir_end_for(x->b, &columns, NULL);
    rlx_lir_end_for(x->b, &when, NULL);
    return rlx_ir_builder_finish(x->b);
}

/* ---- runs ---------------------------------------------------------------------------------------
 */

/* Steps from .. from + count - 1, from index `index` of a chunk; `last`: whether they are the
 * sequence's (NULL: they may not be). */
static rlx_status lower_run(delta *x, rlx_ir_value *last)
{
    x->end = plus(x, x->index, x->count);
    RLX_TRY(copy_rows(x));
    rlx_lir_build_barrier(x->b);
    RLX_TRY(run_decays(x));
    RLX_TRY(keep_products(x));
    RLX_TRY(run_scores(x));
    RLX_TRY(run_values(x));
    rlx_ir_value *ends = map2(x, RLX_FN_EQ, x->end, at(x, x->c));
    return end_chunk(x, last ? map2(x, RLX_FN_OR, ends, last) : ends);
}

/* A batch's sequence, all of it. */
static rlx_status lower_sequence(delta *x)
{
    rlx_ir_value *steps = k_extent(x->k, x->node->in[Q]->type.dim[1]);
    rlx_lir_scope loop;
    RLX_TRY(begin_loop(x, at(x, 0), steps, x->s.steps, &loop));
    x->from = loop.index[0];
    x->index = map2(x, RLX_FN_MOD, x->from, at(x, x->c));
    x->count = map2(x, RLX_FN_MIN, minus(x, steps, x->from), at(x, x->s.steps));
    x->has_state = at(x, 1);
    RLX_TRY(lower_run(x, map2(x, RLX_FN_EQ, plus(x, x->from, x->count), steps)));
    rlx_lir_end_for(x->b, &loop, NULL);
    return rlx_ir_builder_finish(x->b);
}

/* Whether token t goes on with the run that the token before it is in. */
static rlx_status continues(delta *x, rlx_ir_value *t, rlx_ir_value **out)
{
    rlx_ir_value *before = map2(x, RLX_FN_MAX, minus(x, t, at(x, 1)), at(x, 0));
    rlx_ir_value *pos, *last, *seq, *other;
    RLX_TRY(place_at(x, POS, t, &pos));
    RLX_TRY(place_at(x, POS, before, &last));
    RLX_TRY(place_at(x, SEQ, t, &seq));
    RLX_TRY(place_at(x, SEQ, before, &other));
    rlx_ir_value *same = map2(x, RLX_FN_AND, map2(x, RLX_FN_EQ, seq, other),
                              map2(x, RLX_FN_EQ, pos, plus(x, last, at(x, 1))));
    rlx_ir_value *within =
        map2(x, RLX_FN_LT, at(x, 0), map2(x, RLX_FN_MOD, pos, at(x, x->s.steps)));
    *out = map2(x, RLX_FN_AND, same, within);
    return *out ? RLX_OK : rlx_ir_builder_finish(x->b);
}

/* How many tokens the run has that begins at x->from. */
static rlx_status count_run(delta *x, rlx_ir_value *tokens)
{
    rlx_ir_value *end = map2(x, RLX_FN_MIN, plus(x, x->from, at(x, x->s.steps)), tokens), *goes;
    rlx_ir_value *stop = plus(x, x->from, at(x, 1));
    rlx_lir_scope loop;
    RLX_TRY(begin_sum(x, stop, end, 1, &stop, &loop));
    RLX_TRY(continues(x, loop.index[0], &goes));
    goes = map2(x, RLX_FN_AND, goes, map2(x, RLX_FN_EQ, loop.index[0], loop.carried[0]));
    rlx_ir_value *next = choose(x, goes, plus(x, loop.carried[0], at(x, 1)), loop.carried[0]);
    RLX_TRY(end_sum(x, &loop, next, &stop));
    x->count = minus(x, stop, x->from);
    return rlx_ir_builder_finish(x->b);
}

/* The tokens of all sequences, run by run. */
static rlx_status lower_tokens(delta *x)
{
    rlx_ir_value *tokens = k_extent(x->k, x->node->in[Q]->type.dim[0]), *goes, *pos;
    rlx_lir_scope loop, begins;
    RLX_TRY(begin_loop(x, at(x, 0), tokens, 1, &loop));
    x->from = loop.index[0];
    RLX_TRY(continues(x, x->from, &goes));
    rlx_ir_value *turns = choose(x, goes, at(x, 0), at(x, 1));
    RLX_TRY(begin_loop(x, at(x, 0), turns, 1, &begins));
    RLX_TRY(place_at(x, SEQ, x->from, &x->slot));
    RLX_TRY(place_at(x, POS, x->from, &pos));
    x->state.at[0] = x->keys.at[0] = x->values.at[0] = x->decays.at[0] = x->slot;
    x->index = map2(x, RLX_FN_MOD, pos, at(x, x->c));
    x->has_state = as_turns(x, map2(x, RLX_FN_LE, at(x, x->c), pos));
    RLX_TRY(count_run(x, tokens));
    RLX_TRY(lower_run(x, NULL));
    rlx_lir_end_for(x->b, &begins, NULL);
    rlx_lir_end_for(x->b, &loop, NULL);
    return rlx_ir_builder_finish(x->b);
}

/* ---- kernels ------------------------------------------------------------------------------------
 */

static place team(delta *x, int64_t m, int64_t n)
{
    const int64_t dims[2] = {m, n};
    return (place){.buffer = rlx_lir_build_alloc(&x->k->top, RLX_F32, 2, dims)};
}

static rlx_status take_memory(delta *x)
{
    const int64_t rows = (2 * x->s.steps + x->s.m - 1) / x->s.m * x->s.m;
    x->rows = team(x, rows, x->d);
    x->scores = team(x, rows, x->c);
    x->scales = team(x, rows, 1);
    x->products = team(x, x->s.steps + 1, x->c);
    x->sums = team(x, x->s.m, x->s.n);
    x->panel = team(x, x->s.panels && x->d > x->c ? x->d : x->c, x->s.n);
    return x->k->top.status ? rlx_ir_builder_finish(&x->k->top) : RLX_OK;
}

/* What the chunk and the state lie in: pools, or a result and temps. */
static rlx_status find_memory(delta *x, region_cx *r)
{
    place *all[4] = {&x->state, &x->keys, &x->values, &x->decays};
    const rlx_ir_node *yield = r->node->blocks[0]->last;
    for (int i = 0; i < 4; i++) {
        rlx_ir_value *buffer = NULL;
        for (int k = 0; i + 1 < x->node->nout && k < yield->nin; k++)
            if (yield->in[k] == x->node->out[i + 1])
                buffer = kernel_result(x->k, k);
        if (!buffer && !x->temp[i]) {
            rlx_ir_type t = x->node->in[STATE]->type;
            const rlx_dim dims[4][4] = {
                {0, 0, x->d, x->e}, {0, 0, x->d, x->c}, {0, 0, x->c, x->e}, {0, 0, x->c + 1}};
            t.rank = i == 3 ? 3 : 4;
            for (int axis = 2; axis < t.rank; axis++)
                t.dim[axis] = dims[i][axis];
            x->temp[i] = tape_temp(r->tape, &t);
            if (!x->temp[i])
                return RLX_OOM();
        }
        if (!buffer)
            buffer = kernel_extra(x->k, "chunk", x->temp[i], true);
        *all[i] = (place){.buffer = buffer, .lead = i == 3 ? 1 : 2, .at = {x->slot, x->head}};
    }
    return rlx_ir_builder_finish(x->k->b);
}

/* An instance for each head, of each of a batch's sequences. */
static rlx_status begin_heads(delta *x, rlx_lir_scope *grid)
{
    const rlx_ir_type *q = &x->node->in[Q]->type, *v = &x->node->in[V]->type;
    const int lead = x->tokens ? 1 : 2;
    const int64_t ratio = v->dim[lead] / q->dim[lead];
    rlx_ir_value *extents[2] = {at(x, v->dim[lead])};
    if (!x->tokens)
        extents[1] = k_extent(x->k, q->dim[0]);
    k_begin_grid(x->k, lead, extents, grid);
    if (x->b->status)
        return rlx_ir_builder_finish(x->b);
    x->head = grid->index[0];
    x->slot = x->tokens ? NULL : grid->index[1];
    x->group =
        x->tile ? map2(x, RLX_FN_MOD, x->head, at(x, q->dim[lead])) : over(x, x->head, ratio);
    place *all[4] = {&x->state, &x->keys, &x->values, &x->decays};
    for (int i = 0; i < 4; i++) {
        all[i]->at[0] = x->slot;
        all[i]->at[1] = x->head;
    }
    return rlx_ir_builder_finish(x->b);
}

/* The state that a batch begins with, to where it is updated; a chunk of nothing. */
static rlx_status lower_first(delta *x, region_cx *r)
{
    kernel_cx k;
    rlx_lir_scope grid;
    RLX_TRY(kernel_begin(r, &k, "delta_first", "loops"));
    x->k = &k;
    x->b = k.b;
    RLX_TRY(find_memory(x, r));
    RLX_TRY(loops_store(&k, x->node->in[STATE], x->state.buffer));
    RLX_TRY(begin_heads(x, &grid));
    RLX_TRY(clear_rows(x, x->keys, at(x, 0), at(x, x->d), x->c));
    RLX_TRY(clear_rows(x, x->values, at(x, 0), at(x, x->c), x->e));
    RLX_TRY(clear_rows(x, x->decays, x->head, plus(x, x->head, at(x, 1)), x->c + 1));
    rlx_lir_end_grid(x->b, &grid);
    return kernel_end(r, &k);
}

static rlx_status lower_kernel(delta *x, region_cx *r, const char *what, const char *schedule)
{
    kernel_cx k;
    rlx_lir_scope grid;
    RLX_TRY(kernel_begin(r, &k, what, schedule));
    x->k = &k;
    x->b = k.b;
    RLX_TRY(find_memory(x, r));
    RLX_TRY(take_memory(x));
    RLX_TRY(begin_heads(x, &grid));
    RLX_TRY(x->tokens ? lower_tokens(x) : lower_sequence(x));
    rlx_lir_end_grid(x->b, &grid);
    return kernel_end(r, &k);
}

static rlx_status choose_schedule(delta *x, const region_cx *r)
{
    const rlx_ir_node *n = x->node;
    const int64_t *upper = r->options->upper;
    const rlx_lir_delta_shape shape = {
        .d = x->d,
        .e = x->e,
        .chunk = x->c,
        .steps = rlx_dim_upper(r->out->dims, n->in[Q]->type.dim[x->tokens ? 0 : 1], upper),
        .sequences = x->tokens ? rlx_dim_upper(r->out->dims, n->in[STATE]->type.dim[0], upper) : 1};
    rlx_lir_schedule_delta(r->options->target, &shape, &x->s);
    if (rlx_lir_schedule_delta_bytes(&shape, &x->s) > r->options->target->team_bytes)
        return RLX_FAIL(RLX_UNSUPPORTED, "a chunk of %lld steps takes more than a team's memory",
                        (long long)x->c);
    x->matrices = r->options->target->unit == RLX_UNIT_CPU;
    x->width = 16;
    return RLX_OK;
}

rlx_status lower_delta_chunks(region_cx *r)
{
    delta x = {0};
    const rlx_ir_node *n = r->node->blocks[0]->first;
    while (!rlx_mir_is_delta_chunks(n))
        n = n->next;
    x.node = n;
    x.tokens = n->op == RLX_MIR_DELTA_CHUNKS_TOKENS;
    x.tile = strcmp(rlx_ir_attr_text(n, RLX_ATTR_KIND, ""), "tile") == 0;
    x.d = n->in[STATE]->type.dim[2];
    x.e = n->in[STATE]->type.dim[3];
    x.c = rlx_ir_attr_int(n, RLX_ATTR_CHUNK, 0);
    RLX_TRY(choose_schedule(&x, r));
    rlx_text what = {0}, schedule = {0};
    rlx_text_putf(&what, "delta_chunks_%lldx%lld_c%lld__t%d", (long long)x.d, (long long)x.e,
                  (long long)x.c, x.s.steps);
    rlx_lir_schedule_delta_print(&x.s, &schedule);
    rlx_status st = what.oom || schedule.oom ? RLX_OOM() : RLX_OK;
    if (!st && !x.tokens)
        st = lower_first(&x, r);
    if (!st)
        st = lower_kernel(&x, r, what.data, schedule.data);
    rlx_text_deinit(&what);
    rlx_text_deinit(&schedule);
    return st;
}
