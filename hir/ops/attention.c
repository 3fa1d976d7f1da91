/* hir/ops/attention.c
 *   in   q f32[T,N*D];  k, v f32[T,G*D];  kpool f32[PAGES,G,D,P];  vpool f32[PAGES,G,P,D];
 *        pos i32[T];  seq i32[T];  table i32[SEQS,SLOTS]            P = RLX_KV_PAGE
 *   out  o f32[T,N*D];  kpool;  vpool
 *   k and v go to the pools at (seq, pos); then query head h of token t sees the keys of kv head
 *   h / (N/G) of sequence seq[t] at positions 0..pos[t], with a window w only those > pos[t] - w.
 *   C1  heads N, kv_heads G and head_dim D are > 0, and G divides N; scale is given and finite.
 *   C2  q is f32[T,N*D].
 *   C3  k and v are f32[T,G*D].
 *   C4  kpool is f32[PAGES,G,D,P], vpool f32[PAGES,G,P,D], with the same PAGES.
 *   C5  pos and seq are i32[T], table is i32 of rank 2.
 *   C6  the pools are STATE arguments: nothing else can be written.
 *   C7  window, if given, is > 0.
 */
#include "hir/ops/ops.h"

#include <math.h>

enum { Q, K, V, KPOOL, VPOOL, POS, SEQ, TABLE };

typedef struct heads_of {
    int64_t heads, kv_heads, head_dim;
} heads_of;

static heads_of get_heads(const rlx_ir_node *n)
{
    return (heads_of){rlx_ir_attr_int(n, RLX_ATTR_HEADS, 0),
                      rlx_ir_attr_int(n, RLX_ATTR_KV_HEADS, 0),
                      rlx_ir_attr_int(n, RLX_ATTR_HEAD_DIM, 0)};
}

static bool has_type(const rlx_ir_value *v, rlx_format f, int rank, const rlx_dim *dims)
{
    const rlx_ir_type want = rlx_ir_tensor(f, rank, dims);
    return rlx_ir_type_equal(&v->type, &want);
}

static bool is_state(const rlx_ir_value *v)
{
    const rlx_ir_func *f = v->def ? NULL : v->block->func;
    return f && f->body == v->block && f->arg_info[v->index].role == RLX_ROLE_STATE;
}

rlx_status rlx_hir_attention_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    const heads_of a = get_heads(n);
    RLX_IR_REQUIRE(m, n, "C1",
                   a.heads > 0 && a.kv_heads > 0 && a.head_dim > 0 && a.heads % a.kv_heads == 0,
                   "heads=%lld, kv_heads=%lld, head_dim=%lld", (long long)a.heads,
                   (long long)a.kv_heads, (long long)a.head_dim);
    const rlx_attr *scale = rlx_ir_attr(n, RLX_ATTR_SCALE);
    RLX_IR_REQUIRE(m, n, "C1", scale && isfinite(scale->f), "scale is %s",
                   scale ? "not finite" : "missing");
    RLX_HIR_REQUIRE_TYPE(m, n, "C2",
                         rlx_hir_is(n->in[Q], RLX_F32, 2) &&
                             n->in[Q]->type.dim[1] == a.heads * a.head_dim,
                         Q, "q is f32[T,N*D]");
    const rlx_dim tokens = n->in[Q]->type.dim[0];
    const rlx_dim kv[] = {tokens, a.kv_heads * a.head_dim};
    RLX_HIR_REQUIRE_TYPE(m, n, "C3", has_type(n->in[K], RLX_F32, 2, kv), K, "k is f32[T,G*D]");
    RLX_HIR_REQUIRE_TYPE(m, n, "C3", has_type(n->in[V], RLX_F32, 2, kv), V, "v is f32[T,G*D]");
    RLX_HIR_REQUIRE_TYPE(m, n, "C4", rlx_hir_is(n->in[KPOOL], RLX_F32, 4), KPOOL,
                         "kpool is f32[PAGES,G,D,P]");
    const rlx_dim pages = n->in[KPOOL]->type.dim[0];
    const rlx_dim kpool[] = {pages, a.kv_heads, a.head_dim, RLX_KV_PAGE};
    const rlx_dim vpool[] = {pages, a.kv_heads, RLX_KV_PAGE, a.head_dim};
    RLX_HIR_REQUIRE_TYPE(m, n, "C4", has_type(n->in[KPOOL], RLX_F32, 4, kpool), KPOOL,
                         "kpool is f32[PAGES,G,D,P]");
    RLX_HIR_REQUIRE_TYPE(m, n, "C4", has_type(n->in[VPOOL], RLX_F32, 4, vpool), VPOOL,
                         "vpool is f32[PAGES,G,P,D]");
    RLX_HIR_REQUIRE_TYPE(m, n, "C5", has_type(n->in[POS], RLX_I32, 1, &tokens), POS,
                         "pos is i32[T]");
    RLX_HIR_REQUIRE_TYPE(m, n, "C5", has_type(n->in[SEQ], RLX_I32, 1, &tokens), SEQ,
                         "seq is i32[T]");
    RLX_HIR_REQUIRE_TYPE(m, n, "C5", rlx_hir_is(n->in[TABLE], RLX_I32, 2), TABLE,
                         "table is i32[SEQS,SLOTS]");
    RLX_IR_REQUIRE(m, n, "C6", is_state(n->in[KPOOL]) && is_state(n->in[VPOOL]),
                   "the pools are not states of the function");
    const rlx_attr *window = rlx_ir_attr(n, RLX_ATTR_WINDOW);
    RLX_IR_REQUIRE(m, n, "C7", !window || window->i > 0, "window=%lld", (long long)window->i);
    return RLX_OK;
}

rlx_status rlx_hir_attention_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results)
{
    RLX_TRY(rlx_hir_attention_verify(m, n));
    results[0] = n->in[Q]->type;
    results[1] = n->in[KPOOL]->type;
    results[2] = n->in[VPOOL]->type;
    return RLX_OK;
}

/* Where a position of a sequence lies: its page of the pool and its place in the page. */
static rlx_status find_position(rlx_eval_tensor *const *in, int64_t seq, int64_t pos, int64_t *page,
                                int64_t *place)
{
    const int64_t seqs = in[TABLE]->dim[0], slots = in[TABLE]->dim[1], pages = in[KPOOL]->dim[0];
    if (seq < 0 || seq >= seqs || pos < 0 || pos / RLX_KV_PAGE >= slots)
        return RLX_FAIL(RLX_INVALID_ARGUMENT,
                        "attention: sequence %lld, position %lld is outside the table of %lld "
                        "sequences with %lld pages",
                        (long long)seq, (long long)pos, (long long)seqs, (long long)slots);
    *page = ((const int32_t *)in[TABLE]->data)[seq * slots + pos / RLX_KV_PAGE];
    *place = pos % RLX_KV_PAGE;
    if (*page < 0 || *page >= pages)
        return RLX_FAIL(RLX_INVALID_ARGUMENT,
                        "attention: the table gives page %lld to sequence %lld, the pool has %lld",
                        (long long)*page, (long long)seq, (long long)pages);
    return RLX_OK;
}

static rlx_status write_kv(heads_of a, rlx_eval_tensor *const *in)
{
    const int32_t *pos = in[POS]->data, *seq = in[SEQ]->data;
    const float *k = in[K]->data, *v = in[V]->data;
    float *kpool = in[KPOOL]->data, *vpool = in[VPOOL]->data;
    for (int64_t t = 0; t < in[Q]->dim[0]; t++) {
        int64_t page, place;
        RLX_TRY(find_position(in, seq[t], pos[t], &page, &place));
        for (int64_t g = 0; g < a.kv_heads; g++)
            for (int64_t d = 0; d < a.head_dim; d++) {
                const int64_t row = page * a.kv_heads + g,
                              from = (t * a.kv_heads + g) * a.head_dim + d;
                kpool[(row * a.head_dim + d) * RLX_KV_PAGE + place] = k[from];
                vpool[(row * RLX_KV_PAGE + place) * a.head_dim + d] = v[from];
            }
    }
    return RLX_OK;
}

/* One query head over keys first..last of its sequence. `p` holds last + 1 numbers, `sum` head_dim.
 */
static rlx_status attend(heads_of a, double scale, rlx_eval_tensor *const *in, const float *q,
                         int64_t group, int64_t seq, int64_t first, int64_t last, double *p,
                         double *sum, float *o)
{
    const float *kpool = in[KPOOL]->data, *vpool = in[VPOOL]->data;
    const int64_t width = a.head_dim;
    double highest = -INFINITY, total = 0;
    int64_t page, place;
    for (int64_t j = first; j <= last; j++) {
        RLX_TRY(find_position(in, seq, j, &page, &place));
        p[j] = 0;
        for (int64_t d = 0; d < width; d++)
            p[j] += (double)q[d] *
                    kpool[((page * a.kv_heads + group) * width + d) * RLX_KV_PAGE + place];
        p[j] *= scale;
        highest = fmax(highest, p[j]);
    }
    for (int64_t d = 0; d < width; d++)
        sum[d] = 0;
    for (int64_t j = first; j <= last; j++) {
        RLX_TRY(find_position(in, seq, j, &page, &place));
        const double weight = exp(p[j] - highest);
        total += weight;
        for (int64_t d = 0; d < width; d++)
            sum[d] +=
                weight * vpool[((page * a.kv_heads + group) * RLX_KV_PAGE + place) * width + d];
    }
    for (int64_t d = 0; d < width; d++)
        o[d] = (float)(sum[d] / total);
    return RLX_OK;
}

rlx_status rlx_hir_attention_eval(rlx_hir_eval_cx *cx, const rlx_ir_node *n,
                                  rlx_eval_tensor *const *in, rlx_eval_tensor *out)
{
    const heads_of a = get_heads(n);
    RLX_TRY(rlx_hir_eval_alloc(cx, &out[0]));
    out[1] = *in[KPOOL]; /* updated in place */
    out[2] = *in[VPOOL];
    RLX_TRY(write_kv(a, in));
    const double scale = rlx_ir_attr_float(n, RLX_ATTR_SCALE, 1);
    const int32_t *pos = in[POS]->data, *seq = in[SEQ]->data;
    const int64_t window = rlx_ir_attr_int(n, RLX_ATTR_WINDOW, INT64_MAX);
    double *p = RLX_NEW_ARRAY(cx->arena, double, in[TABLE]->dim[1] * RLX_KV_PAGE);
    double *sum = RLX_NEW_ARRAY(cx->arena, double, a.head_dim);
    if (!p || !sum)
        return RLX_OOM();
    for (int64_t t = 0; t < in[Q]->dim[0]; t++)
        for (int64_t h = 0; h < a.heads; h++) {
            const int64_t at = (t * a.heads + h) * a.head_dim;
            const int64_t first = pos[t] >= window ? pos[t] - window + 1 : 0;
            RLX_TRY(attend(a, scale, in, (const float *)in[Q]->data + at,
                           h / (a.heads / a.kv_heads), seq[t], first, pos[t], p, sum,
                           (float *)out[0].data + at));
        }
    return RLX_OK;
}

void rlx_hir_attention_lower(rlx_ir_builder *b, const rlx_ir_node *n, rlx_ir_value *const *in,
                             rlx_ir_value **out)
{
    const heads_of a = get_heads(n);
    const rlx_dim tokens = n->in[Q]->type.dim[0];
    const rlx_dim q_dims[] = {tokens, a.heads, a.head_dim};
    const rlx_dim kv_dims[] = {tokens, a.kv_heads, a.head_dim};
    rlx_ir_value *pos = in[POS], *seq = in[SEQ], *table = in[TABLE];
    rlx_ir_value *q = rlx_mir_build_reshape(b, in[Q], 3, q_dims);
    rlx_ir_value *k = rlx_mir_build_reshape(b, in[K], 3, kv_dims);
    rlx_ir_value *v = rlx_mir_build_reshape(b, in[V], 3, kv_dims);
    out[1] = rlx_mir_build_page_write(b, "k", in[KPOOL], k, pos, seq, table);
    out[2] = rlx_mir_build_page_write(b, "v", in[VPOOL], v, pos, seq, table);
    const double scale = rlx_ir_attr_float(n, RLX_ATTR_SCALE, 1);
    const int64_t window = rlx_ir_attr_int(n, RLX_ATTR_WINDOW, 0);
    rlx_ir_value *o = rlx_mir_build_attention(b, q, out[1], out[2], pos, seq, table, scale, window);
    out[0] = rlx_mir_build_reshape(b, o, 2, n->out[0]->type.dim);
}
