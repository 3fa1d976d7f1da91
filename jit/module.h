/* jit/module.h: finding and opening librlx-llvm.so and its like; targets as LLVM wants them.
 * Internal to jit/. */
#ifndef RLX_JIT_MODULE_H
#define RLX_JIT_MODULE_H

#include "jit/llvm_module.h"

/* Opens the module once per process; thread-safe. RLX_NOT_FOUND lists where it was looked for. */
rlx_status rlx_jit_module_open(const rlx_llvm_module **out);
/* Opens a file of rlx's that lies beside this library, for good, and gives the address of `entry` in
 * it and its path (heap). `what` it is, for messages. */
rlx_status rlx_jit_open_beside(const char *file, const char *what, const char *entry, void **out,
                               char **path);
/* A worker for a target that LLVM makes code for. */
rlx_status rlx_jit_worker_create(const rlx_llvm_module *m, const rlx_jit_target *t, rlx_llvm **out);
/* A kernel's code or text, appended; linked, where it goes into an entry so. `parts` as of rlx_llvm_module's emit. */
rlx_status rlx_jit_worker_emit(const rlx_llvm_module *m, rlx_llvm *worker, const rlx_jit_target *t,
                               const rlx_ir_func *kernel, rlx_llvm_form form, rlx_llvm_parts *parts,
                               rlx_text *out);
/* A kernel to words of SPIR-V, appended; validated. Without a worker. */
rlx_status rlx_jit_emit_spirv(const rlx_ir_func *kernel, const rlx_jit_target *t, rlx_text *out);
/* The features that code for `t` may use. x86: those of x86-64-v4 if t has all of them, else of v3.
 */
uint64_t rlx_jit_code_features(const rlx_jit_target *t);
/* Whether code for such CPUs multiplies bytes by VNNI. */
bool rlx_jit_has_vnni(uint64_t features);
/* Those of them that whoever runs the code must have: fewer when tests emulate some. */
uint64_t rlx_jit_needed_features(const rlx_jit_target *t);
/* Statuses of the module are made by its own copy of the base library. They are ordinary heap
 * objects but for out-of-memory, which is replaced here by our own. */
rlx_status rlx_jit_adopt_status(rlx_status s);
/* A kernel that unrolls beyond what is compiled in reasonable time is RLX_UNSUPPORTED. */
rlx_status rlx_jit_check_budget(const rlx_ir_func *kernel, rlx_jit_kind kind);

#endif
