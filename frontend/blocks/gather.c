/* frontend/blocks/gather.c: rows of a table by the ids of an input: token, position and segment
 * embeddings. */
#include "frontend/blocks/blocks.h"

enum { INPUT, KEY };

static void record(rlx_flow *f, rlx_stage_kind kind, const char *input, const char *key)
{
    rlx_stage *s = rlx_flow_record(f, kind);
    if (!s)
        return;
    s->key[INPUT] = rlx_flow_copy_key(f, input, "gather's input");
    s->key[KEY] = rlx_flow_copy_key(f, key, "gather's key");
}

void rlx_flow_gather_from_input(rlx_flow *f, const char *input, const char *key)
{
    record(f, RLX_STAGE_GATHER_FROM_INPUT, input, key);
}

void rlx_flow_gather_add(rlx_flow *f, const char *input, const char *key)
{
    record(f, RLX_STAGE_GATHER_ADD, input, key);
}

static rlx_status need_rows(rlx_flow_cx *cx, const rlx_stage *s, rlx_dim width, rlx_ir_value **out)
{
    const rlx_dim any[] = {RLX_DIM_INVALID, width};
    rlx_ir_value *ids, *w;
    RLX_TRY(rlx_flow_need_declared(cx, s->key[INPUT], &ids));
    RLX_TRY(rlx_flow_need_weight(cx, s, KEY, 2, any, &w));
    rlx_flow_set_place(cx, s->key[KEY], 1);
    *out = rlx_hir_build_embed(&cx->fn->b, ids, w);
    return *out ? RLX_OK : rlx_ir_builder_finish(&cx->fn->b);
}

rlx_status rlx_block_gather_from_input_build(rlx_flow_cx *cx, const rlx_stage *s)
{
    return need_rows(cx, s, RLX_DIM_INVALID, &cx->fn->x);
}

rlx_status rlx_block_gather_add_build(rlx_flow_cx *cx, const rlx_stage *s)
{
    int64_t width;
    rlx_ir_value *rows;
    RLX_TRY(rlx_flow_need_features(cx, &width));
    RLX_TRY(need_rows(cx, s, width, &rows));
    cx->fn->x = rlx_mir_map2(&cx->fn->b, RLX_FN_ADD, cx->fn->x, rows);
    return RLX_OK;
}
