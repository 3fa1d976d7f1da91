/* A .safetensors file of arbitrary bytes: what is accepted can be used. */
#include "tests/fuzz/fuzz_weights.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[FUZZ_PATH_CHARS];
    rlx_weights *w;
    if (size > FUZZ_MAX_BYTES)
        return 0;
    must(!rlx_weights_create(&w), "out of memory");
    int fd = fuzz_file(data, size, path);
    rlx_status st = rlx_weights_add_safetensors(w, path);
    must(!st || rlx_weights_count(w) == 0, "an error, and tensors");
    fuzz_use_weights(w);
    fuzz_end(st);
    rlx_weights_destroy(w);
    close(fd);
    return 0;
}
