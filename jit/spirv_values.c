#include <assert.h>
#include <math.h>

#include "jit/spirv_emit.h"

/* ---- formats ---- */

static bool is_float(rlx_format f)
{
    return rlx_format_is_float(f);
}

static bool is_signed(rlx_format f)
{
    return rlx_format_get(f)->kind == RLX_KIND_INT;
}

static int bytes_of(rlx_format f)
{
    return rlx_format_get(f)->block_bytes;
}

/* An integer of 32 bits in registers and fewer in memory. */
static bool is_narrow_int(rlx_format f)
{
    return rlx_format_is_int(f) && bytes_of(f) < 4;
}

rlx_spirv_id rlx_spirv_value_type(rlx_spirv_emit *e, rlx_format f)
{
    switch (f) {
    case RLX_F32:
        return e->f32;
    case RLX_F64:
        return rlx_spirv_type_float(&e->m, 64);
    case RLX_I64:
    case RLX_U64:
        return e->i64;
    case RLX_BOOL:
        return e->bool_;
    default:
        return e->u32;
    }
}

rlx_spirv_id rlx_spirv_storage_type(rlx_spirv_emit *e, rlx_format f)
{
    int bytes = bytes_of(f);
    return bytes < 4 ? rlx_spirv_type_int(&e->m, bytes * 8) : rlx_spirv_value_type(e, f);
}

rlx_spirv_id rlx_spirv_team_type(rlx_spirv_emit *e, rlx_format f)
{
    return f == RLX_BOOL ? e->u32 : rlx_spirv_value_type(e, f);
}

int rlx_spirv_team_elem_bytes(rlx_format f)
{
    return bytes_of(f) < 4 ? 4 : bytes_of(f);
}

static rlx_spirv_id u32(rlx_spirv_emit *e, uint32_t v)
{
    return rlx_spirv_const_u32(&e->m, v);
}

/* An integer constant of the type that `f` has in registers. */
static rlx_spirv_id int_const(rlx_spirv_emit *e, rlx_format f, int64_t v)
{
    return f == RLX_I64 || f == RLX_U64 ? rlx_spirv_const_i64(&e->m, v) : u32(e, (uint32_t)v);
}

rlx_spirv_id rlx_spirv_zero(rlx_spirv_emit *e, rlx_format f)
{
    if (f == RLX_F32)
        return rlx_spirv_const_f32(&e->m, 0);
    if (f == RLX_F64)
        return rlx_spirv_const_f64(&e->m, 0);
    return f == RLX_BOOL ? rlx_spirv_const_bool(&e->m, false) : int_const(e, f, 0);
}

/* Zero, made of what a driver does not know: a workgroup's number has fewer than 32 bits. Mesa (22.3, lavapipe) takes x * 0 for 0
 * and x + 0 for x, whatever x is: -1 * 0, -0 + 0, infinity * 0. */
static rlx_spirv_id unknown_zero(rlx_spirv_emit *e, rlx_format f)
{
    rlx_spirv_module *m = &e->m;
    if (e->zero[f])
        return e->zero[f];
    m->into = RLX_SPIRV_ENTRY;
    rlx_spirv_id x = rlx_spirv_op(m, SpvOpUConvert, e->u32, e->team_index);
    x = rlx_spirv_op(m, SpvOpShiftRightLogical, e->u32, x, rlx_spirv_const_u32(m, 31));
    if (f == RLX_F64)
        x = rlx_spirv_op(m, SpvOpUConvert, e->i64, x);
    if (bytes_of(f) >= 4) /* 16-bit floats are bits in registers */
        x = rlx_spirv_op(m, SpvOpBitcast, rlx_spirv_value_type(e, f), x);
    m->into = RLX_SPIRV_BODY;
    return e->zero[f] = x;
}

rlx_spirv_id rlx_spirv_constant(rlx_spirv_emit *e, const rlx_ir_node *n)
{
    rlx_format f = n->out[0]->type.format;
    double value = rlx_ir_attr_float(n, RLX_ATTR_VALUE, 0);
    if (is_float(f) && value == 0 && !signbit(value))
        return unknown_zero(e, f);
    int64_t ivalue = rlx_ir_attr_int(n, RLX_ATTR_IVALUE, 0);
    switch (f) {
    case RLX_F32:
        return rlx_spirv_const_f32(&e->m, (float)value);
    case RLX_F64:
        return rlx_spirv_const_f64(&e->m, value);
    case RLX_F16:
        return u32(e, rlx_f32_to_f16((float)value));
    case RLX_BF16:
        return u32(e, rlx_f32_to_bf16((float)value));
    case RLX_BOOL:
        return rlx_spirv_const_bool(&e->m, ivalue != 0);
    default:
        return int_const(e, f, ivalue);
    }
}

/* ---- short forms ---- */

static rlx_spirv_id int_op(rlx_spirv_emit *e, SpvOp op, rlx_spirv_id a, rlx_spirv_id b)
{
    return rlx_spirv_op(&e->m, op, e->u32, a, b);
}

static rlx_spirv_id compare(rlx_spirv_emit *e, SpvOp op, rlx_spirv_id a, rlx_spirv_id b)
{
    return rlx_spirv_op(&e->m, op, e->bool_, a, b);
}

static rlx_spirv_id choose(rlx_spirv_emit *e, rlx_spirv_id type, rlx_spirv_id cond, rlx_spirv_id a,
                           rlx_spirv_id b)
{
    return rlx_spirv_op(&e->m, SpvOpSelect, type, cond, a, b);
}

/* Drivers may neither fuse nor reorder it. */
static rlx_spirv_id exact(rlx_spirv_emit *e, rlx_spirv_id id)
{
    rlx_spirv_inst(&e->m, RLX_SPIRV_DECORATIONS, SpvOpDecorate, id, SpvDecorationNoContraction);
    return id;
}

rlx_spirv_id rlx_spirv_fma(rlx_spirv_emit *e, rlx_spirv_id type, rlx_spirv_id a, rlx_spirv_id b,
                           rlx_spirv_id c)
{
    rlx_spirv_id args[3] = {a, b, c};
    return exact(e, rlx_spirv_put_glsl(&e->m, GLSLstd450Fma, type, 3, args));
}

/* The low bits of a 32-bit register as the narrow format has them. */
static rlx_spirv_id wrap(rlx_spirv_emit *e, rlx_format f, rlx_spirv_id x)
{
    if (!is_narrow_int(f))
        return x;
    int bits = bytes_of(f) * 8;
    if (!is_signed(f))
        return int_op(e, SpvOpBitwiseAnd, x, u32(e, (1u << bits) - 1));
    rlx_spirv_id shift = u32(e, 32 - (uint32_t)bits);
    x = int_op(e, SpvOpShiftLeftLogical, x, shift);
    return int_op(e, SpvOpShiftRightArithmetic, x, shift);
}

/* ---- memory ---- */

rlx_spirv_id rlx_spirv_from_storage(rlx_spirv_emit *e, rlx_format f, rlx_spirv_id x)
{
    if (bytes_of(f) >= 4)
        return x;
    if (is_signed(f))
        return rlx_spirv_op(&e->m, SpvOpSConvert, e->u32, x);
    return rlx_spirv_from_bits(e, f, rlx_spirv_op(&e->m, SpvOpUConvert, e->u32, x));
}

rlx_spirv_id rlx_spirv_from_bits(rlx_spirv_emit *e, rlx_format f, rlx_spirv_id x)
{
    return f == RLX_BOOL ? compare(e, SpvOpINotEqual, x, u32(e, 0)) : wrap(e, f, x);
}

rlx_spirv_id rlx_spirv_to_storage(rlx_spirv_emit *e, rlx_format f, rlx_spirv_id x)
{
    if (bytes_of(f) < 4)
        return rlx_spirv_op(&e->m, SpvOpUConvert, rlx_spirv_storage_type(e, f), x);
    return x;
}

/* ---- map ---- */

/* Mesa (22.3, lavapipe) rounds f64 in steps that lose the sign of zero. */
static rlx_spirv_id round_even(rlx_spirv_emit *e, rlx_spirv_id x, rlx_format f)
{
    rlx_spirv_id type = rlx_spirv_value_type(e, f);
    rlx_spirv_id y = rlx_spirv_put_glsl(&e->m, GLSLstd450RoundEven, type, 1, &x);
    if (f != RLX_F64)
        return y;
    rlx_spirv_id zero = rlx_spirv_zero(e, f);
    rlx_spirv_id below = rlx_spirv_put_glsl(&e->m, GLSLstd450FAbs, type, 1, &y);
    below = rlx_spirv_op(&e->m, SpvOpFNegate, type, below);
    y = choose(e, type, compare(e, SpvOpFOrdLessThan, x, zero), below, y);
    return choose(e, type, compare(e, SpvOpFOrdEqual, x, zero), x, y);
}

static rlx_status map_float(rlx_spirv_emit *e, const rlx_ir_node *n, rlx_map_fn fn, rlx_format f,
                            const rlx_spirv_id *in, rlx_spirv_id *out)
{
    rlx_spirv_id type = rlx_spirv_value_type(e, f), x = in[0];
    rlx_spirv_id y = rlx_map_fn_get(fn)->arity > 1 ? in[1] : 0;
    rlx_spirv_module *m = &e->m;
    switch (fn) {
    case RLX_FN_ADD:
        *out = exact(e, rlx_spirv_op(m, SpvOpFAdd, type, x, y));
        return RLX_OK;
    case RLX_FN_SUB:
        *out = exact(e, rlx_spirv_op(m, SpvOpFSub, type, x, y));
        return RLX_OK;
    case RLX_FN_MUL:
        *out = exact(e, rlx_spirv_op(m, SpvOpFMul, type, x, y));
        return RLX_OK;
    case RLX_FN_DIV:
        *out = exact(e, rlx_spirv_op(m, SpvOpFDiv, type, x, y));
        return RLX_OK;
    case RLX_FN_MIN:
        *out = choose(e, type, compare(e, SpvOpFOrdLessThan, x, y), x, y);
        return RLX_OK;
    case RLX_FN_MAX:
        *out = choose(e, type, compare(e, SpvOpFOrdGreaterThan, x, y), x, y);
        return RLX_OK;
    case RLX_FN_FMA:
        *out = rlx_spirv_fma(e, type, x, y, in[2]);
        return RLX_OK;
    case RLX_FN_NEG:
        *out = rlx_spirv_op(m, SpvOpFNegate, type, x);
        return RLX_OK;
    case RLX_FN_ABS:
        *out = rlx_spirv_put_glsl(m, GLSLstd450FAbs, type, 1, in);
        return RLX_OK;
    case RLX_FN_SQRT:
        *out = exact(e, rlx_spirv_put_glsl(m, GLSLstd450Sqrt, type, 1, in));
        return RLX_OK;
    case RLX_FN_ROUND:
        *out = round_even(e, x, f);
        return RLX_OK;
    case RLX_FN_FLOOR:
        *out = rlx_spirv_put_glsl(m, GLSLstd450Floor, type, 1, in);
        return RLX_OK;
    case RLX_FN_LT:
        *out = compare(e, SpvOpFOrdLessThan, x, y);
        return RLX_OK;
    case RLX_FN_LE:
        *out = compare(e, SpvOpFOrdLessThanEqual, x, y);
        return RLX_OK;
    case RLX_FN_EQ:
        *out = compare(e, SpvOpFOrdEqual, x, y);
        return RLX_OK;
    case RLX_FN_EXP:
    case RLX_FN_RSQRT:
        return rlx_spirv_unsupported(e, n, "%s was not expanded (pass expand_math)",
                                     rlx_map_fn_get(fn)->name);
    default:
        return rlx_spirv_unsupported(e, n, "%s has no meaning on floats", rlx_map_fn_get(fn)->name);
    }
}

/* The value of a scalar constant operand. */
static bool constant_operand(const rlx_ir_node *n, int i, int64_t *out)
{
    const rlx_ir_node *def = i < n->nin ? n->in[i]->def : NULL;
    if (!def || def->op != RLX_LIR_CONST)
        return false;
    *out = rlx_ir_attr_int(def, RLX_ATTR_IVALUE, 0);
    return true;
}

/* Floor division and its remainder of any integers, and 0 where the divisor is 0. */
static rlx_spirv_id divide_any(rlx_spirv_emit *e, rlx_format f, bool want_mod, bool may_be_zero,
                               rlx_spirv_id x, rlx_spirv_id y)
{
    rlx_spirv_module *m = &e->m;
    rlx_spirv_id type = rlx_spirv_value_type(e, f), zero = int_const(e, f, 0);
    rlx_spirv_id one = int_const(e, f, 1), by_zero = 0, r;
    if (may_be_zero) {
        by_zero = compare(e, SpvOpIEqual, y, zero);
        y = choose(e, type, by_zero, one, y);
    }
    if (!is_signed(f)) {
        r = rlx_spirv_op(m, want_mod ? SpvOpUMod : SpvOpUDiv, type, x, y);
    } else {
        /* SRem and SMod leave it to the driver what negative operands give. */
        rlx_spirv_id quot = rlx_spirv_op(m, SpvOpSDiv, type, x, y);
        rlx_spirv_id back = rlx_spirv_op(m, SpvOpIMul, type, quot, y);
        rlx_spirv_id rem = rlx_spirv_op(m, SpvOpISub, type, x, back);
        rlx_spirv_id signs = rlx_spirv_op(m, SpvOpBitwiseXor, type, rem, y);
        /* Truncation is one too high when a remainder has not the divisor's sign. */
        rlx_spirv_id off =
            rlx_spirv_op(m, SpvOpLogicalAnd, e->bool_, compare(e, SpvOpINotEqual, rem, zero),
                         compare(e, SpvOpSLessThan, signs, zero));
        if (want_mod)
            r = choose(e, type, off, rlx_spirv_op(m, SpvOpIAdd, type, rem, y), rem);
        else
            r = choose(e, type, off, rlx_spirv_op(m, SpvOpISub, type, quot, one), quot);
    }
    return by_zero ? choose(e, type, by_zero, zero, r) : r;
}

static rlx_spirv_id divide(rlx_spirv_emit *e, const rlx_ir_node *n, rlx_format f, bool want_mod,
                           const rlx_spirv_id *in)
{
    int64_t by = 0;
    rlx_spirv_id type = rlx_spirv_value_type(e, f);
    bool known = constant_operand(n, 1, &by);
    if (!known || by <= 0 || (by & (by - 1)) != 0)
        return divide_any(e, f, want_mod, !known || by == 0, in[0], in[1]);
    if (want_mod)
        return rlx_spirv_op(&e->m, SpvOpBitwiseAnd, type, in[0], int_const(e, f, by - 1));
    SpvOp shift = is_signed(f) ? SpvOpShiftRightArithmetic : SpvOpShiftRightLogical;
    return rlx_spirv_op(&e->m, shift, type, in[0], u32(e, (uint32_t)__builtin_ctzll((uint64_t)by)));
}

/* A shift by less than 0 or more than all bits gives 0. */
static rlx_spirv_id shift(rlx_spirv_emit *e, const rlx_ir_node *n, rlx_format f, SpvOp op,
                          const rlx_spirv_id *in)
{
    int64_t by = 0, bits = bytes_of(f) * 8;
    rlx_spirv_id type = rlx_spirv_value_type(e, f);
    if (constant_operand(n, 1, &by))
        return by < 0 || by >= bits ? int_const(e, f, 0)
                                    : rlx_spirv_op(&e->m, op, type, in[0], in[1]);
    rlx_spirv_id inside = compare(e, SpvOpULessThan, in[1], int_const(e, f, bits));
    rlx_spirv_id safe = choose(e, type, inside, in[1], int_const(e, f, 0));
    return choose(e, type, inside, rlx_spirv_op(&e->m, op, type, in[0], safe), int_const(e, f, 0));
}

static rlx_status map_int(rlx_spirv_emit *e, const rlx_ir_node *n, rlx_map_fn fn, rlx_format f,
                          const rlx_spirv_id *in, rlx_spirv_id *out)
{
    rlx_spirv_module *m = &e->m;
    rlx_spirv_id type = rlx_spirv_value_type(e, f), x = in[0];
    rlx_spirv_id y = rlx_map_fn_get(fn)->arity > 1 ? in[1] : 0;
    SpvOp lt = is_signed(f) ? SpvOpSLessThan : SpvOpULessThan;
    switch (fn) {
    case RLX_FN_ADD:
        *out = rlx_spirv_op(m, SpvOpIAdd, type, x, y);
        break;
    case RLX_FN_SUB:
        *out = rlx_spirv_op(m, SpvOpISub, type, x, y);
        break;
    case RLX_FN_MUL:
        *out = rlx_spirv_op(m, SpvOpIMul, type, x, y);
        break;
    case RLX_FN_DIV:
    case RLX_FN_MOD:
        *out = divide(e, n, f, fn == RLX_FN_MOD, in);
        break;
    case RLX_FN_MIN:
        *out = choose(e, type, compare(e, lt, x, y), x, y);
        return RLX_OK;
    case RLX_FN_MAX:
        *out = choose(e, type, compare(e, lt, y, x), x, y);
        return RLX_OK;
    case RLX_FN_FMA:
        *out = rlx_spirv_op(m, SpvOpIAdd, type, rlx_spirv_op(m, SpvOpIMul, type, x, y), in[2]);
        break;
    case RLX_FN_NEG:
        *out = rlx_spirv_op(m, SpvOpSNegate, type, x);
        break;
    case RLX_FN_ABS:
        *out = x;
        if (is_signed(f))
            *out = choose(e, type, compare(e, SpvOpSLessThan, x, int_const(e, f, 0)),
                          rlx_spirv_op(m, SpvOpSNegate, type, x), x);
        break;
    case RLX_FN_LT:
        *out = compare(e, lt, x, y);
        return RLX_OK;
    case RLX_FN_LE:
        *out = compare(e, is_signed(f) ? SpvOpSLessThanEqual : SpvOpULessThanEqual, x, y);
        return RLX_OK;
    case RLX_FN_EQ:
        *out = compare(e, SpvOpIEqual, x, y);
        return RLX_OK;
    case RLX_FN_AND:
        *out = rlx_spirv_op(m, SpvOpBitwiseAnd, type, x, y);
        return RLX_OK;
    case RLX_FN_OR:
        *out = rlx_spirv_op(m, SpvOpBitwiseOr, type, x, y);
        return RLX_OK;
    case RLX_FN_XOR:
        *out = rlx_spirv_op(m, SpvOpBitwiseXor, type, x, y);
        return RLX_OK;
    case RLX_FN_SHL:
        *out = shift(e, n, f, SpvOpShiftLeftLogical, in);
        break;
    case RLX_FN_SHR:
        *out =
            shift(e, n, f, is_signed(f) ? SpvOpShiftRightArithmetic : SpvOpShiftRightLogical, in);
        return RLX_OK;
    default:
        return rlx_spirv_unsupported(e, n, "%s of integers", rlx_map_fn_get(fn)->name);
    }
    *out = wrap(e, f, *out);
    return RLX_OK;
}

static rlx_status map_bool(rlx_spirv_emit *e, const rlx_ir_node *n, rlx_map_fn fn,
                           const rlx_spirv_id *in, rlx_spirv_id *out)
{
    SpvOp op = fn == RLX_FN_AND   ? SpvOpLogicalAnd
               : fn == RLX_FN_OR  ? SpvOpLogicalOr
               : fn == RLX_FN_XOR ? SpvOpLogicalNotEqual
                                  : SpvOpLogicalEqual;
    if (op == SpvOpLogicalEqual && fn != RLX_FN_EQ)
        return rlx_spirv_unsupported(e, n, "%s has no meaning on bools", rlx_map_fn_get(fn)->name);
    *out = compare(e, op, in[0], in[1]);
    return RLX_OK;
}

/* 16-bit floats by way of f32: it has more than twice their precision, so rounding again to them
 * does no harm, but for fma, whose exact result can be longer. */
static rlx_status map_half(rlx_spirv_emit *e, const rlx_ir_node *n, rlx_map_fn fn, rlx_format f,
                           const rlx_spirv_id *in, rlx_spirv_id *out)
{
    const rlx_map_fn_info *info = rlx_map_fn_get(fn);
    rlx_spirv_id wide[3] = {0};
    if (fn == RLX_FN_FMA)
        return rlx_spirv_unsupported(e, n, "fma on %s; cast to f32", rlx_format_get(f)->name);
    for (int i = 0; i < info->arity; i++)
        wide[i] = rlx_spirv_cast(e, f, RLX_F32, in[i]);
    RLX_TRY(map_float(e, n, fn, RLX_F32, wide, out));
    if (!info->to_bool)
        *out = rlx_spirv_cast(e, RLX_F32, f, *out);
    return RLX_OK;
}

rlx_status rlx_spirv_map(rlx_spirv_emit *e, const rlx_ir_node *n, rlx_map_fn fn, rlx_format f,
                         const rlx_spirv_id *in, rlx_spirv_id *out)
{
    if (fn == RLX_FN_SELECT) {
        *out = choose(e, rlx_spirv_value_type(e, f), in[0], in[1], in[2]);
        return RLX_OK;
    }
    if (f == RLX_F16 || f == RLX_BF16)
        return map_half(e, n, fn, f, in, out);
    if (f == RLX_BOOL)
        return map_bool(e, n, fn, in, out);
    return is_float(f) ? map_float(e, n, fn, f, in, out) : map_int(e, n, fn, f, in, out);
}

/* ---- cast ---- */

static rlx_spirv_id to_bits(rlx_spirv_emit *e, rlx_spirv_id x)
{
    return rlx_spirv_op(&e->m, SpvOpBitcast, e->u32, x);
}

static rlx_spirv_id from_bits(rlx_spirv_emit *e, rlx_spirv_id x)
{
    return rlx_spirv_op(&e->m, SpvOpBitcast, e->f32, x);
}

/* By cases: normal numbers by moving the exponent, subnormals as integers in units of 2^-24. */
static rlx_spirv_id f16_to_f32(rlx_spirv_emit *e, rlx_spirv_id x)
{
    rlx_spirv_module *m = &e->m;
    rlx_spirv_id magnitude = int_op(e, SpvOpBitwiseAnd, x, u32(e, 0x7fff));
    rlx_spirv_id sign = int_op(e, SpvOpBitwiseAnd, x, u32(e, 0x8000));
    sign = int_op(e, SpvOpShiftLeftLogical, sign, u32(e, 16));
    rlx_spirv_id wide = int_op(e, SpvOpShiftLeftLogical, magnitude, u32(e, 13));
    rlx_spirv_id normal = int_op(e, SpvOpIAdd, wide, u32(e, 112u << 23));
    rlx_spirv_id large = int_op(e, SpvOpBitwiseOr, wide, u32(e, 0x7f800000)); /* infinity, NaN */
    rlx_spirv_id small = rlx_spirv_op(m, SpvOpConvertUToF, e->f32, magnitude);
    small = to_bits(e, rlx_spirv_op(m, SpvOpFMul, e->f32, small, rlx_spirv_const_f32(m, 0x1p-24f)));
    rlx_spirv_id r =
        choose(e, e->u32, compare(e, SpvOpULessThan, magnitude, u32(e, 0x7c00)), normal, large);
    r = choose(e, e->u32, compare(e, SpvOpULessThan, magnitude, u32(e, 0x400)), small, r);
    return from_bits(e, int_op(e, SpvOpBitwiseOr, r, sign));
}

/* Adds what rounds the last `shift` bits away to nearest even, and shifts. */
static rlx_spirv_id round_shift(rlx_spirv_emit *e, rlx_spirv_id bits, uint32_t shift)
{
    rlx_spirv_id odd = int_op(e, SpvOpShiftRightLogical, bits, u32(e, shift));
    odd = int_op(e, SpvOpBitwiseAnd, odd, u32(e, 1));
    rlx_spirv_id up = int_op(e, SpvOpIAdd, odd, u32(e, (1u << (shift - 1)) - 1));
    return int_op(e, SpvOpShiftRightLogical, int_op(e, SpvOpIAdd, bits, up), u32(e, shift));
}

/* As rlx_f32_to_f16. */
static rlx_spirv_id f32_to_f16(rlx_spirv_emit *e, rlx_spirv_id x)
{
    rlx_spirv_module *m = &e->m;
    rlx_spirv_id bits = to_bits(e, x);
    rlx_spirv_id sign = int_op(e, SpvOpShiftRightLogical, bits, u32(e, 16));
    sign = int_op(e, SpvOpBitwiseAnd, sign, u32(e, 0x8000));
    rlx_spirv_id magnitude = int_op(e, SpvOpBitwiseAnd, bits, u32(e, 0x7fffffff));
    rlx_spirv_id normal = round_shift(e, int_op(e, SpvOpISub, magnitude, u32(e, 112u << 23)), 13);
    rlx_spirv_id payload = int_op(e, SpvOpShiftRightLogical, magnitude, u32(e, 13));
    payload = int_op(e, SpvOpBitwiseAnd, payload, u32(e, 0x3ff));
    rlx_spirv_id nan = int_op(e, SpvOpBitwiseOr, payload, u32(e, 0x7e00));
    /* In units of 2^-24, an exact scaling; kept small, so that the conversion is defined. */
    rlx_spirv_id is_small = compare(e, SpvOpULessThan, magnitude, u32(e, 113u << 23));
    rlx_spirv_id least = choose(e, e->u32, is_small, magnitude, u32(e, 0));
    rlx_spirv_id units =
        rlx_spirv_op(m, SpvOpFMul, e->f32, from_bits(e, least), rlx_spirv_const_f32(m, 0x1p24f));
    units = rlx_spirv_put_glsl(m, GLSLstd450RoundEven, e->f32, 1, &units);
    rlx_spirv_id small = rlx_spirv_op(m, SpvOpConvertFToU, e->u32, units);
    rlx_spirv_id r = choose(e, e->u32, compare(e, SpvOpULessThan, magnitude, u32(e, 143u << 23)),
                            normal, u32(e, 0x7c00)); /* 65536 and up, infinity */
    r = choose(e, e->u32, compare(e, SpvOpUGreaterThan, magnitude, u32(e, 0x7f800000)), nan, r);
    r = choose(e, e->u32, is_small, small, r);
    return int_op(e, SpvOpBitwiseOr, r, sign);
}

/* As rlx_f32_to_bf16. */
static rlx_spirv_id f32_to_bf16(rlx_spirv_emit *e, rlx_spirv_id x)
{
    rlx_spirv_id bits = to_bits(e, x);
    rlx_spirv_id magnitude = int_op(e, SpvOpBitwiseAnd, bits, u32(e, 0x7fffffff));
    rlx_spirv_id top = int_op(e, SpvOpShiftRightLogical, bits, u32(e, 16));
    return choose(e, e->u32, compare(e, SpvOpUGreaterThan, magnitude, u32(e, 0x7f800000)),
                  int_op(e, SpvOpBitwiseOr, top, u32(e, 0x40)), round_shift(e, bits, 16));
}

/* 16-bit floats to f32, exactly; others as they are. */
static rlx_spirv_id widen_float(rlx_spirv_emit *e, rlx_format *f, rlx_spirv_id x)
{
    if (*f == RLX_BF16)
        x = from_bits(e, int_op(e, SpvOpShiftLeftLogical, x, u32(e, 16)));
    else if (*f == RLX_F16)
        x = f16_to_f32(e, x);
    else
        return x;
    *f = RLX_F32;
    return x;
}

/* f64 as f32, of its two neighbours the one whose last bit is 1: rounding that to 16 bits gives what
 * rounding the f64 would. */
static rlx_spirv_id round_to_odd(rlx_spirv_emit *e, rlx_spirv_id x)
{
    rlx_spirv_module *m = &e->m;
    rlx_spirv_id f64 = rlx_spirv_type_float(m, 64), size[2];
    rlx_spirv_id near = rlx_spirv_op(m, SpvOpFConvert, e->f32, x);
    rlx_spirv_id back = rlx_spirv_op(m, SpvOpFConvert, f64, near), bits = to_bits(e, near);
    size[0] = rlx_spirv_put_glsl(m, GLSLstd450FAbs, f64, 1, &x);
    size[1] = rlx_spirv_put_glsl(m, GLSLstd450FAbs, f64, 1, &back);
    rlx_spirv_id even = int_op(e, SpvOpBitwiseAnd, bits, u32(e, 1));
    even = compare(e, SpvOpIEqual, even, u32(e, 0));
    rlx_spirv_id above = compare(e, SpvOpFOrdLessThan, size[1], size[0]);
    rlx_spirv_id below = compare(e, SpvOpFOrdLessThan, size[0], size[1]);
    rlx_spirv_id by = choose(e, e->u32, above, u32(e, 1), u32(e, 0));
    by = choose(e, e->u32, below, u32(e, UINT32_MAX), by);
    by = choose(e, e->u32, even, by, u32(e, 0));
    return from_bits(e, int_op(e, SpvOpIAdd, bits, by));
}

/* `x` is f32 or f64. */
static rlx_spirv_id narrow_float(rlx_spirv_emit *e, rlx_format from, rlx_format to, rlx_spirv_id x)
{
    if (from == to)
        return x;
    if (from == RLX_F64 && to != RLX_F32)
        x = round_to_odd(e, x);
    if (to == RLX_F16)
        return f32_to_f16(e, x);
    if (to == RLX_BF16)
        return f32_to_bf16(e, x);
    return rlx_spirv_op(&e->m, SpvOpFConvert, rlx_spirv_value_type(e, to), x);
}

/* A size of more than 24 bits with zeros behind the first 16 to 24 of them, the last of which is set
 * where something was cleared: a float holds it, and rounding that to 8 bits gives what rounding the
 * size would. */
static rlx_spirv_id clear_low_bits(rlx_spirv_emit *e, rlx_format f, rlx_spirv_id x)
{
    enum { STEP = 8, KEPT = 16 };
    rlx_spirv_module *m = &e->m;
    rlx_spirv_id type = rlx_spirv_value_type(e, f), zero = int_const(e, f, 0), out = x;
    for (int bits = STEP; bits + KEPT < 8 * bytes_of(f); bits += STEP) {
        const int64_t one = (int64_t)1 << bits;
        rlx_spirv_id low = rlx_spirv_op(m, SpvOpBitwiseAnd, type, x, int_const(e, f, one - 1));
        rlx_spirv_id high = rlx_spirv_op(m, SpvOpBitwiseAnd, type, x, int_const(e, f, -one));
        rlx_spirv_id set = rlx_spirv_op(m, SpvOpBitwiseOr, type, high, int_const(e, f, one));
        high = choose(e, type, compare(e, SpvOpIEqual, low, zero), high, set);
        rlx_spirv_id large = compare(e, SpvOpULessThan, int_const(e, f, (one << KEPT) - 1), x);
        out = choose(e, type, large, high, out);
    }
    return out;
}

/* A float of 16 bits has few bits: of a long integer those that decide about its rounding go by way
 * of f32. f16 ends below 2^24. */
static rlx_spirv_id int_to_bf16(rlx_spirv_emit *e, rlx_format f, rlx_spirv_id x)
{
    rlx_spirv_module *m = &e->m;
    rlx_spirv_id type = rlx_spirv_value_type(e, f), negative = 0;
    if (is_signed(f)) {
        negative = compare(e, SpvOpSLessThan, x, int_const(e, f, 0));
        x = choose(e, type, negative, rlx_spirv_op(m, SpvOpSNegate, type, x), x);
    }
    x = rlx_spirv_op(m, SpvOpConvertUToF, e->f32, clear_low_bits(e, f, x));
    if (negative)
        x = choose(e, e->f32, negative, rlx_spirv_op(m, SpvOpFNegate, e->f32, x), x);
    return f32_to_bf16(e, x);
}

static rlx_spirv_id int_to_float(rlx_spirv_emit *e, rlx_format from, rlx_format to, rlx_spirv_id x)
{
    rlx_format step = to == RLX_F64 ? RLX_F64 : RLX_F32;
    if (to == RLX_BF16 && bytes_of(from) > 2)
        return int_to_bf16(e, from, x);
    if (from == RLX_BOOL)
        x = choose(e, e->u32, x, u32(e, 1), u32(e, 0));
    x = rlx_spirv_op(&e->m, is_signed(from) ? SpvOpConvertSToF : SpvOpConvertUToF,
                     rlx_spirv_value_type(e, step), x);
    return narrow_float(e, step, to, x);
}

/* A register of 32 bits as 64. The sign is extended by words: Mesa (22.3, lavapipe) compares the
 * result of OpSConvert with constants wrongly. */
static rlx_spirv_id to_i64(rlx_spirv_emit *e, rlx_format from, rlx_spirv_id x)
{
    rlx_spirv_module *m = &e->m;
    if (!is_signed(from))
        return rlx_spirv_op(m, SpvOpUConvert, e->i64, x);
    rlx_spirv_id high = int_op(e, SpvOpShiftRightArithmetic, x, u32(e, 31));
    rlx_spirv_id pair = rlx_spirv_type_vector(m, e->u32, 2);
    pair = rlx_spirv_op(m, SpvOpCompositeConstruct, pair, x, high);
    return rlx_spirv_op(m, SpvOpBitcast, e->i64, pair);
}

static bool is_long(rlx_format f)
{
    return f == RLX_I64 || f == RLX_U64;
}

static rlx_spirv_id int_to_int(rlx_spirv_emit *e, rlx_format from, rlx_format to, rlx_spirv_id x)
{
    rlx_spirv_id type = rlx_spirv_value_type(e, to);
    if (to == RLX_BOOL)
        return compare(e, SpvOpINotEqual, x, int_const(e, from, 0));
    if (from == RLX_BOOL)
        return choose(e, type, x, int_const(e, to, 1), int_const(e, to, 0));
    if (is_long(to))
        return is_long(from) ? x : to_i64(e, from, x);
    if (is_long(from))
        x = rlx_spirv_op(&e->m, SpvOpUConvert, type, x); /* the low bits */
    return wrap(e, to, x);
}

rlx_spirv_id rlx_spirv_cast(rlx_spirv_emit *e, rlx_format from, rlx_format to, rlx_spirv_id x)
{
    if (from == to)
        return x;
    if (!is_float(from))
        return is_float(to) ? int_to_float(e, from, to, x) : int_to_int(e, from, to, x);
    x = widen_float(e, &from, x);
    if (is_float(to))
        return narrow_float(e, from, to, x);
    if (to == RLX_BOOL)
        return compare(e, SpvOpFUnordNotEqual, x, rlx_spirv_zero(e, from));
    SpvOp op = is_signed(to) ? SpvOpConvertFToS : SpvOpConvertFToU;
    return wrap(e, to, rlx_spirv_op(&e->m, op, rlx_spirv_value_type(e, to), x));
}

rlx_spirv_id rlx_spirv_bitcast(rlx_spirv_emit *e, rlx_format from, rlx_format to, rlx_spirv_id x)
{
    rlx_spirv_id type = rlx_spirv_value_type(e, to);
    assert(bytes_of(from) == bytes_of(to));
    if (from == to)
        return x;
    if (from == RLX_BOOL || to == RLX_BOOL)
        return int_to_int(e, from, to, x);
    if (bytes_of(from) < 4) {
        if (is_narrow_int(to))
            return wrap(e, to, x);
        return int_op(e, SpvOpBitwiseAnd, x, u32(e, 0xffff)); /* the bits of a 16-bit float */
    }
    return type == rlx_spirv_value_type(e, from) ? x : rlx_spirv_op(&e->m, SpvOpBitcast, type, x);
}
