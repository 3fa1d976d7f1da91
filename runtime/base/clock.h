/* runtime/base/clock.h: how long things take. */
#ifndef RLX_RUNTIME_BASE_CLOCK_H
#define RLX_RUNTIME_BASE_CLOCK_H

#include <stdint.h>

/* Of a clock that never goes back, since some moment; any thread. */
int64_t rlx_nanoseconds(void);
double rlx_seconds(void);

#endif
