/* tests/frontend/test_chat.c: chat templates and special tokens in the files of a model. */
#include <sys/stat.h>
#include <unistd.h>

#include "frontend/rlx.h"
#include "tests/base/suite.h"
#include "tests/frontend/gguf_file.h"

#define USER "[{\"role\": \"user\", \"content\": \"Hi\"}]"

static char folder[] = "/tmp/rlx-chat-XXXXXX";

static const char *path_of(const char *name)
{
    static char path[4][256];
    static int next;
    char *p = path[next++ % 4];
    snprintf(p, sizeof path[0], "%s/%s", folder, name);
    return p;
}

static void put_bytes(const char *name, const char *data, size_t bytes)
{
    FILE *f = fopen(path_of(name), "w");
    ck_assert(f && fwrite(data, 1, bytes, f) == bytes);
    ck_assert_int_eq(fclose(f), 0);
}

static void put(const char *name, const char *text)
{
    put_bytes(name, text, strlen(text));
}

static void gone(const char *name)
{
    ck_assert_int_eq(unlink(path_of(name)), 0);
}

/* What the model's template makes of one message. */
static void gives(const char *model, const rlx_chat_options *o, const char *want)
{
    rlx_chat *c;
    char *text;
    assert_ok(rlx_chat_load(model, &c));
    assert_ok(rlx_chat_render(c, o, &text));
    ck_assert_str_eq(text, want);
    free(text);
    rlx_chat_destroy(c);
}

static const rlx_chat_options user = {.messages = USER};
static const rlx_chat_options with_tools = {.messages = USER, .tools = "[{\"name\": \"t\"}]"};

START_TEST(templates_of_a_directory)
{
    rlx_chat *c;
    char *text;
    assert_ok(rlx_chat_load(folder, &c));
    ck_assert_int_eq(rlx_chat_count(c), 0);
    assert_error(rlx_chat_render(c, &user, &text), RLX_NOT_FOUND, "without a chat template");
    rlx_chat_destroy(c);
    put("tokenizer_config.json",
        "{\"chat_template\": \"A{{ bos_token }}{{ eos_token }}{{ messages[0].content }}{{ tools }}"
        "{{ add_generation_prompt }}\", \"bos_token\": \"<s>\", \"eos_token\": {\"content\": "
        "\"</s>\"}}");
    gives(folder, &user, "A<s></s>HiNoneTrue");
    put("chat_template.json", "{\"chat_template\": \"B{{ pad_token }}{{ bos_token }}\"}");
    put("special_tokens_map.json", "{\"pad_token\": \"<p>\", \"bos_token\": \"no\"}");
    gives(folder, &user, "B<p><s>");
    put("chat_template.jinja", "C{{ x }}\n");
    gives(folder, &user, "C");
    gives(folder, &(rlx_chat_options){.messages = USER, .names = "{\"x\": 1.0}"}, "C1.0");
    ck_assert_int_eq(mkdir(path_of("additional_chat_templates"), 0700), 0);
    put("additional_chat_templates/tool_use.jinja", "T{{ tools[0].name }}");
    put("additional_chat_templates/rag.jinja", "R{{ documents }}");
    gives(folder, &user, "C");
    gives(folder, &with_tools, "Tt");
    gives(folder, &(rlx_chat_options){.messages = USER, .which = "rag", .documents = "[]"}, "R[]");
    gone("additional_chat_templates/tool_use.jinja");
    gone("additional_chat_templates/rag.jinja");
    ck_assert_int_eq(rmdir(path_of("additional_chat_templates")), 0);
    gone("chat_template.jinja");
    gone("chat_template.json");
    gone("special_tokens_map.json");
    gone("tokenizer_config.json");
}
END_TEST

START_TEST(named_templates)
{
    rlx_chat *c;
    char *text;
    put("tokenizer_config.json",
        "{\"chat_template\": [{\"name\": \"default\", \"template\": \"D\"}, "
        "{\"name\": \"tool_use\", \"template\": \"U\"}]}");
    gives(folder, &user, "D");
    gives(folder, &with_tools, "U");
    assert_ok(rlx_chat_load(folder, &c));
    ck_assert_int_eq(rlx_chat_count(c), 2);
    ck_assert_str_eq(rlx_chat_name(c, 1), "tool_use");
    ck_assert_str_eq(rlx_chat_template(c, 1), "U");
    assert_error(rlx_chat_render(c, &(rlx_chat_options){.messages = USER, .which = "rag"}, &text),
                 RLX_NOT_FOUND, "no chat template \"rag\"; there are: default, tool_use");
    put("own.jinja", "own {{ messages[0].role }}");
    assert_ok(rlx_chat_use(c, path_of("own.jinja")));
    assert_ok(rlx_chat_render(c, &with_tools, &text));
    ck_assert_str_eq(text, "own user");
    free(text);
    assert_error(rlx_chat_use(c, path_of("none.jinja")), RLX_NOT_FOUND, "none.jinja");
    rlx_chat_destroy(c);
    gone("own.jinja");
    gone("tokenizer_config.json");
}
END_TEST

START_TEST(what_is_wrong_is_named)
{
    rlx_chat *c;
    char *text;
    put("tokenizer_config.json", "{\"chat_template\": 5}");
    assert_error(rlx_chat_load(folder, &c), RLX_INVALID_FILE, "no text and no list");
    put("tokenizer_config.json", "{\"chat_template\": [{\"name\": \"x\"}]}");
    assert_error(rlx_chat_load(folder, &c), RLX_INVALID_FILE, "no name and template");
    put("tokenizer_config.json", "{\"chat_template\": ");
    assert_error(rlx_chat_load(folder, &c), RLX_INVALID_FILE, "tokenizer_config.json");
    put("tokenizer_config.json", "{\"chat_template\": \"a\\n{{ raise_exception('no') }}\"}");
    assert_ok(rlx_chat_load(folder, &c));
    assert_error(rlx_chat_render(c, &user, &text), RLX_INVALID_ARGUMENT,
                 "tokenizer_config.json:2: no");
    assert_error(rlx_chat_render(c, &(rlx_chat_options){.messages = "[{]"}, &text),
                 RLX_INVALID_ARGUMENT, "messages for tokenizer_config.json: not JSON at byte 2");
    assert_error(rlx_chat_render(c, &(rlx_chat_options){0}, &text), RLX_INVALID_ARGUMENT,
                 "without messages");
    rlx_chat_destroy(c);
    put("tokenizer_config.json", "{\"chat_template\": \"{{ '\\\\0' }}\"}");
    assert_ok(rlx_chat_load(folder, &c));
    assert_error(rlx_chat_render(c, &user, &text), RLX_INVALID_ARGUMENT, "a NUL at byte 0");
    rlx_chat_destroy(c);
    gone("tokenizer_config.json");
}
END_TEST

/* The JSON files of a directory are text, and one object each, to their ends. */
START_TEST(files_that_are_no_json)
{
    static const struct {
        const char *text;
        size_t bytes;
        const char *word;
    } cases[] = {
        {"", 0, "not JSON at byte 0"},
        {"{\"a\": nul}", 10, "not JSON at byte 6"},
        {"{} {}", 5, "not JSON at byte 3"},
        {"{}\0{}", 5, "not JSON at byte 3"},
        {"{\"a\": \"\xc3(\"}", 12, "not UTF-8 at byte 7"},
        {"[]", 2, "no JSON object"},
    };
    static const char *const files[] = {"tokenizer_config.json", "special_tokens_map.json",
                                        "chat_template.json"};
    rlx_chat *c;
    for (int f = 0; f < 3; f++) {
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            put_bytes(files[f], cases[i].text, cases[i].bytes);
            assert_error(rlx_chat_load(folder, &c), RLX_INVALID_FILE, cases[i].word);
            assert_error(rlx_chat_load(folder, &c), RLX_INVALID_FILE, files[f]);
        }
        gone(files[f]);
    }
}
END_TEST

START_TEST(templates_of_a_gguf_file)
{
    static const char *const tokens[] = {"<unk>", "<b>", "<e>"};
    gguf_file f = {0};
    rlx_text bytes = {0};
    gguf_string(&f, "tokenizer.chat_template",
                "{{ bos_token }}{{ messages[0].content }}{{ eos_token }}");
    gguf_string(&f, "tokenizer.chat_template.tool_use", "tools");
    gguf_strings(&f, "tokenizer.ggml.tokens", tokens, 3);
    gguf_int(&f, "tokenizer.ggml.bos_token_id", 1);
    gguf_int(&f, "tokenizer.ggml.eos_token_id", 2);
    gguf_int(&f, "tokenizer.ggml.padding_token_id", 7); /* of no token */
    gguf_bytes(&f, &bytes);
    put_bytes("m.gguf", bytes.data, bytes.len);
    gives(path_of("m.gguf"), &user, "<b>Hi<e>");
    gives(path_of("m.gguf"), &with_tools, "tools");
    gone("m.gguf");
    rlx_text_deinit(&bytes);
    rlx_text_deinit(&f.body);
}
END_TEST

START_TEST(templates_by_themselves)
{
    rlx_template *t;
    char *text;
    size_t bytes;
    assert_ok(rlx_template_parse("own", "{{ a }}{{ strftime_now('%Y') }}", 31, &t));
    assert_ok(rlx_template_render(t, "{\"a\": [1, \"x\"]}",
                                  &(rlx_template_options){.now = 1700000000}, &text, &bytes));
    ck_assert_str_eq(text, "[1, 'x']2023");
    ck_assert_uint_eq(bytes, 12);
    free(text);
    assert_error(
        rlx_template_render(t, "{\"a\": 1}", &(rlx_template_options){.max_steps = 1}, &text, NULL),
        RLX_EXHAUSTED, "too many steps");
    rlx_template_destroy(t);
    assert_error(rlx_template_parse("own", "{% x %}", 7, &t), RLX_INVALID_FILE, "own:1:");
    ck_assert_ptr_null(t);
}
END_TEST

int main(void)
{
    if (!mkdtemp(folder))
        return 1;
    Suite *s = suite_create("chat");
    TCase *t = tcase_create("chat");
    tcase_add_test(t, templates_of_a_directory);
    tcase_add_test(t, named_templates);
    tcase_add_test(t, what_is_wrong_is_named);
    tcase_add_test(t, files_that_are_no_json);
    tcase_add_test(t, templates_of_a_gguf_file);
    tcase_add_test(t, templates_by_themselves);
    suite_add_tcase(s, t);
    int code = run_suite(s, 5);
    rmdir(folder);
    return code;
}
