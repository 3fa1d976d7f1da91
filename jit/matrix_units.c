#include "jit/matrix_units.h"

#include <stdlib.h>

enum {
#define MATRIX_UNIT(NAME, ...) NAME,
#include "jit/matrix_units.def"
#undef MATRIX_UNIT
    NUNITS
};

static const rlx_matrix_unit units[NUNITS] = {
#define MATRIX_UNIT(NAME, m, n, lanes, k, sums, a, b, ...) \
    {#NAME, m, n, lanes, k, sums, a, b, __VA_ARGS__},
#include "jit/matrix_units.def"
#undef MATRIX_UNIT
};

/* The first processor whose mma.sync takes 32 bytes of K. */
enum { FIRST_SM = 80 };

static bool has_mma(const rlx_jit_target *t)
{
    const bool nvidia = t->kind == RLX_JIT_NVPTX && t->processor &&
                        atoi(t->processor + sizeof "sm_" - 1) >= FIRST_SM;
    const bool emulated = t->kind == RLX_JIT_CPU && t->team > 1 && t->emulation;
    const int team = t->team > 0 ? t->team : RLX_JIT_DEFAULT_TEAM;
    return (nvidia || emulated) && team % units[MMA].lanes == 0;
}

const rlx_matrix_unit *rlx_jit_matrix_unit(const rlx_jit_target *t)
{
    return has_mma(t) ? &units[MMA] : NULL;
}
