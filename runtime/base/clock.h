/* runtime/base/clock.h: how long things take. */
#ifndef RLX_RUNTIME_BASE_CLOCK_H
#define RLX_RUNTIME_BASE_CLOCK_H

#include <stdint.h>

/* CLOCK_MONOTONIC: since some moment, and never back (perf reads times of the same clock). */
int64_t rlx_nanoseconds(void);
double rlx_seconds(void);

#endif
