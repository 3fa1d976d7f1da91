/* mir/lower/lower_dot.h: what lower_dot.c and lower_turned.c load by the step. */
#ifndef RLX_MIR_LOWER_DOT_H
#define RLX_MIR_LOWER_DOT_H

#include "mir/lower/lower_group.h"

enum { DOT_LANES = 8 };

typedef struct dots {
    const group *g;
    const register_tile *at;
    const ring *ring; /* where the step's rows are; NULL: they are read from memory */
} dots;

/* The elements of a step, or a value for every `by` of them. Those beyond K are zero when `padded`:
 * a step's groups may be fewer than the lanes of their sums. */
typedef struct span {
    rlx_ir_value *step; /* its number */
    int64_t by, width;
    bool padded;
} span;

/* Of the tile's rows of x; a part of its rows of weights. */
rlx_status dot_load_rows(kernel_cx *k, const dots *d, const rlx_ir_value *x, span s,
                         rlx_ir_value **out);
rlx_status dot_load_weights(kernel_cx *k, const dots *d, const rlx_ir_value *w, const char *what,
                            span s, rlx_ir_value **out);

#endif
