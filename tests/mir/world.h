/* tests/mir/world.h: named tensors for an evaluator, and modules from text. */
#ifndef RLX_TESTS_MIR_WORLD_H
#define RLX_TESTS_MIR_WORLD_H

#include "mir/mir.h"
#include "tests/base/suite.h"

enum { WORLD_TENSORS = 64 };

typedef struct world {
    rlx_dims *dims;
    rlx_ir_module *module;
    rlx_eval_tensor tensors[WORLD_TENSORS];
    char *names[WORLD_TENSORS];
    int ntensors;
    int64_t symbols[RLX_MAX_SYMBOLS];
    rlx_eval_env env;
} world;

static inline rlx_eval_tensor *world_find(void *user, rlx_role role, const char *symbol)
{
    world *w = user;
    (void)role;
    for (int i = 0; i < w->ntensors; i++)
        if (strcmp(w->tensors[i].name, symbol) == 0)
            return &w->tensors[i];
    return NULL;
}

/* Parses and verifies a module. `w` must stay where it is. */
static inline void world_open(world *w, const char *text)
{
    memset(w, 0, sizeof *w);
    w->dims = rlx_dims_create();
    assert_ok(rlx_ir_parse(&rlx_mir_level, w->dims, "test", text, &w->module));
    assert_ok(rlx_ir_verify(w->module));
    w->env = (rlx_eval_env){world_find, w, w->symbols};
}

static inline void world_close(world *w)
{
    rlx_ir_module_destroy(w->module);
    rlx_dims_destroy(w->dims);
    for (int i = 0; i < w->ntensors; i++) {
        free(w->tensors[i].data);
        free(w->names[i]);
    }
}

static inline void world_symbol(world *w, const char *name, int64_t value)
{
    int i = rlx_dim_symbol_index(w->dims, name);
    ck_assert_msg(i >= 0, "no symbol %s", name);
    w->symbols[i] = value;
}

static inline int64_t world_elems(const rlx_eval_tensor *t)
{
    int64_t n = 1;
    for (int i = 0; i < t->rank; i++)
        n *= t->dim[i];
    return n;
}

/* A tensor by name, made (zeroed) or, with the same shape, reused. Ends the shape with -1. */
static inline rlx_eval_tensor *world_tensor(world *w, const char *name, rlx_format f,
                                            const int64_t *shape)
{
    rlx_eval_tensor *t = world_find(w, RLX_ROLE_INPUT, name);
    if (!t) {
        ck_assert_int_lt(w->ntensors, WORLD_TENSORS);
        w->names[w->ntensors] = strdup(name);
        t = &w->tensors[w->ntensors++];
    }
    free(t->data);
    *t = (rlx_eval_tensor){.name = w->names[t - w->tensors], .format = f};
    while (shape[t->rank] >= 0) {
        t->dim[t->rank] = shape[t->rank];
        t->rank++;
    }
    t->data = calloc(1, rlx_format_bytes(f, world_elems(t)) + 1);
    ck_assert_ptr_nonnull(t->data);
    return t;
}
#define SHAPE(...) ((const int64_t[]){__VA_ARGS__ __VA_OPT__(, ) - 1})

/* Numbers in -1..1 with 24 bits, from a seed made of the tensor's name. */
static inline void world_fill(rlx_eval_tensor *t)
{
    uint32_t s = 2166136261u;
    for (const char *c = t->name; *c; c++)
        s = (s ^ (unsigned char)*c) * 16777619u;
    for (int64_t i = 0; i < world_elems(t); i++) {
        s = s * 1664525u + 1013904223u;
        rlx_format_store(t->format, t->data, i, (double)(s >> 8) / (1 << 23) - 1);
    }
}

static inline rlx_eval_tensor *world_random(world *w, const char *name, rlx_format f,
                                            const int64_t *shape)
{
    rlx_eval_tensor *t = world_tensor(w, name, f, shape);
    world_fill(t);
    return t;
}

static inline rlx_eval_tensor *world_ints(world *w, const char *name, int64_t n, const int32_t *v)
{
    rlx_eval_tensor *t = world_tensor(w, name, RLX_I32, SHAPE(n));
    memcpy(t->data, v, sizeof *v * (size_t)n);
    return t;
}

static inline rlx_eval_tensor *world_floats(world *w, const char *name, int64_t n, const float *v)
{
    rlx_eval_tensor *t = world_tensor(w, name, RLX_F32, SHAPE(n));
    memcpy(t->data, v, sizeof *v * (size_t)n);
    return t;
}

/* Runs @main, which has one result; the caller frees its data. */
static inline rlx_eval_tensor world_run(world *w)
{
    rlx_eval_tensor y;
    assert_ok(rlx_mir_eval(w->module, "main", &w->env, &y, 1));
    return y;
}

static inline float f32_at(const rlx_eval_tensor *t, int64_t i)
{
    return ((const float *)t->data)[i];
}

static inline bool same_bits(float a, float b)
{
    return memcmp(&a, &b, sizeof a) == 0;
}

#endif
