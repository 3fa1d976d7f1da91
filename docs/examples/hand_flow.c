/* Builds a flow by hand, with weights in memory, compiles it and runs it:  hand_flow [DEVICE]
 *
 * Two layers of  x + swiglu(rms_norm(x))  and a linear map at the end. Prints the output, a row of
 * numbers per token. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <rlx.h>

enum { LAYERS = 2, TOKENS = 3, HIDDEN = 24, INNER = 40, OUT = 5 };

/* A smooth, repeatable stand-in for trained numbers, around `mean`. */
static float value(int which, int64_t i, float mean)
{
    return mean + 0.3f * sinf((float)(1 + which) + 0.7f * (float)i);
}

/* One tensor [rows, cols] (rows 0: [cols]), filled, kept alive by `memory` and known to `w` by
 * `name`. */
static rlx_status add(rlx_weights *w, float **memory, int which, const char *name, int64_t rows,
                      int64_t cols, float mean)
{
    int64_t n = (rows ? rows : 1) * cols;
    float *data = *memory;
    for (int64_t i = 0; i < n; i++)
        data[i] = value(which, i, mean);
    *memory += n;
    const rlx_tensor t = {.name = name,
                          .format = RLX_F32,
                          .rank = rows ? 2 : 1,
                          .dim = {rows ? rows : cols, cols},
                          .data = data,
                          .bytes = (size_t)n * sizeof *data};
    return rlx_weights_add(w, &t);
}

static rlx_status add_weights(rlx_weights *w, float *memory)
{
    for (int l = 0; l < LAYERS; l++) {
        char name[64];
        snprintf(name, sizeof name, "layers.%d.norm.weight", l);
        rlx_status st = add(w, &memory, 4 * l, name, 0, HIDDEN, 1);
        snprintf(name, sizeof name, "layers.%d.gate.weight", l);
        if (!st)
            st = add(w, &memory, 4 * l + 1, name, INNER, HIDDEN, 0);
        snprintf(name, sizeof name, "layers.%d.up.weight", l);
        if (!st)
            st = add(w, &memory, 4 * l + 2, name, INNER, HIDDEN, 0);
        snprintf(name, sizeof name, "layers.%d.down.weight", l);
        if (!st)
            st = add(w, &memory, 4 * l + 3, name, HIDDEN, INNER, 0);
        if (st)
            return st;
    }
    rlx_status st = add(w, &memory, 100, "head.weight", OUT, HIDDEN, 0);
    return st ? st : add(w, &memory, 101, "head.bias", 0, OUT, 0);
}

/* Called once per layer; "{}" in a key is the layer's index. Both layers are the same code. */
static void layer(rlx_flow *f, int64_t index, void *user)
{
    (void)index;
    (void)user;
    rlx_flow_residual_save(f);
    rlx_flow_rms_norm(f, "layers.{}.norm.weight", 1e-5);
    rlx_flow_swiglu(f, "layers.{}.gate.weight", "layers.{}.up.weight", "layers.{}.down.weight");
    rlx_flow_residual_add(f);
}

static void record(rlx_flow *f)
{
    int64_t dims[] = {rlx_flow_symbol(f, "TOKENS"), HIDDEN};
    rlx_flow_input(f, "x", RLX_F32, 2, dims);
    rlx_flow_repeat_layers(f, LAYERS, layer, NULL);
    rlx_flow_linear(f, "head.weight", "head.bias");
    rlx_flow_output(f, "y");
}

static rlx_status run(rlx_context *cx, rlx_executable *exe, rlx_session *session)
{
    float x[TOKENS * HIDDEN];
    for (int i = 0; i < TOKENS * HIDDEN; i++)
        x[i] = value(200, i, 0);
    rlx_tensor input = {.name = "x",
                        .format = RLX_F32,
                        .rank = 2,
                        .dim = {TOKENS, HIDDEN},
                        .data = x,
                        .bytes = sizeof x};
    rlx_tensor y;
    rlx_status st = rlx_executable_run(exe, session, &input, 1);
    if (!st)
        st = rlx_session_output(session, "y", &y);
    if (st)
        return st;
    for (int t = 0; t < TOKENS; t++)
        for (int o = 0; o < OUT; o++)
            printf("%.7g%c", ((const float *)y.data)[t * OUT + o], o + 1 < OUT ? ' ' : '\n');
    fprintf(stderr, "on %s\n", rlx_context_device(cx));
    return RLX_OK;
}

int main(int argc, char **argv)
{
    static float memory[LAYERS * (HIDDEN + 3 * INNER * HIDDEN) + OUT * HIDDEN + OUT];
    rlx_context *cx = NULL;
    rlx_weights *w = NULL;
    rlx_flow *flow = NULL;
    rlx_executable *exe = NULL;
    rlx_session *session = NULL;
    rlx_bucket bucket = {"TOKENS", 8}; /* up to 8 tokens a run; the code takes any live number */
    const rlx_context_options where = {.device = argc > 1 ? argv[1] : "cpu"};
    rlx_compile_options options = {.buckets = &bucket, .nbuckets = 1};

    rlx_status st = rlx_context_create(&where, &cx);
    if (!st)
        st = rlx_weights_create(&w);
    if (!st)
        st = add_weights(w, memory);
    if (!st)
        st = rlx_flow_create("by_hand", &flow);
    if (!st) {
        record(flow); /* mistakes are kept and reported by compile */
        st = rlx_flow_compile(cx, flow, w, &options, NULL, &exe);
    }
    if (!st)
        st = rlx_session_create(cx, NULL, &session);
    if (!st)
        st = run(cx, exe, session);
    if (st)
        fprintf(stderr, "%s\n", rlx_status_message(st));

    int code = st != RLX_OK;
    rlx_status_free(st);
    rlx_session_destroy(session);
    rlx_executable_destroy(exe);
    rlx_flow_destroy(flow);
    rlx_weights_destroy(w);
    rlx_context_destroy(cx);
    return code;
}
