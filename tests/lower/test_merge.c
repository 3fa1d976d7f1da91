/* tests/lower/test_merge.c: rows of a batch as rows of one product (mir/lower/lower_merge.c): random regions of
 * [B,T,K], with constants and with a symbol, that go over to one axis of rows and that do not. All engines give the
 * bits of MIR's evaluator, which knows nothing of it. */
#include <check.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/base/suite.h"
#include "tests/jit/subject.h"
#include "tests/lower/engines.h"

enum { CASES = 60, CODE_EVERY = 8 };

typedef enum tail { ELEMENTWISE, HEADS, NORMED, POSITIONS, TURNED, KINDS } tail;

typedef struct world {
    engines e;
    int64_t batch, rows, k, n, heads;
    bool symbol; /* the rows of a sequence are one */
    enum { FLOATS, PAIRS, CODES, PRODUCTS } of;
    char shape[32]; /* "B,T" */
} world;

static int64_t up_to(world *w, uint64_t n)
{
    return 1 + (int64_t)engines_pick(&w->e, n);
}

static void put(world *w, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void put(world *w, const char *format, ...)
{
    char line[512];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    rlx_text_put(&w->e.text, line);
}

/* %a = the rows that are multiplied: %x, or %x by the sum of its squares. */
static void put_rows(world *w, tail what)
{
    const char *s = w->shape;
    const int k = (int)w->k;
    if (what != NORMED) {
        put(w, "    %%a = map %%x {fn=neg} : f32[%s,%d]\n", s, k);
        return;
    }
    put(w, "    %%s = map %%x, %%x {fn=mul} : f32[%s,%d]\n", s, k);
    put(w, "    %%t = reduce %%s {axis=2, fn=add, lanes=16} : f32[%s]\n", s);
    put(w, "    %%u = broadcast %%t {axes=[0,1]} : f32[%s,%d]\n", s, k);
    put(w, "    %%a = map %%x, %%u {fn=div} : f32[%s,%d]\n", s, k);
}

/* What follows %c, which is [B,T,N]: %y of the type `out`. */
static void put_epilogue(world *w, tail what, const char *out)
{
    const char *s = w->shape;
    const int n = (int)w->n;
    if (what == HEADS || what == TURNED)
        put(w, "    %%h = reshape %%c : f32[%s,%d,%d]\n", s, (int)w->heads, n / (int)w->heads);
    if (what == TURNED)
        put(w, "    %%y = transpose %%h {perm=[0,2,1,3]} : %s\n", out);
    else if (what == HEADS)
        put(w, "    %%y = map %%h, %%h {fn=mul} : %s\n", out);
    else
        put(w, "    %%b = broadcast %%bias {axes=[%s]} : f32[%s,%d]\n    %%d = map %%c, %%b {fn=add} : f32[%s,%d]\n"
               "    %%e = map %%d {fn=erf} : f32[%s,%d]\n    %%y = map %%e, %%r {fn=add} : f32[%s,%d]\n",
            what == POSITIONS ? "1,2" : "2", s, n, s, n, s, n, s, n);
}

static const char *random_format(world *w)
{
    static const char *const formats[] = {"f32", "f16", "bf16"}, *const blocks[] = {"q8_0", "q4_0", "q5_1"};
    const uint64_t i = engines_pick(&w->e, 3);
    return w->of == CODES ? blocks[i] : w->of == PAIRS ? "bf16" : formats[i];
}

/* %c = the rows %a times %w. */
static void put_product(world *w)
{
    const char *s = w->shape;
    const int k = (int)w->k, n = (int)w->n;
    if (w->of == CODES)
        put(w, "    %%q, %%qs, %%s32, %%s16 = quantize %%a : (i8[%s,%d], f32[%s,%d], f32[%s,%d], f32[%s,%d])\n"
               "    %%c = contract_q %%q, %%qs, %%s32, %%w {lanes=1} : f32[%s,%d]\n",
            s, k, s, k / 32, s, k / 32, s, k / 16, s, n);
    else if (w->of == PAIRS)
        put(w, "    %%f = cast %%a : bf16[%s,%d]\n    %%c = contract %%f, %%w {lanes=1, width=2} : f32[%s,%d]\n", s, k, s, n);
    else
        put(w, "    %%f = cast %%w : f32[%d,%d]\n    %%c = contract %%a, %%f {lanes=1} : f32[%s,%d]\n", n, k, s, n);
}

static void make_text(world *w, tail what)
{
    char rows[16], out[64];
    const char *format = random_format(w);
    snprintf(rows, sizeof rows, w->symbol ? "T" : "%d", (int)w->rows);
    snprintf(w->shape, sizeof w->shape, "%d,%s", (int)w->batch, rows);
    snprintf(out, sizeof out, "f32[%s,%d]", w->shape, (int)w->n);
    if (what == HEADS)
        snprintf(out, sizeof out, "f32[%s,%d,%d]", w->shape, (int)w->heads, (int)(w->n / w->heads));
    if (what == TURNED)
        snprintf(out, sizeof out, "f32[%d,%d,%s,%d]", (int)w->batch, (int)w->heads, rows, (int)(w->n / w->heads));
    put(w, "mir module @m {\n  func @main(%%x: f32[%s,%d] input \"x\", %%r: f32[%s,%d] input \"r\",\n", w->shape,
        (int)w->k, w->shape, (int)w->n);
    put(w, "      %%w: %s[%d,%d] weight \"w\", ", format, (int)w->n, (int)w->k);
    put(w, what == POSITIONS ? "%%bias: f32[%s,%d] weight \"b\") -> (%s) {\n" : "%%bias: f32[%.0s%d] weight \"b\") -> (%s) {\n",
        rows, (int)w->n, out);
    put_rows(w, what);
    put_product(w);
    put_epilogue(w, what, out);
    put(w, "    return %%y\n  }\n}\n");
    ck_assert(!w->e.text.oom);
}

/* Whether a kernel of the module sees the rows of all sequences in one axis. */
static void check_axes(const world *w, tail what, const rlx_ir_module *lir)
{
    rlx_text text = {0};
    char merged[48];
    rlx_ir_print(lir, 0, &text);
    snprintf(merged, sizeof merged, "global f32[%d,%d]", (int)(w->batch * w->rows), (int)w->n);
    const bool expected = what != POSITIONS && what != TURNED && what != HEADS;
    ck_assert_msg(!expected || strstr(text.data, merged), "no %s in\n%s", merged, text.data);
    ck_assert_msg(what != POSITIONS || w->of == CODES || !strstr(text.data, merged), "%s in\n%s", merged, text.data);
    rlx_text_deinit(&text);
}

START_TEST(rows_of_a_batch)
{
    world w = {.e.seed = (uint64_t)_i * 91 + 3};
    const tail what = (tail)(_i % KINDS);
    rlx_jit_target own[2];
    cpu_targets(own);
    w.e.code = own[0];
    w.batch = 1 + up_to(&w, 4);
    w.rows = 1 + up_to(&w, 20);
    w.of = engines_pick(&w.e, PRODUCTS);
    w.k = w.of == CODES ? 32 * up_to(&w, 5) : up_to(&w, 90);
    w.heads = up_to(&w, 5);
    w.n = w.heads * 2 * up_to(&w, 20);
    w.symbol = _i / KINDS % 2;
    make_text(&w, what);
    rlx_dims *dims = rlx_dims_create();
    rlx_ir_module *mir, *lir;
    engines_must(rlx_ir_parse(&rlx_mir_level, dims, "merge", w.e.text.data, &mir), &w.e);
    int64_t upper[RLX_MAX_SYMBOLS] = {0};
    if (w.symbol) {
        w.e.symbols[rlx_dim_symbol_index(dims, "T")] = w.rows;
        upper[rlx_dim_symbol_index(dims, "T")] = w.rows + up_to(&w, 9);
    }
    engines_make_tensors(&w.e, mir);
    engines_must(rlx_mir_optimize(mir), &w.e);
    rlx_eval_env env = {.find = engines_find, .user = &w.e, .symbols = w.e.symbols};
    rlx_eval_tensor want;
    engines_must(rlx_mir_eval(mir, "main", &env, &want, 1), &w.e);
    rlx_lir_target target = engines_target(&w.e, engines_pick(&w.e, 2));
    engines_must(rlx_mir_lower(mir, &(rlx_mir_lower_options){.target = &target, .upper = upper}, &lir), &w.e);
    if (!w.symbol)
        check_axes(&w, what, lir);
    engines_compare(&w.e, lir, &want, 1, false);
    if (_i % CODE_EVERY == 0 && w.of != PAIRS)
        engines_compare(&w.e, lir, &want, 1, true);
    free(want.data);
    rlx_ir_module_destroy(lir);
    rlx_ir_module_destroy(mir);
    rlx_dims_destroy(dims);
    engines_deinit(&w.e);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("merge");
    TCase *c = tcase_create("random");
    tcase_add_loop_test(c, rows_of_a_batch, 0, CASES);
    suite_add_tcase(s, c);
    return run_suite(s, CASES);
}
