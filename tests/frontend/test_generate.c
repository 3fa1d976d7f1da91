/* tests/frontend/test_generate.c: rlx_model_generate on the bundled model: calls that follow each
 * other on one session, own sampling, what ends a text. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/rlx.h"

#define PROMPT "Once upon a time"

static rlx_context *cx;
static rlx_model *model;
static rlx_session *session;
static int64_t vocab;

static void must(rlx_status st)
{
    if (!st)
        return;
    char *text = rlx_status_text(st);
    ck_abort_msg("%s", text);
}

static void open_model(void)
{
    rlx_model_info info;
    must(rlx_context_create(NULL, &cx));
    must(rlx_model_load(cx, RLX_SOURCE_DIR "/models/bundled", NULL, &model));
    must(rlx_session_create(cx, &(rlx_session_options){.max_positions = 256}, &session));
    rlx_model_get_info(model, &info);
    vocab = info.vocab;
}

static void close_model(void)
{
    rlx_session_destroy(session);
    rlx_model_destroy(model);
    rlx_context_destroy(cx);
}

typedef struct text {
    char data[4096];
    size_t n;
    int pieces, most; /* pieces that came; how many are wanted, 0: all */
} text;

static bool keep(void *user, const char *utf8, size_t bytes)
{
    text *t = user;
    ck_assert_uint_lt(t->n + bytes, sizeof t->data);
    memcpy(t->data + t->n, utf8, bytes);
    t->n += bytes;
    return ++t->pieces != t->most;
}

static void generate(const rlx_generate_options *o, text *t, rlx_generate_stats *stats)
{
    must(rlx_model_generate(model, session, o, keep, t, stats));
}

/* Pieces of a text that are generated call by call are the text of one call. */
START_TEST(calls_follow_each_other)
{
    text whole = {0}, parts = {0};
    rlx_generate_stats stats;
    generate(&(rlx_generate_options){.prompt = PROMPT, .count = 12}, &whole, &stats);
    ck_assert_int_eq(rlx_session_past(session, 0), stats.prompt_tokens + 11);
    rlx_session_reset(session);
    generate(&(rlx_generate_options){.prompt = PROMPT, .count = 1}, &parts, &stats);
    ck_assert_int_eq(rlx_session_past(session, 0), stats.prompt_tokens);
    generate(&(rlx_generate_options){.count = 5}, &parts, &stats);
    ck_assert_int_eq(stats.prompt_tokens, 1); /* the token that was left */
    generate(&(rlx_generate_options){.prompt = "", .count = 6}, &parts, NULL);
    ck_assert_str_eq(parts.data, whole.data);
}
END_TEST

/* A second prompt stands behind all of the first text: as ids that are appended by hand. */
START_TEST(a_second_prompt)
{
    text first = {0}, again = {0}, by_hand = {0};
    const char *more = " The dog";
    generate(&(rlx_generate_options){.prompt = PROMPT, .count = 8}, &first, NULL);
    generate(&(rlx_generate_options){.prompt = more, .count = 8}, &again, NULL);
    rlx_session_reset(session);
    char prompt[4200];
    snprintf(prompt, sizeof prompt, PROMPT "%s%s", first.data, more);
    generate(&(rlx_generate_options){.prompt = prompt, .count = 8}, &by_hand, NULL);
    ck_assert_str_eq(again.data, by_hand.data);
}
END_TEST

/* Whatever else moves the sequence takes the token that was left away. */
START_TEST(a_step_forgets_what_was_left)
{
    text t = {0};
    rlx_generate_stats stats;
    int32_t *ids;
    int64_t n;
    generate(&(rlx_generate_options){.prompt = PROMPT, .count = 4}, &t, NULL);
    must(rlx_model_encode(model, " a", false, &ids, &n));
    must(rlx_model_step(model, session, 0, ids, n, 0, NULL));
    generate(&(rlx_generate_options){.prompt = " a", .count = 1}, &t, &stats);
    ck_assert_int_eq(stats.prompt_tokens, n);
    rlx_session_reset(session);
    rlx_status st = rlx_model_generate(
        model, session, &(rlx_generate_options){.prompt = "", .count = 1}, keep, &t, &stats);
    must(st); /* begins with bos, not with what was left */
    ck_assert_int_eq(stats.prompt_tokens, 1);
    free(ids);
}
END_TEST

/* ---- own sampling */

typedef struct chooser {
    int calls, most;
    int32_t instead; /* with `most` reached */
} chooser;

static int32_t choose(void *user, const float *logits, int64_t n)
{
    chooser *c = user;
    ck_assert_int_eq(n, vocab);
    if (c->most && ++c->calls > c->most)
        return c->instead;
    int32_t best = 0;
    for (int32_t i = 1; i < n; i++)
        best = logits[i] > logits[best] ? i : best;
    return best;
}

START_TEST(own_sampling)
{
    text greedy = {0}, own = {0}, ended = {0};
    rlx_generate_stats stats;
    chooser all = {0}, few = {.most = 3, .instead = -1}, wrong = {.most = 1};
    wrong.instead = (int32_t)vocab;
    generate(&(rlx_generate_options){.prompt = PROMPT, .count = 10, .sampling = &(rlx_sampling){0}},
             &greedy, NULL);
    rlx_session_reset(session);
    generate(
        &(rlx_generate_options){
            .prompt = PROMPT, .count = 10, .choose = choose, .choose_user = &all},
        &own, NULL);
    ck_assert_str_eq(own.data, greedy.data);
    rlx_session_reset(session);
    generate(
        &(rlx_generate_options){
            .prompt = PROMPT, .count = 10, .choose = choose, .choose_user = &few},
        &ended, &stats);
    ck_assert_int_eq(stats.new_tokens, 3);
    ck_assert_int_eq(strncmp(greedy.data, ended.data, ended.n), 0);
    rlx_session_reset(session);
    rlx_status st = rlx_model_generate(
        model, session,
        &(rlx_generate_options){.prompt = PROMPT, .choose = choose, .choose_user = &wrong}, keep,
        &own, NULL);
    ck_assert_int_eq(rlx_status_code(st), RLX_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(rlx_status_message(st), "choose"));
    rlx_status_free(st);
}
END_TEST

/* ---- ends */

START_TEST(ends)
{
    text t = {0}, stopped = {0}, few = {.most = 2};
    static const char *const stops[] = {" little girl"};
    static const char *const empty[] = {""};
    rlx_generate_stats stats;
    generate(&(rlx_generate_options){.prompt = PROMPT, .count = 12}, &t, NULL);
    const char *at = strstr(t.data, stops[0]);
    ck_assert_msg(at, "%s", t.data);
    rlx_session_reset(session);
    generate(&(rlx_generate_options){.prompt = PROMPT, .count = 12, .stops = stops, .nstops = 1},
             &stopped, NULL);
    ck_assert_uint_eq(stopped.n, (size_t)(at - t.data));
    rlx_session_reset(session);
    generate(&(rlx_generate_options){.prompt = PROMPT, .count = 12}, &few, &stats);
    ck_assert_int_eq(few.pieces, 2);
    ck_assert_int_lt(stats.new_tokens, 12);
    rlx_session_reset(session);
    rlx_session_cancel(session);
    rlx_status st = rlx_model_generate(
        model, session, &(rlx_generate_options){.prompt = PROMPT, .count = 3}, keep, &t, NULL);
    ck_assert_int_eq(rlx_status_code(st), RLX_CANCELLED);
    rlx_status_free(st);
    st = rlx_model_generate(model, session,
                            &(rlx_generate_options){.prompt = PROMPT, .stops = empty, .nstops = 1},
                            keep, &t, NULL);
    ck_assert_int_eq(rlx_status_code(st), RLX_INVALID_ARGUMENT);
    rlx_status_free(st);
    st = rlx_model_generate(
        model, session,
        &(rlx_generate_options){.prompt = PROMPT, .sampling = &(rlx_sampling){.temperature = -1}},
        keep, &t, NULL);
    ck_assert_int_eq(rlx_status_code(st), RLX_INVALID_ARGUMENT);
    rlx_status_free(st);
}
END_TEST

START_TEST(the_models_own_sampling)
{
    rlx_sampling s;
    rlx_model_get_sampling(model, &s);
    ck_assert_double_eq(s.temperature, 0); /* its generation_config.json: do_sample false */
    ck_assert_int_eq(s.top_k, 40);
    ck_assert_double_eq(s.top_p, 0.95);
    ck_assert_double_eq(s.min_p, 0.05);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("generate");
    TCase *c = tcase_create("generate");
    tcase_set_timeout(c, 100);
    tcase_add_checked_fixture(c, open_model, close_model);
    tcase_add_test(c, calls_follow_each_other);
    tcase_add_test(c, a_second_prompt);
    tcase_add_test(c, a_step_forgets_what_was_left);
    tcase_add_test(c, own_sampling);
    tcase_add_test(c, ends);
    tcase_add_test(c, the_models_own_sampling);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int bad = srunner_ntests_failed(r) || srunner_ntests_run(r) < 6;
    srunner_free(r);
    return bad;
}
