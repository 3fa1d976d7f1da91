#include "frontend/blocks/blocks.h"
#include "hir/hir_attention.h"

enum { KEY, STREAM };
enum { MAX_DISTANCE, ONE_SIDED };

void rlx_flow_bucket_bias(rlx_flow *f, const char *stream, const char *key, int64_t max_distance,
                          bool one_sided)
{
    rlx_stage *s = rlx_flow_record(f, RLX_STAGE_BUCKET_BIAS);
    if (!s)
        return;
    s->key[KEY] = rlx_flow_copy_key(f, key, "bucket_bias's key");
    s->key[STREAM] = rlx_flow_copy_key(f, stream, "bucket_bias's stream");
    s->number[MAX_DISTANCE] = max_distance;
    s->number[ONE_SIDED] = one_sided;
}

rlx_status rlx_block_bucket_bias_build(rlx_flow_cx *cx, const rlx_stage *s)
{
    const rlx_dim any[] = {RLX_DIM_INVALID, RLX_DIM_INVALID};
    const rlx_ir_type *x = &cx->fn->x->type;
    rlx_ir_value *w;
    if (x->rank < 2)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "a tensor of rank %d has no sequences", x->rank);
    const rlx_dim length = x->dim[x->rank == 2 && rlx_format_is_float(x->format) ? 0 : 1];
    RLX_TRY(rlx_flow_need_weight(cx, s, KEY, 2, any, &w));
    rlx_flow_set_place(cx, s->key[KEY], 1);
    w = rlx_hir_build_bucket_bias(&cx->fn->b, w, length, length, s->number[MAX_DISTANCE],
                                  s->number[ONE_SIDED]);
    RLX_TRY(rlx_ir_builder_finish(&cx->fn->b));
    return rlx_flow_set_stream(cx, s->key[STREAM], w);
}
