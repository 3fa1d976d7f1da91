/* hir/ops/dense_attention.c: attention over keys and values that are given, not kept
 *   in   q f32[B..,S,N,D];  k f32[B..,K,G,D];  v f32[B..,K,G,E]; then those that `with` lists, in
 *        its order:
 *          valid     bool or i32 [B..,K]      keys that are not 0 are seen
 *          lengths   i32 [B..]                keys below it are seen
 *          offset    i32 [] or [B..]          is added to the queries' positions
 *          mask      bool                     of a shape that repeats to [B..,N,S,K]: seen
 *          bias      f32, f16 or bf16         of such a shape: is added to the scores
 *          sinks     a float [N]              a score more per head, without a value
 *          relative  a float [L,D]            row l is added to the key at distance l - left, the
 *                                             nearest row to those farther away
 *   out  f32[B..,S,N,E]
 *   Query head h reads kv head h / (N/G): heads are never repeated. Score s = (q.k) * scale, with
 *   a softcap c then c * tanh(s / c), then + bias; weights are softmax(s) over the seen keys.
 *   Query i stands at p = at + i + offset, aligned also + K - S (the last query at the last key);
 *   key j is seen if p - before <= j <= p + after (causal: after = 0), with a chunk c if j and p
 *   lie in one chunk of c, with a block b if j's block of b is not behind p's. A row whose keys are
 *   all hidden weighs them alike, as eager attention of transformers does with additive masks of
 *   the lowest float; with sinks, and without keys, it is 0. A row whose scores are all
 *   -inf, by a bias, is 0 too, where a softmax of torch gives NaN. But a hidden key's score is the
 *   lowest float, which is above -inf: where there are hidden keys and all seen ones have -inf, the
 *   hidden ones are weighed alike.
 *   C1  q is f32 of rank 3 to 6, N and D constants > 0.
 *   C2  k is f32[B..,K,G,D] with the B.. and D of q, and G divides N.
 *   C3  v is f32[B..,K,G,E] with the B.., K and G of k, and E is a constant > 0.
 *   C4  scale is given and finite; softcap, if given, is finite and > 0.
 *   C5  `with` has each word once, and there are as many operands as it says.
 *   C6  these operands are as above; left lies in 0..L-1.
 *   C7  before, after, at and left are in 0..2^30, chunk and block in 1..2^30.
 */
#include "hir/ops/ops.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum { VALID, LENGTHS, OFFSET, MASK, BIAS, SINKS, RELATIVE, OPTIONS };
static const char *const words[OPTIONS] = {"valid", "lengths", "offset",  "mask",
                                           "bias",  "sinks",   "relative"};

/* Which operand each option is; -1: none. False when `with` has another word, or one twice. */
static bool find_options(const rlx_ir_node *n, int at[OPTIONS], int *count)
{
    const char *s = rlx_ir_attr_text(n, RLX_ATTR_WITH, "");
    for (int i = 0; i < OPTIONS; i++)
        at[i] = -1;
    for (*count = 0; *s; ++*count) {
        const size_t len = strcspn(s, " ");
        int i = 0;
        while (i < OPTIONS && (strlen(words[i]) != len || strncmp(words[i], s, len) != 0))
            i++;
        if (i == OPTIONS || at[i] >= 0)
            return false;
        at[i] = 3 + *count;
        s += len + (s[len] == ' ');
    }
    return true;
}

/* ---- constraints ----------------------------------------------------------------------------- */

static rlx_dim axis_of(const rlx_ir_value *v, int from_end)
{
    return v->type.dim[v->type.rank - from_end];
}

static bool same_leading(const rlx_ir_type *a, const rlx_ir_type *b, int n)
{
    for (int i = 0; i < n; i++)
        if (a->dim[i] != b->dim[i])
            return false;
    return true;
}

static rlx_status verify_qkv(rlx_ir_module *m, const rlx_ir_node *n)
{
    const rlx_ir_value *q = n->in[0], *k = n->in[1], *v = n->in[2];
    const int rank = q->type.rank, nb = rank - 3;
    RLX_HIR_REQUIRE_TYPE(m, n, "C1",
                         rank >= 3 && rank <= 6 && rlx_hir_is(q, RLX_F32, rank) &&
                             axis_of(q, 2) > 0 && axis_of(q, 1) > 0,
                         0, "q is f32[B..,S,N,D] of rank 3 to 6 with constant N and D");
    RLX_HIR_REQUIRE_TYPE(m, n, "C2",
                         rlx_hir_is(k, RLX_F32, rank) && same_leading(&k->type, &q->type, nb) &&
                             axis_of(k, 1) == axis_of(q, 1) && axis_of(k, 2) > 0 &&
                             axis_of(q, 2) % axis_of(k, 2) == 0,
                         1, "k is f32[B..,K,G,D] with the B.. and D of q, G dividing N");
    RLX_HIR_REQUIRE_TYPE(m, n, "C3",
                         rlx_hir_is(v, RLX_F32, rank) && same_leading(&v->type, &k->type, nb + 2) &&
                             axis_of(v, 1) > 0,
                         2, "v is f32[B..,K,G,E] with the B.., K and G of k");
    return RLX_OK;
}

/* The extent along axis `f` of [B..,N,S,K]. */
static rlx_dim score_dim(const rlx_ir_node *n, int f)
{
    const int nb = n->in[0]->type.rank - 3;
    if (f < nb)
        return n->in[0]->type.dim[f];
    return f == nb       ? n->in[0]->type.dim[nb + 1]
           : f == nb + 1 ? n->in[0]->type.dim[nb]
                         : n->in[1]->type.dim[nb];
}

static bool repeats_to_scores(const rlx_ir_node *n, const rlx_ir_type *t)
{
    const int full = n->in[0]->type.rank;
    for (int i = 0; i < t->rank; i++)
        if (t->rank > full || (t->dim[i] != 1 && t->dim[i] != score_dim(n, full - t->rank + i)))
            return false;
    return true;
}

/* [B..] or [B..,K], as many axes as `rank` says. */
static bool is_of_batch(const rlx_ir_node *n, const rlx_ir_type *t, int rank)
{
    const int nb = n->in[0]->type.rank - 3;
    return t->rank == rank && same_leading(t, &n->in[0]->type, nb) &&
           (rank == nb || t->dim[nb] == n->in[1]->type.dim[nb]);
}

static rlx_status verify_options(rlx_ir_module *m, const rlx_ir_node *n)
{
    int at[OPTIONS], count;
    RLX_IR_REQUIRE(m, n, "C5", find_options(n, at, &count), "with=\"%s\"",
                   rlx_ir_attr_text(n, RLX_ATTR_WITH, ""));
    RLX_IR_REQUIRE(m, n, "C5", n->nin == 3 + count, "%d operands with %d options", n->nin, count);
    const int nb = n->in[0]->type.rank - 3;
    static const char *const wanted[OPTIONS] = {"valid is bool or i32 [B..,K]",
                                                "lengths are i32 [B..]",
                                                "offset is i32 of rank 0 or [B..]",
                                                "a mask is bool and repeats to [B..,N,S,K]",
                                                "a bias is a float and repeats to [B..,N,S,K]",
                                                "sinks are a float [N]",
                                                "relative is a float [L,D] with left in 0..L-1"};
    for (int i = 0; i < OPTIONS; i++) {
        if (at[i] < 0)
            continue;
        const rlx_ir_value *v = n->in[at[i]];
        const rlx_ir_type *t = &v->type;
        const int64_t left = rlx_ir_attr_int(n, RLX_ATTR_LEFT, 0);
        const bool is_i32 = t->format == RLX_I32;
        const bool fits[OPTIONS] = {
            [VALID] = (is_i32 || t->format == RLX_BOOL) && is_of_batch(n, t, nb + 1),
            [LENGTHS] = is_i32 && is_of_batch(n, t, nb),
            [OFFSET] = is_i32 && (t->rank == 0 || is_of_batch(n, t, nb)),
            [MASK] = t->format == RLX_BOOL && repeats_to_scores(n, t),
            [BIAS] = rlx_hir_is_weight(v, t->rank) && rlx_format_is_float(t->format) &&
                     repeats_to_scores(n, t),
            [SINKS] = rlx_hir_is_weight(v, 1) && t->dim[0] == axis_of(n->in[0], 2),
            [RELATIVE] = rlx_hir_is_weight(v, 2) && rlx_format_is_float(t->format) &&
                         t->dim[1] == axis_of(n->in[0], 1) && left >= 0 && left < t->dim[0]};
        RLX_HIR_REQUIRE_TYPE(m, n, "C6", fits[i], at[i], wanted[i]);
    }
    return RLX_OK;
}

rlx_status rlx_hir_dense_attention_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    static const rlx_attr_key keys[] = {RLX_ATTR_BEFORE, RLX_ATTR_AFTER, RLX_ATTR_AT,
                                        RLX_ATTR_LEFT,   RLX_ATTR_CHUNK, RLX_ATTR_BLOCK};
    static const int64_t most = (int64_t)1 << 30; /* i32 positions reach on from there */
    RLX_TRY(verify_qkv(m, n));
    const rlx_attr *scale = rlx_ir_attr(n, RLX_ATTR_SCALE), *cap = rlx_ir_attr(n, RLX_ATTR_SOFTCAP);
    RLX_IR_REQUIRE(m, n, "C4", scale && isfinite(scale->f), "scale is %s",
                   scale ? "not finite" : "missing");
    RLX_IR_REQUIRE(m, n, "C4", !cap || (isfinite(cap->f) && cap->f > 0), "softcap=%g", cap->f);
    RLX_TRY(verify_options(m, n));
    for (int i = 0; i < 6; i++) {
        const rlx_attr *a = rlx_ir_attr(n, keys[i]);
        RLX_IR_REQUIRE(m, n, "C7", !a || (a->i >= (i < 4 ? 0 : 1) && a->i <= most), "%s=%lld",
                       rlx_attr_name(keys[i]), (long long)a->i);
    }
    return RLX_OK;
}

rlx_status rlx_hir_dense_attention_infer(rlx_ir_module *m, const rlx_ir_node *n,
                                         rlx_ir_type *results)
{
    RLX_TRY(rlx_hir_dense_attention_verify(m, n));
    results[0] = n->in[0]->type;
    results[0].dim[results[0].rank - 1] = axis_of(n->in[2], 1);
    return RLX_OK;
}

/* ---- evaluation ------------------------------------------------------------------------------ */

typedef struct dense {
    const rlx_ir_node *n;
    const rlx_eval_tensor *q, *k, *v, *option[OPTIONS];
    int nb;
    int64_t batch, queries, keys, heads, kv_heads, d, e;
    double scale, softcap;
    int64_t before, after, at, chunk, block, left; /* before, after -1: none */
} dense;

static dense get_dense(const rlx_ir_node *n, rlx_eval_tensor *const *in)
{
    dense a = {.n = n, .q = in[0], .k = in[1], .v = in[2], .nb = in[0]->rank - 3, .batch = 1};
    for (int i = 0; i < a.nb; i++)
        a.batch *= in[0]->dim[i];
    a.queries = in[0]->dim[a.nb];
    a.heads = in[0]->dim[a.nb + 1];
    a.d = in[0]->dim[a.nb + 2];
    a.keys = in[1]->dim[a.nb];
    a.kv_heads = in[1]->dim[a.nb + 1];
    a.e = in[2]->dim[a.nb + 2];
    a.scale = rlx_ir_attr_float(n, RLX_ATTR_SCALE, 1);
    a.softcap = rlx_ir_attr_float(n, RLX_ATTR_SOFTCAP, 0);
    a.before = rlx_ir_attr_int(n, RLX_ATTR_BEFORE, -1);
    a.after = rlx_ir_attr_int(n, RLX_ATTR_AFTER, -1);
    a.at = rlx_ir_attr_int(n, RLX_ATTR_AT, 0);
    a.at += rlx_ir_attr_int(n, RLX_ATTR_ALIGNED, 0) ? a.keys - a.queries : 0;
    a.chunk = rlx_ir_attr_int(n, RLX_ATTR_CHUNK, 0);
    a.block = rlx_ir_attr_int(n, RLX_ATTR_BLOCK, 0);
    a.left = rlx_ir_attr_int(n, RLX_ATTR_LEFT, 0);
    int at[OPTIONS], count;
    find_options(n, at, &count);
    for (int i = 0; i < OPTIONS; i++)
        a.option[i] = at[i] < 0 ? NULL : in[at[i]];
    return a;
}

/* One query and key of a head. */
typedef struct pair {
    int64_t b, h, i, j;
} pair;

/* The element of a mask or bias that is repeated to [B..,N,S,K]. */
static int64_t repeated(const dense *a, const rlx_eval_tensor *t, const pair *p)
{
    int64_t index[6] = {0}, b = p->b, at = 0;
    for (int i = a->nb - 1; i >= 0; i--) {
        index[i] = b % a->q->dim[i];
        b /= a->q->dim[i];
    }
    index[a->nb] = p->h;
    index[a->nb + 1] = p->i;
    index[a->nb + 2] = p->j;
    for (int i = 0; i < t->rank; i++)
        at = at * t->dim[i] + (t->dim[i] == 1 ? 0 : index[a->nb + 3 - t->rank + i]);
    return at;
}

static int64_t position(const dense *a, const pair *p)
{
    const rlx_eval_tensor *offset = a->option[OFFSET];
    return a->at + p->i + (offset ? ((const int32_t *)offset->data)[offset->rank ? p->b : 0] : 0);
}

static int64_t floor_div(int64_t x, int64_t by)
{
    return x / by - (x % by < 0);
}

static bool is_seen(const dense *a, const pair *p)
{
    const rlx_eval_tensor *const *o = a->option;
    const int64_t at = position(a, p), key = p->b * a->keys + p->j;
    bool seen =
        (a->before < 0 || p->j >= at - a->before) && (a->after < 0 || p->j <= at + a->after);
    if (a->chunk)
        seen = seen && p->j / a->chunk == floor_div(at, a->chunk);
    if (a->block)
        seen = seen && p->j / a->block <= floor_div(at, a->block);
    if (o[VALID] && o[VALID]->format == RLX_BOOL)
        seen = seen && ((const uint8_t *)o[VALID]->data)[key];
    else if (o[VALID])
        seen = seen && ((const int32_t *)o[VALID]->data)[key];
    if (o[LENGTHS])
        seen = seen && p->j < ((const int32_t *)o[LENGTHS]->data)[p->b];
    if (o[MASK])
        seen = seen && ((const uint8_t *)o[MASK]->data)[repeated(a, o[MASK], p)];
    return seen;
}

static double score(const dense *a, const pair *p)
{
    const int64_t g = p->h / (a->heads / a->kv_heads);
    const float *q =
        (const float *)a->q->data + ((p->b * a->queries + p->i) * a->heads + p->h) * a->d;
    const float *k = (const float *)a->k->data + ((p->b * a->keys + p->j) * a->kv_heads + g) * a->d;
    const rlx_eval_tensor *relative = a->option[RELATIVE], *bias = a->option[BIAS];
    int64_t row = 0;
    if (relative) {
        row = p->j - position(a, p) + a->left;
        row = row < 0 ? 0 : row >= relative->dim[0] ? relative->dim[0] - 1 : row;
    }
    double s = 0;
    for (int64_t d = 0; d < a->d; d++)
        s += q[d] * (k[d] + (relative ? rlx_hir_load(relative, row * a->d + d) : 0));
    s *= a->scale;
    if (a->softcap != 0)
        s = a->softcap * tanh(s / a->softcap);
    return s + (bias ? rlx_hir_load(bias, repeated(a, bias, p)) : 0);
}

/* One row of one head; `s` holds a number for every key. */
static void attend(const dense *a, pair p, double *s, float *o)
{
    const rlx_eval_tensor *sinks = a->option[SINKS];
    const double sink = sinks ? rlx_hir_load(sinks, p.h) : -INFINITY;
    double most = fmax(sink, -FLT_MAX), total; /* -inf less it is -inf */
    for (p.j = 0; p.j < a->keys; p.j++) {
        s[p.j] = is_seen(a, &p) ? score(a, &p) : -FLT_MAX;
        most = fmax(most, s[p.j]);
    }
    total = sinks ? exp(sink - most) : 0;
    for (p.j = 0; p.j < a->keys; p.j++)
        total += s[p.j] = exp(s[p.j] - most);
    const int64_t g = p.h / (a->heads / a->kv_heads);
    for (int64_t e = 0; e < a->e; e++) {
        double sum = 0;
        for (int64_t j = 0; j < a->keys; j++)
            sum += s[j] *
                   ((const float *)a->v->data)[((p.b * a->keys + j) * a->kv_heads + g) * a->e + e];
        o[e] = total == 0 ? 0 : (float)(sum / total); /* no keys, or scores of -inf alone */
    }
}

rlx_status rlx_hir_dense_attention_eval(rlx_hir_eval_cx *cx, const rlx_ir_node *n,
                                        rlx_eval_tensor *const *in, rlx_eval_tensor *out)
{
    const dense a = get_dense(n, in);
    double *s = RLX_NEW_ARRAY(cx->arena, double, a.keys + 1);
    RLX_TRY(rlx_hir_eval_alloc(cx, &out[0]));
    if (!s)
        return RLX_OOM();
    for (pair p = {0}; p.b < a.batch; p.b++)
        for (p.i = 0; p.i < a.queries; p.i++)
            for (p.h = 0; p.h < a.heads; p.h++)
                attend(&a, p, s,
                       (float *)out[0].data + ((p.b * a.queries + p.i) * a.heads + p.h) * a.e);
    return RLX_OK;
}

/* ---- lowering -------------------------------------------------------------------------------- */

/* The space of scores: [B..,N,S,K]. */
typedef struct space {
    rlx_ir_builder *b;
    const rlx_ir_node *n;
    rlx_ir_value *const *in;
    int option[OPTIONS]; /* -1: none */
    int nb;              /* axes of B.. */
    int rank;
    rlx_dim dim[RLX_MAX_RANK];
} space;

static space get_space(rlx_ir_builder *b, const rlx_ir_node *n, rlx_ir_value *const *in)
{
    space s = {.b = b, .n = n, .in = in, .nb = n->in[0]->type.rank - 3};
    int count;
    find_options(n, s.option, &count);
    for (s.rank = 0; s.rank < s.nb + 3; s.rank++)
        s.dim[s.rank] = score_dim(n, s.rank);
    return s;
}

/* x repeated from axes 0..lead-1 and those of `more` to [scores' axes.., last]. */
static rlx_ir_value *repeat(const space *s, rlx_ir_value *x, int rank, const rlx_dim *dims,
                            int lead, int nmore, const int *more)
{
    int64_t axes[RLX_MAX_RANK];
    for (int i = 0; i < lead; i++)
        axes[i] = i;
    for (int i = 0; i < nmore; i++)
        axes[lead + i] = more[i];
    return rlx_mir_build_broadcast(s->b, x, rank, dims, axes);
}

/* A number that mixes with `like`. */
static rlx_ir_value *number(const space *s, rlx_format f, double v)
{
    return rlx_mir_build_const(s->b, f, v);
}

static rlx_ir_value *map2(const space *s, rlx_map_fn fn, rlx_ir_value *x, rlx_ir_value *y)
{
    return rlx_mir_build_map2(s->b, fn, x, y);
}

/* A mask or bias to the scores' space: axes of 1 go. */
static rlx_ir_value *to_scores(const space *s, rlx_ir_value *x)
{
    rlx_dim kept[RLX_MAX_RANK] = {0};
    int axes[RLX_MAX_RANK] = {0}, n = 0;
    for (int i = 0; x && i < x->type.rank; i++) {
        const int f = s->rank - x->type.rank + i;
        if (x->type.dim[i] == 1 && s->dim[f] != 1)
            continue;
        axes[n] = f;
        kept[n++] = x->type.dim[i];
    }
    x = rlx_mir_build_reshape(s->b, x, n, kept);
    return repeat(s, x, s->rank, s->dim, 0, n, axes);
}

/* The positions of queries, i32 [S] or [B..,S], repeated like those of keys to [..,S,K]. */
static void find_positions(const space *s, rlx_ir_value **query, rlx_ir_value **key, rlx_ir_type *t)
{
    const rlx_dim queries = s->dim[s->rank - 2], keys = s->dim[s->rank - 1];
    rlx_ir_value *offset = s->option[OFFSET] < 0 ? NULL : s->in[s->option[OFFSET]];
    const int lead = offset && offset->type.rank ? s->nb : 0;
    int64_t at = rlx_ir_attr_int(s->n, RLX_ATTR_AT, 0);
    *t = rlx_ir_tensor(RLX_I32, lead, s->dim);
    t->dim[t->rank++] = queries;
    t->dim[t->rank++] = keys;
    rlx_ir_value *i = rlx_mir_build_iota(s->b, RLX_I32, queries);
    rlx_ir_value *j = rlx_mir_build_iota(s->b, RLX_I32, keys);
    rlx_ir_value *shift = offset && !lead ? offset : NULL;
    if (rlx_ir_attr_int(s->n, RLX_ATTR_ALIGNED, 0)) { /* the last indices' difference */
        rlx_ir_value *last_key = rlx_mir_build_fold(s->b, RLX_FN_MAX, j);
        rlx_ir_value *last = rlx_mir_build_fold(s->b, RLX_FN_MAX, i);
        last = map2(s, RLX_FN_SUB, last_key, last);
        shift = shift ? map2(s, RLX_FN_ADD, shift, last) : last;
    }
    if (at)
        i = map2(s, RLX_FN_ADD, i, number(s, RLX_I32, (double)at));
    if (shift)
        i = map2(s, RLX_FN_ADD, i, shift);
    *query = repeat(s, i, t->rank, t->dim, 0, 1, &(int){lead});
    *key = repeat(s, j, t->rank, t->dim, 0, 1, &(int){lead + 1});
    if (lead)
        *query = map2(s, RLX_FN_ADD, *query, repeat(s, offset, t->rank, t->dim, lead, 0, NULL));
}

static rlx_ir_value *both(const space *s, rlx_ir_value *x, rlx_ir_value *y)
{
    return x && y ? map2(s, RLX_FN_AND, x, y) : x ? x : y;
}

/* Which keys are seen by where they stand, [..,S,K]; NULL: all. */
static rlx_ir_value *seen_by_place(const space *s)
{
    static const rlx_attr_key parts[] = {RLX_ATTR_CHUNK, RLX_ATTR_BLOCK};
    rlx_ir_value *query, *key, *seen = NULL;
    rlx_ir_type t;
    const int64_t before = rlx_ir_attr_int(s->n, RLX_ATTR_BEFORE, -1);
    const int64_t after = rlx_ir_attr_int(s->n, RLX_ATTR_AFTER, -1);
    const bool cut = rlx_ir_attr(s->n, RLX_ATTR_CHUNK) || rlx_ir_attr(s->n, RLX_ATTR_BLOCK);
    if (before < 0 && after < 0 && !cut)
        return NULL;
    find_positions(s, &query, &key, &t);
    if (after >= 0)
        seen = map2(s, RLX_FN_LE, key,
                    after ? map2(s, RLX_FN_ADD, query, number(s, RLX_I32, (double)after)) : query);
    if (before >= 0) {
        rlx_ir_value *reach = map2(s, RLX_FN_ADD, key, number(s, RLX_I32, (double)before));
        seen = both(s, seen, map2(s, RLX_FN_LE, query, reach));
    }
    for (int i = 0; i < 2; i++) {
        const rlx_attr *a = rlx_ir_attr(s->n, parts[i]);
        if (!a)
            continue;
        rlx_ir_value *size = number(s, RLX_I32, (double)a->i);
        rlx_ir_value *of_key = map2(s, RLX_FN_DIV, key, size);
        rlx_ir_value *of_query = map2(s, RLX_FN_DIV, query, size);
        seen = both(s, seen, map2(s, i ? RLX_FN_LE : RLX_FN_EQ, of_key, of_query));
    }
    const int nb = t.rank == 2 ? 0 : s->nb;
    return repeat(s, seen, s->rank, s->dim, nb, 2, (int[]){s->rank - 2, s->rank - 1});
}

/* Which keys are seen, in the scores' space; NULL: all. */
static rlx_ir_value *seen_keys(const space *s)
{
    rlx_ir_value *seen = seen_by_place(s);
    const int *o = s->option;
    const int last = s->rank - 1;
    if (o[VALID] >= 0) {
        rlx_ir_value *v = s->in[o[VALID]];
        if (v->type.format != RLX_BOOL) {
            v = map2(s, RLX_FN_EQ, v, number(s, RLX_I32, 0));
            v = map2(s, RLX_FN_XOR, v, number(s, RLX_BOOL, 1));
        }
        seen = both(s, seen, repeat(s, v, s->rank, s->dim, s->nb, 1, &last));
    }
    if (o[LENGTHS] >= 0) {
        rlx_ir_value *j = rlx_mir_build_iota(s->b, RLX_I32, s->dim[last]);
        j = repeat(s, j, s->rank, s->dim, 0, 1, &last);
        rlx_ir_value *most = repeat(s, s->in[o[LENGTHS]], s->rank, s->dim, s->nb, 0, NULL);
        seen = both(s, seen, map2(s, RLX_FN_LT, j, most));
    }
    return o[MASK] < 0 ? seen : both(s, seen, to_scores(s, s->in[o[MASK]]));
}

/* The space of products with keys that every query has of its own: [B..,G,R,S,K,D]. */
static int relative_dims(const space *s, rlx_dim *dims)
{
    const rlx_dim kv_heads = axis_of(s->n->in[1], 2);
    int rank = s->nb;
    memcpy(dims, s->dim, sizeof s->dim);
    dims[rank++] = kv_heads;
    dims[rank++] = s->dim[s->nb] / kv_heads;
    dims[rank++] = s->dim[s->nb + 1];
    dims[rank++] = s->dim[s->nb + 2];
    dims[rank++] = axis_of(s->n->in[0], 1);
    return rank;
}

/* Rows of the table of distances, repeated to that space. */
static rlx_ir_value *relative_keys(const space *s, int rank, const rlx_dim *dims)
{
    rlx_ir_value *table = s->in[s->option[RELATIVE]], *query, *key;
    rlx_ir_type t;
    find_positions(s, &query, &key, &t);
    const int64_t left = rlx_ir_attr_int(s->n, RLX_ATTR_LEFT, 0);
    rlx_ir_value *row = map2(s, RLX_FN_SUB, key, query);
    row = map2(s, RLX_FN_ADD, row, number(s, RLX_I32, (double)left));
    row = map2(s, RLX_FN_MAX, row, number(s, RLX_I32, 0));
    row = map2(s, RLX_FN_MIN, row,
               number(s, RLX_I32, (double)(s->n->in[s->option[RELATIVE]]->type.dim[0] - 1)));
    rlx_ir_value *x = rlx_mir_build_gather(s->b, rlx_mir_build_cast(s->b, table, RLX_F32), row);
    return repeat(s, x, rank, dims, t.rank - 2, 3, (int[]){rank - 3, rank - 2, rank - 1});
}

/* Sums of products with keys that every query has of its own: rows that are gathered are so inside
 * the fold, which then goes by single elements. */
static rlx_ir_value *relative_sums(const space *s)
{
    rlx_dim dims[RLX_MAX_RANK], grouped[RLX_MAX_RANK];
    const int nb = s->nb, rank = relative_dims(s, dims);
    memcpy(grouped, dims, sizeof grouped);
    grouped[nb] = dims[nb + 2]; /* q [B..,S,G,R,D] */
    grouped[nb + 1] = dims[nb];
    grouped[nb + 2] = dims[nb + 1];
    grouped[nb + 3] = dims[rank - 1];
    int64_t perm[RLX_MAX_RANK];
    for (int i = 0; i < nb; i++)
        perm[i] = i;
    for (int i = 0; i < 4; i++)
        perm[nb + i] = nb + (i == 2 ? 0 : i < 2 ? i + 1 : 3);
    rlx_ir_value *q = rlx_mir_build_reshape(s->b, s->in[0], nb + 4, grouped);
    q = rlx_mir_build_transpose(s->b, q, perm);
    for (int i = 0; i < 3; i++) /* k [B..,G,K,D] */
        perm[nb + i] = nb + (i == 2 ? 2 : !i);
    rlx_ir_value *k = rlx_mir_build_transpose(s->b, s->in[1], perm);
    q = repeat(s, q, rank, dims, nb + 3, 1, &(int){rank - 1});
    k = repeat(s, k, rank, dims, nb + 1, 2, (int[]){rank - 2, rank - 1});
    k = map2(s, RLX_FN_ADD, k, relative_keys(s, rank, dims));
    rlx_ir_value *x = rlx_mir_build_fold(s->b, RLX_FN_ADD, map2(s, RLX_FN_MUL, q, k));
    return rlx_mir_build_reshape(s->b, x, s->rank, s->dim);
}

void rlx_hir_dense_attention_lower(rlx_ir_builder *b, const rlx_ir_node *n, rlx_ir_value *const *in,
                                   rlx_ir_value **out)
{
    const space s = get_space(b, n, in);
    const int *o = s.option;
    rlx_mir_dense_attention a = {.q = in[0],
                                 .k = in[1],
                                 .v = in[2],
                                 .scale = rlx_ir_attr_float(n, RLX_ATTR_SCALE, 1),
                                 .softcap = rlx_ir_attr_float(n, RLX_ATTR_SOFTCAP, 0)};
    rlx_ir_value *sums = o[RELATIVE] < 0 ? NULL : relative_sums(&s);
    if (o[BIAS] >= 0)
        a.option[RLX_MIR_DENSE_BIAS] = to_scores(&s, rlx_mir_build_cast(b, in[o[BIAS]], RLX_F32));
    a.option[RLX_MIR_DENSE_SEEN] = seen_keys(&s);
    if (o[SINKS] >= 0)
        a.option[RLX_MIR_DENSE_SINKS] = rlx_mir_build_cast(b, in[o[SINKS]], RLX_F32);
    out[0] = sums ? rlx_mir_attend(b, &a, sums) : rlx_mir_build_dense_attention(b, &a);
}
