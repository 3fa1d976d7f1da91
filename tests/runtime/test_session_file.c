/* Sequences to files and back: what was saved is recalled, and a file that is damaged, or another
 * session's, changes nothing. */
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/base/text.h"
#include "tests/runtime/session_world.h"

static char directory[64];

static const char *file(const char *name)
{
    static char path[2][128];
    static int turn;
    turn ^= 1;
    snprintf(path[turn], sizeof(path[turn]), "%s/%s", directory, name);
    return path[turn];
}

static void save(world *w, int q, const char *name)
{
    EXPECT_OK(rlx_session_write(w->s, q, "a model", file(name)));
}

static rlx_status try_restore(world *w, int q, const char *name)
{
    return rlx_session_read(w->s, q, "a model", file(name));
}

static void restore(world *w, int q, const char *name, const history *h)
{
    EXPECT_OK(try_restore(w, q, name));
    w->h[q] = *h;
    ck_assert_int_eq(rlx_session_past(w->s, q), h->past);
    check_books(w);
}

/* A world of its own for what comes back. */
static world *make_prepared(kind kinds)
{
    world *w = make_world(kinds, 1);
    EXPECT_OK(rlx_session_prepare(w->s, w->e));
    return w;
}

/* ---- there and back ------------------------------------------------------------------------- */

START_TEST(sequences_come_back)
{
    static const int lengths[] = {1, 255, 256, 257, 700, 1024, 2000};
    for (int kinds = FULL; kinds <= BOTH; kinds++)
        for (size_t i = 0; i < sizeof(lengths) / sizeof(*lengths); i++) {
            world *w = make_world(kinds, 1), *other = make_prepared(kinds);
            grow(w, 2, lengths[i]);
            save(w, 2, "sequence");
            grow(w, 2, 5); /* later than what was saved */
            w->h[2].past -= 5;
            restore(other, 0, "sequence", &w->h[2]);
            grow(other, 0, 300);
            restore(w, 2, "sequence", &w->h[2]); /* over what it holds, in the same session */
            restore(w, 4, "sequence", &w->h[2]); /* and beside it */
            grow(w, 4, 3);
            grow(w, 2, 300);
            free_world(w);
            free_world(other);
        }
}
END_TEST

START_TEST(sequences_come_back_from_anywhere)
{
    world *w = make_world(BOTH, 2), *other = make_prepared(BOTH);
    for (int i = 0; i < 100; i++) {
        one_move(w);
        int q = i % SEQUENCES, to = (int)next(w, SEQUENCES);
        save(w, q, "one");
        restore(other, to, "one", &w->h[q]);
        if (w->h[q].past < POSITIONS - 20)
            grow(other, to, 1 + i % 17);
        if (i % 3 == 0)
            restore(w, to, "one", &w->h[q]);
    }
    free_world(w);
    free_world(other);
}
END_TEST

START_TEST(files_tell_what_they_hold)
{
    world *w = make_world(BOTH, 1);
    grow(w, 0, 900);
    save(w, 0, "text");
    char *text;
    size_t bytes;
    EXPECT_OK(rlx_file_read(file("text"), &text, &bytes));
    ck_assert_ptr_eq(strstr(text, "rlx session 1\n"
                                  "model a model\n"
                                  "positions 900 in pages of 256\n"
                                  "states 2\n"
                                  "state 0 4 i32[PAGES,256] kv\n"
                                  "state 1 3 i32[PAGES_300,256] near\n"
                                  "data 7168\n"),
                     text);
    free(text);
    free_world(w);
}
END_TEST

/* ---- damage --------------------------------------------------------------------------------- */

static void write_file(const char *name, const char *data, size_t n)
{
    int fd = open(file(name), O_WRONLY | O_CREAT | O_TRUNC, 0666);
    ck_assert_int_eq(write(fd, data, n), (ssize_t)n);
    close(fd);
}

/* A world that must not change: 40 tokens in sequence 1, which shares its page. */
static world *make_witness(kind kinds)
{
    world *w = make_world(kinds, 1);
    grow(w, 1, 40);
    fork_world(w, 1, 3);
    return w;
}

static void check_witness(world *w)
{
    check_books(w);
    ck_assert_int_eq(rlx_session_past(w->s, 1), w->h[1].past);
    ck_assert_int_eq(rlx_session_past(w->s, 3), w->h[3].past);
}

static void free_witness(world *w)
{
    check_witness(w);
    grow(w, 1, 2);
    grow(w, 3, 2);
    free_world(w);
}

START_TEST(damaged_files_change_nothing)
{
    world *w = make_witness(BOTH);
    char *data;
    size_t n;
    grow(w, 0, 30);
    save(w, 0, "whole");
    EXPECT_OK(rlx_file_read(file("whole"), &data, &n));
    for (size_t i = 0; i < n; i++) {
        if (i < 400 || i % 7 == 0) {
            write_file("damaged", data, i);
            EXPECT_ERROR(try_restore(w, 1, "damaged"), RLX_INVALID_FILE, "restoring sequence 1");
        }
        data[i] ^= (char)(1 << i % 8);
        write_file("damaged", data, n);
        EXPECT_ERROR(try_restore(w, 1, "damaged"), RLX_INVALID_FILE, "damaged'");
        data[i] ^= (char)(1 << i % 8);
        check_witness(w);
    }
    free(data);
    free_witness(w);
}
END_TEST

static void seal(char *data, size_t n)
{
    rlx_hash h = rlx_hash_bytes(data, n - sizeof(h.bytes));
    memcpy(data + n - sizeof(h.bytes), h.bytes, sizeof(h.bytes));
}

/* With a right checksum: refused, or something that is a whole sequence. */
START_TEST(forged_files_are_checked)
{
    static const char values[] = {0, '0', '9', ' ', '\n', 'P', (char)0xff};
    world *w = make_witness(BOTH);
    char *data;
    size_t n, refused = 0;
    grow(w, 0, 30);
    save(w, 0, "whole");
    EXPECT_OK(rlx_file_read(file("whole"), &data, &n));
    size_t header = (size_t)(strstr(data, "\ndata ") - data) + 12;
    for (size_t i = 0; i < header; i++)
        for (size_t v = 0; v < sizeof(values); v++) {
            char before = data[i];
            data[i] = values[v];
            seal(data, n);
            write_file("forged", data, n);
            rlx_status st = try_restore(w, 5, "forged");
            refused += st != RLX_OK;
            rlx_status_free(st);
            check_witness(w);
            data[i] = before;
        }
    ck_assert_uint_gt(refused, header * (sizeof(values) - 2));
    free(data);
    free_witness(w);
}
END_TEST

static void forge(const char *name, const char *from, const char *to)
{
    char *data, *at;
    size_t n;
    rlx_text t = {0};
    EXPECT_OK(rlx_file_read(file("whole"), &data, &n));
    at = strstr(data, from);
    ck_assert_ptr_nonnull(at);
    rlx_text_put_bytes(&t, data, (size_t)(at - data));
    rlx_text_put(&t, to);
    rlx_text_put_bytes(&t, at + strlen(from), n - (size_t)(at - data) - strlen(from));
    seal(t.data, t.len);
    write_file(name, t.data, t.len);
    rlx_text_deinit(&t);
    free(data);
}

START_TEST(forged_files_are_named)
{
    static const struct {
        const char *from, *to, *part;
        rlx_code code;
    } forgeries[] = {
        {"session 1", "session 2", "does not begin with 'rlx session 1'", RLX_INVALID_FILE},
        {"pages of 256", "pages of 128", "its pages are of 128 positions, the session's of 256",
         RLX_INVALID_ARGUMENT},
        {"positions 30", "positions 5000", "it holds 5000 positions, the session at most 4096",
         RLX_EXHAUSTED},
        {"positions 30", "positions 300", "line 5: state 'kv' has 1 pages from 0 on",
         RLX_INVALID_FILE},
        {"positions", "position", "line 3 is not 'positions ..'", RLX_INVALID_FILE},
        {"states 2", "states 1", "it has no state 'near', the session has one",
         RLX_INVALID_ARGUMENT},
        {"states 2", "states 99", "it has 99 states, the session 2", RLX_INVALID_ARGUMENT},
        {"i32[PAGES,256] kv", "i16[PAGES,256] kv",
         "state 'kv' is i16[PAGES,256] in the file, i32[PAGES,256] in the session",
         RLX_INVALID_ARGUMENT},
        {"PAGES_300", "PAGES_299", "i32[PAGES_299,256] in the file, i32[PAGES_300,256] in",
         RLX_INVALID_ARGUMENT},
        {" near\n", " far\n", "it has a state 'far', the session has none", RLX_INVALID_ARGUMENT},
        {"_300,256] near\n", ",256] kv\n", "line 6: state 'kv'", RLX_INVALID_FILE}, /* twice */
        {"data 2048", "data 2047", "line 7 tells of 2047 bytes of data, there are 2048",
         RLX_INVALID_FILE},
        {"data 2048\n", "data 2048\n ", "line 7 tells of 2048 bytes of data, there are 2049",
         RLX_INVALID_FILE},
        {"data 2048\n", "data 2049\n ", "it has 2049 bytes of data, its states have others",
         RLX_INVALID_FILE},
        {"state 0 1 i32[PAGES_300", "state 0 900000000000000000 i32[PAGES_300", "line 6",
         RLX_INVALID_FILE},
    };
    world *w = make_witness(BOTH);
    grow(w, 0, 30);
    save(w, 0, "whole");
    for (size_t i = 0; i < sizeof(forgeries) / sizeof(*forgeries); i++) {
        forge("forged", forgeries[i].from, forgeries[i].to);
        EXPECT_ERROR(try_restore(w, 1, "forged"), forgeries[i].code, forgeries[i].part);
        check_witness(w);
    }
    free_witness(w);
}
END_TEST

/* ---- other sessions ------------------------------------------------------------------------- */

START_TEST(other_sessions_are_named)
{
    world *both = make_world(BOTH, 1), *full = make_witness(FULL), *near = make_witness(NEAR);
    grow(both, 0, 500);
    grow(full, 0, 500);
    save(both, 0, "both");
    save(full, 0, "full");
    EXPECT_ERROR(rlx_session_read(both->s, 0, "another one", file("both")), RLX_INVALID_ARGUMENT,
                 "it was saved with model 'a model', this one is 'another one'");
    EXPECT_ERROR(try_restore(both, 0, "full"), RLX_INVALID_ARGUMENT,
                 "it has no state 'near', the session has one");
    EXPECT_ERROR(try_restore(full, 0, "both"), RLX_INVALID_ARGUMENT,
                 "it has 2 states, the session 1");
    EXPECT_ERROR(try_restore(near, 0, "full"), RLX_INVALID_ARGUMENT,
                 "it has a state 'kv', the session has none");
    rlx_session *small = make_session(both->team, 499, 1), *empty = make_session(both->team, 0, 1);
    EXPECT_OK(rlx_session_prepare(small, both->e));
    EXPECT_ERROR(rlx_session_read(small, 0, "a model", file("both")), RLX_EXHAUSTED,
                 "it holds 500 positions, the session at most 499");
    EXPECT_ERROR(rlx_session_read(empty, 0, "a model", file("both")), RLX_INVALID_ARGUMENT,
                 "it has 2 states, the session 0");
    EXPECT_ERROR(try_restore(both, SEQUENCES, "both"), RLX_INVALID_ARGUMENT, "sequence 6");
    EXPECT_ERROR(try_restore(both, 0, "nowhere"), RLX_NOT_FOUND, "restoring sequence 0 from");
    EXPECT_ERROR(rlx_session_read(both->s, 0, "a model", directory), RLX_IO, "not a regular file");
    rlx_session_destroy(small);
    rlx_session_destroy(empty);
    free_witness(full);
    free_witness(near);
    free_world(both);
}
END_TEST

/* ---- saving fails ---------------------------------------------------------------------------- */

START_TEST(saving_is_whole_or_not_at_all)
{
    world *w = make_witness(BOTH);
    grow(w, 0, 30);
    save(w, 0, "kept");
    struct rlimit limit, small = {.rlim_cur = 2000};
    getrlimit(RLIMIT_FSIZE, &limit);
    small.rlim_max = limit.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &small);
    EXPECT_ERROR(rlx_session_write(w->s, 1, "a model", file("kept")), RLX_IO,
                 "saving sequence 1 to");
    setrlimit(RLIMIT_FSIZE, &limit);
    signal(SIGXFSZ, SIG_DFL);
    restore(w, 5, "kept", &w->h[0]);
    EXPECT_ERROR(rlx_session_write(w->s, 0, "a model", file("no/where")), RLX_IO, "No such file");
    EXPECT_ERROR(rlx_session_write(w->s, 6, "a model", file("kept")), RLX_INVALID_ARGUMENT,
                 "sequence 6");
    EXPECT_ERROR(rlx_session_write(w->s, 0, "a\nmodel", file("kept")), RLX_INVALID_ARGUMENT,
                 "lines");
    grow(w, 5, 9);
    free_witness(w);
}
END_TEST

int main(void)
{
    snprintf(directory, sizeof(directory), "/tmp/rlx-session-XXXXXX");
    if (!mkdtemp(directory))
        return EXIT_FAILURE;
    Suite *s = suite_create("session_file");
    SUITE_TEST(s, "sequences come back", sequences_come_back);
    SUITE_TEST(s, "sequences come back from anywhere", sequences_come_back_from_anywhere);
    SUITE_TEST(s, "files tell what they hold", files_tell_what_they_hold);
    SUITE_TEST(s, "damaged files change nothing", damaged_files_change_nothing);
    SUITE_TEST(s, "forged files are checked", forged_files_are_checked);
    SUITE_TEST(s, "forged files are named", forged_files_are_named);
    SUITE_TEST(s, "other sessions are named", other_sessions_are_named);
    SUITE_TEST(s, "saving is whole or not at all", saving_is_whole_or_not_at_all);
    int code = suite_run(s, 8);
    static const char *const names[] = {"sequence", "one",  "text", "whole", "damaged",
                                        "forged",   "both", "full", "kept"};
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
        unlink(file(names[i]));
    return rmdir(directory) == 0 ? code : EXIT_FAILURE; /* and nothing else was left in it */
}
