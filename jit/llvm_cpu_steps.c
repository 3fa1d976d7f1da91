#include "jit/llvm_cpu.h"

#include <string.h>

/* The steps of a polynomial, for a few registers side by side.
 *
 * A step waits for the one before. LLVM's scheduler, short of registers, finishes one vector's steps
 * before it begins the next one's, and keeps constants in registers and sums on the stack: then a
 * machine looks for what it might do meanwhile in a queue that is full of what waits. So every step
 * of four registers is tied together: the next step of one is behind this step of all. No
 * instruction is made. */

enum { TOGETHER = 4 };

/* A call that only gives values: LLVM takes assembly, even none, for what may do anything. */
static void does_nothing(const rlx_emit *e, LLVMValueRef call)
{
    static const char *const names[] = {"nounwind", "willreturn", "memory"}; /* memory(none) is 0 */
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const unsigned kind = LLVMGetEnumAttributeKindForName(names[i], strlen(names[i]));
        LLVMAddCallSiteAttribute(call, (LLVMAttributeIndex)LLVMAttributeFunctionIndex,
                                 LLVMCreateEnumAttribute(e->cx, kind, 0));
    }
}

/* x[0] .. x[n-1], f32 of a register each, all of them behind the last. */
static void tie(rlx_emit *e, LLVMValueRef *x, int n)
{
    static const char *const same[2][TOGETHER + 1] = {
        {[2] = "=x,=x,0,1", [3] = "=x,=x,=x,0,1,2", [4] = "=x,=x,=x,=x,0,1,2,3"},
        {[2] = "=v,=v,0,1", [3] = "=v,=v,=v,0,1,2", [4] = "=v,=v,=v,=v,0,1,2,3"}};
    const char *registers = same[e->target->avx512 ? 1 : 0][n]; /* v: any of 32 */
    LLVMTypeRef type[TOGETHER];
    for (int i = 0; i < n; i++)
        type[i] = LLVMTypeOf(x[i]);
    LLVMTypeRef all = LLVMStructTypeInContext(e->cx, type, (unsigned)n, false);
    LLVMTypeRef fn = LLVMFunctionType(all, type, (unsigned)n, false);
    LLVMValueRef none = LLVMGetInlineAsm(fn, "", 0, registers, strlen(registers), false, false,
                                         LLVMInlineAsmDialectATT, false);
    LLVMValueRef tied = LLVMBuildCall2(e->b, fn, none, x, (unsigned)n, "");
    does_nothing(e, tied);
    for (int i = 0; i < n; i++)
        x[i] = LLVMBuildExtractValue(e->b, tied, (unsigned)i, "");
}

/* A part of whole registers, as these. */
static rlx_status cut(rlx_emit *e, LLVMValueRef part, int count, LLVMValueRef *x)
{
    const int lanes = rlx_emit_register_lanes(e);
    x[0] = part;
    for (int i = 0; i < count && count > 1; i++)
        RLX_TRY(rlx_emit_pick(e, part, (int64_t)i * lanes, 1, lanes, &x[i]));
    return RLX_OK;
}

rlx_status rlx_emit_cpu_step(rlx_emit *e, const rlx_ir_type *type, rlx_emit_tile *out)
{
    const int lanes = rlx_emit_register_lanes(e);
    const int64_t row = type->rank ? type->dim[type->rank - 1] : 1;
    const int each = (int)(row / lanes), count = each * out->n;
    const bool halves = e->target->avx512 && e->target->emulation; /* LLVM has no such registers */
    if (e->target->kind != RLX_JIT_CPU || halves || row % lanes != 0 || count < 2)
        return RLX_OK;
    LLVMValueRef *x = RLX_NEW_ARRAY(e->arena, LLVMValueRef, count);
    if (!x)
        return RLX_OOM();
    for (int p = 0; p < out->n; p++)
        RLX_TRY(cut(e, out->part[p], each, x + p * each));
    for (int i = 0; i + 1 < count; i += TOGETHER)
        tie(e, x + i, count - i < TOGETHER ? count - i : TOGETHER);
    for (int p = 0; p < out->n; p++)
        out->part[p] = rlx_emit_join(e, x + p * each, each);
    return RLX_OK;
}
