/* jit/vulkan_target.h: kinds of Vulkan devices by name. Internal to jit/. */
#ifndef RLX_JIT_VULKAN_TARGET_H
#define RLX_JIT_VULKAN_TARGET_H

#include "jit/jit.h"

/* "nvidia", "base,-int8", "nvidia,matrix=16x16x32,-f16". RLX_INVALID_ARGUMENT names the nearest known word. */
rlx_status rlx_jit_vulkan_target(const char *text, rlx_jit_target *out);
int rlx_jit_vulkan_count(void);
/* Kind i, if its code runs on `host`; false otherwise. */
bool rlx_jit_vulkan_below(const rlx_jit_target *host, int i, rlx_jit_target *out);

#endif
