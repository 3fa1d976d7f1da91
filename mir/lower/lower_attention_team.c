/* mir/lower/lower_attention_team.c: attention over tensors by a GPU's team.
 *
 * An instance is one head of one index of B.., M queries, and a share of a value's elements:
 *
 *   for chunks of keys {
 *     for columns of N keys {
 *       for pieces of a head { queries, keys -> team memory; scores += queries * keys }
 *       scores -> team memory }
 *     maxima; scores <- exp(scores - maxima); their sums
 *     acc <- acc * what was summed up so far is multiplied by
 *     for keys { acc += weights * values } }
 *   acc / sums -> result
 *
 * Chains, maxima and sums are those of lower_attention_dense.c, so the bits are. What is summed up
 * stays with the invocations; team memory has the scores of one chunk and a piece of its keys, which
 * all queries share, each invocation with keys of its own. Values are read where they lie: neighbours
 * read neighbours, and a share of them is all that an instance wants. Nothing that is kept grows with
 * a head's width. */
#include <math.h>

#include "mir/lower/lower_attention_dense.h"

typedef struct team {
    dense *g;
    int64_t piece, together,
        share;                    /* elements of a head; keys in one product; elements of values */
    int64_t scores[2], values[2]; /* tiles: [M,N], [M,share] */
    rlx_ir_value *queries, *keys; /* team memory: [M,piece+1], [N,piece+1] */
    rlx_ir_value *e0;             /* the share's first element */
    rlx_ir_value *rows;           /* limit of queries; NULL: tiles are whole */
} team;

/* What is carried from chunk to chunk: of each row, and its sums of values. */
enum { MAXIMA, SUMS, ACC, CARRIED };

/* f32[M] -> f32[M, share]. */
static rlx_ir_value *spread(team *t, rlx_ir_value *v, const int64_t *dims)
{
    static const int64_t axis = 0;
    return rlx_lir_build_broadcast(t->g->x.b, v, 2, dims, &axis);
}

/* ---- scores ---- */

/* Elements d.. of rows of q (operand 0) or k from `row` on, to team memory. */
static rlx_status copy_piece(team *t, int operand, rlx_ir_value *row, rlx_ir_value *d)
{
    dense *g = t->g;
    block *x = &g->x;
    const rlx_dim extent = operand ? g->keys : g->s;
    rlx_ir_value *head = operand ? x->a->g : g->h, *v = NULL;
    coord c[RLX_MAX_RANK];
    const tile_space ts = {.rank = 2,
                           .dim = {operand ? x->n : x->m, t->piece},
                           .root = {row, d},
                           .limit = {operand ? dense_keys_limit(g, x->n) : t->rows}};
    dense_place(g, coord_of(row, range_of(extent), 0), coord_of(head, 0, -1), coord_of(d, g->d, 1),
                c);
    RLX_TRY(tile_at(x->k, g->node->in[operand], c, &ts, &v));
    store_2(x, operand ? t->keys : t->queries, at(x, 0), at(x, 0), v);
    return rlx_ir_builder_finish(x->b);
}

/* Sums of products with the keys from `key` on: f32[M, N]. */
static rlx_status multiply(team *t, rlx_ir_value *key, rlx_ir_value **s)
{
    block *x = &t->g->x;
    const int64_t dims[3] = {x->m, x->n, 1};
    rlx_ir_value *sums = rlx_lir_build_fill(x->b, RLX_F32, 3, dims, 0);
    rlx_lir_scope piece;
    rlx_lir_begin_for(x->b, at(x, 0), at(x, t->g->d), t->piece, 1, &sums, &piece);
    if (x->b->status)
        return rlx_ir_builder_finish(x->b);
    rlx_lir_build_barrier(x->b); /* the piece before was read */
    RLX_TRY(copy_piece(t, 0, x->first, piece.index[0]));
    RLX_TRY(copy_piece(t, 1, key, piece.index[0]));
    rlx_lir_build_barrier(x->b);
    rlx_ir_value *q = load_2(x, t->queries, at(x, 0), at(x, 0), x->m, t->piece);
    rlx_ir_value *k = load_2(x, t->keys, at(x, 0), at(x, 0), x->n, t->piece);
    rlx_ir_value *next = rlx_lir_build_contract(x->b, piece.carried[0], q, k);
    rlx_lir_end_for(x->b, &piece, &next);
    *s = rlx_lir_build_reduce(x->b, RLX_FN_ADD, piece.result[0]); /* of one each */
    return rlx_ir_builder_finish(x->b);
}

/* -inf in the place of scores behind the chunk's last key. */
static rlx_ir_value *hide_missing(team *t, rlx_ir_value *j, rlx_ir_value *s)
{
    block *x = &t->g->x;
    if (dense_keys_fit(t->g, x->n))
        return s;
    rlx_ir_value *left = rlx_lir_build_cast(x->b, map2(x, RLX_FN_SUB, t->g->live, j), RLX_I32);
    rlx_ir_value *there = map2(x, RLX_FN_LT, rlx_lir_build_iota(x->b, RLX_I32, 2, t->scores), left);
    return choose(x, there, s, rlx_lir_build_const_f32(x->b, -INFINITY));
}

static rlx_status chunk_scores(team *t)
{
    block *x = &t->g->x;
    rlx_lir_scope loop;
    RLX_TRY(begin_loop(x, at(x, 0), t->g->live, x->n, &loop));
    column c = {.j = loop.index[0]};
    rlx_ir_value *s = NULL;
    RLX_TRY(multiply(t, plus(x, x->page_at, c.j), &s));
    RLX_TRY(dense_begin_column(t->g, &c));
    RLX_TRY(dense_finish_scores(t->g, &c, at(x, 0), &s));
    store_2(x, x->scores, at(x, 0), c.j, hide_missing(t, c.j, s));
    rlx_lir_end_for(x->b, &loop, NULL);
    rlx_lir_build_barrier(x->b);
    return rlx_ir_builder_finish(x->b);
}

/* ---- weights ---- */

rlx_status attention_team_fold(block *x, rlx_map_fn fn, double start, rlx_ir_value *from,
                               rlx_ir_value *to, rlx_ir_value **out)
{
    const int64_t lanes[2] = {x->m, LANES};
    rlx_ir_value *first = rlx_lir_build_fill(x->b, RLX_F32, 2, lanes, start);
    rlx_lir_scope loop;
    rlx_lir_begin_for(x->b, from, to, LANES, 1, &first, &loop);
    if (x->b->status)
        return rlx_ir_builder_finish(x->b);
    rlx_ir_value *s = load_2(x, x->scores, at(x, 0), loop.index[0], x->m, LANES);
    rlx_ir_value *next = map2(x, fn, loop.carried[0], s);
    rlx_lir_end_for(x->b, &loop, &next);
    *out = rlx_lir_build_reduce(x->b, fn, loop.result[0]);
    return rlx_ir_builder_finish(x->b);
}

rlx_status attention_team_exp(block *x, rlx_ir_value *max, rlx_ir_value *from, rlx_ir_value *to)
{
    rlx_ir_value *over = spread_rows(x, max);
    rlx_lir_scope loop;
    RLX_TRY(begin_loop(x, from, to, x->n, &loop));
    rlx_ir_value *s = load_2(x, x->scores, at(x, 0), loop.index[0], x->m, x->n);
    s = rlx_lir_build_map1(x->b, RLX_FN_EXP, map2(x, RLX_FN_SUB, s, over));
    rlx_lir_build_barrier(x->b);
    store_2(x, x->scores, at(x, 0), loop.index[0], s);
    rlx_lir_end_for(x->b, &loop, NULL);
    rlx_lir_build_barrier(x->b);
    return rlx_ir_builder_finish(x->b);
}

/* The chunk's weights; rows' maxima and sums with it, and the sums of values as those want them. */
static rlx_status chunk_weights(team *t, rlx_ir_value **row)
{
    block *x = &t->g->x;
    rlx_ir_value *max = NULL, *sum = NULL;
    RLX_TRY(attention_team_fold(x, RLX_FN_MAX, -INFINITY, at(x, 0), t->g->live, &max));
    max = map2(x, RLX_FN_MAX, row[MAXIMA], max);
    rlx_ir_value *old = map2(x, RLX_FN_SUB, row[MAXIMA], max);
    old = rlx_lir_build_map1(x->b, RLX_FN_EXP, old);
    RLX_TRY(attention_team_exp(x, max, at(x, 0), t->g->live));
    RLX_TRY(attention_team_fold(x, RLX_FN_ADD, 0, at(x, 0), t->g->live, &sum));
    row[MAXIMA] = max;
    row[SUMS] = plus(x, map2(x, RLX_FN_MUL, row[SUMS], old), sum);
    row[ACC] = map2(x, RLX_FN_MUL, row[ACC], spread(t, old, t->values));
    return rlx_ir_builder_finish(x->b);
}

/* ---- values ---- */

static rlx_status values_at(team *t, rlx_ir_value *j, int64_t count, rlx_ir_value **v)
{
    dense *g = t->g;
    block *x = &g->x;
    rlx_ir_value *key = plus(x, x->page_at, j);
    coord c[RLX_MAX_RANK];
    const tile_space ts = {.rank = 2,
                           .dim = {count, t->share},
                           .root = {key, t->e0},
                           .limit = {NULL, g->e % t->share == 0 ? NULL : at(x, g->e)}};
    dense_place(g, coord_of(key, range_of(g->keys), 0), coord_of(x->a->g, 0, -1),
                coord_of(t->e0, g->e, 1), c);
    return tile_at(x->k, g->node->in[2], c, &ts, v);
}

/* acc + weights * values at keys from .. to-1 of the chunk, so many in one product. */
static rlx_status weigh(team *t, rlx_ir_value *from, rlx_ir_value *to, int64_t together,
                        rlx_ir_value **acc)
{
    block *x = &t->g->x;
    rlx_lir_scope loop;
    rlx_lir_begin_for(x->b, from, to, together, 1, acc, &loop);
    if (x->b->status)
        return rlx_ir_builder_finish(x->b);
    rlx_ir_value *v = NULL, *p = load_2(x, x->scores, at(x, 0), loop.index[0], x->m, together);
    RLX_TRY(values_at(t, loop.index[0], together, &v));
    rlx_ir_value *next = rlx_lir_build_outer(x->b, loop.carried[0], p, v);
    rlx_lir_end_for(x->b, &loop, &next);
    *acc = loop.result[0];
    return rlx_ir_builder_finish(x->b);
}

static rlx_status chunk_values(team *t, rlx_ir_value **acc)
{
    block *x = &t->g->x;
    rlx_ir_value *live = t->g->live, *whole = live;
    const bool fits = dense_keys_fit(t->g, t->together);
    if (!fits)
        whole = down(x, live, t->together);
    RLX_TRY(weigh(t, at(x, 0), whole, t->together, acc));
    return fits ? RLX_OK : weigh(t, whole, live, 1, acc);
}

/* ---- all of it ---- */

static rlx_status first_rows(team *t, rlx_ir_value **row)
{
    block *x = &t->g->x;
    RLX_TRY(dense_first_sums(t->g, &row[MAXIMA], &row[SUMS]));
    for (int i = MAXIMA; i <= SUMS; i++)
        row[i] = rlx_lir_build_broadcast(x->b, row[i], 1, &x->m, NULL);
    row[ACC] = rlx_lir_build_fill(x->b, RLX_F32, 2, t->values, 0);
    return rlx_ir_builder_finish(x->b);
}

static rlx_status run_chunks(team *t, rlx_ir_value **row)
{
    block *x = &t->g->x;
    rlx_lir_scope loop;
    RLX_TRY(dense_begin_chunk(t->g, at(x, 0), k_extent(x->k, t->g->keys), CARRIED, row, &loop));
    rlx_ir_value *next[CARRIED] = {loop.carried[MAXIMA], loop.carried[SUMS], loop.carried[ACC]};
    RLX_TRY(chunk_scores(t));
    RLX_TRY(chunk_weights(t, next));
    RLX_TRY(chunk_values(t, &next[ACC]));
    rlx_lir_end_for(x->b, &loop, next);
    for (int i = 0; i < CARRIED; i++)
        row[i] = loop.result[i];
    return rlx_ir_builder_finish(x->b);
}

/* o[.., i.., h, e0..] <- the result */
static rlx_status store_rows(team *t, const leaf *l, rlx_ir_value *const *row)
{
    dense *g = t->g;
    block *x = &g->x;
    rlx_ir_value *o = dense_result(g, row[ACC], row[SUMS]);
    coord c[RLX_MAX_RANK];
    const tile_space ts = {.rank = 2,
                           .dim = {x->m, t->share},
                           .root = {x->first, t->e0},
                           .limit = {t->rows, g->e % t->share == 0 ? NULL : at(x, g->e)}};
    binding *b = k_bind(x->k, g->node->out[0], BIND_TILE, o);
    if (!b)
        return rlx_ir_builder_finish(x->b);
    dense_place(g, coord_of(x->first, range_of(g->s), 0),
                coord_of(g->h, g->node->in[0]->type.dim[g->nb + 1], -1), coord_of(t->e0, g->e, 1),
                c);
    copy_coords(c, g->nb + 3, b->at);
    return sink_store(x->k, l, c, &ts);
}

static rlx_status take_memory(team *t)
{
    block *x = &t->g->x;
    rlx_ir_builder *top = &x->k->top;
    const int64_t scores[2] = {x->m, CHUNK};
    const int64_t queries[2] = {x->m, t->piece + 1}, keys[2] = {x->n, t->piece + 1};
    x->scores = rlx_lir_build_alloc(top, RLX_F32, 2, scores);
    t->queries = rlx_lir_build_alloc(top, RLX_F32, 2, queries);
    t->keys = rlx_lir_build_alloc(top, RLX_F32, 2, keys);
    return top->status ? rlx_ir_builder_finish(top) : RLX_OK;
}

rlx_status lower_attention_team(dense *g, const leaf *l)
{
    block *x = &g->x;
    const rlx_lir_attention_schedule *s = &x->a->s;
    team t = {.g = g,
              .piece = s->width,
              .together = s->keys,
              .share = s->share,
              .scores = {x->m, x->n},
              .values = {x->m, s->share}};
    rlx_ir_value *share = NULL, *row[CARRIED];
    rlx_lir_scope grid;
    while (rlx_dim_is_const(g->keys) && t.together > 1 && t.together > g->keys)
        t.together /= 2;
    RLX_TRY(take_memory(&t));
    RLX_TRY(dense_begin_grid(g, (g->e + t.share - 1) / t.share, &grid, &share));
    t.e0 = times(x, share, t.share);
    t.rows = rlx_dim_is_const(g->s) && g->s % x->m == 0 ? NULL : k_extent(x->k, g->s);
    RLX_TRY(first_rows(&t, row));
    RLX_TRY(run_chunks(&t, row));
    RLX_TRY(store_rows(&t, l, row));
    rlx_lir_end_grid(x->b, &grid);
    return rlx_ir_builder_finish(x->b);
}
