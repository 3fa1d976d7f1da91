/* mir/lower/lower_attention_pages.c: attention over KV pages by a GPU's team.
 *
 * An instance is some query heads of one kv head and a few tokens, whose heads are its rows: one tile
 * of them. Runs, bounds, chains and merging are those of lower_attention_block.c; for a page
 *
 *   for columns of N keys { scores = queries * keys -> team memory }
 *   maxima; scores <- exp(scores - maxima); sums; merge them
 *   for columns of values { sum = weights * values; acc <- merged with it }
 *
 * Keys lie as invocations want them, positions side by side: each reads its own from memory, once for
 * all rows. Queries and scores wait in team memory, sums of values in registers; codes are widened
 * where they are read. Where there are more tiles of values than a loop carries, instances share them
 * and make the scores again. */
#include <math.h>

#include "mir/lower/lower_attention_block.h"

/* Columns of values whose sums are a tile: those of codes share their scale. */
static int64_t values_width(const attention *a)
{
    return a->value_scales >= 0 ? RLX_KV_GROUP : a->d;
}

int64_t attention_team_share(const attention *a)
{
    const int64_t tiles = a->d / values_width(a);
    int64_t n = tiles < RLX_LIR_MAX_CARRIED ? tiles : RLX_LIR_MAX_CARRIED;
    while (tiles % n != 0)
        n--;
    return n * values_width(a);
}

rlx_status attention_key_scales(block *x, rlx_ir_value *d, int64_t step, rlx_ir_value *j,
                                rlx_ir_value **out)
{
    static const int64_t axis = 1;
    const attention *a = x->a;
    const int64_t dims[2] = {step, x->n};
    const coord c[4] = {
        coord_of(x->page, 0, -1), coord_of(a->g, 0, -1),
        coord_of(map2(x, RLX_FN_DIV, d, at(x, RLX_KV_GROUP)), a->d / RLX_KV_GROUP, -1),
        coord_of(j, a->positions, 0)};
    const tile_space columns = {.rank = 1, .dim = {x->n}, .root = {j}};
    RLX_TRY(attention_memory_tile(x->a, a->key_scales, c, &columns, out));
    *out = rlx_lir_build_broadcast(x->b, *out, 2, dims, &axis);
    return rlx_ir_builder_finish(x->b);
}

rlx_ir_value *attention_take_share(block *x, rlx_ir_value *i)
{
    const int64_t shares = x->a->d / x->share;
    x->d0 = at(x, 0);
    x->d1 = at(x, x->share);
    if (shares == 1)
        return i;
    x->d0 = times(x, map2(x, RLX_FN_MOD, i, at(x, shares)), x->share);
    x->d1 = plus(x, x->d0, x->d1);
    return map2(x, RLX_FN_DIV, i, at(x, shares));
}

/* Tile i of the instance's: its first element. */
static rlx_ir_value *element_of(block *x, int i)
{
    rlx_ir_value *d = at(x, i * values_width(x->a));
    return x->share == x->a->d ? d : plus(x, x->d0, d);
}

static rlx_status multiply(block *x, rlx_ir_value *j, rlx_ir_value **s)
{
    const int64_t dims[2] = {x->m, x->n}, piece = x->a->s.keys;
    rlx_ir_value *zero = rlx_lir_build_fill(x->b, RLX_F32, 2, dims, 0), *keys = NULL;
    rlx_lir_scope loop;
    rlx_lir_begin_for(x->b, at(x, 0), at(x, x->a->d), piece, 1, &zero, &loop);
    if (x->b->status)
        return rlx_ir_builder_finish(x->b);
    rlx_ir_value *q = load_2(x, x->q, at(x, 0), loop.index[0], x->m, piece);
    RLX_TRY(attention_key_tile(x, loop.index[0], piece, j, &keys));
    rlx_ir_value *next = rlx_lir_build_outer(x->b, loop.carried[0], q, keys);
    rlx_lir_end_for(x->b, &loop, &next);
    *s = loop.result[0];
    return rlx_ir_builder_finish(x->b);
}

rlx_ir_value *attention_hide(block *x, rlx_ir_value *j, rlx_ir_value *s)
{
    const int64_t dims[2] = {x->m, x->n};
    rlx_ir_value *r = at(x, 0), *first = rlx_lir_build_cast(x->b, plus(x, x->page_at, j), RLX_I32);
    rlx_ir_value *position = plus(x, rlx_lir_build_iota(x->b, RLX_I32, 2, dims), first);
    rlx_ir_value *none = rlx_lir_build_const_f32(x->b, -INFINITY);
    s = choose(x, map2(x, RLX_FN_LT, position, spread_rows(x, load_1(x, x->to, r, x->m))), s, none);
    if (!x->a->lowest)
        return s;
    rlx_ir_value *from = spread_rows(x, load_1(x, x->from, r, x->m));
    return choose(x, map2(x, RLX_FN_LE, from, position), s, none);
}

/* Columns that some row sees: all from .. to-1, of whole tiles. */
typedef struct columns {
    rlx_ir_value *from, *to;
} columns;

static columns whole_tiles(block *x, const columns *seen, int64_t width)
{
    return (columns){down(x, seen->from, width), up(x, seen->to, width)};
}

static rlx_status page_scores(block *x, const columns *c)
{
    rlx_lir_scope loop;
    rlx_ir_value *s = NULL;
    rlx_lir_build_barrier(x->b); /* the weights before were read */
    RLX_TRY(begin_loop(x, c->from, c->to, x->n, &loop));
    RLX_TRY(multiply(x, loop.index[0], &s));
    s = attention_hide(x, loop.index[0], attention_score(x->a, s));
    store_2(x, x->scores, at(x, 0), loop.index[0], s);
    rlx_lir_end_for(x->b, &loop, NULL);
    rlx_lir_build_barrier(x->b);
    return rlx_ir_builder_finish(x->b);
}

static rlx_status page_weights(block *x, const columns *tiles, const columns *lanes,
                               attention_merge *by)
{
    rlx_ir_value *max = NULL, *sum = NULL;
    RLX_TRY(attention_team_fold(x, RLX_FN_MAX, -INFINITY, lanes->from, lanes->to, &max));
    RLX_TRY(attention_team_exp(x, max, tiles->from, tiles->to));
    RLX_TRY(attention_team_fold(x, RLX_FN_ADD, 0, lanes->from, lanes->to, &sum));
    attention_merge_sums(x, at(x, 0), max, sum, by);
    rlx_lir_build_barrier(x->b);
    store_1(x, x->max, at(x, 0), by->max);
    store_1(x, x->sum, at(x, 0), by->sum);
    rlx_lir_build_barrier(x->b);
    return rlx_ir_builder_finish(x->b);
}

/* The page that x->page_at begins, with what its sums of values are merged to. */
static rlx_status attend_page(block *x, rlx_ir_value *const *acc, rlx_ir_value **next, int n)
{
    const columns seen = {attention_in_page(x, x->begin), attention_in_page(x, x->end)};
    const columns tiles = whole_tiles(x, &seen, x->n), lanes = whole_tiles(x, &seen, LANES);
    attention_merge by;
    RLX_TRY(page_scores(x, &tiles));
    RLX_TRY(page_weights(x, &tiles, &lanes, &by));
    block values = *x; /* tiles as wide as values are */
    values.n = values_width(x->a);
    for (int i = 0; i < n; i++) {
        rlx_ir_value *sum = NULL;
        const value_tile t = {at(x, 0), element_of(x, i)};
        RLX_TRY(attention_weigh(&values, &t, seen.from, seen.to, &sum));
        next[i] = attention_merge_values(&values, at(x, 0), &by, acc[i], sum);
    }
    return rlx_ir_builder_finish(x->b);
}

rlx_status attention_team_pages(block *x)
{
    const int64_t positions = x->a->positions, dims[2] = {x->m, values_width(x->a)};
    const int n = (int)(x->share / dims[1]);
    rlx_ir_value *acc[RLX_LIR_MAX_CARRIED], *next[RLX_LIR_MAX_CARRIED];
    rlx_lir_scope loop;
    for (int i = 0; i < n; i++)
        acc[i] = rlx_lir_build_fill(x->b, RLX_F32, 2, dims, 0);
    x->part = at(x, 0);
    rlx_lir_begin_for(x->b, map2(x, RLX_FN_DIV, x->begin, at(x, positions)),
                      map2(x, RLX_FN_DIV, plus(x, x->end, at(x, positions - 1)), at(x, positions)),
                      1, n, acc, &loop);
    if (x->b->status)
        return rlx_ir_builder_finish(x->b);
    x->page_at = times(x, loop.index[0], positions);
    RLX_TRY(attention_find_page(x->a, loop.index[0], &x->page));
    RLX_TRY(attend_page(x, loop.carried, next, n));
    rlx_lir_end_for(x->b, &loop, next);
    rlx_lir_build_barrier(x->b); /* queries were read */
    for (int i = 0; i < n; i++)
        store_2(x, x->acc, at(x, 0), element_of(x, i), loop.result[i]);
    rlx_lir_build_barrier(x->b);
    return rlx_ir_builder_finish(x->b);
}
