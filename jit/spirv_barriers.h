/* jit/spirv_barriers.h: which barriers of a kernel's body nothing needs. */
#ifndef RLX_JIT_SPIRV_BARRIERS_H
#define RLX_JIT_SPIRV_BARRIERS_H

#include "jit/spirv_module.h"

/* Drops barriers from a body that is whole: two accesses to one variable that others may see, one of which writes, still have a
 * barrier on every way from one to the other. Those in inner loops are dropped first. A body that it cannot read keeps all. */
void rlx_spirv_drop_barriers(rlx_spirv_module *m);

#endif
