/* mir/ops/quantize.c: rows to 8-bit integers with a scale for every 32 elements
 *   in   x f32[..,K]
 *   out  codes i8[..,K]; scale f32[..,K/32]; sums32 f32[..,K/32]; sums16 f32[..,K/16]
 *   scale = max |x| * (1/127); code = round(x * (1/scale)), 0 where the scale is 0; sums are the
 *   scale times the sum of the codes of 32 or 16 elements. Every operation is rounded to f32.
 *   C1   x is f32 of rank 1 or more.
 *   C2   K is a constant multiple of 32. */
#include <math.h>

#include "mir/ops/ops.h"

rlx_status rlx_mir_quantize_infer(rlx_ir_module *m, const rlx_ir_node *n, rlx_ir_type *results)
{
    const rlx_ir_type *x = &n->in[0]->type;
    RLX_IR_REQUIRE(m, n, "C1", x->format == RLX_F32 && x->rank >= 1, "%s of rank %d",
                   rlx_format_get(x->format)->name, x->rank);
    rlx_dim k = x->dim[x->rank - 1];
    RLX_IR_REQUIRE(m, n, "C2", rlx_dim_is_const(k) && k % RLX_MIR_QUANT == 0, "rows of %s elements",
                   RLX_MIR_DIM(m, k));
    for (int i = 0; i < 4; i++)
        results[i] = *x;
    results[0].format = RLX_I8;
    results[1].dim[x->rank - 1] = results[2].dim[x->rank - 1] = k / RLX_MIR_QUANT;
    results[3].dim[x->rank - 1] = k / (RLX_MIR_QUANT / 2);
    return RLX_OK;
}

rlx_status rlx_mir_quantize_verify(rlx_ir_module *m, const rlx_ir_node *n)
{
    (void)m;
    (void)n;
    return RLX_OK; /* the types say it all */
}

static float quantize_group(const float *x, int8_t *codes)
{
    float most = 0;
    for (int i = 0; i < RLX_MIR_QUANT; i++)
        most = fabsf(x[i]) > most ? fabsf(x[i]) : most;
    float scale = most * RLX_MIR_QUANT_STEP, inverse = scale > 0 ? 1.0f / scale : 0.0f;
    for (int i = 0; i < RLX_MIR_QUANT; i++)
        codes[i] = (int8_t)rintf(x[i] * inverse);
    return scale;
}

static float sum_codes(const int8_t *codes, int n)
{
    int sum = 0;
    for (int i = 0; i < n; i++)
        sum += codes[i];
    return (float)sum;
}

rlx_status rlx_mir_quantize_eval(rlx_mir_frame *f, const rlx_ir_node *n)
{
    enum { HALF = RLX_MIR_QUANT / 2 };
    const rlx_eval_tensor *x = rlx_mir_tensor(n->in[0]);
    rlx_eval_tensor *codes, *scale, *sums, *halves;
    RLX_TRY(rlx_mir_frame_make(f, n->out[0], &codes));
    RLX_TRY(rlx_mir_frame_make(f, n->out[1], &scale));
    RLX_TRY(rlx_mir_frame_make(f, n->out[2], &sums));
    RLX_TRY(rlx_mir_frame_make(f, n->out[3], &halves));
    int64_t groups = rlx_mir_elems(scale);
    for (int64_t g = 0; g < groups; g++) {
        int8_t *q = (int8_t *)codes->data + g * RLX_MIR_QUANT;
        float d = quantize_group((const float *)x->data + g * RLX_MIR_QUANT, q);
        ((float *)scale->data)[g] = d;
        ((float *)sums->data)[g] = d * sum_codes(q, RLX_MIR_QUANT);
        ((float *)halves->data)[2 * g] = d * sum_codes(q, HALF);
        ((float *)halves->data)[2 * g + 1] = d * sum_codes(q + HALF, HALF);
    }
    return RLX_OK;
}
