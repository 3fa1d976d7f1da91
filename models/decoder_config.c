/* models/decoder_config.c: config.json of decoders. */
#include <stdlib.h>
#include <string.h>

#include "models/decoder.h"

enum { MAX_LAYERS = 4096, MAX_DIM = 1 << 24 };

static rlx_status refuse(const cJSON *config)
{
    const char *act;
    RLX_TRY(rlx_config_get_text(config, "hidden_act", "silu", &act));
    if (strcmp(act, "silu") && strcmp(act, "swish"))
        return RLX_FAIL(RLX_UNSUPPORTED, "%s \"%s\" (silu is supported)",
                        CONFIG_NAME(config, "hidden_act"), act);
    if (rlx_config_has(config, "quantization_config"))
        return RLX_FAIL(RLX_UNSUPPORTED, "config.json: quantization_config");
    return RLX_OK;
}

static rlx_status read_class(rlx_decoder *d, const cJSON *config,
                             const rlx_decoder_defaults *absent)
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(config, "architectures");
    const cJSON *first = cJSON_GetArrayItem(list, 0);
    if (rlx_config_has(config, "architectures") &&
        (!cJSON_IsArray(list) || (first && !cJSON_IsString(first))))
        return RLX_FAIL(RLX_INVALID_FILE, "config.json: architectures is no list of names");
    const char *name = cJSON_IsString(first) ? first->valuestring : absent->causal_class;
    d->has_head = !strcmp(name, absent->causal_class);
    if (!d->has_head && strcmp(name, absent->no_head_class))
        return RLX_FAIL(RLX_UNSUPPORTED, "config.json: architecture %s (%s and %s are supported)",
                        name, absent->causal_class, absent->no_head_class);
    return RLX_OK;
}

static rlx_status read_heads(rlx_decoder *d, const cJSON *config,
                             const rlx_decoder_defaults *absent)
{
    const int64_t need = RLX_CONFIG_REQUIRED;
    RLX_TRY(rlx_config_get_int(config, "num_attention_heads", 1, MAX_DIM, need, &d->heads));
    /* null means as many as query heads whatever the class's default */
    const bool grouped = absent->kv_heads && !rlx_config_is_null(config, "num_key_value_heads");
    RLX_TRY(rlx_config_get_int(config, "num_key_value_heads", 1, MAX_DIM,
                               grouped ? absent->kv_heads : d->heads, &d->kv_heads));
    if (d->heads % d->kv_heads)
        return RLX_FAIL(RLX_INVALID_FILE, "%s %lld is no multiple of %s %lld",
                        CONFIG_NAME(config, "num_attention_heads"), (long long)d->heads,
                        CONFIG_KEY(config, "num_key_value_heads"), (long long)d->kv_heads);
    const bool divided = !absent->head_dim || rlx_config_is_null(config, "head_dim");
    if (!rlx_config_has(config, "head_dim") && divided && d->hidden % d->heads)
        return RLX_FAIL(RLX_INVALID_FILE, "%s is missing, and %s %lld is no multiple of %s %lld",
                        CONFIG_NAME(config, "head_dim"), CONFIG_KEY(config, "hidden_size"),
                        (long long)d->hidden, CONFIG_KEY(config, "num_attention_heads"),
                        (long long)d->heads);
    RLX_TRY(rlx_config_get_int(config, "head_dim", 2, MAX_DIM,
                               divided ? d->hidden / d->heads : absent->head_dim, &d->head_dim));
    if (d->head_dim % 2)
        return RLX_FAIL(RLX_INVALID_FILE, "%s: heads of odd size %lld have no rotary pairs",
                        CONFIG_NAME(config, "head_dim"), (long long)d->head_dim);
    return RLX_OK;
}

rlx_status rlx_decoder_read_common(rlx_decoder *d, const cJSON *config,
                                   const rlx_decoder_defaults *absent)
{
    const int64_t need = RLX_CONFIG_REQUIRED;
    *d = (rlx_decoder){.family = absent->family};
    RLX_TRY(refuse(config));
    RLX_TRY(read_class(d, config, absent));
    RLX_TRY(rlx_config_get_int(config, "hidden_size", 1, MAX_DIM, need, &d->hidden));
    RLX_TRY(rlx_config_get_int(config, "intermediate_size", 1, MAX_DIM, need, &d->inner));
    RLX_TRY(rlx_config_get_int(config, "num_hidden_layers", 1, MAX_LAYERS, need, &d->layers));
    RLX_TRY(rlx_config_get_int(config, "vocab_size", 1, MAX_DIM, need, &d->vocab));
    RLX_TRY(read_heads(d, config, absent));
    RLX_TRY(rlx_config_get_int(config, "max_position_embeddings", 1, INT32_MAX,
                               absent->max_positions, &d->max_positions));
    RLX_TRY(rlx_config_get_real(config, "rms_norm_eps", 1e-6, &d->eps));
    if (!(d->eps >= 0) || d->eps > 1)
        return RLX_FAIL(RLX_INVALID_FILE, "%s is %g, out of range: 0 to 1",
                        CONFIG_NAME(config, "rms_norm_eps"), d->eps);
    RLX_TRY(rlx_config_get_bool(config, "tie_word_embeddings", absent->tied, &d->tied));
    RLX_TRY(rlx_config_get_bool(config, RLX_CONFIG_INTERLEAVED, false, &d->interleaved));
    RLX_TRY(rlx_config_get_rope(config, d->head_dim, d->max_positions, absent->theta, &d->rope));
    d->layer = calloc((size_t)d->layers, sizeof(*d->layer));
    return d->layer ? RLX_OK : RLX_OOM();
}

rlx_status rlx_decoder_read_config(rlx_decoder *d, const cJSON *config,
                                   const rlx_decoder_defaults *absent, rlx_decoder_read *read)
{
    RLX_TRY(rlx_decoder_read_common(d, config, absent));
    return read(d, config);
}

void rlx_decoder_deinit(rlx_decoder *d)
{
    free(d->layer);
    rlx_config_free_rope(&d->rope);
}

/* ---- windows -------------------------------------------------------------------------------- */

rlx_status rlx_decoder_read_window(rlx_decoder *d, const cJSON *config, int64_t absent)
{
    if (rlx_config_is_null(config, "sliding_window"))
        absent = 0;
    return rlx_config_get_int(config, "sliding_window", 1, INT32_MAX, absent, &d->window);
}

rlx_status rlx_decoder_read_layer_types(rlx_decoder *d, const cJSON *config, bool *found)
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(config, "layer_types");
    int64_t i = 0;
    *found = rlx_config_has(config, "layer_types");
    if (!*found)
        return RLX_OK;
    if (!cJSON_IsArray(list) || cJSON_GetArraySize(list) != d->layers)
        return RLX_FAIL(RLX_INVALID_FILE,
                        "config.json: layer_types is no list of num_hidden_layers %lld types",
                        (long long)d->layers);
    for (const cJSON *item = list->child; item; item = item->next, i++) {
        const char *type = cJSON_IsString(item) ? item->valuestring : "?";
        d->layer[i].sliding = !strcmp(type, "sliding_attention");
        if (!d->layer[i].sliding && strcmp(type, "full_attention"))
            return RLX_FAIL(RLX_UNSUPPORTED,
                            "config.json: layer_types[%lld] \"%s\" (full_attention and "
                            "sliding_attention are supported)",
                            (long long)i, type);
        if (d->layer[i].sliding && !d->window)
            return RLX_FAIL(RLX_INVALID_FILE,
                            "config.json: layer_types[%lld] slides, and there is no sliding_window",
                            (long long)i);
    }
    return RLX_OK;
}

rlx_status rlx_decoder_read_qwen_window(rlx_decoder *d, const cJSON *config)
{
    bool used, found;
    int64_t full;
    RLX_TRY(rlx_config_get_bool(config, "use_sliding_window", false, &used));
    RLX_TRY(rlx_config_get_int(config, "max_window_layers", 0, INT32_MAX, 28, &full));
    RLX_TRY(rlx_decoder_read_window(d, config, 4096));
    if (!used)
        d->window = 0;
    RLX_TRY(rlx_decoder_read_layer_types(d, config, &found));
    for (int64_t i = full; !found && d->window && i < d->layers; i++)
        d->layer[i].sliding = true;
    return RLX_OK;
}
