/* A GGUF file, or a folder of arbitrary files, quantized: what is written opens, and its tensors
 * can be used. */
#include "frontend/rlx.h"
#include "runtime/gguf.h"
#include "tests/fuzz/fuzz_files.h"
#include "tests/fuzz/fuzz_weights.h"

static rlx_status quantize(const char *in, const char *out, size_t type)
{
    const rlx_quantize_options options = {
        .type = rlx_quantize_type_name((int)(type % (size_t)rlx_quantize_type_count())),
        .threads = 1};
    return rlx_quantize(in, out, &options);
}

static void check_written(const char *path)
{
    rlx_weights *w;
    must(!rlx_weights_create(&w), "out of memory");
    must(!rlx_weights_add_gguf(w, path), "what was written does not open");
    fuzz_use_weights(w);
    rlx_weights_destroy(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const folder[] = {"config.json", "model.safetensors", "tokenizer.json",
                                         "tokenizer_config.json", "generation_config.json"};
    static const char *const file[] = {"model.gguf"};
    char in[2 * FUZZ_PATH_CHARS], out[2 * FUZZ_PATH_CHARS];
    const bool gguf = size >= 4 && !memcmp(data, "GGUF", 4);
    if (size > FUZZ_MAX_BYTES)
        return 0;
    fuzz_put_files(data, size, gguf ? file : folder, gguf ? 1 : 5);
    snprintf(in, sizeof in, "%s%s", fuzz_folder(), gguf ? "/model.gguf" : "");
    snprintf(out, sizeof out, "%s/out.gguf", fuzz_folder());
    rlx_status st = quantize(in, out, size);
    if (!st)
        check_written(out);
    fuzz_end(st);
    return 0;
}
