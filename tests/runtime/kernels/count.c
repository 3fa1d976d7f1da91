#include "kernels.h"

/* The state n i64[1] counts the runs; y[0] is it. Team memory: y[1] is its address mod 64, y[2] the
 * sum of what was written to it. y[3]: bits of a product that is a denormal. */
KERNEL(count)
{
    UNUSED(symbols), UNUSED(teams);
    if (team != 0)
        return;
    int64_t *n = buffers[0], *y = buffers[1];
    const volatile float *x = buffers[2];
    y[0] = ++n[0];
    y[1] = (int64_t)((uintptr_t)memory % 64);
    volatile int64_t *own = memory;
    y[2] = 0;
    for (int64_t i = 0; i < 32; i++)
        own[i] = i;
    for (int64_t i = 0; i < 32; i++)
        y[2] += own[i];
    union {
        float f;
        uint32_t bits;
    } product = {.f = x[0] * x[1]};
    y[3] = product.bits;
}
