/* mir/ops/attention.c: every token against the keys of its sequence up to its own position
 *   in   q f32[T,N,D], kpool [PAGES,G,D,P], vpool [PAGES,G,P,D], pos i32[T], seq i32[T],
 *        table i32[SEQS,SLOTS]; behind them for a pool of i8 its scales, keys' before values':
 *        kscale f16[PAGES,G,D/32,P], vscale f16[PAGES,G,P,D/32]; with sinks at last f32[N]
 *   out  o f32[T,N,D]; head h reads kv head h / (N/G)
 *   k and v below are the pools' elements as f32; of a pool of i8 the product of code and scale,
 *   which f32 holds exactly. One page of keys at a time, which fixes every order of sums whatever
 *   the batch:
 *     s[j]   = (sum over d ascending, by fma, of q[d] * k[d][j]) * scale; with a softcap c
 *              tanh((sum) * (scale / c)) * c
 *              at positions j <= pos[t]; with a window w, j > pos[t] - w; with a chunk w, j not
 *              below pos[t] - pos[t] mod w; with a block b all j < (pos[t] div b + 1) * b
 *              that are not behind the last of the sequence's positions in pos
 *     m      = max s;  p[j] = exp(s[j] - m), 0 at other positions
 *     l      = sum of p: lane j mod 16, ascending; lanes by halves
 *     acc[d] = sum over j ascending, by fma, of p[j] * v[j][d]
 *   and pages that have such positions are merged in order, each product and sum rounded:
 *   m' = max(m, mp), l' = l * exp(m - m') + lp * exp(mp - m'), acc' alike; at last o = acc / l.
 *   Sinks are a page in front of all, with m the head's sink, l = 1 and acc = 0.
 *   With a width w, what a matrix unit multiplies (docs/decisions/2026-11-30-matrix-units.md): k is of
 *   its pool's format, f16 or bf16, of codes f16, and q is rounded to that, as v's p is to v's; what goes to
 *   f16 is held within +-65504 before. Sums of products go by chunks of w (runtime/base/chunk_dot.h).
 *   Not pages, but blocks of 64, 32 or 16 of their positions, the most that divides P, one after the other:
 *     m'   = max(m, max s);  p[j] = exp(s[j] - m'), rounded, 0 at other positions
 *     l'   = l * exp(m - m') + sum of p: by halves
 *     acc' = acc * exp(m - m') and the chunks of p * v
 *   from m = -inf, l = 0 and acc = 0 or the sinks', through the blocks that have such positions.
 *   C1   q has rank 3, the pools rank 4, pos and seq rank 1, table rank 2.
 *   C2   q and the pools agree on D, the pools on PAGES, G and P; P is a constant multiple of 16.
 *   C3   N and G are constants, N a multiple of G.
 *   C4   q is f32; the pools are f32, f16, bf16 or i8; pos, seq and table are i32.
 *   C5   pos and seq have one entry per token.
 *   C6   scale is given; window and chunk, if given, are > 0, block divides P, one of the three
 *        at most; softcap, if given, is > 0.
 *   C7   a pool of i8 has its scales, 32 divides D; sinks are f32[N]; there is no other operand.
 *   C8   width, if given, is 4, 8 or 16 and divides D, a constant; no pool is f32.
 *   Evaluating: indices lie within table and pool. */
#include <math.h>
#include <string.h>

#include "mir/ops/ops.h"
#include "runtime/base/chunk_dot.h"
#include "runtime/base/ir/exp_poly.h"

rlx_status rlx_mir_attention_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results)
{
    (void)m;
    results[0] = n->in[0]->type;
    return RLX_OK;
}

bool rlx_mir_is_pool(rlx_format f)
{
    return f == RLX_F32 || f == RLX_F16 || f == RLX_BF16 || f == RLX_I8;
}

int rlx_mir_attention_scales(const rlx_ir_node *n, bool keys)
{
    bool coded = n->in[1]->type.format == RLX_I8;
    if (keys)
        return coded ? 6 : -1;
    return n->in[2]->type.format == RLX_I8 ? 6 + coded : -1;
}

int rlx_mir_attention_sinks(const rlx_ir_node *n)
{
    const int pools = (n->in[1]->type.format == RLX_I8) + (n->in[2]->type.format == RLX_I8);
    return rlx_ir_attr_int(n, RLX_ATTR_SINKS, 0) ? 6 + pools : -1;
}

static rlx_status verify_scales(rlx_ir_module *m, const rlx_ir_node *n)
{
    int count = 0;
    for (int pool = 1; pool <= 2; pool++) {
        int at = rlx_mir_attention_scales(n, pool == 1), along = pool == 1 ? 2 : 3;
        if (at < 0)
            continue;
        rlx_ir_type want = n->in[pool]->type;
        RLX_IR_REQUIRE(m, n, "C7",
                       rlx_dim_is_const(want.dim[along]) && want.dim[along] % RLX_KV_GROUP == 0,
                       "heads of %s elements, of which %d share a scale",
                       RLX_MIR_DIM(m, want.dim[along]), RLX_KV_GROUP);
        want.format = RLX_F16;
        want.dim[along] /= RLX_KV_GROUP;
        RLX_IR_REQUIRE(m, n, "C7", at < n->nin && rlx_ir_type_equal(&n->in[at]->type, &want),
                       "pool %d of i8 without scales of its shape", pool);
        count++;
    }
    const int sinks = rlx_mir_attention_sinks(n);
    RLX_IR_REQUIRE(m, n, "C7", n->nin == 6 + count + (sinks >= 0), "%d operands with %d scales%s",
                   n->nin, count, sinks >= 0 ? " and sinks" : "");
    const rlx_ir_type want = rlx_ir_tensor(RLX_F32, 1, &n->in[0]->type.dim[1]);
    RLX_IR_REQUIRE(m, n, "C7", sinks < 0 || rlx_ir_type_equal(&n->in[sinks]->type, &want),
                   "sinks of %s", RLX_MIR_DIM(m, n->in[sinks]->type.dim[0]));
    return RLX_OK;
}

/* Which keys are seen, and what scores become. */
static rlx_status verify_mask(rlx_ir_module *m, const rlx_ir_node *n)
{
    static const rlx_attr_key keys[] = {RLX_ATTR_WINDOW, RLX_ATTR_CHUNK, RLX_ATTR_BLOCK};
    const int64_t positions = n->in[1]->type.dim[3];
    int given = 0;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const rlx_attr *a = rlx_ir_attr(n, keys[i]);
        RLX_IR_REQUIRE(m, n, "C6", !a || a->i > 0, "%s=%lld", rlx_attr_name(keys[i]),
                       (long long)a->i);
        RLX_IR_REQUIRE(m, n, "C6", !a || keys[i] != RLX_ATTR_BLOCK || positions % a->i == 0,
                       "block=%lld does not divide a page", (long long)a->i);
        given += a != NULL;
    }
    RLX_IR_REQUIRE(m, n, "C6", given <= 1, "%d of window, chunk and block", given);
    const rlx_attr *cap = rlx_ir_attr(n, RLX_ATTR_SOFTCAP);
    RLX_IR_REQUIRE(m, n, "C6", !cap || (cap->f > 0 && isfinite(cap->f)), "softcap=%g", cap->f);
    return RLX_OK;
}

rlx_format rlx_mir_attention_halves(const rlx_ir_node *n, bool keys)
{
    const rlx_format f = n->in[keys ? 1 : 2]->type.format;
    return f == RLX_I8 ? RLX_F16 : f;
}

int64_t rlx_mir_attention_block(int64_t positions)
{
    int64_t n = RLX_MIR_ATTENTION_BLOCK;
    while (positions % n != 0)
        n /= 2;
    return n;
}

static rlx_status verify_width(rlx_ir_module *m, const rlx_ir_node *n)
{
    const int64_t width = rlx_ir_attr_int(n, RLX_ATTR_WIDTH, 0);
    const rlx_dim d = n->in[0]->type.dim[2];
    if (!rlx_ir_attr(n, RLX_ATTR_WIDTH))
        return RLX_OK;
    RLX_IR_REQUIRE(m, n, "C8", rlx_chunk_is_width(width) && rlx_dim_is_const(d) && d % width == 0,
                   "width=%lld for heads of %s", (long long)width, RLX_MIR_DIM(m, d));
    for (int i = 1; i <= 2; i++)
        RLX_IR_REQUIRE(m, n, "C8", n->in[i]->type.format != RLX_F32,
                       "products of f32 have no width");
    return RLX_OK;
}

rlx_status rlx_mir_attention_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    static const int rank[6] = {3, 4, 4, 1, 1, 2};
    static const rlx_format format[6] = {RLX_F32, 0,       0,
                                         RLX_I32, RLX_I32, RLX_I32}; /* 0: a pool's */
    for (int i = 0; i < 6; i++) {
        RLX_IR_REQUIRE(m, n, "C1", n->in[i]->type.rank == rank[i], "operand %d has rank %d, not %d",
                       i, n->in[i]->type.rank, rank[i]);
        rlx_format f = n->in[i]->type.format;
        RLX_IR_REQUIRE(m, n, "C4", format[i] ? f == format[i] : rlx_mir_is_pool(f),
                       "operand %d is %s, not %s", i, rlx_format_get(f)->name,
                       format[i] ? rlx_format_get(format[i])->name : "f32, f16, bf16 or i8");
    }
    const rlx_dim *q = n->in[0]->type.dim, *k = n->in[1]->type.dim, *v = n->in[2]->type.dim;
    RLX_IR_REQUIRE(m, n, "C2", q[2] == k[2] && q[2] == v[3],
                   "heads of %s, keys of %s, values of %s", RLX_MIR_DIM(m, q[2]),
                   RLX_MIR_DIM(m, k[2]), RLX_MIR_DIM(m, v[3]));
    RLX_IR_REQUIRE(m, n, "C2", k[0] == v[0] && k[1] == v[1] && k[3] == v[2],
                   "the pools of keys and of values have other pages");
    RLX_IR_REQUIRE(m, n, "C2", rlx_dim_is_const(k[3]) && k[3] > 0 && k[3] % 16 == 0,
                   "a page of %s positions", RLX_MIR_DIM(m, k[3]));
    RLX_IR_REQUIRE(m, n, "C3",
                   rlx_dim_is_const(q[1]) && rlx_dim_is_const(k[1]) && k[1] > 0 && q[1] % k[1] == 0,
                   "%s heads over %s kv heads", RLX_MIR_DIM(m, q[1]), RLX_MIR_DIM(m, k[1]));
    RLX_IR_REQUIRE(m, n, "C5", n->in[3]->type.dim[0] == q[0] && n->in[4]->type.dim[0] == q[0],
                   "%s tokens, %s positions, %s sequences", RLX_MIR_DIM(m, q[0]),
                   RLX_MIR_DIM(m, n->in[3]->type.dim[0]), RLX_MIR_DIM(m, n->in[4]->type.dim[0]));
    RLX_TRY(verify_scales(m, n));
    RLX_IR_REQUIRE(m, n, "C6", rlx_ir_attr(n, RLX_ATTR_SCALE) != NULL, "has no scale");
    RLX_TRY(verify_width(m, n));
    return verify_mask(m, n);
}

/* One head of one token over one page, and the running result of the pages before it. */
typedef struct page {
    const float *q; /* [D] */
    const float *k; /* [D][P] */
    const float *v; /* [P][D] */
    int64_t d, p;
    int64_t first, keys; /* positions of the page that are seen: first..keys-1 */
    float scale, cap;    /* cap 0: none; else scale is a score's before tanh */
    float *s;            /* [P]: scores, then probabilities */
    float *acc;          /* [D]: this page's result */
    float m, l;
    int64_t width; /* 0: products are of f32, and what follows is not there */
    rlx_format keys_of, values_of;
    bool key_codes, value_codes;
    uint16_t *halves[2]; /* [D] or of a block: both factors */
} page;

static float cap_score(float s, float cap)
{
    return cap == 0 ? s
                    : (float)rlx_map_fn_eval(RLX_FN_TANH, RLX_F32, &(rlx_scalar){.f = s}).f * cap;
}

RLX_MIR_WIDE static void page_partial(page *g)
{
    memset(g->s, 0, (size_t)g->p * sizeof(float));
    memset(g->acc, 0, (size_t)g->d * sizeof(float));
    for (int64_t d = 0; d < g->d; d++)
        for (int64_t j = g->first; j < g->keys; j++)
            g->s[j] = fmaf(g->q[d], g->k[d * g->p + j], g->s[j]);
    g->m = -INFINITY;
    for (int64_t j = g->first; j < g->keys; j++) {
        g->s[j] = cap_score(g->s[j] * g->scale, g->cap);
        g->m = g->m > g->s[j] ? g->m : g->s[j];
    }
    float lane[16] = {0};
    for (int64_t j = g->first; j < g->keys; j++) {
        g->s[j] = rlx_exp_f32(g->s[j] - g->m);
        lane[j % 16] += g->s[j];
    }
    g->l = rlx_mir_halves_add(lane, 16);
    for (int64_t j = g->first; j < g->keys; j++)
        for (int64_t d = 0; d < g->d; d++)
            g->acc[d] = fmaf(g->s[j], g->v[j * g->d + d], g->acc[d]);
}

/* Merges page `g` into the pages before it: (m, l, acc[D]). */
static void page_merge(const page *g, float *m, float *l, float *acc)
{
    float both = *m > g->m ? *m : g->m;
    float before = rlx_exp_f32(*m - both), now = rlx_exp_f32(g->m - both);
    *l = *l * before + g->l * now;
    for (int64_t d = 0; d < g->d; d++)
        acc[d] = acc[d] * before + g->acc[d] * now;
    *m = both;
}

/* ---- by chunks ---- */

/* x as f16 or bf16; `held`: within f16's range. */
static uint16_t half_of(rlx_format f, float x, bool held)
{
    enum { F16_MOST = 65504 };
    uint16_t half;
    if (held && f == RLX_F16)
        x = x > F16_MOST ? F16_MOST : x < -F16_MOST ? -F16_MOST : x;
    rlx_format_store(f, &half, 0, (double)x);
    return half;
}

/* The scores of the block's seen positions from .. to-1, and their maximum with *max. */
static void block_scores(const page *g, int64_t from, int64_t to, float *max)
{
    const rlx_format f = g->keys_of;
    for (int64_t d = 0; d < g->d; d++)
        g->halves[0][d] = half_of(f, g->q[d], true);
    for (int64_t j = from; j < to; j++) {
        for (int64_t d = 0; d < g->d; d++)
            g->halves[1][d] = half_of(f, g->k[d * g->p + j], g->key_codes);
        const float s = rlx_chunk_dot(f, g->halves[0], g->halves[1], g->d, g->width, 0);
        g->s[j] = cap_score(s * g->scale, g->cap);
        *max = *max > g->s[j] ? *max : g->s[j];
    }
}

/* The block of positions first .. first+n-1, of which from .. to-1 are seen. */
static void add_block(page *g, int64_t first, int64_t n, int64_t from, int64_t to)
{
    const rlx_format f = g->values_of;
    float max = g->m, sum[RLX_MIR_ATTENTION_BLOCK] = {0};
    block_scores(g, from, to, &max);
    const float before = rlx_exp_f32(g->m - max);
    memset(g->halves[0], 0, (size_t)n * sizeof(uint16_t));
    memset(g->halves[1], 0, (size_t)n * sizeof(uint16_t));
    for (int64_t j = from; j < to; j++) {
        const uint16_t p = half_of(f, rlx_exp_f32(g->s[j] - max), false);
        g->halves[0][j - first] = p;
        sum[j - first] = (float)rlx_format_load(f, &p, 0);
    }
    for (int64_t d = 0; d < g->d; d++) {
        for (int64_t j = from; j < to; j++)
            g->halves[1][j - first] = half_of(f, g->v[j * g->d + d], g->value_codes);
        g->acc[d] = rlx_chunk_dot(f, g->halves[0], g->halves[1], n, g->width, g->acc[d] * before);
    }
    g->l = g->l * before + rlx_mir_halves_add(sum, n);
    g->m = max;
}

/* The page's seen positions, added to what the pages before gave. */
static void add_blocks(page *g)
{
    const int64_t n = rlx_mir_attention_block(g->p);
    for (int64_t first = g->first / n * n; first < g->keys; first += n)
        add_block(g, first, n, first > g->first ? first : g->first,
                  first + n < g->keys ? first + n : g->keys);
}

/* Keys [D][P] or values [P][D] of one head's page as f32, from element `from` of the pool on:
 * where they are, or the seen ones in `wide`. */
static const float *widen(const page *g, bool keys, const rlx_eval_tensor *pool,
                          const rlx_eval_tensor *scales, int64_t from, float *wide)
{
    if (pool->format == RLX_F32)
        return (const float *)pool->data + from;
    for (int64_t d = 0; d < g->d; d++)
        for (int64_t j = g->first; j < g->keys; j++) {
            int64_t at = keys ? d * g->p + j : j * g->d + d, group = d / RLX_KV_GROUP;
            int64_t scale = keys ? group * g->p + j : j * (g->d / RLX_KV_GROUP) + group;
            wide[at] = (float)rlx_format_load(pool->format, pool->data, from + at);
            if (scales)
                wide[at] *=
                    (float)rlx_format_load(RLX_F16, scales->data, from / RLX_KV_GROUP + scale);
        }
    return wide;
}

typedef struct tensors {
    const rlx_eval_tensor *q, *k, *v, *pos, *seq, *table, *kscale, *vscale, *o;
    const float *sinks;             /* [N]; NULL: none */
    int64_t window, chunk, block;   /* 0: none */
    float *wide_keys, *wide_values; /* [D*P] */
} tensors;

/* One behind the last position that token t's sequence has here. */
static int64_t length_of(const tensors *x, int64_t t)
{
    const int32_t *pos = x->pos->data, *seq = x->seq->data;
    int32_t last = pos[t];
    for (int64_t i = 0; i < x->pos->dim[0]; i++)
        if (seq[i] == seq[t] && pos[i] > last)
            last = pos[i];
    return (int64_t)last + 1;
}

/* The seen positions of token t's query: lowest .. end-1. */
static void seen_by(const tensors *x, int64_t t, int64_t *lowest, int64_t *end)
{
    const int64_t pos = ((const int32_t *)x->pos->data)[t];
    *lowest = x->window && pos >= x->window ? pos - x->window + 1 : 0;
    if (x->chunk)
        *lowest = pos - pos % x->chunk;
    *end = pos + 1;
    if (x->block) {
        const int64_t whole = (pos / x->block + 1) * x->block, length = length_of(x, t);
        *end = whole < length ? whole : length;
    }
}

/* Token t, head h. `g` lends its scratch. */
static rlx_status eval_head(const tensors *x, page *g, int64_t t, int64_t h)
{
    int64_t heads = x->q->dim[1], kv_heads = x->k->dim[1], kv = h / (heads / kv_heads);
    int64_t pos = ((const int32_t *)x->pos->data)[t], seq = ((const int32_t *)x->seq->data)[t];
    float *o = (float *)x->o->data + (t * heads + h) * g->d;
    float m = x->sinks ? x->sinks[h] : 0, l = 1;
    int64_t lowest, end;
    if (pos < 0)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "position %lld", (long long)pos);
    g->q = (const float *)x->q->data + (t * heads + h) * g->d;
    seen_by(x, t, &lowest, &end);
    memset(o, 0, (size_t)g->d * sizeof(float));
    const int64_t begin = lowest / g->p;
    if (g->width) {
        g->m = x->sinks ? m : -INFINITY;
        g->l = x->sinks ? 1 : 0;
        memset(g->acc, 0, (size_t)g->d * sizeof(float));
    }
    for (int64_t slot = begin; slot * g->p < end; slot++) {
        int64_t index;
        RLX_TRY(rlx_mir_page_find(x->table, x->k->dim[0], seq, slot, &index));
        int64_t first = (index * kv_heads + kv) * g->d * g->p;
        g->first = slot == begin ? lowest % g->p : 0;
        g->keys = end - slot * g->p < g->p ? end - slot * g->p : g->p;
        g->k = widen(g, true, x->k, x->kscale, first, x->wide_keys);
        g->v = widen(g, false, x->v, x->vscale, first, x->wide_values);
        if (g->width) {
            add_blocks(g);
            continue;
        }
        page_partial(g);
        if (slot == begin && !x->sinks) {
            m = g->m;
            l = g->l;
            memcpy(o, g->acc, (size_t)g->d * sizeof(float));
        } else {
            page_merge(g, &m, &l, o);
        }
    }
    for (int64_t d = 0; d < g->d; d++)
        o[d] = g->width ? g->acc[d] / g->l : o[d] / l;
    return RLX_OK;
}

static const rlx_eval_tensor *scales_tensor(const rlx_ir_node *n, bool keys)
{
    int at = rlx_mir_attention_scales(n, keys);
    return at < 0 ? NULL : rlx_mir_tensor(n->in[at]);
}

rlx_status rlx_mir_attention_eval(rlx_mir_frame *f, const rlx_ir_node *n)
{
    rlx_eval_tensor *o;
    RLX_TRY(rlx_mir_frame_make(f, n->out[0], &o));
    tensors x = {.q = rlx_mir_tensor(n->in[0]),
                 .k = rlx_mir_tensor(n->in[1]),
                 .v = rlx_mir_tensor(n->in[2]),
                 .pos = rlx_mir_tensor(n->in[3]),
                 .seq = rlx_mir_tensor(n->in[4]),
                 .table = rlx_mir_tensor(n->in[5]),
                 .kscale = scales_tensor(n, true),
                 .vscale = scales_tensor(n, false),
                 .o = o,
                 .window = rlx_ir_attr_int(n, RLX_ATTR_WINDOW, 0),
                 .chunk = rlx_ir_attr_int(n, RLX_ATTR_CHUNK, 0),
                 .block = rlx_ir_attr_int(n, RLX_ATTR_BLOCK, 0)};
    const int sinks = rlx_mir_attention_sinks(n);
    if (sinks >= 0)
        x.sinks = rlx_mir_tensor(n->in[sinks])->data;
    const double scale = rlx_ir_attr_float(n, RLX_ATTR_SCALE, 1);
    const double cap = rlx_ir_attr_float(n, RLX_ATTR_SOFTCAP, 0);
    page g = {.d = x.q->dim[2],
              .p = x.k->dim[3],
              .scale = (float)(cap != 0 ? scale / cap : scale),
              .cap = (float)cap,
              .width = rlx_ir_attr_int(n, RLX_ATTR_WIDTH, 0),
              .keys_of = rlx_mir_attention_halves(n, true),
              .values_of = rlx_mir_attention_halves(n, false),
              .key_codes = x.kscale != NULL,
              .value_codes = x.vscale != NULL};
    g.s = RLX_NEW_ARRAY(f->arena, float, g.p);
    g.acc = RLX_NEW_ARRAY(f->arena, float, g.d);
    x.wide_keys = RLX_NEW_ARRAY(f->arena, float, g.d *g.p);
    x.wide_values = RLX_NEW_ARRAY(f->arena, float, g.d *g.p);
    for (int i = 0; i < 2; i++)
        g.halves[i] = RLX_NEW_ARRAY(f->arena, uint16_t, g.d > g.p ? g.d : g.p);
    if (!g.halves[0] || !g.halves[1] || !g.s || !g.acc || !x.wide_keys || !x.wide_values)
        return RLX_OOM();
    for (int64_t t = 0; t < o->dim[0]; t++)
        for (int64_t h = 0; h < o->dim[1]; h++)
            RLX_TRY_NOTE(eval_head(&x, &g, t, h), "attention: token %lld, head %lld", (long long)t,
                         (long long)h);
    return RLX_OK;
}
