/* The thread team: every member runs, barriers separate, callers queue, teams come and go. */
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "runtime/runtime.h"
#include "tests/runtime/suite.h"

enum { MAX_MEMBERS = 8 };

typedef struct counts {
    int ran[MAX_MEMBERS];
    int members;
} counts;

static void count_me(void *user, int member, int members)
{
    counts *c = user;
    c->ran[member]++;
    if (member == 0)
        c->members = members;
}

START_TEST(every_member_runs_every_job)
{
    for (int n = 1; n <= MAX_MEMBERS; n++) {
        rlx_team *t;
        EXPECT_OK(rlx_team_create(n, &t));
        ck_assert_int_eq(rlx_team_size(t), n);
        counts c = {0};
        for (int job = 0; job < 200; job++)
            rlx_team_run(t, count_me, &c);
        rlx_team_destroy(t);
        ck_assert_int_eq(c.members, n);
        for (int m = 0; m < n; m++)
            ck_assert_int_eq(c.ran[m], 200);
    }
}
END_TEST

/* Each phase writes own cells from the neighbours' of the last: wrong as soon as one barrier leaks.
 */
typedef struct relay {
    rlx_team *team;
    int phases;
    int64_t cell[2][MAX_MEMBERS];
} relay;

static void relay_job(void *user, int member, int members)
{
    relay *r = user;
    for (int p = 0; p < r->phases; p++) {
        const int64_t *from = r->cell[p & 1];
        int64_t sum = 0;
        for (int m = 0; m < members; m++)
            sum += from[m];
        r->cell[~p & 1][member] = sum % 1000003 + member;
        rlx_team_barrier(r->team, member);
    }
}

START_TEST(barriers_separate_phases)
{
    for (int n = 1; n <= MAX_MEMBERS; n++) {
        relay r = {.phases = n <= 2 ? 2000 : 200};
        EXPECT_OK(rlx_team_create(n, &r.team));
        int64_t want[2][MAX_MEMBERS] = {0};
        for (int m = 0; m < n; m++)
            want[0][m] = r.cell[0][m] = m + 1;
        for (int p = 0; p < r.phases; p++) {
            int64_t sum = 0;
            for (int m = 0; m < n; m++)
                sum += want[p & 1][m];
            for (int m = 0; m < n; m++)
                want[~p & 1][m] = sum % 1000003 + m;
        }
        rlx_team_run(r.team, relay_job, &r);
        rlx_team_destroy(r.team);
        ck_assert_mem_eq(r.cell, want, sizeof(want));
    }
}
END_TEST

/* Workers must wake from sleep as they do from looking. */
START_TEST(jobs_after_a_pause)
{
    rlx_team *t;
    EXPECT_OK(rlx_team_create(2, &t));
    counts c = {0};
    for (int job = 0; job < 20; job++) {
        rlx_team_run(t, count_me, &c);
        usleep(job % 2 ? 1500 : 90);
    }
    rlx_team_destroy(t);
    ck_assert_int_eq(c.ran[0], 20);
    ck_assert_int_eq(c.ran[1], 20);
}
END_TEST

typedef struct shared_counter {
    rlx_team *team;
    int64_t plain; /* written by member 0 of whichever job runs: exclusive only if jobs queue */
    _Atomic int64_t all;
} shared_counter;

static void bump(void *user, int member, int members)
{
    (void)members;
    shared_counter *s = user;
    if (member == 0)
        s->plain++;
    atomic_fetch_add(&s->all, 1);
}

static void *caller(void *user)
{
    shared_counter *s = user;
    for (int job = 0; job < 100; job++)
        rlx_team_run(s->team, bump, s);
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
    ck_assert_int_eq(s.plain, 400);
    ck_assert_int_eq(atomic_load(&s.all), 1200);
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
        ck_assert_int_eq(atomic_load(&s[i].all), 200);
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
    SUITE_TEST(s, "every member runs every job", every_member_runs_every_job);
    SUITE_TEST(s, "barriers separate phases", barriers_separate_phases);
    SUITE_TEST(s, "jobs after a pause", jobs_after_a_pause);
    SUITE_TEST(s, "callers queue", callers_queue);
    SUITE_TEST(s, "teams run beside each other", teams_run_beside_each_other);
    SUITE_TEST(s, "unused teams end", unused_teams_end);
    SUITE_TEST(s, "sizes", sizes);
    return suite_run(s, 7);
}
