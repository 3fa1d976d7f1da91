/* mir/mir_compose_signal.c: Fourier transforms as matrices, frames of signals.
 *
 * A transform of N points is a contract with a table of K rows of N cosines (sines): the table is
 * made once, angles being whole multiples of 2 pi / N, reduced while they are whole, in f64. */
#include <math.h>

#include "mir/mir_compose.h"

#define TURN 6.283185307179586476925

/* cos or sin of 2 pi k n / N, times `factor` of k where one is given: [K,N], or [N,K]. */
static rlx_ir_value *table(rlx_ir_builder *b, rlx_map_fn fn, int64_t K, int64_t N, bool turned,
                           rlx_ir_value *factor, rlx_format f)
{
    const rlx_dim dims[2] = {turned ? N : K, turned ? K : N};
    rlx_ir_value *row = rlx_mir_iota(b, RLX_I64, 2, dims, 0);
    rlx_ir_value *column = rlx_mir_iota(b, RLX_I64, 2, dims, 1);
    rlx_ir_value *kn = rlx_mir_map2(b, RLX_FN_MUL, row, column);
    kn = rlx_mir_cast(b, rlx_mir_map_num(b, RLX_FN_MOD, kn, (double)N), RLX_F64);
    rlx_ir_value *y = rlx_mir_map1(b, fn, rlx_mir_map_num(b, RLX_FN_MUL, kn, TURN / (double)N));
    return rlx_mir_cast(b, factor ? rlx_mir_map2(b, RLX_FN_MUL, y, factor) : y, f);
}

/* x [..,N] times a table [K,N]: [..,K], of a vector too. */
static rlx_ir_value *times(rlx_ir_builder *b, rlx_ir_value *x, rlx_ir_value *w)
{
    if (x && w && x->type.format == RLX_F64)
        return rlx_mir_matmul(b, x, rlx_mir_move(b, w, 0, 1));
    if (!x || !w || x->type.rank > 1)
        return rlx_mir_build_contract(b, x, w);
    rlx_ir_value *y = rlx_mir_build_contract(b, rlx_mir_insert(b, x, 0), w);
    return rlx_mir_reshape(b, y, 1, w->type.dim);
}

void rlx_mir_dft(rlx_ir_builder *b, rlx_ir_value *re, rlx_ir_value *im, int64_t bins, bool inverse,
                 rlx_ir_value **yre, rlx_ir_value **yim)
{
    *yre = *yim = NULL;
    if (!re)
        return;
    const int64_t N = re->type.dim[re->type.rank - 1];
    const rlx_format f = re->type.format;
    rlx_ir_value *cosine = table(b, RLX_FN_COS, bins, N, false, NULL, f);
    rlx_ir_value *sine = table(b, RLX_FN_SIN, bins, N, false, NULL, f);
    *yre = times(b, re, cosine);
    *yim = times(b, re, sine);
    if (!inverse)
        *yim = rlx_mir_map1(b, RLX_FN_NEG, *yim);
    if (im) {
        rlx_ir_value *cross = times(b, im, sine);
        rlx_ir_value *along = times(b, im, cosine);
        *yre = rlx_mir_map2(b, inverse ? RLX_FN_SUB : RLX_FN_ADD, *yre, cross);
        *yim = rlx_mir_map2(b, RLX_FN_ADD, *yim, along);
    }
    if (inverse) {
        *yre = rlx_mir_map_num(b, RLX_FN_MUL, *yre, 1 / (double)N);
        *yim = rlx_mir_map_num(b, RLX_FN_MUL, *yim, 1 / (double)N);
    }
}

rlx_ir_value *rlx_mir_irdft(rlx_ir_builder *b, rlx_ir_value *re, rlx_ir_value *im, int64_t n)
{
    if (!re || !im)
        return NULL;
    const int64_t K = n / 2 + 1;
    /* bins between the first and the middle one stand for their conjugates too */
    rlx_ir_value *k = rlx_mir_build_iota(b, RLX_I64, K);
    rlx_ir_value *alone = rlx_mir_map_num(b, RLX_FN_EQ, k, 0);
    if (n % 2 == 0)
        alone =
            rlx_mir_map2(b, RLX_FN_OR, alone, rlx_mir_map_num(b, RLX_FN_EQ, k, (double)(n / 2)));
    rlx_ir_value *once = rlx_mir_build_const(b, RLX_F64, 1 / (double)n);
    rlx_ir_value *twice = rlx_mir_build_const(b, RLX_F64, 2 / (double)n);
    rlx_ir_value *factor = rlx_mir_pick(b, alone, once, twice);
    rlx_ir_value *cosine = table(b, RLX_FN_COS, K, n, true, factor, re->type.format);
    rlx_ir_value *sine = table(b, RLX_FN_SIN, K, n, true, factor, re->type.format);
    rlx_ir_value *even = times(b, re, cosine);
    rlx_ir_value *odd = times(b, im, sine);
    return rlx_mir_map2(b, RLX_FN_SUB, even, odd);
}

/* ---- frames -----------------------------------------------------------------------------------
 */

rlx_ir_value *rlx_mir_pad_reflect(rlx_ir_builder *b, rlx_ir_value *x, int axis, int64_t n)
{
    if (!x || n == 0)
        return x;
    const rlx_dim length = x->type.dim[axis];
    const rlx_dim padded = rlx_dim_make(b->module->dims, RLX_DIM_ADD, length, 2 * n);
    rlx_ir_value *at = rlx_mir_build_iota(b, RLX_I64, padded);
    at = rlx_mir_map1(b, RLX_FN_ABS, rlx_mir_map_num(b, RLX_FN_SUB, at, (double)n));
    rlx_ir_value *last = rlx_mir_map_num(b, RLX_FN_SUB, rlx_mir_extent(b, length, RLX_I64), 1);
    rlx_ir_value *beyond = rlx_mir_map2(b, RLX_FN_SUB, last, at);
    at = rlx_mir_map2(b, RLX_FN_SUB, last, rlx_mir_map1(b, RLX_FN_ABS, beyond));
    return rlx_mir_take(b, x, at, axis);
}

/* Element t is the sum over r of frame t / hop - r at r * hop + t mod hop, where there is one. */
rlx_ir_value *rlx_mir_overlap_add(rlx_ir_builder *b, rlx_ir_value *frames, int64_t hop)
{
    if (!frames)
        return NULL;
    rlx_dims *dims = b->module->dims;
    const int last = frames->type.rank - 1;
    const rlx_dim F = frames->type.dim[last - 1];
    const int64_t n = frames->type.dim[last], pieces = (n + hop - 1) / hop;
    const rlx_dim all = rlx_dim_make(dims, RLX_DIM_ADD, F, pieces - 1);
    const rlx_dim shape[2] = {rlx_dim_make(dims, RLX_DIM_MUL, all, hop), pieces};
    rlx_ir_value *t = rlx_mir_iota(b, RLX_I64, 2, shape, 0);
    rlx_ir_value *r = rlx_mir_iota(b, RLX_I64, 2, shape, 1);
    rlx_ir_value *f =
        rlx_mir_map2(b, RLX_FN_SUB, rlx_mir_map_num(b, RLX_FN_DIV, t, (double)hop), r);
    rlx_ir_value *k = rlx_mir_map_num(b, RLX_FN_MUL, r, (double)hop);
    k = rlx_mir_map2(b, RLX_FN_ADD, k, rlx_mir_map_num(b, RLX_FN_MOD, t, (double)hop));
    rlx_ir_value *is_there = rlx_mir_not(b, rlx_mir_map_num(b, RLX_FN_LT, f, 0));
    rlx_ir_value *count = rlx_mir_extent(b, F, RLX_I64);
    is_there = rlx_mir_map2(b, RLX_FN_AND, is_there, rlx_mir_map2(b, RLX_FN_LT, f, count));
    rlx_ir_value *inside = rlx_mir_map_num(b, RLX_FN_LT, k, (double)n);
    is_there = rlx_mir_map2(b, RLX_FN_AND, is_there, inside);
    rlx_ir_value *at = rlx_mir_map2(b, RLX_FN_ADD, rlx_mir_map_num(b, RLX_FN_MUL, f, (double)n), k);
    rlx_ir_value *nowhere = rlx_mir_like(b, at, 0);
    at = rlx_mir_pick(b, is_there, at, nowhere);
    rlx_ir_value *y = rlx_mir_take(b, rlx_mir_flatten(b, frames, last - 1, last + 1), at, last - 1);
    rlx_ir_value *zero = rlx_mir_like(b, frames, 0);
    y = rlx_mir_pick(b, is_there, y, zero);
    return rlx_mir_fold(b, RLX_FN_ADD, y, 1u << last, false);
}
