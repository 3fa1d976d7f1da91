/* mir/ops/map.c: an elementwise scalar function
 *   in   1 to 3 tensors of one shape, or rank 0    out  that shape
 *   C1   as many operands as the function takes.
 *   C2   operands have one format; the first of select is bool.
 *   C3   operands have one shape, or rank 0.
 *   C4   the function is defined for the format (rlx_map_fn_takes): fma on f32 and f64, round and
 *        floor on floats.
 *   Result: bool for comparisons, else the operands' format. */
#include <math.h>

#include "mir/ops/ops.h"
#include "runtime/base/ir/exp_poly.h"

static rlx_map_fn fn_of(const rlx_ir_node *n)
{
    return (rlx_map_fn)rlx_ir_attr_int(n, RLX_ATTR_FN, RLX_FN_COUNT);
}

static bool defined_for(rlx_map_fn fn, rlx_format f)
{
    if (fn == RLX_FN_FMA)
        return f == RLX_F32 || f == RLX_F64; /* of 16 bits nothing rounds once */
    if (fn == RLX_FN_ROUND || fn == RLX_FN_FLOOR)
        return rlx_format_is_float(f); /* of integers they are other functions, or none */
    return rlx_map_fn_takes(fn, f);
}

rlx_status rlx_mir_map_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results)
{
    rlx_map_fn fn = fn_of(n);
    RLX_IR_REQUIRE(m, n, "C1", fn < RLX_FN_COUNT, "has no fn");
    const rlx_map_fn_info *info = rlx_map_fn_get(fn);
    RLX_IR_REQUIRE(m, n, "C1", n->nin == info->arity, "%s takes %d operands, not %d", info->name,
                   info->arity, n->nin);
    rlx_ir_type y = n->in[n->nin - 1]->type;
    for (int i = 0; i < n->nin; i++)
        if (n->in[i]->type.rank > 0)
            y = n->in[i]->type;
    y.format = info->to_bool ? RLX_BOOL : n->in[n->nin - 1]->type.format;
    results[0] = y;
    return RLX_OK;
}

rlx_status rlx_mir_map_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    rlx_map_fn fn = fn_of(n);
    const rlx_map_fn_info *info = rlx_map_fn_get(fn);
    rlx_format format = n->in[n->nin - 1]->type.format;
    for (int i = 0; i < n->nin; i++) {
        const rlx_ir_type *t = &n->in[i]->type;
        rlx_format wants = fn == RLX_FN_SELECT && i == 0 ? RLX_BOOL : format;
        RLX_IR_REQUIRE(m, n, "C2", t->format == wants, "operand %d of %s is %s, not %s", i,
                       info->name, rlx_format_get(t->format)->name, rlx_format_get(wants)->name);
        RLX_IR_REQUIRE(m, n, "C3", t->rank == 0 || rlx_ir_shape_equal(t, &n->out[0]->type),
                       "operand %d of %s has another shape", i, info->name);
    }
    RLX_IR_REQUIRE(m, n, "C4", defined_for(fn, format), "%s is not defined for %s", info->name,
                   rlx_format_get(format)->name);
    return RLX_OK;
}

/* The f32 forms of rlx_map_fn_eval, as loops; a step of 0 repeats a scalar. False: no such form. */
#define LOOP(expr)                          \
    for (int64_t i = 0; i < n; i++) {       \
        float x = a[i * sa], z = b[i * sb]; \
        (void)z;                            \
        y[i] = (expr);                      \
    }                                       \
    return true

RLX_MIR_WIDE static bool map_f32(rlx_map_fn fn, float *y, const float *a, int64_t sa,
                                 const float *b, int64_t sb, int64_t n)
{
    switch (fn) {
    case RLX_FN_ADD:
        LOOP(x + z);
    case RLX_FN_SUB:
        LOOP(x - z);
    case RLX_FN_MUL:
        LOOP(x * z);
    case RLX_FN_DIV:
        LOOP(x / z);
    case RLX_FN_MIN:
        LOOP(x < z ? x : z);
    case RLX_FN_MAX:
        LOOP(x > z ? x : z);
    case RLX_FN_NEG:
        LOOP(-x);
    case RLX_FN_ABS:
        LOOP(fabsf(x));
    case RLX_FN_SQRT:
        LOOP(sqrtf(x));
    case RLX_FN_RSQRT:
        LOOP(1.0f / sqrtf(x));
    case RLX_FN_EXP:
        LOOP(rlx_exp_f32(x));
    default:
        return false;
    }
}

rlx_status rlx_mir_map_eval(rlx_mir_frame *f, const rlx_ir_node *n)
{
    rlx_eval_tensor *y;
    RLX_TRY(rlx_mir_frame_make(f, n->out[0], &y));
    rlx_map_fn fn = fn_of(n);
    const rlx_eval_tensor *in[3];
    int64_t step[3];
    bool all_f32 = true;
    for (int i = 0; i < n->nin; i++) {
        in[i] = rlx_mir_tensor(n->in[i]);
        step[i] = in[i]->rank > 0;
        all_f32 = all_f32 && in[i]->format == RLX_F32;
    }
    int64_t count = rlx_mir_elems(y);
    int second = n->nin > 1;
    if (all_f32 && y->format == RLX_F32 && n->nin <= 2 &&
        map_f32(fn, y->data, in[0]->data, step[0], in[second]->data, step[second], count))
        return RLX_OK;
    rlx_format format = in[n->nin - 1]->format;
    for (int64_t e = 0; e < count; e++) {
        rlx_scalar x[3];
        for (int i = 0; i < n->nin; i++)
            x[i] = rlx_mir_load(in[i]->format, in[i]->data, e * step[i]);
        rlx_mir_store(y->format, y->data, e, rlx_map_fn_eval(fn, format, x));
    }
    return RLX_OK;
}
