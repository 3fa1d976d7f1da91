/* frontend/flow_streams.c: values by name while a flow is built: streams, and inputs beside the
 * first.
 *
 *   store_stream "img" in @main     -->  a value of @main
 *   load_stream "img" in a layer    -->  an argument of the layer's function, once; calls pass it
 *   store_stream "img" in a layer   -->  a result of the function; calls hand it on
 */
#include <string.h>

#include "frontend/blocks/blocks.h"

const char *rlx_flow_resolve(rlx_flow_cx *cx, const rlx_stage *s, const char *name)
{
    rlx_text text = {0};
    rlx_flow_put_resolved(s, name, &text);
    const char *resolved = text.oom ? NULL : rlx_arena_strndup(cx->scratch, text.data, text.len);
    rlx_text_deinit(&text);
    return resolved;
}

/* "no stream "img"; there are ..", the nearest first. */
static rlx_status unknown(const char *rule, const char *what, const char *name,
                          const char *const *known, int n)
{
    const char *near = rlx_text_nearest(name, known, (size_t)n);
    rlx_text list = {0};
    if (near)
        rlx_text_putf(&list, "; did you mean \"%s\"?", near);
    for (int i = 0; !near && i < n; i++)
        rlx_text_putf(&list, "%s\"%s\"", i ? ", " : "; there are ", known[i]);
    rlx_status st =
        RLX_FAIL(RLX_NOT_FOUND, "%s: no %s \"%s\"%s", rule, what, name, list.data ? list.data : "");
    rlx_text_deinit(&list);
    return st;
}

rlx_status rlx_flow_need_declared(rlx_flow_cx *cx, const char *name, rlx_ir_value **out)
{
    const char *known[RLX_FLOW_MAX_INPUTS];
    int n = 0;
    for (int i = 0; i < cx->flow->nstages; i++) {
        const rlx_stage *s = &cx->flow->stages[i];
        if (s->kind != RLX_STAGE_INPUT)
            continue;
        if (!strcmp(s->name, name))
            return rlx_flow_find_input(cx, s->name, s->format, s->rank, s->dim, out);
        if (n < RLX_FLOW_MAX_INPUTS)
            known[n++] = s->name;
    }
    return unknown("F8", "input", name, known, n);
}

static rlx_flow_stream *find_stream(rlx_flow_func *fn, const char *name)
{
    for (int i = 0; i < fn->nstreams; i++)
        if (!strcmp(fn->stream[i].name, name))
            return &fn->stream[i];
    return NULL;
}

static rlx_status add_stream(rlx_flow_cx *cx, const char *name, rlx_flow_stream **out)
{
    rlx_flow_func *fn = cx->fn;
    if (fn->nstreams == RLX_FLOW_MAX_STREAMS)
        return RLX_FAIL(RLX_EXHAUSTED, "more than %d streams", RLX_FLOW_MAX_STREAMS);
    *out = &fn->stream[fn->nstreams++];
    **out = (rlx_flow_stream){.name = rlx_arena_strdup(cx->scratch, name)};
    return (*out)->name ? RLX_OK : RLX_OOM();
}

static rlx_status unknown_stream(const rlx_flow_cx *cx, const char *name)
{
    const rlx_flow_func *fn = cx->fn;
    const char *known[2 * RLX_FLOW_MAX_STREAMS + 1];
    int n = 0;
    for (int i = 0; i < fn->nstreams; i++)
        known[n++] = fn->stream[i].name;
    for (int i = 0; fn->env && i < fn->env->n; i++)
        if (*fn->env->name[i])
            known[n++] = fn->env->name[i];
    return unknown("F7", "stream", name, known, n);
}

/* An argument of a layer's function for a stream of before. */
static rlx_status take_stream(rlx_flow_cx *cx, const char *name, const rlx_ir_type *type,
                              rlx_ir_value **out)
{
    rlx_flow_stream *s;
    char *arg = rlx_arena_strdup(cx->scratch, name);
    for (char *c = arg; c && *c; c++)
        if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789", *c))
            *c = '_';
    if (arg && *arg >= '0' && *arg <= '9')
        arg = rlx_arena_printf(cx->scratch, "s%s", arg);
    RLX_TRY(arg ? add_stream(cx, name, &s) : RLX_OOM());
    RLX_TRY(rlx_flow_add_arg(cx, RLX_ROLE_VALUE, NULL, arg, *type, out));
    s->arg = s->value = *out;
    return RLX_OK;
}

rlx_status rlx_flow_get_stream(rlx_flow_cx *cx, const rlx_stage *s, const char *name,
                               rlx_ir_value **out)
{
    const rlx_flow_env *env = cx->fn->env;
    /* @main has names as they are, layers have them as they were recorded: the function is shared
     */
    const char *resolved = rlx_flow_resolve(cx, s, name);
    if (!resolved)
        return RLX_OOM();
    const rlx_flow_stream *stream = find_stream(cx->fn, cx->fn->is_layer ? name : resolved);
    if (stream) {
        *out = stream->value;
        return RLX_OK;
    }
    for (int i = 0; env && i < env->n; i++)
        if (!strcmp(env->name[i], resolved))
            return take_stream(cx, name, &env->type[i], out);
    return unknown_stream(cx, resolved);
}

rlx_status rlx_flow_set_stream(rlx_flow_cx *cx, const char *name, rlx_ir_value *value)
{
    rlx_flow_stream *s = find_stream(cx->fn, name);
    if (!s)
        RLX_TRY(add_stream(cx, name, &s));
    s->value = value;
    return RLX_OK;
}
