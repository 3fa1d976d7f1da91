#include <string.h>

#include "jit/kernel_info.h"
#include "jit/llvm_wgmma.h"

/* Async stores by boxes of tensor maps (PTX ISA, "cp.async.bulk.tensor", "mbarrier"; sm_90a).
 *
 *   store   whole tiles: one invocation has a box copied to its stage, swizzled as rings are
 *           tiles that a limit cuts: every invocation its rows, by cp.async, zeros beyond
 *   commit  that invocation arrives at the group's barrier, which expects the bytes of its boxes
 *   wait    for phases of the groups' barriers, one after another
 *
 * A group is the n-th of the kernel's commits; its barrier is n mod BARRIERS, in that one's n / BARRIERS-th phase. So
 * as many groups may be under way as there are barriers, less than a kernel that has maps can begin before it waits.
 * Which arguments have maps, what they say and where they come from: rlx_program_map. */

enum { BARRIERS = 8, BYTES = 8 /* of a barrier */, MAP_BYTES = 128, MAP_ALIGN = 128 };

struct rlx_emit_tensors {
    int n;
    rlx_program_map map[RLX_PROGRAM_MAPS];
    LLVMValueRef at[RLX_PROGRAM_MAPS]; /* where each is */
    LLVMValueRef barriers;             /* team memory */
    LLVMValueRef begun, waited;        /* groups, i32: where they are counted */
};

/* ---- which kernels ---- */

/* How many commits stand in a block, and the most that a wait leaves pending; false: one is repeated with no wait beside it. */
static bool count_groups(const rlx_ir_block *block, int *commits, int *pending, bool *waits)
{
    for (const rlx_ir_node *n = block->first; n; n = n->next) {
        bool inside = false;
        const int before = *commits;
        *commits += n->op == RLX_LIR_COMMIT;
        for (int i = 0; i < n->nblock; i++)
            if (!count_groups(n->blocks[i], commits, pending, &inside))
                return false;
        if (n->nblock && n->op != RLX_LIR_IF && *commits > before && !inside)
            return false;
        if (n->op == RLX_LIR_WAIT) {
            const int left = (int)rlx_ir_attr_int(n, RLX_ATTR_PENDING, 0);
            *pending = left > *pending ? left : *pending;
            inside = true;
        }
        *waits |= inside;
    }
    return true;
}

int rlx_emit_tensors_count(rlx_emit *e)
{
    int commits = 0, pending = 0;
    bool waits = false;
    rlx_program_map maps[RLX_PROGRAM_MAPS] = {{0}};
    const int n = e->target->copies_boxes ? rlx_jit_maps(e->kernel, maps) : 0;
    if (!n)
        return 0;
    /* arguments there are in any case: whoever launches the kernel knows no more than what maps it may have */
    rlx_emit_tensors *t = RLX_NEW(e->arena, rlx_emit_tensors);
    if (!t)
        return -1;
    memcpy(t->map, maps, sizeof maps);
    t->n = count_groups(e->kernel->body, &commits, &pending, &waits) && commits + pending < BARRIERS
               ? n
               : 0;
    e->tensors = t;
    return n;
}

void rlx_emit_tensors_add(rlx_emit *e, int i, LLVMValueRef at)
{
    e->tensors->at[i] = at;
}

/* Copies of the launch's are not moved. */
void rlx_emit_tensors_param(rlx_emit *e, unsigned param)
{
    static const char byval[] = "byval", align[] = "align";
    const unsigned of = LLVMGetEnumAttributeKindForName(byval, sizeof byval - 1),
                   at = LLVMGetEnumAttributeKindForName(align, sizeof align - 1);
    LLVMTypeRef type = LLVMArrayType2(e->i8, MAP_BYTES);
    LLVMAddAttributeAtIndex(e->fn, param + 1, LLVMCreateTypeAttribute(e->cx, of, type));
    LLVMAddAttributeAtIndex(e->fn, param + 1, LLVMCreateEnumAttribute(e->cx, at, MAP_ALIGN));
}

/* ---- barriers ---- */

static LLVMValueRef address_of(rlx_emit *e, LLVMValueRef p)
{
    return LLVMBuildTrunc(e->b, rlx_emit_own_address(e, p), e->i32, "");
}

static LLVMValueRef barrier_of(rlx_emit *e, LLVMValueRef group)
{
    LLVMValueRef at = LLVMBuildAnd(e->b, group, rlx_emit_int(e->i32, BARRIERS - 1), "");
    at = rlx_emit_mul(e->b, at, rlx_emit_int(e->i32, BYTES));
    return address_of(e, LLVMBuildGEP2(e->b, e->i8, e->tensors->barriers, &at, 1, ""));
}

/* What the first invocation alone does, up to the block that is returned. */
static LLVMBasicBlockRef begin_first(rlx_emit *e)
{
    LLVMBasicBlockRef inside = rlx_emit_new_block(e, "first"), join = rlx_emit_new_block(e, "all");
    LLVMValueRef is = LLVMBuildICmp(e->b, LLVMIntEQ, e->thread, rlx_emit_int(e->i32, 0), "");
    LLVMBuildCondBr(e->b, is, inside, join);
    LLVMPositionBuilderAtEnd(e->b, inside);
    return join;
}

static void go_on(rlx_emit *e, LLVMBasicBlockRef at)
{
    LLVMBuildBr(e->b, at);
    LLVMPositionBuilderAtEnd(e->b, at);
}

static void assemble(rlx_emit *e, const char *name, const char *text, const char *operands,
                     LLVMValueRef *args, int n)
{
    rlx_emit_assemble(e, name, LLVMVoidTypeInContext(e->cx), text, operands, args, n, 0);
}

void rlx_emit_tensors_begin(rlx_emit *e)
{
    rlx_emit_tensors *t = e->tensors;
    if (!t || !t->n)
        return;
    t->barriers = e->engine->team_memory(e, BARRIERS * BYTES);
    t->begun = LLVMBuildAlloca(e->entry, e->i32, "begun");
    t->waited = LLVMBuildAlloca(e->entry, e->i32, "waited");
    LLVMBuildStore(e->entry, rlx_emit_int(e->i32, 0), t->begun);
    LLVMBuildStore(e->entry, rlx_emit_int(e->i32, 0), t->waited);
    LLVMBasicBlockRef join = begin_first(e);
    for (int i = 0; i < BARRIERS; i++) {
        LLVMValueRef at = barrier_of(e, rlx_emit_int(e->i32, i));
        assemble(e, "mbarrier.init", "mbarrier.init.shared::cta.b64 [$0], 1;", "r,~{memory}", &at,
                 1);
    }
    go_on(e, join);
    rlx_emit_show_to_unit(e);
    e->engine->barrier(e);
}

static LLVMValueRef get(rlx_emit *e, LLVMValueRef p)
{
    return LLVMBuildLoad2(e->b, e->i32, p, "");
}

void rlx_emit_tensors_commit(rlx_emit *e)
{
    rlx_emit_tensors *t = e->tensors;
    if (!t || !t->n)
        return;
    LLVMValueRef group = get(e, t->begun), at = barrier_of(e, group);
    LLVMBasicBlockRef join = begin_first(e);
    assemble(e, "mbarrier.arrive", "mbarrier.arrive.shared::cta.b64 _, [$0];", "r,~{memory}", &at,
             1);
    go_on(e, join);
    LLVMBuildStore(e->b, rlx_emit_add(e->b, group, rlx_emit_int(e->i32, 1)), t->begun);
}

void rlx_emit_tensors_wait(rlx_emit *e, int pending)
{
    static const char text[] = "{\n\t.reg .pred done;\nagain${:uid}:\n\t"
                               "mbarrier.try_wait.parity.shared::cta.b64 done, [$0], $1;\n\t"
                               "@!done bra again${:uid};\n\t}";
    rlx_emit_tensors *t = e->tensors;
    if (!t || !t->n)
        return;
    LLVMBasicBlockRef look = rlx_emit_new_block(e, "look"), wait = rlx_emit_new_block(e, "wait"),
                      there = rlx_emit_new_block(e, "there");
    go_on(e, look);
    LLVMValueRef group = get(e, t->waited), one = rlx_emit_int(e->i32, 1);
    LLVMValueRef last = LLVMBuildAdd(e->b, group, rlx_emit_int(e->i32, pending), "");
    LLVMValueRef more = LLVMBuildICmp(e->b, LLVMIntULT, last, get(e, t->begun), "");
    LLVMBuildCondBr(e->b, more, wait, there);
    LLVMPositionBuilderAtEnd(e->b, wait);
    LLVMValueRef phase = LLVMBuildUDiv(e->b, group, rlx_emit_int(e->i32, BARRIERS), "");
    LLVMValueRef args[2] = {barrier_of(e, group), LLVMBuildAnd(e->b, phase, one, "")};
    assemble(e, "mbarrier.try_wait", text, "r,r,~{memory}", args, 2);
    LLVMBuildStore(e->b, rlx_emit_add(e->b, group, one), t->waited);
    LLVMBuildBr(e->b, look);
    LLVMPositionBuilderAtEnd(e->b, there);
}

/* ---- boxes ---- */

int rlx_emit_map_of(const rlx_emit *e, const rlx_ir_node *store)
{
    const rlx_emit_tensors *t = e->tensors;
    if (!t || !t->n || !rlx_emit_is_ring(e, store->in[0]))
        return -1;
    return rlx_jit_map_of(e->kernel, store, t->map, t->n);
}

/* Whether all of the box's rows are live: i1; NULL: those that are not lie beyond the tensor, of which come zeros, or there are none. */
static LLVMValueRef is_whole(rlx_emit *e, const rlx_ir_node *load, const rlx_program_map *m)
{
    enum { LIMIT = 3 }; /* behind the buffer and two indices */
    rlx_emit_access a;
    rlx_emit_access_init(e, load, &load->out[0]->type, &a);
    if (!a.room[0])
        return NULL;
    const rlx_ir_node *limit = load->in[LIMIT]->def;
    if (m->rows && limit && limit->op == RLX_LIR_CONST &&
        rlx_ir_attr_int(limit, RLX_ATTR_IVALUE, 0) == m->rows)
        return NULL;
    return LLVMBuildICmp(e->b, LLVMIntSGE, a.room[0], rlx_emit_int(e->i64, m->box_rows), "");
}

static void copy_box(rlx_emit *e, const rlx_ir_node *load, const rlx_emit_rows *to, int which)
{
    const rlx_program_map *m = &e->tensors->map[which];
    LLVMValueRef at = barrier_of(e, get(e, e->tensors->begun));
    LLVMBasicBlockRef join = begin_first(e);
    LLVMValueRef expect[2] = {
        at, rlx_emit_int(e->i32, (int64_t)m->box_rows * m->box_columns * m->bytes)};
    assemble(e, "mbarrier.expect_tx", "mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [$0], $1;",
             "r,r,~{memory}", expect, 2);
    LLVMValueRef args[5] = {address_of(e, to->at), e->tensors->at[which],
                            LLVMBuildTrunc(e->b, rlx_emit_scalar(e, load->in[2]), e->i32, ""),
                            LLVMBuildTrunc(e->b, rlx_emit_scalar(e, load->in[1]), e->i32, ""), at};
    assemble(e, "cp.async.bulk.tensor",
             "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes "
             "[$0], [$1, {$2, $3}], [$4];",
             "r,l,r,r,r,~{memory}", args, 5);
    go_on(e, join);
}

void rlx_emit_copy_box(rlx_emit *e, const rlx_ir_node *load, const rlx_emit_rows *to, int which)
{
    LLVMValueRef whole = is_whole(e, load, &e->tensors->map[which]);
    if (!whole) {
        copy_box(e, load, to, which);
        return;
    }
    LLVMBasicBlockRef box = rlx_emit_new_block(e, "box"), rows = rlx_emit_new_block(e, "rows"),
                      join = rlx_emit_new_block(e, "copied");
    LLVMBuildCondBr(e->b, whole, box, rows);
    LLVMPositionBuilderAtEnd(e->b, box);
    copy_box(e, load, to, which);
    LLVMBuildBr(e->b, join);
    LLVMPositionBuilderAtEnd(e->b, rows);
    rlx_emit_copy_rows(e, load, to);
    go_on(e, join);
}
