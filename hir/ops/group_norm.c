/* hir/ops/group_norm.c
 *   in   x f32[N,C,..];  w [C] (optional), b [C] (with w)      out  f32[N,C,..]
 *   Channels fall into `groups` groups of C/groups; the elements of a group of one n, all places
 *   included, are normalised together as in layer_norm, then * w[c] + b[c]. With as many groups as
 *   channels it is an instance norm.
 *   C1  x is f32 of rank 2 or more, with constant extents but for N.
 *   C2  there are one to three operands; w and b are float tensors [C].
 *   C3  eps is given, finite and not negative.
 *   C4  groups is > 0 and divides C.
 */
#include "hir/ops/norms.h"

#include <math.h>

rlx_status rlx_hir_group_norm_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    const rlx_ir_type *x = &n->in[0]->type;
    bool fixed = x->rank >= 2 && rlx_hir_is(n->in[0], RLX_F32, x->rank);
    for (int i = 1; fixed && i < x->rank; i++)
        fixed = rlx_dim_is_const(x->dim[i]);
    RLX_HIR_REQUIRE_TYPE(m, n, "C1", fixed, 0, "x is f32[N,C,..], constant but for N");
    RLX_IR_REQUIRE(m, n, "C2", n->nin <= 3, "%d operands, at most 3", n->nin);
    for (int i = 1; i < n->nin; i++)
        RLX_HIR_REQUIRE_TYPE(m, n, "C2",
                             rlx_hir_is_weight(n->in[i], 1) && n->in[i]->type.dim[0] == x->dim[1],
                             i, "w and b are floats [C] with the C of x");
    RLX_TRY(rlx_hir_require_eps(m, n, "C3"));
    const int64_t groups = rlx_ir_attr_int(n, RLX_ATTR_GROUPS, 0);
    RLX_IR_REQUIRE(m, n, "C4", groups > 0 && x->dim[1] % groups == 0,
                   "groups=%lld of %lld channels", (long long)groups, (long long)x->dim[1]);
    return RLX_OK;
}

rlx_status rlx_hir_group_norm_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results)
{
    RLX_TRY(rlx_hir_group_norm_verify(m, n));
    results[0] = n->in[0]->type;
    return RLX_OK;
}

rlx_status rlx_hir_group_norm_eval(rlx_hir_eval_cx *cx, const rlx_ir_node *n,
                                   rlx_eval_tensor *const *in, rlx_eval_tensor *out)
{
    RLX_TRY(rlx_hir_eval_alloc(cx, &out[0]));
    const double eps = rlx_ir_attr_float(n, RLX_ATTR_EPS, 0);
    const int64_t groups = rlx_ir_attr_int(n, RLX_ATTR_GROUPS, 1), channels = out[0].dim[1];
    int64_t places = 1;
    for (int i = 2; i < out[0].rank; i++)
        places *= out[0].dim[i];
    const int64_t size = channels / groups * places;
    for (int64_t g = 0; g < out[0].dim[0] * groups; g++) {
        const float *x = (const float *)in[0]->data + g * size;
        float *y = (float *)out[0].data + g * size;
        const rlx_hir_moments of = rlx_hir_eval_moments(x, size);
        for (int64_t i = 0; i < size; i++) {
            const int64_t c = g % groups * (channels / groups) + i / places;
            double v = (x[i] - of.mean) / sqrt(of.variance + eps);
            v *= n->nin > 1 ? rlx_hir_load(in[1], c) : 1;
            y[i] = (float)(v + (n->nin > 2 ? rlx_hir_load(in[2], c) : 0));
        }
    }
    return RLX_OK;
}

void rlx_hir_group_norm_lower(rlx_ir_builder *b, const rlx_ir_node *n, rlx_ir_value *const *in,
                              rlx_ir_value **out)
{
    const rlx_ir_type *x = &n->in[0]->type;
    const int64_t groups = rlx_ir_attr_int(n, RLX_ATTR_GROUPS, 1);
    rlx_dim rows[] = {x->dim[0], groups, x->dim[1] / groups};
    for (int i = 2; i < x->rank; i++)
        rows[2] *= x->dim[i];
    rlx_ir_value *y = rlx_mir_reshape(b, in[0], 3, rows);
    y = rlx_hir_lower_normalise(b, y, rlx_ir_attr_float(n, RLX_ATTR_EPS, 0));
    y = rlx_mir_reshape(b, y, x->rank, x->dim);
    for (int i = 1; i < n->nin; i++)
        y = rlx_mir_map2(b, i == 1 ? RLX_FN_MUL : RLX_FN_ADD, y,
                         rlx_hir_lower_channels(b, in[i], x->rank));
    out[0] = y;
}
