/* mir/mir.c: the level: its table of ops, made from mir_ops.def, and its rules about functions. */
#include "mir/mir.h"

#include <stdio.h>
#include <string.h>

#include "mir/ops/ops.h"

/* Of the ops that are the level's own: those with a type to infer, ... */
#define INFER_quantize rlx_mir_quantize_infer
#define INFER_contract_q rlx_mir_contract_q_infer
#define INFER_page_write rlx_mir_page_write_infer
#define INFER_attention rlx_mir_attention_infer
#define INFER_dense_attention rlx_mir_dense_attention_infer
#define INFER_delta_chunks rlx_mir_delta_chunks_infer
#define INFER_delta_chunks_tokens rlx_mir_delta_chunks_tokens_infer
/* ... those whose type is written, and those without results: */
#define INFER_call NULL
#define INFER_region NULL
#define INFER_recur NULL
#define INFER_recur_tokens NULL
#define INFER_return NULL
#define INFER_yield NULL

static const rlx_ir_opinfo op_table[RLX_MIR_OP_COUNT] = {
#define OP(NAME, text, nin, nout, nblk, flags, keys, how, what) \
    [RLX_MIR_##NAME] = {.mnemonic = #text,                      \
                        .inputs = nin,                          \
                        .outputs = nout,                        \
                        .nblocks = nblk,                        \
                        .traits = flags,                        \
                        .attrs = keys,                          \
                        .meaning = what,                        \
                        .infer = how,                           \
                        .verify = rlx_mir_##text##_verify},
#define TENSOR_OP(NAME, text, nin, flags, keys, how, what) \
    OP(NAME, text, nin, 1, 0, flags, keys, how, what)
#define MIR_OP(NAME, text, nin, nout, nblk, flags, keys, what) \
    OP(NAME, text, nin, nout, nblk, flags, keys, INFER_##text, what)
#include "mir/mir_ops.def"
#undef MIR_OP
#undef OP
};

int rlx_mir_updated_operand(const rlx_ir_node *n, int result)
{
    if (n->op == RLX_MIR_PAGE_WRITE)
        return 0;
    if (n->op == RLX_MIR_DELTA_CHUNKS_TOKENS)
        return result > 0 ? RLX_MIR_DELTA_STATE + result - 1 : -1;
    return n->op == RLX_MIR_RECUR_TOKENS ? rlx_mir_recur_state_of(n, result) : -1;
}

/* ---- rules about functions ------------------------------------------------------------------- */

/* Where a pool comes from: the STATE argument behind it, or NULL. Follows writes and regions. */
static const rlx_ir_value *pool_origin(const rlx_ir_value *v)
{
    for (;;) {
        const rlx_ir_node *n = v->def;
        if (!n) {
            const rlx_ir_node *region = v->block->parent;
            if (!region)
                return v;
            v = region->in[v->index];
        } else if (rlx_mir_updated_operand(n, (int)v->index) >= 0) {
            v = n->in[rlx_mir_updated_operand(n, (int)v->index)];
        } else if (n->op == RLX_MIR_REGION && n->blocks[0]->last) {
            v = n->blocks[0]->last->in[v->index];
        } else {
            return NULL;
        }
    }
}

typedef struct walk_cx {
    rlx_ir_module *module;
    const rlx_ir_func *func;
} walk_cx;

/* F1: a pool that is written is session state, and nobody else uses the pool from before the write.
 */
static rlx_status verify_write(walk_cx *cx, rlx_ir_node *n, int operand)
{
    const rlx_ir_value *origin = pool_origin(n->in[operand]);
    bool state = origin && cx->func->arg_info[origin->index].role == RLX_ROLE_STATE;
    RLX_IR_REQUIRE(cx->module, n, "F1", state, "the pool that is written is not a state of @%s",
                   cx->func->name);
    const rlx_ir_value *v = n->in[operand];
    for (;;) {
        const rlx_ir_block *scope = v->def ? v->def->parent : v->block;
        int uses = rlx_ir_count_uses(scope, v);
        RLX_IR_REQUIRE(cx->module, n, "F1", uses == 1,
                       "the pool from before the write has %d further users", uses - 1);
        if (v->def || !v->block->parent)
            return RLX_OK;
        v = v->block->parent->in[v->index]; /* a region's argument: the operand behind it */
    }
}

/* F2: blocks are decoded: a value of a block format is cast, contracted with quantized rows,
 * gathered by rows or passed into a region, and nothing else is done with it. */
static rlx_status verify_blocks(walk_cx *cx, rlx_ir_node *n)
{
    if (n->op == RLX_MIR_CAST || n->op == RLX_MIR_GATHER || n->op == RLX_MIR_REGION ||
        n->op == RLX_MIR_CONTRACT_Q)
        return RLX_OK;
    for (int i = 0; i < n->nin; i++) {
        rlx_format f = n->in[i]->type.format;
        RLX_IR_REQUIRE(cx->module, n, "F2", rlx_format_get(f)->kind != RLX_KIND_BLOCK,
                       "operand %d is %s, which is to be cast", i, rlx_format_get(f)->name);
    }
    return RLX_OK;
}

static rlx_status verify_node(void *user, rlx_ir_node *n)
{
    walk_cx *cx = user;
    RLX_TRY(verify_blocks(cx, n));
    if (n->op == RLX_MIR_CALL)
        return rlx_mir_call_check(cx->module, cx->func, n);
    for (int i = 0; i < n->nout; i++)
        if (rlx_mir_updated_operand(n, i) >= 0)
            RLX_TRY(verify_write(cx, n, rlx_mir_updated_operand(n, i)));
    return RLX_OK;
}

static rlx_status verify_func(rlx_ir_module *m, const rlx_ir_func *f)
{
    walk_cx cx = {m, f};
    return rlx_ir_walk(f->body, verify_node, &cx);
}

const rlx_ir_level rlx_mir_level = {
    .name = "mir",
    .ops = op_table,
    .nops = RLX_MIR_OP_COUNT,
    .op_return = RLX_MIR_RETURN,
    .op_yield = RLX_MIR_YIELD,
    .verify_func = verify_func,
};

/* ---- what the files of mir/ops share --------------------------------------------------------- */

const char *rlx_mir_dim_str(const rlx_ir_module *m, rlx_dim d, rlx_mir_dim_text *buffer)
{
    rlx_text t = {0};
    rlx_dim_print(m->dims, d, &t);
    snprintf(buffer->text, sizeof buffer->text, "%s", t.data ? t.data : "?");
    rlx_text_deinit(&t);
    return buffer->text;
}

bool rlx_mir_is_power_of_two(int64_t v)
{
    return v > 0 && (v & (v - 1)) == 0;
}
