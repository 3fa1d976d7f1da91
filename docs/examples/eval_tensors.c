/* Named tensors in, named tensors out:  eval_tensors MODEL IN.safetensors OUT.safetensors [PROBE]
 *
 * Reads input_ids, I64 [S] or [1,S], and writes logits F32 [S,V] and, for a PROBE such as
 * model.layers.0, what that module gives, F32 [S,H], as probe:PROBE. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rlx.h>

enum { LONGEST = 4096 }; /* tokens */

static void *must(void *memory)
{
    if (memory)
        return memory;
    fprintf(stderr, "out of memory\n");
    exit(1);
}

typedef struct eval {
    rlx_weights *in;
    rlx_context *cx;
    rlx_model *model;
    rlx_session *session;
    int32_t ids[LONGEST];
    int64_t n;
    float *logits; /* [n, V] */
} eval;

static int complain(const char *what, const char *where)
{
    fprintf(stderr, "%s: %s\n", where, what);
    return 1;
}

static int read_ids(eval *e, const char *path)
{
    const rlx_tensor *t = rlx_weights_find(e->in, "input_ids"); /* lent by the set */
    if (!t || t->format != RLX_I64 || t->rank < 1)
        return complain("no input_ids of I64", path);
    e->n = (int64_t)(t->bytes / sizeof(int64_t));
    if (e->n < 1 || e->n > LONGEST || t->dim[t->rank - 1] != e->n)
        return complain("input_ids is not one row of 1 to 4096 tokens", path);
    for (int64_t i = 0; i < e->n; i++) {
        int64_t id;
        /* a mapped file need not be aligned */
        memcpy(&id, (const char *)t->data + 8 * i, sizeof id);
        e->ids[i] = (int32_t)id;
    }
    return 0;
}

static rlx_status write_results(eval *e, int64_t vocab, const char *path, const char *probe)
{
    char name[256];
    rlx_tensor out[2] = {{.name = "logits",
                          .format = RLX_F32,
                          .rank = 2,
                          .dim = {e->n, vocab},
                          .data = e->logits,
                          .bytes = (size_t)(e->n * vocab) * sizeof *e->logits}};
    rlx_status st = RLX_OK;
    if (probe) {
        st = rlx_model_probe(e->model, e->session, probe, &out[1]); /* lent until the next step */
        snprintf(name, sizeof name, "probe:%s", probe);
        out[1].name = name;
    }
    return st ? st : rlx_safetensors_write(path, out, probe ? 2 : 1, NULL);
}

static rlx_status run(eval *e, const char *path, const char *out, const char *probe)
{
    /* a probe shows the tokens of one step of one bucket */
    const rlx_model_options options = {.prefill = e->n, .probes = &probe, .nprobes = probe ? 1 : 0};
    rlx_model_info info;
    rlx_status st = rlx_context_create(NULL, &e->cx);
    if (!st)
        st = rlx_model_load(e->cx, path, &options, &e->model);
    if (!st)
        st = rlx_session_create(e->cx, NULL, &e->session);
    if (st)
        return st;
    rlx_model_get_info(e->model, &info);
    e->logits = (float *)must(malloc((size_t)(e->n * info.width) * sizeof *e->logits));
    st = rlx_model_step(e->model, e->session, 0, e->ids, e->n, e->n, e->logits);
    return st ? st : write_results(e, info.width, out, probe);
}

int main(int argc, char **argv)
{
    if (argc < 4) {
        fprintf(stderr, "usage: eval_tensors MODEL IN.safetensors OUT.safetensors [PROBE]\n");
        return 2;
    }
    static eval e; /* all zero */
    int code = 0;
    rlx_status st = rlx_weights_create(&e.in);
    if (!st)
        st = rlx_weights_add_safetensors(e.in, argv[2]);
    if (!st)
        code = read_ids(&e, argv[2]);
    if (!st && !code)
        st = run(&e, argv[1], argv[3], argc > 4 ? argv[4] : NULL);
    if (st)
        code = complain(rlx_status_message(st), argv[0]);
    rlx_status_free(st);
    free(e.logits);
    rlx_session_destroy(e.session);
    rlx_model_destroy(e.model);
    rlx_context_destroy(e.cx);
    rlx_weights_destroy(e.in);
    return code;
}
