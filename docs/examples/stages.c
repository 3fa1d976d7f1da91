/* Every kind of stage in a flow of its own, compiled and run:  stages [DEVICE]
 *
 * Prints a line for each: its name and the first number of the output y. The reference
 * (docs/reference/stages) shows these functions. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rlx.h>

enum { TOKENS = 4, H = 8, VOCAB = 10 };

/* x f32[TOKENS,8] enters. */
static void enter(rlx_flow *f)
{
    const int64_t dims[] = {rlx_flow_symbol(f, "TOKENS"), H};
    rlx_flow_input(f, "x", RLX_F32, 2, dims);
}

/* ---- in and out ---------------------------------------------------------------------------------
 */

static void input(rlx_flow *f)
{
    const int64_t dims[] = {rlx_flow_symbol(f, "TOKENS"), 8};
    rlx_flow_input(f, "x", RLX_F32, 2, dims);
    rlx_flow_output(f, "y");
}

static void output(rlx_flow *f)
{
    enter(f);
    rlx_flow_output(f, "before");
    rlx_flow_scale(f, 2);
    rlx_flow_output(f, "y");
}

static void load_input(rlx_flow *f)
{
    enter(f);
    rlx_flow_output(f, "before");
    rlx_flow_input(f, "gain", RLX_F32, 1, (const int64_t[]){8});
    rlx_flow_load_input(f, "gain");
    rlx_flow_output(f, "y");
}

static void probe_point(rlx_flow *f)
{
    enter(f);
    rlx_flow_linear(f, "proj.weight", NULL);
    rlx_flow_probe_point(f, "proj"); /* rlx_compile_options.probes may name it */
    rlx_flow_output(f, "y");
}

/* ---- what models are made of --------------------------------------------------------------------
 */

static void embed(rlx_flow *f)
{
    const int64_t tokens = rlx_flow_symbol(f, "TOKENS");
    rlx_flow_input(f, "ids", RLX_I32, 1, &tokens);
    rlx_flow_embed(f, "embed.weight");
    rlx_flow_output(f, "y");
}

static void rms_norm(rlx_flow *f)
{
    enter(f);
    rlx_flow_rms_norm(f, "norm.weight", 1e-5);
    rlx_flow_output(f, "y");
}

static void linear(rlx_flow *f)
{
    enter(f);
    rlx_flow_linear(f, "proj.weight", "proj.bias");
    rlx_flow_output(f, "y");
}

static void scale(rlx_flow *f)
{
    enter(f);
    rlx_flow_scale(f, 0.5);
    rlx_flow_output(f, "y");
}

static void swiglu(rlx_flow *f)
{
    enter(f);
    rlx_flow_swiglu(f, "gate.weight", "up.weight", "proj.weight");
    rlx_flow_output(f, "y");
}

static void residual_save(rlx_flow *f)
{
    enter(f);
    rlx_flow_residual_save(f);
    rlx_flow_linear(f, "proj.weight", NULL);
    rlx_flow_residual_add(f);
    rlx_flow_output(f, "y");
}

static void residual_add(rlx_flow *f)
{
    enter(f);
    rlx_flow_residual_save(f);
    rlx_flow_residual_save(f); /* saves nest */
    rlx_flow_linear(f, "proj.weight", NULL);
    rlx_flow_residual_add(f);
    rlx_flow_residual_add(f);
    rlx_flow_output(f, "y");
}

static void attention_layer(rlx_flow *f, int64_t index, void *user)
{
    (void)index, (void)user;
    const rlx_attention_spec spec = {.q_key = "q.weight",
                                     .k_key = "k.weight",
                                     .v_key = "v.weight",
                                     .heads = 2,
                                     .kv_heads = 1,
                                     .head_dim = 4,
                                     .no_rope = true};
    rlx_flow_self_attention(f, &spec);
}

static void self_attention(rlx_flow *f)
{
    enter(f);
    rlx_flow_repeat_layers(f, 1, attention_layer, NULL); /* a layer owns its KV pages */
    rlx_flow_output(f, "y");
}

static void select_rows(rlx_flow *f)
{
    enter(f);
    rlx_flow_select_rows(f);
    rlx_flow_output(f, "y");
}

static void lm_head(rlx_flow *f)
{
    enter(f);
    rlx_flow_select_rows(f);
    rlx_flow_lm_head(f, "embed.weight"); /* tied: the table that ids are looked up in */
    rlx_flow_output(f, "y");
}

/* ---- encoders -----------------------------------------------------------------------------------
 */

static void activation(rlx_flow *f)
{
    enter(f);
    rlx_flow_activation(f, RLX_ACT_GELU, 0, 0);
    rlx_flow_output(f, "y");
}

static void layer_norm(rlx_flow *f)
{
    enter(f);
    rlx_flow_layer_norm(f, "norm.weight", "proj.bias", 1e-5);
    rlx_flow_output(f, "y");
}

static void layer_scale(rlx_flow *f)
{
    enter(f);
    rlx_flow_layer_scale(f, "norm.weight");
    rlx_flow_output(f, "y");
}

static void gated_mlp(rlx_flow *f)
{
    const rlx_gated_mlp_spec spec = {.gate_key = "gate.weight",
                                     .up_key = "up.weight",
                                     .down_key = "proj.weight",
                                     .activation = RLX_ACT_GELU_TANH};
    enter(f);
    rlx_flow_gated_mlp(f, &spec);
    rlx_flow_output(f, "y");
}

/* A batch of sequences, f32[BATCH,SEQ,8]. */
static void enter_batch(rlx_flow *f)
{
    const int64_t dims[] = {rlx_flow_symbol(f, "BATCH"), rlx_flow_symbol(f, "SEQ"), 8};
    rlx_flow_input(f, "batch", RLX_F32, 3, dims);
}

static void encoder_attention(rlx_flow *f)
{
    const rlx_encoder_attention_spec spec = {.q_key = "q.weight",
                                             .k_key = "k.weight",
                                             .v_key = "v.weight",
                                             .heads = 2,
                                             .kv_heads = 1,
                                             .head_dim = 4};
    enter_batch(f);
    rlx_flow_encoder_attention(f, &spec);
    rlx_flow_output(f, "y");
}

static void rope_tables(rlx_flow *f)
{
    const rlx_flow_rope_spec tables = {.name = "global", .rotary_dim = 4, .theta = 10000};
    const rlx_encoder_attention_spec spec = {.q_key = "q.weight",
                                             .k_key = "k.weight",
                                             .v_key = "v.weight",
                                             .heads = 2,
                                             .kv_heads = 1,
                                             .head_dim = 4,
                                             .rope = "global"};
    enter_batch(f);
    rlx_flow_rope_tables(f, &tables);
    rlx_flow_encoder_attention(f, &spec);
    rlx_flow_output(f, "y");
}

static void bucket_bias(rlx_flow *f)
{
    const rlx_encoder_attention_spec spec = {.q_key = "q.weight",
                                             .k_key = "k.weight",
                                             .v_key = "v.weight",
                                             .heads = 2,
                                             .kv_heads = 1,
                                             .head_dim = 4,
                                             .bias = "distances"};
    enter_batch(f);
    rlx_flow_bucket_bias(f, "distances", "buckets.weight", 16, false);
    rlx_flow_encoder_attention(f, &spec);
    rlx_flow_output(f, "y");
}

static void cls_token_pool(rlx_flow *f)
{
    enter_batch(f);
    rlx_flow_cls_token_pool(f);
    rlx_flow_output(f, "y");
}

static void mean_pool(rlx_flow *f)
{
    enter_batch(f);
    rlx_flow_mean_pool(f, NULL); /* over all; or those that an input names */
    rlx_flow_output(f, "y");
}

static void gather_from_input(rlx_flow *f)
{
    const int64_t tokens = rlx_flow_symbol(f, "TOKENS");
    enter(f);
    rlx_flow_output(f, "before");
    rlx_flow_input(f, "ids", RLX_I32, 1, &tokens);
    rlx_flow_gather_from_input(f, "ids", "embed.weight");
    rlx_flow_output(f, "y");
}

static void gather_add(rlx_flow *f)
{
    const int64_t tokens = rlx_flow_symbol(f, "TOKENS");
    enter(f);
    rlx_flow_input(f, "ids", RLX_I32, 1, &tokens);
    rlx_flow_gather_add(f, "ids", "embed.weight"); /* positions, kinds of tokens */
    rlx_flow_output(f, "y");
}

static void gather_last_token(rlx_flow *f)
{
    enter_batch(f);
    rlx_flow_gather_last_token(f);
    rlx_flow_output(f, "y");
}

/* ---- images -------------------------------------------------------------------------------------
 */

static void patch_embed(rlx_flow *f)
{
    const int64_t dims[] = {rlx_flow_symbol(f, "BATCH"), 1, 4, 4};
    rlx_flow_input(f, "image", RLX_F32, 4, dims);
    rlx_flow_patch_embed(f, "patch.weight", NULL); /* patches of 2 x 2, 8 elements for each */
    rlx_flow_output(f, "y");
}

/* ---- recurrences --------------------------------------------------------------------------------
 */

static void gru(rlx_flow *f)
{
    enter_batch(f);
    const rlx_recurrent_spec spec = {.prefix = "gru", .layers = 1};
    rlx_flow_gru(f, &spec);
    rlx_flow_output(f, "y");
}

static void lstm(rlx_flow *f)
{
    enter_batch(f);
    const rlx_recurrent_spec spec = {.prefix = "lstm", .layers = 1, .no_bias = true};
    rlx_flow_lstm(f, &spec);
    rlx_flow_output(f, "y");
}

static void short_conv(rlx_flow *f)
{
    enter_batch(f);
    rlx_flow_short_conv(f, "conv.weight", NULL, NULL);
    rlx_flow_output(f, "y");
}

/* What gdn_scan reads by name, two heads of four elements; a model makes them of linear maps. */
static rlx_value *build_heads(rlx_builder *b, rlx_value *x, void *user)
{
    (void)user;
    const int64_t dims[] = {rlx_value_extent(x, 0), rlx_value_extent(x, 1), 2, 4};
    rlx_value *heads = rlx_build_reshape(b, x, 4, dims);
    rlx_build_store(b, "gdn.q", heads);
    rlx_build_store(b, "gdn.k", heads);
    rlx_build_store(b, "gdn.v", heads);
    rlx_build_store(b, "gdn.g", rlx_build_slice(b, x, 2, 0, 2, 1));
    rlx_build_store(b, "gdn.beta", rlx_build_slice(b, x, 2, 2, 2, 1));
    return x;
}

static void gdn_scan(rlx_flow *f)
{
    enter_batch(f);
    rlx_flow_custom(f, "heads", build_heads, NULL);
    const rlx_gdn_spec spec = {.scale = 0.5};
    rlx_flow_gdn_scan(f, &spec);
    rlx_flow_output(f, "y");
}

/* ---- values by name -----------------------------------------------------------------------------
 */

static void store_stream(rlx_flow *f)
{
    enter(f);
    rlx_flow_store_stream(f, "before");
    rlx_flow_linear(f, "proj.weight", NULL);
    rlx_flow_output(f, "after");
    rlx_flow_output_stream(f, "y", "before");
}

static void load_stream(rlx_flow *f)
{
    enter(f);
    rlx_flow_store_stream(f, "before");
    rlx_flow_linear(f, "proj.weight", NULL);
    rlx_flow_output(f, "after");
    rlx_flow_load_stream(f, "before");
    rlx_flow_scale(f, -1);
    rlx_flow_output(f, "y");
}

static void bind_stream(rlx_flow *f)
{
    enter(f);
    rlx_flow_output(f, "before");
    rlx_flow_input(f, "gain", RLX_F32, 1, (const int64_t[]){8});
    rlx_flow_bind_stream(f, "gain", "gain");
    rlx_flow_output_stream(f, "y", "gain");
}

static void name_value(rlx_flow *f)
{
    enter(f);
    rlx_flow_swiglu(f, "gate.weight", "up.weight", "proj.weight");
    rlx_flow_name_value(f, "act", "act"); /* silu of the gate */
    rlx_flow_output(f, "mlp");
    rlx_flow_output_stream(f, "y", "act");
}

/* ---- stages of one's own ------------------------------------------------------------------------
 */

static rlx_value *build_square(rlx_builder *b, rlx_value *x, void *user)
{
    (void)user;
    return rlx_build_map2(b, RLX_MAP_MUL, x, x);
}

static void custom(rlx_flow *f)
{
    enter(f);
    rlx_flow_custom(f, "square", build_square, NULL);
    rlx_flow_output(f, "y");
}

static void build_exchange(rlx_builder *b, rlx_value **x, rlx_value **y, void *user)
{
    (void)user;
    rlx_value *sum = rlx_build_map2(b, RLX_MAP_ADD, *x, *y);
    *y = rlx_build_map2(b, RLX_MAP_SUB, *x, *y);
    *x = sum;
}

static void dual_stream(rlx_flow *f)
{
    enter(f);
    rlx_flow_store_stream(f, "a");
    rlx_flow_linear(f, "proj.weight", NULL);
    rlx_flow_store_stream(f, "b");
    rlx_flow_dual_stream(f, "exchange", "a", "b", build_exchange, NULL);
    rlx_flow_output(f, "y"); /* a, and b is beside it */
    rlx_flow_output_stream(f, "difference", "b");
}

/* ---- running them -------------------------------------------------------------------------------
 */

enum { X = 1, IDS = 2, GAIN = 4, ROWS = 8, SEQUENCES = 16, LAST = 32, IMAGE = 64 };
static const struct {
    const char *name;
    void (*record)(rlx_flow *f);
    int inputs;
} stages[] = {{"input", input, X},
              {"output", output, X},
              {"load_input", load_input, X | GAIN},
              {"probe_point", probe_point, X},
              {"embed", embed, IDS},
              {"rms_norm", rms_norm, X},
              {"linear", linear, X},
              {"scale", scale, X},
              {"swiglu", swiglu, X},
              {"residual_save", residual_save, X},
              {"residual_add", residual_add, X},
              {"self_attention", self_attention, X},
              {"select_rows", select_rows, X | ROWS},
              {"activation", activation, X},
              {"layer_norm", layer_norm, X},
              {"layer_scale", layer_scale, X},
              {"gated_mlp", gated_mlp, X},
              {"encoder_attention", encoder_attention, SEQUENCES},
              {"rope_tables", rope_tables, SEQUENCES},
              {"bucket_bias", bucket_bias, SEQUENCES},
              {"cls_token_pool", cls_token_pool, SEQUENCES},
              {"mean_pool", mean_pool, SEQUENCES},
              {"gather_from_input", gather_from_input, X | IDS},
              {"gather_add", gather_add, X | IDS},
              {"gather_last_token", gather_last_token, SEQUENCES | LAST},
              {"lm_head", lm_head, X | ROWS},
              {"patch_embed", patch_embed, IMAGE},
              {"gru", gru, SEQUENCES},
              {"lstm", lstm, SEQUENCES},
              {"short_conv", short_conv, SEQUENCES},
              {"gdn_scan", gdn_scan, SEQUENCES},
              {"store_stream", store_stream, X},
              {"load_stream", load_stream, X},
              {"bind_stream", bind_stream, X | GAIN},
              {"name_value", name_value, X},
              {"custom", custom, X},
              {"dual_stream", dual_stream, X}};
enum { NSTAGES = sizeof stages / sizeof *stages };

static float memory[24][VOCAB * H];

static rlx_status add_weights(rlx_weights *w)
{
    static const struct {
        const char *name;
        int64_t rows, cols; /* cols 0: a vector */
    } all[] = {{"embed.weight", VOCAB, H}, {"norm.weight", H, 0},       {"proj.weight", H, H},
               {"proj.bias", H, 0},        {"gate.weight", H, H},       {"up.weight", H, H},
               {"q.weight", H, H},         {"k.weight", 4, H},          {"v.weight", 4, H},
               {"gru.weight_ih_l0", 6, H}, {"gru.weight_hh_l0", 6, 2},  {"gru.bias_ih_l0", 6, 0},
               {"gru.bias_hh_l0", 6, 0},   {"lstm.weight_ih_l0", 8, H}, {"lstm.weight_hh_l0", 8, 2},
               {"conv.weight", H, 3},      {"buckets.weight", 8, 2}};
    rlx_status st = NULL;
    for (size_t i = 0; i < sizeof all / sizeof *all && !st; i++) {
        const int64_t n = all[i].rows * (all[i].cols ? all[i].cols : 1);
        for (int64_t k = 0; k < n; k++)
            memory[i][k] = 0.3f * sinf((float)(i + 1) + 0.7f * (float)k);
        const rlx_tensor t = {.name = all[i].name,
                              .format = RLX_F32,
                              .rank = all[i].cols ? 2 : 1,
                              .dim = {all[i].rows, all[i].cols},
                              .data = memory[i],
                              .bytes = (size_t)n * sizeof(float)};
        st = rlx_weights_add(w, &t);
    }
    const rlx_tensor patch = {"patch.weight", RLX_F32,   4,
                              {H, 1, 2, 2},   memory[0], 4 * H * sizeof(float)};
    return st ? st : rlx_weights_add(w, &patch);
}

static int list_inputs(int which, rlx_tensor *in)
{
    static float x[TOKENS * H], gain[H];
    static const int32_t ids[TOKENS] = {3, 1, 4, 1}, rows[2] = {1, 3}, last[2] = {1, 0};
    int n = 0;
    for (int i = 0; i < TOKENS * H; i++)
        x[i] = 0.5f * cosf(0.3f * (float)i);
    for (int i = 0; i < H; i++)
        gain[i] = 1 + 0.1f * (float)i;
    if (which & X)
        in[n++] = (rlx_tensor){"x", RLX_F32, 2, {TOKENS, H}, x, sizeof x};
    if (which & IDS)
        in[n++] = (rlx_tensor){"ids", RLX_I32, 1, {TOKENS}, ids, sizeof ids};
    if (which & GAIN)
        in[n++] = (rlx_tensor){"gain", RLX_F32, 1, {H}, gain, sizeof gain};
    if (which & ROWS)
        in[n++] = (rlx_tensor){"rows", RLX_I32, 1, {2}, rows, sizeof rows};
    if (which & SEQUENCES) /* two of two tokens */
        in[n++] = (rlx_tensor){"batch", RLX_F32, 3, {2, 2, H}, x, sizeof x};
    if (which & IMAGE)
        in[n++] = (rlx_tensor){"image", RLX_F32, 4, {2, 1, 4, 4}, x, 2 * 16 * sizeof *x};
    if (which & LAST)
        in[n++] = (rlx_tensor){"last_token_idx", RLX_I32, 1, {2}, last, sizeof last};
    return n;
}

static rlx_status run(rlx_context *cx, const rlx_weights *w, int i)
{
    rlx_flow *f = NULL;
    rlx_executable *e = NULL;
    rlx_session *s = NULL;
    rlx_execution_options o;
    rlx_tensor in[4], y;
    const rlx_execution execution = {.batch = TOKENS, .seq = 2};
    rlx_status st = rlx_flow_create(stages[i].name, &f);
    if (!st)
        stages[i].record(f);
    if (!st)
        st = rlx_execution_resolve(&execution, f, NULL, 0, &o);
    if (!st)
        st = rlx_flow_compile(cx, f, w, &o.options, NULL, &e);
    if (!st)
        st = rlx_session_create(cx, NULL, &s);
    if (!st)
        st = rlx_executable_run(e, s, in, list_inputs(stages[i].inputs, in));
    if (!st)
        st = rlx_session_output(s, "y", &y);
    if (!st)
        printf("%s %.6g\n", stages[i].name, ((const float *)y.data)[0]);
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
    for (int i = 0; i < NSTAGES && !st; i++)
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
