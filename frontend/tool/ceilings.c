#include "frontend/tool/ceilings.h"

#include <immintrin.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

static double now(void)
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
    int passes;
    bool wide;
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
        m->begin[i] = now();
        m->set->run(m->set, m->index);
        m->end[i] = now();
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

__attribute__((target_clones("avx512f", "avx2", "default"))) static uint64_t
read_part(const char *p, size_t bytes)
{
    vec sum[4] = {{0}};
    const vec *v = (const vec *)p;
    size_t n = bytes / sizeof *v / 4 * 4;
    for (size_t i = 0; i < n; i += 4)
        for (int k = 0; k < 4; k++)
            sum[k] += v[i + (size_t)k];
    vec all = sum[0] + sum[1] + sum[2] + sum[3];
    uint64_t total = 0;
    for (int k = 0; k < 8; k++)
        total += all[k];
    return total;
}

static void read_share(trial_set *t, int index)
{
    size_t from = t->bytes / (size_t)t->threads * (size_t)index;
    size_t to = index + 1 == t->threads ? t->bytes : from + t->bytes / (size_t)t->threads;
    uint64_t total = 0;
    for (int pass = 0; pass < t->passes; pass++) {
        size_t at = 0; /* where the span begins in all of them */
        for (size_t i = 0; i < t->nspans && at < to; at += t->spans[i++].bytes) {
            size_t lo = from > at ? from - at : 0, hi = to - at;
            hi = hi < t->spans[i].bytes ? hi : t->spans[i].bytes;
            if (lo < hi)
                total += read_part(t->spans[i].data + lo, hi - lo);
        }
        atomic_signal_fence(memory_order_seq_cst);
    }
    atomic_fetch_add(&t->sink, total);
}

double ceiling_read(const byte_span *spans, size_t nspans, int threads, int passes, int trials)
{
    trial_set t = {.run = read_share,
                   .threads = threads,
                   .trials = trials + 1,
                   .spans = spans,
                   .nspans = nspans,
                   .passes = passes};
    for (size_t i = 0; i < nspans; i++)
        t.bytes += spans[i].bytes;
    double seconds = run_trials(&t);
    return seconds > 0 ? (double)t.bytes * passes / seconds : 0;
}

/* ---- multiplying and adding */

enum { FMA_STEPS = 1 << 20, FMA_CHAINS = 12 };

/* Twelve chains hide a latency of four on two ports with room to spare. */
#define FMA_LOOP(VEC, SET, FMA)                                                     \
    VEC a[FMA_CHAINS];                                                              \
    for (int i = 0; i < FMA_CHAINS; i++)                                            \
        a[i] = SET((float)i);                                                       \
    VEC x = SET(0.5f), y = SET(1.0f);                                               \
    for (int step = 0; step < FMA_STEPS; step++) {                                  \
        a[0] = FMA(a[0], x, y), a[1] = FMA(a[1], x, y), a[2] = FMA(a[2], x, y);     \
        a[3] = FMA(a[3], x, y), a[4] = FMA(a[4], x, y), a[5] = FMA(a[5], x, y);     \
        a[6] = FMA(a[6], x, y), a[7] = FMA(a[7], x, y), a[8] = FMA(a[8], x, y);     \
        a[9] = FMA(a[9], x, y), a[10] = FMA(a[10], x, y), a[11] = FMA(a[11], x, y); \
    }                                                                               \
    for (int i = 1; i < FMA_CHAINS; i++)                                            \
        a[0] = FMA(a[0], x, a[i]);                                                  \
    return (uint64_t)a[0][0]

__attribute__((target("avx512f"))) static uint64_t fma_512(void)
{
    FMA_LOOP(__m512, _mm512_set1_ps, _mm512_fmadd_ps);
}

__attribute__((target("avx2,fma"))) static uint64_t fma_256(void)
{
    FMA_LOOP(__m256, _mm256_set1_ps, _mm256_fmadd_ps);
}

static void multiply(trial_set *t, int index)
{
    (void)index;
    atomic_fetch_add(&t->sink, t->wide ? fma_512() : fma_256());
}

double ceiling_fma(bool wide, int threads, int trials)
{
    trial_set t = {.run = multiply, .threads = threads, .trials = trials + 1, .wide = wide};
    double seconds = run_trials(&t);
    double operations = 2.0 * (wide ? 16 : 8) * FMA_CHAINS * FMA_STEPS * threads;
    return seconds > 0 ? operations / seconds : 0;
}
