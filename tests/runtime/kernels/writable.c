#include "kernels.h"

static int32_t calls = 7;

KERNEL(writable)
{
    UNUSED(symbols), UNUSED(memory), UNUSED(team), UNUSED(teams);
    *(int32_t *)buffers[0] = ++calls;
}
