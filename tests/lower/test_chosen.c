/* tests/lower/test_chosen.c: contractions whose rows choose their matrix: random regions in every
 * weight format and precision, few rows and many, matrices that nobody chooses, all rows to one,
 * ids outside, extents that no tile divides. MIR's evaluator (which knows no groups, and refuses ids
 * outside), LIR's and machine code give the same bits, so neither a batch nor who else is in it
 * changes any. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jit/kernel_info.h"
#include "tests/base/suite.h"
#include "tests/jit/subject.h"
#include "tests/lower/engines.h"

enum { CASES = 150, CODE_EVERY = 16, MAX_MATRICES = 7, RESULTS = 3 };

static const char *const formats[] = {
#define FORMAT(NAME, text, elems, bytes, kind) FORMAT_##kind(text)
#define FORMAT_FLOAT(text)
#define FORMAT_INT(text)
#define FORMAT_UINT(text)
#define FORMAT_BOOL(text)
#define FORMAT_BLOCK(text) text,
#include "runtime/base/formats.def"
    "f32", "f16", "bf16"};
enum { FORMATS = sizeof formats / sizeof *formats };

typedef struct world {
    engines e;
    int64_t rows, upper, each; /* each 0: ids [T] */
    int64_t matrices, others;  /* of all weights but one; of that one */
    int64_t n, k;
} world;

static int64_t pick(world *w, int64_t n)
{
    return (int64_t)engines_pick(&w->e, (uint64_t)n);
}

/* "[T,S" or "[T". */
static const char *lead(const world *w)
{
    static char text[32];
    snprintf(text, sizeof text, w->each ? "[T,%lld" : "[T", (long long)w->each);
    return text;
}

/* Two of one shape, multiplied, with a residual; then rows of that with matrices of their own, as
 * gate, up and down are; and the first rows with a weight of another number of matrices. */
static void make_text(world *w, const char *format, const char *other)
{
    rlx_text *t = &w->e.text;
    const long long e = w->matrices, n = w->n, k = w->k, k2 = 256, each = w->each ? w->each : 1;
    rlx_text_putf(t,
                  "mir module @m {\n  func @main(%%x: f32[T,%lld] input \"x\", %%i: i32%s] input "
                  "\"i\", %%r: f32%s,%lld] input \"r\", %%z: f32[T*%lld,%lld] input \"z\", %%w0: "
                  "%s[%lld,%lld,%lld] weight \"w0\", %%w1: %s[%lld,%lld,%lld] weight \"w1\", "
                  "%%w2: %s[%lld,3,%lld] weight \"w2\", %%w3: %s[%lld,5,%lld] weight \"w3\") -> "
                  "(f32%s,%lld], f32[T*%lld,3], f32%s,5]) {\n",
                  k, lead(w), lead(w), n, each, k2, format, e, n, k, other, e, n, k, format, e, k2,
                  format, (long long)w->others, k, lead(w), n, each, lead(w));
    rlx_text_putf(t, "    %%f0 = cast %%w0 : f32[%lld,%lld,%lld]\n", e, n, k);
    rlx_text_putf(t, "    %%f1 = cast %%w1 : f32[%lld,%lld,%lld]\n", e, n, k);
    rlx_text_putf(t, "    %%f2 = cast %%w2 : f32[%lld,3,%lld]\n", e, k2);
    rlx_text_putf(t, "    %%f3 = cast %%w3 : f32[%lld,5,%lld]\n", (long long)w->others, k);
    for (int c = 0; c < 2; c++)
        rlx_text_putf(t, "    %%c%d = contract %%x, %%f%d, %%i {lanes=16} : f32%s,%lld]\n", c, c,
                      lead(w), n);
    rlx_text_putf(t, "    %%e = contract %%x, %%f3, %%i {lanes=16} : f32%s,5]\n", lead(w));
    rlx_text_putf(t, "    %%m = map %%c0, %%c1 {fn=mul} : f32%s,%lld]\n", lead(w), n);
    rlx_text_putf(t, "    %%y = map %%m, %%r {fn=add} : f32%s,%lld]\n", lead(w), n);
    rlx_text_putf(t, "    %%ii = reshape %%i : i32[T*%lld]\n", each);
    rlx_text_putf(t, "    %%d = contract %%z, %%f2, %%ii {lanes=16} : f32[T*%lld,3]\n", each);
    rlx_text_put(t, "    return %y, %d, %e\n  }\n}\n");
    ck_assert(!t->oom);
}

/* Random ones; all of one matrix; few of them. */
static void make_ids(world *w)
{
    const int64_t n = w->rows * (w->each ? w->each : 1);
    int32_t *ids = malloc(sizeof *ids * (size_t)(n + 1));
    const int64_t matrices = w->others < w->matrices ? w->others : w->matrices;
    const int64_t kind = pick(w, 3), one = pick(w, matrices);
    for (int64_t i = 0; i < n; i++)
        ids[i] = (int32_t)(kind == 0   ? one
                           : kind == 1 ? pick(w, matrices)
                                       : pick(w, matrices) / 2 * 2);
    w->e.tensor[w->e.n++] = (rlx_eval_tensor){.name = "i",
                                              .format = RLX_I32,
                                              .rank = w->each ? 2 : 1,
                                              .dim = {w->rows, w->each},
                                              .data = ids};
}

/* Some of the first and last matrix's ids go outside: for code the nearest is meant still. Returns
 * how many. */
static int stray(world *w)
{
    const int64_t n = w->rows * (w->each ? w->each : 1);
    int32_t *ids = engines_find(&w->e, RLX_ROLE_INPUT, "i")->data;
    int strays = 0;
    for (int64_t i = 0; i < n; i++) {
        const bool last = w->matrices == w->others && ids[i] == w->matrices - 1;
        if (pick(w, 3) || (!last && ids[i] != 0))
            continue;
        ids[i] = last ? INT32_MAX - (int32_t)pick(w, 9) : -1 - (int32_t)pick(w, 9);
        strays++;
    }
    return strays;
}

static void expect_refusal(world *w, rlx_ir_module *mir, const rlx_eval_env *env)
{
    rlx_eval_tensor results[RESULTS];
    rlx_status s = rlx_mir_eval(mir, "main", env, results, RESULTS);
    ck_assert_msg(rlx_status_code(s) == RLX_INVALID_ARGUMENT, "%s", w->e.text.data);
    char *text = rlx_status_text(s);
    ck_assert_ptr_nonnull(strstr(text, "is not in 0.."));
    free(text);
    rlx_status_free(s);
}

static void check_module(world *w, rlx_ir_module *mir, bool wide, bool code, bool gpu)
{
    rlx_ir_module *lir;
    rlx_eval_tensor want[RESULTS];
    rlx_eval_env env = {.find = engines_find, .user = &w->e, .symbols = w->e.symbols};
    engines_must(rlx_mir_eval(mir, "main", &env, want, RESULTS), &w->e);
    if (pick(w, 2) && stray(w) > 0)
        expect_refusal(w, mir, &env);
    rlx_lir_target target = engines_target(&w->e, wide);
    int64_t upper[RLX_MAX_SYMBOLS] = {0};
    upper[rlx_dim_symbol_index(mir->dims, "T")] = w->upper;
    engines_must(
        rlx_mir_lower(mir, &(rlx_mir_lower_options){.target = &target, .upper = upper}, &lir),
        &w->e);
    engines_compare(&w->e, lir, want, RESULTS, false);
    if (code)
        engines_compare(&w->e, lir, want, RESULTS, true);
    if (gpu)
        engines_compare_gpu(&w->e, mir, upper, want, RESULTS);
    for (int i = 0; i < RESULTS; i++)
        free(want[i].data);
    rlx_ir_module_destroy(lir);
}

static const rlx_mir_precision precisions[] = {RLX_MIR_EXACT, RLX_MIR_PREFILL, RLX_MIR_DECODE};
enum { PRECISIONS = sizeof precisions / sizeof *precisions };

START_TEST(rows_choose_matrices)
{
    world w = {.e.seed = (uint64_t)_i * 91 + 3};
    const char *format = formats[_i % FORMATS], *other = formats[pick(&w, FORMATS)];
    rlx_jit_target own[2];
    cpu_targets(own);
    w.e.code = own[0];
    w.matrices = 1 + pick(&w, MAX_MATRICES);
    w.others = 1 + pick(&w, MAX_MATRICES);
    w.each = pick(&w, 4);
    w.n = 1 + pick(&w, 40);
    w.k = 256 * (1 + pick(&w, 2));
    w.rows = pick(&w, 3) ? pick(&w, 30) : pick(&w, 4);
    w.upper = w.rows + 1 + pick(&w, 10);
    make_text(&w, format, other);
    rlx_dims *dims = rlx_dims_create();
    rlx_ir_module *mir;
    engines_must(rlx_ir_parse(&rlx_mir_level, dims, "chosen", w.e.text.data, &mir), &w.e);
    w.e.symbols[rlx_dim_symbol_index(dims, "T")] = w.rows;
    make_ids(&w);
    engines_make_tensors(&w.e, mir);
    engines_must(rlx_mir_choose_precision(mir, precisions[_i % PRECISIONS], NULL), &w.e);
    engines_must(rlx_mir_optimize(mir), &w.e);
    check_module(&w, mir, pick(&w, 2) && _i % CODE_EVERY, _i % CODE_EVERY == 0,
                 precisions[_i % PRECISIONS] == RLX_MIR_EXACT);
    rlx_ir_module_destroy(mir);
    rlx_dims_destroy(dims);
    engines_deinit(&w.e);
}
END_TEST

START_TEST(rows_may_choose_none)
{
    engines e = {.seed = 1};
    rlx_dims *dims = rlx_dims_create();
    rlx_ir_module *mir, *lir;
    rlx_text_put(&e.text, "mir module @m {\n  func @main(%x: f32[T,256] input \"x\", %i: i32[T,0] "
                          "input \"i\", %w: q8_0[3,4,256] weight \"w\") -> (f32[T,0,4]) {\n"
                          "    %f = cast %w : f32[3,4,256]\n"
                          "    %y = contract %x, %f, %i {lanes=16} : f32[T,0,4]\n"
                          "    return %y\n  }\n}\n");
    engines_must(rlx_ir_parse(&rlx_mir_level, dims, "none", e.text.data, &mir), &e);
    engines_must(rlx_mir_choose_precision(mir, precisions[_i], NULL), &e);
    engines_must(rlx_mir_optimize(mir), &e);
    rlx_lir_target target = engines_target(&e, false);
    int64_t upper[RLX_MAX_SYMBOLS] = {0};
    upper[rlx_dim_symbol_index(dims, "T")] = 9;
    engines_must(
        rlx_mir_lower(mir, &(rlx_mir_lower_options){.target = &target, .upper = upper}, &lir), &e);
    rlx_ir_module_destroy(lir);
    rlx_ir_module_destroy(mir);
    rlx_dims_destroy(dims);
    engines_deinit(&e);
}
END_TEST

/* Normalised rows, in team memory while they are few and short: of a row that goes to an expert as
 * many as there are tokens, however few go together; of axes in front of tokens all. Sums of heads
 * that are normalised, as long as a block of them fits. */
START_TEST(rows_fit_team_memory)
{
    static const char *const texts[] = {
        "mir module @m {\n  func @main(%x: f32[T,8192] input \"x\", %i: i32[T] input \"i\", "
        "%w: f32[64,4,8192] weight \"w\") -> (f32[T,4]) {\n"
        "    %0 = map %x, %x {fn=mul} : f32[T,8192]\n"
        "    %1 = reduce %0 {fn=add, axis=1, lanes=16} : f32[T]\n"
        "    %2 = broadcast %1 {axes=[0]} : f32[T,8192]\n"
        "    %3 = map %x, %2 {fn=div} : f32[T,8192]\n"
        "    %y = contract %3, %w, %i {lanes=16} : f32[T,4]\n    return %y\n  }\n}\n",
        "mir module @m {\n  func @main(%x: f32[T,4,8192] input \"x\", "
        "%w: f32[4,8192] weight \"w\") -> (f32[T,4,4]) {\n"
        "    %0 = map %x, %x {fn=mul} : f32[T,4,8192]\n"
        "    %1 = reduce %0 {fn=add, axis=2, lanes=16} : f32[T,4]\n"
        "    %2 = broadcast %1 {axes=[0,1]} : f32[T,4,8192]\n"
        "    %3 = map %x, %2 {fn=div} : f32[T,4,8192]\n"
        "    %y = contract %3, %w {lanes=16} : f32[T,4,4]\n    return %y\n  }\n}\n",
        "mir module @m {\n  func @main(%x: f32[T,8] input \"x\", "
        "%w: f32[16384,8] weight \"w\") -> (f32[T,2,8192]) {\n"
        "    %0 = contract %x, %w {lanes=16} : f32[T,16384]\n"
        "    %1 = reshape %0 : f32[T,2,8192]\n"
        "    %2 = reduce %1 {fn=add, axis=2, lanes=16} : f32[T,2]\n"
        "    %3 = broadcast %2 {axes=[0,1]} : f32[T,2,8192]\n"
        "    %4 = map %1, %3 {fn=div} : f32[T,2,8192]\n    return %4\n  }\n}\n",
    };
    engines e = {.seed = 1};
    rlx_dims *dims = rlx_dims_create();
    rlx_ir_module *mir, *lir;
    rlx_text_put(&e.text, texts[_i]);
    engines_must(rlx_ir_parse(&rlx_mir_level, dims, "rows", e.text.data, &mir), &e);
    engines_must(rlx_mir_optimize(mir), &e);
    rlx_lir_target target = engines_target(&e, false);
    target.l1_bytes = 32768;
    target.team_bytes = 262144;
    int64_t upper[RLX_MAX_SYMBOLS] = {0};
    upper[rlx_dim_symbol_index(dims, "T")] = 60;
    engines_must(
        rlx_mir_lower(mir, &(rlx_mir_lower_options){.target = &target, .upper = upper}, &lir), &e);
    for (const rlx_ir_func *f = lir->first; f; f = f->next)
        ck_assert_msg(rlx_jit_team_bytes(f) <= target.team_bytes, "%s takes %lld bytes", f->name,
                      (long long)rlx_jit_team_bytes(f));
    rlx_ir_module_destroy(lir);
    rlx_ir_module_destroy(mir);
    rlx_dims_destroy(dims);
    engines_deinit(&e);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("chosen");
    TCase *c = tcase_create("random");
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, rows_choose_matrices, 0, CASES);
    tcase_add_loop_test(c, rows_may_choose_none, 0, PRECISIONS);
    tcase_add_loop_test(c, rows_fit_team_memory, 0, 3);
    suite_add_tcase(s, c);
    return run_suite(s, CASES + PRECISIONS + 3);
}
