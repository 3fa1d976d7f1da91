#include "jit/host_team.h"
#include "jit/llvm_team.h"

#include <stddef.h>

/* The GPUs' way of emitting, run on the host: a team is `team` coroutines, each of which calls the
 * kernel with its own rlx_host_invocation as memory. So the layout of tiles, the exchange and the
 * barriers are tested without a device; only special registers and address spaces differ. */

static LLVMValueRef field(rlx_emit *e, LLVMTypeRef type, size_t offset)
{
    LLVMValueRef at = rlx_emit_int(e->i64, (int64_t)offset);
    LLVMValueRef p = LLVMBuildGEP2(e->entry, e->i8, LLVMGetParam(e->fn, 4), &at, 1, "");
    return LLVMBuildLoad2(e->entry, type, p, "");
}

/* Behind the buffers and a place for the symbols; a step's functions, which are these too, have none. */
static rlx_status find_maps(rlx_emit *e)
{
    const int n = e->step_team_bytes ? 0 : rlx_emit_tensors_count(e);
    if (n < 0)
        return RLX_OOM();
    for (int i = 0; i < n; i++) {
        LLVMValueRef at = rlx_emit_int(e->i64, e->kernel->body->nargs + 1 + i);
        LLVMValueRef p = LLVMBuildGEP2(e->entry, e->i64, LLVMGetParam(e->fn, 0), &at, 1, "");
        rlx_emit_tensors_add(e, i, LLVMBuildLoad2(e->entry, e->i64, p, ""));
    }
    return RLX_OK;
}

static rlx_status begin(rlx_emit *e)
{
    RLX_TRY(rlx_emit_begin_host(e));
    e->thread = field(e, e->i32, offsetof(rlx_host_invocation, thread));
    e->memory = field(e, e->ptr, offsetof(rlx_host_invocation, team_memory));
    e->barrier = field(e, e->ptr, offsetof(rlx_host_invocation, barrier));
    e->take = field(e, e->ptr, offsetof(rlx_host_invocation, take));
    RLX_TRY(find_maps(e));
    return rlx_emit_team_begin(e);
}

static void barrier(rlx_emit *e)
{
    LLVMValueRef self = LLVMGetParam(e->fn, 4);
    LLVMTypeRef type = LLVMFunctionType(LLVMVoidTypeInContext(e->cx), &e->ptr, 1, false);
    LLVMBuildCall2(e->b, type, e->barrier, &self, 1, "");
}

static LLVMValueRef shuffle(rlx_emit *e, LLVMValueRef x, LLVMValueRef from)
{
    LLVMTypeRef of = LLVMTypeOf(x), params[3] = {e->ptr, e->i32, e->i32};
    LLVMValueRef args[3] = {LLVMGetParam(e->fn, 4), LLVMBuildBitCast(e->b, x, e->i32, ""), from};
    LLVMTypeRef type = LLVMFunctionType(e->i32, params, 3, false);
    return LLVMBuildBitCast(e->b, LLVMBuildCall2(e->b, type, e->take, args, 3, ""), of, "");
}

static LLVMValueRef dot4(rlx_emit *e, LLVMValueRef a, LLVMValueRef b, LLVMValueRef sum)
{
    enum { BYTES = 4 };
    for (int i = 0; i < BYTES; i++) {
        LLVMValueRef up = rlx_emit_int(e->i32, 24 - 8 * i), down = rlx_emit_int(e->i32, 24);
        LLVMValueRef x = LLVMBuildAShr(e->b, LLVMBuildShl(e->b, a, up, ""), down, "");
        LLVMValueRef y = LLVMBuildAShr(e->b, LLVMBuildShl(e->b, b, up, ""), down, "");
        sum = LLVMBuildAdd(e->b, sum, LLVMBuildMul(e->b, x, y, ""), "");
    }
    return sum;
}

/* Emulated. */
static void multiply(rlx_emit *e, int k, const LLVMValueRef *a, const LLVMValueRef *b,
                     LLVMValueRef *sums)
{
    if (e->target->matrix->kind == RLX_MATRIX_MMA)
        rlx_emit_mma(e, k, a, b, sums);
    else
        rlx_emit_amd_multiply(e, k, a, b, sums);
}

static void multiply_floats(rlx_emit *e, rlx_format f, const LLVMValueRef *a, const LLVMValueRef *b,
                            LLVMValueRef *sums)
{
    if (e->matrix->kind == RLX_MATRIX_MMA)
        rlx_emit_mma_floats(e, f, a, b, sums);
    else
        rlx_emit_amd_multiply_floats(e, f, a, b, sums);
}

static void copy(rlx_emit *e, LLVMValueRef to, LLVMValueRef from, LLVMValueRef live)
{
    if (e->target->copies)
        rlx_emit_cp_async(e, to, from, live);
    else
        rlx_emit_team_copy(e, to, from, live);
}

static void copies_end(rlx_emit *e)
{
    if (!e->target->copies) {
        rlx_emit_team_copies_end(e);
        return;
    }
    rlx_emit_cp_commit(e);
    rlx_emit_cp_wait(e, 0);
}

/* ---- steps in one launch: buffers are a table, and no more ---- */

static rlx_status begin_step(rlx_emit *e)
{
    LLVMTypeRef params[] = {e->ptr, e->ptr, e->i64, e->i64, e->ptr};
    LLVMTypeRef type = LLVMFunctionType(LLVMVoidTypeInContext(e->cx), params, 5, false);
    e->fn = LLVMAddFunction(e->module, RLX_PROGRAM_STEP, type);
    LLVMPositionBuilderAtEnd(e->entry, rlx_emit_new_block(e, "entry"));
    e->table = LLVMBuildLoad2(e->entry, e->ptr, LLVMGetParam(e->fn, 0), "table");
    e->symbols = LLVMGetParam(e->fn, 1);
    e->team_index = LLVMGetParam(e->fn, 2);
    e->teams = LLVMGetParam(e->fn, 3);
    e->memory = LLVMGetParam(e->fn, 4);
    e->thread = field(e, e->i32, offsetof(rlx_host_invocation, thread));
    e->barrier = field(e, e->ptr, offsetof(rlx_host_invocation, barrier));
    return RLX_OK;
}

static LLVMValueRef call_of_step(rlx_emit *e, LLVMTypeRef result, size_t offset,
                                 LLVMValueRef counter)
{
    LLVMTypeRef params[2] = {e->ptr, e->ptr};
    LLVMValueRef args[2] = {LLVMGetParam(e->fn, 4), counter}, fn = field(e, e->ptr, offset);
    return LLVMBuildCall2(e->b, LLVMFunctionType(result, params, 2, false), fn, args, 2, "");
}

static void arrive(rlx_emit *e, LLVMValueRef counter)
{
    call_of_step(e, LLVMVoidTypeInContext(e->cx), offsetof(rlx_host_invocation, arrive), counter);
}

static LLVMValueRef look(rlx_emit *e, LLVMValueRef counter)
{
    return call_of_step(e, e->i32, offsetof(rlx_host_invocation, look), counter);
}

const rlx_emit_engine rlx_emit_engine_host_team = {
    .name = "the host team emitter",
    .parts = rlx_emit_team_parts,
    .part_type = rlx_emit_team_part_type,
    .begin = begin,
    .node = rlx_emit_team_node,
    .barrier = barrier,
    .shuffle = shuffle,
    .dot4 = dot4,
    .multiply = multiply,
    .multiply_floats = multiply_floats,
    .load_matrices = rlx_emit_ldmatrix,
    .copy = copy,
    .copies_end = copies_end,
    .commit = rlx_emit_cp_commit,
    .wait = rlx_emit_cp_wait,
    .team_memory = rlx_emit_next_team_memory,
    .end = rlx_emit_team_end,
    .called = &rlx_emit_engine_host_team,
    .begin_step = begin_step,
    .arrive = arrive,
    .look = look,
};
