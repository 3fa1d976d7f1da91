/* Models in several GGUF files: any part opens all; a part that is missing, or not what the given
 * one says of it, is named. */
#include <unistd.h>

#include "tests/frontend/gguf_file.h"
#include "tests/runtime/suite.h"

enum { PARTS = 3 };

static char folder[] = "/tmp/rlx-parts-XXXXXX";
static char path[PARTS][64];

static void write_part(const char *to, int64_t no, int64_t count, int64_t tensors)
{
    gguf_file f = {0};
    if (no == 0)
        gguf_string(&f, "general.architecture", "llama");
    gguf_key(&f, "split.no", RLX_GGUF_U16);
    gguf_put_number(&f.body, (uint64_t)no, 2);
    gguf_key(&f, "split.count", RLX_GGUF_U16);
    gguf_put_number(&f.body, (uint64_t)count, 2);
    gguf_key(&f, "split.tensors.count", RLX_GGUF_I32);
    gguf_put_number(&f.body, (uint64_t)tensors, 4);
    rlx_text bytes = {0};
    gguf_bytes(&f, &bytes);
    FILE *out = fopen(to, "wb");
    ck_assert(out && fwrite(bytes.data, 1, bytes.len, out) == bytes.len && fclose(out) == 0);
    rlx_text_deinit(&bytes);
    rlx_text_deinit(&f.body);
}

static void write_parts(void)
{
    for (int i = 0; i < PARTS; i++) {
        snprintf(path[i], sizeof path[i], "%s/m-0000%d-of-00003.gguf", folder, i + 1);
        write_part(path[i], i, PARTS, 0);
    }
}

static void refuses(int given, rlx_code code, const char *word)
{
    rlx_gguf **files;
    int n;
    rlx_status st = rlx_gguf_open_parts(path[given], &files, &n);
    char *text = st ? rlx_status_text(st) : NULL;
    ck_assert_msg(st != NULL, "accepted, looking for %s", word);
    ck_assert_msg((int)rlx_status_code(st) == (int)code && strstr(text, word), "%s", text);
    free(text);
    rlx_status_free(st);
}

START_TEST(any_part_opens_all)
{
    write_parts();
    for (int given = 0; given < PARTS; given++) {
        rlx_gguf **files;
        int n;
        EXPECT_OK(rlx_gguf_open_parts(path[given], &files, &n));
        ck_assert_int_eq(n, PARTS);
        ck_assert_ptr_nonnull(rlx_gguf_find(files[0], "general.architecture"));
        for (int i = 0; i < n; i++)
            ck_assert_uint_eq(rlx_gguf_find(files[i], "split.no")->u, (uint64_t)i);
        rlx_gguf_close_parts(files, n);
    }
}
END_TEST

START_TEST(wrong_parts_are_named)
{
    write_parts();
    unlink(path[1]);
    refuses(0, RLX_NOT_FOUND, "m-00002-of-00003.gguf");
    refuses(2, RLX_NOT_FOUND, "m-00002-of-00003.gguf");
    write_part(path[1], 2, PARTS, 0);
    refuses(0, RLX_INVALID_FILE, "m-00002-of-00003.gguf, part 2 of 3");
    refuses(1, RLX_INVALID_FILE, "part 3 of 3 by its metadata");
    write_part(path[1], 1, 4, 0);
    refuses(0, RLX_INVALID_FILE, "split.count is 4, and should be 3");
    write_part(path[1], 1, PARTS, 7);
    refuses(2, RLX_INVALID_FILE, "split.tensors.count is 7, and should be 0");
    for (int i = 0; i < PARTS; i++)
        write_part(path[i], i, PARTS, 5);
    refuses(1, RLX_INVALID_FILE, "hold 0 tensors, and metadata split.tensors.count is 5");
    write_part(path[0], 3, PARTS, 5);
    refuses(0, RLX_INVALID_FILE, "split.no is 3, split.count 3");
    for (int i = 0; i < PARTS; i++)
        unlink(path[i]);
}
END_TEST

int main(void)
{
    if (!mkdtemp(folder))
        return EXIT_FAILURE;
    Suite *s = suite_create("gguf_split");
    SUITE_TEST(s, "any_part", any_part_opens_all);
    SUITE_TEST(s, "wrong_parts", wrong_parts_are_named);
    int code = suite_run(s, 2);
    rmdir(folder);
    return code;
}
