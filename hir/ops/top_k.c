/* hir/ops/top_k.c: the largest or smallest elements, in order; all of them: a sort
 *   in   x T[..,N], numbers                            out  values T[..,k];  indices i32[..,k]
 *   Equal elements: the smaller index goes first. NaNs are larger than all else (mir/ops/order.c).
 *   C1  x is of numbers, with rank 1 or more (at most 7).
 *   C2  k, `count`, is in 1..N for a constant N, or absent: N.
 *   C3  kind is "largest", "smallest" or absent.
 */
#include <string.h>

#include "hir/ops/ops.h"
#include "mir/ops/ops.h"

static bool is_smallest(const rlx_ir_node *n)
{
    return strcmp(rlx_ir_attr_text(n, RLX_ATTR_KIND, "largest"), "smallest") == 0;
}

rlx_status rlx_hir_top_k_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    const rlx_ir_type *x = &n->in[0]->type;
    RLX_HIR_REQUIRE_TYPE(m, n, "C1",
                         x->rank >= 1 && x->rank < RLX_MAX_RANK &&
                             (rlx_format_is_float(x->format) || rlx_format_is_int(x->format)),
                         0, "x is T[..,N] of numbers");
    const rlx_attr *count = rlx_ir_attr(n, RLX_ATTR_COUNT);
    const rlx_dim all = rlx_hir_last_dim(n->in[0]);
    RLX_IR_REQUIRE(m, n, "C2",
                   !count || (count->i >= 1 && rlx_dim_is_const(all) && count->i <= all),
                   "count=%lld, which is not in 1..%s", (long long)count->i, RLX_MIR_DIM(m, all));
    const char *kind = rlx_ir_attr_text(n, RLX_ATTR_KIND, "largest");
    RLX_IR_REQUIRE(m, n, "C3", is_smallest(n) || strcmp(kind, "largest") == 0, "kind is \"%s\"",
                   kind);
    return RLX_OK;
}

rlx_status rlx_hir_top_k_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results)
{
    RLX_TRY(rlx_hir_top_k_verify(m, n));
    results[0] = n->in[0]->type;
    results[0].dim[results[0].rank - 1] =
        rlx_ir_attr_int(n, RLX_ATTR_COUNT, rlx_hir_last_dim(n->in[0]));
    results[1] = results[0];
    results[1].format = RLX_I32;
    return RLX_OK;
}

/* Does element i of a row go before element j? */
static bool goes_before(const rlx_eval_tensor *x, int64_t row, int64_t i, int64_t j, bool smallest)
{
    const rlx_scalar a = rlx_mir_load(x->format, x->data, row + i);
    const rlx_scalar b = rlx_mir_load(x->format, x->data, row + j);
    return rlx_mir_goes_before(x->format, a, b, !smallest) ||
           (i < j && !rlx_mir_goes_before(x->format, b, a, !smallest));
}

rlx_status rlx_hir_top_k_eval(rlx_hir_eval_cx *cx, const rlx_ir_node *n, rlx_eval_tensor *const *in,
                              rlx_eval_tensor *out)
{
    RLX_TRY(rlx_hir_eval_alloc(cx, &out[0]));
    RLX_TRY(rlx_hir_eval_alloc(cx, &out[1]));
    const int64_t all = in[0]->dim[in[0]->rank - 1], k = out[0].dim[out[0].rank - 1];
    const int64_t elems = rlx_hir_eval_elems(in[0]);
    for (int64_t e = 0; e < elems; e++) {
        const int64_t row = e - e % all;
        int64_t rank = 0;
        for (int64_t j = 0; j < all; j++)
            rank += goes_before(in[0], row, j, e % all, is_smallest(n));
        if (rank >= k)
            continue;
        const int64_t to = row / all * k + rank;
        rlx_mir_store(in[0]->format, out[0].data, to, rlx_mir_load(in[0]->format, in[0]->data, e));
        ((int32_t *)out[1].data)[to] = (int32_t)(e % all);
    }
    return RLX_OK;
}

void rlx_hir_top_k_lower(rlx_ir_builder *b, const rlx_ir_node *n, rlx_ir_value *const *in,
                         rlx_ir_value **out)
{
    out[1] =
        rlx_mir_first(b, in[0], rlx_ir_attr_int(n, RLX_ATTR_COUNT, 0), !is_smallest(n), &out[0]);
}
