/* tests/examples/test_examples.c: the examples run, and hand_flow's numbers are those of plain
 * loops. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/tool/process.h"

#define EXAMPLES RLX_BINARY_DIR "/examples/"

/* ---- hand_flow, once more in double */

enum { LAYERS = 2, TOKENS = 3, HIDDEN = 24, INNER = 40, OUT = 5 };

static double value(int which, int i, double mean)
{
    return mean + 0.3f * sinf((float)(1 + which) + 0.7f * (float)i);
}

static double dot(int which, int row, const double *x, int n)
{
    double sum = 0;
    for (int k = 0; k < n; k++)
        sum += value(which, row * n + k, 0) * x[k];
    return sum;
}

static void one_token(int token, double *y)
{
    double x[HIDDEN], h[HIDDEN], g[INNER];
    for (int i = 0; i < HIDDEN; i++)
        x[i] = value(200, token * HIDDEN + i, 0);
    for (int l = 0; l < LAYERS; l++) {
        double squares = 0;
        for (int i = 0; i < HIDDEN; i++)
            squares += x[i] * x[i];
        for (int i = 0; i < HIDDEN; i++)
            h[i] = x[i] / sqrt(squares / HIDDEN + 1e-5) * value(4 * l, i, 1);
        for (int i = 0; i < INNER; i++) {
            double gate = dot(4 * l + 1, i, h, HIDDEN);
            g[i] = gate / (1 + exp(-gate)) * dot(4 * l + 2, i, h, HIDDEN);
        }
        for (int i = 0; i < HIDDEN; i++)
            x[i] += dot(4 * l + 3, i, g, INNER);
    }
    for (int o = 0; o < OUT; o++)
        y[o] = dot(100, o, x, HIDDEN) + value(101, o, 0);
}

static const char *const devices[] = {"cpu", "cpu:x86-64-v3", "ref:lir", "ref:mir"};

START_TEST(hand_flow)
{
    process p;
    RUN(&p, EXAMPLES "hand_flow", devices[_i]);
    ck_assert_msg(p.code == 0, "%s", p.err);
    char *at = p.out;
    for (int t = 0; t < TOKENS; t++) {
        double want[OUT];
        one_token(t, want);
        for (int o = 0; o < OUT; o++) {
            double got = strtod(at, &at);
            ck_assert_msg(fabs(got - want[o]) <= 1e-5 * (1 + fabs(want[o])),
                          "token %d, output %d: %.9g, not %.9g", t, o, got, want[o]);
        }
    }
    ck_assert_str_eq(at, "\n");
    process_free(&p);
}
END_TEST

START_TEST(run_model)
{
    process p;
    RUN(&p, EXAMPLES "run_model", RLX_SOURCE_DIR "/models/bundled", "Once upon a time", "32");
    ck_assert_msg(p.code == 0, "%s", p.err);
    ck_assert_ptr_eq(strstr(p.out, "Once upon a time"), p.out);
    ck_assert_msg(p.out_bytes > 60, "\"%s\"", p.out);
    process_free(&p);
    RUN(&p, EXAMPLES "run_model", "/no/such/model");
    ck_assert_int_eq(p.code, 1);
    ck_assert_msg(strstr(p.err, "/no/such/model"), "%s", p.err);
    process_free(&p);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("examples");
    TCase *c = tcase_create("examples");
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, hand_flow, 0, sizeof devices / sizeof *devices);
    tcase_add_test(c, run_model);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int bad = srunner_ntests_failed(r) || srunner_ntests_run(r) < 5;
    srunner_free(r);
    return bad;
}
