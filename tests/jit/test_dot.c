/* Products of codes and of panels as machine code, against the interpreter: shapes that are no
 * multiple of any vector, limits, codes at the ends of their ranges, every block format. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/cpu.h"
#include "tests/jit/block_kernels.h"
#include "tests/jit/emulated.h"
#include "tests/jit/product_kernels.h"
#include "tests/runtime/suite.h"

static void put_pack(rlx_text *t, int number, const char *format, int n, int k, int width)
{
    rlx_text_putf(t,
                  "  kernel @pack%d(%%x: global %s[%d,%d], %%y: global %s[%d,%d]) {\n"
                  "    %%one = const {ivalue=1} : i64\n    grid %%one (%%i: i64) {\n"
                  "      %%z = const {ivalue=0} : i64\n"
                  "      %%v = load %%x, %%z, %%z {axes=[0,1]} : %s<%dx%d>\n"
                  "      %%p = pack %%v {width=%d} : %s<%dx%d>\n"
                  "      store %%y, %%p, %%z, %%z {axes=[0,1]}\n"
                  "      yield\n    }\n    return\n  }\n",
                  number, format, n, k, format, k / width, n * width, format, n, k, width, format,
                  k / width, n * width);
}

static uint64_t state;

static int any(int n)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (int)((state >> 33) % (uint64_t)n);
}

static shape any_shape(int unit)
{
    static const int bits[] = {4, 5, 6, 8, 8, 7, 3};
    shape s = {.m = 1 + any(7), .n = 1 + any(40), .k = unit * (1 + any(3)), .bits = bits[any(7)]};
    s.group = any(2) ? 16 : 32;
    s.minima = any(2);
    s.odd = any(4) == 0;
    s.is_signed = any(2);
    return s;
}

START_TEST(panels)
{
    static const shape whole[] = {
        {4, 16, 32, 32, 4, .minima = true},
        {4, 16, 256, 32, 4, .minima = true},
        {4, 16, 32, 32, 8, .minima = false},
        {4, 16, 32, 16, 6, .minima = true},
        {4, 16, 64, 32, 5, .minima = true},
        {12, 32, 64, 32, 4, .minima = true},
        {12, 32, 32, 32, 8, .minima = false},
        {1, 8, 64, 16, 6, .minima = true},
        {3, 48, 32, 32, 4, .minima = false},
        {.m = 4, .n = 16, .k = 256, .group = 16, .bits = 6, .is_signed = true},
        {.m = 6, .n = 32, .k = 64, .group = 32, .bits = 4, .is_signed = true},
        {.m = 12, .n = 32, .k = 32, .group = 32, .bits = 5, .is_signed = true},
        {.m = 5, .n = 12, .k = 64, .group = 16, .bits = 3, .is_signed = true}};
    rlx_text t = {0};
    state = 5;
    rlx_text_put(&t, "lir module @dot {\n");
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++)
        put_panel(&t, (int)i, &whole[i]);
    for (int i = 0; i < 14; i++) {
        shape s = any_shape(32);
        s.raised = s.bits == 8 && i % 2;
        put_panel(&t, 100 + i, &s);
    }
    for (int i = 0; i < 4; i++) {
        const shape s = {.m = i ? 4 * i : 3,
                         .n = 16 + 8 * i,
                         .k = 32 << i % 2,
                         .group = 16 << i / 2,
                         .bits = 8,
                         .minima = i == 2,
                         .raised = true};
        put_panel(&t, 200 + i, &s);
    }
    subject_check_text(&t, "TOKENS=13", 3);
}
END_TEST

/* As contractions are lowered: panels in team memory that rows go by, which stay as they are, or not. */
static void put_kept(rlx_text *t, int number, const char *change)
{
    const char *form = number % 2 ? "u8" : "i8"; /* raised, or not */
    rlx_text_putf(
        t,
        "  kernel @kept%d(%%act: global %s[TOKENS,64], %%as: global f32[TOKENS,2], %%code8: "
        "global i8[32,96], %%bs: global f32[8,24], %%y: global f32[TOKENS,48]) {\n"
        "    %%panel = alloc : team i8[2,16,96]\n    %%one = const {ivalue=1} : i64\n"
        "    %%nt = extent {extent=ceildiv(TOKENS,4)} : i64\n"
        "    %%nl = extent {extent=TOKENS} : i64\n"
        "    grid %%one (%%g: i64) {\n      %%z = const {ivalue=0} : i64\n"
        "      %%two = const {ivalue=2} : i64\n      %%m = const {ivalue=4} : i64\n"
        "      %%c = const {ivalue=16} : i64\n      %%n = const {ivalue=24} : i64\n"
        "      %%p = load %%code8, %%z, %%z {axes=[0,1]} : i8<16x96>\n"
        "      %%q = load %%code8, %%c, %%z {axes=[0,1]} : i8<16x96>\n"
        "      store %%panel, %%p, %%z, %%z, %%z {axes=[1,2]}\n"
        "      store %%panel, %%q, %%one, %%z, %%z {axes=[1,2]}\n      barrier\n"
        "      for %%z, %%two {step=1} (%%j: i64) {\n"
        "        for %%z, %%nt {step=1} (%%i: i64) {\n"
        "          %%r = map %%i, %%m {fn=mul} : i64\n"
        "          %%h = map %%j, %%m {fn=mul} : i64\n"
        "          %%k = map %%j, %%n {fn=mul} : i64\n"
        "          %%s = const {value=1} : f32<4x24>\n"
        "          %%a = load %%act, %%r, %%z, %%nl {axes=[0,1], limits=[0]} : %s<4x64>\n"
        "          %%sa = load %%as, %%r, %%z, %%nl {axes=[0,1], limits=[0]} : f32<4x2>\n"
        "          %%b = load %%panel, %%j, %%z, %%z {axes=[1,2]} : i8<16x96>\n"
        "          %%sb = load %%bs, %%h, %%z {axes=[0,1]} : f32<4x24>\n"
        "          %%d = dot_panel %%s, %%a, %%sa, %%b, %%sb : f32<4x24>\n"
        "          store %%y, %%d, %%r, %%k, %%nl {axes=[0,1], limits=[0]}\n%s"
        "          yield\n        }\n        yield\n      }\n      yield\n    }\n"
        "    return\n  }\n",
        number, form, form, change);
}

START_TEST(kept_panels)
{
    rlx_text t = {0};
    rlx_text_put(&t, "lir module @dot {\n");
    for (int i = 0; i < SUBJECT_CPUS; i++) /* every other round of which is emulated */
        put_kept(&t, i, "");
    put_kept(&t, SUBJECT_CPUS,
             "          barrier\n          store %panel, %q, %j, %z, %z {axes=[1,2]}\n"
             "          barrier\n");
    subject_check_text(&t, "TOKENS=13", 12);
}
END_TEST

START_TEST(dots)
{
    static const shape whole[] = {
        {1, 1, 64, 32, 4, .minima = false},
        {1, 1, 256, 32, 4, .minima = false},
        {1, 1, 256, 16, 6, .minima = false},
        {1, 4, 64, 32, 8, .minima = false},
        {3, 2, 64, 32, 8, .minima = false},
        {1, 1, 256, 32, 5, .minima = false},
        {1, 1, 256, 32, 8, .minima = false},
        {.m = 1, .n = 2, .k = 256, .group = 16, .bits = 6, .is_signed = true},
        {.m = 1, .n = 1, .k = 256, .group = 32, .bits = 4, .is_signed = true}};
    rlx_text t = {0};
    state = 6;
    rlx_text_put(&t, "lir module @dot {\n");
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++)
        put_dot(&t, (int)i, &whole[i]);
    for (int i = 0; i < 14; i++) {
        shape s = any_shape(64);
        s.n = 1 + s.n % 5;
        put_dot(&t, 100 + i, &s);
    }
    subject_check_text(&t, "TOKENS=5", 4);
}
END_TEST

/* Codes that are turned once for two products, which are told other bounds of them. */
static void put_two_bounds(rlx_text *t)
{
    rlx_text_put(t, "  kernel @bounds(%act: global i8[TOKENS,256], %as: global f32[TOKENS,8], "
                    "%w: global mxfp4[2,256], %y: global f32[2,TOKENS,2,8]) {\n"
                    "    %sums = alloc : team f32[1,1,8]\n    %nt = extent {extent=TOKENS} : i64\n"
                    "    grid %nt (%i: i64) {\n      %z = const {ivalue=0} : i64\n"
                    "      %o = const {ivalue=1} : i64\n"
                    "      %a = load %act, %i, %z {axes=[0,1]} : i8<1x256>\n"
                    "      %sa = load %as, %i, %z {axes=[0,1]} : f32<1x8>\n"
                    "      %b = load %w, %z, %z {axes=[0,1], part=\"codes\"} : i8<2x256>\n"
                    "      %sb = load %w, %z, %z {axes=[0,1], part=\"scale\"} : f32<2x8>\n");
    block_put_sums(t, 32);
    rlx_text_put(t, "      %ta = turn %a {width=32} : i8<1x256>\n"
                    "      %tb = turn %b {width=32} : i8<2x256>\n"
                    "      %c = const {value=0.5} : f32<1x2x8>\n"
                    "      %d = dot %c, %ta, %sa, %tb, %sb, %xs {turned=1} : f32<1x2x8>\n"
                    "      %e = dot %c, %ta, %sa, %tb, %sb, %xs {turned=1, bits=5} : f32<1x2x8>\n"
                    "      store %y, %d, %z, %i, %z, %z {axes=[1,2,3]}\n"
                    "      store %y, %e, %o, %i, %z, %z {axes=[1,2,3]}\n"
                    "      yield\n    }\n    return\n  }\n");
}

START_TEST(turned_dots)
{
    static const shape whole[] = {{.m = 1, .n = 1, .k = 256, .group = 32, .bits = 4},
                                  {.m = 1, .n = 1, .k = 256, .group = 16, .bits = 6},
                                  {.m = 3, .n = 2, .k = 256, .group = 32, .bits = 7},
                                  {.m = 1, .n = 1, .k = 512, .group = 32, .bits = 5},
                                  {.m = 2, .n = 3, .k = 128, .group = 16, .bits = 3},
                                  {.m = 1, .n = 1, .k = 256, .group = 32, .bits = 7, .odd = true}};
    static const struct {
        const char *format;
        int columns;
    } blocks[] = {{"mxfp4", 1}, {"iq4_nl", 1}, {"q8_0", 1}, {"mxfp4", 4}, {"iq4_xs", 2},
                  {"q8_0", 4},  {"q4_0", 2},   {"q4_k", 4}, {"q5_k", 2},  {"q6_k", 4},
                  {"q6_k", 1},  {"q3_k", 2},   {"q5_0", 2}, {"tq2_0", 2}};
    rlx_text t = {0};
    rlx_text_put(&t, "lir module @dot {\n");
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++) {
        shape s = whole[i];
        s.turned = true;
        put_dot(&t, (int)i, &s);
    }
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        block_put_turned(&t, blocks[i].format, blocks[i].columns);
    put_two_bounds(&t);
    subject_check_text(&t, "TOKENS=5", 14);
}
END_TEST

/* Rows of blocks by rows of activations that come by turns, in loops: two matrices by one row. */
static void put_row_dots(rlx_text *t, const char *format)
{
    enum { K = 512, GROUPS = K / 32 };
    const rlx_format f = rlx_format_parse(format, strlen(format));
    const int bits = rlx_format_code_bits(f) % 8, groups = 256 / rlx_format_group(f);
    char bound[16] = "";
    if (bits)
        snprintf(bound, sizeof bound, " {bits=%d}", bits);
    rlx_text_putf(t,
                  "  kernel @rows_%s(%%act: global i8[TOKENS,%d], %%as: global f32[TOKENS,%d], "
                  "%%w0: global %s[3,%d], %%w1: global %s[3,%d], %%y0: global f32[3,TOKENS,8], "
                  "%%y1: global f32[3,TOKENS,8]) {\n"
                  "    %%n = const {ivalue=3} : i64\n    %%nt = extent {extent=TOKENS} : i64\n"
                  "    %%z = const {ivalue=0} : i64\n    %%steps = const {ivalue=2} : i64\n"
                  "    %%c256 = const {ivalue=256} : i64\n    %%c8 = const {ivalue=8} : i64\n"
                  "    grid %%n, %%nt (%%i: i64, %%m: i64) {\n"
                  "      %%c = const {value=0.5} : f32<1x1x8>\n"
                  "      %%r0, %%r1 = for %%z, %%steps, %%c, %%c {step=1} : (f32<1x1x8>, "
                  "f32<1x1x8>) (%%j: i64, %%s0: f32<1x1x8>, %%s1: f32<1x1x8>) {\n"
                  "        %%k = map %%j, %%c256 {fn=mul} : i64\n"
                  "        %%g = map %%j, %%c8 {fn=mul} : i64\n"
                  "        %%ch = const {ivalue=%d} : i64\n"
                  "        %%h = map %%j, %%ch {fn=mul} : i64\n",
                  format, K, GROUPS, format, K, format, K, groups);
    for (int i = 0; i < 2; i++)
        rlx_text_putf(t,
                      "        %%a%d = load %%act, %%m, %%k {axes=[0,1]} : i8<1x256>\n"
                      "        %%sa%d = load %%as, %%m, %%g {axes=[0,1]} : f32<1x8>\n"
                      "        %%b%d = load %%w%d, %%i, %%k {axes=[0,1], part=\"codes\"} : "
                      "i8<1x256>\n"
                      "        %%sb%d = load %%w%d, %%i, %%h {axes=[0,1], part=\"scale\"} : "
                      "f32<1x%d>\n"
                      "        %%d%d = dot %%s%d, %%a%d, %%sa%d, %%b%d, %%sb%d%s : f32<1x1x8>\n",
                      i, i, i, i, i, i, groups, i, i, i, i, i, i, bound);
    rlx_text_put(t, "        yield %d0, %d1\n      }\n"
                    "      store %y0, %r0, %i, %m, %z {axes=[0,1,2]}\n"
                    "      store %y1, %r1, %i, %m, %z {axes=[0,1,2]}\n"
                    "      yield\n    }\n    return\n  }\n");
}

/* A kernel that changes a row between two rounds over it: its second half becomes the first. */
static void put_changed_row(rlx_text *t)
{
    rlx_text_put(t,
                 "  kernel @changed(%act: global i8[TOKENS,512], %as: global f32[TOKENS,16], "
                 "%w: global q8_0[1,512], %y: global f32[2,TOKENS,8]) {\n"
                 "    %nt = extent {extent=TOKENS} : i64\n    %z = const {ivalue=0} : i64\n"
                 "    %two = const {ivalue=2} : i64\n    %c256 = const {ivalue=256} : i64\n"
                 "    %c8 = const {ivalue=8} : i64\n"
                 "    grid %nt (%m: i64) {\n      %c = const {value=0.5} : f32<1x1x8>\n"
                 "      %r = for %z, %two, %c {step=1} : f32<1x1x8> (%i: i64, %o: f32<1x1x8>) {\n"
                 "        %p = for %z, %two, %o {step=1} : f32<1x1x8> (%j: i64, %s: f32<1x1x8>) {\n"
                 "          %k = map %j, %c256 {fn=mul} : i64\n"
                 "          %g = map %j, %c8 {fn=mul} : i64\n"
                 "          %a = load %act, %m, %k {axes=[0,1]} : i8<1x256>\n"
                 "          %sa = load %as, %m, %g {axes=[0,1]} : f32<1x8>\n"
                 "          %b = load %w, %z, %k {axes=[0,1], part=\"codes\"} : i8<1x256>\n"
                 "          %sb = load %w, %z, %g {axes=[0,1], part=\"scale\"} : f32<1x8>\n"
                 "          %d = dot %s, %a, %sa, %b, %sb : f32<1x1x8>\n"
                 "          yield %d\n        }\n"
                 "        store %y, %p, %i, %m, %z {axes=[0,1,2]}\n"
                 "        %x = load %act, %m, %z {axes=[0,1]} : i8<1x256>\n        barrier\n"
                 "        store %act, %x, %m, %c256 {axes=[0,1]}\n        barrier\n"
                 "        yield %p\n      }\n      yield\n    }\n    return\n  }\n");
}

START_TEST(row_dots)
{
    static const char *const formats[] = {"mxfp4", "iq4_nl", "iq4_xs", "q8_0", "iq3_xxs",
                                          "q4_0",  "q5_0",   "q6_k",   "q3_k", "tq2_0"};
    rlx_text t = {0};
    rlx_text_put(&t, "lir module @dot {\n");
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        put_row_dots(&t, formats[i]);
    put_changed_row(&t);
    subject_check_text(&t, "TOKENS=2", 15);
}
END_TEST

START_TEST(outers)
{
    rlx_text t = {0};
    state = 7;
    rlx_text_put(&t, "lir module @dot {\n");
    put_outer(&t, 0, 6, 16, 1);
    put_outer(&t, 1, 6, 16, 8);
    put_outer(&t, 2, 12, 32, 4);
    for (int i = 3; i < 14; i++)
        put_outer(&t, i, 1 + any(8), 1 + any(40), 1 + any(9));
    subject_check_text(&t, "TOKENS=13", 5);
}
END_TEST

START_TEST(packed_outers)
{
    rlx_text t = {0};
    state = 8;
    rlx_text_put(&t, "lir module @dot {\n");
    put_outer_packed(&t, 0, 6, 16, 5, 4);
    put_outer_packed(&t, 1, 6, 16, 5, 4);
    for (int i = 2; i < 14; i++)
        put_outer_packed(&t, i, 1 + any(8), 1 + any(40), 1 + any(5), 1 + any(6));
    subject_check_text(&t, "", 5);
}
END_TEST

/* By pairs, which a CPU without them refuses. */
START_TEST(bf16_pairs)
{
    static const char *const cpus[] = {"x86-64-v4+avx512bf16"};
    rlx_jit_target plain = cpu_named("x86-64-v4"), host = cpu_named(cpus[0]);
    rlx_text t = {0};
    subject s;
    uint8_t *code;
    size_t bytes;
    state = 9;
    rlx_text_put(&t, "lir module @dot {\n");
    put_outer_bf16(&t, 0, 12, 32, 16, 2);
    for (int i = 1; i < 8; i++)
        put_outer_bf16(&t, i, 1 + any(12), 1 + any(40), 2 * (1 + any(9)), 2);
    rlx_text_put(&t, "}\n");
    EXPECT_OK(subject_parse(&s, "pairs", t.data));
    ck_assert(subject_bind(&s, "TOKENS=13"));
    subject_check_elsewhere(&s, cpus, 1, 7);
    if ((host.features & ~rlx_cpu_host()->features) == 0)
        subject_check_all(&s, &host, 7);
    EXPECT_ERROR(rlx_jit_emit_kernel(s.module->first, &plain, &code, &bytes), RLX_UNSUPPORTED,
                 "products of pairs need AVX512-BF16");
    subject_destroy(&s);
    rlx_text_deinit(&t);
}
END_TEST

/* Two products of different shapes, and one of the first's again, in a loop. */
static void put_mixed(rlx_text *t)
{
    static const char *const head =
        "  kernel @mixed(%act: global i8[TOKENS,64], %as: global f32[TOKENS,2], %code4: global "
        "u8[16,64], %bs: global f32[2,16], %cs: global f32[4,16], %y: global f32[TOKENS,16]) {\n"
        "    %one = const {ivalue=1} : i64\n    grid %one (%i: i64) {\n"
        "      %z = const {ivalue=0} : i64\n      %n = const {ivalue=3} : i64\n"
        "      %a = load %act, %z, %z {axes=[0,1]} : i8<9x64>\n"
        "      %sa = load %as, %z, %z {axes=[0,1]} : f32<9x2>\n"
        "      %b = load %code4, %z, %z {axes=[0,1]} : u8<16x64>\n"
        "      %sb = load %bs, %z, %z {axes=[0,1]} : f32<2x16>\n"
        "      %sc = load %cs, %z, %z {axes=[0,1]} : f32<4x16>\n"
        "      %start = const {value=1} : f32<9x16>\n"
        "      %sum = for %z, %n, %start {step=1} : f32<9x16> (%k: i64, %c: f32<9x16>) {\n"
        "        %d = dot_panel %c, %a, %sa, %b, %sb {bits=4} : f32<9x16>\n"
        "        %f = dot_panel %d, %a, %sa, %b, %sc {bits=4} : f32<9x16>\n"
        "        %g = dot_panel %f, %a, %sa, %b, %sb {bits=4} : f32<9x16>\n"
        "        yield %g\n      }\n      store %y, %sum, %z, %z {axes=[0,1]}\n"
        "      yield\n    }\n    return\n  }\n";
    rlx_text_put(t, head);
}

/* As contractions are lowered: sums in team memory, read and written by tiles themselves. */
static void put_team_sums(rlx_text *t)
{
    static const char *const text =
        "  kernel @team(%x: global bf16[TOKENS,128], %w: global bf16[64,64], %y: global "
        "f32[TOKENS,32]) {\n"
        "    %sums = alloc : team f32[32,32]\n    %panel = alloc : team bf16[64,64]\n"
        "    %nt = extent {extent=ceildiv(TOKENS,32)} : i64\n"
        "    %nl = extent {extent=TOKENS} : i64\n"
        "    grid %nt (%i: i64) {\n"
        "      %z = const {ivalue=0} : i64\n      %m = const {ivalue=32} : i64\n"
        "      %r = map %i, %m {fn=mul} : i64\n"
        "      %old = load %w, %z, %z {axes=[0,1]} : bf16<64x64>\n"
        "      store %panel, %old, %z, %z {axes=[0,1]}\n"
        "      %start = const {value=0.5} : f32<32x32>\n"
        "      store %sums, %start, %z, %z {axes=[0,1]}\n      barrier\n"
        "      %acc = load %sums, %z, %z {axes=[0,1]} : f32<32x32>\n"
        "      %a = load %x, %r, %z, %nl {axes=[0,1], limits=[0]} : bf16<32x128>\n"
        "      %b = load %panel, %z, %z {axes=[0,1]} : bf16<64x64>\n"
        "      %d = outer_bf16 %acc, %a, %b {width=32} : f32<32x32>\n      barrier\n"
        "      store %sums, %d, %z, %z {axes=[0,1]}\n      barrier\n"
        "      %all = load %sums, %z, %z {axes=[0,1]} : f32<32x32>\n"
        "      store %y, %all, %r, %z, %nl {axes=[0,1], limits=[0]}\n"
        "      yield\n    }\n    return\n  }\n";
    rlx_text_put(t, text);
}

/* AMX: sums in up to four tiles, bytes in one; shapes that no tile fills, rows beyond the limit;
 * and several shapes in one kernel. */
START_TEST(tiles)
{
    static const char *const cpus[] = {"x86-64-v4+amx-int8+amx-bf16"};
    static const shape bytes[] = {{16, 16, 256, 32, 4, .minima = true},
                                  {16, 16, 64, 16, 6, .minima = true},
                                  {16, 16, 96, 32, 8, .minima = false},
                                  {5, 11, 32, 32, 5, .minima = true, .odd = true}};
    rlx_jit_target plain = cpu_named("x86-64-v4+avx512bf16");
    rlx_text t = {0};
    subject s;
    uint8_t *code;
    size_t size;
    state = 10;
    rlx_text_put(&t, "lir module @dot {\n");
    put_outer_bf16(&t, 0, 32, 32, 64, 32);
    put_outer_bf16(&t, 1, 3, 17, 32, 32);
    for (int i = 2; i < 8; i++)
        put_outer_bf16(&t, i, 1 + any(32), 1 + any(32), 32 * (1 + any(3)), 32);
    for (int i = 0; i < 4; i++)
        put_panel(&t, i, &bytes[i]);
    put_mixed(&t);
    put_team_sums(&t);
    rlx_text_put(&t, "}\n");
    EXPECT_OK(subject_parse(&s, "tiles", t.data));
    ck_assert(subject_bind(&s, "TOKENS=45"));
    subject_check_elsewhere(&s, cpus, 1, 8);
    ck_assert(emulated_tiles_are_free());
    EXPECT_ERROR(rlx_jit_emit_kernel(s.module->first, &plain, &code, &size), RLX_UNSUPPORTED,
                 "products of 32 need AMX's tiles");
    subject_destroy(&s);
    rlx_text_deinit(&t);
}
END_TEST

START_TEST(packs)
{
    static const char *const formats[] = {"u8", "i8", "f32", "i16"};
    rlx_text t = {0};
    state = 8;
    rlx_text_put(&t, "lir module @dot {\n");
    put_pack(&t, 0, "u8", 16, 32, 4);
    put_pack(&t, 1, "i8", 8, 32, 4);
    put_pack(&t, 2, "f32", 16, 8, 1);
    put_pack(&t, 3, "f32", 8, 16, 1);
    put_pack(&t, 4, "u8", 32, 64, 4);
    put_pack(&t, 5, "f32", 8, 8, 1);
    put_pack(&t, 6, "f32", 1, 8, 1);
    put_pack(&t, 7, "f32", 16, 1, 1);
    for (int i = 8; i < 30; i++) {
        int width = 1 << any(3);
        put_pack(&t, i, formats[any(4)], 1 + any(24), width * (1 + any(12)), width);
    }
    subject_check_text(&t, "", 6);
}
END_TEST

static void expect_asm(const shape *s, bool panel, const char *cpu, const char *has,
                       const char *has_not)
{
    subject parsed;
    rlx_text t = {0}, text = {0};
    rlx_jit_target target = cpu_named(cpu);
    rlx_text_put(&t, "lir module @dot {\n");
    if (panel)
        put_panel(&t, 0, s);
    else
        put_dot(&t, 0, s);
    rlx_text_put(&t, "}\n");
    EXPECT_OK(subject_parse(&parsed, "instructions", t.data));
    EXPECT_OK(rlx_jit_print_kernel(parsed.module->first, &target, RLX_JIT_ASM, &text));
    ck_assert_msg(strstr(text.data, has) != NULL, "%s: no %s", cpu, has);
    ck_assert_msg(!has_not || !strstr(text.data, has_not), "%s: %s", cpu, has_not);
    rlx_text_deinit(&text);
    rlx_text_deinit(&t);
    subject_destroy(&parsed);
}

/* Each CPU multiplies bytes with what it has, out of memory that is not copied first. */
START_TEST(instructions)
{
    static const shape four = {4, 32, 256, 32, 4, .minima = true};
    static const shape eight = {4, 32, 256, 32, 8, .minima = false};
    for (int i = 0; i < 2; i++) {
        const shape *s = i ? &eight : &four;
        for (int panel = 0; panel < 2; panel++) {
            expect_asm(s, panel, "x86-64-v3", "vpmaddubsw", "vpdpbusd");
            expect_asm(s, panel, "x86-64-v3+avxvnni", "vpdpbusd", "vpmaddubsw");
            expect_asm(s, panel, "x86-64-v4", "vpmaddubsw", "vpdpbusd");
            expect_asm(s, panel, "x86-64-v4+avx512vnni", "vpdpbusd", "vpmaddubsw");
        }
        expect_asm(s, true, "x86-64-v4+avx512vnni", "zmm", "vpmaddwd");
    }
    expect_asm(&four, false, "x86-64-v4+avx512vnni", "vpackssdw", "zmm");
    expect_asm(&eight, false, "x86-64-v4+avx512vnni", "ymm", "vpmaddwd");
    expect_asm(&four, true, "x86-64-v3", "vpbroadcastd\t", "vpinsr");
    expect_asm(&eight, true, "x86-64-v4+avx512vnni", "vpdpbusd", "vpabsb");
    expect_asm(&eight, true, "x86-64-v3+avxvnni", "vpdpbusd", "vpsignb");
}
END_TEST

/* Products of small values stay in 16 bits, and only what they add up to is widened, turned too. */
START_TEST(turned_instructions)
{
    static const struct {
        const char *format;
        int widened; /* of eight registers of products */
    } cases[] = {{"mxfp4", 2}, {"iq4_nl", 8}, {"q8_0", 8}, {"q4_0", 1}};
    rlx_jit_target target = cpu_named("x86-64-v3");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        rlx_text t = {0}, text = {0};
        subject s;
        rlx_text_put(&t, "lir module @dot {\n");
        block_put_turned(&t, cases[i].format, 1);
        rlx_text_put(&t, "}\n");
        EXPECT_OK(subject_parse(&s, "instructions", t.data));
        EXPECT_OK(rlx_jit_print_kernel(s.module->first, &target, RLX_JIT_ASM, &text));
        const int sums = 8, words = 1; /* of activations */
        ck_assert_int_eq(subject_count(text.data, "vpmaddubsw"), 8 + sums);
        ck_assert_int_eq(subject_count(text.data, "vpmaddwd"), cases[i].widened + words);
        subject_destroy(&s);
        rlx_text_deinit(&t);
        rlx_text_deinit(&text);
    }
}
END_TEST

/* Lines that have both words. */
static int count_lines(const char *text, const char *one, const char *other)
{
    int n = 0;
    for (const char *at = text, *end; *at; at = *end ? end + 1 : end) {
        end = at + strcspn(at, "\n");
        const char *p = strstr(at, one), *q = strstr(at, other);
        n += p && p < end && q && q < end;
    }
    return n;
}

/* An inner loop of nothing but products, broadcasts and weights; the sums never leave registers. */
START_TEST(bf16_instructions)
{
    enum { STEP = 4 /* pairs in a block */, ROWS = 12, COLUMNS = 2 };
    rlx_jit_target target = cpu_named("x86-64-v4+avx512bf16");
    rlx_text t = {0}, text = {0};
    subject s;
    rlx_text_put(&t, "lir module @dot {\n");
    put_outer_bf16(&t, 0, ROWS, 16 * COLUMNS, 16, 2);
    rlx_text_put(&t, "}\n");
    EXPECT_OK(subject_parse(&s, "instructions", t.data));
    EXPECT_OK(rlx_jit_print_kernel(s.module->first, &target, RLX_JIT_ASM, &text));
    ck_assert_int_eq(subject_count(text.data, "vdpbf16ps"), STEP * ROWS * COLUMNS);
    ck_assert_int_eq(subject_count(text.data, "vbroadcastss"), STEP * ROWS);
    ck_assert_int_eq(count_lines(text.data, "zmm", "rsp"), 0);
    subject_destroy(&s);
    rlx_text_deinit(&t);
    rlx_text_deinit(&text);
}
END_TEST

static const char *const amx = "x86-64-v4+avx512vnni+avx512bf16+amx-int8+amx-bf16";

static void print_asm(const rlx_text *module, const char *cpu, rlx_text *out)
{
    subject s;
    rlx_jit_target target = cpu_named(cpu);
    EXPECT_OK(subject_parse(&s, "instructions", module->data));
    EXPECT_OK(rlx_jit_print_kernel(s.module->first, &target, RLX_JIT_ASM, out));
    ck_assert_int_eq(subject_count(out->data, "ldtilecfg"), 1);
    ck_assert_int_eq(subject_count(out->data, "tilerelease"), 1);
    subject_destroy(&s);
}

/* Four products for four loads, sums loaded and stored once; no other way for them. */
START_TEST(bf16_tile_instructions)
{
    rlx_text t = {0}, text = {0};
    rlx_text_put(&t, "lir module @dot {\n");
    put_team_sums(&t);
    rlx_text_put(&t, "}\n");
    print_asm(&t, amx, &text);
    ck_assert_int_eq(subject_count(text.data, "tdpbf16ps"), 4);
    ck_assert_int_eq(subject_count(text.data, "tileloadd"), 4 + 4);
    ck_assert_int_eq(subject_count(text.data, "tilestored"), 4);
    ck_assert_int_eq(subject_count(text.data, "vdpbf16ps"), 0);
    rlx_text_deinit(&t);
    rlx_text_deinit(&text);
}
END_TEST

/* Two groups, each a product; for each row of a group one conversion, one product of scales out of
 * memory, and two multiply-adds. */
START_TEST(byte_tile_instructions)
{
    enum { ROWS = 16, GROUPS = 2, SPILLS = 2 };
    static const shape s = {ROWS, 16, 256, 32, 4, .minima = true};
    rlx_text t = {0}, text = {0};
    rlx_text_put(&t, "lir module @dot {\n");
    put_panel(&t, 0, &s);
    rlx_text_put(&t, "}\n");
    print_asm(&t, amx, &text);
    ck_assert_int_eq(subject_count(text.data, "tdpbsud"), GROUPS);
    ck_assert_int_eq(subject_count(text.data, "tileloadd"), 2 * GROUPS);
    ck_assert_int_eq(subject_count(text.data, "tilestored"), GROUPS);
    ck_assert_int_eq(subject_count(text.data, "vcvtdq2ps"), ROWS * GROUPS);
    ck_assert_int_eq(count_lines(text.data, "vmulps", "{1to16}"), ROWS * GROUPS);
    ck_assert_int_eq(subject_count(text.data, "vfmadd"), ROWS * GROUPS);
    ck_assert_int_eq(count_lines(text.data, "vfnmadd", "{1to16}"), ROWS * GROUPS);
    ck_assert_int_le(count_lines(text.data, "vmovaps", "rsp"), 2 * SPILLS);
    ck_assert_int_eq(subject_count(text.data, "vpdpbusd"), 0);
    rlx_text_deinit(&t);
    rlx_text_deinit(&text);
}
END_TEST

START_TEST(teams_refuse)
{
    static const shape s = {4, 16, 64, 32, 4, .minima = true};
    static const char *const names[] = {"dot_panel", "turn", "outer",
                                        "pack"}; /* outer: of packed rows */
    const rlx_jit_target teams[] = {host_team_target(32),
                                    {.kind = RLX_JIT_NVPTX, .processor = "sm_80"},
                                    {.kind = RLX_JIT_AMDGPU, .processor = "gfx1100"},
                                    {.kind = RLX_JIT_SPIRV, .features = RLX_VULKAN_BIT(INT64)}};
    rlx_text t = {0};
    subject parsed;
    int i = 0;
    rlx_text_put(&t, "lir module @dot {\n");
    put_panel(&t, 0, &s);
    block_put_turned(&t, "q8_0", 1);
    put_outer_packed(&t, 0, 4, 16, 2, 4);
    put_pack(&t, 0, "f32", 4, 4, 1);
    rlx_text_put(&t, "}\n");
    EXPECT_OK(subject_parse(&parsed, "refused", t.data));
    for (const rlx_ir_func *k = parsed.module->first; k; k = k->next, i++)
        for (int team = 0; team < (i < 3 ? 4 : 3); team++) { /* SPIR-V has the last */
            uint8_t *code;
            size_t bytes;
            char want[64];
            snprintf(want, sizeof want, "cannot emit `%s` in kernel @%s", names[i], k->name);
            EXPECT_ERROR(rlx_jit_emit_kernel(k, &teams[team], &code, &bytes), RLX_UNSUPPORTED,
                         want);
        }
    subject_destroy(&parsed);
    rlx_text_deinit(&t);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("jit dot");
    SUITE_TEST(s, "panels", panels);
    SUITE_TEST(s, "kept panels", kept_panels);
    SUITE_TEST(s, "dots", dots);
    SUITE_TEST(s, "turned dots", turned_dots);
    SUITE_TEST(s, "row dots", row_dots);
    SUITE_TEST(s, "outers", outers);
    SUITE_TEST(s, "packed outers", packed_outers);
    SUITE_TEST(s, "bf16 pairs", bf16_pairs);
    SUITE_TEST(s, "tiles", tiles);
    SUITE_TEST(s, "packs", packs);
    SUITE_TEST(s, "instructions", instructions);
    SUITE_TEST(s, "turned instructions", turned_instructions);
    SUITE_TEST(s, "bf16 instructions", bf16_instructions);
    SUITE_TEST(s, "bf16 tile instructions", bf16_tile_instructions);
    SUITE_TEST(s, "byte tile instructions", byte_tile_instructions);
    SUITE_TEST(s, "teams_refuse", teams_refuse);
    return suite_run(s, 16);
}
