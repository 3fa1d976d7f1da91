/* tests/suites/onnx/quant.c: quantized operators. */
#include "tests/suites/onnx/onnx.h"

/* A scale or zero point of one element is a number. */
static val parameter(onnx *x, int i)
{
    val v = ox_has(x, i) ? ox_in(x, i) : NULL;
    return v && ox_elems(v) == 1 ? rlx_build_reshape(x->b, v, 0, NULL) : v;
}

static rlx_quantize_spec spec_of(onnx *x, rlx_format f)
{
    return (rlx_quantize_spec){
        .format = f, .axis = (int)ox_int(x, "axis", 1), .block = ox_int(x, "block_size", 0)};
}

OPERATOR(QuantizeLinear)
{
    const int64_t code = ox_int(x, "output_dtype", 0);
    const rlx_quantize_spec spec = spec_of(x, ox_has(x, 2) ? x->in[2].format
                                              : code       ? ox_dtype(x, code)
                                                           : RLX_U8);
    ox_out(x, 0, rlx_build_quantize(x->b, &spec, ox_in(x, 0), parameter(x, 1), parameter(x, 2)));
}

OPERATOR(DequantizeLinear)
{
    const rlx_quantize_spec spec = spec_of(x, RLX_FORMAT_NONE);
    ox_out(x, 0, rlx_build_dequantize(x->b, &spec, ox_in(x, 0), parameter(x, 1), parameter(x, 2)));
}

OPERATOR(DynamicQuantizeLinear)
{
    const rlx_quantize_spec spec = {.format = RLX_U8};
    val a = ox_in(x, 0), zero = LIKE(a, 0);
    val hi = MAX(ox_fold(x, RLX_MAP_MAX, a, ox_axes(a, 0), false), zero);
    val lo = MIN(ox_fold(x, RLX_MAP_MIN, a, ox_axes(a, 0), false), zero);
    val scale = DIV(SUB(hi, lo), LIKE(a, 255));
    val point = rlx_build_quantize(x->b, &spec, NEG(lo), scale, NULL);
    ox_out(x, 0, rlx_build_quantize(x->b, &spec, a, scale, point));
    ox_out(x, 1, scale);
    ox_out(x, 2, point);
}

/* a - zero point, as i32; of a matrix per row (or column). */
static val centered(onnx *x, int i, int zero, bool rows)
{
    val a = rlx_build_cast(x->b, ox_in(x, i), RLX_I32), z = parameter(x, zero);
    if (!z)
        return a;
    z = rlx_build_cast(x->b, z, RLX_I32);
    return SUB(a, rows && rlx_value_rank(z) == 1 ? rlx_build_insert(x->b, z, 1) : z);
}

EXPRESSION(MatMulInteger, rlx_build_matmul(x->b, centered(x, 0, 2, true), centered(x, 1, 3, false)))

OPERATOR(QLinearMatMul)
{
    val y = rlx_build_matmul(x->b, centered(x, 0, 2, true), centered(x, 3, 5, false));
    val scale = DIV(parameter(x, 6), MUL(parameter(x, 1), parameter(x, 4)));
    const rlx_quantize_spec spec = {.format = x->in[7].format, .axis = -1};
    ox_out(x, 0, rlx_build_quantize(x->b, &spec, y, scale, parameter(x, 7)));
}
