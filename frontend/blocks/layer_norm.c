#include "frontend/blocks/blocks.h"

enum { KEY, BIAS };

void rlx_flow_layer_norm(rlx_flow *f, const char *key, const char *bias_key, double eps)
{
    rlx_stage *s = rlx_flow_record(f, RLX_STAGE_LAYER_NORM);
    if (!s)
        return;
    if (key || bias_key)
        s->key[KEY] = rlx_flow_copy_key(f, key, "layer_norm's key");
    if (bias_key)
        s->key[BIAS] = rlx_flow_copy_key(f, bias_key, "layer_norm's bias_key");
    s->real[0] = eps;
}

rlx_status rlx_block_layer_norm_build(rlx_flow_cx *cx, const rlx_stage *s)
{
    int64_t width;
    rlx_ir_value *w, *bias;
    RLX_TRY(rlx_flow_need_features(cx, &width));
    RLX_TRY(rlx_flow_need_weight(cx, s, KEY, 1, &width, &w));
    RLX_TRY(rlx_flow_need_weight(cx, s, BIAS, 1, &width, &bias));
    if (w)
        rlx_flow_set_place(cx, s->key[KEY], 1);
    else
        cx->fn->b.place = "layer_norm";
    cx->fn->x = rlx_hir_build_layer_norm(&cx->fn->b, cx->fn->x, w, bias, s->real[0]);
    return RLX_OK;
}
