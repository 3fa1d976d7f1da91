/* tests/tool/test_quantize.c: rlx quantize: what it says and writes, and what it refuses. */
#include <check.h>
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/gguf.h"
#include "tests/tool/process.h"

#define BUNDLED RLX_SOURCE_DIR "/models/bundled"

enum { PATH = 256 };

static char dir[] = "/tmp/rlx-tool-quantize-XXXXXX", model[PATH], out[PATH];
static const char *const files[] = {
    "config.json",           "model.safetensors",      "tokenizer.json",
    "tokenizer_config.json", "generation_config.json", "chat_template.jinja",
    "tokenizer.model"};
enum { FILES = sizeof files / sizeof *files, LINKS = FILES - 2 };

/* A directory with links to the bundled model's files. */
static void setup(void)
{
    char from[PATH], to[PATH];
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(model, sizeof model, "%s/model", dir);
    snprintf(out, sizeof out, "%s/out.gguf", dir);
    ck_assert_int_eq(mkdir(model, 0700), 0);
    for (int i = 0; i < LINKS; i++) {
        snprintf(from, sizeof from, BUNDLED "/%s", files[i]);
        snprintf(to, sizeof to, "%.200s/%s", model, files[i]);
        ck_assert_int_eq(symlink(from, to), 0);
    }
}

static void teardown(void)
{
    char path[PATH];
    for (int i = 0; i < FILES; i++) {
        snprintf(path, sizeof path, "%.200s/%s", model, files[i]);
        unlink(path);
    }
    rmdir(model);
    unlink(out);
    ck_assert_int_eq(rmdir(dir), 0); /* nothing else is left */
}

/* The model's `file` becomes the bundled one with `from` replaced by `to`. */
static void change(const char *file, const char *from, const char *to)
{
    char path[PATH], *text = malloc(1 << 20);
    ck_assert_ptr_nonnull(text);
    snprintf(path, sizeof path, BUNDLED "/%s", file);
    FILE *f = fopen(path, "r");
    ck_assert_ptr_nonnull(f);
    text[fread(text, 1, (1 << 20) - 1, f)] = 0;
    fclose(f);
    char *at = strstr(text, from);
    ck_assert_msg(at != NULL, "%s has no %s", file, from);
    snprintf(path, sizeof path, "%.200s/%s", model, file);
    unlink(path);
    f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    fprintf(f, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    fclose(f);
    free(text);
}

static void complains(process *p, int code, const char *word)
{
    ck_assert_msg(access(out, F_OK) != 0, "there is a file in spite of %s", word);
    process_complains(p, code, word);
}

/* ---- cases ---- */

START_TEST(writes_what_runs)
{
    static const char *const models[] = {BUNDLED, out};
    char *text[2];
    process p;
    RUN(&p, RLX_TOOL, "quantize", BUNDLED, out, "--type", "f32", "-t", "2");
    ck_assert_msg(p.code == 0 && !*p.err && !*p.out, "exit code %d: %s", p.code, p.err);
    process_free(&p);
    for (int i = 0; i < 2; i++) {
        RUN(&p, RLX_TOOL, "run", models[i], "-p", "Once upon a time", "-n", "12", "--temp", "0");
        ck_assert_msg(p.code == 0, "exit code %d: %s", p.code, p.err);
        text[i] = p.out;
        free(p.err);
    }
    ck_assert_str_ne(text[0], "");
    ck_assert_str_eq(text[0], text[1]);
    free(text[0]);
    free(text[1]);
}
END_TEST

START_TEST(lists_types)
{
    process p;
    RUN(&p, RLX_TOOL, "quantize", "--types");
    ck_assert_int_eq(p.code, 0);
    ck_assert(strstr(p.out, "  Q4_K_M   4.8 bits, a good balance\n") && strstr(p.out, "  IQ1_S "));
    process_free(&p);
    RUN(&p, RLX_TOOL, "quantize", BUNDLED, out, "Q8_0", "--types");
    complains(&p, 2, "--types stands alone");
}
END_TEST

START_TEST(command_lines)
{
    process p;
    RUN(&p, RLX_TOOL, "quantize");
    complains(&p, 2, "no IN given");
    RUN(&p, RLX_TOOL, "quantize", BUNDLED);
    complains(&p, 2, "no OUT given");
    RUN(&p, RLX_TOOL, "quantize", BUNDLED, out);
    complains(&p, 2, "no TYPE given");
    RUN(&p, RLX_TOOL, "quantize", BUNDLED, out, "Q8_0", "--type", "Q8_0");
    complains(&p, 2, "TYPE and --type are both given");
    RUN(&p, RLX_TOOL, "quantize", BUNDLED, out, "Q4_K_X");
    complains(&p, 2, "rlx: quantize: no type \"Q4_K_X\"; did you mean Q4_K_");
    RUN(&p, RLX_TOOL, "quantize", BUNDLED, out, "Q8_0", "-t", "5000");
    complains(&p, 2, "rlx: quantize: a team of 5000 threads: expected 1 to ");
    RUN(&p, RLX_TOOL, "quantize", BUNDLED, out, "Q8_0", "-t", "4294967297");
    complains(&p, 2, " threads: expected 1 to ");
    RUN(&p, RLX_TOOL, "quantize", "/nowhere.gguf", out, "Q8_0");
    complains(&p, 1, "/nowhere.gguf");
    RUN(&p, RLX_TOOL, "quantize", BUNDLED, out, "Q8_0", "--imatrix", "/nowhere");
    complains(&p, 1, "/nowhere");
}
END_TEST

/* A configuration that the family refuses is not written. */
START_TEST(bad_configurations)
{
    static const struct {
        const char *from, *to, *word;
    } cases[] = {
        {"\"num_key_value_heads\": 2", "\"num_key_value_heads\": 3000000000",
         "num_key_value_heads"},
        {"\"num_key_value_heads\": 2", "\"num_key_value_heads\": 3",
         "rows are not those of 3 heads"},
        {"\"num_hidden_layers\": 6", "\"num_hidden_layers\": 1e300", "num_hidden_layers"},
        {"\"intermediate_size\": 512", "\"intermediate_size\": -1", "intermediate_size"},
        {"\"intermediate_size\": 512", "\"intermediate_size\": 500", "intermediate_size 500"},
        {"\"vocab_size\": 1024", "\"vocab_size\": 1e18", "vocab_size"},
        {"\"silu\"", "\"gelu\"", "hidden_act \"gelu\""},
        {"\"eos_token_id\": 1", "\"eos_token_id\": 99999", "eos_token_id"},
        {"\"bos_token_id\": 0", "\"bos_token_id\": 0.5", "bos_token_id"},
        {"\"model_type\": \"llama\"", "\"model_type\": \"lama\"", "lama"},
        {"{", "", "not JSON"},
    };
    process p;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        change("config.json", cases[i].from, cases[i].to);
        RUN(&p, RLX_TOOL, "quantize", model, out, "F16");
        complains(&p, 1, cases[i].word);
    }
    change("config.json", "{", "{");
    change("generation_config.json", "\"eos_token_id\": 1", "\"eos_token_id\": 4096");
    RUN(&p, RLX_TOOL, "quantize", model, out, "F16");
    complains(&p, 1, "eos_token_id 4096");
}
END_TEST

/* ---- what a directory says beside its weights ---- */

static rlx_gguf *written(void)
{
    rlx_gguf *f;
    process p;
    RUN(&p, RLX_TOOL, "quantize", model, out, "F16");
    ck_assert_msg(p.code == 0, "exit code %d: %s", p.code, p.err);
    process_free(&p);
    ck_assert_ptr_null(rlx_gguf_open(out, &f));
    return f;
}

static void has_text(const rlx_gguf *f, const char *key, const char *want)
{
    const rlx_gguf_value *v = rlx_gguf_find(f, key);
    ck_assert_msg(v && v->type == RLX_GGUF_STRING, "no text %s", key);
    ck_assert_str_eq(v->text, want);
}

static void has_number(const rlx_gguf *f, const char *key, double want)
{
    double is = -1;
    const rlx_gguf_value *v = rlx_gguf_find(f, key);
    ck_assert_msg(v && rlx_gguf_real(v, &is) && is == want, "%s is %g", key, is);
}

START_TEST(templates_are_kept)
{
    char path[PATH];
    change("tokenizer_config.json", "\"model_max_length\": 512",
           "\"chat_template\": [{\"name\": \"default\", \"template\": \"plain\"},"
           " {\"name\": \"tool_use\", \"template\": \"with tools\"}]");
    rlx_gguf *f = written();
    has_text(f, "tokenizer.chat_template", "plain");
    has_text(f, "tokenizer.chat_template.tool_use", "with tools");
    rlx_gguf_items it = rlx_gguf_walk(rlx_gguf_find(f, "tokenizer.chat_templates"));
    const char *text;
    size_t bytes;
    ck_assert(rlx_gguf_next_text(&it, &text, &bytes) && bytes == 8 && !memcmp(text, "tool_use", 8));
    ck_assert(!rlx_gguf_next_text(&it, &text, &bytes));
    rlx_gguf_close(f);
    snprintf(path, sizeof path, "%.200s/chat_template.jinja", model);
    FILE *file = fopen(path, "w");
    ck_assert(file && fputs("its own file", file) >= 0 && !fclose(file));
    f = written();
    has_text(f, "tokenizer.chat_template", "its own file");
    ck_assert_ptr_null(rlx_gguf_find(f, "tokenizer.chat_templates"));
    rlx_gguf_close(f);
}
END_TEST

START_TEST(generation_is_kept)
{
    change("generation_config.json", "\"eos_token_id\": 1,\n  \"do_sample\": false",
           "\"eos_token_id\": [5, 1, 9], \"temperature\": 0.25, \"top_k\": 7");
    rlx_gguf *f = written();
    has_number(f, "tokenizer.ggml.eos_token_id", 1);
    has_number(f, "tokenizer.ggml.eot_token_id", 5);
    has_number(f, "tokenizer.ggml.eom_token_id", 9);
    has_number(f, "general.sampling.temp", 0.25);
    has_number(f, "general.sampling.top_k", 7);
    ck_assert_ptr_null(rlx_gguf_find(f, "general.sampling.top_p"));
    rlx_gguf_close(f);
}
END_TEST

/* The processor of texts: the bos token before them; and another one behind. */
static const char bos_only[] = "\"id\": \"A\",\n          \"type_id\": 0\n        }\n      }\n";
static const char bos_and_end[] = "\"id\": \"A\", \"type_id\": 0}}, {\"SpecialToken\": "
                                  "{\"id\": \"<|begin|>\", \"type_id\": 0}}";

/* A missing sliding_window of a mistral is one of 4096. */
START_TEST(windows_are_kept)
{
    change("config.json", "LlamaForCausalLM\"\n  ],\n  \"model_type\": \"llama\"",
           "MistralForCausalLM\"], \"model_type\": \"mistral\"");
    rlx_gguf *f = written();
    has_number(f, "llama.attention.sliding_window", 4096);
    rlx_gguf_close(f);
}
END_TEST

/* An eos token behind every text; a configuration that leaves numbers to the family. */
START_TEST(defaults_and_ends_are_kept)
{
    process p;
    change("tokenizer.json", bos_only, bos_and_end);
    change("tokenizer_config.json", "\"eos_token\": \"<|end|>\"", "\"eos_token\": \"<|begin|>\"");
    change("config.json", "\"max_position_embeddings\": 512,", "");
    rlx_gguf *f = written();
    has_number(f, "llama.context_length", 2048);
    has_number(f, "tokenizer.ggml.eos_token_id", 0);
    has_number(f, "tokenizer.ggml.eot_token_id", 1);
    rlx_gguf_close(f);
    RUN(&p, RLX_TOOL, "tokenize", out, "-p", "Once upon", "--ids");
    ck_assert_str_eq(p.out, "0 465 480 0\n");
    process_free(&p);
}
END_TEST

START_TEST(what_cannot_be_said)
{
    static const struct {
        const char *file, *from, *to, *word;
    } cases[] = {
        {"tokenizer.json", "\"lstrip\": false", "\"lstrip\": true",
         "lstrip of added token \"<|begin|>\""},
        {"tokenizer.json", "\"single_word\": false", "\"single_word\": true", "single_word"},
        {"tokenizer.json", "\"normalizer\": null", "\"normalizer\": {\"type\": \"Lowercase\"}",
         "normalizer"},
        {"tokenizer.json", bos_only, bos_and_end, "post_processor"},
        {"config.json", "\"rope_theta\"",
         "\"rope_scaling\": {\"type\": \"dynamic\", \"factor\": 2}, \"rope_theta\"",
         "rope_type \"dynamic\""},
        {"generation_config.json", "\"eos_token_id\": 1", "\"eos_token_id\": [1, 2, 3, 4]",
         "4 tokens end a text"},
    };
    process p;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        change(cases[i].file, cases[i].from, cases[i].to);
        RUN(&p, RLX_TOOL, "quantize", model, out, "F16");
        complains(&p, 1, cases[i].word);
        change(cases[i].file, cases[i].from, cases[i].from);
    }
}
END_TEST

/* ---- what is told, and how it ends ---- */

START_TEST(replaced_formats_are_told)
{
    process p;
    RUN(&p, RLX_TOOL, "quantize", model, out, "Q4_K_M");
    ck_assert_int_eq(p.code, 0);
    ck_assert_msg(strstr(p.err, " tensors are q5_0, not q4_k: rows are no whole blocks (-v"), "%s",
                  p.err);
    process_free(&p);
    RUN(&p, RLX_TOOL, "quantize", model, out, "Q4_K_M", "-v");
    ck_assert(p.code == 0 && strstr(p.err, "blk.0.attn_q.weight: q5_0, not q4_k"));
    process_free(&p);
    RUN(&p, RLX_TOOL, "quantize", model, out, "Q8_0", "-v");
    ck_assert_msg(p.code == 0 && !*p.err, "%s", p.err);
    process_free(&p);
}
END_TEST

static int count_entries(void)
{
    int n = 0;
    DIR *d = opendir(dir);
    ck_assert_ptr_nonnull(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

/* A request to end while the file is being made leaves no part of it. */
START_TEST(ended_by_a_signal)
{
    static const int signals[] = {SIGTERM, SIGINT};
    const int before = count_entries();
    int status, waits = 0;
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (!pid) {
        execl(RLX_TOOL, RLX_TOOL, "quantize", model, out, "IQ1_M", "-t", "1", (char *)NULL);
        _exit(127);
    }
    while (count_entries() == before && waits++ < 5000)
        usleep(2000);
    ck_assert_int_eq(kill(pid, signals[_i]), 0);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 128 + signals[_i], "status %x",
                  (unsigned)status);
    ck_assert_int_eq(count_entries(), before);
}
END_TEST

/* ---- tokenizers of spaces as marks, and byte fallback ---- */

#define TOKENIZERS RLX_SOURCE_DIR "/tests/parity/tokenizers/"

/* What such files have nothing for is changed: it is not what most cases are about. */
static void drop_flags(char *text, size_t n)
{
    static const struct {
        const char *from, *to;
        size_t at;
    } flags[] = {{"\"lstrip\": true", ":false", 8},
                 {"\"rstrip\": true", ":false", 8},
                 {"\"single_word\": true", ":false", 13},
                 {"\n\2  \x15", "zz", 2}}; /* a piece of two spaces */
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        for (char *at = text;
             (at = memmem(at, n - (size_t)(at - text), flags[i].from, strlen(flags[i].from)));)
            memcpy(at + flags[i].at, flags[i].to, strlen(flags[i].to));
}

/* The model gets another tokenizer, without settings. */
static void use_tokenizer(const char *name, const char *file, bool as_is)
{
    enum { MOST = 1 << 20 };
    char path[PATH], *text = malloc(MOST);
    static const char *const old[] = {"tokenizer.json", "tokenizer.model", "tokenizer_config.json"};
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%.200s/%s", model, old[i]);
        unlink(path);
    }
    snprintf(path, sizeof path, TOKENIZERS "%s/%s", name, file);
    FILE *f = fopen(path, "r");
    ck_assert(text && f);
    const size_t n = fread(text, 1, MOST, f);
    fclose(f);
    if (!as_is)
        drop_flags(text, n);
    snprintf(path, sizeof path, "%.200s/%s", model, file);
    f = fopen(path, "w");
    ck_assert(f && fwrite(text, 1, n, f) == n && !fclose(f));
    free(text);
}

/* Of a few tokens, all of whose merges are there. */
#define M "\xe2\x96\x81"
static const char whole[] =
    "{\"added_tokens\": [{\"id\": 1, \"content\": \"<s>\", \"special\": true},"
    "  {\"id\": 14, \"content\": \"<x>\", \"special\": false, \"normalized\": false}],"
    " \"normalizer\": {\"type\": \"Sequence\", \"normalizers\": [%s{\"type\": \"Replace\","
    "  \"pattern\": {\"String\": \" \"}, \"content\": \"" M "\"}]},"
    " \"pre_tokenizer\": null, \"post_processor\": null, \"decoder\": null,"
    " \"model\": {\"type\": \"BPE\", \"unk_token\": \"<unk>\", \"fuse_unk\": true, "
    "\"byte_fallback\": true,"
    "  \"vocab\": {\"<unk>\": 0, \"<s>\": 1, \"</s>\": 2, \"" M
    "\": 3, \"a\": 4, \"b\": 5, \"c\": 6, \"ab\": 7,"
    "   \"" M "a\": 8, \"abc\": 9, \"" M
    "ab\": 10, \"<0xC3>\": 11, \"<0xA9>\": 12, \"<0x0A>\": 13},"
    "  \"merges\": [\"a b\", \"" M " a\", \"ab c\", \"" M " ab\", \"" M "a b\"%s]}}";

/* With a space in front; with what a further merge would be. */
static void use_whole(bool prefix, const char *more)
{
    char to[PATH];
    static const char prepend[] = "{\"type\": \"Prepend\", \"prepend\": \"" M "\"}, ";
    snprintf(to, sizeof to, "%.200s/tokenizer.json", model);
    unlink(to);
    FILE *f = fopen(to, "w");
    ck_assert_ptr_nonnull(f);
    fprintf(f, whole, prefix ? prepend : "", more);
    fclose(f);
}

static char *ids_of(const char *path, const char *text)
{
    process p;
    RUN(&p, RLX_TOOL, "tokenize", path, "-p", text, "--ids");
    ck_assert_msg(p.code == 0, "%s: exit code %d: %s", path, p.code, p.err);
    free(p.err);
    return p.out;
}

static void keeps_ids(void)
{
    static const char *const texts[] = {"abc ab a b cab", "  two  ab<x> a",
                                        "\xc3\xa9 \xe2\x82\xac abab", "<s>ab\n\tab",
                                        "The quick brown fox, 123."};
    for (size_t k = 0; k < sizeof texts / sizeof *texts; k++) {
        char *a = ids_of(model, texts[k]), *b = ids_of(out, texts[k]);
        ck_assert_str_eq(a, b);
        free(a);
        free(b);
    }
}

static void has_prefix(bool prefix)
{
    rlx_gguf *f = written();
    const rlx_gguf_value *v = rlx_gguf_find(f, "tokenizer.ggml.add_space_prefix");
    has_text(f, "tokenizer.ggml.model", "llama");
    ck_assert(v && v->type == RLX_GGUF_BOOL && v->i == prefix);
    rlx_gguf_close(f);
}

START_TEST(marks_are_kept)
{
    for (int prefix = 0; prefix < 2; prefix++) {
        use_whole(prefix, "");
        has_prefix(prefix);
        keeps_ids();
    }
    use_tokenizer("model-bpe", "tokenizer.model", false);
    change("config.json", "\"bos_token_id\": 0,", "\"bos_token_id\": 1,");
    change("generation_config.json", "\"bos_token_id\": 0,", "\"bos_token_id\": 1,");
    has_prefix(true);
    keeps_ids();
}
END_TEST

START_TEST(marks_that_cannot_be_said)
{
    static const struct {
        const char *name, *file, *word;
        bool as_is;
    } cases[] = {{"fallback-always", "tokenizer.json", "pre_tokenizer: Metaspace", false},
                 {"fallback-first", "tokenizer.json", "the first words only", false},
                 {"fallback-first", "tokenizer.json", "lstrip of added token", true},
                 {"unigram-bytes", "tokenizer.json", "the tokenizer's model", false},
                 {"model-bpe", "tokenizer.model", "normalized of added token \"  \"", true},
                 {"bert-cased", "tokenizer.json", "model.type", false}};
    process p;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        use_tokenizer(cases[i].name, cases[i].file, cases[i].as_is);
        RUN(&p, RLX_TOOL, "quantize", model, out, "F16");
        complains(&p, 1, cases[i].word);
    }
}
END_TEST

/* Scores say that all pairs merge that make a token, and those of one token together. */
START_TEST(merges_that_cannot_be_said)
{
    process p;
    use_tokenizer("gemma", "tokenizer.json", false); /* as trained: one merge for each token */
    RUN(&p, RLX_TOOL, "quantize", model, out, "F16");
    complains(&p, 1, "merges: not all that would make");
    use_whole(true, ", \"a bc\"");
    RUN(&p, RLX_TOOL, "quantize", model, out, "F16");
    complains(&p, 1, "bc");
    use_whole(true, ", \"a b\"");
    RUN(&p, RLX_TOOL, "quantize", model, out, "F16");
    complains(&p, 1, "merges: those that make \"ab\" are not in a row");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("tool_quantize");
    TCase *c = tcase_create("quantize");
    tcase_set_timeout(c, 60);
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, writes_what_runs);
    tcase_add_test(c, lists_types);
    tcase_add_test(c, command_lines);
    tcase_add_test(c, bad_configurations);
    tcase_add_test(c, templates_are_kept);
    tcase_add_test(c, generation_is_kept);
    tcase_add_test(c, windows_are_kept);
    tcase_add_test(c, defaults_and_ends_are_kept);
    tcase_add_test(c, what_cannot_be_said);
    tcase_add_test(c, replaced_formats_are_told);
    tcase_add_loop_test(c, ended_by_a_signal, 0, 2);
    tcase_add_test(c, marks_are_kept);
    tcase_add_test(c, marks_that_cannot_be_said);
    tcase_add_test(c, merges_that_cannot_be_said);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int bad = srunner_ntests_failed(r) || srunner_ntests_run(r) < 15;
    srunner_free(r);
    return bad;
}
