/* mir/ops/delta_chunks.c: the gated delta rule by chunks of steps
 *   in   q, k f32[B,S,G,D]; v f32[B,S,H,E]; decay, beta f32[B,S,H]; state f32[B,H,D,E], the first
 *   out  o f32[B,S,H,E]; the state after the last step
 *   of tokens
 *   in   q, k f32[T,G,D]; v f32[T,H,E]; decay, beta f32[T,H]; pools of the session: state
 *        f32[SEQS,H,D,E], keys f32[SEQS,H,D,C], values f32[SEQS,H,C,E], decays f32[SEQS,H,C+1];
 *        pos, seq i32[T]
 *   out  o f32[T,H,E]; the pools, updated in place
 *   C = chunk. A step is number i of its chunk: its number mod C, of tokens pos mod C. S is the
 *   state where the chunk began (a sequence's first chunk has none: its terms are left out). Per
 *   head, in this order and with these roundings:
 *     r[j]   = r[j] * decay for j < i, r[i] = 1, 0 behind it;  s = s * decay, at i = 0 s = decay
 *     a[j]   = (sum over d ascending, by fma, of k[d] * k[j][d]) * r[j] for j < i, b[j] so of q
 *              for j <= i
 *     x[e]   = (sum over d ascending, by fma, of k[d] * S[d][e]) * s, to which a[j] * u[j][e] is
 *              added by fma, j ascending;  u[i] = (v - x) * beta
 *     o[e]   = the same of q, b and u[0..i]
 *   and behind step C - 1, and the last one of a batch's sequences,
 *     S[d][e] = S[d][e] * s, to which k[j][d] * (u[j][e] * r[j]) is added by fma, j ascending.
 *   A pool of decays holds r and behind it s, so a sequence may come in steps of any size.
 *   C1   ranks and formats are those; D, E, G and H are constants, G divides H.
 *   C2   k is as q; v, decay and beta are of q's steps and H.
 *   C3   the state and the pools have those extents.
 *   C4   chunk is 16, 32 or 64; kind is repeat or tile.
 *   Evaluating: sequences lie within the pools, positions are not negative. */
#include <math.h>
#include <string.h>

#include "mir/ops/ops.h"

enum { Q, K, V, DECAY, BETA, STATE, KEYS, VALUES, DECAYS, POS, SEQ };
_Static_assert((int)STATE == (int)RLX_MIR_DELTA_STATE, "of rlx_mir_updated_operand");

static bool of_tokens(const rlx_ir_node *n)
{
    return n->op == RLX_MIR_DELTA_CHUNKS_TOKENS;
}

static int64_t chunk_of(const rlx_ir_node *n)
{
    return rlx_ir_attr_int(n, RLX_ATTR_CHUNK, 0);
}

/* ---- types --------------------------------------------------------------------------------------
 */

rlx_status rlx_mir_delta_chunks_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results)
{
    (void)m;
    results[0] = n->in[V]->type;
    for (int i = 1; i < n->nout; i++)
        results[i] = n->in[STATE + i - 1]->type;
    return RLX_OK;
}

rlx_status rlx_mir_delta_chunks_tokens_infer(rlx_ir_module *m, const rlx_ir_node *n,
                                             rlx_ir_type *results)
{
    return rlx_mir_delta_chunks_infer(m, n, results);
}

/* Constraint `id`: operand i is f32 of those extents; RLX_DIM_INVALID is any. */
static rlx_status check_operand(rlx_ir_module *m, const rlx_ir_node *n, const char *id, int i,
                                int rank, const rlx_dim *dims)
{
    const rlx_ir_type *t = &n->in[i]->type;
    const rlx_format want = i >= POS ? RLX_I32 : RLX_F32;
    RLX_IR_REQUIRE(m, n, id, t->format == want && t->rank == rank, "operand %d is %s of %d axes", i,
                   rlx_format_get(t->format)->name, t->rank);
    for (int k = 0; k < rank; k++)
        RLX_IR_REQUIRE(m, n, id, dims[k] == RLX_DIM_INVALID || t->dim[k] == dims[k],
                       "operand %d has %s along axis %d", i, RLX_MIR_DIM(m, t->dim[k]), k);
    return RLX_OK;
}

static rlx_status check_heads(rlx_ir_module *m, const rlx_ir_node *n, int lead)
{
    const rlx_dim *q = n->in[Q]->type.dim, *v = n->in[V]->type.dim;
    for (int i = lead; i < lead + 2; i++)
        RLX_IR_REQUIRE(
            m, n, "C1", rlx_dim_is_const(q[i]) && q[i] > 0 && rlx_dim_is_const(v[i]) && v[i] > 0,
            "%s of q, %s of v along axis %d", RLX_MIR_DIM(m, q[i]), RLX_MIR_DIM(m, v[i]), i);
    RLX_IR_REQUIRE(m, n, "C1", v[lead] % q[lead] == 0, "%s heads over %s", RLX_MIR_DIM(m, v[lead]),
                   RLX_MIR_DIM(m, q[lead]));
    return RLX_OK;
}

rlx_status rlx_mir_delta_chunks_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    const rlx_dim any[4] = {RLX_DIM_INVALID, RLX_DIM_INVALID, RLX_DIM_INVALID, RLX_DIM_INVALID};
    const int lead = of_tokens(n) ? 1 : 2;
    const int64_t c = chunk_of(n);
    const char *kind = rlx_ir_attr_text(n, RLX_ATTR_KIND, "");
    RLX_TRY(check_operand(m, n, "C1", Q, lead + 2, any));
    RLX_TRY(check_operand(m, n, "C2", K, lead + 2, n->in[Q]->type.dim));
    RLX_TRY(check_operand(m, n, "C1", V, lead + 2, any));
    RLX_TRY(check_heads(m, n, lead));
    const rlx_dim *q = n->in[Q]->type.dim, *v = n->in[V]->type.dim;
    const rlx_dim heads = v[lead], d = q[lead + 1], e = v[lead + 1];
    rlx_dim steps[4] = {q[0], of_tokens(n) ? heads : q[1], heads, e};
    RLX_TRY(check_operand(m, n, "C2", V, lead + 2,
                          of_tokens(n) ? (const rlx_dim[]){q[0], heads, e} : steps));
    RLX_TRY(check_operand(m, n, "C2", DECAY, lead + 1, steps));
    RLX_TRY(check_operand(m, n, "C2", BETA, lead + 1, steps));
    RLX_IR_REQUIRE(m, n, "C4", rlx_mir_is_delta_chunk(c), "chunks of %lld", (long long)c);
    RLX_IR_REQUIRE(m, n, "C4", !strcmp(kind, "repeat") || !strcmp(kind, "tile"), "kind \"%s\"",
                   kind);
    const rlx_dim rows = of_tokens(n) ? n->in[STATE]->type.dim[0] : q[0];
    RLX_TRY(check_operand(m, n, "C3", STATE, 4, (const rlx_dim[]){rows, heads, d, e}));
    if (!of_tokens(n))
        return RLX_OK;
    RLX_TRY(check_operand(m, n, "C3", KEYS, 4, (const rlx_dim[]){rows, heads, d, c}));
    RLX_TRY(check_operand(m, n, "C3", VALUES, 4, (const rlx_dim[]){rows, heads, c, e}));
    RLX_TRY(check_operand(m, n, "C3", DECAYS, 3, (const rlx_dim[]){rows, heads, c + 1}));
    RLX_TRY(check_operand(m, n, "C2", POS, 1, q));
    return check_operand(m, n, "C2", SEQ, 1, q);
}

rlx_status rlx_mir_delta_chunks_tokens_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    return rlx_mir_delta_chunks_verify(m, n);
}

/* ---- meaning ------------------------------------------------------------------------------------
 */

/* A head of a sequence, and one step of it. */
typedef struct head {
    int64_t d, e, c;
    float *s, *keys, *values, *decays; /* [D,E], [D,C], [C,E], [C+1] */
    float *score, *sum;                /* [C], [E] */
    const float *q, *k, *v;
    float decay, beta, *o;
    int64_t i;
    bool first; /* chunk of the sequence, which has no S yet */
} head;

/* sum = what S and the chunk's first n values give for `x`. */
RLX_MIR_WIDE static void read_with(const head *h, const float *x, int64_t n)
{
    memset(h->score, 0, sizeof(float) * (size_t)n);
    memset(h->sum, 0, sizeof(float) * (size_t)h->e);
    for (int64_t d = 0; d < h->d; d++)
        for (int64_t j = 0; j < n; j++)
            h->score[j] = fmaf(x[d], h->keys[d * h->c + j], h->score[j]);
    for (int64_t d = 0; d < h->d && !h->first; d++)
        for (int64_t e = 0; e < h->e; e++)
            h->sum[e] = fmaf(x[d], h->s[d * h->e + e], h->sum[e]);
    for (int64_t e = 0; e < h->e; e++)
        h->sum[e] *= h->decays[h->c];
    for (int64_t j = 0; j < n; j++) {
        const float score = h->score[j] * h->decays[j];
        for (int64_t e = 0; e < h->e; e++)
            h->sum[e] = fmaf(score, h->values[j * h->e + e], h->sum[e]);
    }
}

static void run_step(const head *h)
{
    const int64_t i = h->i;
    for (int64_t j = 0; j < h->c; j++)
        h->decays[j] = j < i ? h->decays[j] * h->decay : j == i;
    h->decays[h->c] = i == 0 ? h->decay : h->decays[h->c] * h->decay;
    for (int64_t d = 0; d < h->d; d++)
        h->keys[d * h->c + i] = h->k[d];
    read_with(h, h->k, i);
    for (int64_t e = 0; e < h->e; e++)
        h->values[i * h->e + e] = (h->v[e] - h->sum[e]) * h->beta;
    read_with(h, h->q, i + 1);
    memcpy(h->o, h->sum, sizeof(float) * (size_t)h->e);
}

/* The chunk's first n steps go into S. */
RLX_MIR_WIDE static void end_chunk(const head *h, int64_t n)
{
    for (int64_t i = 0; i < h->d * h->e; i++)
        h->s[i] = h->first ? 0 : h->s[i] * h->decays[h->c];
    for (int64_t j = 0; j < n; j++) {
        for (int64_t e = 0; e < h->e; e++)
            h->sum[e] = h->values[j * h->e + e] * h->decays[j];
        for (int64_t d = 0; d < h->d; d++)
            for (int64_t e = 0; e < h->e; e++)
                h->s[d * h->e + e] = fmaf(h->keys[d * h->c + j], h->sum[e], h->s[d * h->e + e]);
    }
}

/* What a head reads and writes at row t, of H heads over G of q and k. */
static void bind_row(const rlx_ir_node *n, int64_t t, int64_t index, head *h)
{
    const int lead = of_tokens(n) ? 1 : 2;
    const rlx_eval_tensor *q = rlx_mir_tensor(n->in[Q]), *v = rlx_mir_tensor(n->in[V]);
    const int64_t groups = q->dim[lead], heads = v->dim[lead];
    const bool tile = strcmp(rlx_ir_attr_text(n, RLX_ATTR_KIND, ""), "tile") == 0;
    const int64_t group = tile ? index % groups : index / (heads / groups);
    const int64_t at = t * heads + index, qk = (t * groups + group) * h->d;
    h->q = (const float *)q->data + qk;
    h->k = (const float *)rlx_mir_tensor(n->in[K])->data + qk;
    h->v = (const float *)v->data + at * h->e;
    h->decay = ((const float *)rlx_mir_tensor(n->in[DECAY])->data)[at];
    h->beta = ((const float *)rlx_mir_tensor(n->in[BETA])->data)[at];
    h->o = (float *)rlx_mir_tensor(n->out[0])->data + at * h->e;
}

static rlx_status make_head(rlx_mir_frame *f, const rlx_ir_node *n, head *h)
{
    const int lead = of_tokens(n) ? 1 : 2;
    *h = (head){
        .d = n->in[Q]->type.dim[lead + 1], .e = n->in[V]->type.dim[lead + 1], .c = chunk_of(n)};
    h->score = RLX_NEW_ARRAY(f->arena, float, h->c);
    h->sum = RLX_NEW_ARRAY(f->arena, float, h->e);
    return h->score && h->sum ? RLX_OK : RLX_OOM();
}

rlx_status rlx_mir_delta_chunks_eval(rlx_mir_frame *f, const rlx_ir_node *n)
{
    const rlx_eval_tensor *v = rlx_mir_tensor(n->in[V]), *first = rlx_mir_tensor(n->in[STATE]);
    const int64_t batch = v->dim[0], steps = v->dim[1], heads = v->dim[2];
    rlx_eval_tensor *o, *last;
    head h;
    RLX_TRY(make_head(f, n, &h));
    RLX_TRY(rlx_mir_frame_make(f, n->out[0], &o));
    RLX_TRY(rlx_mir_frame_make(f, n->out[1], &last));
    memcpy(last->data, first->data, rlx_format_bytes(RLX_F32, rlx_mir_elems(last)));
    h.keys = RLX_NEW_ARRAY(f->arena, float, h.d *h.c);
    h.values = RLX_NEW_ARRAY(f->arena, float, h.e *h.c);
    h.decays = RLX_NEW_ARRAY(f->arena, float, h.c + 1);
    if (!h.keys || !h.values || !h.decays)
        return RLX_OOM();
    for (int64_t row = 0; row < batch * heads; row++) {
        h.s = (float *)last->data + row * h.d * h.e;
        for (int64_t t = 0; t < steps; t++) {
            h.i = t % h.c;
            bind_row(n, row / heads * steps + t, row % heads, &h);
            run_step(&h);
            if (h.i == h.c - 1 || t == steps - 1)
                end_chunk(&h, h.i + 1);
        }
    }
    return RLX_OK;
}

rlx_status rlx_mir_delta_chunks_tokens_eval(rlx_mir_frame *f, const rlx_ir_node *n)
{
    const rlx_eval_tensor *v = rlx_mir_tensor(n->in[V]), *pool[4];
    const int32_t *pos = rlx_mir_tensor(n->in[POS])->data, *seq = rlx_mir_tensor(n->in[SEQ])->data;
    const int64_t heads = v->dim[1];
    rlx_eval_tensor *o;
    head h;
    RLX_TRY(make_head(f, n, &h));
    RLX_TRY(rlx_mir_frame_make(f, n->out[0], &o));
    for (int i = 0; i < 4; i++) {
        pool[i] = rlx_mir_tensor(n->in[STATE + i]);
        RLX_TRY(rlx_mir_frame_alias(f, n->out[1 + i], pool[i]));
    }
    for (int64_t t = 0; t < v->dim[0]; t++) {
        if (pos[t] < 0 || seq[t] < 0 || seq[t] >= pool[0]->dim[0])
            return RLX_FAIL(RLX_INVALID_ARGUMENT, "token %lld is position %d of sequence %d",
                            (long long)t, pos[t], seq[t]);
        for (int64_t index = 0; index < heads; index++) {
            const int64_t at = seq[t] * heads + index;
            h.s = (float *)pool[0]->data + at * h.d * h.e;
            h.keys = (float *)pool[1]->data + at * h.d * h.c;
            h.values = (float *)pool[2]->data + at * h.c * h.e;
            h.decays = (float *)pool[3]->data + at * (h.c + 1);
            h.i = pos[t] % h.c;
            h.first = pos[t] < h.c;
            bind_row(n, t, index, &h);
            run_step(&h);
            if (h.i == h.c - 1)
                end_chunk(&h, h.c);
        }
    }
    return RLX_OK;
}
