/* frontend/model_files.c: everything that is read of a model (what MODEL may be: model_path.h).
 *
 *   DIR     config.json, model.safetensors[.index.json], generation_config.json,
 *           tokenizer.json or tokenizer.model (with tokenizer_config.json)
 *   source  the same in memory (rlx_model_load_from)
 */
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "frontend/model.h"
#include "frontend/model_path.h"
#include "runtime/gguf.h"

static rlx_status find_family(const cJSON *config, const char *path, const rlx_family **out)
{
    const char *type = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(config, "model_type"));
    if (!type)
        return RLX_FAIL(RLX_INVALID_FILE, "%s has no \"model_type\"", path);
    *out = rlx_family_find(type);
    if (*out)
        return RLX_OK;
    rlx_text known = {0};
    for (int i = 0; i < rlx_family_count(); i++)
        rlx_text_putf(&known, "%s%s", i ? ", " : "", rlx_family_at(i)->model_type);
    rlx_status st = RLX_FAIL(RLX_UNSUPPORTED, "%s: no family \"%s\"; there are: %s", path, type,
                             known.data ? known.data : "");
    rlx_text_deinit(&known);
    return st;
}

/* A model whose tokenizer is not offered still runs on ids: the story is told when text is asked
 * for. A broken one fails the model. */
static rlx_status keep_tokenizer_error(rlx_model *m, rlx_status st)
{
    if (rlx_status_code(st) != RLX_UNSUPPORTED)
        return st;
    m->tokenizer_error = rlx_status_text(st);
    rlx_status_free(st);
    return m->tokenizer_error ? RLX_OK : RLX_OOM();
}

/* The tokenizer of a path, if it has one: its table where the context keeps things. */
static rlx_status load_tokenizer(const rlx_context *cx, const char *path, rlx_model *m)
{
    const rlx_tokenizer_options o = {.no_cache = !cx->cache_folder,
                                     .cache_folder = cx->cache_folder};
    return keep_tokenizer_error(m, rlx_tokenizer_try_load(path, &o, &m->tokenizer));
}

/* The same of a path that must have one. */
static rlx_status load_named_tokenizer(const rlx_context *cx, const char *path, rlx_model *m)
{
    RLX_TRY(load_tokenizer(cx, path, m));
    return m->tokenizer || m->tokenizer_error
               ? RLX_OK
               : RLX_FAIL(RLX_NOT_FOUND, "%s has no tokenizer", path);
}

/* ---- directories, and what stands for one */

/* `name` of the config, for messages. The weights' names become those that families look for. */
static rlx_status build(rlx_model *m, cJSON *config, const char *name)
{
    const rlx_family *family;
    RLX_TRY(find_family(config, name, &family));
    RLX_TRY(rlx_family_resolve_names(config, m->weights));
    return family->build(config, m->weights, &m->flow, &m->config);
}

static rlx_status read_directory(const rlx_context *cx, rlx_model *m, const rlx_model_path *p)
{
    const char *dir = p->dir;
    char *path = rlx_path_join(dir, "config.json");
    if (!path)
        return RLX_OOM();
    cJSON *config = NULL, *generation = NULL;
    rlx_status st;
    RLX_TRY_TO(done, rlx_weights_create(&m->weights));
    RLX_TRY_TO(done, rlx_model_path_add_weights(p, m->weights));
    RLX_TRY_TO(done, rlx_path_read_json(dir, "config.json", &config));
    if (!config)
        RLX_TRY_TO(done, RLX_FAIL(RLX_NOT_FOUND, "'%s' has no config.json", dir));
    RLX_TRY_TO(done, build(m, config, path));
    RLX_TRY_TO(done, load_tokenizer(cx, dir, m));
    RLX_TRY_TO(done, rlx_path_read_json(dir, "generation_config.json", &generation));
    RLX_TRY_TO(done, rlx_model_read_generation(cx, m, generation));
done:
    cJSON_Delete(generation);
    cJSON_Delete(config);
    free(path);
    return st;
}

static rlx_status parse(const char *what, const char *text, cJSON **out)
{
    const char *end = text;
    *out = cJSON_ParseWithOpts(text, &end, true);
    return *out ? RLX_OK : RLX_FAIL(RLX_INVALID_FILE, "%s: not JSON at byte %td", what, end - text);
}

static rlx_status read_source(const rlx_context *cx, rlx_model *m)
{
    const rlx_model_source *s = m->source;
    cJSON *config = NULL, *generation = NULL;
    rlx_status st;
    if (!s->config || !s->weights)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "there are no %s", s->config ? "weights" : "config");
    m->weights = s->weights;
    m->lent_weights = true;
    RLX_TRY_TO(done, parse("config", s->config, &config));
    RLX_TRY_TO(done, build(m, config, "config"));
    if (s->tokenizer)
        RLX_TRY_TO(done, load_named_tokenizer(cx, s->tokenizer, m));
    if (s->generation)
        RLX_TRY_TO(done, parse("generation_config", s->generation, &generation));
    RLX_TRY_TO(done, rlx_model_read_generation(cx, m, generation));
done:
    cJSON_Delete(generation);
    cJSON_Delete(config);
    return st;
}

/* ---- GGUF */

static rlx_status read_gguf(const rlx_context *cx, rlx_model *m)
{
    rlx_gguf **parts, *first;
    int n;
    cJSON *config = NULL;
    const rlx_family *family;
    rlx_status st;
    RLX_TRY(rlx_gguf_open_parts(m->path, &parts, &n));
    first = parts[0]; /* lives on in the weights */
    RLX_TRY_TO(done, rlx_family_read_gguf(parts, n, &config));
    RLX_TRY_TO(done, find_family(config, m->path, &family));
    RLX_TRY_TO(done, load_tokenizer(cx, m->path, m));
    RLX_TRY_TO(done, rlx_weights_create(&m->weights));
    for (int i = 0; i < n; i++) {
        rlx_gguf *taken = parts[i];
        parts[i] = NULL;
        RLX_TRY_TO(done, rlx_family_add_gguf(m->weights, config, taken));
    }
    RLX_TRY_TO(done, family->build(config, m->weights, &m->flow, &m->config));
    RLX_TRY_TO(done, rlx_model_read_generation_gguf(cx, m, first));
done:
    rlx_gguf_close_parts(parts, n);
    cJSON_Delete(config);
    return st;
}

/* ---- any */

rlx_status rlx_model_read_files(const rlx_context *cx, rlx_model *m)
{
    rlx_model_path p;
    if (m->source)
        return read_source(cx, m);
    rlx_status st = rlx_model_path_init(m->path, &p);
    if (!st)
        st = p.gguf ? read_gguf(cx, m) : read_directory(cx, m, &p);
    rlx_model_path_deinit(&p);
    return st;
}

void rlx_model_deinit_files(rlx_model *m)
{
    rlx_tokenizer_destroy(m->tokenizer);
    free(m->tokenizer_error);
    rlx_flow_destroy(m->flow);
    rlx_rope_destroy(m->config.rope);
    if (!m->lent_weights)
        rlx_weights_destroy(m->weights);
    free(m->path);
}

rlx_status rlx_model_need_tokenizer(const rlx_model *m)
{
    if (m->tokenizer)
        return RLX_OK;
    if (m->tokenizer_error)
        return RLX_FAIL(RLX_UNSUPPORTED, "the model's tokenizer: %s", m->tokenizer_error);
    if (m->lent_weights)
        return RLX_FAIL(RLX_NOT_FOUND, "the model has no tokenizer: its source names none");
    return RLX_FAIL(RLX_NOT_FOUND, "the model has no tokenizer: %s %s", m->path,
                    rlx_path_ends(m->path, ".gguf")
                        ? "has no metadata tokenizer.ggml.model"
                        : "comes with no tokenizer.json, tokenizer.model, vocab.json or vocab.txt");
}
