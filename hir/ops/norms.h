/* hir/ops/norms.h: what norms share. Internal to hir/ops/. */
#ifndef RLX_HIR_OPS_NORMS_H
#define RLX_HIR_OPS_NORMS_H

#include "hir/ops/ops.h"

/* Constraint `id`: eps is given, finite and not negative. */
rlx_status rlx_hir_require_eps(rlx_ir_module *m, const rlx_ir_node *n, const char *id);

typedef struct rlx_hir_moments {
    double mean, variance; /* of all elements */
} rlx_hir_moments;
rlx_hir_moments rlx_hir_eval_moments(const float *x, int64_t n);

/* (x - mean) / sqrt(variance + eps) over the last axis, whose extent is a constant. */
rlx_ir_value *rlx_hir_lower_normalise(rlx_ir_builder *b, rlx_ir_value *x, double eps);
/* A vector [C] as f32[C,1..]: along axis 1 of a tensor of that rank. */
rlx_ir_value *rlx_hir_lower_channels(rlx_ir_builder *b, rlx_ir_value *v, int rank);

#endif
