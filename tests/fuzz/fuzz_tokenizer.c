/* Tokenizers of GGUF files under arbitrary bytes. */
#include "tests/fuzz/fuzz_tokenizer.h"
#include "runtime/gguf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[FUZZ_PATH_CHARS];
    rlx_gguf *f = NULL;
    rlx_tokenizer *t = NULL;
    if (size > FUZZ_MAX_BYTES)
        return 0;
    int fd = fuzz_file(data, size, path);
    rlx_status st = rlx_gguf_open(path, &f);
    close(fd);
    if (!st)
        st = rlx_tokenizer_read_gguf(f, "fuzz.gguf", &t);
    rlx_gguf_close(f); /* the tokenizer does not need it */
    if (t)
        fuzz_use(t);
    fuzz_end(st);
    rlx_tokenizer_destroy(t);
    return 0;
}
