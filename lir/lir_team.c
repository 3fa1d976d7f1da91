#include "lir/lir_team.h"

int rlx_lir_lanes(int team, int lanes)
{
    return team > 0 && lanes > 1 && (lanes & (lanes - 1)) == 0 && team % lanes == 0 ? lanes : 0;
}

rlx_lir_way rlx_lir_reduce_way(const rlx_ir_node *reduce, int lanes)
{
    const rlx_ir_type *x = &reduce->in[0]->type;
    const int64_t width = x->dim[x->rank - 1];
    if (width == 1 && x->rank > 1)
        return RLX_LIR_KEPT;
    if (!lanes || width == 1 || (x->format != RLX_F32 && x->format != RLX_I32))
        return RLX_LIR_EXCHANGED;
    if (width <= lanes)
        return RLX_LIR_SHUFFLED;
    return x->rank == 1 ? RLX_LIR_STRIDED : RLX_LIR_EXCHANGED;
}
