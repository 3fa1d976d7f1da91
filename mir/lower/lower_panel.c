/* mir/lower/lower_panel.c: contractions in the order of one partial sum per output, on a CPU.
 *
 * Vector lanes run over columns, so weights are decoded and transposed first: once, into panels in
 * team memory that all rows of an instance share. A column tile's panel stays in the first-level
 * cache while rows go by, those rows' activations in the second while column tiles go by, and the
 * sums wait in team memory from one chunk of K to the next.
 *
 *   grid n, m {
 *     sums = 0
 *     for chunks of K {
 *       weights -> panels
 *       for rows that stay { for column tiles { for row tiles { sums += x * panel } } } }
 *     for rows { epilogue; store } }
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
    panel of[MAX_CONTRACTS];
    int64_t tiles;         /* column tiles, the last one perhaps beyond the block */
    rlx_ir_value *n0, *t0; /* first column, first row */
    rlx_ir_value *n_limit; /* NULL: all columns of all tiles are the weight's */
    rlx_ir_value *t_limit; /* NULL: all rows of all row tiles are live */
    rlx_ir_value *rows;    /* live rows of the block */
} instance;

/* A chunk of K: `length` elements from `from`, which is element 0 of group `group`. */
typedef struct chunk {
    rlx_ir_value *from, *group;
    int64_t length;
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
    coord at[3];
    group_weight_place(g, coord_of(from->row, g->n, 0), coord_of(k0, g->k, 1), at);
    tile_space ts = {.rank = 2,
                     .dim = {from->rows, width},
                     .root = {from->row, k0},
                     .limit = {in->n_limit, padded == c->length ? NULL : k_const(k, g->k)}};
    RLX_TRY(tile_at(k, contract_weight(g->contract[i]), at, &ts, &x));
    rlx_ir_value *step = loop.index[0];
    if (together > 1)
        step = rlx_lir_build_map2(k->b, RLX_FN_DIV, step, k_const(k, together));
    store_packed(k, p->w, from, step, together, x);
    rlx_lir_end_for(k->b, &loop, NULL);
    return rlx_ir_builder_finish(k->b);
}

/* One part of blocks. Its last axis counts by `per` elements of K; `width` of them at once. */
static rlx_status expand_part(kernel_cx *k, const instance *in, int i, const chunk *c,
                              const source *from, const char *part, int64_t per, int64_t width)
{
    const panel *p = &in->of[i];
    const binding *w = bound(contract_weight(in->g->contract[i]));
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

static rlx_status expand_weights(kernel_cx *k, const instance *in, const chunk *c)
{
    const rlx_lir_schedule *s = &in->g->s;
    int64_t rows = k->options->target->vector_f32;
    for (int i = 0; i < in->g->ncontracts; i++) {
        rlx_lir_scope tile, part;
        RLX_TRY(begin_count(k, in->tiles, 1, &tile));
        RLX_TRY(begin_count(k, s->n, rows, &part));
        rlx_ir_value *row = plus(k, in->n0, times(k, tile.index[0], s->n));
        source from = {.row = plus(k, row, part.index[0]),
                       .tile = tile.index[0],
                       .column = part.index[0],
                       .rows = rows};
        if (in->of[i].quantized)
            RLX_TRY(expand_blocks(k, in, i, c, &from));
        else
            RLX_TRY(expand_floats(k, in, i, c, &from));
        rlx_lir_end_for(k->b, &part, NULL);
        rlx_lir_end_for(k->b, &tile, NULL);
    }
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
                                  const rlx_ir_value *operand, rlx_format f, rlx_ir_value *at,
                                  int64_t width, rlx_ir_value *end)
{
    static const int64_t axes[2] = {0, 1};
    int64_t dims[2] = {in->g->s.m, width};
    rlx_ir_value *index[2] = {p->t, at}, *limits[2] = {in->t_limit, end};
    return rlx_lir_build_load(k->b, bound(operand)->lir, f, 2, dims, index, axes, limits);
}

static rlx_ir_value *load_rows(kernel_cx *k, const instance *in, const place *p,
                               const rlx_ir_value *operand, rlx_format f, rlx_ir_value *at,
                               int64_t width)
{
    return load_rows_to(k, in, p, operand, f, at, width, NULL);
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
    rlx_ir_value *x = load_rows(k, in, p, a, RLX_F32, c->from, c->length);
    return rlx_lir_build_outer(k->b, acc, x, load_panel(k, p, in->of[i].w, c->length, in->g->s.n));
}

/* The same of bf16: whole products, with zeros behind K. */
static rlx_ir_value *multiply_bf16(kernel_cx *k, const instance *in, int i, const chunk *c,
                                   const place *p, rlx_ir_value *acc)
{
    const panel *of = &in->of[i];
    const rlx_ir_value *a = in->g->contract[i]->in[0];
    int64_t padded = up(c->length, of->bf16_width);
    rlx_ir_value *end = padded == c->length ? NULL : k_const(k, in->g->k);
    rlx_ir_value *x = load_rows_to(k, in, p, a, RLX_BF16, c->from, padded, end);
    rlx_ir_value *w = load_panel(k, p, of->w, padded / PAIR, PAIR * in->g->s.n);
    return rlx_lir_build_outer_bf16(k->b, of->bf16_width, acc, x, w);
}

static rlx_ir_value *multiply_codes(kernel_cx *k, const instance *in, int i, const chunk *c,
                                    const place *p, rlx_ir_value *acc)
{
    const panel *of = &in->of[i];
    const rlx_ir_node *n = in->g->contract[i];
    int64_t columns = in->g->s.n, groups = c->length / of->group;
    rlx_ir_value *a = load_rows(k, in, p, n->in[0], RLX_I8, c->from, c->length);
    rlx_ir_value *sa = load_rows(k, in, p, n->in[1], RLX_F32, c->group, c->length / QUANT);
    rlx_ir_value *w = load_panel(k, p, of->w, c->length / TOGETHER, TOGETHER * columns);
    rlx_ir_value *sw = load_panel(k, p, of->scale, groups, columns);
    rlx_ir_value *xs = NULL, *mins = NULL;
    if (of->mins) {
        rlx_ir_value *first = times(k, c->group, QUANT / of->group);
        xs = load_rows(k, in, p, n->in[2], RLX_F32, first, groups);
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
    place p = {.row = loop.index[0], .tile = tile, .t = plus(k, in->t0, loop.index[0])};
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

static rlx_status emit_sums(kernel_cx *k, const instance *in)
{
    const group *g = in->g;
    int64_t depth = g->s.depth, whole = g->k / depth * depth;
    RLX_TRY(clear_sums(k, in));
    if (whole > 0) {
        rlx_lir_scope loop;
        RLX_TRY(begin_count(k, whole, depth, &loop));
        chunk c = {.from = loop.index[0], .length = depth};
        c.group = rlx_lir_build_map2(k->b, RLX_FN_DIV, c.from, k_const(k, QUANT));
        RLX_TRY(emit_chunk(k, in, &c));
        rlx_lir_end_for(k->b, &loop, NULL);
    }
    if (whole < g->k) {
        chunk c = {k_const(k, whole), k_const(k, whole / QUANT), g->k - whole};
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

/* Results without units are [.., rows, columns]: the columns of one row, which is row
 * `in_block` of the block. */
static rlx_status store_columns(kernel_cx *k, const instance *in, const rlx_lir_scope *grid,
                                const rlx_ir_node *yield, coord row, rlx_ir_value *in_block)
{
    const group *g = in->g;
    const rlx_lir_schedule *s = &g->s;
    bool whole = g->n % s->block_n == 0;
    rlx_ir_value *count = k_const(k, s->block_n), *left = NULL;
    if (!whole) {
        left = rlx_lir_build_map2(k->b, RLX_FN_SUB, k_const(k, g->n), in->n0);
        count = least(k, count, left);
    }
    rlx_lir_scope column;
    RLX_TRY(begin_loop(k, k_const(k, 0), count, s->n, &column));
    tile_space ts = {.rank = 1,
                     .dim = {s->n},
                     .root = {column.index[0]},
                     .limit = {g->n % s->n == 0 ? NULL : left}};
    coord n0 = coord_scaled(grid->index[0], s->block_n, (g->n + s->block_n - 1) / s->block_n);
    coord c[RLX_MAX_RANK];
    group_place(g, row, coord_add(n0, coord_of(column.index[0], s->block_n, 0)), c);
    if (g->order)
        RLX_TRY(bind_sums(k, in, in_block, column.index[0], &ts, c));
    for (int i = 0; i < g->nresults; i++) {
        leaf leaves[MAX_LEAVES];
        int n, result = g->result[i];
        RLX_TRY(sink_leaves(k, yield->in[result], kernel_result(k, result), leaves, &n));
        for (int j = 0; j < n; j++)
            RLX_TRY(sink_store(k, &leaves[j], c, &ts));
    }
    rlx_lir_end_for(k->b, &column, NULL);
    return rlx_ir_builder_finish(k->b);
}

/* The block's units of one row. */
static rlx_status store_units(kernel_cx *k, const instance *in, const rlx_lir_scope *grid,
                              const rlx_ir_node *yield, coord row)
{
    const group *g = in->g;
    int64_t units = g->n / g->unit, count = g->s.block_n / g->unit;
    coord unit = coord_scaled(grid->index[0], count, units / count);
    if (count == 1)
        return group_store_unit(k, g, yield, row, unit);
    rlx_lir_scope loop;
    RLX_TRY(begin_count(k, count, 1, &loop));
    unit = coord_add(unit, coord_of(loop.index[0], count, -1));
    RLX_TRY(group_store_unit(k, g, yield, row, unit));
    rlx_lir_end_for(k->b, &loop, NULL);
    return rlx_ir_builder_finish(k->b);
}

static rlx_status emit_epilogue(kernel_cx *k, const instance *in, const rlx_lir_scope *grid,
                                const rlx_ir_node *yield)
{
    const group *g = in->g;
    int64_t blocks = (g->n + g->s.block_n - 1) / g->s.block_n;
    rlx_lir_build_barrier(k->b);
    rlx_lir_scope row;
    RLX_TRY(begin_loop(k, k_const(k, 0), in->rows, 1, &row));
    coord t0 = coord_of(in->t0, 0, -1), t = coord_add(t0, coord_of(row.index[0], 0, -1));
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
        b->at[0] = t0;
        b->at[1] = coord_scaled(grid->index[0], g->s.block_n, blocks);
    }
    RLX_TRY(g->unit ? store_units(k, in, grid, yield, t)
                    : store_columns(k, in, grid, yield, t, row.index[0]));
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
    const rlx_ir_value *w = contract_weight(n);
    rlx_format f = w->type.format;
    int64_t sums[2] = {(s->block_m + s->m - 1) / s->m * s->m, in->tiles * s->n};
    *p = (panel){.quantized = n->op == RLX_MIR_CONTRACT_Q,
                 .bf16_width = rlx_ir_attr_int(n, RLX_ATTR_WIDTH, 0)};
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
static rlx_status emit_rows(kernel_cx *k, instance *in, rlx_ir_value *end,
                            const rlx_lir_scope *grid, const rlx_ir_node *yield)
{
    rlx_ir_value *left = rlx_lir_build_map2(k->b, RLX_FN_SUB, end, in->t0);
    in->rows = least(k, left, k_const(k, in->g->s.block_m));
    RLX_TRY(emit_sums(k, in));
    return emit_epilogue(k, in, grid, yield);
}

/* The rows of one matrix, block by block. */
static rlx_status emit_matrix(kernel_cx *k, instance *in, const rlx_lir_scope *grid,
                              const rlx_ir_node *yield)
{
    rlx_ir_value *from, *to;
    rlx_lir_scope block;
    in->g->matrix = grid->index[1];
    chosen_span(k, in->g, in->g->matrix, &from, &to);
    RLX_TRY(begin_loop(k, from, to, in->g->s.block_m, &block));
    rlx_lir_build_barrier(k->b); /* the sums of the block before were read to their end */
    in->t0 = block.index[0];
    in->t_limit = to;
    RLX_TRY(emit_rows(k, in, to, grid, yield));
    rlx_lir_end_for(k->b, &block, NULL);
    return rlx_ir_builder_finish(k->b);
}

rlx_status group_lower_panels(kernel_cx *k, group *g, const rlx_ir_node *yield,
                              panel_memory *memory)
{
    const rlx_lir_schedule *s = &g->s;
    instance in = {.g = g, .tiles = (s->block_n + s->n - 1) / s->n};
    memory->taken = 0;
    for (int i = 0; i < g->ncontracts; i++)
        RLX_TRY(make_panel(k, memory, &in, i, &in.of[i]));
    rlx_ir_value *live = k_extent(k, g->m);
    rlx_ir_value *extents[2] = {
        k_const(k, (g->n + s->block_n - 1) / s->block_n),
        g->order ? k_const(k, contract_weight(g->contract[0])->type.dim[0])
                 : k_extent(k, rlx_dim_make(k->dims, RLX_DIM_CEILDIV, g->m, s->block_m))};
    rlx_lir_scope grid;
    k_begin_grid(k, 2, extents, &grid);
    if (k->b->status)
        return rlx_ir_builder_finish(k->b);
    in.n0 = times(k, grid.index[0], s->block_n);
    in.n_limit = g->n % s->block_n || s->block_n % s->n ? k_const(k, g->n) : NULL;
    if (g->order) {
        RLX_TRY(emit_matrix(k, &in, &grid, yield));
    } else {
        in.t0 = times(k, grid.index[1], s->block_m);
        in.t_limit = rlx_dim_is_const(g->m) && g->m % s->m == 0 ? NULL : live;
        RLX_TRY(emit_rows(k, &in, live, &grid, yield));
    }
    rlx_lir_end_grid(k->b, &grid);
    return rlx_ir_builder_finish(k->b);
}
