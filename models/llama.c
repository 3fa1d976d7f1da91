/* models/llama.c: Llama 1 to 3.2 and its many namesakes (transformers: LlamaForCausalLM,
 * LlamaModel). */
#include "models/decoder.h"

static const rlx_decoder_defaults absent = {.family = "llama",
                                            .causal_class = "LlamaForCausalLM",
                                            .no_head_class = "LlamaModel",
                                            .max_positions = 2048,
                                            .theta = 10000};

static rlx_status read(rlx_decoder *d, const cJSON *config)
{
    RLX_TRY(rlx_config_get_bool(config, "attention_bias", false, &d->qkv_bias));
    d->o_bias = d->qkv_bias;
    return rlx_config_get_bool(config, "mlp_bias", false, &d->mlp_bias);
}

rlx_status rlx_llama_describe(rlx_decoder *d, const cJSON *config)
{
    return rlx_decoder_read_config(d, config, &absent, read);
}

rlx_status rlx_llama_build(const cJSON *config, rlx_weights *w, rlx_flow **flow,
                           rlx_model_config *out)
{
    return rlx_decoder_build(config, &absent, read, w, flow, out);
}
