/* GGUF files: made by hand, shortened and damaged everywhere; each rule. (The collection beside the
 * project: tests/suites.) */
#include <unistd.h>

#include "runtime/gguf.h"
#include "tests/runtime/suite.h"

static rlx_weights *make_weights(void)
{
    rlx_weights *w;
    EXPECT_OK(rlx_weights_create(&w));
    return w;
}

/* A file of two keys and two tensors, made here: what is read, and that every shorter one, and
 * every byte set to something else, is read or refused. */
typedef struct bytes {
    uint8_t data[2048];
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
    EXPECT_OK(rlx_weights_take_gguf(w, f, (const char *const[]){"weight", "norm"}));
    const rlx_tensor *t = rlx_weights_find(w, "weight");
    ck_assert(t && t->format == RLX_Q8_0 && t->rank == 2 && t->dim[0] == 2 && t->dim[1] == 32);
    ck_assert(t->bytes == 68 && ((const uint8_t *)t->data)[1] == 1);
    t = rlx_weights_find(w, "norm");
    ck_assert(t && t->format == RLX_F32 && t->dim[0] == 3 && *(const uint8_t *)t->data == 96);
    EXPECT_OK(open_bytes(&b, b.n, &f));
    EXPECT_ERROR(rlx_weights_take_gguf(w, f, (const char *const[]){"new", "norm"}),
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

/* ---- one tensor ----------------------------------------------------------------------------- */

typedef struct tensor_case {
    const char *name;
    uint32_t rank;
    uint64_t extent[6]; /* innermost first */
    uint32_t type;
    uint64_t offset;
    const char *message; /* NULL: it loads */
} tensor_case;

/* The file of one tensor and 64 bytes of data. */
static void make_tensor(const tensor_case *t, bytes *b)
{
    *b = (bytes){.n = 0};
    put(b, "GGUF", 4);
    put_number(b, 3, 4);
    put_number(b, 1, 8);
    put_number(b, 0, 8);
    put_string(b, t->name);
    put_number(b, t->rank, 4);
    for (uint32_t i = 0; i < t->rank; i++)
        put_number(b, t->extent[i], 8);
    put_number(b, t->type, 4);
    put_number(b, t->offset, 8);
    b->n = (b->n + 31) / 32 * 32 + 64;
}

#define TEN_CHARS "0123456789"
#define SIXTY_FOUR TEN_CHARS TEN_CHARS TEN_CHARS TEN_CHARS TEN_CHARS TEN_CHARS "abcd"

START_TEST(gguf_tensor_rules)
{
    static const tensor_case cases[] = {
        {SIXTY_FOUR, 1, {4}, 0, 0, NULL},
        {SIXTY_FOUR "e", 1, {4}, 0, 0, "G6: byte 24: tensor '0123"},
        {"t", 4, {1, 2, 2, 4}, 0, 0, NULL},
        {"t", 5, {1, 1, 1, 1, 1}, 0, 0, "G6: byte 33: tensor 't' has 5 axes"},
        {"t", 0, {0}, 0, 60, "G7: tensor 't' begins at byte 60"},
        {"t", 0, {0}, 0, 32, NULL},
        {"t", 1, {1}, 5, 0, "G6: byte 45: tensor 't' has the unknown type 5"},
        {"t", 1, {48}, 8, 0, "G6: byte 45: tensor 't' has rows of 48 elements"},
        {"t", 1, {UINT64_C(1) << 62}, 0, 0, "G7: byte 49: tensor 't' at offset 0 is too large"},
        {"t", 2, {UINT64_C(1) << 62, 2}, 0, 0, "G6: byte 45: tensor 't' has an extent of 2"},
        {"t", 3, {0, UINT64_C(1) << 62, 4}, 0, 0, "G6: byte 53: tensor 't' has an extent of 4"},
        {"t", 2, {UINT64_C(1) << 62, 4}, 0, 0, "G6: byte 45: tensor 't' has an extent of 4"},
        {"t", 1, {UINT64_MAX}, 0, 0, "G6: byte 37: tensor 't' has an extent of -1"},
        {"t", 1, {16}, 0, UINT64_MAX - 31, "G7: byte 49: tensor 't' at offset"},
        {"t", 1, {17}, 0, 0, "G7: tensor 't' ends at byte 68 of 64 of data"},
        {"t", 1, {16}, 0, 32, "G7: tensor 't' ends at byte 96 of 64 of data"},
        {"t", 2, {0, 7}, 0, 0, NULL},
        {"", 1, {4}, 0, 0, "G4: byte 24: a tensor's name is empty"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bytes b;
        rlx_gguf *f = NULL;
        make_tensor(&cases[i], &b);
        if (cases[i].message)
            EXPECT_ERROR(open_bytes(&b, b.n, &f), RLX_INVALID_FILE, cases[i].message);
        else
            EXPECT_OK(open_bytes(&b, b.n, &f));
        rlx_gguf_close(f);
    }
}
END_TEST

/* Two tensors of 2048 elements of q2_0, the second at byte `second` of `n`. */
static rlx_status open_q2_0(uint64_t second, size_t n, rlx_gguf **out)
{
    bytes b = {.n = 0};
    put(&b, "GGUF", 4);
    put_number(&b, 3, 4);
    put_number(&b, 2, 8);
    put_number(&b, 0, 8);
    for (uint64_t i = 0; i < 2; i++) {
        put_string(&b, i ? "b" : "a");
        put_number(&b, 1, 4);
        put_number(&b, 2048, 8);
        put_number(&b, 42, 4);
        put_number(&b, i * second, 8);
    }
    return open_bytes(&b, (b.n + 31) / 32 * 32 + n, out);
}

START_TEST(gguf_q2_0_by_room)
{
    rlx_gguf *f;
    EXPECT_OK(open_q2_0(576, 1152, &f));
    ck_assert_int_eq(rlx_gguf_at(f, 1)->format, RLX_Q2_0);
    ck_assert_uint_eq(rlx_gguf_at(f, 1)->bytes, 576);
    rlx_gguf_close(f);
    EXPECT_OK(open_q2_0(544, 1088, &f));
    ck_assert_int_eq(rlx_gguf_at(f, 0)->format, RLX_Q2_0_128);
    ck_assert_int_eq(rlx_gguf_at(f, 1)->format, RLX_Q2_0_128);
    ck_assert_uint_eq(rlx_gguf_at(f, 1)->bytes, 544);
    rlx_gguf_close(f);
    EXPECT_ERROR(open_q2_0(576, 1120, &f), RLX_INVALID_FILE, "'b' ends at byte 1152 of 1120");
    EXPECT_ERROR(open_q2_0(544, 1056, &f), RLX_INVALID_FILE, "'b' ends at byte 1088 of 1056");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("gguf");
    SUITE_TEST(s, "by_hand", gguf_by_hand);
    SUITE_TEST(s, "tensor_rules", gguf_tensor_rules);
    SUITE_TEST(s, "q2_0_by_room", gguf_q2_0_by_room);
    return suite_run(s, 3);
}
