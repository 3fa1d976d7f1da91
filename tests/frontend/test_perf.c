/* tests/frontend/test_perf.c: what Linux's profiler is told of loaded kernels: held against the memory that it names. */
#include <check.h>
#include <elf.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "frontend/rlx.h"
#include "tests/base/suite.h"

#define BUNDLED RLX_SOURCE_DIR "/models/bundled"
enum { CHARS = 256, FEWEST = 5 };

static char dir[CHARS], path[CHARS];

static void set_up(void)
{
    snprintf(dir, sizeof dir, "/tmp/rlx-perf-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
}

static int remove_one(const char *name, const struct stat *st, int type, struct FTW *at)
{
    (void)st, (void)type, (void)at;
    return remove(name);
}

static void tear_down(void)
{
    unsetenv("RLX_PERF");
    unlink(path);
    nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void must(rlx_status st)
{
    if (!st)
        return;
    char *text = rlx_status_text(st);
    ck_abort_msg("%s", text);
}

/* All of the file at `path`; the caller frees it. */
static char *read_all(size_t *bytes)
{
    struct stat st;
    int fd = open(path, O_RDONLY);
    ck_assert_msg(fd >= 0 && !fstat(fd, &st), "no file %s", path);
    char *data = malloc((size_t)st.st_size + 1);
    ck_assert_ptr_nonnull(data);
    ck_assert_int_eq(read(fd, data, (size_t)st.st_size), st.st_size);
    close(fd);
    data[st.st_size] = 0;
    *bytes = (size_t)st.st_size;
    return data;
}

typedef struct loaded {
    rlx_context *cx;
    rlx_model *model;
} loaded;

static loaded load(const rlx_context_options *o)
{
    loaded l;
    must(rlx_context_create(o, &l.cx));
    must(rlx_model_load(l.cx, BUNDLED, &(rlx_model_options){.precision = RLX_FAST}, &l.model));
    return l;
}

static void unload(loaded *l)
{
    rlx_model_destroy(l->model);
    rlx_context_destroy(l->cx);
}

/* ---- map */

/* Lines of a map; each names a kernel. */
static int count_lines(void)
{
    size_t bytes;
    int lines = 0, code = 0;
    char *text = read_all(&bytes);
    for (char *at = text, *end; (end = strchr(at, '\n')); at = end + 1, lines++) {
        unsigned long long start, size;
        char name[CHARS];
        ck_assert_int_eq(sscanf(at, "%llx %llx %255s", &start, &size, name), 3);
        ck_assert(start && size && size < 1 << 20);
        code += strstr(name, "contract_bf16") != NULL;
    }
    free(text);
    ck_assert_int_gt(code, 0);
    return lines;
}

START_TEST(a_map_names_kernels)
{
    rlx_model_info info;
    snprintf(path, sizeof path, "/tmp/perf-%ld.map", (long)getpid());
    loaded l = load(&(rlx_context_options){.perf = RLX_PERF_MAP, .cache.folder = dir});
    rlx_model_get_info(l.model, &info);
    ck_assert_int_ge(info.kernels, FEWEST);
    ck_assert_int_eq(count_lines(), info.kernels);
    setenv("RLX_PERF", "map", 1); /* a second context adds to it */
    loaded other = load(&(rlx_context_options){.cache.folder = dir});
    ck_assert_int_eq(count_lines(), 2 * info.kernels);
    unload(&other);
    unload(&l);
}
END_TEST

/* Asserts nothing but by its exit code: a context beside the inherited one, which stays of use. */
static int count_in_child(loaded *l)
{
    rlx_context *cx;
    rlx_model *m;
    rlx_status st =
        rlx_context_create(&(rlx_context_options){.perf = RLX_PERF_MAP, .cache.folder = dir}, &cx);
    if (st)
        return 1;
    unload(l);
    st = rlx_model_load(cx, BUNDLED, &(rlx_model_options){.precision = RLX_FAST}, &m);
    if (st)
        return 2;
    snprintf(path, sizeof path, "/tmp/perf-%ld.map", (long)getpid());
    const int lines = count_lines();
    rlx_model_info info;
    rlx_model_get_info(m, &info);
    rlx_model_destroy(m);
    rlx_context_destroy(cx);
    unlink(path);
    return lines == info.kernels ? 0 : 3;
}

START_TEST(a_child_has_a_map_of_its_own)
{
    int status;
    snprintf(path, sizeof path, "/tmp/perf-%ld.map", (long)getpid());
    loaded l =
        load(&(rlx_context_options){.perf = RLX_PERF_MAP, .threads = 1, .cache.folder = dir});
    const int lines = count_lines();
    const pid_t child = fork();
    if (!child)
        _exit(count_in_child(&l));
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_msg(WIFEXITED(status) && !WEXITSTATUS(status), "the child ended with %d", status);
    ck_assert_int_eq(count_lines(), lines);
    unload(&l);
}
END_TEST

/* Files that lie where the map goes, in a folder that is everybody's. */
START_TEST(other_files_are_not_touched)
{
    char kept[CHARS];
    rlx_context *cx;
    struct stat st;
    const rlx_context_options o = {.perf = RLX_PERF_MAP, .cache.folder = dir};
    snprintf(path, sizeof path, "/tmp/perf-%ld.map", (long)getpid());
    snprintf(kept, sizeof kept, "%.200s/kept", dir);
    FILE *f = fopen(kept, "w");
    ck_assert(f && fputs("kept", f) >= 0 && !fclose(f));
    unlink(path);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(i ? link(kept, path) : symlink(kept, path), 0);
        rlx_status bad = rlx_context_create(&o, &cx);
        ck_assert_int_eq(rlx_status_code(bad), RLX_IO);
        rlx_status_free(bad);
        ck_assert(!stat(kept, &st) && st.st_size == 4);
        unlink(path);
    }
}
END_TEST

/* ---- jitdump: linux/tools/perf/Documentation/jitdump-specification.txt */

static uint64_t number(const char *at, int bytes)
{
    uint64_t n = 0;
    memcpy(&n, at, (size_t)bytes);
    return n;
}

/* Records of the dump, each of code that lies where it says; what another executable took the place of is not looked at. */
static int check_dump(bool loaded_now)
{
    size_t bytes;
    int records = 0;
    char *dump = read_all(&bytes);
    ck_assert_uint_ge(bytes, 40);
    ck_assert_uint_eq(number(dump, 4), 0x4a695444); /* "JiTD" */
    ck_assert_uint_eq(number(dump + 4, 4), 1);
    ck_assert_uint_eq(number(dump + 8, 4), 40);
    ck_assert_uint_eq(number(dump + 12, 4), EM_X86_64);
    ck_assert_uint_eq(number(dump + 20, 4), (uint64_t)getpid());
    uint64_t when = number(dump + 24, 8);
    for (size_t at = 40; at < bytes; at += number(dump + at + 4, 4), records++) {
        const char *r = dump + at;
        ck_assert_uint_ge(bytes - at, 56);
        ck_assert_uint_eq(number(r, 4), 0); /* code was loaded */
        ck_assert_uint_ge(number(r + 8, 8), when);
        when = number(r + 8, 8);
        ck_assert_uint_eq(number(r + 16, 4), (uint64_t)getpid());
        const uint64_t start = number(r + 32, 8), size = number(r + 40, 8);
        ck_assert_uint_eq(number(r + 24, 8), start);
        ck_assert_uint_eq(number(r + 48, 8), (uint64_t)records);
        const char *name = r + 56, *code = name + strlen(name) + 1;
        ck_assert_ptr_nonnull(strchr(name, '_'));
        ck_assert_uint_eq(number(r + 4, 4), (uint64_t)(code - r) + size);
        if (loaded_now)
            ck_assert_mem_eq(code, (const void *)(uintptr_t)start, size);
    }
    free(dump);
    return records;
}

START_TEST(a_dump_has_the_code)
{
    rlx_model_info info;
    const rlx_context_options o = {
        .perf = RLX_PERF_JITDUMP, .perf_folder = dir, .cache.folder = dir};
    snprintf(path, sizeof path, "%.200s/jit-%ld.dump", dir, (long)getpid());
    loaded l = load(&o);
    rlx_model_get_info(l.model, &info);
    ck_assert_int_ge(info.kernels, FEWEST);
    ck_assert_int_eq(check_dump(true), info.kernels);

    rlx_context *cx; /* a process has one dump */
    rlx_status st = rlx_context_create(
        &(rlx_context_options){.perf = RLX_PERF_JITDUMP, .perf_folder = "/tmp"}, &cx);
    ck_assert_int_eq(rlx_status_code(st), RLX_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(rlx_status_message(st), path));
    rlx_status_free(st);
    unload(&l);

    l = load(&o); /* and goes on with it */
    ck_assert_int_eq(check_dump(false), 2 * info.kernels);
    unload(&l);
}
END_TEST

START_TEST(mistakes)
{
    rlx_context *cx;
    setenv("RLX_PERF", "maps", 1);
    rlx_status st = rlx_context_create(NULL, &cx);
    ck_assert_int_eq(rlx_status_code(st), RLX_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(rlx_status_message(st), "RLX_PERF is \"maps\": map, jitdump"));
    rlx_status_free(st);
    unsetenv("RLX_PERF");
    st = rlx_context_create(
        &(rlx_context_options){.perf = RLX_PERF_JITDUMP, .perf_folder = "/nowhere/at/all"}, &cx);
    ck_assert_int_eq(rlx_status_code(st), RLX_IO);
    char *text = rlx_status_text(st);
    ck_assert_ptr_nonnull(strstr(text, "/nowhere/at/all"));
    free(text);
    rlx_status_free(st);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("perf");
    TCase *t = tcase_create("perf");
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_add_test(t, a_map_names_kernels);
    tcase_add_test(t, a_child_has_a_map_of_its_own);
    tcase_add_test(t, other_files_are_not_touched);
    tcase_add_test(t, a_dump_has_the_code);
    tcase_add_test(t, mistakes);
    suite_add_tcase(s, t);
    return run_suite(s, 5);
}
