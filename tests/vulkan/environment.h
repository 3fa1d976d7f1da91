/* tests/vulkan/environment.h: which driver tests run on. */
#ifndef RLX_TESTS_VULKAN_ENVIRONMENT_H
#define RLX_TESTS_VULKAN_ENVIRONMENT_H

#include <stdbool.h>

#include "tests/vulkan/fault_layer.h"

/* The environment of a machine without a display or a GPU: lavapipe, unless the caller's chooses a
 * driver. To be called before the first device. */
void environment_prepare(void);

/* The same, and the layer of fault_layer.h in front of all others; it stays loaded. */
const fault_layer *environment_prepare_faults(void);

/* Programs that are started from here open devices under the validation layer, where that is installed; what it says goes to
 * their stdout. (What it is to be heard about: vk_layer_settings.txt, or where VK_LAYER_SETTINGS_PATH points.) */
void environment_validate(void);
bool environment_has_validation(void); /* it is installed */

#endif
