/* lir/ops/outer_bf16.c: sums of products of bf16 with packed columns
 *   in   acc f32<MxN>; a bf16<MxK>; b bf16<K/2 x 2N>      out  acc's type
 *   C1  ranks are 2 and formats these.      C2  M and N agree.      C3  a and b share K.
 *   C4  width is 2 or 32 and divides K. */
#include <string.h>

#include "lir/lir_eval.h"
#include "lir/ops/fma.h"
#include "runtime/base/bf16_dot.h"

rlx_status rlx_lir_outer_bf16_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results)
{
    (void)m;
    results[0] = n->in[0]->type;
    return RLX_OK;
}

rlx_status rlx_lir_outer_bf16_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    const rlx_ir_type *acc = &n->in[0]->type, *a = &n->in[1]->type, *b = &n->in[2]->type;
    int64_t width = rlx_ir_attr_int(n, RLX_ATTR_WIDTH, 0);
    for (int i = 0; i < 3; i++)
        RLX_TRY(rlx_lir_require_operand(m, n, "C1", i, i == 0 ? RLX_F32 : RLX_BF16, 2));
    RLX_IR_REQUIRE(m, n, "C2", acc->dim[0] == a->dim[0] && 2 * acc->dim[1] == b->dim[1],
                   "%s from %s and %s", rlx_lir_type_text(m, acc), rlx_lir_type_text(m, a),
                   rlx_lir_type_text(m, b));
    RLX_IR_REQUIRE(m, n, "C3", a->dim[1] == 2 * b->dim[0], "contracts %lld with %lld",
                   (long long)a->dim[1], (long long)(2 * b->dim[0]));
    RLX_IR_REQUIRE(m, n, "C4",
                   (width == RLX_BF16_PAIR || width == RLX_BF16_TILE) && a->dim[1] % width == 0,
                   "width=%lld for %lld elements", (long long)width, (long long)a->dim[1]);
    return RLX_OK;
}

RLX_LIR_FMA_LOOPS(outer_bf16)
{
    const uint16_t *a = i->in[1]->data, *b = i->in[2]->data;
    float *acc = i->out[0]->data;
    int64_t M = i->out[0]->dim[0], N = i->out[0]->dim[1], K = i->in[1]->dim[1];
    int64_t width = rlx_ir_attr_int(i->node, RLX_ATTR_WIDTH, 0);
    for (int64_t m = 0; m < M; m++)
        for (int64_t n = 0; n < N; n++) {
            float *sum = &acc[m * N + n];
            *sum = rlx_bf16_dot(a + m * K, b + 2 * n, 2 * N, K, width, *sum);
        }
}

rlx_status rlx_lir_outer_bf16_eval(rlx_lir_eval *e, const rlx_lir_instr *i)
{
    memcpy(i->out[0]->data, i->in[0]->data, i->out[0]->bytes);
    outer_bf16(e, i);
    return RLX_OK;
}
