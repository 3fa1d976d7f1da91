/* hir/ops/selective_scan.c: state space recurrences (Mamba, and Mamba-2 when A is one per head)
 *   in   x f32[B,S,C], dt f32[B,S,C];  A [C,N];  Bm, Cm f32[B,S,N]
 *        or x f32[B,S,H,P], dt f32[B,S,H];  A [H];  Bm, Cm f32[B,S,G,N], head h using h / (H/G)
 *        counts[0] = 1: D [C], or [H];
 *        counts[1] = 1: state f32[B,C,N], or f32[B,H,P,N] (else zeros)
 *        counts[2] = 2: of tokens: [T,..] for [B,S,..], the state a pool [SEQS,..] of the session,
 *        and pos, seq i32[T] follow
 *   out  y as x;  the state after the last step
 *     h = e^(dt * A) * h + dt * x * Bm (a vector [N] for every channel);
 *     y = sum over N of h * Cm, + D * x.
 *   A is the negative matrix, -e^A_log. A and D are float weights.
 *   C1  counts make all operands; tokens need a state.
 *   C2  x is f32[B,S,C] or f32[B,S,H,P].
 *   C3  dt is f32[B,S,C] or f32[B,S,H].
 *   C4  A is a float [C,N] or [H].
 *   C5  Bm is f32[B,S,N] or f32[B,S,G,N], G divides H, and Cm has its type.
 *   C6  D is a float [C] or [H].
 *   C7  the state is f32[B,C,N] or f32[B,H,P,N].
 *   C8  pos and seq are i32[T], the pool is a state.
 */
#include <math.h>
#include <string.h>

#include "hir/ops/steps.h"

enum { X, DT, A, B, C, FIRST_OPTION };
enum { SKIPS, STATES, TOKENS };

static bool of_tokens(const rlx_ir_node *n)
{
    return rlx_hir_count(n, TOKENS) > 0;
}

static int lead_of(const rlx_ir_node *n)
{
    return of_tokens(n) ? 1 : 2;
}

/* One decay per head, which has P channels. */
static bool has_heads(const rlx_ir_node *n)
{
    return n->in[X]->type.rank == lead_of(n) + 2;
}

static int state_of(const rlx_ir_node *n)
{
    return rlx_hir_count(n, STATES) ? FIRST_OPTION + rlx_hir_count(n, SKIPS) : -1;
}

static rlx_status check_sequences(rlx_ir_module *m, const rlx_ir_node *n)
{
    const bool tokens = of_tokens(n), heads = has_heads(n);
    const int lead = lead_of(n);
    const rlx_dim *x = n->in[X]->type.dim + lead, *b = n->in[B]->type.dim + lead;
    const rlx_dim any[] = {RLX_DIM_INVALID, RLX_DIM_INVALID};
    RLX_HIR_REQUIRE_TYPE(m, n, "C3", rlx_hir_is_steps(n->in[DT], n->in[X], tokens, 1, &x[0]), DT,
                         heads ? "dt is f32 of x's steps and [H]" : "dt is f32 of x's type");
    RLX_HIR_REQUIRE_TYPE(m, n, "C5",
                         rlx_hir_is_steps(n->in[B], n->in[X], tokens, heads ? 2 : 1, any) &&
                             b[0] > 0 && (!heads || (b[1] > 0 && x[0] % b[0] == 0)),
                         B,
                         heads ? "Bm is f32 of x's steps and [G,N], G dividing H"
                               : "Bm is f32 of x's steps and [N]");
    RLX_HIR_REQUIRE_TYPE(m, n, "C5", rlx_ir_type_equal(&n->in[C]->type, &n->in[B]->type), C,
                         "Cm is as Bm");
    return RLX_OK;
}

rlx_status rlx_hir_selective_scan_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    static const int most[] = {1, 1, 2};
    RLX_TRY(rlx_hir_check_counts(m, n, "C1", FIRST_OPTION, 3, most));
    const bool tokens = of_tokens(n), heads = has_heads(n);
    const int lead = lead_of(n), state = state_of(n);
    const rlx_dim *x = n->in[X]->type.dim + lead, *b = n->in[B]->type.dim + lead;
    RLX_IR_REQUIRE(m, n, "C1", !tokens || state >= 0, "tokens without a state");
    RLX_HIR_REQUIRE_TYPE(m, n, "C2",
                         rlx_hir_is(n->in[X], RLX_F32, heads ? lead + 2 : lead + 1) && x[0] > 0 &&
                             (!heads || x[1] > 0),
                         X, "x is f32 of steps and [C] or [H,P]");
    RLX_TRY(check_sequences(m, n));
    const rlx_dim states = heads ? b[1] : b[0];
    const rlx_ir_type *a = &n->in[A]->type;
    RLX_HIR_REQUIRE_TYPE(m, n, "C4",
                         rlx_format_is_float(a->format) && a->rank == (heads ? 1 : 2) &&
                             a->dim[0] == x[0] && (heads || a->dim[1] == states),
                         A, heads ? "A is a float [H]" : "A is a float [C,N]");
    if (rlx_hir_count(n, SKIPS))
        RLX_HIR_REQUIRE_TYPE(m, n, "C6",
                             rlx_hir_is_weight(n->in[FIRST_OPTION], 1) &&
                                 n->in[FIRST_OPTION]->type.dim[0] == x[0],
                             FIRST_OPTION, "D is a float [C] or [H]");
    if (state >= 0)
        RLX_HIR_REQUIRE_TYPE(m, n, "C7",
                             rlx_hir_is_step_state(n->in[state], n->in[X], tokens, heads ? 3 : 2,
                                                   heads ? (const rlx_dim[]){x[0], x[1], states}
                                                         : (const rlx_dim[]){x[0], states}),
                             state, "the state is f32[..,C,N] or f32[..,H,P,N]");
    return tokens ? rlx_hir_check_tokens(m, n, "C8", state) : RLX_OK;
}

rlx_status rlx_hir_selective_scan_infer(rlx_ir_module *m, const rlx_ir_node *n,
                                        rlx_ir_type *results)
{
    RLX_TRY(rlx_hir_selective_scan_verify(m, n));
    const rlx_dim *x = n->in[X]->type.dim, *b = n->in[B]->type.dim;
    results[0] = n->in[X]->type;
    if (state_of(n) >= 0)
        results[1] = n->in[state_of(n)]->type;
    else if (has_heads(n))
        results[1] = rlx_ir_tensor(RLX_F32, 4, (const rlx_dim[]){x[0], x[2], x[3], b[3]});
    else
        results[1] = rlx_ir_tensor(RLX_F32, 3, (const rlx_dim[]){x[0], x[2], b[2]});
    return RLX_OK;
}

/* One channel of one step: its state h [N] is updated, y is returned. */
static double eval_channel(const rlx_eval_tensor *a, int64_t at, bool one_decay, double dt,
                           double x, const float *b, const float *c, int64_t states, float *h)
{
    double y = 0;
    for (int64_t i = 0; i < states; i++) {
        const double decay = exp(dt * rlx_hir_load(a, one_decay ? at : at * states + i));
        const double next = decay * h[i] + dt * x * b[i];
        h[i] = (float)next;
        y += next * c[i];
    }
    return y;
}

rlx_status rlx_hir_selective_scan_eval(rlx_hir_eval_cx *cx, const rlx_ir_node *n,
                                       rlx_eval_tensor *const *in, rlx_eval_tensor *out)
{
    const bool tokens = of_tokens(n), heads = has_heads(n);
    const int lead = lead_of(n), state = state_of(n);
    const int64_t outer = in[X]->dim[lead], inner = heads ? in[X]->dim[lead + 1] : 1,
                  groups = heads ? in[B]->dim[lead] : 1, states = in[B]->dim[in[B]->rank - 1];
    RLX_TRY(rlx_hir_eval_alloc(cx, &out[0]));
    RLX_TRY(rlx_hir_eval_state(cx, tokens, state < 0 ? NULL : in[state], &out[1]));
    const rlx_hir_walk w = rlx_hir_walk_of(n, in, tokens, &out[1]);
    for (int64_t i = 0; i < w.batch * w.steps; i++) {
        rlx_hir_step s;
        RLX_TRY(rlx_hir_walk_step(&w, i, &s));
        float *h = (float *)out[1].data + s.slot * outer * inner * states;
        if (s.fresh)
            memset(h, 0, sizeof *h * (size_t)(outer * inner * states));
        for (int64_t c = 0; c < outer * inner; c++) {
            const int64_t at = c / inner, x = s.row * outer * inner + c,
                          group = (s.row * groups + at / (outer / groups) * heads) * states;
            double y =
                eval_channel(in[A], at, heads, ((const float *)in[DT]->data)[s.row * outer + at],
                             ((const float *)in[X]->data)[x], (const float *)in[B]->data + group,
                             (const float *)in[C]->data + group, states, h + c * states);
            if (rlx_hir_count(n, SKIPS))
                y += rlx_hir_load(in[FIRST_OPTION], at) * ((const float *)in[X]->data)[x];
            ((float *)out[0].data)[x] = (float)y;
        }
    }
    return RLX_OK;
}

/* A channel: arguments x, dt, Bm, Cm [N], h [N], A (a number or [N]), perhaps D. With heads dt is
 * followed by the decay, and A is not there. */
static void lower_step(rlx_ir_builder *b, const rlx_ir_node *n, rlx_ir_value *const *arg,
                       rlx_ir_value **y, rlx_ir_value **next)
{
    const bool heads = has_heads(n);
    rlx_ir_value *x = arg[0], *dt = arg[1], *bm = arg[2], *cm = arg[3], *h = arg[heads ? 5 : 4];
    rlx_ir_value *decay = arg[4], *skip = arg[6];
    if (!heads)
        decay = rlx_mir_build_map1(b, RLX_FN_EXP, rlx_mir_build_map2(b, RLX_FN_MUL, dt, arg[5]));
    rlx_ir_value *u = rlx_mir_build_map2(b, RLX_FN_MUL, dt, x);
    u = rlx_mir_build_map2(b, RLX_FN_MUL, u, bm);
    *next = rlx_mir_build_map3(b, RLX_FN_FMA, decay, h, u);
    *y = rlx_mir_build_reduce(b, RLX_FN_ADD, rlx_mir_build_map2(b, RLX_FN_MUL, *next, cm));
    if (rlx_hir_count(n, SKIPS))
        *y = rlx_mir_build_map3(b, RLX_FN_FMA, skip, x, *y);
}

void rlx_hir_selective_scan_lower(rlx_ir_builder *b, const rlx_ir_node *n, rlx_ir_value *const *in,
                                  rlx_ir_value **out)
{
    const bool heads = has_heads(n);
    const int lead = lead_of(n), state = state_of(n);
    const rlx_dim outer = n->in[X]->type.dim[lead];
    rlx_hir_steps s;
    rlx_ir_value *y, *next;
    rlx_hir_steps_init(&s, b, &n->in[X]->type, of_tokens(n) ? in + n->nin - 2 : NULL, heads ? 2 : 1,
                       false);
    rlx_hir_steps_sequence(&s, in[X], heads ? 3 : 1);
    rlx_hir_steps_sequence(&s, in[DT], 1);
    for (int i = B; i <= C; i++)
        rlx_hir_steps_sequence(&s, heads ? rlx_hir_lower_heads(b, in[i], outer, false) : in[i],
                               heads ? 1 : 0);
    if (heads) { /* one decay for all of a head */
        rlx_ir_value *a = rlx_mir_build_cast(b, in[A], RLX_F32);
        a = rlx_mir_build_map1(b, RLX_FN_EXP, rlx_mir_map2(b, RLX_FN_MUL, in[DT], a));
        rlx_hir_steps_sequence(&s, a, 1);
    }
    rlx_hir_steps_state(&s, state < 0 ? NULL : in[state], heads ? 3 : 2, n->out[1]->type.dim + 1);
    if (!heads)
        rlx_hir_steps_stay(&s, in[A], 1);
    if (rlx_hir_count(n, SKIPS))
        rlx_hir_steps_stay(&s, in[FIRST_OPTION], 1);
    rlx_ir_builder *body = rlx_hir_steps_begin(&s, 1);
    lower_step(body, n, s.arg, &y, &next);
    rlx_hir_steps_end(&s, (rlx_ir_value *[]){y, next});
    out[0] = rlx_hir_steps_output(&s, 0);
    out[1] = rlx_hir_steps_last(&s, 0);
}
