/* frontend/jinja/exec.c: statements. */
#include "frontend/jinja/impl.h"

/* ---- scopes */

static void bind_without(rlx_jinja_run *x, rlx_jinja_scope *s, const rlx_jinja_body *body)
{
    for (int i = 0; body && i < body->nwithout; i++)
        rlx_jinja_bind(x, s, body->without[i], (rlx_jinja_value){.kind = RLX_JINJA_MISSING});
}

/* The scope of a loop's next turn: that of the last one, unless somebody keeps it. */
static rlx_jinja_scope *next_scope(rlx_jinja_run *x, rlx_jinja_scope *last, rlx_jinja_scope *parent,
                                   const rlx_jinja_body *body)
{
    if (!last || last->captured)
        return rlx_jinja_scope_new(x, parent, body);
    last->n = 0;
    bind_without(x, last, body);
    return last;
}

rlx_jinja_scope *rlx_jinja_scope_new(rlx_jinja_run *x, rlx_jinja_scope *parent,
                                     const rlx_jinja_body *body)
{
    rlx_jinja_scope *s = rlx_jinja_alloc(x, sizeof *s);
    if (!s)
        return NULL;
    s->parent = parent;
    bind_without(x, s, body);
    return s;
}

void rlx_jinja_bind(rlx_jinja_run *x, rlx_jinja_scope *s, rlx_jinja_string *name, rlx_jinja_value v)
{
    if (!s)
        return;
    for (int i = 0; i < s->n; i++)
        if (s->bindings[i].name == name) {
            s->bindings[i].value = v;
            return;
        }
    if (s->n == s->cap) {
        int cap = s->cap ? 2 * s->cap : 4;
        rlx_jinja_binding *grown = rlx_jinja_alloc(x, (size_t)cap * sizeof *grown);
        if (!grown)
            return;
        if (s->n)
            memcpy(grown, s->bindings, (size_t)s->n * sizeof *grown);
        s->bindings = grown;
        s->cap = cap;
    }
    s->bindings[s->n++] = (rlx_jinja_binding){name, v};
}

static void assign_attr(rlx_jinja_run *x, rlx_jinja_scope *s, const rlx_jinja_node *target,
                        rlx_jinja_value v)
{
    rlx_jinja_node name = {.kind = RLX_JINJA_NAME, .line = target->line, .name = target->name};
    rlx_jinja_value ns = rlx_jinja_eval(x, s, &name);
    if (ns.kind == RLX_JINJA_NAMESPACE)
        rlx_jinja_dict_set(x, ns.d, target->value, v);
    else
        rlx_jinja_fail(x, RLX_INVALID_ARGUMENT, "cannot assign attribute on non-namespace object");
}

void rlx_jinja_assign(rlx_jinja_run *x, rlx_jinja_scope *s, const rlx_jinja_node *target,
                      rlx_jinja_value v)
{
    if (target->kind == RLX_JINJA_NAME) {
        rlx_jinja_bind(x, s, target->name, v);
        return;
    }
    if (target->kind == RLX_JINJA_NS_REF) {
        assign_attr(x, s, target, v);
        return;
    }
    if (!rlx_jinja_is_iterable(v)) {
        rlx_jinja_type_error(x, "cannot unpack non-iterable %s object", rlx_jinja_type_name(v));
        return;
    }
    const rlx_jinja_list *parts = rlx_jinja_iterate(x, v);
    int want = target->items.n;
    if (parts->n < want)
        rlx_jinja_type_error(x, "not enough values to unpack (expected %d, got %lld)", want,
                             (long long)parts->n);
    else if (parts->n > want)
        rlx_jinja_type_error(x, "too many values to unpack (expected %d)", want);
    for (int i = 0; i < want && !x->error; i++)
        rlx_jinja_assign(x, s, target->items.at[i], parts->items[i]);
}

/* ---- output */

static void check_output(rlx_jinja_run *x)
{
    if (x->out->len > x->output_bytes)
        rlx_jinja_fail(x, RLX_EXHAUSTED, "the text is longer than %zu bytes", x->output_bytes);
}

rlx_jinja_value rlx_jinja_exec_text(rlx_jinja_run *x, rlx_jinja_scope *s,
                                    const rlx_jinja_nodes *nodes)
{
    rlx_jinja_buffer text = {.x = x}, *around = x->out;
    x->out = &text;
    rlx_jinja_exec(x, s, nodes);
    x->out = around;
    return rlx_jinja_taken(&text);
}

/* What the body of `n` prints, through its filters. */
static rlx_jinja_value filtered_text(rlx_jinja_run *x, rlx_jinja_scope *s, const rlx_jinja_node *n)
{
    rlx_jinja_value text =
        rlx_jinja_exec_text(x, rlx_jinja_scope_new(x, s, &n->body), &n->body.nodes);
    if (!n->b)
        return text;
    x->piped = text;
    return rlx_jinja_eval(x, s, n->b);
}

/* ---- loops */

static bool passes(rlx_jinja_run *x, rlx_jinja_scope *s, const rlx_jinja_node *n,
                   rlx_jinja_value item)
{
    rlx_jinja_scope *test = rlx_jinja_scope_new(x, s, NULL);
    rlx_jinja_assign(x, test, n->a, item);
    return !x->error && rlx_jinja_truth(rlx_jinja_eval(x, test, n->c));
}

bool rlx_jinja_loop_fill(rlx_jinja_run *x, rlx_jinja_loop *l, int64_t n)
{
    if (l->items == l->source) /* nothing is left out */
        return n <= l->items->n;
    for (; l->items->n < n && l->tested < l->source->n && rlx_jinja_step(x, 1); l->tested++)
        if (passes(x, l->scope, l->node, l->source->items[l->tested]))
            rlx_jinja_push(x, l->items, l->source->items[l->tested]);
    return n <= l->items->n;
}

void rlx_jinja_exec_for(rlx_jinja_run *x, rlx_jinja_scope *s, const rlx_jinja_node *n,
                        rlx_jinja_value over, int64_t depth0)
{
    rlx_jinja_list *source = rlx_jinja_iterate(x, over);
    rlx_jinja_loop *loop = rlx_jinja_alloc(x, sizeof *loop);
    if (!loop)
        return;
    *loop = (rlx_jinja_loop){.node = n, .scope = s, .source = source, .depth0 = depth0};
    loop->items = n->c ? rlx_jinja_list_new(x) : source;
    const rlx_jinja_value self = {.kind = RLX_JINJA_LOOP, .loop = loop};
    bool any = false; /* a turn that went to its end */
    rlx_jinja_scope *body = NULL;
    for (int64_t i = 0; x->flow != RLX_JINJA_AT_BREAK && rlx_jinja_loop_fill(x, loop, i + 1); i++) {
        body = next_scope(x, body, s, &n->body);
        if (!rlx_jinja_step(x, 1))
            return;
        loop->index0 = i;
        rlx_jinja_bind(x, body, x->t->loop, self);
        rlx_jinja_assign(x, body, n->a, loop->items->items[i]);
        x->flow = RLX_JINJA_ON;
        rlx_jinja_exec(x, body, &n->body.nodes);
        any |= x->flow == RLX_JINJA_ON;
    }
    x->flow = RLX_JINJA_ON;
    if (!any)
        rlx_jinja_exec(x, rlx_jinja_scope_new(x, s, &n->orelse), &n->orelse.nodes);
}

/* ---- statements */

static void exec_if(rlx_jinja_run *x, rlx_jinja_scope *s, const rlx_jinja_node *n)
{
    for (int i = 0; i < n->items.n; i++)
        if (rlx_jinja_truth(rlx_jinja_eval(x, s, n->items.at[i]))) {
            rlx_jinja_exec(x, s, &n->bodies[i].nodes);
            return;
        }
    rlx_jinja_exec(x, s, &n->orelse.nodes);
}

static rlx_jinja_value macro_value(rlx_jinja_run *x, rlx_jinja_scope *s, const rlx_jinja_node *n)
{
    rlx_jinja_macro *m = rlx_jinja_alloc(x, sizeof *m);
    if (!m)
        return rlx_jinja_none();
    for (rlx_jinja_scope *around = s; around; around = around->parent)
        around->captured = true;
    *m = (rlx_jinja_macro){n, s, n->name};
    return (rlx_jinja_value){.kind = RLX_JINJA_MACRO, .macro = m};
}

static void exec_call_block(rlx_jinja_run *x, rlx_jinja_scope *s, const rlx_jinja_node *n)
{
    rlx_jinja_value f = rlx_jinja_eval(x, s, n->a->a);
    rlx_jinja_args args = rlx_jinja_eval_args(x, s, n->a, 1);
    if (x->error)
        return;
    args.names[args.nnamed] = x->t->caller;
    args.named[args.nnamed++] = macro_value(x, s, n);
    x->line = n->line;
    rlx_jinja_put_str(x->out, rlx_jinja_call(x, f, &args));
}

static void exec_with(rlx_jinja_run *x, rlx_jinja_scope *s, const rlx_jinja_node *n)
{
    rlx_jinja_scope *inner = rlx_jinja_scope_new(x, s, &n->body);
    for (int i = 0; i + 1 < n->items.n && !x->error; i += 2)
        rlx_jinja_assign(x, inner, n->items.at[i], rlx_jinja_eval(x, s, n->items.at[i + 1]));
    rlx_jinja_exec(x, inner, &n->body.nodes);
}

static void exec_node(rlx_jinja_run *x, rlx_jinja_scope *s, const rlx_jinja_node *n)
{
    switch (n->kind) {
    case RLX_JINJA_DATA:
        rlx_jinja_put(x->out, n->value.s->data, n->value.s->len);
        break;
    case RLX_JINJA_PRINT:
        rlx_jinja_put_str(x->out, rlx_jinja_eval(x, s, n->a));
        break;
    case RLX_JINJA_FOR:
        rlx_jinja_exec_for(x, s, n, rlx_jinja_eval(x, s, n->b), 0);
        break;
    case RLX_JINJA_IF:
        exec_if(x, s, n);
        break;
    case RLX_JINJA_SET:
        rlx_jinja_assign(x, s, n->a, rlx_jinja_eval(x, s, n->b));
        break;
    case RLX_JINJA_SET_BLOCK:
        rlx_jinja_assign(x, s, n->a, filtered_text(x, s, n));
        break;
    case RLX_JINJA_MACRO_DEF:
        rlx_jinja_bind(x, s, n->name, macro_value(x, s, n));
        break;
    case RLX_JINJA_CALL_BLOCK:
        exec_call_block(x, s, n);
        break;
    case RLX_JINJA_FILTER_BLOCK:
        rlx_jinja_put_str(x->out, filtered_text(x, s, n));
        break;
    case RLX_JINJA_WITH:
        exec_with(x, s, n);
        break;
    case RLX_JINJA_BLOCK:
        rlx_jinja_exec(x, rlx_jinja_scope_new(x, n->flag ? s : x->root, &n->body), &n->body.nodes);
        break;
    case RLX_JINJA_SCOPE:
        rlx_jinja_exec(x, rlx_jinja_scope_new(x, s, &n->body), &n->body.nodes);
        break;
    default: /* BREAK, CONTINUE */
        x->flow = n->kind == RLX_JINJA_BREAK ? RLX_JINJA_AT_BREAK : RLX_JINJA_AT_CONTINUE;
    }
}

void rlx_jinja_exec(rlx_jinja_run *x, rlx_jinja_scope *s, const rlx_jinja_nodes *nodes)
{
    if (!s || !rlx_jinja_deeper(x))
        return;
    for (int i = 0; i < nodes->n && x->flow == RLX_JINJA_ON && rlx_jinja_step(x, 1); i++) {
        x->line = nodes->at[i]->line;
        exec_node(x, s, nodes->at[i]);
        check_output(x);
    }
    rlx_jinja_shallower(x);
}
