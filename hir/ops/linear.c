/* hir/ops/linear.c
 *   in   x f32[..,K];  w [N,K] (float or blocks), b [N] (optional)       out  f32[..,N]: x w^T + b
 *   C1  x is f32 of rank 1 or more.
 *   C2  w is a tensor of a float or block format, of rank 2, whose last extent is that of x.
 *   C3  there are two or three operands; the third is a float tensor [N].
 */
#include "hir/ops/ops.h"

rlx_status rlx_hir_linear_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    const rlx_ir_type *x = &n->in[0]->type, *w = &n->in[1]->type;
    RLX_HIR_REQUIRE_TYPE(m, n, "C1", x->rank >= 1 && rlx_hir_is(n->in[0], RLX_F32, x->rank), 0,
                         "x is f32[..,K]");
    RLX_HIR_REQUIRE_TYPE(m, n, "C2",
                         rlx_hir_is_weight(n->in[1], 2) && w->dim[1] == rlx_hir_last_dim(n->in[0]),
                         1, "w is a float or block [N,K] with the K of x");
    RLX_IR_REQUIRE(m, n, "C3", n->nin <= 3, "%d operands, at most 3", n->nin);
    if (n->nin == 3)
        RLX_HIR_REQUIRE_TYPE(m, n, "C3",
                             rlx_hir_is_weight(n->in[2], 1) && n->in[2]->type.dim[0] == w->dim[0],
                             2, "b is a float [N] with the N of w");
    return RLX_OK;
}

rlx_status rlx_hir_linear_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results)
{
    RLX_TRY(rlx_hir_linear_verify(m, n));
    results[0] = n->in[0]->type;
    results[0].dim[results[0].rank - 1] = n->in[1]->type.dim[0];
    return RLX_OK;
}

rlx_status rlx_hir_linear_eval(rlx_hir_eval_cx *cx, const rlx_ir_node *n,
                               rlx_eval_tensor *const *in, rlx_eval_tensor *out)
{
    RLX_TRY(rlx_hir_eval_alloc(cx, &out[0]));
    const int64_t width = in[1]->dim[0], depth = in[1]->dim[1];
    const int64_t rows = depth ? rlx_hir_eval_elems(in[0]) / depth : 0;
    const float *x = in[0]->data;
    float *y = out[0].data;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < width; c++) {
            double sum = n->nin == 3 ? rlx_hir_load(in[2], c) : 0;
            for (int64_t k = 0; k < depth; k++)
                sum += x[r * depth + k] * rlx_hir_load(in[1], c * depth + k);
            y[r * width + c] = (float)sum;
        }
    return RLX_OK;
}

void rlx_hir_linear_lower(rlx_ir_builder *b, const rlx_ir_node *n, rlx_ir_value *const *in,
                          rlx_ir_value **out)
{
    const rlx_dim row[] = {1, rlx_hir_last_dim(n->in[0])}, *dims = n->out[0]->type.dim;
    rlx_ir_value *x = n->in[0]->type.rank == 1 ? rlx_mir_build_reshape(b, in[0], 2, row) : in[0];
    out[0] = rlx_mir_build_contract(b, x, rlx_mir_build_cast(b, in[1], RLX_F32));
    if (n->in[0]->type.rank == 1)
        out[0] = rlx_mir_build_reshape(b, out[0], 1, dims);
    if (n->nin == 3) {
        rlx_ir_value *bias = rlx_mir_build_cast(b, in[2], RLX_F32);
        bias = rlx_mir_expand(b, bias, n->out[0]->type.rank, n->out[0]->type.dim);
        out[0] = rlx_mir_build_map2(b, RLX_FN_ADD, out[0], bias);
    }
}
