/* hir/ops/short_conv.c: a causal depthwise convolution with a carried window
 *   in   x f32[B,S,C];  w [C,K] or [C,1,K] (float), K >= 2;  counts[0] = 1: bias [C] (float);
 *        counts[1] = 1: state f32[B,K-1,C], the inputs before x (else zeros)
 *        counts[2] = 2: x is f32[T,C], state a pool f32[SEQS,K-1,C] of the session, and pos, seq
 *        i32[T] follow
 *   out  y f32[B,S,C], y[s,c] = bias[c] + sum_k w[c,k] * x[s - (K-1) + k, c];  the state behind x
 *   C1  x is f32[B,S,C] or f32[T,C], with a constant C.
 *   C2  w is a float [C,K] or [C,1,K], K >= 2.
 *   C3  counts make all operands; tokens need a state.
 *   C4  the bias is a float [C].
 *   C5  the state is f32[B,K-1,C], of tokens f32[SEQS,K-1,C].
 *   C6  pos and seq are i32[T], and the pool is a state.
 */
#include <string.h>

#include "hir/ops/steps.h"

enum { X, W, FIRST_OPTION };
enum { BIASES, STATES, TOKENS };

static bool of_tokens(const rlx_ir_node *n)
{
    return rlx_hir_count(n, TOKENS) > 0;
}

static int state_of(const rlx_ir_node *n)
{
    return rlx_hir_count(n, STATES) ? FIRST_OPTION + rlx_hir_count(n, BIASES) : -1;
}

static int64_t taps(const rlx_ir_node *n)
{
    return rlx_hir_last_dim(n->in[W]);
}

static rlx_status check_weights(rlx_ir_module *m, const rlx_ir_node *n, rlx_dim channels)
{
    const rlx_ir_type *w = &n->in[W]->type;
    const bool flat = w->rank == 2 || (w->rank == 3 && w->dim[1] == 1);
    RLX_HIR_REQUIRE_TYPE(m, n, "C2",
                         flat && rlx_format_is_float(w->format) && w->dim[0] == channels &&
                             w->dim[w->rank - 1] >= 2,
                         W, "w is a float [C,K] or [C,1,K] with K >= 2");
    if (rlx_hir_count(n, BIASES))
        RLX_HIR_REQUIRE_TYPE(m, n, "C4",
                             rlx_hir_is_weight(n->in[FIRST_OPTION], 1) &&
                                 n->in[FIRST_OPTION]->type.dim[0] == channels,
                             FIRST_OPTION, "the bias is a float [C]");
    return RLX_OK;
}

rlx_status rlx_hir_short_conv_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    static const int most[] = {1, 1, 2};
    const rlx_ir_type *x = &n->in[X]->type;
    RLX_TRY(rlx_hir_check_counts(m, n, "C3", FIRST_OPTION, 3, most));
    const bool tokens = of_tokens(n);
    const int state = state_of(n);
    RLX_IR_REQUIRE(m, n, "C3", !tokens || state >= 0, "tokens without a state");
    const rlx_dim c = x->rank ? x->dim[x->rank - 1] : 0;
    RLX_HIR_REQUIRE_TYPE(m, n, "C1", rlx_hir_is(n->in[X], RLX_F32, tokens ? 2 : 3) && c > 0, X,
                         tokens ? "x is f32[T,C]" : "x is f32[B,S,C]");
    RLX_TRY(check_weights(m, n, c));
    if (state >= 0)
        RLX_HIR_REQUIRE_TYPE(m, n, "C5",
                             rlx_hir_is_step_state(n->in[state], n->in[X], tokens, 2,
                                                   (const rlx_dim[]){taps(n) - 1, c}),
                             state, "the state is f32[..,K-1,C]");
    return tokens ? rlx_hir_check_tokens(m, n, "C6", state) : RLX_OK;
}

rlx_status rlx_hir_short_conv_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results)
{
    RLX_TRY(rlx_hir_short_conv_verify(m, n));
    const rlx_ir_type *x = &n->in[X]->type;
    results[0] = *x;
    results[1] =
        state_of(n) >= 0
            ? n->in[state_of(n)]->type
            : rlx_ir_tensor(RLX_F32, 3, (const rlx_dim[]){x->dim[0], taps(n) - 1, x->dim[2]});
    return RLX_OK;
}

rlx_status rlx_hir_short_conv_eval(rlx_hir_eval_cx *cx, const rlx_ir_node *n,
                                   rlx_eval_tensor *const *in, rlx_eval_tensor *out)
{
    const int state = state_of(n);
    const bool tokens = of_tokens(n);
    const int64_t k = in[W]->dim[in[W]->rank - 1], c = in[X]->dim[in[X]->rank - 1];
    RLX_TRY(rlx_hir_eval_alloc(cx, &out[0]));
    RLX_TRY(rlx_hir_eval_state(cx, tokens, state < 0 ? NULL : in[state], &out[1]));
    const rlx_hir_walk w = rlx_hir_walk_of(n, in, tokens, &out[1]);
    for (int64_t i = 0; i < w.batch * w.steps; i++) {
        rlx_hir_step s;
        RLX_TRY(rlx_hir_walk_step(&w, i, &s));
        float *past = (float *)out[1].data + s.slot * (k - 1) * c;
        const float *x = (const float *)in[X]->data + s.row * c;
        if (s.fresh)
            memset(past, 0, sizeof *past * (size_t)((k - 1) * c));
        for (int64_t j = 0; j < c; j++) {
            double sum = rlx_hir_count(n, BIASES) ? rlx_hir_load(in[FIRST_OPTION], j) : 0;
            for (int64_t t = 0; t < k; t++)
                sum += rlx_hir_load(in[W], j * k + t) * (t < k - 1 ? past[t * c + j] : x[j]);
            ((float *)out[0].data)[s.row * c + j] = (float)sum;
        }
        memmove(past, past + c, sizeof *past * (size_t)((k - 2) * c));
        memcpy(past + (k - 2) * c, x, sizeof *x * (size_t)c);
    }
    return RLX_OK;
}

static rlx_ir_value *element(rlx_ir_builder *b, rlx_ir_value *v, int64_t i)
{
    return rlx_mir_build_reshape(b, rlx_hir_lower_part(b, v, i, 1), 0, NULL);
}

/* Arguments: x, the window [K-1], w [K], perhaps a bias. */
static void lower_step(rlx_ir_builder *b, const rlx_ir_node *n, rlx_ir_value *const *arg,
                       rlx_ir_value **y, rlx_ir_value **next)
{
    const int64_t k = taps(n);
    const rlx_dim one[] = {1};
    rlx_ir_value *sum = rlx_hir_count(n, BIASES) ? arg[3] : NULL;
    for (int64_t t = 0; t < k; t++) {
        rlx_ir_value *x = t < k - 1 ? element(b, arg[1], t) : arg[0], *w = element(b, arg[2], t);
        sum = sum ? rlx_mir_build_map3(b, RLX_FN_FMA, w, x, sum)
                  : rlx_mir_build_map2(b, RLX_FN_MUL, w, x);
    }
    *y = sum;
    rlx_ir_value *parts[] = {rlx_hir_lower_part(b, arg[1], 1, k - 2),
                             rlx_mir_build_reshape(b, arg[0], 1, one)};
    *next = k == 2 ? parts[1] : rlx_mir_build_concat(b, 2, parts, 0);
}

void rlx_hir_short_conv_lower(rlx_ir_builder *b, const rlx_ir_node *n, rlx_ir_value *const *in,
                              rlx_ir_value **out)
{
    static const int64_t perm[] = {1, 0};
    const int state = state_of(n);
    const int64_t k = taps(n);
    const rlx_dim c = rlx_hir_last_dim(n->in[X]);
    rlx_hir_steps s;
    rlx_ir_value *y, *next;
    rlx_ir_value *w = rlx_mir_build_reshape(b, in[W], 2, (const rlx_dim[]){c, k});
    rlx_hir_steps_init(&s, b, &n->in[X]->type, of_tokens(n) ? in + n->nin - 2 : NULL, 1, true);
    rlx_hir_steps_sequence(&s, in[X], 1);
    rlx_hir_steps_state(&s, state < 0 ? NULL : in[state], 2, (const rlx_dim[]){k - 1, c});
    rlx_hir_steps_stay(&s, rlx_mir_build_transpose(b, w, perm), 1);
    if (rlx_hir_count(n, BIASES))
        rlx_hir_steps_stay(&s, in[FIRST_OPTION], 1);
    rlx_ir_builder *body = rlx_hir_steps_begin(&s, 1);
    lower_step(body, n, s.arg, &y, &next);
    rlx_hir_steps_end(&s, (rlx_ir_value *[]){y, next});
    out[0] = rlx_hir_steps_output(&s, 0);
    out[1] = rlx_hir_steps_last(&s, 0);
}
