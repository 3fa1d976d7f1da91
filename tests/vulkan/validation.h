/* tests/vulkan/validation.h: devices under the validation layer. */
#ifndef RLX_TESTS_VULKAN_VALIDATION_H
#define RLX_TESTS_VULKAN_VALIDATION_H

#include "runtime/device_vulkan.h"

/* Opens a device under the layer, which is to be silent: o.said has what it says. Where the layer is not installed, without it;
 * *validated says which. */
rlx_status validation_open(rlx_vulkan_options o, rlx_device **out, bool *validated);

#endif
