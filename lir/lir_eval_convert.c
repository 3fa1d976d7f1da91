/* lir/lir_eval_convert.c: elements from one format to another, for load, store and cast. */
#include <inttypes.h>
#include <string.h>

#include "lir/lir_eval.h"

static void copy_strided(uint8_t *to, int64_t to_stride, const uint8_t *from, int64_t from_stride,
                         int64_t n, size_t bytes)
{
    for (int64_t k = 0; k < n; k++)
        memcpy(to + (size_t)(k * to_stride) * bytes, from + (size_t)(k * from_stride) * bytes,
               bytes);
}

void rlx_lir_convert(void *to, rlx_format to_format, int64_t to_stride, const void *from,
                     rlx_format from_format, int64_t from_stride, int64_t n)
{
    if (to_format == from_format) {
        size_t bytes = rlx_format_bytes(to_format, 1);
        if (to_stride == 1 && from_stride == 1)
            memcpy(to, from, (size_t)n * bytes);
        else if (bytes == 4)
            copy_strided(to, to_stride, from, from_stride, n, 4);
        else
            copy_strided(to, to_stride, from, from_stride, n, bytes);
    } else if (to_format == RLX_F32 && from_format == RLX_BF16) {
        for (int64_t k = 0; k < n; k++)
            ((float *)to)[k * to_stride] =
                rlx_bf16_to_f32(((const uint16_t *)from)[k * from_stride]);
    } else if (to_format == RLX_F32 && from_format == RLX_F16) {
        for (int64_t k = 0; k < n; k++)
            ((float *)to)[k * to_stride] =
                rlx_f16_to_f32(((const uint16_t *)from)[k * from_stride]);
    } else {
        for (int64_t k = 0; k < n; k++)
            rlx_format_store(to_format, to, k * to_stride,
                             rlx_format_load(from_format, from, k * from_stride));
    }
}

rlx_scalar rlx_lir_scalar_load(rlx_format f, const void *p, int64_t index)
{
    if (rlx_format_is_float(f))
        return (rlx_scalar){.f = rlx_format_load(f, p, index)};
    if (f == RLX_I64 || f == RLX_U64)
        return (rlx_scalar){.i = ((const int64_t *)p)[index]};
    return (rlx_scalar){.i = (int64_t)rlx_format_load(f, p, index)};
}

void rlx_lir_scalar_store(rlx_format f, void *p, int64_t index, rlx_scalar v)
{
    if (rlx_format_is_float(f))
        rlx_format_store(f, p, index, v.f);
    else if (f == RLX_BOOL)
        ((uint8_t *)p)[index] = v.i != 0;
    else /* the low bytes: integers wrap */
        memcpy((char *)p + (size_t)index * rlx_format_bytes(f, 1), &v.i, rlx_format_bytes(f, 1));
}

const char *rlx_lir_element_text(const rlx_lir_eval *e, const rlx_lir_tile *t, int64_t index)
{
    rlx_scalar v = rlx_lir_scalar_load(t->format, t->data, index);
    char *text = rlx_format_is_float(t->format) ? rlx_arena_printf(e->arena, "%g", v.f)
                                                : rlx_arena_printf(e->arena, "%" PRId64, v.i);
    return text ? text : "?";
}
