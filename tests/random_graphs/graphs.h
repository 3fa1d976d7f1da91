/* tests/random_graphs/graphs.h: random graphs of tensor ops through every engine.
 *
 *   generate.c  a well-typed graph from a seed     run.c     the engines, and what they must agree in
 *   reduce.c    a smaller graph that fails alike   device.c  a Vulkan device
 *   main.c      the program
 *
 * A graph is a HIR module with one function, @main, of INPUT arguments; symbols have live extents.
 */
#ifndef RLX_TESTS_RANDOM_GRAPHS_H
#define RLX_TESTS_RANDOM_GRAPHS_H

#include "hir/hir.h"

enum { GRAPH_UPPER = 8 }; /* the bucket of every symbol; live extents are 0 to this */

typedef struct random_graph {
    rlx_ir_module *hir;
    rlx_dims *dims;
    int64_t live[RLX_MAX_SYMBOLS];
    uint64_t seed; /* of the inputs' data */
    bool is_file;
} random_graph;

static inline uint64_t graph_random(uint64_t *state)
{
    *state += 0x9e3779b97f4a7c15u; /* splitmix64 */
    uint64_t z = *state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* A graph of its own table of dims. */
rlx_status graph_generate(uint64_t seed, random_graph *g);
rlx_status graph_parse(const char *path, const char *text, random_graph *g);
void graph_deinit(random_graph *g);
/* RLX_OK when all engines have the same bits (any NaN is like any other). */
rlx_status graph_check(const random_graph *g);
/* Code from now on runs on that Vulkan device in place of the CPU; the name is borrowed. */
void graph_check_on(const char *name);
/* Makes the graph as small as it fails (whatever the failure), and prints it as a file. */
void graph_reduce(random_graph *g, rlx_text *out);

#endif
