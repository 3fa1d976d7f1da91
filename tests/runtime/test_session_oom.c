/* Memory that runs out anywhere: a status, and the session as it was. */
#include <sys/mman.h>
#include <unistd.h>

#include "tests/runtime/session_world.h"

static int countdown = -1; /* allocations that still succeed; -1: all do */
static int asked;

static bool is_out(void)
{
    asked++;
    if (countdown < 0)
        return false;
    return countdown == 0 || countdown-- == 0;
}

#define FAILING(type, name, params, args, failure)      \
    type __real_##name params;                          \
    type __wrap_##name params;                          \
    type __wrap_##name params                           \
    {                                                   \
        return is_out() ? failure : __real_##name args; \
    }
FAILING(void *, malloc, (size_t n), (n), NULL)
FAILING(void *, calloc, (size_t n, size_t each), (n, each), NULL)
FAILING(void *, realloc, (void *p, size_t n), (p, n), NULL)
FAILING(void *, aligned_alloc, (size_t align, size_t n), (align, n), NULL)
FAILING(void *, mmap, (void *at, size_t n, int prot, int flags, int fd, off_t off),
        (at, n, prot, flags, fd, off), MAP_FAILED)

/* Whether the call that was made with `k` allocations went through; otherwise it said why. */
static bool went_through(rlx_status st)
{
    countdown = -1;
    rlx_code code = rlx_status_code(st);
    ck_assert(!st || code == RLX_OUT_OF_MEMORY || code == RLX_IO); /* IO: mapping a file */
    rlx_status_free(st);
    return !st;
}

START_TEST(sessions_are_made_or_not)
{
    rlx_team *t = make_team(1);
    rlx_session *s;
    int k = 0;
    do
        countdown = k;
    while (k++ < 100 && !went_through(rlx_session_create_on(t, NULL, &s)));
    ck_assert_int_ge(k, 3);
    ck_assert_int_lt(k, 100);
    rlx_session_destroy(s);
    rlx_team_destroy(t);
}
END_TEST

/* The first step of a program makes its states, pages and a binding: all, or it can be tried again.
 */
START_TEST(first_steps)
{
    int32_t seq[300] = {0}, ids[300] = {0};
    bool through = false;
    int k = 0;
    for (; !through; k++) {
        world *w = make_world(BOTH, 1);
        countdown = k;
        through = went_through(try_step(w, seq, 300, ids));
        ck_assert_int_eq(rlx_session_past(w->s, 0), through ? 300 : 0);
        if (!through)
            grow(w, 0, 300);
        free_world(w);
    }
    ck_assert_int_ge(k, 10);
}
END_TEST

/* And a second program in a session that is at work. */
START_TEST(further_programs)
{
    int32_t seq[] = {0}, id = 7;
    bool through = false;
    for (int k = 0; !through; k++) {
        world *w = make_world(FULL, 1);
        builder b;
        build_windows(&b, BOTH);
        rlx_executable *both = load(&b, NULL), *full = w->e;
        grow(w, 0, 600);
        fork_world(w, 0, 1);
        w->e = both;
        countdown = k;
        through = went_through(try_step(w, seq, 1, &id));
        w->e = full;
        w->h[0].id[600] = id;
        w->h[0].past += through;
        check_books(w);
        grow(w, 0, 300);
        grow(w, 1, 300);
        rlx_executable_destroy(both);
        builder_deinit(&b);
        free_world(w);
    }
}
END_TEST

#define WITHOUT_MEMORY(call)                        \
    do {                                            \
        countdown = asked = 0;                      \
        rlx_status st_ = (call);                    \
        bool nothing_ = !st_ && asked == 0;         \
        countdown = -1;                             \
        ck_assert_msg(nothing_, "%s asked", #call); \
    } while (0)

START_TEST(moving_asks_for_nothing)
{
    world *w = make_world(BOTH, 1);
    for (int i = 0; i < 50; i++)
        one_move(w);
    for (int i = 0; i < 500; i++) {
        static int32_t seq[50], ids[50];
        int q = i % SEQUENCES, other = (i + 1 + i % 3) % SEQUENCES;
        WITHOUT_MEMORY(rlx_session_fork(w->s, q, other));
        int64_t past = rlx_session_past(w->s, other), to = past - past % 5;
        WITHOUT_MEMORY(rlx_session_rewind(w->s, other, to > POSITIONS - 60 ? 0 : to));
        for (int k = 0; k < 50; k++)
            seq[k] = other;
        WITHOUT_MEMORY(try_step(w, seq, 1 + i % 50, ids)); /* which copies and takes pages */
        check_books(w);
    }
    free_world(w);
}
END_TEST

START_TEST(files)
{
    char path[] = "/tmp/rlx-session-XXXXXX";
    close(mkstemp(path));
    world *w = make_world(BOTH, 1);
    grow(w, 0, 700);
    grow(w, 1, 400);
    fork_world(w, 1, 2);
    int k = 0;
    do
        countdown = k;
    while (k++ < 100 && !went_through(rlx_session_write(w->s, 0, "m", path)));
    ck_assert_int_ge(k, 2);
    bool through = false;
    for (k = 0; !through && k < 100; k++) {
        countdown = k;
        through = went_through(rlx_session_read(w->s, 1, "m", path));
        check_books(w);
        if (through)
            w->h[1] = w->h[0];
        ck_assert_int_eq(rlx_session_past(w->s, 1), w->h[1].past);
    }
    ck_assert(through && k >= 3);
    for (int q = 0; q < 3; q++)
        grow(w, q, 20);
    free_world(w);
    unlink(path);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("session_oom");
    SUITE_TEST(s, "sessions are made or not", sessions_are_made_or_not);
    SUITE_TEST(s, "first steps", first_steps);
    SUITE_TEST(s, "further programs", further_programs);
    SUITE_TEST(s, "moving asks for nothing", moving_asks_for_nothing);
    SUITE_TEST(s, "files", files);
    return suite_run(s, 5);
}
