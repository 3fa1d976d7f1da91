/* bench/encoders.c: encoders of well-known shapes with random weights: ms, GFLOP/s, and the share of the f32 peak that
 * is measured between runs. On a machine that others use, too, wall time says little: the share by processor time is
 * that of one thread's peak in the time that the process was given.
 *
 *   encoders [-t THREADS] [-r REPEATS] [-w FORMAT] [--exact] [NAME...]     all of them by default
 *
 * -w: of the layers' matrices (f32; bf16, q8_0 ...); the rest is f32.
 *
 * Operations are those of the products with weights, of convolutions and of attention; a multiply-add is two. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench/random_weights.h"
#include "frontend/rlx.h"
#include "frontend/tool/ceilings.h"

enum { MOST_REPEATS = 99, MOST_FORMATS = 128 };

typedef struct shape {
    const char *name;
    int64_t layers, hidden, heads, inner, batch, tokens;
    enum { BERT, VIT, WHISPER } kind;
} shape;

static const shape shapes[] = {{"bert-base-128", 12, 768, 12, 3072, 1, 128, BERT},
                               {"bert-base-512", 12, 768, 12, 3072, 1, 512, BERT},
                               {"minilm-l6-32x128", 6, 384, 12, 1536, 32, 128, BERT},
                               {"vit-b14-518", 12, 768, 12, 3072, 1, 1370, VIT},
                               {"whisper-base-1500", 6, 512, 8, 2048, 1, 1500, WHISPER}};

enum { PATCH = 14, IMAGE = 518, COLOURS = 3, MELS = 80, FRAMES = 3000, TAPS = 3 };

static void check(rlx_status s)
{
    if (!s)
        return;
    char *text = rlx_status_text(s);
    fprintf(stderr, "encoders: %s\n", text ? text : "out of memory");
    free(text);
    rlx_status_free(s);
    exit(1);
}

/* ---- weights */

/* Weights and the memory behind them. */
typedef struct store {
    rlx_weights *w;
    const weight_format *matrices; /* of layers */
    void *data[1024];
    int n;
} store;

static void add_as(store *s, const weight_format *f, const char *name, int rank,
                   const int64_t *dims, bool ones)
{
    rlx_tensor t = {.name = name, .format = f->format, .rank = rank};
    int64_t elems = 1;
    for (int i = 0; i < rank; i++) {
        t.dim[i] = dims[i];
        elems *= dims[i];
    }
    t.bytes = (size_t)(elems / f->block_elems) * f->block_bytes;
    void *data = malloc(t.bytes);
    if (!data || s->n == (int)(sizeof s->data / sizeof *s->data)) {
        fprintf(stderr, "encoders: out of memory for weights\n");
        exit(1);
    }
    s->data[s->n++] = data;
    fill_random(f, data, t.bytes);
    for (int64_t i = 0; ones && i < elems; i++)
        put_value(f->format, 1, (uint8_t *)data + (size_t)i * f->block_bytes);
    t.data = data;
    check(rlx_weights_add(s->w, &t));
}

/* A tensor of random values, or of ones. */
static void add(store *s, const char *name, int rank, const int64_t *dims, bool ones)
{
    add_as(s, weight_format_get(RLX_F32), name, rank, dims, ones);
}

static void add_layer(store *s, int64_t layer, const char *format, const char *key, int64_t rows,
                      int64_t cols, bool ones)
{
    char prefix[64], name[192];
    snprintf(prefix, sizeof prefix, format, (int)layer);
    snprintf(name, sizeof name, "%s.%s", prefix, key);
    const weight_format *f = cols ? s->matrices : weight_format_get(RLX_F32);
    add_as(s, f, name, cols ? 2 : 1, (int64_t[]){rows, cols}, ones);
}

/* A linear map's weight and bias. */
static void add_linear(store *s, int64_t layer, const char *format, const char *key, int64_t rows,
                       int64_t cols)
{
    char name[96];
    snprintf(name, sizeof name, "%s.weight", key);
    add_layer(s, layer, format, name, rows, cols, false);
    snprintf(name, sizeof name, "%s.bias", key);
    add_layer(s, layer, format, name, rows, 0, false);
}

static void add_norm(store *s, int64_t layer, const char *format, const char *key, int64_t size)
{
    char name[96];
    snprintf(name, sizeof name, "%s.weight", key);
    add_layer(s, layer, format, name, size, 0, true);
    snprintf(name, sizeof name, "%s.bias", key);
    add_layer(s, layer, format, name, size, 0, false);
}

static void add_bert(store *s, const shape *e)
{
    static const char *const square[] = {"attention.self.query", "attention.self.key",
                                         "attention.self.value", "attention.output.dense"};
    static const char *const f = "encoder.layer.%d";
    for (int64_t i = 0; i < e->layers; i++) {
        for (int k = 0; k < 4; k++)
            add_linear(s, i, f, square[k], e->hidden, e->hidden);
        add_norm(s, i, f, "attention.output.LayerNorm", e->hidden);
        add_linear(s, i, f, "intermediate.dense", e->inner, e->hidden);
        add_linear(s, i, f, "output.dense", e->hidden, e->inner);
        add_norm(s, i, f, "output.LayerNorm", e->hidden);
    }
}

/* What ViT's and Whisper's layers have in common here: norms in front, one matrix for q, k and v. */
static void add_pre_norm(store *s, const shape *e)
{
    static const char *const f = "blocks.%d";
    for (int64_t i = 0; i < e->layers; i++) {
        add_norm(s, i, f, "norm1", e->hidden);
        add_linear(s, i, f, "attn.qkv", 3 * e->hidden, e->hidden);
        add_linear(s, i, f, "attn.proj", e->hidden, e->hidden);
        add_norm(s, i, f, "norm2", e->hidden);
        add_linear(s, i, f, "mlp.fc1", e->inner, e->hidden);
        add_linear(s, i, f, "mlp.fc2", e->hidden, e->inner);
        if (e->kind != VIT)
            continue;
        add_layer(s, i, f, "ls1.gamma", e->hidden, 0, true);
        add_layer(s, i, f, "ls2.gamma", e->hidden, 0, true);
    }
}

static void add_weights(store *s, const shape *e)
{
    const int64_t h = e->hidden;
    check(rlx_weights_create(&s->w));
    if (e->kind == BERT) {
        add_bert(s, e);
        return;
    }
    add_pre_norm(s, e);
    add(s, "norm.weight", 1, &h, true);
    add(s, "norm.bias", 1, &h, false);
    add(s, "positions", 2, (int64_t[]){e->tokens, h}, false);
    if (e->kind == VIT) {
        add(s, "patch.weight", 4, (int64_t[]){h, COLOURS, PATCH, PATCH}, false);
        add(s, "patch.bias", 1, &h, false);
        add(s, "class", 3, (int64_t[]){1, 1, h}, false);
        return;
    }
    add(s, "conv1.weight", 3, (int64_t[]){h, MELS, TAPS}, false);
    add(s, "conv1.bias", 1, &h, false);
    add(s, "conv2.weight", 3, (int64_t[]){h, h, TAPS}, false);
    add(s, "conv2.bias", 1, &h, false);
}

/* ---- flows */

static rlx_value *class_and_positions(rlx_builder *b, rlx_value *x, void *user)
{
    rlx_value *const both[] = {rlx_build_weight(b, "class"), x};
    (void)user;
    return rlx_build_map2(b, RLX_MAP_ADD, rlx_build_concat(b, 2, both, 1),
                          rlx_build_weight(b, "positions"));
}

static rlx_value *conv(rlx_builder *b, rlx_value *x, const char *weight, const char *bias,
                       int64_t stride)
{
    const rlx_window_spec spec = {.stride = {stride}, .low = {1}, .high = {1}};
    x = rlx_build_conv(b, x, rlx_build_weight(b, weight), rlx_build_weight(b, bias), &spec);
    return rlx_build_activation(b, RLX_ACT_GELU, 0, 0, x);
}

/* Mel frames [1,80,3000] to rows [1,1500,H] with positions. */
static rlx_value *front_end(rlx_builder *b, rlx_value *x, void *user)
{
    (void)user;
    x = conv(b, x, "conv1.weight", "conv1.bias", 1);
    x = conv(b, x, "conv2.weight", "conv2.bias", 2);
    x = rlx_build_transpose(b, x, (const int64_t[]){0, 2, 1});
    return rlx_build_map2(b, RLX_MAP_ADD, x, rlx_build_weight(b, "positions"));
}

/* Whisper's, but for the bias of k. */
static void whisper_layer(rlx_flow *f, int64_t index, void *user)
{
    const rlx_encoder_layer_spec *spec = user;
    (void)index;
    rlx_flow_residual_save(f);
    rlx_flow_layer_norm(f, "blocks.{}.norm1.weight", "blocks.{}.norm1.bias", spec->eps);
    rlx_flow_vit_self_attention(f, spec, "attn.qkv", "attn.proj");
    rlx_flow_residual_add(f);
    rlx_flow_residual_save(f);
    rlx_flow_layer_norm(f, "blocks.{}.norm2.weight", "blocks.{}.norm2.bias", spec->eps);
    rlx_flow_gelu_ffn(f, "blocks.{}", RLX_FFN_DINOV2);
    rlx_flow_residual_add(f);
}

/* What enters. */
static rlx_tensor input_of(const shape *e)
{
    switch (e->kind) {
    case VIT:
        return (rlx_tensor){
            .name = "x", .format = RLX_F32, .rank = 4, .dim = {1, COLOURS, IMAGE, IMAGE}};
    case WHISPER:
        return (rlx_tensor){.name = "x", .format = RLX_F32, .rank = 3, .dim = {1, MELS, FRAMES}};
    default:
        return (rlx_tensor){
            .name = "x", .format = RLX_F32, .rank = 3, .dim = {e->batch, e->tokens, e->hidden}};
    }
}

static void record(rlx_flow *f, const shape *e)
{
    rlx_encoder_layer_spec spec = {
        .heads = e->heads, .head_dim = e->hidden / e->heads, .eps = 1e-6};
    const rlx_tensor in = input_of(e);
    rlx_flow_input(f, in.name, in.format, in.rank, in.dim);
    if (e->kind == BERT) {
        rlx_flow_repeat_bert_layers(f, e->layers, &spec);
    } else {
        if (e->kind == VIT) {
            rlx_flow_patch_embed(f, "patch.weight", "patch.bias");
            rlx_flow_custom(f, "class_and_positions", class_and_positions, NULL);
            rlx_flow_repeat_dinov2_layers(f, e->layers, &spec);
        } else {
            rlx_flow_custom(f, "front_end", front_end, NULL);
            spec.prefix = "blocks.{}";
            rlx_flow_repeat_layers(f, e->layers, whisper_layer, &spec);
        }
        rlx_flow_layer_norm(f, "norm.weight", "norm.bias", spec.eps);
    }
    rlx_flow_output(f, "y");
}

static double operations(const shape *e)
{
    const double h = (double)e->hidden, tokens = (double)(e->batch * e->tokens);
    double layer =
        2 * tokens * h * (4 * h + 2 * (double)e->inner) + 4 * tokens * (double)e->tokens * h;
    double front = e->kind == VIT       ? 2 * (tokens - 1) * h * COLOURS * PATCH * PATCH
                   : e->kind == WHISPER ? 2 * FRAMES * h * MELS * TAPS + 2 * tokens * h * h * TAPS
                                        : 0;
    return (double)e->layers * layer + front;
}

/* ---- measuring */

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *v, int n)
{
    qsort(v, (size_t)n, sizeof *v, ascending);
    return v[n / 2];
}

static const ceiling_unit *f32_unit(const rlx_context *cx)
{
    const ceiling_unit *units[CEILING_MAX_UNITS], *best = NULL;
    const size_t n = ceiling_units(rlx_context_device(cx), units);
    for (size_t i = 0; i < n; i++)
        if (units[i]->f32)
            best = units[i]; /* the widest stands last */
    return best;
}

/* Runs in turns with the peak, after one run that nothing counts. */
static void measure(rlx_context *cx, rlx_executable *exe, const shape *e, int repeats)
{
    double seconds[MOST_REPEATS], busy[MOST_REPEATS], peak = 0, one = 0;
    const ceiling_unit *unit = f32_unit(cx);
    rlx_session *session;
    rlx_tensor x = input_of(e), y;
    x.bytes = sizeof(float);
    for (int i = 0; i < x.rank; i++)
        x.bytes *= (size_t)x.dim[i];
    float *data = malloc(x.bytes);
    if (!data)
        exit(1);
    for (size_t i = 0; i < x.bytes / sizeof *data; i++)
        data[i] = sinf((float)i);
    x.data = data;
    check(rlx_session_create(cx, NULL, &session));
    check(rlx_executable_run(exe, session, &x, 1));
    for (int i = 0; i < repeats; i++) {
        peak = unit ? fmax(peak, ceiling_unit_rate(unit, rlx_context_threads(cx), 1)) : 0;
        one = unit ? fmax(one, ceiling_unit_rate(unit, 1, 1)) : 0;
        const double start = ceiling_now();
        const clock_t began = clock();
        check(rlx_executable_run(exe, session, &x, 1));
        busy[i] = (double)(clock() - began) / CLOCKS_PER_SEC;
        seconds[i] = ceiling_now() - start;
    }
    check(rlx_session_output(session, "y", &y));
    const float last = ((const float *)y.data)[y.bytes / sizeof(float) - 1];
    const double s = median(seconds, repeats), b = median(busy, repeats), rate = operations(e) / s;
    printf("%-18s %9.2f ms (best %9.2f) %8.1f GFLOP/s", e->name, 1e3 * s, 1e3 * seconds[0],
           1e-9 * rate);
    if (peak > 0)
        printf(" %5.1f%% of %.1f; processor %.2f ms (best %.2f), %.1f%% of %.1f", 100 * rate / peak,
               1e-9 * peak, 1e3 * b, 1e3 * busy[0], 100 * operations(e) / b / one, 1e-9 * one);
    printf("%s\n", isfinite(last) ? "" : " (not finite)");
    fflush(stdout);
    rlx_session_destroy(session);
    free(data);
}

static void bench(rlx_context *cx, const shape *e, const weight_format *matrices,
                  const rlx_compile_options *options, int repeats)
{
    store s = {.matrices = matrices};
    rlx_flow *f;
    rlx_executable *exe;
    rlx_compile_stats stats;
    add_weights(&s, e);
    check(rlx_flow_create(e->name, &f));
    record(f, e);
    if (getenv("RLX_ENCODERS_SHOW")) {
        char *text;
        check(rlx_flow_inspect(cx, f, s.w, options, getenv("RLX_ENCODERS_SHOW"), &text));
        puts(text);
        free(text);
    }
    check(rlx_flow_compile(cx, f, s.w, options, &stats, &exe));
    measure(cx, exe, e, repeats);
    rlx_executable_destroy(exe);
    rlx_flow_destroy(f);
    rlx_weights_destroy(s.w);
    for (int i = 0; i < s.n; i++)
        free(s.data[i]);
}

/* NULL: there are no random weights of it. */
static const weight_format *format_of(const char *name)
{
    for (int f = 0; f < MOST_FORMATS; f++) {
        const weight_format *w = weight_format_get((rlx_format)f);
        if (w && !strcmp(w->name, name))
            return w;
    }
    return NULL;
}

int main(int argc, char **argv)
{
    const weight_format *matrices = weight_format_get(RLX_F32);
    rlx_context_options where = {.no_cache = true};
    rlx_compile_options options = {.precision = RLX_FAST, .phase = RLX_PREFILL};
    int repeats = 7, at = 1;
    for (; at < argc && argv[at][0] == '-'; at++) {
        if (!strcmp(argv[at], "--exact"))
            options.precision = RLX_EXACT;
        else if (!strcmp(argv[at], "-t") && at + 1 < argc)
            where.threads = atoi(argv[++at]);
        else if (!strcmp(argv[at], "-r") && at + 1 < argc)
            repeats = atoi(argv[++at]);
        else if (!strcmp(argv[at], "-w") && at + 1 < argc)
            matrices = format_of(argv[++at]);
        else
            repeats = 0;
    }
    if (repeats < 1 || repeats > MOST_REPEATS || !matrices) {
        fprintf(stderr,
                "encoders [-t THREADS] [-r REPEATS: 1 to %d] [-w FORMAT] [--exact] [NAME...]\n",
                MOST_REPEATS);
        return 2;
    }
    rlx_context *cx;
    check(rlx_context_create(&where, &cx));
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        bool wanted = at == argc;
        for (int k = at; k < argc; k++)
            wanted = wanted || !strcmp(argv[k], shapes[i].name);
        if (wanted)
            bench(cx, &shapes[i], matrices, &options, repeats);
    }
    rlx_context_destroy(cx);
    return 0;
}
