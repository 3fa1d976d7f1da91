/* tests/vulkan/environment.h: which driver tests run on. */
#ifndef RLX_TESTS_VULKAN_ENVIRONMENT_H
#define RLX_TESTS_VULKAN_ENVIRONMENT_H

/* The environment of a machine without a display or a GPU: lavapipe, unless the caller's chooses a
 * driver. To be called before the first device. */
void environment_prepare(void);

#endif
