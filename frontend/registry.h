/* frontend/registry.h: what programs register by name, for the whole process: plugins, extensions,
 * recipes. Entries are never taken away, so that what was found stays. */
#ifndef RLX_FRONTEND_REGISTRY_H
#define RLX_FRONTEND_REGISTRY_H

#include "frontend/rlx.h"

typedef enum rlx_registry_kind {
    RLX_REGISTRY_PLUGIN,
    RLX_REGISTRY_EXTENSION,
    RLX_REGISTRY_RECIPE,
    RLX_REGISTRY_KINDS
} rlx_registry_kind;

/* NULL: there is none of that name. */
const rlx_plugin *rlx_registry_find_plugin(const char *name);
const rlx_extension *rlx_registry_find_extension(const char *name);
const rlx_recipe *rlx_registry_find_recipe(const char *name);
/* The i-th that was registered, or NULL. */
const rlx_extension *rlx_registry_extension_at(int i);
/* Adds a copy of an entry of `bytes` bytes that begins with name and meaning, with texts of its
 * own. */
rlx_status rlx_registry_add(rlx_registry_kind kind, const void *entry, size_t bytes,
                            bool has_function);
/* "no plugin "x"; did you mean "y"?": RLX_NOT_FOUND. `others` are known as well. */
rlx_status rlx_registry_unknown(rlx_registry_kind kind, const char *name, const char *const *others,
                                int nothers);

#endif
