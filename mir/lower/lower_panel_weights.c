/* mir/lower/lower_panel_weights.c: weights to panels, and those of the next panels from memory ahead
 * of time. */
#include "mir/lower/lower_panel.h"

#include "lir/schedule/sizes.h"

/* ---- weights to panels */

/* Where a piece of a panel comes from: rows of the weight from `row`, which are the panel's columns
 * from `column` on. */
typedef struct source {
    rlx_ir_value *row, *panel, *column;
    int64_t rows;
} source;

/* Stores x <rows x width>, transposed in units of `together`, from step `at` of a panel on. */
static void store_packed(kernel_cx *k, rlx_ir_value *memory, const source *from, rlx_ir_value *at,
                         int64_t together, rlx_ir_value *x)
{
    static const int64_t axes[2] = {1, 2};
    rlx_ir_value *index[3] = {from->panel, at, times(k, from->column, together)};
    rlx_lir_build_store(k->b, memory, rlx_lir_build_pack(k->b, together, x), index, axes, NULL);
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
    rlx_ir_value *index[3] = {panel_of(k, c, tile), loop.index[0], k_const(k, 0)};
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

/* Codes that are taken at once: where bits of one are in several places, all of a block, which moves
 * them by constants and registers; else what fills four registers, or one of the shorter blocks. */
static int64_t codes_together(const kernel_cx *k, const panel *p, rlx_format f)
{
    enum { NIBBLE = 4 };
    const int64_t block = rlx_format_get(f)->block_elems;
    if (p->bits && p->bits != NIBBLE && block > QUANT)
        return block;
    const int64_t width = TOGETHER * (int64_t)k->options->target->vector_f32;
    return width < QUANT ? QUANT : width;
}

static rlx_status expand_blocks(kernel_cx *k, const instance *in, int i, const chunk *c,
                                const source *from)
{
    const panel *p = &in->of[i];
    const rlx_ir_value *w = rlx_mir_contract_weight(in->g->contract[i]);
    int64_t width = codes_together(k, p, w->type.format);
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
    source from = {.row = plus(k, row, part.index[0]),
                   .panel = panel_of(k, c, tile),
                   .column = part.index[0],
                   .rows = rows};
    if (in->of[i].quantized)
        RLX_TRY(expand_blocks(k, in, i, c, &from));
    else
        RLX_TRY(expand_floats(k, in, i, c, &from));
    rlx_lir_end_for(k->b, &part, NULL);
    return rlx_ir_builder_finish(k->b);
}

rlx_status panel_expand_weights(kernel_cx *k, const instance *in, const chunk *c)
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

/* The memory [N,K] behind a contraction's weights that every instance reads as it lies; or NULL. */
static rlx_ir_value *weights_memory(const instance *in, int i)
{
    const group *g = in->g;
    const rlx_ir_value *w = rlx_mir_contract_weight(g->contract[i]);
    while (!bound(w) && w->def && w->def->op == RLX_MIR_CAST)
        w = w->def->in[0];
    return !g->ids && w->type.rank == 2 && bound(w) && bound(w)->kind == BIND_BUFFER ? bound(w)->lir
                                                                                     : NULL;
}

/* What follows a chunk: the next one of the same columns; behind the last one the first one of the
 * next instance, whose columns are others when this one has all rows of all sequences. Where panels
 * of all chunks are in memory that chunk of the next instance follows each. */
void panel_set_next(kernel_cx *k, const instance *in, chunk *c)
{
    const group *g = in->g;
    if (!rlx_dim_is_const(g->k) || !rlx_dim_is_const(g->n))
        return;
    bool all_rows = k_upper(k, g->m) <= panel_rows(&g->s);
    for (int i = 0; i < g->nlead; i++)
        all_rows = all_rows && g->contract[0]->in[0]->type.dim[i] == 1;
    if (g->s.blocks) {
        c->next_row = all_rows ? plus(k, in->n0, k_const(k, g->s.block_n)) : NULL;
        c->next_from = c->from;
        return;
    }
    rlx_ir_value *to = plus(k, c->from, k_const(k, c->length));
    rlx_ir_value *more = rlx_lir_build_map2(k->b, RLX_FN_LT, to, k_const(k, g->k));
    rlx_ir_value *row = all_rows ? plus(k, in->n0, k_const(k, g->s.block_n)) : in->n0;
    c->next_row = rlx_lir_build_map3(k->b, RLX_FN_SELECT, more, in->n0, row);
    c->next_from = rlx_lir_build_map3(k->b, RLX_FN_SELECT, more, to, k_const(k, 0));
}

/* Pieces of a row of so many lines: a divisor, at most `most`; 1 at least. */
static int64_t pieces_of_row(int64_t lines, int64_t most)
{
    int64_t pieces = at_least(at_most(most, lines), 1);
    while (lines % pieces != 0)
        pieces--;
    return pieces;
}

/* With each register tile of rows goes a piece of a row of weights, a row or a few; with tiles beyond, the last
 * ones again. */
rlx_status panel_read_ahead(kernel_cx *k, const instance *in, int i, const chunk *c,
                            rlx_ir_value *tile, rlx_ir_value *row)
{
    enum { LINE = 64 /* bytes */ };
    const rlx_lir_schedule *s = &in->g->s;
    rlx_ir_value *memory = weights_memory(in, i);
    if (!c->next_row || !memory)
        return RLX_OK;
    const rlx_format_info *f = rlx_format_get(memory->type.format);
    const int64_t bytes = (int64_t)f->block_bytes, blocks = bytes < LINE ? LINE / bytes : 1;
    const int64_t elems = blocks * f->block_elems; /* of a long block all lines are told */
    const int64_t lines = ceil_div(s->blocks ? c->length : s->depth, elems);
    const int64_t tiles = ceil_div(panel_rows(s), s->m);
    const int64_t pieces = pieces_of_row(lines, tiles / s->n), width = lines / pieces * elems;
    const int64_t count = ceil_div(s->n * pieces, tiles);
    if (s->blocks) /* counted from the first block's, which is the first of all */
        row = plus(k, in->t0, row);
    rlx_ir_value *at = times(k, rlx_lir_build_map2(k->b, RLX_FN_DIV, row, k_const(k, s->m)), count);
    at = least(k, at, k_const(k, s->n * pieces - count));
    rlx_ir_value *along = c->next_from;
    if (pieces > 1) {
        rlx_ir_value *piece = rlx_lir_build_map2(k->b, RLX_FN_MOD, at, k_const(k, pieces));
        along = plus(k, along, times(k, piece, width));
        at = rlx_lir_build_map2(k->b, RLX_FN_DIV, at, k_const(k, pieces));
    }
    at = plus(k, plus(k, c->next_row, times(k, tile, s->n)), at);
    for (int64_t j = 0; j < count; j++) {
        rlx_ir_value *index[2] = {plus(k, at, k_const(k, j)), along};
        rlx_lir_build_prefetch(k->b, memory, index, width);
    }
    return rlx_ir_builder_finish(k->b);
}
