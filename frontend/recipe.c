/* frontend/recipe.c: configurations to flows: by recipes that programs register, and by the
 * families. */
#include <stdlib.h>

#include <cjson/cJSON.h>

#include "frontend/family.h"
#include "frontend/flow.h"
#include "frontend/registry.h"
#include "frontend/rope.h"

rlx_status rlx_recipe_register(const rlx_recipe *r)
{
    if (r->name && rlx_family_find(r->name))
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "recipe \"%s\" has the name of a family", r->name);
    return rlx_registry_add(RLX_REGISTRY_RECIPE, r, sizeof *r, r->assemble != NULL);
}

static rlx_status unknown(const char *name)
{
    const char *families[32];
    int n = 0;
    for (; n < rlx_family_count() && n < 32; n++)
        families[n] = rlx_family_at(n)->model_type;
    return rlx_registry_unknown(RLX_REGISTRY_RECIPE, name, families, n);
}

static rlx_status from_family(const rlx_family *family, const char *config, rlx_weights *w,
                              rlx_flow **out)
{
    const char *end = config ? config : "";
    cJSON *json = cJSON_ParseWithOpts(end, &end, true);
    rlx_model_config model = {0};
    rlx_status st;
    if (!w)
        st = RLX_FAIL(RLX_INVALID_ARGUMENT, "a family's flow depends on the weights: none given");
    else if (!json)
        st = RLX_FAIL(RLX_INVALID_FILE, "the config is not JSON at byte %td",
                      end - (config ? config : end));
    else
        st = family->build(json, w, out, &model);
    rlx_rope_destroy(model.rope);
    cJSON_Delete(json);
    return st;
}

static rlx_status assemble(const rlx_recipe *r, const rlx_recipe_input *in, rlx_flow **out)
{
    RLX_TRY(rlx_flow_create(r->name, out));
    rlx_status st = r->assemble(*out, in, r->user);
    if (!st)
        st = rlx_flow_check(*out);
    if (st) {
        rlx_flow_destroy(*out);
        *out = NULL;
    }
    return st;
}

rlx_status rlx_flow_from_recipe(const char *name, const rlx_recipe_input *in, rlx_flow **out)
{
    const rlx_recipe_input none = {0};
    *out = NULL;
    if (!name)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "a recipe needs a name");
    const rlx_recipe *r = rlx_registry_find_recipe(name);
    const rlx_family *family = r ? NULL : rlx_family_find(name);
    in = in ? in : &none;
    if (r)
        RLX_TRY_NOTE(assemble(r, in, out), "assembling a flow by recipe %s", name);
    else if (family)
        RLX_TRY_NOTE(from_family(family, in->config, in->weights, out),
                     "assembling a flow of family %s", name);
    else
        return unknown(name);
    return RLX_OK;
}
