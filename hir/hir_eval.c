/* hir/hir_eval.c: the meaning of HIR, run directly: f32 tensors, sums in f64. Independent of the
 * lowering, which is held against it. */
#include "hir/hir.h"

#include <stdlib.h>
#include <string.h>

#include "hir/ops/ops.h"

typedef rlx_status eval_fn(rlx_hir_eval_cx *cx, const rlx_ir_node *n, rlx_eval_tensor *const *in,
                           rlx_eval_tensor *out);

static eval_fn *const eval_op[RLX_HIR_OP_COUNT] = {
#define HIR_OP(NAME, mnemonic, inputs, outputs, blocks, traits, attrs, meaning) \
    [RLX_HIR_##NAME] = rlx_hir_##mnemonic##_eval,
#define TENSOR_OP(NAME, mnemonic, inputs, traits, attrs, infer, meaning) \
    [RLX_HIR_##NAME] = rlx_hir_tensor_eval,
#include "hir/hir_ops.def"
#undef HIR_OP
};

/* A symbol with the layer index for each "{}". */
static rlx_status resolve_symbol(const rlx_hir_eval_cx *cx, const char *symbol, const char **out)
{
    rlx_text text = {0};
    for (const char *s = symbol; *s;) {
        const char *hole = strstr(s, "{}");
        rlx_text_put_bytes(&text, s, hole ? (size_t)(hole - s) : strlen(s));
        if (!hole)
            break;
        if (cx->layer < 0) {
            rlx_text_deinit(&text);
            return RLX_FAIL(RLX_INVALID_ARGUMENT, "\"%s\" names a layer, and this is no layer",
                            symbol);
        }
        rlx_text_putf(&text, "%lld", (long long)cx->layer);
        s = hole + 2;
    }
    *out = text.oom ? NULL : rlx_arena_strndup(cx->arena, text.data ? text.data : "", text.len);
    rlx_text_deinit(&text);
    return *out ? RLX_OK : RLX_OOM();
}

/* What a type is under the live symbols. */
static rlx_eval_tensor live_tensor(const rlx_hir_eval_cx *cx, const rlx_ir_type *type)
{
    rlx_eval_tensor t = {.format = type->format, .rank = type->rank};
    for (int i = 0; i < type->rank; i++)
        t.dim[i] = rlx_dim_eval(cx->module->dims, type->dim[i], cx->env->symbols);
    return t;
}

static bool same_type(const rlx_eval_tensor *a, const rlx_eval_tensor *b)
{
    if (a->format != b->format || a->rank != b->rank)
        return false;
    for (int i = 0; i < a->rank; i++)
        if (a->dim[i] != b->dim[i])
            return false;
    return true;
}

static void put_type(rlx_text *out, const rlx_eval_tensor *t)
{
    rlx_text_putf(out, "%s[", rlx_format_get(t->format)->name);
    for (int i = 0; i < t->rank; i++)
        rlx_text_putf(out, "%s%lld", i ? "," : "", (long long)t->dim[i]);
    rlx_text_put(out, "]");
}

static rlx_status mismatch(const char *name, const rlx_eval_tensor *want,
                           const rlx_eval_tensor *got)
{
    rlx_text text = {0};
    put_type(&text, want);
    rlx_text_put(&text, ", got ");
    put_type(&text, got);
    rlx_status st = RLX_FAIL(RLX_INVALID_ARGUMENT, "\"%s\" should be %s", name,
                             text.data ? text.data : "of another type");
    rlx_text_deinit(&text);
    return st;
}

static rlx_status bind_arg(const rlx_hir_eval_cx *cx, const rlx_ir_func *f, int i,
                           const rlx_eval_tensor *value, rlx_eval_tensor **out)
{
    rlx_eval_tensor want = live_tensor(cx, &f->body->args[i]->type);
    const rlx_role role = f->arg_info[i].role;
    const char *name = f->body->args[i]->name;
    if (value) {
        *out = rlx_arena_copy(cx->arena, value, sizeof(*value));
    } else if (role == RLX_ROLE_VALUE) { /* the entry's: by the argument's own name */
        *out = name ? cx->env->find(cx->env->user, RLX_ROLE_INPUT, name) : NULL;
    } else {
        RLX_TRY(resolve_symbol(cx, f->arg_info[i].symbol, &name));
        *out = cx->env->find(cx->env->user, role, name);
    }
    if (!*out)
        return RLX_FAIL(RLX_NOT_FOUND, "nothing given for \"%s\"", name ? name : "?");
    return same_type(*out, &want) ? RLX_OK : mismatch(name ? name : "?", &want, *out);
}

static rlx_status bind_args(const rlx_hir_eval_cx *cx, const rlx_ir_func *f,
                            const rlx_eval_tensor *values)
{
    for (int i = 0, v = 0; i < f->body->nargs; i++) {
        const bool passed = values && f->arg_info[i].role == RLX_ROLE_VALUE;
        rlx_eval_tensor *t = NULL;
        RLX_TRY(bind_arg(cx, f, i, passed ? &values[v++] : NULL, &t));
        f->body->args[i]->scratch = t;
    }
    return RLX_OK;
}

static rlx_status eval_node(rlx_hir_eval_cx *cx, const rlx_ir_node *n)
{
    rlx_eval_tensor **in = RLX_NEW_ARRAY(cx->arena, rlx_eval_tensor *, n->nin + 1);
    rlx_eval_tensor *out = RLX_NEW_ARRAY(cx->arena, rlx_eval_tensor, n->nout + 1);
    if (!in || !out)
        return RLX_OOM();
    for (int i = 0; i < n->nin; i++)
        in[i] = n->in[i]->scratch;
    for (int i = 0; i < n->nout; i++) {
        out[i] = live_tensor(cx, &n->out[i]->type);
        n->out[i]->scratch = &out[i];
    }
    return eval_op[n->op](cx, n, in, out);
}

/* `scratch` of a function's values is their tensors while it runs; nothing calls itself. */
static rlx_status run_func(rlx_hir_eval_cx *cx, const rlx_ir_func *f, const rlx_eval_tensor *values,
                           rlx_arena *arena, rlx_eval_tensor *results)
{
    cx->results = RLX_NEW_ARRAY(cx->arena, rlx_eval_tensor, f->nresults + 1);
    if (!cx->results)
        return RLX_OOM();
    RLX_TRY(bind_args(cx, f, values));
    for (const rlx_ir_node *n = f->body->first; n; n = n->next)
        RLX_TRY(eval_node(cx, n));
    for (int i = 0; i < f->nresults; i++) {
        const rlx_eval_tensor *r = &cx->results[i];
        results[i] = *r;
        results[i].data =
            rlx_arena_copy(arena, r->data, rlx_format_bytes(r->format, rlx_hir_eval_elems(r)));
        if (!results[i].data)
            return RLX_OOM();
    }
    return RLX_OK;
}

rlx_status rlx_hir_eval_func(const rlx_hir_eval_cx *caller, const rlx_ir_func *f, int64_t layer,
                             const rlx_eval_tensor *values, rlx_arena *arena,
                             rlx_eval_tensor *results)
{
    rlx_hir_eval_cx cx = *caller;
    cx.layer = layer;
    cx.arena = rlx_arena_create();
    if (!cx.arena)
        return RLX_OOM();
    rlx_status st = run_func(&cx, f, values, arena, results);
    rlx_arena_destroy(cx.arena);
    return st;
}

/* Results into the caller's heap. */
static rlx_status hand_over(const rlx_eval_tensor *results, int n, rlx_eval_tensor *out)
{
    for (int i = 0; i < n; i++) {
        const size_t bytes = rlx_format_bytes(results[i].format, rlx_hir_eval_elems(&results[i]));
        out[i] = results[i];
        out[i].data = malloc(bytes ? bytes : 1);
        if (!out[i].data) {
            while (i-- > 0)
                free(out[i].data);
            return RLX_OOM();
        }
        memcpy(out[i].data, results[i].data, bytes);
    }
    return RLX_OK;
}

rlx_status rlx_hir_eval(const rlx_ir_module *m, const char *entry, const rlx_eval_env *env,
                        rlx_eval_tensor *out, int nout)
{
    const rlx_ir_func *f = rlx_ir_func_find(m, entry);
    if (!f)
        return RLX_FAIL(RLX_NOT_FOUND, "no function @%s in %s", entry, m->name);
    if (f->nresults != nout)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "@%s has %d results, %d wanted", entry, f->nresults,
                        nout);
    rlx_arena *arena = rlx_arena_create();
    if (!arena)
        return RLX_OOM();
    const rlx_hir_eval_cx cx = {.module = m, .env = env, .layer = -1};
    rlx_eval_tensor *results = RLX_NEW_ARRAY(arena, rlx_eval_tensor, nout + 1);
    rlx_status st = results ? rlx_hir_eval_func(&cx, f, -1, NULL, arena, results) : RLX_OOM();
    if (!st)
        st = hand_over(results, nout, out);
    rlx_hir_clear_scratch(m);
    rlx_arena_destroy(arena);
    return rlx_status_note(st, __FILE__, __LINE__, "evaluating @%s of %s", entry, m->name);
}
