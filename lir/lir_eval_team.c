/* lir/lir_eval_team.c: rows combined by a team's invocations, as lir_team.h has it.
 *
 * An invocation holds one element of a part at a time, and takes what another lane of its own subgroup
 * holds at that moment. What comes out must be the op's own: the pairs, not the width of subgroups, are
 * the numerics.
 *
 * This proves of the ways that rlx_lir_reduce_way chooses, which emitters ask too, that lanes by halves
 * give the op's bits in teams and subgroups of a size. It looks at no emitter's code: that is what
 * teams of the host and devices are for (tests/jit, tests/vulkan). */
#include <assert.h>
#include <string.h>

#include "lir/lir_eval.h"
#include "lir/lir_team.h"

/* What every invocation holds of one part. */
struct rlx_lir_registers {
    rlx_scalar *x, *next;
};
typedef struct rlx_lir_registers registers;

rlx_status rlx_lir_registers_create(rlx_lir_eval *e)
{
    const int team = e->options->team, lanes = e->options->subgroup;
    if (team < 0 || lanes < 0 || (lanes && rlx_lir_lanes(team, lanes) != lanes))
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "subgroups of %d in a team of %d", lanes, team);
    if (!lanes)
        return RLX_OK;
    registers *r = e->registers = RLX_NEW(e->arena, registers);
    if (!r)
        return RLX_OOM();
    *r = (registers){.x = RLX_NEW_ARRAY(e->arena, rlx_scalar, team),
                     .next = RLX_NEW_ARRAY(e->arena, rlx_scalar, team)};
    return r->x && r->next ? RLX_OK : RLX_OOM();
}

static rlx_scalar combine(const rlx_lir_instr *i, rlx_scalar a, rlx_scalar b)
{
    const rlx_scalar in[] = {a, b};
    return rlx_map_fn_eval((rlx_map_fn)i->fn, i->in[0]->format, in);
}

/* Every lane with the one `half` from it, then half of that, and so on: rows of `width`. */
static void shuffle(const rlx_lir_eval *e, const rlx_lir_instr *i, int width, registers *r)
{
    const int team = e->options->team;
    assert(width <= e->options->subgroup);
    for (int half = width / 2; half; half /= 2) {
        for (int t = 0; t < team; t++)
            r->next[t] = combine(i, r->x[t], r->x[t ^ half]);
        memcpy(r->x, r->next, sizeof *r->x * (size_t)team);
    }
}

static bool equal(rlx_format f, rlx_scalar a, rlx_scalar b)
{
    const float x = (float)a.f, y = (float)b.f;
    if (f != RLX_F32)
        return a.i == b.i;
    return memcmp(&x, &y, sizeof x) == 0 || (isnan(x) && isnan(y));
}

/* Invocation t's register is row `row` of the result. */
static rlx_status check(const rlx_lir_eval *e, const rlx_lir_instr *i, const registers *r, int t,
                        int64_t row)
{
    const rlx_lir_tile *out = i->out[0];
    if (equal(out->format, r->x[t], rlx_lir_scalar_load(out->format, out->data, row)))
        return RLX_OK;
    return RLX_LIR_EVAL_FAIL(e, i, "row %lld has other bits in subgroups of %d", (long long)row,
                             e->options->subgroup);
}

/* Behind the tile's end nobody has anything. */
static void load_part(const rlx_lir_eval *e, const rlx_lir_tile *x, int64_t first, registers *r)
{
    for (int t = 0; t < e->options->team; t++)
        r->x[t] = first + t < x->elems ? rlx_lir_scalar_load(x->format, x->data, first + t)
                                       : (rlx_scalar){0};
}

static rlx_status rows_in_subgroups(const rlx_lir_eval *e, const rlx_lir_instr *i, registers *r)
{
    const rlx_lir_tile *x = i->in[0];
    const int width = x->dim[x->rank - 1], team = e->options->team;
    for (int64_t first = 0; first < x->elems; first += team) {
        load_part(e, x, first, r);
        shuffle(e, i, width, r);
        for (int t = 0; t < team && first + t < x->elems; t += width)
            RLX_TRY(check(e, i, r, t, (first + t) / width));
    }
    return RLX_OK;
}

/* Of the n elements lane, lane + lanes, .. those whose number is `first` modulo `apart`, by halves. */
static rlx_scalar fold_strided(const rlx_lir_instr *i, int lane, int lanes, int first, int apart)
{
    const rlx_lir_tile *x = i->in[0];
    if (apart * lanes >= x->elems)
        return rlx_lir_scalar_load(x->format, x->data, lane + first * lanes);
    return combine(i, fold_strided(i, lane, lanes, first, 2 * apart),
                   fold_strided(i, lane, lanes, first + apart, 2 * apart));
}

static rlx_status row_of_all(const rlx_lir_eval *e, const rlx_lir_instr *i, registers *r)
{
    const int lanes = e->options->subgroup, team = e->options->team;
    for (int t = 0; t < team; t++)
        r->x[t] = fold_strided(i, t % lanes, lanes, 0, 1);
    shuffle(e, i, lanes, r);
    for (int t = 0; t < team; t++) /* of a maximum lane 0 has it, and tells the others */
        RLX_TRY(check(e, i, r, i->fn == RLX_FN_MAX ? t / lanes * lanes : t, 0));
    return RLX_OK;
}

rlx_status rlx_lir_check_reduce(const rlx_lir_eval *e, const rlx_lir_instr *i)
{
    switch (rlx_lir_reduce_way(i->node, e->options->subgroup)) {
    case RLX_LIR_SHUFFLED:
        return rows_in_subgroups(e, i, e->registers);
    case RLX_LIR_STRIDED:
        return row_of_all(e, i, e->registers);
    case RLX_LIR_KEPT:
    case RLX_LIR_EXCHANGED:
        break;
    }
    return RLX_OK; /* no other invocation's register is looked at */
}
