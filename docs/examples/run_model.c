/* Runs a model in this process:  run_model DIRECTORY [PROMPT [TOKENS]]
 *
 * Prints the prompt and what the model makes of it, the likeliest token at each step. */
#include <stdio.h>
#include <stdlib.h>

#include <rlx.h>

static bool print(void *user, const char *utf8, size_t bytes)
{
    (void)user;
    return fwrite(utf8, 1, bytes, stdout) == bytes;
}

static rlx_status run(const char *directory, const char *prompt, int64_t count)
{
    const rlx_session_options size = {.max_positions = 256};
    const rlx_sampling likeliest = {.temperature = 0}; /* not what the model's files ask for */
    const rlx_generate_options options = {.prompt = prompt, .count = count, .sampling = &likeliest};
    rlx_context *cx = NULL;
    rlx_model *model = NULL;
    rlx_session *session = NULL;
    rlx_generate_stats stats;

    rlx_status st = rlx_context_create(NULL, &cx); /* this CPU, all its cores */
    if (!st)
        st = rlx_model_load(cx, directory, NULL, &model); /* compiles, too */
    if (!st)
        st = rlx_session_create(cx, &size, &session);
    if (!st) {
        fputs(prompt, stdout);
        st = rlx_model_generate(model, session, &options, print, NULL, &stats);
    }
    if (!st) {
        printf("\n");
        fprintf(stderr, "%lld prompt tokens, %lld new ones\n", (long long)stats.prompt_tokens,
                (long long)stats.new_tokens);
    }
    rlx_session_destroy(session); /* in reverse order; NULL is fine */
    rlx_model_destroy(model);
    rlx_context_destroy(cx);
    return st;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: run_model DIRECTORY [PROMPT [TOKENS]]\n");
        return 2;
    }
    rlx_status st =
        run(argv[1], argc > 2 ? argv[2] : "Once upon a time", argc > 3 ? atoll(argv[3]) : 64);
    if (!st)
        return 0;
    char *story = rlx_status_text(st);
    fprintf(stderr, "%s\n", story ? story : rlx_status_message(st));
    free(story);
    rlx_status_free(st);
    return 1;
}
