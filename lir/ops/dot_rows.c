/* lir/ops/dot_rows.c: products of codes with rows, scaled group by group, one sum per output
 *   in   acc f32<MxN>; a i8<MxK>, its scales sa f32<MxK/32>; b u8|i8<NxK>, its sb f32<NxK/G>;
 *        perhaps xs f32<MxK/G> and mins f32<NxK/G>
 *   out  acc's type
 *   C1  formats and ranks are these, and operands are 5 or 7.      C2  M and N agree.
 *   C3  a and b share K, a multiple of 32.
 *   C4  sa has K/32 scales; sb has K/32 or K/16, and xs and mins have as many.
 *   C5  u8 codes have bits, 1 to 7: below 2^bits; i8 codes may: within 2^(bits-1) of 0. */
#include <math.h>
#include <string.h>

#include "lir/lir_eval.h"
#include "lir/ops/fma.h"

rlx_status rlx_lir_dot_rows_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results)
{
    (void)m;
    results[0] = n->in[0]->type;
    return RLX_OK;
}

rlx_status rlx_lir_dot_rows_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    return rlx_lir_require_scaled_codes(m, n, 1);
}

/* Row m of a with row n of b. */
static inline __attribute__((always_inline)) void dot_row(const rlx_lir_instr *i, int32_t m,
                                                          int32_t n)
{
    int32_t N = i->out[0]->dim[1], K = i->in[1]->dim[1], groups = i->in[4]->dim[1];
    int32_t G = K / groups;
    const int8_t *a = (const int8_t *)i->in[1]->data + (int64_t)m * K;
    const float *sa = (const float *)i->in[2]->data + (int64_t)m * (K / 32);
    const uint8_t *b = (const uint8_t *)i->in[3]->data + (int64_t)n * K;
    const float *sb = (const float *)i->in[4]->data + (int64_t)n * groups;
    const float *xs = i->nin == 7 ? (const float *)i->in[5]->data + (int64_t)m * groups : NULL;
    const float *mins = xs ? (const float *)i->in[6]->data + (int64_t)n * groups : NULL;
    float *acc = (float *)i->out[0]->data + (int64_t)m * N + n;
    const bool is_signed = i->in[3]->format == RLX_I8;
    for (int32_t h = 0; h < groups; h++) {
        int32_t sum = 0;
        for (int32_t k = h * G; k < (h + 1) * G; k++)
            sum += a[k] * (is_signed ? (int8_t)b[k] : b[k]);
        float scale = sa[h * G / 32] * sb[h];
        *acc = fmaf(scale, (float)sum, *acc);
        if (xs)
            *acc = fmaf(-xs[h], mins[h], *acc);
    }
}

RLX_LIR_FMA_LOOPS(dot_rows)
{
    for (int32_t m = 0; m < i->out[0]->dim[0]; m++)
        for (int32_t n = 0; n < i->out[0]->dim[1]; n++)
            dot_row(i, m, n);
}

rlx_status rlx_lir_dot_rows_eval(rlx_lir_eval *e, const rlx_lir_instr *i)
{
    memcpy(i->out[0]->data, i->in[0]->data, i->out[0]->bytes);
    dot_rows(e, i);
    return RLX_OK;
}
