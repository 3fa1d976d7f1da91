/* Sessions as programs use them: forks, going back, windows, threads and cancelling, always held
 * against the bits of a session that only ever went forward. */
#include <check.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "frontend/rlx.h"
#include "runtime/session.h"

enum { VOCAB_MAX = 4096, PROMPT = 300, MORE = 12 };

static rlx_context *cx;
static rlx_model *model;
static rlx_model_info info;

static void must(rlx_status st)
{
    if (st)
        ck_abort_msg("%s", rlx_status_text(st));
}

static void must_fail(rlx_status st, rlx_code code, const char *part)
{
    char *text = rlx_status_text(st);
    ck_assert_msg(rlx_status_code(st) == code && text && strstr(text, part),
                  "expected \"%s\", got %s", part, text ? text : "success");
    free(text);
    rlx_status_free(st);
}

static rlx_session *make_session(int64_t positions, int sequences)
{
    rlx_session *s;
    must(rlx_session_create(
        cx, &(rlx_session_options){.max_positions = positions, .max_sequences = sequences}, &s));
    return s;
}

static void load_bundled(void)
{
    must(rlx_context_create(NULL, &cx));
    must(rlx_model_load(cx, RLX_SOURCE_DIR "/models/bundled",
                        &(rlx_model_options){.max_positions = 1024, .any_length = true}, &model));
    rlx_model_get_info(model, &info);
    ck_assert_int_le(info.width, VOCAB_MAX);
}

static void unload(void)
{
    rlx_model_destroy(model);
    rlx_context_destroy(cx);
}

/* Token i of text `which`. */
static int32_t token(int which, int64_t i)
{
    return (int32_t)((which * 7919 + i * 104729 + i * i % 61) % info.vocab);
}

/* Tokens from .. to - 1 of a text; the output of the last one. */
static void say(rlx_session *s, int seq, int which, int64_t from, int64_t to, float *out)
{
    int32_t ids[1024];
    ck_assert_int_le(to - from, 1024);
    for (int64_t i = from; i < to; i++)
        ids[i - from] = token(which, i);
    must(rlx_model_step(model, s, seq, ids, to - from, 1, out));
}

/* What a session that holds PROMPT tokens of text `first`, and then goes on with text `second`,
 * must give. */
static void reference(int first, int second, int64_t prompt, int64_t more, float *out)
{
    rlx_session *s = make_session(1024, 1);
    if (prompt)
        say(s, 0, first, 0, prompt, out);
    say(s, 0, second, prompt, prompt + more, out);
    rlx_session_destroy(s);
}

#define EXPECT_BITS(a, b) ck_assert_mem_eq((a), (b), sizeof(float) * (size_t)info.width)

/* ---- forks and going back */

START_TEST(forks_go_their_ways)
{
    float got[VOCAB_MAX], want[VOCAB_MAX];
    rlx_session *s = make_session(1024, 4);
    say(s, 2, 0, 0, PROMPT, got);
    for (int q = 0; q < 4; q++)
        if (q != 2)
            must(rlx_session_fork(s, 2, q));
    for (int64_t i = PROMPT; i < PROMPT + MORE; i++)
        for (int q = 0; q < 4; q++)
            say(s, q, q + 1, i, i + 1, got);
    for (int q = 0; q < 4; q++) { /* once more, in one piece, from where the prompt ended */
        must(rlx_session_rewind(s, q, PROMPT));
        say(s, q, q + 1, PROMPT, PROMPT + MORE, got);
        reference(0, q + 1, PROMPT, MORE, want);
        EXPECT_BITS(got, want);
    }
    must(rlx_session_rewind(s, 0, 0)); /* free, and in use again */
    say(s, 0, 9, 0, 40, got);
    reference(0, 9, 0, 40, want);
    EXPECT_BITS(got, want);
    must_fail(rlx_session_fork(s, 0, 4), RLX_INVALID_ARGUMENT, "sequence 4");
    must_fail(rlx_session_rewind(s, 0, 41), RLX_INVALID_ARGUMENT, "from 40 positions to 41");
    rlx_session_destroy(s);
}
END_TEST

/* In the last of many tokens, too: none of them is appended. */
START_TEST(wrong_sequences_append_nothing)
{
    int32_t ids[300], seq[300] = {0};
    for (int i = 0; i < 300; i++)
        ids[i] = token(0, i);
    seq[299] = 2;
    rlx_session *s = make_session(1024, 2);
    const rlx_model_batch batch = {.tokens = 300, .ids = ids, .seq = seq};
    must_fail(rlx_model_step_batch(model, s, &batch, NULL), RLX_INVALID_ARGUMENT,
              "sequence 2, the session has 2");
    must_fail(rlx_model_step(model, s, -1, ids, 300, 0, NULL), RLX_INVALID_ARGUMENT, "sequence -1");
    seq[299] = 1;
    ids[299] = -1;
    must_fail(rlx_model_step_batch(model, s, &batch, NULL), RLX_INVALID_ARGUMENT,
              "token 299 has id -1");
    ck_assert_int_eq(rlx_session_past(s, 0), 0);
    rlx_session_destroy(s);
}
END_TEST

/* ---- files */

#define SAVED "test_sessions.rlx"

START_TEST(sequences_outlive_sessions)
{
    float got[VOCAB_MAX], want[VOCAB_MAX];
    rlx_session *s = make_session(1024, 2), *other = make_session(512, 3);
    say(s, 1, 0, 0, PROMPT, got);
    must(rlx_session_save(s, 1, model, SAVED));
    rlx_session_destroy(s);
    must(rlx_session_restore(other, 2, model, SAVED)); /* which has run nothing */
    ck_assert_int_eq(rlx_session_past(other, 2), PROMPT);
    say(other, 2, 1, PROMPT, PROMPT + MORE, got);
    reference(0, 1, PROMPT, MORE, want);
    EXPECT_BITS(got, want);
    must_fail(rlx_session_restore(other, 0, NULL, SAVED), RLX_INVALID_ARGUMENT,
              "it was saved with model 'llama, exact, 6");
    rlx_session_destroy(other);
}
END_TEST

/* A model of the same shape that was trained on: one weight is another. */
START_TEST(other_models_are_named)
{
    rlx_session *s = make_session(1024, 1);
    float got[VOCAB_MAX];
    say(s, 0, 0, 0, 20, got);
    must(rlx_session_save(s, 0, model, SAVED));
    const rlx_tensor *w = rlx_weights_at(rlx_model_weights(model), 3);
    rlx_tensor *writable = (rlx_tensor *)(uintptr_t)w, before = *w;
    unsigned char *bytes = malloc(w->bytes);
    memcpy(bytes, w->data, w->bytes);
    bytes[0] ^= 1;
    writable->data = bytes;
    must_fail(rlx_session_restore(s, 0, model, SAVED), RLX_INVALID_ARGUMENT,
              "this one is 'llama, exact, 6 layers of 192, ");
    *writable = before;
    must(rlx_session_restore(s, 0, model, SAVED));
    free(bytes);
    rlx_session_destroy(s);
    remove(SAVED);
}
END_TEST

/* ---- threads */

enum { THREADS = 4, STEPS = 24 };

typedef struct speaker {
    pthread_t thread;
    int which;
    rlx_status status;
    float out[VOCAB_MAX];
} speaker;

/* Asserts nothing: it runs on threads. */
static void *speak(void *user)
{
    speaker *p = user;
    rlx_session *s = NULL;
    int32_t ids[140];
    for (int i = 0; i < 140; i++)
        ids[i] = token(p->which, i);
    p->status = rlx_session_create(cx, &(rlx_session_options){.max_positions = 512}, &s);
    if (!p->status)
        p->status = rlx_model_step(model, s, 0, ids, 140 - STEPS, 0, NULL);
    for (int i = 140 - STEPS; i < 140 && !p->status; i++)
        p->status = rlx_model_step(model, s, 0, &ids[i], 1, 1, p->out);
    rlx_session_destroy(s);
    return NULL;
}

START_TEST(sessions_in_threads)
{
    static speaker p[THREADS];
    for (int i = 0; i < THREADS; i++) {
        p[i] = (speaker){.which = i};
        ck_assert_int_eq(pthread_create(&p[i].thread, NULL, speak, &p[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        float want[VOCAB_MAX];
        pthread_join(p[i].thread, NULL);
        must(p[i].status);
        reference(i, i, 100, 40, want);
        EXPECT_BITS(p[i].out, want);
    }
}
END_TEST

/* ---- cancelling */

static bool cancel_after(void *user, const char *utf8, size_t bytes)
{
    (void)utf8, (void)bytes;
    rlx_session_cancel(user);
    return true;
}

START_TEST(generating_is_cancelled)
{
    rlx_session *s = make_session(512, 1);
    rlx_generate_options o = {.prompt = "Once upon a time", .count = 100, .ignore_eos = true};
    rlx_generate_stats stats;
    must_fail(rlx_model_generate(model, s, &o, cancel_after, s, &stats), RLX_CANCELLED,
              "cancelled");
    ck_assert_int_gt(stats.new_tokens, 0);
    ck_assert_int_lt(stats.new_tokens, 20);
    ck_assert_int_eq(rlx_session_past(s, 0), stats.prompt_tokens + stats.new_tokens - 1);
    int64_t past = rlx_session_past(s, 0);
    float got[VOCAB_MAX], want[VOCAB_MAX];
    must(rlx_session_rewind(s, 0, 0)); /* and is as good as ever */
    say(s, 0, 3, 0, past, got);
    reference(3, 3, 0, past, want);
    EXPECT_BITS(got, want);
    rlx_session_destroy(s);
}
END_TEST

static void *cancel_soon(void *user)
{
    usleep(2000);
    rlx_session_cancel(user);
    return NULL;
}

/* Whenever it comes: whole chunks are appended, and the session goes on from there. */
START_TEST(prompts_are_cancelled)
{
    int32_t ids[1000];
    for (int i = 0; i < 1000; i++)
        ids[i] = token(5, i);
    rlx_session *s = make_session(1024, 1);
    rlx_session_cancel(s);
    must_fail(rlx_model_step(model, s, 0, ids, 1000, 0, NULL), RLX_CANCELLED, "cancelled");
    ck_assert_int_eq(rlx_session_past(s, 0), 0);
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, cancel_soon, s), 0);
    rlx_status st = rlx_model_step(model, s, 0, ids, 1000, 0, NULL);
    pthread_join(thread, NULL);
    ck_assert(!st || rlx_status_code(st) == RLX_CANCELLED);
    int64_t past = rlx_session_past(s, 0);
    ck_assert(st ? past < 1000 && past % info.prefill == 0 : past == 1000);
    rlx_status_free(st);
    if (past < 1000) {
        float got[VOCAB_MAX], want[VOCAB_MAX];
        say(s, 0, 5, past, 1000, got);
        reference(5, 5, 100, 900, want);
        EXPECT_BITS(got, want);
    }
    rlx_session_destroy(s);
}
END_TEST

/* ---- windows: a flow of two layers, by hand */

enum { HIDDEN = 32, HEADS = 4, DIM = 64, WINDOW = 300, POSITIONS = 4096, BUCKET = 1024 };
enum { PAGE_BYTES = HEADS * DIM * 256 * 4 }; /* of keys; of values as many */

static const int64_t windows[2][2] = {{WINDOW, WINDOW}, {WINDOW, 0}};

static void add_layer(rlx_flow *f, int64_t index, void *user)
{
    const int64_t *window = user;
    rlx_attention_spec a = {.q_key = "q.{}",
                            .k_key = "k.{}",
                            .v_key = "v.{}",
                            .heads = HEADS,
                            .kv_heads = HEADS,
                            .head_dim = DIM,
                            .window = window[index],
                            .no_rope = true};
    rlx_flow_residual_save(f);
    rlx_flow_self_attention(f, &a);
    rlx_flow_linear(f, "o.{}", NULL);
    rlx_flow_residual_add(f);
}

static rlx_executable *compile_layers(const int64_t *window, const rlx_weights *w, int64_t tokens)
{
    rlx_flow *f;
    rlx_executable *e;
    rlx_bucket bucket = {"TOKENS", tokens};
    rlx_compile_options o = {.buckets = &bucket, .nbuckets = 1};
    must(rlx_flow_create("layers", &f));
    int64_t dims[] = {rlx_flow_symbol(f, "TOKENS"), HIDDEN};
    rlx_flow_input(f, "x", RLX_F32, 2, dims);
    rlx_flow_repeat_layers(f, 2, add_layer, (void *)(uintptr_t)window);
    rlx_flow_output(f, "y");
    must(rlx_flow_compile(cx, f, w, &o, NULL, &e));
    rlx_flow_destroy(f);
    return e;
}

static float *add_weights(rlx_weights *w)
{
    static const char *const names[] = {"q.0", "k.0", "v.0", "o.0", "q.1", "k.1", "v.1", "o.1"};
    const int64_t inner = HEADS * DIM, each = inner * HIDDEN;
    float *data = malloc(sizeof(float) * 8 * (size_t)each);
    for (int64_t i = 0; i < 8 * each; i++)
        data[i] = sinf(0.37f * (float)i + (float)(i % 89)) * 0.1f;
    for (int i = 0; i < 8; i++) {
        bool out = names[i][0] == 'o';
        must(rlx_weights_add(w, &(rlx_tensor){.name = names[i],
                                              .format = RLX_F32,
                                              .rank = 2,
                                              .dim = {out ? HIDDEN : inner, out ? inner : HIDDEN},
                                              .data = data + i * each,
                                              .bytes = sizeof(float) * (size_t)each}));
    }
    return data;
}

static const float *run(rlx_session *s, rlx_executable *e, int64_t at, int64_t n)
{
    static float x[POSITIONS][HIDDEN];
    for (int64_t t = 0; t < n; t++)
        for (int i = 0; i < HIDDEN; i++)
            x[t][i] = sinf(0.11f * (float)(at + t) * (float)(i + 1));
    rlx_tensor y, in = {.name = "x",
                        .format = RLX_F32,
                        .rank = 2,
                        .dim = {n, HIDDEN},
                        .data = x,
                        .bytes = sizeof x[0] * (size_t)n};
    must(rlx_executable_run(e, s, &in, 1));
    must(rlx_session_output(s, "y", &y));
    return y.data;
}

/* Memory that there is of a state, as the system sees it. */
static int64_t resident(const rlx_session *s, const char *state)
{
    for (int i = 0; i < s->npools; i++) {
        const rlx_pool *pool = s->pools[i];
        if (strcmp(pool->name, state) != 0)
            continue;
        size_t page = (size_t)sysconf(_SC_PAGESIZE), n = (pool->bytes + page - 1) / page;
        unsigned char *in = malloc(n);
        int64_t bytes = 0;
        ck_assert_int_eq(mincore(pool->data, pool->bytes, in), 0);
        for (size_t k = 0; k < n; k++)
            bytes += in[k] & 1 ? (int64_t)page : 0;
        free(in);
        return bytes;
    }
    ck_abort_msg("no state %s", state);
    return 0;
}

START_TEST(windows_hold_what_they_see)
{
    rlx_weights *w;
    must(rlx_context_create(NULL, &cx));
    must(rlx_weights_create(&w));
    float *data = add_weights(w);
    const int64_t *window = windows[_i];
    rlx_executable *wide = compile_layers(window, w, BUCKET),
                   *narrow = compile_layers(window, w, 1);
    rlx_session *s = make_session(POSITIONS + 256, 2) /* no multiple of 2 MiB */,
                *fresh = make_session(POSITIONS, 1);
    int64_t past = 0;
    while (past < 700) /* a token at a time, then in pieces */
        run(s, narrow, past++, 1);
    for (int64_t n = 1; past + n + 1 < POSITIONS; past += n, n = 1 + n * 5 % 233)
        run(s, wide, past, n);
    const float *y = run(s, narrow, past, 1);
    const int64_t held = (2 + 2 + 1) * (int64_t)PAGE_BYTES; /* ceil(300 / 256) + 2, and a step's */
    ck_assert_int_le(resident(s, "kv.k.0"), held);
    ck_assert_int_le(resident(s, "kv.v.0"), held);
    if (window[1]) {
        ck_assert_int_le(resident(s, "kv.v.1"), held);
    } else { /* what is used of what two sequences may have */
        ck_assert_int_le(resident(s, "kv.k.1"), (int64_t)PAGE_BYTES * POSITIONS / 256);
        ck_assert_int_ge(resident(s, "kv.k.1"), (int64_t)PAGE_BYTES * (POSITIONS - 512) / 256);
    }
    float want[HIDDEN];
    memcpy(want, y, sizeof want);
    for (int64_t at = 0, n; at <= past; at += n) { /* the same by long steps */
        n = past + 1 - at < BUCKET ? past + 1 - at : BUCKET;
        y = run(fresh, wide, at, n) + (n - 1) * HIDDEN;
    }
    ck_assert_mem_eq(y, want, sizeof want);
    rlx_session_destroy(s);
    rlx_session_destroy(fresh);
    rlx_executable_destroy(wide);
    rlx_executable_destroy(narrow);
    rlx_weights_destroy(w);
    rlx_context_destroy(cx);
    free(data);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("sessions");
    TCase *c = tcase_create("bundled");
    tcase_set_timeout(c, 0);
    tcase_add_unchecked_fixture(c, load_bundled, unload);
    tcase_add_test(c, forks_go_their_ways);
    tcase_add_test(c, wrong_sequences_append_nothing);
    tcase_add_test(c, sequences_outlive_sessions);
    tcase_add_test(c, other_models_are_named);
    tcase_add_test(c, sessions_in_threads);
    tcase_add_test(c, generating_is_cancelled);
    tcase_add_test(c, prompts_are_cancelled);
    suite_add_tcase(s, c);
    c = tcase_create("windows");
    tcase_set_timeout(c, 0);
    tcase_add_loop_test(c, windows_hold_what_they_see, 0, 2);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_set_fork_status(r, CK_NOFORK); /* sanitizers see the end; threads are the test's own */
    srunner_run_all(r, CK_NORMAL);
    int ran = srunner_ntests_run(r), failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed > 0 || ran < 9;
}
