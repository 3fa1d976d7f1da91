/* jit/step.h: whether a program has code that runs all launches of a step in one (llvm_step.c). */
#ifndef RLX_JIT_STEP_H
#define RLX_JIT_STEP_H

#include "jit/tape.h"

const char *rlx_jit_step_name(rlx_jit_step s); /* "graph", "kernel", "auto" */
/* "step=kernel". RLX_INVALID_ARGUMENT: it is none of them; RLX_UNSUPPORTED: not of this kind. */
rlx_status rlx_jit_step_parse(rlx_jit_kind kind, const char *word, rlx_jit_step *out);

/* Launches of a step, and what they move and compute in the bucket's largest. Of a sequence's pages one counts (rlx_program_cost): how many
 * there will be the bucket does not say, so that AUTO is about steps of short contexts. */
typedef struct rlx_jit_step_numbers {
    int64_t launches;
    double bytes, operations;
} rlx_jit_step_numbers;
void rlx_jit_step_count(const rlx_program *p, rlx_jit_step_numbers *out);

/* By the numbers of the plan, where the target leaves it to them: a step whose launches on average take no longer than the way from one
 * to the next. */
bool rlx_jit_step_is_wanted(const rlx_program *p, rlx_jit_step s);
/* For prompts, before they are lowered: GRAPH in place of AUTO where they multiply by a unit. Functions of a step that do spill, and may have
 * another unit than kernels by themselves, while AUTO is decided bucket by bucket, and what is computed is not. */
void rlx_jit_step_settle(rlx_jit_target *t);
/* What rlx_jit_compile makes of AUTO for this module; of `o` entry, output_names and upper are read. */
rlx_status rlx_jit_step_choose(const rlx_ir_module *m, const rlx_jit_options *o, rlx_jit_step *s);

/* A step of these kernels, by their numbers here, as rlx_jit_emit_kernel. For tests and benchmarks. */
rlx_status rlx_jit_emit_step(const rlx_ir_func *const *kernels, int n, const rlx_jit_target *t,
                             uint8_t **code, size_t *bytes);

#endif
