#include <math.h>

#include "frontend/blocks/blocks.h"

void rlx_flow_scale(rlx_flow *f, double by)
{
    if (!f->error && !isfinite((float)by)) {
        rlx_flow_fail(f, RLX_FAIL(RLX_INVALID_ARGUMENT, "scale by %g, which is no finite f32", by));
        return;
    }
    rlx_stage *s = rlx_flow_record(f, RLX_STAGE_SCALE);
    if (s)
        s->real[0] = by;
}

rlx_status rlx_block_scale_build(rlx_flow_cx *cx, const rlx_stage *s)
{
    int64_t width;
    RLX_TRY(rlx_flow_need_features(cx, &width));
    cx->fn->b.place = "scale";
    cx->fn->x = rlx_mir_map_num(&cx->fn->b, RLX_FN_MUL, cx->fn->x, s->real[0]);
    return RLX_OK;
}
