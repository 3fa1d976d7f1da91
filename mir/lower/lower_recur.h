/* mir/lower/lower_recur.h: inside of the lowering of recurrences.
 *
 *   lower_recur.c        what a step needs in memory, steps, the kernel
 *   lower_recur_fold.c   a step's reduces and contracts
 *   lower_recur_state.c  where values are, the states of sequences */
#ifndef RLX_MIR_LOWER_RECUR_H
#define RLX_MIR_LOWER_RECUR_H

#include "mir/lower/lower_loops.h"

/* What happens in a step, in this order. */
typedef struct event {
    const rlx_ir_node *node; /* its value goes to memory (or is a number); NULL: */
    int output;              /* this output is stored */
    const rlx_ir_value
        *arg;  /* output < 0: a state's argument that another state becomes is saved */
    int state; /* node: the state that it becomes in place; -1: none */
} event;

typedef struct recur_cx {
    region_cx *r;
    kernel_cx k;
    nest l;
    const rlx_ir_node *n;
    rlx_mir_recur s;
    const char *schedule;
    bool rows, columns;   /* what goes by tiles */
    tile_space lane;      /* columns: the tile of the last parallel axis */
    tile_space team_lane; /* the same in team memory */
    coord parallel[RLX_MIR_MAX_PARALLEL], step, slot;
    tape_buffer *temp[RLX_MIR_MAX_RECUR]; /* by state: its memory when it is no result; or NULL */
    rlx_ir_value *memory[RLX_MIR_MAX_RECUR]; /* by state */
    event *events;
    int nevents;
    int64_t team_bytes;
    bool holds; /* states are in team memory while a sequence's steps go on: */
    value_part *held[RLX_MIR_MAX_RECUR]; /* by state; NULL: they are where they belong */
} recur_cx;

static inline const rlx_ir_block *recur_step_of(const recur_cx *x)
{
    return x->n->blocks[0];
}

/* The state whose argument `v` is, or -1. */
static inline int recur_state_of_arg(const recur_cx *x, const rlx_ir_value *v)
{
    const int state = v->def ? -1 : (int)v->index - x->s.sequences;
    return state < x->s.states ? state : -1;
}

/* Loops over the block's axes. */
typedef struct inner_loops {
    int n;
    rlx_lir_scope s[RLX_MAX_RANK];
    coord c[RLX_MAX_RANK];
    tile_space last; /* with tiles: the last axis */
} inner_loops;

/* Loops over the axes of `t`; with kind rows and `tiles` the last one goes by tiles. */
rlx_status recur_axes_begin(recur_cx *x, const rlx_ir_type *t, bool tiles, inner_loops *a);
rlx_status recur_axes_end(recur_cx *x, inner_loops *a);
/* Whether computing `v`, up to what is in memory, takes elements at computed indices. */
bool recur_picks(const rlx_ir_value *v);

/* One element of a reduce or contract; one without axes has no c. */
rlx_status recur_fold_at(recur_cx *x, const rlx_ir_node *n, const coord *c, rlx_ir_value **out);
/* All elements of one with axes. */
rlx_status recur_store_fold(recur_cx *x, const rlx_ir_node *n, const value_part *to);

/* Every element of `v` to `to`; zeros for those of a value like it. */
rlx_status recur_store_value(recur_cx *x, const rlx_ir_value *v, const value_part *to);
rlx_status recur_store_zeros(recur_cx *x, const rlx_ir_value *like, const value_part *to);

/* ---- lower_recur_state.c ------------------------------------------------------------------------
 */

/* What the instance has of a tensor with those axes; NULL after an error, which the builder has. */
value_part *recur_new_part(recur_cx *x, const rlx_mir_recur_axes *a);
/* Team memory for a value of the step. */
value_part *recur_team_part(recur_cx *x, const rlx_ir_value *v);
/* Where a state is now. */
value_part *recur_state_part(recur_cx *x, int state);
void recur_bind_part(recur_cx *x, const rlx_ir_value *v, const value_part *p);
void recur_bind_arguments(recur_cx *x);

/* A loop of one turn or none: whether number `c`, a bool, is true (with `negate`: false). */
rlx_status recur_begin_if(recur_cx *x, rlx_ir_value *c, bool negate, rlx_lir_scope *s);
void recur_end_if(recur_cx *x, rlx_lir_scope *s);

/* At a sequence's first token its states are zeros, whatever the pools hold. */
rlx_status recur_begin_sequence(recur_cx *x);
/* The sequence of the step's token. `held`: the one whose states are held, -1 for none; NULL when
 * none ever are. */
rlx_status recur_find_slot(recur_cx *x, rlx_ir_value *held, rlx_ir_value **slot);

/* Whether holding pays; how many columns of the states half of the first-level cache holds. */
bool recur_chooses_to_hold(const recur_cx *x);
int64_t recur_column_room(const recur_cx *x);
rlx_status recur_hold_states(recur_cx *x); /* makes the memory */
rlx_status recur_load_states(recur_cx *x);
rlx_status recur_save_states(recur_cx *x);
rlx_status recur_save_states_of(recur_cx *x, rlx_ir_value *slot); /* i64; below 0: of none */

#endif
