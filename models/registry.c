/* models/registry.c: model_type to family. */
#include <string.h>

#include "models/families.h"

static const rlx_family families[] = {
#define FAMILY(name, model_type) {model_type, rlx_##name##_build},
#include "models/families.def"
#undef FAMILY
};

int rlx_family_count(void)
{
    return (int)(sizeof(families) / sizeof(families[0]));
}

const rlx_family *rlx_family_at(int i)
{
    return &families[i];
}

const rlx_family *rlx_family_find(const char *model_type)
{
    for (int i = 0; i < rlx_family_count(); i++)
        if (!strcmp(families[i].model_type, model_type))
            return &families[i];
    return NULL;
}
