/* frontend/blocks/build.h: what the files behind rlx_build_* share. What rlx.h calls a value is a
 * value of the function that is being built; a builder is what a block has at hand.
 *
 * Every rlx_build_<op> is thin: it turns values and extents into the IR's, checks what indexes an
 * array (axes, counts, ranks), and calls a builder of hir.h, or of mir/mir_compose.h for tensor
 * ops. Operands that are NULL come from an earlier error. */
#ifndef RLX_FRONTEND_BUILD_H
#define RLX_FRONTEND_BUILD_H

#include "frontend/blocks/blocks.h"

struct rlx_builder {
    rlx_flow_cx *cx;
    const rlx_stage *stage;
    const char *place;              /* of nodes that belong to no weight */
    const rlx_extension *extension; /* that rewrites a node now, or NULL: a stage is built */
};

static inline rlx_ir_value *rlx_value_ir(rlx_value *v)
{
    return (rlx_ir_value *)v;
}

static inline rlx_value *rlx_value_of(rlx_ir_value *v)
{
    return (rlx_value *)v;
}

/* The IR's builder, about to add nodes: they belong to the module that owns `w`, a weight, or else
 * (also for NULL) to the stage. */
rlx_ir_builder *rlx_builder_at(rlx_builder *b, const rlx_value *w);
/* Notes an error, unless there is one. */
void rlx_builder_note(rlx_builder *b, rlx_status st);
/* Whether `*axis` is one of x's, from the end when it is negative, which it no longer is then.
 * False for no value too; notes the error. */
bool rlx_builder_axis(rlx_builder *b, const char *op, rlx_value *x, int *axis);
/* The set of those axes; false after an error. */
bool rlx_builder_axes(rlx_builder *b, const char *op, rlx_value *x, int n, const int *axes,
                      unsigned *set);
/* Extents as callers write them; false after an error. */
bool rlx_builder_dims(rlx_builder *b, const char *op, int rank, const int64_t *dims, rlx_dim *out);
/* Whether none of n operands is NULL; one that is, without an error before, is an error. */
bool rlx_builder_all(rlx_builder *b, const char *op, int n, rlx_value *const *x);
/* Whether there is a spec; none is an error. */
bool rlx_builder_has_spec(rlx_builder *b, const char *op, const void *spec);
/* Whether indices are i32 or i64. False for no value too; notes the error. */
bool rlx_builder_indices(rlx_builder *b, const char *op, rlx_value *ids);
/* rlx_build_recur inside of a step of another recurrence; `spec` was checked. */
void rlx_build_unrolled(rlx_builder *b, const rlx_recur_spec *spec, rlx_dim steps,
                        rlx_value **results);

#endif
