/* runtime/quantize/encode_pack.c: a block's bytes from its factors, scales and codes, as
 * block_layouts.def places them. Bits are added to bytes that are zero. */
#include <math.h>
#include <string.h>

#include "runtime/quantize/encode.h"

static void store_u16(uint8_t *p, uint16_t v)
{
    p[0] |= (uint8_t)v;
    p[1] |= (uint8_t)(v >> 8);
}

/* Number `i` of a role. */
static void store_field(rlx_format f, rlx_block_role role, uint8_t *block, int i, int v)
{
    const rlx_block_field *l = rlx_format_field(f, role);
    if (!l->bits)
        return;
    int shift = l->shift + l->step * (i % l->per) + l->lift * (i / l->per);
    uint64_t word = (uint64_t)(v & ((1 << l->bits) - 1)) << shift;
    uint8_t *p = block + l->at + l->next * (i / l->per);
    for (int b = 0; b < l->word; b++)
        p[b] |= (uint8_t)(word >> 8 * b);
}

/* ---- scales ---- */

static void store_factor(const rlx_encoder *e, const rlx_block_fit *fit, uint8_t *block)
{
    const rlx_block_layout *l = e->layout;
    uint8_t *p = block + l->d;
    uint16_t half = rlx_f32_to_f16(fit->d);
    switch (l->factor) {
    case RLX_BLOCK_FACTOR_F16:
        store_u16(p, half);
        break;
    case RLX_BLOCK_FACTOR_F32:
        memcpy(p, &fit->d, sizeof fit->d);
        break;
    case RLX_BLOCK_FACTOR_E8M0:
    case RLX_BLOCK_FACTOR_E4M3:
        for (int u = 0; u < e->units; u++)
            p[u] = (uint8_t)fit->s[u];
        break;
    case RLX_BLOCK_FACTOR_TOP4:
        for (int i = 0; i < 4; i++)
            p[2 * i + 1] |= (uint8_t)((half >> 4 * i & 15) << 4);
        break;
    }
    if (l->m >= 0)
        store_u16(block + l->m, rlx_f32_to_f16(fit->m));
}

static void store_k4(uint8_t *p, int i, int s, int t)
{
    if (i < 4) {
        p[i] |= (uint8_t)s;
        p[i + 4] |= (uint8_t)t;
        return;
    }
    p[i + 4] |= (uint8_t)((s & 15) | (t & 15) << 4);
    p[i - 4] |= (uint8_t)(s >> 4 << 6);
    p[i] |= (uint8_t)(t >> 4 << 6);
}

static void store_scales(const rlx_encoder *e, const rlx_block_fit *fit, uint8_t *block)
{
    const rlx_block_layout *l = e->layout;
    rlx_format f = e->format;
    for (int u = 0; u < e->units; u++) {
        switch (l->scale) {
        case RLX_BLOCK_SCALE_PLAIN:
            break;
        case RLX_BLOCK_SCALE_S8:
            block[l->scales + u] = (uint8_t)fit->s[u];
            break;
        case RLX_BLOCK_SCALE_K4:
            store_k4(block + l->scales, u, fit->s[u], fit->t[u]);
            break;
        case RLX_BLOCK_SCALE_BY16:
        case RLX_BLOCK_SCALE_BY32:
            store_field(f, RLX_BLOCK_SCALE, block, u, fit->s[u]);
            store_field(f, RLX_BLOCK_SCALE_HIGH, block, u,
                        fit->s[u] >> rlx_format_field(f, RLX_BLOCK_SCALE)->bits);
            store_field(f, RLX_BLOCK_MIN, block, u, fit->t[u]);
            break;
        }
    }
}

/* ---- codes ---- */

/* The bits that stand for a value. */
static int bits_of(const rlx_block_layout *l, float v)
{
    const int8_t *stand = rlx_block_values(l->codes);
    int q = (int)v;
    if (!stand)
        return q + l->bias;
    for (int i = 0; i < 1 << l->low_bits; i++)
        if (stand[i] == q)
            return i;
    return 0;
}

static void store_planes(const rlx_block_layout *l, uint8_t *block, int e, int q)
{
    int chunk = l->span * 8 / l->low_bits, at = e % chunk;
    int low = q & ((1 << l->low_bits) - 1), high = q >> l->low_bits;
    block[l->low + e / chunk * l->span + at % l->span] |=
        (uint8_t)(low << at / l->span * l->low_bits);
    if (l->high_bits == 32) {
        block[l->high + e / 8] |= (uint8_t)(high << e % 8);
    } else if (l->high >= 0) {
        int elems = 32 * 8 / l->high_bits;
        block[l->high + e / elems * 32 + e % 32] |=
            (uint8_t)(high << e % elems / 32 * l->high_bits);
    }
}

/* The digits of a byte, the first being the highest, as a fraction of 256 that is rounded up. */
static void store_trits(const rlx_block_layout *l, const float *v, uint8_t *block)
{
    for (int byte = 0; byte < 52; byte++) {
        int first = byte < 32 ? byte : byte < 48 ? 160 + byte - 32 : 240 + byte - 48;
        int next = byte < 32 ? 32 : byte < 48 ? 16 : 4, number = 0;
        for (int digit = 0; digit < 5; digit++) {
            int at = first + digit * next;
            number = number * 3 + (at < RLX_ENCODE_BLOCK ? (int)v[at] + l->bias : 0);
        }
        block[l->low + byte] = (uint8_t)((number * 256 + 242) / 243);
    }
}

/* The entry whose values these are. */
static int find_entry(const rlx_grid_search *g, const float *v)
{
    int point = 0;
    for (int i = g->run - 1; i >= 0; i--) {
        int level = 0;
        while (level + 1 < g->levels && g->level[level] < v[i])
            level++;
        point = point * g->levels + level;
    }
    return g->list[point * g->nearest];
}

static void store_grid(const rlx_encoder *e, const float *v, uint8_t *block)
{
    const rlx_grid_search *g = &e->grid;
    rlx_format f = e->format;
    bool shifted = rlx_format_field(f, RLX_BLOCK_SHIFT)->bits;
    for (int run = 0; run * g->run < e->info->block_elems; run++) {
        float y[8];
        bool down = false;
        for (int i = 0; i < g->run; i++) {
            float x = v[run * g->run + i], near = 8 * roundf(x / 8); /* IQ1's values, eighths */
            down |= shifted && x < near;
            y[i] = shifted ? near : fabsf(x);
        }
        int entry = find_entry(g, y);
        store_field(f, RLX_BLOCK_INDEX, block, run, entry);
        store_field(f, RLX_BLOCK_INDEX_HIGH, block, run,
                    entry >> rlx_format_field(f, RLX_BLOCK_INDEX)->bits);
        store_field(f, RLX_BLOCK_SHIFT, block, run, down);
    }
    for (int eight = 0; eight * 8 < e->info->block_elems; eight++) {
        int signs = 0;
        for (int i = 0; i < 8; i++)
            signs |= (v[eight * 8 + i] < 0) << i;
        store_field(f, RLX_BLOCK_SIGNS, block, eight, signs);
    }
}

/* What blocks of intermediate formats have beside: sums of their values. */
static void store_sums(const rlx_encoder *e, const rlx_block_fit *fit, uint8_t *block)
{
    enum { Q8_1_SUM = 2, Q8_K_SUMS = 260, SUMMED = 16 };
    float sum = 0;
    if (e->format == RLX_Q8_1) {
        for (int i = 0; i < e->info->block_elems; i++)
            sum += fit->v[i];
        store_u16(block + Q8_1_SUM, rlx_f32_to_f16(fit->d * sum));
    }
    for (int i = 0; e->format == RLX_Q8_K && i < e->info->block_elems; i++) {
        sum = i % SUMMED ? sum + fit->v[i] : fit->v[i];
        if (i % SUMMED == SUMMED - 1)
            store_u16(block + Q8_K_SUMS + i / SUMMED * 2, (uint16_t)(int16_t)sum);
    }
}

void rlx_encode_pack(const rlx_encoder *e, const rlx_block_fit *fit, uint8_t *block)
{
    const rlx_block_layout *l = e->layout;
    memset(block, 0, (size_t)e->info->block_bytes);
    store_factor(e, fit, block);
    store_scales(e, fit, block);
    store_sums(e, fit, block);
    if (l->codes == RLX_BLOCK_CODES_GRID) {
        store_grid(e, fit->v, block);
    } else if (l->codes == RLX_BLOCK_CODES_TRITS) {
        store_trits(l, fit->v, block);
    } else {
        for (int i = 0; i < e->info->block_elems; i++) {
            int q = bits_of(l, fit->v[i]);
            if (l->low_bits == 8)
                block[l->low + i] = (uint8_t)q;
            else
                store_planes(l, block, i, q);
        }
    }
}
