/* tests/torch/test_layers.c: layers of models, and what single families add to attention over a
 * session's pages, as layers.py computed them. */
#include "tests/torch/harness.h"

/* ---- encoders ---------------------------------------------------------------------------------
 */

static const rlx_encoder_layer_spec of_three = {
    .heads = 2, .head_dim = 3, .eps = 1e-12, .mask = "attention_mask"};

static void record_bert(rlx_flow *f)
{
    torch_input(f, "x", RLX_F32, "B,S,6");
    rlx_flow_repeat_bert_layers(f, 2, &of_three);
    rlx_flow_output(f, "y");
}

static void record_mpnet(rlx_flow *f)
{
    rlx_encoder_layer_spec spec = of_three;
    spec.style = RLX_BERT_MPNET;
    torch_input(f, "x", RLX_F32, "B,S,6");
    rlx_flow_repeat_bert_layers(f, 2, &spec);
    rlx_flow_output(f, "y");
}

static void record_nomic(rlx_flow *f)
{
    torch_input(f, "x", RLX_F32, "B,S,8");
    rlx_flow_rope_tables(f, &(rlx_flow_rope_spec){.name = "rope", .rotary_dim = 4, .theta = 1000});
    rlx_flow_repeat_nomic_layers(
        f, 1,
        &(rlx_encoder_layer_spec){
            .heads = 2, .head_dim = 4, .eps = 1e-12, .mask = "attention_mask", .rope = "rope"});
    rlx_flow_output(f, "y");
}

static void record_dinov2(rlx_flow *f)
{
    torch_input(f, "x", RLX_F32, "B,S,6");
    rlx_flow_repeat_dinov2_layers(
        f, 1, &(rlx_encoder_layer_spec){.heads = 2, .head_dim = 3, .eps = 1e-6});
    rlx_flow_output(f, "y");
}

static void record_nomic_vision(rlx_flow *f)
{
    torch_input(f, "x", RLX_F32, "B,S,8");
    rlx_flow_rope_tables(
        f, &(rlx_flow_rope_spec){
               .name = "rope", .rotary_dim = 4, .cos_key = "table.cos", .sin_key = "table.sin"});
    rlx_flow_repeat_vision_layers(
        f, 1,
        &(rlx_encoder_layer_spec){
            .heads = 2, .head_dim = 4, .eps = 1e-6, .rope = "rope", .rope_interleaved = true});
    rlx_flow_output(f, "y");
}

static void record_siglip(rlx_flow *f)
{
    torch_input(f, "x", RLX_F32, "B,S,6");
    rlx_flow_repeat_siglip_layers(
        f, 1,
        &(rlx_encoder_layer_spec){
            .prefix = "vision_model", .heads = 2, .head_dim = 3, .eps = 1e-6});
    rlx_flow_output(f, "y");
}

/* ---- decoders ---------------------------------------------------------------------------------
 */

static void tables(rlx_flow *f, const char *name, int64_t rotary_dim, double theta)
{
    rlx_flow_rope_tables(
        f, &(rlx_flow_rope_spec){.name = name, .rotary_dim = rotary_dim, .theta = theta});
}

static void record_decoder(rlx_flow *f, int64_t layers, rlx_decoder_layer_spec spec, double theta)
{
    torch_input(f, "x", RLX_F32, "TOKENS,8");
    spec.heads = 2;
    spec.kv_heads = 1;
    spec.head_dim = spec.head_dim ? spec.head_dim : 4;
    spec.eps = 1e-5;
    spec.rope = "rope";
    tables(f, "rope", spec.head_dim, theta);
    if (spec.local_rope)
        tables(f, spec.local_rope, spec.head_dim, 10000);
    rlx_flow_repeat_decoder_layers(f, layers, &spec);
    rlx_flow_output(f, "y");
}

static void record_llama(rlx_flow *f)
{
    record_decoder(f, 2, (rlx_decoder_layer_spec){.kind = RLX_DECODER_LLAMA, .export_kv = true},
                   10000);
}

static void record_qwen2(rlx_flow *f)
{
    record_decoder(f, 1, (rlx_decoder_layer_spec){.kind = RLX_DECODER_QWEN2}, 10000);
}

static void record_qwen3(rlx_flow *f)
{
    record_decoder(f, 1, (rlx_decoder_layer_spec){.kind = RLX_DECODER_QWEN3, .head_dim = 6}, 10000);
}

static void record_gemma(rlx_flow *f)
{
    record_decoder(f, 1, (rlx_decoder_layer_spec){.kind = RLX_DECODER_GEMMA}, 10000);
}

static void record_gemma2(rlx_flow *f)
{
    record_decoder(
        f, 2,
        (rlx_decoder_layer_spec){
            .kind = RLX_DECODER_GEMMA2, .scale = 0.35, .softcap = 2, .window = 3, .full_every = 2},
        10000);
}

static void record_gemma3(rlx_flow *f)
{
    record_decoder(f, 3,
                   (rlx_decoder_layer_spec){.kind = RLX_DECODER_GEMMA3,
                                            .scale = 0.35,
                                            .window = 3,
                                            .full_every = 3,
                                            .local_rope = "local"},
                   1e6);
}

/* ---- attention over pages ---------------------------------------------------------------------
 */

static void attend(rlx_flow *f, int64_t index, void *user)
{
    (void)index;
    rlx_attention_spec spec = *(const rlx_attention_spec *)user;
    spec.q_key = "q.weight";
    spec.k_key = "k.weight";
    spec.v_key = "v.weight";
    rlx_flow_self_attention(f, &spec);
}

static void record_single(rlx_flow *f, rlx_attention_spec spec)
{
    torch_input(f, "x", RLX_F32, "TOKENS,8");
    if (!spec.no_rope)
        tables(f, "rope", spec.head_dim, 10000);
    spec.rope = "rope";
    rlx_flow_repeat_layers(f, 1, attend, &spec);
    rlx_flow_output(f, "y");
}

static void record_gated(rlx_flow *f)
{
    record_single(f, (rlx_attention_spec){.heads = 2, .kv_heads = 1, .head_dim = 4, .gated = true});
}

static void record_sinks(rlx_flow *f)
{
    rlx_attention_spec spec = {.heads = 4, .kv_heads = 2, .head_dim = 2, .sinks_key = "sinks"};
    torch_input(f, "x", RLX_F32, "TOKENS,8");
    rlx_flow_rope_tables(
        f, &(rlx_flow_rope_spec){.name = "rope", .rotary_dim = 2, .freqs_key = "freqs"});
    spec.rope = "rope";
    rlx_flow_repeat_layers(f, 1, attend, &spec);
    rlx_flow_output(f, "y");
}

static void record_chunked(rlx_flow *f)
{
    record_single(f, (rlx_attention_spec){
                         .heads = 2, .kv_heads = 2, .head_dim = 4, .no_rope = true, .chunk = 4});
}

static void record_blocks(rlx_flow *f)
{
    record_single(f, (rlx_attention_spec){
                         .heads = 2, .kv_heads = 2, .head_dim = 4, .no_rope = true, .block = 4});
}

static void share(rlx_flow *f, int64_t index, void *user)
{
    (void)user;
    const bool shared = index == 2, other = index == 3;
    rlx_flow_residual_save(f);
    rlx_flow_self_attention(f,
                            &(rlx_attention_spec){.q_key = "layers.{}.q.weight",
                                                  .k_key = shared ? NULL : "layers.{}.k.weight",
                                                  .heads = other ? 1 : 2,
                                                  .kv_heads = 1,
                                                  .head_dim = other ? 6 : 4,
                                                  .scale = 1,
                                                  .q_norm_key = "layers.{}.q_norm",
                                                  .k_norm_key = shared ? NULL : "layers.{}.k_norm",
                                                  .norm_eps = 1e-5,
                                                  .v_norm = !shared,
                                                  .rope = other ? "six" : "four",
                                                  .kv_shared = shared,
                                                  .kv_layer = 0});
    rlx_flow_linear(f, "layers.{}.o.weight", NULL);
    rlx_flow_residual_add(f);
}

static void record_sharing(rlx_flow *f)
{
    torch_input(f, "x", RLX_F32, "TOKENS,8");
    tables(f, "four", 4, 10000);
    tables(f, "six", 6, 10000);
    rlx_flow_repeat_layers(f, 4, share, NULL);
    rlx_flow_output(f, "y");
}

#define PAGES "keys and values are the session's"
static const torch_case cases[] = {
    {"bert", record_bert, 2e-6, NULL},
    {"mpnet", record_mpnet, 2e-6, NULL},
    {"nomic", record_nomic, 2e-6, NULL},
    {"dinov2", record_dinov2, 2e-6, NULL},
    {"nomic_vision", record_nomic_vision, 2e-6, NULL},
    {"siglip", record_siglip, 2e-6, NULL},
    {"llama", record_llama, 2e-6, PAGES},
    {"qwen2", record_qwen2, 2e-6, PAGES},
    {"qwen3", record_qwen3, 2e-6, PAGES},
    {"gemma", record_gemma, 2e-6, PAGES},
    {"gemma2", record_gemma2, 2e-6, PAGES},
    {"gemma3", record_gemma3, 2e-6, PAGES},
    {"gated", record_gated, 2e-6, PAGES},
    {"sinks", record_sinks, 2e-6, PAGES},
    {"chunked", record_chunked, 2e-6, PAGES},
    {"blocks", record_blocks, 2e-6, PAGES},
    {"sharing", record_sharing, 2e-6, PAGES},
};

int main(int argc, char **argv)
{
    return torch_main(argc, argv, "layers", cases, sizeof cases / sizeof *cases);
}
