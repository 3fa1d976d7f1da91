/* tests/lower/tape_runner.h: runs a LIR module's tape on the interpreter, written from the meaning of the tape
 * ops alone: an independent reading of what the runtime does. */
#ifndef RLX_TEST_TAPE_RUNNER_H
#define RLX_TEST_TAPE_RUNNER_H

#include "mir/mir.h"

typedef struct tape_run {
    const rlx_ir_module *module;
    const rlx_eval_env *env;
    char *arena; /* filled with a pattern before, so that what is read unwritten shows */
    size_t arena_bytes;
    rlx_lir_eval_options options;
    int launches; /* counted */
    /* Instead of the interpreter, when it is set. */
    rlx_status (*launch)(void *user, const rlx_ir_func *kernel, const rlx_lir_buffer *buffers, int nbuffers);
    void *user;
} tape_run;

/* Runs the entry function; out[i].data must be allocated for its results. */
rlx_status tape_run_entry(tape_run *r, const char *entry, rlx_eval_tensor *out, int nout);

#endif
