#include <math.h>
#include <stdint.h>
#include <string.h>

#include "runtime/base/format.h"
#include "tests/jit/emulated.h"
#include "tests/jit/subject.h"

/* The PTX ISA's tables of who has what ("Matrix Fragments for mma.m16n8k16 with floating point type"),
 * element by element, by its own names. How the products of one are added up it leaves open. */

enum { WARP = 32, ROWS = 16, COLUMNS = 8, K = 16, SUMS = 4 };

emulated_rounding emulated_mma_rounds;

typedef struct fragments {
    float a[8], b[4]; /* of one thread */
} fragments;

static void fill(const fragments *all, float a[ROWS][K], float b[COLUMNS][K])
{
    for (int lane = 0; lane < WARP; lane++) {
        const int group = lane >> 2, in_group = lane % 4;
        for (int i = 0; i < 8; i++) {
            const bool upper = i < 2 || (i >= 4 && i < 6);
            const int column = in_group * 2 + (i & 1) + (i < 4 ? 0 : 8);
            a[upper ? group : group + 8][column] = all[lane].a[i];
        }
        for (int i = 0; i < 4; i++)
            b[group][in_group * 2 + (i & 1) + (i < 2 ? 0 : 8)] = all[lane].b[i];
    }
}

/* Terms lose what lies below 24 bits from the largest one's first, their sum what a float has not. */
static float add_cut(const double *term, int n)
{
    int top = INT32_MIN, e;
    double sum = 0;
    for (int i = 0; i < n; i++)
        if (term[i] != 0 && (frexp(term[i], &e), e > top))
            top = e;
    if (top == INT32_MIN)
        return 0;
    for (int i = 0; i < n; i++)
        sum += ldexp(trunc(ldexp(term[i], 24 - top)), top - 24);
    const float nearest = (float)sum;
    return fabs((double)nearest) > fabs(sum) ? nextafterf(nearest, 0) : nearest;
}

static float add_in_order(float sum, const float *a, const float *b)
{
    for (int k = 0; k < K; k++)
        sum = fmaf(a[k], b[k], sum);
    return sum;
}

float emulated_add_halves(float sum, const float *a, const float *b)
{
    double term[K + 1] = {sum};
    _Float128 all = sum; /* terms of bf16 that decide a tie may be far below it */
    if (emulated_mma_rounds == EMULATED_IN_ORDER)
        return add_in_order(sum, a, b);
    for (int k = 0; k < K; k++) {
        term[k + 1] = (double)a[k] * (double)b[k];
        all += term[k + 1];
    }
    return emulated_mma_rounds == EMULATED_CUT ? add_cut(term, K + 1) : (float)all;
}

/* args: four words of a, two of b, four sums. */
static void mma(rlx_format f, void *result, const void *const *args)
{
    fragments own, all[WARP];
    float a[ROWS][K], b[COLUMNS][K];
    for (int i = 0; i < 8; i++)
        own.a[i] = (float)rlx_format_load(f, args[i / 2], i % 2);
    for (int i = 0; i < 4; i++)
        own.b[i] = (float)rlx_format_load(f, args[4 + i / 2], i % 2);
    const int lane = subject_gather(&own, sizeof own, all);
    fill(all, a, b);
    for (int i = 0; i < SUMS; i++) {
        const int row = (lane >> 2) + (i < 2 ? 0 : 8), column = lane % 4 * 2 + (i & 1);
        float sum;
        memcpy(&sum, args[6 + i], sizeof sum);
        ((float *)result)[i] = emulated_add_halves(sum, a[row], b[column]);
    }
}

void emulated_mma_f16(void *result, const void *const *args)
{
    mma(RLX_F16, result, args);
}

void emulated_mma_bf16(void *result, const void *const *args)
{
    mma(RLX_BF16, result, args);
}
