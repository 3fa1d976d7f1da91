/* hir/ops/gru.c
 *   in   x f32[B,S,I];  w_ih [3H,I], w_hh [3H,H] (float or blocks), rows in the order r, z, n;
 *        counts[0] = 2: b_ih, b_hh [3H];  counts[1] = 1: h f32[B,H], the first state (else zeros)
 *   out  y f32[B,S,H], the state after every step;  h f32[B,H], after the last one
 *   With g = x w_ih^T + b_ih and a = h w_hh^T + b_hh:
 *     r = sigmoid(g_r + a_r);  z = sigmoid(g_z + a_z);
 *     n = tanh(g_n + r * a_n) (kind after, as in torch), tanh(g_n + (r * h) w_n^T + b_n) (before);
 *     h' = (1 - z) * n + z * h.
 *   step -1: from the last step to the first.
 *   C1  x is f32[B,S,I].
 *   C2  w_ih is [3H,I].
 *   C3  w_hh is [3H,H] with the H of w_ih, which is constant and not 0.
 *   C4  counts are 0 or 2 biases and 0 or 1 state, and make all operands.
 *   C5  biases are float [3H].
 *   C6  h is f32[B,H].
 *   C7  kind is after or before; step is 1 or -1.
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

static bool is_before(const rlx_ir_node *n)
{
    return strcmp(rlx_ir_attr_text(n, RLX_ATTR_KIND, ""), "before") == 0;
}

rlx_status rlx_hir_gru_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    static const int most[] = {2, 1};
    const rlx_ir_type *x = &n->in[X]->type;
    RLX_HIR_REQUIRE_TYPE(m, n, "C1", rlx_hir_is(n->in[X], RLX_F32, 3), X, "x is f32[B,S,I]");
    const bool cell = rlx_hir_is_weight(n->in[W_HH], 2);
    const rlx_dim h = cell ? n->in[W_HH]->type.dim[1] : 0, h3 = h > 0 ? 3 * h : 0;
    RLX_HIR_REQUIRE_TYPE(m, n, "C3", h > 0 && n->in[W_HH]->type.dim[0] == h3, W_HH,
                         "w_hh is a float or block [3H,H]");
    RLX_HIR_REQUIRE_TYPE(m, n, "C2",
                         rlx_hir_is_weight(n->in[W_IH], 2) && n->in[W_IH]->type.dim[0] == h3 &&
                             n->in[W_IH]->type.dim[1] == x->dim[2],
                         W_IH, "w_ih is a float or block [3H,I]");
    RLX_TRY(rlx_hir_check_counts(m, n, "C4", FIRST_OPTION, 2, most));
    for (int i = FIRST_OPTION; has_bias(n) && i < FIRST_OPTION + 2; i++)
        RLX_HIR_REQUIRE_TYPE(m, n, "C5",
                             rlx_hir_is_weight(n->in[i], 1) && n->in[i]->type.dim[0] == h3, i,
                             "biases are float [3H]");
    if (state_of(n) >= 0)
        RLX_HIR_REQUIRE_TYPE(m, n, "C6",
                             rlx_hir_is_step_state(n->in[state_of(n)], n->in[X], false, 1, &h),
                             state_of(n), "h is f32[B,H]");
    const char *kind = rlx_ir_attr_text(n, RLX_ATTR_KIND, "");
    const int64_t step = rlx_ir_attr_int(n, RLX_ATTR_STEP, 1);
    RLX_IR_REQUIRE(m, n, "C7",
                   (!strcmp(kind, "after") || !strcmp(kind, "before")) && (step == 1 || step == -1),
                   "kind \"%s\", step %lld", kind, (long long)step);
    return RLX_OK;
}

rlx_status rlx_hir_gru_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results)
{
    RLX_TRY(rlx_hir_gru_verify(m, n));
    const rlx_dim *x = n->in[X]->type.dim, h = n->in[W_HH]->type.dim[1];
    results[0] = rlx_ir_tensor(RLX_F32, 3, (const rlx_dim[]){x[0], x[1], h});
    results[1] = rlx_ir_tensor(RLX_F32, 2, (const rlx_dim[]){x[0], h});
    return RLX_OK;
}

/* One step of one sequence: h to y. */
static void eval_step(const rlx_ir_node *n, rlx_eval_tensor *const *in, const float *x, float *h,
                      float *scratch, float *y)
{
    const rlx_eval_tensor *b_ih = has_bias(n) ? in[FIRST_OPTION] : NULL,
                          *b_hh = has_bias(n) ? in[FIRST_OPTION + 1] : NULL;
    const int64_t size = in[W_HH]->dim[1];
    const bool before = is_before(n);
    double r[2];
    for (int64_t j = 0; before && j < size; j++)
        scratch[j] = (float)(h[j] * rlx_hir_sigmoid(rlx_hir_eval_affine(in[W_IH], b_ih, j, x) +
                                                    rlx_hir_eval_affine(in[W_HH], b_hh, j, h)));
    for (int64_t j = 0; j < size; j++) {
        for (int gate = 0; gate < 2; gate++)
            r[gate] = rlx_hir_sigmoid(rlx_hir_eval_affine(in[W_IH], b_ih, gate * size + j, x) +
                                      rlx_hir_eval_affine(in[W_HH], b_hh, gate * size + j, h));
        const double g = rlx_hir_eval_affine(in[W_IH], b_ih, 2 * size + j, x);
        const double a = rlx_hir_eval_affine(in[W_HH], b_hh, 2 * size + j, before ? scratch : h);
        const double c = tanh(before ? g + a : g + r[0] * a);
        y[j] = (float)((1 - r[1]) * c + r[1] * h[j]);
    }
    memcpy(h, y, sizeof *h * (size_t)size);
}

rlx_status rlx_hir_gru_eval(rlx_hir_eval_cx *cx, const rlx_ir_node *n, rlx_eval_tensor *const *in,
                            rlx_eval_tensor *out)
{
    const int state = state_of(n);
    const int64_t size = in[W_HH]->dim[1];
    RLX_TRY(rlx_hir_eval_alloc(cx, &out[0]));
    RLX_TRY(rlx_hir_eval_state(cx, false, state < 0 ? NULL : in[state], &out[1]));
    float *scratch = RLX_NEW_ARRAY(cx->arena, float, size);
    if (!scratch)
        return RLX_OOM();
    const rlx_hir_walk w = rlx_hir_walk_of(n, in, false, &out[1]);
    for (int64_t i = 0; i < w.batch * w.steps; i++) {
        rlx_hir_step s;
        RLX_TRY(rlx_hir_walk_step(&w, i, &s));
        eval_step(n, in, (const float *)in[X]->data + s.row * in[X]->dim[2],
                  (float *)out[1].data + s.slot * size, scratch,
                  (float *)out[0].data + s.row * size);
    }
    return RLX_OK;
}

/* g: [3H] of this step; the next h. */
static rlx_ir_value *lower_step(rlx_ir_builder *b, const rlx_ir_node *n, rlx_ir_value *const *arg)
{
    rlx_ir_value *g = arg[0], *h = arg[1], *w = arg[2], *bias = has_bias(n) ? arg[3] : NULL;
    const int64_t size = n->in[W_HH]->type.dim[1], gates = is_before(n) ? 2 : 3;
    rlx_ir_value *first = gates == 3 ? w : rlx_mir_build_slice(b, w, 0, 0, gates * size);
    rlx_ir_value *a = rlx_mir_build_contract(b, h, first);
    if (bias)
        a = rlx_mir_build_map2(b, RLX_FN_ADD, a, rlx_hir_lower_part(b, bias, 0, gates * size));
    rlx_ir_value *gate[2];
    for (int i = 0; i < 2; i++) {
        rlx_ir_value *sum =
            rlx_mir_build_map2(b, RLX_FN_ADD, rlx_hir_lower_part(b, g, i * size, size),
                               rlx_hir_lower_part(b, a, i * size, size));
        gate[i] = rlx_mir_sigmoid(b, sum);
    }
    rlx_ir_value *c = rlx_hir_lower_part(b, g, 2 * size, size), *an;
    if (gates == 3) {
        an = rlx_hir_lower_part(b, a, 2 * size, size);
        c = rlx_mir_build_map3(b, RLX_FN_FMA, gate[0], an, c);
    } else {
        rlx_ir_value *rh = rlx_mir_build_map2(b, RLX_FN_MUL, gate[0], h);
        an = rlx_mir_build_contract(b, rh, rlx_mir_build_slice(b, w, 0, 2 * size, size));
        c = rlx_mir_build_map2(b, RLX_FN_ADD, c, an);
        if (bias)
            c = rlx_mir_build_map2(b, RLX_FN_ADD, c, rlx_hir_lower_part(b, bias, 2 * size, size));
    }
    c = rlx_mir_build_map1(b, RLX_FN_TANH, c);
    rlx_ir_value *d = rlx_mir_build_map2(b, RLX_FN_SUB, h, c); /* c + z (h - c) */
    return rlx_mir_build_map3(b, RLX_FN_FMA, gate[1], d, c);
}

void rlx_hir_gru_lower(rlx_ir_builder *b, const rlx_ir_node *n, rlx_ir_value *const *in,
                       rlx_ir_value **out)
{
    const int state = state_of(n);
    const rlx_dim size = n->in[W_HH]->type.dim[1];
    rlx_hir_steps s;
    rlx_ir_value *g =
        rlx_hir_lower_gates(b, in[X], in[W_IH], has_bias(n) ? in[FIRST_OPTION] : NULL);
    rlx_hir_steps_init(&s, b, &n->in[X]->type, NULL, 0, false);
    s.spec.backwards = rlx_ir_attr_int(n, RLX_ATTR_STEP, 1) < 0;
    rlx_hir_steps_sequence(&s, g, 0);
    rlx_hir_steps_state(&s, state < 0 ? NULL : in[state], 1, &size);
    rlx_hir_steps_stay(&s, in[W_HH], 0);
    if (has_bias(n))
        rlx_hir_steps_stay(&s, in[FIRST_OPTION + 1], 0);
    rlx_ir_builder *body = rlx_hir_steps_begin(&s, 1);
    rlx_ir_value *h = lower_step(body, n, s.arg);
    rlx_hir_steps_end(&s, (rlx_ir_value *[]){h, h});
    out[0] = rlx_hir_steps_output(&s, 0);
    out[1] = rlx_hir_steps_last(&s, 0);
}
