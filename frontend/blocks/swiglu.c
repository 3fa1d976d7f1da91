#include "frontend/blocks/blocks.h"

enum { GATE, UP, DOWN, GATE_BIAS, UP_BIAS, DOWN_BIAS };
enum { IN_GATE, IN_UP, IN_ACT };

void rlx_flow_swiglu_biased(rlx_flow *f, const rlx_swiglu_spec *spec)
{
    if (!rlx_flow_has_spec(f, spec, "swiglu"))
        return;
    rlx_stage *s = rlx_flow_record(f, RLX_STAGE_SWIGLU);
    if (!s)
        return;
    s->key[GATE] = rlx_flow_copy_key(f, spec->gate_key, "swiglu's gate_key");
    s->key[UP] = rlx_flow_copy_key(f, spec->up_key, "swiglu's up_key");
    s->key[DOWN] = rlx_flow_copy_key(f, spec->down_key, "swiglu's down_key");
    if (spec->gate_bias_key)
        s->key[GATE_BIAS] = rlx_flow_copy_key(f, spec->gate_bias_key, "swiglu's gate_bias_key");
    if (spec->up_bias_key)
        s->key[UP_BIAS] = rlx_flow_copy_key(f, spec->up_bias_key, "swiglu's up_bias_key");
    if (spec->down_bias_key)
        s->key[DOWN_BIAS] = rlx_flow_copy_key(f, spec->down_bias_key, "swiglu's down_bias_key");
}

void rlx_flow_swiglu(rlx_flow *f, const char *gate_key, const char *up_key, const char *down_key)
{
    rlx_flow_swiglu_biased(
        f, &(rlx_swiglu_spec){.gate_key = gate_key, .up_key = up_key, .down_key = down_key});
}

/* x * sigmoid(x), as swiglu computes it. */
static rlx_ir_value *build_silu(rlx_ir_builder *b, rlx_ir_value *x)
{
    rlx_ir_value *e = rlx_mir_map1(b, RLX_FN_EXP, rlx_mir_map1(b, RLX_FN_NEG, x));
    return rlx_mir_map2(b, RLX_FN_DIV, x, rlx_mir_map_num(b, RLX_FN_ADD, e, 1));
}

rlx_status rlx_block_swiglu_build(rlx_flow_cx *cx, const rlx_stage *s)
{
    int64_t width;
    rlx_ir_value *gate, *up;
    RLX_TRY(rlx_flow_need_features(cx, &width));
    RLX_TRY(rlx_flow_apply_linear(cx, s, cx->fn->x, GATE, GATE_BIAS, RLX_DIM_INVALID, &gate));
    const rlx_dim inner = gate->type.dim[gate->type.rank - 1];
    RLX_TRY(rlx_flow_apply_linear(cx, s, cx->fn->x, UP, UP_BIAS, inner, &up));
    rlx_flow_set_place(cx, s->key[GATE], 2);
    cx->fn->inside[IN_GATE] = gate;
    cx->fn->inside[IN_UP] = up;
    rlx_ir_value *y;
    if (rlx_flow_is_asked(cx, s, IN_ACT)) { /* the same arithmetic, with a value between */
        cx->fn->inside[IN_ACT] = build_silu(&cx->fn->b, gate);
        y = rlx_mir_map2(&cx->fn->b, RLX_FN_MUL, cx->fn->inside[IN_ACT], up);
    } else {
        y = rlx_hir_build_swiglu(&cx->fn->b, gate, up);
    }
    if (!y)
        return rlx_ir_builder_finish(&cx->fn->b);
    return rlx_flow_apply_linear(cx, s, y, DOWN, DOWN_BIAS, RLX_DIM_INVALID, &cx->fn->x);
}
