/* runtime/team.c: the threads that run a step.
 *
 *   caller                         workers
 *   publish job ------------------> see the job's number change
 *   fn(user, 0, n)                  fn(user, 1..n-1, n)
 *   barrier <---------------------> barrier, then wait for the next job
 *
 * Everybody waits in one way: on a word that somebody else will change, first by looking (a step
 * has a hundred barriers of a tenth of a microsecond each), after 100 us by sleeping on a futex,
 * which takes 50 us to wake from. With more running members than cores, looking would take the time
 * of the very thread that is waited for: then it sleeps at once.
 *
 * The operating system places the threads: a pinned thread that shares its core with a stranger
 * would hold up every barrier.
 */
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "runtime/runtime.h"

enum { MAX_THREADS = 1024, SPIN_NS = 100 * 1000, LOOKS_PER_CLOCK = 64, CACHE_LINE = 64 };

/* ---- waiting -------------------------------------------------------------------------------- */

typedef struct wait_word {
    _Alignas(CACHE_LINE) _Atomic uint32_t value;
    _Atomic int sleepers;
} wait_word;

/* Members of all teams that are in a job now. */
static _Atomic int running;

static void futex(wait_word *w, int op, uint32_t value)
{
    syscall(SYS_futex, &w->value, op | FUTEX_PRIVATE_FLAG, value, NULL, NULL, 0);
}

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Waits until `w` is no longer `old`. `others`: members that will come on top of those running; the
 * wait only looks while all of them have a core each. */
static void await_change(wait_word *w, uint32_t old, int others, int cores)
{
    int64_t end = 0;
    do {
        for (int i = 0; i < LOOKS_PER_CLOCK; i++) {
            if (atomic_load_explicit(&w->value, memory_order_acquire) != old)
                return;
            __builtin_ia32_pause();
        }
        if (atomic_load_explicit(&running, memory_order_relaxed) + others > cores)
            break;
        if (end == 0)
            end = now_ns() + SPIN_NS;
    } while (now_ns() < end);

    /* Sequentially consistent with announce(): either this load sees the new value, or announce()
     * sees this sleeper. */
    atomic_fetch_add(&w->sleepers, 1);
    while (atomic_load(&w->value) == old)
        futex(w, FUTEX_WAIT, old);
    atomic_fetch_sub(&w->sleepers, 1);
}

static void announce(wait_word *w, uint32_t value)
{
    atomic_store(&w->value, value);
    if (atomic_load(&w->sleepers) > 0)
        futex(w, FUTEX_WAKE, INT_MAX);
}

/* ---- the team ------------------------------------------------------------------------------- */

struct rlx_team {
    pthread_mutex_t queue; /* held by the caller whose job runs */
    int size, cores;
    void (*fn)(void *user, int member, int members);
    void *user;
    bool stop;
    wait_word job;     /* number of the current job */
    wait_word barrier; /* number of the current barrier: its change is the sense */
    _Alignas(CACHE_LINE) _Atomic int arrived;
    struct worker *workers; /* size - 1 of them */
    int started;
};

typedef struct worker {
    rlx_team *team;
    int member;
    pthread_t thread;
} worker;

void rlx_team_barrier(rlx_team *t, int member)
{
    (void)member;
    if (t->size == 1)
        return;
    uint32_t number = atomic_load_explicit(&t->barrier.value, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&t->arrived, 1, memory_order_acq_rel) == t->size - 1) {
        /* Nobody adds to `arrived` again before the announcement. */
        atomic_store_explicit(&t->arrived, 0, memory_order_relaxed);
        announce(&t->barrier, number + 1);
    } else {
        await_change(&t->barrier, number, 0, t->cores);
    }
}

static void *work(void *user)
{
    worker *w = user;
    rlx_team *t = w->team;
    for (uint32_t job = 0;; job++) {
        await_change(&t->job, job, t->size, t->cores);
        if (t->stop)
            return NULL;
        t->fn(t->user, w->member, t->size);
        rlx_team_barrier(t, w->member);
    }
}

void rlx_team_run(rlx_team *t, void (*fn)(void *user, int member, int members), void *user)
{
    pthread_mutex_lock(&t->queue);
    if (t->size > 1) {
        t->fn = fn;
        t->user = user;
        announce(&t->job, atomic_load_explicit(&t->job.value, memory_order_relaxed) + 1);
    }
    /* Counted only while workers have their job: one that waits for it must not take its own team
     * for another that wants its core. */
    atomic_fetch_add_explicit(&running, t->size, memory_order_relaxed);
    fn(user, 0, t->size);
    atomic_fetch_sub_explicit(&running, t->size, memory_order_relaxed);
    rlx_team_barrier(t, 0);
    pthread_mutex_unlock(&t->queue);
}

int rlx_team_size(const rlx_team *t)
{
    return t->size;
}

/* ---- birth and death ------------------------------------------------------------------------ */

static rlx_status start_workers(rlx_team *t)
{
    /* The program's signals are the program's: no handler of its runs on our threads. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = 0;
    while (!error && t->started < t->size - 1) {
        worker *w = &t->workers[t->started];
        *w = (worker){.team = t, .member = t->started + 1};
        error = pthread_create(&w->thread, NULL, work, w);
        if (!error) {
            pthread_setname_np(w->thread, "rlx");
            t->started++;
        }
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error)
        return RLX_FAIL(RLX_IO, "starting thread %d of a team of %d: %s", t->started + 1, t->size,
                        strerror(error));
    return RLX_OK;
}

rlx_status rlx_team_create(int threads, rlx_team **out)
{
    int cores = rlx_cpu_host()->cores;
    if (threads < 0 || threads > MAX_THREADS)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "a team of %d threads: expected 1 to %d, or 0",
                        threads, MAX_THREADS);
    int size = threads ? threads : cores < MAX_THREADS ? cores : MAX_THREADS;
    rlx_team *t = aligned_alloc(_Alignof(rlx_team), sizeof(*t));
    if (!t)
        return RLX_OOM();
    memset(t, 0, sizeof(*t));
    pthread_mutex_init(&t->queue, NULL);
    t->size = size;
    t->cores = cores;
    t->workers = calloc((size_t)size, sizeof(worker));
    rlx_status st = t->workers ? start_workers(t) : RLX_OOM();
    if (st) {
        rlx_team_destroy(t);
        return st;
    }
    *out = t;
    return RLX_OK;
}

void rlx_team_destroy(rlx_team *t)
{
    if (!t)
        return;
    t->stop = true;
    announce(&t->job, atomic_load_explicit(&t->job.value, memory_order_relaxed) + 1);
    for (int i = 0; i < t->started; i++)
        pthread_join(t->workers[i].thread, NULL);
    pthread_mutex_destroy(&t->queue);
    free(t->workers);
    free(t);
}
