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

/* ---- places -----------------------------------------------------------------------------------
 */

/* strides, dilations, pads and groups, as far as they are not what absence means; returns how many
 * attributes. `pads` is memory for both ends. */
static int put_windows(const rlx_hir_windows *s, int64_t *pads, rlx_attr *attrs)
{
    const rlx_mir_windows *w = &s->at;
    bool strided = false, dilated = false, padded = false;
    int n = 0;
    for (int i = 0; i < w->n; i++) {
        strided |= w->step[i] != 1;
        dilated |= w->dilation[i] != 1;
        padded |= w->low[i] != 0 || w->high[i] != 0;
        pads[i] = w->low[i];
        pads[w->n + i] = w->high[i];
    }
    if (strided)
        attrs[n++] = rlx_attr_ints(RLX_ATTR_STRIDES, w->n, w->step);
    if (dilated)
        attrs[n++] = rlx_attr_ints(RLX_ATTR_DILATIONS, w->n, w->dilation);
    if (padded)
        attrs[n++] = rlx_attr_ints(RLX_ATTR_PADS, 2 * w->n, pads);
    if (s->groups > 1 || s->groups < 0)
        attrs[n++] = rlx_attr_int(RLX_ATTR_GROUPS, s->groups);
    return n;
}

rlx_ir_value *rlx_hir_build_conv(rlx_ir_builder *b, rlx_ir_value *x, rlx_ir_value *w,
                                 rlx_ir_value *bias, const rlx_hir_windows *s)
{
    int64_t pads[2 * RLX_MIR_MAX_PLACES];
    rlx_attr attrs[4];
    return rlx_ir_build(b, RLX_HIR_CONV, bias ? 3 : 2, (rlx_ir_value *[]){x, w, bias},
                        put_windows(s, pads, attrs), attrs, NULL);
}

rlx_ir_value *rlx_hir_build_conv_transpose(rlx_ir_builder *b, rlx_ir_value *x, rlx_ir_value *w,
                                           rlx_ir_value *bias, const rlx_hir_windows *s)
{
    int64_t pads[2 * RLX_MIR_MAX_PLACES];
    rlx_attr attrs[5];
    int n = put_windows(s, pads, attrs);
    for (int i = 0; i < s->at.n; i++)
        if (s->more[i]) {
            attrs[n++] = rlx_attr_ints(RLX_ATTR_MORE, s->at.n, s->more);
            break;
        }
    return rlx_ir_build(b, RLX_HIR_CONV_TRANSPOSE, bias ? 3 : 2, (rlx_ir_value *[]){x, w, bias}, n,
                        attrs, NULL);
}

static rlx_attr kind_of_pool(bool largest)
{
    return rlx_attr_text(RLX_ATTR_KIND, largest ? "max" : "mean");
}

rlx_ir_value *rlx_hir_build_pool(rlx_ir_builder *b, rlx_ir_value *x, bool largest,
                                 const rlx_hir_windows *s)
{
    int64_t pads[2 * RLX_MIR_MAX_PLACES];
    rlx_attr attrs[7];
    int n = put_windows(s, pads, attrs);
    attrs[n++] = kind_of_pool(largest);
    attrs[n++] = rlx_attr_ints(RLX_ATTR_SIZES, s->at.n, s->at.size);
    if (s->count_padding && !largest)
        attrs[n++] = rlx_attr_int(RLX_ATTR_COUNT_PAD, 1);
    return rlx_ir_build(b, RLX_HIR_POOL, 1, &x, n, attrs, NULL);
}

rlx_ir_value *rlx_hir_build_adaptive_pool(rlx_ir_builder *b, rlx_ir_value *x, bool largest, int n,
                                          const int64_t *sizes)
{
    const rlx_attr attrs[] = {kind_of_pool(largest), rlx_attr_ints(RLX_ATTR_SIZES, n, sizes)};
    return rlx_ir_build(b, RLX_HIR_ADAPTIVE_POOL, 1, &x, 2, attrs, NULL);
}

rlx_ir_value *rlx_hir_build_resize(rlx_ir_builder *b, rlx_ir_value *x, const char *mode,
                                   const char *align, bool antialias, int n, const int64_t *sizes)
{
    const rlx_attr attrs[] = {
        rlx_attr_text(RLX_ATTR_MODE, mode), rlx_attr_text(RLX_ATTR_ALIGN, align),
        rlx_attr_ints(RLX_ATTR_SIZES, n, sizes), rlx_attr_int(RLX_ATTR_ANTIALIAS, 1)};
    return rlx_ir_build(b, RLX_HIR_RESIZE, 1, &x, antialias ? 4 : 3, attrs, NULL);
}
