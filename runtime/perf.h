/* runtime/perf.h: which function lies where in memory, for Linux's profiler. Internal to rlx.
 *
 *   map      /tmp/perf-PID.map: a line for each function, as `perf report` reads it by itself
 *   jitdump  FOLDER/jit-PID.dump: the code too, with the time of loading; `perf record -k mono`, then
 *            `perf inject --jit` makes files of it that `perf annotate` disassembles
 */
#ifndef RLX_RUNTIME_PERF_H
#define RLX_RUNTIME_PERF_H

#include <stddef.h>

#include "runtime/base/status.h"

#ifndef RLX_PERF_TYPES /* frontend/rlx.h declares the same for users */
#define RLX_PERF_TYPES
typedef enum rlx_perf_form { RLX_PERF_NONE, RLX_PERF_MAP, RLX_PERF_JITDUMP } rlx_perf_form;
#endif

typedef struct rlx_perf rlx_perf;

/* Makes the process's file, or goes on with it: all that ask for a form share one; a forked child has one of its own. A file
 * of another user's, or with another name besides, is not touched. `folder`: of a jitdump; NULL: the current one. RLX_IO; RLX_INVALID_ARGUMENT: the process's dump is in another folder. Any thread. */
rlx_status rlx_perf_open(rlx_perf_form form, const char *folder, rlx_perf **out);
void rlx_perf_close(rlx_perf *p); /* accepts NULL */

typedef struct rlx_perf_code {
    const char *name;
    const void *start;
    size_t bytes;
} rlx_perf_code;

/* Writes of code that was loaded. RLX_IO. Any number of threads. */
rlx_status rlx_perf_add(rlx_perf *p, const rlx_perf_code *codes, size_t n);

#endif
