/* tests/tool/test_run.c: rlx run: what a model may be, the prompt, sampling, how a text ends. */
#include <check.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/tool/process.h"
#include "tests/tool/split_gguf.h"

#define BUNDLED RLX_SOURCE_DIR "/models/bundled"
#define STORIES RLX_SHARED_DIR "/data/models/llama/stories260K/"
#define GGUF STORIES "stories260Ktok512.gguf"
#define PROMPT "Once upon a time, there was a little girl named Lily."
/* Of golden0.safetensors: what a float64 forward pass writes behind the prompt. */
#define STORY                                                                               \
    PROMPT " She loved to play outside in the park. One day, she saw a big, red ball. She " \
           "wanted to play with it, but it was too high.\nL\n"

static char folder[] = "/tmp/rlx-run-XXXXXX";

static bool there(const char *path)
{
    if (access(path, R_OK) == 0)
        return true;
    printf("skipped: %s is not there\n", path);
    return false;
}

/* A name in the folder, as a link to `file` when that is given. */
static const char *in_folder(const char *name, const char *file)
{
    static char path[8][128];
    static int next;
    char *p = path[next++ % 8];
    snprintf(p, sizeof path[0], "%s/%s", folder, name);
    if (file) {
        unlink(p);
        ck_assert_int_eq(symlink(file, p), 0);
    }
    return p;
}

/* ---- models */

static void tells_the_story(const char *model)
{
    process p;
    RUN(&p, RLX_TOOL, "run", model, "-p", PROMPT, "-n", "48", "--temp", "0");
    process_says(&p, STORY);
}

START_TEST(models_in_every_form)
{
    if (!there(GGUF))
        return;
    tells_the_story(GGUF);
    in_folder("config.json", STORIES "hf/config.json");
    const char *weights = in_folder("model.safetensors", STORIES "hf/model.safetensors");
    const char *tokenizer = in_folder("tokenizer.model", STORIES "tok512.model");
    tells_the_story(folder);
    tells_the_story(weights);
    unlink(weights);
    weights = in_folder("other.safetensors", STORIES "hf/model.safetensors");
    tells_the_story(weights);
    process p;
    RUN(&p, RLX_TOOL, "run", folder, "-p", "x");
    process_complains(&p, 1, "model.safetensors");
    unlink(tokenizer);
    RUN(&p, RLX_TOOL, "run", weights, "-p", "x");
    process_complains(&p, 1, "comes with no tokenizer.json, tokenizer.model");
    unlink(weights);
    unlink(in_folder("config.json", NULL));
}
END_TEST

START_TEST(models_in_parts)
{
    if (!there(GGUF))
        return;
    process p;
    split_gguf(GGUF, in_folder("m", NULL), 3);
    tells_the_story(in_folder("m-00001-of-00003.gguf", NULL));
    tells_the_story(in_folder("m-00003-of-00003.gguf", NULL));
    unlink(in_folder("m-00002-of-00003.gguf", NULL));
    RUN(&p, RLX_TOOL, "run", in_folder("m-00001-of-00003.gguf", NULL), "-p", "x");
    process_complains(&p, 1, "m-00002-of-00003.gguf");
    unlink(in_folder("m-00001-of-00003.gguf", NULL));
    unlink(in_folder("m-00003-of-00003.gguf", NULL));
}
END_TEST

/* Beyond 16 positions the model rotates every key in another way. */
START_TEST(texts_outgrow_their_rotation)
{
    static const char model[] = RLX_SHARED_DIR "/fixtures/phi/gguf-phi3-longrope-f32/model.gguf";
    process p;
    if (!there(model))
        return;
    RUN(&p, RLX_TOOL, "run", model, "-p", "Once", "-n", "40", "--ignore-eos", "--temp", "0");
    process_complains(&p, 0, "decode   39 steps");
}
END_TEST

/* ---- sampling */

START_TEST(options_of_sampling)
{
    static const char *const greedy[][2] = {
        {"--temp", "0"}, {"--top-k", "1"}, {"--top-p", "0.0001"}, {"--min-p", "1"}};
    process first, p;
    RUN(&first, RLX_TOOL, "run", BUNDLED, "-p", "Once", "-n", "20"); /* its own: greedy */
    ck_assert_ptr_nonnull(strstr(first.err, "sample   the likeliest token\n"));
    for (int i = 0; i < 4; i++) {
        RUN(&p, RLX_TOOL, "run", BUNDLED, "-p", "Once", "-n", "20", "--temp", "1", greedy[i][0],
            greedy[i][1]);
        process_says(&p, first.out);
    }
    RUN(&p, RLX_TOOL, "run", BUNDLED, "-p", "Once", "-n", "20", "--temp", "3", "-s", "4", "--top-k",
        "0", "--top-p", "1", "--min-p", "0");
    ck_assert_str_ne(p.out, first.out);
    ck_assert_ptr_nonnull(
        strstr(p.err, "sample   temperature 3, top-k 0, top-p 1, min-p 0, seed 4\n"));
    process_free(&p);
    RUN(&p, RLX_TOOL, "run", BUNDLED, "-p", "Once", "-n", "20", "--repeat-penalty", "5",
        "--repeat-last-n", "-1");
    ck_assert_str_ne(p.out, first.out);
    ck_assert_ptr_nonnull(strstr(p.err, "repeat penalty 5 over -1 tokens"));
    process_free(&p);
    process_free(&first);
}
END_TEST

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "wb");
    ck_assert(f && fputs(text, f) >= 0 && !fclose(f));
}

/* The model's own files are asked, key by key. */
START_TEST(defaults_of_the_model)
{
    static const char *const names[] = {"config.json", "model.safetensors", "tokenizer.json"};
    static const char *const cases[][2] = {
        {"{}", "temperature 0.8, top-k 40, top-p 0.95, min-p 0.05, seed 0\n"},
        {"{\"do_sample\":true,\"temperature\":0.5,\"top_k\":7,\"top_p\":0.9,\"min_p\":0.25}",
         "temperature 0.5, top-k 7, top-p 0.9, min-p 0.25, seed 0\n"},
        {"{\"do_sample\":false,\"temperature\":0.5}", "the likeliest token\n"},
        {"{\"temperature\":0.5,\"repetition_penalty\":1.5}",
         "min-p 0.05, seed 0, repeat penalty 1.5 over -1 tokens\n"}};
    char path[3][128];
    process p;
    for (int i = 0; i < 3; i++) {
        char to[256];
        snprintf(to, sizeof to, BUNDLED "/%s", names[i]);
        snprintf(path[i], sizeof path[i], "%s", in_folder(names[i], to));
    }
    const char *file = in_folder("generation_config.json", NULL);
    for (int i = 0; i < 4; i++) {
        write_file(file, cases[i][0]);
        RUN(&p, RLX_TOOL, "run", folder, "-p", "Once", "-n", "2");
        process_complains(&p, 0, cases[i][1]);
    }
    write_file(file, "{\"num_beams\":4}");
    RUN(&p, RLX_TOOL, "run", folder, "-p", "Once", "-n", "2");
    process_complains(&p, 0, "num_beams 4 is not offered");
    write_file(file, "{\"top_p\":1.5}");
    RUN(&p, RLX_TOOL, "run", folder, "-p", "Once", "-n", "2");
    process_complains(&p, 1, "generation_config.json: sampling: top_p 1.5");
    write_file(file, "{\"top_k\":\"7\"}");
    RUN(&p, RLX_TOOL, "run", folder, "-p", "Once", "-n", "2");
    process_complains(&p, 1, "top_k is no number");
    static const char *const wrong[][2] = {
        {"{\"eos_token_id\":[1,\"x\"]}", "eos_token_id has something else than ids"},
        {"{\"eos_token_id\":1024}", "eos_token_id 1024, and the vocabulary has 1024 tokens"},
        {"{\"bos_token_id\":-1}", "bos_token_id has something else than ids"},
        {"{\"do_sample\":\"yes\"}", "do_sample is not true or false"},
        {"{\"repetition_penalty\":0}", "repetition_penalty is 0, not above 0"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        write_file(file, wrong[i][0]);
        RUN(&p, RLX_TOOL, "run", folder, "-p", "Once", "-n", "2");
        process_complains(&p, 1, wrong[i][1]);
    }
    unlink(file);
    for (int i = 0; i < 3; i++)
        unlink(path[i]);
}
END_TEST

/* ---- prompts and ends */

START_TEST(stop_strings)
{
    process all, p;
    RUN(&all, RLX_TOOL, "run", BUNDLED, "-p", "Once upon a time", "-n", "30", "--temp", "0");
    char *cut = strstr(all.out, " Anna. ");
    ck_assert_msg(cut, "%s", all.out);
    RUN(&p, RLX_TOOL, "run", BUNDLED, "-p", "Once upon a time", "-n", "30", "--temp", "0", "--stop",
        "zebra", "--stop", " Anna. S"); /* within a token and over two */
    ck_assert_int_eq(strncmp(all.out, p.out, (size_t)(cut - all.out)), 0);
    ck_assert_str_eq(p.out + (cut - all.out), "\n");
    process_free(&p);
    process_free(&all);
}
END_TEST

START_TEST(prompts_from_files)
{
    process want, p;
    const char *file = in_folder("prompt.txt", NULL);
    write_file(file, "Once upon\na time\n"); /* the last line's end is no part of it */
    RUN(&want, RLX_TOOL, "run", BUNDLED, "-p", "Once upon\na time", "-n", "9");
    RUN(&p, RLX_TOOL, "run", BUNDLED, "-f", file, "-n", "9");
    process_says(&p, want.out);
    char command[1024];
    snprintf(command, sizeof command, "%s run %s -f - -n 9 --no-display-prompt < %s", RLX_TOOL,
             BUNDLED, file);
    RUN(&p, "/bin/sh", "-c", command);
    process_says(&p, want.out + strlen("Once upon\na time"));
    RUN(&p, RLX_TOOL, "run", BUNDLED, "-f", "/no/such/file");
    process_complains(&p, 1, "/no/such/file");
    RUN(&p, RLX_TOOL, "run", BUNDLED, "-f", file, "-p", "x");
    process_complains(&p, 2, "one of them");
    process_free(&want);
    unlink(file);
}
END_TEST

/* A prompt of more tokens than the prefill bucket goes in by chunks, and is the same text. */
START_TEST(long_prompts)
{
    char prompt[3000] = "";
    process p;
    for (int i = 0; i < 26; i++)
        strcat(prompt, "She saw a big dog. He had a red ball. ");
    RUN(&p, RLX_TOOL, "run", BUNDLED, "-p", prompt, "-n", "4", "-c", "512");
    ck_assert_msg(p.code == 0, "%s", p.err);
    ck_assert_int_eq(strncmp(p.out, prompt, strlen(prompt)), 0);
    const char *line = strstr(p.err, "prefill ");
    ck_assert_ptr_nonnull(line);
    ck_assert_int_gt(strtol(line + 8, NULL, 10), 2 * 128);
    process_free(&p);
    RUN(&p, RLX_TOOL, "run", BUNDLED, "-p", prompt, "-n", "4", "-c", "300");
    process_complains(&p, 1, "context is full");
}
END_TEST

START_TEST(contexts)
{
    process p;
    RUN(&p, RLX_TOOL, "run", BUNDLED, "-p", "Once", "-c", "20", "--ignore-eos", "-n", "-1");
    process_complains(&p, 0, "context  20 positions of the model's 512");
    RUN(&p, RLX_TOOL, "run", BUNDLED, "-p", "Once", "-c", "20", "--ignore-eos", "-n", "40");
    ck_assert_ptr_eq(strstr(p.out, "Once"), p.out); /* what there was room for came out */
    process_complains(&p, 1, "context is full");
    RUN(&p, RLX_TOOL, "run", BUNDLED, "-p", "Once", "-c", "1000");
    process_complains(&p, 1, "1000 positions: the model was made for 512");
}
END_TEST

START_TEST(wrong_values)
{
    static const char *const cases[][3] = {
        {"--top-p", "1.5", "--top-p"}, {"--min-p", "2", "--min-p"},
        {"--top-k", "-1", "--top-k"},  {"--repeat-last-n", "-3", "--repeat-last-n"},
        {"--stop", "", "--stop"},      {"--repeat-penalti", "2", "--repeat-penalty?"}};
    process p;
    for (int i = 0; i < 6; i++) {
        RUN(&p, RLX_TOOL, "run", BUNDLED, cases[i][0], cases[i][1]);
        process_complains(&p, 2, cases[i][2]);
    }
    RUN(&p, RLX_TOOL, "run", "--help");
    ck_assert_ptr_nonnull(strstr(p.out, "else 0.95)"));
    process_free(&p);
}
END_TEST

/* ---- interruptions */

/* Starts a run that would go on for long, and reads the beginning of its text. */
static pid_t start_run(int *out, FILE *err)
{
    int ends[2];
    char head[8];
    ck_assert_int_eq(pipe(ends), 0);
    fflush(NULL);
    pid_t pid = fork();
    if (!pid) {
        dup2(ends[1], 1);
        dup2(fileno(err), 2);
        close(ends[0]);
        close(ends[1]);
        /* The evaluator takes its time: the run is far from its end when it is interrupted. */
        execl(RLX_TOOL, RLX_TOOL, "run", BUNDLED, "-p", "Once upon a time", "--ignore-eos",
              "--device", "ref:mir", (char *)NULL);
        _exit(127);
    }
    ck_assert_int_gt(pid, 0);
    close(ends[1]);
    ck_assert_int_eq(read(ends[0], head, sizeof head), (int)sizeof head);
    ck_assert_int_eq(strncmp(head, "Once upo", 8), 0);
    *out = ends[0];
    return pid;
}

static int end_run(pid_t pid, FILE *err, const char *word)
{
    int status;
    char text[4096];
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    rewind(err);
    text[fread(text, 1, sizeof text - 1, err)] = 0;
    fclose(err);
    ck_assert_msg(strstr(text, word), "\"%s\" does not say %s", text, word);
    ck_assert_msg(WIFEXITED(status), "signal %d: %s", WTERMSIG(status), text);
    return WEXITSTATUS(status);
}

START_TEST(interrupts_end_the_text)
{
    int out;
    FILE *err = tmpfile();
    pid_t pid = start_run(&out, err);
    ck_assert_int_eq(kill(pid, SIGINT), 0);
    char text[4096];
    size_t n = 0;
    for (ssize_t got; (got = read(out, text + n, sizeof text - n)) > 0;)
        n += (size_t)got;
    ck_assert(n > 0 && text[n - 1] == '\n'); /* all that was made is there, and its end */
    close(out);
    ck_assert_int_eq(end_run(pid, err, "tokens/s"), 130);
}
END_TEST

START_TEST(closed_pipes_end_the_run)
{
    int out;
    FILE *err = tmpfile();
    pid_t pid = start_run(&out, err);
    close(out);
    ck_assert_int_eq(end_run(pid, err, "writing to stdout: Broken pipe"), 1);
}
END_TEST

int main(void)
{
    if (!mkdtemp(folder))
        return EXIT_FAILURE;
    Suite *s = suite_create("run");
    TCase *c = tcase_create("run");
    tcase_set_timeout(c, 110);
    tcase_add_test(c, models_in_every_form);
    tcase_add_test(c, models_in_parts);
    tcase_add_test(c, texts_outgrow_their_rotation);
    tcase_add_test(c, options_of_sampling);
    tcase_add_test(c, defaults_of_the_model);
    tcase_add_test(c, stop_strings);
    tcase_add_test(c, prompts_from_files);
    tcase_add_test(c, long_prompts);
    tcase_add_test(c, contexts);
    tcase_add_test(c, wrong_values);
    tcase_add_test(c, interrupts_end_the_text);
    tcase_add_test(c, closed_pipes_end_the_run);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int bad = srunner_ntests_failed(r) || srunner_ntests_run(r) < 11;
    srunner_free(r);
    rmdir(folder);
    return bad;
}
