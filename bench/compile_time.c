/* bench/compile_time.c: how long a model takes from its file to executables, cold.
 *
 *   compile_time MODEL [REPEATS [PREFILL [exact|fast]]]
 *
 * Each repetition is a process of its own, so that LLVM is opened and nothing is warm but the page
 * cache. "compile" is all buckets (in exact mode decode and prefill), flow to executables. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "frontend/rlx.h"

typedef struct times {
    double load, compile;
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

static int load(const char *path, const rlx_model_options *o, times *out)
{
    rlx_context *cx = NULL;
    rlx_model *model = NULL;
    rlx_model_info info;
    rlx_status st = rlx_context_create(&(rlx_context_options){.no_cache = true}, &cx);
    if (!st)
        st = rlx_model_load(cx, path, o, &model);
    if (!st)
        st = rlx_model_compile(model);
    if (!st) {
        rlx_model_get_info(model, &info);
        *out = (times){info.load_seconds, info.compile_seconds, info.kernels, info.layer_functions};
    }
    rlx_model_destroy(model);
    rlx_context_destroy(cx);
    return st ? failed(st) : 0;
}

/* In a process of its own; false when it failed. */
static bool load_apart(const char *path, const rlx_model_options *o, times *out)
{
    int ends[2], state = 1;
    if (pipe(ends))
        return false;
    pid_t child = fork();
    if (child == 0) {
        times t = {0};
        int code = load(path, o, &t);
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

int main(int argc, char **argv)
{
    int repeats = argc > 2 ? atoi(argv[2]) : 5;
    rlx_model_options o = {.prefill = argc > 3 ? atoll(argv[3]) : 0};
    bool fast = argc > 4 && !strcmp(argv[4], "fast");
    bool known = argc < 5 || fast || !strcmp(argv[4], "exact");
    double loads[MAX_REPEATS], compiles[MAX_REPEATS];
    times t = {0};
    if (argc < 2 || argc > 5 || !known || repeats < 1 || repeats > MAX_REPEATS || o.prefill < 0) {
        fprintf(stderr, "usage: compile_time MODEL [REPEATS [PREFILL [exact|fast]]]\n");
        return 2;
    }
    o.precision = fast ? RLX_FAST : RLX_EXACT;
    for (int i = 0; i < repeats; i++) {
        if (!load_apart(argv[1], &o, &t))
            return 1;
        loads[i] = t.load;
        compiles[i] = t.compile;
    }
    qsort(loads, (size_t)repeats, sizeof *loads, by_value);
    qsort(compiles, (size_t)repeats, sizeof *compiles, by_value);
    printf("load     %.1f ms (median of %d; %.1f to %.1f)\n", 1e3 * loads[repeats / 2], repeats,
           1e3 * loads[0], 1e3 * loads[repeats - 1]);
    printf("compile  %.1f ms (%.1f to %.1f), %d kernels, %d layer function%s\n",
           1e3 * compiles[repeats / 2], 1e3 * compiles[0], 1e3 * compiles[repeats - 1], t.kernels,
           t.layer_functions, t.layer_functions == 1 ? "" : "s");
    return 0;
}
