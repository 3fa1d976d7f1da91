/* lir/ops/access.h: what load and store have in common. Internal to lir/. */
#ifndef RLX_LIR_ACCESS_H
#define RLX_LIR_ACCESS_H

#include "lir/lir_eval.h"

/* C1 to C5 of a load or store of `tile`, whose indices are operands first_index.. */
rlx_status rlx_lir_verify_access(rlx_ir_module *m, const rlx_ir_node *n, const rlx_ir_type *tile,
                                 int first_index);

/* ops/part.c: a load of codes, scales or minima. */
rlx_status rlx_lir_verify_part(rlx_ir_module *m, const rlx_ir_node *n);
rlx_status rlx_lir_load_part_eval(rlx_lir_eval *e, const rlx_lir_instr *i);

/* The part of a tile that an access touches, as three axes: 1 in front for tiles of lower rank. */
typedef struct rlx_lir_span {
    int64_t first;     /* buffer element of the tile's first */
    int64_t stride[3]; /* buffer elements */
    int64_t count[3];  /* touched: what lies below the limits */
    int64_t dim[3];    /* of the tile */
    bool whole;        /* nothing was cut off by a limit */
} rlx_lir_span;
/* Reads indices and limits, and refuses what lies outside the live shape. */
rlx_status rlx_lir_access_span(rlx_lir_eval *e, const rlx_lir_instr *i, const rlx_lir_tile *tile,
                               rlx_lir_span *s);

#endif
