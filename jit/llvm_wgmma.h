/* jit/llvm_wgmma.h: what products by wgmma share: inline assembly that tests put functions in place of, what the unit reads of team memory.
 */
#ifndef RLX_JIT_LLVM_WGMMA_H
#define RLX_JIT_LLVM_WGMMA_H

#include "jit/llvm_team.h"

enum { RLX_WGMMA_ARGUMENTS = 256 }; /* at most */
/* Inline assembly, or what tests put in its place, which gets all arguments; the assembly has those from the `told`-th on. */
LLVMValueRef rlx_emit_assemble(rlx_emit *e, const char *name, LLVMTypeRef type, const char *text,
                               const char *operands, LLVMValueRef *args, int n, int told);
/* What this invocation wrote to team memory is there for the unit, behind a barrier. */
void rlx_emit_show_to_unit(rlx_emit *e);
/* Of team memory as the unit has it, i64: a GPU's own addresses, in a step's kernels too; what is emulated has them from the memory's begin. */
LLVMValueRef rlx_emit_own_address(rlx_emit *e, LLVMValueRef p);
/* The descriptor of rows of so many bytes, swizzled (rlx_matrix_swizzle), from p on: where eight of them begin, at a multiple of what they take, or so many
 * bytes of K further. */
LLVMValueRef rlx_emit_wgmma_rows(rlx_emit *e, LLVMValueRef p, int64_t row_bytes);
/* "{$first, .. }" */
void rlx_emit_put_registers(rlx_text *t, int first, int n);

#endif
