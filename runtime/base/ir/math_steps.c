/* runtime/base/ir/math_steps.c: log, exp of f64, sin, cos, atan, tanh and erf as steps.
 *
 * Each reduces its argument to a small range and sums a series there; the errors are a few units in
 * the last place (tests/base/test_math.c has the bounds). A NaN gives a NaN, an infinity the limit
 * (sin and cos, which have none, a NaN; exp e^HI, see exp_poly.h), a zero keeps its sign where the
 * function is odd, and a denormal counts as what it is. */
#include "runtime/base/ir/math_steps.h"

#include <math.h>
#include <string.h>

typedef rlx_math_engine engine;
typedef rlx_math_value value;

bool rlx_math_is_stepped(rlx_map_fn fn, rlx_format f)
{
    switch (fn) {
    case RLX_FN_LOG:
    case RLX_FN_SIN:
    case RLX_FN_COS:
    case RLX_FN_ATAN:
    case RLX_FN_TANH:
    case RLX_FN_ERF:
        return true;
    case RLX_FN_EXP:
        return f == RLX_F64;
    default:
        return false;
    }
}

/* ---- writing steps ----------------------------------------------------------------------------
 */

static value num(engine *e, value like, double v)
{
    return e->constant(e, like.format, v);
}

static value map1(engine *e, rlx_map_fn fn, value x)
{
    return e->map(e, fn, 1, &x);
}

static value map2(engine *e, rlx_map_fn fn, value x, value y)
{
    return e->map(e, fn, 2, (value[]){x, y});
}

static value map3(engine *e, rlx_map_fn fn, value x, value y, value z)
{
    return e->map(e, fn, 3, (value[]){x, y, z});
}

static value add(engine *e, value x, value y)
{
    return map2(e, RLX_FN_ADD, x, y);
}

static value sub(engine *e, value x, value y)
{
    return map2(e, RLX_FN_SUB, x, y);
}

static value mul(engine *e, value x, value y)
{
    return map2(e, RLX_FN_MUL, x, y);
}

static value divide(engine *e, value x, value y)
{
    return map2(e, RLX_FN_DIV, x, y);
}

static value fma_of(engine *e, value x, value y, value z)
{
    return map3(e, RLX_FN_FMA, x, y, z);
}

static value pick(engine *e, value c, value x, value y)
{
    return map3(e, RLX_FN_SELECT, c, x, y);
}

static value less(engine *e, value x, double than)
{
    return map2(e, RLX_FN_LT, x, num(e, x, than));
}

/* c[0] + c[1] z + .. + c[n-1] z^(n-1) */
static value poly(engine *e, value z, const double *c, int n)
{
    value p = num(e, z, c[n - 1]);
    for (int i = n - 2; i >= 0; i--)
        p = fma_of(e, p, z, num(e, z, c[i]));
    return p;
}
#define POLY(e, z, ...)                       \
    poly(e, z, (const double[]){__VA_ARGS__}, \
         sizeof((const double[]){__VA_ARGS__}) / sizeof(double))

/* y, and x itself where it is 0 (of either sign) or a NaN; `size` is |x|. */
static value keep_zero(engine *e, value x, value size, value y)
{
    return pick(e, map2(e, RLX_FN_LT, num(e, x, 0), size), y, x);
}

/* y, made of |x|, with the sign of x. */
static value with_sign(engine *e, value x, value size, value y)
{
    y = pick(e, less(e, x, 0), map1(e, RLX_FN_NEG, y), y);
    return keep_zero(e, x, size, y);
}

/* ---- exponential and logarithm ------------------------------------------------------------------
 */

/* 2^n * (1 + r + r^2/2! + .. + r^13/13!) with x = n ln 2 + r; 0 below the least normal number.
 * A NaN goes by the bound below, and out by the last pick. */
static value exp_f64(engine *e, value x)
{
    const double lo = -0x1.6232bdd7abcd2p+9, hi = 0x1.62e42fefa39efp+9;
    value c = map2(e, RLX_FN_MAX, x, num(e, x, lo));
    c = map2(e, RLX_FN_MIN, c, num(e, x, hi));
    value n = map1(e, RLX_FN_ROUND, mul(e, c, num(e, x, 0x1.71547652b82fep+0)));
    value r = fma_of(e, n, num(e, x, -0x1.62e42fefp-1), c);
    r = fma_of(e, n, num(e, x, -0x1.473de6af278edp-34), r);
    value p =
        POLY(e, r, 1, 1, 1 / 2.0, 1 / 6.0, 1 / 24.0, 1 / 120.0, 1 / 720.0, 1 / 5040.0, 1 / 40320.0,
             1 / 362880.0, 1 / 3628800.0, 1 / 39916800.0, 1 / 479001600.0, 1 / 6227020800.0);
    value up = e->cast(e, n, RLX_I64);
    up = map2(e, RLX_FN_SHL, up, num(e, up, 52));
    value bits = add(e, e->bitcast(e, p, RLX_I64), up);
    value within = map2(e, RLX_FN_LE, num(e, x, lo), x);
    return pick(e, within, e->bitcast(e, bits, RLX_F64), map2(e, RLX_FN_MAX, num(e, x, 0), x));
}

/* What a float format is made of. */
typedef struct layout {
    rlx_format bits;
    int mantissa;
    double least;      /* normal number */
    int64_t root_half; /* sqrt(1/2) as bits */
    double ln2_hi, ln2_lo;
} layout;

static const layout layouts[] = {
    {RLX_I32, 23, 0x1p-126, 0x3f3504f3, 0x1.62e4p-1, 0x1.7f7d1cp-20},
    {RLX_I64, 52, 0x1p-1022, 0x3fe6a09e667f3bcd, 0x1.62e42fefp-1, 0x1.473de6af278edp-34}};

/* The value of an integer format that is `v`, beyond what a double holds too: two shifted halves.
 */
static value bits_const(engine *e, rlx_format f, int64_t v)
{
    if (f == RLX_I32)
        return e->constant(e, f, (double)v);
    value high = e->constant(e, f, (double)(v >> 32));
    high = map2(e, RLX_FN_SHL, high, e->constant(e, f, 32));
    return add(e, high, e->constant(e, f, (double)(v & 0xffffffff)));
}

/* x = 2^n m with m in sqrt(1/2) .. sqrt(2); s = (m-1)/(m+1); ln m = 2s + 2s^3/3 + 2s^5/5 .. */
static value log_of(engine *e, value x)
{
    const layout *l = &layouts[x.format == RLX_F64];
    value tiny = less(e, x, l->least);
    value scaled = pick(e, tiny, mul(e, x, num(e, x, ldexp(1, l->mantissa + 2))), x);
    value bits = e->bitcast(e, scaled, l->bits);
    value from = sub(e, bits, bits_const(e, l->bits, l->root_half));
    value shift = num(e, bits, l->mantissa);
    value n = map2(e, RLX_FN_SHR, from, shift);
    value m = e->bitcast(e, sub(e, bits, map2(e, RLX_FN_SHL, n, shift)), x.format);
    value k = e->cast(e, n, x.format);
    k = sub(e, k, pick(e, tiny, num(e, x, l->mantissa + 2), num(e, x, 0)));
    value f = sub(e, m, num(e, x, 1)), s = divide(e, f, add(e, f, num(e, x, 2)));
    value z = mul(e, s, s);
    value p = x.format == RLX_F64 ? POLY(e, z, 2 / 3.0, 2 / 5.0, 2 / 7.0, 2 / 9.0, 2 / 11.0,
                                         2 / 13.0, 2 / 15.0, 2 / 17.0, 2 / 19.0, 2 / 21.0, 2 / 23.0)
                                  : POLY(e, z, 2 / 3.0, 2 / 5.0, 2 / 7.0, 2 / 9.0, 2 / 11.0);
    value low = fma_of(e, k, num(e, x, l->ln2_lo), mul(e, mul(e, s, z), p));
    value y = fma_of(e, k, num(e, x, l->ln2_hi), add(e, add(e, s, s), low));
    y = pick(e, map2(e, RLX_FN_EQ, x, num(e, x, INFINITY)), x, y);
    y = pick(e, map2(e, RLX_FN_EQ, x, num(e, x, 0)), num(e, x, -INFINITY), y);
    return pick(e, map2(e, RLX_FN_LE, num(e, x, 0), x), y, map1(e, RLX_FN_SQRT, x)); /* a NaN */
}

/* ---- circle -------------------------------------------------------------------------------------
 */

/* sin (cos: ahead by a quarter turn) of x = n pi/2 + r, |r| <= pi/4. */
static value sine(engine *e, value x, bool cosine)
{
    /* pi/2 as a sum of numbers of the format. Of f32 the first two have eight bits: their products with n
     * below 2^16 (x: 1.02e5) are exact, though a Vulkan driver may round a multiply-add twice. Beyond 2^24 (2.6e7) n is no whole number
     * of its own any more, r grows past what the polynomials are for, and from 1e8 on what comes out is no sine. */
    static const double narrow[] = {0x1.92p+0, 0x1.fap-12, 0x1.54442ep-20, -0x1.cf72cep-45};
    static const double wide[] = {0x1.921fb54442d18p+0, 0x1.1a62633145c07p-54,
                                  -0x1.f1976b7ed8fbcp-110};
    const bool is_wide = x.format == RLX_F64;
    value n = map1(e, RLX_FN_ROUND, mul(e, x, num(e, x, 0x1.45f306dc9c883p-1))), r = x;
    for (int i = 0; i < (is_wide ? 3 : 4); i++)
        r = fma_of(e, n, num(e, x, -(is_wide ? wide : narrow)[i]), r);
    value turns = map1(e, RLX_FN_FLOOR, mul(e, n, num(e, x, 0.25)));
    value quarter = fma_of(e, turns, num(e, x, -4), n);
    quarter = map2(e, RLX_FN_MAX, quarter, num(e, x, 0)); /* of a NaN: 0 */
    value q = e->cast(e, map2(e, RLX_FN_MIN, quarter, num(e, x, 3)), RLX_I32);
    if (cosine)
        q = add(e, q, num(e, q, 1));
    value z = mul(e, r, r);
    const double sines[] = {
        -1 / 6.0,        1 / 120.0,        -1 / 5040.0,          1 / 362880.0,
        -1 / 39916800.0, 1 / 6227020800.0, -1 / 1307674368000.0, 1 / 355687428096000.0};
    const double cosines[] = {1,
                              -1 / 2.0,
                              1 / 24.0,
                              -1 / 720.0,
                              1 / 40320.0,
                              -1 / 3628800.0,
                              1 / 479001600.0,
                              -1 / 87178291200.0,
                              1 / 20922789888000.0,
                              -1 / 6402373705728000.0};
    value s = fma_of(e, mul(e, r, z), poly(e, z, sines, is_wide ? 8 : 4), r);
    value c = poly(e, z, cosines, is_wide ? 10 : 6);
    value zero = num(e, q, 0);
    value even = map2(e, RLX_FN_EQ, map2(e, RLX_FN_AND, q, num(e, q, 1)), zero);
    value plus = map2(e, RLX_FN_EQ, map2(e, RLX_FN_AND, q, num(e, q, 2)), zero);
    value y = pick(e, even, s, c);
    y = pick(e, plus, y, map1(e, RLX_FN_NEG, y));
    return cosine ? y : keep_zero(e, x, map1(e, RLX_FN_ABS, x), y);
}

/* |x| above 1 by pi/2 - atan(1/x), what is left above tan(pi/8) by pi/4 + atan((x-1)/(x+1)). */
static value arc_tangent(engine *e, value x)
{
    value one = num(e, x, 1), a = map1(e, RLX_FN_ABS, x);
    value above = map2(e, RLX_FN_LT, one, a);
    value t = pick(e, above, divide(e, one, a), a);
    value upper = map2(e, RLX_FN_LT, num(e, x, 0x1.a8279ap-2), t);
    value u = pick(e, upper, divide(e, sub(e, t, one), add(e, t, one)), t);
    value z = mul(e, u, u);
    value p = POLY(e, z, -1 / 3.0, 1 / 5.0, -1 / 7.0, 1 / 9.0, -1 / 11.0, 1 / 13.0, -1 / 15.0,
                   1 / 17.0, -1 / 19.0);
    value y = fma_of(e, mul(e, u, z), p, u);
    y = pick(e, upper, add(e, num(e, x, 0x1.921fb6p-1), y), y);
    y = pick(e, above, sub(e, num(e, x, 0x1.921fb6p+0), y), y);
    return with_sign(e, x, a, y);
}

/* ---- tanh and erf
 * --------------------------------------------------------------------------------- */

/* Near 0 the continued fraction to its seventh term, else (1 - e^-2|x|) / (1 + e^-2|x|). */
static value tanh_of(engine *e, value x)
{
    value a = map1(e, RLX_FN_ABS, x), z = mul(e, x, x), one = num(e, x, 1);
    value top = POLY(e, z, 135135, 17325, 378, 1), bottom = POLY(e, z, 135135, 62370, 3150, 28);
    value near = divide(e, mul(e, a, top), bottom);
    value t = map1(e, RLX_FN_EXP, mul(e, a, num(e, x, -2)));
    value far = divide(e, sub(e, one, t), add(e, one, t));
    return with_sign(e, x, a, pick(e, less(e, a, 0.625), near, far));
}

/* x P(x^2) / Q(x^2) with |x| held to where the quotient rounds to 1: erf there differs from 1 by
 * less than a rounding. By Remez's exchange on erf(x)/x (relative error 4e-8), then by a search
 * among the neighbours of its rounded coefficients for the least error of these very steps. Just
 * before the end some quotients round to above 1, where gelu would change its sign: none leaves. The
 * sign and a zero are x's own; max and min let a NaN through. */
static value erf_of(engine *e, value x)
{
    const double end = 0x1.e4ed86p+1;
    value c = map2(e, RLX_FN_MAX, num(e, x, -end), x);
    c = map2(e, RLX_FN_MIN, num(e, x, end), c);
    value z = mul(e, c, c);
    value top = POLY(e, z, 0x1.20dd74p+0, 0x1.84908cp-3, 0x1.9370e2p-5, 0x1.b073fap-9,
                     0x1.1ae95ap-13, -0x1.0c4d08p-19, 0x1.6fb48p-26);
    value bottom = POLY(e, z, 1, 0x1.00c152p-1, 0x1.c5e08ap-4, 0x1.baa856p-7, 0x1.c6aeep-11);
    value y = map2(e, RLX_FN_MAX, num(e, x, -1), divide(e, mul(e, c, top), bottom));
    return map2(e, RLX_FN_MIN, num(e, x, 1), y);
}

rlx_math_value rlx_math_steps(rlx_math_engine *e, rlx_map_fn fn, rlx_math_value x)
{
    switch (fn) {
    case RLX_FN_EXP:
        return exp_f64(e, x);
    case RLX_FN_LOG:
        return log_of(e, x);
    case RLX_FN_SIN:
    case RLX_FN_COS:
        return sine(e, x, fn == RLX_FN_COS);
    case RLX_FN_ATAN:
        return arc_tangent(e, x);
    case RLX_FN_TANH:
        return tanh_of(e, x);
    default:
        return erf_of(e, x);
    }
}

/* ---- at once
 * -------------------------------------------------------------------------------------- */

static value eval_constant(engine *e, rlx_format f, double v)
{
    (void)e;
    value c = {.format = f};
    if (!rlx_format_is_float(f))
        c.scalar.i = (int64_t)v;
    else
        c.scalar.f = f == RLX_F32 ? (double)(float)v : v;
    return c;
}

static value eval_map(engine *e, rlx_map_fn fn, int n, const value *in)
{
    (void)e;
    rlx_scalar x[3];
    for (int i = 0; i < n; i++)
        x[i] = in[i].scalar;
    rlx_format f = in[n - 1].format;
    bool to_bool = rlx_map_fn_get(fn)->to_bool;
    return (value){.format = to_bool ? RLX_BOOL : f, .scalar = rlx_map_fn_eval(fn, f, x)};
}

static value eval_cast(engine *e, value x, rlx_format f)
{
    (void)e;
    value y = {.format = f};
    if (rlx_format_is_float(x.format))
        y.scalar.i = (int64_t)x.scalar.f;
    else
        y.scalar.f = f == RLX_F32 ? (double)(float)x.scalar.i : (double)x.scalar.i;
    return y;
}

static value eval_bitcast(engine *e, value x, rlx_format f)
{
    (void)e;
    value y = {.format = f};
    float narrow = (float)x.scalar.f;
    int32_t bits32 = (int32_t)x.scalar.i;
    switch (f) {
    case RLX_I32:
        memcpy(&bits32, &narrow, sizeof bits32);
        y.scalar.i = bits32;
        break;
    case RLX_F32:
        memcpy(&narrow, &bits32, sizeof narrow);
        y.scalar.f = narrow;
        break;
    default: /* between f64 and i64, the union's own members */
        y.scalar = x.scalar;
        break;
    }
    return y;
}

rlx_scalar rlx_math_eval(rlx_map_fn fn, rlx_format f, rlx_scalar x)
{
    engine e = {eval_constant, eval_map, eval_cast, eval_bitcast};
    return rlx_math_steps(&e, fn, (value){.format = f, .scalar = x}).scalar;
}
