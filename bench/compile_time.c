/* bench/compile_time.c: how long a model takes from its file to executables, cold.
 *
 *   compile_time MODEL [REPEATS [PREFILL [exact|fast [all]]]]
 *
 * Each repetition is a process of its own, so that LLVM is opened and nothing is warm but the page
 * cache. "compile" is what a run with a prompt waits for, flow to executables: the bucket that decodes
 * and, beside it, that of prompts; with "all" every bucket, one after another, behind them.
 * "processor" is of the whole process, which says more than a clock where others work, too. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "frontend/rlx.h"

typedef struct times {
    double load, compile, processor;
    int kernels, layer_functions;
} times;

static int failed(rlx_status st)
{
    char *text = rlx_status_text(st);
    fprintf(stderr, "compile_time: %s\n", text ? text : rlx_status_message(st));
    free(text);
    rlx_status_free(st);
    return 1;
}

static double processor_seconds(void)
{
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    return (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) +
           1e-6 * (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec);
}

static int load(const char *path, const rlx_model_options *o, bool all, times *out)
{
    rlx_context *cx = NULL;
    rlx_model *model = NULL;
    rlx_model_info info;
    rlx_status st = rlx_context_create(&(rlx_context_options){.no_cache = true}, &cx);
    if (!st)
        st = rlx_model_load(cx, path, o, &model);
    if (!st && all)
        st = rlx_model_compile(model);
    if (!st) {
        rlx_model_get_info(model, &info);
        *out = (times){info.load_seconds, info.compile_seconds, processor_seconds(), info.kernels,
                       info.layer_functions};
    }
    rlx_model_destroy(model);
    rlx_context_destroy(cx);
    return st ? failed(st) : 0;
}

/* In a process of its own; false when it failed. */
static bool load_apart(const char *path, const rlx_model_options *o, bool all, times *out)
{
    int ends[2], state = 1;
    if (pipe(ends))
        return false;
    pid_t child = fork();
    if (child == 0) {
        times t = {0};
        int code = load(path, o, all, &t);
        if (write(ends[1], &t, sizeof t) != sizeof t)
            code = 1;
        _exit(code);
    }
    close(ends[1]);
    bool got = child > 0 && read(ends[0], out, sizeof *out) == sizeof *out;
    close(ends[0]);
    return child > 0 && waitpid(child, &state, 0) == child && !state && got;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

enum { MAX_REPEATS = 100 };

static void put_median(const char *what, double *seconds, int n, const char *behind)
{
    qsort(seconds, (size_t)n, sizeof *seconds, by_value);
    printf("%-10s%.1f ms (median of %d; %.1f to %.1f)%s\n", what, 1e3 * seconds[n / 2], n,
           1e3 * seconds[0], 1e3 * seconds[n - 1], behind);
}

static int usage(void)
{
    fprintf(stderr, "usage: compile_time MODEL [REPEATS [PREFILL [exact|fast [all]]]]\n");
    return 2;
}

int main(int argc, char **argv)
{
    int repeats = argc > 2 ? atoi(argv[2]) : 5;
    rlx_model_options o = {.prefill = argc > 3 ? atoll(argv[3]) : 0, .text = "Once upon a time"};
    const bool fast = argc > 4 && !strcmp(argv[4], "fast"), all = argc > 5;
    double loads[MAX_REPEATS], compiles[MAX_REPEATS], processors[MAX_REPEATS];
    char counts[64];
    times t = {0};
    if (argc < 2 || argc > 6 || (argc > 4 && !fast && strcmp(argv[4], "exact") != 0) ||
        (all && strcmp(argv[5], "all") != 0) || repeats < 1 || repeats > MAX_REPEATS ||
        o.prefill < 0)
        return usage();
    o.precision = fast ? RLX_FAST : RLX_EXACT;
    for (int i = 0; i < repeats; i++) {
        if (!load_apart(argv[1], &o, all, &t))
            return 1;
        loads[i] = t.load;
        compiles[i] = t.compile;
        processors[i] = t.processor;
    }
    snprintf(counts, sizeof counts, ", %d kernels, %d layer function%s", t.kernels,
             t.layer_functions, t.layer_functions == 1 ? "" : "s");
    put_median("load", loads, repeats, "");
    put_median("compile", compiles, repeats, counts);
    put_median("processor", processors, repeats, "");
    return 0;
}
