/* tests/vulkan/environment.h: which driver tests run on. */
#ifndef RLX_TESTS_VULKAN_ENVIRONMENT_H
#define RLX_TESTS_VULKAN_ENVIRONMENT_H

#include "tests/vulkan/fault_layer.h"

/* The environment of a machine without a display or a GPU: lavapipe, unless the caller's chooses a
 * driver. To be called before the first device. */
void environment_prepare(void);

/* The same, and the layer of fault_layer.h in front of all others; it stays loaded. */
const fault_layer *environment_prepare_faults(void);

#endif
