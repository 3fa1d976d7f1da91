/* tests/jit/emulated_tensor.h: tensor maps as tests' drivers encode them, and copies of their boxes by a host team's TMA. */
#ifndef RLX_TESTS_JIT_EMULATED_TENSOR_H
#define RLX_TESTS_JIT_EMULATED_TENSOR_H

#include <stdint.h>

#include "jit/emulation.h"

#define EMULATED_MAP UINT64_C(0x70616d206d726f66) /* what one begins with */

/* In the place of CUtensorMap's 128 bytes. */
typedef struct emulated_map {
    _Alignas(128) uint64_t magic;
    const uint8_t *at;
    int64_t rows, columns, stride; /* stride: bytes, of rows */
    uint32_t bytes, box_rows, box_columns, swizzle;
    uint8_t rest[72];
} emulated_map;
_Static_assert(sizeof(emulated_map) == 128, "as large as CUDA's");

/* Before this thread runs a team, which has no mbarriers yet. */
void emulated_tensor_begin(void);
rlx_emulated_fn emulated_mbarrier_init, emulated_mbarrier_expect, emulated_mbarrier_arrive,
    emulated_mbarrier_wait, emulated_copy_box;

#endif
