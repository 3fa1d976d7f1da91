/* arena, status, text, hash, formats, scalar functions */
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/base/arena.h"
#include "runtime/base/format.h"
#include "runtime/base/hash.h"
#include "runtime/base/ir/exp_poly.h"
#include "runtime/base/ir/ir.h"
#include "runtime/base/text.h"
#include "tests/base/suite.h"

/* ---- arena
 * --------------------------------------------------------------------------------------- */

START_TEST(arena_gives_zeroed_aligned_memory)
{
    rlx_arena *a = rlx_arena_create();
    size_t total = 0;
    unsigned char *all[300];
    for (int i = 0; i < 300; i++) {
        size_t n = i == 250 ? 3u << 20 : (size_t)(i * 37 % 700);
        all[i] = rlx_arena_alloc(a, n);
        ck_assert_ptr_nonnull(all[i]);
        ck_assert_uint_eq((uintptr_t)all[i] % 16, 0);
        for (size_t k = 0; k < n; k++)
            ck_assert_uint_eq(all[i][k], 0);
        memset(all[i], i, n);
        total += n;
    }
    for (int i = 0; i < 300; i++) /* nobody wrote into another's memory */
        for (size_t k = 0; k < (size_t)(i * 37 % 700) && i != 250; k++)
            ck_assert_uint_eq(all[i][k], (unsigned char)i);
    ck_assert_uint_eq(rlx_arena_bytes(a), total);
    ck_assert_ptr_null(rlx_arena_alloc(a, SIZE_MAX - 8));
    ck_assert_str_eq(rlx_arena_strndup(a, "tokens", 3), "tok");
    ck_assert_str_eq(rlx_arena_strdup(a, "tokens"), "tokens");
    ck_assert_str_eq(rlx_arena_printf(a, "%s.%d", "layers", 7), "layers.7");
    int64_t list[] = {3, 4};
    ck_assert_mem_eq(rlx_arena_copy(a, list, sizeof(list)), list, sizeof(list));
    rlx_arena_destroy(a);
    rlx_arena_destroy(NULL);
}
END_TEST

/* ---- status
 * -------------------------------------------------------------------------------------- */

static rlx_status inner(void)
{
    return RLX_FAIL(RLX_NOT_FOUND, "no tensor '%s'", "w");
}

static rlx_status outer(void)
{
    RLX_TRY_NOTE(inner(), "loading %d weights", 3);
    return RLX_OK;
}

START_TEST(status_tells_a_story)
{
    rlx_status st = outer();
    ck_assert_int_eq(rlx_status_code(st), RLX_NOT_FOUND);
    ck_assert_str_eq(rlx_status_message(st), "no tensor 'w'");
    char *text = rlx_status_text(st);
    ck_assert_msg(strncmp(text, "not found: loading 3 weights (tests/base/test_base.c:", 52) == 0,
                  "%s", text);
    ck_assert_ptr_nonnull(strstr(text, "\n  caused by: no tensor 'w' (tests/base/test_base.c:"));
    free(text);
    rlx_status_free(st);
    rlx_status_free(NULL);
    ck_assert_int_eq(rlx_status_code(RLX_OK), RLX_CODE_OK);
    ck_assert_ptr_null(rlx_status_note(RLX_OK, __FILE__, __LINE__, "nothing happened"));
    for (int c = RLX_CODE_OK; c <= RLX_INTERNAL; c++)
        ck_assert_str_ne(rlx_code_name((rlx_code)c), "unknown code");
}
END_TEST

/* ---- text
 * ---------------------------------------------------------------------------------------- */

START_TEST(text_grows)
{
    rlx_text t = {0};
    for (int i = 0; i < 1000; i++)
        rlx_text_putf(&t, "%d,", i);
    rlx_text_put_bytes(&t, "\0x", 2);
    ck_assert_uint_eq(t.len, 10 * 2 + 90 * 3 + 900 * 4 + 2);
    ck_assert_int_eq(t.data[t.len], 0);
    rlx_text_clear(&t);
    rlx_text_put(&t, "abc");
    char *s = rlx_text_take(&t);
    ck_assert_str_eq(s, "abc");
    free(s);
    ck_assert_ptr_null(t.data);
    s = rlx_text_take(&t);
    ck_assert_str_eq(s, "");
    free(s);
    rlx_text_deinit(&t);
}
END_TEST

static void check_double(double v)
{
    rlx_text t = {0};
    rlx_text_put_double(&t, v);
    const char *s = t.data;
    double back;
    ck_assert(rlx_text_parse_double(&s, &back));
    ck_assert_msg(*s == 0, "%s", t.data);
    ck_assert_msg(memcmp(&back, &v, sizeof(v)) == 0, "%a came back as %a", v, back);
    rlx_text_deinit(&t);
}

START_TEST(doubles_read_back)
{
    static const struct {
        double v;
        const char *text;
    } shortest[] = {{0.1, "0.1"},
                    {1, "1"},
                    {-0.0, "-0"},
                    {1e-5, "1e-05"},
                    {1e22, "1e+22"},
                    {0.25, "0.25"},
                    {INFINITY, "inf"},
                    {-INFINITY, "-inf"},
                    {1.0 / 3, "0.3333333333333333"}};
    for (size_t i = 0; i < sizeof(shortest) / sizeof(shortest[0]); i++) {
        rlx_text t = {0};
        rlx_text_put_double(&t, shortest[i].v);
        ck_assert_str_eq(t.data, shortest[i].text);
        rlx_text_deinit(&t);
        check_double(shortest[i].v);
    }
    check_double(DBL_MIN);
    check_double(DBL_MAX);
    check_double(DBL_TRUE_MIN);
    uint64_t x = 88172645463325252u;
    for (int i = 0; i < 20000; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        double v;
        memcpy(&v, &x, sizeof(v));
        if (isfinite(v))
            check_double(v);
    }
    const char *s = "word";
    double v;
    ck_assert(!rlx_text_parse_double(&s, &v));
    ck_assert_str_eq(s, "word");
}
END_TEST

START_TEST(nearest_word)
{
    static const char *const words[] = {"run", "inspect", "eval", "bench"};
    ck_assert_str_eq(rlx_text_nearest("inspct", words, 4), "inspect");
    ck_assert_str_eq(rlx_text_nearest("rnu", words, 4), "run");
    ck_assert_str_eq(rlx_text_nearest("evals", words, 4), "eval");
    ck_assert_str_eq(rlx_text_nearest("bench", words, 4), "bench");
    ck_assert_ptr_null(rlx_text_nearest("transcribe", words, 4));
    ck_assert_ptr_null(rlx_text_nearest("", words, 4));
}
END_TEST

START_TEST(files)
{
    char path[] = "/tmp/rlx-test-XXXXXX";
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    static char big[200001];
    memset(big, 'x', sizeof(big));
    ck_assert_int_eq(write(fd, big, sizeof(big)), (ssize_t)sizeof(big));
    close(fd);
    char *data;
    size_t n;
    assert_ok(rlx_file_read(path, &data, &n));
    ck_assert_uint_eq(n, sizeof(big));
    ck_assert_mem_eq(data, big, n);
    ck_assert_int_eq(data[n], 0);
    free(data);
    unlink(path);
    assert_error(rlx_file_read(path, &data, &n), RLX_NOT_FOUND, path);
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    assert_error(rlx_file_read(path, &data, &n), RLX_IO, "a pipe");
    unlink(path);
    assert_error(rlx_file_read("/", &data, &n), RLX_IO, "'/'");
    assert_ok(rlx_file_read("/dev/null", &data, &n));
    ck_assert_uint_eq(n, 0);
    ck_assert_str_eq(data, "");
    free(data);
}
END_TEST

START_TEST(hashes)
{
    /* BLAKE2b-256 of "" and "abc", RFC 7693's function with a 32-byte digest */
    char hex[65];
    rlx_hash_hex(rlx_hash_bytes(NULL, 0), hex);
    ck_assert_str_eq(hex, "0e5751c026e543b2e8ab2eb06099daa1d1e5df47778f7787faab45cdf12fe3a8");
    rlx_hash_hex(rlx_hash_bytes("abc", 3), hex);
    ck_assert_str_eq(hex, "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319");
}
END_TEST

/* ---- formats
 * -------------------------------------------------------------------------------------- */

START_TEST(format_table)
{
    ck_assert_int_eq(rlx_format_parse("bf16", 4), RLX_BF16);
    ck_assert_int_eq(rlx_format_parse("bf16[", 4), RLX_BF16);
    ck_assert_int_eq(rlx_format_parse("bf1", 3), RLX_FORMAT_NONE);
    ck_assert_int_eq(rlx_format_parse("none", 4), RLX_FORMAT_NONE);
    ck_assert(rlx_format_is_float(RLX_F16) && !rlx_format_is_float(RLX_I32));
    ck_assert(rlx_format_is_int(RLX_U8) && !rlx_format_is_int(RLX_BOOL));
    ck_assert_uint_eq(rlx_format_bytes(RLX_BF16, 7), 14);
    for (int f = RLX_FORMAT_NONE + 1; f < RLX_FORMAT_COUNT; f++) {
        const char *name = rlx_format_get((rlx_format)f)->name;
        ck_assert_int_eq(rlx_format_parse(name, strlen(name)), f);
    }
}
END_TEST

/* A 16-bit float's value by its definition. */
static double value_of(uint16_t h, int mantissa_bits, int bias)
{
    int exponent_bits = 15 - mantissa_bits, most = (1 << exponent_bits) - 1;
    int e = h >> mantissa_bits & most, m = h & ((1 << mantissa_bits) - 1);
    double sign = h & 0x8000 ? -1 : 1;
    if (e == most)
        return m ? NAN : sign * INFINITY;
    if (e == 0)
        return sign * ldexp(m, 1 - bias - mantissa_bits);
    return sign * ldexp(m + (1 << mantissa_bits), e - bias - mantissa_bits);
}

typedef struct half {
    rlx_format format;
    int mantissa_bits, bias;
    float (*widen)(uint16_t);
    uint16_t (*narrow)(float);
} half;

static const half halves[] = {{RLX_F16, 10, 15, rlx_f16_to_f32, rlx_f32_to_f16},
                              {RLX_BF16, 7, 127, rlx_bf16_to_f32, rlx_f32_to_bf16}};

START_TEST(halves_widen_and_come_back)
{
    const half *k = &halves[_i];
    for (uint32_t h = 0; h <= 0xffff; h++) {
        double want = value_of((uint16_t)h, k->mantissa_bits, k->bias);
        float got = k->widen((uint16_t)h);
        uint16_t u = (uint16_t)h, back = k->narrow(got), stored;
        rlx_format_store(k->format, &stored, 0, rlx_format_load(k->format, &u, 0));
        if (isnan(want)) {
            ck_assert(isnan(got) && isnan(k->widen(back)) && isnan(k->widen(stored)));
            continue;
        }
        ck_assert_msg(got == want && !signbit(got) == !signbit(want), "%04x is %a, not %a", h, got,
                      want);
        ck_assert_uint_eq(back, h);
        ck_assert_uint_eq(stored, h);
    }
}
END_TEST

/* Between every two neighbours: a little below, at and above their midpoint, from float and from
 * double (which must not be rounded twice). */
START_TEST(halves_round_to_nearest_even)
{
    const half *k = &halves[_i];
    uint16_t infinity = (uint16_t)(((1 << (15 - k->mantissa_bits)) - 1) << k->mantissa_bits);
    for (uint16_t h = 0; h < infinity; h++) {
        uint16_t up = (uint16_t)(h + 1), even = h & 1 ? up : h;
        double lo = value_of(h, k->mantissa_bits, k->bias);
        double hi = up == infinity
                        ? lo + (lo - value_of((uint16_t)(h - 1), k->mantissa_bits, k->bias))
                        : value_of(up, k->mantissa_bits, k->bias);
        double mid = (lo + hi) / 2;
        for (int sign = 0; sign < 2; sign++) {
            double s = sign ? -1 : 1;
            uint16_t bit = sign ? 0x8000 : 0, got;
            rlx_format_store(k->format, &got, 0, s * mid);
            ck_assert_uint_eq(got, even | bit);
            rlx_format_store(k->format, &got, 0, s * nextafter(mid, 0));
            ck_assert_uint_eq(got, h | bit);
            rlx_format_store(k->format, &got, 0, s * nextafter(mid, INFINITY));
            ck_assert_uint_eq(got, up | bit);
            if ((double)(float)mid != mid) /* the midpoint of tiny bf16 is no float */
                continue;
            ck_assert_uint_eq(k->narrow((float)(s * mid)), even | bit);
            ck_assert_uint_eq(k->narrow((float)s * nextafterf((float)mid, 0)), h | bit);
            ck_assert_uint_eq(k->narrow((float)s * nextafterf((float)mid, INFINITY)), up | bit);
        }
    }
}
END_TEST

START_TEST(integers_saturate)
{
    static const struct {
        rlx_format f;
        double v, want;
    } cases[] = {{RLX_I8, 127.6, 127},      {RLX_I8, -1e9, -128},      {RLX_I8, 2.5, 2},
                 {RLX_I8, 3.5, 4},          {RLX_I16, 1e9, 32767},     {RLX_I32, -3e9, INT32_MIN},
                 {RLX_I32, 3e9, INT32_MAX}, {RLX_U8, -1, 0},           {RLX_U8, 255.5, 255},
                 {RLX_I64, 1e30, 0x1p63},   {RLX_I64, -1e30, -0x1p63}, {RLX_I32, NAN, 0},
                 {RLX_BOOL, -3, 1},         {RLX_BOOL, 0, 0},          {RLX_F32, 0.1, 0.1f},
                 {RLX_F64, 0.1, 0.1}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char memory[24];
        memset(memory, 0x5a, sizeof(memory));
        rlx_format_store(cases[i].f, memory, 1, cases[i].v);
        ck_assert_double_eq(rlx_format_load(cases[i].f, memory, 1), cases[i].want);
        int bytes = rlx_format_get(cases[i].f)->block_bytes;
        ck_assert_int_eq(memory[bytes - 1], 0x5a);
        ck_assert_int_eq(memory[2 * bytes], 0x5a);
    }
}
END_TEST

static bool has_value(double v, float got)
{
    return isnan(v) ? isnan(got) : (float)v == got;
}

/* What block formats have: group, bits of codes (8: bytes or values), signs, minima, least and most
 * code. */
static const struct {
    int group, bits, is_signed, has_min, least, most;
} block_facts[RLX_FORMAT_COUNT] = {
    [RLX_Q8_0] = {32, 8, 1, 0, -128, 127},   [RLX_Q8_1] = {32, 8, 1, 0, -128, 127},
    [RLX_Q8_K] = {32, 8, 1, 0, -128, 127},   [RLX_Q4_0] = {32, 4, 1, 0, -8, 7},
    [RLX_Q4_1] = {32, 4, 0, 1, 0, 15},       [RLX_Q5_0] = {32, 5, 1, 0, -16, 15},
    [RLX_Q5_1] = {32, 5, 0, 1, 0, 31},       [RLX_Q2_K] = {16, 2, 0, 1, 0, 3},
    [RLX_Q3_K] = {16, 3, 1, 0, -4, 3},       [RLX_Q4_K] = {32, 4, 0, 1, 0, 15},
    [RLX_Q5_K] = {32, 5, 0, 1, 0, 31},       [RLX_Q6_K] = {16, 6, 1, 0, -32, 31},
    [RLX_Q1_0] = {32, 8, 1, 0, -1, 1},       [RLX_Q2_0] = {32, 2, 1, 0, -1, 2},
    [RLX_Q2_0_128] = {32, 2, 1, 0, -1, 2},   [RLX_TQ1_0] = {32, 2, 1, 0, -1, 1},
    [RLX_TQ2_0] = {32, 2, 1, 0, -1, 2},      [RLX_MXFP4] = {32, 8, 1, 0, -12, 12},
    [RLX_NVFP4] = {16, 8, 1, 0, -12, 12},    [RLX_IQ4_NL] = {32, 8, 1, 0, -127, 113},
    [RLX_IQ4_XS] = {32, 8, 1, 0, -127, 113}, [RLX_IQ3_S] = {32, 8, 1, 0, -15, 15},
    [RLX_IQ3_XXS] = {32, 8, 1, 0, -62, 62},  [RLX_IQ2_S] = {16, 8, 1, 0, -43, 43},
    [RLX_IQ2_XS] = {16, 8, 1, 0, -43, 43},   [RLX_IQ2_XXS] = {32, 8, 1, 0, -43, 43},
    [RLX_IQ1_M] = {16, 8, 1, 0, -9, 9},      [RLX_IQ1_S] = {32, 8, 1, 0, -9, 9}};

/* Codes, scales and minima are the decoded values: all products are exact, and one sum is rounded.
 */
START_TEST(blocks_split_into_codes_scales_and_minima)
{
    enum { ELEMS = 1024 };
    rlx_format f = (rlx_format)_i;
    if (rlx_format_get(f)->kind != RLX_KIND_BLOCK)
        return;
    int group = rlx_format_group(f), groups = ELEMS / group, most = 0, least = 0;
    ck_assert_int_eq(group, block_facts[f].group);
    ck_assert_int_eq(rlx_format_code_bits(f), block_facts[f].bits);
    ck_assert_int_eq(rlx_format_signed_codes(f), block_facts[f].is_signed);
    ck_assert_int_eq(rlx_format_has_min(f), block_facts[f].has_min);
    uint8_t blocks[2048], code[ELEMS];
    float value[ELEMS], scale[ELEMS], min[ELEMS];
    ck_assert_uint_le(rlx_format_bytes(f, ELEMS), sizeof(blocks));
    rlx_format_make_blocks(f, blocks, ELEMS, 17);
    rlx_format_decode(f, blocks, 0, ELEMS, value);
    rlx_format_codes(f, blocks, 0, ELEMS, code);
    rlx_format_scales(f, blocks, 0, groups, scale);
    rlx_format_mins(f, blocks, 0, groups, min);
    for (int i = 0; i < ELEMS; i++) {
        int q = block_facts[f].is_signed ? (int8_t)code[i] : code[i];
        most = q > most ? q : most;
        least = q < least ? q : least;
        double v = (double)scale[i / group] * q - (double)min[i / group];
        ck_assert_msg(has_value(v, value[i]), "element %d is %g, not %g", i, value[i], v);
    }
    ck_assert_int_eq(most, block_facts[f].most);
    ck_assert_int_eq(least, block_facts[f].least);
    uint8_t some[96];
    float one[3];
    rlx_format_codes(f, blocks, 352, 96, some);
    ck_assert_mem_eq(some, code + 352, 96);
    rlx_format_scales(f, blocks, groups - 3, 3, one);
    ck_assert_mem_eq(one, scale + groups - 3, sizeof(one));
    rlx_format_mins(f, blocks, groups - 3, 3, one);
    ck_assert_mem_eq(one, min + groups - 3, sizeof(one));
}
END_TEST

/* ---- scalar functions
 * ------------------------------------------------------------------------------ */

static double f32(rlx_map_fn fn, double a, double b, double c)
{
    return rlx_map_fn_eval(fn, RLX_F32, (rlx_scalar[]){{.f = a}, {.f = b}, {.f = c}}).f;
}

static int64_t ints(rlx_map_fn fn, rlx_format f, int64_t a, int64_t b, int64_t c)
{
    return rlx_map_fn_eval(fn, f, (rlx_scalar[]){{.i = a}, {.i = b}, {.i = c}}).i;
}

START_TEST(map_fns_of_floats)
{
    ck_assert(f32(RLX_FN_ADD, 1, 0x1p-25, 0) == 1);
    ck_assert(f32(RLX_FN_SUB, 1, 0x1p-24, 0) == 1 - 0x1p-24);
    ck_assert(f32(RLX_FN_MUL, 0.1f, 0.1f, 0) == (double)(0.1f * 0.1f));
    ck_assert(f32(RLX_FN_DIV, 1, 3, 0) == (double)(1.0f / 3.0f));
    /* rounded once: 1 + 2^-12 + 2^-24 needs 25 bits */
    ck_assert(f32(RLX_FN_FMA, 1 + 0x1p-12, 1 + 0x1p-12, -1) == 0x1p-11 + 0x1p-24);
    ck_assert(f32(RLX_FN_RSQRT, 3, 0, 0) == (double)(1.0f / sqrtf(3.0f)));
    ck_assert(f32(RLX_FN_ROUND, 2.5, 0, 0) == 2 && f32(RLX_FN_ROUND, -3.5, 0, 0) == -4);
    ck_assert(f32(RLX_FN_MIN, NAN, 3, 0) == 3 && f32(RLX_FN_MAX, NAN, 3, 0) == 3);
    ck_assert(isnan(f32(RLX_FN_MIN, 3, NAN, 0)) && isnan(f32(RLX_FN_MAX, 3, NAN, 0)));
    ck_assert(f32(RLX_FN_ABS, -2, 0, 0) == 2 && f32(RLX_FN_NEG, -2, 0, 0) == 2);
    rlx_scalar in[] = {{.i = 0}, {.f = 5}, {.f = 7}};
    ck_assert(rlx_map_fn_eval(RLX_FN_SELECT, RLX_F32, in).f == 7);
    in[0].i = 1;
    ck_assert(rlx_map_fn_eval(RLX_FN_SELECT, RLX_F32, in).f == 5);
    rlx_scalar lt[] = {{.f = 1}, {.f = NAN}};
    ck_assert_int_eq(rlx_map_fn_eval(RLX_FN_LT, RLX_F32, lt).i, 0);
    lt[1].f = 2;
    ck_assert_int_eq(rlx_map_fn_eval(RLX_FN_LT, RLX_F32, lt).i, 1);
    rlx_scalar small[] = {{.f = 1}, {.f = 0x1p-9}};
    ck_assert(rlx_map_fn_eval(RLX_FN_ADD, RLX_BF16, small).f == 1);
    ck_assert(rlx_map_fn_eval(RLX_FN_ADD, RLX_F16, small).f == 1 + 0x1p-9);
    ck_assert(rlx_map_fn_eval(RLX_FN_RSQRT, RLX_F64, &(rlx_scalar){.f = 3}).f == 1 / sqrt(3.0));
}
END_TEST

START_TEST(map_fns_of_integers)
{
    ck_assert_int_eq(ints(RLX_FN_DIV, RLX_I64, -7, 2, 0), -4);
    ck_assert_int_eq(ints(RLX_FN_MOD, RLX_I64, -7, 2, 0), 1);
    ck_assert_int_eq(ints(RLX_FN_DIV, RLX_I64, 7, -2, 0), -4);
    ck_assert_int_eq(ints(RLX_FN_MOD, RLX_I64, 7, -2, 0), -1);
    ck_assert_int_eq(ints(RLX_FN_DIV, RLX_I64, INT64_MIN, -1, 0), INT64_MIN);
    ck_assert_int_eq(ints(RLX_FN_DIV, RLX_I64, 7, 0, 0), 0);
    ck_assert_int_eq(ints(RLX_FN_MOD, RLX_I64, 7, 0, 0), 0);
    ck_assert_int_eq(ints(RLX_FN_ADD, RLX_I32, INT32_MAX, 1, 0), INT32_MIN);
    ck_assert_int_eq(ints(RLX_FN_ADD, RLX_U8, 250, 10, 0), 4);
    ck_assert_int_eq(ints(RLX_FN_MUL, RLX_I8, 16, 16, 0), 0);
    ck_assert_int_eq(ints(RLX_FN_SHL, RLX_I32, 127, 23, 0), 127 << 23);
    ck_assert_int_eq(ints(RLX_FN_SHL, RLX_I32, -1, 31, 0), INT32_MIN);
    ck_assert_int_eq(ints(RLX_FN_SHL, RLX_I32, 1, 32, 0), 0);
    ck_assert_int_eq(ints(RLX_FN_FMA, RLX_I64, 3, 4, 5), 17);
    ck_assert_int_eq(ints(RLX_FN_MIN, RLX_I64, 3, -4, 0), -4);
    ck_assert_int_eq(ints(RLX_FN_LE, RLX_I64, 3, 3, 0), 1);
    ck_assert_int_eq(ints(RLX_FN_AND, RLX_BOOL, 1, 0, 0), 0);
    ck_assert_int_eq(ints(RLX_FN_OR, RLX_BOOL, 1, 0, 0), 1);
    ck_assert_int_eq(ints(RLX_FN_SELECT, RLX_I32, 1, 8, 9), 8);
    ck_assert(!rlx_map_fn_takes(RLX_FN_EXP, RLX_I32) && rlx_map_fn_takes(RLX_FN_EXP, RLX_F16));
    ck_assert(!rlx_map_fn_takes(RLX_FN_SHL, RLX_F32) && !rlx_map_fn_takes(RLX_FN_ADD, RLX_BOOL));
    rlx_map_fn fn;
    assert_ok(rlx_map_fn_parse("rsqrt)", 5, &fn));
    ck_assert_int_eq(fn, RLX_FN_RSQRT);
    assert_error(rlx_map_fn_parse("selct", 5, &fn), RLX_INVALID_IR, "did you mean 'select'");
}
END_TEST

/* Units in the last place of f32 between `got` and the exact value. */
static double ulps(float got, double exact)
{
    int e;
    frexp(exact, &e);
    double unit = ldexp(1, e - 24 < -149 ? -149 : e - 24);
    return fabs((double)got - exact) / unit;
}

START_TEST(exp_is_near_and_total)
{
    double worst = 0;
    float at = 0;
    int points = 0;
    for (float x = RLX_EXP_LO; x <= RLX_EXP_HI; points++) {
        double u = ulps(rlx_exp_f32(x), exp((double)x));
        if (u > worst) {
            worst = u;
            at = x;
        }
        uint32_t bits; /* every 997th float, and steps of at least 2^-20 near 0 */
        memcpy(&bits, &x, 4);
        bits = x < 0 ? bits - 997 : bits + 997;
        float next;
        memcpy(&next, &bits, 4);
        x = fabsf(next - x) < 0x1p-20f ? x + 0x1p-20f : next;
    }
    ck_assert_int_gt(points, 100000);
    ck_assert_msg(worst <= 1.0, "%g ulp at %a", worst, at);
    ck_assert(rlx_exp_f32(0) == 1);
    ck_assert(rlx_exp_f32(-INFINITY) == 0);
    ck_assert(rlx_exp_f32(nextafterf(RLX_EXP_LO, -INFINITY)) == 0);
    ck_assert(rlx_exp_f32(RLX_EXP_LO) >= FLT_MIN);
    ck_assert(isfinite(rlx_exp_f32(RLX_EXP_HI)));
    ck_assert(rlx_exp_f32(INFINITY) == rlx_exp_f32(RLX_EXP_HI));
    ck_assert(f32(RLX_FN_EXP, 1.5, 0, 0) == (double)rlx_exp_f32(1.5f));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("base");
    TCase *c = tcase_create("base");
    tcase_add_test(c, arena_gives_zeroed_aligned_memory);
    tcase_add_test(c, status_tells_a_story);
    tcase_add_test(c, text_grows);
    tcase_add_test(c, doubles_read_back);
    tcase_add_test(c, nearest_word);
    tcase_add_test(c, files);
    tcase_add_test(c, hashes);
    tcase_add_test(c, format_table);
    tcase_add_loop_test(c, halves_widen_and_come_back, 0, 2);
    tcase_add_loop_test(c, halves_round_to_nearest_even, 0, 2);
    tcase_add_test(c, integers_saturate);
    tcase_add_loop_test(c, blocks_split_into_codes_scales_and_minima, RLX_F32, RLX_FORMAT_COUNT);
    tcase_add_test(c, map_fns_of_floats);
    tcase_add_test(c, map_fns_of_integers);
    tcase_add_test(c, exp_is_near_and_total);
    tcase_set_timeout(c, 60);
    suite_add_tcase(s, c);
    return run_suite(s, 24);
}
