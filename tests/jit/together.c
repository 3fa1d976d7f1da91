/* Steps in one launch: all teams beside each other (subject.h). What goes wrong in a team's thread ends the waiting of all, and is asserted
 * by the test's own thread, when there is no other any more. */
#include <pthread.h>
#include <sched.h>

#include "tests/jit/subject.h"
#include "tests/runtime/suite.h"

enum { MAX_TEAMS = 16 };

typedef struct party {
    const loaded *code;
    void *const *buffers;
    const int64_t *symbols;
    int teams;
    loaded_order order;
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t changed;
    int turn; /* the team that runs */
    bool done[MAX_TEAMS];
    int idle;                 /* how often teams looked since one arrived or ended */
    char wrong[LOADED_WRONG]; /* "": nothing; else nobody waits any more */
} party;

typedef struct member {
    party *of;
    int team;
} member;

static _Thread_local member *myself;

/* And round again. */
static void pass_on(party *p)
{
    const int by = p->order == LOADED_DOWN ? p->teams - 1 : 1;
    int next = p->turn;
    do
        next = (next + by) % p->teams;
    while (p->done[next] && next != p->turn);
    p->turn = next;
    pthread_cond_broadcast(&p->changed);
}

/* The first is kept. */
static void give_up(party *p, const char *wrong)
{
    if (!p->wrong[0])
        snprintf(p->wrong, sizeof p->wrong, "%s", wrong);
    pthread_cond_broadcast(&p->changed);
}

static void wait_for_turn(party *p, int team)
{
    while (p->order && p->turn != team && !p->wrong[0])
        pthread_cond_wait(&p->changed, &p->lock);
}

static void arrive(rlx_host_invocation *self, uint32_t *counter)
{
    party *p = myself->of;
    (void)self;
    pthread_mutex_lock(&p->lock);
    p->idle = 0;
    pthread_mutex_unlock(&p->lock);
    __atomic_fetch_add(counter, 1, __ATOMIC_RELEASE);
}

static uint32_t look(rlx_host_invocation *self, const uint32_t *counter)
{
    enum { ROUNDS = 4, MANY = 1 << 24 }; /* in turns; as they come */
    party *p = myself->of;
    (void)self;
    pthread_mutex_lock(&p->lock);
    if (p->idle++ >= (p->order ? ROUNDS * p->teams : MANY))
        give_up(p, "all teams wait");
    if (p->order) {
        pass_on(p);
        wait_for_turn(p, myself->team);
    }
    const bool wrong = p->wrong[0];
    pthread_mutex_unlock(&p->lock);
    sched_yield();
    return wrong ? UINT32_MAX : __atomic_load_n(counter, __ATOMIC_ACQUIRE);
}

static void *run_member(void *user)
{
    static const loaded_meeting meeting = {arrive, look};
    member *m = user;
    party *p = m->of;
    myself = m;
    pthread_mutex_lock(&p->lock);
    wait_for_turn(p, m->team);
    pthread_mutex_unlock(&p->lock);
    char wrong[LOADED_WRONG];
    const bool well =
        loaded_run_team(p->code, p->buffers, p->symbols, m->team, p->teams, &meeting, wrong);
    pthread_mutex_lock(&p->lock);
    if (!well)
        give_up(p, wrong);
    p->done[m->team] = true;
    p->idle = 0;
    if (p->order)
        pass_on(p);
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

bool loaded_try_together(const loaded *l, void *const *buffers, const int64_t *symbols, int teams,
                         loaded_order order, char wrong[LOADED_WRONG])
{
    pthread_t thread[MAX_TEAMS];
    member members[MAX_TEAMS];
    party p = {.code = l,
               .buffers = buffers,
               .symbols = symbols,
               .teams = teams,
               .order = order,
               .turn = order == LOADED_DOWN ? teams - 1 : 0};
    int started = 0;
    ck_assert_int_le(teams, MAX_TEAMS);
    pthread_mutex_init(&p.lock, NULL);
    pthread_cond_init(&p.changed, NULL);
    for (; started < teams; started++) {
        members[started] = (member){&p, started};
        if (pthread_create(&thread[started], NULL, run_member, &members[started]))
            break;
    }
    if (started < teams) {
        pthread_mutex_lock(&p.lock);
        give_up(&p, "there is no thread for a team");
        pthread_mutex_unlock(&p.lock);
    }
    for (int i = 0; i < started; i++)
        pthread_join(thread[i], NULL);
    pthread_cond_destroy(&p.changed);
    pthread_mutex_destroy(&p.lock);
    memcpy(wrong, p.wrong, LOADED_WRONG);
    return !wrong[0];
}

void loaded_run_together(const loaded *l, void *const *buffers, const int64_t *symbols, int teams,
                         loaded_order order)
{
    char wrong[LOADED_WRONG];
    ck_assert_msg(loaded_try_together(l, buffers, symbols, teams, order, wrong), "%s", wrong);
}
