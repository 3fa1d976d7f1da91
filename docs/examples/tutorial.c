/* A small language model from nothing:  tutorial [DEVICE]      (docs/tutorial.md goes through it)
 *
 * Prints the ids that it makes up after a prompt, and the size of a layer's output. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rlx.h>

enum { VOCAB = 24, HIDDEN = 16, HEADS = 4, HEAD_DIM = 4, INNER = 32, LAYERS = 3, MOST = 16 };

static rlx_status add(rlx_weights *w, const char *name, int64_t rows, int64_t cols, float *data)
{
    static int which;
    const int64_t n = rows * (cols ? cols : 1);
    which++;
    for (int64_t i = 0; i < n; i++) /* trained numbers would come from a file */
        data[i] = cols ? 0.5f * sinf(1.3f * (float)which + 0.37f * (float)(i * i % 101)) : 1;
    const rlx_tensor t = {.name = name,
                          .format = RLX_F32,
                          .rank = cols ? 2 : 1,
                          .dim = {rows, cols},
                          .data = data,
                          .bytes = (size_t)n * sizeof *data};
    return rlx_weights_add(w, &t);
}

static rlx_status add_weights(rlx_weights *w, float *memory)
{
    static const struct {
        const char *name;
        int64_t rows, cols; /* cols 0: a vector */
    } layer[] = {
        {"attn_norm", HIDDEN, 0},    {"attn.q", HIDDEN, HIDDEN}, {"attn.k", HIDDEN, HIDDEN},
        {"attn.v", HIDDEN, HIDDEN},  {"attn.o", HIDDEN, HIDDEN}, {"mlp_norm", HIDDEN, 0},
        {"mlp.gate", INNER, HIDDEN}, {"mlp.up", INNER, HIDDEN},  {"mlp.down", HIDDEN, INNER}};
    rlx_status st = add(w, "embed.weight", VOCAB, HIDDEN, memory);
    memory += VOCAB * HIDDEN;
    for (int l = 0; l < LAYERS; l++)
        for (size_t i = 0; i < sizeof layer / sizeof *layer && !st; i++) {
            char name[48];
            snprintf(name, sizeof name, "layers.%d.%s.weight", l, layer[i].name);
            st = add(w, name, layer[i].rows, layer[i].cols, memory);
            memory += INNER * HIDDEN;
        }
    return st ? st : add(w, "norm.weight", HIDDEN, 0, memory);
}

static void attention(rlx_flow *f, void *user)
{
    (void)user;
    const rlx_attention_spec spec = {.q_key = "layers.{}.attn.q.weight",
                                     .k_key = "layers.{}.attn.k.weight",
                                     .v_key = "layers.{}.attn.v.weight",
                                     .heads = HEADS,
                                     .kv_heads = HEADS,
                                     .head_dim = HEAD_DIM};
    rlx_flow_residual_save(f);
    rlx_flow_rms_norm(f, "layers.{}.attn_norm.weight", 1e-5);
    rlx_flow_self_attention(f, &spec);
    rlx_flow_linear(f, "layers.{}.attn.o.weight", NULL);
    rlx_flow_residual_add(f);
}

static void mlp(rlx_flow *f, void *user)
{
    (void)user;
    rlx_flow_residual_save(f);
    rlx_flow_rms_norm(f, "layers.{}.mlp_norm.weight", 1e-5);
    rlx_flow_swiglu(f, "layers.{}.mlp.gate.weight", "layers.{}.mlp.up.weight",
                    "layers.{}.mlp.down.weight");
    rlx_flow_residual_add(f);
}

static void layer(rlx_flow *f, int64_t index, void *user)
{
    rlx_flow_scope(f, "attn", attention, user);
    rlx_flow_scope(f, "mlp", mlp, user);
    if (index == LAYERS / 2)
        rlx_flow_output(f, "hidden.{}");
}

static rlx_status record(rlx_flow **f)
{
    rlx_status st = rlx_flow_create("tutorial", f);
    if (st)
        return st;
    const int64_t tokens = rlx_flow_symbol(*f, "TOKENS");
    rlx_flow_input(*f, "ids", RLX_I32, 1, &tokens);
    rlx_flow_embed(*f, "embed.weight");
    rlx_flow_repeat_layers(*f, LAYERS, layer, NULL);
    rlx_flow_rms_norm(*f, "norm.weight", 1e-5);
    rlx_flow_lm_head(*f, "embed.weight");
    rlx_flow_output(*f, "logits");
    return NULL;
}

static rlx_status step(rlx_executable *e, rlx_session *s, const int32_t *ids, int64_t n,
                       rlx_tensor *logits)
{
    float cosine[MOST][HEAD_DIM / 2], sine[MOST][HEAD_DIM / 2];
    const int64_t past = rlx_session_past(s, 0);
    for (int64_t t = 0; t < n; t++)
        for (int i = 0; i < HEAD_DIM / 2; i++) {
            const double angle = (double)(past + t) / pow(10000, 2.0 * i / (int)HEAD_DIM);
            cosine[t][i] = (float)cos(angle);
            sine[t][i] = (float)sin(angle);
        }
    const size_t bytes = (size_t)n * sizeof *cosine;
    const rlx_tensor in[] = {{"ids", RLX_I32, 1, {n}, ids, (size_t)n * sizeof *ids},
                             {"rope_cos", RLX_F32, 2, {n, HEAD_DIM / 2}, cosine, bytes},
                             {"rope_sin", RLX_F32, 2, {n, HEAD_DIM / 2}, sine, bytes}};
    rlx_status st = rlx_executable_run(e, s, in, 3);
    return st ? st : rlx_session_output(s, "logits", logits);
}

/* The likeliest token behind the last one. */
static int32_t choose(const rlx_tensor *logits)
{
    const float *row = (const float *)logits->data + (logits->dim[0] - 1) * VOCAB;
    int32_t best = 0;
    for (int32_t i = 1; i < VOCAB; i++)
        best = row[i] > row[best] ? i : best;
    return best;
}

static rlx_status generate(rlx_executable *e, rlx_session *s)
{
    int32_t prompt[] = {3, 1, 4, 1, 5}, next;
    rlx_tensor logits, hidden;
    rlx_status st = step(e, s, prompt, 5, &logits);
    for (int i = 0; i < 8 && !st; i++) {
        next = choose(&logits);
        printf("%d ", (int)next);
        st = step(e, s, &next, 1, &logits);
    }
    if (!st)
        st = rlx_session_output(s, "hidden.1", &hidden);
    if (!st)
        printf("| hidden.1 is [%d,%d]\n", (int)hidden.dim[0], (int)hidden.dim[1]);
    return st;
}

static rlx_status compile_and_run(rlx_context *cx, const rlx_flow *f, const rlx_weights *w)
{
    const rlx_bucket bucket = {"TOKENS", MOST};
    const rlx_compile_options options = {
        .buckets = &bucket, .nbuckets = 1, .unused = RLX_UNUSED_REFUSE};
    rlx_compile_stats stats;
    rlx_executable *e = NULL;
    rlx_session *s = NULL;
    rlx_status st = rlx_flow_compile(cx, f, w, &options, &stats, &e);
    if (!st)
        fprintf(stderr, "%d functions, %d kernels\n", stats.functions, stats.kernels);
    if (!st)
        st = rlx_session_create(cx, NULL, &s);
    if (!st)
        st = generate(e, s);
    rlx_session_destroy(s);
    rlx_executable_destroy(e);
    return st;
}

/* An MLP of one's own, in place of swiglu: relu for silu. */
static rlx_value *build_gate(rlx_builder *b, rlx_value *x, void *user)
{
    (void)user;
    rlx_value *gate =
        rlx_build_linear(b, x, rlx_build_weight(b, "layers.{}.mlp.gate.weight"), NULL);
    rlx_value *up = rlx_build_linear(b, x, rlx_build_weight(b, "layers.{}.mlp.up.weight"), NULL);
    rlx_value *inner = rlx_build_map2(
        b, RLX_MAP_MUL, rlx_build_map2(b, RLX_MAP_MAX, gate, rlx_build_constant(b, 0)), up);
    return rlx_build_linear(b, inner, rlx_build_weight(b, "layers.{}.mlp.down.weight"), NULL);
}

static void reglu(rlx_flow *f, void *user)
{
    (void)user;
    rlx_flow_custom(f, "reglu", build_gate, NULL);
}

int main(int argc, char **argv)
{
    static float memory[VOCAB * HIDDEN + LAYERS * 9 * INNER * HIDDEN + HIDDEN];
    const rlx_context_options options = {.device = argc > 1 ? argv[1] : "cpu"};
    rlx_context *cx = NULL;
    rlx_weights *w = NULL;
    rlx_flow *f = NULL;
    rlx_status st = rlx_context_create(&options, &cx);
    if (!st)
        st = rlx_weights_create(&w);
    if (!st)
        st = add_weights(w, memory);
    if (!st)
        st = record(&f);
    if (!st)
        st = compile_and_run(cx, f, w);
    if (!st)
        rlx_flow_patch(f, "layers/mlp/swiglu", RLX_PATCH_REPLACE, reglu, NULL);
    if (!st)
        st = compile_and_run(cx, f, w);
    rlx_flow_destroy(f);
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
