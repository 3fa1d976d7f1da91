/* tests/frontend/test_guard.c: a model's file that is made shorter while it is mapped. */
#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "frontend/rlx.h"

#define BUNDLED RLX_SOURCE_DIR "/models/bundled"

static char dir[32], config[64], weights[64];

static void must(rlx_status st)
{
    char *text = st ? rlx_status_text(st) : NULL;
    ck_assert_msg(!st, "%s", text);
}

static void refused(rlx_status st, rlx_code code, const char *word)
{
    char *text = st ? rlx_status_text(st) : NULL;
    ck_assert_msg(st && rlx_status_code(st) == code && strstr(text, word), "%s", text);
    free(text);
    rlx_status_free(st);
}

/* The bundled model in a folder, its weights a copy. */
static void open_folder(void)
{
    static char bytes[1 << 16];
    strcpy(dir, "/tmp/rlx-guard-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(config, sizeof config, "%s/config.json", dir);
    snprintf(weights, sizeof weights, "%s/model.safetensors", dir);
    ck_assert_int_eq(symlink(BUNDLED "/config.json", config), 0);
    FILE *from = fopen(BUNDLED "/model.safetensors", "rb"), *to = fopen(weights, "wb");
    ck_assert(from && to);
    for (size_t n; (n = fread(bytes, 1, sizeof bytes, from)) > 0;)
        ck_assert_uint_eq(fwrite(bytes, 1, n, to), n);
    fclose(from);
    ck_assert_int_eq(fclose(to), 0);
}

static void close_folder(void)
{
    unlink(config);
    unlink(weights);
    rmdir(dir);
}

START_TEST(a_step_fails_and_changes_nothing)
{
    static const int32_t ids[] = {0, 300, 301};
    float logits[1024];
    rlx_context *cx;
    rlx_model *model, *again;
    rlx_session *session;
    open_folder();
    must(rlx_guard_files());
    must(rlx_guard_files()); /* once more is no mistake */
    must(rlx_context_create(&(rlx_context_options){.threads = 2}, &cx));
    must(rlx_model_load(cx, dir, NULL, &model));
    must(rlx_session_create(cx, NULL, &session));
    must(rlx_model_step(model, session, 0, ids, 3, 1, logits));
    ck_assert_int_eq(truncate(weights, 1 << 20), 0);
    refused(rlx_model_step(model, session, 0, ids, 3, 1, logits), RLX_IO,
            "model.safetensors' was made shorter while it was read");
    ck_assert_int_eq(rlx_session_past(session, 0), 3);
    refused(rlx_model_load(cx, dir, NULL, &again), RLX_INVALID_FILE, "model.safetensors");
    rlx_session_destroy(session);
    rlx_model_destroy(model);
    rlx_context_destroy(cx);
    close_folder();
}
END_TEST

/* ---- a GGUF file ---- */

static void make_gguf(const char *path)
{
    must(rlx_quantize(BUNDLED, path, &(rlx_quantize_options){.type = "Q8_0", .threads = 1}));
}

START_TEST(a_gguf_file_is_guarded_too)
{
    static const int32_t ids[] = {0, 300, 301};
    float logits[1024];
    rlx_context *cx;
    rlx_model *model;
    rlx_session *session;
    char path[] = "/tmp/rlx-guard-XXXXXX.gguf";
    ck_assert_int_ge(mkstemps(path, 5), 0);
    make_gguf(path);
    must(rlx_guard_files());
    must(rlx_context_create(&(rlx_context_options){.threads = 1}, &cx));
    must(rlx_model_load(cx, path, NULL, &model));
    must(rlx_session_create(cx, NULL, &session));
    ck_assert_int_eq(truncate(path, 1 << 18), 0);
    refused(rlx_model_step(model, session, 0, ids, 3, 1, logits), RLX_IO,
            ".gguf' was made shorter while it was read");
    rlx_session_destroy(session);
    rlx_model_destroy(model);
    rlx_context_destroy(cx);
    unlink(path);
}
END_TEST

static bool cut(void *path, int64_t done, int64_t total, const char *tensor)
{
    (void)done, (void)total, (void)tensor;
    return truncate(path, 1 << 18) == 0;
}

/* Neither a tensor that is made anew nor one that is kept is written as zeros. */
START_TEST(nothing_is_made_of_half_a_file)
{
    static const char *const types[] = {"Q4_0", "Q8_0"};
    char in[] = "/tmp/rlx-guard-XXXXXX.gguf", out[] = "/tmp/rlx-guard-out.gguf-XXXXXX";
    ck_assert_int_ge(mkstemps(in, 5), 0);
    ck_assert_int_ge(mkstemp(out), 0);
    must(rlx_guard_files());
    for (int i = 0; i < 2; i++) {
        make_gguf(in);
        unlink(out);
        refused(rlx_quantize(in, out,
                             &(rlx_quantize_options){
                                 .type = types[i], .threads = 1, .progress = cut, .user = in}),
                RLX_IO, ".gguf' was made shorter while it was read");
        ck_assert_int_ne(access(out, F_OK), 0);
    }
    unlink(in);
}
END_TEST

static void on_bus_error(int signal)
{
    (void)signal;
    _exit(77);
}

/* A fault that is not in a mapping of the library's: *mine behind the end of a file of one's own.
 */
static int fault_elsewhere(bool handled)
{
    if (handled)
        signal(SIGBUS, on_bus_error);
    pid_t pid = fork();
    if (!pid) {
        rlx_status st = rlx_guard_files();
        int fd = memfd_create("mine", 0);
        const volatile char *mine = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
        _exit(st || mine == MAP_FAILED ? 1 : mine[0]);
    }
    int status = 0;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

START_TEST(other_faults_go_where_they_went)
{
    ck_assert_int_eq(fault_elsewhere(true), 77);
    signal(SIGBUS, SIG_DFL);
    ck_assert_int_eq(fault_elsewhere(false), 128 + SIGBUS);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("guard");
    TCase *c = tcase_create("guard");
    tcase_set_timeout(c, 60);
    tcase_add_test(c, a_step_fails_and_changes_nothing);
    tcase_add_test(c, a_gguf_file_is_guarded_too);
    tcase_add_test(c, nothing_is_made_of_half_a_file);
    tcase_add_test(c, other_faults_go_where_they_went);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int bad = srunner_ntests_failed(r) || srunner_ntests_run(r) < 4;
    srunner_free(r);
    return bad;
}
