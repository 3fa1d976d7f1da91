/* tests/lower/test_delta_random.c: the gated delta rule by chunks of random shapes, of whole
 * sequences: the evaluator, the interpreter (by the schedules of CPUs, of many steps and of few, and
 * of GPUs) and machine code give the same bits; its kernels become SPIR-V. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "tests/base/suite.h"
#include "tests/jit/subject.h"
#include "tests/lower/engines.h"

enum { CASES = 24, CODE_EVERY = 6 };

typedef struct shape {
    int64_t batch, steps, groups, heads, d, e, chunk;
} shape;

static int64_t pick_of(engines *w, const int64_t *from, uint64_t n)
{
    return from[engines_pick(w, n)];
}

static shape make_shape(engines *w)
{
    static const int64_t widths[] = {1, 3, 8, 12, 20, 32, 48}, chunks[] = {16, 32, 64},
                         steps[] = {1, 3, 15, 16, 17, 33, 64, 70};
    shape s = {.batch = 1 + (int64_t)engines_pick(w, 2), .groups = 1 + (int64_t)engines_pick(w, 2)};
    s.heads = s.groups * (1 + (int64_t)engines_pick(w, 2));
    s.steps = pick_of(w, steps, 8);
    s.d = pick_of(w, widths, 7);
    s.e = pick_of(w, widths, 7);
    s.chunk = pick_of(w, chunks, 3);
    return s;
}

static void put_module(engines *w, const shape *s)
{
    const long long g = s->groups, h = s->heads, d = s->d, e = s->e;
    rlx_text_putf(&w->text,
                  "mir module @m {\n  func @main(%%q: f32[B,S,%lld,%lld] input \"q\", %%k: "
                  "f32[B,S,%lld] input \"k\", %%v: f32[B,S,%lld,%lld] input \"v\", %%g: "
                  "f32[B,S,%lld] input \"g\", %%b: f32[B,S,%lld] input \"b\", %%s: "
                  "f32[B,%lld,%lld,%lld] input \"s\") -> (f32[B,S,%lld,%lld], "
                  "f32[B,%lld,%lld,%lld]) {\n",
                  g, d, 2 * g * d, h, e, h, h, h, d, e, h, e, h, d, e);
    rlx_text_putf(&w->text,
                  "    %%0 = slice %%k {axis=2, start=%lld, size=%lld} : f32[B,S,%lld]\n"
                  "    %%1 = reshape %%0 : f32[B,S,%lld,%lld]\n"
                  "    %%2, %%3 = delta_chunks %%q, %%1, %%v, %%g, %%b, %%s {kind=\"%s\", "
                  "chunk=%lld} : (f32[B,S,%lld,%lld], f32[B,%lld,%lld,%lld])\n"
                  "    return %%2, %%3\n  }\n}\n",
                  g * d, g * d, g * d, g, d, engines_pick(w, 2) ? "tile" : "repeat",
                  (long long)s->chunk, h, e, h, d, e);
}

/* In a bucket of `upper` steps. */
static void check_bucket(engines *w, const rlx_ir_module *mir, int64_t upper, bool wide,
                         const rlx_eval_tensor *want, bool code)
{
    int64_t symbols[RLX_MAX_SYMBOLS];
    rlx_ir_module *lir;
    const rlx_lir_target target = engines_target(w, wide);
    memcpy(symbols, w->symbols, sizeof symbols);
    symbols[rlx_dim_symbol_index(mir->dims, "S")] = upper;
    engines_must(
        rlx_mir_lower(mir, &(rlx_mir_lower_options){.target = &target, .upper = symbols}, &lir), w);
    engines_compare(w, lir, want, 2, code);
    rlx_ir_module_destroy(lir);
}

START_TEST(chunks_are_the_same_everywhere)
{
    rlx_jit_target own[2];
    engines w = {.seed = (uint64_t)_i * 6271 + 11};
    w.code = own[(cpu_targets(own) - 1) * (_i / CODE_EVERY % 2)];
    const shape s = make_shape(&w);
    rlx_dims *dims = rlx_dims_create();
    rlx_ir_module *mir;
    rlx_eval_tensor want[2];
    put_module(&w, &s);
    engines_must(rlx_ir_parse(&rlx_mir_level, dims, "delta", w.text.data, &mir), &w);
    w.symbols[rlx_dim_symbol_index(dims, "B")] = s.batch;
    w.symbols[rlx_dim_symbol_index(dims, "S")] = s.steps;
    engines_make_tensors(&w, mir);
    rlx_eval_env env = {.find = engines_find, .user = &w, .symbols = w.symbols};
    engines_must(rlx_mir_eval(mir, "main", &env, want, 2), &w);
    engines_must(rlx_mir_optimize(mir), &w);
    const bool code = _i % CODE_EVERY == 0;
    check_bucket(&w, mir, s.steps, !code && engines_pick(&w, 2), want, code);
    if (!code)
        check_bucket(&w, mir, 80, false, want, false);
    engines_compare_gpu(&w, mir, w.symbols, want, 2);
    free(want[0].data);
    free(want[1].data);
    rlx_ir_module_destroy(mir);
    rlx_dims_destroy(dims);
    engines_deinit(&w);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("delta_random");
    TCase *c = tcase_create("random");
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, chunks_are_the_same_everywhere, 0, CASES);
    suite_add_tcase(s, c);
    return run_suite(s, CASES);
}
