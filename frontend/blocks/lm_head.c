#include "frontend/blocks/blocks.h"

void rlx_flow_lm_head(rlx_flow *f, const char *key)
{
    rlx_stage *s = rlx_flow_record(f, RLX_STAGE_LM_HEAD);
    if (s)
        s->key[0] = rlx_flow_copy_key(f, key, "lm_head's key");
}

rlx_status rlx_block_lm_head_build(rlx_flow_cx *cx, const rlx_stage *s)
{
    int64_t width;
    RLX_TRY(rlx_flow_need_features(cx, &width));
    return rlx_flow_apply_linear(cx, s, cx->fn->x, 0, -1, RLX_DIM_INVALID, &cx->fn->x);
}
