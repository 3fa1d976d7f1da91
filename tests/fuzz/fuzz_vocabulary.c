/* Vocabularies in several files: FUZZ_MAIN, tokenizer_config.json and merges.txt of one folder, of
 * arbitrary bytes. */
#include "tests/fuzz/fuzz_files.h"
#include "tests/fuzz/fuzz_tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = {FUZZ_MAIN, "tokenizer_config.json", "merges.txt"};
    const rlx_tokenizer_options options = {.pre = "gpt-2", .no_cache = true};
    rlx_tokenizer *t = NULL;
    if (size > FUZZ_MAX_BYTES)
        return 0;
    fuzz_put_files(data, size, names, 3);
    rlx_status st = rlx_tokenizer_load(fuzz_folder(), &options, &t);
    must(!st == !!t, "neither a tokenizer nor an error");
    if (t)
        fuzz_use(t);
    fuzz_end(st);
    rlx_tokenizer_destroy(t);
    return 0;
}
