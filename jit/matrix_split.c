#include "jit/matrix_units.h"

bool rlx_matrix_split_tile(int64_t subgroups, int m, int n, int64_t rows, int64_t columns,
                           rlx_matrix_split *out)
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
        *out = (rlx_matrix_split){across, rows / down / m, columns / across / n};
    }
    return best > 0;
}
