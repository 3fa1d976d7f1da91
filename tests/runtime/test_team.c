/* The thread team: every member runs, phases follow, callers queue, teams come and go. */
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "runtime/runtime.h"
#include "tests/runtime/suite.h"

enum { MAX_MEMBERS = 8 };

enum { MAX_PHASES = 4 };

typedef struct counts {
    _Atomic int ran[MAX_PHASES][MAX_MEMBERS];
    _Atomic int wrong;
} counts;

static void count_part(void *user, int phase, int part, int parts, int member)
{
    counts *c = user;
    atomic_fetch_add(&c->ran[phase][part], 1);
    if (member < 0 || member >= parts)
        atomic_fetch_add(&c->wrong, 1);
}

/* Of shares that are halved each piece runs once: together they are all of every phase. */
typedef struct pieces {
    const uint8_t *count;
    _Atomic int units[MAX_PHASES]; /* of a member's share: 1 << RLX_TEAM_PIECES */
    _Atomic int ran[MAX_PHASES], firsts, wrong;
} pieces;

static void count_piece(void *user, int phase, int part, int parts, int member)
{
    pieces *c = user;
    (void)member;
    if (part < 0 || part >= parts)
        atomic_fetch_add(&c->wrong, 1);
    atomic_fetch_add(&c->ran[phase], 1);
    atomic_fetch_add(&c->firsts, phase == 0 && part == 0);
    atomic_fetch_add(&c->units[phase], (MAX_MEMBERS << RLX_TEAM_PIECES) / parts);
}

START_TEST(every_piece_runs_once)
{
    enum { JOBS = 200 };
    static const uint8_t count[MAX_PHASES] = {3, 1, RLX_TEAM_PIECES, 2};
    for (int n = 1; n <= MAX_MEMBERS; n *= 2) {
        rlx_team *t;
        EXPECT_OK(rlx_team_create(n, &t));
        pieces c = {0};
        for (int job = 0; job < JOBS; job++) {
            rlx_team_run_pieces(t, MAX_PHASES, count, count_piece, &c);
            rlx_team_run(t, 1, count_piece, &c);
        }
        rlx_team_destroy(t);
        ck_assert_int_eq(c.wrong, 0);
        ck_assert_int_eq(c.firsts, 2 * JOBS);
        for (int p = 0; p < MAX_PHASES; p++) {
            const int runs = p ? JOBS : 2 * JOBS;
            ck_assert_int_eq(c.ran[p], JOBS * n * (p ? count[p] : count[p] + 1));
            ck_assert_int_eq(c.units[p], runs * (MAX_MEMBERS << RLX_TEAM_PIECES));
        }
    }
}
END_TEST

START_TEST(every_part_of_every_phase_runs_once)
{
    for (int n = 1; n <= MAX_MEMBERS; n++) {
        rlx_team *t;
        EXPECT_OK(rlx_team_create(n, &t));
        ck_assert_int_eq(rlx_team_size(t), n);
        counts c = {0};
        for (int job = 0; job < 200; job++)
            rlx_team_run(t, job % (MAX_PHASES + 1), count_part, &c);
        rlx_team_destroy(t);
        ck_assert_int_eq(c.wrong, 0);
        for (int p = 0; p < MAX_PHASES; p++)
            for (int m = 0; m < MAX_MEMBERS; m++)
                ck_assert_int_eq(c.ran[p][m], m < n ? 40 * (MAX_PHASES - p) : 0);
    }
}
END_TEST

/* Each phase writes own cells from the neighbours' of the last: wrong as soon as one begins early.
 */
typedef struct relay {
    int64_t cell[2][MAX_MEMBERS];
} relay;

static void relay_part(void *user, int phase, int part, int parts, int member)
{
    (void)member;
    relay *r = user;
    int64_t sum = 0;
    for (int m = 0; m < parts; m++)
        sum += r->cell[phase & 1][m];
    r->cell[~phase & 1][part] = sum % 1000003 + part;
}

START_TEST(phases_follow_each_other)
{
    for (int n = 1; n <= MAX_MEMBERS; n++) {
        relay r = {0};
        rlx_team *t;
        int phases = n <= 2 ? 2000 : 200;
        EXPECT_OK(rlx_team_create(n, &t));
        int64_t want[2][MAX_MEMBERS] = {0};
        for (int m = 0; m < n; m++)
            want[0][m] = r.cell[0][m] = m + 1;
        for (int p = 0; p < phases; p++) {
            int64_t sum = 0;
            for (int m = 0; m < n; m++)
                sum += want[p & 1][m];
            for (int m = 0; m < n; m++)
                want[~p & 1][m] = sum % 1000003 + m;
        }
        rlx_team_run(t, phases, relay_part, &r);
        rlx_team_destroy(t);
        ck_assert_mem_eq(r.cell, want, sizeof(want));
    }
}
END_TEST

/* A member inside a part for long does not keep the others from the rest of the phase. */
typedef struct held {
    _Atomic int others; /* parts done by others while part 0 is held */
    int parts;
    bool seen;
} held;

static void hold_part(void *user, int phase, int part, int parts, int member)
{
    (void)phase;
    (void)parts;
    (void)member;
    held *h = user;
    if (part != 0) {
        atomic_fetch_add(&h->others, 1);
        return;
    }
    for (int i = 0; i < 5000 && atomic_load(&h->others) < h->parts - 1; i++)
        usleep(1000);
    h->seen = atomic_load(&h->others) == h->parts - 1;
}

START_TEST(parts_are_taken_over)
{
    rlx_team *t;
    EXPECT_OK(rlx_team_create(4, &t));
    held h = {.parts = 4};
    rlx_team_run(t, 1, hold_part, &h);
    ck_assert(h.seen);
    static const uint8_t four[] = {4};
    h = (held){.parts = 16};
    rlx_team_run_pieces(t, 1, four, hold_part, &h);
    ck_assert(h.seen);
    rlx_team_destroy(t);
}
END_TEST

/* Workers must wake from sleep as they do from looking. */
START_TEST(jobs_after_a_pause)
{
    rlx_team *t;
    EXPECT_OK(rlx_team_create(2, &t));
    counts c = {0};
    for (int job = 0; job < 20; job++) {
        rlx_team_run(t, 1, count_part, &c);
        usleep(job % 2 ? 1500 : 90);
    }
    rlx_team_destroy(t);
    ck_assert_int_eq(c.ran[0][0], 20);
    ck_assert_int_eq(c.ran[0][1], 20);
}
END_TEST

typedef struct shared_counter {
    rlx_team *team;
    int64_t plain; /* written by part 0 of whichever job runs: exclusive only if jobs queue */
    _Atomic int64_t all;
} shared_counter;

static void bump(void *user, int phase, int part, int parts, int member)
{
    (void)phase;
    (void)parts;
    (void)member;
    shared_counter *s = user;
    if (part == 0)
        s->plain++;
    atomic_fetch_add(&s->all, 1);
}

static void *caller(void *user)
{
    shared_counter *s = user;
    for (int job = 0; job < 100; job++)
        rlx_team_run(s->team, 2, bump, s);
    return NULL;
}

START_TEST(callers_queue)
{
    shared_counter s = {0};
    EXPECT_OK(rlx_team_create(3, &s.team));
    pthread_t callers[4];
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&callers[i], NULL, caller, &s), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(callers[i], NULL);
    rlx_team_destroy(s.team);
    ck_assert_int_eq(s.plain, 800);
    ck_assert_int_eq(atomic_load(&s.all), 2400);
}
END_TEST

START_TEST(teams_run_beside_each_other)
{
    shared_counter s[3] = {0};
    pthread_t callers[3];
    for (int i = 0; i < 3; i++) {
        EXPECT_OK(rlx_team_create(2, &s[i].team));
        ck_assert_int_eq(pthread_create(&callers[i], NULL, caller, &s[i]), 0);
    }
    for (int i = 0; i < 3; i++) {
        pthread_join(callers[i], NULL);
        rlx_team_destroy(s[i].team);
        ck_assert_int_eq(atomic_load(&s[i].all), 400);
    }
}
END_TEST

START_TEST(unused_teams_end)
{
    for (int i = 0; i < 50; i++) {
        rlx_team *t;
        EXPECT_OK(rlx_team_create(i % 5 + 1, &t));
        rlx_team_destroy(t);
    }
    rlx_team_destroy(NULL);
}
END_TEST

START_TEST(sizes)
{
    rlx_team *t;
    EXPECT_OK(rlx_team_create(0, &t));
    ck_assert_int_eq(rlx_team_size(t), rlx_cpu_host()->cores);
    rlx_team_destroy(t);
    EXPECT_ERROR(rlx_team_create(-1, &t), RLX_INVALID_ARGUMENT, "a team of -1 threads");
    EXPECT_ERROR(rlx_team_create(100000, &t), RLX_INVALID_ARGUMENT, "1 to 1024");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("team");
    SUITE_TEST(s, "every part of every phase runs once", every_part_of_every_phase_runs_once);
    SUITE_TEST(s, "every piece runs once", every_piece_runs_once);
    SUITE_TEST(s, "phases follow each other", phases_follow_each_other);
    SUITE_TEST(s, "parts are taken over", parts_are_taken_over);
    SUITE_TEST(s, "jobs after a pause", jobs_after_a_pause);
    SUITE_TEST(s, "callers queue", callers_queue);
    SUITE_TEST(s, "teams run beside each other", teams_run_beside_each_other);
    SUITE_TEST(s, "unused teams end", unused_teams_end);
    SUITE_TEST(s, "sizes", sizes);
    return suite_run(s, 9);
}
