/* frontend/blocks/custom.c: a stage that a function of the caller's builds. What rlx.h calls a
 * value is a value of the function that is being built; a builder is what a block has at hand. */
#include <string.h>

#include "frontend/blocks/blocks.h"
#include "frontend/registry.h"

struct rlx_builder {
    rlx_flow_cx *cx;
    const rlx_stage *stage;
    const char *place; /* of nodes that belong to no weight */
};

void rlx_flow_custom(rlx_flow *f, const char *name,
                     rlx_value *(*build)(rlx_builder *b, rlx_value *x, void *user), void *user)
{
    rlx_stage *s = rlx_flow_record(f, RLX_STAGE_CUSTOM);
    if (!s)
        return;
    s->name = rlx_flow_copy_key(f, name, "custom's name");
    s->build = build;
    s->user = user;
    if (!build)
        rlx_flow_fail(f, RLX_FAIL(RLX_INVALID_ARGUMENT, "custom \"%s\" has nothing that builds it",
                                  name ? name : ""));
}

void rlx_flow_plugin_named(rlx_flow *f, const char *plugin, const char *name, void *user)
{
    const rlx_plugin *p = rlx_registry_find_plugin(plugin ? plugin : "");
    if (f->error)
        return;
    if (!p) {
        rlx_flow_fail(f, rlx_registry_unknown(RLX_REGISTRY_PLUGIN, plugin ? plugin : "", NULL, 0));
        return;
    }
    rlx_flow_custom(f, name, p->build, user ? user : p->user);
    if (!f->error)
        f->stages[f->nstages - 1].key[0] = p->name;
}

void rlx_flow_plugin(rlx_flow *f, const char *plugin)
{
    rlx_flow_plugin_named(f, plugin, plugin, NULL);
}

rlx_status rlx_block_custom_build(rlx_flow_cx *cx, const rlx_stage *s)
{
    rlx_builder b = {cx, s, s->name};
    cx->fn->b.place = s->name;
    rlx_value *y = s->build(&b, (rlx_value *)cx->fn->x, s->user);
    RLX_TRY(rlx_ir_builder_finish(&cx->fn->b));
    if (!y)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "the function that builds it returned no value");
    cx->fn->x = (rlx_ir_value *)y;
    return RLX_OK;
}

rlx_status rlx_block_dual_stream_build(rlx_flow_cx *cx, const rlx_stage *s)
{
    rlx_builder b = {cx, s, s->name};
    rlx_ir_value *in[2];
    for (int i = 0; i < 2; i++)
        RLX_TRY(rlx_flow_get_stream(cx, s, s->key[i], &in[i]));
    rlx_value *out[2] = {(rlx_value *)in[0], (rlx_value *)in[1]};
    cx->fn->b.place = s->name;
    s->build_two(&b, &out[0], &out[1], s->user);
    RLX_TRY(rlx_ir_builder_finish(&cx->fn->b));
    for (int i = 0; i < 2; i++) {
        if (!out[i])
            return RLX_FAIL(RLX_INVALID_ARGUMENT,
                            "the function that builds it left no value for "
                            "stream \"%s\"",
                            s->key[i]);
        RLX_TRY(rlx_flow_set_stream(cx, s->key[i], (rlx_ir_value *)out[i]));
    }
    cx->fn->x = (rlx_ir_value *)out[0];
    return RLX_OK;
}

rlx_ir_value *rlx_builder_rewrite(rlx_flow_cx *cx, const rlx_stage *s, const rlx_extension *e,
                                  rlx_ir_node *n)
{
    rlx_builder b = {cx, s, n->place};
    cx->fn->b.place = n->place;
    return (rlx_ir_value *)e->rewrite(&b, (const rlx_node *)n, e->user);
}

/* ---- what a build function sees -------------------------------------------------------------- */

static rlx_ir_builder *inside(rlx_builder *b)
{
    return &b->cx->fn->b;
}

static rlx_ir_value *value(rlx_value *v)
{
    return (rlx_ir_value *)v;
}

/* The builder, about to add a node: it belongs to the module that owns `w`, a weight, or else to
 * the stage. */
static rlx_ir_builder *at(rlx_builder *b, const rlx_value *w)
{
    const rlx_ir_value *v = (const rlx_ir_value *)w;
    const rlx_ir_func *f = b->cx->fn->func;
    inside(b)->place = b->place;
    if (v && !v->def && v->block == f->body && f->arg_info[v->index].role == RLX_ROLE_WEIGHT)
        rlx_flow_set_place(b->cx, f->arg_info[v->index].symbol, 1);
    return inside(b);
}

int64_t rlx_builder_layer(const rlx_builder *b)
{
    return b->stage->layer;
}

void rlx_builder_fail(rlx_builder *b, rlx_code code, const char *message)
{
    rlx_ir_builder_fail(inside(b), RLX_FAIL(code == RLX_CODE_OK ? RLX_INVALID_ARGUMENT : code, "%s",
                                            message ? message : "it failed"));
}

rlx_format rlx_value_format(const rlx_value *v)
{
    return v ? ((const rlx_ir_value *)v)->type.format : RLX_FORMAT_NONE;
}

int rlx_value_rank(const rlx_value *v)
{
    return v ? ((const rlx_ir_value *)v)->type.rank : 0;
}

int64_t rlx_value_dim(const rlx_value *v, int i)
{
    if (i < 0 || i >= rlx_value_rank(v))
        return -1;
    const rlx_dim d = ((const rlx_ir_value *)v)->type.dim[i];
    return rlx_dim_is_const(d) ? d : -1;
}

rlx_value *rlx_build_weight(rlx_builder *b, const char *key)
{
    rlx_ir_value *v = NULL;
    if (!inside(b)->status)
        rlx_ir_builder_fail(inside(b), rlx_flow_find_weight(b->cx, b->stage, key, &v));
    return (rlx_value *)v;
}

rlx_value *rlx_build_input(rlx_builder *b, const char *name, rlx_format format, int rank,
                           const int64_t *dims)
{
    rlx_ir_value *v = NULL;
    if (!inside(b)->status)
        rlx_ir_builder_fail(inside(b), rlx_flow_find_input(b->cx, name, format, rank, dims, &v));
    return (rlx_value *)v;
}

rlx_value *rlx_build_declared(rlx_builder *b, const char *input)
{
    rlx_ir_value *v = NULL;
    if (!inside(b)->status)
        rlx_ir_builder_fail(inside(b), rlx_flow_need_declared(b->cx, input ? input : "", &v));
    return (rlx_value *)v;
}

rlx_value *rlx_build_load(rlx_builder *b, const char *stream)
{
    rlx_ir_value *v = NULL;
    if (!inside(b)->status)
        rlx_ir_builder_fail(inside(b),
                            rlx_flow_get_stream(b->cx, b->stage, stream ? stream : "", &v));
    return (rlx_value *)v;
}

void rlx_build_store(rlx_builder *b, const char *stream, rlx_value *v)
{
    if (inside(b)->status)
        return;
    if (!v || !stream || !*stream)
        rlx_ir_builder_fail(inside(b),
                            RLX_FAIL(RLX_INVALID_ARGUMENT, "store \"%s\": %s", stream ? stream : "",
                                     v ? "it has no name" : "there is no value"));
    else
        rlx_ir_builder_fail(inside(b), rlx_flow_set_stream(b->cx, stream, value(v)));
}

rlx_value *rlx_build_linear(rlx_builder *b, rlx_value *x, rlx_value *w, rlx_value *bias)
{
    return (rlx_value *)rlx_hir_build_linear(at(b, w), value(x), value(w), value(bias));
}

rlx_value *rlx_build_rms_norm(rlx_builder *b, rlx_value *x, rlx_value *w, double eps)
{
    return (rlx_value *)rlx_hir_build_rms_norm(at(b, w), value(x), value(w), eps);
}

rlx_value *rlx_build_embed(rlx_builder *b, rlx_value *ids, rlx_value *w)
{
    return (rlx_value *)rlx_hir_build_embed(at(b, w), value(ids), value(w));
}

rlx_value *rlx_build_constant(rlx_builder *b, double number)
{
    return (rlx_value *)rlx_hir_build_const(at(b, NULL), number);
}

static rlx_value *map(rlx_builder *b, rlx_map fn, int n, rlx_value *x, rlx_value *y, rlx_value *z)
{
    static const rlx_map_fn fns[] = {
        [RLX_MAP_ADD] = RLX_FN_ADD,    [RLX_MAP_SUB] = RLX_FN_SUB,     [RLX_MAP_MUL] = RLX_FN_MUL,
        [RLX_MAP_DIV] = RLX_FN_DIV,    [RLX_MAP_MIN] = RLX_FN_MIN,     [RLX_MAP_MAX] = RLX_FN_MAX,
        [RLX_MAP_FMA] = RLX_FN_FMA,    [RLX_MAP_NEG] = RLX_FN_NEG,     [RLX_MAP_ABS] = RLX_FN_ABS,
        [RLX_MAP_SQRT] = RLX_FN_SQRT,  [RLX_MAP_RSQRT] = RLX_FN_RSQRT, [RLX_MAP_EXP] = RLX_FN_EXP,
        [RLX_MAP_ROUND] = RLX_FN_ROUND};
    rlx_ir_value *in[] = {value(x), value(y), value(z)};
    if ((size_t)fn < sizeof fns / sizeof *fns)
        return (rlx_value *)rlx_hir_build_map(at(b, NULL), fns[fn], n, in);
    rlx_ir_builder_fail(inside(b), RLX_FAIL(RLX_INVALID_ARGUMENT, "no function %d", (int)fn));
    return NULL;
}

rlx_value *rlx_build_map1(rlx_builder *b, rlx_map fn, rlx_value *x)
{
    return map(b, fn, 1, x, NULL, NULL);
}

rlx_value *rlx_build_map2(rlx_builder *b, rlx_map fn, rlx_value *x, rlx_value *y)
{
    return map(b, fn, 2, x, y, NULL);
}

rlx_value *rlx_build_map3(rlx_builder *b, rlx_map fn, rlx_value *x, rlx_value *y, rlx_value *z)
{
    return map(b, fn, 3, x, y, z);
}
