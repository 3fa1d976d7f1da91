/* What holds of every module, before a level's own rules are asked. */
#include <stdio.h>
#include <string.h>

#include "runtime/base/ir/ir_internal.h"

rlx_status rlx_ir_violation(const rlx_ir_module *m, const rlx_ir_node *n, const char *id,
                            const char *file, int line, const char *fmt, ...)
{
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    return rlx_status_make(RLX_INVALID_IR, file, line, "%s %s: %s%s%s", rlx_ir_info(m, n)->mnemonic,
                           id, text, n->place ? " at " : "", n->place ? n->place : "");
}

bool rlx_ir_in_scope(const rlx_ir_module *m, const rlx_ir_block *block, const rlx_ir_value *v)
{
    const rlx_ir_block *home = v->def ? v->def->parent : v->block;
    while (block != home) {
        const rlx_ir_node *owner = block->parent;
        if (!owner || (rlx_ir_info(m, owner)->traits & RLX_ISOLATED))
            return false;
        block = owner->parent;
    }
    return true;
}

/* `seen`: the values whose definition was passed on the way, which is text order. */
typedef struct verifier {
    rlx_ir_module *m;
    rlx_ir_func *f;
    rlx_ir_map seen;
    bool noted; /* the failing node's text is in the status */
} verifier;

static rlx_status mark(verifier *v, int n, rlx_ir_value *const *values)
{
    for (int i = 0; i < n; i++) {
        intptr_t *at = rlx_ir_map_at(&v->seen, values[i]);
        if (!at)
            return RLX_OOM();
        *at = 1;
    }
    return RLX_OK;
}

static rlx_status check_operands(const verifier *v, const rlx_ir_node *n)
{
    for (int i = 0; i < n->nin; i++) {
        RLX_IR_REQUIRE(v->m, n, "IR8", rlx_ir_map_get(&v->seen, n->in[i], 0),
                       "operand %d is not defined before it", i);
        RLX_IR_REQUIRE(v->m, n, "IR9", rlx_ir_in_scope(v->m, n->parent, n->in[i]),
                       "operand %d is defined where it cannot be seen", i);
    }
    return RLX_OK;
}

/* The links that passes may have left wrong. */
static rlx_status check_links(const verifier *v, const rlx_ir_block *block, const rlx_ir_node *n)
{
    rlx_ir_module *m = v->m;
    if (n->op < 0 || n->op >= m->level->nops)
        return RLX_FAIL(RLX_INVALID_IR, "%s has no op %d", m->level->name, n->op);
    const rlx_ir_opinfo *info = rlx_ir_info(m, n);
    RLX_IR_REQUIRE(m, n, "IR10", n->parent == block, "is linked into a block that is not its own");
    RLX_IR_REQUIRE(m, n, "IR10", (n->next ? n->next->prev : block->last) == n,
                   "is linked wrongly to the next node");
    RLX_IR_REQUIRE(m, n, "IR11", n->nblock == info->nblocks, "has %d blocks, not %d", n->nblock,
                   info->nblocks);
    for (int i = 0; i < n->nout; i++)
        RLX_IR_REQUIRE(m, n, "IR10", n->out[i]->def == n && n->out[i]->index == (uint32_t)i,
                       "result %d does not point back", i);
    for (int i = 0; i < n->nblock; i++)
        RLX_IR_REQUIRE(m, n, "IR10", n->blocks[i]->parent == n && n->blocks[i]->func == v->f,
                       "block %d does not point back", i);
    return RLX_OK;
}

static rlx_status check_terminator(const verifier *v, const rlx_ir_block *block,
                                   const rlx_ir_node *n)
{
    const rlx_ir_level *level = v->m->level;
    bool ends = rlx_ir_info(v->m, n)->traits & RLX_TERMINATOR;
    if (!n->next)
        RLX_IR_REQUIRE(v->m, n, "IR12", ends, "is the last node of a block and ends none");
    else
        RLX_IR_REQUIRE(v->m, n, "IR12", !ends, "ends a block before its last node");
    if (!ends)
        return RLX_OK;
    bool in_func = !block->parent;
    RLX_IR_REQUIRE(v->m, n, "IR13", (n->op == level->op_return) == in_func, "ends a %s",
                   in_func ? "function" : "nested block");
    if (!in_func)
        return RLX_OK;
    RLX_IR_REQUIRE(v->m, n, "IR14", n->nin == v->f->nresults, "gives %d values, @%s has %d results",
                   n->nin, v->f->name, v->f->nresults);
    for (int i = 0; i < n->nin; i++)
        RLX_IR_REQUIRE(v->m, n, "IR14", rlx_ir_type_equal(&n->in[i]->type, &v->f->results[i]),
                       "value %d has not the type of result %d of @%s", i, i, v->f->name);
    return RLX_OK;
}

static rlx_status check_block(verifier *v, rlx_ir_block *block, int depth);

static rlx_status check_node(verifier *v, rlx_ir_block *block, rlx_ir_node *n, int depth)
{
    const rlx_ir_opinfo *info = rlx_ir_info(v->m, n);
    RLX_TRY(rlx_ir_check_shape(v->m, n));
    RLX_TRY(check_operands(v, n));
    for (int i = 0; i < n->nattr; i++)
        RLX_TRY(rlx_attr_check(&n->attr[i]));
    RLX_TRY(rlx_ir_check_types(v->m, n));
    RLX_TRY(check_terminator(v, block, n));
    for (int i = 0; i < n->nblock; i++)
        RLX_TRY(check_block(v, n->blocks[i], depth + 1));
    if (info->verify)
        RLX_TRY(info->verify(v->m, n));
    return mark(v, n->nout, n->out);
}

/* Adds the text of the failing node, not of those around it. */
static rlx_status note_node(verifier *v, const rlx_ir_node *n, rlx_status st)
{
    if (v->noted)
        return st;
    v->noted = true;
    rlx_text t = {0};
    rlx_ir_print_node(v->m, n, &t);
    st = rlx_status_note(st, __FILE__, __LINE__, "verifying %s", t.data ? t.data : "a node");
    rlx_text_deinit(&t);
    return st;
}

static rlx_status check_block(verifier *v, rlx_ir_block *block, int depth)
{
    if (depth > RLX_IR_MAX_NESTING)
        return RLX_FAIL(RLX_INVALID_IR, "blocks nest deeper than %d", RLX_IR_MAX_NESTING);
    if (!block->first)
        return RLX_FAIL(RLX_INVALID_IR, "a block has no nodes");
    for (int i = 0; i < block->nargs; i++) {
        rlx_ir_value *arg = block->args[i];
        if (arg->block != block || arg->def || arg->index != (uint32_t)i)
            return RLX_FAIL(RLX_INVALID_IR, "argument %d of a block does not point back", i);
        RLX_TRY_NOTE(rlx_ir_type_check(&arg->type), "argument %d of a block", i);
    }
    RLX_TRY(mark(v, block->nargs, block->args));
    for (rlx_ir_node *n = block->first; n; n = n->next) {
        RLX_TRY(check_links(v, block, n));
        rlx_status st = check_node(v, block, n, depth);
        if (st)
            return note_node(v, n, st);
    }
    return RLX_OK;
}

static rlx_status check_func(rlx_ir_module *m, rlx_ir_func *f)
{
    if (f->module != m)
        return RLX_FAIL(RLX_INVALID_IR, "the function belongs to another module");
    if (rlx_ir_func_find(m, f->name) != f)
        return RLX_FAIL(RLX_INVALID_IR, "there are two functions of this name");
    if (f->body->func != f || f->body->parent)
        return RLX_FAIL(RLX_INVALID_IR, "the body does not point back");
    for (int i = 0; i < f->nresults; i++)
        RLX_TRY_NOTE(rlx_ir_type_check(&f->results[i]), "result %d", i);
    for (int i = 0; i < f->body->nargs; i++) {
        rlx_ir_arg_info info = f->arg_info[i];
        bool bound = info.role == RLX_ROLE_WEIGHT || info.role == RLX_ROLE_INPUT ||
                     info.role == RLX_ROLE_STATE;
        if (bound != (info.symbol != NULL))
            return RLX_FAIL(RLX_INVALID_IR, "the role and symbol of argument %d disagree", i);
    }
    verifier v = {.m = m, .f = f};
    rlx_status st = check_block(&v, f->body, 0);
    rlx_ir_map_deinit(&v.seen);
    if (!st && m->level->verify_func)
        st = m->level->verify_func(m, f);
    return st;
}

rlx_status rlx_ir_verify(rlx_ir_module *m)
{
    for (rlx_ir_func *f = m->first; f; f = f->next)
        RLX_TRY_NOTE(check_func(m, f), "verifying %s @%s", m->level->name, f->name);
    return RLX_OK;
}
