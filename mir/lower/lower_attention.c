/* mir/lower/lower_attention.c: attention over KV pages, token by token on CPUs.
 *
 * An instance is one kv head, some of its query heads (rows R), one token:
 *
 *   for page { scores -> team memory, their maximum; exp, sum; P*V; merge with the pages before }
 *
 * K pages are [D, positions], so that scores run along positions without a horizontal sum; V pages
 * are [positions, D]. A page's partial is made alone and merged in page order: the same bits
 * however the pages are spread. Score and value chains ascend over d and over positions, one fma
 * each. With a sliding window, pages that lie wholly behind it are not visited, and the first one
 * that is begins at its first seen position: the same bits as if the others had weight 0. A chunk
 * is a window that grows; a block ends behind the query, or with the step. Sinks are what the merging starts from. */
#include <math.h>

#include "mir/lower/lower_attention.h"

static rlx_ir_value *over_rows(attention *a, rlx_ir_value *x, const int64_t *dims)
{
    static const int64_t axis = 0;
    return rlx_lir_build_broadcast(a->b, x, 2, dims, &axis);
}

static rlx_ir_value *over_columns(attention *a, rlx_ir_value *x, const int64_t *dims)
{
    static const int64_t axis = 1;
    return rlx_lir_build_broadcast(a->b, x, 2, dims, &axis);
}

static rlx_ir_value *exp_difference(attention *a, rlx_ir_value *x, rlx_ir_value *y)
{
    return rlx_lir_build_map1(a->b, RLX_FN_EXP, rlx_lir_build_map2(a->b, RLX_FN_SUB, x, y));
}

/* A row-major team buffer's tile [row 0.., column c..). */
static rlx_ir_value *load_2d(attention *a, rlx_ir_value *buffer, const int64_t *dims,
                             rlx_ir_value *c)
{
    static const int64_t axes[2] = {0, 1};
    rlx_ir_value *index[2] = {k_const(a->k, 0), c};
    return rlx_lir_build_load(a->b, buffer, RLX_F32, 2, dims, index, axes, NULL);
}

static void store_2d(attention *a, rlx_ir_value *buffer, rlx_ir_value *tile, rlx_ir_value *c)
{
    static const int64_t axes[2] = {0, 1};
    rlx_ir_value *index[2] = {k_const(a->k, 0), c};
    rlx_lir_build_store(a->b, buffer, tile, index, axes, NULL);
}

rlx_status attention_memory_tile(attention *a, int operand, const coord *c, const tile_space *ts,
                                 rlx_ir_value **out)
{
    const rlx_ir_value *v = a->node->in[operand];
    rlx_format format = rlx_format_is_float(v->type.format) ? RLX_F32 : v->type.format;
    RLX_TRY(tile_load(a->k, bound(v)->lir, format, c, ts, out));
    *out = rlx_lir_build_cast(a->b, *out, RLX_F32);
    return *out ? RLX_OK : rlx_ir_builder_finish(a->b);
}

rlx_ir_value *attention_score(attention *a, rlx_ir_value *sum)
{
    const bool capped = a->softcap != 0;
    rlx_ir_value *scale = rlx_lir_build_const_f32(a->b, capped ? a->scale / a->softcap : a->scale);
    rlx_ir_value *s = rlx_lir_build_map2(a->b, RLX_FN_MUL, sum, scale);
    if (!capped)
        return s;
    rlx_ir_value *cap = rlx_lir_build_const_f32(a->b, a->softcap);
    return rlx_lir_build_map2(a->b, RLX_FN_MUL, rlx_lir_build_map1(a->b, RLX_FN_TANH, s), cap);
}

rlx_status attention_find_page(attention *a, rlx_ir_value *slot, rlx_ir_value **page)
{
    const tile_space none = {0};
    const coord at[2] = {coord_of(a->seq, 0, -1), coord_of(slot, 0, -1)};
    RLX_TRY(tile_at(a->k, a->node->in[5], at, &none, page));
    *page = rlx_lir_build_cast(a->b, *page, RLX_I64);
    return rlx_ir_builder_finish(a->b);
}

/* A tile of codes by the scale that all of it has, or each of its positions. */
static rlx_ir_value *scaled(attention *a, rlx_ir_value *codes, rlx_ir_value *scale)
{
    return scale ? rlx_lir_build_map2(a->b, RLX_FN_MUL, codes, scale) : codes;
}

/* Keys of a page: positions j0.. of the tile. */
typedef struct key_tile {
    rlx_ir_value *page, *j0;
    rlx_ir_value *scale; /* f32<keys>; NULL: the keys are no codes */
} key_tile;

/* Elements of a page of the pool, [rows, columns] of this kv head that lie in a row, from number
 * `first` on, `count` of them. Loops over a page's keys tell of its values so, line by line between
 * products, and loops over its values of the next page's keys: neither lies as it is read, and no
 * machine guesses it. Many lines at once would be waited for: a core has so many on their way.
 * An element goes by its number, as one of row 0. */
static rlx_status fetch_ahead(attention *a, int pool, rlx_ir_value *page, rlx_ir_value *first,
                              int64_t count)
{
    rlx_ir_value *index[4] = {page, a->g, k_const(a->k, 0), first};
    rlx_lir_build_prefetch(a->b, bound(a->node->in[pool])->lir, index, count);
    return rlx_ir_builder_finish(a->b);
}

/* The same of the pool's scales, if it has any, for so many of its elements. */
static rlx_status fetch_scales_ahead(attention *a, int scales, rlx_ir_value *page,
                                     rlx_ir_value *first, int64_t count)
{
    if (scales < 0)
        return RLX_OK;
    first = rlx_lir_build_map2(a->b, RLX_FN_DIV, first, k_const(a->k, RLX_KV_GROUP));
    return fetch_ahead(a, scales, page, first, count / RLX_KV_GROUP);
}

/* s[r, j] += q[r, d] * k[d, j0 + j] at one d. */
static rlx_status score_step(attention *a, const key_tile *t, rlx_ir_value *d, rlx_ir_value **s)
{
    rlx_ir_value *q, *keys;
    coord cq[3] = {coord_of(a->t, 0, -1), coord_of(a->h0, 0, 0), coord_of(d, a->d, -1)};
    tile_space rows = {.rank = 1, .dim = {a->s.rows}, .root = {a->h0}};
    RLX_TRY(tile_at(a->k, a->node->in[0], cq, &rows, &q));
    coord ck[4] = {coord_of(t->page, 0, -1), coord_of(a->g, 0, -1), coord_of(d, a->d, -1),
                   coord_of(t->j0, a->positions, 0)};
    tile_space columns = {.rank = 1, .dim = {a->s.keys}, .root = {t->j0}};
    RLX_TRY(attention_memory_tile(a, KEYS, ck, &columns, &keys));
    keys = over_columns(a, scaled(a, keys, t->scale), a->rows_positions);
    *s = rlx_lir_build_map3(a->b, RLX_FN_FMA, over_rows(a, q, a->rows_positions), keys, *s);
    return rlx_ir_builder_finish(a->b);
}

/* The same at d .. d + count-1, ascending, as one product. */
static rlx_status score_product(attention *a, const key_tile *t, rlx_ir_value *d, int64_t count,
                                rlx_ir_value **s)
{
    rlx_ir_value *q, *keys;
    coord cq[3] = {coord_of(a->t, 0, -1), coord_of(a->h0, 0, 0), coord_of(d, a->d, 1)};
    tile_space rows = {.rank = 2, .dim = {a->s.rows, count}, .root = {a->h0, d}};
    RLX_TRY(tile_at(a->k, a->node->in[0], cq, &rows, &q));
    coord ck[4] = {coord_of(t->page, 0, -1), coord_of(a->g, 0, -1), coord_of(d, a->d, 0),
                   coord_of(t->j0, a->positions, 1)};
    tile_space columns = {.rank = 2, .dim = {count, a->s.keys}, .root = {d, t->j0}};
    RLX_TRY(attention_memory_tile(a, KEYS, ck, &columns, &keys));
    *s = rlx_lir_build_outer(a->b, *s, q, keys);
    return rlx_ir_builder_finish(a->b);
}

/* Elements of floats are products of matrices; codes go one after another, a few in one round of a
 * loop, so that its addresses are worked out once for them. */
static bool is_product(const attention *a, int pool)
{
    return rlx_format_is_float(a->node->in[pool]->type.format);
}

static int64_t steps_of(int64_t count)
{
    enum { STEPS = 4 };
    return count % STEPS == 0 ? STEPS : 1;
}

/* Number of the value that is told of at element d of the tile's keys. */
static rlx_ir_value *value_ahead(attention *a, const key_tile *t, rlx_ir_value *d)
{
    return rlx_lir_build_map2(a->b, RLX_FN_ADD,
                              rlx_lir_build_map2(a->b, RLX_FN_MUL, t->j0, k_const(a->k, a->d)),
                              rlx_lir_build_map2(a->b, RLX_FN_MUL, d, k_const(a->k, a->s.keys)));
}

/* The same for d = from .. from + count-1. */
static rlx_status score_chain(attention *a, const key_tile *t, rlx_ir_value *from, int64_t count,
                              rlx_ir_value **s)
{
    const int64_t steps = steps_of(count);
    const bool product = is_product(a, KEYS);
    rlx_lir_scope loop;
    rlx_ir_value *to = rlx_lir_build_map2(a->b, RLX_FN_ADD, from, k_const(a->k, count));
    rlx_lir_begin_for(a->b, from, to, steps, 1, s, &loop);
    if (a->b->status)
        return rlx_ir_builder_finish(a->b);
    rlx_ir_value *d = loop.index[0], *next = loop.carried[0];
    RLX_TRY(fetch_ahead(a, VALUES, t->page, value_ahead(a, t, d), steps * a->s.keys));
    if (product)
        RLX_TRY(score_product(a, t, d, steps, &next));
    for (int64_t i = 0; i < steps && !product; i++)
        RLX_TRY(score_step(a, t, rlx_lir_build_map2(a->b, RLX_FN_ADD, d, k_const(a->k, i)), &next));
    rlx_lir_end_for(a->b, &loop, &next);
    *s = loop.result[0];
    return rlx_ir_builder_finish(a->b);
}

/* The same over a whole head, by groups of elements: those of codes share their scales. */
static rlx_status score_groups(attention *a, key_tile *t, rlx_ir_value **s)
{
    rlx_lir_scope loop;
    rlx_lir_begin_for(a->b, k_const(a->k, 0), k_const(a->k, a->d / RLX_KV_GROUP), 1, 1, s, &loop);
    if (a->b->status)
        return rlx_ir_builder_finish(a->b);
    rlx_ir_value *next = loop.carried[0];
    rlx_ir_value *from =
        rlx_lir_build_map2(a->b, RLX_FN_MUL, loop.index[0], k_const(a->k, RLX_KV_GROUP));
    RLX_TRY(fetch_scales_ahead(a, a->value_scales, t->page, value_ahead(a, t, from),
                               RLX_KV_GROUP * (int64_t)a->s.keys));
    if (a->key_scales >= 0) {
        coord c[4] = {coord_of(t->page, 0, -1), coord_of(a->g, 0, -1),
                      coord_of(loop.index[0], a->d / RLX_KV_GROUP, -1),
                      coord_of(t->j0, a->positions, 0)};
        tile_space columns = {.rank = 1, .dim = {a->s.keys}, .root = {t->j0}};
        RLX_TRY(attention_memory_tile(a, a->key_scales, c, &columns, &t->scale));
    }
    RLX_TRY(score_chain(a, t, from, RLX_KV_GROUP, &next));
    rlx_lir_end_for(a->b, &loop, &next);
    *s = loop.result[0];
    return rlx_ir_builder_finish(a->b);
}

/* s[r, j] = scale * sum_d q[r, d] * k[d, j0 + j], d ascending. */
static rlx_status score_tile(attention *a, rlx_ir_value *page, rlx_ir_value *j0, rlx_ir_value **out)
{
    key_tile t = {page, j0, NULL};
    rlx_ir_value *s = rlx_lir_build_fill(a->b, RLX_F32, 2, a->rows_positions, 0.0);
    if (a->d % RLX_KV_GROUP == 0)
        RLX_TRY(score_groups(a, &t, &s));
    else
        RLX_TRY(score_chain(a, &t, k_const(a->k, 0), a->d, &s));
    *out = attention_score(a, s);
    return rlx_ir_builder_finish(a->b);
}

/* The seen positions of a page. */
typedef struct span {
    rlx_ir_value *first, *live; /* i64: first .. live-1 */
} span;

/* A loop over a page's positions by tiles begins at the tile that holds the first one. */
static rlx_ir_value *tile_start(attention *a, rlx_ir_value *first, int64_t step)
{
    if (!a->lowest)
        return first;
    rlx_ir_value *size = k_const(a->k, step);
    return rlx_lir_build_map2(a->b, RLX_FN_MUL, rlx_lir_build_map2(a->b, RLX_FN_DIV, first, size),
                              size);
}

/* Of a tile of positions from j0, which are seen. */
static rlx_ir_value *seen_mask(attention *a, const span *p, rlx_ir_value *j0)
{
    rlx_ir_value *j = rlx_lir_build_iota(a->b, RLX_I32, 1, &a->rows_positions[1]);
    j = rlx_lir_build_map2(a->b, RLX_FN_ADD, j, rlx_lir_build_cast(a->b, j0, RLX_I32));
    rlx_ir_value *below =
        rlx_lir_build_map2(a->b, RLX_FN_LT, j, rlx_lir_build_cast(a->b, p->live, RLX_I32));
    if (!a->lowest)
        return below;
    rlx_ir_value *from =
        rlx_lir_build_map2(a->b, RLX_FN_LE, rlx_lir_build_cast(a->b, p->first, RLX_I32), j);
    return rlx_lir_build_map2(a->b, RLX_FN_AND, below, from);
}

/* Scores of the page's seen positions to team memory, -inf around them; the rows' maxima. */
static rlx_status page_scores(attention *a, rlx_ir_value *page, const span *p, rlx_ir_value **max)
{
    int64_t rows = a->s.rows, keys = a->s.keys;
    rlx_ir_value *lowest = rlx_lir_build_fill(a->b, RLX_F32, 1, &rows, -INFINITY);
    rlx_lir_scope loop;
    rlx_lir_begin_for(a->b, tile_start(a, p->first, keys), p->live, keys, 1, &lowest, &loop);
    if (a->b->status)
        return rlx_ir_builder_finish(a->b);
    rlx_ir_value *s = NULL;
    RLX_TRY(score_tile(a, page, loop.index[0], &s));
    rlx_ir_value *mask = over_columns(a, seen_mask(a, p, loop.index[0]), a->rows_positions);
    rlx_ir_value *none = rlx_lir_build_fill(a->b, RLX_F32, 2, a->rows_positions, -INFINITY);
    s = rlx_lir_build_map3(a->b, RLX_FN_SELECT, mask, s, none);
    store_2d(a, a->scores, s, loop.index[0]);
    rlx_ir_value *next = rlx_lir_build_map2(a->b, RLX_FN_MAX, loop.carried[0],
                                            rlx_lir_build_reduce(a->b, RLX_FN_MAX, s));
    rlx_lir_end_for(a->b, &loop, &next);
    rlx_lir_build_barrier(a->b);
    *max = loop.result[0];
    return rlx_ir_builder_finish(a->b);
}

/* scores <- exp(scores - max); their sum in 16 lanes. */
static rlx_status page_exp(attention *a, const span *seen, rlx_ir_value *max, rlx_ir_value **sum)
{
    rlx_ir_value *zero = rlx_lir_build_fill(a->b, RLX_F32, 2, a->rows_lanes, 0.0);
    rlx_lir_scope loop;
    rlx_lir_begin_for(a->b, tile_start(a, seen->first, a->rows_lanes[1]), seen->live,
                      a->rows_lanes[1], 1, &zero, &loop);
    if (a->b->status)
        return rlx_ir_builder_finish(a->b);
    rlx_ir_value *p = load_2d(a, a->scores, a->rows_lanes, loop.index[0]);
    p = exp_difference(a, p, over_rows(a, max, a->rows_lanes));
    rlx_lir_build_barrier(a->b);
    store_2d(a, a->scores, p, loop.index[0]);
    rlx_ir_value *next = rlx_lir_build_map2(a->b, RLX_FN_ADD, loop.carried[0], p);
    rlx_lir_end_for(a->b, &loop, &next);
    rlx_lir_build_barrier(a->b);
    *sum = rlx_lir_build_reduce(a->b, RLX_FN_ADD, loop.result[0]);
    return rlx_ir_builder_finish(a->b);
}

/* Where a tile of a head's elements ends; NULL: it is whole. */
static rlx_ir_value *width_limit(attention *a)
{
    return a->d % a->s.width == 0 ? NULL : k_const(a->k, a->d);
}

/* The scales of a page's values, which every tile of a head's elements takes one by one, to team
 * memory as f32. */
static rlx_status widen_scales(attention *a, rlx_ir_value *page, const span *seen)
{
    enum { SOME = 8 }; /* a page has multiples of 16 */
    const int64_t groups = a->d / RLX_KV_GROUP;
    rlx_ir_value *zero = k_const(a->k, 0), *scales = NULL;
    rlx_lir_scope loop;
    rlx_lir_begin_for(a->b, tile_start(a, seen->first, SOME), seen->live, SOME, 0, NULL, &loop);
    if (a->b->status)
        return rlx_ir_builder_finish(a->b);
    rlx_ir_value *j = loop.index[0], *index[2] = {j, zero};
    static const int64_t axes[2] = {0, 1};
    const coord c[4] = {coord_of(page, 0, -1), coord_of(a->g, 0, -1), coord_of(j, a->positions, 0),
                        coord_of(zero, groups, 1)};
    const tile_space ts = {.rank = 2, .dim = {SOME, groups}, .root = {j, zero}};
    RLX_TRY(attention_memory_tile(a, a->value_scales, c, &ts, &scales));
    rlx_lir_build_store(a->b, a->wide_scales, scales, index, axes, NULL);
    rlx_lir_end_for(a->b, &loop, NULL);
    rlx_lir_build_barrier(a->b);
    return rlx_ir_builder_finish(a->b);
}

/* A tile of values at position j, elements d0.. of a head, which share a scale if they are codes.
 */
static void scale_values(attention *a, rlx_ir_value *j, rlx_ir_value *d0, rlx_ir_value **v)
{
    if (a->value_scales < 0)
        return;
    rlx_ir_value *group = rlx_lir_build_map2(a->b, RLX_FN_DIV, d0, k_const(a->k, RLX_KV_GROUP));
    rlx_ir_value *index[2] = {j, group};
    rlx_ir_value *scale =
        rlx_lir_build_load(a->b, a->wide_scales, RLX_F32, 0, NULL, index, NULL, NULL);
    *v = scaled(a, *v, scale);
}

/* pv[r, d0 + i] += p[r, j] * v[j, d0 + i] at one j. */
static rlx_status value_step(attention *a, rlx_ir_value *page, rlx_ir_value *j, rlx_ir_value *d0,
                             rlx_ir_value **pv)
{
    static const int64_t axis = 0;
    const int64_t rows = a->s.rows;
    rlx_ir_value *index[2] = {k_const(a->k, 0), j}, *v;
    rlx_ir_value *p = rlx_lir_build_load(a->b, a->scores, RLX_F32, 1, &rows, index, &axis, NULL);
    coord cv[4] = {coord_of(page, 0, -1), coord_of(a->g, 0, -1), coord_of(j, a->positions, -1),
                   coord_of(d0, a->d, 0)};
    tile_space columns = {.rank = 1, .dim = {a->s.width}, .root = {d0}, .limit = {width_limit(a)}};
    RLX_TRY(attention_memory_tile(a, VALUES, cv, &columns, &v));
    scale_values(a, j, d0, &v);
    *pv = rlx_lir_build_map3(a->b, RLX_FN_FMA, over_rows(a, p, a->rows_width),
                             over_columns(a, v, a->rows_width), *pv);
    return rlx_ir_builder_finish(a->b);
}

/* The same at j .. j + count-1, ascending, as one product. */
static rlx_status value_product(attention *a, rlx_ir_value *page, rlx_ir_value *j, int64_t count,
                                rlx_ir_value *d0, rlx_ir_value **pv)
{
    const int64_t weights[2] = {a->s.rows, count};
    rlx_ir_value *p = load_2d(a, a->scores, weights, j), *v;
    coord cv[4] = {coord_of(page, 0, -1), coord_of(a->g, 0, -1), coord_of(j, a->positions, 0),
                   coord_of(d0, a->d, 1)};
    tile_space columns = {
        .rank = 2, .dim = {count, a->s.width}, .root = {j, d0}, .limit = {NULL, width_limit(a)}};
    RLX_TRY(attention_memory_tile(a, VALUES, cv, &columns, &v));
    *pv = rlx_lir_build_outer(a->b, *pv, p, v);
    return rlx_ir_builder_finish(a->b);
}

/* Number of the next page's key that is told of at position j of elements d0... */
static rlx_ir_value *key_ahead(attention *a, rlx_ir_value *j, rlx_ir_value *d0)
{
    return rlx_lir_build_map2(a->b, RLX_FN_ADD,
                              rlx_lir_build_map2(a->b, RLX_FN_MUL, d0, k_const(a->k, a->positions)),
                              rlx_lir_build_map2(a->b, RLX_FN_MUL, j, k_const(a->k, a->s.width)));
}

/* The same for j = from .. to-1, so many of them in one round. */
static rlx_status value_rounds(attention *a, rlx_ir_value *page, const span *of, int64_t together,
                               rlx_ir_value *d0, rlx_ir_value **pv)
{
    const bool product = together > 1 && is_product(a, VALUES);
    rlx_lir_scope loop;
    rlx_lir_begin_for(a->b, of->first, of->live, together, 1, pv, &loop);
    if (a->b->status)
        return rlx_ir_builder_finish(a->b);
    rlx_ir_value *j = loop.index[0], *next = loop.carried[0];
    if (together > 1)
        RLX_TRY(fetch_ahead(a, KEYS, a->next_page, key_ahead(a, j, d0), together * a->s.width));
    if (product)
        RLX_TRY(value_product(a, page, j, together, d0, &next));
    for (int64_t i = 0; i < together && !product; i++)
        RLX_TRY(value_step(a, page, rlx_lir_build_map2(a->b, RLX_FN_ADD, j, k_const(a->k, i)), d0,
                           &next));
    rlx_lir_end_for(a->b, &loop, &next);
    *pv = loop.result[0];
    return rlx_ir_builder_finish(a->b);
}

/* The same in whole rounds, then one by one. */
static rlx_status value_chain(attention *a, rlx_ir_value *page, const span *of, rlx_ir_value *d0,
                              rlx_ir_value **pv)
{
    enum { TOGETHER = 4 };
    rlx_ir_value *size = k_const(a->k, TOGETHER);
    rlx_ir_value *count = rlx_lir_build_map2(a->b, RLX_FN_SUB, of->live, of->first);
    rlx_ir_value *rounds = rlx_lir_build_map2(a->b, RLX_FN_DIV, count, size);
    rlx_ir_value *whole = rlx_lir_build_map2(a->b, RLX_FN_ADD, of->first,
                                             rlx_lir_build_map2(a->b, RLX_FN_MUL, rounds, size));
    RLX_TRY(value_rounds(a, page, &(span){of->first, whole}, TOGETHER, d0, pv));
    return value_rounds(a, page, &(span){whole, of->live}, 1, d0, pv);
}

/* The same of all seen positions, some at a time. */
static rlx_status value_tile(attention *a, rlx_ir_value *page, const span *seen, rlx_ir_value *d0,
                             rlx_ir_value **out)
{
    enum { SOME = 32 };
    rlx_ir_value *zero = rlx_lir_build_fill(a->b, RLX_F32, 2, a->rows_width, 0.0);
    rlx_lir_scope loop;
    rlx_lir_begin_for(a->b, seen->first, seen->live, SOME, 1, &zero, &loop);
    if (a->b->status)
        return rlx_ir_builder_finish(a->b);
    rlx_ir_value *end = rlx_lir_build_map2(a->b, RLX_FN_ADD, loop.index[0], k_const(a->k, SOME));
    const span some = {loop.index[0], rlx_lir_build_map2(a->b, RLX_FN_MIN, end, seen->live)};
    RLX_TRY(fetch_scales_ahead(a, a->key_scales, a->next_page, key_ahead(a, some.first, d0),
                               SOME * (int64_t)a->s.width));
    rlx_ir_value *next = loop.carried[0];
    RLX_TRY(value_chain(a, page, &some, d0, &next));
    rlx_lir_end_for(a->b, &loop, &next);
    *out = loop.result[0];
    return rlx_ir_builder_finish(a->b);
}

/* acc <- acc * old + pv * fresh, tile by tile of the head's elements. */
static rlx_status merge_values(attention *a, rlx_ir_value *page, const span *seen,
                               rlx_ir_value *old, rlx_ir_value *fresh)
{
    kernel_cx *k = a->k;
    rlx_lir_scope loop;
    if (a->wide_scales)
        RLX_TRY(widen_scales(a, page, seen));
    rlx_lir_begin_for(a->b, k_const(k, 0), k_const(k, a->d), a->s.width, 0, NULL, &loop);
    if (a->b->status)
        return rlx_ir_builder_finish(a->b);
    rlx_ir_value *d0 = loop.index[0], *pv = NULL;
    RLX_TRY(value_tile(a, page, seen, d0, &pv));
    rlx_ir_value *acc = load_2d(a, a->acc, a->rows_width, d0);
    acc = rlx_lir_build_map2(a->b, RLX_FN_MUL, acc, over_rows(a, old, a->rows_width));
    pv = rlx_lir_build_map2(a->b, RLX_FN_MUL, pv, over_rows(a, fresh, a->rows_width));
    rlx_lir_build_barrier(a->b); /* the tile was read whole before it is written */
    store_2d(a, a->acc, rlx_lir_build_map2(a->b, RLX_FN_ADD, acc, pv), d0);
    rlx_lir_end_for(a->b, &loop, NULL);
    rlx_lir_build_barrier(a->b);
    return rlx_ir_builder_finish(a->b);
}

/* The seen positions of page `slot` of the sequence. */
static span seen_in(attention *a, rlx_ir_value *slot)
{
    rlx_ir_value *size = k_const(a->k, a->positions), *zero = k_const(a->k, 0);
    rlx_ir_value *before = rlx_lir_build_map2(a->b, RLX_FN_MUL, slot, size);
    rlx_ir_value *live = rlx_lir_build_map2(a->b, RLX_FN_SUB, a->len, before);
    span s = {zero, rlx_lir_build_map2(a->b, RLX_FN_MIN, live, size)};
    if (a->lowest) {
        s.first = rlx_lir_build_map2(a->b, RLX_FN_SUB, a->lowest, before);
        s.first = rlx_lir_build_map2(a->b, RLX_FN_MAX, s.first, zero);
    }
    return s;
}

/* What the pages are merged with: maxima and sums of no keys, or of the sinks. */
static rlx_status first_sums(attention *a, rlx_ir_value *init[2])
{
    int64_t rows = a->s.rows;
    init[0] = NULL;
    if (a->sinks >= 0) {
        const coord c = coord_of(a->h0, 0, 0);
        tile_space ts = {.rank = 1, .dim = {rows}, .root = {a->h0}};
        RLX_TRY(tile_at(a->k, a->node->in[a->sinks], &c, &ts, &init[0]));
    } else {
        init[0] = rlx_lir_build_fill(a->b, RLX_F32, 1, &rows, -INFINITY);
    }
    init[1] = rlx_lir_build_fill(a->b, RLX_F32, 1, &rows, a->sinks >= 0 ? 1.0 : 0.0);
    return rlx_ir_builder_finish(a->b);
}

/* All pages in order; leaves acc in team memory, the sums of the weights in *sum. */
static rlx_status all_pages(attention *a, rlx_ir_value **sum)
{
    kernel_cx *k = a->k;
    rlx_ir_value *init[2];
    RLX_TRY(first_sums(a, init));
    rlx_ir_value *size = k_const(k, a->positions);
    rlx_ir_value *pages =
        rlx_lir_build_map2(a->b, RLX_FN_ADD, a->len, k_const(k, a->positions - 1));
    pages = rlx_lir_build_map2(a->b, RLX_FN_DIV, pages, size);
    rlx_lir_scope loop;
    rlx_ir_value *begin =
        a->lowest ? rlx_lir_build_map2(a->b, RLX_FN_DIV, a->lowest, size) : k_const(k, 0);
    rlx_lir_begin_for(a->b, begin, pages, 1, 2, init, &loop);
    if (a->b->status)
        return rlx_ir_builder_finish(a->b);
    rlx_ir_value *page = NULL, *max = NULL, *part = NULL;
    RLX_TRY(attention_find_page(a, loop.index[0], &page));
    rlx_ir_value *last = rlx_lir_build_map2(a->b, RLX_FN_SUB, pages, k_const(k, 1));
    rlx_ir_value *slot = rlx_lir_build_map2(a->b, RLX_FN_ADD, loop.index[0], k_const(k, 1));
    slot = rlx_lir_build_map2(a->b, RLX_FN_MIN, slot, last);
    RLX_TRY(attention_find_page(a, slot, &a->next_page));
    const span seen = seen_in(a, loop.index[0]);
    if (a->b->status)
        return rlx_ir_builder_finish(a->b);
    RLX_TRY(page_scores(a, page, &seen, &max));
    RLX_TRY(page_exp(a, &seen, max, &part));
    rlx_ir_value *next[2] = {rlx_lir_build_map2(a->b, RLX_FN_MAX, loop.carried[0], max)};
    rlx_ir_value *old = exp_difference(a, loop.carried[0], next[0]);
    rlx_ir_value *fresh = exp_difference(a, max, next[0]);
    next[1] = rlx_lir_build_map2(a->b, RLX_FN_ADD,
                                 rlx_lir_build_map2(a->b, RLX_FN_MUL, loop.carried[1], old),
                                 rlx_lir_build_map2(a->b, RLX_FN_MUL, part, fresh));
    RLX_TRY(merge_values(a, page, &seen, old, fresh));
    rlx_lir_end_for(a->b, &loop, next);
    *sum = loop.result[1];
    return rlx_ir_builder_finish(a->b);
}

static rlx_status clear_acc(attention *a)
{
    rlx_lir_scope loop;
    rlx_lir_begin_for(a->b, k_const(a->k, 0), k_const(a->k, a->d), a->s.width, 0, NULL, &loop);
    rlx_ir_value *zero = rlx_lir_build_fill(a->b, RLX_F32, 2, a->rows_width, 0.0);
    if (a->b->status)
        return rlx_ir_builder_finish(a->b);
    store_2d(a, a->acc, zero, loop.index[0]);
    rlx_lir_end_for(a->b, &loop, NULL);
    rlx_lir_build_barrier(a->b);
    return rlx_ir_builder_finish(a->b);
}

rlx_status attention_store(attention *a, const leaf *l, const coord *at, rlx_ir_value *d0,
                           int64_t width, rlx_ir_value *x)
{
    binding *b = k_bind(a->k, a->node->out[0], BIND_TILE, x);
    if (!b)
        return rlx_ir_builder_finish(a->b);
    const coord c[3] = {at[0], at[1], coord_of(d0, a->d, 0)};
    tile_space ts = {.rank = 1, .dim = {width}, .root = {d0}};
    ts.limit[0] = a->d % width == 0 ? NULL : k_const(a->k, a->d);
    copy_coords(c, 3, b->at);
    return sink_store(a->k, l, c, &ts);
}

/* o = acc / sum, row by row, to where the region's result goes. */
static rlx_status store_rows(attention *a, rlx_ir_value *sum, const leaf *l)
{
    kernel_cx *k = a->k;
    static const int64_t axis = 0, column = 1;
    rlx_ir_value *zero = k_const(k, 0);
    rlx_lir_build_store(a->b, a->sums, sum, &zero, &axis, NULL);
    rlx_lir_build_barrier(a->b);
    rlx_lir_scope row, loop;
    rlx_lir_begin_for(a->b, k_const(k, 0), k_const(k, a->s.rows), 1, 0, NULL, &row);
    if (a->b->status)
        return rlx_ir_builder_finish(a->b);
    rlx_ir_value *r = row.index[0];
    rlx_ir_value *divisor = rlx_lir_build_load(a->b, a->sums, RLX_F32, 0, NULL, &r, NULL, NULL);
    rlx_lir_begin_for(a->b, k_const(k, 0), k_const(k, a->d), a->s.width, 0, NULL, &loop);
    if (a->b->status)
        return rlx_ir_builder_finish(a->b);
    rlx_ir_value *d0 = loop.index[0], *index[2] = {r, d0};
    int64_t width = a->s.width;
    rlx_ir_value *o = rlx_lir_build_load(a->b, a->acc, RLX_F32, 1, &width, index, &column, NULL);
    o = rlx_lir_build_map2(a->b, RLX_FN_DIV, o, divisor);
    const coord at[2] = {coord_of(a->t, 0, -1),
                         coord_add(coord_of(a->h0, 0, -1), coord_of(r, a->s.rows, -1))};
    RLX_TRY(attention_store(a, l, at, d0, width, o));
    rlx_lir_end_for(a->b, &loop, NULL);
    rlx_lir_end_for(a->b, &row, NULL);
    return rlx_ir_builder_finish(a->b);
}

/* *length: one behind the last position that the step has of the query's sequence. What lies
 * behind it in the page was never written, or by another sequence. */
static rlx_status find_length(attention *a, rlx_ir_value *pos, rlx_ir_value **length)
{
    kernel_cx *k = a->k;
    const tile_space none = {0};
    rlx_lir_scope loop;
    rlx_lir_begin_for(a->b, k_const(k, 0), k_extent(k, a->node->in[0]->type.dim[0]), 1, 1, &pos,
                      &loop);
    if (a->b->status)
        return rlx_ir_builder_finish(a->b);
    const coord at = coord_of(loop.index[0], 0, -1);
    rlx_ir_value *other = NULL, *seq = NULL;
    RLX_TRY(tile_at(k, a->node->in[3], &at, &none, &other));
    RLX_TRY(tile_at(k, a->node->in[4], &at, &none, &seq));
    seq = rlx_lir_build_cast(a->b, seq, RLX_I64);
    rlx_ir_value *same = rlx_lir_build_map2(a->b, RLX_FN_EQ, seq, a->seq);
    rlx_ir_value *later = rlx_lir_build_map2(a->b, RLX_FN_MAX, loop.carried[0],
                                             rlx_lir_build_cast(a->b, other, RLX_I64));
    rlx_ir_value *next = rlx_lir_build_map3(a->b, RLX_FN_SELECT, same, later, loop.carried[0]);
    rlx_lir_end_for(a->b, &loop, &next);
    *length = rlx_lir_build_map2(a->b, RLX_FN_ADD, loop.result[0], k_const(k, 1));
    return rlx_ir_builder_finish(a->b);
}

/* Positions lowest .. len-1 are what the query at `pos` sees. */
rlx_status attention_find_seen(attention *a, rlx_ir_value *pos)
{
    kernel_cx *k = a->k;
    a->len = rlx_lir_build_map2(a->b, RLX_FN_ADD, pos, k_const(k, 1));
    if (a->window) {
        a->lowest = rlx_lir_build_map2(a->b, RLX_FN_SUB, a->len, k_const(k, a->window));
        a->lowest = rlx_lir_build_map2(a->b, RLX_FN_MAX, a->lowest, k_const(k, 0));
    }
    rlx_ir_value *size = a->chunk || a->block ? k_const(k, a->chunk ? a->chunk : a->block) : NULL;
    rlx_ir_value *before = NULL; /* of the chunk or block */
    if (size)
        before = rlx_lir_build_map2(a->b, RLX_FN_MUL,
                                    rlx_lir_build_map2(a->b, RLX_FN_DIV, pos, size), size);
    if (a->chunk)
        a->lowest = before;
    if (a->block) {
        RLX_TRY(find_length(a, pos, &a->len));
        rlx_ir_value *end = rlx_lir_build_map2(a->b, RLX_FN_ADD, before, size);
        a->len = rlx_lir_build_map2(a->b, RLX_FN_MIN, a->len, end);
    }
    return rlx_ir_builder_finish(a->b);
}

static rlx_status emit(attention *a, const leaf *l)
{
    kernel_cx *k = a->k;
    const rlx_ir_type *q = &a->node->in[0]->type;
    int64_t groups = a->ratio / a->s.rows, kv_heads = q->dim[1] / a->ratio;
    rlx_ir_value *extents[3] = {k_const(k, kv_heads), k_const(k, groups), k_extent(k, q->dim[0])};
    int64_t width = (a->d + a->s.width - 1) / a->s.width * a->s.width;
    int64_t scores[2] = {a->s.rows, a->positions}, acc[2] = {a->s.rows, width}, rows = a->s.rows;
    const int64_t scales[2] = {a->positions, a->d / RLX_KV_GROUP};
    a->scores = rlx_lir_build_alloc(&k->top, RLX_F32, 2, scores);
    a->acc = rlx_lir_build_alloc(&k->top, RLX_F32, 2, acc);
    a->sums = rlx_lir_build_alloc(&k->top, RLX_F32, 1, &rows);
    if (a->value_scales >= 0)
        a->wide_scales = rlx_lir_build_alloc(&k->top, RLX_F32, 2, scales);
    rlx_lir_scope grid;
    k_begin_grid(k, 3, extents, &grid);
    if (a->b->status || k->top.status)
        return rlx_ir_builder_finish(a->b->status ? a->b : &k->top);
    a->g = grid.index[0];
    a->t = grid.index[2];
    rlx_ir_value *first = rlx_lir_build_map2(a->b, RLX_FN_MUL, a->g, k_const(k, a->ratio));
    rlx_ir_value *part = rlx_lir_build_map2(a->b, RLX_FN_MUL, grid.index[1], k_const(k, a->s.rows));
    a->h0 = rlx_lir_build_map2(a->b, RLX_FN_ADD, first, part);
    if (a->b->status)
        return rlx_ir_builder_finish(a->b);
    tile_space none = {0};
    coord t = coord_of(a->t, 0, -1);
    rlx_ir_value *pos = NULL, *sum = NULL;
    RLX_TRY(tile_at(k, a->node->in[3], &t, &none, &pos));
    RLX_TRY(tile_at(k, a->node->in[4], &t, &none, &a->seq));
    a->seq = rlx_lir_build_cast(a->b, a->seq, RLX_I64);
    RLX_TRY(attention_find_seen(a, rlx_lir_build_cast(a->b, pos, RLX_I64)));
    RLX_TRY(clear_acc(a));
    RLX_TRY(all_pages(a, &sum));
    RLX_TRY(store_rows(a, sum, l));
    rlx_lir_end_grid(a->b, &grid);
    return rlx_ir_builder_finish(a->b);
}

static const rlx_ir_node *find_attention(const rlx_ir_node *region)
{
    for (const rlx_ir_node *n = region->blocks[0]->first; n; n = n->next)
        if (rlx_mir_is_attention(n))
            return n;
    return NULL;
}

/* What a kernel's name says of the seen keys and of the scores. */
static void put_mask(const attention *a, rlx_text *what)
{
    if (a->window)
        rlx_text_putf(what, "_w%lld", (long long)a->window);
    if (a->chunk)
        rlx_text_putf(what, "_c%lld", (long long)a->chunk);
    if (a->block)
        rlx_text_putf(what, "_b%lld", (long long)a->block);
    rlx_text_put(what, a->softcap != 0 ? "_capped" : "");
    rlx_text_put(what, a->sinks >= 0 ? "_sinks" : "");
}

static rlx_status choose_schedule(const region_cx *r, attention *a, rlx_lir_attention_shape shape)
{
    const rlx_lir_target *t = r->options->target;
    if (!a->unit_width) {
        rlx_lir_schedule_attention(t, &shape, &a->s);
        return RLX_OK;
    }
    shape.block = (int)rlx_mir_attention_block(a->positions);
    shape.key_codes = a->key_scales >= 0;
    shape.value_codes = a->value_scales >= 0;
    if (a->unit_width != t->column_matrix.k || !rlx_lir_schedule_attention_unit(t, &shape, &a->s))
        return RLX_FAIL(RLX_UNSUPPORTED,
                        "the target has no unit that adds up products of attention by %lld",
                        (long long)a->unit_width);
    return RLX_OK;
}

rlx_status lower_attention(region_cx *r)
{
    attention a = {.node = find_attention(r->node)};
    const rlx_ir_node *yield = r->node->blocks[0]->last;
    kernel_cx k;
    if (!a.node || yield->nin != 1)
        return RLX_FAIL(RLX_INVALID_IR,
                        "an attention region holds one attention and yields one value");
    if (a.node->op == RLX_MIR_DENSE_ATTENTION)
        return lower_attention_dense(r, a.node);
    const rlx_ir_type *q = &a.node->in[0]->type, *kpool = &a.node->in[1]->type;
    a.d = q->dim[2];
    a.ratio = q->dim[1] / kpool->dim[1];
    a.positions = kpool->dim[3];
    a.scale = rlx_ir_attr_float(a.node, RLX_ATTR_SCALE, 1.0);
    a.softcap = rlx_ir_attr_float(a.node, RLX_ATTR_SOFTCAP, 0);
    a.window = rlx_ir_attr_int(a.node, RLX_ATTR_WINDOW, 0);
    a.chunk = rlx_ir_attr_int(a.node, RLX_ATTR_CHUNK, 0);
    a.block = rlx_ir_attr_int(a.node, RLX_ATTR_BLOCK, 0);
    a.sinks = rlx_mir_attention_sinks(a.node);
    a.key_scales = rlx_mir_attention_scales(a.node, true);
    a.value_scales = rlx_mir_attention_scales(a.node, false);
    a.unit_width = rlx_ir_attr_int(a.node, RLX_ATTR_WIDTH, 0);
    const rlx_lir_attention_shape shape = {
        .heads = a.ratio,
        .width = a.d,
        .positions = a.positions,
        .kv_heads = kpool->dim[1],
        .tokens = rlx_dim_upper(r->out->dims, q->dim[0], r->options->upper),
        .sequences = rlx_dim_upper(r->out->dims, a.node->in[5]->type.dim[0], r->options->upper)};
    RLX_TRY(choose_schedule(r, &a, shape));
    if (a.value_scales >= 0 && a.s.width > RLX_KV_GROUP && !a.s.block)
        a.s.width = RLX_KV_GROUP; /* one scale per tile */
    a.rows_positions[0] = a.rows_width[0] = a.rows_lanes[0] = a.s.rows;
    a.rows_positions[1] = a.s.keys;
    a.rows_width[1] = a.s.width;
    a.rows_lanes[1] = 16;
    rlx_text what = {0}, schedule = {0};
    rlx_text_putf(&what, "attention_%lldx%lldx%lld", (long long)q->dim[1], (long long)kpool->dim[1],
                  (long long)a.d);
    put_mask(&a, &what);
    for (int i = KEYS; i <= VALUES; i++)
        if (a.node->in[i]->type.format != RLX_F32)
            rlx_text_putf(&what, "_%c%s", i == KEYS ? 'k' : 'v',
                          rlx_format_get(a.node->in[i]->type.format)->name);
    rlx_text_put(&what, a.s.block ? "_halves" : "");
    rlx_text_putf(&what, a.s.tokens ? "__t%d" : "__r%d", a.s.tokens ? a.s.tokens : a.s.rows);
    rlx_lir_schedule_attention_print(&a.s, &schedule);
    rlx_status st =
        what.oom || schedule.oom ? RLX_OOM() : kernel_begin(r, &k, what.data, schedule.data);
    rlx_text_deinit(&what);
    rlx_text_deinit(&schedule);
    RLX_TRY(st);
    a.k = &k;
    a.b = k.b;
    leaf leaves[MAX_LEAVES];
    int n;
    k_bind(&k, a.node->out[0], BIND_TILE, NULL); /* a leaf: views end here */
    RLX_TRY(sink_leaves(&k, yield->in[0], kernel_result(&k, 0), leaves, &n));
    if (n != 1 || leaves[0].value != a.node->out[0])
        return k_fail(&k, a.node, "only views may follow attention in its region");
    RLX_TRY(a.s.tokens ? lower_attention_block(&a, &leaves[0]) : emit(&a, &leaves[0]));
    return kernel_end(r, &k);
}
