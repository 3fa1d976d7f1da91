/* jit/llvm_gpu.h: what engines of real GPUs share beside llvm_team.h: kernels that take a pointer per buffer, then one to
 * the symbols. */
#ifndef RLX_JIT_LLVM_GPU_H
#define RLX_JIT_LLVM_GPU_H

#include "jit/llvm_team.h"

/* The function, its entry block and `symbols`. */
rlx_status rlx_emit_gpu_function(rlx_emit *e, unsigned convention);
/* The value of an intrinsic without arguments, read in the entry block. */
LLVMValueRef rlx_emit_gpu_register(rlx_emit *e, const char *name);
/* The last of a `begin`: buffers, whose strides are of symbols, and the exchange. */
rlx_status rlx_emit_gpu_buffers(rlx_emit *e);
LLVMValueRef rlx_emit_gpu_team_memory(rlx_emit *e, int64_t bytes);

#endif
