/* frontend/blocks/token_pool.c: one vector of a sequence: its first, or the mean. */
#include "frontend/blocks/blocks.h"

void rlx_flow_cls_token_pool(rlx_flow *f)
{
    rlx_flow_record(f, RLX_STAGE_CLS_TOKEN_POOL);
}

void rlx_flow_mean_pool(rlx_flow *f, const char *mask)
{
    rlx_stage *s = rlx_flow_record(f, RLX_STAGE_MEAN_POOL);
    if (s && mask)
        s->key[0] = rlx_flow_copy_key(f, mask, "mean_pool's mask");
}

static rlx_status need_sequence(rlx_flow_cx *cx)
{
    int64_t width;
    RLX_TRY(rlx_flow_need_features(cx, &width));
    if (cx->fn->x->type.rank == 3)
        return RLX_OK;
    return RLX_FAIL(RLX_INVALID_ARGUMENT, "takes f32[B,S,H], gets a tensor of rank %d",
                    cx->fn->x->type.rank);
}

/* By index: S may be a symbol. Of no rows it gives zeros. */
rlx_status rlx_block_cls_token_pool_build(rlx_flow_cx *cx, const rlx_stage *s)
{
    (void)s;
    RLX_TRY(need_sequence(cx));
    rlx_ir_builder *b = &cx->fn->b;
    b->place = "cls_token_pool";
    rlx_ir_value *x = cx->fn->x, *first = rlx_mir_build_const(b, RLX_I32, 0);
    cx->fn->x = rlx_mir_take(b, x, first, 1);
    return RLX_OK;
}

/* sum(x * m) / max(sum(m), 1), m being 1 where the mask is not 0, or everywhere. */
rlx_status rlx_block_mean_pool_build(rlx_flow_cx *cx, const rlx_stage *s)
{
    rlx_ir_value *mask = NULL;
    RLX_TRY(need_sequence(cx));
    rlx_ir_builder *b = &cx->fn->b;
    rlx_ir_value *x = cx->fn->x, *n;
    b->place = "mean_pool";
    if (s->key[0]) {
        RLX_TRY(rlx_flow_need_input(cx, s->key[0], rlx_ir_tensor(RLX_I32, 2, x->type.dim), &mask));
        mask = rlx_mir_cast(b, rlx_mir_cast(b, mask, RLX_BOOL), RLX_F32);
        x = rlx_mir_map2(b, RLX_FN_MUL, x, rlx_mir_insert(b, mask, 2));
        n = rlx_mir_fold(b, RLX_FN_ADD, mask, 2u, true);
    } else {
        n = rlx_mir_extent(b, x->type.dim[1], RLX_F32);
    }
    n = rlx_mir_map_num(b, RLX_FN_MAX, n, 1);
    x = rlx_mir_fold(b, RLX_FN_ADD, x, 2u, false);
    cx->fn->x = rlx_mir_map2(b, RLX_FN_DIV, x, n);
    return RLX_OK;
}
