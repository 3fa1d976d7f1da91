/* lir/lir_team.h: how a team of invocations holds tiles and combines rows: what emitters for GPUs do, and
 * what the interpreter checks.
 *
 * Element e of a tile, row-major, lies in part e / team of invocation e mod team; tiles as a matrix unit
 * leaves them do not, and are exchanged. Subgroups are neighbours, `lanes` of them, that change elements
 * without a barrier. No op says so: a reduce has its pairs, and how its elements meet is the emitter's
 * choice, made here for all of them. */
#ifndef RLX_LIR_TEAM_H
#define RLX_LIR_TEAM_H

#include "lir/lir.h"

typedef enum rlx_lir_way {
    RLX_LIR_KEPT,      /* rows of one element: each stays whose it is */
    RLX_LIR_EXCHANGED, /* through team memory: whoever owns a sum reads its row */
    RLX_LIR_SHUFFLED,  /* rows lie in a subgroup each, whose lanes take the other half's element */
    RLX_LIR_STRIDED /* one row for all, longer than a subgroup: through team memory, of which every
                          subgroup reads all, lane l elements l, l + lanes, ..; then lanes as above */
} rlx_lir_way;

/* Of a reduce; lanes 0: there are no subgroups. */
rlx_lir_way rlx_lir_reduce_way(const rlx_ir_node *reduce, int lanes);
/* `lanes` if a team is whole subgroups of so many, a power of two; 0: they are not to be used. */
int rlx_lir_lanes(int team, int lanes);

/* Fragments of a tile by subgroups: so many subgroups side by side; fragments of each, downwards and side by side. */
typedef struct rlx_lir_split {
    int64_t across, m, n;
} rlx_lir_split;
/* Of fragments of m rows by n columns, as square as those of one subgroup can be together; false: they do not come out even. */
bool rlx_lir_split_tile(int64_t subgroups, int m, int n, int64_t rows, int64_t columns,
                        rlx_lir_split *out);
/* Of a tile whose sums are stored: how many rows' wait in team memory at a time, all or so few that they are no more than
 * `most` bytes, as far as rows split; 0: the tile is no whole fragments for every subgroup. */
int64_t rlx_lir_stored_rows(const rlx_lir_fragment *u, int team, int64_t most, int64_t rows,
                            int64_t columns);

#endif
