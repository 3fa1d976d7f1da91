/* runtime/quantize/encode.c: the scales of a block.
 *
 *   unit: candidates of its scale -> codes -> scale by least squares, again while that gains
 *   block: factors from its units' scales -> whole numbers for these -> codes for what they mean;
 *          then each number's neighbours, then factors by least squares, as long as that gains
 */
#include "runtime/quantize/encode.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LANES = 8 };

#define ONES_8 1, 1, 1, 1, 1, 1, 1, 1
#define ONES_64 ONES_8, ONES_8, ONES_8, ONES_8, ONES_8, ONES_8, ONES_8, ONES_8
static const float ones[RLX_ENCODE_BLOCK] = {ONES_64, ONES_64, ONES_64, ONES_64};

/* ---- sums ----------------------------------------------------------------------------------- */

/* Weighted sums over elements x and codes v. */
typedef struct sums {
    double w, x, v, xv, vv, xx;
} sums;

static float add_lanes(const float *lane)
{
    return ((lane[0] + lane[4]) + (lane[2] + lane[6])) +
           ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}

static sums add_up(const float *x, const float *w, const float *v, int n)
{
    float sw[LANES] = {0}, sx[LANES] = {0}, sv[LANES] = {0}, xv[LANES] = {0}, vv[LANES] = {0},
          xx[LANES] = {0};
    for (int i = 0; i < n; i += LANES)
        for (int j = 0; j < LANES; j++) {
            float wv = w[i + j] * v[i + j], wx = w[i + j] * x[i + j];
            sw[j] += w[i + j];
            sx[j] += wx;
            sv[j] += wv;
            xv[j] += wv * x[i + j];
            vv[j] += wv * v[i + j];
            xx[j] += wx * x[i + j];
        }
    return (sums){add_lanes(sw), add_lanes(sx), add_lanes(sv),
                  add_lanes(xv), add_lanes(vv), add_lanes(xx)};
}

static float error_of(const float *x, const float *w, const float *v, int n, float scale, float add)
{
    float sum[LANES] = {0};
    for (int i = 0; i < n; i += LANES)
        for (int j = 0; j < LANES; j++) {
            float diff = x[i + j] + add - v[i + j] * scale;
            sum[j] += w[i + j] * diff * diff;
        }
    return add_lanes(sum);
}

/* Chooses the unit's codes, too. */
static float error_with(const rlx_encoder *e, const float *x, const float *w, int n, float scale,
                        float add, float *v)
{
    rlx_encode_choose(e, x, w, n, scale, add, v);
    return error_of(x, w, v, n, scale, add);
}

/* ---- one unit ------------------------------------------------------------------------------- */

/* What a unit would have if it could: x = v * scale - min; curve: how much a wrong scale costs. */
typedef struct unit_fit {
    float scale, min;
    float curve, weight;
} unit_fit;

/* Candidates are those with which the largest element gets the largest code, and such as cut or
 * spare some of the range: in steps between codes. */
enum { CANDIDATES = 24, AGAIN = 3 };
static float candidate(int i)
{
    return -0.9f + 0.13f * (float)i;
}

static float largest(const float *x, int n)
{
    float most = 0;
    for (int i = 0; i < n; i++)
        most = fabsf(x[i]) > fabsf(most) ? x[i] : most;
    return most;
}

/* Whether scales may have either sign. */
static bool is_signed(const rlx_encoder *e)
{
    const rlx_block_layout *l = e->layout;
    if (l->scale == RLX_BLOCK_SCALE_PLAIN)
        return l->factor == RLX_BLOCK_FACTOR_F16 || l->factor == RLX_BLOCK_FACTOR_F32;
    return l->scale == RLX_BLOCK_SCALE_S8 || rlx_format_affine(e->format)->b < 0;
}

/* Takes a candidate when its codes explain more of the elements than the best so far. */
static bool try_scale(const rlx_encoder *e, const float *x, const float *w, int n, float scale,
                      float *gain, unit_fit *fit)
{
    float v[RLX_ENCODE_BLOCK];
    rlx_encode_choose(e, x, w, n, scale, 0, v);
    sums s = add_up(x, w, v, n);
    if (s.vv <= 0 || (s.xv <= 0 && !is_signed(e)) || s.xv * s.xv <= (double)*gain * s.vv)
        return false;
    *gain = (float)(s.xv * s.xv / s.vv);
    *fit = (unit_fit){.scale = (float)(s.xv / s.vv), .curve = (float)s.vv, .weight = (float)s.w};
    return true;
}

static unit_fit fit_scale(const rlx_encoder *e, const float *x, const float *w, int n)
{
    float most = largest(x, n), gain = 0;
    unit_fit fit = {0};
    bool either = is_signed(e) && e->least != -e->most;
    if (!is_signed(e))
        most = fabsf(most);
    for (int side = 0; side < (either ? 2 : 1); side++)
        for (int i = 0; i < CANDIDATES; i++) {
            float size = (side ? -e->least : e->most) + e->step * candidate(i);
            if (size > 0)
                try_scale(e, x, w, n, (side ? -most : most) / size, &gain, &fit);
        }
    for (int i = 0; i < AGAIN && fit.scale != 0; i++)
        if (!try_scale(e, x, w, n, fit.scale, &gain, &fit))
            break;
    return fit;
}

/* Takes a candidate's codes with the scale and minimum that fit them best. Minima that are stored
 * as a positive number times one are never negative: `bound`. */
static bool try_affine(const rlx_encoder *e, const float *x, const float *w, int n, bool bound,
                       float scale, float min, float *error, unit_fit *fit)
{
    float v[RLX_ENCODE_BLOCK];
    rlx_encode_choose(e, x, w, n, scale, min, v);
    sums s = add_up(x, w, v, n);
    double det = s.w * s.vv - s.v * s.v;
    if (s.vv <= 0 || det <= 0)
        return false;
    double a = (s.w * s.xv - s.x * s.v) / det, b = (s.v * s.xv - s.vv * s.x) / det;
    if (bound && b < 0) {
        b = 0;
        a = s.xv / s.vv;
    }
    float is = error_of(x, w, v, n, (float)a, (float)b);
    if (a <= 0 || is >= *error)
        return false;
    *error = is;
    *fit = (unit_fit){(float)a, (float)b, (float)s.vv, (float)s.w};
    return true;
}

static unit_fit fit_affine(const rlx_encoder *e, const float *x, const float *w, int n)
{
    bool bound = e->layout->scale != RLX_BLOCK_SCALE_PLAIN;
    float least = bound ? 0 : x[0], most = x[0];
    for (int i = 0; i < n; i++) {
        least = x[i] < least ? x[i] : least;
        most = x[i] > most ? x[i] : most;
    }
    unit_fit fit = {.min = -least};
    float error = error_of(x, w, (const float[RLX_ENCODE_BLOCK]){0}, n, 0, -least);
    for (int i = 0; i < CANDIDATES && most > least; i++) {
        float steps = e->most + (candidate(i) - 0.5f) * 1.2f;
        try_affine(e, x, w, n, bound, (most - least) / steps, -least, &error, &fit);
    }
    for (int i = 0; i < AGAIN && fit.scale != 0; i++)
        if (!try_affine(e, x, w, n, bound, fit.scale, fit.min, &error, &fit))
            break;
    return fit;
}

/* ---- blocks of one scale, or one for each unit ---------------------------------------------- */

static float to_half(float x)
{
    const float most = 65504;
    if (isnan(x)) /* of elements whose squares are beyond f32 */
        return 0;
    return rlx_f16_to_f32(rlx_f32_to_f16(x > most ? most : x < -most ? -most : x));
}

/* Of the factors that a byte can stand for, the one with the least error near `scale`. */
static void choose_factor(const rlx_encoder *e, const float *x, const float *w, float scale, int *s,
                          float *v)
{
    enum { AROUND = 2 };
    int near = 0;
    while (near + 1 < e->nfactors && e->factor[near] < scale)
        near++;
    float best = INFINITY, other[RLX_ENCODE_BLOCK];
    for (int i = near - AROUND; i <= near + AROUND; i++) {
        if (i < 0 || i >= e->nfactors)
            continue;
        float error = error_with(e, x, w, e->unit, e->factor[i], 0, other);
        if (error < best) {
            best = error;
            *s = i;
            memcpy(v, other, (size_t)e->unit * sizeof *v);
        }
    }
}

static void fit_plain(const rlx_encoder *e, const float *x, const float *w, rlx_block_fit *fit)
{
    const rlx_block_layout *l = e->layout;
    for (int u = 0; u < e->units; u++) {
        const float *ux = x + u * e->unit, *uw = w + u * e->unit;
        float *v = fit->v + u * e->unit;
        unit_fit is = l->m >= 0 ? fit_affine(e, ux, uw, e->unit) : fit_scale(e, ux, uw, e->unit);
        if (e->nfactors) {
            choose_factor(e, ux, uw, is.scale, &fit->s[u], v);
            continue;
        }
        bool single = l->factor == RLX_BLOCK_FACTOR_F32;
        fit->d = single ? (isfinite(is.scale) ? is.scale : 0) : to_half(is.scale);
        fit->m = to_half(-is.min);
        rlx_encode_choose(e, ux, uw, e->unit, fit->d, -fit->m, v);
    }
}

/* ---- blocks whose units' scales are whole numbers ------------------------------------------- */

/* Those numbers: what they mean is by * (a * s + b), least..most. */
typedef struct levels {
    int least, most;
    float a, b, by;
} levels;

static levels scale_levels(const rlx_encoder *e)
{
    const rlx_block_affine *affine = rlx_format_affine(e->format);
    int bits = rlx_format_field(e->format, RLX_BLOCK_SCALE)->bits +
               rlx_format_field(e->format, RLX_BLOCK_SCALE_HIGH)->bits;
    if (e->layout->scale == RLX_BLOCK_SCALE_K4)
        return (levels){0, 63, 1, 0, 1};
    if (e->layout->scale == RLX_BLOCK_SCALE_S8)
        return (levels){-128, 127, 1, 0, 1};
    return (levels){0, (1 << bits) - 1, affine->a, affine->b, affine->c};
}

static levels min_levels(const rlx_encoder *e)
{
    int bits = e->layout->scale == RLX_BLOCK_SCALE_K4
                   ? 6
                   : rlx_format_field(e->format, RLX_BLOCK_MIN)->bits;
    return (levels){0, (1 << bits) - 1, 1, 0, 1};
}

static float meaning(const levels *l, int s)
{
    return (l->a * (float)s + l->b) * l->by;
}

static int nearest_level(const levels *l, float want, float d)
{
    float s = d != 0 ? (want / d / l->by - l->b) / l->a : 0;
    s = s < (float)l->least ? (float)l->least : s > (float)l->most ? (float)l->most : s;
    return (int)lrintf(s);
}

/* What the numbers that are nearest cost with factor d. */
static float level_error(const levels *l, const float *want, const float *curve, int n, float d)
{
    float sum = 0;
    for (int i = 0; i < n; i++) {
        float diff = want[i] - d * meaning(l, nearest_level(l, want[i], d));
        sum += curve[i] * diff * diff;
    }
    return sum;
}

/* The factor with which whole numbers come nearest to what is wanted. */
static float fit_factor(const levels *l, const float *want, const float *curve, int n)
{
    enum { FACTORS = 16 };
    float most = largest(want, n), best = INFINITY, d = 0;
    float ends[2] = {meaning(l, l->most), meaning(l, l->least)};
    for (int side = 0; side < (ends[1] < 0 ? 2 : 1) && most != 0; side++)
        for (int i = 0; i < FACTORS; i++) {
            float step = l->a * l->by * (0.25f * (float)i - 1);
            float try = to_half(most / (ends[side] + (side ? -step : step)));
            float error = level_error(l, want, curve, n, try);
            if (error < best) {
                best = error;
                d = try;
            }
        }
    return d;
}

/* A unit's numbers and their neighbours, with the codes that they bring; adds the error of the best
 * to *error. */
static void settle_unit(const rlx_encoder *e, const float *x, const float *w, int u,
                        rlx_block_fit *fit, float *error)
{
    levels sl = scale_levels(e), tl = min_levels(e);
    bool has_min = e->layout->m >= 0;
    int s = fit->s[u], t = fit->t[u];
    float best = INFINITY, v[RLX_ENCODE_BLOCK];
    for (int i = s - 1; i <= s + 1; i++)
        for (int j = has_min ? t - 1 : t; j <= (has_min ? t + 1 : t); j++) {
            if (i < sl.least || i > sl.most || (has_min && (j < tl.least || j > tl.most)))
                continue;
            float scale = fit->d * meaning(&sl, i), min = has_min ? fit->m * (float)j : 0;
            float is = error_with(e, x, w, e->unit, scale, min, v);
            if (is < best) {
                best = is;
                fit->s[u] = i;
                fit->t[u] = j;
                memcpy(fit->v + u * e->unit, v, (size_t)e->unit * sizeof *v);
            }
        }
    *error += best;
}

static float settle(const rlx_encoder *e, const float *x, const float *w, rlx_block_fit *fit)
{
    float error = 0;
    for (int u = 0; u < e->units; u++)
        settle_unit(e, x + u * e->unit, w + u * e->unit, u, fit, &error);
    return error;
}

/* The factors that fit the numbers and codes best. */
static void refit(const rlx_encoder *e, const float *x, const float *w, rlx_block_fit *fit)
{
    levels sl = scale_levels(e);
    double pp = 0, pq = 0, qq = 0, xp = 0, xq = 0; /* x = d * p - m * q */
    for (int u = 0; u < e->units; u++) {
        int at = u * e->unit;
        sums s = add_up(x + at, w + at, fit->v + at, e->unit);
        double by = meaning(&sl, fit->s[u]), t = fit->t[u];
        pp += by * by * s.vv;
        pq += by * t * s.v;
        qq += t * t * s.w;
        xp += by * s.xv;
        xq += t * s.x;
    }
    double det = pp * qq - pq * pq;
    if (e->layout->m >= 0 && det > 0) {
        fit->d = to_half((float)((xp * qq - xq * pq) / det));
        fit->m = to_half((float)((xp * pq - xq * pp) / det));
    } else if (pp > 0) {
        fit->d = to_half((float)(xp / pp));
    }
}

static void fit_levels(const rlx_encoder *e, const float *x, const float *w, rlx_block_fit *fit)
{
    enum { ROUNDS = 3 };
    float scale[RLX_ENCODE_UNITS], min[RLX_ENCODE_UNITS], curve[RLX_ENCODE_UNITS],
        weight[RLX_ENCODE_UNITS];
    levels sl = scale_levels(e), tl = min_levels(e);
    bool has_min = e->layout->m >= 0;
    for (int u = 0; u < e->units; u++) {
        const float *ux = x + u * e->unit, *uw = w + u * e->unit;
        unit_fit is = has_min ? fit_affine(e, ux, uw, e->unit) : fit_scale(e, ux, uw, e->unit);
        scale[u] = is.scale;
        min[u] = is.min;
        curve[u] = is.curve;
        weight[u] = is.weight;
    }
    fit->d = fit_factor(&sl, scale, curve, e->units);
    fit->m = has_min ? fit_factor(&tl, min, weight, e->units) : 0;
    for (int u = 0; u < e->units; u++) {
        fit->s[u] = nearest_level(&sl, scale[u], fit->d);
        fit->t[u] = has_min ? nearest_level(&tl, min[u], fit->m) : 0;
    }
    float error = settle(e, x, w, fit);
    for (int i = 0; i < ROUNDS; i++) {
        rlx_block_fit next = *fit;
        refit(e, x, w, &next);
        float is = settle(e, x, w, &next);
        if (is >= error)
            break;
        error = is;
        *fit = next;
    }
}

/* ---- the encoder ---------------------------------------------------------------------------- */

/* What the factor's byte stands for, by decoding it. */
static void init_factors(rlx_encoder *e)
{
    enum { E8M0_MOST = 254, E4M3_MOST = 126 };
    uint8_t block[64] = {0};
    if (e->layout->factor == RLX_BLOCK_FACTOR_E8M0)
        e->nfactors = E8M0_MOST + 1;
    else if (e->layout->factor == RLX_BLOCK_FACTOR_E4M3)
        e->nfactors = E4M3_MOST + 1;
    for (int i = 0; i < e->nfactors; i++) {
        block[e->layout->d] = (uint8_t)i;
        rlx_format_scales(e->format, block, 0, 1, &e->factor[i]);
    }
}

rlx_status rlx_encoder_create(rlx_format f, rlx_encoder **out)
{
    rlx_encoder *e = calloc(1, sizeof *e);
    if (!e)
        return RLX_OOM();
    e->format = f;
    e->info = rlx_format_get(f);
    e->layout = rlx_format_block(f);
    init_factors(e);
    bool one =
        e->layout->scale == RLX_BLOCK_SCALE_PLAIN && e->layout->factor != RLX_BLOCK_FACTOR_E4M3;
    e->unit = one ? e->info->block_elems : rlx_format_group(f);
    e->units = e->info->block_elems / e->unit;
    rlx_status st = rlx_encode_init_codes(e);
    if (st) {
        rlx_encoder_destroy(e);
        return st;
    }
    *out = e;
    return RLX_OK;
}

void rlx_encoder_destroy(rlx_encoder *e)
{
    if (!e)
        return;
    free(e->grid.entry);
    free(e->grid.list);
    free(e);
}

/* The importance of a block's elements, or ones where it has none at all. */
static const float *weights_of(const float *importance, int n)
{
    for (int i = 0; importance && i < n; i++)
        if (importance[i] > 0)
            return importance;
    return ones;
}

void rlx_encoder_run(const rlx_encoder *e, const float *x, const float *importance, int64_t n,
                     void *blocks)
{
    uint8_t *to = blocks;
    const int elems = e->info->block_elems;
    for (int64_t i = 0; i < n; i += elems, to += e->info->block_bytes) {
        const float *w = weights_of(importance ? importance + i : NULL, elems);
        rlx_block_fit fit = {0};
        if (e->layout->scale == RLX_BLOCK_SCALE_PLAIN)
            fit_plain(e, x + i, w, &fit);
        else
            fit_levels(e, x + i, w, &fit);
        rlx_encode_pack(e, &fit, to);
    }
}
