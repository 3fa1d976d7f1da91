/* tests/frontend/decoded.h: what ids are as a text, told one by one, as a stream of them is. */
#ifndef RLX_TESTS_DECODED_H
#define RLX_TESTS_DECODED_H

#include "frontend/rlx.h"
#include "runtime/base/text.h"

static inline bool decoded_append(void *user, const char *utf8, size_t n)
{
    rlx_text_put_bytes(user, utf8, n);
    return true;
}

/* The ids begin a text. The caller's to free. */
static inline char *decoded(const rlx_tokenizer *t, const int32_t *ids, int64_t n)
{
    rlx_text got = {0};
    rlx_token_stream s;
    rlx_token_stream_init(&s, t, true);
    for (int64_t i = 0; i < n; i++)
        rlx_token_stream_push(&s, ids[i], decoded_append, &got);
    rlx_token_stream_end(&s, decoded_append, &got);
    rlx_text_put(&got, "");
    return rlx_text_take(&got);
}

#endif
