#include "jit/llvm_gpu.h"

/* NVIDIA GPUs: a team is a block of `team` threads.
 *
 *   ptx_kernel void @kernel(ptr global buffer..., ptr global symbols)
 *
 * launched with blocks of `team` threads and any number of blocks along x. */

enum { PTX_KERNEL = 71 }; /* calling convention */

/* Promises ptxas the block's size. */
static void annotate(rlx_emit *e)
{
    LLVMMetadataRef node[3] = {LLVMValueAsMetadata(e->fn),
                               LLVMMDStringInContext2(e->cx, "maxntidx", 8),
                               LLVMValueAsMetadata(rlx_emit_int(e->i32, e->target->team))};
    LLVMAddNamedMetadataOperand(e->module, "nvvm.annotations",
                                LLVMMetadataAsValue(e->cx, LLVMMDNodeInContext2(e->cx, node, 3)));
}

static rlx_status begin(rlx_emit *e)
{
    RLX_TRY(rlx_emit_gpu_function(e, PTX_KERNEL));
    annotate(e);
    e->thread = rlx_emit_gpu_register(e, "llvm.nvvm.read.ptx.sreg.tid.x");
    LLVMValueRef index = rlx_emit_gpu_register(e, "llvm.nvvm.read.ptx.sreg.ctaid.x");
    LLVMValueRef teams = rlx_emit_gpu_register(e, "llvm.nvvm.read.ptx.sreg.nctaid.x");
    e->team_index = LLVMBuildZExt(e->entry, index, e->i64, "");
    e->teams = LLVMBuildZExt(e->entry, teams, e->i64, "");
    return rlx_emit_gpu_buffers(e);
}

static void barrier(rlx_emit *e)
{
    rlx_emit_intrinsic(e, "llvm.nvvm.barrier0", NULL, NULL, 0);
}

static LLVMValueRef shuffle(rlx_emit *e, LLVMValueRef x, LLVMValueRef from)
{
    const bool is_float = LLVMTypeOf(x) == e->f32;
    LLVMValueRef args[4] = {rlx_emit_int(e->i32, -1), x, from, rlx_emit_int(e->i32, 31)};
    return rlx_emit_intrinsic(
        e, is_float ? "llvm.nvvm.shfl.sync.idx.f32" : "llvm.nvvm.shfl.sync.idx.i32", NULL, args, 4);
}

/* LLVM 19 has no intrinsic of it. */
static LLVMValueRef dot4(rlx_emit *e, LLVMValueRef a, LLVMValueRef b, LLVMValueRef sum)
{
    static const char text[] = "dp4a.s32.s32 $0, $1, $2, $3;", operands[] = "=r,r,r,r";
    LLVMTypeRef params[3] = {e->i32, e->i32, e->i32};
    LLVMValueRef args[3] = {a, b, sum};
    LLVMTypeRef type = LLVMFunctionType(e->i32, params, 3, false);
    LLVMValueRef dp4a = LLVMGetInlineAsm(type, text, sizeof text - 1, operands, sizeof operands - 1,
                                         false, false, LLVMInlineAsmDialectATT, false);
    return LLVMBuildCall2(e->b, type, dp4a, args, 3, "");
}

const rlx_emit_engine rlx_emit_engine_nvptx = {
    .name = "the NVPTX emitter",
    .parts = rlx_emit_team_parts,
    .part_type = rlx_emit_team_part_type,
    .begin = begin,
    .node = rlx_emit_team_node,
    .barrier = barrier,
    .shuffle = shuffle,
    .dot4 = dot4,
    .team_memory = rlx_emit_gpu_team_memory,
    .end = rlx_emit_team_end,
};
