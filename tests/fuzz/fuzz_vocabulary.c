/* Vocabularies in several files: FUZZ_MAIN, tokenizer_config.json and merges.txt of one folder, of
 * arbitrary bytes. */
#include "tests/fuzz/fuzz_files.h"
#include "tests/fuzz/fuzz_tokenizer.h"

/* Lists of ranks need a name for how they cut texts, and other files take none. */
static void load(const char *pre)
{
    const rlx_tokenizer_options options = {.pre = pre, .no_cache = true};
    rlx_tokenizer *t = NULL;
    rlx_status st = rlx_tokenizer_load(fuzz_folder(), &options, &t);
    must(!st == !!t, "neither a tokenizer nor an error");
    if (t)
        fuzz_use(t);
    fuzz_end(st);
    rlx_tokenizer_destroy(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = {FUZZ_MAIN, "tokenizer_config.json", "merges.txt"};
    if (size > FUZZ_MAX_BYTES)
        return 0;
    fuzz_put_files(data, size, names, 3);
    load(NULL);
    load("gpt-2");
    return 0;
}
