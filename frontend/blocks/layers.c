/* frontend/blocks/layers.c: layers of well-known models as sequences of stages. What they record is
 * what a flow prints; there is no maths here. Keys are Hugging Face's, or the authors' where those
 * are what checkpoints have. */
#include "frontend/blocks/blocks.h"

/* "PREFIX.rest", the flow's own. */
static const char *at(rlx_flow *f, const char *prefix, const char *rest)
{
    const char *key = rlx_arena_printf(f->arena, "%s%s%s", prefix, *prefix ? "." : "", rest);
    if (!key)
        rlx_flow_fail(f, RLX_OOM());
    return key ? key : "";
}

static void linear(rlx_flow *f, const char *prefix, const char *name, bool biased)
{
    const char *module = at(f, prefix, name);
    rlx_flow_linear(f, at(f, module, "weight"), biased ? at(f, module, "bias") : NULL);
}

static void layer_norm(rlx_flow *f, const char *prefix, const char *name, double eps)
{
    const char *module = at(f, prefix, name);
    rlx_flow_layer_norm(f, at(f, module, "weight"), at(f, module, "bias"), eps);
}

static bool is_given(rlx_flow *f, const void *spec, const char *prefix, const char *what)
{
    if (spec && prefix)
        return true;
    rlx_flow_fail(f, RLX_FAIL(RLX_INVALID_ARGUMENT, "%s without a prefix of keys", what));
    return false;
}

/* ---- encoders of texts ----------------------------------------------------------------------- */

void rlx_flow_bert_encoder_layer(rlx_flow *f, const rlx_encoder_layer_spec *spec)
{
    if (!is_given(f, spec, spec ? spec->prefix : NULL, "bert_encoder_layer"))
        return;
    const char *p = spec->prefix;
    const bool mpnet = spec->style == RLX_BERT_MPNET;
    const char *self = at(f, p, mpnet ? "attention.attn" : "attention.self");
    const char *q = at(f, self, mpnet ? "q" : "query"), *k = at(f, self, mpnet ? "k" : "key"),
               *v = at(f, self, mpnet ? "v" : "value");
    rlx_flow_residual_save(f);
    rlx_flow_encoder_attention(
        f, &(rlx_encoder_attention_spec){.q_key = at(f, q, "weight"),
                                         .k_key = at(f, k, "weight"),
                                         .v_key = at(f, v, "weight"),
                                         .q_bias_key = at(f, q, "bias"),
                                         .k_bias_key = at(f, k, "bias"),
                                         .v_bias_key = at(f, v, "bias"),
                                         .heads = spec->heads,
                                         .head_dim = spec->head_dim,
                                         .mask = spec->mask,
                                         .bias = mpnet ? RLX_MPNET_BIAS : NULL});
    linear(f, p, mpnet ? "attention.attn.o" : "attention.output.dense", true);
    rlx_flow_residual_add(f);
    layer_norm(f, p, mpnet ? "attention.LayerNorm" : "attention.output.LayerNorm", spec->eps);
    rlx_flow_residual_save(f);
    rlx_flow_gelu_ffn(f, p, RLX_FFN_BERT);
    rlx_flow_residual_add(f);
    layer_norm(f, p, "output.LayerNorm", spec->eps);
}

void rlx_flow_nomic_encoder_layer(rlx_flow *f, const rlx_encoder_layer_spec *spec)
{
    if (!is_given(f, spec, spec ? spec->prefix : NULL, "nomic_encoder_layer"))
        return;
    const char *p = spec->prefix;
    rlx_flow_residual_save(f);
    rlx_flow_encoder_attention(
        f, &(rlx_encoder_attention_spec){.qkv_key = at(f, p, "attn.Wqkv.weight"),
                                         .heads = spec->heads,
                                         .head_dim = spec->head_dim,
                                         .mask = spec->mask,
                                         .rope = spec->rope});
    linear(f, p, "attn.out_proj", false);
    rlx_flow_residual_add(f);
    layer_norm(f, p, "norm1", spec->eps);
    rlx_flow_residual_save(f);
    rlx_flow_gated_mlp(f, &(rlx_gated_mlp_spec){.gate_key = at(f, p, "mlp.fc12.weight"),
                                                .up_key = at(f, p, "mlp.fc11.weight"),
                                                .down_key = at(f, p, "mlp.fc2.weight"),
                                                .activation = RLX_ACT_SILU});
    rlx_flow_residual_add(f);
    layer_norm(f, p, "norm2", spec->eps);
}

/* ---- encoders of images ---------------------------------------------------------------------- */

void rlx_flow_vit_self_attention(rlx_flow *f, const rlx_encoder_layer_spec *spec, const char *qkv,
                                 const char *out)
{
    if (!is_given(f, spec, spec ? spec->prefix : NULL, "vit_self_attention"))
        return;
    const char *module = at(f, spec->prefix, qkv);
    rlx_flow_encoder_attention(
        f, &(rlx_encoder_attention_spec){.qkv_key = at(f, module, "weight"),
                                         .qkv_bias_key = at(f, module, "bias"),
                                         .heads = spec->heads,
                                         .head_dim = spec->head_dim,
                                         .mask = spec->mask,
                                         .rope = spec->rope,
                                         .rope_interleaved = spec->rope_interleaved});
    linear(f, spec->prefix, out, true);
}

void rlx_flow_dinov2_layer(rlx_flow *f, const rlx_encoder_layer_spec *spec)
{
    if (!is_given(f, spec, spec ? spec->prefix : NULL, "dinov2_layer"))
        return;
    const char *p = spec->prefix;
    rlx_flow_residual_save(f);
    layer_norm(f, p, "norm1", spec->eps);
    rlx_flow_vit_self_attention(f, spec, "attn.qkv", "attn.proj");
    rlx_flow_layer_scale(f, at(f, p, "ls1.gamma"));
    rlx_flow_residual_add(f);
    rlx_flow_residual_save(f);
    layer_norm(f, p, "norm2", spec->eps);
    rlx_flow_gelu_ffn(f, p, RLX_FFN_DINOV2);
    rlx_flow_layer_scale(f, at(f, p, "ls2.gamma"));
    rlx_flow_residual_add(f);
}

void rlx_flow_nomic_vision_layer(rlx_flow *f, const rlx_encoder_layer_spec *spec)
{
    if (!is_given(f, spec, spec ? spec->prefix : NULL, "nomic_vision_layer"))
        return;
    const char *p = spec->prefix;
    rlx_flow_residual_save(f);
    layer_norm(f, p, "norm1", spec->eps);
    rlx_flow_vit_self_attention(f, spec, "attn.Wqkv", "attn.out_proj");
    rlx_flow_residual_add(f);
    rlx_flow_residual_save(f);
    layer_norm(f, p, "norm2", spec->eps);
    rlx_flow_vision_swiglu_ffn(f, p, 1e-5);
    rlx_flow_residual_add(f);
}

void rlx_flow_siglip_layer(rlx_flow *f, const rlx_encoder_layer_spec *spec)
{
    if (!is_given(f, spec, spec ? spec->prefix : NULL, "siglip_layer"))
        return;
    const char *p = spec->prefix;
    rlx_flow_residual_save(f);
    layer_norm(f, p, "layer_norm1", spec->eps);
    rlx_flow_encoder_attention(
        f, &(rlx_encoder_attention_spec){.q_key = at(f, p, "self_attn.q_proj.weight"),
                                         .k_key = at(f, p, "self_attn.k_proj.weight"),
                                         .v_key = at(f, p, "self_attn.v_proj.weight"),
                                         .q_bias_key = at(f, p, "self_attn.q_proj.bias"),
                                         .k_bias_key = at(f, p, "self_attn.k_proj.bias"),
                                         .v_bias_key = at(f, p, "self_attn.v_proj.bias"),
                                         .heads = spec->heads,
                                         .head_dim = spec->head_dim,
                                         .mask = spec->mask});
    linear(f, p, "self_attn.out_proj", true);
    rlx_flow_residual_add(f);
    rlx_flow_residual_save(f);
    layer_norm(f, p, "layer_norm2", spec->eps);
    linear(f, p, "mlp.fc1", true);
    rlx_flow_activation(f, RLX_ACT_GELU_TANH, 0, 0);
    linear(f, p, "mlp.fc2", true);
    rlx_flow_residual_add(f);
}

/* ---- stacks of encoders ---------------------------------------------------------------------- */

typedef struct stack {
    rlx_encoder_layer_spec spec;
    void (*record)(rlx_flow *f, const rlx_encoder_layer_spec *spec);
} stack;

static void record_layer(rlx_flow *f, int64_t index, void *user)
{
    const stack *s = user;
    (void)index;
    s->record(f, &s->spec);
}

static void repeat(rlx_flow *f, int64_t count, const rlx_encoder_layer_spec *spec,
                   const char *layers,
                   void (*record)(rlx_flow *f, const rlx_encoder_layer_spec *spec))
{
    if (!is_given(f, spec, "", "repeated layers"))
        return;
    stack s = {*spec, record};
    s.spec.prefix = at(f, spec->prefix ? spec->prefix : "", layers);
    rlx_flow_repeat_layers(f, count, record_layer, &s);
}

void rlx_flow_repeat_bert_layers(rlx_flow *f, int64_t count, const rlx_encoder_layer_spec *spec)
{
    if (spec && spec->style == RLX_BERT_MPNET)
        rlx_flow_bucket_bias(
            f, RLX_MPNET_BIAS,
            at(f, spec->prefix ? spec->prefix : "", "encoder.relative_attention_bias.weight"), 128,
            false);
    repeat(f, count, spec, "encoder.layer.{}", rlx_flow_bert_encoder_layer);
}

void rlx_flow_repeat_nomic_layers(rlx_flow *f, int64_t count, const rlx_encoder_layer_spec *spec)
{
    repeat(f, count, spec, "encoder.layers.{}", rlx_flow_nomic_encoder_layer);
}

void rlx_flow_repeat_dinov2_layers(rlx_flow *f, int64_t count, const rlx_encoder_layer_spec *spec)
{
    repeat(f, count, spec, "blocks.{}", rlx_flow_dinov2_layer);
}

void rlx_flow_repeat_vision_layers(rlx_flow *f, int64_t count, const rlx_encoder_layer_spec *spec)
{
    repeat(f, count, spec, "layers.{}", rlx_flow_nomic_vision_layer);
}

void rlx_flow_repeat_siglip_layers(rlx_flow *f, int64_t count, const rlx_encoder_layer_spec *spec)
{
    repeat(f, count, spec, "encoder.layers.{}", rlx_flow_siglip_layer);
}

/* ---- decoders -------------------------------------------------------------------------------- */

/* Where the families depart from Llama. */
static const struct {
    bool qkv_bias, head_norm, plus_one, sandwich, geglu;
} kinds[] = {
    [RLX_DECODER_LLAMA] = {0},
    [RLX_DECODER_QWEN2] = {.qkv_bias = true},
    [RLX_DECODER_QWEN3] = {.head_norm = true},
    [RLX_DECODER_GEMMA] = {.plus_one = true, .geglu = true},
    [RLX_DECODER_GEMMA2] = {.plus_one = true, .geglu = true, .sandwich = true},
    [RLX_DECODER_GEMMA3] = {.plus_one = true, .geglu = true, .sandwich = true, .head_norm = true}};
enum { KINDS = sizeof kinds / sizeof *kinds };

static void rms_norm(rlx_flow *f, const rlx_decoder_layer_spec *spec, const char *name)
{
    const char *key = at(f, at(f, spec->prefix, name), "weight");
    if (kinds[spec->kind].plus_one)
        rlx_flow_gemma_rms_norm(f, key, spec->eps);
    else
        rlx_flow_rms_norm(f, key, spec->eps);
}

/* Keys and values as attention keeps them: outputs of the layer. */
static void export_kv(rlx_flow *f)
{
    rlx_flow_name_value(f, "keys", "k_{}");
    rlx_flow_name_value(f, "values", "v_{}");
    rlx_flow_output_stream(f, "k_{}", "k_{}");
    rlx_flow_output_stream(f, "v_{}", "v_{}");
}

static void attention(rlx_flow *f, const rlx_decoder_layer_spec *spec)
{
    const char *self = at(f, spec->prefix, "self_attn");
    const bool biased = spec->attention_bias || kinds[spec->kind].qkv_bias;
    const bool norm = kinds[spec->kind].head_norm;
    rlx_flow_self_attention(
        f, &(rlx_attention_spec){.q_key = at(f, self, "q_proj.weight"),
                                 .k_key = at(f, self, "k_proj.weight"),
                                 .v_key = at(f, self, "v_proj.weight"),
                                 .q_bias_key = biased ? at(f, self, "q_proj.bias") : NULL,
                                 .k_bias_key = biased ? at(f, self, "k_proj.bias") : NULL,
                                 .v_bias_key = biased ? at(f, self, "v_proj.bias") : NULL,
                                 .q_norm_key = norm ? at(f, self, "q_norm.weight") : NULL,
                                 .k_norm_key = norm ? at(f, self, "k_norm.weight") : NULL,
                                 .norm_plus_one = kinds[spec->kind].plus_one,
                                 .norm_eps = spec->eps,
                                 .heads = spec->heads,
                                 .kv_heads = spec->kv_heads,
                                 .head_dim = spec->head_dim,
                                 .scale = spec->scale,
                                 .softcap = spec->softcap,
                                 .window = spec->window,
                                 .rope = spec->rope});
    if (spec->export_kv)
        export_kv(f);
    linear(f, self, "o_proj", spec->attention_bias);
}

static void feed_forward(rlx_flow *f, const rlx_decoder_layer_spec *spec)
{
    const char *gate = at(f, spec->prefix, "mlp.gate_proj.weight");
    const char *up = at(f, spec->prefix, "mlp.up_proj.weight");
    const char *down = at(f, spec->prefix, "mlp.down_proj.weight");
    if (kinds[spec->kind].geglu)
        rlx_flow_geglu(f, gate, up, down);
    else
        rlx_flow_swiglu(f, gate, up, down);
}

void rlx_flow_decoder_layer(rlx_flow *f, const rlx_decoder_layer_spec *spec)
{
    if (!is_given(f, spec, spec ? spec->prefix : NULL, "decoder_layer"))
        return;
    if ((unsigned)spec->kind >= KINDS) {
        rlx_flow_fail(f,
                      RLX_FAIL(RLX_INVALID_ARGUMENT, "decoder_layer: no kind %d", (int)spec->kind));
        return;
    }
    const bool sandwich = kinds[spec->kind].sandwich;
    rlx_flow_residual_save(f);
    rms_norm(f, spec, "input_layernorm");
    attention(f, spec);
    if (sandwich)
        rms_norm(f, spec, "post_attention_layernorm");
    rlx_flow_residual_add(f);
    rlx_flow_residual_save(f);
    rms_norm(f, spec, sandwich ? "pre_feedforward_layernorm" : "post_attention_layernorm");
    feed_forward(f, spec);
    if (sandwich)
        rms_norm(f, spec, "post_feedforward_layernorm");
    rlx_flow_residual_add(f);
}

static void record_decoder(rlx_flow *f, int64_t index, void *user)
{
    rlx_decoder_layer_spec layer = *(const rlx_decoder_layer_spec *)user;
    const bool full = layer.full_every > 0 && (index + 1) % layer.full_every == 0;
    if (full)
        layer.window = 0;
    else if (layer.local_rope && layer.window)
        layer.rope = layer.local_rope;
    rlx_flow_decoder_layer(f, &layer);
}

void rlx_flow_repeat_decoder_layers(rlx_flow *f, int64_t count, const rlx_decoder_layer_spec *spec)
{
    if (!is_given(f, spec, "", "repeated layers"))
        return;
    rlx_decoder_layer_spec layer = *spec;
    layer.prefix = at(f, spec->prefix ? spec->prefix : "model", "layers.{}");
    rlx_flow_repeat_layers(f, count, record_decoder, &layer);
}
