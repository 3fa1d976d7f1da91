/* tests/jit/assembled_flow.h: flows as kernels for NVIDIA, through ptxas. */
#ifndef RLX_TESTS_JIT_ASSEMBLED_FLOW_H
#define RLX_TESTS_JIT_ASSEMBLED_FLOW_H

#include "frontend/rlx.h"

/* Compiles the flow for `processor` ("sm_80") as programs are, exact and fast, and assembles its kernels, where ptxas is on PATH: how many
 * there are, and how many spill, each of which is printed. Fails the running test where ptxas refuses one. */
rlx_status assemble_flow(const rlx_flow *f, const rlx_weights *w,
                         const rlx_compile_options *options, const char *processor, int *kernels,
                         int *spilling);

#endif
