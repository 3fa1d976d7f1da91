/* Tokenizers of GGUF files under arbitrary bytes: whatever is accepted encodes to ids that it has,
 * and decodes them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "frontend/tokenizer.h"
#include "runtime/base/text.h"
#include "runtime/gguf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "%s\n", what);
        abort();
    }
}

static rlx_status open_bytes(const uint8_t *data, size_t size, rlx_gguf **out)
{
    char path[64];
    int fd = memfd_create("fuzz.gguf", MFD_CLOEXEC);
    must(fd >= 0 && write(fd, data, size) == (ssize_t)size, "no file in memory");
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    rlx_status st = rlx_gguf_open(path, out);
    close(fd);
    return st;
}

static bool count(void *user, const char *utf8, size_t n)
{
    (void)utf8;
    *(size_t *)user += n;
    return true;
}

static void use(const rlx_tokenizer *t)
{
    static const char text[] = "ab 11 <|end|>\n caf\xc3\xa9 <s>  \xe2\x96\x81q\xc3\xa9";
    int32_t *ids;
    int64_t n;
    size_t bytes = 0;
    rlx_token_stream s;
    must(!rlx_tokenizer_encode(t, text, sizeof text - 1, true, &ids, &n), "encoding fails");
    rlx_token_stream_init(&s, t, true);
    for (int64_t i = 0; i < n; i++) {
        must(ids[i] >= 0 && ids[i] < rlx_tokenizer_count(t), "an id that is no token's");
        rlx_token_stream_push(&s, ids[i], count, &bytes);
    }
    rlx_token_stream_end(&s, count, &bytes);
    free(ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    rlx_gguf *f = NULL;
    rlx_tokenizer *t = NULL;
    rlx_status st = size <= 1 << 16 ? open_bytes(data, size, &f) : RLX_OK;
    if (!st && f)
        st = rlx_tokenizer_read_gguf(f, "fuzz.gguf", &t);
    rlx_gguf_close(f); /* the tokenizer does not need it */
    if (t)
        use(t);
    if (st) {
        char *story = rlx_status_text(st);
        must(story && *story, "an error without a story");
        free(story);
    }
    rlx_status_free(st);
    rlx_tokenizer_destroy(t);
    return 0;
}
