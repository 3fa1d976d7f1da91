/* models/phi3.c: Phi-3 and Phi-4 (transformers: Phi3ForCausalLM, Phi3Model): a Llama of few long
 * matrices (qkv_proj, gate_up_proj: decoder_fused.c), whose layers slide when there is a window and
 * whose long variants have a divisor for each rotary frequency. */
#include "models/decoder.h"

static const rlx_decoder_defaults absent = {.family = "phi3",
                                            .causal_class = "Phi3ForCausalLM",
                                            .no_head_class = "Phi3Model",
                                            .max_positions = 4096,
                                            .theta = 10000};

static rlx_status read(rlx_decoder *d, const cJSON *config)
{
    if (!rlx_config_has(config, "rms_norm_eps"))
        d->eps = 1e-5;
    /* The class declares the field: without it the one inside of the rotary parameters is not seen.
     */
    if (!rlx_config_has(config, "original_max_position_embeddings"))
        d->rope.original = 4096;
    RLX_TRY(rlx_decoder_read_window(d, config, 0));
    for (int64_t i = 0; d->window && i < d->layers; i++)
        d->layer[i].sliding = true;
    return RLX_OK;
}

rlx_status rlx_phi3_describe(rlx_decoder *d, const cJSON *config)
{
    return rlx_decoder_read_config(d, config, &absent, read);
}

rlx_status rlx_phi3_build(const cJSON *config, rlx_weights *w, rlx_flow **flow,
                          rlx_model_config *out)
{
    return rlx_decoder_build(config, &absent, read, w, flow, out);
}
