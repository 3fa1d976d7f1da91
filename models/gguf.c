/* models/gguf.c: a GGUF file's metadata as the config.json that its family reads, and its tensors
 * under the names that the family looks for. So a family knows one kind of checkpoint.
 *
 *   general.architecture, ARCH.* --gguf_keys.def--> config        blk.0.attn_q.weight
 * --gguf_names.def--> name
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "models/names.h"
#include "runtime/gguf.h"

enum { MAX_LAYERS = 4096 };

/* Architectures by their names in GGUF files. */
static const struct arch {
    const char *name;       /* general.architecture */
    const char *model_type; /* of config.json */
    const char *class_name; /* the only one of "architectures" */
    bool interleaved;       /* rows of q and k are stored for rotary pairs 2i, 2i + 1 */
    bool alike;             /* all layers slide, or none */
} archs[] = {{"llama", "llama", "LlamaForCausalLM", true, true},
             {"phi3", "phi3", "Phi3ForCausalLM", false, true},
             {"qwen2", "qwen2", "Qwen2ForCausalLM", false, false},
             {"qwen3", "qwen3", "Qwen3ForCausalLM", false, false},
             {"smollm3", "smollm3", "SmolLM3ForCausalLM", true, false}};

/* What a llama is whose layers slide. */
static const struct arch sliding_llama = {"llama", "mistral", "MistralForCausalLM", true, true};

typedef enum key_kind { KEY_INT, KEY_REAL, KEY_HANDLED, KEY_LABEL } key_kind;

static const struct key {
    const char *suffix, *config;
    key_kind kind;
} keys[] = {
#define KEY(suffix, config, kind) {suffix, config, KEY_##kind},
#include "models/gguf_keys.def"
#undef KEY
};

/* Metadata that is of no architecture. */
static const struct token_key {
    const char *key, *config;
} token_keys[] = {{"tokenizer.ggml.bos_token_id", "bos_token_id"},
                  {"tokenizer.ggml.eos_token_id", "eos_token_id"}};

const char *rlx_gguf_suffix_of(const char *key)
{
    for (size_t i = 0; i < sizeof token_keys / sizeof *token_keys; i++)
        if (!strcmp(token_keys[i].config, key))
            return token_keys[i].key;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (keys[i].config && !strcmp(keys[i].config, key))
            return keys[i].suffix;
    return NULL;
}

typedef struct reader {
    const rlx_gguf *file; /* with the metadata: the first part */
    rlx_gguf *const *parts;
    int nparts;
    const struct arch *arch;
    cJSON *config;
} reader;

/* ---- metadata ---------------------------------------------------------------------------------
 */

static rlx_status wrong(const char *key, const char *wanted)
{
    return RLX_FAIL(RLX_INVALID_FILE, "metadata %s is %s", key, wanted);
}

/* ARCH.suffix; NULL when the file has none. */
static const rlx_gguf_value *find(const reader *r, const char *suffix)
{
    rlx_text key = {0};
    rlx_text_putf(&key, "%s.%s", r->arch->name, suffix);
    const rlx_gguf_value *v = key.oom ? NULL : rlx_gguf_find(r->file, key.data);
    rlx_text_deinit(&key);
    return v;
}

static const rlx_tensor *find_tensor(const reader *r, const char *name)
{
    for (int p = 0; p < r->nparts; p++)
        for (int i = 0; i < rlx_gguf_count(r->parts[p]); i++)
            if (strcmp(rlx_gguf_at(r->parts[p], i)->name, name) == 0)
                return rlx_gguf_at(r->parts[p], i);
    return NULL;
}

static rlx_status set_number(reader *r, const char *key, double v)
{
    return cJSON_AddNumberToObject(r->config, key, v) ? RLX_OK : RLX_OOM();
}

static rlx_status set_bool(reader *r, const char *key, bool v)
{
    return cJSON_AddBoolToObject(r->config, key, v) ? RLX_OK : RLX_OOM();
}

/* So that errors find the file's own names again. */
static rlx_status set_arch(const reader *r, cJSON *config)
{
    return cJSON_AddStringToObject(config, RLX_CONFIG_GGUF, r->arch->name) ? RLX_OK : RLX_OOM();
}

static rlx_status copy_value(reader *r, const struct key *k, const rlx_gguf_value *v)
{
    int64_t whole = 0;
    double real = 0;
    if (v->type == RLX_GGUF_ARRAY)
        return RLX_FAIL(RLX_UNSUPPORTED, "metadata %s: one value for each layer", v->key);
    if (k->kind == KEY_INT ? !rlx_gguf_int(v, &whole) : !rlx_gguf_real(v, &real))
        return wrong(v->key, "no number of the kind that it must be");
    return set_number(r, k->config, k->kind == KEY_INT ? (double)whole : real);
}

/* Everything under the architecture's name is copied, handled, or refused. */
static rlx_status copy_values(reader *r)
{
    size_t prefix = strlen(r->arch->name);
    for (int i = 0; i < rlx_gguf_value_count(r->file); i++) {
        const rlx_gguf_value *v = rlx_gguf_value_at(r->file, i);
        if (strncmp(v->key, r->arch->name, prefix) != 0 || v->key[prefix] != '.')
            continue;
        const struct key *k = NULL;
        for (size_t j = 0; j < sizeof keys / sizeof *keys; j++)
            if (strcmp(keys[j].suffix, v->key + prefix + 1) == 0)
                k = &keys[j];
        if (!k)
            return RLX_FAIL(RLX_UNSUPPORTED, "metadata %s", v->key);
        if (k->kind == KEY_INT || k->kind == KEY_REAL)
            RLX_TRY(copy_value(r, k, v));
    }
    return RLX_OK;
}

/* The size of a head; 0: the keys that say it are missing. */
static double head_size(const reader *r)
{
    const cJSON *dim = cJSON_GetObjectItemCaseSensitive(r->config, "head_dim");
    const cJSON *hidden = cJSON_GetObjectItemCaseSensitive(r->config, "hidden_size");
    const cJSON *heads = cJSON_GetObjectItemCaseSensitive(r->config, "num_attention_heads");
    if (dim)
        return dim->valuedouble;
    return hidden && heads && heads->valuedouble > 0 ? hidden->valuedouble / heads->valuedouble : 0;
}

/* Values are as long as keys. */
static rlx_status check_values(const reader *r)
{
    const rlx_gguf_value *v = find(r, "attention.value_length");
    int64_t got;
    if (!v)
        return RLX_OK;
    if (!rlx_gguf_int(v, &got))
        return wrong(v->key, "no whole number");
    if ((double)got != head_size(r))
        return RLX_FAIL(RLX_UNSUPPORTED, "metadata %s is %lld, and keys have %g elements", v->key,
                        (long long)got, head_size(r));
    return RLX_OK;
}

/* How many elements of a head rotate, as the share that configs have: a quarter of an element more,
 * because readers round down. */
static rlx_status read_rotary_size(reader *r)
{
    const rlx_gguf_value *v = find(r, "rope.dimension_count");
    const double size = head_size(r);
    int64_t got;
    if (!v)
        return RLX_OK;
    if (!rlx_gguf_int(v, &got) || got < 2 || got % 2 || (double)got > size)
        return wrong(v->key, "no even number of a head's elements");
    return (double)got == size
               ? RLX_OK
               : set_number(r, "partial_rotary_factor", ((double)got + 0.25) / size);
}

/* The length before it was stretched; the whole one when the file does not tell. */
static rlx_status read_original(reader *r, cJSON *scaling)
{
    const rlx_gguf_value *v = find(r, "rope.scaling.original_context_length");
    int64_t length;
    if (!v)
        return RLX_OK;
    if (!rlx_gguf_int(v, &length))
        return wrong(v->key, "no length");
    return cJSON_AddNumberToObject(scaling, "original_max_position_embeddings", (double)length)
               ? RLX_OK
               : RLX_OOM();
}

/* A number of the metadata, for a key of the config; *v is `absent` without it. */
static rlx_status find_real(const reader *r, const char *suffix, double absent, double *v)
{
    const rlx_gguf_value *is = find(r, suffix);
    *v = absent;
    return !is || rlx_gguf_real(is, v) ? RLX_OK : wrong(is->key, "no number");
}

double rlx_gguf_yarn_attention(double factor)
{
    return factor > 1 ? 0.1 * log(factor) + 1 : 1;
}

static rlx_status read_yarn(reader *r, cJSON *scaling, double factor)
{
    double extent, by, more, fast, slow;
    RLX_TRY(find_real(r, "rope.scaling.yarn_ext_factor", 1, &extent));
    RLX_TRY(find_real(r, "rope.scaling.attn_factor", 1, &by));
    RLX_TRY(find_real(r, "rope.scaling.yarn_attn_factor", 1, &more));
    RLX_TRY(find_real(r, "rope.scaling.yarn_beta_fast", 0, &fast));
    RLX_TRY(find_real(r, "rope.scaling.yarn_beta_slow", 0, &slow));
    if (extent != 1)
        return RLX_FAIL(RLX_UNSUPPORTED, "metadata %s.rope.scaling.yarn_ext_factor is %g, not 1",
                        r->arch->name, extent);
    if (by * more != 1 && !cJSON_AddNumberToObject(scaling, "attention_factor",
                                                   by * more * rlx_gguf_yarn_attention(factor)))
        return RLX_OOM();
    if ((fast && !cJSON_AddNumberToObject(scaling, "beta_fast", fast)) ||
        (slow && !cJSON_AddNumberToObject(scaling, "beta_slow", slow)))
        return RLX_OOM();
    return read_original(r, scaling);
}

/* How frequencies are scaled; *out NULL: not by a factor for all. */
static rlx_status find_scaling(const reader *r, const char **out)
{
    static const char *const types[] = {"linear", "yarn"};
    const rlx_gguf_value *type = find(r, "rope.scaling.type");
    *out = NULL;
    if (!type) /* older files have a factor alone */
        *out = types[0];
    else if (type->type != RLX_GGUF_STRING)
        return wrong(type->key, "no string");
    else if (!strcmp(type->text, "longrope"))
        return find_tensor(r, RLX_ROPE_FACTORS_LONG)
                   ? RLX_OK
                   : wrong(type->key, "longrope, without tensors of factors");
    else if (strcmp(type->text, "none")) {
        for (size_t i = 0; i < sizeof types / sizeof *types; i++)
            if (!strcmp(type->text, types[i]))
                *out = types[i];
        if (!*out)
            return RLX_FAIL(RLX_UNSUPPORTED,
                            "metadata %s: \"%s\" (none, linear, yarn and longrope are supported)",
                            type->key, type->text);
    }
    return RLX_OK;
}

/* Scaled frequencies: a factor under two names, the older without a type. */
static rlx_status read_scaling(reader *r)
{
    const rlx_gguf_value *factor = find(r, "rope.scaling.factor");
    const rlx_gguf_value *type = find(r, "rope.scaling.type");
    const char *name;
    double by;
    RLX_TRY(find_scaling(r, &name));
    if (!name)
        return RLX_OK;
    if (!factor)
        factor = find(r, "rope.scale_linear");
    if (!factor)
        return type ? wrong(type->key, "linear or yarn, without a factor") : RLX_OK;
    if (!rlx_gguf_real(factor, &by))
        return wrong(factor->key, "no number");
    cJSON *scaling = cJSON_AddObjectToObject(r->config, "rope_scaling");
    if (!scaling || !cJSON_AddStringToObject(scaling, "rope_type", name) ||
        !cJSON_AddNumberToObject(scaling, "factor", by))
        return RLX_OOM();
    RLX_TRY(set_arch(r, scaling));
    return strcmp(name, "yarn") ? RLX_OK : read_yarn(r, scaling, by);
}

static rlx_status read_token(reader *r, const struct token_key *k)
{
    const rlx_gguf_value *v = rlx_gguf_find(r->file, k->key);
    int64_t id;
    if (!v)
        return RLX_OK;
    if (!rlx_gguf_int(v, &id))
        return wrong(k->key, "no token id");
    if (id == UINT32_MAX || id == -1) /* none */
        return RLX_OK;
    return set_number(r, k->config, (double)id);
}

/* ---- what the tensors say ---------------------------------------------------------------------
 */

/* The numbers of an f32 vector as a list of the config. */
static rlx_status add_factors(cJSON *scaling, const char *key, const rlx_tensor *t)
{
    cJSON *list = cJSON_AddArrayToObject(scaling, key);
    if (!list)
        return RLX_OOM();
    if (t->format != RLX_F32 || t->rank != 1)
        return RLX_FAIL(RLX_INVALID_FILE, "tensor '%s' is no f32 vector", t->name);
    for (int64_t i = 0; i < t->dim[0]; i++) {
        cJSON *v = cJSON_CreateNumber(((const float *)t->data)[i]);
        if (!v || !cJSON_AddItemToArray(list, v)) {
            cJSON_Delete(v);
            return RLX_OOM();
        }
    }
    return RLX_OK;
}

static bool is_yarn(const reader *r)
{
    const char *type = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(
        cJSON_GetObjectItemCaseSensitive(r->config, "rope_scaling"), "rope_type"));
    return type && !strcmp(type, "yarn");
}

/* Frequencies with a divisor each: two tensors, the length that tells which, and a factor for cos
 * and sin. */
static rlx_status read_factors(reader *r)
{
    const rlx_tensor *far = find_tensor(r, RLX_ROPE_FACTORS_LONG);
    const rlx_tensor *near = find_tensor(r, RLX_ROPE_FACTORS_SHORT);
    const rlx_gguf_value *attention = find(r, "rope.scaling.attn_factor");
    double by = 0;
    if (!far != !near)
        return RLX_FAIL(RLX_INVALID_FILE, "there is a tensor '%s', and none for %s sequences",
                        far ? far->name : near->name, far ? "short" : "long");
    if (attention && !far && !is_yarn(r))
        return RLX_FAIL(RLX_UNSUPPORTED, "metadata %s without tensors of factors", attention->key);
    if (!far)
        return RLX_OK;
    if (attention && !rlx_gguf_real(attention, &by))
        return wrong(attention->key, "no number");
    cJSON_DeleteItemFromObjectCaseSensitive(r->config, "rope_scaling");
    cJSON *scaling = cJSON_AddObjectToObject(r->config, "rope_scaling");
    if (!scaling || !cJSON_AddStringToObject(scaling, "rope_type", "longrope") ||
        !cJSON_AddNumberToObject(scaling, "attention_factor", by))
        return RLX_OOM();
    RLX_TRY(set_arch(r, scaling));
    RLX_TRY(add_factors(scaling, "long_factor", far));
    RLX_TRY(add_factors(scaling, "short_factor", near));
    return read_original(r, r->config);
}

/* Which layers slide: all, or a flag for each; `layers` of them. */
static rlx_status read_pattern(reader *r, int64_t layers)
{
    const rlx_gguf_value *v = find(r, "attention.sliding_window_pattern");
    const bool flags = v && v->type == RLX_GGUF_ARRAY && v->elem == RLX_GGUF_BOOL;
    if (v && (!flags || v->count != (uint64_t)layers))
        return RLX_FAIL(RLX_UNSUPPORTED, "metadata %s is no list of %lld bools, one for each layer",
                        v->key, (long long)layers);
    cJSON *list = cJSON_AddArrayToObject(r->config, "layer_types");
    if (!list)
        return RLX_OOM();
    rlx_gguf_items it = v ? rlx_gguf_walk(v) : (rlx_gguf_items){0};
    for (int64_t i = 0; i < layers; i++) {
        rlx_gguf_value flag = {.i = 1};
        if (v)
            rlx_gguf_next(&it, &flag);
        if (!flag.i && r->arch->alike)
            return RLX_FAIL(RLX_UNSUPPORTED, "metadata %s: layer %lld does not slide", v->key,
                            (long long)i);
        cJSON *type = cJSON_CreateString(flag.i ? "sliding_attention" : "full_attention");
        if (!type || !cJSON_AddItemToArray(list, type)) {
            cJSON_Delete(type);
            return RLX_OOM();
        }
    }
    return RLX_OK;
}

static rlx_status read_window(reader *r)
{
    const rlx_gguf_value *v = find(r, "attention.sliding_window");
    const cJSON *layers = cJSON_GetObjectItemCaseSensitive(r->config, "num_hidden_layers");
    int64_t window = 0;
    if (v && !rlx_gguf_int(v, &window))
        return wrong(v->key, "no length");
    if (!window) /* 0: none */
        return RLX_OK;
    RLX_TRY(set_number(r, "sliding_window", (double)window));
    RLX_TRY(set_bool(r, "use_sliding_window", true));
    /* a number of layers that makes no sense is for the family to refuse */
    const double n = layers ? layers->valuedouble : 0;
    return n >= 1 && n <= MAX_LAYERS ? read_pattern(r, (int64_t)n) : RLX_OK;
}

static rlx_status read_tensors(reader *r)
{
    RLX_TRY(read_factors(r));
    const rlx_tensor *embed = find_tensor(r, "token_embd.weight");
    if (!cJSON_HasObjectItem(r->config, "vocab_size") && embed && embed->rank == 2)
        RLX_TRY(set_number(r, "vocab_size", (double)embed->dim[0]));
    RLX_TRY(set_bool(r, "tie_word_embeddings", !find_tensor(r, "output.weight")));
    RLX_TRY(set_bool(r, "attention_bias", find_tensor(r, "blk.0.attn_q.bias") != NULL));
    return set_bool(r, "mlp_bias", find_tensor(r, "blk.0.ffn_gate.bias") != NULL);
}

static rlx_status fill_config(reader *r)
{
    const rlx_gguf_value *window = find(r, "attention.sliding_window");
    int64_t length = 0;
    if (window && rlx_gguf_int(window, &length) && length && !strcmp(r->arch->name, "llama"))
        r->arch = &sliding_llama;
    cJSON *classes = cJSON_AddArrayToObject(r->config, "architectures");
    cJSON *name = cJSON_CreateString(r->arch->class_name);
    if (!classes || !name || !cJSON_AddItemToArray(classes, name)) {
        cJSON_Delete(classes ? name : NULL);
        return RLX_OOM();
    }
    if (!cJSON_AddStringToObject(r->config, "model_type", r->arch->model_type))
        return RLX_OOM();
    RLX_TRY(set_arch(r, r->config));
    RLX_TRY(copy_values(r));
    RLX_TRY(check_values(r));
    RLX_TRY(read_rotary_size(r));
    RLX_TRY(read_scaling(r));
    RLX_TRY(read_window(r));
    for (size_t i = 0; i < sizeof token_keys / sizeof *token_keys; i++)
        RLX_TRY(read_token(r, &token_keys[i]));
    RLX_TRY(set_bool(r, RLX_CONFIG_INTERLEAVED, r->arch->interleaved));
    return read_tensors(r);
}

rlx_status rlx_family_read_gguf(rlx_gguf *const *parts, int n, cJSON **config)
{
    const rlx_gguf_value *name = rlx_gguf_find(parts[0], "general.architecture");
    reader r = {.file = parts[0], .parts = parts, .nparts = n};
    if (!name)
        return RLX_FAIL(RLX_INVALID_FILE, "no metadata general.architecture");
    for (size_t i = 0; i < sizeof archs / sizeof *archs; i++)
        if (strcmp(archs[i].name, name->text) == 0)
            r.arch = &archs[i];
    if (!r.arch)
        return RLX_FAIL(
            RLX_UNSUPPORTED,
            "metadata general.architecture: \"%s\" (llama, phi3, qwen2, qwen3 and smollm3 are "
            "supported)",
            name->text);
    r.config = cJSON_CreateObject();
    rlx_status st = r.config ? fill_config(&r) : RLX_OOM();
    if (st) {
        cJSON_Delete(r.config);
        return st;
    }
    *config = r.config;
    return RLX_OK;
}

/* ---- names ------------------------------------------------------------------------------------
 */

static rlx_status put_name(const char *arch, const char *name, rlx_text *out)
{
    bool found = false;
    RLX_TRY(rlx_name_from_gguf(arch, name, out, &found));
    if (!found)
        rlx_text_put(out, name);
    return out->oom ? RLX_OOM() : RLX_OK;
}

rlx_status rlx_family_add_gguf(rlx_weights *w, const cJSON *config, rlx_gguf *f)
{
    const char *arch =
        cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(config, RLX_CONFIG_GGUF));
    int n = rlx_gguf_count(f);
    char **names = calloc((size_t)n + 1, sizeof *names);
    rlx_status st = names ? RLX_OK : RLX_OOM();
    for (int i = 0; i < n && !st; i++) {
        rlx_text name = {0};
        st = put_name(arch, rlx_gguf_at(f, i)->name, &name);
        names[i] = rlx_text_take(&name);
    }
    if (st)
        rlx_gguf_close(f);
    else
        st = rlx_weights_take_gguf(w, f, (const char *const *)names);
    for (int i = 0; names && i < n; i++)
        free(names[i]);
    free(names);
    return st;
}

rlx_status rlx_config_get_rope_factors(const rlx_weights *w, int64_t rotary_dim, const float **out)
{
    const rlx_tensor *t = rlx_weights_find(w, RLX_ROPE_FACTORS);
    *out = NULL;
    if (!t)
        return RLX_OK;
    if (t->format != RLX_F32 || t->rank != 1 || t->dim[0] != rotary_dim / 2)
        return RLX_FAIL(RLX_INVALID_FILE,
                        "weight '%s' is not f32[%lld], a factor for each rotary pair",
                        RLX_ROPE_FACTORS, (long long)rotary_dim / 2);
    *out = t->data;
    return RLX_OK;
}
