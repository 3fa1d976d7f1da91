#include "runtime/base/chunk_dot.h"

#include <math.h>
#include <string.h>

enum { MOST_TERMS = RLX_CHUNK_MOST + 1 };

/* The sum of x and of `n` parts, exactly: parts of ascending size, of which none reaches into the
 * next. Returns how many there are then. */
static int add_part(double *part, int n, double x)
{
    int kept = 0;
    for (int i = 0; i < n; i++) {
        const double small = fabs(x) < fabs(part[i]) ? x : part[i];
        const double large = fabs(x) < fabs(part[i]) ? part[i] : x;
        x = large + small;
        const double rest = small - (x - large);
        if (rest != 0)
            part[kept++] = rest;
    }
    if (x != 0 || kept == 0)
        part[kept++] = x;
    return kept;
}

/* `sum` is not all: the last bit of what is returned says so. What is missing has the sign of `rest`. */
static double mark_rest(double sum, double rest)
{
    uint64_t bits;
    memcpy(&bits, &sum, sizeof bits);
    if (bits % 2 == 0)
        bits = (rest > 0) == (sum > 0) ? bits + 1 : bits - 1;
    memcpy(&sum, &bits, sizeof bits);
    return sum;
}

/* The sum of n terms, rounded once: to a double of which the last bit says that there was more, then
 * to a float, which has fewer bits by more than two. Parts only do not reach into each other: the upper
 * ones fit into a double together until one is left that does not, which outweighs all below it. */
static float add_exactly(const double *term, int n)
{
    double part[MOST_TERMS], rest = 0;
    int kept = 0;
    for (int i = 0; i < n; i++)
        kept = add_part(part, kept, term[i]);
    double sum = part[--kept];
    while (kept > 0 && rest == 0) {
        const double upper = sum, lower = part[--kept];
        sum = upper + lower;
        rest = lower - (sum - upper);
    }
    return (float)(rest == 0 ? sum : mark_rest(sum, rest));
}

/* Nearly always no addition of doubles rounds. */
static float add_terms(const double *term, int n)
{
    double sum = term[0];
    bool exact = true;
    for (int i = 1; i < n; i++) {
        const double next = sum + term[i], added = next - sum;
        exact &= (sum - (next - added)) + (term[i] - added) == 0;
        sum = next;
    }
    return exact || !isfinite(sum) ? (float)sum : add_exactly(term, n);
}

static inline double value(rlx_format f, uint16_t half)
{
    const uint32_t bits = (uint32_t)half << 16;
    float x;
    if (f == RLX_F16)
        return (double)rlx_f16_to_f32(half);
    memcpy(&x, &bits, sizeof x);
    return (double)x;
}

float rlx_chunk_dot(rlx_format f, const uint16_t *a, const uint16_t *b, int64_t k, int64_t width,
                    float sum)
{
    for (int64_t i = 0; i < k; i += width) {
        double term[MOST_TERMS] = {sum};
        const int n = (int)(k - i < width ? k - i : width);
        for (int j = 0; j < n; j++)
            term[1 + j] = value(f, a[i + j]) * value(f, b[i + j]);
        /* Zeros follow the last element: one is like all. */
        sum = add_terms(term, n < width ? n + 2 : n + 1);
    }
    return sum;
}
