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
 * One contraction whose K is one chunk, with little to do behind it, needs no sums in memory:
 *
 *   grid n, m { weights -> panels; for column tiles { for row tiles { x * panel; epilogue; store } } }
 */
#include "mir/lower/lower_group.h"

/* Elements of K under one scale of quantized activations, and codes that are multiplied together.
 */
enum { QUANT = 32, TOGETHER = 4 };

/* Elements of bf16 that are multiplied together. */
enum { PAIR = 2 };

/* A contraction's weights of one chunk, column tile by column tile, and its sums. */
typedef struct panel {
    bool quantized;
    int64_t bf16_width; /* products of bf16 that are summed together; 0: of f32, or of codes */
    bool by_columns;    /* columns lie side by side in memory: nothing is transposed */
    int bits;           /* quantized: of unsigned codes; 0: codes are signed bytes */
    int64_t group;      /* quantized: elements that share a scale */
    rlx_ir_value *w; /* f32[tiles, depth, n], bf16[tiles, depth/2, 2n], codes[tiles, depth/4, 4n] */
    rlx_ir_value *scale; /* f32[tiles, depth/group, n]; quantized only, as mins */
    rlx_ir_value *mins;  /* NULL: the format has none */
    rlx_ir_value *sums;  /* f32[block_m, tiles * n] */
} panel;

/* An instance: one block of columns for one block of rows. */
typedef struct instance {
    group *g;
    const group_grid *grid;
    panel of[MAX_CONTRACTS];
    int64_t tiles;         /* column tiles, the last one perhaps beyond the block */
    rlx_ir_value *n0, *t0; /* first column, first row */
    rlx_ir_value *n_limit; /* NULL: all columns of all tiles are the weight's */
    rlx_ir_value *t_limit; /* NULL: all rows of all row tiles are live */
    rlx_ir_value *rows;    /* live rows of the block */
    const rlx_ir_node *yield;
    bool direct; /* register tiles are stored as they are made */
} instance;

/* A chunk of K: `length` elements from `from`, which is element 0 of group `group`. The panels that
 * are made after its own begin with element next_from of the weight's row next_row (NULL: not known). */
typedef struct chunk {
    rlx_ir_value *from, *group;
    int64_t length;
    rlx_ir_value *next_row, *next_from;
} chunk;

static rlx_ir_value *plus(kernel_cx *k, rlx_ir_value *a, rlx_ir_value *b)
{
    return rlx_lir_build_map2(k->b, RLX_FN_ADD, a, b);
}

static rlx_ir_value *times(kernel_cx *k, rlx_ir_value *a, int64_t by)
{
    return by == 1 ? a : rlx_lir_build_map2(k->b, RLX_FN_MUL, a, k_const(k, by));
}

static rlx_ir_value *least(kernel_cx *k, rlx_ir_value *a, rlx_ir_value *b)
{
    return rlx_lir_build_map2(k->b, RLX_FN_MIN, a, b);
}

static rlx_status begin_loop(kernel_cx *k, rlx_ir_value *lo, rlx_ir_value *hi, int64_t step,
                             rlx_lir_scope *s)
{
    rlx_lir_begin_for(k->b, lo, hi, step, 0, NULL, s);
    return k->b->status ? rlx_ir_builder_finish(k->b) : RLX_OK;
}

static rlx_status begin_count(kernel_cx *k, int64_t count, int64_t step, rlx_lir_scope *s)
{
    return begin_loop(k, k_const(k, 0), k_const(k, count), step, s);
}

/* ---- weights to panels */

/* Where a piece of a panel comes from: rows of the weight from `row`, of column tile `tile`,
 * beginning with its column `column`. */
typedef struct source {
    rlx_ir_value *row, *tile, *column;
    int64_t rows;
} source;

/* Stores x <rows x width>, transposed in units of `together`, from step `at` of a panel on. */
static void store_packed(kernel_cx *k, rlx_ir_value *memory, const source *from, rlx_ir_value *at,
                         int64_t together, rlx_ir_value *x)
{
    static const int64_t axes[2] = {1, 2};
    rlx_ir_value *index[3] = {from->tile, at, times(k, from->column, together)};
    rlx_lir_build_store(k->b, memory, rlx_lir_build_pack(k->b, together, x), index, axes, NULL);
}

static int64_t up(int64_t v, int64_t to)
{
    return (v + to - 1) / to * to;
}

/* Elements of K of a panel of floats that is filled for `length`: whole vectors, whole products. */
static int64_t padded_floats(const kernel_cx *k, const panel *p, int64_t length)
{
    int64_t vector = k->options->target->vector_f32;
    return up(length, p->bf16_width > vector ? p->bf16_width : vector);
}

/* f32 as the contraction's own casts decode them, or pairs of bf16; zeros behind K. */
static rlx_status expand_floats(kernel_cx *k, const instance *in, int i, const chunk *c,
                                const source *from)
{
    const group *g = in->g;
    const panel *p = &in->of[i];
    int64_t together = p->bf16_width ? PAIR : 1;
    int64_t width = k->options->target->vector_f32 * together;
    int64_t padded = padded_floats(k, p, c->length);
    while (padded % width != 0)
        width /= 2;
    rlx_lir_scope loop;
    RLX_TRY(begin_count(k, padded, width, &loop));
    rlx_ir_value *k0 = plus(k, c->from, loop.index[0]), *x;
    coord at[RLX_MAX_RANK];
    group_weight_place(g, coord_of(from->row, range_of(g->n), 0), coord_of(k0, range_of(g->k), 1),
                       at);
    tile_space ts = {.rank = 2,
                     .dim = {from->rows, width},
                     .root = {from->row, k0},
                     .limit = {in->n_limit, padded == c->length ? NULL : k_extent(k, g->k)}};
    RLX_TRY(tile_at(k, rlx_mir_contract_weight(g->contract[i]), at, &ts, &x));
    rlx_ir_value *step = loop.index[0];
    if (together > 1)
        step = rlx_lir_build_map2(k->b, RLX_FN_DIV, step, k_const(k, together));
    store_packed(k, p->w, from, step, together, x);
    rlx_lir_end_for(k->b, &loop, NULL);
    return rlx_ir_builder_finish(k->b);
}

/* Columns that lie side by side: a few steps of K of a column tile at once. */
static rlx_status copy_columns(kernel_cx *k, const instance *in, int i, const chunk *c,
                               rlx_ir_value *tile)
{
    static const int64_t axes[2] = {1, 2};
    const group *g = in->g;
    int64_t steps = 4;
    while (c->length % steps != 0)
        steps /= 2;
    rlx_lir_scope loop;
    RLX_TRY(begin_count(k, c->length, steps, &loop));
    rlx_ir_value *k0 = plus(k, c->from, loop.index[0]), *x;
    rlx_ir_value *n0 = plus(k, in->n0, times(k, tile, g->s.n));
    coord at[RLX_MAX_RANK];
    group_weight_place(g, coord_of(n0, range_of(g->n), 1), coord_of(k0, range_of(g->k), 0), at);
    tile_space ts = {
        .rank = 2, .dim = {steps, g->s.n}, .root = {k0, n0}, .limit = {NULL, in->n_limit}};
    RLX_TRY(tile_at(k, rlx_mir_contract_weight(g->contract[i]), at, &ts, &x));
    rlx_ir_value *index[3] = {tile, loop.index[0], k_const(k, 0)};
    rlx_lir_build_store(k->b, in->of[i].w, x, index, axes, NULL);
    rlx_lir_end_for(k->b, &loop, NULL);
    return rlx_ir_builder_finish(k->b);
}

/* One part of blocks. Its last axis counts by `per` elements of K; `width` of them at once. */
static rlx_status expand_part(kernel_cx *k, const instance *in, int i, const chunk *c,
                              const source *from, const char *part, int64_t per, int64_t width)
{
    const panel *p = &in->of[i];
    const binding *w = bound(rlx_mir_contract_weight(in->g->contract[i]));
    bool codes = per == 1;
    int64_t together = codes ? TOGETHER : 1, dims[2] = {from->rows, width}, axes[2];
    rlx_ir_value *first = c->from, *limits[2] = {in->n_limit};
    if (!codes)
        first = rlx_lir_build_map2(k->b, RLX_FN_DIV, first, k_const(k, per));
    rlx_lir_scope loop;
    RLX_TRY(begin_count(k, c->length / per / width, 1, &loop));
    rlx_ir_value *offset = times(k, loop.index[0], width);
    rlx_ir_value *index[3];
    group_weight_index(in->g, from->row, plus(k, first, offset), index, axes);
    rlx_ir_value *x = rlx_lir_build_load_part(k->b, w->lir, part, 2, dims, index, axes, limits);
    rlx_ir_value *memory = codes ? p->w : part[0] == 's' ? p->scale : p->mins;
    store_packed(k, memory, from, times(k, loop.index[0], width / together), together, x);
    rlx_lir_end_for(k->b, &loop, NULL);
    return rlx_ir_builder_finish(k->b);
}

/* Groups whose scales are taken at once: those of a block as long as they come, or fewer. */
static int64_t scales_together(const panel *p, int64_t length)
{
    int64_t width = 256 / p->group;
    while (length / p->group % width != 0)
        width /= 2;
    return width;
}

static rlx_status expand_blocks(kernel_cx *k, const instance *in, int i, const chunk *c,
                                const source *from)
{
    const panel *p = &in->of[i];
    int64_t width = TOGETHER * (int64_t)k->options->target->vector_f32;
    if (width < QUANT) /* of the shorter blocks, a whole one */
        width = QUANT;
    while (c->length % width != 0)
        width /= 2;
    RLX_TRY(expand_part(k, in, i, c, from, "codes", 1, width));
    width = scales_together(p, c->length);
    RLX_TRY(expand_part(k, in, i, c, from, "scale", p->group, width));
    return p->mins ? expand_part(k, in, i, c, from, "min", p->group, width) : RLX_OK;
}

/* A column tile of a contraction's weights, by as many rows of them as a vector has lanes. */
static rlx_status expand_tile(kernel_cx *k, const instance *in, int i, const chunk *c,
                              rlx_ir_value *tile)
{
    const rlx_lir_schedule *s = &in->g->s;
    int64_t rows = k->options->target->vector_f32;
    rlx_lir_scope part;
    RLX_TRY(begin_count(k, s->n, rows, &part));
    rlx_ir_value *row = plus(k, in->n0, times(k, tile, s->n));
    source from = {
        .row = plus(k, row, part.index[0]), .tile = tile, .column = part.index[0], .rows = rows};
    if (in->of[i].quantized)
        RLX_TRY(expand_blocks(k, in, i, c, &from));
    else
        RLX_TRY(expand_floats(k, in, i, c, &from));
    rlx_lir_end_for(k->b, &part, NULL);
    return rlx_ir_builder_finish(k->b);
}

static rlx_status expand_weights(kernel_cx *k, const instance *in, const chunk *c)
{
    for (int i = 0; i < in->g->ncontracts; i++) {
        rlx_lir_scope tile;
        RLX_TRY(begin_count(k, in->tiles, 1, &tile));
        if (in->of[i].by_columns)
            RLX_TRY(copy_columns(k, in, i, c, tile.index[0]));
        else
            RLX_TRY(expand_tile(k, in, i, c, tile.index[0]));
        rlx_lir_end_for(k->b, &tile, NULL);
    }
    return rlx_ir_builder_finish(k->b);
}

/* ---- weights ahead */

/* Rows of few products are done before the next weights have come from memory: those are told to the
 * second-level cache, a few lines with each register tile. What is not there yet when its panel is
 * made would be waited for. */

enum { LINE = 64 /* bytes */, MOST_LINES = 16 /* in a row, without a loop */ };

/* The memory [N,K] behind a contraction's weights that every instance reads as it lies; or NULL. */
static rlx_ir_value *weights_memory(const instance *in, int i)
{
    const group *g = in->g;
    const rlx_ir_value *w = rlx_mir_contract_weight(g->contract[i]);
    while (!bound(w) && w->def && w->def->op == RLX_MIR_CAST)
        w = w->def->in[0];
    const bool plain = !g->ids && w->type.rank == 2 && rlx_format_is_float(w->type.format);
    return plain && bound(w) && bound(w)->kind == BIND_BUFFER ? bound(w)->lir : NULL;
}

/* What follows a chunk: the next one of the same columns; behind the last one the first one of the
 * next instance, whose columns are others when this one has all rows of all sequences. */
static void set_next(kernel_cx *k, const instance *in, chunk *c)
{
    const group *g = in->g;
    if (!rlx_dim_is_const(g->k) || !rlx_dim_is_const(g->n))
        return;
    bool all_rows = k_upper(k, g->m) <= g->s.block_m;
    for (int i = 0; i < g->nlead; i++)
        all_rows = all_rows && g->contract[0]->in[0]->type.dim[i] == 1;
    rlx_ir_value *to = plus(k, c->from, k_const(k, c->length));
    rlx_ir_value *more = rlx_lir_build_map2(k->b, RLX_FN_LT, to, k_const(k, g->k));
    rlx_ir_value *row = all_rows ? plus(k, in->n0, k_const(k, g->s.block_n)) : in->n0;
    c->next_row = rlx_lir_build_map3(k->b, RLX_FN_SELECT, more, in->n0, row);
    c->next_from = rlx_lir_build_map3(k->b, RLX_FN_SELECT, more, to, k_const(k, 0));
}

/* Lines at once of so many a row: a divisor, not below `want` if that is so few. */
static int64_t lines_at_once(int64_t lines, int64_t want)
{
    int64_t best = 1;
    for (int64_t n = 1; n <= MOST_LINES && best < want; n++)
        if (lines % n == 0)
            best = n;
    return best;
}

/* With the register tile of rows from `row` on: its part of the column tile's next weights. */
static rlx_status read_ahead(kernel_cx *k, const instance *in, int i, const chunk *c,
                             rlx_ir_value *tile, rlx_ir_value *row)
{
    const rlx_lir_schedule *s = &in->g->s;
    rlx_ir_value *memory = weights_memory(in, i);
    if (!c->next_row || !memory)
        return RLX_OK;
    int64_t elems = LINE / rlx_format_get(memory->type.format)->block_bytes;
    int64_t lines = (s->depth + elems - 1) / elems, tiles = (s->block_m + s->m - 1) / s->m;
    int64_t want = (s->n * lines + tiles - 1) / tiles, some = lines_at_once(lines, want);
    int64_t times_over = (want + some - 1) / some;
    rlx_lir_scope loop;
    RLX_TRY(begin_count(k, times_over, 1, &loop));
    rlx_ir_value *at = rlx_lir_build_map2(k->b, RLX_FN_DIV, row, k_const(k, s->m));
    at = times(k, plus(k, times(k, at, times_over), loop.index[0]), some);
    rlx_ir_value *down = rlx_lir_build_map2(k->b, RLX_FN_DIV, at, k_const(k, lines));
    down = plus(k, plus(k, c->next_row, times(k, tile, s->n)), down);
    rlx_ir_value *along = rlx_lir_build_map2(k->b, RLX_FN_MOD, at, k_const(k, lines));
    along = plus(k, c->next_from, times(k, along, elems));
    for (int64_t line = 0; line < some; line++) {
        rlx_ir_value *index[2] = {down, plus(k, along, k_const(k, line * elems))};
        rlx_lir_build_prefetch(k->b, memory, index);
    }
    rlx_lir_end_for(k->b, &loop, NULL);
    return rlx_ir_builder_finish(k->b);
}

/* ---- products */

/* A register tile: rows from `row` of the block, column tile `tile`. */
typedef struct place {
    rlx_ir_value *row, *tile;
    rlx_ir_value *t; /* the first row among all */
} place;

/* `width` elements of a register tile's rows from `at` on, zeros from element `end` on (NULL: there
 * are so many). */
static rlx_ir_value *load_rows_to(kernel_cx *k, const instance *in, const place *p,
                                  const rlx_ir_value *operand, rlx_ir_value *at, int64_t width,
                                  rlx_ir_value *end)
{
    coord c[RLX_MAX_RANK];
    if (in->g->order) { /* [R,K], in that order */
        c[0] = coord_of(p->t, 0, 0);
        c[1] = coord_of(at, 0, 1);
    } else {
        group_place(in->g, coord_of(p->t, 0, 0), coord_of(at, 0, 1), c);
    }
    tile_space ts = {
        .rank = 2, .dim = {in->g->s.m, width}, .root = {p->t, at}, .limit = {in->t_limit, end}};
    rlx_ir_value *x = NULL;
    rlx_status st = tile_at(k, operand, c, &ts, &x);
    if (st)
        rlx_ir_builder_fail(k->b, st);
    return x;
}

static rlx_ir_value *load_rows(kernel_cx *k, const instance *in, const place *p,
                               const rlx_ir_value *operand, rlx_ir_value *at, int64_t width)
{
    return load_rows_to(k, in, p, operand, at, width, NULL);
}

static rlx_ir_value *load_panel(kernel_cx *k, const place *p, rlx_ir_value *memory, int64_t steps,
                                int64_t width)
{
    static const int64_t axes[2] = {1, 2};
    int64_t dims[2] = {steps, width};
    rlx_ir_value *zero = k_const(k, 0), *index[3] = {p->tile, zero, zero};
    return rlx_lir_build_load(k->b, memory, memory->type.format, 2, dims, index, axes, NULL);
}

/* acc + the products of the chunk. */
static rlx_ir_value *multiply_floats(kernel_cx *k, const instance *in, int i, const chunk *c,
                                     const place *p, rlx_ir_value *acc)
{
    const rlx_ir_value *a = in->g->contract[i]->in[0];
    rlx_ir_value *x = load_rows(k, in, p, a, c->from, c->length);
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

static rlx_ir_value *multiply(kernel_cx *k, const instance *in, int i, const chunk *c,
                              const place *p, rlx_ir_value *acc)
{
    const panel *of = &in->of[i];
    return (of->quantized    ? multiply_codes
            : of->bf16_width ? multiply_bf16
                             : multiply_floats)(k, in, i, c, p, acc);
}

/* Rows lo.. < hi with one column tile: sums <- sums + products of the chunk. */
static rlx_status multiply_rows(kernel_cx *k, const instance *in, int i, const chunk *c,
                                rlx_ir_value *tile, rlx_ir_value *lo, rlx_ir_value *hi)
{
    static const int64_t axes[2] = {0, 1};
    const rlx_lir_schedule *s = &in->g->s;
    rlx_ir_value *sums = in->of[i].sums;
    int64_t dims[2] = {s->m, s->n};
    rlx_lir_scope loop;
    RLX_TRY(begin_loop(k, lo, hi, s->m, &loop));
    RLX_TRY(read_ahead(k, in, i, c, tile, loop.index[0]));
    place p = {.row = loop.index[0], .tile = tile, .t = plus(k, in->t0, loop.index[0])};
    if (in->direct) {
        rlx_ir_value *acc = rlx_lir_build_fill(k->b, RLX_F32, 2, dims, 0.0);
        const register_tile at = {.m0 = p.t,
                                  .n0 = plus(k, in->n0, times(k, tile, s->n)),
                                  .m_limit = in->t_limit,
                                  .n_limit = in->n_limit};
        acc = multiply(k, in, i, c, &p, acc);
        RLX_TRY(group_store_tiles(k, in->g, &at, in->yield, &acc));
        rlx_lir_end_for(k->b, &loop, NULL);
        return rlx_ir_builder_finish(k->b);
    }
    rlx_ir_value *index[2] = {p.row, times(k, tile, s->n)};
    rlx_ir_value *acc = rlx_lir_build_load(k->b, sums, RLX_F32, 2, dims, index, axes, NULL);
    acc = multiply(k, in, i, c, &p, acc);
    rlx_lir_build_barrier(k->b); /* all was read before it is written */
    rlx_lir_build_store(k->b, sums, acc, index, axes, NULL);
    rlx_lir_end_for(k->b, &loop, NULL);
    return rlx_ir_builder_finish(k->b);
}

/* Rows lo.. < hi with every column tile of every contraction. */
static rlx_status multiply_block(kernel_cx *k, const instance *in, const chunk *c, rlx_ir_value *lo,
                                 rlx_ir_value *hi)
{
    for (int i = 0; i < in->g->ncontracts; i++) {
        rlx_lir_scope tile;
        RLX_TRY(begin_count(k, in->tiles, 1, &tile));
        RLX_TRY(multiply_rows(k, in, i, c, tile.index[0], lo, hi));
        rlx_lir_end_for(k->b, &tile, NULL);
    }
    return rlx_ir_builder_finish(k->b);
}

static rlx_status emit_chunk(kernel_cx *k, const instance *in, const chunk *c)
{
    const rlx_lir_schedule *s = &in->g->s;
    rlx_lir_build_barrier(k->b); /* the panels before were read to their end */
    RLX_TRY(expand_weights(k, in, c));
    rlx_lir_build_barrier(k->b);
    rlx_lir_scope stay;
    RLX_TRY(begin_loop(k, k_const(k, 0), in->rows, s->rows, &stay));
    rlx_ir_value *to = least(k, plus(k, stay.index[0], k_const(k, s->rows)), in->rows);
    RLX_TRY(multiply_block(k, in, c, stay.index[0], to));
    rlx_lir_end_for(k->b, &stay, NULL);
    return rlx_ir_builder_finish(k->b);
}

static rlx_status clear_sums(kernel_cx *k, const instance *in)
{
    static const int64_t axes[2] = {0, 1};
    const rlx_lir_schedule *s = &in->g->s;
    int64_t dims[2] = {s->m, s->n};
    rlx_lir_scope row, tile;
    RLX_TRY(begin_loop(k, k_const(k, 0), in->rows, s->m, &row));
    RLX_TRY(begin_count(k, in->tiles, 1, &tile));
    rlx_ir_value *index[2] = {row.index[0], times(k, tile.index[0], s->n)};
    rlx_ir_value *zero = rlx_lir_build_fill(k->b, RLX_F32, 2, dims, 0.0);
    for (int i = 0; i < in->g->ncontracts; i++)
        rlx_lir_build_store(k->b, in->of[i].sums, zero, index, axes, NULL);
    rlx_lir_end_for(k->b, &tile, NULL);
    rlx_lir_end_for(k->b, &row, NULL);
    return rlx_ir_builder_finish(k->b);
}

/* The chunks of `length` from `from` to `to`. */
static rlx_status emit_chunks(kernel_cx *k, const instance *in, rlx_ir_value *from,
                              rlx_ir_value *to, int64_t length)
{
    rlx_lir_scope loop;
    RLX_TRY(begin_loop(k, from, to, length, &loop));
    chunk c = {.from = loop.index[0], .length = length};
    c.group = rlx_lir_build_map2(k->b, RLX_FN_DIV, c.from, k_const(k, QUANT));
    set_next(k, in, &c);
    RLX_TRY(emit_chunk(k, in, &c));
    rlx_lir_end_for(k->b, &loop, NULL);
    return rlx_ir_builder_finish(k->b);
}

/* K is known when the kernel runs: what whole chunks leave goes by ever smaller ones. */
static rlx_status emit_live_sums(kernel_cx *k, const instance *in)
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
        RLX_TRY(emit_chunks(k, in, from, to, lengths[i]));
        from = to;
    }
    return rlx_ir_builder_finish(k->b);
}

static rlx_status emit_sums(kernel_cx *k, const instance *in)
{
    const group *g = in->g;
    if (!in->direct)
        RLX_TRY(clear_sums(k, in));
    if (!rlx_dim_is_const(g->k))
        return emit_live_sums(k, in);
    int64_t depth = g->s.depth, whole = g->k / depth * depth;
    if (whole > 0)
        RLX_TRY(emit_chunks(k, in, k_const(k, 0), k_const(k, whole), depth));
    if (whole < g->k) {
        chunk c = {
            .from = k_const(k, whole), .group = k_const(k, whole / QUANT), .length = g->k - whole};
        set_next(k, in, &c);
        RLX_TRY(emit_chunk(k, in, &c));
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
        for (int j = 0; j < n; j++)
            RLX_TRY(sink_store(k, &leaves[j], c, &ts));
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
    int64_t sums[2] = {(s->block_m + s->m - 1) / s->m * s->m, in->tiles * s->n};
    *p = (panel){.quantized = n->op == RLX_MIR_CONTRACT_Q,
                 .bf16_width = rlx_ir_attr_int(n, RLX_ATTR_WIDTH, 0)};
    p->by_columns = !p->quantized && !p->bf16_width && group_runs_by_columns(k, n);
    if (!in->direct)
        p->sums = team_memory(k, memory, RLX_F32, 2, sums);
    if (!p->quantized) {
        int64_t together = p->bf16_width ? PAIR : 1;
        int64_t dims[3] = {in->tiles, padded_floats(k, p, s->depth) / together, together * s->n};
        p->w = team_memory(k, memory, p->bf16_width ? RLX_BF16 : RLX_F32, 3, dims);
        return k->top.status ? rlx_ir_builder_finish(&k->top) : RLX_OK;
    }
    if (!bound(w) || !bound(n->in[0]) || !bound(n->in[1]) || !bound(n->in[2]))
        return k_fail(k, n, "quantized operands that are not in memory");
    p->group = rlx_format_group(f);
    p->bits = rlx_format_code_bits(f) == 8 ? 0 : rlx_format_code_bits(f);
    int64_t codes[3] = {in->tiles, s->depth / TOGETHER, TOGETHER * s->n};
    int64_t scales[3] = {in->tiles, s->depth / p->group, s->n};
    p->w = team_memory(k, memory, p->bits ? RLX_U8 : RLX_I8, 3, codes);
    p->scale = team_memory(k, memory, RLX_F32, 3, scales);
    if (rlx_format_has_min(f))
        p->mins = team_memory(k, memory, RLX_F32, 3, scales);
    return k->top.status ? rlx_ir_builder_finish(&k->top) : RLX_OK;
}

/* Rows from in->t0 of an instance's columns, as many as a block has, up to `end`. */
static rlx_status emit_rows(kernel_cx *k, instance *in, rlx_ir_value *end)
{
    rlx_ir_value *left = rlx_lir_build_map2(k->b, RLX_FN_SUB, end, in->t0);
    in->rows = least(k, left, k_const(k, in->g->s.block_m));
    RLX_TRY(emit_sums(k, in));
    return in->direct ? RLX_OK : emit_epilogue(k, in);
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
    RLX_TRY(emit_rows(k, in, to));
    rlx_lir_end_for(k->b, &block, NULL);
    return rlx_ir_builder_finish(k->b);
}

/* Blocks of columns, and of rows or matrices that rows chose. */
static rlx_status begin_instances(kernel_cx *k, group *g, group_grid *grid)
{
    const rlx_lir_schedule *s = &g->s;
    rlx_ir_value *columns = k_extent(k, rlx_dim_make(k->dims, RLX_DIM_CEILDIV, g->n, s->block_n));
    if (!g->order) {
        rlx_ir_value *rows = k_extent(k, rlx_dim_make(k->dims, RLX_DIM_CEILDIV, g->m, s->block_m));
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
    in.direct = stores_tiles(g, yield);
    memory->taken = 0;
    for (int i = 0; i < g->ncontracts; i++)
        RLX_TRY(make_panel(k, memory, &in, i, &in.of[i]));
    rlx_ir_value *live = k_extent(k, g->m);
    RLX_TRY(begin_instances(k, g, &grid));
    in.n0 = times(k, grid.column, s->block_n);
    in.n_limit = s->block_n % s->n ? k_extent(k, g->n) : group_columns_end(k, g, s->block_n);
    if (g->order) {
        RLX_TRY(emit_matrix(k, &in));
    } else {
        in.t0 = times(k, grid.row, s->block_m);
        in.t_limit = rlx_dim_is_const(g->m) && g->m % s->m == 0 ? NULL : live;
        RLX_TRY(emit_rows(k, &in, live));
    }
    return group_end_grid(k, &grid);
}
