#include "jit/spirv_emit.h"

/* Products of codes: sum [m, n, l] takes groups l, l + 8, .. of row n, whose integer sums are exact,
 * by four products an instruction where the device has it, by bytes where it has not.
 *
 *   for groups h = l + 8 i { codes of b -> words; for rows { codes of a -> words;
 *                            acc = fma(sa * sb, sum of products, acc) } }
 *
 * Columns and lanes are dealt to invocations as those of `contract` are: neighbours read neighbouring
 * groups of a row of weights, and a group's codes are unpacked once for all rows. */

enum { LANES = 8, TOGETHER = 4, PER_SCALE = 32, MAX_WORDS = PER_SCALE / TOGETHER };

typedef struct dot {
    const rlx_ir_node *node;
    rlx_spirv_operand a, sa, b, sb;
    int64_t rows, columns, groups;
    int size; /* elements of a group */
    const rlx_spirv_tile *out;
} dot;

/* One group of one row: its codes and its scale. */
typedef struct codes {
    rlx_spirv_id word[MAX_WORDS], scale;
} codes;

bool rlx_spirv_reads_fours(const rlx_ir_block *block, const rlx_ir_value *buffer)
{
    for (const rlx_ir_node *n = block->first; n; n = n->next) {
        const bool dots = n->op == RLX_LIR_DOT || n->op == RLX_LIR_DOT_ROWS;
        for (int i = 1; i <= 3 && dots; i += 2)
            if (rlx_spirv_defers(n->in[i]->def) && n->in[i]->def->in[0] == buffer)
                return true;
        for (int i = 0; i < n->nblock; i++)
            if (rlx_spirv_reads_fours(n->blocks[i], buffer))
                return true;
    }
    return false;
}

bool rlx_spirv_by_fours(const rlx_spirv_operand *o)
{
    if (!o->deferred || o->access.room[1] || o->access.buffer->type->space != RLX_SPACE_GLOBAL)
        return false;
    const rlx_ir_node *load = o->access.node;
    const int rank = o->access.buffer->type->rank;
    return rlx_ir_attr(load, RLX_ATTR_AXES)->ints[1] == rank - 1 &&
           rlx_lir_divisor(load->in[rank]) % TOGETHER == 0 &&
           (o->access.blocks || o->access.buffer->type->dim[rank - 1] % TOGETHER == 0);
}

rlx_spirv_id rlx_spirv_four_at(rlx_spirv_emit *e, const rlx_spirv_operand *o, rlx_decode_number row,
                               rlx_decode_number column)
{
    rlx_spirv_module *m = &e->m;
    rlx_spirv_id word = 0;
    if (rlx_spirv_by_fours(o)) {
        const rlx_spirv_place at = {.at = {row, column}};
        return rlx_spirv_load_codes(e, &o->access, &at);
    }
    for (int i = 0; i < TOGETHER; i++) {
        rlx_spirv_id x = rlx_spirv_operand_at(e, o, row, rlx_spirv_plus(column, i));
        x = rlx_spirv_op(m, SpvOpBitwiseAnd, e->u32, x, rlx_spirv_u32(e, 0xff));
        if (i)
            x = rlx_spirv_op(m, SpvOpShiftLeftLogical, e->u32, x, rlx_spirv_u32(e, 8 * i));
        word = word ? rlx_spirv_op(m, SpvOpBitwiseOr, e->u32, word, x) : x;
    }
    return word;
}

static void read_group(rlx_spirv_emit *e, const dot *x, const rlx_spirv_operand *o,
                       rlx_decode_number row, rlx_decode_number group, codes *out)
{
    rlx_decode_number column = group;
    if (column.v) {
        column.v = rlx_spirv_mul(e, (rlx_spirv_id)column.v, rlx_spirv_u32(e, x->size));
        column.multiple *= (uint32_t)x->size;
        column.below = column.below ? (column.below - 1) * (uint32_t)x->size + 1 : 0;
    }
    column.plus *= (uint32_t)x->size;
    for (int i = 0; i < x->size / TOGETHER; i++)
        out->word[i] = rlx_spirv_four_at(e, o, row, rlx_spirv_plus(column, i * TOGETHER));
}

/* The group's codes and scale; zeros where the row is beyond its limit. */
static void read_row(rlx_spirv_emit *e, const dot *x, const rlx_spirv_operand *o,
                     const rlx_spirv_operand *s, rlx_decode_number row, rlx_decode_number group,
                     rlx_decode_number scale, codes *out)
{
    rlx_spirv_module *m = &e->m;
    const rlx_spirv_place at = {.at = {row, group}};
    const int words = x->size / TOGETHER;
    rlx_spirv_id live = rlx_spirv_by_fours(o) ? rlx_spirv_inside(e, &o->access, &at, 0) : 0;
    out->scale = rlx_spirv_operand_at(e, s, row, scale);
    if (!live) {
        read_group(e, x, o, row, group, out);
        return;
    }
    rlx_spirv_id before = m->block, in = rlx_spirv_new_id(m), join = rlx_spirv_new_id(m);
    rlx_spirv_select_branch(m, live, in, join, join);
    rlx_spirv_label(m, in);
    read_group(e, x, o, row, group, out);
    rlx_spirv_branch(m, join);
    rlx_spirv_label(m, join);
    for (int i = 0; i < words; i++)
        out->word[i] =
            rlx_spirv_op(m, SpvOpPhi, e->u32, rlx_spirv_u32(e, 0), before, out->word[i], in);
}

/* Sum of the products of four signed bytes: those of weights without sign are below 128. */
static rlx_spirv_id four_products(rlx_spirv_emit *e, rlx_spirv_id a, rlx_spirv_id b)
{
    rlx_spirv_module *m = &e->m;
    if (rlx_spirv_has(e, RLX_VULKAN_DOT)) {
        rlx_spirv_capability(m, SpvCapabilityDotProductInput4x8BitPackedKHR);
        rlx_spirv_capability(m, SpvCapabilityDotProductKHR);
        return rlx_spirv_op(m, SpvOpSDotKHR, e->u32, a, b,
                            SpvPackedVectorFormatPackedVectorFormat4x8BitKHR);
    }
    rlx_spirv_id sum = 0, eight = rlx_spirv_u32(e, 8);
    for (int i = 0; i < TOGETHER; i++) {
        rlx_spirv_id at = rlx_spirv_u32(e, 8 * i);
        rlx_spirv_id x = rlx_spirv_op(m, SpvOpBitFieldSExtract, e->u32, a, at, eight);
        x = rlx_spirv_mul(e, x, rlx_spirv_op(m, SpvOpBitFieldSExtract, e->u32, b, at, eight));
        sum = sum ? rlx_spirv_add(e, sum, x) : x;
    }
    return sum;
}

static rlx_status add_group(rlx_spirv_emit *e, const dot *x, const codes *a, const codes *b,
                            rlx_spirv_id valid, rlx_spirv_id *acc)
{
    const rlx_spirv_id scales[2] = {a->scale, b->scale};
    rlx_spirv_id sum = 0, scale;
    for (int i = 0; i < x->size / TOGETHER; i++) {
        rlx_spirv_id four = four_products(e, a->word[i], b->word[i]);
        sum = sum ? rlx_spirv_add(e, sum, four) : four;
    }
    RLX_TRY(rlx_spirv_map(e, x->node, RLX_FN_MUL, RLX_F32, scales, &scale));
    sum = rlx_spirv_op(&e->m, SpvOpConvertSToF, e->f32, sum);
    sum = rlx_spirv_fma(e, e->f32, scale, sum, *acc);
    *acc = valid ? rlx_spirv_op(&e->m, SpvOpSelect, e->f32, valid, sum, *acc) : sum;
    return RLX_OK;
}

/* Group `first` + lane of those that there are; *valid: 0 when it always is one. */
static rlx_decode_number group_of(rlx_spirv_emit *e, const dot *x, rlx_decode_number lane,
                                  int64_t first, rlx_spirv_id *valid)
{
    const int64_t left = x->groups - first;
    *valid = 0;
    if (left < LANES) {
        rlx_spirv_id some = (rlx_spirv_id)lane.v, there;
        there = rlx_spirv_op(&e->m, SpvOpULessThan, e->bool_, some, rlx_spirv_u32(e, left));
        lane.v = rlx_spirv_op(&e->m, SpvOpSelect, e->u32, there, some, rlx_spirv_u32(e, 0));
        *valid = there;
    }
    return rlx_spirv_plus(lane, first);
}

/* The activations' scale of a group is that of the 32 elements that it lies in. */
static rlx_decode_number scale_of(rlx_spirv_emit *e, const dot *x, rlx_decode_number group)
{
    if (x->size == PER_SCALE)
        return group;
    rlx_spirv_id half = rlx_spirv_op(&e->m, SpvOpShiftRightLogical, e->u32,
                                     rlx_spirv_number(e, group), rlx_spirv_u32(e, 1));
    return (rlx_decode_number){.v = half, .multiple = 1};
}

/* Group after group of column `n` with the rows first, first + 1, ..: their sums are `apart` parts from each other. */
static rlx_status add_column(rlx_spirv_emit *e, const dot *x, rlx_decode_number n,
                             rlx_decode_number lane, rlx_decode_number first, int64_t rows,
                             int64_t apart, rlx_spirv_id *acc)
{
    for (int64_t from = 0; from < x->groups; from += LANES) {
        rlx_spirv_id valid;
        const rlx_decode_number group = group_of(e, x, lane, from, &valid);
        const rlx_decode_number scale = scale_of(e, x, group);
        codes a, b;
        read_row(e, x, &x->b, &x->sb, n, group, group, &b);
        for (int64_t r = 0; r < rows; r++) {
            read_row(e, x, &x->a, &x->sa, rlx_spirv_plus(first, r), group, scale, &a);
            RLX_TRY(add_group(e, x, &a, &b, valid, &acc[r * apart]));
        }
    }
    return RLX_OK;
}

static rlx_status add_all(rlx_spirv_emit *e, const dot *x)
{
    rlx_spirv_module *m = &e->m;
    const rlx_ir_type *type = &x->out->value->type;
    if (e->team % LANES == 0 && x->columns * LANES % e->team == 0) {
        const int64_t apart = e->team / LANES, own = x->columns / apart;
        rlx_decode_number column = {.multiple = 1, .below = (uint32_t)apart};
        rlx_decode_number lane = {.multiple = 1, .below = LANES};
        column.v = rlx_spirv_op(m, SpvOpShiftRightLogical, e->u32, e->thread, rlx_spirv_u32(e, 3));
        lane.v = rlx_spirv_op(m, SpvOpBitwiseAnd, e->u32, e->thread, rlx_spirv_u32(e, LANES - 1));
        for (int64_t i = 0; i < own; i++)
            RLX_TRY(add_column(e, x, rlx_spirv_plus(column, i * apart), lane,
                               (rlx_decode_number){0}, x->rows, own, &x->out->part[i]));
        return RLX_OK;
    }
    for (int p = 0; p < x->out->n; p++) {
        const rlx_spirv_place at = rlx_spirv_place_of(e, type, rlx_spirv_some_element(e, type, p));
        RLX_TRY(add_column(e, x, at.at[1], at.at[2], at.at[0], 1, 1, &x->out->part[p]));
    }
    return RLX_OK;
}

rlx_status rlx_spirv_dot(rlx_spirv_emit *e, const rlx_ir_node *n)
{
    const rlx_ir_type *type = &n->out[0]->type;
    const rlx_spirv_tile *acc = rlx_spirv_get(e, n->in[0]);
    rlx_spirv_tile *out;
    int64_t words = 0;
    if (rlx_ir_attr_int(n, RLX_ATTR_TURNED, 0))
        return rlx_spirv_unsupported(e, n, "rows that are turned are for CPUs");
    RLX_TRY(rlx_spirv_define(e, n->out[0], &out));
    for (int p = 0; p < out->n; p++)
        out->part[p] = acc->part[p];
    dot x = {.node = n,
             .rows = type->dim[0],
             .columns = type->dim[1],
             .groups = n->in[4]->type.dim[1],
             .out = out};
    x.size = (int)(n->in[3]->type.dim[1] / x.groups);
    rlx_spirv_operand_init(e, n->in[1], &words, &x.a);
    rlx_spirv_operand_init(e, n->in[2], &words, &x.sa);
    rlx_spirv_operand_init(e, n->in[3], &words, &x.b);
    rlx_spirv_operand_init(e, n->in[4], &words, &x.sb);
    if (words)
        rlx_spirv_barrier(&e->m);
    RLX_TRY(add_all(e, &x));
    if (words)
        rlx_spirv_barrier(&e->m);
    return RLX_OK;
}
