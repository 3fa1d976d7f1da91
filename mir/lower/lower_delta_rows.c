/* mir/lower/lower_delta_rows.c: what a run of the gated delta rule is before values are: rows of
 * keys and queries, products of decays, scores. */
#include "mir/lower/lower_delta.h"

/* ---- operands -----------------------------------------------------------------------------------
 */

rlx_status delta_operand_at(delta *x, int i, rlx_ir_value *step, rlx_ir_value *head,
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

/* ---- a run's rows -------------------------------------------------------------------------------
 */

/* Elements d0.. of keys and queries of all steps: two rows each; a key is a column of the chunk's,
 * whose lines stay near while it fills. */
static rlx_status copy_elements(delta *x, rlx_ir_value *d0, int64_t n)
{
    rlx_ir_value *key, *query;
    rlx_lir_scope loop;
    RLX_TRY(begin_loop(x, at(x, 0), x->count, 1, &loop));
    rlx_ir_value *r = loop.index[0], *step = plus(x, x->from, r), *row = times(x, r, at(x, 2));
    RLX_TRY(delta_operand_at(x, K, step, x->group, d0, n, &key));
    RLX_TRY(delta_operand_at(x, Q, step, x->group, d0, n, &query));
    store(x, x->rows, row, d0, 0, n, key);
    store(x, x->rows, plus(x, row, at(x, 1)), d0, 0, n, query);
    store(x, x->keys, d0, plus(x, x->index, r), n, 0, key);
    rlx_lir_end_for(x->b, &loop, NULL);
    return rlx_ir_builder_finish(x->b);
}

rlx_status delta_clear_rows(delta *x, place p, rlx_ir_value *from, rlx_ir_value *to,
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

rlx_status delta_copy_rows(delta *x)
{
    const int64_t n = step_of(x->d, LINE);
    rlx_lir_scope loop;
    RLX_TRY(begin_loop(x, at(x, 0), at(x, x->d), n, &loop));
    RLX_TRY(copy_elements(x, loop.index[0], n));
    rlx_lir_end_for(x->b, &loop, NULL);
    if (x->s.m == 2)
        return RLX_OK;
    rlx_ir_value *rows = times(x, x->count, at(x, 2)), *m = at(x, x->s.m);
    rlx_ir_value *to = times(x, over(x, plus(x, rows, at(x, x->s.m - 1)), x->s.m), m);
    RLX_TRY(delta_clear_rows(x, x->rows, rows, to, x->d)); /* so many as fill the last tile */
    return delta_clear_rows(x, x->scales, rows, to, 1);
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

rlx_status delta_run_decays(delta *x)
{
    rlx_ir_value *total, *decay;
    rlx_lir_scope loop;
    RLX_TRY(begin_products(x, &total));
    RLX_TRY(begin_sum(x, at(x, 0), x->count, 1, &total, &loop));
    rlx_ir_value *r = loop.index[0], *row = times(x, r, at(x, 2));
    RLX_TRY(delta_operand_at(x, DECAY, plus(x, x->from, r), x->head, NULL, 0, &decay));
    RLX_TRY(next_products(x, r, plus(x, x->index, r), decay));
    rlx_ir_value *next = times(x, loop.carried[0], decay);
    store(x, x->scales, row, at(x, 0), 0, 0, next);
    store(x, x->scales, plus(x, row, at(x, 1)), at(x, 0), 0, 0, next);
    RLX_TRY(end_sum(x, &loop, next, &x->total));
    return keep_products(x);
}

/* ---- products of matrices -----------------------------------------------------------------------
 */

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
rlx_status delta_add_product(delta *x, const product *p, rlx_ir_value *to, rlx_ir_value **sum)
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
rlx_status delta_add_whole_product(delta *x, const product *p, rlx_ir_value **sum)
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

/* Rows by the keys from j0, where some row of the tile has any of them before it. */
static rlx_status score_tiles(delta *x, rlx_ir_value *j0)
{
    const int64_t m = x->s.m, n = x->width;
    rlx_lir_scope tile, sees;
    RLX_TRY(begin_loop(x, at(x, 0), times(x, x->count, at(x, 2)), m, &tile));
    rlx_ir_value *behind = plus(x, index_of(x, tile.index[0]), at(x, m / 2)), *sum = zeros(x, m, n);
    RLX_TRY(begin_loop(x, at(x, 0), as_turns(x, map2(x, RLX_FN_LT, j0, behind)), 1, &sees));
    const product p = {x->rows, x->keys, tile.index[0], j0, m, n};
    RLX_TRY(delta_add_whole_product(x, &p, &sum));
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

rlx_status delta_run_scores(delta *x)
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
