/* tests/parity/test_gguf_write.c: checkpoints of every family as `rlx quantize` writes them: the
 * GGUF file computes what the directory does. The same bits, but where rows of q and k change
 * places: there a head's products are summed in another order. What GGUF cannot say is refused. */
#include <check.h>
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/parity/parity.h"

enum { TOKENS = 40, PATH = 512 };

static const char *const families[] = {"llama", "llama32", "mistral", "phi",
                                       "qwen2", "qwen3",   "smollm3"};
enum { FAMILIES = sizeof families / sizeof *families };
static const char *const roots[] = {RLX_SOURCE_DIR "/tests/parity/modules",
                                    RLX_SHARED_DIR "/fixtures"};

/* Cases that such files cannot hold, and the key that says so. */
static const struct {
    const char *name, *key;
} refused[] = {{"rope_dynamic_cross", "rope_type \"dynamic\""},
               {"rope_dynamic_over", "rope_type \"dynamic\""},
               {"dynamic_pad", "rope_type \"dynamic\""},
               {"headless", "architectures"},
               {"nope_list_legacy", "no_rope_layers"},
               {"window_nope", "no_rope_layers"},
               {"modules_nope", "no_rope_layers"}};

static rlx_context *cx;
static char out[] = "/tmp/rlx-gguf-write-XXXXXX.gguf";

static void set_up(void)
{
    const rlx_context_options o = {.device = "ref:mir", .threads = 1};
    parity_must(rlx_context_create(&o, &cx));
    int fd = mkstemps(out, 5);
    ck_assert_int_ge(fd, 0);
    close(fd);
}

static void tear_down(void)
{
    unlink(out);
    rlx_context_destroy(cx);
}

/* Logits of all tokens; heap. */
static float *run(const char *path, int64_t *n, float *most)
{
    rlx_model *m;
    rlx_session *s;
    rlx_model_info info;
    int32_t ids[TOKENS];
    parity_must(rlx_model_load(cx, path, NULL, &m));
    rlx_model_get_info(m, &info);
    for (int i = 0; i < TOKENS; i++)
        ids[i] = (int32_t)((i * 37 + 3) % info.vocab);
    parity_must(rlx_session_create(cx, &(rlx_session_options){.max_positions = TOKENS}, &s));
    *n = TOKENS * info.width;
    float *logits = malloc((size_t)*n * sizeof *logits);
    ck_assert_ptr_nonnull(logits);
    parity_must(rlx_model_step(m, s, 0, ids, TOKENS, TOKENS, logits));
    *most = 0;
    for (int64_t i = 0; i < *n; i++)
        *most = fmaxf(*most, fabsf(logits[i]));
    rlx_session_destroy(s);
    rlx_model_destroy(m);
    return logits;
}

/* Does the architecture's file hold rows of q and k for other rotary pairs? */
static bool is_permuted(const char *family)
{
    return !strncmp(family, "llama", 5) || !strcmp(family, "mistral") || !strcmp(family, "smollm3");
}

static void same_logits(const char *dir, bool permuted)
{
    int64_t n, k;
    float most, other;
    float *a = run(dir, &n, &most), *b = run(out, &k, &other);
    ck_assert_msg(n == k && most > 0, "%s: %lld logits, %lld", dir, (long long)n, (long long)k);
    float bound = permuted ? 4e-6f * most : 0;
    for (int64_t i = 0; i < n; i++)
        ck_assert_msg(fabsf(a[i] - b[i]) <= bound, "%s: logit %lld is %.9g, not %.9g", dir,
                      (long long)i, (double)b[i], (double)a[i]);
    free(a);
    free(b);
}

static const char *refusal_of(const char *name)
{
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (!strcmp(refused[i].name, name))
            return refused[i].key;
    return NULL;
}

static void check(const char *dir, const char *name, const char *family)
{
    const char *key = refusal_of(name);
    rlx_status st = rlx_quantize(dir, out, &(rlx_quantize_options){.type = "F32", .threads = 1});
    if (!key) {
        parity_must(st);
        same_logits(dir, is_permuted(family));
        return;
    }
    ck_assert_msg(rlx_status_code(st) == RLX_UNSUPPORTED && strstr(rlx_status_message(st), key),
                  "%s: %s", dir, st ? rlx_status_message(st) : "was written");
    rlx_status_free(st);
}

/* The cases of a family below `root` that are directories as on a hub. */
static int check_family(const char *root, const char *family)
{
    char path[PATH], config[PATH + 16];
    int n = 0;
    snprintf(path, sizeof path, "%s/%s", root, family);
    DIR *d = opendir(path);
    for (const struct dirent *e; d && (e = readdir(d));) {
        snprintf(path, sizeof path, "%s/%s/%s", root, family, e->d_name);
        snprintf(config, sizeof config, "%s/config.json", path);
        if (e->d_name[0] == '.' || access(config, F_OK))
            continue;
        check(path, e->d_name, family);
        n++;
    }
    if (d)
        closedir(d);
    return n;
}

static int check_all(const char *root)
{
    int n = 0;
    for (int i = 0; i < FAMILIES; i++)
        n += check_family(root, families[i]);
    return n;
}

START_TEST(own_cases)
{
    ck_assert_int_ge(check_all(roots[0]), 11);
}
END_TEST

START_TEST(fixtures)
{
    if (access(roots[1], F_OK))
        printf("skipped: %s is not there\n", roots[1]);
    else
        ck_assert_int_ge(check_all(roots[1]), 43);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("gguf write");
    TCase *c = tcase_create("gguf write");
    tcase_set_timeout(c, 120);
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_add_test(c, own_cases);
    tcase_add_test(c, fixtures);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int bad = srunner_ntests_failed(r) || srunner_ntests_run(r) < 2;
    srunner_free(r);
    return bad;
}
