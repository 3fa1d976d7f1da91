/* Several texts at once, in one session:  batch MODEL TOKENS PROMPT...
 *
 * Every step takes the tokens of all sequences together: first the prompts, of any lengths, then
 * one token of each. A token's result has the same bits in any batch, so each text is what it would
 * be alone. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rlx.h>

enum { MAX_TEXTS = 16 };

static void *must(void *memory)
{
    if (memory)
        return memory;
    fprintf(stderr, "out of memory\n");
    exit(1);
}

typedef struct texts {
    rlx_context *cx;
    rlx_model *model;
    rlx_session *session;
    int n;
    int32_t *ids[MAX_TEXTS]; /* prompts, then what was generated */
    int64_t count[MAX_TEXTS];
    float *logits; /* [n, V] */
    int64_t vocab;
} texts;

static int32_t likeliest(const float *logits, int64_t n)
{
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++)
        if (logits[i] > logits[best])
            best = i;
    return (int32_t)best;
}

/* Steps the tokens from first[i] on of every text, and appends the likeliest next token to each. */
static rlx_status step(texts *t, const int64_t *first)
{
    int64_t tokens = 0;
    for (int i = 0; i < t->n; i++)
        tokens += t->count[i] - first[i];
    int32_t *ids = (int32_t *)must(malloc((size_t)tokens * sizeof *ids));
    int32_t *seq = (int32_t *)must(malloc((size_t)tokens * sizeof *seq));
    int32_t last[MAX_TEXTS]; /* each text's last token in the batch */
    int32_t at = 0;
    for (int i = 0; i < t->n; i++) {
        for (int64_t k = first[i]; k < t->count[i]; k++, at++) {
            ids[at] = t->ids[i][k];
            seq[at] = i;
        }
        last[i] = at - 1;
    }
    const rlx_model_batch batch = {
        .tokens = at, .ids = ids, .seq = seq, .rows = t->n, .row_index = last};
    rlx_status st = rlx_model_step_batch(t->model, t->session, &batch, t->logits);
    for (int i = 0; i < t->n && !st; i++)
        t->ids[i][t->count[i]++] = likeliest(t->logits + i * t->vocab, t->vocab);
    free(ids);
    free(seq);
    return st;
}

static rlx_status start(texts *t, const char *path, char **prompts, int64_t room)
{
    const rlx_session_options size = {.max_positions = 1024, .max_sequences = t->n};
    rlx_model_info info;
    rlx_status st = rlx_context_create(NULL, &t->cx);
    if (!st)
        st = rlx_model_load(t->cx, path, NULL, &t->model);
    if (!st)
        st = rlx_session_create(t->cx, &size, &t->session);
    for (int i = 0; i < t->n && !st; i++) {
        st = rlx_model_encode(t->model, prompts[i], true, &t->ids[i], &t->count[i]);
        if (!st)
            t->ids[i] =
                (int32_t *)must(realloc(t->ids[i], (size_t)(t->count[i] + room) * sizeof(int32_t)));
    }
    if (st)
        return st;
    rlx_model_get_info(t->model, &info);
    t->vocab = info.width;
    t->logits = (float *)must(malloc((size_t)(t->n * t->vocab) * sizeof *t->logits));
    return RLX_OK;
}

static rlx_status print(const texts *t, int i, const char *prompt, int64_t from)
{
    rlx_status st = RLX_OK;
    printf("%s", prompt);
    for (int64_t k = from; k < t->count[i] && !st; k++) {
        const char *bytes;
        size_t len;
        st = rlx_model_decode(t->model, t->ids[i][k], &bytes, &len);
        if (!st)
            fwrite(bytes, 1, len, stdout);
    }
    printf("\n---\n");
    return st;
}

static rlx_status run(texts *t, const char *path, char **prompts, int64_t tokens)
{
    int64_t prompt[MAX_TEXTS], first[MAX_TEXTS] = {0};
    rlx_status st = start(t, path, prompts, tokens);
    for (int i = 0; i < t->n; i++)
        prompt[i] = t->count[i];
    for (int64_t k = 0; k < tokens && !st; k++) {
        st = step(t, first);
        for (int i = 0; i < t->n; i++)
            first[i] = t->count[i] - 1;
    }
    for (int i = 0; i < t->n && !st; i++)
        st = print(t, i, prompts[i], prompt[i]);
    return st;
}

int main(int argc, char **argv)
{
    if (argc < 4 || argc - 3 > MAX_TEXTS || atoll(argv[2]) < 1) {
        fprintf(stderr, "usage: batch MODEL TOKENS PROMPT...  (up to %d)\n", MAX_TEXTS);
        return 2;
    }
    texts t;
    memset(&t, 0, sizeof t);
    t.n = argc - 3;
    rlx_status st = run(&t, argv[1], argv + 3, atoll(argv[2]));
    if (st)
        fprintf(stderr, "%s\n", rlx_status_message(st));
    const int code = st != RLX_OK;
    rlx_status_free(st);
    for (int i = 0; i < t.n; i++)
        free(t.ids[i]);
    free(t.logits);
    rlx_session_destroy(t.session);
    rlx_model_destroy(t.model);
    rlx_context_destroy(t.cx);
    return code;
}
