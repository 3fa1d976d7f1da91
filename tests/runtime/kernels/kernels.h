/* tests/runtime/kernels/kernels.h: kernels that the tests load as objects; see rlx_kernel_fn.
 * Compiled without sanitizers and without the C library. Symbols are TOKENS, ROWS, SEQS, SLOTS,
 * PAGES, in this order, where a kernel uses them. */
#ifndef RLX_TESTS_RUNTIME_KERNELS_H
#define RLX_TESTS_RUNTIME_KERNELS_H

#include <stdint.h>

enum { TOKENS, ROWS, SEQS, SLOTS, PAGES };

#define KERNEL(name)                                                                               \
    __attribute__((visibility("default"))) void name(void *const *buffers, const int64_t *symbols, \
                                                     int64_t team, int64_t teams, void *memory);   \
    void name(void *const *buffers, const int64_t *symbols, int64_t team, int64_t teams,           \
              void *memory)
#define UNUSED(x) ((void)(x))

/* This team's part of n instances. */
#define PART(n, lo, hi) int64_t lo = (n) * team / teams, hi = (n) * (team + 1) / teams

#endif
