/* mir/ops/ops.h: what every file of mir/ops promises, and what those files share.
 *
 * An op of mir_ops.def has rlx_mir_<mnemonic>_infer (unless its type is written, see
 * RLX_MIR_WRITTEN below), _verify and _eval. The evaluator (mir_eval.c) walks blocks and calls
 * _eval, which finds its operands' tensors and makes its results' through a frame. */
#ifndef RLX_MIR_OPS_H
#define RLX_MIR_OPS_H

#include "mir/mir.h"

/* ---- declarations from the table ------------------------------------------------------------- */

typedef struct rlx_mir_frame rlx_mir_frame;

#define MIR_OP(NAME, mnemonic, inputs, outputs, blocks, traits, attrs, meaning)     \
    rlx_status rlx_mir_##mnemonic##_infer(rlx_ir_module *m, const rlx_ir_node *n,   \
                                          rlx_ir_type *results);                    \
    rlx_status rlx_mir_##mnemonic##_verify(rlx_ir_module *m, const rlx_ir_node *n); \
    rlx_status rlx_mir_##mnemonic##_eval(rlx_mir_frame *f, const rlx_ir_node *n);
#include "mir/mir_ops.def"
#undef MIR_OP

/* Rules that need more than the node: checked when a whole function is verified. */
rlx_status rlx_mir_call_check(rlx_ir_module *m, const rlx_ir_func *caller, const rlx_ir_node *n);

/* ---- types ----------------------------------------------------------------------------------- */

/* A dim as text in `buffer`, which it returns; cut off when too long. For messages only. */
typedef struct rlx_mir_dim_text {
    char text[48];
} rlx_mir_dim_text;
const char *rlx_mir_dim_str(const rlx_ir_module *m, rlx_dim d, rlx_mir_dim_text *buffer);
/* Within the arguments of RLX_IR_REQUIRE: the text lives as long as the statement. */
#define RLX_MIR_DIM(m, d) rlx_mir_dim_str((m), (d), &(rlx_mir_dim_text){{0}})

bool rlx_mir_is_power_of_two(int64_t v);
enum { RLX_MIR_MAX_LANES = 64 };

/* Whether reduce and scan fold elements of a format with a function, and what they start from. */
bool rlx_mir_is_fold(rlx_map_fn fn, rlx_format f);
rlx_scalar rlx_mir_fold_start(rlx_map_fn fn, rlx_format f);

/* Whether an element goes before another in an order of that kind (order.c). */
bool rlx_mir_goes_before(rlx_format f, rlx_scalar a, rlx_scalar b, bool largest);
bool rlx_mir_order_is_largest(const rlx_ir_node *n);

/* ---- evaluation ------------------------------------------------------------------------------ */

/* One activation of a function: what it computes lives in `arena` and dies with it. */
struct rlx_mir_frame {
    const rlx_ir_module *module;
    const rlx_eval_env *env;
    rlx_arena *arena;
    int64_t layer; /* replaces "{}" in symbols */
};

/* The tensor that a value has in this activation. */
static inline rlx_eval_tensor *rlx_mir_tensor(const rlx_ir_value *v)
{
    return v->scratch;
}

/* Gives value `v` a new, zeroed tensor of its type with live extents. */
rlx_status rlx_mir_frame_make(rlx_mir_frame *f, rlx_ir_value *v, rlx_eval_tensor **out);
/* Gives value `v` the data of `t` under v's own type. */
rlx_status rlx_mir_frame_alias(rlx_mir_frame *f, rlx_ir_value *v, const rlx_eval_tensor *t);
/* Runs a block's nodes; its arguments have tensors. */
rlx_status rlx_mir_eval_block(rlx_mir_frame *f, const rlx_ir_block *block);
/* Runs `callee` for one layer on the tensors of its VALUE arguments; result i is a tensor in the
 * caller's arena. */
rlx_status rlx_mir_eval_call(rlx_mir_frame *f, const rlx_ir_func *callee, int64_t layer,
                             rlx_eval_tensor *const *values, rlx_eval_tensor **results);

/* Contractions with ids, their last operand (chosen.c): the result's type, constraints X1 and X2
 * checked; row by row, rows of one matrix together: row `from` of a with matrix `of` is row `to` of
 * the result. */
rlx_status rlx_mir_chosen_infer(rlx_ir_module *m, const rlx_ir_node *n, const rlx_ir_type *b,
                                rlx_ir_type *results);
typedef void rlx_mir_chosen_row(void *user, int64_t of, int64_t from, int64_t to);
rlx_status rlx_mir_chosen_eval(const rlx_eval_tensor *ids, int64_t matrices, rlx_mir_chosen_row *row,
                               void *user);

/* The page of a pool of `pages` that holds positions slot*P.. of a sequence. */
rlx_status rlx_mir_page_find(const rlx_eval_tensor *table, int64_t pages, int64_t seq, int64_t slot,
                             int64_t *page);

int64_t rlx_mir_elems(const rlx_eval_tensor *t);
/* Row-major strides, in elements. */
void rlx_mir_strides(const rlx_eval_tensor *t, int64_t *stride);
/* One element; integers of every width are exact. */
rlx_scalar rlx_mir_load(rlx_format f, const void *p, int64_t index);
void rlx_mir_store(rlx_format f, void *p, int64_t index, rlx_scalar v);

/* A copy between strided arrays of equal extents; strides in elements (0 repeats), `bytes` per
 * element. */
typedef struct rlx_mir_copy {
    int rank;
    int64_t extent[RLX_MAX_RANK];
    int64_t to_stride[RLX_MAX_RANK], from_stride[RLX_MAX_RANK];
    size_t bytes;
} rlx_mir_copy;
void rlx_mir_copy_run(const rlx_mir_copy *c, void *to, const void *from);

/* lanes partial sums or maxima to one: l with l + lanes/2, then l + lanes/4, ... Overwrites p. */
static inline float rlx_mir_halves_add(float *p, int64_t lanes)
{
    for (int64_t h = lanes / 2; h > 0; h /= 2)
        for (int64_t l = 0; l < h; l++)
            p[l] += p[l + h];
    return p[0];
}

/* Inner loops made for wide vectors as well as for any CPU, chosen when the program is loaded. The
 * bits are the same: fmaf rounds once in all of them. (ThreadSanitizer cannot run such resolvers.)
 */
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
#define RLX_MIR_WIDE __attribute__((target_clones("avx512f", "fma", "default")))
#else
#define RLX_MIR_WIDE
#endif

#endif
