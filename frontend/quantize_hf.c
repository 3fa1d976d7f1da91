/* frontend/quantize_hf.c: a hub's directory as what a GGUF file has: tensors under other names,
 * config.json (models/gguf_write.c) and what is about text (quantize_text.c) as metadata. */
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "frontend/model_path.h"
#include "frontend/quantize.h"

/* ---- tensors -------------------------------------------------------------------------------- */

static bool ends(const char *name, const char *end)
{
    return rlx_path_ends(name, end);
}

/* Is it some rows of another? Else it may be another name. */
static bool is_part(const rlx_weights *w, int i)
{
    rlx_tensor_origin o;
    rlx_weights_get_origin(w, i, &o);
    return o.source >= 0 && rlx_weights_at(w, i)->bytes != rlx_weights_at(w, o.source)->bytes;
}

/* Which tensors of a model are written: heap. Of several names the last, which families look for;
 * of parts and what they are of, as the architecture has it. */
static bool *choose_tensors(const rlx_weights *w, bool fused)
{
    const int n = rlx_weights_count(w);
    bool *chosen = malloc((size_t)n + 1);
    for (int i = 0; chosen && i < n; i++) {
        rlx_tensor_origin o;
        rlx_weights_get_origin(w, i, &o);
        chosen[i] =
            !(fused && is_part(w, i)) && !ends(rlx_weights_at(w, i)->name, ".rotary_emb.inv_freq");
        if (o.source >= 0 && chosen[i])
            chosen[o.source] = false;
    }
    return chosen;
}

/* Heads whose rows change places; 0: none do. */
static rlx_status heads_of(const char *gguf_name, const rlx_model_config *c, int64_t rows, int *out)
{
    bool q = ends(gguf_name, ".attn_q.weight") || ends(gguf_name, ".attn_q.bias");
    bool k = ends(gguf_name, ".attn_k.weight") || ends(gguf_name, ".attn_k.bias");
    const int64_t heads = k ? c->kv_heads : c->heads;
    *out = 0;
    if (!q && !k)
        return RLX_OK;
    if (rows != heads * c->head_dim)
        return RLX_FAIL(RLX_INVALID_FILE, "tensor '%s': %lld rows are not those of %lld heads",
                        gguf_name, (long long)rows, (long long)heads);
    *out = (int)heads;
    return RLX_OK;
}

static rlx_status add_tensor(rlx_quantize_source *s, const rlx_tensor *t, const char *called,
                             const rlx_model_config *c, const rlx_family_gguf *g)
{
    rlx_text name = {0};
    rlx_tensor *to = &s->tensors[s->n];
    rlx_status st = rlx_family_gguf_name(g->arch, called, &name);
    *to = *t;
    to->name = s->names[s->n] = rlx_text_take(&name);
    if (!st && !to->name)
        st = RLX_OOM();
    if (!st && t->format == RLX_FORMAT_NONE)
        st = RLX_FAIL(RLX_UNSUPPORTED, "tensor '%s' is of a type that nothing reads", t->name);
    if (!st && g->rotary)
        st = heads_of(to->name, c, t->dim[0], &s->heads[s->n]);
    s->n++;
    return st;
}

/* What an embedding and a head that are one are called: a file may have either name, or both. */
static const char *end_name(const rlx_weights *w, const rlx_tensor *t)
{
    static const char embed[] = "model.embed_tokens.weight", head[] = "lm_head.weight";
    const rlx_tensor *other = rlx_weights_find(w, embed);
    if (strcmp(t->name, head))
        return t->name;
    if (!other)
        return embed;
    const bool same = other->format == t->format && other->bytes == t->bytes &&
                      !memcmp(other->data, t->data, t->bytes);
    return same ? NULL : head;
}

static rlx_status add_tensors(rlx_quantize_source *s, const rlx_model_config *c,
                              const rlx_family_gguf *g)
{
    const int n = rlx_weights_count(s->weights), room = n + g->nfactors + 1;
    s->tensors = calloc((size_t)room, sizeof *s->tensors);
    s->names = calloc((size_t)room, sizeof *s->names);
    s->heads = calloc((size_t)room, sizeof *s->heads);
    s->rotary = g->rotary;
    bool *chosen = choose_tensors(s->weights, g->fused);
    rlx_status st = s->tensors && s->names && s->heads && chosen ? RLX_OK : RLX_OOM();
    for (int i = 0; i < n && !st; i++) {
        const rlx_tensor *t = rlx_weights_at(s->weights, i);
        const char *name = chosen[i] ? end_name(s->weights, t) : NULL;
        if (name)
            st = add_tensor(s, t, name, c, g);
    }
    free(chosen);
    return st;
}

/* There is room for them behind the weights'; their numbers become the source's. */
static rlx_status add_factors(rlx_quantize_source *s, rlx_family_gguf *g)
{
    for (int i = 0; i < g->nfactors; i++) {
        rlx_family_rope_factors *f = &g->factors[i];
        s->names[s->n] = strdup(f->name);
        s->tensors[s->n] = (rlx_tensor){.name = s->names[s->n],
                                        .format = RLX_F32,
                                        .rank = 1,
                                        .dim = {f->n},
                                        .data = f->values,
                                        .bytes = (size_t)f->n * sizeof *f->values};
        s->rope_factors[i] = f->values;
        f->values = NULL;
        if (!s->names[s->n++])
            return RLX_OOM();
    }
    return RLX_OK;
}

/* ---- the directory --------------------------------------------------------------------------- */

/* All but the weights' data: of a model that was accepted. */
static rlx_status read_model(rlx_quantize_source *s, const rlx_model_path *p, cJSON *config,
                             rlx_model *m)
{
    const rlx_model_config *c = &m->config;
    rlx_family_gguf g;
    RLX_TRY(rlx_family_resolve_names(config, m->weights));
    RLX_TRY(rlx_family_write_gguf(config, &s->head, &g));
    rlx_status st = rlx_quantize_put_text(&s->head, p->dir, m);
    s->weights = m->weights;
    m->weights = NULL;
    if (!st)
        st = add_tensors(s, c, &g);
    if (!st)
        st = add_factors(s, &g);
    rlx_family_gguf_deinit(&g);
    s->model.layers = (int)c->layers;
    s->model.queries_per_key = (int)(c->heads / c->kv_heads);
    return st;
}

/* A model that would not load is not written: its family reads the configuration first. */
rlx_status rlx_quantize_read_directory(rlx_quantize_source *s, const rlx_model_path *p)
{
    const rlx_context silent = {0};
    cJSON *config = NULL;
    RLX_TRY(rlx_path_read_json(p->dir, "config.json", &config));
    if (!config)
        return RLX_FAIL(RLX_NOT_FOUND, "'%s' has no config.json", p->dir);
    rlx_model m = {.path = strdup(p->given)};
    rlx_status st = m.path ? rlx_model_read_files(&silent, &m) : RLX_OOM();
    if (!st)
        st = read_model(s, p, config, &m);
    rlx_model_deinit_files(&m);
    cJSON_Delete(config);
    return st;
}
