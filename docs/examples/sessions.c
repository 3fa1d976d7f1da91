/* One prompt, several continuations:  sessions DIRECTORY [PROMPT]
 *
 * Prefills a prompt once, forks it, lets both copies go on by themselves, goes back to the prompt,
 * saves it, restores it into a session of its own, and cancels a long generation. Prints what came
 * of each. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rlx.h>

enum { POSITIONS = 256, NEW = 16 };

typedef struct program {
    rlx_context *cx;
    rlx_model *model;
    rlx_model_info info;
    float *logits; /* of the last token */
} program;

static int32_t likeliest(const program *p)
{
    int32_t best = 0;
    for (int32_t i = 1; i < p->info.vocab; i++)
        best = p->logits[i] > p->logits[best] ? i : best;
    return best;
}

/* Goes on from the last token's logits: the likeliest token at each step, but `first` as the first
 * one (-1: that, too). */
static rlx_status go_on(program *p, rlx_session *s, int seq, int32_t first, const char *what)
{
    printf("%s:", what);
    for (int i = 0; i < NEW; i++) {
        int32_t id = i == 0 && first >= 0 ? first : likeliest(p);
        const char *bytes;
        size_t n;
        rlx_status st = rlx_model_decode(p->model, id, &bytes, &n);
        if (!st) {
            fwrite(bytes, 1, n, stdout);
            st = rlx_model_step(p->model, s, seq, &id, 1, 1, p->logits);
        }
        if (st)
            return st;
    }
    printf("\n");
    return NULL;
}

/* The prompt is computed once: sequence 1 shares its pages with sequence 0. */
static rlx_status fork_prompt(program *p, rlx_session *s, const char *prompt)
{
    int32_t *ids = NULL, second = 0;
    int64_t n;
    rlx_status st = rlx_model_encode(p->model, prompt, true, &ids, &n);
    if (!st)
        st = rlx_model_step(p->model, s, 0, ids, n, 1, p->logits);
    if (!st)
        st = rlx_session_fork(s, 0, 1);
    if (!st) {
        second = (likeliest(p) + 1) % (int32_t)p->info.vocab; /* anything else */
        st = go_on(p, s, 0, -1, "the likeliest");
    }
    if (!st)
        st = go_on(p, s, 1, second, "another");
    if (!st)
        st = rlx_session_rewind(
            s, 0, n - 1); /* to before the prompt's last token, whose logits are wanted again */
    if (!st)
        st = rlx_model_step(p->model, s, 0, &ids[n - 1], 1, 1, p->logits);
    if (!st)
        st = go_on(p, s, 0, -1, "once more");
    if (!st)
        st = rlx_session_rewind(s, 0, n);
    free(ids);
    return st;
}

/* What a process saves another one can restore, with the same model. */
static rlx_status save_and_restore(program *p, rlx_session *s, const char *file)
{
    rlx_session_options options = {.max_positions = POSITIONS};
    rlx_session *other = NULL;
    rlx_status st = rlx_session_save(s, 0, p->model, file);
    if (!st)
        st = rlx_session_create(p->cx, &options, &other);
    if (!st)
        st = rlx_session_restore(other, 0, p->model, file);
    if (!st)
        printf("restored: %lld positions\n", (long long)rlx_session_past(other, 0));
    rlx_session_destroy(other);
    return st;
}

/* Here after some text; as well from another thread or a signal handler. */
static bool cancel(void *user, const char *utf8, size_t bytes)
{
    (void)utf8, (void)bytes;
    rlx_session_cancel((rlx_session *)user);
    return true;
}

static rlx_status generate_until_cancelled(program *p, rlx_session *s)
{
    rlx_generate_stats stats;
    rlx_generate_options options = {.prompt = " and", .count = 1000};
    rlx_status st = rlx_model_generate(p->model, s, &options, cancel, s, &stats);
    if (rlx_status_code(st) != RLX_CANCELLED)
        return st;
    rlx_status_free(st);
    printf("cancelled after %lld tokens\n", (long long)stats.new_tokens);
    return rlx_session_rewind(s, 0, 0); /* the session is as good as new */
}

static rlx_status run(program *p, const char *directory, const char *prompt)
{
    rlx_session *s = NULL;
    rlx_session_options options = {.max_positions = POSITIONS, .max_sequences = 2};
    const char *file = "sessions.rlx";
    rlx_status st = rlx_context_create(NULL, &p->cx);
    if (!st)
        st = rlx_model_load(p->cx, directory, NULL, &p->model);
    if (!st)
        st = rlx_session_create(p->cx, &options, &s);
    if (!st) {
        rlx_model_get_info(p->model, &p->info);
        p->logits = (float *)malloc((size_t)p->info.width * sizeof *p->logits);
        st = fork_prompt(p, s, prompt);
    }
    if (!st)
        st = save_and_restore(p, s, file);
    if (!st)
        st = generate_until_cancelled(p, s);
    remove(file);
    rlx_session_destroy(s);
    rlx_model_destroy(p->model);
    rlx_context_destroy(p->cx);
    free(p->logits);
    return st;
}

int main(int argc, char **argv)
{
    program p;
    if (argc < 2) {
        fprintf(stderr, "usage: sessions DIRECTORY [PROMPT]\n");
        return 2;
    }
    memset(&p, 0, sizeof p);
    rlx_status st = run(&p, argv[1], argc > 2 ? argv[2] : "Once upon a time");
    if (!st)
        return 0;
    char *story = rlx_status_text(st);
    fprintf(stderr, "%s\n", story);
    free(story);
    rlx_status_free(st);
    return 1;
}
