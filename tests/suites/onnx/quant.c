/* tests/suites/onnx/quant.c: quantized operators. */
#include <math.h>

#include "tests/suites/onnx/old.h"

/* A scale or zero point against x: a scalar, one per element of an axis, or one per block of it. */
static val spread(onnx *x, val a, val s)
{
    if (!a || !s)
        return NULL;
    int axis = ox_axis(a, ox_int(x, "axis", 1));
    int64_t block = ox_int(x, "block_size", 0), dims[RLX_MAX_RANK];
    if (ox_elems(s) == 1 && s->type.rank <= 1)
        return rlx_mir_reshape(IR, s, 0, NULL);
    if (block == 0) {
        for (int i = 0; i < a->type.rank; i++)
            dims[i] = i == axis ? a->type.dim[i] : 1;
        return rlx_mir_reshape(IR, s, a->type.rank, dims);
    }
    int rank = s->type.rank;
    for (int i = 0; i <= rank; i++)
        dims[i] = i == axis + 1 ? block : s->type.dim[i > axis ? i - 1 : i];
    s = rlx_mir_flatten(IR, rlx_mir_expand(IR, rlx_mir_insert(IR, s, axis + 1), rank + 1, dims),
                        axis, axis + 2);
    return rlx_mir_slice(IR, s, axis, 0, a->type.dim[axis], 1);
}

static void do_quantize(onnx *x)
{
    val a = ox_in(x, 0), s = spread(x, a, ox_in(x, 1));
    rlx_format f = RLX_U8;
    if (ox_has(x, 2))
        f = x->in[2].format;
    else if (ox_int(x, "output_dtype", 0))
        f = ox_dtype(x, ox_int(x, "output_dtype", 0));
    if (!rlx_format_is_int(f)) {
        ox_refuse(x, "quantizes to no integers");
        return;
    }
    val y = rlx_mir_map1(IR, RLX_FN_ROUND, DIV(a, s));
    if (ox_has(x, 2))
        y = ADD(y, rlx_mir_cast(IR, spread(x, a, ox_in(x, 2)), RLX_F32));
    ox_out(x, 0, rlx_mir_saturate(IR, y, f));
}

static void do_dequantize(onnx *x)
{
    val a = ox_in(x, 0), s = spread(x, a, ox_in(x, 1));
    val y = rlx_mir_cast(IR, a, RLX_F32);
    if (ox_has(x, 2))
        y = SUB(y, rlx_mir_cast(IR, spread(x, a, ox_in(x, 2)), RLX_F32));
    ox_out(x, 0, MUL(y, s));
}

static void do_dynamic_quantize(onnx *x)
{
    val a = ox_in(x, 0), zero = LIKE(a, 0);
    val hi = MAX(rlx_mir_fold(IR, RLX_FN_MAX, a, rlx_mir_last_axes(a, 0), false), zero);
    val lo = MIN(rlx_mir_fold(IR, RLX_FN_MIN, a, rlx_mir_last_axes(a, 0), false), zero);
    val scale = DIV(SUB(hi, lo), LIKE(a, 255));
    val point = rlx_mir_clamp(IR, rlx_mir_map1(IR, RLX_FN_ROUND, DIV(NEG(lo), scale)), 0, 255);
    val y = ADD(rlx_mir_map1(IR, RLX_FN_ROUND, DIV(a, scale)), point);
    ox_out(x, 0, rlx_mir_saturate(IR, y, RLX_U8));
    ox_out(x, 1, scale);
    ox_out(x, 2, rlx_mir_saturate(IR, point, RLX_U8));
}

/* a - zero point, as i32; of a matrix per row (or column). */
static val centered(onnx *x, int i, int zero, bool rows)
{
    val a = rlx_mir_cast(IR, ox_in(x, i), RLX_I32);
    if (!a || !ox_has(x, zero))
        return a;
    val z = rlx_mir_cast(IR, ox_in(x, zero), RLX_I32);
    if (ox_elems(z) == 1)
        return SUB(a, rlx_mir_reshape(IR, z, 0, NULL));
    return SUB(a, rows && z && z->type.rank == 1 ? rlx_mir_insert(IR, z, 1) : z);
}

static void do_matmul_integer(onnx *x)
{
    ox_out(x, 0, rlx_mir_matmul(IR, centered(x, 0, 2, true), centered(x, 1, 3, false)));
}

static void do_qlinear_matmul(onnx *x)
{
    val y = rlx_mir_matmul(IR, centered(x, 0, 2, true), centered(x, 3, 5, false));
    val s = DIV(MUL(ox_in(x, 1), ox_in(x, 4)), ox_in(x, 6));
    val zero = ox_in(x, 7);
    if (!zero)
        return;
    y = rlx_mir_map1(IR, RLX_FN_ROUND, MUL(rlx_mir_cast(IR, y, RLX_F32), s));
    y = ADD(y, rlx_mir_cast(IR, zero, RLX_F32));
    ox_out(x, 0, rlx_mir_saturate(IR, y, zero->type.format));
}

const onnx_op onnx_quant[] = {
    OP(DequantizeLinear, do_dequantize),  OP(DynamicQuantizeLinear, do_dynamic_quantize),
    OP(MatMulInteger, do_matmul_integer), OP(QLinearMatMul, do_qlinear_matmul),
    OP(QuantizeLinear, do_quantize),      OP_END};
