/* mir/mir_resize.c: resizing along an axis. Positions and weights are computed in f64 by the graph
 * itself. */
#include <math.h>

#include "mir/mir_image.h"

typedef rlx_ir_value *val;

static val num(rlx_ir_builder *b, rlx_map_fn fn, val x, double y)
{
    return rlx_mir_map_num(b, fn, x, y);
}

val rlx_mir_hat(rlx_ir_builder *b, val d)
{
    val one = rlx_mir_like(b, d, 1);
    val rest = rlx_mir_map2(b, RLX_FN_SUB, one, rlx_mir_map1(b, RLX_FN_ABS, d));
    return num(b, RLX_FN_MAX, rest, 0);
}

/* Of a in 1, (a+2)m^3 - (a+3)m^2 + 1; up to 2, a m^3 - 5a m^2 + 8a m - 4a. */
val rlx_mir_cubic(rlx_ir_builder *b, val d, double a)
{
    val m = rlx_mir_map1(b, RLX_FN_ABS, d), mm = rlx_mir_map2(b, RLX_FN_MUL, m, m);
    val mmm = rlx_mir_map2(b, RLX_FN_MUL, mm, m);
    val three = num(b, RLX_FN_MUL, mmm, a + 2), two = num(b, RLX_FN_MUL, mm, a + 3);
    val near = num(b, RLX_FN_ADD, rlx_mir_map2(b, RLX_FN_SUB, three, two), 1);
    three = num(b, RLX_FN_MUL, mmm, a);
    two = num(b, RLX_FN_MUL, mm, 5 * a);
    val far = rlx_mir_map2(b, RLX_FN_SUB, three, two);
    val rest = num(b, RLX_FN_SUB, num(b, RLX_FN_MUL, m, 8 * a), 4 * a);
    far = rlx_mir_map2(b, RLX_FN_ADD, far, rest);
    val in_two = num(b, RLX_FN_LT, m, 2), in_one = num(b, RLX_FN_LE, m, 1);
    far = rlx_mir_pick(b, in_two, far, rlx_mir_like(b, d, 0));
    return rlx_mir_pick(b, in_one, near, far);
}

val rlx_mir_resize_positions(rlx_ir_builder *b, const rlx_mir_resize *r)
{
    val o = rlx_mir_iota(b, RLX_F64, 1, &r->out, 0);
    o = num(b, RLX_FN_MUL, num(b, RLX_FN_ADD, o, r->shift), r->times);
    return num(b, RLX_FN_ADD, num(b, RLX_FN_DIV, o, r->per), r->offset);
}

static val negative(rlx_ir_builder *b, val x)
{
    return rlx_mir_map1(b, RLX_FN_NEG, x);
}

static val floor_of(rlx_ir_builder *b, val x)
{
    return rlx_mir_map1(b, RLX_FN_FLOOR, x);
}

static val nearest(rlx_ir_builder *b, val at, rlx_mir_rounding rounding)
{
    switch (rounding) {
    case RLX_MIR_CEIL:
        return negative(b, floor_of(b, negative(b, at)));
    case RLX_MIR_HALF_UP:
        return floor_of(b, num(b, RLX_FN_ADD, at, 0.5));
    case RLX_MIR_HALF_DOWN: {
        val half = rlx_mir_like(b, at, 0.5);
        return negative(b, floor_of(b, rlx_mir_map2(b, RLX_FN_SUB, half, at)));
    }
    case RLX_MIR_FLOOR:
        break;
    }
    return floor_of(b, at);
}

static val held(rlx_ir_builder *b, val at, int64_t extent)
{
    return rlx_mir_cast(b, rlx_mir_clamp(b, at, 0, (double)(extent - 1)), RLX_I64);
}

/* Sum over taps of weight times element. */
static val interpolate(rlx_ir_builder *b, val x, int axis, const rlx_mir_resize *r, val at)
{
    const int64_t extent = x->type.dim[axis];
    const bool cubic = r->filter == RLX_MIR_CUBIC;
    const int64_t first = (int64_t)floor((cubic ? -2 : -1) / r->shrink) + 1;
    const rlx_dim dims[] = {r->out, 2 - 2 * first};
    at = rlx_mir_insert(b, at, 1);
    /* taps base + first ..: base is the whole number below the position */
    val base = num(b, RLX_FN_SUB, nearest(b, at, RLX_MIR_CEIL), 1);
    val tap = num(b, RLX_FN_ADD, rlx_mir_iota(b, RLX_F64, 2, dims, 1), (double)first);
    tap = rlx_mir_map2(b, RLX_FN_ADD, tap, base);
    val d = num(b, RLX_FN_MUL, rlx_mir_map2(b, RLX_FN_SUB, tap, at), r->shrink);
    val w = cubic ? rlx_mir_cubic(b, d, r->cubic_a) : rlx_mir_hat(b, d);
    if (r->only_inside) {
        val low = rlx_mir_map2(b, RLX_FN_LE, rlx_mir_like(b, tap, 0), tap);
        val high = num(b, RLX_FN_LE, tap, (double)(extent - 1));
        w = rlx_mir_pick(b, rlx_mir_map2(b, RLX_FN_AND, low, high), w, rlx_mir_like(b, w, 0));
    }
    w = rlx_mir_map2(b, RLX_FN_DIV, w, rlx_mir_fold(b, RLX_FN_ADD, w, 2, true));
    /* [.., out, taps, ..]: the weights go along with the taken elements */
    const int last = x->type.rank - 1;
    val taken = rlx_mir_take(b, rlx_mir_move(b, x, axis, last), held(b, tap, extent), last);
    val y = rlx_mir_map2(b, RLX_FN_MUL, taken, rlx_mir_cast(b, w, RLX_F32));
    y = rlx_mir_fold(b, RLX_FN_ADD, y, 1u << (last + 1), false);
    return rlx_mir_move(b, y, last, axis);
}

val rlx_mir_resize_axis(rlx_ir_builder *b, val x, int axis, const rlx_mir_resize *r)
{
    if (!x)
        return NULL;
    val at = rlx_mir_resize_positions(b, r);
    if (r->filter != RLX_MIR_NEAREST)
        return interpolate(b, x, axis, r, at);
    return rlx_mir_take(b, x, held(b, nearest(b, at, r->rounding), x->type.dim[axis]), axis);
}
