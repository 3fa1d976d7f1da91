#include "tests/vulkan/layers.h"

#include <math.h>
#include <string.h>

#include "tests/vulkan/validation.h"

layers_world cpu, gpu;
const fault_layer *faults;
bool validated;
rlx_text said;

static float weights[8][HIDDEN * HEADS * DIM];

/* ---- the flow */

int64_t layers_window;

static void add_layer(rlx_flow *f, int64_t index, void *user)
{
    (void)index;
    (void)user;
    rlx_attention_spec a = {.q_key = "q.{}",
                            .k_key = "k.{}",
                            .v_key = "v.{}",
                            .heads = HEADS,
                            .kv_heads = HEADS,
                            .head_dim = DIM,
                            .window = layers_window,
                            .no_rope = true};
    rlx_flow_residual_save(f);
    rlx_flow_self_attention(f, &a);
    rlx_flow_linear(f, "o.{}", NULL);
    rlx_flow_residual_add(f);
}

void layers_make_flow(const char *conv, rlx_flow **f)
{
    EXPECT_OK(rlx_flow_create("layers", f));
    int64_t dims[] = {rlx_flow_symbol(*f, "TOKENS"), HIDDEN};
    rlx_flow_input(*f, "x", RLX_F32, 2, dims);
    if (conv) {
        rlx_flow_short_conv(*f, conv, NULL, "conv");
        rlx_flow_output(*f, "h");
    }
    rlx_flow_repeat_layers(*f, 2, add_layer, NULL);
    rlx_flow_output(*f, "y");
}

rlx_status layers_compile(rlx_context *cx, const rlx_weights *w, rlx_executable **out)
{
    rlx_flow *f;
    rlx_bucket bucket = {"TOKENS", BUCKET};
    rlx_compile_options o = {.buckets = &bucket, .nbuckets = 1};
    layers_make_flow(NULL, &f);
    rlx_status st = rlx_flow_compile(cx, f, w, &o, NULL, out);
    rlx_flow_destroy(f);
    return st;
}

void layers_make_weights(rlx_weights **w)
{
    static const char *const names[] = {"q.0", "k.0", "v.0", "o.0", "q.1", "k.1", "v.1", "o.1"};
    EXPECT_OK(rlx_weights_create(w));
    for (int i = 0; i < 8; i++) {
        const bool out = names[i][0] == 'o';
        for (int k = 0; k < HIDDEN * HEADS * DIM; k++)
            weights[i][k] = sinf(0.37f * (float)(k + 64 * i)) * 0.3f;
        EXPECT_OK(rlx_weights_add(
            *w, &(rlx_tensor){.name = names[i],
                              .format = RLX_F32,
                              .rank = 2,
                              .dim = {out ? HIDDEN : HEADS * DIM, out ? HEADS * DIM : HIDDEN},
                              .data = weights[i],
                              .bytes = sizeof weights[i]}));
    }
}

rlx_session *layers_make_session(const layers_world *w, int sequences)
{
    rlx_session *s;
    EXPECT_OK(rlx_session_create(
        w->cx, &(rlx_session_options){.max_positions = POSITIONS, .max_sequences = sequences}, &s));
    return s;
}

/* ---- worlds */

static rlx_status open_device(bool hides, uint64_t without, rlx_context *cx)
{
    const rlx_vulkan_options o = {.hides = hides, .without = without, .said = &said};
    cx->target.features &= ~without;
    rlx_device_destroy(cx->gpu); /* again, under the layer */
    cx->gpu = NULL;
    return validation_open(o, &cx->gpu, &validated);
}

static void open_gpu(bool hides, uint64_t without, const char *layers)
{
    EXPECT_OK(rlx_context_create(
        &(rlx_context_options){.device = "vulkan", .device_layers = layers}, &gpu.cx));
    EXPECT_OK(open_device(hides, without, gpu.cx));
    layers_make_weights(&gpu.w);
    EXPECT_OK(layers_compile(gpu.cx, gpu.w, &gpu.e));
}

void layers_close_gpu(void)
{
    rlx_executable_destroy(gpu.e);
    ck_assert_int_eq(gpu.cx->gpu->used_bytes, 0);
    rlx_context_destroy(gpu.cx);
    rlx_weights_destroy(gpu.w);
    ck_assert_msg(said.len == 0, "the validation layer says:\n%s", said.data);
    rlx_text_deinit(&said);
    ck_assert_int_eq(faults ? faults->live() : 0, 0);
    gpu = (layers_world){0};
}

void layers_open_mapped(void)
{
    open_gpu(false, 0, NULL);
}

void layers_open_hidden(void)
{
    open_gpu(true, 0, NULL);
}

void layers_open_ranges(void)
{
    open_gpu(false, RLX_VULKAN_BIT(ADDRESS), NULL);
}

void layers_open_parts(void)
{
    open_gpu(true, 0, "1");
}

/* ---- sequences */

static float input[BUCKET][HIDDEN];
static int32_t sequences[BUCKET];

void layers_fill(float *x, int which, int64_t at)
{
    for (int i = 0; i < HIDDEN; i++)
        x[i] = sinf(0.11f * (float)(at * (i + 1) + 37 * which));
}

int64_t layers_put(int64_t at, int seq, int which, int64_t from, int64_t n)
{
    for (int64_t t = 0; t < n; t++) {
        sequences[at + t] = seq;
        layers_fill(input[at + t], which, from + t);
    }
    return at + n;
}

rlx_status layers_step(rlx_session *s, rlx_executable *e, int64_t n, const float **out)
{
    rlx_tensor y = {0};
    const rlx_step_input in = {"x", input, sizeof input[0] * (size_t)n};
    const rlx_step what = {.tokens = n, .seq = sequences, .inputs = &in, .ninputs = 1};
    RLX_TRY(rlx_session_step(s, e, &what));
    RLX_TRY(rlx_session_output(s, "y", &y));
    *out = y.data;
    return RLX_OK;
}

void layers_say(rlx_session *s, rlx_executable *e, int seq, int which, int64_t from, int64_t to,
                float *out)
{
    const float *y;
    layers_put(0, seq, which, from, to - from);
    EXPECT_OK(layers_step(s, e, to - from, &y));
    memcpy(out, y + (to - from - 1) * HIDDEN, sizeof input[0]);
}

void layers_reference(layers_world *w, int which, float *out)
{
    if (!w->known[which]) {
        rlx_session *s = layers_make_session(w, 1);
        layers_say(s, w->e, 0, 0, 0, PROMPT, out);
        layers_say(s, w->e, 0, which, PROMPT, PROMPT + 1, w->last[which]);
        rlx_session_destroy(s);
    }
    w->known[which] = true;
    memcpy(out, w->last[which], sizeof w->last[which]);
}

rlx_status layers_use(void)
{
    rlx_weights *w;
    rlx_executable *e = NULL;
    rlx_session *s = NULL;
    const float *out;
    layers_make_weights(&w); /* others than those that are there: they are uploaded */
    rlx_status st = layers_compile(gpu.cx, w, &e);
    if (!st)
        st = rlx_session_create(gpu.cx, NULL, &s);
    layers_put(0, 0, 0, 0, 3);
    if (!st)
        st = layers_step(s, e, 3, &out);
    rlx_session_destroy(s);
    rlx_executable_destroy(e);
    rlx_weights_destroy(w);
    return st;
}

/* ---- running */

enum { SKIPPED = 77 };

int layers_run(const char *name, void (*add_tests)(Suite *s), int minimum)
{
    rlx_context *cx;
    faults = environment_prepare_faults();
    rlx_status st = rlx_context_create(&(rlx_context_options){.device = "vulkan"}, &cx);
    if (rlx_status_code(st) == RLX_NOT_FOUND) {
        printf("skipped: no Vulkan device: %s\n", rlx_status_message(st));
        rlx_status_free(st);
        return SKIPPED;
    }
    EXPECT_OK(st);
    rlx_context_destroy(cx);
    EXPECT_OK(rlx_context_create(NULL, &cpu.cx));
    layers_make_weights(&cpu.w);
    EXPECT_OK(layers_compile(cpu.cx, cpu.w, &cpu.e));
    Suite *s = suite_create(name);
    add_tests(s);
    const int code = suite_run(s, minimum);
    printf("%s the validation layer\n", validated ? "under" : "without");
    rlx_executable_destroy(cpu.e);
    rlx_context_destroy(cpu.cx);
    rlx_weights_destroy(cpu.w);
    return code;
}

void layers_talk(const layers_world *w, float out[TALK][HIDDEN])
{
    rlx_session *s = layers_make_session(w, 2);
    const float *y;
    layers_say(s, w->e, 0, 0, 0, 3, out[0]);
    layers_say(s, w->e, 0, 0, 3, 4, out[1]);
    layers_put(0, 1, 1, 0, 2);
    layers_put(2, 0, 0, 4, 1);
    EXPECT_OK(layers_step(s, w->e, 3, &y));
    memcpy(out[2], y, sizeof out[0]);
    memcpy(out[3], y + 2 * HIDDEN, sizeof out[0]);
    EXPECT_OK(rlx_session_fork(s, 0, 1));
    layers_say(s, w->e, 1, 2, 5, 6, out[4]);
    EXPECT_OK(rlx_session_rewind(s, 1, 0));
    layers_say(s, w->e, 1, 2, 0, 1, out[5]);
    rlx_session_destroy(s);
}
