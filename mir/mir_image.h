/* mir/mir_image.h: tensor expressions over places: convolutions, pools, resizes. As mir_compose.h:
 * they build in HIR and in MIR, and NULL operands pass on an earlier error.
 *
 * Shapes: x [N,C,S..] with one to three axes of places, S or O. */
#ifndef RLX_MIR_IMAGE_H
#define RLX_MIR_IMAGE_H

#include "mir/mir_compose.h"

enum { RLX_MIR_MAX_PLACES = 3 };

/* Windows over the places. */
typedef struct rlx_mir_windows {
    int n; /* axes of places */
    int64_t size[RLX_MIR_MAX_PLACES], step[RLX_MIR_MAX_PLACES], dilation[RLX_MIR_MAX_PLACES];
    int64_t low[RLX_MIR_MAX_PLACES], high[RLX_MIR_MAX_PLACES]; /* padding; < 0 cuts off */
} rlx_mir_windows;

/* How many windows there are along axis i of `extent` places; RLX_DIM_INVALID when none fits, or
 * when an expression of symbols cannot say (the padding is less than what a window reaches over).
 */
rlx_dim rlx_mir_count_windows(rlx_dims *dims, const rlx_mir_windows *w, int i, rlx_dim extent);
/* Pieces of an axis as the op `window` cuts it: each reaches over `reach` elements. */
rlx_dim rlx_mir_window_pieces(rlx_dims *dims, rlx_dim L, int64_t reach, int64_t step);
/* x padded with `fill` and cut into windows: [N,C,O..,K..], a view of the padded tensor. */
rlx_ir_value *rlx_mir_windows_of(rlx_ir_builder *b, rlx_ir_value *x, const rlx_mir_windows *w,
                                 rlx_ir_value *fill);
/* How many of each window's places lie in x rather than in the padding, f32[1,1,O..]. */
rlx_ir_value *rlx_mir_count_places(rlx_ir_builder *b, const rlx_ir_value *x,
                                   const rlx_mir_windows *w);

/* w [M,C/groups,K..] of any float format, bias [M] or NULL -> [N,M,O..]; window sizes are w's. With
 * enough channels for tiles a contract of the windows as rows, which are stored; else a fold. Of
 * integers it is a fold. */
rlx_ir_value *rlx_mir_conv(rlx_ir_builder *b, rlx_ir_value *x, rlx_ir_value *w, rlx_ir_value *bias,
                           int64_t groups, const rlx_mir_windows *at);
/* w [C,M/groups,K..] -> [N,M,O..], O = (S-1)*step - low - high + (K-1)*dilation + 1 + more: what
 * conv reads from an element is added to it. Constant places. */
rlx_ir_value *rlx_mir_conv_transpose(rlx_ir_builder *b, rlx_ir_value *x, rlx_ir_value *w,
                                     rlx_ir_value *bias, int64_t groups, const rlx_mir_windows *at,
                                     const int64_t *more);
/* A number of x's format, rank 0, that no element is below. */
rlx_ir_value *rlx_mir_least(rlx_ir_builder *b, const rlx_ir_value *x);
/* The largest element of each window, or the mean: of all places, or of those that are not padding.
 */
rlx_ir_value *rlx_mir_max_pool(rlx_ir_builder *b, rlx_ir_value *x, const rlx_mir_windows *w);
rlx_ir_value *rlx_mir_mean_pool(rlx_ir_builder *b, rlx_ir_value *x, const rlx_mir_windows *w,
                                bool count_padding);
/* Where in the plane S.., in row-major order, each window's largest element *y lies (of equal ones the
 * first), i64 [N,C,O..]. NaNs are largest: *y, as rlx_mir_max_pool gave it, gets those that there are. */
rlx_ir_value *rlx_mir_max_pool_places(rlx_ir_builder *b, rlx_ir_value *x, const rlx_mir_windows *w,
                                      rlx_ir_value **y);
/* One axis in `out` parts, part o from floor(o*S/out) to ceil((o+1)*S/out): their largest elements
 * or means. S is a constant. */
rlx_ir_value *rlx_mir_adaptive_pool(rlx_ir_builder *b, rlx_ir_value *x, int axis, int64_t out,
                                    bool largest);

/* ---- resizing: one axis of constant extent ----------------------------------------------------
 */

typedef enum rlx_mir_filter { RLX_MIR_NEAREST, RLX_MIR_LINEAR, RLX_MIR_CUBIC } rlx_mir_filter;
/* Which neighbour is the nearest, for a position between. */
typedef enum rlx_mir_rounding {
    RLX_MIR_FLOOR,
    RLX_MIR_CEIL,
    RLX_MIR_HALF_DOWN, /* to the nearer, of two the lower */
    RLX_MIR_HALF_UP
} rlx_mir_rounding;

typedef struct rlx_mir_resize {
    int64_t out;
    /* element o of the result lies at (o + shift) * times / per + offset of x */
    double shift, times, per, offset;
    rlx_mir_filter filter;
    rlx_mir_rounding rounding; /* nearest */
    double cubic_a;            /* cubic: -0.75, -0.5 .. */
    double shrink;             /* < 1: the filter is as much wider (antialiasing); 1: it is not */
    bool only_inside;          /* taps outside of x have no weight; else its edge is read there */
} rlx_mir_resize;
rlx_ir_value *rlx_mir_resize_axis(rlx_ir_builder *b, rlx_ir_value *x, int axis,
                                  const rlx_mir_resize *r);
/* The positions themselves, f64[out]. */
rlx_ir_value *rlx_mir_resize_positions(rlx_ir_builder *b, const rlx_mir_resize *r);
/* Weights of linear and cubic interpolation at the distance d. */
rlx_ir_value *rlx_mir_hat(rlx_ir_builder *b, rlx_ir_value *d);
rlx_ir_value *rlx_mir_cubic(rlx_ir_builder *b, rlx_ir_value *d, double a);

#endif
