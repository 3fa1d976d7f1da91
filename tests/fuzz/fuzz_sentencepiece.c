/* sentencepiece's tokenizer.model under arbitrary bytes. */
#include "tests/fuzz/fuzz_tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    rlx_tokenizer *t = NULL;
    void *copy =
        size <= FUZZ_MAX_BYTES ? malloc(size + !size) : NULL; /* of its own, for sanitizers */
    if (!copy)
        return 0;
    memcpy(copy, data, size);
    rlx_status st = rlx_tokenizer_parse_sentencepiece(copy, size, "tokenizer.model", &t);
    free(copy);
    if (t)
        fuzz_use(t);
    fuzz_end(st);
    rlx_tokenizer_destroy(t);
    return 0;
}
