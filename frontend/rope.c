#include "frontend/rope.h"

#include <math.h>
#include <stdlib.h>

struct rlx_rope {
    rlx_rope_spec spec;
    float attention;  /* multiplies cos and sin */
    float inv_freq[]; /* D/2, for lengths that need no stretching; longrope: D/2 more for others */
};

/* ---- inverse frequencies -------------------------------------------------------------------- */

/* Powers and logarithms are taken in double and rounded once; everything else is in f32, as there.
 */
static float frequency_of(float theta, int64_t i, int64_t dim)
{
    const float exponent = (float)(2 * i) / (float)dim;
    return 1.0f / (float)pow(theta, exponent);
}

static float llama3_frequency(const rlx_rope_spec *s, float inv)
{
    const float factor = (float)s->factor;
    const float wavelength = 1.0f / inv * (float)(2 * M_PI);
    if (wavelength > (float)(s->original / s->low))
        return inv / factor;
    if (wavelength < (float)(s->original / s->high))
        return inv;
    const float smooth =
        (1.0f / wavelength * (float)s->original - (float)s->low) / (float)(s->high - s->low);
    return (1.0f - smooth) * inv / factor + smooth * inv;
}

/* The index (as a real number) whose wavelength makes `rotations` turns within the original length.
 */
static double yarn_index(const rlx_rope_spec *s, double rotations)
{
    return (double)s->dim * log(s->original / (rotations * 2 * M_PI)) / (2 * log(s->theta));
}

static void yarn_frequencies(const rlx_rope_spec *s, float *inv_freq)
{
    double low = yarn_index(s, s->beta_fast), high = yarn_index(s, s->beta_slow);
    if (!s->no_truncate) {
        low = floor(low);
        high = ceil(high);
    }
    low = fmax(low, 0);
    high = fmin(high, (double)(s->dim - 1));
    if (low == high)
        high += 0.001; /* no division by zero */
    for (int64_t i = 0; i < s->dim / 2; i++) {
        const float exponent = (float)(2 * i) / (float)s->dim;
        const float power = (float)pow((float)s->theta, exponent);
        const float plain = 1.0f / power, stretched = 1.0f / ((float)s->factor * power);
        float ramp = ((float)i - (float)low) / (float)(high - low);
        ramp = fminf(fmaxf(ramp, 0.0f), 1.0f);
        const float keep = 1.0f - ramp;
        inv_freq[i] = stretched * (1.0f - keep) + plain * keep;
    }
}

static void longrope_frequencies(const rlx_rope_spec *s, const float *factors, float *inv_freq)
{
    for (int64_t i = 0; i < s->dim / 2; i++) {
        const float exponent = (float)(2 * i) / (float)s->dim;
        inv_freq[i] = 1.0f / (factors[i] * (float)pow((float)s->theta, exponent));
    }
}

static void fill_frequencies(const rlx_rope_spec *s, float theta, float *inv_freq)
{
    if (s->type == RLX_ROPE_YARN) {
        yarn_frequencies(s, inv_freq);
        return;
    }
    if (s->type == RLX_ROPE_LONGROPE) {
        longrope_frequencies(s, s->short_factor, inv_freq);
        longrope_frequencies(s, s->long_factor, inv_freq + s->dim / 2);
        return;
    }
    for (int64_t i = 0; i < s->dim / 2; i++) {
        inv_freq[i] = frequency_of(theta, i, s->dim);
        if (s->type == RLX_ROPE_LINEAR)
            inv_freq[i] /= (float)s->factor;
        else if (s->type == RLX_ROPE_LLAMA3)
            inv_freq[i] = llama3_frequency(s, inv_freq[i]);
    }
}

static double longrope_attention(const rlx_rope_spec *s)
{
    const double factor = s->factor != 0 ? s->factor : s->max_positions / s->original;
    if (s->attention_factor != 0)
        return s->attention_factor;
    return factor > 1 ? sqrt(1 + log(factor) / log(s->original)) : 1;
}

/* The base for sequences longer than max_positions. */
static float dynamic_theta(const rlx_rope_spec *s, int64_t length)
{
    const float share = (float)s->factor * (float)length / (float)s->max_positions;
    const float stretch = share - (float)(s->factor - 1);
    const float exponent = (float)((double)s->dim / (double)(s->dim - 2));
    return (float)s->theta * (float)pow(stretch, exponent);
}

static double yarn_attention(const rlx_rope_spec *s)
{
    const double log_factor = s->factor > 1 ? 0.1 * log(s->factor) : 0;
    if (s->attention_factor != 0)
        return s->attention_factor;
    if (s->mscale != 0 && s->mscale_all_dim != 0)
        return (log_factor * s->mscale + 1) / (log_factor * s->mscale_all_dim + 1);
    return log_factor + 1;
}

/* ---- the object ----------------------------------------------------------------------------- */

/* The bounds of a parameter, by its name in configs. */
static rlx_status refuse(const char **key, const char *name, double v, const char *wanted)
{
    *key = name;
    return RLX_FAIL(RLX_INVALID_ARGUMENT, "is %g, not %s", v, wanted);
}

static rlx_status check_longrope(const rlx_rope_spec *s, const char **key)
{
    if (!(s->original > 1))
        return refuse(key, "original_max_position_embeddings", s->original, "above 1");
    if (!(s->max_positions > 0))
        return refuse(key, "max_position_embeddings", s->max_positions, "above 0");
    if (s->factor < 0 || !isfinite(s->factor))
        return refuse(key, "factor", s->factor, "a positive number");
    for (int64_t i = 0; i < s->dim / 2; i++) {
        if (!(s->short_factor[i] > 0))
            return refuse(key, "short_factor", s->short_factor[i], "all above 0");
        if (!(s->long_factor[i] > 0))
            return refuse(key, "long_factor", s->long_factor[i], "all above 0");
    }
    return RLX_OK;
}

static rlx_status check_ramp(const rlx_rope_spec *s, const char **key)
{
    if (!(s->original > 0))
        return refuse(key, "original_max_position_embeddings", s->original, "above 0");
    if (s->type == RLX_ROPE_LLAMA3 && !(s->low > 0))
        return refuse(key, "low_freq_factor", s->low, "above 0");
    if (s->type == RLX_ROPE_LLAMA3 && !(s->high > s->low))
        return refuse(key, "high_freq_factor", s->high, "above low_freq_factor");
    if (s->type == RLX_ROPE_YARN && s->beta_fast < 0)
        return refuse(key, "beta_fast", s->beta_fast, "0 or more");
    if (s->type == RLX_ROPE_YARN && s->beta_slow < 0)
        return refuse(key, "beta_slow", s->beta_slow, "0 or more");
    return RLX_OK;
}

rlx_status rlx_rope_check(const rlx_rope_spec *s, const char **key)
{
    if (s->dim <= 0 || s->dim % 2)
        return refuse(key, "head_dim", (double)s->dim, "even and positive where it rotates");
    if (!(s->theta > 1) || !isfinite(s->theta))
        return refuse(key, "rope_theta", s->theta, "above 1");
    if (s->type == RLX_ROPE_LONGROPE)
        return check_longrope(s, key);
    if (s->type != RLX_ROPE_DEFAULT && (!(s->factor > 0) || !isfinite((float)s->factor)))
        return refuse(key, "factor", s->factor, "a positive number");
    if (s->type == RLX_ROPE_LLAMA3 || s->type == RLX_ROPE_YARN)
        return check_ramp(s, key);
    if (s->type == RLX_ROPE_DYNAMIC && !(s->max_positions > 0))
        return refuse(key, "max_position_embeddings", s->max_positions, "above 0");
    if (s->type == RLX_ROPE_DYNAMIC && s->dim == 2)
        return refuse(key, "head_dim", 2, "more than 2 elements that rotate, as dynamic needs");
    return RLX_OK;
}

rlx_status rlx_rope_create(const rlx_rope_spec *spec, rlx_rope **out)
{
    const char *key = NULL;
    *out = NULL;
    RLX_TRY_NOTE(rlx_rope_check(spec, &key), "rope: %s", key);
    rlx_rope *r = calloc(1, sizeof(*r) + sizeof(float) * (size_t)spec->dim);
    if (!r)
        return RLX_OOM();
    r->spec = *spec;
    if (r->spec.beta_fast == 0)
        r->spec.beta_fast = 32;
    if (r->spec.beta_slow == 0)
        r->spec.beta_slow = 1;
    r->attention = 1;
    if (spec->type == RLX_ROPE_YARN)
        r->attention = (float)yarn_attention(&r->spec);
    if (spec->type == RLX_ROPE_LONGROPE)
        r->attention = (float)longrope_attention(&r->spec);
    fill_frequencies(&r->spec, (float)spec->theta, r->inv_freq);
    for (int64_t i = 0; spec->factors && i < spec->dim / 2; i++)
        r->inv_freq[i] /= spec->factors[i];
    r->spec.factors = r->spec.short_factor = r->spec.long_factor = NULL;
    *out = r;
    return RLX_OK;
}

void rlx_rope_destroy(rlx_rope *r)
{
    free(r);
}

int64_t rlx_rope_dim(const rlx_rope *r)
{
    return r->spec.dim;
}

float rlx_rope_attention(const rlx_rope *r)
{
    return r->attention;
}

float rlx_rope_frequency(const rlx_rope *r, int64_t i)
{
    return r->inv_freq[i];
}

int64_t rlx_rope_turn(const rlx_rope *r)
{
    return r->spec.type == RLX_ROPE_LONGROPE ? (int64_t)r->spec.original : 0;
}

/* The inverse frequency of pair i for sequences of that length. */
static float frequency_for(const rlx_rope *r, int64_t length, int64_t i)
{
    if (r->spec.type == RLX_ROPE_DYNAMIC && (double)length > r->spec.max_positions)
        return frequency_of(dynamic_theta(&r->spec, length), i, r->spec.dim);
    const bool is_long = r->spec.type == RLX_ROPE_LONGROPE && (double)length > r->spec.original;
    return r->inv_freq[is_long ? r->spec.dim / 2 + i : i];
}

rlx_status rlx_rope_frequencies(const rlx_rope_spec *spec, int64_t length, float *freqs,
                                double *amplitude)
{
    rlx_rope *r;
    RLX_TRY(rlx_rope_create(spec, &r));
    for (int64_t i = 0; i < spec->dim / 2; i++)
        freqs[i] = frequency_for(r, length, i);
    *amplitude = r->attention;
    rlx_rope_destroy(r);
    return RLX_OK;
}

void rlx_rope_tables_for_length(const rlx_rope *r, int64_t length, const int32_t *pos, int64_t n,
                                float *cos_out, float *sin_out)
{
    const int64_t half = r->spec.dim / 2;
    for (int64_t i = 0; i < half; i++) {
        const float inv = frequency_for(r, length, i);
        for (int64_t t = 0; t < n; t++) {
            const float angle = inv * (float)pos[t];
            cos_out[t * half + i] = (float)cos(angle) * r->attention;
            sin_out[t * half + i] = (float)sin(angle) * r->attention;
        }
    }
}

void rlx_rope_tables(const rlx_rope *r, const int32_t *pos, int64_t n, float *cos_out,
                     float *sin_out)
{
    int64_t length = 0;
    for (int64_t t = 0; t < n; t++)
        if (pos[t] >= length)
            length = (int64_t)pos[t] + 1;
    rlx_rope_tables_for_length(r, length, pos, n, cos_out, sin_out);
}
