/* mir/mir_attend.c: attention over tensors: the op, and what follows sums of products of another making. */
#include <float.h>
#include <string.h>

#include "mir/mir.h"

rlx_ir_value *rlx_mir_build_dense_attention(rlx_ir_builder *b, const rlx_mir_dense_attention *a)
{
    int64_t counts[RLX_MIR_DENSE_OPTIONS];
    rlx_ir_value *in[3 + RLX_MIR_DENSE_OPTIONS] = {a->q, a->k, a->v};
    int nin = 3;
    for (int i = 0; i < RLX_MIR_DENSE_OPTIONS; i++) {
        counts[i] = a->option[i] != NULL;
        if (a->option[i])
            in[nin++] = a->option[i];
    }
    const rlx_attr attrs[] = {rlx_attr_float(RLX_ATTR_SCALE, a->scale),
                              rlx_attr_ints(RLX_ATTR_COUNTS, RLX_MIR_DENSE_OPTIONS, counts),
                              rlx_attr_float(RLX_ATTR_SOFTCAP, a->softcap)};
    return rlx_ir_build(b, RLX_MIR_DENSE_ATTENTION, nin, in, a->softcap != 0 ? 3 : 2, attrs, NULL);
}

/* ---- of other primitives --------------------------------------------------------------------- */

/* Scores are [B..,N,S,K]; products, with R > 1 query heads of a kv head, [B..,G,R,S,K]. */
typedef struct space {
    rlx_ir_builder *b;
    const rlx_mir_dense_attention *a;
    int nb, nh; /* axes of B.. and of heads in products */
    rlx_ir_type scores;
    rlx_dim dim[RLX_MAX_RANK]; /* of products */
} space;

static space get_space(rlx_ir_builder *b, const rlx_mir_dense_attention *a)
{
    space s = {.b = b, .a = a, .nb = a->q->type.rank - 3};
    s.scores = rlx_mir_dense_scores(a->q, a->k, RLX_F32);
    const rlx_dim heads = a->q->type.dim[s.nb + 1], kv_heads = a->k->type.dim[s.nb + 1];
    s.nh = heads == kv_heads ? 1 : 2;
    memcpy(s.dim, s.scores.dim, sizeof(rlx_dim) * (size_t)s.nb);
    s.dim[s.nb] = kv_heads;
    s.dim[s.nb + 1] = heads / kv_heads;
    for (int i = 0; i < 2; i++) /* S, K */
        s.dim[s.nb + s.nh + i] = s.scores.dim[s.nb + 1 + i];
    return s;
}

/* The scores' shape as the products'. */
static rlx_ir_value *regroup(const space *s, rlx_ir_value *x)
{
    return s->nh == 1 ? x : rlx_mir_build_reshape(s->b, x, s->nb + s->nh + 2, s->dim);
}

/* x[B..,L,heads,X] with its axes behind B.. in another order. */
static rlx_ir_value *reorder(const space *s, rlx_ir_value *x, const int order[3])
{
    int64_t perm[RLX_MAX_RANK];
    for (int i = 0; i < s->nb; i++)
        perm[i] = i;
    for (int i = 0; i < 3; i++)
        perm[s->nb + i] = s->nb + order[i];
    return rlx_mir_build_transpose(s->b, x, perm);
}

static rlx_ir_value *map2(const space *s, rlx_map_fn fn, rlx_ir_value *x, rlx_ir_value *y)
{
    return rlx_mir_build_map2(s->b, fn, x, y);
}

static rlx_ir_value *number(const space *s, double v)
{
    return rlx_mir_build_const(s->b, RLX_F32, v);
}

/* What rows [B..,N,S] have, for all of their `last`. */
static rlx_ir_value *over_rows(const space *s, rlx_ir_value *x, rlx_dim last)
{
    static const int64_t axes[] = {0, 1, 2, 3, 4, 5, 6, 7};
    rlx_dim dims[RLX_MAX_RANK];
    const int rank = s->scores.rank;
    memcpy(dims, s->scores.dim, sizeof dims);
    dims[rank - 1] = last;
    return rlx_mir_build_broadcast(s->b, x, rank, dims, axes);
}

static rlx_ir_value *scores(const space *s, rlx_ir_value *x)
{
    const rlx_mir_dense_attention *a = s->a;
    const double cap = a->softcap;
    x = map2(s, RLX_FN_MUL, x, number(s, cap != 0 ? a->scale / cap : a->scale));
    if (cap != 0)
        x = map2(s, RLX_FN_MUL, rlx_mir_build_map1(s->b, RLX_FN_TANH, x), number(s, cap));
    if (a->option[RLX_MIR_DENSE_BIAS])
        x = map2(s, RLX_FN_ADD, x, a->option[RLX_MIR_DENSE_BIAS]);
    rlx_ir_value *seen = a->option[RLX_MIR_DENSE_SEEN];
    return seen ? rlx_mir_build_map3(s->b, RLX_FN_SELECT, seen, x, number(s, -FLT_MAX)) : x;
}

/* exp(s - max) of every score, and their sums by row; sinks take part in both. */
static rlx_ir_value *weights(const space *s, rlx_ir_value *x, rlx_ir_value **sum)
{
    rlx_ir_value *sink = s->a->option[RLX_MIR_DENSE_SINKS];
    rlx_ir_value *most = rlx_mir_build_reduce(s->b, RLX_FN_MAX, x);
    if (sink) {
        const int64_t head = s->nb;
        sink = rlx_mir_build_broadcast(s->b, sink, s->nb + 2, s->scores.dim, &head);
        most = map2(s, RLX_FN_MAX, most, sink);
    }
    most = map2(s, RLX_FN_MAX, most, number(s, -FLT_MAX)); /* else -inf less -inf: a NaN */
    x = map2(s, RLX_FN_SUB, x, over_rows(s, most, s->scores.dim[s->nb + 2]));
    x = rlx_mir_build_map1(s->b, RLX_FN_EXP, x);
    *sum = rlx_mir_build_reduce(s->b, RLX_FN_ADD, x);
    if (sink)
        *sum = map2(s, RLX_FN_ADD, *sum,
                    rlx_mir_build_map1(s->b, RLX_FN_EXP, map2(s, RLX_FN_SUB, sink, most)));
    return x;
}

/* The largest weight of a row is 1, so that a sum below 1 has no keys. */
rlx_ir_value *rlx_mir_attend(rlx_ir_builder *b, const rlx_mir_dense_attention *a,
                             rlx_ir_value *sums)
{
    static const int last[] = {1, 2, 0}, rows_first[] = {1, 0, 2};
    if (!a->q || !a->k || !a->v || !sums)
        return NULL;
    const space s = get_space(b, a);
    rlx_ir_value *sum, *x = weights(&s, scores(&s, sums), &sum);
    const rlx_dim width = a->v->type.dim[s.nb + 2];
    x = rlx_mir_build_contract_in_order(b, regroup(&s, x), reorder(&s, a->v, last));
    rlx_dim dims[RLX_MAX_RANK];
    memcpy(dims, s.scores.dim, sizeof dims);
    dims[s.nb + 2] = width;
    if (s.nh == 2)
        x = rlx_mir_build_reshape(b, x, s.nb + 3, dims);
    sum = map2(&s, RLX_FN_MAX, sum, number(&s, 1));
    x = map2(&s, RLX_FN_DIV, x, over_rows(&s, sum, width));
    return reorder(&s, x, rows_first);
}
