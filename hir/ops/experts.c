/* hir/ops/experts.c: rows times the matrices of their experts
 *   in   x f32[..,K];  w [E,N,K], of any weight format;  ids i32[..] or i32[..,S]
 *   out  f32[..,N] or f32[..,S,N]: w[ids] x
 *   What a row costs is its own experts' products: nothing is computed for others.
 *   C1  x is f32[..,K] of rank 1 to 6.
 *   C2  w is a weight [E,N,K] with the K of x and one expert at least.
 *   C3  ids are i32, of x's shape without the last axis, or with one more axis S: a row goes to
 *       several experts.
 *   Evaluating: 0 <= ids < E. Code takes the nearest expert for an index that is not.
 */
#include <string.h>

#include "hir/ops/ops.h"

static bool is_matrices(const rlx_ir_value *w)
{
    const bool blocks = rlx_format_get(w->type.format)->kind == RLX_KIND_BLOCK;
    return w->type.kind == RLX_TYPE_TENSOR && w->type.rank == 3 &&
           rlx_dim_is_const(w->type.dim[0]) && w->type.dim[0] > 0 &&
           (blocks || rlx_format_is_float(w->type.format));
}

rlx_status rlx_hir_experts_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    const rlx_ir_type *x = &n->in[0]->type, *ids = &n->in[2]->type;
    RLX_HIR_REQUIRE_TYPE(m, n, "C1",
                         x->rank >= 1 && x->rank <= 6 && rlx_hir_is(n->in[0], RLX_F32, x->rank), 0,
                         "x is f32[..,K]");
    RLX_HIR_REQUIRE_TYPE(
        m, n, "C2", is_matrices(n->in[1]) && n->in[1]->type.dim[2] == rlx_hir_last_dim(n->in[0]), 1,
        "w is a weight [E,N,K] with the K of x");
    bool fits =
        rlx_hir_is(n->in[2], RLX_I32, x->rank - 1) || rlx_hir_is(n->in[2], RLX_I32, x->rank);
    for (int i = 0; fits && i < x->rank - 1; i++)
        fits = ids->dim[i] == x->dim[i];
    RLX_HIR_REQUIRE_TYPE(m, n, "C3", fits, 2,
                         "ids are i32[..] or i32[..,S] with the leading extents of x");
    return RLX_OK;
}

rlx_status rlx_hir_experts_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results)
{
    RLX_TRY(rlx_hir_experts_verify(m, n));
    results[0] = n->in[2]->type;
    results[0].format = RLX_F32;
    results[0].dim[results[0].rank++] = n->in[1]->type.dim[1];
    return RLX_OK;
}

rlx_status rlx_hir_experts_eval(rlx_hir_eval_cx *cx, const rlx_ir_node *n,
                                rlx_eval_tensor *const *in, rlx_eval_tensor *out)
{
    (void)n;
    RLX_TRY(rlx_hir_eval_alloc(cx, &out[0]));
    const int64_t experts = in[1]->dim[0], width = in[1]->dim[1], depth = in[1]->dim[2];
    const int64_t rows = rlx_hir_eval_elems(in[2]);
    const int64_t each = in[2]->rank == in[0]->rank ? in[2]->dim[in[2]->rank - 1] : 1;
    const int32_t *ids = in[2]->data;
    const float *x = in[0]->data;
    float *y = out[0].data;
    for (int64_t r = 0; r < rows; r++) {
        if (ids[r] < 0 || ids[r] >= experts)
            return RLX_FAIL(RLX_INVALID_ARGUMENT, "experts: id %d of row %lld is not in 0..%lld",
                            ids[r], (long long)r, (long long)experts - 1);
        for (int64_t j = 0; j < width; j++) {
            double sum = 0;
            for (int64_t k = 0; k < depth; k++)
                sum += x[r / each * depth + k] *
                       rlx_hir_load(in[1], ((int64_t)ids[r] * width + j) * depth + k);
            y[r * width + j] = (float)sum;
        }
    }
    return RLX_OK;
}

/* `v` with its first `n` axes as one. */
static rlx_ir_value *as_rows(rlx_ir_builder *b, rlx_ir_value *v, int n)
{
    if (!v || n == 1)
        return v;
    rlx_dim dims[RLX_MAX_RANK] = {1};
    for (int i = 0; i < n; i++)
        dims[0] = rlx_dim_make(b->module->dims, RLX_DIM_MUL, dims[0], v->type.dim[i]);
    for (int i = n; i < v->type.rank; i++)
        dims[1 + i - n] = v->type.dim[i];
    return rlx_mir_reshape(b, v, v->type.rank - n + 1, dims);
}

void rlx_hir_experts_lower(rlx_ir_builder *b, const rlx_ir_node *n, rlx_ir_value *const *in,
                           rlx_ir_value **out)
{
    const int leading = n->in[0]->type.rank - 1;
    const rlx_ir_type *y = &n->out[0]->type;
    rlx_ir_value *x = as_rows(b, in[0], leading), *ids = as_rows(b, in[2], leading);
    rlx_ir_value *w = rlx_mir_cast(b, in[1], RLX_F32);
    out[0] = rlx_mir_reshape(b, rlx_mir_build_contract_chosen(b, x, w, ids), y->rank, y->dim);
}
