#include "jit/matrix_units.h"

#include <stdlib.h>

enum {
#define MATRIX_UNIT(NAME, ...) NAME,
#include "jit/matrix_units.def"
#undef MATRIX_UNIT
    NUNITS
};

/* Of those without a row the k is 0. */
static const rlx_matrix_floats floats[NUNITS] = {
#define MATRIX_FLOATS(NAME, k, a, b, ...) [NAME] = {k, a, b, __VA_ARGS__},
#include "jit/matrix_units.def"
#undef MATRIX_FLOATS
};

static const rlx_matrix_unit units[NUNITS] = {
#define MATRIX_UNIT(NAME, m, n, lanes, k, sums, a, b, ...) \
    {#NAME, m, n, lanes, k, sums, a, b, __VA_ARGS__, &floats[NAME]},
#include "jit/matrix_units.def"
#undef MATRIX_UNIT
};

/* The first processor whose mma.sync takes 32 bytes of K. */
enum { FIRST_SM = 80 };

/* The processor's own matter, which is numerics; a team's only to be of a shape for it. */
static bool has_mma(const rlx_jit_target *t)
{
    const bool nvidia = t->kind == RLX_JIT_NVPTX && t->processor &&
                        atoi(t->processor + sizeof "sm_" - 1) >= FIRST_SM;
    return nvidia || (t->kind == RLX_JIT_CPU && t->team > 1 && t->emulation);
}

const rlx_matrix_unit *rlx_jit_matrix_unit(const rlx_jit_target *t)
{
    return has_mma(t) ? &units[MMA] : NULL;
}

const rlx_matrix_unit *rlx_jit_float_unit(const rlx_jit_target *t)
{
    return has_mma(t) ? &units[MMA] : NULL;
}

/* The processors, and hosts, with mma.sync are those. */
bool rlx_jit_copies(const rlx_jit_target *t)
{
    return rlx_jit_matrix_unit(t) == &units[MMA];
}

rlx_status rlx_jit_matrix_check_team(const rlx_jit_target *t)
{
    const rlx_matrix_unit *u = rlx_jit_matrix_unit(t);
    const int team = t->team > 0 ? t->team : RLX_JIT_DEFAULT_TEAM;
    if (!u || (team % u->lanes == 0 && (team & (team - 1)) == 0))
        return RLX_OK;
    return RLX_FAIL(RLX_UNSUPPORTED,
                    "a team of %d invocations for %s: its matrix unit takes %d of them at a time, "
                    "and teams that are a power of two",
                    team, t->processor ? t->processor : "an emulated GPU", u->lanes);
}

bool rlx_matrix_split_tile(int64_t subgroups, int m, int n, int64_t rows, int64_t columns,
                           rlx_matrix_split *out)
{
    int64_t best = 0;
    for (int64_t down = 1; down <= subgroups; down++) {
        const int64_t across = subgroups / down;
        if (subgroups % down || rows % (down * m) || columns % (across * n))
            continue;
        const int64_t edge = rows / down + columns / across;
        if (best && edge >= best)
            continue;
        best = edge;
        *out = (rlx_matrix_split){across, rows / down / m, columns / across / n};
    }
    return best > 0;
}
