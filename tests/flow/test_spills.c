/* tests/flow/test_spills.c: inner loops keep what they multiply in registers. The bundled model for
 * several CPU paths, and rows of weights in every format, as assembly: of each innermost loop that
 * multiplies vectors, how many of its instructions touch the stack. */
#include <stdio.h>
#include <string.h>

#include "frontend/compilation.h"
#include "jit/objects.h"
#include "mir/mir.h"
#include "runtime/cpu.h"
#include "tests/base/suite.h"
#include "tests/flow/asm_loops.h"
#include "tests/flow/model.h"

/* In percent of a loop's instructions: a little above what is there, so that worse is seen. */
static const struct {
    const char *path;
    int most;
} paths[] = {{"x86-64-v3", 25},
             {"x86-64-v4", 10},
             {"x86-64-v4+avx512vnni+avx512bf16", 10},
             {"x86-64-v4+avx512vnni+avx512bf16+amx-tile+amx-int8+amx-bf16", 10}};
enum { PATHS = sizeof paths / sizeof *paths };

static uint64_t features_of(const char *path)
{
    uint64_t features;
    assert_ok(rlx_cpu_parse(path, false, &features));
    return features;
}

static void check_bucket(const test_model *m, int path, rlx_precision precision, int64_t tokens)
{
    rlx_context cx = {.runner = RLX_RUN_CODE, .target = {.kind = RLX_JIT_CPU}};
    const rlx_bucket buckets[] = {{"TOKENS", tokens}, {"ROWS", tokens}};
    const rlx_compile_options o = {.buckets = buckets, .nbuckets = 2, .precision = precision};
    rlx_compilation c;
    int count = 0;
    assert_ok(rlx_cpu_parse(paths[path].path, false, &cx.target.features));
    assert_ok(rlx_compilation_run(&c, &cx, m->flow, m->w, &o, RLX_LEVEL_LIR));
    for (const rlx_ir_func *f = c.lir->first; f; f = f->next) {
        rlx_text text = {0};
        if (!f->is_kernel)
            continue;
        assert_ok(rlx_jit_print_objects(f, &cx.target, RLX_JIT_ASM, &text));
        asm_loops loops = {0};
        asm_loops_count(text.data, &loops);
        const int percent = loops.percent;
        count += loops.count;
        if (percent)
            printf("%s: @%s: %d %% of a loop\n", paths[path].path, f->name, percent);
        ck_assert_msg(percent <= paths[path].most,
                      "%s: %d %% of an inner loop of @%s touch the stack, at most %d are known",
                      paths[path].path, percent, f->name, paths[path].most);
        rlx_text_deinit(&text);
    }
    ck_assert_int_ge(count, 3);
    rlx_compilation_deinit(&c);
}

START_TEST(registers_hold)
{
    test_model m;
    model_init_directory(&m, RLX_SOURCE_DIR "/models/bundled", NULL);
    assert_ok(model_make_flow(&m));
    check_bucket(&m, _i, RLX_FAST, 128);
    check_bucket(&m, _i, RLX_EXACT, 1);
    model_deinit(&m);
}
END_TEST

/* ---- rows of weights in every format ---- */

/* Stack accesses of the worst innermost loop on x86-64-v3, as they are known: of one row, of one by
 * two matrices, of 16 rows that share what is decoded, and of experts': one row, and rows by panels.
 */
enum { ONE, PAIR, ROWS, EXPERT, EXPERTS, KINDS };
static const struct {
    const char *format;
    int most[KINDS];
} rows[] = {{"f32", {0, 0, 0, 0, 0}},    {"f16", {0, 0, 0, 0, 0}},   {"bf16", {0, 0, 0, 0, 0}},
            {"q8_0", {0, 0, 0, 0, 0}},   {"q4_0", {0, 15, 0, 0, 0}}, {"q4_k", {0, 8, 0, 2, 0}},
            {"q5_k", {6, 16, 0, 8, 22}}, {"q6_k", {2, 11, 2, 2, 2}}, {"iq4_xs", {5, 14, 0, 3, 0}},
            {"mxfp4", {2, 20, 0, 2, 0}}};
enum { FORMATS = sizeof rows / sizeof *rows };

/* The contraction with weight `number`: %y<number>. */
static void put_contraction(rlx_text *t, const char *format, int kind, int number)
{
    const rlx_format f = rlx_format_parse(format, strlen(format));
    const bool blocks = rlx_format_get(f)->kind == RLX_KIND_BLOCK, experts = kind >= EXPERT;
    const int lanes = kind == EXPERTS ? 1 : blocks ? 8 : 16;
    if (blocks)
        rlx_text_putf(t, "    %%y%d = contract_q %%c, %%s, %%s%d, %%w%d", number,
                      rlx_format_group(f), number);
    else
        rlx_text_putf(t, "    %%f%d = cast %%w%d : f32%s\n    %%y%d = contract %%x, %%f%d", number,
                      number, experts ? "[4,64,2048]" : "[64,2048]", number, number);
    rlx_text_putf(t, "%s {lanes=%d} : %s\n", experts ? ", %i" : "", lanes,
                  experts ? "f32[T,2,64]" : "f32[T,64]");
}

static void put_module(rlx_text *t, const char *format, int kind)
{
    const char *w = kind >= EXPERT ? "[4,64,2048]" : "[64,2048]",
               *y = kind >= EXPERT ? "f32[T,2,64]" : "f32[T,64]";
    rlx_text_putf(t,
                  "mir module @m {\n  func @main(%%x: f32[T,2048] input \"x\", %%i: i32[T,2] "
                  "input \"i\", %%w0: %s%s weight \"w0\", %%w1: %s%s weight \"w1\") -> (%s) {\n",
                  format, w, format, w, y);
    if (rlx_format_get(rlx_format_parse(format, strlen(format)))->kind == RLX_KIND_BLOCK)
        rlx_text_put(t, "    %c, %s, %s32, %s16 = quantize %x : (i8[T,2048], f32[T,64], "
                        "f32[T,64], f32[T,128])\n");
    for (int i = 0; i < (kind == PAIR ? 2 : 1); i++)
        put_contraction(t, format, kind, i);
    if (kind == PAIR)
        rlx_text_putf(t, "    %%y = map %%y0, %%y1 {fn=mul} : %s\n", y);
    rlx_text_putf(t, "    return %s\n  }\n}\n", kind == PAIR ? "%y" : "%y0");
}

/* A machine of this text's own: caches are part of how kernels are cut. */
static void name_machine(const rlx_jit_target *target, rlx_lir_target *out)
{
    assert_ok(rlx_jit_lir_target(target, out));
    out->threads = 2;
    out->l1_bytes = 32 << 10;
    out->l2_bytes = 512 << 10;
    out->team_bytes = 256 << 10;
}

/* Of a module's contractions of `tokens` rows: `word` stands in their schedules, or does not. */
static void count_module(const char *text_of_mir, const char *path, int64_t tokens,
                         const char *word, bool stands, asm_loops *loops)
{
    const rlx_jit_target target = {.kind = RLX_JIT_CPU, .features = features_of(path)};
    rlx_dims *dims = rlx_dims_create();
    rlx_ir_module *mir, *lir;
    rlx_lir_target cpu;
    int64_t upper[RLX_MAX_SYMBOLS] = {0};
    assert_ok(rlx_ir_parse(&rlx_mir_level, dims, "spills", text_of_mir, &mir));
    upper[rlx_dim_symbol_index(dims, "T")] = tokens;
    assert_ok(rlx_mir_optimize(mir));
    name_machine(&target, &cpu);
    assert_ok(rlx_mir_lower(mir, &(rlx_mir_lower_options){.target = &cpu, .upper = upper}, &lir));
    for (const rlx_ir_func *k = lir->first; k; k = k->next) {
        rlx_text text = {0};
        if (!k->is_kernel || !strstr(k->name, "contract"))
            continue;
        const char *schedule = rlx_ir_func_attr(k, RLX_ATTR_SCHEDULE)->text;
        ck_assert_msg(!!strstr(schedule, word) == stands, "@%s: %s", k->name, schedule);
        assert_ok(rlx_jit_print_objects(k, &target, RLX_JIT_ASM, &text));
        asm_loops_count(text.data, loops);
        rlx_text_deinit(&text);
    }
    rlx_ir_module_destroy(lir);
    rlx_ir_module_destroy(mir);
    rlx_dims_destroy(dims);
}

static void count_kind(const char *format, int kind, int64_t tokens, asm_loops *loops)
{
    const rlx_format f = rlx_format_parse(format, strlen(format));
    const bool turned = kind == ROWS && rlx_format_get(f)->kind == RLX_KIND_BLOCK;
    rlx_text t = {0};
    put_module(&t, format, kind);
    count_module(t.data, "x86-64-v3", tokens, "turned", turned, loops);
    rlx_text_deinit(&t);
}

START_TEST(rows_hold)
{
    static const int64_t tokens[KINDS] = {1, 1, 16, 1, 64};
    for (int kind = 0; kind < KINDS; kind++) {
        asm_loops loops = {0};
        count_kind(rows[_i].format, kind, tokens[kind], &loops);
        printf("%s, kind %d: %d loops, %d accesses\n", rows[_i].format, kind, loops.count,
               loops.stack);
        ck_assert_int_ge(loops.count, 1);
        ck_assert_msg(loops.stack <= rows[_i].most[kind],
                      "%s, kind %d: %d stack accesses in an inner loop, at most %d are known",
                      rows[_i].format, kind, loops.stack, rows[_i].most[kind]);
    }
}
END_TEST

/* Many rows of floats: packed, or past panels that stream. */
START_TEST(many_rows_hold)
{
    static const struct {
        const char *path, *word;
        int most;
    } v[] = {{"x86-64-v3", "packed by 4", 0}, {"x86-64-v4", "streamed", 2}};
    static const char *const text[] = {
        "mir module @m {\n  func @main(%x: f32[T,384] input \"x\", %w: f32[384,384] weight \"w\") "
        "-> "
        "(f32[T,384]) {\n    %y = contract %x, %w {lanes=1} : f32[T,384]\n    return %y\n  }\n}\n",
        "mir module @m {\n  func @main(%x: f32[T,384] input \"x\", %w0: f32[768,384] weight "
        "\"w0\", %w1: f32[768,384] weight \"w1\") -> (f32[T,768]) {\n"
        "    %y0 = contract %x, %w0 {lanes=1} : f32[T,768]\n"
        "    %y1 = contract %x, %w1 {lanes=1} : f32[T,768]\n"
        "    %y = map %y0, %y1 {fn=mul} : f32[T,768]\n    return %y\n  }\n}\n"};
    const char *const path = v[_i % 2].path, *const word = v[_i % 2].word;
    asm_loops loops = {0};
    count_module(text[_i / 2], path, 4096, word, true, &loops);
    printf("%s, %s, %d contractions: %d loops, %d accesses\n", path, word, 1 + _i / 2, loops.count,
           loops.stack);
    ck_assert_int_ge(loops.count, 1);
    ck_assert_int_le(loops.stack, v[_i % 2].most);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("spills");
    TCase *c = tcase_create("spills");
    tcase_set_timeout(c, 100);
    tcase_add_loop_test(c, registers_hold, 0, PATHS);
    tcase_add_loop_test(c, rows_hold, 0, FORMATS);
    tcase_add_loop_test(c, many_rows_hold, 0, 4);
    suite_add_tcase(s, c);
    return run_suite(s, PATHS + FORMATS + 4);
}
