/* models/llama.c: Llama 1 to 3.2 and its many namesakes (transformers: LlamaForCausalLM,
 * LlamaModel).
 *
 *   x = embed(ids);  per layer: x += o(attention(norm(x))), x += down(silu(gate(n)) * up(n)), n =
 * norm(x) logits = lm_head(norm(x)[rows]);  without a head the output is last_hidden_state =
 * norm(x)[rows]
 */
#include <stdio.h>
#include <string.h>

#include "frontend/flow.h"
#include "models/families.h"

enum { KEY_CHARS = 128, MAX_LAYERS = 4096, MAX_DIM = 1 << 24 };

typedef struct llama {
    int64_t hidden, inner, layers, heads, kv_heads, head_dim, vocab, max_positions;
    double eps;
    bool tied, attention_bias, mlp_bias;
    bool has_head;           /* LlamaForCausalLM; else LlamaModel */
    const char *prefix;      /* of weight names: "model." or "" */
    const char *path_prefix; /* of the reference's module paths */
    rlx_rope_spec rope;
} llama;

/* ---- config.json ---------------------------------------------------------------------------- */

static rlx_status refuse(const cJSON *config)
{
    const char *act;
    RLX_TRY(rlx_config_get_text(config, "hidden_act", "silu", &act));
    if (strcmp(act, "silu") && strcmp(act, "swish"))
        return RLX_FAIL(RLX_UNSUPPORTED, "config.json: hidden_act \"%s\" (silu is supported)", act);
    if (rlx_config_has(config, "quantization_config"))
        return RLX_FAIL(RLX_UNSUPPORTED, "config.json: quantization_config");
    return RLX_OK;
}

static rlx_status read_class(const cJSON *config, llama *c)
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(config, "architectures");
    const cJSON *first = cJSON_GetArrayItem(list, 0);
    const char *name = cJSON_IsString(first) ? first->valuestring : "LlamaForCausalLM";
    c->has_head = !strcmp(name, "LlamaForCausalLM");
    c->path_prefix = c->has_head ? "model." : "";
    if (!c->has_head && strcmp(name, "LlamaModel"))
        return RLX_FAIL(
            RLX_UNSUPPORTED,
            "config.json: architecture %s (LlamaForCausalLM and LlamaModel are supported)", name);
    return RLX_OK;
}

static rlx_status read_sizes(const cJSON *config, llama *c)
{
    const int64_t need = RLX_CONFIG_REQUIRED;
    RLX_TRY(rlx_config_get_int(config, "hidden_size", 1, MAX_DIM, need, &c->hidden));
    RLX_TRY(rlx_config_get_int(config, "intermediate_size", 1, MAX_DIM, need, &c->inner));
    RLX_TRY(rlx_config_get_int(config, "num_hidden_layers", 1, MAX_LAYERS, need, &c->layers));
    RLX_TRY(rlx_config_get_int(config, "vocab_size", 1, MAX_DIM, need, &c->vocab));
    RLX_TRY(rlx_config_get_int(config, "num_attention_heads", 1, MAX_DIM, need, &c->heads));
    RLX_TRY(rlx_config_get_int(config, "num_key_value_heads", 1, MAX_DIM, c->heads, &c->kv_heads));
    if (c->heads % c->kv_heads)
        return RLX_FAIL(
            RLX_INVALID_FILE,
            "config.json: num_attention_heads %lld is no multiple of num_key_value_heads %lld",
            (long long)c->heads, (long long)c->kv_heads);
    if (!rlx_config_has(config, "head_dim") && c->hidden % c->heads)
        return RLX_FAIL(RLX_INVALID_FILE,
                        "config.json: no head_dim, and hidden_size %lld is no multiple of "
                        "num_attention_heads %lld",
                        (long long)c->hidden, (long long)c->heads);
    RLX_TRY(rlx_config_get_int(config, "head_dim", 2, MAX_DIM, c->hidden / c->heads, &c->head_dim));
    if (c->head_dim % 2)
        return RLX_FAIL(RLX_INVALID_FILE,
                        "config.json: heads of odd size %lld have no rotary pairs",
                        (long long)c->head_dim);
    return rlx_config_get_int(config, "max_position_embeddings", 1, INT32_MAX, 2048,
                              &c->max_positions);
}

static rlx_status read_config(const cJSON *config, llama *c)
{
    RLX_TRY(refuse(config));
    RLX_TRY(read_class(config, c));
    RLX_TRY(read_sizes(config, c));
    RLX_TRY(rlx_config_get_real(config, "rms_norm_eps", 1e-6, &c->eps));
    RLX_TRY(rlx_config_get_bool(config, "tie_word_embeddings", false, &c->tied));
    RLX_TRY(rlx_config_get_bool(config, "attention_bias", false, &c->attention_bias));
    RLX_TRY(rlx_config_get_bool(config, "mlp_bias", false, &c->mlp_bias));
    return rlx_config_get_rope(config, c->head_dim, c->max_positions, 10000, &c->rope);
}

/* ---- weights -------------------------------------------------------------------------------- */

/* Files of the bare LlamaModel name their weights without "model.". */
static const char *find_prefix(const rlx_weights *w)
{
    return rlx_weights_find(w, "embed_tokens.weight") || rlx_weights_find(w, "norm.weight")
               ? ""
               : "model.";
}

/* The flow takes its sizes from the weights; these two must be those of the config. */
static rlx_status check_sizes(const rlx_weights *w, const char *name, const char *config_key,
                              int64_t rows, int64_t hidden)
{
    const rlx_tensor *t = rlx_weights_find(w, name);
    if (!t || (t->rank == 2 && t->dim[0] == rows && t->dim[1] == hidden))
        return RLX_OK;
    return RLX_FAIL(
        RLX_INVALID_FILE,
        "config.json: %s %lld and hidden_size %lld do not fit \"%s\" of %lld rows, %lld columns",
        config_key, (long long)rows, (long long)hidden, name, (long long)(t->rank ? t->dim[0] : 1),
        (long long)(t->rank > 1 ? t->dim[1] : 1));
}

static rlx_status check_weights(const llama *c, const rlx_flow *f, const rlx_weights *w,
                                const char *embed)
{
    static const char *const ignore[] = {".rotary_emb.inv_freq", NULL};
    char name[KEY_CHARS];
    RLX_TRY(rlx_flow_check_weights(f, w, ignore));
    RLX_TRY(check_sizes(w, embed, "vocab_size", c->vocab, c->hidden));
    for (int64_t i = 0; i < c->layers; i++) {
        snprintf(name, sizeof(name), "%slayers.%lld.mlp.gate_proj.weight", c->prefix, (long long)i);
        RLX_TRY(check_sizes(w, name, "intermediate_size", c->inner, c->hidden));
    }
    return RLX_OK;
}

/* ---- flow ----------------------------------------------------------------------------------- */

typedef struct key {
    char text[KEY_CHARS];
} key;

static key layer_key(const llama *c, const char *rest)
{
    key k;
    snprintf(k.text, sizeof(k.text), "%slayers.{}.%s", c->prefix, rest);
    return k;
}

static void probe(rlx_flow *f, const llama *c, const char *rest)
{
    char path[KEY_CHARS];
    snprintf(path, sizeof(path), "%s%s", c->path_prefix, rest);
    rlx_flow_probe_point(f, path);
}

static void record_attention(rlx_flow *f, const llama *c)
{
    const key q = layer_key(c, "self_attn.q_proj.weight"),
              qb = layer_key(c, "self_attn.q_proj.bias");
    const key k = layer_key(c, "self_attn.k_proj.weight"),
              kb = layer_key(c, "self_attn.k_proj.bias");
    const key v = layer_key(c, "self_attn.v_proj.weight"),
              vb = layer_key(c, "self_attn.v_proj.bias");
    const key o = layer_key(c, "self_attn.o_proj.weight"),
              ob = layer_key(c, "self_attn.o_proj.bias");
    const bool biased = c->attention_bias;
    rlx_flow_self_attention(f, &(rlx_attention_spec){.q_key = q.text,
                                                     .k_key = k.text,
                                                     .v_key = v.text,
                                                     .q_bias_key = biased ? qb.text : NULL,
                                                     .k_bias_key = biased ? kb.text : NULL,
                                                     .v_bias_key = biased ? vb.text : NULL,
                                                     .heads = c->heads,
                                                     .kv_heads = c->kv_heads,
                                                     .head_dim = c->head_dim});
    rlx_flow_linear(f, o.text, biased ? ob.text : NULL);
}

static void record_mlp(rlx_flow *f, const llama *c)
{
    const key g = layer_key(c, "mlp.gate_proj.weight"), gb = layer_key(c, "mlp.gate_proj.bias");
    const key u = layer_key(c, "mlp.up_proj.weight"), ub = layer_key(c, "mlp.up_proj.bias");
    const key d = layer_key(c, "mlp.down_proj.weight"), db = layer_key(c, "mlp.down_proj.bias");
    rlx_flow_swiglu_biased(f, &(rlx_swiglu_spec){.gate_key = g.text,
                                                 .up_key = u.text,
                                                 .down_key = d.text,
                                                 .gate_bias_key = c->mlp_bias ? gb.text : NULL,
                                                 .up_bias_key = c->mlp_bias ? ub.text : NULL,
                                                 .down_bias_key = c->mlp_bias ? db.text : NULL});
}

static void record_layer(rlx_flow *f, int64_t index, void *user)
{
    (void)index;
    const llama *c = user;
    rlx_flow_residual_save(f);
    rlx_flow_rms_norm(f, layer_key(c, "input_layernorm.weight").text, c->eps);
    probe(f, c, "layers.{}.input_layernorm");
    record_attention(f, c);
    probe(f, c, "layers.{}.self_attn");
    rlx_flow_residual_add(f);
    rlx_flow_residual_save(f);
    rlx_flow_rms_norm(f, layer_key(c, "post_attention_layernorm.weight").text, c->eps);
    probe(f, c, "layers.{}.post_attention_layernorm");
    record_mlp(f, c);
    probe(f, c, "layers.{}.mlp");
    rlx_flow_residual_add(f);
    probe(f, c, "layers.{}");
}

static void record(rlx_flow *f, llama *c, const char *embed, const char *head)
{
    char norm[KEY_CHARS];
    snprintf(norm, sizeof(norm), "%snorm.weight", c->prefix);
    const int64_t tokens = rlx_flow_symbol(f, "TOKENS");
    rlx_flow_input(f, "ids", RLX_I32, 1, &tokens);
    rlx_flow_embed(f, embed);
    probe(f, c, "embed_tokens");
    rlx_flow_repeat_layers(f, c->layers, record_layer, c);
    rlx_flow_select_rows(f);
    rlx_flow_rms_norm(f, norm, c->eps);
    probe(f, c, "norm");
    if (!c->has_head) {
        rlx_flow_output(f, "last_hidden_state");
        return;
    }
    rlx_flow_lm_head(f, head);
    rlx_flow_probe_point(f, "lm_head");
    rlx_flow_output(f, "logits");
}

static rlx_status fill(const cJSON *config, const llama *c, rlx_model_config *out)
{
    *out = (rlx_model_config){.family = "llama",
                              .layers = c->layers,
                              .hidden = c->hidden,
                              .vocab = c->vocab,
                              .heads = c->heads,
                              .kv_heads = c->kv_heads,
                              .head_dim = c->head_dim,
                              .max_positions = c->max_positions,
                              .output = c->has_head ? "logits" : "last_hidden_state"};
    RLX_TRY(rlx_config_get_ends(config, out));
    return rlx_rope_create(&c->rope, &out->rope);
}

rlx_status rlx_llama_build(const cJSON *config, rlx_weights *w, rlx_flow **flow,
                           rlx_model_config *out)
{
    llama c = {.prefix = find_prefix(w)};
    char embed[KEY_CHARS];
    rlx_flow *f = NULL;
    *flow = NULL;
    RLX_TRY(read_config(config, &c));
    snprintf(embed, sizeof(embed), "%sembed_tokens.weight", c.prefix);
    /* Tied: one matrix serves both ends, under whichever name the file has it; a file with both
     * names may hold two different ones, and then means them. */
    const bool has_embed = rlx_weights_find(w, embed),
               has_head = rlx_weights_find(w, "lm_head.weight");
    const char *head = c.tied && !has_head ? embed : "lm_head.weight";
    if (c.tied && c.has_head && has_head && !has_embed)
        snprintf(embed, sizeof(embed), "lm_head.weight");
    RLX_TRY(rlx_flow_create("llama", &f));
    record(f, &c, embed, head);
    rlx_status st = check_weights(&c, f, w, embed);
    if (!st)
        st = fill(config, &c, out);
    if (st) {
        rlx_flow_destroy(f);
        return st;
    }
    *flow = f;
    return RLX_OK;
}
