/* models/config.c: reading config.json, one key at a time. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "models/families.h"

static const cJSON *get(const cJSON *config, const char *key)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(config, key);
    return v && !cJSON_IsNull(v) ? v : NULL;
}

const char *rlx_config_name(const cJSON *config, const char *key, bool whole,
                            char out[RLX_CONFIG_NAME_CHARS])
{
    const char *arch =
        cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(config, RLX_CONFIG_GGUF));
    const char *suffix = arch ? rlx_gguf_suffix_of(key) : NULL;
    const char *file = !whole ? "" : suffix ? "metadata " : "config.json: ";
    if (suffix && strncmp(suffix, "tokenizer.", 10) != 0) /* those are of no architecture */
        snprintf(out, RLX_CONFIG_NAME_CHARS, "%s%.32s.%s", file, arch, suffix);
    else
        snprintf(out, RLX_CONFIG_NAME_CHARS, "%s%s", file, suffix ? suffix : key);
    return out;
}

/* "config.json: KEY is VALUE, WANTED" */
static rlx_status wrong(const cJSON *config, const char *key, const cJSON *v, const char *wanted)
{
    char *text = cJSON_PrintUnformatted(v);
    rlx_status st = RLX_FAIL(RLX_INVALID_FILE, "%s is %.80s, %s", CONFIG_NAME(config, key),
                             text ? text : "?", wanted);
    cJSON_free(text);
    return st;
}

static rlx_status out_of_range(const cJSON *config, const char *key, const cJSON *v, int64_t min,
                               int64_t max)
{
    char wanted[64];
    snprintf(wanted, sizeof wanted, "out of range: %lld to %lld", (long long)min, (long long)max);
    return wrong(config, key, v, wanted);
}

bool rlx_config_has(const cJSON *config, const char *key)
{
    return get(config, key) != NULL;
}

bool rlx_config_is_null(const cJSON *config, const char *key)
{
    return cJSON_IsNull(cJSON_GetObjectItemCaseSensitive(config, key));
}

rlx_status rlx_config_get_int(const cJSON *config, const char *key, int64_t min, int64_t max,
                              int64_t absent, int64_t *out)
{
    const cJSON *v = get(config, key);
    *out = absent;
    if (!v && absent == RLX_CONFIG_REQUIRED)
        return RLX_FAIL(RLX_INVALID_FILE, "%s is missing", CONFIG_NAME(config, key));
    if (!v)
        return RLX_OK;
    if (!cJSON_IsNumber(v) || v->valuedouble != floor(v->valuedouble))
        return wrong(config, key, v, "not a whole number");
    if (v->valuedouble < (double)min || v->valuedouble > (double)max)
        return out_of_range(config, key, v, min, max);
    *out = (int64_t)v->valuedouble;
    return RLX_OK;
}

rlx_status rlx_config_get_real(const cJSON *config, const char *key, double absent, double *out)
{
    const cJSON *v = get(config, key);
    *out = v ? v->valuedouble : absent;
    return !v || cJSON_IsNumber(v) ? RLX_OK : wrong(config, key, v, "not a number");
}

rlx_status rlx_config_get_bool(const cJSON *config, const char *key, bool absent, bool *out)
{
    const cJSON *v = get(config, key);
    *out = v ? cJSON_IsTrue(v) : absent;
    return !v || cJSON_IsBool(v) ? RLX_OK : wrong(config, key, v, "not true or false");
}

rlx_status rlx_config_get_text(const cJSON *config, const char *key, const char *absent,
                               const char **out)
{
    const cJSON *v = get(config, key);
    *out = v ? v->valuestring : absent;
    return !v || cJSON_IsString(v) ? RLX_OK : wrong(config, key, v, "not a string");
}

static rlx_status add_eos(const cJSON *config, const cJSON *v, rlx_model_config *out)
{
    static const char key[] = "eos_token_id";
    if (!cJSON_IsNumber(v) || v->valuedouble != floor(v->valuedouble))
        return wrong(config, key, v, "not a token id");
    if (v->valuedouble < 0 || v->valuedouble >= (double)out->vocab)
        return out_of_range(config, key, v, 0, out->vocab - 1);
    if (out->neos == RLX_MAX_EOS)
        return RLX_FAIL(RLX_UNSUPPORTED, "%s lists more than %d ids", CONFIG_NAME(config, key),
                        RLX_MAX_EOS);
    out->eos[out->neos++] = (int32_t)v->valuedouble;
    return RLX_OK;
}

rlx_status rlx_config_get_ends(const cJSON *config, rlx_model_config *out)
{
    int64_t bos;
    RLX_TRY(rlx_config_get_int(config, "bos_token_id", 0, out->vocab - 1, -1, &bos));
    out->bos = (int32_t)bos;
    out->neos = 0;
    const cJSON *eos = get(config, "eos_token_id");
    if (!cJSON_IsArray(eos))
        return eos ? add_eos(config, eos, out) : RLX_OK;
    for (const cJSON *id = eos->child; id; id = id->next)
        RLX_TRY(add_eos(config, id, out));
    return RLX_OK;
}

/* ---- rotary positions ----------------------------------------------------------------------- */

static rlx_status get_rope_type(const cJSON *scaling, rlx_rope_type *out)
{
    static const struct {
        const char *name;
        rlx_rope_type type;
    } types[] = {{"default", RLX_ROPE_DEFAULT}, {"linear", RLX_ROPE_LINEAR},
                 {"llama3", RLX_ROPE_LLAMA3},   {"yarn", RLX_ROPE_YARN},
                 {"dynamic", RLX_ROPE_DYNAMIC}, {"longrope", RLX_ROPE_LONGROPE},
                 {"su", RLX_ROPE_LONGROPE}};
    const char *name;
    RLX_TRY(rlx_config_get_text(scaling, "type", "default", &name));
    RLX_TRY(rlx_config_get_text(scaling, "rope_type", name, &name));
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
        if (!strcmp(types[i].name, name)) {
            *out = types[i].type;
            if (*out == RLX_ROPE_YARN && rlx_config_has(scaling, "short_factor"))
                *out = RLX_ROPE_LONGROPE; /* its name in early files of Phi-3 */
            return RLX_OK;
        }
    return RLX_FAIL(RLX_UNSUPPORTED,
                    "%s \"%s\" (default, linear, llama3, yarn, dynamic and longrope are supported)",
                    CONFIG_NAME(scaling, "rope_type"), name);
}

static rlx_status refuse_nested(const cJSON *scaling)
{
    for (const cJSON *item = scaling ? scaling->child : NULL; item; item = item->next)
        if (cJSON_IsObject(item))
            return RLX_FAIL(RLX_UNSUPPORTED,
                            "config.json: rotary parameters nested by layer type (\"%s\")",
                            item->string);
    return RLX_OK;
}

/* How many elements of a head rotate: the share in the rotary parameters wins over the one outside.
 */
static rlx_status get_rope_dim(const cJSON *config, const cJSON *scaling, int64_t head_dim,
                               int64_t *out)
{
    double share;
    RLX_TRY(rlx_config_get_real(config, "partial_rotary_factor", 1, &share));
    RLX_TRY(rlx_config_get_real(scaling, "partial_rotary_factor", share, &share));
    if (!(share > 0) || share > 1)
        return RLX_FAIL(RLX_INVALID_FILE, "%s is %g, out of range: above 0, to 1",
                        CONFIG_NAME(config, "partial_rotary_factor"), share);
    *out = (int64_t)((double)head_dim * share);
    if (*out < 2 || *out % 2)
        return RLX_FAIL(
            RLX_INVALID_FILE, "%s: %lld rotating elements of heads of %lld make no rotary pairs",
            CONFIG_NAME(config, "partial_rotary_factor"), (long long)*out, (long long)head_dim);
    return RLX_OK;
}

/* A number that the type cannot do without. */
static rlx_status need_real(const cJSON *scaling, const char *key, double *out)
{
    if (!rlx_config_has(scaling, key))
        return RLX_FAIL(RLX_INVALID_FILE, "%s is missing in the rotary parameters",
                        CONFIG_NAME(scaling, key));
    return rlx_config_get_real(scaling, key, 0, out);
}

/* `n` numbers of a list. */
static rlx_status get_reals(const cJSON *scaling, const char *key, int64_t n, float *out)
{
    const cJSON *list = get(scaling, key);
    if (!list || !cJSON_IsArray(list) || cJSON_GetArraySize(list) != n)
        return RLX_FAIL(
            RLX_INVALID_FILE,
            "config.json: the rotary parameters' %s is no list of %lld numbers, one for "
            "each rotary pair",
            key, (long long)n);
    for (const cJSON *item = list->child; item; item = item->next) {
        if (!cJSON_IsNumber(item))
            return wrong(scaling, key, item, "not a number");
        *out++ = (float)item->valuedouble;
    }
    return RLX_OK;
}

static rlx_status get_longrope(const cJSON *scaling, rlx_rope_spec *out)
{
    const int64_t half = out->dim / 2;
    float *factors = malloc(sizeof *factors * (size_t)out->dim);
    out->short_factor = factors;
    if (!factors)
        return RLX_OOM();
    out->long_factor = factors + half;
    RLX_TRY(rlx_config_get_real(scaling, "factor", 0, &out->factor));
    RLX_TRY(rlx_config_get_real(scaling, "attention_factor", 0, &out->attention_factor));
    RLX_TRY(get_reals(scaling, "short_factor", half, factors));
    return get_reals(scaling, "long_factor", half, factors + half);
}

static rlx_status get_yarn(const cJSON *scaling, rlx_rope_spec *out)
{
    bool truncate;
    RLX_TRY(rlx_config_get_real(scaling, "beta_fast", 0, &out->beta_fast));
    RLX_TRY(rlx_config_get_real(scaling, "beta_slow", 0, &out->beta_slow));
    RLX_TRY(rlx_config_get_real(scaling, "mscale", 0, &out->mscale));
    RLX_TRY(rlx_config_get_real(scaling, "mscale_all_dim", 0, &out->mscale_all_dim));
    RLX_TRY(rlx_config_get_real(scaling, "attention_factor", 0, &out->attention_factor));
    RLX_TRY(rlx_config_get_bool(scaling, "truncate", true, &truncate));
    out->no_truncate = !truncate;
    return RLX_OK;
}

static rlx_status read_rope(const cJSON *config, int64_t head_dim, int64_t max_positions,
                            double absent_theta, rlx_rope_spec *out)
{
    const char *place = "rope_scaling";
    const cJSON *scaling = get(config, place);
    if (!scaling || (cJSON_IsObject(scaling) && !scaling->child)) {
        place = "rope_parameters";
        scaling = get(config, place);
    }
    *out = (rlx_rope_spec){.dim = head_dim, .max_positions = (double)max_positions};
    if (scaling && !cJSON_IsObject(scaling))
        return wrong(config, place, scaling, "not an object");
    RLX_TRY(refuse_nested(scaling));
    RLX_TRY(get_rope_dim(config, scaling, head_dim, &out->dim));
    RLX_TRY(rlx_config_get_real(config, "rope_theta", absent_theta, &out->theta));
    RLX_TRY(
        rlx_config_get_real(scaling, "rope_theta", out->theta, &out->theta)); /* this one wins */
    RLX_TRY(get_rope_type(scaling, &out->type));
    RLX_TRY(rlx_config_get_real(scaling, "original_max_position_embeddings", out->max_positions,
                                &out->original));
    RLX_TRY(rlx_config_get_real(config, "original_max_position_embeddings", out->original,
                                &out->original)); /* and here the one outside */
    if (out->type == RLX_ROPE_DEFAULT)
        return RLX_OK;
    if (out->type == RLX_ROPE_LONGROPE)
        return get_longrope(scaling, out);
    RLX_TRY(need_real(scaling, "factor", &out->factor));
    if (out->type == RLX_ROPE_LLAMA3) {
        RLX_TRY(need_real(scaling, "low_freq_factor", &out->low));
        RLX_TRY(need_real(scaling, "high_freq_factor", &out->high));
    }
    return out->type == RLX_ROPE_YARN ? get_yarn(scaling, out) : RLX_OK;
}

rlx_status rlx_config_get_rope(const cJSON *config, int64_t head_dim, int64_t max_positions,
                               double absent_theta, rlx_rope_spec *out)
{
    const char *key = NULL;
    RLX_TRY(read_rope(config, head_dim, max_positions, absent_theta, out));
    rlx_status st = rlx_rope_check(out, &key);
    if (!st)
        return RLX_OK;
    rlx_status named =
        RLX_FAIL(RLX_INVALID_FILE, "%s %s", CONFIG_NAME(config, key), rlx_status_message(st));
    rlx_status_free(st);
    return named;
}

void rlx_config_free_rope(rlx_rope_spec *spec)
{
    free((float *)(uintptr_t)spec->short_factor); /* one block with long_factor */
    spec->short_factor = spec->long_factor = NULL;
}
