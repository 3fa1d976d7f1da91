/* tests/random_graphs/device.h: the Vulkan device that graphs run on. */
#ifndef RLX_TESTS_RANDOM_GRAPHS_DEVICE_H
#define RLX_TESTS_RANDOM_GRAPHS_DEVICE_H

#include "jit/jit.h"
#include "runtime/device_vulkan.h"

typedef struct graph_device {
    rlx_device *device;
    rlx_jit_target target;
    uint64_t masked; /* of its features, by the seed */
    rlx_text said;   /* by the validation layer */
    bool validated;  /* whether there is one */
} graph_device;

/* The code of what opening it said, in a line: RLX_NOT_FOUND where there is none of that name. 0, and a line that says what it is: it is there. */
int graph_device_is_there(const char *name);

/* Opens what `name` means, under the validation layer where that is installed. Of a device that is given without features,
 * every other seed masks some. */
rlx_status graph_device_open(const char *name, uint64_t seed, graph_device *d);
/* An error when the layer said anything. */
rlx_status graph_device_close(graph_device *d);

#endif
