/* hir/ops/lstm.c
 *   in   x f32[B,S,I];  w_ih [4H,I], w_hh [4H,H] (float or blocks), rows in the order i, f, g, o;
 *        counts[0] = 2: b_ih, b_hh [4H];
 *        counts[1] = 2: h, c f32[B,H], the first states (else zeros)
 *   out  y f32[B,S,H], h after every step;  h, c f32[B,H], after the last one
 *   With a = x w_ih^T + b_ih + h w_hh^T + b_hh:
 *     c' = sigmoid(a_f) * c + sigmoid(a_i) * tanh(a_g);  h' = sigmoid(a_o) * tanh(c').
 *   step -1: from the last step to the first.
 *   C1  x is f32[B,S,I].
 *   C2  w_ih is [4H,I].
 *   C3  w_hh is [4H,H] with the H of w_ih, which is constant and not 0.
 *   C4  counts are 0 or 2 biases and 0 or 2 states, and make all operands.
 *   C5  biases are float [4H].
 *   C6  h and c are f32[B,H].
 *   C7  step is 1 or -1.
 */
#include <math.h>
#include <string.h>

#include "hir/ops/steps.h"

enum { X, W_IH, W_HH, FIRST_OPTION };
enum { BIASES, STATES };

static bool has_bias(const rlx_ir_node *n)
{
    return rlx_hir_count(n, BIASES) > 0;
}

static int state_of(const rlx_ir_node *n)
{
    return rlx_hir_count(n, STATES) ? FIRST_OPTION + rlx_hir_count(n, BIASES) : -1;
}

rlx_status rlx_hir_lstm_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    static const int most[] = {2, 2};
    const rlx_ir_type *x = &n->in[X]->type;
    RLX_HIR_REQUIRE_TYPE(m, n, "C1", rlx_hir_is(n->in[X], RLX_F32, 3), X, "x is f32[B,S,I]");
    const bool cell = rlx_hir_is_weight(n->in[W_HH], 2);
    const rlx_dim h = cell ? n->in[W_HH]->type.dim[1] : 0, h4 = h > 0 ? 4 * h : 0;
    RLX_HIR_REQUIRE_TYPE(m, n, "C3", h > 0 && n->in[W_HH]->type.dim[0] == h4, W_HH,
                         "w_hh is a float or block [4H,H]");
    RLX_HIR_REQUIRE_TYPE(m, n, "C2",
                         rlx_hir_is_weight(n->in[W_IH], 2) && n->in[W_IH]->type.dim[0] == h4 &&
                             n->in[W_IH]->type.dim[1] == x->dim[2],
                         W_IH, "w_ih is a float or block [4H,I]");
    RLX_TRY(rlx_hir_check_counts(m, n, "C4", FIRST_OPTION, 2, most));
    for (int i = FIRST_OPTION; has_bias(n) && i < FIRST_OPTION + 2; i++)
        RLX_HIR_REQUIRE_TYPE(m, n, "C5",
                             rlx_hir_is_weight(n->in[i], 1) && n->in[i]->type.dim[0] == h4, i,
                             "biases are float [4H]");
    for (int i = state_of(n); i >= 0 && i < n->nin; i++)
        RLX_HIR_REQUIRE_TYPE(m, n, "C6", rlx_hir_is_step_state(n->in[i], n->in[X], false, 1, &h), i,
                             "h and c are f32[B,H]");
    const int64_t step = rlx_ir_attr_int(n, RLX_ATTR_STEP, 1);
    RLX_IR_REQUIRE(m, n, "C7", step == 1 || step == -1, "step %lld", (long long)step);
    return RLX_OK;
}

rlx_status rlx_hir_lstm_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results)
{
    RLX_TRY(rlx_hir_lstm_verify(m, n));
    const rlx_dim *x = n->in[X]->type.dim, h = n->in[W_HH]->type.dim[1];
    results[0] = rlx_ir_tensor(RLX_F32, 3, (const rlx_dim[]){x[0], x[1], h});
    results[1] = rlx_ir_tensor(RLX_F32, 2, (const rlx_dim[]){x[0], h});
    results[2] = results[1];
    return RLX_OK;
}

/* One step of one sequence: h to y, c in place. */
static void eval_step(const rlx_ir_node *n, rlx_eval_tensor *const *in, const float *x, float *h,
                      float *c, float *y)
{
    const rlx_eval_tensor *b_ih = has_bias(n) ? in[FIRST_OPTION] : NULL,
                          *b_hh = has_bias(n) ? in[FIRST_OPTION + 1] : NULL;
    const int64_t size = in[W_HH]->dim[1];
    for (int64_t j = 0; j < size; j++) {
        double a[4];
        for (int gate = 0; gate < 4; gate++)
            a[gate] = rlx_hir_eval_affine(in[W_IH], b_ih, gate * size + j, x) +
                      rlx_hir_eval_affine(in[W_HH], b_hh, gate * size + j, h);
        const double next = rlx_hir_sigmoid(a[1]) * c[j] + rlx_hir_sigmoid(a[0]) * tanh(a[2]);
        c[j] = (float)next;
        y[j] = (float)(rlx_hir_sigmoid(a[3]) * tanh(next));
    }
    memcpy(h, y, sizeof *h * (size_t)size);
}

rlx_status rlx_hir_lstm_eval(rlx_hir_eval_cx *cx, const rlx_ir_node *n, rlx_eval_tensor *const *in,
                             rlx_eval_tensor *out)
{
    const int state = state_of(n);
    const int64_t size = in[W_HH]->dim[1];
    RLX_TRY(rlx_hir_eval_alloc(cx, &out[0]));
    for (int i = 0; i < 2; i++)
        RLX_TRY(rlx_hir_eval_state(cx, false, state < 0 ? NULL : in[state + i], &out[1 + i]));
    const rlx_hir_walk w = rlx_hir_walk_of(n, in, false, &out[1]);
    for (int64_t i = 0; i < w.batch * w.steps; i++) {
        rlx_hir_step s;
        RLX_TRY(rlx_hir_walk_step(&w, i, &s));
        eval_step(n, in, (const float *)in[X]->data + s.row * in[X]->dim[2],
                  (float *)out[1].data + s.slot * size, (float *)out[2].data + s.slot * size,
                  (float *)out[0].data + s.row * size);
    }
    return RLX_OK;
}

/* Arguments: x w_ih^T + b_ih [4H] of this step, h, c, w_hh, b_hh; next h and c. */
static void lower_step(rlx_ir_builder *b, const rlx_ir_node *n, rlx_ir_value *const *arg,
                       rlx_ir_value **h, rlx_ir_value **c)
{
    const int64_t size = n->in[W_HH]->type.dim[1];
    rlx_ir_value *a = rlx_mir_build_contract(b, arg[1], arg[3]), *gate[4];
    if (has_bias(n))
        a = rlx_mir_build_map2(b, RLX_FN_ADD, a, arg[4]);
    for (int i = 0; i < 4; i++) {
        gate[i] = rlx_mir_build_map2(b, RLX_FN_ADD, rlx_hir_lower_part(b, arg[0], i * size, size),
                                     rlx_hir_lower_part(b, a, i * size, size));
        gate[i] =
            i == 2 ? rlx_mir_build_map1(b, RLX_FN_TANH, gate[i]) : rlx_mir_sigmoid(b, gate[i]);
    }
    rlx_ir_value *fresh = rlx_mir_build_map2(b, RLX_FN_MUL, gate[0], gate[2]);
    *c = rlx_mir_build_map3(b, RLX_FN_FMA, gate[1], arg[2], fresh);
    *h = rlx_mir_build_map2(b, RLX_FN_MUL, gate[3], rlx_mir_build_map1(b, RLX_FN_TANH, *c));
}

void rlx_hir_lstm_lower(rlx_ir_builder *b, const rlx_ir_node *n, rlx_ir_value *const *in,
                        rlx_ir_value **out)
{
    const int state = state_of(n);
    const rlx_dim size = n->in[W_HH]->type.dim[1];
    rlx_hir_steps s;
    rlx_ir_value *h, *c;
    rlx_ir_value *g =
        rlx_hir_lower_gates(b, in[X], in[W_IH], has_bias(n) ? in[FIRST_OPTION] : NULL);
    rlx_hir_steps_init(&s, b, &n->in[X]->type, NULL, 0, false);
    s.spec.backwards = rlx_ir_attr_int(n, RLX_ATTR_STEP, 1) < 0;
    rlx_hir_steps_sequence(&s, g, 0);
    for (int i = 0; i < 2; i++)
        rlx_hir_steps_state(&s, state < 0 ? NULL : in[state + i], 1, &size);
    rlx_hir_steps_stay(&s, in[W_HH], 0);
    if (has_bias(n))
        rlx_hir_steps_stay(&s, in[FIRST_OPTION + 1], 0);
    rlx_ir_builder *body = rlx_hir_steps_begin(&s, 1);
    lower_step(body, n, s.arg, &h, &c);
    rlx_hir_steps_end(&s, (rlx_ir_value *[]){h, h, c});
    out[0] = rlx_hir_steps_output(&s, 0);
    out[1] = rlx_hir_steps_last(&s, 0);
    out[2] = rlx_hir_steps_last(&s, 1);
}
