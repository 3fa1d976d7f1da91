/* mir/mir_conv.c: convolutions and pools of windows. */
#include <math.h>
#include <string.h>

#include "mir/mir_image.h"

static int64_t reach(const rlx_mir_windows *w, int i)
{
    return (w->size[i] - 1) * w->dilation[i] + 1;
}

rlx_dim rlx_mir_count_windows(rlx_dims *dims, const rlx_mir_windows *w, int i, rlx_dim extent)
{
    if (rlx_dim_is_const(extent)) {
        const int64_t room = extent + w->low[i] + w->high[i] - reach(w, i);
        return room < 0 ? RLX_DIM_INVALID : room / w->step[i] + 1;
    }
    if (w->low[i] < 0 || w->high[i] < 0)
        return RLX_DIM_INVALID;
    const rlx_dim padded = rlx_dim_make(dims, RLX_DIM_ADD, extent, w->low[i] + w->high[i]);
    return rlx_mir_window_pieces(dims, padded, reach(w, i), w->step[i]);
}

/* Padded, and each axis of places as two: [N,C,O1,K1,O2,K2..]. */
static rlx_ir_value *cut(rlx_ir_builder *b, rlx_ir_value *x, const rlx_mir_windows *w,
                         rlx_ir_value *fill)
{
    for (int i = 0; i < w->n; i++) {
        const int axis = 2 + 2 * i;
        x = rlx_mir_pad(b, x, axis, w->low[i], w->high[i], fill);
        if (!x)
            return NULL;
        x = rlx_mir_build_window(b, x, axis, w->size[i], w->step[i], w->dilation[i]);
    }
    return x;
}

rlx_ir_value *rlx_mir_windows_of(rlx_ir_builder *b, rlx_ir_value *x, const rlx_mir_windows *w,
                                 rlx_ir_value *fill)
{
    int64_t perm[RLX_MAX_RANK] = {0, 1};
    for (int i = 0; i < w->n; i++) {
        perm[2 + i] = 2 + 2 * i;
        perm[2 + w->n + i] = 3 + 2 * i;
    }
    return rlx_mir_transpose(b, cut(b, x, w, fill), perm);
}

static unsigned taps_of(const rlx_mir_windows *w)
{
    return (1u << (2 + 2 * w->n)) - (1u << (2 + w->n));
}

rlx_ir_value *rlx_mir_count_places(rlx_ir_builder *b, const rlx_ir_value *x,
                                   const rlx_mir_windows *w)
{
    rlx_dim dims[RLX_MAX_RANK] = {1, 1};
    for (int i = 0; x && i < w->n; i++)
        dims[2 + i] = x->type.dim[2 + i];
    rlx_ir_value *one = rlx_mir_build_const(b, RLX_F32, 1),
                 *zero = rlx_mir_build_const(b, RLX_F32, 0);
    rlx_ir_value *ones = x ? rlx_mir_expand(b, one, 2 + w->n, dims) : NULL;
    return rlx_mir_fold(b, RLX_FN_ADD, rlx_mir_windows_of(b, ones, w, zero), taps_of(w), false);
}

/* ---- convolutions ------------------------------------------------------------------------------
 */

/* Tiles of a contract want some columns, and a copy of the windows wants to be read more than a few
 * times. */
enum { LEAST_COLUMNS = 8, MOST_GROUPS = 8 };

static bool takes_contract(const rlx_ir_value *x, const rlx_ir_value *w, int64_t groups)
{
    return x->type.format == RLX_F32 && groups <= MOST_GROUPS &&
           w->type.dim[0] / groups >= LEAST_COLUMNS;
}

/* [N,C,O1,K1..] to rows [N,O..,C*K..]; constant places go into one axis. */
static rlx_ir_value *rows_of(rlx_ir_builder *b, rlx_ir_value *x, int n)
{
    int64_t perm[RLX_MAX_RANK] = {0};
    rlx_dim dims[RLX_MAX_RANK], taps = x ? x->type.dim[1] : 1, places = 1;
    for (int i = 0; x && i < n; i++) {
        perm[1 + i] = 2 + 2 * i;
        perm[2 + n + i] = 3 + 2 * i;
        dims[1 + i] = x->type.dim[2 + 2 * i];
        places = rlx_dim_make(b->module->dims, RLX_DIM_MUL, places, dims[1 + i]);
        taps *= x->type.dim[3 + 2 * i];
    }
    perm[1 + n] = 1;
    if (!x)
        return NULL;
    dims[0] = x->type.dim[0];
    dims[1 + n] = taps;
    const bool one = rlx_dim_is_const(places);
    if (one) {
        dims[1] = places;
        dims[2] = taps;
    }
    return rlx_mir_reshape(b, rlx_mir_transpose(b, x, perm), one ? 3 : 2 + n, dims);
}

/* Rows [N,O..,C*K..] of all groups against w [M,C/G,K..]: [N,O..,M]. */
static rlx_ir_value *contract_groups(rlx_ir_builder *b, rlx_ir_value *x, rlx_ir_value *w,
                                     int64_t groups)
{
    if (!x || !w)
        return NULL;
    const rlx_dim flat[] = {w->type.dim[0], x->type.dim[x->type.rank - 1] / groups};
    const int last = x->type.rank - 1;
    rlx_ir_value *rows = rlx_mir_reshape(b, w, 2, flat), *y[MOST_GROUPS];
    for (int64_t g = 0; g < groups; g++) {
        rlx_ir_value *part = rlx_mir_slice(b, x, last, g * flat[1], flat[1], 1);
        rlx_ir_value *of = rlx_mir_slice(b, rows, 0, g * flat[0] / groups, flat[0] / groups, 1);
        y[g] = rlx_mir_build_contract(b, part, rlx_mir_cast(b, of, RLX_F32));
    }
    return groups == 1 ? y[0] : rlx_mir_build_concat(b, (int)groups, y, last);
}

static rlx_ir_value *conv_contract(rlx_ir_builder *b, rlx_ir_value *x, rlx_ir_value *w,
                                   rlx_ir_value *bias, int64_t groups, const rlx_mir_windows *at)
{
    rlx_ir_value *cells = cut(b, x, at, rlx_mir_like(b, x, 0));
    rlx_ir_value *y = contract_groups(b, rows_of(b, cells, at->n), w, groups);
    if (bias)
        y = rlx_mir_map2(b, RLX_FN_ADD, y, rlx_mir_cast(b, bias, RLX_F32));
    y = rlx_mir_move(b, y, y ? y->type.rank - 1 : 0, 1);
    if (!y)
        return NULL;
    rlx_dim dims[RLX_MAX_RANK] = {y->type.dim[0], y->type.dim[1]};
    for (int i = 0; i < at->n; i++)
        dims[2 + i] = cells->type.dim[2 + 2 * i];
    return rlx_mir_reshape(b, y, 2 + at->n, dims);
}

/* A bias [M] along axis 1. */
static rlx_ir_value *add_channels(rlx_ir_builder *b, rlx_ir_value *y, rlx_ir_value *bias)
{
    rlx_dim dims[RLX_MAX_RANK] = {bias && bias->type.rank ? bias->type.dim[0] : 1, 1, 1, 1};
    if (!bias || !y)
        return bias ? NULL : y;
    bias = rlx_mir_cast(b, rlx_mir_reshape(b, bias, y->type.rank - 1, dims), y->type.format);
    return rlx_mir_map2(b, RLX_FN_ADD, y, bias);
}

/* Windows [N,C,O..,K..] with w [M,C/G,K..] -> [N,M,O..]. */
static rlx_ir_value *fold_windows(rlx_ir_builder *b, rlx_ir_value *x, rlx_ir_value *w,
                                  int64_t groups, int n)
{
    if (!x || !w)
        return NULL;
    rlx_dim dims[RLX_MAX_RANK] = {x->type.dim[0], w->type.dim[0]};
    memcpy(dims + 2, x->type.dim + 2, sizeof *dims * (size_t)n);
    int flat = n;
    if (n > 2) { /* one axis for all places and one for all taps: ranks end at 8 */
        x = rlx_mir_flatten(b, rlx_mir_flatten(b, x, 2 + n, 2 + 2 * n), 2, 2 + n);
        w = rlx_mir_flatten(b, w, 2, 2 + n);
        flat = 1;
    }
    if (!x || !w)
        return NULL;
    /* [N, G, 1, C/G, O.., K..] and [1, G, M/G, C/G, 1.., K..] */
    const int rank = 4 + 2 * flat;
    const int64_t channels = x->type.dim[1], out = w->type.dim[0];
    rlx_dim left[RLX_MAX_RANK] = {x->type.dim[0], groups, 1, channels / groups};
    rlx_dim right[RLX_MAX_RANK] = {1, groups, out / groups, channels / groups};
    for (int i = 0; i < flat; i++) {
        left[4 + i] = x->type.dim[2 + i];
        right[4 + i] = 1;
        left[4 + flat + i] = right[4 + flat + i] = w->type.dim[2 + i];
    }
    rlx_ir_value *taps = rlx_mir_cast(b, rlx_mir_reshape(b, w, rank, right), x->type.format);
    rlx_ir_value *y = rlx_mir_map2(b, RLX_FN_MUL, rlx_mir_reshape(b, x, rank, left), taps);
    y = rlx_mir_fold(b, RLX_FN_ADD, y, rlx_mir_last_axes(y, 4 + flat) | 8u, false);
    return rlx_mir_reshape(b, y, 2 + n, dims);
}

rlx_ir_value *rlx_mir_conv(rlx_ir_builder *b, rlx_ir_value *x, rlx_ir_value *w, rlx_ir_value *bias,
                           int64_t groups, const rlx_mir_windows *at)
{
    if (!x || !w)
        return NULL;
    if (takes_contract(x, w, groups))
        return conv_contract(b, x, w, bias, groups, at);
    rlx_ir_value *windows = rlx_mir_windows_of(b, x, at, rlx_mir_like(b, x, 0));
    return add_channels(b, fold_windows(b, windows, w, groups, at->n), bias);
}

/* [C,M/G,K..], K backwards, to [M,C/G,K..]. */
static rlx_ir_value *turn_kernel(rlx_ir_builder *b, rlx_ir_value *w, int64_t groups, int n)
{
    for (int i = 0; i < n; i++)
        w = rlx_mir_flip(b, w, 2 + i);
    if (!w)
        return NULL;
    rlx_dim dims[RLX_MAX_RANK] = {groups, w->type.dim[0] / groups};
    memcpy(dims + 2, w->type.dim + 1, sizeof *dims * (size_t)(n + 1));
    return rlx_mir_flatten(b, rlx_mir_move(b, rlx_mir_reshape(b, w, 3 + n, dims), 1, 2), 0, 2);
}

/* A convolution of x with zeros between its elements, and the kernel turned around. */
rlx_ir_value *rlx_mir_conv_transpose(rlx_ir_builder *b, rlx_ir_value *x, rlx_ir_value *w,
                                     rlx_ir_value *bias, int64_t groups, const rlx_mir_windows *at,
                                     const int64_t *more)
{
    rlx_mir_windows whole = *at;
    for (int i = 0; i < at->n && x; i++) {
        const int axis = 2 + i;
        const int64_t extent = (x->type.dim[axis] - 1) * at->step[i] + 1;
        x = rlx_mir_insert(b, x, axis + 1);
        x = rlx_mir_pad(b, x, axis + 1, 0, at->step[i] - 1, rlx_mir_like(b, x, 0));
        x = rlx_mir_flatten(b, x, axis, axis + 2);
        x = rlx_mir_slice(b, x, axis, 0, extent, 1);
        whole.low[i] = reach(at, i) - 1 - at->low[i];
        whole.high[i] = reach(at, i) - 1 - at->high[i] + more[i];
        whole.step[i] = 1;
    }
    return rlx_mir_conv(b, x, turn_kernel(b, w, groups, at->n), bias, groups, &whole);
}

/* ---- pools ------------------------------------------------------------------------------------
 */

rlx_ir_value *rlx_mir_least(rlx_ir_builder *b, const rlx_ir_value *x)
{
    if (!x)
        return NULL;
    const rlx_format f = x->type.format;
    if (rlx_format_is_float(f))
        return rlx_mir_like(b, x, -INFINITY);
    const bool is_unsigned = rlx_format_get(f)->kind == RLX_KIND_UINT;
    return rlx_mir_like(b, x, is_unsigned ? 0 : -ldexp(1, 8 * (int)rlx_format_bytes(f, 1) - 1));
}

rlx_ir_value *rlx_mir_max_pool(rlx_ir_builder *b, rlx_ir_value *x, const rlx_mir_windows *w)
{
    rlx_ir_value *windows = rlx_mir_windows_of(b, x, w, rlx_mir_least(b, x));
    return rlx_mir_fold(b, RLX_FN_MAX, windows, taps_of(w), false);
}

/* Where elements lie in the plane S.., row-major: [1,1,S..]. */
static rlx_ir_value *places_in_plane(rlx_ir_builder *b, const rlx_ir_value *x,
                                     const rlx_mir_windows *w)
{
    rlx_dim plane[RLX_MAX_RANK] = {1, 1};
    rlx_ir_value *place = rlx_mir_build_const(b, RLX_I64, 0);
    memcpy(plane + 2, x->type.dim + 2, sizeof *plane * (size_t)w->n);
    for (int i = 0; i < w->n; i++) {
        rlx_ir_value *at = rlx_mir_iota(b, RLX_I64, 2 + w->n, plane, 2 + i);
        place = rlx_mir_map2(b, RLX_FN_MUL, place, rlx_mir_extent(b, plane[2 + i], RLX_I64));
        place = rlx_mir_map2(b, RLX_FN_ADD, place, at);
    }
    return place;
}

/* Windows whose largest is y[N,C,O..]: whether each of their elements is it, [N,C,O..,K..]. */
static rlx_ir_value *is_largest(rlx_ir_builder *b, rlx_ir_value *windows, rlx_ir_value *y,
                                const rlx_mir_windows *w)
{
    rlx_dim dims[RLX_MAX_RANK];
    memcpy(dims, y->type.dim, sizeof dims);
    for (int i = 0; i < w->n; i++)
        dims[2 + w->n + i] = 1;
    return rlx_mir_map2(b, RLX_FN_EQ, windows, rlx_mir_reshape(b, y, 2 + 2 * w->n, dims));
}

rlx_ir_value *rlx_mir_max_pool_places(rlx_ir_builder *b, rlx_ir_value *x, const rlx_mir_windows *w,
                                      rlx_ir_value **y)
{
    if (!x || !*y)
        return NULL;
    rlx_ir_value *none = rlx_mir_build_const(b, RLX_I64, 9007199254740992.0 /* 2^53 */);
    rlx_ir_value *places = rlx_mir_windows_of(b, places_in_plane(b, x, w), w, none);
    rlx_ir_value *windows = rlx_mir_windows_of(b, x, w, rlx_mir_least(b, x));
    rlx_ir_value *best = is_largest(b, windows, *y, w);
    if (rlx_format_is_float(x->type.format)) { /* NaNs are largest, as in orders */
        rlx_ir_value *nan = rlx_mir_not(b, rlx_mir_map2(b, RLX_FN_EQ, windows, windows));
        rlx_ir_value *any = rlx_mir_fold(b, RLX_FN_OR, nan, taps_of(w), true);
        best =
            rlx_mir_map2(b, RLX_FN_OR, nan, rlx_mir_map2(b, RLX_FN_AND, rlx_mir_not(b, any), best));
        any = any ? rlx_mir_reshape(b, any, 2 + w->n, any->type.dim) : NULL;
        *y = rlx_mir_pick(b, any, rlx_mir_like(b, *y, NAN), *y);
    }
    return rlx_mir_fold(b, RLX_FN_MIN, rlx_mir_pick(b, best, places, none), taps_of(w), false);
}

rlx_ir_value *rlx_mir_mean_pool(rlx_ir_builder *b, rlx_ir_value *x, const rlx_mir_windows *w,
                                bool count_padding)
{
    double taps = 1;
    for (int i = 0; i < w->n; i++)
        taps *= (double)w->size[i];
    rlx_ir_value *windows = rlx_mir_windows_of(b, x, w, x ? rlx_mir_like(b, x, 0) : NULL);
    rlx_ir_value *sum = rlx_mir_fold(b, RLX_FN_ADD, windows, taps_of(w), false);
    if (count_padding)
        return rlx_mir_map_num(b, RLX_FN_DIV, sum, taps);
    return rlx_mir_map2(b, RLX_FN_DIV, sum, rlx_mir_count_places(b, x, w));
}

rlx_ir_value *rlx_mir_adaptive_pool(rlx_ir_builder *b, rlx_ir_value *x, int axis, int64_t out,
                                    bool largest)
{
    if (!x)
        return NULL;
    const int64_t extent = x->type.dim[axis], most = (extent + out - 1) / out + 1;
    const rlx_dim dims[] = {out, most};
    /* tap k of part o, and whether it is one of its elements */
    rlx_ir_value *o = rlx_mir_iota(b, RLX_I64, 2, dims, 0);
    rlx_ir_value *from = rlx_mir_map_num(b, RLX_FN_MUL, o, (double)extent);
    rlx_ir_value *to = rlx_mir_map_num(b, RLX_FN_ADD, from, (double)(extent + out - 1));
    from = rlx_mir_map_num(b, RLX_FN_DIV, from, (double)out);
    to = rlx_mir_map_num(b, RLX_FN_DIV, to, (double)out);
    rlx_ir_value *tap = rlx_mir_map2(b, RLX_FN_ADD, from, rlx_mir_iota(b, RLX_I64, 2, dims, 1));
    rlx_ir_value *inside = rlx_mir_map2(b, RLX_FN_LT, tap, to);
    rlx_ir_value *held = rlx_mir_map_num(b, RLX_FN_MIN, tap, (double)(extent - 1));
    /* [.., out, most], with the axis last */
    const int last = x->type.rank - 1;
    rlx_ir_value *y = rlx_mir_take(b, rlx_mir_move(b, x, axis, last), held, last);
    y = rlx_mir_pick(b, inside, y, largest ? rlx_mir_least(b, x) : rlx_mir_like(b, x, 0));
    y = rlx_mir_fold(b, largest ? RLX_FN_MAX : RLX_FN_ADD, y, 1u << (last + 1), false);
    if (!largest) {
        rlx_ir_value *n = rlx_mir_cast(b, rlx_mir_map2(b, RLX_FN_SUB, to, from), RLX_F32);
        y = rlx_mir_map2(b, RLX_FN_DIV, y, rlx_mir_fold(b, RLX_FN_MAX, n, 2u, false));
    }
    return rlx_mir_move(b, y, last, axis);
}
