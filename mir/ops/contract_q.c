/* mir/ops/contract_q.c: quantized rows against rows of blocks, by integer products
 *   in   codes i8[..,K]; scale f32[..,K/32]; sums f32[..,K/G] (a quantize's, for w's group of G);
 *        w blocks[N,K], as rlx_format_codes, _scales and _mins have them
 *   out  y f32[..,N]
 *   C1   codes have rank 1 or more, w rank 2, and they agree in K.
 *   C2   codes are i8; scale and sums are f32 with an element for every 32 and every G of K.
 *   C3   w is of a block format.
 *   C4   lanes is 8, K being a multiple of 64, or 1.
 *   With ids, a fifth operand, each row goes with a matrix of w [E,N,K]: mir/ops/chosen.c. */
#include <math.h>
#include <stdlib.h>

#include "mir/ops/ops.h"

enum { LANES = 8, STEP = 64 };

rlx_status rlx_mir_contract_q_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results)
{
    const rlx_ir_type *a = &n->in[0]->type, *w = &n->in[3]->type;
    if (rlx_mir_contract_ids(n))
        return rlx_mir_chosen_infer(m, n, w, results);
    RLX_IR_REQUIRE(m, n, "C1", a->rank >= 1 && w->rank == 2, "ranks %d and %d", a->rank, w->rank);
    results[0] = *a;
    results[0].format = RLX_F32;
    results[0].dim[a->rank - 1] = w->dim[0];
    return RLX_OK;
}

/* Whether `t` has an f32 for every `group` elements of the last axis of `codes`. */
static bool goes_with(const rlx_ir_type *t, const rlx_ir_type *codes, int64_t group)
{
    rlx_ir_type want = *codes;
    want.format = RLX_F32;
    want.dim[want.rank - 1] /= group;
    return rlx_ir_type_equal(t, &want);
}

rlx_status rlx_mir_contract_q_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    const rlx_ir_type *a = &n->in[0]->type, *w = &n->in[3]->type;
    const rlx_format_info *format = rlx_format_get(w->format);
    const rlx_dim depth = w->dim[w->rank - 1];
    RLX_IR_REQUIRE(m, n, "C1", a->dim[a->rank - 1] == depth, "contracts %s with %s",
                   RLX_MIR_DIM(m, a->dim[a->rank - 1]), RLX_MIR_DIM(m, depth));
    RLX_IR_REQUIRE(m, n, "C3", format->kind == RLX_KIND_BLOCK, "of %s", format->name);
    RLX_IR_REQUIRE(m, n, "C2", a->format == RLX_I8 && goes_with(&n->in[1]->type, a, RLX_MIR_QUANT),
                   "codes or their scales are of another type");
    RLX_IR_REQUIRE(m, n, "C2", goes_with(&n->in[2]->type, a, rlx_format_group(w->format)),
                   "the sums are not those of %d elements", rlx_format_group(w->format));
    int64_t lanes = rlx_ir_attr_int(n, RLX_ATTR_LANES, 0);
    RLX_IR_REQUIRE(m, n, "C4", lanes == 1 || (lanes == LANES && depth % STEP == 0),
                   "lanes=%lld for %s elements", (long long)lanes, RLX_MIR_DIM(m, depth));
    return RLX_OK;
}

/* A row of codes with its scales and sums; a row of weights decoded. */
typedef struct rows {
    int64_t k;
    int group;
    bool has_min;
    const int8_t *codes;
    const float *scale, *sums;
    int16_t *w; /* unsigned codes, or signed ones */
    float *w_scale, *w_min;
} rows;

/* The scaled sum of group h, added to acc. */
static float add_group(const rows *r, int64_t h, float acc)
{
    int sum = 0;
    for (int64_t i = h * r->group; i < (h + 1) * r->group; i++)
        sum += r->codes[i] * r->w[i];
    float scale = r->scale[h * r->group / RLX_MIR_QUANT] * r->w_scale[h];
    return fmaf(scale, (float)sum, acc);
}

static float contract_lanes(const rows *r)
{
    float acc[LANES] = {0}, less[LANES] = {0};
    for (int64_t h = 0; h < r->k / r->group; h++) {
        acc[h % LANES] = add_group(r, h, acc[h % LANES]);
        if (r->has_min)
            less[h % LANES] = fmaf(r->sums[h], r->w_min[h], less[h % LANES]);
    }
    for (int i = 0; i < LANES && r->has_min; i++)
        acc[i] -= less[i];
    return rlx_mir_halves_add(acc, LANES);
}

static float contract_groups(const rows *r)
{
    float acc = 0;
    for (int64_t h = 0; h < r->k / r->group; h++) {
        acc = add_group(r, h, acc);
        if (r->has_min)
            acc = fmaf(-r->sums[h], r->w_min[h], acc);
    }
    return acc;
}

static void decode_row(rlx_format f, const uint8_t *blocks, rows *r, uint8_t *codes)
{
    bool is_signed = rlx_format_signed_codes(f);
    rlx_format_codes(f, blocks, 0, r->k, codes);
    for (int64_t i = 0; i < r->k; i++)
        r->w[i] = is_signed ? (int8_t)codes[i] : codes[i];
    rlx_format_scales(f, blocks, 0, r->k / r->group, r->w_scale);
    if (r->has_min)
        rlx_format_mins(f, blocks, 0, r->k / r->group, r->w_min);
}

/* A contraction: of which tensors, and room for a row of weights. */
typedef struct products {
    const rlx_eval_tensor *codes, *scale, *sums, *w;
    float *y;
    bool lanes;
    rows r;
    uint8_t *bytes;
    int64_t decoded; /* row of weights that `r` holds; -1: none */
} products;

/* Row `from` with row `of` of the weights, `column` of row `to`. */
static void multiply(products *p, int64_t of, int64_t from, int64_t to, int64_t column)
{
    rows *r = &p->r;
    const int64_t n = p->w->dim[p->w->rank - 2], groups = r->k / r->group;
    if (of != p->decoded)
        decode_row(p->w->format,
                   (const uint8_t *)p->w->data + (size_t)of * rlx_format_bytes(p->w->format, r->k),
                   r, p->bytes);
    p->decoded = of;
    r->codes = (const int8_t *)p->codes->data + from * r->k;
    r->scale = (const float *)p->scale->data + from * (r->k / RLX_MIR_QUANT);
    r->sums = (const float *)p->sums->data + from * groups;
    p->y[to * n + column] = p->lanes ? contract_lanes(r) : contract_groups(r);
}

static void multiply_row(void *user, int64_t of, int64_t from, int64_t to)
{
    products *p = user;
    const int64_t n = p->w->dim[p->w->rank - 2];
    for (int64_t i = 0; i < n; i++)
        multiply(p, of * n + i, from, to, i);
}

static rlx_status multiply_all(products *p, const rlx_eval_tensor *ids)
{
    if (ids)
        return rlx_mir_chosen_eval(ids, p->w->dim[0], multiply_row, p);
    const int64_t count = rlx_mir_elems(p->codes) / (p->r.k ? p->r.k : 1);
    for (int64_t i = 0; i < p->w->dim[0]; i++)
        for (int64_t t = 0; t < count; t++)
            multiply(p, i, t, t, i);
    return RLX_OK;
}

rlx_status rlx_mir_contract_q_eval(rlx_mir_frame *f, const rlx_ir_node *n)
{
    const rlx_ir_value *ids = rlx_mir_contract_ids(n);
    const rlx_eval_tensor *w = rlx_mir_tensor(n->in[3]);
    rlx_eval_tensor *y;
    RLX_TRY(rlx_mir_frame_make(f, n->out[0], &y));
    products p = {.codes = rlx_mir_tensor(n->in[0]),
                  .scale = rlx_mir_tensor(n->in[1]),
                  .sums = rlx_mir_tensor(n->in[2]),
                  .w = w,
                  .y = y->data,
                  .lanes = rlx_ir_attr_int(n, RLX_ATTR_LANES, 0) == LANES,
                  .r = {.k = w->dim[w->rank - 1],
                        .group = rlx_format_group(w->format),
                        .has_min = rlx_format_has_min(w->format)},
                  .decoded = -1};
    int64_t groups = p.r.k / p.r.group;
    p.bytes = malloc((size_t)p.r.k + 1);
    p.r.w = malloc((size_t)p.r.k * sizeof *p.r.w + 1);
    p.r.w_scale = malloc((size_t)groups * 2 * sizeof(float) + 1);
    p.r.w_min = p.r.w_scale ? p.r.w_scale + groups : NULL;
    rlx_status st = p.bytes && p.r.w && p.r.w_scale
                        ? multiply_all(&p, ids ? rlx_mir_tensor(ids) : NULL)
                        : RLX_OOM();
    free(p.bytes);
    free(p.r.w);
    free(p.r.w_scale);
    return st;
}
