/* lir/lir_team.h: how a team of invocations holds tiles and combines rows: what emitters for GPUs do, and
 * what the interpreter checks.
 *
 * Element e of a tile, row-major, lies in part e / team of invocation e mod team; tiles as a matrix unit
 * leaves them do not, and are exchanged. Subgroups are neighbours, `lanes` of them, that change elements
 * without a barrier. No op says so: a reduce has its pairs, and how its elements meet is the emitter's
 * choice, made here for all of them. */
#ifndef RLX_LIR_TEAM_H
#define RLX_LIR_TEAM_H

#include "runtime/base/ir/ir.h"

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

#endif
