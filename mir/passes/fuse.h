/* mir/passes/fuse.h: what the files of fuse_regions share: the graph of one function's body, in
 * which nodes are put into groups until every node that must be computed has one.
 *
 *   fuse_loops.c    ... of groups that go by elements
 *   fuse_attention.c ... of attention over tensors
 *   fuse_graph.c    nodes, what each depends on, what is live
 *   fuse_regions.c  the rules: which nodes form a group
 *   fuse_emit.c     groups to regions
 *
 * All memory is the pass's scratch arena. */
#ifndef RLX_MIR_PASSES_FUSE_H
#define RLX_MIR_PASSES_FUSE_H

#include "mir/mir.h"

typedef struct rlx_mir_fuse_node {
    rlx_ir_node *ir;
    int index;
    int group;   /* that computes it; -1: none (yet), or it is copied into its users */
    bool leaf;   /* a constant, or views and casts of arguments: copied into whatever uses it */
    bool opaque; /* return, call, region: stays as it is */
    bool stored; /* a contract's operand that its tiles cannot walk: it goes to memory */
    bool live;
    int ndeps; /* live nodes that run before it, without leaves; one may occur twice */
    int *deps;
    int nusers; /* the same edges from the other side, live users only */
    int *users;
    bool *prologue; /* contracts and quantizes: nodes by index that are copied in front of it; NULL:
                       none */
} rlx_mir_fuse_node;

typedef struct rlx_mir_fuse_group {
    const char *root; /* NULL: an opaque node, alone */
    int root_op;
    int nnodes;
    int *nodes;           /* ascending */
    const bool *prologue; /* of its contracts, by node index; may be NULL */
} rlx_mir_fuse_group;

typedef struct rlx_mir_fuse_graph {
    rlx_ir_module *module;
    rlx_ir_func *func;
    rlx_arena *arena;
    int nnodes;
    rlx_mir_fuse_node *nodes;
    rlx_mir_optimize_options how;
    int ngroups;
    rlx_mir_fuse_group *groups; /* as many as nodes at most */
    bool *seen;                 /* scratch of rlx_mir_fuse_reaches, by node */
    int *stack;
} rlx_mir_fuse_graph;

/* The graph of `f`, prologues found, liveness and users known, no groups but those of opaque nodes.
 * Every result's `scratch` points to its node until the graph is emitted. */
rlx_status rlx_mir_fuse_graph_build(rlx_ir_module *m, rlx_ir_func *f, rlx_arena *arena,
                                    const rlx_mir_optimize_options *how, rlx_mir_fuse_graph *g);
/* Whether the options let two nodes into one group. */
bool rlx_mir_fuse_may_join(const rlx_mir_fuse_graph *g, const rlx_ir_node *a, const rlx_ir_node *b);
/* The node that computes `v`; NULL for arguments. */
static inline rlx_mir_fuse_node *rlx_mir_fuse_def(const rlx_ir_value *v)
{
    return v->def ? v->scratch : NULL;
}
bool rlx_mir_fuse_is_view(const rlx_mir_fuse_graph *g, const rlx_mir_fuse_node *n);

/* A new group around node `root`. */
rlx_status rlx_mir_fuse_group_add(rlx_mir_fuse_graph *g, rlx_mir_fuse_node *node, const char *root,
                                  int *group);
/* Puts a node into a group, or (-1) takes it out of its own. */
void rlx_mir_fuse_group_set(rlx_mir_fuse_graph *g, rlx_mir_fuse_node *node, int group);
/* Whether computing `node`, or (whole groups counting as one) anything before it, needs `group`. */
bool rlx_mir_fuse_reaches(const rlx_mir_fuse_graph *g, const rlx_mir_fuse_node *node, int group);

/* What a kind of group takes. */
typedef bool rlx_mir_fuse_takes(const rlx_mir_fuse_graph *g, const rlx_mir_fuse_node *n, int group);
/* Still to be given to a group. */
static inline bool rlx_mir_fuse_is_free(const rlx_mir_fuse_node *n)
{
    return n->live && !n->leaf && n->group < 0;
}
/* Free nodes that use the group's and wait for nothing else of it, in program order. */
void rlx_mir_fuse_grow_forwards(rlx_mir_fuse_graph *g, int group, rlx_mir_fuse_takes *takes);
/* Free nodes that serve the group only. */
void rlx_mir_fuse_grow_backwards(rlx_mir_fuse_graph *g, int group, rlx_mir_fuse_takes *takes);

/* Of a dense_attention (fuse_attention.c): marks what has to be stored; what makes its masks. */
void rlx_mir_fuse_mark_attention(const rlx_mir_fuse_graph *g, const rlx_ir_node *n);
rlx_mir_fuse_takes rlx_mir_fuse_attention_masks;

/* Groups around the nodes that only loops over elements compute (fuse_loops.c). */
rlx_status rlx_mir_fuse_loops(rlx_mir_fuse_graph *g);

/* Replaces the body of the graph's function: one region per group, in an order that respects what
 * each needs; nodes without a group are copied into the groups that use them. */
rlx_status rlx_mir_fuse_emit(rlx_mir_fuse_graph *g);

#endif
