#include "frontend/blocks/blocks.h"

enum { GATE, UP, DOWN, GATE_BIAS, UP_BIAS, DOWN_BIAS, NORM, NORM_BIAS };
enum { IN_GATE, IN_UP, IN_ACT };

void rlx_flow_gated_mlp(rlx_flow *f, const rlx_gated_mlp_spec *spec)
{
    if (!rlx_flow_has_spec(f, spec, "gated_mlp"))
        return;
    const char *const given[] = {spec->gate_key,      spec->up_key,       spec->down_key,
                                 spec->gate_bias_key, spec->up_bias_key,  spec->down_bias_key,
                                 spec->norm_key,      spec->norm_bias_key};
    static const char *const what[] = {"gated_mlp's gate_key",    "gated_mlp's up_key",
                                       "gated_mlp's down_key",    "gated_mlp's gate_bias_key",
                                       "gated_mlp's up_bias_key", "gated_mlp's down_bias_key",
                                       "gated_mlp's norm_key",    "gated_mlp's norm_bias_key"};
    rlx_hir_activation fn;
    rlx_status st = f->error ? RLX_OK : rlx_flow_get_activation(spec->activation, &fn);
    if (st) {
        rlx_flow_fail(f, st);
        return;
    }
    rlx_stage *s = rlx_flow_record(f, RLX_STAGE_GATED_MLP);
    if (!s)
        return;
    for (int i = 0; i <= NORM_BIAS; i++)
        if (given[i] || i <= DOWN || (i == NORM && spec->norm_bias_key))
            s->key[i] = rlx_flow_copy_key(f, given[i], what[i]);
    s->number[0] = spec->activation;
    s->real[0] = spec->norm_eps;
}

void rlx_flow_geglu(rlx_flow *f, const char *gate_key, const char *up_key, const char *down_key)
{
    rlx_flow_gated_mlp(f, &(rlx_gated_mlp_spec){.gate_key = gate_key,
                                                .up_key = up_key,
                                                .down_key = down_key,
                                                .activation = RLX_ACT_GELU_TANH});
}

void rlx_flow_vision_swiglu_ffn(rlx_flow *f, const char *prefix, double norm_eps)
{
    static const char *const names[] = {"fc12.weight", "fc11.weight", "fc2.weight",  "fc12.bias",
                                        "fc11.bias",   "fc2.bias",    "norm.weight", "norm.bias"};
    rlx_text key[NORM_BIAS + 1] = {0};
    bool oom = false;
    for (int i = 0; i <= NORM_BIAS; i++) {
        rlx_text_putf(&key[i], "%s.mlp.%s", prefix ? prefix : "", names[i]);
        oom |= key[i].oom;
    }
    if (oom)
        rlx_flow_fail(f, RLX_OOM());
    else
        rlx_flow_gated_mlp(f, &(rlx_gated_mlp_spec){.gate_key = key[GATE].data,
                                                    .up_key = key[UP].data,
                                                    .down_key = key[DOWN].data,
                                                    .gate_bias_key = key[GATE_BIAS].data,
                                                    .up_bias_key = key[UP_BIAS].data,
                                                    .down_bias_key = key[DOWN_BIAS].data,
                                                    .norm_key = key[NORM].data,
                                                    .norm_bias_key = key[NORM_BIAS].data,
                                                    .norm_eps = norm_eps,
                                                    .activation = RLX_ACT_SILU});
    for (int i = 0; i <= NORM_BIAS; i++)
        rlx_text_deinit(&key[i]);
}

static rlx_status normalise(rlx_flow_cx *cx, const rlx_stage *s, rlx_ir_value **y)
{
    rlx_ir_value *w, *bias;
    if (!s->key[NORM])
        return RLX_OK;
    const rlx_dim inner = (*y)->type.dim[(*y)->type.rank - 1];
    RLX_TRY(rlx_flow_need_weight(cx, s, NORM, 1, &inner, &w));
    RLX_TRY(rlx_flow_need_weight(cx, s, NORM_BIAS, 1, &inner, &bias));
    rlx_flow_set_place(cx, s->key[NORM], 1);
    *y = rlx_hir_build_layer_norm(&cx->fn->b, *y, w, bias, s->real[0]);
    return *y ? RLX_OK : rlx_ir_builder_finish(&cx->fn->b);
}

rlx_status rlx_block_gated_mlp_build(rlx_flow_cx *cx, const rlx_stage *s)
{
    int64_t width;
    rlx_ir_value *gate, *up;
    rlx_hir_activation fn;
    RLX_TRY(rlx_flow_get_activation(s->number[0], &fn));
    RLX_TRY(rlx_flow_need_features(cx, &width));
    RLX_TRY(rlx_flow_apply_linear(cx, s, cx->fn->x, GATE, GATE_BIAS, RLX_DIM_INVALID, &gate));
    const rlx_dim inner = gate->type.dim[gate->type.rank - 1];
    RLX_TRY(rlx_flow_apply_linear(cx, s, cx->fn->x, UP, UP_BIAS, inner, &up));
    rlx_flow_set_place(cx, s->key[GATE], 2);
    rlx_ir_value *act = rlx_hir_build_activation(&cx->fn->b, fn, 0, 0, gate);
    rlx_ir_value *y = rlx_mir_map2(&cx->fn->b, RLX_FN_MUL, act, up);
    if (!y)
        return rlx_ir_builder_finish(&cx->fn->b);
    cx->fn->inside[IN_GATE] = gate;
    cx->fn->inside[IN_UP] = up;
    cx->fn->inside[IN_ACT] = act;
    RLX_TRY(normalise(cx, s, &y));
    return rlx_flow_apply_linear(cx, s, y, DOWN, DOWN_BIAS, RLX_DIM_INVALID, &cx->fn->x);
}
