#include <string.h>

#include "jit/emulation.h"
#include "jit/llvm_emit.h"

/* Calls in place of instructions: see emulation.h. Operands and result go by the stack, so that no
 * calling convention for wide vectors is needed. */

static rlx_emulated_fn *find(const rlx_jit_emulation *all, const char *name)
{
    for (int i = 0; all && i < all->n; i++)
        if (strcmp(all->instruction[i].name, name) == 0)
            return all->instruction[i].run;
    return NULL;
}

static LLVMValueRef place(rlx_emit *e, LLVMTypeRef type)
{
    LLVMValueRef p = LLVMBuildAlloca(e->entry, type, "emulated");
    LLVMSetAlignment(p, 64);
    return p;
}

bool rlx_emit_emulated(rlx_emit *e, const char *name, LLVMTypeRef result, LLVMValueRef *args, int n,
                       LLVMValueRef *out)
{
    rlx_emulated_fn *run = find(e->target->emulation, name);
    if (!run)
        return false;
    LLVMValueRef list = place(e, LLVMArrayType2(e->ptr, (uint64_t)n + 1));
    for (int i = 0; i < n; i++) {
        LLVMValueRef p = place(e, LLVMTypeOf(args[i])), at = rlx_emit_int(e->i64, i);
        LLVMBuildStore(e->b, args[i], p);
        LLVMBuildStore(e->b, p, LLVMBuildGEP2(e->b, e->ptr, list, &at, 1, ""));
    }
    bool nothing = LLVMGetTypeKind(result) == LLVMVoidTypeKind;
    LLVMTypeRef params[] = {e->ptr, e->ptr};
    LLVMTypeRef type = LLVMFunctionType(LLVMVoidTypeInContext(e->cx), params, 2, false);
    LLVMValueRef address = rlx_emit_int(e->i64, (int64_t)(intptr_t)run);
    LLVMValueRef call[] = {place(e, nothing ? e->i8 : result), list};
    LLVMBuildCall2(e->b, type, LLVMBuildIntToPtr(e->b, address, e->ptr, ""), call, 2, "");
    *out = nothing ? NULL : LLVMBuildLoad2(e->b, result, call[0], "");
    return true;
}
