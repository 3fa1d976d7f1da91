/* tests/tool/test_make_model.c: the models with random weights that are measured: every format
 * loads and gives logits of a sane size, prefill and decode alike. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "frontend/rlx.h"
#include "tests/tool/process.h"

#define MAKE_MODEL RLX_BINARY_DIR "/bin/make_model"

static const char *const formats[] = {"f32",    "f16",    "bf16", "q8_0",   "q4_0",
                                      "q4_k_m", "q5_k_m", "q6_k", "iq4_xs", "mxfp4"};
enum { NFORMATS = sizeof formats / sizeof *formats, TOKENS = 9, VOCAB = 512 };

static void good(rlx_status st)
{
    ck_assert_msg(!st, "%s", st ? rlx_status_message(st) : "");
}

static void make(const char *layers, const char *format, const char *path)
{
    process p;
    RUN(&p, MAKE_MODEL, "--layers", layers, "tiny", format, path);
    ck_assert_msg(p.code == 0, "%s", p.err);
    process_free(&p);
}

/* The standard deviation of logits; NaN for what is not finite. */
static double spread(const float *x, int n)
{
    double mean = 0, squares = 0;
    for (int i = 0; i < n; i++)
        mean += (double)x[i] / n;
    for (int i = 0; i < n; i++)
        squares += ((double)x[i] - mean) * ((double)x[i] - mean) / n;
    return sqrt(squares);
}

static void runs(const char *path, int layer_functions)
{
    rlx_context *cx;
    rlx_model *model;
    rlx_session *session;
    rlx_model_info info;
    float logits[VOCAB];
    int32_t ids[TOKENS];
    for (int i = 0; i < TOKENS; i++)
        ids[i] = i * 50;
    good(rlx_context_create(NULL, &cx));
    good(rlx_model_load(cx, path, &(rlx_model_options){.prefill = TOKENS}, &model));
    good(rlx_session_create(cx, &(rlx_session_options){.max_positions = 64}, &session));
    rlx_model_get_info(model, &info);
    ck_assert_int_eq(info.vocab, VOCAB);
    ck_assert_int_eq(info.layer_functions, layer_functions);
    for (int64_t n = TOKENS; n > 0; n -= TOKENS - 1) { /* a prompt, then one token */
        good(rlx_model_step(model, session, 0, ids, n, 1, logits));
        double s = spread(logits, VOCAB);
        ck_assert_msg(s > 0.1 && s < 10, "%s: logits spread by %g", path, s);
    }
    rlx_session_destroy(session);
    rlx_model_destroy(model);
    rlx_context_destroy(cx);
}

START_TEST(every_format_runs)
{
    const char *format = formats[_i];
    bool mixed = strstr(format, "_k_m") != NULL;
    char path[] = "/tmp/rlx-make-model-XXXXXX.gguf";
    int fd = mkstemps(path, 5);
    ck_assert_int_ge(fd, 0);
    close(fd);
    make("8", format, path); /* the first and last of which a mix keeps better */
    runs(path, mixed ? 2 : 1);
    unlink(path);
}
END_TEST

START_TEST(directories_and_refusals)
{
    char dir[] = "/tmp/rlx-make-model-XXXXXX", file[64];
    process p;
    ck_assert_ptr_nonnull(mkdtemp(dir));
    make("2", "bf16", dir);
    runs(dir, 1);
    RUN(&p, MAKE_MODEL, "tiny", "q6_k", dir);
    ck_assert_int_eq(p.code, 1);
    ck_assert(strstr(p.err, ".gguf"));
    process_free(&p);
    RUN(&p, MAKE_MODEL, "--layers", "0", "tiny", "f32", dir);
    ck_assert_int_eq(p.code, 2);
    process_free(&p);
    static const char *const files[] = {"config.json", "model.safetensors"};
    for (int i = 0; i < 2; i++) {
        snprintf(file, sizeof file, "%s/%s", dir, files[i]);
        ck_assert_int_eq(unlink(file), 0);
    }
    ck_assert_int_eq(rmdir(dir), 0);
}
END_TEST

/* bench/compare, with a program in place of llama-bench that says ten tokens a second. */
START_TEST(compares_with_a_peer)
{
    static const char script[] =
        "#!/bin/sh\n"
        "for n in '\"n_prompt\": 4, \"n_gen\": 0' '\"n_prompt\": 0, \"n_gen\": 2'; do\n"
        "    echo '{\"n_threads\": '$8', \"n_batch\": 1, '$n', \"n_depth\": 0, \"avg_ts\": 10.0, "
        "\"samples\": []}'\n"
        "done\n";
    char dir[] = "/tmp/rlx-compare-XXXXXX", peer[64], model[64];
    process p;
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(peer, sizeof peer, "%s/peer", dir);
    snprintf(model, sizeof model, "%s/tiny-q4_0.gguf", dir);
    FILE *f = fopen(peer, "w");
    ck_assert(f && fputs(script, f) >= 0 && !fclose(f) && !chmod(peer, 0755));
    RUN(&p, RLX_SOURCE_DIR "/bench/compare", "-r", "2", "-p", "4", "-n", "2", "-t", "1,2", peer,
        RLX_BINARY_DIR, dir, "tiny:q4_0");
    ck_assert_msg(p.code == 0, "%s", p.err);
    static const char *const rows[] = {"1 | pp4", "1 | tg2", "2 | pp4", "2 | tg2"};
    for (int i = 0; i < 4; i++) {
        double rate, ratio;
        char *row = strstr(p.out, rows[i]), *last = row ? strstr(row, "| 10.00 | ") : NULL;
        ck_assert_msg(last, "no row %s: %s", rows[i], p.out);
        ck_assert_int_eq(sscanf(row + strlen(rows[i]), " | %lf", &rate), 1);
        ck_assert_int_eq(sscanf(last, "| 10.00 | %lf", &ratio), 1);
        ck_assert_double_eq_tol(ratio / (rate / 10), 1, 0.05);
    }
    process_free(&p);
    RUN(&p, RLX_SOURCE_DIR "/bench/compare", peer, RLX_BINARY_DIR);
    ck_assert_int_eq(p.code, 2);
    process_free(&p);
    unlink(model);
    unlink(peer);
    rmdir(dir);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("make_model");
    TCase *c = tcase_create("make_model");
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, every_format_runs, 0, NFORMATS);
    tcase_add_test(c, directories_and_refusals);
    tcase_add_test(c, compares_with_a_peer);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r), ran = srunner_ntests_run(r);
    srunner_free(r);
    return failed || ran < NFORMATS + 2;
}
