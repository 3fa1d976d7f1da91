/* tests/frontend/test_tokenizer_cache.c: compiled tables in the cache folder: used when they are of
 * this very content, whole, and in nobody else's reach; else made again. */
#include <check.h>
#include <fcntl.h>
#include <ftw.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "frontend/text/table.h"
#include "runtime/base/text.h"

enum { PAD = 300 << 10, TOKENS = 1500, CHARS = 256 }; /* small files and tables are not worth it */

static char dir[CHARS], cache[CHARS], model[CHARS];

static void must(rlx_status st)
{
    if (!st)
        return;
    char *text = rlx_status_text(st);
    ck_abort_msg("%s", text);
}

/* A vocabulary in which "a" has the id. */
static void write_model(int id)
{
    FILE *f = fopen(model, "w");
    ck_assert_ptr_nonnull(f);
    fprintf(f, "{\"pad\":\"%*s\",\"model\":{\"type\":\"BPE\",\"merges\":[],\"vocab\":{", PAD, "");
    for (int i = 10; i < TOKENS; i++)
        fprintf(f, "\"x%d\":%d,", i, i);
    fprintf(f, "\"a\":%d}}}", id);
    fclose(f);
}

static void set_up(void)
{
    snprintf(dir, sizeof dir, "/tmp/rlx-cache-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(cache, sizeof cache, "%.200s/cache", dir);
    snprintf(model, sizeof model, "%.200s/tokenizer.json", dir);
    setenv("RLX_CACHE_DIR", cache, 1);
    write_model(7);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st, (void)type, (void)at;
    return remove(path);
}

static void tear_down(void)
{
    nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* Loads the model and encodes "a"; whether it came from the cache. */
static bool load(int id, bool no_cache)
{
    rlx_tokenizer *t;
    int32_t *ids;
    int64_t n;
    must(rlx_tokenizer_load(model, &(rlx_tokenizer_options){.no_cache = no_cache}, &t));
    must(rlx_tokenizer_encode(t, "a", 1, true, &ids, &n));
    ck_assert_int_eq(n, 1);
    ck_assert_int_eq(ids[0], id);
    bool mapped = t->mapped;
    free(ids);
    rlx_tokenizer_destroy(t);
    return mapped;
}

/* The one file of the folder with this ending; or, with none, "". */
static const char *find(const char *ending)
{
    static char path[CHARS * 2];
    char pattern[CHARS * 2];
    glob_t g;
    snprintf(pattern, sizeof pattern, "%s/tokenizers/*%s", cache, ending);
    *path = 0;
    if (!glob(pattern, 0, NULL, &g)) {
        ck_assert_uint_eq(g.gl_pathc, 1);
        snprintf(path, sizeof path, "%s", g.gl_pathv[0]);
        globfree(&g);
    }
    return path;
}

START_TEST(second_starts_map)
{
    ck_assert(!load(7, true));
    ck_assert_str_eq(find(".table"), "");
    ck_assert(!load(7, false));
    ck_assert(load(7, false));
    ck_assert_str_eq(find(".stamp"), ""); /* so young a file could change and look the same */
    write_model(8);
    ck_assert(!load(8, false)); /* other content */
    ck_assert(load(8, false));
    write_model(7);
    ck_assert(load(7, false)); /* both are there */
}
END_TEST

START_TEST(stamps_tell_files)
{
    sleep(2);
    ck_assert(!load(7, false));
    ck_assert_str_ne(find(".stamp"), "");
    ck_assert(load(7, false));
    write_model(9);
    ck_assert(!load(9, false));
}
END_TEST

/* The first bytes of the head, and some of the rest. */
START_TEST(damaged_tables_are_made_again)
{
    ck_assert(!load(7, false));
    char path[CHARS * 2], *whole, *healed;
    size_t bytes, again;
    snprintf(path, sizeof path, "%s", find(".table"));
    must(rlx_file_read(path, &whole, &bytes));
    for (size_t at = 0; at < bytes; at += at < 64 ? 7 : 9973) {
        int fd = open(path, O_WRONLY);
        char flipped = (char)(whole[at] ^ 1);
        ck_assert_int_eq(pwrite(fd, &flipped, 1, (off_t)at), 1);
        close(fd);
        if (load(7, false))
            ck_abort_msg("byte %zu of %zu: a damaged table was used", at, bytes);
        must(rlx_file_read(path, &healed, &again));
        ck_assert_uint_eq(again, bytes);
        if (memcmp(healed, whole, bytes) != 0)
            ck_abort_msg("byte %zu: the table was not made again", at);
        free(healed);
    }
    for (int part = 0; part < 4; part++) {
        ck_assert_int_eq(truncate(path, (off_t)(bytes * (size_t)part / 4)), 0);
        ck_assert(!load(7, false));
        ck_assert(load(7, false));
    }
    free(whole);
}
END_TEST

START_TEST(what_others_can_write_is_not_trusted)
{
    ck_assert(!load(7, false));
    ck_assert(load(7, false));
    ck_assert_int_eq(chmod(find(".table"), 0666), 0);
    ck_assert(!load(7, false)); /* and makes it again */
    ck_assert(load(7, false));
    ck_assert_int_eq(chmod(cache, 0777), 0);
    ck_assert(!load(7, false));
    ck_assert_int_eq(chmod(cache, 0700), 0);
    ck_assert(load(7, false));
}
END_TEST

START_TEST(no_folder_is_no_error)
{
    setenv("RLX_CACHE_DIR", "", 1);
    ck_assert(!load(7, false));
    ck_assert(!load(7, false));
    setenv("RLX_CACHE_DIR", "/proc/nowhere", 1);
    ck_assert(!load(7, false));
    unsetenv("RLX_CACHE_DIR");
    unsetenv("XDG_CACHE_HOME");
    unsetenv("HOME");
    ck_assert(!load(7, false));
    setenv("HOME", dir, 1);
    ck_assert(!load(7, false));
    ck_assert(load(7, false));
    snprintf(cache, sizeof cache, "%.200s/.cache/rlx", dir);
    ck_assert_str_ne(find(".table"), "");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("tokenizer_cache");
    TCase *c = tcase_create("tokenizer_cache");
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_set_timeout(c, 60);
    tcase_add_test(c, second_starts_map);
    tcase_add_test(c, stamps_tell_files);
    tcase_add_test(c, damaged_tables_are_made_again);
    tcase_add_test(c, what_others_can_write_is_not_trusted);
    tcase_add_test(c, no_folder_is_no_error);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int bad = srunner_ntests_failed(r) || srunner_ntests_run(r) < 5;
    srunner_free(r);
    return bad;
}
