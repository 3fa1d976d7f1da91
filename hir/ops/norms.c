#include "hir/ops/norms.h"

#include <math.h>

rlx_status rlx_hir_require_eps(rlx_ir_module *m, const rlx_ir_node *n, const char *id)
{
    const rlx_attr *eps = rlx_ir_attr(n, RLX_ATTR_EPS);
    RLX_IR_REQUIRE(m, n, id, eps && isfinite(eps->f) && eps->f >= 0, "eps is %s",
                   eps ? "negative or not finite" : "missing");
    return RLX_OK;
}

rlx_hir_moments rlx_hir_eval_moments(const float *x, int64_t n)
{
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < n; i++)
        sum += x[i];
    const double mean = sum / (double)n;
    for (int64_t i = 0; i < n; i++)
        squares += (x[i] - mean) * (x[i] - mean);
    return (rlx_hir_moments){mean, squares / (double)n};
}

static rlx_ir_value *mean_of(rlx_ir_builder *b, rlx_ir_value *x)
{
    const int last = x ? x->type.rank - 1 : 0;
    rlx_ir_value *sum = rlx_mir_fold_rows(b, RLX_FN_ADD, x, last);
    return rlx_mir_map_num(b, RLX_FN_MUL, sum, x ? 1 / (double)x->type.dim[last] : 1);
}

/* Two passes over a row: the mean of squares less the square of the mean would cancel. */
rlx_ir_value *rlx_hir_lower_normalise(rlx_ir_builder *b, rlx_ir_value *x, double eps)
{
    rlx_ir_value *d = rlx_mir_map2(b, RLX_FN_SUB, x, mean_of(b, x));
    rlx_ir_value *variance = mean_of(b, rlx_mir_map2(b, RLX_FN_MUL, d, d));
    rlx_ir_value *scale =
        rlx_mir_map1(b, RLX_FN_RSQRT, rlx_mir_map_num(b, RLX_FN_ADD, variance, eps));
    return rlx_mir_map2(b, RLX_FN_MUL, d, scale);
}

rlx_ir_value *rlx_hir_lower_channels(rlx_ir_builder *b, rlx_ir_value *v, int rank)
{
    rlx_dim dims[RLX_MAX_RANK] = {v ? v->type.dim[0] : 1};
    for (int i = 1; i < rank - 1; i++)
        dims[i] = 1;
    return rlx_mir_cast(b, rlx_mir_reshape(b, v, rank - 1, dims), RLX_F32);
}
