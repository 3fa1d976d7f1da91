/* tests/frontend/test_vocabularies.c: real vocabularies in forms that they do not lie in beside the
 * project (those that do: tests/suites/tokenizers.c), against encodings by their own
 * implementations; long texts. Needs the shared data. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "tests/frontend/decoded.h"
#include "tests/frontend/vocabulary.h"

#define TOKENIZERS RLX_SHARED_DIR "/data/tokenizers/"
#define STORIES RLX_SHARED_DIR "/data/models/llama/stories260K/"
#define LLAMA3                                                                 \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| " \
    "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define QWEN2                                                             \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| " \
    "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

static void must(rlx_status st)
{
    if (!st)
        return;
    char *text = rlx_status_text(st);
    ck_abort_msg("%s", text);
}

/* ---- the vectors */

/* NAME.inp: texts, each ended by a line of its own; NAME.out: one line of ids for each. */
static int check_vectors(const rlx_tokenizer *t, const char *what, const char *inp, const char *out)
{
    static const char end[] = "\n__ggml_vocab_test__\n";
    int cases = 0;
    for (const char *stop; (stop = strstr(inp, end)); inp = stop + strlen(end), cases++) {
        int32_t *ids;
        int64_t n;
        must(rlx_tokenizer_encode(t, inp, (size_t)(stop - inp), false, &ids, &n));
        for (int64_t i = 0; i < n; i++) {
            char *next;
            long want = strtol(out, &next, 10);
            ck_assert_msg(next != out && ids[i] == want,
                          "%s: case %d (\"%.*s\"): id %lld is %d, not %ld", what, cases,
                          (int)(stop - inp), inp, (long long)i, ids[i], want);
            out = next;
        }
        while (*out == ' ')
            out++;
        ck_assert_msg(*out == '\n', "%s: case %d (\"%.*s\"): more ids than the %lld made", what,
                      cases, (int)(stop - inp), inp, (long long)n);
        out++;
        free(ids);
    }
    return cases;
}

/* What went in comes out. */
static void check_round_trip(const rlx_tokenizer *t, const char *text)
{
    int32_t *ids;
    int64_t n;
    must(rlx_tokenizer_encode(t, text, strlen(text), false, &ids, &n));
    char *got = decoded(t, ids, n);
    ck_assert_str_eq(got, text);
    free(got);
    free(ids);
}

/* ---- NULL when the files are not there */

static rlx_tokenizer *load_json(const char *file)
{
    char path[512];
    size_t bytes;
    rlx_tokenizer *t = NULL;
    snprintf(path, sizeof path, TOKENIZERS "%s", file);
    char *json = read_or_skip(path, &bytes);
    if (json)
        must(rlx_tokenizer_parse(json, path, &t));
    free(json);
    return t;
}

static rlx_tokenizer *load_gguf(const char *file)
{
    char path[512];
    rlx_gguf *f = NULL;
    rlx_tokenizer *t = NULL;
    snprintf(path, sizeof path, TOKENIZERS "%s", file);
    rlx_status st = rlx_gguf_open(path, &f);
    if (st) {
        printf("skipped: %s is not there\n", path);
        rlx_status_free(st);
        return NULL;
    }
    must(rlx_tokenizer_read_gguf(f, path, &t));
    ck_assert_ptr_nonnull(t);
    rlx_gguf_close(f);
    return t;
}

static rlx_tokenizer *load_spm(const char *file)
{
    char path[512];
    size_t bytes;
    rlx_tokenizer *t = NULL;
    snprintf(path, sizeof path, TOKENIZERS "%s", file);
    char *data = read_or_skip(path, &bytes);
    if (data)
        must(rlx_tokenizer_parse_sentencepiece(data, bytes, path, &t));
    free(data);
    return t;
}

static bool read_llama3(vocabulary *v)
{
    *v = (vocabulary){.pattern = LLAMA3, .ignore_merges = true};
    if (!vocabulary_read_tiktoken(v, TOKENIZERS "llama3/tokenizer.model"))
        return false;
    vocabulary_add_control(v, "<|begin_of_text|>");
    return true;
}

static bool read_qwen(vocabulary *v)
{
    *v = (vocabulary){.pattern = QWEN2};
    if (!vocabulary_read_gpt2(v, TOKENIZERS "qwen/vocab.json", TOKENIZERS "qwen/merges.txt"))
        return false;
    vocabulary_add_control(v, "<|endoftext|>");
    return true;
}

static rlx_tokenizer *made(bool (*read)(vocabulary *v), const char *pre)
{
    vocabulary v;
    rlx_tokenizer *t = NULL;
    if (read(&v))
        t = pre ? vocabulary_as_gguf(&v, pre) : vocabulary_as_json(&v);
    vocabulary_deinit(&v);
    return t;
}

static rlx_tokenizer *load_llama3(const char *pre)
{
    return made(read_llama3, pre);
}

static rlx_tokenizer *load_qwen(const char *pre)
{
    return made(read_qwen, pre);
}

static const struct {
    const char *vectors;
    rlx_tokenizer *(*load)(const char *);
    const char *file;
} forms[] = {
    {"llama-bpe", load_llama3, NULL},
    {"llama-bpe", load_llama3, "llama-bpe"},
    {"qwen2", load_qwen, NULL},
    {"qwen2", load_qwen, "qwen2"},
};

START_TEST(vectors)
{
    char path[512];
    size_t bytes;
    rlx_tokenizer *t = forms[_i].load(forms[_i].file);
    if (!t)
        return;
    snprintf(path, sizeof path, TOKENIZERS "vectors/llama.cpp/ggml-vocab-%s.gguf.inp",
             forms[_i].vectors);
    char *inp = read_or_skip(path, &bytes);
    snprintf(path, sizeof path, TOKENIZERS "vectors/llama.cpp/ggml-vocab-%s.gguf.out",
             forms[_i].vectors);
    char *out = read_or_skip(path, &bytes);
    ck_assert_ptr_nonnull(inp);
    ck_assert_ptr_nonnull(out);
    ck_assert_int_ge(check_vectors(t, forms[_i].file ? forms[_i].file : "tokenizer.json", inp, out),
                     46);
    check_round_trip(t, "Once upon a time,  there was\n\ta caf\xc3\xa9 \xf0\x9f\x98\x80.");
    rlx_tokenizer_destroy(t);
    free(inp);
    free(out);
}
END_TEST

/* ---- stories260K: ids and text that its goldens hold, by every form of its vocabulary */

static const char *metadata(const cJSON *header, const char *key)
{
    return cJSON_GetStringValue(
        cJSON_GetObjectItem(cJSON_GetObjectItem(header, "__metadata__"), key));
}

/* The goldens' "input_ids" are the prompt's, "greedy_ids" those of the text. */
static void check_golden(const rlx_tokenizer *t, const char *path)
{
    size_t bytes;
    char *file = read_or_skip(path, &bytes);
    ck_assert_ptr_nonnull(file);
    uint64_t head;
    memcpy(&head, file, 8);
    cJSON *header = cJSON_ParseWithLength(file + 8, (size_t)head);
    const char *prompt = metadata(header, "prompt"), *text = metadata(header, "text");
    const cJSON *in = cJSON_GetObjectItem(header, "input_ids"),
                *greedy = cJSON_GetObjectItem(header, "greedy_ids");
    ck_assert(prompt && text && in && greedy);
    const char *data = file + 8 + head;
    int32_t *ids;
    int64_t n, want;
    must(rlx_tokenizer_encode(t, prompt, strlen(prompt), true, &ids, &n));
    ck_assert_int_eq(n, cJSON_GetArrayItem(cJSON_GetObjectItem(in, "shape"), 0)->valueint);
    const char *at =
        data + cJSON_GetArrayItem(cJSON_GetObjectItem(in, "data_offsets"), 0)->valueint;
    for (int64_t i = 0; i < n; i++) {
        memcpy(&want, at + 8 * i, 8);
        ck_assert_int_eq(ids[i], want);
    }
    free(ids);
    n = cJSON_GetArrayItem(cJSON_GetObjectItem(greedy, "shape"), 0)->valueint;
    at = data + cJSON_GetArrayItem(cJSON_GetObjectItem(greedy, "data_offsets"), 0)->valueint;
    ids = malloc((size_t)n * sizeof *ids);
    for (int64_t i = 0; i < n; i++) {
        memcpy(&want, at + 8 * i, 8);
        ids[i] = (int32_t)want;
    }
    char *got = decoded(t, ids, n);
    ck_assert_str_eq(got, text);
    free(got);
    free(ids);
    cJSON_Delete(header);
    free(file);
}

START_TEST(stories)
{
    rlx_tokenizer *t[2] = {load_spm("../models/llama/stories260K/tok512.model"),
                           load_gguf("../models/llama/stories260K/stories260Ktok512.gguf")};
    for (int i = 0; i < 2; i++) {
        char path[512];
        for (int k = 0; t[i] && k < 4; k++) {
            snprintf(path, sizeof path, STORIES "hf/golden%d.safetensors", k);
            check_golden(t[i], path);
        }
        rlx_tokenizer_destroy(t[i]);
    }
}
END_TEST

/* ---- long texts */

/* The ids' bytes are the text's, but for a space that a vocabulary puts in front. */
static void expect_text_back(const rlx_tokenizer *t, const char *text, size_t bytes)
{
    int32_t *ids;
    int64_t n;
    size_t at = 0;
    must(rlx_tokenizer_encode(t, text, bytes, false, &ids, &n));
    for (int64_t i = 0; i < n; i++) {
        size_t len;
        const char *piece = rlx_tokenizer_bytes(t, ids[i], &len);
        if (!piece) /* ck_assert would write a line for each */
            ck_abort_msg("piece %lld is no token", (long long)i);
        size_t skip =
            i == 0 && len > 0 && piece[0] == ' ' && (len > bytes || memcmp(piece, text, len) != 0)
                ? 1
                : 0;
        if (at + len - skip > bytes || memcmp(piece + skip, text + at, len - skip) != 0)
            ck_abort_msg("piece %lld at byte %zu", (long long)i, at);
        at += len - skip;
    }
    ck_assert_uint_eq(at, bytes);
    free(ids);
}

/* Prose, one word of a megabyte, lines: of a size at which a quadratic way would not come to its
 * end in the time that the suite has. */
START_TEST(long_texts_keep_every_byte)
{
    enum { LONG = 1 << 20 };
    static const char *const kinds[] = {"The quick brown fox jumps over 13 lazy dogs. ", "a", "\n"};
    rlx_tokenizer *t[2] = {load_json("llama2/tokenizer.json"),
                           load_gguf("gguf-vocab/ggml-vocab-gpt-2.gguf")};
    char *text = malloc(LONG);
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        for (size_t i = 0, n = strlen(kinds[k]); i < LONG; i++)
            text[i] = kinds[k][i % n];
        for (int i = 0; i < 2; i++)
            if (t[i])
                expect_text_back(t[i], text, LONG);
    }
    free(text);
    rlx_tokenizer_destroy(t[0]);
    rlx_tokenizer_destroy(t[1]);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("vocabularies");
    TCase *c = tcase_create("vocabularies");
    tcase_set_timeout(c, 200);
    tcase_add_loop_test(c, vectors, 0, sizeof forms / sizeof *forms);
    tcase_add_test(c, stories);
    tcase_add_test(c, long_texts_keep_every_byte);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int bad = srunner_ntests_failed(r) || srunner_ntests_run(r) < 6;
    srunner_free(r);
    return bad;
}
