/* tests/tool/test_bench.c: rlx bench: its flags, its rows, its three outputs. No speed is asserted.
 */
#include <check.h>
#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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
    RUN(&p, RLX_TOOL, "bench", BUNDLED, "-b", "0");
    refuses(&p, "--batch");
    RUN(&p, RLX_TOOL, "bench", BUNDLED, "-d", "-1");
    refuses(&p, "--depth");
    RUN(&p, RLX_TOOL, "bench", BUNDLED, "-p", "512x");
    refuses(&p, "512x");
    RUN(&p, RLX_TOOL, "bench", BUNDLED, "-n", "9999999");
    refuses(&p, "--tokens");
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

static const char *text(const cJSON *row, const char *key)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(row, key);
    ck_assert_msg(cJSON_IsString(v), "%s is no text", key);
    return v->valuestring;
}

/* Runs it and reads its JSON. */
static cJSON *rows_of(process *p, int count)
{
    ck_assert_msg(p->code == 0, "%s", p->err);
    cJSON *rows = cJSON_Parse(p->out);
    ck_assert_msg(rows != NULL, "not JSON: %s", p->out);
    ck_assert_int_eq(cJSON_GetArraySize(rows), count);
    process_free(p);
    return rows;
}

START_TEST(json_has_every_row)
{
    static const char *const names[] = {"pp9", "tg3", "pp9", "tg3"};
    process p;
    RUN(&p, RLX_TOOL, "bench", SHORT, "-o", "json");
    cJSON *rows = rows_of(&p, 4);
    for (int i = 0; i < 4; i++) {
        const cJSON *r = cJSON_GetArrayItem(rows, i);
        ck_assert_str_eq(text(r, "test"), names[i]);
        ck_assert_str_eq(text(r, "model"), "bundled");
        ck_assert_str_eq(text(r, "family"), "llama");
        ck_assert_int_eq((int)number(r, "threads"), 1 + i / 2);
        ck_assert(number(r, "weight_bytes") > 2 * number(r, "parameters") - 1); /* bf16 */
        ck_assert(number(r, "tokens_per_second") > 0);
        ck_assert(number(r, "median") > 0);
        ck_assert(number(r, "best") >= number(r, "median"));
        ck_assert(number(r, "stddev") >= 0);
        ck_assert(number(r, "bytes_per_second") > 0);
        ck_assert(number(r, "operations_per_second") > 0);
        ck_assert(number(r, "read_bytes_per_second") > 0);
        ck_assert(number(r, "f32_operations_per_second") > 0);
        ck_assert(number(r, "peak_operations_per_second") >=
                  number(r, "f32_operations_per_second"));
        ck_assert(strlen(text(r, "peak_unit")) > 0);
    }
    cJSON_Delete(rows);
}
END_TEST

static double bytes_per_token(const cJSON *row)
{
    return number(row, "bytes_per_second") / number(row, "median");
}

/* What a token reads, against the model's config: 6 layers of 2 heads of 32, keys and values
 * in halves. */
START_TEST(depth_and_batch_count_bytes)
{
    enum { POSITION = 6 * 2 * 2 * 32 * 2 };
    static const char *const names[] = {"tg2", "tg2 b4", "tg2 @ d300", "tg2 b4 @ d300"};
    process p;
    RUN(&p, RLX_TOOL, "bench", BUNDLED, "-p", "0", "-n", "2", "-b", "1,4", "-d", "0,300", "-r", "1",
        "-t", "1", "-o", "json");
    cJSON *rows = rows_of(&p, 4);
    double bytes[4];
    for (int i = 0; i < 4; i++) {
        const cJSON *r = cJSON_GetArrayItem(rows, i);
        ck_assert_str_eq(text(r, "test"), names[i]);
        ck_assert_int_eq((int)number(r, "batch"), i % 2 ? 4 : 1);
        ck_assert_int_eq((int)number(r, "depth"), i / 2 * 300);
        ck_assert_str_eq(text(r, "type_k"), "f16");
        ck_assert_str_eq(text(r, "type_v"), "f16");
        bytes[i] = bytes_per_token(r);
    }
    cJSON_Delete(rows);
    ck_assert_double_eq_tol(bytes[2] - bytes[0], 300 * POSITION, 64);
    ck_assert_double_eq_tol(bytes[3] - bytes[1], 300 * POSITION, 64);
    double weights =
        bytes[0] - 1.5 * POSITION; /* one position seen by the first, two by the second */
    ck_assert_double_eq_tol(bytes[1], weights / 4 + 1.5 * POSITION, 64);
}
END_TEST

/* More sequences than the largest bucket of BATCH holds run as two steps, each of which reads the weights. */
START_TEST(each_part_of_a_batch_reads_weights)
{
    process p;
    RUN(&p, RLX_TOOL, "bench", BUNDLED, "-p", "0", "-n", "1", "-b", "16,32", "-r", "1", "-t", "1",
        "-o", "json");
    cJSON *rows = rows_of(&p, 2);
    const double one = bytes_per_token(cJSON_GetArrayItem(rows, 0)),
                 two = bytes_per_token(cJSON_GetArrayItem(rows, 1));
    cJSON_Delete(rows);
    ck_assert_double_eq_tol(one, two, 64);
}
END_TEST

START_TEST(markdown_and_csv)
{
    process p;
    RUN(&p, RLX_TOOL, "bench", SHORT, "-d", "5");
    ck_assert_msg(p.code == 0, "%s", p.err);
    ck_assert(strstr(p.out, "| CPU | 1 | pp9 @ d5 | "));
    ck_assert(strstr(p.out, "| CPU | 2 | tg3 @ d5 | "));
    ck_assert(strstr(p.err, "mode fast"));
    process_free(&p);
    RUN(&p, RLX_TOOL, "bench", BUNDLED, "-p", "0", "-n", "2", "-r", "1", "-t", "1", "-o", "csv",
        "--device", "cpu:x86-64-v3", "-ctv", "f32");
    ck_assert_msg(p.code == 0, "%s", p.err);
    ck_assert(!strncmp(p.out, "model,family,weight_bytes,", 26));
    ck_assert(strstr(p.out, "\nbundled,llama,"));
    ck_assert(strstr(p.out, ",cpu:x86-64-v3,fast,f16,f32,tg2,1,0,2,1,0,"));
    ck_assert(!strstr(p.out, ",pp"));
    process_free(&p);
}
END_TEST

/* Kernels have the row's time, less what they wait. */
START_TEST(kernels_of_a_row)
{
    process p;
    RUN(&p, RLX_TOOL, "bench", SHORT, "-o", "json", "--kernels");
    cJSON *rows = rows_of(&p, 4);
    for (int i = 0; i < 4; i++) {
        const cJSON *kernels = cJSON_GetObjectItem(cJSON_GetArrayItem(rows, i), "kernels"), *k;
        double share = 0, launches = 0;
        cJSON_ArrayForEach(k, kernels)
        {
            ck_assert(strlen(text(k, "kernel")) > 0);
            ck_assert(number(k, "seconds") > 0);
            ck_assert(number(k, "bytes_per_second") > 0);
            share += number(k, "share");
            launches += number(k, "launches");
        }
        ck_assert_int_ge(cJSON_GetArraySize(kernels), 5);
        ck_assert(launches >= 6 * 4 * (i % 2 ? 3 : 1)); /* layers, kernels of one, steps */
        ck_assert_msg(share > 0.05 && share < 1.01, "%g of the time", share);
    }
    cJSON_Delete(rows);
    RUN(&p, RLX_TOOL, "bench", SHORT, "--kernels");
    ck_assert_msg(p.code == 0 && strstr(p.out, "| kernel | launches |"), "%s%s", p.out, p.err);
    process_free(&p);
    RUN(&p, RLX_TOOL, "bench", SHORT, "-o", "csv", "--kernels");
    refuses(&p, "md or json");
}
END_TEST

/* A layer with a window forgets what a sequence would go back to, so each repetition fills it anew;
 * that is no launch of the row. */
START_TEST(filling_is_no_part_of_a_row)
{
    static const char *const files[] = {"config.json", "model.safetensors", "tokenizer.json"};
    char dir[] = "/tmp/rlx-bench-XXXXXX", link[64], json[2048];
    process p;
    ck_assert_ptr_nonnull(mkdtemp(dir));
    for (int i = 1; i < 3; i++) {
        char from[256];
        snprintf(from, sizeof from, "%s/%s", BUNDLED, files[i]);
        snprintf(link, sizeof link, "%s/%s", dir, files[i]);
        ck_assert_int_eq(symlink(from, link), 0);
    }
    FILE *f = fopen(BUNDLED "/config.json", "r");
    ck_assert_ptr_nonnull(f);
    json[fread(json, 1, sizeof json - 1, f)] = 0;
    fclose(f);
    cJSON *o = cJSON_Parse(json);
    cJSON_ReplaceItemInObject(o, "model_type", cJSON_CreateString("mistral"));
    cJSON_ReplaceItemInObject(o, "architectures", cJSON_Parse("[\"MistralForCausalLM\"]"));
    cJSON_AddNumberToObject(o, "sliding_window", 64);
    char *text_of = cJSON_PrintUnformatted(o);
    snprintf(link, sizeof link, "%s/config.json", dir);
    f = fopen(link, "w");
    ck_assert(f && fputs(text_of, f) >= 0 && fclose(f) == 0);
    free(text_of);
    cJSON_Delete(o);
    RUN(&p, RLX_TOOL, "bench", dir, "-p", "400", "-n", "0", "-d", "0,300", "-r", "2", "-t", "1",
        "--prefill", "128", "-o", "json", "--kernels");
    cJSON *rows = rows_of(&p, 2), *k;
    double launches[2] = {0};
    for (int i = 0; i < 2; i++)
        cJSON_ArrayForEach(k, cJSON_GetObjectItem(cJSON_GetArrayItem(rows, i), "kernels"))
            launches[i] += number(k, "launches");
    ck_assert_double_gt(launches[0], 0);
    ck_assert_double_eq(launches[1], launches[0]);
    cJSON_Delete(rows);
    for (int i = 0; i < 3; i++) {
        snprintf(link, sizeof link, "%s/%s", dir, files[i]);
        unlink(link);
    }
    ck_assert_int_eq(rmdir(dir), 0);
}
END_TEST

/* A model's name is the user's. */
START_TEST(names_are_quoted)
{
    char dir[] = "/tmp/rlx-bench-XXXXXX", link[64];
    process p;
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(link, sizeof link, "%s/a,\"b\\", dir);
    ck_assert_int_eq(symlink(BUNDLED, link), 0);
    RUN(&p, RLX_TOOL, "bench", link, "-p", "1", "-n", "0", "-r", "1", "-t", "1", "-o", "csv");
    ck_assert_msg(p.code == 0 && strstr(p.out, "\n\"a,\"\"b\\\",llama,"), "%s%s", p.err, p.out);
    process_free(&p);
    RUN(&p, RLX_TOOL, "bench", link, "-p", "1", "-n", "0", "-r", "1", "-t", "1", "-o", "json");
    cJSON *rows = rows_of(&p, 1);
    ck_assert_str_eq(text(cJSON_GetArrayItem(rows, 0), "model"), "a,\"b\\");
    cJSON_Delete(rows);
    unlink(link);
    rmdir(dir);
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
    tcase_add_test(c, depth_and_batch_count_bytes);
    tcase_add_test(c, each_part_of_a_batch_reads_weights);
    tcase_add_test(c, markdown_and_csv);
    tcase_add_test(c, kernels_of_a_row);
    tcase_add_test(c, filling_is_no_part_of_a_row);
    tcase_add_test(c, names_are_quoted);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r), ran = srunner_ntests_run(r);
    srunner_free(r);
    return failed || ran < 9;
}
