/* tests/frontend/test_tokenizer_files.c: tokenizers of GGUF files and of sentencepiece models: ids
 * worked out by hand, refusals by name. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/tokenizer.h"
#include "tests/frontend/gguf_file.h"

#define G "tokenizer.ggml."
#define COUNT(a) (sizeof(a) / sizeof *(a))
#define MARK "\xe2\x96\x81"

static rlx_tokenizer *must(rlx_status st, rlx_tokenizer *t)
{
    char *story = st ? rlx_status_text(st) : NULL;
    ck_assert_msg(!st, "%s", story);
    return t;
}

static void expect_ids(const rlx_tokenizer *t, const char *text, bool special, const int32_t *want)
{
    int32_t *ids;
    int64_t n, m = 0;
    must(rlx_tokenizer_encode(t, text, strlen(text), special, &ids, &n), NULL);
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

static void expect_text(const rlx_tokenizer *t, const int32_t *ids, const char *want)
{
    rlx_text got = {0};
    rlx_token_stream s;
    rlx_token_stream_init(&s, t, true);
    for (; *ids >= 0; ids++)
        ck_assert(rlx_token_stream_push(&s, *ids, append, &got));
    ck_assert(rlx_token_stream_end(&s, append, &got));
    ck_assert_str_eq(got.data ? got.data : "", want);
    rlx_text_deinit(&got);
}
#define TEXT(t, want, ...) expect_text(t, (const int32_t[]){__VA_ARGS__, -1}, want)

/* ---- sentencepiece in GGUF */

static const char *const pieces[] = {"<unk>", "<s>", "</s>",   "<0xC3>", "<0xA9>",    MARK,  "a",
                                     "b",     "ab",  MARK "a", "bab",    "q\xc3\xa9", "<u>", "q"};
static const float scores[] = {0, 0, 0, 0, 0, -9, -8, -7, -2, -1, -3, -4, 0, -5};
static const int32_t types[] = {2, 3, 3, 6, 6, 1, 1, 1, 1, 1, 1, 1, 4, 1};

static void put_llama(gguf_file *f)
{
    gguf_string(f, G "model", "llama");
    gguf_strings(f, G "tokens", pieces, COUNT(pieces));
    gguf_reals(f, G "scores", scores, COUNT(scores));
    gguf_ints(f, G "token_type", types, COUNT(types));
    gguf_int(f, G "bos_token_id", 1);
    gguf_int(f, G "eos_token_id", 2);
    gguf_int(f, G "unknown_token_id", 0);
    gguf_int(f, G "padding_token_id", UINT32_MAX);
}

static rlx_tokenizer *read(gguf_file *f)
{
    rlx_tokenizer *t = NULL;
    rlx_gguf *g = gguf_open(f);
    rlx_status st = rlx_tokenizer_read_gguf(g, "file.gguf", &t);
    rlx_gguf_close(g);
    return must(st, t);
}

START_TEST(llama_merges_by_score)
{
    gguf_file f = {0};
    put_llama(&f);
    rlx_tokenizer *t = read(&f);
    IDS(t, "", false, -1);
    IDS(t, "ab", false, 9, 7);            /* the mark and a (-1) before a and b (-2) */
    IDS(t, "ab ab", true, 1, 9, 7, 9, 7); /* bos unless the file says otherwise */
    IDS(t, "bab", false, 5, 10);          /* ab (-2), then bab (-3) */
    IDS(t, "babab", false, 5, 10, 8);     /* both ab, then the left one's bab */
    IDS(t, "q\xc3\xa9", false, 5, 11);    /* a character without a token, as part of one */
    IDS(t, "\xc3\xa9", false, 5, 3, 4);
    IDS(t, "zz\xc3\xa9zb", false, 5, 0, 3, 4, 0, 7); /* unknown, fused */
    IDS(t, "b<u>b", false, 5, 7, 12, 5, 7);          /* cut out, and a mark behind it */
    IDS(t, "<s>ab</s>", false, 1, 9, 7, 2);
    IDS(t, "a  a", false, 9, 5, 9);
    TEXT(t, "ab a\xc3\xa9<u>", 1, 9, 7, 9, 3, 4, 12, 2);
    ck_assert(rlx_tokenizer_is_special(t, 2) && !rlx_tokenizer_is_special(t, 12));
    rlx_tokenizer_destroy(t);
}
END_TEST

START_TEST(llama_flags)
{
    gguf_file f = {0};
    put_llama(&f);
    gguf_bool(&f, G "add_bos_token", false);
    gguf_bool(&f, G "add_eos_token", true);
    gguf_bool(&f, G "add_space_prefix", false);
    gguf_bool(&f, G "remove_extra_whitespaces", true);
    rlx_tokenizer *t = read(&f);
    IDS(t, "ab", true, 8, 2);
    IDS(t, "  ab   a ", false, 8, 9);
    IDS(t, "   ", false, -1);
    TEXT(t, " ab", 9, 7);
    rlx_tokenizer_destroy(t);
}
END_TEST

/* ---- byte-level BPE in GGUF */

static const char *const tokens[] = {"a",
                                     "b",
                                     "1",
                                     "\xc4\xa0",
                                     "ab",
                                     "\xc4\xa0"
                                     "ab",
                                     "\xc3\x83",
                                     "\xc2\xa9",
                                     "<|end|>",
                                     "11",
                                     "aba"};
static const int32_t token_types[] = {1, 1, 1, 1, 1, 1, 1, 1, 3, 1, 1};
static const char *const merges[] = {"a b", "\xc4\xa0 ab", "1 1"};

static void put_gpt2(gguf_file *f, const char *pre)
{
    gguf_string(f, G "model", "gpt2");
    gguf_string(f, G "pre", pre);
    gguf_strings(f, G "tokens", tokens, COUNT(tokens));
    gguf_ints(f, G "token_type", token_types, COUNT(token_types));
    gguf_strings(f, G "merges", merges, COUNT(merges));
    gguf_int(f, G "bos_token_id", 8);
}

START_TEST(byte_level_by_pre)
{
    static const char *const pres[] = {"gpt-2",  "llama-bpe", "qwen2",    "smollm",
                                       "tekken", "default",   "smaug-bpe"};
    static const bool whole[] = {false, true, false, false, true, false, false};
    static const bool together[] = {true, true, false, false, false, true, true}; /* digits */
    for (size_t i = 0; i < COUNT(pres); i++) {
        gguf_file f = {0};
        put_gpt2(&f, pres[i]);
        rlx_tokenizer *t = read(&f);
        IDS(t, "ab ab", false, 4, 5);
        IDS(t, "a\xc3\xa9", false, 0, 6, 7);
        IDS(t, "ab<|end|>ab", false, 4, 8, 4);
        TEXT(t, "ab\xc3\xa9 ab", 4, 6, 7, 8, 5);
        if (whole[i]) {
            IDS(t, "aba", true, 8, 10);
        } else {
            IDS(t, "aba", true, 4, 0);
        }
        if (together[i]) {
            IDS(t, "11", false, 9);
        } else {
            IDS(t, "11", false, 2, 2);
        }
        rlx_tokenizer_destroy(t);
    }
}
END_TEST

/* ---- refusals */

static void refuses(gguf_file *f, rlx_code code, const char *word)
{
    rlx_tokenizer *t = NULL;
    rlx_gguf *g = gguf_open(f);
    rlx_status st = rlx_tokenizer_read_gguf(g, "file.gguf", &t);
    rlx_gguf_close(g);
    ck_assert_msg(st != NULL, "accepted, looking for %s", word);
    ck_assert_int_eq(rlx_status_code(st), code);
    char *text = rlx_status_text(st);
    ck_assert_msg(strstr(text, word) && strstr(text, "file.gguf"), "\"%s\" does not name %s", text,
                  word);
    free(text);
    rlx_status_free(st);
}

#define REFUSES(code, word, ...)       \
    do {                               \
        gguf_file f = {0};             \
        __VA_ARGS__;                   \
        refuses(&f, RLX_##code, word); \
    } while (0)

START_TEST(refuses_models)
{
    REFUSES(UNSUPPORTED, "rwkv", gguf_string(&f, G "model", "rwkv"));
    REFUSES(INVALID_FILE, G "model", gguf_int(&f, G "model", 3));
    REFUSES(INVALID_FILE, G "tokens is missing", gguf_string(&f, G "model", "llama"));
    REFUSES(INVALID_FILE, G "precompiled_charsmap", put_llama(&f),
            gguf_string(&f, G "precompiled_charsmap", ""));
    REFUSES(UNSUPPORTED, "\"unheard-of\"", put_gpt2(&f, "unheard-of"));
    REFUSES(INVALID_FILE, G "eos_token_id", put_gpt2(&f, "gpt-2"),
            gguf_int(&f, G "eos_token_id", 11));
    REFUSES(INVALID_FILE, G "eos_token_id", put_gpt2(&f, "gpt-2"),
            gguf_string(&f, G "eos_token_id", "11"));
    REFUSES(INVALID_FILE, G "add_eos_token", put_gpt2(&f, "gpt-2"),
            gguf_bool(&f, G "add_eos_token", true));
    REFUSES(INVALID_FILE, G "add_bos_token", put_gpt2(&f, "gpt-2"),
            gguf_int(&f, G "add_bos_token", 1));
    gguf_file none = {0};
    gguf_string(&none, "general.architecture", "llama");
    ck_assert_ptr_null(read(&none));
}
END_TEST

START_TEST(refuses_arrays)
{
    static const float bad_scores[] = {0, NAN};
    static const int32_t bad_types[] = {1, 7};
    static const char *const unknown[] = {"a c"}, *const unmade[] = {"b a"};
#define LLAMA gguf_string(&f, G "model", "llama"), gguf_strings(&f, G "tokens", tokens, 2)
#define GPT2 gguf_string(&f, G "model", "gpt2"), gguf_strings(&f, G "tokens", tokens, 2)
    REFUSES(INVALID_FILE, G "tokens", gguf_string(&f, G "model", "llama"),
            gguf_ints(&f, G "tokens", types, 2));
    REFUSES(INVALID_FILE, G "tokens", gguf_string(&f, G "model", "llama"),
            gguf_strings(&f, G "tokens", tokens, 0));
    REFUSES(INVALID_FILE, G "scores is missing", LLAMA);
    REFUSES(INVALID_FILE, G "scores has 3", LLAMA, gguf_reals(&f, G "scores", scores, 3));
    REFUSES(INVALID_FILE, "token 1", LLAMA, gguf_reals(&f, G "scores", bad_scores, 2));
    REFUSES(INVALID_FILE, G "scores", LLAMA, gguf_ints(&f, G "scores", types, 2));
    REFUSES(INVALID_FILE, G "merges is missing", GPT2);
    REFUSES(INVALID_FILE, "type 7", GPT2, gguf_ints(&f, G "token_type", bad_types, 2));
    REFUSES(INVALID_FILE, G "token_type", GPT2, gguf_strings(&f, G "token_type", tokens, 2));
    REFUSES(INVALID_FILE, G "token_type", GPT2, gguf_int(&f, G "token_type", 2));
    REFUSES(INVALID_FILE, "\"a c\"", GPT2, gguf_strings(&f, G "merges", unknown, 1));
    REFUSES(INVALID_FILE, "\"ba\"", GPT2, gguf_strings(&f, G "merges", unmade, 1));
    REFUSES(INVALID_FILE, G "merges", GPT2, gguf_ints(&f, G "merges", types, 1));
}
END_TEST

/* ---- sentencepiece's own files */

static void put_varint(rlx_text *t, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        rlx_text_put_bytes(t, &(uint8_t){(uint8_t)(v | 0x80)}, 1);
    rlx_text_put_bytes(t, &(uint8_t){(uint8_t)v}, 1);
}

static void put_bytes(rlx_text *t, unsigned number, const char *data, size_t n)
{
    put_varint(t, number << 3 | 2);
    put_varint(t, n);
    rlx_text_put_bytes(t, data, n);
}

static void put_value(rlx_text *t, unsigned number, uint64_t v)
{
    put_varint(t, number << 3);
    put_varint(t, v);
}

/* A field of `number` with the two values of `a` and `b` inside. */
static void put_pair(rlx_text *t, unsigned number, unsigned a, uint64_t va, unsigned b, uint64_t vb)
{
    rlx_text part = {0};
    put_value(&part, a, va);
    put_value(&part, b, vb);
    put_bytes(t, number, part.data, part.len);
    rlx_text_deinit(&part);
}

static void put_pieces(rlx_text *t)
{
    for (size_t i = 0; i < COUNT(pieces); i++) {
        rlx_text part = {0};
        put_bytes(&part, 1, pieces[i], strlen(pieces[i]));
        put_varint(&part, 2 << 3 | 5);
        rlx_text_put_bytes(&part, &scores[i], 4);
        put_value(&part, 3, (uint64_t)types[i]);
        put_bytes(t, 1, part.data, part.len);
        rlx_text_deinit(&part);
    }
}

static rlx_status parse(rlx_text *file, rlx_tokenizer **t)
{
    rlx_status st = rlx_tokenizer_parse_sentencepiece(file->data, file->len, "tokenizer.model", t);
    rlx_text_deinit(file);
    return st;
}

START_TEST(sentencepiece_model)
{
    rlx_text file = {0};
    rlx_tokenizer *t;
    put_pieces(&file);
    put_pair(&file, 2, 3, 2, 35, 1); /* BPE, bytes; a space in front, spaces squeezed */
    must(parse(&file, &t), NULL);
    IDS(t, " ab  ab ", true, 1, 9, 7, 9, 7);
    IDS(t, "q\xc3\xa9", false, 5, 11);
    IDS(t, "b<u>b", false, 5, 7, 12, 7); /* no mark behind it: cut out of normalized text */
    IDS(t, "\xc3\xa9", false, 5, 3, 4);
    rlx_tokenizer_destroy(t);
    put_pieces(&file);
    put_pair(&file, 2, 3, 2, 41, 1);
    put_pair(&file, 3, 3, 0, 4, 0);
    must(parse(&file, &t), NULL);
    IDS(t, "ab  a", false, 8, 5, 9);
    IDS(t, "\xc3\xa9", false, 0); /* no bytes */
    rlx_tokenizer_destroy(t);
}
END_TEST

static void refuses_model(rlx_text *file, rlx_code code, const char *word)
{
    rlx_tokenizer *t = NULL;
    rlx_status st = parse(file, &t);
    ck_assert_msg(st != NULL, "accepted, looking for %s", word);
    ck_assert_int_eq(rlx_status_code(st), code);
    ck_assert_msg(strstr(rlx_status_message(st), word), "\"%s\" does not name %s",
                  rlx_status_message(st), word);
    rlx_status_free(st);
}

START_TEST(refuses_sentencepiece_models)
{
    rlx_text file = {0};
    put_pieces(&file);
    put_pair(&file, 2, 3, 3, 35, 1);
    refuses_model(&file, RLX_UNSUPPORTED, "model type 3");
    put_pair(&file, 2, 3, 2, 35, 1);
    refuses_model(&file, RLX_INVALID_FILE, "no pieces");
    put_pieces(&file);
    put_pair(&file, 2, 3, 2, 41, 99);
    refuses_model(&file, RLX_INVALID_FILE, "bos id 99");
    put_pieces(&file);
    put_pair(&file, 2, 3, 2, 35, 1);
    rlx_text rules = {0};
    put_bytes(&rules, 2, "x", 1);
    put_bytes(&file, 3, rules.data, rules.len);
    rlx_text_deinit(&rules);
    refuses_model(&file, RLX_INVALID_FILE, "compiled rules");
    put_pieces(&file);
    put_pair(&file, 2, 3, 2, 35, 1);
    rlx_text_put(&file, "\x0a\x7f");
    refuses_model(&file, RLX_INVALID_FILE, "byte");
    rlx_text_put(&file, "IQ== 0\n");
    refuses_model(&file, RLX_INVALID_FILE, "byte 1");
}
END_TEST

/* Every shorter file is read or refused. */
/* A number where a message should be. */
START_TEST(sentencepiece_models_of_other_types)
{
    for (unsigned number = 1; number <= 3; number++) {
        rlx_tokenizer *t = NULL;
        rlx_text file = {0};
        put_value(&file, number, 7);
        rlx_status st = parse(&file, &t);
        ck_assert_int_eq(rlx_status_code(st), RLX_INVALID_FILE);
        rlx_status_free(st);
    }
}
END_TEST

START_TEST(shortened_sentencepiece_models)
{
    rlx_text file = {0};
    put_pair(&file, 2, 3, 2, 35, 1);
    put_pieces(&file);
    int refused = 0;
    for (size_t n = 0; n <= file.len; n++) {
        rlx_tokenizer *t = NULL;
        char *copy = malloc(n + !n); /* of its own, for the sanitizers */
        memcpy(copy, file.data, n);
        rlx_status st = rlx_tokenizer_parse_sentencepiece(copy, n, "tokenizer.model", &t);
        refused += st != NULL;
        rlx_status_free(st);
        rlx_tokenizer_destroy(t);
        free(copy);
    }
    ck_assert_int_gt(refused, 100);
    rlx_text_deinit(&file);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("tokenizer_files");
    TCase *c = tcase_create("tokenizer_files");
    tcase_set_timeout(c, 60);
    tcase_add_test(c, llama_merges_by_score);
    tcase_add_test(c, llama_flags);
    tcase_add_test(c, byte_level_by_pre);
    tcase_add_test(c, refuses_models);
    tcase_add_test(c, refuses_arrays);
    tcase_add_test(c, sentencepiece_model);
    tcase_add_test(c, refuses_sentencepiece_models);
    tcase_add_test(c, sentencepiece_models_of_other_types);
    tcase_add_test(c, shortened_sentencepiece_models);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int bad = srunner_ntests_failed(r) || srunner_ntests_run(r) < 8;
    srunner_free(r);
    return bad;
}
