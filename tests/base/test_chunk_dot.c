/* tests/base/test_chunk_dot.c: sums of products by chunks, against binary digits that are added one by one. */
#include <math.h>
#include <string.h>

#include "runtime/base/chunk_dot.h"
#include "tests/base/suite.h"

/* ---- another way: digits of 2^LOWEST and up, each any number until they are carried */

enum { LOWEST = -300, DIGITS = 640, MANTISSA = 53, FLOAT_BITS = 24, FLOAT_LEAST = -149 };

static void add_value(int *digit, double v)
{
    int exponent;
    int64_t whole = (int64_t)ldexp(frexp(fabs(v), &exponent), MANTISSA);
    for (int i = exponent - MANTISSA - LOWEST; whole; i++, whole /= 2)
        if (whole % 2)
            digit[i] += v < 0 ? -1 : 1;
}

/* Digits become 0 or 1; what is above them. */
static int carry_up(int *digit)
{
    int carry = 0;
    for (int i = 0; i < DIGITS; i++) {
        const int all = digit[i] + carry;
        digit[i] = all & 1;
        carry = (all - digit[i]) / 2;
    }
    return carry;
}

static float rounded(int *digit)
{
    const bool negative = carry_up(digit) < 0;
    int top = DIGITS - 1, below = 0;
    double sum = 0;
    for (int i = 0; i < DIGITS && negative; i++)
        digit[i] = -digit[i];
    carry_up(digit);
    while (top > 0 && !digit[top])
        top--;
    int least = top - FLOAT_BITS + 1;
    if (least < FLOAT_LEAST - LOWEST)
        least = FLOAT_LEAST - LOWEST;
    for (int i = top; i >= least; i--)
        sum = 2 * sum + digit[i];
    for (int i = 0; i < least - 1; i++)
        below |= digit[i];
    if (digit[least - 1] && (below || digit[least]))
        sum++;
    sum = ldexp(sum, least + LOWEST);
    return (float)(negative ? -sum : sum);
}

static float expected(rlx_format f, const uint16_t *a, const uint16_t *b, int k, int width,
                      float sum)
{
    for (int i = 0; i < k; i += width) {
        int digit[DIGITS] = {0};
        add_value(digit, (double)sum);
        for (int j = i; j < k && j < i + width; j++)
            add_value(digit, rlx_format_load(f, a, j) * rlx_format_load(f, b, j));
        sum = rounded(digit);
    }
    return sum;
}

/* ---- cases */

static uint64_t pick(uint64_t *seed, uint64_t n)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (*seed >> 33) % n;
}

/* A number of either sign, one of two a power of two, below and above 1 by up to `most` binary places. */
static double number(uint64_t *seed, int most)
{
    const double v = pick(seed, 2) ? 1 : 1 + (double)pick(seed, 128) / 128;
    return ldexp(pick(seed, 2) ? v : -v, (int)pick(seed, 2 * (unsigned)most + 1) - most);
}

/* Terms that cancel in part, or all of them, in every order; rests of all sizes. */
START_TEST(terms_cancel)
{
    enum { TIMES = 3000, CHUNKS = 3, MOST = CHUNKS * RLX_CHUNK_MOST };
    static const rlx_format formats[] = {RLX_F16, RLX_BF16};
    const rlx_format f = formats[_i % 2];
    const int width = RLX_CHUNK_LEAST << _i / 2, most = f == RLX_F16 ? 12 : 40;
    uint64_t seed = (uint64_t)_i;
    int others = 0;
    for (int t = 0; t < TIMES; t++) {
        uint16_t a[MOST], b[MOST];
        const int k = 1 + (int)pick(&seed, (uint64_t)(CHUNKS * width));
        float sum = 0;
        for (int i = 0; i < k; i++) {
            rlx_format_store(f, a, i, number(&seed, most));
            rlx_format_store(f, b, i, number(&seed, most));
        }
        for (int i = 0; i < k; i++) {
            const int of = (int)pick(&seed, (uint64_t)k);
            if (of != i && pick(&seed, 3)) {
                rlx_format_store(f, a, i, -rlx_format_load(f, a, of));
                b[i] = b[of];
            }
        }
        if (pick(&seed, 2))
            sum = (float)(-rlx_format_load(f, a, 0) * rlx_format_load(f, b, 0));
        const float want = expected(f, a, b, k, width, sum);
        const float got = rlx_chunk_dot(f, a, b, k, width, sum);
        ck_assert_msg(got == want, "case %d of width %d: %a for %a", t, width, (double)got,
                      (double)want);
        double in_order = (double)sum;
        for (int i = 0; i < k; i++)
            in_order += rlx_format_load(f, a, i) * rlx_format_load(f, b, i);
        others += (float)in_order != want;
    }
    ck_assert_int_gt(others, TIMES / 100); /* doubles are not enough */
}
END_TEST

/* What is left of large terms that cancel lies in several numbers, and is rounded once. */
START_TEST(rests_are_rounded_once)
{
    static const double x[2][4] = {{32, 0x1p-24, 0x1p-24, -32}, {1, 0x1p-26, 0x1p-27, -1}};
    static const double w[2][4] = {{1, 0x1p-23, 0x1p-24, 1}, {1, 0x1p-26, 0x1p-26, 1}};
    static const double want[2] = {0x3p-48, 0x3p-53};
    for (int i = 0; i < 2; i++) {
        const rlx_format f = i ? RLX_BF16 : RLX_F16;
        uint16_t a[4], b[4];
        for (int j = 0; j < 4; j++) {
            rlx_format_store(f, a, j, x[i][j]);
            rlx_format_store(f, b, j, w[i][j]);
        }
        const double got = (double)rlx_chunk_dot(f, a, b, 4, 4, 0);
        ck_assert_msg(got == want[i], "%a for %a", got, want[i]);
    }
}
END_TEST

/* A zero that is no more than rounded keeps its sign, unless zeros follow the last element. */
START_TEST(zeros_have_signs)
{
    for (int k = 16; k <= 18; k++) {
        uint16_t a[18] = {0}, b[18] = {0};
        rlx_format_store(RLX_BF16, a, 0, -0x1p-100);
        rlx_format_store(RLX_BF16, b, 0, 0x1p-100);
        for (int i = 1; i < k; i++)
            rlx_format_store(RLX_BF16, a, i, -0.0);
        const float got = rlx_chunk_dot(RLX_BF16, a, b, k, RLX_CHUNK_MOST, 0);
        ck_assert(got == 0);
        ck_assert_int_eq(signbit(got) != 0, k == 16);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("chunk_dot");
    TCase *c = tcase_create("sums");
    tcase_add_loop_test(c, terms_cancel, 0, 6);
    tcase_add_test(c, rests_are_rounded_once);
    tcase_add_test(c, zeros_have_signs);
    suite_add_tcase(s, c);
    return run_suite(s, 8);
}
