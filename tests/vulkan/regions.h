/* tests/vulkan/regions.h: the HIR modules of tests/vulkan/regions/, lowered for a GPU as any
 * program is, with tensors for all that they bind. A `// run` line binds the symbols of one case;
 * `// exact` says that nothing may be rounded otherwise, `// fast` that products are of codes. */
#ifndef RLX_TESTS_VULKAN_REGIONS_H
#define RLX_TESTS_VULKAN_REGIONS_H

#include "mir/mir.h"

enum { REGION_TEAM = 64, REGION_MAX_TENSORS = 64, REGION_LAYERS = 2 };

typedef struct region {
    const char *path, *bindings; /* in messages */
    bool exact, fast;
    rlx_dims *dims;
    rlx_ir_module *lir;
    int64_t symbols[RLX_MAX_SYMBOLS];
    int64_t arena_bytes;
    rlx_eval_tensor tensor[REGION_MAX_TENSORS]; /* owned: names and data too */
    int ntensors;
    uint64_t seed;
} region;

/* Lowers those of `fast` for a device that multiplies matrices, of such shape by so many invocations; zeros: for none. */
typedef struct region_unit {
    int m, n, k, lanes;
} region_unit;

typedef rlx_status region_launch(void *user, const region *r, const rlx_ir_func *kernel,
                                 const rlx_lir_buffer *buffers, int nbuffers);

/* Calls `visit` for every file and every `run` line in it; how many. Fails the running test when
 * something cannot be read or lowered. */
int regions_each(void (*visit)(void *user, const region *r), void *user);
/* The same of the fast ones alone. */
int regions_each_by_unit(const region_unit *unit, void (*visit)(void *user, const region *r),
                         void *user);
/* Runs @main's tape with `launch` in the place of each launch. */
rlx_status region_run(const region *r, region_launch *launch, void *user);

#endif
