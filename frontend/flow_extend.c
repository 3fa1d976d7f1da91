/* frontend/flow_extend.c: extensions: rewrites of nodes by functions of the caller's, when a
 * function of a flow's HIR is whole.
 *
 *   %3 = swiglu %1, %2   --rewrite-->   %4 = ... (appended before it), used in its place
 */
#include <string.h>

#include "frontend/blocks/blocks.h"
#include "frontend/registry.h"

rlx_status rlx_flow_choose_extensions(rlx_flow_cx *cx, const rlx_compile_options *o)
{
    const rlx_extension *e;
    int n = 0;
    while (o->extensions ? o->extensions[n] != NULL : rlx_registry_extension_at(n) != NULL)
        n++;
    cx->extension = RLX_NEW_ARRAY(cx->scratch, const rlx_extension *, n + 1);
    if (!cx->extension)
        return RLX_OOM();
    cx->nextensions = 0;
    for (int i = 0; i < n; i++) {
        e = o->extensions ? rlx_registry_find_extension(o->extensions[i])
                          : rlx_registry_extension_at(i);
        if (!e)
            return rlx_registry_unknown(RLX_REGISTRY_EXTENSION, o->extensions[i], NULL, 0);
        cx->extension[cx->nextensions++] = e;
    }
    return RLX_OK;
}

static rlx_status replace(rlx_flow_cx *cx, rlx_ir_node *n, rlx_ir_value *y)
{
    const rlx_ir_type *was = &n->out[0]->type;
    if (!rlx_ir_type_equal(was, &y->type)) {
        rlx_text text = {0};
        rlx_ir_type_print(cx->dims, was, &text);
        rlx_text_put(&text, ", not ");
        rlx_ir_type_print(cx->dims, &y->type, &text);
        rlx_status st = RLX_FAIL(RLX_INVALID_ARGUMENT, "what replaces %s must be %s",
                                 rlx_ir_info(cx->m, n)->mnemonic, text.data ? text.data : "?");
        rlx_text_deinit(&text);
        return st;
    }
    rlx_ir_replace_uses(cx->fn->func->body, n->out[0], y);
    for (int i = 0; i < cx->fn->nresults; i++) /* of a function that does not yet return them */
        if (cx->fn->result[i] == n->out[0])
            cx->fn->result[i] = y;
    cx->rewritten = true;
    return RLX_OK;
}

static rlx_status apply(rlx_flow_cx *cx, const rlx_extension *e, const rlx_stage *s)
{
    rlx_ir_builder *b = &cx->fn->b;
    rlx_ir_node *next;
    rlx_status st = RLX_OK;
    for (rlx_ir_node *n = cx->fn->func->body->first; n && !st; n = next) {
        next = n->next;
        if (n->nout != 1 || n->op == RLX_HIR_CALL)
            continue;
        b->before = n;
        rlx_ir_value *y = rlx_builder_rewrite(cx, s, e, n);
        st = rlx_ir_builder_finish(b);
        if (!st && y && y != n->out[0])
            st = replace(cx, n, y);
    }
    b->before = NULL;
    return rlx_status_note(st, __FILE__, __LINE__, "extension \"%s\" on @%s", e->name,
                           cx->fn->func->name);
}

rlx_status rlx_flow_extend(rlx_flow_cx *cx, const rlx_stage *s)
{
    for (int i = 0; i < cx->nextensions; i++)
        RLX_TRY(apply(cx, cx->extension[i], s));
    return RLX_OK;
}

/* ---- what a rewrite sees of a node -------------------------------------------------------------
 */

static const rlx_ir_node *node(const rlx_node *n)
{
    return (const rlx_ir_node *)n;
}

const char *rlx_node_op(const rlx_node *n)
{
    return rlx_hir_level.ops[node(n)->op].mnemonic;
}

const char *rlx_node_place(const rlx_node *n)
{
    return node(n)->place ? node(n)->place : "";
}

int rlx_node_count(const rlx_node *n)
{
    return node(n)->nin;
}

rlx_value *rlx_node_operand(const rlx_node *n, int i)
{
    return i >= 0 && i < node(n)->nin ? (rlx_value *)node(n)->in[i] : NULL;
}

bool rlx_node_number(const rlx_node *n, const char *attribute, double *out)
{
    for (int i = 0; i < node(n)->nattr; i++) {
        const rlx_attr *a = &node(n)->attr[i];
        const rlx_attr_kind kind = rlx_attr_kind_of(a->key);
        if (strcmp(rlx_attr_name(a->key), attribute) ||
            (kind != RLX_ATTR_KIND_INT && kind != RLX_ATTR_KIND_FLOAT))
            continue;
        *out = kind == RLX_ATTR_KIND_FLOAT ? a->f : (double)a->i;
        return true;
    }
    return false;
}
