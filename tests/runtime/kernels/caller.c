#include "kernels.h"

extern double callee(double x) __attribute__((visibility("hidden")));

KERNEL(caller)
{
    UNUSED(symbols), UNUSED(memory), UNUSED(team), UNUSED(teams);
    *(double *)buffers[0] = callee(*(double *)buffers[0]);
}
