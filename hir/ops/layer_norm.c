/* hir/ops/layer_norm.c
 *   in   x f32[..,H];  w [H] (optional), b [H] (with w)        out  f32[..,H]
 *   (x - mean) / sqrt(variance + eps) * w + b over the last axis; the variance is that of all H
 *   elements, not of a sample.
 *   C1  x is f32 of rank 1 or more, with a constant last extent H > 0.
 *   C2  there are one to three operands; w and b are float tensors [H].
 *   C3  eps is given, finite and not negative.
 */
#include "hir/ops/norms.h"

#include <math.h>

rlx_status rlx_hir_layer_norm_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    const rlx_ir_type *x = &n->in[0]->type;
    RLX_HIR_REQUIRE_TYPE(m, n, "C1",
                         x->rank >= 1 && rlx_hir_is(n->in[0], RLX_F32, x->rank) &&
                             rlx_hir_last_dim(n->in[0]) > 0,
                         0, "x is f32[..,H] with a constant H");
    RLX_IR_REQUIRE(m, n, "C2", n->nin <= 3, "%d operands, at most 3", n->nin);
    for (int i = 1; i < n->nin; i++)
        RLX_HIR_REQUIRE_TYPE(m, n, "C2",
                             rlx_hir_is_weight(n->in[i], 1) &&
                                 n->in[i]->type.dim[0] == rlx_hir_last_dim(n->in[0]),
                             i, "w and b are floats [H] with the H of x");
    return rlx_hir_require_eps(m, n, "C3");
}

rlx_status rlx_hir_layer_norm_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results)
{
    RLX_TRY(rlx_hir_layer_norm_verify(m, n));
    results[0] = n->in[0]->type;
    return RLX_OK;
}

rlx_status rlx_hir_layer_norm_eval(rlx_hir_eval_cx *cx, const rlx_ir_node *n,
                                   rlx_eval_tensor *const *in, rlx_eval_tensor *out)
{
    RLX_TRY(rlx_hir_eval_alloc(cx, &out[0]));
    const double eps = rlx_ir_attr_float(n, RLX_ATTR_EPS, 0);
    const int64_t hidden = out[0].dim[out[0].rank - 1], rows = rlx_hir_eval_elems(in[0]) / hidden;
    for (int64_t r = 0; r < rows; r++) {
        const float *x = (const float *)in[0]->data + r * hidden;
        float *y = (float *)out[0].data + r * hidden;
        const rlx_hir_moments of = rlx_hir_eval_moments(x, hidden);
        for (int64_t h = 0; h < hidden; h++) {
            double v = (x[h] - of.mean) / sqrt(of.variance + eps);
            v *= n->nin > 1 ? rlx_hir_load(in[1], h) : 1;
            y[h] = (float)(v + (n->nin > 2 ? rlx_hir_load(in[2], h) : 0));
        }
    }
    return RLX_OK;
}

void rlx_hir_layer_norm_lower(rlx_ir_builder *b, const rlx_ir_node *n, rlx_ir_value *const *in,
                              rlx_ir_value **out)
{
    const double eps = rlx_ir_attr_float(n, RLX_ATTR_EPS, 0);
    out[0] = rlx_hir_lower_normalise(b, in[0], eps);
    if (n->nin > 1)
        out[0] = rlx_mir_map2(b, RLX_FN_MUL, out[0], rlx_mir_cast(b, in[1], RLX_F32));
    if (n->nin > 2)
        out[0] = rlx_mir_map2(b, RLX_FN_ADD, out[0], rlx_mir_cast(b, in[2], RLX_F32));
}
