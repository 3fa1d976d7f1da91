/* mir/lower/lower_scalar.c: one element of a MIR value at given coordinates. */
#include "mir/lower/lower_loops.h"

#include "mir/ops/ops.h"

static rlx_status done(nest *l, rlx_ir_value *v, rlx_ir_value **out)
{
    *out = v;
    return v ? RLX_OK : rlx_ir_builder_finish(l->k->b);
}

/* ---- where code goes
 * ----------------------------------------------------------------------------- */

static int depth_of(const nest *l, const rlx_ir_value *v)
{
    for (int i = l->nindex - 1; i >= 0; i--)
        if (l->index[i].value == v)
            return l->index[i].depth;
    return 1;
}

static int depth_of_all(const nest *l, const coord *c, int n)
{
    int depth = 1;
    for (int i = 0; i < n; i++)
        for (int t = 0; t < c[i].n; t++) {
            int d = depth_of(l, c[i].term[t].value);
            depth = d > depth ? d : depth;
        }
    return depth;
}

/* Where the element of `v` at c is made. */
static int depth_of_value(const nest *l, const rlx_ir_value *v, const coord *c)
{
    int depth = depth_of_all(l, c, v->type.rank);
    const bool changes = l->step && (v->def ? v->def->parent : v->block) == l->step;
    return changes && depth < l->floor ? l->floor : depth;
}

static void note_depth(nest *l, const rlx_ir_value *v, int depth)
{
    if (l->nindex == l->cap_index) {
        int cap = l->cap_index ? 2 * l->cap_index : 64;
        index_depth *more = RLX_NEW_ARRAY(l->k->arena, index_depth, cap);
        if (!more) {
            rlx_ir_builder_fail(l->k->b, RLX_OOM());
            return;
        }
        for (int i = 0; i < l->nindex; i++)
            more[i] = l->index[i];
        l->index = more;
        l->cap_index = cap;
    }
    l->index[l->nindex++] = (index_depth){v, depth};
}

coord nest_enter(nest *l, const rlx_lir_scope *s, rlx_ir_value *index, rlx_dim extent)
{
    if (l->depth + 1 < MAX_NEST)
        l->loop[l->depth + 1] = s->node;
    l->depth++;
    note_depth(l, index, l->depth);
    return coord_of(index, rlx_dim_is_const(extent) ? extent : 0, -1);
}

coord nest_term(nest *l, rlx_ir_value *index, rlx_dim extent)
{
    note_depth(l, index, l->depth);
    return coord_of(index, rlx_dim_is_const(extent) ? extent : 0, -1);
}

rlx_status nest_overflow(const nest *l)
{
    if (l->depth < MAX_NEST)
        return RLX_OK;
    return k_fail(l->k, NULL, "loops nest too deeply");
}

/* What was computed inside the loop is out of reach behind it. */
void nest_leave(nest *l)
{
    int kept = 0;
    for (int i = 0; i < l->nmemo; i++)
        if (l->memo[i].depth < l->depth)
            l->memo[kept++] = l->memo[i];
    l->nmemo = kept;
    l->depth--;
}

/* Code goes in front of the loop that is open at `depth`, until it goes back. */
typedef struct way_back {
    rlx_ir_block *block;
    rlx_ir_node *before;
    int depth;
    rlx_ir_node *loop[MAX_NEST];
} way_back;

static void go_up(nest *l, int depth, way_back *w)
{
    rlx_ir_builder *b = l->k->b;
    w->block = b->block;
    w->before = b->before;
    w->depth = l->depth;
    for (int i = 0; i < MAX_NEST; i++)
        w->loop[i] = l->loop[i];
    if (depth < l->depth) {
        b->block = l->loop[depth + 1]->parent;
        b->before = l->loop[depth + 1];
        l->depth = depth;
    }
}

static void go_back(nest *l, const way_back *w)
{
    l->k->b->block = w->block;
    l->k->b->before = w->before;
    l->depth = w->depth;
    for (int i = 0; i < MAX_NEST; i++)
        l->loop[i] = w->loop[i];
}

/* ---- what is known
 * -------------------------------------------------------------------------------- */

static rlx_ir_value *recall(const nest *l, const void *key, const coord *c, int n)
{
    for (int i = l->nmemo - 1; i >= 0; i--) {
        const scalar_memo *m = &l->memo[i];
        bool same = m->key == key && m->n == n;
        for (int a = 0; same && a < n; a++)
            same = coord_equal(&m->at[a], &c[a]);
        if (same)
            return m->made;
    }
    return NULL;
}

static void remember(nest *l, const void *key, const coord *c, int n, int depth, rlx_ir_value *made)
{
    if (l->nmemo == l->cap_memo) {
        int cap = l->cap_memo ? 2 * l->cap_memo : 64;
        scalar_memo *more = RLX_NEW_ARRAY(l->k->arena, scalar_memo, cap);
        if (!more) {
            rlx_ir_builder_fail(l->k->b, RLX_OOM());
            return;
        }
        for (int i = 0; i < l->nmemo; i++)
            more[i] = l->memo[i];
        l->memo = more;
        l->cap_memo = cap;
    }
    scalar_memo *m = &l->memo[l->nmemo++];
    *m = (scalar_memo){.key = key, .n = n, .depth = depth, .made = made};
    for (int a = 0; a < n; a++)
        m->at[a] = c[a];
}

/* ---- indices
 * --------------------------------------------------------------------------------------- */

static rlx_ir_value *index_map(nest *l, rlx_map_fn fn, rlx_ir_value *x, rlx_ir_value *y)
{
    return rlx_lir_build_map2(l->k->b, fn, x, y);
}

/* An index that something is computed of is the same for all of a tile. */
static bool index_is_one(nest *l, const coord *c)
{
    if (l->tile && (c->n < 0 || coord_axis(c) >= 0))
        rlx_ir_builder_fail(l->k->b, k_fail(l->k, NULL, "an index differs within a tile"));
    return !l->k->b->status;
}

/* The coordinate as one computed term, below `extent`: for forms that cannot be split. */
static coord index_as_term(nest *l, const coord *c, rlx_dim extent)
{
    if (!index_is_one(l, c))
        return coord_const(0);
    if (c->n == 0)
        return *c;
    static const char key; /* of every such index */
    rlx_ir_value *v = recall(l, &key, c, 1);
    if (!v) {
        way_back w;
        int depth = depth_of_all(l, c, 1);
        go_up(l, depth, &w);
        v = k_index(l->k, c);
        go_back(l, &w);
        if (!v)
            return coord_const(0);
        note_depth(l, v, depth);
        remember(l, &key, c, 1, depth, v);
    }
    return coord_of(v, range_of(extent), -1);
}

/* a + b, where one of them may have to be computed first. */
static coord index_add(nest *l, coord a, coord b)
{
    coord sum = coord_add(a, b);
    if (sum.n >= 0)
        return sum;
    sum = coord_add(index_as_term(l, &a, RLX_DIM_INVALID), b);
    return sum.n >= 0 ? sum
                      : coord_add(index_as_term(l, &a, RLX_DIM_INVALID),
                                  index_as_term(l, &b, RLX_DIM_INVALID));
}

/* Quotient or remainder by an extent, computed where the index is known. */
static coord index_part(nest *l, rlx_map_fn fn, const coord *c, rlx_dim by, int64_t range)
{
    static const char keys[2];
    const void *key = &keys[fn == RLX_FN_DIV];
    const coord at[] = {*c, coord_const(by)};
    rlx_ir_value *v = recall(l, key, at, 2);
    if (!v) {
        way_back w;
        const int depth = depth_of_all(l, c, 1);
        go_up(l, depth < l->depth ? depth : l->depth, &w);
        v = index_map(l, fn, k_index(l->k, c), k_extent(l->k, by));
        note_depth(l, v, l->depth);
        remember(l, key, at, 2, l->depth, v);
        go_back(l, &w);
    }
    return coord_of(v, range, -1);
}

static void index_divide(nest *l, const coord *c, rlx_dim by, coord *quotient, coord *remainder)
{
    *quotient = *remainder = coord_const(0);
    if (!index_is_one(l, c))
        return;
    *quotient = index_part(l, RLX_FN_DIV, c, by, 0);
    *remainder = index_part(l, RLX_FN_MOD, c, by, range_of(by));
}

/* The element's number in row-major order, taken apart again. */
static rlx_status reshape_by_number(nest *l, const rlx_ir_type *from, const coord *c,
                                    const rlx_ir_type *to, coord *out)
{
    coord number = coord_const(0);
    for (int i = 0; i < from->rank; i++) {
        if (!index_is_one(l, &c[i]))
            return rlx_ir_builder_finish(l->k->b);
        if (!rlx_dim_is_const(from->dim[i]) && i > 0 && (number.n > 0 || number.off > 0)) {
            rlx_ir_value *v = k_index(l->k, &number);
            v = index_map(l, RLX_FN_MUL, v, k_extent(l->k, from->dim[i]));
            note_depth(l, v, l->depth);
            number = coord_of(v, 0, -1);
        } else if (i > 0 && rlx_dim_is_const(from->dim[i])) {
            number = coord_mul(number, from->dim[i]);
        }
        number = index_add(l, number, c[i]);
    }
    for (int j = to->rank - 1; j > 0; j--) {
        coord q, r;
        index_divide(l, &number, to->dim[j], &q, &r);
        out[j] = r;
        number = q;
    }
    if (to->rank > 0)
        out[0] = number;
    return l->k->b->status ? rlx_ir_builder_finish(l->k->b) : RLX_OK;
}

rlx_status scalar_reshape(nest *l, const rlx_ir_type *from, const coord *c, const rlx_ir_type *to,
                          coord *out)
{
    rlx_status st = coord_reshape(l->k->dims, from, c, to, out, "");
    if (!st)
        return RLX_OK;
    rlx_status_free(st); /* not linear: it is computed */
    return reshape_by_number(l, from, c, to, out);
}

/* ---- operators
 * ------------------------------------------------------------------------------------- */

static const tile_space no_tile;

/* From coordinates of a part to those of the whole. */
static void whole_coords(const value_part *p, const coord *c, coord *out)
{
    for (int i = 0; i < p->rank; i++)
        out[i] = i >= p->inner && i < p->inner + p->ninner ? c[i - p->inner] : p->at[i];
}

static const tile_space *part_space(const nest *l, const value_part *p)
{
    return p->space ? p->space : l->tile ? l->tile : &no_tile;
}

rlx_status scalar_store(nest *l, const value_part *p, rlx_ir_value *x, const coord *c)
{
    coord whole[RLX_MAX_RANK];
    whole_coords(p, c, whole);
    return tile_store(l->k, p->buffer, x, whole, part_space(l, p));
}

static rlx_status part_at(nest *l, const value_part *p, const coord *c, rlx_format f,
                          rlx_ir_value **out)
{
    coord whole[RLX_MAX_RANK];
    whole_coords(p, c, whole);
    return p->value ? scalar_at(l, p->value, whole, out)
                    : tile_load(l->k, p->buffer, f, whole, part_space(l, p), out);
}

static rlx_status load_at(nest *l, const rlx_ir_value *v, const coord *c, rlx_format f,
                          rlx_ir_value **out)
{
    const binding *b = bound(v);
    switch (b->kind) {
    case BIND_BUFFER:
        return tile_load(l->k, b->lir, f, c, l->tile ? l->tile : &no_tile, out);
    case BIND_PART:
        return part_at(l, b->part, c, f, out);
    case BIND_ROW: /* it has no axes */
        return done(l, b->lir, out);
    default:
        return k_fail(l->k, v->def, "is not in memory");
    }
}

static rlx_status map_at(nest *l, const rlx_ir_node *n, const coord *c, rlx_ir_value **out)
{
    rlx_ir_value *in[3] = {0};
    for (int i = 0; i < n->nin; i++)
        RLX_TRY(scalar_at(l, n->in[i], c, &in[i])); /* of rank 0: c is not read */
    rlx_attr fn = rlx_attr_int(RLX_ATTR_FN, rlx_ir_attr_int(n, RLX_ATTR_FN, 0));
    return done(l, rlx_ir_build(l->k->b, RLX_LIR_MAP, n->nin, in, 1, &fn, NULL), out);
}

static rlx_status cast_at(nest *l, const rlx_ir_node *n, const coord *c, rlx_ir_value **out)
{
    const rlx_ir_value *x = n->in[0];
    rlx_format f = n->out[0]->type.format;
    if (rlx_format_get(x->type.format)->kind == RLX_KIND_BLOCK)
        return bound(x) ? load_at(l, x, c, f, out)
                        : k_fail(l->k, n, "its elements are not decoded where they are loaded");
    const bool widens = rlx_format_is_float(x->type.format) && f == RLX_F32;
    if (l->tile && widens && bound(x) && bound(x)->kind == BIND_BUFFER)
        return load_at(l, x, c, f, out); /* which decodes: no narrow tile is needed */
    RLX_TRY(scalar_at(l, x, c, out));
    return done(l,
                n->op == RLX_MIR_BITCAST ? rlx_lir_build_bitcast(l->k->b, *out, f)
                                         : rlx_lir_build_cast(l->k->b, *out, f),
                out);
}

static rlx_status broadcast_at(nest *l, const rlx_ir_node *n, const coord *c, rlx_ir_value **out)
{
    const rlx_attr *axes = rlx_ir_attr(n, RLX_ATTR_AXES);
    coord inner[RLX_MAX_RANK];
    for (int i = 0; i < n->in[0]->type.rank; i++)
        inner[i] = c[axes->ints[i]];
    return scalar_at(l, n->in[0], inner, out);
}

static rlx_status slice_at(nest *l, const rlx_ir_node *n, const coord *c, rlx_ir_value **out)
{
    const rlx_ir_value *x = n->in[0];
    coord inner[RLX_MAX_RANK];
    int64_t axis = rlx_ir_attr_int(n, RLX_ATTR_AXIS, 0),
            step = rlx_ir_attr_int(n, RLX_ATTR_STEP, 1);
    copy_coords(c, x->type.rank, inner);
    inner[axis] =
        coord_add(coord_mul(c[axis], step), coord_const(rlx_ir_attr_int(n, RLX_ATTR_START, 0)));
    if (step < 0) /* linear forms are split only when they rise */
        inner[axis] = index_as_term(l, &inner[axis], x->type.dim[axis]);
    return scalar_at(l, x, inner, out);
}

static rlx_status transpose_at(nest *l, const rlx_ir_node *n, const coord *c, rlx_ir_value **out)
{
    const rlx_attr *perm = rlx_ir_attr(n, RLX_ATTR_PERM);
    coord inner[RLX_MAX_RANK];
    for (int i = 0; i < n->in[0]->type.rank; i++)
        inner[perm->ints[i]] = c[i];
    return scalar_at(l, n->in[0], inner, out);
}

static rlx_status window_at(nest *l, const rlx_ir_node *n, const coord *c, rlx_ir_value **out)
{
    coord inner[RLX_MAX_RANK];
    int rank = n->in[0]->type.rank, axis = (int)rlx_ir_attr_int(n, RLX_ATTR_AXIS, 0);
    for (int i = 0; i < rank; i++)
        inner[i] = c[i > axis ? i + 1 : i];
    inner[axis] = index_add(l, coord_mul(c[axis], rlx_ir_attr_int(n, RLX_ATTR_STEP, 1)),
                            coord_mul(c[axis + 1], rlx_ir_attr_int(n, RLX_ATTR_DILATION, 1)));
    return scalar_at(l, n->in[0], inner, out);
}

/* x at an index that is held inside of it. */
static rlx_status held_at(nest *l, const rlx_ir_value *x, const coord *c, int axis, coord at,
                          rlx_ir_value **out)
{
    coord inner[RLX_MAX_RANK];
    copy_coords(c, x->type.rank, inner);
    if (!index_is_one(l, &at))
        return rlx_ir_builder_finish(l->k->b);
    rlx_ir_value *held = k_hold_index(l->k, k_index(l->k, &at), x->type.dim[axis]);
    note_depth(l, held, l->depth);
    inner[axis] = coord_of(held, range_of(x->type.dim[axis]), -1);
    return scalar_at(l, x, inner, out);
}

/* The same, or `none` where that axis is empty, of which nothing is read: in a loop that runs once
 * at most. Its index is part of the coordinate, so that no read moves in front of it. */
static rlx_status some_at(nest *l, const rlx_ir_value *x, const coord *c, int axis, coord at,
                          rlx_ir_value *none, rlx_ir_value **out)
{
    const rlx_dim extent = x->type.dim[axis];
    if (!k_may_be_empty(l->k, extent))
        return held_at(l, x, c, axis, at, out);
    if (l->tile)
        return k_fail(l->k, x->def, "an axis that may be empty, by tiles");
    rlx_ir_value *times = index_map(l, RLX_FN_MIN, k_extent(l->k, extent), k_const(l->k, 1)), *v;
    rlx_lir_scope s;
    rlx_lir_begin_for(l->k->b, k_const(l->k, 0), times, 1, 1, &none, &s);
    if (l->k->b->status)
        return rlx_ir_builder_finish(l->k->b);
    const coord once = nest_enter(l, &s, s.index[0], 0);
    RLX_TRY(nest_overflow(l));
    RLX_TRY(held_at(l, x, c, axis, index_add(l, at, once), &v));
    nest_leave(l);
    rlx_lir_end_for(l->k->b, &s, &v);
    return done(l, s.result[0], out);
}

/* x where the index lies in it, read at an index that is held inside; else fill. */
static rlx_status inside_or(nest *l, const rlx_ir_value *x, const coord *c, int axis, coord at,
                            bool low, bool high, rlx_ir_value *fill, rlx_ir_value **out)
{
    rlx_dim extent = x->type.dim[axis];
    if (!low && !high)
        return scalar_at(l, x, c, out); /* nothing is in front: the index is the same */
    if (!index_is_one(l, &at))
        return rlx_ir_builder_finish(l->k->b);
    rlx_ir_value *raw = k_index(l->k, &at), *in = NULL;
    if (low)
        in = index_map(l, RLX_FN_LE, k_const(l->k, 0), raw);
    if (high) {
        rlx_ir_value *below = index_map(l, RLX_FN_LT, raw, k_extent(l->k, extent));
        in = in ? index_map(l, RLX_FN_AND, in, below) : below;
    }
    rlx_ir_value *v;
    RLX_TRY(some_at(l, x, c, axis, at, fill, &v));
    return done(l, rlx_lir_build_map3(l->k->b, RLX_FN_SELECT, in, v, fill), out);
}

static rlx_status pad_at(nest *l, const rlx_ir_node *n, const coord *c, rlx_ir_value **out)
{
    const rlx_ir_value *x = n->in[0];
    int axis = (int)rlx_ir_attr_int(n, RLX_ATTR_AXIS, 0);
    int64_t low = rlx_ir_attr_int(n, RLX_ATTR_LOW, 0), high = rlx_ir_attr_int(n, RLX_ATTR_HIGH, 0);
    rlx_ir_value *fill;
    RLX_TRY(scalar_at(l, n->in[1], NULL, &fill));
    if (x->type.dim[axis] == 0)
        return done(l, fill, out);
    coord at = coord_add(c[axis], coord_const(-low));
    return inside_or(l, x, c, axis, at, low > 0, high > 0, fill, out);
}

/* From the last operand to the first: the one whose part the index lies in is chosen. */
static rlx_status concat_at(nest *l, const rlx_ir_node *n, const coord *c, rlx_ir_value **out)
{
    int axis = (int)rlx_ir_attr_int(n, RLX_ATTR_AXIS, 0);
    int64_t end = n->out[0]->type.dim[axis];
    if (!rlx_dim_is_const(end))
        return k_fail(l->k, n, "the extents of what is joined are symbols");
    *out = NULL;
    for (int i = n->nin - 1; i >= 0; i--) {
        const rlx_ir_value *x = n->in[i];
        int64_t extent = x->type.dim[axis], start = end - extent;
        if (extent > 0) {
            rlx_ir_value *rest = *out;
            coord at = coord_add(c[axis], coord_const(-start));
            if (!rest) /* whatever lies before is chosen by others */
                RLX_TRY(held_at(l, x, c, axis, at, out));
            else
                RLX_TRY(inside_or(l, x, c, axis, at, start > 0, true, rest, out));
        }
        end = start;
    }
    return RLX_OK;
}

static rlx_ir_value *zero_of(nest *l, rlx_format f)
{
    return rlx_format_is_float(f) ? rlx_lir_build_fill(l->k->b, f, 0, NULL, 0)
                                  : rlx_lir_build_fill_int(l->k->b, f, 0, NULL, 0);
}

static rlx_status gather_at(nest *l, const rlx_ir_node *n, const coord *c, rlx_ir_value **out)
{
    const rlx_ir_value *x = n->in[0], *ids = n->in[1];
    const int rank = ids->type.rank;
    rlx_ir_value *id = recall(l, n, c, rank);
    if (!id) {
        way_back w;
        int depth = depth_of_value(l, ids, c);
        for (int i = 0; i < rank; i++)
            if (!index_is_one(l, &c[i]))
                return rlx_ir_builder_finish(l->k->b);
        go_up(l, depth, &w);
        RLX_TRY(scalar_at(l, ids, c, &id));
        id = k_hold_index(l->k, rlx_lir_build_cast(l->k->b, id, RLX_I64), x->type.dim[0]);
        go_back(l, &w);
        if (!id)
            return rlx_ir_builder_finish(l->k->b);
        note_depth(l, id, depth);
        remember(l, n, c, rank, depth, id);
    }
    coord inner[RLX_MAX_RANK] = {coord_of(id, range_of(x->type.dim[0]), -1)};
    copy_coords(c + rank, x->type.rank - 1, inner + 1);
    if (!k_may_be_empty(l->k, x->type.dim[0]))
        return scalar_at(l, x, inner, out);
    return some_at(l, x, inner, 0, inner[0], zero_of(l, x->type.format), out);
}

/* ---- folds
 * ------------------------------------------------------------------------------------------ */

rlx_ir_value *scalar_fold_start(nest *l, rlx_map_fn fn, rlx_format f)
{
    rlx_scalar start = rlx_mir_fold_start(fn, f);
    const tile_space *t = l->tile ? l->tile : &no_tile;
    if (rlx_format_is_float(f))
        return rlx_lir_build_fill(l->k->b, f, t->rank, t->dim, start.f);
    return rlx_lir_build_fill_int(l->k->b, f, t->rank, t->dim, start.i);
}

/* The partials with element k0 + lane folded in; past the end they stay as they are. */
static rlx_status fold_step(nest *l, const rlx_ir_node *n, const coord *c, coord k0, bool whole,
                            const rlx_lir_scope *s, rlx_ir_value **next)
{
    const rlx_ir_value *x = n->in[0];
    int last = x->type.rank - 1, lanes = (int)rlx_ir_attr_int(n, RLX_ATTR_LANES, 1);
    rlx_map_fn fn = (rlx_map_fn)rlx_ir_attr_int(n, RLX_ATTR_FN, RLX_FN_ADD);
    coord at[RLX_MAX_RANK];
    copy_coords(c, last, at);
    for (int lane = 0; lane < lanes; lane++) {
        rlx_ir_value *v, *live = NULL;
        at[last] = coord_add(k0, coord_const(lane));
        if (!whole) {
            rlx_ir_value *raw = k_index(l->k, &at[last]);
            live = index_map(l, RLX_FN_LT, raw, k_extent(l->k, x->type.dim[last]));
            RLX_TRY(held_at(l, x, at, last, at[last], &v));
        } else {
            RLX_TRY(scalar_at(l, x, at, &v));
        }
        next[lane] = rlx_lir_build_map2(l->k->b, fn, s->carried[lane], v);
        if (live)
            next[lane] =
                rlx_lir_build_map3(l->k->b, RLX_FN_SELECT, live, next[lane], s->carried[lane]);
    }
    return l->k->b->status ? rlx_ir_builder_finish(l->k->b) : RLX_OK;
}

static rlx_status reduce_at(nest *l, const rlx_ir_node *n, const coord *c, rlx_ir_value **out)
{
    const rlx_ir_type *x = &n->in[0]->type;
    rlx_dim extent = x->dim[x->rank - 1];
    rlx_map_fn fn = (rlx_map_fn)rlx_ir_attr_int(n, RLX_ATTR_FN, RLX_FN_ADD);
    int64_t lanes = rlx_ir_attr_int(n, RLX_ATTR_LANES, 1);
    if (lanes > RLX_LIR_MAX_CARRIED)
        return k_fail(l->k, n, "more lanes than a loop carries");
    rlx_ir_value *p[RLX_LIR_MAX_CARRIED], *start = scalar_fold_start(l, fn, x->format);
    if (extent == 0)
        return done(l, start, out);
    for (int64_t i = 0; i < lanes; i++)
        p[i] = start;
    bool whole = lanes == 1 || (rlx_dim_is_const(extent) && extent % lanes == 0);
    rlx_lir_scope s;
    rlx_lir_begin_for(l->k->b, k_const(l->k, 0), k_extent(l->k, extent), lanes, (int)lanes, p, &s);
    if (l->k->b->status)
        return rlx_ir_builder_finish(l->k->b);
    coord k0 = nest_enter(l, &s, s.index[0], whole ? extent - lanes + 1 : 0);
    RLX_TRY(nest_overflow(l));
    RLX_TRY(fold_step(l, n, c, k0, whole, &s, p));
    nest_leave(l);
    rlx_lir_end_for(l->k->b, &s, p);
    for (int64_t h = lanes / 2; h > 0; h /= 2)
        for (int64_t i = 0; i < h; i++)
            s.result[i] = rlx_lir_build_map2(l->k->b, fn, s.result[i], s.result[i + h]);
    return done(l, s.result[0], out);
}

/* ---- any value
 * ---------------------------------------------------------------------------------------- */

static rlx_status compute(nest *l, const rlx_ir_value *v, const coord *c, rlx_ir_value **out)
{
    const rlx_ir_node *n = v->def;
    if (bound(v))
        return load_at(l, v, c, v->type.format, out);
    if (!n)
        return k_fail(l->k, NULL, "a region argument without a buffer");
    switch ((rlx_mir_op)n->op) {
    case RLX_MIR_CONST:
        return done(l, k_scalar(l->k, n), out);
    case RLX_MIR_IOTA:
        if (!index_is_one(l, &c[0]))
            return rlx_ir_builder_finish(l->k->b);
        return done(l, rlx_lir_build_cast(l->k->b, k_index(l->k, &c[0]), v->type.format), out);
    case RLX_MIR_MAP:
        return map_at(l, n, c, out);
    case RLX_MIR_CAST:
    case RLX_MIR_BITCAST:
        return cast_at(l, n, c, out);
    case RLX_MIR_BROADCAST:
        return broadcast_at(l, n, c, out);
    case RLX_MIR_SLICE:
        return slice_at(l, n, c, out);
    case RLX_MIR_TRANSPOSE:
        return transpose_at(l, n, c, out);
    case RLX_MIR_WINDOW:
        return window_at(l, n, c, out);
    case RLX_MIR_PAD:
        return pad_at(l, n, c, out);
    case RLX_MIR_CONCAT:
        return concat_at(l, n, c, out);
    case RLX_MIR_GATHER:
        return gather_at(l, n, c, out);
    case RLX_MIR_REDUCE:
        return reduce_at(l, n, c, out);
    case RLX_MIR_RESHAPE: {
        coord inner[RLX_MAX_RANK];
        RLX_TRY(scalar_reshape(l, &v->type, c, &n->in[0]->type, inner));
        return scalar_at(l, n->in[0], inner, out);
    }
    default:
        return k_fail(l->k, n, "not where an element is computed");
    }
}

rlx_status scalar_at(nest *l, const rlx_ir_value *v, const coord *c, rlx_ir_value **out)
{
    int rank = v->type.rank;
    *out = recall(l, v, c, rank);
    if (*out)
        return RLX_OK;
    int depth = depth_of_value(l, v, c);
    way_back w;
    go_up(l, depth < l->depth ? depth : l->depth, &w);
    RLX_TRY(compute(l, v, c, out));
    go_back(l, &w);
    remember(l, v, c, rank, depth, *out);
    return l->k->b->status ? rlx_ir_builder_finish(l->k->b) : RLX_OK;
}
