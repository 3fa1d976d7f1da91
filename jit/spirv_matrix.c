#include <string.h>

#include "jit/spirv_emit.h"
#include "lir/lir_team.h"

/* dot_rows by cooperative matrices (SPV_KHR_cooperative_matrix).
 *
 * Which components of a matrix an invocation has, and in which order, is the device's own matter: the specification promises nothing
 * of it, for two matrices of one type neither. So matrices do what does not depend on it, integer sums of a group of K, which
 * are exact, and leave them in the exchange, row by row, where every invocation finds those of its elements; what rounds
 * is done there, in registers that lie as any tile does:
 *
 *   codes of a and b, scales -> exchange
 *   for rows of the tile, as many as there is room for sums of; for groups h
 *     { each subgroup: matrices of a, of b -> sums -> exchange;
 *       each invocation: acc = fma(sa * sb, sum, acc); minima }
 *
 * Where the device multiplies more elements of K than a group has, rows of b have zeros behind each group: what stands there
 * of a is another group's, or nobody's. */

enum {
    PER_SCALE = 32,
    TOGETHER = 4,
    PAD = 16, /* bytes behind a row, so that rows lie in different banks; read as a group's last */
    BYTES = 4
};

/* What lies where in the exchange: words. */
typedef struct matrix {
    const rlx_ir_node *node;
    rlx_vulkan_matrix unit;
    int64_t rows, columns, k;
    int64_t groups, size; /* of K; elements of one */
    int64_t apart;        /* of groups of b: elements */
    int64_t base[7];      /* of operands */
    int64_t stride[7];    /* of their rows */
    int64_t sums, words;  /* where sums lie; all */
    int64_t pass;         /* rows whose sums lie there at a time */
    rlx_lir_split split;
} matrix;

bool rlx_spirv_uses_matrices(const rlx_ir_block *block)
{
    for (const rlx_ir_node *n = block->first; n; n = n->next) {
        if (n->op == RLX_LIR_DOT_ROWS)
            return true;
        for (int i = 0; i < n->nblock; i++)
            if (rlx_spirv_uses_matrices(n->blocks[i]))
                return true;
    }
    return false;
}

/* ---- what lies where ---- */

static int64_t round_up(int64_t x, int64_t by)
{
    return (x + by - 1) / by * by;
}

static bool is_codes(int operand)
{
    return operand == 1 || operand == 3;
}

/* As many rows as fit into their part of team memory; false: the tile is no whole matrices for every subgroup. */
static bool choose_pass(const rlx_spirv_emit *e, matrix *x)
{
    const rlx_lir_fragment u = {x->unit.m, x->unit.n, x->unit.k, e->subgroup, true, false};
    x->pass = rlx_lir_stored_rows(&u, e->team, e->options.team_bytes / 2 / RLX_LIR_STORED_SHARE,
                                  x->rows, x->columns);
    return x->pass &&
           rlx_lir_split_tile(e->team / e->subgroup, u.m, u.n, x->pass, x->columns, &x->split);
}

/* Rows of codes begin at 16 bytes, as matrices are loaded. */
static bool plan(const rlx_spirv_emit *e, const rlx_ir_node *n, matrix *x)
{
    enum { ALIGN = 4 }; /* words */
    const rlx_ir_type *type = &n->out[0]->type;
    *x = (matrix){.node = n,
                  .unit = e->options.matrix,
                  .rows = type->dim[0],
                  .columns = type->dim[1],
                  .k = n->in[1]->type.dim[1],
                  .groups = n->in[4]->type.dim[1]};
    x->size = x->k / x->groups;
    x->apart = x->size < x->unit.k ? x->unit.k : x->size;
    for (int i = 1; i < n->nin; i++) {
        const rlx_ir_type *t = &n->in[i]->type;
        const int64_t row = i == 3 ? x->groups * x->apart : x->k;
        x->base[i] = x->words;
        x->stride[i] = is_codes(i) ? (row + PAD) / BYTES : t->dim[1];
        x->words += is_codes(i) ? t->dim[0] * x->stride[i] : rlx_spirv_tile_words(e, t);
        x->words = round_up(x->words, ALIGN);
    }
    x->sums = x->words;
    if (!x->unit.m || !e->subgroup || !choose_pass(e, x))
        return false;
    x->words += x->pass * x->columns;
    return true;
}

int64_t rlx_spirv_matrix_words(const rlx_spirv_emit *e, const rlx_ir_node *n)
{
    matrix x;
    return plan(e, n, &x) ? x.words : 0; /* dot_rows says what is wrong */
}

/* ---- operands ---- */

static rlx_spirv_id plus(rlx_spirv_emit *e, rlx_spirv_id x, int64_t by)
{
    return by ? rlx_spirv_add(e, x, rlx_spirv_u32(e, by)) : x;
}

/* Four codes of a row, zeros where it is beyond its limit. */
static rlx_spirv_id quad_of(rlx_spirv_emit *e, const rlx_spirv_operand *o, rlx_decode_number row,
                            rlx_decode_number column)
{
    rlx_spirv_module *m = &e->m;
    const rlx_spirv_place at = {.at = {row, column}};
    rlx_spirv_id live = rlx_spirv_by_fours(o) ? rlx_spirv_inside(e, &o->access, &at, 0) : 0;
    if (!live)
        return rlx_spirv_four_at(e, o, row, column);
    rlx_spirv_id before = m->block, in = rlx_spirv_new_id(m), join = rlx_spirv_new_id(m);
    rlx_spirv_select_branch(m, live, in, join, join);
    rlx_spirv_label(m, in);
    rlx_spirv_id word = rlx_spirv_four_at(e, o, row, column);
    in = m->block;
    rlx_spirv_branch(m, join);
    rlx_spirv_label(m, join);
    return rlx_spirv_op(m, SpvOpPhi, e->u32, rlx_spirv_u32(e, 0), before, word, in);
}

/* Word `n` of the rows' codes, one after another. */
static void put_quad(rlx_spirv_emit *e, const matrix *x, int operand, const rlx_spirv_operand *o,
                     rlx_spirv_id n)
{
    rlx_spirv_module *m = &e->m;
    const int64_t per = x->k / TOGETHER, own = x->size / TOGETHER;
    const int64_t behind = operand == 3 ? (x->apart - x->size) / TOGETHER : 0;
    rlx_decode_number row = {.multiple = 1}, column = {.multiple = TOGETHER};
    rlx_spirv_id in = rlx_spirv_op(m, SpvOpUMod, e->u32, n, rlx_spirv_u32(e, per)), to;
    row.v = rlx_spirv_op(m, SpvOpUDiv, e->u32, n, rlx_spirv_u32(e, per));
    column.v = rlx_spirv_mul(e, in, rlx_spirv_u32(e, TOGETHER));
    column.below = (uint32_t)(x->k - TOGETHER + 1);
    to = rlx_spirv_mul(e, (rlx_spirv_id)row.v, rlx_spirv_u32(e, x->stride[operand]));
    to = rlx_spirv_add(e, to, rlx_spirv_u32(e, x->base[operand]));
    to = rlx_spirv_add(e, to, in);
    if (behind) {
        rlx_spirv_id group = rlx_spirv_op(m, SpvOpUDiv, e->u32, in, rlx_spirv_u32(e, own));
        to = rlx_spirv_add(e, to, rlx_spirv_mul(e, group, rlx_spirv_u32(e, behind)));
    }
    rlx_spirv_put_word(e, to, quad_of(e, o, row, column));
    for (int64_t i = own; i < own + behind; i += own)
        rlx_spirv_put_word(e, rlx_spirv_add(e, to, rlx_spirv_u32(e, i)), rlx_spirv_u32(e, 0));
}

/* Those that are not one for every invocation. */
static void put_last(rlx_spirv_emit *e, const matrix *x, int operand, const rlx_spirv_operand *o,
                     int64_t quads)
{
    rlx_spirv_module *m = &e->m;
    rlx_spirv_id n = plus(e, e->thread, quads / e->team * e->team);
    rlx_spirv_id in = rlx_spirv_new_id(m), join = rlx_spirv_new_id(m);
    rlx_spirv_id there = rlx_spirv_op(m, SpvOpULessThan, e->bool_, n, rlx_spirv_u32(e, quads));
    rlx_spirv_select_branch(m, there, in, join, join);
    rlx_spirv_label(m, in);
    put_quad(e, x, operand, o, n);
    rlx_spirv_branch(m, join);
    rlx_spirv_label(m, join);
}

static rlx_status put_codes(rlx_spirv_emit *e, const matrix *x, int operand)
{
    rlx_spirv_module *m = &e->m;
    const rlx_ir_value *v = x->node->in[operand];
    const int64_t quads = v->type.dim[0] * (x->k / TOGETHER);
    int64_t none = 0;
    rlx_spirv_operand o;
    if (!rlx_spirv_defers(v->def))
        return rlx_spirv_unsupported(e, x->node, "codes that are not loaded for it alone");
    rlx_spirv_operand_init(e, v, &none, &o);
    if (quads >= e->team) {
        rlx_spirv_loop l;
        rlx_spirv_loop_begin(e, rlx_spirv_const_i64(m, 0),
                             rlx_spirv_const_i64(m, quads / e->team * e->team), &l);
        rlx_spirv_loop_enter(e, &l);
        put_quad(e, x, operand, &o,
                 rlx_spirv_add(e, e->thread, rlx_spirv_op(m, SpvOpUConvert, e->u32, l.index)));
        rlx_spirv_loop_end(e, &l, rlx_spirv_const_i64(m, e->team));
    }
    if (quads % e->team)
        put_last(e, x, operand, &o, quads);
    return RLX_OK;
}

static rlx_status put_scales(rlx_spirv_emit *e, const matrix *x, int operand)
{
    const rlx_ir_value *v = x->node->in[operand];
    const int n = rlx_spirv_parts(e, &v->type);
    int64_t base = x->base[operand];
    rlx_spirv_id *part = RLX_NEW_ARRAY(e->arena, rlx_spirv_id, n);
    rlx_spirv_operand o;
    if (!part)
        return RLX_OOM();
    rlx_spirv_operand_init(e, v, &base, &o);
    for (int p = 0; p < n && o.deferred; p++) {
        const rlx_spirv_place at =
            rlx_spirv_place_of(e, &v->type, rlx_spirv_some_element(e, &v->type, p));
        part[p] = rlx_spirv_load_place(e, &o.access, &at, 0);
    }
    if (o.deferred)
        rlx_spirv_put_parts(e, v->type.format, n, part, o.base);
    return RLX_OK;
}

/* ---- integer sums: by subgroups ---- */

static rlx_spirv_id load_matrix(rlx_spirv_emit *e, rlx_spirv_id type, rlx_spirv_id at, int layout,
                                int64_t stride)
{
    return rlx_spirv_op(&e->m, (SpvOp)RLX_SPIRV_MATRIX_LOAD, type, rlx_spirv_exchange_at(e, at),
                        rlx_spirv_u32(e, layout), rlx_spirv_u32(e, stride),
                        SpvMemoryAccessNonPrivatePointerMask);
}

/* Of the subgroup's rows, or columns, counted from the tile's: the word at which its first matrix of group h begins. */
static rlx_spirv_id side_at(rlx_spirv_emit *e, const matrix *x, int operand, rlx_spirv_id index,
                            int64_t first, rlx_spirv_id h)
{
    const int64_t each = operand == 1 ? x->split.m * x->unit.m : x->split.n * x->unit.n;
    const int64_t group = (operand == 1 ? x->size : x->apart) / TOGETHER;
    rlx_spirv_id at = rlx_spirv_mul(e, index, rlx_spirv_u32(e, each * x->stride[operand]));
    at = rlx_spirv_add(e, at, rlx_spirv_mul(e, h, rlx_spirv_u32(e, group)));
    return plus(e, at, x->base[operand] + first * x->stride[operand]);
}

/* sum[m * n] += one step of K, whose words are `step` behind the group's first. */
static void add_step(rlx_spirv_emit *e, const matrix *x, rlx_spirv_id a_at, rlx_spirv_id b_at,
                     int64_t step, rlx_spirv_id *b, rlx_spirv_id *sum)
{
    rlx_spirv_module *m = &e->m;
    const rlx_vulkan_matrix *u = &x->unit;
    rlx_spirv_id a_type = rlx_spirv_type_matrix(m, RLX_SPIRV_MATRIX_A, u->m, u->k);
    rlx_spirv_id b_type = rlx_spirv_type_matrix(m, RLX_SPIRV_MATRIX_B, u->k, u->n);
    rlx_spirv_id type = rlx_spirv_type_matrix(m, RLX_SPIRV_MATRIX_SUMS, u->m, u->n);
    for (int64_t j = 0; j < x->split.n; j++)
        b[j] = load_matrix(e, b_type, plus(e, b_at, step + j * u->n * x->stride[3]),
                           RLX_SPIRV_COLUMNS, x->stride[3]);
    for (int64_t i = 0; i < x->split.m; i++) {
        rlx_spirv_id a = load_matrix(e, a_type, plus(e, a_at, step + i * u->m * x->stride[1]),
                                     RLX_SPIRV_ROWS, x->stride[1]);
        for (int64_t j = 0; j < x->split.n; j++) {
            rlx_spirv_id *s = &sum[i * x->split.n + j];
            *s = rlx_spirv_op(m, (SpvOp)RLX_SPIRV_MATRIX_MULADD, type, a, b[j], *s,
                              RLX_SPIRV_ALL_SIGNED);
        }
    }
}

/* Of rows first, first + 1, .. and group h. */
static rlx_status make_sums(rlx_spirv_emit *e, const matrix *x, int64_t first, rlx_spirv_id h)
{
    rlx_spirv_module *m = &e->m;
    const rlx_vulkan_matrix *u = &x->unit;
    const int64_t n = x->split.m * x->split.n;
    rlx_spirv_id *sum = RLX_NEW_ARRAY(e->arena, rlx_spirv_id, n);
    rlx_spirv_id *b = RLX_NEW_ARRAY(e->arena, rlx_spirv_id, x->split.n);
    if (!sum || !b)
        return RLX_OOM();
    rlx_spirv_id across = rlx_spirv_u32(e, x->split.across), zero = rlx_spirv_u32(e, 0);
    rlx_spirv_id down = rlx_spirv_op(m, SpvOpUDiv, e->u32, e->own, across);
    rlx_spirv_id side = rlx_spirv_op(m, SpvOpUMod, e->u32, e->own, across);
    rlx_spirv_id type = rlx_spirv_type_matrix(m, RLX_SPIRV_MATRIX_SUMS, u->m, u->n);
    for (int64_t i = 0; i < n; i++)
        sum[i] = rlx_spirv_intern(m, SpvOpConstantComposite, type, 1, &zero);
    rlx_spirv_id a_at = side_at(e, x, 1, down, first, h), b_at = side_at(e, x, 3, side, 0, h);
    for (int64_t k = 0; k < x->size; k += u->k)
        add_step(e, x, a_at, b_at, k / TOGETHER, b, sum);
    rlx_spirv_id to = rlx_spirv_mul(e, down, rlx_spirv_u32(e, x->split.m * u->m * x->columns));
    to = rlx_spirv_add(e, to, rlx_spirv_mul(e, side, rlx_spirv_u32(e, x->split.n * u->n)));
    to = plus(e, to, x->sums);
    for (int64_t i = 0; i < n; i++) {
        const int64_t at = i / x->split.n * u->m * x->columns + i % x->split.n * u->n;
        rlx_spirv_inst(m, RLX_SPIRV_BODY, (SpvOp)RLX_SPIRV_MATRIX_STORE,
                       rlx_spirv_exchange_at(e, plus(e, to, at)), sum[i],
                       rlx_spirv_u32(e, RLX_SPIRV_ROWS), rlx_spirv_u32(e, x->columns),
                       SpvMemoryAccessNonPrivatePointerMask);
    }
    return RLX_OK;
}

/* ---- what rounds: by invocations ---- */

/* Element [row, column] of an operand's scales, minima or sums. */
static rlx_spirv_id scale_at(rlx_spirv_emit *e, const matrix *x, int operand, rlx_decode_number row,
                             rlx_spirv_id column)
{
    rlx_spirv_id at = rlx_spirv_number(e, row);
    at = rlx_spirv_mul(e, at, rlx_spirv_u32(e, x->stride[operand]));
    return rlx_spirv_get_element(e, x->base[operand], RLX_F32, rlx_spirv_add(e, at, column));
}

/* Parts of a row are side by side; or a part has several rows. */
typedef struct own {
    int64_t across;                /* parts of a row */
    rlx_spirv_id *scale, *least;   /* of the invocation's columns */
    rlx_spirv_id row_scale, minus; /* of the row: -xs */
} own;

static rlx_decode_number row_of(rlx_spirv_emit *e, const matrix *x, const own *w, int64_t part)
{
    rlx_decode_number row = {.plus = (uint32_t)(part / w->across)};
    if (x->columns < e->team) {
        row.v = rlx_spirv_op(&e->m, SpvOpUDiv, e->u32, e->thread, rlx_spirv_u32(e, x->columns));
        row.plus *= (uint32_t)(e->team / x->columns);
    }
    return row;
}

static rlx_decode_number column_of(rlx_spirv_emit *e, const matrix *x, int64_t part)
{
    rlx_decode_number column = {.v = e->thread, .plus = (uint32_t)(part * e->team)};
    if (x->columns < e->team)
        column.v = rlx_spirv_op(&e->m, SpvOpUMod, e->u32, e->thread, rlx_spirv_u32(e, x->columns));
    return column;
}

static rlx_status add_sum(rlx_spirv_emit *e, const matrix *x, const own *w, int64_t column,
                          rlx_spirv_id sum, rlx_spirv_id *acc)
{
    const rlx_spirv_id scales[2] = {w->row_scale, w->scale[column]};
    rlx_spirv_id scale;
    RLX_TRY(rlx_spirv_map(e, x->node, RLX_FN_MUL, RLX_F32, scales, &scale));
    sum = rlx_spirv_op(&e->m, SpvOpConvertSToF, e->f32, sum);
    *acc = rlx_spirv_fma(e, e->f32, scale, sum, *acc);
    if (w->minus)
        *acc = rlx_spirv_fma(e, e->f32, w->minus, w->least[column], *acc);
    return RLX_OK;
}

/* The pass's parts of the tile, from `acc` on, of which the first is number `from`. */
static rlx_status add_sums(rlx_spirv_emit *e, const matrix *x, int64_t from, rlx_spirv_id h, own *w,
                           rlx_spirv_id *acc)
{
    const bool minima = x->node->nin == 7;
    const int64_t parts = x->pass * x->columns / e->team;
    rlx_spirv_id scale = h; /* of 32 elements */
    if (x->size < PER_SCALE)
        scale = rlx_spirv_op(&e->m, SpvOpShiftRightLogical, e->u32, h, rlx_spirv_u32(e, 1));
    for (int64_t j = 0; j < w->across; j++) {
        w->scale[j] = scale_at(e, x, 4, column_of(e, x, j), h);
        w->least[j] = minima ? scale_at(e, x, 6, column_of(e, x, j), h) : 0;
    }
    for (int64_t p = 0; p < parts; p++) {
        if (p % w->across == 0) {
            const rlx_decode_number row = row_of(e, x, w, from + p);
            w->row_scale = scale_at(e, x, 2, row, scale);
            w->minus =
                minima ? rlx_spirv_op(&e->m, SpvOpFNegate, e->f32, scale_at(e, x, 5, row, h)) : 0;
        }
        rlx_spirv_id sum = rlx_spirv_get_element(e, x->sums + p * e->team, RLX_I32, e->thread);
        RLX_TRY(add_sum(e, x, w, p % w->across, sum, &acc[p]));
    }
    return RLX_OK;
}

/* Group by group of the pass's rows, whose parts `acc` are. */
static rlx_status add_groups(rlx_spirv_emit *e, const matrix *x, int64_t pass, own *w,
                             rlx_spirv_id *acc)
{
    rlx_spirv_module *m = &e->m;
    const int parts = (int)(x->pass * x->columns / e->team);
    rlx_spirv_id *sum = RLX_NEW_ARRAY(e->arena, rlx_spirv_id, parts);
    rlx_spirv_loop l;
    if (!sum)
        return RLX_OOM();
    rlx_spirv_loop_begin(e, rlx_spirv_const_i64(m, 0), rlx_spirv_const_i64(m, x->groups), &l);
    const size_t phis = rlx_spirv_carry(e, &l, e->f32, parts, acc, sum);
    memcpy(acc, sum, sizeof *acc * (size_t)parts);
    rlx_spirv_loop_enter(e, &l);
    rlx_spirv_id h = rlx_spirv_op(m, SpvOpUConvert, e->u32, l.index);
    RLX_TRY(make_sums(e, x, pass * x->pass, h));
    rlx_spirv_barrier(m);
    RLX_TRY(add_sums(e, x, pass * parts, h, w, sum));
    rlx_spirv_barrier(m);
    rlx_spirv_carry_on(e, phis, parts, sum);
    rlx_spirv_loop_end(e, &l, rlx_spirv_const_i64(m, 1));
    return RLX_OK;
}

static rlx_status add_passes(rlx_spirv_emit *e, const matrix *x, rlx_spirv_tile *out)
{
    const int64_t parts = x->pass * x->columns / e->team;
    own w = {.across = x->columns > e->team ? x->columns / e->team : 1};
    w.scale = RLX_NEW_ARRAY(e->arena, rlx_spirv_id, w.across);
    w.least = RLX_NEW_ARRAY(e->arena, rlx_spirv_id, w.across);
    if (!w.scale || !w.least)
        return RLX_OOM();
    for (int64_t i = 0; i < x->rows / x->pass; i++)
        RLX_TRY(add_groups(e, x, i, &w, out->part + i * parts));
    return RLX_OK;
}

rlx_status rlx_spirv_dot_rows(rlx_spirv_emit *e, const rlx_ir_node *n)
{
    const rlx_spirv_tile *acc = rlx_spirv_get(e, n->in[0]);
    rlx_spirv_tile *out;
    matrix x;
    if (!e->options.matrix.m)
        return rlx_spirv_unsupported(e, n, "there are no matrices of bytes");
    if (!plan(e, n, &x))
        return rlx_spirv_unsupported(e, n, "%lldx%lld are no matrices of %dx%d for %d subgroups",
                                     (long long)x.rows, (long long)x.columns, x.unit.m, x.unit.n,
                                     e->subgroup ? e->team / e->subgroup : 0);
    RLX_TRY(rlx_spirv_define(e, n->out[0], &out));
    for (int p = 0; p < out->n; p++)
        out->part[p] = acc->part[p];
    for (int i = 1; i < n->nin; i++)
        RLX_TRY(is_codes(i) ? put_codes(e, &x, i) : put_scales(e, &x, i));
    rlx_spirv_barrier(&e->m);
    return add_passes(e, &x, out);
}
