/* mir/passes/choose_precision.c: what the products of a fast profile may round
 *
 *   %w = cast %weight : f32[N,K]                  %c, %s, %t, %u = quantize %x
 *   %y = contract %x, %w {lanes=16}      ->       %y = contract_q %c, %s, %t, %weight {lanes=..}
 *
 * for weights of a block format; rows that several contractions share are quantized once. Weights
 * of float formats keep their products and, in prefill, have them added up one after another
 * (lanes=1), as columns side by side want it; but where the target multiplies bf16, rows for
 * weights of bf16 are rounded to it:
 *
 *   %y = contract %x, %w {lanes=16}      ->       %b = cast %x : bf16[..]
 *                                                 %y = contract %b, %weight {lanes=1, width=2}
 *
 * A GPU's matrix unit multiplies bf16 and f16; rows for weights of f16 are held inside of its range first. In prefill
 * attention over pages goes by it, too, but over pages of f32:
 *
 *   %y = attention .. {scale=..}         ->       %y = attention .. {scale=.., width=16}
 *
 * Rows too short for a phase's terms stay exact, as do no rows at all, and on GPUs rows that choose
 * their matrix. GPUs take products of codes; in prefill by a matrix unit where they have one, as
 * CPUs add them up, else in both phases as decode does: a team's sums lie side by side in any case.
 * Products of codes, bf16 and f16 are of rows in one axis, or in axes that a CPU's lowering takes as
 * one. `exact` changes nothing. The phase and the target decide, and
 * never a shape that a bucket may change. */
#include "lir/schedule/schedule.h"
#include "mir/mir.h"

enum { DECODE_LANES = 8, DECODE_STEP = 64, MOST_AXES = 4 };

typedef struct choice {
    rlx_mir_precision precision;
    const rlx_lir_target *target; /* NULL: of no particular kind */
} choice;

/* The weight that a contraction decodes: an argument behind casts; NULL: none. */
static rlx_ir_value *weight_of(const rlx_ir_node *contract)
{
    rlx_ir_value *w = contract->in[1];
    while (w->def && w->def->op == RLX_MIR_CAST)
        w = w->def->in[0];
    return w->def ? NULL : w;
}

/* Whether the second operand is a view of one of a float format: part of a convolution's kernel. */
static bool is_weight_view(const rlx_ir_module *m, const rlx_ir_value *w)
{
    while (w->def && (w->def->op == RLX_MIR_CAST || (rlx_ir_info(m, w->def)->traits & RLX_VIEW)))
        w = w->def->in[0];
    return !w->def && rlx_format_is_float(w->type.format);
}

/* The quantize of x that stands before `n`, made if there is none. */
static rlx_ir_node *quantize_before(rlx_ir_builder *b, rlx_ir_node *n, rlx_ir_value *x)
{
    for (rlx_ir_node *p = n->prev; p; p = p->prev)
        if (p->op == RLX_MIR_QUANTIZE && p->in[0] == x)
            return p;
    return rlx_mir_build_quantize(b, x);
}

/* What a map of `fn` holds at `end`, a number on its left; NULL if it is no such map. */
static const rlx_ir_value *held_at(const rlx_ir_value *x, rlx_map_fn fn, double end)
{
    const rlx_ir_node *n = x ? x->def : NULL;
    const bool holds = n && n->op == RLX_MIR_MAP && n->nin == 2 &&
                       rlx_ir_attr_int(n, RLX_ATTR_FN, -1) == (int64_t)fn && n->in[0]->def &&
                       n->in[0]->def->op == RLX_MIR_CONST &&
                       rlx_ir_attr_float(n->in[0]->def, RLX_ATTR_VALUE, 0) == end;
    return holds ? n->in[1] : NULL;
}

static const double f16_most = 65504;

/* Of which a value is made before it is cast to f, bf16 or f16; NULL: of none in its range. */
static const rlx_ir_value *rounded_from(const rlx_ir_value *cast, rlx_format f)
{
    return f == RLX_F16 ? held_at(held_at(cast, RLX_FN_MAX, -f16_most), RLX_FN_MIN, f16_most)
                        : cast;
}

/* x as f, bf16 or f16, before `n`. Beyond f16's range it becomes the last number in it: an infinity
 * would make NaNs of sums. NaNs, on the right of min and max, stay. */
static rlx_ir_value *rounded_before(rlx_ir_builder *b, rlx_ir_node *n, rlx_ir_value *x,
                                    rlx_format f)
{
    for (rlx_ir_node *p = n->prev; p; p = p->prev)
        if (p->op == RLX_MIR_CAST && p->out[0]->type.format == f && rounded_from(p->in[0], f) == x)
            return p->out[0];
    if (f == RLX_F16) {
        x = rlx_mir_build_map2(b, RLX_FN_MIN, rlx_mir_build_const(b, RLX_F32, f16_most), x);
        x = rlx_mir_build_map2(b, RLX_FN_MAX, rlx_mir_build_const(b, RLX_F32, -f16_most), x);
    }
    return rlx_mir_build_cast(b, x, f);
}

/* `y` in place of what `n` gives; `b` built it before n. */
static rlx_status replace(rlx_pass_cx *cx, rlx_ir_builder *b, rlx_ir_node *n, rlx_ir_value *y)
{
    RLX_TRY(rlx_ir_builder_finish(b));
    y->name = n->out[0]->name;
    rlx_ir_replace_uses(n->parent, n->out[0], y);
    rlx_ir_node_remove(n);
    cx->changed = true;
    return RLX_OK;
}

static rlx_ir_builder builder_before(const rlx_pass_cx *cx, rlx_ir_node *n)
{
    rlx_ir_builder b;
    rlx_ir_builder_init(&b, cx->module);
    b.block = n->parent;
    b.before = n;
    b.place = n->place;
    return b;
}

static rlx_status quantize_contract(rlx_pass_cx *cx, rlx_ir_node *n, rlx_ir_value *w, int64_t lanes)
{
    rlx_ir_builder b = builder_before(cx, n);
    const rlx_ir_node *q = quantize_before(&b, n, n->in[0]);
    return replace(cx, &b, n, rlx_mir_build_contract_q(&b, q, w, rlx_mir_contract_ids(n), lanes));
}

static rlx_status round_contract(rlx_pass_cx *cx, rlx_ir_node *n, rlx_ir_value *w, int64_t width)
{
    rlx_ir_builder b = builder_before(cx, n);
    rlx_ir_value *x = rounded_before(&b, n, n->in[0], w->type.format);
    return replace(cx, &b, n,
                   rlx_mir_build_contract_halves(&b, x, w, rlx_mir_contract_ids(n), width));
}

static rlx_status add_in_order(rlx_pass_cx *cx, rlx_ir_node *n)
{
    cx->changed = true;
    return rlx_ir_attr_set(cx->module, n, rlx_attr_int(RLX_ATTR_LANES, 1));
}

/* Whether rows [..,K] are in one axis, or a CPU takes them as one (mir/lower/lower_merge.c). */
static bool has_one_axis(const rlx_pass_cx *cx, const rlx_ir_node *n, const choice *c)
{
    const rlx_ir_type *rows = &n->in[0]->type;
    rlx_dim all = 1;
    if (rows->rank == 2)
        return true;
    if (rlx_mir_contract_ids(n) || !c->target || c->target->unit != RLX_UNIT_CPU ||
        rows->rank < 2 || rows->rank > MOST_AXES)
        return false;
    for (int i = 0; i < rows->rank - 1 && all != RLX_DIM_INVALID; i++)
        all = rlx_dim_make(cx->module->dims, RLX_DIM_MUL, all, rows->dim[i]);
    return all != RLX_DIM_INVALID;
}

static bool is_gpu(const choice *c)
{
    return c->target && c->target->unit == RLX_UNIT_GPU;
}

/* How many products of weights of format f the target's unit adds up at once; 0: it has none. */
static int64_t width_of(const choice *c, rlx_format f)
{
    if (!c->target || (f != RLX_BF16 && f != RLX_F16))
        return 0;
    if (is_gpu(c))
        return c->target->float_matrix.k;
    return f == RLX_BF16 ? c->target->bf16_width : 0;
}

static rlx_status choose(rlx_pass_cx *cx, rlx_ir_node *n, const choice *c)
{
    rlx_ir_value *w = weight_of(n);
    if (!w || rlx_mir_is_empty(&w->type) || (w->type.rank != 2 && !rlx_mir_contract_ids(n)))
        return c->precision == RLX_MIR_PREFILL && !is_gpu(c) &&
                       !rlx_mir_is_empty(&n->in[1]->type) && is_weight_view(cx->module, n->in[1])
                   ? add_in_order(cx, n)
                   : RLX_OK;
    const bool rows = has_one_axis(cx, n, c),
               blocks = rlx_format_get(w->type.format)->kind == RLX_KIND_BLOCK;
    const bool chosen = is_gpu(c) && rlx_mir_contract_ids(n);
    const int64_t width = rows && !chosen ? width_of(c, w->type.format) : 0;
    if (blocks && (!rows || chosen))
        return RLX_OK;
    const bool by_unit = blocks ? c->target && c->target->byte_matrix.m : width > 0;
    bool decode = c->precision == RLX_MIR_DECODE || (is_gpu(c) && !by_unit) ||
                  rlx_dim_is_symbol(cx->module->dims, n->in[0]->type.dim[0], "ROWS");
    int64_t k = w->type.dim[w->type.rank - 1];
    if (blocks)
        return k % (decode ? DECODE_STEP : RLX_MIR_QUANT) == 0
                   ? quantize_contract(cx, n, w, decode ? DECODE_LANES : 1)
                   : RLX_OK;
    if (decode)
        return RLX_OK;
    return width ? round_contract(cx, n, w, width) : add_in_order(cx, n);
}

/* Attention of a prompt over pages of f16, bf16 or codes goes by the matrix unit that multiplies those. */
static rlx_status choose_attention(rlx_pass_cx *cx, rlx_ir_node *n, const choice *c)
{
    const rlx_ir_type *q = &n->in[0]->type, *keys = &n->in[1]->type, *values = &n->in[2]->type;
    rlx_lir_attention_schedule s;
    if (c->precision != RLX_MIR_PREFILL || !is_gpu(c) || keys->format == RLX_F32 ||
        values->format == RLX_F32 || !rlx_dim_is_const(q->dim[2]))
        return RLX_OK;
    const rlx_lir_attention_shape shape = {.heads = q->dim[1] / keys->dim[1],
                                           .width = q->dim[2],
                                           .positions = keys->dim[3],
                                           .tokens = 1,
                                           .block = (int)rlx_mir_attention_block(keys->dim[3]),
                                           .key_codes = keys->format == RLX_I8,
                                           .value_codes = values->format == RLX_I8};
    if (!rlx_lir_schedule_attention_unit(c->target, &shape, &s))
        return RLX_OK;
    cx->changed = true;
    return rlx_ir_attr_set(cx->module, n, rlx_attr_int(RLX_ATTR_WIDTH, c->target->column_matrix.k));
}

static rlx_status run(rlx_pass_cx *cx)
{
    const choice *c = cx->options;
    if (c->precision == RLX_MIR_EXACT)
        return RLX_OK;
    for (rlx_ir_func *f = cx->module->first; f; f = f->next)
        for (rlx_ir_node *n = f->body->first, *next; n; n = next) {
            next = n->next;
            if (n->op == RLX_MIR_CONTRACT)
                RLX_TRY(choose(cx, n, c));
            if (n->op == RLX_MIR_ATTENTION)
                RLX_TRY(choose_attention(cx, n, c));
        }
    return RLX_OK;
}

rlx_status rlx_mir_choose_precision(rlx_ir_module *m, rlx_mir_precision precision,
                                    const rlx_lir_target *target)
{
    const rlx_pass pass = {"choose_precision", run};
    const choice c = {precision, target};
    return rlx_ir_run_passes(m, &pass, 1, &(rlx_pass_options){.options = &c});
}
