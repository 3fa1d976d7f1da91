/* lir/ops/contract_rows.c: products of f16 or bf16 with rows, by chunks of K, one sum per output
 *   in   acc f32<MxN>; a f16|bf16<MxK>; b of a's format, <NxK> or with axis=0 <KxN>      out  acc's type
 *   C1  ranks are 2 and formats these.      C2  M and N agree.      C3  a and b share K.
 *   C4  width is 4, 8 or 16 and divides K.      C5  axis, along which b has K, is 0 or, if absent, 1. */
#include <string.h>

#include "lir/lir_eval.h"
#include "runtime/base/chunk_dot.h"

rlx_status rlx_lir_contract_rows_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results)
{
    (void)m;
    results[0] = n->in[0]->type;
    return RLX_OK;
}

rlx_status rlx_lir_contract_rows_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    const rlx_ir_type *acc = &n->in[0]->type, *a = &n->in[1]->type, *b = &n->in[2]->type;
    const int64_t width = rlx_ir_attr_int(n, RLX_ATTR_WIDTH, 0);
    const int64_t axis = rlx_ir_attr_int(n, RLX_ATTR_AXIS, 1);
    RLX_IR_REQUIRE(m, n, "C5", axis == 0 || axis == 1, "axis=%lld", (long long)axis);
    RLX_IR_REQUIRE(m, n, "C1", a->format == RLX_F16 || a->format == RLX_BF16,
                   "operand 1 is %s, neither f16 nor bf16", rlx_lir_type_text(m, a));
    for (int i = 0; i < 3; i++)
        RLX_TRY(rlx_lir_require_operand(m, n, "C1", i, i == 0 ? RLX_F32 : a->format, 2));
    RLX_IR_REQUIRE(m, n, "C2", acc->dim[0] == a->dim[0] && acc->dim[1] == b->dim[1 - axis],
                   "%s from %s and %s", rlx_lir_type_text(m, acc), rlx_lir_type_text(m, a),
                   rlx_lir_type_text(m, b));
    RLX_IR_REQUIRE(m, n, "C3", a->dim[1] == b->dim[axis], "contracts %lld with %lld",
                   (long long)a->dim[1], (long long)b->dim[axis]);
    RLX_IR_REQUIRE(m, n, "C4", rlx_chunk_is_width(width) && a->dim[1] % width == 0,
                   "width=%lld for %lld elements", (long long)width, (long long)a->dim[1]);
    return RLX_OK;
}

/* sum + a row of a by column n of b, whose rows are of N. */
static float add_column(rlx_format f, const uint16_t *a, const uint16_t *b, int64_t n, int64_t N,
                        int64_t K, int64_t width, float sum)
{
    uint16_t chunk[RLX_CHUNK_MOST];
    for (int64_t k = 0; k < K; k += width) {
        for (int64_t i = 0; i < width; i++)
            chunk[i] = b[(k + i) * N + n];
        sum = rlx_chunk_dot(f, a + k, chunk, width, width, sum);
    }
    return sum;
}

rlx_status rlx_lir_contract_rows_eval(rlx_lir_eval *e, const rlx_lir_instr *i)
{
    const uint16_t *a = i->in[1]->data, *b = i->in[2]->data;
    const rlx_format f = i->in[1]->format;
    const int64_t M = i->out[0]->dim[0], N = i->out[0]->dim[1], K = i->in[1]->dim[1];
    const int64_t width = rlx_ir_attr_int(i->node, RLX_ATTR_WIDTH, 0);
    const bool columns = rlx_ir_attr_int(i->node, RLX_ATTR_AXIS, 1) == 0;
    float *acc = i->out[0]->data;
    (void)e;
    memcpy(acc, i->in[0]->data, i->out[0]->bytes);
    for (int64_t m = 0; m < M; m++)
        for (int64_t n = 0; n < N; n++, acc++)
            *acc = columns ? add_column(f, a + m * K, b, n, N, K, width, *acc)
                           : rlx_chunk_dot(f, a + m * K, b + n * K, K, width, *acc);
    return RLX_OK;
}
