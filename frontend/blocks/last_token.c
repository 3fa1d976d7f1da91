/* frontend/blocks/last_token.c: one token of each sequence of a batch that is filled up to one
 * length. */
#include "frontend/blocks/blocks.h"
#include "mir/mir_compose.h"

enum { AT };

void rlx_flow_gather_last_token(rlx_flow *f)
{
    rlx_flow_record(f, RLX_STAGE_GATHER_LAST_TOKEN);
}

void rlx_flow_gather_last_token_at(rlx_flow *f, int64_t length)
{
    if (!f->error && length < 1)
        rlx_flow_fail(f, RLX_FAIL(RLX_INVALID_ARGUMENT,
                                  "gather_last_token_at: %lld tokens have no last one",
                                  (long long)length));
    rlx_stage *s = rlx_flow_record(f, RLX_STAGE_GATHER_LAST_TOKEN);
    if (s)
        s->number[AT] = length;
}

/* Of the tokens of a sequence all but one become 0, and their sum is that one: no extent need be a
 * constant. An index out of range gives zeros. */
static rlx_status pick(rlx_flow_cx *cx, rlx_ir_value *x, rlx_ir_value **out)
{
    rlx_ir_builder *b = &cx->fn->b;
    const rlx_dim *d = x->type.dim;
    rlx_ir_value *last;
    RLX_TRY(rlx_flow_need_input(cx, "last_token_idx", rlx_ir_tensor(RLX_I32, 1, d), &last));
    rlx_ir_value *index = rlx_mir_iota(b, RLX_I32, 2, d, 1);
    rlx_ir_value *is_last = rlx_mir_map2(b, RLX_FN_EQ, index, rlx_mir_insert(b, last, 1));
    rlx_ir_value *kept = rlx_mir_pick(b, rlx_mir_insert(b, is_last, 2), x, rlx_mir_like(b, x, 0));
    *out = rlx_mir_fold(b, RLX_FN_ADD, kept, 1u << 1, true);
    return rlx_ir_builder_finish(b);
}

rlx_status rlx_block_gather_last_token_build(rlx_flow_cx *cx, const rlx_stage *s)
{
    rlx_ir_value *x = cx->fn->x;
    const int64_t length = s->number[AT];
    int64_t width;
    RLX_TRY(rlx_flow_need_features(cx, &width));
    if (x->type.rank != 3)
        return RLX_FAIL(RLX_INVALID_ARGUMENT,
                        "F5: takes f32[B,S,H]: one token of each of B sequences of S");
    cx->fn->b.place = "last_token";
    if (!length)
        return pick(cx, x, &cx->fn->x);
    if (!rlx_dim_is_const(x->type.dim[1]) || length > x->type.dim[1])
        return RLX_FAIL(RLX_INVALID_ARGUMENT,
                        "F5: takes f32[B,S,H] with a constant S of %lld or more tokens",
                        (long long)length);
    cx->fn->x = rlx_mir_build_slice(&cx->fn->b, x, 1, length - 1, 1);
    return RLX_OK;
}
