#include "jit/llvm_emit.h"

/* Scalar functions and casts on one part: an LLVM scalar, or a vector with the same meaning in
 * every lane. No fast-math flags anywhere: the bits are those of the evaluators. */

static bool is_float(rlx_format f)
{
    return rlx_format_get(f)->kind == RLX_KIND_FLOAT;
}

static bool is_signed(rlx_format f)
{
    return rlx_format_get(f)->kind == RLX_KIND_INT;
}

/* `elem` with the lanes of `like`. */
static LLVMTypeRef with_lanes(LLVMTypeRef elem, LLVMTypeRef like)
{
    return LLVMGetTypeKind(like) == LLVMVectorTypeKind
               ? LLVMVectorType(elem, LLVMGetVectorSize(like))
               : elem;
}

static LLVMValueRef int_like(const rlx_emit *e, LLVMTypeRef type, int64_t v)
{
    LLVMTypeRef elem =
        LLVMGetTypeKind(type) == LLVMVectorTypeKind ? LLVMGetElementType(type) : type;
    return rlx_emit_splat(e, rlx_emit_int(elem, v), type); /* folds to a constant */
}

LLVMValueRef rlx_emit_constant(const rlx_emit *e, const rlx_ir_node *n, LLVMTypeRef type)
{
    rlx_format f = n->out[0]->type.format;
    LLVMTypeRef elem = rlx_emit_value_type(e, f);
    double value = rlx_ir_attr_float(n, RLX_ATTR_VALUE, 0);
    int64_t ivalue = rlx_ir_attr_int(n, RLX_ATTR_IVALUE, 0);
    LLVMValueRef c;
    if (f == RLX_BF16)
        c = rlx_emit_int(elem, rlx_f32_to_bf16((float)value));
    else if (f == RLX_BOOL)
        c = rlx_emit_int(elem, ivalue != 0);
    else if (is_float(f))
        c = LLVMConstReal(elem, value);
    else
        c = rlx_emit_int(elem, ivalue);
    return rlx_emit_splat(e, c, type);
}

LLVMValueRef rlx_emit_from_memory(const rlx_emit *e, rlx_format f, LLVMValueRef x)
{
    if (f != RLX_BOOL)
        return x;
    return LLVMBuildICmp(e->b, LLVMIntNE, x, LLVMConstNull(LLVMTypeOf(x)), "");
}

LLVMValueRef rlx_emit_to_memory(const rlx_emit *e, rlx_format f, LLVMValueRef x)
{
    if (f != RLX_BOOL)
        return x;
    return LLVMBuildZExt(e->b, x, with_lanes(e->i8, LLVMTypeOf(x)), "");
}

/* ---- map ---- */

/* The value of an integer constant that is the same in every lane. */
static bool is_constant(LLVMValueRef v, int64_t *out)
{
    if (!LLVMIsConstant(v))
        return false;
    if (LLVMGetTypeKind(LLVMTypeOf(v)) == LLVMVectorTypeKind) {
        LLVMValueRef first = LLVMGetAggregateElement(v, 0);
        for (unsigned i = 1; i < LLVMGetVectorSize(LLVMTypeOf(v)); i++)
            if (LLVMGetAggregateElement(v, i) != first)
                return false;
        v = first;
    }
    if (!LLVMIsAConstantInt(v))
        return false;
    *out = LLVMConstIntGetSExtValue(v);
    return true;
}

/* Floor division and its remainder by a constant that is neither 0 nor -1, or by `y` made so. */
static LLVMValueRef floor_divide(const rlx_emit *e, bool want_mod, LLVMValueRef x, LLVMValueRef y)
{
    LLVMBuilderRef b = e->b;
    LLVMTypeRef type = LLVMTypeOf(x);
    LLVMValueRef rem = LLVMBuildSRem(b, x, y, ""), zero = LLVMConstNull(type);
    /* Truncation is one too high when a remainder has not the divisor's sign. */
    LLVMValueRef signs = LLVMBuildICmp(b, LLVMIntSLT, LLVMBuildXor(b, rem, y, ""), zero, "");
    LLVMValueRef off = LLVMBuildAnd(b, LLVMBuildICmp(b, LLVMIntNE, rem, zero, ""), signs, "");
    if (want_mod)
        return LLVMBuildSelect(b, off, LLVMBuildAdd(b, rem, y, ""), rem, "");
    LLVMValueRef quot = LLVMBuildSDiv(b, x, y, "");
    return LLVMBuildSub(b, quot, LLVMBuildZExt(b, off, type, ""), "");
}

/* By 0 the quotient and the remainder are 0, by -1 the quotient wraps: the machine traps on both.
 */
static LLVMValueRef divide(const rlx_emit *e, rlx_format f, bool want_mod, LLVMValueRef x,
                           LLVMValueRef y)
{
    LLVMBuilderRef b = e->b;
    LLVMTypeRef type = LLVMTypeOf(x);
    LLVMValueRef zero = LLVMConstNull(type), one = int_like(e, type, 1);
    int64_t by = 0;
    bool known = is_constant(y, &by);
    if (known && by > 0 && (by & (by - 1)) == 0) {
        LLVMValueRef shift = int_like(e, type, __builtin_ctzll((uint64_t)by));
        if (want_mod)
            return LLVMBuildAnd(b, x, int_like(e, type, by - 1), "");
        return is_signed(f) ? LLVMBuildAShr(b, x, shift, "") : LLVMBuildLShr(b, x, shift, "");
    }
    if (known && by > 0)
        return is_signed(f) ? floor_divide(e, want_mod, x, y)
               : want_mod   ? LLVMBuildURem(b, x, y, "")
                            : LLVMBuildUDiv(b, x, y, "");
    LLVMValueRef by_zero = LLVMBuildICmp(b, LLVMIntEQ, y, zero, ""), result;
    if (!is_signed(f)) {
        LLVMValueRef safe = LLVMBuildSelect(b, by_zero, one, y, "");
        result = want_mod ? LLVMBuildURem(b, x, safe, "") : LLVMBuildUDiv(b, x, safe, "");
        return LLVMBuildSelect(b, by_zero, zero, result, "");
    }
    LLVMValueRef minus = LLVMBuildICmp(b, LLVMIntEQ, y, LLVMConstAllOnes(type), "");
    LLVMValueRef safe = LLVMBuildSelect(b, LLVMBuildOr(b, by_zero, minus, ""), one, y, "");
    result = floor_divide(e, want_mod, x, safe);
    if (want_mod)
        return result;
    result = LLVMBuildSelect(b, minus, LLVMBuildNeg(b, x, ""), result, "");
    return LLVMBuildSelect(b, by_zero, zero, result, "");
}

/* Shifted out altogether when `by` is no bit number. */
static LLVMValueRef shift_left(const rlx_emit *e, rlx_format f, LLVMValueRef x, LLVMValueRef by)
{
    LLVMTypeRef type = LLVMTypeOf(x);
    LLVMValueRef bits = int_like(e, type, 8 * rlx_format_get(f)->block_bytes);
    LLVMValueRef inside = LLVMBuildICmp(e->b, LLVMIntULT, by, bits, "");
    LLVMValueRef shifted = LLVMBuildShl(e->b, x, by, "");
    return LLVMBuildSelect(e->b, inside, shifted, LLVMConstNull(type), "");
}

/* As shift_left; the sign of signed integers comes in from above. */
static LLVMValueRef shift_right(const rlx_emit *e, rlx_format f, LLVMValueRef x, LLVMValueRef by)
{
    LLVMTypeRef type = LLVMTypeOf(x);
    LLVMValueRef bits = int_like(e, type, 8 * rlx_format_get(f)->block_bytes);
    LLVMValueRef inside = LLVMBuildICmp(e->b, LLVMIntULT, by, bits, "");
    LLVMValueRef shifted =
        is_signed(f) ? LLVMBuildAShr(e->b, x, by, "") : LLVMBuildLShr(e->b, x, by, "");
    return LLVMBuildSelect(e->b, inside, shifted, LLVMConstNull(type), "");
}

static rlx_status map_float(rlx_emit *e, const rlx_ir_node *n, rlx_map_fn fn,
                            const LLVMValueRef *in, LLVMValueRef *out)
{
    LLVMBuilderRef b = e->b;
    int arity = rlx_map_fn_get(fn)->arity;
    LLVMValueRef args[3] = {in[0], arity > 1 ? in[1] : NULL, arity > 2 ? in[2] : NULL};
    LLVMValueRef x = args[0], y = args[1];
    LLVMTypeRef type = LLVMTypeOf(x);
    switch (fn) {
    case RLX_FN_ADD:
        *out = LLVMBuildFAdd(b, x, y, "");
        return RLX_OK;
    case RLX_FN_SUB:
        *out = LLVMBuildFSub(b, x, y, "");
        return RLX_OK;
    case RLX_FN_MUL:
        *out = LLVMBuildFMul(b, x, y, "");
        return RLX_OK;
    case RLX_FN_DIV:
        *out = LLVMBuildFDiv(b, x, y, "");
        return RLX_OK;
    case RLX_FN_MIN:
        *out = LLVMBuildSelect(b, LLVMBuildFCmp(b, LLVMRealOLT, x, y, ""), x, y, "");
        return RLX_OK;
    case RLX_FN_MAX:
        *out = LLVMBuildSelect(b, LLVMBuildFCmp(b, LLVMRealOGT, x, y, ""), x, y, "");
        return RLX_OK;
    case RLX_FN_FMA:
        *out = rlx_emit_intrinsic(e, "llvm.fma", type, args, 3);
        return RLX_OK;
    case RLX_FN_NEG:
        *out = LLVMBuildFNeg(b, x, "");
        return RLX_OK;
    case RLX_FN_ABS:
        *out = rlx_emit_intrinsic(e, "llvm.fabs", type, args, 1);
        return RLX_OK;
    case RLX_FN_SQRT:
        *out = rlx_emit_intrinsic(e, "llvm.sqrt", type, args, 1);
        return RLX_OK;
    case RLX_FN_ROUND:
        *out = rlx_emit_intrinsic(e, "llvm.roundeven", type, args, 1);
        return RLX_OK;
    case RLX_FN_FLOOR:
        *out = rlx_emit_intrinsic(e, "llvm.floor", type, args, 1);
        return RLX_OK;
    case RLX_FN_LT:
        *out = LLVMBuildFCmp(b, LLVMRealOLT, x, y, "");
        return RLX_OK;
    case RLX_FN_LE:
        *out = LLVMBuildFCmp(b, LLVMRealOLE, x, y, "");
        return RLX_OK;
    case RLX_FN_EQ:
        *out = LLVMBuildFCmp(b, LLVMRealOEQ, x, y, "");
        return RLX_OK;
    case RLX_FN_EXP:
    case RLX_FN_RSQRT:
    case RLX_FN_LOG:
    case RLX_FN_SIN:
    case RLX_FN_COS:
    case RLX_FN_ATAN:
    case RLX_FN_TANH:
    case RLX_FN_ERF:
        return rlx_emit_unsupported(e, n, "%s was not expanded (pass expand_math)",
                                    rlx_map_fn_get(fn)->name);
    default:
        return rlx_emit_unsupported(e, n, "%s has no meaning on floats", rlx_map_fn_get(fn)->name);
    }
}

static rlx_status map_int(rlx_emit *e, const rlx_ir_node *n, rlx_map_fn fn, rlx_format f,
                          const LLVMValueRef *in, LLVMValueRef *out)
{
    LLVMBuilderRef b = e->b;
    LLVMValueRef x = in[0], y = rlx_map_fn_get(fn)->arity > 1 ? in[1] : NULL;
    bool sgn = is_signed(f);
    LLVMIntPredicate lt = sgn ? LLVMIntSLT : LLVMIntULT, le = sgn ? LLVMIntSLE : LLVMIntULE;
    switch (fn) {
    case RLX_FN_ADD:
        *out = LLVMBuildAdd(b, x, y, "");
        return RLX_OK;
    case RLX_FN_SUB:
        *out = LLVMBuildSub(b, x, y, "");
        return RLX_OK;
    case RLX_FN_MUL:
        *out = LLVMBuildMul(b, x, y, "");
        return RLX_OK;
    case RLX_FN_DIV:
    case RLX_FN_MOD:
        *out = divide(e, f, fn == RLX_FN_MOD, x, y);
        return RLX_OK;
    case RLX_FN_MIN:
        *out = LLVMBuildSelect(b, LLVMBuildICmp(b, lt, x, y, ""), x, y, "");
        return RLX_OK;
    case RLX_FN_MAX:
        *out = LLVMBuildSelect(b, LLVMBuildICmp(b, lt, y, x, ""), x, y, "");
        return RLX_OK;
    case RLX_FN_FMA:
        *out = LLVMBuildAdd(b, LLVMBuildMul(b, x, y, ""), in[2], "");
        return RLX_OK;
    case RLX_FN_NEG:
        *out = LLVMBuildNeg(b, x, "");
        return RLX_OK;
    case RLX_FN_ABS:
        if (!sgn)
            *out = x;
        else
            *out = LLVMBuildSelect(
                b, LLVMBuildICmp(b, LLVMIntSLT, x, LLVMConstNull(LLVMTypeOf(x)), ""),
                LLVMBuildNeg(b, x, ""), x, "");
        return RLX_OK;
    case RLX_FN_LT:
        *out = LLVMBuildICmp(b, lt, x, y, "");
        return RLX_OK;
    case RLX_FN_LE:
        *out = LLVMBuildICmp(b, le, x, y, "");
        return RLX_OK;
    case RLX_FN_EQ:
        *out = LLVMBuildICmp(b, LLVMIntEQ, x, y, "");
        return RLX_OK;
    case RLX_FN_AND:
        *out = LLVMBuildAnd(b, x, y, "");
        return RLX_OK;
    case RLX_FN_OR:
        *out = LLVMBuildOr(b, x, y, "");
        return RLX_OK;
    case RLX_FN_SHL:
        *out = shift_left(e, f, x, y);
        return RLX_OK;
    case RLX_FN_SHR:
        *out = shift_right(e, f, x, y);
        return RLX_OK;
    case RLX_FN_XOR:
        *out = LLVMBuildXor(b, x, y, "");
        return RLX_OK;
    default:
        return rlx_emit_unsupported(e, n, "%s has no meaning on integers",
                                    rlx_map_fn_get(fn)->name);
    }
}

/* ---- one part ---- */

/* 16-bit floats by way of f32: it has more than twice their precision, so rounding again to them
 * does no harm, but for fma, whose exact result can be longer. */
static rlx_status map_half(rlx_emit *e, const rlx_ir_node *n, rlx_map_fn fn, rlx_format f,
                           const LLVMValueRef *in, LLVMValueRef *out)
{
    const rlx_map_fn_info *info = rlx_map_fn_get(fn);
    if (fn == RLX_FN_FMA)
        return rlx_emit_unsupported(e, n, "fma on %s; cast to f32", rlx_format_get(f)->name);
    LLVMValueRef wide[3] = {0};
    for (int i = 0; i < info->arity; i++)
        RLX_TRY(rlx_emit_cast(e, n, f, RLX_F32, in[i], &wide[i]));
    RLX_TRY(map_float(e, n, fn, wide, out));
    return info->to_bool ? RLX_OK : rlx_emit_cast(e, n, RLX_F32, f, *out, out);
}

rlx_status rlx_emit_map(rlx_emit *e, const rlx_ir_node *n, rlx_map_fn fn, rlx_format f,
                        const LLVMValueRef *in, LLVMValueRef *out)
{
    if (fn == RLX_FN_SELECT) {
        *out = LLVMBuildSelect(e->b, in[0], in[1], in[2], "");
        return RLX_OK;
    }
    if (f == RLX_F16 || f == RLX_BF16)
        return map_half(e, n, fn, f, in, out);
    if (is_float(f))
        return map_float(e, n, fn, in, out);
    if (f == RLX_BOOL && fn != RLX_FN_AND && fn != RLX_FN_OR && fn != RLX_FN_XOR && fn != RLX_FN_EQ)
        return rlx_emit_unsupported(e, n, "%s has no meaning on bools", rlx_map_fn_get(fn)->name);
    return map_int(e, n, fn, f, in, out);
}

/* ---- cast ---- */

static LLVMValueRef bf16_to_f32(const rlx_emit *e, LLVMValueRef x)
{
    LLVMTypeRef wide = with_lanes(e->i32, LLVMTypeOf(x));
    LLVMValueRef bits =
        LLVMBuildShl(e->b, LLVMBuildZExt(e->b, x, wide, ""), int_like(e, wide, 16), "");
    return LLVMBuildBitCast(e->b, bits, with_lanes(e->f32, wide), "");
}

/* Nearest even, NaNs made quiet: as rlx_f32_to_bf16. */
static LLVMValueRef f32_to_bf16(const rlx_emit *e, LLVMValueRef x)
{
    LLVMBuilderRef b = e->b;
    LLVMTypeRef wide = with_lanes(e->i32, LLVMTypeOf(x));
    LLVMValueRef bits = LLVMBuildBitCast(b, x, wide, ""), c16 = int_like(e, wide, 16);
    LLVMValueRef top = LLVMBuildLShr(b, bits, c16, "");
    LLVMValueRef odd = LLVMBuildAnd(b, top, int_like(e, wide, 1), "");
    LLVMValueRef up =
        LLVMBuildAdd(b, bits, LLVMBuildAdd(b, odd, int_like(e, wide, 0x7fff), ""), "");
    LLVMValueRef quiet = LLVMBuildOr(b, top, int_like(e, wide, 0x40), "");
    LLVMValueRef nan = LLVMBuildFCmp(b, LLVMRealUNO, x, x, "");
    LLVMValueRef r = LLVMBuildSelect(b, nan, quiet, LLVMBuildLShr(b, up, c16, ""), "");
    return LLVMBuildTrunc(b, r, with_lanes(e->i16, wide), "");
}

/* To f32 or f64, exactly, or from f32/f64/f16 as it is. */
static LLVMValueRef widen_float(const rlx_emit *e, rlx_format *f, LLVMValueRef x)
{
    if (*f == RLX_BF16)
        x = bf16_to_f32(e, x);
    else if (*f == RLX_F16)
        x = LLVMBuildFPExt(e->b, x, with_lanes(e->f32, LLVMTypeOf(x)), "");
    else
        return x;
    *f = RLX_F32;
    return x;
}

/* `x` is f32 or f64. */
static rlx_status narrow_float(rlx_emit *e, const rlx_ir_node *n, rlx_format from, rlx_format to,
                               LLVMValueRef x, LLVMValueRef *out)
{
    LLVMTypeRef type = with_lanes(rlx_emit_value_type(e, to), LLVMTypeOf(x));
    if (from == to)
        *out = x;
    else if (to == RLX_F64)
        *out = LLVMBuildFPExt(e->b, x, type, "");
    else if (to == RLX_F32)
        *out = LLVMBuildFPTrunc(e->b, x, type, "");
    else if (from == RLX_F64) /* by way of f32 it would be rounded twice */
        return rlx_emit_unsupported(e, n, "f64 to %s", rlx_format_get(to)->name);
    else if (to == RLX_F16)
        *out = LLVMBuildFPTrunc(e->b, x, type, "");
    else
        *out = f32_to_bf16(e, x);
    return RLX_OK;
}

static rlx_status int_to_float(rlx_emit *e, const rlx_ir_node *n, rlx_format from, rlx_format to,
                               LLVMValueRef x, LLVMValueRef *out)
{
    rlx_format step = to == RLX_F64 ? RLX_F64 : RLX_F32;
    bool small = from == RLX_BOOL || rlx_format_get(from)->block_bytes <= 2;
    if (to != step && !small) /* rounded twice */
        return rlx_emit_unsupported(e, n, "%s to %s", rlx_format_get(from)->name,
                                    rlx_format_get(to)->name);
    LLVMTypeRef type = with_lanes(rlx_emit_value_type(e, step), LLVMTypeOf(x));
    x = is_signed(from) ? LLVMBuildSIToFP(e->b, x, type, "") : LLVMBuildUIToFP(e->b, x, type, "");
    return narrow_float(e, n, step, to, x, out);
}

static LLVMValueRef int_to_int(const rlx_emit *e, rlx_format from, rlx_format to, LLVMValueRef x)
{
    LLVMTypeRef type = with_lanes(rlx_emit_value_type(e, to), LLVMTypeOf(x));
    if (to == RLX_BOOL)
        return LLVMBuildICmp(e->b, LLVMIntNE, x, LLVMConstNull(LLVMTypeOf(x)), "");
    int have = from == RLX_BOOL ? 0 : rlx_format_get(from)->block_bytes;
    int want = rlx_format_get(to)->block_bytes;
    if (want < have)
        return LLVMBuildTrunc(e->b, x, type, "");
    if (want == have)
        return x;
    return is_signed(from) ? LLVMBuildSExt(e->b, x, type, "") : LLVMBuildZExt(e->b, x, type, "");
}

rlx_status rlx_emit_cast(rlx_emit *e, const rlx_ir_node *n, rlx_format from, rlx_format to,
                         LLVMValueRef x, LLVMValueRef *out)
{
    if (from == to) {
        *out = x;
        return RLX_OK;
    }
    if (!is_float(from)) {
        if (is_float(to))
            return int_to_float(e, n, from, to, x, out);
        *out = int_to_int(e, from, to, x);
        return RLX_OK;
    }
    x = widen_float(e, &from, x);
    if (is_float(to))
        return narrow_float(e, n, from, to, x, out);
    LLVMTypeRef type = with_lanes(rlx_emit_value_type(e, to), LLVMTypeOf(x));
    if (to == RLX_BOOL)
        *out = LLVMBuildFCmp(e->b, LLVMRealUNE, x, LLVMConstNull(LLVMTypeOf(x)), "");
    else if (is_signed(to))
        *out = LLVMBuildFPToSI(e->b, x, type, "");
    else
        *out = LLVMBuildFPToUI(e->b, x, type, "");
    return RLX_OK;
}
