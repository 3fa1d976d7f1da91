/* Generates text with a sampler of one's own:  own_sampling MODEL [PROMPT [TOKENS [SEED]]]
 *
 * The library runs the model and streams the text, this program chooses the tokens: one of the TOP
 * likeliest tokens, by their probabilities. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <rlx.h>

enum { TOP = 8 };
static const float temperature = 0.8f;

/* A number in [0, 1): xorshift64. */
static double draw(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return (double)(*state >> 11) / 9007199254740992.0;
}

/* The TOP largest logits, the largest first; of equals the one of the smaller id. */
static void find_top(const float *logits, int64_t n, int32_t top[TOP])
{
    int found = 0;
    for (int64_t i = 0; i < n; i++) {
        int at = found < TOP ? found++ : TOP;
        for (; at > 0 && logits[top[at - 1]] < logits[i]; at--)
            if (at < TOP)
                top[at] = top[at - 1];
        if (at < TOP)
            top[at] = (int32_t)i;
    }
}

/* The likelier of the TOP likeliest tokens the more often. A negative number would end the text. */
static int32_t choose(void *user, const float *logits, int64_t vocab)
{
    uint64_t *random = (uint64_t *)user;
    int32_t top[TOP] = {0};
    float weight[TOP], sum = 0;
    find_top(logits, vocab, top);
    for (int i = 0; i < TOP; i++)
        sum += weight[i] = expf((logits[top[i]] - logits[top[0]]) / temperature);
    double left = draw(random) * sum;
    int i = 0;
    while (i < TOP - 1 && (left -= weight[i]) >= 0)
        i++;
    return top[i];
}

static bool print(void *user, const char *utf8, size_t bytes)
{
    (void)user;
    return fwrite(utf8, 1, bytes, stdout) == bytes;
}

static rlx_status run(const char *path, const char *prompt, int64_t count, uint64_t seed)
{
    uint64_t random = seed + 0x9e3779b97f4a7c15u;
    rlx_generate_options options = {.prompt = prompt, .count = count};
    options.choose = choose; /* in place of the model's own sampling */
    options.choose_user = &random;
    rlx_context *cx = NULL;
    rlx_model *model = NULL;
    rlx_session *session = NULL;
    rlx_status st = rlx_context_create(NULL, &cx);
    if (!st)
        st = rlx_model_load(cx, path, NULL, &model);
    if (!st)
        st = rlx_session_create(cx, NULL, &session);
    if (!st) {
        fputs(prompt, stdout);
        st = rlx_model_generate(model, session, &options, print, NULL, NULL);
        putchar('\n');
    }
    rlx_session_destroy(session);
    rlx_model_destroy(model);
    rlx_context_destroy(cx);
    return st;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: own_sampling MODEL [PROMPT [TOKENS [SEED]]]\n");
        return 2;
    }
    rlx_status st = run(argv[1], argc > 2 ? argv[2] : "Once upon a time",
                        argc > 3 ? atoll(argv[3]) : 64, argc > 4 ? strtoull(argv[4], NULL, 10) : 0);
    if (st)
        fprintf(stderr, "%s\n", rlx_status_message(st));
    const int code = st != RLX_OK;
    rlx_status_free(st);
    return code;
}
