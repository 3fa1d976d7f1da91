/* frontend/blocks/build_vision.c: norms, activations and images of custom stages. */
#include "frontend/blocks/build.h"

/* ---- activations ------------------------------------------------------------------------------
 */

static rlx_ir_value *activate(rlx_builder *b, rlx_activation fn, double alpha, double beta,
                              rlx_ir_value *x)
{
    rlx_hir_activation known;
    rlx_status st = rlx_flow_get_activation(fn, &known);
    rlx_builder_note(b, st);
    return st ? NULL : rlx_hir_build_activation(rlx_builder_at(b, NULL), known, alpha, beta, x);
}

rlx_value *rlx_build_activation(rlx_builder *b, rlx_activation fn, double alpha, double beta,
                                rlx_value *x)
{
    return rlx_value_of(activate(b, fn, alpha, beta, rlx_value_ir(x)));
}

rlx_value *rlx_build_gated(rlx_builder *b, rlx_activation fn, rlx_value *x)
{
    int axis = -1;
    if (!rlx_builder_axis(b, "gated", x, &axis))
        return NULL;
    const int64_t extent = rlx_value_dim(x, axis);
    if (extent < 0 || extent % 2) {
        rlx_builder_note(b, RLX_FAIL(RLX_INVALID_ARGUMENT,
                                     "gated: the last axis has %lld elements, no two halves",
                                     (long long)extent));
        return NULL;
    }
    rlx_ir_builder *at = rlx_builder_at(b, NULL);
    rlx_ir_value *u = rlx_mir_slice(at, rlx_value_ir(x), axis, 0, extent / 2, 1);
    rlx_ir_value *g = rlx_mir_slice(at, rlx_value_ir(x), axis, extent / 2, extent / 2, 1);
    return rlx_value_of(rlx_mir_map2(at, RLX_FN_MUL, u, activate(b, fn, 0, 0, g)));
}

/* A vector [C] as f32[C,1..], along axis 1 of x. */
static rlx_ir_value *channels(rlx_builder *b, const char *op, rlx_value *v, rlx_value *x)
{
    rlx_dim dims[RLX_MAX_RANK] = {v ? rlx_value_ir(v)->type.dim[0] : 1};
    if (!rlx_builder_all(b, op, 2, (rlx_value *[]){v, x}))
        return NULL;
    const int rank = rlx_value_rank(x);
    if (rank < 2 || rlx_value_rank(v) != 1) {
        rlx_builder_note(b, RLX_FAIL(RLX_INVALID_ARGUMENT,
                                     "%s: takes [N,C,..] and [C], gets ranks %d and %d", op, rank,
                                     rlx_value_rank(v)));
        return NULL;
    }
    for (int i = 1; i < rank - 1; i++)
        dims[i] = 1;
    rlx_ir_builder *at = rlx_builder_at(b, v);
    return rlx_mir_cast(at, rlx_mir_reshape(at, rlx_value_ir(v), rank - 1, dims), RLX_F32);
}

rlx_value *rlx_build_snake(rlx_builder *b, rlx_value *x, rlx_value *alpha)
{
    rlx_ir_value *a = channels(b, "snake", alpha, x), *v = rlx_value_ir(x);
    rlx_ir_builder *at = rlx_builder_at(b, alpha);
    rlx_ir_value *s = rlx_mir_map1(at, RLX_FN_SIN, rlx_mir_map2(at, RLX_FN_MUL, v, a));
    s = rlx_mir_map2(at, RLX_FN_DIV, rlx_mir_map2(at, RLX_FN_MUL, s, s), a);
    return rlx_value_of(rlx_mir_map2(at, RLX_FN_ADD, v, s));
}

/* ---- norms ------------------------------------------------------------------------------------
 */

/* No bias without a weight: the operands of norms stand in a row. */
static bool has_weight(rlx_builder *b, const char *op, const rlx_value *w, const rlx_value *bias)
{
    if (w || !bias)
        return true;
    rlx_builder_note(b, RLX_FAIL(RLX_INVALID_ARGUMENT, "%s: a bias without a weight", op));
    return false;
}

rlx_value *rlx_build_layer_norm(rlx_builder *b, rlx_value *x, rlx_value *w, rlx_value *bias,
                                double eps)
{
    if (!has_weight(b, "layer_norm", w, bias))
        return NULL;
    return rlx_value_of(rlx_hir_build_layer_norm(rlx_builder_at(b, w), rlx_value_ir(x),
                                                 rlx_value_ir(w), rlx_value_ir(bias), eps));
}

rlx_value *rlx_build_rms_norm_shifted(rlx_builder *b, rlx_value *x, rlx_value *w, double eps,
                                      double shift)
{
    return rlx_value_of(rlx_hir_build_rms_norm_shifted(rlx_builder_at(b, w), rlx_value_ir(x),
                                                       rlx_value_ir(w), eps, shift));
}

rlx_value *rlx_build_group_norm(rlx_builder *b, rlx_value *x, rlx_value *w, rlx_value *bias,
                                int64_t groups, double eps)
{
    if (!has_weight(b, "group_norm", w, bias))
        return NULL;
    return rlx_value_of(rlx_hir_build_group_norm(rlx_builder_at(b, w), rlx_value_ir(x),
                                                 rlx_value_ir(w), rlx_value_ir(bias), groups, eps));
}

rlx_value *rlx_build_instance_norm(rlx_builder *b, rlx_value *x, rlx_value *w, rlx_value *bias,
                                   double eps)
{
    return rlx_build_group_norm(b, x, w, bias, rlx_value_dim(x, 1), eps);
}

rlx_value *rlx_build_channel_norm(rlx_builder *b, rlx_value *x, rlx_value *w, rlx_value *bias,
                                  double eps)
{
    rlx_value *last = rlx_build_move(b, x, 1, -1);
    return rlx_build_move(b, rlx_build_layer_norm(b, last, w, bias, eps), -1, 1);
}

rlx_value *rlx_build_batch_norm(rlx_builder *b, rlx_value *x, rlx_value *mean, rlx_value *variance,
                                rlx_value *w, rlx_value *bias, double eps)
{
    if (!has_weight(b, "batch_norm", w, bias))
        return NULL;
    rlx_ir_value *m = channels(b, "batch_norm", mean, x);
    rlx_ir_value *v = channels(b, "batch_norm", variance, x);
    rlx_ir_builder *at = rlx_builder_at(b, mean);
    rlx_ir_value *y = rlx_mir_map2(at, RLX_FN_SUB, rlx_value_ir(x), m);
    v = rlx_mir_map1(at, RLX_FN_SQRT, rlx_mir_map_num(at, RLX_FN_ADD, v, eps));
    y = rlx_mir_map2(at, RLX_FN_DIV, y, v);
    if (w)
        y = rlx_mir_map2(at, RLX_FN_MUL, y, channels(b, "batch_norm", w, x));
    if (bias)
        y = rlx_mir_map2(at, RLX_FN_ADD, y, channels(b, "batch_norm", bias, x));
    return rlx_value_of(y);
}

rlx_value *rlx_build_l2_norm(rlx_builder *b, rlx_value *x, int axis, double eps)
{
    if (!rlx_builder_axis(b, "l2_norm", x, &axis))
        return NULL;
    rlx_ir_builder *at = rlx_builder_at(b, NULL);
    rlx_ir_value *v = rlx_value_ir(x);
    rlx_ir_value *sum = rlx_mir_fold_rows(at, RLX_FN_ADD, rlx_mir_map2(at, RLX_FN_MUL, v, v), axis);
    sum = rlx_mir_map_num(at, RLX_FN_MAX, rlx_mir_map1(at, RLX_FN_SQRT, sum), eps);
    return rlx_value_of(rlx_mir_map2(at, RLX_FN_DIV, v, sum));
}
