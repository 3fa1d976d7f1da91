#include "hir/hir.h"

#include <string.h>

#include "hir/ops/ops.h"
#include "mir/ops/ops.h"

static const rlx_ir_opinfo ops[RLX_HIR_OP_COUNT] = {
#define HIR_OP(NAME, mnemonic, inputs, outputs, blocks, traits, attrs, meaning) \
    [RLX_HIR_##NAME] = {#mnemonic,                                              \
                        inputs,                                                 \
                        outputs,                                                \
                        blocks,                                                 \
                        traits,                                                 \
                        attrs,                                                  \
                        meaning,                                                \
                        rlx_hir_##mnemonic##_infer,                             \
                        rlx_hir_##mnemonic##_verify},
#define TENSOR_OP(NAME, text, inputs, traits, attrs, how, meaning) \
    [RLX_HIR_##NAME] = {#text, inputs, 1, 0, traits, attrs, meaning, how, rlx_mir_##text##_verify},
#include "hir/hir_ops.def"
#undef HIR_OP
};

_Static_assert((int)RLX_HIR_CONST == (int)RLX_MIR_CONST &&
                   (int)RLX_HIR_CONCAT == (int)RLX_MIR_CONCAT,
               "tensor ops have one number at both levels");

/* F1  arguments are tensors.
 * F2  no argument is an OUT: results are values.
 * F3  no two arguments of a role have the same symbol.
 * F4  of blocks, a tensor op casts to f32 or gathers rows. */
static rlx_status verify_blocks(rlx_ir_module *m, const rlx_ir_func *f)
{
    for (const rlx_ir_node *n = f->body->first; n; n = n->next)
        for (int i = 0; i < n->nin; i++) {
            const rlx_format_info *format = rlx_format_get(n->in[i]->type.format);
            RLX_IR_REQUIRE(m, n, "F4",
                           n->op > RLX_HIR_CONCAT || n->op == RLX_HIR_CAST ||
                               n->op == RLX_HIR_GATHER || format->kind != RLX_KIND_BLOCK,
                           "operand %d is %s, which is to be cast", i, format->name);
        }
    return RLX_OK;
}

static rlx_status verify_func(rlx_ir_module *m, const rlx_ir_func *f)
{
    for (int i = 0; i < f->body->nargs; i++) {
        const rlx_ir_arg_info *info = &f->arg_info[i];
        if (f->body->args[i]->type.kind != RLX_TYPE_TENSOR)
            return RLX_FAIL(RLX_INVALID_IR, "function F1: argument %d of @%s in %s is not a tensor",
                            i, f->name, m->name);
        if (info->role == RLX_ROLE_OUT)
            return RLX_FAIL(RLX_INVALID_IR, "function F2: argument %d of @%s in %s is an out", i,
                            f->name, m->name);
        for (int j = 0; j < i && info->role != RLX_ROLE_VALUE; j++)
            if (f->arg_info[j].role == info->role && !strcmp(f->arg_info[j].symbol, info->symbol))
                return RLX_FAIL(RLX_INVALID_IR, "function F3: @%s in %s takes \"%s\" twice",
                                f->name, m->name, info->symbol);
    }
    return verify_blocks(m, f);
}

const rlx_ir_level rlx_hir_level = {
    .name = "hir",
    .ops = ops,
    .nops = RLX_HIR_OP_COUNT,
    .op_return = RLX_HIR_RETURN,
    .op_yield = RLX_HIR_YIELD,
    .verify_func = verify_func,
};
