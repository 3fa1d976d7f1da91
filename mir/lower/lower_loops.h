/* mir/lower/lower_loops.h: inside of the lowering by loops over single elements.
 *
 *   lower_loops.c    the nest of loops over a result; scans and scatters
 *   lower_scalar.c   one element of a MIR value at given coordinates
 *   lower_recur*.c   recurrences, whose steps are made of both
 *
 * Coordinates are linear forms of loop indices (lower_index.c). Where a view is not linear (a pad,
 * a gather, a reshape that divides), the index is computed and becomes a term of its own. What does
 * not depend on an inner loop is computed in front of it, once.
 *
 * An element may be a tile of them: where a coordinate runs along an axis of `tile`, everything
 * that varies with it is a tile. Indices that are computed do not vary so: that is an error, and
 * who wanted tiles takes single elements instead. */
#ifndef RLX_MIR_LOWER_LOOPS_H
#define RLX_MIR_LOWER_LOOPS_H

#include "mir/lower/lower.h"

enum { MAX_NEST = 32 };

/* What is known of an element (or, with an index, of a coordinate) computed before. */
typedef struct scalar_memo {
    const void *key; /* the MIR value; or the node whose index it is */
    int n;
    coord at[RLX_MAX_RANK];
    int depth;
    rlx_ir_value *made;
} scalar_memo;

typedef struct index_depth {
    const rlx_ir_value *value;
    int depth;
} index_depth;

/* Depth 1 is the grid's body. loop[d] is the structured node whose body has depth d. */
typedef struct nest {
    kernel_cx *k;
    int depth; /* of where code goes now */
    rlx_ir_node *loop[MAX_NEST];
    scalar_memo *memo;
    int nmemo, cap_memo;
    index_depth *index;
    int nindex, cap_index;
    const tile_space *tile; /* NULL: single elements */
    /* values of this block are made at `floor` or deeper: they change with every round of a loop */
    const rlx_ir_block *step;
    int floor;
} nest;

/* Notes that loop `s` was begun; its body is one deeper. `index` becomes a coordinate. */
coord nest_enter(nest *l, const rlx_lir_scope *s, rlx_ir_value *index, rlx_dim extent);
/* A computed index, which lies where code goes now, as a coordinate below `extent` (0: not known).
 */
coord nest_term(nest *l, rlx_ir_value *index, rlx_dim extent);
void nest_leave(nest *l);                /* before the loop's end */
rlx_status nest_overflow(const nest *l); /* an error when loops nest too deeply */

/* Element `c` (a coord per axis) of `v`, computed at the least depth that has its coordinates. */
rlx_status scalar_at(nest *l, const rlx_ir_value *v, const coord *c, rlx_ir_value **out);
/* From coordinates of `from` to those of the same element in shape `to`; computes what is not
 * linear. */
rlx_status scalar_reshape(nest *l, const rlx_ir_type *from, const coord *c, const rlx_ir_type *to,
                          coord *out);
/* Stores an element at coordinates of a part of memory. */
rlx_status scalar_store(nest *l, const value_part *p, rlx_ir_value *x, const coord *c);
/* Grids that store every element of `v`, a value of the region, to a buffer. */
rlx_status loops_store(kernel_cx *k, const rlx_ir_value *v, rlx_ir_value *buffer);
/* A value of format f that a fold starts from. */
rlx_ir_value *scalar_fold_start(nest *l, rlx_map_fn fn, rlx_format f);

#endif
