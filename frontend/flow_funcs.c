/* frontend/flow_funcs.c: functions of the HIR that a flow becomes, stage by stage. */
#include <string.h>

#include "frontend/blocks/blocks.h"

rlx_status rlx_flow_begin_func(rlx_flow_cx *cx, rlx_flow_func *fn, const char *name, bool is_layer)
{
    *fn = (rlx_flow_func){.is_layer = is_layer};
    cx->fn = fn;
    rlx_ir_builder_init(&fn->b, cx->m);
    fn->func = rlx_ir_build_func(&fn->b, name, 0, NULL);
    return rlx_ir_builder_finish(&fn->b);
}

rlx_status rlx_flow_build_stage(rlx_flow_cx *cx, const rlx_stage *s)
{
    if (!rlx_flow_is_port(s))
        memset(cx->fn->inside, 0, sizeof cx->fn->inside);
    const rlx_ir_value *x = cx->fn->x; /* what it is given */
    rlx_status st = rlx_block_get(s->kind)->build(cx, s);
    if (!st)
        st = rlx_ir_builder_finish(&cx->fn->b);
    if (!st)
        return RLX_OK;
    rlx_text text = {0};
    rlx_flow_put_stage(cx->flow, s, &text);
    if (x) {
        rlx_text_put(&text, ", given ");
        rlx_ir_type_print(cx->dims, &x->type, &text);
    }
    st = rlx_status_note(st, __FILE__, __LINE__, "%s", text.data ? text.data : "a stage");
    rlx_text_deinit(&text);
    return st;
}

rlx_status rlx_flow_end_func(rlx_flow_cx *cx, int nfirst, rlx_ir_value *const *first)
{
    rlx_flow_func *fn = cx->fn;
    const int n = nfirst + fn->nresults;
    rlx_ir_value **values = RLX_NEW_ARRAY(cx->scratch, rlx_ir_value *, n + 1);
    rlx_ir_type *types = RLX_NEW_ARRAY(cx->scratch, rlx_ir_type, n + 1);
    if (!values || !types)
        return RLX_OOM();
    for (int i = 0; i < nfirst; i++)
        values[i] = first[i];
    for (int i = 0; i < fn->nresults; i++)
        values[nfirst + i] = fn->result[i];
    for (int i = 0; i < n; i++)
        types[i] = values[i]->type;
    fn->b.place = NULL;
    rlx_ir_func_set_results(&fn->b, fn->func, n, types);
    rlx_ir_build_return(&fn->b, n, values);
    return rlx_ir_builder_finish(&fn->b);
}
