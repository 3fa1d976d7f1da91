/* hir/hir_attention.h: what stands around attention, as expressions of tensor ops: rotary tables of
 * any axes, biases that follow from positions, windows of images.
 *
 * Like mir/mir_compose.h: NULL operands come from an earlier error, errors stay in the builder.
 */
#ifndef RLX_HIR_ATTENTION_H
#define RLX_HIR_ATTENTION_H

#include "hir/hir.h"

/* ---- rotary tables ----------------------------------------------------------------------------
 *
 *   angle of pair i at a token = frequency i * position of the token along the pair's axis
 */

enum { RLX_ROPE_MAX_AXES = 4 };
typedef enum rlx_hir_rope_order {
    RLX_HIR_ROPE_AXES,     /* each axis has pairs and frequencies of its own, one after another */
    RLX_HIR_ROPE_SECTIONS, /* one series of frequencies, cut into the axes' pairs */
    RLX_HIR_ROPE_TURNS /* one series, whose pair i is of axis i mod n while i < n * pairs of that
                          axis, else of axis 0 */
} rlx_hir_rope_order;

typedef struct rlx_hir_rope_tables {
    int naxes;                            /* 1 to 4 */
    rlx_ir_value *pos[RLX_ROPE_MAX_AXES]; /* i32 or f32 [..], of one shape */
    int64_t pairs[RLX_ROPE_MAX_AXES];     /* > 0; R/2 together */
    rlx_hir_rope_order order;
    double theta;     /* frequency i of a series for D elements is theta^(-2i/D); D is 2 * pairs (of
                         all axes, but for AXES of each) */
    double factor;    /* divides the frequencies; 0: 1 */
    double amplitude; /* multiplies cosines and sines; 0: 1 */
    rlx_ir_value *freqs; /* [R/2] in place of theta; may be NULL */
    bool each;           /* [.., R], an entry for every element: the series stands twice, one behind
                            the other (each axis by itself); else [.., R/2] */
    int64_t still;       /* so many tokens that do not turn follow along the last axis of pos */
} rlx_hir_rope_tables;
/* cos and sin, f32 [.., R/2] or [.., R]. */
void rlx_hir_build_rope_tables(rlx_ir_builder *b, const rlx_hir_rope_tables *t,
                               rlx_ir_value **cosine, rlx_ir_value **sine);

/* ---- biases ---------------------------------------------------------------------------------- */

/* T5's and MPNet's: table [buckets,N] by the bucket of key - query, f32 [N,S,K]. Half of the
 * buckets are for keys behind the query unless `one_sided`, where such keys count as distance 0. */
rlx_ir_value *rlx_hir_build_bucket_bias(rlx_ir_builder *b, rlx_ir_value *table, rlx_dim queries,
                                        rlx_dim keys, int64_t max_distance, bool one_sided);
/* ALiBi: -slope(h) * |key - query|, f32 [N,S,K]; slopes as Press et al. and BLOOM have them. */
rlx_ir_value *rlx_hir_build_alibi(rlx_ir_builder *b, int64_t heads, rlx_dim queries, rlx_dim keys);
/* SAM's decomposed relative positions: q f32[B,H*W,N,D] (not scaled), tables [L,D] of distances
 * along height and width -> f32 [B,N,H*W,H*W]. A table with other than 2H-1 (2W-1) rows is
 * interpolated. */
rlx_ir_value *rlx_hir_build_grid_bias(rlx_ir_builder *b, rlx_ir_value *q, rlx_ir_value *table_h,
                                      rlx_ir_value *table_w, int64_t height, int64_t width);

/* ---- windows of images ----------------------------------------------------------------------- */

/* x f32[B,H,W,C], padded behind with zeros -> f32[B*ceil(H/s)*ceil(W/s),s,s,C]; H and W are
 * constants. */
rlx_ir_value *rlx_hir_build_window_partition(rlx_ir_builder *b, rlx_ir_value *x, int64_t size);
/* The inverse: x f32[B*..,s,s,C] -> f32[batch,height,width,C]. */
rlx_ir_value *rlx_hir_build_window_join(rlx_ir_builder *b, rlx_ir_value *x, rlx_dim batch,
                                        int64_t height, int64_t width);

#endif
