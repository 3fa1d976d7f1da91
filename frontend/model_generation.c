/* frontend/model_generation.c: what a model's own files say about generating text: how to sample,
 * and which tokens end a text. */
#include <math.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "frontend/model.h"
#include "runtime/gguf_write.h"

/* Documented with rlx_model_get_sampling. */
static const rlx_sampling program_defaults = {.temperature = 0.8,
                                              .top_k = 40,
                                              .top_p = 0.95,
                                              .min_p = 0.05,
                                              .repeat_penalty = 1,
                                              .repeat_last_n = 64};

/* One of the values, by its names in the two kinds of file. */
typedef struct setting {
    const char *json, *gguf;
    double *real;
    int64_t *whole; /* in place of `real` */
} setting;

enum { NSETTINGS = 6 };

static void list_settings(rlx_sampling *s, setting out[NSETTINGS])
{
    const setting all[NSETTINGS] = {
        {"temperature", "general.sampling.temp", &s->temperature, NULL},
        {"top_k", "general.sampling.top_k", NULL, &s->top_k},
        {"top_p", "general.sampling.top_p", &s->top_p, NULL},
        {"min_p", "general.sampling.min_p", &s->min_p, NULL},
        {"repetition_penalty", "general.sampling.penalty_repeat", &s->repeat_penalty, NULL},
        {NULL, "general.sampling.penalty_last_n", NULL, &s->repeat_last_n},
    };
    memcpy(out, all, sizeof all);
}

static rlx_status store(const setting *k, const rlx_sampling *s, const char *name, double v)
{
    if (!isfinite(v) || (k->whole && (v != floor(v) || fabs(v) > 1e9)))
        return RLX_FAIL(RLX_INVALID_FILE, "%s is %g, no %snumber", name, v,
                        k->whole ? "whole " : "");
    if (k->real == &s->repeat_penalty && !(v > 0))
        return RLX_FAIL(RLX_INVALID_FILE, "%s is %g, not above 0", name, v);
    if (k->whole)
        *k->whole = (int64_t)v;
    else
        *k->real = v;
    return RLX_OK;
}

static rlx_status in_range(const rlx_sampling *s, const char *file)
{
    rlx_status st = rlx_sampling_check(s);
    if (!st)
        return RLX_OK;
    rlx_status bad = RLX_FAIL(RLX_INVALID_FILE, "%s: %s", file, rlx_status_message(st));
    rlx_status_free(st);
    return bad;
}

/* ---- generation_config.json */

/* Keys of other ways to choose, and the values that switch them off. */
static const struct {
    const char *key;
    double off;
} others[] = {{"num_beams", 1},        {"typical_p", 1},      {"no_repeat_ngram_size", 0},
              {"penalty_alpha", 0},    {"epsilon_cutoff", 0}, {"eta_cutoff", 0},
              {"diversity_penalty", 0}};

static void warn_of_others(const rlx_context *cx, const cJSON *json)
{
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        const cJSON *v = cJSON_GetObjectItemCaseSensitive(json, others[i].key);
        if (cJSON_IsNumber(v) && v->valuedouble != others[i].off)
            rlx_context_log(cx, RLX_LOG_WARNING,
                            "generation_config.json: %s %g is not offered when text is generated",
                            others[i].key, v->valuedouble);
    }
}

static rlx_status check_id(const rlx_model_config *c, const char *key, const cJSON *id)
{
    if (!cJSON_IsNumber(id) || id->valuedouble != id->valueint || id->valueint < 0)
        return RLX_FAIL(RLX_INVALID_FILE, "generation_config.json: %s has something else than ids",
                        key);
    if (id->valueint >= c->vocab)
        return RLX_FAIL(RLX_INVALID_FILE,
                        "generation_config.json: %s %d, and the vocabulary has %lld tokens", key,
                        id->valueint, (long long)c->vocab);
    return RLX_OK;
}

static rlx_status read_ends(const cJSON *v, rlx_model_config *out)
{
    int n = cJSON_IsArray(v) ? cJSON_GetArraySize(v) : 1;
    if (n > RLX_MAX_EOS)
        return RLX_FAIL(RLX_UNSUPPORTED, "generation_config.json: eos_token_id lists more than %d",
                        RLX_MAX_EOS);
    for (int i = 0; i < n; i++) {
        const cJSON *id = cJSON_IsArray(v) ? cJSON_GetArrayItem(v, i) : v;
        RLX_TRY(check_id(out, "eos_token_id", id));
        out->eos[i] = id->valueint;
    }
    out->neos = n;
    return RLX_OK;
}

static rlx_status read_sampling(const cJSON *json, rlx_sampling *s)
{
    setting settings[NSETTINGS];
    const cJSON *sample = cJSON_GetObjectItemCaseSensitive(json, "do_sample");
    list_settings(s, settings);
    for (int i = 0; i < NSETTINGS; i++) {
        const char *key = settings[i].json;
        const cJSON *v = key ? cJSON_GetObjectItemCaseSensitive(json, key) : NULL;
        if (v && !cJSON_IsNull(v) && !cJSON_IsNumber(v))
            return RLX_FAIL(RLX_INVALID_FILE, "generation_config.json: %s is no number", key);
        if (cJSON_IsNumber(v))
            RLX_TRY_NOTE(store(&settings[i], s, key, v->valuedouble), "generation_config.json");
    }
    if (sample && !cJSON_IsBool(sample) && !cJSON_IsNull(sample))
        return RLX_FAIL(RLX_INVALID_FILE, "generation_config.json: do_sample is not true or false");
    if (cJSON_IsFalse(sample))
        s->temperature = 0;
    if (cJSON_IsNumber(cJSON_GetObjectItemCaseSensitive(json, "repetition_penalty")))
        s->repeat_last_n = -1; /* of the whole text, as the reference does */
    return in_range(s, "generation_config.json");
}

rlx_status rlx_model_read_generation(const rlx_context *cx, rlx_model *m, const cJSON *json)
{
    m->sampling = program_defaults;
    if (!json)
        return RLX_OK;
    if (!cJSON_IsObject(json))
        return RLX_FAIL(RLX_INVALID_FILE, "generation_config.json is no object");
    const cJSON *eos = cJSON_GetObjectItemCaseSensitive(json, "eos_token_id");
    const cJSON *bos = cJSON_GetObjectItemCaseSensitive(json, "bos_token_id");
    if (eos && !cJSON_IsNull(eos))
        RLX_TRY(read_ends(eos, &m->config));
    if (bos && !cJSON_IsNull(bos)) {
        RLX_TRY(check_id(&m->config, "bos_token_id", bos));
        m->config.bos = bos->valueint;
    }
    warn_of_others(cx, json);
    return read_sampling(json, &m->sampling);
}

/* ---- GGUF */

/* Ends of a turn or a message have keys of their own; older files name them by their texts only. */
static rlx_status add_ends(rlx_model *m, const rlx_gguf *f)
{
    static const char *const keys[] = {"tokenizer.ggml.eot_token_id",
                                       "tokenizer.ggml.eom_token_id"};
    static const char *const texts[] = {"<|eot_id|>", "<|im_end|>", "<|endoftext|>",
                                        "<|end_of_text|>", "<|eom_id|>"};
    int32_t ids[7];
    int n = 0;
    for (size_t i = 0; i < 2; i++) {
        const rlx_gguf_value *v = rlx_gguf_find(f, keys[i]);
        int64_t id = -1;
        if (v && (!rlx_gguf_int(v, &id) || id < -1 || id > UINT32_MAX))
            return RLX_FAIL(RLX_INVALID_FILE, "metadata %s is no token id", keys[i]);
        ids[n++] = id > INT32_MAX ? -1 : (int32_t)id;
    }
    for (size_t i = 0; i < 5; i++) {
        int32_t id = m->tokenizer ? rlx_tokenizer_find(m->tokenizer, texts[i]) : -1;
        ids[n++] = id >= 0 && rlx_tokenizer_is_special(m->tokenizer, id) ? id : -1;
    }
    rlx_model_config *c = &m->config;
    for (int i = 0; i < n; i++) {
        bool known = ids[i] < 0;
        for (int k = 0; k < c->neos; k++)
            known |= c->eos[k] == ids[i];
        if (!known && c->neos < RLX_MAX_EOS)
            c->eos[c->neos++] = ids[i];
    }
    return RLX_OK;
}

void rlx_model_put_sampling(const rlx_sampling *s, rlx_gguf_head *h)
{
    rlx_sampling is = *s, normal = program_defaults;
    setting given[NSETTINGS], absent[NSETTINGS];
    list_settings(&is, given);
    list_settings(&normal, absent);
    for (int i = 0; i < NSETTINGS; i++)
        if (given[i].whole && *given[i].whole != *absent[i].whole)
            rlx_gguf_put_int(h, given[i].gguf, RLX_GGUF_I32, *given[i].whole);
        else if (given[i].real && *given[i].real != *absent[i].real)
            rlx_gguf_put_real(h, given[i].gguf, (float)*given[i].real);
}

rlx_status rlx_model_read_generation_gguf(const rlx_context *cx, rlx_model *m, const rlx_gguf *f)
{
    static const char prefix[] = "general.sampling.";
    setting settings[NSETTINGS];
    m->sampling = program_defaults;
    list_settings(&m->sampling, settings);
    for (int i = 0; i < rlx_gguf_value_count(f); i++) {
        const rlx_gguf_value *v = rlx_gguf_value_at(f, i);
        const setting *k = NULL;
        double real;
        if (strncmp(v->key, prefix, sizeof prefix - 1) != 0)
            continue;
        for (int j = 0; j < NSETTINGS; j++)
            if (!strcmp(settings[j].gguf, v->key))
                k = &settings[j];
        if (k && !rlx_gguf_real(v, &real))
            return RLX_FAIL(RLX_INVALID_FILE, "metadata %s is no number", v->key);
        if (k)
            RLX_TRY_NOTE(store(k, &m->sampling, v->key, real), "metadata");
        else
            rlx_context_log(cx, RLX_LOG_WARNING,
                            "metadata %s is not offered when text is generated", v->key);
    }
    RLX_TRY(in_range(&m->sampling, "metadata general.sampling"));
    return add_ends(m, f);
}
