/* Importance of arbitrary bytes, in both of its forms: what is accepted is found for tensors of the
 * right shapes, and has no numbers that a quantizer must not see. */
#include <math.h>

#include "frontend/quantize.h"
#include "tests/fuzz/fuzz.h"

static void use(const rlx_imatrix *m)
{
    enum { MATRICES = 2, COLUMNS = 4 };
    static const char *const names[] = {"blk.0.attn_q.weight", "a", ""};
    must(rlx_imatrix_count(m) > 0, "no entry");
    for (int i = 0; i < 6; i++) {
        const rlx_tensor t = {
            .name = names[i % 3], .rank = 3, .dim = {i < 3 ? 1 : MATRICES, 3, COLUMNS}};
        const float *values;
        fuzz_end(rlx_imatrix_find(m, &t, &values));
        for (int k = 0; values && k < t.dim[0] * COLUMNS; k++)
            must(isfinite(values[k]) && values[k] >= 0, "a number that is no mean of squares");
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[FUZZ_PATH_CHARS];
    rlx_imatrix *m = NULL;
    if (size > FUZZ_MAX_BYTES)
        return 0;
    int fd = fuzz_file(data, size, path);
    rlx_status st = rlx_imatrix_load(path, &m);
    close(fd);
    if (m)
        use(m);
    fuzz_end(st);
    rlx_imatrix_destroy(m);
    return 0;
}
