/* tests/leaks.h: what others' libraries allocate between the two and cannot give back is no leak of
 * ours: LLVM when it gives up, a software driver that is unloaded. Nothing without a leak checker. */
#ifndef RLX_TESTS_LEAKS_H
#define RLX_TESTS_LEAKS_H

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#else
static void __lsan_disable(void)
{
}
static void __lsan_enable(void)
{
}
#endif

#endif
