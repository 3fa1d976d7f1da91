/* tests/gpu/world.h: contexts on the fake drivers (fake_driver.h). Kernels are lowered for a GPU and made for teams on the host
 * (jit/host_team.h): what a driver is given as code for its device is an object that this process runs. */
#ifndef RLX_TESTS_GPU_WORLD_H
#define RLX_TESTS_GPU_WORLD_H

#include "frontend/context.h"
#include "tests/gpu/fake_driver.h"
#include "tests/jit/subject.h"

/* Opens the library: from then on the program's own dlopen finds it. Aborts where it is not there. */
fake_driver *world_open_driver(rlx_gpu_kind k);
/* What runs the launches of a driver: native code of each kernel, kept by the bytes of its image. */
void world_run(void *user, const fake_kernel_launch *l);
void world_forget_code(void);
extern loaded_order world_order; /* of teams that run together */
/* A context on a device of a fake driver, whose code is made for the host. `options` has the device's name and what else is wanted. */
rlx_status world_open(const rlx_context_options *options, rlx_context **out);

/* What is compiled in a context from now on is for the host. */
void world_emulate(rlx_context *cx);

#endif
