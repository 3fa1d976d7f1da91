/* bench/dynamic_shapes.c: prompts of 200 random lengths: what of the time goes into compiling, into loading
 * code, into running.
 *
 *   dynamic_shapes MODEL [COUNT [MOST [exact|fast [BUCKETS]]]]
 *
 * COUNT (200) prompts of 1 to MOST (256) tokens, the lengths from a fixed seed; BUCKETS: "16,512".
 * On an empty cache and on a full one, all in one process, and each in a process of its own. Every
 * process is forked by one that has done nothing, so that it opens what it needs. */
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "frontend/rlx.h"

enum { MAX_COUNT = 10000 };

typedef struct times {
    double wall, files; /* all; of that: reading the model's files */
    rlx_context_stats made;
    double run;
    int64_t tokens; /* of prompts */
} times;

typedef struct bench {
    const char *model;
    char folder[64];
    rlx_model_options how;
    rlx_ladder seq;
    int64_t most;
    int count;
    int64_t length[MAX_COUNT];
} bench;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int failed(rlx_status st)
{
    char *text = rlx_status_text(st);
    fprintf(stderr, "dynamic_shapes: %s\n", text ? text : rlx_status_message(st));
    free(text);
    rlx_status_free(st);
    return 1;
}

static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* ---- one process ----------------------------------------------------------------------------- */

static rlx_status run_prompts(const bench *b, rlx_model *m, rlx_session *s, int first, int end,
                              float *logits, int32_t *ids, times *out)
{
    rlx_model_info info;
    rlx_model_get_info(m, &info);
    out->files = info.load_seconds;
    for (int i = first; i < end; i++) {
        for (int64_t t = 0; t < b->length[i]; t++)
            ids[t] = (int32_t)((t * 7919 + i) % info.vocab);
        rlx_session_reset(s);
        rlx_status st = rlx_model_step(m, s, 0, ids, b->length[i], 1, logits);
        if (st)
            return st;
        out->tokens += b->length[i];
    }
    return NULL;
}

/* Prompts first .. end - 1. */
static rlx_status run(const bench *b, int first, int end, times *out)
{
    const double start = now();
    rlx_context *cx = NULL;
    rlx_model *m = NULL;
    rlx_session *s = NULL;
    rlx_model_info info;
    float *logits = NULL;
    int32_t *ids = malloc(sizeof *ids * (size_t)b->most);
    rlx_status st = rlx_context_create(&(rlx_context_options){.cache.folder = b->folder}, &cx);
    if (!st)
        st = rlx_model_load(cx, b->model, &b->how, &m);
    if (!st)
        st = rlx_session_create(cx, &(rlx_session_options){.max_positions = b->most}, &s);
    if (!st) {
        rlx_model_get_info(m, &info);
        logits = malloc(sizeof *logits * (size_t)info.width);
        st = run_prompts(b, m, s, first, end, logits, ids, out);
    }
    if (!st) {
        rlx_context_get_stats(cx, &out->made);
        out->wall = now() - start;
        out->run = out->wall - out->files - out->made.compile_seconds - out->made.load_seconds;
    }
    free(logits);
    free(ids);
    rlx_session_destroy(s);
    rlx_model_destroy(m);
    rlx_context_destroy(cx);
    return st;
}

/* The same in a process of its own; false when it failed. */
static bool run_apart(const bench *b, int first, int end, times *out)
{
    int ends[2], state = 1;
    if (pipe(ends))
        return false;
    pid_t child = fork();
    if (child == 0) {
        times t = {0};
        rlx_status st = run(b, first, end, &t);
        int code = st ? failed(st) : 0;
        if (write(ends[1], &t, sizeof t) != sizeof t)
            code = 1;
        _exit(code);
    }
    close(ends[1]);
    bool got = child > 0 && read(ends[0], out, sizeof *out) == sizeof *out;
    close(ends[0]);
    return child > 0 && waitpid(child, &state, 0) == child && !state && got;
}

/* ---- all of them ----------------------------------------------------------------------------- */

static void print(const char *name, const times *t)
{
    const double all = 100 / t->wall;
    printf("%-22s %8.3f %9.1f%% %7.1f%% %7.1f%% %8.1f%% %9lld %7lld\n", name, t->wall,
           all * t->made.compile_seconds, all * t->made.load_seconds, all * t->files, all * t->run,
           (long long)t->made.compiled, (long long)t->made.loaded);
}

static bool run_each(const bench *b, times *sum)
{
    for (int i = 0; i < b->count; i++) {
        times t;
        if (!run_apart(b, i, i + 1, &t))
            return false;
        sum->wall += t.wall;
        sum->files += t.files;
        sum->run += t.run;
        sum->made.compiled += t.made.compiled;
        sum->made.loaded += t.made.loaded;
        sum->made.compile_seconds += t.made.compile_seconds;
        sum->made.load_seconds += t.made.load_seconds;
        sum->tokens += t.tokens;
    }
    return true;
}

static int measure(const bench *b)
{
    times cold, warm, each = {0};
    if (!run_apart(b, 0, b->count, &cold) || !run_apart(b, 0, b->count, &warm) ||
        !run_each(b, &each))
        return 1;
    printf("%d prompts of 1 to %lld tokens, %lld in all\n", b->count, (long long)b->most,
           (long long)cold.tokens);
    printf("%-22s %8s %10s %8s %8s %9s %9s %7s\n", "cache, processes", "s", "compiling", "loading",
           "files", "running", "compiled", "loaded");
    print("empty, one", &cold);
    print("full, one", &warm);
    print("full, one per prompt", &each);
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st, (void)type, (void)at;
    return remove(path);
}

static bool read_options(bench *b, int argc, char **argv)
{
    uint64_t random = 8;
    if (argc < 2 || argc > 6)
        return false;
    b->model = argv[1];
    b->count = argc > 2 ? atoi(argv[2]) : 200;
    b->most = argc > 3 ? atoll(argv[3]) : 256;
    if (b->count < 1 || b->count > MAX_COUNT || b->most < 1)
        return false;
    if (argc > 4 && strcmp(argv[4], "exact") && strcmp(argv[4], "fast"))
        return false;
    b->how = (rlx_model_options){.precision =
                                     argc > 4 && !strcmp(argv[4], "exact") ? RLX_EXACT : RLX_FAST};
    b->how.max_positions = b->most;
    b->how.any_length = true;
    b->seq.symbol = "SEQ";
    for (char *at = argc > 5 ? argv[5] : NULL; at && *at && b->seq.n < RLX_LADDER_RUNGS;
         at += *at == ',')
        b->seq.upper[b->seq.n++] = strtoll(at, &at, 10);
    b->how.ladders = &b->seq;
    b->how.nladders = b->seq.n > 0;
    for (int i = 0; i < b->count; i++)
        b->length[i] = 1 + (int64_t)(next_random(&random) % (uint64_t)b->most);
    return true;
}

int main(int argc, char **argv)
{
    static bench b = {.folder = "/tmp/rlx-dynamic-XXXXXX"};
    if (!read_options(&b, argc, argv)) {
        fprintf(stderr, "usage: dynamic_shapes MODEL [COUNT [MOST [exact|fast [BUCKETS]]]]\n");
        return 2;
    }
    if (!mkdtemp(b.folder)) {
        perror(b.folder);
        return 1;
    }
    const int code = measure(&b);
    nftw(b.folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    return code;
}
