/* tokenizer.json under arbitrary bytes. */
#include "tests/fuzz/fuzz_tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    rlx_tokenizer *t = NULL;
    char *json = size <= FUZZ_MAX_BYTES ? strndup((const char *)data, size) : NULL;
    if (!json)
        return 0;
    rlx_status st = rlx_tokenizer_parse(json, "tokenizer.json", &t);
    free(json);
    if (t)
        fuzz_use(t);
    fuzz_end(st);
    rlx_tokenizer_destroy(t);
    return 0;
}
