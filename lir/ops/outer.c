/* lir/ops/outer.c: sums of outer products
 *   in   acc f32<MxN>; a f32<MxK>, or f32<K/W x M x W>; b f32<KxN>      out  acc's type
 *   C1  ranks are 2, a's perhaps 3, and formats f32.      C2  M and N agree.
 *   C3  a and b share K. */
#include <string.h>

#include "lir/lir_eval.h"
#include "lir/ops/fma.h"

rlx_status rlx_lir_outer_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results)
{
    (void)m;
    results[0] = n->in[0]->type;
    return RLX_OK;
}

rlx_status rlx_lir_outer_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    const rlx_ir_type *acc = &n->in[0]->type, *a = &n->in[1]->type, *b = &n->in[2]->type;
    const bool packed = a->rank == 3;
    for (int i = 0; i < 3; i++)
        RLX_TRY(rlx_lir_require_operand(m, n, "C1", i, RLX_F32, i == 1 && packed ? 3 : 2));
    const int64_t M = a->dim[packed ? 1 : 0], K = packed ? a->dim[0] * a->dim[2] : a->dim[1];
    RLX_IR_REQUIRE(m, n, "C2", acc->dim[0] == M && acc->dim[1] == b->dim[1], "%s from %s and %s",
                   rlx_lir_type_text(m, acc), rlx_lir_type_text(m, a), rlx_lir_type_text(m, b));
    RLX_IR_REQUIRE(m, n, "C3", K == b->dim[0], "contracts %lld with %lld", (long long)K,
                   (long long)b->dim[0]);
    return RLX_OK;
}

static inline __attribute__((always_inline)) void multiply(const rlx_lir_instr *i, bool splits)
{
    const float *a = i->in[1]->data, *b = i->in[2]->data;
    float *acc = i->out[0]->data;
    int32_t M = i->out[0]->dim[0], N = i->out[0]->dim[1], K = i->in[2]->dim[0];
    int32_t width = i->in[1]->rank == 3 ? i->in[1]->dim[2] : K;
    for (int32_t m = 0; m < M; m++)
        for (int32_t k = 0; k < K; k++) {
            const float x = a[(k / width * M + m) * width + k % width];
            for (int32_t n = 0; n < N; n++)
                acc[m * N + n] = rlx_lir_fma(splits, x, b[k * N + n], acc[m * N + n]);
        }
}

RLX_LIR_FMA_LOOPS(outer)
{
    multiply(i, false);
}

rlx_status rlx_lir_outer_eval(rlx_lir_eval *e, const rlx_lir_instr *i)
{
    memcpy(i->out[0]->data, i->in[0]->data, i->out[0]->bytes);
    if (e->options->splits_fma)
        multiply(i, true);
    else
        outer(e, i);
    return RLX_OK;
}
