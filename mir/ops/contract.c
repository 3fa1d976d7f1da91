/* mir/ops/contract.c: a matrix product
 *   in   a f32[P..,Q..,K];  b f32[P..,N,K]     out  y f32[P..,Q..,N]:
 *        y[p..,q..,n] = sum_k a[p..,q..,k] * b[p..,n,k]
 *   Without P, b is one matrix for all rows: weights. With P each index has its own, which all of Q
 *   share: keys of a head, or of several query heads. Term k is added by fma to partial k mod lanes, ascending k in each; partials start at 0 and
 *   are combined by halves as in reduce.
 *   in   bf16 or f16 for f32                   out  the same f32, in the order of
 *        runtime/base/bf16_dot.h, or by chunks (runtime/base/chunk_dot.h)
 *   C1   b has rank 2 and a 1 or more; or b has more, and a at least as many.
 *   C2   the contracted extents agree; N and K are constants, unless lanes is 1.
 *   C3   a and b are f32 (other formats are cast where they are used), or both bf16, or both f16.
 *   C4   lanes is a power of two, at most 64; 1 for bf16 and f16.
 *   C5   width is 2 or 32 for bf16, 4, 8 or 16 (chunks) for bf16 and f16, and absent for f32.
 *   C6   the axes P of b are the first of a.
 *   With ids, a third operand, each row goes with a matrix of b [E,N,K]: mir/ops/chosen.c, in place
 *   of C1 and C6. */
#include <math.h>

#include "mir/ops/ops.h"
#include "runtime/base/bf16_dot.h"
#include "runtime/base/chunk_dot.h"

rlx_status rlx_mir_contract_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results)
{
    const rlx_ir_type *a = &n->in[0]->type, *b = &n->in[1]->type;
    if (rlx_mir_contract_ids(n))
        return rlx_mir_chosen_infer(m, n, b, results);
    RLX_IR_REQUIRE(m, n, "C1",
                   a->rank >= 1 && (b->rank == 2 || (b->rank > 2 && a->rank >= b->rank)),
                   "ranks %d and %d", a->rank, b->rank);
    results[0] = *a;
    results[0].format = RLX_F32;
    results[0].dim[a->rank - 1] = b->dim[b->rank - 2];
    return RLX_OK;
}

/* Whether products of format f are added up so many at a time; 0: one by one. */
static bool has_width(rlx_format f, int64_t width)
{
    if (f == RLX_F32)
        return width == 0;
    return rlx_chunk_is_width(width) ||
           (f == RLX_BF16 && (width == RLX_BF16_PAIR || width == RLX_BF16_TILE));
}

rlx_status rlx_mir_contract_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    const rlx_ir_type *a = &n->in[0]->type, *b = &n->in[1]->type;
    const rlx_dim N = b->dim[b->rank - 2], K = b->dim[b->rank - 1];
    int64_t lanes = rlx_ir_attr_int(n, RLX_ATTR_LANES, 0);
    RLX_IR_REQUIRE(m, n, "C2", a->dim[a->rank - 1] == K, "contracts %s with %s",
                   RLX_MIR_DIM(m, a->dim[a->rank - 1]), RLX_MIR_DIM(m, K));
    RLX_IR_REQUIRE(m, n, "C2", lanes == 1 || (rlx_dim_is_const(N) && rlx_dim_is_const(K)),
                   "b is [%s,%s], which is not constant", RLX_MIR_DIM(m, N), RLX_MIR_DIM(m, K));
    for (int i = 0; i < b->rank - 2 && !rlx_mir_contract_ids(n); i++)
        RLX_IR_REQUIRE(m, n, "C6", a->dim[i] == b->dim[i], "axis %d is %s and %s", i,
                       RLX_MIR_DIM(m, a->dim[i]), RLX_MIR_DIM(m, b->dim[i]));
    const char *name = rlx_format_get(a->format)->name;
    const bool half = a->format == RLX_BF16 || a->format == RLX_F16;
    RLX_IR_REQUIRE(m, n, "C3", a->format == b->format && (a->format == RLX_F32 || half),
                   "of %s and %s", name, rlx_format_get(b->format)->name);
    int64_t width = rlx_ir_attr_int(n, RLX_ATTR_WIDTH, 0);
    RLX_IR_REQUIRE(m, n, "C4", rlx_mir_is_power_of_two(lanes) && lanes <= RLX_MIR_MAX_LANES,
                   "lanes=%lld is not a power of two up to %d", (long long)lanes,
                   RLX_MIR_MAX_LANES);
    RLX_IR_REQUIRE(m, n, "C4", lanes == 1 || !half, "lanes=%lld for %s", (long long)lanes, name);
    RLX_IR_REQUIRE(m, n, "C5", has_width(a->format, width), "width=%lld for %s", (long long)width,
                   name);
    return RLX_OK;
}

typedef struct matmul {
    const void *a, *b; /* f32, or `half` when there is a width */
    rlx_format half;
    float *y;
    int64_t rows, n, k, lanes, width;
} matmul;

/* The common case, with a constant trip count for the compiler's sake. */
RLX_MIR_WIDE static void contract_16(const matmul *c)
{
    int64_t k = c->k, whole = k - k % 16;
    for (int64_t r = 0; r < c->rows; r++)
        for (int64_t n = 0; n < c->n; n++) {
            const float *a = (const float *)c->a + r * k, *b = (const float *)c->b + n * k;
            float p[16] = {0};
            for (int64_t i = 0; i < whole; i += 16)
                for (int l = 0; l < 16; l++)
                    p[l] = fmaf(a[i + l], b[i + l], p[l]);
            for (int64_t i = whole; i < k; i++)
                p[i - whole] = fmaf(a[i], b[i], p[i - whole]);
            c->y[r * c->n + n] = rlx_mir_halves_add(p, 16);
        }
}

RLX_MIR_WIDE static void contract_any(const matmul *c)
{
    for (int64_t r = 0; r < c->rows; r++)
        for (int64_t n = 0; n < c->n; n++) {
            const float *a = (const float *)c->a + r * c->k, *b = (const float *)c->b + n * c->k;
            float p[RLX_MIR_MAX_LANES] = {0};
            for (int64_t i = 0; i < c->k; i++)
                p[i % c->lanes] = fmaf(a[i], b[i], p[i % c->lanes]);
            c->y[r * c->n + n] = rlx_mir_halves_add(p, c->lanes);
        }
}

RLX_MIR_WIDE static void contract_1(const matmul *c)
{
    for (int64_t r = 0; r < c->rows; r++)
        for (int64_t n = 0; n < c->n; n++) {
            const float *a = (const float *)c->a + r * c->k, *b = (const float *)c->b + n * c->k;
            float sum = 0;
            for (int64_t i = 0; i < c->k; i++)
                sum = fmaf(a[i], b[i], sum);
            c->y[r * c->n + n] = sum;
        }
}

static void contract_halves(const matmul *c)
{
    const uint16_t *a = c->a, *b = c->b;
    const bool chunks = rlx_chunk_is_width(c->width);
    for (int64_t r = 0; r < c->rows; r++)
        for (int64_t n = 0; n < c->n; n++) {
            const uint16_t *x = a + r * c->k, *w = b + n * c->k;
            c->y[r * c->n + n] = chunks ? rlx_chunk_dot(c->half, x, w, c->k, c->width, 0)
                                        : rlx_bf16_dot(x, w, 2, c->k, c->width, 0);
        }
}

/* Rows of one matrix. */
static void contract_rows(const matmul *c)
{
    if (c->width)
        contract_halves(c);
    else if (c->lanes == 16)
        contract_16(c);
    else if (c->lanes == 1)
        contract_1(c);
    else
        contract_any(c);
}

/* Row `from` of a with one of the matrices. */
static void contract_row(void *all, int64_t of, int64_t from, int64_t to)
{
    matmul c = *(const matmul *)all;
    const int64_t size = c.width ? sizeof(uint16_t) : sizeof(float);
    c.rows = 1;
    c.a = (const char *)c.a + from * c.k * size;
    c.b = (const char *)c.b + of * c.n * c.k * size;
    c.y += to * c.n;
    contract_rows(&c);
}

rlx_status rlx_mir_contract_eval(rlx_mir_frame *f, const rlx_ir_node *n)
{
    const rlx_eval_tensor *a = rlx_mir_tensor(n->in[0]), *b = rlx_mir_tensor(n->in[1]);
    rlx_eval_tensor *y;
    RLX_TRY(rlx_mir_frame_make(f, n->out[0], &y));
    matmul c = {.a = a->data,
                .b = b->data,
                .half = a->format,
                .y = y->data,
                .rows = 1,
                .n = b->dim[b->rank - 2],
                .k = b->dim[b->rank - 1],
                .lanes = rlx_ir_attr_int(n, RLX_ATTR_LANES, 0),
                .width = rlx_ir_attr_int(n, RLX_ATTR_WIDTH, 0)};
    if (rlx_mir_contract_ids(n))
        return rlx_mir_chosen_eval(rlx_mir_tensor(rlx_mir_contract_ids(n)), b->dim[0], contract_row,
                                   &c);
    const int64_t size = c.width ? sizeof(uint16_t) : sizeof(float);
    int64_t matrices = 1;
    for (int i = 0; i < b->rank - 2; i++)
        matrices *= b->dim[i];
    for (int i = b->rank - 2; i < a->rank - 1; i++)
        c.rows *= a->dim[i];
    for (int64_t p = 0; p < matrices; p++) {
        contract_rows(&c);
        c.a = (const char *)c.a + c.rows * c.k * size;
        c.b = (const char *)c.b + c.n * c.k * size;
        c.y += c.rows * c.n;
    }
    return RLX_OK;
}
