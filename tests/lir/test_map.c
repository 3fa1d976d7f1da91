/* Scalar functions: the interpreter's loops against rlx_map_fn_eval, and expand_math's primitives
 * against rlx_exp_f32, bit for bit. */
#include <float.h>
#include <math.h>

#include "runtime/base/ir/exp_poly.h"
#include "tests/lir/kernel.h"

enum { N = 512 };

static uint64_t random_state = 1;
static uint64_t next_random(void)
{
    uint64_t z = random_state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* Any bits for integers; for floats any bits, or numbers that come close to one another. */
static void fill(rlx_format f, void *p)
{
    size_t bytes = rlx_format_bytes(f, 1);
    for (int k = 0; k < N; k++) {
        uint64_t r = next_random();
        if (f == RLX_BOOL)
            r &= 1;
        memcpy((char *)p + (size_t)k * bytes, &r, bytes);
        if (k % 2 && rlx_format_is_float(f))
            rlx_format_store(f, p, k, (double)(r % 64) - 32 + (double)(r >> 60) / 8);
        else if (k % 2 && f != RLX_BOOL)
            memset((char *)p + (size_t)k * bytes, (int)(r % 3) - 1, bytes);
    }
}

static rlx_scalar element(rlx_format f, const void *p, int k)
{
    if (rlx_format_is_float(f))
        return (rlx_scalar){.f = rlx_format_load(f, p, k)};
    if (f == RLX_I64 || f == RLX_U64)
        return (rlx_scalar){.i = ((const int64_t *)p)[k]};
    return (rlx_scalar){.i = (int64_t)rlx_format_load(f, p, k)};
}

static bool same(rlx_format f, rlx_scalar a, rlx_scalar b)
{
    if (!rlx_format_is_float(f))
        return a.i == b.i;
    return (isnan(a.f) && isnan(b.f)) || memcmp(&a.f, &b.f, sizeof a.f) == 0;
}

/* One function on one format; operand `scalar` (or none: -1) is one element for all. */
static void check_fn(rlx_map_fn fn, rlx_format f, int scalar)
{
    static uint64_t data[3][N], result[N];
    const rlx_map_fn_info *info = rlx_map_fn_get(fn);
    const char *format = rlx_format_get(f)->name;
    const char *to = info->to_bool ? "bool" : format;
    rlx_text text = {0};
    rlx_text_put(&text, "kernel @k(");
    rlx_lir_buffer buffers[4];
    for (int i = 0; i < info->arity; i++) {
        const char *own = fn == RLX_FN_SELECT && i == 0 ? "bool" : format;
        rlx_text_putf(&text, "%%b%d: global %s[512], ", i, own);
        fill(fn == RLX_FN_SELECT && i == 0 ? RLX_BOOL : f, data[i]);
        buffers[i] = (rlx_lir_buffer)BUFFER(data[i]);
    }
    buffers[info->arity] = (rlx_lir_buffer)BUFFER(result);
    rlx_text_putf(&text, "%%y: global %s[512]) {\n  %%one = const {ivalue=1} : i64\n", to);
    rlx_text_put(&text, "  grid %one (%g: i64) {\n    %z = const {ivalue=0} : i64\n");
    for (int i = 0; i < info->arity; i++)
        rlx_text_putf(&text, "    %%t%d = load %%b%d, %%z%s : %s%s\n", i, i,
                      i == scalar ? "" : " {axes=[0]}",
                      fn == RLX_FN_SELECT && i == 0 ? "bool" : format, i == scalar ? "" : "<512>");
    bool all_scalar = info->arity == 1 && scalar == 0;
    rlx_text_put(&text, "    %r = map ");
    for (int i = 0; i < info->arity; i++)
        rlx_text_putf(&text, "%s%%t%d", i ? ", " : "", i);
    rlx_text_putf(&text, " {fn=%s} : %s%s\n    store %%y, %%r, %%z%s\n", info->name, to,
                  all_scalar ? "" : "<512>", all_scalar ? "" : " {axes=[0]}");
    rlx_text_put(&text, "    yield\n  }\n  return\n}\n");
    assert_ok(test_kernel(text.data, buffers, info->arity + 1));
    rlx_text_deinit(&text);
    rlx_format rf = info->to_bool ? RLX_BOOL : f;
    for (int k = 0; k < (all_scalar ? 1 : N); k++) {
        rlx_scalar in[3];
        for (int i = 0; i < info->arity; i++)
            in[i] =
                element(fn == RLX_FN_SELECT && i == 0 ? RLX_BOOL : f, data[i], i == scalar ? 0 : k);
        rlx_scalar want = rlx_map_fn_eval(fn, f, in), got = element(rf, result, k);
        ck_assert_msg(same(rf, want, got), "%s on %s, element %d: %g (%lld), expected %g (%lld)",
                      info->name, format, k, got.f, (long long)got.i, want.f, (long long)want.i);
    }
}

START_TEST(loops_do_what_functions_mean)
{
    int checked = 0;
    for (int fn = 0; fn < RLX_FN_COUNT; fn++) {
        for (int f = RLX_FORMAT_NONE + 1; f < RLX_FORMAT_COUNT; f++) {
            if (!rlx_map_fn_takes((rlx_map_fn)fn, (rlx_format)f))
                continue;
            for (int scalar = -1; scalar < rlx_map_fn_get((rlx_map_fn)fn)->arity; scalar++) {
                check_fn((rlx_map_fn)fn, (rlx_format)f, scalar);
                checked++;
            }
        }
    }
    ck_assert_int_ge(checked, 400);
}
END_TEST

/* y = fn(x) on a row of 512 elements. */
static const char exp_text[] = "kernel @k(%x: global f32[512], %y: global f32[512]) {\n"
                               "  %one = const {ivalue=1} : i64\n"
                               "  grid %one (%g: i64) {\n    %z = const {ivalue=0} : i64\n"
                               "    %x0 = load %x, %z {axes=[0]} : f32<512>\n"
                               "    %y0 = map %x0 {fn=exp} : f32<512>\n"
                               "    store %y, %y0, %z {axes=[0]}\n"
                               "    yield\n  }\n  return\n}\n";

static void expand(test_module *t)
{
    assert_ok(rlx_ir_run_passes(t->m, &rlx_lir_pass_expand_math, 1, NULL));
    rlx_text text = {0};
    rlx_ir_print(t->m, 0, &text);
    ck_assert(!strstr(text.data, "fn=exp") && !strstr(text.data, "fn=rsqrt"));
    rlx_text_deinit(&text);
}

START_TEST(expanded_exp_has_the_same_bits)
{
    static const float special[] = {0,        -0.0f,      INFINITY,   -INFINITY, NAN,     88.72283f,
                                    88.7229f, -87.33654f, -87.33655f, 1e-40f,    -1e-40f, FLT_MAX,
                                    -FLT_MAX, -103.9f,    -745.0f,    1,         -1,      0.5f};
    float x[N], y[N];
    rlx_lir_buffer b[] = {BUFFER(x), BUFFER(y)};
    test_module t;
    assert_ok(test_parse(exp_text, &t));
    expand(&t);
    uint32_t bits = 0;
    for (int round = 0; round < 1024; round++) { /* half a million floats over the whole range */
        for (int k = 0; k < N; k++, bits += 8191)
            memcpy(&x[k], &bits, sizeof bits);
        if (round == 0)
            memcpy(x, special, sizeof special);
        if (round % 2)
            for (int k = 0; k < N; k++)
                x[k] = (float)(round * N + k) * (180.0f / (1024 * N)) - 90.0f;
        assert_ok(test_run(&t, b, 2, NULL));
        for (int k = 0; k < N; k++) {
            float want = rlx_exp_f32(x[k]);
            ck_assert_msg(memcmp(&y[k], &want, sizeof want) == 0, "exp(%a) is %a, expected %a",
                          (double)x[k], (double)y[k], (double)want);
        }
    }
    test_destroy(&t);
}
END_TEST

START_TEST(functions_expand_to_the_same)
{
    static const char *const texts[] = {
        "f32", "rsqrt", "f64", "rsqrt", "f16", "rsqrt", "bf16", "rsqrt", "f16", "exp", "bf16",
        "exp", "f64",   "exp", "f32",   "log", "f64",   "log",  "f32",   "sin", "f64", "sin",
        "f32", "cos",   "f64", "cos",   "f32", "atan",  "f32",  "tanh",  "f32", "erf"};
    uint64_t x[N], y[2][N];
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i += 2) {
        rlx_text text = {0};
        const char *f = texts[i];
        rlx_text_putf(&text,
                      "kernel @k(%%x: global %s[512], %%y: global %s[512]) {\n"
                      "  %%one = const {ivalue=1} : i64\n"
                      "  grid %%one (%%g: i64) {\n    %%z = const {ivalue=0} : i64\n"
                      "    %%t = load %%x, %%z {axes=[0]} : %s<512>\n"
                      "    %%u = map %%t {fn=%s} : %s<512>\n"
                      "    store %%y, %%u, %%z {axes=[0]}\n    yield\n  }\n  return\n}\n",
                      f, f, f, texts[i + 1], f);
        fill(rlx_format_parse(f, strlen(f)), x);
        test_module t;
        assert_ok(test_parse(text.data, &t));
        for (int pass = 0; pass < 2; pass++) {
            memset(y[pass], 0, sizeof y[pass]);
            rlx_lir_buffer b[] = {BUFFER(x), BUFFER(y[pass])};
            assert_ok(test_run(&t, b, 2, NULL));
            expand(&t);
        }
        rlx_format format = rlx_format_parse(f, strlen(f));
        for (int k = 0; k < N; k++) /* any NaN is like any other */
            ck_assert_msg(same(format, element(format, y[0], k), element(format, y[1], k)),
                          "%s of %s, element %d", texts[i + 1], f, k);
        test_destroy(&t);
        rlx_text_deinit(&text);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("lir maps");
    TCase *c = tcase_create("maps");
    tcase_add_test(c, loops_do_what_functions_mean);
    tcase_add_test(c, expanded_exp_has_the_same_bits);
    tcase_add_test(c, functions_expand_to_the_same);
    suite_add_tcase(s, c);
    return run_suite(s, 3);
}
