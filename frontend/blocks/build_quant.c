/* frontend/blocks/build_quant.c: numbers of few bits: integers with scales, 8-bit floats. */
#include <math.h>

#include "frontend/blocks/build.h"

/* ---- integers ----------------------------------------------------------------------------------
 */

/* The codes' range. */
static void range_of(const rlx_quantize_spec *spec, double *low, double *high)
{
    const rlx_format f = spec->format != RLX_FORMAT_NONE ? spec->format : RLX_I8;
    const int bits = spec->bits ? spec->bits : 8 * (int)rlx_format_bytes(f, 1);
    const bool is_unsigned = rlx_format_get(f)->kind == RLX_KIND_UINT;
    *low = is_unsigned ? 0 : -ldexp(1, bits - 1);
    *high = ldexp(1, is_unsigned ? bits : bits - 1) - 1;
}

static bool check(rlx_builder *b, const rlx_quantize_spec *spec, rlx_value *x, rlx_value *scale)
{
    rlx_value *const both[] = {x, scale};
    if (!rlx_builder_has_spec(b, "quantize", spec) || !rlx_builder_all(b, "quantize", 2, both))
        return false;
    const rlx_format f = spec->format != RLX_FORMAT_NONE ? spec->format : RLX_I8;
    if (rlx_format_is_int(f) && rlx_format_bytes(f, 1) <= 2 && spec->bits >= 0 &&
        spec->bits <= 8 * (int)rlx_format_bytes(f, 1) && spec->block >= 0)
        return true;
    rlx_builder_note(b, RLX_FAIL(RLX_INVALID_ARGUMENT,
                                 "quantize: codes are integers of 8 or 16 bits, of which `bits` "
                                 "are used, in blocks of 0 elements or more"));
    return false;
}

/* A scale or zero point as a value that broadcasts against x: of rank 0, [C] along an axis, or with
 * a number for each block of the axis. */
static rlx_ir_value *spread(rlx_builder *b, const rlx_quantize_spec *spec, rlx_value *x,
                            rlx_value *scale, rlx_format f)
{
    rlx_ir_builder *ir = rlx_builder_at(b, scale);
    rlx_ir_value *s = rlx_mir_cast(ir, rlx_value_ir(scale), f);
    const rlx_ir_type *t = &rlx_value_ir(x)->type;
    int axis = spec->axis;
    if (!s || s->type.rank == 0)
        return s;
    if (!rlx_builder_axis(b, "quantize", x, &axis))
        return NULL;
    if (spec->block) { /* [.., n/block, ..] each block times */
        rlx_ir_type wide = s->type;
        if (axis >= s->type.rank || s->type.rank >= RLX_MAX_RANK)
            return rlx_mir_expand(ir, s, t->rank, t->dim); /* which says what does not fit */
        for (int i = wide.rank++; i > axis + 1; i--)
            wide.dim[i] = wide.dim[i - 1];
        wide.dim[axis + 1] = spec->block;
        s = rlx_mir_expand(ir, rlx_mir_insert(ir, s, axis + 1), wide.rank, wide.dim);
        return rlx_mir_flatten(ir, s, axis, axis + 2);
    }
    rlx_dim dims[RLX_MAX_RANK];
    for (int i = 0; i < t->rank; i++)
        dims[i] = i == axis ? s->type.dim[0] : 1;
    return s->type.rank == 1 ? rlx_mir_reshape(ir, s, t->rank, dims) : s;
}

/* Codes as f32, held in their range. */
static rlx_ir_value *codes_of(rlx_builder *b, const rlx_quantize_spec *spec, rlx_value *x,
                              rlx_ir_value *scale, rlx_ir_value *zero)
{
    double low, high;
    rlx_ir_builder *ir = rlx_builder_at(b, NULL);
    range_of(spec, &low, &high);
    rlx_ir_value *v = rlx_mir_cast(ir, rlx_value_ir(x), RLX_F32);
    v = rlx_mir_map1(ir, RLX_FN_ROUND, rlx_mir_map2(ir, RLX_FN_DIV, v, scale));
    return rlx_mir_clamp(ir, zero ? rlx_mir_map2(ir, RLX_FN_ADD, v, zero) : v, low, high);
}

static rlx_ir_value *numbers_of(rlx_ir_builder *ir, rlx_ir_value *codes, rlx_ir_value *scale,
                                rlx_ir_value *zero)
{
    if (zero)
        codes = rlx_mir_map2(ir, RLX_FN_SUB, codes, zero);
    return rlx_mir_map2(ir, RLX_FN_MUL, codes, scale);
}

rlx_value *rlx_build_quantize(rlx_builder *b, const rlx_quantize_spec *spec, rlx_value *x,
                              rlx_value *scale, rlx_value *zero)
{
    if (!check(b, spec, x, scale))
        return NULL;
    rlx_ir_value *s = spread(b, spec, x, scale, RLX_F32);
    rlx_ir_value *z = zero ? spread(b, spec, x, zero, RLX_F32) : NULL;
    rlx_ir_value *codes = codes_of(b, spec, x, s, z);
    return rlx_value_of(rlx_mir_saturate(rlx_builder_at(b, NULL), codes,
                                         spec->format != RLX_FORMAT_NONE ? spec->format : RLX_I8));
}

rlx_value *rlx_build_dequantize(rlx_builder *b, const rlx_quantize_spec *spec, rlx_value *codes,
                                rlx_value *scale, rlx_value *zero)
{
    if (!check(b, spec, codes, scale))
        return NULL;
    rlx_ir_value *s = spread(b, spec, codes, scale, RLX_F32);
    rlx_ir_value *z = zero ? spread(b, spec, codes, zero, RLX_F32) : NULL;
    rlx_ir_builder *ir = rlx_builder_at(b, NULL);
    return rlx_value_of(numbers_of(ir, rlx_mir_cast(ir, rlx_value_ir(codes), RLX_F32), s, z));
}

rlx_value *rlx_build_fake_quantize(rlx_builder *b, const rlx_quantize_spec *spec, rlx_value *x,
                                   rlx_value *scale, rlx_value *zero)
{
    if (!check(b, spec, x, scale))
        return NULL;
    rlx_ir_value *s = spread(b, spec, x, scale, RLX_F32);
    rlx_ir_value *z = zero ? spread(b, spec, x, zero, RLX_F32) : NULL;
    rlx_ir_value *codes = codes_of(b, spec, x, s, z);
    return rlx_value_of(numbers_of(rlx_builder_at(b, NULL), codes, s, z));
}

/* ---- 8-bit floats -------------------------------------------------------------------------------
 */

/* Bits of the mantissa, the exponent's bias, the largest finite number; e4m3 has no infinity. */
typedef struct small_float {
    int mantissa, bias;
    double most;
} small_float;

static small_float small_float_of(rlx_f8 kind)
{
    return kind == RLX_F8_E5M2 ? (small_float){2, 15, 57344} : (small_float){3, 7, 448};
}

rlx_value *rlx_build_f8_decode(rlx_builder *b, rlx_value *codes, rlx_f8 kind)
{
    const small_float f = small_float_of(kind);
    if (!rlx_builder_all(b, "f8_decode", 1, &codes))
        return NULL;
    rlx_ir_builder *ir = rlx_builder_at(b, codes);
    rlx_ir_value *c = rlx_mir_cast(ir, rlx_value_ir(codes), RLX_U32);
    rlx_ir_value *size = rlx_mir_map_num(ir, RLX_FN_AND, c, 127);
    rlx_ir_value *sign = rlx_mir_map_num(ir, RLX_FN_AND, c, 128);
    /* as if the exponent had f32's bias: a power of two too small, denormals included */
    rlx_ir_value *bits = rlx_mir_map_num(ir, RLX_FN_SHL, size, 23 - f.mantissa);
    rlx_ir_value *y = rlx_mir_build_bitcast(ir, bits, RLX_F32);
    y = rlx_mir_map_num(ir, RLX_FN_MUL, y, ldexp(1, 127 - f.bias));
    rlx_ir_value *nan = rlx_mir_build_const(ir, RLX_F32, NAN);
    if (kind == RLX_F8_E5M2) {
        rlx_ir_value *infinity = rlx_mir_build_const(ir, RLX_F32, INFINITY);
        y = rlx_mir_pick(ir, rlx_mir_map_num(ir, RLX_FN_EQ, size, 124), infinity, y);
        rlx_ir_value *most = rlx_mir_like(ir, size, 124);
        y = rlx_mir_pick(ir, rlx_mir_map2(ir, RLX_FN_LT, most, size), nan, y);
    } else {
        y = rlx_mir_pick(ir, rlx_mir_map_num(ir, RLX_FN_EQ, size, 127), nan, y);
    }
    rlx_ir_value *is_plus = rlx_mir_map_num(ir, RLX_FN_EQ, sign, 0);
    rlx_ir_value *turned = rlx_mir_map1(ir, RLX_FN_NEG, y);
    return rlx_value_of(rlx_mir_pick(ir, is_plus, y, turned));
}

rlx_value *rlx_build_f8_encode(rlx_builder *b, rlx_value *x, rlx_f8 kind, bool saturate)
{
    const small_float f = small_float_of(kind);
    if (!rlx_builder_all(b, "f8_encode", 1, &x))
        return NULL;
    rlx_ir_builder *ir = rlx_builder_at(b, x);
    rlx_ir_value *v = rlx_mir_cast(ir, rlx_value_ir(x), RLX_F32);
    rlx_ir_value *raw = rlx_mir_build_bitcast(ir, v, RLX_U32);
    rlx_ir_value *sign =
        rlx_mir_map_num(ir, RLX_FN_AND, rlx_mir_map_num(ir, RLX_FN_SHR, raw, 24), 128);
    rlx_ir_value *size = rlx_mir_map1(ir, RLX_FN_ABS, v);
    rlx_ir_value *is_number = rlx_mir_map2(ir, RLX_FN_EQ, v, v);
    if (saturate)
        size = rlx_mir_map_num(ir, RLX_FN_MIN, size, f.most);
    /* normal numbers: half of the last place that stays, less one, plus that place, carries */
    rlx_ir_value *bits = rlx_mir_build_bitcast(ir, size, RLX_U32);
    const int drop = 23 - f.mantissa;
    rlx_ir_value *odd =
        rlx_mir_map_num(ir, RLX_FN_AND, rlx_mir_map_num(ir, RLX_FN_SHR, bits, drop), 1);
    rlx_ir_value *up = rlx_mir_map_num(ir, RLX_FN_ADD, odd, ldexp(1, drop - 1) - 1);
    rlx_ir_value *normal =
        rlx_mir_map_num(ir, RLX_FN_SHR, rlx_mir_map2(ir, RLX_FN_ADD, bits, up), drop);
    normal = rlx_mir_map_num(ir, RLX_FN_SUB, normal, (127 - f.bias) << f.mantissa);
    /* below the least normal number: a multiple of the least step, which is its code */
    const double least = ldexp(1, 1 - f.bias);
    rlx_ir_value *is_small = rlx_mir_map_num(ir, RLX_FN_LT, size, least);
    rlx_ir_value *zero = rlx_mir_like(ir, size, 0);
    rlx_ir_value *steps = rlx_mir_pick(ir, is_small, size, zero);
    steps = rlx_mir_map_num(ir, RLX_FN_MUL, steps, ldexp(1, f.bias - 1 + f.mantissa));
    steps = rlx_mir_cast(ir, rlx_mir_map1(ir, RLX_FN_ROUND, steps), RLX_U32);
    rlx_ir_value *code = rlx_mir_pick(ir, is_small, steps, normal);
    /* what rounds beyond the largest: infinity, or NaN where there is none */
    const int none = 127, past = kind == RLX_F8_E5M2 ? 124 : 127;
    rlx_ir_value *limit = rlx_mir_like(ir, code, past);
    code = rlx_mir_map2(ir, RLX_FN_MIN, code, limit);
    rlx_ir_value *beyond =
        rlx_mir_map2(ir, RLX_FN_LT, rlx_mir_build_const(ir, RLX_F32, ldexp(f.most, 1)), size);
    code = rlx_mir_pick(ir, beyond, limit, code); /* the sum above may have wrapped */
    rlx_ir_value *nan = rlx_mir_like(ir, code, none);
    code = rlx_mir_pick(ir, is_number, code, nan);
    return rlx_value_of(rlx_mir_cast(ir, rlx_mir_map2(ir, RLX_FN_OR, code, sign), RLX_U8));
}
