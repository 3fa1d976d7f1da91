/* models/resolve.c: weights under the names of other files get those that families look for, beside
 * their own: nothing is copied, nothing is permuted.
 *
 *   Meta's and Mistral's own files   tok_embeddings.weight, layers.0.attention.wq.weight
 *   GGUF                             token_embd.weight, blk.0.attn_q.weight
 *   a prefix                         transformer.model.layers.0...,
 * language_model.model.layers.0...
 */
#include <string.h>

#include "models/names.h"

/* A second name, unless a tensor has it. */
static rlx_status add_name(rlx_weights *w, const char *name, const char *existing)
{
    return rlx_weights_find(w, name) ? RLX_OK : rlx_weights_alias(w, name, existing);
}

typedef rlx_status rename_fn(const char *arch, const char *name, rlx_text *out, bool *found);

static rlx_status add_names(rlx_weights *w, const char *arch, rename_fn *rename)
{
    const int n = rlx_weights_count(w);
    rlx_text name = {0};
    rlx_status st = RLX_OK;
    for (int i = 0; i < n && !st; i++) {
        const char *existing = rlx_weights_at(w, i)->name;
        bool found = false;
        rlx_text_clear(&name);
        st = rename(arch, existing, &name, &found);
        if (!st && found)
            st = add_name(w, name.data, existing);
    }
    rlx_text_deinit(&name);
    return st;
}

/* ---- prefixes ------------------------------------------------------------------------------- */

static bool ends(const char *name, const char *end)
{
    const size_t n = strlen(name), k = strlen(end);
    return n >= k && !strcmp(name + n - k, end);
}

/* What stands before the names of the one decoder in the set; 0: nothing, or there are several. */
static size_t find_prefix(const rlx_weights *w, const char **name)
{
    static const char whole[] = "model.embed_tokens.weight", part[] = "embed_tokens.weight";
    size_t prefix = 0;
    int n = 0;
    for (int i = 0; i < rlx_weights_count(w); i++) {
        const char *is = rlx_weights_at(w, i)->name;
        if (!ends(is, part))
            continue;
        prefix = strlen(is) - (ends(is, whole) ? sizeof whole : sizeof part) + 1;
        *name = is;
        n++;
    }
    return n == 1 ? prefix : 0;
}

static rlx_status drop_prefix(rlx_weights *w)
{
    const char *of = NULL;
    const size_t prefix = find_prefix(w, &of);
    const int n = prefix ? rlx_weights_count(w) : 0;
    for (int i = 0; i < n; i++) {
        const char *name = rlx_weights_at(w, i)->name;
        if (!strncmp(name, of, prefix) && name[prefix])
            RLX_TRY(add_name(w, name + prefix, name));
    }
    return RLX_OK;
}

/* ---- a model's ------------------------------------------------------------------------------ */

static rlx_status set_interleaved(cJSON *config)
{
    cJSON_DeleteItemFromObjectCaseSensitive(config, RLX_CONFIG_INTERLEAVED);
    return cJSON_AddBoolToObject(config, RLX_CONFIG_INTERLEAVED, true) ? RLX_OK : RLX_OOM();
}

rlx_status rlx_family_resolve_names(cJSON *config, rlx_weights *w)
{
    bool interleaved = true;
    const char *type = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(config, "model_type"));
    if (rlx_weights_find(w, "tok_embeddings.weight")) {
        RLX_TRY(add_names(w, NULL, rlx_name_from_meta));
    } else if (rlx_weights_find(w, "token_embd.weight")) {
        const char *arch = rlx_gguf_arch_of(type ? type : "", &interleaved);
        RLX_TRY(add_names(w, arch, rlx_name_from_gguf));
    } else {
        return drop_prefix(w);
    }
    return interleaved ? set_interleaved(config) : RLX_OK;
}

/* ---- for flows of one's own ----------------------------------------------------------------- */

static rlx_status to_hub(const char *arch, const char *name, rlx_text *out, bool *found)
{
    RLX_TRY(rlx_name_from_gguf(arch, name, out, found));
    return *found ? RLX_OK : rlx_name_from_meta(arch, name, out, found);
}

rlx_status rlx_weights_add_names(rlx_weights *w, const char *architecture, rlx_naming naming)
{
    if (naming != RLX_NAMES_HUB && naming != RLX_NAMES_GGUF)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "naming %d is neither the hub's nor GGUF's",
                        (int)naming);
    return add_names(w, architecture, naming == RLX_NAMES_HUB ? to_hub : rlx_name_to_gguf);
}
