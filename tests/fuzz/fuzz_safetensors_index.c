/* A model.safetensors.index.json of arbitrary bytes beside two files of arbitrary bytes. */
#include "tests/fuzz/fuzz_files.h"
#include "tests/fuzz/fuzz_weights.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = {"model.safetensors.index.json", "a.safetensors",
                                        "b.safetensors"};
    char path[2 * FUZZ_PATH_CHARS];
    rlx_weights *w;
    if (size > FUZZ_MAX_BYTES)
        return 0;
    fuzz_put_files(data, size, names, 3);
    snprintf(path, sizeof path, "%s/%s", fuzz_folder(), names[0]);
    must(!rlx_weights_create(&w), "out of memory");
    rlx_status st = rlx_weights_add_safetensors(w, path);
    must(!st || rlx_weights_count(w) == 0, "an error, and tensors");
    fuzz_use_weights(w);
    fuzz_end(st);
    rlx_weights_destroy(w);
    return 0;
}
