/* A stage that the library does not have:  custom_stage [DEVICE]
 *
 * Two layers of  x + down(max(up(x), 0)^2)  ("squared ReLU"): the function relu2_mlp below adds
 * what it computes by the builder that the library's own stages use, and it is compiled and fused
 * like them. Behind them feature i is divided by 1 + i, a table of the stage's own. Prints the
 * output, a row of numbers per token. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <rlx.h>

enum { LAYERS = 2, TOKENS = 3, HIDDEN = 12, INNER = 20 };

typedef struct network {
    rlx_context *cx;
    rlx_weights *w;
    rlx_flow *flow;
    rlx_executable *exe;
    rlx_session *session;
    float up[LAYERS][INNER * HIDDEN], down[LAYERS][HIDDEN * INNER];
} network;

/* A smooth, repeatable stand-in for trained numbers. */
static float value(int which, int i)
{
    return 0.4f * sinf((float)(1 + which) + 0.9f * (float)i);
}

/* Called when the flow is compiled, for every layer; layers for which it builds the same are the
 * same code. */
static rlx_value *relu2_mlp(rlx_builder *b, rlx_value *x, void *user)
{
    (void)user;
    rlx_value *up = rlx_build_linear(b, x, rlx_build_weight(b, "layers.{}.up.weight"), NULL);
    rlx_value *relu = rlx_build_map2(b, RLX_MAP_MAX, up, rlx_build_constant(b, 0));
    rlx_value *square = rlx_build_map2(b, RLX_MAP_MUL, relu, relu);
    return rlx_build_linear(b, square, rlx_build_weight(b, "layers.{}.down.weight"), NULL);
}

/* Numbers that are in no file: the table is copied, and found again by its content. */
static rlx_value *taper(rlx_builder *b, rlx_value *x, void *user)
{
    const int64_t dims[] = {HIDDEN};
    float table[HIDDEN];
    (void)user;
    for (int i = 0; i < HIDDEN; i++)
        table[i] = 1 / (float)(1 + i);
    return rlx_build_map2(b, RLX_MAP_MUL, x, rlx_build_table(b, RLX_F32, 1, dims, table));
}

static void layer(rlx_flow *f, int64_t index, void *user)
{
    (void)index;
    (void)user;
    rlx_flow_residual_save(f);
    rlx_flow_custom(f, "relu2_mlp", relu2_mlp, NULL);
    rlx_flow_residual_add(f);
}

static rlx_status add_weight(rlx_weights *w, const char *format, int l, float *data, int64_t rows,
                             int64_t cols, int which)
{
    char name[64];
    for (int i = 0; i < rows * cols; i++)
        data[i] = value(which, i);
    snprintf(name, sizeof name, format, l);
    const rlx_tensor t = {.name = name,
                          .format = RLX_F32,
                          .rank = 2,
                          .dim = {rows, cols},
                          .data = data,
                          .bytes = (size_t)(rows * cols) * sizeof *data};
    return rlx_weights_add(w, &t); /* the name is copied, the data is lent */
}

static rlx_status make(network *n, const char *device)
{
    const rlx_context_options where = {.device = device};
    const rlx_bucket bucket = {"TOKENS", 8};
    const rlx_compile_options options = {.buckets = &bucket, .nbuckets = 1};
    rlx_compile_stats stats;
    rlx_status st = rlx_context_create(&where, &n->cx);
    if (!st)
        st = rlx_weights_create(&n->w);
    for (int l = 0; l < LAYERS && !st; l++) {
        st = add_weight(n->w, "layers.%d.up.weight", l, n->up[l], INNER, HIDDEN, 2 * l);
        if (!st)
            st = add_weight(n->w, "layers.%d.down.weight", l, n->down[l], HIDDEN, INNER, 2 * l + 1);
    }
    if (!st)
        st = rlx_flow_create("relu2", &n->flow);
    if (st)
        return st;
    const int64_t dims[] = {rlx_flow_symbol(n->flow, "TOKENS"), HIDDEN};
    rlx_flow_input(n->flow, "x", RLX_F32, 2, dims);
    rlx_flow_repeat_layers(n->flow, LAYERS, layer, NULL);
    rlx_flow_custom(n->flow, "taper", taper, NULL);
    rlx_flow_output(n->flow, "y");
    st = rlx_flow_compile(n->cx, n->flow, n->w, &options, &stats, &n->exe);
    if (!st)
        fprintf(stderr, "%d layers, %d of them distinct, %d kernels, on %s\n", LAYERS,
                stats.functions - 1, stats.kernels, rlx_context_device(n->cx));
    return st ? st : rlx_session_create(n->cx, NULL, &n->session);
}

static rlx_status run(network *n)
{
    float x[TOKENS * HIDDEN];
    for (int i = 0; i < TOKENS * HIDDEN; i++)
        x[i] = value(100, i);
    const rlx_tensor input = {.name = "x",
                              .format = RLX_F32,
                              .rank = 2,
                              .dim = {TOKENS, HIDDEN},
                              .data = x,
                              .bytes = sizeof x};
    rlx_tensor y;
    rlx_status st = rlx_executable_run(n->exe, n->session, &input, 1);
    if (!st)
        st = rlx_session_output(n->session, "y", &y);
    for (int i = 0; i < TOKENS * HIDDEN && !st; i++)
        printf("%.7g%c", ((const float *)y.data)[i], (i + 1) % HIDDEN ? ' ' : '\n');
    return st;
}

int main(int argc, char **argv)
{
    static network n; /* all zero */
    rlx_status st = make(&n, argc > 1 ? argv[1] : "cpu");
    if (!st)
        st = run(&n);
    if (st) {
        char *story = rlx_status_text(st); /* names the stage, where one is at fault */
        fprintf(stderr, "%s\n", story ? story : rlx_status_message(st));
        free(story);
    }
    const int code = st != RLX_OK;
    rlx_status_free(st);
    rlx_session_destroy(n.session);
    rlx_executable_destroy(n.exe);
    rlx_flow_destroy(n.flow);
    rlx_weights_destroy(n.w);
    rlx_context_destroy(n.cx);
    return code;
}
