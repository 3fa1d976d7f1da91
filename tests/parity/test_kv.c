/* tests/parity/test_kv.c: keys and values kept in every format. The bundled model over two pages:
 * the same bits by every way, f32 those of no option. Fixtures: expected logits within a bound. With
 * "vulkan": on such a device.
 *
 * The bound. A format keeps an element within `step` of itself (f16 2^-11, bf16 2^-8; q8_0 half a
 * code of the largest of 32, and its scale in f16: 1/254 + 2^-11, as if every element were the
 * largest). With keys off by `step` a score is off by step * |q||k|, taken as 4 * step, a weight by
 * twice that, relative; values are off by one step more: 9 steps of attention's output, which a
 * layer adds to its residual stream. So layers * 9 * step of the logits' scale. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/parity/parity.h"

#define BUNDLED RLX_SOURCE_DIR "/models/bundled"
#define FIXTURES RLX_SHARED_DIR "/fixtures/"

enum { S = 300, V = 1024, LAYERS = 6 };

typedef struct types {
    const char *keys, *values;
    double step; /* the worse of the two */
} types;
static const types all[] = {
    {"f16", "f16", 0x1p-11},
    {"bf16", "bf16", 0x1p-8},
    {"q8_0", "q8_0", 1.0 / 254 + 0x1p-11},
    {"f16", "q8_0", 1.0 / 254 + 0x1p-11},
    {"q8_0", "f32", 1.0 / 254 + 0x1p-11},
};
enum { TYPES = sizeof all / sizeof *all };

static double bound(const types *t, int layers, double scale)
{
    return layers * 9 * t->step * scale;
}

static double largest(const float *x, int64_t n)
{
    double most = 0;
    for (int64_t i = 0; i < n; i++)
        most = fmax(most, fabs((double)x[i]));
    return most;
}

/* ---- the bundled model by many ways */

static char inputs[] = "/tmp/rlx-kv-XXXXXX";

static void write_inputs(void)
{
    static int64_t ids[S];
    for (int i = 0; i < S; i++)
        ids[i] = (i * 397 + i * i % 31) % V;
    int fd = mkstemp(inputs);
    ck_assert_int_ge(fd, 0);
    close(fd);
    const rlx_tensor input = {"input_ids", RLX_I64, 2, {1, S}, ids, sizeof ids};
    parity_must(rlx_safetensors_write(inputs, &input, 1, NULL));
}

static void remove_inputs(void)
{
    unlink(inputs);
}

typedef struct way {
    const char *device, *threads, *decode_from;
} way;
static const way ways[] = {{"cpu", "2", NULL},
                           {"ref:mir", "1", "297"},
                           {"cpu", "1", "250"},
                           {"cpu:x86-64-v3", "2", "290"}};
enum { WAYS = sizeof ways / sizeof *ways };

static rlx_weights *run_bundled(const char *keys, const char *values, const way *how)
{
    return parity_eval(&(parity_way){.model = BUNDLED,
                                     .inputs = inputs,
                                     .device = how->device,
                                     .threads = how->threads,
                                     .decode_from = how->decode_from,
                                     .type_k = keys,
                                     .type_v = values});
}

static const float *logits_of(const rlx_weights *w)
{
    const rlx_tensor *t = parity_need(w, "logits");
    ck_assert_uint_eq(t->bytes, S * V * sizeof(float));
    return t->data;
}

#ifdef __SANITIZE_ADDRESS__
enum { SANITIZED = 1 }; /* takes minutes: one pair of formats stands for all */
#else
enum { SANITIZED = 0 };
#endif

/* Other bits than those of f32, and near. */
static void expect_near_exact(const types *t, const rlx_weights *w)
{
    rlx_weights *exact = run_bundled(NULL, NULL, &ways[0]);
    double d = parity_distance(logits_of(w), logits_of(exact), S * V);
    double most = bound(t, LAYERS, largest(logits_of(exact), S * V));
    printf("keys %s, values %s: logits off by %.2g, at most %.2g\n", t->keys, t->values, d, most);
    ck_assert_msg(d > 0 && d <= most, "keys %s, values %s: off by %g, bound %g", t->keys, t->values,
                  d, most);
    rlx_weights_destroy(exact);
}

START_TEST(same_bits_by_every_way)
{
    const types *t = &all[_i];
    if (SANITIZED && _i != TYPES - 2)
        return;
    rlx_weights *first = run_bundled(t->keys, t->values, &ways[0]);
    for (int i = 1; i < WAYS; i++) {
        rlx_weights *w = run_bundled(t->keys, t->values, &ways[i]);
        ck_assert_msg(memcmp(logits_of(first), logits_of(w), S * V * sizeof(float)) == 0,
                      "keys %s, values %s: way %d differs", t->keys, t->values, i);
        rlx_weights_destroy(w);
    }
    expect_near_exact(t, first);
    rlx_weights_destroy(first);
}
END_TEST

/* Behind a prompt of more than a page, tokens one by one; of one pair of formats, the same bits in
 * one piece. A software device takes seven seconds for each. */
START_TEST(devices_keep_every_format)
{
    const types *t = &all[_i];
    const way parts = {chosen_device, NULL, "295"}, whole = {.device = chosen_device};
    rlx_weights *w = run_bundled(t->keys, t->values, &parts);
    expect_near_exact(t, w);
    if (_i == TYPES - 2) {
        rlx_weights *first = run_bundled(t->keys, t->values, &whole);
        ck_assert_int_eq(memcmp(logits_of(first), logits_of(w), S * V * sizeof(float)), 0);
        rlx_weights_destroy(first);
    }
    rlx_weights_destroy(w);
}
END_TEST

START_TEST(f32_is_the_default)
{
    rlx_weights *a = run_bundled(NULL, NULL, &ways[0]), *b = run_bundled("f32", "f32", &ways[0]);
    ck_assert_int_eq(memcmp(logits_of(a), logits_of(b), S * V * sizeof(float)), 0);
    rlx_weights_destroy(a);
    rlx_weights_destroy(b);
}
END_TEST

/* Sequences stepped together have the bits that each has alone. */
START_TEST(same_bits_in_a_batch)
{
    enum { T = 6 };
    static const int32_t ids[T] = {0, 300, 301, 7, 500, 9}, seqs[T] = {0, 1, 0, 1, 0, 1};
    static const int32_t index[T] = {0, 1, 2, 3, 4, 5};
    static float batch[T * V], alone[V];
    rlx_context *cx;
    rlx_model *model;
    rlx_session *session;
    const rlx_model_options o = {
        .prefill = 4, .kv_key_format = RLX_Q8_0, .kv_value_format = RLX_F16};
    const rlx_session_options so = {.max_positions = 16, .max_sequences = 2};
    const rlx_model_batch b = {T, ids, seqs, NULL, T, index};
    parity_must(rlx_context_create(&(rlx_context_options){.device = chosen_device}, &cx));
    parity_must(rlx_model_load(cx, BUNDLED, &o, &model));
    parity_must(rlx_session_create(cx, &so, &session));
    parity_must(rlx_model_step_batch(model, session, &b, batch));
    rlx_session_reset(session);
    for (int t = 0; t < T; t++) {
        parity_must(rlx_model_step(model, session, seqs[t], &ids[t], 1, 1, alone));
        ck_assert_int_eq(memcmp(alone, batch + t * V, sizeof alone), 0);
    }
    rlx_session_destroy(session);
    rlx_model_destroy(model);
    rlx_context_destroy(cx);
}
END_TEST

/* ---- fixtures */

static const struct {
    const char *name;
    int layers;
    bool whole_groups; /* heads of a multiple of 32 elements */
} fixtures[] = {{"llama32/rope_yarn_attn_beta", 2, true},
                {"qwen3/attn_bias_hd32", 2, true},
                {"mistral/no_window_hd", 2, false},
                {"qwen2/bias_tied_legacy", 3, false},
                {"smollm3/window_nope", 3, false}};
enum { CASES = sizeof fixtures / sizeof *fixtures };

static bool has_fixtures(void)
{
    return access(FIXTURES, R_OK) == 0;
}

static void compare_fixture(int i, const types *t, const char *decode_from)
{
    char path[2][600], model[512];
    snprintf(model, sizeof model, FIXTURES "%s", fixtures[i].name);
    snprintf(path[0], sizeof path[0], "%s/inputs.safetensors", model);
    snprintf(path[1], sizeof path[1], "%s/expected.safetensors", model);
    rlx_weights *expected = parity_open(path[1]);
    rlx_weights *w = parity_eval(&(parity_way){.model = model,
                                               .inputs = path[0],
                                               .device = chosen_device,
                                               .decode_from = decode_from,
                                               .type_k = t->keys,
                                               .type_v = t->values});
    const rlx_tensor *got = parity_need(w, "logits"), *want = parity_need(expected, "logits");
    const int64_t n = (int64_t)(want->bytes / sizeof(float));
    ck_assert_uint_eq(got->bytes, want->bytes);
    double d = parity_distance(got->data, want->data, n);
    double most = bound(t, fixtures[i].layers, largest(want->data, n));
    ck_assert_msg(d <= most, "%s, keys %s, values %s: off by %g, bound %g", fixtures[i].name,
                  t->keys, t->values, d, most);
    rlx_weights_destroy(w);
    rlx_weights_destroy(expected);
}

START_TEST(fixtures_within_the_bound)
{
    for (int k = 0; k < TYPES; k++) {
        bool groups = strcmp(all[k].keys, "q8_0") == 0 || strcmp(all[k].values, "q8_0") == 0;
        if (groups && !fixtures[_i].whole_groups)
            continue;
        compare_fixture(_i, &all[k], NULL);
        compare_fixture(_i, &all[k], "3");
    }
}
END_TEST

/* Each of the formats in one of them. */
START_TEST(devices_are_within_the_bound)
{
    static const int which[CASES] = {3, 4, 0, 1, 0};
    compare_fixture(_i, &all[which[_i]], "3");
}
END_TEST

/* Heads of 12 elements have no groups of 32. */
START_TEST(refuses_odd_heads)
{
    static const rlx_model_options options[] = {
        {.kv_key_format = RLX_Q8_0}, {.kv_value_format = RLX_Q8_0}, {.kv_key_format = RLX_Q4_0}};
    static const char *const words[] = {"keys of 12 elements per head cannot be kept as q8_0",
                                        "values of 12 elements per head cannot be kept as q8_0",
                                        "pages hold no keys as q4_0"};
    rlx_context *cx;
    parity_must(rlx_context_create(&(rlx_context_options){.device = chosen_device}, &cx));
    for (int i = 0; i < 3; i++) {
        rlx_model *model;
        rlx_status st = rlx_model_load(cx, FIXTURES "llama32/bf16_sharded", &options[i], &model);
        char *text = st ? rlx_status_text(st) : NULL;
        ck_assert_msg(text && strstr(text, words[i]), "%s does not say %s", text ? text : "success",
                      words[i]);
        if (i < 2)
            ck_assert_msg(strstr(text, "layer 0") != NULL, "%s names no layer", text);
        free(text);
        rlx_status_free(st);
    }
    rlx_context_destroy(cx);
}
END_TEST

static void add_tests(TCase *c)
{
    if (chosen_device) {
        tcase_add_loop_test(c, devices_keep_every_format, 0, TYPES);
    } else {
        tcase_add_loop_test(c, same_bits_by_every_way, 0, TYPES);
        tcase_add_test(c, f32_is_the_default);
    }
    tcase_add_test(c, same_bits_in_a_batch);
    if (has_fixtures()) {
        tcase_add_loop_test(
            c, chosen_device ? devices_are_within_the_bound : fixtures_within_the_bound, 0, CASES);
        tcase_add_test(c, refuses_odd_heads);
    } else {
        printf("skipped: %s is not there\n", FIXTURES);
    }
}

int main(int argc, char **argv)
{
    if (!chosen_begin(argc, argv))
        return CHOSEN_SKIPPED;
    Suite *s = suite_create("parity_kv");
    TCase *c = tcase_create("parity_kv");
    tcase_set_timeout(c, chosen_device ? 0 : 120); /* a software device compiles for long */
    tcase_add_unchecked_fixture(c, write_inputs, remove_inputs);
    add_tests(c);
    suite_add_tcase(s, c);
    return parity_run(s, TYPES + 1 + !chosen_device + (has_fixtures() ? CASES + 1 : 0));
}
