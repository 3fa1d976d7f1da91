/* tests/memory/test_memory.c: the most memory that a process has at any time, as the system counts
 * it: mapped weights, KV pages, arena and 64 MB when nothing is compiled, and 100 MB more while
 * something is.
 *
 * The program runs itself twice: once compiling, keeping the entries, once with these in place of
 * compiling. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "frontend/rlx.h"
#include "jit/jit.h"

enum { POSITIONS = 512, MB = 1 << 20, REST = 64 * MB, COMPILING = 100 * MB };

static const char *directory; /* of entries */
static bool warm;             /* they are there */

rlx_status __real_rlx_jit_compile(const rlx_ir_module *m, const rlx_jit_target *t,
                                  const rlx_jit_options *o, rlx_text *entry, rlx_jit_stats *stats);
rlx_status __wrap_rlx_jit_compile(const rlx_ir_module *m, const rlx_jit_target *t,
                                  const rlx_jit_options *o, rlx_text *entry, rlx_jit_stats *stats);
rlx_status __wrap_rlx_jit_compile(const rlx_ir_module *m, const rlx_jit_target *t,
                                  const rlx_jit_options *o, rlx_text *entry, rlx_jit_stats *stats)
{
    char path[256], hex[65];
    rlx_hash_hex(o->key, hex);
    snprintf(path, sizeof path, "%s/%s", directory, hex);
    if (warm) {
        char *data;
        size_t bytes;
        RLX_TRY(rlx_file_read(path, &data, &bytes));
        rlx_text_put_bytes(entry, data, bytes);
        free(data);
        return RLX_OK;
    }
    RLX_TRY(__real_rlx_jit_compile(m, t, o, entry, stats));
    FILE *f = fopen(path, "wb");
    bool written = f && fwrite(entry->data, 1, entry->len, f) == entry->len;
    if (f && fclose(f) == 0 && written)
        return RLX_OK;
    return RLX_FAIL(RLX_IO, "writing %s", path);
}

/* ---- the run that is measured */

static bool ignore(void *user, const char *utf8, size_t bytes)
{
    (void)user, (void)utf8, (void)bytes;
    return true;
}

static rlx_status generate(const char *path, int64_t *weights)
{
    rlx_context *cx = NULL;
    rlx_model *m = NULL;
    rlx_session *s = NULL;
    rlx_model_info info = {0};
    rlx_generate_options o = {
        .prompt = "Once upon a time", .count = POSITIONS - 10, .ignore_eos = true};
    rlx_status st = rlx_context_create(NULL, &cx);
    if (!st)
        st = rlx_model_load(cx, path, NULL, &m);
    if (!st)
        st = rlx_session_create(cx, &(rlx_session_options){.max_positions = POSITIONS}, &s);
    if (!st) {
        rlx_model_get_info(m, &info);
        st = rlx_model_generate(m, s, &o, ignore, NULL, NULL);
    }
    *weights = info.weight_bytes;
    rlx_session_destroy(s);
    rlx_model_destroy(m);
    rlx_context_destroy(cx);
    return st;
}

static int64_t peak_bytes(void)
{
    char *text, *at;
    size_t bytes;
    if (rlx_file_read("/proc/self/status", &text, &bytes))
        return -1;
    at = strstr(text, "VmHWM:");
    int64_t kb = at ? atoll(at + 6) : -1;
    free(text);
    return kb * 1024;
}

/* Prints the peak and the weights' bytes. */
static int run(const char *model)
{
    int64_t weights;
    rlx_status st = generate(model, &weights);
    if (st)
        fprintf(stderr, "%s\n", rlx_status_text(st));
    else
        printf("%lld %lld\n", (long long)peak_bytes(), (long long)weights);
    return st != RLX_OK;
}

/* ---- the test */

static const char *self, *model = RLX_SOURCE_DIR "/models/bundled";

static int64_t beyond_weights(const char *mode)
{
    char command[1024];
    long long peak = 0, weights = 0;
    snprintf(command, sizeof command, "'%s' %s '%s' '%s'", self, mode, directory, model);
    FILE *p = popen(command, "r");
    ck_assert_ptr_nonnull(p);
    ck_assert_int_eq(fscanf(p, "%lld %lld", &peak, &weights), 2);
    ck_assert_int_eq(pclose(p), 0);
    ck_assert_int_gt(weights, 0);
    printf("%s: %.1f MB at most, %.1f MB of them weights\n", mode, (double)peak / MB,
           (double)weights / MB);
    return peak - weights;
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SANITIZED = 1 }; /* takes memory of its own: only runs */
#else
enum { SANITIZED = 0 };
#endif

START_TEST(peak_of_a_process)
{
    const int64_t kv =
        6 * 2 * (2 * 32) * (int64_t)POSITIONS * 4; /* layers, keys and values, heads */
    int64_t cold = beyond_weights("cold"), from_entries = beyond_weights("warm");
    ck_assert(SANITIZED || cold <= kv + REST + COMPILING);
    ck_assert(SANITIZED || from_entries <= kv + REST);
}
END_TEST

/* A process that may have so much ends well or with a story; it is not ended by LLVM. */
START_TEST(too_little_memory_is_told)
{
    int ended_well = 0, told = 0;
    if (SANITIZED) {
        printf("skipped: sanitizers reserve more addresses than a limit would leave\n");
        return;
    }
    for (int mb = 48; mb <= 480; mb += 48) {
        char command[1024];
        snprintf(command, sizeof command,
                 "ulimit -v %d; exec '%s' cold '%s' '%s' >/dev/null 2>'%s/story'", mb * 1024, self,
                 directory, model, directory);
        int status = system(command);
        ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) <= 1, "with %d MB: status %x", mb,
                      (unsigned)status);
        char path[256], *story;
        size_t bytes;
        snprintf(path, sizeof path, "%s/story", directory);
        ck_assert(!rlx_file_read(path, &story, &bytes));
        if (WEXITSTATUS(status) == 0)
            ended_well++;
        else if (strstr(story, "memory")) /* rlx's words, or the system's */
            told++;
        free(story);
    }
    ck_assert(ended_well >= 2 && told >= 4);
}
END_TEST

int main(int argc, char **argv)
{
    if (argc == 4) {
        warm = strcmp(argv[1], "warm") == 0;
        directory = argv[2];
        return run(argv[3]);
    }
    char path[] = "/tmp/rlx-memory-XXXXXX", command[64];
    directory = mkdtemp(path);
    self = argv[0];
    if (argc == 2) /* another model, to see its numbers */
        model = argv[1];
    Suite *s = suite_create("memory");
    TCase *c = tcase_create("peak");
    tcase_set_timeout(c, 100);
    tcase_add_test(c, peak_of_a_process);
    tcase_add_test(c, too_little_memory_is_told);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int bad = srunner_ntests_failed(r) || srunner_ntests_run(r) < 2;
    srunner_free(r);
    snprintf(command, sizeof command, "rm -r '%s'", path);
    return system(command) || bad;
}
