/* mir/lower/lower_chosen.c: contractions whose rows choose their matrix.
 *
 * Few rows, one after the other:
 *
 *   grid n, rows { id; acc tiles over K of matrix id; epilogue; store }
 *
 * More rows than matrices: those of a matrix together. A kernel makes their order, stable, by
 * counting; how many rows a matrix has is data, read where its instance begins:
 *
 *   ids -> first i64[E+1], order i64[rows]
 *   grid n, E { for order[first[e] .. first[e+1]] { acc tiles; epilogue; store } }
 *
 * The order of one partial sum goes by panels of weights (lower_panel.c), to which rows of
 * activations are copied in that order; sums leave by it again, row by row. */
#include "mir/lower/lower_group.h"

enum { MAX_OPERANDS = 3 + MAX_CONTRACTS };

/* What kernels of a region share. */
typedef struct chosen {
    const group *g; /* the region's first group, of whose rows they all are */
    const rlx_ir_value *a;
    tape_buffer *rows;          /* the prologue's; NULL: `a` is made where it is used */
    tape_buffer *order, *first; /* NULL: rows go one after the other */
    const rlx_ir_value *operand[MAX_OPERANDS];
    tape_buffer *sorted[MAX_OPERANDS]; /* the operands' rows in order */
    int noperands;
} chosen;

static int64_t matrices_of(const group *g)
{
    return rlx_mir_contract_weight(g->contract[0])->type.dim[0];
}

/* Rows of the result, counted as one axis. */
static rlx_dim count_rows(kernel_cx *k, const group *g)
{
    const rlx_ir_type *t = &g->ids->type;
    return t->rank == 1 ? t->dim[0] : rlx_dim_make(k->dims, RLX_DIM_MUL, t->dim[0], t->dim[1]);
}

static rlx_ir_value *load_index(kernel_cx *k, rlx_ir_value *buffer, rlx_ir_value *at)
{
    return rlx_lir_build_load(k->b, buffer, RLX_I64, 0, NULL, &at, NULL, NULL);
}

static void store_index(kernel_cx *k, rlx_ir_value *buffer, rlx_ir_value *x, rlx_ir_value *at)
{
    rlx_lir_build_store(k->b, buffer, x, &at, NULL, NULL);
}

static rlx_ir_value *plus_one(kernel_cx *k, rlx_ir_value *x)
{
    return rlx_lir_build_map2(k->b, RLX_FN_ADD, x, k_const(k, 1));
}

rlx_ir_value *chosen_row(kernel_cx *k, group *g, rlx_ir_value *row, rlx_ir_value **last)
{
    *last = row;
    if (g->nlead == 0)
        return row;
    rlx_ir_value *each = k_extent(k, g->m);
    rlx_ir_value *x = rlx_lir_build_map2(k->b, RLX_FN_DIV, row, each);
    *last = rlx_lir_build_map2(k->b, RLX_FN_MOD, row, each);
    g->lead[0] = coord_of(x, 0, -1);
    return x;
}

void chosen_span(kernel_cx *k, const group *g, rlx_ir_value *matrix, rlx_ir_value **from,
                 rlx_ir_value **to)
{
    *from = load_index(k, g->first, matrix);
    *to = load_index(k, g->first, plus_one(k, matrix));
}

/* The matrix of row `last` of the group's place. */
static rlx_status load_id(kernel_cx *k, const group *g, rlx_ir_value *last, rlx_ir_value **id)
{
    tile_space none = {0};
    coord c[2];
    copy_coords(g->lead, g->nlead, c);
    c[g->nlead] = coord_of(last, 0, -1);
    RLX_TRY(tile_at(k, g->ids, c, &none, id));
    *id = rlx_lir_build_cast(k->b, *id, RLX_I64);
    *id = rlx_lir_build_map2(k->b, RLX_FN_MAX, *id, k_const(k, 0));
    *id = rlx_lir_build_map2(k->b, RLX_FN_MIN, *id, k_const(k, matrices_of(g) - 1));
    return rlx_ir_builder_finish(k->b);
}

/* ---- the order of rows ----------------------------------------------------------------------- */

typedef rlx_status each_row(kernel_cx *k, rlx_ir_value *row, rlx_ir_value *id, rlx_ir_value *count,
                            rlx_ir_value *order);

static rlx_status for_rows(kernel_cx *k, group *g, each_row *body, rlx_ir_value *count,
                           rlx_ir_value *order)
{
    rlx_lir_scope loop;
    rlx_ir_value *id, *last, *n = k_extent(k, count_rows(k, g));
    rlx_lir_begin_for(k->b, k_const(k, 0), n, 1, 0, NULL, &loop);
    if (k->b->status)
        return rlx_ir_builder_finish(k->b);
    chosen_row(k, g, loop.index[0], &last);
    RLX_TRY(load_id(k, g, last, &id));
    RLX_TRY(body(k, loop.index[0], id, count, order));
    rlx_lir_end_for(k->b, &loop, NULL);
    rlx_lir_build_barrier(k->b);
    return rlx_ir_builder_finish(k->b);
}

/* count[id]++; returns what it was. */
static rlx_ir_value *take_place(kernel_cx *k, rlx_ir_value *count, rlx_ir_value *id)
{
    rlx_ir_value *before = load_index(k, count, id);
    rlx_lir_build_barrier(k->b); /* all was read before it is written */
    store_index(k, count, plus_one(k, before), id);
    rlx_lir_build_barrier(k->b);
    return before;
}

static rlx_status count_row(kernel_cx *k, rlx_ir_value *row, rlx_ir_value *id, rlx_ir_value *count,
                            rlx_ir_value *order)
{
    (void)row;
    (void)order;
    take_place(k, count, id);
    return rlx_ir_builder_finish(k->b);
}

static rlx_status place_row(kernel_cx *k, rlx_ir_value *row, rlx_ir_value *id, rlx_ir_value *count,
                            rlx_ir_value *order)
{
    store_index(k, order, row, take_place(k, count, id));
    return rlx_ir_builder_finish(k->b);
}

/* Counts to the sums of those before, which go to `first` too. */
static rlx_status sum_counts(kernel_cx *k, int64_t matrices, rlx_ir_value *count,
                             rlx_ir_value *first)
{
    rlx_lir_scope loop;
    rlx_ir_value *sum = k_const(k, 0);
    rlx_lir_begin_for(k->b, sum, k_const(k, matrices), 1, 1, &sum, &loop);
    if (k->b->status)
        return rlx_ir_builder_finish(k->b);
    rlx_ir_value *n = load_index(k, count, loop.index[0]);
    rlx_lir_build_barrier(k->b);
    store_index(k, count, loop.carried[0], loop.index[0]);
    store_index(k, first, loop.carried[0], loop.index[0]);
    sum = rlx_lir_build_map2(k->b, RLX_FN_ADD, loop.carried[0], n);
    rlx_lir_end_for(k->b, &loop, &sum);
    store_index(k, first, loop.result[0], k_const(k, matrices));
    rlx_lir_build_barrier(k->b);
    return rlx_ir_builder_finish(k->b);
}

static rlx_status clear_counts(kernel_cx *k, int64_t matrices, rlx_ir_value *count)
{
    rlx_lir_scope loop;
    rlx_lir_begin_for(k->b, k_const(k, 0), k_const(k, matrices), 1, 0, NULL, &loop);
    if (k->b->status)
        return rlx_ir_builder_finish(k->b);
    store_index(k, count, k_const(k, 0), loop.index[0]);
    rlx_lir_end_for(k->b, &loop, NULL);
    rlx_lir_build_barrier(k->b);
    return rlx_ir_builder_finish(k->b);
}

/* One instance: the work is a few operations a row. */
static rlx_status emit_order(kernel_cx *k, group *g, rlx_ir_value *order, rlx_ir_value *first)
{
    const int64_t matrices = matrices_of(g);
    rlx_ir_value *count = rlx_lir_build_alloc(&k->top, RLX_I64, 1, &matrices);
    rlx_ir_value *one = k_const(k, 1);
    rlx_lir_scope grid;
    k_begin_grid(k, 1, &one, &grid);
    if (k->b->status || k->top.status)
        return k->b->status ? rlx_ir_builder_finish(k->b) : rlx_ir_builder_finish(&k->top);
    RLX_TRY(clear_counts(k, matrices, count));
    RLX_TRY(for_rows(k, g, count_row, count, order));
    RLX_TRY(sum_counts(k, matrices, count, first));
    RLX_TRY(for_rows(k, g, place_row, count, order));
    rlx_lir_end_grid(k->b, &grid);
    return rlx_ir_builder_finish(k->b);
}

static rlx_status make_order(region_cx *r, chosen *c)
{
    kernel_cx k;
    group g = *c->g;
    RLX_TRY(kernel_begin(r, &k, "order", "by counting"));
    const rlx_dim rows = count_rows(&k, &g), firsts = matrices_of(&g) + 1;
    const rlx_ir_type order = rlx_ir_tensor(RLX_I64, 1, &rows);
    const rlx_ir_type first = rlx_ir_tensor(RLX_I64, 1, &firsts);
    c->order = tape_temp(r->tape, &order);
    c->first = tape_temp(r->tape, &first);
    if (!c->order || !c->first)
        return RLX_OOM();
    rlx_ir_value *to = kernel_extra(&k, "order", c->order, true);
    RLX_TRY(emit_order(&k, &g, to, kernel_extra(&k, "first", c->first, true)));
    return kernel_end(r, &k);
}

/* ---- rows in order, for panels --------------------------------------------------------------- */

static rlx_status add_operand(region_cx *r, kernel_cx *k, chosen *c, const rlx_ir_value *v)
{
    for (int i = 0; i < c->noperands; i++)
        if (c->operand[i] == v)
            return RLX_OK;
    rlx_ir_type t = v->type;
    t.dim[0] = count_rows(k, c->g);
    c->operand[c->noperands] = v;
    c->sorted[c->noperands] = tape_temp(r->tape, &t);
    return c->sorted[c->noperands++] ? RLX_OK : RLX_OOM();
}

static rlx_status find_operands(region_cx *r, kernel_cx *k, const group *groups, int n, chosen *c)
{
    for (int i = 0; i < n; i++)
        for (int j = 0; j < groups[i].ncontracts; j++) {
            const rlx_ir_node *of = groups[i].contract[j];
            for (int o = 0; o < (of->op == RLX_MIR_CONTRACT_Q ? 3 : 1); o++)
                RLX_TRY(add_operand(r, k, c, of->in[o]));
        }
    return RLX_OK;
}

/* Elements by the tile: a few vectors, of rows that are long. */
static int64_t copy_width(const kernel_cx *k, int64_t extent)
{
    int64_t width = rlx_lir_schedule_width(k->options->target, extent);
    while (width < 64 && extent % (2 * width) == 0)
        width *= 2;
    return width;
}

/* Row `from` of v to row `to` of the buffer. */
static rlx_status copy_row(kernel_cx *k, const rlx_ir_value *v, rlx_ir_value *from,
                           rlx_ir_value *buffer, rlx_ir_value *to)
{
    const int64_t extent = v->type.dim[1], width = copy_width(k, extent);
    rlx_lir_scope loop;
    rlx_ir_value *tile;
    rlx_lir_begin_for(k->b, k_const(k, 0), k_const(k, extent), width, 0, NULL, &loop);
    if (k->b->status)
        return rlx_ir_builder_finish(k->b);
    coord c[2] = {coord_of(from, 0, -1), coord_of(loop.index[0], extent, 0)};
    tile_space ts = {.rank = 1,
                     .dim = {width},
                     .root = {loop.index[0]},
                     .limit = {extent % width ? k_const(k, extent) : NULL}};
    RLX_TRY(tile_at(k, v, c, &ts, &tile));
    c[0] = coord_of(to, 0, -1);
    RLX_TRY(tile_store(k, buffer, tile, c, &ts));
    rlx_lir_end_for(k->b, &loop, NULL);
    return rlx_ir_builder_finish(k->b);
}

/* The activations, when a prologue made them. */
static void bind_rows(kernel_cx *k, const chosen *c)
{
    if (c->rows)
        k_bind(k, c->a, BIND_BUFFER, kernel_extra(k, "rows", c->rows, false));
}

static rlx_status sort_rows(region_cx *r, const group *groups, int n, chosen *c)
{
    kernel_cx k;
    group g = *c->g;
    rlx_ir_value *to[MAX_OPERANDS], *last;
    RLX_TRY(kernel_begin(r, &k, "rows_in_order", "rows"));
    RLX_TRY(find_operands(r, &k, groups, n, c));
    bind_rows(&k, c);
    rlx_ir_value *order = kernel_extra(&k, "order", c->order, false);
    for (int i = 0; i < c->noperands; i++)
        to[i] = kernel_extra(&k, "sorted", c->sorted[i], true);
    rlx_ir_value *rows = k_extent(&k, count_rows(&k, &g));
    rlx_lir_scope grid;
    k_begin_grid(&k, 1, &rows, &grid);
    if (k.b->status)
        return rlx_ir_builder_finish(k.b);
    rlx_ir_value *from = chosen_row(&k, &g, load_index(&k, order, grid.index[0]), &last);
    for (int i = 0; i < c->noperands; i++)
        RLX_TRY(copy_row(&k, c->operand[i], from, to[i], grid.index[0]));
    rlx_lir_end_grid(k.b, &grid);
    RLX_TRY(rlx_ir_builder_finish(k.b));
    return kernel_end(r, &k);
}

/* ---- contractions ---------------------------------------------------------------------------- */

static rlx_status emit_tiles(kernel_cx *k, group *g, register_tile *p, const rlx_ir_node *yield)
{
    rlx_ir_value *tiles[MAX_CONTRACTS];
    p->n_limit = g->n % g->s.n == 0 ? NULL : k_const(k, g->n);
    RLX_TRY(group_contract_tiles(k, g, p, tiles));
    return group_store_tiles(k, g, p, yield, tiles);
}

static rlx_ir_value *column_tiles(kernel_cx *k, const group *g)
{
    return k_const(k, (g->n + g->s.n - 1) / g->s.n);
}

static rlx_ir_value *first_column(kernel_cx *k, const group *g, const rlx_lir_scope *grid)
{
    return rlx_lir_build_map2(k->b, RLX_FN_MUL, grid->index[0], k_const(k, g->s.n));
}

static rlx_status emit_each(kernel_cx *k, group *g, const rlx_ir_node *yield)
{
    rlx_ir_value *extents[2] = {column_tiles(k, g), k_extent(k, count_rows(k, g))};
    register_tile p = {0};
    rlx_lir_scope grid;
    k_begin_grid(k, 2, extents, &grid);
    if (k->b->status)
        return rlx_ir_builder_finish(k->b);
    p.x0 = chosen_row(k, g, grid.index[1], &p.m0);
    p.n0 = first_column(k, g, &grid);
    RLX_TRY(load_id(k, g, p.m0, &g->matrix));
    RLX_TRY(emit_tiles(k, g, &p, yield));
    rlx_lir_end_grid(k->b, &grid);
    return rlx_ir_builder_finish(k->b);
}

static rlx_status emit_by_matrix(kernel_cx *k, group *g, const rlx_ir_node *yield)
{
    rlx_ir_value *extents[2] = {column_tiles(k, g), k_const(k, matrices_of(g))};
    rlx_ir_value *from, *to;
    register_tile p = {0};
    rlx_lir_scope grid, loop;
    k_begin_grid(k, 2, extents, &grid);
    if (k->b->status)
        return rlx_ir_builder_finish(k->b);
    p.n0 = first_column(k, g, &grid);
    g->matrix = grid.index[1];
    chosen_span(k, g, g->matrix, &from, &to);
    rlx_lir_begin_for(k->b, from, to, 1, 0, NULL, &loop);
    if (k->b->status)
        return rlx_ir_builder_finish(k->b);
    p.x0 = chosen_row(k, g, load_index(k, g->order, loop.index[0]), &p.m0);
    RLX_TRY(emit_tiles(k, g, &p, yield));
    rlx_lir_end_for(k->b, &loop, NULL);
    rlx_lir_end_grid(k->b, &grid);
    return rlx_ir_builder_finish(k->b);
}

static rlx_status emit_panels(kernel_cx *k, group *g, const chosen *c, const rlx_ir_node *yield)
{
    panel_memory memory = {0};
    for (int i = 0; i < c->noperands; i++)
        k_bind(k, c->operand[i], BIND_BUFFER, kernel_extra(k, "sorted", c->sorted[i], false));
    return group_lower_panels(k, g, yield, &memory);
}

static rlx_status lower_group(region_cx *r, group *g, const chosen *c)
{
    const rlx_ir_node *yield = r->node->blocks[0]->last;
    rlx_text what = {0}, schedule = {0};
    kernel_cx k;
    groups_describe(g, 1, &what, &schedule);
    rlx_text_put(&schedule, g->by_matrix ? " by matrix" : " row by row");
    rlx_status st =
        what.oom || schedule.oom ? RLX_OOM() : kernel_begin(r, &k, what.data, schedule.data);
    rlx_text_deinit(&what);
    rlx_text_deinit(&schedule);
    RLX_TRY(st);
    bind_rows(&k, c);
    if (!c->rows && g->s.prologue_once)
        RLX_TRY(group_prologue_once(&k, c->a));
    if (c->order) {
        g->order = kernel_extra(&k, "order", c->order, false);
        g->first = kernel_extra(&k, "first", c->first, false);
    }
    RLX_TRY(g->s.rows      ? emit_panels(&k, g, c, yield)
            : g->by_matrix ? emit_by_matrix(&k, g, yield)
                           : emit_each(&k, g, yield));
    return kernel_end(r, &k);
}

rlx_status lower_chosen(region_cx *r, group *groups, int n)
{
    chosen c = {.g = &groups[0], .a = groups[0].contract[0]->in[0]};
    kernel_cx probe = {.options = r->options, .place = r->node->place};
    for (int i = 1; i < n; i++)
        if (groups[i].ids != c.g->ids || groups[i].contract[0]->in[0] != c.a ||
            matrices_of(&groups[i]) != matrices_of(c.g) || groups[i].by_matrix != c.g->by_matrix ||
            !groups[i].s.rows != !c.g->s.rows)
            return k_fail(&probe, groups[i].contract[0], "another order of rows in one region");
    if (value_depends(c.a, RLX_MIR_REDUCE) && !c.g->s.prologue_once) {
        c.rows = tape_temp(r->tape, &c.a->type);
        if (!c.rows)
            return RLX_OOM();
        RLX_TRY(group_prologue_kernel(r, c.a, c.rows));
    }
    if (c.g->by_matrix)
        RLX_TRY(make_order(r, &c));
    if (c.g->s.rows)
        RLX_TRY(sort_rows(r, groups, n, &c));
    for (int i = 0; i < n; i++)
        RLX_TRY(lower_group(r, &groups[i], &c));
    return RLX_OK;
}
