/* hir/ops/swiglu.c
 *   in   gate, up f32[..,I]                            out  f32[..,I]: gate * sigmoid(gate) * up
 *   C1  gate is f32 and up has the type of gate.
 */
#include "hir/ops/ops.h"

#include <math.h>

rlx_status rlx_hir_swiglu_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    RLX_HIR_REQUIRE_TYPE(m, n, "C1", rlx_hir_is(n->in[0], RLX_F32, n->in[0]->type.rank), 0,
                         "gate is an f32 tensor");
    char gate[RLX_HIR_TYPE_CHARS], up[RLX_HIR_TYPE_CHARS];
    RLX_IR_REQUIRE(m, n, "C1", rlx_ir_type_equal(&n->in[0]->type, &n->in[1]->type),
                   "gate is %s, up is %s", rlx_hir_type_text(m, &n->in[0]->type, gate),
                   rlx_hir_type_text(m, &n->in[1]->type, up));
    return RLX_OK;
}

rlx_status rlx_hir_swiglu_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results)
{
    RLX_TRY(rlx_hir_swiglu_verify(m, n));
    results[0] = n->in[0]->type;
    return RLX_OK;
}

rlx_status rlx_hir_swiglu_eval(rlx_hir_eval_cx *cx, const rlx_ir_node *n,
                               rlx_eval_tensor *const *in, rlx_eval_tensor *out)
{
    (void)n;
    RLX_TRY(rlx_hir_eval_alloc(cx, &out[0]));
    const float *gate = in[0]->data, *up = in[1]->data;
    float *y = out[0].data;
    const int64_t elems = rlx_hir_eval_elems(&out[0]);
    for (int64_t i = 0; i < elems; i++)
        y[i] = (float)(gate[i] / (1 + exp(-(double)gate[i])) * up[i]);
    return RLX_OK;
}

void rlx_hir_swiglu_lower(rlx_ir_builder *b, const rlx_ir_node *n, rlx_ir_value *const *in,
                          rlx_ir_value **out)
{
    (void)n;
    rlx_ir_value *e = rlx_mir_build_map1(b, RLX_FN_EXP, rlx_mir_build_map1(b, RLX_FN_NEG, in[0]));
    rlx_ir_value *one = rlx_mir_build_const(b, RLX_F32, 1);
    rlx_ir_value *below = rlx_mir_build_map2(b, RLX_FN_ADD, e, one);
    rlx_ir_value *silu = rlx_mir_build_map2(b, RLX_FN_DIV, in[0], below);
    out[0] = rlx_mir_build_map2(b, RLX_FN_MUL, silu, in[1]);
}
