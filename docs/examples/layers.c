/* Stages that record others, each in a flow of its own, compiled and run:  layers [DEVICE]
 *
 * Prints a line for each: its name and the first number of the output y. The reference
 * (docs/reference/stages) shows these functions and what they record. */
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rlx.h>

enum { TOKENS = 4, H = 8 };

/* x f32[TOKENS,8] enters. */
static void enter(rlx_flow *f)
{
    const int64_t dims[] = {rlx_flow_symbol(f, "TOKENS"), H};
    rlx_flow_input(f, "x", RLX_F32, 2, dims);
}

/* A batch of sequences, f32[BATCH,SEQ,8]. */
static void enter_batch(rlx_flow *f)
{
    const int64_t dims[] = {rlx_flow_symbol(f, "BATCH"), rlx_flow_symbol(f, "SEQ"), H};
    rlx_flow_input(f, "batch", RLX_F32, 3, dims);
}

/* ---- layers of well-known models ----------------------------------------------------------------
 */

static void one_layer(rlx_flow *f, int64_t index, void *user)
{
    (void)index;
    rlx_flow_decoder_layer(f, (const rlx_decoder_layer_spec *)user);
}

static void decoder_layer(rlx_flow *f)
{
    rlx_decoder_layer_spec spec = {.prefix = "layers.{}",
                                   .kind = RLX_DECODER_LLAMA,
                                   .heads = 2,
                                   .kv_heads = 2,
                                   .head_dim = 4,
                                   .eps = 1e-5,
                                   .rope = "rope"};
    const rlx_flow_rope_spec tables = {.name = "rope", .rotary_dim = 4, .theta = 10000};
    enter(f);
    rlx_flow_rope_tables(f, &tables);
    rlx_flow_repeat_layers(f, 1, one_layer, &spec); /* a layer owns its KV pages */
    rlx_flow_output(f, "y");
}

static void bert_encoder_layer(rlx_flow *f)
{
    const rlx_encoder_layer_spec spec = {
        .prefix = "layers.0", .heads = 2, .head_dim = 4, .eps = 1e-5};
    enter_batch(f);
    rlx_flow_bert_encoder_layer(f, &spec);
    rlx_flow_output(f, "y");
}

static void nomic_encoder_layer(rlx_flow *f)
{
    const rlx_encoder_layer_spec spec = {
        .prefix = "layers.0", .heads = 2, .head_dim = 4, .eps = 1e-5};
    enter_batch(f);
    rlx_flow_nomic_encoder_layer(f, &spec);
    rlx_flow_output(f, "y");
}

static void dinov2_layer(rlx_flow *f)
{
    const rlx_encoder_layer_spec spec = {
        .prefix = "layers.0", .heads = 2, .head_dim = 4, .eps = 1e-5};
    enter_batch(f);
    rlx_flow_dinov2_layer(f, &spec);
    rlx_flow_output(f, "y");
}

static void nomic_vision_layer(rlx_flow *f)
{
    const rlx_encoder_layer_spec spec = {
        .prefix = "layers.0", .heads = 2, .head_dim = 4, .eps = 1e-5};
    enter_batch(f);
    rlx_flow_nomic_vision_layer(f, &spec);
    rlx_flow_output(f, "y");
}

static void siglip_layer(rlx_flow *f)
{
    const rlx_encoder_layer_spec spec = {
        .prefix = "layers.0", .heads = 2, .head_dim = 4, .eps = 1e-5};
    enter_batch(f);
    rlx_flow_siglip_layer(f, &spec);
    rlx_flow_output(f, "y");
}

static void vit_self_attention(rlx_flow *f)
{
    const rlx_encoder_layer_spec spec = {.prefix = "layers.0", .heads = 2, .head_dim = 4};
    enter_batch(f);
    rlx_flow_vit_self_attention(f, &spec, "attn.qkv", "attn.proj");
    rlx_flow_output(f, "y");
}

/* ---- all layers of well-known models ------------------------------------------------------------
 */

static void repeat_decoder_layers(rlx_flow *f)
{
    const rlx_decoder_layer_spec spec = {
        .heads = 2, .kv_heads = 2, .head_dim = 4, .eps = 1e-5, .rope = "rope"};
    const rlx_flow_rope_spec tables = {.name = "rope", .rotary_dim = 4, .theta = 10000};
    enter(f);
    rlx_flow_rope_tables(f, &tables);
    rlx_flow_repeat_decoder_layers(f, 2, &spec);
    rlx_flow_output(f, "y");
}

static void repeat_bert_layers(rlx_flow *f)
{
    const rlx_encoder_layer_spec spec = {.heads = 2, .head_dim = 4, .eps = 1e-5};
    enter_batch(f);
    rlx_flow_repeat_bert_layers(f, 2, &spec);
    rlx_flow_output(f, "y");
}

static void repeat_nomic_layers(rlx_flow *f)
{
    const rlx_encoder_layer_spec spec = {.heads = 2, .head_dim = 4, .eps = 1e-5};
    enter_batch(f);
    rlx_flow_repeat_nomic_layers(f, 2, &spec);
    rlx_flow_output(f, "y");
}

static void repeat_dinov2_layers(rlx_flow *f)
{
    const rlx_encoder_layer_spec spec = {.heads = 2, .head_dim = 4, .eps = 1e-5};
    enter_batch(f);
    rlx_flow_repeat_dinov2_layers(f, 2, &spec);
    rlx_flow_output(f, "y");
}

static void repeat_vision_layers(rlx_flow *f)
{
    const rlx_encoder_layer_spec spec = {.heads = 2, .head_dim = 4, .eps = 1e-5};
    enter_batch(f);
    rlx_flow_repeat_vision_layers(f, 2, &spec);
    rlx_flow_output(f, "y");
}

static void repeat_siglip_layers(rlx_flow *f)
{
    const rlx_encoder_layer_spec spec = {.heads = 2, .head_dim = 4, .eps = 1e-5};
    enter_batch(f);
    rlx_flow_repeat_siglip_layers(f, 2, &spec);
    rlx_flow_output(f, "y");
}

/* ---- parts of layers ----------------------------------------------------------------------------
 */

static void vision_swiglu_ffn(rlx_flow *f)
{
    enter(f);
    rlx_flow_vision_swiglu_ffn(f, "layers.0", 1e-5);
    rlx_flow_output(f, "y");
}

static void gelu_ffn(rlx_flow *f)
{
    enter(f);
    rlx_flow_gelu_ffn(f, "layers.0", RLX_FFN_DINOV2);
    rlx_flow_output(f, "y");
}

static void geglu(rlx_flow *f)
{
    enter(f);
    rlx_flow_geglu(f, "layers.0.mlp.gate_proj.weight", "layers.0.mlp.up_proj.weight",
                   "layers.0.mlp.down_proj.weight");
    rlx_flow_output(f, "y");
}

static void gemma_rms_norm(rlx_flow *f)
{
    enter(f);
    rlx_flow_gemma_rms_norm(f, "layers.0.norm1.weight", 1e-6);
    rlx_flow_output(f, "y");
}

static void embed_scale(rlx_flow *f)
{
    enter(f);
    rlx_flow_embed_scale(f, 8);
    rlx_flow_output(f, "y");
}

static void logit_softcap(rlx_flow *f)
{
    enter(f);
    rlx_flow_logit_softcap(f, 30);
    rlx_flow_output(f, "y");
}

/* ---- flows of parts -----------------------------------------------------------------------------
 */

static void record_mlp(rlx_flow *f, void *user)
{
    (void)user;
    rlx_flow_residual_save(f);
    rlx_flow_linear(f, "layers.0.mlp.fc1.weight", NULL);
    rlx_flow_residual_add(f);
}

static void record_half(rlx_flow *f, void *user)
{
    (void)user;
    rlx_flow_scale(f, 0.5);
}

static void scope(rlx_flow *f)
{
    enter(f);
    rlx_flow_scope(f, "mlp", record_mlp, NULL); /* errors say "in mlp", patches "mlp/linear" */
    rlx_flow_output(f, "y");
}

static void when(rlx_flow *f)
{
    const bool has_mlp = true, is_scaled = false; /* as a config says */
    enter(f);
    rlx_flow_when(f, has_mlp, record_mlp, NULL);
    rlx_flow_when(f, is_scaled, record_half, NULL);
    rlx_flow_output(f, "y");
}

static void patch(rlx_flow *f)
{
    enter(f);
    rlx_flow_scope(f, "mlp", record_mlp, NULL);
    rlx_flow_output(f, "y");
    rlx_flow_patch(f, "mlp/linear", RLX_PATCH_AFTER, record_half, NULL);
}

static void stack(rlx_flow *f)
{
    rlx_flow *block = NULL;
    rlx_status st = rlx_stack_create("block", &block);
    enter(f);
    if (!st) {
        record_mlp(block, NULL);
        rlx_flow_stack(f, block); /* as often as it is needed */
        rlx_flow_stack(f, block);
        rlx_flow_output(f, "y"); /* without it the flow is refused */
    }
    rlx_status_free(st);
    rlx_flow_destroy(block);
}

static void half_layer(rlx_flow *f, int64_t index, void *user)
{
    (void)index;
    record_half(f, user);
}

static void repeat_layers(rlx_flow *f)
{
    enter(f);
    rlx_flow_repeat_layers(f, 3, half_layer, NULL);
    rlx_flow_output(f, "y");
}

static void repeat_stack(rlx_flow *f)
{
    rlx_flow *block = NULL;
    rlx_status st = rlx_stack_create("block", &block);
    enter(f);
    if (!st) {
        rlx_flow_residual_save(block);
        rlx_flow_linear(block, "layers.{}.mlp.fc1.weight", NULL); /* each layer has its own */
        rlx_flow_residual_add(block);
        rlx_flow_repeat_stack(f, 2, block);
        rlx_flow_output(f, "y"); /* without it the flow is refused */
    }
    rlx_status_free(st);
    rlx_flow_destroy(block);
}

/* x times *user, or by a half */
static rlx_value *build_times(rlx_builder *b, rlx_value *x, void *user)
{
    const double by = user ? *(const double *)user : 0.5;
    return rlx_build_map2(b, RLX_MAP_MUL, x, rlx_build_constant(b, by));
}

/* A program does so once, and keeps the error: another call finds the name taken. */
static void register_times(void)
{
    const rlx_plugin times = {.name = "times", .meaning = "x times a number", .build = build_times};
    rlx_status_free(rlx_plugin_register(&times));
}

static void plugin(rlx_flow *f)
{
    register_times();
    enter(f);
    rlx_flow_plugin(f, "times");
    rlx_flow_output(f, "y");
}

static void plugin_named(rlx_flow *f)
{
    static double three = 3;
    register_times();
    enter(f);
    rlx_flow_plugin_named(f, "times", "triple", &three);
    rlx_flow_output(f, "y");
}

/* ---- running them -------------------------------------------------------------------------------
 */

static const struct {
    const char *name;
    void (*record)(rlx_flow *f);
    bool is_batch;
} layers[] = {
    {"decoder_layer", decoder_layer, false},
    {"bert_encoder_layer", bert_encoder_layer, true},
    {"nomic_encoder_layer", nomic_encoder_layer, true},
    {"dinov2_layer", dinov2_layer, true},
    {"nomic_vision_layer", nomic_vision_layer, true},
    {"siglip_layer", siglip_layer, true},
    {"vit_self_attention", vit_self_attention, true},
    {"repeat_decoder_layers", repeat_decoder_layers, false},
    {"repeat_bert_layers", repeat_bert_layers, true},
    {"repeat_nomic_layers", repeat_nomic_layers, true},
    {"repeat_dinov2_layers", repeat_dinov2_layers, true},
    {"repeat_vision_layers", repeat_vision_layers, true},
    {"repeat_siglip_layers", repeat_siglip_layers, true},
    {"vision_swiglu_ffn", vision_swiglu_ffn, false},
    {"gelu_ffn", gelu_ffn, false},
    {"geglu", geglu, false},
    {"gemma_rms_norm", gemma_rms_norm, false},
    {"embed_scale", embed_scale, false},
    {"logit_softcap", logit_softcap, false},
    {"scope", scope, false},
    {"when", when, false},
    {"patch", patch, false},
    {"stack", stack, false},
    {"repeat_layers", repeat_layers, false},
    {"repeat_stack", repeat_stack, false},
    {"plugin", plugin, false},
    {"plugin_named", plugin_named, false},
};
enum { NLAYERS = sizeof layers / sizeof *layers };

/* What stands in front of a layer's modules. */
static const char *const prefixes[] = {"layers", "model.layers", "encoder.layer", "encoder.layers",
                                       "blocks"};
enum { NPREFIXES = sizeof prefixes / sizeof *prefixes };

/* Modules of a layer by every model's names: rows of 8, or a norm's (no rows). */
static const struct {
    const char *name;
    int64_t rows;
} modules[] = {
    {"input_layernorm", 0},
    {"post_attention_layernorm", 0},
    {"self_attn.q_proj", H},
    {"self_attn.k_proj", H},
    {"self_attn.v_proj", H},
    {"self_attn.o_proj", H},
    {"self_attn.out_proj", H},
    {"mlp.gate_proj", H},
    {"mlp.up_proj", H},
    {"mlp.down_proj", H},
    {"attention.self.query", H},
    {"attention.self.key", H},
    {"attention.self.value", H},
    {"attention.output.dense", H},
    {"attention.output.LayerNorm", 0},
    {"intermediate.dense", H},
    {"output.dense", H},
    {"output.LayerNorm", 0},
    {"attn.Wqkv", 3 * H},
    {"attn.out_proj", H},
    {"attn.qkv", 3 * H},
    {"attn.proj", H},
    {"norm1", 0},
    {"norm2", 0},
    {"layer_norm1", 0},
    {"layer_norm2", 0},
    {"mlp.fc1", H},
    {"mlp.fc2", H},
    {"mlp.fc11", H},
    {"mlp.fc12", H},
    {"mlp.norm", 0},
};
enum { NMODULES = sizeof modules / sizeof *modules };

static float numbers[3 * H * H];

static rlx_status add(rlx_weights *w, const char *layer, const char *module, const char *what,
                      int64_t rows, int64_t cols)
{
    char name[96];
    snprintf(name, sizeof name, "%s.%s.%s", layer, module, what);
    const rlx_tensor t = {.name = name,
                          .format = RLX_F32,
                          .rank = cols ? 2 : 1,
                          .dim = {rows, cols},
                          .data = numbers,
                          .bytes = (size_t)(rows * (cols ? cols : 1)) * sizeof *numbers};
    return rlx_weights_add(w, &t);
}

static rlx_status add_layer(rlx_weights *w, const char *layer)
{
    rlx_status st = NULL;
    for (int i = 0; i < NMODULES && !st; i++) {
        const int64_t rows = modules[i].rows;
        st = add(w, layer, modules[i].name, "weight", rows ? rows : H, rows ? H : 0);
        if (!st)
            st = add(w, layer, modules[i].name, "bias", rows ? rows : H, 0);
    }
    if (!st)
        st = add(w, layer, "ls1", "gamma", H, 0);
    return st ? st : add(w, layer, "ls2", "gamma", H, 0);
}

/* Two layers by every name that models have for them; all are the same numbers. */
static rlx_status add_weights(rlx_weights *w)
{
    rlx_status st = NULL;
    for (int i = 0; i < 3 * H * H; i++)
        numbers[i] = 0.3f * sinf(1 + 0.7f * (float)i);
    for (int i = 0; i < 2 * NPREFIXES && !st; i++) {
        char layer[32];
        snprintf(layer, sizeof layer, "%s.%d", prefixes[i / 2], i % 2);
        st = add_layer(w, layer);
    }
    return st;
}

static rlx_status run(rlx_context *cx, const rlx_weights *w, int i)
{
    rlx_flow *f = NULL;
    rlx_executable *e = NULL;
    rlx_session *s = NULL;
    rlx_execution_options o;
    rlx_tensor y;
    float x[TOKENS * H];
    for (int k = 0; k < TOKENS * H; k++)
        x[k] = 0.5f * cosf(0.3f * (float)k);
    const rlx_tensor tokens = {"x", RLX_F32, 2, {TOKENS, H}, x, sizeof x};
    const rlx_tensor batch = {"batch", RLX_F32, 3, {2, 2, H}, x, sizeof x};
    const rlx_execution execution = {.batch = TOKENS, .seq = 2};
    rlx_status st = rlx_flow_create(layers[i].name, &f);
    if (!st)
        layers[i].record(f);
    if (!st)
        st = rlx_execution_resolve(&execution, f, NULL, 0, &o);
    if (!st)
        st = rlx_flow_compile(cx, f, w, &o.options, NULL, &e);
    if (!st)
        st = rlx_session_create(cx, NULL, &s);
    if (!st)
        st = rlx_executable_run(e, s, layers[i].is_batch ? &batch : &tokens, 1);
    if (!st)
        st = rlx_session_output(s, "y", &y);
    if (!st)
        printf("%s %.6g\n", layers[i].name, ((const float *)y.data)[0]);
    rlx_session_destroy(s);
    rlx_executable_destroy(e);
    rlx_flow_destroy(f);
    return st;
}

int main(int argc, char **argv)
{
    rlx_context *cx = NULL;
    rlx_weights *w = NULL;
    const rlx_context_options options = {.device = argc > 1 ? argv[1] : "cpu", .threads = 1};
    rlx_status st = rlx_context_create(&options, &cx);
    if (!st)
        st = rlx_weights_create(&w);
    if (!st)
        st = add_weights(w);
    for (int i = 0; i < NLAYERS && !st; i++)
        st = run(cx, w, i);
    rlx_weights_destroy(w);
    rlx_context_destroy(cx);
    if (!st)
        return 0;
    char *story = rlx_status_text(st);
    fprintf(stderr, "%s\n", story);
    free(story);
    rlx_status_free(st);
    return 1;
}
