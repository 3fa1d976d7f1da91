/* frontend/flow_layers.c: the stages of a repeat_layers to distinct layer functions and few calls.
 *
 *   layers 0..4, equal            -->  @layer_0; call @layer_0 first=0 count=5
 *   the same, probe after layer 2 -->  @layer_0; call first=0 count=3; call first=3 count=2
 *   the same, probe inside of 2   -->  @layer_0, @layer_1 (one more result); calls 0..1, 2, 3..4
 *   layers that store a stream    -->  @layer_0 (x, s) -> (x, s); call @layer_0 first=0 count=5
 *
 * Layers are compared as they were recorded, with the formats and shapes of their weights, so that
 * a function is built once per distinct layer and the others cost a comparison. What a custom stage
 * builds or an extension rewrites may depend on the layer: such functions are built and then
 * compared by their canonical text.
 */
#include <string.h>

#include "frontend/blocks/blocks.h"

/* What a layer's function takes and gives, by names of streams as they were recorded; "" is the
 * tensor that passes through. */
typedef struct interface {
    int nin, nout;
    const char *in[RLX_FLOW_MAX_STREAMS + 1], *out[RLX_FLOW_MAX_STREAMS + 1];
    int nsame; /* streams that are at the end what another one is, and no results of their own */
    const char *same[RLX_FLOW_MAX_STREAMS + 1], *as[RLX_FLOW_MAX_STREAMS + 1];
    bool repeats; /* one call may run it for several layers */
} interface;

/* One layer: its stages, and the function that it shares with its equals. */
typedef struct layer {
    int first, nstages;
    int nbody; /* those that build something in it: behind them are probe points and outputs */
    rlx_ir_func *func;
    const interface *face;
    bool tapped; /* its end is an output or a probe */
} layer;

static bool same_weight(const rlx_tensor *a, const rlx_tensor *b)
{
    if (a == b)
        return true;
    if (!a || !b || a->format != b->format || a->rank != b->rank)
        return false;
    return !memcmp(a->dim, b->dim, sizeof(a->dim[0]) * (size_t)a->rank);
}

/* Whether a stage adds a result to the layer's function: an output or a probe that is asked for. */
static bool is_tap(const rlx_flow_cx *cx, int stage)
{
    const rlx_stage *s = &cx->flow->stages[stage];
    return (s->kind == RLX_STAGE_OUTPUT || cx->request[stage] >= 0) &&
           !rlx_flow_ends_layer(cx->flow, s);
}

/* Whether two stages build the same HIR. The paths of probe points are no part of it. */
static bool same_stage(const rlx_flow_cx *cx, int a, int b)
{
    if (!rlx_flow_same_stage(&cx->flow->stages[a], &cx->flow->stages[b]) ||
        is_tap(cx, a) != is_tap(cx, b))
        return false;
    for (int k = 0; k < RLX_STAGE_KEYS; k++)
        if (!same_weight(cx->weight[a * RLX_STAGE_KEYS + k], cx->weight[b * RLX_STAGE_KEYS + k]))
            return false;
    return true;
}

static int find_in_env(const rlx_flow_env *env, const char *name)
{
    int i = env->n - 1;
    while (i >= 0 && strcmp(env->name[i], name))
        i--;
    return i;
}

static const rlx_stage *stage_of(const rlx_flow_cx *cx, const layer *l)
{
    return &cx->flow->stages[l->first];
}

/* Whether layer `a`, which finds `env`, is what `b` is, which has its function. */
static rlx_status same_layer(rlx_flow_cx *cx, const layer *a, const layer *b,
                             const rlx_flow_env *env, bool *same)
{
    *same = a->nbody == b->nbody;
    for (int i = 0; *same && i < a->nbody; i++)
        *same = same_stage(cx, a->first + i, b->first + i);
    for (int i = 0; *same && i < b->face->nin; i++) {
        const char *name = rlx_flow_resolve(cx, stage_of(cx, a), b->face->in[i]);
        if (!name)
            return RLX_OOM();
        const int at = find_in_env(env, name);
        *same = at >= 0 && rlx_ir_type_equal(&env->type[at], &b->func->body->args[i]->type);
    }
    return RLX_OK;
}

/* The repeat's layers, from stage `at` on. */
static rlx_status split_layers(const rlx_flow_cx *cx, int at, int *end, layer **out, int *n)
{
    const rlx_flow *f = cx->flow;
    *end = at;
    while (*end < f->nstages && f->stages[*end].repeat == f->stages[at].repeat)
        ++*end;
    layer *layers = RLX_NEW_ARRAY(cx->scratch, layer, *end - at);
    if (!layers)
        return RLX_OOM();
    *n = 0;
    for (int i = at; i < *end; i++) {
        if (i == at || f->stages[i].layer != f->stages[i - 1].layer)
            layers[(*n)++] = (layer){.first = i};
        layer *l = &layers[*n - 1];
        l->nstages++;
        if (!rlx_flow_ends_layer(f, &f->stages[i]))
            l->nbody = l->nstages;
        else if (f->stages[i].kind == RLX_STAGE_OUTPUT || cx->request[i] >= 0)
            l->tapped = true;
    }
    *out = layers;
    return RLX_OK;
}

/* ---- what a function takes and gives ----------------------------------------------------------
 */

/* A stream of a finished function, the tensor that passes through among them. */
typedef struct carried {
    rlx_flow_stream s;
    bool given; /* it is a result */
    bool taken; /* its argument is needed */
} carried;

/* Of streams with one value, which rather is the result: one that did not change needs none, one
 * that came in is handed on. */
static int rank_of(const carried *c)
{
    if (!c->given)
        return c->s.value == c->s.arg ? 3 : -1;
    return c->taken ? 2 : c->s.arg ? 1 : 0;
}

/* Streams that changed are results; what is the same as another one need not be. */
static void choose_results(carried *c, int n, interface *face)
{
    int best[RLX_FLOW_MAX_STREAMS + 1];
    for (int i = 0; i < n; i++)
        c[i].given = c[i].s.value != c[i].s.arg;
    for (int i = 0; i < n; i++) {
        best[i] = -1; /* the first of the best */
        for (int j = 0; j < n; j++)
            if (c[j].s.value == c[i].s.value &&
                (best[i] < 0 || rank_of(&c[j]) > rank_of(&c[best[i]])))
                best[i] = j;
    }
    for (int i = 0; i < n; i++) {
        if (!c[i].given || c[i].taken || best[i] == i)
            continue;
        c[i].given = false;
        face->same[face->nsame] = c[i].s.name;
        face->as[face->nsame++] = c[best[i]].s.name;
    }
}

/* Whether the argument is needed: something uses it, or, as the result has its type, a call for
 * several layers hands the one on as the other. */
static bool is_taken(const carried *c, const carried *all, int n, const rlx_ir_func *f)
{
    const rlx_ir_value *arg = c->s.arg;
    bool used = arg && rlx_ir_count_uses(f->body, arg) > 0;
    for (int i = 0; arg && !used && i < n; i++)
        used = all[i].given && all[i].s.value == arg;
    return used || (arg && c->given && rlx_ir_type_equal(&arg->type, &c->s.value->type));
}

/* Puts the function's VALUE arguments in the order of `in`, before the others. */
static rlx_status order_args(rlx_flow_cx *cx, rlx_ir_func *f, rlx_ir_value *const *in, int nin)
{
    rlx_ir_block *body = f->body;
    rlx_ir_value **args = RLX_NEW_ARRAY(cx->scratch, rlx_ir_value *, body->nargs + 1);
    rlx_ir_arg_info *info = RLX_NEW_ARRAY(cx->scratch, rlx_ir_arg_info, body->nargs + 1);
    if (!args || !info)
        return RLX_OOM();
    int n = 0;
    for (; n < nin; n++) {
        args[n] = in[n];
        info[n] = (rlx_ir_arg_info){.role = RLX_ROLE_VALUE};
    }
    for (int i = 0; i < body->nargs; i++)
        if (f->arg_info[i].role != RLX_ROLE_VALUE) {
            args[n] = body->args[i];
            info[n++] = f->arg_info[i];
        }
    for (int i = 0; i < n; i++) {
        body->args[i] = args[i];
        body->args[i]->index = (uint32_t)i;
        f->arg_info[i] = info[i];
    }
    body->nargs = n;
    return RLX_OK;
}

/* Ends a layer's function: first what is carried from layer to layer, as argument and result, then
 * what is only read, or only stored. */
static rlx_status end_layer(rlx_flow_cx *cx, rlx_ir_value *x, interface *face)
{
    rlx_flow_func *fn = cx->fn;
    carried all[RLX_FLOW_MAX_STREAMS + 1] = {{.s = {"", fn->x, x}}};
    rlx_ir_value *in[RLX_FLOW_MAX_STREAMS + 1], *out[RLX_FLOW_MAX_STREAMS + 1];
    const int n = fn->nstreams + 1;
    for (int i = 1; i < n; i++)
        all[i].s = fn->stream[i - 1];
    for (int i = 0; i < n; i++)
        all[i].taken = all[i].s.arg && rlx_ir_count_uses(fn->func->body, all[i].s.arg) > 0;
    choose_results(all, n, face);
    face->repeats = !fn->nresults;
    for (int i = 0; i < n; i++)
        all[i].taken = is_taken(&all[i], all, n, fn->func);
    for (int both = 1; both >= 0; both--)
        for (int i = 0; i < n; i++) {
            const carried *c = &all[i];
            if (c->taken && c->given == both) {
                in[face->nin] = c->s.arg;
                face->in[face->nin++] = c->s.name;
            }
            if (c->given && c->taken == both) {
                out[face->nout] = c->s.value;
                face->out[face->nout++] = c->s.name;
            }
            if (c->given && (!both && !c->taken))
                face->repeats = false;
            if (strstr(c->s.name, "{}"))
                face->repeats = false;
        }
    RLX_TRY(order_args(cx, fn->func, in, face->nin));
    return rlx_flow_end_func(cx, face->nout, out);
}

static rlx_status build_func(rlx_flow_cx *cx, layer *l, const rlx_flow_env *env, int number)
{
    rlx_flow_func *outer = cx->fn, *fn = RLX_NEW(cx->scratch, rlx_flow_func);
    interface *face = RLX_NEW(cx->scratch, interface);
    const char *name = rlx_arena_printf(cx->scratch, "layer_%d", number);
    RLX_TRY(name && fn && face ? rlx_flow_begin_func(cx, fn, name, true) : RLX_OOM());
    *face = (interface){0};
    fn->env = env;
    rlx_ir_value *x = rlx_ir_build_arg(&fn->b, fn->func, RLX_ROLE_VALUE, NULL, "x", env->type[0]);
    fn->x = x;
    RLX_TRY(rlx_ir_builder_finish(&fn->b));
    for (int i = 0; i < l->nbody; i++)
        RLX_TRY(rlx_flow_build_stage(cx, &cx->flow->stages[l->first + i]));
    RLX_TRY(end_layer(cx, x, face));
    RLX_TRY(rlx_flow_extend(cx, stage_of(cx, l)));
    l->func = fn->func;
    l->face = face;
    cx->fn = outer;
    if (l->func->nresults == 0) { /* nothing needs to be computed */
        rlx_ir_func_remove(cx->m, l->func);
        l->func = NULL;
        face->nin = 0;
    }
    return RLX_OK;
}

/* What a layer leaves for the next. */
static rlx_status leave(rlx_flow_cx *cx, const layer *l, rlx_flow_env *env)
{
    const interface *face = l->face;
    for (int i = 0; i < face->nout + face->nsame; i++) {
        const int same = i - face->nout;
        const char *recorded = same < 0 ? face->out[i] : face->same[same];
        const char *name = rlx_flow_resolve(cx, stage_of(cx, l), recorded);
        if (!name)
            return RLX_OOM();
        const char *as = same < 0 ? name : rlx_flow_resolve(cx, stage_of(cx, l), face->as[same]);
        if (!as)
            return RLX_OOM();
        const rlx_ir_type type = same < 0 ? l->func->results[i] : env->type[find_in_env(env, as)];
        int at = find_in_env(env, name);
        if (at < 0 && env->n > RLX_FLOW_MAX_STREAMS)
            return RLX_FAIL(RLX_EXHAUSTED, "more than %d streams", RLX_FLOW_MAX_STREAMS);
        if (at < 0)
            env->name[at = env->n++] = name;
        env->type[at] = type;
    }
    return RLX_OK;
}

/* What the layers of a repeat find. */
static void enter(const rlx_flow_func *main_func, rlx_flow_env *env)
{
    env->n = 1;
    env->name[0] = "";
    env->type[0] = main_func->x->type;
    for (int i = 0; i < main_func->nstreams; i++) {
        env->name[env->n] = main_func->stream[i].name;
        env->type[env->n++] = main_func->stream[i].value->type;
    }
}

static int count_funcs(const rlx_ir_module *m)
{
    int n = 0;
    for (const rlx_ir_func *f = m->first; f; f = f->next)
        n++;
    return n;
}

/* Whether what is built depends on which layer it is. */
static bool sees_index(const rlx_flow_cx *cx, const layer *l)
{
    if (cx->nextensions)
        return true;
    for (int i = l->first; i < l->first + l->nstages; i++)
        if (rlx_flow_is_built_by_caller(&cx->flow->stages[i]))
            return true;
    return false;
}

static bool same_func(const rlx_ir_func *a, const rlx_ir_func *b)
{
    if (!a || !b)
        return a == b;
    const rlx_hash x = rlx_ir_func_fingerprint(a), y = rlx_ir_func_fingerprint(b);
    static const rlx_hash unknown; /* out of memory */
    return !memcmp(x.bytes, y.bytes, sizeof x.bytes) &&
           memcmp(x.bytes, unknown.bytes, sizeof x.bytes);
}

static bool same_names(const char *const *a, int na, const char *const *b, int nb)
{
    bool same = na == nb;
    for (int i = 0; same && i < na; i++)
        same = !strcmp(a[i], b[i]);
    return same;
}

static bool same_face(const interface *a, const interface *b)
{
    return same_names(a->in, a->nin, b->in, b->nin) &&
           same_names(a->out, a->nout, b->out, b->nout) &&
           same_names(a->same, a->nsame, b->same, b->nsame) &&
           same_names(a->as, a->nsame, b->as, b->nsame);
}

/* What depends on the layer is known when it is built: the layer's function gives way to an equal
 * one that is there already. Returns whether it did. */
static bool replace_equal(rlx_flow_cx *cx, layer *l, layer *const *distinct, int ndistinct)
{
    for (int d = ndistinct - 1; d >= 0; d--)
        if (sees_index(cx, distinct[d]) && same_face(l->face, distinct[d]->face) &&
            same_func(l->func, distinct[d]->func)) {
            if (l->func)
                rlx_ir_func_remove(cx->m, l->func);
            l->func = distinct[d]->func;
            l->face = distinct[d]->face;
            return true;
        }
    return false;
}

/* Gives every layer its function; equal ones share the first one's. */
static rlx_status build_funcs(rlx_flow_cx *cx, layer *layers, int n)
{
    const int before =
        count_funcs(cx->m) - 1; /* layer functions of earlier repeats, without @main */
    int ndistinct = 0;
    layer **distinct = RLX_NEW_ARRAY(cx->scratch, layer *, n);
    rlx_flow_env *env = RLX_NEW(cx->scratch, rlx_flow_env);
    if (!distinct || !env)
        return RLX_OOM();
    enter(cx->fn, env);
    for (int i = 0; i < n; i++) {
        layer *l = &layers[i];
        /* the latest first: a layer mostly equals the one before it */
        const bool seen = sees_index(cx, l);
        bool same = false;
        for (int d = ndistinct - 1; d >= 0 && !same && !seen; d--) {
            RLX_TRY(same_layer(cx, l, distinct[d], env, &same));
            if (same) {
                l->func = distinct[d]->func;
                l->face = distinct[d]->face;
            }
        }
        if (!same) {
            RLX_TRY(build_func(cx, l, env, before + ndistinct));
            if (!seen || !replace_equal(cx, l, distinct, ndistinct))
                distinct[ndistinct++] = l;
        }
        RLX_TRY(leave(cx, l, env));
    }
    return RLX_OK;
}

/* @main calls the layers and so stands behind them. */
static void move_behind_layers(rlx_flow_cx *cx)
{
    rlx_ir_func *f = cx->fn->func;
    rlx_ir_func_remove(cx->m, f);
    if (cx->m->last)
        cx->m->last->next = f;
    else
        cx->m->first = f;
    cx->m->last = f;
    f->next = NULL;
}

/* A value of @main by its name; "" is the tensor that passes through. */
static rlx_status get_value(rlx_flow_cx *cx, const layer *l, const char *name, rlx_ir_value **out)
{
    *out = cx->fn->x;
    return *name ? rlx_flow_get_stream(cx, stage_of(cx, l), name, out) : RLX_OK;
}

static rlx_status set_value(rlx_flow_cx *cx, const layer *l, const char *name, rlx_ir_value *v)
{
    if (!*name) {
        cx->fn->x = v;
        return RLX_OK;
    }
    const char *resolved = rlx_flow_resolve(cx, stage_of(cx, l), name);
    return resolved ? rlx_flow_set_stream(cx, resolved, v) : RLX_OOM();
}

/* Two names that are one in this layer: the function was built as if they were not. */
static rlx_status check_names(rlx_flow_cx *cx, const layer *l)
{
    const interface *face = l->face;
    for (int i = 0; i < face->nin; i++)
        for (int j = 0; j < face->nout + face->nsame; j++) {
            const char *stored = j < face->nout ? face->out[j] : face->same[j - face->nout];
            const char *in = rlx_flow_resolve(cx, stage_of(cx, l), face->in[i]);
            const char *out = rlx_flow_resolve(cx, stage_of(cx, l), stored);
            if (!in || !out)
                return RLX_OOM();
            if (strcmp(face->in[i], stored) && !strcmp(in, out))
                return RLX_FAIL(RLX_INVALID_ARGUMENT,
                                "layer %lld: streams \"%s\" and \"%s\" are the same one there: use "
                                "one name",
                                (long long)stage_of(cx, l)->layer, face->in[i], stored);
        }
    return RLX_OK;
}

/* Outputs and probes of a call's last layer: inside it results, at its end what is known then. */
static rlx_status take_taps(rlx_flow_cx *cx, const layer *l, const rlx_ir_node *call)
{
    int result = l->face->nout;
    for (int i = l->first; i < l->first + l->nstages; i++) {
        const rlx_stage *s = &cx->flow->stages[i];
        const bool output = s->kind == RLX_STAGE_OUTPUT;
        rlx_ir_value *x = cx->fn->x;
        if (!output && cx->request[i] < 0)
            continue;
        if (is_tap(cx, i))
            x = call->out[result++];
        else if (output && s->key[0])
            RLX_TRY(rlx_flow_get_stream(cx, s, s->key[0], &x));
        if (output)
            RLX_TRY(rlx_flow_add_output(cx, s, x));
        else
            cx->probe[cx->request[i]] = x;
    }
    return RLX_OK;
}

/* One call for layers [from, to), which share a function. */
static rlx_status build_call(rlx_flow_cx *cx, const layer *layers, int from, int to)
{
    const layer *first = &layers[from], *last = &layers[to - 1];
    const interface *face = last->face;
    rlx_flow_func *fn = cx->fn;
    rlx_ir_value *in[RLX_FLOW_MAX_STREAMS + 1], *x;
    const long long index = stage_of(cx, first)->layer;
    fn->b.place = to - from > 1 ? rlx_arena_printf(cx->scratch, "layers %lld..%lld", index,
                                                   index + to - from - 1)
                                : rlx_arena_printf(cx->scratch, "layer %lld", index);
    RLX_TRY(check_names(cx, first));
    for (int i = 0; i < face->nin; i++)
        RLX_TRY(get_value(cx, first, face->in[i], &in[i]));
    rlx_ir_node *call =
        last->func ? rlx_hir_build_call(&fn->b, last->func, face->nin, in, index, to - from) : NULL;
    if (last->func && !call)
        return rlx_ir_builder_finish(&fn->b);
    for (int i = 0; i < face->nout; i++)
        RLX_TRY(set_value(cx, last, face->out[i], call->out[i]));
    for (int i = 0; i < face->nsame; i++) {
        RLX_TRY(get_value(cx, last, face->as[i], &x));
        RLX_TRY(set_value(cx, last, face->same[i], x));
    }
    return take_taps(cx, last, call);
}

/* Whether layer `to` may join the call of the ones before it. */
static bool joins(const rlx_flow_cx *cx, const layer *layers, int to)
{
    const layer *before = &layers[to - 1], *l = &layers[to];
    return l->func == before->func && l->face->repeats && !before->tapped &&
           stage_of(cx, l)->layer == stage_of(cx, before)->layer + 1;
}

rlx_status rlx_flow_build_layers(rlx_flow_cx *cx, int at, int *end)
{
    layer *layers = NULL;
    int n = 0;
    RLX_TRY(split_layers(cx, at, end, &layers, &n));
    RLX_TRY(build_funcs(cx, layers, n));
    move_behind_layers(cx);
    for (int from = 0; from < n;) {
        int to = from + 1;
        while (to < n && joins(cx, layers, to))
            to++;
        RLX_TRY(build_call(cx, layers, from, to));
        from = to;
    }
    return RLX_OK;
}
