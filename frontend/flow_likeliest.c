/* frontend/flow_likeliest.c: one more output of a flow that ends with scores: which is the largest.
 *
 *   x [R.., V] --reshape--> [R.., C, V/C] --max of each C, max of those--> best
 *   where x is best: its place, else none --min of each C, min of those--> i32[R..], the first of equals
 *
 * In two steps, that many teams look at the V of one row; where no divisor is near the root of V it is filled up with -inf. Of a row
 * with a NaN it is -1: whoever asks looks at the scores, and there is one rule for those.
 */
#include <math.h>
#include <string.h>

#include "frontend/blocks/blocks.h"
#include "mir/mir_compose.h"

/* The divisor of n that is nearest to its root, from below; the root where that is far from it. */
static int64_t split(int64_t n)
{
    enum { FAR = 4 };
    int64_t best = 1, root = 1;
    for (int64_t c = 1; c * c <= n; root = c++)
        best = n % c == 0 ? c : best;
    return best * FAR >= root ? best : root;
}

static rlx_ir_value *find_likeliest(rlx_ir_builder *b, rlx_ir_value *x)
{
    rlx_dim dims[RLX_MAX_RANK];
    const int rank = x->type.rank, last = rank - 1;
    const int64_t n = x->type.dim[last], chunks = split(n), each = (n + chunks - 1) / chunks;
    memcpy(dims, x->type.dim, sizeof dims[0] * (size_t)last);
    dims[last] = chunks;
    dims[last + 1] = each;
    if (chunks * each > n)
        x = rlx_mir_pad(b, x, last, 0, chunks * each - n, rlx_mir_like(b, x, -INFINITY));
    rlx_ir_value *v = rlx_mir_reshape(b, x, rank + 1, dims);
    rlx_ir_value *best = rlx_mir_fold(b, RLX_FN_MAX, v, 1u << (last + 1), true);
    best = rlx_mir_fold(b, RLX_FN_MAX, best, 1u << last, true);
    rlx_ir_value *chunk = rlx_mir_iota(b, RLX_I32, rank + 1, dims, last);
    rlx_ir_value *at =
        rlx_mir_map2(b, RLX_FN_ADD, rlx_mir_map_num(b, RLX_FN_MUL, chunk, (double)each),
                     rlx_mir_iota(b, RLX_I32, rank + 1, dims, last + 1));
    at = rlx_mir_pick(b, rlx_mir_map2(b, RLX_FN_EQ, v, best), at,
                      rlx_mir_build_const(b, RLX_I32, INT32_MAX));
    at = rlx_mir_pick(b, rlx_mir_map2(b, RLX_FN_EQ, v, v), at, rlx_mir_build_const(b, RLX_I32, -1));
    at = rlx_mir_fold(b, RLX_FN_MIN, at, 1u << (last + 1), true);
    return rlx_mir_fold(b, RLX_FN_MIN, at, 1u << last | 1u << (last + 1), false);
}

rlx_status rlx_flow_add_likeliest(rlx_flow_cx *cx, const char *of)
{
    rlx_flow_func *fn = cx->fn;
    for (int i = 0; i < fn->nresults; i++) {
        const rlx_ir_type *t = &fn->result[i]->type;
        if (strcmp(fn->result_name[i], of) || t->format != RLX_F32 || t->rank < 1 ||
            t->rank == RLX_MAX_RANK || !rlx_dim_is_const(t->dim[t->rank - 1]))
            continue;
        rlx_ir_value *at = find_likeliest(&fn->b, fn->result[i]);
        RLX_TRY(rlx_ir_builder_finish(&fn->b));
        return rlx_flow_add_result(cx, at, RLX_FLOW_LIKELIEST);
    }
    return RLX_OK;
}
