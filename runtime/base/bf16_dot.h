/* runtime/base/bf16_dot.h: sums of products of bf16, as the instructions of x86 for them are
 * documented (Intel's Software Developer's Manual). What the evaluators of all levels compute.
 *
 *   width 2    vdpbf16ps, pair by pair: sum = fma(a1, b1, sum), then sum = fma(a0, b0, sum)
 *   width 32   tdpbf16ps, 16 pairs at a time: even = fma(a0, b0, even) from 0 and, beside it, odd =
 *              fma(a1, b1, odd), pair after pair; then sum = sum + (even + odd)
 *
 * Each operation rounds to nearest even; an operand that is denormal is a zero, a result that is
 * denormal becomes one, of its sign. Behind the last element come zeros up to a whole width.
 */
#ifndef RLX_BASE_BF16_DOT_H
#define RLX_BASE_BF16_DOT_H

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { RLX_BF16_PAIR = 2, RLX_BF16_TILE = 32 };

static inline float rlx_bf16_flush(float x)
{
    return fabsf(x) < FLT_MIN ? copysignf(0.0f, x) : x;
}

/* a and b are no denormals. A sum just below FLT_MIN counts as denormal although f32 would round it
 * up: what decides is its value rounded to 24 bits of any exponent. */
static inline float rlx_bf16_fma(float a, float b, float sum)
{
    sum = rlx_bf16_flush(sum);
    float r = fmaf(a, b, sum);
    if (fabsf(r) > FLT_MIN)
        return r;
    bool tiny = fabs((double)a * (double)b + (double)sum) < 0x1p-126 - 0x1p-151;
    return tiny ? copysignf(0.0f, r) : r;
}

static inline float rlx_bf16_add(float a, float b)
{
    return rlx_bf16_flush(rlx_bf16_flush(a) + rlx_bf16_flush(b));
}

/* Element i of k, whose pairs are `stride` elements apart. */
static inline float rlx_bf16_at(const uint16_t *x, int64_t stride, int64_t i, int64_t k)
{
    float f;
    uint32_t bits = i < k ? (uint32_t)x[i / 2 * stride + i % 2] << 16 : 0;
    memcpy(&f, &bits, sizeof f);
    return rlx_bf16_flush(f);
}

/* sum + the products of k elements of `a`, which follow one another, with those of `b`, whose pairs
 * are `stride` apart. */
static inline float rlx_bf16_dot(const uint16_t *a, const uint16_t *b, int64_t stride, int64_t k,
                                 int64_t width, float sum)
{
    for (int64_t i = 0; i < k; i += width) {
        if (width == RLX_BF16_PAIR) {
            for (int64_t j = i + 1; j >= i; j--)
                sum = rlx_bf16_fma(rlx_bf16_at(a, 2, j, k), rlx_bf16_at(b, stride, j, k), sum);
            continue;
        }
        float part[2] = {0, 0};
        for (int64_t j = i; j < i + width; j++)
            part[j % 2] =
                rlx_bf16_fma(rlx_bf16_at(a, 2, j, k), rlx_bf16_at(b, stride, j, k), part[j % 2]);
        sum = rlx_bf16_add(sum, rlx_bf16_add(part[0], part[1]));
    }
    return sum;
}

#endif
