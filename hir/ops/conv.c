/* hir/ops/conv.c: convolutions over one to three axes of places, as correlations: y[o] sums
 * x[o*stride - low + k*dilation] * w[k]
 *   in   x f32[N,C,S..];  w [M,C/G,K..];  b [M] (optional)        out  f32[N,M,O..]
 *   or   i32, all of them
 *   conv_transpose: w [C,M/G,K..]; what conv reads from an element is added to it:
 *   O = (S-1)*stride - low - high + (K-1)*dilation + 1 + more
 *   C1  x is f32[N,C,S..] (conv: or i32), C constant, one to three axes of places;
 *       conv_transpose: S.. constant.
 *   C2  w is a float tensor (i32 as x is) of x's rank without symbols; its channels are x's of one of the groups,
 *       and the groups divide the others.
 *   C3  there are two or three operands; b is such a tensor [M].
 *   C4  strides and dilations are lists of positive numbers, one per axis of places; pads two lists
 *       behind one another, low and high, of numbers >= 0; groups is > 0. more is a list of numbers
 *       >= 0, each below its stride or dilation.
 *   C5  a window fits; in an axis of symbolic extent pads are what it reaches over, or more.
 */
#include "hir/ops/places.h"

#include <string.h>

static int64_t groups_of(const rlx_ir_node *n)
{
    return rlx_ir_attr_int(n, RLX_ATTR_GROUPS, 1);
}

static bool is_fixed(const rlx_ir_type *t, int from)
{
    for (int i = from; i < t->rank; i++)
        if (!rlx_dim_is_const(t->dim[i]) || t->dim[i] == 0)
            return false;
    return true;
}

/* Of integers, as quantized models have them. */
static bool is_whole(const rlx_ir_node *n)
{
    return n->op == RLX_HIR_CONV && n->in[0]->type.format == RLX_I32;
}

/* What w and b may be. */
static bool is_factor(const rlx_ir_node *n, const rlx_ir_value *v, int rank)
{
    return is_whole(n) ? rlx_hir_is(v, RLX_I32, rank) : rlx_hir_is_weight(v, rank);
}

/* C1 to C4; `in` and `out` are w's axes of x's channels and of the result's. */
static rlx_status verify(rlx_ir_module *m, const rlx_ir_node *n, int in, int64_t *channels,
                         rlx_mir_windows *w)
{
    RLX_TRY(rlx_hir_require_places_of(m, n, "C1", is_whole(n) ? RLX_I32 : RLX_F32));
    const rlx_ir_type *x = &n->in[0]->type, *k = &n->in[1]->type;
    const int64_t groups = groups_of(n);
    RLX_IR_REQUIRE(m, n, "C4", groups > 0, "groups=%lld", (long long)groups);
    RLX_HIR_REQUIRE_TYPE(m, n, "C2", is_factor(n, n->in[1], x->rank) && is_fixed(k, 0), 1,
                         is_whole(n) ? "w is an i32 of x's rank, without symbols"
                                     : "w is a float of x's rank, without symbols");
    const int64_t own = in ? k->dim[1] * groups : k->dim[0];
    RLX_IR_REQUIRE(m, n, "C2", own == x->dim[1] && k->dim[0] % groups == 0,
                   "w takes %lld channels in %lld groups, x has %lld", (long long)own,
                   (long long)groups, (long long)x->dim[1]);
    *channels = in ? k->dim[0] : k->dim[1] * groups;
    RLX_IR_REQUIRE(m, n, "C3", n->nin <= 3, "%d operands, at most 3", n->nin);
    if (n->nin == 3)
        RLX_HIR_REQUIRE_TYPE(
            m, n, "C3", is_factor(n, n->in[2], 1) && n->in[2]->type.dim[0] == *channels, 2,
            is_whole(n) ? "b is an i32 [M] with the M of w" : "b is a float [M] with the M of w");
    RLX_TRY(rlx_hir_read_windows(m, n, "C4", w));
    memcpy(w->size, k->dim + 2, sizeof *w->size * (size_t)w->n);
    return RLX_OK;
}

rlx_status rlx_hir_conv_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    rlx_ir_type y;
    return rlx_hir_conv_infer(m, n, &y);
}

rlx_status rlx_hir_conv_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results)
{
    rlx_mir_windows w;
    int64_t channels;
    RLX_TRY(verify(m, n, 1, &channels, &w));
    RLX_TRY(rlx_hir_count_windows(m, n, "C5", &w, &results[0]));
    results[0].dim[1] = channels;
    return RLX_OK;
}

/* Places and channels of one convolution. */
typedef struct loops {
    rlx_mir_windows w;
    rlx_hir_cube in, out, taps;
    int64_t batch, channels_in, channels_out, groups;
} loops;

static loops loops_of(const rlx_ir_node *n, rlx_eval_tensor *const *in, const rlx_eval_tensor *out)
{
    loops l = {.w = rlx_hir_get_windows(n, in[1]->dim + 2),
               .batch = out->dim[0],
               .channels_in = in[0]->dim[1],
               .channels_out = out->dim[1],
               .groups = groups_of(n)};
    l.in = rlx_hir_cube_of(l.w.n, in[0]->dim + 2, 1);
    l.out = rlx_hir_cube_of(l.w.n, out->dim + 2, 1);
    l.taps = rlx_hir_cube_of(l.w.n, l.w.size, 1);
    return l;
}

/* The place that tap k of the window at o reads. */
static int64_t read_by(const loops *l, rlx_hir_cube windows, rlx_hir_cube extent, int64_t o,
                       int64_t k)
{
    const rlx_hir_cube at = rlx_hir_cube_at(windows, o), tap = rlx_hir_cube_at(l->taps, k);
    rlx_hir_cube place = {{0, 0, 0}};
    for (int i = 0; i < l->w.n; i++)
        place.d[i] = at.d[i] * l->w.step[i] - l->w.low[i] + tap.d[i] * l->w.dilation[i];
    return rlx_hir_cube_index(extent, place);
}

rlx_status rlx_hir_conv_eval(rlx_hir_eval_cx *cx, const rlx_ir_node *n, rlx_eval_tensor *const *in,
                             rlx_eval_tensor *out)
{
    RLX_TRY(rlx_hir_eval_alloc(cx, &out[0]));
    const loops l = loops_of(n, in, &out[0]);
    const int64_t places = rlx_hir_cube_elems(l.out), taps = rlx_hir_cube_elems(l.taps);
    const int64_t inner = l.channels_in / l.groups, size = rlx_hir_cube_elems(l.in);
    for (int64_t i = 0; i < rlx_hir_eval_elems(&out[0]); i++) {
        const int64_t o = i % places, c = i / places % l.channels_out,
                      batch = i / places / l.channels_out;
        const int64_t first = c / (l.channels_out / l.groups) * inner;
        double sum = n->nin == 3 ? rlx_hir_load(in[2], c) : 0;
        for (int64_t j = 0; j < inner * taps; j++) {
            const int64_t at = read_by(&l, l.out, l.in, o, j % taps);
            const int64_t row = (batch * l.channels_in + first + j / taps) * size;
            if (at >= 0)
                sum += rlx_hir_load(in[0], row + at) * rlx_hir_load(in[1], c * inner * taps + j);
        }
        if (is_whole(n)) /* modulo 2^32, as i32 has it */
            ((int32_t *)out[0].data)[i] = (int32_t)(uint32_t)(int64_t)sum;
        else
            ((float *)out[0].data)[i] = (float)sum;
    }
    return RLX_OK;
}

void rlx_hir_conv_lower(rlx_ir_builder *b, const rlx_ir_node *n, rlx_ir_value *const *in,
                        rlx_ir_value **out)
{
    const rlx_mir_windows w = rlx_hir_get_windows(n, n->in[1]->type.dim + 2);
    out[0] = rlx_mir_conv(b, in[0], in[1], n->nin == 3 ? in[2] : NULL, groups_of(n), &w);
}

/* ---- the transposed one -----------------------------------------------------------------------
 */

static int64_t more_of(const rlx_ir_node *n, int i)
{
    const rlx_attr *more = rlx_ir_attr(n, RLX_ATTR_MORE);
    return more && i < more->n ? more->ints[i] : 0;
}

rlx_status rlx_hir_conv_transpose_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    rlx_ir_type y;
    return rlx_hir_conv_transpose_infer(m, n, &y);
}

rlx_status rlx_hir_conv_transpose_infer(rlx_ir_module *m, const rlx_ir_node *n,
                                        rlx_ir_type *results)
{
    rlx_mir_windows w;
    int64_t channels;
    RLX_TRY(verify(m, n, 0, &channels, &w));
    const rlx_ir_type *x = &n->in[0]->type;
    const rlx_attr *more = rlx_ir_attr(n, RLX_ATTR_MORE);
    RLX_HIR_REQUIRE_TYPE(m, n, "C1", is_fixed(x, 2), 0, "the places of x are constants > 0");
    RLX_IR_REQUIRE(m, n, "C4", !more || more->n == w.n, "%d numbers more for %d axes",
                   more ? more->n : 0, w.n);
    results[0] = *x;
    results[0].dim[1] = channels;
    for (int i = 0; i < w.n; i++) {
        const int64_t span = w.step[i] > w.dilation[i] ? w.step[i] : w.dilation[i];
        RLX_IR_REQUIRE(m, n, "C4", more_of(n, i) >= 0 && more_of(n, i) < span, "%lld more",
                       (long long)more_of(n, i));
        const int64_t places = (x->dim[2 + i] - 1) * w.step[i] - w.low[i] - w.high[i] +
                               (w.size[i] - 1) * w.dilation[i] + 1 + more_of(n, i);
        RLX_IR_REQUIRE(m, n, "C5", places > 0, "axis %d would have %lld places", 2 + i,
                       (long long)places);
        results[0].dim[2 + i] = places;
    }
    return RLX_OK;
}

rlx_status rlx_hir_conv_transpose_eval(rlx_hir_eval_cx *cx, const rlx_ir_node *n,
                                       rlx_eval_tensor *const *in, rlx_eval_tensor *out)
{
    RLX_TRY(rlx_hir_eval_alloc(cx, &out[0]));
    const loops l = loops_of(n, in, &out[0]);
    const int64_t elems = rlx_hir_eval_elems(&out[0]), places = rlx_hir_cube_elems(l.out);
    const int64_t size = rlx_hir_cube_elems(l.in), taps = rlx_hir_cube_elems(l.taps);
    const int64_t width = l.channels_out / l.groups, inner = l.channels_in / l.groups;
    double *sums = rlx_arena_alloc(cx->arena, sizeof *sums * (size_t)(elems + 1));
    if (!sums)
        return RLX_OOM();
    for (int64_t i = 0; i < elems; i++)
        sums[i] = n->nin == 3 ? rlx_hir_load(in[2], i / places % l.channels_out) : 0;
    for (int64_t i = 0; i < rlx_hir_eval_elems(in[0]); i++) {
        const int64_t c = i / size % l.channels_in, batch = i / size / l.channels_in;
        for (int64_t j = 0; j < width * taps; j++) {
            const int64_t at = read_by(&l, l.in, l.out, i % size, j % taps);
            const int64_t to = batch * l.channels_out + c / inner * width + j / taps;
            if (at >= 0)
                sums[to * places + at] +=
                    ((const float *)in[0]->data)[i] * rlx_hir_load(in[1], c * width * taps + j);
        }
    }
    for (int64_t i = 0; i < elems; i++)
        ((float *)out[0].data)[i] = (float)sums[i];
    return RLX_OK;
}

void rlx_hir_conv_transpose_lower(rlx_ir_builder *b, const rlx_ir_node *n, rlx_ir_value *const *in,
                                  rlx_ir_value **out)
{
    const rlx_mir_windows w = rlx_hir_get_windows(n, n->in[1]->type.dim + 2);
    int64_t more[RLX_MIR_MAX_PLACES];
    for (int i = 0; i < w.n; i++)
        more[i] = more_of(n, i);
    out[0] =
        rlx_mir_conv_transpose(b, in[0], in[1], n->nin == 3 ? in[2] : NULL, groups_of(n), &w, more);
}
