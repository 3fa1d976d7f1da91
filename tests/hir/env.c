#include "tests/hir/env.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/base/suite.h"

static rlx_eval_tensor *find(void *user, rlx_role role, const char *symbol)
{
    (void)role;
    test_env *e = user;
    for (int i = 0; i < e->n; i++)
        if (!strcmp(e->tensor[i].name, symbol))
            return &e->tensor[i];
    return NULL;
}

void env_init(test_env *e, uint64_t seed)
{
    *e = (test_env){.seed = seed, .dims = rlx_dims_create()};
    ck_assert_ptr_nonnull(e->dims);
    e->eval = (rlx_eval_env){.find = find, .user = e, .symbols = e->symbols};
}

static void free_tensors(test_env *e)
{
    for (int i = 0; i < e->n; i++) {
        free((char *)e->tensor[i].name);
        free(e->tensor[i].data);
    }
    e->n = 0;
}

void env_deinit(test_env *e)
{
    free_tensors(e);
    rlx_dims_destroy(e->dims);
}

void env_set(test_env *e, const char *symbol, int64_t value)
{
    ck_assert(rlx_dim_symbol(e->dims, symbol) != RLX_DIM_INVALID);
    e->symbols[rlx_dim_symbol_index(e->dims, symbol)] = value;
}

int64_t env_elems(const rlx_eval_tensor *t)
{
    int64_t elems = 1;
    for (int i = 0; i < t->rank; i++)
        elems *= t->dim[i];
    return elems;
}

rlx_eval_tensor *env_add(test_env *e, const char *name, rlx_format f, int rank, const int64_t *dims)
{
    rlx_eval_tensor *t = find(e, RLX_ROLE_INPUT, name);
    if (t) {
        free((char *)t->name);
        free(t->data);
    } else {
        ck_assert_int_lt(e->n, ENV_TENSORS);
        t = &e->tensor[e->n++];
    }
    *t = (rlx_eval_tensor){.name = strdup(name), .format = f, .rank = rank};
    memcpy(t->dim, dims, sizeof(*dims) * (size_t)rank);
    t->data = calloc(1, rlx_format_bytes(f, env_elems(t)) + 1);
    ck_assert_ptr_nonnull(t->data);
    return t;
}

double env_random(test_env *e)
{
    e->seed += 0x9e3779b97f4a7c15u; /* splitmix64 */
    uint64_t z = e->seed;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return (double)(z >> 11) / (double)(1ull << 52) - 1;
}

rlx_eval_tensor *env_add_random(test_env *e, const char *name, rlx_format f, int rank,
                                const int64_t *dims, double scale)
{
    rlx_eval_tensor *t = env_add(e, name, f, rank, dims);
    for (int64_t i = 0; i < env_elems(t); i++)
        rlx_format_store(f, t->data, i, scale * env_random(e));
    return t;
}

rlx_eval_tensor *env_add_ints(test_env *e, const char *name, int64_t n, const int32_t *values)
{
    rlx_eval_tensor *t = env_add(e, name, RLX_I32, 1, &n);
    memcpy(t->data, values, sizeof(*values) * (size_t)n);
    return t;
}

rlx_eval_tensor *env_get(test_env *e, const char *name)
{
    rlx_eval_tensor *t = find(e, RLX_ROLE_INPUT, name);
    ck_assert_msg(t != NULL, "no tensor %s", name);
    return t;
}

double env_at(const rlx_eval_tensor *t, int64_t i)
{
    return rlx_format_load(t->format, t->data, i);
}

static void bind_arg(test_env *e, const rlx_ir_func *f, int i, int64_t layer, double scale)
{
    const rlx_ir_type *type = &f->body->args[i]->type;
    const char *symbol = f->arg_info[i].symbol ? f->arg_info[i].symbol : f->body->args[i]->name;
    const char *hole = strstr(symbol, "{}");
    char name[128];
    if (hole)
        snprintf(name, sizeof(name), "%.*s%lld%s", (int)(hole - symbol), symbol, (long long)layer,
                 hole + 2);
    else
        snprintf(name, sizeof(name), "%s", symbol);
    if (find(e, RLX_ROLE_INPUT, name))
        return;
    int64_t dims[RLX_MAX_RANK];
    for (int d = 0; d < type->rank; d++)
        dims[d] = rlx_dim_eval(e->dims, type->dim[d], e->symbols);
    env_add_random(e, name, type->format, type->rank, dims, scale);
}

void env_bind(test_env *e, const rlx_ir_module *m, const char *entry, double scale)
{
    const rlx_ir_func *f = rlx_ir_func_find(m, entry);
    for (int i = 0; i < f->body->nargs; i++)
        bind_arg(e, f, i, -1, scale);
    for (const rlx_ir_node *n = f->body->first; n; n = n->next) {
        if (n->op != RLX_HIR_CALL)
            continue;
        const rlx_ir_func *callee = rlx_ir_func_find(m, rlx_ir_attr_text(n, RLX_ATTR_CALLEE, ""));
        const int64_t first = rlx_ir_attr_int(n, RLX_ATTR_FIRST, 0);
        for (int64_t layer = first; layer < first + rlx_ir_attr_int(n, RLX_ATTR_COUNT, 1); layer++)
            for (int i = 0; i < callee->body->nargs; i++)
                if (callee->arg_info[i].role != RLX_ROLE_VALUE)
                    bind_arg(e, callee, i, layer, scale);
    }
}

void env_copy(test_env *to, const test_env *from)
{
    env_init(to, from->seed);
    for (int i = 0; i < from->n; i++) {
        const rlx_eval_tensor *t = &from->tensor[i];
        memcpy(env_add(to, t->name, t->format, t->rank, t->dim)->data, t->data,
               rlx_format_bytes(t->format, env_elems(t)));
    }
    memcpy(to->symbols, from->symbols, sizeof(to->symbols));
}

double env_distance(const rlx_eval_tensor *a, const rlx_eval_tensor *b)
{
    ck_assert_int_eq(a->format, b->format);
    ck_assert_int_eq(a->rank, b->rank);
    for (int i = 0; i < a->rank; i++)
        ck_assert_int_eq(a->dim[i], b->dim[i]);
    double largest = 0;
    for (int64_t i = 0; i < env_elems(a); i++) {
        const double d = fabs(env_at(a, i) - env_at(b, i));
        if (!(d <= largest)) /* a NaN stays */
            largest = d;
    }
    return largest;
}
