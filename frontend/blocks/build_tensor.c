/* frontend/blocks/build_tensor.c: tensor expressions of custom stages, by mir/mir_compose.h. */
#include "frontend/blocks/build.h"

/* ---- numbers and functions --------------------------------------------------------------------
 */

rlx_value *rlx_build_constant(rlx_builder *b, double value)
{
    return rlx_value_of(rlx_mir_build_const(rlx_builder_at(b, NULL), RLX_F32, value));
}

rlx_value *rlx_build_number(rlx_builder *b, rlx_format format, double value)
{
    return rlx_value_of(rlx_mir_build_const(rlx_builder_at(b, NULL), format, value));
}

rlx_value *rlx_build_size(rlx_builder *b, rlx_format format, int64_t extent)
{
    rlx_dim d;
    if (!rlx_builder_dims(b, "size", 1, &extent, &d))
        return NULL;
    return rlx_value_of(rlx_mir_extent(rlx_builder_at(b, NULL), d, format));
}

/* Floats of several formats meet in f64 if one has it, else in f32. Other operands stay. */
static void meet(rlx_builder *b, int n, rlx_value *const *x, rlx_ir_value **out)
{
    bool floats = true, differ = false, wide = false;
    for (int i = 0; i < n; i++) {
        const rlx_format f = rlx_value_format(x[i]);
        floats = floats && rlx_format_is_float(f);
        differ = differ || f != rlx_value_format(x[0]);
        wide = wide || f == RLX_F64;
        out[i] = rlx_value_ir(x[i]);
    }
    for (int i = 0; i < n && floats && differ; i++)
        out[i] = rlx_mir_cast(rlx_builder_at(b, x[i]), out[i], wide ? RLX_F64 : RLX_F32);
}

static const rlx_map_fn map_fns[] = {
    [RLX_MAP_ADD] = RLX_FN_ADD,     [RLX_MAP_SUB] = RLX_FN_SUB,
    [RLX_MAP_MUL] = RLX_FN_MUL,     [RLX_MAP_DIV] = RLX_FN_DIV,
    [RLX_MAP_MIN] = RLX_FN_MIN,     [RLX_MAP_MAX] = RLX_FN_MAX,
    [RLX_MAP_FMA] = RLX_FN_FMA,     [RLX_MAP_NEG] = RLX_FN_NEG,
    [RLX_MAP_ABS] = RLX_FN_ABS,     [RLX_MAP_SQRT] = RLX_FN_SQRT,
    [RLX_MAP_RSQRT] = RLX_FN_RSQRT, [RLX_MAP_EXP] = RLX_FN_EXP,
    [RLX_MAP_ROUND] = RLX_FN_ROUND, [RLX_MAP_FLOOR] = RLX_FN_FLOOR,
    [RLX_MAP_LOG] = RLX_FN_LOG,     [RLX_MAP_SIN] = RLX_FN_SIN,
    [RLX_MAP_COS] = RLX_FN_COS,     [RLX_MAP_ATAN] = RLX_FN_ATAN,
    [RLX_MAP_TANH] = RLX_FN_TANH,   [RLX_MAP_ERF] = RLX_FN_ERF,
    [RLX_MAP_MOD] = RLX_FN_MOD,     [RLX_MAP_LT] = RLX_FN_LT,
    [RLX_MAP_LE] = RLX_FN_LE,       [RLX_MAP_EQ] = RLX_FN_EQ,
    [RLX_MAP_AND] = RLX_FN_AND,     [RLX_MAP_OR] = RLX_FN_OR,
    [RLX_MAP_XOR] = RLX_FN_XOR,     [RLX_MAP_SHL] = RLX_FN_SHL,
    [RLX_MAP_SHR] = RLX_FN_SHR,     [RLX_MAP_SELECT] = RLX_FN_SELECT};

static rlx_value *map(rlx_builder *b, rlx_map fn, int n, rlx_value *const *x)
{
    if (!rlx_builder_all(b, "map", n, x))
        return NULL;
    if ((size_t)fn >= sizeof map_fns / sizeof *map_fns) {
        rlx_builder_note(b, RLX_FAIL(RLX_INVALID_ARGUMENT, "map: no function %d", (int)fn));
        return NULL;
    }
    const int first = fn == RLX_MAP_SELECT && n > 1; /* what decides is bool */
    rlx_ir_value *in[3] = {rlx_value_ir(x[0])};
    meet(b, n - first, x + first, in + first);
    return rlx_value_of(rlx_mir_map(rlx_builder_at(b, NULL), map_fns[fn], n, in));
}

rlx_value *rlx_build_map1(rlx_builder *b, rlx_map fn, rlx_value *x)
{
    return map(b, fn, 1, &x);
}

rlx_value *rlx_build_map2(rlx_builder *b, rlx_map fn, rlx_value *x, rlx_value *y)
{
    return map(b, fn, 2, (rlx_value *[]){x, y});
}

rlx_value *rlx_build_map3(rlx_builder *b, rlx_map fn, rlx_value *x, rlx_value *y, rlx_value *z)
{
    return map(b, fn, 3, (rlx_value *[]){x, y, z});
}

rlx_value *rlx_build_not(rlx_builder *b, rlx_value *x)
{
    return rlx_value_of(rlx_mir_not(rlx_builder_at(b, NULL), rlx_value_ir(x)));
}

rlx_value *rlx_build_clamp(rlx_builder *b, rlx_value *x, double low, double high)
{
    return rlx_value_of(rlx_mir_clamp(rlx_builder_at(b, NULL), rlx_value_ir(x), low, high));
}

rlx_value *rlx_build_sigmoid(rlx_builder *b, rlx_value *x)
{
    return rlx_value_of(rlx_mir_sigmoid(rlx_builder_at(b, NULL), rlx_value_ir(x)));
}

rlx_value *rlx_build_pow(rlx_builder *b, rlx_value *x, rlx_value *y)
{
    return rlx_value_of(rlx_mir_pow(rlx_builder_at(b, NULL), rlx_value_ir(x), rlx_value_ir(y)));
}

rlx_value *rlx_build_cast(rlx_builder *b, rlx_value *x, rlx_format format)
{
    return rlx_value_of(rlx_mir_cast(rlx_builder_at(b, x), rlx_value_ir(x), format));
}

rlx_value *rlx_build_saturate(rlx_builder *b, rlx_value *x, rlx_format format)
{
    return rlx_value_of(rlx_mir_saturate(rlx_builder_at(b, x), rlx_value_ir(x), format));
}

rlx_value *rlx_build_bitcast(rlx_builder *b, rlx_value *x, rlx_format format)
{
    return rlx_value_of(rlx_mir_build_bitcast(rlx_builder_at(b, x), rlx_value_ir(x), format));
}

/* ---- shapes ------------------------------------------------------------------------------------
 */

rlx_value *rlx_build_iota(rlx_builder *b, rlx_format format, int64_t extent)
{
    rlx_dim d;
    if (!rlx_builder_dims(b, "iota", 1, &extent, &d))
        return NULL;
    return rlx_value_of(rlx_mir_iota(rlx_builder_at(b, NULL), format, 1, &d, 0));
}

rlx_value *rlx_build_reshape(rlx_builder *b, rlx_value *x, int rank, const int64_t *dims)
{
    rlx_dim d[RLX_MAX_RANK];
    if (!rlx_builder_all(b, "reshape", 1, &x) || !rlx_builder_dims(b, "reshape", rank, dims, d))
        return NULL;
    return rlx_value_of(rlx_mir_reshape(rlx_builder_at(b, x), rlx_value_ir(x), rank, d));
}

rlx_value *rlx_build_expand(rlx_builder *b, rlx_value *x, int rank, const int64_t *dims)
{
    rlx_dim d[RLX_MAX_RANK];
    if (!rlx_builder_all(b, "expand", 1, &x) || !rlx_builder_dims(b, "expand", rank, dims, d))
        return NULL;
    return rlx_value_of(rlx_mir_expand(rlx_builder_at(b, x), rlx_value_ir(x), rank, d));
}

rlx_value *rlx_build_transpose(rlx_builder *b, rlx_value *x, const int64_t *perm)
{
    return rlx_value_of(rlx_mir_transpose(rlx_builder_at(b, x), rlx_value_ir(x), perm));
}

rlx_value *rlx_build_move(rlx_builder *b, rlx_value *x, int from, int to)
{
    if (!rlx_builder_axis(b, "move", x, &from) || !rlx_builder_axis(b, "move", x, &to))
        return NULL;
    return rlx_value_of(rlx_mir_move(rlx_builder_at(b, x), rlx_value_ir(x), from, to));
}

rlx_value *rlx_build_insert(rlx_builder *b, rlx_value *x, int axis)
{
    const int rank = rlx_value_rank(x);
    if (!rlx_builder_all(b, "insert", 1, &x))
        return NULL;
    if (axis < -rank - 1 || axis > rank) {
        rlx_builder_note(b, RLX_FAIL(RLX_INVALID_ARGUMENT,
                                     "insert: axis %d into a value of rank %d", axis, rank));
        return NULL;
    }
    return rlx_value_of(
        rlx_mir_insert(rlx_builder_at(b, x), rlx_value_ir(x), axis < 0 ? axis + rank + 1 : axis));
}

rlx_value *rlx_build_flatten(rlx_builder *b, rlx_value *x, int first, int last)
{
    if (!rlx_builder_axis(b, "flatten", x, &first) || !rlx_builder_axis(b, "flatten", x, &last))
        return NULL;
    if (first > last) {
        rlx_builder_note(
            b, RLX_FAIL(RLX_INVALID_ARGUMENT, "flatten: axis %d is behind axis %d", first, last));
        return NULL;
    }
    return rlx_value_of(rlx_mir_flatten(rlx_builder_at(b, x), rlx_value_ir(x), first, last + 1));
}

rlx_value *rlx_build_slice(rlx_builder *b, rlx_value *x, int axis, int64_t start, int64_t size,
                           int64_t step)
{
    if (!rlx_builder_axis(b, "slice", x, &axis))
        return NULL;
    return rlx_value_of(
        rlx_mir_slice(rlx_builder_at(b, x), rlx_value_ir(x), axis, start, size, step));
}

rlx_value *rlx_build_flip(rlx_builder *b, rlx_value *x, int axis)
{
    if (!rlx_builder_axis(b, "flip", x, &axis))
        return NULL;
    return rlx_value_of(rlx_mir_flip(rlx_builder_at(b, x), rlx_value_ir(x), axis));
}

rlx_value *rlx_build_pad(rlx_builder *b, rlx_value *x, int axis, int64_t low, int64_t high,
                         double fill)
{
    if (!rlx_builder_axis(b, "pad", x, &axis))
        return NULL;
    rlx_ir_builder *at = rlx_builder_at(b, x);
    rlx_ir_value *number = rlx_mir_like(at, rlx_value_ir(x), fill);
    return rlx_value_of(rlx_mir_pad(at, rlx_value_ir(x), axis, low, high, number));
}

rlx_value *rlx_build_window(rlx_builder *b, rlx_value *x, int axis, int64_t size, int64_t step,
                            int64_t dilation)
{
    if (!rlx_builder_axis(b, "window", x, &axis))
        return NULL;
    return rlx_value_of(
        rlx_mir_build_window(rlx_builder_at(b, x), rlx_value_ir(x), axis, size, step, dilation));
}

enum { MAX_PARTS = 64 };

rlx_value *rlx_build_concat(rlx_builder *b, int n, rlx_value *const *x, int axis)
{
    rlx_ir_value *in[MAX_PARTS];
    if (n < 1 || n > MAX_PARTS) {
        rlx_builder_note(b, RLX_FAIL(RLX_INVALID_ARGUMENT, "concat: %d values; there are 1 to %d",
                                     n, MAX_PARTS));
        return NULL;
    }
    if (!rlx_builder_all(b, "concat", n, x) || !rlx_builder_axis(b, "concat", x[0], &axis))
        return NULL;
    for (int i = 0; i < n; i++)
        in[i] = rlx_value_ir(x[i]);
    return rlx_value_of(rlx_mir_build_concat(rlx_builder_at(b, NULL), n, in, axis));
}

void rlx_build_split(rlx_builder *b, rlx_value *x, int axis, int n, const int64_t *sizes,
                     rlx_value **out)
{
    int64_t start = 0;
    for (int i = 0; i < n; i++)
        out[i] = NULL;
    if (!rlx_builder_axis(b, "split", x, &axis))
        return;
    for (int i = 0; i < n; start += sizes[i++]) {
        out[i] = rlx_build_slice(b, x, axis, start, sizes[i], 1);
        if (!out[i])
            return;
    }
    if (rlx_value_dim(x, axis) >= 0 && start != rlx_value_dim(x, axis))
        rlx_builder_note(b, RLX_FAIL(RLX_INVALID_ARGUMENT, "split: parts of %lld in all, of %lld",
                                     (long long)start, (long long)rlx_value_dim(x, axis)));
}

/* ---- folds --------------------------------------------------------------------------------------
 */

/* The fold behind a public name; of bools MIN and MAX are "and" and "or". */
static bool fold_fn(rlx_builder *b, const char *op, rlx_value *x, rlx_map fn, rlx_map_fn *out)
{
    const bool known = fn == RLX_MAP_ADD || fn == RLX_MAP_MUL || fn == RLX_MAP_MIN ||
                       fn == RLX_MAP_MAX || fn == RLX_MAP_AND || fn == RLX_MAP_OR;
    if (known)
        *out = map_fns[fn];
    else
        rlx_builder_note(
            b, RLX_FAIL(RLX_INVALID_ARGUMENT, "%s: folds with add, mul, min, max, and, or", op));
    return known && rlx_builder_all(b, op, 1, &x);
}

rlx_value *rlx_build_reduce(rlx_builder *b, rlx_map fn, rlx_value *x, int n, const int *axes,
                            bool keep)
{
    unsigned set;
    rlx_map_fn fold;
    if (!fold_fn(b, "reduce", x, fn, &fold) || !rlx_builder_axes(b, "reduce", x, n, axes, &set))
        return NULL;
    const int last = rlx_value_rank(x) - 1;
    if (last >= 0 && set == 1u << last && !keep && rlx_value_format(x) == RLX_F32)
        return rlx_value_of(rlx_mir_build_reduce(rlx_builder_at(b, NULL), fold, rlx_value_ir(x)));
    return rlx_value_of(rlx_mir_fold(rlx_builder_at(b, NULL), fold, rlx_value_ir(x), set, keep));
}

rlx_value *rlx_build_mean(rlx_builder *b, rlx_value *x, int n, const int *axes)
{
    unsigned set;
    if (!rlx_builder_axes(b, "mean", x, n, axes, &set))
        return NULL;
    return rlx_value_of(rlx_mir_mean(rlx_builder_at(b, NULL), rlx_value_ir(x), set));
}

rlx_value *rlx_build_scan(rlx_builder *b, rlx_map fn, rlx_value *x, int axis, bool exclusive,
                          bool reverse)
{
    rlx_map_fn fold;
    if (!fold_fn(b, "scan", x, fn, &fold) || !rlx_builder_axis(b, "scan", x, &axis))
        return NULL;
    return rlx_value_of(
        rlx_mir_scan(rlx_builder_at(b, NULL), fold, rlx_value_ir(x), axis, exclusive, reverse));
}

rlx_value *rlx_build_softmax(rlx_builder *b, rlx_value *x, int axis)
{
    if (!rlx_builder_axis(b, "softmax", x, &axis))
        return NULL;
    return rlx_value_of(rlx_mir_softmax(rlx_builder_at(b, NULL), rlx_value_ir(x), axis));
}

rlx_value *rlx_build_log_softmax(rlx_builder *b, rlx_value *x, int axis)
{
    if (!rlx_builder_axis(b, "log_softmax", x, &axis))
        return NULL;
    return rlx_value_of(rlx_mir_log_softmax(rlx_builder_at(b, NULL), rlx_value_ir(x), axis));
}

rlx_value *rlx_build_matmul(rlx_builder *b, rlx_value *x, rlx_value *y)
{
    rlx_value *const both[] = {x, y};
    rlx_ir_value *in[2];
    if (!rlx_builder_all(b, "matmul", 2, both))
        return NULL;
    meet(b, 2, both, in);
    return rlx_value_of(rlx_mir_matmul(rlx_builder_at(b, y), in[0], in[1]));
}

/* ---- indices ------------------------------------------------------------------------------------
 */

rlx_value *rlx_build_take(rlx_builder *b, rlx_value *x, rlx_value *ids, int axis)
{
    if (!rlx_builder_indices(b, "take", ids) || !rlx_builder_axis(b, "take", x, &axis))
        return NULL;
    return rlx_value_of(
        rlx_mir_take(rlx_builder_at(b, x), rlx_value_ir(x), rlx_value_ir(ids), axis));
}

rlx_value *rlx_build_take_along(rlx_builder *b, rlx_value *x, rlx_value *ids, int axis)
{
    if (!rlx_builder_indices(b, "take_along", ids) || !rlx_builder_axis(b, "take_along", x, &axis))
        return NULL;
    if (rlx_value_rank(ids) != rlx_value_rank(x)) {
        rlx_builder_note(b, RLX_FAIL(RLX_INVALID_ARGUMENT,
                                     "take_along: indices of rank %d for a value of rank %d",
                                     rlx_value_rank(ids), rlx_value_rank(x)));
        return NULL;
    }
    return rlx_value_of(
        rlx_mir_take_along(rlx_builder_at(b, x), rlx_value_ir(x), rlx_value_ir(ids), axis));
}

static rlx_value *scatter(rlx_builder *b, rlx_map_fn fn, rlx_value *x, rlx_value *ids, rlx_value *u)
{
    return rlx_value_of(rlx_mir_build_scatter(rlx_builder_at(b, NULL), fn, rlx_value_ir(x),
                                              rlx_value_ir(ids), rlx_value_ir(u)));
}

rlx_value *rlx_build_scatter(rlx_builder *b, rlx_value *x, rlx_value *ids, rlx_value *u)
{
    return scatter(b, RLX_FN_COUNT, x, ids, u);
}

rlx_value *rlx_build_scatter_fold(rlx_builder *b, rlx_map fn, rlx_value *x, rlx_value *ids,
                                  rlx_value *u)
{
    rlx_map_fn fold;
    return fold_fn(b, "scatter_fold", x, fn, &fold) ? scatter(b, fold, x, ids, u) : NULL;
}
