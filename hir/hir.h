/* hir/hir.h: functions of blocks over tensors with symbolic dims; weights are named symbols. */
#ifndef RLX_HIR_H
#define RLX_HIR_H

#include "mir/mir.h"
#include "mir/mir_compose.h"
#include "mir/mir_image.h"
#include "runtime/base/ir/ir.h"

typedef enum rlx_hir_op {
#define HIR_OP(NAME, mnemonic, inputs, outputs, blocks, traits, attrs, meaning) RLX_HIR_##NAME,
#include "hir/hir_ops.def"
#undef HIR_OP
    RLX_HIR_OP_COUNT
} rlx_hir_op;

extern const rlx_ir_level rlx_hir_level;

enum { RLX_KV_PAGE = 256 }; /* positions per page */

/* Named forms of rlx_ir_build; shapes as in hir_ops.def. Tensor ops: rlx_mir_build_* and what
 * mir/mir_compose.h makes of them build in HIR too. */
rlx_ir_value *rlx_hir_build_embed(rlx_ir_builder *b, rlx_ir_value *ids, rlx_ir_value *w);
rlx_ir_value *rlx_hir_build_select_rows(rlx_ir_builder *b, rlx_ir_value *x, rlx_ir_value *rows);
rlx_ir_value *rlx_hir_build_rms_norm(rlx_ir_builder *b, rlx_ir_value *x, rlx_ir_value *w,
                                     double eps);
/* Each of `heads` equal parts of the last axis by itself; w [H/heads]. */
rlx_ir_value *rlx_hir_build_rms_norm_heads(rlx_ir_builder *b, rlx_ir_value *x, rlx_ir_value *w,
                                           double eps, int64_t heads);
rlx_ir_value *rlx_hir_build_linear(rlx_ir_builder *b, rlx_ir_value *x, rlx_ir_value *w,
                                   rlx_ir_value *bias /* may be NULL */);
rlx_ir_value *rlx_hir_build_swiglu(rlx_ir_builder *b, rlx_ir_value *gate, rlx_ir_value *up);
rlx_ir_value *rlx_hir_build_rope(rlx_ir_builder *b, rlx_ir_value *x, rlx_ir_value *cos,
                                 rlx_ir_value *sin, int64_t heads, int64_t head_dim);
rlx_ir_value *rlx_hir_build_rope_with(rlx_ir_builder *b, rlx_ir_value *x, rlx_ir_value *cos,
                                      rlx_ir_value *sin, int64_t heads, int64_t head_dim,
                                      bool interleaved, bool each);
/* The same with element 2i of a head paired with 2i + 1. */
rlx_ir_value *rlx_hir_build_rope_interleaved(rlx_ir_builder *b, rlx_ir_value *x, rlx_ir_value *cos,
                                             rlx_ir_value *sin, int64_t heads, int64_t head_dim);

typedef struct rlx_hir_attention {
    int64_t heads, kv_heads, head_dim;
    double scale;
    double softcap;               /* 0: none */
    int64_t window, chunk, block; /* which keys a query sees (hir_ops.def); 0: all before it */
    rlx_ir_value *q, *k, *v, *kpool, *vpool, *pos, *seq, *table; /* k and v NULL: shared */
    rlx_ir_value *kscale, *vscale;                               /* of a pool of i8; else NULL */
    rlx_ir_value *sinks;                                         /* may be NULL */
} rlx_hir_attention;
/* Returns o; *kpool and *vpool receive the updated pools (may be NULL). */
rlx_ir_value *rlx_hir_build_attention(rlx_ir_builder *b, const rlx_hir_attention *a,
                                      rlx_ir_value **kpool, rlx_ir_value **vpool);
/* Attention over given keys and values (ops/dense_attention.c). What is NULL or 0 is not there. */
typedef struct rlx_hir_dense_attention {
    rlx_ir_value *q, *k, *v;
    rlx_ir_value *valid, *lengths, *offset, *mask, *bias, *sinks, *relative;
    double scale, softcap;
    bool causal, aligned;
    int64_t window; /* keys at distances below it are seen */
    int64_t at, chunk, block, left;
} rlx_hir_dense_attention;
rlx_ir_value *rlx_hir_build_dense_attention(rlx_ir_builder *b, const rlx_hir_dense_attention *a);
/* Calls `callee` for layers first..first+count-1. */
rlx_ir_node *rlx_hir_build_call(rlx_ir_builder *b, const rlx_ir_func *callee, int nin,
                                rlx_ir_value *const *in, int64_t first, int64_t count);

/* ---- norms and activations (hir_build_vision.c) ------------------------------------------------
 */

/* w may be NULL; the weight is w + shift. */
rlx_ir_value *rlx_hir_build_rms_norm_shifted(rlx_ir_builder *b, rlx_ir_value *x, rlx_ir_value *w,
                                             double eps, double shift);
/* w and bias may be NULL; no bias without w. */
rlx_ir_value *rlx_hir_build_layer_norm(rlx_ir_builder *b, rlx_ir_value *x, rlx_ir_value *w,
                                       rlx_ir_value *bias, double eps);
rlx_ir_value *rlx_hir_build_group_norm(rlx_ir_builder *b, rlx_ir_value *x, rlx_ir_value *w,
                                       rlx_ir_value *bias, int64_t groups, double eps);

typedef enum rlx_hir_activation {
#define ACTIVATION(NAME, text, alpha, beta, meaning) RLX_HIR_ACT_##NAME,
#include "hir/activations.def"
#undef ACTIVATION
    RLX_HIR_ACT_COUNT
} rlx_hir_activation;
const char *rlx_hir_activation_name(rlx_hir_activation a);    /* as the table has it; NULL: none */
rlx_hir_activation rlx_hir_find_activation(const char *text); /* RLX_HIR_ACT_COUNT: none */
/* alpha and beta both 0: the table's. */
rlx_ir_value *rlx_hir_build_activation(rlx_ir_builder *b, rlx_hir_activation a, double alpha,
                                       double beta, rlx_ir_value *x);
/* routing */
/* values, and indices i32 to *indices (may be NULL); count 0: all, which sorts. */
rlx_ir_value *rlx_hir_build_top_k(rlx_ir_builder *b, rlx_ir_value *x, int64_t count, bool smallest,
                                  rlx_ir_value **indices);
typedef struct rlx_hir_route {
    rlx_ir_value *logits, *bias; /* bias may be NULL */
    bool sigmoid, normalize;
    int64_t count, groups, chosen; /* groups 0: none */
    double scale;
} rlx_hir_route;
/* weights, and experts i32 to *experts. */
rlx_ir_value *rlx_hir_build_route(rlx_ir_builder *b, const rlx_hir_route *r,
                                  rlx_ir_value **experts);
rlx_ir_value *rlx_hir_build_experts(rlx_ir_builder *b, rlx_ir_value *x, rlx_ir_value *w,
                                    rlx_ir_value *ids);
/* ---- recurrences: shapes as in hir_ops.def ------------------------------------------------------
 */

typedef struct rlx_hir_cell {
    rlx_ir_value *x, *w_ih, *w_hh;
    rlx_ir_value *b_ih, *b_hh; /* both or NULL */
    rlx_ir_value *h, *c;       /* the first states; NULL: zeros. c: of an LSTM */
    rlx_ir_value *lengths;     /* may be NULL */
    rlx_ir_value *peephole;    /* of an LSTM; may be NULL */
    bool backwards;
    bool reset_before; /* of a GRU: r multiplies h, not the product with it */
    const char *gate, *cell,
        *out;    /* activations by name, out of an LSTM; NULL: sigmoid, tanh, tanh */
    double clip; /* of what they take; 0: none */
} rlx_hir_cell;
/* Return y; the last states, if they are asked for, in *h and *c. */
rlx_ir_value *rlx_hir_build_gru(rlx_ir_builder *b, const rlx_hir_cell *cell, rlx_ir_value **h);
rlx_ir_value *rlx_hir_build_lstm(rlx_ir_builder *b, const rlx_hir_cell *cell, rlx_ir_value **h,
                                 rlx_ir_value **c);
typedef struct rlx_hir_short_conv {
    rlx_ir_value *x, *w;
    rlx_ir_value *bias, *state; /* may be NULL */
    rlx_ir_value *pos, *seq;    /* of tokens, or NULL */
} rlx_hir_short_conv;
rlx_ir_value *rlx_hir_build_short_conv(rlx_ir_builder *b, const rlx_hir_short_conv *c,
                                       rlx_ir_value **state);
typedef struct rlx_hir_delta_rule {
    rlx_ir_value *q, *k, *v, *g, *beta;
    rlx_ir_value *state;     /* may be NULL */
    rlx_ir_value *pos, *seq; /* of tokens, or NULL */
    double scale, eps;       /* eps 0: q and k are taken as they are */
    bool tile;               /* value head h has the q and k of h mod G */
    int64_t chunk;           /* by chunks of so many steps (16, 32, 64); 0: step by step */
    rlx_ir_value *keys, *values, *decays; /* pools of a chunk of tokens; else NULL */
} rlx_hir_delta_rule;
rlx_ir_value *rlx_hir_build_delta_rule(rlx_ir_builder *b, const rlx_hir_delta_rule *d,
                                       rlx_ir_value **state);
typedef struct rlx_hir_selective_scan {
    rlx_ir_value *x, *dt, *a, *b, *c;
    rlx_ir_value *d, *state; /* may be NULL */
    rlx_ir_value *pos, *seq; /* of tokens, or NULL */
} rlx_hir_selective_scan;
rlx_ir_value *rlx_hir_build_selective_scan(rlx_ir_builder *b, const rlx_hir_selective_scan *s,
                                           rlx_ir_value **state);

/* ---- places: x [N,C,S..], one to three axes of them (hir_build_vision.c) -----------------------
 */

/* groups 0: 1; sizes are of pools. `more` is for conv_transpose. */
typedef struct rlx_hir_windows {
    rlx_mir_windows at;
    int64_t groups, more[RLX_MIR_MAX_PLACES];
    bool count_padding;
} rlx_hir_windows;
rlx_ir_value *rlx_hir_build_conv(rlx_ir_builder *b, rlx_ir_value *x, rlx_ir_value *w,
                                 rlx_ir_value *bias /* may be NULL */, const rlx_hir_windows *s);
rlx_ir_value *rlx_hir_build_conv_transpose(rlx_ir_builder *b, rlx_ir_value *x, rlx_ir_value *w,
                                           rlx_ir_value *bias, const rlx_hir_windows *s);
rlx_ir_value *rlx_hir_build_pool(rlx_ir_builder *b, rlx_ir_value *x, bool largest,
                                 const rlx_hir_windows *s);
rlx_ir_value *rlx_hir_build_adaptive_pool(rlx_ir_builder *b, rlx_ir_value *x, bool largest, int n,
                                          const int64_t *sizes);
/* mode and align as hir/ops/resize.c names them. */
rlx_ir_value *rlx_hir_build_resize(rlx_ir_builder *b, rlx_ir_value *x, const char *mode,
                                   const char *align, bool antialias, int n, const int64_t *sizes);

/* Every op by plain loops in f32 (accumulation in f64): the oracle for lowering. As rlx_mir_eval.
 */
rlx_status rlx_hir_eval(const rlx_ir_module *m, const char *entry, const rlx_eval_env *env,
                        rlx_eval_tensor *out, int nout);

/* To MIR primitives, one function per function; makes a new module. */
rlx_status rlx_hir_lower(const rlx_ir_module *m, rlx_ir_module **out);

#endif
