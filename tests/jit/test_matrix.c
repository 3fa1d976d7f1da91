/* dot_rows by matrix units: tiles as fragments leave them, operands out of memory in every way that
 * there is, groups of both sizes, minima, limits. Run by host teams whose mma.sync is emulated, against
 * the interpreter; assembled by ptxas where that is on PATH, without spills. */
#include <stdlib.h>
#include <string.h>

#include "tests/jit/emulated.h"
#include "tests/jit/ptxas.h"
#include "tests/jit/subject.h"
#include "tests/runtime/suite.h"

typedef struct shape {
    int m, n, k;        /* of a tile; k: elements of a step */
    int depth, columns; /* of the operands */
    const char *format; /* of weights: "i8" are codes as they are, scales beside them */
    bool stored;        /* something is stored between loads and products, so that nothing waits */
    bool deep;          /* the residual comes as rows of one element, whose sums are as they are */
} shape;

static rlx_format format_of(const shape *s)
{
    return rlx_format_parse(s->format, strlen(s->format));
}

static bool is_plain(const shape *s)
{
    return strcmp(s->format, "i8") == 0;
}

static int group_of(const shape *s)
{
    return is_plain(s) ? 32 : rlx_format_group(format_of(s));
}

static const char *code_format(const shape *s)
{
    return is_plain(s) || rlx_format_code_bits(format_of(s)) == 8 ? "i8" : "u8";
}

static bool has_min(const shape *s)
{
    return !is_plain(s) && rlx_format_has_min(format_of(s));
}

/* The step's loads and products; `at` names the values, `width` elements from %k. */
static void put_step(rlx_text *t, const shape *s, char at, int width, const char *acc)
{
    const int g = group_of(s);
    const bool plain = is_plain(s);
    rlx_text_putf(
        t,
        "      %%k%c = map %%s%c, %%step {fn=mul} : i64\n"
        "      %%g%c = map %%k%c, %%c32 {fn=div} : i64\n"
        "      %%h%c = map %%k%c, %%cg {fn=div} : i64\n"
        "      %%a%c = load %%act, %%r, %%k%c, %%nl {axes=[0,1], limits=[0]} : i8<%dx%d>\n"
        "      %%sa%c = load %%as, %%r, %%g%c, %%nl {axes=[0,1], limits=[0]} : f32<%dx%d>\n",
        at, at, at, at, at, at, at, at, s->m, width, at, at, s->m, width / 32);
    rlx_text_putf(
        t, "      %%b%c = load %%%s, %%c, %%k%c, %%cl {axes=[0,1], limits=[0]%s} : %s<%dx%d>\n", at,
        plain ? "code8" : "w", at, plain ? "" : ", part=\"codes\"", code_format(s), s->n, width);
    rlx_text_putf(
        t, "      %%sb%c = load %%%s, %%c, %%h%c, %%cl {axes=[0,1], limits=[0]%s} : f32<%dx%d>\n",
        at, plain ? "bs" : "w", at, plain ? "" : ", part=\"scale\"", s->n, width / g);
    if (has_min(s))
        rlx_text_putf(
            t,
            "      %%x%c = load %%xs, %%r, %%h%c, %%nl {axes=[0,1], limits=[0]} : f32<%dx%d>\n"
            "      %%mn%c = load %%w, %%c, %%h%c, %%cl {axes=[0,1], limits=[0], "
            "part=\"min\"} : f32<%dx%d>\n",
            at, at, s->m, width / g, at, at, s->n, width / g);
    if (s->stored)
        rlx_text_put(t, "      barrier\n");
    rlx_text_putf(t, "      %%d%c = dot_rows %%%s, %%a%c, %%sa%c, %%b%c, %%sb%c", at, acc, at, at,
                  at, at);
    if (has_min(s))
        rlx_text_putf(t, ", %%x%c, %%mn%c", at, at);
    if (strcmp(code_format(s), "u8") == 0)
        rlx_text_putf(t, " {bits=%d}", rlx_format_code_bits(format_of(s)));
    rlx_text_putf(t, " : f32<%dx%d>\n", s->m, s->n);
}

/* %e: the residual, of the tile. */
static void put_residual(rlx_text *t, const shape *s)
{
    if (!s->deep) {
        rlx_text_putf(t,
                      "      %%e = load %%res, %%r, %%c, %%nl, %%cl {axes=[0,1], limits=[0,1]} : "
                      "f32<%dx%d>\n",
                      s->m, s->n);
        return;
    }
    rlx_text_putf(
        t,
        "      %%ed = load %%res, %%r, %%c, %%z, %%nl, %%cl {axes=[0,1,2], limits=[0,1]} : "
        "f32<%dx%dx1>\n"
        "      %%e = reduce %%ed {fn=add} : f32<%dx%d>\n",
        s->m, s->n, s->m, s->n);
}

/* y = x w^T + bias + column number + residual: what follows the sums lies as they do. */
static void put_kernel(rlx_text *t, int number, const shape *s)
{
    const int groups = s->depth / group_of(s), whole = s->depth / s->k, rest = s->depth % s->k;
    rlx_text_putf(t, "  kernel @rows%d(%%act: global i8[TOKENS,%d], %%as: global f32[TOKENS,%d], ",
                  number, s->depth, s->depth / 32);
    if (is_plain(s))
        rlx_text_putf(t, "%%code8: global i8[%d,%d], %%bs: global f32[%d,%d], ", s->columns,
                      s->depth, s->columns, groups);
    else
        rlx_text_putf(t, "%%w: global %s[%d,%d], ", s->format, s->columns, s->depth);
    rlx_text_putf(
        t,
        "%%xs: global f32[TOKENS,%d], %%bias: global f32[%d], %%res: global f32[TOKENS,%d%s], "
        "%%y: global f32[TOKENS,%d]) {\n"
        "    %%nt = extent {extent=ceildiv(TOKENS,%d)} : i64\n"
        "    %%nl = extent {extent=TOKENS} : i64\n"
        "    %%nc = const {ivalue=%d} : i64\n    %%cl = const {ivalue=%d} : i64\n"
        "    %%z = const {ivalue=0} : i64\n    %%m = const {ivalue=%d} : i64\n"
        "    %%n = const {ivalue=%d} : i64\n    %%step = const {ivalue=%d} : i64\n"
        "    %%whole = const {ivalue=%d} : i64\n    %%c32 = const {ivalue=32} : i64\n"
        "    %%cg = const {ivalue=%d} : i64\n"
        "    grid %%nt, %%nc (%%i: i64, %%j: i64) {\n"
        "      %%r = map %%i, %%m {fn=mul} : i64\n"
        "      %%c = map %%j, %%n {fn=mul} : i64\n"
        "      %%start = const {value=0.5} : f32<%dx%d>\n"
        "      %%sum = for %%z, %%whole, %%start {step=1} : f32<%dx%d> (%%s0: i64, %%acc: "
        "f32<%dx%d>) {\n",
        groups, s->columns, s->columns, s->deep ? ",1" : "", s->columns, s->m,
        (s->columns + s->n - 1) / s->n, s->columns, s->m, s->n, s->k, whole, group_of(s), s->m,
        s->n, s->m, s->n, s->m, s->n);
    put_step(t, s, '0', s->k, "acc");
    rlx_text_put(t, "        yield %d0\n      }\n");
    if (rest) {
        rlx_text_putf(t, "      %%s1 = const {ivalue=%d} : i64\n", whole);
        put_step(t, s, '1', rest, "sum");
    }
    rlx_text_putf(t,
                  "      %%o = load %%bias, %%c, %%cl {axes=[0], limits=[0]} : f32<%d>\n"
                  "      %%ob = broadcast %%o {axes=[1]} : f32<%dx%d>\n"
                  "      %%p = map %%%s, %%ob {fn=add} : f32<%dx%d>\n"
                  "      %%q = iota : i32<%dx%d>\n      %%qf = cast %%q : f32<%dx%d>\n"
                  "      %%u = map %%p, %%qf {fn=add} : f32<%dx%d>\n",
                  s->n, s->m, s->n, rest ? "d1" : "sum", s->m, s->n, s->m, s->n, s->m, s->n, s->m,
                  s->n);
    put_residual(t, s);
    rlx_text_putf(t,
                  "      %%v = map %%u, %%e {fn=add} : f32<%dx%d>\n"
                  "      store %%y, %%v, %%r, %%c, %%nl, %%cl {axes=[0,1], limits=[0,1]}\n"
                  "      yield\n    }\n    return\n  }\n",
                  s->m, s->n);
}

static const shape shapes[] = {
    {16, 32, 64, 128, 40, "i8", false, false},      {32, 16, 128, 160, 23, "q8_0", false, true},
    {16, 64, 128, 256, 64, "q4_0", true, false},    {16, 32, 128, 512, 33, "q6_k", false, false},
    {32, 32, 128, 288, 64, "q5_1", false, false},   {16, 32, 128, 256, 40, "q2_k", false, false},
    {16, 32, 64, 256, 40, "q3_k", false, false},    {16, 32, 128, 160, 40, "iq4_nl", false, false},
    {16, 32, 128, 256, 40, "iq4_xs", false, false}, {16, 32, 64, 96, 40, "mxfp4", false, false},
    {16, 32, 128, 256, 40, "iq3_s", false, false},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static void parse(subject *s, const shape *which, int n)
{
    rlx_text t = {0};
    rlx_text_put(&t, "lir module @matrix {\n");
    for (int i = 0; i < n; i++)
        put_kernel(&t, i, &which[i]);
    rlx_text_put(&t, "}\n");
    ck_assert(!t.oom);
    EXPECT_OK(subject_parse(s, "matrix", t.data));
    ck_assert(subject_bind(s, "TOKENS=37"));
    rlx_text_deinit(&t);
}

START_TEST(fragments)
{
    subject s;
    parse(&s, shapes, SHAPES);
    int i = 0;
    for (const rlx_ir_func *k = s.module->first; k; k = k->next, i++) {
        rlx_jit_target t = emulated_gpu_target(i % 2 ? 128 : 64);
        subject_check(&s, k, &t, 7 + (uint64_t)i);
    }
    subject_destroy(&s);
}
END_TEST

/* Tiles as prompts have them. */
static const shape prompts[] = {
    {64, 64, 128, 2048, 2048, "q4_k", false, false},
    {16, 64, 128, 2048, 2048, "q6_k", false, false},
    {32, 64, 128, 2048, 2048, "q8_0", false, false},
};
enum { PROMPTS = sizeof prompts / sizeof *prompts };

static int count(const char *text, const char *what)
{
    int n = 0;
    for (const char *p = text; (p = strstr(p, what)) != NULL; p++)
        n++;
    return n;
}

START_TEST(assembled)
{
    static const char *const processors[] = {"sm_80", "sm_90", "sm_90a"};
    subject s;
    parse(&s, prompts, PROMPTS);
    int i = 0;
    for (const rlx_ir_func *k = s.module->first; k; k = k->next, i++) {
        const rlx_jit_target t = {.kind = RLX_JIT_NVPTX, .processor = processors[i % 3]};
        const shape *of = &prompts[i];
        uint8_t *ptx;
        size_t bytes;
        EXPECT_OK(rlx_jit_emit_kernel(k, &t, &ptx, &bytes));
        ck_assert_int_eq(count((char *)ptx, "mma.sync"), of->m / 16 * (of->n / 8) / 4);
        ck_assert_int_gt(count((char *)ptx, "cp.async.cg"), 0);
        if (have_ptxas())
            ck_assert_int_eq(ptxas_assemble(k->name, (char *)ptx, bytes, t.processor).spills, 0);
        free(ptx);
    }
    subject_destroy(&s);
}
END_TEST

/* Two blocks at a time, where they leave registers for their sums. */
START_TEST(blocks_of_a_processor)
{
    subject s;
    parse(&s, prompts, 1);
    for (int team = 128; team <= 512; team *= 2) {
        const rlx_jit_target t = {.kind = RLX_JIT_NVPTX, .processor = "sm_80", .team = team};
        uint8_t *ptx;
        size_t bytes;
        EXPECT_OK(rlx_jit_emit_kernel(s.module->first, &t, &ptx, &bytes));
        ck_assert_int_eq(count((char *)ptx, ".minnctapersm 2"), team < 512);
        if (have_ptxas())
            ck_assert_int_eq(
                ptxas_assemble(s.module->first->name, (char *)ptx, bytes, t.processor).spills, 0);
        free(ptx);
    }
    subject_destroy(&s);
}
END_TEST

/* What has no unit, tiles that are no fragments, and teams that a unit does not fit: they do not
 * decide whether there is one, which is numerics. */
START_TEST(refused)
{
    static const shape odd = {24, 32, 64, 64, 32, "q8_0", false, false};
    const rlx_jit_target none[] = {{.kind = RLX_JIT_NVPTX, .processor = "sm_75"},
                                   host_team_target(32)};
    rlx_jit_target t = {.kind = RLX_JIT_NVPTX, .processor = "sm_80"};
    rlx_lir_target lir;
    subject s;
    uint8_t *code;
    size_t bytes;
    parse(&s, shapes, 1);
    for (int i = 0; i < 2; i++)
        EXPECT_ERROR(rlx_jit_emit_kernel(s.module->first, &none[i], &code, &bytes), RLX_UNSUPPORTED,
                     "there is no matrix unit that multiplies bytes");
    subject_destroy(&s);
    parse(&s, &odd, 1);
    EXPECT_ERROR(rlx_jit_emit_kernel(s.module->first, &t, &code, &bytes), RLX_UNSUPPORTED,
                 "24x32 are no fragments of 16x8 for 4 subgroups");
    for (t.team = 48; t.team <= 96; t.team += 48) {
        EXPECT_ERROR(rlx_jit_lir_target(&t, &lir), RLX_UNSUPPORTED, "its matrix unit takes 32");
        EXPECT_ERROR(rlx_jit_emit_kernel(s.module->first, &t, &code, &bytes), RLX_UNSUPPORTED,
                     "invocations for sm_80: its matrix unit takes 32");
    }
    subject_destroy(&s);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("jit matrix");
    SUITE_TEST(s, "fragments", fragments);
    SUITE_TEST(s, "assembled", assembled);
    SUITE_TEST(s, "blocks_of_a_processor", blocks_of_a_processor);
    SUITE_TEST(s, "refused", refused);
    return suite_run(s, 4);
}
