/* models/gguf_write.c: the way back from models/gguf.c: a decoder's config as a GGUF file's
 * metadata, and what its tensors become there. What such files cannot say is refused by its key. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "models/decoder.h"
#include "models/names.h"
#include "runtime/base/text.h"
#include "runtime/gguf_write.h"

static const struct arch {
    const char *model_type, *name;
    bool interleaved; /* rows of q and k are stored for rotary pairs 2i, 2i + 1 */
    bool fused;       /* q, k and v are one matrix, gate and up another */
    rlx_decoder_describe *describe;
} archs[] = {{"llama", "llama", true, false, rlx_llama_describe},
             {"mistral", "llama", true, false, rlx_mistral_describe},
             {"phi3", "phi3", false, true, rlx_phi3_describe},
             {"qwen2", "qwen2", false, false, rlx_qwen2_describe},
             {"qwen3", "qwen3", false, false, rlx_qwen3_describe},
             {"smollm3", "smollm3", true, false, rlx_smollm3_describe}};
enum { ARCHS = sizeof archs / sizeof *archs };

enum { NOPE_STEP = 4 }; /* of SmolLM3 as every reader of such files takes it */

const char *rlx_gguf_arch_of(const char *model_type, bool *interleaved)
{
    *interleaved = false;
    for (int i = 0; i < ARCHS; i++)
        if (!strcmp(archs[i].model_type, model_type)) {
            *interleaved = archs[i].interleaved;
            return archs[i].name;
        }
    return NULL;
}

typedef struct writer {
    const struct arch *arch;
    const rlx_decoder *d;
    rlx_gguf_head *head;
    rlx_family_gguf *out;
} writer;

/* ---- metadata ------------------------------------------------------------------------------- */

typedef enum value_kind { WHOLE, REAL, TEXT, FLAGS } value_kind;

/* ARCH.suffix */
static rlx_status put(const writer *w, const char *suffix, value_kind kind, double v,
                      const char *text)
{
    rlx_text key = {0};
    rlx_text_putf(&key, "%s.%s", w->arch->name, suffix);
    if (!key.oom && kind == WHOLE)
        rlx_gguf_put_int(w->head, key.data, RLX_GGUF_U32, (int64_t)v);
    else if (!key.oom && kind == REAL)
        rlx_gguf_put_real(w->head, key.data, (float)v);
    else if (!key.oom && kind == TEXT)
        rlx_gguf_put_text(w->head, key.data, text);
    else if (!key.oom)
        rlx_gguf_put_array(w->head, key.data, RLX_GGUF_BOOL, (uint64_t)v);
    rlx_status st = key.oom ? RLX_OOM() : RLX_OK;
    rlx_text_deinit(&key);
    return st;
}

static rlx_status put_whole(const writer *w, const char *suffix, int64_t v)
{
    return put(w, suffix, WHOLE, (double)v, NULL);
}

static rlx_status put_real(const writer *w, const char *suffix, double v)
{
    return put(w, suffix, REAL, v, NULL);
}

static rlx_status put_sizes(const writer *w)
{
    const rlx_decoder *d = w->d;
    RLX_TRY(put_whole(w, "context_length", d->max_positions));
    RLX_TRY(put_whole(w, "embedding_length", d->hidden));
    RLX_TRY(put_whole(w, "feed_forward_length", d->inner));
    RLX_TRY(put_whole(w, "block_count", d->layers));
    RLX_TRY(put_whole(w, "vocab_size", d->vocab));
    RLX_TRY(put_whole(w, "attention.head_count", d->heads));
    RLX_TRY(put_whole(w, "attention.head_count_kv", d->kv_heads));
    RLX_TRY(put_whole(w, "attention.key_length", d->head_dim));
    RLX_TRY(put_whole(w, "attention.value_length", d->head_dim));
    return put_real(w, "attention.layer_norm_rms_epsilon", d->eps);
}

/* A window, and which layers have it when not all do. */
static rlx_status put_window(const writer *w)
{
    const rlx_decoder *d = w->d;
    int64_t sliding = 0;
    for (int64_t i = 0; i < d->layers; i++)
        sliding += d->layer[i].sliding;
    if (!sliding) /* files of phi3 have the key all the same */
        return w->arch->fused ? put_whole(w, "attention.sliding_window", 0) : RLX_OK;
    RLX_TRY(put_whole(w, "attention.sliding_window", d->window));
    if (sliding == d->layers)
        return RLX_OK;
    RLX_TRY(put(w, "attention.sliding_window_pattern", FLAGS, (double)d->layers, NULL));
    for (int64_t i = 0; i < d->layers; i++)
        rlx_gguf_put_element_int(w->head, RLX_GGUF_BOOL, d->layer[i].sliding);
    return RLX_OK;
}

/* Readers know which layers of an architecture do not rotate. */
static rlx_status check_rotations(const writer *w)
{
    const bool some = !strcmp(w->arch->name, "smollm3");
    for (int64_t i = 0; i < w->d->layers; i++)
        if (w->d->layer[i].no_rope != (some && (i + 1) % NOPE_STEP == 0))
            return RLX_FAIL(RLX_UNSUPPORTED,
                            "config.json: no_rope_layers: layer %lld %s, and GGUF files cannot say "
                            "so: in theirs every %dth layer does not",
                            (long long)i, w->d->layer[i].no_rope ? "does not rotate" : "rotates",
                            NOPE_STEP);
    return RLX_OK;
}

/* ---- rotary positions ----------------------------------------------------------------------- */

/* Numbers for the file, `n` of them; NULL when out of memory, which is an error, too. */
static rlx_status add_factors(const writer *w, const char *name, int64_t n, float **values)
{
    rlx_family_rope_factors *f = &w->out->factors[w->out->nfactors];
    *f = (rlx_family_rope_factors){name, malloc((size_t)n * sizeof *f->values), n};
    *values = f->values;
    if (!f->values)
        return RLX_OOM();
    w->out->nfactors++;
    return RLX_OK;
}

/* The float by which `plain` is to be divided for `wanted`: readers round the quotient. */
static float divisor_of(float plain, float wanted)
{
    enum { NEAR = 2 };
    float f = plain / wanted;
    const float first = f;
    for (int i = 0; i < NEAR; i++)
        f = nextafterf(f, 0);
    for (int i = 0; i <= 2 * NEAR; i++, f = nextafterf(f, INFINITY))
        if (plain / f == wanted)
            return f;
    return first;
}

/* Llama 3's frequencies, which GGUF files keep as divisors of the plain ones. */
static rlx_status put_llama3(const writer *w)
{
    const rlx_rope_spec *r = &w->d->rope;
    const rlx_rope_spec plain = {.dim = r->dim, .theta = r->theta};
    rlx_rope *from = NULL, *to = NULL;
    float *values = NULL;
    rlx_status st = add_factors(w, RLX_ROPE_FACTORS, r->dim / 2, &values);
    if (!st)
        st = rlx_rope_create(&plain, &from);
    if (!st)
        st = rlx_rope_create(r, &to);
    for (int64_t i = 0; !st && i < r->dim / 2; i++)
        values[i] = divisor_of(rlx_rope_frequency(from, i), rlx_rope_frequency(to, i));
    rlx_rope_destroy(from);
    rlx_rope_destroy(to);
    return st;
}

static rlx_status put_scaling(const writer *w, const char *type)
{
    RLX_TRY(put(w, "rope.scaling.type", TEXT, 0, type));
    return put_real(w, "rope.scaling.factor", w->d->rope.factor);
}

/* What cosines and sines are multiplied by is in the file a part of what it is without any. */
static rlx_status put_yarn_attention(const writer *w)
{
    const rlx_rope_spec *r = &w->d->rope;
    const double usual = rlx_gguf_yarn_attention(r->factor);
    rlx_rope *rope;
    if (!r->attention_factor && !(r->mscale && r->mscale_all_dim))
        return RLX_OK;
    RLX_TRY(rlx_rope_create(r, &rope));
    const float wanted = rlx_rope_attention(rope);
    rlx_rope_destroy(rope);
    float f = (float)(wanted / usual);
    f = nextafterf(f, 0);
    for (int i = 0; i < 3 && (float)(f * usual) < wanted; i++)
        f = nextafterf(f, INFINITY);
    return put_real(w, "rope.scaling.yarn_attn_factor", f);
}

static rlx_status put_yarn(const writer *w)
{
    const rlx_rope_spec *r = &w->d->rope;
    if (r->no_truncate)
        return RLX_FAIL(RLX_UNSUPPORTED, "config.json: truncate is false in the rotary parameters, "
                                         "and GGUF files cannot say so");
    RLX_TRY(put_scaling(w, "yarn"));
    RLX_TRY(put_whole(w, "rope.scaling.original_context_length", (int64_t)r->original));
    if (r->beta_fast)
        RLX_TRY(put_real(w, "rope.scaling.yarn_beta_fast", r->beta_fast));
    if (r->beta_slow)
        RLX_TRY(put_real(w, "rope.scaling.yarn_beta_slow", r->beta_slow));
    return put_yarn_attention(w);
}

static rlx_status put_longrope(const writer *w)
{
    const rlx_rope_spec *r = &w->d->rope;
    const size_t bytes = (size_t)(r->dim / 2) * sizeof(float);
    float *far = NULL, *near = NULL;
    rlx_rope *rope;
    RLX_TRY(add_factors(w, RLX_ROPE_FACTORS_LONG, r->dim / 2, &far));
    memcpy(far, r->long_factor, bytes);
    RLX_TRY(add_factors(w, RLX_ROPE_FACTORS_SHORT, r->dim / 2, &near));
    memcpy(near, r->short_factor, bytes);
    RLX_TRY(put(w, "rope.scaling.type", TEXT, 0, "longrope"));
    RLX_TRY(put_whole(w, "rope.scaling.original_context_length", (int64_t)r->original));
    RLX_TRY(rlx_rope_create(r, &rope));
    const float attention = rlx_rope_attention(rope);
    rlx_rope_destroy(rope);
    return put_real(w, "rope.scaling.attn_factor", attention);
}

static rlx_status put_rope(const writer *w)
{
    const rlx_rope_spec *r = &w->d->rope;
    RLX_TRY(put_real(w, "rope.freq_base", r->theta));
    RLX_TRY(put_whole(w, "rope.dimension_count", r->dim));
    switch (r->type) {
    case RLX_ROPE_DEFAULT:
        return RLX_OK;
    case RLX_ROPE_LINEAR:
        return put_scaling(w, "linear");
    case RLX_ROPE_LLAMA3:
        return put_llama3(w);
    case RLX_ROPE_YARN:
        return put_yarn(w);
    case RLX_ROPE_LONGROPE:
        return put_longrope(w);
    case RLX_ROPE_DYNAMIC:
        break;
    }
    return RLX_FAIL(RLX_UNSUPPORTED, "config.json: rope_type \"dynamic\": GGUF files cannot say "
                                     "so");
}

/* ---- the config ----------------------------------------------------------------------------- */

static rlx_status write_all(const writer *w)
{
    const rlx_decoder *d = w->d;
    if (!d->has_head)
        return RLX_FAIL(RLX_UNSUPPORTED, "config.json: architectures: a model without a head is "
                                         "not written to GGUF files");
    rlx_gguf_put_text(w->head, "general.architecture", w->arch->name);
    w->out->arch = w->arch->name;
    w->out->fused = w->arch->fused;
    w->out->rotary = w->arch->interleaved && !d->interleaved ? d->rope.dim : 0;
    RLX_TRY(put_sizes(w));
    RLX_TRY(put_window(w));
    RLX_TRY(check_rotations(w));
    return put_rope(w);
}

static rlx_status find_arch(const cJSON *config, const struct arch **out)
{
    const char *type = "?";
    RLX_TRY(rlx_config_get_text(config, "model_type", "none", &type));
    for (int i = 0; i < ARCHS; i++)
        if (!strcmp(archs[i].model_type, type)) {
            *out = &archs[i];
            return RLX_OK;
        }
    rlx_text known = {0};
    for (int i = 0; i < ARCHS; i++)
        rlx_text_putf(&known, "%s%s", i ? ", " : "", archs[i].model_type);
    rlx_status st = RLX_FAIL(RLX_UNSUPPORTED,
                             "config.json: model_type \"%s\" is not written to GGUF files yet (%s "
                             "are)",
                             type, known.data ? known.data : "");
    rlx_text_deinit(&known);
    return st;
}

rlx_status rlx_family_write_gguf(const cJSON *config, rlx_gguf_head *head, rlx_family_gguf *out)
{
    rlx_decoder d = {0};
    writer w = {.d = &d, .head = head, .out = out};
    *out = (rlx_family_gguf){0};
    RLX_TRY(find_arch(config, &w.arch));
    rlx_status st = w.arch->describe(&d, config);
    if (!st)
        st = write_all(&w);
    rlx_decoder_deinit(&d);
    if (st)
        rlx_family_gguf_deinit(out);
    return st;
}

void rlx_family_gguf_deinit(rlx_family_gguf *g)
{
    for (int i = 0; i < g->nfactors; i++)
        free(g->factors[i].values);
    *g = (rlx_family_gguf){0};
}
