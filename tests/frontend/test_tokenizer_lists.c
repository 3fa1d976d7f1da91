/* tests/frontend/test_tokenizer_lists.c: vocabularies that are lists, with tokenizer_config.json
 * beside them: ids worked out by hand, and what is refused, by file and place. */
#include <check.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "frontend/rlx.h"

static char dir[64];

static void set_up(void)
{
    snprintf(dir, sizeof dir, "/tmp/rlx-lists-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st, (void)type, (void)at;
    return remove(path);
}

static void tear_down(void)
{
    nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void put(const char *file, const char *text)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", dir, file);
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    fputs(text, f);
    fclose(f);
}

/* `path`: the folder, or a file in it. */
static void expect_of(const char *path, const char *pre, const char *text, bool special,
                      const int32_t *want)
{
    rlx_tokenizer *t = NULL;
    int32_t *ids;
    int64_t n, m = 0;
    rlx_status st = rlx_tokenizer_load(path, &(rlx_tokenizer_options){.pre = pre}, &t);
    if (!st)
        st = rlx_tokenizer_encode(t, text, strlen(text), special, &ids, &n);
    ck_assert_msg(!st, "%s", st ? rlx_status_text(st) : "");
    while (want[m] >= 0)
        m++;
    ck_assert_msg(n == m, "\"%s\": %lld ids, not %lld", text, (long long)n, (long long)m);
    for (int64_t i = 0; i < n; i++)
        ck_assert_msg(ids[i] == want[i], "\"%s\": id %lld is %d, not %d", text, (long long)i,
                      ids[i], want[i]);
    free(ids);
    rlx_tokenizer_destroy(t);
}
#define EXPECT(pre, text, special, ...) \
    expect_of(dir, pre, text, special, (const int32_t[]){__VA_ARGS__, -1})

/* The story names the file and the place. */
static void refuses(const char *pre, rlx_code code, const char *file, const char *word)
{
    rlx_tokenizer *t = NULL;
    rlx_status st = rlx_tokenizer_load(dir, &(rlx_tokenizer_options){.pre = pre}, &t);
    ck_assert_msg(st != NULL, "accepted, looking for %s", word);
    char *text = rlx_status_text(st);
    ck_assert_msg(rlx_status_code(st) == code && strstr(text, file) && strstr(text, word),
                  "\"%s\" does not name %s and %s", text, file, word);
    free(text);
    rlx_status_free(st);
}

/* a b c ab (space)ab, and a byte that is no character. */
#define RANKS "YQ== 0\nYg== 1\nYw== 2\nIA== 3\nYWI= 4\nIGFi 5\n/w== 6\n"

START_TEST(lists_of_ranks)
{
    put("tokenizer.model", RANKS);
    EXPECT("gpt-2", "ab ab", true, 4, 5);
    EXPECT("gpt-2", "cab", true, 2, 4);
    refuses(NULL, RLX_UNSUPPORTED, "tokenizer.model", "7 ranks");
    refuses("no-such", RLX_UNSUPPORTED, "tokenizer.model", "no-such");
    put("tokenizer_config.json",
        "{\"bos_token\":\"<s>\",\"add_bos_token\":true,\"added_tokens_decoder\":{\"9\":{"
        "\"content\":\"<s>\",\"special\":true}}}");
    EXPECT("gpt-2", "ab<s>", true, 9, 4, 9);
    put("tokenizer_config.json", "{\"added_tokens_decoder\":{\"x\":{\"content\":\"<s>\"}}}");
    refuses("gpt-2", RLX_INVALID_FILE, "tokenizer.model", "\"x\"");
    put("tokenizer_config.json", "{\"added_tokens_decoder\":{\"4\":{\"content\":\"<s>\"}}}");
    refuses("gpt-2", RLX_INVALID_FILE, "tokenizer.model", "id 4");
    put("tokenizer_config.json", "[");
    refuses("gpt-2", RLX_INVALID_FILE, "tokenizer_config.json", "byte");
}
END_TEST

/* Whatever the file's name: what stands beside it counts. */
START_TEST(lists_by_name)
{
    char path[128];
    snprintf(path, sizeof path, "%s/some.tiktoken", dir);
    put("some.tiktoken", RANKS);
    put("tokenizer_config.json",
        "{\"bos_token\":\"<s>\",\"add_bos_token\":true,\"added_tokens_decoder\":{\"9\":{"
        "\"content\":\"<s>\",\"special\":true}}}");
    expect_of(path, "gpt-2", "ab<s>", true, (const int32_t[]){9, 4, 9, -1});
    /* Another vocabulary's: its <s> is this one's "ab". */
    put("tokenizer_config.json", "{\"added_tokens_decoder\":{\"4\":{\"content\":\"<s>\"}}}");
    expect_of(path, "gpt-2", "cab", true, (const int32_t[]){2, 4, -1});
}
END_TEST

/* A pattern's name where the file says itself how it splits. */
START_TEST(patterns_without_a_meaning)
{
    put("vocab.txt", "[UNK]\nun\n");
    refuses("gpt-2", RLX_INVALID_ARGUMENT, "vocab.txt", "pre \"gpt-2\"");
    put("vocab.json", "{\"a\":0}");
    put("merges.txt", "");
    refuses("gpt-2", RLX_INVALID_ARGUMENT, "vocab.json", "pre \"gpt-2\"");
    put("tokenizer.json", "{\"model\":{\"type\":\"BPE\",\"merges\":[],\"vocab\":{\"a\":0}}}");
    refuses("gpt-2", RLX_INVALID_ARGUMENT, "tokenizer.json", "pre \"gpt-2\"");
    EXPECT(NULL, "a", true, 0);
}
END_TEST

START_TEST(broken_lists_of_ranks)
{
    static const struct {
        const char *text, *word;
    } bad[] = {
        {"YQ== 0\nYg== 0\n", "id 0"},    {"YQ== 0\nYQ== 1\n", "ids 0 and 1"},
        {"YQ== 0\nYg==\n", "line 2"},    {"YQ== 0\nY!== 1\n", "rank 1"},
        {"YQ== 0\nYg== x\n", "line 2"},  {"YQ== 0\nYg== 99999999999\n", "line 2"},
        {"YQ== 0\nYg== -1\n", "line 2"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        put("tokenizer.model", bad[i].text);
        refuses("gpt-2", RLX_INVALID_FILE, "tokenizer.model", bad[i].word);
    }
}
END_TEST

#define TEKKEN(size, special, vocab, more)                                  \
    "{\"config\":{\"pattern\":\"\\\\s|\\\\S\",\"default_vocab_size\":" size \
    ",\"default_num_special_tokens\":" special "},\"vocab\":[" vocab "]" more "}"
#define RANK(rank, bytes) "{\"rank\":" rank ",\"token_bytes\":\"" bytes "\"}"

/* Ranks 0 and 1 behind four special tokens; the third is beyond the size. */
START_TEST(tekken_files)
{
    static const struct {
        const char *text, *word;
    } bad[] = {
        {TEKKEN("6", "4", RANK("0", "YQ=="), ""), "1 of the 2 ranks"},
        {TEKKEN("6", "4", RANK("0", "Y!=="), ""), "rank 0 is no base64"},
        {TEKKEN("6", "4", "{\"rank\":0}", ""), "rank 0 has no bytes"},
        {TEKKEN("6", "4", "{\"rank\":-1}", ""), "\"rank\""},
        {TEKKEN("6", "9", "", ""), "9 of 6"},
        {TEKKEN("6", "null", "", ""), "default_num_special_tokens"},
        {TEKKEN("5", "4", RANK("0", "YQ=="),
                ",\"special_tokens\":[{\"rank\":4,\"token_str\":\"x\"}]"),
         "4 of 4"},
        {"{\"config\":{\"default_vocab_size\":4,\"default_num_special_tokens\":3},\"vocab\":[]}",
         "pattern"},
    };
    put("tekken.json",
        TEKKEN("6", "4", RANK("0", "YQ==") "," RANK("1", "Yg==") "," RANK("2", "YWI="), ""));
    EXPECT(NULL, "ab", true, 1, 4, 5);
    EXPECT(NULL, "a[INST]", false, 4, 3);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        put("tekken.json", bad[i].text);
        refuses(NULL, RLX_INVALID_FILE, "tekken.json", bad[i].word);
    }
}
END_TEST

START_TEST(vocab_json_and_merges)
{
    put("vocab.json", "{\"a\":0,\"b\":1,\"\\u0120\":2,\"ab\":3,\"\\u0120ab\":4,\"1\":5}");
    put("merges.txt", "#version: 0.2\na b\n\xc4\xa0 ab\n");
    EXPECT(NULL, "ab ab", true, 3, 4);
    put("tokenizer_config.json",
        "{\"tokenizer_class\":\"Qwen2Tokenizer\",\"added_tokens_decoder\":{\"7\":{\"content\":"
        "\"<|x|>\",\"special\":true}}}");
    EXPECT(NULL, "ab<|x|> ab11", true, 3, 7, 4, 5, 5);
    put("tokenizer_config.json", "{\"tokenizer_class\":\"MysteryTokenizer\"}");
    refuses(NULL, RLX_UNSUPPORTED, "vocab.json", "MysteryTokenizer");
    put("tokenizer_config.json", "{}");
    put("merges.txt", "a c\n");
    refuses(NULL, RLX_INVALID_FILE, "vocab.json", "\"a c\"");
    put("vocab.json", "{\"a\":0,\"b\":0}");
    refuses(NULL, RLX_INVALID_FILE, "vocab.json", "id 0");
    put("vocab.json", "{\"a\":1e9}");
    refuses(NULL, RLX_INVALID_FILE, "vocab.json", "\"a\"");
}
END_TEST

START_TEST(vocab_txt)
{
    put("vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\nun\n##able\nable\n!\n");
    EXPECT(NULL, "Unable, able!", true, 2, 4, 5, 1, 6, 7, 3);
    EXPECT(NULL, "[SEP]un", false, 3, 4);
    put("tokenizer_config.json", "{\"do_lower_case\":false}");
    EXPECT(NULL, "Unable unable", false, 1, 4, 5);
    put("tokenizer_config.json", "{\"do_lower_case\":3}");
    refuses(NULL, RLX_INVALID_FILE, "vocab.txt", "do_lower_case");
    put("vocab.txt", "a\nb\n");
    put("tokenizer_config.json", "{}");
    refuses(NULL, RLX_INVALID_FILE, "vocab.txt", "[UNK]");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("tokenizer_lists");
    TCase *c = tcase_create("tokenizer_lists");
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_set_timeout(c, 60);
    tcase_add_test(c, lists_of_ranks);
    tcase_add_test(c, lists_by_name);
    tcase_add_test(c, patterns_without_a_meaning);
    tcase_add_test(c, broken_lists_of_ranks);
    tcase_add_test(c, tekken_files);
    tcase_add_test(c, vocab_json_and_merges);
    tcase_add_test(c, vocab_txt);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int bad = srunner_ntests_failed(r) || srunner_ntests_run(r) < 7;
    srunner_free(r);
    return bad;
}
