/* tests/random_graphs/reduce.c: a smaller graph that fails. The first value that is wrong by itself
 * becomes the only result; then values in front of it become inputs, one after another, as long as
 * the graph goes on failing. */
#include <stdio.h>
#include <stdlib.h>

#include "tests/random_graphs/graphs.h"

enum { MOST_NODES = 512 };

static bool fails(const random_graph *g)
{
    rlx_status st = graph_check(g);
    const bool yes = st != RLX_OK;
    rlx_status_free(st);
    return yes;
}

/* What @main needs of its first n nodes for node `last`, those in `cut` being inputs. */
static void mark(rlx_ir_node *const *nodes, int last, const bool *cut, bool *needed)
{
    needed[last] = true;
    for (int i = last; i >= 0; i--)
        for (int k = 0; needed[i] && !cut[i] && k < nodes[i]->nin; k++)
            for (int j = 0; j < i; j++)
                if (nodes[j] == nodes[i]->in[k]->def)
                    needed[j] = true;
}

static bool is_used(rlx_ir_node *const *nodes, int n, const bool *cut, const bool *needed,
                    const rlx_ir_value *v)
{
    for (int i = 0; i < n; i++)
        for (int k = 0; needed[i] && !cut[i] && k < nodes[i]->nin; k++)
            if (nodes[i]->in[k] == v)
                return true;
    return false;
}

static rlx_status extract(const random_graph *g, rlx_ir_node *const *nodes, int last,
                          const bool *cut, random_graph *out)
{
    bool needed[MOST_NODES] = {false};
    rlx_ir_builder b;
    rlx_ir_func *from = g->hir->first;
    *out = *g;
    out->hir = NULL;
    mark(nodes, last, cut, needed);
    RLX_TRY(rlx_ir_module_create(&rlx_hir_level, g->dims, "reduced", &out->hir));
    rlx_ir_builder_init(&b, out->hir);
    rlx_ir_clear_scratch(from->body);
    rlx_ir_func *f = rlx_ir_build_func(&b, "main", 1, &nodes[last]->out[0]->type);
    for (int i = 0; i < from->body->nargs; i++) {
        rlx_ir_value *arg = from->body->args[i];
        arg->scratch =
            is_used(nodes, last + 1, cut, needed, arg)
                ? rlx_ir_build_arg(&b, f, RLX_ROLE_INPUT, arg->name, arg->name, arg->type)
                : NULL;
    }
    for (int i = 0; i <= last; i++) {
        char name[24];
        snprintf(name, sizeof name, "v%d", i);
        if (needed[i] && cut[i])
            nodes[i]->out[0]->scratch =
                rlx_ir_build_arg(&b, f, RLX_ROLE_INPUT, name, name, nodes[i]->out[0]->type);
        else if (needed[i])
            rlx_ir_clone_node(&b, nodes[i]);
    }
    rlx_ir_value *result = nodes[last]->out[0]->scratch;
    rlx_ir_build_return(&b, 1, &result);
    RLX_TRY(rlx_ir_builder_finish(&b));
    return rlx_ir_verify(out->hir);
}

/* Whether the part of the graph fails by itself; then it goes to *best in place of what is there.
 */
static bool try_part(const random_graph *g, rlx_ir_node *const *nodes, int last, const bool *cut,
                     random_graph *best)
{
    random_graph part;
    rlx_status st = extract(g, nodes, last, cut, &part);
    const bool better = !st && fails(&part);
    rlx_status_free(st);
    if (better) {
        rlx_ir_module_destroy(best->hir);
        *best = part;
    } else {
        rlx_ir_module_destroy(part.hir);
    }
    return better;
}

static void shrink(const random_graph *g, random_graph *best)
{
    rlx_ir_node *nodes[MOST_NODES];
    bool cut[MOST_NODES] = {false};
    int n = 0, last = 0;
    for (rlx_ir_node *node = g->hir->first->body->first; node && n < MOST_NODES; node = node->next)
        if (node->nout == 1)
            nodes[n++] = node;
    while (last < n && !try_part(g, nodes, last, cut, best))
        last++;
    for (int i = 0; i < last && last < n; i++) {
        if (nodes[i]->op == RLX_HIR_CONST)
            continue;
        cut[i] = true;
        cut[i] = try_part(g, nodes, last, cut, best);
    }
}

void graph_reduce(random_graph *g, rlx_text *out)
{
    random_graph best = *g;
    best.hir = NULL;
    shrink(g, &best);
    const random_graph *smallest = best.hir ? &best : g;
    rlx_status st = graph_check(smallest);
    char *story = st ? rlx_status_text(st) : NULL;
    rlx_text_putf(out, "// T=%lld S=%lld seed=%lld\n", (long long)g->live[0], (long long)g->live[1],
                  (long long)g->seed);
    for (const char *s = story; s && *s; s++) { /* every line of it a comment */
        if (s == story || s[-1] == '\n')
            rlx_text_put(out, "// ");
        rlx_text_put_bytes(out, s, 1);
    }
    rlx_text_put(out, "\n");
    rlx_ir_print(smallest->hir, RLX_PRINT_NO_PLACES, out);
    free(story);
    rlx_status_free(st);
    rlx_ir_module_destroy(best.hir);
}
