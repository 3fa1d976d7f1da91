/* Every op against values by hand or plain loops. */
#include <math.h>

#include "tests/mir/world.h"

/* A module whose @main has the signature `sig` and a body. */
static void open_main(world *w, const char *sig, const char *body)
{
    char text[4096];
    snprintf(text, sizeof text, "mir module @t {\n func @main(%s {\n%s }\n}\n", sig, body);
    world_open(w, text);
}

static void expect_f32(const rlx_eval_tensor *t, const float *want, int64_t n)
{
    ck_assert_int_eq(t->format, RLX_F32);
    ck_assert_int_eq(world_elems(t), n);
    for (int64_t i = 0; i < n; i++)
        ck_assert_msg(same_bits(f32_at(t, i), want[i]), "element %lld is %g, not %g", (long long)i,
                      f32_at(t, i), want[i]);
}

/* ---- map
 * ------------------------------------------------------------------------------------------ */

static const float values[] = {0.0f,  -0.0f, 1.0f,  -1.0f, 2.5f,     -3.5f,     1e-40f,  3e38f,
                               88.0f, -90.f, 0.75f, 1e-3f, INFINITY, -INFINITY, 123.456f};
enum { NVALUES = sizeof values / sizeof *values };

/* Every function but those on integers and bools only: mod, and, or, shl. */
static const rlx_map_fn float_fns[] = {
    RLX_FN_ADD,   RLX_FN_SUB, RLX_FN_MUL, RLX_FN_DIV,  RLX_FN_MIN,   RLX_FN_MAX,
    RLX_FN_FMA,   RLX_FN_NEG, RLX_FN_ABS, RLX_FN_SQRT, RLX_FN_RSQRT, RLX_FN_EXP,
    RLX_FN_ROUND, RLX_FN_LT,  RLX_FN_LE,  RLX_FN_EQ,   RLX_FN_SELECT};
enum { NFLOAT_FNS = sizeof float_fns / sizeof *float_fns };

START_TEST(test_map_f32)
{
    rlx_map_fn fn = float_fns[_i];
    const rlx_map_fn_info *info = rlx_map_fn_get(fn);
    char sig[256], body[256];
    bool select = fn == RLX_FN_SELECT;
    const char *type = info->to_bool ? "bool[T]" : "f32[T]";
    snprintf(sig, sizeof sig,
             "%%a: %s[T] input \"a\", %%b: f32[T] input \"b\", %%s: f32 input \"s\") -> (%s)",
             select ? "bool" : "f32", type);
    const char *operands = info->arity == 1 ? "%a" : info->arity == 2 ? "%a, %b" : "%a, %b, %s";
    snprintf(body, sizeof body, "%%y = map %s {fn=%s} : %s\n return %%y\n", operands, info->name,
             type);
    world w;
    open_main(&w, sig, body);
    world_symbol(&w, "T", NVALUES * NVALUES);
    rlx_eval_tensor *a =
        world_tensor(&w, "a", select ? RLX_BOOL : RLX_F32, SHAPE(NVALUES * NVALUES));
    float *b = world_tensor(&w, "b", RLX_F32, SHAPE(NVALUES * NVALUES))->data;
    *(float *)world_tensor(&w, "s", RLX_F32, SHAPE())->data = 0.3f;
    for (int i = 0; i < NVALUES * NVALUES; i++) {
        rlx_format_store(a->format, a->data, i, select ? i % 2 : (double)values[i / NVALUES]);
        b[i] = values[i % NVALUES];
    }
    rlx_eval_tensor y = world_run(&w);
    for (int i = 0; i < NVALUES * NVALUES; i++) {
        rlx_scalar in[3] = {{.f = values[i / NVALUES]}, {.f = b[i]}, {.f = 0.3f}};
        if (select)
            in[0].i = i % 2;
        rlx_scalar want = rlx_map_fn_eval(fn, RLX_F32, in);
        if (info->to_bool)
            ck_assert_int_eq(((uint8_t *)y.data)[i], want.i);
        else if (!isnan(want.f) || !isnan(f32_at(&y, i)))
            ck_assert_msg(same_bits(f32_at(&y, i), (float)want.f), "%s(%g, %g) is %g, not %g",
                          info->name, values[i / NVALUES], b[i], f32_at(&y, i), want.f);
    }
    free(y.data);
    world_close(&w);
}
END_TEST

START_TEST(test_map_scalar_operand)
{
    world w;
    open_main(&w, "%a: f32[2,2] input \"a\") -> (f32[2,2])",
              "%c = const {value=10} : f32\n"
              "%1 = map %c, %a {fn=sub} : f32[2,2]\n"
              "%2 = map %1, %c {fn=div} : f32[2,2]\n"
              "return %2\n");
    memcpy(world_tensor(&w, "a", RLX_F32, SHAPE(2, 2))->data, (float[]){1, 2, 3, -5}, 16);
    rlx_eval_tensor y = world_run(&w);
    expect_f32(&y, (float[]){0.9f, 0.8f, 0.7f, 1.5f}, 4);
    ck_assert_int_eq(y.rank, 2);
    free(y.data);
    world_close(&w);
}
END_TEST

START_TEST(test_map_ints)
{
    world w;
    open_main(&w, "%a: i32[4] input \"a\", %b: i32[4] input \"b\") -> (i32[4])",
              "%1 = map %a, %b {fn=mod} : i32[4]\n"
              "%2 = map %a, %b {fn=div} : i32[4]\n"
              "%3 = map %1, %2 {fn=lt} : bool[4]\n"
              "%4 = map %3, %1, %2 {fn=select} : i32[4]\n"
              "return %4\n");
    world_ints(&w, "a", 4, (int32_t[]){7, -7, 7, -7});
    world_ints(&w, "b", 4, (int32_t[]){3, 3, -3, -3});
    /* mod 1 2 -2 -1, div (floors) 2 -3 -3 2: the smaller of both */
    rlx_eval_tensor y = world_run(&w);
    const int32_t want[] = {1, -3, -3, -1};
    ck_assert_mem_eq(y.data, want, sizeof want);
    free(y.data);
    world_close(&w);
}
END_TEST

START_TEST(test_map_f16_rounds)
{
    world w;
    open_main(&w, "%a: f16[1] input \"a\", %b: f16[1] input \"b\") -> (f16[1])",
              "%1 = map %a, %b {fn=add} : f16[1]\nreturn %1\n");
    rlx_format_store(RLX_F16, world_tensor(&w, "a", RLX_F16, SHAPE(1))->data, 0, 2048);
    rlx_format_store(RLX_F16, world_tensor(&w, "b", RLX_F16, SHAPE(1))->data, 0, 3);
    rlx_eval_tensor y = world_run(&w); /* 2051 lies between 2050 and 2052: the even one */
    ck_assert_double_eq(rlx_format_load(RLX_F16, y.data, 0), 2052);
    free(y.data);
    world_close(&w);
}
END_TEST

/* ---- cast, const
 * ------------------------------------------------------------------------------------ */

START_TEST(test_cast_to_bf16)
{
    world w;
    open_main(&w, "%a: f32[5] input \"a\") -> (f32[5])",
              "%1 = cast %a : bf16[5]\n%2 = cast %1 : f32[5]\nreturn %2\n");
    /* bf16 keeps 8 bits: 1 + 1/256 is halfway to 1 + 1/128 (odd), 1 + 3/256 halfway to 1 + 1/64 */
    world_floats(&w, "a", 5,
                 (float[]){1 + 1 / 256.f, 1 + 3 / 256.f, -1.0f, 1 + 1.01f / 256, -INFINITY});
    rlx_eval_tensor y = world_run(&w);
    expect_f32(&y, (float[]){1.0f, 1 + 4 / 256.f, -1.0f, 1 + 2 / 256.f, -INFINITY}, 5);
    free(y.data);
    world_close(&w);
}
END_TEST

START_TEST(test_cast_ints)
{
    world w;
    open_main(&w, "%a: i64[4] input \"a\") -> (f32[4], i8[4])",
              "%1 = cast %a : f32[4]\n%2 = cast %a : i8[4]\nreturn %1, %2\n");
    const int64_t a[] = {16777217, -300, 127, 9007199791611905};
    memcpy(world_tensor(&w, "a", RLX_I64, SHAPE(4))->data, a, sizeof a);
    rlx_eval_tensor y[2];
    assert_ok(rlx_mir_eval(w.module, "main", &w.env, y, 2));
    /* 2^53 + 2^29 + 1: by way of double it would become a tie, and round down */
    expect_f32(&y[0], (float[]){16777216, -300, 127, 9007200328482816.0f}, 4);
    const int8_t want[] = {1, -44, 127, 1};
    ck_assert_mem_eq(y[1].data, want, sizeof want);
    free(y[0].data);
    free(y[1].data);
    world_close(&w);
}
END_TEST

/* ---- sums
 * -------------------------------------------------------------------------------------------- */

/* The order of sums as mir_ops.def states it, written for one lane at a time. */
static float lane_sum(const float *x, const float *z, int64_t k, int64_t lanes)
{
    float p[64];
    for (int64_t l = 0; l < lanes; l++) {
        p[l] = 0;
        for (int64_t i = l; i < k; i += lanes)
            p[l] = z ? fmaf(x[i], z[i], p[l]) : p[l] + x[i];
    }
    for (; lanes > 1; lanes /= 2)
        for (int64_t l = 0; l < lanes / 2; l++)
            p[l] = p[l] + p[l + lanes / 2];
    return p[0];
}

typedef struct sum_case {
    int64_t rows, k, lanes;
} sum_case;
static const sum_case sums[] = {{1, 1, 16}, {3, 15, 16}, {2, 16, 16}, {5, 37, 16},
                                {1, 64, 4}, {4, 100, 1}, {2, 7, 64},  {3, 257, 32}};
enum { NSUMS = sizeof sums / sizeof *sums };

START_TEST(test_reduce_add)
{
    sum_case c = sums[_i];
    char sig[128], body[128];
    snprintf(sig, sizeof sig, "%%x: f32[T,%lld] input \"x\") -> (f32[T])", (long long)c.k);
    snprintf(body, sizeof body,
             "%%1 = reduce %%x {axis=1, fn=add, lanes=%lld} : f32[T]\nreturn %%1\n",
             (long long)c.lanes);
    world w;
    open_main(&w, sig, body);
    world_symbol(&w, "T", c.rows);
    rlx_eval_tensor *x = world_random(&w, "x", RLX_F32, SHAPE(c.rows, c.k));
    rlx_eval_tensor y = world_run(&w);
    for (int64_t r = 0; r < c.rows; r++) {
        const float *row = (const float *)x->data + r * c.k;
        double sum = 0;
        for (int64_t i = 0; i < c.k; i++)
            sum += row[i];
        ck_assert(same_bits(f32_at(&y, r), lane_sum(row, NULL, c.k, c.lanes)));
        ck_assert_double_eq_tol(f32_at(&y, r), sum, 1e-5);
    }
    free(y.data);
    world_close(&w);
}
END_TEST

START_TEST(test_reduce_max)
{
    world w;
    open_main(&w, "%x: i32[2,5] input \"x\", %z: f32[1,3] input \"z\") -> (i32[2], f32[1])",
              "%1 = reduce %x {axis=1, fn=max, lanes=16} : i32[2]\n"
              "%2 = reduce %z {axis=1, fn=max, lanes=2} : f32[1]\n"
              "return %1, %2\n");
    memcpy(world_tensor(&w, "x", RLX_I32, SHAPE(2, 5))->data,
           (int32_t[]){-5, -3, -9, -4, -8, 1, 2, 9, 2, 1}, 40);
    memcpy(world_tensor(&w, "z", RLX_F32, SHAPE(1, 3))->data, (float[]){-2, -1, -7}, 12);
    rlx_eval_tensor y[2];
    assert_ok(rlx_mir_eval(w.module, "main", &w.env, y, 2));
    const int32_t want[] = {-3, 9};
    ck_assert_mem_eq(y[0].data, want, sizeof want);
    expect_f32(&y[1], (float[]){-1}, 1);
    free(y[0].data);
    free(y[1].data);
    world_close(&w);
}
END_TEST

START_TEST(test_contract)
{
    sum_case c = sums[_i];
    const int64_t n = 5;
    char sig[128], body[128];
    snprintf(sig, sizeof sig,
             "%%a: f32[T,2,%lld] input \"a\", %%b: f32[5,%lld] input \"b\") -> (f32[T,2,5])",
             (long long)c.k, (long long)c.k);
    snprintf(body, sizeof body, "%%1 = contract %%a, %%b {lanes=%lld} : f32[T,2,5]\nreturn %%1\n",
             (long long)c.lanes);
    world w;
    open_main(&w, sig, body);
    world_symbol(&w, "T", c.rows);
    const float *a = world_random(&w, "a", RLX_F32, SHAPE(c.rows, 2, c.k))->data;
    const float *b = world_random(&w, "b", RLX_F32, SHAPE(n, c.k))->data;
    rlx_eval_tensor y = world_run(&w);
    ck_assert_int_eq(y.rank, 3);
    for (int64_t r = 0; r < c.rows * 2; r++)
        for (int64_t j = 0; j < n; j++) {
            double sum = 0;
            for (int64_t i = 0; i < c.k; i++)
                sum += (double)a[r * c.k + i] * b[j * c.k + i];
            float got = f32_at(&y, r * n + j);
            ck_assert(same_bits(got, lane_sum(a + r * c.k, b + j * c.k, c.k, c.lanes)));
            ck_assert_double_eq_tol(got, sum, 1e-5);
        }
    free(y.data);
    world_close(&w);
}
END_TEST

/* A matrix for each index of the first axis, which both rows of the second share. */
START_TEST(test_contract_matrices)
{
    sum_case c = sums[_i];
    const int64_t n = 5, heads = 3;
    char sig[160], body[128];
    snprintf(sig, sizeof sig,
             "%%a: f32[3,2,T,%lld] input \"a\", %%b: f32[3,5,%lld] input \"b\") -> (f32[3,2,T,5])",
             (long long)c.k, (long long)c.k);
    snprintf(body, sizeof body, "%%1 = contract %%a, %%b {lanes=%lld} : f32[3,2,T,5]\nreturn %%1\n",
             (long long)c.lanes);
    world w;
    open_main(&w, sig, body);
    world_symbol(&w, "T", c.rows);
    const float *a = world_random(&w, "a", RLX_F32, SHAPE(heads, 2, c.rows, c.k))->data;
    const float *b = world_random(&w, "b", RLX_F32, SHAPE(heads, n, c.k))->data;
    rlx_eval_tensor y = world_run(&w);
    ck_assert_int_eq(y.rank, 4);
    for (int64_t r = 0; r < heads * 2 * c.rows; r++)
        for (int64_t j = 0; j < n; j++) {
            const float *column = b + (r / (2 * c.rows) * n + j) * c.k;
            const float want = lane_sum(a + r * c.k, column, c.k, c.lanes);
            ck_assert(same_bits(f32_at(&y, r * n + j), want));
        }
    free(y.data);
    world_close(&w);
}
END_TEST

/* ---- data movement
 * ------------------------------------------------------------------------------------- */

START_TEST(test_gather)
{
    world w;
    open_main(&w, "%x: bf16[4,3] input \"x\", %i: i32[T] input \"i\") -> (f32[T,3])",
              "%1 = gather %x, %i : bf16[T,3]\n%2 = cast %1 : f32[T,3]\nreturn %2\n");
    world_symbol(&w, "T", 3);
    rlx_eval_tensor *x = world_tensor(&w, "x", RLX_BF16, SHAPE(4, 3));
    for (int i = 0; i < 12; i++)
        rlx_format_store(RLX_BF16, x->data, i, i);
    int32_t *ids = world_ints(&w, "i", 3, (int32_t[]){3, 0, 3})->data;
    rlx_eval_tensor y = world_run(&w);
    expect_f32(&y, (float[]){9, 10, 11, 0, 1, 2, 9, 10, 11}, 9);
    free(y.data);
    ids[1] = 4;
    assert_error(rlx_mir_eval(w.module, "main", &w.env, &y, 1), RLX_INVALID_ARGUMENT,
                 "gather: index 4 at 1, of 4 rows");
    ids[1] = -1;
    assert_error(rlx_mir_eval(w.module, "main", &w.env, &y, 1), RLX_INVALID_ARGUMENT,
                 "gather: index -1 at 1, of 4 rows");
    world_close(&w);
}
END_TEST

START_TEST(test_broadcast_transpose)
{
    world w;
    open_main(&w, "%x: f32[2,3] input \"x\") -> (f32[3,4,2])",
              "%1 = broadcast %x {axes=[0,2]} : f32[2,4,3]\n"
              "%2 = transpose %1 {perm=[2,1,0]} : f32[3,4,2]\n"
              "return %2\n");
    float *x = world_random(&w, "x", RLX_F32, SHAPE(2, 3))->data;
    rlx_eval_tensor y = world_run(&w);
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 4; j++)
            for (int k = 0; k < 2; k++)
                ck_assert(same_bits(f32_at(&y, (i * 4 + j) * 2 + k), x[k * 3 + i]));
    free(y.data);
    world_close(&w);
}
END_TEST

START_TEST(test_broadcast_scalar)
{
    world w;
    open_main(&w, ") -> (i16[2,2])",
              "%c = const {value=-7} : i16\n%1 = broadcast %c {axes=[]} : i16[2,2]\nreturn %1\n");
    rlx_eval_tensor y = world_run(&w);
    const int16_t want[] = {-7, -7, -7, -7};
    ck_assert_mem_eq(y.data, want, sizeof want);
    free(y.data);
    world_close(&w);
}
END_TEST

START_TEST(test_slice_concat_reshape)
{
    world w;
    open_main(&w, "%x: f32[T,5] input \"x\", %z: f32[T,1] input \"z\") -> (f32[T,2,2])",
              "%1 = slice %x {axis=1, start=1, size=3} : f32[T,3]\n"
              "%2 = concat %z, %1 {axis=1} : f32[T,4]\n"
              "%3 = reshape %2 : f32[T,2,2]\n"
              "return %3\n");
    world_symbol(&w, "T", 2);
    memcpy(world_tensor(&w, "x", RLX_F32, SHAPE(2, 5))->data,
           (float[]){0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, 40);
    memcpy(world_tensor(&w, "z", RLX_F32, SHAPE(2, 1))->data, (float[]){-1, -2}, 8);
    rlx_eval_tensor y = world_run(&w);
    expect_f32(&y, (float[]){-1, 1, 2, 3, -2, 6, 7, 8}, 8);
    ck_assert_int_eq(y.rank, 3);
    free(y.data);
    world_close(&w);
}
END_TEST

START_TEST(test_empty_extent)
{
    world w;
    open_main(&w, "%x: f32[T,5] input \"x\", %w: f32[3,5] input \"w\") -> (f32[T,3])",
              "%1 = slice %x {axis=1, start=0, size=5} : f32[T,5]\n"
              "%2 = contract %1, %w {lanes=16} : f32[T,3]\n"
              "return %2\n");
    world_symbol(&w, "T", 0);
    world_tensor(&w, "x", RLX_F32, SHAPE(0, 5));
    world_tensor(&w, "w", RLX_F32, SHAPE(3, 5));
    rlx_eval_tensor y = world_run(&w);
    ck_assert_int_eq(y.dim[0], 0);
    free(y.data);
    world_close(&w);
}
END_TEST

/* ---- pages and attention
 * ---------------------------------------------------------------------------------- */

/* Two sequences in pages of 16 positions, out of order in the pool; N=4 heads over G=2, D=3. */
enum { PAGES = 7, SLOTS = 3, N = 4, G = 2, D = 3, P = 16 };
static const int32_t page_table[2 * SLOTS] = {5, 0, 3, 1, 6, 2};

static const char attention_text[] =
    "%q: f32[T,4,3] input \"q\", %k: f32[PAGES,2,3,16] state \"k\",\n"
    " %v: f32[PAGES,2,16,3] state \"v\", %pos: i32[T] input \"pos\",\n"
    " %seq: i32[T] input \"seq\", %t: i32[SEQS,SLOTS] input \"t\"";

static void fill_pages(world *w, int64_t tokens)
{
    world_symbol(w, "T", tokens);
    world_symbol(w, "PAGES", PAGES);
    world_symbol(w, "SEQS", 2);
    world_symbol(w, "SLOTS", SLOTS);
    world_random(w, "k", RLX_F32, SHAPE(PAGES, G, D, P));
    world_random(w, "v", RLX_F32, SHAPE(PAGES, G, P, D));
    memcpy(world_tensor(w, "t", RLX_I32, SHAPE(2, SLOTS))->data, page_table, sizeof page_table);
}

START_TEST(test_page_write)
{
    world w;
    char sig[512];
    snprintf(sig, sizeof sig, "%%x: f32[T,2,3] input \"x\", %s) -> (f32[T,4,3])", attention_text);
    open_main(&w, sig,
              "%1 = page_write %k, %x, %pos, %seq, %t {kind=\"k\"} : f32[PAGES,2,3,16]\n"
              "%2 = page_write %v, %x, %pos, %seq, %t {kind=\"v\"} : f32[PAGES,2,16,3]\n"
              "return %q\n");
    fill_pages(&w, 3);
    world_random(&w, "q", RLX_F32, SHAPE(3, N, D));
    const float *x = world_random(&w, "x", RLX_F32, SHAPE(3, G, D))->data;
    const int32_t pos[] = {15, 16, 33}, seq[] = {0, 1, 0};
    int32_t *positions = world_ints(&w, "pos", 3, pos)->data;
    int32_t *sequences = world_ints(&w, "seq", 3, seq)->data;
    float *k = world_find(&w, RLX_ROLE_STATE, "k")->data;
    float *v = world_find(&w, RLX_ROLE_STATE, "v")->data;
    static float old_k[PAGES * G * D * P], old_v[PAGES * G * D * P];
    memcpy(old_k, k, sizeof old_k);
    memcpy(old_v, v, sizeof old_v);
    rlx_eval_tensor y = world_run(&w);
    free(y.data);
    for (int t = 0; t < 3; t++) {
        int page = page_table[seq[t] * SLOTS + pos[t] / P], at = pos[t] % P;
        for (int h = 0; h < G; h++)
            for (int d = 0; d < D; d++) {
                float want = x[(t * G + h) * D + d];
                int ik = ((page * G + h) * D + d) * P + at, iv = ((page * G + h) * P + at) * D + d;
                ck_assert(same_bits(k[ik], want) && same_bits(v[iv], want));
                old_k[ik] = old_v[iv] = want;
            }
    }
    ck_assert_mem_eq(k, old_k, sizeof old_k); /* and nothing else was touched */
    ck_assert_mem_eq(v, old_v, sizeof old_v);
    positions[1] = SLOTS * P;
    assert_error(rlx_mir_eval(w.module, "main", &w.env, &y, 1), RLX_INVALID_ARGUMENT,
                 "sequence 1 has no slot 3 in a table of 2x3");
    positions[1] = -1;
    assert_error(rlx_mir_eval(w.module, "main", &w.env, &y, 1), RLX_INVALID_ARGUMENT,
                 "page_write: token 1 at position -1");
    positions[1] = 0;
    sequences[1] = 2;
    assert_error(rlx_mir_eval(w.module, "main", &w.env, &y, 1), RLX_INVALID_ARGUMENT,
                 "sequence 2 has no slot 0");
    sequences[1] = 1;
    ((int32_t *)world_find(&w, RLX_ROLE_INPUT, "t")->data)[SLOTS] = PAGES;
    assert_error(rlx_mir_eval(w.module, "main", &w.env, &y, 1), RLX_INVALID_ARGUMENT,
                 "slot 0 of sequence 1 is page 7 of 7");
    world_close(&w);
}
END_TEST

/* Softmax attention of one head in f64 over positions first..pos at once. */
static void plain_attention(const world *w, const float *q, int seq, int first, int pos, int kv,
                            double *o)
{
    world *x = (world *)w;
    const float *k = world_find(x, RLX_ROLE_STATE, "k")->data;
    const float *v = world_find(x, RLX_ROLE_STATE, "v")->data;
    double sum = 0;
    memset(o, 0, sizeof *o * D);
    for (int j = first; j <= pos; j++) {
        int page = page_table[seq * SLOTS + j / P], at = j % P;
        double s = 0;
        for (int d = 0; d < D; d++)
            s += (double)q[d] * k[((page * G + kv) * D + d) * P + at];
        double p = exp(s * 0.7);
        sum += p;
        for (int d = 0; d < D; d++)
            o[d] += p * v[((page * G + kv) * P + at) * D + d];
    }
    for (int d = 0; d < D; d++)
        o[d] /= sum;
}

static void open_attention_with(world *w, const char *window)
{
    char sig[512], body[160];
    snprintf(sig, sizeof sig, "%s) -> (f32[T,4,3])", attention_text);
    snprintf(body, sizeof body,
             "%%o = attention %%q, %%k, %%v, %%pos, %%seq, %%t {scale=0.7%s} : f32[T,4,3]\n"
             "return %%o\n",
             window);
    open_main(w, sig, body);
}

static void open_attention(world *w)
{
    open_attention_with(w, "");
}

static const int32_t att_pos[] = {0, 3, 15, 16, 31, 32, 47, 0, 20};
static const int32_t att_seq[] = {0, 0, 1, 0, 1, 0, 1, 1, 1};
enum { ATT = sizeof att_pos / sizeof *att_pos };

START_TEST(test_attention)
{
    world w;
    open_attention(&w);
    fill_pages(&w, ATT);
    const float *q = world_random(&w, "q", RLX_F32, SHAPE(ATT, N, D))->data;
    world_ints(&w, "pos", ATT, att_pos);
    world_ints(&w, "seq", ATT, att_seq);
    rlx_eval_tensor y = world_run(&w);
    for (int t = 0; t < ATT; t++)
        for (int h = 0; h < N; h++) {
            double o[D];
            plain_attention(&w, q + (t * N + h) * D, att_seq[t], 0, att_pos[t], h / (N / G), o);
            for (int d = 0; d < D; d++)
                ck_assert_double_eq_tol(f32_at(&y, (t * N + h) * D + d), o[d], 1e-6);
        }
    free(y.data);
    world_close(&w);
}
END_TEST

/* A token's bits do not depend on what else is in the batch. */
START_TEST(test_attention_alone)
{
    world w;
    open_attention(&w);
    fill_pages(&w, ATT);
    rlx_eval_tensor *q = world_random(&w, "q", RLX_F32, SHAPE(ATT, N, D));
    float all_q[ATT * N * D];
    memcpy(all_q, q->data, sizeof all_q);
    world_ints(&w, "pos", ATT, att_pos);
    world_ints(&w, "seq", ATT, att_seq);
    rlx_eval_tensor batch = world_run(&w);
    world_symbol(&w, "T", 1);
    for (int t = 0; t < ATT; t++) {
        q = world_tensor(&w, "q", RLX_F32, SHAPE(1, N, D));
        memcpy(q->data, all_q + t * N * D, sizeof(float) * N * D);
        world_ints(&w, "pos", 1, att_pos + t);
        world_ints(&w, "seq", 1, att_seq + t);
        rlx_eval_tensor y = world_run(&w);
        ck_assert_mem_eq(y.data, (float *)batch.data + t * N * D, sizeof(float) * N * D);
        free(y.data);
    }
    free(batch.data);
    world_close(&w);
}
END_TEST

/* With a window, keys before it (be they NaN) do not matter, nor do their pages (be they nowhere).
 */
START_TEST(test_attention_window)
{
    static const int windows[] = {1, 5, 16, 17, 40, 100};
    const int window = windows[_i];
    world w;
    char attr[32];
    snprintf(attr, sizeof attr, ", window=%d", window);
    open_attention_with(&w, attr);
    fill_pages(&w, 1);
    const float *q = world_random(&w, "q", RLX_F32, SHAPE(1, N, D))->data;
    world_ints(&w, "seq", 1, (int32_t[]){1});
    float *v = world_find(&w, RLX_ROLE_STATE, "v")->data, old[PAGES * G * P * D];
    int32_t *table = world_find(&w, RLX_ROLE_INPUT, "t")->data;
    memcpy(old, v, sizeof old);
    for (int pos = 0; pos < SLOTS * P; pos++) {
        const int first = pos >= window ? pos - window + 1 : 0;
        double o[N][D];
        world_ints(&w, "pos", 1, (int32_t[]){pos});
        for (int h = 0; h < N; h++)
            plain_attention(&w, q + h * D, 1, first, pos, h / (N / G), o[h]);
        for (int j = 0; j < first; j++)
            for (int i = 0; i < G * D; i++)
                v[((page_table[SLOTS + j / P] * G + i / D) * P + j % P) * D + i % D] = NAN;
        for (int slot = 0; slot < first / P; slot++)
            table[SLOTS + slot] = -1;
        rlx_eval_tensor y = world_run(&w);
        for (int i = 0; i < N * D; i++)
            ck_assert_double_eq_tol(f32_at(&y, i), o[i / D][i % D], 1e-6);
        free(y.data);
        memcpy(v, old, sizeof old);
        memcpy(table, page_table, sizeof page_table);
    }
    world_close(&w);
}
END_TEST

/* What lies beyond the last position of a sequence, be it NaN, does not matter: no query sees it,
 * nor one with a block that ends there. */
START_TEST(test_attention_mask)
{
    world w;
    open_attention_with(&w, _i ? ", block=16" : "");
    fill_pages(&w, 2);
    world_random(&w, "q", RLX_F32, SHAPE(2, N, D));
    world_ints(&w, "pos", 2, (int32_t[]){16, 17});
    world_ints(&w, "seq", 2, (int32_t[]){0, 0});
    rlx_eval_tensor a = world_run(&w);
    float *k = world_find(&w, RLX_ROLE_STATE, "k")->data;
    float *v = world_find(&w, RLX_ROLE_STATE, "v")->data;
    int page = page_table[1];
    for (int h = 0; h < G; h++)
        for (int d = 0; d < D; d++)
            for (int j = 2; j < P; j++)
                k[((page * G + h) * D + d) * P + j] = v[((page * G + h) * P + j) * D + d] = NAN;
    rlx_eval_tensor b = world_run(&w);
    ck_assert_mem_eq(a.data, b.data, sizeof(float) * 2 * N * D);
    const float *q = world_find(&w, RLX_ROLE_INPUT, "q")->data;
    for (int i = 0; i < 2 * N; i++) { /* with a block both see both */
        double o[D];
        plain_attention(&w, q + i * D, 0, 0, i < N && !_i ? 16 : 17, i % N / (N / G), o);
        for (int d = 0; d < D; d++)
            ck_assert_double_eq_tol(f32_at(&b, i * D + d), o[d], 1e-6);
    }
    free(a.data);
    free(b.data);
    world_close(&w);
}
END_TEST

/* ---- functions
 * ---------------------------------------------------------------------------------------------- */

static const char layers_text[] =
    "mir module @t {\n"
    " func @layer(%x: f32[T], %more: f32[T], %w: f32 weight \"layers.{}.w\",\n"
    "   %s: f32 state \"layers.{}.s\") -> (f32[T]) {\n"
    "  %1 = map %x, %w {fn=mul} : f32[T]  // layers.mul\n"
    "  %2 = map %1, %more {fn=add} : f32[T]\n"
    "  return %2\n"
    " }\n"
    " func @main(%x: f32[T], %more: f32[T] input \"more\") -> (f32[T]) {\n"
    "  %1 = call %x, %more {callee=@layer, first=2, count=3} : f32[T]  // layers\n"
    "  return %1\n"
    " }\n"
    "}\n";

static void open_layers(world *w)
{
    static const char *const weights[] = {"layers.2.w", "layers.3.w", "layers.4.w"};
    static const char *const states[] = {"layers.2.s", "layers.3.s", "layers.4.s"};
    world_open(w, layers_text);
    world_symbol(w, "T", 2);
    for (int i = 0; i < 3; i++) {
        *(float *)world_tensor(w, weights[i], RLX_F32, SHAPE())->data = (float)(i + 2);
        world_tensor(w, states[i], RLX_F32, SHAPE());
    }
    world_floats(w, "x", 2, (float[]){1, 10});
    world_floats(w, "more", 2, (float[]){0.5f, 0.25f});
}

START_TEST(test_call)
{
    world w;
    open_layers(&w);
    rlx_eval_tensor y = world_run(&w); /* ((1*2 + .5)*3 + .5)*4 + .5 */
    expect_f32(&y, (float[]){32.5f, 244.25f}, 2);
    free(y.data);
    world_close(&w);
}
END_TEST

static void expect_failure(world *w, rlx_code code, const char *part)
{
    rlx_eval_tensor y;
    assert_error(rlx_mir_eval(w->module, "main", &w->env, &y, 1), code, part);
    ck_assert_ptr_null(y.data);
}

START_TEST(test_binding_errors)
{
    world w;
    open_layers(&w);
    rlx_eval_tensor y[2];
    assert_error(rlx_mir_eval(w.module, "nain", &w.env, y, 1), RLX_NOT_FOUND,
                 "no function @nain to evaluate");
    assert_error(rlx_mir_eval(w.module, "main", &w.env, y, 2), RLX_INVALID_ARGUMENT,
                 "@main has 1 results, not 2");
    world_find(&w, RLX_ROLE_WEIGHT, "layers.3.w")->name = "other";
    expect_failure(&w, RLX_NOT_FOUND, "no tensor \"layers.3.w\" for @layer");
    expect_failure(&w, RLX_NOT_FOUND, "evaluating @layer for layer 3");
    expect_failure(&w, RLX_NOT_FOUND, "evaluating call at layers");
    world_find(&w, RLX_ROLE_WEIGHT, "other")->name = "layers.3.w";
    world_find(&w, RLX_ROLE_INPUT, "x")->dim[0] = 1;
    expect_failure(&w, RLX_INVALID_ARGUMENT, "axis 0 of \"x\" is 1, @main wants 2");
    world_find(&w, RLX_ROLE_INPUT, "x")->rank = 0;
    expect_failure(&w, RLX_INVALID_ARGUMENT, "\"x\" is f32 of rank 0, @main wants f32 of rank 1");
    world_find(&w, RLX_ROLE_INPUT, "x")->format = RLX_I32;
    expect_failure(&w, RLX_INVALID_ARGUMENT, "\"x\" is i32 of rank 0, @main wants f32 of rank 1");
    world_close(&w);
}
END_TEST

/* A pass that clones after an evaluation must not meet pointers to dead tensors. */
START_TEST(test_leaves_no_scratch)
{
    world w;
    open_layers(&w);
    rlx_eval_tensor y = world_run(&w);
    free(y.data);
    for (const rlx_ir_func *f = w.module->first; f; f = f->next) {
        for (int i = 0; i < f->body->nargs; i++)
            ck_assert_ptr_null(f->body->args[i]->scratch);
        for (const rlx_ir_node *n = f->body->first; n; n = n->next)
            for (int i = 0; i < n->nout; i++)
                ck_assert_ptr_null(n->out[i]->scratch);
    }
    world_close(&w);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("mir_eval");
    TCase *t = tcase_create("ops");
    tcase_add_loop_test(t, test_map_f32, 0, NFLOAT_FNS);
    tcase_add_test(t, test_map_scalar_operand);
    tcase_add_test(t, test_map_ints);
    tcase_add_test(t, test_map_f16_rounds);
    tcase_add_test(t, test_cast_to_bf16);
    tcase_add_test(t, test_cast_ints);
    tcase_add_loop_test(t, test_reduce_add, 0, NSUMS);
    tcase_add_test(t, test_reduce_max);
    tcase_add_loop_test(t, test_contract, 0, NSUMS);
    tcase_add_loop_test(t, test_contract_matrices, 0, NSUMS);
    tcase_add_test(t, test_gather);
    tcase_add_test(t, test_broadcast_transpose);
    tcase_add_test(t, test_broadcast_scalar);
    tcase_add_test(t, test_slice_concat_reshape);
    tcase_add_test(t, test_empty_extent);
    tcase_add_test(t, test_page_write);
    tcase_add_test(t, test_attention);
    tcase_add_test(t, test_attention_alone);
    tcase_add_loop_test(t, test_attention_window, 0, 6);
    tcase_add_loop_test(t, test_attention_mask, 0, 2);
    tcase_add_test(t, test_call);
    tcase_add_test(t, test_binding_errors);
    tcase_add_test(t, test_leaves_no_scratch);
    suite_add_tcase(s, t);
    return run_suite(s, 48);
}
