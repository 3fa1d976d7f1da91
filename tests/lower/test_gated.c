/* tests/lower/test_gated.c: a row of codes by two matrices, silu of one times the other: columns go
 * together by 32, or by 16 where threads have few of those, or one by one. MIR's evaluator, LIR's and machine code give the same bits. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "tests/base/suite.h"
#include "tests/jit/subject.h"
#include "tests/lower/engines.h"

static const char *const formats[] = {"q4_0", "q8_0", "q4_k", "q6_k", "iq4_xs"};
enum { CASES = 10 };

/* Of 256 columns, of one thread and of two; three have them one by one. */
static const char *const blocks[] = {" block 1x32\"", " block 1x16\""};

static void put_module(rlx_text *t, const char *format, int n, int k)
{
    const int group = rlx_format_group(rlx_format_parse(format, strlen(format)));
    rlx_text_putf(t,
                  "mir module @m {\n  func @main(%%x: f32[T,%d] input \"x\", %%w0: %s[%d,%d] "
                  "weight \"w0\", %%w1: %s[%d,%d] weight \"w1\") -> (f32[T,%d]) {\n",
                  k, format, n, k, format, n, k, n);
    rlx_text_putf(
        t,
        "    %%q, %%s, %%s32, %%s16 = quantize %%x : (i8[T,%d], f32[T,%d], f32[T,%d], f32[T,%d])\n",
        k, k / 32, k / 32, k / 16);
    for (int i = 0; i < 2; i++)
        rlx_text_putf(t, "    %%c%d = contract_q %%q, %%s, %%s%d, %%w%d {lanes=8} : f32[T,%d]\n", i,
                      group, i, n);
    rlx_text_putf(
        t, "    %%e = map %%c0 {fn=neg} : f32[T,%d]\n    %%f = map %%e {fn=exp} : f32[T,%d]\n", n,
        n);
    rlx_text_putf(t,
                  "    %%d = map %%c0, %%f {fn=div} : f32[T,%d]\n    %%y = map %%d, %%c1 {fn=mul} "
                  ": f32[T,%d]\n    return %%y\n  }\n}\n",
                  n, n);
    ck_assert(!t->oom);
}

START_TEST(gates_go_together)
{
    const int n = _i % 2 ? 264 : 256, k = 256 * (1 + _i / 2 % 3), threads = _i / 2 % 3;
    engines e = {.seed = (uint64_t)_i * 77 + 5};
    rlx_jit_target own[2];
    cpu_targets(own);
    e.code = own[0];
    put_module(&e.text, formats[_i / 2], n, k);
    rlx_dims *dims = rlx_dims_create();
    rlx_ir_module *mir, *lir;
    engines_must(rlx_ir_parse(&rlx_mir_level, dims, "gated", e.text.data, &mir), &e);
    int64_t upper[RLX_MAX_SYMBOLS] = {0};
    const int tokens = rlx_dim_symbol_index(dims, "T");
    e.symbols[tokens] = upper[tokens] = 1;
    engines_make_tensors(&e, mir);
    engines_must(rlx_mir_optimize(mir), &e);
    rlx_eval_env env = {.find = engines_find, .user = &e, .symbols = e.symbols};
    rlx_eval_tensor want;
    engines_must(rlx_mir_eval(mir, "main", &env, &want, 1), &e);
    rlx_lir_target target = engines_target(&e, _i % 3);
    target.threads = threads + 1;
    engines_must(
        rlx_mir_lower(mir, &(rlx_mir_lower_options){.target = &target, .upper = upper}, &lir), &e);
    rlx_text text = {0};
    rlx_ir_print(lir, 0, &text);
    for (int i = 0; i < 2; i++)
        ck_assert_msg(!strstr(text.data, blocks[i]) == (n != 256 || i != threads), "%s", text.data);
    rlx_text_deinit(&text);
    engines_compare(&e, lir, &want, 1, false);
    engines_compare(&e, lir, &want, 1, true);
    free(want.data);
    rlx_ir_module_destroy(lir);
    rlx_ir_module_destroy(mir);
    rlx_dims_destroy(dims);
    engines_deinit(&e);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("gated");
    TCase *c = tcase_create("gated");
    tcase_add_loop_test(c, gates_go_together, 0, CASES);
    suite_add_tcase(s, c);
    return run_suite(s, CASES);
}
