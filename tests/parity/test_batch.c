/* tests/parity/test_batch.c: rlx_model_step_batch on the bundled model: sequences stepped together,
 * in chunks and interleaved, give the bits that each gives alone; what is wrong is refused before
 * anything is appended. With "vulkan": on such a device. */
#include <stdlib.h>
#include <string.h>

#include "tests/parity/parity.h"

enum { T = 11, V = 1024, SEQS = 3 };
static const int32_t ids[T] = {0, 300, 301, 0, 7, 500, 9, 11, 42, 900, 1};
static const int32_t seqs[T] = {0, 2, 0, 1, 2, 0, 0, 1, 2, 2, 0};

static rlx_context *cx;
static rlx_model *model;
static rlx_session *session;

static void set_up(void)
{
    const rlx_model_options o = {.prefill = 4}; /* three chunks */
    parity_must(rlx_context_create(&(rlx_context_options){.device = chosen_device}, &cx));
    parity_must(rlx_model_load(cx, RLX_SOURCE_DIR "/models/bundled", &o, &model));
    parity_must(rlx_session_create(
        cx, &(rlx_session_options){.max_positions = 16, .max_sequences = SEQS}, &session));
}

static void tear_down(void)
{
    rlx_session_destroy(session);
    rlx_model_destroy(model);
    rlx_context_destroy(cx);
}

static void check_rows(const int32_t *index, int rows)
{
    float *batch = malloc((size_t)rows * V * sizeof *batch), *alone = malloc(V * sizeof *alone);
    rlx_model_batch b = {.tokens = T, .ids = ids, .seq = seqs, .rows = rows, .row_index = index};
    parity_must(rlx_model_step_batch(model, session, &b, batch));
    ck_assert_int_eq(rlx_session_past(session, 0), 5);
    ck_assert_int_eq(rlx_session_past(session, 1), 2);
    ck_assert_int_eq(rlx_session_past(session, 2), 4);
    rlx_session_reset(session);
    for (int t = 0, row = 0; t < T; t++) {
        parity_must(rlx_model_step(model, session, seqs[t], &ids[t], 1, 1, alone));
        if (row < rows && t == index[row])
            ck_assert_int_eq(memcmp(alone, batch + row++ * V, V * sizeof *alone), 0);
    }
    free(batch);
    free(alone);
}

START_TEST(a_batch_is_its_sequences)
{
    static const int32_t some[] = {1, 3, 4, 8, 10}, every[T] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
    check_rows(some, sizeof some / sizeof *some);
    rlx_session_reset(session);
    check_rows(every, T);
}
END_TEST

static void refused(const rlx_model_batch *b, rlx_code code, const char *word)
{
    float out[1];
    rlx_status st = rlx_model_step_batch(model, session, b, out);
    ck_assert_ptr_nonnull(st);
    char *text = rlx_status_text(st);
    ck_assert_msg(rlx_status_code(st) == code && strstr(text, word), "%s does not say %s", text,
                  word);
    free(text);
    rlx_status_free(st);
    for (int q = 0; q < SEQS; q++)
        ck_assert_int_eq(rlx_session_past(session, q), 0);
}

START_TEST(refuses)
{
    static const int32_t unordered[] = {3, 2}, far[] = {T}, big[] = {0, 1024}, two[] = {0, 0};
    static const int32_t many[17] = {0}, other[] = {0, SEQS};
    refused(&(rlx_model_batch){.ids = ids, .seq = seqs}, RLX_INVALID_ARGUMENT, "0 tokens");
    refused(&(rlx_model_batch){T, ids, seqs, NULL, 2, unordered}, RLX_INVALID_ARGUMENT, "row 1");
    refused(&(rlx_model_batch){T, ids, seqs, NULL, 1, far}, RLX_INVALID_ARGUMENT, "row 0");
    refused(&(rlx_model_batch){2, big, two, NULL, 0, NULL}, RLX_INVALID_ARGUMENT, "id 1024");
    refused(&(rlx_model_batch){17, many, many, NULL, 0, NULL}, RLX_EXHAUSTED, "sequence 0");
    refused(&(rlx_model_batch){2, ids, other, NULL, 0, NULL}, RLX_INVALID_ARGUMENT, "sequence");
}
END_TEST

int main(int argc, char **argv)
{
    if (!chosen_begin(argc, argv))
        return CHOSEN_SKIPPED;
    Suite *s = suite_create("parity_batch");
    TCase *c = tcase_create("parity_batch");
    tcase_set_timeout(c, chosen_device ? 0 : 60); /* a software device compiles for long */
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_add_test(c, a_batch_is_its_sequences);
    tcase_add_test(c, refuses);
    suite_add_tcase(s, c);
    return parity_run(s, 2);
}
