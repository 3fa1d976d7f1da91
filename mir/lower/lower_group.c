/* mir/lower/lower_group.c: what every lowering of a contraction region begins and ends with: which
 * results go together, the rows of a prologue, the epilogue of a unit's row, names. */
#include "mir/lower/lower_group.h"

#include "runtime/base/chunk_dot.h"

static void find_contracts(const rlx_ir_value *v, group *g)
{
    const rlx_ir_node *n = v->def;
    if (!n)
        return;
    if (rlx_mir_is_contract(n)) {
        for (int i = 0; i < g->ncontracts; i++)
            if (g->contract[i] == n)
                return;
        if (g->ncontracts < MAX_CONTRACTS)
            g->contract[g->ncontracts++] = n;
        return; /* contractions of contractions do not share a kernel: checked by the caller */
    }
    for (int i = 0; i < n->nin; i++)
        find_contracts(n->in[i], g);
}

static bool groups_share(const group *a, const group *b)
{
    for (int i = 0; i < a->ncontracts; i++)
        for (int j = 0; j < b->ncontracts; j++)
            if (a->contract[i] == b->contract[j])
                return true;
    return false;
}

static int64_t product_from(const rlx_ir_type *t, int64_t axis)
{
    int64_t p = 1;
    for (int i = (int)axis; i < t->rank; i++)
        p = rlx_dim_is_const(t->dim[i]) ? p * t->dim[i] : 0;
    return p;
}

static void at_least(int64_t *unit, int64_t v)
{
    if (*unit < v)
        *unit = v;
}

static bool depends_on_contract(const rlx_ir_value *v)
{
    return value_depends(v, RLX_MIR_CONTRACT) || value_depends(v, RLX_MIR_CONTRACT_Q);
}

/* Columns of the contraction that one row of the epilogue must have at hand together; values are
 * [lead.., row, ..]. */
static void unit_below(const rlx_ir_value *v, int nlead, int64_t *unit)
{
    const rlx_ir_node *n = v->def;
    if (!n || bound(v) || rlx_mir_is_contract(n) || !depends_on_contract(v))
        return;
    if (n->op == RLX_MIR_SLICE || n->op == RLX_MIR_CONCAT) {
        int64_t axis = rlx_ir_attr_int(n, RLX_ATTR_AXIS, 0);
        const rlx_ir_type *whole = n->op == RLX_MIR_SLICE ? &n->in[0]->type : &n->out[0]->type;
        at_least(unit, product_from(whole, axis));
    }
    if (n->op == RLX_MIR_RESHAPE && v->type.rank > nlead + 2)
        at_least(unit, product_from(&v->type, nlead + 2));
    if (n->op == RLX_MIR_PAGE_WRITE)
        at_least(unit, n->in[1]->type.dim[2]);
    for (int i = 0; i < n->nin; i++)
        unit_below(n->in[i], nlead, unit);
}

/* Columns of a gated row whose gate goes together, on CPUs: sums of codes come one by one, and by itself each would
 * take an exponential of its own. 0: they go as they come, as where threads would have too few blocks to share
 * them evenly. */
static int64_t columns_together(const kernel_cx *k, const group *g, int64_t lanes)
{
    enum { MOST = 32, LEAST = 16, BLOCKS = 8 };
    const rlx_lir_target *t = k->options->target;
    const bool gated = g->ncontracts == 2 && g->nresults == 1 && !g->ids;
    if (t->unit != RLX_UNIT_CPU || !gated || lanes == 1 ||
        g->contract[0]->op != RLX_MIR_CONTRACT_Q || !rlx_dim_is_const(g->n))
        return 0;
    for (int64_t columns = MOST; columns >= LEAST; columns /= 2)
        if (g->n % columns == 0 && g->n / columns >= BLOCKS * t->threads)
            return columns;
    return 0;
}

/* Rows of one matrix go together when there are more rows than matrices, and where panels are made
 * of weights. Without panels they go one by one: `rows` at a time. */
static rlx_status describe_choice(kernel_cx *k, group *g, int64_t matrices, int64_t lanes,
                                  int64_t *rows)
{
    const rlx_ir_node *first = g->contract[0];
    const bool panels = lanes == 1 && k->options->target->unit == RLX_UNIT_CPU;
    if (g->unit)
        return k_fail(k, first, "rows that choose their matrix are stored by tiles of columns");
    for (int i = 0; i < g->nlead; i++)
        *rows *= k_upper(k, g->ids->type.dim[i]);
    g->by_matrix = panels || *rows > matrices;
    if (!panels)
        *rows = 1;
    return RLX_OK;
}

/* The most that an extent may be; blocks are never empty. */
static int64_t at_least_one(const kernel_cx *k, rlx_dim d)
{
    const int64_t most = k_upper(k, d);
    return most > 0 ? most : 1;
}

/* Of normalised activations [.., K]: how many rows at most; 0: they are not normalised. */
static int64_t prologue_rows(const kernel_cx *k, const rlx_ir_value *a)
{
    int64_t rows = value_depends(a, RLX_MIR_REDUCE);
    for (int i = 0; i < a->type.rank - 1; i++)
        rows *= at_least_one(k, a->type.dim[i]);
    return rows;
}

/* What blocks of weights need in team memory: planes of codes, sums of a row, minima of a column. */
static void describe_blocks(const group *g, rlx_lir_contract_shape *shape)
{
    unsigned widths = 0, summed = 0; /* bits: powers of two */
    for (int i = 0; i < g->ncontracts; i++) {
        const rlx_format f = g->contract[i]->in[3]->type.format;
        const unsigned width = (unsigned)rlx_format_group(f);
        shape->widths += (widths & width) == 0;
        shape->group = widths && shape->group < (int)width ? shape->group : (int)width;
        widths |= width;
        if (rlx_format_signed_codes(f) && !(summed & width))
            shape->sums += shape->k / width;
        summed |= rlx_format_signed_codes(f) ? width : 0;
        if (rlx_format_has_min(f))
            shape->minima += shape->k / width;
    }
}

/* Whether the target adds up as the region's numerics says. */
static rlx_status check_unit(kernel_cx *k, const rlx_ir_node *n)
{
    const rlx_lir_target *t = k->options->target;
    const bool cpu = t->unit == RLX_UNIT_CPU;
    const int64_t width = rlx_ir_attr_int(n, RLX_ATTR_WIDTH, 0);
    if (n->op == RLX_MIR_CONTRACT_Q && rlx_ir_attr_int(n, RLX_ATTR_LANES, 0) == 1 && !cpu &&
        !t->byte_matrix.m)
        return k_fail(k, n, "one sum of codes is lowered for CPUs, and for matrix units");
    if (width && (cpu ? rlx_chunk_is_width(width) : width != t->float_matrix.k))
        return k_fail(k, n, "the target has no unit that adds up products of that width");
    if (width && !cpu && rlx_mir_contract_ids(n))
        return k_fail(k, n, "products by chunks are of one matrix, which no row chooses");
    if (width && !cpu && !rlx_dim_is_const(n->in[0]->type.dim[n->in[0]->type.rank - 1]))
        return k_fail(k, n, "products by chunks want K to be a constant");
    return RLX_OK;
}

static rlx_status describe_group(kernel_cx *k, group *g, const rlx_ir_node *yield)
{
    const rlx_ir_node *first = g->contract[0];
    const rlx_ir_type *a = &first->in[0]->type, *w = &rlx_mir_contract_weight(first)->type;
    const int axes = first->out[0]->type.rank;
    int64_t lanes = rlx_ir_attr_int(first, RLX_ATTR_LANES, 16);
    if (a->rank < 2 || (a->rank > 2 && first->op == RLX_MIR_CONTRACT_Q))
        return k_fail(k, first,
                      a->rank < 2 ? "contractions take two axes or more: tokens and features"
                                  : "products of codes are for two axes: tokens and features");
    for (int i = 0; i < g->ncontracts; i++) {
        const rlx_ir_node *n = g->contract[i];
        if (n->in[0] != first->in[0] || !rlx_ir_shape_equal(&rlx_mir_contract_weight(n)->type, w) ||
            rlx_ir_attr_int(n, RLX_ATTR_LANES, 16) != lanes ||
            rlx_mir_contract_ids(n) != rlx_mir_contract_ids(first))
            return k_fail(k, n,
                          "one result needs contractions that differ in operands, shapes or lanes");
        if (depends_on_contract(n->in[0]))
            return k_fail(k, n, "a contraction of a contraction in one region");
    }
    RLX_TRY(check_unit(k, first));
    g->nlead = axes - 2;
    g->m = first->out[0]->type.dim[g->nlead];
    g->k = a->dim[a->rank - 1];
    g->n = w->dim[w->rank - 2];
    g->ids = rlx_mir_contract_ids(first);
    g->nbatch = g->ids ? 0 : w->rank - 2;
    int64_t batch = 1;
    for (int i = 0; i < g->nlead && !g->ids; i++)
        batch *= at_least_one(k, a->dim[i]);
    for (int i = 0; i < g->nresults; i++)
        unit_below(yield->in[g->result[i]], g->nlead, &g->unit);
    if (g->unit && (!rlx_dim_is_const(g->n) || g->n % g->unit))
        return k_fail(k, first, "heads do not divide the columns");
    int64_t rows = at_least_one(k, g->m);
    if (!g->unit && rows == 1)
        g->unit = columns_together(k, g, lanes);
    if (g->ids)
        RLX_TRY(describe_choice(k, g, w->dim[0], lanes, &rows));
    rlx_lir_contract_shape shape = {.m = rows > 0 ? rows : 1,
                                    .n = at_least_one(k, g->n),
                                    .k = at_least_one(k, g->k),
                                    .batch = batch,
                                    .unit = g->unit,
                                    .contracts = g->ncontracts,
                                    .lanes = (int)lanes,
                                    .width = (int)rlx_ir_attr_int(first, RLX_ATTR_WIDTH, 0),
                                    .quantized = first->op == RLX_MIR_CONTRACT_Q,
                                    .whole = rlx_dim_is_const(g->k) && !g->ids,
                                    .prologue = g->by_matrix ? 0 : prologue_rows(k, first->in[0])};
    if (shape.quantized)
        describe_blocks(g, &shape);
    rlx_lir_schedule_contract(k->options->target, &shape, &g->s);
    return RLX_OK;
}

/* The results of the region by group. */
rlx_status groups_make(kernel_cx *k, const rlx_ir_node *yield, group *groups, int *ngroups)
{
    *ngroups = 0;
    for (int i = 0; i < yield->nin; i++) {
        group g = {0};
        find_contracts(yield->in[i], &g);
        if (g.ncontracts == 0)
            return k_fail(k, yield->in[i]->def, "a result without the region's contraction");
        g.result[g.nresults++] = i;
        for (int j = 0; j < *ngroups;) {
            if (!groups_share(&groups[j], &g)) {
                j++;
                continue;
            }
            if (g.nresults + groups[j].nresults > MAX_RESULTS)
                return k_fail(k, yield, "too many results of one contraction");
            for (int c = 0; c < groups[j].nresults; c++)
                g.result[g.nresults++] = groups[j].result[c];
            groups[j] = groups[--*ngroups];
        }
        if (*ngroups == MAX_RESULTS)
            return k_fail(k, yield, "too many results");
        groups[(*ngroups)++] = g;
    }
    for (int j = 0; j < *ngroups; j++) {
        groups[j].ncontracts = 0;
        for (int i = 0; i < groups[j].nresults; i++)
            find_contracts(yield->in[groups[j].result[i]], &groups[j]);
        RLX_TRY(describe_group(k, &groups[j], yield));
    }
    return RLX_OK;
}

/* The tile axis that runs along the last axis of the memory behind v at c; -1: none. */
static int innermost_axis(kernel_cx *k, const rlx_ir_value *v, const coord *c)
{
    const rlx_ir_node *n = v->def;
    coord inner[RLX_MAX_RANK];
    const bool memory = !n || bound(v) || (n->op == RLX_MIR_RESHAPE && !n->in[0]->def);
    if (memory)
        return v->type.rank ? coord_axis(&c[v->type.rank - 1]) : -1;
    const rlx_attr *perm = rlx_ir_attr(n, RLX_ATTR_PERM), *axes = rlx_ir_attr(n, RLX_ATTR_AXES);
    switch ((rlx_mir_op)n->op) {
    case RLX_MIR_TRANSPOSE:
        for (int i = 0; i < v->type.rank; i++)
            inner[perm->ints[i]] = c[i];
        return innermost_axis(k, n->in[0], inner);
    case RLX_MIR_BROADCAST:
        for (int i = 0; i < n->in[0]->type.rank; i++)
            inner[i] = c[axes->ints[i]];
        return innermost_axis(k, n->in[0], inner);
    case RLX_MIR_RESHAPE: {
        rlx_status st = coord_reshape(k->dims, &v->type, c, &n->in[0]->type, inner, n->place);
        const bool linear = !st;
        rlx_status_free(st);
        return linear ? innermost_axis(k, n->in[0], inner) : -1;
    }
    case RLX_MIR_CAST:
    case RLX_MIR_SLICE:
    case RLX_MIR_MAP:
        return innermost_axis(k, n->in[0], c);
    default:
        return -1;
    }
}

enum { ROW_AXIS, K_AXIS };

/* Of an operand [.., rows, K]. */
static int innermost_of(kernel_cx *k, const rlx_ir_value *v)
{
    const rlx_ir_type *t = &v->type;
    coord c[RLX_MAX_RANK] = {0};
    for (int axis = 0; axis < 2; axis++) {
        const int at = t->rank - 2 + axis;
        c[at] = coord_of(NULL, range_of(t->dim[at]), axis);
    }
    return innermost_axis(k, v, c);
}

bool group_runs_by_columns(kernel_cx *k, const rlx_ir_node *contract)
{
    return innermost_of(k, rlx_mir_contract_weight(contract)) == ROW_AXIS;
}

bool group_reads_in_place(kernel_cx *k, const rlx_ir_value *a)
{
    for (const rlx_ir_value *v = a; v->def; v = v->def->in[0])
        if (v->def->op != RLX_MIR_TRANSPOSE && v->def->op != RLX_MIR_RESHAPE &&
            v->def->op != RLX_MIR_SLICE)
            return false;
    return innermost_of(k, a) == K_AXIS;
}

/* ---- instances */

rlx_ir_value *group_columns_end(kernel_cx *k, const group *g, int64_t by)
{
    return rlx_dim_is_const(g->n) && g->n % by == 0 ? NULL : k_extent(k, g->n);
}

/* How many indices the leading axes have together, made at the kernel's top. */
static rlx_ir_value *count_leading(kernel_cx *k, const group *g, const rlx_ir_type *a)
{
    rlx_ir_value *all = k_extent(k, a->dim[0]);
    for (int i = 1; i < g->nlead; i++)
        all = rlx_lir_build_map2(&k->top, RLX_FN_MUL, all, k_extent(k, a->dim[i]));
    return all;
}

/* Takes an index of all leading axes apart. */
static void place_leading(kernel_cx *k, group *g, const rlx_ir_type *a, rlx_ir_value *index)
{
    for (int i = g->nlead - 1; i >= 0; i--) {
        rlx_ir_value *extent = k_extent(k, a->dim[i]), *at = index;
        if (i > 0) {
            at = rlx_lir_build_map2(k->b, RLX_FN_MOD, index, extent);
            index = rlx_lir_build_map2(k->b, RLX_FN_DIV, index, extent);
        }
        g->lead[i] = a->dim[i] == 1 ? coord_const(0) : coord_of(at, range_of(a->dim[i]), -1);
    }
}

rlx_status group_begin_grid(kernel_cx *k, group *g, rlx_ir_value *columns, rlx_ir_value *rows,
                            group_grid *s)
{
    const rlx_ir_type *a = &g->contract[0]->in[0]->type;
    rlx_ir_value *extents[RLX_LIR_MAX_GRID] = {columns, rows};
    if (g->nlead > 0)
        extents[2] = count_leading(k, g, a);
    if (k->top.status)
        return rlx_ir_builder_finish(&k->top);
    k_begin_grid(k, g->nlead > 0 ? 3 : 2, extents, &s->grid);
    if (k->b->status)
        return rlx_ir_builder_finish(k->b);
    place_leading(k, g, a, s->grid.index[2]);
    s->column = s->grid.index[0];
    s->row = s->grid.index[1];
    return k->b->status ? rlx_ir_builder_finish(k->b) : RLX_OK;
}

rlx_status group_end_grid(kernel_cx *k, group_grid *s)
{
    rlx_lir_end_grid(k->b, &s->grid);
    return rlx_ir_builder_finish(k->b);
}

/* ---- the epilogue on blocks of rows */

/* One leaf of a unit's row: which of its axes the unit index gives, and loops over the rest. */
static rlx_status store_leaf(kernel_cx *k, const group *g, const leaf *l, coord row, coord unit)
{
    const rlx_ir_type *t = &l->value->type;
    int64_t units = g->n / g->unit;
    const int axis = g->nlead + 1;
    coord c[RLX_MAX_RANK];
    group_place(g, row, unit, c);
    if (t->rank > axis && t->dim[axis] == units)
        return sink_loop_whole(k, l, c, axis + 1);
    if (t->rank > axis && rlx_dim_is_const(t->dim[axis]) && t->dim[axis] % units == 0) {
        c[axis] = coord_mul(unit, t->dim[axis] / units);
        return sink_loop(k, l, c, axis, t->dim[axis] / units);
    }
    return k_fail(k, l->value->def, "the epilogue's shape does not follow the heads");
}

rlx_status group_store_unit(kernel_cx *k, const group *g, const rlx_ir_node *yield, coord row,
                            coord unit)
{
    for (int i = 0; i < g->nresults; i++) {
        leaf leaves[MAX_LEAVES];
        int n, result = g->result[i];
        RLX_TRY(sink_leaves(k, yield->in[result], kernel_result(k, result), leaves, &n));
        for (int j = 0; j < n; j++)
            RLX_TRY(store_leaf(k, g, &leaves[j], row, unit));
    }
    return RLX_OK;
}

/* ---- the prologue */

/* One row of `a` into memory: team memory in a once block, or a temp in a kernel of its own. */
static rlx_status store_row(kernel_cx *k, const rlx_ir_value *a, rlx_ir_value *memory, coord *row)
{
    leaf l = {.value = a, .result = a, .buffer = memory};
    RLX_TRY(rows_bind(k, a, row));
    RLX_TRY(sink_loop_whole(k, &l, row, a->type.rank - 1));
    rows_unbind(a);
    return RLX_OK;
}

/* The same of all rows, in loops over axes from `first` on; `row` has the coordinates before. */
static rlx_status store_rows(kernel_cx *k, const rlx_ir_value *a, rlx_ir_value *memory, int first,
                             coord *row)
{
    rlx_lir_scope loop[RLX_MAX_RANK];
    const int rows = a->type.rank - 1;
    for (int i = first; i < rows && !k->b->status; i++) {
        rlx_dim d = a->type.dim[i];
        rlx_lir_begin_for(k->b, k_const(k, 0), k_extent(k, d), 1, 0, NULL, &loop[i]);
        row[i] = coord_of(loop[i].index[0], rlx_dim_is_const(d) ? d : 0, -1);
    }
    if (k->b->status)
        return rlx_ir_builder_finish(k->b);
    RLX_TRY(store_row(k, a, memory, row));
    for (int i = rows - 1; i >= first; i--)
        rlx_lir_end_for(k->b, &loop[i], NULL);
    return rlx_ir_builder_finish(k->b);
}

rlx_status group_prologue_once(kernel_cx *k, const rlx_ir_value *a)
{
    int64_t dims[RLX_MAX_RANK];
    for (int i = 0; i < a->type.rank; i++)
        dims[i] = k_upper(k, a->type.dim[i]);
    rlx_ir_value *memory = rlx_lir_build_alloc(&k->top, a->type.format, a->type.rank, dims);
    coord row[RLX_MAX_RANK];
    rlx_lir_scope once;
    k_begin_once(k, &once);
    if (k->b->status || k->top.status)
        return k->b->status ? rlx_ir_builder_finish(k->b) : rlx_ir_builder_finish(&k->top);
    RLX_TRY(store_rows(k, a, memory, 0, row));
    rlx_lir_end_once(k->b, &once);
    k_bind(k, a, BIND_BUFFER, memory);
    return rlx_ir_builder_finish(k->b);
}

rlx_status group_prologue_kernel(region_cx *r, const rlx_ir_value *a, tape_buffer *temp)
{
    kernel_cx k;
    RLX_TRY(kernel_begin(r, &k, "prologue", "rows"));
    rlx_ir_value *memory = kernel_extra(&k, "rows", temp, true);
    const int rows = a->type.rank - 1, in_grid = rows < RLX_LIR_MAX_GRID ? rows : RLX_LIR_MAX_GRID;
    rlx_ir_value *extents[RLX_LIR_MAX_GRID];
    coord row[RLX_MAX_RANK];
    for (int i = 0; i < in_grid; i++)
        extents[i] = k_extent(&k, a->type.dim[i]);
    rlx_lir_scope grid;
    k_begin_grid(&k, in_grid, extents, &grid);
    if (k.b->status)
        return rlx_ir_builder_finish(k.b);
    for (int i = 0; i < in_grid; i++) {
        rlx_dim d = a->type.dim[i];
        row[i] = coord_of(grid.index[i], rlx_dim_is_const(d) ? d : 0, -1);
    }
    RLX_TRY(store_rows(&k, a, memory, in_grid, row));
    rlx_lir_end_grid(k.b, &grid);
    RLX_TRY(rlx_ir_builder_finish(k.b));
    return kernel_end(r, &k);
}

/* As the checkpoint has it. */
static rlx_format weight_format(const rlx_ir_node *contract)
{
    const rlx_ir_value *w = rlx_mir_contract_weight(contract);
    while (w->def && w->def->op == RLX_MIR_CAST)
        w = w->def->in[0];
    return w->type.format;
}

void groups_describe(const group *groups, int count, rlx_text *what, rlx_text *schedule)
{
    int contracts = 0;
    for (int i = 0; i < count; i++)
        contracts += groups[i].ncontracts;
    const rlx_dim n = groups[0].n, k = groups[0].k;
    rlx_text_putf(what, "contract_%s_", rlx_format_get(weight_format(groups[0].contract[0]))->name);
    if (groups[0].ids)
        rlx_text_putf(what, "%lldx",
                      (long long)rlx_mir_contract_weight(groups[0].contract[0])->type.dim[0]);
    if (rlx_dim_is_const(n) && rlx_dim_is_const(k))
        rlx_text_putf(what, "%lldx%lld", (long long)n, (long long)k);
    else
        rlx_text_put(what, "live");
    if (contracts > 1)
        rlx_text_putf(what, "_x%d", contracts);
    rlx_text_putf(what, "__m%dn%dk%d", groups[0].s.m, groups[0].s.n, groups[0].s.k);
    for (int i = 0; i < count; i++) {
        rlx_text_put(schedule, i ? "; " : "");
        rlx_lir_schedule_print(&groups[i].s, schedule);
    }
}
