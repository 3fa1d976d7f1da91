/* tests/jit/emulated_wgmma.h: wgmma of a host team's warpgroups, for emulated_mma.c's table. */
#ifndef RLX_TESTS_JIT_EMULATED_WGMMA_H
#define RLX_TESTS_JIT_EMULATED_WGMMA_H

#include "jit/emulation.h"

rlx_emulated_fn emulated_fence_proxy, emulated_wgmma, emulated_wgmma_wait, emulated_wgmma_halves;
/* What the caller copied is there, and not shown to the unit. */
void emulated_wgmma_hide(void);

#endif
