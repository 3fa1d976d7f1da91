/* models/decoder.c: the flow of a decoder and its weights. */
#include "models/decoder.h"

#include <stdio.h>

#include "frontend/flow.h"

enum { KEY_CHARS = 128 };

typedef struct key {
    char text[KEY_CHARS];
} key;

/* One recording. */
typedef struct recorder {
    const rlx_decoder *d;
    const char *prefix;      /* of weight names: "model." or "" */
    const char *path_prefix; /* of the reference's module paths */
    key embed, head;
} recorder;

/* ---- weights -------------------------------------------------------------------------------- */

/* Files of the class without a head name their weights without "model.". */
static const char *find_prefix(const rlx_weights *w)
{
    const bool has_bare =
        rlx_weights_find(w, "embed_tokens.weight") || rlx_weights_find(w, "norm.weight");
    return has_bare && !rlx_weights_find(w, "model.norm.weight") ? "" : "model.";
}

/* Tied: one matrix serves both ends, under whichever name the file has it; a file with both names
 * may hold two different ones, and then means them. */
static void find_ends(recorder *r, const rlx_weights *w)
{
    snprintf(r->embed.text, KEY_CHARS, "%sembed_tokens.weight", r->prefix);
    const bool has_embed = rlx_weights_find(w, r->embed.text),
               has_head = rlx_weights_find(w, "lm_head.weight");
    r->head = r->embed;
    if (!r->d->tied || has_head)
        snprintf(r->head.text, KEY_CHARS, "lm_head.weight");
    if (r->d->tied && r->d->has_head && has_head && !has_embed)
        r->embed = r->head;
}

/* The flow takes its sizes from the weights; these two must be those of the config. */
static rlx_status check_sizes(const cJSON *config, const rlx_weights *w, const char *name,
                              const char *config_key, int64_t rows, int64_t hidden)
{
    const rlx_tensor *t = rlx_weights_find(w, name);
    if (!t || (t->rank == 2 && t->dim[0] == rows && t->dim[1] == hidden))
        return RLX_OK;
    return RLX_FAIL(RLX_INVALID_FILE,
                    "%s %lld and %s %lld do not fit \"%s\" of %lld rows, %lld columns",
                    CONFIG_NAME(config, config_key), (long long)rows,
                    CONFIG_KEY(config, "hidden_size"), (long long)hidden, name,
                    (long long)(t->rank ? t->dim[0] : 1), (long long)(t->rank > 1 ? t->dim[1] : 1));
}

static rlx_status check_weights(const recorder *r, const cJSON *config, const rlx_flow *f,
                                const rlx_weights *w)
{
    static const char *const ignore[] = {".rotary_emb.inv_freq", "rope.freqs",
                                         RLX_ROPE_FACTORS,       RLX_ROPE_FACTORS_LONG,
                                         RLX_ROPE_FACTORS_SHORT, NULL};
    const rlx_decoder *d = r->d;
    char name[KEY_CHARS];
    RLX_TRY(rlx_flow_check_weights(f, w, ignore));
    RLX_TRY(check_sizes(config, w, r->embed.text, "vocab_size", d->vocab, d->hidden));
    for (int64_t i = 0; i < d->layers; i++) {
        snprintf(name, sizeof(name), "%slayers.%lld.mlp.gate_proj.weight", r->prefix, (long long)i);
        RLX_TRY(check_sizes(config, w, name, "intermediate_size", d->inner, d->hidden));
    }
    return RLX_OK;
}

/* ---- flow ----------------------------------------------------------------------------------- */

static key layer_key(const recorder *r, const char *rest)
{
    key k;
    snprintf(k.text, sizeof(k.text), "%slayers.{}.%s", r->prefix, rest);
    return k;
}

static void probe(rlx_flow *f, const recorder *r, const char *rest)
{
    char path[KEY_CHARS];
    snprintf(path, sizeof(path), "%s%s", r->path_prefix, rest);
    rlx_flow_probe_point(f, path);
}

static void probe_inside(rlx_flow *f, const recorder *r, const char *value, const char *rest)
{
    char path[KEY_CHARS];
    snprintf(path, sizeof(path), "%slayers.{}.%s", r->path_prefix, rest);
    rlx_flow_probe_inside(f, value, path);
}

static void record_attention(rlx_flow *f, const recorder *r, const rlx_decoder_layer *layer)
{
    const rlx_decoder *d = r->d;
    const key q = layer_key(r, "self_attn.q_proj.weight");
    const key k = layer_key(r, "self_attn.k_proj.weight");
    const key v = layer_key(r, "self_attn.v_proj.weight");
    const key o = layer_key(r, "self_attn.o_proj.weight");
    const key q_bias = layer_key(r, "self_attn.q_proj.bias");
    const key k_bias = layer_key(r, "self_attn.k_proj.bias");
    const key v_bias = layer_key(r, "self_attn.v_proj.bias");
    const key o_bias = layer_key(r, "self_attn.o_proj.bias");
    const key q_norm = layer_key(r, "self_attn.q_norm.weight");
    const key k_norm = layer_key(r, "self_attn.k_norm.weight");
    rlx_flow_self_attention(f,
                            &(rlx_attention_spec){.q_key = q.text,
                                                  .k_key = k.text,
                                                  .v_key = v.text,
                                                  .q_bias_key = d->qkv_bias ? q_bias.text : NULL,
                                                  .k_bias_key = d->qkv_bias ? k_bias.text : NULL,
                                                  .v_bias_key = d->qkv_bias ? v_bias.text : NULL,
                                                  .heads = d->heads,
                                                  .kv_heads = d->kv_heads,
                                                  .head_dim = d->head_dim,
                                                  .q_norm_key = d->head_norm ? q_norm.text : NULL,
                                                  .k_norm_key = d->head_norm ? k_norm.text : NULL,
                                                  .norm_eps = d->eps,
                                                  .window = layer->sliding ? d->window : 0,
                                                  .no_rope = layer->no_rope,
                                                  .rope_interleaved = d->interleaved,
                                                  .rotary_dim = d->rope.dim});
    probe_inside(f, r, "q", "self_attn.q_proj");
    probe_inside(f, r, "k", "self_attn.k_proj");
    probe_inside(f, r, "v", "self_attn.v_proj");
    if (d->head_norm) {
        probe_inside(f, r, "q_norm", "self_attn.q_norm");
        probe_inside(f, r, "k_norm", "self_attn.k_norm");
    }
    rlx_flow_linear(f, o.text, d->o_bias ? o_bias.text : NULL);
    probe(f, r, "layers.{}.self_attn.o_proj");
}

static void record_mlp(rlx_flow *f, const recorder *r)
{
    const bool biased = r->d->mlp_bias;
    const key g = layer_key(r, "mlp.gate_proj.weight"), gb = layer_key(r, "mlp.gate_proj.bias");
    const key u = layer_key(r, "mlp.up_proj.weight"), ub = layer_key(r, "mlp.up_proj.bias");
    const key d = layer_key(r, "mlp.down_proj.weight"), db = layer_key(r, "mlp.down_proj.bias");
    rlx_flow_swiglu_biased(f, &(rlx_swiglu_spec){.gate_key = g.text,
                                                 .up_key = u.text,
                                                 .down_key = d.text,
                                                 .gate_bias_key = biased ? gb.text : NULL,
                                                 .up_bias_key = biased ? ub.text : NULL,
                                                 .down_bias_key = biased ? db.text : NULL});
    probe_inside(f, r, "gate", "mlp.gate_proj");
    probe_inside(f, r, "act", "mlp.act_fn");
    probe_inside(f, r, "up", "mlp.up_proj");
    probe(f, r, "layers.{}.mlp.down_proj");
}

static void record_layer(rlx_flow *f, int64_t index, void *user)
{
    const recorder *r = user;
    rlx_flow_residual_save(f);
    rlx_flow_rms_norm(f, layer_key(r, "input_layernorm.weight").text, r->d->eps);
    probe(f, r, "layers.{}.input_layernorm");
    record_attention(f, r, &r->d->layer[index]);
    probe(f, r, "layers.{}.self_attn");
    rlx_flow_residual_add(f);
    rlx_flow_residual_save(f);
    rlx_flow_rms_norm(f, layer_key(r, "post_attention_layernorm.weight").text, r->d->eps);
    probe(f, r, "layers.{}.post_attention_layernorm");
    record_mlp(f, r);
    probe(f, r, "layers.{}.mlp");
    rlx_flow_residual_add(f);
    probe(f, r, "layers.{}");
}

static bool rotates(const rlx_decoder *d)
{
    for (int64_t i = 0; i < d->layers; i++)
        if (!d->layer[i].no_rope)
            return true;
    return false;
}

/* The reference's module returns cosines and sines. */
static void probe_rotary(rlx_flow *f, const recorder *r)
{
    char cosine[KEY_CHARS], sine[KEY_CHARS];
    snprintf(cosine, sizeof(cosine), "%srotary_emb.0", r->path_prefix);
    snprintf(sine, sizeof(sine), "%srotary_emb.1", r->path_prefix);
    rlx_flow_probe_rotary(f, r->d->rope.dim, cosine, sine);
}

static void record(rlx_flow *f, recorder *r)
{
    char norm[KEY_CHARS];
    snprintf(norm, sizeof(norm), "%snorm.weight", r->prefix);
    const int64_t tokens = rlx_flow_symbol(f, "TOKENS");
    rlx_flow_input(f, "ids", RLX_I32, 1, &tokens);
    rlx_flow_embed(f, r->embed.text);
    probe(f, r, "embed_tokens");
    if (rotates(r->d))
        probe_rotary(f, r);
    rlx_flow_repeat_layers(f, r->d->layers, record_layer, r);
    rlx_flow_select_rows(f);
    rlx_flow_rms_norm(f, norm, r->d->eps);
    probe(f, r, "norm");
    if (r->d->has_head) /* without one the path of the whole model is empty */
        rlx_flow_probe_point(f, "model");
    if (!r->d->has_head) {
        rlx_flow_output(f, "last_hidden_state");
        return;
    }
    rlx_flow_lm_head(f, r->head.text);
    rlx_flow_probe_point(f, "lm_head");
    rlx_flow_output(f, "logits");
}

/* ---- the family's build --------------------------------------------------------------------- */

static rlx_status fill(const rlx_decoder *d, const cJSON *config, rlx_model_config *out)
{
    *out = (rlx_model_config){.family = d->family,
                              .layers = d->layers,
                              .hidden = d->hidden,
                              .vocab = d->vocab,
                              .heads = d->heads,
                              .kv_heads = d->kv_heads,
                              .head_dim = d->head_dim,
                              .max_positions = d->max_positions,
                              .output = d->has_head ? "logits" : "last_hidden_state"};
    RLX_TRY(rlx_config_get_ends(config, out));
    return rotates(d) ? rlx_rope_create(&d->rope, &out->rope) : RLX_OK;
}

static rlx_status make_flow(const rlx_decoder *d, const cJSON *config, rlx_weights *w,
                            rlx_flow **flow, rlx_model_config *out)
{
    recorder r = {.d = d, .prefix = find_prefix(w), .path_prefix = d->has_head ? "model." : ""};
    rlx_flow *f = NULL;
    find_ends(&r, w);
    RLX_TRY(rlx_decoder_split_fused(d, r.prefix, w));
    RLX_TRY(rlx_flow_create(d->family, &f));
    record(f, &r);
    rlx_status st = check_weights(&r, config, f, w);
    if (!st)
        st = fill(d, config, out);
    if (st) {
        rlx_flow_destroy(f);
        return st;
    }
    *flow = f;
    return RLX_OK;
}

rlx_status rlx_decoder_build(const cJSON *config, const rlx_decoder_defaults *absent,
                             rlx_decoder_read *read, rlx_weights *w, rlx_flow **flow,
                             rlx_model_config *out)
{
    rlx_decoder d = {0};
    *flow = NULL;
    rlx_status st = rlx_decoder_read_config(&d, config, absent, read);
    if (!st)
        st = rlx_config_get_rope_factors(w, d.rope.dim, &d.rope.factors);
    if (!st)
        st = make_flow(&d, config, w, flow, out);
    rlx_decoder_deinit(&d);
    return st;
}
