/* frontend/chat_files.c: chat templates and special tokens in the files of a model.
 *
 *   DIR     chat_template.jinja, {additional_,}chat_templates/NAME.jinja, chat_template.json,
 *           tokenizer_config.json, special_tokens_map.json
 *   .gguf   tokenizer.chat_template[.NAME], tokenizer.ggml.*_token_id
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "frontend/chat.h"
#include "frontend/model_path.h"
#include "runtime/base/text.h"
#include "runtime/gguf.h"

/* ---- directories */

static rlx_status add_file(rlx_chat *c, const char *name, const char *path)
{
    char *text;
    size_t bytes;
    RLX_TRY(rlx_file_read(path, &text, &bytes));
    rlx_status st = rlx_chat_add(c, name, path, text, bytes);
    free(text);
    return st;
}

static int is_template(const struct dirent *d)
{
    return rlx_path_ends(d->d_name, ".jinja");
}

/* NAME.jinja of a folder that need not be there. */
static rlx_status add_folder(rlx_chat *c, const char *dir, const char *folder)
{
    struct dirent **list;
    char *path = rlx_path_join(dir, folder);
    if (!path)
        return RLX_OOM();
    int n = scandir(path, &list, is_template, alphasort);
    rlx_status st = RLX_OK;
    for (int i = 0; i < n; i++) {
        char *file = rlx_path_join(path, list[i]->d_name);
        list[i]->d_name[strlen(list[i]->d_name) - strlen(".jinja")] = 0;
        if (!st)
            st = file ? add_file(c, list[i]->d_name, file) : RLX_OOM();
        free(file);
        free(list[i]);
    }
    if (n >= 0)
        free(list);
    free(path);
    return st;
}

/* "chat_template" of a JSON file: a text, or a list of {"name", "template"}. */
static rlx_status add_member(rlx_chat *c, const cJSON *json, const char *file)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(json, "chat_template"), *one;
    if (cJSON_IsString(v))
        return rlx_chat_add(c, "default", file, v->valuestring, strlen(v->valuestring));
    if (v && !cJSON_IsArray(v) && !cJSON_IsNull(v))
        return RLX_FAIL(RLX_INVALID_FILE, "%s: chat_template is no text and no list", file);
    cJSON_ArrayForEach(one, v)
    {
        const char *name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(one, "name"));
        const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(one, "template"));
        if (!name || !text)
            return RLX_FAIL(RLX_INVALID_FILE,
                            "%s: chat_template lists what has no name and "
                            "template",
                            file);
        RLX_TRY(rlx_chat_add(c, name, file, text, strlen(text)));
    }
    return RLX_OK;
}

/* The tokens of a file that have names: texts, or objects that have one as "content". */
static bool copy_tokens(const cJSON *json, cJSON *out)
{
    static const char *const names[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                        "pad_token", "cls_token", "mask_token"};
    bool whole = true;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const cJSON *v = cJSON_GetObjectItemCaseSensitive(json, names[i]);
        const cJSON *content = cJSON_GetObjectItemCaseSensitive(v, "content");
        const char *text = cJSON_GetStringValue(content ? content : v);
        if (text && !cJSON_HasObjectItem(out, names[i]))
            whole &= cJSON_AddStringToObject(out, names[i], text) != NULL;
    }
    return whole;
}

static rlx_status keep_tokens(rlx_chat *c, const cJSON *tokens)
{
    char *text = cJSON_PrintUnformatted(tokens);
    c->tokens = text ? strdup(text) : NULL; /* cJSON may have its own free */
    cJSON_free(text);
    return c->tokens ? RLX_OK : RLX_OOM();
}

/* Files of their own come before the ones that have a template among other things. */
static rlx_status read_templates(rlx_chat *c, const char *dir, const cJSON *config)
{
    char *path;
    cJSON *json = NULL;
    RLX_TRY(rlx_path_find(dir, "chat_template.jinja", &path));
    rlx_status st = path ? add_file(c, "default", path) : RLX_OK;
    free(path);
    if (!st)
        st = add_folder(c, dir, "additional_chat_templates");
    if (!st)
        st = add_folder(c, dir, "chat_templates");
    if (st || c->nsources)
        return st;
    st = rlx_path_read_json(dir, "chat_template.json", &json);
    if (!st && json)
        st = add_member(c, json, "chat_template.json");
    cJSON_Delete(json);
    if (!st && !c->nsources && config)
        st = add_member(c, config, "tokenizer_config.json");
    return st;
}

static rlx_status read_directory(rlx_chat *c, const char *dir)
{
    cJSON *config = NULL, *map = NULL, *tokens = cJSON_CreateObject();
    rlx_status st = tokens ? RLX_OK : RLX_OOM();
    if (!st)
        st = rlx_path_read_json(dir, "tokenizer_config.json", &config);
    if (!st)
        st = rlx_path_read_json(dir, "special_tokens_map.json", &map);
    if (!st)
        st = read_templates(c, dir, config);
    if (!st && (!copy_tokens(config, tokens) || !copy_tokens(map, tokens)))
        st = RLX_OOM();
    if (!st)
        st = keep_tokens(c, tokens);
    cJSON_Delete(config);
    cJSON_Delete(map);
    cJSON_Delete(tokens);
    return st;
}

/* ---- GGUF */

static rlx_status add_metadata(rlx_chat *c, const rlx_gguf *f)
{
    static const char key[] = "tokenizer.chat_template";
    const size_t len = sizeof key - 1;
    for (int i = 0; i < rlx_gguf_value_count(f); i++) {
        const rlx_gguf_value *v = rlx_gguf_value_at(f, i);
        if (strncmp(v->key, key, len) != 0 || (v->key[len] && v->key[len] != '.'))
            continue;
        if (v->type != RLX_GGUF_STRING)
            return RLX_FAIL(RLX_INVALID_FILE, "metadata %s is no text", v->key);
        RLX_TRY(rlx_chat_add(c, v->key[len] ? v->key + len + 1 : "default", v->key, v->text,
                             strlen(v->text)));
    }
    return RLX_OK;
}

/* Token `id` of the vocabulary, under `name`. */
static rlx_status add_token(const rlx_gguf *f, int64_t id, const char *name, cJSON *tokens)
{
    const rlx_gguf_value *list = rlx_gguf_find(f, "tokenizer.ggml.tokens");
    if (!list || list->type != RLX_GGUF_ARRAY || list->elem != RLX_GGUF_STRING || id < 0 ||
        (uint64_t)id >= list->count)
        return RLX_OK;
    rlx_gguf_items it = rlx_gguf_walk(list);
    const char *text = "";
    size_t bytes = 0;
    for (int64_t i = 0; i <= id; i++)
        rlx_gguf_next_text(&it, &text, &bytes);
    char *copy = strndup(text, bytes);
    bool kept = copy && cJSON_AddStringToObject(tokens, name, copy);
    free(copy);
    return kept ? RLX_OK : RLX_OOM();
}

static rlx_status read_tokens(rlx_chat *c, const rlx_gguf *f)
{
    static const struct {
        const char *key, *name;
    } known[] = {{"bos_token_id", "bos_token"},     {"eos_token_id", "eos_token"},
                 {"unknown_token_id", "unk_token"}, {"seperator_token_id", "sep_token"},
                 {"padding_token_id", "pad_token"}, {"cls_token_id", "cls_token"},
                 {"mask_token_id", "mask_token"}};
    cJSON *tokens = cJSON_CreateObject();
    rlx_status st = tokens ? RLX_OK : RLX_OOM();
    for (size_t i = 0; i < sizeof known / sizeof *known && !st; i++) {
        char key[64];
        int64_t id;
        snprintf(key, sizeof key, "tokenizer.ggml.%s", known[i].key);
        const rlx_gguf_value *v = rlx_gguf_find(f, key);
        if (v && rlx_gguf_int(v, &id))
            st = add_token(f, id, known[i].name, tokens);
    }
    if (!st)
        st = keep_tokens(c, tokens);
    cJSON_Delete(tokens);
    return st;
}

static rlx_status read_gguf(rlx_chat *c)
{
    rlx_gguf **parts;
    int n;
    RLX_TRY(rlx_gguf_open_parts(c->path, &parts, &n));
    rlx_status st = add_metadata(c, parts[0]);
    if (!st)
        st = read_tokens(c, parts[0]);
    rlx_gguf_close_parts(parts, n);
    return st;
}

rlx_status rlx_chat_read(rlx_chat *c)
{
    rlx_model_path p;
    rlx_status st = rlx_model_path_init(c->path, &p);
    if (!st)
        st = p.gguf ? read_gguf(c) : read_directory(c, p.dir);
    rlx_model_path_deinit(&p);
    return st;
}
