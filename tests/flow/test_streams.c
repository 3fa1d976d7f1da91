/* tests/flow/test_streams.c: values by name: inputs beside the first, streams in and through
 * layers, functions of two streams, outputs of layers; against plain loops, on every engine. */
#include <math.h>

#include "frontend/flow.h"
#include "tests/flow/tensors.h"

enum { H = 12, TOKENS = 5, WORDS = 3, LAYERS = 4 };

static const char *const devices[] = {"cpu", "ref:lir", "ref:mir"};
enum { NDEVICES = sizeof devices / sizeof *devices };

/* img [TOKENS,H] enters, txt [WORDS,H] and gain [TOKENS,H] beside it. */
typedef struct world {
    rlx_context *cx;
    rlx_weights *w;
    rlx_flow *flow;
    rlx_executable *exe;
    rlx_session *session;
    rlx_compile_stats stats;
    float img[TOKENS * H], txt[WORDS * H], gain[TOKENS * H];
    float matrix[2 * LAYERS][H * H];
    char *text; /* the HIR */
} world;

static float number(int which, int64_t i)
{
    return 0.3f * sinf(1.7f * (float)which + 0.61f * (float)i);
}

static void open_world(world *t, const char *device)
{
    *t = (world){0};
    assert_ok(rlx_context_create(&(rlx_context_options){.device = device, .threads = 2}, &t->cx));
    assert_ok(rlx_weights_create(&t->w));
    assert_ok(rlx_session_create(t->cx, NULL, &t->session));
    for (int m = 0; m < 2 * LAYERS; m++) {
        char name[32];
        snprintf(name, sizeof name, "layers.%d.%s.weight", m / 2, m % 2 ? "txt" : "img");
        for (int i = 0; i < H * H; i++)
            t->matrix[m][i] = number(m, i);
        ADD_F32(t->w, name, t->matrix[m], H, H);
    }
    for (int i = 0; i < TOKENS * H; i++) {
        t->img[i] = number(20, i);
        t->gain[i] = 1 + number(21, i);
    }
    for (int i = 0; i < WORDS * H; i++)
        t->txt[i] = number(22, i);
    assert_ok(rlx_flow_create("streams", &t->flow));
    const int64_t img[] = {rlx_flow_symbol(t->flow, "TOKENS"), H};
    rlx_flow_input(t->flow, "img", RLX_F32, 2, img);
}

static void add_txt(world *t)
{
    const int64_t txt[] = {rlx_flow_symbol(t->flow, "WORDS"), H};
    rlx_flow_input(t->flow, "txt", RLX_F32, 2, txt);
}

static void add_gain(world *t)
{
    const int64_t dims[] = {rlx_flow_symbol(t->flow, "TOKENS"), H};
    rlx_flow_input(t->flow, "gain", RLX_F32, 2, dims);
}

static void close_world(world *t)
{
    free(t->text);
    rlx_session_destroy(t->session);
    rlx_executable_destroy(t->exe);
    rlx_flow_destroy(t->flow);
    rlx_weights_destroy(t->w);
    rlx_context_destroy(t->cx);
}

static rlx_status compile(world *t)
{
    const rlx_bucket buckets[] = {{"TOKENS", TOKENS + 1}, {"WORDS", WORDS}};
    const rlx_compile_options o = {.buckets = buckets, .nbuckets = t->flow->nsymbols};
    RLX_TRY(rlx_flow_inspect(t->cx, t->flow, t->w, &o, "hir", &t->text));
    return rlx_flow_compile(t->cx, t->flow, t->w, &o, &t->stats, &t->exe);
}

static void run(world *t)
{
    rlx_tensor in[3];
    const rlx_tensor all[] = {F32("img", t->img, TOKENS, H), F32("txt", t->txt, WORDS, H),
                              F32("gain", t->gain, TOKENS, H)};
    int n = 0;
    for (int i = 0; i < t->flow->nstages; i++) /* those that the flow declares */
        for (int k = 0; t->flow->stages[i].kind == RLX_STAGE_INPUT && k < 3; k++)
            if (!strcmp(t->flow->stages[i].name, all[k].name))
                in[n++] = all[k];
    assert_ok(rlx_executable_run(t->exe, t->session, in, n));
}

static void check(const world *t, const char *name, const double *want, int rows)
{
    rlx_tensor out;
    assert_ok(rlx_session_output(t->session, name, &out));
    ck_assert_uint_eq(out.bytes, sizeof(float) * (size_t)(rows * H));
    for (int i = 0; i < rows * H; i++)
        ck_assert_msg(fabs(((const float *)out.data)[i] - want[i]) <= 1e-5 * (1 + fabs(want[i])),
                      "%s: element %d is %.9g, not %.9g\n%s", name, i, ((const float *)out.data)[i],
                      want[i], t->text);
}

static int count(const char *text, const char *what)
{
    int n = 0;
    for (const char *at = text; (at = strstr(at, what)); at += strlen(what))
        n++;
    return n;
}

/* x w^T, in double */
static void times(const float *w, double *x, int rows)
{
    for (int r = 0; r < rows; r++) {
        double y[H];
        for (int i = 0; i < H; i++) {
            y[i] = 0;
            for (int k = 0; k < H; k++)
                y[i] += (double)w[i * H + k] * x[r * H + k];
        }
        memcpy(x + r * H, y, sizeof y);
    }
}

static void widen(const float *from, double *to, int n)
{
    for (int i = 0; i < n; i++)
        to[i] = from[i];
}

/* ---- outside of layers -------------------------------------------------------------------------
 */

/* y = img * gain of an input beside the first; z = what was kept before that. */
static rlx_value *build_gain(rlx_builder *b, rlx_value *x, void *user)
{
    rlx_build_store(b, "before", x);
    return rlx_build_map2(b, RLX_MAP_MUL, x, rlx_build_declared(b, user));
}

START_TEST(inputs_and_names)
{
    world t;
    double y[TOKENS * H], z[TOKENS * H], words[WORDS * H];
    open_world(&t, devices[_i]);
    add_txt(&t);
    add_gain(&t);
    rlx_flow_bind_stream(t.flow, "txt", "words");
    rlx_flow_custom(t.flow, "gain", build_gain, "gain");
    rlx_flow_output(t.flow, "y");
    rlx_flow_load_stream(t.flow, "before");
    rlx_flow_linear(t.flow, "layers.0.img.weight", NULL);
    rlx_flow_output(t.flow, "z");
    rlx_flow_output_stream(t.flow, "again", "before");
    rlx_flow_load_stream(t.flow, "words");
    rlx_flow_linear(t.flow, "layers.0.txt.weight", NULL);
    rlx_flow_output(t.flow, "words");
    rlx_flow_load_input(t.flow, "gain");
    rlx_flow_scale(t.flow, 2);
    rlx_flow_output(t.flow, "twice");
    assert_ok(compile(&t));
    run(&t);
    for (int i = 0; i < TOKENS * H; i++)
        y[i] = (double)t.img[i] * t.gain[i];
    check(&t, "y", y, TOKENS);
    widen(t.img, z, TOKENS * H);
    check(&t, "again", z, TOKENS);
    times(t.matrix[0], z, TOKENS);
    check(&t, "z", z, TOKENS);
    widen(t.txt, words, WORDS * H);
    times(t.matrix[1], words, WORDS);
    check(&t, "words", words, WORDS);
    for (int i = 0; i < TOKENS * H; i++)
        y[i] = 2 * (double)t.gain[i];
    check(&t, "twice", y, TOKENS);
    close_world(&t);
}
END_TEST

/* ---- two streams through layers -----------------------------------------------------------------
 */

/* a' = a + a A^T, b' = b + (b B^T) */
static void build_pair(rlx_builder *b, rlx_value **x, rlx_value **y, void *user)
{
    (void)user;
    rlx_value *p = rlx_build_linear(b, *x, rlx_build_weight(b, "layers.{}.img.weight"), NULL);
    rlx_value *q = rlx_build_linear(b, *y, rlx_build_weight(b, "layers.{}.txt.weight"), NULL);
    *x = rlx_build_map2(b, RLX_MAP_ADD, *x, p);
    *y = rlx_build_map2(b, RLX_MAP_ADD, *y, q);
}

static void pair_layer(rlx_flow *f, int64_t index, void *user)
{
    (void)index, (void)user;
    rlx_flow_dual_stream(f, "pair", "img", "txt", build_pair, NULL);
}

static void pair_in_f64(const world *t, int layers, double *img, double *txt)
{
    double p[TOKENS * H], q[WORDS * H];
    widen(t->img, img, TOKENS * H);
    widen(t->txt, txt, WORDS * H);
    for (int l = 0; l < layers; l++) {
        memcpy(p, img, sizeof p);
        memcpy(q, txt, sizeof q);
        times(t->matrix[2 * l], p, TOKENS);
        times(t->matrix[2 * l + 1], q, WORDS);
        for (int i = 0; i < TOKENS * H; i++)
            img[i] += p[i];
        for (int i = 0; i < WORDS * H; i++)
            txt[i] += q[i];
    }
}

START_TEST(dual_streams_share_a_function)
{
    world t;
    double img[TOKENS * H], txt[WORDS * H];
    open_world(&t, devices[_i]);
    rlx_flow_store_stream(t.flow, "img");
    add_txt(&t);
    rlx_flow_bind_stream(t.flow, "txt", "txt");
    rlx_flow_repeat_layers(t.flow, LAYERS, pair_layer, NULL);
    rlx_flow_output(t.flow, "img_out");
    rlx_flow_output_stream(t.flow, "txt_out", "txt");
    assert_ok(compile(&t));
    ck_assert_int_eq(t.stats.functions, 2);
    ck_assert_int_eq(count(t.text, " call "), 1); /* one call for all: two values are handed on */
    ck_assert_ptr_nonnull(strstr(t.text, "count=4"));
    run(&t);
    pair_in_f64(&t, LAYERS, img, txt);
    check(&t, "img_out", img, TOKENS);
    check(&t, "txt_out", txt, WORDS);
    close_world(&t);
}
END_TEST

/* ---- reading and tapping ------------------------------------------------------------------------
 */

static rlx_value *add_stream(rlx_builder *b, rlx_value *x, void *user)
{
    return rlx_build_map2(b, RLX_MAP_ADD, x, rlx_build_load(b, user));
}

/* Every layer reads what stays the same and adds it; some are outputs, in the middle and at the
 * end. */
static void tapped_layer(rlx_flow *f, int64_t index, void *user)
{
    (void)user;
    rlx_flow_linear(f, "layers.{}.img.weight", NULL);
    if (index == 2)
        rlx_flow_output(f, "inside.{}");
    rlx_flow_custom(f, "skip", add_stream, "first");
    if (index == 1 || index == 3)
        rlx_flow_output(f, "hidden.{}");
}

START_TEST(layers_read_streams_and_are_outputs)
{
    world t;
    double x[TOKENS * H];
    open_world(&t, devices[_i]);
    rlx_flow_store_stream(t.flow, "first");
    rlx_flow_repeat_layers(t.flow, LAYERS, tapped_layer, NULL);
    rlx_flow_scale(t.flow, 0.5);
    rlx_flow_output(t.flow, "y");
    assert_ok(compile(&t));
    ck_assert_int_eq(t.stats.functions, 3); /* layer 2 returns more */
    ck_assert_int_eq(count(t.text, " call "), 3);
    run(&t);
    widen(t.img, x, TOKENS * H);
    for (int l = 0; l < LAYERS; l++) {
        char name[32];
        times(t.matrix[2 * l], x, TOKENS);
        if (l == 2)
            check(&t, "inside.2", x, TOKENS);
        for (int i = 0; i < TOKENS * H; i++)
            x[i] += t.img[i];
        snprintf(name, sizeof name, "hidden.%d", l);
        if (l % 2)
            check(&t, name, x, TOKENS);
    }
    for (int i = 0; i < TOKENS * H; i++)
        x[i] *= 0.5;
    check(&t, "y", x, TOKENS);
    close_world(&t);
}
END_TEST

/* Every layer keeps its own, and the last one is read from the outside; two streams change places.
 */
static void keeping_layer(rlx_flow *f, int64_t index, void *user)
{
    (void)index, (void)user;
    rlx_flow_linear(f, "layers.{}.img.weight", NULL);
    rlx_flow_store_stream(f, "kept.{}");
    rlx_flow_load_stream(f, "a");
    rlx_flow_store_stream(f, "old");
    rlx_flow_load_stream(f, "b");
    rlx_flow_store_stream(f, "a");
    rlx_flow_load_stream(f, "old");
    rlx_flow_store_stream(f, "b");
    rlx_flow_load_stream(f, "kept.{}");
}

START_TEST(layers_keep_streams_of_their_own)
{
    world t;
    double x[TOKENS * H], img[TOKENS * H], gain[TOKENS * H];
    open_world(&t, devices[_i]);
    rlx_flow_store_stream(t.flow, "a");
    add_gain(&t);
    rlx_flow_bind_stream(t.flow, "gain", "b");
    rlx_flow_repeat_layers(t.flow, 3, keeping_layer, NULL);
    rlx_flow_output_stream(t.flow, "k0", "kept.0");
    rlx_flow_output_stream(t.flow, "k1", "kept.1");
    rlx_flow_output(t.flow, "k2");
    rlx_flow_output_stream(t.flow, "a", "a");
    rlx_flow_output_stream(t.flow, "b", "b");
    assert_ok(compile(&t));
    run(&t);
    widen(t.img, x, TOKENS * H);
    widen(t.img, img, TOKENS * H);
    widen(t.gain, gain, TOKENS * H);
    for (int l = 0; l < 3; l++) {
        times(t.matrix[2 * l], x, TOKENS);
        check(&t, (const char *const[]){"k0", "k1", "k2"}[l], x, TOKENS);
    }
    check(&t, "a", gain, TOKENS);
    check(&t, "b", img, TOKENS);
    close_world(&t);
}
END_TEST

/* Layers that change nothing cost nothing. */
static void idle_layer(rlx_flow *f, int64_t index, void *user)
{
    (void)user;
    rlx_flow_store_stream(f, "same");
    if (index == 1)
        rlx_flow_output_stream(f, "y", "same");
}

START_TEST(layers_that_only_name)
{
    world t;
    double x[TOKENS * H];
    open_world(&t, devices[_i]);
    rlx_flow_scale(t.flow, 3);
    rlx_flow_repeat_layers(t.flow, 3, idle_layer, NULL);
    rlx_flow_output(t.flow, "z");
    assert_ok(compile(&t));
    ck_assert_int_eq(t.stats.functions, 1);
    run(&t);
    for (int i = 0; i < TOKENS * H; i++)
        x[i] = 3 * (double)t.img[i];
    check(&t, "y", x, TOKENS);
    check(&t, "z", x, TOKENS);
    close_world(&t);
}
END_TEST

/* A value inside a stage, kept by every layer. */
static void named_layer(rlx_flow *f, int64_t index, void *user)
{
    (void)index, (void)user;
    rlx_flow_swiglu(f, "layers.{}.img.weight", "layers.{}.txt.weight", "layers.{}.img.weight");
    rlx_flow_name_value(f, "up", "up");
}

START_TEST(values_inside_stages)
{
    world t;
    double up[TOKENS * H];
    open_world(&t, devices[_i]);
    rlx_flow_repeat_layers(t.flow, 1, named_layer, NULL);
    rlx_flow_output(t.flow, "y");
    rlx_flow_output_stream(t.flow, "up", "up");
    assert_ok(compile(&t));
    run(&t);
    widen(t.img, up, TOKENS * H);
    times(t.matrix[1], up, TOKENS);
    check(&t, "up", up, TOKENS);
    close_world(&t);
}
END_TEST

/* ---- the last token of each sequence
 * -------------------------------------------------------------- */

enum { BATCH = 3, SEQ = 4 };

static void run_last(const char *device, bool dynamic, float y[BATCH * H], const float *x)
{
    static const int32_t last[BATCH] = {3, 0, 2};
    world t;
    rlx_tensor out;
    open_world(&t, device);
    rlx_flow_destroy(t.flow);
    assert_ok(rlx_flow_create("last", &t.flow));
    const int64_t batch = rlx_flow_symbol(t.flow, "BATCH");
    const int64_t dims[] = {batch, dynamic ? rlx_flow_symbol(t.flow, "SEQ") : SEQ, H};
    rlx_flow_input(t.flow, "x", RLX_F32, 3, dims);
    if (dynamic)
        rlx_flow_gather_last_token(t.flow);
    else
        rlx_flow_gather_last_token_at(t.flow, 3);
    rlx_flow_output(t.flow, "y");
    rlx_execution_options o;
    assert_ok(rlx_execution_resolve(&(rlx_execution){.batch = BATCH, .seq = SEQ + 1}, t.flow, NULL,
                                    0, &o));
    assert_ok(rlx_flow_compile(t.cx, t.flow, t.w, &o.options, NULL, &t.exe));
    const rlx_tensor in[] = {{"x", RLX_F32, 3, {BATCH, SEQ, H}, x, BATCH * SEQ * H * 4},
                             {"last_token_idx", RLX_I32, 1, {BATCH}, last, sizeof last}};
    assert_ok(rlx_executable_run(t.exe, t.session, in, dynamic ? 2 : 1));
    assert_ok(rlx_session_output(t.session, "y", &out));
    ck_assert_uint_eq(out.bytes, sizeof(float) * BATCH * H);
    ck_assert_int_eq(out.dim[1], 1);
    memcpy(y, out.data, out.bytes);
    close_world(&t);
}

START_TEST(last_tokens)
{
    float x[BATCH * SEQ * H], y[BATCH * H];
    for (int i = 0; i < BATCH * SEQ * H; i++)
        x[i] = number(30, i);
    for (int dynamic = 0; dynamic < 2; dynamic++) {
        run_last(devices[_i], dynamic, y, x);
        for (int b = 0; b < BATCH; b++) {
            const int at = dynamic ? ((const int[]){3, 0, 2})[b] : 2;
            ck_assert_mem_eq(y + b * H, x + (b * SEQ + at) * H, sizeof(float) * H);
        }
    }
}
END_TEST

/* ---- mistakes -----------------------------------------------------------------------------------
 */

static void load_unknown(rlx_flow *f, int64_t index, void *user)
{
    (void)index, (void)user;
    rlx_flow_load_stream(f, "imgs");
}

static void wrong_stream(rlx_flow *f)
{
    rlx_flow_store_stream(f, "img");
    rlx_flow_load_stream(f, "text");
}

static void wrong_in_layer(rlx_flow *f)
{
    rlx_flow_store_stream(f, "img");
    rlx_flow_repeat_layers(f, 2, load_unknown, NULL);
}

static void wrong_input(rlx_flow *f)
{
    rlx_flow_load_input(f, "text");
}

static void twice(rlx_flow *f)
{
    const int64_t dim = 3;
    rlx_flow_input(f, "txt", RLX_F32, 1, &dim);
}

static void unused(rlx_flow *f)
{
    rlx_flow_scale(f, 2);
}

static void no_build(rlx_flow *f)
{
    rlx_flow_dual_stream(f, "pair", "a", "b", NULL, NULL);
}

static void leave_nothing(rlx_builder *b, rlx_value **x, rlx_value **y, void *user)
{
    (void)b, (void)x, (void)user;
    *y = NULL;
}

static void no_value(rlx_flow *f)
{
    rlx_flow_store_stream(f, "a");
    rlx_flow_store_stream(f, "b");
    rlx_flow_dual_stream(f, "pair", "a", "b", leave_nothing, NULL);
}

static void two_names_layer(rlx_flow *f, int64_t index, void *user)
{
    (void)index, (void)user;
    rlx_flow_load_stream(f, "kept.0");
    rlx_flow_scale(f, 2);
    rlx_flow_store_stream(f, "kept.{}");
}

static void two_names(rlx_flow *f)
{
    rlx_flow_store_stream(f, "kept.0");
    rlx_flow_repeat_layers(f, 2, two_names_layer, NULL);
}

static const struct {
    void (*record)(rlx_flow *f);
    rlx_code code;
    const char *error, *stage;
} mistakes[] = {
    {wrong_stream, RLX_NOT_FOUND, "no stream \"text\"; there are \"img\"", "stage 3 (load_stream)"},
    {wrong_in_layer, RLX_NOT_FOUND, "no stream \"imgs\"; did you mean \"img\"?",
     "stage 0 (load_stream) of layer 0"},
    {wrong_input, RLX_NOT_FOUND, "no input \"text\"; did you mean \"txt\"?",
     "stage 2 (load_input)"},
    {twice, RLX_INVALID_ARGUMENT, "input \"txt\": an input or output before it has that name",
     "stage 3"},
    {unused, RLX_INVALID_ARGUMENT, "stage 1 (input): no stage uses \"txt\"", "building flow"},
    {no_build, RLX_INVALID_ARGUMENT, "dual_stream \"pair\" has nothing that builds it", "stage 3"},
    {no_value, RLX_INVALID_ARGUMENT, "left no value for stream \"b\"",
     "stage 4 (dual_stream \"pair\")"},
    {two_names, RLX_INVALID_ARGUMENT,
     "layer 0: streams \"kept.0\" and \"kept.{}\" are the same one there", "streams"},
};
enum { NMISTAKES = sizeof mistakes / sizeof *mistakes };

START_TEST(refuses)
{
    world t;
    open_world(&t, "cpu");
    add_txt(&t);
    mistakes[_i].record(t.flow);
    rlx_flow_output(t.flow, "y");
    rlx_status st = compile(&t);
    char *story = rlx_status_text(st);
    ck_assert_msg(story && strstr(story, mistakes[_i].stage), "%s", story ? story : "no error");
    free(story);
    assert_error(st, mistakes[_i].code, mistakes[_i].error);
    close_world(&t);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("streams");
    TCase *c = tcase_create("streams");
    tcase_add_loop_test(c, inputs_and_names, 0, NDEVICES);
    tcase_add_loop_test(c, dual_streams_share_a_function, 0, NDEVICES);
    tcase_add_loop_test(c, layers_read_streams_and_are_outputs, 0, NDEVICES);
    tcase_add_loop_test(c, layers_keep_streams_of_their_own, 0, NDEVICES);
    tcase_add_loop_test(c, layers_that_only_name, 0, NDEVICES);
    tcase_add_loop_test(c, values_inside_stages, 0, NDEVICES);
    tcase_add_loop_test(c, last_tokens, 0, NDEVICES);
    tcase_add_loop_test(c, refuses, 0, NMISTAKES);
    suite_add_tcase(s, c);
    return run_suite(s, 7 * NDEVICES + NMISTAKES);
}
