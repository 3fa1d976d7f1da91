/* hir/ops/delta_rule.c: the gated delta rule, step by step or by chunks of steps
 *   in   q, k f32[B,S,G,D];  v f32[B,S,H,E];  g (the logarithm of the decay), beta f32[B,S,H];
 *        counts[0] = 1: state f32[B,H,D,E], the first one (else zeros)
 *        counts[1] = 2: of tokens: q, k f32[T,G,D], v f32[T,H,E], g, beta f32[T,H], the state a
 *        pool f32[SEQS,H,D,E] of the session, and pos, seq i32[T] follow; with a chunk C then
 *        counts[0] = 4: behind the state pools keys f32[SEQS,H,D,C], values f32[SEQS,H,C,E] and
 *        decays f32[SEQS,H,C+1] of the chunk that is not whole yet
 *   out  o f32[B,S,H,E];  the state after the last step
 *   For each head h, whose q and k are those of head h / (H/G) (kind repeat) or h mod G (kind
 *   tile):
 *     S *= e^g;  d = beta * (v - S^T k);  S += k d^T;  o = scale * S^T q.
 *   With eps, q and k are first divided by sqrt(sum of squares + eps).
 *   With a chunk the same is computed by products of matrices (mir/ops/delta_chunks.c), from the
 *   state where the chunk began: of tokens the state is that one, and chunks begin at multiples of
 *   C of pos.
 *   C1  counts make all operands; tokens need a state.
 *   C2  q is f32[B,S,G,D]; G and D constant.
 *   C3  k has q's type.
 *   C4  v is f32[B,S,H,E], G divides H.
 *   C5  g and beta are f32[B,S,H].
 *   C6  the state is f32[B,H,D,E].
 *   C7  pos and seq are i32[T], and the pool is a state.
 *   C8  scale is there; kind is repeat or tile.
 *   C9  chunk is absent, 16, 32 or 64; its pools have those extents, and are states.
 */
#include <math.h>
#include <string.h>

#include "hir/ops/steps.h"

enum { Q, K, V, G, BETA, STATE, KEYS, VALUES, DECAYS };
enum { STATES, TOKENS };

static bool of_tokens(const rlx_ir_node *n)
{
    return rlx_hir_count(n, TOKENS) > 0;
}

static bool is_tiled(const rlx_ir_node *n)
{
    return strcmp(rlx_ir_attr_text(n, RLX_ATTR_KIND, ""), "tile") == 0;
}

static int64_t chunk_of(const rlx_ir_node *n)
{
    return rlx_ir_attr_int(n, RLX_ATTR_CHUNK, 0);
}

static rlx_status check_chunk(rlx_ir_module *m, const rlx_ir_node *n)
{
    const rlx_dim *s = n->in[STATE]->type.dim, c = chunk_of(n);
    const rlx_dim keys[] = {s[0], s[1], s[2], c}, values[] = {s[0], s[1], c, s[3]};
    const rlx_ir_type want[] = {rlx_ir_tensor(RLX_F32, 4, keys), rlx_ir_tensor(RLX_F32, 4, values),
                                rlx_ir_tensor(RLX_F32, 3, (const rlx_dim[]){s[0], s[1], c + 1})};
    for (int i = KEYS; i <= DECAYS; i++) {
        RLX_HIR_REQUIRE_TYPE(m, n, "C9", rlx_ir_type_equal(&n->in[i]->type, &want[i - KEYS]), i,
                             "of a chunk are keys f32[SEQS,H,D,C], values f32[SEQS,H,C,E], decays "
                             "f32[SEQS,H,C+1]");
        RLX_TRY(rlx_hir_check_state(m, n, "C9", i));
    }
    return RLX_OK;
}

static rlx_status check_operands(rlx_ir_module *m, const rlx_ir_node *n)
{
    const bool tokens = of_tokens(n);
    const int lead = tokens ? 1 : 2;
    const rlx_ir_type *q = &n->in[Q]->type, *v = &n->in[V]->type;
    RLX_HIR_REQUIRE_TYPE(m, n, "C2",
                         rlx_hir_is(n->in[Q], RLX_F32, lead + 2) && q->dim[lead] > 0 &&
                             q->dim[lead + 1] > 0,
                         Q, tokens ? "q is f32[T,G,D]" : "q is f32[B,S,G,D]");
    RLX_HIR_REQUIRE_TYPE(m, n, "C3", rlx_ir_type_equal(&n->in[K]->type, q), K, "k is as q");
    const rlx_dim any[] = {RLX_DIM_INVALID, RLX_DIM_INVALID};
    RLX_HIR_REQUIRE_TYPE(m, n, "C4",
                         rlx_hir_is_steps(n->in[V], n->in[Q], tokens, 2, any) && v->dim[lead] > 0 &&
                             v->dim[lead + 1] > 0 && v->dim[lead] % q->dim[lead] == 0,
                         V, "v is f32 of q's steps and [H,E], H a multiple of G");
    for (int i = G; i <= BETA; i++)
        RLX_HIR_REQUIRE_TYPE(m, n, "C5",
                             rlx_hir_is_steps(n->in[i], n->in[Q], tokens, 1, &v->dim[lead]), i,
                             "g and beta are f32 of q's steps and [H]");
    if (rlx_hir_count(n, STATES))
        RLX_HIR_REQUIRE_TYPE(m, n, "C6",
                             rlx_hir_is_step_state(n->in[STATE], n->in[Q], tokens, 3,
                                                   (const rlx_dim[]){v->dim[lead], q->dim[lead + 1],
                                                                     v->dim[lead + 1]}),
                             STATE, "the state is f32[..,H,D,E]");
    return RLX_OK;
}

rlx_status rlx_hir_delta_rule_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    const bool pools = chunk_of(n) && of_tokens(n);
    const int most[] = {pools ? 4 : 1, 2};
    const char *kind = rlx_ir_attr_text(n, RLX_ATTR_KIND, "");
    RLX_TRY(rlx_hir_check_counts(m, n, "C1", STATE, 2, most));
    RLX_IR_REQUIRE(m, n, "C1", !of_tokens(n) || rlx_hir_count(n, STATES), "tokens without a state");
    RLX_TRY(check_operands(m, n));
    RLX_IR_REQUIRE(m, n, "C8",
                   rlx_ir_attr(n, RLX_ATTR_SCALE) &&
                       (!strcmp(kind, "repeat") || !strcmp(kind, "tile")),
                   "no scale, or kind \"%s\"", kind);
    RLX_IR_REQUIRE(
        m, n, "C9", !rlx_ir_attr(n, RLX_ATTR_CHUNK) || rlx_mir_is_delta_chunk(chunk_of(n)),
        "chunks of %lld steps; there are those of 16, 32 and 64", (long long)chunk_of(n));
    if (of_tokens(n))
        RLX_TRY(rlx_hir_check_tokens(m, n, "C7", STATE));
    return pools ? check_chunk(m, n) : RLX_OK;
}

rlx_status rlx_hir_delta_rule_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results)
{
    RLX_TRY(rlx_hir_delta_rule_verify(m, n));
    const rlx_dim *q = n->in[Q]->type.dim, *v = n->in[V]->type.dim;
    results[0] = n->in[V]->type;
    results[1] = rlx_hir_count(n, STATES)
                     ? n->in[STATE]->type
                     : rlx_ir_tensor(RLX_F32, 4, (const rlx_dim[]){q[0], v[2], q[3], v[3]});
    return RLX_OK;
}

/* One over the length of a vector, or 1 without eps. */
static double unit(const rlx_ir_node *n, const float *x, int64_t d)
{
    double sum = rlx_ir_attr_float(n, RLX_ATTR_EPS, 0);
    if (!rlx_ir_attr(n, RLX_ATTR_EPS))
        return 1;
    for (int64_t i = 0; i < d; i++)
        sum += (double)x[i] * x[i];
    return 1 / sqrt(sum);
}

/* One head of one step; s [D,E] is updated. */
static void eval_head(const rlx_ir_node *n, const float *q, const float *k, const float *v,
                      double g, double beta, int64_t d, int64_t e, float *s, float *o)
{
    const double uq = unit(n, q, d) * rlx_ir_attr_float(n, RLX_ATTR_SCALE, 1), uk = unit(n, k, d);
    const double decay = exp(g);
    for (int64_t j = 0; j < e; j++) {
        double seen = 0, sum = 0;
        for (int64_t i = 0; i < d; i++)
            seen += decay * s[i * e + j] * k[i] * uk;
        const double delta = beta * (v[j] - seen);
        for (int64_t i = 0; i < d; i++) {
            const double next = decay * s[i * e + j] + k[i] * uk * delta;
            s[i * e + j] = (float)next;
            sum += next * q[i] * uq;
        }
        o[j] = (float)sum;
    }
}

/* A head of a sequence whose chunk is not whole: what lies in its pools. */
typedef struct part {
    int64_t d, e, c, i; /* i: the step's number in the chunk */
    bool first;         /* chunk of the sequence: no state is before it */
    float *s, *keys, *values, *decays;
} part;

/* What the state before the chunk and its first n values give for x, to sum [E]. */
static void read_part(const part *p, const float *x, double unit_x, int64_t n, double *sum)
{
    for (int64_t j = 0; j < p->e; j++)
        sum[j] = 0;
    for (int64_t i = 0; i < p->d && !p->first; i++)
        for (int64_t j = 0; j < p->e; j++)
            sum[j] += p->decays[p->c] * x[i] * unit_x * p->s[i * p->e + j];
    for (int64_t t = 0; t < n; t++) {
        double score = 0;
        for (int64_t i = 0; i < p->d; i++)
            score += x[i] * unit_x * p->keys[i * p->c + t];
        for (int64_t j = 0; j < p->e; j++)
            sum[j] += score * p->decays[t] * p->values[t * p->e + j];
    }
}

/* The chunk goes into the state. */
static void end_part(const part *p)
{
    for (int64_t i = 0; i < p->d; i++)
        for (int64_t j = 0; j < p->e; j++) {
            double sum = p->first ? 0 : (double)p->s[i * p->e + j] * p->decays[p->c];
            for (int64_t t = 0; t < p->c; t++)
                sum += (double)p->keys[i * p->c + t] * p->decays[t] * p->values[t * p->e + j];
            p->s[i * p->e + j] = (float)sum;
        }
}

/* One head of one token, by its chunk; sum [E] is scratch. */
static void eval_part(const rlx_ir_node *n, const part *p, const float *q, const float *k,
                      const float *v, double g, double beta, double *sum, float *o)
{
    const double uq = unit(n, q, p->d) * rlx_ir_attr_float(n, RLX_ATTR_SCALE, 1);
    const double uk = unit(n, k, p->d), decay = exp(g);
    for (int64_t j = 0; j < p->c; j++)
        p->decays[j] = j < p->i ? (float)(p->decays[j] * decay) : j == p->i;
    p->decays[p->c] = (float)(p->i ? p->decays[p->c] * decay : decay);
    for (int64_t i = 0; i < p->d; i++)
        p->keys[i * p->c + p->i] = (float)(k[i] * uk);
    read_part(p, k, uk, p->i, sum);
    for (int64_t j = 0; j < p->e; j++)
        p->values[p->i * p->e + j] = (float)(beta * (v[j] - sum[j]));
    read_part(p, q, uq, p->i + 1, sum);
    for (int64_t j = 0; j < p->e; j++)
        o[j] = (float)sum[j];
    if (p->i == p->c - 1)
        end_part(p);
}

/* Head h of the session's sequence `slot`, whose token is at `pos`. */
static part part_of(rlx_eval_tensor *const *in, int64_t c, int64_t slot, int64_t h, int64_t pos)
{
    const int64_t *dim = in[STATE]->dim, d = dim[2], e = dim[3], at = slot * dim[1] + h;
    return (part){.d = d,
                  .e = e,
                  .c = c,
                  .i = pos % c,
                  .first = pos < c,
                  .s = (float *)in[STATE]->data + at * d * e,
                  .keys = (float *)in[KEYS]->data + at * d * c,
                  .values = (float *)in[VALUES]->data + at * c * e,
                  .decays = (float *)in[DECAYS]->data + at * (c + 1)};
}

rlx_status rlx_hir_delta_rule_eval(rlx_hir_eval_cx *cx, const rlx_ir_node *n,
                                   rlx_eval_tensor *const *in, rlx_eval_tensor *out)
{
    const bool tokens = of_tokens(n);
    const int lead = tokens ? 1 : 2;
    const int64_t groups = in[Q]->dim[lead], d = in[Q]->dim[lead + 1], heads = in[V]->dim[lead],
                  e = in[V]->dim[lead + 1];
    RLX_TRY(rlx_hir_eval_alloc(cx, &out[0]));
    RLX_TRY(rlx_hir_eval_state(cx, tokens, rlx_hir_count(n, STATES) ? in[STATE] : NULL, &out[1]));
    const bool pools = tokens && chunk_of(n);
    const rlx_hir_walk w = rlx_hir_walk_of(n, in, tokens, &out[1]);
    double *sum = RLX_NEW_ARRAY(cx->arena, double, e);
    if (!sum)
        return RLX_OOM();
    for (int64_t i = 0; i < w.batch * w.steps; i++) {
        rlx_hir_step s;
        RLX_TRY(rlx_hir_walk_step(&w, i, &s));
        float *state = (float *)out[1].data + s.slot * heads * d * e;
        if (s.fresh && !pools)
            memset(state, 0, sizeof *state * (size_t)(heads * d * e));
        for (int64_t h = 0; h < heads; h++) {
            const int64_t group = is_tiled(n) ? h % groups : h / (heads / groups);
            const int64_t qk = (s.row * groups + group) * d, at = s.row * heads + h;
            const float *q = (const float *)in[Q]->data + qk, *k = (const float *)in[K]->data + qk,
                        *v = (const float *)in[V]->data + at * e;
            const double g = ((const float *)in[G]->data)[at],
                         beta = ((const float *)in[BETA]->data)[at];
            float *o = (float *)out[0].data + at * e;
            if (pools) {
                const part p = part_of(in, chunk_of(n), s.slot, h, w.pos[i]);
                eval_part(n, &p, q, k, v, g, beta, sum, o);
            } else {
                eval_head(n, q, k, v, g, beta, d, e, state + h * d * e, o);
            }
        }
    }
    return RLX_OK;
}

/* x / sqrt(sum of squares + eps) along the last axis. */
static rlx_ir_value *normalise(rlx_ir_builder *b, rlx_ir_value *x, double eps)
{
    int64_t axes[RLX_MAX_RANK];
    rlx_ir_value *sum =
        rlx_mir_build_reduce(b, RLX_FN_ADD, rlx_mir_build_map2(b, RLX_FN_MUL, x, x));
    if (!sum)
        return NULL;
    sum = rlx_mir_build_map2(b, RLX_FN_ADD, sum, rlx_mir_build_const(b, RLX_F32, eps));
    sum = rlx_mir_build_map1(b, RLX_FN_RSQRT, sum);
    for (int i = 0; i < x->type.rank - 1; i++)
        axes[i] = i;
    sum = rlx_mir_build_broadcast(b, sum, x->type.rank, x->type.dim, axes);
    return rlx_mir_build_map2(b, RLX_FN_MUL, x, sum);
}

/* A column of the state: arguments q, k [D], v, decay, beta, S [D]. */
static void lower_step(rlx_ir_builder *b, const rlx_ir_node *n, rlx_ir_value *const *arg,
                       rlx_ir_value **o, rlx_ir_value **next)
{
    rlx_ir_value *scale = rlx_mir_build_const(b, RLX_F32, rlx_ir_attr_float(n, RLX_ATTR_SCALE, 1));
    rlx_ir_value *s = rlx_mir_build_map2(b, RLX_FN_MUL, arg[5], arg[3]);
    rlx_ir_value *seen =
        rlx_mir_build_fold(b, RLX_FN_ADD, rlx_mir_build_map2(b, RLX_FN_MUL, s, arg[1]));
    rlx_ir_value *d = rlx_mir_build_map2(b, RLX_FN_SUB, arg[2], seen);
    d = rlx_mir_build_map2(b, RLX_FN_MUL, d, arg[4]);
    *next = rlx_mir_build_map3(b, RLX_FN_FMA, arg[1], d, s);
    *o = rlx_mir_build_fold(b, RLX_FN_ADD, rlx_mir_build_map2(b, RLX_FN_MUL, *next, arg[0]));
    *o = rlx_mir_build_map2(b, RLX_FN_MUL, *o, scale);
}

/* As one op of MIR; q comes scaled. */
static void lower_chunks(rlx_ir_builder *b, const rlx_ir_node *n, rlx_ir_value *const *in,
                         rlx_ir_value **out)
{
    const bool tokens = of_tokens(n);
    rlx_ir_value *qk[2] = {in[Q], in[K]};
    for (int i = Q; i <= K && rlx_ir_attr(n, RLX_ATTR_EPS); i++)
        qk[i] = normalise(b, in[i], rlx_ir_attr_float(n, RLX_ATTR_EPS, 0));
    rlx_ir_value *scale = rlx_mir_build_const(b, RLX_F32, rlx_ir_attr_float(n, RLX_ATTR_SCALE, 1));
    rlx_mir_delta_chunks c = {.q = rlx_mir_build_map2(b, RLX_FN_MUL, qk[Q], scale),
                              .k = qk[K],
                              .v = in[V],
                              .decay = rlx_mir_build_map1(b, RLX_FN_EXP, in[G]),
                              .beta = in[BETA],
                              .chunk = chunk_of(n),
                              .tile = is_tiled(n)};
    if (rlx_hir_count(n, STATES))
        c.state = in[STATE];
    else
        c.state = rlx_mir_build_broadcast(b, rlx_mir_build_const(b, RLX_F32, 0), 4,
                                          n->out[1]->type.dim, NULL);
    if (tokens) {
        c.keys = in[KEYS];
        c.values = in[VALUES];
        c.decays = in[DECAYS];
        c.pos = in[n->nin - 2];
        c.seq = in[n->nin - 1];
    }
    out[0] = rlx_mir_build_delta_chunks(b, &c, &out[1]);
}

void rlx_hir_delta_rule_lower(rlx_ir_builder *b, const rlx_ir_node *n, rlx_ir_value *const *in,
                              rlx_ir_value **out)
{
    const int lead = of_tokens(n) ? 1 : 2;
    const rlx_dim heads = n->in[V]->type.dim[lead];
    rlx_hir_steps s;
    rlx_ir_value *o, *next;
    if (chunk_of(n)) {
        lower_chunks(b, n, in, out);
        return;
    }
    rlx_hir_steps_init(&s, b, &n->in[Q]->type, of_tokens(n) ? in + n->nin - 2 : NULL, 2, true);
    for (int i = Q; i <= K; i++) {
        rlx_ir_value *x = in[i];
        if (rlx_ir_attr(n, RLX_ATTR_EPS))
            x = normalise(b, x, rlx_ir_attr_float(n, RLX_ATTR_EPS, 0));
        rlx_hir_steps_sequence(&s, rlx_hir_lower_heads(b, x, heads, is_tiled(n)), 1);
    }
    rlx_hir_steps_sequence(&s, in[V], 3);
    rlx_hir_steps_sequence(&s, rlx_mir_build_map1(b, RLX_FN_EXP, in[G]), 1);
    rlx_hir_steps_sequence(&s, in[BETA], 1);
    rlx_hir_steps_state(&s, rlx_hir_count(n, STATES) ? in[STATE] : NULL, 3,
                        n->out[1]->type.dim + 1);
    rlx_ir_builder *body = rlx_hir_steps_begin(&s, 1);
    lower_step(body, n, s.arg, &o, &next);
    rlx_hir_steps_end(&s, (rlx_ir_value *[]){o, next});
    out[0] = rlx_hir_steps_output(&s, 0);
    out[1] = rlx_hir_steps_last(&s, 0);
}
