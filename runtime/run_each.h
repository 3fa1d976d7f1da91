/* runtime/run_each.h: the same for each of several things, by several threads. */
#ifndef RLX_RUNTIME_RUN_EACH_H
#define RLX_RUNTIME_RUN_EACH_H

#include <stdint.h>

#include "runtime/base/status.h"

/* Calls fn(user, i) for i below n, in any order, until one fails: its status. By at most `threads`, the calling one among them; 0: as many
 * as the process may use. When no further ones can be had it works alone. */
rlx_status rlx_run_each(uint32_t n, int threads, rlx_status (*fn)(void *user, uint32_t i),
                        void *user);

#endif
