#include "kernels.h"

/* What a loader must relocate: constants, a string, a jump table, calls inside the object. */
static const int32_t primes[8] = {2, 3, 5, 7, 11, 13, 17, 19};
static const double halves[4] = {0.5, 1.5, 2.5, 3.5};

__attribute__((noinline)) static int32_t choose(int32_t i)
{
    switch (i) {
    case 0:
        return primes[3];
    case 1:
        return (int32_t)(halves[2] * 2);
    case 2:
        return "rlx"[1];
    case 3:
        return -4;
    case 4:
        return primes[7] * 3;
    case 5:
        return (int32_t)halves[i - 2];
    default:
        return 1000 + i;
    }
}

/* y[i] = choose(i), i < 8 */
KERNEL(tables)
{
    UNUSED(symbols), UNUSED(memory), UNUSED(teams);
    int32_t *y = buffers[0];
    if (team == 0)
        for (int32_t i = 0; i < 8; i++)
            y[i] = choose(i) + primes[i & 7];
}
