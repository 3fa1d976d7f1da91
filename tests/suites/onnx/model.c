/* tests/suites/onnx/model.c: attention, rotations, recurrences. Steps of a recurrence are unrolled.
 */
#include <math.h>
#include <string.h>

#include "tests/suites/onnx/old.h"

/* ---- attention
 * ------------------------------------------------------------------------------------- */

/* [B, S, H D] or [B, H, S, D] to the latter. */
static val heads_of(onnx *x, int i, const char *heads)
{
    val a = ox_in(x, i);
    if (!a || a->type.rank == 4)
        return a;
    int64_t H = ox_int(x, heads, 1), B = ox_dim(a, 0), S = ox_dim(a, 1);
    return rlx_mir_move(IR, rlx_mir_reshape(IR, a, 4, (int64_t[]){B, S, H, ox_dim(a, 2) / H}), 2,
                        1);
}

static val with_past(onnx *x, val a, int past)
{
    return a && ox_has(x, past) ? rlx_mir_build_concat(IR, 2, (val[]){ox_in(x, past), a}, 2) : a;
}

/* What is added to scores [B, H, S, T]: NULL, or -inf where a key is not seen. */
static val mask_of(onnx *x, int64_t T)
{
    if (!ox_has(x, 3))
        return NULL;
    val m = ox_in(x, 3), low = rlx_mir_build_const(IR, RLX_F32, -INFINITY);
    if (!m)
        return NULL;
    if (m->type.format == RLX_BOOL)
        m = PICK(m, rlx_mir_build_const(IR, RLX_F32, 0), low);
    return rlx_mir_pad(IR, m, m ? m->type.rank - 1 : 0, 0, T - ox_dim(m, -1), low);
}

static val hide(onnx *x, val s, val seen)
{
    return PICK(seen, s, LIKE(s, -INFINITY));
}

/* Keys that come later than the query, or behind what a sequence holds, are not seen. */
static val hide_keys(onnx *x, val s, int64_t past)
{
    val key = rlx_mir_iota(IR, RLX_I64, 4, s->type.dim, 3);
    if (ox_int(x, "is_causal", 0)) {
        val query = rlx_mir_iota(IR, RLX_I64, 4, s->type.dim, 2);
        s = hide(x, s, LE(key, ADD(query, LIKE(query, (double)past))));
    }
    if (ox_has(x, 6))
        s = hide(x, s,
                 LT(key, rlx_mir_reshape(IR, ox_in(x, 6), 4, (int64_t[]){ox_dim(s, 0), 1, 1, 1})));
    return s;
}

static void do_attention(onnx *x)
{
    val q = heads_of(x, 0, "q_num_heads"), k = heads_of(x, 1, "kv_num_heads");
    val v = heads_of(x, 2, "kv_num_heads"), modes[4];
    int64_t mode = ox_int(x, "qk_matmul_output_mode", 0), fresh = ox_dim(k, 2);
    k = with_past(x, k, 4);
    v = with_past(x, v, 5);
    if (!q || !k || !v)
        return;
    int64_t B = ox_dim(q, 0), H = ox_dim(q, 1), S = ox_dim(q, 2), D = ox_dim(q, 3);
    int64_t G = ox_dim(k, 1), T = ox_dim(k, 2), E = ox_dim(v, 3);
    ox_out(x, 1, k);
    ox_out(x, 2, v);
    /* heads of a group share keys: [B, G, H/G, S, D] */
    q = rlx_mir_reshape(IR, q, 5, (int64_t[]){B, G, H / G, S, D});
    k = rlx_mir_reshape(IR, k, 5, (int64_t[]){B, G, 1, T, D});
    v = rlx_mir_reshape(IR, v, 5, (int64_t[]){B, G, 1, T, E});
    val s = rlx_mir_matmul(IR, q, rlx_mir_move(IR, k, 3, 4));
    s = MUL(s, LIKE(s, ox_float(x, "scale", 1 / sqrt((double)D))));
    modes[0] = s = rlx_mir_reshape(IR, s, 4, (int64_t[]){B, H, S, T});
    double cap = ox_float(x, "softcap", 0);
    if (cap > 0)
        s = MUL(rlx_mir_map1(IR, RLX_FN_TANH, DIV(s, LIKE(s, cap))), LIKE(s, cap));
    modes[1] = s;
    val mask = mask_of(x, T);
    s = mask ? ADD(s, mask) : s;
    modes[2] = s = s ? hide_keys(x, s, T - fresh) : NULL;
    modes[3] = s = rlx_mir_softmax(IR, s, 3);
    ox_out(x, 3, modes[mode & 3]);
    val y = rlx_mir_matmul(IR, rlx_mir_reshape(IR, s, 5, (int64_t[]){B, G, H / G, S, T}), v);
    y = rlx_mir_reshape(IR, y, 4, (int64_t[]){B, H, S, E});
    if (x->in[0].rank == 3)
        y = rlx_mir_reshape(IR, rlx_mir_move(IR, y, 1, 2), 3, (int64_t[]){B, S, H * E});
    ox_out(x, 0, y);
}

/* Pairs of a head's first elements, halves or neighbours, turned by angles of their position. */
static void do_rotary(onnx *x)
{
    val a = heads_of(x, 0, "num_heads"), c = ox_in(x, 1), s = ox_in(x, 2);
    if (!a || !c || !s)
        return;
    int64_t B = ox_dim(a, 0), H = ox_dim(a, 1), S = ox_dim(a, 2), D = ox_dim(a, 3);
    int64_t R = ox_int(x, "rotary_embedding_dim", 0);
    R = R ? R : D;
    if (ox_has(x, 3)) {
        c = rlx_mir_take(IR, c, ox_in(x, 3), 0);
        s = rlx_mir_take(IR, s, ox_in(x, 3), 0);
    }
    c = rlx_mir_insert(IR, c, 1);
    s = rlx_mir_insert(IR, s, 1);
    bool pairs = ox_int(x, "interleaved", 0);
    val head = rlx_mir_slice(IR, a, 3, 0, R, 1), rest = rlx_mir_slice(IR, a, 3, R, D - R, 1);
    val p = rlx_mir_slice(IR, head, 3, 0, R / 2, pairs ? 2 : 1);
    val q = rlx_mir_slice(IR, head, 3, pairs ? 1 : R / 2, R / 2, pairs ? 2 : 1);
    val re = SUB(MUL(c, p), MUL(s, q)), im = ADD(MUL(s, p), MUL(c, q));
    if (pairs)
        head = rlx_mir_build_concat(
            IR, 2, (val[]){rlx_mir_insert(IR, re, 4), rlx_mir_insert(IR, im, 4)}, 4);
    else
        head = rlx_mir_build_concat(IR, 2, (val[]){re, im}, 3);
    head = rlx_mir_reshape(IR, head, 4, (int64_t[]){B, H, S, R});
    val y = R < D ? rlx_mir_build_concat(IR, 2, (val[]){head, rest}, 3) : head;
    if (x->in[0].rank == 3)
        y = rlx_mir_reshape(IR, rlx_mir_move(IR, y, 1, 2), 3, (int64_t[]){B, S, H * D});
    ox_out(x, 0, y);
}

/* ---- linear attention
 * ------------------------------------------------------------------------------- */

/* Step t of [B, T, H D] as [B, H, D]. */
static val step_of(onnx *x, val a, int64_t t, int64_t H)
{
    if (!a)
        return NULL;
    int64_t B = ox_dim(a, 0);
    return rlx_mir_reshape(IR, rlx_mir_slice(IR, a, 1, t, 1, 1), 3,
                           (int64_t[]){B, H, ox_dim(a, 2) / H});
}

/* S [B, G, D, E] after key and value of a step: S' = e^decay S + k (v - ..) */
static val updated(onnx *x, val S, val k, val v, val decay, val beta, bool delta)
{
    val kd = rlx_mir_insert(IR, k, 3), ve = rlx_mir_insert(IR, v, 2);
    if (decay)
        S = MUL(S, rlx_mir_insert(IR, EXP(decay), 3));
    if (delta)
        ve = SUB(ve, rlx_mir_fold(IR, RLX_FN_ADD, MUL(S, kd), 4, true));
    if (delta && beta)
        ve = MUL(ve, rlx_mir_insert(IR, beta, 3));
    return ADD(S, MUL(kd, ve));
}

static void do_linear_attention(onnx *x)
{
    val q = ox_in(x, 0), k = ox_in(x, 1), v = ox_in(x, 2), rows[ONNX_MAX_INTS];
    int64_t H = ox_int(x, "q_num_heads", 1), G = ox_int(x, "kv_num_heads", 1);
    int64_t B = ox_dim(q, 0), T = ox_dim(q, 1), D = ox_dim(k, 2) / G, E = ox_dim(v, 2) / G;
    const char *rule = ox_text(x, "update_rule", "gated_delta");
    bool gated = rule[0] == 'g', delta = strstr(rule, "delta") != NULL;
    double scale = ox_float(x, "scale", 0);
    scale = scale != 0 ? scale : 1 / sqrt((double)D);
    val S = ox_has(x, 3) ? ox_in(x, 3)
                         : rlx_mir_expand(IR, rlx_mir_build_const(IR, RLX_F32, 0), 4,
                                          (int64_t[]){B, G, D, E});
    if (!q || T > ONNX_MAX_INTS)
        return;
    for (int64_t t = 0; t < T; t++) {
        val decay = gated && ox_has(x, 4) ? step_of(x, ox_in(x, 4), t, G) : NULL;
        val beta = delta && ox_has(x, 5) ? step_of(x, ox_in(x, 5), t, G) : NULL;
        S = updated(x, S, step_of(x, k, t, G), step_of(x, v, t, G), decay, beta, delta);
        /* heads of a group share the state: [B, G, H/G, D, 1] times [B, G, 1, D, E] */
        val qt = rlx_mir_reshape(IR, step_of(x, q, t, H), 5, (int64_t[]){B, G, H / G, D, 1});
        val y = rlx_mir_fold(IR, RLX_FN_ADD, MUL(qt, rlx_mir_insert(IR, S, 2)), 8, false);
        y = MUL(y, LIKE(y, scale));
        rows[t] = rlx_mir_reshape(IR, y, 3, (int64_t[]){B, 1, H * E});
    }
    ox_out(x, 0, T == 1 ? rows[0] : rlx_mir_build_concat(IR, (int)T, rows, 1));
    ox_out(x, 1, S);
}

/* ---- recurrences
 * ------------------------------------------------------------------------------------- */

typedef struct cell {
    int gates;
    int64_t H, B;
    val w, r, bias_w, bias_r, peephole; /* of one direction; the last three may be NULL */
    val h, c;
    bool reset_last; /* GRU: linear_before_reset */
} cell;

static val product(onnx *x, val a, val w)
{
    return rlx_mir_matmul(IR, a, rlx_mir_move(IR, w, 0, 1));
}

/* Gate i of [B, gates H] (or of a bias [gates H]). */
static val gate(onnx *x, val a, int i, int64_t H)
{
    return a ? rlx_mir_slice(IR, a, a->type.rank - 1, i * H, H, 1) : NULL;
}

static val plus(onnx *x, val a, val b)
{
    return b ? ADD(a, b) : a;
}

static val tanh_of(onnx *x, val a)
{
    return rlx_mir_map1(IR, RLX_FN_TANH, a);
}

static void rnn_step(onnx *x, cell *s, val in)
{
    val a = plus(x, product(x, in, s->w), s->bias_w);
    s->h = tanh_of(x, plus(x, ADD(a, product(x, s->h, s->r)), s->bias_r));
}

static void gru_step(onnx *x, cell *s, val in)
{
    int64_t H = s->H;
    val a = plus(x, product(x, in, s->w), s->bias_w);
    val zr = rlx_mir_slice(IR, s->r, 0, 0, 2 * H, 1), rh = rlx_mir_slice(IR, s->r, 0, 2 * H, H, 1);
    val b = product(x, s->h, zr);
    val z = rlx_mir_sigmoid(
        IR, plus(x, ADD(gate(x, a, 0, H), gate(x, b, 0, H)), gate(x, s->bias_r, 0, H)));
    val r = rlx_mir_sigmoid(
        IR, plus(x, ADD(gate(x, a, 1, H), gate(x, b, 1, H)), gate(x, s->bias_r, 1, H)));
    val bias = gate(x, s->bias_r, 2, H), n;
    if (s->reset_last)
        n = MUL(r, plus(x, product(x, s->h, rh), bias));
    else
        n = plus(x, product(x, MUL(r, s->h), rh), bias);
    n = tanh_of(x, ADD(gate(x, a, 2, H), n));
    s->h = ADD(MUL(SUB(LIKE(z, 1), z), n), MUL(z, s->h));
}

static void lstm_step(onnx *x, cell *s, val in)
{
    int64_t H = s->H;
    val a =
        plus(x, ADD(plus(x, product(x, in, s->w), s->bias_w), product(x, s->h, s->r)), s->bias_r);
    val p[3] = {gate(x, s->peephole, 0, H), gate(x, s->peephole, 1, H), gate(x, s->peephole, 2, H)};
    val i = gate(x, a, 0, H), o = gate(x, a, 1, H), f = gate(x, a, 2, H), g = gate(x, a, 3, H);
    i = rlx_mir_sigmoid(IR, p[0] ? ADD(i, MUL(p[0], s->c)) : i);
    f = rlx_mir_sigmoid(IR, p[2] ? ADD(f, MUL(p[2], s->c)) : f);
    s->c = ADD(MUL(f, s->c), MUL(i, tanh_of(x, g)));
    o = rlx_mir_sigmoid(IR, p[1] ? ADD(o, MUL(p[1], s->c)) : o);
    s->h = MUL(o, tanh_of(x, s->c));
}

/* Direction d of [dirs, ..] without that axis; NULL when the input is left out. */
static val of_direction(onnx *x, int i, int d)
{
    if (!ox_has(x, i))
        return NULL;
    val a = ox_in(x, i);
    a = rlx_mir_slice(IR, a, 0, d, 1, 1);
    return a ? rlx_mir_reshape(IR, a, a->type.rank - 1, a->type.dim + 1) : NULL;
}

static val initial(onnx *x, const cell *s, int i, int d)
{
    val a = of_direction(x, i, d);
    return a ? a
             : rlx_mir_expand(IR, rlx_mir_build_const(IR, RLX_F32, 0), 2, (int64_t[]){s->B, s->H});
}

static void init_cell(onnx *x, cell *s, int d)
{
    int64_t n = s->gates * s->H;
    val bias = of_direction(x, 3, d);
    s->w = of_direction(x, 1, d);
    s->r = of_direction(x, 2, d);
    s->bias_w = bias ? rlx_mir_slice(IR, bias, 0, 0, n, 1) : NULL;
    s->bias_r = bias ? rlx_mir_slice(IR, bias, 0, n, n, 1) : NULL;
    s->peephole = of_direction(x, 7, d);
    s->h = initial(x, s, 5, d);
    s->c = initial(x, s, 6, d);
}

static bool is_offered(onnx *x)
{
    if (cJSON_GetObjectItem(x->attributes, "activations") || ox_float(x, "clip", 0) != 0)
        ox_refuse(x, "other activations than the usual ones");
    if (ox_has(x, 4))
        ox_refuse(x, "sequences of different lengths");
    return !x->why[0];
}

/* Runs one direction; its states [T, 1, B, H] in order of time. */
static val run_direction(onnx *x, cell *s, val in, bool back, void (*step)(onnx *, cell *, val))
{
    int64_t T = ox_dim(in, 0), I = ox_dim(in, 2);
    val rows[ONNX_MAX_INTS];
    for (int64_t i = 0; i < T; i++) {
        int64_t t = back ? T - 1 - i : i;
        step(x, s, rlx_mir_reshape(IR, rlx_mir_slice(IR, in, 0, t, 1, 1), 2, (int64_t[]){s->B, I}));
        rows[t] = rlx_mir_reshape(IR, s->h, 4, (int64_t[]){1, 1, s->B, s->H});
    }
    return T == 1 ? rows[0] : rlx_mir_build_concat(IR, (int)T, rows, 0);
}

static void recur(onnx *x, int gates, void (*step)(onnx *, cell *, val))
{
    val in = ox_in(x, 0), y[2], h[2], c[2];
    bool batch_first = ox_int(x, "layout", 0);
    const char *way = ox_text(x, "direction", "forward");
    int dirs = way[0] == 'b' ? 2 : 1;
    if (!is_offered(x) || !in)
        return;
    in = batch_first ? rlx_mir_move(IR, in, 1, 0) : in;
    cell s = {.gates = gates, .B = ox_dim(in, 1), .H = x->in[2].dim[2]};
    s.reset_last = ox_int(x, "linear_before_reset", 0);
    if (ox_dim(in, 0) > ONNX_MAX_INTS) {
        ox_refuse(x, "more steps than are unrolled");
        return;
    }
    for (int d = 0; d < dirs; d++) {
        init_cell(x, &s, d);
        y[d] = run_direction(x, &s, in, d == 1 || way[0] == 'r', step);
        h[d] = rlx_mir_insert(IR, s.h, 0);
        c[d] = rlx_mir_insert(IR, s.c, 0);
    }
    if (dirs == 2) {
        y[0] = rlx_mir_build_concat(IR, 2, y, 1);
        h[0] = rlx_mir_build_concat(IR, 2, h, 0);
        c[0] = rlx_mir_build_concat(IR, 2, c, 0);
    }
    ox_out(x, 0, batch_first ? rlx_mir_move(IR, y[0], 2, 0) : y[0]);
    ox_out(x, 1, batch_first ? rlx_mir_move(IR, h[0], 0, 1) : h[0]);
    ox_out(x, 2, batch_first ? rlx_mir_move(IR, c[0], 0, 1) : c[0]);
}

static void do_rnn(onnx *x)
{
    recur(x, 1, rnn_step);
}

static void do_gru(onnx *x)
{
    recur(x, 3, gru_step);
}

static void do_lstm(onnx *x)
{
    recur(x, 4, lstm_step);
}

const onnx_op onnx_model[] = {OP(Attention, do_attention),
                              OP(GRU, do_gru),
                              OP(LSTM, do_lstm),
                              OP(LinearAttention, do_linear_attention),
                              OP(RNN, do_rnn),
                              OP(RotaryEmbedding, do_rotary),
                              OP_END};
