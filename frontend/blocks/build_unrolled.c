/* frontend/blocks/build_unrolled.c: a recurrence inside of a step of another one. There extents are
 * constants, so its steps are built one after another, for each index of its parallel axes. */
#include <string.h>

#include "frontend/blocks/build.h"

enum { MOST_STEPS = 64 };

typedef struct unrolled {
    rlx_builder *b;
    const rlx_recur_spec *s;
    int64_t steps, instances;
    rlx_dim lead[1 + RLX_MIR_MAX_PARALLEL]; /* steps, then the parallel axes */
    /* outputs, by step and instance; then last states, by instance */
    rlx_ir_value *piece[RLX_MIR_MAX_RECUR][MOST_STEPS];
} unrolled;

static bool find_extents(unrolled *u, rlx_dim steps)
{
    const rlx_recur_spec *s = u->s;
    const rlx_ir_type *state = &rlx_value_ir(s->operand[s->sequences])->type;
    int64_t all = steps;
    bool fits = steps >= 1 && s->live >= 0 && s->live <= s->states && state->rank >= s->parallel;
    u->lead[0] = steps;
    for (int i = 0; fits && i < s->parallel; i++) {
        u->lead[1 + i] = state->dim[i];
        fits = state->dim[i] >= 1 && state->dim[i] <= MOST_STEPS;
        all *= state->dim[i];
    }
    if (!fits || steps > MOST_STEPS || all > MOST_STEPS) {
        rlx_builder_note(u->b, RLX_FAIL(RLX_INVALID_ARGUMENT,
                                        "recur: inside of a step a recurrence is unrolled: it has "
                                        "1 to %d constant steps, those of its parallel axes "
                                        "together, and `live` is one of its states",
                                        MOST_STEPS));
        return false;
    }
    u->steps = steps;
    u->instances = all / steps;
    return true;
}

/* x at index `at` of its first n axes, without them. */
static rlx_ir_value *take(rlx_ir_builder *b, rlx_ir_value *x, int n, const int64_t *at)
{
    for (int i = 0; x && i < n; i++)
        x = rlx_mir_slice(b, x, i, at[i], 1, 1);
    return x && x->type.rank >= n ? rlx_mir_reshape(b, x, x->type.rank - n, x->type.dim + n) : NULL;
}

/* Once the state `live` is false, states stay and outputs are 0. */
static void hold(rlx_ir_builder *b, const rlx_recur_spec *s, rlx_ir_value *const *state,
                 rlx_ir_value **result)
{
    for (int i = 0; s->live && i < s->outputs + s->states; i++)
        result[i] =
            rlx_mir_pick(b, state[s->live - 1], result[i],
                         i < s->outputs ? rlx_mir_like(b, result[i], 0) : state[i - s->outputs]);
}

static bool build_step(unrolled *u, const int64_t *at, rlx_ir_value **state, rlx_ir_value **result)
{
    const rlx_recur_spec *s = u->s;
    rlx_ir_builder *b = rlx_builder_at(u->b, NULL);
    rlx_value *arg[RLX_MIR_MAX_RECUR], *out[RLX_MIR_MAX_RECUR] = {0};
    for (int i = 0; i < s->sequences + s->states + s->stay; i++) {
        rlx_ir_value *v = rlx_value_ir(s->operand[i]);
        if (i < s->sequences)
            v = take(b, v, 1 + s->parallel, at);
        else if (i < s->sequences + s->states)
            v = state[i - s->sequences];
        arg[i] = rlx_value_of(v);
    }
    s->step(u->b, arg, out, s->user);
    if (!rlx_builder_all(u->b, "recur's step", s->outputs + s->states, out))
        return false;
    for (int i = 0; i < s->outputs + s->states; i++)
        result[i] = rlx_value_ir(out[i]);
    hold(rlx_builder_at(u->b, NULL), s, state, result);
    for (int i = 0; i < s->states; i++) {
        rlx_ir_value *next = result[s->outputs + i];
        if (!next || !rlx_ir_type_equal(&next->type, &state[i]->type)) {
            rlx_builder_note(u->b, RLX_FAIL(RLX_INVALID_ARGUMENT,
                                            "recur's step: state %d becomes another type", i));
            return false;
        }
        state[i] = next;
    }
    return true;
}

/* All steps of one index of the parallel axes. */
static bool build_instance(unrolled *u, int64_t instance)
{
    const rlx_recur_spec *s = u->s;
    int64_t at[1 + RLX_MIR_MAX_PARALLEL], rest = instance;
    rlx_ir_value *state[RLX_MIR_MAX_RECUR], *result[RLX_MIR_MAX_RECUR];
    for (int i = s->parallel; i > 0; i--) {
        at[i] = rest % u->lead[i];
        rest /= u->lead[i];
    }
    for (int i = 0; i < s->states; i++) {
        state[i] = take(rlx_builder_at(u->b, NULL), rlx_value_ir(s->operand[s->sequences + i]),
                        s->parallel, at + 1);
        if (!state[i])
            return false;
    }
    for (int64_t k = 0; k < u->steps; k++) {
        at[0] = s->backwards ? u->steps - 1 - k : k;
        if (!build_step(u, at, state, result))
            return false;
        for (int i = 0; i < s->outputs; i++)
            u->piece[i][at[0] * u->instances + instance] = result[i];
    }
    for (int i = 0; i < s->states; i++)
        u->piece[s->outputs + i][instance] = state[i];
    return true;
}

/* n pieces as one tensor with these axes in front. */
static rlx_ir_value *join(rlx_ir_builder *b, rlx_ir_value **piece, int n, int nlead,
                          const rlx_dim *lead)
{
    const rlx_ir_type *t = &piece[0]->type;
    rlx_dim dims[RLX_MAX_RANK];
    if (t->rank + (nlead ? nlead : 1) > RLX_MAX_RANK) {
        rlx_ir_builder_fail(
            b, RLX_FAIL(RLX_INVALID_ARGUMENT, "a result of a recurrence has too many axes"));
        return NULL;
    }
    memcpy(dims, lead, sizeof *dims * (size_t)nlead);
    memcpy(dims + nlead, t->dim, sizeof *dims * (size_t)t->rank);
    const int rank = nlead + t->rank;
    for (int i = 0; i < n; i++)
        piece[i] = rlx_mir_insert(b, piece[i], 0);
    return rlx_mir_reshape(b, n == 1 ? piece[0] : rlx_mir_build_concat(b, n, piece, 0), rank, dims);
}

void rlx_build_unrolled(rlx_builder *b, const rlx_recur_spec *s, rlx_dim steps, rlx_value **results)
{
    unrolled u = {.b = b, .s = s};
    if (!find_extents(&u, steps))
        return;
    for (int64_t i = 0; i < u.instances; i++)
        if (!build_instance(&u, i))
            return;
    rlx_ir_builder *at = rlx_builder_at(b, NULL);
    for (int i = 0; i < s->outputs + s->states && !at->status; i++) {
        const bool output = i < s->outputs;
        results[i] =
            rlx_value_of(join(at, u.piece[i], (int)(output ? u.steps * u.instances : u.instances),
                              s->parallel + output, u.lead + !output));
    }
}
