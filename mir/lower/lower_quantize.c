/* mir/lower/lower_quantize.c: rows to 8-bit codes, their scales and sums.
 *
 *   grid rows { the prologue's reduces; for groups of 32 { maximum, scale; codes; sums, if read } }
 *
 * On GPUs, where a group is a chain of a team's, a row's groups are dealt to several instances, each of
 * which makes the reduces again: as long as there are few rows, or no reduces.
 */
#include "mir/lower/lower.h"

enum { HALF = RLX_MIR_QUANT / 2, CODES = 0, SCALE, SUMS, HALF_SUMS, RESULTS };

/* Whether the node takes operand i: products of weights without minima take no sums, unless rows, which are
 * then copied with all that belongs to them, choose their matrix. */
static bool takes(const rlx_ir_node *n, int i)
{
    enum { SUMS_OPERAND = 2, WEIGHT = 3, PLAIN = 4 };
    return n->op != RLX_MIR_CONTRACT_Q || i != SUMS_OPERAND || n->nin > PLAIN ||
           rlx_format_has_min(n->in[WEIGHT]->type.format);
}

/* Whether anybody reads v, of what stands in `block`. */
static bool is_read(const rlx_ir_block *block, const rlx_ir_value *v)
{
    for (const rlx_ir_node *n = block->first; n; n = n->next)
        for (int i = 0; i < n->nin; i++)
            if (n->in[i] == v &&
                (n->op == RLX_MIR_REGION ? is_read(n->blocks[0], n->blocks[0]->args[i])
                                         : takes(n, i)))
                return true;
    return false;
}

/* Where the results that anybody uses go. */
static void find_buffers(const kernel_cx *k, const rlx_ir_node *q, rlx_ir_value **buffer)
{
    const rlx_ir_node *yield = k->region->blocks[0]->last;
    for (int i = 0; i < yield->nin; i++)
        for (int r = 0; r < RESULTS; r++)
            if (yield->in[i] == q->out[r] && is_read(k->region->parent, k->region->out[i]))
                buffer[r] = kernel_result(k, i);
}

/* Where a row stands: an index for each of its axes, and room for one more. */
typedef struct place {
    int n;
    rlx_ir_value *index[RLX_LIR_MAX_GRID + 1];
} place;

static void store_scalar(kernel_cx *k, rlx_ir_value *buffer, const place *row, rlx_ir_value *at,
                         rlx_ir_value *x)
{
    place p = *row;
    p.index[p.n] = at;
    rlx_lir_build_store(k->b, buffer, x, p.index, NULL, NULL);
}

/* The largest magnitude times 1/127, and its inverse: 0 for 0. */
static rlx_ir_value *make_scale(rlx_ir_builder *b, rlx_ir_value *const *x, rlx_ir_value **inverse)
{
    rlx_ir_value *most[2];
    for (int h = 0; h < 2; h++)
        most[h] = rlx_lir_build_reduce(b, RLX_FN_MAX, rlx_lir_build_map1(b, RLX_FN_ABS, x[h]));
    rlx_ir_value *zero = rlx_lir_build_const_f32(b, 0), *one = rlx_lir_build_const_f32(b, 1);
    rlx_ir_value *scale = rlx_lir_build_map2(b, RLX_FN_MAX, most[0], most[1]);
    scale = rlx_lir_build_map2(b, RLX_FN_MUL, scale,
                               rlx_lir_build_const_f32(b, (double)RLX_MIR_QUANT_STEP));
    rlx_ir_value *over = rlx_lir_build_map2(b, RLX_FN_DIV, one, scale);
    rlx_ir_value *some = rlx_lir_build_map2(b, RLX_FN_LT, zero, scale);
    *inverse = rlx_lir_build_map3(b, RLX_FN_SELECT, some, over, zero);
    return scale;
}

/* As the buffer has them: i8, or raised. */
static rlx_ir_value *stored_codes(rlx_ir_builder *b, const rlx_ir_value *buffer, rlx_ir_value *code)
{
    code = rlx_lir_build_cast(b, code, RLX_I8);
    if (buffer->type.format == RLX_I8)
        return code;
    rlx_ir_value *raise = rlx_lir_build_fill_int(b, RLX_U8, 0, NULL, 128);
    return rlx_lir_build_map2(b, RLX_FN_ADD, rlx_lir_build_bitcast(b, code, RLX_U8), raise);
}

/* The scale times the sums of a group's halves, of group `g`. */
static void store_sums(kernel_cx *k, rlx_ir_value *const *buffer, const place *row, rlx_ir_value *g,
                       rlx_ir_value *scale, rlx_ir_value *const *code)
{
    rlx_ir_builder *b = k->b;
    rlx_ir_value *sum[2], *two = k_const(k, 2);
    for (int h = 0; h < 2; h++)
        sum[h] = rlx_lir_build_reduce(b, RLX_FN_ADD, code[h]);
    for (int h = 0; h < 2 && buffer[HALF_SUMS]; h++) {
        rlx_ir_value *at = rlx_lir_build_map2(b, RLX_FN_MUL, g, two);
        if (h)
            at = rlx_lir_build_map2(b, RLX_FN_ADD, at, k_const(k, 1));
        store_scalar(k, buffer[HALF_SUMS], row, at,
                     rlx_lir_build_map2(b, RLX_FN_MUL, scale, sum[h]));
    }
    if (!buffer[SUMS])
        return;
    rlx_ir_value *both = rlx_lir_build_map2(b, RLX_FN_ADD, sum[0], sum[1]);
    store_scalar(k, buffer[SUMS], row, g, rlx_lir_build_map2(b, RLX_FN_MUL, scale, both));
}

/* Group `g` of row `row`, its two halves in x. */
static void store_group(kernel_cx *k, rlx_ir_value *const *buffer, const place *row,
                        rlx_ir_value *g, rlx_ir_value *const *first, rlx_ir_value *const *x)
{
    const int64_t axis = row->n;
    rlx_ir_builder *b = k->b;
    rlx_ir_value *inverse, *code[2];
    rlx_ir_value *scale = make_scale(b, x, &inverse);
    for (int h = 0; h < 2; h++) {
        code[h] = rlx_lir_build_map2(b, RLX_FN_MUL, x[h], inverse);
        code[h] = rlx_lir_build_map1(b, RLX_FN_ROUND, code[h]);
        place p = *row;
        p.index[p.n] = first[h];
        if (buffer[CODES])
            rlx_lir_build_store(b, buffer[CODES], stored_codes(b, buffer[CODES], code[h]), p.index,
                                &axis, NULL);
    }
    if (buffer[SCALE])
        store_scalar(k, buffer[SCALE], row, g, scale);
    if (buffer[SUMS] || buffer[HALF_SUMS])
        store_sums(k, buffer, row, g, scale, code);
}

/* Instances that share a row. */
static int64_t parts_of(const kernel_cx *k, const rlx_ir_value *x)
{
    enum { PARTS = 16, FEW = 8 };
    const int last = x->type.rank - 1;
    const int64_t groups = x->type.dim[last] / RLX_MIR_QUANT;
    int64_t rows = value_depends(x, RLX_MIR_REDUCE);
    for (int i = 0; i < last; i++)
        rows *= k_upper(k, x->type.dim[i]);
    if (k->options->target->unit != RLX_UNIT_GPU || last >= RLX_LIR_MAX_GRID || rows > FEW)
        return 1;
    return groups < PARTS ? groups : PARTS;
}

/* Groups `from` up to `to` of a row. */
static rlx_status emit_row(kernel_cx *k, const rlx_ir_node *q, rlx_ir_value *const *buffer,
                           const place *row, rlx_ir_value *from, rlx_ir_value *to)
{
    const rlx_ir_value *x = q->in[0];
    int64_t extent = x->type.dim[row->n];
    coord at[RLX_LIR_MAX_GRID + 1];
    rlx_lir_scope loop;
    for (int i = 0; i < row->n; i++)
        at[i] = row->n == 1           ? coord_of(row->index[i], 0, -1)
                : x->type.dim[i] == 1 ? coord_const(0)
                                      : coord_of(row->index[i], range_of(x->type.dim[i]), -1);
    RLX_TRY(rows_bind(k, x, at));
    rlx_lir_begin_for(k->b, from, to, 1, 0, NULL, &loop);
    if (k->b->status)
        return rlx_ir_builder_finish(k->b);
    rlx_ir_value *half[2], *first[2];
    for (int h = 0; h < 2; h++) {
        first[h] = rlx_lir_build_map2(k->b, RLX_FN_MUL, loop.index[0], k_const(k, RLX_MIR_QUANT));
        if (h)
            first[h] = rlx_lir_build_map2(k->b, RLX_FN_ADD, first[h], k_const(k, HALF));
        at[row->n] = coord_of(first[h], extent, 0);
        tile_space ts = {.rank = 1, .dim = {HALF}, .root = {first[h]}};
        RLX_TRY(tile_at(k, x, at, &ts, &half[h]));
    }
    store_group(k, buffer, row, loop.index[0], first, half);
    rlx_lir_end_for(k->b, &loop, NULL);
    rows_unbind(x);
    return rlx_ir_builder_finish(k->b);
}

rlx_status lower_quantize(region_cx *r)
{
    const rlx_ir_node *q = r->node->blocks[0]->first;
    while (q->op != RLX_MIR_QUANTIZE)
        q = q->next;
    kernel_cx k;
    RLX_TRY(kernel_begin(r, &k, "quantize", "rows"));
    const rlx_ir_type *x = &q->in[0]->type;
    place row = {.n = x->rank - 1};
    if (row.n < 1 || row.n > RLX_LIR_MAX_GRID)
        return k_fail(&k, q, "rows that are quantized have one to three axes in front");
    rlx_ir_value *buffer[RESULTS] = {0}, *extents[RLX_LIR_MAX_GRID];
    for (int i = 0; i < row.n; i++)
        extents[i] = k_extent(&k, x->dim[i]);
    find_buffers(&k, q, buffer);
    const int64_t parts = parts_of(&k, q->in[0]), groups = x->dim[row.n] / RLX_MIR_QUANT;
    rlx_ir_value *from = k_const(&k, 0), *to = k_const(&k, groups);
    rlx_lir_scope grid;
    if (parts > 1)
        extents[row.n] = k_const(&k, parts);
    k_begin_grid(&k, row.n + (parts > 1), extents, &grid);
    if (k.b->status)
        return rlx_ir_builder_finish(k.b);
    for (int i = 0; i < row.n; i++)
        row.index[i] = grid.index[i];
    if (parts > 1) {
        rlx_ir_value *each = k_const(&k, (groups + parts - 1) / parts), *end;
        from = rlx_lir_build_map2(k.b, RLX_FN_MUL, grid.index[row.n], each);
        end = rlx_lir_build_map2(k.b, RLX_FN_ADD, from, each);
        to = rlx_lir_build_map2(k.b, RLX_FN_MIN, end, to);
    }
    RLX_TRY(emit_row(&k, q, buffer, &row, from, to));
    rlx_lir_end_grid(k.b, &grid);
    RLX_TRY(rlx_ir_builder_finish(k.b));
    return kernel_end(r, &k);
}
