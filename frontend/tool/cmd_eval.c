/* rlx eval: tensors by Hugging Face's names from one .safetensors file to another.
 *
 *   in    input_ids       I64 or I32 [B,S] or [S]
 *         attention_mask  I64 or I32 [B,S]: zeros before and after a row's ones are padding, which
 * is left out; its places in the outputs are 0 out   logits          F32 [B,S,V]; of a model
 * without a head last_hidden_state F32 [B,S,H] generated       I64 [B,N], with --generate N:
 * greedy, end-of-text ignored probe:PATH      F32 [B,S,H], for each --probe PATH
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/tool/args.h"

typedef struct extent {
    int64_t begin, end; /* positions */
} extent;

typedef struct eval {
    run_where where;
    const char *inputs, *outputs;
    int64_t decode_from; /* -1: all in one prefill */
    int64_t generate;
    text_list probes;

    rlx_weights *in;
    int64_t B, S;
    rlx_model_info info;
    int64_t V;              /* elements of an output row */
    extent *extents;        /* [B] */
    int32_t *ids;           /* [B,S] */
    float *rows;            /* [B,S,V] */
    int64_t *generated;     /* [B,N] */
    float *probe[MAX_LIST]; /* [B,S,H] each, made when the first value arrives */
    int64_t width[MAX_LIST];
    rlx_context *cx;
    rlx_model *model;
    rlx_session *session;
} eval;

static int64_t id_at(const rlx_tensor *t, int64_t i)
{
    int64_t wide;
    int32_t narrow;
    if (t->format == RLX_I64) {
        memcpy(&wide, (const char *)t->data + 8 * i, sizeof wide);
        return wide;
    }
    memcpy(&narrow, (const char *)t->data + 4 * i, sizeof narrow);
    return narrow;
}

static bool is_integer(const rlx_tensor *t)
{
    return t->format == RLX_I64 || t->format == RLX_I32;
}

/* Where each row's tokens begin and end: everywhere, or where the mask has ones. */
static int find_extents(eval *e, const rlx_tensor *mask)
{
    int64_t n = 1;
    for (int d = 0; mask && d < mask->rank; d++)
        n *= mask->dim[d];
    if (mask && (!is_integer(mask) || n != e->B * e->S))
        return failure("%s: attention_mask has not the shape of input_ids", e->inputs);
    for (int64_t b = 0; b < e->B; b++) {
        extent *x = &e->extents[b];
        *x = (extent){0, e->S};
        while (mask && x->begin < x->end && !id_at(mask, b * e->S + x->begin))
            x->begin++;
        while (mask && x->begin < x->end && !id_at(mask, b * e->S + x->end - 1))
            x->end--;
        for (int64_t s = x->begin; mask && s < x->end; s++)
            if (id_at(mask, b * e->S + s) != 1)
                return failure("%s: attention_mask hides a position between others", e->inputs);
        if (x->begin == x->end)
            return failure("%s: attention_mask hides a whole row", e->inputs);
    }
    return EXIT_OK;
}

static int read_inputs(eval *e)
{
    int code = report(rlx_weights_create(&e->in));
    if (!code)
        code = report(rlx_weights_add_safetensors(e->in, e->inputs));
    if (code)
        return code;
    const rlx_tensor *t = rlx_weights_find(e->in, "input_ids");
    if (!t)
        return failure("%s has no tensor \"input_ids\"", e->inputs);
    if (!is_integer(t) || t->rank < 1 || t->rank > 2)
        return failure("%s: input_ids is not I64 or I32 [B,S]", e->inputs);
    e->S = t->dim[t->rank - 1];
    e->B = t->rank == 2 ? t->dim[0] : 1;
    if (e->B < 1 || e->S < 1)
        return failure("%s: input_ids is empty", e->inputs);
    if (e->decode_from > e->S)
        return failure("%s: input_ids has fewer positions than --decode-from", e->inputs);
    e->ids = malloc((size_t)(e->B * e->S) * sizeof *e->ids);
    e->extents = malloc((size_t)e->B * sizeof *e->extents);
    if (!e->ids || !e->extents)
        return failure("out of memory");
    for (int64_t i = 0; i < e->B * e->S; i++) {
        int64_t id = id_at(t, i);
        e->ids[i] =
            id < 0 || id > INT32_MAX ? -1 : (int32_t)id; /* the model refuses -1 by its place */
    }
    for (int i = 0; i < rlx_weights_count(e->in); i++) {
        const char *name = rlx_weights_at(e->in, i)->name;
        if (strcmp(name, "input_ids") && strcmp(name, "attention_mask"))
            fprintf(stderr, "rlx: %s: tensor \"%s\" is no input of this model\n", e->inputs, name);
    }
    return find_extents(e, rlx_weights_find(e->in, "attention_mask"));
}

static int open_model(eval *e)
{
    int64_t prefill = e->decode_from < 0 ? e->S : e->decode_from;
    rlx_model_options o = {
        .prefill = prefill > 128 ? prefill : 0, /* what runs as one prefill is one step */
        .max_positions = e->S + e->generate,    /* as the reference: no limit but memory */
        .length = e->S,
        .probes = e->probes.item,
        .nprobes = e->probes.n,
    };
    int code = report(open_context(&e->where, &e->cx));
    if (!code)
        code = report(rlx_model_load(e->cx, e->where.model, &o, &e->model));
    if (code)
        return code;
    rlx_model_get_info(e->model, &e->info);
    e->V = e->info.width;
    if (e->generate && strcmp(e->info.output, "logits"))
        return failure("--generate: the model gives %s, not logits", e->info.output);
    e->rows = calloc((size_t)(e->B * e->S * e->V), sizeof *e->rows);
    e->generated = malloc((size_t)(e->B * e->generate + 1) * sizeof *e->generated);
    if (!e->rows || !e->generated)
        return failure("out of memory");
    rlx_session_options so = {.max_positions = e->S + e->generate};
    return report(rlx_session_create(e->cx, &so, &e->session));
}

/* Copies the probes of the last step, positions at .. at+n of row b. */
static int keep_probes(eval *e, int64_t b, int64_t at, int64_t n)
{
    for (int i = 0; i < e->probes.n; i++) {
        rlx_tensor t;
        int code = report(rlx_model_probe(e->model, e->session, e->probes.item[i], &t));
        if (code)
            return code;
        if (t.format != RLX_F32 || t.rank != 2 || t.dim[0] != n)
            return failure("probe %s is not F32 with a row per token", e->probes.item[i]);
        if (!e->probe[i]) {
            e->width[i] = t.dim[1];
            e->probe[i] = calloc((size_t)(e->B * e->S * t.dim[1]), sizeof(float));
            if (!e->probe[i])
                return failure("out of memory");
        }
        memcpy(e->probe[i] + (b * e->S + at) * e->width[i], t.data,
               (size_t)(n * e->width[i]) * sizeof(float));
    }
    return EXIT_OK;
}

static int run_row(eval *e, int64_t b)
{
    const int32_t *ids = e->ids + b * e->S;
    float *out = e->rows + b * e->S * e->V;
    int64_t together = e->decode_from < 0 ? e->S : e->decode_from;
    extent x = e->extents[b];
    if (together > x.end)
        together = x.end;
    for (int64_t at = x.begin, n; at < x.end; at += n) {
        n = at < together ? together - at : 1;
        int code = report(rlx_model_step(e->model, e->session, 0, ids + at, n, n, out + at * e->V));
        if (!code)
            code = keep_probes(e, b, at, n);
        if (code)
            return code;
    }
    return EXIT_OK;
}

static int generate_row(eval *e, int64_t b)
{
    int64_t *out = e->generated + b * e->generate;
    float *row = e->rows + (b * e->S + e->extents[b].end - 1) * e->V; /* of the last token */
    float *own = malloc((size_t)e->V * sizeof *own);
    int code = own ? EXIT_OK : failure("out of memory");
    for (int64_t i = 0; i < e->generate && !code; i++) {
        int64_t best = 0;
        for (int64_t v = 1; v < e->V; v++)
            if (row[v] > row[best])
                best = v;
        out[i] = best;
        row = own;
        int32_t id = (int32_t)best;
        if (i + 1 < e->generate)
            code = report(rlx_model_step(e->model, e->session, 0, &id, 1, 1, own));
    }
    free(own);
    return code;
}

static int write_outputs(const eval *e)
{
    rlx_tensor t[2 + MAX_LIST];
    char *names[MAX_LIST] = {0};
    int n = 0, code = EXIT_OK;
    t[n++] = (rlx_tensor){.name = e->info.output,
                          .format = RLX_F32,
                          .rank = 3,
                          .dim = {e->B, e->S, e->V},
                          .data = e->rows,
                          .bytes = (size_t)(e->B * e->S * e->V) * sizeof(float)};
    if (e->generate)
        t[n++] = (rlx_tensor){.name = "generated",
                              .format = RLX_I64,
                              .rank = 2,
                              .dim = {e->B, e->generate},
                              .data = e->generated,
                              .bytes = (size_t)(e->B * e->generate) * sizeof(int64_t)};
    for (int i = 0; i < e->probes.n && !code; i++) {
        size_t len = strlen(e->probes.item[i]) + sizeof "probe:";
        names[i] = malloc(len);
        if (!names[i]) {
            code = failure("out of memory");
            break;
        }
        snprintf(names[i], len, "probe:%s", e->probes.item[i]);
        t[n++] = (rlx_tensor){.name = names[i],
                              .format = RLX_F32,
                              .rank = 3,
                              .dim = {e->B, e->S, e->width[i]},
                              .data = e->probe[i],
                              .bytes = (size_t)(e->B * e->S * e->width[i]) * sizeof(float)};
    }
    if (!code)
        code = report(rlx_safetensors_write(e->outputs, t, n, NULL));
    for (int i = 0; i < e->probes.n; i++)
        free(names[i]);
    return code;
}

static int run(eval *e)
{
    int code = read_inputs(e);
    if (!code)
        code = open_model(e);
    for (int64_t b = 0; b < e->B && !code; b++) {
        rlx_session_reset(e->session);
        code = run_row(e, b);
        if (!code && e->generate)
            code = generate_row(e, b);
    }
    return code ? code : write_outputs(e);
}

int command_eval(int argc, char **argv)
{
    eval *e = calloc(1, sizeof *e);
    if (!e)
        return failure("out of memory");
    e->decode_from = -1;
    const option_spec options[] = {
        OPTION_MODEL(e->where),
        {"inputs", 'i', OPTION_TEXT, "FILE", "input_ids I64 [B,S], .safetensors", &e->inputs},
        {"outputs", 'o', OPTION_TEXT, "FILE", "where to write, .safetensors", &e->outputs},
        {"decode-from", 0, OPTION_INT, "P", "positions from P on run as decode steps",
         &e->decode_from},
        {"generate", 0, OPTION_INT, "N", "adds N new ids, greedy", &e->generate},
        {"probe", 0, OPTION_LIST, "PATH", "adds what the module of that path returns", &e->probes},
        OPTION_THREADS(e->where),
        OPTION_DEVICE(e->where),
    };
    const command_spec spec = {"eval",  "runs a model on named tensors, in exact mode",
                               "MODEL", &e->where.model,
                               options, sizeof options / sizeof *options};
    int code = args_parse(&spec, argc, argv);
    if (code < 0 && (!e->inputs || !e->outputs))
        code = usage_error("eval: --inputs and --outputs are needed; see rlx eval --help");
    if (code < 0)
        code = run(e);
    for (int i = 0; i < e->probes.n; i++)
        free(e->probe[i]);
    rlx_session_destroy(e->session);
    rlx_model_destroy(e->model);
    rlx_context_destroy(e->cx);
    rlx_weights_destroy(e->in);
    free(e->generated);
    free(e->rows);
    free(e->ids);
    free(e->extents);
    free(e);
    return code;
}
