#include <math.h>

#include "frontend/blocks/blocks.h"

void rlx_flow_layer_scale(rlx_flow *f, const char *key)
{
    rlx_stage *s = rlx_flow_record(f, RLX_STAGE_LAYER_SCALE);
    if (s)
        s->key[0] = rlx_flow_copy_key(f, key, "layer_scale's key");
}

rlx_status rlx_block_layer_scale_build(rlx_flow_cx *cx, const rlx_stage *s)
{
    int64_t width;
    rlx_ir_value *gamma;
    RLX_TRY(rlx_flow_need_features(cx, &width));
    RLX_TRY(rlx_flow_need_weight(cx, s, 0, 1, &width, &gamma));
    rlx_flow_set_place(cx, s->key[0], 1);
    gamma = rlx_mir_cast(&cx->fn->b, gamma, RLX_F32);
    cx->fn->x = rlx_mir_map2(&cx->fn->b, RLX_FN_MUL, cx->fn->x, gamma);
    return RLX_OK;
}

void rlx_flow_embed_scale(rlx_flow *f, int64_t hidden)
{
    if (!f->error && hidden <= 0) {
        rlx_flow_fail(
            f, RLX_FAIL(RLX_INVALID_ARGUMENT, "embed_scale of %lld elements", (long long)hidden));
        return;
    }
    rlx_flow_scale(f, sqrt((double)hidden));
}
