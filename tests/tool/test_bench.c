/* tests/tool/test_bench.c: rlx bench: its flags, its rows, its three outputs. No speed is asserted.
 */
#include <check.h>
#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/tool/process.h"

#define BUNDLED RLX_SOURCE_DIR "/models/bundled"
#define SHORT BUNDLED, "-p", "9", "-n", "3", "-r", "2", "-t", "1,2"

static void refuses(process *p, const char *word)
{
    ck_assert_msg(p->code == 2, "exit code %d, not 2: %s", p->code, p->err);
    ck_assert_msg(strstr(p->err, word), "\"%s\" does not say %s", p->err, word);
    ck_assert_msg(!p->out_bytes, "stdout has \"%s\"", p->out);
    process_free(p);
}

START_TEST(refuses_wrong_flags)
{
    process p;
    RUN(&p, RLX_TOOL, "bench");
    refuses(&p, "MODEL");
    RUN(&p, RLX_TOOL, "bench", BUNDLED, "-o", "jsn");
    refuses(&p, "json?");
    RUN(&p, RLX_TOOL, "bench", BUNDLED, "-t", "1,");
    refuses(&p, "1,2");
    RUN(&p, RLX_TOOL, "bench", BUNDLED, "-t", "0");
    refuses(&p, "1,2");
    RUN(&p, RLX_TOOL, "bench", BUNDLED, "-r", "0");
    refuses(&p, "--repeats");
    RUN(&p, RLX_TOOL, "bench", BUNDLED, "-p", "0", "-n", "0");
    refuses(&p, "nothing");
    RUN(&p, RLX_TOOL, "bench", BUNDLED, "--device", "ref:lir");
    refuses(&p, "cpu");
}
END_TEST

START_TEST(a_model_that_is_not_there)
{
    process p;
    RUN(&p, RLX_TOOL, "bench", "/no/such/model", "-o", "json");
    ck_assert_int_eq(p.code, 1);
    ck_assert_uint_eq(p.out_bytes, 0);
    process_free(&p);
}
END_TEST

static double number(const cJSON *row, const char *key)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(row, key);
    ck_assert_msg(cJSON_IsNumber(v), "%s is no number", key);
    return v->valuedouble;
}

START_TEST(json_has_every_row)
{
    static const char *const names[] = {"pp9", "tg3", "pp9", "tg3"};
    process p;
    RUN(&p, RLX_TOOL, "bench", SHORT, "-o", "json");
    ck_assert_msg(p.code == 0, "%s", p.err);
    cJSON *rows = cJSON_Parse(p.out);
    ck_assert_msg(rows != NULL, "not JSON: %s", p.out);
    ck_assert_int_eq(cJSON_GetArraySize(rows), 4);
    for (int i = 0; i < 4; i++) {
        const cJSON *r = cJSON_GetArrayItem(rows, i);
        const char *test = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(r, "test"));
        ck_assert_str_eq(test, names[i]);
        ck_assert_int_eq((int)number(r, "threads"), 1 + i / 2);
        ck_assert(number(r, "tokens_per_second") > 0);
        ck_assert(number(r, "best") >= number(r, "tokens_per_second"));
        ck_assert(number(r, "stddev") >= 0);
        ck_assert(number(r, "bytes_per_second") > 0);
        ck_assert(number(r, "operations_per_second") > 0);
        ck_assert(number(r, "read_bytes_per_second") > 0);
        ck_assert(number(r, "fma_operations_per_second") > 0);
    }
    cJSON_Delete(rows);
    process_free(&p);
}
END_TEST

START_TEST(markdown_and_csv)
{
    process p;
    RUN(&p, RLX_TOOL, "bench", SHORT, "-d", "5");
    ck_assert_msg(p.code == 0, "%s", p.err);
    ck_assert(strstr(p.out, "| pp9 @ d5 | 1 | "));
    ck_assert(strstr(p.out, "| tg3 @ d5 | 2 | "));
    ck_assert(strstr(p.err, "mode exact"));
    process_free(&p);
    RUN(&p, RLX_TOOL, "bench", BUNDLED, "-p", "0", "-n", "2", "-r", "1", "-t", "1", "-o", "csv",
        "--device", "cpu:x86-64-v3");
    ck_assert_msg(p.code == 0, "%s", p.err);
    ck_assert(strstr(p.out, "bundled,tg2,1,"));
    ck_assert(!strstr(p.out, ",pp"));
    process_free(&p);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("bench");
    TCase *c = tcase_create("bench");
    tcase_set_timeout(c, 60);
    tcase_add_test(c, refuses_wrong_flags);
    tcase_add_test(c, a_model_that_is_not_there);
    tcase_add_test(c, json_has_every_row);
    tcase_add_test(c, markdown_and_csv);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r), ran = srunner_ntests_run(r);
    srunner_free(r);
    return failed || ran < 4;
}
