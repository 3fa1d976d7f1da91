#include "jit/matrix_units.h"

#include <stdlib.h>
#include <string.h>

#include "jit/gpu_target.h"

/* Of those without a row the k is 0. */
static const rlx_matrix_floats floats[RLX_MATRIX_KINDS] = {
#define MATRIX_FLOATS(NAME, k, a, b, ...) [RLX_MATRIX_##NAME] = {k, a, b, __VA_ARGS__},
#include "jit/matrix_units.def"
#undef MATRIX_FLOATS
};

static const rlx_matrix_unit units[RLX_MATRIX_KINDS] = {
#define MATRIX_UNIT(NAME, m, n, lanes, k, sums, a, b, apart, ...)               \
    {#NAME,       RLX_MATRIX_##NAME,         m, n, lanes, k, sums, a, b, apart, \
     __VA_ARGS__, &floats[RLX_MATRIX_##NAME]},
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

/* Every AMD GPU that code is made for has one. */
static const rlx_matrix_unit *amd_unit(const rlx_jit_target *t)
{
    static const rlx_matrix_kind kinds[] = {
        [RLX_GPU_CDNA2] = RLX_MATRIX_MFMA_K16,
        [RLX_GPU_CDNA3] = RLX_MATRIX_MFMA_K32,
        [RLX_GPU_RDNA3] = RLX_MATRIX_WMMA_TWICE,
        [RLX_GPU_RDNA4] = RLX_MATRIX_WMMA,
    };
    const rlx_gpu_processor *p;
    rlx_status st = rlx_gpu_find(t->kind, t->processor, &p);
    const rlx_matrix_unit *found = st ? NULL : &units[kinds[p->family]];
    rlx_status_free(st);
    return found;
}

/* Of processors whose code goes to no other: what multiplies in place of mma.sync, in teams that it takes. Not in
 * functions that a step calls: assemblers put one multiplication after the other there. */
static const struct {
    const char *processor;
    rlx_matrix_kind unit, floats;
} own[] = {{"sm_90a", RLX_MATRIX_WGMMA, RLX_MATRIX_WGMMA_HALVES}};

static int team_of(const rlx_jit_target *t)
{
    return t->team > 0 ? t->team : RLX_JIT_DEFAULT_TEAM;
}

/* The unit of codes, or of floats. */
static const rlx_matrix_unit *unit_of(const rlx_jit_target *t, bool of_floats)
{
    if (t->kind == RLX_JIT_AMDGPU)
        return amd_unit(t);
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
        const rlx_matrix_unit *u = &units[of_floats ? own[i].floats : own[i].unit];
        if (t->kind == RLX_JIT_NVPTX && t->step != RLX_JIT_STEP_KERNEL && t->processor &&
            !strcmp(t->processor, own[i].processor) && team_of(t) % u->lanes == 0)
            return u;
    }
    return has_mma(t) ? &units[RLX_MATRIX_MMA] : NULL;
}

const rlx_matrix_unit *rlx_jit_matrix_unit(const rlx_jit_target *t)
{
    return unit_of(t, false);
}

const rlx_matrix_unit *rlx_jit_float_unit(const rlx_jit_target *t)
{
    const rlx_matrix_unit *u = unit_of(t, true);
    return u && u->floats->k ? u : NULL;
}

const rlx_matrix_unit *rlx_jit_column_unit(const rlx_jit_target *t)
{
    const rlx_matrix_unit *u = rlx_jit_float_unit(t);
    return u && rlx_matrix_reads_memory(u) ? &units[RLX_MATRIX_MMA] : u;
}

/* The processors, and hosts, with mma.sync are those. */
bool rlx_jit_copies(const rlx_jit_target *t)
{
    return has_mma(t);
}

/* Those whose units read what such copies leave. */
bool rlx_jit_copies_boxes(const rlx_jit_target *t)
{
    const rlx_matrix_unit *u = rlx_jit_matrix_unit(t);
    return t->kind == RLX_JIT_NVPTX && u && rlx_matrix_reads_memory(u);
}

rlx_status rlx_jit_matrix_check_team(const rlx_jit_target *t)
{
    const rlx_matrix_unit *u = rlx_jit_matrix_unit(t);
    const int team = team_of(t);
    if (!u || (team % u->lanes == 0 && (team & (team - 1)) == 0))
        return RLX_OK;
    return RLX_FAIL(RLX_UNSUPPORTED,
                    "a team of %d invocations for %s: its matrix unit takes %d of them at a time, "
                    "and teams that are a power of two",
                    team, t->processor ? t->processor : "an emulated GPU", u->lanes);
}
