#include "frontend/tool/ceilings.h"

#include <cpuid.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

double ceiling_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- trials on several threads at once */

typedef struct trial_set {
    void (*run)(struct trial_set *t, int member);
    int threads, trials;
    _Atomic int gate; /* 0: members wait for the others to be started; 1: go; -1: go home */
    pthread_barrier_t barrier;
    const byte_span *spans;
    size_t nspans, bytes; /* of all spans */
    int passes, streams;
    const struct reader *reader;
    const ceiling_unit *unit;
    _Atomic uint64_t sink; /* keeps the work from being removed */
} trial_set;

/* Members take their own times: whoever starts them may itself be waiting for a core. */
typedef struct member {
    trial_set *set;
    int index;
    pthread_t thread;
    double *begin, *end; /* by trial */
} member;

static void *work(void *arg)
{
    member *m = arg;
    int gate;
    while (!(gate = atomic_load(&m->set->gate)))
        sched_yield();
    for (int i = 0; gate > 0 && i < m->set->trials; i++) {
        pthread_barrier_wait(&m->set->barrier);
        m->begin[i] = ceiling_now();
        m->set->run(m->set, m->index);
        m->end[i] = ceiling_now();
    }
    return NULL;
}

/* From the first member's begin to the last one's end; of all trials but the first, the shortest.
 */
static double shortest(const member *m, int n, int trials)
{
    double best = 0;
    for (int t = 1; t < trials; t++) {
        double begin = m[0].begin[t], end = m[0].end[t];
        for (int i = 1; i < n; i++) {
            begin = m[i].begin[t] < begin ? m[i].begin[t] : begin;
            end = m[i].end[t] > end ? m[i].end[t] : end;
        }
        if (t == 1 || end - begin < best)
            best = end - begin;
    }
    return best;
}

/* Seconds of the best trial; 0 when something could not be had. */
static double run_trials(trial_set *t)
{
    member members[CEILING_MAX_THREADS];
    double best = 0;
    double *times = calloc((size_t)(2 * t->threads * t->trials), sizeof *times);
    if (!times)
        return 0;
    if (pthread_barrier_init(&t->barrier, NULL, (unsigned)t->threads)) {
        free(times);
        return 0;
    }
    int started = 0;
    for (; started < t->threads; started++) {
        double *mine = times + 2 * (size_t)(started * t->trials);
        members[started] =
            (member){.set = t, .index = started, .begin = mine, .end = mine + t->trials};
        if (pthread_create(&members[started].thread, NULL, work, &members[started]))
            break;
    }
    bool all = started == t->threads;
    atomic_store(&t->gate, all ? 1 : -1);
    for (int i = 0; i < started; i++)
        pthread_join(members[i].thread, NULL);
    if (all)
        best = shortest(members, t->threads, t->trials);
    pthread_barrier_destroy(&t->barrier);
    free(times);
    return best;
}

/* ---- reading */

typedef uint64_t vec __attribute__((vector_size(64), aligned(1), may_alias));

enum { STREAMS = 4 };

/* One stream of four lines at a time, or STREAMS of one line each, side by side. */
#define READ_LOOP(STEP, PLACE)                   \
    vec sum[STREAMS] = {{0}};                    \
    const vec *v = (const vec *)p;               \
    size_t n = bytes / sizeof *v / STREAMS;      \
    for (size_t i = 0; i < n; i++)               \
        for (size_t k = 0; k < STREAMS; k++)     \
            sum[k] += v[(STEP)*i + (PLACE)*k];   \
    vec all = sum[0] + sum[1] + sum[2] + sum[3]; \
    uint64_t total = 0;                          \
    for (int k = 0; k < 8; k++)                  \
        total += all[k];                         \
    return total

typedef uint64_t read_fn(const char *p, size_t bytes);
typedef struct reader {
    read_fn *one, *several;
} reader;

#define READER(NAME, ...)                                                   \
    __VA_ARGS__ static uint64_t NAME##_one(const char *p, size_t bytes)     \
    {                                                                       \
        READ_LOOP(STREAMS, 1);                                              \
    }                                                                       \
    __VA_ARGS__ static uint64_t NAME##_several(const char *p, size_t bytes) \
    {                                                                       \
        READ_LOOP(1, n);                                                    \
    }                                                                       \
    static const reader NAME = {NAME##_one, NAME##_several};

READER(read_any, )
READER(read_256, __attribute__((target("avx2"))))
READER(read_512, __attribute__((target("avx512f"))))

/* The widest that the CPU and the operating system have. (target_clones and __builtin_cpu_supports would ask at every start
 * of a program that holds them, whatever it does: a tenth of a millisecond on a virtual machine.) */
static const reader *widest_reader(void)
{
    enum { YMM = 0x6, ZMM = 0xe6 };
    unsigned eax, ebx, ecx, edx, state;
    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !(ecx & bit_OSXSAVE))
        return &read_any;
    __asm__ volatile("xgetbv" : "=a"(state), "=d"(edx) : "c"(0));
    if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx))
        return &read_any;
    if ((ebx & bit_AVX512F) && (state & ZMM) == ZMM)
        return &read_512;
    return (ebx & bit_AVX2) && (state & YMM) == YMM ? &read_256 : &read_any;
}

static void read_share(trial_set *t, int index)
{
    size_t from = t->bytes / (size_t)t->threads * (size_t)index;
    size_t to = index + 1 == t->threads ? t->bytes : from + t->bytes / (size_t)t->threads;
    read_fn *read = t->streams == 1 ? t->reader->one : t->reader->several;
    uint64_t total = 0;
    for (int pass = 0; pass < t->passes; pass++) {
        size_t at = 0; /* where the span begins in all of them */
        for (size_t i = 0; i < t->nspans && at < to; at += t->spans[i++].bytes) {
            size_t lo = from > at ? from - at : 0, hi = to - at;
            hi = hi < t->spans[i].bytes ? hi : t->spans[i].bytes;
            if (lo < hi)
                total += read(t->spans[i].data + lo, hi - lo);
        }
        atomic_signal_fence(memory_order_seq_cst);
    }
    atomic_fetch_add(&t->sink, total);
}

double ceiling_read(const byte_span *spans, size_t nspans, int threads, int passes, int trials)
{
    double best = 0;
    for (int streams = 1; streams <= STREAMS; streams += STREAMS - 1) {
        trial_set t = {.run = read_share,
                       .threads = threads,
                       .trials = trials + 1,
                       .spans = spans,
                       .nspans = nspans,
                       .passes = passes,
                       .streams = streams,
                       .reader = widest_reader()};
        for (size_t i = 0; i < nspans; i++)
            t.bytes += spans[i].bytes;
        double seconds = run_trials(&t);
        double rate = seconds > 0 ? (double)t.bytes * passes / seconds : 0;
        best = rate > best ? rate : best;
    }
    return best;
}

/* ---- multiplying and adding */

static void multiply(trial_set *t, int index)
{
    (void)index;
    atomic_fetch_add(&t->sink, t->unit->run());
}

double ceiling_unit_rate(const ceiling_unit *u, int threads, int trials)
{
    trial_set t = {.run = multiply, .threads = threads, .trials = trials + 1, .unit = u};
    double seconds = run_trials(&t);
    return seconds > 0 ? u->operations * threads / seconds : 0;
}
