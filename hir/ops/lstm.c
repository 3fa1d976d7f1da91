/* hir/ops/lstm.c: operands, results and constraints C1 to C8 and C10 are in hir/ops/cells.h; gates in the
 * order i, f, g, o; the states are h and c; peepholes p in the order i, f, o
 *   With a = x w_ih^T + b_ih + h w_hh^T + b_hh, in place of sigmoid what gate says, of the first tanh
 *   what cell and of the second what out says:
 *     i = sigmoid(a_i + p_i * c);  f = sigmoid(a_f + p_f * c);
 *     c' = f * c + i * tanh(a_g);  h' = sigmoid(a_o + p_o * c') * tanh(c').
 *   C9  peepholes are float [3H].
 */
#include "hir/ops/cells.h"

static const rlx_hir_cell_kind lstm = {.gates = 4, .states = 2, .counts = 4};
enum { I, F, G, O };

rlx_status rlx_hir_lstm_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    RLX_TRY(rlx_hir_cell_verify(m, n, &lstm));
    const int p = rlx_hir_cell_operand(n, RLX_CELL_PEEPHOLES);
    if (p >= 0)
        RLX_HIR_REQUIRE_TYPE(m, n, "C9",
                             rlx_hir_is_weight(n->in[p], 1) &&
                                 n->in[p]->type.dim[0] == 3 * rlx_hir_cell_size(n),
                             p, "peepholes are float [3H]");
    return RLX_OK;
}

rlx_status rlx_hir_lstm_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results)
{
    RLX_TRY(rlx_hir_lstm_verify(m, n));
    rlx_hir_cell_infer(n, &lstm, results);
    return RLX_OK;
}

/* scratch: the next h */
static void eval_step(const rlx_ir_node *n, rlx_eval_tensor *const *in, const float *x,
                      float *const *state, float *scratch)
{
    const int bias = rlx_hir_cell_operand(n, RLX_CELL_BIASES),
              p = rlx_hir_cell_operand(n, RLX_CELL_PEEPHOLES);
    const rlx_eval_tensor *b_ih = bias < 0 ? NULL : in[bias],
                          *b_hh = bias < 0 ? NULL : in[bias + 1];
    float *h = state[0], *c = state[1];
    const int64_t size = in[RLX_CELL_W_HH]->dim[1];
    for (int64_t j = 0; j < size; j++) {
        double a[4];
        for (int gate = 0; gate < 4; gate++)
            a[gate] = rlx_hir_eval_affine(in[RLX_CELL_W_IH], b_ih, gate * size + j, x) +
                      rlx_hir_eval_affine(in[RLX_CELL_W_HH], b_hh, gate * size + j, h);
        for (int gate = I; p >= 0 && gate <= F; gate++)
            a[gate] += rlx_hir_load(in[p], gate * size + j) * c[j];
        double v[4];
        for (int gate = I; gate <= G; gate++)
            v[gate] =
                rlx_hir_cell_eval_activation(n, gate == G ? RLX_ATTR_CELL : RLX_ATTR_GATE, a[gate]);
        const double next = v[F] * c[j] + v[I] * v[G];
        c[j] = (float)next;
        if (p >= 0)
            a[O] += rlx_hir_load(in[p], 2 * size + j) * next;
        scratch[j] = (float)(rlx_hir_cell_eval_activation(n, RLX_ATTR_GATE, a[O]) *
                             rlx_hir_cell_eval_activation(n, RLX_ATTR_OUT, next));
    }
    for (int64_t j = 0; j < size; j++)
        h[j] = scratch[j];
}

rlx_status rlx_hir_lstm_eval(rlx_hir_eval_cx *cx, const rlx_ir_node *n, rlx_eval_tensor *const *in,
                             rlx_eval_tensor *out)
{
    return rlx_hir_cell_eval(cx, n, &lstm, eval_step, in, out);
}

/* a + p * c, p the peephole `which`, if there are any. */
static rlx_ir_value *look(rlx_ir_builder *b, const rlx_hir_cell_args *s, int which, int64_t size,
                          rlx_ir_value *c, rlx_ir_value *a)
{
    if (!s->peephole)
        return a;
    return rlx_mir_build_map3(b, RLX_FN_FMA, rlx_hir_lower_part(b, s->peephole, which * size, size),
                              c, a);
}

static void lower_step(rlx_ir_builder *b, const rlx_ir_node *n, const rlx_hir_cell_args *s,
                       rlx_ir_value **next)
{
    const int64_t size = rlx_hir_cell_size(n);
    rlx_ir_value *a = rlx_mir_build_contract(b, s->state[0], s->w), *gate[4], *c = s->state[1];
    if (s->bias)
        a = rlx_mir_build_map2(b, RLX_FN_ADD, a, s->bias);
    for (int i = 0; i < 4; i++)
        gate[i] = rlx_mir_build_map2(b, RLX_FN_ADD, rlx_hir_lower_part(b, s->g, i * size, size),
                                     rlx_hir_lower_part(b, a, i * size, size));
    for (int i = I; i <= F; i++)
        gate[i] =
            rlx_hir_cell_lower_activation(b, n, RLX_ATTR_GATE, look(b, s, i, size, c, gate[i]));
    gate[G] = rlx_hir_cell_lower_activation(b, n, RLX_ATTR_CELL, gate[G]);
    rlx_ir_value *fresh = rlx_mir_build_map2(b, RLX_FN_MUL, gate[I], gate[G]);
    c = rlx_mir_build_map3(b, RLX_FN_FMA, gate[F], c, fresh);
    gate[O] = rlx_hir_cell_lower_activation(b, n, RLX_ATTR_GATE, look(b, s, 2, size, c, gate[O]));
    next[0] = rlx_mir_build_map2(b, RLX_FN_MUL, gate[O],
                                 rlx_hir_cell_lower_activation(b, n, RLX_ATTR_OUT, c));
    next[1] = c;
}

void rlx_hir_lstm_lower(rlx_ir_builder *b, const rlx_ir_node *n, rlx_ir_value *const *in,
                        rlx_ir_value **out)
{
    rlx_hir_cell_lower(b, n, &lstm, lower_step, in, out);
}
