/* mir/lower/lower_columns.c: some rows of floats against weights, lanes along K, by chunks of it.
 *
 *   sums = 0 in team memory
 *   for chunks of K {
 *     the rows' part of it -> team memory
 *     for column tiles, contractions {
 *       first row tile { weights, as f32 -> team memory; sums += }
 *       for row tiles { sums += } } }
 *   for columns, rows { totals; finish }
 *
 * Where all rows are one block, a thread copies them once, all chunks, for all of its blocks of columns.
 * A weight is read, and converted, once for all rows of the block. Where registers are many, the first
 * row tile does it: products go on while weights come from memory. The rows' part of a chunk stays in
 * the first-level cache for all columns, side by side: rows of a tensor are often a power of two
 * apart, and would share its sets. Sums are added to in the order in which registers have it over the
 * whole of K. Live rows go by tiles of s.m, then of fewer, so that none is computed in vain.
 *
 * Where no more rows of the block are live than one register tile takes, weights go by once anyway,
 * and nothing is copied:
 *
 *   for column tiles { sums in registers, over the whole of K; totals; finish } */
#include "mir/lower/lower_group.h"

/* Team memory. */
typedef struct memory {
    rlx_ir_value *x;                   /* f32[chunks, block_m, depth]: rows of a chunk, or of all */
    rlx_ir_value *w;                   /* f32[n, depth]: weights of a column tile */
    rlx_ir_value *sums[MAX_CONTRACTS]; /* f32[block_n / wide, block_m, wide, lanes] */
    int wide;                          /* columns that are finished together */
} memory;

/* The elements of K that go by together: `length` of them from `from`, `padded` with zeros to whole
 * vectors; their rows' chunk in team memory; the chunk behind them, of these columns or of the next
 * block's: K index `next`, so many rows of weights on. */
typedef struct row_chunk {
    rlx_ir_value *from, *place, *next, *next_block;
    int64_t length, padded;
} row_chunk;

static int finished_together(const rlx_lir_schedule *s)
{
    enum { MOST = 8 };
    int wide = s->n;
    while (2 * wide <= MOST && s->block_n % (2 * wide) == 0)
        wide *= 2;
    return wide;
}

/* Rows of so many chunks, each of which lies in one piece. */
static rlx_ir_value *alloc_rows(kernel_cx *k, const group *g, int64_t chunks)
{
    const int64_t x[3] = {chunks, g->s.block_m, g->s.depth};
    return rlx_lir_build_alloc(&k->top, RLX_F32, 3, x);
}

static rlx_status alloc_memory(kernel_cx *k, const group *g, rlx_ir_value *shared, memory *out)
{
    const rlx_lir_schedule *s = &g->s;
    const int wide = finished_together(s);
    const int64_t w[2] = {s->n, s->depth},
                  sums[4] = {s->block_n / wide, s->block_m, wide, s->lanes};
    *out = (memory){.x = shared ? shared : alloc_rows(k, g, 1),
                    .w = rlx_lir_build_alloc(&k->top, RLX_F32, 2, w),
                    .wide = wide};
    for (int i = 0; i < g->ncontracts; i++)
        out->sums[i] = rlx_lir_build_alloc(&k->top, RLX_F32, 4, sums);
    return k->top.status ? rlx_ir_builder_finish(&k->top) : RLX_OK;
}

/* ---- sums */

/* A tile of them: rows from `row`, columns from `column` on. */
typedef struct sums_place {
    rlx_ir_value *row, *column;
    int height, width;
} sums_place;

static void sums_index(kernel_cx *k, const memory *at, const sums_place *p, rlx_ir_value **index)
{
    rlx_ir_value *wide = k_const(k, at->wide);
    index[0] = rlx_lir_build_map2(k->b, RLX_FN_DIV, p->column, wide);
    index[1] = p->row;
    index[2] = rlx_lir_build_map2(k->b, RLX_FN_MOD, p->column, wide);
    index[3] = k_const(k, 0);
}

static const int64_t sums_axes[3] = {1, 2, 3};

static rlx_ir_value *load_sums(kernel_cx *k, const group *g, const memory *at, int which,
                               const sums_place *p)
{
    const int64_t dims[3] = {p->height, p->width, g->s.lanes};
    rlx_ir_value *index[4];
    sums_index(k, at, p, index);
    return rlx_lir_build_load(k->b, at->sums[which], RLX_F32, 3, dims, index, sums_axes, NULL);
}

static void store_sums(kernel_cx *k, const memory *at, int which, rlx_ir_value *x,
                       const sums_place *p)
{
    rlx_ir_value *index[4];
    sums_index(k, at, p, index);
    rlx_lir_build_store(k->b, at->sums[which], x, index, sums_axes, NULL);
}

static rlx_status clear_partial_sums(kernel_cx *k, const column_block *c, const memory *at)
{
    const group *g = c->g;
    const int64_t dims[3] = {1, at->wide, g->s.lanes};
    rlx_lir_scope column, row;
    rlx_lir_begin_for(k->b, k_const(k, 0), k_const(k, g->s.block_n), at->wide, 0, NULL, &column);
    rlx_lir_begin_for(k->b, k_const(k, 0), c->rows, 1, 0, NULL, &row);
    if (k->b->status)
        return rlx_ir_builder_finish(k->b);
    const sums_place p = {row.index[0], column.index[0], 1, at->wide};
    rlx_ir_value *none = rlx_lir_build_fill(k->b, RLX_F32, 3, dims, 0.0);
    for (int i = 0; i < g->ncontracts; i++)
        store_sums(k, at, i, none, &p);
    rlx_lir_end_for(k->b, &row, NULL);
    rlx_lir_end_for(k->b, &column, NULL);
    return rlx_ir_builder_finish(k->b);
}

/* All columns' totals, row by row. */
static rlx_status finish(kernel_cx *k, const column_block *c, const memory *at)
{
    rlx_ir_value *tiles[MAX_CONTRACTS];
    rlx_lir_scope column, row;
    rlx_lir_begin_for(k->b, k_const(k, 0), c->columns, at->wide, 0, NULL, &column);
    rlx_lir_begin_for(k->b, k_const(k, 0), c->rows, 1, 0, NULL, &row);
    if (k->b->status)
        return rlx_ir_builder_finish(k->b);
    const sums_place p = {row.index[0], column.index[0], 1, at->wide};
    for (int i = 0; i < c->g->ncontracts; i++)
        tiles[i] = rlx_lir_build_reduce(k->b, RLX_FN_ADD, load_sums(k, c->g, at, i, &p));
    RLX_TRY(c->finish(k, c, p.row, p.column, 1, at->wide, tiles));
    rlx_lir_end_for(k->b, &row, NULL);
    rlx_lir_end_for(k->b, &column, NULL);
    return rlx_ir_builder_finish(k->b);
}

/* ---- row tiles */

/* So few rows that weights go by once as they are: each number of them has a tile of its own. */
static int most_streamed(const group *g)
{
    enum { MOST = 3 };
    return g->s.m < MOST ? g->s.m : MOST;
}

/* A chunk's weights of one contraction's column tile. */
typedef struct products {
    const column_block *c;
    const memory *at;
    const row_chunk *of;
    int which;
    rlx_ir_value *column, *n0; /* of the block, of the weight */
} products;

static rlx_ir_value *load_rows(kernel_cx *k, const products *p, int height, int64_t width,
                               rlx_ir_value *row, rlx_ir_value *column)
{
    static const int64_t axes[2] = {1, 2};
    const int64_t dims[2] = {height, width};
    rlx_ir_value *index[3] = {p->of->place, row, column};
    return rlx_lir_build_load(k->b, p->at->x, RLX_F32, 2, dims, index, axes, NULL);
}

static rlx_ir_value *load_weights(kernel_cx *k, const products *p, int64_t width,
                                  rlx_ir_value *column)
{
    static const int64_t axes[2] = {0, 1};
    const int64_t dims[2] = {p->c->g->s.n, width};
    rlx_ir_value *index[2] = {k_const(k, 0), column};
    return rlx_lir_build_load(k->b, p->at->w, RLX_F32, 2, dims, index, axes, NULL);
}

static rlx_ir_value *end_of_k(kernel_cx *k, const group *g, const row_chunk *h)
{
    return h->padded == h->length ? NULL : k_const(k, g->k);
}

/* Tells of the same columns' weights in the next chunk, which lie in pages of their own. */
static void tell_next(kernel_cx *k, const products *p, rlx_ir_value *column, int64_t width)
{
    const group *g = p->c->g;
    const rlx_ir_value *w = group_weight_memory(g->contract[p->which]);
    if (!w || g->nbatch > 0 || rlx_format_get(w->type.format)->kind == RLX_KIND_BLOCK)
        return;
    rlx_ir_value *to = plus(k, p->of->next, column), *first = plus(k, p->n0, p->of->next_block);
    for (int j = 0; j < g->s.n; j++) {
        rlx_ir_value *index[3];
        int64_t axes[2];
        group_weight_index(g, plus(k, first, k_const(k, j)), to, index, axes);
        rlx_lir_build_prefetch(k->b, bound(w)->lir, index, width);
    }
}

/* Weights of the column tile, from `column` of the chunk on, to team memory, too. */
static rlx_status convert_weights(kernel_cx *k, const products *p, rlx_ir_value *column,
                                  int64_t width, rlx_ir_value **w)
{
    static const int64_t axes[2] = {0, 1};
    const group *g = p->c->g;
    coord element[RLX_MAX_RANK];
    rlx_ir_value *k0 = plus(k, p->of->from, column), *index[2] = {k_const(k, 0), column};
    group_weight_place(g, coord_of(p->n0, range_of(g->n), 0), coord_of(k0, g->k, 1), element);
    tile_space ts = {.rank = 2,
                     .dim = {g->s.n, width},
                     .root = {p->n0, k0},
                     .limit = {p->c->n_limit, end_of_k(k, g, p->of)}};
    tell_next(k, p, column, width);
    RLX_TRY(tile_at(k, rlx_mir_contract_weight(g->contract[p->which]), element, &ts, w));
    rlx_lir_build_store(k->b, p->at->w, *w, index, axes, NULL);
    return rlx_ir_builder_finish(k->b);
}

/* `first`: no rows before these have brought the weights. */
static rlx_status add_products(kernel_cx *k, const products *p, rlx_ir_value *row, int height,
                               bool first)
{
    const group *g = p->c->g;
    const int64_t all = p->of->padded, step = all % g->s.k == 0 ? g->s.k : g->s.lanes;
    const sums_place to = {row, p->column, height, g->s.n};
    rlx_ir_value *acc = load_sums(k, g, p->at, p->which, &to), *w;
    rlx_lir_scope loop;
    rlx_lir_begin_for(k->b, k_const(k, 0), k_const(k, all), step, 1, &acc, &loop);
    if (k->b->status)
        return rlx_ir_builder_finish(k->b);
    rlx_ir_value *x = load_rows(k, p, height, step, row, loop.index[0]);
    if (first)
        RLX_TRY(convert_weights(k, p, loop.index[0], step, &w));
    else
        w = load_weights(k, p, step, loop.index[0]);
    acc = rlx_lir_build_contract(k->b, loop.carried[0], x, w);
    rlx_lir_end_for(k->b, &loop, &acc);
    rlx_lir_build_barrier(k->b); /* all was read before it is written, and weights the other way */
    store_sums(k, p->at, p->which, loop.result[0], &to);
    return rlx_ir_builder_finish(k->b);
}

static rlx_status add_tiles(kernel_cx *k, const products *p, rlx_ir_value *from, rlx_ir_value *to,
                            int height, bool first)
{
    rlx_lir_scope loop;
    rlx_lir_begin_for(k->b, from, to, height, 0, NULL, &loop);
    if (k->b->status)
        return rlx_ir_builder_finish(k->b);
    RLX_TRY(add_products(k, p, loop.index[0], height, first));
    rlx_lir_end_for(k->b, &loop, NULL);
    return rlx_ir_builder_finish(k->b);
}

/* The first row behind as many tiles of `height` rows, from `from` on, as are whole. */
static rlx_ir_value *whole_tiles(kernel_cx *k, rlx_ir_value *from, rlx_ir_value *rows, int height)
{
    rlx_ir_value *by = k_const(k, height);
    rlx_ir_value *rest = rlx_lir_build_map2(k->b, RLX_FN_SUB, rows, from);
    rest = rlx_lir_build_map2(k->b, RLX_FN_MOD, rest, by);
    return rlx_lir_build_map2(k->b, RLX_FN_SUB, rows, rest);
}

/* The chunk's weights by themselves: few registers hold what is converted beside a tile's sums. */
static rlx_status bring_weights(kernel_cx *k, const products *p)
{
    const int64_t all = p->of->padded,
                  step = all % p->c->g->s.k == 0 ? p->c->g->s.k : p->c->g->s.lanes;
    rlx_lir_scope loop;
    rlx_ir_value *w;
    rlx_lir_begin_for(k->b, k_const(k, 0), k_const(k, all), step, 0, NULL, &loop);
    if (k->b->status)
        return rlx_ir_builder_finish(k->b);
    RLX_TRY(convert_weights(k, p, loop.index[0], step, &w));
    rlx_lir_end_for(k->b, &loop, NULL);
    rlx_lir_build_barrier(k->b);
    return rlx_ir_builder_finish(k->b);
}

/* All live rows, none or more than are streamed: by tiles of s.m, then of as few as there may be, of two,
 * of one. The first, which brings the weights, is of s.m rows, or where all are less of as few. */
static rlx_status add_rows(kernel_cx *k, const products *p)
{
    const bool together = k->options->target->vector_regs >= 32;
    const int most = p->c->g->s.m, few = most_streamed(p->c->g), heights[4] = {most, few + 1, 2, 1};
    rlx_ir_value *rows = p->c->rows, *from = k_const(k, 0), *to;
    if (!together)
        RLX_TRY(bring_weights(k, p));
    for (int i = 0; together && i < 2 && (i == 0 || heights[i] < most); i++) {
        to = rlx_lir_build_map2(k->b, RLX_FN_MIN, whole_tiles(k, from, rows, heights[i]),
                                k_const(k, most));
        RLX_TRY(add_tiles(k, p, from, to, heights[i], true));
        from = to;
    }
    for (int i = 0; i < 4; i++) {
        if (i > 0 && heights[i] >= most)
            continue;
        to = whole_tiles(k, from, rows, heights[i]);
        RLX_TRY(add_tiles(k, p, from, to, heights[i], false));
        from = to;
    }
    return rlx_ir_builder_finish(k->b);
}

/* ---- a chunk */

/* Elements per tile when `length` of them are copied: a few vectors. */
static int64_t copy_width(const group *g, int64_t length, int64_t most)
{
    int64_t width = g->s.lanes;
    while (width < most && length % (2 * width) == 0)
        width *= 2;
    return width;
}

/* Row by row: one stream at a time. */
static rlx_status copy_rows(kernel_cx *k, const column_block *c, rlx_ir_value *to,
                            const row_chunk *h)
{
    enum { MOST = 64 };
    static const int64_t axis = 2;
    const group *g = c->g;
    const int64_t width = copy_width(g, h->padded, MOST);
    coord element[RLX_MAX_RANK];
    rlx_lir_scope row, column;
    rlx_ir_value *x;
    rlx_lir_begin_for(k->b, k_const(k, 0), c->rows, 1, 0, NULL, &row);
    rlx_lir_begin_for(k->b, k_const(k, 0), k_const(k, h->padded), width, 0, NULL, &column);
    if (k->b->status)
        return rlx_ir_builder_finish(k->b);
    rlx_ir_value *k0 = plus(k, h->from, column.index[0]);
    const coord token = coord_add(coord_of(c->m0, 0, -1), coord_of(row.index[0], g->s.block_m, -1));
    group_place(g, token, coord_of(k0, g->k, 0), element);
    tile_space ts = {.rank = 1, .dim = {width}, .root = {k0}, .limit = {end_of_k(k, g, h)}};
    RLX_TRY(tile_at(k, g->contract[0]->in[0], element, &ts, &x));
    rlx_ir_value *index[3] = {h->place, row.index[0], column.index[0]};
    rlx_lir_build_store(k->b, to, x, index, &axis, NULL);
    rlx_lir_end_for(k->b, &column, NULL);
    rlx_lir_end_for(k->b, &row, NULL);
    return rlx_ir_builder_finish(k->b);
}

static rlx_status add_chunk(kernel_cx *k, const column_block *c, const memory *at,
                            const row_chunk *h)
{
    rlx_lir_scope column;
    if (!c->shared) {
        rlx_lir_build_barrier(k->b); /* the rows before were read to their end */
        RLX_TRY(copy_rows(k, c, at->x, h));
    }
    rlx_lir_begin_for(k->b, k_const(k, 0), c->columns, c->g->s.n, 0, NULL, &column);
    if (k->b->status)
        return rlx_ir_builder_finish(k->b);
    rlx_ir_value *n0 = plus(k, c->n0, column.index[0]);
    for (int i = 0; i < c->g->ncontracts; i++) {
        const products p = {c, at, h, i, column.index[0], n0};
        rlx_lir_build_barrier(k->b); /* as were the weights */
        RLX_TRY(add_rows(k, &p));
    }
    rlx_lir_end_for(k->b, &column, NULL);
    return rlx_ir_builder_finish(k->b);
}

static row_chunk chunk_of(kernel_cx *k, const column_block *c, rlx_ir_value *from, int64_t length)
{
    const group *g = c->g;
    rlx_ir_value *place = c->shared
                              ? rlx_lir_build_map2(k->b, RLX_FN_DIV, from, k_const(k, g->s.depth))
                              : k_const(k, 0);
    rlx_ir_value *end = plus(k, from, k_const(k, length)), *all = k_const(k, g->k);
    rlx_ir_value *wraps = rlx_lir_build_map2(k->b, RLX_FN_DIV, end, all);
    return (row_chunk){.from = from,
                       .place = place,
                       .length = length,
                       .padded = up(length, g->s.lanes),
                       .next = rlx_lir_build_map2(k->b, RLX_FN_MOD, end, all),
                       .next_block =
                           rlx_lir_build_map2(k->b, RLX_FN_MUL, wraps, k_const(k, g->s.block_n))};
}

/* `at` NULL: the rows of each to where blocks share them. */
static rlx_status visit_chunk(kernel_cx *k, const column_block *c, const memory *at,
                              rlx_ir_value *from, int64_t length)
{
    const row_chunk h = chunk_of(k, c, from, length);
    return at ? add_chunk(k, c, at, &h) : copy_rows(k, c, c->shared, &h);
}

static rlx_status visit_chunks(kernel_cx *k, const column_block *c, const memory *at)
{
    const group *g = c->g;
    const int64_t whole = g->k / g->s.depth * g->s.depth;
    if (whole > 0) {
        rlx_lir_scope loop;
        rlx_lir_begin_for(k->b, k_const(k, 0), k_const(k, whole), g->s.depth, 0, NULL, &loop);
        if (k->b->status)
            return rlx_ir_builder_finish(k->b);
        RLX_TRY(visit_chunk(k, c, at, loop.index[0], g->s.depth));
        rlx_lir_end_for(k->b, &loop, NULL);
    }
    if (whole < g->k)
        RLX_TRY(visit_chunk(k, c, at, k_const(k, whole), g->k - whole));
    return rlx_ir_builder_finish(k->b);
}

/* ---- few live rows */

/* The block's columns for `height` rows from `row` on, which are all there are. */
static rlx_status stream_tile(kernel_cx *k, const column_block *c, rlx_ir_value *row, int height)
{
    rlx_ir_value *tiles[MAX_CONTRACTS];
    rlx_lir_scope column;
    group g = *c->g;
    g.s.m = height;
    g.s.n = g.s.n > g.ncontracts ? g.s.n / g.ncontracts : 1; /* they go together */
    rlx_lir_begin_for(k->b, k_const(k, 0), c->columns, g.s.n, 0, NULL, &column);
    if (k->b->status)
        return rlx_ir_builder_finish(k->b);
    const register_tile p = {
        .m0 = plus(k, c->m0, row), .n0 = plus(k, c->n0, column.index[0]), .n_limit = c->n_limit};
    RLX_TRY(group_contract_tiles(k, &g, &p, tiles));
    RLX_TRY(c->finish(k, c, row, column.index[0], height, g.s.n, tiles));
    rlx_lir_end_for(k->b, &column, NULL);
    return rlx_ir_builder_finish(k->b);
}

static rlx_status stream_rows(kernel_cx *k, const column_block *c)
{
    rlx_ir_value *from = k_const(k, 0);
    for (int height = most_streamed(c->g); height > 0; height--) {
        rlx_lir_scope loop;
        rlx_ir_value *to = whole_tiles(k, from, c->rows, height);
        rlx_lir_begin_for(k->b, from, to, height, 0, NULL, &loop);
        if (k->b->status)
            return rlx_ir_builder_finish(k->b);
        RLX_TRY(stream_tile(k, c, loop.index[0], height));
        rlx_lir_end_for(k->b, &loop, NULL);
        from = to;
    }
    return rlx_ir_builder_finish(k->b);
}

/* Takes rows from a block that has many: those of a block of few, or else none. */
static rlx_ir_value *take_few(kernel_cx *k, column_block *many)
{
    rlx_ir_value *one = k_const(k, 1), *most = k_const(k, most_streamed(many->g) + 1);
    rlx_ir_value *all = many->rows;
    rlx_ir_value *is_many = rlx_lir_build_map2(k->b, RLX_FN_DIV, all, most);
    is_many = rlx_lir_build_map2(k->b, RLX_FN_MIN, is_many, one);
    many->rows = rlx_lir_build_map2(k->b, RLX_FN_MUL, all, is_many);
    many->columns = rlx_lir_build_map2(k->b, RLX_FN_MUL, many->columns, is_many);
    return rlx_lir_build_map2(k->b, RLX_FN_SUB, all, many->rows);
}

rlx_status group_columns(kernel_cx *k, const column_block *c)
{
    memory at;
    column_block few = *c, many = *c;
    few.rows = take_few(k, &many);
    RLX_TRY(stream_rows(k, &few));
    RLX_TRY(alloc_memory(k, c->g, c->shared, &at));
    rlx_lir_build_barrier(k->b); /* the block before was read to its end */
    RLX_TRY(clear_partial_sums(k, &many, &at));
    RLX_TRY(visit_chunks(k, &many, &at));
    rlx_lir_build_barrier(k->b);
    return finish(k, &many, &at);
}

rlx_status group_columns_begin(kernel_cx *k, const group *g, rlx_ir_value **shared)
{
    rlx_lir_scope once;
    *shared = NULL;
    if (!g->s.rows_once || g->nlead > 0) /* of batches, if only of one, an instance knows which */
        return RLX_OK;
    column_block c = {
        .g = g, .m0 = k_const(k, 0), .rows = k_extent(k, g->m), .columns = k_const(k, 0)};
    c.shared = *shared = alloc_rows(k, g, (g->k + g->s.depth - 1) / g->s.depth);
    k_begin_once(k, &once);
    take_few(k, &c);
    RLX_TRY(visit_chunks(k, &c, NULL));
    rlx_lir_end_once(k->b, &once);
    return rlx_ir_builder_finish(k->b);
}
