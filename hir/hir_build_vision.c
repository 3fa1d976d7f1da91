#include "hir/hir.h"

rlx_ir_value *rlx_hir_build_rms_norm_shifted(rlx_ir_builder *b, rlx_ir_value *x, rlx_ir_value *w,
                                             double eps, double shift)
{
    const rlx_attr attrs[] = {rlx_attr_float(RLX_ATTR_EPS, eps),
                              rlx_attr_float(RLX_ATTR_SHIFT, shift)};
    return rlx_ir_build(b, RLX_HIR_RMS_NORM, w ? 2 : 1, (rlx_ir_value *[]){x, w},
                        shift != 0 ? 2 : 1, attrs, NULL);
}

static int count(rlx_ir_value *w, rlx_ir_value *bias)
{
    return bias ? 3 : w ? 2 : 1;
}

rlx_ir_value *rlx_hir_build_layer_norm(rlx_ir_builder *b, rlx_ir_value *x, rlx_ir_value *w,
                                       rlx_ir_value *bias, double eps)
{
    const rlx_attr attr = rlx_attr_float(RLX_ATTR_EPS, eps);
    return rlx_ir_build(b, RLX_HIR_LAYER_NORM, count(w, bias), (rlx_ir_value *[]){x, w, bias}, 1,
                        &attr, NULL);
}

rlx_ir_value *rlx_hir_build_group_norm(rlx_ir_builder *b, rlx_ir_value *x, rlx_ir_value *w,
                                       rlx_ir_value *bias, int64_t groups, double eps)
{
    const rlx_attr attrs[] = {rlx_attr_float(RLX_ATTR_EPS, eps),
                              rlx_attr_int(RLX_ATTR_GROUPS, groups)};
    return rlx_ir_build(b, RLX_HIR_GROUP_NORM, count(w, bias), (rlx_ir_value *[]){x, w, bias}, 2,
                        attrs, NULL);
}

rlx_ir_value *rlx_hir_build_activation(rlx_ir_builder *b, rlx_hir_activation a, double alpha,
                                       double beta, rlx_ir_value *x)
{
    const rlx_attr attrs[] = {rlx_attr_text(RLX_ATTR_KIND, rlx_hir_activation_name(a)),
                              rlx_attr_float(RLX_ATTR_ALPHA, alpha),
                              rlx_attr_float(RLX_ATTR_BETA, beta)};
    const bool given = alpha != 0 || beta != 0;
    return rlx_ir_build(b, RLX_HIR_ACTIVATION, 1, &x, given ? 3 : 1, attrs, NULL);
}
