/* jit/vulkan_target.h: kinds of Vulkan devices by name. Internal to jit/. */
#ifndef RLX_JIT_VULKAN_TARGET_H
#define RLX_JIT_VULKAN_TARGET_H

#include "jit/jit.h"

/* "nvidia", "base,-int8", "nvidia,-f16,matrix=16x16x32". RLX_INVALID_ARGUMENT names the nearest known word, or what the unit lacks. */
rlx_status rlx_jit_vulkan_target(const char *text, rlx_jit_target *out);
int rlx_jit_vulkan_count(void);
/* Kind i, if its code runs on `host`; false otherwise. Where the host has a matrix unit, each kind with it comes before all without. */
bool rlx_jit_vulkan_below(const rlx_jit_target *host, int i, rlx_jit_target *out);
/* Invocations of a subgroup that multiplies matrices of bytes; 0: code for the target has none. */
int rlx_jit_vulkan_lanes(const rlx_jit_target *t);

#endif
