/* bench/options.h: what programs that measure by formats have in common: PROGRAM [-t THREADS] [-r REPEATS] .., and their end. */
#ifndef RLX_BENCH_OPTIONS_H
#define RLX_BENCH_OPTIONS_H

#include "frontend/rlx.h"

enum { BENCH_MAX_REPEATS = 50 };

typedef struct bench_options {
    int threads, repeats;
} bench_options;

/* The index of the first argument behind the options; 0, after a line of how to call it: they are wrong. */
int bench_read_options(int argc, char **argv, const char *usage, bench_options *o);
/* The exit code; takes the status, prints it, destroys the context (both may be NULL). */
int bench_end(const char *program, rlx_status st, rlx_context *cx);

#endif
