/* tests/suites/onnx/fold.c: reductions, normalizations, losses, einsum, determinants. */
#include <string.h>

#include "tests/suites/onnx/onnx.h"

/* ---- reductions ------------------------------------------------------------------------------- */

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
        axes = ox_axes(a, 0);
    return axes;
}

static val reduce(onnx *x, rlx_map fn, val a)
{
    return ox_fold(x, fn, a, axes_of(x, a), ox_int(x, "keepdims", 1));
}

static val mean(onnx *x, val a)
{
    val sum = reduce(x, RLX_MAP_ADD, a);
    const int64_t n = ox_elems(sum) ? ox_elems(a) / ox_elems(sum) : 1;
    return DIV(sum, LIKE(a, (double)n));
}

static val log_sum_exp(onnx *x, val a)
{
    const unsigned axes = axes_of(x, a);
    val most = ox_fold(x, RLX_MAP_MAX, a, axes, true);
    most = PICK(EQ(SUB(most, most), LIKE(a, 0)), most, LIKE(a, 0)); /* infinities would cancel */
    val sum = LOG(ox_fold(x, RLX_MAP_ADD, EXP(SUB(a, most)), axes, true));
    val y = ADD(sum, most);
    return ox_int(x, "keepdims", 1) ? y : ox_fold(x, RLX_MAP_ADD, y, axes, false);
}

static val best(onnx *x, val a, bool most)
{
    const bool truth = rlx_value_format(a) == RLX_BOOL;
    return reduce(x,
                  most    ? truth ? RLX_MAP_OR : RLX_MAP_MAX
                  : truth ? RLX_MAP_AND
                          : RLX_MAP_MIN,
                  a);
}

UNARY(ReduceSum, reduce(x, RLX_MAP_ADD, a))
UNARY(ReduceProd, reduce(x, RLX_MAP_MUL, a))
UNARY(ReduceMax, best(x, a, true))
UNARY(ReduceMin, best(x, a, false))
UNARY(ReduceMean, mean(x, a))
UNARY(ReduceL1, reduce(x, RLX_MAP_ADD, ABS(a)))
UNARY(ReduceL2, SQRT(reduce(x, RLX_MAP_ADD, MUL(a, a))))
UNARY(ReduceSumSquare, reduce(x, RLX_MAP_ADD, MUL(a, a)))
UNARY(ReduceLogSum, LOG(reduce(x, RLX_MAP_ADD, a)))
UNARY(ReduceLogSumExp, log_sum_exp(x, a))

/* The first (last) index of the largest (least): of the last, it is counted from the end. */
static val arg_best(onnx *x, val a, int axis, bool smallest, bool keep)
{
    const bool last = ox_int(x, "select_last_index", 0);
    val at = last ? rlx_build_flip(x->b, a, axis) : a;
    at = rlx_build_arg_best(x->b, at, axis, smallest, keep);
    return last ? SUB(LIKE(at, (double)ox_dim(a, axis) - 1), at) : at;
}

static void arg(onnx *x, bool smallest)
{
    val a = ox_in(x, 0);
    val at = arg_best(x, a, ox_axis(a, ox_int(x, "axis", 0)), smallest, ox_int(x, "keepdims", 1));
    ox_out(x, 0, rlx_build_cast(x->b, at, RLX_I64));
}

OPERATOR(ArgMax)
{
    arg(x, false);
}

OPERATOR(ArgMin)
{
    arg(x, true);
}

OPERATOR(Hardmax)
{
    val a = ox_in(x, 0);
    const int axis = ox_axis(a, ox_int(x, "axis", -1));
    val first = rlx_build_arg_best(x->b, a, axis, false, false);
    val y = rlx_build_one_hot(x->b, first, ox_dim(a, axis), rlx_value_format(a));
    ox_out(x, 0, rlx_build_move(x->b, y, -1, axis));
}

UNARY(Softmax, rlx_build_softmax(x->b, a, (int)ox_int(x, "axis", -1)))
UNARY(LogSoftmax, rlx_build_log_softmax(x->b, a, (int)ox_int(x, "axis", -1)))

/* ---- normalizations --------------------------------------------------------------------------- */

static val variance(onnx *x, val a, val m, unsigned axes)
{
    val d = SUB(a, m);
    return ox_mean(x, MUL(d, d), axes);
}

static double epsilon(onnx *x)
{
    return ox_float(x, "epsilon", 1e-5);
}

/* The running mean or variance, of which a part is made anew. */
static val renewed(onnx *x, int i, val now)
{
    const double old = ox_float(x, "momentum", 0.9);
    val v = rlx_build_reshape(x->b, now, 1, (int64_t[]){ox_elems(now)}), was = ox_in(x, i);
    ox_out(x, i - 2, ADD(MUL(was, LIKE(v, old)), MUL(v, LIKE(v, 1 - old))));
    return v;
}

OPERATOR(BatchNormalization)
{
    val a = ox_in(x, 0), m = ox_weight(x, 3), v = ox_weight(x, 4);
    if (ox_int(x, "training_mode", 0)) {
        const unsigned axes = ox_axes(a, 0) & ~2u;
        val now = ox_mean(x, a, axes);
        m = renewed(x, 3, now);
        v = renewed(x, 4, variance(x, a, now, axes));
    }
    ox_out(x, 0, rlx_build_batch_norm(x->b, a, m, v, ox_weight(x, 1), ox_weight(x, 2), epsilon(x)));
}

UNARY(InstanceNormalization,
      rlx_build_instance_norm(x->b, a, ox_weight(x, 1), ox_weight(x, 2), epsilon(x)))
UNARY(GroupNormalization, rlx_build_group_norm(x->b, a, ox_weight(x, 1), ox_weight(x, 2),
                                               ox_int(x, "num_groups", 1), epsilon(x)))

/* v with the axes behind the first `axis` as one; a vector for 0. */
static val flat_from(onnx *x, val v, int axis)
{
    return v && axis < rlx_value_rank(v) ? rlx_build_flatten(x->b, v, axis, -1) : v;
}

OPERATOR(LayerNormalization)
{
    val a = ox_in(x, 0);
    const int axis = ox_axis(a, ox_int(x, "axis", -1));
    const unsigned axes = ox_axes(a, axis);
    val w = flat_from(x, ox_weight(x, 1), 0), bias = flat_from(x, ox_weight(x, 2), 0);
    val y = rlx_build_layer_norm(x->b, flat_from(x, a, axis), w, bias, epsilon(x));
    ox_out(x, 0, ox_like(x, y, a));
    val m = ox_mean(x, a, axes), v = variance(x, a, m, axes);
    ox_out(x, 1, m);
    ox_out(x, 2, DIV(LIKE(v, 1), SQRT(ADD(v, LIKE(v, epsilon(x))))));
}

OPERATOR(RMSNormalization)
{
    val a = ox_in(x, 0), w = flat_from(x, ox_weight(x, 1), 0);
    val y = flat_from(x, a, ox_axis(a, ox_int(x, "axis", -1)));
    ox_out(x, 0, ox_like(x, rlx_build_rms_norm(x->b, y, w, epsilon(x)), a));
}

OPERATOR(MeanVarianceNormalization)
{
    int64_t list[ONNX_MAX_INTS] = {0, 2, 3};
    val a = ox_in(x, 0);
    int n = ox_list(x, "axes", list);
    unsigned axes = 0;
    for (int i = 0; i < (n < 0 ? 3 : n); i++)
        axes |= 1u << ox_axis(a, list[i]);
    val m = ox_mean(x, a, axes), v = variance(x, a, m, axes);
    ox_out(x, 0, DIV(SUB(a, m), ADD(SQRT(v), LIKE(v, 1e-9))));
}

OPERATOR(LpNormalization)
{
    val a = ox_in(x, 0);
    const int axis = ox_axis(a, ox_int(x, "axis", -1));
    if (ox_int(x, "p", 2) == 2) {
        ox_out(x, 0, rlx_build_l2_norm(x->b, a, axis, 1e-30)); /* 0 where all is 0 */
        return;
    }
    val n = ox_fold(x, RLX_MAP_ADD, ABS(a), 1u << axis, true);
    ox_out(x, 0, PICK(EQ(n, LIKE(a, 0)), LIKE(a, 0), DIV(a, n)));
}

OPERATOR(LRN)
{
    val a = ox_in(x, 0);
    const int64_t size = ox_int(x, "size", 1), low = (size - 1) / 2;
    val s = rlx_build_pad(x->b, MUL(a, a), 1, low, size - 1 - low, 0);
    s = ox_fold(x, RLX_MAP_ADD, rlx_build_window(x->b, s, 1, size, 1, 1), 4, false);
    s = ADD(LIKE(a, ox_float(x, "bias", 1)),
            MUL(s, LIKE(a, ox_float(x, "alpha", 1e-4) / (double)size)));
    ox_out(x, 0, DIV(a, rlx_build_pow(x->b, s, LIKE(a, ox_float(x, "beta", 0.75)))));
}

/* ---- losses ----------------------------------------------------------------------------------- */

static val total(onnx *x, val v)
{
    return ox_fold(x, RLX_MAP_ADD, v, ox_axes(v, 0), false);
}

/* -log_prob[target] * weight[target] over [N, C, ..], reduced; ignored targets weigh nothing. */
static void loss_of(onnx *x, val logp)
{
    val target = rlx_build_cast(x->b, ox_in(x, 1), RLX_I64);
    const int64_t none = INT64_MIN, ignored = ox_int(x, "ignore_index", none);
    val hit = EQ(ox_iota(x, RLX_I64, logp, 1), rlx_build_insert(x->b, target, 1));
    val w = LIKE(logp, 1), zero = LIKE(logp, 0);
    if (ox_has(x, 2))
        w = rlx_build_reshape(x->b, ox_in(x, 2), rlx_value_rank(logp) - 1,
                              (int64_t[ONNX_MAX_RANK]){ox_dim(logp, 1), 1, 1, 1, 1, 1, 1});
    if (ignored != none)
        hit = AND(hit, rlx_build_not(
                           x->b, EQ(ox_iota(x, RLX_I64, logp, 1), LIKE(target, (double)ignored))));
    val each = ox_fold(x, RLX_MAP_ADD, PICK(hit, NEG(MUL(logp, w)), zero), 2, false);
    val weight = ox_fold(x, RLX_MAP_ADD, PICK(hit, w, zero), 2, false);
    const char how = ox_text(x, "reduction", "mean")[0];
    if (how != 'n')
        each = total(x, each);
    ox_out(x, 0, how == 'm' ? DIV(each, total(x, weight)) : each);
}

OPERATOR(NegativeLogLikelihoodLoss)
{
    loss_of(x, ox_in(x, 0));
}

OPERATOR(SoftmaxCrossEntropyLoss)
{
    val logp = rlx_build_log_softmax(x->b, ox_in(x, 0), 1);
    loss_of(x, logp);
    ox_out(x, 1, logp);
}

/* ---- einsum ----------------------------------------------------------------------------------- */

enum { MAX_LABELS = ONNX_MAX_RANK };

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
            a = rlx_build_move(x->b, a, j, *n - 1);
            a = rlx_build_move(x->b, a, i, *n - 2);
            a = rlx_build_slice(x->b, rlx_build_flatten(x->b, a, *n - 2, *n - 1), *n - 2, 0, d,
                                d + 1);
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
    int64_t perm[ONNX_MAX_RANK], dims[ONNX_MAX_RANK];
    int k = 0;
    for (int i = 0; i < count; i++) {
        int at = index_of(labels, n, all[i]);
        dims[i] = at < 0 ? 1 : ox_dim(a, at);
        if (at >= 0)
            perm[k++] = at;
    }
    return rlx_build_reshape(x->b, rlx_build_transpose(x->b, a, perm), count, dims);
}

OPERATOR(Einsum)
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
        n[i] = labels_of(term, len, rlx_value_rank(in[i]), labels[i]);
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
    ox_out(x, 0, ox_fold(x, RLX_MAP_ADD, y, ox_axes(y, outs), false));
}

EXPRESSION(MatMul, rlx_build_matmul(x->b, ox_in(x, 0), ox_in(x, 1)))

OPERATOR(Gemm)
{
    val a = ox_in(x, 0);
    a = ox_int(x, "transA", 0) ? rlx_build_move(x->b, a, 0, 1) : a;
    val y = ox_int(x, "transB", 0) ? rlx_build_linear(x->b, a, ox_weight(x, 1), NULL)
                                   : rlx_build_matmul(x->b, a, ox_in(x, 1));
    y = MUL(y, LIKE(a, ox_float(x, "alpha", 1)));
    if (ox_has(x, 2))
        y = ADD(y, MUL(ox_in(x, 2), LIKE(a, ox_float(x, "beta", 1))));
    ox_out(x, 0, y);
}

/* ---- determinants -----------------------------------------------------------------------------
 */

/* Part of an axis, from `start` on. */
static val from(onnx *x, val a, int axis, int64_t start, int64_t size)
{
    return rlx_build_slice(x->b, a, axis, start, size, 1);
}

/* Elimination of the first column of [..,m,m], its largest element's row going first: the factor
 * [..,1,1] of the determinant, and [..,m-1,m-1] for the others. */
static val eliminate(onnx *x, val a, val *rest)
{
    const int rows = rlx_value_rank(a) - 2, columns = rows + 1;
    const int64_t m = ox_dim(a, rows);
    int64_t dims[ONNX_MAX_RANK];
    ox_dims(a, dims);
    dims[rows] = 1;
    val at = rlx_build_arg_best(x->b, ABS(from(x, a, columns, 0, 1)), rows, false, true);
    val all = rlx_build_expand(x->b, at, rows + 2, dims);
    val row = rlx_build_take_along(x->b, a, all, rows), pivot = from(x, row, columns, 0, 1);
    val sign = PICK(EQ(at, LIKE(at, 0)), LIKE(a, 1), LIKE(a, -1));
    if (m > 1) {
        a = PICK(EQ(ox_iota(x, RLX_I32, a, rows), at), from(x, a, rows, 0, 1), a);
        a = from(x, a, rows, 1, m - 1);
        val by = PICK(EQ(pivot, LIKE(a, 0)), LIKE(a, 1), pivot); /* then all of the column is 0 */
        by = DIV(from(x, a, columns, 0, 1), by);
        *rest = SUB(from(x, a, columns, 1, m - 1), MUL(by, from(x, row, columns, 1, m - 1)));
    }
    return MUL(sign, pivot);
}

OPERATOR(Det)
{
    enum { MOST = 16 };
    val a = ox_in(x, 0), y = LIKE(a, 1);
    int64_t dims[ONNX_MAX_RANK] = {0};
    if (ox_dim(a, -1) > MOST || ox_dim(a, -1) < 1)
        ox_refuse(x, "a determinant of %lld rows", (long long)ox_dim(a, -1));
    ox_dims(a, dims);
    for (int64_t m = ox_dim(a, -1); a && m > 0 && m <= MOST; m--)
        y = MUL(y, eliminate(x, a, &a));
    ox_out(x, 0, rlx_build_reshape(x->b, y, rlx_value_rank(a) - 2, dims));
}
