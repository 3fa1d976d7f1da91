#include "frontend/blocks/blocks.h"

void rlx_flow_select_rows(rlx_flow *f)
{
    rlx_flow_record(f, RLX_STAGE_SELECT_ROWS);
}

rlx_status rlx_block_select_rows_build(rlx_flow_cx *cx, const rlx_stage *s)
{
    (void)s;
    int64_t width;
    rlx_dim tokens, wanted;
    rlx_ir_value *rows;
    RLX_TRY(rlx_flow_need_tokens(cx, &tokens, &width));
    RLX_TRY(rlx_flow_get_symbol(cx, "ROWS", &wanted));
    RLX_TRY(rlx_flow_need_input(cx, "rows", rlx_ir_tensor(RLX_I32, 1, &wanted), &rows));
    cx->fn->b.place = "select_rows";
    cx->fn->x = rlx_hir_build_select_rows(&cx->fn->b, cx->fn->x, rows);
    return RLX_OK;
}
