#include "jit/llvm_emit.h"

#include <stddef.h>

/* All launches of a step in one:
 *
 *   for each launch of a list:  where it reads what launches before it wrote, all teams meet
 *                               its kernel's function is called, with its buffers
 *
 * A team goes on to the next launch as soon as it has no instance left of one; teams part where nothing has to be met. Kernels are
 * emitted as ever, but for where team, buffers and team memory come from. */

typedef struct entry {
    LLVMValueRef kernel, meeting, turn, addresses; /* of an rlx_step_launch */
} entry;

static LLVMValueRef load(rlx_emit *e, LLVMTypeRef type, LLVMValueRef p, int64_t offset)
{
    LLVMValueRef at = rlx_emit_int(e->i64, offset);
    return LLVMBuildLoad2(e->b, type, LLVMBuildGEP2(e->b, e->i8, p, &at, 1, ""), "");
}

static entry load_entry(rlx_emit *e, LLVMValueRef index)
{
    LLVMValueRef at =
        rlx_emit_add(e->b, rlx_emit_int(e->i64, sizeof(rlx_step_head)),
                     rlx_emit_mul(e->b, index, rlx_emit_int(e->i64, sizeof(rlx_step_launch))));
    LLVMValueRef p = LLVMBuildGEP2(e->b, e->i8, e->table, &at, 1, "launch");
    return (entry){.kernel = load(e, e->i64, p, offsetof(rlx_step_launch, kernel)),
                   .meeting = load(e, e->i64, p, offsetof(rlx_step_launch, meeting)),
                   .turn = load(e, e->i64, p, offsetof(rlx_step_launch, turn)),
                   .addresses =
                       load(e, LLVMTypeOf(e->table), p, offsetof(rlx_step_launch, addresses))};
}

/* One invocation waits until every team has arrived, as often as there were meetings. */
static void wait_for_all(rlx_emit *e, LLVMValueRef meeting)
{
    LLVMBasicBlockRef look = rlx_emit_new_block(e, "look"), met = rlx_emit_new_block(e, "met");
    LLVMValueRef goal = LLVMBuildTrunc(e->b, LLVMBuildMul(e->b, meeting, e->teams, ""), e->i32, "");
    e->engine->arrive(e, e->table);
    LLVMBuildBr(e->b, look);
    LLVMPositionBuilderAtEnd(e->b, look);
    LLVMValueRef arrived = e->engine->look(e, e->table);
    LLVMBuildCondBr(e->b, LLVMBuildICmp(e->b, LLVMIntULT, arrived, goal, ""), look, met);
    LLVMPositionBuilderAtEnd(e->b, met);
}

static void meet(rlx_emit *e, LLVMValueRef meeting)
{
    LLVMBasicBlockRef arrive = rlx_emit_new_block(e, "arrive"), all = rlx_emit_new_block(e, "all"),
                      join = rlx_emit_new_block(e, "join"), none = rlx_emit_new_block(e, "go");
    LLVMValueRef zero = rlx_emit_int(e->i64, 0), first = rlx_emit_int(e->i32, 0);
    LLVMBuildCondBr(e->b, LLVMBuildICmp(e->b, LLVMIntNE, meeting, zero, ""), all, none);
    LLVMPositionBuilderAtEnd(e->b, all);
    e->engine->barrier(e);
    LLVMBuildCondBr(e->b, LLVMBuildICmp(e->b, LLVMIntEQ, e->thread, first, ""), arrive, join);
    LLVMPositionBuilderAtEnd(e->b, arrive);
    wait_for_all(e, meeting);
    LLVMBuildBr(e->b, join);
    LLVMPositionBuilderAtEnd(e->b, join);
    e->engine->barrier(e);
    LLVMBuildBr(e->b, none);
    LLVMPositionBuilderAtEnd(e->b, none);
}

static LLVMValueRef turned_team(rlx_emit *e, LLVMValueRef turn)
{
    LLVMValueRef team = LLVMBuildAdd(e->b, e->team_index, turn, "");
    LLVMValueRef beyond = LLVMBuildICmp(e->b, LLVMIntUGE, team, e->teams, "");
    return LLVMBuildSelect(e->b, beyond, LLVMBuildSub(e->b, team, e->teams, ""), team, "team");
}

static void call(rlx_emit *e, const entry *l, const rlx_ir_func *const *kernels, int n)
{
    LLVMBasicBlockRef done = rlx_emit_new_block(e, "next");
    LLVMValueRef args[] = {l->addresses, e->symbols, turned_team(e, l->turn), e->teams, e->memory};
    LLVMValueRef which = LLVMBuildSwitch(e->b, l->kernel, done, (unsigned)n);
    for (int i = 0; i < n; i++) {
        LLVMValueRef fn = LLVMGetNamedFunction(e->module, kernels[i]->name);
        LLVMBasicBlockRef block = rlx_emit_new_block(e, kernels[i]->name);
        LLVMAddCase(which, rlx_emit_int(e->i64, i), block);
        LLVMPositionBuilderAtEnd(e->b, block);
        LLVMBuildCall2(e->b, LLVMGlobalGetValueType(fn), fn, args, LLVMCountParams(fn), "");
        LLVMBuildBr(e->b, done);
    }
    LLVMMoveBasicBlockAfter(done, LLVMGetLastBasicBlock(e->fn));
    LLVMPositionBuilderAtEnd(e->b, done);
}

/* Each time anew: of what is kept while a function runs, it has the registers less. */
static LLVMValueRef count_launches(rlx_emit *e)
{
    LLVMValueRef n = load(e, e->i64, e->table, offsetof(rlx_step_head, nlaunches));
    LLVMSetVolatile(n, true);
    return n;
}

static rlx_status emit_loop(rlx_emit *e, const rlx_ir_func *const *kernels, int n)
{
    RLX_TRY(e->engine->begin_step(e));
    LLVMBasicBlockRef body = rlx_emit_new_block(e, "body");
    LLVMPositionBuilderAtEnd(e->b, body);
    rlx_emit_loop loop;
    rlx_emit_loop_begin(e, rlx_emit_int(e->i64, 0), count_launches(e), rlx_emit_int(e->i64, 1),
                        &loop);
    if (e->engine->place)
        e->engine->place(e);
    const entry l = load_entry(e, loop.index); /* before all meet: it is there by then */
    meet(e, l.meeting);
    call(e, &l, kernels, n);
    loop.hi = count_launches(e);
    rlx_emit_loop_end(e, &loop);
    LLVMBuildRetVoid(e->b);
    LLVMBuildBr(e->entry, body);
    return RLX_OK;
}

rlx_status rlx_emit_step(const rlx_emit_engine *engine, const rlx_llvm_target *target,
                         const rlx_ir_func *const *kernels, int n, LLVMContextRef cx,
                         LLVMModuleRef module)
{
    int64_t team_bytes = 0;
    rlx_emit e = {.engine = engine,
                  .target = target,
                  .step_team_bytes = &team_bytes,
                  .cx = cx,
                  .module = module};
    if (!engine->called)
        return RLX_FAIL(RLX_UNSUPPORTED, "%s makes no step in one launch", engine->name);
    for (int i = 0; i < n; i++)
        RLX_TRY_NOTE(rlx_emit_called(engine->called, target, kernels[i], cx, module, &team_bytes),
                     "kernel @%s in a step", kernels[i]->name);
    RLX_TRY(rlx_emit_init(&e));
    rlx_status st = emit_loop(&e, kernels, n);
    rlx_emit_deinit(&e);
    return st;
}
