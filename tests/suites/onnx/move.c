/* tests/suites/onnx/move.c: shapes, moving elements, indices. */
#include <math.h>
#include <string.h>

#include "tests/suites/onnx/onnx.h"

/* ---- shapes -------------------------------------------------------------------------------------- */

OPERATOR(Reshape)
{
    int64_t dims[ONNX_MAX_INTS], known = 1;
    val a = ox_in(x, 0);
    int n = ox_ints(x, 1, dims), open = -1;
    for (int i = 0; i < n; i++) {
        if (dims[i] == 0 && !ox_int(x, "allowzero", 0))
            dims[i] = ox_dim(a, i);
        if (dims[i] < 0)
            open = i;
        else
            known *= dims[i];
    }
    if (open >= 0)
        dims[open] = known ? ox_elems(a) / known : 0;
    ox_out(x, 0, rlx_build_reshape(x->b, a, n, dims));
}

OPERATOR(Flatten)
{
    val a = ox_in(x, 0);
    const int at = ox_axis(a, ox_int(x, "axis", 1));
    int64_t dims[2] = {1, 1};
    for (int i = 0; i < rlx_value_rank(a); i++)
        dims[i >= at] *= ox_dim(a, i);
    ox_out(x, 0, rlx_build_reshape(x->b, a, 2, dims));
}

static int axes_of(onnx *x, int input, int64_t *axes)
{
    int n = ox_list(x, "axes", axes);
    return n >= 0 ? n : ox_ints(x, input, axes);
}

OPERATOR(Squeeze)
{
    int64_t axes[ONNX_MAX_INTS], dims[ONNX_MAX_RANK];
    val a = ox_in(x, 0);
    int n = axes_of(x, 1, axes), rank = 0;
    for (int i = 0; i < rlx_value_rank(a); i++) {
        bool drop = n == 0 && ox_dim(a, i) == 1;
        for (int k = 0; k < n; k++)
            drop |= ox_axis(a, axes[k]) == i;
        if (!drop)
            dims[rank++] = ox_dim(a, i);
    }
    ox_out(x, 0, rlx_build_reshape(x->b, a, rank, dims));
}

OPERATOR(Unsqueeze)
{
    int64_t axes[ONNX_MAX_INTS], dims[ONNX_MAX_RANK];
    val a = ox_in(x, 0);
    int n = axes_of(x, 1, axes), rank = rlx_value_rank(a) + n, from = 0;
    for (int i = 0; i < rank && i < ONNX_MAX_RANK; i++) {
        bool made = false;
        for (int k = 0; k < n; k++)
            made |= (axes[k] < 0 ? axes[k] + rank : axes[k]) == i;
        dims[i] = made ? 1 : ox_dim(a, from++);
    }
    ox_out(x, 0, rlx_build_reshape(x->b, a, rank, dims));
}

OPERATOR(Transpose)
{
    int64_t perm[ONNX_MAX_INTS];
    val a = ox_in(x, 0);
    const int rank = rlx_value_rank(a);
    if (ox_list(x, "perm", perm) < 0)
        for (int i = 0; i < rank; i++)
            perm[i] = rank - 1 - i;
    ox_out(x, 0, rlx_build_transpose(x->b, a, perm));
}

/* Where the shape that is asked for has 1 (or no axis), the input's extent stays. */
OPERATOR(Expand)
{
    int64_t dims[ONNX_MAX_INTS];
    val a = ox_in(x, 0);
    const int n = ox_ints(x, 1, dims), own = rlx_value_rank(a), rank = own > n ? own : n;
    if (rank > ONNX_MAX_RANK)
        return;
    memmove(dims + (rank - n), dims, sizeof *dims * (size_t)n);
    for (int i = 0; i < rank - n; i++)
        dims[i] = 1;
    for (int i = 0; i < own; i++)
        if (dims[rank - own + i] == 1)
            dims[rank - own + i] = ox_dim(a, i);
    ox_out(x, 0, rlx_build_expand(x->b, a, rank, dims));
}

OPERATOR(Tile)
{
    int64_t times[ONNX_MAX_INTS], dims[ONNX_MAX_RANK];
    val a = ox_in(x, 0);
    const int n = ox_ints(x, 1, times);
    for (int i = 0; i < n; i++) { /* [.., 1, D, ..] repeats along the 1 */
        a = rlx_build_insert(x->b, a, i);
        ox_dims(a, dims);
        dims[i] = times[i];
        a = rlx_build_flatten(x->b, rlx_build_expand(x->b, a, n + 1, dims), i, i + 1);
    }
    ox_out(x, 0, a);
}

/* DCR: the block's places are in front of the channels, CRD: behind, as a pixel shuffle has them. */
OPERATOR(DepthToSpace)
{
    val a = ox_in(x, 0);
    const int64_t b = ox_int(x, "blocksize", 1);
    if (strcmp(ox_text(x, "mode", "DCR"), "DCR") == 0) {
        const int64_t dims[] = {ox_dim(a, 0), b * b, ox_dim(a, 1) / (b * b), ox_dim(a, 2),
                                ox_dim(a, 3)};
        val v = rlx_build_move(x->b, rlx_build_reshape(x->b, a, 5, dims), 1, 2);
        a = ox_like(x, v, a);
    }
    ox_out(x, 0, rlx_build_pixel_shuffle(x->b, a, b));
}

OPERATOR(SpaceToDepth)
{
    val a = ox_in(x, 0);
    const int64_t b = ox_int(x, "blocksize", 1);
    val y = rlx_build_pixel_unshuffle(x->b, a, b); /* [N, C b b, ..] */
    const int64_t dims[] = {ox_dim(a, 0), ox_dim(a, 1), b * b, ox_dim(y, 2), ox_dim(y, 3)};
    ox_out(x, 0, ox_like(x, rlx_build_move(x->b, rlx_build_reshape(x->b, y, 5, dims), 2, 1), y));
}

/* Whole numbers that are known here, as a tensor: built of scalars. */
static val ints_tensor(onnx *x, int n, const int64_t *v)
{
    val parts[ONNX_MAX_INTS];
    for (int i = 0; i < n; i++)
        parts[i] = rlx_build_insert(x->b, rlx_build_number(x->b, RLX_I64, (double)v[i]), 0);
    return n ? rlx_build_concat(x->b, n, parts, 0) : rlx_build_iota(x->b, RLX_I64, 0);
}

OPERATOR(Shape)
{
    const onnx_tensor *t = &x->in[0];
    int64_t start = ox_int(x, "start", 0), end = ox_int(x, "end", t->rank);
    start = start < 0 ? start + t->rank : start;
    end = end < 0 ? end + t->rank : end;
    start = start < 0 ? 0 : start > t->rank ? t->rank : start;
    end = end < 0 ? 0 : end > t->rank ? t->rank : end;
    ox_out(x, 0, ints_tensor(x, end > start ? (int)(end - start) : 0, t->dim + start));
}

EXPRESSION(Size, rlx_build_number(x->b, RLX_I64, (double)x->in[0].elems))

OPERATOR(ConstantOfShape)
{
    int64_t dims[ONNX_MAX_INTS];
    int n = ox_ints(x, 0, dims);
    const cJSON *value = cJSON_GetObjectItem(x->attributes, "value");
    const cJSON *item = cJSON_GetArrayItem(cJSON_GetObjectItem(value, "tensor"), 0);
    val v = rlx_build_number(x->b, x->out[0].format, cJSON_IsNumber(item) ? item->valuedouble : 0);
    ox_out(x, 0, rlx_build_expand(x->b, v, n, dims));
}

EXPRESSION(OptionalHasElement, rlx_build_number(x->b, RLX_BOOL, ox_has(x, 0)))

/* ---- parts --------------------------------------------------------------------------------------- */

OPERATOR(Concat)
{
    val in[ONNX_MAX_IO];
    for (int i = 0; i < x->nin; i++)
        in[i] = ox_in(x, i);
    ox_out(x, 0, rlx_build_concat(x->b, x->nin, in, (int)ox_int(x, "axis", 0)));
}

OPERATOR(Split)
{
    int64_t sizes[ONNX_MAX_INTS], at = 0;
    val a = ox_in(x, 0);
    int axis = ox_axis(a, ox_int(x, "axis", 0)), n = ox_list(x, "split", sizes);
    if (n < 0)
        n = ox_ints(x, 1, sizes);
    int64_t each = (ox_dim(a, axis) + x->nout - 1) / x->nout;
    for (int i = 0; i < x->nout; i++) {
        int64_t size = i < n ? sizes[i] : each;
        if (at + size > ox_dim(a, axis))
            size = ox_dim(a, axis) - at;
        ox_out(x, i, rlx_build_slice(x->b, a, axis, at, size, 1));
        at += size;
    }
}

static int64_t clip(int64_t v, int64_t lo, int64_t hi)
{
    return v < lo ? lo : v > hi ? hi : v;
}

OPERATOR(Slice)
{
    int64_t starts[ONNX_MAX_INTS], ends[ONNX_MAX_INTS], axes[ONNX_MAX_INTS], steps[ONNX_MAX_INTS];
    val a = ox_in(x, 0);
    int n = ox_ints(x, 1, starts), naxes = ox_ints(x, 3, axes), nsteps = ox_ints(x, 4, steps);
    ox_ints(x, 2, ends);
    for (int i = 0; i < n; i++) {
        const int axis = ox_axis(a, naxes ? axes[i] : i);
        const int64_t step = nsteps ? steps[i] : 1, d = ox_dim(a, axis);
        int64_t from = starts[i] < 0 ? starts[i] + d : starts[i];
        int64_t to = ends[i] < 0 ? ends[i] + d : ends[i];
        from = clip(from, 0, step > 0 ? d : d - 1);
        to = step > 0 ? clip(to, 0, d) : clip(to, -1, d);
        int64_t size = step > 0 ? (to - from + step - 1) / step : (from - to - step - 1) / -step;
        a = rlx_build_slice(x->b, a, axis, from, size > 0 ? size : 0, step);
    }
    ox_out(x, 0, a);
}

/* What lies outside of 0..d-1 by another rule than a constant: the index to read instead. */
static val fold_index(onnx *x, val i, int64_t d, char mode)
{
    if (mode == 'w')
        return MAP2(MOD, i, LIKE(i, (double)d));
    if (mode == 'r') {
        val turn = LIKE(i, d > 1 ? 2.0 * (double)(d - 1) : 1);
        i = MAP2(MOD, i, turn);
        return MIN(i, SUB(turn, i));
    }
    return rlx_build_clamp(x->b, i, 0, (double)(d - 1));
}

static val pad_axis(onnx *x, val a, int axis, int64_t low, int64_t high)
{
    const char mode = ox_text(x, "mode", "constant")[0];
    if (low == 0 && high == 0)
        return a;
    if (mode == 'c')
        return rlx_build_pad(x->b, a, axis, low, high, ox_number(x, 2, 0));
    val i = rlx_build_iota(x->b, RLX_I64, low + ox_dim(a, axis) + high);
    i = fold_index(x, SUB(i, LIKE(i, (double)low)), ox_dim(a, axis), mode);
    return rlx_build_take(x->b, a, i, axis);
}

OPERATOR(Pad)
{
    int64_t pads[ONNX_MAX_INTS], axes[ONNX_MAX_INTS];
    val a = ox_in(x, 0);
    const int n = ox_ints(x, 1, pads) / 2, naxes = ox_ints(x, 3, axes);
    for (int i = 0; i < n; i++)
        a = pad_axis(x, a, ox_axis(a, naxes ? axes[i] : i), pads[i], pads[n + i]);
    ox_out(x, 0, a);
}

OPERATOR(CenterCropPad)
{
    int64_t shape[ONNX_MAX_INTS], axes[ONNX_MAX_INTS];
    val a = ox_in(x, 0);
    int n = ox_ints(x, 1, shape), naxes = ox_list(x, "axes", axes);
    for (int i = 0; i < n; i++) {
        int axis = ox_axis(a, naxes > 0 ? axes[i] : i);
        int64_t d = ox_dim(a, axis), more = shape[i] - d;
        int64_t low = more >= 0 ? more / 2 : -((d - shape[i]) / 2);
        a = rlx_build_pad(x->b, a, axis, low, more - low, 0);
    }
    ox_out(x, 0, a);
}

/* ---- made of indices ----------------------------------------------------------------------------- */

OPERATOR(EyeLike)
{
    const onnx_tensor *t = &x->in[0];
    const int64_t code = ox_int(x, "dtype", 0);
    const rlx_format f = code ? ox_dtype(x, code) : t->format;
    val row = rlx_build_iota(x->b, RLX_I64, t->dim[0]);
    val on = ADD(row, LIKE(row, (double)ox_int(x, "k", 0)));
    ox_out(x, 0, rlx_build_one_hot(x->b, on, t->dim[1], f));
}

OPERATOR(Trilu)
{
    val a = ox_in(x, 0);
    const int rank = rlx_value_rank(a);
    val row = ox_iota(x, RLX_I64, a, rank - 2), column = ox_iota(x, RLX_I64, a, rank - 1);
    val edge = ADD(row, LIKE(row, ox_number(x, 1, 0)));
    const bool upper = ox_int(x, "upper", 1);
    ox_out(x, 0, PICK(upper ? LE(edge, column) : LE(column, edge), a, LIKE(a, 0)));
}

OPERATOR(Range)
{
    double start = ox_number(x, 0, 0), limit = ox_number(x, 1, 0), delta = ox_number(x, 2, 1);
    const double count = ceil((limit - start) / delta);
    val from = ox_in(x, 0), by = ox_in(x, 2);
    val i = rlx_build_iota(x->b, rlx_value_format(from), count > 0 ? (int64_t)count : 0);
    ox_out(x, 0, ADD(from, MUL(i, by)));
}

/* Indices of an axis of `d`, negative ones counted from its end, as i64. */
static val wrapped(onnx *x, val ids, int64_t d)
{
    ids = rlx_build_cast(x->b, ids, RLX_I64);
    return PICK(LT(ids, LIKE(ids, 0)), ADD(ids, LIKE(ids, (double)d)), ids);
}

OPERATOR(OneHot)
{
    const int64_t depth = (int64_t)ox_number(x, 1, 0);
    val values = ox_in(x, 2);
    val hit = rlx_build_one_hot(x->b, wrapped(x, ox_in(x, 0), depth), depth, RLX_BOOL);
    hit = rlx_build_move(x->b, hit, -1, (int)ox_int(x, "axis", -1));
    val off = rlx_build_slice(x->b, values, 0, 0, 1, 1),
        on = rlx_build_slice(x->b, values, 0, 1, 1, 1);
    ox_out(x, 0, PICK(hit, on, off));
}

/* ---- gathers and scatters ------------------------------------------------------------------------ */

EXPRESSION(Gather, rlx_build_take(x->b, ox_in(x, 0), ox_in(x, 1), (int)ox_int(x, "axis", 0)))

static val flat(onnx *x, val a)
{
    return rlx_build_reshape(x->b, a, 1, (int64_t[]){ox_elems(a)});
}

/* Where element (.., ids[..], ..) of a tensor lies: every axis its own index, but one. */
static val element_places(onnx *x, val a, val ids, int axis)
{
    val at[ONNX_MAX_RANK];
    for (int i = 0; i < rlx_value_rank(a); i++)
        at[i] = i == axis ? wrapped(x, ids, ox_dim(a, i)) : ox_iota(x, RLX_I64, ids, i);
    return ox_place(x, a, rlx_value_rank(a), at);
}

OPERATOR(GatherElements)
{
    val a = ox_in(x, 0);
    const int axis = ox_axis(a, ox_int(x, "axis", 0));
    ox_out(x, 0, rlx_build_take_along(x->b, a, wrapped(x, ox_in(x, 1), ox_dim(a, axis)), axis));
}

/* The rows of a [V, ..] at these places, replaced or folded. */
static val scatter(onnx *x, val a, val at, val u)
{
    static const struct {
        const char *name;
        rlx_map fn;
    } list[] = {
        {"add", RLX_MAP_ADD}, {"mul", RLX_MAP_MUL}, {"min", RLX_MAP_MIN}, {"max", RLX_MAP_MAX}};
    const char *name = ox_text(x, "reduction", "none");
    for (size_t i = 0; i < sizeof list / sizeof *list; i++)
        if (strcmp(list[i].name, name) == 0)
            return rlx_build_scatter_fold(x->b, list[i].fn, a, at, u);
    if (strcmp(name, "none"))
        ox_refuse(x, "reduction \"%s\"", name);
    return rlx_build_scatter(x->b, a, at, u);
}

OPERATOR(Scatter)
{
    val a = ox_in(x, 0);
    val at = element_places(x, a, ox_in(x, 1), ox_axis(a, ox_int(x, "axis", 0)));
    ox_out(x, 0, ox_like(x, scatter(x, flat(x, a), flat(x, at), flat(x, ox_in(x, 2))), a));
}

/* Index tuples [.., k] as places among the first axes of a; *k: how many axes they take. */
static val tuple_places(onnx *x, val a, val ids, int batch, int *k)
{
    val at[ONNX_MAX_RANK], one = NULL;
    int64_t dims[ONNX_MAX_RANK];
    const int rank = rlx_value_rank(ids);
    ox_dims(ids, dims);
    *k = (int)ox_dim(ids, -1) + batch;
    for (int i = batch; i < *k && i < ONNX_MAX_RANK; i++) {
        one = rlx_build_slice(x->b, ids, -1, i - batch, 1, 1);
        one = rlx_build_reshape(x->b, one, rank - 1, dims);
        at[i] = wrapped(x, one, ox_dim(a, i));
    }
    for (int i = 0; i < batch; i++)
        at[i] = ox_iota(x, RLX_I64, one, i);
    return ox_place(x, a, *k, at);
}

/* a with its first k axes as one. */
static val rows_of(onnx *x, val a, int k)
{
    return rlx_build_flatten(x->b, a, 0, k - 1);
}

OPERATOR(GatherND)
{
    val a = ox_in(x, 0);
    int k = 0;
    val at = tuple_places(x, a, ox_in(x, 1), (int)ox_int(x, "batch_dims", 0), &k);
    ox_out(x, 0, rlx_build_take(x->b, rows_of(x, a, k), at, 0));
}

OPERATOR(ScatterND)
{
    val a = ox_in(x, 0), u = ox_in(x, 2);
    int k = 0;
    val at = tuple_places(x, a, ox_in(x, 1), 0, &k);
    u = rows_of(x, u, rlx_value_rank(at));
    ox_out(x, 0, ox_like(x, scatter(x, rows_of(x, a, k), flat(x, at), u), a));
}

/* Rows of a cache from a place of each batch on. */
OPERATOR(TensorScatter)
{
    val a = ox_in(x, 0), u = ox_in(x, 1), at[ONNX_MAX_RANK];
    const int axis = ox_axis(a, ox_int(x, "axis", -2)), rank = rlx_value_rank(u);
    const int64_t first[ONNX_MAX_RANK] = {ox_dim(u, 0), 1, 1, 1, 1, 1, 1, 1};
    for (int i = 0; i < rank; i++)
        at[i] = ox_iota(x, RLX_I64, u, i);
    if (ox_has(x, 2))
        at[axis] = ADD(at[axis], rlx_build_reshape(x->b, ox_in(x, 2), rank, first));
    if (ox_text(x, "mode", "linear")[0] == 'c')
        at[axis] = MAP2(MOD, at[axis], LIKE(at[axis], (double)ox_dim(a, axis)));
    val places = ox_expand(x, ox_place(x, a, rank, at), u);
    ox_out(x, 0, ox_like(x, rlx_build_scatter(x->b, flat(x, a), flat(x, places), flat(x, u)), a));
}

/* The condition decides the shape, so it is known when the graph is made. */
OPERATOR(Compress)
{
    int64_t keep[ONNX_MAX_INTS];
    val a = ox_in(x, 0), parts[ONNX_MAX_INTS];
    const int64_t none = INT64_MIN, at = ox_int(x, "axis", none);
    const int n = ox_ints(x, 1, keep), axis = at == none ? 0 : ox_axis(a, at);
    int kept = 0;
    a = at == none ? flat(x, a) : a;
    for (int i = 0; i < n && i < ox_dim(a, axis); i++)
        if (keep[i])
            parts[kept++] = rlx_build_slice(x->b, a, axis, i, 1, 1);
    ox_out(x, 0,
           kept ? rlx_build_concat(x->b, kept, parts, axis)
                : rlx_build_slice(x->b, a, axis, 0, 0, 1));
}

OPERATOR(ReverseSequence)
{
    val a = ox_in(x, 0);
    const int batch = (int)ox_int(x, "batch_axis", 1), time = (int)ox_int(x, "time_axis", 0);
    int64_t dims[ONNX_MAX_RANK] = {1, 1, 1, 1, 1, 1, 1, 1};
    dims[batch] = ox_dim(a, batch);
    val len = rlx_build_reshape(x->b, ox_in(x, 1), rlx_value_rank(a), dims);
    val at = ox_iota(x, RLX_I64, a, time);
    val back = SUB(SUB(len, LIKE(len, 1)), at);
    at = ox_expand(x, PICK(LT(at, len), back, at), a);
    ox_out(x, 0, rlx_build_take_along(x->b, a, at, time));
}

/* ---- order --------------------------------------------------------------------------------------- */

OPERATOR(TopK)
{
    int64_t k[ONNX_MAX_INTS] = {1};
    val ids;
    ox_ints(x, 1, k);
    ox_out(x, 0,
           rlx_build_top_k(x->b, ox_in(x, 0), (int)ox_int(x, "axis", -1), k[0],
                           !ox_int(x, "largest", 1), &ids));
    ox_out(x, 1, rlx_build_cast(x->b, ids, RLX_I64));
}

static void cumulate(onnx *x, rlx_map fn)
{
    int64_t at[ONNX_MAX_INTS] = {0};
    ox_ints(x, 1, at);
    ox_out(x, 0,
           rlx_build_scan(x->b, fn, ox_in(x, 0), (int)at[0], ox_int(x, "exclusive", 0),
                          ox_int(x, "reverse", 0)));
}

OPERATOR(CumSum)
{
    cumulate(x, RLX_MAP_ADD);
}

OPERATOR(CumProd)
{
    cumulate(x, RLX_MAP_MUL);
}

OPERATOR(NonMaxSuppression)
{
    ox_refuse(x, "the shape of the result depends on values");
}
