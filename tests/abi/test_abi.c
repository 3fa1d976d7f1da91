/* tests/abi/test_abi.c: what programs are compiled against stays what tests/abi/abi.txt says:
 * functions, enumerators, and where the fields of structs lie. The list is made of rlx.h by
 * items.awk. */
#include <stddef.h>

#include "frontend/rlx.h"
#include "tests/base/suite.h"
#include "tests/golden/diff.h"

#define RECORD RLX_SOURCE_DIR "/tests/abi/abi.txt"

enum { LEAST = 180 }; /* lines */

#define STRUCT(name) rlx_text_putf(&text, "struct " #name " %zu\n", sizeof(name));
#define FIELD(name, field)                                                    \
    rlx_text_putf(&text, "  " #field " at %zu, %zu\n", offsetof(name, field), \
                  sizeof(((name *)0)->field));
#define ENUMERATOR(name) rlx_text_putf(&text, "enumerator " #name " %d\n", (int)name);
#define FUNCTION(declaration) rlx_text_put(&text, "function " declaration "\n");

static rlx_text describe(void)
{
    rlx_text text = {0};
    rlx_text_putf(&text, "abi %d of version %d.%d\n", RLX_ABI_VERSION, RLX_VERSION_MAJOR,
                  RLX_VERSION_MINOR);
#include "items.h"
    ck_assert(!text.oom);
    return text;
}

static int count_lines(const char *text)
{
    int n = 0;
    for (; *text; text++)
        n += *text == '\n';
    return n;
}

START_TEST(is_as_recorded)
{
    rlx_text now = describe(), diff = {0};
    ck_assert_int_ge(count_lines(now.data), LEAST);
    if (getenv("RLX_BLESS")) {
        FILE *f = fopen(RECORD, "w");
        ck_assert(f && fwrite(now.data, 1, now.len, f) == now.len);
        ck_assert_int_eq(fclose(f), 0);
    }
    char *recorded;
    size_t bytes;
    assert_ok(rlx_file_read(RECORD, &recorded, &bytes));
    diff_lines(recorded, now.data, &diff);
    ck_assert_msg(!diff.len,
                  "what programs are compiled against has changed:\n%s"
                  "(RLX_BLESS=1 %s accepts it; if a release has what is gone or moved, "
                  "RLX_ABI_VERSION rises)",
                  diff.data, RLX_BINARY_DIR "/tests/abi/test_abi");
    free(recorded);
    rlx_text_deinit(&diff);
    rlx_text_deinit(&now);
}
END_TEST

START_TEST(contexts_refuse_another)
{
    rlx_context *cx = NULL;
    ck_assert_int_eq(rlx_abi_version(), RLX_ABI_VERSION);
    assert_error(rlx_context_create_for(RLX_ABI_VERSION + 1, NULL, &cx), RLX_UNSUPPORTED,
                 "the rlx.h of ABI 2; this librlx 0.1.0 has ABI 1");
    ck_assert_ptr_null(cx);
    assert_ok(rlx_context_create(NULL, &cx));
    rlx_context_destroy(cx);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("abi");
    TCase *c = tcase_create("abi");
    tcase_add_test(c, is_as_recorded);
    tcase_add_test(c, contexts_refuse_another);
    suite_add_tcase(s, c);
    return run_suite(s, 2);
}
