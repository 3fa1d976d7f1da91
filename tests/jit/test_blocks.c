/* Loads from block formats as machine code, against the interpreter (which is the scalar decode):
 * every format, tiles of several widths, indices of which more and less is known, limits on both
 * axes, rows that are gathered; bytes that are scales of every kind, infinities and NaNs too. Of
 * the formats that are not among the commonest a few kernels; all with RLX_SWEEP=1 (2 minutes). */
#include <stdlib.h>
#include <string.h>

#include "tests/jit/subject.h"
#include "tests/runtime/suite.h"

static const char *const formats[] = {
#define FORMAT(NAME, text, elems, bytes, kind) FORMAT_##kind(text)
#define FORMAT_FLOAT(text)
#define FORMAT_INT(text)
#define FORMAT_UINT(text)
#define FORMAT_BOOL(text)
#define FORMAT_BLOCK(text) text,
#include "runtime/base/formats.def"
};
enum { FORMATS = sizeof formats / sizeof *formats, COLUMNS = 768 };

/* A loop over columns first..COLUMNS by `step`, in tiles of `width`. */
typedef struct cut {
    int first, step, width;
} cut;

static const cut cuts[] = {{0, 16, 16},  {0, 32, 32}, {0, 64, 64},   {16, 32, 32},
                           {48, 48, 48}, {0, 96, 96}, {0, 256, 256}, {32, 144, 128}};
enum { CUTS = sizeof cuts / sizeof *cuts };

static const cut code_cuts[] = {{0, 256, 256}, {32, 96, 64}, {0, 32, 32}};
enum { CODE_CUTS = sizeof code_cuts / sizeof *code_cuts };

static void put_kernel(rlx_text *t, int number, const char *format, const cut *c, bool odd)
{
    rlx_text_putf(t, "  kernel @k%d(%%%s: global %s[2,N,%d], %%y: global f32[N,%d]) {\n", number,
                  odd ? "odd" : "w", format, COLUMNS, COLUMNS);
    rlx_text_putf(t,
                  "    %%nt = extent {extent=ceildiv(N,3)} : i64\n"
                  "    %%nl = extent {extent=N} : i64\n"
                  "    grid %%nt (%%i: i64) {\n"
                  "      %%one = const {ivalue=1} : i64\n"
                  "      %%three = const {ivalue=3} : i64\n"
                  "      %%first = const {ivalue=%d} : i64\n"
                  "      %%end = const {ivalue=%d} : i64\n"
                  "      %%r = map %%i, %%three {fn=mul} : i64\n"
                  "      for %%first, %%end {step=%d} (%%c: i64) {\n",
                  c->first, COLUMNS, c->step);
    rlx_text_putf(t,
                  "        %%v = load %%%s, %%one, %%r, %%c, %%nl, %%end {axes=[1,2], "
                  "limits=[0,1]} : f32<3x%d>\n"
                  "        store %%y, %%v, %%r, %%c, %%nl, %%end {axes=[0,1], limits=[0,1]}\n"
                  "        yield\n      }\n      yield\n    }\n    return\n  }\n",
                  odd ? "odd" : "w", c->width);
}

/* Codes by `cut`, and the scales and minima that go with them. */
static void put_parts(rlx_text *t, int number, const char *format, const cut *c, bool odd)
{
    rlx_format f = rlx_format_parse(format, strlen(format));
    const char *code = rlx_format_code_bits(f) == 8 ? "i8" : "u8", *w = odd ? "odd" : "w";
    int group = rlx_format_group(f);
    rlx_text_putf(t,
                  "  kernel @p%d(%%%s: global %s[2,N,%d], %%y: global %s[N,%d], %%s: global "
                  "f32[N,%d], %%m: global f32[N,%d]) {\n",
                  number, w, format, COLUMNS, code, COLUMNS, COLUMNS / group, COLUMNS / group);
    rlx_text_putf(t,
                  "    %%nt = extent {extent=ceildiv(N,3)} : i64\n"
                  "    %%nl = extent {extent=N} : i64\n"
                  "    grid %%nt (%%i: i64) {\n"
                  "      %%one = const {ivalue=1} : i64\n"
                  "      %%three = const {ivalue=3} : i64\n"
                  "      %%first = const {ivalue=%d} : i64\n"
                  "      %%end = const {ivalue=%d} : i64\n"
                  "      %%g = const {ivalue=%d} : i64\n"
                  "      %%groups = const {ivalue=%d} : i64\n"
                  "      %%r = map %%i, %%three {fn=mul} : i64\n"
                  "      for %%first, %%end {step=%d} (%%c: i64) {\n"
                  "        %%h = map %%c, %%g {fn=div} : i64\n",
                  c->first, COLUMNS, group, COLUMNS / group, c->step);
    rlx_text_putf(t,
                  "        %%v = load %%%s, %%one, %%r, %%c, %%nl, %%end {axes=[1,2], "
                  "limits=[0,1], part=\"codes\"} : %s<3x%d>\n"
                  "        store %%y, %%v, %%r, %%c, %%nl, %%end {axes=[0,1], limits=[0,1]}\n",
                  w, code, c->width);
    for (int i = 0; i < (rlx_format_has_min(f) ? 2 : 1); i++) {
        bool whole = COLUMNS % c->step == 0 && c->step == c->width && c->first == 0;
        rlx_text_putf(t,
                      "        %%u%d = load %%%s, %%one, %%r, %%h, %%nl%s {axes=[1,2], "
                      "limits=[0%s], part=\"%s\"} : f32<3x%d>\n"
                      "        store %%%s, %%u%d, %%r, %%h, %%nl, %%groups {axes=[0,1], "
                      "limits=[0,1]}\n",
                      i, w, whole ? "" : ", %groups", whole ? "" : ",1", i ? "min" : "scale",
                      c->width / group, i ? "m" : "s", i);
    }
    rlx_text_put(t, "        yield\n      }\n      yield\n    }\n    return\n  }\n");
}

/* Rows by index, whole tiles. */
static void put_gather(rlx_text *t, const char *format)
{
    rlx_text_putf(t,
                  "  kernel @rows(%%ids: global i32[N], %%w: global %s[3,%d], %%y: global "
                  "f32[N,%d]) {\n"
                  "    %%nt = extent {extent=N} : i64\n"
                  "    grid %%nt (%%i: i64) {\n"
                  "      %%zero = const {ivalue=0} : i64\n"
                  "      %%end = const {ivalue=%d} : i64\n"
                  "      %%id = load %%ids, %%i {axes=[]} : i32\n"
                  "      %%r = cast %%id : i64\n"
                  "      for %%zero, %%end {step=16} (%%c: i64) {\n"
                  "        %%v = load %%w, %%r, %%c {axes=[1]} : f32<16>\n"
                  "        store %%y, %%v, %%i, %%c {axes=[1]}\n"
                  "        yield\n      }\n      yield\n    }\n    return\n  }\n",
                  format, COLUMNS, COLUMNS, COLUMNS);
}

/* Whether only a few kernels are made: 4-bit ones and whole bytes share most of their code. */
static bool is_rare(const char *format)
{
    rlx_format f = rlx_format_parse(format, strlen(format));
    return f > RLX_Q6_K && !getenv("RLX_SWEEP");
}

static void parse_kernels(subject *s, const char *format)
{
    enum { ALIGNED = 2, ODD = 9 }; /* cuts of 32 from 0 on; of 48 from 48 on, odd rows */
    rlx_text t = {0};
    bool rare = is_rare(format);
    rlx_text_put(&t, "lir module @blocks {\n");
    for (int i = 0; i < 2 * CUTS; i++)
        if (!rare || i == ALIGNED || i == ODD)
            put_kernel(&t, i, format, &cuts[i / 2], i % 2);
    for (int i = rare; i < (rare ? 2 : CODE_CUTS); i++)
        put_parts(&t, i, format, &code_cuts[i], i == 0);
    if (!rare)
        put_gather(&t, format);
    rlx_text_put(&t, "}\n");
    ck_assert(!t.oom);
    EXPECT_OK(subject_parse(s, format, t.data));
    rlx_text_deinit(&t);
}

START_TEST(against_interpreter)
{
    subject s;
    rlx_jit_target targets[2];
    int ntargets = cpu_targets(targets);
    ck_assert_int_ge(ntargets, 1);
    parse_kernels(&s, formats[_i]);
    ck_assert(subject_bind(&s, "N=4"));
    for (int t = 0; t < (is_rare(formats[_i]) ? 1 : ntargets); t++)
        subject_check_all(&s, &targets[t], (uint64_t)(_i * 10 + t));
    subject_destroy(&s);
}
END_TEST

START_TEST(team_refuses)
{
    subject s;
    loaded code = {0};
    rlx_jit_target team = host_team_target(32);
    parse_kernels(&s, "q4_k");
    EXPECT_ERROR(loaded_create(s.module->first, &team, &code), RLX_UNSUPPORTED,
                 "cannot emit `load` in kernel @k0: it decodes no q4_k");
    subject_destroy(&s);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("jit blocks");
    TCase *tc = tcase_create("against_interpreter");
    tcase_set_timeout(tc, 0);
    tcase_add_loop_test(tc, against_interpreter, 0, FORMATS);
    suite_add_tcase(s, tc);
    SUITE_TEST(s, "team_refuses", team_refuses);
    return suite_run(s, 1 + FORMATS);
}
