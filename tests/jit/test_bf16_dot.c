/* Sums of products of bf16 at the limits: what the evaluators compute, what emulated instructions do, and the
 * instruction itself where this machine has it. */
#include <float.h>
#include <immintrin.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/bf16_dot.h"
#include "runtime/cpu.h"
#include "tests/jit/emulated.h"
#include "tests/runtime/suite.h"

enum { TIMES = 6000, TIMES_ON_HARDWARE = 2000000 };

static uint64_t state = 11;

static int any(int n)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (int)((state >> 33) % (uint64_t)n);
}

/* Factors whose products are close to the smallest normal number, or which are any bits; sums that
 * nearly cancel them. */
static uint16_t any_factor(void)
{
    if (any(16) == 0)
        return (uint16_t)any(1 << 16);
    return (uint16_t)(any(2) << 15 | (60 + any(5)) << 7 | any(1 << 7));
}

static float any_small(void)
{
    uint32_t bits = (uint32_t)any(2) << 31 | (uint32_t)any(4) << 23 | (uint32_t)any(1 << 23);
    float f;
    memcpy(&f, &bits, sizeof f);
    return any(4) ? f : 0;
}

/* n elements of either factor, zeros behind them, and a sum. The first: f32 would round it up to a normal number. */
static float any_case(int i, uint16_t *x, uint16_t *y, int n)
{
    for (int k = 0; k < n; k++) {
        x[k] = any_factor();
        y[k] = any_factor();
    }
    if (i > 0)
        return any_small();
    x[0] = (127 - 76) << 7 | 0x40; /* 1.5 * 2^-76 */
    y[0] = 0x8000 | (127 - 75) << 7;
    x[1] = y[1] = 0;
    return FLT_MIN;
}

static void expect_same(float got, float want, int width)
{
    ck_assert_msg(memcmp(&got, &want, sizeof got) == 0 || (isnan(got) && isnan(want)),
                  "width %d: the evaluators have %a, the instruction %a", width, (double)got,
                  (double)want);
}

static void emulate(const char *name, void *result, const void *const *args)
{
    for (int i = 0; i < emulated_cpu.n; i++)
        if (strcmp(emulated_cpu.instruction[i].name, name) == 0) {
            emulated_cpu.instruction[i].run(result, args);
            return;
        }
    ck_abort_msg("%s is not emulated", name);
}

START_TEST(emulated_pairs)
{
    for (int i = 0; i < TIMES; i++) {
        uint16_t x[8] = {0}, y[8] = {0}; /* of four lanes; the first counts */
        float out[4], sum[4] = {any_case(i, x, y, RLX_BF16_PAIR)};
        emulate("llvm.x86.avx512bf16.dpbf16ps.128", out, (const void *[]){sum, x, y});
        expect_same(rlx_bf16_dot(x, y, 2, 2, RLX_BF16_PAIR, sum[0]), out[0], RLX_BF16_PAIR);
    }
}
END_TEST

START_TEST(emulated_tiles)
{
    enum { ROW = 64 };
    static const uint8_t c = 0, a = 1, b = 2;
    static const int64_t stride = 4;
    struct {
        uint8_t palette, rest[15];
        uint16_t bytes[16];
        uint8_t rows[16];
    } shapes = {.palette = 1, .bytes = {4, ROW, 4}, .rows = {1, 1, ROW / 4}}, *config = &shapes;
    for (int i = 0; i < TIMES; i++) {
        uint16_t x[ROW / 2] = {0}, y[ROW / 2] = {0};
        const int n = 2 * (1 + any(3));
        float sum = any_case(i, x, y, n), *to = &sum;
        const float want = rlx_bf16_dot(x, y, 2, n, RLX_BF16_TILE, sum);
        const uint16_t *px = x, *py = y;
        emulate("llvm.x86.ldtilecfg", NULL, (const void *[]){&config});
        emulate("llvm.x86.tileloadd64", NULL, (const void *[]){&c, &to, &stride});
        emulate("llvm.x86.tileloadd64", NULL, (const void *[]){&a, &px, &stride});
        emulate("llvm.x86.tileloadd64", NULL, (const void *[]){&b, &py, &stride});
        emulate("llvm.x86.tdpbf16ps", NULL, (const void *[]){&c, &a, &b});
        emulate("llvm.x86.tilestored64", NULL, (const void *[]){&c, &to, &stride});
        expect_same(want, sum, RLX_BF16_TILE);
    }
}
END_TEST

__attribute__((target("avx512f,avx512vl,avx512bf16"))) static float
hardware_pair(float sum, const uint16_t *x, const uint16_t *y)
{
    int px, py;
    memcpy(&px, x, sizeof px);
    memcpy(&py, y, sizeof py);
    return _mm_cvtss_f32(_mm_dpbf16_ps(_mm_set_ss(sum), (__m128bh)_mm_cvtsi32_si128(px),
                                       (__m128bh)_mm_cvtsi32_si128(py)));
}

START_TEST(hardware_pairs)
{
    if (!(rlx_cpu_host()->features >> RLX_CPU_AVX512BF16 & 1)) {
        printf("skipped: this CPU has no vdpbf16ps\n");
        return;
    }
    for (int i = 0; i < TIMES_ON_HARDWARE; i++) {
        uint16_t x[2], y[2];
        const float sum = any_case(i, x, y, RLX_BF16_PAIR);
        expect_same(rlx_bf16_dot(x, y, 2, 2, RLX_BF16_PAIR, sum), hardware_pair(sum, x, y),
                    RLX_BF16_PAIR);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("bf16_dot");
    SUITE_TEST(s, "emulated pairs", emulated_pairs);
    SUITE_TEST(s, "emulated tiles", emulated_tiles);
    SUITE_TEST(s, "hardware pairs", hardware_pairs);
    return suite_run(s, 3);
}
