/* frontend/evaluate.c: devices ref:lir and ref:mir: an executable whose work the evaluators do. The
 * tape, memory plan, sessions and pages are those of the code; so a difference tells the level at
 * fault. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/evaluate.h"

typedef struct evaluator {
    rlx_compilation c;
    const rlx_weights *weights;  /* borrowed, or the compilation's tables */
    const rlx_program *program;  /* the executable's */
    const rlx_ir_func **kernels; /* by the program's kernel index */
    pthread_mutex_t lock;        /* evaluators write to the module's scratch */
} evaluator;

static void destroy(void *user)
{
    evaluator *e = user;
    rlx_compilation_deinit(&e->c);
    free(e->kernels);
    pthread_mutex_destroy(&e->lock);
    free(e);
}

/* ---- ref:lir: kernel by kernel */

static size_t buffer_bytes(const evaluator *e, const rlx_ir_type *t, const int64_t *symbols)
{
    int64_t elems = 1;
    for (int d = 0; d < t->rank; d++)
        elems *= rlx_dim_eval(e->c.dims, t->dim[d], symbols);
    return rlx_format_bytes(t->format, elems);
}

/* One member of the team evaluates for all: the interpreter goes through the teams itself. */
static rlx_status launch(void *user, uint32_t kernel, void *const *buffers, const int64_t *symbols,
                         int64_t team, int64_t teams)
{
    evaluator *e = user;
    if (team)
        return RLX_OK;
    const rlx_ir_func *k = e->kernels[kernel];
    int n = k->body->nargs;
    rlx_lir_buffer *b = calloc((size_t)n + 1, sizeof *b);
    if (!b)
        return RLX_OOM();
    for (int i = 0; i < n; i++)
        b[i] = (rlx_lir_buffer){buffers[i], buffer_bytes(e, &k->body->args[i]->type, symbols)};
    pthread_mutex_lock(&e->lock);
    rlx_status st =
        rlx_lir_eval_kernel(k, b, n, symbols, &(rlx_lir_eval_options){.teams = (int)teams});
    pthread_mutex_unlock(&e->lock);
    free(b);
    RLX_TRY_NOTE(st, "evaluating kernel @%s", k->name);
    return RLX_OK;
}

/* ---- ref:mir: step by step */

typedef struct found {
    rlx_eval_tensor tensor;
    struct found *next;
    char name[];
} found;

typedef struct mir_step {
    const evaluator *e;
    void *(*bind)(void *cx, const char *name);
    void *cx;
    const int64_t *symbols;
    found *all; /* freed when the step is over */
} mir_step;

/* Is `name` the template with a number for "{}"? */
static bool is_instance(const char *template, const char *name)
{
    const char *hole = strstr(template, "{}");
    if (!hole)
        return !strcmp(template, name);
    size_t head = (size_t)(hole - template);
    if (strncmp(template, name, head))
        return false;
    size_t digits = strspn(name + head, "0123456789");
    return digits && !strcmp(name + head + digits, hole + 2);
}

/* The argument of `f` that binds a name for one of the layers first..first+count-1. */
static const rlx_ir_type *find_arg(const rlx_ir_func *f, rlx_role role, const char *name,
                                   int64_t first, int64_t count)
{
    for (int i = 0; i < f->body->nargs; i++) {
        const char *symbol = f->arg_info[i].symbol;
        if (f->arg_info[i].role != role || !is_instance(symbol, name))
            continue;
        const char *hole = strstr(symbol, "{}");
        const int64_t layer = hole ? strtoll(name + (hole - symbol), NULL, 10) : first;
        if (layer >= first && layer < first + count)
            return &f->body->args[i]->type;
    }
    return NULL;
}

/* A state's type: layers of several shapes have it by one template. */
static const rlx_ir_type *state_type(const mir_step *s, const char *name)
{
    const rlx_ir_module *m = s->e->c.mir;
    const rlx_ir_func *entry = rlx_ir_func_find(m, RLX_ENTRY);
    const rlx_ir_type *t = find_arg(entry, RLX_ROLE_STATE, name, 0, 1);
    for (const rlx_ir_node *n = entry->body->first; n && !t; n = n->next)
        if (n->op == RLX_MIR_CALL)
            t = find_arg(rlx_ir_func_find(m, rlx_ir_attr_text(n, RLX_ATTR_CALLEE, "")),
                         RLX_ROLE_STATE, name, rlx_ir_attr_int(n, RLX_ATTR_FIRST, 0),
                         rlx_ir_attr_int(n, RLX_ATTR_COUNT, 1));
    return t;
}

static bool describe(const mir_step *s, rlx_role role, const char *name, rlx_eval_tensor *out)
{
    const rlx_ir_type *state = role == RLX_ROLE_STATE ? state_type(s, name) : NULL;
    if (state) {
        *out = (rlx_eval_tensor){
            .format = state->format, .rank = state->rank, .data = s->bind(s->cx, name)};
        for (int d = 0; d < state->rank; d++)
            out->dim[d] = rlx_dim_eval(s->e->c.dims, state->dim[d], s->symbols);
        return out->data != NULL;
    }
    const rlx_tensor *w = role == RLX_ROLE_WEIGHT ? rlx_weights_find(s->e->weights, name) : NULL;
    if (w) {
        *out = (rlx_eval_tensor){.format = w->format, .rank = w->rank, .data = (void *)w->data};
        memcpy(out->dim, w->dim, sizeof w->dim);
        return true;
    }
    const rlx_program *p = s->e->program;
    for (uint32_t i = 0; i < p->nbound; i++) {
        const rlx_program_tensor *t = &p->bound[i];
        if (t->kind == RLX_BIND_WEIGHT || !is_instance(t->name, name))
            continue;
        *out =
            (rlx_eval_tensor){.format = t->format, .rank = t->rank, .data = s->bind(s->cx, name)};
        for (int d = 0; d < t->rank; d++)
            out->dim[d] = rlx_dim_eval(p->dims, t->dim[d], s->symbols);
        return out->data != NULL;
    }
    return false;
}

static rlx_eval_tensor *find(void *user, rlx_role role, const char *symbol)
{
    mir_step *s = user;
    for (found *f = s->all; f; f = f->next)
        if (!strcmp(f->name, symbol))
            return &f->tensor;
    size_t n = strlen(symbol) + 1;
    found *f = malloc(sizeof *f + n);
    if (!f || !describe(s, role, symbol, &f->tensor)) {
        free(f);
        return NULL;
    }
    memcpy(f->name, symbol, n);
    f->tensor.name = f->name;
    f->next = s->all;
    s->all = f;
    return &f->tensor;
}

static rlx_status write_outputs(const mir_step *s, const rlx_eval_tensor *results)
{
    const rlx_flow_outputs *o = &s->e->c.outputs;
    for (int i = 0; i < o->n; i++) {
        void *to = s->bind(s->cx, o->name[i]);
        int64_t elems = 1;
        for (int d = 0; d < results[i].rank; d++)
            elems *= results[i].dim[d];
        if (!to)
            return RLX_FAIL(RLX_INTERNAL, "output \"%s\" has no place", o->name[i]);
        memcpy(to, results[i].data, rlx_format_bytes(results[i].format, elems));
    }
    return RLX_OK;
}

static rlx_status step(void *user, void *(*bind)(void *cx, const char *name), void *cx,
                       const int64_t *symbols)
{
    evaluator *e = user;
    int n = e->c.outputs.n;
    mir_step s = {.e = e, .bind = bind, .cx = cx, .symbols = symbols};
    rlx_eval_env env = {.find = find, .user = &s, .symbols = symbols};
    rlx_eval_tensor *results = calloc((size_t)n + 1, sizeof *results);
    if (!results)
        return RLX_OOM();
    pthread_mutex_lock(&e->lock);
    rlx_status st = rlx_mir_eval(e->c.mir, RLX_ENTRY, &env, results, n);
    pthread_mutex_unlock(&e->lock);
    if (!st)
        st = write_outputs(&s, results);
    for (int i = 0; i < n; i++)
        free(results[i].data);
    free(results);
    for (found *f; (f = s.all); free(f))
        s.all = f->next;
    RLX_TRY_NOTE(st, "evaluating a step of @%s", RLX_ENTRY);
    return RLX_OK;
}

/* ---- making one */

static rlx_status index_kernels(evaluator *e)
{
    e->kernels = calloc((size_t)e->program->nkernels + 1, sizeof *e->kernels);
    if (!e->kernels)
        return RLX_OOM();
    for (uint32_t i = 0; i < e->program->nkernels; i++) {
        e->kernels[i] = rlx_ir_func_find(e->c.lir, e->program->kernels[i].name);
        if (!e->kernels[i])
            return RLX_FAIL(RLX_INTERNAL, "the program's kernel %s is not in the module",
                            e->program->kernels[i].name);
    }
    return RLX_OK;
}

rlx_status rlx_evaluator_create(rlx_compilation *c, rlx_runner runner, rlx_program *p,
                                const rlx_weights *w, rlx_executable **out)
{
    evaluator *e = calloc(1, sizeof *e);
    if (!e) {
        rlx_compilation_deinit(c);
        rlx_program_destroy(p);
        return RLX_OOM();
    }
    e->c = *c;
    *c = (rlx_compilation){0};
    e->weights = e->c.outputs.tables ? e->c.outputs.tables : w;
    e->program = p;
    pthread_mutex_init(&e->lock, NULL);
    rlx_engine engine = {.user = e, .destroy = destroy};
    if (runner == RLX_RUN_EVAL_LIR)
        engine.launch = launch;
    else
        engine.step = step;
    rlx_status st = index_kernels(e);
    if (st)
        rlx_program_destroy(p);
    else
        st = rlx_executable_create_program(p, e->weights, &engine, out);
    if (st)
        destroy(e);
    return st;
}
