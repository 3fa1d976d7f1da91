/* Every kernel op against values worked out by hand. */
#include <math.h>

#include "tests/lir/kernel.h"

/* A kernel of one instance: `body` between the lines that every test needs. */
#define ONE(args, body)                 \
    "kernel @k(" args ") {\n"           \
    "  %one = const {ivalue=1} : i64\n" \
    "  grid %one (%g: i64) {\n" body "    yield\n  }\n  return\n}\n"
#define ZERO "    %z = const {ivalue=0} : i64\n"

START_TEST(loads_and_stores_along_axes)
{
    float x[2][3] = {{1, 2, 3}, {4, 5, 6}}, y[3][2] = {{0}};
    rlx_lir_buffer b[] = {BUFFER(x), BUFFER(y)};
    /* row 1 of x, into column 0 of y */
    assert_ok(test_kernel(ONE("%x: global f32[2,3], %y: global f32[3,2]",
                              ZERO "    %i = const {ivalue=1} : i64\n"
                                   "    %t = load %x, %i, %z {axes=[1]} : f32<3>\n"
                                   "    store %y, %t, %z, %z {axes=[0]}\n"),
                          b, 2));
    ck_assert(y[0][0] == 4 && y[1][0] == 5 && y[2][0] == 6 && y[0][1] == 0);
}
END_TEST

START_TEST(limits_read_zero_and_store_nothing)
{
    float x[5] = {1, 2, 3, 4, 5}, y[8] = {9, 9, 9, 9, 9, 9, 9, 9};
    rlx_lir_buffer b[] = {BUFFER(x), {y, 7 * sizeof(float)}};
    assert_ok(test_kernel(ONE("%x: global f32[5], %y: global f32[7]",
                              ZERO "    %i = const {ivalue=3} : i64\n"
                                   "    %five = const {ivalue=5} : i64\n"
                                   "    %six = const {ivalue=6} : i64\n"
                                   "    %t = load %x, %i, %five {axes=[0], limits=[0]} : f32<4>\n"
                                   "    store %y, %t, %i, %six {axes=[0], limits=[0]}\n"),
                          b, 2));
    float want[8] = {9, 9, 9, 4, 5, 0, 9, 9};
    ck_assert_mem_eq(y, want, sizeof want);
}
END_TEST

START_TEST(limits_beyond_the_tile_touch_nothing)
{
    float x[2] = {1, 2}, y[4] = {7, 7, 7, 7};
    rlx_lir_buffer b[] = {BUFFER(x), BUFFER(y)};
    /* the index lies far outside, the limit before it */
    assert_ok(test_kernel(ONE("%x: global f32[2], %y: global f32[4]",
                              ZERO "    %i = const {ivalue=100} : i64\n"
                                   "    %two = const {ivalue=2} : i64\n"
                                   "    %t = load %x, %i, %two {axes=[0], limits=[0]} : f32<4>\n"
                                   "    store %y, %t, %z {axes=[0]}\n"),
                          b, 2));
    ck_assert(y[0] == 0 && y[1] == 0 && y[2] == 0 && y[3] == 0);
}
END_TEST

START_TEST(tiles_of_rank_three_and_middle_axes)
{
    int32_t x[2][3][2][2], y[2][2][2];
    for (int i = 0; i < 24; i++)
        ((int32_t *)x)[i] = i;
    rlx_lir_buffer b[] = {BUFFER(x), BUFFER(y)};
    assert_ok(test_kernel(ONE("%x: global i32[2,3,2,2], %y: global i32[2,2,2]",
                              ZERO "    %i = const {ivalue=1} : i64\n"
                                   "    %t = load %x, %z, %i, %i, %z {axes=[0,1,3]} : i32<2x2x2>\n"
                                   "    store %y, %t, %z, %z, %z {axes=[0,1,2]}\n"),
                          b, 2));
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 2; j++)
            for (int k = 0; k < 2; k++)
                ck_assert_int_eq(y[i][j][k], x[i][1 + j][1][k]);
}
END_TEST

START_TEST(formats_decode_and_round)
{
    uint16_t h[3] = {0x3f80, 0xc000, 0x3f81}, out16[3]; /* bf16 1, -2, 1.0078125 */
    float f[3] = {1.00390625f, 65519.0f, 65520.0f}, out[3];
    uint16_t half[3];
    rlx_lir_buffer b[] = {BUFFER(h), BUFFER(f), BUFFER(out), BUFFER(out16), BUFFER(half)};
    assert_ok(test_kernel(ONE("%h: global bf16[3], %f: global f32[3], %o: global f32[3], "
                              "%b: global bf16[3], %s: global f16[3]",
                              ZERO "    %t = load %h, %z {axes=[0]} : f32<3>\n"
                                   "    store %o, %t, %z {axes=[0]}\n"
                                   "    %u = load %f, %z {axes=[0]} : f32<3>\n"
                                   "    store %b, %u, %z {axes=[0]}\n"
                                   "    store %s, %u, %z {axes=[0]}\n"),
                          b, 5));
    ck_assert(out[0] == 1 && out[1] == -2 && out[2] == 1.0078125f);
    ck_assert_uint_eq(out16[0], 0x3f80); /* a tie, to even */
    ck_assert_uint_eq(half[1], 0x7bff);
    ck_assert_uint_eq(half[2], 0x7c00);
}
END_TEST

START_TEST(loops_carry_and_swap)
{
    int64_t y[3];
    rlx_lir_buffer b[] = {BUFFER(y)};
    /* Fibonacci: (a, b) <- (b, a + b), 10 rounds of 0, 3, .. 27; and the last index */
    assert_ok(
        test_kernel(ONE("%y: global i64[3]", ZERO
                        "    %i = const {ivalue=1} : i64\n    %two = const {ivalue=2} : i64\n"
                        "    %end = const {ivalue=28} : i64\n"
                        "    %a, %b, %l = for %z, %end, %z, %i, %z {step=3} : (i64, i64, i64) "
                        "(%k: i64, %p: i64, %q: i64, %r: i64) {\n"
                        "      %s = map %p, %q {fn=add} : i64\n      yield %q, %s, %k\n    }\n"
                        "    store %y, %a, %z\n    store %y, %b, %i\n    store %y, %l, %two\n"),
                    b, 1));
    ck_assert_int_eq(y[0], 55);
    ck_assert_int_eq(y[1], 89);
    ck_assert_int_eq(y[2], 27);
}
END_TEST

START_TEST(an_empty_loop_gives_its_initial_values)
{
    int64_t y[1];
    rlx_lir_buffer b[] = {BUFFER(y)};
    assert_ok(test_kernel(ONE("%y: global i64[1]", ZERO
                              "    %five = const {ivalue=5} : i64\n"
                              "    %a = for %five, %z, %five {step=1} : i64 (%k: i64, %p: i64) {\n"
                              "      yield %k\n    }\n    store %y, %a, %z\n"),
                          b, 1));
    ck_assert_int_eq(y[0], 5);
}
END_TEST

START_TEST(nested_loops_start_afresh)
{
    int64_t y[1];
    rlx_lir_buffer b[] = {BUFFER(y)};
    /* sum over i in 0..3 of (sum over j in 0..i of 1), the inner one beginning at 0 each time */
    assert_ok(test_kernel(ONE("%y: global i64[1]", ZERO
                              "    %i1 = const {ivalue=1} : i64\n    %n = const {ivalue=4} : i64\n"
                              "    %a = for %z, %n, %z {step=1} : i64 (%i: i64, %p: i64) {\n"
                              "      %c = for %z, %i, %z {step=1} : i64 (%j: i64, %q: i64) {\n"
                              "        %d = map %q, %i1 {fn=add} : i64\n        yield %d\n      }\n"
                              "      %s = map %p, %c {fn=add} : i64\n      yield %s\n    }\n"
                              "    store %y, %a, %z\n"),
                          b, 1));
    ck_assert_int_eq(y[0], 6);
}
END_TEST

START_TEST(if_takes_one_side)
{
    float y[2] = {0, 0};
    rlx_lir_buffer b[] = {BUFFER(y)};
    assert_ok(test_kernel(
        "kernel @k(%y: global f32[2]) {\n  %n = const {ivalue=2} : i64\n"
        "  %z = const {ivalue=0} : i64\n"
        "  grid %n (%g: i64) {\n"
        "    %c = map %g, %z {fn=eq} : bool\n"
        "    %r = if %c : f32 {\n      %a = const {value=3} : f32\n      yield %a\n"
        "    } {\n      %b = const {value=4} : f32\n      yield %b\n    }\n"
        "    if %c {\n      yield\n    } {\n      store %y, %r, %g\n      yield\n    }\n"
        "    yield\n  }\n  return\n}\n",
        b, 1));
    ck_assert(y[0] == 0 && y[1] == 4);
}
END_TEST

START_TEST(iota_broadcast_bitcast_cast)
{
    int32_t y[2][4], bits[1];
    float f[4];
    rlx_lir_buffer b[] = {BUFFER(y), BUFFER(f), BUFFER(bits)};
    assert_ok(
        test_kernel(ONE("%y: global i32[2,4], %f: global f32[4], %s: global i32[1]", ZERO
                        "    %i = iota : i32<4>\n    %j = iota : i32<2>\n"
                        "    %bi = broadcast %i {axes=[1]} : i32<2x4>\n"
                        "    %bj = broadcast %j {axes=[0]} : i32<2x4>\n"
                        "    %ten = const {ivalue=10} : i32\n"
                        "    %tj = map %bj, %ten {fn=mul} : i32<2x4>\n"
                        "    %t = map %bi, %tj {fn=add} : i32<2x4>\n"
                        "    store %y, %t, %z, %z {axes=[0,1]}\n"
                        "    %h = const {value=-1.75} : f32\n    %fi = cast %i : f32<4>\n"
                        "    %fh = map %fi, %h {fn=mul} : f32<4>\n    %tr = cast %fh : i32<4>\n"
                        "    %back = cast %tr : f32<4>\n    store %f, %back, %z {axes=[0]}\n"
                        "    %hb = bitcast %h : i32\n    store %s, %hb, %z\n"),
                    b, 3));
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 4; j++)
            ck_assert_int_eq(y[i][j], i * 10 + j);
    ck_assert(f[0] == 0 && f[1] == -1 && f[2] == -3 && f[3] == -5);
    ck_assert_int_eq(bits[0], (int32_t)0xbfe00000);
}
END_TEST

START_TEST(reduce_by_halves)
{
    /* 1e8 + 1 is lost in f32: the order of the sum shows */
    float x[2][4] = {{1e8f, 1, -1e8f, 1}, {3, -7, 5, 2}}, y[2], m[2];
    rlx_lir_buffer b[] = {BUFFER(x), BUFFER(y), BUFFER(m)};
    assert_ok(test_kernel(ONE("%x: global f32[2,4], %y: global f32[2], %m: global f32[2]",
                              ZERO "    %t = load %x, %z, %z {axes=[0,1]} : f32<2x4>\n"
                                   "    %s = reduce %t {fn=add} : f32<2>\n"
                                   "    %u = reduce %t {fn=max} : f32<2>\n"
                                   "    store %y, %s, %z {axes=[0]}\n"
                                   "    store %m, %u, %z {axes=[0]}\n"),
                          b, 3));
    ck_assert(y[0] == 2 && y[1] == 3); /* (1e8 - 1e8) + (1 + 1) */
    ck_assert(m[0] == 1e8f && m[1] == 5);
}
END_TEST

/* The text with every $ replaced by a number. */
static char *with_number(const char *text, int number)
{
    rlx_text out = {0};
    for (; *text; text++) {
        if (*text == '$')
            rlx_text_putf(&out, "%d", number);
        else
            rlx_text_put_bytes(&out, text, 1);
    }
    return rlx_text_take(&out);
}

START_TEST(contract_by_lanes)
{
    enum { M = 2, N = 3, K = 32 };
    static const int lanes[] = {16, 8, 4};
    float a[M][K], w[N][K], y[M * N * 16];
    for (int i = 0; i < M * K; i++)
        a[i / K][i % K] = sinf((float)i * 1.7f) * 3;
    for (int i = 0; i < N * K; i++)
        w[i / K][i % K] = cosf((float)i * 0.9f);
    for (size_t v = 0; v < sizeof lanes / sizeof *lanes; v++) {
        int L = lanes[v];
        char *text =
            with_number(ONE("%a: global f32[2,32], %w: global f32[3,32], %y: global f32[2,3,$]",
                            ZERO "    %c = const {value=0.5} : f32<2x3x$>\n"
                                 "    %ta = load %a, %z, %z {axes=[0,1]} : f32<2x32>\n"
                                 "    %tw = load %w, %z, %z {axes=[0,1]} : f32<3x32>\n"
                                 "    %r = contract %c, %ta, %tw : f32<2x3x$>\n"
                                 "    store %y, %r, %z, %z, %z {axes=[0,1,2]}\n"),
                        L);
        rlx_lir_buffer b[] = {BUFFER(a), BUFFER(w), BUFFER(y)};
        assert_ok(test_kernel(text, b, 3));
        free(text);
        for (int i = 0; i < M * N * L; i++) {
            float sum = 0.5f;
            for (int k = i % L; k < K; k += L)
                sum = fmaf(a[i / L / N][k], w[i / L % N][k], sum);
            ck_assert(y[i] == sum);
        }
    }
}
END_TEST

/* x * x - 1 of 1 + 2^-12 (f64: 1 + 2^-27), of whose square the last bit is lost when it is rounded. */
START_TEST(multiply_adds_round_once_or_twice)
{
    float x[1][8], y[8], outer[1][8], lanes[1][1][8];
    double d[8], e[8];
    rlx_lir_buffer b[] = {BUFFER(x), BUFFER(d), BUFFER(y), BUFFER(outer), BUFFER(lanes), BUFFER(e)};
    for (int i = 0; i < 8; i++) {
        x[0][i] = 1 + 0x1p-12f;
        d[i] = 1 + 0x1p-27;
    }
    for (int twice = 0; twice < 2; twice++) {
        const rlx_lir_eval_options o = {.splits_fma = twice};
        test_module t;
        assert_ok(test_parse(
            ONE("%x: global f32[1,8], %d: global f64[8], %y: global f32[8], "
                "%o: global f32[1,8], %l: global f32[1,1,8], %e: global f64[8]",
                ZERO "    %m = const {value=-1} : f32<8>\n    %n = const {value=-1} : f64<8>\n"
                     "    %c = const {value=-1} : f32<1x1x8>\n"
                     "    %p = const {value=-1} : f32<1x8>\n"
                     "    %v = load %x, %z, %z {axes=[1]} : f32<8>\n"
                     "    %r = load %x, %z, %z {axes=[0,1]} : f32<1x8>\n"
                     "    %s = load %x, %z, %z {axes=[0,1]} : f32<1x1>\n"
                     "    %w = load %d, %z {axes=[0]} : f64<8>\n"
                     "    %f = map %v, %v, %m {fn=fma} : f32<8>\n"
                     "    %u = map %w, %w, %n {fn=fma} : f64<8>\n"
                     "    %h = contract %c, %r, %r : f32<1x1x8>\n"
                     "    %q = outer %p, %s, %r : f32<1x8>\n"
                     "    store %y, %f, %z {axes=[0]}\n"
                     "    store %o, %q, %z, %z {axes=[0,1]}\n"
                     "    store %l, %h, %z, %z, %z {axes=[0,1,2]}\n"
                     "    store %e, %u, %z {axes=[0]}\n"),
            &t));
        assert_ok(test_run(&t, b, 6, &o));
        for (int i = 0; i < 8; i++) {
            const float want = twice ? 0x1p-11f : 0x1p-11f + 0x1p-24f;
            ck_assert(y[i] == want && outer[0][i] == want && lanes[0][0][i] == want);
            ck_assert(e[i] == (twice ? 0x1p-26 : 0x1p-26 + 0x1p-54));
        }
        test_destroy(&t);
    }
}
END_TEST

START_TEST(extents_are_live)
{
    int64_t y[2];
    rlx_lir_buffer b[] = {BUFFER(y)};
    test_module t;
    assert_ok(test_parse("kernel @k(%y: global i64[2]) {\n"
                         "  %n = extent {extent=ceildiv(TOKENS,4)} : i64\n"
                         "  grid %n (%g: i64) {\n"
                         "    %e = extent {extent=(TOKENS*3)} : i64\n    store %y, %e, %g\n"
                         "    yield\n  }\n  return\n}\n",
                         &t));
    test_bind(&t, "TOKENS", 7);
    assert_ok(test_run(&t, b, 1, NULL));
    ck_assert_int_eq(y[0], 21);
    ck_assert_int_eq(y[1], 21);
    test_destroy(&t);
}
END_TEST

START_TEST(team_memory_lasts_from_once)
{
    float x[4] = {1, 2, 3, 4}, y[6];
    rlx_lir_buffer b[] = {BUFFER(x), BUFFER(y)};
    static const char text[] = "kernel @k(%x: global f32[4], %y: global f32[6]) {\n"
                               "  %six = const {ivalue=6} : i64\n  %z = const {ivalue=0} : i64\n"
                               "  %s = alloc : team f32[4]\n"
                               "  once {\n"
                               "    %t = load %x, %z {axes=[0]} : f32<4>\n"
                               "    store %s, %t, %z {axes=[0]}\n    yield\n  }\n"
                               "  grid %six (%g: i64) {\n"
                               "    %four = const {ivalue=4} : i64\n"
                               "    %i = map %g, %four {fn=mod} : i64\n"
                               "    %v = load %s, %i : f32\n    store %y, %v, %g\n"
                               "    yield\n  }\n  return\n}\n";
    for (int teams = 1; teams <= 8; teams++) {
        for (uint64_t seed = 0; seed < 3; seed++) {
            test_module t;
            assert_ok(test_parse(text, &t));
            memset(y, 0, sizeof y);
            rlx_lir_eval_options o = {.teams = teams, .seed = seed};
            assert_ok(test_run(&t, b, 2, &o));
            float want[6] = {1, 2, 3, 4, 1, 2};
            ck_assert_mem_eq(y, want, sizeof want);
            test_destroy(&t);
        }
    }
}
END_TEST

START_TEST(parts_of_teams_make_the_whole)
{
    int64_t y[10] = {0};
    rlx_lir_buffer b[] = {BUFFER(y)};
    test_module t;
    assert_ok(test_parse("kernel @k(%y: global i64[5,2]) {\n  %n = const {ivalue=5} : i64\n"
                         "  %two = const {ivalue=2} : i64\n"
                         "  grid %n, %two (%i: i64, %j: i64) {\n"
                         "    %v = map %i, %j {fn=add} : i64\n    store %y, %v, %i, %j\n"
                         "    yield\n  }\n  return\n}\n",
                         &t));
    for (int part = 3; part >= 1; part--) {
        rlx_lir_eval_options o = {.teams = 3, .part = part};
        assert_ok(test_run(&t, b, 1, &o));
        ck_assert_int_eq(y[9], 5); /* the last team's part, which ran first */
    }
    for (int i = 0; i < 10; i++)
        ck_assert_int_eq(y[i], i / 2 + i % 2);
    test_destroy(&t);
}
END_TEST

/* 32 times 1 * 2 and 32 times -1 * 3 in two groups, each in a lane of its own. */
START_TEST(dot_by_lanes)
{
    int8_t x[64];
    uint8_t w[64];
    for (int k = 0; k < 64; k++) {
        x[k] = k < 32 ? 1 : -1;
        w[k] = k < 32 ? 2 : 3;
    }
    w[4] = 15;
    float sx[2] = {0.5f, 2}, sw[2] = {4, 0.25f}, y[8];
    rlx_lir_buffer b[] = {BUFFER(x), BUFFER(w), BUFFER(sx), BUFFER(sw), BUFFER(y)};
    assert_ok(test_kernel(
        ONE("%x: global i8[1,64], %w: global u8[1,64], %sx: global f32[1,2], %sw: global f32[1,2], "
            "%y: global f32[1,1,8]",
            ZERO "    %a = load %x, %z, %z {axes=[0,1]} : i8<1x64>\n"
                 "    %b = load %w, %z, %z {axes=[0,1]} : u8<1x64>\n"
                 "    %s = load %sx, %z, %z {axes=[0,1]} : f32<1x2>\n"
                 "    %t = load %sw, %z, %z {axes=[0,1]} : f32<1x2>\n"
                 "    %c = const {value=1} : f32<1x1x8>\n"
                 "    %d = dot %c, %a, %s, %b, %t {bits=4} : f32<1x1x8>\n"
                 "    store %y, %d, %z, %z, %z {axes=[0,1,2]}\n"),
        b, 5));
    for (int l = 0; l < 8; l++)
        ck_assert(y[l] == (l == 0 ? 1 + 0.5f * 4 * (64 + 13) : l == 1 ? 1 - 0.5f * 96 : 1));
}
END_TEST

/* Two columns, two groups of 16 with minima; i8 codes at the end of their range. */
START_TEST(dot_panel_by_groups)
{
    int8_t x[32], w[8][2][4];
    for (int k = 0; k < 32; k++) {
        x[k] = k < 16 ? 127 : -2;
        w[k / 4][0][k % 4] = -128;
        w[k / 4][1][k % 4] = (int8_t)(k % 4);
    }
    float sx[1] = {0.5f}, sw[2][2] = {{1, 2}, {0.25f, 4}}, xs[2] = {3, 5}, y[2];
    float mins[2][2] = {{1, 10}, {100, 1000}};
    rlx_lir_buffer b[] = {BUFFER(x),  BUFFER(w),    BUFFER(sx), BUFFER(sw),
                          BUFFER(xs), BUFFER(mins), BUFFER(y)};
    assert_ok(test_kernel(
        ONE("%x: global i8[1,32], %w: global i8[8,8], %sx: global f32[1,1], %sw: global f32[2,2], "
            "%xs: global f32[1,2], %m: global f32[2,2], %y: global f32[1,2]",
            ZERO "    %a = load %x, %z, %z {axes=[0,1]} : i8<1x32>\n"
                 "    %b = load %w, %z, %z {axes=[0,1]} : i8<8x8>\n"
                 "    %s = load %sx, %z, %z {axes=[0,1]} : f32<1x1>\n"
                 "    %t = load %sw, %z, %z {axes=[0,1]} : f32<2x2>\n"
                 "    %u = load %xs, %z, %z {axes=[0,1]} : f32<1x2>\n"
                 "    %v = load %m, %z, %z {axes=[0,1]} : f32<2x2>\n"
                 "    %c = const {value=7} : f32<1x2>\n"
                 "    %d = dot_panel %c, %a, %s, %b, %t, %u, %v : f32<1x2>\n"
                 "    store %y, %d, %z, %z {axes=[0,1]}\n"),
        b, 7));
    ck_assert(y[0] == 7 - 0.5f * 127 * 128 * 16 - 3 + 0.125f * 2 * 128 * 16 - 500);
    ck_assert(y[1] == 7 + 127 * 24 - 30 - 2 * 2 * 24 - 5000);
}
END_TEST

/* Codes that are raised, by one that is -128 and one that is 3. */
START_TEST(dot_panel_of_raised)
{
    uint8_t x[32];
    int8_t w[8][2][4];
    for (int k = 0; k < 32; k++) {
        x[k] = k < 16 ? 255 : 1;
        w[k / 4][0][k % 4] = -128;
        w[k / 4][1][k % 4] = k < 16 ? 3 : 0;
    }
    float sx[1] = {0.5f}, sw[1][2] = {{1, 2}}, y[2];
    rlx_lir_buffer b[] = {BUFFER(x), BUFFER(w), BUFFER(sx), BUFFER(sw), BUFFER(y)};
    assert_ok(test_kernel(
        ONE("%x: global u8[1,32], %w: global i8[8,8], %sx: global f32[1,1], %sw: global f32[1,2], "
            "%y: global f32[1,2]",
            ZERO "    %a = load %x, %z, %z {axes=[0,1]} : u8<1x32>\n"
                 "    %b = load %w, %z, %z {axes=[0,1]} : i8<8x8>\n"
                 "    %s = load %sx, %z, %z {axes=[0,1]} : f32<1x1>\n"
                 "    %t = load %sw, %z, %z {axes=[0,1]} : f32<1x2>\n"
                 "    %c = const {value=7} : f32<1x2>\n"
                 "    %d = dot_panel %c, %a, %s, %b, %t : f32<1x2>\n"
                 "    store %y, %d, %z, %z {axes=[0,1]}\n"),
        b, 5));
    ck_assert(y[0] == 7);
    ck_assert(y[1] == 7 + 127 * 3 * 16);
}
END_TEST

/* The same codes as rows. */
START_TEST(dot_rows_by_groups)
{
    int8_t x[32], w[2][32];
    for (int k = 0; k < 32; k++) {
        x[k] = k < 16 ? 127 : -2;
        w[0][k] = -128;
        w[1][k] = (int8_t)(k % 4);
    }
    float sx[1] = {0.5f}, sw[2][2] = {{1, 0.25f}, {2, 4}}, xs[2] = {3, 5}, y[2];
    float mins[2][2] = {{1, 100}, {10, 1000}};
    rlx_lir_buffer b[] = {BUFFER(x),  BUFFER(w),    BUFFER(sx), BUFFER(sw),
                          BUFFER(xs), BUFFER(mins), BUFFER(y)};
    assert_ok(test_kernel(
        ONE("%x: global i8[1,32], %w: global i8[2,32], %sx: global f32[1,1], %sw: global f32[2,2], "
            "%xs: global f32[1,2], %m: global f32[2,2], %y: global f32[1,2]",
            ZERO "    %a = load %x, %z, %z {axes=[0,1]} : i8<1x32>\n"
                 "    %b = load %w, %z, %z {axes=[0,1]} : i8<2x32>\n"
                 "    %s = load %sx, %z, %z {axes=[0,1]} : f32<1x1>\n"
                 "    %t = load %sw, %z, %z {axes=[0,1]} : f32<2x2>\n"
                 "    %u = load %xs, %z, %z {axes=[0,1]} : f32<1x2>\n"
                 "    %v = load %m, %z, %z {axes=[0,1]} : f32<2x2>\n"
                 "    %c = const {value=7} : f32<1x2>\n"
                 "    %d = dot_rows %c, %a, %s, %b, %t, %u, %v : f32<1x2>\n"
                 "    store %y, %d, %z, %z {axes=[0,1]}\n"),
        b, 7));
    ck_assert(y[0] == 7 - 0.5f * 127 * 128 * 16 - 3 + 0.125f * 2 * 128 * 16 - 500);
    ck_assert(y[1] == 7 + 127 * 24 - 30 - 2 * 2 * 24 - 5000);
}
END_TEST

/* Chunks are added up exactly and rounded once: what a double loses decides a tie, what cancels leaves
 * the rest; the order is that of chunks alone. Infinities and NaNs are what additions make of them. */
START_TEST(rows_by_chunks)
{
    enum { K = 16, ROWS = 6 };
    static const double x[ROWS][K] = {
        {1, 0x1p-12, 0x1p-30},                  /* a tie, and a little more */
        {1, 0x1p-12, -0x1p-30},                 /* the same with less */
        {0x1p60, 0x1p-20, -0x1p60},             /* what cancels is not rounded */
        {0x1p30, 0, 0, 0, 1, 0, 0, 0, -0x1p30}, /* but from chunk to chunk */
        {INFINITY, 0, 0, 0, 1},
        {INFINITY, -INFINITY},
    };
    static const double w[2][K] = {{1, 0x1p-12, 0x1p-30, 0, 1, 0, 0, 0, 1},
                                   {1, 1, 1, 1, 1, 1, 1, 1, 1}};
    uint16_t a[ROWS][K], b[2][K];
    float y[ROWS][2];
    for (int k = 0; k < K; k++) {
        for (int i = 0; i < ROWS; i++)
            rlx_format_store(RLX_BF16, a[i], k, x[i][k]);
        for (int i = 0; i < 2; i++)
            rlx_format_store(RLX_BF16, b[i], k, w[i][k]);
    }
    rlx_lir_buffer buffers[] = {BUFFER(a), BUFFER(b), BUFFER(y)};
    assert_ok(test_kernel(ONE("%a: global bf16[6,16], %b: global bf16[2,16], %y: global f32[6,2]",
                              ZERO "    %u = load %a, %z, %z {axes=[0,1]} : bf16<6x16>\n"
                                   "    %v = load %b, %z, %z {axes=[0,1]} : bf16<2x16>\n"
                                   "    %c = const {value=0} : f32<6x2>\n"
                                   "    %d = contract_rows %c, %u, %v {width=4} : f32<6x2>\n"
                                   "    store %y, %d, %z, %z {axes=[0,1]}\n"),
                          buffers, 3));
    ck_assert(y[0][0] == 1 + 0x1p-23f && y[1][0] == 1);
    ck_assert(y[0][1] == 1 + 0x1p-12f && y[2][1] == 0x1p-20f);
    ck_assert(y[3][1] == 0);
    ck_assert(isinf(y[4][0]) && isnan(y[5][1]));
}
END_TEST

/* Element 4q + b of group g goes to 32q + 4g + b of its eight groups; a dot of rows so turned is the
 * dot of the rows. */
START_TEST(turn_takes_groups_side_by_side)
{
    uint8_t x[1][256], y[1][256], z[1][256];
    int8_t a[1][256];
    float sa[1][8], sw[1][8], d[2][8];
    for (int k = 0; k < 256; k++) {
        x[0][k] = (uint8_t)k;
        a[0][k] = (int8_t)(k * 7 % 255 - 127);
    }
    for (int g = 0; g < 8; g++) {
        sa[0][g] = 0.5f + (float)g;
        sw[0][g] = 1.5f - (float)g;
    }
    rlx_lir_buffer b[] = {BUFFER(x), BUFFER(a), BUFFER(sa), BUFFER(sw),
                          BUFFER(y), BUFFER(z), BUFFER(d)};
    assert_ok(
        test_kernel(ONE("%x: global u8[1,256], %a: global i8[1,256], %sa: global f32[1,8], %sw: "
                        "global f32[1,8], "
                        "%y: global u8[1,256], %u: global u8[1,256], %d: global f32[2,1,8]",
                        ZERO "    %o = const {ivalue=1} : i64\n"
                             "    %v = load %x, %z, %z {axes=[0,1]} : u8<1x256>\n"
                             "    %w = load %a, %z, %z {axes=[0,1]} : i8<1x256>\n"
                             "    %s = load %sa, %z, %z {axes=[0,1]} : f32<1x8>\n"
                             "    %t = load %sw, %z, %z {axes=[0,1]} : f32<1x8>\n"
                             "    %tv = turn %v {width=32} : u8<1x256>\n"
                             "    %tw = turn %w {width=32} : i8<1x256>\n"
                             "    %th = turn %v {width=16} : u8<1x256>\n"
                             "    %c = const {value=1} : f32<1x1x8>\n"
                             "    %e = dot %c, %w, %s, %v, %t {bits=7} : f32<1x1x8>\n"
                             "    %f = dot %c, %tw, %s, %tv, %t {bits=7, turned=1} : f32<1x1x8>\n"
                             "    store %y, %tv, %z, %z {axes=[0,1]}\n"
                             "    store %u, %th, %z, %z {axes=[0,1]}\n"
                             "    store %d, %e, %z, %z, %z {axes=[0,1,2]}\n"
                             "    store %d, %f, %o, %z, %z {axes=[0,1,2]}\n"),
                    b, 7));
    for (int g = 0; g < 8; g++)
        for (int k = 0; k < 32; k++) {
            ck_assert_int_eq(y[0][32 * (k / 4) + 4 * g + k % 4], 32 * g + k);
            if (k < 16)
                ck_assert_int_eq(z[0][128 + 32 * (k / 4) + 4 * g + k % 4], 128 + 16 * g + k);
        }
    ck_assert_mem_eq(d[0], d[1], sizeof d[0]);
    ck_assert(d[0][0] != 1);
}
END_TEST

/* Signed codes that are turned come with the sums of a's groups, and no others. */
START_TEST(turned_sums_are_those_of_the_rows)
{
    int8_t a[1][256];
    float xs[1][8], d[1][8];
    rlx_lir_buffer b[] = {BUFFER(a), BUFFER(xs), BUFFER(d)};
    const char *text = ONE("%a: global i8[1,256], %xs: global f32[1,8], %d: global f32[1,1,8]",
                           ZERO "    %w = load %a, %z, %z {axes=[0,1]} : i8<1x256>\n"
                                "    %tw = turn %w {width=32} : i8<1x256>\n"
                                "    %x = load %xs, %z, %z {axes=[0,1]} : f32<1x8>\n"
                                "    %s = const {value=1} : f32<1x8>\n"
                                "    %c = const {value=0} : f32<1x1x8>\n"
                                "    %u = const {ivalue=-1} : i8<1x256>\n"
                                "    %f = dot %c, %tw, %s, %u, %s, %x {turned=1} : f32<1x1x8>\n"
                                "    store %d, %f, %z, %z, %z {axes=[0,1,2]}\n");
    for (int k = 0; k < 256; k++)
        a[0][k] = (int8_t)(k / 32 + 1);
    for (int g = 0; g < 8; g++)
        xs[0][g] = 32 * (float)(g + 1);
    assert_ok(test_kernel(text, b, 3));
    for (int g = 0; g < 8; g++)
        ck_assert(d[0][g] == -xs[0][g]);
    xs[0][5]++;
    assert_error(test_kernel(text, b, 3), RLX_INVALID_IR, "xs are not the sums of a's groups");
}
END_TEST

START_TEST(outer_products)
{
    float x[2][3] = {{1, 2, 3}, {4, 5, 6}}, w[3][2] = {{1, 10}, {2, 20}, {0x1p-24f, 0}}, y[2][2];
    rlx_lir_buffer b[] = {BUFFER(x), BUFFER(w), BUFFER(y)};
    assert_ok(test_kernel(ONE("%x: global f32[2,3], %w: global f32[3,2], %y: global f32[2,2]",
                              ZERO "    %a = load %x, %z, %z {axes=[0,1]} : f32<2x3>\n"
                                   "    %b = load %w, %z, %z {axes=[0,1]} : f32<3x2>\n"
                                   "    %c = const {value=-5} : f32<2x2>\n"
                                   "    %d = outer %c, %a, %b : f32<2x2>\n"
                                   "    store %y, %d, %z, %z {axes=[0,1]}\n"),
                          b, 3));
    ck_assert(y[0][0] == 3 * 0x1p-24f && y[0][1] == 45); /* the small product comes last */
    ck_assert(y[1][0] == 9 && y[1][1] == 135);
}
END_TEST

/* [K/2, M, 2]: the same rows, two elements side by side, with one more and a product of 0 for it. */
START_TEST(outer_products_of_packed_rows)
{
    float x[2][2][2] = {{{1, 2}, {4, 5}}, {{3, 7}, {6, 8}}}, y[2][2];
    float w[4][2] = {{1, 10}, {2, 20}, {0x1p-24f, 0}, {0, 0}};
    rlx_lir_buffer b[] = {BUFFER(x), BUFFER(w), BUFFER(y)};
    assert_ok(test_kernel(ONE("%x: global f32[2,2,2], %w: global f32[4,2], %y: global f32[2,2]",
                              ZERO "    %a = load %x, %z, %z, %z {axes=[0,1,2]} : f32<2x2x2>\n"
                                   "    %b = load %w, %z, %z {axes=[0,1]} : f32<4x2>\n"
                                   "    %c = const {value=-5} : f32<2x2>\n"
                                   "    %d = outer %c, %a, %b : f32<2x2>\n"
                                   "    store %y, %d, %z, %z {axes=[0,1]}\n"),
                          b, 3));
    ck_assert(y[0][0] == 3 * 0x1p-24f && y[0][1] == 45);
    ck_assert(y[1][0] == 9 && y[1][1] == 135);
}
END_TEST

START_TEST(pack_turns_rows_into_columns)
{
    uint8_t x[2][8], y[2][8];
    float f[2][3] = {{1, 2, 3}, {4, 5, 6}}, g[3][2];
    for (int k = 0; k < 16; k++)
        x[k / 8][k % 8] = (uint8_t)k;
    rlx_lir_buffer b[] = {BUFFER(x), BUFFER(y), BUFFER(f), BUFFER(g)};
    assert_ok(test_kernel(ONE("%x: global u8[2,8], %y: global u8[2,8], %f: global f32[2,3], %o: "
                              "global f32[3,2]",
                              ZERO "    %a = load %x, %z, %z {axes=[0,1]} : u8<2x8>\n"
                                   "    %b = pack %a {width=4} : u8<2x8>\n"
                                   "    store %y, %b, %z, %z {axes=[0,1]}\n"
                                   "    %c = load %f, %z, %z {axes=[0,1]} : f32<2x3>\n"
                                   "    %d = pack %c {width=1} : f32<3x2>\n"
                                   "    store %o, %d, %z, %z {axes=[0,1]}\n"),
                          b, 4));
    static const uint8_t want[] = {0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 6, 7, 12, 13, 14, 15};
    ck_assert_mem_eq(y, want, 16);
    for (int i = 0; i < 6; i++)
        ck_assert(g[i / 2][i % 2] == f[i % 2][i / 2]);
}
END_TEST

/* Limits count elements for codes and groups for scales; rows beyond are zeros too. */
START_TEST(loads_of_parts)
{
    uint8_t w[2 * 144], codes[3][64], want_codes[64];
    float scale[3][3], min[3][3], want[2];
    rlx_format_make_blocks(RLX_Q4_K, w, 512, 4);
    rlx_lir_buffer b[] = {BUFFER(w), BUFFER(codes), BUFFER(scale), BUFFER(min)};
    assert_ok(test_kernel(
        ONE("%w: global q4_k[2,256], %c: global u8[3,64], %s: global f32[3,3], %m: global f32[3,3]",
            ZERO
            "    %k = const {ivalue=192} : i64\n    %two = const {ivalue=2} : i64\n"
            "    %six = const {ivalue=6} : i64\n    %end = const {ivalue=224} : i64\n"
            "    %eight = const {ivalue=8} : i64\n"
            "    %a = load %w, %z, %k, %two, %end {axes=[0,1], limits=[0,1], part=\"codes\"} : "
            "u8<3x64>\n"
            "    store %c, %a, %z, %z {axes=[0,1]}\n"
            "    %b = load %w, %z, %six, %two, %eight {axes=[0,1], limits=[0,1], part=\"scale\"} : "
            "f32<3x3>\n"
            "    store %s, %b, %z, %z {axes=[0,1]}\n"
            "    %d = load %w, %z, %six, %two, %eight {axes=[0,1], limits=[0,1], part=\"min\"} : "
            "f32<3x3>\n"
            "    store %m, %d, %z, %z {axes=[0,1]}\n"),
        b, 4));
    for (int r = 0; r < 3; r++) {
        memset(want_codes, 0, sizeof want_codes);
        if (r < 2)
            rlx_format_codes(RLX_Q4_K, w, 256 * r + 192, 32, want_codes);
        ck_assert_mem_eq(codes[r], want_codes, 64);
        memset(want, 0, sizeof want);
        if (r < 2)
            rlx_format_scales(RLX_Q4_K, w, 8 * r + 6, 2, want);
        ck_assert(scale[r][0] == want[0] && scale[r][1] == want[1] && scale[r][2] == 0);
        if (r < 2)
            rlx_format_mins(RLX_Q4_K, w, 8 * r + 6, 2, want);
        ck_assert(min[r][0] == want[0] && min[r][1] == want[1] && min[r][2] == 0);
    }
    assert_error(test_kernel(ONE("%w: global q4_k[2,256], %s: global f32[2]",
                                 ZERO "    %i = const {ivalue=7} : i64\n"
                                      "    %b = load %w, %z, %i {axes=[1], part=\"scale\"} : "
                                      "f32<2>\n"
                                      "    store %s, %b, %z {axes=[0]}\n"),
                             (rlx_lir_buffer[]){BUFFER(w), BUFFER(want)}, 2),
                 RLX_INVALID_IR, "touches 7..8 of axis 1, which has 8 live elements");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("lir eval");
    TCase *c = tcase_create("ops");
    tcase_add_test(c, loads_and_stores_along_axes);
    tcase_add_test(c, limits_read_zero_and_store_nothing);
    tcase_add_test(c, limits_beyond_the_tile_touch_nothing);
    tcase_add_test(c, tiles_of_rank_three_and_middle_axes);
    tcase_add_test(c, formats_decode_and_round);
    tcase_add_test(c, loops_carry_and_swap);
    tcase_add_test(c, an_empty_loop_gives_its_initial_values);
    tcase_add_test(c, nested_loops_start_afresh);
    tcase_add_test(c, if_takes_one_side);
    tcase_add_test(c, iota_broadcast_bitcast_cast);
    tcase_add_test(c, reduce_by_halves);
    tcase_add_test(c, contract_by_lanes);
    tcase_add_test(c, multiply_adds_round_once_or_twice);
    tcase_add_test(c, dot_by_lanes);
    tcase_add_test(c, turn_takes_groups_side_by_side);
    tcase_add_test(c, turned_sums_are_those_of_the_rows);
    tcase_add_test(c, dot_panel_by_groups);
    tcase_add_test(c, dot_panel_of_raised);
    tcase_add_test(c, dot_rows_by_groups);
    tcase_add_test(c, rows_by_chunks);
    tcase_add_test(c, outer_products);
    tcase_add_test(c, outer_products_of_packed_rows);
    tcase_add_test(c, pack_turns_rows_into_columns);
    tcase_add_test(c, loads_of_parts);
    tcase_add_test(c, extents_are_live);
    tcase_add_test(c, team_memory_lasts_from_once);
    tcase_add_test(c, parts_of_teams_make_the_whole);
    suite_add_tcase(s, c);
    return run_suite(s, 25);
}
