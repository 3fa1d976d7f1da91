/* lir/ops/dot.c: products of codes, scaled group by group, groups by lanes
 *   in   acc f32<MxNx8>; a i8<MxK>, its scales sa f32<MxK/32>; b u8|i8<NxK>, its sb f32<NxK/G>;
 *        of i8 that are turned xs f32<MxK/G>
 *   out  acc's type
 *   C1  formats and ranks are these.      C2  M and N agree, and there are 8 lanes.
 *   C3  a and b share K, a multiple of 64.      C4  sa has K/32 and sb K/32 or K/16.
 *   C5  u8 codes have bits, 1 to 7: below 2^bits; i8 codes may: within 2^(bits-1) of 0.
 *   C6  turned: K is a multiple of eight groups.
 *   C7  xs, the sums of a's groups, are there when b is i8 and turned, and only then. */
#include <math.h>
#include <string.h>

#include "lir/lir_eval.h"
#include "lir/ops/fma.h"

enum { LANES = 8, STEP = 64 };

rlx_status rlx_lir_dot_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results)
{
    (void)m;
    results[0] = n->in[0]->type;
    return RLX_OK;
}

rlx_status rlx_lir_dot_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    const rlx_ir_type *acc = &n->in[0]->type, *a = &n->in[1]->type, *sa = &n->in[2]->type;
    const rlx_ir_type *b = &n->in[3]->type, *sb = &n->in[4]->type;
    RLX_TRY(rlx_lir_require_operand(m, n, "C1", 0, RLX_F32, 3));
    RLX_TRY(rlx_lir_require_operand(m, n, "C1", 1, RLX_I8, 2));
    RLX_TRY(rlx_lir_require_operand(m, n, "C1", 2, RLX_F32, 2));
    RLX_TRY(rlx_lir_require_codes(m, n, "C1", "C5", 3));
    RLX_TRY(rlx_lir_require_operand(m, n, "C1", 4, RLX_F32, 2));
    RLX_IR_REQUIRE(
        m, n, "C2",
        acc->dim[0] == a->dim[0] && acc->dim[0] == sa->dim[0] && acc->dim[1] == b->dim[0] &&
            acc->dim[1] == sb->dim[0] && acc->dim[2] == LANES,
        "%s from rows of %s, %s, %s and %s", rlx_lir_type_text(m, acc), rlx_lir_type_text(m, a),
        rlx_lir_type_text(m, sa), rlx_lir_type_text(m, b), rlx_lir_type_text(m, sb));
    int64_t K = a->dim[1];
    RLX_IR_REQUIRE(m, n, "C3", K == b->dim[1] && K % STEP == 0, "contracts %lld with %lld",
                   (long long)K, (long long)b->dim[1]);
    RLX_IR_REQUIRE(m, n, "C4",
                   sa->dim[1] == K / 32 && (sb->dim[1] == K / 32 || sb->dim[1] == K / 16),
                   "%lld and %lld scales for %lld elements", (long long)sa->dim[1],
                   (long long)sb->dim[1], (long long)K);
    const bool turned = rlx_ir_attr_int(n, RLX_ATTR_TURNED, 0);
    RLX_IR_REQUIRE(m, n, "C6", !turned || sb->dim[1] % RLX_LIR_TURN_GROUPS == 0,
                   "%lld groups of rows that are turned by eight", (long long)sb->dim[1]);
    const bool sums = turned && n->in[3]->type.format == RLX_I8;
    RLX_IR_REQUIRE(m, n, "C7", n->nin == 5 + sums, "%d operands", n->nin);
    if (!sums)
        return RLX_OK;
    RLX_TRY(rlx_lir_require_operand(m, n, "C7", 5, RLX_F32, 2));
    RLX_IR_REQUIRE(
        m, n, "C7", n->in[5]->type.dim[0] == a->dim[0] && n->in[5]->type.dim[1] == sb->dim[1],
        "sums %s of %lld groups", rlx_lir_type_text(m, &n->in[5]->type), (long long)sb->dim[1]);
    return RLX_OK;
}

/* Row m of a with row n of b. */
static inline __attribute__((always_inline)) void dot_row(const rlx_lir_instr *i, int32_t m,
                                                          int32_t n)
{
    int32_t N = i->out[0]->dim[1], K = i->in[1]->dim[1], G = K / i->in[4]->dim[1];
    const int8_t *a = (const int8_t *)i->in[1]->data + (int64_t)m * K;
    const float *sa = (const float *)i->in[2]->data + (int64_t)m * (K / 32);
    const uint8_t *b = (const uint8_t *)i->in[3]->data + (int64_t)n * K;
    const float *sb = (const float *)i->in[4]->data + (int64_t)n * (K / G);
    float *acc = (float *)i->out[0]->data + ((int64_t)m * N + n) * LANES;
    const bool is_signed = i->in[3]->format == RLX_I8;
    const bool turned = rlx_ir_attr_int(i->node, RLX_ATTR_TURNED, 0);
    for (int32_t h = 0; h < K / G; h++) {
        int32_t sum = 0;
        for (int32_t k = h * G; k < (h + 1) * G; k++) {
            const int64_t at = turned ? rlx_lir_turned(k, G) : k;
            sum += a[at] * (is_signed ? (int8_t)b[at] : b[at]);
        }
        float scale = sa[h * G / 32] * sb[h];
        acc[h % LANES] = fmaf(scale, (float)sum, acc[h % LANES]);
    }
}

RLX_LIR_FMA_LOOPS(dot)
{
    for (int32_t m = 0; m < i->out[0]->dim[0]; m++)
        for (int32_t n = 0; n < i->out[0]->dim[1]; n++)
            dot_row(i, m, n);
}

/* Whether xs are what they are said to be. */
static bool has_sums(const rlx_lir_instr *i)
{
    const int32_t K = i->in[1]->dim[1], groups = i->in[4]->dim[1], G = K / groups;
    for (int32_t h = 0; h < i->in[1]->dim[0] * groups; h++) {
        int32_t sum = 0;
        for (int32_t k = h % groups * G; k < (h % groups + 1) * G; k++)
            sum += ((const int8_t *)i->in[1]->data)[h / groups * K + rlx_lir_turned(k, G)];
        if (((const float *)i->in[5]->data)[h] != (float)sum)
            return false;
    }
    return true;
}

rlx_status rlx_lir_dot_eval(rlx_lir_eval *e, const rlx_lir_instr *i)
{
    if (i->nin == 6 && !has_sums(i))
        return RLX_FAIL(RLX_INVALID_IR, "dot: xs are not the sums of a's groups (C7)");
    memcpy(i->out[0]->data, i->in[0]->data, i->out[0]->bytes);
    dot(e, i);
    return RLX_OK;
}
