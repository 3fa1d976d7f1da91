#include "tests/frontend/gguf_file.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void gguf_put_number(rlx_text *t, uint64_t v, size_t bytes)
{
    rlx_text_put_bytes(t, &v, bytes);
}

void gguf_put_text(rlx_text *t, const char *s, size_t bytes)
{
    gguf_put_number(t, bytes, 8);
    rlx_text_put_bytes(t, s, bytes);
}

void gguf_key(gguf_file *f, const char *key, rlx_gguf_type type)
{
    gguf_put_text(&f->body, key, strlen(key));
    gguf_put_number(&f->body, type, 4);
    f->keys++;
}

void gguf_int(gguf_file *f, const char *key, uint32_t v)
{
    gguf_key(f, key, RLX_GGUF_U32);
    gguf_put_number(&f->body, v, 4);
}

void gguf_bool(gguf_file *f, const char *key, bool v)
{
    gguf_key(f, key, RLX_GGUF_BOOL);
    gguf_put_number(&f->body, v, 1);
}

void gguf_real(gguf_file *f, const char *key, float v)
{
    gguf_key(f, key, RLX_GGUF_F32);
    rlx_text_put_bytes(&f->body, &v, 4);
}

void gguf_string(gguf_file *f, const char *key, const char *v)
{
    gguf_key(f, key, RLX_GGUF_STRING);
    gguf_put_text(&f->body, v, strlen(v));
}

void gguf_array(gguf_file *f, const char *key, rlx_gguf_type elem, uint64_t n)
{
    gguf_key(f, key, RLX_GGUF_ARRAY);
    gguf_put_number(&f->body, elem, 4);
    gguf_put_number(&f->body, n, 8);
}

void gguf_strings(gguf_file *f, const char *key, const char *const *v, uint64_t n)
{
    gguf_array(f, key, RLX_GGUF_STRING, n);
    for (uint64_t i = 0; i < n; i++)
        gguf_put_text(&f->body, v[i], strlen(v[i]));
}

void gguf_ints(gguf_file *f, const char *key, const int32_t *v, uint64_t n)
{
    gguf_array(f, key, RLX_GGUF_I32, n);
    rlx_text_put_bytes(&f->body, v, n * sizeof *v);
}

void gguf_reals(gguf_file *f, const char *key, const float *v, uint64_t n)
{
    gguf_array(f, key, RLX_GGUF_F32, n);
    rlx_text_put_bytes(&f->body, v, n * sizeof *v);
}

void gguf_bytes(const gguf_file *f, rlx_text *out)
{
    rlx_text_put(out, "GGUF");
    gguf_put_number(out, 3, 4);
    gguf_put_number(out, 0, 8);
    gguf_put_number(out, f->keys, 8);
    rlx_text_put_bytes(out, f->body.data, f->body.len);
}

rlx_gguf *gguf_open(gguf_file *f)
{
    char path[] = "/tmp/rlx-gguf-XXXXXX";
    rlx_text bytes = {0};
    rlx_gguf *g = NULL;
    int fd = mkstemp(path);
    gguf_bytes(f, &bytes);
    ck_assert(fd >= 0 && write(fd, bytes.data, bytes.len) == (ssize_t)bytes.len);
    close(fd);
    rlx_status st = rlx_gguf_open(path, &g);
    unlink(path);
    char *story = st ? rlx_status_text(st) : NULL;
    ck_assert_msg(!st, "%s", story);
    rlx_text_deinit(&bytes);
    rlx_text_deinit(&f->body);
    return g;
}
