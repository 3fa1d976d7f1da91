#include "kernels.h"

/* kv[page of seq[t] and pos[t], pos[t] mod 256] = ids[t] */
KERNEL(remember)
{
    UNUSED(memory);
    int32_t *kv = buffers[0];
    const int32_t *ids = buffers[1], *pos = buffers[2], *seq = buffers[3], *table = buffers[4];
    PART(symbols[TOKENS], lo, hi);
    for (int64_t t = lo; t < hi; t++) {
        int64_t page = table[seq[t] * symbols[SLOTS] + pos[t] / 256];
        kv[page * 256 + pos[t] % 256] = ids[t];
    }
}
