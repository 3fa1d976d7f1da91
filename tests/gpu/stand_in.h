/* tests/gpu/stand_in.h: programs on `--device cuda` and `--device hip` wherever they run: on a real driver with a device where there is one,
 * else on one that stands for it (fake_driver.h), with code for teams on the host, which no cache keeps.
 *
 * A program is linked with gpu_stand_in, whose options lead its calls of rlx_context_create and rlx_device_count through here. */
#ifndef RLX_TESTS_GPU_STAND_IN_H
#define RLX_TESTS_GPU_STAND_IN_H

#include "frontend/rlx.h"

rlx_status __wrap_rlx_context_create_for(int abi, const rlx_context_options *options,
                                         rlx_context **out);
int __wrap_rlx_device_count(void);

/* check's. */
void __wrap__mark_point(const char *file, int line);
void __wrap__ck_assert_failed(const char *file, int line, const char *expression, const char *fmt,
                              ...) __attribute__((noreturn, format(printf, 4, 5)));

#endif
