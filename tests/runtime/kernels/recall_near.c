#include "kernels.h"

/* recall.c, of the last 300 positions only, the token's own included */
KERNEL(recall_near)
{
    UNUSED(memory);
    const int32_t *kv = buffers[0], *rows = buffers[1], *pos = buffers[2], *seq = buffers[3],
                  *table = buffers[4];
    int64_t *y = buffers[5];
    PART(symbols[ROWS], lo, hi);
    for (int64_t r = lo; r < hi; r++) {
        int32_t t = rows[r];
        y[r] = 0;
        for (int64_t i = pos[t] < 300 ? 0 : pos[t] - 299; i <= pos[t]; i++) {
            int64_t page = table[seq[t] * symbols[SLOTS] + i / 256];
            y[r] += i * kv[page * 256 + i % 256];
        }
    }
}
