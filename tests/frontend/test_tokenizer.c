/* tests/frontend/test_tokenizer.c: ids of small vocabularies worked out by hand, refusals by name,
 * streaming. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/tokenizer.h"
#include "runtime/base/text.h"

static void must(rlx_status st)
{
    if (!st)
        return;
    char *text = rlx_status_text(st);
    ck_abort_msg("%s", text);
}

static rlx_tokenizer *parse(const char *json)
{
    rlx_tokenizer *t;
    must(rlx_tokenizer_parse(json, "tokenizer.json", &t));
    return t;
}

/* Compares the ids of `text` with `want`, ended by -1. */
static void expect_ids(const rlx_tokenizer *t, const char *text, bool special, const int32_t *want)
{
    int32_t *ids;
    int64_t n, m = 0;
    must(rlx_tokenizer_encode(t, text, strlen(text), special, &ids, &n));
    while (want[m] >= 0)
        m++;
    ck_assert_msg(n == m, "\"%s\": %lld ids, not %lld", text, (long long)n, (long long)m);
    for (int64_t i = 0; i < n; i++)
        ck_assert_msg(ids[i] == want[i], "\"%s\": id %lld is %d, not %d", text, (long long)i,
                      ids[i], want[i]);
    free(ids);
}
#define IDS(t, text, special, ...) expect_ids(t, text, special, (const int32_t[]){__VA_ARGS__, -1})

static bool append(void *user, const char *utf8, size_t n)
{
    rlx_text_put_bytes(user, utf8, n);
    return true;
}

static void expect_text(const rlx_tokenizer *t, bool opens, const int32_t *ids, const char *want)
{
    rlx_text got = {0};
    rlx_token_stream s;
    rlx_token_stream_init(&s, t, opens);
    for (; *ids >= 0; ids++)
        ck_assert(rlx_token_stream_push(&s, *ids, append, &got));
    ck_assert(rlx_token_stream_end(&s, append, &got));
    ck_assert_str_eq(got.data ? got.data : "", want);
    rlx_text_deinit(&got);
}
#define TEXT(t, opens, want, ...) expect_text(t, opens, (const int32_t[]){__VA_ARGS__, -1}, want)

/* ---- small vocabularies */

static const char byte_level[] =
    "{\"added_tokens\":[{\"id\":9,\"content\":\"<|end|>\",\"special\":true,\"normalized\":false}],"
    "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":true},"
    "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":"
    "\"E\"}},"
    "{\"Sequence\":{\"id\":\"A\"}}],\"special_tokens\":{\"E\":{\"ids\":[9]}}},"
    "\"decoder\":{\"type\":\"ByteLevel\"},"
    "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"\\u0120\":2,\"ab\":3,\"\\u0120ab\":4,"
    "\"abab\":5,\"\\u00c3\":6,\"\\u00a9\":7,\"aa\":8},"
    "\"merges\":[\"a b\",\"\\u0120 ab\",[\"ab\",\"ab\"],\"a a\"]}}";

START_TEST(byte_level_merges)
{
    rlx_tokenizer *t = parse(byte_level);
    IDS(t, "", false, -1);
    IDS(t, "ab", false, 3);
    IDS(t, "abab", false, 5);
    IDS(t, "ababab", false, 5, 3); /* leftmost of equal ranks */
    IDS(t, "aaab", false, 8, 3);   /* a b ranks before a a */
    IDS(t, "ab ab", false, 3, 4);
    IDS(t, "a\xc3\xa9", false, 0, 6, 7);
    IDS(t, "ab<|end|> ab", false, 3, 9, 4);
    IDS(t, "ab", true, 9, 3);
    rlx_tokenizer_destroy(t);
}
END_TEST

static bool refuse(void *user, const char *utf8, size_t n)
{
    (void)utf8, (void)n;
    ++*(int *)user;
    return false;
}

/* Who has said stop is not called again for a character that was waiting. */
START_TEST(streams_end_when_told)
{
    rlx_tokenizer *t = parse(byte_level);
    rlx_token_stream s;
    int calls = 0;
    rlx_token_stream_init(&s, t, false);
    ck_assert(rlx_token_stream_push(&s, 6, refuse, &calls)); /* half of a character */
    ck_assert_int_eq(calls, 0);
    ck_assert(!rlx_token_stream_push(&s, 0, refuse, &calls));
    ck_assert(rlx_token_stream_end(&s, refuse, &calls));
    ck_assert_int_eq(calls, 1);
    rlx_tokenizer_destroy(t);
}
END_TEST

START_TEST(byte_level_streams_whole_characters)
{
    rlx_tokenizer *t = parse(byte_level);
    TEXT(t, true, " ab\xc3\xa9", 4, 6, 7);
    TEXT(t, true, "ab", 3, 9); /* special tokens give nothing */
    TEXT(t, true,
         "\xef\xbf\xbd"
         "a",
         6, 0);
    TEXT(t, true, "\xef\xbf\xbd", 7);
    TEXT(t, true, "a\xef\xbf\xbd", 0, 6);
    size_t n;
    ck_assert_ptr_null(rlx_tokenizer_bytes(t, 10, &n));
    ck_assert_ptr_null(rlx_tokenizer_bytes(t, -1, &n));
    ck_assert_int_eq(memcmp(rlx_tokenizer_bytes(t, 4, &n), " ab", 3), 0);
    ck_assert_uint_eq(n, 3);
    rlx_tokenizer_destroy(t);
}
END_TEST

static const char fallback[] =
    "{\"added_tokens\":[{\"id\":1,\"content\":\"<s>\",\"special\":true,\"normalized\":false},"
    "{\"id\":7,\"content\":\"<x>\",\"special\":false,\"normalized\":false,\"rstrip\":true,"
    "\"lstrip\":true}],"
    "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":"
    "\"\\u2581\"},"
    "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"\\u2581\"}]},"
    "\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{"
    "\"String\":"
    "\"\\u2581\"},\"content\":\" \"},{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"},"
    "{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0}]},"
    "\"model\":{\"type\":\"BPE\",\"unk_token\":\"<unk>\",\"fuse_unk\":true,\"byte_fallback\":true,"
    "\"vocab\":{\"<unk>\":0,\"<s>\":1,\"\\u2581\":2,\"a\":3,\"\\u2581a\":4,\"<0xC3>\":5,\"<0xA9>\":"
    "6,"
    "\"<x>\":7},\"merges\":[\"\\u2581 a\"]}}";

START_TEST(byte_fallback)
{
    rlx_tokenizer *t = parse(fallback);
    IDS(t, "a", false, 4);
    IDS(t, "a a", false, 4, 4);
    IDS(t, "aa", false, 4, 3);
    IDS(t, "\xc3\xa9", false, 2, 5, 6);
    IDS(t, "zz", false, 2, 0); /* unknown, fused */
    IDS(t, "<s>a", false, 1, 4);
    IDS(t, "a <x> a", false, 4, 7, 4); /* takes the spaces beside it */
    TEXT(t, true, "a a", 4, 4);
    TEXT(t, false, " a a", 4, 4); /* in the middle of a text the first space is the text's */
    TEXT(t, true, "a\xc3\xa9", 4, 5, 6);
    rlx_tokenizer_destroy(t);
}
END_TEST

/* Letters, of which one for every frame of a sound; the special pad parts two that are the same. */
START_TEST(frames_collapse)
{
    rlx_tokenizer *t = parse(
        "{\"added_tokens\":[{\"id\":0,\"content\":\"<pad>\",\"special\":true}],"
        "\"decoder\":{\"type\":\"CTC\"},\"pre_tokenizer\":{\"type\":\"FixedLength\",\"length\":1},"
        "\"model\":{\"type\":\"WordLevel\",\"unk_token\":\"?\",\"vocab\":{\"<pad>\":0,\"|\":1,"
        "\"a\":2,\"l\":3}}}");
    int32_t *ids;
    int64_t n;
    TEXT(t, true, "all a", 0, 2, 2, 3, 3, 0, 3, 0, 1, 1, 0, 2, 2, 0);
    IDS(t, "al|l<pad>", false, 2, 3, 1, 3, 0);
    rlx_status st = rlx_tokenizer_encode(t, "abl", 3, false, &ids, &n);
    ck_assert(st && rlx_status_code(st) == RLX_INVALID_ARGUMENT &&
              strstr(rlx_status_message(st), "\"b\" is not in the vocabulary"));
    rlx_status_free(st);
    rlx_tokenizer_destroy(t);
}
END_TEST

/* A word's end is a space once there is a word behind it. */
START_TEST(spaces_between_words)
{
    rlx_tokenizer *t = parse("{\"decoder\":{\"type\":\"BPEDecoder\"},\"model\":{\"type\":\"BPE\","
                             "\"merges\":[],\"vocab\":{\"a</w>\":0,\"b\":1,\"\u00e9</w>\":2}}}");
    TEXT(t, true, "ba a", 1, 0, 0);
    TEXT(t, false, "a \xc3\xa9 b", 0, 2, 1);
    rlx_tokenizer_destroy(t);
}
END_TEST

/* ---- what is refused */

static void refuses(const char *json, rlx_code code, const char *word)
{
    rlx_tokenizer *t = NULL;
    rlx_status st = rlx_tokenizer_parse(json, "tokenizer.json", &t);
    ck_assert_msg(st != NULL, "accepted: %s", json);
    ck_assert_int_eq(rlx_status_code(st), code);
    ck_assert_msg(strstr(rlx_status_message(st), word), "\"%s\" does not name %s",
                  rlx_status_message(st), word);
    rlx_status_free(st);
}

#define MODEL "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]}"

START_TEST(refuses_by_name)
{
    refuses("{", RLX_INVALID_FILE, "byte");
    refuses("[]", RLX_INVALID_FILE, "model");
    refuses("{\"model\":{\"type\":\"WordSalad\",\"vocab\":{}}}", RLX_UNSUPPORTED, "WordSalad");
    refuses("{\"model\":{\"type\":\"WordLevel\",\"vocab\":{}}}", RLX_INVALID_FILE, "empty");
    refuses("{\"model\":{\"type\":\"BPE\",\"vocab\":{},\"merges\":[]}}", RLX_INVALID_FILE, "empty");
    refuses("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":-1},\"merges\":[]}}", RLX_INVALID_FILE,
            "id");
    refuses("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":1e99},\"merges\":[]}}", RLX_INVALID_FILE,
            "id");
    refuses("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":0},\"merges\":[]}}",
            RLX_INVALID_FILE, "both");
    refuses("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"a b\"]}}",
            RLX_INVALID_FILE, "vocabulary");
    refuses("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"a a\"]}}",
            RLX_INVALID_FILE, "aa");
    refuses("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[3]}}", RLX_INVALID_FILE,
            "merge");
    refuses("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[],\"dropout\":0.1}}",
            RLX_UNSUPPORTED, "dropout");
    refuses("{\"normalizer\":{\"type\":\"NFX\"}," MODEL "}", RLX_UNSUPPORTED, "NFX");
    refuses("{\"pre_tokenizer\":{\"type\":\"UnicodeScript\"}," MODEL "}", RLX_UNSUPPORTED,
            "UnicodeScript");
    refuses("{\"pre_tokenizer\":{\"type\":\"Digits\",\"individual_digits\":1}," MODEL "}",
            RLX_INVALID_FILE, "individual_digits");
    static const char *const patterns[][2] = {
        {"[a&&]", "nothing beside && at 4"},
        {"[&&a]", "nothing beside && at 1"},
        {"x[a", "a set without an end at 1"},
        {"[[:alfa:]]", "a class of this name at 1"},
        {"(?s:a)", "option s at 0"},
        {"[\\\\B]", "an escape"},
        {"\\\\p{Klingon}", "regular expression"},
        {"[[[[[[[[[[[[[[[[[a]]]]]]]]]]]]]]]]]", "a set so deep at 16"},
        {"(", "regular expression"},
    };
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        char json[512];
        snprintf(json, sizeof json,
                 "{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"%s\"},"
                 "\"behavior\":\"Isolated\"}," MODEL "}",
                 patterns[i][0]);
        refuses(json, RLX_UNSUPPORTED, patterns[i][1]);
    }
    refuses("{\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"AAAA\"}," MODEL
            "}",
            RLX_INVALID_FILE, "compiled rules");
    refuses("{\"decoder\":{\"type\":\"BPEDecoder\",\"suffix\":\"\"}," MODEL "}", RLX_UNSUPPORTED,
            "suffix");
    refuses("{\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"ByteLevel\"},{\"type\":"
            "\"CTC\"}]}," MODEL "}",
            RLX_UNSUPPORTED, "CTC");
    refuses("{\"post_processor\":{\"type\":\"BertProcessing\"}," MODEL "}", RLX_INVALID_FILE,
            "cls");
    refuses("{\"added_tokens\":[{\"id\":1,\"content\":\"\"}]," MODEL "}", RLX_INVALID_FILE,
            "content");
    refuses("{\"added_tokens\":[{\"id\":1,\"content\":\"x\",\"single_word\":3}]," MODEL "}",
            RLX_INVALID_FILE, "single_word");
}
END_TEST

START_TEST(refuses_text_that_is_not_utf8)
{
    rlx_tokenizer *t = parse(byte_level);
    static const char *const bad[] = {"a\xff", "\xc3", "\xed\xa0\x80", "\xc0\x80",
                                      "\xf4\x90\x80\x80"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int32_t *ids;
        int64_t n;
        rlx_status st = rlx_tokenizer_encode(t, bad[i], strlen(bad[i]), false, &ids, &n);
        ck_assert_int_eq(rlx_status_code(st), RLX_INVALID_ARGUMENT);
        rlx_status_free(st);
    }
    rlx_tokenizer_destroy(t);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("tokenizer");
    TCase *c = tcase_create("tokenizer");
    tcase_set_timeout(c, 60);
    tcase_add_test(c, byte_level_merges);
    tcase_add_test(c, byte_level_streams_whole_characters);
    tcase_add_test(c, streams_end_when_told);
    tcase_add_test(c, byte_fallback);
    tcase_add_test(c, frames_collapse);
    tcase_add_test(c, spaces_between_words);
    tcase_add_test(c, refuses_by_name);
    tcase_add_test(c, refuses_text_that_is_not_utf8);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int bad = srunner_ntests_failed(r) || srunner_ntests_run(r) < 8;
    srunner_free(r);
    return bad;
}
