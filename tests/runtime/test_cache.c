/* tests/runtime/test_cache.c: the store of compiled programs: what is put is got, whatever is wrong
 * with a file is a miss that the next write heals, room is made, and folders that others can write
 * to are refused. */
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/base/sign.h"
#include "runtime/cache.h"
#include "tests/runtime/programs.h"

enum { CHARS = 256 };

static char dir[CHARS], folder[CHARS], messages[4096];

static void keep(void *user, const char *message)
{
    (void)user;
    snprintf(messages, sizeof messages, "%s", message);
}

static void set_up(void)
{
    const bool memory = !access("/dev/shm", W_OK); /* where syncing takes no time */
    snprintf(dir, sizeof dir, "%s/rlx-store-XXXXXX", memory ? "/dev/shm" : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(folder, sizeof folder, "%.200s/cache", dir);
    messages[0] = 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st, (void)type, (void)at;
    return remove(path);
}

static void tear_down(void)
{
    chmod(folder, 0700);
    nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static rlx_cache *open_cache(void)
{
    rlx_cache *c;
    EXPECT_OK(rlx_cache_open(&(rlx_cache_options){.folder = folder, .warn = keep}, &c));
    return c;
}

/* ---- entries: programs of one output, told apart by their preimages ---------------------------
 */

typedef struct entry {
    char preimage[32];
    rlx_hash key;
    rlx_text bytes;
} entry;

static entry make_entry(int number)
{
    builder b;
    entry e = {0};
    builder_init(&b, "main", (const int64_t[]){4, 4, 1, 1, 1});
    uint32_t kernel = add_kernel(&b, "copy", RLX_OBJECT_COPY, 2, 0);
    snprintf(e.preimage, sizeof e.preimage, "number %d", number);
    e.key = rlx_hash_bytes(e.preimage, strlen(e.preimage));
    b.p.preimage = e.preimage;
    b.p.key = e.key;
    rlx_program_arg x = add_bound(&b, RLX_BIND_INPUT, "x", RLX_F32, 1, dim_of(&b, "TOKENS"), 0);
    add_func(&b, "main", 1, 1, 0);
    LAUNCH(&b, kernel, 0, x, at_param(0));
    add_output(&b, "y", RLX_F32, 1, dim_of(&b, "TOKENS"));
    EXPECT_OK(rlx_program_encode(&b.p, &e.bytes));
    builder_deinit(&b);
    return e;
}

static void put(rlx_cache *c, const entry *e)
{
    EXPECT_OK(rlx_cache_put(c, &e->key, e->bytes.data, e->bytes.len));
}

static bool has(rlx_cache *c, const entry *e)
{
    rlx_program *p = rlx_cache_get(c, &e->key, e->preimage);
    if (p)
        ck_assert_str_eq(p->preimage, e->preimage);
    rlx_program_destroy(p);
    return p != NULL;
}

static void path_of(const entry *e, char path[CHARS])
{
    char hex[65];
    rlx_hash_hex(e->key, hex);
    snprintf(path, CHARS, "%.150s/code/%s.rlx", folder, hex);
}

static int count_files(void)
{
    char code[CHARS];
    snprintf(code, sizeof code, "%.200s/code", folder);
    DIR *d = opendir(code);
    int n = 0;
    for (struct dirent *f; d && (f = readdir(d));)
        n += f->d_name[0] != '.';
    if (d)
        closedir(d);
    return n;
}

static void write_raw(const entry *e, const char *data, size_t n)
{
    char path[CHARS];
    path_of(e, path);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, data, n), (ssize_t)n);
    close(fd);
}

/* ---- tests ----------------------------------------------------------------------------------- */

START_TEST(what_is_put_is_got)
{
    rlx_cache *c = open_cache();
    entry a = make_entry(1), b = make_entry(2);
    rlx_cache_stats s;
    ck_assert(!has(c, &a));
    put(c, &a);
    ck_assert(has(c, &a));
    ck_assert(!has(c, &b));
    rlx_cache_close(c);
    c = open_cache(); /* another process's view */
    ck_assert(has(c, &a));
    ck_assert(!has(c, &b));
    rlx_cache_get_stats(c, &s);
    ck_assert_int_eq(s.hits, 1);
    ck_assert_int_eq(s.misses, 1);
    ck_assert_int_eq(s.damaged, 0);
    ck_assert_str_eq(messages, "");
    rlx_cache_close(c);
    rlx_text_deinit(&a.bytes);
    rlx_text_deinit(&b.bytes);
}
END_TEST

/* Every truncation, and every bit of it turned over: never another program, and never a crash. */
START_TEST(damage_is_a_miss_that_heals)
{
    rlx_cache *c = open_cache();
    entry e = make_entry(1);
    rlx_cache_stats s;
    int64_t tries = 0;
    put(c, &e);
    for (size_t n = 0; n < e.bytes.len; n += 1 + n / 64) {
        write_raw(&e, e.bytes.data, n);
        ck_assert(!has(c, &e));
        tries++;
    }
    for (size_t bit = 0; bit < 8 * e.bytes.len; bit += 1 + bit / 512) {
        e.bytes.data[bit / 8] ^= (char)(1 << bit % 8);
        write_raw(&e, e.bytes.data, e.bytes.len);
        ck_assert(!has(c, &e));
        e.bytes.data[bit / 8] ^= (char)(1 << bit % 8);
        tries++;
    }
    rlx_cache_get_stats(c, &s);
    ck_assert_int_eq(s.damaged, tries);
    ck_assert_ptr_nonnull(strstr(messages, "checksum"));
    put(c, &e);
    ck_assert(has(c, &e));
    ck_assert_int_eq(count_files(), 1);
    rlx_cache_close(c);
    rlx_text_deinit(&e.bytes);
}
END_TEST

/* A whole entry under another's name. */
START_TEST(names_are_held_to_contents)
{
    rlx_cache *c = open_cache();
    entry a = make_entry(1), b = make_entry(2);
    put(c, &a);
    write_raw(&b, a.bytes.data, a.bytes.len);
    ck_assert(!has(c, &b));
    ck_assert_ptr_nonnull(strstr(messages, "is another entry"));
    put(c, &b);
    ck_assert(has(c, &b));
    rlx_cache_close(c);
    rlx_text_deinit(&a.bytes);
    rlx_text_deinit(&b.bytes);
}
END_TEST

START_TEST(others_must_not_write)
{
    rlx_cache *c = open_cache();
    entry e = make_entry(1);
    char path[CHARS], code[CHARS];
    put(c, &e);
    path_of(&e, path);
    chmod(path, 0622);
    ck_assert(!has(c, &e));
    ck_assert_ptr_nonnull(strstr(messages, "others can write to it"));
    put(c, &e); /* another file in its place */
    ck_assert(has(c, &e));
    unlink(path);
    ck_assert_int_eq(symlink("/etc/passwd", path), 0);
    ck_assert(!has(c, &e));
    rlx_cache_close(c);
    snprintf(code, sizeof code, "%.200s/code", folder);
    const char *const folders[] = {folder, code};
    for (int i = 0; i < 2; i++) {
        chmod(folders[i], 0777);
        EXPECT_ERROR(rlx_cache_open(&(rlx_cache_options){.folder = folder}, &c),
                     RLX_INVALID_ARGUMENT, "can be written to by others (mode 777)");
        EXPECT_OK(rlx_cache_open(&(rlx_cache_options){.folder = folder, .shared = true}, &c));
        rlx_cache_close(c);
        setenv("RLX_CACHE_DIR", folder, 1); /* the user's own: told, and done without */
        EXPECT_OK(rlx_cache_open(&(rlx_cache_options){.warn = keep}, &c));
        ck_assert_ptr_null(rlx_cache_folder(c));
        ck_assert_ptr_nonnull(strstr(messages, "chmod go-w"));
        EXPECT_OK(rlx_cache_put(c, &e.key, e.bytes.data, e.bytes.len));
        rlx_cache_close(c);
        chmod(folders[i], 0700);
    }
    rlx_text_deinit(&e.bytes);
}
END_TEST

START_TEST(no_folder_is_no_error)
{
    entry e = make_entry(1);
    rlx_cache *c;
    static const char *const nowhere[] = {"", "/proc/nowhere"};
    for (int i = 0; i < 2; i++) {
        setenv("RLX_CACHE_DIR", nowhere[i], 1);
        EXPECT_OK(rlx_cache_open(&(rlx_cache_options){.warn = keep}, &c));
        ck_assert_ptr_null(rlx_cache_folder(c));
        ck_assert(!has(c, &e));
        EXPECT_OK(rlx_cache_put(c, &e.key, e.bytes.data, e.bytes.len));
        ck_assert(!has(c, &e));
        ck_assert_int_eq(strstr(messages, "/proc/nowhere") != NULL, i == 1); /* somebody chose it */
        rlx_cache_close(c);
    }
    messages[0] = 0;
    unsetenv("RLX_CACHE_DIR");
    unsetenv("XDG_CACHE_HOME");
    setenv("HOME", "/proc/nowhere", 1); /* nobody chose that */
    EXPECT_OK(rlx_cache_open(&(rlx_cache_options){.warn = keep}, &c));
    ck_assert_ptr_null(rlx_cache_folder(c));
    rlx_cache_close(c);
    ck_assert_str_eq(messages, "");
    setenv("HOME", dir, 1);
    EXPECT_OK(rlx_cache_open(NULL, &c));
    ck_assert_ptr_nonnull(strstr(rlx_cache_folder(c), "/.cache/rlx"));
    put(c, &e);
    ck_assert(has(c, &e));
    rlx_cache_close(c);
    EXPECT_ERROR(rlx_cache_open(&(rlx_cache_options){.folder = "/proc/nowhere"}, &c), RLX_IO,
                 "/proc/nowhere");
    rlx_text_deinit(&e.bytes);
}
END_TEST

static void set_used(const entry *e, time_t when)
{
    char path[CHARS];
    path_of(e, path);
    const struct timespec times[2] = {{.tv_sec = when}, {.tv_sec = when}};
    ck_assert_int_eq(utimensat(AT_FDCWD, path, times, 0), 0);
}

START_TEST(the_least_recent_goes)
{
    enum { N = 6 };
    entry e[N];
    rlx_cache *c = open_cache();
    int64_t removed;
    time_t now = time(NULL);
    for (int i = 0; i < N; i++) {
        e[i] = make_entry(i);
        put(c, &e[i]);
        set_used(&e[i], now - 86400 * (N - i));
    }
    ck_assert(has(c, &e[0])); /* now it is the last that was used */
    EXPECT_OK(rlx_cache_trim(c, 3 * (int64_t)e[0].bytes.len, &removed));
    ck_assert_int_eq(removed, 3);
    for (int i = 0; i < N; i++)
        ck_assert_int_eq(has(c, &e[i]), i == 0 || i > 3);
    rlx_cache_close(c);
    rlx_cache_options small = {.folder = folder, .max_bytes = 2 * (int64_t)e[0].bytes.len};
    EXPECT_OK(rlx_cache_open(&small, &c));
    set_used(&e[1 + 3], now + 86400 * 365); /* the clock was moved back since */
    put(c, &e[2]);
    ck_assert(has(c, &e[2])); /* what was just written stays */
    ck_assert_int_eq(count_files(), 2);
    rlx_cache_close(c);
    for (int i = 0; i < N; i++)
        rlx_text_deinit(&e[i].bytes);
}
END_TEST

START_TEST(what_killed_writers_leave_goes)
{
    rlx_cache *c = open_cache();
    entry e = make_entry(1);
    char path[CHARS];
    const time_t now = time(NULL);
    const time_t ages[] = {now - 86400, now + 86400, now};
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%.150s/code/%d.rlx.77.0.tmp", folder, i);
        close(open(path, O_WRONLY | O_CREAT, 0600));
        const struct timespec times[2] = {{.tv_sec = ages[i]}, {.tv_sec = ages[i]}};
        utimensat(AT_FDCWD, path, times, 0);
    }
    put(c, &e);
    ck_assert_int_eq(count_files(), 2); /* the entry, and one that may have a writer */
    rlx_cache_close(c);
    rlx_text_deinit(&e.bytes);
}
END_TEST

START_TEST(a_folder_that_goes_comes_back)
{
    rlx_cache *c = open_cache();
    entry a = make_entry(1), b = make_entry(2);
    put(c, &a);
    nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    ck_assert(!has(c, &a));
    put(c, &b);
    ck_assert(has(c, &b));
    put(c, &a);
    ck_assert_int_eq(count_files(), 2);
    rlx_cache_close(c);
    rlx_text_deinit(&a.bytes);
    rlx_text_deinit(&b.bytes);
}
END_TEST

START_TEST(seals)
{
    rlx_cache *c = open_cache();
    entry a = make_entry(1), b = make_entry(2);
    put(c, &a);
    EXPECT_OK(rlx_cache_seal(c, true));
    EXPECT_ERROR(rlx_cache_put(c, &b.key, b.bytes.data, b.bytes.len), RLX_UNSUPPORTED, "is sealed");
    rlx_cache_close(c);
    c = open_cache();
    ck_assert(rlx_cache_is_sealed(c));
    ck_assert(has(c, &a));
    EXPECT_OK(rlx_cache_seal(c, false));
    put(c, &b);
    ck_assert(!rlx_cache_is_sealed(c));
    rlx_cache_close(c);
    rlx_text_deinit(&a.bytes);
    rlx_text_deinit(&b.bytes);
}
END_TEST

static bool count_entry(void *user, const rlx_cache_entry *e)
{
    int *n = user;
    n[e->system]++;
    return true;
}

START_TEST(the_system_folder_is_below)
{
    rlx_cache *c = open_cache();
    entry a = make_entry(1), b = make_entry(2);
    char own[CHARS];
    int n[2] = {0, 0};
    put(c, &a);
    rlx_cache_close(c);
    snprintf(own, sizeof own, "%.200s/own", dir);
    EXPECT_OK(rlx_cache_open(&(rlx_cache_options){.folder = own, .system_folder = folder}, &c));
    ck_assert(has(c, &a));
    put(c, &b);
    EXPECT_OK(rlx_cache_each(c, count_entry, n));
    ck_assert_int_eq(n[0], 1);
    ck_assert_int_eq(n[1], 1);
    ck_assert_int_eq(count_files(), 1);
    rlx_cache_close(c);
    rlx_text_deinit(&a.bytes);
    rlx_text_deinit(&b.bytes);
}
END_TEST

/* Many processes on one folder, each of which writes and reads everything. */
START_TEST(many_processes)
{
    enum { PROCESSES = 64, N = 8 };
    entry e[N];
    for (int i = 0; i < N; i++)
        e[i] = make_entry(i);
    for (int p = 0; p < PROCESSES; p++) {
        if (fork())
            continue;
        rlx_cache *c = NULL;
        rlx_status_free(rlx_cache_open(&(rlx_cache_options){.folder = folder}, &c));
        bool ok = c != NULL;
        for (int i = 0; ok && i < N; i++) {
            const entry *own = &e[(i + p) % N];
            rlx_status st = rlx_cache_put(c, &own->key, own->bytes.data, own->bytes.len);
            ok = !st && has(c, own);
        }
        _exit(ok ? 0 : 1);
    }
    for (int p = 0; p < PROCESSES; p++) {
        int status;
        ck_assert_int_gt(wait(&status), 0);
        ck_assert_int_eq(status, 0);
    }
    ck_assert_int_eq(count_files(), N);
    for (int i = 0; i < N; i++)
        rlx_text_deinit(&e[i].bytes);
}
END_TEST

/* ---- what drivers make of entries ------------------------------------------------------------- */

#define DRIVER "vulkan vendor 1 device 2 driver 3"
static const char code[] = "machine code of a driver";

static void driver_path(const entry *e, const char *driver, char path[CHARS])
{
    char hex[65], whose[65];
    rlx_hash_hex(e->key, hex);
    rlx_hash_hex(rlx_hash_bytes(driver, strlen(driver)), whose);
    snprintf(path, CHARS, "%.100s/code/%s-%.16s.drv", folder, hex, whose);
}

static bool has_code(rlx_cache *c, const entry *e, const char *driver)
{
    size_t n = 0;
    char *got = rlx_cache_get_driver_code(c, &e->key, driver, &n);
    const bool right = got && n == sizeof code && !memcmp(got, code, n);
    ck_assert(right || !got);
    free(got);
    return right;
}

static char wanted[65];

static bool find_entry(void *user, const rlx_cache_entry *e)
{
    *(rlx_cache_entry *)user = *e;
    return strcmp(e->key, wanted) != 0;
}

static void put_code(rlx_cache *c, const entry *e, const char *driver)
{
    rlx_cache_put_driver_code(c, &e->key, driver, code, sizeof code);
}

/* It lies beside its entry, for one driver, and goes with it. */
START_TEST(drivers_code_goes_with_its_entry)
{
    entry e[2] = {make_entry(0), make_entry(1)};
    rlx_cache *c = open_cache();
    rlx_cache_entry found = {0};
    int64_t removed;
    for (int i = 0; i < 2; i++)
        put(c, &e[i]);
    ck_assert(!has_code(c, &e[0], DRIVER));
    put_code(c, &e[0], DRIVER);
    put_code(c, &e[0], "another");
    ck_assert(has_code(c, &e[0], DRIVER));
    ck_assert(has_code(c, &e[0], "another"));
    ck_assert(!has_code(c, &e[1], DRIVER));
    ck_assert(!has_code(c, &e[0], "a third"));
    EXPECT_OK(rlx_cache_trim(c, INT64_MAX, &removed));
    ck_assert_int_eq(count_files(), 4);
    for (int i = 0; i < 2; i++) { /* by hand, then for want of room */
        char hex[65];
        rlx_hash_hex(e[i].key, hex);
        put_code(c, &e[i], DRIVER);
        memcpy(wanted, hex, sizeof hex);
        EXPECT_OK(rlx_cache_each(c, find_entry, &found));
        ck_assert_int_gt(found.driver_bytes, 0);
        EXPECT_OK(rlx_cache_check_drivers(c, &found));
        if (i == 0)
            EXPECT_OK(rlx_cache_remove(c, &found));
        else
            EXPECT_OK(rlx_cache_trim(c, 0, &removed));
        ck_assert_int_eq(count_files(), i == 0 ? 1 : 0);
    }
    ck_assert_int_eq(removed, 1);
    ck_assert_str_eq(messages, "");
    rlx_cache_close(c);
    for (int i = 0; i < 2; i++)
        rlx_text_deinit(&e[i].bytes);
}
END_TEST

/* Cut off and turned over at every byte: nothing of it comes back, and the next one takes its place. */
START_TEST(damaged_code_of_drivers_is_made_anew)
{
    entry e = make_entry(0);
    rlx_cache *c = open_cache();
    rlx_cache_stats stats;
    rlx_cache_entry found;
    char path[CHARS], *whole;
    size_t n;
    put(c, &e);
    put_code(c, &e, DRIVER);
    driver_path(&e, DRIVER, path);
    EXPECT_OK(rlx_file_read(path, &whole, &n));
    for (size_t i = 0; i < 2 * n; i++) {
        FILE *f = fopen(path, "wb");
        whole[i % n] ^= i < n ? 1 : 0;
        ck_assert_uint_eq(fwrite(whole, 1, i < n ? n : i - n, f), i < n ? n : i - n);
        fclose(f);
        whole[i % n] ^= i < n ? 1 : 0;
        ck_assert_msg(!has_code(c, &e, DRIVER), "%s byte %zu", i < n ? "turned over" : "cut off at",
                      i % n);
    }
    rlx_cache_get_stats(c, &stats);
    ck_assert_int_eq(stats.damaged, (int64_t)(2 * n));
    ck_assert_ptr_nonnull(strstr(messages, "making it anew"));
    EXPECT_OK(rlx_cache_each(c, find_entry, &found));
    ck_assert_int_gt(found.driver_bytes, 0);
    EXPECT_ERROR(rlx_cache_check_drivers(c, &found), RLX_INVALID_FILE, ".drv");
    put_code(c, &e, DRIVER);
    ck_assert(has_code(c, &e, DRIVER));
    EXPECT_OK(rlx_cache_check_drivers(c, &found));
    rlx_cache_close(c);
    free(whole);
    rlx_text_deinit(&e.bytes);
}
END_TEST

static void write_text(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    ck_assert_int_ge(fputs(text, f), 0);
    fclose(f);
}

/* An entry in `folder` with what a driver made of it, and a cache that has that folder below its own. */
static rlx_cache *open_above(const entry *e, const char *secret, const char *public)
{
    char own[CHARS];
    int64_t count;
    rlx_cache *c = open_cache();
    put(c, e);
    put_code(c, e, DRIVER);
    if (secret)
        EXPECT_OK(rlx_cache_sign(c, secret, &count));
    rlx_cache_close(c);
    snprintf(own, sizeof own, "%.200s/own", dir);
    EXPECT_OK(rlx_cache_open(
        &(rlx_cache_options){
            .folder = own, .system_folder = folder, .trusted_key = public, .warn = keep},
        &c));
    rlx_hash_hex(e->key, wanted);
    return c;
}

/* A signature is of an entry: what lies beside it is not looked at. */
START_TEST(drivers_code_in_signed_folders_is_left_alone)
{
    entry e = make_entry(0);
    rlx_cache_entry found;
    char at[2][CHARS], *keys[2];
    EXPECT_OK(rlx_sign_make_keys(&keys[0], &keys[1]));
    for (int i = 0; i < 2; i++) {
        snprintf(at[i], CHARS, "%.200s/key%d", dir, i);
        write_text(at[i], keys[i]);
        free(keys[i]);
    }
    rlx_cache *c = open_above(&e, at[0], at[1]);
    ck_assert(!has_code(c, &e, DRIVER));
    EXPECT_OK(rlx_cache_each(c, find_entry, &found));
    ck_assert(found.system);
    EXPECT_OK(rlx_cache_check_drivers(c, &found));
    rlx_cache_close(c);
    rlx_text_deinit(&e.bytes);
}
END_TEST

/* What a driver made here of the system's entries is listed and checked with them, and goes for want of room. */
START_TEST(drivers_code_of_the_systems_entries)
{
    entry e = make_entry(0);
    rlx_cache_entry before, found;
    char path[CHARS];
    const char *name;
    rlx_cache *c = open_above(&e, NULL, NULL);
    EXPECT_OK(rlx_cache_each(c, find_entry, &before));
    ck_assert(before.system && has_code(c, &e, DRIVER));
    put_code(c, &e, "another");
    EXPECT_OK(rlx_cache_each(c, find_entry, &found));
    ck_assert_int_gt(found.driver_bytes, before.driver_bytes);
    EXPECT_OK(rlx_cache_check_drivers(c, &found));
    driver_path(&e, "another", path);
    name = strrchr(path, '/');
    char mine[CHARS];
    snprintf(mine, sizeof mine, "%.90s/own/code%.100s", dir, name);
    write_text(mine, "something else");
    EXPECT_ERROR(rlx_cache_check_drivers(c, &found), RLX_INVALID_FILE, ".drv");
    EXPECT_OK(rlx_cache_trim(c, 0, NULL));
    ck_assert_int_ne(access(mine, F_OK), 0);
    EXPECT_OK(rlx_cache_check_drivers(c, &found));
    driver_path(&e, DRIVER, path);
    write_text(path, "something else");
    EXPECT_ERROR(rlx_cache_check_drivers(c, &found), RLX_INVALID_FILE, ".drv");
    rlx_cache_close(c);
    rlx_text_deinit(&e.bytes);
}
END_TEST

/* Nobody is told at every start that a folder is read only. */
START_TEST(drivers_code_is_not_kept_where_nobody_may)
{
    entry e = make_entry(0);
    char path[CHARS];
    const bool root = geteuid() == 0;
    rlx_cache *c = open_cache();
    put(c, &e);
    snprintf(path, sizeof path, "%.200s/code", folder);
    ck_assert_int_eq(chmod(path, 0555), 0);
    if (root)
        ck_assert_int_eq(seteuid(65534), 0); /* whom modes hinder */
    put_code(c, &e, DRIVER);
    if (root)
        ck_assert_int_eq(seteuid(0), 0);
    chmod(path, 0700);
    ck_assert_str_eq(messages, "");
    ck_assert_int_eq(count_files(), 1);
    put_code(c, &e, DRIVER);
    ck_assert(has_code(c, &e, DRIVER));
    rlx_cache_close(c);
    rlx_text_deinit(&e.bytes);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("cache");
    TCase *t = tcase_create("store");
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_set_timeout(t, 0);
    tcase_add_test(t, what_is_put_is_got);
    tcase_add_test(t, damage_is_a_miss_that_heals);
    tcase_add_test(t, names_are_held_to_contents);
    tcase_add_test(t, others_must_not_write);
    tcase_add_test(t, no_folder_is_no_error);
    tcase_add_test(t, the_least_recent_goes);
    tcase_add_test(t, what_killed_writers_leave_goes);
    tcase_add_test(t, a_folder_that_goes_comes_back);
    tcase_add_test(t, seals);
    tcase_add_test(t, the_system_folder_is_below);
    tcase_add_test(t, many_processes);
    tcase_add_test(t, drivers_code_goes_with_its_entry);
    tcase_add_test(t, damaged_code_of_drivers_is_made_anew);
    tcase_add_test(t, drivers_code_in_signed_folders_is_left_alone);
    tcase_add_test(t, drivers_code_of_the_systems_entries);
    tcase_add_test(t, drivers_code_is_not_kept_where_nobody_may);
    suite_add_tcase(s, t);
    return suite_run(s, 16);
}
