/* bench/read_bandwidth.c: how fast memory can be read here, to hold a decode speed against.
 *
 *   read_bandwidth [-t THREADS] BYTES...
 *
 * For each size: a buffer of BYTES is read whole, again and again, each thread its own contiguous
 * part, and the best rate of several trials is printed: "BYTES RATE" (bytes per second). A buffer
 * that fits the caches measures the caches: that is what a model of that size decodes from. */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "frontend/tool/ceilings.h"

enum { TRIALS = 6 };

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
    int passes = (int)((256ull << 20) / bytes) + 1;
    double rate = ceiling_read(&(byte_span){data, bytes}, 1, threads, passes, TRIALS);
    munmap(data, bytes);
    if (rate <= 0) {
        fprintf(stderr, "read_bandwidth: cannot start %d threads\n", threads);
        return 1;
    }
    printf("%llu %.0f\n", bytes, rate);
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
    if (threads < 1 || threads > CEILING_MAX_THREADS || first >= argc) {
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
