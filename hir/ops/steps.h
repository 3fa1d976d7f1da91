/* hir/ops/steps.h: what recurrences share. Internal to hir/.
 *
 * A recurrence runs over axis 1 of tensors [B,S,..], with states [B,..]; or over the tokens of
 * tensors [T,..], with states that are pools [SEQS,..] of the session: of token t the row seq[t],
 * which counts as zeros when pos[t] is 0. */
#ifndef RLX_HIR_STEPS_H
#define RLX_HIR_STEPS_H

#include "hir/ops/ops.h"
#include "mir/mir_compose.h"

/* Entry `i` of attribute counts: how many operands of a kind there are; 0 when absent. */
int rlx_hir_count(const rlx_ir_node *n, int i);
/* Constraint `id`: counts has `n` entries that are 0 or 1 (the first: 0 or `first`), and with
 * `fixed` operands in front they make all of them. */
rlx_status rlx_hir_check_counts(rlx_ir_module *m, const rlx_ir_node *n, const char *id, int fixed,
                                int kinds, const int *most);
/* f32 of the leading extents of `x` (two, or one of tokens) and `n` others: RLX_DIM_INVALID is any.
 */
bool rlx_hir_is_steps(const rlx_ir_value *v, const rlx_ir_value *x, bool tokens, int n,
                      const rlx_dim *dims);
/* f32 of the batch of x, or of any number of sequences, and `n` others. */
bool rlx_hir_is_step_state(const rlx_ir_value *v, const rlx_ir_value *x, bool tokens, int n,
                           const rlx_dim *dims);
/* Operand `operand`, which is updated, is a state of the session. */
rlx_status rlx_hir_check_state(rlx_ir_module *m, const rlx_ir_node *n, const char *id, int operand);
/* The last two operands are pos and seq, i32[T], and the state before them is one of the session.
 */
rlx_status rlx_hir_check_tokens(rlx_ir_module *m, const rlx_ir_node *n, const char *id, int state);

/* ---- evaluating ---------------------------------------------------------------------------------
 */

typedef struct rlx_hir_walk {
    bool tokens, backwards;
    int64_t batch, steps, slots; /* batch is 1 for tokens */
    const int32_t *pos, *seq;
} rlx_hir_walk;
typedef struct rlx_hir_step {
    int64_t row, slot; /* of the sequences' leading extents; of the states */
    bool fresh;        /* the state counts as zeros */
} rlx_hir_step;
/* The steps of operands like `x`; `slots` are the rows of a state. */
rlx_hir_walk rlx_hir_walk_of(const rlx_ir_node *n, rlx_eval_tensor *const *in, bool tokens,
                             const rlx_eval_tensor *state);
/* Step `i` of batch * steps, in an order that puts steps behind those they need. */
rlx_status rlx_hir_walk_step(const rlx_hir_walk *w, int64_t i, rlx_hir_step *out);
/* The state that an op updates: the pool, or a copy of the first one (NULL: zeros). */
rlx_status rlx_hir_eval_state(rlx_hir_eval_cx *cx, bool tokens, rlx_eval_tensor *first,
                              rlx_eval_tensor *out);

/* Row `row` of a matrix times v, plus that element of the bias (NULL: none). */
double rlx_hir_eval_affine(const rlx_eval_tensor *w, const rlx_eval_tensor *bias, int64_t row,
                           const float *v);

/* ---- lowering -----------------------------------------------------------------------------------
 */

typedef struct rlx_hir_steps {
    rlx_ir_builder *b;
    rlx_mir_recur_spec spec;
    rlx_ir_value *arg[RLX_MIR_MAX_RECUR];
    rlx_ir_builder body;
    rlx_ir_node *node;
    rlx_dim batch;
} rlx_hir_steps;

/* `x` is a sequence's type; `axes` of the op's own, besides the batch, run in parallel. `tokens`
 * NULL, or pos and seq. */
void rlx_hir_steps_init(rlx_hir_steps *s, rlx_ir_builder *b, const rlx_ir_type *x,
                        rlx_ir_value *const *tokens, int axes, bool columns);
/* Sequences first, then states, then what stays; `has`: bits of the op's own parallel axes. */
void rlx_hir_steps_sequence(rlx_hir_steps *s, rlx_ir_value *x, int64_t has);
/* `first` NULL: zeros of the batch and `n` extents. */
void rlx_hir_steps_state(rlx_hir_steps *s, rlx_ir_value *first, int n, const rlx_dim *dims);
void rlx_hir_steps_stay(rlx_hir_steps *s, rlx_ir_value *w, int64_t has);
/* Opens the step, which is built with the builder that is returned, of s->arg. */
rlx_ir_builder *rlx_hir_steps_begin(rlx_hir_steps *s, int outputs);
void rlx_hir_steps_end(rlx_hir_steps *s, rlx_ir_value *const *yields);
rlx_ir_value *rlx_hir_steps_output(rlx_hir_steps *s, int i); /* [B,S,..] or [T,..] */
rlx_ir_value *rlx_hir_steps_last(rlx_hir_steps *s, int i);   /* state i, after the last step */

/* x [..,G,D] as [..,H,D], H a multiple of G: head h is x's h / (H/G), or with `tile` h mod G. */
rlx_ir_value *rlx_hir_lower_heads(rlx_ir_builder *b, rlx_ir_value *x, rlx_dim heads, bool tile);
/* x f32[B,S,I] by w [N,I] and perhaps a bias [N]: f32[B,S,N]. */
rlx_ir_value *rlx_hir_lower_gates(rlx_ir_builder *b, rlx_ir_value *x, rlx_ir_value *w,
                                  rlx_ir_value *bias);
/* Elements from .. from + size - 1 of a vector. */
rlx_ir_value *rlx_hir_lower_part(rlx_ir_builder *b, rlx_ir_value *x, int64_t from, int64_t size);

#endif
