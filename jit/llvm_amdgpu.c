#include "jit/llvm_gpu.h"

#include <llvm-c/IRReader.h>
#include <stdio.h>
#include <string.h>

/* AMD GPUs: a team is a workgroup of `team` invocations along x.
 *
 *   amdgpu_kernel void @kernel(ptr global buffer..., ptr global symbols)
 *
 * launched with any number of workgroups along x. Of the hidden arguments that a launcher of code object
 * version 5 puts behind these, the kernel reads the number of workgroups and no other. */

enum { AMDGPU_KERNEL = 91, CODE_OBJECT_VERSION = 500, SPACE_CONSTANT = 4 };

/* ---- what the function says of itself ---- */

static void set_attribute(rlx_emit *e, const char *name, const char *value)
{
    LLVMAttributeRef a = LLVMCreateStringAttribute(e->cx, name, (unsigned)strlen(name), value,
                                                   (unsigned)strlen(value));
    LLVMAddAttributeAtIndex(e->fn, (LLVMAttributeIndex)LLVMAttributeFunctionIndex, a);
}

/* Products by MFMA: half of a SIMD's registers for a wave, none of them accumulators. An operand that is to be
 * added to may lie in either half, but only matrix instructions add to accumulators: sums would be
 * moved from there group by group. */
static void set_registers(rlx_emit *e)
{
    set_attribute(e, "amdgpu-waves-per-eu", "2");
    set_attribute(e, "amdgpu-no-agpr", "");
}

/* The workgroup's size, so that registers are dealt out for it; and what is not asked for. */
static void set_attributes(rlx_emit *e)
{
    static const char *const unused[] = {
        "amdgpu-no-completion-action", "amdgpu-no-default-queue",      "amdgpu-no-dispatch-id",
        "amdgpu-no-dispatch-ptr",      "amdgpu-no-heap-ptr",           "amdgpu-no-hostcall-ptr",
        "amdgpu-no-lds-kernel-id",     "amdgpu-no-multigrid-sync-arg", "amdgpu-no-queue-ptr",
        "amdgpu-no-workgroup-id-y",    "amdgpu-no-workgroup-id-z",     "amdgpu-no-workitem-id-y",
        "amdgpu-no-workitem-id-z",
    };
    char size[32];
    snprintf(size, sizeof size, "%d,%d", e->target->team, e->target->team);
    set_attribute(e, "amdgpu-flat-work-group-size", size);
    set_attribute(e, "uniform-work-group-size", "true");
    for (size_t i = 0; i < sizeof unused / sizeof *unused; i++)
        set_attribute(e, unused[i], "");
    LLVMSetVisibility(e->fn, LLVMProtectedVisibility);
    LLVMAddModuleFlag(e->module, LLVMModuleFlagBehaviorError, "amdhsa_code_object_version", 26,
                      LLVMValueAsMetadata(rlx_emit_int(e->i32, CODE_OBJECT_VERSION)));
}

/* ---- barriers: fences of the workgroup on both sides
 * The C interface makes fences of the whole system or of one thread only: ours are read from text, lie in a
 * function that is deleted in the end, and are copied from there. */

static const char fences[] = "rlx.fences";

static rlx_status read_fences(rlx_emit *e)
{
    static const char text[] = "define void @fences() {\n"
                               " fence syncscope(\"workgroup\") release\n"
                               " fence syncscope(\"workgroup\") acquire\n"
                               " ret void\n}\n";
    LLVMModuleRef parsed;
    char *error = NULL;
    LLVMMemoryBufferRef buffer =
        LLVMCreateMemoryBufferWithMemoryRange(text, sizeof text - 1, "fences", true);
    if (LLVMParseIRInContext(e->cx, buffer, &parsed, &error)) { /* takes the buffer */
        rlx_status st = RLX_FAIL(RLX_INTERNAL, "LLVM does not read fences: %s", error);
        LLVMDisposeMessage(error);
        return st;
    }
    LLVMTypeRef type = LLVMFunctionType(LLVMVoidTypeInContext(e->cx), NULL, 0, false);
    LLVMValueRef fn = LLVMAddFunction(e->module, fences, type);
    LLVMBasicBlockRef from = LLVMGetEntryBasicBlock(LLVMGetNamedFunction(parsed, "fences"));
    LLVMBuilderRef b = LLVMCreateBuilderInContext(e->cx);
    LLVMPositionBuilderAtEnd(b, LLVMAppendBasicBlockInContext(e->cx, fn, ""));
    for (LLVMValueRef i = LLVMGetFirstInstruction(from); i; i = LLVMGetNextInstruction(i))
        LLVMInsertIntoBuilder(b, LLVMInstructionClone(i));
    LLVMDisposeBuilder(b);
    LLVMDisposeModule(parsed);
    return RLX_OK;
}

static void barrier(rlx_emit *e)
{
    LLVMValueRef fn = LLVMGetNamedFunction(e->module, fences);
    LLVMValueRef release = LLVMGetFirstInstruction(LLVMGetEntryBasicBlock(fn));
    LLVMInsertIntoBuilder(e->b, LLVMInstructionClone(release));
    rlx_emit_intrinsic(e, "llvm.amdgcn.s.barrier", NULL, NULL, 0);
    LLVMInsertIntoBuilder(e->b, LLVMInstructionClone(LLVMGetNextInstruction(release)));
}

/* ---- loops ---- */

/* The most values of an invocation that a loop carries. */
static int most_carried(const rlx_emit *e, const rlx_ir_block *block)
{
    int most = 0;
    for (const rlx_ir_node *n = block->first; n; n = n->next) {
        int own = 0;
        for (int i = 0; i < n->nout && n->op == RLX_LIR_FOR; i++)
            own += rlx_emit_team_parts(e, &n->out[i]->type);
        most = own > most ? own : most;
        for (int i = 0; i < n->nblock; i++) {
            const int inside = most_carried(e, n->blocks[i]);
            most = inside > most ? inside : most;
        }
    }
    return most;
}

/* Whether loops shall make anew what depends on the invocation's number. Kernels that carry few values
 * wait for memory and gain nothing by fewer registers. */
static bool is_short_of_registers(const rlx_emit *e)
{
    enum { MANY = 16 };
    return e->nfragments || most_carried(e, e->kernel->body) >= MANY;
}

/* x, of which LLVM knows nothing, made here. */
static LLVMValueRef opaque(rlx_emit *e, LLVMValueRef x)
{
    static const char operands[] = "=v,0";
    LLVMTypeRef t = LLVMTypeOf(x), type = LLVMFunctionType(t, &t, 1, false);
    LLVMValueRef same = LLVMGetInlineAsm(type, "", 0, operands, sizeof operands - 1, true, false,
                                         LLVMInlineAsmDialectATT, false);
    return LLVMBuildCall2(e->b, type, same, &x, 1, "");
}

/* LLVM keeps what is made of the invocation's number, addresses above all, in registers through all
 * loops, however many there are. Behind this it is made anew for a loop's body. */
static void begin_loop(rlx_emit *e)
{
    if (e->renews)
        e->thread = opaque(e, e->thread);
}

/* ---- a kernel ---- */

/* Of the hidden arguments the first: workgroups along x. */
static LLVMValueRef load_teams(rlx_emit *e)
{
    LLVMValueRef p = rlx_emit_gpu_register(e, "llvm.amdgcn.implicitarg.ptr");
    return LLVMBuildZExt(e->entry, LLVMBuildLoad2(e->entry, e->i32, p, ""), e->i64, "teams");
}

/* Live values are the same for all, so they are read by scalar loads. */
static LLVMValueRef constant_symbols(rlx_emit *e)
{
    LLVMTypeRef type = LLVMPointerTypeInContext(e->cx, SPACE_CONSTANT);
    return LLVMBuildAddrSpaceCast(e->entry, e->symbols, type, "");
}

static rlx_status begin(rlx_emit *e)
{
    RLX_TRY(rlx_emit_gpu_function(e, AMDGPU_KERNEL));
    set_attributes(e);
    RLX_TRY(read_fences(e));
    e->thread = rlx_emit_gpu_register(e, "llvm.amdgcn.workitem.id.x");
    LLVMValueRef index = rlx_emit_gpu_register(e, "llvm.amdgcn.workgroup.id.x");
    e->team_index = LLVMBuildZExt(e->entry, index, e->i64, "");
    e->teams = load_teams(e);
    e->symbols = constant_symbols(e);
    RLX_TRY(rlx_emit_gpu_buffers(e));
    e->renews = is_short_of_registers(e);
    if (e->nfragments && e->target->family < RLX_GPU_RDNA3)
        set_registers(e);
    return RLX_OK;
}

/* ---- elements that change hands inside a wave ---- */

static LLVMValueRef shuffle(rlx_emit *e, LLVMValueRef x, LLVMValueRef from)
{
    LLVMTypeRef type = LLVMTypeOf(x);
    LLVMValueRef args[2] = {LLVMBuildShl(e->b, from, rlx_emit_int(e->i32, 2), ""), /* of bytes; of
                            its bits those of the lane are looked at */
                            LLVMBuildBitCast(e->b, x, e->i32, "")};
    LLVMValueRef y = rlx_emit_intrinsic(e, "llvm.amdgcn.ds.bpermute", NULL, args, 2);
    return LLVMBuildBitCast(e->b, y, type, "");
}

/* x through the crossbar of a row of 16 lanes, without team memory. */
static LLVMValueRef move_in_row(rlx_emit *e, LLVMValueRef x, int control)
{
    enum { ALL = 15 }; /* rows, banks */
    LLVMValueRef args[6] = {LLVMGetUndef(e->i32),          x,
                            rlx_emit_int(e->i32, control), rlx_emit_int(e->i32, ALL),
                            rlx_emit_int(e->i32, ALL),     rlx_emit_int(e->i1, 1)};
    return rlx_emit_intrinsic(e, "llvm.amdgcn.update.dpp", e->i32, args, 6);
}

/* The two rows of 16 of a wave's 32 lanes, lane by lane. */
static LLVMValueRef swap_rows(rlx_emit *e, LLVMValueRef x)
{
    LLVMValueRef args[6] = {LLVMGetUndef(e->i32),
                            x,
                            rlx_emit_int(e->i32, 0x76543210),
                            rlx_emit_int(e->i32, 0xfedcba98),
                            rlx_emit_int(e->i1, 1),
                            rlx_emit_int(e->i1, 0)};
    return rlx_emit_intrinsic(e, "llvm.amdgcn.permlanex16", e->i32, args, 6);
}

/* Controls of data-parallel primitives and swizzles, as the ISA documents number them. */
enum { QUAD_1032 = 0xb1, QUAD_2301 = 0x4e, ROW_ROR_8 = 0x128, ROW_XMASK = 0x160 };
enum { SWIZZLE_ALL = 0x1f, SWIZZLE_XOR_SHIFT = 10 };

static LLVMValueRef swap_on_rdna(rlx_emit *e, LLVMValueRef x, int apart)
{
    return apart == 16 ? swap_rows(e, x) : move_in_row(e, x, ROW_XMASK + apart);
}

static LLVMValueRef swap_on_cdna(rlx_emit *e, LLVMValueRef x, int apart)
{
    LLVMValueRef args[2] = {x, rlx_emit_int(e->i32, apart << SWIZZLE_XOR_SHIFT | SWIZZLE_ALL)};
    switch (apart) {
    case 1:
        return move_in_row(e, x, QUAD_1032);
    case 2:
        return move_in_row(e, x, QUAD_2301);
    case 8:
        return move_in_row(e, x, ROW_ROR_8);
    case 32:
        return shuffle(e, x, LLVMBuildXor(e->b, e->thread, rlx_emit_int(e->i32, apart), ""));
    default: /* inside 32 lanes */
        return rlx_emit_intrinsic(e, "llvm.amdgcn.ds.swizzle", NULL, args, 2);
    }
}

static LLVMValueRef swap(rlx_emit *e, LLVMValueRef x, int apart)
{
    LLVMTypeRef type = LLVMTypeOf(x);
    LLVMValueRef word = LLVMBuildBitCast(e->b, x, e->i32, "");
    word = e->target->family >= RLX_GPU_RDNA3 ? swap_on_rdna(e, word, apart)
                                              : swap_on_cdna(e, word, apart);
    return LLVMBuildBitCast(e->b, word, type, "");
}

static LLVMValueRef dot4(rlx_emit *e, LLVMValueRef a, LLVMValueRef b, LLVMValueRef sum)
{
    LLVMValueRef yes = rlx_emit_int(e->i1, 1), no = rlx_emit_int(e->i1, 0);
    if (e->target->family < RLX_GPU_RDNA3) {
        LLVMValueRef args[4] = {a, b, sum, no}; /* no saturation */
        return rlx_emit_intrinsic(e, "llvm.amdgcn.sdot4", NULL, args, 4);
    }
    LLVMValueRef args[6] = {yes, a, yes, b, sum, no}; /* signed, signed */
    return rlx_emit_intrinsic(e, "llvm.amdgcn.sudot4", NULL, args, 6);
}

static rlx_status end(rlx_emit *e)
{
    LLVMDeleteFunction(LLVMGetNamedFunction(e->module, fences));
    return rlx_emit_team_end(e);
}

const rlx_emit_engine rlx_emit_engine_amdgpu = {
    .name = "the AMDGPU emitter",
    .parts = rlx_emit_team_parts,
    .part_type = rlx_emit_team_part_type,
    .begin = begin,
    .node = rlx_emit_team_node,
    .loop = begin_loop,
    .settle = opaque,
    .barrier = barrier,
    .shuffle = shuffle,
    .swap = swap,
    .dot4 = dot4,
    .multiply = rlx_emit_amd_multiply,
    .multiply_floats = rlx_emit_amd_multiply_floats,
    .copy = rlx_emit_team_copy,
    .copies_end = rlx_emit_team_copies_end,
    .team_memory = rlx_emit_gpu_team_memory,
    .end = end,
};
