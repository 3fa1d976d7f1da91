#include "jit/llvm_gpu.h"

#include <string.h>

#include "runtime/program.h"

rlx_status rlx_emit_gpu_function(rlx_emit *e, unsigned convention)
{
    const rlx_ir_block *body = e->kernel->body;
    const int maps = rlx_emit_tensors_count(e);
    LLVMTypeRef *params = RLX_NEW_ARRAY(e->arena, LLVMTypeRef, body->nargs + 1 + RLX_PROGRAM_MAPS);
    if (!params || maps < 0)
        return RLX_OOM();
    for (int i = 0; i < maps; i++)
        params[body->nargs + 1 + i] = e->ptr;
    for (int i = 0; i <= body->nargs; i++)
        params[i] = LLVMPointerTypeInContext(e->cx, RLX_EMIT_SPACE_GLOBAL);
    LLVMTypeRef type = LLVMFunctionType(LLVMVoidTypeInContext(e->cx), params,
                                        (unsigned)(body->nargs + 1 + maps), false);
    e->fn = LLVMAddFunction(e->module, e->kernel->name, type);
    LLVMSetFunctionCallConv(e->fn, convention);
    LLVMPositionBuilderAtEnd(e->entry, rlx_emit_new_block(e, "entry"));
    e->symbols = LLVMGetParam(e->fn, (unsigned)body->nargs);
    for (int i = 0; i < maps; i++) {
        const unsigned param = (unsigned)(body->nargs + 1 + i);
        rlx_emit_tensors_param(e, param);
        rlx_emit_tensors_add(e, i,
                             LLVMBuildPtrToInt(e->entry, LLVMGetParam(e->fn, param), e->i64, ""));
    }
    return RLX_OK;
}

LLVMValueRef rlx_emit_gpu_register(rlx_emit *e, const char *name)
{
    unsigned id = LLVMLookupIntrinsicID(name, strlen(name));
    LLVMValueRef fn = LLVMGetIntrinsicDeclaration(e->module, id, NULL, 0);
    return LLVMBuildCall2(e->entry, LLVMGlobalGetValueType(fn), fn, NULL, 0, "");
}

rlx_status rlx_emit_gpu_buffers(rlx_emit *e)
{
    const rlx_ir_block *body = e->kernel->body;
    for (int i = 0; i < body->nargs; i++)
        RLX_TRY(rlx_emit_define_buffer(e, body->args[i], LLVMGetParam(e->fn, (unsigned)i)));
    return rlx_emit_team_begin(e);
}

LLVMValueRef rlx_emit_gpu_team_memory(rlx_emit *e, int64_t bytes)
{
    LLVMTypeRef type = LLVMArrayType2(e->i8, (uint64_t)bytes);
    LLVMValueRef g = LLVMAddGlobalInAddressSpace(e->module, type, "team", RLX_EMIT_SPACE_TEAM);
    LLVMSetInitializer(g, LLVMGetUndef(type));
    LLVMSetLinkage(g, LLVMInternalLinkage);
    const int64_t align = rlx_emit_team_align(e, bytes);
    LLVMSetAlignment(g, (unsigned)align);
    e->team_bytes += (bytes + align - 1) / align * align;
    return g;
}
