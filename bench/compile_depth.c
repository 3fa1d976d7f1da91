/* bench/compile_depth.c: what depth costs to compile. A stack of 64 equal layers against one of 4, cold, taken in
 * turns; prints the medians and their ratio (goal: at most 1.1). Weights are random and in memory.
 *
 *   compile_depth [REPEATS]        default 9
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/rlx.h"

enum { HIDDEN = 256, HEADS = 4, KV_HEADS = 2, HEAD_DIM = 64, FFN = 512, VOCAB = 1024, MOST = 99 };

static const char *const layer_keys[] = {
    "input_layernorm.weight",  "self_attn.q_proj.weight", "self_attn.k_proj.weight",
    "self_attn.v_proj.weight", "self_attn.o_proj.weight", "post_attention_layernorm.weight",
    "mlp.gate_proj.weight",    "mlp.up_proj.weight",      "mlp.down_proj.weight",
};
static const int64_t layer_shapes[][2] = {
    {HIDDEN, 0},
    {HEADS * HEAD_DIM, HIDDEN},
    {KV_HEADS * HEAD_DIM, HIDDEN},
    {KV_HEADS * HEAD_DIM, HIDDEN},
    {HIDDEN, HEADS *HEAD_DIM},
    {HIDDEN, 0},
    {FFN, HIDDEN},
    {FFN, HIDDEN},
    {HIDDEN, FFN},
};

static void check(rlx_status s)
{
    if (!s)
        return;
    char *text = rlx_status_text(s);
    fprintf(stderr, "compile_depth: %s\n", text ? text : "out of memory");
    free(text);
    rlx_status_free(s);
    exit(1);
}

static void add_weight(rlx_weights *w, const char *name, int64_t rows, int64_t cols,
                       const float *data)
{
    rlx_tensor t = {
        .name = name, .format = RLX_F32, .rank = cols ? 2 : 1, .dim = {rows, cols}, .data = data};
    t.bytes = (size_t)(rows * (cols ? cols : 1)) * sizeof(float);
    check(rlx_weights_add(w, &t));
}

static void record_layer(rlx_flow *f, int64_t index, void *user)
{
    (void)index;
    (void)user;
    rlx_attention_spec a = {.q_key = "layers.{}.self_attn.q_proj.weight",
                            .k_key = "layers.{}.self_attn.k_proj.weight",
                            .v_key = "layers.{}.self_attn.v_proj.weight",
                            .heads = HEADS,
                            .kv_heads = KV_HEADS,
                            .head_dim = HEAD_DIM};
    rlx_flow_residual_save(f);
    rlx_flow_rms_norm(f, "layers.{}.input_layernorm.weight", 1e-5);
    rlx_flow_self_attention(f, &a);
    rlx_flow_linear(f, "layers.{}.self_attn.o_proj.weight", NULL);
    rlx_flow_residual_add(f);
    rlx_flow_residual_save(f);
    rlx_flow_rms_norm(f, "layers.{}.post_attention_layernorm.weight", 1e-5);
    rlx_flow_swiglu(f, "layers.{}.mlp.gate_proj.weight", "layers.{}.mlp.up_proj.weight",
                    "layers.{}.mlp.down_proj.weight");
    rlx_flow_residual_add(f);
}

/* One cold compile of a stack; seconds from flow to executable. */
static double compile(rlx_context *cx, const rlx_weights *w, int64_t layers, int *kernels)
{
    rlx_flow *f;
    check(rlx_flow_create("stack", &f));
    int64_t tokens = rlx_flow_symbol(f, "TOKENS");
    rlx_flow_input(f, "ids", RLX_I32, 1, &tokens);
    rlx_flow_embed(f, "embed.weight");
    rlx_flow_repeat_layers(f, layers, record_layer, NULL);
    rlx_flow_select_rows(f);
    rlx_flow_rms_norm(f, "norm.weight", 1e-5);
    rlx_flow_lm_head(f, "embed.weight");
    rlx_flow_output(f, "logits");
    rlx_bucket buckets[] = {{"TOKENS", 1}, {"ROWS", 1}, {"SEQS", 1}, {"SLOTS", 16}, {"PAGES", 16}};
    rlx_compile_options o = {.buckets = buckets, .nbuckets = 5};
    rlx_compile_stats stats;
    rlx_executable *e;
    check(rlx_flow_compile(cx, f, w, &o, &stats, &e));
    rlx_executable_destroy(e);
    rlx_flow_destroy(f);
    *kernels = stats.kernels;
    return stats.seconds;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    int repeats = argc > 1 ? atoi(argv[1]) : 9;
    if (repeats < 1 || repeats > MOST) {
        fprintf(stderr, "compile_depth: REPEATS is 1 to %d\n", MOST);
        return 2;
    }
    enum { DEEP = 64, SHALLOW = 4 };
    rlx_context *cx;
    rlx_weights *w;
    check(rlx_context_create(&(rlx_context_options){.no_cache = true}, &cx));
    check(rlx_weights_create(&w));
    float *data = calloc((size_t)VOCAB * HIDDEN, sizeof *data); /* every weight may share it */
    for (int64_t i = 0; i < (int64_t)VOCAB * HIDDEN; i++)
        data[i] = (float)((i * 2654435761u >> 16) & 255) / 2550.0f - 0.05f;
    add_weight(w, "embed.weight", VOCAB, HIDDEN, data);
    add_weight(w, "norm.weight", HIDDEN, 0, data);
    for (int i = 0; i < DEEP; i++)
        for (size_t j = 0; j < sizeof layer_keys / sizeof *layer_keys; j++) {
            char name[96];
            snprintf(name, sizeof name, "layers.%d.%s", i, layer_keys[j]);
            add_weight(w, name, layer_shapes[j][0], layer_shapes[j][1], data);
        }
    double shallow[MOST], deep[MOST];
    int kernels[2];
    compile(cx, w, SHALLOW, &kernels[0]); /* opens the compiler */
    for (int i = 0; i < repeats; i++) {
        shallow[i] = compile(cx, w, SHALLOW, &kernels[0]);
        deep[i] = compile(cx, w, DEEP, &kernels[1]);
    }
    qsort(shallow, (size_t)repeats, sizeof *shallow, ascending);
    qsort(deep, (size_t)repeats, sizeof *deep, ascending);
    double a = shallow[repeats / 2], b = deep[repeats / 2];
    printf("%d layers: %.1f ms, %d kernels\n%d layers: %.1f ms, %d kernels\nratio %.3f (medians of "
           "%d, in turns)\n",
           SHALLOW, 1e3 * a, kernels[0], DEEP, 1e3 * b, kernels[1], b / a, repeats);
    rlx_weights_destroy(w);
    rlx_context_destroy(cx);
    free(data);
    return 0;
}
