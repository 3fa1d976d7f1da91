/* frontend/blocks/build_signal.c: Fourier transforms, and of frames of signals. */
#include "frontend/blocks/build.h"

static bool is_real(const rlx_value *x)
{
    return rlx_value_format(x) == RLX_F32 || rlx_value_format(x) == RLX_F64;
}

/* The constant extent of the last axis of x, or -1 after an error. */
static int64_t points(rlx_builder *b, const char *op, rlx_value *x)
{
    if (!rlx_builder_all(b, op, 1, &x))
        return -1;
    const int rank = rlx_value_rank(x);
    const int64_t n = rank ? rlx_value_dim(x, rank - 1) : -1;
    if (n >= 1 && is_real(x))
        return n;
    rlx_builder_note(b, RLX_FAIL(RLX_INVALID_ARGUMENT,
                                 "%s: takes f32[..,N] or f64[..,N] with a constant N of 1 or more",
                                 op));
    return -1;
}

rlx_value *rlx_build_fft(rlx_builder *b, rlx_value *re, rlx_value *im, bool inverse,
                         rlx_value **out_im)
{
    rlx_ir_value *yre, *yim;
    rlx_value *unused;
    out_im = out_im ? out_im : &unused;
    *out_im = NULL;
    const int64_t n = points(b, "fft", re);
    if (n < 0 || (im && points(b, "fft", im) < 0))
        return NULL;
    rlx_mir_dft(rlx_builder_at(b, NULL), rlx_value_ir(re), rlx_value_ir(im), n, inverse, &yre,
                &yim);
    *out_im = rlx_value_of(yim);
    return rlx_value_of(yre);
}

rlx_value *rlx_build_rfft(rlx_builder *b, rlx_value *x, rlx_value **im)
{
    rlx_ir_value *yre, *yim;
    rlx_value *unused;
    im = im ? im : &unused;
    *im = NULL;
    const int64_t n = points(b, "rfft", x);
    if (n < 0)
        return NULL;
    rlx_mir_dft(rlx_builder_at(b, NULL), rlx_value_ir(x), NULL, n / 2 + 1, false, &yre, &yim);
    *im = rlx_value_of(yim);
    return rlx_value_of(yre);
}

rlx_value *rlx_build_irfft(rlx_builder *b, rlx_value *re, rlx_value *im, int64_t n)
{
    const int64_t bins = points(b, "irfft", re);
    if (bins < 0 || points(b, "irfft", im) < 0)
        return NULL;
    if (n < 1 || bins != n / 2 + 1) {
        rlx_builder_note(b, RLX_FAIL(RLX_INVALID_ARGUMENT,
                                     "irfft: %lld points have %lld bins, not %lld", (long long)n,
                                     (long long)(n / 2 + 1), (long long)bins));
        return NULL;
    }
    return rlx_value_of(
        rlx_mir_irdft(rlx_builder_at(b, NULL), rlx_value_ir(re), rlx_value_ir(im), n));
}

/* ---- frames ------------------------------------------------------------------------------------
 */

static bool check(rlx_builder *b, const char *op, const rlx_stft_spec *s, rlx_value *window)
{
    if (!rlx_builder_has_spec(b, op, s))
        return false;
    if (s->n_fft < 1 || s->n_fft > INT32_MAX || s->hop < 1 || s->hop > INT32_MAX) {
        rlx_builder_note(b, RLX_FAIL(RLX_INVALID_ARGUMENT,
                                     "%s: n_fft %lld, hop %lld: both are 1 to 2^31 - 1", op,
                                     (long long)s->n_fft, (long long)s->hop));
        return false;
    }
    const int64_t n = window ? rlx_value_dim(window, 0) : s->n_fft;
    if (n >= 1 && n <= s->n_fft && (!window || rlx_value_rank(window) == 1))
        return true;
    rlx_builder_note(b, RLX_FAIL(RLX_INVALID_ARGUMENT,
                                 "%s: a window [W] is no longer than n_fft, %lld; it has rank %d, "
                                 "W %lld",
                                 op, (long long)s->n_fft, rlx_value_rank(window), (long long)n));
    return false;
}

/* The window in the middle of n_fft points, zeros around; NULL: ones. */
static rlx_ir_value *whole_window(rlx_ir_builder *ir, const rlx_stft_spec *s, rlx_value *window,
                                  rlx_format f)
{
    if (!window) {
        rlx_ir_value *one = rlx_mir_build_const(ir, f, 1);
        return rlx_mir_expand(ir, one, 1, &s->n_fft);
    }
    rlx_ir_value *w = rlx_mir_cast(ir, rlx_value_ir(window), f);
    const int64_t left = (s->n_fft - rlx_value_dim(window, 0)) / 2;
    rlx_ir_value *zero = rlx_mir_build_const(ir, f, 0);
    return rlx_mir_pad(ir, w, 0, left, s->n_fft - rlx_value_dim(window, 0) - left, zero);
}

/* What frames are taken of: as torch, what is mirrored at the ends is more than it adds. */
static bool check_signal(rlx_builder *b, const rlx_stft_spec *s, rlx_value *x)
{
    const int rank = rlx_value_rank(x);
    const int64_t n = rank ? rlx_value_dim(x, rank - 1) : -1;
    if (rank && is_real(x) && (!s->center || n < 0 || n > s->n_fft / 2))
        return true;
    rlx_builder_note(
        b, RLX_FAIL(RLX_INVALID_ARGUMENT,
                    "stft: takes f32[..,L] or f64[..,L], with center an L above n_fft / 2: gets %s "
                    "of rank %d, n_fft %lld",
                    rlx_format_get(rlx_value_format(x))->name, rank, (long long)s->n_fft));
    return false;
}

rlx_value *rlx_build_stft(rlx_builder *b, const rlx_stft_spec *s, rlx_value *x, rlx_value *window,
                          rlx_value **im)
{
    rlx_ir_value *yre, *yim;
    rlx_value *unused;
    im = im ? im : &unused;
    *im = NULL;
    if (!rlx_builder_all(b, "stft", 1, &x) || !check(b, "stft", s, window) ||
        !check_signal(b, s, x))
        return NULL;
    rlx_ir_builder *ir = rlx_builder_at(b, NULL);
    rlx_ir_value *v = rlx_value_ir(x);
    const int last = rlx_value_rank(x) - 1;
    if (s->center)
        v = rlx_mir_pad_reflect(ir, v, last, s->n_fft / 2);
    v = rlx_mir_build_window(ir, v, last, s->n_fft, s->hop, 1); /* [..,F,n_fft] */
    v = rlx_mir_map2(ir, RLX_FN_MUL, v, whole_window(ir, s, window, rlx_value_format(x)));
    rlx_mir_dft(ir, v, NULL, s->n_fft / 2 + 1, false, &yre, &yim);
    *im = rlx_value_of(rlx_mir_move(ir, yim, last + 1, last));
    return rlx_value_of(rlx_mir_move(ir, yre, last + 1, last));
}

/* Elements first.. of the last axis, as many as `length`. */
static rlx_ir_value *part(rlx_ir_builder *ir, rlx_ir_value *x, int64_t first, rlx_dim length)
{
    if (!x)
        return NULL;
    const int last = x->type.rank - 1;
    if (rlx_dim_is_const(x->type.dim[last]) && rlx_dim_is_const(length))
        return rlx_mir_slice(ir, x, last, first, length, 1);
    rlx_ir_value *at = rlx_mir_build_iota(ir, RLX_I64, length);
    return rlx_mir_take(ir, x, rlx_mir_map_num(ir, RLX_FN_ADD, at, (double)first), last);
}

rlx_value *rlx_build_istft(rlx_builder *b, const rlx_stft_spec *s, rlx_value *re, rlx_value *im,
                           rlx_value *window, int64_t length)
{
    rlx_dim n;
    rlx_value *const both[] = {re, im};
    if (!rlx_builder_all(b, "istft", 2, both) || !check(b, "istft", s, window) ||
        !rlx_builder_dims(b, "istft", 1, &length, &n))
        return NULL;
    const int last = rlx_value_rank(re) - 1;
    if (last < 1 || rlx_value_dim(re, last - 1) != s->n_fft / 2 + 1) {
        rlx_builder_note(b, RLX_FAIL(RLX_INVALID_ARGUMENT,
                                     "istft: takes [..,%lld,F]: n_fft/2 + 1 bins of F frames",
                                     (long long)(s->n_fft / 2 + 1)));
        return NULL;
    }
    rlx_ir_builder *ir = rlx_builder_at(b, NULL);
    rlx_ir_value *vre = rlx_mir_move(ir, rlx_value_ir(re), last, last - 1);
    rlx_ir_value *vim = rlx_mir_move(ir, rlx_value_ir(im), last, last - 1);
    rlx_ir_value *w = whole_window(ir, s, window, rlx_value_format(re));
    rlx_ir_value *frames = rlx_mir_irdft(ir, vre, vim, s->n_fft); /* [..,F,n_fft] */
    frames = rlx_mir_map2(ir, RLX_FN_MUL, frames, w);
    rlx_ir_value *sum = rlx_mir_overlap_add(ir, frames, s->hop);
    const rlx_dim per_frame[] = {frames ? frames->type.dim[last - 1] : 0, s->n_fft};
    rlx_ir_value *squares = rlx_mir_expand(ir, rlx_mir_map2(ir, RLX_FN_MUL, w, w), 2, per_frame);
    rlx_ir_value *weight = rlx_mir_overlap_add(ir, squares, s->hop);
    const int64_t first = s->center ? s->n_fft / 2 : 0;
    rlx_ir_value *y = part(ir, sum, first, n);
    return rlx_value_of(rlx_mir_map2(ir, RLX_FN_DIV, y, part(ir, weight, first, n)));
}
