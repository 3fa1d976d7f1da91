/* lir/ops/contract.c: sums of products, by lanes
 *   in   acc f32<MxNxL>; a f32<MxK>; b f32<NxK>      out  acc's type
 *   C1  ranks are 3, 2, 2 and formats f32.      C2  M and N agree.      C3  a and b share K.
 *   C4  K is a multiple of L. */
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "lir/lir_eval.h"
#include "lir/ops/fma.h"

rlx_status rlx_lir_contract_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results)
{
    (void)m;
    results[0] = n->in[0]->type;
    return RLX_OK;
}

rlx_status rlx_lir_contract_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    const rlx_ir_type *acc = &n->in[0]->type, *a = &n->in[1]->type, *b = &n->in[2]->type;
    for (int i = 0; i < 3; i++) {
        const rlx_ir_type *t = &n->in[i]->type;
        RLX_IR_REQUIRE(m, n, "C1",
                       t->kind == RLX_TYPE_TILE && t->format == RLX_F32 &&
                           t->rank == (i == 0 ? 3 : 2),
                       "operand %d is %s", i, rlx_lir_type_text(m, t));
    }
    RLX_IR_REQUIRE(m, n, "C2", acc->dim[0] == a->dim[0] && acc->dim[1] == b->dim[0],
                   "%s from %s and %s", rlx_lir_type_text(m, acc), rlx_lir_type_text(m, a),
                   rlx_lir_type_text(m, b));
    RLX_IR_REQUIRE(m, n, "C3", a->dim[1] == b->dim[1], "contracts %lld with %lld",
                   (long long)a->dim[1], (long long)b->dim[1]);
    RLX_IR_REQUIRE(m, n, "C4", a->dim[1] % acc->dim[2] == 0, "K %lld is no multiple of %lld lanes",
                   (long long)a->dim[1], (long long)acc->dim[2]);
    return RLX_OK;
}

/* What the op means: lane l of acc[m,n] takes elements l, l + L, l + 2L, ... in this order. */
static inline __attribute__((always_inline)) void multiply(const rlx_lir_instr *i, bool splits)
{
    const rlx_lir_tile *r = i->out[0];
    const float *a = i->in[1]->data, *b = i->in[2]->data;
    float *acc = r->data;
    int64_t M = r->dim[0], N = r->dim[1], L = r->dim[2], K = i->in[1]->dim[1];
    for (int64_t m = 0; m < M; m++) {
        for (int64_t n = 0; n < N; n++) {
            float *sums = acc + (m * N + n) * L;
            for (int64_t j = 0; j < K; j += L) {
                for (int64_t l = 0; l < L; l++)
                    sums[l] = rlx_lir_fma(splits, a[m * K + j + l], b[n * K + j + l], sums[l]);
            }
        }
    }
}

RLX_LIR_FMA_LOOPS(contract)
{
    multiply(i, false);
}

#if defined(__x86_64__)
/* The same for lanes in multiples of 8, by the processor's own fma: the same bits, faster. */
__attribute__((target("avx,fma"))) static void contract_eights(float *acc, const float *a,
                                                               const float *b, const int64_t *dims)
{
    int64_t M = dims[0], N = dims[1], L = dims[2], K = dims[3];
    for (int64_t m = 0; m < M; m++) {
        for (int64_t n = 0; n < N; n++) {
            for (int64_t l = 0; l < L; l += 8) {
                float *sums = acc + (m * N + n) * L + l;
                const float *x = a + m * K + l, *y = b + n * K + l;
                __m256 s = _mm256_loadu_ps(sums);
                for (int64_t j = 0; j < K; j += L)
                    s = _mm256_fmadd_ps(_mm256_loadu_ps(x + j), _mm256_loadu_ps(y + j), s);
                _mm256_storeu_ps(sums, s);
            }
        }
    }
}
#endif

rlx_status rlx_lir_contract_eval(rlx_lir_eval *e, const rlx_lir_instr *i)
{
    const rlx_lir_tile *acc = i->in[0], *r = i->out[0];
    memcpy(r->data, acc->data, r->bytes);
#if defined(__x86_64__)
    const rlx_lir_tile *a = i->in[1], *b = i->in[2];
    int64_t dims[] = {acc->dim[0], acc->dim[1], acc->dim[2], a->dim[1]};
    if (e->has_fma && !e->options->splits_fma && dims[2] % 8 == 0) {
        contract_eights(r->data, a->data, b->data, dims);
        return RLX_OK;
    }
#endif
    if (e->options->splits_fma)
        multiply(i, true);
    else
        contract(e, i);
    return RLX_OK;
}
