/* tests/base/test_math.c: the functions of math_steps.c against the C library's, over their ranges.
 */
#include <float.h>
#include <math.h>

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
    {"erf", RLX_FN_ERF, RLX_F32, erf, -6, 6, 5, 0},
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

static double at(rlx_map_fn fn, rlx_format f, double x)
{
    return rlx_math_eval(fn, f, (rlx_scalar){.f = x}).f;
}

START_TEST(special_values)
{
    for (int f = RLX_F32; f <= RLX_F64; f++) {
        ck_assert(at(RLX_FN_LOG, f, 0) == -INFINITY && at(RLX_FN_LOG, f, INFINITY) == INFINITY);
        ck_assert(isnan(at(RLX_FN_LOG, f, -1)) && isnan(at(RLX_FN_LOG, f, NAN)));
        ck_assert(at(RLX_FN_LOG, f, 1) == 0);
        ck_assert(isnan(at(RLX_FN_SIN, f, INFINITY)) && isnan(at(RLX_FN_COS, f, NAN)));
        ck_assert(at(RLX_FN_SIN, f, 0) == 0 && at(RLX_FN_COS, f, 0) == 1);
    }
    ck_assert(at(RLX_FN_EXP, RLX_F64, -INFINITY) == 0 && at(RLX_FN_EXP, RLX_F64, 0) == 1);
    ck_assert(at(RLX_FN_TANH, RLX_F32, INFINITY) == 1 && at(RLX_FN_TANH, RLX_F32, -INFINITY) == -1);
    ck_assert(at(RLX_FN_ERF, RLX_F32, INFINITY) == 1 && at(RLX_FN_ERF, RLX_F32, -40) == -1);
    ck_assert(isnan(at(RLX_FN_TANH, RLX_F32, NAN)) && isnan(at(RLX_FN_ERF, RLX_F32, NAN)));
    ck_assert(at(RLX_FN_ATAN, RLX_F32, INFINITY) == (double)0x1.921fb6p+0f);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("math");
    TCase *c = tcase_create("steps");
    tcase_add_loop_test(c, close_to_the_library, 0, NRANGES);
    tcase_add_test(c, special_values);
    suite_add_tcase(s, c);
    return run_suite(s, NRANGES + 1);
}
