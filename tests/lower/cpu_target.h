/* tests/lower/cpu_target.h: a CPU with AVX2 whose schedules are the same on every machine. */
#ifndef RLX_TESTS_LOWER_CPU_TARGET_H
#define RLX_TESTS_LOWER_CPU_TARGET_H

#include "lir/lir.h"

static inline rlx_lir_target cpu_target_of(int64_t l2_bytes, int64_t team_bytes)
{
    return (rlx_lir_target){.unit = RLX_UNIT_CPU,
                            .vector_f32 = 8,
                            .vector_regs = 16,
                            .team = 1,
                            .threads = 2,
                            .l1_bytes = 32 << 10,
                            .l2_bytes = l2_bytes,
                            .team_bytes = team_bytes};
}

#endif
