/* runtime/quantize/encode_codes.c: the codes that are nearest once the scale is known. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/quantize/encode.h"

enum { LANES = 8 };

/* ---- integers and tables -------------------------------------------------------------------- */

/* To the nearest integer, ties to even, of numbers below 2^22 in size. */
static inline float round_near(float x)
{
    const float shift = 0x1.8p23f;
    return (x + shift) - shift;
}

static void choose_integers(const rlx_encoder *e, const float *x, int n, float by, float add,
                            float *v)
{
    const float least = e->least, most = e->most;
    for (int i = 0; i < n; i += LANES)
        for (int j = i; j < i + LANES; j++) {
            float y = (x[j] + add) * by;
            y = y < least ? least : y;
            v[j] = round_near(y > most ? most : y);
        }
}

static void choose_values(const rlx_encoder *e, const float *x, int n, float by, float *v)
{
    for (int i = 0; i < n; i++) {
        float y = x[i] * by;
        int k = 0;
        for (int j = 0; j + 1 < e->values; j++)
            k += y > (e->value[j] + e->value[j + 1]) / 2;
        v[i] = e->value[k];
    }
}

/* ---- grids ---------------------------------------------------------------------------------- */

/* The entry that is nearest to the `run` numbers at y; its squared distance by weight. */
static float nearest_entry(const rlx_grid_search *g, const float *y, const float *w,
                           const float **out)
{
    int point = 0;
    for (int i = g->run - 1; i >= 0; i--) {
        int level = 0;
        for (int k = 0; k + 1 < g->levels; k++)
            level += y[i] > g->middle[k];
        point = point * g->levels + level;
    }
    float best = INFINITY;
    for (int k = 0; k < g->nearest; k++) {
        const float *entry = g->entry + g->list[point * g->nearest + k] * g->run;
        float sum = 0;
        for (int i = 0; i < g->run; i++) {
            float diff = y[i] - entry[i];
            sum += w[i] * diff * diff;
        }
        if (sum < best) {
            best = sum;
            *out = entry;
        }
    }
    return best;
}

/* Sizes and signs of 8 numbers. Of 7 sign bits, which the eighth follows, an even number is set:
 * where it is odd, the number that is least wrong with the other sign gets that. */
static void split_signs(const float *x, const float *w, float by, bool even, float *size,
                        float *sign)
{
    int negative = 0, least = 0;
    for (int i = 0; i < LANES; i++) {
        float y = x[i] * by;
        sign[i] = y < 0 ? -1 : 1;
        size[i] = fabsf(y);
        negative += y < 0;
        if (w[i] * size[i] < w[least] * size[least])
            least = i;
    }
    if (even && negative % 2) {
        sign[least] = -sign[least];
        size[least] = -size[least];
    }
}

static void choose_signed(const rlx_encoder *e, const float *x, const float *w, int n, float by,
                          float *v)
{
    const rlx_grid_search *g = &e->grid;
    bool even = rlx_format_field(e->format, RLX_BLOCK_SIGNS)->bits == 7;
    for (int i = 0; i < n; i += LANES) {
        float size[LANES], sign[LANES];
        split_signs(x + i, w + i, by, even, size, sign);
        for (int r = 0; r < LANES; r += g->run) {
            const float *entry = g->entry;
            nearest_entry(g, size + r, w + i + r, &entry);
            for (int k = 0; k < g->run; k++)
                v[i + r + k] = sign[r + k] * entry[k];
        }
    }
}

/* Runs whose values are all an eighth larger or smaller than a grid's; *error: of all. */
static void choose_run(const rlx_grid_search *g, const float *x, const float *w, int n, float by,
                       float shift, float *v, float *error)
{
    *error = 0;
    for (int i = 0; i < n; i += g->run) {
        float y[LANES];
        const float *entry = g->entry;
        for (int k = 0; k < g->run; k++)
            y[k] = x[i + k] * by - shift;
        *error += nearest_entry(g, y, w + i, &entry);
        for (int k = 0; k < g->run; k++)
            v[i + k] = entry[k] + shift;
    }
}

static void choose_shifted(const rlx_encoder *e, const float *x, const float *w, int n, float by,
                           float *v)
{
    const rlx_grid_search *g = &e->grid;
    const rlx_block_field *shift = rlx_format_field(e->format, RLX_BLOCK_SHIFT);
    int together = shift->step ? g->run : e->unit; /* elements that one bit is for */
    for (int i = 0; i < n; i += together) {
        float other[RLX_ENCODE_BLOCK], up, down;
        choose_run(g, x + i, w + i, together, by, 1, v + i, &up);
        choose_run(g, x + i, w + i, together, by, -1, other, &down);
        if (down < up)
            memcpy(v + i, other, (size_t)together * sizeof *v);
    }
}

void rlx_encode_choose(const rlx_encoder *e, const float *x, const float *w, int n, float scale,
                       float add, float *v)
{
    float by = scale != 0 ? 1 / scale : 0;
    if (!isfinite(by)) /* of a scale that is next to nothing */
        by = 0;
    if (e->layout->codes != RLX_BLOCK_CODES_GRID && !e->values)
        choose_integers(e, x, n, by, add, v);
    else if (e->values)
        choose_values(e, x, n, by, v);
    else if (rlx_format_field(e->format, RLX_BLOCK_SIGNS)->bits)
        choose_signed(e, x, w, n, by, v);
    else
        choose_shifted(e, x, w, n, by, v);
}

/* ---- tables --------------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* Ascending, each once; their number. */
static int distinct(float *v, int n)
{
    int kept = 0;
    qsort(v, (size_t)n, sizeof *v, by_value);
    for (int i = 0; i < n; i++)
        if (i == 0 || v[i] != v[kept - 1])
            v[kept++] = v[i];
    return kept;
}

/* The entries that are nearest to a point, the nearest first. */
static void list_nearest(const rlx_grid_search *g, int point, uint16_t *list)
{
    float target[LANES], distance[64];
    for (int i = 0, rest = point; i < g->run; i++, rest /= g->levels)
        target[i] = g->level[rest % g->levels];
    int n = 0;
    for (int entry = 0; entry < g->entries; entry++) {
        float sum = 0;
        for (int i = 0; i < g->run; i++) {
            float diff = target[i] - g->entry[entry * g->run + i];
            sum += diff * diff;
        }
        if (n == g->nearest && sum >= distance[n - 1])
            continue;
        int at = n < g->nearest ? n++ : n - 1;
        for (; at > 0 && distance[at - 1] > sum; at--) {
            distance[at] = distance[at - 1];
            list[at] = list[at - 1];
        }
        distance[at] = sum;
        list[at] = (uint16_t)entry;
    }
}

static rlx_status init_grid(rlx_encoder *e)
{
    enum { NEAREST = 24 };
    rlx_block_grid from = rlx_format_grid(e->format);
    rlx_grid_search *g = &e->grid;
    int n = from.entries * from.run, points = 1;
    g->run = from.run;
    g->entries = from.entries;
    g->nearest = NEAREST;
    g->entry = malloc((size_t)n * sizeof *g->entry);
    float *sorted = malloc((size_t)n * sizeof *sorted);
    if (!g->entry || !sorted) {
        free(sorted);
        return RLX_OOM();
    }
    for (int i = 0; i < n; i++)
        sorted[i] = g->entry[i] = from.values[i];
    g->levels = distinct(sorted, n);
    memcpy(g->level, sorted, (size_t)g->levels * sizeof *sorted);
    free(sorted);
    for (int i = 0; i + 1 < g->levels; i++)
        g->middle[i] = (g->level[i] + g->level[i + 1]) / 2;
    for (int i = 0; i < g->run; i++)
        points *= g->levels;
    g->list = malloc((size_t)points * NEAREST * sizeof *g->list);
    if (!g->list)
        return RLX_OOM();
    for (int p = 0; p < points; p++)
        list_nearest(g, p, g->list + p * NEAREST);
    e->most = g->level[g->levels - 1];
    e->step = e->most - g->level[g->levels - 2];
    e->least = -e->most;
    return RLX_OK;
}

rlx_status rlx_encode_init_codes(rlx_encoder *e)
{
    const rlx_block_layout *l = e->layout;
    const int8_t *stand = rlx_block_values(l->codes);
    if (l->codes == RLX_BLOCK_CODES_GRID)
        return init_grid(e);
    if (stand) {
        for (int i = 0; i < 1 << l->low_bits; i++)
            e->value[i] = stand[i];
        e->values = distinct(e->value, 1 << l->low_bits);
        e->least = e->value[0];
        e->most = e->value[e->values - 1];
        e->step = e->most - e->value[e->values - 2];
        return RLX_OK;
    }
    bool ternary = l->codes == RLX_BLOCK_CODES_TRITS || e->format == RLX_TQ2_0;
    int codes = ternary ? 3 : 1 << rlx_format_code_bits(e->format);
    bool bytes = l->low_bits == 8;
    e->least = bytes ? -127 : (float)-l->bias; /* -128 has no counterpart */
    e->most = bytes ? 127 : (float)(codes - 1 - l->bias);
    e->step = 1;
    return RLX_OK;
}
