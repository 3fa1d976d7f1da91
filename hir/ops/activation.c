/* hir/ops/activation.c: a function of one element, by name (hir/activations.def)
 *   in   x f32[..]                                     out  f32[..]
 *   C1  x is f32.
 *   C2  kind is one of the table; alpha and beta (absent: the table's) are finite numbers of f32.
 *   C3  softplus and softcap have an alpha > 0; clamp has alpha <= beta.
 */
#include "hir/ops/ops.h"

#include <math.h>
#include <string.h>

typedef struct numbers {
    double alpha, beta;
} numbers;

static const struct {
    const char *text;
    numbers absent;
} kinds[] = {
#define ACTIVATION(NAME, text, alpha, beta, meaning) {#text, {alpha, beta}},
#include "hir/activations.def"
#undef ACTIVATION
};

const char *rlx_hir_activation_name(rlx_hir_activation a)
{
    return (unsigned)a < RLX_HIR_ACT_COUNT ? kinds[a].text : NULL;
}

rlx_hir_activation rlx_hir_find_activation(const char *text)
{
    int i = 0;
    while (i < RLX_HIR_ACT_COUNT && strcmp(kinds[i].text, text) != 0)
        i++;
    return (rlx_hir_activation)i;
}

static rlx_hir_activation kind_of(const rlx_ir_node *n)
{
    return rlx_hir_find_activation(rlx_ir_attr_text(n, RLX_ATTR_KIND, ""));
}

static numbers numbers_of(const rlx_ir_node *n)
{
    const numbers absent = kinds[kind_of(n)].absent;
    return (numbers){rlx_ir_attr_float(n, RLX_ATTR_ALPHA, absent.alpha),
                     rlx_ir_attr_float(n, RLX_ATTR_BETA, absent.beta)};
}

rlx_status rlx_hir_activation_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    RLX_HIR_REQUIRE_TYPE(m, n, "C1", rlx_hir_is(n->in[0], RLX_F32, n->in[0]->type.rank), 0,
                         "x is an f32 tensor");
    const rlx_hir_activation kind = kind_of(n);
    RLX_IR_REQUIRE(m, n, "C2", kind < RLX_HIR_ACT_COUNT, "there is no activation \"%s\"",
                   rlx_ir_attr_text(n, RLX_ATTR_KIND, ""));
    const numbers a = numbers_of(n);
    RLX_IR_REQUIRE(m, n, "C2", isfinite((float)a.alpha) && isfinite((float)a.beta),
                   "alpha %g, beta %g", a.alpha, a.beta);
    const bool divides = kind == RLX_HIR_ACT_SOFTPLUS || kind == RLX_HIR_ACT_SOFTCAP;
    RLX_IR_REQUIRE(m, n, "C3", !divides || a.alpha > 0, "%s with alpha %g", kinds[kind].text,
                   a.alpha);
    RLX_IR_REQUIRE(m, n, "C3", kind != RLX_HIR_ACT_CLAMP || a.alpha <= a.beta,
                   "clamp between %g and %g", a.alpha, a.beta);
    return RLX_OK;
}

rlx_status rlx_hir_activation_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results)
{
    RLX_TRY(rlx_hir_activation_verify(m, n));
    results[0] = n->in[0]->type;
    return RLX_OK;
}

/* ---- what they are ----------------------------------------------------------------------------
 */

static const double selu_scale = 1.0507009873554804934193349852946;
static const double selu_alpha = 1.6732632423543772848170429916717;
static const double root_half = 0.70710678118654752440, root_2_pi = 0.79788456080286535588;

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

static double above_zero(double x)
{
    return x < 0 ? 0 : x; /* a NaN stays one */
}

static double hold(double x, double low, double high)
{
    return x < low ? low : x > high ? high : x;
}

static double value_of(rlx_hir_activation kind, numbers a, double x)
{
    switch (kind) {
    case RLX_HIR_ACT_IDENTITY:
        return x;
    case RLX_HIR_ACT_RELU:
        return above_zero(x);
    case RLX_HIR_ACT_RELU6:
        return hold(x, 0, 6);
    case RLX_HIR_ACT_RELU_SQUARED:
        return above_zero(x) * above_zero(x);
    case RLX_HIR_ACT_LEAKY_RELU:
        return x < 0 ? a.alpha * x : x;
    case RLX_HIR_ACT_ELU:
        return x < 0 ? a.alpha * expm1(x) : x;
    case RLX_HIR_ACT_SELU:
        return selu_scale * (x < 0 ? selu_alpha * expm1(x) : x);
    case RLX_HIR_ACT_GELU:
        return x / 2 * (1 + erf(x * root_half));
    case RLX_HIR_ACT_GELU_TANH:
        return x / 2 * (1 + tanh(root_2_pi * (x + 0.044715 * x * x * x)));
    case RLX_HIR_ACT_QUICK_GELU:
        return x * sigmoid(1.702 * x);
    case RLX_HIR_ACT_SILU:
        return x * sigmoid(x);
    case RLX_HIR_ACT_MISH:
        return x * tanh(log1p(exp(x)));
    case RLX_HIR_ACT_SIGMOID:
        return sigmoid(x);
    case RLX_HIR_ACT_LOG_SIGMOID:
        return -log1p(exp(-x));
    case RLX_HIR_ACT_HARD_SIGMOID:
        return hold(x + 3, 0, 6) / 6;
    case RLX_HIR_ACT_HARD_SWISH:
        return x * hold(x + 3, 0, 6) / 6;
    case RLX_HIR_ACT_TANH:
        return tanh(x);
    case RLX_HIR_ACT_SOFTPLUS:
        return log1p(exp(a.alpha * x)) / a.alpha;
    case RLX_HIR_ACT_SOFTSIGN:
        return x / (1 + fabs(x));
    case RLX_HIR_ACT_CLAMP:
        return hold(x, a.alpha, a.beta);
    case RLX_HIR_ACT_SOFTCAP:
        return a.alpha * tanh(x / a.alpha);
    case RLX_HIR_ACT_COUNT:
        break;
    }
    return NAN;
}

double rlx_hir_eval_activation(rlx_hir_activation kind, double x)
{
    return value_of(kind, kinds[kind].absent, x);
}

rlx_status rlx_hir_activation_eval(rlx_hir_eval_cx *cx, const rlx_ir_node *n,
                                   rlx_eval_tensor *const *in, rlx_eval_tensor *out)
{
    RLX_TRY(rlx_hir_eval_alloc(cx, &out[0]));
    const float *x = in[0]->data;
    float *y = out[0].data;
    for (int64_t i = 0; i < rlx_hir_eval_elems(&out[0]); i++)
        y[i] = (float)value_of(kind_of(n), numbers_of(n), x[i]);
    return RLX_OK;
}

/* ---- of MIR's functions -----------------------------------------------------------------------
 */

typedef rlx_ir_value *val;

static val num(rlx_ir_builder *b, rlx_map_fn fn, val x, double y)
{
    return rlx_mir_map_num(b, fn, x, y);
}

static val add(rlx_ir_builder *b, val x, double y)
{
    return num(b, RLX_FN_ADD, x, y);
}

static val mul(rlx_ir_builder *b, val x, double y)
{
    return num(b, RLX_FN_MUL, x, y);
}

static val times(rlx_ir_builder *b, val x, val y)
{
    return rlx_mir_map2(b, RLX_FN_MUL, x, y);
}

static val fn1(rlx_ir_builder *b, rlx_map_fn fn, val x)
{
    return rlx_mir_map1(b, fn, x);
}

/* 1 + e^-x */
static val one_and_exp(rlx_ir_builder *b, val x)
{
    return add(b, fn1(b, RLX_FN_EXP, fn1(b, RLX_FN_NEG, x)), 1);
}

/* max and min give their second operand for a NaN: x goes there. */
static val lower_above(rlx_ir_builder *b, val x, double low)
{
    return rlx_mir_map2(b, RLX_FN_MAX, rlx_mir_like(b, x, low), x);
}

static val lower_hold(rlx_ir_builder *b, val x, double low, double high)
{
    val above = lower_above(b, x, low);
    return rlx_mir_map2(b, RLX_FN_MIN, rlx_mir_like(b, x, high), above);
}

/* log(1 + e^x) = max(x, 0) + log(1 + e^-|x|) */
static val lower_softplus(rlx_ir_builder *b, val x)
{
    val rest = fn1(b, RLX_FN_LOG, one_and_exp(b, fn1(b, RLX_FN_ABS, x)));
    return rlx_mir_map2(b, RLX_FN_ADD, lower_above(b, x, 0), rest);
}

/* below(x) where x < 0 */
static val lower_below(rlx_ir_builder *b, val x, val below)
{
    return rlx_mir_pick(b, num(b, RLX_FN_LT, x, 0), below, x);
}

static val lower_elu(rlx_ir_builder *b, val x, double alpha)
{
    return lower_below(b, x, mul(b, add(b, fn1(b, RLX_FN_EXP, x), -1), alpha));
}

static val lower_gelu_tanh(rlx_ir_builder *b, val x)
{
    val cube = times(b, times(b, x, x), x);
    val inner = rlx_mir_map2(b, RLX_FN_ADD, x, mul(b, cube, 0.044715));
    val turn = add(b, fn1(b, RLX_FN_TANH, mul(b, inner, root_2_pi)), 1);
    return times(b, mul(b, x, 0.5), turn);
}

static val lower_gelu(rlx_ir_builder *b, val x)
{
    val turn = add(b, fn1(b, RLX_FN_ERF, mul(b, x, root_half)), 1);
    return times(b, mul(b, x, 0.5), turn);
}

static val lower_kind(rlx_ir_builder *b, rlx_hir_activation kind, numbers a, val x)
{
    switch (kind) {
    case RLX_HIR_ACT_RELU:
        return lower_above(b, x, 0);
    case RLX_HIR_ACT_RELU6:
        return lower_hold(b, x, 0, 6);
    case RLX_HIR_ACT_RELU_SQUARED:
        x = lower_above(b, x, 0);
        return times(b, x, x);
    case RLX_HIR_ACT_LEAKY_RELU:
        return lower_below(b, x, mul(b, x, a.alpha));
    case RLX_HIR_ACT_ELU:
        return lower_elu(b, x, a.alpha);
    case RLX_HIR_ACT_SELU:
        return mul(b, lower_elu(b, x, selu_alpha), selu_scale);
    case RLX_HIR_ACT_GELU:
        return lower_gelu(b, x);
    case RLX_HIR_ACT_GELU_TANH:
        return lower_gelu_tanh(b, x);
    case RLX_HIR_ACT_QUICK_GELU:
        return rlx_mir_map2(b, RLX_FN_DIV, x, one_and_exp(b, mul(b, x, 1.702)));
    case RLX_HIR_ACT_SILU:
        return rlx_mir_map2(b, RLX_FN_DIV, x, one_and_exp(b, x));
    case RLX_HIR_ACT_MISH:
        return times(b, x, fn1(b, RLX_FN_TANH, lower_softplus(b, x)));
    case RLX_HIR_ACT_SIGMOID:
        return rlx_mir_sigmoid(b, x);
    case RLX_HIR_ACT_LOG_SIGMOID:
        return fn1(b, RLX_FN_NEG, lower_softplus(b, fn1(b, RLX_FN_NEG, x)));
    case RLX_HIR_ACT_HARD_SIGMOID:
        return num(b, RLX_FN_DIV, lower_hold(b, add(b, x, 3), 0, 6), 6);
    case RLX_HIR_ACT_HARD_SWISH:
        return num(b, RLX_FN_DIV, times(b, x, lower_hold(b, add(b, x, 3), 0, 6)), 6);
    case RLX_HIR_ACT_TANH:
        return fn1(b, RLX_FN_TANH, x);
    case RLX_HIR_ACT_SOFTPLUS:
        return num(b, RLX_FN_DIV, lower_softplus(b, mul(b, x, a.alpha)), a.alpha);
    case RLX_HIR_ACT_SOFTSIGN:
        return rlx_mir_map2(b, RLX_FN_DIV, x, add(b, fn1(b, RLX_FN_ABS, x), 1));
    case RLX_HIR_ACT_CLAMP:
        return lower_hold(b, x, a.alpha, a.beta);
    case RLX_HIR_ACT_SOFTCAP:
        return mul(b, fn1(b, RLX_FN_TANH, num(b, RLX_FN_DIV, x, a.alpha)), a.alpha);
    case RLX_HIR_ACT_IDENTITY:
    case RLX_HIR_ACT_COUNT:
        break;
    }
    return x;
}

void rlx_hir_activation_lower(rlx_ir_builder *b, const rlx_ir_node *n, rlx_ir_value *const *in,
                              rlx_ir_value **out)
{
    out[0] = lower_kind(b, kind_of(n), numbers_of(n), in[0]);
}

rlx_ir_value *rlx_hir_lower_activation(rlx_ir_builder *b, rlx_hir_activation kind, rlx_ir_value *x)
{
    return lower_kind(b, kind, kinds[kind].absent, x);
}

rlx_ir_value *rlx_hir_lower_hold(rlx_ir_builder *b, rlx_ir_value *x, double low, double high)
{
    return lower_hold(b, x, low, high);
}
