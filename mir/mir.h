/* mir/mir.h: a typed graph of few tensor primitives, and the regions that fusion makes of it.
 *
 *   hir --hir/lower--> mir (primitives) --fuse_*--> mir (regions) --mir/lower + schedule--> lir
 */
#ifndef RLX_MIR_H
#define RLX_MIR_H

#include "lir/lir.h"
#include "runtime/base/ir/ir.h"

typedef enum rlx_mir_op {
#define MIR_OP(NAME, mnemonic, inputs, outputs, blocks, traits, attrs, meaning) RLX_MIR_##NAME,
#include "mir/mir_ops.def"
#undef MIR_OP
    RLX_MIR_OP_COUNT
} rlx_mir_op;

extern const rlx_ir_level rlx_mir_level;

/* Elements that share a scale in quantize, and a code's step: of the largest magnitude. */
enum { RLX_MIR_QUANT = 32 };
#define RLX_MIR_QUANT_STEP (1.0f / 127.0f)

/* ---- building: thin, named forms of rlx_ir_build --------------------------------------------- */

rlx_ir_value *rlx_mir_build_const(rlx_ir_builder *b, rlx_format f, double value);
rlx_ir_value *rlx_mir_build_map1(rlx_ir_builder *b, rlx_map_fn fn, rlx_ir_value *x);
rlx_ir_value *rlx_mir_build_map2(rlx_ir_builder *b, rlx_map_fn fn, rlx_ir_value *x,
                                 rlx_ir_value *y);
rlx_ir_value *rlx_mir_build_map3(rlx_ir_builder *b, rlx_map_fn fn, rlx_ir_value *x, rlx_ir_value *y,
                                 rlx_ir_value *z);
/* x itself if it has the format. */
rlx_ir_value *rlx_mir_build_cast(rlx_ir_builder *b, rlx_ir_value *x, rlx_format f);
/* Along the last axis; these two with lanes 16, the order of sums of exact mode. */
rlx_ir_value *rlx_mir_build_reduce(rlx_ir_builder *b, rlx_map_fn fn, rlx_ir_value *x);
rlx_ir_value *rlx_mir_build_contract(rlx_ir_builder *b, rlx_ir_value *a, rlx_ir_value *w);
/* In one partial sum, as columns side by side want it: of two activations. */
rlx_ir_value *rlx_mir_build_contract_in_order(rlx_ir_builder *b, rlx_ir_value *a, rlx_ir_value *w);
/* Rows with the matrices of w [E,N,K] that ids i32[R] or i32[R,S] choose for them. */
rlx_ir_value *rlx_mir_build_contract_chosen(rlx_ir_builder *b, rlx_ir_value *a, rlx_ir_value *w,
                                            rlx_ir_value *ids);
/* Of bf16 or f16, by `width` products at a time. ids NULL, here and below: w is one matrix. */
rlx_ir_value *rlx_mir_build_contract_halves(rlx_ir_builder *b, rlx_ir_value *a, rlx_ir_value *w,
                                            rlx_ir_value *ids, int64_t width);
/* A quantize of x: codes, scale, sums32, sums16; NULL after an error. */
rlx_ir_node *rlx_mir_build_quantize(rlx_ir_builder *b, rlx_ir_value *x);
/* Rows that `q` quantized against blocks, in the order of `lanes` (16 or 1). */
rlx_ir_value *rlx_mir_build_contract_q(rlx_ir_builder *b, const rlx_ir_node *q, rlx_ir_value *w,
                                       rlx_ir_value *ids, int64_t lanes);
rlx_ir_value *rlx_mir_build_gather(rlx_ir_builder *b, rlx_ir_value *table, rlx_ir_value *ids);
rlx_ir_value *rlx_mir_build_broadcast(rlx_ir_builder *b, rlx_ir_value *x, int rank,
                                      const rlx_dim *dims, const int64_t *axes);
rlx_ir_value *rlx_mir_build_reshape(rlx_ir_builder *b, rlx_ir_value *x, int rank,
                                    const rlx_dim *dims);
rlx_ir_value *rlx_mir_build_transpose(rlx_ir_builder *b, rlx_ir_value *x, const int64_t *perm);
rlx_ir_value *rlx_mir_build_slice(rlx_ir_builder *b, rlx_ir_value *x, int64_t axis, int64_t start,
                                  int64_t size);
/* `step` apart: backwards when it is negative. */
rlx_ir_value *rlx_mir_build_slice_step(rlx_ir_builder *b, rlx_ir_value *x, int64_t axis,
                                       int64_t start, int64_t size, int64_t step);
rlx_ir_value *rlx_mir_build_window(rlx_ir_builder *b, rlx_ir_value *x, int64_t axis, int64_t size,
                                   int64_t step, int64_t dilation);
rlx_ir_value *rlx_mir_build_pad(rlx_ir_builder *b, rlx_ir_value *x, rlx_ir_value *fill,
                                int64_t axis, int64_t low, int64_t high);
rlx_ir_value *rlx_mir_build_iota(rlx_ir_builder *b, rlx_format f, rlx_dim extent);
rlx_ir_value *rlx_mir_build_bitcast(rlx_ir_builder *b, rlx_ir_value *x, rlx_format f);
/* A reduce of any fold, in one partial: elements in their order. */
rlx_ir_value *rlx_mir_build_fold(rlx_ir_builder *b, rlx_map_fn fn, rlx_ir_value *x);
/* The first `count` (0: all) along the last axis, in order: indices. */
rlx_ir_value *rlx_mir_build_order(rlx_ir_builder *b, rlx_ir_value *x, int64_t count, bool largest);
rlx_ir_value *rlx_mir_build_scan(rlx_ir_builder *b, rlx_map_fn fn, rlx_ir_value *x);
/* fn RLX_FN_COUNT: what is put in replaces what was there. */
rlx_ir_value *rlx_mir_build_scatter(rlx_ir_builder *b, rlx_map_fn fn, rlx_ir_value *x,
                                    rlx_ir_value *ids, rlx_ir_value *u);
rlx_ir_value *rlx_mir_build_concat(rlx_ir_builder *b, int n, rlx_ir_value *const *x, int64_t axis);
rlx_ir_value *rlx_mir_build_page_write(rlx_ir_builder *b, const char *kind, rlx_ir_value *pool,
                                       rlx_ir_value *x, rlx_ir_value *pos, rlx_ir_value *seq,
                                       rlx_ir_value *table);
enum { RLX_KV_GROUP = 32 };         /* elements of a head that share a scale, in pools of i8 */
bool rlx_mir_is_pool(rlx_format f); /* f32, f16, bf16, i8 */
typedef struct rlx_mir_attention {
    rlx_ir_value *q, *kpool, *vpool;
    rlx_ir_value *kscale, *vscale; /* of a pool of i8; else NULL */
    rlx_ir_value *pos, *seq, *table;
    rlx_ir_value *sinks; /* f32[N]; NULL: none */
    double scale;
    double softcap;               /* 0: none */
    int64_t window, chunk, block; /* 0: none */
} rlx_mir_attention;
rlx_ir_value *rlx_mir_build_attention(rlx_ir_builder *b, const rlx_mir_attention *a);
/* Which operand of an attention has the scales of its keys or values; -1: none. */
int rlx_mir_attention_scales(const rlx_ir_node *n, bool keys);
int rlx_mir_attention_sinks(const rlx_ir_node *n); /* the same of the sinks */

/* Attention over tensors (ops/dense_attention.c). Keys go by so many, whatever computes it. */
enum { RLX_MIR_DENSE_CHUNK = 256 };
/* Its operands behind q, k and v, in this order. */
typedef enum rlx_mir_dense_options {
    RLX_MIR_DENSE_BIAS,
    RLX_MIR_DENSE_SEEN,
    RLX_MIR_DENSE_SINKS,
    RLX_MIR_DENSE_OPTIONS
} rlx_mir_dense_options;
typedef struct rlx_mir_dense_attention {
    rlx_ir_value *q, *k, *v;
    rlx_ir_value *option[RLX_MIR_DENSE_OPTIONS]; /* NULL: none */
    double scale, softcap;                       /* softcap 0: none */
} rlx_mir_dense_attention;
rlx_ir_value *rlx_mir_build_dense_attention(rlx_ir_builder *b, const rlx_mir_dense_attention *a);
/* The same out of `sums` f32[B..,N,S,K] of products, of contractions, folds and maps (mir_attend.c),
 * with one maximum of all keys: other bits. */
rlx_ir_value *rlx_mir_attend(rlx_ir_builder *b, const rlx_mir_dense_attention *a,
                             rlx_ir_value *sums);
/* Which operand an option is; -1: none. */
int rlx_mir_dense_option(const rlx_ir_node *n, rlx_mir_dense_options option);
/* The type of what there is one of for every score: [B..,N,S,K]. */
rlx_ir_type rlx_mir_dense_scores(const rlx_ir_value *q, const rlx_ir_value *k, rlx_format f);
/* Of an attention with a width: the format of keys' products, or of values'; positions of a block, the most that a
 * page has multiples of. */
enum { RLX_MIR_ATTENTION_BLOCK = 64 };
rlx_format rlx_mir_attention_halves(const rlx_ir_node *n, bool keys);
int64_t rlx_mir_attention_block(int64_t positions);
/* Whether a node is attention, of either kind. */
static inline bool rlx_mir_is_attention(const rlx_ir_node *n)
{
    return n->op == RLX_MIR_ATTENTION || n->op == RLX_MIR_DENSE_ATTENTION;
}

/* The operand of `n` that its result `result` is, updated in place: a pool; -1: it is none. */
int rlx_mir_updated_operand(const rlx_ir_node *n, int result);
/* Whether it has such a result: its last one is, if any. */
static inline bool rlx_mir_has_updates(const rlx_ir_node *n)
{
    return n->nout > 0 && rlx_mir_updated_operand(n, n->nout - 1) >= 0;
}

/* ---- recurrences ------------------------------------------------------------------------------
 */

enum { RLX_MIR_MAX_PARALLEL = 3, RLX_MIR_MAX_RECUR = 16 };

/* A recur or recur_tokens, read off its node, which is verified. */
typedef struct rlx_mir_recur {
    bool tokens, columns, backwards;
    int sequences, states, stay; /* operands; `stay` are those that do not change */
    int outputs;
    int parallel;
    int live;           /* the state while which is true steps are taken; -1: all are */
    const int64_t *has; /* by operand */
    rlx_dim steps;
    rlx_dim extent[RLX_MIR_MAX_PARALLEL];
} rlx_mir_recur;
void rlx_mir_recur_get(const rlx_ir_node *n, rlx_mir_recur *out);
/* The operand whose memory result `result` of a recur_tokens updates; -1: it is an output. */
int rlx_mir_recur_state_of(const rlx_ir_node *n, int result);

/* Which axis of an operand or a result is what. */
typedef struct rlx_mir_recur_axes {
    int step, slot; /* of the steps, of the sequences' states; -1: it has none */
    int parallel[RLX_MIR_MAX_PARALLEL]; /* -1: it has not that one */
    int inner, ninner;                  /* the block's own axes: where they begin, how many */
    int rank;
} rlx_mir_recur_axes;
void rlx_mir_recur_operand_axes(const rlx_ir_node *n, const rlx_mir_recur *r, int operand,
                                rlx_mir_recur_axes *out);
void rlx_mir_recur_result_axes(const rlx_ir_node *n, const rlx_mir_recur *r, int result,
                               rlx_mir_recur_axes *out);

/* What a recurrence is made of. Operands in order: sequences, states, what stays. */
typedef struct rlx_mir_recur_spec {
    int sequences, states, stay, outputs;
    rlx_ir_value *operand[RLX_MIR_MAX_RECUR];
    int64_t has[RLX_MIR_MAX_RECUR]; /* of the states it is not read: they have all axes */
    int parallel;
    bool columns, backwards;
    int live;      /* of a recur: 1 + the state that says whether there are more steps; 0: all */
    rlx_dim steps; /* of a recur */
    rlx_ir_value *pos, *seq; /* of tokens; else NULL */
} rlx_mir_recur_spec;
/* Begins the node; `body` is a builder for its block, whose arguments are args[i]. Then the step is
 * built with `body`, and ended. NULL after an error. */
rlx_ir_node *rlx_mir_begin_recur(rlx_ir_builder *b, const rlx_mir_recur_spec *spec,
                                 rlx_ir_builder *body, rlx_ir_value **args);
/* Outputs, then next states; their types become those of the results, which are n->out. */
void rlx_mir_end_recur(rlx_ir_builder *b, rlx_ir_node *n, rlx_ir_builder *body,
                       rlx_ir_value *const *yields);

/* ---- the evaluator --------------------------------------------------------------------------- */

/* One tensor by name for rlx_*_eval: inputs, weights and states by symbol, "{}" already replaced by
 * the layer index. Row-major. States are updated in place. */
typedef struct rlx_eval_tensor {
    const char *name;
    rlx_format format;
    int rank;
    int64_t dim[RLX_MAX_RANK];
    void *data;
} rlx_eval_tensor;

/* Where an evaluator finds tensors: returns NULL when there is none. */
typedef struct rlx_eval_env {
    rlx_eval_tensor *(*find)(void *user, rlx_role role, const char *symbol);
    void *user;
    const int64_t *symbols; /* live values by symbol index */
} rlx_eval_env;

/* Runs function `entry` (its VALUE arguments bind like INPUTs, by name). Every op computes what its
 * meaning says, in its order of sums. Results in order: out[i].data is malloc'ed and the caller's,
 * NULL after an error. States are updated in place, also by a run that fails half way. Uses the
 * values' scratch and leaves it clear. Errors: RLX_NOT_FOUND for a tensor that `env` does not have;
 * RLX_INVALID_ARGUMENT for one of another type, and for indices out of range. */
rlx_status rlx_mir_eval(const rlx_ir_module *m, const char *entry, const rlx_eval_env *env,
                        rlx_eval_tensor *out, int nout);

/* For rlx_pass_options.compare: evaluates the functions that nobody calls on made-up tensors (every
 * symbol 3, integers 0 or 1) in both modules; results and states must agree in every bit. `user` is
 * not read. */
rlx_status rlx_mir_compare(void *user, rlx_ir_module *before, rlx_ir_module *after);

/* ---- precision --------------------------------------------------------------------------------
 */

/* What a region may round: fixed before fusion, printed, part of every key. */
typedef enum rlx_mir_precision {
    RLX_MIR_EXACT,   /* f32 activations and sums in one order, whatever the phase */
    RLX_MIR_PREFILL, /* fast: integer products with blocks; one partial sum per output */
    RLX_MIR_DECODE   /* fast: integer products with blocks; sixteen partial sums */
} rlx_mir_precision;
/* Gives contractions with weights their operands and order: before rlx_mir_optimize, which changes
 * no bit. `target` (NULL: products of f32 and of bytes alone) says which products of floats there
 * are. */
rlx_status rlx_mir_choose_precision(rlx_ir_module *m, rlx_mir_precision precision,
                                    const rlx_lir_target *target);

/* The operand that chooses a contraction's matrix for each row; NULL: there is one for all. */
static inline rlx_ir_value *rlx_mir_contract_ids(const rlx_ir_node *n)
{
    const int without = n->op == RLX_MIR_CONTRACT ? 2 : 4;
    return n->nin > without ? n->in[without] : NULL;
}

/* The weight of a contraction, decoded or in blocks. */
static inline rlx_ir_value *rlx_mir_contract_weight(const rlx_ir_node *n)
{
    return n->in[n->op == RLX_MIR_CONTRACT ? 1 : 3];
}

/* Whether some extent is 0. */
static inline bool rlx_mir_is_empty(const rlx_ir_type *t)
{
    for (int i = 0; i < t->rank; i++)
        if (t->dim[i] == 0)
            return true;
    return false;
}

/* Contractions of one region at most. */
enum { RLX_MIR_MOST_CONTRACTS = 8 };

/* Whether a node is a contraction, of either kind. */
static inline bool rlx_mir_is_contract(const rlx_ir_node *n)
{
    return n->op == RLX_MIR_CONTRACT || n->op == RLX_MIR_CONTRACT_Q;
}

/* Whether a node is a recurrence, of either kind. */
static inline bool rlx_mir_is_recur(const rlx_ir_node *n)
{
    return n->op == RLX_MIR_RECUR || n->op == RLX_MIR_RECUR_TOKENS;
}

/* ---- the gated delta rule by chunks ------------------------------------------------------------
 */

enum { RLX_MIR_DELTA_STATE = 5 }; /* the operand; its keys, values and decays follow if of tokens */
/* Steps of a chunk: by tiles of 16. */
static inline bool rlx_mir_is_delta_chunk(int64_t chunk)
{
    return chunk == 16 || chunk == 32 || chunk == 64;
}
static inline bool rlx_mir_is_delta_chunks(const rlx_ir_node *n)
{
    return n->op == RLX_MIR_DELTA_CHUNKS || n->op == RLX_MIR_DELTA_CHUNKS_TOKENS;
}
/* Operands as in mir_ops.def. */
typedef struct rlx_mir_delta_chunks {
    rlx_ir_value *q, *k, *v, *decay, *beta, *state;
    rlx_ir_value *keys, *values, *decays, *pos, *seq; /* of tokens; else NULL */
    int64_t chunk;
    bool tile;
} rlx_mir_delta_chunks;
/* The output; *state: the state behind it. */
rlx_ir_value *rlx_mir_build_delta_chunks(rlx_ir_builder *b, const rlx_mir_delta_chunks *d,
                                         rlx_ir_value **state);

/* ---- fusion ---------------------------------------------------------------------------------- */

/* Contractions over no elements, or of no rows. */
extern const rlx_pass rlx_mir_pass_fold_empty;
/* Reshape of reshape, cast of cast, identities. */
extern const rlx_pass rlx_mir_pass_fold_views;
/* Grows every region; afterwards a function holds regions, calls and its return only. */
extern const rlx_pass rlx_mir_pass_fuse_regions;
extern const rlx_pass rlx_mir_pass_remove_dead;
/* How far regions grow. Every choice gives the same bits. */
typedef enum rlx_mir_fusion {
    RLX_MIR_FUSE_ALL = 0,
    RLX_MIR_FUSE_PLACES, /* nodes of one place in the model: block by block */
    RLX_MIR_FUSE_ROOTS   /* a region per node */
} rlx_mir_fusion;
typedef struct rlx_mir_optimize_options {
    rlx_mir_fusion fusion;
    bool single_maps; /* maps that no other kind of region takes stay apart */
} rlx_mir_optimize_options;

/* The pipeline from hir/lower's output to rlx_mir_lower's input. */
rlx_status rlx_mir_optimize(rlx_ir_module *m);
rlx_status rlx_mir_optimize_with(rlx_ir_module *m, const rlx_mir_optimize_options *options);
/* What fused with what, what did not, and why: a line per region of a fused module, and one per
 * value that goes from region to region through memory. RLX_INVALID_ARGUMENT when it is not fused.
 */
rlx_status rlx_mir_fusion_report(const rlx_ir_module *m, rlx_text *out);
/* The first value of a fused module that goes through memory though nothing that its users compute
 * asks for it: RLX_UNSUPPORTED names both regions. OK when there is none. */
rlx_status rlx_mir_check_fusion(const rlx_ir_module *m);

/* ---- lowering -------------------------------------------------------------------------------- */

typedef struct rlx_mir_lower_options {
    const rlx_lir_target *target;
    const int64_t *upper; /* the bucket: symbol index -> largest live value */
} rlx_mir_lower_options;

/* A LIR module with a kernel (or more) per region, chosen schedules, and one tape function per
 * function; equal kernels are made once. Runs expand_math and plan_memory, verifies and checks. */
rlx_status rlx_mir_lower(const rlx_ir_module *m, const rlx_mir_lower_options *options,
                         rlx_ir_module **out);

#endif
