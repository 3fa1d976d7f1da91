/* hir/ops/gru.c: operands, results and constraints C1 to C8 and C10 are in hir/ops/cells.h; gates in the
 * order r, z, n; the state is h
 *   With g = x w_ih^T + b_ih and a = h w_hh^T + b_hh, in place of sigmoid what gate says and in place
 *   of tanh what cell says:
 *     r = sigmoid(g_r + a_r);  z = sigmoid(g_z + a_z);
 *     n = tanh(g_n + r * a_n) (kind after, as in torch), tanh(g_n + (r * h) w_n^T + b_n) (before);
 *     h' = (1 - z) * n + z * h.
 *   C9  kind is after or before.
 */
#include <string.h>

#include "hir/ops/cells.h"

static const rlx_hir_cell_kind gru = {.gates = 3, .states = 1, .counts = 3};

static bool is_before(const rlx_ir_node *n)
{
    return strcmp(rlx_ir_attr_text(n, RLX_ATTR_KIND, ""), "before") == 0;
}

rlx_status rlx_hir_gru_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    const char *kind = rlx_ir_attr_text(n, RLX_ATTR_KIND, "");
    RLX_TRY(rlx_hir_cell_verify(m, n, &gru));
    RLX_IR_REQUIRE(m, n, "C9", !strcmp(kind, "after") || is_before(n), "kind \"%s\"", kind);
    return RLX_OK;
}

rlx_status rlx_hir_gru_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results)
{
    RLX_TRY(rlx_hir_gru_verify(m, n));
    rlx_hir_cell_infer(n, &gru, results);
    return RLX_OK;
}

/* scratch: the next h, then r * h */
static void eval_step(const rlx_ir_node *n, rlx_eval_tensor *const *in, const float *x,
                      float *const *state, float *scratch)
{
    const int bias = rlx_hir_cell_operand(n, RLX_CELL_BIASES);
    const rlx_eval_tensor *w_ih = in[RLX_CELL_W_IH], *w_hh = in[RLX_CELL_W_HH],
                          *b_ih = bias < 0 ? NULL : in[bias],
                          *b_hh = bias < 0 ? NULL : in[bias + 1];
    const int64_t size = w_hh->dim[1];
    const bool before = is_before(n);
    float *h = state[0], *next = scratch, *seen = before ? scratch + size : h;
    double r[2];
    for (int64_t j = 0; before && j < size; j++)
        seen[j] =
            (float)(h[j] * rlx_hir_cell_eval_activation(n, RLX_ATTR_GATE,
                                                        rlx_hir_eval_affine(w_ih, b_ih, j, x) +
                                                            rlx_hir_eval_affine(w_hh, b_hh, j, h)));
    for (int64_t j = 0; j < size; j++) {
        for (int gate = 0; gate < 2; gate++)
            r[gate] = rlx_hir_cell_eval_activation(
                n, RLX_ATTR_GATE,
                rlx_hir_eval_affine(w_ih, b_ih, gate * size + j, x) +
                    rlx_hir_eval_affine(w_hh, b_hh, gate * size + j, h));
        const double g = rlx_hir_eval_affine(w_ih, b_ih, 2 * size + j, x);
        const double a = rlx_hir_eval_affine(w_hh, b_hh, 2 * size + j, seen);
        const double c =
            rlx_hir_cell_eval_activation(n, RLX_ATTR_CELL, before ? g + a : g + r[0] * a);
        next[j] = (float)((1 - r[1]) * c + r[1] * h[j]);
    }
    memcpy(h, next, sizeof *h * (size_t)size);
}

rlx_status rlx_hir_gru_eval(rlx_hir_eval_cx *cx, const rlx_ir_node *n, rlx_eval_tensor *const *in,
                            rlx_eval_tensor *out)
{
    return rlx_hir_cell_eval(cx, n, &gru, eval_step, in, out);
}

static void lower_step(rlx_ir_builder *b, const rlx_ir_node *n, const rlx_hir_cell_args *s,
                       rlx_ir_value **next)
{
    rlx_ir_value *h = s->state[0];
    const int64_t size = rlx_hir_cell_size(n), gates = is_before(n) ? 2 : 3;
    rlx_ir_value *first = gates == 3 ? s->w : rlx_mir_build_slice(b, s->w, 0, 0, gates * size);
    rlx_ir_value *a = rlx_mir_build_contract(b, h, first);
    if (s->bias)
        a = rlx_mir_build_map2(b, RLX_FN_ADD, a, rlx_hir_lower_part(b, s->bias, 0, gates * size));
    rlx_ir_value *gate[2];
    for (int i = 0; i < 2; i++) {
        rlx_ir_value *sum =
            rlx_mir_build_map2(b, RLX_FN_ADD, rlx_hir_lower_part(b, s->g, i * size, size),
                               rlx_hir_lower_part(b, a, i * size, size));
        gate[i] = rlx_hir_cell_lower_activation(b, n, RLX_ATTR_GATE, sum);
    }
    rlx_ir_value *c = rlx_hir_lower_part(b, s->g, 2 * size, size), *an;
    if (gates == 3) {
        an = rlx_hir_lower_part(b, a, 2 * size, size);
        c = rlx_mir_build_map3(b, RLX_FN_FMA, gate[0], an, c);
    } else {
        rlx_ir_value *rh = rlx_mir_build_map2(b, RLX_FN_MUL, gate[0], h);
        an = rlx_mir_build_contract(b, rh, rlx_mir_build_slice(b, s->w, 0, 2 * size, size));
        c = rlx_mir_build_map2(b, RLX_FN_ADD, c, an);
        if (s->bias)
            c = rlx_mir_build_map2(b, RLX_FN_ADD, c,
                                   rlx_hir_lower_part(b, s->bias, 2 * size, size));
    }
    c = rlx_hir_cell_lower_activation(b, n, RLX_ATTR_CELL, c);
    rlx_ir_value *d = rlx_mir_build_map2(b, RLX_FN_SUB, h, c); /* c + z (h - c) */
    next[0] = rlx_mir_build_map3(b, RLX_FN_FMA, gate[1], d, c);
}

void rlx_hir_gru_lower(rlx_ir_builder *b, const rlx_ir_node *n, rlx_ir_value *const *in,
                       rlx_ir_value **out)
{
    rlx_hir_cell_lower(b, n, &gru, lower_step, in, out);
}
