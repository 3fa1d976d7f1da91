/* models/smollm3.c: SmolLM3 (transformers: SmolLM3ForCausalLM, SmolLM3Model): some layers do not
 * rotate (NoPE); under use_sliding_window these slide. */
#include "models/decoder.h"

static const rlx_decoder_defaults absent = {.family = "smollm3",
                                            .causal_class = "SmolLM3ForCausalLM",
                                            .no_head_class = "SmolLM3Model",
                                            .kv_heads = 4,
                                            .max_positions = 32768,
                                            .theta = 2000000,
                                            .tied = true};

/* no_rope_layers: 0 where a layer does not rotate (sic); without it every
 * no_rope_layer_interval-th does not. */
static rlx_status get_rotations(rlx_decoder *d, const cJSON *config)
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(config, "no_rope_layers");
    int64_t interval;
    RLX_TRY(rlx_config_get_int(config, "no_rope_layer_interval", 1, INT32_MAX, 4, &interval));
    if (!rlx_config_has(config, "no_rope_layers")) {
        for (int64_t i = 0; i < d->layers; i++)
            d->layer[i].no_rope = (i + 1) % interval == 0;
        return RLX_OK;
    }
    if (!cJSON_IsArray(list) || cJSON_GetArraySize(list) < d->layers)
        return RLX_FAIL(RLX_INVALID_FILE,
                        "config.json: no_rope_layers is no list of num_hidden_layers %lld numbers",
                        (long long)d->layers);
    const cJSON *item = list->child;
    for (int64_t i = 0; i < d->layers; item = item->next, i++) {
        if (!cJSON_IsNumber(item) || (item->valuedouble != 0 && item->valuedouble != 1))
            return RLX_FAIL(RLX_INVALID_FILE, "config.json: no_rope_layers[%lld] is not 0 or 1",
                            (long long)i);
        d->layer[i].no_rope = item->valuedouble == 0;
    }
    return RLX_OK;
}

static rlx_status get_windows(rlx_decoder *d, const cJSON *config)
{
    bool used, found;
    RLX_TRY(rlx_config_get_bool(config, "use_sliding_window", false, &used));
    RLX_TRY(rlx_decoder_read_window(d, config, 0));
    RLX_TRY(rlx_decoder_read_layer_types(d, config, &found));
    for (int64_t i = 0; !found && used && d->window && i < d->layers; i++)
        d->layer[i].sliding = d->layer[i].no_rope;
    return RLX_OK;
}

static rlx_status read(rlx_decoder *d, const cJSON *config)
{
    RLX_TRY(rlx_config_get_bool(config, "attention_bias", false, &d->qkv_bias));
    d->o_bias = d->qkv_bias;
    RLX_TRY(rlx_config_get_bool(config, "mlp_bias", false, &d->mlp_bias));
    RLX_TRY(get_rotations(d, config));
    return get_windows(d, config);
}

rlx_status rlx_smollm3_describe(rlx_decoder *d, const cJSON *config)
{
    return rlx_decoder_read_config(d, config, &absent, read);
}

rlx_status rlx_smollm3_build(const cJSON *config, rlx_weights *w, rlx_flow **flow,
                             rlx_model_config *out)
{
    return rlx_decoder_build(config, &absent, read, w, flow, out);
}
