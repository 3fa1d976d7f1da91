/* runtime/team.c: the threads that run a step.
 *
 *   job = phases; a phase = parts, as many per member. caller: publishes the job, member 0
 *   every member, for each phase:                      workers: see the job's number change
 *     own parts first, then whatever nobody has begun, from the others' ends;
 *     then wait until all parts of the phase are done
 *
 * Of a member's share the first part is half, the next half of what is left, and so on: an owner begins with what is
 * large and without a seam, and what others take over at the end is small.
 *
 * A phase ends when its parts are done, not when everybody has come: a worker that sleeps, or that
 * the operating system has put aside, holds up nothing unless it is inside a part. Phases are
 * numbered through the team's life, and a member's parts are claimed in a word that says of which
 * phase how many are taken; so a worker that comes late finds everything taken and catches up, and the
 * caller need not wait for it when the job is over. So only who is inside a part may look at what the
 * caller has: how many parts the open phase has stands in the word that says which one it is.
 *
 * Everybody waits in one way: on a word that somebody else will change, first by looking (a step
 * has a hundred phases of microseconds), after 100 us by sleeping on a futex, which takes 50 us to
 * wake from. With more running members than cores, looking would take the time of the very thread
 * that is waited for: then it sleeps at once.
 *
 * The operating system places the threads: a pinned thread that shares its core with a stranger
 * would hold up every phase.
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
#include <unistd.h>

#include "runtime/base/clock.h"
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

static void announce(wait_word *w, uint32_t value)
{
    atomic_store(&w->value, value);
    if (atomic_load(&w->sleepers) > 0)
        futex(w, FUTEX_WAKE, INT_MAX);
}

/* ---- the team ------------------------------------------------------------------------------- */

enum { PIECE_BITS = 4, PIECE_MASK = 15 };
_Static_assert((int)RLX_TEAM_PIECES <= (int)PIECE_MASK, "a count of pieces has four bits");

/* How many of a member's parts are begun: the phase << 8 | from the first on << 4 | from the last;
 * and what it reads next. */
typedef struct claim {
    _Alignas(CACHE_LINE) _Atomic uint64_t word;
    _Alignas(CACHE_LINE) rlx_soon soon; /* the member's alone */
} claim;

/* What is to be done. Written by the caller under `queue` while no phase is open; a worker copies
 * it and keeps the copy if the job's number has not changed meanwhile. */
typedef struct job {
    _Atomic uint64_t base; /* phases before this job */
    _Atomic int phases;
    _Atomic(const uint8_t *) pieces; /* by phase, parts per member; NULL: one */
    _Atomic(rlx_phase_fn *) fn;
    _Atomic(void *) user;
} job;

struct rlx_team {
    pthread_mutex_t queue; /* held by the caller whose job runs */
    int size, cores;
    _Atomic int running; /* its share of the count of all teams */
    _Atomic bool stop;
    job job;
    wait_word number; /* of the current job; odd while it is being written */
    wait_word phase;  /* phases that are over << 4 | pieces of the one that is open, modulo 2^32 */
    _Alignas(CACHE_LINE) _Atomic int parts_done; /* of the phase */
    claim *claims;                               /* by member */
    struct worker *workers;                      /* size - 1 of them */
    int started;
};

typedef struct worker {
    rlx_team *team;
    int member;
    pthread_t thread;
} worker;

/* Asks for some lines of what is read soon. (Nothing is mapped there any more: no harm.) */
static bool tell_some(rlx_soon *s)
{
    enum { LINES = 2 };
    while (s->first < s->n && s->told >= s->range[s->first].bytes) {
        s->first++;
        s->told = 0;
    }
    if (s->first == s->n)
        return false;
    for (int i = 0; i < LINES; i++, s->told += CACHE_LINE)
        __builtin_prefetch(s->range[s->first].from + s->told, 0, 2);
    return true;
}

/* Waits until `w` is no longer `old`. Each member of the waiter's team wants a core; the wait only looks
 * while there are so many besides other teams. Looking, it brings nearer what its thread reads next. */
static void await_change(const rlx_team *t, wait_word *w, uint32_t old, rlx_soon *soon)
{
    int64_t end = 0;
    do {
        for (int i = 0; i < LOOKS_PER_CLOCK; i++) {
            if (atomic_load_explicit(&w->value, memory_order_acquire) != old)
                return;
            if (!tell_some(soon))
                __builtin_ia32_pause();
        }
        int others = atomic_load_explicit(&running, memory_order_relaxed) -
                     atomic_load_explicit(&t->running, memory_order_relaxed);
        if (others + t->size > t->cores)
            break;
        if (end == 0)
            end = rlx_nanoseconds() + SPIN_NS;
    } while (rlx_nanoseconds() < end);

    /* Sequentially consistent with announce(): either this load sees the new value, or announce()
     * sees this sleeper. */
    atomic_fetch_add(&w->sleepers, 1);
    while (atomic_load(&w->value) == old)
        futex(w, FUTEX_WAIT, old);
    atomic_fetch_sub(&w->sleepers, 1);
}

/* Begins one of the parts of `member` in phase `number`: its next, or its last for another; -1:
 * none is left. */
static int begin_part(rlx_team *t, int member, uint64_t number, int pieces, bool own)
{
    enum { PHASE = 2 * PIECE_BITS };
    _Atomic uint64_t *word = &t->claims[member].word;
    uint64_t old = atomic_load_explicit(word, memory_order_relaxed);
    for (;;) {
        bool fresh = old >> PHASE < number;
        int first = fresh ? 0 : (int)(old >> PIECE_BITS & PIECE_MASK);
        int last = fresh ? 0 : (int)(old & PIECE_MASK);
        if (old >> PHASE > number || first + last == pieces)
            return -1;
        uint64_t taken = (uint64_t)(first + own) << PIECE_BITS | (uint64_t)(last + !own);
        if (atomic_compare_exchange_weak_explicit(word, &old, number << PHASE | taken,
                                                  memory_order_acq_rel, memory_order_relaxed))
            return own ? first : pieces - 1 - last;
    }
}

/* Runs what is left of a phase; returns how many parts that were. */
static int run_parts(rlx_team *t, int member, const job *j, int phase, uint64_t number, int pieces)
{
    rlx_phase_fn *fn = atomic_load_explicit(&j->fn, memory_order_relaxed);
    void *user = atomic_load_explicit(&j->user, memory_order_relaxed);
    int n = 0;
    for (int i = 0; i < t->size; i++) {
        int of = (member + i) % t->size, piece;
        while ((piece = begin_part(t, of, number, pieces, i == 0)) >= 0) {
            /* a half, a quarter, .., and the last is as large as the one before it */
            const bool last = piece == pieces - 1;
            const int parts = last ? 1 << piece : 2 << piece, part = last ? parts - 1 : parts - 2;
            fn(user, phase, of * parts + part, t->size * parts, member);
            n++;
        }
    }
    return n;
}

static uint32_t phase_word(const job *j, uint64_t over, int next)
{
    const uint8_t *pieces = atomic_load_explicit(&j->pieces, memory_order_relaxed);
    const bool any = next < atomic_load_explicit(&j->phases, memory_order_relaxed);
    return (uint32_t)(over << PIECE_BITS) | (any && pieces ? pieces[next] : 1u);
}

static bool is_over(uint32_t word, uint64_t number)
{
    return (int32_t)((word & ~(uint32_t)PIECE_MASK) - (uint32_t)(number << PIECE_BITS)) >= 0;
}

static void run_phases(rlx_team *t, int member, const job *j)
{
    uint64_t base = atomic_load_explicit(&j->base, memory_order_relaxed);
    int phases = atomic_load_explicit(&j->phases, memory_order_relaxed);
    for (int p = 0; p < phases; p++) {
        uint64_t number = base + (uint64_t)p + 1;
        uint32_t now = atomic_load_explicit(&t->phase.value, memory_order_acquire);
        if (is_over(now, number))
            continue;
        const int pieces = (int)(now & PIECE_MASK), all = t->size * pieces;
        int n = run_parts(t, member, j, p, number, pieces);
        if (n && atomic_fetch_add_explicit(&t->parts_done, n, memory_order_acq_rel) + n == all) {
            atomic_store_explicit(&t->parts_done, 0, memory_order_relaxed);
            announce(&t->phase, phase_word(j, number, p + 1));
        }
        while (!is_over(now = atomic_load_explicit(&t->phase.value, memory_order_acquire), number))
            await_change(t, &t->phase, now, &t->claims[member].soon);
    }
}

static void copy_job(const job *from, job *to)
{
    atomic_store(&to->base, atomic_load(&from->base));
    atomic_store(&to->phases, atomic_load(&from->phases));
    atomic_store(&to->pieces, atomic_load(&from->pieces));
    atomic_store(&to->fn, atomic_load(&from->fn));
    atomic_store(&to->user, atomic_load(&from->user));
}

static void *work(void *user)
{
    worker *w = user;
    rlx_team *t = w->team;
    for (uint32_t seen = 0;;) {
        await_change(t, &t->number, seen, &t->claims[w->member].soon);
        uint32_t number = atomic_load(&t->number.value);
        /* stored before the number that wakes for it: no later one comes */
        if (atomic_load(&t->stop))
            return NULL;
        job j;
        copy_job(&t->job, &j);
        if (number % 2 == 0 && atomic_load(&t->number.value) == number)
            run_phases(t, w->member, &j);
        seen = number;
    }
}

void rlx_team_run_pieces(rlx_team *t, int phases, const uint8_t *pieces, rlx_phase_fn *fn,
                         void *user)
{
    pthread_mutex_lock(&t->queue);
    atomic_store_explicit(&t->running, t->size, memory_order_relaxed);
    atomic_fetch_add_explicit(&running, t->size, memory_order_relaxed);
    uint64_t base = atomic_load(&t->job.base) + (uint64_t)atomic_load(&t->job.phases);
    uint32_t number = atomic_load(&t->number.value);
    atomic_store(&t->number.value, number + 1);
    atomic_store(&t->job.base, base);
    atomic_store(&t->job.phases, phases);
    atomic_store(&t->job.pieces, pieces);
    atomic_store(&t->job.fn, fn);
    atomic_store(&t->job.user, user);
    atomic_store(&t->phase.value, phase_word(&t->job, base, 0));
    announce(&t->number, number + 2);
    run_phases(t, 0, &t->job);
    atomic_fetch_sub_explicit(&running, t->size, memory_order_relaxed);
    atomic_store_explicit(&t->running, 0, memory_order_relaxed);
    pthread_mutex_unlock(&t->queue);
}

void rlx_team_run(rlx_team *t, int phases, rlx_phase_fn *fn, void *user)
{
    rlx_team_run_pieces(t, phases, NULL, fn, user);
}

rlx_soon *rlx_team_soon(rlx_team *t, int member)
{
    return &t->claims[member].soon;
}

int rlx_team_size(const rlx_team *t)
{
    return t->size;
}

/* ---- birth and death ------------------------------------------------------------------------ */

static rlx_status start_workers(rlx_team *t)
{
    /* The program's signals are the program's: no handler of its runs on our threads. But a
     * thread's own faults are its own: blocked, they end the process before any handler is asked.
     */
    static const int faults[] = {SIGBUS, SIGSEGV, SIGFPE, SIGILL, SIGTRAP};
    sigset_t all, before;
    sigfillset(&all);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        sigdelset(&all, faults[i]);
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
    t->claims = aligned_alloc(CACHE_LINE, (size_t)size * sizeof(claim));
    if (t->claims)
        memset(t->claims, 0, (size_t)size * sizeof(claim));
    rlx_status st = t->workers && t->claims ? start_workers(t) : RLX_OOM();
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
    atomic_store(&t->stop, true);
    announce(&t->number, atomic_load(&t->number.value) + 2);
    for (int i = 0; i < t->started; i++)
        pthread_join(t->workers[i].thread, NULL);
    pthread_mutex_destroy(&t->queue);
    free(t->claims);
    free(t->workers);
    free(t);
}
