/* mir/lower/lower_panel.c: contractions in the order of one partial sum per output, on a CPU.
 *
 * Vector lanes run over columns, so weights are decoded and transposed first: once, into panels in
 * team memory that all rows of an instance share. An operand whose columns lie side by side in
 * memory (a transposed view of it is contracted) is copied there as it is. A column tile's panel stays in the first-level
 * cache while rows go by, those rows' activations in the second while column tiles go by, and the
 * sums wait in team memory from one chunk of K to the next.
 *
 *   grid n, m {
 *     sums = 0
 *     for chunks of K {
 *       weights -> panels
 *       for rows that stay { for column tiles { for row tiles { sums += x * panel } } } }
 *     for rows { epilogue; store } }
 *
 * Of streamed panels the loop over row tiles is around the one over column tiles; of the whole of K, if they are so
 * few, as below.
 *
 * Of many rows of floats only as many have sums as stay; panels are of the whole of K. Their
 * activations are copied to where a register tile's lie together, which many columns share:
 *
 *   grid n, m {
 *     weights -> panels
 *     for blocks of rows {
 *       sums = 0
 *       for chunks of K {
 *         x -> packed
 *         for column tiles { for row tiles { sums += packed * panel } } }
 *       for rows { epilogue; store } } }
 *
 * One contraction whose K is one chunk, with little to do behind it, needs no sums in memory:
 *
 *   grid n, m { weights -> panels; for column tiles { for row tiles { x * panel; epilogue; store } } }
 */
#include "mir/lower/lower_panel.h"

/* ---- products */

/* A register tile: rows from `row` of the block, by that panel. */
typedef struct place {
    rlx_ir_value *row, *panel;
    rlx_ir_value *t;      /* the first row among all */
    rlx_ir_value *packed; /* which register tile of the rows that stay it is */
} place;

/* Rows lo.. < hi of the block, which stay while column tiles go by: so many register tiles. */
typedef struct span {
    rlx_ir_value *lo, *hi, *tiles;
} span;

/* `width` elements of rows from p->t on, from `at` on: a tile <rows x width> with these limits. */
static rlx_ir_value *load_from(kernel_cx *k, const instance *in, const place *p,
                               const rlx_ir_value *operand, rlx_ir_value *at, tile_space ts)
{
    coord c[RLX_MAX_RANK];
    if (in->g->order) { /* [R,K], in that order */
        c[0] = coord_of(p->t, 0, 0);
        c[1] = coord_of(at, 0, 1);
    } else {
        group_place(in->g, coord_of(p->t, 0, 0), coord_of(at, 0, 1), c);
    }
    ts.rank = 2;
    ts.root[0] = p->t;
    ts.root[1] = at;
    rlx_ir_value *x = NULL;
    rlx_status st = tile_at(k, operand, c, &ts, &x);
    if (st)
        rlx_ir_builder_fail(k->b, st);
    return x;
}

/* Of a register tile's rows, zeros from element `end` on (NULL: there are so many). */
static rlx_ir_value *load_rows_to(kernel_cx *k, const instance *in, const place *p,
                                  const rlx_ir_value *operand, rlx_ir_value *at, int64_t width,
                                  rlx_ir_value *end)
{
    const tile_space ts = {.dim = {in->g->s.m, width}, .limit = {in->t_limit, end}};
    return load_from(k, in, p, operand, at, ts);
}

static rlx_ir_value *load_rows(kernel_cx *k, const instance *in, const place *p,
                               const rlx_ir_value *operand, rlx_ir_value *at, int64_t width)
{
    return load_rows_to(k, in, p, operand, at, width, NULL);
}

/* Of one row, which is live. */
static rlx_ir_value *load_live(kernel_cx *k, const instance *in, const place *p,
                               const rlx_ir_value *operand, rlx_ir_value *at, int64_t width)
{
    return load_from(k, in, p, operand, at, (tile_space){.dim = {1, width}});
}

static rlx_ir_value *load_panel(kernel_cx *k, const place *p, rlx_ir_value *memory, int64_t steps,
                                int64_t width)
{
    static const int64_t axes[2] = {1, 2};
    int64_t dims[2] = {steps, width};
    rlx_ir_value *zero = k_const(k, 0), *index[3] = {p->panel, zero, zero};
    return rlx_lir_build_load(k->b, memory, memory->type.format, 2, dims, index, axes, NULL);
}

/* Rows that lie in their order, one after the other, in memory. */
static bool is_matrix(const rlx_ir_value *a)
{
    bool one = bound(a) && bound(a)->kind == BIND_BUFFER;
    for (int i = 0; one && i < a->type.rank - 2; i++)
        one = a->type.dim[i] == 1;
    return one;
}

/* `width` elements of a row of an operand, from `from` on, are told ahead. */
static void ask_for_row(kernel_cx *k, const rlx_ir_value *a, rlx_ir_value *row, rlx_ir_value *from,
                        int64_t width)
{
    rlx_ir_value *index[RLX_MAX_RANK];
    const int rank = a->type.rank;
    if (!is_matrix(a))
        return;
    for (int i = 0; i < rank - 2; i++)
        index[i] = k_const(k, 0);
    index[rank - 2] = row;
    index[rank - 1] = from;
    rlx_lir_build_prefetch(k->b, bound(a)->lir, index, width);
}

/* ---- packed rows */

/* Activations of a register tile, a few elements of each row side by side: what is multiplied
 * together lies together. */

static bool packs(const instance *in, const chunk *c)
{
    return in->x && c->length % in->g->s.packed == 0;
}

/* Rows come from memory while those some rows above are copied: pieces so short that no prefetcher
 * of the CPU's sees them coming. */
static void ask_ahead(kernel_cx *k, const instance *in, const place *p, rlx_ir_value *from,
                      int64_t width)
{
    enum { ROWS = 8 };
    ask_for_row(k, in->g->contract[0]->in[0], plus(k, p->t, k_const(k, ROWS)), from, width);
}

/* A chunk's elements of row `row` of the block, which is row `at` of those that stay; or zeros. */
static rlx_status pack_row(kernel_cx *k, const instance *in, const chunk *c, rlx_ir_value *row,
                           rlx_ir_value *at, bool live)
{
    enum { TOGETHER_FLOATS = 64 };
    static const int64_t axes[2] = {1, 3};
    const rlx_lir_schedule *s = &in->g->s;
    rlx_ir_value *m = k_const(k, s->m), *tile = rlx_lir_build_map2(k->b, RLX_FN_DIV, at, m);
    rlx_ir_value *in_tile = rlx_lir_build_map2(k->b, RLX_FN_SUB, at, times(k, tile, s->m));
    int64_t width = TOGETHER_FLOATS;
    while (c->length % width != 0)
        width /= 2;
    const int64_t dims[2] = {1, width};
    rlx_lir_scope loop;
    RLX_TRY(begin_count(k, c->length / width, 1, &loop));
    rlx_ir_value *from = plus(k, c->from, times(k, loop.index[0], width));
    const place p = {.t = plus(k, in->t0, row)};
    if (live)
        ask_ahead(k, in, &p, from, width);
    rlx_ir_value *x = live ? load_live(k, in, &p, in->g->contract[0]->in[0], from, width)
                           : rlx_lir_build_fill(k->b, RLX_F32, 2, dims, 0.0);
    rlx_ir_value *index[4] = {tile, times(k, loop.index[0], width / s->packed), in_tile,
                              k_const(k, 0)};
    rlx_lir_build_store(k->b, in->x, rlx_lir_build_pack(k->b, s->packed, x), index, axes, NULL);
    rlx_lir_end_for(k->b, &loop, NULL);
    return rlx_ir_builder_finish(k->b);
}

/* Rows lo.. < hi of a chunk to in->x, and zeros where the last register tile has no more. */
static rlx_status pack_rows(kernel_cx *k, const instance *in, const chunk *c, const span *of)
{
    if (!packs(in, c))
        return RLX_OK;
    for (int dead = 0; dead < (in->t_limit ? 2 : 1); dead++) {
        rlx_ir_value *end = times(k, of->tiles, in->g->s.m), *to = plus(k, of->lo, end);
        rlx_lir_scope row;
        RLX_TRY(begin_loop(k, dead ? of->hi : of->lo, dead ? to : of->hi, 1, &row));
        rlx_ir_value *at = rlx_lir_build_map2(k->b, RLX_FN_SUB, row.index[0], of->lo);
        RLX_TRY(pack_row(k, in, c, row.index[0], at, !dead));
        rlx_lir_end_for(k->b, &row, NULL);
    }
    rlx_lir_build_barrier(k->b);
    return rlx_ir_builder_finish(k->b);
}

static rlx_ir_value *load_packed(kernel_cx *k, const instance *in, const chunk *c, const place *p)
{
    static const int64_t axes[3] = {1, 2, 3};
    const rlx_lir_schedule *s = &in->g->s;
    const int64_t dims[3] = {c->length / s->packed, s->m, s->packed};
    rlx_ir_value *zero = k_const(k, 0), *index[4] = {p->packed, zero, zero, zero};
    return rlx_lir_build_load(k->b, in->x, RLX_F32, 3, dims, index, axes, NULL);
}

/* ---- products of a register tile */

/* acc + the products of the chunk. */
static rlx_ir_value *multiply_floats(kernel_cx *k, const instance *in, int i, const chunk *c,
                                     const place *p, rlx_ir_value *acc)
{
    const rlx_ir_value *a = in->g->contract[i]->in[0];
    rlx_ir_value *x =
        packs(in, c) ? load_packed(k, in, c, p) : load_rows(k, in, p, a, c->from, c->length);
    return rlx_lir_build_outer(k->b, acc, x, load_panel(k, p, in->of[i].w, c->length, in->g->s.n));
}

/* The same of bf16: whole products, with zeros behind K. */
static rlx_ir_value *multiply_bf16(kernel_cx *k, const instance *in, int i, const chunk *c,
                                   const place *p, rlx_ir_value *acc)
{
    const panel *of = &in->of[i];
    const rlx_ir_value *a = in->g->contract[i]->in[0];
    int64_t padded = up(c->length, of->bf16_width);
    rlx_ir_value *end = padded == c->length ? NULL : k_extent(k, in->g->k);
    rlx_ir_value *x = load_rows_to(k, in, p, a, c->from, padded, end);
    rlx_ir_value *w = load_panel(k, p, of->w, padded / PAIR, PAIR * in->g->s.n);
    return rlx_lir_build_outer_bf16(k->b, of->bf16_width, acc, x, w);
}

static rlx_ir_value *multiply_codes(kernel_cx *k, const instance *in, int i, const chunk *c,
                                    const place *p, rlx_ir_value *acc)
{
    const panel *of = &in->of[i];
    const rlx_ir_node *n = in->g->contract[i];
    int64_t columns = in->g->s.n, groups = c->length / of->group;
    rlx_ir_value *a = load_rows(k, in, p, n->in[0], c->from, c->length);
    rlx_ir_value *sa = load_rows(k, in, p, n->in[1], c->group, c->length / QUANT);
    rlx_ir_value *w = load_panel(k, p, of->w, c->length / TOGETHER, TOGETHER * columns);
    rlx_ir_value *sw = load_panel(k, p, of->scale, groups, columns);
    rlx_ir_value *xs = NULL, *mins = NULL;
    if (of->mins) {
        rlx_ir_value *first = times(k, c->group, QUANT / of->group);
        xs = load_rows(k, in, p, n->in[2], first, groups);
        mins = load_panel(k, p, of->mins, groups, columns);
    }
    return rlx_lir_build_dot_panel(k->b, of->bits, acc, a, sa, w, sw, xs, mins);
}

/* Codes of all rows that the second-level cache does not hold come from behind it chunk by chunk, by the
 * first column tile: with each register tile those of the next one. */
static rlx_status ask_for_codes(kernel_cx *k, const instance *in, int i, const chunk *c,
                                const place *p, rlx_ir_value *tile)
{
    const rlx_lir_schedule *s = &in->g->s;
    const rlx_ir_node *n = in->g->contract[i];
    const int64_t scales = c->length / QUANT, sums = c->length / in->of[i].group;
    rlx_lir_scope first, row;
    RLX_TRY(begin_loop(k, tile, k_const(k, 1), 1, &first));
    rlx_ir_value *from = plus(k, p->t, k_const(k, s->m));
    RLX_TRY(begin_loop(k, from, plus(k, from, k_const(k, s->m)), 1, &row));
    ask_for_row(k, n->in[0], row.index[0], c->from, c->length);
    ask_for_row(k, n->in[1], row.index[0], c->group, scales);
    if (in->of[i].mins)
        ask_for_row(k, n->in[2], row.index[0], times(k, c->group, sums / scales), sums);
    rlx_lir_end_for(k->b, &row, NULL);
    rlx_lir_end_for(k->b, &first, NULL);
    return rlx_ir_builder_finish(k->b);
}

/* Whether they are told ahead; of several contractions by the first. */
static bool asks_for_codes(const kernel_cx *k, const instance *in, int i)
{
    const group *g = in->g;
    const int64_t bytes = g->k + g->k / QUANT * 2 * (int64_t)sizeof(float);
    return i == 0 && in->of[i].quantized && !g->order && in->tiles > 1 &&
           in->g->s.block_m * bytes > k->options->target->l2_bytes;
}

static rlx_ir_value *multiply(kernel_cx *k, const instance *in, int i, const chunk *c,
                              const place *p, rlx_ir_value *acc)
{
    const panel *of = &in->of[i];
    return (of->quantized    ? multiply_codes
            : of->bf16_width ? multiply_bf16
                             : multiply_floats)(k, in, i, c, p, acc);
}

/* Where panels stream by, a register tile's activations come from behind the second-level cache: with each column
 * tile of each contraction some rows of the next one's are told. */
static void ask_for_rows(kernel_cx *k, const instance *in, int i, const chunk *c, const place *p,
                         rlx_ir_value *tile)
{
    enum { MOST = 6 };
    const rlx_lir_schedule *s = &in->g->s;
    const rlx_ir_value *a = in->g->contract[0]->in[0];
    const int64_t calls = in->tiles * in->g->ncontracts, rows = (s->m + calls - 1) / calls;
    if (!s->streamed || in->g->order || !is_matrix(a) || rows > MOST)
        return;
    rlx_ir_value *first = plus(k, p->t, times(k, tile, rows));
    for (int64_t j = 0; j < rows; j++) {
        rlx_ir_value *row = plus(k, first, k_const(k, s->m + i * in->tiles * rows + j));
        ask_for_row(k, a, row, c->from, c->length);
    }
}

/* All products of an output are of one chunk, and are no bytes or bf16, which AMX's tiles add to sums in
 * memory: those need not be cleared, nor read. */
static bool begins_with_zeros(const instance *in, int i)
{
    const group *g = in->g;
    return rlx_dim_is_const(g->k) && g->k <= g->s.depth && !in->of[i].quantized &&
           !in->of[i].bf16_width;
}

/* acc + the products of the chunk, beside what is told ahead meanwhile. */
static rlx_status multiply_telling(kernel_cx *k, const instance *in, int i, const chunk *c,
                                   const place *p, rlx_ir_value *tile, rlx_ir_value **acc)
{
    RLX_TRY(panel_read_ahead(k, in, i, c, tile, p->row));
    ask_for_rows(k, in, i, c, p, tile);
    *acc = multiply(k, in, i, c, p, *acc);
    return rlx_ir_builder_finish(k->b);
}

/* Row tile `at` of those that stay with a column tile: sums <- sums + products of the chunk. */
static rlx_status multiply_tile(kernel_cx *k, const instance *in, int i, const chunk *c,
                                const span *of, rlx_ir_value *tile, rlx_ir_value *at)
{
    static const int64_t axes[2] = {0, 1};
    const rlx_lir_schedule *s = &in->g->s;
    rlx_ir_value *sums = in->of[i].sums, *row = plus(k, of->lo, times(k, at, s->m));
    int64_t dims[2] = {s->m, s->n};
    place p = {.row = row, .panel = panel_of(k, c, tile), .t = plus(k, in->t0, row), .packed = at};
    if (in->direct) {
        rlx_ir_value *acc = rlx_lir_build_fill(k->b, RLX_F32, 2, dims, 0.0);
        const register_tile to = {.m0 = p.t,
                                  .n0 = plus(k, in->n0, times(k, tile, s->n)),
                                  .m_limit = in->t_limit,
                                  .n_limit = in->n_limit};
        RLX_TRY(multiply_telling(k, in, i, c, &p, tile, &acc));
        return group_store_tiles(k, in->g, &to, in->yield, &acc);
    }
    rlx_ir_value *index[2] = {p.row, times(k, tile, s->n)};
    if (asks_for_codes(k, in, i))
        RLX_TRY(ask_for_codes(k, in, i, c, &p, tile));
    rlx_ir_value *acc = begins_with_zeros(in, i)
                            ? rlx_lir_build_fill(k->b, RLX_F32, 2, dims, 0.0)
                            : rlx_lir_build_load(k->b, sums, RLX_F32, 2, dims, index, axes, NULL);
    RLX_TRY(multiply_telling(k, in, i, c, &p, tile, &acc));
    rlx_lir_build_barrier(k->b); /* all was read before it is written */
    rlx_lir_build_store(k->b, sums, acc, index, axes, NULL);
    return rlx_ir_builder_finish(k->b);
}

/* Rows that stay with every column tile of every contraction: a panel after the other, each with all
 * row tiles; or, of streamed panels, a row tile after the other. */
static rlx_status multiply_block(kernel_cx *k, const instance *in, const chunk *c, const span *of)
{
    const bool streamed = in->g->s.streamed;
    rlx_ir_value *columns = k_const(k, in->tiles);
    rlx_lir_scope outer, inner;
    if (streamed)
        RLX_TRY(begin_loop(k, k_const(k, 0), of->tiles, 1, &outer));
    for (int i = 0; i < in->g->ncontracts; i++) {
        if (!streamed)
            RLX_TRY(begin_loop(k, k_const(k, 0), columns, 1, &outer));
        RLX_TRY(begin_loop(k, k_const(k, 0), streamed ? columns : of->tiles, 1, &inner));
        rlx_ir_value *first = outer.index[0], *second = inner.index[0];
        RLX_TRY(
            multiply_tile(k, in, i, c, of, streamed ? second : first, streamed ? first : second));
        rlx_lir_end_for(k->b, &inner, NULL);
        if (!streamed)
            rlx_lir_end_for(k->b, &outer, NULL);
    }
    if (streamed)
        rlx_lir_end_for(k->b, &outer, NULL);
    return rlx_ir_builder_finish(k->b);
}

/* Sums of all rows of the block. */
static rlx_status multiply_chunk(kernel_cx *k, const instance *in, const chunk *of_k)
{
    const rlx_lir_schedule *s = &in->g->s;
    rlx_lir_scope stay;
    chunk c = *of_k;
    panel_set_next(k, in, &c);
    RLX_TRY(begin_loop(k, k_const(k, 0), in->rows, s->rows, &stay));
    span of = {.lo = stay.index[0]};
    of.hi = least(k, plus(k, of.lo, k_const(k, s->rows)), in->rows);
    rlx_ir_value *rows = rlx_lir_build_map2(k->b, RLX_FN_SUB, of.hi, of.lo);
    rows = plus(k, rows, k_const(k, s->m - 1));
    of.tiles = rlx_lir_build_map2(k->b, RLX_FN_DIV, rows, k_const(k, s->m));
    RLX_TRY(pack_rows(k, in, &c, &of));
    RLX_TRY(multiply_block(k, in, &c, &of));
    rlx_lir_end_for(k->b, &stay, NULL);
    return rlx_ir_builder_finish(k->b);
}

static rlx_status emit_chunk(kernel_cx *k, const instance *in, const chunk *c)
{
    rlx_lir_build_barrier(k->b); /* the panels before were read to their end */
    RLX_TRY(panel_expand_weights(k, in, c));
    rlx_lir_build_barrier(k->b);
    return multiply_chunk(k, in, c);
}

/* The same where panels are there. */
static rlx_status emit_ready_chunk(kernel_cx *k, const instance *in, const chunk *c)
{
    rlx_lir_build_barrier(k->b); /* sums are written, packed rows were read to their end */
    return multiply_chunk(k, in, c);
}

static rlx_status clear_sums(kernel_cx *k, const instance *in)
{
    bool clear = false;
    for (int i = 0; i < in->g->ncontracts; i++)
        clear |= !begins_with_zeros(in, i);
    if (!clear)
        return RLX_OK;
    static const int64_t axes[2] = {0, 1};
    const rlx_lir_schedule *s = &in->g->s;
    int64_t dims[2] = {s->m, s->n};
    rlx_lir_scope row, tile;
    RLX_TRY(begin_loop(k, k_const(k, 0), in->rows, s->m, &row));
    RLX_TRY(begin_count(k, in->tiles, 1, &tile));
    rlx_ir_value *index[2] = {row.index[0], times(k, tile.index[0], s->n)};
    rlx_ir_value *zero = rlx_lir_build_fill(k->b, RLX_F32, 2, dims, 0.0);
    for (int i = 0; i < in->g->ncontracts; i++)
        if (!begins_with_zeros(in, i))
            rlx_lir_build_store(k->b, in->of[i].sums, zero, index, axes, NULL);
    rlx_lir_end_for(k->b, &tile, NULL);
    rlx_lir_end_for(k->b, &row, NULL);
    return rlx_ir_builder_finish(k->b);
}

/* What is done with a chunk. */
typedef rlx_status chunk_fn(kernel_cx *k, const instance *in, const chunk *c);

/* The chunks of `length` from `from` to `to`. */
static rlx_status each_of(kernel_cx *k, const instance *in, rlx_ir_value *from, rlx_ir_value *to,
                          int64_t length, chunk_fn *fn)
{
    rlx_lir_scope loop;
    RLX_TRY(begin_loop(k, from, to, length, &loop));
    chunk c = {.from = loop.index[0], .length = length};
    c.group = rlx_lir_build_map2(k->b, RLX_FN_DIV, c.from, k_const(k, QUANT));
    if (in->chunks > 1)
        c.panel =
            times(k, rlx_lir_build_map2(k->b, RLX_FN_DIV, c.from, k_const(k, length)), in->tiles);
    RLX_TRY(fn(k, in, &c));
    rlx_lir_end_for(k->b, &loop, NULL);
    return rlx_ir_builder_finish(k->b);
}

/* K is known when the kernel runs: what whole chunks leave goes by ever smaller ones. */
static rlx_status each_live_chunk(kernel_cx *k, const instance *in, chunk_fn *fn)
{
    enum { PIECE = 16 };
    const int64_t depth = in->g->s.depth;
    const int64_t lengths[] = {depth, PIECE, 1};
    rlx_ir_value *from = k_const(k, 0), *all = k_extent(k, in->g->k);
    for (int i = 0; i < 3; i++) {
        if (i == 1 && depth <= PIECE)
            continue;
        rlx_ir_value *length = k_const(k, lengths[i]), *to = all;
        if (lengths[i] > 1) {
            rlx_ir_value *left = rlx_lir_build_map2(k->b, RLX_FN_SUB, all, from);
            rlx_ir_value *chunks = rlx_lir_build_map2(k->b, RLX_FN_DIV, left, length);
            to = rlx_lir_build_map2(k->b, RLX_FN_ADD, from,
                                    rlx_lir_build_map2(k->b, RLX_FN_MUL, chunks, length));
        }
        RLX_TRY(each_of(k, in, from, to, lengths[i], fn));
        from = to;
    }
    return rlx_ir_builder_finish(k->b);
}

static rlx_status each_chunk(kernel_cx *k, const instance *in, chunk_fn *fn)
{
    const group *g = in->g;
    if (!rlx_dim_is_const(g->k))
        return each_live_chunk(k, in, fn);
    int64_t depth = g->s.depth, whole = g->k / depth * depth;
    if (whole > 0)
        RLX_TRY(each_of(k, in, k_const(k, 0), k_const(k, whole), depth, fn));
    if (whole < g->k) {
        chunk c = {
            .from = k_const(k, whole), .group = k_const(k, whole / QUANT), .length = g->k - whole};
        if (in->chunks > 1)
            c.panel = k_const(k, whole / depth * in->tiles);
        RLX_TRY(fn(k, in, &c));
    }
    return rlx_ir_builder_finish(k->b);
}

/* ---- the epilogue, row by row from the sums */

/* The sums of a tile of columns, of row `row` of the block, which are those at `c`. */
static rlx_status bind_sums(kernel_cx *k, const instance *in, rlx_ir_value *row,
                            rlx_ir_value *column, const tile_space *ts, const coord *c)
{
    static const int64_t axis = 1;
    const group *g = in->g;
    rlx_ir_value *index[2] = {row, column};
    for (int i = 0; i < g->ncontracts; i++) {
        rlx_ir_value *sums =
            rlx_lir_build_load(k->b, in->of[i].sums, RLX_F32, 1, ts->dim, index, &axis, NULL);
        binding *b = k_bind(k, g->contract[i]->out[0], BIND_TILE, sums);
        if (!b)
            return rlx_ir_builder_finish(k->b);
        copy_coords(c, g->nlead + 2, b->at);
    }
    return rlx_ir_builder_finish(k->b);
}

/* Where the block's columns begin. */
static coord first_column(const instance *in)
{
    const int64_t n = range_of(in->g->n), by = in->g->s.block_n;
    return coord_below(in->grid->column, by, (n + by - 1) / by);
}

/* Where results go comes from memory, to be written: that of some rows below is told ahead, if rows
 * lie in their order. */
static void ask_for_result(kernel_cx *k, const instance *in, const leaf *l, const coord *c)
{
    enum { ROWS = 4 };
    const int row = in->g->nlead;
    rlx_ir_value *index[RLX_MAX_RANK];
    if (l->page || l->nsteps > 0 || in->g->order)
        return;
    for (int i = 0; i < l->buffer->type.rank; i++)
        index[i] = k_index(k, &c[i]);
    index[row] = plus(k, index[row], k_const(k, ROWS));
    rlx_lir_build_prefetch(k->b, l->buffer, index, 1);
}

/* Results without units are [.., rows, columns]: the columns of one row, which is row
 * `in_block` of the block. */
static rlx_status store_columns(kernel_cx *k, const instance *in, coord row, rlx_ir_value *in_block)
{
    const group *g = in->g;
    const rlx_lir_schedule *s = &g->s;
    const bool fixed = rlx_dim_is_const(g->n);
    rlx_ir_value *count = k_const(k, s->block_n), *left = NULL;
    if (!fixed || g->n % s->block_n != 0) {
        left = rlx_lir_build_map2(k->b, RLX_FN_SUB, k_extent(k, g->n), in->n0);
        count = least(k, count, left);
    }
    rlx_lir_scope column;
    RLX_TRY(begin_loop(k, k_const(k, 0), count, s->n, &column));
    tile_space ts = {.rank = 1,
                     .dim = {s->n},
                     .root = {column.index[0]},
                     .limit = {fixed && g->n % s->n == 0 ? NULL : left}};
    coord c[RLX_MAX_RANK];
    group_place(g, row, coord_add(first_column(in), coord_of(column.index[0], s->block_n, 0)), c);
    if (g->order)
        RLX_TRY(bind_sums(k, in, in_block, column.index[0], &ts, c));
    for (int i = 0; i < g->nresults; i++) {
        leaf leaves[MAX_LEAVES];
        int n, result = g->result[i];
        RLX_TRY(sink_leaves(k, in->yield->in[result], kernel_result(k, result), leaves, &n));
        for (int j = 0; j < n; j++) {
            ask_for_result(k, in, &leaves[j], c);
            RLX_TRY(sink_store(k, &leaves[j], c, &ts));
        }
    }
    rlx_lir_end_for(k->b, &column, NULL);
    return rlx_ir_builder_finish(k->b);
}

/* The block's units of one row. */
static rlx_status store_units(kernel_cx *k, const instance *in, coord row)
{
    const group *g = in->g;
    int64_t units = g->n / g->unit, count = g->s.block_n / g->unit;
    coord unit = coord_below(in->grid->column, count, units / count);
    if (count == 1)
        return group_store_unit(k, g, in->yield, row, unit);
    rlx_lir_scope loop;
    RLX_TRY(begin_count(k, count, 1, &loop));
    unit = coord_add(unit, coord_of(loop.index[0], count, -1));
    RLX_TRY(group_store_unit(k, g, in->yield, row, unit));
    rlx_lir_end_for(k->b, &loop, NULL);
    return rlx_ir_builder_finish(k->b);
}

static rlx_status emit_epilogue(kernel_cx *k, const instance *in)
{
    const group *g = in->g;
    rlx_lir_build_barrier(k->b);
    rlx_lir_scope row;
    RLX_TRY(begin_loop(k, k_const(k, 0), in->rows, 1, &row));
    coord t0 = coord_of(in->t0, 0, -1), t = coord_add(t0, coord_of(row.index[0], 0, -1));
    if (g->m == 1 && !g->order) /* what a reshape makes of an axis of 1 is no index */
        t0 = t = coord_const(0);
    if (g->order) {
        rlx_ir_value *at = plus(k, in->t0, row.index[0]), *last;
        chosen_row(k, in->g, rlx_lir_build_load(k->b, g->order, RLX_I64, 0, NULL, &at, NULL, NULL),
                   &last);
        t = coord_of(last, 0, -1);
    }
    for (int i = 0; i < g->ncontracts && !g->order; i++) {
        binding *b = k_bind(k, g->contract[i]->out[0], BIND_BUFFER, in->of[i].sums);
        if (!b)
            return rlx_ir_builder_finish(k->b);
        group_place(g, t0, first_column(in), b->at);
    }
    RLX_TRY(g->unit ? store_units(k, in, t) : store_columns(k, in, t, row.index[0]));
    rlx_lir_end_for(k->b, &row, NULL);
    return rlx_ir_builder_finish(k->b);
}

/* ---- the instance */

/* Team memory of a type: what an earlier group of the kernel left, or new. */
static rlx_ir_value *team_memory(kernel_cx *k, panel_memory *all, rlx_format f, int rank,
                                 const int64_t *dims)
{
    rlx_ir_type want = rlx_ir_buffer(RLX_SPACE_TEAM, f, rank, dims);
    for (int i = all->taken; i < all->n; i++) {
        rlx_ir_value *v = all->buffer[i];
        if (!rlx_ir_type_equal(&v->type, &want))
            continue;
        all->buffer[i] = all->buffer[all->taken];
        return all->buffer[all->taken++] = v;
    }
    rlx_ir_value *v = rlx_lir_build_alloc(&k->top, f, rank, dims);
    all->buffer[all->n++] = all->buffer[all->taken];
    return all->buffer[all->taken++] = v;
}

static rlx_status make_panel(kernel_cx *k, panel_memory *memory, const instance *in, int i,
                             panel *p)
{
    const rlx_lir_schedule *s = &in->g->s;
    const rlx_ir_node *n = in->g->contract[i];
    const rlx_ir_value *w = rlx_mir_contract_weight(n);
    rlx_format f = w->type.format;
    int64_t sums[2] = {up(s->block_m, s->m), in->tiles * s->n};
    *p = (panel){.quantized = n->op == RLX_MIR_CONTRACT_Q,
                 .bf16_width = rlx_ir_attr_int(n, RLX_ATTR_WIDTH, 0)};
    p->by_columns = !p->quantized && !p->bf16_width && group_runs_by_columns(k, n);
    if (!in->direct)
        p->sums = team_memory(k, memory, RLX_F32, 2, sums);
    if (!p->quantized) {
        int64_t together = p->bf16_width ? PAIR : 1;
        int64_t dims[3] = {in->chunks * in->tiles, padded_floats(k, p, s->depth) / together,
                           together * s->n};
        p->w = team_memory(k, memory, p->bf16_width ? RLX_BF16 : RLX_F32, 3, dims);
        return k->top.status ? rlx_ir_builder_finish(&k->top) : RLX_OK;
    }
    if (!bound(w) || !bound(n->in[0]) || !bound(n->in[1]) || !bound(n->in[2]))
        return k_fail(k, n, "quantized operands that are not in memory");
    p->group = rlx_format_group(f);
    p->bits = rlx_format_code_bits(f) % 8;
    int64_t codes[3] = {in->tiles, s->depth / TOGETHER, TOGETHER * s->n};
    int64_t scales[3] = {in->tiles, s->depth / p->group, s->n};
    p->w = team_memory(k, memory, rlx_format_signed_codes(f) ? RLX_I8 : RLX_U8, 3, codes);
    p->scale = team_memory(k, memory, RLX_F32, 3, scales);
    if (rlx_format_has_min(f))
        p->mins = team_memory(k, memory, RLX_F32, 3, scales);
    return k->top.status ? rlx_ir_builder_finish(&k->top) : RLX_OK;
}

/* Memory for packed rows. */
static rlx_status make_rows(kernel_cx *k, panel_memory *memory, instance *in)
{
    const rlx_lir_schedule *s = &in->g->s;
    if (!s->packed)
        return RLX_OK;
    const int64_t steps = (s->depth + s->packed - 1) / s->packed;
    const int64_t dims[4] = {(s->rows + s->m - 1) / s->m, steps, s->m, s->packed};
    in->x = team_memory(k, memory, RLX_F32, 4, dims);
    return k->top.status ? rlx_ir_builder_finish(&k->top) : RLX_OK;
}

/* Rows from in->t0 of an instance's columns, as many as a block has, up to `end`. */
static rlx_status emit_block(kernel_cx *k, instance *in, rlx_ir_value *end, chunk_fn *fn)
{
    rlx_ir_value *left = rlx_lir_build_map2(k->b, RLX_FN_SUB, end, in->t0);
    in->rows = least(k, left, k_const(k, in->g->s.block_m));
    if (!in->direct)
        RLX_TRY(clear_sums(k, in));
    RLX_TRY(each_chunk(k, in, fn));
    return in->direct ? RLX_OK : emit_epilogue(k, in);
}

/* Blocks of rows from in->t0 on, as many as share panels of the whole of K, up to `end`. */
static rlx_status emit_blocks(kernel_cx *k, instance *in, rlx_ir_value *end)
{
    const rlx_lir_schedule *s = &in->g->s;
    rlx_ir_value *from = in->t0, *to = plus(k, from, k_const(k, panel_rows(s)));
    rlx_lir_scope block;
    rlx_lir_build_barrier(k->b); /* the panels before were read to their end */
    RLX_TRY(each_chunk(k, in, panel_expand_weights));
    RLX_TRY(begin_loop(k, from, least(k, to, end), s->block_m, &block));
    rlx_lir_build_barrier(k->b); /* the sums of the block before were read to their end */
    in->t0 = block.index[0];
    RLX_TRY(emit_block(k, in, end, emit_ready_chunk));
    rlx_lir_end_for(k->b, &block, NULL);
    return rlx_ir_builder_finish(k->b);
}

/* The rows of one matrix, block by block. */
static rlx_status emit_matrix(kernel_cx *k, instance *in)
{
    rlx_ir_value *from, *to;
    rlx_lir_scope block;
    in->g->matrix = in->grid->row;
    chosen_span(k, in->g, in->g->matrix, &from, &to);
    RLX_TRY(begin_loop(k, from, to, in->g->s.block_m, &block));
    rlx_lir_build_barrier(k->b); /* the sums of the block before were read to their end */
    in->t0 = block.index[0];
    in->t_limit = to;
    RLX_TRY(emit_block(k, in, to, emit_chunk));
    rlx_lir_end_for(k->b, &block, NULL);
    return rlx_ir_builder_finish(k->b);
}

/* Blocks of columns, and of rows or matrices that rows chose. */
static rlx_status begin_instances(kernel_cx *k, group *g, group_grid *grid)
{
    const rlx_lir_schedule *s = &g->s;
    rlx_ir_value *columns = k_extent(k, rlx_dim_make(k->dims, RLX_DIM_CEILDIV, g->n, s->block_n));
    if (!g->order) {
        rlx_dim blocks = rlx_dim_make(k->dims, RLX_DIM_CEILDIV, g->m, panel_rows(s));
        rlx_ir_value *rows = k_extent(k, blocks);
        return group_begin_grid(k, g, columns, rows, grid);
    }
    rlx_ir_value *matrices = k_const(k, rlx_mir_contract_weight(g->contract[0])->type.dim[0]);
    k_begin_grid(k, 2, (rlx_ir_value *[]){columns, matrices}, &grid->grid);
    grid->column = grid->grid.index[0];
    grid->row = grid->grid.index[1];
    return k->b->status ? rlx_ir_builder_finish(k->b) : RLX_OK;
}

/* Operations behind the contraction, twice those of values that are used twice. */
static int count_maps(const rlx_ir_value *v)
{
    int n = 0;
    if (!v->def || bound(v) || rlx_mir_is_contract(v->def) || !value_depends(v, RLX_MIR_CONTRACT))
        return 0;
    if (v->def->op == RLX_MIR_MAP || v->def->op == RLX_MIR_CAST)
        n++;
    for (int i = 0; i < v->def->nin; i++)
        n += count_maps(v->def->in[i]);
    return n;
}

/* Whether register tiles go where results go as they are made: there is nothing to add to, no axis
 * comes or goes, and there are so few operations that a tile stays in its registers. */
static bool stores_tiles(const group *g, const rlx_ir_node *yield)
{
    enum { FEW = 4 };
    const rlx_ir_node *c = g->contract[0];
    if (c->op != RLX_MIR_CONTRACT || rlx_ir_attr(c, RLX_ATTR_WIDTH) || g->ncontracts > 1 ||
        g->nresults > 1 || g->unit || g->ids || g->k <= 0 || g->k > g->s.depth)
        return false;
    const rlx_ir_value *y = yield->in[g->result[0]];
    return !value_depends(y, RLX_MIR_RESHAPE) && !value_depends(y, RLX_MIR_CONCAT) &&
           count_maps(y) <= FEW;
}

rlx_status group_lower_panels(kernel_cx *k, group *g, const rlx_ir_node *yield,
                              panel_memory *memory)
{
    const rlx_lir_schedule *s = &g->s;
    group_grid grid;
    instance in = {.g = g, .grid = &grid, .tiles = (s->block_n + s->n - 1) / s->n, .yield = yield};
    in.chunks = s->blocks ? (g->k + s->depth - 1) / s->depth : 1;
    in.direct = stores_tiles(g, yield);
    memory->taken = 0;
    for (int i = 0; i < g->ncontracts; i++)
        RLX_TRY(make_panel(k, memory, &in, i, &in.of[i]));
    RLX_TRY(make_rows(k, memory, &in));
    rlx_ir_value *live = k_extent(k, g->m);
    RLX_TRY(begin_instances(k, g, &grid));
    in.n0 = times(k, grid.column, s->block_n);
    in.n_limit = s->block_n % s->n ? k_extent(k, g->n) : group_columns_end(k, g, s->block_n);
    if (g->order) {
        RLX_TRY(emit_matrix(k, &in));
    } else {
        in.t0 = times(k, grid.row, panel_rows(s));
        in.t_limit = rlx_dim_is_const(g->m) && g->m % s->m == 0 ? NULL : live;
        RLX_TRY(s->blocks ? emit_blocks(k, &in, live) : emit_block(k, &in, live, emit_chunk));
    }
    return group_end_grid(k, &grid);
}
