#include "tests/tool/split_gguf.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/frontend/gguf_file.h"

enum { HEADER = 24, ALIGN = 32, F32 = 0 };

static void put_split_keys(rlx_text *t, int no, int parts, int tensors)
{
    gguf_file keys = {0};
    gguf_key(&keys, "split.no", RLX_GGUF_U16);
    gguf_put_number(&keys.body, (uint64_t)no, 2);
    gguf_key(&keys, "split.count", RLX_GGUF_U16);
    gguf_put_number(&keys.body, (uint64_t)parts, 2);
    gguf_key(&keys, "split.tensors.count", RLX_GGUF_I32);
    gguf_put_number(&keys.body, (uint64_t)tensors, 4);
    rlx_text_put_bytes(t, keys.body.data, keys.body.len);
    rlx_text_deinit(&keys.body);
}

static void pad(rlx_text *t)
{
    while (t->len % ALIGN)
        gguf_put_number(t, 0, 1);
}

/* Places and data of the tensors first..end. */
static void put_tensors(rlx_text *t, const rlx_gguf *f, int first, int end)
{
    uint64_t at = 0;
    for (int i = first; i < end; i++) {
        const rlx_tensor *x = rlx_gguf_at(f, i);
        ck_assert_int_eq(x->format, RLX_F32);
        gguf_put_text(t, x->name, strlen(x->name));
        gguf_put_number(t, (uint64_t)x->rank, 4);
        for (int d = x->rank - 1; d >= 0; d--)
            gguf_put_number(t, (uint64_t)x->dim[d], 8);
        gguf_put_number(t, F32, 4);
        gguf_put_number(t, at, 8);
        at += (x->bytes + ALIGN - 1) / ALIGN * ALIGN;
    }
    for (int i = first; i < end; i++) {
        pad(t);
        rlx_text_put_bytes(t, rlx_gguf_at(f, i)->data, rlx_gguf_at(f, i)->bytes);
    }
    pad(t);
}

void split_gguf(const char *path, const char *stem, int parts)
{
    rlx_gguf *f;
    char *bytes;
    size_t n;
    ck_assert(!rlx_gguf_open(path, &f) && !rlx_file_read(path, &bytes, &n));
    /* Metadata ends where the first tensor's name begins. */
    const char *name = rlx_gguf_at(f, 0)->name;
    rlx_text key = {0};
    gguf_put_text(&key, name, strlen(name));
    const char *end = memmem(bytes, n, key.data, key.len);
    ck_assert_ptr_nonnull(end);
    const int tensors = rlx_gguf_count(f);
    for (int no = 0; no < parts; no++) {
        rlx_text t = {0};
        char to[512];
        int first = tensors * no / parts, last = tensors * (no + 1) / parts;
        rlx_text_put(&t, "GGUF");
        gguf_put_number(&t, 3, 4);
        gguf_put_number(&t, (uint64_t)(last - first), 8);
        gguf_put_number(&t, 3 + (no ? 0 : (uint64_t)rlx_gguf_value_count(f)), 8);
        if (!no)
            rlx_text_put_bytes(&t, bytes + HEADER, (size_t)(end - bytes) - HEADER);
        put_split_keys(&t, no, parts, tensors);
        put_tensors(&t, f, first, last);
        snprintf(to, sizeof to, "%s-%05d-of-%05d.gguf", stem, no + 1, parts);
        FILE *out = fopen(to, "wb");
        ck_assert(out && fwrite(t.data, 1, t.len, out) == t.len && !fclose(out));
        rlx_text_deinit(&t);
    }
    rlx_text_deinit(&key);
    rlx_gguf_close(f);
    free(bytes);
}
