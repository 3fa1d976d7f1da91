/* frontend/profile_find.c: the profile that lies beside a model's weights: FAMILY.rlx.toml. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "frontend/model_path.h"
#include "runtime/base/status.h"
#include "runtime/base/text.h"
#include "runtime/gguf.h"

/* "llama": model_type of config.json; general.architecture of a .gguf file. Heap; NULL: unknown. */
static rlx_status read_family(const rlx_model_path *p, char **out)
{
    *out = NULL;
    if (p->gguf) {
        rlx_gguf *f;
        RLX_TRY(rlx_gguf_open(p->given, &f));
        const rlx_gguf_value *v = rlx_gguf_find(f, "general.architecture");
        if (v && v->type == RLX_GGUF_STRING)
            *out = strdup(v->text);
        rlx_gguf_close(f);
        return RLX_OK;
    }
    cJSON *config = NULL;
    RLX_TRY(rlx_path_read_json(p->dir, "config.json", &config));
    const char *type = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(config, "model_type"));
    if (type && !strchr(type, '/'))
        *out = strdup(type);
    cJSON_Delete(config);
    return RLX_OK;
}

static rlx_status find(const rlx_model_path *p, char **path)
{
    char name[96], *family;
    RLX_TRY(read_family(p, &family));
    const bool fits = family && strlen(family) < sizeof name - 16 && !strchr(family, '/');
    snprintf(name, sizeof name, "%s.rlx.toml", fits ? family : "");
    free(family);
    return fits ? rlx_path_find(p->dir, name, path) : RLX_OK;
}

rlx_status rlx_profile_find(const char *model, char **path)
{
    rlx_model_path p = {0};
    *path = NULL;
    rlx_status st = rlx_model_path_init(model, &p);
    if (!st)
        st = find(&p, path);
    rlx_model_path_deinit(&p);
    if (rlx_status_code(st) == RLX_OUT_OF_MEMORY)
        return st;
    rlx_status_free(st); /* no model that can be read: loading it tells why */
    return RLX_OK;
}
