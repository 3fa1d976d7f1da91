/* tests/lower/test_dense_seen.c: masks that hide keys at both ends, so that attention over tensors leaves them
 * out, and what makes that wrong: rows that see nothing, values that are no numbers, scores as low as those of
 * hidden keys. MIR's evaluator, which leaves nothing out, LIR's and machine code give the same bits. */
#include <check.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/base/suite.h"
#include "tests/jit/subject.h"
#include "tests/lower/engines.h"

enum {
    QUERIES = 70,
    KEYS = 600,
    WIDTH = 20,
    HIGH = 40 /* a bias: others have a weight of nearly 0 */
};

/* Of query q, or of all alike. */
typedef bool seen_fn(int q, int k);

static bool causal(int q, int k)
{
    return k <= q + KEYS - QUERIES;
}

static bool window(int q, int k)
{
    return k >= 7 * q && k < 7 * q + 60;
}

static bool early(int q, int k)
{
    (void)q;
    return k < 33;
}

static bool late(int q, int k)
{
    (void)q;
    return k >= 290;
}

static bool holes(int q, int k)
{
    return k % 3 && q != 13 && window(q, k);
}

static bool nothing(int q, int k)
{
    (void)q;
    (void)k;
    return false;
}

static float plain(int q, int k)
{
    return (float)((q * 31 + k * 17) % 61) / 61;
}

static float lowest(int q, int k)
{
    return q == 33 ? -FLT_MAX : plain(q, k);
}

static float high(int q, int k)
{
    (void)q;
    return k == 20 ? HIGH : 0;
}

static float infinite_once(int e, int k)
{
    return k == 20 && e == 3 ? INFINITY : plain(e, k);
}

static float infinite_at_the_end(int e, int k)
{
    return k == KEYS - 1 ? -INFINITY : plain(e, k);
}

static float huge(int e, int k)
{
    return (e + k) % 5 ? 1 : FLT_MAX / 4;
}

/* Sums of negative zeros, which hidden keys would make positive. */
static float vanishing(int e, int k)
{
    (void)e;
    return k == 20 ? -0.0f : k < 33 ? -1e-40f : 1;
}

typedef float number_fn(int row, int k);

static const struct {
    seen_fn *seen;
    number_fn *bias, *value;
} cases[] = {
    {causal, plain, plain},
    {window, plain, plain},
    {holes, plain, plain},
    {window, lowest, plain},
    {window, plain, infinite_at_the_end},
    {holes, lowest, infinite_once},
    {early, plain, plain}, /* from here on all queries see the same */
    {late, plain, plain},
    {nothing, plain, plain},
    {early, lowest, plain},
    {early, high, vanishing},
    {early, plain, infinite_once},
    {early, plain, infinite_at_the_end},
    {late, plain, huge},
};
enum { CASES = sizeof cases / sizeof *cases, ALIKE = 6 };

static void *make(engines *w, const char *name, rlx_format f, int rows, int rank)
{
    rlx_eval_tensor *x = &w->tensor[w->n++];
    *x = (rlx_eval_tensor){.name = name, .format = f, .rank = rank};
    x->dim[0] = rank == 1 ? KEYS : rows;
    x->dim[1] = KEYS;
    x->data = malloc(rlx_format_bytes(f, (int64_t)rows * KEYS));
    return x->data;
}

static void make_inputs(engines *w, int c, bool alike)
{
    const int rows = alike ? 1 : QUERIES;
    uint8_t *seen = make(w, "seen", RLX_BOOL, rows, alike ? 1 : 2);
    float *bias = make(w, "bias", RLX_F32, QUERIES, 2);
    float *value = make(w, "v", RLX_F32, WIDTH, 2);
    for (int k = 0; k < KEYS; k++) {
        for (int q = 0; q < rows; q++)
            seen[q * KEYS + k] = cases[c].seen(q, k);
        for (int q = 0; q < QUERIES; q++)
            bias[q * KEYS + k] = cases[c].bias(q, k);
        for (int e = 0; e < WIDTH; e++)
            value[e * KEYS + k] = cases[c].value(e, k);
    }
}

/* alike: the mask is of keys alone. */
static void put_module(engines *w, bool alike)
{
    rlx_text_putf(
        &w->text,
        "mir module @m {\n  func @main(%%q: f32[S,2,8] input \"q\", %%k: f32[K,1,8] input \"k\", "
        "%%va: f32[%d,K] input \"v\", %%ba: f32[S,K] input \"bias\", "
        "%%sa: bool[%sK] input \"seen\") -> (f32[S,2,%d]) {\n"
        "    %%vb = transpose %%va {perm=[1,0]} : f32[K,%d]\n"
        "    %%v = reshape %%vb : f32[K,1,%d]\n"
        "    %%b = broadcast %%ba {axes=[1,2]} : f32[2,S,K]\n"
        "    %%s = broadcast %%sa {axes=[%s2]} : bool[2,S,K]\n"
        "    %%o = dense_attention %%q, %%k, %%v, %%b, %%s {scale=0.4, counts=[1,1,0]} "
        ": f32[S,2,%d]\n    return %%o\n  }\n}\n",
        WIDTH, alike ? "" : "S,", WIDTH, WIDTH, WIDTH, alike ? "" : "1,", WIDTH);
    ck_assert(!w->text.oom);
}

static void check(engines *w, rlx_ir_module *mir, bool wide, bool code)
{
    rlx_eval_env env = {.find = engines_find, .user = w, .symbols = w->symbols};
    const rlx_lir_target target = engines_target(w, wide);
    rlx_eval_tensor want;
    rlx_ir_module *lir;
    engines_must(rlx_mir_eval(mir, "main", &env, &want, 1), w);
    engines_must(
        rlx_mir_lower(mir, &(rlx_mir_lower_options){.target = &target, .upper = w->symbols}, &lir),
        w);
    engines_compare(w, lir, &want, 1, code);
    rlx_ir_module_destroy(lir);
    free(want.data);
}

static void run_case(int c, bool alike, bool wide, bool code)
{
    engines w = {.seed = (uint64_t)c + 1};
    rlx_jit_target own[2];
    w.code = own[cpu_targets(own) - 1];
    rlx_dims *dims = rlx_dims_create();
    rlx_ir_module *mir;
    put_module(&w, alike);
    engines_must(rlx_ir_parse(&rlx_mir_level, dims, "seen", w.text.data, &mir), &w);
    w.symbols[rlx_dim_symbol_index(dims, "S")] = QUERIES;
    w.symbols[rlx_dim_symbol_index(dims, "K")] = KEYS;
    make_inputs(&w, c, alike);
    engines_make_tensors(&w, mir);
    engines_must(rlx_mir_optimize(mir), &w);
    check(&w, mir, wide, code);
    rlx_ir_module_destroy(mir);
    rlx_dims_destroy(dims);
    engines_deinit(&w);
}

START_TEST(hidden_keys_change_no_bit)
{
    run_case(_i, false, _i / 2 % 2, _i % 2);
}
END_TEST

START_TEST(keys_that_all_hide_change_no_bit)
{
    run_case(ALIKE + _i, true, _i % 2 == 0, _i % 3);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("dense attention, seen");
    TCase *c = tcase_create("masks");
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, hidden_keys_change_no_bit, 0, CASES);
    tcase_add_loop_test(c, keys_that_all_hide_change_no_bit, 0, CASES - ALIKE);
    suite_add_tcase(s, c);
    return run_suite(s, 2 * CASES - ALIKE);
}
