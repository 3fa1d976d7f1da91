/* frontend/tool/bench.h: what rlx bench measured, and printing it.
 *
 *   cmd_bench.c    the command; measuring
 *   bench_print.c  md, json, csv
 */
#ifndef RLX_TOOL_BENCH_H
#define RLX_TOOL_BENCH_H

#include "frontend/tool/ceilings.h"

/* What all rows of a run share. */
typedef struct bench_subject {
    const char *model, *family, *device, *precision, *type_k, *type_v;
    const char *hardware; /* what the device is called: "CPU", "AMD Radeon ..." */
    int64_t weight_bytes, parameters;
} bench_subject;

/* One kernel of a row. */
typedef struct bench_kernel {
    const char *name;         /* lent */
    double launches;          /* in one repetition */
    double seconds;           /* of one launch */
    double share;             /* of the row's time */
    double bytes, operations; /* per second */
} bench_kernel;

/* One row: `prompt` tokens appended at once, or `tokens` one after the other in each of `batch`
 * sequences; each sequence holds `depth` before. */
typedef struct bench_row {
    int threads;
    int64_t prompt, tokens, batch, depth;
    double mean, stddev, median, best; /* tokens per second */
    double bytes, operations; /* of weights, keys and values read; of contracting with weights: per
                                 token */
    double read_peak; /* the machine's: bytes per second; 0 as the next ones: not measured */
    double unit_peak[CEILING_MAX_UNITS]; /* its units': operations per second */
    double f32_peak, peak;               /* the best of f32, of all */
    const char *peak_unit;
    bench_kernel *kernels; /* the longest first; NULL: not asked for */
    int nkernels;
} bench_row;

/* "pp512", "tg128", "tg128 b8", "pp512 @ d4096": as llama-bench names them. */
void bench_name_row(const bench_row *r, char *out, size_t bytes);

typedef struct bench_printer bench_printer;
/* "md", "json" or "csv"; NULL: no such one. */
const bench_printer *bench_printer_find(const char *name);
void bench_print_head(const bench_printer *p);
void bench_print_row(const bench_printer *p, const bench_subject *s, const bench_row *r,
                     bool first);
void bench_print_end(const bench_printer *p);

#endif
