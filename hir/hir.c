#include "hir/hir.h"

#include <string.h>

#include "hir/ops/ops.h"

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
#include "hir/hir_ops.def"
#undef HIR_OP
};

/* F1  arguments are tensors.
 * F2  no argument is an OUT: results are values.
 * F3  no two arguments of a role have the same symbol. */
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
    return RLX_OK;
}

const rlx_ir_level rlx_hir_level = {
    .name = "hir",
    .ops = ops,
    .nops = RLX_HIR_OP_COUNT,
    .op_return = RLX_HIR_RETURN,
    .op_yield = -1,
    .verify_func = verify_func,
};
