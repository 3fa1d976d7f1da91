#include "frontend/blocks/blocks.h"

void rlx_flow_residual_save(rlx_flow *f)
{
    if (f->saves - f->saves_outside >= RLX_FLOW_MAX_SAVES)
        rlx_flow_fail(
            f, RLX_FAIL(RLX_INVALID_ARGUMENT, "residual_save: %d are open already", f->saves));
    else if (rlx_flow_record(f, RLX_STAGE_RESIDUAL_SAVE))
        f->saves++;
}

void rlx_flow_residual_add(rlx_flow *f)
{
    if (f->saves == f->saves_outside)
        rlx_flow_fail(f,
                      RLX_FAIL(RLX_INVALID_ARGUMENT, "F6: residual_add without a residual_save%s",
                               f->layer >= 0 ? " in its layer" : ""));
    else if (rlx_flow_record(f, RLX_STAGE_RESIDUAL_ADD))
        f->saves--;
}

rlx_status rlx_block_residual_save_build(rlx_flow_cx *cx, const rlx_stage *s)
{
    (void)s;
    cx->fn->saved[cx->fn->nsaved++] = cx->fn->x;
    return RLX_OK;
}

rlx_status rlx_block_residual_add_build(rlx_flow_cx *cx, const rlx_stage *s)
{
    (void)s;
    rlx_ir_value *saved = cx->fn->saved[--cx->fn->nsaved];
    if (!rlx_ir_type_equal(&saved->type, &cx->fn->x->type)) {
        rlx_text text = {0};
        rlx_ir_type_print(cx->dims, &saved->type, &text);
        rlx_status st = RLX_FAIL(RLX_INVALID_ARGUMENT, "F5: adds to what was saved, %s",
                                 text.data ? text.data : "?");
        rlx_text_deinit(&text);
        return st;
    }
    cx->fn->b.place = "residual";
    cx->fn->x = rlx_mir_build_map2(&cx->fn->b, RLX_FN_ADD, saved, cx->fn->x);
    return RLX_OK;
}
