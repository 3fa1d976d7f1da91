#include "runtime/base/format.h"

#include <assert.h>
#include <math.h>
#include <string.h>

static const rlx_format_info infos[RLX_FORMAT_COUNT] = {
    [RLX_FORMAT_NONE] = {"none", 0, 0, RLX_KIND_BLOCK},
#define FORMAT(NAME, text, elems, bytes, kind) [RLX_##NAME] = {text, elems, bytes, RLX_KIND_##kind},
#include "runtime/base/formats.def"
#undef FORMAT
};

const rlx_format_info *rlx_format_get(rlx_format f)
{
    assert(f > RLX_FORMAT_NONE && f < RLX_FORMAT_COUNT);
    return &infos[f];
}

rlx_format rlx_format_parse(const char *name, size_t len)
{
    for (int f = RLX_FORMAT_NONE + 1; f < RLX_FORMAT_COUNT; f++)
        if (strlen(infos[f].name) == len && memcmp(infos[f].name, name, len) == 0)
            return (rlx_format)f;
    return RLX_FORMAT_NONE;
}

bool rlx_format_is_float(rlx_format f)
{
    return rlx_format_get(f)->kind == RLX_KIND_FLOAT;
}

bool rlx_format_is_int(rlx_format f)
{
    rlx_format_kind kind = rlx_format_get(f)->kind;
    return kind == RLX_KIND_INT || kind == RLX_KIND_UINT;
}

size_t rlx_format_bytes(rlx_format f, int64_t elems)
{
    const rlx_format_info *info = rlx_format_get(f);
    assert(elems >= 0 && elems % info->block_elems == 0);
    return (size_t)(elems / info->block_elems) * (size_t)info->block_bytes;
}

/* ---- 16-bit floats ------------------------------------------------------------------------------
 */

static uint32_t float_bits(float f)
{
    uint32_t u;
    memcpy(&u, &f, 4);
    return u;
}

static float bits_float(uint32_t u)
{
    float f;
    memcpy(&f, &u, 4);
    return f;
}

float rlx_f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16;
    uint32_t exponent = (h >> 10) & 0x1f, mantissa = h & 0x3ff;
    if (exponent == 0x1f)
        return bits_float(sign | 0x7f800000 | mantissa << 13);
    if (exponent == 0) { /* zero or subnormal: mantissa * 2^-24, exact */
        float f = (float)mantissa * 0x1p-24f;
        return sign ? -f : f;
    }
    return bits_float(sign | (exponent + 112) << 23 | mantissa << 13);
}

/* Shifts right, rounding to nearest even. */
static uint32_t shift_round(uint32_t u, int n)
{
    uint32_t rest = u & ((1u << n) - 1), half = 1u << (n - 1);
    u >>= n;
    return u + (rest > half || (rest == half && (u & 1)));
}

uint16_t rlx_f32_to_f16(float f)
{
    uint32_t u = float_bits(f), sign = u >> 16 & 0x8000;
    u &= 0x7fffffff;
    if (u > 0x7f800000) /* NaN: keep the upper payload, make it quiet */
        return (uint16_t)(sign | 0x7e00 | (u >> 13 & 0x3ff));
    if (u >= 0x47800000) /* 65536 and up, infinity */
        return (uint16_t)(sign | 0x7c00);
    if (u >= 0x38800000) /* normal; rounding may carry into the exponent, up to infinity */
        return (uint16_t)(sign | shift_round(u - 0x38000000, 13));
    int shift = 126 - (int)(u >> 23); /* the mantissa with its leading one, in units of 2^-24 */
    if (shift > 24)
        return (uint16_t)sign;
    return (uint16_t)(sign | shift_round((u & 0x7fffff) | 0x800000, shift));
}

float rlx_bf16_to_f32(uint16_t h)
{
    return bits_float((uint32_t)h << 16);
}

uint16_t rlx_f32_to_bf16(float f)
{
    uint32_t u = float_bits(f);
    if ((u & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(u >> 16 | 0x40);
    return (uint16_t)shift_round(u, 16);
}

/* A float that rounds on to any 16-bit format as `v` itself would: of the two floats around an
 * inexact value the odd one, so that no tie is made up. */
static float round_to_odd(double v)
{
    float f = (float)v;
    if (isnan(v) || (double)f == v || (float_bits(f) & 1))
        return f;
    return nextafterf(f, (double)f < v ? INFINITY : -INFINITY);
}

/* ---- single elements ----------------------------------------------------------------------------
 */

/* Nearest integer, ties to even, kept inside lo..hi; NaN gives 0. */
static int64_t to_int(double v, int64_t lo, int64_t hi)
{
    if (isnan(v))
        return 0;
    v = nearbyint(v);
    if (v <= (double)lo)
        return lo;
    if (v >= (double)hi) /* (double)INT64_MAX is 2^63 */
        return hi;
    return (int64_t)v;
}

static float load_from_block(rlx_format f, const void *p, int64_t index)
{
    float x;
    rlx_format_decode(f, p, index, 1, &x);
    return x;
}

/* to_int inside 0..2^64 - 1. */
static uint64_t to_u64(double v)
{
    v = nearbyint(v);
    if (!(v > 0)) /* NaN too */
        return 0;
    return v >= 0x1p64 ? UINT64_MAX : (uint64_t)v;
}

double rlx_format_load(rlx_format f, const void *p, int64_t index)
{
    switch (f) {
    case RLX_F32:
        return ((const float *)p)[index];
    case RLX_F64:
        return ((const double *)p)[index];
    case RLX_F16:
        return rlx_f16_to_f32(((const uint16_t *)p)[index]);
    case RLX_BF16:
        return rlx_bf16_to_f32(((const uint16_t *)p)[index]);
    case RLX_I8:
        return ((const int8_t *)p)[index];
    case RLX_I16:
        return ((const int16_t *)p)[index];
    case RLX_I32:
        return ((const int32_t *)p)[index];
    case RLX_I64:
        return (double)((const int64_t *)p)[index];
    case RLX_U8:
        return ((const uint8_t *)p)[index];
    case RLX_U16:
        return ((const uint16_t *)p)[index];
    case RLX_U32:
        return ((const uint32_t *)p)[index];
    case RLX_U64:
        return (double)((const uint64_t *)p)[index];
    case RLX_BOOL:
        return ((const uint8_t *)p)[index] != 0;
    default:
        break;
    }
    if (rlx_format_get(f)->kind == RLX_KIND_BLOCK)
        return load_from_block(f, p, index);
    assert(!"a format with elements");
    return 0;
}

void rlx_format_store(rlx_format f, void *p, int64_t index, double v)
{
    switch (f) {
    case RLX_F32:
        ((float *)p)[index] = (float)v;
        return;
    case RLX_F64:
        ((double *)p)[index] = v;
        return;
    case RLX_F16:
        ((uint16_t *)p)[index] = rlx_f32_to_f16(round_to_odd(v));
        return;
    case RLX_BF16:
        ((uint16_t *)p)[index] = rlx_f32_to_bf16(round_to_odd(v));
        return;
    case RLX_I8:
        ((int8_t *)p)[index] = (int8_t)to_int(v, INT8_MIN, INT8_MAX);
        return;
    case RLX_I16:
        ((int16_t *)p)[index] = (int16_t)to_int(v, INT16_MIN, INT16_MAX);
        return;
    case RLX_I32:
        ((int32_t *)p)[index] = (int32_t)to_int(v, INT32_MIN, INT32_MAX);
        return;
    case RLX_I64:
        ((int64_t *)p)[index] = to_int(v, INT64_MIN, INT64_MAX);
        return;
    case RLX_U8:
        ((uint8_t *)p)[index] = (uint8_t)to_int(v, 0, UINT8_MAX);
        return;
    case RLX_U16:
        ((uint16_t *)p)[index] = (uint16_t)to_int(v, 0, UINT16_MAX);
        return;
    case RLX_U32:
        ((uint32_t *)p)[index] = (uint32_t)to_int(v, 0, UINT32_MAX);
        return;
    case RLX_U64:
        ((uint64_t *)p)[index] = to_u64(v);
        return;
    case RLX_BOOL:
        ((uint8_t *)p)[index] = v != 0;
        return;
    default:
        break;
    }
    assert(!"a format whose elements stand alone");
}
