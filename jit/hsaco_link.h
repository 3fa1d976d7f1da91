/* jit/hsaco_link.h: an AMD GPU's kernel from LLVM's object to what a driver loads. Internal to jit/ and its tests. */
#ifndef RLX_JIT_HSACO_LINK_H
#define RLX_JIT_HSACO_LINK_H

#include <stddef.h>

#include "runtime/base/status.h"
#include "runtime/base/text.h"

/* Appends the code object that the relocatable object `data` makes. `name` is the kernel's, for messages. What stands alone is
 * linked; RLX_UNSUPPORTED names what an object wants of others, RLX_INVALID_FILE what is wrong in it. */
rlx_status rlx_hsaco_link(const char *name, const void *data, size_t bytes, rlx_text *out);

#endif
