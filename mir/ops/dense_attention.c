/* mir/ops/dense_attention.c: queries against keys and values that are given, not kept
 *   in   q f32[B..,S,N,D], k f32[B..,K,G,D], v f32[B..,K,G,E]; then those that counts says, in this
 *        order: bias f32[B..,N,S,K], seen bool[B..,N,S,K], sinks f32[N]
 *   out  o f32[B..,S,N,E]; head h reads kv head h / (N/G)
 *   256 keys at a time, which fixes every order of sums whatever the schedule. A row (a query of a
 *   head) has a maximum m, a sum l and acc[E], at first -FLT_MAX, 0 and 0; with sinks max(sink,
 *   -FLT_MAX), exp(sink - m) and 0. Then for every 256 keys:
 *     s[j]   = (sum over d ascending, by fma, of q[d] * k[j][d]) * scale; with a softcap c
 *              tanh((sum) * (scale / c)) * c; + bias[j]; -FLT_MAX where seen is false
 *     m'     = max(m, max s);  p[j] = exp(s[j] - m')
 *     l'     = l * exp(m - m') + sum of p: lane j mod 16, ascending; lanes by halves
 *     acc[e] = acc[e] * exp(m - m'), then over j ascending, by fma, + p[j] * v[j][e]
 *   and at last o = acc / max(l, 1): the largest weight of a row is 1, so that a sum below 1 has no
 *   keys, or scores of -inf alone. With seen, + 0: a zero has no sign, which keys that are not seen
 *   would change.
 *   C1  q is f32 of rank 3 to 6, N and D constants > 0.
 *   C2  k is f32[B..,K,G,D] with the B.. and D of q, and G divides N.
 *   C3  v is f32[B..,K,G,E] with the B.., K and G of k, and E is a constant > 0.
 *   C4  scale is given; softcap, if given, is > 0 and finite.
 *   C5  counts are three of 0 or 1, and there are as many operands more.
 *   C6  these operands have the types above. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "mir/ops/ops.h"
#include "runtime/base/ir/exp_poly.h"

/* The extent `from_end` axes from the last. */
static rlx_dim axis_of(const rlx_ir_value *v, int from_end)
{
    return v->type.dim[v->type.rank - from_end];
}

static bool same_leading(const rlx_ir_value *a, const rlx_ir_value *b, int n)
{
    return memcmp(a->type.dim, b->type.dim, sizeof(rlx_dim) * (size_t)n) == 0;
}

int rlx_mir_dense_option(const rlx_ir_node *n, rlx_mir_dense_options option)
{
    const rlx_attr *counts = rlx_ir_attr(n, RLX_ATTR_COUNTS);
    int at = 3;
    for (int i = 0; i < (int)option; i++)
        at += (int)counts->ints[i];
    return counts->ints[option] ? at : -1;
}

rlx_ir_type rlx_mir_dense_scores(const rlx_ir_value *q, const rlx_ir_value *k, rlx_format f)
{
    rlx_ir_type t = q->type;
    t.format = f;
    t.dim[t.rank - 3] = axis_of(q, 2);
    t.dim[t.rank - 2] = axis_of(q, 3);
    t.dim[t.rank - 1] = axis_of(k, 3);
    return t;
}

rlx_status rlx_mir_dense_attention_infer(rlx_ir_module *m, const rlx_ir_node *n,
                                         rlx_ir_type *results)
{
    RLX_TRY(rlx_mir_dense_attention_verify(m, n));
    results[0] = n->in[0]->type;
    results[0].dim[results[0].rank - 1] = axis_of(n->in[2], 1);
    return RLX_OK;
}

static bool is_f32(const rlx_ir_value *v, int rank)
{
    return v->type.format == RLX_F32 && v->type.rank == rank;
}

static rlx_status verify_qkv(rlx_ir_module *m, const rlx_ir_node *n)
{
    const rlx_ir_value *q = n->in[0], *k = n->in[1], *v = n->in[2];
    const int rank = q->type.rank;
    RLX_IR_REQUIRE(m, n, "C1",
                   rank >= 3 && rank <= 6 && is_f32(q, rank) && rlx_dim_is_const(axis_of(q, 2)) &&
                       axis_of(q, 2) > 0 && rlx_dim_is_const(axis_of(q, 1)) && axis_of(q, 1) > 0,
                   "q of rank %d, or of heads that are not constant", rank);
    RLX_IR_REQUIRE(m, n, "C2",
                   is_f32(k, rank) && same_leading(k, q, rank - 3) &&
                       axis_of(k, 1) == axis_of(q, 1) && rlx_dim_is_const(axis_of(k, 2)) &&
                       axis_of(k, 2) > 0 && axis_of(q, 2) % axis_of(k, 2) == 0,
                   "keys of another shape than queries");
    RLX_IR_REQUIRE(m, n, "C3",
                   is_f32(v, rank) && same_leading(v, k, rank - 1) &&
                       rlx_dim_is_const(axis_of(v, 1)) && axis_of(v, 1) > 0,
                   "values of another shape than keys");
    return RLX_OK;
}

static rlx_status verify_options(rlx_ir_module *m, const rlx_ir_node *n)
{
    const rlx_attr *counts = rlx_ir_attr(n, RLX_ATTR_COUNTS);
    RLX_IR_REQUIRE(m, n, "C5", counts && counts->n == RLX_MIR_DENSE_OPTIONS,
                   "counts of bias, seen and sinks are missing");
    int more = 0;
    for (int i = 0; i < RLX_MIR_DENSE_OPTIONS; i++) {
        RLX_IR_REQUIRE(m, n, "C5", counts->ints[i] == 0 || counts->ints[i] == 1,
                       "%lld of option %d", (long long)counts->ints[i], i);
        more += (int)counts->ints[i];
    }
    RLX_IR_REQUIRE(m, n, "C5", n->nin == 3 + more, "%d operands with %d options", n->nin, more);
    const rlx_ir_type wanted[RLX_MIR_DENSE_OPTIONS] = {
        [RLX_MIR_DENSE_BIAS] = rlx_mir_dense_scores(n->in[0], n->in[1], RLX_F32),
        [RLX_MIR_DENSE_SEEN] = rlx_mir_dense_scores(n->in[0], n->in[1], RLX_BOOL),
        [RLX_MIR_DENSE_SINKS] = rlx_ir_tensor(RLX_F32, 1, (rlx_dim[]){axis_of(n->in[0], 2)})};
    for (int i = 0; i < RLX_MIR_DENSE_OPTIONS; i++) {
        const int at = rlx_mir_dense_option(n, (rlx_mir_dense_options)i);
        RLX_IR_REQUIRE(m, n, "C6", at < 0 || rlx_ir_type_equal(&n->in[at]->type, &wanted[i]),
                       "operand %d has another type", at);
    }
    return RLX_OK;
}

rlx_status rlx_mir_dense_attention_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    RLX_TRY(verify_qkv(m, n));
    const rlx_attr *cap = rlx_ir_attr(n, RLX_ATTR_SOFTCAP);
    RLX_IR_REQUIRE(m, n, "C4", rlx_ir_attr(n, RLX_ATTR_SCALE) != NULL, "has no scale");
    RLX_IR_REQUIRE(m, n, "C4", !cap || (cap->f > 0 && isfinite(cap->f)), "softcap=%g", cap->f);
    return verify_options(m, n);
}

/* ---- evaluation ------------------------------------------------------------------------------ */

enum { CHUNK = RLX_MIR_DENSE_CHUNK, LANES = 16 };

typedef struct dense {
    const float *q, *k, *v, *bias, *sinks; /* bias, seen and sinks NULL: none */
    const uint8_t *seen;
    float *o;
    int64_t batch, queries, keys, heads, ratio, d, e;
    float scale, cap;
    float *wide; /* [D][CHUNK]: keys of a chunk */
    float s[CHUNK];
} dense;

/* One row: of batch b, head h, query i. */
typedef struct row {
    int64_t b, h, i;
    float m, l, *acc;
} row;

static const float *key_or_value(const dense *x, const float *p, const row *r, int64_t j, int64_t n)
{
    return p + ((r->b * x->keys + j) * (x->heads / x->ratio) + r->h / x->ratio) * n;
}

static float cap_score(float s, float cap)
{
    return cap == 0 ? s
                    : (float)rlx_map_fn_eval(RLX_FN_TANH, RLX_F32, &(rlx_scalar){.f = s}).f * cap;
}

/* Keys j0 .. j0+n-1 of the row's head, a column each. */
static void turn_keys(dense *x, const row *r, int64_t j0, int64_t n)
{
    for (int64_t j = 0; j < n; j++) {
        const float *k = key_or_value(x, x->k, r, j0 + j, x->d);
        for (int64_t d = 0; d < x->d; d++)
            x->wide[d * CHUNK + j] = k[d];
    }
}

RLX_MIR_WIDE static void sum_products(dense *x, const float *q, int64_t n)
{
    memset(x->s, 0, sizeof x->s);
    for (int64_t d = 0; d < x->d; d++)
        for (int64_t j = 0; j < n; j++)
            x->s[j] = fmaf(q[d], x->wide[d * CHUNK + j], x->s[j]);
}

RLX_MIR_WIDE static void add_value(float *acc, float p, const float *v, int64_t n)
{
    for (int64_t e = 0; e < n; e++)
        acc[e] = fmaf(p, v[e], acc[e]);
}

/* Scores of keys j0 .. j0+n-1 and their maximum with the row's. */
static float scores(dense *x, const row *r, int64_t j0, int64_t n)
{
    const int64_t at = ((r->b * x->heads + r->h) * x->queries + r->i) * x->keys + j0;
    float most = r->m;
    sum_products(x, x->q + ((r->b * x->queries + r->i) * x->heads + r->h) * x->d, n);
    for (int64_t j = 0; j < n; j++) {
        float s = cap_score(x->s[j] * x->scale, x->cap);
        s = x->bias ? s + x->bias[at + j] : s;
        s = x->seen && !x->seen[at + j] ? -FLT_MAX : s;
        x->s[j] = s;
        most = most > s ? most : s;
    }
    return most;
}

static void attend_chunk(dense *x, row *r, int64_t j0, int64_t n)
{
    const float most = scores(x, r, j0, n), old = rlx_exp_f32(r->m - most);
    float lane[LANES] = {0};
    r->m = most;
    for (int64_t j = 0; j < n; j++) {
        x->s[j] = rlx_exp_f32(x->s[j] - most);
        lane[j % LANES] += x->s[j];
    }
    r->l = r->l * old + rlx_mir_halves_add(lane, LANES);
    for (int64_t e = 0; e < x->e; e++)
        r->acc[e] *= old;
    for (int64_t j = 0; j < n; j++)
        add_value(r->acc, x->s[j], key_or_value(x, x->v, r, j0 + j, x->e), x->e);
}

/* All rows of one head. The chunks' keys are turned once for all of them. */
static void attend(dense *x, int64_t b, int64_t h, row *rows)
{
    for (int64_t i = 0; i < x->queries; i++) {
        row *r = &rows[i];
        *r = (row){.b = b, .h = h, .i = i, .m = -FLT_MAX};
        r->acc = x->o + ((b * x->queries + i) * x->heads + h) * x->e;
        memset(r->acc, 0, (size_t)x->e * sizeof(float));
        if (!x->sinks)
            continue;
        r->m = r->m > x->sinks[h] ? r->m : x->sinks[h];
        r->l = rlx_exp_f32(x->sinks[h] - r->m);
    }
    for (int64_t j0 = 0; j0 < x->keys; j0 += CHUNK) {
        const int64_t n = x->keys - j0 < CHUNK ? x->keys - j0 : CHUNK;
        for (int64_t i = 0; i < x->queries; i++) {
            if (i == 0)
                turn_keys(x, &rows[0], j0, n);
            attend_chunk(x, &rows[i], j0, n);
        }
    }
    for (int64_t i = 0; i < x->queries; i++)
        for (int64_t e = 0; e < x->e; e++) {
            float *o = &rows[i].acc[e];
            *o /= rows[i].l > 1 ? rows[i].l : 1;
            *o = x->seen ? *o + 0.0f : *o;
        }
}

static dense get_dense(const rlx_ir_node *n, const rlx_eval_tensor *o)
{
    const rlx_eval_tensor *q = rlx_mir_tensor(n->in[0]), *k = rlx_mir_tensor(n->in[1]);
    const double scale = rlx_ir_attr_float(n, RLX_ATTR_SCALE, 1);
    const double cap = rlx_ir_attr_float(n, RLX_ATTR_SOFTCAP, 0);
    const void *option[RLX_MIR_DENSE_OPTIONS];
    const int nb = q->rank - 3;
    for (int i = 0; i < RLX_MIR_DENSE_OPTIONS; i++) {
        const int at = rlx_mir_dense_option(n, (rlx_mir_dense_options)i);
        option[i] = at < 0 ? NULL : rlx_mir_tensor(n->in[at])->data;
    }
    dense x = {.q = q->data,
               .k = k->data,
               .v = rlx_mir_tensor(n->in[2])->data,
               .bias = option[RLX_MIR_DENSE_BIAS],
               .seen = option[RLX_MIR_DENSE_SEEN],
               .sinks = option[RLX_MIR_DENSE_SINKS],
               .o = o->data,
               .batch = 1,
               .queries = q->dim[nb],
               .keys = k->dim[nb],
               .heads = q->dim[nb + 1],
               .ratio = q->dim[nb + 1] / k->dim[nb + 1],
               .d = q->dim[nb + 2],
               .e = o->dim[nb + 2],
               .scale = (float)(cap != 0 ? scale / cap : scale),
               .cap = (float)cap};
    for (int i = 0; i < nb; i++)
        x.batch *= q->dim[i];
    return x;
}

rlx_status rlx_mir_dense_attention_eval(rlx_mir_frame *f, const rlx_ir_node *n)
{
    rlx_eval_tensor *o;
    RLX_TRY(rlx_mir_frame_make(f, n->out[0], &o));
    dense x = get_dense(n, o);
    x.wide = RLX_NEW_ARRAY(f->arena, float, x.d *CHUNK);
    row *rows = RLX_NEW_ARRAY(f->arena, row, x.queries + 1);
    if (!x.wide || !rows)
        return RLX_OOM();
    for (int64_t b = 0; b < x.batch; b++)
        for (int64_t h = 0; h < x.heads; h++)
            attend(&x, b, h, rows);
    return RLX_OK;
}
