/* models/mistral.c: Mistral 7B to Nemo (transformers: MistralForCausalLM, MistralModel): a Llama
 * whose layers all slide. A null sliding_window means none; a missing one 4096. */
#include "models/decoder.h"

static const rlx_decoder_defaults absent = {.family = "mistral",
                                            .causal_class = "MistralForCausalLM",
                                            .no_head_class = "MistralModel",
                                            .kv_heads = 8,
                                            .max_positions = 131072,
                                            .theta = 10000};

static rlx_status read(rlx_decoder *d, const cJSON *config)
{
    RLX_TRY(rlx_decoder_read_window(d, config, 4096));
    for (int64_t i = 0; d->window && i < d->layers; i++)
        d->layer[i].sliding = true;
    return RLX_OK;
}

rlx_status rlx_mistral_describe(rlx_decoder *d, const cJSON *config)
{
    return rlx_decoder_read_config(d, config, &absent, read);
}

rlx_status rlx_mistral_build(const cJSON *config, rlx_weights *w, rlx_flow **flow,
                             rlx_model_config *out)
{
    return rlx_decoder_build(config, &absent, read, w, flow, out);
}
