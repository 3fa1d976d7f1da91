#include "frontend/registry.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/status.h"
#include "runtime/base/text.h"

enum { MOST = 128 };

/* What all entries begin with. */
typedef struct entry {
    const char *name, *meaning;
} entry;

static const char *const kinds[RLX_REGISTRY_KINDS] = {"plugin", "extension", "recipe"};
static struct {
    entry *at[MOST];
    int n;
} lists[RLX_REGISTRY_KINDS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static const entry *get(rlx_registry_kind kind, int i)
{
    pthread_mutex_lock(&lock);
    const entry *e = i < lists[kind].n ? lists[kind].at[i] : NULL;
    pthread_mutex_unlock(&lock);
    return e;
}

static const entry *find(rlx_registry_kind kind, const char *name)
{
    const entry *e;
    for (int i = 0; (e = get(kind, i)); i++)
        if (!strcmp(e->name, name))
            return e;
    return NULL;
}

rlx_status rlx_registry_add(rlx_registry_kind kind, const void *given, size_t bytes,
                            bool has_function)
{
    const entry *from = given;
    if (!from->name || !*from->name || !has_function)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "%s \"%s\" needs a name and a function", kinds[kind],
                        from->name ? from->name : "");
    entry *e = malloc(bytes);
    char *name = strdup(from->name), *meaning = strdup(from->meaning ? from->meaning : "");
    rlx_status st = e && name && meaning ? RLX_OK : RLX_OOM();
    if (!st) {
        memcpy(e, from, bytes);
        e->name = name;
        e->meaning = meaning;
        pthread_mutex_lock(&lock);
        for (int i = 0; i < lists[kind].n && !st; i++)
            if (!strcmp(lists[kind].at[i]->name, name))
                st = RLX_FAIL(RLX_INVALID_ARGUMENT, "two %ss \"%s\"", kinds[kind], name);
        if (!st && lists[kind].n == MOST)
            st = RLX_FAIL(RLX_EXHAUSTED, "more than %d %ss", MOST, kinds[kind]);
        if (!st)
            lists[kind].at[lists[kind].n++] = e;
        pthread_mutex_unlock(&lock);
    }
    if (st) {
        free(e);
        free(name);
        free(meaning);
    }
    return st;
}

rlx_status rlx_plugin_register(const rlx_plugin *p)
{
    return rlx_registry_add(RLX_REGISTRY_PLUGIN, p, sizeof *p, p->build != NULL);
}

rlx_status rlx_extension_register(const rlx_extension *e)
{
    return rlx_registry_add(RLX_REGISTRY_EXTENSION, e, sizeof *e, e->rewrite != NULL);
}

const rlx_plugin *rlx_registry_find_plugin(const char *name)
{
    return (const rlx_plugin *)find(RLX_REGISTRY_PLUGIN, name);
}

const rlx_extension *rlx_registry_find_extension(const char *name)
{
    return (const rlx_extension *)find(RLX_REGISTRY_EXTENSION, name);
}

const rlx_recipe *rlx_registry_find_recipe(const char *name)
{
    return (const rlx_recipe *)find(RLX_REGISTRY_RECIPE, name);
}

const rlx_extension *rlx_registry_extension_at(int i)
{
    return (const rlx_extension *)get(RLX_REGISTRY_EXTENSION, i);
}

rlx_status rlx_registry_unknown(rlx_registry_kind kind, const char *name, const char *const *others,
                                int nothers)
{
    const char *names[2 * MOST];
    const entry *e;
    int n = 0;
    for (int i = 0; (e = get(kind, i)); i++)
        names[n++] = e->name;
    for (int i = 0; i < nothers && n < 2 * MOST; i++)
        names[n++] = others[i];
    const char *near = rlx_text_nearest(name, names, (size_t)n);
    rlx_text list = {0};
    if (near)
        rlx_text_putf(&list, "; did you mean \"%s\"?", near);
    for (int i = 0; !near && i < n; i++)
        rlx_text_putf(&list, "%s\"%s\"", i ? ", " : "; there are ", names[i]);
    rlx_status st = RLX_FAIL(RLX_NOT_FOUND, "no %s \"%s\"%s", kinds[kind], name,
                             list.data ? list.data
                             : n       ? ""
                                       : ": none is registered");
    rlx_text_deinit(&list);
    return st;
}
