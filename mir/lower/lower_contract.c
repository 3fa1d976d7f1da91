/* mir/lower/lower_contract.c: contraction regions.
 *
 * Results that share contractions form a group, and each group a grid of one kernel:
 *
 *   once      { normalised rows -> team memory }       prologue, while rows are few
 *   grid n, m { acc tiles over K; epilogue; store }    registers: the epilogue is elementwise
 *   grid u, m { acc tiles -> team memory; epilogue }   blocks: the epilogue needs whole heads
 *
 * With many tokens both go by panels (see "columns by panels" below): an instance is a block of
 * columns, and K goes by chunks that the first-level cache holds.
 */
#include "mir/lower/lower.h"

enum { MAX_CONTRACTS = 8, MAX_RESULTS = 8 };

typedef struct group {
    const rlx_ir_node *contract[MAX_CONTRACTS];
    int ncontracts;
    int result[MAX_RESULTS]; /* which results of the region */
    int nresults;
    int64_t unit; /* columns that the epilogue needs together; 0: none */
    int64_t n, k; /* weight rows, contracted extent */
    rlx_dim m;
    rlx_lir_schedule s;
} group;

static void find_contracts(const rlx_ir_value *v, group *g)
{
    const rlx_ir_node *n = v->def;
    if (!n)
        return;
    if (n->op == RLX_MIR_CONTRACT) {
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

/* Columns of the contraction that one row of the epilogue must have at hand together. */
static void unit_below(const rlx_ir_value *v, int64_t *unit)
{
    const rlx_ir_node *n = v->def;
    if (!n || bound(v) || n->op == RLX_MIR_CONTRACT || !value_depends(v, RLX_MIR_CONTRACT))
        return;
    if (n->op == RLX_MIR_SLICE || n->op == RLX_MIR_CONCAT) {
        int64_t axis = rlx_ir_attr_int(n, RLX_ATTR_AXIS, 0);
        const rlx_ir_type *whole = n->op == RLX_MIR_SLICE ? &n->in[0]->type : &n->out[0]->type;
        at_least(unit, product_from(whole, axis));
    }
    if (n->op == RLX_MIR_RESHAPE && v->type.rank > 2)
        at_least(unit, product_from(&v->type, 2));
    if (n->op == RLX_MIR_PAGE_WRITE)
        at_least(unit, n->in[1]->type.dim[2]);
    for (int i = 0; i < n->nin; i++)
        unit_below(n->in[i], unit);
}

static rlx_status describe_group(kernel_cx *k, group *g, const rlx_ir_node *yield)
{
    const rlx_ir_node *first = g->contract[0];
    const rlx_ir_type *a = &first->in[0]->type, *w = &first->in[1]->type;
    if (a->rank != 2)
        return k_fail(k, first, "contractions take two axes: tokens and features");
    for (int i = 0; i < g->ncontracts; i++) {
        const rlx_ir_node *n = g->contract[i];
        if (n->in[0] != first->in[0] || !rlx_ir_shape_equal(&n->in[1]->type, w))
            return k_fail(k, n, "one result needs contractions of different operands or shapes");
        if (value_depends(n->in[0], RLX_MIR_CONTRACT))
            return k_fail(k, n, "a contraction of a contraction in one region");
    }
    g->m = a->dim[0];
    g->k = a->dim[1];
    g->n = w->dim[0];
    for (int i = 0; i < g->nresults; i++)
        unit_below(yield->in[g->result[i]], &g->unit);
    if (g->unit && g->n % g->unit)
        return k_fail(k, first, "heads do not divide the columns");
    rlx_lir_contract_shape shape = {.m = k_upper(k, g->m),
                                    .n = g->n,
                                    .k = g->k,
                                    .unit = g->unit,
                                    .contracts = g->ncontracts,
                                    .lanes = (int)rlx_ir_attr_int(first, RLX_ATTR_LANES, 16),
                                    .prologue = value_depends(first->in[0], RLX_MIR_REDUCE)};
    rlx_lir_schedule_contract(k->options->target, &shape, &g->s);
    return RLX_OK;
}

/* The results of the region by group. */
static rlx_status make_groups(kernel_cx *k, const rlx_ir_node *yield, group *groups, int *ngroups)
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
            for (int c = 0; c < groups[j].nresults && g.nresults < MAX_RESULTS; c++)
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

/* Where a register tile stands. */
typedef struct tile_at_mn {
    rlx_ir_value *m0, *n0;           /* first token, first weight row */
    rlx_ir_value *m_limit, *n_limit; /* NULL: all live */
} tile_at_mn;

/* Team memory of a group whose schedule has panels (see "columns by panels"). */
typedef struct panel {
    rlx_ir_value *x;                  /* f32[m, depth]: activations of a chunk of K */
    rlx_ir_value *acc[MAX_CONTRACTS]; /* f32[columns / n, m, n, lanes]; NULL: K is one chunk */
    rlx_ir_value *from;               /* i64: the K index that x begins with */
} panel;

/* The x tile of k elements from k0. */
static rlx_status activations(kernel_cx *k, const group *g, const tile_at_mn *p, const panel *in,
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
    coord c[2] = {coord_of(p->m0, 0, 0), coord_of(k0, g->k, 1)};
    tile_space ts = {.rank = 2,
                     .dim = {g->s.m, width},
                     .root = {p->m0, k0},
                     .limit = {p->m_limit, k_limit_value}};
    return tile_at(k, g->contract[0]->in[0], c, &ts, x);
}

/* Contractions first .. first+count-1 of the group. */
typedef struct part {
    int first, count;
} part;

/* acc[i] <- acc[i] + the products of k elements from k0. */
static rlx_status contract_step(kernel_cx *k, const group *g, part of, const tile_at_mn *p,
                                const panel *in, rlx_ir_value *k0, int64_t width,
                                rlx_ir_value *k_limit_value, rlx_ir_value **acc)
{
    coord cw[2] = {coord_of(p->n0, g->n, 0), coord_of(k0, g->k, 1)};
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
 * length is a multiple of the step. */
static rlx_status contract_span(kernel_cx *k, const group *g, part of, const tile_at_mn *p,
                                const panel *in, rlx_ir_value *from, int64_t length,
                                rlx_ir_value **acc)
{
    const rlx_lir_schedule *s = &g->s;
    int64_t whole = length / s->k * s->k, rest = length - whole;
    if (whole > 0) {
        rlx_ir_value *to = k_const(k, whole);
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

/* The tiles over the whole of K, in registers from beginning to end. */
static rlx_status contract_tiles(kernel_cx *k, const group *g, const tile_at_mn *p,
                                 rlx_ir_value **tiles)
{
    rlx_ir_value *acc[MAX_CONTRACTS];
    const part all = {0, g->ncontracts};
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
    rlx_status (*finish)(kernel_cx *k, const struct columns *c, const tile_at_mn *p,
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
        coord at[2] = {coord_add(coord_of(c->m0, 0, -1), coord_of(row, g->s.m, -1)),
                       coord_of(k0, g->k, 0)};
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
    const tile_at_mn p = {.m0 = c->m0,
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

static rlx_status store_tiles(kernel_cx *k, const group *g, const tile_at_mn *p,
                              const rlx_ir_node *yield, rlx_ir_value **tiles)
{
    const rlx_lir_schedule *s = &g->s;
    coord c[2] = {coord_of(p->m0, 0, 0), coord_of(p->n0, g->n, 1)};
    tile_space ts = {
        .rank = 2, .dim = {s->m, s->n}, .root = {p->m0, p->n0}, .limit = {p->m_limit, p->n_limit}};
    for (int i = 0; i < g->ncontracts; i++) {
        binding *b = k_bind(k, g->contract[i]->out[0], BIND_TILE, tiles[i]);
        if (!b)
            return rlx_ir_builder_finish(k->b);
        b->at[0] = c[0];
        b->at[1] = c[1];
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

static rlx_status finish_registers(kernel_cx *k, const columns *c, const tile_at_mn *p,
                                   rlx_ir_value *column, rlx_ir_value **tiles)
{
    (void)column;
    return store_tiles(k, c->g, p, c->yield, tiles);
}

/* The columns of an instance: block_n of them, fewer at the weight's end. */
static rlx_status emit_register_columns(kernel_cx *k, const group *g, const tile_at_mn *p,
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
static rlx_status emit_registers(kernel_cx *k, const group *g, const rlx_ir_node *yield)
{
    const rlx_lir_schedule *s = &g->s;
    rlx_ir_value *extents[2] = {k_const(k, (g->n + s->block_n - 1) / s->block_n),
                                k_extent(k, rlx_dim_make(k->dims, RLX_DIM_CEILDIV, g->m, s->m))};
    rlx_lir_scope grid;
    k_begin_grid(k, 2, extents, &grid);
    if (k->b->status)
        return rlx_ir_builder_finish(k->b);
    tile_at_mn p = {.n0 = scaled(k, grid.index[0], s->block_n),
                    .m0 = scaled(k, grid.index[1], s->m)};
    bool m_whole = s->m == 1 || (rlx_dim_is_const(g->m) && g->m % s->m == 0);
    p.m_limit = m_whole ? NULL : k_extent(k, g->m);
    p.n_limit = g->n % s->n == 0 ? NULL : k_const(k, g->n);
    if (s->depth) {
        RLX_TRY(emit_register_columns(k, g, &p, yield));
    } else {
        rlx_ir_value *tiles[MAX_CONTRACTS];
        RLX_TRY(contract_tiles(k, g, &p, tiles));
        RLX_TRY(store_tiles(k, g, &p, yield, tiles));
    }
    rlx_lir_end_grid(k->b, &grid);
    return rlx_ir_builder_finish(k->b);
}

/* ---- the epilogue on blocks of rows */

/* One leaf of a block's row: which of its axes the unit index gives, and loops over the rest. */
static rlx_status emit_block_leaf(kernel_cx *k, const group *g, const leaf *l, coord row,
                                  rlx_ir_value *unit_index)
{
    const rlx_ir_type *t = &l->value->type;
    int64_t units = g->n / g->unit;
    coord c[RLX_MAX_RANK] = {row};
    if (t->rank >= 2 && t->dim[1] == units) {
        c[1] = coord_of(unit_index, units, -1);
        return sink_loop_whole(k, l, c, 2);
    }
    if (t->rank >= 2 && rlx_dim_is_const(t->dim[1]) && t->dim[1] % units == 0) {
        c[1] = coord_scaled(unit_index, t->dim[1] / units, units);
        return sink_loop(k, l, c, 1, t->dim[1] / units);
    }
    return k_fail(k, l->value->def, "the epilogue's shape does not follow the heads");
}

static rlx_status finish_block(kernel_cx *k, const columns *c, const tile_at_mn *p,
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
static rlx_status emit_block_columns(kernel_cx *k, const group *g, const rlx_lir_scope *grid,
                                     rlx_ir_value *t0, rlx_ir_value **memory)
{
    panel own;
    RLX_TRY(alloc_panel(k, g, &own));
    const columns c = {.g = g,
                       .m0 = t0,
                       .m_limit = k_extent(k, g->m),
                       .n0 = scaled(k, grid->index[0], g->unit),
                       .count = k_const(k, g->unit),
                       .panel = &own,
                       .finish = finish_block,
                       .memory = memory};
    return emit_columns(k, &c);
}

/* Rows 0..rows of a block: contraction tiles into team memory. */
static rlx_status emit_block_tiles(kernel_cx *k, const group *g, const rlx_lir_scope *grid,
                                   rlx_ir_value *t0, rlx_ir_value *rows, rlx_ir_value **memory)
{
    const rlx_lir_schedule *s = &g->s;
    rlx_ir_value *u0 = scaled(k, grid->index[0], g->unit);
    rlx_lir_scope lm, ln;
    rlx_lir_begin_for(k->b, k_const(k, 0), rows, s->m, 0, NULL, &lm);
    rlx_lir_begin_for(k->b, k_const(k, 0), k_const(k, g->unit), s->n, 0, NULL, &ln);
    if (k->b->status)
        return rlx_ir_builder_finish(k->b);
    tile_at_mn p = {.m0 = rlx_lir_build_map2(k->b, RLX_FN_ADD, t0, lm.index[0]),
                    .n0 = rlx_lir_build_map2(k->b, RLX_FN_ADD, u0, ln.index[0])};
    p.m_limit = s->m == 1 ? NULL : k_extent(k, g->m);
    rlx_ir_value *tiles[MAX_CONTRACTS];
    RLX_TRY(contract_tiles(k, g, &p, tiles));
    coord at[2] = {coord_of(lm.index[0], 0, 0), coord_of(ln.index[0], g->unit, 1)};
    tile_space ts = {.rank = 2, .dim = {s->m, s->n}, .root = {lm.index[0], ln.index[0]}};
    for (int i = 0; i < g->ncontracts; i++)
        RLX_TRY(tile_store(k, memory[i], tiles[i], at, &ts));
    rlx_lir_end_for(k->b, &ln, NULL);
    rlx_lir_end_for(k->b, &lm, NULL);
    return rlx_ir_builder_finish(k->b);
}

/* grid unit, m: a block of rows by one unit (a head) into team memory, then the epilogue row by
 * row. */
static rlx_status emit_blocks(kernel_cx *k, const group *g, const rlx_ir_node *yield)
{
    const rlx_lir_schedule *s = &g->s;
    int64_t dims[2] = {s->block_m, g->unit};
    rlx_ir_value *memory[MAX_CONTRACTS];
    for (int i = 0; i < g->ncontracts; i++)
        memory[i] = rlx_lir_build_alloc(&k->top, RLX_F32, 2, dims);
    rlx_ir_value *extents[2] = {
        k_const(k, g->n / g->unit),
        k_extent(k, rlx_dim_make(k->dims, RLX_DIM_CEILDIV, g->m, s->block_m))};
    rlx_ir_value *live = k_extent(k, g->m);
    rlx_lir_scope grid, row;
    k_begin_grid(k, 2, extents, &grid);
    if (k->b->status || k->top.status)
        return k->b->status ? rlx_ir_builder_finish(k->b) : rlx_ir_builder_finish(&k->top);
    rlx_ir_value *t0 = scaled(k, grid.index[1], s->block_m);
    rlx_ir_value *rows = rlx_lir_build_map2(k->b, RLX_FN_SUB, live, t0);
    rows = rlx_lir_build_map2(k->b, RLX_FN_MIN, rows, k_const(k, s->block_m));
    if (s->depth)
        RLX_TRY(emit_block_columns(k, g, &grid, t0, memory));
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
        b->at[0] = coord_of(t0, 0, -1);
        b->at[1] = coord_scaled(grid.index[0], g->unit, g->n / g->unit);
    }
    coord t = coord_add(coord_of(t0, 0, -1), coord_of(row.index[0], 0, -1));
    for (int i = 0; i < g->nresults; i++) {
        leaf leaves[MAX_LEAVES];
        int n, result = g->result[i];
        RLX_TRY(sink_leaves(k, yield->in[result], kernel_result(k, result), leaves, &n));
        for (int j = 0; j < n; j++)
            RLX_TRY(emit_block_leaf(k, g, &leaves[j], t, grid.index[0]));
    }
    rlx_lir_end_for(k->b, &row, NULL);
    rlx_lir_end_grid(k->b, &grid);
    return rlx_ir_builder_finish(k->b);
}

/* Rows of `a` into memory: team memory in a once block, or a temp in a kernel of its own. */
static rlx_status emit_prologue_rows(kernel_cx *k, const rlx_ir_value *a, rlx_ir_value *memory,
                                     coord row)
{
    leaf l = {.value = a, .result = a, .buffer = memory};
    coord c[RLX_MAX_RANK] = {row};
    RLX_TRY(rows_bind(k, a, c));
    RLX_TRY(sink_loop_whole(k, &l, c, 1));
    rows_unbind(a);
    return RLX_OK;
}

static rlx_status prologue_once(kernel_cx *k, const rlx_ir_value *a)
{
    int64_t dims[2] = {k_upper(k, a->type.dim[0]), a->type.dim[1]};
    rlx_ir_value *memory = rlx_lir_build_alloc(&k->top, RLX_F32, 2, dims);
    rlx_ir_value *rows = k_extent(k, a->type.dim[0]);
    rlx_lir_scope once, loop;
    k_begin_once(k, &once);
    rlx_lir_begin_for(k->b, k_const(k, 0), rows, 1, 0, NULL, &loop);
    if (k->b->status || k->top.status)
        return k->b->status ? rlx_ir_builder_finish(k->b) : rlx_ir_builder_finish(&k->top);
    RLX_TRY(emit_prologue_rows(k, a, memory, coord_of(loop.index[0], 0, -1)));
    rlx_lir_end_for(k->b, &loop, NULL);
    rlx_lir_end_once(k->b, &once);
    k_bind(k, a, BIND_BUFFER, memory);
    return rlx_ir_builder_finish(k->b);
}

static rlx_status prologue_kernel(region_cx *r, const rlx_ir_value *a, tape_buffer *temp)
{
    kernel_cx k;
    RLX_TRY(kernel_begin(r, &k, "prologue", "rows"));
    rlx_ir_value *memory = kernel_extra(&k, "rows", temp, true);
    rlx_ir_value *extent = k_extent(&k, a->type.dim[0]);
    rlx_lir_scope grid;
    k_begin_grid(&k, 1, &extent, &grid);
    if (k.b->status)
        return rlx_ir_builder_finish(k.b);
    RLX_TRY(emit_prologue_rows(&k, a, memory, coord_of(grid.index[0], 0, -1)));
    rlx_lir_end_grid(k.b, &grid);
    RLX_TRY(rlx_ir_builder_finish(k.b));
    return kernel_end(r, &k);
}

/* As the checkpoint has it. */
static rlx_format weight_format(const rlx_ir_node *contract)
{
    const rlx_ir_value *w = contract->in[1];
    while (w->def && w->def->op == RLX_MIR_CAST)
        w = w->def->in[0];
    return w->type.format;
}

static void describe_kernel(const group *groups, int n, rlx_text *what, rlx_text *schedule)
{
    int contracts = 0;
    for (int i = 0; i < n; i++)
        contracts += groups[i].ncontracts;
    rlx_text_putf(what, "contract_%s_%lldx%lld",
                  rlx_format_get(weight_format(groups[0].contract[0]))->name,
                  (long long)groups[0].n, (long long)groups[0].k);
    if (contracts > 1)
        rlx_text_putf(what, "_x%d", contracts);
    rlx_text_putf(what, "__m%dn%dk%d", groups[0].s.m, groups[0].s.n, groups[0].s.k);
    for (int i = 0; i < n; i++) {
        rlx_text_put(schedule, i ? "; " : "");
        rlx_lir_schedule_print(&groups[i].s, schedule);
    }
}

rlx_status lower_contract(region_cx *r)
{
    const rlx_ir_node *yield = r->node->blocks[0]->last;
    group groups[MAX_RESULTS] = {0};
    int n;
    kernel_cx probe = {.options = r->options, .dims = r->out->dims, .place = r->node->place};
    RLX_TRY(make_groups(&probe, yield, groups, &n));
    const rlx_ir_value *a = groups[0].contract[0]->in[0];
    bool prologue = value_depends(a, RLX_MIR_REDUCE), once = groups[0].s.prologue_once;
    tape_buffer *temp = NULL;
    if (prologue && !once) {
        temp = tape_temp(r->tape, &a->type);
        if (!temp)
            return RLX_OOM();
        RLX_TRY(prologue_kernel(r, a, temp));
    }
    rlx_text what = {0}, schedule = {0};
    describe_kernel(groups, n, &what, &schedule);
    kernel_cx k;
    rlx_status st =
        what.oom || schedule.oom ? RLX_OOM() : kernel_begin(r, &k, what.data, schedule.data);
    rlx_text_deinit(&what);
    rlx_text_deinit(&schedule);
    RLX_TRY(st);
    if (temp)
        k_bind(&k, a, BIND_BUFFER, kernel_extra(&k, "rows", temp, false));
    else if (prologue)
        RLX_TRY(prologue_once(&k, a));
    for (int i = 0; i < n; i++)
        RLX_TRY(groups[i].unit ? emit_blocks(&k, &groups[i], yield)
                               : emit_registers(&k, &groups[i], yield));
    return kernel_end(r, &k);
}
