#include "lir/schedule/schedule.h"

static int64_t round_up(int64_t v, int64_t to)
{
    return (v + to - 1) / to * to;
}

/* Registers hold m*n*contracts accumulators of `lanes` partial sums, each lanes/vector registers
 * wide, besides n weight and a few activation registers. Decode streams weights: few token rows,
 * and as many weight rows as there are registers for, so that many streams are in flight. Prefill
 * is bound by operations: the tile that loads least per fma. */
static void register_tile(const rlx_lir_target *t, const rlx_lir_contract_shape *shape,
                          rlx_lir_schedule *s)
{
    bool wide = t->vector_regs >= 32;
    int lanes = shape->lanes;
    if (t->unit == RLX_UNIT_GPU) {
        s->m = shape->m >= 4 ? 4 : (int)shape->m;
        s->n = 8 / shape->contracts;
        s->k = lanes;
    } else if (shape->m <= 4) {
        s->m = (int)shape->m;
        s->n = (wide ? (s->m <= 2 ? 8 : 6) : (s->m == 1 ? 4 : 2)) / shape->contracts;
        s->k = wide ? 4 * lanes : 2 * lanes;
    } else {
        s->m = wide ? 6 : 3;
        s->n = (wide ? 4 : 2) / shape->contracts;
        s->k = lanes;
    }
    if (s->n < 1)
        s->n = 1;
}

void rlx_lir_schedule_contract(const rlx_lir_target *t, const rlx_lir_contract_shape *shape,
                               rlx_lir_schedule *out)
{
    *out = (rlx_lir_schedule){.lanes = shape->lanes};
    register_tile(t, shape, out);
    while (shape->unit && shape->unit % out->n != 0)
        out->n--;
    int64_t padded = round_up(shape->k, shape->lanes);
    if (out->k > padded)
        out->k = (int)padded;
    out->block_m = out->m;
    out->block_n = out->n;
    if (shape->unit) {
        out->block_m = shape->m <= 4 ? out->m : 4 * out->m;
        out->block_n = (int)shape->unit;
    }
    /* A normalised row is cheap to make again on every team while rows are few. */
    out->prologue_once = shape->prologue && shape->m <= 8;
}

void rlx_lir_schedule_print(const rlx_lir_schedule *s, rlx_text *out)
{
    rlx_text_putf(out, "m%d n%d k%d block %dx%d%s", s->m, s->n, s->k, s->block_m, s->block_n,
                  s->prologue_once ? " prologue once" : "");
}

void rlx_lir_schedule_attention(const rlx_lir_target *t, int64_t rows, int64_t head_dim,
                                rlx_lir_attention_schedule *out)
{
    bool wide = t->vector_regs >= 32;
    out->rows = 1;
    for (int i = 2; i <= (wide ? 4 : 2); i++)
        if (rows % i == 0)
            out->rows = i;
    out->keys = t->unit == RLX_UNIT_GPU ? 16 : wide ? 64 : 32;
    out->width = wide ? 64 : 32;
    while (out->width / 2 >= head_dim && out->width > 1)
        out->width /= 2;
}

void rlx_lir_schedule_attention_print(const rlx_lir_attention_schedule *s, rlx_text *out)
{
    rlx_text_putf(out, "heads %d keys %d width %d", s->rows, s->keys, s->width);
}

int rlx_lir_schedule_width(const rlx_lir_target *t, int64_t extent)
{
    int w = t->unit == RLX_UNIT_GPU ? 32 : 16;
    while (w > 1 && w / 2 >= extent)
        w /= 2;
    return w;
}
