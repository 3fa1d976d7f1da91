#include <stdint.h>
#include <string.h>

#include "runtime/base/dim.h"
#include "tests/base/suite.h"

static rlx_dims *dims;

static void setup(void)
{
    dims = rlx_dims_create();
    ck_assert_ptr_nonnull(dims);
    rlx_dim_symbol(dims, "TOKENS");
    rlx_dim_symbol(dims, "ROWS");
    rlx_dim_symbol(dims, "SEQS");
}

static void teardown(void)
{
    rlx_dims_destroy(dims);
}

static rlx_dim parse(const char *text)
{
    rlx_dim d;
    const char *s = text;
    assert_ok(rlx_dim_parse(dims, &s, &d));
    ck_assert_msg(*s == 0, "'%s' was read up to '%s'", text, s);
    return d;
}

static const struct {
    const char *text, *simplified;
} same[] = {
    {"7", "7"},
    {"TOKENS", "TOKENS"},
    {"TOKENS + 0", "TOKENS"},
    {"TOKENS*1", "TOKENS"},
    {"TOKENS*0", "0"},
    {"2+3*4", "14"},
    {"3+TOKENS", "(TOKENS+3)"},
    {"(TOKENS+1)+2", "(TOKENS+3)"},
    {"TOKENS+TOKENS", "(TOKENS*2)"},
    {"TOKENS+ROWS", "(ROWS+TOKENS)"},
    {"2*(TOKENS+ROWS)+TOKENS", "((ROWS*2)+(TOKENS*3))"},
    {"4*(TOKENS*16)", "(TOKENS*64)"},
    {"(TOKENS+3)*64", "((TOKENS*64)+192)"},
    {"floordiv(TOKENS*4,4)", "TOKENS"},
    {"ceildiv(TOKENS*4,4)", "TOKENS"},
    {"floordiv(TOKENS,1)", "TOKENS"},
    {"floordiv(7,2)", "3"},
    {"ceildiv(7,2)", "4"},
    {"mod(7,4)", "3"},
    {"floordiv(TOKENS*6+3,4)", "ceildiv((TOKENS*3),2)"},
    {"floordiv(TOKENS*6,4)", "floordiv((TOKENS*3),2)"},
    {"floordiv(TOKENS+9,4)", "(floordiv((TOKENS+1),4)+2)"},
    {"floordiv(TOKENS+3,4)", "ceildiv(TOKENS,4)"},
    {"ceildiv(TOKENS+1,4)", "(floordiv(TOKENS,4)+1)"},
    {"ceildiv(TOKENS*2+1,4)", "(floordiv(TOKENS,2)+1)"},
    {"ceildiv(ceildiv(TOKENS,4),8)", "ceildiv(TOKENS,32)"},
    {"floordiv(floordiv(TOKENS,4),8)", "floordiv(TOKENS,32)"},
    {"floordiv(TOKENS*8+ROWS,8)", "(TOKENS+floordiv(ROWS,8))"},
    {"mod(TOKENS*8+ROWS,8)", "mod(ROWS,8)"},
    {"mod(TOKENS+9,4)", "mod((TOKENS+1),4)"},
    {"mod(TOKENS*8,4)", "0"},
    {"mod(TOKENS*2,4)", "(mod(TOKENS,2)*2)"},
    {"mod(mod(TOKENS,64),16)", "mod(TOKENS,16)"},
    {"mod(mod(TOKENS,4),16)", "mod(TOKENS,4)"},
    {"floordiv(mod(TOKENS,4),4)", "0"},
    {"min(TOKENS,TOKENS)", "TOKENS"},
    {"min(TOKENS,TOKENS+3)", "TOKENS"},
    {"max(TOKENS,TOKENS+3)", "(TOKENS+3)"},
    {"min(3,5)", "3"},
    {"max(3,5)", "5"},
    {"min(TOKENS,0)", "0"},
    {"max(TOKENS,0)", "TOKENS"},
    {"min(min(TOKENS,5),3)", "min(TOKENS,3)"},
    {"min(8,mod(TOKENS,4))", "mod(TOKENS,4)"},
    {"max(min(TOKENS,16),16)", "16"},
    {"min(TOKENS,ROWS)", "min(ROWS,TOKENS)"},
    {"min(TOKENS,min(ROWS,TOKENS))", "min(ROWS,TOKENS)"},
    {"max(ROWS*2,max(TOKENS,ROWS))", "max(TOKENS,(ROWS*2))"},
};

START_TEST(simplifies)
{
    rlx_dim d = parse(same[_i].text);
    rlx_text out = {0};
    rlx_dim_print(dims, d, &out);
    ck_assert_str_eq(out.data, same[_i].simplified);
    ck_assert_int_eq(parse(out.data), d);
    rlx_text_deinit(&out);
}
END_TEST

/* A table that met the symbols in another order prints and orders expressions the same. */
START_TEST(text_is_independent_of_making)
{
    rlx_dims *other = rlx_dims_create();
    const char *s = "max(SEQS,ROWS*2)+floordiv(TOKENS+ROWS,3)";
    rlx_dim d, e;
    assert_ok(rlx_dim_parse(other, &(const char *){s}, &d));
    assert_ok(rlx_dim_parse(dims, &(const char *){s}, &e));
    rlx_text a = {0}, b = {0};
    rlx_dim_print(other, d, &a);
    rlx_dim_print(dims, e, &b);
    ck_assert_str_eq(a.data, b.data);
    rlx_text_deinit(&a);
    rlx_text_deinit(&b);
    rlx_dims_destroy(other);
}
END_TEST

/* ---- against plain arithmetic -------------------------------------------------------------------
 */

static uint64_t state = 0x243f6a8885a308d3u;

static uint32_t next(uint32_t n)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 33) % n;
}

typedef struct model {
    rlx_dim d;
    int64_t value[8]; /* under each of the bindings */
} model;

static int64_t bindings[8][RLX_MAX_SYMBOLS];

static model random_leaf(void)
{
    model x;
    uint32_t pick = next(4);
    if (pick == 3) {
        x.d = next(20);
        for (int i = 0; i < 8; i++)
            x.value[i] = x.d;
        return x;
    }
    x.d = rlx_dim_symbol(dims, rlx_dim_symbol_name(dims, (int)pick));
    for (int i = 0; i < 8; i++)
        x.value[i] = bindings[i][pick];
    return x;
}

static int64_t plain(rlx_dim_op op, int64_t a, int64_t b)
{
    switch (op) {
    case RLX_DIM_ADD:
        return a + b;
    case RLX_DIM_MUL:
        return a * b;
    case RLX_DIM_FLOORDIV:
        return a / b;
    case RLX_DIM_CEILDIV:
        return (a + b - 1) / b;
    case RLX_DIM_MOD:
        return a % b;
    case RLX_DIM_MIN:
        return a < b ? a : b;
    default:
        return a > b ? a : b;
    }
}

static model random_expr(int depth)
{
    if (depth == 0)
        return random_leaf();
    rlx_dim_op op = (rlx_dim_op)(RLX_DIM_ADD + next(7));
    model a = random_expr(depth - 1), b;
    if (op == RLX_DIM_ADD || op == RLX_DIM_MIN || op == RLX_DIM_MAX) {
        b = random_expr(depth - 1);
    } else {
        b.d = 1 + next(9);
        for (int i = 0; i < 8; i++)
            b.value[i] = b.d;
    }
    model x = {.d = rlx_dim_make(dims, op, a.d, b.d)};
    for (int i = 0; i < 8; i++)
        x.value[i] = plain(op, a.value[i], b.value[i]);
    return x;
}

START_TEST(agrees_with_arithmetic)
{
    for (int round = 0; round < 3000; round++) {
        int64_t upper[RLX_MAX_SYMBOLS] = {0};
        for (int i = 0; i < 8; i++) {
            for (int s = 0; s < 3; s++) {
                bindings[i][s] = next(i < 4 ? 8 : 1000);
                if (bindings[i][s] > upper[s])
                    upper[s] = bindings[i][s];
            }
        }
        model x = random_expr(1 + (int)next(4));
        ck_assert(x.d != RLX_DIM_INVALID);
        rlx_text text = {0};
        rlx_dim_print(dims, x.d, &text);
        int64_t most = rlx_dim_upper(dims, x.d, upper);
        for (int i = 0; i < 8; i++) {
            int64_t got = rlx_dim_eval(dims, x.d, bindings[i]);
            ck_assert_msg(got == x.value[i], "%s = %lld, expected %lld (round %d)", text.data,
                          (long long)got, (long long)x.value[i], round);
            ck_assert_msg(got <= most, "%s = %lld above %lld", text.data, (long long)got,
                          (long long)most);
        }
        rlx_dim again = parse(text.data);
        rlx_text other = {0};
        rlx_dim_print(dims, again, &other);
        ck_assert_msg(again == x.d, "%s reads back as %s (round %d)", text.data, other.data, round);
        rlx_text_deinit(&other);
        rlx_text_deinit(&text);
    }
}
END_TEST

START_TEST(upper_bounds)
{
    int64_t upper[RLX_MAX_SYMBOLS] = {100, 10, INT64_MAX};
    ck_assert_int_eq(rlx_dim_upper(dims, parse("TOKENS*2+ROWS"), upper), 210);
    ck_assert_int_eq(rlx_dim_upper(dims, parse("ceildiv(TOKENS,32)"), upper), 4);
    ck_assert_int_eq(rlx_dim_upper(dims, parse("mod(TOKENS,32)"), upper), 31);
    ck_assert_int_eq(rlx_dim_upper(dims, parse("mod(ROWS,32)"), upper), 10);
    ck_assert_int_eq(rlx_dim_upper(dims, parse("min(TOKENS,64)"), upper), 64);
    ck_assert_int_eq(rlx_dim_upper(dims, parse("SEQS*3"), upper), INT64_MAX);
    ck_assert_int_eq(rlx_dim_upper(dims, parse("floordiv(SEQS,3)"), upper), INT64_MAX);
    ck_assert_int_eq(rlx_dim_upper(dims, parse("min(SEQS,7)"), upper), 7);
}
END_TEST

START_TEST(refuses)
{
    rlx_dim t = parse("TOKENS"), r = parse("ROWS");
    ck_assert(rlx_dim_make(dims, RLX_DIM_MUL, t, r) == RLX_DIM_INVALID);
    ck_assert(rlx_dim_make(dims, RLX_DIM_FLOORDIV, t, r) == RLX_DIM_INVALID);
    ck_assert(rlx_dim_make(dims, RLX_DIM_FLOORDIV, t, 0) == RLX_DIM_INVALID);
    ck_assert(rlx_dim_make(dims, RLX_DIM_MOD, t, 0) == RLX_DIM_INVALID);
    ck_assert(rlx_dim_make(dims, RLX_DIM_ADD, t, RLX_DIM_INVALID) == RLX_DIM_INVALID);
    ck_assert(rlx_dim_make(dims, RLX_DIM_ADD, INT64_MAX, 1) == RLX_DIM_INVALID);
    ck_assert(rlx_dim_make(dims, RLX_DIM_ADD, t, -1000000) == RLX_DIM_INVALID);
    ck_assert(rlx_dim_make(dims, RLX_DIM_MUL, INT64_MIN + 1, 3) == RLX_DIM_INVALID);
    rlx_dim big = rlx_dim_make(dims, RLX_DIM_MUL, t, INT64_MAX / 2);
    ck_assert(rlx_dim_make(dims, RLX_DIM_MUL, big, 3) == RLX_DIM_INVALID);
    ck_assert(rlx_dim_make(dims, RLX_DIM_MUL, 3, t) == rlx_dim_make(dims, RLX_DIM_MUL, t, 3));
}
END_TEST

static const struct {
    const char *text, *message;
} wrong[] = {
    {"", "expected an extent"},
    {"*", "expected an extent"},
    {"(TOKENS", "expected ')'"},
    {"min(TOKENS)", "expected ','"},
    {"floordiv(TOKENS,0)", "quasi-affine"},
    {"TOKENS*ROWS", "quasi-affine"},
    {"99999999999999999999", "63 bits"},
    {"((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((1", "deeper than"},
};

START_TEST(parse_errors)
{
    rlx_dim d;
    const char *s = wrong[_i].text;
    assert_error(rlx_dim_parse(dims, &s, &d), RLX_INVALID_ARGUMENT, wrong[_i].message);
}
END_TEST

START_TEST(symbols)
{
    ck_assert_int_eq(rlx_dim_symbol_count(dims), 3);
    ck_assert_int_eq(rlx_dim_symbol_index(dims, "ROWS"), 1);
    ck_assert_int_eq(rlx_dim_symbol_index(dims, "NONE"), -1);
    ck_assert(rlx_dim_symbol(dims, "TOKENS") == parse("TOKENS"));
    char name[] = "S_a";
    for (int i = 3; i < RLX_MAX_SYMBOLS; i++) {
        name[2] = (char)('a' + i);
        ck_assert(rlx_dim_symbol(dims, name) != RLX_DIM_INVALID);
    }
    ck_assert(rlx_dim_symbol(dims, "ONE_MORE") == RLX_DIM_INVALID);
    const char *s = "ONE_MORE";
    rlx_dim d;
    assert_error(rlx_dim_parse(dims, &s, &d), RLX_EXHAUSTED, "ONE_MORE");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("dim");
    TCase *c = tcase_create("dim");
    tcase_add_checked_fixture(c, setup, teardown);
    int nsame = sizeof(same) / sizeof(same[0]), nwrong = sizeof(wrong) / sizeof(wrong[0]);
    tcase_add_loop_test(c, simplifies, 0, nsame);
    tcase_add_loop_test(c, parse_errors, 0, nwrong);
    tcase_add_test(c, text_is_independent_of_making);
    tcase_add_test(c, agrees_with_arithmetic);
    tcase_add_test(c, upper_bounds);
    tcase_add_test(c, refuses);
    tcase_add_test(c, symbols);
    suite_add_tcase(s, c);
    return run_suite(s, nsame + nwrong + 5);
}
