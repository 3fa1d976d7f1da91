/* mir/lower/lower_attention_unit.c: attention over KV pages by a GPU's matrix unit, where the op has a width.
 *
 * An instance is as many rows as the team's subgroups have fragments of: the query heads of a kv head, of some
 * tokens. Runs and bounds are those of lower_attention_block.c; for the blocks of a page's positions
 *
 *   scores = queries * keys; maxima; p = exp(scores - maxima); sums
 *   acc <- acc * what the maxima before want, + p * values
 *
 * A subgroup has whole rows, so that scores, weights and sums stay in registers from the one product to the next;
 * queries wait in team memory, rounded. Keys [D,P] and values [P,D] both lie along what is not summed up over:
 * contract_rows takes them so. Values behind the last position are zeros; scores there are hidden. */
#include <math.h>

#include "mir/lower/lower_attention_block.h"

enum { MAXIMA, SUMS, ACC }; /* carried */

rlx_ir_value *attention_held(block *x, rlx_format f, rlx_ir_value *v)
{
    static const double most = 65504;
    if (f != RLX_F16)
        return v;
    v = map2(x, RLX_FN_MIN, rlx_lir_build_const_f32(x->b, most), v);
    return map2(x, RLX_FN_MAX, rlx_lir_build_const_f32(x->b, -most), v);
}

/* ---- operands ---- */

/* Of a pool: as it lies, or as numbers out of codes. */
static rlx_status pool_tile(block *x, int pool, const coord *c, const tile_space *ts,
                            rlx_ir_value **out)
{
    const rlx_ir_value *v = x->a->node->in[pool];
    const rlx_format f = rlx_mir_attention_halves(x->a->node, pool == KEYS);
    if (v->type.format == f)
        return tile_load(x->k, bound(v)->lir, f, c, ts, out);
    return attention_memory_tile(x->a, pool, c, ts, out);
}

static rlx_ir_value *round_codes(block *x, int pool, rlx_ir_value *codes, rlx_ir_value *scales)
{
    const rlx_format f = rlx_mir_attention_halves(x->a->node, pool == KEYS);
    rlx_ir_value *v = map2(x, RLX_FN_MUL, codes, scales);
    return rlx_lir_build_cast(x->b, attention_held(x, f, v), f);
}

/* Elements d.. of the keys of a block: [piece, n]. */
static rlx_status keys_at(block *x, rlx_ir_value *d, rlx_ir_value *j, rlx_ir_value **out)
{
    attention *a = x->a;
    coord c[4] = {coord_of(x->page, 0, -1), coord_of(a->g, 0, -1), coord_of(d, a->d, 0),
                  coord_of(j, a->positions, 1)};
    const tile_space ts = {.rank = 2, .dim = {a->s.keys, x->n}, .root = {d, j}};
    rlx_ir_value *scale = NULL;
    RLX_TRY(pool_tile(x, KEYS, c, &ts, out));
    if (a->key_scales < 0)
        return RLX_OK;
    RLX_TRY(attention_key_scales(x, d, a->s.keys, j, &scale));
    *out = round_codes(x, KEYS, *out, scale);
    return rlx_ir_builder_finish(x->b);
}

/* Elements d0.. of a block's values, zeros behind the run's last position: [block, n]. */
static rlx_status values_at(block *x, rlx_ir_value *j, rlx_ir_value *d0, rlx_ir_value **out)
{
    static const int64_t axis = 0;
    attention *a = x->a;
    rlx_ir_value *end = attention_in_page(x, x->end), *scale = NULL;
    coord c[4] = {coord_of(x->page, 0, -1), coord_of(a->g, 0, -1), coord_of(j, a->positions, 0),
                  coord_of(d0, a->d, 1)};
    const tile_space ts = {.rank = 2, .dim = {a->s.block, x->n}, .root = {j, d0}, .limit = {end}};
    RLX_TRY(pool_tile(x, VALUES, c, &ts, out));
    if (a->value_scales < 0)
        return RLX_OK;
    c[3] = coord_of(map2(x, RLX_FN_DIV, d0, at(x, RLX_KV_GROUP)), a->d / RLX_KV_GROUP, -1);
    const tile_space rows = {.rank = 1, .dim = {a->s.block}, .root = {j}, .limit = {end}};
    RLX_TRY(attention_memory_tile(a, a->value_scales, c, &rows, &scale));
    scale = rlx_lir_build_broadcast(x->b, scale, 2, ts.dim, &axis);
    *out = round_codes(x, VALUES, *out, scale);
    return rlx_ir_builder_finish(x->b);
}

/* ---- a block ---- */

static rlx_status multiply(block *x, rlx_ir_value *j, rlx_ir_value **s)
{
    static const int64_t axes[2] = {0, 1};
    const int64_t dims[2] = {x->m, x->n}, piece[2] = {x->m, x->a->s.keys};
    rlx_ir_value *zero = rlx_lir_build_fill(x->b, RLX_F32, 2, dims, 0), *keys = NULL;
    rlx_lir_scope loop;
    rlx_lir_begin_for(x->b, at(x, 0), at(x, x->a->d), piece[1], 1, &zero, &loop);
    if (x->b->status)
        return rlx_ir_builder_finish(x->b);
    rlx_ir_value *index[2] = {at(x, 0), loop.index[0]};
    rlx_ir_value *q =
        rlx_lir_build_load(x->b, x->q, x->q->type.format, 2, piece, index, axes, NULL);
    RLX_TRY(keys_at(x, loop.index[0], j, &keys));
    rlx_ir_value *next =
        rlx_lir_build_contract_columns(x->b, x->a->unit_width, loop.carried[0], q, keys);
    rlx_lir_end_for(x->b, &loop, &next);
    *s = loop.result[0];
    return rlx_ir_builder_finish(x->b);
}

/* Which rows see some of the block at j: what the others have stays. */
static rlx_ir_value *rows_see(block *x, rlx_ir_value *j)
{
    rlx_ir_value *first = plus(x, x->page_at, j), *next = plus(x, first, at(x, x->n));
    rlx_ir_value *sees = map2(x, RLX_FN_LT, rlx_lir_build_cast(x->b, first, RLX_I32),
                              load_1(x, x->to, at(x, 0), x->m));
    if (!x->a->lowest)
        return sees;
    return map2(x, RLX_FN_AND, sees,
                map2(x, RLX_FN_LT, load_1(x, x->from, at(x, 0), x->m),
                     rlx_lir_build_cast(x->b, next, RLX_I32)));
}

/* What is carried, with the block at j of x->page. */
static rlx_status attend_block(block *x, rlx_ir_value *j, rlx_ir_value *const *row,
                               rlx_ir_value **next, int tiles)
{
    attention *a = x->a;
    const rlx_format f = rlx_mir_attention_halves(a->node, false);
    rlx_ir_value *s = NULL, *v = NULL, *sees = rows_see(x, j);
    RLX_TRY(multiply(x, j, &s));
    s = attention_hide(x, j, attention_score(a, s));
    rlx_ir_value *max = map2(x, RLX_FN_MAX, row[MAXIMA], rlx_lir_build_reduce(x->b, RLX_FN_MAX, s));
    rlx_ir_value *old = map2(x, RLX_FN_SUB, row[MAXIMA], max);
    old = rlx_lir_build_map1(x->b, RLX_FN_EXP, old);
    rlx_ir_value *p = map2(x, RLX_FN_SUB, s, spread_rows(x, max));
    p = rlx_lir_build_cast(x->b, rlx_lir_build_map1(x->b, RLX_FN_EXP, p), f);
    rlx_ir_value *sum =
        rlx_lir_build_reduce(x->b, RLX_FN_ADD, rlx_lir_build_cast(x->b, p, RLX_F32));
    sum = plus(x, map2(x, RLX_FN_MUL, row[SUMS], old), sum);
    next[MAXIMA] = choose(x, sees, max, row[MAXIMA]);
    next[SUMS] = choose(x, sees, sum, row[SUMS]);
    block values = *x; /* tiles as wide as values are */
    values.n = a->s.n;
    for (int i = 0; i < tiles; i++) {
        rlx_ir_value *acc = row[ACC + i], *d0 = plus(x, x->d0, at(x, i * values.n));
        RLX_TRY(values_at(&values, j, d0, &v));
        rlx_ir_value *with = map2(x, RLX_FN_MUL, acc, spread_rows(&values, old));
        with = rlx_lir_build_contract_columns(x->b, a->unit_width, with, p, v);
        next[ACC + i] = choose(x, spread_rows(&values, sees), with, acc);
    }
    return rlx_ir_builder_finish(x->b);
}

/* ---- all of them ---- */

static rlx_status attend_page(block *x, rlx_ir_value *const *row, rlx_ir_value **next, int tiles)
{
    rlx_lir_scope loop;
    rlx_ir_value *in[RLX_LIR_MAX_CARRIED];
    rlx_lir_begin_for(x->b, down(x, attention_in_page(x, x->begin), x->n),
                      attention_in_page(x, x->end), x->n, ACC + tiles, (rlx_ir_value **)row, &loop);
    if (x->b->status)
        return rlx_ir_builder_finish(x->b);
    RLX_TRY(attend_block(x, loop.index[0], loop.carried, in, tiles));
    rlx_lir_end_for(x->b, &loop, in);
    for (int i = 0; i < ACC + tiles; i++)
        next[i] = loop.result[i];
    return rlx_ir_builder_finish(x->b);
}

/* acc: the sums of values, tiles of n elements. */
static rlx_status all_pages(block *x, rlx_ir_value **acc)
{
    const int64_t positions = x->a->positions, dims[2] = {x->m, x->a->s.n};
    const int tiles = (int)(x->share / dims[1]);
    rlx_ir_value *row[RLX_LIR_MAX_CARRIED], *next[RLX_LIR_MAX_CARRIED];
    rlx_lir_scope loop;
    row[MAXIMA] = load_1(x, x->max, at(x, 0), x->m);
    row[SUMS] = load_1(x, x->sum, at(x, 0), x->m);
    for (int i = 0; i < tiles; i++)
        row[ACC + i] = rlx_lir_build_fill(x->b, RLX_F32, 2, dims, 0);
    x->n = x->a->s.block;
    rlx_lir_begin_for(x->b, map2(x, RLX_FN_DIV, x->begin, at(x, positions)),
                      map2(x, RLX_FN_DIV, plus(x, x->end, at(x, positions - 1)), at(x, positions)),
                      1, ACC + tiles, row, &loop);
    if (x->b->status)
        return rlx_ir_builder_finish(x->b);
    x->page_at = times(x, loop.index[0], positions);
    RLX_TRY(attention_find_page(x->a, loop.index[0], &x->page));
    RLX_TRY(attend_page(x, loop.carried, next, tiles));
    rlx_lir_end_for(x->b, &loop, next);
    rlx_lir_build_barrier(x->b); /* sums were read */
    store_1(x, x->sum, at(x, 0), loop.result[SUMS]);
    for (int i = 0; i < tiles; i++)
        acc[i] = loop.result[ACC + i];
    return rlx_ir_builder_finish(x->b);
}

rlx_status attention_by_unit(block *x, rlx_ir_value *stop, const leaf *l)
{
    rlx_ir_value *acc[RLX_LIR_MAX_CARRIED], *d0 = x->d0;
    const int64_t width = x->a->s.n;
    RLX_TRY(all_pages(x, acc));
    /* sums leave by team memory, tile by tile */
    for (int64_t i = 0; i < x->share / width; i++) {
        store_2(x, x->acc, at(x, 0), at(x, 0), acc[i]);
        rlx_lir_build_barrier(x->b);
        x->d0 = plus(x, d0, at(x, i * width));
        x->d1 = plus(x, x->d0, at(x, width));
        RLX_TRY(attention_store_rows(x, stop, l));
    }
    x->d0 = d0;
    return rlx_ir_builder_finish(x->b);
}

rlx_status attention_take_unit_memory(block *x)
{
    enum { PAD = 8 }; /* halves, so that eight rows lie in all banks */
    const attention *a = x->a;
    const int64_t queries[2] = {x->rows, a->d + PAD}, acc[2] = {x->rows, a->s.n};
    rlx_ir_builder *top = &x->k->top;
    x->q = rlx_lir_build_alloc(top, rlx_mir_attention_halves(a->node, true), 2, queries);
    x->acc = rlx_lir_build_alloc(top, RLX_F32, 2, acc);
    x->max = rlx_lir_build_alloc(top, RLX_F32, 1, &x->rows);
    x->sum = rlx_lir_build_alloc(top, RLX_F32, 1, &x->rows);
    x->from = rlx_lir_build_alloc(top, RLX_I32, 1, &x->rows);
    x->to = rlx_lir_build_alloc(top, RLX_I32, 1, &x->rows);
    return top->status ? rlx_ir_builder_finish(top) : RLX_OK;
}
