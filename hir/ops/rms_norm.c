/* hir/ops/rms_norm.c
 *   in   x f32[..,N*D];  w [D], a float format (optional)         out  f32[..,N*D]
 *   Each of the N parts of the last axis becomes x * rsqrt(mean(x^2) + eps) * (w + shift); N is
 *   `heads`, 1 unless given; shift is 0 unless given (Gemma's is 1).
 *   C1  x is f32 of rank 1 or more, with a constant last extent N*D > 0.
 *   C2  w is a float tensor [D]; a shift has a w to be added to.
 *   C3  eps is given, finite and not negative.
 *   C4  heads is > 0 and divides N*D; rank 7 at most when it is given.
 */
#include "hir/ops/norms.h"

#include <math.h>

rlx_status rlx_hir_rms_norm_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    const rlx_ir_type *x = &n->in[0]->type;
    const rlx_attr *heads = rlx_ir_attr(n, RLX_ATTR_HEADS);
    RLX_IR_REQUIRE(m, n, "C4", !heads || (heads->i > 0 && x->rank < RLX_MAX_RANK),
                   "heads=%lld for x of rank %d", (long long)heads->i, x->rank);
    RLX_HIR_REQUIRE_TYPE(m, n, "C1",
                         x->rank >= 1 && rlx_hir_is(n->in[0], RLX_F32, x->rank) &&
                             rlx_hir_last_dim(n->in[0]) > 0,
                         0, "x is f32[..,H] with a constant H");
    const int64_t hidden = rlx_hir_last_dim(n->in[0]), parts = heads ? heads->i : 1;
    RLX_IR_REQUIRE(m, n, "C2", n->nin <= 2, "%d operands, at most 2", n->nin);
    if (n->nin == 2)
        RLX_HIR_REQUIRE_TYPE(
            m, n, "C2", rlx_hir_is_weight(n->in[1], 1) && n->in[1]->type.dim[0] * parts == hidden,
            1, "w is a float [H/heads] with the H of x");
    RLX_IR_REQUIRE(m, n, "C2", n->nin == 2 || !rlx_ir_attr(n, RLX_ATTR_SHIFT),
                   "a shift without a weight");
    RLX_IR_REQUIRE(m, n, "C4", hidden % parts == 0, "heads=%lld of %lld elements", (long long)parts,
                   (long long)hidden);
    return rlx_hir_require_eps(m, n, "C3");
}

rlx_status rlx_hir_rms_norm_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results)
{
    RLX_TRY(rlx_hir_rms_norm_verify(m, n));
    results[0] = n->in[0]->type;
    return RLX_OK;
}

rlx_status rlx_hir_rms_norm_eval(rlx_hir_eval_cx *cx, const rlx_ir_node *n,
                                 rlx_eval_tensor *const *in, rlx_eval_tensor *out)
{
    RLX_TRY(rlx_hir_eval_alloc(cx, &out[0]));
    const double eps = rlx_ir_attr_float(n, RLX_ATTR_EPS, 0);
    const double shift = rlx_ir_attr_float(n, RLX_ATTR_SHIFT, 0);
    const int64_t hidden = out[0].dim[out[0].rank - 1] / rlx_ir_attr_int(n, RLX_ATTR_HEADS, 1);
    const int64_t rows = rlx_hir_eval_elems(in[0]) / hidden;
    for (int64_t r = 0; r < rows; r++) {
        const float *x = (const float *)in[0]->data + r * hidden;
        float *y = (float *)out[0].data + r * hidden;
        double sum = 0;
        for (int64_t h = 0; h < hidden; h++)
            sum += (double)x[h] * x[h];
        const double scale = 1 / sqrt(sum / (double)hidden + eps);
        for (int64_t h = 0; h < hidden; h++)
            y[h] = (float)(x[h] * scale * (n->nin == 2 ? rlx_hir_load(in[1], h) + shift : 1));
    }
    return RLX_OK;
}

void rlx_hir_rms_norm_lower(rlx_ir_builder *b, const rlx_ir_node *n, rlx_ir_value *const *in,
                            rlx_ir_value **out)
{
    const rlx_attr *heads = rlx_ir_attr(n, RLX_ATTR_HEADS);
    rlx_ir_type x = n->in[0]->type;
    rlx_ir_value *parts = in[0];
    if (heads) {
        x.dim[x.rank] = x.dim[x.rank - 1] / heads->i;
        x.dim[x.rank++ - 1] = heads->i;
        parts = rlx_mir_build_reshape(b, parts, x.rank, x.dim);
    }
    rlx_ir_value *square = rlx_mir_build_map2(b, RLX_FN_MUL, parts, parts);
    rlx_ir_value *sum = rlx_mir_build_reduce(b, RLX_FN_ADD, square);
    rlx_ir_value *share = rlx_mir_build_const(b, RLX_F32, 1 / (double)x.dim[x.rank - 1]);
    rlx_ir_value *mean = rlx_mir_build_map2(b, RLX_FN_MUL, sum, share);
    rlx_ir_value *eps = rlx_mir_build_const(b, RLX_F32, rlx_ir_attr_float(n, RLX_ATTR_EPS, 0));
    rlx_ir_value *scale =
        rlx_mir_build_map1(b, RLX_FN_RSQRT, rlx_mir_build_map2(b, RLX_FN_ADD, mean, eps));
    const int64_t rows[RLX_MAX_RANK] = {0, 1, 2, 3, 4, 5, 6, 7};
    rlx_ir_value *wide = rlx_mir_build_broadcast(b, scale, x.rank, x.dim, rows);
    out[0] = rlx_mir_build_map2(b, RLX_FN_MUL, parts, wide);
    if (n->nin == 2) {
        rlx_ir_value *w = rlx_mir_build_cast(b, in[1], RLX_F32);
        const double shift = rlx_ir_attr_float(n, RLX_ATTR_SHIFT, 0);
        if (shift != 0)
            w = rlx_mir_map_num(b, RLX_FN_ADD, w, shift);
        out[0] = rlx_mir_map2(b, RLX_FN_MUL, out[0], w);
    }
    if (heads)
        out[0] = rlx_mir_build_reshape(b, out[0], n->out[0]->type.rank, n->out[0]->type.dim);
}
