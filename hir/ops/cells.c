#include "hir/ops/cells.h"

#include <math.h>
#include <string.h>

int rlx_hir_cell_operand(const rlx_ir_node *n, int kind)
{
    int at = RLX_CELL_FIRST_OPTION;
    for (int i = 0; i < kind; i++)
        at += rlx_hir_count(n, i);
    return rlx_hir_count(n, kind) ? at : -1;
}

rlx_dim rlx_hir_cell_size(const rlx_ir_node *n)
{
    return n->in[RLX_CELL_W_HH]->type.dim[1];
}

static rlx_hir_activation activation_of(const rlx_ir_node *n, rlx_attr_key key)
{
    return rlx_hir_find_activation(
        rlx_ir_attr_text(n, key, key == RLX_ATTR_GATE ? "sigmoid" : "tanh"));
}

/* ---- constraints --------------------------------------------------------------------------------
 */

static rlx_status check_weights(rlx_ir_module *m, const rlx_ir_node *n, int gates)
{
    const rlx_ir_value *x = n->in[RLX_CELL_X], *w_ih = n->in[RLX_CELL_W_IH],
                       *w_hh = n->in[RLX_CELL_W_HH];
    RLX_HIR_REQUIRE_TYPE(m, n, "C1", rlx_hir_is(x, RLX_F32, 3), RLX_CELL_X, "x is f32[B,S,I]");
    const rlx_dim h = rlx_hir_is_weight(w_hh, 2) ? w_hh->type.dim[1] : 0;
    const rlx_dim rows = h > 0 ? gates * h : 0;
    RLX_HIR_REQUIRE_TYPE(m, n, "C3", h > 0 && w_hh->type.dim[0] == rows, RLX_CELL_W_HH,
                         gates == 3 ? "w_hh is a float or block [3H,H]"
                                    : "w_hh is a float or block [4H,H]");
    RLX_HIR_REQUIRE_TYPE(m, n, "C2",
                         rlx_hir_is_weight(w_ih, 2) && w_ih->type.dim[0] == rows &&
                             w_ih->type.dim[1] == x->type.dim[2],
                         RLX_CELL_W_IH,
                         gates == 3 ? "w_ih is a float or block [3H,I]"
                                    : "w_ih is a float or block [4H,I]");
    return RLX_OK;
}

static rlx_status check_options(rlx_ir_module *m, const rlx_ir_node *n, const rlx_hir_cell_kind *k)
{
    const rlx_dim h = rlx_hir_cell_size(n);
    const int bias = rlx_hir_cell_operand(n, RLX_CELL_BIASES),
              state = rlx_hir_cell_operand(n, RLX_CELL_STATES),
              length = rlx_hir_cell_operand(n, RLX_CELL_LENGTHS);
    for (int i = bias; bias >= 0 && i < bias + 2; i++)
        RLX_HIR_REQUIRE_TYPE(
            m, n, "C5", rlx_hir_is_weight(n->in[i], 1) && n->in[i]->type.dim[0] == k->gates * h, i,
            k->gates == 3 ? "biases are float [3H]" : "biases are float [4H]");
    for (int i = state; state >= 0 && i < state + k->states; i++)
        RLX_HIR_REQUIRE_TYPE(m, n, "C6",
                             rlx_hir_is_step_state(n->in[i], n->in[RLX_CELL_X], false, 1, &h), i,
                             "first states are f32[B,H]");
    if (length >= 0)
        RLX_HIR_REQUIRE_TYPE(m, n, "C8",
                             rlx_hir_is(n->in[length], RLX_I32, 1) &&
                                 n->in[length]->type.dim[0] == n->in[RLX_CELL_X]->type.dim[0],
                             length, "lengths are i32[B]");
    return RLX_OK;
}

static rlx_status check_activations(rlx_ir_module *m, const rlx_ir_node *n)
{
    static const rlx_attr_key keys[] = {RLX_ATTR_GATE, RLX_ATTR_CELL, RLX_ATTR_OUT};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        RLX_IR_REQUIRE(m, n, "C10", activation_of(n, keys[i]) < RLX_HIR_ACT_COUNT,
                       "there is no activation \"%s\"", rlx_ir_attr_text(n, keys[i], ""));
    const rlx_attr *clip = rlx_ir_attr(n, RLX_ATTR_CLIP);
    RLX_IR_REQUIRE(m, n, "C10", !clip || clip->f > 0, "clip %g", clip ? clip->f : 0);
    return RLX_OK;
}

rlx_status rlx_hir_cell_verify(rlx_ir_module *m, const rlx_ir_node *n, const rlx_hir_cell_kind *k)
{
    const int most[RLX_CELL_COUNTS] = {2, k->states, 1, 1};
    const int64_t step = rlx_ir_attr_int(n, RLX_ATTR_STEP, 1);
    RLX_TRY(check_weights(m, n, k->gates));
    RLX_TRY(rlx_hir_check_counts(m, n, "C4", RLX_CELL_FIRST_OPTION, k->counts, most));
    RLX_TRY(check_options(m, n, k));
    RLX_IR_REQUIRE(m, n, "C7", step == 1 || step == -1, "step %lld", (long long)step);
    return check_activations(m, n);
}

void rlx_hir_cell_infer(const rlx_ir_node *n, const rlx_hir_cell_kind *k, rlx_ir_type *results)
{
    const rlx_dim *x = n->in[RLX_CELL_X]->type.dim, h = rlx_hir_cell_size(n);
    results[0] = rlx_ir_tensor(RLX_F32, 3, (const rlx_dim[]){x[0], x[1], h});
    for (int i = 0; i < k->states; i++)
        results[1 + i] = rlx_ir_tensor(RLX_F32, 2, (const rlx_dim[]){x[0], h});
}

double rlx_hir_cell_eval_activation(const rlx_ir_node *n, rlx_attr_key key, double x)
{
    const double clip = rlx_ir_attr_float(n, RLX_ATTR_CLIP, 0);
    if (clip > 0 && fabs(x) > clip)
        x = x < 0 ? -clip : clip;
    return rlx_hir_eval_activation(activation_of(n, key), x);
}

rlx_ir_value *rlx_hir_cell_lower_activation(rlx_ir_builder *b, const rlx_ir_node *n,
                                            rlx_attr_key key, rlx_ir_value *x)
{
    const double clip = rlx_ir_attr_float(n, RLX_ATTR_CLIP, 0);
    if (clip > 0)
        x = rlx_hir_lower_hold(b, x, -clip, clip);
    return rlx_hir_lower_activation(b, activation_of(n, key), x);
}

/* ---- evaluating ---------------------------------------------------------------------------------
 */

rlx_status rlx_hir_cell_eval(rlx_hir_eval_cx *cx, const rlx_ir_node *n, const rlx_hir_cell_kind *k,
                             rlx_hir_cell_step *step, rlx_eval_tensor *const *in,
                             rlx_eval_tensor *out)
{
    const int first = rlx_hir_cell_operand(n, RLX_CELL_STATES),
              lengths = rlx_hir_cell_operand(n, RLX_CELL_LENGTHS);
    const int64_t size = in[RLX_CELL_W_HH]->dim[1], features = in[RLX_CELL_X]->dim[2];
    RLX_TRY(rlx_hir_eval_alloc(cx, &out[0]));
    for (int i = 0; i < k->states; i++)
        RLX_TRY(rlx_hir_eval_state(cx, false, first < 0 ? NULL : in[first + i], &out[1 + i]));
    float *scratch = RLX_NEW_ARRAY(cx->arena, float, 2 * size);
    if (!scratch)
        return RLX_OOM();
    const rlx_hir_walk w = rlx_hir_walk_of(n, in, false, &out[1]);
    for (int64_t i = 0; i < w.batch * w.steps; i++) {
        rlx_hir_step s;
        float *state[RLX_CELL_MAX_STATES];
        RLX_TRY(rlx_hir_walk_step(&w, i, &s));
        float *y = (float *)out[0].data + s.row * size;
        if (lengths >= 0 && s.row % w.steps >= ((const int32_t *)in[lengths]->data)[s.slot]) {
            memset(y, 0, sizeof *y * (size_t)size);
            continue;
        }
        for (int j = 0; j < k->states; j++)
            state[j] = (float *)out[1 + j].data + s.slot * size;
        step(n, in, (const float *)in[RLX_CELL_X]->data + s.row * features, state, scratch);
        memcpy(y, state[0], sizeof *y * (size_t)size);
    }
    return RLX_OK;
}

/* ---- lowering -----------------------------------------------------------------------------------
 */

/* bool[B,S]: whether a row has the step. */
static rlx_ir_value *find_live(rlx_ir_builder *b, const rlx_ir_value *x, rlx_ir_value *lengths)
{
    rlx_ir_value *step = rlx_mir_iota(b, RLX_I32, 2, x->type.dim, 1);
    return rlx_mir_map2(b, RLX_FN_LT, step, rlx_mir_insert(b, lengths, 1));
}

static rlx_ir_value *optional(rlx_ir_value *const *in, const rlx_ir_node *n, int kind)
{
    const int i = rlx_hir_cell_operand(n, kind);
    return i < 0 ? NULL : in[i];
}

/* Where the row has no such step, states stay and there is nothing to give. */
static void hold(rlx_ir_builder *b, rlx_ir_value *live, const rlx_hir_cell_args *a, int states,
                 rlx_ir_value **next, rlx_ir_value **y)
{
    *y = next[0];
    if (!live)
        return;
    *y = rlx_mir_pick(b, live, next[0], rlx_mir_build_const(b, RLX_F32, 0));
    for (int i = 0; i < states; i++)
        next[i] = rlx_mir_pick(b, live, next[i], a->state[i]);
}

void rlx_hir_cell_lower(rlx_ir_builder *b, const rlx_ir_node *n, const rlx_hir_cell_kind *k,
                        rlx_hir_cell_lower_step *step, rlx_ir_value *const *in, rlx_ir_value **out)
{
    const int bias = rlx_hir_cell_operand(n, RLX_CELL_BIASES),
              first = rlx_hir_cell_operand(n, RLX_CELL_STATES);
    const rlx_dim size = rlx_hir_cell_size(n);
    rlx_ir_value *lengths = optional(in, n, RLX_CELL_LENGTHS),
                 *peephole = optional(in, n, RLX_CELL_PEEPHOLES);
    rlx_ir_value *g =
        rlx_hir_lower_gates(b, in[RLX_CELL_X], in[RLX_CELL_W_IH], bias < 0 ? NULL : in[bias]);
    rlx_ir_value *yield[1 + RLX_CELL_MAX_STATES];
    rlx_hir_steps s;
    rlx_hir_steps_init(&s, b, &n->in[RLX_CELL_X]->type, NULL, 0, false);
    s.spec.backwards = rlx_ir_attr_int(n, RLX_ATTR_STEP, 1) < 0;
    rlx_hir_steps_sequence(&s, g, 0);
    if (lengths)
        rlx_hir_steps_sequence(&s, find_live(b, n->in[RLX_CELL_X], lengths), 0);
    for (int i = 0; i < k->states; i++)
        rlx_hir_steps_state(&s, first < 0 ? NULL : in[first + i], 1, &size);
    rlx_hir_steps_stay(&s, in[RLX_CELL_W_HH], 0);
    if (bias >= 0)
        rlx_hir_steps_stay(&s, in[bias + 1], 0);
    if (peephole)
        rlx_hir_steps_stay(&s, peephole, 0);
    rlx_ir_builder *body = rlx_hir_steps_begin(&s, 1);
    rlx_ir_value *const *arg = s.arg;
    rlx_hir_cell_args a = {.g = *arg++};
    rlx_ir_value *live = lengths ? *arg++ : NULL;
    for (int i = 0; i < k->states; i++)
        a.state[i] = *arg++;
    a.w = *arg++;
    a.bias = bias >= 0 ? *arg++ : NULL;
    a.peephole = peephole ? *arg : NULL;
    step(body, n, &a, yield + 1);
    hold(body, live, &a, k->states, yield + 1, yield);
    rlx_hir_steps_end(&s, yield);
    out[0] = rlx_hir_steps_output(&s, 0);
    for (int i = 0; i < k->states; i++)
        out[1 + i] = rlx_hir_steps_last(&s, i);
}
