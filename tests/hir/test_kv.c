/* KV pools in every format: what a step writes, element by element against plain loops, and what
 * attention then sees of it. Evaluated as HIR and, lowered, as MIR. */
#include <math.h>

#include "tests/base/suite.h"
#include "tests/hir/env.h"

enum { T = 5, SEQS = 2, SLOTS = 2, POOL_PAGES = 4, N = 4, G = 2, D = 64, P = RLX_KV_PAGE };

static const rlx_format formats[] = {RLX_F32, RLX_F16, RLX_BF16, RLX_I8};
enum { NFORMATS = sizeof formats / sizeof *formats, CASES = NFORMATS * NFORMATS };

static const char *name_of(rlx_format f)
{
    return rlx_format_get(f)->name;
}

/* The module: scales are arguments where a pool holds codes. */
static void put_module(rlx_format keys, rlx_format values, char *text, size_t size)
{
    const bool ks = keys == RLX_I8, vs = values == RLX_I8;
    char kt[64], vt[64];
    const char *const kst = "f16[PAGES,2,2,256]", *const vst = "f16[PAGES,2,256,2]";
    snprintf(kt, sizeof kt, "%s[PAGES,2,64,256]", name_of(keys));
    snprintf(vt, sizeof vt, "%s[PAGES,2,256,64]", name_of(values));
    snprintf(text, size,
             "hir module @t {\n  func @f(%%q: f32[T,256], %%k: f32[T,128], %%v: f32[T,128], "
             "%%kp: %s state \"kpool\", %%vp: %s state \"vpool\", %%ks: %s state \"kscale\", "
             "%%vs: %s state \"vscale\", %%pos: i32[T], %%seq: i32[T], %%t: i32[SEQS,SLOTS]) -> "
             "(f32[T,256]) {\n"
             "    %%y, %%a, %%b%s%s = attention %%q, %%k, %%v, %%kp, %%vp, %%pos, %%seq, %%t%s%s "
             "{scale=0.125, heads=4, kv_heads=2, head_dim=64} : (f32[T,256], %s, %s%s%s%s%s)\n"
             "    return %%y\n  }\n}\n",
             kt, vt, kst, vst, ks ? ", %c" : "", vs ? ", %d" : "", ks ? ", %ks" : "",
             vs ? ", %vs" : "", kt, vt, ks ? ", " : "", ks ? kst : "", vs ? ", " : "",
             vs ? vst : "");
}

static const int32_t positions[T] = {254, 255, 256, 0, 1}, sequences[T] = {0, 0, 0, 1, 1};
static const int32_t table[SEQS * SLOTS] = {3, 1, 0, 2};

/* Rows of every size, zeros among them, and one whose codes end in halves. */
static void fill_rows(test_env *e, const char *name)
{
    const int64_t dims[] = {T, G * D};
    float *x = env_add_random(e, name, RLX_F32, 2, dims, 2)->data;
    for (int i = 0; i < 32; i++) {
        x[i] = 0;
        x[32 + i] = (float)(i - 20) * 1e-6f;
        x[G * D + i] = (float)(i == 7 ? -127 : i) + 0.5f * (float)(i != 7);
        x[G * D + 32 + i] *= 1e4f;
    }
}

static void set_up(test_env *e, rlx_format keys, rlx_format values)
{
    env_init(e, 11);
    env_set(e, "T", T);
    env_set(e, "PAGES", POOL_PAGES);
    env_set(e, "SEQS", SEQS);
    env_set(e, "SLOTS", SLOTS);
    env_add_ints(e, "pos", T, positions);
    env_add_ints(e, "seq", T, sequences);
    memcpy(env_add(e, "t", RLX_I32, 2, (int64_t[]){SEQS, SLOTS})->data, table, sizeof table);
    fill_rows(e, "k");
    fill_rows(e, "v");
    const struct {
        const char *name;
        rlx_format format;
        int64_t dim[4];
    } pools[] = {{"kpool", keys, {POOL_PAGES, G, D, P}},
                 {"vpool", values, {POOL_PAGES, G, P, D}},
                 {"kscale", RLX_F16, {POOL_PAGES, G, D / 32, P}},
                 {"vscale", RLX_F16, {POOL_PAGES, G, P, D / 32}}};
    for (int i = 0; i < 4; i++) {
        rlx_eval_tensor *t = env_add(e, pools[i].name, pools[i].format, 4, pools[i].dim);
        for (int64_t j = 0; j < env_elems(t); j++)
            rlx_format_store(t->format, t->data, j,
                             env_random(e) * (t->format == RLX_I8 ? 100
                                              : i < 2             ? 1
                                                                  : 0.02));
    }
}

/* ---- the reference: loops over [token][head][element] */

/* Element d of a head with `width` elements, as it lies in the pool. */
static int64_t place_of(bool keys, int32_t seq, int32_t pos, int64_t g, int64_t width, int64_t d)
{
    const int64_t row = table[seq * SLOTS + pos / P] * (int64_t)G + g, at = pos % P;
    return keys ? (row * width + d) * P + at : (row * P + at) * width + d;
}

static uint16_t half_at(const rlx_eval_tensor *t, int64_t i)
{
    return ((const uint16_t *)t->data)[i];
}

/* What a pool must hold of group `group` of token t's head g. */
static void check_group(test_env *e, bool keys, int t, int64_t g, int64_t group)
{
    const rlx_eval_tensor *pool = env_get(e, keys ? "kpool" : "vpool");
    const float *x =
        (const float *)env_get(e, keys ? "k" : "v")->data + (t * G + g) * D + group * 32;
    float most = 0;
    for (int i = 0; i < 32; i++)
        most = fabsf(x[i]) > most ? fabsf(x[i]) : most;
    const float d = most / 127.0f, inverse = most > 0 ? 1.0f / d : 0;
    for (int i = 0; i < 32; i++) {
        const int64_t at = place_of(keys, sequences[t], positions[t], g, D, group * 32 + i);
        if (pool->format == RLX_F32)
            ck_assert(((const float *)pool->data)[at] == x[i]);
        else if (pool->format == RLX_F16)
            ck_assert_int_eq(half_at(pool, at), rlx_f32_to_f16(x[i]));
        else if (pool->format == RLX_BF16)
            ck_assert_int_eq(half_at(pool, at), rlx_f32_to_bf16(x[i]));
        else
            ck_assert_int_eq(((const int8_t *)pool->data)[at], (int)nearbyintf(x[i] * inverse));
    }
    if (pool->format == RLX_I8)
        ck_assert_int_eq(half_at(env_get(e, keys ? "kscale" : "vscale"),
                                 place_of(keys, sequences[t], positions[t], g, D / 32, group)),
                         rlx_f32_to_f16(d));
}

/* What the pools hold now of keys and of values: [sequence][position][kv head][element]. */
static double held[2][SEQS][P + 1][G][D];

static void read_pool(test_env *e, bool keys)
{
    const rlx_eval_tensor *pool = env_get(e, keys ? "kpool" : "vpool");
    const rlx_eval_tensor *scales = env_get(e, keys ? "kscale" : "vscale");
    for (int32_t q = 0; q < SEQS; q++)
        for (int32_t j = 0; j <= P; j++)
            for (int g = 0; g < G; g++)
                for (int d = 0; d < D; d++) {
                    double v = env_at(pool, place_of(keys, q, j, g, D, d));
                    if (pool->format == RLX_I8)
                        v *= env_at(scales, place_of(keys, q, j, g, D / 32, d / 32));
                    held[keys][q][j][g][d] = v;
                }
}

/* Softmax attention of query q, of token t's head h, in f64. */
static void attend(const float *q, int t, int64_t h, double *o)
{
    static double p[P + 1];
    const int64_t g = h / (N / G);
    double most = -INFINITY, sum = 0;
    for (int32_t j = 0; j <= positions[t]; j++) {
        p[j] = 0;
        for (int64_t d = 0; d < D; d++)
            p[j] += q[d] * held[true][sequences[t]][j][g][d];
        p[j] *= 0.125;
        most = p[j] > most ? p[j] : most;
    }
    memset(o, 0, sizeof *o * D);
    for (int32_t j = 0; j <= positions[t]; j++) {
        p[j] = exp(p[j] - most);
        sum += p[j];
        for (int64_t d = 0; d < D; d++)
            o[d] += p[j] * held[false][sequences[t]][j][g][d];
    }
    for (int64_t d = 0; d < D; d++)
        o[d] /= sum;
}

/* f32 sums of 64 products and 256 weights of numbers up to `size`. */
static void check_output(test_env *e, const rlx_eval_tensor *y, const char *how)
{
    const float *q = env_get(e, "q")->data;
    double want[D], size = 0;
    read_pool(e, true);
    read_pool(e, false);
    for (int64_t i = 0; i < T * G * D; i++)
        size = fmax(size, fabs(env_at(env_get(e, "v"), i)));
    for (int t = 0; t < T; t++)
        for (int64_t h = 0; h < N; h++) {
            attend(q + (t * N + h) * D, t, h, want);
            for (int64_t d = 0; d < D; d++)
                ck_assert_msg(fabs(env_at(y, (t * N + h) * D + d) - want[d]) <= 1e-5 * size,
                              "%s: token %d, head %lld, element %lld is %g, not %g", how, t,
                              (long long)h, (long long)d, env_at(y, (t * N + h) * D + d), want[d]);
        }
}

static void check_pools(test_env *e)
{
    for (int t = 0; t < T; t++)
        for (int64_t g = 0; g < G; g++)
            for (int64_t group = 0; group < D / 32; group++) {
                check_group(e, true, t, g, group);
                check_group(e, false, t, g, group);
            }
}

START_TEST(writes_and_reads)
{
    const rlx_format keys = formats[_i / NFORMATS], values = formats[_i % NFORMATS];
    char text[2048];
    test_env e, again;
    rlx_ir_module *hir, *mir;
    rlx_eval_tensor y = {0}, z = {0};
    set_up(&e, keys, values);
    put_module(keys, values, text, sizeof text);
    assert_ok(rlx_ir_parse(&rlx_hir_level, e.dims, "kv", text, &hir));
    assert_ok(rlx_ir_verify(hir));
    env_bind(&e, hir, "f", 1e-3);
    env_copy(&again, &e);
    assert_ok(rlx_hir_eval(hir, "f", &e.eval, &y, 1));
    check_pools(&e);
    check_output(&e, &y, "evaluated");
    assert_ok(rlx_hir_lower(hir, &mir));
    assert_ok(rlx_ir_verify(mir));
    assert_ok(rlx_mir_eval(mir, "f", &again.eval, &z, 1));
    check_pools(&again);
    check_output(&again, &z, "lowered");
    for (int i = 0; i < e.n; i++) /* nothing else was written */
        ck_assert(env_distance(&e.tensor[i], &again.tensor[i]) == 0);
    free(y.data);
    free(z.data);
    rlx_ir_module_destroy(mir);
    rlx_ir_module_destroy(hir);
    env_deinit(&e);
    env_deinit(&again);
}
END_TEST

/* ---- constraints */

/* Two heads of `d` elements over one kv head; perhaps a further operand %s, its argument and
 * result. */
#define ATTENTION(d, both, kp, vp, arg, operand, name, result)                                     \
    "hir module @t {\n  func @f(%q: f32[T," both "], %k: f32[T," d "], %v: f32[T," d "], %kp: " kp \
    " state \"k\", %vp: " vp " state \"v\", %pos: i32[T], %seq: i32[T], %t: i32[A,B]" arg          \
    ") -> (f32[T," both "]) {\n    %y, %a, %b" name                                                \
    " = attention %q, %k, %v, %kp, %vp, %pos, %seq, %t" operand                                    \
    " {scale=1, heads=2, kv_heads=1, head_dim=" d "} : (f32[T," both "], " kp ", " vp result       \
    ")\n    return %y\n  }\n}\n"
#define PLAIN(d, both, kp, vp) ATTENTION(d, both, kp, vp, "", "", "", "")
#define SCALED(d, both, kp, vp, scale) \
    ATTENTION(d, both, kp, vp, ", %s: " scale " state \"s\"", ", %s", ", %c", ", " scale)

static const struct {
    const char *text, *error;
} wrong[] = {
    {PLAIN("32", "64", "i16[PAGES,1,32,256]", "f32[PAGES,1,256,32]"),
     "attention C4: pools are f32, f16, bf16 or i8"},
    {PLAIN("32", "64", "i8[PAGES,1,32,256]", "f32[PAGES,1,256,32]"),
     "attention C8: a pool of i8 without scales"},
    {SCALED("40", "80", "f32[PAGES,1,40,256]", "i8[PAGES,1,256,40]", "f16[PAGES,1,256,1]"),
     "attention C8: head_dim=40 is no multiple of the 32"},
    {SCALED("32", "64", "f32[PAGES,1,32,256]", "i8[PAGES,1,256,32]", "f16[PAGES,1,1,256]"),
     "attention C8: vscale is f16[PAGES,G,P,D/32]"},
    {SCALED("32", "64", "i8[PAGES,1,32,256]", "f32[PAGES,1,256,32]", "f32[PAGES,1,1,256]"),
     "attention C8: kscale is f16[PAGES,G,D/32,P]"},
    {SCALED("32", "64", "f32[PAGES,1,32,256]", "f16[PAGES,1,256,32]", "f16[PAGES,1,1,256]"),
     "attention C8: 9 operands and 4 results with 0 scales"},
};
enum { WRONG = sizeof wrong / sizeof *wrong };

START_TEST(refuses)
{
    rlx_dims *dims = rlx_dims_create();
    rlx_ir_module *m = NULL;
    assert_error(rlx_ir_parse(&rlx_hir_level, dims, "wrong", wrong[_i].text, &m), RLX_INVALID_IR,
                 wrong[_i].error);
    rlx_dims_destroy(dims);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("hir_kv");
    TCase *c = tcase_create("formats");
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, writes_and_reads, 0, CASES);
    tcase_add_loop_test(c, refuses, 0, WRONG);
    suite_add_tcase(s, c);
    return run_suite(s, CASES + WRONG);
}
