/* mir/lower/lower_contract.c: contraction regions.
 *
 * Results that share contractions form a group, and each group a grid of one kernel:
 *
 *   once      { normalised rows -> team memory }       prologue, while rows are few
 *   grid n, m { acc tiles over K; epilogue; store }    registers: the epilogue is elementwise
 *   grid u, m { acc tiles -> team memory; epilogue }   blocks: the epilogue needs whole heads
 *
 * Few rows of codes lie turned in team memory, and both go by lower_turned.c's sums, their epilogue
 * row by row. Rows of floats that share what is converted of a weight go by lower_columns.c: an
 * instance is a block of columns, and K goes by chunks that the first-level cache holds.
 */
#include "mir/lower/lower_group.h"

/* The x tile of k elements from k0. */
static rlx_status activations(kernel_cx *k, const group *g, const register_tile *p,
                              rlx_ir_value *k0, int64_t width, rlx_ir_value *k_limit_value,
                              rlx_ir_value **x)
{
    coord c[RLX_MAX_RANK];
    rlx_ir_value *m0 = p->x0 ? p->x0 : p->m0;
    if (p->x0) { /* [R,K] */
        c[0] = coord_of(m0, 0, 0);
        c[1] = coord_of(k0, g->k, 1);
    } else {
        group_place(g, coord_of(m0, 0, 0), coord_of(k0, range_of(g->k), 1), c);
    }
    tile_space ts = {
        .rank = 2, .dim = {g->s.m, width}, .root = {m0, k0}, .limit = {p->m_limit, k_limit_value}};
    return tile_at(k, g->contract[0]->in[0], c, &ts, x);
}

const rlx_ir_value *group_weight_memory(const rlx_ir_node *contract)
{
    const rlx_ir_value *w = rlx_mir_contract_weight(contract);
    while (w->def && !bound(w) && w->def->op == RLX_MIR_CAST)
        w = w->def->in[0];
    return bound(w) && bound(w)->kind == BIND_BUFFER ? w : NULL;
}

/* Tells of the rows of weights that come after the tile's n, where they go by once: a window of so
 * many rows that they lie in several pages, which more lines are read of at a time. */
static void tell_ahead(kernel_cx *k, const group *g, const register_tile *p, rlx_ir_value *k0)
{
    enum { FEW = 4, LINE = 64, WINDOW = 16 << 10, MOST = 128 << 10 };
    if (k->options->target->unit != RLX_UNIT_CPU || g->s.m > FEW || g->nbatch > 0 ||
        !rlx_dim_is_const(g->k))
        return;
    for (int i = 0; i < g->ncontracts; i++) {
        const rlx_ir_value *w = group_weight_memory(g->contract[i]);
        if (!w || rlx_format_get(w->type.format)->kind == RLX_KIND_BLOCK)
            continue;
        int64_t size = rlx_format_get(w->type.format)->block_bytes, ahead = g->s.n;
        while (ahead * g->k * size < WINDOW)
            ahead += g->s.n;
        if (g->s.k * size < LINE || ahead * g->k * size > MOST)
            continue;
        for (int j = 0; j < g->s.n; j++) {
            rlx_ir_value *row = rlx_lir_build_map2(k->b, RLX_FN_ADD, p->n0, k_const(k, ahead + j));
            rlx_ir_value *index[3];
            int64_t axes[2];
            group_weight_index(g, row, k0, index, axes);
            rlx_lir_build_prefetch(k->b, bound(w)->lir, index, g->s.k);
        }
    }
}

/* How many products a matrix unit adds to a sum at once; 0: the group's sums are of f32, by lanes. */
static int64_t by_chunks(const group *g)
{
    return rlx_ir_attr_int(g->contract[0], RLX_ATTR_WIDTH, 0);
}

/* A weight's tile of k elements from k0. */
static rlx_status weights(kernel_cx *k, const group *g, const register_tile *p,
                          const rlx_ir_value *w, rlx_ir_value *k0, int64_t width,
                          rlx_ir_value *k_limit_value, rlx_ir_value **out)
{
    coord cw[RLX_MAX_RANK];
    group_weight_place(g, coord_of(p->n0, range_of(g->n), 0), coord_of(k0, range_of(g->k), 1), cw);
    tile_space tw = {.rank = 2,
                     .dim = {g->s.n, width},
                     .root = {p->n0, k0},
                     .limit = {p->n_limit, k_limit_value}};
    return tile_at(k, w, cw, &tw, out);
}

/* A step's rows that are in a ring. */
typedef struct staged {
    const ring *ring;
    rlx_ir_value *step; /* its number */
} staged;

/* acc[i] <- acc[i] + the products of k elements from k0; `from` may be NULL: all are read where they lie. */
static rlx_status contract_step(kernel_cx *k, const group *g, const register_tile *p,
                                rlx_ir_value *k0, int64_t width, rlx_ir_value *k_limit_value,
                                const staged *from, rlx_ir_value **acc)
{
    const rlx_ir_value *a = g->contract[0]->in[0];
    rlx_ir_value *x, *w;
    RLX_TRY(from && ring_has(from->ring, a) ? ring_load(k, g, from->ring, a, from->step, &x)
                                            : activations(k, g, p, k0, width, k_limit_value, &x));
    for (int i = 0; i < g->ncontracts; i++) {
        const rlx_ir_value *of = g->contract[i]->in[1];
        RLX_TRY(from && ring_has(from->ring, of)
                    ? ring_load(k, g, from->ring, of, from->step, &w)
                    : weights(k, g, p, of, k0, width, k_limit_value, &w));
        acc[i] = by_chunks(g) ? rlx_lir_build_contract_rows(k->b, by_chunks(g), acc[i], x, w)
                              : rlx_lir_build_contract(k->b, acc[i], x, w);
    }
    return rlx_ir_builder_finish(k->b);
}

typedef struct rows_of_steps {
    const group *g;
    const register_tile *at;
} rows_of_steps;

static rlx_status load_for_ring(kernel_cx *k, const ring *r, int i, rlx_ir_value *step,
                                rlx_ir_value **out)
{
    const rows_of_steps *s = r->user;
    const rlx_ir_value *x = r->of[i].from;
    rlx_ir_value *k0 = times(k, step, s->g->s.k);
    return x == s->g->contract[0]->in[0] ? activations(k, s->g, s->at, k0, s->g->s.k, NULL, out)
                                         : weights(k, s->g, s->at, x, k0, s->g->s.k, NULL, out);
}

/* Rows that lie in memory as copies take them. */
static rlx_status add_rows(kernel_cx *k, const group *g, const rlx_ir_value *x, int64_t rows,
                           ring *r)
{
    enum { COPY = 16 };
    const int64_t bytes = g->k * rlx_format_get(x->type.format)->block_bytes;
    return bytes % COPY == 0 ? ring_add(k, g, x, rows, 1, r) : RLX_OK;
}

/* acc[i] <- acc[i] + the products of all whole steps, whose rows copies bring ahead. */
static rlx_status contract_stages(kernel_cx *k, const group *g, const register_tile *p,
                                  rlx_ir_value **acc)
{
    const rows_of_steps rows = {g, p};
    ring r = {.load = load_for_ring, .user = &rows};
    rlx_lir_scope loop;
    RLX_TRY(add_rows(k, g, g->contract[0]->in[0], g->s.m, &r));
    for (int i = 0; i < g->ncontracts; i++)
        RLX_TRY(add_rows(k, g, g->contract[i]->in[1], g->s.n, &r));
    RLX_TRY(ring_begin(k, g, &r));
    rlx_lir_begin_for(k->b, k_const(k, 0), k_const(k, g->k / g->s.k), 1, g->ncontracts, acc, &loop);
    if (k->b->status)
        return rlx_ir_builder_finish(k->b);
    for (int i = 0; i < g->ncontracts; i++)
        acc[i] = loop.carried[i];
    RLX_TRY(ring_step(k, g, &r, loop.index[0]));
    const staged from = {&r, loop.index[0]};
    RLX_TRY(contract_step(k, g, p, times(k, loop.index[0], g->s.k), g->s.k, NULL, &from, acc));
    rlx_lir_end_for(k->b, &loop, acc);
    for (int i = 0; i < g->ncontracts; i++)
        acc[i] = loop.result[i];
    return rlx_ir_builder_finish(k->b);
}

/* acc[i] <- acc[i] + all products; K is no constant where the step is 1. */
static rlx_status contract_all(kernel_cx *k, const group *g, const register_tile *p,
                               rlx_ir_value **acc)
{
    const rlx_lir_schedule *s = &g->s;
    const bool fixed = rlx_dim_is_const(g->k);
    const rlx_dim whole = fixed ? g->k / s->k * s->k : g->k;
    const int64_t rest = fixed ? g->k - whole : 0;
    if (s->stages) {
        RLX_TRY(contract_stages(k, g, p, acc));
    } else if (whole != 0) {
        rlx_lir_scope loop;
        rlx_lir_begin_for(k->b, k_const(k, 0), k_extent(k, whole), s->k, g->ncontracts, acc, &loop);
        if (k->b->status)
            return rlx_ir_builder_finish(k->b);
        for (int i = 0; i < g->ncontracts; i++)
            acc[i] = loop.carried[i];
        if (fixed)
            tell_ahead(k, g, p, loop.index[0]);
        RLX_TRY(contract_step(k, g, p, loop.index[0], s->k, NULL, NULL, acc));
        rlx_lir_end_for(k->b, &loop, acc);
        for (int i = 0; i < g->ncontracts; i++)
            acc[i] = loop.result[i];
    }
    if (rest > 0) {
        const int64_t width = up(rest, by_chunks(g) ? by_chunks(g) : s->lanes);
        rlx_ir_value *limit = width == rest ? NULL : k_const(k, g->k);
        RLX_TRY(contract_step(k, g, p, k_const(k, whole), width, limit, NULL, acc));
    }
    return rlx_ir_builder_finish(k->b);
}

rlx_status group_contract_tiles(kernel_cx *k, const group *g, const register_tile *p,
                                rlx_ir_value **tiles)
{
    const int64_t dims[3] = {g->s.m, g->s.n, g->s.lanes};
    rlx_ir_value *acc[MAX_CONTRACTS];
    if (g->contract[0]->op == RLX_MIR_CONTRACT_Q)
        return dot_tiles(k, g, p, tiles);
    for (int i = 0; i < g->ncontracts; i++)
        acc[i] = rlx_lir_build_fill(k->b, RLX_F32, by_chunks(g) ? 2 : 3, dims, 0.0);
    RLX_TRY(contract_all(k, g, p, acc));
    for (int i = 0; i < g->ncontracts; i++)
        tiles[i] = by_chunks(g) ? acc[i] : rlx_lir_build_reduce(k->b, RLX_FN_ADD, acc[i]);
    return rlx_ir_builder_finish(k->b);
}

/* ---- the epilogue on register tiles */

rlx_status group_store_tiles(kernel_cx *k, const group *g, const register_tile *p,
                             const rlx_ir_node *yield, rlx_ir_value **tiles)
{
    const rlx_lir_schedule *s = &g->s;
    coord c[RLX_MAX_RANK];
    group_place(g, coord_of(p->m0, 0, 0), coord_of(p->n0, range_of(g->n), 1), c);
    tile_space ts = {
        .rank = 2, .dim = {s->m, s->n}, .root = {p->m0, p->n0}, .limit = {p->m_limit, p->n_limit}};
    for (int i = 0; i < g->ncontracts; i++) {
        binding *b = k_bind(k, g->contract[i]->out[0], BIND_TILE, tiles[i]);
        if (!b)
            return rlx_ir_builder_finish(k->b);
        for (int axis = 0; axis < g->nlead + 2; axis++)
            b->at[axis] = c[axis];
    }
    for (int i = 0; i < g->nresults; i++) {
        leaf leaves[MAX_LEAVES];
        int n;
        int result = g->result[i];
        RLX_TRY(sink_leaves(k, yield->in[result], kernel_result(k, result), leaves, &n));
        for (int j = 0; j < n; j++)
            RLX_TRY(sink_store(k, &leaves[j], c, &ts));
    }
    return RLX_OK;
}

/* The rows of block_m from m0 that are live. */
static rlx_ir_value *live_rows(kernel_cx *k, const group *g, rlx_ir_value *m0)
{
    rlx_ir_value *rows = rlx_lir_build_map2(k->b, RLX_FN_SUB, k_extent(k, g->m), m0);
    return rlx_lir_build_map2(k->b, RLX_FN_MIN, rows, k_const(k, g->s.block_m));
}

static rlx_status finish_registers(kernel_cx *k, const column_block *c, rlx_ir_value *row,
                                   rlx_ir_value *column, int height, int width,
                                   rlx_ir_value **tiles)
{
    group tile = *c->g;
    const register_tile p = {.m0 = rlx_lir_build_map2(k->b, RLX_FN_ADD, c->m0, row),
                             .n0 = rlx_lir_build_map2(k->b, RLX_FN_ADD, c->n0, column),
                             .n_limit = group_columns_end(k, c->g, width)};
    tile.s.m = height;
    tile.s.n = width;
    return group_store_tiles(k, &tile, &p, c->yield, tiles);
}

/* grid n, m: blocks of columns and rows by chunks of K. */
static rlx_status emit_columns(kernel_cx *k, group *g, const rlx_ir_node *yield)
{
    const rlx_lir_schedule *s = &g->s;
    rlx_ir_value *across = k_extent(k, rlx_dim_make(k->dims, RLX_DIM_CEILDIV, g->n, s->block_n));
    rlx_ir_value *blocks = k_extent(k, rlx_dim_make(k->dims, RLX_DIM_CEILDIV, g->m, s->block_m));
    rlx_ir_value *shared;
    group_grid grid;
    RLX_TRY(group_columns_begin(k, g, &shared));
    RLX_TRY(group_begin_grid(k, g, across, blocks, &grid));
    column_block c = {.g = g,
                      .shared = shared,
                      .m0 = times(k, grid.row, s->block_m),
                      .n0 = times(k, grid.column, s->block_n),
                      .columns = k_const(k, s->block_n),
                      .n_limit = group_columns_end(k, g, s->n),
                      .finish = finish_registers,
                      .yield = yield};
    c.rows = live_rows(k, g, c.m0);
    if (g->n % s->block_n)
        c.columns =
            rlx_lir_build_map2(k->b, RLX_FN_MIN, c.columns,
                               rlx_lir_build_map2(k->b, RLX_FN_SUB, k_const(k, g->n), c.n0));
    RLX_TRY(group_columns(k, &c));
    return group_end_grid(k, &grid);
}

static rlx_status emit_tile(kernel_cx *k, const group *g, const register_tile *p,
                            const rlx_ir_node *yield)
{
    rlx_ir_value *tiles[MAX_CONTRACTS];
    RLX_TRY(group_contract_tiles(k, g, p, tiles));
    return group_store_tiles(k, g, p, yield, tiles);
}

/* Whether a tile of rows of codes may have one that is live: a prompt's last row, in a bucket of
 * hundreds. It goes as it would alone, for half of what a tile takes. */
static bool has_single_rows(const kernel_cx *k, const group *g)
{
    return k->options->target->unit == RLX_UNIT_CPU && g->s.m > 1 && !rlx_dim_is_const(g->m) &&
           g->contract[0]->op == RLX_MIR_CONTRACT_Q;
}

/* One of two loops goes once: a tile's, or a single row's. */
static rlx_status emit_tile_or_row(kernel_cx *k, const group *g, const register_tile *p,
                                   const rlx_ir_node *yield)
{
    rlx_ir_value *more = rlx_lir_build_map2(k->b, RLX_FN_SUB, k_extent(k, g->m), p->m0);
    rlx_ir_value *tiles =
        least(k, rlx_lir_build_map2(k->b, RLX_FN_SUB, more, k_const(k, 1)), k_const(k, 1));
    group one = *g;
    register_tile row = *p;
    rlx_lir_scope tile, single;
    one.s.m = 1;
    row.m_limit = NULL;
    RLX_TRY(begin_loop(k, k_const(k, 0), tiles, 1, &tile));
    RLX_TRY(emit_tile(k, g, p, yield));
    rlx_lir_end_for(k->b, &tile, NULL);
    RLX_TRY(begin_loop(k, tiles, k_const(k, 1), 1, &single));
    RLX_TRY(emit_tile(k, &one, &row, yield));
    rlx_lir_end_for(k->b, &single, NULL);
    return rlx_ir_builder_finish(k->b);
}

/* grid n, m: register tiles, their epilogue, their store. */
static rlx_status emit_registers(kernel_cx *k, group *g, const rlx_ir_node *yield)
{
    const rlx_lir_schedule *s = &g->s;
    rlx_ir_value *across = k_extent(k, rlx_dim_make(k->dims, RLX_DIM_CEILDIV, g->n, s->block_n));
    rlx_ir_value *rows = k_extent(k, rlx_dim_make(k->dims, RLX_DIM_CEILDIV, g->m, s->m));
    group_grid grid;
    RLX_TRY(group_begin_grid(k, g, across, rows, &grid));
    register_tile p = {.n0 = times(k, grid.column, s->block_n), .m0 = times(k, grid.row, s->m)};
    bool m_whole = s->m == 1 || (rlx_dim_is_const(g->m) && g->m % s->m == 0);
    p.m_limit = m_whole ? NULL : k_extent(k, g->m);
    p.n_limit = group_columns_end(k, g, s->n);
    RLX_TRY((has_single_rows(k, g) ? emit_tile_or_row : emit_tile)(k, g, &p, yield));
    return group_end_grid(k, &grid);
}

/* grid n, m: sums of rows that lie turned, their epilogue row by row. */
static rlx_status emit_turned(kernel_cx *k, group *g, const rlx_ir_node *yield)
{
    const rlx_lir_schedule *s = &g->s;
    rlx_ir_value *across = k_extent(k, rlx_dim_make(k->dims, RLX_DIM_CEILDIV, g->n, s->n));
    rlx_ir_value *blocks = k_extent(k, rlx_dim_make(k->dims, RLX_DIM_CEILDIV, g->m, s->m));
    rlx_ir_value *tiles[MAX_CONTRACTS];
    turned_rows turned;
    group_grid grid;
    rlx_lir_scope row, column;
    group one = *g;
    one.s.m = 1;
    one.s.n = RLX_LIR_TURN_TOTALS;
    RLX_TRY(turned_begin(k, g, &turned));
    RLX_TRY(group_begin_grid(k, g, across, blocks, &grid));
    rlx_ir_value *m0 = times(k, grid.row, s->m), *rows = live_rows(k, g, m0);
    rlx_ir_value *n0 = times(k, grid.column, s->n), *columns = k_const(k, s->n),
                 *n_end = group_columns_end(k, g, s->n);
    if (n_end)
        turned.columns = columns = rlx_lir_build_map2(
            k->b, RLX_FN_MIN, columns, rlx_lir_build_map2(k->b, RLX_FN_SUB, n_end, n0));
    RLX_TRY(turned_sums(k, g, &turned, m0, rows, n0));
    rlx_lir_begin_for(k->b, k_const(k, 0), columns, one.s.n, 0, NULL, &column);
    rlx_lir_begin_for(k->b, k_const(k, 0), rows, 1, 0, NULL, &row);
    if (k->b->status)
        return rlx_ir_builder_finish(k->b);
    const register_tile p = {.m0 = rlx_lir_build_map2(k->b, RLX_FN_ADD, m0, row.index[0]),
                             .n0 = rlx_lir_build_map2(k->b, RLX_FN_ADD, n0, column.index[0]),
                             .n_limit = group_columns_end(k, g, one.s.n)};
    RLX_TRY(turned_totals(k, g, &turned, p.m0, row.index[0], column.index[0], tiles));
    RLX_TRY(group_store_tiles(k, &one, &p, yield, tiles));
    rlx_lir_end_for(k->b, &row, NULL);
    rlx_lir_end_for(k->b, &column, NULL);
    return group_end_grid(k, &grid);
}

/* ---- the epilogue on blocks of rows */

/* The same into team memory. */
static rlx_status emit_block_turned(kernel_cx *k, const group *g, const turned_rows *turned,
                                    rlx_ir_value *u0, rlx_ir_value *m0, rlx_ir_value *rows,
                                    rlx_ir_value **memory)
{
    static const int64_t axes[2] = {0, 1};
    rlx_ir_value *tiles[MAX_CONTRACTS];
    rlx_lir_scope column, some, row;
    rlx_lir_begin_for(k->b, k_const(k, 0), k_const(k, g->unit), g->s.n, 0, NULL, &column);
    if (k->b->status)
        return rlx_ir_builder_finish(k->b);
    rlx_ir_value *n0 = rlx_lir_build_map2(k->b, RLX_FN_ADD, u0, column.index[0]);
    RLX_TRY(turned_sums(k, g, turned, m0, rows, n0));
    rlx_lir_begin_for(k->b, k_const(k, 0), k_const(k, g->s.n), RLX_LIR_TURN_TOTALS, 0, NULL, &some);
    rlx_lir_begin_for(k->b, k_const(k, 0), rows, 1, 0, NULL, &row);
    if (k->b->status)
        return rlx_ir_builder_finish(k->b);
    rlx_ir_value *index[2] = {row.index[0],
                              rlx_lir_build_map2(k->b, RLX_FN_ADD, column.index[0], some.index[0])};
    rlx_ir_value *at = rlx_lir_build_map2(k->b, RLX_FN_ADD, m0, row.index[0]);
    RLX_TRY(turned_totals(k, g, turned, at, row.index[0], some.index[0], tiles));
    for (int i = 0; i < g->ncontracts; i++)
        rlx_lir_build_store(k->b, memory[i], tiles[i], index, axes, NULL);
    rlx_lir_end_for(k->b, &row, NULL);
    rlx_lir_end_for(k->b, &some, NULL);
    rlx_lir_build_barrier(k->b); /* sums are cleared for the next columns */
    rlx_lir_end_for(k->b, &column, NULL);
    return rlx_ir_builder_finish(k->b);
}

static rlx_status finish_block(kernel_cx *k, const column_block *c, rlx_ir_value *row,
                               rlx_ir_value *column, int height, int width, rlx_ir_value **tiles)
{
    static const int64_t axes[2] = {0, 1};
    rlx_ir_value *index[2] = {row, column};
    (void)height;
    (void)width;
    for (int i = 0; i < c->g->ncontracts; i++)
        rlx_lir_build_store(k->b, c->memory[i], tiles[i], index, axes, NULL);
    return rlx_ir_builder_finish(k->b);
}

/* A block by chunks of K into team memory. */
static rlx_status emit_block_columns(kernel_cx *k, const group *g, const group_grid *grid,
                                     rlx_ir_value *shared, rlx_ir_value *t0, rlx_ir_value *rows,
                                     rlx_ir_value **memory)
{
    const column_block c = {.g = g,
                            .shared = shared,
                            .m0 = t0,
                            .rows = rows,
                            .n0 = times(k, grid->column, g->unit),
                            .columns = k_const(k, g->unit),
                            .finish = finish_block,
                            .memory = memory};
    return group_columns(k, &c);
}

/* Of a unit in team memory: those of whole tiles. */
static int64_t block_columns(const group *g)
{
    return (g->unit + g->s.n - 1) / g->s.n * g->s.n;
}

/* Rows 0..rows of a block: contraction tiles into team memory. */
static rlx_status emit_block_tiles(kernel_cx *k, const group *g, const group_grid *grid,
                                   rlx_ir_value *t0, rlx_ir_value *rows, rlx_ir_value **memory)
{
    const rlx_lir_schedule *s = &g->s;
    rlx_ir_value *u0 = times(k, grid->column, g->unit);
    rlx_lir_scope lm, ln;
    rlx_lir_begin_for(k->b, k_const(k, 0), rows, s->m, 0, NULL, &lm);
    rlx_lir_begin_for(k->b, k_const(k, 0), k_const(k, g->unit), s->n, 0, NULL, &ln);
    if (k->b->status)
        return rlx_ir_builder_finish(k->b);
    register_tile p = {.m0 = rlx_lir_build_map2(k->b, RLX_FN_ADD, t0, lm.index[0]),
                       .n0 = rlx_lir_build_map2(k->b, RLX_FN_ADD, u0, ln.index[0])};
    p.m_limit = s->m == 1 ? NULL : k_extent(k, g->m);
    p.n_limit = g->unit % s->n ? k_extent(k, g->n) : NULL;
    rlx_ir_value *tiles[MAX_CONTRACTS];
    RLX_TRY(group_contract_tiles(k, g, &p, tiles));
    coord at[2] = {coord_of(lm.index[0], 0, 0), coord_of(ln.index[0], block_columns(g), 1)};
    tile_space ts = {.rank = 2, .dim = {s->m, s->n}, .root = {lm.index[0], ln.index[0]}};
    if (s->m > s->block_m)
        ts.limit[0] = k_const(k, s->block_m);
    for (int i = 0; i < g->ncontracts; i++)
        RLX_TRY(tile_store(k, memory[i], tiles[i], at, &ts));
    rlx_lir_end_for(k->b, &ln, NULL);
    rlx_lir_end_for(k->b, &lm, NULL);
    return rlx_ir_builder_finish(k->b);
}

/* grid unit, m: a block of rows by one unit (a head) into team memory, then the epilogue row by
 * row. */
static rlx_status emit_blocks(kernel_cx *k, group *g, const rlx_ir_node *yield)
{
    const rlx_lir_schedule *s = &g->s;
    int64_t dims[2] = {s->block_m, block_columns(g)};
    rlx_ir_value *memory[MAX_CONTRACTS];
    const int64_t column = s->block_m * g->ncontracts * (int64_t)sizeof(float);
    if (dims[1] > k->options->target->team_bytes / column)
        return k_fail(k, g->contract[0], "a row's columns take more than a team's memory");
    for (int i = 0; i < g->ncontracts; i++)
        memory[i] = rlx_lir_build_alloc(&k->top, RLX_F32, 2, dims);
    rlx_ir_value *units = k_const(k, g->n / g->unit), *shared = NULL;
    rlx_ir_value *blocks = k_extent(k, rlx_dim_make(k->dims, RLX_DIM_CEILDIV, g->m, s->block_m));
    turned_rows turned;
    group_grid grid;
    rlx_lir_scope row;
    if (s->turned)
        RLX_TRY(turned_begin(k, g, &turned));
    if (s->depth)
        RLX_TRY(group_columns_begin(k, g, &shared));
    RLX_TRY(group_begin_grid(k, g, units, blocks, &grid));
    if (k->top.status)
        return rlx_ir_builder_finish(&k->top);
    rlx_ir_value *t0 = times(k, grid.row, s->block_m);
    rlx_ir_value *rows = live_rows(k, g, t0);
    if (s->depth)
        RLX_TRY(emit_block_columns(k, g, &grid, shared, t0, rows, memory));
    else if (s->turned)
        RLX_TRY(emit_block_turned(k, g, &turned, times(k, grid.column, g->unit), t0, rows, memory));
    else
        RLX_TRY(emit_block_tiles(k, g, &grid, t0, rows, memory));
    rlx_lir_build_barrier(k->b);
    rlx_lir_begin_for(k->b, k_const(k, 0), rows, 1, 0, NULL, &row);
    if (k->b->status)
        return rlx_ir_builder_finish(k->b);
    for (int i = 0; i < g->ncontracts; i++) {
        binding *b = k_bind(k, g->contract[i]->out[0], BIND_BUFFER, memory[i]);
        if (!b)
            return rlx_ir_builder_finish(k->b);
        group_place(g, coord_of(t0, 0, -1), coord_below(grid.column, g->unit, g->n / g->unit),
                    b->at);
    }
    coord t = coord_add(coord_of(t0, 0, -1), coord_of(row.index[0], 0, -1));
    RLX_TRY(group_store_unit(k, g, yield, t, coord_below(grid.column, 1, g->n / g->unit)));
    rlx_lir_end_for(k->b, &row, NULL);
    return group_end_grid(k, &grid);
}

/* Rows that are computed before the contractions: NULL when those lie in memory, or are cheap to
 * make where they are used. */
static const rlx_ir_value *prologue_of(kernel_cx *k, const group *g)
{
    const rlx_ir_value *a = g->contract[0]->in[0];
    const bool made = (g->s.rows || by_chunks(g)) && a->def && !group_reads_in_place(k, a);
    return value_depends(a, RLX_MIR_REDUCE) || made ? a : NULL;
}

/* Second operands of which tiles would have to be transposed: stored by kernels of their own. */
typedef struct stored {
    int n;
    const rlx_ir_value *value[MAX_CONTRACTS];
    tape_buffer *memory[MAX_CONTRACTS];
} stored;

/* Those of a group, and of those before it that share its kernel. */
static rlx_status store_columns(region_cx *r, kernel_cx *probe, const group *g, stored *out)
{
    for (int i = 0; i < g->ncontracts && !g->s.rows && g->s.lanes == 1; i++) {
        const rlx_ir_value *w = rlx_mir_contract_weight(g->contract[i]);
        if (!group_runs_by_columns(probe, g->contract[i]))
            continue;
        if (out->n == MAX_CONTRACTS)
            return k_fail(probe, g->contract[i], "too many operands that run by columns");
        tape_buffer *memory = tape_temp(r->tape, &w->type);
        if (!memory)
            return RLX_OOM();
        RLX_TRY(group_prologue_kernel(r, w, memory));
        out->value[out->n] = w;
        out->memory[out->n++] = memory;
    }
    return RLX_OK;
}

/* One kernel of `n` groups. `a`: rows of a prologue, in `temp` or made once per team; or NULL. */
static rlx_status lower_groups(region_cx *r, group *groups, int n, const rlx_ir_value *a,
                               tape_buffer *temp, const stored *seconds)
{
    const rlx_ir_node *yield = r->node->blocks[0]->last;
    panel_memory memory = {0};
    rlx_text what = {0}, schedule = {0};
    groups_describe(groups, n, &what, &schedule);
    kernel_cx k;
    rlx_status st =
        what.oom || schedule.oom ? RLX_OOM() : kernel_begin(r, &k, what.data, schedule.data);
    rlx_text_deinit(&what);
    rlx_text_deinit(&schedule);
    RLX_TRY(st);
    if (temp)
        k_bind(&k, a, BIND_BUFFER, kernel_extra(&k, "rows", temp, false));
    else if (a)
        RLX_TRY(group_prologue_once(&k, a));
    for (int i = 0; i < seconds->n; i++)
        k_bind(&k, seconds->value[i], BIND_BUFFER,
               kernel_extra(&k, "columns", seconds->memory[i], false));
    for (int i = 0; i < n; i++)
        RLX_TRY(groups[i].s.rows     ? group_lower_panels(&k, &groups[i], yield, &memory)
                : groups[i].unit     ? emit_blocks(&k, &groups[i], yield)
                : groups[i].s.turned ? emit_turned(&k, &groups[i], yield)
                : groups[i].s.depth  ? emit_columns(&k, &groups[i], yield)
                                     : emit_registers(&k, &groups[i], yield));
    return kernel_end(r, &k);
}

/* What an alloc of team memory takes. */
static int64_t alloc_bytes(rlx_format f, int64_t elems)
{
    return up(rlx_format_bytes(f, elems), RLX_LIR_ALIGN);
}

/* Whether rows `a`, and what waits for the groups' epilogues, are in a team's memory together. A CPU's is as large as
 * they are. */
static bool fit_together(kernel_cx *k, const group *groups, int n, const rlx_ir_value *a)
{
    const rlx_lir_target *t = k->options->target;
    int64_t elems = 1;
    for (int i = 0; i < a->type.rank; i++)
        elems *= k_upper(k, a->type.dim[i]);
    int64_t bytes = alloc_bytes(a->type.format, elems);
    for (int i = 0; i < n; i++)
        if (groups[i].unit)
            bytes += groups[i].ncontracts *
                     alloc_bytes(RLX_F32, groups[i].s.block_m * block_columns(&groups[i]));
    return t->unit == RLX_UNIT_CPU || bytes <= t->team_bytes;
}

/* Groups share a kernel when they share rows in team memory. Else each has its own, launched side
 * by side: layers whose formats differ in one group still have the others in common. */
rlx_status lower_contract(region_cx *r)
{
    const rlx_ir_node *yield = r->node->blocks[0]->last;
    group groups[MAX_RESULTS] = {0};
    int n;
    kernel_cx probe = {.options = r->options, .dims = r->out->dims, .place = r->node->place};
    RLX_TRY(groups_make(&probe, yield, groups, &n));
    if (groups[0].ids)
        return lower_chosen(r, groups, n);
    const rlx_ir_value *a = prologue_of(&probe, &groups[0]);
    if (a && groups[0].s.prologue_once && fit_together(&probe, groups, n, a)) {
        stored seconds = {0};
        for (int i = 0; i < n; i++)
            RLX_TRY(store_columns(r, &probe, &groups[i], &seconds));
        return lower_groups(r, groups, n, a, NULL, &seconds);
    }
    tape_buffer *temp = NULL;
    if (a) {
        temp = tape_temp(r->tape, &a->type);
        if (!temp)
            return RLX_OOM();
        RLX_TRY(group_prologue_kernel(r, a, temp));
    }
    for (int i = 0; i < n; i++) {
        stored seconds = {0};
        groups[i].s.prologue_once = false;
        RLX_TRY(store_columns(r, &probe, &groups[i], &seconds));
        RLX_TRY(lower_groups(r, &groups[i], 1, a, temp, &seconds));
    }
    return RLX_OK;
}
