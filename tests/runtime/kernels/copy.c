#include "kernels.h"

/* y[i] = x[i], i < TOKENS. */
KERNEL(copy)
{
    UNUSED(memory);
    const int32_t *x = buffers[0];
    int32_t *y = buffers[1];
    PART(symbols[TOKENS], lo, hi);
    for (int64_t i = lo; i < hi; i++)
        y[i] = x[i];
}
