/* tests/base/test_math.c: the functions of math_steps.c against the C library's, over their ranges.
 */
#include <float.h>
#include <math.h>
#include <string.h>

#include "runtime/base/ir/math_steps.h"
#include "tests/base/suite.h"

/* x in lo..hi; units in the last place (of results not below `least`). */
typedef struct range {
    const char *name;
    rlx_map_fn fn;
    rlx_format format;
    double (*want)(double);
    double lo, hi, ulps, least;
} range;

static const range ranges[] = {
    {"log", RLX_FN_LOG, RLX_F32, log, 1e-44, 1e38, 2, 1e-6},
    {"log", RLX_FN_LOG, RLX_F32, log, 0.5, 2, 2, 1e-6},
    {"log", RLX_FN_LOG, RLX_F64, log, 1e-320, 1e308, 2, 1e-12},
    {"log", RLX_FN_LOG, RLX_F64, log, 0.5, 2, 3, 1e-12},
    {"exp", RLX_FN_EXP, RLX_F64, exp, -708, 709, 2, 0},
    {"sin", RLX_FN_SIN, RLX_F32, sin, -10, 10, 2, 1e-3},
    {"cos", RLX_FN_COS, RLX_F32, cos, -10, 10, 2, 1e-3},
    {"sin", RLX_FN_SIN, RLX_F32, sin, -1e5, 1e5, 3, 1e-2},
    {"cos", RLX_FN_COS, RLX_F32, cos, -1e5, 1e5, 3, 1e-2},
    {"sin", RLX_FN_SIN, RLX_F64, sin, -1e3, 1e3, 2, 1e-3},
    {"cos", RLX_FN_COS, RLX_F64, cos, -1e3, 1e3, 2, 1e-3},
    {"atan", RLX_FN_ATAN, RLX_F32, atan, -5, 5, 3, 0},
    {"atan", RLX_FN_ATAN, RLX_F32, atan, -1e20, 1e20, 3, 0},
    {"tanh", RLX_FN_TANH, RLX_F32, tanh, -1, 1, 4, 0},
    {"tanh", RLX_FN_TANH, RLX_F32, tanh, -20, 20, 4, 0},
    {"erf", RLX_FN_ERF, RLX_F32, erf, -1, 1, 4, 0},
    {"erf", RLX_FN_ERF, RLX_F32, erf, -6, 6, 6, 0},
};
enum { NRANGES = sizeof ranges / sizeof *ranges, STEPS = 5000 };

static double unit(rlx_format f, double v)
{
    v = fabs(v);
    return f == RLX_F32 ? (double)nextafterf((float)v, INFINITY) - (double)(float)v
                        : nextafter(v, INFINITY) - v;
}

START_TEST(close_to_the_library)
{
    const range *r = &ranges[_i];
    double worst = 0, at = 0;
    for (int k = 0; k <= STEPS; k++) {
        double t = (double)k / STEPS;
        bool by_size = r->fn == RLX_FN_LOG && r->hi > 2; /* evenly over the exponents */
        double x =
            by_size ? exp(log(r->lo) + t * (log(r->hi) - log(r->lo))) : r->lo + t * (r->hi - r->lo);
        x = r->format == RLX_F32 ? (double)(float)x : x;
        double got = rlx_math_eval(r->fn, r->format, (rlx_scalar){.f = x}).f, want = r->want(x);
        double scale = fabs(want) > r->least ? fabs(want) : r->least;
        double error = fabs(got - want) / unit(r->format, scale);
        if (!(error <= worst)) {
            worst = error;
            at = x;
        }
    }
    ck_assert_msg(worst <= r->ulps, "%s of %s is %.2f units off at %a, not %g", r->name,
                  rlx_format_get(r->format)->name, worst, at, r->ulps);
}
END_TEST

/* ---- multiply-adds that are rounded twice, as some drivers have them --------------------------- */

static rlx_math_value make_constant(rlx_math_engine *e, rlx_format f, double v)
{
    (void)e;
    if (rlx_format_is_float(f))
        return (rlx_math_value){.format = f, .scalar.f = (double)(float)v};
    return (rlx_math_value){.format = f, .scalar.i = (int64_t)v};
}

static rlx_math_value map_twice(rlx_math_engine *e, rlx_map_fn fn, int n, const rlx_math_value *in)
{
    rlx_scalar x[3];
    const rlx_format f = in[n - 1].format;
    (void)e;
    for (int i = 0; i < n; i++)
        x[i] = in[i].scalar;
    if (fn == RLX_FN_FMA) {
        x[0] = rlx_map_fn_eval(RLX_FN_MUL, f, x);
        x[1] = x[2];
        fn = RLX_FN_ADD;
    }
    return (rlx_math_value){.format = rlx_map_fn_get(fn)->to_bool ? RLX_BOOL : f,
                            .scalar = rlx_map_fn_eval(fn, f, x)};
}

static rlx_math_value to_int(rlx_math_engine *e, rlx_math_value x, rlx_format f)
{
    (void)e;
    return (rlx_math_value){.format = f, .scalar.i = (int64_t)x.scalar.f};
}

START_TEST(angles_need_no_fused_steps)
{
    rlx_math_engine e = {.constant = make_constant, .map = map_twice, .cast = to_int};
    for (int k = -STEPS; k <= STEPS; k++) {
        const float x = (float)k * (1e5f / STEPS);
        const rlx_math_value at = {.format = RLX_F32, .scalar.f = (double)x};
        const double s = rlx_math_steps(&e, RLX_FN_SIN, at).scalar.f - sin((double)x);
        const double c = rlx_math_steps(&e, RLX_FN_COS, at).scalar.f - cos((double)x);
        ck_assert_msg(fabs(s) < 2e-7 && fabs(c) < 2e-7, "at %a: %g and %g off", (double)x, s, c);
    }
}
END_TEST

/* ---- what is no ordinary number ------------------------------------------------------------- */

typedef struct function {
    const char *name;
    rlx_map_fn fn;
    double (*want)(double);
} function;

static double rsqrt(double x)
{
    return 1 / sqrt(x);
}

static double negate(double x)
{
    return -x;
}

static const function functions[] = {
    {"log", RLX_FN_LOG, log},      {"sin", RLX_FN_SIN, sin},       {"cos", RLX_FN_COS, cos},
    {"atan", RLX_FN_ATAN, atan},   {"tanh", RLX_FN_TANH, tanh},    {"erf", RLX_FN_ERF, erf},
    {"exp", RLX_FN_EXP, exp},      {"sqrt", RLX_FN_SQRT, sqrt},    {"rsqrt", RLX_FN_RSQRT, rsqrt},
    {"round", RLX_FN_ROUND, rint}, {"floor", RLX_FN_FLOOR, floor}, {"abs", RLX_FN_ABS, fabs},
    {"neg", RLX_FN_NEG, negate},
};
enum { NFUNCTIONS = sizeof functions / sizeof *functions };

/* NaNs of any payload, infinities, zeros, denormals, the largest numbers. */
static const double specials[] = {0,         -0.0,      INFINITY, -INFINITY,  NAN,      -NAN,
                                  0x1p-149,  -0x1p-149, 0x1p-127, -0x1p-127,  0x1p-126, -0x1p-126,
                                  0x1p-1074, -1,        1,        -0x1p-1030, FLT_MAX,  -FLT_MAX};
enum { NSPECIALS = sizeof specials / sizeof *specials };

static void check_special(const function *f, rlx_format format, double x)
{
    if (format == RLX_F32)
        x = (double)(float)x;
    const double got = rlx_map_fn_eval(f->fn, format, &(rlx_scalar){.f = x}).f;
    double want = f->want(x);
    /* exp ends at the largest number that its format has, and begins with the least normal one */
    const double most = format == RLX_F32 ? (double)FLT_MAX : DBL_MAX;
    if (f->fn == RLX_FN_EXP && want > most / 2)
        want = most;
    const bool circle = f->fn == RLX_FN_SIN || f->fn == RLX_FN_COS;
    if (circle && isfinite(x) && fabs(x) > 1e5)
        return; /* their meaning says that digits are lost */
    const bool alike = isnan(want)   ? isnan(got)
                       : isinf(want) ? got == want
                       : !(fabs(want) > 0)
                           ? got == want && signbit(got) == signbit(want)
                           : fabs(got - want) <= 1e-4 * fabs(want) + unit(format, 0);
    ck_assert_msg(alike, "%s of %s %a is %a, not %a", f->name, rlx_format_get(format)->name, x, got,
                  want);
}

START_TEST(special_values)
{
    const function *f = &functions[_i];
    int checked = 0;
    for (int format = RLX_F32; format <= RLX_F64; format++)
        for (int i = 0; i < NSPECIALS && rlx_map_fn_takes(f->fn, (rlx_format)format);
             i++, checked++)
            check_special(f, (rlx_format)format, specials[i]);
    ck_assert_int_ge(checked, NSPECIALS);
}
END_TEST

/* A payload that is not the usual one must not be taken for bits of an exponent. */
START_TEST(any_nan_stays_one)
{
    static const uint32_t narrow[] = {0x7fc00000, 0xffc00000, 0x7fc00123, 0x7fffffff, 0xff812345};
    for (size_t i = 0; i < sizeof narrow / sizeof *narrow; i++) {
        float x;
        memcpy(&x, &narrow[i], sizeof x);
        for (int k = 0; k < NFUNCTIONS; k++)
            ck_assert(
                isnan(rlx_map_fn_eval(functions[k].fn, RLX_F32, &(rlx_scalar){.f = (double)x}).f));
    }
}
END_TEST

/* min and max: a NaN operand gives b, and so do equal ones; comparisons with a NaN are false. */
START_TEST(order_of_special_values)
{
    for (int i = 0; i < NSPECIALS; i++)
        for (int k = 0; k < NSPECIALS; k++) {
            const rlx_scalar x[] = {{.f = (double)(float)specials[i]},
                                    {.f = (double)(float)specials[k]}};
            const double a = x[0].f, b = x[1].f;
            const double least = rlx_map_fn_eval(RLX_FN_MIN, RLX_F32, x).f;
            const double most = rlx_map_fn_eval(RLX_FN_MAX, RLX_F32, x).f;
            const bool nan = isnan(a) || isnan(b);
            ck_assert(nan ? memcmp(&least, &b, sizeof b) == 0 : least == fmin(a, b));
            ck_assert(nan ? memcmp(&most, &b, sizeof b) == 0 : most == fmax(a, b));
            ck_assert(a != b || (signbit(least) == signbit(b) && signbit(most) == signbit(b)));
            ck_assert(rlx_map_fn_eval(RLX_FN_LT, RLX_F32, x).i == isless(a, b));
            ck_assert(rlx_map_fn_eval(RLX_FN_LE, RLX_F32, x).i == islessequal(a, b));
            ck_assert(rlx_map_fn_eval(RLX_FN_EQ, RLX_F32, x).i == (!nan && a == b));
        }
}
END_TEST

/* Where gelu multiplies 1 + erf(x) by a large -x, nothing may be left over. */
START_TEST(erf_is_one_from_its_end_on)
{
    const float ends[] = {0x1.e4ed86p+1F, 3.8F, 4, 10, 1e10F, FLT_MAX, INFINITY};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        for (int sign = -1; sign <= 1; sign += 2) {
            const rlx_scalar x = {.f = sign * (double)ends[i]};
            ck_assert(rlx_map_fn_eval(RLX_FN_ERF, RLX_F32, &x).f == sign);
        }
}
END_TEST

static double erf_at(rlx_format f, double x)
{
    const double y = rlx_map_fn_eval(RLX_FN_ERF, f, &(rlx_scalar){.f = x}).f;
    ck_assert_msg(fabs(y) <= 1 && fabs(y) > 0.9999, "erf(%.9g) = %.9g", x, y);
    return y;
}

/* Nor may anything be too much: every float about where the quotient exceeds 1, and a grid. */
START_TEST(erf_is_never_beyond_1)
{
    for (float x = 3.75F; x < 3.79F; x = nextafterf(x, 4))
        erf_at(RLX_F32, (double)x);
    for (int i = 30000; i < 40000; i++) {
        ck_assert(erf_at(RLX_F32, (double)(i / 1e4F)) == -erf_at(RLX_F32, (double)(i / -1e4F)));
        erf_at(RLX_F64, i / 1e4);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("math");
    TCase *c = tcase_create("steps");
    tcase_add_loop_test(c, close_to_the_library, 0, NRANGES);
    tcase_add_loop_test(c, special_values, 0, NFUNCTIONS);
    tcase_add_test(c, any_nan_stays_one);
    tcase_add_test(c, order_of_special_values);
    tcase_add_test(c, erf_is_one_from_its_end_on);
    tcase_add_test(c, erf_is_never_beyond_1);
    tcase_add_test(c, angles_need_no_fused_steps);
    suite_add_tcase(s, c);
    return run_suite(s, NRANGES + NFUNCTIONS + 5);
}
