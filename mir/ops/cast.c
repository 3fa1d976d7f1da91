/* mir/ops/cast.c: another format
 *   in   x, any shape                              out  the same shape in the written format
 *   C1   shapes are equal.
 *   C2   nothing becomes bool, and no block. To a float: the nearest, ties to even. An integer or
 *        bool to an integer wraps; a float to one is truncated.
 *   C3   from a block format to f32 alone: what rlx_format_decode gives.
 *   Evaluating: a float fits the integer that it becomes. */
#include <math.h>

#include "mir/ops/ops.h"

rlx_status rlx_mir_cast_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    const rlx_ir_type *x = &n->in[0]->type, *y = &n->out[0]->type;
    RLX_IR_REQUIRE(m, n, "C1", rlx_ir_shape_equal(x, y), "changes the shape");
    const char *from = rlx_format_get(x->format)->name, *to = rlx_format_get(y->format)->name;
    bool blocks = rlx_format_get(x->format)->kind == RLX_KIND_BLOCK;
    RLX_IR_REQUIRE(m, n, "C3", !blocks || y->format == RLX_F32, "from %s to %s", from, to);
    bool ok = rlx_format_is_float(y->format) || rlx_format_is_int(y->format);
    RLX_IR_REQUIRE(m, n, "C2", rlx_format_get(y->format)->kind != RLX_KIND_BLOCK,
                   "from %s to %s: casts do not make blocks", from, to);
    RLX_IR_REQUIRE(m, n, "C2", ok, "from %s to %s", from, to);
    return RLX_OK;
}

RLX_MIR_WIDE static void bf16_to_f32(float *y, const uint16_t *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        union {
            uint32_t u;
            float f;
        } bits = {.u = (uint32_t)x[i] << 16};
        y[i] = bits.f;
    }
}

/* The whole number in v.f, if format `f` has it. */
static bool to_int(rlx_format f, rlx_scalar *v)
{
    const rlx_format_info *info = rlx_format_get(f);
    bool is_unsigned = info->kind == RLX_KIND_UINT;
    double whole = trunc(v->f), span = ldexp(1, 8 * info->block_bytes - !is_unsigned);
    if (!(whole < span && whole >= (is_unsigned ? 0 : -span)))
        return false;
    v->i = f == RLX_U64 ? (int64_t)(uint64_t)whole : (int64_t)whole;
    return true;
}

/* Rounded once: to float at once, not by way of double. */
static double to_float(rlx_format from, rlx_format to, int64_t i)
{
    if (from == RLX_U64)
        return to == RLX_F32 ? (double)(float)(uint64_t)i : (double)(uint64_t)i;
    return to == RLX_F32 ? (double)(float)i : (double)i;
}

rlx_status rlx_mir_cast_eval(rlx_mir_frame *f, const rlx_ir_node *n)
{
    const rlx_eval_tensor *x = rlx_mir_tensor(n->in[0]);
    if (x->format == n->out[0]->type.format)
        return rlx_mir_frame_alias(f, n->out[0], x);
    rlx_eval_tensor *y;
    RLX_TRY(rlx_mir_frame_make(f, n->out[0], &y));
    int64_t count = rlx_mir_elems(y);
    if (x->format == RLX_BF16 && y->format == RLX_F32) {
        bf16_to_f32(y->data, x->data, count);
        return RLX_OK;
    }
    if (rlx_format_get(x->format)->kind == RLX_KIND_BLOCK) {
        rlx_format_decode(x->format, x->data, 0, count, y->data);
        return RLX_OK;
    }
    bool from_floats = rlx_format_is_float(x->format), to_floats = rlx_format_is_float(y->format);
    for (int64_t i = 0; i < count; i++) {
        rlx_scalar v = rlx_mir_load(x->format, x->data, i);
        if (to_floats && !from_floats)
            v.f = to_float(x->format, y->format, v.i);
        if (from_floats && !to_floats && !to_int(y->format, &v))
            return RLX_FAIL(RLX_INVALID_ARGUMENT, "cast: %g does not fit %s", v.f,
                            rlx_format_get(y->format)->name);
        rlx_mir_store(y->format, y->data, i, v);
    }
    return RLX_OK;
}
