/* hir/ops/places.h: what operators over places share: the windows of a node. Internal to hir/ops/.
 */
#ifndef RLX_HIR_OPS_PLACES_H
#define RLX_HIR_OPS_PLACES_H

#include "hir/ops/ops.h"
#include "mir/mir_image.h"

/* Constraint `id`: x is f32[N,C,S..] with constant channels and one to three axes of places. */
rlx_status rlx_hir_require_places(rlx_ir_module *m, const rlx_ir_node *n, const char *id);
/* The same of another format. */
rlx_status rlx_hir_require_places_of(rlx_ir_module *m, const rlx_ir_node *n, const char *id,
                                     rlx_format f);
/* Constraint `id`: strides, dilations and pads (absent: 1, 1, 0) are lists for the places of x, in
 * range; the windows go to *w, but for their sizes. */
rlx_status rlx_hir_read_windows(rlx_ir_module *m, const rlx_ir_node *n, const char *id,
                                rlx_mir_windows *w);
/* The same of a node that was verified, with sizes from `sizes` (n of them). */
rlx_mir_windows rlx_hir_get_windows(const rlx_ir_node *n, const int64_t *sizes);
/* x's type with windows for places; constraint `id`: some fit. */
rlx_status rlx_hir_count_windows(rlx_ir_module *m, const rlx_ir_node *n, const char *id,
                                 const rlx_mir_windows *w, rlx_ir_type *y);

/* The evaluator's view of places: three axes, those that are not there being 1. */
typedef struct rlx_hir_cube {
    int64_t d[RLX_MIR_MAX_PLACES];
} rlx_hir_cube;
rlx_hir_cube rlx_hir_cube_of(int n, const int64_t *d, int64_t absent);
static inline int64_t rlx_hir_cube_elems(rlx_hir_cube c)
{
    return c.d[0] * c.d[1] * c.d[2];
}
/* Index i of a cube by axes. */
rlx_hir_cube rlx_hir_cube_at(rlx_hir_cube extent, int64_t i);
/* The index of an element; -1: outside of the cube. */
int64_t rlx_hir_cube_index(rlx_hir_cube extent, rlx_hir_cube at);

#endif
