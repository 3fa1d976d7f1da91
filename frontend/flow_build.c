/* frontend/flow_build.c: a recorded flow and a set of weights to HIR. */
#include <stdlib.h>
#include <string.h>

#include "frontend/blocks/blocks.h"

/* ---- probes by name ------------------------------------------------------------------------- */

/* Paths that are near to `path`, or, when none is, the first ones. `known` is used up. */
static void put_near(const char *path, const char **known, size_t n, rlx_text *out)
{
    enum { NEAR = 4, FIRST = 12 };
    const char *near;
    int listed = 0;
    for (; listed < NEAR && (near = rlx_text_nearest(path, known, n)); listed++) {
        rlx_text_putf(out, "%s\"%s\"", listed ? ", " : "; did you mean ", near);
        size_t at = 0;
        while (known[at] != near)
            at++;
        known[at] = known[--n];
    }
    for (size_t i = 0; !listed && i < n && i < FIRST; i++)
        rlx_text_putf(out, "%s\"%s\"", i ? ", " : "; there are ", known[i]);
    rlx_text_put(out, listed ? "?" : n > FIRST ? " and more" : "");
}

static rlx_status unknown_probe(const rlx_flow_cx *cx, const char *path)
{
    const rlx_flow *f = cx->flow;
    const char **known = RLX_NEW_ARRAY(cx->scratch, const char *, f->nstages + 1);
    rlx_text text = {0};
    size_t n = 0;
    for (int i = 0; known && i < f->nstages; i++)
        if (rlx_flow_is_probe(&f->stages[i])) {
            rlx_text_clear(&text);
            rlx_flow_put_resolved(&f->stages[i], f->stages[i].name, &text);
            known[n] = text.oom ? NULL : rlx_arena_strndup(cx->scratch, text.data, text.len);
            n += known[n] != NULL;
        }
    rlx_text_clear(&text);
    put_near(path, known, known ? n : 0, &text);
    rlx_status st =
        RLX_FAIL(RLX_NOT_FOUND, "no probe point \"%s\"%s", path, text.data ? text.data : "");
    rlx_text_deinit(&text);
    return st;
}

/* Marks the stages that a probe's path names. */
static rlx_status find_probe(rlx_flow_cx *cx, const char *path, int request, int *requests)
{
    const rlx_flow *f = cx->flow;
    rlx_text text = {0};
    int found = 0;
    for (int i = 0; i < f->nstages; i++) {
        if (!rlx_flow_is_probe(&f->stages[i]))
            continue;
        rlx_text_clear(&text);
        rlx_flow_put_resolved(&f->stages[i], f->stages[i].name, &text);
        if (!text.oom && !strcmp(text.data, path)) {
            requests[i] = request;
            found++;
        }
    }
    const bool oom = text.oom;
    rlx_text_deinit(&text);
    if (oom)
        return RLX_OOM();
    if (found > 1)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "%d probe points are called \"%s\"", found, path);
    return found ? RLX_OK : unknown_probe(cx, path);
}

static bool is_repeated(const char *const *names, int i)
{
    for (int j = 0; j < i; j++)
        if (!strcmp(names[i], names[j]))
            return true;
    return false;
}

static rlx_status find_probes(rlx_flow_cx *cx, const char *const *probes, int nprobes)
{
    const int n = cx->flow->nstages;
    int *requests = RLX_NEW_ARRAY(cx->scratch, int, n + 1);
    cx->probe = RLX_NEW_ARRAY(cx->scratch, rlx_ir_value *, nprobes + 1);
    if (!requests || !cx->probe)
        return RLX_OOM();
    for (int i = 0; i < n; i++)
        requests[i] = -1;
    for (int i = 0; i < nprobes; i++)
        if (!is_repeated(probes, i))
            RLX_TRY(find_probe(cx, probes[i], i, requests));
    cx->request = requests;
    return RLX_OK;
}

/* ---- the whole ------------------------------------------------------------------------------ */

static rlx_status build_main(rlx_flow_cx *cx, rlx_flow_func *fn, const char *const *probes,
                             int nprobes)
{
    const rlx_flow *f = cx->flow;
    RLX_TRY(rlx_flow_begin_func(cx, fn, "main", false));
    for (int i = 0; i < f->nstages;) {
        if (f->stages[i].repeat >= 0)
            RLX_TRY(rlx_flow_build_layers(cx, i, &i));
        else
            RLX_TRY(rlx_flow_build_stage(cx, &f->stages[i++]));
    }
    if (!fn->nresults)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "F10: it has no output");
    for (int i = 0; i < nprobes; i++) {
        if (is_repeated(probes, i))
            continue;
        const char *name = rlx_arena_printf(cx->scratch, "probe:%s", probes[i]);
        RLX_TRY(name ? rlx_flow_add_result(cx, cx->probe[i], name) : RLX_OOM());
    }
    RLX_TRY(rlx_flow_extend(cx, f->stages));
    if (cx->likeliest)
        RLX_TRY(rlx_flow_add_likeliest(cx, cx->likeliest));
    return rlx_flow_end_func(cx, 0, NULL);
}

static rlx_status copy_outputs(const rlx_flow_func *fn, rlx_flow_outputs *out)
{
    size_t bytes = sizeof(char *) * (size_t)fn->nresults;
    for (int i = 0; i < fn->nresults; i++)
        bytes += strlen(fn->result_name[i]) + 1;
    out->name = malloc(bytes);
    if (!out->name)
        return RLX_OOM();
    char *at = (char *)(out->name + fn->nresults);
    for (int i = 0; i < fn->nresults; i++) {
        out->name[i] = at;
        at = stpcpy(at, fn->result_name[i]) + 1;
    }
    out->n = fn->nresults;
    return RLX_OK;
}

/* What the KV pools are made of: in fast mode halves, if nobody says. */
static rlx_status choose_kv(rlx_flow_cx *cx, const rlx_compile_options *o)
{
    const struct {
        const char *what;
        rlx_format asked, *out;
    } pools[] = {{"keys", o->kv_key_format, &cx->kv_key_format},
                 {"values", o->kv_value_format, &cx->kv_value_format}};
    const rlx_format usual = o->precision == RLX_FAST ? RLX_F16 : RLX_F32;
    for (int i = 0; i < 2; i++) {
        const rlx_format f = pools[i].asked ? pools[i].asked : usual;
        if (f != RLX_F32 && f != RLX_F16 && f != RLX_BF16 && f != RLX_Q8_0)
            return RLX_FAIL(RLX_INVALID_ARGUMENT, "pages hold no %s as %s: f32, f16, bf16 or q8_0",
                            pools[i].what,
                            f < RLX_FORMAT_COUNT ? rlx_format_get(f)->name : "an unknown format");
        *pools[i].out = f;
    }
    return RLX_OK;
}

/* That every input is used: runs cannot be given others. */
static rlx_status check_inputs(const rlx_flow_cx *cx)
{
    for (int i = 0; i < cx->flow->nstages; i++) {
        const rlx_stage *s = &cx->flow->stages[i];
        int uses = s->kind == RLX_STAGE_INPUT ? 0 : 1;
        for (const rlx_ir_func *f = cx->m->first; f && !uses; f = f->next) {
            const rlx_ir_value *arg = rlx_flow_find_arg(f, RLX_ROLE_INPUT, s->name);
            uses = arg ? rlx_ir_count_uses(f->body, arg) : 0;
        }
        if (!uses)
            return RLX_FAIL(RLX_INVALID_ARGUMENT, "F8: stage %d (input): no stage uses \"%s\"", i,
                            s->name);
    }
    return RLX_OK;
}

static rlx_status build(rlx_flow_cx *cx, const rlx_weights *w, const rlx_compile_options *o,
                        rlx_flow_outputs *outputs)
{
    rlx_flow_func fn;
    cx->weight = RLX_NEW_ARRAY(cx->scratch, const rlx_tensor *, cx->flow->nstages *RLX_STAGE_KEYS);
    RLX_TRY(cx->weight ? rlx_flow_find_weights(cx->flow, w, cx->weight) : RLX_OOM());
    RLX_TRY(choose_kv(cx, o));
    RLX_TRY(rlx_flow_choose_extensions(cx, o));
    RLX_TRY(find_probes(cx, o->probes, o->nprobes));
    RLX_TRY(build_main(cx, &fn, o->probes, o->nprobes));
    if (cx->rewritten)
        rlx_ir_remove_dead(cx->m);
    RLX_TRY(check_inputs(cx));
    RLX_TRY(rlx_ir_verify(cx->m));
    return copy_outputs(&fn, outputs);
}

rlx_status rlx_flow_build(const rlx_flow *f, const rlx_weights *w, const rlx_compile_options *o,
                          rlx_dims *dims, rlx_ir_module **hir, rlx_flow_outputs *outputs)
{
    return rlx_flow_build_likeliest(f, w, o, NULL, dims, hir, outputs);
}

rlx_status rlx_flow_build_likeliest(const rlx_flow *f, const rlx_weights *w,
                                    const rlx_compile_options *o, const char *likeliest,
                                    rlx_dims *dims, rlx_ir_module **hir, rlx_flow_outputs *outputs)
{
    *hir = NULL;
    *outputs = (rlx_flow_outputs){0};
    RLX_TRY(rlx_flow_check(f));
    rlx_flow_cx cx = {.flow = f,
                      .store = w,
                      .dims = dims,
                      .kv_repeat = -1,
                      .scratch = rlx_arena_create(),
                      .likeliest = likeliest};
    rlx_status st =
        cx.scratch ? rlx_ir_module_create(&rlx_hir_level, dims, f->name, &cx.m) : RLX_OOM();
    if (!st)
        st = build(&cx, w, o, outputs);
    rlx_arena_destroy(cx.scratch);
    outputs->tables = cx.tables;
    if (st) {
        rlx_flow_outputs_deinit(outputs);
        rlx_ir_module_destroy(cx.m);
        return rlx_status_note(st, __FILE__, __LINE__, "building flow %s", f->name);
    }
    *hir = cx.m;
    return RLX_OK;
}

void rlx_flow_outputs_deinit(rlx_flow_outputs *o)
{
    free(o->name);
    rlx_weights_destroy(o->tables);
    *o = (rlx_flow_outputs){0};
}
