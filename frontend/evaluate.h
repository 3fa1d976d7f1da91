/* frontend/evaluate.h: executables that an evaluator of a level runs. */
#ifndef RLX_FRONTEND_EVALUATE_H
#define RLX_FRONTEND_EVALUATE_H

#include "frontend/compilation.h"

/* An executable whose kernels (or steps) an evaluator runs: takes `*c` and `p` over, also on failure. */
rlx_status rlx_evaluator_create(rlx_compilation *c, rlx_runner runner, rlx_program *p,
                                const rlx_weights *w, rlx_executable **out);

#endif
