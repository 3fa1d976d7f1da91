/* frontend/text/read_config.c: what tokenizer_config.json adds to files that are a vocabulary only.
 */
#include <stdlib.h>
#include <string.h>

#include "frontend/text/read_json.h"

static const char part[] = "tokenizer_config.json";

/* The number that a key of added_tokens_decoder spells; -1: none. */
static int32_t read_key(const char *key)
{
    char *end;
    long id = strtol(key, &end, 10);
    return *key >= '0' && *key <= '9' && !*end && id < RLX_MAX_TOKENS ? (int32_t)id : -1;
}

rlx_status rlx_config_max_id(const rlx_description *d, const struct cJSON *config, int32_t *max_id)
{
    const cJSON *v;
    cJSON_ArrayForEach(v, rlx_json_get(config, "added_tokens_decoder"))
    {
        int32_t id = v->string ? read_key(v->string) : -1;
        if (id < 0)
            return RLX_DESCRIPTION_FAIL(d, RLX_INVALID_FILE,
                                        "%s: added_tokens_decoder: \"%s\" is no id", part,
                                        v->string ? v->string : "");
        *max_id = id > *max_id ? id : *max_id;
    }
    return RLX_OK;
}

static rlx_status add_token(rlx_json_reader *r, int32_t id, const cJSON *v, bool normalized)
{
    static const struct {
        const char *key;
        uint32_t flag;
    } keys[] = {{"lstrip", RLX_ADDED_LSTRIP},
                {"rstrip", RLX_ADDED_RSTRIP},
                {"single_word", RLX_ADDED_WORD},
                {"normalized", RLX_ADDED_NORMALIZED}};
    const char *text = NULL;
    bool special = false;
    uint32_t flags = 0;
    RLX_TRY(rlx_json_text(r, part, v, "content", &text));
    RLX_TRY(rlx_json_flag(r, part, v, "special", &special));
    if (!text || !*text)
        return RLX_DESCRIPTION_FAIL(r->d, RLX_INVALID_FILE, "%s: token %d has no content", part,
                                    id);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        bool set = false;
        RLX_TRY(rlx_json_flag(r, part, v, keys[i].key, &set));
        flags |= set ? keys[i].flag : 0;
    }
    RLX_TRY(
        rlx_description_set_token(r->d, id, text, strlen(text), special ? RLX_TOKEN_SPECIAL : 0));
    return rlx_description_add_added(r->d, id, text, strlen(text),
                                     normalized ? flags : flags & ~(uint32_t)RLX_ADDED_NORMALIZED);
}

rlx_status rlx_config_add_tokens(rlx_description *d, const struct cJSON *config, bool normalized)
{
    rlx_json_reader r = {.d = d, .root = config};
    const cJSON *v;
    cJSON_ArrayForEach(v, rlx_json_get(config, "added_tokens_decoder"))
        RLX_TRY(add_token(&r, read_key(v->string), v, normalized));
    return RLX_OK;
}

/* "<s>", or an object with that as its content; -1: the config names none. */
static rlx_status find_named(rlx_json_reader *r, const char *key, int32_t *id)
{
    const cJSON *v = rlx_json_get(r->root, key);
    const char *text = cJSON_GetStringValue(cJSON_IsObject(v) ? rlx_json_get(v, "content") : v);
    *id = text ? rlx_description_find(r->d, text, strlen(text)) : -1;
    if (text && *id < 0)
        return RLX_DESCRIPTION_FAIL(r->d, RLX_INVALID_FILE,
                                    "%s: %s \"%s\" is not in the vocabulary", part, key, text);
    return RLX_OK;
}

rlx_status rlx_config_set_ends(rlx_description *d, const struct cJSON *config, bool bos, bool eos)
{
    rlx_json_reader r = {.d = d, .root = config};
    int32_t bos_id = -1, eos_id = -1;
    RLX_TRY(rlx_json_flag(&r, part, config, "add_bos_token", &bos));
    RLX_TRY(rlx_json_flag(&r, part, config, "add_eos_token", &eos));
    if (bos)
        RLX_TRY(find_named(&r, "bos_token", &bos_id));
    if (eos)
        RLX_TRY(find_named(&r, "eos_token", &eos_id));
    return rlx_description_set_ends(d, bos_id, eos_id);
}
