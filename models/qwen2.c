/* models/qwen2.c: Qwen1.5, Qwen2 and Qwen2.5 (transformers: Qwen2ForCausalLM, Qwen2Model): biases
 * on q, k and v, never on o; some layers may slide. */
#include "models/decoder.h"

static const rlx_decoder_defaults absent = {.family = "qwen2",
                                            .causal_class = "Qwen2ForCausalLM",
                                            .no_head_class = "Qwen2Model",
                                            .kv_heads = 32,
                                            .max_positions = 32768,
                                            .theta = 10000};

static rlx_status read(rlx_decoder *d, const cJSON *config)
{
    d->qkv_bias = true;
    return rlx_decoder_read_qwen_window(d, config);
}

rlx_status rlx_qwen2_describe(rlx_decoder *d, const cJSON *config)
{
    return rlx_decoder_read_config(d, config, &absent, read);
}

rlx_status rlx_qwen2_build(const cJSON *config, rlx_weights *w, rlx_flow **flow,
                           rlx_model_config *out)
{
    return rlx_decoder_build(config, &absent, read, w, flow, out);
}
