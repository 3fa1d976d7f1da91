/* hir/ops/attention.c
 *   in   q f32[T,N*D];  k, v f32[T,G*D];  kpool [PAGES,G,D,P];  vpool [PAGES,G,P,D];
 *        pos i32[T];  seq i32[T];  table i32[SEQS,SLOTS]            P = RLX_KV_PAGE
 *        behind them for a pool of i8 codes their scales, keys' before values':
 *        kscale f16[PAGES,G,D/32,P];  vscale f16[PAGES,G,P,D/32]
 *   out  o f32[T,N*D];  kpool;  vpool;  the scales
 *   k and v go to the pools at (seq, pos); then query head h of token t sees the keys of kv head
 *   h / (N/G) of sequence seq[t] at positions 0..pos[t], with a window w only those > pos[t] - w.
 *   A float pool holds what k or v round to in its format. Codes stand for code * scale, 32
 * elements of a head sharing a scale: with d = max |x| / 127, the scale is d in f16 and a code the
 * whole number nearest to x * (1 / d); d = 0 makes zeros. C1  heads N, kv_heads G and head_dim D
 * are > 0, and G divides N; scale is given and finite. C2  q is f32[T,N*D]. C3  k and v are
 * f32[T,G*D]. C4  kpool is [PAGES,G,D,P], vpool [PAGES,G,P,D], with the same PAGES; each f32, f16,
 * bf16 or i8. C5  pos and seq are i32[T], table is i32 of rank 2. C6  the pools and scales are
 * STATE arguments: nothing else can be written. C7  window, if given, is > 0. C8  a pool of i8 has
 * its scales, 32 divides D; no operand or result beyond these.
 */
#include "hir/ops/ops.h"

#include <math.h>

enum { Q, K, V, KPOOL, VPOOL, POS, SEQ, TABLE, SCALES };

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

/* Where the scales of pool KPOOL or VPOOL stand among the operands; -1: it has none. */
static int scales_of(const rlx_ir_node *n, int pool)
{
    if (n->in[pool]->type.format != RLX_I8)
        return -1;
    return pool == VPOOL && n->in[KPOOL]->type.format == RLX_I8 ? SCALES + 1 : SCALES;
}

/* The shape of a pool with `width` elements per head and position. */
static void pool_shape(int pool, rlx_dim pages, const heads_of *a, int64_t width, rlx_dim dims[4])
{
    dims[0] = pages;
    dims[1] = a->kv_heads;
    dims[2] = pool == KPOOL ? width : RLX_KV_PAGE;
    dims[3] = pool == KPOOL ? RLX_KV_PAGE : width;
}

static rlx_status verify_pools(rlx_ir_module *m, const rlx_ir_node *n, const heads_of *a)
{
    static const char *const want[2] = {"kpool is [PAGES,G,D,P]", "vpool is [PAGES,G,P,D]"};
    for (int pool = KPOOL; pool <= VPOOL; pool++) {
        const rlx_ir_type *t = &n->in[pool]->type;
        rlx_dim dims[4];
        RLX_HIR_REQUIRE_TYPE(m, n, "C4", rlx_mir_is_pool(t->format), pool,
                             "pools are f32, f16, bf16 or i8");
        pool_shape(pool, n->in[KPOOL]->type.dim[0], a, a->head_dim, dims);
        RLX_HIR_REQUIRE_TYPE(m, n, "C4", has_type(n->in[pool], t->format, 4, dims), pool,
                             want[pool - KPOOL]);
    }
    return RLX_OK;
}

static rlx_status verify_scales(rlx_ir_module *m, const rlx_ir_node *n, const heads_of *a)
{
    int scales = 0;
    for (int pool = KPOOL; pool <= VPOOL; pool++) {
        const int i = scales_of(n, pool);
        if (i < 0)
            continue;
        rlx_dim dims[4];
        RLX_IR_REQUIRE(m, n, "C8", a->head_dim % RLX_KV_GROUP == 0,
                       "head_dim=%lld is no multiple of the %d elements that share a scale",
                       (long long)a->head_dim, RLX_KV_GROUP);
        RLX_IR_REQUIRE(m, n, "C8", i < n->nin, "a pool of i8 without scales");
        pool_shape(pool, n->in[KPOOL]->type.dim[0], a, a->head_dim / RLX_KV_GROUP, dims);
        RLX_HIR_REQUIRE_TYPE(m, n, "C8", has_type(n->in[i], RLX_F16, 4, dims), i,
                             pool == KPOOL ? "kscale is f16[PAGES,G,D/32,P]"
                                           : "vscale is f16[PAGES,G,P,D/32]");
        scales++;
    }
    RLX_IR_REQUIRE(m, n, "C8", n->nin == SCALES + scales && n->nout == 3 + scales,
                   "%d operands and %d results with %d scales", n->nin, n->nout, scales);
    return RLX_OK;
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
    RLX_TRY(verify_pools(m, n, &a));
    RLX_HIR_REQUIRE_TYPE(m, n, "C5", has_type(n->in[POS], RLX_I32, 1, &tokens), POS,
                         "pos is i32[T]");
    RLX_HIR_REQUIRE_TYPE(m, n, "C5", has_type(n->in[SEQ], RLX_I32, 1, &tokens), SEQ,
                         "seq is i32[T]");
    RLX_HIR_REQUIRE_TYPE(m, n, "C5", rlx_hir_is(n->in[TABLE], RLX_I32, 2), TABLE,
                         "table is i32[SEQS,SLOTS]");
    RLX_TRY(verify_scales(m, n, &a));
    RLX_IR_REQUIRE(m, n, "C6", is_state(n->in[KPOOL]) && is_state(n->in[VPOOL]),
                   "the pools are not states of the function");
    for (int i = SCALES; i < n->nin; i++)
        RLX_IR_REQUIRE(m, n, "C6", is_state(n->in[i]), "the scales are no state of the function");
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
    for (int i = SCALES; i < n->nin; i++)
        results[3 + i - SCALES] = n->in[i]->type;
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

/* A pool as the evaluator sees it. */
typedef struct pool_of {
    bool keys;
    int64_t kv_heads, width;
    const rlx_eval_tensor *values, *scales; /* scales: NULL unless the values are codes */
} pool_of;

static pool_of get_pool(const rlx_ir_node *n, rlx_eval_tensor *const *in, int pool)
{
    const heads_of a = get_heads(n);
    const int scales = scales_of(n, pool);
    return (pool_of){pool == KPOOL, a.kv_heads, a.head_dim, in[pool],
                     scales < 0 ? NULL : in[scales]};
}

/* Element d of `width` of a head at a place of a page. */
static int64_t element(const pool_of *p, int64_t page, int64_t head, int64_t width, int64_t d,
                       int64_t place)
{
    const int64_t row = page * p->kv_heads + head;
    return p->keys ? (row * width + d) * RLX_KV_PAGE + place
                   : (row * RLX_KV_PAGE + place) * width + d;
}

static double read_element(const pool_of *p, int64_t page, int64_t head, int64_t d, int64_t place)
{
    const double v = rlx_format_load(p->values->format, p->values->data,
                                     element(p, page, head, p->width, d, place));
    if (!p->scales)
        return v;
    const int64_t groups = p->width / RLX_KV_GROUP;
    return v * rlx_format_load(RLX_F16, p->scales->data,
                               element(p, page, head, groups, d / RLX_KV_GROUP, place));
}

/* Codes and scale of group `group` of a head, whose elements are x[0..32). */
static void write_group(const pool_of *p, int64_t page, int64_t head, int64_t group, int64_t place,
                        const float *x)
{
    float most = 0;
    for (int i = 0; i < RLX_KV_GROUP; i++)
        most = fmaxf(most, fabsf(x[i]));
    const float d = most / 127, inverse = d > 0 ? 1 / d : 0;
    rlx_format_store(RLX_F16, p->scales->data,
                     element(p, page, head, p->width / RLX_KV_GROUP, group, place), d);
    for (int i = 0; i < RLX_KV_GROUP; i++)
        rlx_format_store(RLX_I8, p->values->data,
                         element(p, page, head, p->width, group * RLX_KV_GROUP + i, place),
                         x[i] * inverse);
}

/* A head's elements x[0..width) to a place of a page. */
static void write_head(const pool_of *p, int64_t page, int64_t head, int64_t place, const float *x)
{
    for (int64_t g = 0; p->scales && g < p->width / RLX_KV_GROUP; g++)
        write_group(p, page, head, g, place, x + g * RLX_KV_GROUP);
    for (int64_t d = 0; !p->scales && d < p->width; d++)
        rlx_format_store(p->values->format, p->values->data,
                         element(p, page, head, p->width, d, place), x[d]);
}

static rlx_status write_kv(const rlx_ir_node *n, rlx_eval_tensor *const *in)
{
    const int32_t *pos = in[POS]->data, *seq = in[SEQ]->data;
    const float *k = in[K]->data, *v = in[V]->data;
    const pool_of keys = get_pool(n, in, KPOOL), values = get_pool(n, in, VPOOL);
    for (int64_t t = 0; t < in[Q]->dim[0]; t++) {
        int64_t page, place;
        RLX_TRY(find_position(in, seq[t], pos[t], &page, &place));
        for (int64_t g = 0; g < keys.kv_heads; g++) {
            const int64_t from = (t * keys.kv_heads + g) * keys.width;
            write_head(&keys, page, g, place, k + from);
            write_head(&values, page, g, place, v + from);
        }
    }
    return RLX_OK;
}

/* One query head over keys first..last of its sequence. `p` holds last + 1 numbers, `sum` head_dim.
 */
static rlx_status attend(const rlx_ir_node *n, rlx_eval_tensor *const *in, const float *q,
                         int64_t group, int64_t seq, int64_t first, int64_t last, double *p,
                         double *sum, float *o)
{
    const pool_of keys = get_pool(n, in, KPOOL), values = get_pool(n, in, VPOOL);
    const double scale = rlx_ir_attr_float(n, RLX_ATTR_SCALE, 1);
    const int64_t width = keys.width;
    double highest = -INFINITY, total = 0;
    int64_t page, place;
    for (int64_t j = first; j <= last; j++) {
        RLX_TRY(find_position(in, seq, j, &page, &place));
        p[j] = 0;
        for (int64_t d = 0; d < width; d++)
            p[j] += (double)q[d] * read_element(&keys, page, group, d, place);
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
            sum[d] += weight * read_element(&values, page, group, d, place);
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
    for (int i = SCALES; i < n->nin; i++)
        out[3 + i - SCALES] = *in[i];
    RLX_TRY(write_kv(n, in));
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
            RLX_TRY(attend(n, in, (const float *)in[Q]->data + at, h / (a.heads / a.kv_heads),
                           seq[t], first, pos[t], p, sum, (float *)out[0].data + at));
        }
    return RLX_OK;
}

/* Codes and scales (f16[T,G,D/32]) of x f32[T,G,D], as the head of this file has them. */
static void quantize(rlx_ir_builder *b, rlx_ir_value *x, const rlx_dim heads[3],
                     rlx_ir_value **codes, rlx_ir_value **scales)
{
    static const int64_t axes[3] = {0, 1, 2};
    const rlx_dim groups[4] = {heads[0], heads[1], heads[2] / RLX_KV_GROUP, RLX_KV_GROUP};
    rlx_ir_value *most = rlx_mir_build_const(b, RLX_F32, 127);
    rlx_ir_value *least = rlx_mir_build_const(b, RLX_F32, -127);
    rlx_ir_value *zero = rlx_mir_build_const(b, RLX_F32, 0),
                 *one = rlx_mir_build_const(b, RLX_F32, 1);
    x = rlx_mir_build_reshape(b, x, 4, groups);
    rlx_ir_value *d = rlx_mir_build_reduce(b, RLX_FN_MAX, rlx_mir_build_map1(b, RLX_FN_ABS, x));
    d = rlx_mir_build_map2(b, RLX_FN_DIV, d, most);
    *scales = rlx_mir_build_cast(b, d, RLX_F16);
    rlx_ir_value *positive = rlx_mir_build_map2(b, RLX_FN_LT, zero, d);
    rlx_ir_value *inverse = rlx_mir_build_map2(b, RLX_FN_DIV, one, d);
    inverse = rlx_mir_build_map3(b, RLX_FN_SELECT, positive, inverse, zero);
    inverse = rlx_mir_build_broadcast(b, inverse, 4, groups, axes);
    x = rlx_mir_build_map1(b, RLX_FN_ROUND, rlx_mir_build_map2(b, RLX_FN_MUL, x, inverse));
    x = rlx_mir_build_map2(b, RLX_FN_MIN, x, most); /* no number becomes one too */
    x = rlx_mir_build_map2(b, RLX_FN_MAX, x, least);
    *codes = rlx_mir_build_reshape(b, rlx_mir_build_cast(b, x, RLX_I8), 3, heads);
}

/* x f32[T,G,D] to pool KPOOL or VPOOL, whose results are set. */
static void write_pool(rlx_ir_builder *b, const rlx_ir_node *n, int pool, rlx_ir_value *const *in,
                       rlx_ir_value *x, const rlx_dim heads[3], rlx_ir_value **out)
{
    const char *kind = pool == KPOOL ? "k" : "v";
    const int at = scales_of(n, pool);
    rlx_ir_value *scales = NULL;
    if (at < 0)
        x = rlx_mir_build_cast(b, x, n->in[pool]->type.format);
    else
        quantize(b, x, heads, &x, &scales);
    out[pool - KPOOL + 1] =
        rlx_mir_build_page_write(b, kind, in[pool], x, in[POS], in[SEQ], in[TABLE]);
    if (at >= 0)
        out[3 + at - SCALES] =
            rlx_mir_build_page_write(b, kind, in[at], scales, in[POS], in[SEQ], in[TABLE]);
}

void rlx_hir_attention_lower(rlx_ir_builder *b, const rlx_ir_node *n, rlx_ir_value *const *in,
                             rlx_ir_value **out)
{
    const heads_of a = get_heads(n);
    const rlx_dim tokens = n->in[Q]->type.dim[0];
    const rlx_dim q_dims[] = {tokens, a.heads, a.head_dim};
    const rlx_dim kv_dims[] = {tokens, a.kv_heads, a.head_dim};
    rlx_ir_value *q = rlx_mir_build_reshape(b, in[Q], 3, q_dims);
    rlx_ir_value *k = rlx_mir_build_reshape(b, in[K], 3, kv_dims);
    rlx_ir_value *v = rlx_mir_build_reshape(b, in[V], 3, kv_dims);
    write_pool(b, n, KPOOL, in, k, kv_dims, out);
    write_pool(b, n, VPOOL, in, v, kv_dims, out);
    const rlx_mir_attention spec = {.q = q,
                                    .kpool = out[1],
                                    .vpool = out[2],
                                    .kscale = scales_of(n, KPOOL) < 0 ? NULL : out[3],
                                    .vscale = scales_of(n, VPOOL) < 0 ? NULL : out[n->nout - 1],
                                    .pos = in[POS],
                                    .seq = in[SEQ],
                                    .table = in[TABLE],
                                    .scale = rlx_ir_attr_float(n, RLX_ATTR_SCALE, 1),
                                    .window = rlx_ir_attr_int(n, RLX_ATTR_WINDOW, 0)};
    rlx_ir_value *o = rlx_mir_build_attention(b, &spec);
    out[0] = rlx_mir_build_reshape(b, o, 2, n->out[0]->type.dim);
}
