/* Weights: safetensors files, good and bad (the collection beside the project: tests/suites);
 * shards; sets of tensors, and where they come from; writing. */
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/runtime.h"
#include "tests/runtime/suite.h"

static char dir[] = "/tmp/rlx-weights-XXXXXX";

static const char *in_dir(const char *name)
{
    static char path[4][512];
    static int next;
    char *p = path[next++ & 3];
    snprintf(p, sizeof(path[0]), "%s/%s", dir, name);
    return p;
}

static void put_file(const char *name, const void *data, size_t n)
{
    unlink(in_dir(name)); /* a file that is written over is flushed to the disk by some systems */
    FILE *f = fopen(in_dir(name), "wb");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(data, 1, n, f), n);
    fclose(f);
}

/* A file of this header and `data_bytes` of counting data. */
static void put_safetensors(const char *name, const char *header, size_t data_bytes)
{
    char bytes[4096];
    size_t n = strlen(header);
    for (int i = 0; i < 8; i++)
        bytes[i] = (char)(n >> (8 * i));
    memcpy(bytes + 8, header, n);
    for (size_t i = 0; i < data_bytes; i++)
        bytes[8 + n + i] = (char)(i + 1);
    put_file(name, bytes, 8 + n + data_bytes);
}

static rlx_weights *make_weights(void)
{
    rlx_weights *w;
    EXPECT_OK(rlx_weights_create(&w));
    return w;
}

/* ---- single files --------------------------------------------------------------------------- */

#define A "\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}"

START_TEST(good_files)
{
    static const struct {
        const char *header;
        size_t data_bytes;
        int tensors;
    } files[] = {
        {"{}", 0, 0},
        {"{ \n\t" A "\r\n } ", 8, 1},
        {"{\"__metadata__\":{\"k\":\"v \\u00e9 \xc3\xa9\"}," A "}", 8, 1},
        {"{\"a\\u0041\\n\\\"\":{\"dtype\":\"I8\",\"shape\":[3],\"data_offsets\":[0,3]}}", 3, 1},
        {"{\"s\":{\"dtype\":\"F64\",\"shape\":[],\"data_offsets\":[0,8]}}", 8, 1},
        {"{\"z\":{\"dtype\":\"F32\",\"shape\":[0,7],\"data_offsets\":[8,8]}," A "}", 8, 2},
        {"{\"z\":{\"dtype\":\"F32\",\"shape\":[9007199254740991,512,0],"
         "\"data_offsets\":[0,0]}}",
         0, 1},
        {"{\"b\":{\"data_offsets\":[8,10],\"shape\":[1],\"dtype\":\"BF16\"}," A "}", 10, 2},
        {"{\"f4\":{\"dtype\":\"F4\",\"shape\":[3,2],\"data_offsets\":[0,3]}}", 3, 1},
    };
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        put_safetensors("good.safetensors", files[i].header, files[i].data_bytes);
        rlx_weights *w = make_weights();
        EXPECT_OK(rlx_weights_add_safetensors(w, in_dir("good.safetensors")));
        ck_assert_int_eq(rlx_weights_count(w), files[i].tensors);
        rlx_weights_destroy(w);
    }
}
END_TEST

START_TEST(bad_files)
{
#define T(fields) "{\"t\":{" fields "}}"
    static const struct {
        const char *header;
        size_t data_bytes;
        const char *message;
    } files[] = {
        {"", 8, "S2: byte 8"},
        {" {" A "}", 8, "S2: byte 8"},
        {"[]", 0, "S2: byte 8"},
        {"{" A "} x", 8, "S2: byte 63"},
        {"{" A "}{}", 8, "S2: byte 62: text after"},
        {"{" A, 8, "S2"},
        {"{\"a", 8, "a string without an end"},
        {"{\"a\\", 8, "a string without an end"},
        {"{\"a\\u0000\":{}}", 0, "a name with a NUL"},
        {"{\"a\x01\":{}}", 0, "a control character"},
        {"{\"\xff\":{}}", 0, "not UTF-8"},
        {"{\"\xc0\x80\":{}}", 0, "not UTF-8"},
        {"{\"\xed\xa0\x80\":{}}", 0, "not UTF-8"},
        {"{\"a\":null}", 0, "S2: byte 13"},
        {"{\"a\":1}", 0, "S4: tensor 'a' is no object"},
        {T("\"dtype\":\"F32\",\"shape\":[02],\"data_offsets\":[0,8]"), 8, "begins with 0"},
        {T("\"dtype\":\"F32\",\"shape\":[2.0],\"data_offsets\":[0,8]"), 8, "whole numbers"},
        {T("\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]"), 8, "whole numbers"},
        {T("\"dtype\":\"F32\",\"shape\":[[2]],\"data_offsets\":[0,8]"), 8, "something else"},
        {T("\"dtype\":\"F32\",\"shape\":2,\"data_offsets\":[0,8]"), 8, "no list"},
        {T("\"dtype\":\"F32\",\"shape\":[9007199254740993],\"data_offsets\":[0,8]"), 8, "S4"},
        {T("\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,8]"), 8,
         "too large"},
        {T("\"dtype\":\"F32\",\"shape\":[4294967296,4294967296,0],\"data_offsets\":[0,0]"), 0,
         "too large"},
        {T("\"dtype\":\"F33\",\"shape\":[2],\"data_offsets\":[0,8]"), 8, "unknown dtype 'F33'"},
        {T("\"dtype\":32,\"shape\":[2],\"data_offsets\":[0,8]"), 8, "unknown dtype"},
        {T("\"shape\":[2],\"data_offsets\":[0,8]"), 8, "has no dtype"},
        {T("\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]"), 8,
         "has dtype twice"},
        {T("\"dtype\":\"F32\",\"shape\":[2]"), 8, "has no data_offsets"},
        {T("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0]"), 8, "two offsets"},
        {T("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8,8]"), 8, "two offsets"},
        {T("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]"), 8, "at bytes 8 to 0"},
        {T("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,12]"), 8, "at bytes 0 to 12 of 8"},
        {T("\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]"), 8, "3 elements of F32 in 8"},
        {T("\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[0,1]"), 1, "3 elements of F4"},
        {"{" A "}", 12, "S6: tensors end at byte 8 of 12"},
        {"{\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[9,11]}," A "}", 11,
         "S6: tensor 'b'"},
        {"{\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[7,9]}," A "}", 9,
         "S6: tensor 'b'"},
        {"{" A "," A "}", 8, "S4: tensor 'a' is there twice"},
        {"{\"__metadata__\":{\"k\":1}," A "}", 8, "S3: __metadata__.k"},
        {"{\"__metadata__\":[]," A "}", 8, "S3"},
        {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, "S3: __metadata__ is there twice"},
    };
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        put_safetensors("bad.safetensors", files[i].header, files[i].data_bytes);
        rlx_weights *w = make_weights();
        EXPECT_ERROR(rlx_weights_add_safetensors(w, in_dir("bad.safetensors")), RLX_INVALID_FILE,
                     files[i].message);
        rlx_weights_destroy(w);
    }
    rlx_weights *w = make_weights();
    put_safetensors("bad.safetensors",
                    T("\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,1,1],\"data_offsets\":[0,1]"), 1);
    EXPECT_ERROR(rlx_weights_add_safetensors(w, in_dir("bad.safetensors")), RLX_UNSUPPORTED,
                 "6 axes");
    EXPECT_ERROR(rlx_weights_add_safetensors(w, in_dir("absent.safetensors")), RLX_NOT_FOUND,
                 "absent.safetensors");
    EXPECT_ERROR(rlx_weights_add_safetensors(w, dir), RLX_IO, "not a regular file");
    put_file("bad.safetensors", "1234567", 7);
    EXPECT_ERROR(rlx_weights_add_safetensors(w, in_dir("bad.safetensors")), RLX_INVALID_FILE, "S1");
    put_file("bad.safetensors", "\xff\xff\xff\xff\xff\xff\xff\xff{}", 10);
    EXPECT_ERROR(rlx_weights_add_safetensors(w, in_dir("bad.safetensors")), RLX_INVALID_FILE, "S1");
    rlx_weights_destroy(w);
}
END_TEST

/* Damage of every kind: no crash, no leak, no wrong code; the sanitizers look on. */
START_TEST(damaged_files)
{
    const char *header =
        "{\"__metadata__\":{\"k\":\"v\"},\"b\":{\"dtype\":\"BF16\",\"shape\":[1,1],"
        "\"data_offsets\":[8,10]}," A "}";
    char good[512], bad[512];
    put_safetensors("fuzz.safetensors", header, 10);
    FILE *f = fopen(in_dir("fuzz.safetensors"), "rb");
    size_t n = fread(good, 1, sizeof(good), f);
    fclose(f);
    int refused = 0;
    static const char values[] = "\0\x01\"{}[]:,0189\\\x7f\xff";
    for (size_t i = 0; i < n; i++) {
        for (size_t v = 0; v < sizeof(values) - 1; v++) {
            memcpy(bad, good, n);
            bad[i] = values[v];
            put_file("fuzz.safetensors", bad, n);
            rlx_weights *w = make_weights();
            rlx_status st = rlx_weights_add_safetensors(w, in_dir("fuzz.safetensors"));
            refused += st != NULL;
            ck_assert(!st || rlx_status_code(st) == RLX_INVALID_FILE);
            rlx_status_free(st);
            rlx_weights_destroy(w);
        }
        put_file("fuzz.safetensors", good, i);
        rlx_weights *w = make_weights();
        EXPECT_ERROR(rlx_weights_add_safetensors(w, in_dir("fuzz.safetensors")), RLX_INVALID_FILE,
                     "");
        rlx_weights_destroy(w);
    }
    ck_assert_int_ge(refused, 1000);
}
END_TEST

START_TEST(padding)
{
    char bytes[256] = {0};
    const char *header = "{" A "}";
    size_t n = strlen(header), used = 8 + n + 8, padded = (used + 7) / 8 * 8;
    ck_assert_uint_ne(padded, used);
    bytes[0] = (char)n;
    memcpy(bytes + 8, header, n);
    for (size_t total = used; total <= padded + 8; total++) {
        put_file("pad.safetensors", bytes, total);
        rlx_weights *w = make_weights();
        if (total == used || total == padded)
            EXPECT_OK(rlx_weights_add_safetensors(w, in_dir("pad.safetensors")));
        else
            EXPECT_ERROR(rlx_weights_add_safetensors(w, in_dir("pad.safetensors")),
                         RLX_INVALID_FILE, "S6");
        rlx_weights_destroy(w);
    }
    bytes[padded - 1] = 1;
    put_file("pad.safetensors", bytes, padded);
    rlx_weights *w = make_weights();
    EXPECT_ERROR(rlx_weights_add_safetensors(w, in_dir("pad.safetensors")), RLX_INVALID_FILE, "S6");
    rlx_weights_destroy(w);
}
END_TEST

START_TEST(data_is_aligned)
{
    /* The header's length puts the data at an odd address. */
    put_safetensors("odd.safetensors", "{" A "   }", 8);
    put_safetensors("even.safetensors", "{" A " }", 8);
    static const char *const names[] = {"odd.safetensors", "even.safetensors"};
    for (int i = 0; i < 2; i++) {
        rlx_weights *w = make_weights();
        EXPECT_OK(rlx_weights_add_safetensors(w, in_dir(names[i])));
        const rlx_tensor *t = rlx_weights_find(w, "a");
        ck_assert_ptr_nonnull(t);
        ck_assert_uint_eq((uintptr_t)t->data % 4, 0);
        ck_assert_mem_eq(t->data, "\1\2\3\4\5\6\7\10", 8);
        ck_assert_int_eq(t->format, RLX_F32);
        ck_assert_int_eq(t->rank, 1);
        ck_assert_int_eq(t->dim[0], 2);
        rlx_weights_destroy(w);
    }
}
END_TEST

/* ---- shards --------------------------------------------------------------------------------- */

static void put_index(const char *text)
{
    put_file("m.safetensors.index.json", text, strlen(text));
}

START_TEST(shards)
{
    put_safetensors("s1.safetensors", "{" A "}", 8);
    put_safetensors("s2.safetensors",
                    "{\"b\":{\"dtype\":\"I32\",\"shape\":[1],\"data_offsets\":[0,4]},"
                    "\"c\":{\"dtype\":\"F8_E4M3\",\"shape\":[2],\"data_offsets\":[4,6]}}",
                    6);
    put_index("{\"metadata\":{\"total_size\":1.4e1},\"weight_map\":{\"a\":\"s1.safetensors\","
              "\"b\":\"s2.safetensors\",\"c\":\"s2.safetensors\"}}\n");
    const char *index = in_dir("m.safetensors.index.json");
    rlx_weights *w = make_weights();
    EXPECT_OK(rlx_weights_add_safetensors(w, index));
    ck_assert_int_eq(rlx_weights_count(w), 3);
    ck_assert_int_eq(rlx_weights_bytes(w), 14);
    ck_assert_int_eq(rlx_weights_find(w, "b")->format, RLX_I32);
    ck_assert_int_eq(rlx_weights_find(w, "c")->format, RLX_FORMAT_NONE);
    /* Again: the names are taken, and the set stays as it was. */
    EXPECT_ERROR(rlx_weights_add_safetensors(w, index), RLX_INVALID_ARGUMENT,
                 "already a weight 'a'");
    ck_assert_int_eq(rlx_weights_count(w), 3);
    ck_assert_ptr_nonnull(rlx_weights_find(w, "c"));
    rlx_weights_destroy(w);

    static const struct {
        const char *text;
        rlx_code code;
        const char *message;
    } bad[] = {
        {"{\"weight_map\":{\"a\":\"s2.safetensors\"}}", RLX_INVALID_FILE, "'a' is not in s2"},
        {"{\"weight_map\":{\"a\":\"s1.safetensors\",\"d\":\"s1.safetensors\"}}", RLX_INVALID_FILE,
         "'d' is not in s1"},
        {"{\"weight_map\":{\"a\":\"s1.safetensors\",\"b\":\"s1.safetensors\",\"c\":\"s2."
         "safetensors\"}}",
         RLX_INVALID_FILE, "'b' is not in s1"},
        {"{\"weight_map\":{\"a\":\"s3.safetensors\"}}", RLX_NOT_FOUND, "s3.safetensors"},
        {"{\"weight_map\":{\"a\":\"../x.safetensors\"}}", RLX_INVALID_FILE, "beside the index"},
        {"{\"weight_map\":{\"a\":\"..\"}}", RLX_INVALID_FILE, "beside the index"},
        {"{\"weight_map\":{\"a\":\"\"}}", RLX_INVALID_FILE, "beside the index"},
        {"{\"weight_map\":{\"a\":1}}", RLX_INVALID_FILE, "no string"},
        {"{\"weight_map\":{}}", RLX_INVALID_FILE, "no weight_map"},
        {"{}", RLX_INVALID_FILE, "no weight_map"},
        {"[", RLX_INVALID_FILE, "not JSON"},
        {"{} {}", RLX_INVALID_FILE, "not JSON"},
        {"", RLX_INVALID_FILE, "not JSON"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        put_index(bad[i].text);
        w = make_weights();
        EXPECT_ERROR(rlx_weights_add_safetensors(w, in_dir("m.safetensors.index.json")),
                     bad[i].code, bad[i].message);
        ck_assert_int_eq(rlx_weights_count(w), 0);
        ck_assert_ptr_null(rlx_weights_find(w, "a"));
        rlx_weights_destroy(w);
    }
}
END_TEST

/* ---- sets ----------------------------------------------------------------------------------- */

START_TEST(sets)
{
    rlx_weights *w = make_weights();
    ck_assert_ptr_null(rlx_weights_find(w, "x"));
    static _Alignas(8) const char memory[64];
    char name[32];
    for (int i = 0; i < 300; i++) {
        snprintf(name, sizeof(name), "layer.%d", i);
        rlx_tensor t = {name, RLX_F32, 2, {2, 3}, memory, 24};
        EXPECT_OK(rlx_weights_add(w, &t));
    }
    const rlx_tensor *first = rlx_weights_at(w, 0);
    EXPECT_OK(rlx_weights_alias(w, "head", "layer.7"));
    ck_assert_int_eq(rlx_weights_count(w), 301);
    ck_assert_int_eq(rlx_weights_bytes(w), 300 * 24);
    ck_assert_ptr_eq(first, rlx_weights_find(w, "layer.0"));
    ck_assert_str_eq(rlx_weights_find(w, "head")->name, "head");
    for (int i = 0; i < 300; i++) {
        snprintf(name, sizeof(name), "layer.%d", i);
        ck_assert_str_eq(rlx_weights_find(w, name)->name, name);
    }
    EXPECT_ERROR(rlx_weights_alias(w, "y", "nothing"), RLX_NOT_FOUND, "'nothing'");
    EXPECT_ERROR(rlx_weights_alias(w, "head", "layer.1"), RLX_INVALID_ARGUMENT, "already");
    rlx_tensor t = {"layer.1", RLX_F32, 2, {2, 3}, memory, 24};
    EXPECT_ERROR(rlx_weights_add(w, &t), RLX_INVALID_ARGUMENT, "already a weight 'layer.1'");
#define REFUSED(change, part)                                             \
    do {                                                                  \
        rlx_tensor b = {"new", RLX_F32, 2, {2, 3}, memory, 24};           \
        change;                                                           \
        EXPECT_ERROR(rlx_weights_add(w, &b), RLX_INVALID_ARGUMENT, part); \
    } while (0)
    REFUSED(b.name = "", "without a name");
    REFUSED(b.format = RLX_FORMAT_NONE, "format 0");
    REFUSED(b.rank = 7, "rank 7");
    REFUSED(b.dim[1] = -3, "extent of -3");
    REFUSED(b.bytes = 20, "in 20 bytes");
    REFUSED(b.data = memory + 2, "not aligned");
    REFUSED(b.data = NULL, "6 elements");
    ck_assert_int_eq(rlx_weights_count(w), 301);
    rlx_weights_destroy(w);
    rlx_weights_destroy(NULL);
}
END_TEST

/* A GGUF file of one tensor, four f32 behind a header of 64 bytes. */
static void put_gguf(const char *name)
{
    static const char head[] = "GGUF\3\0\0\0\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
                               "\4\0\0\0\0\0\0\0gate\1\0\0\0\4\0\0\0\0\0\0\0";
    char file[64 + 16] = {0};
    memcpy(file, head, sizeof head - 1);
    put_file(name, file, sizeof file);
}

START_TEST(origins)
{
    static const float memory[2];
    put_safetensors("o.safetensors",
                    "{\"u\":{\"dtype\":\"U16\",\"shape\":[1],\"data_offsets\":[8,10]}," A "}", 10);
    put_gguf("o.gguf");
    rlx_weights *w = make_weights();
    EXPECT_OK(rlx_weights_add_safetensors(w, in_dir("o.safetensors")));
    EXPECT_OK(rlx_weights_add_gguf(w, in_dir("o.gguf")));
    EXPECT_OK(rlx_weights_add(w, &(rlx_tensor){"m", RLX_F32, 1, {2}, memory, 8}));
    EXPECT_OK(rlx_weights_alias(w, "tied", "gate"));
    const struct {
        const char *name, *file, *type;
        int64_t offset;
        int source;
    } want[] = {{"u", "o.safetensors", "U16", 8 + 108 + 8, -1},
                {"a", "o.safetensors", "F32", 8 + 108, -1},
                {"gate", "o.gguf", "f32", 64, -1},
                {"m", NULL, "f32", -1, -1},
                {"tied", "o.gguf", "f32", 64, 2}};
    ck_assert_int_eq(rlx_weights_count(w), 5);
    for (int i = 0; i < 5; i++) {
        rlx_tensor_origin got;
        rlx_weights_get_origin(w, i, &got);
        ck_assert_str_eq(rlx_weights_at(w, i)->name, want[i].name);
        ck_assert_str_eq(got.type, want[i].type);
        ck_assert_int_eq(got.offset, want[i].offset);
        ck_assert_int_eq(got.source, want[i].source);
        if (want[i].file)
            ck_assert_str_eq(got.file, in_dir(want[i].file));
        else
            ck_assert_ptr_null(got.file);
    }
    EXPECT_ERROR(rlx_weights_add_gguf(w, in_dir("o.gguf")), RLX_INVALID_ARGUMENT, "o.gguf");
    ck_assert_int_eq(rlx_weights_count(w), 5);
    rlx_tensor_origin part;
    EXPECT_OK(rlx_weights_add_rows(w, "rows", "tied", 1, 2));
    rlx_weights_get_origin(w, 5, &part);
    ck_assert_int_eq(part.offset, 64 + 4);
    ck_assert_int_eq(part.source, 4);
    ck_assert_int_eq(rlx_weights_find(w, "rows")->dim[0], 2);
    EXPECT_ERROR(rlx_weights_add_rows(w, "more", "gate", 3, 2), RLX_INVALID_ARGUMENT,
                 "rows 3 to 5 of 'gate', which has 4");
    EXPECT_ERROR(rlx_weights_add_rows(w, "more", "gate", -1, 2), RLX_INVALID_ARGUMENT, "rows -1");
    EXPECT_ERROR(rlx_weights_add_rows(w, "more", "gates", 0, 1), RLX_NOT_FOUND, "'gates'");
    EXPECT_ERROR(rlx_weights_add_rows(w, "rows", "gate", 0, 1), RLX_INVALID_ARGUMENT, "already");
    rlx_weights_destroy(w);
}
END_TEST

/* ---- writing -------------------------------------------------------------------------------- */

START_TEST(writing)
{
    static const float f[] = {1, 2, 3};
    static const int64_t i64[] = {-5};
    static const int32_t i32[] = {7, 8};
    static const uint8_t u8[] = {9, 10, 11};
    static const uint16_t bf[] = {0x3f80};
    const rlx_tensor tensors[] = {
        {"u", RLX_U8, 1, {3}, u8, 3},      {"f\"\n\\", RLX_F32, 2, {1, 3}, f, 12},
        {"s", RLX_I64, 0, {0}, i64, 8},    {"i", RLX_I32, 1, {2}, i32, 8},
        {"b", RLX_BF16, 1, {1}, bf, 2},    {"empty", RLX_F64, 2, {0, 4}, NULL, 0},
        {"true", RLX_BOOL, 1, {1}, u8, 1},
    };
    enum { N = sizeof(tensors) / sizeof(tensors[0]) };
    const char *metadata[] = {"key", "value \"quoted\"", "k2", "", NULL};
    const char *path = in_dir("out.safetensors");
    EXPECT_OK(rlx_safetensors_write(path, tensors, N, metadata));
    rlx_weights *w = make_weights();
    EXPECT_OK(rlx_weights_add_safetensors(w, path));
    ck_assert_int_eq(rlx_weights_count(w), N);
    for (int i = 0; i < N; i++) {
        const rlx_tensor *t = rlx_weights_find(w, tensors[i].name);
        ck_assert_ptr_nonnull(t);
        ck_assert_int_eq(t->format, tensors[i].format);
        ck_assert_int_eq(t->rank, tensors[i].rank);
        ck_assert_uint_eq(t->bytes, tensors[i].bytes);
        for (int d = 0; d < t->rank; d++)
            ck_assert_int_eq(t->dim[d], tensors[i].dim[d]);
        if (t->bytes)
            ck_assert_mem_eq(t->data, tensors[i].data, t->bytes);
    }
    rlx_weights_destroy(w);

    /* Other order, same bytes; and the old file is replaced. */
    rlx_tensor turned[N];
    for (int i = 0; i < N; i++)
        turned[i] = tensors[N - 1 - i];
    char *a, *b;
    size_t na, nb;
    EXPECT_OK(rlx_file_read(path, &a, &na));
    EXPECT_OK(rlx_safetensors_write(path, turned, N, metadata));
    EXPECT_OK(rlx_file_read(path, &b, &nb));
    ck_assert_uint_eq(na, nb);
    ck_assert_mem_eq(a, b, na);
    free(a);
    free(b);
}
END_TEST

START_TEST(writing_refuses)
{
    static const float f[] = {1, 2};
    const char *path = in_dir("refused.safetensors");
#define WRITE(change, code, part)                                                       \
    do {                                                                                \
        rlx_tensor t[2] = {{"a", RLX_F32, 1, {2}, f, 8}, {"b", RLX_F32, 1, {2}, f, 8}}; \
        const char *metadata[] = {NULL, NULL};                                          \
        change;                                                                         \
        EXPECT_ERROR(rlx_safetensors_write(path, t, 2, metadata), code, part);          \
    } while (0)
    WRITE(t[1].name = "a", RLX_INVALID_ARGUMENT, "'a' is there twice");
    WRITE(t[1].name = "__metadata__", RLX_INVALID_ARGUMENT, "__metadata__");
    WRITE(t[1].name = "\xff", RLX_INVALID_ARGUMENT, "UTF-8");
    WRITE(t[1].bytes = 4, RLX_INVALID_ARGUMENT, "4 bytes, expected 8");
    WRITE(t[1].rank = 9, RLX_INVALID_ARGUMENT, "rank 9");
    WRITE(t[1].format = RLX_FORMAT_NONE, RLX_UNSUPPORTED, "no dtype");
    WRITE(metadata[0] = "k", RLX_INVALID_ARGUMENT, "'k' has no value");
    WRITE(path = in_dir("no/such/place.safetensors"), RLX_IO, "place.safetensors");
    struct stat info;
    ck_assert_int_ne(stat(in_dir("refused.safetensors"), &info), 0);
    /* No temporary file is left behind. */
    ck_assert_int_eq(mkdir(in_dir("taken"), 0700), 0);
    path = in_dir("taken");
    rlx_tensor t = {"a", RLX_F32, 1, {2}, f, 8};
    EXPECT_ERROR(rlx_safetensors_write(path, &t, 1, NULL), RLX_IO, "taken");
    DIR *d = opendir(dir);
    for (struct dirent *e; (e = readdir(d));)
        ck_assert_ptr_null(strstr(e->d_name, ".tmp"));
    closedir(d);
}
END_TEST

/* What is not a regular file stays what it is: a link's target is replaced, a pipe is written to.
 */
START_TEST(writing_keeps_links_and_pipes)
{
    static const float f[] = {1, 2};
    const rlx_tensor t = {"a", RLX_F32, 1, {2}, f, 8};
    struct stat info;
    char target[256], path[256], got[256];
    snprintf(target, sizeof target, "%s", in_dir("target.safetensors"));
    snprintf(path, sizeof path, "%s", in_dir("link.safetensors"));
    ck_assert_int_eq(symlink("target.safetensors", path), 0);
    EXPECT_ERROR(rlx_safetensors_write(path, &t, 1, NULL), RLX_IO, "link.safetensors");
    EXPECT_OK(rlx_safetensors_write(target, &t, 1, NULL));
    ck_assert_int_eq(truncate(target, 0), 0);
    EXPECT_OK(rlx_safetensors_write(path, &t, 1, NULL));
    ck_assert_int_eq(lstat(path, &info), 0);
    ck_assert(S_ISLNK(info.st_mode));
    ck_assert_int_eq(lstat(target, &info), 0);
    ck_assert(S_ISREG(info.st_mode) && info.st_size > 8);

    off_t bytes = info.st_size;
    snprintf(path, sizeof path, "%s", in_dir("pipe"));
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    int fd = open(path, O_RDWR);
    ck_assert_int_ge(fd, 0);
    EXPECT_OK(rlx_safetensors_write(path, &t, 1, NULL));
    ck_assert_int_eq(read(fd, got, sizeof got), bytes);
    close(fd);
    ck_assert_int_eq(lstat(path, &info), 0);
    ck_assert(S_ISFIFO(info.st_mode));
}
END_TEST

START_TEST(a_pipe_is_refused_at_once)
{
    rlx_weights *w;
    char path[256];
    snprintf(path, sizeof path, "%s", in_dir("nobody-writes.safetensors"));
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    EXPECT_OK(rlx_weights_create(&w));
    EXPECT_ERROR(rlx_weights_add_safetensors(w, path), RLX_IO, "not a regular file");
    rlx_weights_destroy(w);
}
END_TEST

int main(void)
{
    if (!mkdtemp(dir))
        return EXIT_FAILURE;
    Suite *s = suite_create("weights");
    SUITE_TEST(s, "good files", good_files);
    SUITE_TEST(s, "bad files", bad_files);
    SUITE_TEST(s, "damaged files", damaged_files);
    SUITE_TEST(s, "padding", padding);
    SUITE_TEST(s, "data is aligned", data_is_aligned);
    SUITE_TEST(s, "shards", shards);
    SUITE_TEST(s, "sets", sets);
    SUITE_TEST(s, "origins", origins);
    SUITE_TEST(s, "writing", writing);
    SUITE_TEST(s, "writing refuses", writing_refuses);
    SUITE_TEST(s, "writing keeps links and pipes", writing_keeps_links_and_pipes);
    SUITE_TEST(s, "a pipe is refused at once", a_pipe_is_refused_at_once);
    int rc = suite_run(s, 12);
    char command[64];
    snprintf(command, sizeof(command), "rm -r %s", dir);
    return system(command) == 0 ? rc : EXIT_FAILURE;
}
