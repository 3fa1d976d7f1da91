/* tests/tool/test_chat.c: rlx run with a chat template: the bundled model is none for chatting, and
 * so says more plainly what it was given. */
#include <check.h>
#include <cjson/cJSON.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "frontend/rlx.h"
#include "tests/tool/process.h"

#define MODEL RLX_SOURCE_DIR "/models/bundled"
/* Messages side by side, as one text. */
#define TEMPLATE "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}"

static char template_path[] = "/tmp/rlx-chat-XXXXXX";

/* `rlx run` with the template and these options, with lines on stdin. */
static void chat(process *p, const char *lines, const char *options)
{
    char command[2048];
    snprintf(command, sizeof command,
             "printf '%s' | " RLX_TOOL " run " MODEL " --temp 0 --chat-template %s %s", lines,
             template_path, options);
    RUN(p, "/bin/sh", "-c", command);
}

/* What the model goes on with. */
static char *go_on(const char *prompt, const char *tokens)
{
    process p;
    RUN(&p, RLX_TOOL, "run", MODEL, "-p", prompt, "-n", tokens, "--temp", "0",
        "--no-display-prompt");
    ck_assert_msg(p.code == 0, "%s", p.err);
    char *text = strdup(p.out);
    process_free(&p);
    return text;
}

START_TEST(one_turn)
{
    process p;
    char *want = go_on("Once upon a time", "8");
    chat(&p, "", "-p 'Once upon a time' -n 8");
    process_says(&p, want);
    chat(&p, "", "-p ' upon a time' -sys Once -n 8");
    process_says(&p, want);
    chat(&p, "", "-no-cnv -p x");
    process_complains(&p, 2, "--no-conversation and --chat-template");
    free(want);
}
END_TEST

START_TEST(a_conversation)
{
    process p;
    char prompt[512];
    char *first = go_on("Once upon a time", "8");
    first[strlen(first) - 1] = 0;
    snprintf(prompt, sizeof prompt, "Once upon a time%s The dog", first);
    char *second = go_on(prompt, "8"), both[1024];
    snprintf(both, sizeof both, "%s\n%s", first, second);
    chat(&p, "Once upon a time\\n\\n The dog\\n", "-n 8");
    process_says(&p, both);
    chat(&p, " The dog\\n", "-cnv -p 'Once upon a time' -n 8");
    process_says(&p, both);
    chat(&p, "", "-n 8"); /* nobody says anything */
    process_says(&p, "");
    free(first);
    free(second);
}
END_TEST

static double number(const cJSON *o, const char *key)
{
    const cJSON *v = cJSON_GetObjectItem(o, key);
    ck_assert_msg(cJSON_IsNumber(v), "no number %s", key);
    return v->valuedouble;
}

/* Every turn's tokens but those that are new were kept; a line is an object. */
START_TEST(for_machines)
{
    process p;
    char *want = go_on("Once upon a time", "8");
    want[strlen(want) - 1] = 0;
    chat(&p, "\"Once upon a time\"\\n{\"role\": \"user\", \"content\": \" The dog\"}\\n",
         "-n 8 --json");
    ck_assert_msg(p.code == 0, "%s", p.err);
    char *line = strchr(p.out, '\n');
    cJSON *one = cJSON_Parse(p.out), *two = line ? cJSON_Parse(line + 1) : NULL;
    ck_assert(one && two);
    ck_assert_str_eq(cJSON_GetObjectItem(one, "content")->valuestring, want);
    ck_assert_str_eq(cJSON_GetObjectItem(one, "role")->valuestring, "assistant");
    ck_assert_str_eq(cJSON_GetObjectItem(one, "finish")->valuestring, "length");
    ck_assert(number(one, "new_tokens") == 8 && number(one, "cached_tokens") == 0);
    /* The last token of an answer was not computed from. */
    ck_assert(number(two, "cached_tokens") == number(one, "prompt_tokens") + 7);
    ck_assert(number(two, "prompt_tokens") > number(two, "cached_tokens") + 1);
    cJSON_Delete(one);
    cJSON_Delete(two);
    process_free(&p);
    chat(&p, "5\\n", "--json");
    process_complains(&p, 1, "neither a JSON string nor an object: 5");
    RUN(&p, RLX_TOOL, "run", MODEL, "-p", "Once upon a time", "-n", "8", "--temp", "0", "--json");
    one = cJSON_Parse(p.out);
    ck_assert_str_eq(cJSON_GetObjectItem(one, "content")->valuestring, want);
    ck_assert_ptr_null(cJSON_GetObjectItem(one, "role"));
    cJSON_Delete(one);
    process_free(&p);
    free(want);
}
END_TEST

/* A stop text that the last token that -n allows completes. */
START_TEST(a_stop_text_ends_it_first)
{
    process p;
    char *seven = go_on("Once upon a time", "7"), *eight = go_on("Once upon a time", "8");
    char *last = eight + strlen(seven) - 1; /* the line's end */
    last[strlen(last) - 1] = 0;
    RUN(&p, RLX_TOOL, "run", MODEL, "-p", "Once upon a time", "-n", "8", "--temp", "0", "--json",
        "--stop", last);
    cJSON *one = cJSON_Parse(p.out);
    ck_assert_msg(one && number(one, "new_tokens") == 8, "%s%s", p.out, p.err);
    ck_assert_str_eq(cJSON_GetObjectItem(one, "finish")->valuestring, "stop");
    cJSON_Delete(one);
    process_free(&p);
    free(seven);
    free(eight);
}
END_TEST

/* Ctrl-C while the next line is waited for. What it says is left out: stdin's end, in case the
 * signal came before the reading, gives the same code. */
START_TEST(interrupted_at_the_prompt)
{
    int in[2], out[2], status;
    char c = 0;
    ck_assert(!pipe(in) && !pipe(out));
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (!pid) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        close(in[1]);
        execl(RLX_TOOL, RLX_TOOL, "run", MODEL, "--chat-template", template_path, "--temp", "0",
              "--stop", "\n", "-n", "4", (char *)NULL);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    ck_assert_int_eq(write(in[1], "Once\n", 5), 5);
    while (c != '\n')
        ck_assert_int_eq(read(out[0], &c, 1), 1);
    usleep(100000);
    ck_assert_int_eq(kill(pid, SIGINT), 0);
    usleep(100000);
    close(in[1]);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFEXITED(status));
    ck_assert_int_eq(WEXITSTATUS(status), 130);
    close(out[0]);
}
END_TEST

START_TEST(lines_that_are_no_text)
{
    process p;
    chat(&p, "Once\\n\\nab\\000c\\n", "-n 2");
    process_complains(&p, 1, "line 3 of stdin: byte 2 is NUL");
    chat(&p, "a\\377\\n", "-n 2");
    process_complains(&p, 1, "line 1 of stdin: byte 1 is not UTF-8");
    RUN(&p, RLX_TOOL, "run", MODEL, "--chat-template", template_path, "-p", "\xe2\x82");
    process_complains(&p, 1, "the prompt: byte 0 is not UTF-8");
    RUN(&p, RLX_TOOL, "run", MODEL, "--chat-template", template_path, "-sys", "a\xff", "-p", "x");
    process_complains(&p, 1, "--system: byte 1 is not UTF-8");
    chat(&p, "", "-n 2 -p '\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\xed\x9f\xbf'");
    ck_assert_msg(p.code == 0, "%s", p.err);
    process_free(&p);
}
END_TEST

/* In a terminal a line that is refused ends nothing. */
START_TEST(a_person_tries_again)
{
    static const char lines[] = "\xc0\x80\n\xe0\x80\x80\n\xed\xa0\x80\n\xf4\x90\x80\x80\n"
                                "\xf5\x80\x80\x80\n\x80\nOnce upon a time\n\4";
    char said[8192] = "";
    size_t n = 0;
    int terminal, status;
    pid_t pid = forkpty(&terminal, NULL, NULL, NULL);
    ck_assert_int_ge(pid, 0);
    if (!pid) {
        execl(RLX_TOOL, RLX_TOOL, "run", MODEL, "--chat-template", template_path, "--temp", "0",
              "-n", "4", (char *)NULL);
        _exit(127);
    }
    ck_assert_int_eq(write(terminal, lines, sizeof lines - 1), sizeof lines - 1);
    for (ssize_t got = 1; got > 0 && n<sizeof said - 1; n += got> 0 ? (size_t)got : 0)
        got = read(terminal, said + n, sizeof said - 1 - n);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    close(terminal);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%s", said);
    const char *at = said;
    for (int line = 1; line <= 6; line++) {
        char want[64];
        snprintf(want, sizeof want, "line %d of stdin: byte 0 is not UTF-8", line);
        at = strstr(at, want);
        ck_assert_msg(at, "no \"%s\": %s", want, said);
    }
    ck_assert_msg(strstr(at, "decode   3 steps"), "%s", said);
}
END_TEST

/* ---- what a model's own files say */

static char own[] = "/tmp/rlx-own-XXXXXX";
static const char *const files[] = {"config.json", "model.safetensors", "tokenizer.json",
                                    "tokenizer_config.json", "generation_config.json"};

static void put(const char *file, const char *text)
{
    char path[64];
    snprintf(path, sizeof path, "%s/%s", own, file);
    FILE *f = fopen(path, "w");
    ck_assert(f && fputs(text, f) >= 0 && !fclose(f));
}

/* The bundled model with a template of its own, and tokens of its own that end a text. */
static void open_own(const char *template, const char *ends)
{
    char text[1024];
    strcpy(own + strlen(own) - 6, "XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(own));
    for (int i = 0; i < 3; i++) {
        char from[512], to[64];
        snprintf(from, sizeof from, "%s/%s", MODEL, files[i]);
        snprintf(to, sizeof to, "%s/%s", own, files[i]);
        ck_assert_int_eq(symlink(from, to), 0);
    }
    snprintf(text, sizeof text, "{\"bos_token\": \"<|begin|>\", \"chat_template\": \"%s\"}",
             template);
    put("tokenizer_config.json", text);
    snprintf(text, sizeof text, "{\"bos_token_id\": 0, \"eos_token_id\": %s}", ends);
    put("generation_config.json", text);
}

static void close_own(void)
{
    char path[64];
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(path, sizeof path, "%s/%s", own, files[i]);
        unlink(path);
    }
    rmdir(own);
}

static int32_t id_of(const char *text)
{
    rlx_tokenizer *t;
    ck_assert(!rlx_tokenizer_load(MODEL, NULL, &t));
    int32_t id = rlx_tokenizer_find(t, text);
    ck_assert_msg(id >= 0, "no token %s", text);
    rlx_tokenizer_destroy(t);
    return id;
}

/* A template in the model's files makes it one for chatting; each of several ends ends a text,
 * which would go on with " little girl". */
START_TEST(its_own_template)
{
    process p;
    char ends[64];
    snprintf(ends, sizeof ends, "[1, %d, %d]", id_of("\xc4\xa0girl"), id_of("\xc4\xa0little"));
    open_own(TEMPLATE, ends);
    RUN(&p, RLX_TOOL, "run", own, "-p", "Once upon a time", "-n", "8", "--temp", "0");
    process_says(&p, ", there was a\n");
    RUN(&p, RLX_TOOL, "run", own, "-p", "Once upon a time", "-n", "8", "--temp", "0", "--json");
    cJSON *one = cJSON_Parse(p.out);
    ck_assert_msg(one, "%s%s", p.out, p.err);
    ck_assert_str_eq(cJSON_GetObjectItem(one, "finish")->valuestring, "stop");
    ck_assert_str_eq(cJSON_GetObjectItem(one, "content")->valuestring, ", there was a");
    cJSON_Delete(one);
    process_free(&p);
    RUN(&p, RLX_TOOL, "run", own, "-no-cnv", "-p", "Once upon a time", "-n", "8", "--temp", "0");
    process_says(&p, "Once upon a time, there was a\n");
    close_own();
}
END_TEST

/* Messages of tools reach the template whole. */
START_TEST(tools_answer)
{
    static const char lines[] =
        "{\"role\": \"user\", \"content\": \"Once upon a time\"}\n"
        "{\"role\": \"tool\", \"name\": \"dog\", \"content\": {\"says\": [\"no\", 2]}}\n";
    static const char command[] = "printf '%s' | " RLX_TOOL " run %s --temp 0 -n 8 --json";
    process p;
    char shell[1024], prompt[512];
    open_own(
        "{{ bos_token }}{% for m in messages %}{% if m.role == 'tool' %} The {{ m.name }} said: "
        "{{ m.content | tojson }}{% else %}{{ m.content }}{% endif %}{% endfor %}",
        "1");
    snprintf(shell, sizeof shell, command, lines, own);
    RUN(&p, "/bin/sh", "-c", shell);
    ck_assert_msg(p.code == 0, "%s", p.err);
    char *line = strchr(p.out, '\n');
    cJSON *one = cJSON_Parse(p.out), *two = line ? cJSON_Parse(line + 1) : NULL;
    ck_assert_msg(one && two, "%s", p.out);
    snprintf(prompt, sizeof prompt, "Once upon a time%s The dog said: {\"says\": [\"no\", 2]}",
             cJSON_GetObjectItem(one, "content")->valuestring);
    char *second = go_on(prompt, "8");
    second[strlen(second) - 1] = 0;
    ck_assert_str_eq(cJSON_GetObjectItem(two, "content")->valuestring, second);
    cJSON_Delete(one);
    cJSON_Delete(two);
    process_free(&p);
    close_own();
    free(second);
}
END_TEST

/* What a template refuses is an error with its words. */
START_TEST(a_template_refuses)
{
    process p;
    open_own(
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('System role not "
        "supported') }}{% endif %}{{ m.content }}{% endfor %}",
        "1");
    RUN(&p, RLX_TOOL, "run", own, "-sys", "Be kind", "-p", "Once", "-n", "2");
    process_complains(&p, 1, "System role not supported");
    close_own();
}
END_TEST

START_TEST(what_is_wrong)
{
    process p;
    RUN(&p, RLX_TOOL, "run", MODEL, "-cnv");
    process_complains(&p, 1, "comes without a chat template; --chat-template FILE");
    RUN(&p, RLX_TOOL, "run", MODEL, "-p", "x", "-sys", "y");
    process_complains(&p, 1, "--system");
    RUN(&p, RLX_TOOL, "run", MODEL, "-cnv", "-no-cnv");
    process_complains(&p, 2, "--no-conversation and --conversation");
    RUN(&p, RLX_TOOL, "run", MODEL, "-p", "x", "--chat-template", "/nowhere.jinja");
    process_complains(&p, 1, "/nowhere.jinja");
    /* The second message is beyond the context: the first is answered, and the error says how full
     * it is. */
    chat(&p, "Once upon a time\\nThe dog and the cat and the bird and the cow\\n", "-c 16 -n 8");
    ck_assert_ptr_nonnull(strchr(p.out, '\n'));
    process_complains(&p, 1, "16");
}
END_TEST

int main(void)
{
    int fd = mkstemp(template_path);
    if (fd < 0 || write(fd, TEMPLATE, strlen(TEMPLATE)) != (ssize_t)strlen(TEMPLATE))
        return 1;
    close(fd);
    Suite *s = suite_create("tool_chat");
    TCase *t = tcase_create("tool_chat");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, one_turn);
    tcase_add_test(t, a_conversation);
    tcase_add_test(t, for_machines);
    tcase_add_test(t, a_stop_text_ends_it_first);
    tcase_add_test(t, interrupted_at_the_prompt);
    tcase_add_test(t, lines_that_are_no_text);
    tcase_add_test(t, a_person_tries_again);
    tcase_add_test(t, its_own_template);
    tcase_add_test(t, tools_answer);
    tcase_add_test(t, a_template_refuses);
    tcase_add_test(t, what_is_wrong);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r), ran = srunner_ntests_run(r);
    srunner_free(r);
    unlink(template_path);
    return failed || ran < 11;
}
