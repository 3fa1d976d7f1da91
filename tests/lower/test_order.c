/* tests/lower/test_order.c: the order of elements, of every format of numbers, with equal ones, zeros of
 * both signs, infinities and NaNs; rows of one chunk and of several. The evaluator is held against
 * the definition (how many go before an element), LIR's evaluator and machine code against it. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jit/kernel_info.h"
#include "tests/base/suite.h"
#include "tests/jit/subject.h"
#include "tests/lower/engines.h"

static const char *const formats[] = {"f32", "f16", "bf16", "f64", "i8",  "i16",
                                      "i32", "i64", "u8",   "u16", "u32", "u64"};
enum {
    FORMATS = sizeof formats / sizeof *formats,
    CASES = 60,
    CODE_EVERY = 7,
    SMALL_EVERY = 3,
    LONG = 3
};

static double any_value(engines *e, rlx_format f)
{
    static const double odd[] = {NAN, INFINITY, -INFINITY, 0.0, -0.0};
    const int64_t v = (int64_t)engines_pick(e, 9);
    if (!rlx_format_is_float(f))
        return (double)v;
    return engines_pick(e, 4) ? (double)v / 2 - 2 : odd[engines_pick(e, 5)];
}

static void make_rows(engines *e, rlx_format f, int64_t rows, int64_t n)
{
    rlx_eval_tensor *x = &e->tensor[e->n++];
    *x = (rlx_eval_tensor){.name = "x", .format = f, .rank = 2, .dim = {rows, n}};
    x->data = malloc(rlx_format_bytes(f, rows * n) + 1);
    for (int64_t i = 0; i < rows * n; i++)
        rlx_format_store(f, x->data, i, any_value(e, f));
}

static bool is_before(double a, double b, bool largest)
{
    const double x = largest ? b : a, y = largest ? a : b;
    return isnan(y) ? !isnan(x) : x < y;
}

static void expect_order(const rlx_eval_tensor *x, const int32_t *order, int64_t k, bool largest)
{
    const int64_t n = x->dim[1];
    for (int64_t r = 0; r < x->dim[0]; r++)
        for (int64_t i = 0; i < n; i++) {
            int64_t before = 0;
            const double v = rlx_format_load(x->format, x->data, r * n + i);
            for (int64_t j = 0; j < n; j++) {
                const double w = rlx_format_load(x->format, x->data, r * n + j);
                before += is_before(w, v, largest) || (j < i && !is_before(v, w, largest));
            }
            ck_assert(before >= k || order[r * k + before] == i);
        }
}

START_TEST(orders)
{
    engines e = {.seed = (uint64_t)_i * 31 + 7};
    const char *format = formats[_i % FORMATS];
    const bool largest = engines_pick(&e, 2), several = _i < LONG;
    const int64_t rows = several ? 1 + _i : (int64_t)engines_pick(&e, 4);
    const int64_t n = several ? 4096 * _i + 5 : 1 + (int64_t)engines_pick(&e, 70);
    const int64_t count = engines_pick(&e, 2) ? 1 + (int64_t)engines_pick(&e, (uint64_t)n) : 0;
    const int64_t k = count ? count : n;
    char counts[64] = "";
    if (count)
        snprintf(counts, sizeof counts, "count=%lld, ", (long long)count);
    rlx_text_putf(&e.text,
                  "mir module @m {\n  func @main(%%x: %s[T,%lld] input \"x\") -> (i32[T,%lld]) {\n"
                  "    %%y = order %%x {%skind=\"%s\"} : i32[T,%lld]\n    return %%y\n  }\n}\n",
                  format, (long long)n, (long long)k, counts, largest ? "largest" : "smallest",
                  (long long)k);
    rlx_jit_target own[2];
    cpu_targets(own);
    e.code = own[0];
    rlx_dims *dims = rlx_dims_create();
    rlx_ir_module *mir, *lir;
    engines_must(rlx_ir_parse(&rlx_mir_level, dims, "order", e.text.data, &mir), &e);
    e.symbols[rlx_dim_symbol_index(dims, "T")] = rows;
    make_rows(&e, rlx_format_parse(format, strlen(format)), rows, n);
    rlx_eval_env env = {.find = engines_find, .user = &e, .symbols = e.symbols};
    rlx_eval_tensor want;
    engines_must(rlx_mir_optimize(mir), &e);
    engines_must(rlx_mir_eval(mir, "main", &env, &want, 1), &e);
    if (!several)
        expect_order(&e.tensor[0], want.data, k, largest);
    rlx_lir_target target = engines_target(&e, false);
    if (_i % SMALL_EVERY == 0)
        target.team_bytes = 256; /* chunks of 32 */
    int64_t upper[RLX_MAX_SYMBOLS] = {0};
    upper[rlx_dim_symbol_index(dims, "T")] = rows + 1;
    engines_must(
        rlx_mir_lower(mir, &(rlx_mir_lower_options){.target = &target, .upper = upper}, &lir), &e);
    for (const rlx_ir_func *f = lir->first; f; f = f->next)
        ck_assert_int_le(rlx_jit_team_bytes(f), target.team_bytes);
    if (!several)
        engines_compare(&e, lir, &want, 1, false);
    if (several || _i % CODE_EVERY == 0)
        engines_compare(&e, lir, &want, 1, true);
    if (!several)
        engines_compare_gpu(&e, mir, upper, &want, 1);
    free(want.data);
    rlx_ir_module_destroy(lir);
    rlx_ir_module_destroy(mir);
    rlx_dims_destroy(dims);
    engines_deinit(&e);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("order");
    TCase *c = tcase_create("random");
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, orders, 0, CASES);
    suite_add_tcase(s, c);
    return run_suite(s, CASES);
}
