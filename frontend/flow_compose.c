/* frontend/flow_compose.c: flows made of parts: scopes, conditions, stacks. */
#include <string.h>

#include "frontend/blocks/blocks.h"

void rlx_flow_when(rlx_flow *f, bool condition, void (*record)(rlx_flow *f, void *user), void *user)
{
    if (!record)
        rlx_flow_fail(f, RLX_FAIL(RLX_INVALID_ARGUMENT, "when: no function that records"));
    else if (condition && !f->error)
        record(f, user);
}

void rlx_flow_scope(rlx_flow *f, const char *name, void (*record)(rlx_flow *f, void *user),
                    void *user)
{
    const char *outer = f->scope;
    if (f->error)
        return;
    if (!name || !*name || strpbrk(name, "/#") || !record) {
        rlx_flow_fail(f, RLX_FAIL(RLX_INVALID_ARGUMENT,
                                  "a scope needs a function that records and a name without / and "
                                  "#, not \"%s\"",
                                  name ? name : ""));
        return;
    }
    f->scope =
        outer ? rlx_arena_printf(f->arena, "%s/%s", outer, name) : rlx_arena_strdup(f->arena, name);
    if (f->scope)
        record(f, user);
    else
        rlx_flow_fail(f, RLX_OOM());
    f->scope = outer;
}

/* ---- stacks -----------------------------------------------------------------------------------
 */

rlx_status rlx_stack_create(const char *name, rlx_flow **out)
{
    RLX_TRY(rlx_flow_create(name, out));
    (*out)->is_stack = true;
    (*out)->layer = 0;
    return RLX_OK;
}

static bool needs_layer(const rlx_stage *s)
{
    bool hole = s->kind == RLX_STAGE_SELF_ATTENTION || (s->name && strstr(s->name, "{}"));
    for (int k = 0; k < RLX_STAGE_KEYS; k++)
        hole |= s->key[k] && strstr(s->key[k], "{}");
    return hole;
}

/* A stage once more, with texts of the flow's own. */
static void copy_stage(rlx_flow *f, const rlx_stage *from)
{
    rlx_stage *s = rlx_flow_record(f, from->kind);
    if (!s)
        return;
    const rlx_stage place = *s;
    *s = *from;
    s->repeat = place.repeat;
    s->layer = place.layer;
    s->scope = place.scope;
    s->name = from->name ? rlx_arena_strdup(f->arena, from->name) : NULL;
    bool oom = from->name && !s->name;
    for (int k = 0; k < RLX_STAGE_KEYS; k++) {
        s->key[k] = from->key[k] ? rlx_arena_strdup(f->arena, from->key[k]) : NULL;
        oom |= from->key[k] && !s->key[k];
    }
    if (oom)
        rlx_flow_fail(f, RLX_OOM());
    else if (s->kind == RLX_STAGE_OUTPUT && rlx_flow_is_named_before(f, s))
        rlx_flow_fail(f, RLX_FAIL(RLX_INVALID_ARGUMENT,
                                  "F2: output \"%s\": an input or output before it has that name",
                                  s->name));
}

static void record_stack(rlx_flow *f, void *user)
{
    const rlx_flow *stack = user;
    const char *base = f->scope;
    for (int i = 0; i < stack->nstages && !f->error; i++) {
        const rlx_stage *s = &stack->stages[i];
        if (f->layer < 0 && needs_layer(s)) {
            rlx_flow_fail(
                f, RLX_FAIL(RLX_INVALID_ARGUMENT,
                            "F9: stack %s: its stage %d (%s) stands for a layer, and this is "
                            "outside of layers",
                            stack->name, i, rlx_block_get(s->kind)->name));
            return;
        }
        f->scope = s->scope ? rlx_arena_printf(f->arena, "%s/%s", base, s->scope) : base;
        if (f->scope)
            copy_stage(f, s);
        else
            rlx_flow_fail(f, RLX_OOM());
    }
}

void rlx_flow_stack(rlx_flow *f, const rlx_flow *stack)
{
    if (!f->error && (!stack || !stack->is_stack || stack == f))
        rlx_flow_fail(f, RLX_FAIL(RLX_INVALID_ARGUMENT, "no stack: rlx_stack_create makes one"));
    else if (!f->error && stack->error)
        rlx_flow_fail(f, RLX_FAIL(rlx_status_code(stack->error), "stack %s, stage %d: %s",
                                  stack->name, stack->nstages, rlx_status_message(stack->error)));
    else if (!f->error && stack->saves)
        rlx_flow_fail(f, RLX_FAIL(RLX_INVALID_ARGUMENT, "F6: stack %s leaves %d residual_save open",
                                  stack->name, stack->saves));
    else
        rlx_flow_scope(f, stack ? stack->name : NULL, record_stack, (void *)stack);
}

static void stack_layer(rlx_flow *f, int64_t index, void *user)
{
    (void)index;
    rlx_flow_stack(f, user);
}

void rlx_flow_repeat_stack(rlx_flow *f, int64_t count, const rlx_flow *stack)
{
    rlx_flow_repeat_layers(f, count, stack_layer, (void *)stack);
}
