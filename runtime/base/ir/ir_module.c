/* Modules, functions, names: what is neither building nor changing. */
#include <string.h>

#include "runtime/base/ir/ir_internal.h"

bool rlx_ir_is_name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c && strchr("_.-$", c));
}

bool rlx_ir_is_func_name(const char *s)
{
    if (!*s)
        return false;
    for (; *s; s++)
        if (!rlx_ir_is_name_char(*s))
            return false;
    return true;
}

bool rlx_ir_is_value_name(const char *s)
{
    return rlx_ir_is_func_name(s) && !(*s >= '0' && *s <= '9');
}

rlx_status rlx_ir_module_create(const rlx_ir_level *level, rlx_dims *dims, const char *name,
                                rlx_ir_module **out)
{
    *out = NULL;
    rlx_arena *arena = rlx_arena_create();
    if (!arena)
        return RLX_OOM();
    rlx_ir_module *m = RLX_NEW(arena, rlx_ir_module);
    char *copy = m ? rlx_arena_strdup(arena, name && *name ? name : "module") : NULL;
    if (!copy) {
        rlx_arena_destroy(arena);
        return RLX_OOM();
    }
    for (char *c = copy; *c; c++) /* a label, often a file's name */
        if (!rlx_ir_is_name_char(*c))
            *c = '_';
    *m = (rlx_ir_module){.level = level, .name = copy, .arena = arena, .dims = dims};
    *out = m;
    return RLX_OK;
}

void rlx_ir_module_destroy(rlx_ir_module *m)
{
    if (m)
        rlx_arena_destroy(m->arena); /* the module lies in it */
}

rlx_ir_func *rlx_ir_func_find(const rlx_ir_module *m, const char *name)
{
    for (rlx_ir_func *f = m->first; f; f = f->next)
        if (strcmp(f->name, name) == 0)
            return f;
    return NULL;
}

void rlx_ir_func_remove(rlx_ir_module *m, rlx_ir_func *f)
{
    rlx_ir_func *before = NULL;
    for (rlx_ir_func *g = m->first; g && g != f; g = g->next)
        before = g;
    if (before)
        before->next = f->next;
    else
        m->first = f->next;
    if (m->last == f)
        m->last = before;
    f->next = NULL;
}

const rlx_ir_opinfo *rlx_ir_info(const rlx_ir_module *m, const rlx_ir_node *n)
{
    return &m->level->ops[n->op];
}

const rlx_attr *rlx_ir_attr(const rlx_ir_node *n, rlx_attr_key key)
{
    return rlx_attr_find(n->nattr, n->attr, key);
}

int64_t rlx_ir_attr_int(const rlx_ir_node *n, rlx_attr_key key, int64_t absent)
{
    const rlx_attr *a = rlx_ir_attr(n, key);
    return a ? a->i : absent;
}

double rlx_ir_attr_float(const rlx_ir_node *n, rlx_attr_key key, double absent)
{
    const rlx_attr *a = rlx_ir_attr(n, key);
    return a ? a->f : absent;
}

const char *rlx_ir_attr_text(const rlx_ir_node *n, rlx_attr_key key, const char *absent)
{
    const rlx_attr *a = rlx_ir_attr(n, key);
    return a ? a->text : absent;
}

const rlx_attr *rlx_ir_func_attr(const rlx_ir_func *f, rlx_attr_key key)
{
    return rlx_attr_find(f->nattr, f->attr, key);
}

/* The list with `attr` set or replaced, copied, in order. */
static rlx_status set_attr(rlx_ir_module *m, int *n, rlx_attr **attrs, const rlx_attr *attr)
{
    RLX_TRY(rlx_attr_check(attr));
    rlx_attr *one;
    if (!rlx_attr_copy_all(m->arena, 1, attr, &one))
        return RLX_OOM();
    int at = 0;
    while (at < *n && (*attrs)[at].key < attr->key)
        at++;
    if (at < *n && (*attrs)[at].key == attr->key) {
        (*attrs)[at] = *one;
        return RLX_OK;
    }
    rlx_attr *list = RLX_NEW_ARRAY(m->arena, rlx_attr, *n + 1);
    if (!list)
        return RLX_OOM();
    for (int i = 0; i < at; i++)
        list[i] = (*attrs)[i];
    list[at] = *one;
    for (int i = at; i < *n; i++)
        list[i + 1] = (*attrs)[i];
    *attrs = list;
    ++*n;
    return RLX_OK;
}

rlx_status rlx_ir_attr_set(rlx_ir_module *m, rlx_ir_node *n, rlx_attr attr)
{
    RLX_TRY_NOTE(set_attr(m, &n->nattr, &n->attr, &attr), "setting an attribute of %s",
                 rlx_ir_info(m, n)->mnemonic);
    return RLX_OK;
}

rlx_status rlx_ir_func_attr_set(rlx_ir_module *m, rlx_ir_func *f, rlx_attr attr)
{
    RLX_TRY_NOTE(set_attr(m, &f->nattr, &f->attr, &attr), "setting an attribute of @%s", f->name);
    return RLX_OK;
}
