/* hir/ops/tensor.c: the tensor ops, which are MIR's pure primitives (mir/tensor_ops.def)
 *
 * What they promise is MIR's, in mir/ops/: inference and constraints (hir.c's table points there),
 * the evaluator's loops, which this file calls, and their lowering, which is the same op. */
#include "hir/ops/ops.h"
#include "mir/ops/ops.h"

static rlx_status (*const eval_op[])(rlx_mir_frame *, const rlx_ir_node *) = {
#define TENSOR_OP(NAME, mnemonic, inputs, traits, attrs, infer, meaning) \
    [RLX_HIR_##NAME] = rlx_mir_##mnemonic##_eval,
#include "mir/tensor_ops.def"
#undef TENSOR_OP
};

/* Both evaluators hang tensors at the values' scratch. */
rlx_status rlx_hir_tensor_eval(rlx_hir_eval_cx *cx, const rlx_ir_node *n,
                               rlx_eval_tensor *const *in, rlx_eval_tensor *out)
{
    (void)in;
    rlx_mir_frame frame = {cx->module, cx->env, cx->arena, cx->layer};
    RLX_TRY(eval_op[n->op](&frame, n));
    out[0] = *rlx_mir_tensor(n->out[0]);
    n->out[0]->scratch = &out[0];
    return RLX_OK;
}

void rlx_hir_tensor_lower(rlx_ir_builder *b, const rlx_ir_node *n, rlx_ir_value *const *in,
                          rlx_ir_value **out)
{
    out[0] = rlx_ir_build(b, n->op, n->nin, in, n->nattr, n->attr, &n->out[0]->type);
}
