/* mir/lower/lower_attention_block.c: attention of many tokens, as products of matrices.
 *
 * An instance is one kv head and a block of tokens, whose query heads of that kv head are rows.
 * Neighbours of one sequence are a run and go together:
 *
 *   for runs {
 *     queries -> team memory
 *     for pages that any of the run sees {
 *       keys and values, widened -> panels of columns
 *       for parts of the rows {
 *         for columns of keys   { for row tiles { scores = queries * panel } }
 *         for row tiles         { maxima; exp; sums; what merging multiplies by }
 *         for columns of values { for row tiles { scores * panel; merge } } } }
 *     sums / weights -> result }
 *
 * Chains, maxima, sums and merging are those of lower_attention.c, so the bits are. A row tile
 * visits what some row of it sees; positions that not all of its rows see are masked one by one,
 * since an infinite value must not meet a weight of 0. A row that sees nothing of a page keeps what
 * it has. Rows behind the last of a run are copies of its masks over queries of 0. */
#include <math.h>

#include "mir/lower/lower_attention_block.h"

/* Of keys that are widened at once: a row's are read in one go, and what is written at a stride of a
 * power of two stays. */
enum { PANELS = 4 };

/* Of a row tile: positions (of the sequence) that some row sees, and that all rows see. */
enum { SOME_FROM, SOME_TO, ALL_FROM, ALL_TO, BOUNDS };

rlx_ir_value *attention_in_page(block *x, rlx_ir_value *position)
{
    rlx_ir_value *p = map2(x, RLX_FN_SUB, position, x->page_at);
    return map2(x, RLX_FN_MIN, map2(x, RLX_FN_MAX, p, at(x, 0)), at(x, x->a->positions));
}

/* ---- a run: which rows there are and what they see ---- */

/* One behind the run's last token. */
static rlx_status find_run(block *x, rlx_ir_value *end, rlx_ir_value **stop)
{
    const tile_space none = {0};
    rlx_lir_scope loop;
    rlx_lir_begin_for(x->b, x->first, end, 1, 1, &x->first, &loop);
    if (x->b->status)
        return rlx_ir_builder_finish(x->b);
    const coord c = coord_of(loop.index[0], 0, -1);
    rlx_ir_value *seq = NULL;
    RLX_TRY(tile_at(x->k, x->a->node->in[4], &c, &none, &seq));
    rlx_ir_value *same = map2(x, RLX_FN_EQ, rlx_lir_build_cast(x->b, seq, RLX_I64), x->a->seq);
    same = map2(x, RLX_FN_AND, same, map2(x, RLX_FN_EQ, loop.index[0], loop.carried[0]));
    rlx_ir_value *next = choose(x, same, plus(x, loop.carried[0], at(x, 1)), loop.carried[0]);
    rlx_lir_end_for(x->b, &loop, &next);
    *stop = loop.result[0];
    return rlx_ir_builder_finish(x->b);
}

/* The heads of token t, as rows from `row`, to team memory. */
static rlx_status copy_queries(block *x, rlx_ir_value *t, rlx_ir_value *row)
{
    attention *a = x->a;
    const int64_t width = x->copied;
    rlx_lir_scope head, loop;
    RLX_TRY(begin_loop(x, at(x, 0), at(x, x->heads), 1, &head));
    RLX_TRY(begin_loop(x, at(x, 0), at(x, a->d), width, &loop));
    const coord c[3] = {coord_of(t, 0, -1),
                        coord_add(coord_of(a->h0, 0, -1), coord_of(head.index[0], x->heads, -1)),
                        coord_of(loop.index[0], a->d, 0)};
    const tile_space ts = {.rank = 1, .dim = {width}, .root = {loop.index[0]}};
    rlx_ir_value *q = NULL;
    RLX_TRY(tile_at(x->k, a->node->in[0], c, &ts, &q));
    if (a->s.block)
        q = attention_held(x, x->q->type.format, q);
    store_row(x, x->q, plus(x, row, head.index[0]), loop.index[0], q);
    rlx_lir_end_for(x->b, &loop, NULL);
    rlx_lir_end_for(x->b, &head, NULL);
    return rlx_ir_builder_finish(x->b);
}

/* What row r is merged with before the first page. */
static rlx_status begin_row(block *x, rlx_ir_value *r, rlx_ir_value *max)
{
    const int64_t n = x->n;
    store_1(x, x->max, r, max);
    store_1(x, x->sum, r, rlx_lir_build_const_f32(x->b, x->a->sinks >= 0 ? 1 : 0));
    rlx_lir_scope loop;
    if (x->team)
        return rlx_ir_builder_finish(x->b);
    RLX_TRY(begin_loop(x, at(x, 0), at(x, x->padded), n, &loop));
    store_row(x, x->acc, r, loop.index[0], rlx_lir_build_fill(x->b, RLX_F32, 1, &n, 0));
    rlx_lir_end_for(x->b, &loop, NULL);
    return rlx_ir_builder_finish(x->b);
}

static rlx_ir_value *lowest_of(block *x)
{
    return x->a->lowest ? x->a->lowest : at(x, 0);
}

static rlx_status begin_token_rows(block *x, rlx_ir_value *row)
{
    attention *a = x->a;
    const tile_space none = {0};
    rlx_lir_scope head;
    RLX_TRY(begin_loop(x, at(x, 0), at(x, x->heads), 1, &head));
    rlx_ir_value *r = plus(x, row, head.index[0]), *max = NULL;
    const coord h = coord_add(coord_of(a->h0, 0, -1), coord_of(head.index[0], x->heads, -1));
    if (a->sinks >= 0)
        RLX_TRY(tile_at(x->k, a->node->in[a->sinks], &h, &none, &max));
    else
        max = rlx_lir_build_const_f32(x->b, -INFINITY);
    RLX_TRY(begin_row(x, r, max));
    store_1(x, x->from, r, rlx_lir_build_cast(x->b, lowest_of(x), RLX_I32));
    store_1(x, x->to, r, rlx_lir_build_cast(x->b, a->len, RLX_I32));
    rlx_lir_end_for(x->b, &head, NULL);
    return rlx_ir_builder_finish(x->b);
}

/* Rows of the tokens first .. stop-1, and which positions they see. */
static rlx_status begin_rows(block *x, rlx_ir_value *stop)
{
    attention *a = x->a;
    const tile_space none = {0};
    rlx_ir_value *init[2] = {at(x, INT32_MAX), at(x, 0)};
    rlx_lir_scope loop;
    rlx_lir_begin_for(x->b, x->first, stop, 1, 2, init, &loop);
    if (x->b->status)
        return rlx_ir_builder_finish(x->b);
    const coord t = coord_of(loop.index[0], 0, -1);
    rlx_ir_value *pos = NULL;
    RLX_TRY(tile_at(x->k, a->node->in[3], &t, &none, &pos));
    RLX_TRY(attention_find_seen(a, rlx_lir_build_cast(x->b, pos, RLX_I64)));
    rlx_ir_value *row = times(x, map2(x, RLX_FN_SUB, loop.index[0], x->first), x->heads);
    RLX_TRY(copy_queries(x, loop.index[0], row));
    RLX_TRY(begin_token_rows(x, row));
    rlx_ir_value *next[2] = {map2(x, RLX_FN_MIN, loop.carried[0], lowest_of(x)),
                             map2(x, RLX_FN_MAX, loop.carried[1], a->len)};
    rlx_lir_end_for(x->b, &loop, next);
    x->begin = loop.result[0];
    x->end = loop.result[1];
    return rlx_ir_builder_finish(x->b);
}

/* Rows behind the last, as many as fill its tile. */
static rlx_status fill_last_tile(block *x)
{
    attention *a = x->a;
    const int64_t width = x->copied;
    rlx_ir_value *last = map2(x, RLX_FN_SUB, x->count, at(x, 1));
    rlx_ir_value *from = load_1(x, x->from, last, 0), *to = load_1(x, x->to, last, 0);
    rlx_lir_scope loop, element;
    RLX_TRY(begin_loop(x, x->count, up(x, x->count, x->m), 1, &loop));
    RLX_TRY(begin_loop(x, at(x, 0), at(x, a->d), width, &element));
    store_row(x, x->q, loop.index[0], element.index[0],
              rlx_lir_build_fill(x->b, RLX_F32, 1, &width, 0));
    rlx_lir_end_for(x->b, &element, NULL);
    RLX_TRY(begin_row(x, loop.index[0], rlx_lir_build_const_f32(x->b, 0)));
    store_1(x, x->from, loop.index[0], from);
    store_1(x, x->to, loop.index[0], to);
    rlx_lir_end_for(x->b, &loop, NULL);
    return rlx_ir_builder_finish(x->b);
}

/* Bounds of every row tile. */
static rlx_status find_bounds(block *x)
{
    static const rlx_map_fn fold[BOUNDS] = {RLX_FN_MIN, RLX_FN_MAX, RLX_FN_MAX, RLX_FN_MIN};
    rlx_lir_scope tile, row;
    RLX_TRY(begin_loop(x, at(x, 0), x->count, x->m, &tile));
    rlx_ir_value *from = load_1(x, x->from, tile.index[0], 0);
    rlx_ir_value *to = load_1(x, x->to, tile.index[0], 0), *init[BOUNDS] = {from, to, from, to};
    rlx_lir_begin_for(x->b, tile.index[0], plus(x, tile.index[0], at(x, x->m)), 1, BOUNDS, init,
                      &row);
    if (x->b->status)
        return rlx_ir_builder_finish(x->b);
    rlx_ir_value *next[BOUNDS];
    for (int i = 0; i < BOUNDS; i++)
        next[i] =
            map2(x, fold[i], row.carried[i], load_1(x, i % 2 ? x->to : x->from, row.index[0], 0));
    rlx_lir_end_for(x->b, &row, next);
    rlx_ir_value *index[2] = {map2(x, RLX_FN_DIV, tile.index[0], at(x, x->m))};
    for (int i = 0; i < BOUNDS; i++) {
        index[1] = at(x, i);
        rlx_lir_build_store(x->b, x->bounds, row.result[i], index, NULL, NULL);
    }
    rlx_lir_end_for(x->b, &tile, NULL);
    return rlx_ir_builder_finish(x->b);
}

/* A bound of the row tile that begins with row r, as a position of the page. */
static rlx_ir_value *bound_of(block *x, rlx_ir_value *r, int which)
{
    rlx_ir_value *index[2] = {map2(x, RLX_FN_DIV, r, at(x, x->m)), at(x, which)};
    rlx_ir_value *v = rlx_lir_build_load(x->b, x->bounds, RLX_I32, 0, NULL, index, NULL, NULL);
    return attention_in_page(x, rlx_lir_build_cast(x->b, v, RLX_I64));
}

/* The block that follows runs for row tiles of the part that see something of the page. */
static rlx_status begin_tiles(block *x, rlx_lir_scope *tile, rlx_lir_scope *sees,
                              rlx_ir_value **from, rlx_ir_value **to)
{
    RLX_TRY(begin_loop(x, x->part, x->part_end, x->m, tile));
    *from = bound_of(x, tile->index[0], SOME_FROM);
    *to = bound_of(x, tile->index[0], SOME_TO);
    return begin_when(x, map2(x, RLX_FN_LT, *from, *to), sees);
}

/* ---- scores ---- */

rlx_status attention_key_tile(block *x, rlx_ir_value *d, int64_t step, rlx_ir_value *j,
                              rlx_ir_value **out)
{
    attention *a = x->a;
    coord c[4] = {coord_of(x->page, 0, -1), coord_of(a->g, 0, -1), coord_of(d, a->d, 0),
                  coord_of(j, a->positions, 1)};
    const tile_space ts = {.rank = 2, .dim = {step, x->n}, .root = {d, j}};
    rlx_ir_value *scale = NULL;
    RLX_TRY(attention_memory_tile(a, KEYS, c, &ts, out));
    if (a->key_scales < 0)
        return RLX_OK;
    RLX_TRY(attention_key_scales(x, d, step, j, &scale));
    *out = map2(x, RLX_FN_MUL, *out, scale);
    return rlx_ir_builder_finish(x->b);
}

/* Keys j0 .. end-1 of the page to their panels. */
static rlx_status widen_some_keys(block *x, rlx_ir_value *j0, rlx_ir_value *end)
{
    const int64_t step = x->a->d % 2 == 0 ? 2 : 1;
    rlx_lir_scope element, panel;
    RLX_TRY(begin_loop(x, at(x, 0), at(x, x->a->d), step, &element));
    RLX_TRY(begin_loop(x, j0, end, x->n, &panel));
    rlx_ir_value *keys = NULL, *d = element.index[0], *j = panel.index[0];
    RLX_TRY(attention_key_tile(x, d, step, j, &keys));
    store_panel(x, x->keys, j, d, at(x, 0), keys);
    rlx_lir_end_for(x->b, &panel, NULL);
    rlx_lir_end_for(x->b, &element, NULL);
    return rlx_ir_builder_finish(x->b);
}

/* Keys of the page that some row sees, in whole panels. */
static void seen_panels(block *x, rlx_ir_value **from, rlx_ir_value **to)
{
    const int64_t step = x->n > LANES ? x->n : LANES;
    *from = down(x, attention_in_page(x, x->begin), step);
    *to = up(x, attention_in_page(x, x->end), step);
}

static rlx_status widen_keys(block *x)
{
    rlx_lir_scope loop;
    rlx_ir_value *from = NULL, *to = NULL;
    seen_panels(x, &from, &to);
    RLX_TRY(begin_loop(x, from, to, PANELS * x->n, &loop));
    rlx_ir_value *end = map2(x, RLX_FN_MIN, plus(x, loop.index[0], at(x, PANELS * x->n)), to);
    RLX_TRY(widen_some_keys(x, loop.index[0], end));
    rlx_lir_end_for(x->b, &loop, NULL);
    return rlx_ir_builder_finish(x->b);
}

/* Scores of the part's row tiles that see some of the keys from j, which are a panel. */
static rlx_status score_panel(block *x, rlx_ir_value *j)
{
    attention *a = x->a;
    rlx_lir_scope tile, sees;
    const int64_t dims[2] = {x->m, x->n};
    RLX_TRY(begin_loop(x, x->part, x->part_end, x->m, &tile));
    rlx_ir_value *r = tile.index[0];
    rlx_ir_value *from = down(x, bound_of(x, r, SOME_FROM), LANES);
    rlx_ir_value *to = up(x, bound_of(x, r, SOME_TO), LANES);
    rlx_ir_value *meets = map2(x, RLX_FN_LT, from, plus(x, j, at(x, x->n)));
    RLX_TRY(begin_when(x, map2(x, RLX_FN_AND, meets, map2(x, RLX_FN_LT, j, to)), &sees));
    rlx_ir_value *s = rlx_lir_build_fill(x->b, RLX_F32, 2, dims, 0.0);
    rlx_ir_value *q = load_2(x, x->q, r, at(x, 0), x->m, a->d);
    s = rlx_lir_build_outer(x->b, s, q, load_panel(x, x->keys, j, at(x, 0), a->d));
    store_2(x, x->scores, in_part(x, r), j, attention_score(a, s));
    rlx_lir_end_for(x->b, &sees, NULL);
    rlx_lir_end_for(x->b, &tile, NULL);
    return rlx_ir_builder_finish(x->b);
}

static rlx_status page_scores(block *x)
{
    rlx_lir_scope panel;
    rlx_ir_value *from = NULL, *to = NULL;
    seen_panels(x, &from, &to);
    RLX_TRY(begin_loop(x, from, to, x->n, &panel));
    RLX_TRY(score_panel(x, panel.index[0]));
    rlx_lir_end_for(x->b, &panel, NULL);
    rlx_lir_build_barrier(x->b);
    return rlx_ir_builder_finish(x->b);
}

/* ---- weights ---- */

/* Of positions j.. of the page, which of so many rows from r on sees which. */
static rlx_ir_value *seen_mask(block *x, rlx_ir_value *r, rlx_ir_value *j, const int64_t *dims)
{
    static const int64_t over_rows = 0;
    rlx_ir_value *position = rlx_lir_build_iota(x->b, RLX_I32, 2, dims);
    rlx_ir_value *first = rlx_lir_build_cast(x->b, plus(x, x->page_at, j), RLX_I32);
    rlx_ir_value *to = load_1(x, x->to, r, dims[0]);
    position = plus(x, position, first);
    to = rlx_lir_build_broadcast(x->b, to, 2, dims, &over_rows);
    rlx_ir_value *below = map2(x, RLX_FN_LT, position, to);
    if (!x->a->lowest)
        return below;
    rlx_ir_value *from = load_1(x, x->from, r, dims[0]);
    from = rlx_lir_build_broadcast(x->b, from, 2, dims, &over_rows);
    return map2(x, RLX_FN_AND, below, map2(x, RLX_FN_LE, from, position));
}

/* Columns of a row tile, whole LANES: some row sees from .. to-1, all rows all_from .. all_to-1. */
typedef struct columns {
    rlx_ir_value *from, *all_from, *all_to, *to;
} columns;

static columns columns_of(block *x, rlx_ir_value *r, rlx_ir_value *from, rlx_ir_value *to)
{
    columns c = {.from = down(x, from, LANES), .to = up(x, to, LANES)};
    c.all_from = c.from;
    if (x->a->lowest)
        c.all_from = map2(x, RLX_FN_MIN, up(x, bound_of(x, r, ALL_FROM), LANES), c.to);
    c.all_to = map2(x, RLX_FN_MAX, down(x, bound_of(x, r, ALL_TO), LANES), c.all_from);
    return c;
}

/* The maxima of some rows' scores, from r on, in columns from .. to-1 and of *max; `hide`: -inf
 * becomes of those that a row does not see. Rows go side by side, so that none is waited for. */
static rlx_status fold_max(block *x, rlx_ir_value *r, rlx_ir_value *from, rlx_ir_value *to,
                           bool hide, rlx_ir_value **max)
{
    const int64_t *dims = (*max)->type.dim;
    rlx_lir_scope loop;
    rlx_lir_begin_for(x->b, from, to, LANES, 1, max, &loop);
    if (x->b->status)
        return rlx_ir_builder_finish(x->b);
    rlx_ir_value *j = loop.index[0];
    rlx_ir_value *s = load_2(x, x->scores, in_part(x, r), j, dims[0], dims[1]);
    if (hide) {
        s = choose(x, seen_mask(x, r, j, dims), s,
                   rlx_lir_build_fill(x->b, RLX_F32, 2, dims, -INFINITY));
        rlx_lir_build_barrier(x->b);
        store_2(x, x->scores, in_part(x, r), j, s);
    }
    rlx_ir_value *next = map2(x, RLX_FN_MAX, loop.carried[0], s);
    rlx_lir_end_for(x->b, &loop, &next);
    *max = loop.result[0];
    return rlx_ir_builder_finish(x->b);
}

/* The rows' scores, -inf where they see nothing, and their maxima. */
static rlx_status row_max(block *x, rlx_ir_value *r, const columns *c)
{
    const int64_t dims[2] = {attention_max_rows(x), LANES};
    rlx_ir_value *max = rlx_lir_build_fill(x->b, RLX_F32, 2, dims, -INFINITY);
    if (x->a->lowest)
        RLX_TRY(fold_max(x, r, c->from, c->all_from, true, &max));
    RLX_TRY(fold_max(x, r, c->all_from, c->all_to, false, &max));
    RLX_TRY(fold_max(x, r, c->all_to, c->to, true, &max));
    store_1(x, x->page_max, r, rlx_lir_build_reduce(x->b, RLX_FN_MAX, max));
    rlx_lir_build_barrier(x->b);
    return rlx_ir_builder_finish(x->b);
}

int64_t attention_exp_rows(const block *x)
{
    enum { REGISTERS = 4 };
    /* With AVX2 a tile's columns are two registers. Over tensors AArch64 has more of them, and
     * AVX-512 fewer in small pages: then it is twice or half as many. */
    int64_t rows = REGISTERS / 2 * x->n / LANES;
    while (rows > 1 && x->m % rows != 0)
        rows--;
    return rows > 1 ? rows : 1;
}

rlx_status attention_exp(block *x, rlx_ir_value *r, rlx_ir_value *max, rlx_ir_value *from,
                         rlx_ir_value *to)
{
    static const int64_t axis = 0;
    const int64_t dims[2] = {attention_exp_rows(x), LANES};
    rlx_ir_value *score_row = in_part(x, r);
    rlx_lir_scope loop;
    store_2(x, x->sums, r, at(x, 0), rlx_lir_build_fill(x->b, RLX_F32, 2, dims, 0));
    rlx_lir_build_barrier(x->b);
    RLX_TRY(begin_loop(x, from, to, LANES, &loop));
    rlx_ir_value *p = load_2(x, x->scores, score_row, loop.index[0], dims[0], dims[1]);
    p = map2(x, RLX_FN_SUB, p, rlx_lir_build_broadcast(x->b, max, 2, dims, &axis));
    p = rlx_lir_build_map1(x->b, RLX_FN_EXP, p);
    rlx_ir_value *sum = plus(x, load_2(x, x->sums, r, at(x, 0), dims[0], dims[1]), p);
    rlx_lir_build_barrier(x->b);
    store_2(x, x->scores, score_row, loop.index[0], p);
    store_2(x, x->sums, r, at(x, 0), sum);
    rlx_lir_build_barrier(x->b);
    rlx_lir_end_for(x->b, &loop, NULL);
    return rlx_ir_builder_finish(x->b);
}

rlx_ir_value *attention_page_sum(block *x, rlx_ir_value *r)
{
    rlx_ir_value *sums = load_2(x, x->sums, r, at(x, 0), x->m, LANES);
    return rlx_lir_build_reduce(x->b, RLX_FN_ADD, sums);
}

/* scores <- exp(scores - maximum) of the row tile at r; their sums by lanes. */
static rlx_status tile_exp(block *x, rlx_ir_value *r, rlx_ir_value *from, rlx_ir_value *to)
{
    const int64_t rows = attention_exp_rows(x);
    rlx_lir_scope some;
    RLX_TRY(begin_loop(x, r, plus(x, r, at(x, x->m)), rows, &some));
    rlx_ir_value *row = some.index[0];
    RLX_TRY(attention_exp(x, row, load_1(x, x->page_max, row, rows), from, to));
    rlx_lir_end_for(x->b, &some, NULL);
    rlx_lir_build_barrier(x->b);
    return rlx_ir_builder_finish(x->b);
}

/* Which rows of the tile see some of the page. */
static rlx_ir_value *tile_sees(block *x, rlx_ir_value *r)
{
    rlx_ir_value *page = rlx_lir_build_cast(x->b, x->page_at, RLX_I32);
    rlx_ir_value *sees = map2(x, RLX_FN_LT, page, load_1(x, x->to, r, x->m));
    if (!x->a->lowest)
        return sees;
    rlx_ir_value *next =
        rlx_lir_build_cast(x->b, plus(x, x->page_at, at(x, x->a->positions)), RLX_I32);
    return map2(x, RLX_FN_AND, sees, map2(x, RLX_FN_LT, load_1(x, x->from, r, x->m), next));
}

void attention_merge_sums(block *x, rlx_ir_value *r, rlx_ir_value *page_max, rlx_ir_value *page_sum,
                          attention_merge *out)
{
    rlx_ir_value *max = load_1(x, x->max, r, x->m), *sum = load_1(x, x->sum, r, x->m);
    rlx_ir_value *sees = tile_sees(x, r), *both = map2(x, RLX_FN_MAX, max, page_max);
    out->old = rlx_lir_build_map1(x->b, RLX_FN_EXP, map2(x, RLX_FN_SUB, max, both));
    out->fresh = rlx_lir_build_map1(x->b, RLX_FN_EXP, map2(x, RLX_FN_SUB, page_max, both));
    rlx_ir_value *next =
        plus(x, map2(x, RLX_FN_MUL, sum, out->old), map2(x, RLX_FN_MUL, page_sum, out->fresh));
    out->max = choose(x, sees, both, max);
    out->sum = choose(x, sees, next, sum);
}

static void merge_sums(block *x, rlx_ir_value *r)
{
    attention_merge by;
    attention_merge_sums(x, r, load_1(x, x->page_max, r, x->m), attention_page_sum(x, r), &by);
    rlx_lir_build_barrier(x->b);
    store_1(x, x->old, r, by.old);
    store_1(x, x->fresh, r, by.fresh);
    store_1(x, x->max, r, by.max);
    store_1(x, x->sum, r, by.sum);
}

static rlx_status page_weights(block *x)
{
    rlx_lir_scope tile, sees, row;
    rlx_ir_value *from = NULL, *to = NULL;
    RLX_TRY(begin_tiles(x, &tile, &sees, &from, &to));
    const columns c = columns_of(x, tile.index[0], from, to);
    RLX_TRY(begin_loop(x, tile.index[0], plus(x, tile.index[0], at(x, x->m)), attention_max_rows(x),
                       &row));
    RLX_TRY(row_max(x, row.index[0], &c));
    rlx_lir_end_for(x->b, &row, NULL);
    RLX_TRY(tile_exp(x, tile.index[0], c.from, c.to));
    merge_sums(x, tile.index[0]);
    rlx_lir_end_for(x->b, &sees, NULL);
    rlx_lir_end_for(x->b, &tile, NULL);
    rlx_lir_build_barrier(x->b);
    return rlx_ir_builder_finish(x->b);
}

/* ---- values ---- */

/* Positions j.. of the page, elements d0.. of their values, as they are multiplied: [step, n]. */
static rlx_status values_at(block *x, rlx_ir_value *j, int64_t step, rlx_ir_value *d0,
                            rlx_ir_value **v)
{
    attention *a = x->a;
    rlx_ir_value *scale = NULL;
    coord c[4] = {coord_of(x->page, 0, -1), coord_of(a->g, 0, -1), coord_of(j, a->positions, 0),
                  coord_of(d0, a->d, 1)};
    tile_space ts = {.rank = 2, .dim = {step, x->n}, .root = {j, d0}};
    ts.limit[1] = a->d % x->n == 0 ? NULL : at(x, a->d);
    RLX_TRY(attention_memory_tile(a, VALUES, c, &ts, v));
    if (a->value_scales < 0)
        return RLX_OK;
    static const int64_t axis = 0;
    rlx_ir_value *group = map2(x, RLX_FN_DIV, d0, at(x, RLX_KV_GROUP));
    c[3] = coord_of(group, a->d / RLX_KV_GROUP, -1);
    tile_space rows = {.rank = 1, .dim = {step}, .root = {j}};
    RLX_TRY(attention_memory_tile(a, a->value_scales, c, &rows, &scale));
    *v = map2(x, RLX_FN_MUL, *v, rlx_lir_build_broadcast(x->b, scale, 2, ts.dim, &axis));
    return rlx_ir_builder_finish(x->b);
}

/* Elements d0.. of the page's values to their panel. */
static rlx_status widen_some_values(block *x, rlx_ir_value *d0)
{
    const int64_t step = 8; /* a page has multiples of 16 */
    rlx_lir_scope loop;
    RLX_TRY(begin_loop(x, down(x, attention_in_page(x, x->begin), step),
                       attention_in_page(x, x->end), step, &loop));
    rlx_ir_value *j = loop.index[0], *v = NULL;
    RLX_TRY(values_at(x, j, step, d0, &v));
    store_panel(x, x->values, d0, j, at(x, 0), v);
    rlx_lir_end_for(x->b, &loop, NULL);
    return rlx_ir_builder_finish(x->b);
}

static rlx_status widen_values(block *x)
{
    rlx_lir_scope loop;
    RLX_TRY(begin_loop(x, at(x, 0), at(x, x->a->d), x->n, &loop));
    RLX_TRY(widen_some_values(x, loop.index[0]));
    rlx_lir_end_for(x->b, &loop, NULL);
    return rlx_ir_builder_finish(x->b);
}

/* acc + weights * values of so many positions from j on, ascending. */
static rlx_status add_product(block *x, const value_tile *t, rlx_ir_value *j, int64_t count,
                              rlx_ir_value *acc, rlx_ir_value **out)
{
    rlx_ir_value *p = load_2(x, x->scores, in_part(x, t->r), j, x->m, count), *v = NULL;
    if (x->team)
        RLX_TRY(values_at(x, j, count, t->d0, &v));
    else
        v = load_panel(x, x->values, t->d0, j, count);
    *out = rlx_lir_build_outer(x->b, acc, p, v);
    return rlx_ir_builder_finish(x->b);
}

/* The same of one position, by columns: where a register tile is. */
static rlx_ir_value *add_position(block *x, const value_tile *t, rlx_ir_value *j, rlx_ir_value *acc)
{
    static const int64_t axis = 0, column = 2;
    rlx_ir_value *index[2] = {in_part(x, t->r), j};
    rlx_ir_value *p = rlx_lir_build_load(x->b, x->scores, RLX_F32, 1, &x->m, index, &axis, NULL);
    rlx_ir_value *place[3] = {map2(x, RLX_FN_DIV, t->d0, at(x, x->n)), j, at(x, 0)};
    rlx_ir_value *v = rlx_lir_build_load(x->b, x->values, RLX_F32, 1, &x->n, place, &column, NULL);
    return rlx_lir_build_map3(x->b, RLX_FN_FMA, spread_rows(x, p), spread_columns(x, v), acc);
}

/* sum + weights * values at positions from .. to-1, of which every row sees its own. */
static rlx_status masked_values(block *x, const value_tile *t, rlx_ir_value *from, rlx_ir_value *to,
                                rlx_ir_value **sum)
{
    rlx_lir_scope loop;
    rlx_lir_begin_for(x->b, from, to, 1, 1, sum, &loop);
    if (x->b->status)
        return rlx_ir_builder_finish(x->b);
    rlx_ir_value *r = t->r, *j = loop.index[0], *next = NULL;
    if (x->team)
        RLX_TRY(add_product(x, t, j, 1, loop.carried[0], &next));
    else
        next = add_position(x, t, j, loop.carried[0]);
    rlx_ir_value *position = rlx_lir_build_cast(x->b, plus(x, x->page_at, j), RLX_I32);
    rlx_ir_value *sees = map2(x, RLX_FN_LT, position, load_1(x, x->to, r, x->m));
    if (x->a->lowest)
        sees = map2(x, RLX_FN_AND, sees, map2(x, RLX_FN_LE, load_1(x, x->from, r, x->m), position));
    next = choose(x, spread_rows(x, sees), next, loop.carried[0]);
    rlx_lir_end_for(x->b, &loop, &next);
    *sum = loop.result[0];
    return rlx_ir_builder_finish(x->b);
}

/* The same where every row sees all of it, by whole products. */
static rlx_status whole_values(block *x, const value_tile *t, rlx_ir_value *from, rlx_ir_value *to,
                               rlx_ir_value **sum)
{
    rlx_lir_scope loop;
    rlx_ir_value *next = NULL;
    rlx_lir_begin_for(x->b, from, to, TOGETHER, 1, sum, &loop);
    if (x->b->status)
        return rlx_ir_builder_finish(x->b);
    RLX_TRY(add_product(x, t, loop.index[0], TOGETHER, loop.carried[0], &next));
    rlx_lir_end_for(x->b, &loop, &next);
    *sum = loop.result[0];
    return rlx_ir_builder_finish(x->b);
}

rlx_status attention_weigh(block *x, const value_tile *t, rlx_ir_value *from, rlx_ir_value *to,
                           rlx_ir_value **sum)
{
    const int64_t dims[2] = {x->m, x->n};
    *sum = rlx_lir_build_fill(x->b, RLX_F32, 2, dims, 0.0);
    rlx_ir_value *all_from = up(x, bound_of(x, t->r, ALL_FROM), TOGETHER);
    rlx_ir_value *all_to = down(x, bound_of(x, t->r, ALL_TO), TOGETHER);
    if (x->a->lowest) {
        all_from = map2(x, RLX_FN_MIN, all_from, to);
        RLX_TRY(masked_values(x, t, from, all_from, sum));
    } else {
        all_from = at(x, 0);
    }
    all_to = map2(x, RLX_FN_MAX, all_to, all_from);
    RLX_TRY(whole_values(x, t, all_from, all_to, sum));
    return masked_values(x, t, all_to, to, sum);
}

rlx_ir_value *attention_merge_values(block *x, rlx_ir_value *r, const attention_merge *by,
                                     rlx_ir_value *acc, rlx_ir_value *sum)
{
    rlx_ir_value *next = plus(x, map2(x, RLX_FN_MUL, acc, spread_rows(x, by->old)),
                              map2(x, RLX_FN_MUL, sum, spread_rows(x, by->fresh)));
    return choose(x, spread_rows(x, tile_sees(x, r)), next, acc);
}

static void merge_values(block *x, rlx_ir_value *r, rlx_ir_value *d0, rlx_ir_value *sum)
{
    rlx_ir_value *acc = load_2(x, x->acc, r, d0, x->m, x->n);
    const attention_merge by = {.old = load_1(x, x->old, r, x->m),
                                .fresh = load_1(x, x->fresh, r, x->m)};
    acc = attention_merge_values(x, r, &by, acc, sum);
    rlx_lir_build_barrier(x->b);
    store_2(x, x->acc, r, d0, acc);
}

static rlx_status page_values(block *x)
{
    rlx_lir_scope loop, tile, sees;
    rlx_ir_value *from = NULL, *to = NULL, *sum = NULL;
    RLX_TRY(begin_loop(x, at(x, 0), at(x, x->a->d), x->n, &loop));
    RLX_TRY(begin_tiles(x, &tile, &sees, &from, &to));
    RLX_TRY(attention_weigh(x, &(value_tile){tile.index[0], loop.index[0]}, from, to, &sum));
    merge_values(x, tile.index[0], loop.index[0], sum);
    rlx_lir_end_for(x->b, &sees, NULL);
    rlx_lir_end_for(x->b, &tile, NULL);
    rlx_lir_end_for(x->b, &loop, NULL);
    rlx_lir_build_barrier(x->b);
    return rlx_ir_builder_finish(x->b);
}

/* ---- all of it ---- */

static rlx_status run_pages(block *x)
{
    const int64_t positions = x->a->positions;
    rlx_lir_scope loop, part;
    RLX_TRY(begin_loop(x, map2(x, RLX_FN_DIV, x->begin, at(x, positions)),
                       map2(x, RLX_FN_DIV, plus(x, x->end, at(x, positions - 1)), at(x, positions)),
                       1, &loop));
    x->page_at = times(x, loop.index[0], positions);
    RLX_TRY(attention_find_page(x->a, loop.index[0], &x->page));
    RLX_TRY(widen_keys(x));
    RLX_TRY(widen_values(x));
    rlx_lir_build_barrier(x->b);
    RLX_TRY(begin_loop(x, at(x, 0), x->count, x->a->s.part, &part));
    x->part = part.index[0];
    x->part_end = map2(x, RLX_FN_MIN, plus(x, x->part, at(x, x->a->s.part)), x->count);
    RLX_TRY(page_scores(x));
    RLX_TRY(page_weights(x));
    RLX_TRY(page_values(x));
    rlx_lir_end_for(x->b, &part, NULL);
    rlx_lir_end_for(x->b, &loop, NULL);
    return rlx_ir_builder_finish(x->b);
}

rlx_status attention_store_rows(block *x, rlx_ir_value *stop, const leaf *l)
{
    attention *a = x->a;
    rlx_lir_scope token, head, loop;
    RLX_TRY(begin_loop(x, x->first, stop, 1, &token));
    RLX_TRY(begin_loop(x, at(x, 0), at(x, x->heads), 1, &head));
    rlx_ir_value *row = times(x, map2(x, RLX_FN_SUB, token.index[0], x->first), x->heads);
    row = plus(x, row, head.index[0]);
    rlx_ir_value *sum = load_1(x, x->sum, row, 0);
    RLX_TRY(begin_loop(x, x->d0, x->d1, x->stored, &loop));
    rlx_ir_value *column = a->s.block ? map2(x, RLX_FN_SUB, loop.index[0], x->d0) : loop.index[0];
    rlx_ir_value *o = load_row(x, x->acc, row, column, x->stored);
    const coord c[2] = {coord_of(token.index[0], 0, -1),
                        coord_add(coord_of(a->h0, 0, -1), coord_of(head.index[0], x->heads, -1))};
    RLX_TRY(attention_store(a, l, c, loop.index[0], x->stored, map2(x, RLX_FN_DIV, o, sum)));
    rlx_lir_end_for(x->b, &loop, NULL);
    rlx_lir_end_for(x->b, &head, NULL);
    rlx_lir_end_for(x->b, &token, NULL);
    rlx_lir_build_barrier(x->b);
    return rlx_ir_builder_finish(x->b);
}

/* The run that begins with token x->first, at most up to token `end`. */
static rlx_status emit_run(block *x, rlx_ir_value *end, const leaf *l)
{
    rlx_ir_value *stop = NULL;
    RLX_TRY(find_run(x, end, &stop));
    x->count = times(x, map2(x, RLX_FN_SUB, stop, x->first), x->heads);
    RLX_TRY(begin_rows(x, stop));
    rlx_lir_build_barrier(x->b);
    RLX_TRY(fill_last_tile(x));
    rlx_lir_build_barrier(x->b);
    if (x->a->s.block)
        return attention_by_unit(x, stop, l);
    RLX_TRY(find_bounds(x));
    rlx_lir_build_barrier(x->b);
    RLX_TRY(x->team ? attention_team_pages(x) : run_pages(x));
    return attention_store_rows(x, stop, l);
}

/* Whether a run begins with token t: the block's first one, or of another sequence than the one
 * before. Sets the sequence. */
static rlx_status begins_run(block *x, rlx_ir_value *t, rlx_ir_value *first, rlx_ir_value **begins)
{
    attention *a = x->a;
    const tile_space none = {0};
    rlx_ir_value *before = map2(x, RLX_FN_MAX, map2(x, RLX_FN_SUB, t, at(x, 1)), first),
                 *other = NULL;
    const coord here = coord_of(t, 0, -1), there = coord_of(before, 0, -1);
    RLX_TRY(tile_at(x->k, a->node->in[4], &here, &none, &a->seq));
    RLX_TRY(tile_at(x->k, a->node->in[4], &there, &none, &other));
    rlx_ir_value *same = map2(x, RLX_FN_EQ, a->seq, other);
    same = map2(x, RLX_FN_AND, same, map2(x, RLX_FN_LT, first, t));
    rlx_ir_value *never = rlx_lir_build_fill_int(x->b, RLX_BOOL, 0, NULL, 0);
    *begins = map2(x, RLX_FN_EQ, same, never);
    a->seq = rlx_lir_build_cast(x->b, a->seq, RLX_I64);
    return rlx_ir_builder_finish(x->b);
}

static rlx_ir_value *memory(block *x, rlx_format f, int rank, int64_t m, int64_t n)
{
    const int64_t dims[2] = {m, n};
    return rlx_lir_build_alloc(&x->k->top, f, rank, dims);
}

static rlx_status take_memory(block *x)
{
    const attention *a = x->a;
    rlx_ir_value **vectors[] = {&x->max, &x->sum, &x->page_max, &x->old, &x->fresh};
    const size_t nvectors = x->team ? 2 : sizeof vectors / sizeof *vectors;
    x->q = memory(x, RLX_F32, 2, x->rows, a->d);
    x->scores = memory(x, RLX_F32, 2, x->team ? x->rows : a->s.part, a->positions);
    for (size_t i = 0; i < nvectors; i++)
        *vectors[i] = memory(x, RLX_F32, 1, x->rows, 0);
    x->from = memory(x, RLX_I32, 1, x->rows, 0);
    x->to = memory(x, RLX_I32, 1, x->rows, 0);
    x->bounds = memory(x, RLX_I32, 2, x->rows / x->m, BOUNDS);
    x->acc = x->q; /* of a team: at the end */
    if (x->team)
        return x->k->top.status ? rlx_ir_builder_finish(&x->k->top) : RLX_OK;
    x->acc = memory(x, RLX_F32, 2, x->rows, x->padded);
    x->sums = memory(x, RLX_F32, 2, x->rows, LANES);
    const int64_t keys[3] = {a->positions / x->n, a->d, x->n};
    const int64_t values[3] = {x->padded / x->n, a->positions, x->n};
    x->keys = rlx_lir_build_alloc(&x->k->top, RLX_F32, 3, keys);
    x->values = rlx_lir_build_alloc(&x->k->top, RLX_F32, 3, values);
    return x->k->top.status ? rlx_ir_builder_finish(&x->k->top) : RLX_OK;
}

/* Blocks in turn from the front and from the back: those behind see more, and a thread takes
 * neighbours. */
static rlx_ir_value *block_of(block *x, rlx_ir_value *i, rlx_ir_value *blocks)
{
    rlx_ir_value *half = map2(x, RLX_FN_DIV, i, at(x, 2));
    rlx_ir_value *last = map2(x, RLX_FN_SUB, blocks, at(x, 1));
    rlx_ir_value *even = map2(x, RLX_FN_EQ, times(x, half, 2), i);
    return choose(x, even, half, map2(x, RLX_FN_SUB, last, half));
}

rlx_status lower_attention_block(attention *a, const leaf *l)
{
    const rlx_ir_type *q = &a->node->in[0]->type;
    block x = {.a = a, .k = a->k, .b = a->b, .m = a->s.m, .n = a->s.n, .heads = a->ratio};
    x.copied = step_of(a->d);
    x.stored = x.n;
    x.share = a->d;
    x.team = a->k->options->target->unit == RLX_UNIT_GPU;
    if (x.team) {
        x.heads = a->s.rows;
        x.copied = x.stored = a->s.width;
        x.share = a->s.block ? a->s.share : attention_team_share(a);
    }
    const int64_t parts = a->ratio / x.heads; /* that a kv head's queries go in */
    x.rows = (a->s.tokens * x.heads + x.m - 1) / x.m * x.m;
    x.padded = (a->d + x.n - 1) / x.n * x.n;
    RLX_TRY(a->s.block ? attention_take_unit_memory(&x) : take_memory(&x));
    rlx_ir_value *tokens = k_extent(a->k, q->dim[0]);
    rlx_ir_value *blocks =
        k_extent(a->k, rlx_dim_make(a->k->dims, RLX_DIM_CEILDIV, q->dim[0], a->s.tokens));
    rlx_ir_value *extents[2] = {k_const(a->k, q->dim[1] / x.heads * (a->d / x.share)), blocks};
    rlx_lir_scope grid, token, begins;
    k_begin_grid(a->k, 2, extents, &grid);
    if (a->b->status)
        return rlx_ir_builder_finish(a->b);
    rlx_ir_value *i = attention_take_share(&x, grid.index[0]);
    a->h0 = times(&x, i, x.heads);
    a->g = parts == 1 ? i : map2(&x, RLX_FN_DIV, i, at(&x, parts));
    rlx_ir_value *first = times(&x, block_of(&x, grid.index[1], blocks), a->s.tokens);
    rlx_ir_value *end = map2(&x, RLX_FN_MIN, plus(&x, first, at(&x, a->s.tokens)), tokens),
                 *when = NULL;
    RLX_TRY(begin_loop(&x, first, end, 1, &token));
    x.first = token.index[0];
    RLX_TRY(begins_run(&x, x.first, first, &when));
    RLX_TRY(begin_when(&x, when, &begins));
    RLX_TRY(emit_run(&x, end, l));
    rlx_lir_end_for(a->b, &begins, NULL);
    rlx_lir_end_for(a->b, &token, NULL);
    rlx_lir_end_grid(a->b, &grid);
    return rlx_ir_builder_finish(a->b);
}
