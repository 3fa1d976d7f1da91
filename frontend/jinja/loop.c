/* frontend/jinja/loop.c: what `loop` says of the loop around. */
#include "frontend/jinja/impl.h"

static rlx_jinja_value neighbour(rlx_jinja_run *x, rlx_jinja_loop *l, int64_t at, const char *hint)
{
    return at >= 0 && rlx_jinja_loop_fill(x, l, at + 1) ? l->items->items[at]
                                                        : rlx_jinja_undefined_hint(x, hint);
}

rlx_jinja_value rlx_jinja_loop_attr(rlx_jinja_run *x, rlx_jinja_loop *l, rlx_jinja_value name)
{
    const int64_t i = l->index0;
    const struct {
        const char *name;
        rlx_jinja_value value;
    } known[] = {
        {"index", rlx_jinja_int(i + 1)},      {"index0", rlx_jinja_int(i)},
        {"first", rlx_jinja_bool(i == 0)},    {"depth", rlx_jinja_int(l->depth0 + 1)},
        {"depth0", rlx_jinja_int(l->depth0)},
    };
    for (size_t k = 0; k < sizeof known / sizeof *known; k++)
        if (rlx_jinja_equal_text(name, known[k].name))
            return known[k].value;
    if (rlx_jinja_equal_text(name, "last"))
        return rlx_jinja_bool(!rlx_jinja_loop_fill(x, l, i + 2));
    if (rlx_jinja_equal_text(name, "length"))
        return rlx_jinja_int(rlx_jinja_loop_length(x, l));
    if (rlx_jinja_equal_text(name, "revindex"))
        return rlx_jinja_int(rlx_jinja_loop_length(x, l) - i);
    if (rlx_jinja_equal_text(name, "revindex0"))
        return rlx_jinja_int(rlx_jinja_loop_length(x, l) - i - 1);
    if (rlx_jinja_equal_text(name, "previtem"))
        return neighbour(x, l, i - 1, "there is no previous item");
    if (rlx_jinja_equal_text(name, "nextitem"))
        return neighbour(x, l, i + 1, "there is no next item");
    return (rlx_jinja_value){.kind = RLX_JINJA_MISSING};
}

int64_t rlx_jinja_loop_length(rlx_jinja_run *x, rlx_jinja_loop *l)
{
    rlx_jinja_loop_fill(x, l, INT64_MAX);
    return l->items->n;
}

/* loop(items) of a recursive loop: its body once more, for these. */
rlx_jinja_value rlx_jinja_loop_call(rlx_jinja_run *x, rlx_jinja_loop *l, const rlx_jinja_args *args)
{
    if (!l->node->flag)
        return rlx_jinja_type_error(x, "The loop must have the 'recursive' marker to be called "
                                       "recursively.");
    if (args->npos != 1 || args->nnamed)
        return rlx_jinja_type_error(x, "loop() takes one argument");
    rlx_jinja_buffer text = {.x = x}, *around = x->out;
    rlx_jinja_flow flow = x->flow;
    x->out = &text;
    x->flow = RLX_JINJA_ON;
    rlx_jinja_exec_for(x, l->scope, l->node, args->pos[0], l->depth0 + 1);
    x->flow = flow;
    x->out = around;
    return rlx_jinja_taken(&text);
}
