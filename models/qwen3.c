/* models/qwen3.c: Qwen3 (transformers: Qwen3ForCausalLM, Qwen3Model): every head of q and k is
 * normalised before the rotation; some layers may slide. */
#include "models/decoder.h"

static const rlx_decoder_defaults absent = {.family = "qwen3",
                                            .causal_class = "Qwen3ForCausalLM",
                                            .no_head_class = "Qwen3Model",
                                            .kv_heads = 32,
                                            .head_dim = 128,
                                            .max_positions = 32768,
                                            .theta = 10000};

static rlx_status read(rlx_decoder *d, const cJSON *config)
{
    d->head_norm = true;
    RLX_TRY(rlx_config_get_bool(config, "attention_bias", false, &d->qkv_bias));
    d->o_bias = d->qkv_bias;
    return rlx_decoder_read_qwen_window(d, config);
}

rlx_status rlx_qwen3_describe(rlx_decoder *d, const cJSON *config)
{
    return rlx_decoder_read_config(d, config, &absent, read);
}

rlx_status rlx_qwen3_build(const cJSON *config, rlx_weights *w, rlx_flow **flow,
                           rlx_model_config *out)
{
    return rlx_decoder_build(config, &absent, read, w, flow, out);
}
