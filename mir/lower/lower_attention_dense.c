/* mir/lower/lower_attention_dense.c: attention over tensors in one kernel.
 *
 * On a CPU (on a GPU: lower_attention_team.c) an instance is one head of one index of B.. and a block of queries, which are rows:
 *
 *   queries -> team memory
 *   for chunks of keys {
 *     keys, turned, and values -> panels of columns
 *     for parts of the rows {
 *       for columns of keys   { for row tiles { scores = queries * panel } }
 *       for row tiles         { maxima; exp; sums; what was summed up so far is multiplied by }
 *       for columns of values { for row tiles { sums += weights * panel } } } }
 *   sums / weights -> result
 *
 * Every sum is the chain that mir/ops/dense_attention.c defines, so no block size shows in the bits.
 * Biases and masks are whatever the region makes of its operands, tile by tile; what does not hang
 * on the query is made once for a column of keys. The scores of a part stay near, and many parts pay
 * for a chunk's panels. Rows behind the last query are queries of 0. What a mask hides at both ends of
 * the keys is left out (lower_attention_seen.c). */
#include <float.h>
#include <math.h>

#include "mir/lower/lower_attention_dense.h"

enum { TURNED = 16 }; /* keys that are turned at a time */

/* ---- rows ---- */

/* Queries first .. of the block as rows, zeros behind the last. */
static rlx_status copy_queries(dense *g)
{
    block *x = &g->x;
    const int64_t width = step_of(g->d);
    rlx_lir_scope tile, loop;
    RLX_TRY(begin_loop(x, at(x, 0), x->count, x->m, &tile));
    RLX_TRY(begin_loop(x, at(x, 0), at(x, g->d), width, &loop));
    rlx_ir_value *i = plus(x, x->first, tile.index[0]), *q = NULL;
    coord c[RLX_MAX_RANK];
    const tile_space ts = {.rank = 2,
                           .dim = {x->m, width},
                           .root = {i, loop.index[0]},
                           .limit = {k_extent(x->k, g->s)}};
    dense_place(g, coord_of(i, range_of(g->s), 0), coord_of(g->h, 0, -1),
                coord_of(loop.index[0], g->d, 1), c);
    RLX_TRY(tile_at(x->k, g->node->in[0], c, &ts, &q));
    store_2(x, x->q, tile.index[0], loop.index[0], q);
    rlx_lir_end_for(x->b, &loop, NULL);
    rlx_lir_end_for(x->b, &tile, NULL);
    return rlx_ir_builder_finish(x->b);
}

rlx_status dense_first_sums(dense *g, rlx_ir_value **max, rlx_ir_value **sum)
{
    block *x = &g->x;
    rlx_ir_value *sink = dense_operand(g, RLX_MIR_DENSE_SINKS);
    *max = rlx_lir_build_const_f32(x->b, -FLT_MAX);
    *sum = rlx_lir_build_const_f32(x->b, 0);
    if (sink) {
        const tile_space none = {0};
        const coord h = coord_of(g->h, 0, -1);
        RLX_TRY(tile_at(x->k, sink, &h, &none, &sink));
        *max = map2(x, RLX_FN_MAX, *max, sink);
        *sum = rlx_lir_build_map1(x->b, RLX_FN_EXP, map2(x, RLX_FN_SUB, sink, *max));
    }
    return rlx_ir_builder_finish(x->b);
}

static rlx_status begin_rows(dense *g)
{
    block *x = &g->x;
    const int64_t dims[2] = {x->m, x->n};
    rlx_ir_value *max = NULL, *sum = NULL;
    rlx_lir_scope tile, loop;
    RLX_TRY(dense_first_sums(g, &max, &sum));
    RLX_TRY(begin_loop(x, at(x, 0), x->count, x->m, &tile));
    store_1(x, x->max, tile.index[0], rlx_lir_build_broadcast(x->b, max, 1, &x->m, NULL));
    store_1(x, x->sum, tile.index[0], rlx_lir_build_broadcast(x->b, sum, 1, &x->m, NULL));
    RLX_TRY(begin_loop(x, at(x, 0), at(x, x->padded), x->n, &loop));
    store_2(x, x->acc, tile.index[0], loop.index[0], rlx_lir_build_fill(x->b, RLX_F32, 2, dims, 0));
    rlx_lir_end_for(x->b, &loop, NULL);
    rlx_lir_end_for(x->b, &tile, NULL);
    rlx_lir_build_barrier(x->b);
    return rlx_ir_builder_finish(x->b);
}

/* ---- panels ---- */

/* Keys j.. of the chunk to their panel. */
static rlx_status turn_keys(dense *g, rlx_ir_value *j)
{
    block *x = &g->x;
    const int64_t width = step_of(g->d), keys = x->n < TURNED ? x->n : TURNED;
    rlx_lir_scope columns, element;
    RLX_TRY(begin_loop(x, at(x, 0), at(x, x->n), keys, &columns));
    RLX_TRY(begin_loop(x, at(x, 0), at(x, g->d), width, &element));
    rlx_ir_value *key = plus(x, plus(x, x->page_at, j), columns.index[0]), *k = NULL;
    const tile_space ts = {.rank = 2,
                           .dim = {keys, width},
                           .root = {key, element.index[0]},
                           .limit = {dense_keys_limit(g, x->n)}};
    coord c[RLX_MAX_RANK];
    dense_place(g, coord_of(key, range_of(g->keys), 0), coord_of(x->a->g, 0, -1),
                coord_of(element.index[0], g->d, 1), c);
    RLX_TRY(tile_at(x->k, g->node->in[1], c, &ts, &k));
    store_panel(x, x->keys, j, element.index[0], columns.index[0], rlx_lir_build_pack(x->b, 1, k));
    rlx_lir_end_for(x->b, &element, NULL);
    rlx_lir_end_for(x->b, &columns, NULL);
    return rlx_ir_builder_finish(x->b);
}

/* Elements e0.. of the chunk's values to their panel. */
static rlx_status copy_values(dense *g, rlx_ir_value *e0)
{
    block *x = &g->x;
    rlx_lir_scope loop;
    RLX_TRY(begin_loop(x, at(x, 0), g->live, TOGETHER, &loop));
    rlx_ir_value *key = plus(x, x->page_at, loop.index[0]), *v = NULL;
    coord c[RLX_MAX_RANK];
    const tile_space ts = {
        .rank = 2,
        .dim = {TOGETHER, x->n},
        .root = {key, e0},
        .limit = {dense_keys_limit(g, TOGETHER), g->e % x->n == 0 ? NULL : at(x, g->e)}};
    dense_place(g, coord_of(key, range_of(g->keys), 0), coord_of(x->a->g, 0, -1),
                coord_of(e0, g->e, 1), c);
    RLX_TRY(tile_at(x->k, g->node->in[2], c, &ts, &v));
    store_panel(x, x->values, e0, loop.index[0], at(x, 0), v);
    rlx_lir_end_for(x->b, &loop, NULL);
    return rlx_ir_builder_finish(x->b);
}

static rlx_status fill_panels(dense *g)
{
    block *x = &g->x;
    rlx_lir_scope keys, values;
    RLX_TRY(begin_loop(x, at(x, 0), g->live, x->n, &keys));
    RLX_TRY(turn_keys(g, keys.index[0]));
    rlx_lir_end_for(x->b, &keys, NULL);
    RLX_TRY(begin_loop(x, at(x, 0), at(x, g->e), x->n, &values));
    RLX_TRY(copy_values(g, values.index[0]));
    rlx_lir_end_for(x->b, &values, NULL);
    rlx_lir_build_barrier(x->b);
    return rlx_ir_builder_finish(x->b);
}

/* ---- scores ---- */

/* Of keys from `key` on: a bias or mask for the row tile at query i; i NULL: for all queries alike,
 * of rank 1 or less. */
static rlx_status option_tile(dense *g, const rlx_ir_value *v, rlx_ir_value *i, rlx_ir_value *key,
                              rlx_ir_value **out)
{
    block *x = &g->x;
    coord c[RLX_MAX_RANK];
    tile_space ts = {.rank = 1, .dim = {x->n}, .root = {key}, .limit = {dense_keys_limit(g, x->n)}};
    if (i)
        ts = (tile_space){.rank = 2,
                          .dim = {x->m, x->n},
                          .root = {i, key},
                          .limit = {k_extent(x->k, g->s), ts.limit[0]}};
    dense_place(g, coord_of(g->h, g->node->in[0]->type.dim[g->nb + 1], -1),
                i ? coord_of(i, range_of(g->s), 0) : coord_const(0),
                coord_of(key, range_of(g->keys), i ? 1 : 0), c);
    return tile_at(x->k, v, c, &ts, out);
}

rlx_status dense_begin_column(dense *g, column *c)
{
    block *x = &g->x;
    rlx_ir_value *key = plus(x, x->page_at, c->j);
    const rlx_ir_value *bias = dense_operand(g, RLX_MIR_DENSE_BIAS),
                       *seen = dense_operand(g, RLX_MIR_DENSE_SEEN);
    if (bias && !dense_hangs_on_query(g, bias))
        RLX_TRY(option_tile(g, bias, NULL, key, &c->bias));
    if (seen && !dense_hangs_on_query(g, seen))
        RLX_TRY(option_tile(g, seen, NULL, key, &c->seen));
    return rlx_ir_builder_finish(x->b);
}

static rlx_ir_value *over_rows(block *x, rlx_ir_value *v)
{
    return v->type.rank == 1 ? spread_columns(x, v) : v;
}

rlx_status dense_finish_scores(dense *g, const column *c, rlx_ir_value *r, rlx_ir_value **s)
{
    block *x = &g->x;
    const int64_t dims[2] = {x->m, x->n};
    rlx_ir_value *i = plus(x, x->first, r), *key = plus(x, x->page_at, c->j);
    rlx_ir_value *bias = c->bias, *seen = c->seen;
    *s = attention_score(x->a, *s);
    if (!bias && dense_operand(g, RLX_MIR_DENSE_BIAS))
        RLX_TRY(option_tile(g, dense_operand(g, RLX_MIR_DENSE_BIAS), i, key, &bias));
    if (!seen && dense_operand(g, RLX_MIR_DENSE_SEEN))
        RLX_TRY(option_tile(g, dense_operand(g, RLX_MIR_DENSE_SEEN), i, key, &seen));
    if (bias)
        *s = plus(x, *s, over_rows(x, bias));
    if (seen)
        *s =
            choose(x, over_rows(x, seen), *s, rlx_lir_build_fill(x->b, RLX_F32, 2, dims, -FLT_MAX));
    return rlx_ir_builder_finish(x->b);
}

/* A row tile of the part and the keys of the chunk that it goes through. */
typedef struct row_tile {
    rlx_ir_value *r, *from, *to;
    rlx_lir_scope loop, sees;
} row_tile;

/* The block that follows runs for all row tiles, but for those that see nothing of the chunk, or, if
 * j is given, of the column of keys from there on. */
static rlx_status begin_tiles(dense *g, rlx_ir_value *j, row_tile *t)
{
    block *x = &g->x;
    RLX_TRY(begin_loop(x, x->part, x->part_end, x->m, &t->loop));
    t->r = t->loop.index[0];
    t->from = at(x, 0);
    t->to = g->live;
    if (!g->visible)
        return RLX_OK;
    dense_visible_in_chunk(g, t->r, &t->from, &t->to);
    rlx_ir_value *sees = map2(x, RLX_FN_LT, t->from, j ? plus(x, j, at(x, x->n)) : t->to);
    if (j)
        sees = map2(x, RLX_FN_AND, sees, map2(x, RLX_FN_LT, j, t->to));
    return begin_when(x, sees, &t->sees);
}

static void end_tiles(dense *g, row_tile *t)
{
    if (g->visible)
        rlx_lir_end_for(g->x.b, &t->sees, NULL);
    rlx_lir_end_for(g->x.b, &t->loop, NULL);
}

/* Scores of the last tile of columns behind the last key: -inf. */
static rlx_status hide_missing(dense *g)
{
    block *x = &g->x;
    const int64_t dims[2] = {x->m, x->n};
    rlx_lir_scope partly;
    row_tile tile;
    if (dense_keys_fit(g, x->n))
        return RLX_OK;
    rlx_ir_value *j = down(x, g->live, x->n), *left = map2(x, RLX_FN_SUB, g->live, j);
    RLX_TRY(begin_when(x, map2(x, RLX_FN_LT, at(x, 0), left), &partly));
    rlx_ir_value *there = map2(x, RLX_FN_LT, rlx_lir_build_iota(x->b, RLX_I32, 1, &x->n),
                               rlx_lir_build_cast(x->b, left, RLX_I32));
    RLX_TRY(begin_tiles(g, j, &tile));
    rlx_ir_value *r = in_part(x, tile.r), *s = load_2(x, x->scores, r, j, x->m, x->n);
    s = choose(x, spread_columns(x, there), s,
               rlx_lir_build_fill(x->b, RLX_F32, 2, dims, -INFINITY));
    rlx_lir_build_barrier(x->b);
    store_2(x, x->scores, r, j, s);
    end_tiles(g, &tile);
    rlx_lir_end_for(x->b, &partly, NULL);
    rlx_lir_build_barrier(x->b);
    return rlx_ir_builder_finish(x->b);
}

static rlx_status part_scores(dense *g)
{
    block *x = &g->x;
    const int64_t dims[2] = {x->m, x->n};
    rlx_lir_scope loop;
    row_tile tile;
    RLX_TRY(begin_loop(x, at(x, 0), g->live, x->n, &loop));
    column c = {.j = loop.index[0]};
    RLX_TRY(dense_begin_column(g, &c));
    RLX_TRY(begin_tiles(g, c.j, &tile));
    rlx_ir_value *r = tile.r, *s = rlx_lir_build_fill(x->b, RLX_F32, 2, dims, 0.0);
    rlx_ir_value *q = load_2(x, x->q, r, at(x, 0), x->m, g->d);
    s = rlx_lir_build_outer(x->b, s, q, load_panel(x, x->keys, c.j, at(x, 0), g->d));
    RLX_TRY(dense_finish_scores(g, &c, r, &s));
    store_2(x, x->scores, in_part(x, r), c.j, s);
    end_tiles(g, &tile);
    rlx_lir_end_for(x->b, &loop, NULL);
    rlx_lir_build_barrier(x->b);
    return hide_missing(g);
}

/* ---- weights ---- */

/* The largest scores of some of the tile's rows, from r on: side by side, so that none is waited for. */
static rlx_status row_max(dense *g, const row_tile *t, rlx_ir_value *r)
{
    block *x = &g->x;
    const int64_t dims[2] = {attention_max_rows(x), LANES};
    rlx_ir_value *lowest = rlx_lir_build_fill(x->b, RLX_F32, 2, dims, -INFINITY);
    rlx_lir_scope loop;
    rlx_lir_begin_for(x->b, t->from, t->to, LANES, 1, &lowest, &loop);
    if (x->b->status)
        return rlx_ir_builder_finish(x->b);
    rlx_ir_value *s = load_2(x, x->scores, in_part(x, r), loop.index[0], dims[0], dims[1]);
    rlx_ir_value *next = map2(x, RLX_FN_MAX, loop.carried[0], s);
    rlx_lir_end_for(x->b, &loop, &next);
    store_1(x, x->page_max, r, rlx_lir_build_reduce(x->b, RLX_FN_MAX, loop.result[0]));
    return rlx_ir_builder_finish(x->b);
}

static rlx_status tile_max(dense *g, const row_tile *t)
{
    block *x = &g->x;
    rlx_lir_scope row;
    RLX_TRY(begin_loop(x, t->r, plus(x, t->r, at(x, x->m)), attention_max_rows(x), &row));
    RLX_TRY(row_max(g, t, row.index[0]));
    rlx_lir_end_for(x->b, &row, NULL);
    rlx_lir_build_barrier(x->b);
    return rlx_ir_builder_finish(x->b);
}

/* scores <- exp(scores - maximum) of the row tile; their sums by lanes. */
static rlx_status tile_exp(dense *g, const row_tile *t)
{
    block *x = &g->x;
    const int64_t rows = attention_exp_rows(x);
    rlx_lir_scope some;
    RLX_TRY(begin_loop(x, t->r, plus(x, t->r, at(x, x->m)), rows, &some));
    rlx_ir_value *row = some.index[0];
    RLX_TRY(attention_exp(x, row, load_1(x, x->max, row, rows), t->from, t->to));
    rlx_lir_end_for(x->b, &some, NULL);
    rlx_lir_build_barrier(x->b);
    return rlx_ir_builder_finish(x->b);
}

static rlx_status part_weights(dense *g)
{
    block *x = &g->x;
    row_tile tile;
    RLX_TRY(begin_tiles(g, NULL, &tile));
    rlx_ir_value *r = tile.r;
    RLX_TRY(tile_max(g, &tile));
    rlx_ir_value *before = load_1(x, x->max, r, x->m);
    rlx_ir_value *max = map2(x, RLX_FN_MAX, before, load_1(x, x->page_max, r, x->m));
    rlx_ir_value *old = rlx_lir_build_map1(x->b, RLX_FN_EXP, map2(x, RLX_FN_SUB, before, max));
    rlx_lir_build_barrier(x->b);
    store_1(x, x->max, r, max);
    store_1(x, x->old, r, old);
    rlx_lir_build_barrier(x->b);
    RLX_TRY(tile_exp(g, &tile));
    rlx_ir_value *sum = map2(x, RLX_FN_MUL, load_1(x, x->sum, r, x->m), old);
    sum = plus(x, sum, attention_page_sum(x, r));
    rlx_lir_build_barrier(x->b);
    store_1(x, x->sum, r, sum);
    end_tiles(g, &tile);
    rlx_lir_build_barrier(x->b);
    return rlx_ir_builder_finish(x->b);
}

/* ---- values ---- */

/* The keys from .. to-1 of the chunk, so many in one product. */
typedef struct span {
    rlx_ir_value *from, *to;
    int64_t together;
} span;

/* sum + weights * values of a span, of the row tile at r and elements e0... */
static rlx_status weigh(dense *g, rlx_ir_value *r, rlx_ir_value *e0, const span *of,
                        rlx_ir_value **sum)
{
    block *x = &g->x;
    rlx_lir_scope loop;
    rlx_lir_begin_for(x->b, of->from, of->to, of->together, 1, sum, &loop);
    if (x->b->status)
        return rlx_ir_builder_finish(x->b);
    rlx_ir_value *p = load_2(x, x->scores, in_part(x, r), loop.index[0], x->m, of->together);
    rlx_ir_value *v = load_panel(x, x->values, e0, loop.index[0], of->together);
    rlx_ir_value *next = rlx_lir_build_outer(x->b, loop.carried[0], p, v);
    rlx_lir_end_for(x->b, &loop, &next);
    *sum = loop.result[0];
    return rlx_ir_builder_finish(x->b);
}

static rlx_status part_values(dense *g)
{
    enum { STEPS = 32 };
    block *x = &g->x;
    rlx_lir_scope loop;
    row_tile tile;
    RLX_TRY(begin_loop(x, at(x, 0), at(x, g->e), x->n, &loop));
    rlx_ir_value *e0 = loop.index[0];
    RLX_TRY(begin_tiles(g, NULL, &tile));
    rlx_ir_value *r = tile.r, *whole = dense_keys_fit(g, STEPS) ? tile.to : down(x, tile.to, STEPS);
    rlx_ir_value *sum = map2(x, RLX_FN_MUL, load_2(x, x->acc, r, e0, x->m, x->n),
                             spread_rows(x, load_1(x, x->old, r, x->m)));
    RLX_TRY(weigh(g, r, e0, &(span){tile.from, whole, STEPS}, &sum));
    if (!dense_keys_fit(g, STEPS))
        RLX_TRY(weigh(g, r, e0, &(span){whole, tile.to, 1}, &sum));
    rlx_lir_build_barrier(x->b);
    store_2(x, x->acc, r, e0, sum);
    end_tiles(g, &tile);
    rlx_lir_end_for(x->b, &loop, NULL);
    rlx_lir_build_barrier(x->b);
    return rlx_ir_builder_finish(x->b);
}

/* ---- all of it ---- */

rlx_status dense_begin_chunk(dense *g, rlx_ir_value *begin, rlx_ir_value *end, int ncarried,
                             rlx_ir_value *const *init, rlx_lir_scope *loop)
{
    block *x = &g->x;
    rlx_ir_value *keys = k_extent(x->k, g->keys);
    rlx_lir_begin_for(x->b, begin, end, CHUNK, ncarried, init, loop);
    if (x->b->status)
        return rlx_ir_builder_finish(x->b);
    x->page_at = loop->index[0];
    g->live = map2(x, RLX_FN_MIN, map2(x, RLX_FN_SUB, keys, x->page_at), at(x, CHUNK));
    return rlx_ir_builder_finish(x->b);
}

static rlx_status run_chunks(dense *g)
{
    block *x = &g->x;
    rlx_lir_scope loop, part;
    rlx_ir_value *begin = g->visible ? x->begin : at(x, 0);
    rlx_ir_value *end = g->visible ? x->end : k_extent(x->k, g->keys);
    RLX_TRY(dense_begin_chunk(g, begin, end, 0, NULL, &loop));
    RLX_TRY(fill_panels(g));
    RLX_TRY(begin_loop(x, at(x, 0), x->count, x->a->s.part, &part));
    x->part = part.index[0];
    x->part_end = map2(x, RLX_FN_MIN, plus(x, x->part, at(x, x->a->s.part)), x->count);
    RLX_TRY(part_scores(g));
    RLX_TRY(part_weights(g));
    RLX_TRY(part_values(g));
    rlx_lir_end_for(x->b, &part, NULL);
    rlx_lir_end_for(x->b, &loop, NULL);
    return rlx_ir_builder_finish(x->b);
}

/* Sums and weights of all rows. With keys left out it may turn out that they were needed: once more,
 * then. */
static rlx_status attend(dense *g)
{
    block *x = &g->x;
    rlx_lir_scope attempt, needed;
    rlx_ir_value *first = NULL, *again = at(x, 1), *blind = NULL;
    if (!g->visible) {
        RLX_TRY(begin_rows(g));
        return run_chunks(g);
    }
    RLX_TRY(dense_find_visible(g, &first));
    rlx_lir_begin_for(x->b, first, at(x, 2), 1, 1, &again, &attempt);
    if (x->b->status)
        return rlx_ir_builder_finish(x->b);
    rlx_lir_begin_for(x->b, at(x, 0), attempt.carried[0], 1, 1, attempt.carried, &needed);
    if (x->b->status)
        return rlx_ir_builder_finish(x->b);
    dense_begin_visible(g, map2(x, RLX_FN_EQ, attempt.index[0], at(x, 1)));
    RLX_TRY(begin_rows(g));
    RLX_TRY(run_chunks(g));
    RLX_TRY(dense_find_blind(g, &blind));
    rlx_lir_end_for(x->b, &needed, &blind);
    rlx_lir_end_for(x->b, &attempt, needed.result);
    return rlx_ir_builder_finish(x->b);
}

/* 0 for -0, by its bits: a driver that keeps no signs of zeros may take an addition of 0 away. */
static rlx_ir_value *without_sign(block *x, rlx_ir_value *v)
{
    rlx_ir_value *bits = rlx_lir_build_bitcast(x->b, v, RLX_I32);
    rlx_ir_value *zero = rlx_lir_build_fill_int(x->b, RLX_I32, 0, NULL, 0);
    rlx_ir_value *minus = rlx_lir_build_fill_int(x->b, RLX_I32, 0, NULL, INT32_MIN);
    bits = choose(x, map2(x, RLX_FN_EQ, bits, minus), zero, bits);
    return rlx_lir_build_bitcast(x->b, bits, RLX_F32);
}

rlx_ir_value *dense_result(dense *g, rlx_ir_value *acc, rlx_ir_value *sum)
{
    static const int64_t axis = 0;
    block *x = &g->x;
    sum = map2(x, RLX_FN_MAX, sum, rlx_lir_build_const_f32(x->b, 1));
    if (sum->type.rank)
        sum = rlx_lir_build_broadcast(x->b, sum, 2, acc->type.dim, &axis);
    rlx_ir_value *o = map2(x, RLX_FN_DIV, acc, sum);
    if (dense_operand(g, RLX_MIR_DENSE_SEEN))
        o = without_sign(x, o);
    return o;
}

/* o[.., i, h, e0..] <- v */
static rlx_status store_result(dense *g, const leaf *l, rlx_ir_value *i, rlx_ir_value *e0,
                               rlx_ir_value *v)
{
    block *x = &g->x;
    coord c[RLX_MAX_RANK];
    const tile_space ts = {
        .rank = 1, .dim = {x->n}, .root = {e0}, .limit = {g->e % x->n == 0 ? NULL : at(x, g->e)}};
    binding *b = k_bind(x->k, g->node->out[0], BIND_TILE, v);
    if (!b)
        return rlx_ir_builder_finish(x->b);
    dense_place(g, coord_of(i, range_of(g->s), -1),
                coord_of(g->h, g->node->in[0]->type.dim[g->nb + 1], -1), coord_of(e0, g->e, 0), c);
    copy_coords(c, g->nb + 3, b->at);
    return sink_store(x->k, l, c, &ts);
}

static rlx_status store_rows(dense *g, const leaf *l)
{
    block *x = &g->x;
    rlx_lir_scope row, loop;
    RLX_TRY(begin_loop(x, x->first, g->end, 1, &row));
    rlx_ir_value *r = map2(x, RLX_FN_SUB, row.index[0], x->first);
    rlx_ir_value *sum = load_1(x, x->sum, r, 0);
    RLX_TRY(begin_loop(x, at(x, 0), at(x, g->e), x->n, &loop));
    rlx_ir_value *o = dense_result(g, load_row(x, x->acc, r, loop.index[0], x->n), sum);
    RLX_TRY(store_result(g, l, row.index[0], loop.index[0], o));
    rlx_lir_end_for(x->b, &loop, NULL);
    rlx_lir_end_for(x->b, &row, NULL);
    rlx_lir_build_barrier(x->b);
    return rlx_ir_builder_finish(x->b);
}

static rlx_status take_memory(dense *g)
{
    block *x = &g->x;
    rlx_ir_value **vectors[] = {&x->max, &x->sum, &x->page_max, &x->old};
    const struct {
        rlx_ir_value **buffer;
        int rank;
        int64_t dims[3];
    } tiles[] = {{&x->q, 2, {x->rows, g->d}},
                 {&x->scores, 2, {x->a->s.part, CHUNK}},
                 {&x->acc, 2, {x->rows, x->padded}},
                 {&x->sums, 2, {x->rows, LANES}},
                 {&x->keys, 3, {CHUNK / x->n, g->d, x->n}},
                 {&x->values, 3, {x->padded / x->n, CHUNK, x->n}}};
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++)
        *vectors[i] = rlx_lir_build_alloc(&x->k->top, RLX_F32, 1, &x->rows);
    for (size_t i = 0; i < sizeof tiles / sizeof *tiles; i++)
        *tiles[i].buffer = rlx_lir_build_alloc(&x->k->top, RLX_F32, tiles[i].rank, tiles[i].dims);
    dense_take_visible(g);
    return x->k->top.status ? rlx_ir_builder_finish(&x->k->top) : RLX_OK;
}

/* The index along each of B.. of number i, of as many as there are. */
static void find_batch(dense *g, rlx_ir_value *i)
{
    block *x = &g->x;
    const rlx_dim *dim = g->node->in[0]->type.dim;
    for (int a = g->nb - 1; a >= 0; a--) {
        rlx_ir_value *extent = k_extent(x->k, dim[a]), *index = i;
        if (a > 0) {
            rlx_ir_value *rest = map2(x, RLX_FN_DIV, i, extent);
            index = map2(x, RLX_FN_SUB, i, map2(x, RLX_FN_MUL, rest, extent));
            i = rest;
        }
        g->at[a] = coord_of(index, range_of(dim[a]), -1);
    }
}

rlx_status dense_begin_grid(dense *g, int64_t shares, rlx_lir_scope *grid, rlx_ir_value **share)
{
    block *x = &g->x;
    const rlx_ir_type *q = &g->node->in[0]->type;
    const int64_t tokens = x->a->s.tokens;
    rlx_dim blocks = rlx_dim_make(x->k->dims, RLX_DIM_CEILDIV, g->s, tokens);
    rlx_ir_value *extents[3] = {at(x, 1), at(x, q->dim[g->nb + 1] * shares),
                                k_extent(x->k, blocks)};
    for (int i = 0; i < g->nb; i++) { /* no dim is a product of symbols */
        rlx_ir_value *extent = k_extent(x->k, q->dim[i]);
        extents[0] = i == 0 ? extent : map2(x, RLX_FN_MUL, extents[0], extent);
    }
    k_begin_grid(x->k, 3, extents, grid);
    if (x->b->status)
        return rlx_ir_builder_finish(x->b);
    find_batch(g, grid->index[0]);
    g->h = shares == 1 ? grid->index[1] : map2(x, RLX_FN_DIV, grid->index[1], at(x, shares));
    *share = shares == 1 ? at(x, 0) : map2(x, RLX_FN_MOD, grid->index[1], at(x, shares));
    x->a->g = x->a->ratio == 1 ? g->h : map2(x, RLX_FN_DIV, g->h, at(x, x->a->ratio));
    x->first = times(x, grid->index[2], tokens);
    g->end = map2(x, RLX_FN_MIN, plus(x, x->first, at(x, tokens)), k_extent(x->k, g->s));
    return rlx_ir_builder_finish(x->b);
}

static rlx_status emit(dense *g, const leaf *l)
{
    block *x = &g->x;
    rlx_lir_scope grid;
    rlx_ir_value *all = NULL;
    RLX_TRY(take_memory(g));
    RLX_TRY(dense_begin_grid(g, 1, &grid, &all));
    x->count = up(x, map2(x, RLX_FN_SUB, g->end, x->first), x->m);
    RLX_TRY(copy_queries(g));
    RLX_TRY(attend(g));
    RLX_TRY(store_rows(g, l));
    rlx_lir_end_grid(x->b, &grid);
    return rlx_ir_builder_finish(x->b);
}

static rlx_status begin(region_cx *r, const attention *a, const dense *g, kernel_cx *k)
{
    static const char *const words[RLX_MIR_DENSE_OPTIONS] = {"_bias", "_seen", "_sinks"};
    const rlx_ir_type *q = &g->node->in[0]->type;
    rlx_text what = {0}, schedule = {0};
    rlx_text_putf(&what, "dense_attention_%lldx%lldx%lldx%lld", (long long)q->dim[g->nb + 1],
                  (long long)(q->dim[g->nb + 1] / a->ratio), (long long)g->d, (long long)g->e);
    rlx_text_put(&what, a->softcap != 0 ? "_capped" : "");
    for (int i = 0; i < RLX_MIR_DENSE_OPTIONS; i++)
        rlx_text_put(&what, dense_operand(g, (rlx_mir_dense_options)i) ? words[i] : "");
    rlx_text_putf(&what, "__t%d", a->s.tokens);
    rlx_lir_schedule_attention_print(&a->s, &schedule);
    rlx_status st =
        what.oom || schedule.oom ? RLX_OOM() : kernel_begin(r, k, what.data, schedule.data);
    rlx_text_deinit(&what);
    rlx_text_deinit(&schedule);
    return st;
}

/* Heads of all indices of B.. at the bucket's upper bound, at least one and no more than count. */
static int64_t instances(const region_cx *r, const rlx_ir_type *q)
{
    int64_t n = q->dim[q->rank - 2];
    for (int i = 0; i < q->rank - 3; i++) {
        const int64_t extent = rlx_dim_upper(r->out->dims, q->dim[i], r->options->upper);
        if (extent > 1)
            n = n > INT32_MAX / extent ? INT32_MAX : n * extent;
    }
    return n;
}

static void plan(const region_cx *r, attention *a, dense *g)
{
    const rlx_ir_type *q = &g->node->in[0]->type, *k = &g->node->in[1]->type;
    g->nb = q->rank - 3;
    g->s = q->dim[g->nb];
    g->keys = k->dim[g->nb];
    g->d = q->dim[g->nb + 2];
    g->e = g->node->in[2]->type.dim[g->nb + 2];
    a->ratio = q->dim[g->nb + 1] / k->dim[g->nb + 1];
    a->scale = rlx_ir_attr_float(g->node, RLX_ATTR_SCALE, 1.0);
    a->softcap = rlx_ir_attr_float(g->node, RLX_ATTR_SOFTCAP, 0);
    rlx_lir_attention_shape shape = {.heads = 1,
                                     .width = g->d > g->e ? g->d : g->e,
                                     .d = g->d,
                                     .e = g->e,
                                     .positions = CHUNK,
                                     .lanes = LANES,
                                     .kv_heads = instances(r, q),
                                     .tokens =
                                         rlx_dim_upper(r->out->dims, g->s, r->options->upper)};
    rlx_lir_schedule_dense_attention(r->options->target, &shape, &a->s);
    g->x.m = a->s.m;
    g->x.n = a->s.n;
    g->x.rows = (a->s.tokens + g->x.m - 1) / g->x.m * g->x.m;
    g->x.padded = (g->e + g->x.n - 1) / g->x.n * g->x.n;
}

rlx_status lower_attention_dense(region_cx *r, const rlx_ir_node *n)
{
    attention a = {.node = n};
    const rlx_ir_node *yield = r->node->blocks[0]->last;
    kernel_cx k;
    dense g = {.x = {.a = &a, .k = &k}, .node = n};
    plan(r, &a, &g);
    RLX_TRY(begin(r, &a, &g, &k));
    a.k = &k;
    a.b = g.x.b = k.b;
    leaf leaves[MAX_LEAVES];
    int count;
    k_bind(&k, n->out[0], BIND_TILE, NULL); /* a leaf: views end here */
    RLX_TRY(sink_leaves(&k, yield->in[0], kernel_result(&k, 0), leaves, &count));
    if (count != 1 || leaves[0].value != n->out[0])
        return k_fail(&k, n, "only views may follow attention in its region");
    const bool team = r->options->target->unit == RLX_UNIT_GPU;
    RLX_TRY(team ? lower_attention_team(&g, &leaves[0]) : emit(&g, &leaves[0]));
    return kernel_end(r, &k);
}
