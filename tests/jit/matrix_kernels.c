#include "tests/jit/matrix_kernels.h"

#include <string.h>

#include "tests/runtime/suite.h"

static rlx_format format_of(const matrix_kernel *s)
{
    return rlx_format_parse(s->format, strlen(s->format));
}

static bool is_plain(const matrix_kernel *s)
{
    return strcmp(s->format, "i8") == 0;
}

int matrix_kernel_group(const matrix_kernel *s)
{
    return is_plain(s) ? 32 : rlx_format_group(format_of(s));
}

static const char *code_format(const matrix_kernel *s)
{
    return is_plain(s) || rlx_format_signed_codes(format_of(s)) ? "i8" : "u8";
}

static bool has_min(const matrix_kernel *s)
{
    return !is_plain(s) && rlx_format_has_min(format_of(s));
}

/* Where step %s`at` begins, in elements and in groups. */
static void put_place(rlx_text *t, char at)
{
    rlx_text_putf(t,
                  "      %%k%c = map %%s%c, %%step {fn=mul} : i64\n"
                  "      %%g%c = map %%k%c, %%c32 {fn=div} : i64\n"
                  "      %%h%c = map %%k%c, %%cg {fn=div} : i64\n",
                  at, at, at, at, at, at);
}

/* Its rows, scales and sums. */
static void put_rows(rlx_text *t, const matrix_kernel *s, char at, int width)
{
    rlx_text_putf(
        t,
        "      %%a%c = load %%act, %%r, %%k%c, %%nl {axes=[0,1], limits=[0]} : i8<%dx%d>\n"
        "      %%sa%c = load %%as, %%r, %%g%c, %%nl {axes=[0,1], limits=[0]} : f32<%dx%d>\n",
        at, at, s->m, width, at, at, s->m, width / 32);
    if (has_min(s))
        rlx_text_putf(
            t, "      %%x%c = load %%xs, %%r, %%h%c, %%nl {axes=[0,1], limits=[0]} : f32<%dx%d>\n",
            at, at, s->m, width / matrix_kernel_group(s));
}

/* A copy of those to the stage that is the step's. */
static void put_copy(rlx_text *t, const matrix_kernel *s, char at)
{
    put_place(t, at);
    put_rows(t, s, at, s->k);
    rlx_text_putf(t,
                  "      %%t%c = map %%s%c, %%stages {fn=mod} : i64\n"
                  "      store %%ra, %%a%c, %%t%c, %%z, %%z {axes=[1,2], async=1}\n"
                  "      store %%rs, %%sa%c, %%t%c, %%z, %%z {axes=[1,2], async=1}\n",
                  at, at, at, at, at, at);
    if (has_min(s))
        rlx_text_putf(t, "      store %%rx, %%x%c, %%t%c, %%z, %%z {axes=[1,2], async=1}\n", at,
                      at);
}

/* The first copies, which loops over steps begin with. */
static void put_ring(rlx_text *t, const matrix_kernel *s)
{
    for (int i = 0; i + 1 < s->stages; i++) {
        rlx_text_putf(t, "      %%s%c = const {ivalue=%d} : i64\n", 'p' + i, i);
        put_copy(t, s, (char)('p' + i));
        rlx_text_put(t, "      commit\n");
    }
}

/* Waits for step %s0, begins to copy a later one and has the former's rows. */
static void put_stage(rlx_text *t, const matrix_kernel *s)
{
    rlx_text_putf(t,
                  "      wait {pending=%d}\n      barrier\n"
                  "      %%sn = map %%s0, %%ahead {fn=add} : i64\n"
                  "      %%more = map %%sn, %%whole {fn=lt} : bool\n      if %%more {\n",
                  s->stages - 2);
    put_copy(t, s, 'n');
    rlx_text_putf(t,
                  "        yield\n      } {\n        yield\n      }\n      commit\n"
                  "      %%t0 = map %%s0, %%stages {fn=mod} : i64\n"
                  "      %%a0 = load %%ra, %%t0, %%z, %%z {axes=[1,2]} : i8<%dx%d>\n"
                  "      %%sa0 = load %%rs, %%t0, %%z, %%z {axes=[1,2]} : f32<%dx%d>\n",
                  s->m, s->k, s->m, s->k / 32);
    if (has_min(s))
        rlx_text_putf(t, "      %%x0 = load %%rx, %%t0, %%z, %%z {axes=[1,2]} : f32<%dx%d>\n", s->m,
                      s->k / matrix_kernel_group(s));
}

/* The step's loads and products; `at` names the values, `width` elements from %k. */
static void put_step(rlx_text *t, const matrix_kernel *s, char at, int width, const char *acc)
{
    const int g = matrix_kernel_group(s);
    const bool plain = is_plain(s);
    put_place(t, at);
    if (s->stages && at == '0')
        put_stage(t, s);
    else
        put_rows(t, s, at, width);
    rlx_text_putf(
        t, "      %%b%c = load %%%s, %%c, %%k%c, %%cl {axes=[0,1], limits=[0]%s} : %s<%dx%d>\n", at,
        plain ? "code8" : "w", at, plain ? "" : ", part=\"codes\"", code_format(s), s->n, width);
    rlx_text_putf(
        t, "      %%sb%c = load %%%s, %%c, %%h%c, %%cl {axes=[0,1], limits=[0]%s} : f32<%dx%d>\n",
        at, plain ? "bs" : "w", at, plain ? "" : ", part=\"scale\"", s->n, width / g);
    if (has_min(s))
        rlx_text_putf(t,
                      "      %%mn%c = load %%w, %%c, %%h%c, %%cl {axes=[0,1], limits=[0], "
                      "part=\"min\"} : f32<%dx%d>\n",
                      at, at, s->n, width / g);
    if (s->stored)
        rlx_text_put(t, "      barrier\n");
    rlx_text_putf(t, "      %%d%c = dot_rows %%%s, %%a%c, %%sa%c, %%b%c, %%sb%c", at, acc, at, at,
                  at, at);
    if (has_min(s))
        rlx_text_putf(t, ", %%x%c, %%mn%c", at, at);
    if (!plain && rlx_format_code_bits(format_of(s)) < 8)
        rlx_text_putf(t, " {bits=%d}", rlx_format_code_bits(format_of(s)));
    rlx_text_putf(t, " : f32<%dx%d>\n", s->m, s->n);
}

/* %e: the residual, of the tile. */
static void put_residual(rlx_text *t, const matrix_kernel *s)
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
static void put_kernel(rlx_text *t, int number, const matrix_kernel *s)
{
    const int groups = s->depth / matrix_kernel_group(s), whole = s->depth / s->k,
              rest = s->depth % s->k;
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
        "%%y: global f32[TOKENS,%d]) {\n",
        groups, s->columns, s->columns, s->deep ? ",1" : "", s->columns);
    if (s->stages)
        rlx_text_putf(t,
                      "    %%ra = alloc : team i8[%d,%d,%d]\n    %%rs = alloc : team "
                      "f32[%d,%d,%d]\n    %%rx = alloc : team f32[%d,%d,%d]\n"
                      "    %%stages = const {ivalue=%d} : i64\n"
                      "    %%ahead = const {ivalue=%d} : i64\n",
                      s->stages, s->m, s->k, s->stages, s->m, s->k / 32, s->stages, s->m,
                      s->k / matrix_kernel_group(s), s->stages, s->stages - 1);
    rlx_text_putf(t,
                  "    %%nt = extent {extent=ceildiv(TOKENS,%d)} : i64\n"
                  "    %%nl = extent {extent=TOKENS} : i64\n"
                  "    %%nc = const {ivalue=%d} : i64\n    %%cl = const {ivalue=%d} : i64\n"
                  "    %%z = const {ivalue=0} : i64\n    %%m = const {ivalue=%d} : i64\n"
                  "    %%n = const {ivalue=%d} : i64\n    %%step = const {ivalue=%d} : i64\n"
                  "    %%whole = const {ivalue=%d} : i64\n    %%c32 = const {ivalue=32} : i64\n"
                  "    %%cg = const {ivalue=%d} : i64\n"
                  "    grid %%nt, %%nc (%%i: i64, %%j: i64) {\n"
                  "      %%r = map %%i, %%m {fn=mul} : i64\n"
                  "      %%c = map %%j, %%n {fn=mul} : i64\n",
                  s->m, (s->columns + s->n - 1) / s->n, s->columns, s->m, s->n, s->k, whole,
                  matrix_kernel_group(s));
    if (s->stages)
        put_ring(t, s);
    rlx_text_putf(
        t,
        "      %%start = const {value=0.5} : f32<%dx%d>\n"
        "      %%sum = for %%z, %%whole, %%start {step=1} : f32<%dx%d> (%%s0: i64, %%acc: "
        "f32<%dx%d>) {\n",
        s->m, s->n, s->m, s->n, s->m, s->n);
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

void matrix_kernels_parse(subject *s, const matrix_kernel *which, int n)
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
