#include "tests/jit/product_kernels.h"

#include <stdio.h>

enum { STEPS = 3 }; /* of K */

static const char *code_format(const shape *s)
{
    return s->bits == 8 || s->is_signed ? "i8" : "u8";
}

static void put_bits(rlx_text *t, const shape *s)
{
    if (s->bits < 8)
        rlx_text_putf(t, " {bits=%d}", s->bits);
}

/* What both kinds of kernel begin with: row r of TOKENS by m, k over STEPS tiles, g and h the scale
 * groups of activations and weights. */
static void put_head(rlx_text *t, const shape *s, const char *acc)
{
    rlx_text_putf(
        t,
        "    %%nt = extent {extent=ceildiv(TOKENS,%d)} : i64\n"
        "    %%nl = extent {extent=TOKENS} : i64\n"
        "    grid %%nt (%%i: i64) {\n"
        "      %%z = const {ivalue=0} : i64\n      %%m = const {ivalue=%d} : i64\n"
        "      %%end = const {ivalue=%d} : i64\n      %%c32 = const {ivalue=32} : i64\n"
        "      %%c4 = const {ivalue=4} : i64\n      %%cg = const {ivalue=%d} : i64\n"
        "      %%r = map %%i, %%m {fn=mul} : i64\n      %%start = const {value=0.5} : %s\n"
        "      %%sum = for %%z, %%end, %%start {step=%d} : %s (%%k: i64, %%c: %s) {\n"
        "        %%g = map %%k, %%c32 {fn=div} : i64\n"
        "        %%h = map %%k, %%cg {fn=div} : i64\n"
        "        %%k4 = map %%k, %%c4 {fn=div} : i64\n",
        s->m, s->m, STEPS * s->k, s->group, acc, s->k, acc, acc);
    rlx_text_putf(
        t,
        "        %%a = load %%act, %%r, %%k, %%nl {axes=[0,1], limits=[0]} : %s<%dx%d>\n"
        "        %%sa = load %%as, %%r, %%g, %%nl {axes=[0,1], limits=[0]} : f32<%dx%d>\n",
        s->raised ? "u8" : "i8", s->m, s->k, s->m, s->k / 32);
}

void put_panel(rlx_text *t, int number, const shape *s)
{
    int depth = STEPS * s->k, groups = depth / s->group, tile = s->k / s->group;
    char acc[32];
    snprintf(acc, sizeof acc, "f32<%dx%d>", s->m, s->n);
    rlx_text_putf(t,
                  "  kernel @panel%d(%%act: global %s[TOKENS,%d], %%as: global f32[TOKENS,%d], "
                  "%%code%d: global %s[%d,%d], %%%s: global f32[%d,%d], %%xs: global "
                  "f32[TOKENS,%d], %%mins: global f32[%d,%d], %%y: global f32[TOKENS,%d]) {\n",
                  number, s->raised ? "u8" : "i8", depth, depth / 32, s->bits, code_format(s),
                  depth / 4, 4 * s->n, s->odd ? "odd" : "bs", groups, s->n, groups, groups, s->n,
                  s->n);
    put_head(t, s, acc);
    rlx_text_putf(t,
                  "        %%b = load %%code%d, %%k4, %%z {axes=[0,1]} : %s<%dx%d>\n"
                  "        %%sb = load %%%s, %%h, %%z {axes=[0,1]} : f32<%dx%d>\n"
                  "        %%x = load %%xs, %%r, %%h, %%nl {axes=[0,1], limits=[0]} : f32<%dx%d>\n"
                  "        %%mn = load %%mins, %%h, %%z {axes=[0,1]} : f32<%dx%d>\n"
                  "        %%d = dot_panel %%c, %%a, %%sa, %%b, %%sb%s",
                  s->bits, code_format(s), s->k / 4, 4 * s->n, s->odd ? "odd" : "bs", tile, s->n,
                  s->m, tile, tile, s->n, s->minima ? ", %x, %mn" : "");
    put_bits(t, s);
    rlx_text_putf(t,
                  " : %s\n        yield %%d\n      }\n"
                  "      store %%y, %%sum, %%r, %%z, %%nl {axes=[0,1], limits=[0]}\n"
                  "      yield\n    }\n    return\n  }\n",
                  acc);
}

/* The same of rows that are turned first. */
static void put_turned(rlx_text *t, const shape *s)
{
    rlx_text_putf(t,
                  "        %%ta = turn %%a {width=%d} : i8<%dx%d>\n"
                  "        %%tb = turn %%b {width=%d} : %s<%dx%d>\n"
                  "        %%d = dot %%c, %%ta, %%sa, %%tb, %%sb {turned=1",
                  s->group, s->m, s->k, s->group, code_format(s), s->n, s->k);
    if (s->bits < 8)
        rlx_text_putf(t, ", bits=%d", s->bits);
    rlx_text_put(t, "}");
}

void put_dot(rlx_text *t, int number, const shape *s)
{
    int depth = STEPS * s->k, groups = depth / s->group;
    char acc[32];
    snprintf(acc, sizeof acc, "f32<%dx%dx8>", s->m, s->n);
    rlx_text_putf(t,
                  "  kernel @dot%d(%%act: global i8[TOKENS,%d], %%as: global f32[TOKENS,%d], "
                  "%%code%d: global %s[%d,%d], %%%s: global f32[%d,%d], %%y: global "
                  "f32[TOKENS,%d,8]) {\n",
                  number, depth, depth / 32, s->bits, code_format(s), s->n, depth,
                  s->odd ? "odd" : "bs", s->n, groups, s->n);
    put_head(t, s, acc);
    rlx_text_putf(t,
                  "        %%b = load %%code%d, %%z, %%k {axes=[0,1]} : %s<%dx%d>\n"
                  "        %%sb = load %%%s, %%z, %%h {axes=[0,1]} : f32<%dx%d>\n"
                  "%s",
                  s->bits, code_format(s), s->n, s->k, s->odd ? "odd" : "bs", s->n, s->k / s->group,
                  s->turned ? "" : "        %d = dot %c, %a, %sa, %b, %sb");
    if (s->turned)
        put_turned(t, s);
    else
        put_bits(t, s);
    rlx_text_putf(t,
                  " : %s\n        yield %%d\n      }\n"
                  "      store %%y, %%sum, %%r, %%z, %%z, %%nl {axes=[0,1,2], limits=[0]}\n"
                  "      yield\n    }\n    return\n  }\n",
                  acc);
}

void put_outer(rlx_text *t, int number, int m, int n, int k)
{
    const char *from = number % 3 == 2 ? "bf16" : "f32";
    rlx_text_putf(
        t,
        "  kernel @outer%d(%%x: global f32[TOKENS,%d], %%w: global %s[%d,%d], %%y: global "
        "f32[TOKENS,%d]) {\n"
        "    %%nt = extent {extent=ceildiv(TOKENS,%d)} : i64\n"
        "    %%nl = extent {extent=TOKENS} : i64\n"
        "    grid %%nt (%%i: i64) {\n"
        "      %%z = const {ivalue=0} : i64\n      %%m = const {ivalue=%d} : i64\n"
        "      %%end = const {ivalue=%d} : i64\n"
        "      %%r = map %%i, %%m {fn=mul} : i64\n"
        "      %%start = load %%y, %%r, %%z, %%nl {axes=[0,1], limits=[0]} : f32<%dx%d>\n",
        number, STEPS * k, from, STEPS * k, n, n, m, m, STEPS * k, m, n);
    rlx_text_putf(t,
                  "      %%sum = for %%z, %%end, %%start {step=%d} : f32<%dx%d> (%%k: i64, %%c: "
                  "f32<%dx%d>) {\n"
                  "        %%a = load %%x, %%r, %%k, %%nl {axes=[0,1], limits=[0]} : f32<%dx%d>\n"
                  "        %%b = load %%w, %%k, %%z {axes=[0,1]} : f32<%dx%d>\n"
                  "        %%d = outer %%c, %%a, %%b : f32<%dx%d>\n        yield %%d\n      }\n"
                  "      store %%y, %%sum, %%r, %%z, %%nl {axes=[0,1], limits=[0]}\n"
                  "      yield\n    }\n    return\n  }\n",
                  k, m, n, m, n, m, k, k, n, m, n);
}

void put_outer_packed(rlx_text *t, int number, int m, int n, int groups, int width)
{
    const char *a = number % 2 ? "%twice" : "%a";
    rlx_text_putf(t,
                  "  kernel @packed%d(%%x: global f32[%d,%d,%d], %%w: global f32[%d,%d], %%y: "
                  "global f32[%d,%d]) {\n"
                  "    %%one = const {ivalue=1} : i64\n"
                  "    grid %%one (%%i: i64) {\n"
                  "      %%z = const {ivalue=0} : i64\n"
                  "      %%c = load %%y, %%z, %%z {axes=[0,1]} : f32<%dx%d>\n"
                  "      %%a = load %%x, %%z, %%z, %%z {axes=[0,1,2]} : f32<%dx%dx%d>\n"
                  "      %%b = load %%w, %%z, %%z {axes=[0,1]} : f32<%dx%d>\n",
                  number, groups, m, width, groups * width, n, m, n, m, n, groups, m, width,
                  groups * width, n);
    if (number % 2)
        rlx_text_putf(t, "      %%twice = map %%a, %%a {fn=add} : f32<%dx%dx%d>\n", groups, m,
                      width);
    rlx_text_putf(t,
                  "      %%d = outer %%c, %s, %%b : f32<%dx%d>\n"
                  "      store %%y, %%d, %%z, %%z {axes=[0,1]}\n"
                  "      yield\n    }\n    return\n  }\n",
                  a, m, n);
}

void put_outer_bf16(rlx_text *t, int number, int m, int n, int k, int width)
{
    const char *odd = number % 4 == 3 ? "odd" : "";
    int end = STEPS * k - (number == 1 ? 5 : 0);
    rlx_text_putf(
        t,
        "  kernel @bf16_%d(%%%sx: global bf16[TOKENS,%d], %%%sw: global bf16[%d,%d], %%%sy: global "
        "f32[TOKENS,%d]) {\n"
        "    %%nt = extent {extent=ceildiv(TOKENS,%d)} : i64\n"
        "    %%nl = extent {extent=TOKENS} : i64\n"
        "    grid %%nt (%%i: i64) {\n"
        "      %%z = const {ivalue=0} : i64\n      %%m = const {ivalue=%d} : i64\n"
        "      %%end = const {ivalue=%d} : i64\n      %%two = const {ivalue=2} : i64\n"
        "      %%live = const {ivalue=%d} : i64\n"
        "      %%r = map %%i, %%m {fn=mul} : i64\n"
        "      %%start = load %%%sy, %%r, %%z, %%nl {axes=[0,1], limits=[0]} : f32<%dx%d>\n",
        number, odd, STEPS * k, odd, STEPS * k / 2, 2 * n, odd, n, m, m, STEPS * k, end, odd, m, n);
    rlx_text_putf(t,
                  "      %%sum = for %%z, %%end, %%start {step=%d} : f32<%dx%d> (%%k: i64, %%c: "
                  "f32<%dx%d>) {\n"
                  "        %%k2 = map %%k, %%two {fn=div} : i64\n"
                  "        %%a = load %%%sx, %%r, %%k, %%nl%s : bf16<%dx%d>\n"
                  "        %%b = load %%%sw, %%k2, %%z {axes=[0,1]} : bf16<%dx%d>\n"
                  "        %%d = outer_bf16 %%c, %%a, %%b {width=%d} : f32<%dx%d>\n"
                  "        yield %%d\n      }\n"
                  "      store %%%sy, %%sum, %%r, %%z, %%nl {axes=[0,1], limits=[0]}\n"
                  "      yield\n    }\n    return\n  }\n",
                  k, m, n, m, n, odd,
                  number == 1 ? ", %live {axes=[0,1], limits=[0,1]}" : " {axes=[0,1], limits=[0]}",
                  m, k, odd, k / 2, 2 * n, width, m, n, odd);
}
