/* lir/ops/dot_panel.c: products of codes with packed columns, scaled group by group
 *   in   acc f32<MxN>; a i8|u8<MxK>, its scales sa f32<MxK/32>; b u8|i8<K/4 x 4N>, its
 *        sb f32<K/G x N>; perhaps xs f32<MxK/G> and mins f32<K/G x N>
 *   out  acc's type
 *   C1  formats and ranks are these, and operands are 5 or 7.      C2  M and N agree.
 *   C3  a and b share K, a multiple of 32.
 *   C4  sa has K/32 scales; sb has K/32 or K/16, and xs and mins have as many.
 *   C5  u8 codes have bits, 1 to 7: below 2^bits; i8 codes may: within 2^(bits-1) of 0.
 *   C6  a may be u8, 128 more than its codes, where b is i8. */
#include <math.h>
#include <string.h>

#include "lir/lir_eval.h"
#include "lir/ops/fma.h"

enum { TOGETHER = 4 };

rlx_status rlx_lir_dot_panel_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results)
{
    (void)m;
    results[0] = n->in[0]->type;
    return RLX_OK;
}

rlx_status rlx_lir_dot_panel_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    return rlx_lir_require_scaled_codes(m, n, TOGETHER);
}

/* One group of one row of a with every column. */
static inline __attribute__((always_inline)) void panel_group(const rlx_lir_instr *i, int32_t m,
                                                              int32_t h)
{
    int32_t N = i->out[0]->dim[1], K = i->in[1]->dim[1], groups = i->in[4]->dim[0];
    int32_t G = K / groups;
    const uint8_t *a = (const uint8_t *)i->in[1]->data + (int64_t)m * K;
    const bool raised = i->in[1]->format == RLX_U8;
    const uint8_t *b = i->in[3]->data;
    const float *sb = (const float *)i->in[4]->data + (int64_t)h * N;
    float sa = ((const float *)i->in[2]->data)[(int64_t)m * (K / 32) + h * G / 32];
    float *acc = (float *)i->out[0]->data + (int64_t)m * N;
    bool is_signed = i->in[3]->format == RLX_I8;
    for (int32_t n = 0; n < N; n++) {
        int32_t sum = 0;
        for (int32_t k = h * G; k < (h + 1) * G; k++) {
            uint8_t code = b[((int64_t)(k / TOGETHER) * N + n) * TOGETHER + k % TOGETHER];
            sum += (raised ? a[k] - 128 : (int8_t)a[k]) * (is_signed ? (int8_t)code : code);
        }
        float scale = sa * sb[n];
        acc[n] = fmaf(scale, (float)sum, acc[n]);
    }
    if (i->nin == 5)
        return;
    float x = -((const float *)i->in[5]->data)[(int64_t)m * groups + h];
    const float *mins = (const float *)i->in[6]->data + (int64_t)h * N;
    for (int32_t n = 0; n < N; n++)
        acc[n] = fmaf(x, mins[n], acc[n]);
}

RLX_LIR_FMA_LOOPS(dot_panel)
{
    for (int32_t m = 0; m < i->out[0]->dim[0]; m++)
        for (int32_t h = 0; h < i->in[4]->dim[0]; h++)
            panel_group(i, m, h);
}

rlx_status rlx_lir_dot_panel_eval(rlx_lir_eval *e, const rlx_lir_instr *i)
{
    memcpy(i->out[0]->data, i->in[0]->data, i->out[0]->bytes);
    dot_panel(e, i);
    return RLX_OK;
}
