/* GGUF files: the collection beside the project; one made by hand, shortened and damaged
 * everywhere. */
#include <dirent.h>
#include <unistd.h>

#include "runtime/gguf.h"
#include "tests/runtime/suite.h"

static rlx_weights *make_weights(void)
{
    rlx_weights *w;
    EXPECT_OK(rlx_weights_create(&w));
    return w;
}

/* Names that begin with "bad-" must be refused, "ok-" must load, "either-" may do either. */
START_TEST(gguf_collection)
{
    static const char folder[] = RLX_SHARED_DIR "/data/conformance/malformed-gguf";
    char path[1024];
    DIR *d = opendir(folder);
    if (!d) {
        printf("skipped: %s is not there\n", folder);
        return;
    }
    int n = 0;
    for (struct dirent *e; (e = readdir(d));) {
        if (!strstr(e->d_name, ".gguf"))
            continue;
        snprintf(path, sizeof(path), "%s/%s", folder, e->d_name);
        rlx_gguf *f = NULL;
        rlx_weights *w = make_weights();
        if (strncmp(e->d_name, "bad-", 4) == 0) {
            EXPECT_ERROR(rlx_gguf_open(path, &f), RLX_INVALID_FILE, e->d_name);
        } else if (strncmp(e->d_name, "either-", 7) == 0) {
            rlx_status_free(rlx_gguf_open(path, &f));
            rlx_gguf_close(f);
        } else {
            EXPECT_OK(rlx_gguf_open(path, &f));
            EXPECT_OK(rlx_weights_add_gguf(w, f, NULL));
            ck_assert_int_ge(rlx_weights_count(w), 1);
        }
        rlx_weights_destroy(w);
        n++;
    }
    closedir(d);
    ck_assert_int_ge(n, 23);
}
END_TEST

/* A file of two keys and two tensors, made here: what is read, and that every shorter one, and
 * every byte set to something else, is read or refused. */
typedef struct bytes {
    uint8_t data[1024];
    size_t n;
} bytes;

static void put(bytes *b, const void *p, size_t n)
{
    memcpy(b->data + b->n, p, n);
    b->n += n;
}

static void put_number(bytes *b, uint64_t v, size_t n)
{
    put(b, &v, n);
}

static void put_string(bytes *b, const char *s)
{
    put_number(b, strlen(s), 8);
    put(b, s, strlen(s));
}

static void make_gguf(bytes *b)
{
    *b = (bytes){.n = 0};
    put(b, "GGUF", 4);
    put_number(b, 3, 4);
    put_number(b, 2, 8);
    put_number(b, 3, 8);
    put_string(b, "general.architecture");
    put_number(b, RLX_GGUF_STRING, 4);
    put_string(b, "llama");
    put_string(b, "offset");
    put_number(b, RLX_GGUF_I16, 4);
    put_number(b, (uint64_t)-5, 2);
    put_string(b, "names");
    put_number(b, RLX_GGUF_ARRAY, 4);
    put_number(b, RLX_GGUF_STRING, 4);
    put_number(b, 2, 8);
    put_string(b, "a");
    put_string(b, "");
    put_string(b, "w"); /* two rows of 32 */
    put_number(b, 2, 4);
    put_number(b, 32, 8);
    put_number(b, 2, 8);
    put_number(b, 8, 4);
    put_number(b, 0, 8);
    put_string(b, "n");
    put_number(b, 1, 4);
    put_number(b, 3, 8);
    put_number(b, 0, 4);
    put_number(b, 96, 8);
    b->n = (b->n + 31) / 32 * 32;
    for (int i = 0; i < 96 + 12; i++)
        put_number(b, (uint64_t)i, 1);
}

static rlx_status open_bytes(const bytes *b, size_t n, rlx_gguf **out)
{
    char path[] = "/tmp/rlx-gguf-XXXXXX";
    int fd = mkstemp(path);
    ck_assert(fd >= 0 && write(fd, b->data, n) == (ssize_t)n);
    close(fd);
    rlx_status st = rlx_gguf_open(path, out);
    unlink(path); /* stays mapped */
    return st;
}

START_TEST(gguf_by_hand)
{
    bytes b;
    rlx_gguf *f;
    make_gguf(&b);
    EXPECT_OK(open_bytes(&b, b.n, &f));
    int64_t v;
    ck_assert_int_eq(rlx_gguf_value_count(f), 3);
    ck_assert_str_eq(rlx_gguf_find(f, "general.architecture")->text, "llama");
    ck_assert(rlx_gguf_int(rlx_gguf_find(f, "offset"), &v) && v == -5);
    ck_assert(!rlx_gguf_int(rlx_gguf_find(f, "names"), &v));
    ck_assert_ptr_null(rlx_gguf_find(f, "other"));
    rlx_weights *w = make_weights();
    EXPECT_OK(rlx_weights_add_gguf(w, f, (const char *const[]){"weight", "norm"}));
    const rlx_tensor *t = rlx_weights_find(w, "weight");
    ck_assert(t && t->format == RLX_Q8_0 && t->rank == 2 && t->dim[0] == 2 && t->dim[1] == 32);
    ck_assert(t->bytes == 68 && ((const uint8_t *)t->data)[1] == 1);
    t = rlx_weights_find(w, "norm");
    ck_assert(t && t->format == RLX_F32 && t->dim[0] == 3 && *(const uint8_t *)t->data == 96);
    EXPECT_OK(open_bytes(&b, b.n, &f));
    EXPECT_ERROR(rlx_weights_add_gguf(w, f, (const char *const[]){"new", "norm"}),
                 RLX_INVALID_ARGUMENT, "already a weight 'norm'");
    ck_assert_int_eq(rlx_weights_count(w), 2);
    rlx_weights_destroy(w);
    for (size_t n = 0; n < b.n; n++)
        EXPECT_ERROR(open_bytes(&b, n, &f), RLX_INVALID_FILE, "");
    for (size_t at = 0; at < b.n - 108; at++) {
        static const uint8_t values[] = {0, 1, 0x7f, 0xff};
        for (size_t i = 0; i < sizeof values; i++) {
            bytes damaged = b;
            damaged.data[at] = values[i];
            f = NULL;
            rlx_status_free(open_bytes(&damaged, b.n, &f));
            rlx_gguf_close(f);
        }
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("gguf");
    SUITE_TEST(s, "collection", gguf_collection);
    SUITE_TEST(s, "by_hand", gguf_by_hand);
    return suite_run(s, 2);
}
