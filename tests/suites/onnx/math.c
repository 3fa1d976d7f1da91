/* tests/suites/onnx/math.c: elementwise operators. */
#include <math.h>

#include "tests/suites/onnx/onnx.h"

#define UNARY(name, expr)     \
    static void name(onnx *x) \
    {                         \
        val a = ox_in(x, 0);  \
        ox_out(x, 0, expr);   \
    }
#define BINARY(name, expr)                    \
    static void name(onnx *x)                 \
    {                                         \
        val a = ox_in(x, 0), b = ox_in(x, 1); \
        ox_out(x, 0, expr);                   \
    }
#define ALPHA(absent) LIKE(a, ox_float(x, "alpha", absent))
#define BETA(absent) LIKE(a, ox_float(x, "beta", absent))
#define ONE LIKE(a, 1)
#define ZERO LIKE(a, 0)

UNARY(do_abs, ABS(a))
UNARY(do_neg, NEG(a))
UNARY(do_exp, EXP(a))
UNARY(do_log, LOG(a))
UNARY(do_sqrt, SQRT(a))
UNARY(do_floor, FLOOR(a))
UNARY(do_ceil, NEG(FLOOR(NEG(a))))
UNARY(do_round, MAP1(ROUND, a))
UNARY(do_reciprocal, DIV(ONE, a))
UNARY(do_sign, PICK(LT(ZERO, a), ONE, PICK(LT(a, ZERO), LIKE(a, -1), ZERO)))
UNARY(do_identity, a)
UNARY(do_not, rlx_build_not(x->b, a))
UNARY(do_bit_not, MAP2(XOR, a, SUB(ZERO, ONE)))

UNARY(do_sin, MAP1(SIN, a))
UNARY(do_cos, MAP1(COS, a))
UNARY(do_tan, DIV(MAP1(SIN, a), MAP1(COS, a)))
UNARY(do_atan, MAP1(ATAN, a))
UNARY(do_tanh, MAP1(TANH, a))
UNARY(do_erf, MAP1(ERF, a))

/* (1 - a)(1 + a) */
static val complement(onnx *x, val a)
{
    return MUL(SUB(ONE, a), ADD(ONE, a));
}
UNARY(do_asin, MAP1(ATAN, DIV(a, SQRT(complement(x, a)))))
UNARY(do_acos, SUB(LIKE(a, 1.5707963267948966), MAP1(ATAN, DIV(a, SQRT(complement(x, a))))))
UNARY(do_sinh, MUL(LIKE(a, 0.5), SUB(EXP(a), EXP(NEG(a)))))
UNARY(do_cosh, MUL(LIKE(a, 0.5), ADD(EXP(a), EXP(NEG(a)))))
/* of |a|, whose sum does not cancel */
static val asinh_of(onnx *x, val a)
{
    val m = ABS(a), y = LOG(ADD(m, SQRT(ADD(MUL(m, m), ONE))));
    return PICK(LT(a, ZERO), NEG(y), y);
}
UNARY(do_asinh, asinh_of(x, a))
UNARY(do_acosh, LOG(ADD(a, SQRT(MUL(SUB(a, ONE), ADD(a, ONE))))))
UNARY(do_atanh, MUL(LIKE(a, 0.5), LOG(DIV(ADD(ONE, a), SUB(ONE, a)))))

/* Functions that stages have, too; of f32. */
#define ACTIVATION(name, fn, alpha) \
    UNARY(name, rlx_build_activation(x->b, RLX_ACT_##fn, alpha, 0, a))
#define GIVEN(absent) ox_float(x, "alpha", absent)
ACTIVATION(do_relu, RELU, 0)
ACTIVATION(do_sigmoid, SIGMOID, 0)
ACTIVATION(do_softplus, SOFTPLUS, 1)
ACTIVATION(do_softsign, SOFTSIGN, 0)
ACTIVATION(do_elu, ELU, GIVEN(1))
ACTIVATION(do_leaky, LEAKY_RELU, GIVEN(0.01))
ACTIVATION(do_hard_swish, HARD_SWISH, 0)
ACTIVATION(do_mish, MISH, 0)
UNARY(do_gelu, rlx_build_activation(x->b,
                                    ox_text(x, "approximate", "none")[0] == 't' ? RLX_ACT_GELU_TANH
                                                                                : RLX_ACT_GELU,
                                    0, 0, a))
/* alpha (e^(x / divisor) - 1) below 0 */
static val exponential(onnx *x, val a, double alpha, double divisor)
{
    return PICK(LT(a, ZERO), MUL(LIKE(a, alpha), SUB(EXP(DIV(a, LIKE(a, divisor))), ONE)), a);
}
UNARY(do_celu, exponential(x, a, GIVEN(1), GIVEN(1)))
UNARY(do_selu, MUL(LIKE(a, ox_float(x, "gamma", 1.0507009873554805)),
                   exponential(x, a, GIVEN(1.6732632423543772), 1)))
UNARY(do_thresholded, PICK(LT(ALPHA(1), a), a, ZERO))
UNARY(do_hard_sigmoid, rlx_build_clamp(x->b, ADD(MUL(ALPHA(0.2), a), BETA(0.5)), 0, 1))
UNARY(do_swish, MUL(a, rlx_build_sigmoid(x->b, MUL(ALPHA(1), a))))

static void do_shrink(onnx *x)
{
    val a = ox_in(x, 0), l = LIKE(a, ox_float(x, "lambd", 0.5)),
        b = LIKE(a, ox_float(x, "bias", 0));
    ox_out(x, 0, PICK(LT(a, NEG(l)), ADD(a, b), PICK(LT(l, a), SUB(a, b), ZERO)));
}

BINARY(do_add, ADD(a, b))
BINARY(do_sub, SUB(a, b))
BINARY(do_mul, MUL(a, b))
BINARY(do_prelu, PICK(LT(a, ZERO), MUL(b, a), a))
BINARY(do_and, AND(a, b))
BINARY(do_or, MAP2(OR, a, b))
BINARY(do_xor, MAP2(XOR, a, b))
BINARY(do_equal, EQ(a, b))
BINARY(do_less, LT(a, b))
BINARY(do_less_equal, LE(a, b))
BINARY(do_greater, LT(b, a))
BINARY(do_greater_equal, LE(b, a))

/* What truncates where rlx's division and remainder of integers floor. */
static val truncated_mod(onnx *x, val a, val b)
{
    val r = MAP2(MOD, ABS(a), ABS(b));
    return PICK(LT(a, ZERO), NEG(r), r);
}

static bool is_float(val a)
{
    const rlx_format f = rlx_value_format(a);
    return f == RLX_F32 || f == RLX_F64;
}

static bool is_signed_int(val a)
{
    const rlx_format f = rlx_value_format(a);
    return f == RLX_I8 || f == RLX_I16 || f == RLX_I32 || f == RLX_I64;
}

static void do_div(onnx *x)
{
    val a = ox_in(x, 0), b = ox_in(x, 1);
    if (!is_signed_int(a)) {
        ox_out(x, 0, DIV(a, b));
        return;
    }
    val q = DIV(ABS(a), ABS(b));
    val opposite = MAP2(XOR, LT(a, ZERO), LT(b, ZERO));
    ox_out(x, 0, PICK(opposite, NEG(q), q));
}

static void do_mod(onnx *x)
{
    val a = ox_in(x, 0), b = ox_in(x, 1);
    if (is_float(a)) {
        val q = DIV(a, b);
        q = PICK(LT(q, ZERO), NEG(FLOOR(NEG(q))), FLOOR(q));
        ox_out(x, 0, SUB(a, MUL(q, b)));
    } else {
        bool truncates = ox_int(x, "fmod", 0) && is_signed_int(a);
        ox_out(x, 0, truncates ? truncated_mod(x, a, b) : MAP2(MOD, a, b));
    }
}

/* a^b for whole b: by its bits. */
static val whole_power(onnx *x, val a, val b)
{
    val y = ADD(MUL(a, rlx_build_cast(x->b, LIKE(b, 0), rlx_value_format(a))), ONE);
    for (int bit = 0; bit < 7; bit++) {
        val odd = EQ(MAP2(AND, b, LIKE(b, 1)), LIKE(b, 1));
        y = PICK(odd, MUL(y, a), y);
        a = MUL(a, a);
        b = MAP2(SHR, b, LIKE(b, 1));
    }
    return y;
}

static void do_pow(onnx *x)
{
    val a = ox_in(x, 0), b = ox_in(x, 1);
    b = rlx_build_cast(x->b, b, rlx_value_format(a));
    /* exponents of integers are whole and not negative */
    ox_out(x, 0, is_float(a) ? rlx_build_pow(x->b, a, b) : whole_power(x, a, b));
}

static void do_shift(onnx *x)
{
    bool left = ox_text(x, "direction", "")[0] == 'L';
    ox_out(x, 0, rlx_build_map2(x->b, left ? RLX_MAP_SHL : RLX_MAP_SHR, ox_in(x, 0), ox_in(x, 1)));
}

static val all_of(onnx *x, rlx_map fn)
{
    val y = ox_in(x, 0);
    for (int i = 1; i < x->nin; i++)
        y = rlx_build_map2(x->b, fn, y, ox_in(x, i));
    return y;
}

static void do_max(onnx *x)
{
    ox_out(x, 0, all_of(x, RLX_MAP_MAX));
}

static void do_min(onnx *x)
{
    ox_out(x, 0, all_of(x, RLX_MAP_MIN));
}

static void do_sum(onnx *x)
{
    ox_out(x, 0, all_of(x, RLX_MAP_ADD));
}

static void do_mean(onnx *x)
{
    val a = all_of(x, RLX_MAP_ADD);
    ox_out(x, 0, DIV(a, LIKE(a, x->nin)));
}

static void do_clip(onnx *x)
{
    val a = ox_in(x, 0);
    if (ox_has(x, 1))
        a = MAX(a, ox_in(x, 1));
    if (ox_has(x, 2))
        a = MIN(a, ox_in(x, 2));
    ox_out(x, 0, a);
}

static void do_where(onnx *x)
{
    ox_out(x, 0, PICK(ox_in(x, 0), ox_in(x, 1), ox_in(x, 2)));
}

static void do_is_nan(onnx *x)
{
    val a = ox_in(x, 0);
    ox_out(x, 0, rlx_build_not(x->b, EQ(a, a)));
}

static void do_is_inf(onnx *x)
{
    val a = ox_in(x, 0), y = rlx_build_number(x->b, RLX_BOOL, 0);
    if (ox_int(x, "detect_positive", 1))
        y = MAP2(OR, y, EQ(a, LIKE(a, INFINITY)));
    if (ox_int(x, "detect_negative", 1))
        y = MAP2(OR, y, EQ(a, LIKE(a, -INFINITY)));
    ox_out(x, 0, y);
}

static void do_cast(onnx *x)
{
    ox_out(x, 0, rlx_build_saturate(x->b, ox_in(x, 0), ox_dtype(x, ox_int(x, "to", 1))));
}

static void do_cast_like(onnx *x)
{
    ox_out(x, 0, rlx_build_saturate(x->b, ox_in(x, 0), x->in[1].format));
}

static void do_bit_cast(onnx *x)
{
    ox_out(x, 0, rlx_build_bitcast(x->b, ox_raw(x, 0), ox_dtype(x, ox_int(x, "to", 1))));
}

/* In inference nothing is dropped; a training one with ratio 0 drops nothing either. */
static void do_dropout(onnx *x)
{
    val a = ox_in(x, 0);
    if (ox_number(x, 2, 0) != 0 && ox_number(x, 1, 0.5) != 0)
        ox_refuse(x, "random numbers");
    ox_out(x, 0, a);
    if (x->nout > 1)
        ox_out(x, 1, ox_expand(x, rlx_build_number(x->b, RLX_BOOL, 1), a));
}

const onnx_op onnx_math[] = {OP(Abs, do_abs),
                             OP(Acos, do_acos),
                             OP(Acosh, do_acosh),
                             OP(Add, do_add),
                             OP(And, do_and),
                             OP(Asin, do_asin),
                             OP(Asinh, do_asinh),
                             OP(Atan, do_atan),
                             OP(Atanh, do_atanh),
                             OP(BitCast, do_bit_cast),
                             OP(BitShift, do_shift),
                             OP(BitwiseAnd, do_and),
                             OP(BitwiseNot, do_bit_not),
                             OP(BitwiseOr, do_or),
                             OP(BitwiseXor, do_xor),
                             OP(Cast, do_cast),
                             OP(CastLike, do_cast_like),
                             OP(Ceil, do_ceil),
                             OP(Celu, do_celu),
                             OP(Clip, do_clip),
                             OP(Cos, do_cos),
                             OP(Cosh, do_cosh),
                             OP(Div, do_div),
                             OP(Dropout, do_dropout),
                             OP(Elu, do_elu),
                             OP(Equal, do_equal),
                             OP(Erf, do_erf),
                             OP(Exp, do_exp),
                             OP(Floor, do_floor),
                             OP(Gelu, do_gelu),
                             OP(Greater, do_greater),
                             OP(GreaterOrEqual, do_greater_equal),
                             OP(HardSigmoid, do_hard_sigmoid),
                             OP(HardSwish, do_hard_swish),
                             OP(Identity, do_identity),
                             OP(IsInf, do_is_inf),
                             OP(IsNaN, do_is_nan),
                             OP(LeakyRelu, do_leaky),
                             OP(Less, do_less),
                             OP(LessOrEqual, do_less_equal),
                             OP(Log, do_log),
                             OP(Max, do_max),
                             OP(Mean, do_mean),
                             OP(Min, do_min),
                             OP(Mish, do_mish),
                             OP(Mod, do_mod),
                             OP(Mul, do_mul),
                             OP(Neg, do_neg),
                             OP(Not, do_not),
                             OP(OptionalGetElement, do_identity),
                             OP(Or, do_or),
                             OP(PRelu, do_prelu),
                             OP(Pow, do_pow),
                             OP(Reciprocal, do_reciprocal),
                             OP(Relu, do_relu),
                             OP(Round, do_round),
                             OP(Selu, do_selu),
                             OP(Shrink, do_shrink),
                             OP(Sigmoid, do_sigmoid),
                             OP(Sign, do_sign),
                             OP(Sin, do_sin),
                             OP(Sinh, do_sinh),
                             OP(Softplus, do_softplus),
                             OP(Softsign, do_softsign),
                             OP(Sqrt, do_sqrt),
                             OP(Sub, do_sub),
                             OP(Sum, do_sum),
                             OP(Swish, do_swish),
                             OP(Tan, do_tan),
                             OP(Tanh, do_tanh),
                             OP(ThresholdedRelu, do_thresholded),
                             OP(Where, do_where),
                             OP(Xor, do_xor),
                             OP_END};
