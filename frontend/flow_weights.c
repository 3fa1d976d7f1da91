/* frontend/flow_weights.c: what a flow uses of a set of weights: what is missing, what is left
 * over. */
#include <stdlib.h>
#include <string.h>

#include "frontend/flow.h"

enum { LISTED = 12 }; /* names that an error lists before it only counts */

rlx_status rlx_flow_find_weights(const rlx_flow *f, const rlx_weights *w, const rlx_tensor **found)
{
    rlx_text name = {0}, missing = {0};
    int nmissing = 0;
    for (int i = 0; i < f->nstages * RLX_STAGE_KEYS && !name.oom; i++) {
        const rlx_stage *s = &f->stages[i / RLX_STAGE_KEYS];
        const char *key = s->key[i % RLX_STAGE_KEYS];
        found[i] = NULL;
        if (!key)
            continue;
        rlx_text_clear(&name);
        rlx_flow_put_resolved(s, key, &name);
        found[i] = name.oom ? NULL : rlx_weights_find(w, name.data);
        if (!found[i] && !name.oom && nmissing++ < LISTED)
            rlx_text_putf(&missing, "%s%s", nmissing > 1 ? ", " : "", name.data);
    }
    rlx_status st = name.oom ? RLX_OOM() : RLX_OK;
    if (!st && nmissing)
        st = RLX_FAIL(RLX_NOT_FOUND, "%d weight%s missing: %s%s", nmissing,
                      nmissing > 1 ? "s are" : " is", missing.data ? missing.data : "",
                      nmissing > LISTED ? ", ..." : "");
    rlx_text_deinit(&name);
    rlx_text_deinit(&missing);
    return st;
}

static int compare_pointers(const void *a, const void *b)
{
    const uintptr_t x = (uintptr_t) * (const void *const *)a,
                    y = (uintptr_t) * (const void *const *)b;
    return (x > y) - (x < y);
}

static bool ends_with_any(const char *name, const char *const *endings)
{
    const size_t len = strlen(name);
    for (; *endings; endings++) {
        const size_t n = strlen(*endings);
        if (n <= len && !strcmp(name + len - n, *endings))
            return true;
    }
    return false;
}

static rlx_status list_unused(const rlx_weights *w, const char *const *ignore,
                              const rlx_tensor **used, size_t nused)
{
    rlx_text list = {0};
    int unused = 0;
    qsort(used, nused, sizeof(*used), compare_pointers);
    for (int i = 0; i < rlx_weights_count(w); i++) {
        const rlx_tensor *t = rlx_weights_at(w, i);
        if (ends_with_any(t->name, ignore) ||
            bsearch(&t, used, nused, sizeof(*used), compare_pointers))
            continue;
        if (unused++ < LISTED)
            rlx_text_putf(&list, "%s%s", unused > 1 ? ", " : "", t->name);
    }
    rlx_status st = RLX_OK;
    if (unused)
        st = RLX_FAIL(RLX_INVALID_FILE, "the model does not use %d tensor%s: %s%s", unused,
                      unused > 1 ? "s" : "", list.data ? list.data : "",
                      unused > LISTED ? ", ..." : "");
    rlx_text_deinit(&list);
    return st;
}

rlx_status rlx_flow_check_weights(const rlx_flow *f, const rlx_weights *w,
                                  const char *const *ignore)
{
    RLX_TRY(rlx_flow_check(f));
    for (int i = 0; i < f->nstages; i++)
        if (f->stages[i].kind == RLX_STAGE_CUSTOM)
            return RLX_FAIL(
                RLX_UNSUPPORTED,
                "what custom stage \"%s\" uses of the weights is known when it is built",
                f->stages[i].name);
    const size_t slots = (size_t)f->nstages * RLX_STAGE_KEYS;
    const rlx_tensor **found = malloc(sizeof(*found) * (slots + 1));
    if (!found)
        return RLX_OOM();
    rlx_status st = rlx_flow_find_weights(f, w, found);
    if (!st)
        st = list_unused(w, ignore, found, slots);
    free(found);
    return st;
}
