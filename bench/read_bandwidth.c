/* bench/read_bandwidth.c: how fast memory can be read here, to hold a decode speed against.
 *
 *   read_bandwidth [-t THREADS] BYTES...
 *
 * For each size: a buffer of BYTES is read whole, again and again, each thread its own contiguous
 * part, and the best rate of several trials is printed: "BYTES RATE" (bytes per second). A buffer
 * that fits the caches measures the caches: that is what a model of that size decodes from. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

typedef uint64_t vec __attribute__((vector_size(64)));

enum { TRIALS = 7, MAX_THREADS = 256 };

typedef struct plan {
    const char *data;
    size_t bytes;
    int threads;
    int passes; /* over the buffer, per trial */
    pthread_barrier_t barrier;
    _Atomic uint64_t sink; /* keeps the reads from being removed */
} plan;

/* The readers take their own times: whoever starts them may itself be waiting for a core. */
typedef struct reader {
    plan *p;
    int index;
    pthread_t thread;
    double begin[TRIALS], end[TRIALS];
} reader;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

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

static void *work(void *arg)
{
    reader *r = arg;
    plan *p = r->p;
    size_t part = p->bytes / (size_t)p->threads / 256 * 256;
    const char *mine = p->data + part * (size_t)r->index;
    for (int trial = 0; trial < TRIALS; trial++) {
        pthread_barrier_wait(&p->barrier);
        uint64_t total = 0;
        r->begin[trial] = now();
        for (int pass = 0; pass < p->passes; pass++) {
            total += read_part(mine, part);
            atomic_signal_fence(memory_order_seq_cst);
        }
        atomic_fetch_add(&p->sink, total);
        r->end[trial] = now();
    }
    return NULL;
}

/* From the first reader's begin to the last one's end. */
static double trial_seconds(const reader *readers, int n, int trial)
{
    double begin = readers[0].begin[trial], end = readers[0].end[trial];
    for (int i = 1; i < n; i++) {
        begin = readers[i].begin[trial] < begin ? readers[i].begin[trial] : begin;
        end = readers[i].end[trial] > end ? readers[i].end[trial] : end;
    }
    return end - begin;
}

/* Bytes per second, best trial but the first, which warms up; a negative number when threads are
 * short. */
static double measure(plan *p)
{
    reader readers[MAX_THREADS];
    double best = 0;
    p->passes = (int)(((size_t)256 << 20) / p->bytes) + 1;
    if (pthread_barrier_init(&p->barrier, NULL, (unsigned)p->threads))
        return -1;
    for (int i = 0; i < p->threads; i++) {
        readers[i] = (reader){.p = p, .index = i};
        if (pthread_create(&readers[i].thread, NULL, work, &readers[i])) {
            fprintf(stderr, "read_bandwidth: cannot start %d threads\n", p->threads);
            exit(1);
        }
    }
    for (int i = 0; i < p->threads; i++)
        pthread_join(readers[i].thread, NULL);
    pthread_barrier_destroy(&p->barrier);
    size_t part = p->bytes / (size_t)p->threads / 256 * 256;
    double bytes = (double)part * p->threads * p->passes;
    for (int trial = 1; trial < TRIALS; trial++) {
        double rate = bytes / trial_seconds(readers, p->threads, trial);
        best = rate > best ? rate : best;
    }
    return best;
}

static int measure_size(const char *text, int threads)
{
    char *end;
    errno = 0;
    unsigned long long bytes = strtoull(text, &end, 10);
    if (errno || end == text || *end || bytes < 256ull * (unsigned)threads) {
        fprintf(stderr, "read_bandwidth: \"%s\" is no size for %d threads\n", text, threads);
        return 2;
    }
    char *data = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED) {
        fprintf(stderr, "read_bandwidth: %llu bytes: %s\n", bytes, strerror(errno));
        return 1;
    }
    memset(data, 1, bytes);
    plan p = {.data = data, .bytes = bytes, .threads = threads};
    printf("%llu %.0f\n", bytes, measure(&p));
    munmap(data, bytes);
    return 0;
}

int main(int argc, char **argv)
{
    int first = 1;
    cpu_set_t set;
    int threads = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    if (argc > 2 && !strcmp(argv[1], "-t")) {
        threads = atoi(argv[2]);
        first = 3;
    }
    if (threads < 1 || threads > MAX_THREADS || first >= argc) {
        fprintf(stderr, "usage: read_bandwidth [-t THREADS] BYTES...\n");
        return 2;
    }
    for (int i = first; i < argc; i++) {
        int code = measure_size(argv[i], threads);
        if (code)
            return code;
    }
    return 0;
}
