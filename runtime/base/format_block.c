/* runtime/base/format_block.c: block formats to f32, as block_layouts.def describes them. */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/format.h"

#define NONE RLX_BLOCK_NONE
static const rlx_block_layout layouts[RLX_FORMAT_COUNT] = {
#define LAYOUT(NAME, factor_, d_, m_, codes_, low_, low_bits_, span_, high_, high_bits_, bias_, \
               scale_, scales_)                                                                 \
    [RLX_##NAME] = {.format = RLX_##NAME,                                                       \
                    .factor = RLX_BLOCK_FACTOR_##factor_,                                       \
                    .codes = RLX_BLOCK_CODES_##codes_,                                          \
                    .scale = RLX_BLOCK_SCALE_##scale_,                                          \
                    .d = d_,                                                                    \
                    .m = m_,                                                                    \
                    .low = low_,                                                                \
                    .low_bits = low_bits_,                                                      \
                    .span = span_,                                                              \
                    .high = high_,                                                              \
                    .high_bits = high_bits_,                                                    \
                    .bias = bias_,                                                              \
                    .scales = scales_},
#include "runtime/base/block_layouts.def"
};
#undef NONE

static const rlx_block_affine affines[RLX_FORMAT_COUNT] = {
#define SCALE(NAME, a, b, c) [RLX_##NAME] = {a, b, c},
#include "runtime/base/block_layouts.def"
};

static const rlx_block_field fields[RLX_FORMAT_COUNT][RLX_BLOCK_ROLES] = {
#define FIELD(NAME, role, at, word, per, next, step, lift, shift, bits) \
    [RLX_##NAME][RLX_BLOCK_##role] = {at, word, per, next, step, lift, shift, bits},
#include "runtime/base/block_layouts.def"
};

static const int8_t values[][16] = {
    [RLX_BLOCK_CODES_FP4] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12},
    [RLX_BLOCK_CODES_NL4] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89,
                             113},
    [RLX_BLOCK_CODES_PM1] = {-1, 1}};

const rlx_block_layout *rlx_format_block(rlx_format f)
{
    assert(rlx_format_get(f)->kind == RLX_KIND_BLOCK);
    return &layouts[f];
}

const rlx_block_field *rlx_format_field(rlx_format f, rlx_block_role role)
{
    return &fields[f][role];
}

const rlx_block_affine *rlx_format_affine(rlx_format f)
{
    return &affines[f];
}

const int8_t *rlx_block_values(rlx_block_codes kind)
{
    bool stand =
        kind == RLX_BLOCK_CODES_FP4 || kind == RLX_BLOCK_CODES_NL4 || kind == RLX_BLOCK_CODES_PM1;
    return stand ? values[kind] : NULL;
}

/* Number `i` of a role, or 0 where the format has none. */
static int load_field(rlx_format f, rlx_block_role role, const uint8_t *block, int i)
{
    const rlx_block_field *l = &fields[f][role];
    if (!l->bits)
        return 0;
    const uint8_t *p = block + l->at + l->next * (i / l->per);
    uint64_t word = 0;
    for (int b = l->word - 1; b >= 0; b--)
        word = word << 8 | p[b];
    word >>= l->shift + l->step * (i % l->per) + l->lift * (i / l->per);
    return (int)(word & ((1u << l->bits) - 1));
}

/* ---- scales ---- */

static uint16_t load_u16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

/* Half of 2^(e-127). */
static float load_e8m0(uint8_t e)
{
    return ldexpf(1, (int)e - 128);
}

/* Half of an unsigned float of 4 and 3 bits; the one whose bits are all set is 0 here. */
static float load_e4m3(uint8_t x)
{
    int exponent = x >> 3 & 15, mantissa = x & 7;
    if (x == 0x7f)
        return 0;
    return exponent ? ldexpf((float)(8 + mantissa), exponent - 11) : ldexpf((float)mantissa, -10);
}

static float load_factor(const rlx_block_layout *l, const uint8_t *block, int e)
{
    const uint8_t *p = block + l->d;
    float f;
    switch (l->factor) {
    case RLX_BLOCK_FACTOR_F32:
        memcpy(&f, p, sizeof f);
        return f;
    case RLX_BLOCK_FACTOR_E8M0:
        return load_e8m0(*p);
    case RLX_BLOCK_FACTOR_E4M3:
        return load_e4m3(p[e / RLX_BLOCK_GROUP]);
    case RLX_BLOCK_FACTOR_TOP4:
        return rlx_f16_to_f32(
            (uint16_t)(p[1] >> 4 | (p[3] & 0xf0) | (p[5] & 0xf0) << 4 | (p[7] & 0xf0) << 8));
    case RLX_BLOCK_FACTOR_F16:
        break;
    }
    return rlx_f16_to_f32(load_u16(p));
}

/* Six bits each of a scale and a minimum: K4. */
static void load_k4(const uint8_t *s, int i, int *scale, int *min)
{
    bool upper = i >= 4;
    i %= 4;
    *scale = upper ? (s[i + 8] & 15) | s[i] >> 6 << 4 : s[i] & 63;
    *min = upper ? s[i + 8] >> 4 | s[i + 4] >> 6 << 4 : s[i + 4] & 63;
}

/* Scale and minimum of element `e`: x = q * scale + add. */
static void load_scale(rlx_format f, const uint8_t *block, int e, float *scale, float *add)
{
    const rlx_block_layout *l = &layouts[f];
    const rlx_block_affine *by = &affines[f];
    float d = load_factor(l, block, e);
    float m = l->m >= 0 ? rlx_f16_to_f32(load_u16(block + l->m)) : 0;
    const uint8_t *s = block + (l->scales >= 0 ? l->scales : 0);
    int sc, mn = 0, i;
    switch (l->scale) {
    case RLX_BLOCK_SCALE_S8:
        *scale = d * (float)(int8_t)s[e / 16];
        *add = 0;
        return;
    case RLX_BLOCK_SCALE_K4:
        load_k4(s, e / 32, &sc, &mn);
        *scale = d * (float)sc;
        break;
    case RLX_BLOCK_SCALE_BY16:
    case RLX_BLOCK_SCALE_BY32:
        i = e / rlx_format_group(f);
        sc = load_field(f, RLX_BLOCK_SCALE, block, i) |
             load_field(f, RLX_BLOCK_SCALE_HIGH, block, i) << fields[f][RLX_BLOCK_SCALE].bits;
        mn = load_field(f, RLX_BLOCK_MIN, block, i);
        *scale = d * (float)(by->a * sc + by->b) * by->c;
        break;
    case RLX_BLOCK_SCALE_PLAIN:
        *scale = d;
        *add = m;
        return;
    }
    *add = -(m * (float)mn);
}

/* ---- codes: of 16 elements from `e` on, a multiple of 16 ---- */

static int load_planes(const rlx_block_layout *l, const uint8_t *block, int e)
{
    int chunk = l->span * 8 / l->low_bits, at = e % chunk;
    int q = block[l->low + e / chunk * l->span + at % l->span] >> at / l->span * l->low_bits &
            ((1 << l->low_bits) - 1);
    if (l->high_bits == 32) {
        q |= (block[l->high + e / 8] >> e % 8 & 1) << l->low_bits;
    } else if (l->high >= 0) {
        int elems = 32 * 8 / l->high_bits, shift = e % elems / 32 * l->high_bits;
        int byte = block[l->high + e / elems * 32 + e % 32];
        q |= (byte >> shift & ((1 << l->high_bits) - 1)) << l->low_bits;
    }
    return q;
}

/* 160 elements are in 32 bytes, 80 in 16, 16 in 4; a byte's digit n is the one before the point
 * once the number it stands for, a fraction of 256, is multiplied by 3^n. */
static int load_trit(const rlx_block_layout *l, const uint8_t *block, int e)
{
    static const uint8_t power[5] = {1, 3, 9, 27, 81};
    int digit = e < 160 ? e / 32 : e < 240 ? (e - 160) / 16 : (e - 240) / 4;
    int byte = e < 160 ? e % 32 : e < 240 ? 32 + e % 16 : 48 + e % 4;
    uint8_t rest = (uint8_t)(block[l->low + byte] * power[digit]);
    return rest * 3 >> 8;
}

/* Bit j: whether element j of the 8 is negated. */
static int load_signs(rlx_format f, const uint8_t *block, int eight)
{
    int signs = load_field(f, RLX_BLOCK_SIGNS, block, eight);
    if (fields[f][RLX_BLOCK_SIGNS].bits == 7)
        signs |= __builtin_parity((unsigned)signs) << 7;
    return signs;
}

static void load_grid(rlx_format f, const uint8_t *block, int e, int8_t *q)
{
    rlx_block_grid g = rlx_format_grid(f);
    for (int i = 0; i < RLX_BLOCK_GROUP; i++) {
        int run = (e + i) / g.run;
        int entry = load_field(f, RLX_BLOCK_INDEX, block, run) |
                    load_field(f, RLX_BLOCK_INDEX_HIGH, block, run)
                        << fields[f][RLX_BLOCK_INDEX].bits;
        int v = g.values[entry * g.run + i % g.run];
        if (load_signs(f, block, (e + i) / 8) >> i % 8 & 1)
            v = -v;
        if (fields[f][RLX_BLOCK_SHIFT].bits)
            v += load_field(f, RLX_BLOCK_SHIFT, block, run) ? -1 : 1;
        q[i] = (int8_t)v;
    }
}

static void load_codes(rlx_format f, const uint8_t *block, int e, int8_t *q)
{
    const rlx_block_layout *l = &layouts[f];
    const int8_t *stand = rlx_block_values(l->codes);
    if (l->codes == RLX_BLOCK_CODES_GRID) {
        load_grid(f, block, e, q);
        return;
    }
    for (int i = 0; i < RLX_BLOCK_GROUP; i++)
        q[i] = l->codes == RLX_BLOCK_CODES_TRITS ? (int8_t)load_trit(l, block, e + i)
               : l->low_bits == 8                ? (int8_t)block[l->low + e + i]
                                                 : (int8_t)load_planes(l, block, e + i);
    for (int i = 0; stand && i < RLX_BLOCK_GROUP; i++)
        q[i] = stand[q[i]];
}

/* The block of element `index`, which is its element *e. */
static const uint8_t *block_of(rlx_format f, const void *blocks, int64_t index, int *e)
{
    const rlx_format_info *info = rlx_format_get(f);
    *e = (int)(index % info->block_elems);
    return (const uint8_t *)blocks + index / info->block_elems * info->block_bytes;
}

void rlx_format_decode(rlx_format f, const void *blocks, int64_t first, int64_t n, float *out)
{
    const rlx_block_layout *l = rlx_format_block(f);
    for (int64_t i = 0; i < n;) {
        int e, from = (int)((first + i) % RLX_BLOCK_GROUP);
        const uint8_t *block = block_of(f, blocks, first + i - from, &e);
        float scale, add;
        int8_t q[RLX_BLOCK_GROUP];
        load_scale(f, block, e, &scale, &add);
        load_codes(f, block, e, q);
        for (; from < RLX_BLOCK_GROUP && i < n; from++, i++) {
            float x = (float)(q[from] - l->bias) * scale;
            out[i] = l->m >= 0 ? x + add : x;
        }
    }
}

/* ---- codes, scales, minima ---- */

int rlx_format_group(rlx_format f)
{
    const rlx_block_layout *l = rlx_format_block(f);
    return l->scale == RLX_BLOCK_SCALE_S8 || l->scale == RLX_BLOCK_SCALE_BY16 ||
                   l->factor == RLX_BLOCK_FACTOR_E4M3
               ? 16
               : 32;
}

int rlx_format_code_bits(rlx_format f)
{
    const rlx_block_layout *l = rlx_format_block(f);
    if (l->low_bits == 8 || rlx_block_values(l->codes))
        return 8;
    return l->low_bits + (l->high < 0 ? 0 : l->high_bits == 32 ? 1 : l->high_bits);
}

bool rlx_format_signed_codes(rlx_format f)
{
    return rlx_format_block(f)->bias || rlx_format_code_bits(f) == 8;
}

bool rlx_format_has_min(rlx_format f)
{
    return rlx_format_block(f)->m >= 0;
}

void rlx_format_codes(rlx_format f, const void *blocks, int64_t first, int64_t n, uint8_t *out)
{
    const int bias = rlx_format_block(f)->bias;
    for (int64_t i = 0; i < n;) {
        int e, from = (int)((first + i) % RLX_BLOCK_GROUP);
        const uint8_t *block = block_of(f, blocks, first + i - from, &e);
        int8_t q[RLX_BLOCK_GROUP];
        load_codes(f, block, e, q);
        for (; from < RLX_BLOCK_GROUP && i < n; from++, i++)
            out[i] = (uint8_t)(q[from] - bias);
    }
}

void rlx_format_scales(rlx_format f, const void *blocks, int64_t first, int64_t n, float *out)
{
    for (int64_t i = 0; i < n; i++) {
        int e;
        float add;
        const uint8_t *block = block_of(f, blocks, (first + i) * rlx_format_group(f), &e);
        load_scale(f, block, e, &out[i], &add);
    }
}

void rlx_format_mins(rlx_format f, const void *blocks, int64_t first, int64_t n, float *out)
{
    for (int64_t i = 0; i < n; i++) {
        int e;
        float scale, add;
        const uint8_t *block = block_of(f, blocks, (first + i) * rlx_format_group(f), &e);
        load_scale(f, block, e, &scale, &add);
        out[i] = rlx_format_has_min(f) ? -add : 0;
    }
}

/* ---- blocks for checks ---- */

static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

/* An f16 of either sign, at least 2^-(shift + 1) and below 2^-shift. */
static void store_factor(uint8_t *p, int shift, uint64_t random)
{
    uint16_t h = (uint16_t)((random & 0x83ff) | (uint64_t)(14 - shift) << 10);
    p[0] = (uint8_t)h;
    p[1] = (uint8_t)(h >> 8);
}

/* No code of the format is larger in size. */
static int largest_code(rlx_format f)
{
    const rlx_block_layout *l = rlx_format_block(f);
    const int8_t *stand = rlx_block_values(l->codes);
    rlx_block_grid g = {0};
    int most = 0, n = stand ? 1 << l->low_bits : 0;
    if (l->codes == RLX_BLOCK_CODES_GRID) {
        g = rlx_format_grid(f);
        stand = g.values;
        n = g.entries * g.run;
    }
    for (int i = 0; i < n; i++)
        most = abs(stand[i]) > most ? abs(stand[i]) : most;
    return n ? most + 1 : 1 << (rlx_format_code_bits(f) == 8 ? 7 : rlx_format_code_bits(f));
}

/* No value of a block is larger, by its factor, in size; a minimum adds as much. */
static float largest_value(rlx_format f)
{
    const rlx_block_affine *by = &affines[f];
    int s = 1 << (fields[f][RLX_BLOCK_SCALE].bits + fields[f][RLX_BLOCK_SCALE_HIGH].bits);
    float code = (float)largest_code(f);
    switch (rlx_format_block(f)->scale) {
    case RLX_BLOCK_SCALE_K4:
        return code * 64;
    case RLX_BLOCK_SCALE_S8:
        return code * 128;
    case RLX_BLOCK_SCALE_PLAIN:
        return code;
    default:
        return code * (float)(by->a * s) * by->c;
    }
}

static void store_factors(rlx_format f, uint8_t *block, uint64_t *seed)
{
    const rlx_block_layout *l = rlx_format_block(f);
    int shift = ilogbf(largest_value(f) - 1) + 1 + (l->m >= 0),
        m_shift = l->scale == RLX_BLOCK_SCALE_PLAIN ? 2 : 8;
    uint8_t half[2];
    float single;
    store_factor(half, shift, next_random(seed));
    single = rlx_f16_to_f32(load_u16(half));
    switch (l->factor) {
    case RLX_BLOCK_FACTOR_F16:
        memcpy(block + l->d, half, 2);
        break;
    case RLX_BLOCK_FACTOR_F32:
        memcpy(block + l->d, &single, sizeof single);
        break;
    case RLX_BLOCK_FACTOR_E8M0:
        block[l->d] = (uint8_t)(128 - 4 - (next_random(seed) & 3)); /* 12 / 16 at most */
        break;
    case RLX_BLOCK_FACTOR_E4M3:
        for (int i = 0; i < 4; i++)
            block[l->d + i] &= 0x9f; /* below 2^-3, and 2^-4 halved; a sign that is not looked at */
        break;
    case RLX_BLOCK_FACTOR_TOP4:
        for (int i = 0; i < 4; i++) {
            uint8_t *top = &block[l->d + 2 * i + 1];
            *top = (uint8_t)((*top & 15) | (half[i / 2] >> i % 2 * 4 & 15) << 4);
        }
        break;
    }
    if (l->m >= 0)
        store_factor(block + l->m, m_shift, next_random(seed));
}

void rlx_format_make_blocks(rlx_format f, void *blocks, int64_t elems, uint64_t seed)
{
    size_t bytes = rlx_format_bytes(f, elems);
    for (size_t i = 0; i < bytes; i++)
        ((uint8_t *)blocks)[i] = (uint8_t)(next_random(&seed) >> 32);
    for (uint8_t *b = blocks; b < (uint8_t *)blocks + bytes; b += rlx_format_get(f)->block_bytes)
        store_factors(f, b, &seed);
}
