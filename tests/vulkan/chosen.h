/* tests/vulkan/chosen.h: suites that run once more on a device that the command line names. */
#ifndef RLX_TESTS_VULKAN_CHOSEN_H
#define RLX_TESTS_VULKAN_CHOSEN_H

#include <stdbool.h>

/* NULL: the CPU and whatever else the suite is about; or a device in their place ("vulkan"). */
extern const char *chosen_device;

/* Takes it from the command line. What runs there, programs that are started, too, runs under the validation layer where that is
 * installed; a line says whether it does. False: the machine has no such device, which is said; then main returns CHOSEN_SKIPPED. */
bool chosen_begin(int argc, char **argv);
enum { CHOSEN_SKIPPED = 77 };

#endif
