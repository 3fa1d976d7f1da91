#include "jit/llvm_team.h"

#include <string.h>

/* NVIDIA GPUs: a team is a block of `team` threads.
 *
 *   ptx_kernel void @kernel(ptr global buffer..., ptr global symbols)
 *
 * launched with blocks of `team` threads and any number of blocks along x. */

enum { PTX_KERNEL = 71 }; /* calling convention */

static LLVMValueRef special_register(rlx_emit *e, const char *name)
{
    unsigned id = LLVMLookupIntrinsicID(name, strlen(name));
    LLVMValueRef fn = LLVMGetIntrinsicDeclaration(e->module, id, NULL, 0);
    return LLVMBuildCall2(e->entry, LLVMGlobalGetValueType(fn), fn, NULL, 0, "");
}

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
    const rlx_ir_block *body = e->kernel->body;
    LLVMTypeRef *params = RLX_NEW_ARRAY(e->arena, LLVMTypeRef, body->nargs + 1);
    if (!params)
        return RLX_OOM();
    for (int i = 0; i <= body->nargs; i++)
        params[i] = LLVMPointerTypeInContext(e->cx, RLX_EMIT_SPACE_GLOBAL);
    LLVMTypeRef type =
        LLVMFunctionType(LLVMVoidTypeInContext(e->cx), params, (unsigned)body->nargs + 1, false);
    e->fn = LLVMAddFunction(e->module, e->kernel->name, type);
    LLVMSetFunctionCallConv(e->fn, PTX_KERNEL);
    annotate(e);
    LLVMPositionBuilderAtEnd(e->entry, rlx_emit_new_block(e, "entry"));
    e->thread = special_register(e, "llvm.nvvm.read.ptx.sreg.tid.x");
    e->team_index =
        LLVMBuildZExt(e->entry, special_register(e, "llvm.nvvm.read.ptx.sreg.ctaid.x"), e->i64, "");
    e->teams = LLVMBuildZExt(e->entry, special_register(e, "llvm.nvvm.read.ptx.sreg.nctaid.x"),
                             e->i64, "");
    e->symbols = LLVMGetParam(e->fn, (unsigned)body->nargs);
    for (int i = 0; i < body->nargs; i++)
        RLX_TRY(rlx_emit_define_buffer(e, body->args[i], LLVMGetParam(e->fn, (unsigned)i)));
    rlx_emit_team_begin(e);
    return RLX_OK;
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

static LLVMValueRef team_memory(rlx_emit *e, int64_t bytes)
{
    LLVMTypeRef type = LLVMArrayType2(e->i8, (uint64_t)bytes);
    LLVMValueRef g = LLVMAddGlobalInAddressSpace(e->module, type, "team", RLX_EMIT_SPACE_TEAM);
    LLVMSetInitializer(g, LLVMGetUndef(type));
    LLVMSetLinkage(g, LLVMInternalLinkage);
    LLVMSetAlignment(g, 64);
    e->team_bytes += bytes;
    return g;
}

const rlx_emit_engine rlx_emit_engine_nvptx = {
    .name = "the NVPTX emitter",
    .parts = rlx_emit_team_parts,
    .part_type = rlx_emit_team_part_type,
    .begin = begin,
    .node = rlx_emit_team_node,
    .barrier = barrier,
    .shuffle = shuffle,
    .team_memory = team_memory,
    .end = rlx_emit_team_end,
};
