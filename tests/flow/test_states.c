/* tests/flow/test_states.c: layers that keep a state: a token's result has the same bits in
 * whatever steps its sequence came in, beside whatever others; forks, saved sequences and new ones
 * hold to it, and going back is refused. */
#include <math.h>
#include <unistd.h>

#include "frontend/context.h"
#include "frontend/flow.h"
#include "tests/flow/tensors.h"

enum { H = 8, HALF = H / 2, TAPS = 3, LAYERS = 2, TOKENS = 12, SEQS = 4 };

static const char *const devices[] = {"cpu", "cpu:x86-64-v3", "ref:lir", "ref:mir"};
enum { NDEVICES = sizeof devices / sizeof *devices };

/* Tokens of three sequences, mixed. */
static const int32_t seq[TOKENS] = {2, 0, 0, 2, 1, 0, 2, 2, 1, 0, 1, 2};

typedef struct world {
    rlx_context *cx;
    rlx_weights *w;
    rlx_flow *flow;
    rlx_executable *exe;
    bool no_sequences; /* the flow has no symbol SEQS */
    float taps[LAYERS][H * TAPS], x[TOKENS * H];
} world;

/* Keys, values, decays and rates from the features; what is read goes to both halves. */
static rlx_value *build_memory(rlx_builder *b, rlx_value *x, void *user)
{
    const int64_t t = rlx_value_extent(x, 0);
    const int64_t head[] = {t, 1, HALF}, number[] = {t, 1}, back[] = {t, HALF};
    rlx_value *first = rlx_build_slice(b, x, 1, 0, HALF, 1);
    rlx_value *g = rlx_build_map1(
        b, RLX_MAP_NEG, rlx_build_map1(b, RLX_MAP_ABS, rlx_build_slice(b, x, 1, 0, 1, 1)));
    rlx_delta_rule_spec spec = {
        .v = rlx_build_reshape(b, rlx_build_slice(b, x, 1, HALF, HALF, 1), 3, head),
        .g = rlx_build_reshape(b, g, 2, number),
        .beta = rlx_build_reshape(b, rlx_build_sigmoid(b, rlx_build_slice(b, x, 1, 1, 1, 1)), 2,
                                  number),
        .state = rlx_build_state(b, "memory.{}", 3, (const int64_t[]){1, HALF, HALF}),
        .norm_eps = 1e-6};
    (void)user;
    spec.q = spec.k = rlx_build_reshape(b, first, 3, head);
    rlx_value *o = rlx_build_reshape(b, rlx_build_delta_rule(b, &spec, NULL), 2, back);
    return rlx_build_concat(b, 2, (rlx_value *[]){o, o}, 1);
}

/* A scan over the features' absolute values as steps' lengths, whose decays are A. */
static rlx_value *build_scan(rlx_builder *b, rlx_value *x, void *user)
{
    const int64_t flat[] = {H, TAPS};
    rlx_value *w = rlx_build_weight(b, "layers.{}.conv.weight");
    const rlx_selective_scan_spec spec = {
        .x = x,
        .dt = rlx_build_map1(b, RLX_MAP_ABS, x),
        .a = rlx_build_map1(b, RLX_MAP_NEG,
                            rlx_build_map1(b, RLX_MAP_ABS, rlx_build_reshape(b, w, 2, flat))),
        .b = rlx_build_slice(b, x, 1, 0, TAPS, 1),
        .c = rlx_build_slice(b, x, 1, HALF, TAPS, 1),
        .state = rlx_build_state(b, "scan.{}", 2, (const int64_t[]){H, TAPS})};
    (void)user;
    return rlx_build_selective_scan(b, &spec, NULL);
}

/* One state holds the mean of what came, the other what came of the mean. */
static void step_means(rlx_builder *b, rlx_value *const *args, rlx_value **results, void *user)
{
    rlx_value *half = rlx_build_constant(b, 0.5);
    (void)user;
    results[1] =
        rlx_build_map2(b, RLX_MAP_MUL, rlx_build_map2(b, RLX_MAP_ADD, args[0], args[1]), half);
    results[2] =
        rlx_build_map2(b, RLX_MAP_MUL, rlx_build_map2(b, RLX_MAP_ADD, args[1], args[2]), half);
    results[0] = rlx_build_map2(b, RLX_MAP_SUB, results[1], results[2]);
}

static rlx_value *build_means(rlx_builder *b, rlx_value *x, void *user)
{
    const int64_t dims[] = {H};
    rlx_value *out[3];
    (void)user;
    rlx_build_recur(b,
                    &(rlx_recur_spec){.sequences = 1,
                                      .states = 2,
                                      .operand = {x, rlx_build_state(b, "near.{}", 1, dims),
                                                  rlx_build_state(b, "far.{}", 1, dims)},
                                      .outputs = 1,
                                      .step = step_means},
                    out);
    return out[0];
}

static void record_layer(rlx_flow *f, int64_t index, void *user)
{
    (void)index;
    (void)user;
    rlx_flow_residual_save(f);
    rlx_flow_short_conv(f, "layers.{}.conv.weight", NULL, "conv.{}");
    rlx_flow_custom(f, "memory", build_memory, NULL);
    rlx_flow_custom(f, "scan", build_scan, NULL);
    rlx_flow_custom(f, "means", build_means, NULL);
    rlx_flow_residual_add(f);
}

static const rlx_bucket buckets[] = {{"TOKENS", TOKENS}, {"SEQS", SEQS}};

static rlx_compile_options options_of(const world *t)
{
    return (rlx_compile_options){.buckets = buckets, .nbuckets = t->no_sequences ? 1 : 2};
}

static rlx_executable *compile(const world *t, const rlx_weights *w)
{
    const rlx_compile_options options = options_of(t);
    rlx_executable *e;
    assert_ok(rlx_flow_compile(t->cx, t->flow, w, &options, NULL, &e));
    return e;
}

static void open_world(world *t, const char *device)
{
    *t = (world){0};
    assert_ok(rlx_context_create(&(rlx_context_options){.device = device, .threads = 2}, &t->cx));
    assert_ok(rlx_weights_create(&t->w));
    for (int l = 0; l < LAYERS; l++) {
        char name[32];
        snprintf(name, sizeof name, "layers.%d.conv.weight", l);
        for (int i = 0; i < H * TAPS; i++)
            t->taps[l][i] = 0.6f * sinf(1.7f * (float)(i + 31 * l));
        ADD_F32(t->w, name, t->taps[l], H, 1, TAPS);
    }
    for (int i = 0; i < TOKENS * H; i++)
        t->x[i] = sinf(0.9f * (float)i);
    assert_ok(rlx_flow_create("states", &t->flow));
    rlx_flow_input(t->flow, "x", RLX_F32, 2,
                   (const int64_t[]){rlx_flow_symbol(t->flow, "TOKENS"), H});
    rlx_flow_repeat_layers(t->flow, LAYERS, record_layer, NULL);
    rlx_flow_output(t->flow, "y");
    t->exe = compile(t, t->w);
}

static void close_world(world *t)
{
    rlx_executable_destroy(t->exe);
    rlx_flow_destroy(t->flow);
    rlx_weights_destroy(t->w);
    rlx_context_destroy(t->cx);
}

static rlx_session *open_session(const world *t)
{
    rlx_session *s;
    assert_ok(rlx_session_create(t->cx, &(rlx_session_options){.max_sequences = SEQS}, &s));
    return s;
}

static rlx_status try_step(rlx_executable *e, rlx_session *s, int n, const int32_t *of,
                           const float *x)
{
    const rlx_step_input in = {"x", x, sizeof *x * (size_t)(n * H)};
    return rlx_session_step(s, e, &(rlx_step){.tokens = n, .seq = of, .inputs = &in, .ninputs = 1});
}

/* n tokens at once; y f32[n,H]. */
static void step(world *t, rlx_session *s, int n, const int32_t *of, const float *x, float *y)
{
    rlx_tensor out;
    assert_ok(try_step(t->exe, s, n, of, x));
    assert_ok(rlx_session_output(s, "y", &out));
    ck_assert_uint_eq(out.bytes, sizeof *x * (size_t)(n * H));
    memcpy(y, out.data, out.bytes);
}

/* All tokens, `chunk` at a time. */
static void run(world *t, rlx_session *s, int chunk, float *y)
{
    for (int at = 0; at < TOKENS; at += chunk)
        step(t, s, TOKENS - at < chunk ? TOKENS - at : chunk, seq + at, t->x + at * H, y + at * H);
}

/* Every sequence by itself, a token at a time. */
static void run_alone(world *t, float *y)
{
    for (int q = 0; q < SEQS; q++) {
        rlx_session *s = open_session(t);
        for (int at = 0; at < TOKENS; at++)
            if (seq[at] == q)
                step(t, s, 1, (const int32_t[]){0}, t->x + at * H, y + at * H);
        rlx_session_destroy(s);
    }
}

START_TEST(bits_do_not_depend_on_steps)
{
    static float first[TOKENS * H], y[TOKENS * H];
    static const int chunks[] = {1, 5, TOKENS};
    for (int d = 0; d < NDEVICES; d++) {
        world t;
        open_world(&t, devices[d]);
        run_alone(&t, d ? y : first);
        for (int i = 0; i < TOKENS * H; i++)
            ck_assert(isfinite(first[i]) && first[i] != t.x[i]);
        if (d)
            ck_assert_msg(!memcmp(first, y, sizeof y), "%s has other bits", devices[d]);
        for (size_t c = 0; c < sizeof chunks / sizeof *chunks; c++) {
            rlx_session *s = open_session(&t);
            run(&t, s, chunks[c], y);
            ck_assert_msg(!memcmp(first, y, sizeof y), "%s in chunks of %d", devices[d], chunks[c]);
            rlx_session_reset(s);
            run(&t, s, TOKENS, y);
            ck_assert_mem_eq(first, y, sizeof y);
            rlx_session_destroy(s);
        }
        close_world(&t);
    }
}
END_TEST

START_TEST(sequences_are_forked_and_begun_anew)
{
    static float y[TOKENS * H], a[2 * H], b[H];
    static const int32_t both[] = {3, 0}, again[] = {1};
    world t;
    open_world(&t, "cpu");
    rlx_session *s = open_session(&t);
    run(&t, s, TOKENS, y);
    assert_ok(rlx_session_fork(s, 0, 3));
    memcpy(t.x + H, t.x, H * sizeof(float)); /* the same token for both */
    step(&t, s, 2, both, t.x, a);
    ck_assert_mem_eq(a, a + H, sizeof b);
    rlx_status st = rlx_session_rewind(s, 0, 2);
    ck_assert_int_eq(rlx_status_code(st), RLX_UNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(rlx_status_message(st), "keeps no past"));
    rlx_status_free(st);
    ck_assert_int_eq(rlx_session_past(s, 0), 5);
    assert_ok(rlx_session_rewind(s, 1, 0));
    step(&t, s, 1, again, t.x + 4 * H, b); /* its first token, again */
    ck_assert_mem_eq(b, y + 4 * H, sizeof b);
    rlx_session_destroy(s);
    close_world(&t);
}
END_TEST

START_TEST(sequences_are_saved)
{
    static float y[TOKENS * H], want[H], got[H];
    char path[] = "/tmp/rlx_states_XXXXXX";
    const int fd = mkstemp(path);
    world t;
    ck_assert_int_ge(fd, 0);
    close(fd);
    open_world(&t, "cpu");
    rlx_session *s = open_session(&t), *other = open_session(&t);
    run(&t, s, 5, y);
    assert_ok(rlx_session_save(s, 2, NULL, path));
    step(&t, s, 1, (const int32_t[]){2}, t.x, want);
    run(&t, other, TOKENS, y); /* states of its own, which go */
    assert_ok(rlx_session_restore(other, 1, NULL, path));
    step(&t, other, 1, (const int32_t[]){1}, t.x, got);
    ck_assert_mem_eq(want, got, sizeof got);
    unlink(path);
    rlx_session_destroy(other);
    rlx_session_destroy(s);
    close_world(&t);
}
END_TEST

/* ---- states that are too large for the first-level cache ----------------------------------------
 */

enum { DEEP = 64, WIDE = 160 };

/* Keys from the first features, values from the others; `user`: over axis 1, else of tokens. */
static rlx_value *build_wide(rlx_builder *b, rlx_value *x, void *user)
{
    const int n = user ? 2 : 1; /* axes in front */
    int64_t key[] = {0, 0, 0, 0}, value[] = {0, 0, 0, 0}, number[] = {0, 0, 0}, back[] = {0, 0, 0};
    for (int i = 0; i < n; i++)
        key[i] = value[i] = number[i] = back[i] = rlx_value_extent(x, i);
    key[n] = value[n] = number[n] = 1;
    key[n + 1] = DEEP;
    value[n + 1] = back[n] = WIDE;
    rlx_value *rate = rlx_build_sigmoid(b, rlx_build_slice(b, x, n, 1, 1, 1));
    rlx_delta_rule_spec spec = {
        .v = rlx_build_reshape(b, rlx_build_slice(b, x, n, DEEP, WIDE, 1), n + 2, value),
        .g = rlx_build_reshape(b, rlx_build_map1(b, RLX_MAP_NEG, rate), n + 1, number),
        .beta = rlx_build_reshape(b, rate, n + 1, number),
        .norm_eps = 1e-6};
    if (!user)
        spec.state = rlx_build_state(b, "memory", 3, (const int64_t[]){1, DEEP, WIDE});
    spec.q = spec.k = rlx_build_reshape(b, rlx_build_slice(b, x, n, 0, DEEP, 1), n + 2, key);
    return rlx_build_reshape(b, rlx_build_delta_rule(b, &spec, NULL), n + 1, back);
}

static void open_wide(world *t, const char *device, bool sequences)
{
    const int64_t features = DEEP + WIDE;
    *t = (world){.no_sequences = sequences};
    assert_ok(rlx_context_create(&(rlx_context_options){.device = device, .threads = 2}, &t->cx));
    assert_ok(rlx_weights_create(&t->w));
    assert_ok(rlx_flow_create("wide", &t->flow));
    const int64_t of_tokens[] = {rlx_flow_symbol(t->flow, "TOKENS"), features};
    const int64_t of_rows[] = {2, of_tokens[0], features};
    rlx_flow_input(t->flow, "x", RLX_F32, sequences ? 3 : 2, sequences ? of_rows : of_tokens);
    rlx_flow_custom(t->flow, "wide", build_wide, sequences ? t : NULL);
    rlx_flow_output(t->flow, "y");
    t->exe = compile(t, t->w);
}

/* Held states are in team memory: of a tile of columns all that the state has. */
static void check_held(const world *t)
{
    const rlx_compile_options options = options_of(t);
    char *lir, held[64];
    snprintf(held, sizeof held, " = alloc : team f32[1,%d,", DEEP);
    assert_ok(rlx_flow_inspect(t->cx, t->flow, t->w, &options, "lir", &lir));
    ck_assert_ptr_nonnull(strstr(lir, held));
    free(lir);
}

/* While steps of a sequence follow one another; the bits do not tell. _i: over an axis, or tokens of
 * several sequences. */
START_TEST(large_states_are_held)
{
    static float x[TOKENS * (DEEP + WIDE)], first[TOKENS * WIDE];
    static const char *const kinds[] = {"ref:mir", "cpu", "cpu:x86-64-v3", "ref:lir"};
    const rlx_step_input in = {"x", x, sizeof x};
    const rlx_tensor rows = {"x", RLX_F32, 3, {2, TOKENS / 2, DEEP + WIDE}, x, sizeof x};
    const rlx_step step = {.tokens = TOKENS, .seq = seq, .inputs = &in, .ninputs = 1};
    for (int i = 0; i < TOKENS * (DEEP + WIDE); i++)
        x[i] = sinf(0.7f * (float)i);
    for (int d = 0; d < NDEVICES; d++) {
        world t;
        rlx_tensor out;
        open_wide(&t, kinds[d], _i);
        if (d)
            check_held(&t);
        rlx_session *s = open_session(&t);
        for (int i = 0; i < 2; i++) { /* the second time states of the session are not zeros */
            assert_ok(_i ? rlx_executable_run(t.exe, s, &rows, 1)
                         : rlx_session_step(s, t.exe, &step));
            assert_ok(rlx_session_output(s, "y", &out));
        }
        ck_assert_uint_eq(out.bytes, sizeof first);
        if (!d)
            memcpy(first, out.data, out.bytes);
        ck_assert_msg(!memcmp(first, out.data, out.bytes), "%s has other bits", kinds[d]);
        rlx_session_destroy(s);
        close_world(&t);
    }
}
END_TEST

/* ---- a step that fails half way -----------------------------------------------------------------
 */

/* Somebody shortens the weights' file while a sequence is decoded: the step's states are of zeros
 * in part. Its sequences begin anew, and only they. */
START_TEST(a_failed_step_begins_its_sequences_anew)
{
    static float y[TOKENS * H], again[H];
    char path[] = "/tmp/rlx_states_XXXXXX.safetensors";
    world t;
    const int fd = mkstemps(path, 12);
    ck_assert_int_ge(fd, 0);
    close(fd);
    assert_ok(rlx_guard_files());
    open_world(&t, "cpu");
    run_alone(&t, y);
    rlx_tensor tensors[LAYERS];
    for (int l = 0; l < LAYERS; l++)
        tensors[l] = *rlx_weights_at(t.w, l);
    rlx_weights *file;
    assert_ok(rlx_safetensors_write(path, tensors, LAYERS, NULL));
    assert_ok(rlx_weights_create(&file));
    assert_ok(rlx_weights_add_safetensors(file, path));
    rlx_executable *of_file = compile(&t, file);
    rlx_session *s = open_session(&t);
    assert_ok(try_step(of_file, s, 5, seq, t.x));
    ck_assert_int_eq(truncate(path, 0), 0);
    rlx_status st = try_step(of_file, s, 2, seq + 5, t.x + 5 * H); /* of sequences 0 and 2 */
    char *story = rlx_status_text(st);
    ck_assert_int_eq(rlx_status_code(st), RLX_IO);
    ck_assert_ptr_nonnull(strstr(story, "was made shorter while it was read"));
    ck_assert_ptr_nonnull(strstr(story, "the step's sequences begin anew"));
    free(story);
    rlx_status_free(st);
    ck_assert_int_eq(rlx_session_past(s, 0), 0);
    ck_assert_int_eq(rlx_session_past(s, 2), 0);
    ck_assert_int_eq(rlx_session_past(s, 1), 1);
    for (int at = 0; at < TOKENS; at++) /* sequence 1 goes on, the others from their start */
        if (seq[at] != 1 || at > 5) {
            step(&t, s, 1, seq + at, t.x + at * H, again);
            ck_assert_msg(!memcmp(again, y + at * H, sizeof again), "token %d", at);
        }
    unlink(path);
    rlx_session_destroy(s);
    rlx_executable_destroy(of_file);
    rlx_weights_destroy(file);
    close_world(&t);
}
END_TEST

/* ---- errors ------------------------------------------------------------------------------------
 */

static const struct {
    const char *name, *message;
} wrong_states[] = {
    {"kv.k", "a state needs a name that is not \"kv...\""},
    {"", "a state needs a name that is not \"kv...\""},
    {"memory.{}", "state \"memory.{}\" has {} outside of a layer"},
};
enum { NWRONG = sizeof wrong_states / sizeof *wrong_states };

static rlx_value *build_wrong(rlx_builder *b, rlx_value *x, void *user)
{
    rlx_value *w = rlx_build_weight(b, "layers.0.conv.weight");
    rlx_value *s = rlx_build_state(b, user, 2, (const int64_t[]){TAPS - 1, H});
    return rlx_build_short_conv(b, x, w, NULL, s, NULL);
}

START_TEST(wrong_states_are_named)
{
    world t;
    rlx_flow *f;
    rlx_executable *exe;
    open_world(&t, "ref:mir");
    assert_ok(rlx_flow_create("wrong", &f));
    rlx_flow_input(f, "x", RLX_F32, 2, (const int64_t[]){rlx_flow_symbol(f, "TOKENS"), H});
    rlx_flow_custom(f, "bad", build_wrong, (void *)wrong_states[_i].name);
    rlx_flow_output(f, "y");
    const rlx_bucket bucket = {"TOKENS", TOKENS};
    rlx_status st = rlx_flow_compile(
        t.cx, f, t.w, &(rlx_compile_options){.buckets = &bucket, .nbuckets = 1}, NULL, &exe);
    ck_assert_ptr_nonnull(st);
    ck_assert_str_eq(rlx_status_message(st), wrong_states[_i].message);
    rlx_status_free(st);
    rlx_flow_destroy(f);
    close_world(&t);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("states");
    TCase *c = tcase_create("sequences");
    tcase_set_timeout(c, 60);
    tcase_add_test(c, bits_do_not_depend_on_steps);
    tcase_add_test(c, sequences_are_forked_and_begun_anew);
    tcase_add_test(c, sequences_are_saved);
    tcase_add_loop_test(c, large_states_are_held, 0, 2);
    tcase_add_test(c, a_failed_step_begins_its_sequences_anew);
    tcase_add_loop_test(c, wrong_states_are_named, 0, NWRONG);
    suite_add_tcase(s, c);
    return run_suite(s, 6 + NWRONG);
}
