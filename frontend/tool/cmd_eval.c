/* rlx eval: tensors by Hugging Face's names from one .safetensors file to another.
 * docs/evaluating.md is the contract.
 *
 * Rows are sequences of one session, and each step takes the tokens of all of them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "frontend/tool/args.h"

typedef struct eval {
    run_where where;
    const char *inputs, *outputs;
    int64_t decode_from; /* -1: all in one prefill */
    int64_t generate;
    text_list probes;

    rlx_weights *in;
    int64_t B, S;
    rlx_model_info info;
    int64_t V;          /* elements of an output row */
    int32_t *ids;       /* [B,S] */
    int32_t *seq;       /* [B,S], -1: padding */
    int32_t *positions; /* [B,S] */
    int64_t ntokens;    /* that no mask hides */
    int sequences;
    int64_t length;             /* one behind the largest position, padding counted */
    float *rows;                /* [B,S,V] */
    int64_t *generated;         /* [B,N] */
    float *probe[MAX_LIST];     /* [B,S,..] each, made when the first value arrives */
    rlx_tensor shape[MAX_LIST]; /* its rank and dims */
    rlx_context *cx;
    rlx_model *model;
    rlx_session *session;

    int64_t *step_at; /* [B*S] where a step's tokens stand in [B,S] */
    int32_t *step_ids, *step_seq, *step_positions, *step_index;
    float *step_out;
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

/* Is it of integers, and [B,S] or, where it may serve every row, [1,S] or [S]? */
static int check_input(const eval *e, const rlx_tensor *t, bool shared)
{
    const int64_t rows = t->rank == 2 ? t->dim[0] : 1;
    if (!is_integer(t)) {
        rlx_tensor_origin from = {.type = "?"};
        for (int i = 0; i < rlx_weights_count(e->in); i++)
            if (rlx_weights_at(e->in, i) == t)
                rlx_weights_get_origin(e->in, i, &from);
        return failure("%s: %s is %s and not I64 or I32", e->inputs, t->name, from.type);
    }
    if (t->rank < 1 || t->rank > 2 || t->dim[t->rank - 1] != e->S ||
        (rows != e->B && !(shared && rows == 1)))
        return failure("%s: %s has not the shape of input_ids", e->inputs, t->name);
    return EXIT_OK;
}

/* Tokens at zeros are left out: they stand in no sequence. */
static int read_mask(eval *e, const rlx_tensor *mask)
{
    int code = mask ? check_input(e, mask, false) : EXIT_OK;
    if (code)
        return code;
    for (int64_t b = 0; b < e->B; b++) {
        for (int64_t i = b * e->S; i < (b + 1) * e->S; i++) {
            const int64_t m = mask ? id_at(mask, i) : 1;
            if (m != 0 && m != 1)
                return failure("%s: attention_mask has a %lld", e->inputs, (long long)m);
            e->seq[i] = m ? (int32_t)b : -1;
            e->ntokens += m;
        }
    }
    if (!e->ntokens)
        return failure("%s: attention_mask hides every position", e->inputs);
    e->sequences = (int)e->B;
    return EXIT_OK;
}

/* Positions that restart begin another sequence, unless a mask says what belongs together. */
static void split_rows(eval *e)
{
    int next = 0;
    for (int64_t i = 0; i < e->B * e->S; i++) {
        if (i && (i % e->S == 0 || e->positions[i] != e->positions[i - 1] + 1))
            next++;
        e->seq[i] = next;
    }
    e->sequences = next + 1;
}

static int read_positions(eval *e, const rlx_tensor *given, bool masked)
{
    int code = given ? check_input(e, given, true) : EXIT_OK;
    if (code)
        return code;
    const int64_t n = given && given->rank == 2 ? given->dim[0] * e->S : e->S;
    e->length = 0;
    for (int64_t i = 0; i < e->B * e->S; i++) {
        const int64_t p = given ? id_at(given, i % n) : i % e->S;
        if (p < 0 || p >= INT32_MAX)
            return failure("%s: position_ids has a %lld", e->inputs, (long long)p);
        e->positions[i] = (int32_t)p;
        e->length = e->length <= p ? p + 1 : e->length;
    }
    if (given && !masked)
        split_rows(e);
    return EXIT_OK;
}

static void warn_of_others(const eval *e)
{
    static const char *const known[] = {"input_ids", "attention_mask", "position_ids"};
    for (int i = 0; i < rlx_weights_count(e->in); i++) {
        const char *name = rlx_weights_at(e->in, i)->name;
        int k = 0;
        while (k < 3 && strcmp(name, known[k]))
            k++;
        if (k == 3)
            fprintf(stderr, "rlx: %s: tensor \"%s\" is no input of this model\n", e->inputs, name);
    }
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
    if (e->generate > INT32_MAX || e->generate + e->S > INT32_MAX)
        return failure("--generate %lld: a sequence has at most %d positions, and input_ids "
                       "has %lld",
                       (long long)e->generate, INT32_MAX, (long long)e->S);
    if (e->decode_from > e->S)
        return failure("%s: input_ids has fewer positions than --decode-from", e->inputs);
    size_t bytes = (size_t)(e->B * e->S) * sizeof(int32_t);
    e->ids = malloc(bytes);
    e->seq = malloc(bytes);
    e->positions = malloc(bytes);
    if (!e->ids || !e->seq || !e->positions)
        return failure("out of memory");
    for (int64_t i = 0; i < e->B * e->S; i++) {
        int64_t id = id_at(t, i);
        e->ids[i] =
            id < 0 || id > INT32_MAX ? -1 : (int32_t)id; /* the model refuses -1 by its place */
    }
    const rlx_tensor *mask = rlx_weights_find(e->in, "attention_mask");
    warn_of_others(e);
    code = read_mask(e, mask);
    return code ? code : read_positions(e, rlx_weights_find(e->in, "position_ids"), mask != NULL);
}

/* Hidden tokens hold no place in a sequence, so that a window would reach further back than the
 * reference's, which counts them. */
static int check_windows(const eval *e)
{
    for (int64_t i = 0; e->info.window && i < e->B * e->S; i++) {
        const int64_t row = i - i % e->S;
        int64_t seen = 0, before = 0;
        for (int64_t k = row; k <= i && e->seq[i] >= 0; k++) {
            seen += e->seq[k] == e->seq[i] && k > i - e->info.window;
            before += e->seq[k] == e->seq[i] && k <= i - e->info.window;
        }
        if (before && seen && seen < e->info.window)
            return failure("%s: attention_mask hides a position between others, and a window of "
                           "%lld counts it: not supported",
                           e->inputs, (long long)e->info.window);
    }
    return EXIT_OK;
}

/* The largest bucket of prompts that the model has unless it is told otherwise (docs/tuning.md). */
static int64_t usual_prefill(const rlx_model_options *o)
{
    for (int i = 0; i < o->nladders; i++)
        if (!strcasecmp(o->ladders[i].symbol, "SEQ"))
            return o->ladders[i].upper[o->ladders[i].n - 1];
    return o->precision == RLX_FAST ? 512 : 128;
}

static int open_model(eval *e)
{
    int64_t prefill = e->B * (e->decode_from < 0 ? e->S : e->decode_from);
    prefill = prefill < e->B ? e->B : prefill;
    rlx_model_options o = {
        .max_positions = e->S + e->generate, /* as the reference: no limit but memory */
        .any_length = true,
        .length = e->length,
        .probes = e->probes.item,
        .nprobes = e->probes.n,
    };
    int code = read_model_options(&e->where, &o);
    if (code >= 0)
        return code;
    if (o.precision == RLX_FAST && e->probes.n && e->B > 1 && e->decode_from >= 0)
        return failure("--probe with --decode-from of several rows: in exact mode only");
    const int64_t most = o.prefill ? o.prefill : usual_prefill(&o);
    if (prefill > most)
        o.prefill = prefill; /* what runs as one prefill is one step */
    code = open_context(&e->where, &e->cx);
    if (!code)
        code = report(rlx_model_load(e->cx, e->where.model, &o, &e->model));
    if (code)
        return code;
    rlx_model_get_info(e->model, &e->info);
    e->V = e->info.width;
    code = check_windows(e);
    if (code)
        return code;
    if (e->generate && strcmp(e->info.output, "logits"))
        return failure("--generate: the model gives %s, not logits", e->info.output);
    if (e->generate && e->sequences > e->B)
        return failure("--generate: position_ids make several sequences of a row");
    e->rows = calloc((size_t)(e->B * e->S * e->V), sizeof *e->rows);
    e->generated = malloc((size_t)(e->B * e->generate + 1) * sizeof *e->generated);
    if (!e->rows || !e->generated)
        return failure("out of memory");
    const size_t n = (size_t)(e->B * e->S);
    e->step_at = malloc(n * sizeof *e->step_at);
    e->step_ids = malloc(n * sizeof *e->step_ids);
    e->step_seq = malloc(n * sizeof *e->step_seq);
    e->step_positions = malloc(n * sizeof *e->step_positions);
    e->step_index = malloc(n * sizeof *e->step_index);
    e->step_out = malloc((size_t)(prefill * e->V) * sizeof *e->step_out);
    if (!e->step_at || !e->step_ids || !e->step_seq || !e->step_positions || !e->step_index ||
        !e->step_out)
        return failure("out of memory");
    rlx_session_options so = {.max_positions = e->S + e->generate, .max_sequences = e->sequences};
    return report(rlx_session_create(e->cx, &so, &e->session));
}

/* Copies the rows of a step to where its tokens stand in [B,S]. */
static void scatter(const eval *e, int64_t n, const float *rows, int64_t width, float *out)
{
    for (int64_t i = 0; i < n; i++)
        memcpy(out + e->step_at[i] * width, rows + i * width, (size_t)width * sizeof *out);
}

static int64_t row_elems(const rlx_tensor *t)
{
    int64_t n = 1;
    for (int d = 1; d < t->rank; d++)
        n *= t->dim[d];
    return n;
}

/* The probes of the last step, which had n tokens. */
static int keep_probes(eval *e, int64_t n)
{
    for (int i = 0; i < e->probes.n; i++) {
        rlx_tensor t;
        int code = report(rlx_model_probe(e->model, e->session, e->probes.item[i], &t));
        if (code)
            return code;
        if (t.format != RLX_F32 || t.rank < 1 || t.rank > 5 || t.dim[0] != n)
            return failure("probe %s is not F32 with a row per token", e->probes.item[i]);
        e->shape[i] = t;
        if (!e->probe[i])
            e->probe[i] = calloc((size_t)(e->B * e->S * row_elems(&t)), sizeof(float));
        if (!e->probe[i])
            return failure("out of memory");
        scatter(e, n, t.data, row_elems(&t), e->probe[i]);
    }
    return EXIT_OK;
}

/* The step of the n tokens that are laid out; every output is wanted. */
static rlx_status try_step(eval *e, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        e->step_index[i] = (int32_t)i;
    const rlx_model_batch batch = {.tokens = n,
                                   .ids = e->step_ids,
                                   .seq = e->step_seq,
                                   .positions = e->step_positions,
                                   .rows = n,
                                   .row_index = e->step_index};
    return rlx_model_step_batch(e->model, e->session, &batch, e->step_out);
}

static int step(eval *e, int64_t n)
{
    return report(try_step(e, n));
}

/* One step of the tokens of all rows at [from, to). */
static int run_slots(eval *e, int64_t from, int64_t to)
{
    int64_t n = 0;
    for (int64_t i = 0; i < e->B * e->S; i++) {
        if (e->seq[i] < 0 || i % e->S < from || i % e->S >= to)
            continue;
        e->step_at[n] = i;
        e->step_ids[n] = e->ids[i];
        e->step_seq[n] = e->seq[i];
        e->step_positions[n++] = e->positions[i];
    }
    int code = n ? step(e, n) : EXIT_OK;
    if (code || !n)
        return code;
    scatter(e, n, e->step_out, e->V, e->rows);
    return keep_probes(e, n);
}

static int64_t find_largest(const float *row, int64_t n)
{
    int64_t best = 0;
    for (int64_t v = 1; v < n; v++)
        if (row[v] > row[best])
            best = v;
    return best;
}

/* All sequences anew, with `made` ids behind each: as lengths ask for whose keys are rotated in
 * another way. The output of the last token of each goes to step_out. */
static int recompute(eval *e, int64_t made)
{
    const size_t most = (size_t)(e->B * (e->S + made));
    int32_t *ids = malloc(3 * most * sizeof *ids), *seq = ids + most, *positions = seq + most;
    int64_t n = 0;
    if (!ids)
        return failure("out of memory");
    for (int64_t b = 0; b < e->B; b++) {
        for (int64_t i = b * e->S; i < (b + 1) * e->S; i++) {
            if (e->seq[i] < 0)
                continue;
            ids[n] = e->ids[i];
            seq[n] = e->seq[i];
            positions[n++] = e->positions[i];
        }
        for (int64_t k = 0; k < made; k++, n++) {
            ids[n] = (int32_t)e->generated[b * e->generate + k];
            seq[n] = seq[n - 1];
            positions[n] = positions[n - 1] + 1;
        }
        e->step_index[b] = (int32_t)(n - 1);
    }
    rlx_session_reset(e->session);
    const rlx_model_batch batch = {.tokens = n,
                                   .ids = ids,
                                   .seq = seq,
                                   .positions = positions,
                                   .rows = e->B,
                                   .row_index = e->step_index};
    int code = report(rlx_model_step_batch(e->model, e->session, &batch, e->step_out));
    free(ids);
    return code;
}

/* The step behind `made` ids of each row. */
static int go_on(eval *e, int64_t made)
{
    rlx_status st = try_step(e, e->B);
    if (rlx_status_code(st) != RLX_UNSUPPORTED)
        return report(st);
    rlx_status_free(st);
    return recompute(e, made);
}

/* All rows go on together, each behind its last token. */
static int generate(eval *e)
{
    for (int64_t b = 0; b < e->B; b++) {
        int64_t last = (b + 1) * e->S - 1;
        while (last >= b * e->S && e->seq[last] < 0)
            last--;
        if (last < b * e->S)
            return failure("--generate: attention_mask hides the whole of row %lld", (long long)b);
        e->step_seq[b] = e->seq[last];
        e->step_positions[b] = e->positions[last];
        memcpy(e->step_out + b * e->V, e->rows + last * e->V, (size_t)e->V * sizeof(float));
    }
    for (int64_t i = 0; i < e->generate; i++) {
        for (int64_t b = 0; b < e->B; b++) {
            e->step_ids[b] = (int32_t)find_largest(e->step_out + b * e->V, e->V);
            e->generated[b * e->generate + i] = e->step_ids[b];
            e->step_positions[b]++;
        }
        int code = i + 1 < e->generate ? go_on(e, i + 1) : EXIT_OK;
        if (code)
            return code;
    }
    return EXIT_OK;
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
        const rlx_tensor *row = &e->shape[i];
        rlx_tensor *probe = &t[n++];
        *probe = (rlx_tensor){.name = names[i],
                              .format = RLX_F32,
                              .rank = row->rank + 1,
                              .dim = {e->B, e->S},
                              .data = e->probe[i],
                              .bytes = (size_t)(e->B * e->S * row_elems(row)) * sizeof(float)};
        memcpy(probe->dim + 2, row->dim + 1, sizeof *row->dim * (size_t)(row->rank - 1));
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
    const int64_t together = e->decode_from < 0 ? e->S : e->decode_from;
    if (!code && together)
        code = run_slots(e, 0, together);
    for (int64_t s = together; s < e->S && !code; s++)
        code = run_slots(e, s, s + 1);
    if (!code && e->generate)
        code = generate(e);
    return code ? code : write_outputs(e);
}

static void eval_deinit(eval *e)
{
    for (int i = 0; i < e->probes.n; i++)
        free(e->probe[i]);
    rlx_session_destroy(e->session);
    rlx_model_destroy(e->model);
    rlx_context_destroy(e->cx);
    rlx_profile_destroy(e->where.profile);
    rlx_weights_destroy(e->in);
    void *const memory[] = {e->generated,      e->rows,       e->ids,      e->seq,
                            e->positions,      e->step_at,    e->step_ids, e->step_seq,
                            e->step_positions, e->step_index, e->step_out};
    for (size_t i = 0; i < sizeof memory / sizeof *memory; i++)
        free(memory[i]);
}

int command_eval(int argc, char **argv)
{
    eval *e = calloc(1, sizeof *e);
    if (!e)
        return failure("out of memory");
    e->where.command = "eval";
    e->decode_from = -1;
    const option_spec options[] = {
        OPTION_MODEL(e->where),
        {"inputs", "i", OPTION_TEXT, "FILE", "input_ids I64 [B,S], .safetensors", &e->inputs},
        {"outputs", "o", OPTION_TEXT, "FILE", "where to write, .safetensors", &e->outputs},
        {"decode-from", NULL, OPTION_INT, "P", "positions from P on run as decode steps",
         &e->decode_from},
        {"generate", NULL, OPTION_INT, "N", "adds N new ids, greedy", &e->generate},
        {"probe", NULL, OPTION_LIST, "PATH", "adds what the module of that path returns",
         &e->probes},
        OPTION_PRECISION(e->where, "exact"),
        OPTION_THREADS(e->where),
        OPTIONS_PLACE(e->where),
    };
    const command_spec spec = {"eval",  "runs a model on named tensors", "MODEL", &e->where.model,
                               options, sizeof options / sizeof *options};
    int code = args_parse(&spec, argc, argv);
    if (code < 0 && (!e->inputs || !e->outputs))
        code = usage_error("eval: --inputs and --outputs are needed; see rlx eval --help");
    if (code < 0)
        code = run(e);
    eval_deinit(e);
    free(e);
    return code;
}
