#include "frontend/blocks/blocks.h"

void rlx_flow_rms_norm(rlx_flow *f, const char *key, double eps)
{
    rlx_stage *s = rlx_flow_record(f, RLX_STAGE_RMS_NORM);
    if (!s)
        return;
    s->key[0] = rlx_flow_copy_key(f, key, "rms_norm's key");
    s->real[0] = eps;
}

rlx_status rlx_block_rms_norm_build(rlx_flow_cx *cx, const rlx_stage *s)
{
    int64_t width;
    rlx_ir_value *w;
    RLX_TRY(rlx_flow_need_features(cx, &width));
    RLX_TRY(rlx_flow_need_weight(cx, s, 0, 1, &width, &w));
    rlx_flow_set_place(cx, s->key[0], 1);
    cx->fn->x = rlx_hir_build_rms_norm(&cx->fn->b, cx->fn->x, w, s->real[0]);
    return RLX_OK;
}
