/* mir/lower/lower_turned.c: a few rows of codes against rows of blocks, lanes along K.
 *
 *   once { codes of all rows, turned -> team memory, once for each width of groups; where weights'
 *          codes are signed the sums of their groups, too }
 *   grid n, m {
 *     sums = 0 in team memory
 *     for some steps { for columns { for those steps, 256 of K each {
 *       for contractions { codes, turned; scales; minima -> team memory
 *         for live rows { sums += } } } } }
 *     for live rows { total, less sums of minima; epilogue } }
 *
 * What a step needs of a row of weights is decoded once and stays in registers while the rows go by.
 * Turned, each lane of a sum of products is its group's own: no row folds registers. The steps that
 * go together are so many that the rows' codes of them stay in the first-level cache for all
 * columns. */
#include "mir/lower/lower_dot.h"

enum { GROUP_16, GROUP_32 };
enum { TOTALS = RLX_LIR_TURN_TOTALS };

static int width_of(const rlx_ir_node *contract)
{
    return rlx_format_group(contract->in[3]->type.format);
}

static bool has_minima(const rlx_ir_node *contract)
{
    return rlx_format_has_min(contract->in[3]->type.format);
}

static int plane_of(const rlx_ir_node *contract)
{
    return width_of(contract) == 32 ? GROUP_32 : GROUP_16;
}

static bool has_signed_codes(const rlx_ir_node *contract)
{
    return rlx_format_signed_codes(contract->in[3]->type.format);
}

/* ---- rows ---- */

static const int64_t axes_of_codes[2] = {1, 2};

/* The sums of a step's groups of `width`, eight at a time: products with ones. */
static rlx_status sum_step(kernel_cx *k, const dots *d, int64_t width, rlx_ir_value *step,
                           rlx_ir_value *row, rlx_ir_value *xs)
{
    static const int64_t axes[3] = {0, 1, 2}, sums[3] = {1, 1, DOT_LANES};
    const int64_t elems = DOT_LANES * width, eights = d->g->s.k / elems;
    const int64_t dims[2] = {1, elems}, scales[2] = {1, elems / RLX_MIR_QUANT};
    const int64_t groups[2] = {1, DOT_LANES};
    for (int64_t i = 0; i < eights; i++) {
        rlx_ir_value *number = rlx_lir_build_map2(
            k->b, RLX_FN_ADD, rlx_lir_build_map2(k->b, RLX_FN_MUL, step, k_const(k, eights)),
            k_const(k, i));
        group eight = *d->g;
        dots of_eight = *d;
        eight.s.k = elems;
        of_eight.g = &eight;
        rlx_ir_value *x, *index[3] = {step, row, k_const(k, i * DOT_LANES)};
        RLX_TRY(dot_load_rows(k, &of_eight, d->g->contract[0]->in[0],
                              (span){number, 1, elems, false}, &x));
        rlx_ir_value *sum =
            rlx_lir_build_dot(k->b, 1, rlx_lir_build_fill(k->b, RLX_F32, 3, sums, 0), x,
                              rlx_lir_build_fill(k->b, RLX_F32, 2, scales, 1),
                              rlx_lir_build_fill_int(k->b, RLX_I8, 2, dims, 1),
                              rlx_lir_build_fill(k->b, RLX_F32, 2, groups, 1));
        rlx_lir_build_store(k->b, xs, sum, index, axes, NULL);
    }
    return rlx_ir_builder_finish(k->b);
}

/* A step of a row to where it is wanted. */
static rlx_status turn_step(kernel_cx *k, const group *g, const turned_rows *t, rlx_ir_value *row,
                            rlx_ir_value *step)
{
    group one = *g;
    one.s.m = 1;
    const register_tile at = {.m0 = row};
    const dots d = {.g = &one, .at = &at};
    rlx_ir_value *x, *index[3] = {step, row, k_const(k, 0)};
    RLX_TRY(dot_load_rows(k, &d, g->contract[0]->in[0], (span){step, 1, g->s.k, false}, &x));
    for (int i = GROUP_16; i <= GROUP_32; i++)
        if (t->codes[i])
            rlx_lir_build_store(k->b, t->codes[i],
                                rlx_lir_build_turn(k->b, i == GROUP_32 ? 32 : 16, x), index,
                                axes_of_codes, NULL);
    for (int i = GROUP_16; i <= GROUP_32; i++)
        if (t->xs[i])
            RLX_TRY(sum_step(k, &d, i == GROUP_32 ? 32 : 16, step, row, t->xs[i]));
    return rlx_ir_builder_finish(k->b);
}

static rlx_status turn_rows(kernel_cx *k, const group *g, const turned_rows *t)
{
    rlx_lir_scope once, row, step;
    k_begin_once(k, &once);
    rlx_lir_begin_for(k->b, k_const(k, 0), k_extent(k, g->m), 1, 0, NULL, &row);
    rlx_lir_begin_for(k->b, k_const(k, 0), k_const(k, g->k / g->s.k), 1, 0, NULL, &step);
    if (k->b->status)
        return rlx_ir_builder_finish(k->b);
    RLX_TRY(turn_step(k, g, t, row.index[0], step.index[0]));
    rlx_lir_end_for(k->b, &step, NULL);
    rlx_lir_end_for(k->b, &row, NULL);
    rlx_lir_end_once(k->b, &once);
    return rlx_ir_builder_finish(k->b);
}

rlx_status turned_begin(kernel_cx *k, const group *g, turned_rows *out)
{
    const int64_t codes[3] = {g->k / g->s.k, k_upper(k, g->m), g->s.k};
    const int64_t sums[3] = {g->s.m, g->s.n, DOT_LANES};
    *out = (turned_rows){0};
    for (int i = 0; i < g->ncontracts; i++) {
        const int plane = plane_of(g->contract[i]);
        const int64_t xs[3] = {codes[0], codes[1], g->s.k / width_of(g->contract[i])};
        if (!out->codes[plane])
            out->codes[plane] = rlx_lir_build_alloc(&k->top, RLX_I8, 3, codes);
        if (has_signed_codes(g->contract[i]) && !out->xs[plane])
            out->xs[plane] = rlx_lir_build_alloc(&k->top, RLX_F32, 3, xs);
        out->sums[i] = rlx_lir_build_alloc(&k->top, RLX_F32, 3, sums);
        const int64_t mins[2] = {g->s.n, g->k / width_of(g->contract[i])};
        if (has_minima(g->contract[i]))
            out->mins[i] = rlx_lir_build_alloc(&k->top, RLX_F32, 2, mins);
    }
    if (k->top.status)
        return rlx_ir_builder_finish(&k->top);
    return turn_rows(k, g, out);
}

/* ---- sums ---- */

/* Those of one row, of a step's columns. */
static rlx_ir_value *load_sums(kernel_cx *k, rlx_ir_value *memory, int64_t columns,
                               rlx_ir_value *row, rlx_ir_value *column)
{
    static const int64_t axes[3] = {0, 1, 2};
    const int64_t dims[3] = {1, columns, DOT_LANES};
    rlx_ir_value *index[3] = {row, column, k_const(k, 0)};
    return rlx_lir_build_load(k->b, memory, RLX_F32, 3, dims, index, axes, NULL);
}

static void store_sums(kernel_cx *k, rlx_ir_value *memory, rlx_ir_value *x, rlx_ir_value *row,
                       rlx_ir_value *column)
{
    static const int64_t axes[3] = {0, 1, 2};
    rlx_ir_value *index[3] = {row, column, k_const(k, 0)};
    rlx_lir_build_store(k->b, memory, x, index, axes, NULL);
}

static rlx_status clear_sums(kernel_cx *k, const group *g, const turned_rows *t, rlx_ir_value *rows)
{
    const int64_t dims[2] = {g->s.n, DOT_LANES};
    static const int64_t axes[2] = {1, 2};
    rlx_lir_scope row;
    rlx_lir_begin_for(k->b, k_const(k, 0), rows, 1, 0, NULL, &row);
    if (k->b->status)
        return rlx_ir_builder_finish(k->b);
    rlx_ir_value *index[3] = {row.index[0], k_const(k, 0), k_const(k, 0)};
    rlx_ir_value *none = rlx_lir_build_fill(k->b, RLX_F32, 2, dims, 0.0);
    for (int i = 0; i < g->ncontracts; i++)
        rlx_lir_build_store(k->b, t->sums[i], none, index, axes, NULL);
    rlx_lir_end_for(k->b, &row, NULL);
    rlx_lir_build_barrier(k->b);
    return rlx_ir_builder_finish(k->b);
}

/* A step of a row of weights, or of some that are neighbours. */
typedef struct step {
    rlx_ir_value *number, *column; /* of the block, the first */
    rlx_ir_value *codes, *scales;
    int bits;
} step;

/* Its codes and scales; its minima go to memory. */
static rlx_status load_step(kernel_cx *k, const dots *d, const turned_rows *t, int which, step *s)
{
    static const int64_t axes[2] = {0, 1};
    const rlx_ir_node *n = d->g->contract[which];
    const rlx_ir_value *w = n->in[3];
    const int64_t width = width_of(n), count = d->g->s.k / width;
    const span elements = {s->number, 1, d->g->s.k, false},
               groups = {s->number, width, count, false};
    rlx_ir_value *codes, *mins;
    RLX_TRY(dot_load_weights(k, d, w, "codes", elements, &codes));
    s->codes = rlx_lir_build_turn(k->b, width, codes);
    s->bits = rlx_format_code_bits(w->type.format) % 8;
    RLX_TRY(dot_load_weights(k, d, w, "scale", groups, &s->scales));
    if (!t->mins[which])
        return rlx_ir_builder_finish(k->b);
    RLX_TRY(dot_load_weights(k, d, w, "min", groups, &mins));
    rlx_ir_value *index[2] = {s->column,
                              rlx_lir_build_map2(k->b, RLX_FN_MUL, s->number, k_const(k, count))};
    rlx_lir_build_store(k->b, t->mins[which], mins, index, axes, NULL);
    return rlx_ir_builder_finish(k->b);
}

/* Adds the step's products to the sums of row `row` of the block, which is the tile's. */
static rlx_status add_row(kernel_cx *k, const dots *d, const turned_rows *t, int which,
                          const step *s, rlx_ir_value *row)
{
    const rlx_ir_node *n = d->g->contract[which];
    const int64_t dims[2] = {1, d->g->s.k}, groups[2] = {1, d->g->s.k / width_of(n)};
    const int plane = plane_of(n);
    const span scales = {s->number, RLX_MIR_QUANT, d->g->s.k / RLX_MIR_QUANT, false};
    rlx_ir_value *at[3] = {s->number, d->at->m0, k_const(k, 0)}, *memory = t->sums[which], *sa,
                 *xs = NULL;
    rlx_ir_value *codes =
        rlx_lir_build_load(k->b, t->codes[plane], RLX_I8, 2, dims, at, axes_of_codes, NULL);
    rlx_ir_value *acc = load_sums(k, memory, d->g->s.n, row, s->column);
    RLX_TRY(dot_load_rows(k, d, n->in[1], scales, &sa));
    if (has_signed_codes(n))
        xs = rlx_lir_build_load(k->b, t->xs[plane], RLX_F32, 2, groups, at, axes_of_codes, NULL);
    acc = rlx_lir_build_dot_turned(k->b, s->bits, acc, codes, sa, s->codes, s->scales, xs);
    rlx_lir_build_barrier(k->b); /* all was read before it is written */
    store_sums(k, memory, acc, row, s->column);
    return rlx_ir_builder_finish(k->b);
}

/* A step of the rows of weights of one column or `some`, for all rows. */
static rlx_status add_step(kernel_cx *k, const group *some, const turned_rows *t, int which,
                           rlx_ir_value *m0, rlx_ir_value *rows, rlx_ir_value *n0, step s)
{
    const register_tile weights = {.n0 = rlx_lir_build_map2(k->b, RLX_FN_ADD, n0, s.column)};
    const dots d = {.g = some, .at = &weights};
    rlx_lir_scope row;
    RLX_TRY(load_step(k, &d, t, which, &s));
    rlx_lir_begin_for(k->b, k_const(k, 0), rows, 1, 0, NULL, &row);
    if (k->b->status)
        return rlx_ir_builder_finish(k->b);
    const register_tile at = {.m0 = rlx_lir_build_map2(k->b, RLX_FN_ADD, m0, row.index[0])};
    const dots of_row = {.g = some, .at = &at};
    RLX_TRY(add_row(k, &of_row, t, which, &s, row.index[0]));
    rlx_lir_end_for(k->b, &row, NULL);
    return rlx_ir_builder_finish(k->b);
}

/* So many steps of K that the rows' codes of them stay in half of a first-level cache; all runs of
 * them about as long. */
static int64_t steps_together(const kernel_cx *k, const group *g, const turned_rows *t)
{
    const int64_t planes = (t->codes[GROUP_16] != NULL) + (t->codes[GROUP_32] != NULL);
    const int64_t steps = g->k / g->s.k;
    const int64_t fit = k->options->target->l1_bytes / 2 / (planes * g->s.m * g->s.k);
    const int64_t runs = fit > 1 ? (steps + fit - 1) / fit : steps;
    return (steps + runs - 1) / runs;
}

/* Columns that a row meets at once. Where a register holds the sums of two, its codes are the same for
 * both, repeated as they are loaded: for four where rows are more than a few, which then are loaded
 * half as often, and share their sums. */
static int64_t columns_together(const kernel_cx *k, const group *g, const turned_rows *t)
{
    enum { FEW = 2 };
    const bool two = k->options->target->vector_f32 >= 2 * DOT_LANES;
    const int64_t together = !two ? 1 : g->s.m > FEW ? 4 : 2;
    return !t->columns || (rlx_dim_is_const(g->n) && g->n % together == 0) ? together : 1;
}

/* Steps of a row of weights lie behind each other: some go by before the next row's. */
rlx_status turned_sums(kernel_cx *k, const group *g, const turned_rows *t, rlx_ir_value *m0,
                       rlx_ir_value *rows, rlx_ir_value *n0)
{
    rlx_ir_value *columns = t->columns ? t->columns : k_const(k, g->s.n);
    rlx_ir_value *steps = k_const(k, g->k / g->s.k), *end;
    const int64_t together = steps_together(k, g, t);
    rlx_lir_scope some, column, step_loop;
    group one = *g;
    one.s.m = 1;
    one.s.n = (int)columns_together(k, g, t);
    RLX_TRY(clear_sums(k, g, t, rows));
    rlx_lir_begin_for(k->b, k_const(k, 0), steps, together, 0, NULL, &some);
    if (k->b->status)
        return rlx_ir_builder_finish(k->b);
    end = rlx_lir_build_map2(k->b, RLX_FN_ADD, some.index[0], k_const(k, together));
    end = rlx_lir_build_map2(k->b, RLX_FN_MIN, end, steps);
    rlx_lir_begin_for(k->b, k_const(k, 0), columns, one.s.n, 0, NULL, &column);
    rlx_lir_begin_for(k->b, some.index[0], end, 1, 0, NULL, &step_loop);
    if (k->b->status)
        return rlx_ir_builder_finish(k->b);
    for (int i = 0; i < g->ncontracts; i++)
        RLX_TRY(add_step(k, &one, t, i, m0, rows, n0,
                         (step){.number = step_loop.index[0], .column = column.index[0]}));
    rlx_lir_build_barrier(k->b);
    rlx_lir_end_for(k->b, &step_loop, NULL);
    rlx_lir_end_for(k->b, &column, NULL);
    rlx_lir_end_for(k->b, &some, NULL);
    return rlx_ir_builder_finish(k->b);
}

/* f32<1 x 8 x 8>: a row's sums times minima, of columns from `column` on. */
static rlx_status sum_minima(kernel_cx *k, const group *g, const turned_rows *t, int which,
                             rlx_ir_value *m0, rlx_ir_value *column, rlx_ir_value **less)
{
    static const int64_t axes[2] = {0, 1};
    const rlx_ir_node *n = g->contract[which];
    const int64_t width = width_of(n), count = g->s.k / width;
    const int64_t sums[3] = {1, TOTALS, DOT_LANES}, dims[2] = {TOTALS, count};
    group one = *g;
    one.s.m = 1;
    const register_tile at = {.m0 = m0};
    const dots d = {.g = &one, .at = &at};
    rlx_lir_scope loop;
    rlx_ir_value *xs;
    *less = rlx_lir_build_fill(k->b, RLX_F32, 3, sums, 0.0);
    rlx_lir_begin_for(k->b, k_const(k, 0), k_const(k, g->k / g->s.k), 1, 1, less, &loop);
    if (k->b->status)
        return rlx_ir_builder_finish(k->b);
    rlx_ir_value *index[2] = {
        column, rlx_lir_build_map2(k->b, RLX_FN_MUL, loop.index[0], k_const(k, count))};
    RLX_TRY(dot_load_rows(k, &d, n->in[2], (span){loop.index[0], width, count, false}, &xs));
    rlx_ir_value *limits[2] = {t->columns, NULL},
                 *mins = rlx_lir_build_load(k->b, t->mins[which], RLX_F32, 2, dims, index, axes,
                                            limits);
    *less = rlx_lir_build_contract(k->b, loop.carried[0], xs, mins);
    rlx_lir_end_for(k->b, &loop, less);
    *less = loop.result[0];
    return rlx_ir_builder_finish(k->b);
}

rlx_status turned_totals(kernel_cx *k, const group *g, const turned_rows *t, rlx_ir_value *m0,
                         rlx_ir_value *row, rlx_ir_value *column, rlx_ir_value **tiles)
{
    static const int64_t axes[2] = {1, 2};
    const int64_t dims[3] = {1, TOTALS, DOT_LANES};
    rlx_ir_value *less, *index[3] = {row, column, k_const(k, 0)};
    for (int i = 0; i < g->ncontracts; i++) {
        rlx_ir_value *sum =
            rlx_lir_build_load(k->b, t->sums[i], RLX_F32, 2, dims + 1, index, axes, NULL);
        sum = rlx_lir_build_broadcast(k->b, sum, 3, dims, axes);
        if (t->mins[i]) {
            RLX_TRY(sum_minima(k, g, t, i, m0, column, &less));
            sum = rlx_lir_build_map2(k->b, RLX_FN_SUB, sum, less);
        }
        tiles[i] = rlx_lir_build_reduce(k->b, RLX_FN_ADD, sum);
    }
    return rlx_ir_builder_finish(k->b);
}
