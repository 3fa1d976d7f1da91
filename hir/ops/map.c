/* hir/ops/map.c: a scalar function, element by element
 *   in   1 to 3 operands: tensors f32[..,H], vectors [H], numbers       out  f32[..,H], or f32[H],
 * or f32 C1  fn is a function of floats that gives a float, with as many operands as there are. C2
 * every operand is an f32 tensor of the result's shape, a float [H] with its last extent, which is
 * repeated along the other axes, or a float of rank 0. The result's shape is that of the first
 * operand of the highest rank.
 */
#include "hir/ops/ops.h"

static rlx_map_fn fn_of(const rlx_ir_node *n)
{
    return (rlx_map_fn)rlx_ir_attr_int(n, RLX_ATTR_FN, RLX_FN_COUNT);
}

/* The operand that has the result's shape. */
static const rlx_ir_value *widest(const rlx_ir_node *n)
{
    const rlx_ir_value *v = n->in[0];
    for (int i = 1; i < n->nin; i++)
        if (n->in[i]->type.rank > v->type.rank)
            v = n->in[i];
    return v;
}

static bool fits(const rlx_ir_value *v, const rlx_ir_type *y)
{
    if (v->type.rank > 1)
        return rlx_hir_is(v, RLX_F32, y->rank) && rlx_ir_shape_equal(&v->type, y);
    return rlx_hir_is_weight(v, v->type.rank) &&
           (v->type.rank == 0 || v->type.dim[0] == y->dim[y->rank - 1]);
}

rlx_status rlx_hir_map_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    const rlx_map_fn fn = fn_of(n);
    RLX_IR_REQUIRE(m, n, "C1", fn < RLX_FN_COUNT, "has no fn");
    const rlx_map_fn_info *info = rlx_map_fn_get(fn);
    RLX_IR_REQUIRE(m, n, "C1", info->arity == n->nin, "%s takes %d operands, not %d", info->name,
                   info->arity, n->nin);
    RLX_IR_REQUIRE(m, n, "C1",
                   !info->to_bool && fn != RLX_FN_SELECT && rlx_map_fn_takes(fn, RLX_F32),
                   "%s is no function from floats to a float", info->name);
    for (int i = 0; i < n->nin; i++)
        RLX_HIR_REQUIRE_TYPE(m, n, "C2", fits(n->in[i], &widest(n)->type), i,
                             "operands are f32 of one shape, float vectors of its last extent, or "
                             "floats");
    return RLX_OK;
}

rlx_status rlx_hir_map_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results)
{
    RLX_TRY(rlx_hir_map_verify(m, n));
    results[0] = widest(n)->type;
    results[0].format = RLX_F32;
    return RLX_OK;
}

rlx_status rlx_hir_map_eval(rlx_hir_eval_cx *cx, const rlx_ir_node *n, rlx_eval_tensor *const *in,
                            rlx_eval_tensor *out)
{
    RLX_TRY(rlx_hir_eval_alloc(cx, &out[0]));
    float *y = out[0].data;
    const int64_t elems = rlx_hir_eval_elems(&out[0]);
    for (int64_t e = 0; e < elems; e++) {
        rlx_scalar x[3];
        for (int i = 0; i < n->nin; i++) /* a vector starts over with every row */
            x[i].f = rlx_hir_load(in[i], e % rlx_hir_eval_elems(in[i]));
        y[e] = (float)rlx_map_fn_eval(fn_of(n), RLX_F32, x).f;
    }
    return RLX_OK;
}

void rlx_hir_map_lower(rlx_ir_builder *b, const rlx_ir_node *n, rlx_ir_value *const *in,
                       rlx_ir_value **out)
{
    rlx_ir_value *x[3] = {NULL};
    for (int i = 0; i < n->nin; i++) {
        x[i] = rlx_mir_build_cast(b, in[i], RLX_F32);
        if (in[i]->type.rank == 1 && n->out[0]->type.rank > 1)
            x[i] = rlx_hir_lower_along_last(b, x[i], &n->out[0]->type);
    }
    if (n->nin == 1)
        out[0] = rlx_mir_build_map1(b, fn_of(n), x[0]);
    else if (n->nin == 2)
        out[0] = rlx_mir_build_map2(b, fn_of(n), x[0], x[1]);
    else
        out[0] = rlx_mir_build_map3(b, fn_of(n), x[0], x[1], x[2]);
}
