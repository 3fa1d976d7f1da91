#include <string.h>

#include "runtime/base/ir/ir_internal.h"

/* ---- raw making: memory only, no checks --------------------------------------------------------
 */

rlx_ir_block *rlx_ir_block_make(rlx_ir_module *m, rlx_ir_func *func, rlx_ir_node *parent)
{
    rlx_ir_block *b = RLX_NEW(m->arena, rlx_ir_block);
    if (b)
        *b = (rlx_ir_block){.parent = parent, .func = func};
    return b;
}

/* A function's arg_info has the same room as its body's arguments. */
static bool grow_args(rlx_ir_module *m, rlx_ir_block *block)
{
    int n = block->nargs, cap = n ? n * 2 : 4;
    rlx_ir_value **args = RLX_NEW_ARRAY(m->arena, rlx_ir_value *, cap);
    rlx_ir_arg_info *info = block->parent ? NULL : RLX_NEW_ARRAY(m->arena, rlx_ir_arg_info, cap);
    if (!args || (!block->parent && !info))
        return false;
    if (n)
        memcpy(args, block->args, sizeof(*args) * (size_t)n);
    block->args = args;
    if (info && n)
        memcpy(info, block->func->arg_info, sizeof(*info) * (size_t)n);
    if (info)
        block->func->arg_info = info;
    block->cap_args = cap;
    return true;
}

rlx_ir_value *rlx_ir_block_add_arg(rlx_ir_module *m, rlx_ir_block *block, const char *name,
                                   rlx_ir_type type)
{
    rlx_ir_value *v = RLX_NEW(m->arena, rlx_ir_value);
    char *copy = name ? rlx_arena_strdup(m->arena, name) : NULL;
    if (!v || (name && !copy) || (block->nargs == block->cap_args && !grow_args(m, block)))
        return NULL;
    *v =
        (rlx_ir_value){.type = type, .block = block, .index = (uint32_t)block->nargs, .name = copy};
    block->args[block->nargs++] = v;
    return v;
}

rlx_ir_func *rlx_ir_func_make(rlx_ir_module *m, const char *name, int nresults,
                              const rlx_ir_type *results)
{
    rlx_ir_func *f = RLX_NEW(m->arena, rlx_ir_func);
    char *copy = rlx_arena_strdup(m->arena, name);
    rlx_ir_type *types = rlx_arena_copy(m->arena, results, sizeof(*types) * (size_t)nresults);
    rlx_ir_block *body = f ? rlx_ir_block_make(m, f, NULL) : NULL;
    if (!copy || !types || !body)
        return NULL;
    *f = (rlx_ir_func){
        .name = copy, .module = m, .body = body, .nresults = nresults, .results = types};
    if (m->last)
        m->last->next = f;
    else
        m->first = f;
    m->last = f;
    return f;
}

bool rlx_ir_func_add_arg(rlx_ir_func *f, rlx_role role, const char *symbol, const char *name,
                         rlx_ir_type type)
{
    rlx_ir_module *m = f->module;
    char *copy = symbol ? rlx_arena_strdup(m->arena, symbol) : NULL;
    if ((symbol && !copy) || !rlx_ir_block_add_arg(m, f->body, name, type))
        return false;
    f->arg_info[f->body->nargs - 1] = (rlx_ir_arg_info){role, copy};
    return true;
}

rlx_ir_node *rlx_ir_node_make(rlx_ir_module *m, rlx_ir_block *parent, int op, int nin,
                              rlx_ir_value *const *in, int nattr, const rlx_attr *attrs, int nout,
                              int nblock)
{
    rlx_ir_node *n = RLX_NEW(m->arena, rlx_ir_node);
    if (!n)
        return NULL;
    *n = (rlx_ir_node){.op = op, .nin = nin, .nout = nout, .nattr = nattr, .nblock = nblock};
    n->in = rlx_arena_copy(m->arena, in, sizeof(*n->in) * (size_t)nin);
    n->out = RLX_NEW_ARRAY(m->arena, rlx_ir_value *, nout);
    n->blocks = RLX_NEW_ARRAY(m->arena, rlx_ir_block *, nblock);
    rlx_ir_value *values = RLX_NEW_ARRAY(m->arena, rlx_ir_value, nout);
    if (!n->in || !n->out || !n->blocks || !values ||
        !rlx_attr_copy_all(m->arena, nattr, attrs, &n->attr))
        return NULL;
    for (int i = 0; i < nout; i++) {
        values[i] = (rlx_ir_value){.def = n, .index = (uint32_t)i};
        n->out[i] = &values[i];
    }
    for (int i = 0; i < nblock; i++) {
        n->blocks[i] = rlx_ir_block_make(m, parent->func, n);
        if (!n->blocks[i])
            return NULL;
    }
    n->parent = parent;
    return n;
}

void rlx_ir_node_link(rlx_ir_node *n, rlx_ir_block *block, rlx_ir_node *before)
{
    n->parent = block;
    n->next = before;
    n->prev = before ? before->prev : block->last;
    if (n->prev)
        n->prev->next = n;
    else
        block->first = n;
    if (before)
        before->prev = n;
    else
        block->last = n;
}

const char *rlx_ir_place_copy(rlx_ir_module *m, const char *place, const char *last)
{
    if (!place)
        return NULL;
    if (last && strcmp(place, last) == 0)
        return last;
    char *copy = rlx_arena_strdup(m->arena, place);
    if (!copy)
        return NULL;
    for (char *c = copy; *c; c++) /* it is printed as a comment up to the line's end */
        if ((unsigned char)*c < 0x20)
            *c = ' ';
    char *end = copy + strlen(copy);
    while (end > copy && end[-1] == ' ')
        *--end = 0;
    while (*copy == ' ')
        copy++;
    return *copy ? copy : NULL;
}

/* ---- the builder --------------------------------------------------------------------------------
 */

void rlx_ir_builder_init(rlx_ir_builder *b, rlx_ir_module *m)
{
    *b = (rlx_ir_builder){.module = m};
}

rlx_status rlx_ir_builder_finish(rlx_ir_builder *b)
{
    rlx_status st = b->status;
    b->status = RLX_OK;
    return st;
}

void rlx_ir_builder_fail(rlx_ir_builder *b, rlx_status s)
{
    if (!b->status)
        b->status = s;
    else
        rlx_status_free(s);
}

static void *out_of_memory(rlx_ir_builder *b)
{
    rlx_ir_builder_fail(b, RLX_OOM());
    return NULL;
}

static rlx_status check_func(const rlx_ir_module *m, const char *name)
{
    if (!name || !rlx_ir_is_func_name(name))
        return RLX_FAIL(RLX_INVALID_IR, "'%s' is no name for a function", name ? name : "");
    if (rlx_ir_func_find(m, name))
        return RLX_FAIL(RLX_INVALID_IR, "there are two functions @%s", name);
    return RLX_OK;
}

static rlx_status check_results(const char *name, int n, const rlx_ir_type *types)
{
    for (int i = 0; i < n; i++)
        RLX_TRY_NOTE(rlx_ir_type_check(&types[i]), "result %d of @%s", i, name);
    return RLX_OK;
}

rlx_ir_func *rlx_ir_build_func(rlx_ir_builder *b, const char *name, int nresults,
                               const rlx_ir_type *results)
{
    if (b->status)
        return NULL;
    b->status = check_func(b->module, name);
    if (!b->status)
        b->status = check_results(name, nresults, results);
    if (b->status)
        return NULL;
    rlx_ir_func *f = rlx_ir_func_make(b->module, name, nresults, results);
    if (!f)
        return out_of_memory(b);
    b->block = f->body;
    b->before = NULL;
    return f;
}

void rlx_ir_func_set_results(rlx_ir_builder *b, rlx_ir_func *f, int n, const rlx_ir_type *types)
{
    if (b->status)
        return;
    b->status = check_results(f->name, n, types);
    if (b->status)
        return;
    rlx_ir_type *copy = rlx_arena_copy(b->module->arena, types, sizeof(*types) * (size_t)n);
    if (!copy) {
        out_of_memory(b);
        return;
    }
    f->results = copy;
    f->nresults = n;
}

static rlx_status check_arg(const char *func, rlx_role role, const char *symbol, const char *name,
                            const rlx_ir_type *type)
{
    if (name && !rlx_ir_is_value_name(name))
        return RLX_FAIL(RLX_INVALID_IR, "'%s' is no name for an argument of @%s", name, func);
    bool bound = role == RLX_ROLE_WEIGHT || role == RLX_ROLE_INPUT || role == RLX_ROLE_STATE;
    if (bound != (symbol != NULL))
        return RLX_FAIL(RLX_INVALID_IR, "argument %%%s of @%s %s", name ? name : "", func,
                        bound ? "binds by name and has none" : "has a symbol and does not bind");
    RLX_TRY_NOTE(rlx_ir_type_check(type), "argument %%%s of @%s", name ? name : "", func);
    return RLX_OK;
}

rlx_ir_value *rlx_ir_build_arg(rlx_ir_builder *b, rlx_ir_func *f, rlx_role role, const char *symbol,
                               const char *name, rlx_ir_type type)
{
    if (b->status)
        return NULL;
    b->status = check_arg(f->name, role, symbol, name, &type);
    if (b->status)
        return NULL;
    if (!rlx_ir_func_add_arg(f, role, symbol, name, type))
        return out_of_memory(b);
    return f->body->args[f->body->nargs - 1];
}

rlx_ir_value *rlx_ir_build_block_arg(rlx_ir_builder *b, rlx_ir_block *block, const char *name,
                                     rlx_ir_type type)
{
    if (b->status)
        return NULL;
    b->status = check_arg(block->func->name, RLX_ROLE_VALUE, NULL, name, &type);
    if (b->status)
        return NULL;
    rlx_ir_value *v = rlx_ir_block_add_arg(b->module, block, name, type);
    return v ? v : out_of_memory(b);
}

/* ---- checking one node --------------------------------------------------------------------------
 */

static bool count_fits(int have, int want)
{
    return want >= 0 ? have == want : have >= -1 - want;
}

static const char *at_least(int want)
{
    return want < 0 ? "at least " : "";
}

rlx_status rlx_ir_check_shape(const rlx_ir_module *m, const rlx_ir_node *n)
{
    const rlx_ir_opinfo *info = rlx_ir_info(m, n);
    RLX_IR_REQUIRE(m, n, "IR1", count_fits(n->nin, info->inputs), "takes %s%d operands, has %d",
                   at_least(info->inputs), info->inputs < 0 ? -1 - info->inputs : info->inputs,
                   n->nin);
    RLX_IR_REQUIRE(m, n, "IR2", count_fits(n->nout, info->outputs), "gives %s%d results, has %d",
                   at_least(info->outputs), info->outputs < 0 ? -1 - info->outputs : info->outputs,
                   n->nout);
    for (int i = 0; i < n->nin; i++)
        RLX_IR_REQUIRE(m, n, "IR3", n->in[i], "operand %d is missing", i);
    for (int i = 0; i < n->nattr; i++) {
        const rlx_attr *a = &n->attr[i];
        bool allowed = false;
        for (const rlx_attr_key *k = info->attrs; *k != RLX_ATTR_NONE; k++)
            allowed = allowed || *k == a->key;
        RLX_IR_REQUIRE(m, n, "IR4", allowed, "takes no attribute %s", rlx_attr_name(a->key));
        RLX_IR_REQUIRE(m, n, "IR5", i == 0 || n->attr[i - 1].key < a->key,
                       "has attribute %s twice, or out of order", rlx_attr_name(a->key));
    }
    return RLX_OK;
}

/* The violation that a written type differs from the inferred one. */
static rlx_status type_differs(const rlx_ir_module *m, const rlx_ir_node *n, int i,
                               const rlx_ir_type *inferred)
{
    rlx_text want = {0}, have = {0};
    rlx_ir_type_print(m->dims, inferred, &want);
    rlx_ir_type_print(m->dims, &n->out[i]->type, &have);
    rlx_status st = rlx_ir_violation(m, n, "IR6", __FILE__, __LINE__,
                                     "result %d is %s by its operands, and written as %s", i,
                                     want.data ? want.data : "", have.data ? have.data : "");
    rlx_text_deinit(&want);
    rlx_text_deinit(&have);
    return st;
}

rlx_status rlx_ir_check_types(rlx_ir_module *m, rlx_ir_node *n)
{
    const rlx_ir_opinfo *info = rlx_ir_info(m, n);
    if (info->infer && n->nout > 0) {
        rlx_ir_type few[4] = {{0}};
        rlx_ir_type *types = n->nout <= 4 ? few : RLX_NEW_ARRAY(m->arena, rlx_ir_type, n->nout);
        if (!types)
            return RLX_OOM();
        RLX_TRY(info->infer(m, n, types));
        for (int i = 0; i < n->nout; i++) {
            if (n->out[i]->type.kind == RLX_TYPE_NONE)
                n->out[i]->type = types[i];
            else if (!rlx_ir_type_equal(&n->out[i]->type, &types[i]))
                return type_differs(m, n, i, &types[i]);
        }
    }
    for (int i = 0; i < n->nout; i++) {
        RLX_IR_REQUIRE(m, n, "IR7", n->out[i]->type.kind != RLX_TYPE_NONE,
                       "the type of result %d must be given", i);
        RLX_TRY_NOTE(rlx_ir_type_check(&n->out[i]->type), "result %d of %s", i, info->mnemonic);
    }
    return RLX_OK;
}

/* ---- building nodes
 * ------------------------------------------------------------------------------ */

static rlx_status check_request(const rlx_ir_builder *b, int op, int nin, rlx_ir_value *const *in,
                                int nattr, const rlx_attr *attrs)
{
    const rlx_ir_level *level = b->module->level;
    if (op < 0 || op >= level->nops)
        return RLX_FAIL(RLX_INVALID_IR, "%s has no op %d", level->name, op);
    const char *mnemonic = level->ops[op].mnemonic;
    if (!b->block)
        return RLX_FAIL(RLX_INVALID_IR, "%s is built in no block", mnemonic);
    for (int i = 0; i < nin; i++)
        if (!in[i])
            return RLX_FAIL(RLX_INVALID_IR, "operand %d of %s is missing%s%s", i, mnemonic,
                            b->place ? " at " : "", b->place ? b->place : "");
    for (int i = 0; i < nattr; i++)
        RLX_TRY_NOTE(rlx_attr_check(&attrs[i]), "building %s", mnemonic);
    return RLX_OK;
}

static rlx_status check_built(rlx_ir_module *m, rlx_ir_node *n)
{
    const rlx_ir_opinfo *info = rlx_ir_info(m, n);
    RLX_TRY(rlx_ir_check_shape(m, n));
    RLX_TRY(rlx_ir_check_types(m, n));
    /* an op with blocks can be judged when they are filled: rlx_ir_verify does */
    return info->verify && info->nblocks == 0 ? info->verify(m, n) : RLX_OK;
}

rlx_ir_node *rlx_ir_build_node(rlx_ir_builder *b, int op, int nin, rlx_ir_value *const *in,
                               int nattr, const rlx_attr *attrs, int nout, const rlx_ir_type *types)
{
    if (b->status)
        return NULL;
    b->status = check_request(b, op, nin, in, nattr, attrs);
    if (b->status)
        return NULL;
    rlx_ir_module *m = b->module;
    const rlx_ir_opinfo *info = &m->level->ops[op];
    if (!types && info->outputs >= 0)
        nout = info->outputs;
    rlx_ir_node *n = rlx_ir_node_make(m, b->block, op, nin, in, nattr, attrs, nout, info->nblocks);
    if (!n)
        return out_of_memory(b);
    for (int i = 0; types && i < nout; i++)
        n->out[i]->type = types[i];
    const rlx_ir_node *last = b->before ? b->before->prev : b->block->last;
    n->place = rlx_ir_place_copy(m, b->place, last ? last->place : NULL);
    rlx_status st = check_built(m, n);
    if (st) {
        b->status = rlx_status_note(st, __FILE__, __LINE__, "building %s in @%s", info->mnemonic,
                                    b->block->func->name);
        return NULL;
    }
    rlx_ir_node_link(n, b->block, b->before);
    return n;
}

rlx_ir_value *rlx_ir_build(rlx_ir_builder *b, int op, int nin, rlx_ir_value *const *in, int nattr,
                           const rlx_attr *attrs, const rlx_ir_type *type)
{
    rlx_ir_node *n = rlx_ir_build_node(b, op, nin, in, nattr, attrs, 1, type);
    if (!n)
        return NULL;
    if (n->nout == 1)
        return n->out[0];
    rlx_ir_builder_fail(b, RLX_FAIL(RLX_INVALID_IR, "%s gives %d results, not one",
                                    rlx_ir_info(b->module, n)->mnemonic, n->nout));
    return NULL;
}

void rlx_ir_build_return(rlx_ir_builder *b, int n, rlx_ir_value *const *values)
{
    rlx_ir_build_node(b, b->module->level->op_return, n, values, 0, NULL, 0, NULL);
}

void rlx_ir_build_yield(rlx_ir_builder *b, int n, rlx_ir_value *const *values)
{
    rlx_ir_build_node(b, b->module->level->op_yield, n, values, 0, NULL, 0, NULL);
}
