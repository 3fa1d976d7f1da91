/* mir/mir_compose.h: tensor expressions of several primitives: numpy's broadcasting, folds over any
 * axes, indices. They build at either level that has the primitives (mir/tensor_ops.def): HIR for
 * what a model's author writes, MIR for lowerings.
 *
 * NULL operands come from an earlier error and are passed on. Axes count from 0. Extents may be
 * expressions of symbols unless it is said that they are constants. Nodes are built in an order
 * that the C standard fixes. What needs no node (a reshape to the same shape) builds none. */
#ifndef RLX_MIR_COMPOSE_H
#define RLX_MIR_COMPOSE_H

#include "mir/mir.h"

/* A number of x's format, rank 0. */
rlx_ir_value *rlx_mir_like(rlx_ir_builder *b, const rlx_ir_value *x, double value);
/* An extent as a number of the format, rank 0: counted where a symbol decides. */
rlx_ir_value *rlx_mir_extent(rlx_ir_builder *b, rlx_dim extent, rlx_format f);

/* ---- shapes ---------------------------------------------------------------------------------- */

rlx_ir_value *rlx_mir_reshape(rlx_ir_builder *b, rlx_ir_value *x, int rank, const rlx_dim *dims);
/* To that shape as numpy broadcasts: axes are added in front, axes of 1 are repeated. */
rlx_ir_value *rlx_mir_expand(rlx_ir_builder *b, rlx_ir_value *x, int rank, const rlx_dim *dims);
rlx_ir_value *rlx_mir_transpose(rlx_ir_builder *b, rlx_ir_value *x, const int64_t *perm);
rlx_ir_value *rlx_mir_move(rlx_ir_builder *b, rlx_ir_value *x, int from,
                           int to);                                         /* an axis elsewhere */
rlx_ir_value *rlx_mir_insert(rlx_ir_builder *b, rlx_ir_value *x, int axis); /* an axis of 1 */
/* Axes from..to-1 as one; from == to: an axis of 1. */
rlx_ir_value *rlx_mir_flatten(rlx_ir_builder *b, rlx_ir_value *x, int from, int to);
/* `size` elements, `step` apart (backwards when it is negative), of an axis of constant extent. */
rlx_ir_value *rlx_mir_slice(rlx_ir_builder *b, rlx_ir_value *x, int axis, int64_t start,
                            int64_t size, int64_t step);
/* A negative low or high cuts off, of an axis of constant extent. */
rlx_ir_value *rlx_mir_pad(rlx_ir_builder *b, rlx_ir_value *x, int axis, int64_t low, int64_t high,
                          rlx_ir_value *fill);
rlx_ir_value *rlx_mir_flip(rlx_ir_builder *b, rlx_ir_value *x, int axis); /* backwards */
/* Indices along one axis of the shape, in an integer format or a float. */
rlx_ir_value *rlx_mir_iota(rlx_ir_builder *b, rlx_format f, int rank, const rlx_dim *dims,
                           int axis);

/* ---- elementwise: operands of one format are broadcast against one another --------------------
 */

rlx_ir_value *rlx_mir_map(rlx_ir_builder *b, rlx_map_fn fn, int n, rlx_ir_value *const *x);
rlx_ir_value *rlx_mir_map1(rlx_ir_builder *b, rlx_map_fn fn, rlx_ir_value *x);
rlx_ir_value *rlx_mir_map2(rlx_ir_builder *b, rlx_map_fn fn, rlx_ir_value *x, rlx_ir_value *y);
rlx_ir_value *rlx_mir_pick(rlx_ir_builder *b, rlx_ir_value *c, rlx_ir_value *x, rlx_ir_value *y);
/* With a number for the second operand. */
rlx_ir_value *rlx_mir_map_num(rlx_ir_builder *b, rlx_map_fn fn, rlx_ir_value *x, double y);
/* Values that fit; to bool: whether it is not 0. */
rlx_ir_value *rlx_mir_cast(rlx_ir_builder *b, rlx_ir_value *x, rlx_format f);
/* The same, but floats are held inside of the range of an integer; NaN becomes 0. */
rlx_ir_value *rlx_mir_saturate(rlx_ir_builder *b, rlx_ir_value *x, rlx_format f);
rlx_ir_value *rlx_mir_not(rlx_ir_builder *b, rlx_ir_value *x);
rlx_ir_value *rlx_mir_clamp(rlx_ir_builder *b, rlx_ir_value *x, double low, double high);
rlx_ir_value *rlx_mir_sigmoid(rlx_ir_builder *b, rlx_ir_value *x);
/* x^y of floats, by exp and log; signs as whole exponents give them. */
rlx_ir_value *rlx_mir_pow(rlx_ir_builder *b, rlx_ir_value *x, rlx_ir_value *y);

/* ---- folds ------------------------------------------------------------------------------------
 */

unsigned rlx_mir_last_axes(const rlx_ir_value *x, int from); /* the set from..rank-1 */
/* Over the axes that are set, elements in their order; keep: the axes stay, as 1. Sums and products
 * of f16 and bf16 are made in f32 and rounded once; so are means. */
rlx_ir_value *rlx_mir_fold(rlx_ir_builder *b, rlx_map_fn fn, rlx_ir_value *x, unsigned axes,
                           bool keep);
/* Over one axis, which stays as 1: by rows of tiles (lanes) where it is the last, of f32. */
rlx_ir_value *rlx_mir_fold_rows(rlx_ir_builder *b, rlx_map_fn fn, rlx_ir_value *x, int axis);
rlx_ir_value *rlx_mir_mean(rlx_ir_builder *b, rlx_ir_value *x, unsigned axes); /* keeps */
rlx_ir_value *rlx_mir_softmax(rlx_ir_builder *b, rlx_ir_value *x, int axis);
rlx_ir_value *rlx_mir_log_softmax(rlx_ir_builder *b, rlx_ir_value *x, int axis);
/* As numpy's matmul: a contract in order for f32, else a fold of products. */
rlx_ir_value *rlx_mir_matmul(rlx_ir_builder *b, rlx_ir_value *x, rlx_ir_value *y);
/* Running sums, products ... along any axis; reverse: from the end; exclusive: of those before. */
rlx_ir_value *rlx_mir_scan(rlx_ir_builder *b, rlx_map_fn fn, rlx_ir_value *x, int axis,
                           bool exclusive, bool reverse);

/* ---- indices ----------------------------------------------------------------------------------
 */

/* Slices of an axis by index, as numpy's take; indices may be negative. */
rlx_ir_value *rlx_mir_take(rlx_ir_builder *b, rlx_ir_value *x, rlx_ir_value *ids, int axis);
/* Elements along an axis by index, as torch.gather: ids have x's rank and the result's shape. */
rlx_ir_value *rlx_mir_take_along(rlx_ir_builder *b, rlx_ir_value *x, rlx_ir_value *ids, int axis);
/* Where the elements at these indices of x's first n axes lie, in row-major order. */
rlx_ir_value *rlx_mir_place(rlx_ir_builder *b, rlx_ir_value *x, int n, rlx_ir_value *const *at);
/* The elements themselves, by an index for every axis. */
rlx_ir_value *rlx_mir_at(rlx_ir_builder *b, rlx_ir_value *x, rlx_ir_value *const *at);
/* The first `count` (0: all) along the last axis, in order: indices i32 [..,count], and the elements
 * themselves to *values (may be NULL). */
rlx_ir_value *rlx_mir_first(rlx_ir_builder *b, rlx_ir_value *x, int64_t count, bool largest,
                            rlx_ir_value **values);
/* How many elements along the last axis go before each (equal ones: those in front of it), i32. */
rlx_ir_value *rlx_mir_ranks(rlx_ir_builder *b, rlx_ir_value *x, bool largest);

/* ---- signals ----------------------------------------------------------------------------------
 */

/* Along the last axis, of constant extent N: `bins` (N, or N/2+1 for the half that a real signal
 * needs) of re + i im, both f32 or f64; im may be NULL. inverse: the other sign, and / N. */
void rlx_mir_dft(rlx_ir_builder *b, rlx_ir_value *re, rlx_ir_value *im, int64_t bins, bool inverse,
                 rlx_ir_value **yre, rlx_ir_value **yim);
/* n real points of the n/2+1 bins of their transform. */
rlx_ir_value *rlx_mir_irdft(rlx_ir_builder *b, rlx_ir_value *re, rlx_ir_value *im, int64_t n);
/* n elements more at both ends, mirrored at the outermost ones; n is below the extent. */
rlx_ir_value *rlx_mir_pad_reflect(rlx_ir_builder *b, rlx_ir_value *x, int axis, int64_t n);
/* [..,F,N] -> [..,(F+P-1)*hop], P = ceil(N/hop): frame f added in from f*hop on. */
rlx_ir_value *rlx_mir_overlap_add(rlx_ir_builder *b, rlx_ir_value *frames, int64_t hop);

#endif
