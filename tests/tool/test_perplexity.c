/* tests/tool/test_perplexity.c: rlx perplexity against llama-perplexity's number and against itself
 * through a file; the files' bytes; what it refuses. */
#include <check.h>
#include <cjson/cJSON.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/tool/process.h"

#define BUNDLED RLX_SOURCE_DIR "/models/bundled"
#define STORIES RLX_SOURCE_DIR "/../shared/data/models/llama/stories260K/stories260Ktok512.gguf"

enum { PATH = 64 };

static char dir[] = "/tmp/rlx-perplexity-XXXXXX", text[PATH], base[PATH];

/* As the bundled model tells it. */
static const char story[] =
    "Once upon a time, there was a little girl named Anna. She lived in a village by the sea. Anna "
    "had a small house, with one bed, one chair, and one table.\nOne stormy night, a great storm "
    "came. The thunder rolled and the rain fell hard. Anna was sitting by the warm fire when there "
    "was a knock at the door. Outside stood a girl, wet from head to toe. \"I am Ida,\" she said. "
    "\"The storm broke my house. May I come in?\" \"My house is very small,\" said Anna, \"but it "
    "is warm.\" \"Please come in,\" said Anna. \"There is always room for one more.\" Anna gave "
    "Ida a dry blanket and some pancakes. That night, Ida slept in the bed, and Anna slept on the "
    "floor.\nIn the morning, the storm was over, and the sun was shining. But the wind had made a "
    "big hole in the roof!\n";

static void put_file(const char *path, const void *bytes, size_t n)
{
    FILE *f = fopen(path, "wb");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(bytes, 1, n, f), n);
    ck_assert_int_eq(fclose(f), 0);
}

static void setup(void)
{
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(text, sizeof text, "%s/text", dir);
    snprintf(base, sizeof base, "%s/base", dir);
    put_file(text, story, sizeof story - 1);
}

static void teardown(void)
{
    unlink(text);
    unlink(base);
    ck_assert_int_eq(rmdir(dir), 0); /* nothing else is left, of a cache either */
}

/* A number of the JSON that a run printed. */
static double number(const process *p, const char *key)
{
    cJSON *o = cJSON_Parse(p->out);
    ck_assert_msg(p->code == 0 && o, "%s%s", p->out, p->err);
    const cJSON *v = cJSON_GetObjectItem(o, key);
    ck_assert_msg(cJSON_IsNumber(v), "no %s in %s", key, p->out);
    const double x = v->valuedouble;
    cJSON_Delete(o);
    return x;
}

/* llama-perplexity (0c1e570, keys and values in f16) has 9.9366 for this text, -c 64. */
START_TEST(as_the_peer)
{
    process p;
    if (access(STORIES, R_OK)) {
        fprintf(stderr, "skipped: no %s\n", STORIES);
        return;
    }
    RUN(&p, RLX_TOOL, "perplexity", STORIES, "-f", text, "-c", "64", "--precision", "exact",
        "--json");
    ck_assert_double_eq_tol(number(&p, "perplexity"), 9.9366, 2e-3);
    ck_assert_double_eq(number(&p, "tokens"), 6 * 31);
    process_free(&p);
}
END_TEST

/* Another order of sums: what is saved comes back to a code's width, 16 / 65535. */
START_TEST(against_a_file)
{
    process p;
    RUN(&p, RLX_TOOL, "perplexity", BUNDLED, "-f", text, "-c", "64", "--precision", "exact",
        "--save", base, "--json");
    const double perplexity = number(&p, "perplexity");
    ck_assert_double_gt(perplexity, 1);
    process_free(&p);
    RUN(&p, RLX_TOOL, "perplexity", BUNDLED, "--kl", base, "--json");
    ck_assert_double_eq_tol(number(&p, "perplexity"), perplexity, 1e-3 * perplexity);
    ck_assert_double_eq_tol(number(&p, "base_perplexity"), perplexity, 1e-3 * perplexity);
    ck_assert_double_eq_tol(number(&p, "kl_mean"), 0, 1e-5);
    ck_assert_double_eq_tol(number(&p, "kl_max"), 0, 2e-4);
    ck_assert_double_gt(number(&p, "same_top"), 0.9);
    process_free(&p);
    RUN(&p, RLX_TOOL, "perplexity", BUNDLED, "--kl", base, "--chunks", "1");
    ck_assert_ptr_nonnull(strstr(p.out, "31, in 1 chunks of 64"));
    process_free(&p);
}
END_TEST

enum { CONTEXT = 8, VOCAB = 1024, ROWS = 3 };

/* A base of one chunk, each row the same code 0. */
static void write_base(const int32_t *tokens, float step, float least)
{
    const int32_t head[3] = {CONTEXT, VOCAB, 1};
    const float scales[2] = {step, least};
    static const uint16_t codes[VOCAB];
    FILE *f = fopen(base, "wb");
    fwrite("_logits_", 8, 1, f);
    fwrite(head, sizeof head, 1, f);
    fwrite(tokens, sizeof *tokens, CONTEXT, f);
    for (int r = 0; r < ROWS; r++) {
        fwrite(scales, sizeof scales, 1, f);
        fwrite(codes, sizeof codes, 1, f);
    }
    ck_assert_int_eq(fclose(f), 0);
}

/* A file that the test makes, all words equally likely: divergence is the log of the vocabulary
 * minus the entropy, and the base's perplexity the vocabulary. */
START_TEST(equal_words)
{
    int32_t tokens[CONTEXT] = {0, 465, 480, 260, 261, 262, 263, 264};
    process p;
    write_base(tokens, 0, -logf(VOCAB));
    RUN(&p, RLX_TOOL, "perplexity", BUNDLED, "--kl", base, "--json");
    ck_assert_double_eq_tol(number(&p, "base_perplexity"), VOCAB, 1e-2);
    ck_assert_double_gt(number(&p, "kl_mean"), 0.5);
    ck_assert_double_eq(number(&p, "tokens"), ROWS);
    process_free(&p);
    tokens[5] = VOCAB;
    write_base(tokens, 0, -logf(VOCAB));
    RUN(&p, RLX_TOOL, "perplexity", BUNDLED, "--kl", base);
    process_complains(&p, 1, "token 5 is 1024, and the vocabulary has 1024");
    ck_assert_int_eq(truncate(base, 4000), 0);
    RUN(&p, RLX_TOOL, "perplexity", BUNDLED, "--kl", base);
    process_complains(&p, 1, "has 4000 bytes; 1 chunks of 8 tokens over a vocabulary of 1024 are");
    ck_assert_int_eq(truncate(base, 15), 0);
    RUN(&p, RLX_TOOL, "perplexity", BUNDLED, "--kl", base);
    process_complains(&p, 1, "not a file of log probabilities");
}
END_TEST

/* Rows that are no log probabilities, and chunks that no model has room for. */
START_TEST(bad_bases)
{
    static const struct {
        float step, least;
        const char *says;
    } rows[] = {{-1, 0, "row 0: steps of -1 from 0"}, {NAN, 0, "row 0: steps of"},
                {INFINITY, 0, "row 0: steps of inf"}, {0, -INFINITY, "row 0: steps of 0 from -inf"},
                {1e38f, 0, "row 0: steps of"},        {0, 1000, "is not finite behind token 0"}};
    const int32_t tokens[CONTEXT] = {0, 465, 480, 260, 261, 262, 263, 264};
    process p;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        write_base(tokens, rows[i].step, rows[i].least);
        RUN(&p, RLX_TOOL, "perplexity", BUNDLED, "--kl", base);
        ck_assert_ptr_nonnull(strstr(p.err, base));
        process_complains(&p, 1, rows[i].says);
    }
    RUN(&p, RLX_TOOL, "perplexity", BUNDLED, "--kl", base, "-c", "16");
    process_complains(&p, 2, "have 8 tokens");
    write_base(tokens, 0, -7);
    RUN(&p, RLX_TOOL, "perplexity", BUNDLED, "--kl", base, "-c", "8", "--json");
    ck_assert_double_eq(number(&p, "context"), CONTEXT);
    process_free(&p);
    const int32_t head[3] = {(1 << 20) + 1, 1, 1};
    FILE *f = fopen(base, "wb");
    fwrite("_logits_", 8, 1, f);
    fwrite(head, sizeof head, 1, f);
    ck_assert_int_eq(fclose(f), 0);
    ck_assert_int_eq(truncate(base, 20 + head[0] * 4l + (head[0] - 1 - head[0] / 2) * 12l), 0);
    RUN(&p, RLX_TOOL, "perplexity", BUNDLED, "--kl", base);
    process_complains(&p, 1, "chunks of 1048577 tokens");
}
END_TEST

/* One row of a base of VOCAB that has one chunk. */
static void read_row(int context, int row, uint16_t out[VOCAB + 4])
{
    FILE *f = fopen(base, "rb");
    ck_assert_ptr_nonnull(f);
    ck_assert_int_eq(fseek(f, 20 + 4 * context + 2 * row * (VOCAB + 4), SEEK_SET), 0);
    ck_assert_uint_eq(fread(out, sizeof *out, VOCAB + 4, f), VOCAB + 4);
    fclose(f);
}

/* In fast mode a row alone in its step would have the numerics of decoding: the last of 129 has those
 * of the 128 before. */
START_TEST(no_step_of_one)
{
    static uint16_t last[VOCAB + 4], among[VOCAB + 4];
    process p;
    FILE *f = fopen(text, "ab");
    fputs(story, f);
    ck_assert_int_eq(fclose(f), 0);
    RUN(&p, RLX_TOOL, "perplexity", BUNDLED, "-f", text, "-c", "259", "--chunks", "1", "--save",
        base);
    ck_assert_msg(p.code == 0, "%s", p.err);
    process_free(&p);
    read_row(259, 128, last);
    RUN(&p, RLX_TOOL, "perplexity", BUNDLED, "-f", text, "-c", "260", "--chunks", "1", "--save",
        base);
    ck_assert_msg(p.code == 0, "%s", p.err);
    process_free(&p);
    read_row(260, 127, among);
    ck_assert_mem_eq(last, among, sizeof last);
    put_file(text, story, sizeof story - 1);
}
END_TEST

/* The bundled model's tokenizer, with nothing in front of a text and `behind` behind it. */
static void write_tokenizer(const char *path, const char *behind)
{
    static char json[1 << 17];
    FILE *f = fopen(BUNDLED "/tokenizer.json", "rb");
    ck_assert_ptr_nonnull(f);
    json[fread(json, 1, sizeof json - 1, f)] = 0;
    fclose(f);
    cJSON *o = cJSON_Parse(json);
    ck_assert_ptr_nonnull(o);
    snprintf(json, sizeof json,
             "{\"type\":\"TemplateProcessing\",\"single\":[{\"Sequence\":{\"id\":\"A\",\"type_id\":"
             "0}}%s],"
             "\"pair\":[{\"Sequence\":{\"id\":\"A\",\"type_id\":0}},{\"Sequence\":{\"id\":\"B\","
             "\"type_id\":1}}],\"special_tokens\":{\"<|end|>\":{\"id\":\"<|end|>\",\"ids\":[1],"
             "\"tokens\":[\"<|end|>\"]}}}",
             behind);
    ck_assert(cJSON_ReplaceItemInObject(o, "post_processor", cJSON_Parse(json)));
    char *all = cJSON_PrintUnformatted(o);
    put_file(path, all, strlen(all));
    free(all);
    cJSON_Delete(o);
}

/* A tokenizer that only closes texts gives no token to begin with, and its closing one is no text. */
START_TEST(what_closes_a_text)
{
    static const char *const frames[] = {"",
                                         ",{\"SpecialToken\":{\"id\":\"<|end|>\",\"type_id\":0}}"};
    static const char *const links[] = {"config.json", "model.safetensors"};
    char from[256], to[4 * PATH], model[2 * PATH], tokenizer[4 * PATH];
    double got[2];
    process p;
    snprintf(model, sizeof model, "%s/model", dir);
    snprintf(tokenizer, sizeof tokenizer, "%s/tokenizer.json", model);
    ck_assert_int_eq(mkdir(model, 0700), 0);
    for (int i = 0; i < 2; i++) {
        snprintf(from, sizeof from, "%s/%s", BUNDLED, links[i]);
        snprintf(to, sizeof to, "%s/%s", model, links[i]);
        ck_assert_int_eq(symlink(from, to), 0);
    }
    for (int i = 0; i < 2; i++) {
        write_tokenizer(tokenizer, frames[i]);
        RUN(&p, RLX_TOOL, "perplexity", model, "-f", text, "-c", "28", "--json", "--precision",
            "exact");
        got[i] = number(&p, "perplexity");
        process_free(&p);
    }
    ck_assert_double_eq(got[0], got[1]);
    for (int i = 0; i < 2; i++) {
        snprintf(to, sizeof to, "%s/%s", model, links[i]);
        unlink(to);
    }
    unlink(tokenizer);
    rmdir(model);
}
END_TEST

/* The tokenizer's table goes where code goes. */
START_TEST(caches_are_where_they_are_said_to_be)
{
    char cache[2 * PATH];
    process p;
    snprintf(cache, sizeof cache, "%s/cache", dir);
    ck_assert_int_eq(setenv("RLX_CACHE_DIR", cache, 1), 0);
    RUN(&p, RLX_TOOL, "perplexity", BUNDLED, "-f", text, "-c", "64", "--no-cache", "--chunks", "1");
    ck_assert_msg(p.code == 0, "%s", p.err);
    process_free(&p);
    ck_assert_msg(access(cache, F_OK), "something is kept");
}
END_TEST

START_TEST(refuses)
{
    process p;
    RUN(&p, RLX_TOOL, "perplexity", BUNDLED);
    process_complains(&p, 2, "-f FILE");
    RUN(&p, RLX_TOOL, "perplexity", BUNDLED, "-f", text, "--kl", base);
    process_complains(&p, 2, "-f is one too many");
    RUN(&p, RLX_TOOL, "perplexity", BUNDLED, "--save", base, "--kl", base);
    process_complains(&p, 2, "--save");
    RUN(&p, RLX_TOOL, "perplexity", BUNDLED, "-f", text, "-c", "3");
    process_complains(&p, 2, "-c is 4");
    RUN(&p, RLX_TOOL, "perplexity", BUNDLED, "-f", text, "-c", "2000");
    process_complains(&p, 1, "a chunk is 2000");
    RUN(&p, RLX_TOOL, "perplexity", BUNDLED, "--kl", "/nowhere");
    process_complains(&p, 1, "/nowhere");
    RUN(&p, RLX_TOOL, "perplexity", BUNDLED, "-f", text, "-c", "64", "--save", "/dev/full");
    process_complains(&p, 1, "/dev/full");
    RUN(&p, RLX_TOOL, "perplexity", BUNDLED, "-f", text, "-c", "64", "--save", "/nowhere/base");
    process_complains(&p, 1, "/nowhere/base");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("perplexity");
    TCase *c = tcase_create("perplexity");
    tcase_set_timeout(c, 60);
    tcase_add_unchecked_fixture(c, setup, teardown);
    tcase_add_test(c, as_the_peer);
    tcase_add_test(c, against_a_file);
    tcase_add_test(c, equal_words);
    tcase_add_test(c, bad_bases);
    tcase_add_test(c, no_step_of_one);
    tcase_add_test(c, what_closes_a_text);
    tcase_add_test(c, caches_are_where_they_are_said_to_be);
    tcase_add_test(c, refuses);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    const int bad = srunner_ntests_failed(r) || srunner_ntests_run(r) < 8;
    srunner_free(r);
    return bad;
}
