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
#include <time.h>
#include <unistd.h>

#include "frontend/text/cache.h"
#include "runtime/base/text.h"
#include "tests/frontend/gguf_file.h"

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

/* Until files that are there have stamps: two seconds, and some ticks by which the clock that is asked may be behind
 * the one that dates files. */
static void let_files_age(void)
{
    const struct timespec t = {.tv_sec = 2, .tv_nsec = 100 * 1000 * 1000};
    nanosleep(&t, NULL);
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
    let_files_age();
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

static void set_age(const char *path, time_t seconds)
{
    struct stat st;
    ck_assert_int_eq(stat(path, &st), 0);
    const struct timespec t[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = st.st_mtim.tv_sec - seconds}};
    ck_assert_int_eq(utimensat(AT_FDCWD, path, t, 0), 0);
}

static bool there(const char *path)
{
    return access(path, F_OK) == 0;
}

/* Two tables, the older of which was used since; a file of somebody else's. */
START_TEST(what_was_not_used_goes_first)
{
    char one[CHARS * 2], two[CHARS * 2] = "", other[CHARS * 2], folder[CHARS + 16];
    glob_t g;
    struct stat st;
    ck_assert(!load(7, false));
    snprintf(one, sizeof one, "%s", find(".table"));
    write_model(8);
    ck_assert(!load(8, false));
    snprintf(folder, sizeof folder, "%s/tokenizers", cache);
    snprintf(other, sizeof other, "%s/*.table", folder);
    ck_assert_int_eq(glob(other, 0, NULL, &g), 0);
    ck_assert_uint_eq(g.gl_pathc, 2);
    for (size_t i = 0; i < 2; i++)
        if (strcmp(g.gl_pathv[i], one))
            snprintf(two, sizeof two, "%s", g.gl_pathv[i]);
    globfree(&g);
    snprintf(other, sizeof other, "%s/notes.table", folder);
    FILE *f = fopen(other, "w");
    ck_assert(f && !fclose(f));
    ck_assert_int_eq(stat(two, &st), 0);
    set_age(one, 1000);
    set_age(two, 500);
    set_age(other, 2000);
    write_model(7);
    ck_assert(load(7, false)); /* used: now the younger */
    rlx_text_cache_trim(folder, 2 * (uint64_t)st.st_size);
    ck_assert(there(one) && there(two));
    rlx_text_cache_trim(folder, 2 * (uint64_t)st.st_size - 1);
    ck_assert(there(one) && !there(two) && there(other));
    rlx_text_cache_trim(folder, 0);
    ck_assert(!there(one) && there(other));
    ck_assert(!load(7, false));
    rlx_text_cache_trim("/nowhere", 0);
}
END_TEST

/* Part `no` of two; the first has the vocabulary, in which "a" has the id. */
static void write_part(const char *path, uint32_t no, int id)
{
    static char padding[PAD], text[TOKENS][16];
    static const char *token[TOKENS];
    gguf_file f = {0};
    rlx_text whole = {0};
    memset(padding, 'x', PAD - 1);
    for (int i = 0; i < TOKENS; i++) {
        snprintf(text[i], sizeof text[i], i == id ? "a" : "x%d", i);
        token[i] = text[i];
    }
    if (!no) {
        gguf_string(&f, "padding", padding);
        gguf_string(&f, "tokenizer.ggml.model", "gpt2");
        gguf_strings(&f, "tokenizer.ggml.tokens", token, TOKENS);
        gguf_strings(&f, "tokenizer.ggml.merges", token, 0);
    }
    gguf_int(&f, "split.no", no);
    gguf_int(&f, "split.count", 2);
    gguf_int(&f, "split.tensors.count", 0);
    gguf_bytes(&f, &whole);
    FILE *out = fopen(path, "wb");
    ck_assert(out && fwrite(whole.data, 1, whole.len, out) == whole.len && !fclose(out));
    rlx_text_deinit(&whole);
    rlx_text_deinit(&f.body);
}

/* By the name of the second part: what is in the first decides. */
START_TEST(parts_of_a_model)
{
    char first[CHARS];
    snprintf(first, sizeof first, "%.200s/m-00001-of-00002.gguf", dir);
    snprintf(model, sizeof model, "%.200s/m-00002-of-00002.gguf", dir);
    write_part(first, 0, 7);
    write_part(model, 1, 0);
    let_files_age();
    ck_assert(!load(7, false));
    ck_assert_str_ne(find(".stamp"), "");
    ck_assert(load(7, false));
    write_part(first, 0, 9);
    ck_assert(!load(9, false));
    ck_assert(load(9, false));
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
    tcase_add_test(c, what_was_not_used_goes_first);
    tcase_add_test(c, parts_of_a_model);
    tcase_add_test(c, no_folder_is_no_error);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int bad = srunner_ntests_failed(r) || srunner_ntests_run(r) < 7;
    srunner_free(r);
    return bad;
}
