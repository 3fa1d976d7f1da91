/* mir/ops/attention.c: every token against the keys of its sequence up to its own position
 *   in   q f32[T,N,D], kpool f32[PAGES,G,D,P], vpool f32[PAGES,G,P,D], pos i32[T], seq i32[T],
 *        table i32[SEQS,SLOTS]
 *   out  o f32[T,N,D]; head h reads kv head h / (N/G)
 *   One page of keys at a time, which fixes every order of sums whatever the batch:
 *     s[j]   = (sum over d ascending, by fma, of q[d] * k[d][j]) * scale      positions j <=
 * pos[t]; with a window w, j > pos[t] - w m      = max s;  p[j] = exp(s[j] - m), 0 at other
 * positions l      = sum of p: lane j mod 16, ascending; lanes by halves acc[d] = sum over j
 * ascending, by fma, of p[j] * v[j][d] and pages that have such positions are merged in order, each
 * product and sum rounded: m' = max(m, mp), l' = l * exp(m - m') + lp * exp(mp - m'), acc' alike;
 * at last o = acc / l C1   q has rank 3, the pools rank 4, pos and seq rank 1, table rank 2. C2   q
 * and the pools agree on D, the pools on PAGES, G and P; P is a constant multiple of 16. C3   N and
 * G are constants, N a multiple of G. C4   q and the pools are f32; pos, seq and table are i32. C5
 * pos and seq have one entry per token. C6   scale is given; window, if given, is > 0. Evaluating:
 * indices lie within table and pool. */
#include <math.h>
#include <string.h>

#include "mir/ops/ops.h"
#include "runtime/base/ir/exp_poly.h"

rlx_status rlx_mir_attention_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results)
{
    (void)m;
    results[0] = n->in[0]->type;
    return RLX_OK;
}

rlx_status rlx_mir_attention_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    static const int rank[6] = {3, 4, 4, 1, 1, 2};
    static const rlx_format format[6] = {RLX_F32, RLX_F32, RLX_F32, RLX_I32, RLX_I32, RLX_I32};
    for (int i = 0; i < 6; i++) {
        RLX_IR_REQUIRE(m, n, "C1", n->in[i]->type.rank == rank[i], "operand %d has rank %d, not %d",
                       i, n->in[i]->type.rank, rank[i]);
        RLX_IR_REQUIRE(m, n, "C4", n->in[i]->type.format == format[i], "operand %d is %s, not %s",
                       i, rlx_format_get(n->in[i]->type.format)->name,
                       rlx_format_get(format[i])->name);
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
    RLX_IR_REQUIRE(m, n, "C6", rlx_ir_attr(n, RLX_ATTR_SCALE) != NULL, "has no scale");
    const rlx_attr *window = rlx_ir_attr(n, RLX_ATTR_WINDOW);
    RLX_IR_REQUIRE(m, n, "C6", !window || window->i > 0, "window=%lld", (long long)window->i);
    return RLX_OK;
}

/* One head of one token over one page, and the running result of the pages before it. */
typedef struct page {
    const float *q; /* [D] */
    const float *k; /* [D][P] */
    const float *v; /* [P][D] */
    int64_t d, p;
    int64_t first, keys; /* positions of the page that are seen: first..keys-1 */
    float scale;
    float *s;   /* [P]: scores, then probabilities */
    float *acc; /* [D]: this page's result */
    float m, l;
} page;

RLX_MIR_WIDE static void page_partial(page *g)
{
    memset(g->s, 0, (size_t)g->p * sizeof(float));
    memset(g->acc, 0, (size_t)g->d * sizeof(float));
    for (int64_t d = 0; d < g->d; d++)
        for (int64_t j = g->first; j < g->keys; j++)
            g->s[j] = fmaf(g->q[d], g->k[d * g->p + j], g->s[j]);
    g->m = -INFINITY;
    for (int64_t j = g->first; j < g->keys; j++) {
        g->s[j] *= g->scale;
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

typedef struct tensors {
    const rlx_eval_tensor *q, *k, *v, *pos, *seq, *table, *o;
    int64_t window; /* INT64_MAX: none */
} tensors;

/* Token t, head h. `g` lends its scratch. */
static rlx_status eval_head(const tensors *x, page *g, int64_t t, int64_t h)
{
    int64_t heads = x->q->dim[1], kv_heads = x->k->dim[1], kv = h / (heads / kv_heads);
    int64_t pos = ((const int32_t *)x->pos->data)[t], seq = ((const int32_t *)x->seq->data)[t];
    float *o = (float *)x->o->data + (t * heads + h) * g->d;
    float m = 0, l = 0;
    if (pos < 0)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "position %lld", (long long)pos);
    g->q = (const float *)x->q->data + (t * heads + h) * g->d;
    const int64_t lowest = pos >= x->window ? pos - x->window + 1 : 0, begin = lowest / g->p;
    for (int64_t slot = begin; slot * g->p <= pos; slot++) {
        int64_t index;
        RLX_TRY(rlx_mir_page_find(x->table, x->k->dim[0], seq, slot, &index));
        int64_t first = (index * kv_heads + kv) * g->d * g->p;
        g->k = (const float *)x->k->data + first;
        g->v = (const float *)x->v->data + first;
        g->first = slot == begin ? lowest % g->p : 0;
        g->keys = pos - slot * g->p + 1 < g->p ? pos - slot * g->p + 1 : g->p;
        page_partial(g);
        if (slot == begin) {
            m = g->m;
            l = g->l;
            memcpy(o, g->acc, (size_t)g->d * sizeof(float));
        } else {
            page_merge(g, &m, &l, o);
        }
    }
    for (int64_t d = 0; d < g->d; d++)
        o[d] = o[d] / l;
    return RLX_OK;
}

rlx_status rlx_mir_attention_eval(rlx_mir_frame *f, const rlx_ir_node *n)
{
    rlx_eval_tensor *o;
    RLX_TRY(rlx_mir_frame_make(f, n->out[0], &o));
    tensors x = {rlx_mir_tensor(n->in[0]),
                 rlx_mir_tensor(n->in[1]),
                 rlx_mir_tensor(n->in[2]),
                 rlx_mir_tensor(n->in[3]),
                 rlx_mir_tensor(n->in[4]),
                 rlx_mir_tensor(n->in[5]),
                 o,
                 rlx_ir_attr_int(n, RLX_ATTR_WINDOW, INT64_MAX)};
    page g = {.d = x.q->dim[2],
              .p = x.k->dim[3],
              .scale = (float)rlx_ir_attr_float(n, RLX_ATTR_SCALE, 1)};
    g.s = RLX_NEW_ARRAY(f->arena, float, g.p);
    g.acc = RLX_NEW_ARRAY(f->arena, float, g.d);
    if (!g.s || !g.acc)
        return RLX_OOM();
    for (int64_t t = 0; t < o->dim[0]; t++)
        for (int64_t h = 0; h < o->dim[1]; h++)
            RLX_TRY_NOTE(eval_head(&x, &g, t, h), "attention: token %lld, head %lld", (long long)t,
                         (long long)h);
    return RLX_OK;
}
