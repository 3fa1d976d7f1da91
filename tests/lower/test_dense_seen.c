/* tests/lower/test_dense_seen.c: masks that hide keys at both ends, so that attention over tensors leaves them
 * out, and what makes that wrong: rows that see nothing, values that are large, infinite or NaN, scores that are
 * NaN or as low as those of hidden keys. MIR's evaluator, which leaves nothing out, LIR's and machine code give
 * the same bits. Cases are the batches of one call, so that a module is compiled once for all of them. */
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
    ROWS = 36, /* of a block: with as many threads as cases there are two */
    HIGH = 40  /* a bias: others have a weight of nearly 0 */
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

/* Scores of keys that are seen, with hidden ones behind them. */
static float nan_seen(int q, int k)
{
    return q % 9 == 5 && k == 7 * q + 11 ? NAN : plain(q, k);
}

static float nan_early(int q, int k)
{
    return q % 9 == 5 && k == 11 ? NAN : plain(q, k);
}

static float infinite_once(int e, int k)
{
    return k == 20 && e == 3 ? INFINITY : plain(e, k);
}

static float infinite_at_the_end(int e, int k)
{
    return k == KEYS - 1 ? -INFINITY : plain(e, k);
}

static float nan_at_the_end(int e, int k)
{
    return k == KEYS - 1 && e == 2 ? NAN : plain(e, k);
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
    {window, nan_seen, plain},
    {window, plain, infinite_at_the_end},
    {holes, lowest, infinite_once},
    {early, plain, plain}, /* from here on all queries see the same */
    {late, plain, plain},
    {nothing, plain, plain},
    {early, lowest, plain},
    {early, high, vanishing},
    {early, nan_early, plain},
    {early, plain, infinite_once},
    {early, plain, infinite_at_the_end},
    {early, plain, nan_at_the_end},
    {late, plain, huge},
};
enum { CASES = sizeof cases / sizeof *cases, ALIKE = 7 };

typedef double element_fn(int c, int row, int k);

static double seen_at(int c, int q, int k)
{
    return cases[c].seen(q, k);
}

static double bias_at(int c, int q, int k)
{
    return (double)cases[c].bias(q, k);
}

static double value_at(int c, int e, int k)
{
    return (double)cases[c].value(e, k);
}

static void make(engines *w, const char *name, rlx_format f, int first, int rows, element_fn *at)
{
    rlx_eval_tensor *x = &w->tensor[w->n++];
    const int64_t elems = (int64_t)(CASES - first) * rows * KEYS;
    *x =
        (rlx_eval_tensor){.name = name, .format = f, .rank = 3, .dim = {CASES - first, rows, KEYS}};
    x->data = malloc(rlx_format_bytes(f, elems));
    for (int64_t i = 0; i < elems; i++)
        rlx_format_store(
            f, x->data, i,
            at(first + (int)(i / KEYS / rows), (int)(i / KEYS % rows), (int)(i % KEYS)));
}

/* alike: the mask is of keys alone, and so are the cases. */
static void put_module(engines *w, bool alike)
{
    const int n = alike ? CASES - ALIKE : CASES;
    rlx_text_putf(&w->text,
                  "mir module @m {\n  func @main(%%q: f32[%d,S,2,8] input \"q\", %%k: "
                  "f32[%d,K,1,8] input \"k\", "
                  "%%va: f32[%d,%d,K] input \"v\", %%ba: f32[%d,S,K] input \"bias\", "
                  "%%sa: bool[%d,%s,K] input \"seen\") -> (f32[%d,S,2,%d]) {\n",
                  n, n, n, WIDTH, n, n, alike ? "1" : "S", n, WIDTH);
    rlx_text_putf(&w->text,
                  "    %%vb = transpose %%va {perm=[0,2,1]} : f32[%d,K,%d]\n"
                  "    %%v = reshape %%vb : f32[%d,K,1,%d]\n"
                  "    %%b = broadcast %%ba {axes=[0,2,3]} : f32[%d,2,S,K]\n",
                  n, WIDTH, n, WIDTH, n);
    if (alike)
        rlx_text_putf(&w->text, "    %%sb = reshape %%sa : bool[%d,K]\n", n);
    rlx_text_putf(&w->text,
                  "    %%s = broadcast %s : bool[%d,2,S,K]\n"
                  "    %%o = dense_attention %%q, %%k, %%v, %%b, %%s {scale=0.4, counts=[1,1,0]} "
                  ": f32[%d,S,2,%d]\n    return %%o\n  }\n}\n",
                  alike ? "%sb {axes=[0,3]}" : "%sa {axes=[0,2,3]}", n, n, WIDTH);
    ck_assert(!w->text.oom);
}

/* Row tiles whose keys from the first seen one to the last the kernels note: 0 if they leave none out. */
static int64_t noted_tiles(const rlx_ir_module *lir)
{
    for (const rlx_ir_func *f = lir->first; f; f = f->next)
        for (const rlx_ir_node *n = f->body->first; n; n = n->next)
            if (n->op == RLX_LIR_ALLOC && n->out[0]->type.format == RLX_I32)
                return n->out[0]->type.dim[0];
    return 0;
}

/* by_place: the mask is a matter of numbers, and no loop asks it about every key for its span. */
static void check(engines *w, rlx_ir_module *mir, int ncases, bool wide, bool by_place)
{
    rlx_eval_env env = {.find = engines_find, .user = w, .symbols = w->symbols};
    rlx_lir_target target = engines_target(w, wide);
    rlx_eval_tensor want;
    rlx_ir_module *lir;
    target.threads = ncases;
    engines_must(rlx_mir_eval(mir, "main", &env, &want, 1), w);
    engines_must(
        rlx_mir_lower(mir, &(rlx_mir_lower_options){.target = &target, .upper = w->symbols}, &lir),
        w);
    rlx_text text = {0};
    rlx_ir_print(lir, 0, &text);
    ck_assert_int_gt(noted_tiles(lir), 0);
    ck_assert(by_place != (strstr(text.data, "fn=neg") != NULL));
    rlx_text_deinit(&text);
    if (!by_place)
        ck_assert_int_eq(noted_tiles(lir), ROWS / (wide ? 12 : 6));
    engines_compare(w, lir, &want, 1, false);
    engines_compare(w, lir, &want, 1, true);
    rlx_ir_module_destroy(lir);
    free(want.data);
}

static void run_cases(bool alike, bool wide)
{
    engines w = {.seed = 7};
    const int first = alike ? ALIKE : 0;
    rlx_jit_target own[2];
    w.code = own[cpu_targets(own) - 1];
    rlx_dims *dims = rlx_dims_create();
    rlx_ir_module *mir;
    put_module(&w, alike);
    engines_must(rlx_ir_parse(&rlx_mir_level, dims, "seen", w.text.data, &mir), &w);
    w.symbols[rlx_dim_symbol_index(dims, "S")] = QUERIES;
    w.symbols[rlx_dim_symbol_index(dims, "K")] = KEYS;
    make(&w, "seen", RLX_BOOL, first, alike ? 1 : QUERIES, seen_at);
    make(&w, "bias", RLX_F32, first, QUERIES, bias_at);
    make(&w, "v", RLX_F32, first, WIDTH, value_at);
    engines_make_tensors(&w, mir);
    engines_must(rlx_mir_optimize(mir), &w);
    check(&w, mir, CASES - first, wide, false);
    rlx_ir_module_destroy(mir);
    rlx_dims_destroy(dims);
    engines_deinit(&w);
}

START_TEST(hidden_keys_change_no_bit)
{
    run_cases(false, _i);
}
END_TEST

START_TEST(keys_that_all_hide_change_no_bit)
{
    run_cases(true, _i);
}
END_TEST

/* Masks that say from which key to which one a query sees: nobody looks for that key by key. */
static const struct {
    int lead; /* of the queries' places */
    const char *seen;
} places[] = {
    {KEYS - QUERIES, "    %s = map %cols, %rows {fn=le} : bool[2,S,K]\n"},
    {-20, "    %s = map %cols, %rows {fn=lt} : bool[2,S,K]\n"}, /* the first see nothing */
    {300, "    %c = const {value=40} : i32\n    %reach = map %cols, %c {fn=add} : i32[2,S,K]\n"
          "    %a = map %rows, %reach {fn=lt} : bool[2,S,K]\n"
          "    %b = map %cols, %rows {fn=le} : bool[2,S,K]\n"
          "    %s = map %a, %b {fn=and} : bool[2,S,K]\n"},
    {KEYS + 10,
     "    %c = const {value=-25} : i32\n    %reach = map %cols, %c {fn=add} : i32[2,S,K]\n"
     "    %s = map %rows, %reach {fn=le} : bool[2,S,K]\n"}, /* behind the last key */
};
enum { PLACES = sizeof places / sizeof *places };

static void put_places(engines *w, int c)
{
    rlx_text_putf(
        &w->text,
        "mir module @m {\n  func @main(%%q: f32[S,2,8] input \"q\", %%k: f32[K,1,8] input "
        "\"k\", %%v: f32[K,1,%d] input \"v\", %%lead: i32 input \"lead\") -> "
        "(f32[S,2,%d]) {\n"
        "    %%i = iota : i32[S]\n    %%j = iota : i32[K]\n"
        "    %%first = broadcast %%lead {axes=[]} : i32[S]\n"
        "    %%at = map %%i, %%first {fn=add} : i32[S]\n"
        "    %%rows = broadcast %%at {axes=[1]} : i32[2,S,K]\n"
        "    %%cols = broadcast %%j {axes=[2]} : i32[2,S,K]\n%s"
        "    %%o = dense_attention %%q, %%k, %%v, %%s {scale=0.4, counts=[0,1,0]} : "
        "f32[S,2,%d]\n    return %%o\n  }\n}\n",
        WIDTH, WIDTH, places[c].seen, WIDTH);
    ck_assert(!w->text.oom);
}

START_TEST(hidden_places_change_no_bit)
{
    engines w = {.seed = 7};
    rlx_jit_target own[2];
    w.code = own[cpu_targets(own) - 1];
    rlx_dims *dims = rlx_dims_create();
    rlx_ir_module *mir;
    put_places(&w, _i / 2);
    engines_must(rlx_ir_parse(&rlx_mir_level, dims, "seen", w.text.data, &mir), &w);
    w.symbols[rlx_dim_symbol_index(dims, "S")] = QUERIES;
    w.symbols[rlx_dim_symbol_index(dims, "K")] = KEYS;
    rlx_eval_tensor *lead = &w.tensor[w.n++];
    *lead = (rlx_eval_tensor){.name = "lead", .format = RLX_I32, .data = malloc(sizeof(int32_t))};
    *(int32_t *)lead->data = places[_i / 2].lead;
    engines_make_tensors(&w, mir);
    engines_must(rlx_mir_optimize(mir), &w);
    check(&w, mir, 1, _i % 2, true);
    rlx_ir_module_destroy(mir);
    rlx_dims_destroy(dims);
    engines_deinit(&w);
}
END_TEST

/* The sign of a zero goes by its bits: a driver may take an addition of 0 away. */
START_TEST(zeros_lose_their_sign_by_bits)
{
    const rlx_jit_target vulkan = {
        .kind = RLX_JIT_SPIRV, .features = RLX_VULKAN_ALL, .team = 32, .team_bytes = 16 << 10};
    engines w = {0};
    rlx_lir_target target;
    rlx_ir_module *mir, *lir;
    rlx_dims *dims = rlx_dims_create();
    rlx_text t = {0};
    put_module(&w, false);
    engines_must(rlx_ir_parse(&rlx_mir_level, dims, "seen", w.text.data, &mir), &w);
    engines_must(rlx_mir_optimize(mir), &w);
    engines_must(rlx_jit_lir_target(&vulkan, &target), &w);
    engines_must(
        rlx_mir_lower(mir, &(rlx_mir_lower_options){.target = &target, .upper = w.symbols}, &lir),
        &w);
    rlx_ir_print(lir, 0, &t);
    ck_assert_ptr_nonnull(strstr(t.data, "const {ivalue=-2147483648} : i32"));
    rlx_text_deinit(&t);
    rlx_ir_module_destroy(lir);
    rlx_ir_module_destroy(mir);
    rlx_dims_destroy(dims);
    engines_deinit(&w);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("dense attention, seen");
    TCase *c = tcase_create("masks");
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, hidden_keys_change_no_bit, 0, 2);
    tcase_add_loop_test(c, keys_that_all_hide_change_no_bit, 0, 2);
    tcase_add_loop_test(c, hidden_places_change_no_bit, 0, 2 * PLACES);
    tcase_add_test(c, zeros_lose_their_sign_by_bits);
    suite_add_tcase(s, c);
    return run_suite(s, 5 + 2 * PLACES);
}
