#include "jit/llvm_gpu.h"
#include "jit/llvm_wgmma.h"

#include <stdio.h>
#include <string.h>

#include "runtime/program.h"

/* NVIDIA GPUs: a team is a block of `team` threads.
 *
 *   ptx_kernel void @kernel(ptr global buffer..., ptr global symbols, tensor map...)
 *
 * launched with blocks of `team` threads and any number of blocks along x. Of a step in one launch (llvm_step.c) kernels are
 *
 *   internal void @kernel(ptr global buffers, ptr global symbols, i64 team)
 *
 * and share one array of team memory, as large as the one that needs most. */

enum { PTX_KERNEL = 71 }; /* calling convention */

static void annotate(rlx_emit *e, const char *what, int value)
{
    LLVMMetadataRef node[3] = {LLVMValueAsMetadata(e->fn),
                               LLVMMDStringInContext2(e->cx, what, strlen(what)),
                               LLVMValueAsMetadata(rlx_emit_int(e->i32, value))};
    LLVMAddNamedMetadataOperand(e->module, "nvvm.annotations",
                                LLVMMetadataAsValue(e->cx, LLVMMDNodeInContext2(e->cx, node, 3)));
}

/* The runtime reads the team in a comment. ptxas, told a block's size (.maxntid), spills some registers to have more blocks beside each
 * other, and told how many those shall be, hoists what there is room for and spills of that. Told neither it takes what a kernel needs,
 * and spills what is beyond the most that an invocation has: with so many there is room for teams of MOST; of larger ones it has to know. */
static void annotate_team(rlx_emit *e)
{
    enum { REGISTERS = 65536, OF_ONE = 256, MOST = REGISTERS / OF_ONE };
    char text[64];
    const int n = snprintf(text, sizeof text, "%s%d", RLX_PROGRAM_TEAM, e->target->team);
    LLVMAppendModuleInlineAsm(e->module, text, (size_t)n);
    if (e->target->team > MOST)
        annotate(e, "maxntidx", e->target->team);
}

/* Below the team's size, which the bits of a mask say to LLVM: sums with it wrap nowhere, so that addresses that
 * differ by constants are one number with offsets. */
static LLVMValueRef thread_of(rlx_emit *e)
{
    LLVMValueRef id = rlx_emit_gpu_register(e, "llvm.nvvm.read.ptx.sreg.tid.x");
    const int team = e->target->team;
    return team & (team - 1) ? id : LLVMBuildAnd(e->entry, id, rlx_emit_int(e->i32, team - 1), "");
}

/* The same number, of which LLVM does not know: what is made of it is made here. */
static void begin_loop(rlx_emit *e)
{
    static const char text[] = "mov.u32 $0, $1;", operands[] = "=r,r";
    const int team = e->target->team;
    if (!e->by_rows || team & (team - 1))
        return;
    LLVMTypeRef type = LLVMFunctionType(e->i32, &e->i32, 1, false);
    LLVMValueRef same = LLVMGetInlineAsm(type, text, sizeof text - 1, operands, sizeof operands - 1,
                                         true, false, LLVMInlineAsmDialectATT, false);
    e->thread = LLVMBuildCall2(e->b, type, same, &e->thread, 1, "");
    e->thread = LLVMBuildAnd(e->b, e->thread, rlx_emit_int(e->i32, team - 1), "");
}

static void read_registers(rlx_emit *e)
{
    e->thread = thread_of(e);
    LLVMValueRef index = rlx_emit_gpu_register(e, "llvm.nvvm.read.ptx.sreg.ctaid.x");
    LLVMValueRef teams = rlx_emit_gpu_register(e, "llvm.nvvm.read.ptx.sreg.nctaid.x");
    e->team_index = LLVMBuildZExt(e->entry, index, e->i64, "");
    e->teams = LLVMBuildZExt(e->entry, teams, e->i64, "");
}

/* Arguments that lie where the launch has them. */
static void annotate_maps(rlx_emit *e)
{
    static const char what[] = "grid_constant";
    const unsigned first = (unsigned)e->kernel->body->nargs + 1, n = LLVMCountParams(e->fn) - first;
    LLVMMetadataRef param[RLX_PROGRAM_MAPS];
    if (!n)
        return;
    for (unsigned i = 0; i < n; i++) /* counted from 1 */
        param[i] = LLVMValueAsMetadata(rlx_emit_int(e->i32, first + i + 1));
    LLVMMetadataRef node[3] = {LLVMValueAsMetadata(e->fn),
                               LLVMMDStringInContext2(e->cx, what, sizeof what - 1),
                               LLVMMDNodeInContext2(e->cx, param, n)};
    LLVMAddNamedMetadataOperand(e->module, "nvvm.annotations",
                                LLVMMetadataAsValue(e->cx, LLVMMDNodeInContext2(e->cx, node, 3)));
}

static rlx_status begin(rlx_emit *e)
{
    RLX_TRY(rlx_emit_gpu_function(e, PTX_KERNEL));
    read_registers(e);
    RLX_TRY(rlx_emit_gpu_buffers(e));
    annotate_team(e);
    annotate_maps(e);
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

/* LLVM does not know it of mma.sync, nor of inline assembly. */
void rlx_emit_converge(rlx_emit *e, LLVMValueRef call)
{
    static const char name[] = "convergent";
    if (!LLVMIsACallInst(call))
        return; /* emulated */
    unsigned kind = LLVMGetEnumAttributeKindForName(name, sizeof name - 1);
    LLVMAddCallSiteAttribute(call, (LLVMAttributeIndex)LLVMAttributeFunctionIndex,
                             LLVMCreateEnumAttribute(e->cx, kind, 0));
}

/* D = A * B + D by `name`: words of a, of b, sums. */
static void call_mma(rlx_emit *e, const char *name, LLVMValueRef *args, int n, LLVMValueRef *sums)
{
    enum { SUMS = 4 };
    for (int i = 0; i < SUMS; i++)
        args[n + i] = sums[i];
    LLVMValueRef all = rlx_emit_intrinsic(e, name, NULL, args, n + SUMS);
    rlx_emit_converge(e, all);
    for (unsigned i = 0; i < SUMS; i++)
        sums[i] = LLVMBuildExtractValue(e->b, all, i, "");
}

void rlx_emit_mma(rlx_emit *e, int k, const LLVMValueRef *a, const LLVMValueRef *b,
                  LLVMValueRef *sums)
{
    enum { PER_WORD = 8, MOST = 4 + 2 + 4 };
    const char *name =
        k == 32 ? "llvm.nvvm.mma.m16n8k32.row.col.s8" : "llvm.nvvm.mma.m16n8k16.row.col.s8";
    LLVMValueRef args[MOST];
    int n = 0;
    for (int i = 0; i < k / PER_WORD; i++)
        args[n++] = a[i];
    for (int i = 0; i < k / (2 * PER_WORD); i++)
        args[n++] = b[i];
    call_mma(e, name, args, n, sums);
}

void rlx_emit_mma_floats(rlx_emit *e, rlx_format f, const LLVMValueRef *a, const LLVMValueRef *b,
                         LLVMValueRef *sums)
{
    enum { A = 4, B = 2, MOST = A + B + 4 };
    const char *name = f == RLX_F16 ? "llvm.nvvm.mma.m16n8k16.row.col.f32.f32"
                                    : "llvm.nvvm.mma.m16n8k16.row.col.bf16";
    LLVMTypeRef word = f == RLX_F16 ? LLVMVectorType(e->f16, 2) : e->i32;
    LLVMValueRef args[MOST];
    for (int i = 0; i < A + B; i++)
        args[i] = LLVMBuildBitCast(e->b, i < A ? a[i] : b[i - A], word, "");
    call_mma(e, name, args, A + B, sums);
}

void rlx_emit_ldmatrix(rlx_emit *e, int n, bool turned, LLVMValueRef at, LLVMValueRef *words)
{
#define LDMATRIX(x) "llvm.nvvm.ldmatrix.sync.aligned.m8n8." x ".b16"
    static const char *const names[2][5] = {
        {[1] = LDMATRIX("x1"), [2] = LDMATRIX("x2"), [4] = LDMATRIX("x4")},
        {[1] = LDMATRIX("x1.trans"), [2] = LDMATRIX("x2.trans"), [4] = LDMATRIX("x4.trans")}};
#undef LDMATRIX
    LLVMValueRef all = rlx_emit_intrinsic(e, names[turned][n], LLVMTypeOf(at), &at, 1);
    rlx_emit_converge(e, all);
    for (unsigned i = 0; i < (unsigned)n; i++)
        words[i] = n == 1 ? all : LLVMBuildExtractValue(e->b, all, i, "");
}

void rlx_emit_cp_async(rlx_emit *e, LLVMValueRef to, LLVMValueRef from, LLVMValueRef live)
{
    enum { BYTES = 16 };
    LLVMValueRef bytes = rlx_emit_int(e->i32, BYTES), args[3] = {to, from};
    if (live)
        args[2] = LLVMBuildSelect(e->b, live, bytes, rlx_emit_int(e->i32, 0), "");
    rlx_emit_intrinsic(e,
                       live ? "llvm.nvvm.cp.async.cg.shared.global.16.s"
                            : "llvm.nvvm.cp.async.cg.shared.global.16",
                       NULL, args, live ? 3 : 2);
}

/* What copies by itself is there from sm_80 on. */
static void copy(rlx_emit *e, LLVMValueRef to, LLVMValueRef from, LLVMValueRef live)
{
    (e->target->copies ? rlx_emit_cp_async : rlx_emit_team_copy)(e, to, from, live);
}

static void copies_end(rlx_emit *e)
{
    if (e->target->copies)
        rlx_emit_intrinsic(e, "llvm.nvvm.cp.async.wait.all", NULL, NULL, 0);
}

void rlx_emit_cp_commit(rlx_emit *e)
{
    rlx_emit_intrinsic(e, "llvm.nvvm.cp.async.commit.group", NULL, NULL, 0);
}

void rlx_emit_cp_wait(rlx_emit *e, int pending)
{
    LLVMValueRef n = rlx_emit_int(e->i32, pending);
    rlx_emit_intrinsic(e, "llvm.nvvm.cp.async.wait.group", NULL, &n, 1);
    if (e->target->matrix && rlx_matrix_reads_memory(e->target->matrix))
        rlx_emit_show_to_unit(e);
}

/* ---- steps in one launch ---- */

/* What a register of the invocation says now, which LLVM keeps from nobody. */
static LLVMValueRef read_again(rlx_emit *e, const char *text)
{
    static const char operands[] = "=r";
    LLVMTypeRef type = LLVMFunctionType(e->i32, NULL, 0, false);
    LLVMValueRef code = LLVMGetInlineAsm(type, text, strlen(text), operands, sizeof operands - 1,
                                         true, false, LLVMInlineAsmDialectATT, false);
    return LLVMBuildCall2(e->b, type, code, NULL, 0, "");
}

static void place(rlx_emit *e)
{
    e->thread = read_again(e, "mov.u32 $0, %tid.x;");
    e->team_index = LLVMBuildZExt(e->b, read_again(e, "mov.u32 $0, %ctaid.x;"), e->i64, "");
    e->teams = LLVMBuildZExt(e->b, read_again(e, "mov.u32 $0, %nctaid.x;"), e->i64, "");
}

/* The array that all kernels share; how large it has to be is known behind the last. */
static const char shared_name[] = "team_of_step";

static LLVMValueRef shared_memory(rlx_emit *e)
{
    LLVMValueRef g = LLVMGetNamedGlobal(e->module, shared_name);
    if (!g) {
        g = rlx_emit_gpu_team_memory(e, 0);
        LLVMSetValueName2(g, shared_name, sizeof shared_name - 1);
    }
    return g;
}

static void size_shared_memory(rlx_emit *e)
{
    LLVMValueRef g = shared_memory(e);
    if (*e->step_team_bytes)
        LLVMReplaceAllUsesWith(g, rlx_emit_gpu_team_memory(e, *e->step_team_bytes));
    LLVMDeleteGlobal(g);
}

static rlx_status begin_called(rlx_emit *e)
{
    LLVMTypeRef global = LLVMPointerTypeInContext(e->cx, RLX_EMIT_SPACE_GLOBAL);
    LLVMTypeRef params[] = {global, global, e->i64};
    LLVMTypeRef type = LLVMFunctionType(LLVMVoidTypeInContext(e->cx), params, 3, false);
    const rlx_ir_block *body = e->kernel->body;
    e->fn = LLVMAddFunction(e->module, e->kernel->name, type);
    LLVMPositionBuilderAtEnd(e->entry, rlx_emit_new_block(e, "entry"));
    e->thread = thread_of(e);
    e->symbols = LLVMGetParam(e->fn, 1);
    e->team_index = LLVMGetParam(e->fn, 2);
    e->teams = LLVMBuildZExt(e->entry, rlx_emit_gpu_register(e, "llvm.nvvm.read.ptx.sreg.nctaid.x"),
                             e->i64, "");
    e->memory = shared_memory(e);
    for (int i = 0; i < body->nargs; i++) {
        LLVMValueRef at = rlx_emit_int(e->i64, i);
        LLVMValueRef p = LLVMBuildGEP2(e->entry, global, LLVMGetParam(e->fn, 0), &at, 1, "");
        LLVMValueRef base = LLVMBuildLoad2(e->entry, global, p, "");
        RLX_TRY(rlx_emit_define_buffer(e, body->args[i], base));
    }
    return rlx_emit_team_begin(e);
}

static rlx_status begin_step(rlx_emit *e)
{
    LLVMTypeRef global = LLVMPointerTypeInContext(e->cx, RLX_EMIT_SPACE_GLOBAL);
    LLVMTypeRef params[] = {global, global};
    LLVMTypeRef type = LLVMFunctionType(LLVMVoidTypeInContext(e->cx), params, 2, false);
    e->fn = LLVMAddFunction(e->module, RLX_PROGRAM_STEP, type);
    LLVMSetFunctionCallConv(e->fn, PTX_KERNEL);
    LLVMPositionBuilderAtEnd(e->entry, rlx_emit_new_block(e, "entry"));
    e->table = LLVMGetParam(e->fn, 0);
    e->symbols = LLVMGetParam(e->fn, 1);
    size_shared_memory(e);
    annotate_team(e);
    return RLX_OK;
}

/* LLVM 19 drops the orders of atomics: these are of the whole device. */
static LLVMValueRef call_asm(rlx_emit *e, LLVMTypeRef result, const char *text,
                             const char *operands, LLVMValueRef counter)
{
    LLVMTypeRef param = LLVMTypeOf(counter), type = LLVMFunctionType(result, &param, 1, false);
    LLVMValueRef code = LLVMGetInlineAsm(type, text, strlen(text), operands, strlen(operands), true,
                                         false, LLVMInlineAsmDialectATT, false);
    return LLVMBuildCall2(e->b, type, code, &counter, 1, "");
}

static void arrive(rlx_emit *e, LLVMValueRef counter)
{
    call_asm(e, LLVMVoidTypeInContext(e->cx),
             "fence.acq_rel.gpu; red.relaxed.gpu.global.add.u32 [$0], 1;", "l,~{memory}", counter);
}

static LLVMValueRef look(rlx_emit *e, LLVMValueRef counter)
{
    return call_asm(e, e->i32, "ld.acquire.gpu.global.u32 $0, [$1];", "=r,l,~{memory}", counter);
}

#define ENGINE                                                                                  \
    .name = "the NVPTX emitter", .parts = rlx_emit_team_parts,                                  \
    .part_type = rlx_emit_team_part_type, .node = rlx_emit_team_node, .barrier = barrier,       \
    .shuffle = shuffle, .dot4 = dot4, .multiply = rlx_emit_mma,                                 \
    .multiply_floats = rlx_emit_mma_floats, .copy = copy, .copies_end = copies_end,             \
    .commit = rlx_emit_cp_commit, .wait = rlx_emit_cp_wait, .load_matrices = rlx_emit_ldmatrix, \
    .loop = begin_loop, .knows_thread = true, .end = rlx_emit_team_end

static const rlx_emit_engine called = {
    ENGINE,
    .begin = begin_called,
    .team_memory = rlx_emit_next_team_memory,
};

const rlx_emit_engine rlx_emit_engine_nvptx = {
    ENGINE,
    .begin = begin,
    .team_memory = rlx_emit_gpu_team_memory,
    .called = &called,
    .begin_step = begin_step,
    .place = place,
    .arrive = arrive,
    .look = look,
};
