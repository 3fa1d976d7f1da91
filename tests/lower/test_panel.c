/* tests/lower/test_panel.c: contractions in the order of one partial sum, by panels of weights: random
 * regions in every weight format, on targets so small that rows, columns and K all go by blocks. MIR's
 * evaluator, LIR's and machine code give the same bits; code for other CPUs has their instructions
 * emulated. */
#include <check.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mir/mir.h"
#include "runtime/cpu.h"
#include "tests/jit/emulated.h"
#include "tests/jit/subject.h"
#include "tests/lower/tape_runner.h"

enum { MAX_ARGS = 16, CASES = 96, CODE_EVERY = 12 };

typedef struct world {
    uint64_t seed;
    int64_t rows, upper, symbols[RLX_MAX_SYMBOLS];
    rlx_eval_tensor tensor[MAX_ARGS];
    int n;
    rlx_text text; /* the module's */
    int width;     /* of products of bf16; 0: of f32 */
    rlx_jit_target code;
} world;

static uint64_t pick(world *w, uint64_t n) /* below n */
{
    w->seed = w->seed * 6364136223846793005u + 1442695040888963407u;
    return (w->seed >> 33) % n;
}

static void must(rlx_status s, const world *w)
{
    if (s)
        ck_abort_msg("%s\n%s", rlx_status_text(s), w->text.data);
}

/* ---- modules ---- */

static const char *const floats[] = {"f32", "f16", "bf16"};
static const char *const blocks[] = {"q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "q4_k", "q5_k", "q6_k"};

static const char *random_format(world *w, bool quantized, int64_t k)
{
    if (w->width)
        return "bf16";
    return quantized ? blocks[pick(w, k % 256 == 0 ? 8 : 5)] : floats[pick(w, 3)];
}

/* %c<i> = the contraction of x with weight %w<i>. */
static void put_contraction(world *w, int i, int64_t n, int64_t k, const char *format)
{
    bool quantized = format[0] == 'q', sixteen = strcmp(format, "q6_k") == 0;
    if (quantized) {
        rlx_text_putf(&w->text, "    %%c%d = contract_q %%codes, %%scale, %%sums%d, %%w%d {lanes=1} : f32[T,%lld]\n", i,
                      sixteen ? 16 : 32, i, (long long)n);
        return;
    }
    if (w->width) {
        rlx_text_putf(&w->text, "    %%c%d = contract %%xb, %%w%d {lanes=1, width=%d} : f32[T,%lld]\n", i, i, w->width,
                      (long long)n);
        return;
    }
    rlx_text_putf(&w->text, "    %%f%d = cast %%w%d : f32[%lld,%lld]\n", i, i, (long long)n, (long long)k);
    rlx_text_putf(&w->text, "    %%c%d = contract %%x, %%f%d {lanes=1} : f32[T,%lld]\n", i, i, (long long)n);
}

/* Two to three contractions: two of one shape multiplied, with a residual; one alone, its columns as
 * heads whose halves change places. */
static void make_text(world *w, bool quantized)
{
    int64_t k = quantized ? (pick(w, 2) ? 32 * (1 + (int64_t)pick(w, 9)) : 256 * (1 + (int64_t)pick(w, 2)))
                          : 1 + (int64_t)pick(w, 90);
    if (w->code.emulation && w->width == 32) /* limits inside of rows take long to compile emulated */
        k = 32 * (1 + k % 3);
    int64_t heads = 1 + (int64_t)pick(w, 6), half = 1 + (int64_t)pick(w, 20);
    int64_t n[3] = {1 + (int64_t)pick(w, 150), 0, heads * 2 * half};
    const char *format[3];
    n[1] = n[0];
    rlx_text_put(&w->text, "mir module @m {\n  func @main(");
    rlx_text_putf(&w->text, "%%x: f32[T,%lld] input \"x\", %%r: f32[T,%lld] input \"r\"", (long long)k, (long long)n[0]);
    for (int i = 0; i < 3; i++) {
        format[i] = random_format(w, quantized, k);
        rlx_text_putf(&w->text, ", %%w%d: %s[%lld,%lld] weight \"w%d\"", i, format[i], (long long)n[i], (long long)k, i);
    }
    rlx_text_putf(&w->text, ") -> (f32[T,%lld], f32[T,%lld]) {\n", (long long)n[0], (long long)n[2]);
    if (quantized)
        rlx_text_putf(&w->text, "    %%codes, %%scale, %%sums32, %%sums16 = quantize %%x : (i8[T,%lld], f32[T,%lld], f32[T,%lld], f32[T,%lld])\n",
                      (long long)k, (long long)k / 32, (long long)k / 32, (long long)k / 16);
    if (w->width)
        rlx_text_putf(&w->text, "    %%xb = cast %%x : bf16[T,%lld]\n", (long long)k);
    for (int i = 0; i < 3; i++)
        put_contraction(w, i, n[i], k, format[i]);
    rlx_text_putf(&w->text, "    %%m = map %%c0, %%c1 {fn=mul} : f32[T,%lld]\n", (long long)n[0]);
    rlx_text_putf(&w->text, "    %%y = map %%m, %%r {fn=add} : f32[T,%lld]\n", (long long)n[0]);
    rlx_text_putf(&w->text, "    %%h = reshape %%c2 : f32[T,%lld,%lld]\n", (long long)heads, (long long)(2 * half));
    for (int i = 0; i < 2; i++)
        rlx_text_putf(&w->text, "    %%h%d = slice %%h {axis=2, start=%lld, size=%lld} : f32[T,%lld,%lld]\n", i,
                      (long long)(i * half), (long long)half, (long long)heads, (long long)half);
    rlx_text_putf(&w->text, "    %%z = concat %%h1, %%h0 {axis=2} : f32[T,%lld,%lld]\n", (long long)heads, (long long)(2 * half));
    rlx_text_putf(&w->text, "    %%zz = reshape %%z : f32[T,%lld]\n    return %%y, %%zz\n  }\n}\n", (long long)n[2]);
    ck_assert(!w->text.oom);
}

/* ---- tensors ---- */

static rlx_eval_tensor *find(void *user, rlx_role role, const char *symbol)
{
    world *w = user;
    (void)role;
    for (int i = 0; i < w->n; i++)
        if (strcmp(w->tensor[i].name, symbol) == 0)
            return &w->tensor[i];
    return NULL;
}

static void make_tensors(world *w, const rlx_ir_module *m)
{
    const rlx_ir_func *f = rlx_ir_func_find(m, "main");
    for (int i = 0; i < f->body->nargs; i++) {
        const rlx_ir_type *t = &f->body->args[i]->type;
        rlx_eval_tensor *x = &w->tensor[w->n++];
        *x = (rlx_eval_tensor){.name = f->arg_info[i].symbol, .format = t->format, .rank = t->rank};
        int64_t elems = 1;
        for (int d = 0; d < t->rank; d++)
            elems *= x->dim[d] = rlx_dim_eval(m->dims, t->dim[d], w->symbols);
        x->data = malloc(rlx_format_bytes(t->format, elems) + 1);
        if (rlx_format_get(t->format)->kind == RLX_KIND_BLOCK)
            rlx_format_make_blocks(t->format, x->data, elems, w->seed += 1);
        else
            for (int64_t e = 0; e < elems; e++)
                rlx_format_store(t->format, x->data, e, (double)pick(w, 20001) / 1e4 - 1);
    }
}

/* ---- engines ---- */

/* For tape_run: machine code, on two teams in turn. */
static rlx_status run_code(void *user, const rlx_ir_func *kernel, const rlx_lir_buffer *buffers, int n)
{
    world *w = user;
    loaded code = {0};
    memory m = {.n = n};
    RLX_TRY(loaded_create(kernel, &w->code, &code));
    for (int i = 0; i < n; i++) {
        m.buffer[i].data = buffers[i].data;
        m.buffer[i].bytes = buffers[i].bytes;
    }
    loaded_run(&code, &m, w->symbols, 2);
    loaded_destroy(&code);
    return RLX_OK;
}

static void compare(world *w, const rlx_ir_module *lir, const rlx_eval_tensor *want, bool code)
{
    rlx_lir_plan_report report;
    must(rlx_lir_check_plan(lir, "main", w->symbols, &report), w);
    rlx_eval_env env = {.find = find, .user = w, .symbols = w->symbols};
    tape_run r = {.module = lir, .env = &env, .arena_bytes = (size_t)report.arena_bytes,
                  .options = {.teams = 3, .seed = w->seed}, .launch = code ? run_code : NULL, .user = w};
    r.arena = aligned_alloc(64, (r.arena_bytes + 63) / 64 * 64 + 64);
    rlx_eval_tensor got[2];
    size_t bytes[2];
    for (int i = 0; i < 2; i++) {
        got[i] = want[i];
        bytes[i] = sizeof(float) * (size_t)(want[i].dim[0] * want[i].dim[1]);
        got[i].data = malloc(bytes[i]);
    }
    must(tape_run_entry(&r, "main", got, 2), w);
    for (int i = 0; i < 2; i++) {
        const float *a = want[i].data, *b = got[i].data;
        for (size_t e = 0; e < bytes[i] / 4; e++)
            ck_assert_msg(memcmp(&a[e], &b[e], 4) == 0, "result %d element %zu of %lld rows: mir %.9g, %s %.9g\n%s", i,
                          e, (long long)w->rows, (double)a[e], code ? "code" : "lir", (double)b[e], w->text.data);
        free(got[i].data);
    }
    free(r.arena);
}

/* Whether a case is compiled, which takes longer than all the rest: for this machine, or another. */
static bool compiles(world *w, int number, bool *wide)
{
    rlx_jit_target own[2];
    int which = number % (2 * CODE_EVERY);
    cpu_targets(own);
    *wide = which == 5 || which == 10 || (number % CODE_EVERY != 0 && pick(w, 2));
    w->code = which == 5    ? emulated_target("x86-64-v4+avx512vnni+avx512bf16")
              : which == 10 ? emulated_target("x86-64-v4+amx-int8+amx-bf16")
                            : own[0];
    return number % CODE_EVERY == 0 || which == 5 || which == 10;
}

static rlx_lir_target random_target(world *w, bool wide)
{
    return (rlx_lir_target){.unit = RLX_UNIT_CPU,
                            .vector_f32 = wide ? 16 : 8,
                            .vector_regs = wide ? 32 : 16,
                            .team = 1,
                            .threads = 1 + (int)pick(w, 4),
                            .l1_bytes = 512 << pick(w, 7),
                            .l2_bytes = 4096 << pick(w, 8),
                            .team_bytes = 2048 << pick(w, 8),
                            .byte_tiles = wide && (w->code.features >> RLX_CPU_AMXINT8 & 1)};
}

static const int widths[3] = {0, 2, 32};

START_TEST(panels_are_the_same_everywhere)
{
    world w = {.seed = (uint64_t)_i * 77 + 5};
    bool wide, code = compiles(&w, _i, &wide);
    w.width = _i % 5 == 0 ? widths[_i / 5 % 3] : 0;
    make_text(&w, _i % 5 != 0);
    w.rows = pick(&w, 3) ? 1 + (int64_t)pick(&w, 40) : 1 + (int64_t)pick(&w, 4);
    w.upper = w.rows + (int64_t)pick(&w, 30);
    rlx_dims *dims = rlx_dims_create();
    rlx_ir_module *mir, *lir;
    must(rlx_ir_parse(&rlx_mir_level, dims, "panels", w.text.data, &mir), &w);
    w.symbols[rlx_dim_symbol_index(dims, "T")] = w.rows;
    make_tensors(&w, mir);
    must(rlx_mir_optimize(mir), &w);
    rlx_eval_env env = {.find = find, .user = &w, .symbols = w.symbols};
    rlx_eval_tensor want[2];
    must(rlx_mir_eval(mir, "main", &env, want, 2), &w);
    rlx_lir_target target = random_target(&w, wide);
    int64_t upper[RLX_MAX_SYMBOLS] = {0};
    upper[rlx_dim_symbol_index(dims, "T")] = w.upper;
    must(rlx_mir_lower(mir, &(rlx_mir_lower_options){.target = &target, .upper = upper}, &lir), &w);
    compare(&w, lir, want, false);
    if (code)
        compare(&w, lir, want, true);
    for (int i = 0; i < 2; i++)
        free(want[i].data);
    for (int i = 0; i < w.n; i++)
        free(w.tensor[i].data);
    rlx_ir_module_destroy(lir);
    rlx_ir_module_destroy(mir);
    rlx_dims_destroy(dims);
    rlx_text_deinit(&w.text);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("panel");
    TCase *c = tcase_create("random");
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, panels_are_the_same_everywhere, 0, CASES);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int ran = srunner_ntests_run(r), failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed > 0 || ran < CASES;
}
