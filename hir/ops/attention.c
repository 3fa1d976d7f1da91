/* hir/ops/attention.c
 *   in   q f32[T,N*D];  k, v f32[T,G*D];  kpool [PAGES,G,D,P];  vpool [PAGES,G,P,D];
 *        pos i32[T];  seq i32[T];  table i32[SEQS,SLOTS]            P = RLX_KV_PAGE
 *        behind them for a pool of i8 codes their scales, keys' before values':
 *        kscale f16[PAGES,G,D/32,P];  vscale f16[PAGES,G,P,D/32]; with sinks at last sinks [N]
 *   out  o f32[T,N*D];  kpool;  vpool;  the scales
 *   k and v go to the pools at (seq, pos); then query head h of token t sees the keys of kv head
 *   h / (N/G) of sequence seq[t] at positions 0..pos[t], with a window w only those > pos[t] - w,
 *   with a chunk c those of its own c positions. With a block b it sees all of its own b positions
 *   up to the last one that the step has of the sequence, and those before.
 *   A shared attention has no k and v and gives o alone: it reads what an earlier layer wrote.
 *   Scores are q.k * scale, with a softcap c then c * tanh(s / c). A head's sink is one more score,
 *   without a value.
 *   A float pool holds what k or v round to in its format. Codes stand for code * scale, 32
 *   elements of a head sharing a scale: with d = max |x| / 127, the scale is d in f16 and a code
 *   the whole number nearest to x * (1 / d); d = 0 makes zeros.
 *   C1  heads N, kv_heads G and head_dim D are > 0, and G divides N; scale is given and finite.
 *   C2  q is f32[T,N*D].
 *   C3  k and v are f32[T,G*D].
 *   C4  kpool is [PAGES,G,D,P], vpool [PAGES,G,P,D], with the same PAGES; each f32, f16, bf16 or
 *       i8.
 *   C5  pos and seq are i32[T], table is i32 of rank 2.
 *   C6  the pools and scales are STATE arguments: nothing else can be written.
 *   C7  window, chunk and block, if given, are > 0, one of them at most; block divides P; softcap,
 *       if given, is finite and > 0.
 *   C8  a pool of i8 has its scales, 32 divides D; no operand or result beyond these.
 *   C9  sinks are a float [N].
 */
#include "hir/ops/ops.h"

#include <math.h>

/* Where the operands stand; -1: there is none. */
typedef struct places {
    int q, k, v, kpool, vpool, pos, seq, table;
    int kscale, vscale, sinks;
    int least, all; /* operands without and with the optional ones */
} places;

static places get_places(const rlx_ir_node *n)
{
    const bool shared = rlx_ir_attr_int(n, RLX_ATTR_SHARED, 0);
    int at = shared ? 1 : 3;
    places o = {.q = 0, .k = shared ? -1 : 1, .v = shared ? -1 : 2};
    o.kpool = at++;
    o.vpool = at++;
    o.pos = at++;
    o.seq = at++;
    o.table = at++;
    o.least = at;
    const bool known = n->nin >= at;
    o.kscale = known && n->in[o.kpool]->type.format == RLX_I8 ? at++ : -1;
    o.vscale = known && n->in[o.vpool]->type.format == RLX_I8 ? at++ : -1;
    o.sinks = rlx_ir_attr_int(n, RLX_ATTR_SINKS, 0) ? at++ : -1;
    o.all = at;
    return o;
}

/* Pools, then scales: what is written. */
static int count_states(const places *o)
{
    return 2 + (o->kscale >= 0) + (o->vscale >= 0);
}

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

/* The shape of a pool with `width` elements per head and position. */
static void pool_shape(bool keys, rlx_dim pages, const heads_of *a, int64_t width, rlx_dim dims[4])
{
    dims[0] = pages;
    dims[1] = a->kv_heads;
    dims[2] = keys ? width : RLX_KV_PAGE;
    dims[3] = keys ? RLX_KV_PAGE : width;
}

static rlx_status verify_pools(rlx_ir_module *m, const rlx_ir_node *n, const heads_of *a)
{
    const places o = get_places(n);
    for (int pool = o.kpool; pool <= o.vpool; pool++) {
        const rlx_ir_type *t = &n->in[pool]->type;
        rlx_dim dims[4];
        RLX_HIR_REQUIRE_TYPE(m, n, "C4", rlx_mir_is_pool(t->format), pool,
                             "pools are f32, f16, bf16 or i8");
        pool_shape(pool == o.kpool, n->in[o.kpool]->type.dim[0], a, a->head_dim, dims);
        RLX_HIR_REQUIRE_TYPE(m, n, "C4", has_type(n->in[pool], t->format, 4, dims), pool,
                             pool == o.kpool ? "kpool is [PAGES,G,D,P]" : "vpool is [PAGES,G,P,D]");
    }
    return RLX_OK;
}

static rlx_status verify_states(rlx_ir_module *m, const rlx_ir_node *n, const heads_of *a)
{
    const places o = get_places(n);
    for (int keys = 1; keys >= 0; keys--) {
        const int i = keys ? o.kscale : o.vscale;
        if (i < 0)
            continue;
        rlx_dim dims[4];
        RLX_IR_REQUIRE(m, n, "C8", a->head_dim % RLX_KV_GROUP == 0,
                       "head_dim=%lld is no multiple of the %d elements that share a scale",
                       (long long)a->head_dim, RLX_KV_GROUP);
        RLX_IR_REQUIRE(m, n, "C8", i < n->nin, "a pool of i8 without scales");
        pool_shape(keys, n->in[o.kpool]->type.dim[0], a, a->head_dim / RLX_KV_GROUP, dims);
        RLX_HIR_REQUIRE_TYPE(m, n, "C8", has_type(n->in[i], RLX_F16, 4, dims), i,
                             keys ? "kscale is f16[PAGES,G,D/32,P]"
                                  : "vscale is f16[PAGES,G,P,D/32]");
    }
    RLX_IR_REQUIRE(m, n, "C8", n->nin == o.all && n->nout == (o.k < 0 ? 1 : 1 + count_states(&o)),
                   "%d operands and %d results with %d scales", n->nin, n->nout,
                   count_states(&o) - 2);
    for (int i = o.kpool; i < o.all; i++)
        if (i <= o.vpool || (i >= o.least && i != o.sinks))
            RLX_IR_REQUIRE(m, n, "C6", is_state(n->in[i]), "the %s are no states of the function",
                           i <= o.vpool ? "pools" : "scales");
    return RLX_OK;
}

static rlx_status verify_mask(rlx_ir_module *m, const rlx_ir_node *n)
{
    static const rlx_attr_key keys[] = {RLX_ATTR_WINDOW, RLX_ATTR_CHUNK, RLX_ATTR_BLOCK};
    int given = 0;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const rlx_attr *a = rlx_ir_attr(n, keys[i]);
        RLX_IR_REQUIRE(m, n, "C7", !a || a->i > 0, "%s=%lld", rlx_attr_name(keys[i]),
                       (long long)a->i);
        RLX_IR_REQUIRE(m, n, "C7", !a || keys[i] != RLX_ATTR_BLOCK || RLX_KV_PAGE % a->i == 0,
                       "block=%lld does not divide a page of %d", (long long)a->i, RLX_KV_PAGE);
        given += a != NULL;
    }
    RLX_IR_REQUIRE(m, n, "C7", given <= 1, "%d of window, chunk and block", given);
    const rlx_attr *cap = rlx_ir_attr(n, RLX_ATTR_SOFTCAP);
    RLX_IR_REQUIRE(m, n, "C7", !cap || (cap->f > 0 && isfinite(cap->f)), "softcap=%g", cap->f);
    return RLX_OK;
}

rlx_status rlx_hir_attention_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    const heads_of a = get_heads(n);
    const places o = get_places(n);
    RLX_IR_REQUIRE(m, n, "C1",
                   a.heads > 0 && a.kv_heads > 0 && a.head_dim > 0 && a.heads % a.kv_heads == 0,
                   "heads=%lld, kv_heads=%lld, head_dim=%lld", (long long)a.heads,
                   (long long)a.kv_heads, (long long)a.head_dim);
    const rlx_attr *scale = rlx_ir_attr(n, RLX_ATTR_SCALE);
    RLX_IR_REQUIRE(m, n, "C1", scale && isfinite(scale->f), "scale is %s",
                   scale ? "not finite" : "missing");
    RLX_IR_REQUIRE(m, n, "C8", n->nin >= o.least, "%d operands", n->nin);
    RLX_HIR_REQUIRE_TYPE(m, n, "C2",
                         rlx_hir_is(n->in[o.q], RLX_F32, 2) &&
                             n->in[o.q]->type.dim[1] == a.heads * a.head_dim,
                         o.q, "q is f32[T,N*D]");
    const rlx_dim tokens = n->in[o.q]->type.dim[0];
    const rlx_dim kv[] = {tokens, a.kv_heads * a.head_dim};
    for (int i = o.k; i > 0 && i <= o.v; i++)
        RLX_HIR_REQUIRE_TYPE(m, n, "C3", has_type(n->in[i], RLX_F32, 2, kv), i,
                             i == o.k ? "k is f32[T,G*D]" : "v is f32[T,G*D]");
    RLX_TRY(verify_pools(m, n, &a));
    RLX_HIR_REQUIRE_TYPE(m, n, "C5", has_type(n->in[o.pos], RLX_I32, 1, &tokens), o.pos,
                         "pos is i32[T]");
    RLX_HIR_REQUIRE_TYPE(m, n, "C5", has_type(n->in[o.seq], RLX_I32, 1, &tokens), o.seq,
                         "seq is i32[T]");
    RLX_HIR_REQUIRE_TYPE(m, n, "C5", rlx_hir_is(n->in[o.table], RLX_I32, 2), o.table,
                         "table is i32[SEQS,SLOTS]");
    RLX_TRY(verify_states(m, n, &a));
    if (o.sinks >= 0)
        RLX_HIR_REQUIRE_TYPE(m, n, "C9",
                             rlx_hir_is_weight(n->in[o.sinks], 1) &&
                                 n->in[o.sinks]->type.dim[0] == a.heads,
                             o.sinks, "sinks are a float [N]");
    return verify_mask(m, n);
}

rlx_status rlx_hir_attention_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results)
{
    RLX_TRY(rlx_hir_attention_verify(m, n));
    const places o = get_places(n);
    results[0] = n->in[o.q]->type;
    for (int i = 1; i < n->nout; i++)
        results[i] = n->in[i < 3 ? o.kpool + i - 1 : o.least + i - 3]->type;
    return RLX_OK;
}

/* What the evaluator works on. */
typedef struct eval_of {
    places at;
    heads_of heads;
    rlx_eval_tensor *const *in;
    const rlx_eval_tensor *table;
    int64_t pages;
    const int32_t *pos, *seq;
    double scale, softcap;
    int64_t window, chunk, block; /* 0: none */
} eval_of;

static eval_of get_eval(const rlx_ir_node *n, rlx_eval_tensor *const *in)
{
    const places o = get_places(n);
    return (eval_of){.at = o,
                     .heads = get_heads(n),
                     .in = in,
                     .table = in[o.table],
                     .pages = in[o.kpool]->dim[0],
                     .pos = in[o.pos]->data,
                     .seq = in[o.seq]->data,
                     .scale = rlx_ir_attr_float(n, RLX_ATTR_SCALE, 1),
                     .softcap = rlx_ir_attr_float(n, RLX_ATTR_SOFTCAP, 0),
                     .window = rlx_ir_attr_int(n, RLX_ATTR_WINDOW, 0),
                     .chunk = rlx_ir_attr_int(n, RLX_ATTR_CHUNK, 0),
                     .block = rlx_ir_attr_int(n, RLX_ATTR_BLOCK, 0)};
}

/* Where a position of a sequence lies: its page of the pool and its place in the page. */
static rlx_status find_position(const eval_of *e, int64_t seq, int64_t pos, int64_t *page,
                                int64_t *place)
{
    const int64_t seqs = e->table->dim[0], slots = e->table->dim[1];
    if (seq < 0 || seq >= seqs || pos < 0 || pos / RLX_KV_PAGE >= slots)
        return RLX_FAIL(RLX_INVALID_ARGUMENT,
                        "attention: sequence %lld, position %lld is outside the table of %lld "
                        "sequences with %lld pages",
                        (long long)seq, (long long)pos, (long long)seqs, (long long)slots);
    *page = ((const int32_t *)e->table->data)[seq * slots + pos / RLX_KV_PAGE];
    *place = pos % RLX_KV_PAGE;
    if (*page < 0 || *page >= e->pages)
        return RLX_FAIL(RLX_INVALID_ARGUMENT,
                        "attention: the table gives page %lld to sequence %lld, the pool has %lld",
                        (long long)*page, (long long)seq, (long long)e->pages);
    return RLX_OK;
}

/* A pool as the evaluator sees it. */
typedef struct pool_of {
    bool keys;
    int64_t kv_heads, width;
    const rlx_eval_tensor *values, *scales; /* scales: NULL unless the values are codes */
} pool_of;

static pool_of get_pool(const eval_of *e, bool keys)
{
    const int scales = keys ? e->at.kscale : e->at.vscale;
    return (pool_of){keys, e->heads.kv_heads, e->heads.head_dim,
                     e->in[keys ? e->at.kpool : e->at.vpool], scales < 0 ? NULL : e->in[scales]};
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

static rlx_status write_kv(const eval_of *e)
{
    const float *k = e->in[e->at.k]->data, *v = e->in[e->at.v]->data;
    const pool_of keys = get_pool(e, true), values = get_pool(e, false);
    for (int64_t t = 0; t < e->in[e->at.q]->dim[0]; t++) {
        int64_t page, place;
        RLX_TRY(find_position(e, e->seq[t], e->pos[t], &page, &place));
        for (int64_t g = 0; g < keys.kv_heads; g++) {
            const int64_t from = (t * keys.kv_heads + g) * keys.width;
            write_head(&keys, page, g, place, k + from);
            write_head(&values, page, g, place, v + from);
        }
    }
    return RLX_OK;
}

static double score(const eval_of *e, const pool_of *keys, const float *q, int64_t group,
                    int64_t page, int64_t place)
{
    double s = 0;
    for (int64_t d = 0; d < keys->width; d++)
        s += (double)q[d] * read_element(keys, page, group, d, place);
    s *= e->scale;
    return e->softcap != 0 ? e->softcap * tanh(s / e->softcap) : s;
}

/* One behind what token t sees: its own position, or its block as far as the step has it. */
static int64_t end_of(const eval_of *e, int64_t t)
{
    int64_t end = e->pos[t] + (int64_t)1;
    if (!e->block)
        return end;
    const int64_t whole = (e->pos[t] / e->block + 1) * e->block;
    for (int64_t i = 0; i < e->in[e->at.pos]->dim[0]; i++)
        if (e->seq[i] == e->seq[t] && e->pos[i] >= end)
            end = e->pos[i] + (int64_t)1;
    return end < whole ? end : whole;
}

/* Head h of token t. `p` holds a number for every position, `sum` head_dim. */
static rlx_status attend(const eval_of *e, int64_t t, int64_t h, double *p, double *sum, float *o)
{
    const pool_of keys = get_pool(e, true), values = get_pool(e, false);
    const int64_t width = keys.width, group = h / (e->heads.heads / e->heads.kv_heads);
    const int64_t pos = e->pos[t], seq = e->seq[t];
    const float *q = (const float *)e->in[e->at.q]->data + (t * e->heads.heads + h) * width;
    int64_t first = e->window && pos >= e->window ? pos - e->window + 1 : 0, page, place;
    if (e->chunk)
        first = pos - pos % e->chunk;
    const int64_t end = end_of(e, t);
    const double sink = e->at.sinks >= 0 ? rlx_hir_load(e->in[e->at.sinks], h) : -INFINITY;
    double highest = sink;
    for (int64_t j = first; j < end; j++) {
        RLX_TRY(find_position(e, seq, j, &page, &place));
        p[j] = score(e, &keys, q, group, page, place);
        highest = fmax(highest, p[j]);
    }
    for (int64_t d = 0; d < width; d++)
        sum[d] = 0;
    double total = exp(sink - highest);
    for (int64_t j = first; j < end; j++) {
        RLX_TRY(find_position(e, seq, j, &page, &place));
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
    const eval_of e = get_eval(n, in);
    RLX_TRY(rlx_hir_eval_alloc(cx, &out[0]));
    for (int i = 1; i < n->nout; i++) /* updated in place */
        out[i] = *in[i < 3 ? e.at.kpool + i - 1 : e.at.least + i - 3];
    if (e.at.k >= 0)
        RLX_TRY(write_kv(&e));
    double *p = RLX_NEW_ARRAY(cx->arena, double, e.table->dim[1] * RLX_KV_PAGE);
    double *sum = RLX_NEW_ARRAY(cx->arena, double, e.heads.head_dim);
    if (!p || !sum)
        return RLX_OOM();
    for (int64_t t = 0; t < out[0].dim[0]; t++)
        for (int64_t h = 0; h < e.heads.heads; h++)
            RLX_TRY(attend(&e, t, h, p, sum,
                           (float *)out[0].data + (t * e.heads.heads + h) * e.heads.head_dim));
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

/* x f32[T,G,D] to a pool; returns the pool and its scales as they are then. */
static void write_pool(rlx_ir_builder *b, const places *o, bool keys, rlx_ir_value *const *in,
                       rlx_ir_value *x, const rlx_dim heads[3], rlx_ir_value **pool,
                       rlx_ir_value **scales)
{
    const char *kind = keys ? "k" : "v";
    const int at = keys ? o->kscale : o->vscale;
    rlx_ir_value *to = in[keys ? o->kpool : o->vpool], *fresh = NULL;
    if (at < 0)
        x = rlx_mir_build_cast(b, x, to->type.format);
    else
        quantize(b, x, heads, &x, &fresh);
    *pool = rlx_mir_build_page_write(b, kind, to, x, in[o->pos], in[o->seq], in[o->table]);
    if (at >= 0)
        *scales =
            rlx_mir_build_page_write(b, kind, in[at], fresh, in[o->pos], in[o->seq], in[o->table]);
}

/* This step's keys and values to the pools, which `spec` then has as they are. */
static void write_pools(rlx_ir_builder *b, const rlx_ir_node *n, const places *o,
                        rlx_ir_value *const *in, rlx_mir_attention *spec, rlx_ir_value **out)
{
    const heads_of a = get_heads(n);
    const rlx_dim kv_dims[] = {n->in[o->q]->type.dim[0], a.kv_heads, a.head_dim};
    rlx_ir_value *k = rlx_mir_build_reshape(b, in[o->k], 3, kv_dims);
    rlx_ir_value *v = rlx_mir_build_reshape(b, in[o->v], 3, kv_dims);
    write_pool(b, o, true, in, k, kv_dims, &spec->kpool, &spec->kscale);
    write_pool(b, o, false, in, v, kv_dims, &spec->vpool, &spec->vscale);
    int at = 1;
    out[at++] = spec->kpool;
    out[at++] = spec->vpool;
    if (spec->kscale)
        out[at++] = spec->kscale;
    if (spec->vscale)
        out[at++] = spec->vscale;
}

void rlx_hir_attention_lower(rlx_ir_builder *b, const rlx_ir_node *n, rlx_ir_value *const *in,
                             rlx_ir_value **out)
{
    const heads_of a = get_heads(n);
    const places o = get_places(n);
    const rlx_dim q_dims[] = {n->in[o.q]->type.dim[0], a.heads, a.head_dim};
    rlx_mir_attention spec = {.q = rlx_mir_build_reshape(b, in[o.q], 3, q_dims),
                              .kpool = in[o.kpool],
                              .vpool = in[o.vpool],
                              .kscale = o.kscale < 0 ? NULL : in[o.kscale],
                              .vscale = o.vscale < 0 ? NULL : in[o.vscale],
                              .pos = in[o.pos],
                              .seq = in[o.seq],
                              .table = in[o.table],
                              .scale = rlx_ir_attr_float(n, RLX_ATTR_SCALE, 1),
                              .softcap = rlx_ir_attr_float(n, RLX_ATTR_SOFTCAP, 0),
                              .window = rlx_ir_attr_int(n, RLX_ATTR_WINDOW, 0),
                              .chunk = rlx_ir_attr_int(n, RLX_ATTR_CHUNK, 0),
                              .block = rlx_ir_attr_int(n, RLX_ATTR_BLOCK, 0)};
    if (o.k >= 0)
        write_pools(b, n, &o, in, &spec, out);
    if (o.sinks >= 0)
        spec.sinks = rlx_mir_build_cast(b, in[o.sinks], RLX_F32);
    rlx_ir_value *y = rlx_mir_build_attention(b, &spec);
    out[0] = rlx_mir_build_reshape(b, y, 2, n->out[0]->type.dim);
}
