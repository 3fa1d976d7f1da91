/* tests/tool/test_tokenize.c: rlx tokenize: text to ids and back, and what it refuses. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/tool/process.h"

#define BUNDLED RLX_SOURCE_DIR "/models/bundled"
#define KINDS RLX_SOURCE_DIR "/tests/parity/tokenizers"

static void says(process *p, const char *want)
{
    ck_assert_str_eq(p->err, "");
    process_says(p, want);
}

START_TEST(text_to_ids)
{
    process p;
    RUN(&p, RLX_TOOL, "tokenize", BUNDLED, "-p", "Once upon");
    says(&p, "     0 \"<|begin|>\"\n   465 \"Once\"\n   480 \"\xc4\xa0upon\"\n");
    RUN(&p, RLX_TOOL, "tokenize", "-m", BUNDLED "/model.safetensors", "-p", "Once upon", "--ids");
    says(&p, "0 465 480\n");
    RUN(&p, RLX_TOOL, "tokenize", BUNDLED "/tokenizer.json", "-p", "Once upon", "--ids",
        "--no-special");
    says(&p, "465 480\n");
    RUN(&p, RLX_TOOL, "tokenize", BUNDLED, "-p", "Once upon", "--json");
    says(&p, "{\"ids\": [0, 465, 480], \"tokens\": [\"<|begin|>\", \"Once\", \"\xc4\xa0upon\"]}\n");
    RUN(&p, RLX_TOOL, "tokenize", BUNDLED, "-p", "", "--ids", "--no-special");
    says(&p, "\n");
}
END_TEST

START_TEST(ids_to_text)
{
    process p;
    RUN(&p, RLX_TOOL, "tokenize", BUNDLED, "-p", "[0, 465 480]", "--decode");
    says(&p, "Once upon");
    RUN(&p, RLX_TOOL, "tokenize", KINDS "/bert-uncased", "-p", "", "--decode");
    says(&p, "");
    RUN(&p, RLX_TOOL, "tokenize", BUNDLED, "-p", "465 x", "--decode");
    process_complains(&p, 1, "\"x\"");
    RUN(&p, RLX_TOOL, "tokenize", BUNDLED, "-p", "99999999999", "--decode");
    process_complains(&p, 1, "99999999999");
    RUN(&p, RLX_TOOL, "tokenize", BUNDLED, "-p", "-1", "--decode");
    process_complains(&p, 1, "-1");
}
END_TEST

/* All of a file, NULs among it; a file keeps its last line's end. */
START_TEST(files)
{
    char path[] = "/tmp/rlx-tokenize-XXXXXX";
    int fd = mkstemp(path);
    process p;
    ck_assert_int_eq(write(fd, "Once upon\n", 10), 10);
    RUN(&p, RLX_TOOL, "tokenize", BUNDLED, "-f", path, "--ids", "--no-special");
    says(&p, "465 480 200\n");
    ck_assert_int_eq(write(fd, "\xff", 1), 1);
    RUN(&p, RLX_TOOL, "tokenize", BUNDLED, "-f", path);
    process_complains(&p, 1, "UTF-8 at byte 10");
    close(fd);
    unlink(path);
    RUN(&p, RLX_TOOL, "tokenize", BUNDLED, "-f", path);
    process_complains(&p, 1, path);
}
END_TEST

START_TEST(refuses)
{
    process p;
    RUN(&p, RLX_TOOL, "tokenize");
    process_complains(&p, 2, "MODEL");
    RUN(&p, RLX_TOOL, "tokenize", BUNDLED, "-p", "a", "-f", "b");
    process_complains(&p, 2, "-f");
    RUN(&p, RLX_TOOL, "tokenize", BUNDLED, "--decode", "--ids");
    process_complains(&p, 2, "--decode");
    RUN(&p, RLX_TOOL, "tokenize", "/nowhere", "-p", "a");
    process_complains(&p, 1, "/nowhere");
    RUN(&p, RLX_TOOL, "tokenize", RLX_SOURCE_DIR "/docs", "-p", "a");
    process_complains(&p, 1, "no tokenizer.json");
    RUN(&p, RLX_TOOL, "tokenize", BUNDLED, "-p", "a", "--pre", "qwen2");
    process_complains(&p, 1, "pre \"qwen2\" names the pattern of a list of ranks");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("tokenize");
    TCase *c = tcase_create("tokenize");
    tcase_set_timeout(c, 60);
    tcase_add_test(c, text_to_ids);
    tcase_add_test(c, ids_to_text);
    tcase_add_test(c, files);
    tcase_add_test(c, refuses);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int bad = srunner_ntests_failed(r) || srunner_ntests_run(r) < 4;
    srunner_free(r);
    return bad;
}
