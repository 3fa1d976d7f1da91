/* models/gguf_write.c: the way back from models/gguf.c: config.json as a GGUF file's metadata, and
 * the names that its tensors have there. What such metadata cannot say is refused by its key. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "models/families.h"
#include "runtime/gguf_write.h"

static const struct {
    const char *model_type, *arch;
    bool interleaved; /* rows of q and k are stored for rotary pairs 2i, 2i + 1 */
} archs[] = {{"llama", "llama", true},
             {"mistral", "llama", true},
             {"qwen2", "qwen2", false},
             {"qwen3", "qwen3", false}};
enum { ARCHS = sizeof archs / sizeof *archs };

typedef enum key_kind { KEY_INT, KEY_REAL, KEY_HANDLED, KEY_LABEL } key_kind;

static const struct {
    const char *suffix, *config;
    key_kind kind;
} keys[] = {
#define KEY(suffix, config, kind) {suffix, config, KEY_##kind},
#include "models/gguf_keys.def"
#undef KEY
};

static rlx_status put(rlx_gguf_head *head, const char *arch, const char *suffix, bool whole,
                      double v)
{
    rlx_text key = {0};
    rlx_text_putf(&key, "%s.%s", arch, suffix);
    if (!key.oom && whole)
        rlx_gguf_put_int(head, key.data, RLX_GGUF_U32, (int64_t)v);
    else if (!key.oom)
        rlx_gguf_put_real(head, key.data, (float)v);
    rlx_status st = key.oom ? RLX_OOM() : RLX_OK;
    rlx_text_deinit(&key);
    return st;
}

static rlx_status put_values(const cJSON *config, const char *arch, rlx_gguf_head *head)
{
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        if ((keys[i].kind != KEY_INT && keys[i].kind != KEY_REAL) ||
            !strcmp(keys[i].config, "rope_theta")) /* put_rope */
            continue;
        bool whole = keys[i].kind == KEY_INT;
        int64_t n = 0;
        double v = 0;
        if (!rlx_config_has(config, keys[i].config))
            continue;
        if (whole)
            RLX_TRY(rlx_config_get_int(config, keys[i].config, 0, UINT32_MAX, 0, &n));
        else
            RLX_TRY(rlx_config_get_real(config, keys[i].config, 0, &v));
        RLX_TRY(put(head, arch, keys[i].suffix, whole, whole ? (double)n : v));
    }
    return RLX_OK;
}

/* Keys that change what is computed, and have no metadata here. */
static rlx_status check_keys(const cJSON *config, const char *model_type)
{
    static const char *const refused[] = {"sliding_window", "quantization_config"};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        bool slides = strcmp(refused[i], "sliding_window") == 0, used = true;
        if (slides)
            RLX_TRY(rlx_config_get_bool(config, "use_sliding_window", true, &used));
        if (rlx_config_has(config, refused[i]) && used)
            return RLX_FAIL(RLX_UNSUPPORTED, "config.json: %s is not written to GGUF files yet",
                            refused[i]);
    }
    if (!strcmp(model_type, "mistral") && !rlx_config_is_null(config, "sliding_window"))
        return RLX_FAIL(RLX_UNSUPPORTED,
                        "config.json: sliding_window is missing, which is one of 4096, and is not "
                        "written to GGUF files yet (null is none)");
    return RLX_OK;
}

/* ---- rotary positions ---- */

/* Llama 3's divisors of frequencies, which GGUF files keep as a tensor: 1 for waves of fewer than
 * original / high positions, `factor` for such of more than original / low, and between. */
static rlx_status make_factors(const rlx_rope_spec *r, rlx_family_rope_factors *out)
{
    out->n = r->dim / 2;
    out->values = malloc((size_t)out->n * sizeof *out->values);
    if (!out->values)
        return RLX_OOM();
    for (int64_t i = 0; i < out->n; i++) {
        double wave = 2 * acos(-1) * pow(r->theta, 2.0 * (double)i / (double)r->dim);
        double share = (r->original / wave - r->low) / (r->high - r->low);
        share = share < 0 ? 0 : share > 1 ? 1 : share;
        out->values[i] = (float)(1 / ((1 - share) / r->factor + share));
    }
    return RLX_OK;
}

static rlx_status put_scaling(rlx_gguf_head *head, const char *arch, const char *type,
                              const rlx_rope_spec *r)
{
    rlx_text key = {0};
    rlx_text_putf(&key, "%s.rope.scaling.type", arch);
    if (!key.oom)
        rlx_gguf_put_text(head, key.data, type);
    rlx_status st = key.oom ? RLX_OOM() : RLX_OK;
    rlx_text_deinit(&key);
    if (!st)
        st = put(head, arch, "rope.scaling.factor", false, r->factor);
    if (!st && r->type == RLX_ROPE_YARN)
        st = put(head, arch, "rope.scaling.original_context_length", true, r->original);
    return st;
}

static rlx_status put_rope_spec(const rlx_rope_spec *r, int64_t head_dim, const char *arch,
                                rlx_gguf_head *head, rlx_family_rope_factors *factors)
{
    bool plain_yarn = !r->beta_fast && !r->beta_slow && !r->mscale && !r->mscale_all_dim &&
                      !r->attention_factor && !r->no_truncate;
    RLX_TRY(put(head, arch, "rope.freq_base", false, r->theta));
    if (r->dim != head_dim)
        return RLX_FAIL(RLX_UNSUPPORTED, "config.json: partial_rotary_factor is not written to "
                                         "GGUF files yet");
    RLX_TRY(put(head, arch, "rope.dimension_count", true, (double)r->dim));
    if (r->type == RLX_ROPE_DEFAULT)
        return RLX_OK;
    if (r->type == RLX_ROPE_LINEAR)
        return put_scaling(head, arch, "linear", r);
    if (r->type == RLX_ROPE_YARN && plain_yarn)
        return put_scaling(head, arch, "yarn", r);
    if (r->type == RLX_ROPE_LLAMA3)
        return make_factors(r, factors);
    return RLX_FAIL(RLX_UNSUPPORTED, "config.json: rotary scaling of this kind is not written to "
                                     "GGUF files yet (linear, llama3 and plain yarn are)");
}

static rlx_status put_rope(const cJSON *config, const char *arch, rlx_gguf_head *head,
                           rlx_family_rope_factors *factors)
{
    enum { MOST = 1 << 24 };
    int64_t hidden = 0, heads = 1, head_dim = 0, positions = 0;
    rlx_rope_spec r = {0};
    RLX_TRY(rlx_config_get_int(config, "hidden_size", 1, MOST, RLX_CONFIG_REQUIRED, &hidden));
    RLX_TRY(
        rlx_config_get_int(config, "num_attention_heads", 1, MOST, RLX_CONFIG_REQUIRED, &heads));
    RLX_TRY(rlx_config_get_int(config, "head_dim", 2, MOST, hidden / heads, &head_dim));
    RLX_TRY(rlx_config_get_int(config, "max_position_embeddings", 1, INT32_MAX, 2048, &positions));
    RLX_TRY(put(head, arch, "attention.value_length", true, (double)head_dim));
    rlx_status st = rlx_config_get_rope(config, head_dim, positions, 10000, &r);
    if (!st)
        st = put_rope_spec(&r, head_dim, arch, head, factors);
    rlx_config_free_rope(&r);
    return st;
}

rlx_status rlx_family_write_gguf(const cJSON *config, rlx_gguf_head *head, bool *interleaved,
                                 rlx_family_rope_factors *factors)
{
    const char *type = "?";
    size_t i = 0;
    RLX_TRY(rlx_config_get_text(config, "model_type", "none", &type));
    while (i < ARCHS && strcmp(archs[i].model_type, type))
        i++;
    if (i == ARCHS)
        return RLX_FAIL(RLX_UNSUPPORTED,
                        "config.json: model_type \"%s\" is not written to GGUF files yet (llama, "
                        "mistral, qwen2 and qwen3 are)",
                        type);
    RLX_TRY(check_keys(config, type));
    rlx_gguf_put_text(head, "general.architecture", archs[i].arch);
    *interleaved = archs[i].interleaved;
    RLX_TRY(put_values(config, archs[i].arch, head));
    return put_rope(config, archs[i].arch, head, factors);
}

/* The digits that stand for "{}" in `pattern`; NULL: the name does not follow it. */
static const char *match(const char *pattern, const char *name, size_t *digits)
{
    const char *hole = strstr(pattern, "{}");
    *digits = 0;
    if (!hole)
        return strcmp(pattern, name) ? NULL : name;
    size_t before = (size_t)(hole - pattern);
    if (strncmp(pattern, name, before))
        return NULL;
    *digits = strspn(name + before, "0123456789");
    return *digits && !strcmp(name + before + *digits, hole + 2) ? name + before : NULL;
}

rlx_status rlx_family_gguf_name(const char *name, rlx_text *out)
{
    static const struct {
        const char *gguf, *ours;
    } names[] = {
#define TENSOR(gguf, ours) {gguf, ours},
#define TENSOR_OF(arch, gguf, ours)
#include "models/gguf_names.def"
#undef TENSOR
#undef TENSOR_OF
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        size_t digits;
        const char *layer = match(names[i].ours, name, &digits);
        const char *hole = strstr(names[i].gguf, "{}");
        if (!layer)
            continue;
        if (hole)
            rlx_text_putf(out, "%.*s%.*s%s", (int)(hole - names[i].gguf), names[i].gguf,
                          (int)digits, layer, hole + 2);
        else
            rlx_text_put(out, names[i].gguf);
        return out->oom ? RLX_OOM() : RLX_OK;
    }
    return RLX_FAIL(RLX_UNSUPPORTED, "tensor '%s' has no name in GGUF files", name);
}
