/* frontend/flow_layers.c: the stages of a repeat_layers to distinct layer functions and few calls.
 *
 *   layers 0..4, equal            -->  @layer_0; call @layer_0 first=0 count=5
 *   the same, probe after layer 2 -->  @layer_0; call first=0 count=3; call first=3 count=2
 *   the same, probe inside of 2   -->  @layer_0, @layer_1 (one more result); calls 0..1, 2, 3..4
 *
 * Layers are compared as they were recorded, with the formats and shapes of their weights, so that
 * a function is built once per distinct layer and the others cost a comparison. What a custom stage
 * builds may depend on the layer: functions with such a stage are built and then compared by their
 * canonical text.
 */
#include <string.h>

#include "frontend/blocks/blocks.h"

/* One layer: its stages, and the function that it shares with its equals. */
typedef struct layer {
    int first, nstages;
    rlx_ir_type x; /* what enters */
    rlx_ir_func *func;
    int end_request; /* the probe at its end, or -1 */
} layer;

static bool same_weight(const rlx_tensor *a, const rlx_tensor *b)
{
    if (a == b)
        return true;
    if (!a || !b || a->format != b->format || a->rank != b->rank)
        return false;
    return !memcmp(a->dim, b->dim, sizeof(a->dim[0]) * (size_t)a->rank);
}

/* Whether a probe point adds a result to the layer's function. */
static bool is_probed_inside(const rlx_flow_cx *cx, int stage)
{
    return cx->request[stage] >= 0 && !rlx_flow_ends_layer(cx->flow, &cx->flow->stages[stage]);
}

/* Whether two stages build the same HIR. The paths of probe points are no part of it. */
static bool same_stage(const rlx_flow_cx *cx, int a, int b)
{
    if (!rlx_flow_same_stage(&cx->flow->stages[a], &cx->flow->stages[b]) ||
        is_probed_inside(cx, a) != is_probed_inside(cx, b))
        return false;
    for (int k = 0; k < RLX_STAGE_KEYS; k++)
        if (!same_weight(cx->weight[a * RLX_STAGE_KEYS + k], cx->weight[b * RLX_STAGE_KEYS + k]))
            return false;
    return true;
}

static bool same_layer(const rlx_flow_cx *cx, const layer *a, const layer *b)
{
    if (a->nstages != b->nstages || !rlx_ir_type_equal(&a->x, &b->x))
        return false;
    for (int i = 0; i < a->nstages; i++)
        if (!same_stage(cx, a->first + i, b->first + i))
            return false;
    return true;
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
            layers[(*n)++] = (layer){.first = i, .end_request = -1};
        layer *l = &layers[*n - 1];
        l->nstages++;
        if (cx->request[i] >= 0 && rlx_flow_ends_layer(f, &f->stages[i]))
            l->end_request = cx->request[i];
    }
    *out = layers;
    return RLX_OK;
}

static rlx_status build_func(rlx_flow_cx *cx, layer *l, int number)
{
    rlx_flow_func fn, *outer = cx->fn;
    const char *name = rlx_arena_printf(cx->scratch, "layer_%d", number);
    RLX_TRY(name ? rlx_flow_begin_func(cx, &fn, name, true) : RLX_OOM());
    fn.x = rlx_ir_build_arg(&fn.b, fn.func, RLX_ROLE_VALUE, NULL, "x", l->x);
    RLX_TRY(rlx_ir_builder_finish(&fn.b));
    for (int i = 0; i < l->nstages; i++)
        RLX_TRY(rlx_flow_build_stage(cx, &cx->flow->stages[l->first + i]));
    RLX_TRY(rlx_flow_end_func(cx, fn.x));
    l->func = fn.func;
    cx->fn = outer;
    return RLX_OK;
}

static int count_funcs(const rlx_ir_module *m)
{
    int n = 0;
    for (const rlx_ir_func *f = m->first; f; f = f->next)
        n++;
    return n;
}

static bool has_custom(const rlx_flow_cx *cx, const layer *l)
{
    for (int i = l->first; i < l->first + l->nstages; i++)
        if (cx->flow->stages[i].kind == RLX_STAGE_CUSTOM)
            return true;
    return false;
}

static bool same_func(const rlx_ir_func *a, const rlx_ir_func *b)
{
    const rlx_hash x = rlx_ir_func_fingerprint(a), y = rlx_ir_func_fingerprint(b);
    static const rlx_hash unknown; /* out of memory */
    return !memcmp(x.bytes, y.bytes, sizeof x.bytes) &&
           memcmp(x.bytes, unknown.bytes, sizeof x.bytes);
}

/* What a custom stage builds is seen when it is built: the layer's function gives way to an equal
 * one that is there already. Returns whether it did. */
static bool replace_equal(rlx_flow_cx *cx, layer *l, layer *const *distinct, int ndistinct)
{
    for (int d = ndistinct - 1; d >= 0; d--)
        if (has_custom(cx, distinct[d]) && same_func(l->func, distinct[d]->func)) {
            rlx_ir_func_remove(cx->m, l->func);
            l->func = distinct[d]->func;
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
    if (!distinct)
        return RLX_OOM();
    for (int i = 0; i < n; i++) {
        layer *l = &layers[i];
        l->x = i ? layers[i - 1].func->results[0] : cx->fn->x->type;
        /* the latest first: a layer mostly equals the one before it */
        const bool custom = has_custom(cx, l);
        for (int d = ndistinct - 1; d >= 0 && !l->func && !custom; d--)
            if (same_layer(cx, l, distinct[d]))
                l->func = distinct[d]->func;
        if (l->func)
            continue;
        RLX_TRY(build_func(cx, l, before + ndistinct));
        if (!custom || !replace_equal(cx, l, distinct, ndistinct))
            distinct[ndistinct++] = l;
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

/* One call for layers [from, to), which share a function; its results go to x and the probes. */
static rlx_status build_call(rlx_flow_cx *cx, const layer *layers, int from, int to)
{
    const rlx_flow *f = cx->flow;
    const layer *last = &layers[to - 1];
    rlx_flow_func *fn = cx->fn;
    const long long index = f->stages[layers[from].first].layer;
    fn->b.place = to - from > 1 ? rlx_arena_printf(cx->scratch, "layers %lld..%lld", index,
                                                   index + to - from - 1)
                                : rlx_arena_printf(cx->scratch, "layer %lld", index);
    rlx_ir_node *call =
        rlx_hir_build_call(&fn->b, last->func, 1, &fn->x, index, (int64_t)(to - from));
    if (!call)
        return rlx_ir_builder_finish(&fn->b);
    fn->x = call->out[0];
    if (last->end_request >= 0)
        cx->probe[last->end_request] = fn->x;
    for (int i = last->first, result = 1; i < last->first + last->nstages; i++)
        if (is_probed_inside(cx, i))
            cx->probe[cx->request[i]] = call->out[result++];
    return RLX_OK;
}

rlx_status rlx_flow_build_layers(rlx_flow_cx *cx, int at, int *end)
{
    layer *layers = NULL;
    int n = 0;
    RLX_TRY(split_layers(cx, at, end, &layers, &n));
    RLX_TRY(build_funcs(cx, layers, n));
    move_behind_layers(cx);
    for (int from = 0; from < n;) {
        /* a function with probed values inside returns more than it takes: one layer per call */
        const bool single = layers[from].func->nresults > 1;
        int to = from + 1;
        while (to < n && !single && layers[to].func == layers[from].func &&
               layers[to - 1].end_request < 0 &&
               cx->flow->stages[layers[to].first].layer ==
                   cx->flow->stages[layers[to - 1].first].layer + 1)
            to++;
        RLX_TRY(build_call(cx, layers, from, to));
        from = to;
    }
    return RLX_OK;
}
