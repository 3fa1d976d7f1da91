#include "runtime/base/clock.h"

#include <time.h>

int64_t rlx_nanoseconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

double rlx_seconds(void)
{
    return 1e-9 * (double)rlx_nanoseconds();
}
