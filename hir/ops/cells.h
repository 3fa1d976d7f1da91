/* hir/ops/cells.h: what gru and lstm share. Internal to hir/.
 *
 *   in   x f32[B,S,I];  w_ih [kH,I], w_hh [kH,H] (float or blocks), k the gates; then by counts:
 *        counts[0] = 2: b_ih, b_hh [kH];  counts[1]: the first states f32[B,H] (else zeros);
 *        counts[2] = 1: lengths i32[B], the steps that each row has, at most all of them count;
 *        counts[3] = 1 (lstm): peepholes [3H]
 *   out  y f32[B,S,H], zeros behind a row's length;  states f32[B,H], after a row's last step
 *   C1  x is f32[B,S,I].
 *   C2  w_ih is [kH,I].
 *   C3  w_hh is [kH,H] with the H of w_ih, which is constant and not 0.
 *   C4  counts are as above, and make all operands.
 *   C5  biases are float [kH].
 *   C6  first states are f32[B,H].
 *   C7  step is 1 or -1: from the last step of a row to its first.
 *   C8  lengths are i32[B].
 *   C10 gate, cell and (lstm) out are activations by name, at the numbers that their table gives;
 *       clip is > 0. */
#ifndef RLX_HIR_CELLS_H
#define RLX_HIR_CELLS_H

#include "hir/ops/steps.h"

enum { RLX_CELL_X, RLX_CELL_W_IH, RLX_CELL_W_HH, RLX_CELL_FIRST_OPTION };
enum { RLX_CELL_BIASES, RLX_CELL_STATES, RLX_CELL_LENGTHS, RLX_CELL_PEEPHOLES, RLX_CELL_COUNTS };
enum { RLX_CELL_MAX_STATES = 2 };

typedef struct rlx_hir_cell_kind {
    int gates, states;
    int counts; /* entries of attribute counts */
} rlx_hir_cell_kind;

/* The first operand of a kind; -1: there is none. */
int rlx_hir_cell_operand(const rlx_ir_node *n, int kind);
rlx_dim rlx_hir_cell_size(const rlx_ir_node *n); /* H */

/* An activation of a cell: RLX_ATTR_GATE, CELL or OUT; what goes in is held in -clip..clip. */
double rlx_hir_cell_eval_activation(const rlx_ir_node *n, rlx_attr_key key, double x);
rlx_ir_value *rlx_hir_cell_lower_activation(rlx_ir_builder *b, const rlx_ir_node *n,
                                            rlx_attr_key key, rlx_ir_value *x);

rlx_status rlx_hir_cell_verify(rlx_ir_module *m, const rlx_ir_node *n, const rlx_hir_cell_kind *k);
/* Of a node that is verified. */
void rlx_hir_cell_infer(const rlx_ir_node *n, const rlx_hir_cell_kind *k, rlx_ir_type *results);

/* One step of one row: x [I]; states [H] each, updated in place, the first of them what is given;
 * scratch [2H]. */
typedef void rlx_hir_cell_step(const rlx_ir_node *n, rlx_eval_tensor *const *in, const float *x,
                               float *const *state, float *scratch);
rlx_status rlx_hir_cell_eval(rlx_hir_eval_cx *cx, const rlx_ir_node *n, const rlx_hir_cell_kind *k,
                             rlx_hir_cell_step *step, rlx_eval_tensor *const *in,
                             rlx_eval_tensor *out);

/* Lowering: what a step sees. */
typedef struct rlx_hir_cell_args {
    rlx_ir_value *g;                          /* [kH]: x w_ih^T + b_ih */
    rlx_ir_value *state[RLX_CELL_MAX_STATES]; /* [H] */
    rlx_ir_value *w, *bias, *peephole;        /* w_hh [kH,H], b_hh [kH], [3H]; or NULL */
} rlx_hir_cell_args;
typedef void rlx_hir_cell_lower_step(rlx_ir_builder *b, const rlx_ir_node *n,
                                     const rlx_hir_cell_args *a, rlx_ir_value **next);
void rlx_hir_cell_lower(rlx_ir_builder *b, const rlx_ir_node *n, const rlx_hir_cell_kind *k,
                        rlx_hir_cell_lower_step *step, rlx_ir_value *const *in, rlx_ir_value **out);

#endif
