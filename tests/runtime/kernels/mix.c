#include "kernels.h"

/* y[i] = 2 * x[perm(i)] + w[0] + c[i], i < TOKENS: reads what other teams wrote. */
KERNEL(mix)
{
    UNUSED(memory);
    const int32_t *x = buffers[0], *c = buffers[1], *w = buffers[2];
    int32_t *y = buffers[3];
    int64_t n = symbols[TOKENS];
    PART(n, lo, hi);
    for (int64_t i = lo; i < hi; i++)
        y[i] = (int32_t)(2u * (uint32_t)x[(i * 7 + 3) % n] + (uint32_t)w[0] + (uint32_t)c[i]);
}
