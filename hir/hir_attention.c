/* hir/hir_attention.c: biases that follow from positions, and windows of images. */
#include "hir/hir_attention.h"

#include <math.h>

/* ---- biases ---------------------------------------------------------------------------------- */

/* key - query, i32 [S,K]. */
static rlx_ir_value *distances(rlx_ir_builder *b, rlx_dim queries, rlx_dim keys)
{
    const rlx_dim dims[] = {queries, keys};
    rlx_ir_value *i = rlx_mir_iota(b, RLX_I32, 2, dims, 0);
    rlx_ir_value *j = rlx_mir_iota(b, RLX_I32, 2, dims, 1);
    return rlx_mir_map2(b, RLX_FN_SUB, j, i);
}

static rlx_ir_value *magnitude(rlx_ir_builder *b, rlx_ir_value *x)
{
    rlx_ir_value *negated = rlx_mir_map2(b, RLX_FN_SUB, x ? rlx_mir_like(b, x, 0) : NULL, x);
    return rlx_mir_map2(b, RLX_FN_MAX, x, negated);
}

/* The least distance in bucket `bucket` of `n`, of which the first half are exact; rounded to f32
 * where the references (transformers, MPNetEncoder.relative_position_bucket and T5Attention) round.
 */
static int64_t bucket_start(int64_t bucket, int64_t n, int64_t max_distance)
{
    const int64_t exact = n / 2;
    const float scale = (float)log((double)max_distance / (double)exact);
    int64_t d = exact;
    for (; d < max_distance; d++) {
        const float share = (float)log((double)((float)d / (float)exact)) / scale;
        if (exact + (int64_t)(share * (float)(n - exact)) >= bucket)
            break;
    }
    return d;
}

rlx_ir_value *rlx_hir_build_bucket_bias(rlx_ir_builder *b, rlx_ir_value *table, rlx_dim queries,
                                        rlx_dim keys, int64_t max_distance, bool one_sided)
{
    if (!table)
        return NULL;
    const int64_t buckets = table->type.dim[0], n = one_sided ? buckets : buckets / 2;
    if (table->type.rank != 2 || n < 4 || max_distance <= n / 2) {
        rlx_ir_builder_fail(b, RLX_FAIL(RLX_INVALID_ARGUMENT,
                                        "a bias by buckets: a table of rank %d with %lld rows, "
                                        "distances up to %lld",
                                        table->type.rank, (long long)buckets,
                                        (long long)max_distance));
        return NULL;
    }
    rlx_ir_value *ahead = distances(b, queries, keys);
    rlx_ir_value *far =
        one_sided
            ? rlx_mir_map_num(b, RLX_FN_MAX,
                              rlx_mir_map2(b, RLX_FN_SUB, rlx_mir_like(b, ahead, 0), ahead), 0)
            : magnitude(b, ahead);
    rlx_ir_value *bucket = rlx_mir_map_num(b, RLX_FN_MIN, far, (double)(n / 2));
    for (int64_t k = n / 2 + 1; far && k < n; k++) {
        rlx_ir_value *start = rlx_mir_like(b, far, (double)bucket_start(k, n, max_distance));
        rlx_ir_value *reached = rlx_mir_map2(b, RLX_FN_LE, start, far);
        bucket = rlx_mir_map2(b, RLX_FN_ADD, bucket, rlx_mir_cast(b, reached, RLX_I32));
    }
    if (!one_sided && ahead) {
        rlx_ir_value *behind = rlx_mir_map2(b, RLX_FN_LT, rlx_mir_like(b, ahead, 0), ahead);
        rlx_ir_value *offset =
            rlx_mir_map_num(b, RLX_FN_MUL, rlx_mir_cast(b, behind, RLX_I32), (double)n);
        bucket = rlx_mir_map2(b, RLX_FN_ADD, bucket, offset);
    }
    rlx_ir_value *rows = rlx_mir_build_gather(b, rlx_mir_cast(b, table, RLX_F32), bucket);
    return rlx_mir_move(b, rows, 2, 0);
}

/* exp(-step * (first + stride * h)) for h < n, f32 [n]. */
static rlx_ir_value *slope_series(rlx_ir_builder *b, int64_t n, double step, double first,
                                  double stride)
{
    rlx_ir_value *h = rlx_mir_iota(b, RLX_F64, 1, &n, 0);
    h = rlx_mir_map_num(b, RLX_FN_MUL, h, -step * stride);
    h = rlx_mir_map_num(b, RLX_FN_ADD, h, -step * first);
    return rlx_mir_cast(b, rlx_mir_map1(b, RLX_FN_EXP, h), RLX_F32);
}

rlx_ir_value *rlx_hir_build_alibi(rlx_ir_builder *b, int64_t heads, rlx_dim queries, rlx_dim keys)
{
    if (heads <= 0) {
        rlx_ir_builder_fail(
            b, RLX_FAIL(RLX_INVALID_ARGUMENT, "alibi of %lld heads", (long long)heads));
        return NULL;
    }
    int64_t whole = 1; /* the largest power of two */
    while (2 * whole <= heads)
        whole *= 2;
    const double step = 8 * log(2) / (double)whole;
    rlx_ir_value *parts[2] = {slope_series(b, whole, step, 1, 1)}, *slopes = parts[0];
    if (heads > whole) {
        parts[1] = slope_series(b, heads - whole, step / 2, 1, 2);
        slopes = rlx_mir_build_concat(b, 2, parts, 0);
    }
    const rlx_dim dims[] = {heads, queries, keys};
    const int64_t axis = 0;
    rlx_ir_value *far = rlx_mir_cast(b, magnitude(b, distances(b, queries, keys)), RLX_F32);
    slopes = rlx_mir_build_broadcast(b, slopes, 3, dims, &axis);
    return rlx_mir_map1(b, RLX_FN_NEG, rlx_mir_map2(b, RLX_FN_MUL, slopes, far));
}

/* A table of distances for `size` places, 2 size - 1 rows: resized as torch does it linearly. */
static rlx_ir_value *fit_table(rlx_ir_builder *b, rlx_ir_value *table, int64_t size)
{
    const int64_t from = table->type.dim[0], to = 2 * size - 1;
    table = rlx_mir_cast(b, table, RLX_F32);
    if (from == to)
        return table;
    rlx_ir_value *at = rlx_mir_iota(b, RLX_F32, 1, &to, 0);
    at = rlx_mir_map_num(b, RLX_FN_ADD, at, 0.5);
    at = rlx_mir_map_num(b, RLX_FN_MUL, at, (double)((float)from / (float)to));
    at = rlx_mir_clamp(b, rlx_mir_map_num(b, RLX_FN_SUB, at, 0.5), 0, (double)(from - 1));
    rlx_ir_value *low = rlx_mir_map1(b, RLX_FN_FLOOR, at);
    rlx_ir_value *share = rlx_mir_insert(b, rlx_mir_map2(b, RLX_FN_SUB, at, low), 1);
    low = rlx_mir_cast(b, low, RLX_I32);
    rlx_ir_value *high = rlx_mir_map_num(b, RLX_FN_ADD, low, 1);
    high = rlx_mir_map_num(b, RLX_FN_MIN, high, (double)(from - 1));
    rlx_ir_value *x = rlx_mir_build_gather(b, table, low),
                 *y = rlx_mir_build_gather(b, table, high);
    return rlx_mir_map2(b, RLX_FN_ADD, x,
                        rlx_mir_map2(b, RLX_FN_MUL, rlx_mir_map2(b, RLX_FN_SUB, y, x), share));
}

/* q f32[B,N,H,W,D] with the rows of distances along `axis` (2 or 3) -> f32[B,N,H,W,size]. */
static rlx_ir_value *along(rlx_ir_builder *b, rlx_ir_value *q, rlx_ir_value *table, int axis,
                           int64_t size)
{
    const rlx_dim square[] = {size, size};
    rlx_ir_value *i = rlx_mir_iota(b, RLX_I32, 2, square, 0);
    rlx_ir_value *j = rlx_mir_iota(b, RLX_I32, 2, square, 1);
    rlx_ir_value *row =
        rlx_mir_map_num(b, RLX_FN_ADD, rlx_mir_map2(b, RLX_FN_SUB, i, j), (double)(size - 1));
    rlx_ir_value *rows =
        rlx_mir_build_gather(b, fit_table(b, table, size), row); /* [size,size,D] */
    if (axis == 2)
        rows = rlx_mir_insert(b, rows, 1); /* [H,1,size,D]; along W [W,size,D] */
    rlx_ir_value *y = rlx_mir_map2(b, RLX_FN_MUL, rlx_mir_insert(b, q, 4), rows);
    return rlx_mir_fold(b, RLX_FN_ADD, y, 1u << 5, false);
}

rlx_ir_value *rlx_hir_build_grid_bias(rlx_ir_builder *b, rlx_ir_value *q, rlx_ir_value *table_h,
                                      rlx_ir_value *table_w, int64_t height, int64_t width)
{
    if (!q || !table_h || !table_w)
        return NULL;
    const rlx_ir_type *t = &q->type;
    if (t->rank != 4 || height <= 0 || width <= 0 || t->dim[1] != height * width ||
        table_h->type.rank != 2 || table_w->type.rank != 2 || table_h->type.dim[1] != t->dim[3] ||
        table_w->type.dim[1] != t->dim[3]) {
        rlx_ir_builder_fail(b,
                            RLX_FAIL(RLX_INVALID_ARGUMENT,
                                     "a bias of a grid of %lld x %lld takes q f32[B,H*W,N,D] and "
                                     "tables [L,D]",
                                     (long long)height, (long long)width));
        return NULL;
    }
    const rlx_dim batch = t->dim[0], heads = t->dim[2];
    const rlx_dim split[] = {batch, heads, height, width, t->dim[3]};
    q = rlx_mir_reshape(b, rlx_mir_move(b, q, 2, 1), 5, split);
    rlx_ir_value *h = rlx_mir_insert(b, along(b, q, table_h, 2, height), 5);
    rlx_ir_value *w = rlx_mir_insert(b, along(b, q, table_w, 3, width), 4);
    const rlx_dim flat[] = {batch, heads, height * width, height * width};
    return rlx_mir_reshape(b, rlx_mir_map2(b, RLX_FN_ADD, h, w), 4, flat);
}

/* ---- windows of images ----------------------------------------------------------------------- */

static int64_t pieces(int64_t length, int64_t size)
{
    return (length + size - 1) / size;
}

static rlx_dim times(rlx_ir_builder *b, rlx_dim d, int64_t by)
{
    return rlx_dim_make(b->module->dims, RLX_DIM_MUL, d, by);
}

rlx_ir_value *rlx_hir_build_window_partition(rlx_ir_builder *b, rlx_ir_value *x, int64_t size)
{
    if (!x)
        return NULL;
    const rlx_ir_type t = x->type;
    if (t.rank != 4 || size <= 0 || t.dim[1] <= 0 || t.dim[2] <= 0) {
        rlx_ir_builder_fail(b, RLX_FAIL(RLX_INVALID_ARGUMENT,
                                        "windows of %lld take x [B,H,W,C] with constant H and W",
                                        (long long)size));
        return NULL;
    }
    const int64_t nh = pieces(t.dim[1], size), nw = pieces(t.dim[2], size);
    rlx_ir_value *zero = rlx_mir_like(b, x, 0);
    x = rlx_mir_pad(b, x, 1, 0, nh * size - t.dim[1], zero);
    x = rlx_mir_pad(b, x, 2, 0, nw * size - t.dim[2], zero);
    const rlx_dim cut[] = {t.dim[0], nh, size, nw, size, t.dim[3]};
    const rlx_dim out[] = {times(b, t.dim[0], nh * nw), size, size, t.dim[3]};
    x = rlx_mir_move(b, rlx_mir_reshape(b, x, 6, cut), 3, 2);
    return rlx_mir_reshape(b, x, 4, out);
}

rlx_ir_value *rlx_hir_build_window_join(rlx_ir_builder *b, rlx_ir_value *x, rlx_dim batch,
                                        int64_t height, int64_t width)
{
    if (!x)
        return NULL;
    const rlx_ir_type t = x->type;
    const int64_t size = t.rank == 4 ? t.dim[1] : 0;
    const int64_t nh = size > 0 ? pieces(height, size) : 0, nw = size > 0 ? pieces(width, size) : 0;
    if (size <= 0 || t.dim[2] != size || height <= 0 || width <= 0 ||
        t.dim[0] != times(b, batch, nh * nw)) {
        rlx_ir_builder_fail(b, RLX_FAIL(RLX_INVALID_ARGUMENT,
                                        "joining to %lld x %lld takes windows [B*..,s,s,C] of so "
                                        "many images",
                                        (long long)height, (long long)width));
        return NULL;
    }
    const rlx_dim cut[] = {batch, nh, nw, size, size, t.dim[3]};
    const rlx_dim whole[] = {batch, nh * size, nw * size, t.dim[3]};
    x = rlx_mir_move(b, rlx_mir_reshape(b, x, 6, cut), 3, 2);
    x = rlx_mir_reshape(b, x, 4, whole);
    return rlx_mir_slice(b, rlx_mir_slice(b, x, 1, 0, height, 1), 2, 0, width, 1);
}
