/* runtime/run_each.h: the same for each of several things, by as many threads as the process may use. */
#ifndef RLX_RUNTIME_RUN_EACH_H
#define RLX_RUNTIME_RUN_EACH_H

#include <stdint.h>

#include "runtime/base/status.h"

/* Calls fn(user, i) for i below n, in any order, until one fails: its status. When no further threads can be had the calling one
 * works alone. */
rlx_status rlx_run_each(uint32_t n, rlx_status (*fn)(void *user, uint32_t i), void *user);

#endif
