/* mir/lower/lower_rows.c: row reductions with their maps, and elementwise regions.
 *
 *   grid rows { for each reduce: lanes of partial sums over the row, combined; then the row's tiles
 * }
 */
#include <math.h>

#include "mir/lower/lower.h"

int rows_rank(const rlx_ir_value *v)
{
    const rlx_ir_node *n = v->def;
    if (!n || (bound(v) && bound(v)->kind != BIND_ROW))
        return -1;
    int rank = n->op == RLX_MIR_REDUCE ? v->type.rank : -1;
    for (int i = 0; i < n->nin; i++) {
        int inner = rows_rank(n->in[i]);
        if (rank < 0)
            rank = inner;
        else if (inner >= 0 && inner != rank)
            return -1;
    }
    return rank;
}

void rows_unbind(const rlx_ir_value *v)
{
    const rlx_ir_node *n = v->def;
    if (!n)
        return;
    if (bound(v) && bound(v)->kind == BIND_ROW)
        ((rlx_ir_value *)v)->scratch = NULL;
    for (int i = 0; i < n->nin; i++)
        rows_unbind(n->in[i]);
}

/* One reduce over the row: element k goes to partial k mod lanes; elements past the end leave their
 * partial as it is. */
static rlx_status bind_reduce(kernel_cx *k, const rlx_ir_node *n, const coord *row)
{
    const rlx_ir_value *x = n->in[0];
    int last = x->type.rank - 1;
    rlx_dim extent = x->type.dim[last];
    int64_t lanes = rlx_ir_attr_int(n, RLX_ATTR_LANES, 16);
    rlx_map_fn fn = (rlx_map_fn)rlx_ir_attr_int(n, RLX_ATTR_FN, RLX_FN_ADD);
    if (!rlx_format_is_float(x->type.format) || (fn != RLX_FN_ADD && fn != RLX_FN_MAX))
        return k_fail(k, n, "rows are folded by add or max of floats");
    double identity = fn == RLX_FN_MAX ? -INFINITY : 0.0;
    rlx_ir_value *acc = rlx_lir_build_fill(k->b, x->type.format, 1, &lanes, identity);
    rlx_ir_value *hi = k_extent(k, extent);
    rlx_lir_scope s;
    rlx_lir_begin_for(k->b, k_const(k, 0), hi, lanes, 1, &acc, &s);
    if (k->b->status)
        return rlx_ir_builder_finish(k->b);
    bool whole = rlx_dim_is_const(extent) && extent % lanes == 0;
    tile_space ts = {.rank = 1, .dim = {lanes}, .root = {s.index[0]}, .limit = {whole ? NULL : hi}};
    coord c[RLX_MAX_RANK];
    for (int i = 0; i < last; i++)
        c[i] = row[i];
    c[last] = coord_of(s.index[0], rlx_dim_is_const(extent) ? extent : 0, 0);
    rlx_ir_value *tile;
    RLX_TRY(tile_at(k, x, c, &ts, &tile));
    rlx_ir_value *next = rlx_lir_build_map2(k->b, fn, s.carried[0], tile);
    if (!whole) {
        rlx_ir_value *lane = rlx_lir_build_iota(k->b, RLX_I64, 1, &lanes);
        lane = rlx_lir_build_map2(k->b, RLX_FN_ADD, lane, s.index[0]);
        rlx_ir_value *live = rlx_lir_build_map2(k->b, RLX_FN_LT, lane, hi);
        next = rlx_lir_build_map3(k->b, RLX_FN_SELECT, live, next, s.carried[0]);
    }
    rlx_lir_end_for(k->b, &s, &next);
    rlx_ir_value *sum = rlx_lir_build_reduce(k->b, fn, s.result[0]);
    binding *b = k_bind(k, n->out[0], BIND_ROW, sum);
    for (int i = 0; b && i < last; i++)
        b->at[i] = row[i];
    return rlx_ir_builder_finish(k->b);
}

rlx_status rows_bind(kernel_cx *k, const rlx_ir_value *v, const coord *row)
{
    const rlx_ir_node *n = v->def;
    if (!n || bound(v))
        return RLX_OK;
    for (int i = 0; i < n->nin; i++)
        RLX_TRY(rows_bind(k, n->in[i], row));
    return n->op == RLX_MIR_REDUCE ? bind_reduce(k, n, row) : RLX_OK;
}

/* One part of a result: grid over its leading axes (all but the last, or the reduces' rows). */
static rlx_status lower_leaf(kernel_cx *k, const leaf *l)
{
    const rlx_ir_value *v = l->value;
    int rows = rows_rank(v);
    if (rows < 0)
        rows = v->type.rank > 1 ? v->type.rank - 1 : 0;
    else if (rows > v->type.rank)
        return k_fail(k, v->def, "a reduction of more rows than the result has");
    int ngrid = rows < RLX_LIR_MAX_GRID ? rows : RLX_LIR_MAX_GRID;
    rlx_ir_value *extents[RLX_LIR_MAX_GRID] = {k_const(k, 1)};
    for (int i = 0; i < ngrid; i++)
        extents[i] = k_extent(k, v->type.dim[i]);
    rlx_lir_scope grid, inner[RLX_MAX_RANK];
    k_begin_grid(k, ngrid ? ngrid : 1, extents, &grid);
    if (k->b->status)
        return rlx_ir_builder_finish(k->b);
    coord c[RLX_MAX_RANK];
    for (int i = 0; i < rows; i++) {
        rlx_ir_value *index = i < ngrid ? grid.index[i] : NULL;
        if (!index) {
            rlx_lir_begin_for(k->b, k_const(k, 0), k_extent(k, v->type.dim[i]), 1, 0, NULL,
                              &inner[i]);
            index = inner[i].index[0];
        }
        c[i] = coord_of(index, rlx_dim_is_const(v->type.dim[i]) ? v->type.dim[i] : 0, -1);
    }
    if (k->b->status)
        return rlx_ir_builder_finish(k->b);
    RLX_TRY(rows_bind(k, v, c));
    RLX_TRY(sink_loop_whole(k, l, c, rows));
    rows_unbind(v);
    for (int i = rows - 1; i >= ngrid; i--)
        rlx_lir_end_for(k->b, &inner[i], NULL);
    rlx_lir_end_grid(k->b, &grid);
    return rlx_ir_builder_finish(k->b);
}

static rlx_status lower_results(kernel_cx *k, const rlx_ir_node *yield)
{
    for (int i = 0; i < yield->nin; i++) {
        leaf leaves[MAX_LEAVES];
        int n;
        RLX_TRY(sink_leaves(k, yield->in[i], kernel_result(k, i), leaves, &n));
        for (int j = 0; j < n; j++)
            RLX_TRY(lower_leaf(k, &leaves[j]));
    }
    return RLX_OK;
}

rlx_status lower_rows(region_cx *r)
{
    kernel_cx k;
    RLX_TRY(kernel_begin(r, &k, rlx_ir_attr_text(r->node, RLX_ATTR_ROOT, "map"), "rows"));
    rlx_status st = lower_results(&k, r->node->blocks[0]->last);
    if (st) {
        kernel_drop(r, &k);
        return st;
    }
    return kernel_end(r, &k);
}
