#include "frontend/blocks/blocks.h"

enum { EPS, SHIFT };

static void record(rlx_flow *f, const char *key, const char *what, double eps, double shift)
{
    rlx_stage *s = rlx_flow_record(f, RLX_STAGE_RMS_NORM);
    if (!s)
        return;
    s->key[0] = rlx_flow_copy_key(f, key, what);
    s->real[EPS] = eps;
    s->real[SHIFT] = shift;
}

void rlx_flow_rms_norm(rlx_flow *f, const char *key, double eps)
{
    record(f, key, "rms_norm's key", eps, 0);
}

void rlx_flow_gemma_rms_norm(rlx_flow *f, const char *key, double eps)
{
    record(f, key, "gemma_rms_norm's key", eps, 1);
}

rlx_status rlx_block_rms_norm_build(rlx_flow_cx *cx, const rlx_stage *s)
{
    int64_t width;
    rlx_ir_value *w;
    RLX_TRY(rlx_flow_need_features(cx, &width));
    RLX_TRY(rlx_flow_need_weight(cx, s, 0, 1, &width, &w));
    rlx_flow_set_place(cx, s->key[0], 1);
    cx->fn->x =
        rlx_hir_build_rms_norm_shifted(&cx->fn->b, cx->fn->x, w, s->real[EPS], s->real[SHIFT]);
    return RLX_OK;
}
