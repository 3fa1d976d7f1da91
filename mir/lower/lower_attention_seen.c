/* mir/lower/lower_attention_seen.c: keys that no row of a tile sees are left out.
 *
 * To hide a key is to give it the lowest float as its score: its weight is 0 once its row has met a key
 * that it sees, and what it added before is multiplied by 0 then. So tiles go from the first key that
 * one of their rows sees to the last, and the bits are the same, if
 *
 *   - values are no more than LARGE, so that 0 times their sums is 0;
 *   - every row's maximum is above the lowest float in the end;
 *
 * and the sign of a sum that is 0 is none (mir/ops/dense_attention.c). Of a score that is NaN a maximum
 * may keep nothing, and then hangs on what comes behind; its weight is NaN whatever the maximum, and with
 * it all that its row has. The first is looked at before,
 * once for a block, the second behind: a block that fails is made again with all keys. Rows that see
 * no key have their tile made with all, at once. */
#include <float.h>

#include "mir/lower/lower_attention_dense.h"

enum { FROM, TO, STEP = 32 };

/* The operand's axis that a broadcast's axis is, or -1. */
static int inner_axis(const rlx_ir_node *broadcast, int axis)
{
    const rlx_attr *axes = rlx_ir_attr(broadcast, RLX_ATTR_AXES);
    for (int i = 0; i < broadcast->in[0]->type.rank; i++)
        if (axes->ints[i] == axis)
            return i;
    return -1;
}

static bool hangs_on(const rlx_ir_value *v, int axis)
{
    const rlx_ir_node *n = v->def;
    if (!n)
        return true;
    if (n->op == RLX_MIR_CONST)
        return false;
    if (n->op == RLX_MIR_BROADCAST)
        return inner_axis(n, axis) >= 0;
    if (n->op != RLX_MIR_MAP && n->op != RLX_MIR_CAST)
        return true;
    for (int i = 0; i < n->nin; i++)
        if (n->in[i]->type.rank > 0 && hangs_on(n->in[i], axis))
            return true;
    return false;
}

bool dense_hangs_on_query(const dense *g, const rlx_ir_value *v)
{
    return hangs_on(v, g->nb + 1);
}

void dense_take_visible(dense *g)
{
    enum { ROWS = 32 }; /* fewer do not pay for looking at all values first */
    block *x = &g->x;
    const int64_t dims[2] = {x->rows / x->m, 2};
    if (dense_operand(g, RLX_MIR_DENSE_SEEN) && x->rows >= ROWS)
        g->visible = rlx_lir_build_alloc(&x->k->top, RLX_I32, 2, dims);
}

static rlx_ir_value *bound_of(dense *g, rlx_ir_value *r, int which)
{
    block *x = &g->x;
    rlx_ir_value *index[2] = {map2(x, RLX_FN_DIV, r, at(x, x->m)), at(x, which)};
    return rlx_lir_build_cast(
        x->b, rlx_lir_build_load(x->b, g->visible, RLX_I32, 0, NULL, index, NULL, NULL), RLX_I64);
}

/* ---- before the chunks ---- */

/* i32 or bool [n]: of keys from `key` on, what query i sees, or all queries if i is NULL. */
static rlx_status seen_keys(dense *g, rlx_ir_value *i, rlx_ir_value *key, rlx_ir_value **seen)
{
    block *x = &g->x;
    coord c[RLX_MAX_RANK];
    const tile_space ts = {
        .rank = 1, .dim = {x->n}, .root = {key}, .limit = {dense_keys_limit(g, x->n)}};
    dense_place(g, coord_of(g->h, g->node->in[0]->type.dim[g->nb + 1], -1),
                i ? coord_of(i, range_of(g->s), -1) : coord_const(0),
                coord_of(key, range_of(g->keys), 0), c);
    return tile_at(x->k, dense_operand(g, RLX_MIR_DENSE_SEEN), c, &ts, seen);
}

/* ---- masks by place: what a row sees is from one number to another ---- */

static bool is_map(const rlx_ir_node *n, rlx_map_fn fn)
{
    return n && n->op == RLX_MIR_MAP && rlx_ir_attr_int(n, RLX_ATTR_FN, RLX_FN_COUNT) == fn;
}

/* Whether v is the key's number, which runs along `axis`, and *more. */
static bool is_key(const rlx_ir_value *v, int axis, int64_t *more)
{
    const rlx_ir_node *n = v->def;
    if (!n || axis < 0)
        return false;
    *more = 0;
    if (n->op == RLX_MIR_IOTA)
        return true;
    if (n->op == RLX_MIR_BROADCAST)
        return is_key(n->in[0], inner_axis(n, axis), more);
    const rlx_ir_node *by = is_map(n, RLX_FN_ADD) ? n->in[1]->def : NULL;
    if (!by || by->op != RLX_MIR_CONST || !is_key(n->in[0], axis, more))
        return false;
    *more += (int64_t)rlx_ir_attr_float(by, RLX_ATTR_VALUE, 0);
    return true;
}

/* key + more <= number, or < ; or the other way round. */
typedef struct place_bound {
    const rlx_ir_value *number;
    int64_t more;
    int which; /* FROM, TO */
    bool equal;
} place_bound;

static bool is_bound(const rlx_ir_node *n, int axis, place_bound *out)
{
    enum { MOST = 1 << 30 }; /* sums of i32 do not wrap */
    out->equal = is_map(n, RLX_FN_LE);
    for (int side = 0; side < 2 && (out->equal || is_map(n, RLX_FN_LT)); side++) {
        out->which = side == 0 ? TO : FROM;
        out->number = n->in[!side];
        if (is_key(n->in[side], axis, &out->more) && !hangs_on(out->number, axis))
            return -MOST <= out->more && out->more <= MOST;
    }
    return false;
}

static bool is_by_place(const rlx_ir_value *v, int axis)
{
    place_bound b;
    const rlx_ir_node *n = v->def;
    if (!n || axis < 0)
        return false;
    if (n->op == RLX_MIR_BROADCAST)
        return is_by_place(n->in[0], inner_axis(n, axis));
    if (is_map(n, RLX_FN_AND))
        return is_by_place(n->in[0], axis) && is_by_place(n->in[1], axis);
    return is_bound(n, axis, &b);
}

/* span: of a mask by place what its row at c sees of it. */
static rlx_status narrow(dense *g, const rlx_ir_value *v, const coord *c, int axis,
                         rlx_ir_value *span[2])
{
    block *x = &g->x;
    const rlx_ir_node *n = v->def;
    place_bound b;
    if (n->op == RLX_MIR_BROADCAST) {
        const rlx_attr *axes = rlx_ir_attr(n, RLX_ATTR_AXES);
        coord inner[RLX_MAX_RANK];
        for (int i = 0; i < n->in[0]->type.rank; i++)
            inner[i] = c[axes->ints[i]];
        return narrow(g, n->in[0], inner, inner_axis(n, axis), span);
    }
    if (!is_bound(n, axis, &b)) {
        RLX_TRY(narrow(g, n->in[0], c, axis, span));
        return narrow(g, n->in[1], c, axis, span);
    }
    const tile_space none = {0};
    rlx_ir_value *number = NULL;
    RLX_TRY(tile_at(x->k, b.number, c, &none, &number));
    number = rlx_lir_build_cast(x->b, number, RLX_I64);
    number = plus(x, number, at(x, (b.which == TO) == b.equal ? 1 - b.more : -b.more));
    span[b.which] = map2(x, b.which == TO ? RLX_FN_MIN : RLX_FN_MAX, span[b.which], number);
    return rlx_ir_builder_finish(x->b);
}

static rlx_status span_by_place(dense *g, rlx_ir_value *i, rlx_ir_value *span[2])
{
    block *x = &g->x;
    coord c[RLX_MAX_RANK];
    rlx_ir_value *keys = k_extent(x->k, g->keys);
    span[FROM] = at(x, 0);
    span[TO] = keys;
    dense_place(g, coord_of(g->h, g->node->in[0]->type.dim[g->nb + 1], -1),
                i ? coord_of(i, range_of(g->s), -1) : coord_const(0), coord_const(0), c);
    RLX_TRY(narrow(g, dense_operand(g, RLX_MIR_DENSE_SEEN), c, g->nb + 2, span));
    rlx_ir_value *some = map2(x, RLX_FN_LT, span[FROM], span[TO]);
    span[FROM] = choose(x, some, span[FROM], at(x, 0));
    span[TO] = choose(x, some, span[TO], keys);
    return rlx_ir_builder_finish(x->b);
}

/* ---- any other masks ---- */

/* The first key that the query sees and one behind the last; all if it sees none. Lanes behind the
 * last key may seem to be seen. */
static rlx_status row_span(dense *g, rlx_ir_value *i, rlx_ir_value *span[2])
{
    block *x = &g->x;
    if (is_by_place(dense_operand(g, RLX_MIR_DENSE_SEEN), g->nb + 2))
        return span_by_place(g, i, span);
    rlx_ir_value *keys = k_extent(x->k, g->keys), *seen = NULL;
    rlx_ir_value *init[2] = {rlx_lir_build_fill_int(x->b, RLX_I32, 1, &x->n, -INT32_MAX),
                             rlx_lir_build_fill_int(x->b, RLX_I32, 1, &x->n, 0)};
    rlx_ir_value *one = rlx_lir_build_fill_int(x->b, RLX_I32, 0, NULL, 1);
    rlx_lir_scope loop;
    rlx_lir_begin_for(x->b, at(x, 0), keys, x->n, 2, init, &loop);
    if (x->b->status)
        return rlx_ir_builder_finish(x->b);
    RLX_TRY(seen_keys(g, i, loop.index[0], &seen));
    rlx_ir_value *key = plus(x, rlx_lir_build_iota(x->b, RLX_I32, 1, &x->n),
                             rlx_lir_build_cast(x->b, loop.index[0], RLX_I32));
    rlx_ir_value *before = rlx_lir_build_map1(x->b, RLX_FN_NEG, key);
    rlx_ir_value *next[2] = {
        choose(x, seen, map2(x, RLX_FN_MAX, loop.carried[0], before), loop.carried[0]),
        choose(x, seen, plus(x, key, one), loop.carried[1])};
    rlx_lir_end_for(x->b, &loop, next);
    for (int w = FROM; w <= TO; w++) {
        span[w] = rlx_lir_build_reduce(x->b, RLX_FN_MAX, loop.result[w]);
        span[w] = rlx_lir_build_cast(x->b, span[w], RLX_I64);
    }
    rlx_ir_value *from = map2(x, RLX_FN_SUB, at(x, 0), span[FROM]);
    rlx_ir_value *some = map2(x, RLX_FN_LT, from, keys);
    span[FROM] = choose(x, some, from, at(x, 0));
    span[TO] = choose(x, some, map2(x, RLX_FN_MIN, span[TO], keys), keys);
    return rlx_ir_builder_finish(x->b);
}

/* span: of rows before; from here on of those of the row tile at r, too. */
static rlx_status tile_span(dense *g, rlx_ir_value *r, rlx_ir_value *span[2])
{
    block *x = &g->x;
    rlx_ir_value *rows = map2(x, RLX_FN_SUB, g->end, x->first), *row[2];
    rlx_lir_scope loop;
    rlx_lir_begin_for(x->b, r, map2(x, RLX_FN_MIN, plus(x, r, at(x, x->m)), rows), 1, 2, span,
                      &loop);
    if (x->b->status)
        return rlx_ir_builder_finish(x->b);
    RLX_TRY(row_span(g, plus(x, x->first, loop.index[0]), row));
    rlx_ir_value *next[2] = {map2(x, RLX_FN_MIN, loop.carried[FROM], row[FROM]),
                             map2(x, RLX_FN_MAX, loop.carried[TO], row[TO])};
    rlx_lir_end_for(x->b, &loop, next);
    span[FROM] = loop.result[FROM];
    span[TO] = loop.result[TO];
    return rlx_ir_builder_finish(x->b);
}

static rlx_status find_spans(dense *g)
{
    block *x = &g->x;
    rlx_ir_value *none[2] = {k_extent(x->k, g->keys), at(x, 0)}, *alike[2] = {NULL, NULL};
    rlx_lir_scope tile;
    if (!dense_hangs_on_query(g, dense_operand(g, RLX_MIR_DENSE_SEEN)))
        RLX_TRY(row_span(g, NULL, alike));
    rlx_lir_begin_for(x->b, at(x, 0), x->count, x->m, 2, none, &tile);
    if (x->b->status)
        return rlx_ir_builder_finish(x->b);
    rlx_ir_value *r = tile.index[0], *span[2] = {alike[FROM], alike[TO]}, *next[2];
    if (!span[FROM]) {
        span[FROM] = none[FROM];
        span[TO] = none[TO];
        RLX_TRY(tile_span(g, r, span));
    }
    for (int w = FROM; w <= TO; w++) {
        rlx_ir_value *index[2] = {map2(x, RLX_FN_DIV, r, at(x, x->m)), at(x, w)};
        rlx_ir_value *bound = w == FROM ? down(x, span[w], STEP) : up(x, span[w], STEP);
        rlx_lir_build_store(x->b, g->visible, rlx_lir_build_cast(x->b, bound, RLX_I32), index, NULL,
                            NULL);
        next[w] = map2(x, w == FROM ? RLX_FN_MIN : RLX_FN_MAX, tile.carried[w], span[w]);
    }
    rlx_lir_end_for(x->b, &tile, next);
    rlx_lir_build_barrier(x->b);
    x->begin = down(x, tile.result[FROM], CHUNK);
    x->end = tile.result[TO];
    return rlx_ir_builder_finish(x->b);
}

/* *large: i64, 1 if one of the head's values is. */
static rlx_status find_large(dense *g, rlx_ir_value **large)
{
    enum { ROWS = 2 };
    static const double LARGE = 0x1p90;
    block *x = &g->x;
    const int64_t dims[2] = {ROWS, x->n};
    rlx_ir_value *most = rlx_lir_build_const_f32(x->b, LARGE), *v = NULL;
    rlx_ir_value *one = rlx_lir_build_const_f32(x->b, 1);
    rlx_ir_value *none = rlx_lir_build_fill(x->b, RLX_F32, 2, dims, 0);
    rlx_lir_scope element, loop;
    coord c[RLX_MAX_RANK];
    rlx_lir_begin_for(x->b, at(x, 0), at(x, g->e), x->n, 1, &none, &element);
    if (x->b->status)
        return rlx_ir_builder_finish(x->b);
    rlx_lir_begin_for(x->b, at(x, 0), k_extent(x->k, g->keys), ROWS, 1, element.carried, &loop);
    if (x->b->status)
        return rlx_ir_builder_finish(x->b);
    const tile_space ts = {
        .rank = 2,
        .dim = {ROWS, x->n},
        .root = {loop.index[0], element.index[0]},
        .limit = {dense_keys_limit(g, ROWS), g->e % x->n == 0 ? NULL : at(x, g->e)}};
    dense_place(g, coord_of(loop.index[0], range_of(g->keys), 0), coord_of(x->a->g, 0, -1),
                coord_of(element.index[0], g->e, 1), c);
    RLX_TRY(tile_at(x->k, g->node->in[2], c, &ts, &v));
    rlx_ir_value *fits = map2(x, RLX_FN_LE, rlx_lir_build_map1(x->b, RLX_FN_ABS, v), most);
    rlx_ir_value *next = choose(x, fits, loop.carried[0], one); /* a NaN does not fit */
    rlx_lir_end_for(x->b, &loop, &next);
    rlx_lir_end_for(x->b, &element, loop.result);
    rlx_ir_value *any = rlx_lir_build_reduce(
        x->b, RLX_FN_MAX, rlx_lir_build_reduce(x->b, RLX_FN_MAX, element.result[0]));
    *large = choose(x, map2(x, RLX_FN_LT, any, one), at(x, 0), at(x, 1));
    return rlx_ir_builder_finish(x->b);
}

rlx_status dense_find_visible(dense *g, rlx_ir_value **first)
{
    RLX_TRY(find_spans(g));
    return find_large(g, first);
}

/* ---- while chunks go by ---- */

void dense_begin_visible(dense *g, rlx_ir_value *all)
{
    block *x = &g->x;
    g->all = all;
    x->begin = choose(x, all, at(x, 0), x->begin);
    x->end = choose(x, all, k_extent(x->k, g->keys), x->end);
}

void dense_visible_in_chunk(dense *g, rlx_ir_value *r, rlx_ir_value **from, rlx_ir_value **to)
{
    block *x = &g->x;
    rlx_ir_value *whole[2] = {at(x, 0), g->live}, **out[2] = {from, to};
    for (int w = FROM; w <= TO; w++) {
        rlx_ir_value *bound = map2(x, RLX_FN_SUB, bound_of(g, r, w), x->page_at);
        bound = map2(x, RLX_FN_MIN, map2(x, RLX_FN_MAX, bound, at(x, 0)), g->live);
        *out[w] = choose(x, g->all, whole[w], bound);
    }
}

/* ---- behind the chunks ---- */

rlx_status dense_find_blind(dense *g, rlx_ir_value **blind)
{
    block *x = &g->x;
    rlx_ir_value *none = at(x, 0), *keys = k_extent(x->k, g->keys);
    rlx_ir_value *lowest = rlx_lir_build_const_f32(x->b, -FLT_MAX);
    rlx_lir_scope row;
    rlx_lir_begin_for(x->b, at(x, 0), map2(x, RLX_FN_SUB, g->end, x->first), 1, 1, &none, &row);
    if (x->b->status)
        return rlx_ir_builder_finish(x->b);
    rlx_ir_value *r = row.index[0];
    rlx_ir_value *met = map2(x, RLX_FN_LT, lowest, load_1(x, x->max, r, 0));
    rlx_ir_value *whole = map2(x, RLX_FN_AND, map2(x, RLX_FN_LE, bound_of(g, r, FROM), at(x, 0)),
                               map2(x, RLX_FN_LE, keys, bound_of(g, r, TO)));
    rlx_ir_value *next = choose(x, map2(x, RLX_FN_OR, met, whole), row.carried[0], at(x, 1));
    rlx_lir_end_for(x->b, &row, &next);
    rlx_lir_build_barrier(x->b); /* the next attempt begins with other maxima */
    *blind = row.result[0];
    return rlx_ir_builder_finish(x->b);
}
