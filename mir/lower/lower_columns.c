/* mir/lower/lower_columns.c: some rows of floats against weights, lanes along K, by chunks of it.
 *
 *   sums = 0 in team memory
 *   for chunks of K {
 *     the rows' part of it -> team memory
 *     for column tiles, contractions {
 *       weights, as f32 -> team memory
 *       for row tiles { sums += } } }
 *   for columns, rows { totals; finish }
 *
 * A weight is read, and converted, once for all rows of the block. The rows' part of a chunk stays in
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
    rlx_ir_value *x;                   /* f32[block_m, depth]: rows of a chunk */
    rlx_ir_value *w;                   /* f32[n, depth]: weights of a column tile */
    rlx_ir_value *sums[MAX_CONTRACTS]; /* f32[block_n / wide, block_m, wide, lanes] */
    int wide;                          /* columns that are finished together */
} memory;

/* The elements of K that go by together: `length` of them from `from`, `padded` with zeros to whole
 * vectors; the chunk behind them, of these columns or of the next block's: K index `next`, so many
 * rows of weights on. */
typedef struct row_chunk {
    rlx_ir_value *from, *next, *next_block;
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

static rlx_status alloc_memory(kernel_cx *k, const group *g, memory *out)
{
    const rlx_lir_schedule *s = &g->s;
    const int wide = finished_together(s);
    const int64_t x[2] = {s->block_m, s->depth}, w[2] = {s->n, s->depth},
                  sums[4] = {s->block_n / wide, s->block_m, wide, s->lanes};
    *out = (memory){.x = rlx_lir_build_alloc(&k->top, RLX_F32, 2, x),
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

/* A chunk's weights of one contraction's column tile. */
typedef struct products {
    const column_block *c;
    const memory *at;
    const row_chunk *of;
    int which;
    rlx_ir_value *column;
} products;

static rlx_ir_value *load_operand(kernel_cx *k, rlx_ir_value *from, int rows, int64_t width,
                                  rlx_ir_value *row, rlx_ir_value *column)
{
    static const int64_t axes[2] = {0, 1};
    const int64_t dims[2] = {rows, width};
    rlx_ir_value *index[2] = {row, column};
    return rlx_lir_build_load(k->b, from, RLX_F32, 2, dims, index, axes, NULL);
}

static rlx_status add_products(kernel_cx *k, const products *p, rlx_ir_value *row, int height)
{
    const group *g = p->c->g;
    const int64_t all = p->of->padded, step = all % g->s.k == 0 ? g->s.k : g->s.lanes;
    const sums_place to = {row, p->column, height, g->s.n};
    rlx_ir_value *acc = load_sums(k, g, p->at, p->which, &to);
    rlx_lir_scope loop;
    rlx_lir_begin_for(k->b, k_const(k, 0), k_const(k, all), step, 1, &acc, &loop);
    if (k->b->status)
        return rlx_ir_builder_finish(k->b);
    rlx_ir_value *x = load_operand(k, p->at->x, height, step, row, loop.index[0]);
    rlx_ir_value *w = load_operand(k, p->at->w, g->s.n, step, k_const(k, 0), loop.index[0]);
    acc = rlx_lir_build_contract(k->b, loop.carried[0], x, w);
    rlx_lir_end_for(k->b, &loop, &acc);
    rlx_lir_build_barrier(k->b); /* all was read before it is written */
    store_sums(k, p->at, p->which, loop.result[0], &to);
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

/* All live rows: by tiles of s.m, then of two, then of one. */
static rlx_status add_rows(kernel_cx *k, const products *p)
{
    const int heights[3] = {p->c->g->s.m, 2, 1};
    rlx_ir_value *from = k_const(k, 0);
    for (int i = 0; i < 3; i++) {
        rlx_lir_scope loop;
        if (i > 0 && heights[i] >= heights[0])
            continue;
        rlx_ir_value *to = whole_tiles(k, from, p->c->rows, heights[i]);
        rlx_lir_begin_for(k->b, from, to, heights[i], 0, NULL, &loop);
        if (k->b->status)
            return rlx_ir_builder_finish(k->b);
        RLX_TRY(add_products(k, p, loop.index[0], heights[i]));
        rlx_lir_end_for(k->b, &loop, NULL);
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

static rlx_ir_value *end_of_k(kernel_cx *k, const group *g, const row_chunk *h)
{
    return h->padded == h->length ? NULL : k_const(k, g->k);
}

/* Row by row: one stream at a time. */
static rlx_status copy_rows(kernel_cx *k, const column_block *c, const memory *at,
                            const row_chunk *h)
{
    enum { MOST = 64 };
    static const int64_t axis = 1;
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
    rlx_ir_value *index[2] = {row.index[0], column.index[0]};
    rlx_lir_build_store(k->b, at->x, x, index, &axis, NULL);
    rlx_lir_end_for(k->b, &column, NULL);
    rlx_lir_end_for(k->b, &row, NULL);
    return rlx_ir_builder_finish(k->b);
}

/* Tells of the same columns' weights in the next chunk, which lie in pages of their own. */
static void tell_next(kernel_cx *k, const group *g, int which, rlx_ir_value *n0, const row_chunk *h,
                      rlx_ir_value *column, int64_t width)
{
    enum { LINE = 64 };
    const rlx_ir_value *w = group_weight_memory(g->contract[which]);
    if (!w || g->nbatch > 0 || rlx_format_get(w->type.format)->kind == RLX_KIND_BLOCK)
        return;
    const int64_t line = LINE / rlx_format_get(w->type.format)->block_bytes;
    rlx_ir_value *to = plus(k, h->next, column), *first = plus(k, n0, h->next_block);
    for (int j = 0; j < g->s.n; j++) {
        for (int64_t at = 0; at < width; at += line) {
            rlx_ir_value *index[3];
            int64_t axes[2];
            group_weight_index(g, plus(k, first, k_const(k, j)), plus(k, to, k_const(k, at)), index,
                               axes);
            rlx_lir_build_prefetch(k->b, bound(w)->lir, index);
        }
    }
}

static rlx_status convert_weights(kernel_cx *k, const column_block *c, const memory *at,
                                  const row_chunk *h, int which, rlx_ir_value *n0)
{
    enum { MOST = 32 };
    static const int64_t axes[2] = {0, 1};
    const group *g = c->g;
    const int64_t width = copy_width(g, h->padded, MOST);
    coord element[RLX_MAX_RANK];
    rlx_lir_scope loop;
    rlx_ir_value *w;
    rlx_lir_begin_for(k->b, k_const(k, 0), k_const(k, h->padded), width, 0, NULL, &loop);
    if (k->b->status)
        return rlx_ir_builder_finish(k->b);
    rlx_ir_value *k0 = plus(k, h->from, loop.index[0]);
    group_weight_place(g, coord_of(n0, range_of(g->n), 0), coord_of(k0, g->k, 1), element);
    tile_space ts = {.rank = 2,
                     .dim = {g->s.n, width},
                     .root = {n0, k0},
                     .limit = {c->n_limit, end_of_k(k, g, h)}};
    tell_next(k, g, which, n0, h, loop.index[0], width);
    RLX_TRY(tile_at(k, rlx_mir_contract_weight(g->contract[which]), element, &ts, &w));
    rlx_ir_value *index[2] = {k_const(k, 0), loop.index[0]};
    rlx_lir_build_store(k->b, at->w, w, index, axes, NULL);
    rlx_lir_end_for(k->b, &loop, NULL);
    return rlx_ir_builder_finish(k->b);
}

static rlx_status add_chunk(kernel_cx *k, const column_block *c, const memory *at,
                            const row_chunk *h)
{
    rlx_lir_scope column;
    rlx_lir_build_barrier(k->b); /* the rows before were read to their end */
    RLX_TRY(copy_rows(k, c, at, h));
    rlx_lir_begin_for(k->b, k_const(k, 0), c->columns, c->g->s.n, 0, NULL, &column);
    if (k->b->status)
        return rlx_ir_builder_finish(k->b);
    rlx_ir_value *n0 = plus(k, c->n0, column.index[0]);
    for (int i = 0; i < c->g->ncontracts; i++) {
        const products p = {c, at, h, i, column.index[0]};
        rlx_lir_build_barrier(k->b); /* as were the weights */
        RLX_TRY(convert_weights(k, c, at, h, i, n0));
        rlx_lir_build_barrier(k->b);
        RLX_TRY(add_rows(k, &p));
    }
    rlx_lir_end_for(k->b, &column, NULL);
    return rlx_ir_builder_finish(k->b);
}

static row_chunk chunk_of(kernel_cx *k, const group *g, rlx_ir_value *from, int64_t length)
{
    rlx_ir_value *end = plus(k, from, k_const(k, length)), *all = k_const(k, g->k);
    rlx_ir_value *wraps = rlx_lir_build_map2(k->b, RLX_FN_DIV, end, all);
    return (row_chunk){.from = from,
                       .length = length,
                       .padded = up(length, g->s.lanes),
                       .next = rlx_lir_build_map2(k->b, RLX_FN_MOD, end, all),
                       .next_block =
                           rlx_lir_build_map2(k->b, RLX_FN_MUL, wraps, k_const(k, g->s.block_n))};
}

static rlx_status add_chunks(kernel_cx *k, const column_block *c, const memory *at)
{
    const group *g = c->g;
    const int64_t whole = g->k / g->s.depth * g->s.depth;
    if (whole > 0) {
        rlx_lir_scope loop;
        rlx_lir_begin_for(k->b, k_const(k, 0), k_const(k, whole), g->s.depth, 0, NULL, &loop);
        if (k->b->status)
            return rlx_ir_builder_finish(k->b);
        const row_chunk h = chunk_of(k, g, loop.index[0], g->s.depth);
        RLX_TRY(add_chunk(k, c, at, &h));
        rlx_lir_end_for(k->b, &loop, NULL);
    }
    if (whole < g->k) {
        const row_chunk h = chunk_of(k, g, k_const(k, whole), g->k - whole);
        RLX_TRY(add_chunk(k, c, at, &h));
    }
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

/* So many that each number of them has a tile of its own. */
static int most_streamed(const group *g)
{
    enum { MOST = 3 };
    return g->s.m < MOST ? g->s.m : MOST;
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
    RLX_TRY(alloc_memory(k, c->g, &at));
    rlx_lir_build_barrier(k->b); /* the block before was read to its end */
    RLX_TRY(clear_partial_sums(k, &many, &at));
    RLX_TRY(add_chunks(k, &many, &at));
    rlx_lir_build_barrier(k->b);
    return finish(k, &many, &at);
}
