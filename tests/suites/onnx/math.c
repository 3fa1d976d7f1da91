/* tests/suites/onnx/math.c: elementwise operators. */
#include <math.h>

#include "tests/suites/onnx/onnx.h"

#define BINARY(name, expr)                    \
    OPERATOR(name)                            \
    {                                         \
        val a = ox_in(x, 0), b = ox_in(x, 1); \
        ox_out(x, 0, expr);                   \
    }
#define ALPHA(absent) LIKE(a, ox_float(x, "alpha", absent))
#define BETA(absent) LIKE(a, ox_float(x, "beta", absent))
#define ONE LIKE(a, 1)
#define ZERO LIKE(a, 0)

UNARY(Abs, ABS(a))
UNARY(Neg, NEG(a))
UNARY(Exp, EXP(a))
UNARY(Log, LOG(a))
UNARY(Sqrt, SQRT(a))
UNARY(Floor, FLOOR(a))
UNARY(Ceil, NEG(FLOOR(NEG(a))))
UNARY(Round, MAP1(ROUND, a))
UNARY(Reciprocal, DIV(ONE, a))
UNARY(Sign, PICK(LT(ZERO, a), ONE, PICK(LT(a, ZERO), LIKE(a, -1), ZERO)))
UNARY(Identity, a)
UNARY(Not, rlx_build_not(x->b, a))
UNARY(BitwiseNot, MAP2(XOR, a, SUB(ZERO, ONE)))

UNARY(Sin, MAP1(SIN, a))
UNARY(Cos, MAP1(COS, a))
UNARY(Tan, DIV(MAP1(SIN, a), MAP1(COS, a)))
UNARY(Atan, MAP1(ATAN, a))
UNARY(Tanh, MAP1(TANH, a))
UNARY(Erf, MAP1(ERF, a))

/* (1 - a)(1 + a) */
static val complement(onnx *x, val a)
{
    return MUL(SUB(ONE, a), ADD(ONE, a));
}
UNARY(Asin, MAP1(ATAN, DIV(a, SQRT(complement(x, a)))))
UNARY(Acos, SUB(LIKE(a, 1.5707963267948966), MAP1(ATAN, DIV(a, SQRT(complement(x, a))))))
UNARY(Sinh, MUL(LIKE(a, 0.5), SUB(EXP(a), EXP(NEG(a)))))
UNARY(Cosh, MUL(LIKE(a, 0.5), ADD(EXP(a), EXP(NEG(a)))))
/* of |a|, whose sum does not cancel */
static val asinh_of(onnx *x, val a)
{
    val m = ABS(a), y = LOG(ADD(m, SQRT(ADD(MUL(m, m), ONE))));
    return PICK(LT(a, ZERO), NEG(y), y);
}
UNARY(Asinh, asinh_of(x, a))
UNARY(Acosh, LOG(ADD(a, SQRT(MUL(SUB(a, ONE), ADD(a, ONE))))))
UNARY(Atanh, MUL(LIKE(a, 0.5), LOG(DIV(ADD(ONE, a), SUB(ONE, a)))))

/* Functions that stages have, too; of f32. */
#define ACTIVATION(name, fn, alpha) \
    UNARY(name, rlx_build_activation(x->b, RLX_ACT_##fn, alpha, 0, a))
#define GIVEN(absent) ox_float(x, "alpha", absent)
ACTIVATION(Relu, RELU, 0)
ACTIVATION(Sigmoid, SIGMOID, 0)
ACTIVATION(Softplus, SOFTPLUS, 1)
ACTIVATION(Softsign, SOFTSIGN, 0)
ACTIVATION(Elu, ELU, GIVEN(1))
ACTIVATION(LeakyRelu, LEAKY_RELU, GIVEN(0.01))
ACTIVATION(HardSwish, HARD_SWISH, 0)
ACTIVATION(Mish, MISH, 0)
UNARY(Gelu, rlx_build_activation(x->b,
                                 ox_text(x, "approximate", "none")[0] == 't' ? RLX_ACT_GELU_TANH
                                                                             : RLX_ACT_GELU,
                                 0, 0, a))
/* alpha (e^(x / divisor) - 1) below 0 */
static val exponential(onnx *x, val a, double alpha, double divisor)
{
    return PICK(LT(a, ZERO), MUL(LIKE(a, alpha), SUB(EXP(DIV(a, LIKE(a, divisor))), ONE)), a);
}
UNARY(Celu, exponential(x, a, GIVEN(1), GIVEN(1)))
UNARY(Selu, MUL(LIKE(a, ox_float(x, "gamma", 1.0507009873554805)),
                exponential(x, a, GIVEN(1.6732632423543772), 1)))
UNARY(ThresholdedRelu, PICK(LT(ALPHA(1), a), a, ZERO))
UNARY(HardSigmoid, rlx_build_clamp(x->b, ADD(MUL(ALPHA(0.2), a), BETA(0.5)), 0, 1))
UNARY(Swish, MUL(a, rlx_build_sigmoid(x->b, MUL(ALPHA(1), a))))

OPERATOR(Shrink)
{
    val a = ox_in(x, 0), l = LIKE(a, ox_float(x, "lambd", 0.5)),
        b = LIKE(a, ox_float(x, "bias", 0));
    ox_out(x, 0, PICK(LT(a, NEG(l)), ADD(a, b), PICK(LT(l, a), SUB(a, b), ZERO)));
}

BINARY(Add, ADD(a, b))
BINARY(Sub, SUB(a, b))
BINARY(Mul, MUL(a, b))
BINARY(PRelu, PICK(LT(a, ZERO), MUL(b, a), a))
BINARY(And, AND(a, b))
BINARY(BitwiseOr, MAP2(OR, a, b))
BINARY(BitwiseXor, MAP2(XOR, a, b))
BINARY(Equal, EQ(a, b))
BINARY(Less, LT(a, b))
BINARY(LessOrEqual, LE(a, b))
BINARY(Greater, LT(b, a))
BINARY(GreaterOrEqual, LE(b, a))

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

OPERATOR(Div)
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

OPERATOR(Mod)
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

OPERATOR(Pow)
{
    val a = ox_in(x, 0), b = ox_in(x, 1);
    b = rlx_build_cast(x->b, b, rlx_value_format(a));
    /* exponents of integers are whole and not negative */
    ox_out(x, 0, is_float(a) ? rlx_build_pow(x->b, a, b) : whole_power(x, a, b));
}

OPERATOR(BitShift)
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

EXPRESSION(Max, all_of(x, RLX_MAP_MAX))

EXPRESSION(Min, all_of(x, RLX_MAP_MIN))

EXPRESSION(Sum, all_of(x, RLX_MAP_ADD))

OPERATOR(Mean)
{
    val a = all_of(x, RLX_MAP_ADD);
    ox_out(x, 0, DIV(a, LIKE(a, x->nin)));
}

OPERATOR(Clip)
{
    val a = ox_in(x, 0);
    if (ox_has(x, 1))
        a = MAX(a, ox_in(x, 1));
    if (ox_has(x, 2))
        a = MIN(a, ox_in(x, 2));
    ox_out(x, 0, a);
}

EXPRESSION(Where, PICK(ox_in(x, 0), ox_in(x, 1), ox_in(x, 2)))

UNARY(IsNaN, rlx_build_not(x->b, EQ(a, a)))

OPERATOR(IsInf)
{
    val a = ox_in(x, 0), y = rlx_build_number(x->b, RLX_BOOL, 0);
    if (ox_int(x, "detect_positive", 1))
        y = MAP2(OR, y, EQ(a, LIKE(a, INFINITY)));
    if (ox_int(x, "detect_negative", 1))
        y = MAP2(OR, y, EQ(a, LIKE(a, -INFINITY)));
    ox_out(x, 0, y);
}

EXPRESSION(Cast, rlx_build_saturate(x->b, ox_in(x, 0), ox_dtype(x, ox_int(x, "to", 1))))

EXPRESSION(CastLike, rlx_build_saturate(x->b, ox_in(x, 0), x->in[1].format))

EXPRESSION(BitCast, rlx_build_bitcast(x->b, ox_raw(x, 0), ox_dtype(x, ox_int(x, "to", 1))))

/* In inference nothing is dropped; a training one with ratio 0 drops nothing either. */
OPERATOR(Bernoulli)
{
    ox_refuse(x, "random numbers");
}

/* Its input is a file's bytes. */
OPERATOR(ImageDecoder)
{
    ox_refuse(x, "files of images are decoded outside of the graph");
}

OPERATOR(Dropout)
{
    val a = ox_in(x, 0);
    if (ox_number(x, 2, 0) != 0 && ox_number(x, 1, 0.5) != 0)
        ox_refuse(x, "random numbers");
    ox_out(x, 0, a);
    if (x->nout > 1)
        ox_out(x, 1, ox_expand(x, rlx_build_number(x->b, RLX_BOOL, 1), a));
}
