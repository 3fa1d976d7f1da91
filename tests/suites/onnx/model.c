/* tests/suites/onnx/model.c: attention, rotations, recurrences. */
#include <math.h>
#include <string.h>

#include "tests/suites/onnx/onnx.h"

/* ---- attention -------------------------------------------------------------------------------- */

/* [B, S, H D] or [B, H, S, D] as [B, S, H, D]. */
static val heads_of(onnx *x, int i, const char *heads)
{
    val a = ox_in(x, i);
    const int64_t H = ox_int(x, heads, 1);
    const int64_t dims[] = {ox_dim(a, 0), ox_dim(a, 1), H, ox_dim(a, -1) / H};
    return rlx_value_rank(a) == 4 ? rlx_build_move(x->b, a, 1, 2)
                                  : rlx_build_reshape(x->b, a, 4, dims);
}

/* Back to what input 0 has. */
static val joined(onnx *x, val y)
{
    return x->in[0].rank == 3 ? rlx_build_flatten(x->b, y, 2, 3) : rlx_build_move(x->b, y, 1, 2);
}

static val with_past(onnx *x, val a, int past)
{
    if (!ox_has(x, past))
        return a;
    return rlx_build_concat(x->b, 2, (val[]){rlx_build_move(x->b, ox_in(x, past), 1, 2), a}, 1);
}

/* Keys that the mask says nothing of are not seen. */
static val mask_of(onnx *x, int64_t keys)
{
    val m = ox_has(x, 3) ? ox_in(x, 3) : NULL;
    const double unseen = rlx_value_format(m) == RLX_BOOL ? 0 : -INFINITY;
    return m ? rlx_build_pad(x->b, m, -1, 0, keys - ox_dim(m, -1), unseen) : NULL;
}

/* Scores [B, N, S, K] as far as `mode` says: scaled, capped, masked, weights. */
static val scores_of(onnx *x, val q, val k, const rlx_dense_attention_spec *s, int64_t mode)
{
    const int64_t B = ox_dim(q, 0), S = ox_dim(q, 1), N = ox_dim(q, 2), D = ox_dim(q, 3);
    const int64_t G = ox_dim(k, 2), K = ox_dim(k, 1);
    q = rlx_build_reshape(x->b, rlx_build_move(x->b, q, 1, 2), 5, (int64_t[]){B, G, N / G, S, D});
    k = rlx_build_insert(x->b, rlx_build_transpose(x->b, k, (int64_t[]){0, 2, 3, 1}), 2);
    val y = rlx_build_reshape(x->b, rlx_build_matmul(x->b, q, k), 4, (int64_t[]){B, N, S, K});
    y = MUL(y, LIKE(y, s->scale != 0 ? s->scale : 1 / sqrt((double)D)));
    if (mode > 0 && s->softcap > 0)
        y = rlx_build_activation(x->b, RLX_ACT_SOFTCAP, s->softcap, 0, y);
    if (mode < 2)
        return y;
    val low = LIKE(y, -INFINITY), key = ox_iota(x, RLX_I32, y, 3);
    y = s->bias ? ADD(y, s->bias) : y;
    y = s->mask ? PICK(s->mask, y, low) : y;
    if (s->causal)
        y = PICK(LE(key, ADD(ox_iota(x, RLX_I32, y, 2), LIKE(key, (double)s->at))), y, low);
    if (s->lengths)
        y = PICK(LT(key, rlx_build_reshape(x->b, s->lengths, 4, (int64_t[]){B, 1, 1, 1})), y, low);
    return mode == 2 ? y : rlx_build_softmax(x->b, y, 3);
}

OPERATOR(Attention)
{
    val q = heads_of(x, 0, "q_num_heads"), fresh = heads_of(x, 1, "kv_num_heads");
    val k = with_past(x, fresh, 4), v = with_past(x, heads_of(x, 2, "kv_num_heads"), 5);
    val mask = mask_of(x, ox_dim(k, 1));
    rlx_dense_attention_spec spec = {.scale = ox_float(x, "scale", 0),
                                     .softcap = ox_float(x, "softcap", 0),
                                     .causal = ox_int(x, "is_causal", 0),
                                     .at = ox_dim(k, 1) - ox_dim(fresh, 1)};
    if (rlx_value_format(mask) == RLX_BOOL)
        spec.mask = mask;
    else
        spec.bias = mask;
    if (ox_has(x, 6))
        spec.lengths = rlx_build_cast(x->b, ox_in(x, 6), RLX_I32);
    ox_out(x, 0, joined(x, rlx_build_dense_attention(x->b, q, k, v, &spec)));
    ox_out(x, 1, rlx_build_move(x->b, k, 1, 2));
    ox_out(x, 2, rlx_build_move(x->b, v, 1, 2));
    if (x->nout > 3)
        ox_out(x, 3, scores_of(x, q, k, &spec, ox_int(x, "qk_matmul_output_mode", 0)));
}

OPERATOR(RotaryEmbedding)
{
    val a = heads_of(x, 0, "num_heads"), table[2];
    for (int i = 0; i < 2; i++) {
        table[i] = ox_in(x, 1 + i);
        if (ox_has(x, 3))
            table[i] = rlx_build_take(x->b, table[i], ox_in(x, 3), 0);
    }
    val y = rlx_build_rope(x->b, rlx_build_flatten(x->b, a, 2, 3), table[0], table[1], ox_dim(a, 2),
                           ox_int(x, "interleaved", 0), false);
    ox_out(x, 0, joined(x, ox_like(x, y, a)));
}

/* ---- linear attention ------------------------------------------------------------------------- */

typedef struct linear {
    onnx *x;
    double scale;
    bool delta;
    int decay, beta; /* operands of a step; -1: none */
} linear;

/* S [D, E] after key and value of a step, S' = e^decay S + k (v - ..), read by queries [r, D]. */
static void linear_step(rlx_builder *b, val const *args, val *results, void *user)
{
    const linear *l = user;
    onnx *x = l->x;
    val S = args[3 + (l->decay > 0) + (l->beta > 0)];
    val k = rlx_build_insert(b, args[1], 1), v = args[2];
    if (l->decay > 0)
        S = MUL(S, rlx_build_insert(b, EXP(args[l->decay]), 1));
    if (l->delta)
        v = SUB(v, ox_fold(x, RLX_MAP_ADD, MUL(S, k), 1, false));
    if (l->beta > 0)
        v = MUL(v, args[l->beta]);
    results[1] = ADD(S, MUL(k, v));
    val y = rlx_build_matmul(b, args[0], results[1]);
    results[0] = MUL(y, LIKE(y, l->scale));
}

/* [B, T, G ..] as [T, B, G, .., width]. */
static val in_steps(onnx *x, int i, int64_t G, int64_t queries)
{
    val a = ox_in(x, i);
    const int64_t width = ox_dim(a, 2) / G / queries;
    const int64_t dims[] = {ox_dim(a, 0), ox_dim(a, 1), G, queries > 1 ? queries : width, width};
    return rlx_build_move(x->b, rlx_build_reshape(x->b, a, queries > 1 ? 5 : 4, dims), 0, 1);
}

/* Any rule, by its steps. */
static val by_steps(onnx *x, linear *l, int64_t H, int64_t G, val state, val *last)
{
    rlx_recur_spec spec = {
        .states = 1, .parallel = 2, .outputs = 1, .step = linear_step, .user = l};
    val results[2];
    spec.operand[0] = in_steps(x, 0, G, H / G);
    if (H == G)
        spec.operand[0] = rlx_build_insert(x->b, spec.operand[0], 3);
    spec.operand[1] = in_steps(x, 1, G, 1);
    spec.operand[2] = in_steps(x, 2, G, 1);
    spec.sequences = 3;
    if (l->decay >= 0)
        spec.operand[l->decay = spec.sequences++] = in_steps(x, 4, G, 1);
    if (l->beta >= 0)
        spec.operand[l->beta = spec.sequences++] = in_steps(x, 5, G, 1);
    spec.operand[spec.sequences] = state;
    rlx_build_recur(x->b, &spec, results);
    *last = results[1];
    return rlx_build_move(x->b, results[0], 0, 1); /* [B, T, G, r, E] */
}

/* Heads' parts of [B, T, G ..], each for the queries that share it: [B, T, H, width]. */
static val for_queries(onnx *x, val a, int64_t H, int64_t G)
{
    const int64_t B = ox_dim(a, 0), T = ox_dim(a, 1), width = ox_dim(a, 2) / G;
    a = rlx_build_reshape(x->b, a, 5, (int64_t[]){B, T, G, 1, width});
    a = rlx_build_expand(x->b, a, 5, (int64_t[]){B, T, G, H / G, width});
    return rlx_build_flatten(x->b, a, 2, 3);
}

/* The delta rule with a decay per head. */
static val by_delta_rule(onnx *x, const linear *l, int64_t H, int64_t G, val state, val *last)
{
    rlx_delta_rule_spec spec = {.scale = l->scale};
    const int in[] = {1, 2, 4, 5};
    val parts[4];
    for (int i = 0; i < 4; i++)
        parts[i] = ox_has(x, in[i]) ? for_queries(x, ox_in(x, in[i]), H, G) : NULL;
    spec.q = for_queries(x, ox_in(x, 0), H, H);
    spec.k = parts[0];
    spec.v = parts[1];
    const int64_t dims[] = {ox_dim(spec.q, 0), ox_dim(spec.q, 1), H};
    for (int i = 2; i < 4; i++)
        parts[i] = parts[i] ? rlx_build_reshape(x->b, parts[i], 3, dims)
                            : rlx_build_expand(x->b, rlx_build_constant(x->b, i - 2), 3, dims);
    spec.g = parts[2];
    spec.beta = parts[3];
    const int64_t wide[] = {dims[0], G, H / G, ox_dim(state, 2), ox_dim(state, 3)};
    state = rlx_build_expand(x->b, rlx_build_insert(x->b, state, 2), 5, wide);
    spec.state = rlx_build_flatten(x->b, state, 1, 2);
    val y = rlx_build_delta_rule(x->b, &spec, last);
    *last = rlx_build_slice(x->b, *last, 1, 0, G, H / G);
    return y;
}

OPERATOR(LinearAttention)
{
    const int64_t H = ox_int(x, "q_num_heads", 1), G = ox_int(x, "kv_num_heads", 1);
    const char *rule = ox_text(x, "update_rule", "gated_delta");
    val q = ox_in(x, 0), k = ox_in(x, 1), v = ox_in(x, 2), last;
    const int64_t dims[] = {ox_dim(q, 0), G, ox_dim(k, 2) / G, ox_dim(v, 2) / G};
    linear l = {.x = x, .scale = ox_float(x, "scale", 0), .delta = strstr(rule, "delta")};
    l.scale = l.scale != 0 ? l.scale : 1 / sqrt((double)dims[2]);
    l.decay = rule[0] == 'g' && ox_has(x, 4) ? 0 : -1;
    l.beta = l.delta && ox_has(x, 5) ? 0 : -1;
    val state =
        ox_has(x, 3) ? ox_in(x, 3) : rlx_build_expand(x->b, rlx_build_constant(x->b, 0), 4, dims);
    const bool per_head =
        l.delta && (rule[0] == 'g' || !ox_has(x, 4)) && (l.decay < 0 || x->in[4].dim[2] == G);
    val y =
        per_head ? by_delta_rule(x, &l, H, G, state, &last) : by_steps(x, &l, H, G, state, &last);
    ox_out(x, 0, rlx_build_reshape(x->b, y, 3, (int64_t[]){dims[0], ox_dim(q, 1), H * dims[3]}));
    ox_out(x, 1, last);
}

/* ---- recurrences ------------------------------------------------------------------------------ */

/* Direction d of [dirs, ..] without that axis; NULL when the input is left out. */
static val of_direction(onnx *x, int i, int d)
{
    int64_t dims[ONNX_MAX_RANK];
    if (!ox_has(x, i))
        return NULL;
    val a = ox_in(x, i);
    ox_dims(a, dims);
    a = rlx_build_slice(x->b, a, 0, d, 1, 1);
    return rlx_build_reshape(x->b, a, rlx_value_rank(a) - 1, dims + 1);
}

/* A first state; with batches in front it is [B, dirs, H]. */
static val state_of(onnx *x, int i, int d)
{
    if (!ox_has(x, i) || !ox_int(x, "layout", 0))
        return of_direction(x, i, d);
    val a = ox_in(x, i);
    return rlx_build_reshape(x->b, rlx_build_slice(x->b, a, 1, d, 1, 1), 2,
                             (int64_t[]){ox_dim(a, 0), ox_dim(a, 2)});
}

/* The n parts of an axis in another order. */
static val reordered(onnx *x, val v, int n, const int *order)
{
    val parts[4];
    const int64_t size = ox_dim(v, 0) / n;
    for (int i = 0; v && i < n; i++)
        parts[i] = rlx_build_slice(x->b, v, 0, order[i] * size, size, 1);
    return v ? rlx_build_concat(x->b, n, parts, 0) : NULL;
}

/* Biases of the input's product (0) and of the state's (1) of [dirs, 2 gates H]. */
static val bias_of(onnx *x, int which, int d, int gates, const int *order)
{
    val both = of_direction(x, 3, d);
    const int64_t n = ox_dim(both, 0) / 2;
    return both ? reordered(x, rlx_build_slice(x->b, both, 0, which * n, n, 1), gates, order)
                : NULL;
}

static void rnn_step(rlx_builder *b, val const *args, val *results, void *user)
{
    onnx *x = user; /* args: what the input gives, h, the weights of h */
    val h = rlx_build_matmul(b, args[2], args[1]);
    results[0] = results[1] = MAP1(TANH, ADD(args[0], h));
}

static val run_rnn(onnx *x, val in, const rlx_cell_spec *c, val *h)
{
    val a = rlx_build_linear(x->b, rlx_build_move(x->b, in, 0, 1), c->w_ih, NULL), results[2];
    if (c->b_ih)
        a = ADD(ADD(a, c->b_ih), c->b_hh);
    const int64_t dims[] = {ox_dim(in, 0), ox_dim(c->w_hh, 0)};
    val first = c->h ? c->h : rlx_build_expand(x->b, rlx_build_constant(x->b, 0), 2, dims);
    const rlx_recur_spec spec = {.sequences = 1,
                                 .states = 1,
                                 .stay = 1,
                                 .operand = {a, first, c->w_hh},
                                 .parallel = 1,
                                 .outputs = 1,
                                 .backwards = c->backwards,
                                 .step = rnn_step,
                                 .user = x};
    if (c->lengths)
        ox_refuse(x, "sequences of different lengths");
    rlx_build_recur(x->b, &spec, results);
    *h = results[1];
    return rlx_build_move(x->b, results[0], 0, 1);
}

/* ONNX's function of a cell, at the numbers that it has there when nothing is said. Sigmoid and tanh
 * are what cells have. */
static rlx_activation cell_activation(onnx *x, const char *name)
{
    static const struct {
        const char *name;
        rlx_activation fn;
    } known[] = {{"Relu", RLX_ACT_RELU},        {"Tanh", RLX_ACT_TANH},
                 {"Sigmoid", RLX_ACT_SIGMOID},  {"LeakyRelu", RLX_ACT_LEAKY_RELU},
                 {"Elu", RLX_ACT_ELU},          {"Softsign", RLX_ACT_SOFTSIGN},
                 {"Softplus", RLX_ACT_SOFTPLUS}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(known[i].name, name))
            return known[i].fn;
    ox_refuse(x, "the activation %s", name);
    return RLX_ACT_IDENTITY;
}

/* `activations` has 1 to 3 of them for each direction. */
static void choose_activations(onnx *x, int d, int gates, rlx_cell_spec *s)
{
    const cJSON *all = cJSON_GetObjectItem(x->attributes, "activations");
    const int each = gates == 4 ? 3 : gates == 3 ? 2 : 1;
    rlx_activation *const to[] = {&s->gate, &s->cell, &s->out};
    s->clip = ox_float(x, "clip", 0);
    if (cJSON_GetObjectItem(x->attributes, "activation_alpha") ||
        cJSON_GetObjectItem(x->attributes, "activation_beta"))
        ox_refuse(x, "activations with numbers of their own");
    for (int i = 0; all && i < each; i++) {
        const cJSON *one = cJSON_GetArrayItem(all, d * each + i);
        *to[i] = cell_activation(x, cJSON_IsString(one) ? one->valuestring : "");
    }
    if (gates == 1 && ((s->gate && s->gate != RLX_ACT_TANH) || s->clip != 0))
        ox_refuse(x, "an RNN of other activations than tanh");
}

/* One direction of [B, S, I], its gates from ONNX's order into that of cells. */
static val run_direction(onnx *x, val in, int d, bool back, int gates, val *h, val *c)
{
    static const int orders[][4] = {{0}, {0}, {0}, {1, 0, 2}, {0, 2, 3, 1}};
    static const int peepholes[] = {0, 2, 1};
    const int *order = orders[gates];
    rlx_cell_spec s = {.w_ih = reordered(x, of_direction(x, 1, d), gates, order),
                       .w_hh = reordered(x, of_direction(x, 2, d), gates, order),
                       .b_ih = bias_of(x, 0, d, gates, order),
                       .b_hh = bias_of(x, 1, d, gates, order),
                       .h = state_of(x, 5, d),
                       .c = gates == 4 ? state_of(x, 6, d) : NULL,
                       .backwards = back,
                       .reset_before = !ox_int(x, "linear_before_reset", 0)};
    if (ox_has(x, 4))
        s.lengths = ox_in(x, 4);
    choose_activations(x, d, gates, &s);
    if (gates == 1)
        return run_rnn(x, in, &s, h);
    if (gates == 3)
        return rlx_build_gru(x->b, in, &s, h);
    s.peephole = reordered(x, of_direction(x, 7, d), 3, peepholes);
    return rlx_build_lstm(x->b, in, &s, h, c);
}

/* Outputs [S, dirs, B, H] and [dirs, B, H]; batch_first: [B, S, dirs, H] and [B, dirs, H]. */
static void recur(onnx *x, int gates)
{
    const bool batch_first = ox_int(x, "layout", 0);
    const char way = ox_text(x, "direction", "forward")[0];
    const int dirs = way == 'b' ? 2 : 1;
    val in = ox_in(x, 0), y[2], state[2][2] = {{0}};
    in = batch_first ? in : rlx_build_move(x->b, in, 0, 1);
    for (int d = 0; d < dirs; d++) {
        y[d] = run_direction(x, in, d, d == 1 || way == 'r', gates, &state[0][d], &state[1][d]);
        y[d] = rlx_build_insert(x->b, y[d], 2); /* [B, S, 1, H] */
    }
    val all = rlx_build_concat(x->b, dirs, y, 2);
    const int64_t perm[] = {1, 2, 0, 3};
    ox_out(x, 0, batch_first ? all : rlx_build_transpose(x->b, all, perm));
    for (int k = 0; k < (gates == 4 ? 2 : 1); k++) {
        for (int d = 0; d < dirs; d++)
            state[k][d] = rlx_build_insert(x->b, state[k][d], batch_first ? 1 : 0);
        ox_out(x, 1 + k, rlx_build_concat(x->b, dirs, state[k], batch_first ? 1 : 0));
    }
}

OPERATOR(RNN)
{
    recur(x, 1);
}

OPERATOR(GRU)
{
    recur(x, 3);
}

OPERATOR(LSTM)
{
    recur(x, 4);
}
