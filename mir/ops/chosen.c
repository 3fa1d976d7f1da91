/* mir/ops/chosen.c: contractions whose matrix is chosen row by row: what contract and contract_q
 * with `ids` have in common
 *   in   a [R,K], f32 or codes;  b [E,N,K];  ids i32[R] or i32[R,S]
 *   out  y f32[R,N] or f32[R,S,N]: y[r,(s,)n] = the product of a's row r with row n of b[ids[r,(s)]]
 *   Each element is summed as without ids, whatever rows go with the same matrix.
 *   X1   a has rank 2, b rank 3, and b's extents are constants, of one matrix at least.
 *   X2   ids are i32[R] or i32[R,S] with the R of a.
 *   Evaluating: 0 <= ids < E. Code takes the nearest matrix for an index that is not. */
#include "mir/ops/ops.h"

static bool is_constant(const rlx_ir_type *t)
{
    for (int i = 0; i < t->rank; i++)
        if (!rlx_dim_is_const(t->dim[i]))
            return false;
    return true;
}

rlx_status rlx_mir_chosen_infer(rlx_ir_module *m, const rlx_ir_node *n, const rlx_ir_type *b,
                                rlx_ir_type *results)
{
    const rlx_ir_type *a = &n->in[0]->type, *ids = &n->in[n->nin - 1]->type;
    RLX_IR_REQUIRE(m, n, "X1", a->rank == 2 && b->rank == 3 && is_constant(b) && b->dim[0] > 0,
                   "rows of rank %d with matrices of rank %d, or of extents that are not constant",
                   a->rank, b->rank);
    RLX_IR_REQUIRE(m, n, "X2",
                   ids->format == RLX_I32 && (ids->rank == 1 || ids->rank == 2) &&
                       ids->dim[0] == a->dim[0],
                   "ids are %s of rank %d", rlx_format_get(ids->format)->name, ids->rank);
    results[0] = *ids;
    results[0].format = RLX_F32;
    results[0].dim[results[0].rank++] = b->dim[1];
    return RLX_OK;
}

rlx_status rlx_mir_chosen_eval(const rlx_eval_tensor *ids, int64_t matrices,
                               rlx_mir_chosen_row *row, void *user)
{
    const int64_t each = ids->rank == 2 ? ids->dim[1] : 1, n = rlx_mir_elems(ids);
    const int32_t *of = ids->data;
    for (int64_t i = 0; i < n; i++)
        if (of[i] < 0 || of[i] >= matrices)
            return RLX_FAIL(RLX_INVALID_ARGUMENT, "contract: id %d of row %lld is not in 0..%lld",
                            of[i], (long long)(i / each), (long long)matrices - 1);
    for (int64_t e = 0; e < matrices; e++)
        for (int64_t i = 0; i < n; i++)
            if (of[i] == e)
                row(user, e, i / each, i);
    return RLX_OK;
}
