/* mir/mir_optimize.c: the pipeline between hir/lower and mir/lower, and how RLX_CHECK=eval compares
 * a module before and after one of its passes: the functions that nobody calls run on the same
 * made-up tensors, and every bit of their results and of the states must agree. */
#include <stdlib.h>
#include <string.h>

#include "mir/mir.h"

/* ---- made-up tensors ------------------------------------------------------------------------- */

/* Every symbol has this value, and integers are 0 or 1: indices of whatever kind are in range. */
enum { EXTENT = 3 };

typedef struct made {
    rlx_eval_tensor tensor;
    size_t bytes;
    bool is_state;
    struct made *next;
} made;

typedef struct world {
    const rlx_ir_module *module;
    rlx_arena *arena;
    int64_t symbols[RLX_MAX_SYMBOLS];
    made *first;
} world;

static uint64_t next_random(uint64_t *s)
{
    *s ^= *s << 13;
    *s ^= *s >> 7;
    *s ^= *s << 17;
    return *s;
}

/* Whether `symbol` is `pattern` with a number for its "{}". */
static bool matches(const char *pattern, const char *symbol)
{
    const char *hole = strstr(pattern, "{}");
    if (!hole)
        return strcmp(pattern, symbol) == 0;
    size_t head = (size_t)(hole - pattern);
    if (strncmp(pattern, symbol, head) != 0)
        return false;
    const char *rest = symbol + head;
    size_t digits = strspn(rest, "0123456789");
    return digits > 0 && strcmp(rest + digits, hole + 2) == 0;
}

static bool is_called(const rlx_ir_module *m, const char *name)
{
    for (const rlx_ir_func *f = m->first; f; f = f->next)
        for (const rlx_ir_node *n = f->body->first; n; n = n->next)
            if (n->op == RLX_MIR_CALL &&
                strcmp(rlx_ir_attr_text(n, RLX_ATTR_CALLEE, ""), name) == 0)
                return true;
    return false;
}

/* The argument that a name is bound to. An entry's VALUE arguments bind like inputs. */
static const rlx_ir_value *find_arg(const world *w, rlx_role role, const char *symbol)
{
    for (const rlx_ir_func *f = w->module->first; f; f = f->next)
        for (int i = 0; i < f->body->nargs; i++) {
            const rlx_ir_arg_info *info = &f->arg_info[i];
            bool value = role == RLX_ROLE_INPUT && info->role == RLX_ROLE_VALUE &&
                         !is_called(w->module, f->name);
            const char *pattern = value ? f->body->args[i]->name : info->symbol;
            if ((value || info->role == role) && pattern && matches(pattern, symbol))
                return f->body->args[i];
        }
    return NULL;
}

static void fill(made *t, const char *symbol, int64_t elems)
{
    rlx_hash h = rlx_hash_bytes(symbol, strlen(symbol));
    uint64_t seed;
    memcpy(&seed, h.bytes, sizeof seed);
    seed |= 1;
    bool is_float = rlx_format_is_float(t->tensor.format);
    if (rlx_format_get(t->tensor.format)->kind == RLX_KIND_BLOCK) {
        rlx_format_make_blocks(t->tensor.format, t->tensor.data, elems, seed);
        return;
    }
    for (int64_t i = 0; i < elems; i++) {
        uint64_t r = next_random(&seed) >> 40; /* 24 bits */
        rlx_format_store(t->tensor.format, t->tensor.data, i,
                         is_float ? (double)r / (1 << 23) - 1 : (double)(r & 1));
    }
}

static rlx_eval_tensor *find(void *user, rlx_role role, const char *symbol)
{
    world *w = user;
    for (made *t = w->first; t; t = t->next)
        if (strcmp(t->tensor.name, symbol) == 0)
            return &t->tensor;
    const rlx_ir_value *arg = find_arg(w, role, symbol);
    made *t = arg ? RLX_NEW(w->arena, made) : NULL;
    if (!t)
        return NULL;
    int64_t elems = 1;
    t->tensor.name = rlx_arena_strdup(w->arena, symbol);
    t->tensor.format = arg->type.format;
    t->tensor.rank = arg->type.rank;
    for (int i = 0; i < arg->type.rank; i++) {
        t->tensor.dim[i] = rlx_dim_eval(w->module->dims, arg->type.dim[i], w->symbols);
        elems *= t->tensor.dim[i];
    }
    t->bytes = rlx_format_bytes(arg->type.format, elems);
    t->tensor.data = rlx_arena_alloc(w->arena, t->bytes + 1);
    t->is_state = role == RLX_ROLE_STATE;
    if (!t->tensor.name || !t->tensor.data)
        return NULL;
    fill(t, symbol, elems);
    t->next = w->first;
    w->first = t;
    return &t->tensor;
}

/* ---- comparing ------------------------------------------------------------------------------- */

static size_t tensor_bytes(const rlx_eval_tensor *t)
{
    int64_t elems = 1;
    for (int i = 0; i < t->rank; i++)
        elems *= t->dim[i];
    return rlx_format_bytes(t->format, elems);
}

static rlx_status compare_states(world *before, world *after)
{
    for (made *t = before->first; t; t = t->next) {
        if (!t->is_state)
            continue;
        const rlx_eval_tensor *other = find(after, RLX_ROLE_STATE, t->tensor.name);
        if (!other || memcmp(other->data, t->tensor.data, t->bytes) != 0)
            return RLX_FAIL(RLX_INTERNAL, "state \"%s\" differs", t->tensor.name);
    }
    return RLX_OK;
}

static rlx_status compare_results(const rlx_ir_func *f, const rlx_eval_tensor *a,
                                  const rlx_eval_tensor *b)
{
    for (int i = 0; i < f->nresults; i++) {
        size_t bytes = tensor_bytes(&a[i]);
        if (bytes != tensor_bytes(&b[i]) || memcmp(a[i].data, b[i].data, bytes) != 0)
            return RLX_FAIL(RLX_INTERNAL, "result %d of @%s differs", i, f->name);
    }
    return RLX_OK;
}

static rlx_status compare_func(const rlx_ir_func *f, world *before, world *after)
{
    int n = f->nresults;
    rlx_eval_tensor *a = calloc((size_t)n + 1, sizeof *a), *b = calloc((size_t)n + 1, sizeof *b);
    rlx_status st = a && b ? RLX_OK : RLX_OOM();
    if (!st)
        st = rlx_mir_eval(before->module, f->name, &(rlx_eval_env){find, before, before->symbols},
                          a, n);
    if (!st)
        st = rlx_mir_eval(after->module, f->name, &(rlx_eval_env){find, after, after->symbols}, b,
                          n);
    if (!st)
        st = compare_results(f, a, b);
    if (!st)
        st = compare_states(before, after);
    for (int i = 0; a && b && i < n; i++) {
        free(a[i].data);
        free(b[i].data);
    }
    free(a);
    free(b);
    return st;
}

static bool world_init(world *w, const rlx_ir_module *m)
{
    *w = (world){.module = m, .arena = rlx_arena_create()};
    for (int i = 0; i < RLX_MAX_SYMBOLS; i++)
        w->symbols[i] = EXTENT;
    return w->arena != NULL;
}

rlx_status rlx_mir_compare(void *user, rlx_ir_module *before, rlx_ir_module *after)
{
    (void)user;
    rlx_status st = RLX_OK;
    for (const rlx_ir_func *f = before->first; f && !st; f = f->next) {
        if (is_called(before, f->name))
            continue;
        world a, b;
        bool made_a = world_init(&a, before), made_b = world_init(&b, after);
        st = made_a && made_b ? compare_func(f, &a, &b) : RLX_OOM();
        rlx_arena_destroy(a.arena);
        rlx_arena_destroy(b.arena);
    }
    return st;
}

/* ---- the pipeline ---------------------------------------------------------------------------- */

rlx_status rlx_mir_optimize(rlx_ir_module *m)
{
    return rlx_mir_optimize_with(m, &(rlx_mir_optimize_options){0});
}

rlx_status rlx_mir_optimize_with(rlx_ir_module *m, const rlx_mir_optimize_options *how)
{
    const rlx_pass passes[] = {rlx_mir_pass_fold_empty, rlx_mir_pass_fold_views,
                               rlx_mir_pass_remove_dead, rlx_mir_pass_fuse_regions};
    rlx_pass_options options = {.options = how, .compare = rlx_mir_compare};
    return rlx_ir_run_passes(m, passes, sizeof passes / sizeof *passes, &options);
}
