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

bool rlx_lir_split_tile(int64_t subgroups, int m, int n, int64_t rows, int64_t columns,
                        rlx_lir_split *out)
{
    int64_t best = 0;
    for (int64_t down = 1; down <= subgroups; down++) {
        const int64_t across = subgroups / down;
        if (subgroups % down || rows % (down * m) || columns % (across * n))
            continue;
        const int64_t edge = rows / down + columns / across;
        if (best && edge >= best)
            continue;
        best = edge;
        *out = (rlx_lir_split){across, rows / down / m, columns / across / n};
    }
    return best > 0;
}

/* Invocations have whole rows' columns, or whole rows. */
static bool is_pass(const rlx_lir_fragment *u, int team, int64_t rows, int64_t columns)
{
    rlx_lir_split s;
    return rows * columns % team == 0 && (columns % team == 0 || team % columns == 0) &&
           rlx_lir_split_tile(team / u->lanes, u->m, u->n, rows, columns, &s);
}

int64_t rlx_lir_stored_rows(const rlx_lir_fragment *u, int team, int64_t most, int64_t rows,
                            int64_t columns)
{
    if (!is_pass(u, team, rows, columns))
        return 0;
    while (rows * columns * (int64_t)sizeof(int32_t) > most && rows % 2 == 0 &&
           is_pass(u, team, rows / 2, columns))
        rows /= 2;
    return rows;
}
