/* mir/lower/lower_recur_state.c: where the values of a recurrence's step are, and its states.
 *
 * States that do not stay in the first-level cache where they are (rows of a pool lie far apart, and
 * fall onto few of its sets) are held: copied to team memory, where an instance's part of them is
 * dense, while the steps of one sequence go on; and copied back when another one's begin. The bits
 * are the same. */
#include <string.h>

#include "mir/lower/lower_recur.h"

/* ---- parts --------------------------------------------------------------------------------------
 */

value_part *recur_new_part(recur_cx *x, const rlx_mir_recur_axes *a)
{
    value_part *p = RLX_NEW(x->k.arena, value_part);
    if (!p) {
        rlx_ir_builder_fail(x->k.b, RLX_OOM());
        return NULL;
    }
    *p = (value_part){.rank = a->rank, .inner = a->inner, .ninner = a->ninner};
    if (a->step >= 0)
        p->at[a->step] = x->step;
    if (a->slot >= 0)
        p->at[a->slot] = x->slot;
    for (int i = 0; i < x->s.parallel; i++)
        if (a->parallel[i] >= 0)
            p->at[a->parallel[i]] = x->parallel[i];
    return p;
}

void recur_bind_part(recur_cx *x, const rlx_ir_value *v, const value_part *p)
{
    binding *b = k_bind(&x->k, v, BIND_PART, NULL);
    if (b)
        b->part = p;
}

/* The part of a state's own memory that the instance has now. */
static value_part *pool_part(recur_cx *x, int state)
{
    rlx_mir_recur_axes a;
    rlx_mir_recur_operand_axes(x->n, &x->s, x->s.sequences + state, &a);
    value_part *p = recur_new_part(x, &a);
    if (p)
        p->buffer = x->memory[state];
    return p;
}

value_part *recur_state_part(recur_cx *x, int state)
{
    return x->held[state] ? x->held[state] : pool_part(x, state);
}

void recur_bind_arguments(recur_cx *x)
{
    const rlx_ir_block *b = recur_step_of(x);
    for (int i = 0; i < b->nargs; i++) {
        const int state = recur_state_of_arg(x, b->args[i]);
        rlx_mir_recur_axes a;
        rlx_mir_recur_operand_axes(x->n, &x->s, i, &a);
        value_part *p = state >= 0 ? recur_state_part(x, state) : recur_new_part(x, &a);
        if (p && state < 0)
            p->value = x->n->in[i];
        recur_bind_part(x, b->args[i], p);
    }
}

value_part *recur_team_part(recur_cx *x, const rlx_ir_value *v)
{
    const rlx_ir_type *t = &v->type;
    value_part *p = RLX_NEW(x->k.arena, value_part);
    int64_t dims[RLX_MAX_RANK], elems = 1;
    int rank = 0;
    if (!p) {
        rlx_ir_builder_fail(x->k.b, RLX_OOM());
        return NULL;
    }
    /* an axis of 1 in front, for tiles of two axes: see contract_rows */
    for (dims[rank++] = 1; rank <= t->rank && rank < RLX_MAX_RANK; rank++)
        dims[rank] = t->dim[rank - 1];
    *p = (value_part){.inner = 1, .ninner = t->rank};
    p->at[0] = coord_const(0);
    if (x->columns && rank < RLX_MAX_RANK) {
        p->at[rank] = coord_of(k_const(&x->k, 0), x->lane.dim[0], 0);
        dims[rank++] = x->lane.dim[0];
        p->space = &x->team_lane;
    }
    for (int i = 0; i < rank; i++)
        elems *= dims[i];
    x->team_bytes += (int64_t)rlx_format_bytes(t->format, elems);
    if (x->team_bytes > x->k.options->target->team_bytes)
        rlx_ir_builder_fail(x->k.b, k_fail(&x->k, x->n, "a step takes more than a team's memory"));
    p->rank = rank;
    p->buffer = rlx_lir_build_alloc(&x->k.top, t->format, rank, dims);
    return p;
}

/* ---- sequences ----------------------------------------------------------------------------------
 */

rlx_status recur_begin_if(recur_cx *x, rlx_ir_value *c, bool negate, rlx_lir_scope *s)
{
    kernel_cx *k = &x->k;
    rlx_ir_value *times =
        rlx_lir_build_map3(k->b, RLX_FN_SELECT, c, k_const(k, !negate), k_const(k, negate));
    rlx_lir_begin_for(k->b, k_const(k, 0), times, 1, 0, NULL, s);
    if (!k->b->status)
        nest_enter(&x->l, s, s->index[0], 1);
    return rlx_ir_builder_finish(k->b);
}

void recur_end_if(recur_cx *x, rlx_lir_scope *s)
{
    nest_leave(&x->l);
    rlx_lir_end_for(x->k.b, s, NULL);
}

rlx_status recur_begin_sequence(recur_cx *x)
{
    kernel_cx *k = &x->k;
    rlx_ir_value *pos;
    rlx_lir_scope s;
    if (!x->s.tokens)
        return RLX_OK;
    RLX_TRY(scalar_at(&x->l, x->n->in[x->n->nin - 2], &x->step, &pos));
    pos = rlx_lir_build_cast(k->b, pos, RLX_I64);
    RLX_TRY(recur_begin_if(x, rlx_lir_build_map2(k->b, RLX_FN_EQ, pos, k_const(k, 0)), false, &s));
    for (int i = 0; i < x->s.states; i++)
        RLX_TRY(recur_store_zeros(x, recur_step_of(x)->args[x->s.sequences + i],
                                  recur_state_part(x, i)));
    recur_end_if(x, &s);
    rlx_lir_build_barrier(k->b);
    return rlx_ir_builder_finish(k->b);
}

/* Bytes of all states of one index of the parallel axes but the last; of one column of them. */
static int64_t state_bytes(const recur_cx *x, int64_t columns)
{
    int64_t bytes = 0;
    for (int i = 0; i < x->s.states; i++) {
        const rlx_ir_type *t = &recur_step_of(x)->args[x->s.sequences + i]->type;
        int64_t elems = columns;
        for (int k = 0; k < t->rank; k++)
            elems *= t->dim[k];
        bytes += (int64_t)rlx_format_bytes(t->format, elems);
    }
    return bytes;
}

int64_t recur_column_room(const recur_cx *x)
{
    const rlx_lir_target *t = x->r->options->target;
    int64_t width = t->vector_f32;
    while (state_bytes(x, 2 * width) <= t->l1_bytes / 2)
        width *= 2;
    return width;
}

/* What holding costs is a copy of the state each way for every run of a sequence's steps; what it
 * gives is that a step's passes over it, three or more, come from the first-level cache: two steps
 * in a row pay for it. A bucket's extents tell how long runs are. */
bool recur_chooses_to_hold(const recur_cx *x)
{
    const rlx_lir_target *t = x->r->options->target;
    const rlx_mir_recur *s = &x->s;
    if (!s->columns || t->unit != RLX_UNIT_CPU)
        return false;
    const int64_t *upper = x->r->options->upper;
    const int64_t columns = rlx_dim_upper(x->r->out->dims, s->extent[s->parallel - 1], upper);
    const rlx_dim slots = x->n->in[s->sequences]->type.dim[0];
    const int64_t runs = s->tokens ? rlx_dim_upper(x->r->out->dims, slots, upper) : 1;
    return rlx_dim_upper(x->r->out->dims, s->steps, upper) >= 2 * runs &&
           state_bytes(x, columns) > t->l1_bytes / 2 &&
           state_bytes(x, t->vector_f32) <= t->l1_bytes / 2 &&
           state_bytes(x, recur_column_room(x)) <= t->team_bytes / 2;
}

rlx_status recur_hold_states(recur_cx *x)
{
    memset(x->held, 0, sizeof x->held);
    for (int i = 0; x->holds && i < x->s.states; i++)
        x->held[i] = recur_team_part(x, recur_step_of(x)->args[x->s.sequences + i]);
    return rlx_ir_builder_finish(&x->k.top);
}

/* Every state from one place to the other. */
static rlx_status copy_states(recur_cx *x, bool save)
{
    for (int i = 0; i < x->s.states; i++) {
        const rlx_ir_value *v = recur_step_of(x)->args[x->s.sequences + i];
        value_part *pool = pool_part(x, i);
        if (!pool)
            return rlx_ir_builder_finish(x->k.b);
        recur_bind_part(x, v, save ? x->held[i] : pool);
        RLX_TRY(recur_store_value(x, v, save ? pool : x->held[i]));
    }
    return RLX_OK;
}

rlx_status recur_load_states(recur_cx *x)
{
    return copy_states(x, false);
}

rlx_status recur_save_states(recur_cx *x)
{
    return copy_states(x, true);
}

rlx_status recur_save_states_of(recur_cx *x, rlx_ir_value *slot)
{
    rlx_lir_scope s;
    const coord now = x->slot;
    RLX_TRY(recur_begin_if(x, rlx_lir_build_map2(x->k.b, RLX_FN_LE, k_const(&x->k, 0), slot), false,
                           &s));
    x->slot = nest_term(&x->l, slot, 0);
    RLX_TRY(recur_save_states(x));
    recur_end_if(x, &s);
    x->slot = now;
    return rlx_ir_builder_finish(x->k.b);
}

/* What is held goes back, and the states of sequence `slot` come. */
static rlx_status change_sequence(recur_cx *x, rlx_ir_value *held, rlx_ir_value *slot)
{
    rlx_lir_scope s;
    RLX_TRY(recur_begin_if(x, rlx_lir_build_map2(x->k.b, RLX_FN_EQ, held, slot), true, &s));
    RLX_TRY(recur_save_states_of(x, held));
    RLX_TRY(recur_load_states(x));
    recur_end_if(x, &s);
    return rlx_ir_builder_finish(x->k.b);
}

rlx_status recur_find_slot(recur_cx *x, rlx_ir_value *held, rlx_ir_value **slot)
{
    rlx_ir_value *seq;
    if (!x->s.tokens)
        return RLX_OK;
    RLX_TRY(scalar_at(&x->l, x->n->in[x->n->nin - 1], &x->step, &seq));
    seq = rlx_lir_build_cast(x->k.b, seq, RLX_I64);
    if (!seq)
        return rlx_ir_builder_finish(x->k.b);
    x->slot = nest_term(&x->l, seq, 0);
    *slot = seq;
    return held ? change_sequence(x, held, seq) : rlx_ir_builder_finish(x->k.b);
}
