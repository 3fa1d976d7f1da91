/* jit/tape.h: the tape of a planned LIR module as program data (runtime/program.h). */
#ifndef RLX_JIT_TAPE_H
#define RLX_JIT_TAPE_H

#include "jit/jit.h"

typedef struct rlx_jit_tape {
    rlx_program program;         /* all but code, features and code kind; in the arena, dims lent */
    const rlx_ir_func **kernels; /* program.nkernels of them: what to compile */
} rlx_jit_tape;

/* Functions reachable from o->entry, callees before callers; the kernels they launch; bound
 * tensors; outputs behind the entry's frame. RLX_INVALID_IR when the module is not planned or the
 * entry takes operands. */
rlx_status rlx_jit_tape_build(const rlx_ir_module *m, const rlx_jit_options *o, rlx_arena *arena,
                              rlx_jit_tape *out);

#endif
