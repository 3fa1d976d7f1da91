/* models/decoder.h: decoder-only language models of Llama's shape: what their families share.
 *
 *   x = embed(ids);  per layer: x += o(attention(norm(x))), x += down(silu(gate(n)) * up(n)), n =
 *   norm(x);  logits = lm_head(norm(x)[rows]);  without a head the output is last_hidden_state =
 *   norm(x)[rows]
 *
 * A family gives the defaults of its config class and reads what it has beyond the keys that all
 * have; the rest is here.
 */
#ifndef RLX_MODELS_DECODER_H
#define RLX_MODELS_DECODER_H

#include "models/families.h"

/* What the reference's config class means by keys that are missing. */
typedef struct rlx_decoder_defaults {
    const char *family;                       /* the flow's name: "llama"; static */
    const char *causal_class, *no_head_class; /* "LlamaForCausalLM", "LlamaModel" */
    int64_t kv_heads;                         /* num_key_value_heads; 0: as many as query heads */
    int64_t head_dim;                         /* 0: hidden_size / num_attention_heads */
    int64_t max_positions;                    /* max_position_embeddings */
    double theta;                             /* rope_theta */
    bool tied;                                /* tie_word_embeddings */
} rlx_decoder_defaults;

/* Where layers of one model differ. */
typedef struct rlx_decoder_layer {
    bool sliding; /* attention sees the last `window` positions only */
    bool no_rope;
} rlx_decoder_layer;

typedef struct rlx_decoder {
    const char *family;
    int64_t hidden, inner, layers, heads, kv_heads, head_dim, vocab, max_positions;
    double eps;
    bool tied, has_head;
    bool interleaved; /* rotary pairs are elements 2i, 2i + 1 of a head */
    rlx_rope_spec rope;
    /* the family's */
    bool qkv_bias, o_bias, mlp_bias;
    bool head_norm;           /* q_norm and k_norm [head_dim] before the rotation */
    int64_t window;           /* of sliding layers; 0: there is none */
    rlx_decoder_layer *layer; /* heap [layers] */
} rlx_decoder;

/* Reads the family's own keys into the fields that are left to it. */
typedef rlx_status rlx_decoder_read(rlx_decoder *d, const cJSON *config);

/* Reads the keys that all families have, then the family's. What was read is to be freed, after an
 * error, too. */
rlx_status rlx_decoder_read_config(rlx_decoder *d, const cJSON *config,
                                   const rlx_decoder_defaults *absent, rlx_decoder_read *read);
void rlx_decoder_deinit(rlx_decoder *d);
/* The same of one family: rlx_decoder_read_config with what its file says. */
typedef rlx_status rlx_decoder_describe(rlx_decoder *d, const cJSON *config);
rlx_decoder_describe rlx_llama_describe, rlx_mistral_describe, rlx_phi3_describe,
    rlx_qwen2_describe, rlx_qwen3_describe, rlx_smollm3_describe;

/* The flow over `w` of what rlx_decoder_read_config reads. As rlx_family.build. */
rlx_status rlx_decoder_build(const cJSON *config, const rlx_decoder_defaults *absent,
                             rlx_decoder_read *read, rlx_weights *w, rlx_flow **flow,
                             rlx_model_config *out);

/* Matrices that a file keeps in one become tensors of their own; `prefix` of their names: "model."
 * or "" (decoder_fused.c). */
rlx_status rlx_decoder_split_fused(const rlx_decoder *d, const char *prefix, rlx_weights *w);

/* ---- for the families' readers (decoder_config.c) ---------------------------------------------
 */

/* The keys that all families have; the other fields become zero, d->layer all zero. */
rlx_status rlx_decoder_read_common(rlx_decoder *d, const cJSON *config,
                                   const rlx_decoder_defaults *absent);
/* sliding_window: `absent` (0: none) when it is missing, none when it is null. */
rlx_status rlx_decoder_read_window(rlx_decoder *d, const cJSON *config, int64_t absent);
/* layer_types, if it is there (*found): which layers slide. Read the window before. */
rlx_status rlx_decoder_read_layer_types(rlx_decoder *d, const cJSON *config, bool *found);
/* The window rule of Qwen2 and Qwen3: sliding_window counts under use_sliding_window only; the
 * layers of layer_types slide, else those from max_window_layers on. */
rlx_status rlx_decoder_read_qwen_window(rlx_decoder *d, const cJSON *config);

#endif
