/* hir/ops/add.c
 *   in   a, b f32[..]                                  out  f32[..]: a + b
 *   C1  a is f32 and b has the type of a.
 */
#include "hir/ops/ops.h"

rlx_status rlx_hir_add_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    RLX_HIR_REQUIRE_TYPE(m, n, "C1", rlx_hir_is(n->in[0], RLX_F32, n->in[0]->type.rank), 0,
                         "a is an f32 tensor");
    char a[RLX_HIR_TYPE_CHARS], b[RLX_HIR_TYPE_CHARS];
    RLX_IR_REQUIRE(m, n, "C1", rlx_ir_type_equal(&n->in[0]->type, &n->in[1]->type),
                   "adds %s and %s", rlx_hir_type_text(m, &n->in[0]->type, a),
                   rlx_hir_type_text(m, &n->in[1]->type, b));
    return RLX_OK;
}

rlx_status rlx_hir_add_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results)
{
    RLX_TRY(rlx_hir_add_verify(m, n));
    results[0] = n->in[0]->type;
    return RLX_OK;
}

rlx_status rlx_hir_add_eval(rlx_hir_eval_cx *cx, const rlx_ir_node *n, rlx_eval_tensor *const *in,
                            rlx_eval_tensor *out)
{
    (void)n;
    RLX_TRY(rlx_hir_eval_alloc(cx, &out[0]));
    const float *a = in[0]->data, *b = in[1]->data;
    float *y = out[0].data;
    const int64_t elems = rlx_hir_eval_elems(&out[0]);
    for (int64_t i = 0; i < elems; i++)
        y[i] = a[i] + b[i];
    return RLX_OK;
}

void rlx_hir_add_lower(rlx_ir_builder *b, const rlx_ir_node *n, rlx_ir_value *const *in,
                       rlx_ir_value **out)
{
    (void)n;
    out[0] = rlx_mir_build_map2(b, RLX_FN_ADD, in[0], in[1]);
}
