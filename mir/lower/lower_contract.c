/* mir/lower/lower_contract.c: contraction regions.
 *
 * Results that share contractions form a group, and each group a grid of one kernel:
 *
 *   once      { normalised rows -> team memory }       prologue, while rows are few
 *   grid n, m { acc tiles over K; epilogue; store }    registers: the epilogue is elementwise
 *   grid u, m { acc tiles -> team memory; epilogue }   blocks: the epilogue needs whole heads
 *
 * Few rows of codes lie turned in team memory, and both go by lower_turned.c's sums, their epilogue
 * row by row. With many tokens both go by panels (see "columns by panels" below): an instance is a block of
 * columns, and K goes by chunks that the first-level cache holds.
 */
#include "mir/lower/lower_group.h"

/* Team memory of a group whose schedule has a depth (see "columns by panels"). */
typedef struct panel {
    rlx_ir_value *x;                  /* f32[m, depth]: activations of a chunk of K */
    rlx_ir_value *acc[MAX_CONTRACTS]; /* f32[columns / n, m, n, lanes]; NULL: K is one chunk */
    rlx_ir_value *from;               /* i64: the K index that x begins with */
} panel;

/* The x tile of k elements from k0. */
static rlx_status activations(kernel_cx *k, const group *g, const register_tile *p, const panel *in,
                              rlx_ir_value *k0, int64_t width, rlx_ir_value *k_limit_value,
                              rlx_ir_value **x)
{
    if (in) {
        static const int64_t axes[2] = {0, 1};
        int64_t dims[2] = {g->s.m, width};
        rlx_ir_value *index[2] = {k_const(k, 0),
                                  rlx_lir_build_map2(k->b, RLX_FN_SUB, k0, in->from)};
        *x = rlx_lir_build_load(k->b, in->x, RLX_F32, 2, dims, index, axes, NULL);
        return *x ? RLX_OK : rlx_ir_builder_finish(k->b);
    }
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

/* Contractions first .. first+count-1 of the group. */
typedef struct part {
    int first, count;
} part;

/* The memory of a contraction's second operand, f32 or as the checkpoint has it; NULL: a view. */
static const rlx_ir_value *weight_memory(const rlx_ir_node *contract)
{
    const rlx_ir_value *w = rlx_mir_contract_weight(contract);
    while (w->def && !bound(w) && w->def->op == RLX_MIR_CAST)
        w = w->def->in[0];
    return bound(w) && bound(w)->kind == BIND_BUFFER ? w : NULL;
}

/* Tells of the rows of weights that come after the tile's n, where they go by once: a window of so
 * many rows that they lie in several pages, which more lines are read of at a time. */
static void tell_ahead(kernel_cx *k, const group *g, part of, const register_tile *p,
                       rlx_ir_value *k0)
{
    enum { FEW = 4, LINE = 64, WINDOW = 16 << 10, MOST = 128 << 10 };
    if (k->options->target->unit != RLX_UNIT_CPU || g->s.m > FEW || g->nbatch > 0 ||
        !rlx_dim_is_const(g->k))
        return;
    for (int i = of.first; i < of.first + of.count; i++) {
        const rlx_ir_value *w = weight_memory(g->contract[i]);
        if (!w || rlx_format_get(w->type.format)->kind == RLX_KIND_BLOCK)
            continue;
        int64_t size = rlx_format_get(w->type.format)->block_bytes, ahead = g->s.n;
        while (ahead * g->k * size < WINDOW)
            ahead += g->s.n;
        if (g->s.k * size < LINE || ahead * g->k * size > MOST)
            continue;
        for (int j = 0; j < g->s.n; j++) {
            rlx_ir_value *row = rlx_lir_build_map2(k->b, RLX_FN_ADD, p->n0, k_const(k, ahead + j));
            for (int64_t at = 0; at < g->s.k; at += LINE / size) {
                rlx_ir_value *index[3], *c = k0;
                if (at > 0)
                    c = rlx_lir_build_map2(k->b, RLX_FN_ADD, k0, k_const(k, at));
                int64_t axes[2];
                group_weight_index(g, row, c, index, axes);
                rlx_lir_build_prefetch(k->b, bound(w)->lir, index);
            }
        }
    }
}

/* acc[i] <- acc[i] + the products of k elements from k0. */
static rlx_status contract_step(kernel_cx *k, const group *g, part of, const register_tile *p,
                                const panel *in, rlx_ir_value *k0, int64_t width,
                                rlx_ir_value *k_limit_value, rlx_ir_value **acc)
{
    coord cw[RLX_MAX_RANK];
    group_weight_place(g, coord_of(p->n0, range_of(g->n), 0), coord_of(k0, range_of(g->k), 1), cw);
    tile_space tw = {.rank = 2,
                     .dim = {g->s.n, width},
                     .root = {p->n0, k0},
                     .limit = {p->n_limit, k_limit_value}};
    rlx_ir_value *x, *w;
    RLX_TRY(activations(k, g, p, in, k0, width, k_limit_value, &x));
    for (int i = of.first; i < of.first + of.count; i++) {
        RLX_TRY(tile_at(k, g->contract[i]->in[1], cw, &tw, &w));
        acc[i] = rlx_lir_build_contract(k->b, acc[i], x, w);
    }
    return rlx_ir_builder_finish(k->b);
}

/* acc[i] <- acc[i] + the products of `length` elements from `from` (NULL: 0), which end at K unless
 * length is a multiple of the step; it is no constant when K is none, where the step is 1. */
static rlx_status contract_span(kernel_cx *k, const group *g, part of, const register_tile *p,
                                const panel *in, rlx_ir_value *from, rlx_dim length,
                                rlx_ir_value **acc)
{
    const rlx_lir_schedule *s = &g->s;
    const bool fixed = rlx_dim_is_const(length);
    const rlx_dim whole = fixed ? length / s->k * s->k : length;
    const int64_t rest = fixed ? length - whole : 0;
    if (whole != 0) {
        rlx_ir_value *to = k_extent(k, whole);
        if (from)
            to = rlx_lir_build_map2(k->b, RLX_FN_ADD, from, to);
        else
            from = k_const(k, 0);
        rlx_lir_scope loop;
        rlx_lir_begin_for(k->b, from, to, s->k, of.count, acc + of.first, &loop);
        if (k->b->status)
            return rlx_ir_builder_finish(k->b);
        for (int i = 0; i < of.count; i++)
            acc[of.first + i] = loop.carried[i];
        if (!in && fixed)
            tell_ahead(k, g, of, p, loop.index[0]);
        RLX_TRY(contract_step(k, g, of, p, in, loop.index[0], s->k, NULL, acc));
        rlx_lir_end_for(k->b, &loop, acc + of.first);
        for (int i = 0; i < of.count; i++)
            acc[of.first + i] = loop.result[i];
    }
    if (rest > 0) {
        int64_t width = (rest + s->lanes - 1) / s->lanes * s->lanes;
        rlx_ir_value *limit = width == rest ? NULL : k_const(k, g->k);
        RLX_TRY(contract_step(k, g, of, p, in, k_const(k, g->k - rest), width, limit, acc));
    }
    return rlx_ir_builder_finish(k->b);
}

static void clear_accumulators(kernel_cx *k, const group *g, part of, rlx_ir_value **acc)
{
    int64_t dims[3] = {g->s.m, g->s.n, g->s.lanes};
    for (int i = of.first; i < of.first + of.count; i++)
        acc[i] = rlx_lir_build_fill(k->b, RLX_F32, 3, dims, 0.0);
}

/* Partial sums to m x n tiles. */
static void sum_lanes(kernel_cx *k, part of, rlx_ir_value *const *acc, rlx_ir_value **tiles)
{
    for (int i = of.first; i < of.first + of.count; i++)
        tiles[i] = rlx_lir_build_reduce(k->b, RLX_FN_ADD, acc[i]);
}

rlx_status group_contract_tiles(kernel_cx *k, const group *g, const register_tile *p,
                                rlx_ir_value **tiles)
{
    rlx_ir_value *acc[MAX_CONTRACTS];
    const part all = {0, g->ncontracts};
    if (g->contract[0]->op == RLX_MIR_CONTRACT_Q)
        return dot_tiles(k, g, p, tiles);
    clear_accumulators(k, g, all, acc);
    RLX_TRY(contract_span(k, g, all, p, NULL, NULL, g->k, acc));
    sum_lanes(k, all, acc, tiles);
    return rlx_ir_builder_finish(k->b);
}

static rlx_ir_value *scaled(kernel_cx *k, rlx_ir_value *index, int64_t by)
{
    return by == 1 ? index : rlx_lir_build_map2(k->b, RLX_FN_MUL, index, k_const(k, by));
}

/* ---- columns by panels
 *
 * A block of columns for m tokens, when K is too long for the first-level cache: K goes by chunks,
 * the tokens' part of a chunk is copied to a panel that all columns of the block share, and partial
 * sums wait in team memory meanwhile. They are added to in the same order as in registers.
 *
 *   for column tiles { acc = 0 }
 *   for chunk of K but the last { x -> panel; for column tiles { acc += x w } }
 *   x -> panel; for column tiles { acc += x w; finish } */

typedef struct columns {
    const group *g;
    rlx_ir_value *m0, *m_limit; /* tokens */
    rlx_ir_value *n0, *count;   /* first column, how many */
    rlx_ir_value *n_limit;      /* NULL: a column tile never ends beyond the weight */
    panel *panel;
    /* What becomes of a tile: `column` is its place in the block. */
    rlx_status (*finish)(kernel_cx *k, const struct columns *c, const register_tile *p,
                         rlx_ir_value *column, rlx_ir_value **tiles);
    rlx_ir_value **memory;    /* finish_block */
    const rlx_ir_node *yield; /* finish_registers */
} columns;

static void move_accumulators(kernel_cx *k, const columns *c, part of, rlx_ir_value *column,
                              bool load, rlx_ir_value **acc)
{
    static const int64_t axes[3] = {1, 2, 3};
    const rlx_lir_schedule *s = &c->g->s;
    int64_t dims[3] = {s->m, s->n, s->lanes};
    rlx_ir_value *zero = k_const(k, 0);
    rlx_ir_value *at =
        s->n == 1 ? column : rlx_lir_build_map2(k->b, RLX_FN_DIV, column, k_const(k, s->n));
    rlx_ir_value *index[4] = {at, zero, zero, zero};
    for (int i = of.first; i < of.first + of.count; i++) {
        if (load)
            acc[i] =
                rlx_lir_build_load(k->b, c->panel->acc[i], RLX_F32, 3, dims, index, axes, NULL);
        else
            rlx_lir_build_store(k->b, c->panel->acc[i], acc[i], index, axes, NULL);
    }
}

static rlx_status begin_columns(kernel_cx *k, const columns *c, rlx_lir_scope *loop)
{
    rlx_lir_begin_for(k->b, k_const(k, 0), c->count, c->g->s.n, 0, NULL, loop);
    return k->b->status ? rlx_ir_builder_finish(k->b) : RLX_OK;
}

static rlx_status clear_columns(kernel_cx *k, const columns *c)
{
    const part all = {0, c->g->ncontracts};
    rlx_ir_value *acc[MAX_CONTRACTS];
    rlx_lir_scope loop;
    RLX_TRY(begin_columns(k, c, &loop));
    clear_accumulators(k, c->g, all, acc);
    move_accumulators(k, c, all, loop.index[0], false, acc);
    rlx_lir_end_for(k->b, &loop, NULL);
    return rlx_ir_builder_finish(k->b);
}

/* Elements per tile when `length` of them are copied: a few vectors. */
static int64_t copy_width(const group *g, int64_t length)
{
    int64_t width = g->s.lanes;
    while (width < 64 && length % (2 * width) == 0)
        width *= 2;
    return width;
}

/* Row `row` of the panel: `length` elements of a token from `from` on, zeros behind K; zeros when
 * it is no live token's. */
static rlx_status fill_row(kernel_cx *k, const columns *c, rlx_ir_value *row, bool live,
                           rlx_ir_value *from, int64_t length)
{
    static const int64_t axis = 1;
    const group *g = c->g;
    int64_t width = copy_width(g, length);
    rlx_lir_scope loop;
    rlx_lir_begin_for(k->b, k_const(k, 0), k_const(k, length), width, 0, NULL, &loop);
    if (k->b->status)
        return rlx_ir_builder_finish(k->b);
    rlx_ir_value *x = NULL;
    if (live) {
        rlx_ir_value *k0 = rlx_lir_build_map2(k->b, RLX_FN_ADD, from, loop.index[0]);
        coord t = coord_add(coord_of(c->m0, 0, -1), coord_of(row, g->s.m, -1));
        coord at[RLX_MAX_RANK];
        group_place(g, t, coord_of(k0, g->k, 0), at);
        tile_space ts = {.rank = 1, .dim = {width}, .root = {k0}};
        ts.limit[0] = g->k % g->s.lanes ? k_const(k, g->k) : NULL;
        RLX_TRY(tile_at(k, g->contract[0]->in[0], at, &ts, &x));
    } else {
        x = rlx_lir_build_fill(k->b, RLX_F32, 1, &width, 0.0);
    }
    rlx_ir_value *index[2] = {row, loop.index[0]};
    rlx_lir_build_store(k->b, c->panel->x, x, index, &axis, NULL);
    rlx_lir_end_for(k->b, &loop, NULL);
    return rlx_ir_builder_finish(k->b);
}

/* Copies `length` elements of every token of the tile, row by row: one stream at a time. */
static rlx_status fill_panel(kernel_cx *k, const columns *c, rlx_ir_value *from, int64_t length)
{
    rlx_ir_value *all = k_const(k, c->g->s.m), *zero = k_const(k, 0);
    rlx_ir_value *live = rlx_lir_build_map2(k->b, RLX_FN_SUB, k_extent(k, c->g->m), c->m0);
    live = rlx_lir_build_map2(k->b, RLX_FN_MIN, live, all);
    rlx_lir_build_barrier(k->b); /* the panel before was read to its end */
    for (int dead = 0; dead < 2; dead++) {
        rlx_lir_scope loop;
        rlx_lir_begin_for(k->b, dead ? live : zero, dead ? all : live, 1, 0, NULL, &loop);
        if (k->b->status)
            return rlx_ir_builder_finish(k->b);
        RLX_TRY(fill_row(k, c, loop.index[0], !dead, from, length));
        rlx_lir_end_for(k->b, &loop, NULL);
    }
    rlx_lir_build_barrier(k->b);
    c->panel->from = from;
    return rlx_ir_builder_finish(k->b);
}

/* One chunk of K for all column tiles. */
static rlx_status emit_chunk(kernel_cx *k, const columns *c, rlx_ir_value *from, int64_t length,
                             bool last)
{
    rlx_ir_value *acc[MAX_CONTRACTS], *tiles[MAX_CONTRACTS];
    rlx_lir_scope loop;
    RLX_TRY(fill_panel(k, c, from, length));
    RLX_TRY(begin_columns(k, c, &loop));
    const register_tile p = {.m0 = c->m0,
                             .n0 = rlx_lir_build_map2(k->b, RLX_FN_ADD, c->n0, loop.index[0]),
                             .m_limit = c->m_limit,
                             .n_limit = c->n_limit};
    for (int i = 0; i < c->g->ncontracts; i++) {
        /* one after the other: each has all registers for itself */
        const part one = {i, 1};
        if (c->panel->acc[i])
            move_accumulators(k, c, one, loop.index[0], true, acc);
        else
            clear_accumulators(k, c->g, one, acc);
        RLX_TRY(contract_span(k, c->g, one, &p, c->panel, from, length, acc));
        if (last) {
            sum_lanes(k, one, acc, tiles);
        } else {
            rlx_lir_build_barrier(k->b); /* all was read before it is written */
            move_accumulators(k, c, one, loop.index[0], false, acc);
        }
    }
    if (last)
        RLX_TRY(c->finish(k, c, &p, loop.index[0], tiles));
    rlx_lir_end_for(k->b, &loop, NULL);
    return rlx_ir_builder_finish(k->b);
}

static rlx_status emit_columns(kernel_cx *k, const columns *c)
{
    const group *g = c->g;
    int64_t before = (g->k - 1) / g->s.depth * g->s.depth; /* where the last chunk begins */
    if (before > 0) {
        RLX_TRY(clear_columns(k, c));
        rlx_lir_scope loop;
        rlx_lir_begin_for(k->b, k_const(k, 0), k_const(k, before), g->s.depth, 0, NULL, &loop);
        if (k->b->status)
            return rlx_ir_builder_finish(k->b);
        RLX_TRY(emit_chunk(k, c, loop.index[0], g->s.depth, false));
        rlx_lir_end_for(k->b, &loop, NULL);
    }
    return emit_chunk(k, c, k_const(k, before), g->k - before, true);
}

static rlx_status alloc_panel(kernel_cx *k, const group *g, panel *out)
{
    const rlx_lir_schedule *s = &g->s;
    int64_t x[2] = {s->m, s->depth}, acc[4] = {s->block_n / s->n, s->m, s->n, s->lanes};
    *out = (panel){.x = rlx_lir_build_alloc(&k->top, RLX_F32, 2, x)};
    for (int i = 0; i < g->ncontracts && g->k > s->depth; i++)
        out->acc[i] = rlx_lir_build_alloc(&k->top, RLX_F32, 4, acc);
    return k->top.status ? rlx_ir_builder_finish(&k->top) : RLX_OK;
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

static rlx_status finish_registers(kernel_cx *k, const columns *c, const register_tile *p,
                                   rlx_ir_value *column, rlx_ir_value **tiles)
{
    (void)column;
    return group_store_tiles(k, c->g, p, c->yield, tiles);
}

/* The columns of an instance: block_n of them, fewer at the weight's end. */
static rlx_status emit_register_columns(kernel_cx *k, const group *g, const register_tile *p,
                                        const rlx_ir_node *yield)
{
    panel own;
    RLX_TRY(alloc_panel(k, g, &own));
    columns c = {.g = g,
                 .m0 = p->m0,
                 .m_limit = p->m_limit,
                 .n0 = p->n0,
                 .count = k_const(k, g->s.block_n),
                 .n_limit = p->n_limit,
                 .panel = &own,
                 .finish = finish_registers,
                 .yield = yield};
    if (g->n % g->s.block_n)
        c.count = rlx_lir_build_map2(k->b, RLX_FN_MIN, c.count,
                                     rlx_lir_build_map2(k->b, RLX_FN_SUB, k_const(k, g->n), p->n0));
    return emit_columns(k, &c);
}

/* grid n, m: register tiles, their epilogue, their store. */
static rlx_status emit_registers(kernel_cx *k, group *g, const rlx_ir_node *yield)
{
    const rlx_lir_schedule *s = &g->s;
    rlx_ir_value *across = k_extent(k, rlx_dim_make(k->dims, RLX_DIM_CEILDIV, g->n, s->block_n));
    rlx_ir_value *rows = k_extent(k, rlx_dim_make(k->dims, RLX_DIM_CEILDIV, g->m, s->m));
    group_grid grid;
    RLX_TRY(group_begin_grid(k, g, across, rows, &grid));
    register_tile p = {.n0 = scaled(k, grid.column, s->block_n), .m0 = scaled(k, grid.row, s->m)};
    bool m_whole = s->m == 1 || (rlx_dim_is_const(g->m) && g->m % s->m == 0);
    p.m_limit = m_whole ? NULL : k_extent(k, g->m);
    p.n_limit = group_columns_end(k, g, s->n);
    if (s->depth) {
        RLX_TRY(emit_register_columns(k, g, &p, yield));
    } else {
        rlx_ir_value *tiles[MAX_CONTRACTS];
        RLX_TRY(group_contract_tiles(k, g, &p, tiles));
        RLX_TRY(group_store_tiles(k, g, &p, yield, tiles));
    }
    return group_end_grid(k, &grid);
}

/* How many rows of a block of s.m from t0 are live. */
static rlx_ir_value *live_rows(kernel_cx *k, const group *g, rlx_ir_value *t0)
{
    rlx_ir_value *rows = rlx_lir_build_map2(k->b, RLX_FN_SUB, k_extent(k, g->m), t0);
    return rlx_lir_build_map2(k->b, RLX_FN_MIN, rows, k_const(k, g->s.block_m));
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
    rlx_lir_scope row;
    group one = *g;
    one.s.m = 1;
    RLX_TRY(turned_begin(k, g, &turned));
    RLX_TRY(group_begin_grid(k, g, across, blocks, &grid));
    rlx_ir_value *m0 = scaled(k, grid.row, s->m), *rows = live_rows(k, g, m0);
    register_tile p = {.n0 = scaled(k, grid.column, s->n),
                       .n_limit = group_columns_end(k, g, s->n)};
    if (p.n_limit)
        turned.columns = rlx_lir_build_map2(k->b, RLX_FN_MIN, k_const(k, s->n),
                                            rlx_lir_build_map2(k->b, RLX_FN_SUB, p.n_limit, p.n0));
    RLX_TRY(turned_sums(k, g, &turned, m0, rows, p.n0));
    rlx_lir_begin_for(k->b, k_const(k, 0), rows, 1, 0, NULL, &row);
    if (k->b->status)
        return rlx_ir_builder_finish(k->b);
    p.m0 = rlx_lir_build_map2(k->b, RLX_FN_ADD, m0, row.index[0]);
    RLX_TRY(turned_totals(k, g, &turned, p.m0, row.index[0], tiles));
    RLX_TRY(group_store_tiles(k, &one, &p, yield, tiles));
    rlx_lir_end_for(k->b, &row, NULL);
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
    rlx_lir_scope column, row;
    rlx_lir_begin_for(k->b, k_const(k, 0), k_const(k, g->unit), g->s.n, 0, NULL, &column);
    if (k->b->status)
        return rlx_ir_builder_finish(k->b);
    rlx_ir_value *n0 = rlx_lir_build_map2(k->b, RLX_FN_ADD, u0, column.index[0]);
    RLX_TRY(turned_sums(k, g, turned, m0, rows, n0));
    rlx_lir_begin_for(k->b, k_const(k, 0), rows, 1, 0, NULL, &row);
    if (k->b->status)
        return rlx_ir_builder_finish(k->b);
    rlx_ir_value *index[2] = {row.index[0], column.index[0]};
    rlx_ir_value *at = rlx_lir_build_map2(k->b, RLX_FN_ADD, m0, row.index[0]);
    RLX_TRY(turned_totals(k, g, turned, at, row.index[0], tiles));
    for (int i = 0; i < g->ncontracts; i++)
        rlx_lir_build_store(k->b, memory[i], tiles[i], index, axes, NULL);
    rlx_lir_end_for(k->b, &row, NULL);
    rlx_lir_build_barrier(k->b); /* sums are cleared for the next columns */
    rlx_lir_end_for(k->b, &column, NULL);
    return rlx_ir_builder_finish(k->b);
}

static rlx_status finish_block(kernel_cx *k, const columns *c, const register_tile *p,
                               rlx_ir_value *column, rlx_ir_value **tiles)
{
    static const int64_t axes[2] = {0, 1};
    rlx_ir_value *index[2] = {k_const(k, 0), column};
    (void)p;
    for (int i = 0; i < c->g->ncontracts; i++)
        rlx_lir_build_store(k->b, c->memory[i], tiles[i], index, axes, NULL);
    return rlx_ir_builder_finish(k->b);
}

/* A block of one register tile's rows by panels: its tiles into team memory. */
static rlx_status emit_block_columns(kernel_cx *k, const group *g, const group_grid *grid,
                                     rlx_ir_value *t0, rlx_ir_value **memory)
{
    panel own;
    RLX_TRY(alloc_panel(k, g, &own));
    const columns c = {.g = g,
                       .m0 = t0,
                       .m_limit = k_extent(k, g->m),
                       .n0 = scaled(k, grid->column, g->unit),
                       .count = k_const(k, g->unit),
                       .panel = &own,
                       .finish = finish_block,
                       .memory = memory};
    return emit_columns(k, &c);
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
    rlx_ir_value *u0 = scaled(k, grid->column, g->unit);
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
    rlx_ir_value *units = k_const(k, g->n / g->unit);
    rlx_ir_value *blocks = k_extent(k, rlx_dim_make(k->dims, RLX_DIM_CEILDIV, g->m, s->block_m));
    turned_rows turned;
    group_grid grid;
    rlx_lir_scope row;
    if (s->turned)
        RLX_TRY(turned_begin(k, g, &turned));
    RLX_TRY(group_begin_grid(k, g, units, blocks, &grid));
    if (k->top.status)
        return rlx_ir_builder_finish(&k->top);
    rlx_ir_value *t0 = scaled(k, grid.row, s->block_m);
    rlx_ir_value *rows = live_rows(k, g, t0);
    if (s->depth)
        RLX_TRY(emit_block_columns(k, g, &grid, t0, memory));
    else if (s->turned)
        RLX_TRY(
            emit_block_turned(k, g, &turned, scaled(k, grid.column, g->unit), t0, rows, memory));
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
    const bool made = g->s.rows && a->def && !group_reads_in_place(k, a);
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
                                     : emit_registers(&k, &groups[i], yield));
    return kernel_end(r, &k);
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
    if (a && groups[0].s.prologue_once) {
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
        RLX_TRY(store_columns(r, &probe, &groups[i], &seconds));
        RLX_TRY(lower_groups(r, &groups[i], 1, a, temp, &seconds));
    }
    return RLX_OK;
}
