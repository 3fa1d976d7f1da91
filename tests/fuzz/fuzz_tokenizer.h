/* tests/fuzz/fuzz_tokenizer.h: what must hold of every tokenizer that a reader accepted: it encodes
 * to ids that it has, and decodes them. */
#ifndef RLX_TESTS_FUZZ_TOKENIZER_H
#define RLX_TESTS_FUZZ_TOKENIZER_H

#include "frontend/tokenizer.h"
#include "tests/fuzz/fuzz.h"

static bool fuzz_count(void *user, const char *utf8, size_t n)
{
    (void)utf8;
    *(size_t *)user += n;
    return true;
}

static inline void fuzz_use(const rlx_tokenizer *t)
{
    static const char text[] =
        "ab 11 <|end|>\n caf\xc3\xa9 <s>  \xe2\x96\x81q\xc3\xa9 A\xcc\x8a\xef\xbc\xa1";
    int32_t *ids, *types;
    int64_t n;
    size_t bytes = 0;
    rlx_token_stream s;
    rlx_status st =
        rlx_tokenizer_encode_pair(t, text, sizeof text - 1, "ab", 2, true, &ids, &types, &n);
    if (st) { /* a pattern of the file's own may backtrack without end */
        must(rlx_status_code(st) == RLX_EXHAUSTED, "encoding fails");
        fuzz_end(st);
        return;
    }
    rlx_token_stream_init(&s, t, true);
    for (int64_t i = 0; i < n; i++) {
        must(ids[i] >= 0 && ids[i] < rlx_tokenizer_count(t), "an id that is no token's");
        rlx_token_stream_push(&s, ids[i], fuzz_count, &bytes);
    }
    rlx_token_stream_end(&s, fuzz_count, &bytes);
    free(ids);
    free(types);
}

#endif
