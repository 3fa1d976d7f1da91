/* Generates text with a sampler of one's own:  own_sampling MODEL [PROMPT [TOKENS [SEED]]]
 *
 * The model gives logits, this program chooses: one of the TOP likeliest tokens, by their
 * probabilities. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <rlx.h>

enum { TOP = 8 };
static const float temperature = 0.8f;

static void *must(void *memory)
{
    if (memory)
        return memory;
    fprintf(stderr, "out of memory\n");
    exit(1);
}

typedef struct chat {
    rlx_context *cx;
    rlx_model *model;
    rlx_session *session;
    float *logits; /* of the last token, [V] */
    int64_t vocab;
} chat;

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

static int32_t choose(const float *logits, int64_t n, uint64_t *random)
{
    int32_t top[TOP] = {0};
    float weight[TOP], sum = 0;
    find_top(logits, n, top);
    for (int i = 0; i < TOP; i++)
        sum += weight[i] = expf((logits[top[i]] - logits[top[0]]) / temperature);
    double left = draw(random) * sum;
    int i = 0;
    while (i < TOP - 1 && (left -= weight[i]) >= 0)
        i++;
    return top[i];
}

static rlx_status start(chat *c, const char *path)
{
    rlx_model_info info;
    rlx_status st = rlx_context_create(NULL, &c->cx);
    if (!st)
        st = rlx_model_load(c->cx, path, NULL, &c->model);
    if (!st)
        st = rlx_session_create(c->cx, NULL, &c->session);
    if (st)
        return st;
    rlx_model_get_info(c->model, &info);
    c->vocab = info.width;
    c->logits = (float *)must(malloc((size_t)info.width * sizeof *c->logits));
    return RLX_OK;
}

/* The prompt goes in at once, and only its last token's logits come out. */
static rlx_status read_prompt(chat *c, const char *prompt)
{
    int32_t *ids = NULL;
    int64_t n = 0;
    rlx_status st = rlx_model_encode(c->model, prompt, true, &ids, &n);
    if (!st)
        st = rlx_model_step(c->model, c->session, 0, ids, n, 1, c->logits);
    free(ids);
    return st;
}

static rlx_status run(chat *c, const char *prompt, int64_t count, uint64_t seed)
{
    uint64_t random = seed + 0x9e3779b97f4a7c15u;
    rlx_status st = read_prompt(c, prompt);
    if (!st)
        fputs(prompt, stdout);
    for (int64_t i = 0; i < count && !st; i++) {
        const char *bytes;
        size_t len;
        const int32_t id = choose(c->logits, c->vocab, &random);
        st = rlx_model_decode(c->model, id, &bytes, &len);
        if (!st)
            fwrite(bytes, 1, len, stdout);
        if (!st && i + 1 < count)
            st = rlx_model_step(c->model, c->session, 0, &id, 1, 1, c->logits);
    }
    putchar('\n');
    return st;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: own_sampling MODEL [PROMPT [TOKENS [SEED]]]\n");
        return 2;
    }
    chat c = {NULL, NULL, NULL, NULL, 0};
    rlx_status st = start(&c, argv[1]);
    if (!st)
        st = run(&c, argc > 2 ? argv[2] : "Once upon a time", argc > 3 ? atoll(argv[3]) : 64,
                 argc > 4 ? strtoull(argv[4], NULL, 10) : 0);
    if (st)
        fprintf(stderr, "%s\n", rlx_status_message(st));
    const int code = st != RLX_OK;
    rlx_status_free(st);
    free(c.logits);
    rlx_session_destroy(c.session);
    rlx_model_destroy(c.model);
    rlx_context_destroy(c.cx);
    return code;
}
