#include "bench/random_weights.h"

#include <string.h>

static const float largest = 0.035f;

uint64_t next_random(uint64_t *state)
{
    uint64_t x = *state;
    x ^= x << 13;
    x ^= x >> 7;
    return *state = x ^ x << 17;
}

void put_value(rlx_format f, float v, void *to)
{
    uint32_t bits;
    memcpy(&bits, &v, 4);
    _Float16 half = (_Float16)v;
    uint16_t high = (uint16_t)(bits >> 16);
    if (f == RLX_F32)
        memcpy(to, &v, 4);
    else
        memcpy(to, f == RLX_F16 ? (const void *)&half : &high, 2);
}

static float next_value(uint64_t *random)
{
    return largest * ((float)(next_random(random) >> 40) * 0x1p-23f - 1); /* of [-1, 1) */
}

static void fill_f32(uint64_t *random, uint8_t *to)
{
    put_value(RLX_F32, next_value(random), to);
}

static void fill_f16(uint64_t *random, uint8_t *to)
{
    put_value(RLX_F16, next_value(random), to);
}

static void fill_bf16(uint64_t *random, uint8_t *to)
{
    put_value(RLX_BF16, next_value(random), to);
}

static void fill_bytes(uint64_t *random, uint8_t *to, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += 8) {
        uint64_t x = next_random(random);
        memcpy(to + i, &x, bytes - i < 8 ? bytes - i : 8);
    }
}

/* Between half of `v` and `v`. */
static void put_scale(uint64_t *random, float v, uint8_t *to)
{
    put_value(RLX_F16, v * (1 + (float)(next_random(random) >> 40) * 0x1p-24f) / 2, to);
}

/* Q8_0: a scale, 32 signed bytes. -128, which no quantiser writes, becomes 0. */
static void fill_q8_0(uint64_t *random, uint8_t *to)
{
    fill_bytes(random, to + 2, 32);
    for (int i = 2; i < 34; i++)
        to[i] = to[i] == 0x80 ? 0 : to[i];
    put_scale(random, largest / 127, to);
}

/* Q4_0: a scale, 32 values of four bits that stand for -8 to 7. */
static void fill_q4_0(uint64_t *random, uint8_t *to)
{
    fill_bytes(random, to + 2, 16);
    put_scale(random, largest / 8, to);
}

/* Eight scales of six bits, 32 to 63, packed in twelve bytes; the eight minima equal them. */
static void put_six_bits(uint64_t *random, uint8_t *to)
{
    uint64_t bits = next_random(random);
    for (int i = 0; i < 4; i++, bits >>= 10) {
        unsigned low = 32 | (bits & 31), high = 32 | (bits >> 5 & 31); /* of i, of i + 4 */
        to[i] = to[i + 4] = (uint8_t)(low | high >> 4 << 6);
        to[i + 8] = (uint8_t)((high & 15) | (high & 15) << 4);
    }
}

/* A k-format with minima: scale * (q - middle), so that values are centred. */
static void fill_centred(uint64_t *random, uint8_t *to, size_t bytes, float middle)
{
    float scale = largest / (63 * middle);
    fill_bytes(random, to + 16, bytes - 16);
    put_value(RLX_F16, scale, to);
    put_value(RLX_F16, scale * middle, to + 2);
    put_six_bits(random, to + 4);
}

static void fill_q4_k(uint64_t *random, uint8_t *to)
{
    fill_centred(random, to, 144, 7.5f);
}

static void fill_q5_k(uint64_t *random, uint8_t *to)
{
    fill_centred(random, to, 176, 15.5f);
}

/* Q6_K: 256 values of six bits that stand for -32 to 31, sixteen signed scales, the scale of these.
 */
static void fill_q6_k(uint64_t *random, uint8_t *to)
{
    fill_bytes(random, to, 208);
    for (int i = 192; i < 208; i++) /* 64 to 127, or -65 to -128 */
        to[i] = to[i] & 0x80 ? to[i] & 0xbf : to[i] | 0x40;
    put_scale(random, largest / (127 * 32), to + 208);
}

/* MXFP4: an exponent, 32 numbers of four bits up to 6. */
static void fill_mxfp4(uint64_t *random, uint8_t *to)
{
    fill_bytes(random, to + 1, 16);
    to[0] = (uint8_t)(127 - 8 + (next_random(random) & 1)); /* 6 * 2^-8 = 0.023, or 0.047 */
}

/* IQ4_XS: eight scales of six bits that stand for -32 to 31, 256 numbers of a table up to 127. */
static void fill_iq4_xs(uint64_t *random, uint8_t *to)
{
    fill_bytes(random, to + 2, 134);
    put_scale(random, largest / (127 * 32), to);
}

static const weight_format weight_formats[] = {
    {RLX_F32, "f32", "float32", 0, 1, 4, fill_f32},
    {RLX_F16, "f16", "float16", 1, 1, 2, fill_f16},
    {RLX_BF16, "bf16", "bfloat16", 30, 1, 2, fill_bf16},
    {RLX_Q8_0, "q8_0", NULL, 8, 32, 34, fill_q8_0},
    {RLX_Q4_0, "q4_0", NULL, 2, 32, 18, fill_q4_0},
    {RLX_Q4_K, "q4_k", NULL, 12, 256, 144, fill_q4_k},
    {RLX_Q5_K, "q5_k", NULL, 13, 256, 176, fill_q5_k},
    {RLX_Q6_K, "q6_k", NULL, 14, 256, 210, fill_q6_k},
    {RLX_IQ4_XS, "iq4_xs", NULL, 23, 256, 136, fill_iq4_xs},
    {RLX_MXFP4, "mxfp4", NULL, 39, 32, 17, fill_mxfp4},
};

const weight_format *weight_format_get(rlx_format f)
{
    for (size_t i = 0; i < sizeof weight_formats / sizeof *weight_formats; i++)
        if (weight_formats[i].format == f)
            return &weight_formats[i];
    return NULL;
}

void fill_random(const weight_format *f, uint8_t *to, size_t bytes)
{
    uint64_t random = 0x9e3779b97f4a7c15u;
    for (size_t at = 0; at < bytes; at += f->block_bytes)
        f->fill(&random, to + at);
}
