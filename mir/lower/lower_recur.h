/* mir/lower/lower_recur.h: inside of the lowering of recurrences.
 *
 *   lower_recur.c       what a step needs in memory, steps, the kernel
 *   lower_recur_fold.c  a step's reduces and contracts */
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
} recur_cx;

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

#endif
