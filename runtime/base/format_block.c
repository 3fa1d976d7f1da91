/* runtime/base/format_block.c: block formats to f32, as block_layouts.def describes them. */
#include <assert.h>
#include <string.h>

#include "runtime/base/format.h"

#define NONE RLX_BLOCK_NONE
static const rlx_block_layout layouts[RLX_FORMAT_COUNT] = {
#define LAYOUT(NAME, d_, m_, low_, span_, high_, high_bits_, bias_, scale_, scales_) \
    [RLX_##NAME] = {.d = d_,                                                         \
                    .m = m_,                                                         \
                    .low = low_,                                                     \
                    .span = span_,                                                   \
                    .high = high_,                                                   \
                    .high_bits = high_bits_,                                         \
                    .bias = bias_,                                                   \
                    .scale = RLX_BLOCK_SCALE_##scale_,                               \
                    .scales = scales_},
#include "runtime/base/block_layouts.def"
#undef LAYOUT
};
#undef NONE

const rlx_block_layout *rlx_format_block(rlx_format f)
{
    assert(rlx_format_get(f)->kind == RLX_KIND_BLOCK);
    return &layouts[f];
}

static float load_f16(const uint8_t *p)
{
    return rlx_f16_to_f32((uint16_t)(p[0] | p[1] << 8));
}

/* Scale and minimum of element `e`: x = q * scale + add. */
static void load_scale(const rlx_block_layout *l, const uint8_t *block, int e, float *scale,
                       float *add)
{
    float d = load_f16(block + l->d), m = l->m >= 0 ? load_f16(block + l->m) : 0;
    const uint8_t *s = block + (l->scales >= 0 ? l->scales : 0);
    *scale = d;
    *add = m;
    if (l->scale == RLX_BLOCK_SCALE_S8) {
        *scale = d * (float)(int8_t)s[e / 16];
    } else if (l->scale == RLX_BLOCK_SCALE_K4) {
        int i = e / 32 % 4;
        bool upper = e >= 128;
        int sc = upper ? (s[i + 8] & 15) | s[i] >> 6 << 4 : s[i] & 63;
        int mn = upper ? s[i + 8] >> 4 | s[i + 4] >> 6 << 4 : s[i + 4] & 63;
        *scale = d * (float)sc;
        *add = -(m * (float)mn);
    }
}

/* The bits of element `e`, before a bias. */
static int load_bits(const rlx_block_layout *l, const uint8_t *block, int e)
{
    if (l->span == 0)
        return (int8_t)block[l->low + e];
    int chunk = e / (2 * l->span), at = e % (2 * l->span);
    int q = block[l->low + chunk * l->span + at % l->span] >> (at < l->span ? 0 : 4) & 15;
    if (l->high_bits == 32) {
        q |= (block[l->high + e / 8] >> e % 8 & 1) << 4;
    } else if (l->high >= 0) {
        int elems = 32 * 8 / l->high_bits, shift = e % elems / 32 * l->high_bits;
        int byte = block[l->high + e / elems * 32 + e % 32];
        q |= (byte >> shift & ((1 << l->high_bits) - 1)) << 4;
    }
    return q;
}

void rlx_format_decode(rlx_format f, const void *blocks, int64_t first, int64_t n, float *out)
{
    const rlx_format_info *info = rlx_format_get(f);
    const rlx_block_layout *l = rlx_format_block(f);
    bool adds = l->m >= 0;
    float scale = 0, add = 0;
    for (int64_t i = 0; i < n; i++) {
        const uint8_t *block =
            (const uint8_t *)blocks + (first + i) / info->block_elems * info->block_bytes;
        int e = (int)((first + i) % info->block_elems);
        if (i == 0 || e % 16 == 0)
            load_scale(l, block, e, &scale, &add);
        float x = (float)(load_bits(l, block, e) - l->bias) * scale;
        out[i] = adds ? x + add : x;
    }
}

/* ---- codes, scales, minima ---- */

int rlx_format_group(rlx_format f)
{
    return rlx_format_block(f)->scale == RLX_BLOCK_SCALE_S8 ? 16 : 32;
}

int rlx_format_code_bits(rlx_format f)
{
    const rlx_block_layout *l = rlx_format_block(f);
    if (l->span == 0)
        return 8;
    return l->high < 0 ? 4 : l->high_bits == 32 ? 5 : 4 + l->high_bits;
}

bool rlx_format_has_min(rlx_format f)
{
    const rlx_block_layout *l = rlx_format_block(f);
    return l->bias || l->m >= 0;
}

/* The block of element `index`, which is its element *e. */
static const uint8_t *block_of(rlx_format f, const void *blocks, int64_t index, int *e)
{
    const rlx_format_info *info = rlx_format_get(f);
    *e = (int)(index % info->block_elems);
    return (const uint8_t *)blocks + index / info->block_elems * info->block_bytes;
}

void rlx_format_codes(rlx_format f, const void *blocks, int64_t first, int64_t n, uint8_t *out)
{
    const rlx_block_layout *l = rlx_format_block(f);
    for (int64_t i = 0; i < n; i++) {
        int e;
        const uint8_t *block = block_of(f, blocks, first + i, &e);
        out[i] = (uint8_t)load_bits(l, block, e);
    }
}

void rlx_format_scales(rlx_format f, const void *blocks, int64_t first, int64_t n, float *out)
{
    for (int64_t i = 0; i < n; i++) {
        int e;
        float add;
        const uint8_t *block = block_of(f, blocks, (first + i) * rlx_format_group(f), &e);
        load_scale(rlx_format_block(f), block, e, &out[i], &add);
    }
}

void rlx_format_mins(rlx_format f, const void *blocks, int64_t first, int64_t n, float *out)
{
    const rlx_block_layout *l = rlx_format_block(f);
    for (int64_t i = 0; i < n; i++) {
        int e;
        float scale, add;
        const uint8_t *block = block_of(f, blocks, (first + i) * rlx_format_group(f), &e);
        load_scale(l, block, e, &scale, &add);
        out[i] = l->bias ? scale * (float)l->bias : l->m >= 0 ? -add : 0;
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

void rlx_format_make_blocks(rlx_format f, void *blocks, int64_t elems, uint64_t seed)
{
    const rlx_format_info *info = rlx_format_get(f);
    const rlx_block_layout *l = rlx_format_block(f);
    int shift = l->scale == RLX_BLOCK_SCALE_K4   ? 12 /* 63 * 31 */
                : l->scale == RLX_BLOCK_SCALE_S8 ? 13 /* 128 * 32 */
                : l->span == 0                   ? 9  /* 128 */
                                                 : 7;                   /* 31 */
    int m_shift = l->scale == RLX_BLOCK_SCALE_K4 ? 8 : 2;
    size_t bytes = rlx_format_bytes(f, elems), block_bytes = (size_t)info->block_bytes;
    for (size_t i = 0; i < bytes; i++)
        ((uint8_t *)blocks)[i] = (uint8_t)(next_random(&seed) >> 32);
    for (uint8_t *b = blocks; b < (uint8_t *)blocks + bytes; b += block_bytes) {
        store_factor(b + l->d, shift, next_random(&seed));
        if (l->m >= 0)
            store_factor(b + l->m, m_shift, next_random(&seed));
    }
}
