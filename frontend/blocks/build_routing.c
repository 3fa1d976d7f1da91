/* frontend/blocks/build_routing.c: orders, routers and experts, adapters. */
#include "frontend/blocks/build.h"

/* ---- orders ------------------------------------------------------------------------------------
 */

static rlx_value *first_of(rlx_builder *b, const char *op, rlx_value *x, int axis, int64_t count,
                           bool smallest, rlx_value **indices)
{
    rlx_ir_value *at, *y;
    if (indices)
        *indices = NULL;
    if (!rlx_builder_axis(b, op, x, &axis))
        return NULL;
    rlx_ir_builder *ir = rlx_builder_at(b, NULL);
    const int last = rlx_value_rank(x) - 1;
    y = rlx_hir_build_top_k(ir, rlx_mir_move(ir, rlx_value_ir(x), axis, last), count, smallest,
                            &at);
    if (indices)
        *indices = rlx_value_of(rlx_mir_move(ir, at, last, axis));
    return rlx_value_of(rlx_mir_move(ir, y, last, axis));
}

rlx_value *rlx_build_top_k(rlx_builder *b, rlx_value *x, int axis, int64_t count, bool smallest,
                           rlx_value **indices)
{
    if (count < 1) {
        rlx_builder_note(
            b, RLX_FAIL(RLX_INVALID_ARGUMENT, "top_k: a count of %lld", (long long)count));
        return NULL;
    }
    return first_of(b, "top_k", x, axis, count, smallest, indices);
}

rlx_value *rlx_build_sort(rlx_builder *b, rlx_value *x, int axis, bool descending,
                          rlx_value **indices)
{
    return first_of(b, "sort", x, axis, 0, !descending, indices);
}

rlx_value *rlx_build_arg_best(rlx_builder *b, rlx_value *x, int axis, bool smallest, bool keep)
{
    if (!rlx_builder_axis(b, "arg_best", x, &axis))
        return NULL;
    rlx_ir_builder *ir = rlx_builder_at(b, NULL);
    rlx_ir_value *v = rlx_value_ir(x);
    rlx_ir_value *best = rlx_mir_fold(ir, smallest ? RLX_FN_MIN : RLX_FN_MAX, v, 1u << axis, true);
    rlx_ir_value *is_best = rlx_mir_map2(ir, RLX_FN_EQ, v, best);
    rlx_ir_value *at = rlx_mir_iota(ir, RLX_I32, v->type.rank, v->type.dim, axis);
    rlx_ir_value *none = rlx_mir_build_const(ir, RLX_I32, INT32_MAX);
    at = rlx_mir_pick(ir, is_best, at, none);
    return rlx_value_of(rlx_mir_fold(ir, RLX_FN_MIN, at, 1u << axis, keep));
}

rlx_value *rlx_build_one_hot(rlx_builder *b, rlx_value *ids, int64_t extent, rlx_format format)
{
    rlx_dim n;
    if (!rlx_builder_indices(b, "one_hot", ids) || !rlx_builder_dims(b, "one_hot", 1, &extent, &n))
        return NULL;
    rlx_ir_builder *ir = rlx_builder_at(b, NULL);
    rlx_ir_value *v = rlx_mir_insert(ir, rlx_value_ir(ids), rlx_value_rank(ids));
    rlx_ir_value *at = rlx_mir_iota(ir, rlx_value_format(ids), 1, &n, 0);
    return rlx_value_of(rlx_mir_cast(ir, rlx_mir_map2(ir, RLX_FN_EQ, v, at), format));
}

/* ---- experts -----------------------------------------------------------------------------------
 */

rlx_value *rlx_build_route(rlx_builder *b, const rlx_route_spec *spec, rlx_value *logits,
                           rlx_value *bias, rlx_value **experts)
{
    rlx_ir_value *ids;
    if (experts)
        *experts = NULL;
    if (!rlx_builder_has_spec(b, "route", spec))
        return NULL;
    const rlx_hir_route r = {
        .logits = rlx_value_ir(logits),
        .bias = bias ? rlx_mir_cast(rlx_builder_at(b, bias), rlx_value_ir(bias), RLX_F32) : NULL,
        .sigmoid = spec->sigmoid,
        .normalize = spec->normalize,
        .count = spec->count,
        .groups = spec->groups,
        .chosen = spec->groups_chosen,
        .scale = spec->scale != 0 ? spec->scale : 1};
    rlx_ir_value *weights = rlx_hir_build_route(rlx_builder_at(b, NULL), &r, &ids);
    if (experts)
        *experts = rlx_value_of(ids);
    return rlx_value_of(weights);
}

rlx_value *rlx_build_experts(rlx_builder *b, rlx_value *x, rlx_value *w, rlx_value *ids)
{
    return rlx_value_of(rlx_hir_build_experts(rlx_builder_at(b, w), rlx_value_ir(x),
                                              rlx_value_ir(w), rlx_value_ir(ids)));
}

rlx_value *rlx_build_moe(rlx_builder *b, rlx_value *x, const rlx_moe_weights *w,
                         const rlx_route_spec *spec)
{
    rlx_value *ids;
    if (!rlx_builder_has_spec(b, "moe", w) || !rlx_builder_all(b, "moe", 1, &x) ||
        rlx_value_rank(x) < 1)
        return NULL;
    rlx_value *logits = rlx_build_linear(b, x, w->router, NULL);
    rlx_value *weights = rlx_build_route(b, spec, logits, w->bias, &ids);
    rlx_value *gate = rlx_build_experts(b, x, w->gate, ids);
    rlx_value *up = rlx_build_experts(b, x, w->up, ids);
    rlx_value *act = rlx_value_of(
        rlx_hir_build_swiglu(rlx_builder_at(b, w->gate), rlx_value_ir(gate), rlx_value_ir(up)));
    rlx_value *down = rlx_build_experts(b, act, w->down, ids);
    rlx_ir_builder *ir = rlx_builder_at(b, w->down);
    const int rank = rlx_value_rank(x); /* the axis of choices is rank - 1 */
    rlx_ir_value *share = rlx_mir_insert(ir, rlx_value_ir(weights), rank);
    rlx_ir_value *y = rlx_mir_map2(ir, RLX_FN_MUL, rlx_value_ir(down), share);
    return rlx_value_of(rlx_mir_fold(ir, RLX_FN_ADD, y, 1u << (rank - 1), false));
}

rlx_value *rlx_build_lora(rlx_builder *b, rlx_value *x, rlx_value *w, rlx_value *a, rlx_value *up,
                          double scale)
{
    rlx_value *y = rlx_build_linear(b, x, w, NULL);
    rlx_value *low = rlx_build_linear(b, x, a, NULL);
    rlx_value *change = rlx_build_linear(b, low, up, NULL);
    rlx_ir_builder *ir = rlx_builder_at(b, w);
    rlx_ir_value *scaled = rlx_mir_map_num(ir, RLX_FN_MUL, rlx_value_ir(change), scale);
    return rlx_value_of(rlx_mir_map2(ir, RLX_FN_ADD, rlx_value_ir(y), scaled));
}
