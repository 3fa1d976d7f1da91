#include "tests/jit/block_kernels.h"

#include <stdlib.h>
#include <string.h>

#include "tests/runtime/suite.h"

const char *const block_formats[] = {
#define FORMAT(NAME, text, elems, bytes, kind) FORMAT_##kind(text)
#define FORMAT_FLOAT(text)
#define FORMAT_INT(text)
#define FORMAT_UINT(text)
#define FORMAT_BOOL(text)
#define FORMAT_BLOCK(text) text,
#include "runtime/base/formats.def"
};
_Static_assert(sizeof block_formats / sizeof *block_formats == BLOCK_FORMATS, "formats.def");
enum { COLUMNS = 768 };

/* A loop over columns first..COLUMNS by `step`, in tiles of `width`. */
typedef struct cut {
    int first, step, width;
} cut;

static const cut cuts[] = {{0, 16, 16},  {0, 32, 32}, {0, 64, 64},   {16, 32, 32},
                           {48, 48, 48}, {0, 96, 96}, {0, 256, 256}, {32, 144, 128}};
enum { CUTS = sizeof cuts / sizeof *cuts };

static const cut code_cuts[] = {{0, 256, 256}, {32, 96, 64}, {0, 32, 32}};
enum { CODE_CUTS = sizeof code_cuts / sizeof *code_cuts };

/* Three rows to an instance; columns by `cut`. */
static void put_loop(rlx_text *t, const cut *c)
{
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
}

static void put_kernel(rlx_text *t, int number, const char *format, const cut *c, bool odd)
{
    rlx_text_putf(t, "  kernel @k%d(%%%s: global %s[2,N,%d], %%y: global f32[N,%d]) {\n", number,
                  odd ? "odd" : "w", format, COLUMNS, COLUMNS);
    put_loop(t, c);
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
    const char *code = rlx_format_signed_codes(f) ? "i8" : "u8", *w = odd ? "odd" : "w";
    int group = rlx_format_group(f);
    rlx_text_putf(t,
                  "  kernel @p%d(%%%s: global %s[2,N,%d], %%y: global %s[N,%d], %%s: global "
                  "f32[N,%d], %%m: global f32[N,%d]) {\n",
                  number, w, format, COLUMNS, code, COLUMNS, COLUMNS / group, COLUMNS / group);
    put_loop(t, c);
    rlx_text_putf(t,
                  "        %%g = const {ivalue=%d} : i64\n"
                  "        %%groups = const {ivalue=%d} : i64\n"
                  "        %%h = map %%c, %%g {fn=div} : i64\n",
                  group, COLUMNS / group);
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

/* Everything that is loaded of a row, one element to an invocation of 64. */
static void put_small(rlx_text *t, const char *format)
{
    enum { WIDTH = 64 };
    const rlx_format f = rlx_format_parse(format, strlen(format));
    const char *code = rlx_format_signed_codes(f) ? "i8" : "u8";
    const int group = rlx_format_group(f), groups = WIDTH / group;
    rlx_text_putf(
        t,
        "  kernel @small(%%w: global %s[N,%d], %%y: global f32[N,%d], %%c: global %s[N,%d], "
        "%%s: global f32[N,%d], %%m: global f32[N,%d]) {\n"
        "    %%n = extent {extent=N} : i64\n    grid %%n (%%i: i64) {\n"
        "      %%zero = const {ivalue=0} : i64\n      %%end = const {ivalue=%d} : i64\n"
        "      %%g = const {ivalue=%d} : i64\n"
        "      for %%zero, %%end {step=%d} (%%k: i64) {\n"
        "        %%h = map %%k, %%g {fn=div} : i64\n"
        "        %%v = load %%w, %%i, %%k {axes=[1]} : f32<%d>\n"
        "        store %%y, %%v, %%i, %%k {axes=[1]}\n"
        "        %%q = load %%w, %%i, %%k {axes=[1], part=\"codes\"} : %s<%d>\n"
        "        store %%c, %%q, %%i, %%k {axes=[1]}\n",
        format, COLUMNS, COLUMNS, code, COLUMNS, COLUMNS / group, COLUMNS / group, COLUMNS, group,
        WIDTH, WIDTH, code, WIDTH);
    for (int i = 0; i < (rlx_format_has_min(f) ? 2 : 1); i++)
        rlx_text_putf(t,
                      "        %%u%d = load %%w, %%i, %%h {axes=[1], part=\"%s\"} : f32<%d>\n"
                      "        store %%%s, %%u%d, %%i, %%h {axes=[1]}\n",
                      i, i ? "min" : "scale", groups, i ? "m" : "s", i);
    rlx_text_put(t, "        yield\n      }\n      yield\n    }\n    return\n  }\n");
}

bool block_is_rare(const char *format)
{
    rlx_format f = rlx_format_parse(format, strlen(format));
    return f > RLX_Q6_K && !getenv("RLX_SWEEP");
}

/* Which of the kernels are made. */
typedef enum choice { ALL, RARE, FEW } choice;

static bool takes_cut(choice c, int i)
{
    enum { ALIGNED = 2, ODD = 9 }; /* cuts of 32 from 0 on; of 48 from 48 on, odd rows */
    return c == ALL || i == ODD || (c == RARE && i == ALIGNED);
}

static void parse(subject *s, const char *format, choice c)
{
    rlx_text t = {0};
    rlx_text_put(&t, "lir module @blocks {\n");
    for (int i = 0; i < 2 * CUTS; i++)
        if (takes_cut(c, i))
            put_kernel(&t, i, format, &cuts[i / 2], i % 2);
    for (int i = c == FEW; i < (c == ALL ? CODE_CUTS : 2); i++)
        put_parts(&t, i, format, &code_cuts[i], i == 0);
    if (c == ALL)
        put_gather(&t, format);
    rlx_text_put(&t, "}\n");
    ck_assert(!t.oom);
    EXPECT_OK(subject_parse(s, format, t.data));
    rlx_text_deinit(&t);
}

void block_kernels_small(subject *s, const char *format)
{
    rlx_text t = {0};
    rlx_text_put(&t, "lir module @small {\n");
    put_small(&t, format);
    rlx_text_put(&t, "}\n");
    ck_assert(!t.oom);
    EXPECT_OK(subject_parse(s, format, t.data));
    rlx_text_deinit(&t);
}

void block_kernels_all(subject *s, const char *format)
{
    parse(s, format, block_is_rare(format) ? RARE : ALL);
}

void block_kernels_few(subject *s, const char *format)
{
    parse(s, format, getenv("RLX_SWEEP") ? ALL : FEW);
}

void block_put_sums(rlx_text *t, int group)
{
    rlx_text_putf(t,
                  "      %%none = const {value=0} : f32<1x1x8>\n"
                  "      %%one = const {value=1} : f32<1x8>\n"
                  "      %%few = const {value=1} : f32<1x%d>\n"
                  "      %%ones = const {ivalue=1} : i8<1x%d>\n",
                  group / 4, 8 * group);
    for (int i = 0; i < 32 / group; i++)
        rlx_text_putf(
            t,
            "      %%k%d = const {ivalue=%d} : i64\n"
            "      %%g%d = const {ivalue=%d} : i64\n"
            "      %%x%d = load %%act, %%i, %%k%d {axes=[0,1]} : i8<1x%d>\n"
            "      %%s%d = dot %%none, %%x%d, %%few, %%ones, %%one {bits=1} : f32<1x1x8>\n"
            "      store %%sums, %%s%d, %%z, %%z, %%g%d {axes=[0,1,2]}\n",
            i, 8 * group * i, i, 8 * i, i, i, 8 * group, i, i, i, i);
    rlx_text_putf(
        t,
        "      barrier\n      %%xs = load %%sums, %%z, %%z, %%z {axes=[1,2]} : f32<1x%d>\n"
        "      barrier\n",
        256 / group);
}

void block_put_turned(rlx_text *t, const char *format, int n)
{
    const rlx_format f = rlx_format_parse(format, strlen(format));
    const int group = rlx_format_group(f), bits = rlx_format_code_bits(f), groups = 256 / group;
    const char *code = rlx_format_signed_codes(f) ? "i8" : "u8";
    rlx_text_putf(t,
                  "  kernel @%s_%d(%%act: global i8[TOKENS,256], %%as: global f32[TOKENS,8], %%w: "
                  "global %s[%d,256], %%y: global f32[TOKENS,%d,8], %%least: global "
                  "f32[TOKENS,%d,%d]) {\n"
                  "    %%sums = alloc : team f32[1,1,%d]\n"
                  "    %%nt = extent {extent=TOKENS} : i64\n    grid %%nt (%%i: i64) {\n"
                  "      %%z = const {ivalue=0} : i64\n"
                  "      %%a = load %%act, %%i, %%z {axes=[0,1]} : i8<1x256>\n"
                  "      %%sa = load %%as, %%i, %%z {axes=[0,1]} : f32<1x8>\n"
                  "      %%b = load %%w, %%z, %%z {axes=[0,1], part=\"codes\"} : %s<%dx256>\n"
                  "      %%sb = load %%w, %%z, %%z {axes=[0,1], part=\"scale\"} : f32<%dx%d>\n",
                  format, n, format, n, n, n, groups, groups, code, n, n, groups);
    if (rlx_format_has_min(f))
        rlx_text_putf(t,
                      "      %%m = load %%w, %%z, %%z {axes=[0,1], part=\"min\"} : f32<%dx%d>\n"
                      "      store %%least, %%m, %%i, %%z, %%z {axes=[1,2]}\n",
                      n, groups);
    if (rlx_format_signed_codes(f))
        block_put_sums(t, group);
    rlx_text_putf(t,
                  "      %%ta = turn %%a {width=%d} : i8<1x256>\n"
                  "      %%tb = turn %%b {width=%d} : %s<%dx256>\n"
                  "      %%c = const {value=0.5} : f32<1x%dx8>\n"
                  "      %%d = dot %%c, %%ta, %%sa, %%tb, %%sb%s {turned=1",
                  group, group, code, n, n, rlx_format_signed_codes(f) ? ", %xs" : "");
    if (bits < 8)
        rlx_text_putf(t, ", bits=%d", bits);
    rlx_text_putf(t,
                  "} : f32<1x%dx8>\n      store %%y, %%d, %%i, %%z, %%z {axes=[0,1,2]}\n"
                  "      yield\n    }\n    return\n  }\n",
                  n);
}
