#include "frontend/blocks/blocks.h"

void rlx_flow_embed(rlx_flow *f, const char *key)
{
    rlx_stage *s = rlx_flow_record(f, RLX_STAGE_EMBED);
    if (s)
        s->key[0] = rlx_flow_copy_key(f, key, "embed's key");
}

rlx_status rlx_block_embed_build(rlx_flow_cx *cx, const rlx_stage *s)
{
    const rlx_dim any[] = {RLX_DIM_INVALID, RLX_DIM_INVALID};
    rlx_ir_value *w;
    RLX_TRY(rlx_flow_need_weight(cx, s, 0, 2, any, &w));
    rlx_flow_set_place(cx, s->key[0], 1);
    cx->fn->x = rlx_hir_build_embed(&cx->fn->b, cx->fn->x, w);
    return RLX_OK;
}
