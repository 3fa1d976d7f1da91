/* tests/torch/test_vision.c: norms, activations, convolutions, pools, resizes and the stages of
 * encoders and vision models, as vision.py computed them. */
#include "tests/torch/cases.h"

static void record_linear(rlx_flow *f)
{
    torch_input(f, "x", RLX_F32, "T,7");
    rlx_flow_linear(f, "fc.weight", "fc.bias");
    rlx_flow_output(f, "y");
}

static void record_linear_batch(rlx_flow *f)
{
    torch_input(f, "x", RLX_F32, "B,T,7");
    rlx_flow_linear(f, "fc.weight", "fc.bias");
    rlx_flow_output(f, "y");
}

static void record_linear_axes(rlx_flow *f)
{
    torch_input(f, "x", RLX_F32, "B,2,3,T,7");
    rlx_flow_linear(f, "fc.weight", "fc.bias");
    rlx_flow_output(f, "y");
}

static void record_linear_vector(rlx_flow *f)
{
    torch_input(f, "x", RLX_F32, "7");
    rlx_flow_linear(f, "fc.weight", "fc.bias");
    rlx_flow_output(f, "y");
}

/* A norm in front of contractions, maps and a residual behind them, over rows in two axes. */
static void record_swiglu_batch(rlx_flow *f)
{
    torch_input(f, "x", RLX_F32, "B,T,9");
    rlx_flow_residual_save(f);
    rlx_flow_rms_norm(f, "norm.weight", 1e-5);
    rlx_flow_swiglu(f, "gate.weight", "up.weight", "down.weight");
    rlx_flow_residual_add(f);
    rlx_flow_output(f, "y");
}

/* ---- activations ------------------------------------------------------------------------------
 */

static void record_activations(rlx_flow *f)
{
    static const struct {
        const char *name;
        rlx_activation fn;
        double alpha, beta;
    } all[] = {{"identity", RLX_ACT_IDENTITY, 0, 0},
               {"relu", RLX_ACT_RELU, 0, 0},
               {"relu6", RLX_ACT_RELU6, 0, 0},
               {"relu_squared", RLX_ACT_RELU_SQUARED, 0, 0},
               {"leaky_relu", RLX_ACT_LEAKY_RELU, 0, 0},
               {"leaky_relu_2", RLX_ACT_LEAKY_RELU, 0.2, 0},
               {"elu", RLX_ACT_ELU, 0, 0},
               {"elu_half", RLX_ACT_ELU, 0.5, 0},
               {"selu", RLX_ACT_SELU, 0, 0},
               {"gelu", RLX_ACT_GELU, 0, 0},
               {"gelu_tanh", RLX_ACT_GELU_TANH, 0, 0},
               {"quick_gelu", RLX_ACT_QUICK_GELU, 0, 0},
               {"silu", RLX_ACT_SILU, 0, 0},
               {"mish", RLX_ACT_MISH, 0, 0},
               {"sigmoid", RLX_ACT_SIGMOID, 0, 0},
               {"log_sigmoid", RLX_ACT_LOG_SIGMOID, 0, 0},
               {"hard_sigmoid", RLX_ACT_HARD_SIGMOID, 0, 0},
               {"hard_swish", RLX_ACT_HARD_SWISH, 0, 0},
               {"tanh", RLX_ACT_TANH, 0, 0},
               {"softplus", RLX_ACT_SOFTPLUS, 0, 0},
               {"softplus_2", RLX_ACT_SOFTPLUS, 2, 0},
               {"softsign", RLX_ACT_SOFTSIGN, 0, 0},
               {"clamp", RLX_ACT_CLAMP, 0, 0},
               {"clamp_2", RLX_ACT_CLAMP, -2, 0.25}};
    torch_input(f, "x", RLX_F32, "T,5");
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        rlx_flow_load_input(f, "x");
        rlx_flow_activation(f, all[i].fn, all[i].alpha, all[i].beta);
        rlx_flow_output(f, all[i].name);
    }
    rlx_flow_load_input(f, "x");
    rlx_flow_activation(f, RLX_ACT_SOFTCAP, 0, 0);
    rlx_flow_output(f, "softcap");
    rlx_flow_load_input(f, "x");
    rlx_flow_logit_softcap(f, 5);
    rlx_flow_output(f, "softcap_5");
}

CUSTOM(glu, "B,T,10", rlx_build_gated(b, RLX_ACT_SIGMOID, x))
CUSTOM(geglu_halves, "T,10", rlx_build_gated(b, RLX_ACT_GELU, x))
CUSTOM(snake, "B,5,T", rlx_build_snake(b, x, W("alpha")))

/* ---- norms ------------------------------------------------------------------------------------
 */

STAGE(layer_norm, "B,T,13", rlx_flow_layer_norm(f, "weight", "bias", 1e-5))
STAGE(layer_norm_half, "T,13", rlx_flow_layer_norm(f, "weight", NULL, 1e-6))
STAGE(layer_norm_plain, "T,33", rlx_flow_layer_norm(f, NULL, NULL, 1e-3))
CUSTOM(layer_norm_one, "T,1", rlx_build_layer_norm(b, x, NULL, NULL, 1e-5))
STAGE(gemma_rms_norm, "B,T,13", rlx_flow_gemma_rms_norm(f, "w", 1e-6))
CUSTOM(rms_norm_plain, "T,7", rlx_build_rms_norm_shifted(b, x, NULL, 1e-6, 0))
CUSTOM(group_norm, "B,6,5,3", rlx_build_group_norm(b, x, W("weight"), W("bias"), 3, 1e-4))
CUSTOM(instance_norm, "B,4,7", rlx_build_instance_norm(b, x, NULL, NULL, 1e-5))
CUSTOM(channel_norm, "B,6,H,5", rlx_build_channel_norm(b, x, W("weight"), W("bias"), 1e-5))
CUSTOM(batch_norm, "B,5,H,4",
       rlx_build_batch_norm(b, x, W("running_mean"), W("running_var"), W("weight"), W("bias"),
                            1e-5))
CUSTOM(l2_norm, "T,9", rlx_build_l2_norm(b, x, -1, 1e-12))
CUSTOM(l2_norm_axis, "B,5,3", rlx_build_l2_norm(b, x, 1, 1e-2))

/* ---- stages -----------------------------------------------------------------------------------
 */

STAGE(gelu_ffn_bert, "B,T,6", rlx_flow_gelu_ffn(f, "l", RLX_FFN_BERT))
STAGE(gelu_ffn_dinov2, "B,T,6", rlx_flow_gelu_ffn(f, "b", RLX_FFN_DINOV2))
STAGE(layer_scale, "B,T,6", rlx_flow_layer_scale(f, "ls1.gamma"))
STAGE(vision_swiglu_ffn, "B,T,6", rlx_flow_vision_swiglu_ffn(f, "l", 1e-6))
STAGE(geglu, "T,6", rlx_flow_geglu(f, "gate", "up", "down"))
STAGE(cls_token_pool, "B,S,6", rlx_flow_cls_token_pool(f))
STAGE(mean_pool, "B,S,6", rlx_flow_mean_pool(f, "mask"))
STAGE(mean_pool_all, "B,S,6", rlx_flow_mean_pool(f, NULL))

static void record_bert_embeddings(rlx_flow *f)
{
    torch_input(f, "ids", RLX_I32, "B,S");
    torch_input(f, "positions", RLX_I32, "S");
    torch_input(f, "types", RLX_I32, "B,S");
    rlx_flow_gather_from_input(f, "ids", "word");
    rlx_flow_gather_add(f, "positions", "position");
    rlx_flow_gather_add(f, "types", "type");
    rlx_flow_layer_norm(f, "norm.weight", "norm.bias", 1e-12);
    rlx_flow_embed_scale(f, 6);
    rlx_flow_output(f, "y");
}

#define CASE(name, tolerance)                 \
    {                                         \
#name, record_##name, tolerance, NULL \
    }
static const torch_case cases[] = {
    CASE(linear, 1e-6),
    CASE(linear_batch, 1e-6),
    CASE(linear_axes, 1e-6),
    CASE(linear_vector, 1e-6),
    CASE(swiglu_batch, 2e-6),
    CASE(activations, 1e-6),
    CASE(glu, 1e-6),
    CASE(geglu_halves, 1e-6),
    CASE(snake, 1e-6),
    CASE(layer_norm, 2e-6),
    CASE(layer_norm_half, 1e-6),
    CASE(layer_norm_plain, 1e-6),
    CASE(layer_norm_one, 0),
    CASE(gemma_rms_norm, 1e-6),
    CASE(rms_norm_plain, 1e-6),
    CASE(group_norm, 2e-6),
    CASE(instance_norm, 1e-6),
    CASE(channel_norm, 1e-6),
    CASE(batch_norm, 1e-6),
    CASE(l2_norm, 1e-6),
    CASE(l2_norm_axis, 1e-6),
    CASE(gelu_ffn_bert, 1e-6),
    CASE(gelu_ffn_dinov2, 1e-6),
    CASE(layer_scale, 1e-6),
    CASE(vision_swiglu_ffn, 2e-6),
    CASE(geglu, 1e-6),
    CASE(cls_token_pool, 0),
    CASE(mean_pool, 1e-6),
    CASE(mean_pool_all, 1e-6),
    CASE(bert_embeddings, 2e-6),
};

int main(int argc, char **argv)
{
    return torch_main(argc, argv, "vision", cases, sizeof cases / sizeof *cases);
}
