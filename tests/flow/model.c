#include "tests/flow/model.h"

#include <math.h>

#include "tests/base/suite.h"

static cJSON *parse(const char *text)
{
    cJSON *json = cJSON_Parse(text);
    ck_assert_msg(json != NULL, "not JSON: %s", text);
    return json;
}

cJSON *model_config(const char *more)
{
    cJSON *config = parse(
        "{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", \"hidden_size\": "
        "36,"
        "\"intermediate_size\": 53, \"num_hidden_layers\": 2, \"num_attention_heads\": 6,"
        "\"num_key_value_heads\": 2, \"head_dim\": 10, \"vocab_size\": 47, \"rms_norm_eps\": 1e-5,"
        "\"max_position_embeddings\": 512}");
    char text[1024];
    snprintf(text, sizeof(text), "{%s}", more);
    cJSON *patch = parse(text);
    while (patch->child) {
        cJSON *item = cJSON_DetachItemViaPointer(patch, patch->child);
        cJSON_DeleteItemFromObjectCaseSensitive(config, item->string);
        char key[64];
        snprintf(key, sizeof(key), "%s", item->string);
        cJSON_AddItemToObject(config, key, item);
    }
    cJSON_Delete(patch);
    return config;
}

void model_add_weight(test_model *m, const char *name, rlx_format f, int rank, const int64_t *dims)
{
    rlx_tensor t = {.name = name, .format = f, .rank = rank};
    int64_t elems = 1;
    for (int i = 0; i < rank; i++)
        elems *= t.dim[i] = dims[i];
    t.bytes = rlx_format_bytes(f, elems);
    t.data = m->memory[m->nmemory++] = malloc(t.bytes);
    ck_assert_ptr_nonnull(t.data);
    /* matrices keep the size of what passes; norms are near 1 */
    const double scale = rank > 1 ? 1.5 / sqrt((double)dims[rank - 1]) : 0.4;
    const bool blocks = rlx_format_get(f)->kind == RLX_KIND_BLOCK;
    if (blocks)
        rlx_format_make_blocks(f, (void *)t.data, elems, (uint64_t)m->nmemory);
    for (int64_t i = 0; i < elems && !blocks; i++)
        rlx_format_store(f, (void *)t.data, i,
                         env_random(&m->env) * scale + (strstr(name, "norm") ? 1 : 0));
    assert_ok(rlx_weights_add(m->w, &t));
}

static int64_t number(const test_model *m, const char *key)
{
    return (int64_t)cJSON_GetObjectItemCaseSensitive(m->json, key)->valuedouble;
}

static bool flag(const test_model *m, const char *key)
{
    return cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(m->json, key));
}

static void add_matrix(test_model *m, const char *prefix, const char *name, int64_t rows,
                       int64_t columns, bool bias)
{
    char full[160];
    const rlx_format f = strstr(name, "up_proj")  ? RLX_BF16
                         : strstr(name, "k_proj") ? RLX_F16
                                                  : RLX_F32;
    snprintf(full, sizeof(full), "%s%s.weight", prefix, name);
    model_add_weight(m, full, f, columns ? 2 : 1, (int64_t[]){rows, columns});
    snprintf(full, sizeof(full), "%s%s.bias", prefix, name);
    if (bias)
        model_add_weight(m, full, RLX_F32, 1, &rows);
}

static bool is_family(const test_model *m, const char *type)
{
    return !strcmp(cJSON_GetObjectItemCaseSensitive(m->json, "model_type")->valuestring, type);
}

static void add_layer(test_model *m, const char *prefix)
{
    const int64_t h = number(m, "hidden_size"), i = number(m, "intermediate_size");
    const int64_t d = number(m, "head_dim"), n = number(m, "num_attention_heads") * d;
    const int64_t g = number(m, "num_key_value_heads") * d;
    const bool attention = flag(m, "attention_bias") || is_family(m, "qwen2");
    const bool mlp = flag(m, "mlp_bias");
    const bool fused = is_family(m, "phi3");
    add_matrix(m, prefix, "input_layernorm", h, 0, false);
    if (fused) {
        add_matrix(m, prefix, "self_attn.qkv_proj", n + 2 * g, h, attention);
    } else {
        add_matrix(m, prefix, "self_attn.q_proj", n, h, attention);
        add_matrix(m, prefix, "self_attn.k_proj", g, h, attention);
        add_matrix(m, prefix, "self_attn.v_proj", g, h, attention);
    }
    add_matrix(m, prefix, "self_attn.o_proj", h, n, attention && !is_family(m, "qwen2"));
    if (is_family(m, "qwen3")) {
        add_matrix(m, prefix, "self_attn.q_norm", d, 0, false);
        add_matrix(m, prefix, "self_attn.k_norm", d, 0, false);
    }
    add_matrix(m, prefix, "post_attention_layernorm", h, 0, false);
    if (fused) {
        add_matrix(m, prefix, "mlp.gate_up_proj", 2 * i, h, mlp);
    } else {
        add_matrix(m, prefix, "mlp.gate_proj", i, h, mlp);
        add_matrix(m, prefix, "mlp.up_proj", i, h, mlp);
    }
    add_matrix(m, prefix, "mlp.down_proj", h, i, mlp);
}

void model_init(test_model *m, cJSON *config)
{
    *m = (test_model){.json = config};
    env_init(&m->env, 42);
    assert_ok(rlx_weights_create(&m->w));
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(config, "architectures");
    const char *class = cJSON_GetArrayItem(list, 0)->valuestring;
    const bool bare = !strstr(class, "ForCausalLM");
    const char *prefix = bare ? "" : "model.";
    char layer[64];
    add_matrix(m, prefix, "embed_tokens", number(m, "vocab_size"), number(m, "hidden_size"), false);
    for (int64_t i = 0; i < number(m, "num_hidden_layers"); i++) {
        snprintf(layer, sizeof(layer), "%slayers.%lld.", prefix, (long long)i);
        add_layer(m, layer);
    }
    add_matrix(m, prefix, "norm", number(m, "hidden_size"), 0, false);
    if (!bare && !flag(m, "tie_word_embeddings"))
        add_matrix(m, "", "lm_head", number(m, "vocab_size"), number(m, "hidden_size"), false);
}

void model_init_directory(test_model *m, const char *directory, const char *file)
{
    char path[1024];
    char *text;
    size_t bytes;
    *m = (test_model){0};
    env_init(&m->env, 42);
    snprintf(path, sizeof(path), "%s/config.json", directory);
    assert_ok(rlx_file_read(path, &text, &bytes));
    m->json = parse(text);
    free(text);
    assert_ok(rlx_weights_create(&m->w));
    snprintf(path, sizeof(path), "%s/%s", directory, file ? file : "model.safetensors");
    FILE *there = fopen(path, "rb");
    if (there)
        fclose(there);
    else
        snprintf(path, sizeof(path), "%s/model.safetensors.index.json", directory);
    assert_ok(rlx_weights_add_safetensors(m->w, path));
}

rlx_status model_make_flow(test_model *m)
{
    const char *type = cJSON_GetObjectItemCaseSensitive(m->json, "model_type")->valuestring;
    const rlx_family *family = rlx_family_find(type);
    ck_assert_msg(family != NULL, "no family %s", type);
    return family->build(m->json, m->w, &m->flow, &m->config);
}

rlx_status model_build(test_model *m, const char *const *probes, int nprobes)
{
    rlx_flow_outputs_deinit(&m->outputs);
    rlx_ir_module_destroy(m->hir);
    const rlx_compile_options o = {.probes = probes, .nprobes = nprobes};
    return rlx_flow_build(m->flow, m->w, &o, m->env.dims, &m->hir, &m->outputs);
}

void model_deinit(test_model *m)
{
    rlx_flow_outputs_deinit(&m->outputs);
    rlx_ir_module_destroy(m->hir);
    rlx_flow_destroy(m->flow);
    rlx_rope_destroy(m->config.rope);
    rlx_weights_destroy(m->w);
    cJSON_Delete(m->json);
    for (int i = 0; i < m->nmemory; i++)
        free(m->memory[i]);
    env_deinit(&m->env);
}

/* Pages and their tables, of every window: PAGES and table, PAGES_4096 and table_4096. */
static void bind_pages(test_model *m)
{
    const rlx_dims *dims = m->hir->dims;
    for (int s = 0; s < rlx_dim_symbol_count(dims); s++) {
        const char *pages = rlx_dim_symbol_name(dims, s);
        if (strncmp(pages, "PAGES", 5) != 0)
            continue;
        char name[32];
        snprintf(name, sizeof(name), "table%s", pages + 5);
        env_set(&m->env, pages, MODEL_PAGES);
        int32_t *table =
            env_add(&m->env, name, RLX_I32, 2, (int64_t[]){MODEL_SEQS, MODEL_SLOTS})->data;
        for (int i = 0; i < MODEL_PAGES; i++) /* pages in no order: 3 is a unit modulo 8 */
            table[i] = (3 * i + 5) % MODEL_PAGES;
    }
}

void model_bind(test_model *m)
{
    test_env *e = &m->env;
    const rlx_model_config *c = &m->config;
    for (int i = 0; i < rlx_weights_count(m->w); i++) {
        const rlx_tensor *t = rlx_weights_at(m->w, i);
        memcpy(env_add(e, t->name, t->format, t->rank, t->dim)->data, t->data, t->bytes);
    }
    env_set(e, "SEQS", MODEL_SEQS);
    env_set(e, "SLOTS", MODEL_SLOTS);
    const int64_t k[] = {MODEL_PAGES, c->kv_heads, c->head_dim, RLX_KV_PAGE};
    const int64_t v[] = {MODEL_PAGES, c->kv_heads, RLX_KV_PAGE, c->head_dim};
    char name[32];
    for (int64_t i = 0; i < c->layers; i++) {
        snprintf(name, sizeof(name), "kv.k.%lld", (long long)i);
        env_add(e, name, RLX_F32, 4, k);
        snprintf(name, sizeof(name), "kv.v.%lld", (long long)i);
        env_add(e, name, RLX_F32, 4, v);
    }
    bind_pages(m);
}

void model_set_step(test_model *m, test_env *e, int64_t n, const int32_t *ids, const int32_t *seq,
                    const int32_t *pos)
{
    const int64_t half = m->config.head_dim / 2;
    int32_t *rows = calloc((size_t)n, sizeof(*rows));
    ck_assert_ptr_nonnull(rows);
    for (int64_t i = 0; i < n; i++)
        rows[i] = (int32_t)i;
    env_set(e, "TOKENS", n);
    env_set(e, "ROWS", n);
    env_add_ints(e, "ids", n, ids);
    env_add_ints(e, "seq", n, seq);
    env_add_ints(e, "pos", n, pos);
    env_add_ints(e, "rows", n, rows);
    free(rows);
    rlx_eval_tensor *c = env_add(e, "rope_cos", RLX_F32, 2, (int64_t[]){n, half});
    float *cosine = c->data; /* adding another tensor moves none */
    float *sine = env_add(e, "rope_sin", RLX_F32, 2, (int64_t[]){n, half})->data;
    if (m->config.rope)
        rlx_rope_tables(m->config.rope, pos, n, cosine, sine);
}

void model_run(test_model *m, rlx_eval_tensor *results)
{
    assert_ok(rlx_hir_eval(m->hir, "main", &m->env.eval, results, m->outputs.n));
}

void model_free_results(const test_model *m, rlx_eval_tensor *results)
{
    for (int i = 0; i < m->outputs.n; i++)
        free(results[i].data);
}

int model_count_layers(const test_model *m)
{
    int n = -1;
    for (const rlx_ir_func *f = m->hir->first; f; f = f->next)
        n++;
    return n;
}
