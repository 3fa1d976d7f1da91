#include "frontend/blocks/blocks.h"

void rlx_flow_linear(rlx_flow *f, const char *key, const char *bias_key)
{
    rlx_stage *s = rlx_flow_record(f, RLX_STAGE_LINEAR);
    if (!s)
        return;
    s->key[0] = rlx_flow_copy_key(f, key, "linear's key");
    if (bias_key)
        s->key[1] = rlx_flow_copy_key(f, bias_key, "linear's bias_key");
}

rlx_status rlx_flow_apply_linear(rlx_flow_cx *cx, const rlx_stage *s, rlx_ir_value *x, int slot,
                                 int bias, rlx_dim rows, rlx_ir_value **out)
{
    const rlx_dim shape[] = {rows, x->type.dim[x->type.rank - 1]};
    rlx_ir_value *w, *b = NULL;
    RLX_TRY(rlx_flow_need_weight(cx, s, slot, 2, shape, &w));
    if (bias >= 0)
        RLX_TRY(rlx_flow_need_weight(cx, s, bias, 1, &w->type.dim[0], &b));
    rlx_flow_set_place(cx, s->key[slot], 1);
    *out = rlx_hir_build_linear(&cx->fn->b, x, w, b);
    return *out ? RLX_OK : rlx_ir_builder_finish(&cx->fn->b);
}

rlx_status rlx_block_linear_build(rlx_flow_cx *cx, const rlx_stage *s)
{
    int64_t width;
    RLX_TRY(rlx_flow_need_features(cx, &width));
    return rlx_flow_apply_linear(cx, s, cx->fn->x, 0, 1, RLX_DIM_INVALID, &cx->fn->x);
}
