/* tests/memory/test_arena.c: the arena of real flows is at most a twentieth larger than what lives at
 * once: no plan could take less than that. */
#include <check.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "frontend/rlx.h"
#include "tests/runtime/suite.h"

static const char *const buckets[] = {"decode", "prefill"};
static const char *const families[] = {"llama32", "mistral", "phi", "qwen2", "qwen3", "smollm3"};
enum { BUCKETS = 2, FAMILIES = sizeof families / sizeof *families, LEAST_MODELS = 20 };

static void check_bucket(rlx_context *cx, const char *model, const char *bucket)
{
    char *text = NULL;
    long long arena = 0, live = 0;
    EXPECT_OK(rlx_model_inspect(cx, model, NULL, bucket, "memory", &text));
    ck_assert_msg(sscanf(text, "arena %lld bytes; %lld live", &arena, &live) == 2, "%s", text);
    free(text);
    ck_assert_msg(live > 0 && live <= arena && (double)arena <= 1.05 * (double)live,
                  "%s, %s: an arena of %lld bytes, of which %lld live at once", model, bucket,
                  arena, live);
}

static void check_model(const char *model)
{
    rlx_context *cx;
    EXPECT_OK(rlx_context_create(&(rlx_context_options){.no_cache = true}, &cx));
    for (int i = 0; i < BUCKETS; i++)
        check_bucket(cx, model, buckets[i]);
    rlx_context_destroy(cx);
}

START_TEST(bundled)
{
    check_model(RLX_SOURCE_DIR "/models/bundled");
}
END_TEST

START_TEST(fixtures)
{
    char path[1024];
    int models = 0;
    for (int i = 0; i < FAMILIES; i++) {
        snprintf(path, sizeof path, "%s/fixtures/%s", RLX_SHARED_DIR, families[i]);
        DIR *d = opendir(path);
        if (!d) {
            printf("skipped: %s is not there\n", path);
            return;
        }
        for (struct dirent *e; (e = readdir(d));) {
            snprintf(path, sizeof path, "%s/fixtures/%s/%s/config.json", RLX_SHARED_DIR,
                     families[i], e->d_name);
            if (e->d_name[0] == '.' || access(path, R_OK) != 0)
                continue;
            *strrchr(path, '/') = 0;
            check_model(path);
            models++;
        }
        closedir(d);
    }
    ck_assert_int_ge(models, LEAST_MODELS);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("arena");
    SUITE_TEST(s, "bundled", bundled);
    SUITE_TEST(s, "fixtures", fixtures);
    return suite_run(s, 2);
}
