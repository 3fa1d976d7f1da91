/* tests/frontend/test_tuning.c: how kernels are made changes no bit of a model: every fusion, and
 * schedules for other machines; what is missed of fusion is named. */
#include <stdio.h>

#include "frontend/rlx.h"
#include "tests/base/suite.h"

#define MODEL RLX_SOURCE_DIR "/models/bundled"
enum { TOKENS = 6 };

static const struct {
    const char *name;
    rlx_tuning tuning;
    int more; /* kernels than by default: 1; as many: 0; any number: -1 */
} ways[] = {
    {"full", {0}, 0},
    {"blocks", {.fusion = RLX_FUSION_BLOCKS}, 1},
    {"none", {.fusion = RLX_FUSION_NONE}, 1},
    {"single maps", {.unfuse_maps = true}, -1},
    {"small caches", {.l1_bytes = 4096, .l2_bytes = 16384}, -1},
    {"many teams", {.teams = 64}, -1},
};
enum { NWAYS = sizeof ways / sizeof *ways };

static rlx_status load(rlx_context *cx, const rlx_tuning *t, rlx_model **out)
{
    return rlx_model_load(cx, MODEL, &(rlx_model_options){.tuning = *t, .prefill = 8}, out);
}

/* Prefill, and a token after it. Returns the kernels. */
static int run(const char *device, const rlx_tuning *t, float **logits, int64_t *width)
{
    static const int32_t ids[TOKENS] = {1, 7, 5, 9, 3, 11};
    rlx_context *cx;
    rlx_model *m;
    rlx_session *s;
    rlx_model_info info;
    assert_ok(rlx_context_create(&(rlx_context_options){.device = device, .threads = 1}, &cx));
    assert_ok(load(cx, t, &m));
    assert_ok(rlx_session_create(cx, &(rlx_session_options){.max_positions = 64}, &s));
    rlx_model_get_info(m, &info);
    *width = info.width;
    *logits = malloc(sizeof(float) * (size_t)(TOKENS * info.width));
    assert_ok(rlx_model_step(m, s, 0, ids, TOKENS - 1, TOKENS - 1, *logits));
    assert_ok(rlx_model_step(m, s, 0, ids + TOKENS - 1, 1, 1, *logits + (TOKENS - 1) * info.width));
    rlx_session_destroy(s);
    rlx_model_destroy(m);
    rlx_context_destroy(cx);
    return info.kernels;
}

START_TEST(changes_no_bit)
{
    float *want;
    int64_t width;
    const int usual = run("cpu", &ways[0].tuning, &want, &width);
    for (int i = 1; i < NWAYS; i++) {
        float *got;
        const int kernels = run("cpu", &ways[i].tuning, &got, &width);
        ck_assert_msg(!memcmp(want, got, sizeof(float) * (size_t)(TOKENS * width)),
                      "%s: other bits", ways[i].name);
        if (ways[i].more >= 0)
            ck_assert_msg((kernels > usual) == ways[i].more, "%s: %d kernels, usually %d",
                          ways[i].name, kernels, usual);
        free(got);
    }
    free(want);
}
END_TEST

static void keep(void *user, rlx_log_level level, const char *message)
{
    if (level <= RLX_LOG_WARNING && strstr(message, "fusion\n@layer_0"))
        ++*(int *)user;
}

START_TEST(says_what_it_is_asked)
{
    rlx_context *cx;
    rlx_model *m;
    int reports = 0;
    assert_ok(rlx_context_create(
        &(rlx_context_options){.threads = 1, .log = keep, .log_user = &reports}, &cx));
    assert_error(load(cx, &(rlx_tuning){.assert_clean = true, .fusion = RLX_FUSION_NONE}, &m),
                 RLX_UNSUPPORTED, "fusion missed: f32[");
    assert_error(load(cx, &(rlx_tuning){.teams = -1}, &m), RLX_INVALID_ARGUMENT,
                 "tuning: fusion 0, l1_bytes 0, l2_bytes 0, teams -1");
    assert_ok(load(cx, &(rlx_tuning){.assert_clean = true, .verbose = true}, &m));
    ck_assert_int_eq(reports, 1); /* the bucket that decodes */
    rlx_session *s;
    assert_ok(rlx_session_create(cx, NULL, &s));
    assert_ok(rlx_model_step(m, s, 0, (const int32_t[]){1, 7}, 2, 0, NULL));
    ck_assert_int_eq(reports, 2); /* and the one of prompts */
    rlx_session_destroy(s);
    rlx_model_destroy(m);
    rlx_context_destroy(cx);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("tuning");
    TCase *c = tcase_create("tuning");
    tcase_set_timeout(c, 60);
    tcase_add_test(c, changes_no_bit);
    tcase_add_test(c, says_what_it_is_asked);
    suite_add_tcase(s, c);
    return run_suite(s, 2);
}
