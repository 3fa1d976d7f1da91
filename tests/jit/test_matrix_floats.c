/* contract_rows by matrix units: tiles as fragments leave them, operands out of memory as they lie and
 * by registers, odd sizes, limits. Run by host teams whose mma.sync, MFMA or WMMA is emulated with several ways to
 * add up, against the interpreter: its bits, or within what docs/decisions/2026-11-30-matrix-units.md allows; and
 * against itself, cut in other ways: the same bits. Assembled by ptxas where that is on PATH, and to code objects
 * that are read back, without spills. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "jit/code_object.h"
#include "tests/jit/emulated.h"
#include "tests/jit/ptxas.h"
#include "tests/jit/subject.h"
#include "tests/runtime/suite.h"

enum { WIDTH = 16, TEAM = 128 };

typedef struct shape {
    const char *format;
    int m, n, k;        /* of a tile; k: elements of a step */
    int depth, columns; /* of the operands */
    int rows, team;
    bool stored; /* something is stored between loads and products, so that nothing waits */
} shape;

static int round_up(int v)
{
    return (v + WIDTH - 1) / WIDTH * WIDTH;
}

/* The step's loads and product; `at` names the values, `width` elements from %k, of which K may be less. */
static void put_step(rlx_text *t, const shape *s, char at, int width, const char *acc)
{
    const bool limited = s->depth % WIDTH && at == '1';
    static const char *const operand[][4] = {{"a", "%x", "%r", "%nl"}, {"b", "%w", "%c", "%cl"}};
    rlx_text_putf(t, "      %%k%c = map %%s%c, %%step {fn=mul} : i64\n", at, at);
    for (int i = 0; i < 2; i++)
        rlx_text_putf(
            t, "      %%%s%c = load %s, %s, %%k%c, %s%s {axes=[0,1], limits=[%s]} : %s<%dx%d>\n",
            operand[i][0], at, operand[i][1], operand[i][2], at, operand[i][3],
            limited ? ", %kl" : "", limited ? "0,1" : "0", s->format, i ? s->n : s->m, width);
    if (s->stored)
        rlx_text_put(t, "      barrier\n");
    rlx_text_putf(t, "      %%d%c = contract_rows %%%s, %%a%c, %%b%c {width=%d} : f32<%dx%d>\n", at,
                  acc, at, at, WIDTH, s->m, s->n);
}

/* y = bias + x w^T; what follows the sums lies as they do. */
static void put_kernel(rlx_text *t, const shape *s)
{
    const int whole = s->depth / s->k, rest = s->depth % s->k;
    rlx_text_putf(
        t,
        "lir module @m {\n  kernel @rows_%dx%d(%%w: global %s[%d,%d], %%bias: global f32[%d], %%x: "
        "global %s[TOKENS,%d], "
        "%%y: global f32[TOKENS,%d]) {\n"
        "    %%nt = extent {extent=ceildiv(TOKENS,%d)} : i64\n"
        "    %%nl = extent {extent=TOKENS} : i64\n"
        "    %%nc = const {ivalue=%d} : i64\n    %%cl = const {ivalue=%d} : i64\n"
        "    %%kl = const {ivalue=%d} : i64\n"
        "    %%z = const {ivalue=0} : i64\n    %%m = const {ivalue=%d} : i64\n"
        "    %%n = const {ivalue=%d} : i64\n    %%step = const {ivalue=%d} : i64\n"
        "    %%whole = const {ivalue=%d} : i64\n"
        "    grid %%nt, %%nc (%%i: i64, %%j: i64) {\n"
        "      %%r = map %%i, %%m {fn=mul} : i64\n"
        "      %%c = map %%j, %%n {fn=mul} : i64\n"
        "      %%o = load %%bias, %%c, %%cl {axes=[0], limits=[0]} : f32<%d>\n"
        "      %%start = broadcast %%o {axes=[1]} : f32<%dx%d>\n"
        "      %%sum = for %%z, %%whole, %%start {step=1} : f32<%dx%d> (%%s0: i64, %%acc: "
        "f32<%dx%d>) {\n",
        s->m, s->n, s->format, s->columns, s->depth, s->columns, s->format, s->depth, s->columns,
        s->m, (s->columns + s->n - 1) / s->n, s->columns, s->depth, s->m, s->n, s->k, whole, s->n,
        s->m, s->n, s->m, s->n, s->m, s->n);
    put_step(t, s, '0', s->k, "acc");
    rlx_text_put(t, "        yield %d0\n      }\n");
    if (rest) {
        rlx_text_putf(t, "      %%s1 = const {ivalue=%d} : i64\n", whole);
        put_step(t, s, '1', round_up(rest), "sum");
    }
    rlx_text_putf(t,
                  "      store %%y, %%%s, %%r, %%c, %%nl, %%cl {axes=[0,1], limits=[0,1]}\n"
                  "      yield\n    }\n    return\n  }\n}\n",
                  rest ? "d1" : "sum");
}

static void parse(subject *s, const shape *of)
{
    rlx_text t = {0};
    char bindings[32];
    put_kernel(&t, of);
    ck_assert(!t.oom);
    EXPECT_OK(subject_parse(s, "floats", t.data));
    snprintf(bindings, sizeof bindings, "TOKENS=%d", of->rows);
    ck_assert(subject_bind(s, bindings));
    rlx_text_deinit(&t);
}

enum { W, BIAS, X, Y };

static float *result(const memory *m)
{
    return (float *)(void *)m->buffer[Y].data;
}

/* Whose unit is emulated: the first is NVIDIA's mma.sync, then wgmma. */
enum { HOPPER = 1 };
static const char *const units[] = {NULL, "sm_90a", "gfx942", "gfx1100", "gfx1200"};
enum { UNITS = sizeof units / sizeof *units };

static void compile(const subject *s, const shape *of, const char *processor, loaded *out)
{
    const rlx_jit_target t = !processor ? emulated_gpu_target(of->team)
                             : processor == units[HOPPER]
                                 ? emulated_hopper_target(of->team)
                                 : emulated_amd_target(processor, of->team);
    EXPECT_OK(loaded_create(s->module->first, &t, out));
}

/* What the host's team makes of it, as it adds up now. */
static void run(const subject *s, const loaded *code, memory *m)
{
    memory_create(m, s, s->module->first, 7);
    loaded_run(code, m, s->symbols, 3);
    ck_assert(memory_canaries_hold(m));
}

static void evaluate(const subject *s, memory *m)
{
    rlx_lir_buffer buffers[4];
    const rlx_lir_eval_options options = {.teams = 2, .seed = 1};
    memory_create(m, s, s->module->first, 7);
    for (int i = 0; i < m->n; i++)
        buffers[i] = (rlx_lir_buffer){.data = m->buffer[i].data, .bytes = m->buffer[i].bytes};
    EXPECT_OK(rlx_lir_eval_kernel(s->module->first, buffers, m->n, s->symbols, &options));
}

/* (1 + width) 2^-23 of the terms, a chunk: of all that are added up until then. */
static double tolerance(const shape *of, const memory *m, int row, int column)
{
    const rlx_format f = rlx_format_parse(of->format, strlen(of->format));
    double all = fabs(rlx_format_load(RLX_F32, m->buffer[BIAS].data, column));
    for (int k = 0; k < of->depth; k++)
        all += fabs(rlx_format_load(f, m->buffer[X].data, (int64_t)row * of->depth + k) *
                    rlx_format_load(f, m->buffer[W].data, (int64_t)column * of->depth + k));
    return round_up(of->depth) / WIDTH * (1 + WIDTH) * 0x1p-23 * all;
}

static const shape shapes[] = {
    {"f16", 16, 32, 64, 128, 40, 21, 64, false}, {"bf16", 32, 32, 64, 200, 23, 33, 128, false},
    {"f16", 64, 64, 64, 75, 64, 35, 128, false}, {"bf16", 16, 64, 32, 96, 33, 5, 128, true},
    {"bf16", 16, 32, 16, 27, 33, 17, 64, false},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };
/* 64 columns of a warpgroup, tokens by eights; steps of more and of less than the layout's rows; two warpgroups below and beside each other. */
static const shape hopper_shapes[SHAPES] = {
    {"f16", 8, 64, 64, 128, 40, 21, 128, false},    {"bf16", 32, 64, 128, 296, 72, 33, 256, false},
    {"f16", 64, 64, 64, 75, 64, 35, 128, false},    {"bf16", 24, 64, 32, 96, 33, 25, 128, true},
    {"bf16", 16, 128, 16, 27, 130, 17, 256, false},
};

/* How many elements are not the interpreter's. */
static int compare(const shape *of, const memory *want, const memory *got, bool same)
{
    int differ = 0;
    for (int e = 0; e < of->rows * of->columns; e++) {
        const double off = fabs((double)result(got)[e] - (double)result(want)[e]);
        const double most = same ? 0 : tolerance(of, got, e / of->columns, e % of->columns);
        ck_assert_msg(off <= most, "%dx%d of %d %s, element %d: %.9g for %.9g", of->m, of->n,
                      of->depth, of->format, e, (double)result(got)[e], (double)result(want)[e]);
        differ += off > 0;
    }
    return differ;
}

/* Rounded once: the interpreter's bits. Else within the tolerance, and not always those. Of AMD's units a
 * sample, in which each has both formats. */
START_TEST(fragments)
{
    int differ[EMULATED_CUT + 1] = {0};
    const int step = _i > HOPPER ? 2 : 1;
    for (int i = 0; i < SHAPES; i += step) {
        const shape *of = _i == HOPPER ? &hopper_shapes[i] : &shapes[i];
        subject s;
        memory want, got;
        loaded code = {0};
        parse(&s, of);
        evaluate(&s, &want);
        compile(&s, of, units[_i], &code);
        for (int way = EMULATED_ONCE; way <= EMULATED_CUT; way++) {
            emulated_mma_rounds = (emulated_rounding)way;
            run(&s, &code, &got);
            differ[way] += compare(of, &want, &got, way == EMULATED_ONCE);
            memory_destroy(&got);
        }
        loaded_destroy(&code);
        memory_destroy(&want);
        subject_destroy(&s);
    }
    emulated_mma_rounds = EMULATED_ONCE;
    ck_assert(differ[EMULATED_IN_ORDER] > 0 && differ[EMULATED_CUT] > 0);
}
END_TEST

/* However a unit adds up: other tiles, teams, steps and numbers of rows give a row the same bits. */
START_TEST(cut_in_other_ways)
{
    enum { WAYS = 3 };
    static const shape of_subgroups[WAYS] = {
        {"bf16", 16, 32, 64, 152, 33, 21, 64, false},
        {"bf16", 64, 64, 32, 152, 33, 37, 128, false},
        {"bf16", 16, 64, 16, 152, 33, 5, 128, true},
    };
    static const shape of_warpgroups[WAYS] = {
        {"bf16", 16, 64, 64, 152, 33, 21, 128, false},
        {"bf16", 64, 128, 32, 152, 33, 37, 256, false},
        {"bf16", 8, 64, 16, 152, 33, 5, 128, true},
    };
    const shape *ways = _i == HOPPER ? of_warpgroups : of_subgroups;
    memory first;
    emulated_mma_rounds = EMULATED_CUT;
    for (size_t i = 0; i < WAYS; i++) {
        subject s;
        memory m;
        loaded code = {0};
        parse(&s, &ways[i]);
        compile(&s, &ways[i], units[_i], &code);
        run(&s, &code, &m);
        loaded_destroy(&code);
        subject_destroy(&s);
        if (i == 0) {
            first = m;
            continue;
        }
        ck_assert_mem_eq(result(&first), result(&m),
                         m.buffer[Y].bytes < first.buffer[Y].bytes ? m.buffer[Y].bytes
                                                                   : first.buffer[Y].bytes);
        memory_destroy(&m);
    }
    memory_destroy(&first);
    emulated_mma_rounds = EMULATED_ONCE;
}
END_TEST

/* Rows that wait in team memory, where copies bring them by themselves. */
START_TEST(rows_of_stages)
{
    static const shape of = {"bf16", 16, 32, 64, 64, 32, 11, 64, false};
    static const char text[] =
        "lir module @m {\n  kernel @stages(%w: global bf16[32,64], %bias: global f32[32], %x: "
        "global "
        "bf16[TOKENS,64], %y: global f32[TOKENS,32]) {\n"
        "    %ra = alloc : team bf16[2,16,64]\n    %z = const {ivalue=0} : i64\n"
        "    %one = const {ivalue=1} : i64\n    %nl = extent {extent=TOKENS} : i64\n"
        "    grid %one, %one (%i: i64, %j: i64) {\n"
        "      %a = load %x, %z, %z, %nl {axes=[0,1], limits=[0]} : bf16<16x64>\n"
        "      store %ra, %a, %one, %z, %z {axes=[1,2], async=1}\n      commit\n"
        "      wait {pending=0}\n      barrier\n"
        "      %t = load %ra, %one, %z, %z {axes=[1,2]} : bf16<16x64>\n"
        "      %b = load %w, %z, %z {axes=[0,1]} : bf16<32x64>\n"
        "      %acc = const {value=0} : f32<16x32>\n"
        "      %d = contract_rows %acc, %t, %b {width=16} : f32<16x32>\n"
        "      store %y, %d, %z, %z, %nl {axes=[0,1], limits=[0]}\n      yield\n    }\n"
        "    return\n  }\n}\n";
    subject s;
    memory want, got;
    loaded code = {0};
    EXPECT_OK(subject_parse(&s, "stages", text));
    ck_assert(subject_bind(&s, "TOKENS=11"));
    evaluate(&s, &want);
    compile(&s, &of, NULL, &code);
    run(&s, &code, &got);
    compare(&of, &want, &got, true);
    loaded_destroy(&code);
    memory_destroy(&want);
    memory_destroy(&got);
    subject_destroy(&s);
}
END_TEST

/* Tiles as prompts have them: a chunk is written out, rows of both operands are copied. */
START_TEST(assembled)
{
    static const shape prompts[] = {
        {"f16", 64, 64, 64, 2048, 2048, 512, TEAM, false},
        {"bf16", 64, 64, 64, 2048, 2048, 512, TEAM, false},
        {"bf16", 16, 64, 64, 2048, 2048, 512, TEAM, false},
    };
    static const char *const processors[] = {"sm_80", "sm_90", "sm_90a"};
    for (int i = 0; i < 3; i++) {
        const shape *of = &prompts[i];
        const rlx_jit_target t = {.kind = RLX_JIT_NVPTX, .processor = processors[i]};
        char name[64];
        subject s;
        uint8_t *ptx;
        size_t bytes;
        parse(&s, of);
        EXPECT_OK(rlx_jit_emit_kernel(s.module->first, &t, &ptx, &bytes));
        const bool hopper = strcmp(t.processor, "sm_90a") == 0;
        snprintf(name, sizeof name,
                 hopper ? "wgmma.mma_async.sync.aligned.m64n%dk16.f32.%s.%s"
                        : "mma.sync.aligned.m%dn8k16.row.col.f32.%s.%s.f32",
                 16, of->format, of->format);
        ck_assert_int_eq(subject_count((char *)ptx, name),
                         hopper ? of->k / WIDTH : of->m / 16 * (of->n / 8) / (TEAM / 32));
        ck_assert_int_eq(subject_count((char *)ptx, "fence.proxy.async"), hopper);
        ck_assert_int_eq(subject_count((char *)ptx, "cp.async.cg"),
                         (of->m + of->n) * of->k * 2 / 16 / TEAM);
        if (have_ptxas())
            ck_assert_int_eq(
                ptxas_assemble(s.module->first->name, (char *)ptx, bytes, t.processor).spills, 0);
        free(ptx);
        subject_destroy(&s);
    }
}
END_TEST

/* Of AMD's processors: matrix instructions as many as fragments want, nothing in memory that a register should
 * hold, registers for two waves of a SIMD at the least. */
START_TEST(assembled_for_amd)
{
    static const shape prompts[] = {
        {"f16", 64, 64, 32, 2048, 2048, 512, TEAM, false},
        {"bf16", 64, 64, 32, 2048, 2048, 512, TEAM, false},
        {"bf16", 16, 64, 32, 2048, 2048, 512, TEAM, false},
    };
    enum { PROMPTS = sizeof prompts / sizeof *prompts };
    for (int i = 0; i < PROMPTS; i++) {
        const shape *of = &prompts[i];
        const int unit = HOPPER + 1 + (i + 1) % PROMPTS, waves = unit == HOPPER + 1 ? 2 : 4;
        const rlx_jit_target t = {.kind = RLX_JIT_AMDGPU, .processor = units[unit]};
        rlx_text text = {0};
        rlx_code_object o;
        uint8_t *code;
        char name[64];
        size_t bytes;
        subject s;
        parse(&s, of);
        EXPECT_OK(rlx_jit_emit_kernel(s.module->first, &t, &code, &bytes));
        EXPECT_OK(rlx_code_object_read(code, bytes, &o));
        ck_assert_int_eq(o.vgpr_spills + o.sgpr_spills + o.scratch_bytes, 0);
        ck_assert_int_le(o.vgprs, 256);
        EXPECT_OK(rlx_jit_print_kernel(s.module->first, &t, RLX_JIT_ASM, &text));
        snprintf(name, sizeof name, "\tv_%s_f32_16x16x16_%s ", unit == HOPPER + 1 ? "mfma" : "wmma",
                 of->format);
        ck_assert_int_eq(subject_count(text.data, name), of->m / 16 * (of->n / 16) / waves);
        ck_assert_int_eq(subject_count(text.data, "accvgpr"), 0);
        rlx_text_deinit(&text);
        free(code);
        subject_destroy(&s);
    }
}
END_TEST

START_TEST(refused)
{
    static const char none[] = "there is no matrix unit that multiplies f16 and bf16";
    static const struct {
        shape of;
        rlx_jit_kind kind;
        const char *processor, *story;
    } cases[] = {
        {{"f16", 20, 64, 64, 64, 64, 1, 0, false},
         RLX_JIT_NVPTX,
         "sm_90a",
         "20x64 are no fragments of 8x64 for 1 subgroups"},
        {{"f16", 16, 32, 64, 64, 32, 1, 0, false}, RLX_JIT_NVPTX, "sm_75", none},
        {{"bf16", 16, 32, 64, 64, 32, 1, 0, false}, RLX_JIT_AMDGPU, "gfx90a", none},
        {{"f16", 24, 32, 64, 64, 32, 1, 0, false},
         RLX_JIT_NVPTX,
         "sm_80",
         "24x32 are no fragments of 16x8 for 4 subgroups"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const rlx_jit_target t = {.kind = cases[i].kind, .processor = cases[i].processor};
        subject s;
        uint8_t *code;
        size_t bytes;
        parse(&s, &cases[i].of);
        EXPECT_ERROR(rlx_jit_emit_kernel(s.module->first, &t, &code, &bytes), RLX_UNSUPPORTED,
                     cases[i].story);
        subject_destroy(&s);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("jit matrix floats");
    TCase *c = tcase_create("units");
    tcase_set_timeout(c, 0);
    tcase_add_loop_test(c, fragments, 0, UNITS);
    tcase_add_loop_test(c, cut_in_other_ways, 0, UNITS);
    suite_add_tcase(s, c);
    SUITE_TEST(s, "rows_of_stages", rows_of_stages);
    SUITE_TEST(s, "assembled", assembled);
    SUITE_TEST(s, "assembled_for_amd", assembled_for_amd);
    SUITE_TEST(s, "refused", refused);
    return suite_run(s, 4 + 2 * UNITS);
}
