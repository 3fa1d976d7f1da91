/* jit/llvm_team.h: the part of an engine that GPUs share: tiles spread over a team's invocations.
 */
#ifndef RLX_JIT_LLVM_TEAM_H
#define RLX_JIT_LLVM_TEAM_H

#include "jit/llvm_emit.h"

/* LLVM's address spaces, the same on NVPTX and AMDGPU. */
enum { RLX_EMIT_SPACE_GLOBAL = 1, RLX_EMIT_SPACE_TEAM = 3 };

int rlx_emit_team_parts(const rlx_emit *e, const rlx_ir_type *tile);
LLVMTypeRef rlx_emit_team_part_type(const rlx_emit *e, const rlx_ir_type *tile);
/* To be called by an engine's begin: makes the exchange. `thread`, `team_index` and `teams` are the
 * engine's to set. */
void rlx_emit_team_begin(rlx_emit *e);
rlx_status rlx_emit_team_node(rlx_emit *e, const rlx_ir_node *n);
/* Where this invocation's element of a part is: at[i] along axis i, i32; *valid: i1, NULL when it
 * always is one. */
void rlx_emit_team_place(rlx_emit *e, const rlx_ir_type *tile, int part, LLVMValueRef *at,
                         LLVMValueRef *valid);
/* llvm_team_blocks.c: a load from blocks. */
rlx_status rlx_emit_team_load_blocks(rlx_emit *e, const rlx_ir_node *n);
/* Checks what team memory was given out. */
rlx_status rlx_emit_team_end(rlx_emit *e);

#endif
