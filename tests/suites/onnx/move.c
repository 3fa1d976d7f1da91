/* tests/suites/onnx/move.c: shapes, moving elements, indices. */
#include <math.h>
#include <string.h>

#include "tests/suites/onnx/old.h"

/* ---- shapes
 * -------------------------------------------------------------------------------------- */

static void do_reshape(onnx *x)
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
    ox_out(x, 0, rlx_mir_reshape(IR, a, n, dims));
}

static void do_flatten(onnx *x)
{
    val a = ox_in(x, 0);
    int64_t axis = ox_int(x, "axis", 1);
    int at = ox_axis(a, axis);
    int rank = a ? a->type.rank : 0;
    a = rlx_mir_flatten(IR, a, at, rank);
    ox_out(x, 0, rlx_mir_flatten(IR, a, 0, at));
}

static int axes_of(onnx *x, int input, int64_t *axes)
{
    int n = ox_list(x, "axes", axes);
    return n >= 0 ? n : ox_ints(x, input, axes);
}

static void do_squeeze(onnx *x)
{
    int64_t axes[ONNX_MAX_INTS], dims[RLX_MAX_RANK];
    val a = ox_in(x, 0);
    int n = axes_of(x, 1, axes), rank = 0;
    for (int i = 0; a && i < a->type.rank; i++) {
        bool drop = n == 0 && a->type.dim[i] == 1;
        for (int k = 0; k < n; k++)
            drop |= ox_axis(a, axes[k]) == i;
        if (!drop)
            dims[rank++] = a->type.dim[i];
    }
    ox_out(x, 0, rlx_mir_reshape(IR, a, rank, dims));
}

static void do_unsqueeze(onnx *x)
{
    int64_t axes[ONNX_MAX_INTS], dims[RLX_MAX_RANK];
    val a = ox_in(x, 0);
    int n = axes_of(x, 1, axes), rank = a ? a->type.rank + n : 0, from = 0;
    for (int i = 0; i < rank && i < RLX_MAX_RANK; i++) {
        bool made = false;
        for (int k = 0; k < n; k++)
            made |= (axes[k] < 0 ? axes[k] + rank : axes[k]) == i;
        dims[i] = made ? 1 : a->type.dim[from++];
    }
    ox_out(x, 0, rlx_mir_reshape(IR, a, rank, dims));
}

static void do_transpose(onnx *x)
{
    int64_t perm[ONNX_MAX_INTS];
    val a = ox_in(x, 0);
    if (ox_list(x, "perm", perm) < 0)
        for (int i = 0; a && i < a->type.rank; i++)
            perm[i] = a->type.rank - 1 - i;
    ox_out(x, 0, rlx_mir_transpose(IR, a, perm));
}

static void do_expand(onnx *x)
{
    int64_t dims[ONNX_MAX_INTS];
    val a = ox_in(x, 0);
    int n = ox_ints(x, 1, dims), rank = a && a->type.rank > n ? a->type.rank : n;
    if (!a || rank > RLX_MAX_RANK)
        return;
    memmove(dims + (rank - n), dims, sizeof *dims * (size_t)n);
    for (int i = 0; i < rank - n; i++)
        dims[i] = 1;
    for (int i = 0; i < a->type.rank; i++)
        if (dims[rank - a->type.rank + i] == 1)
            dims[rank - a->type.rank + i] = a->type.dim[i];
    ox_out(x, 0, rlx_mir_expand(IR, a, rank, dims));
}

static void do_tile(onnx *x)
{
    int64_t times[ONNX_MAX_INTS], dims[RLX_MAX_RANK];
    val a = ox_in(x, 0);
    int n = ox_ints(x, 1, times);
    for (int i = 0; a && i < n; i++) { /* [.., 1, D, ..] repeats along the 1 */
        memcpy(dims, a->type.dim, sizeof dims);
        for (int k = a->type.rank; k > i; k--)
            dims[k] = dims[k - 1];
        dims[i] = times[i];
        a = rlx_mir_expand(IR, rlx_mir_insert(IR, a, i), n + 1, dims);
        a = rlx_mir_flatten(IR, a, i, i + 2);
    }
    ox_out(x, 0, a);
}

/* [N, C, H, W] with the block's axes between. */
static void do_depth_to_space(onnx *x)
{
    val a = ox_in(x, 0);
    int64_t b = ox_int(x, "blocksize", 1), N = ox_dim(a, 0), C = ox_dim(a, 1) / (b * b);
    int64_t H = ox_dim(a, 2), W = ox_dim(a, 3);
    bool dcr = strcmp(ox_text(x, "mode", "DCR"), "DCR") == 0;
    if (dcr)
        a = rlx_mir_transpose(IR, rlx_mir_reshape(IR, a, 6, (int64_t[]){N, b, b, C, H, W}),
                              (int64_t[]){0, 3, 4, 1, 5, 2});
    else
        a = rlx_mir_transpose(IR, rlx_mir_reshape(IR, a, 6, (int64_t[]){N, C, b, b, H, W}),
                              (int64_t[]){0, 1, 4, 2, 5, 3});
    ox_out(x, 0, rlx_mir_reshape(IR, a, 4, (int64_t[]){N, C, H * b, W * b}));
}

static void do_space_to_depth(onnx *x)
{
    val a = ox_in(x, 0);
    int64_t b = ox_int(x, "blocksize", 1), N = ox_dim(a, 0), C = ox_dim(a, 1);
    int64_t H = ox_dim(a, 2) / b, W = ox_dim(a, 3) / b;
    a = rlx_mir_transpose(IR, rlx_mir_reshape(IR, a, 6, (int64_t[]){N, C, H, b, W, b}),
                          (int64_t[]){0, 3, 5, 1, 2, 4});
    ox_out(x, 0, rlx_mir_reshape(IR, a, 4, (int64_t[]){N, C * b * b, H, W}));
}

/* Whole numbers that are known here, as a tensor: built of scalars. */
static val ints_tensor(onnx *x, int n, const int64_t *v)
{
    val parts[ONNX_MAX_INTS];
    if (n == 0)
        return rlx_mir_expand(IR, rlx_mir_build_const(IR, RLX_I64, 0), 1, (int64_t[]){0});
    for (int i = 0; i < n; i++)
        parts[i] =
            rlx_mir_reshape(IR, rlx_mir_build_const(IR, RLX_I64, (double)v[i]), 1, (int64_t[]){1});
    return n == 1 ? parts[0] : rlx_mir_build_concat(IR, n, parts, 0);
}

static void do_shape(onnx *x)
{
    const onnx_tensor *t = &x->in[0];
    int64_t start = ox_int(x, "start", 0), end = ox_int(x, "end", t->rank);
    start = start < 0 ? start + t->rank : start;
    end = end < 0 ? end + t->rank : end;
    start = start < 0 ? 0 : start > t->rank ? t->rank : start;
    end = end < 0 ? 0 : end > t->rank ? t->rank : end;
    ox_out(x, 0, ints_tensor(x, end > start ? (int)(end - start) : 0, t->dim + start));
}

static void do_size(onnx *x)
{
    ox_out(x, 0, rlx_mir_build_const(IR, RLX_I64, (double)x->in[0].elems));
}

static void do_constant_of_shape(onnx *x)
{
    int64_t dims[ONNX_MAX_INTS];
    int n = ox_ints(x, 0, dims);
    const cJSON *value = cJSON_GetObjectItem(x->attributes, "value");
    const cJSON *item = cJSON_GetArrayItem(cJSON_GetObjectItem(value, "tensor"), 0);
    val v = rlx_mir_build_const(IR, x->out[0].format, cJSON_IsNumber(item) ? item->valuedouble : 0);
    ox_out(x, 0, rlx_mir_expand(IR, v, n, dims));
}

static void do_has_element(onnx *x)
{
    ox_out(x, 0, rlx_mir_build_const(IR, RLX_BOOL, ox_has(x, 0)));
}

/* ---- parts
 * ----------------------------------------------------------------------------------------- */

static void do_concat(onnx *x)
{
    val in[ONNX_MAX_IO];
    for (int i = 0; i < x->nin; i++)
        in[i] = ox_in(x, i);
    ox_out(x, 0, rlx_mir_build_concat(IR, x->nin, in, ox_axis(in[0], ox_int(x, "axis", 0))));
}

static void do_split(onnx *x)
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
        ox_out(x, i, rlx_mir_slice(IR, a, axis, at, size, 1));
        at += size;
    }
}

static int64_t clip(int64_t v, int64_t lo, int64_t hi)
{
    return v < lo ? lo : v > hi ? hi : v;
}

static void do_slice(onnx *x)
{
    int64_t starts[ONNX_MAX_INTS], ends[ONNX_MAX_INTS], axes[ONNX_MAX_INTS], steps[ONNX_MAX_INTS];
    val a = ox_in(x, 0);
    int n = ox_ints(x, 1, starts), naxes = ox_ints(x, 3, axes), nsteps = ox_ints(x, 4, steps);
    ox_ints(x, 2, ends);
    for (int i = 0; a && i < n; i++) {
        int axis = ox_axis(a, naxes ? axes[i] : i);
        int64_t step = nsteps ? steps[i] : 1, d = a->type.dim[axis];
        int64_t from = starts[i] < 0 ? starts[i] + d : starts[i];
        int64_t to = ends[i] < 0 ? ends[i] + d : ends[i];
        from = clip(from, 0, step > 0 ? d : d - 1);
        to = step > 0 ? clip(to, 0, d) : clip(to, -1, d);
        int64_t size = step > 0 ? (to - from + step - 1) / step : (from - to - step - 1) / -step;
        a = rlx_mir_slice(IR, a, axis, from, size > 0 ? size : 0, step);
    }
    ox_out(x, 0, a);
}

/* What lies outside of 0..d-1 by another rule than a constant: the index to read instead. */
static val fold_index(onnx *x, val i, int64_t d, char mode)
{
    if (mode == 'w')
        return rlx_mir_map2(IR, RLX_FN_MOD, i, LIKE(i, (double)d));
    if (mode == 'r') {
        val turn = LIKE(i, d > 1 ? 2.0 * (double)(d - 1) : 1);
        i = rlx_mir_map2(IR, RLX_FN_MOD, i, turn);
        return MIN(i, SUB(turn, i));
    }
    return rlx_mir_clamp(IR, i, 0, (double)(d - 1));
}

static val pad_axis(onnx *x, val a, int axis, int64_t low, int64_t high, val fill, char mode)
{
    if (!a || (low == 0 && high == 0))
        return a;
    if (mode == 'c')
        return rlx_mir_pad(IR, a, axis, low, high, fill);
    int64_t d = a->type.dim[axis], size = low + d + high;
    val i =
        ADD(rlx_mir_iota(IR, RLX_I64, 1, &size, 0), rlx_mir_build_const(IR, RLX_I64, (double)-low));
    return rlx_mir_take(IR, a, fold_index(x, i, d, mode), axis);
}

static void do_pad(onnx *x)
{
    int64_t pads[ONNX_MAX_INTS], axes[ONNX_MAX_INTS];
    val a = ox_in(x, 0);
    int n = ox_ints(x, 1, pads) / 2, naxes = ox_ints(x, 3, axes);
    val fill = ox_has(x, 2) ? rlx_mir_reshape(IR, ox_in(x, 2), 0, NULL) : LIKE(a, 0);
    for (int i = 0; i < n; i++)
        a = pad_axis(x, a, ox_axis(a, naxes ? axes[i] : i), pads[i], pads[n + i], fill,
                     ox_text(x, "mode", "constant")[0]);
    ox_out(x, 0, a);
}

static void do_center_crop_pad(onnx *x)
{
    int64_t shape[ONNX_MAX_INTS], axes[ONNX_MAX_INTS];
    val a = ox_in(x, 0);
    int n = ox_ints(x, 1, shape), naxes = ox_list(x, "axes", axes);
    for (int i = 0; i < n; i++) {
        int axis = ox_axis(a, naxes > 0 ? axes[i] : i);
        int64_t d = ox_dim(a, axis), more = shape[i] - d;
        int64_t low = more >= 0 ? more / 2 : -((d - shape[i]) / 2);
        a = rlx_mir_pad(IR, a, axis, low, more - low, LIKE(a, 0));
    }
    ox_out(x, 0, a);
}

/* ---- made of indices
 * -------------------------------------------------------------------------------- */

static void do_eye_like(onnx *x)
{
    const onnx_tensor *t = &x->in[0];
    rlx_format f = t->format;
    if (ox_int(x, "dtype", 0))
        f = ox_dtype(x, ox_int(x, "dtype", 0));
    val row = rlx_mir_iota(IR, RLX_I64, 2, t->dim, 0),
        column = rlx_mir_iota(IR, RLX_I64, 2, t->dim, 1);
    val k = rlx_mir_build_const(IR, RLX_I64, (double)ox_int(x, "k", 0));
    ox_out(x, 0, rlx_mir_cast(IR, EQ(ADD(row, k), column), f));
}

static void do_trilu(onnx *x)
{
    val a = ox_in(x, 0);
    if (!a)
        return;
    int rank = a->type.rank;
    val row = rlx_mir_iota(IR, RLX_I64, rank, a->type.dim, rank - 2);
    val column = rlx_mir_iota(IR, RLX_I64, rank, a->type.dim, rank - 1);
    val edge = ADD(row, rlx_mir_build_const(IR, RLX_I64, ox_number(x, 1, 0)));
    bool upper = ox_int(x, "upper", 1);
    ox_out(x, 0, PICK(upper ? LE(edge, column) : LE(column, edge), a, LIKE(a, 0)));
}

static void do_range(onnx *x)
{
    double start = ox_number(x, 0, 0), limit = ox_number(x, 1, 0), delta = ox_number(x, 2, 1);
    double count = ceil((limit - start) / delta);
    int64_t n = count > 0 ? (int64_t)count : 0;
    val from = ox_in(x, 0), by = ox_in(x, 2);
    val i = rlx_mir_iota(IR, from ? from->type.format : RLX_F32, 1, &n, 0);
    ox_out(x, 0, ADD(from, MUL(i, by)));
}

static void do_one_hot(onnx *x)
{
    val ids = ox_in(x, 0), values = ox_in(x, 2);
    int64_t depth = (int64_t)ox_number(x, 1, 0), dims[RLX_MAX_RANK];
    if (!ids || !values)
        return;
    int rank = ids->type.rank + 1;
    int64_t at = ox_int(x, "axis", -1);
    int axis = (int)(at < 0 ? at + rank : at);
    ids = rlx_mir_insert(IR, rlx_mir_cast(IR, ids, RLX_I64), axis);
    if (!ids)
        return;
    ids = PICK(LT(ids, LIKE(ids, 0)), ADD(ids, LIKE(ids, (double)depth)), ids);
    memcpy(dims, ids->type.dim, sizeof dims);
    dims[axis] = depth;
    val hit = EQ(rlx_mir_iota(IR, RLX_I64, rank, dims, axis), ids);
    val off = rlx_mir_reshape(IR, rlx_mir_slice(IR, values, 0, 0, 1, 1), 0, NULL);
    val on = rlx_mir_reshape(IR, rlx_mir_slice(IR, values, 0, 1, 1, 1), 0, NULL);
    ox_out(x, 0, PICK(hit, on, off));
}

/* ---- gathers and scatters
 * ---------------------------------------------------------------------------- */

static void do_gather(onnx *x)
{
    val a = ox_in(x, 0);
    ox_out(x, 0, rlx_mir_take(IR, a, ox_in(x, 1), ox_axis(a, ox_int(x, "axis", 0))));
}

/* Indices of an axis of `d`, negative ones counted from its end, as i64. */
static val wrapped(onnx *x, val ids, int64_t d)
{
    ids = rlx_mir_cast(IR, ids, RLX_I64);
    return PICK(LT(ids, LIKE(ids, 0)), ADD(ids, LIKE(ids, (double)d)), ids);
}

/* Where element (.., ids[..], ..) of a tensor lies: every axis its own index, but one. */
static val element_places(onnx *x, val a, val ids, int axis)
{
    if (!a || !ids)
        return NULL;
    val at[RLX_MAX_RANK];
    for (int i = 0; i < a->type.rank; i++)
        at[i] = i == axis ? wrapped(x, ids, a->type.dim[i])
                          : rlx_mir_iota(IR, RLX_I64, ids->type.rank, ids->type.dim, i);
    return rlx_mir_place(IR, a, a->type.rank, at);
}

static void do_gather_elements(onnx *x)
{
    val a = ox_in(x, 0);
    val at = element_places(x, a, ox_in(x, 1), ox_axis(a, ox_int(x, "axis", 0)));
    ox_out(x, 0, rlx_mir_build_gather(IR, rlx_mir_flatten(IR, a, 0, a ? a->type.rank : 0), at));
}

static rlx_map_fn reduction_of(onnx *x)
{
    const char *name = ox_text(x, "reduction", "none");
    static const struct {
        const char *name;
        rlx_map_fn fn;
    } list[] = {{"none", RLX_FN_COUNT},
                {"add", RLX_FN_ADD},
                {"mul", RLX_FN_MUL},
                {"min", RLX_FN_MIN},
                {"max", RLX_FN_MAX}};
    for (size_t i = 0; i < sizeof list / sizeof *list; i++)
        if (strcmp(list[i].name, name) == 0)
            return list[i].fn;
    ox_refuse(x, "reduction \"%s\"", name);
    return RLX_FN_COUNT;
}

static val flat(onnx *x, val a)
{
    return rlx_mir_flatten(IR, a, 0, a ? a->type.rank : 0);
}

static void do_scatter_elements(onnx *x)
{
    val a = ox_in(x, 0), u = ox_in(x, 2);
    val at = element_places(x, a, ox_in(x, 1), ox_axis(a, ox_int(x, "axis", 0)));
    val y = rlx_mir_build_scatter(IR, reduction_of(x), flat(x, a), flat(x, at), flat(x, u));
    ox_out(x, 0, a ? rlx_mir_reshape(IR, y, a->type.rank, a->type.dim) : NULL);
}

/* Index tuples [.., k] as places among the first axes of a; *k: how many axes they take. */
static val tuple_places(onnx *x, val a, val ids, int batch, int *k)
{
    if (!a || !ids)
        return NULL;
    int rank = ids->type.rank;
    val at[RLX_MAX_RANK];
    *k = (int)ids->type.dim[rank - 1];
    for (int i = 0; i < batch; i++)
        at[i] = rlx_mir_iota(IR, RLX_I64, rank - 1, ids->type.dim, i);
    for (int i = 0; i < *k; i++) {
        val one = rlx_mir_slice(IR, ids, rank - 1, i, 1, 1);
        one = rlx_mir_reshape(IR, one, rank - 1, ids->type.dim);
        at[batch + i] = wrapped(x, one, a->type.dim[batch + i]);
    }
    *k += batch;
    return rlx_mir_place(IR, a, *k, at);
}

static void do_gather_nd(onnx *x)
{
    val a = ox_in(x, 0);
    int k = 0;
    val at = tuple_places(x, a, ox_in(x, 1), (int)ox_int(x, "batch_dims", 0), &k);
    ox_out(x, 0, rlx_mir_build_gather(IR, rlx_mir_flatten(IR, a, 0, k), at));
}

static void do_scatter_nd(onnx *x)
{
    val a = ox_in(x, 0), u = ox_in(x, 2);
    int k = 0;
    val at = tuple_places(x, a, ox_in(x, 1), 0, &k);
    if (!a || !u || !at)
        return;
    u = rlx_mir_flatten(IR, u, 0, at->type.rank);
    val y =
        rlx_mir_build_scatter(IR, reduction_of(x), rlx_mir_flatten(IR, a, 0, k), flat(x, at), u);
    ox_out(x, 0, rlx_mir_reshape(IR, y, a->type.rank, a->type.dim));
}

/* Rows of a cache from a place of each batch on. */
static void do_tensor_scatter(onnx *x)
{
    val a = ox_in(x, 0), u = ox_in(x, 1);
    if (!a || !u)
        return;
    int axis = ox_axis(a, ox_int(x, "axis", -2));
    val at[RLX_MAX_RANK];
    for (int i = 0; i < u->type.rank; i++)
        at[i] = rlx_mir_iota(IR, RLX_I64, u->type.rank, u->type.dim, i);
    int64_t first[RLX_MAX_RANK];
    for (int i = 0; i < u->type.rank; i++)
        first[i] = i == 0 ? u->type.dim[0] : 1;
    if (ox_has(x, 2))
        at[axis] = ADD(at[axis], rlx_mir_reshape(IR, ox_in(x, 2), u->type.rank, first));
    if (ox_text(x, "mode", "linear")[0] == 'c')
        at[axis] =
            rlx_mir_map2(IR, RLX_FN_MOD, at[axis], LIKE(at[axis], (double)a->type.dim[axis]));
    val y = rlx_mir_build_scatter(IR, RLX_FN_COUNT, flat(x, a),
                                  flat(x, rlx_mir_place(IR, a, a->type.rank, at)), flat(x, u));
    ox_out(x, 0, rlx_mir_reshape(IR, y, a->type.rank, a->type.dim));
}

/* The condition decides the shape, so it is known when the graph is made. */
static void do_compress(onnx *x)
{
    int64_t keep[ONNX_MAX_INTS];
    val a = ox_in(x, 0), parts[ONNX_MAX_INTS];
    int n = ox_ints(x, 1, keep), kept = 0, axis = 0;
    const int64_t none = INT64_MIN, at = ox_int(x, "axis", none);
    if (at == none)
        a = flat(x, a);
    else
        axis = ox_axis(a, at);
    for (int i = 0; i < n && i < ox_dim(a, axis); i++)
        if (keep[i])
            parts[kept++] = rlx_mir_slice(IR, a, axis, i, 1, 1);
    if (kept == 0)
        ox_out(x, 0, rlx_mir_slice(IR, a, axis, 0, 0, 1));
    else
        ox_out(x, 0, rlx_mir_build_concat(IR, kept, parts, axis));
}

static void do_reverse_sequence(onnx *x)
{
    val a = ox_in(x, 0), len = ox_in(x, 1);
    if (!a || !len)
        return;
    int batch = (int)ox_int(x, "batch_axis", 1), time = (int)ox_int(x, "time_axis", 0);
    int64_t dims[RLX_MAX_RANK];
    val at[RLX_MAX_RANK];
    for (int i = 0; i < a->type.rank; i++) {
        dims[i] = i == batch ? a->type.dim[i] : 1;
        at[i] = rlx_mir_iota(IR, RLX_I64, a->type.rank, a->type.dim, i);
    }
    len = rlx_mir_cast(IR, rlx_mir_reshape(IR, len, a->type.rank, dims), RLX_I64);
    val back = SUB(SUB(len, LIKE(len, 1)), at[time]);
    at[time] = PICK(LT(at[time], len), back, at[time]);
    ox_out(x, 0, rlx_mir_build_gather(IR, flat(x, a), rlx_mir_place(IR, a, a->type.rank, at)));
}

/* ---- order
 * ------------------------------------------------------------------------------------------- */

static void do_top_k(onnx *x)
{
    int64_t k[ONNX_MAX_INTS] = {1}, dims[RLX_MAX_RANK];
    val a = ox_in(x, 0);
    if (!a)
        return;
    ox_ints(x, 1, k);
    int rank = a->type.rank, axis = ox_axis(a, ox_int(x, "axis", -1));
    a = rlx_mir_move(IR, a, axis, rank - 1);
    val ranks = rlx_mir_ranks(IR, a, ox_int(x, "largest", 1));
    if (!ranks)
        return;
    /* [.., k, i]: the element i whose rank is k */
    memcpy(dims, a->type.dim, sizeof dims);
    dims[rank] = dims[rank - 1];
    dims[rank - 1] = k[0];
    val hit = EQ(rlx_mir_expand(IR, rlx_mir_insert(IR, ranks, rank - 1), rank + 1, dims),
                 rlx_mir_iota(IR, RLX_I64, rank + 1, dims, rank - 1));
    val at = rlx_mir_iota(IR, RLX_I64, rank + 1, dims, rank);
    val ids = rlx_mir_fold(IR, RLX_FN_MAX, PICK(hit, at, LIKE(at, 0)), 1u << rank, false);
    val places = element_places(x, a, ids, rank - 1);
    ox_out(x, 0, rlx_mir_move(IR, rlx_mir_build_gather(IR, flat(x, a), places), rank - 1, axis));
    ox_out(x, 1, rlx_mir_move(IR, ids, rank - 1, axis));
}

static void cumulate(onnx *x, rlx_map_fn fn)
{
    val a = ox_in(x, 0);
    int64_t at[ONNX_MAX_INTS] = {0};
    ox_ints(x, 1, at);
    if (!a)
        return;
    int last = a->type.rank - 1, axis = ox_axis(a, at[0]);
    int64_t d = a->type.dim[axis];
    bool back = ox_int(x, "reverse", 0);
    a = rlx_mir_move(IR, a, axis, last);
    if (back)
        a = rlx_mir_slice(IR, a, last, d - 1, d, -1);
    if (ox_int(x, "exclusive", 0))
        a = rlx_mir_pad(IR, a, last, 1, -1, LIKE(a, fn == RLX_FN_MUL));
    val y = rlx_mir_build_scan(IR, fn, a);
    if (back)
        y = rlx_mir_slice(IR, y, last, d - 1, d, -1);
    ox_out(x, 0, rlx_mir_move(IR, y, last, axis));
}

static void do_cum_sum(onnx *x)
{
    cumulate(x, RLX_FN_ADD);
}

static void do_cum_prod(onnx *x)
{
    cumulate(x, RLX_FN_MUL);
}

static void shaped_by_values(onnx *x)
{
    ox_refuse(x, "the shape of the result depends on values");
}

const onnx_op onnx_move[] = {OP(CenterCropPad, do_center_crop_pad),
                             OP(Compress, do_compress),
                             OP(Concat, do_concat),
                             OP_MAKES(ConstantOfShape, do_constant_of_shape),
                             OP(CumProd, do_cum_prod),
                             OP(CumSum, do_cum_sum),
                             OP(DepthToSpace, do_depth_to_space),
                             OP(Expand, do_expand),
                             OP_MAKES(EyeLike, do_eye_like),
                             OP(Flatten, do_flatten),
                             OP(Gather, do_gather),
                             OP(GatherElements, do_gather_elements),
                             OP(GatherND, do_gather_nd),
                             OP(NonMaxSuppression, shaped_by_values),
                             OP(NonZero, shaped_by_values),
                             OP(OneHot, do_one_hot),
                             OP_MAKES(OptionalHasElement, do_has_element),
                             OP(Pad, do_pad),
                             OP(Range, do_range),
                             OP(Reshape, do_reshape),
                             OP(ReverseSequence, do_reverse_sequence),
                             OP(Scatter, do_scatter_elements),
                             OP(ScatterElements, do_scatter_elements),
                             OP(ScatterND, do_scatter_nd),
                             OP_MAKES(Shape, do_shape),
                             OP_MAKES(Size, do_size),
                             OP(Slice, do_slice),
                             OP(SpaceToDepth, do_space_to_depth),
                             OP(Split, do_split),
                             OP(Squeeze, do_squeeze),
                             OP(TensorScatter, do_tensor_scatter),
                             OP(Tile, do_tile),
                             OP(TopK, do_top_k),
                             OP(Transpose, do_transpose),
                             OP(Trilu, do_trilu),
                             OP(Unique, shaped_by_values),
                             OP(Unsqueeze, do_unsqueeze),
                             OP_END};
