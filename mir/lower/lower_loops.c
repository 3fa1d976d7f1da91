/* mir/lower/lower_loops.c: regions of any primitives, as loops over single elements.
 *
 *   grid of the result's leading axes { for each further axis { store the element } }
 *
 * This is the general way: it takes whatever MIR can say within a region of these roots. Regions
 * that tiles can walk go by lower_rows, the others by this. */
#include <string.h>

#include "mir/lower/lower_loops.h"

/* Loops over the first `axes` axes of a shape; the innermost body is the builder's block. */
typedef struct axis_loops {
    int axes, ngrid;
    rlx_lir_scope grid, inner[RLX_MAX_RANK];
} axis_loops;

static rlx_status loops_begin(nest *l, const rlx_ir_type *t, int axes, axis_loops *a, coord *c)
{
    kernel_cx *k = l->k;
    a->axes = axes;
    a->ngrid = axes < RLX_LIR_MAX_GRID ? axes : RLX_LIR_MAX_GRID;
    rlx_ir_value *extents[RLX_LIR_MAX_GRID] = {k_const(k, 1)};
    for (int i = 0; i < a->ngrid; i++)
        extents[i] = k_extent(k, t->dim[i]);
    k_begin_grid(k, a->ngrid ? a->ngrid : 1, extents, &a->grid);
    if (k->b->status)
        return rlx_ir_builder_finish(k->b);
    for (int i = 0; i < a->ngrid; i++) {
        c[i] = nest_enter(l, &a->grid, a->grid.index[i], t->dim[i]);
        l->depth = 0; /* all of them are of the one body */
    }
    l->depth = 1;
    l->loop[1] = a->grid.node;
    for (int i = a->ngrid; i < axes; i++) {
        rlx_lir_begin_for(k->b, k_const(k, 0), k_extent(k, t->dim[i]), 1, 0, NULL, &a->inner[i]);
        if (k->b->status)
            return rlx_ir_builder_finish(k->b);
        c[i] = nest_enter(l, &a->inner[i], a->inner[i].index[0], t->dim[i]);
    }
    return RLX_OK;
}

static rlx_status loops_end(nest *l, axis_loops *a)
{
    for (int i = a->axes - 1; i >= a->ngrid; i--) {
        nest_leave(l);
        rlx_lir_end_for(l->k->b, &a->inner[i], NULL);
    }
    nest_leave(l);
    rlx_lir_end_grid(l->k->b, &a->grid);
    return rlx_ir_builder_finish(l->k->b);
}

/* Stores the leaf's element at c where the steps lead. */
static rlx_status store_element(nest *l, const leaf *f, rlx_ir_value *x, const coord *c)
{
    coord at[RLX_MAX_RANK], next[RLX_MAX_RANK];
    const rlx_ir_value *v = f->value;
    memcpy(at, c, sizeof *at * (size_t)v->type.rank);
    for (int s = f->nsteps - 1; s >= 0; s--) {
        const rlx_ir_node *n = f->step[s].node;
        const rlx_ir_value *outer = n->out[0];
        if (n->op == RLX_MIR_RESHAPE) {
            RLX_TRY(scalar_reshape(l, &v->type, at, &outer->type, next));
            memcpy(at, next, sizeof *at * (size_t)outer->type.rank);
        } else if (n->op == RLX_MIR_CAST) {
            x = rlx_lir_build_cast(l->k->b, x, outer->type.format);
            if (!x)
                return rlx_ir_builder_finish(l->k->b);
        } else {
            int64_t axis = rlx_ir_attr_int(n, RLX_ATTR_AXIS, 0);
            at[axis] = coord_add(at[axis], coord_extent(l->k, f->step[s].offset));
        }
        v = outer;
    }
    tile_space none = {0};
    return tile_store(l->k, f->buffer, x, at, &none);
}

/* Every element of the leaf on its own. */
static rlx_status lower_elements(nest *l, const leaf *f)
{
    const rlx_ir_value *v = f->value;
    axis_loops a;
    coord c[RLX_MAX_RANK];
    rlx_ir_value *x;
    RLX_TRY(loops_begin(l, &v->type, v->type.rank, &a, c));
    RLX_TRY(nest_overflow(l));
    RLX_TRY(scalar_at(l, v, c, &x));
    RLX_TRY(store_element(l, f, x, c));
    return loops_end(l, &a);
}

/* Rows of running folds: the last axis carries what is folded so far. */
static rlx_status lower_scan(nest *l, const leaf *f)
{
    const rlx_ir_node *n = f->value->def;
    const rlx_ir_type *t = &f->value->type;
    rlx_map_fn fn = (rlx_map_fn)rlx_ir_attr_int(n, RLX_ATTR_FN, RLX_FN_ADD);
    rlx_ir_builder *b = l->k->b;
    int last = t->rank - 1;
    axis_loops a;
    coord c[RLX_MAX_RANK];
    RLX_TRY(loops_begin(l, t, last, &a, c));
    rlx_ir_value *carried = scalar_fold_start(l, fn, t->format), *x;
    rlx_lir_scope s;
    rlx_lir_begin_for(b, k_const(l->k, 0), k_extent(l->k, t->dim[last]), 1, 1, &carried, &s);
    if (b->status)
        return rlx_ir_builder_finish(b);
    c[last] = nest_enter(l, &s, s.index[0], t->dim[last]);
    RLX_TRY(nest_overflow(l));
    RLX_TRY(scalar_at(l, n->in[0], c, &x));
    rlx_ir_value *first = rlx_lir_build_map2(b, RLX_FN_EQ, s.index[0], k_const(l->k, 0));
    rlx_ir_value *next = rlx_lir_build_map2(b, fn, s.carried[0], x);
    next = rlx_lir_build_map3(b, RLX_FN_SELECT, first, x, next);
    RLX_TRY(store_element(l, f, next, c));
    nest_leave(l);
    rlx_lir_end_for(b, &s, &next);
    return loops_end(l, &a);
}

/* No element at all: a store that never runs, so that the result counts as written. */
static rlx_status lower_nothing(nest *l, const leaf *f)
{
    const rlx_ir_type *t = &f->buffer->type;
    axis_loops a;
    coord c[RLX_MAX_RANK];
    tile_space none = {0};
    RLX_TRY(loops_begin(l, t, t->rank, &a, c));
    rlx_map_fn fn = t->format == RLX_BOOL ? RLX_FN_OR : RLX_FN_ADD;
    rlx_ir_value *x = scalar_fold_start(l, fn, t->format);
    if (!x)
        return rlx_ir_builder_finish(l->k->b);
    RLX_TRY(tile_store(l->k, f->buffer, x, c, &none));
    return loops_end(l, &a);
}

static rlx_status lower_leaf(kernel_cx *k, const leaf *f)
{
    nest l = {.k = k};
    if (f->page)
        return k_fail(k, f->page, "writes pages by tiles only");
    if (rlx_mir_is_empty(&f->value->type))
        return lower_nothing(&l, f);
    const rlx_ir_node *n = bound(f->value) ? NULL : f->value->def;
    return n && n->op == RLX_MIR_SCAN ? lower_scan(&l, f) : lower_elements(&l, f);
}

rlx_status loops_store(kernel_cx *k, const rlx_ir_value *v, rlx_ir_value *buffer)
{
    leaf leaves[MAX_LEAVES];
    int n;
    RLX_TRY(sink_leaves(k, v, buffer, leaves, &n));
    for (int j = 0; j < n; j++)
        RLX_TRY(lower_leaf(k, &leaves[j]));
    return RLX_OK;
}

/* ---- scatter
 * -------------------------------------------------------------------------------------- */

/* Rows t ascending, for every place within a row on its own: instances store to different elements.
 */
static rlx_status scatter_rows(nest *l, const rlx_ir_node *n, rlx_ir_value *y)
{
    const rlx_ir_type *u = &n->in[2]->type;
    rlx_ir_builder *b = l->k->b;
    rlx_ir_type within = rlx_ir_tensor(u->format, u->rank - 1, u->dim + 1);
    axis_loops a;
    coord c[RLX_MAX_RANK];
    tile_space none = {0};
    rlx_lir_scope s;
    rlx_ir_value *id, *v, *old;
    RLX_TRY(loops_begin(l, &within, within.rank, &a, c + 1));
    rlx_ir_value *rows = k_extent(l->k, n->in[0]->type.dim[0]);
    rlx_ir_value *count = k_extent(l->k, u->dim[0]); /* none when there is no row to put them in */
    count =
        rlx_lir_build_map2(b, RLX_FN_MIN, count, rlx_lir_build_map2(b, RLX_FN_MUL, count, rows));
    rlx_lir_begin_for(b, k_const(l->k, 0), count, 1, 0, NULL, &s);
    if (b->status)
        return rlx_ir_builder_finish(b);
    c[0] = nest_enter(l, &s, s.index[0], u->dim[0]);
    RLX_TRY(nest_overflow(l));
    RLX_TRY(scalar_at(l, n->in[1], c, &id));
    RLX_TRY(scalar_at(l, n->in[2], c, &v));
    id = rlx_lir_build_cast(b, id, RLX_I64);
    rlx_ir_value *zero = k_const(l->k, 0);
    rlx_ir_value *last = rlx_lir_build_map2(b, RLX_FN_SUB, rows, k_const(l->k, 1));
    rlx_ir_value *in = rlx_lir_build_map2(b, RLX_FN_AND, rlx_lir_build_map2(b, RLX_FN_LE, zero, id),
                                          rlx_lir_build_map2(b, RLX_FN_LT, id, rows));
    id = rlx_lir_build_map2(b, RLX_FN_MIN, rlx_lir_build_map2(b, RLX_FN_MAX, id, zero), last);
    if (b->status)
        return rlx_ir_builder_finish(b);
    c[0] = coord_of(id, 0, -1);
    RLX_TRY(tile_load(l->k, y, y->type.format, c, &none, &old));
    if (rlx_ir_attr(n, RLX_ATTR_FN))
        v = rlx_lir_build_map2(b, (rlx_map_fn)rlx_ir_attr_int(n, RLX_ATTR_FN, 0), old, v);
    v = rlx_lir_build_map3(b, RLX_FN_SELECT, in, v, old);
    if (b->status)
        return rlx_ir_builder_finish(b);
    RLX_TRY(tile_store(l->k, y, v, c, &none));
    nest_leave(l);
    rlx_lir_end_for(b, &s, NULL);
    return loops_end(l, &a);
}

/* A kernel that copies x to the result, then one that changes it. */
static rlx_status lower_scatter(region_cx *r, const rlx_ir_node *n)
{
    kernel_cx k;
    RLX_TRY(kernel_begin(r, &k, "scatter", "loops"));
    RLX_TRY(loops_store(&k, n->in[0], kernel_result(&k, 0)));
    RLX_TRY(kernel_end(r, &k));
    if (rlx_mir_is_empty(&n->in[2]->type) || rlx_mir_is_empty(&n->in[0]->type))
        return RLX_OK;
    RLX_TRY(kernel_begin(r, &k, "scatter", "loops"));
    nest l = {.k = &k};
    RLX_TRY(scatter_rows(&l, n, kernel_result(&k, 0)));
    return kernel_end(r, &k);
}

rlx_status lower_loops(region_cx *r)
{
    const rlx_ir_node *yield = r->node->blocks[0]->last;
    if (yield->nin == 1 && yield->in[0]->def && yield->in[0]->def->op == RLX_MIR_SCATTER)
        return lower_scatter(r, yield->in[0]->def);
    kernel_cx k;
    RLX_TRY(kernel_begin(r, &k, rlx_ir_attr_text(r->node, RLX_ATTR_ROOT, "map"), "loops"));
    for (int i = 0; i < yield->nin; i++)
        RLX_TRY(loops_store(&k, yield->in[i], kernel_result(&k, i)));
    return kernel_end(r, &k);
}
