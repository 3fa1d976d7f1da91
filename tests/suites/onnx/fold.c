/* tests/suites/onnx/fold.c: reductions, normalizations, losses, einsum. */
#include <string.h>

#include "tests/suites/onnx/old.h"

/* ---- reductions
 * ------------------------------------------------------------------------------------ */

static unsigned axes_of(onnx *x, val a)
{
    int64_t list[ONNX_MAX_INTS];
    unsigned axes = 0;
    int n = ox_list(x, "axes", list);
    if (n < 0)
        n = ox_ints(x, 1, list);
    for (int i = 0; i < n; i++)
        axes |= 1u << ox_axis(a, list[i]);
    if (n == 0 && !ox_int(x, "noop_with_empty_axes", 0))
        axes = rlx_mir_last_axes(a, 0);
    return axes;
}

static val reduce(onnx *x, rlx_map_fn fn, val a)
{
    return rlx_mir_fold(IR, fn, a, axes_of(x, a), ox_int(x, "keepdims", 1));
}

#define REDUCTION(name, expr) \
    static void name(onnx *x) \
    {                         \
        val a = ox_in(x, 0);  \
        ox_out(x, 0, expr);   \
    }

static val mean(onnx *x, val a)
{
    val sum = reduce(x, RLX_FN_ADD, a);
    int64_t n = ox_elems(sum) ? ox_elems(a) / ox_elems(sum) : 1;
    return DIV(sum, LIKE(a, (double)n));
}

static val log_sum_exp(onnx *x, val a)
{
    unsigned axes = axes_of(x, a);
    val most = rlx_mir_fold(IR, RLX_FN_MAX, a, axes, true);
    most = PICK(EQ(SUB(most, most), LIKE(a, 0)), most, LIKE(a, 0)); /* infinities would cancel */
    val sum = LOG(rlx_mir_fold(IR, RLX_FN_ADD, EXP(SUB(a, most)), axes, true));
    val y = ADD(sum, most);
    return ox_int(x, "keepdims", 1) ? y : rlx_mir_fold(IR, RLX_FN_ADD, y, axes, false);
}

REDUCTION(do_sum, reduce(x, RLX_FN_ADD, a))
REDUCTION(do_prod, reduce(x, RLX_FN_MUL, a))
REDUCTION(do_max,
          a && a->type.format == RLX_BOOL ? reduce(x, RLX_FN_OR, a) : reduce(x, RLX_FN_MAX, a))
REDUCTION(do_min,
          a && a->type.format == RLX_BOOL ? reduce(x, RLX_FN_AND, a) : reduce(x, RLX_FN_MIN, a))
REDUCTION(do_mean, mean(x, a))
REDUCTION(do_l1, reduce(x, RLX_FN_ADD, ABS(a)))
REDUCTION(do_l2, SQRT(reduce(x, RLX_FN_ADD, MUL(a, a))))
REDUCTION(do_sum_square, reduce(x, RLX_FN_ADD, MUL(a, a)))
REDUCTION(do_log_sum, LOG(reduce(x, RLX_FN_ADD, a)))
REDUCTION(do_log_sum_exp, log_sum_exp(x, a))

/* The first (last) index of the largest (least). */
static void arg_fold(onnx *x, rlx_map_fn fn)
{
    val a = ox_in(x, 0);
    if (!a)
        return;
    int axis = ox_axis(a, ox_int(x, "axis", 0));
    bool last = ox_int(x, "select_last_index", 0), keep = ox_int(x, "keepdims", 1);
    val hit = EQ(a, rlx_mir_fold(IR, fn, a, 1u << axis, true));
    val i = rlx_mir_iota(IR, RLX_I64, a->type.rank, a->type.dim, axis);
    val other = LIKE(i, last ? -1 : (double)a->type.dim[axis]);
    ox_out(x, 0,
           rlx_mir_fold(IR, last ? RLX_FN_MAX : RLX_FN_MIN, PICK(hit, i, other), 1u << axis, keep));
}

static void do_arg_max(onnx *x)
{
    arg_fold(x, RLX_FN_MAX);
}

static void do_arg_min(onnx *x)
{
    arg_fold(x, RLX_FN_MIN);
}

static void do_hardmax(onnx *x)
{
    val a = ox_in(x, 0);
    if (!a)
        return;
    int axis = ox_axis(a, ox_int(x, "axis", -1));
    val hit = EQ(a, rlx_mir_fold(IR, RLX_FN_MAX, a, 1u << axis, true));
    val i = rlx_mir_iota(IR, RLX_I64, a->type.rank, a->type.dim, axis);
    val first = rlx_mir_fold(IR, RLX_FN_MIN, PICK(hit, i, LIKE(i, (double)a->type.dim[axis])),
                             1u << axis, true);
    ox_out(x, 0, rlx_mir_cast(IR, EQ(i, first), a->type.format));
}

static void do_softmax(onnx *x)
{
    val a = ox_in(x, 0);
    ox_out(x, 0, rlx_mir_softmax(IR, a, ox_axis(a, ox_int(x, "axis", -1))));
}

static void do_log_softmax(onnx *x)
{
    val a = ox_in(x, 0);
    ox_out(x, 0, rlx_mir_log_softmax(IR, a, ox_axis(a, ox_int(x, "axis", -1))));
}

/* ---- normalizations
 * ---------------------------------------------------------------------------------- */

static val variance(onnx *x, val a, val m, unsigned axes)
{
    val d = SUB(a, m);
    return rlx_mir_mean(IR, MUL(d, d), axes);
}

/* One number per channel (axis 1) against [N, C, ..]. */
static val per_channel(onnx *x, val a, val v)
{
    int64_t dims[RLX_MAX_RANK];
    for (int i = 0; a && i < a->type.rank; i++)
        dims[i] = i == 1 ? a->type.dim[1] : 1;
    return a ? rlx_mir_reshape(IR, v, a->type.rank, dims) : NULL;
}

static val normalized(onnx *x, val a, val m, val v, double eps)
{
    return DIV(SUB(a, m), SQRT(ADD(v, LIKE(v, eps))));
}

static void do_batch_norm(onnx *x)
{
    val a = ox_in(x, 0), m = per_channel(x, a, ox_in(x, 3)), v = per_channel(x, a, ox_in(x, 4));
    if (!a)
        return;
    if (ox_int(x, "training_mode", 0)) {
        val old = LIKE(a, ox_float(x, "momentum", 0.9)), fresh = SUB(LIKE(a, 1), old);
        unsigned axes = rlx_mir_last_axes(a, 0) & ~2u;
        val now = rlx_mir_mean(IR, a, axes), spread = variance(x, a, now, axes);
        val mean_out = ADD(MUL(m, old), MUL(now, fresh)),
            var_out = ADD(MUL(v, old), MUL(spread, fresh));
        ox_out(x, 1, rlx_mir_flatten(IR, mean_out, 0, a->type.rank));
        ox_out(x, 2, rlx_mir_flatten(IR, var_out, 0, a->type.rank));
        m = now;
        v = spread;
    }
    val y = normalized(x, a, m, v, ox_float(x, "epsilon", 1e-5));
    y = ADD(MUL(y, per_channel(x, a, ox_in(x, 1))), per_channel(x, a, ox_in(x, 2)));
    ox_out(x, 0, y);
}

static void do_instance_norm(onnx *x)
{
    val a = ox_in(x, 0);
    val m = rlx_mir_mean(IR, a, rlx_mir_last_axes(a, 2)),
        v = variance(x, a, m, rlx_mir_last_axes(a, 2));
    val y = normalized(x, a, m, v, ox_float(x, "epsilon", 1e-5));
    ox_out(x, 0, ADD(MUL(y, per_channel(x, a, ox_in(x, 1))), per_channel(x, a, ox_in(x, 2))));
}

static void do_group_norm(onnx *x)
{
    val a = ox_in(x, 0);
    if (!a)
        return;
    int64_t groups = ox_int(x, "num_groups", 1), N = ox_dim(a, 0), C = ox_dim(a, 1);
    int64_t rest = ox_elems(a) / (N * C);
    val g = rlx_mir_reshape(IR, a, 3, (int64_t[]){N, groups, C / groups * rest});
    val m = rlx_mir_mean(IR, g, 4),
        y = normalized(x, g, m, variance(x, g, m, 4), ox_float(x, "epsilon", 1e-5));
    y = rlx_mir_reshape(IR, y, a->type.rank, a->type.dim);
    ox_out(x, 0, ADD(MUL(y, per_channel(x, a, ox_in(x, 1))), per_channel(x, a, ox_in(x, 2))));
}

static void do_layer_norm(onnx *x)
{
    val a = ox_in(x, 0);
    unsigned axes = rlx_mir_last_axes(a, ox_axis(a, ox_int(x, "axis", -1)));
    val m = rlx_mir_mean(IR, a, axes), v = variance(x, a, m, axes);
    val inv = DIV(LIKE(v, 1), SQRT(ADD(v, LIKE(v, ox_float(x, "epsilon", 1e-5)))));
    val y = MUL(MUL(SUB(a, m), inv), ox_in(x, 1));
    ox_out(x, 0, ox_has(x, 2) ? ADD(y, ox_in(x, 2)) : y);
    ox_out(x, 1, m);
    ox_out(x, 2, inv);
}

static void do_rms_norm(onnx *x)
{
    val a = ox_in(x, 0);
    val v = rlx_mir_mean(IR, MUL(a, a), rlx_mir_last_axes(a, ox_axis(a, ox_int(x, "axis", -1))));
    val y = DIV(a, SQRT(ADD(v, LIKE(v, ox_float(x, "epsilon", 1e-5)))));
    ox_out(x, 0, MUL(y, ox_in(x, 1)));
}

static void do_mvn(onnx *x)
{
    int64_t list[ONNX_MAX_INTS] = {0, 2, 3};
    val a = ox_in(x, 0);
    int n = ox_list(x, "axes", list);
    unsigned axes = 0;
    for (int i = 0; i < (n < 0 ? 3 : n); i++)
        axes |= 1u << ox_axis(a, list[i]);
    val m = rlx_mir_mean(IR, a, axes), v = variance(x, a, m, axes);
    ox_out(x, 0, DIV(SUB(a, m), ADD(SQRT(v), LIKE(v, 1e-9))));
}

static void do_lp_norm(onnx *x)
{
    val a = ox_in(x, 0);
    unsigned axis = 1u << ox_axis(a, ox_int(x, "axis", -1));
    bool one = ox_int(x, "p", 2) == 1;
    val n = rlx_mir_fold(IR, RLX_FN_ADD, one ? ABS(a) : MUL(a, a), axis, true);
    n = one ? n : SQRT(n);
    ox_out(x, 0, PICK(EQ(n, LIKE(a, 0)), LIKE(a, 0), DIV(a, n)));
}

static void do_lrn(onnx *x)
{
    val a = ox_in(x, 0);
    int64_t size = ox_int(x, "size", 1);
    val s = rlx_mir_pad(IR, MUL(a, a), 1, (size - 1) / 2, size - 1 - (size - 1) / 2, LIKE(a, 0));
    s = rlx_mir_fold(IR, RLX_FN_ADD, rlx_mir_build_window(IR, s, 1, size, 1, 1), 4, false);
    s = ADD(LIKE(a, ox_float(x, "bias", 1)),
            MUL(s, LIKE(a, ox_float(x, "alpha", 1e-4) / (double)size)));
    ox_out(x, 0, DIV(a, rlx_mir_pow(IR, s, LIKE(a, ox_float(x, "beta", 0.75)))));
}

/* ---- losses
 * ------------------------------------------------------------------------------------------- */

/* -log_prob[target] * weight[target] over [N, C, ..], reduced; ignored targets weigh nothing. */
static void loss_of(onnx *x, val logp)
{
    val target = rlx_mir_cast(IR, ox_in(x, 1), RLX_I64);
    if (!logp || !target)
        return;
    val at = rlx_mir_insert(IR, target, 1),
        i = rlx_mir_iota(IR, RLX_I64, logp->type.rank, logp->type.dim, 1);
    val hit = EQ(i, at), w = LIKE(logp, 1);
    if (ox_has(x, 2))
        w = per_channel(x, logp, ox_in(x, 2));
    val each = rlx_mir_fold(IR, RLX_FN_ADD, PICK(hit, NEG(MUL(logp, w)), LIKE(logp, 0)), 2, false);
    val weight = rlx_mir_fold(IR, RLX_FN_ADD, PICK(hit, w, LIKE(logp, 0)), 2, false);
    const int64_t none = INT64_MIN, ignored = ox_int(x, "ignore_index", none);
    if (ignored != none) {
        val drop = EQ(target, LIKE(target, (double)ignored));
        each = PICK(drop, LIKE(logp, 0), each);
        weight = PICK(drop, LIKE(logp, 0), weight);
    }
    const char *how = ox_text(x, "reduction", "mean");
    if (how[0] != 'n')
        each = rlx_mir_fold(IR, RLX_FN_ADD, each, rlx_mir_last_axes(each, 0), false);
    if (how[0] == 'm')
        each = DIV(each, rlx_mir_fold(IR, RLX_FN_ADD, weight, rlx_mir_last_axes(weight, 0), false));
    ox_out(x, 0, each);
}

static void do_nll_loss(onnx *x)
{
    loss_of(x, ox_in(x, 0));
}

static void do_sce_loss(onnx *x)
{
    val logp = rlx_mir_log_softmax(IR, ox_in(x, 0), 1);
    loss_of(x, logp);
    ox_out(x, 1, logp);
}

/* ---- einsum
 * -------------------------------------------------------------------------------------------- */

enum { MAX_LABELS = RLX_MAX_RANK };

/* The labels of a term: an ellipsis becomes as many of 'A', 'B', .. as the operand has axes for. */
static int labels_of(const char *term, int len, int rank, char *out)
{
    int named = 0, n = 0;
    for (int i = 0; i < len; i++)
        named += term[i] >= 'a' && term[i] <= 'z';
    for (int i = 0; i < len && n < MAX_LABELS; i++) {
        if (term[i] == '.') {
            for (int k = 0; k < rank - named && n < MAX_LABELS; k++)
                out[n++] = (char)('A' + k);
            i += 2;
        } else if (term[i] >= 'a' && term[i] <= 'z') {
            out[n++] = term[i];
        }
    }
    return n;
}

/* Two axes of one label become their diagonal. */
static val diagonals(onnx *x, val a, char *labels, int *n)
{
    for (int i = 0; i < *n; i++)
        for (int j = i + 1; j < *n; j++) {
            if (labels[i] != labels[j])
                continue;
            int64_t d = ox_dim(a, i);
            a = rlx_mir_move(IR, a, j, *n - 1);
            a = rlx_mir_move(IR, a, i, *n - 2);
            a = rlx_mir_slice(IR, rlx_mir_flatten(IR, a, *n - 2, *n), *n - 2, 0, d, d + 1);
            char label = labels[i];
            memmove(labels + j, labels + j + 1, (size_t)(*n - j - 1));
            memmove(labels + i, labels + i + 1, (size_t)(*n - i - 2));
            *n -= 1;
            labels[*n - 1] = label;
        }
    return a;
}

static int index_of(const char *all, int n, char c)
{
    for (int i = 0; i < n; i++)
        if (all[i] == c)
            return i;
    return -1;
}

/* Without an arrow: what the ellipsis has, then the labels that occur once, by the alphabet. */
static int implicit_labels(int nin, char labels[][MAX_LABELS], const int *n, char *all)
{
    int count = 0;
    for (char c = 'A'; c <= 'z'; c++) {
        int times = 0;
        for (int i = 0; i < nin; i++)
            for (int k = 0; k < n[i]; k++)
                times += labels[i][k] == c;
        if ((c <= 'Z' ? times > 0 : times == 1) && count < MAX_LABELS)
            all[count++] = c;
    }
    return count;
}

/* The operand with its axes in the order of `all`, those it lacks being 1. */
static val aligned(onnx *x, val a, const char *labels, int n, const char *all, int count)
{
    int64_t perm[RLX_MAX_RANK], dims[RLX_MAX_RANK];
    int k = 0;
    for (int i = 0; i < count; i++) {
        int at = index_of(labels, n, all[i]);
        dims[i] = at < 0 ? 1 : ox_dim(a, at);
        if (at >= 0)
            perm[k++] = at;
    }
    return rlx_mir_reshape(IR, rlx_mir_transpose(IR, a, perm), count, dims);
}

static void do_einsum(onnx *x)
{
    const char *term = ox_text(x, "equation", ""), *arrow = strstr(term, "->");
    char labels[ONNX_MAX_IO][MAX_LABELS], all[MAX_LABELS + 1];
    int n[ONNX_MAX_IO] = {0}, outs = 0, count = 0;
    val in[ONNX_MAX_IO], y = NULL;
    for (int i = 0; i < x->nin; i++) {
        int len = (int)strcspn(term, ",-");
        in[i] = ox_in(x, i);
        if (!in[i])
            return;
        n[i] = labels_of(term, len, in[i]->type.rank, labels[i]);
        in[i] = diagonals(x, in[i], labels[i], &n[i]);
        term += len + 1;
    }
    if (arrow) {
        int rank = 0; /* of the ellipsis and all that is named */
        for (int i = 0; i < x->nin; i++)
            for (int k = 0; k < n[i]; k++)
                rank += labels[i][k] < 'a' && labels[i][k] - 'A' == rank;
        int named = 0;
        for (const char *p = arrow + 2; *p; p++)
            named += *p >= 'a' && *p <= 'z';
        outs = count = labels_of(arrow + 2, (int)strlen(arrow + 2), rank + named, all);
    } else {
        outs = count = implicit_labels(x->nin, labels, n, all);
    }
    for (int i = 0; i < x->nin; i++)
        for (int k = 0; k < n[i]; k++)
            if (index_of(all, count, labels[i][k]) < 0 && count < MAX_LABELS)
                all[count++] = labels[i][k];
    for (int i = 0; i < x->nin; i++) {
        val a = aligned(x, in[i], labels[i], n[i], all, count);
        y = y ? MUL(y, a) : a;
    }
    ox_out(x, 0, rlx_mir_fold(IR, RLX_FN_ADD, y, rlx_mir_last_axes(y, outs), false));
}

static void do_matmul(onnx *x)
{
    ox_out(x, 0, rlx_mir_matmul(IR, ox_in(x, 0), ox_in(x, 1)));
}

static void do_gemm(onnx *x)
{
    val a = ox_in(x, 0), b = ox_in(x, 1);
    a = ox_int(x, "transA", 0) ? rlx_mir_move(IR, a, 0, 1) : a;
    b = ox_int(x, "transB", 0) ? rlx_mir_move(IR, b, 0, 1) : b;
    val y = MUL(rlx_mir_matmul(IR, a, b), LIKE(a, ox_float(x, "alpha", 1)));
    if (ox_has(x, 2))
        y = ADD(y, MUL(ox_in(x, 2), LIKE(a, ox_float(x, "beta", 1))));
    ox_out(x, 0, y);
}

const onnx_op onnx_fold[] = {OP(ArgMax, do_arg_max),
                             OP(ArgMin, do_arg_min),
                             OP(BatchNormalization, do_batch_norm),
                             OP(Einsum, do_einsum),
                             OP(Gemm, do_gemm),
                             OP(GroupNormalization, do_group_norm),
                             OP(Hardmax, do_hardmax),
                             OP(InstanceNormalization, do_instance_norm),
                             OP(LRN, do_lrn),
                             OP(LayerNormalization, do_layer_norm),
                             OP(LogSoftmax, do_log_softmax),
                             OP(LpNormalization, do_lp_norm),
                             OP(MatMul, do_matmul),
                             OP(MeanVarianceNormalization, do_mvn),
                             OP(NegativeLogLikelihoodLoss, do_nll_loss),
                             OP(RMSNormalization, do_rms_norm),
                             OP(ReduceL1, do_l1),
                             OP(ReduceL2, do_l2),
                             OP(ReduceLogSum, do_log_sum),
                             OP(ReduceLogSumExp, do_log_sum_exp),
                             OP(ReduceMax, do_max),
                             OP(ReduceMean, do_mean),
                             OP(ReduceMin, do_min),
                             OP(ReduceProd, do_prod),
                             OP(ReduceSum, do_sum),
                             OP(ReduceSumSquare, do_sum_square),
                             OP(Softmax, do_softmax),
                             OP(SoftmaxCrossEntropyLoss, do_sce_loss),
                             OP_END};
