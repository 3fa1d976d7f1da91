/* frontend/flow_weights.c: what a flow uses of a set of weights: what is missing, what is left
 * over. */
#include <stdlib.h>
#include <string.h>

#include "frontend/flow.h"
#include "hir/hir.h"

enum { LISTED = 12 }; /* names that an error lists before it only counts */

rlx_status rlx_flow_find_weights(const rlx_flow *f, const rlx_weights *w, const rlx_tensor **found)
{
    rlx_text name = {0}, missing = {0};
    const rlx_stage *first = NULL; /* that misses one */
    int nmissing = 0;
    for (int i = 0; i < f->nstages * RLX_STAGE_KEYS && !name.oom; i++) {
        const rlx_stage *s = &f->stages[i / RLX_STAGE_KEYS];
        const char *key = s->key[i % RLX_STAGE_KEYS];
        found[i] = NULL;
        if (!key || !rlx_flow_is_weight(s, i % RLX_STAGE_KEYS))
            continue;
        rlx_text_clear(&name);
        rlx_flow_put_resolved(s, key, &name);
        found[i] = name.oom ? NULL : rlx_weights_find(w, name.data);
        if (!found[i] && !name.oom && !nmissing)
            first = s;
        if (!found[i] && !name.oom && nmissing++ < LISTED)
            rlx_text_putf(&missing, "%s%s", nmissing > 1 ? ", " : "", name.data);
    }
    rlx_status st = name.oom ? RLX_OOM() : RLX_OK;
    if (!st && nmissing)
        st = RLX_FAIL(RLX_NOT_FOUND, "F3: %d weight%s missing: %s%s", nmissing,
                      nmissing > 1 ? "s are" : " is", missing.data ? missing.data : "",
                      nmissing > LISTED ? ", ..." : "");
    rlx_text_clear(&name);
    if (first)
        rlx_flow_put_stage(f, first, &name);
    if (st && name.data)
        st = rlx_status_note(st, __FILE__, __LINE__, "%s", name.data);
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

/* Which tensors are used: those in used[nused], and those that they were made of; heap. */
static bool *mark_used(const rlx_weights *w, const rlx_tensor **used, size_t nused)
{
    const int n = rlx_weights_count(w);
    bool *marks = calloc((size_t)n + 1, sizeof *marks);
    if (nused)
        qsort(used, nused, sizeof(*used), compare_pointers);
    for (int i = n - 1; marks && i >= 0; i--) { /* what a tensor is made of stands before it */
        const rlx_tensor *t = rlx_weights_at(w, i);
        rlx_tensor_origin from;
        rlx_weights_get_origin(w, i, &from);
        marks[i] |= nused && bsearch(&t, used, nused, sizeof(*used), compare_pointers) != NULL;
        if (from.source >= 0)
            marks[from.source] |= marks[i];
    }
    return marks;
}

static rlx_status list_unused(const rlx_weights *w, const char *const *ignore,
                              const rlx_tensor **used, size_t nused)
{
    rlx_text list = {0};
    int unused = 0;
    bool *marks = mark_used(w, used, nused);
    if (!marks)
        return RLX_OOM();
    for (int i = 0; i < rlx_weights_count(w); i++) {
        const rlx_tensor *t = rlx_weights_at(w, i);
        rlx_tensor_origin from;
        rlx_weights_get_origin(w, i, &from);
        if (marks[i] || from.source >= 0 || (ignore && ends_with_any(t->name, ignore)))
            continue;
        if (unused++ < LISTED)
            rlx_text_putf(&list, "%s%s", unused > 1 ? ", " : "", t->name);
    }
    free(marks);
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
        if (rlx_flow_is_built_by_caller(&f->stages[i]))
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

/* ---- of a flow that was built -----------------------------------------------------------------
 */

typedef struct used_list {
    const rlx_weights *w;
    const rlx_tensor **at; /* heap */
    size_t n, cap;
    bool oom;
} used_list;

static void put_used(used_list *u, const rlx_tensor *t)
{
    if (u->n == u->cap) {
        const size_t cap = u->cap ? 2 * u->cap : 256;
        const rlx_tensor **at = realloc(u->at, sizeof(*at) * cap);
        if (!at) {
            u->oom = true;
            return;
        }
        u->at = at;
        u->cap = cap;
    }
    u->at[u->n++] = t;
}

/* The weights of a function that runs as layer `layer`. */
static void use(used_list *u, const rlx_ir_func *f, int64_t layer)
{
    rlx_text name = {0};
    for (int i = 0; i < f->body->nargs; i++) {
        const char *symbol = f->arg_info[i].symbol;
        if (f->arg_info[i].role != RLX_ROLE_WEIGHT || !rlx_ir_count_uses(f->body, f->body->args[i]))
            continue;
        const char *hole = strstr(symbol, "{}");
        rlx_text_clear(&name);
        if (hole)
            rlx_text_putf(&name, "%.*s%lld%s", (int)(hole - symbol), symbol, (long long)layer,
                          hole + 2);
        else
            rlx_text_put(&name, symbol);
        if (!name.oom)
            put_used(u, rlx_weights_find(u->w, name.data));
    }
    u->oom = u->oom || name.oom;
    rlx_text_deinit(&name);
}

rlx_status rlx_flow_check_unused(const rlx_ir_func *entry, const rlx_ir_module *hir,
                                 const rlx_weights *w, const char *const *ignore)
{
    used_list u = {.w = w};
    use(&u, entry, -1);
    for (const rlx_ir_node *n = entry->body->first; n; n = n->next) {
        if (n->op != RLX_HIR_CALL)
            continue;
        const rlx_ir_func *callee = rlx_ir_func_find(hir, rlx_ir_attr_text(n, RLX_ATTR_CALLEE, ""));
        const int64_t first = rlx_ir_attr_int(n, RLX_ATTR_FIRST, -1);
        for (int64_t i = 0; i < rlx_ir_attr_int(n, RLX_ATTR_COUNT, 1); i++)
            use(&u, callee, first + i);
    }
    rlx_status st = u.oom ? RLX_OOM() : list_unused(w, ignore, u.at, u.n);
    free(u.at);
    return st;
}
