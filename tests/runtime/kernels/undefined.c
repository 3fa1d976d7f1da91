#include "kernels.h"

extern double rlx_test_not_there(double x) __attribute__((visibility("hidden")));

KERNEL(undefined)
{
    UNUSED(symbols), UNUSED(memory), UNUSED(team), UNUSED(teams);
    *(double *)buffers[0] = rlx_test_not_there(*(double *)buffers[0]);
}
