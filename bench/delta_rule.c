/* The gated delta rule alone: step by step beside chunks of 16, 32 and 64.
 *
 *   delta_rule [-t THREADS] [--device DEVICE] [-p TOKENS,..] [-s SEQUENCES]
 *
 * 32 heads of 128 x 128 over 16 of queries and keys, a state of the session. A row is a step of
 * TOKENS tokens, of each of SEQUENCES sequences (1: decoding, behind a prompt of 128): processor time
 * per token, the best of several rounds, in which the forms take turns; and how far outputs are from
 * those step by step. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "frontend/context.h"
#include "frontend/flow.h"

enum { HEADS = 32, GROUPS = 16, WIDTH = 128, PAST = 128, ROUNDS = 7, FORMS = 4, MAX_LIST = 8 };
static const int64_t chunks[FORMS] = {0, 16, 32, 64};
static const double round_seconds = 0.05;

enum { Q, K, V, G, BETA, INPUTS };
static const char *const names[INPUTS] = {"gdn.q", "gdn.k", "gdn.v", "gdn.g", "gdn.beta"};
static const int64_t heads_of[INPUTS] = {GROUPS, GROUPS, HEADS, HEADS, HEADS};
static const int64_t width_of[INPUTS] = {WIDTH, WIDTH, WIDTH, 0, 0};

static void check(rlx_status st)
{
    if (!st)
        return;
    fprintf(stderr, "delta_rule: %s\n", rlx_status_message(st));
    exit(1);
}

static int64_t elems_of(int input, int64_t tokens)
{
    return tokens * heads_of[input] * (width_of[input] ? width_of[input] : 1);
}

/* ---- a form ------------------------------------------------------------------------------------
 */

typedef struct form {
    rlx_flow *flow;
    rlx_executable *prompt, *step; /* of `past` tokens too */
    rlx_session *session;
    double best;
} form;

static rlx_executable *compile(rlx_context *cx, const rlx_flow *f, const rlx_weights *w,
                               int64_t tokens, int64_t sequences)
{
    const rlx_bucket buckets[] = {{"TOKENS", tokens}, {"SEQS", sequences}};
    rlx_executable *e;
    check(rlx_flow_compile(cx, f, w, &(rlx_compile_options){.buckets = buckets, .nbuckets = 2},
                           NULL, &e));
    return e;
}

static void make_form(rlx_context *cx, const rlx_weights *w, int64_t chunk, int64_t tokens,
                      int64_t sequences, form *f)
{
    check(rlx_flow_create("delta_rule", &f->flow));
    const int64_t t = rlx_flow_symbol(f->flow, "TOKENS");
    for (int i = 0; i < INPUTS; i++) {
        rlx_flow_input(f->flow, names[i], RLX_F32, width_of[i] ? 3 : 2,
                       (const int64_t[]){t, heads_of[i], width_of[i]});
        rlx_flow_bind_stream(f->flow, names[i], names[i]);
    }
    rlx_flow_gdn_scan(f->flow,
                      &(rlx_gdn_spec){.norm_eps = 1e-6, .state = "memory", .chunk = chunk});
    rlx_flow_output(f->flow, "y");
    f->prompt = compile(cx, f->flow, w, PAST * sequences, sequences);
    f->step = compile(cx, f->flow, w, tokens * sequences, sequences);
    check(rlx_session_create(cx, &(rlx_session_options){.max_sequences = (int32_t)sequences},
                             &f->session));
    f->best = INFINITY;
}

static void destroy_form(form *f)
{
    rlx_session_destroy(f->session);
    rlx_executable_destroy(f->prompt);
    rlx_executable_destroy(f->step);
    rlx_flow_destroy(f->flow);
}

/* `tokens` of each sequence, one sequence after the other. */
static void run(form *f, rlx_executable *e, float *const *x, int64_t tokens, int64_t sequences)
{
    rlx_step_input in[INPUTS];
    int32_t *seq = malloc(sizeof *seq * (size_t)(tokens * sequences));
    for (int64_t i = 0; seq && i < tokens * sequences; i++)
        seq[i] = (int32_t)(i / tokens);
    for (int i = 0; i < INPUTS; i++)
        in[i] = (rlx_step_input){names[i], x[i],
                                 sizeof(float) * (size_t)elems_of(i, tokens * sequences)};
    check(rlx_session_step(
        f->session, e,
        &(rlx_step){.tokens = tokens * sequences, .seq = seq, .inputs = in, .ninputs = INPUTS}));
    free(seq);
}

static double processor_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Seconds per token of one round: prompts begin anew, decoding goes on. */
static double time_round(form *f, float *const *x, int64_t tokens, int64_t sequences)
{
    double spent = 0;
    int64_t done = 0;
    while (spent < round_seconds) {
        if (tokens > 1)
            rlx_session_reset(f->session);
        const double start = processor_seconds();
        run(f, f->step, x, tokens, sequences);
        spent += processor_seconds() - start;
        done += tokens * sequences;
    }
    return spent / (double)done;
}

/* ---- rows --------------------------------------------------------------------------------------
 */

static double worst_difference(form *a, form *b)
{
    rlx_tensor p, q;
    double worst = 0, largest = 0;
    check(rlx_session_output(a->session, "y", &p));
    check(rlx_session_output(b->session, "y", &q));
    for (size_t i = 0; i < p.bytes / sizeof(float); i++) {
        worst = fmax(worst, fabs((double)((const float *)p.data)[i] - ((const float *)q.data)[i]));
        largest = fmax(largest, fabs((double)((const float *)p.data)[i]));
    }
    return worst / largest;
}

static void fill(float *const *x, int64_t tokens)
{
    for (int i = 0; i < INPUTS; i++)
        for (int64_t k = 0; k < elems_of(i, tokens); k++) {
            const float v = (float)((k * 2654435761u + (unsigned)i) % 1021u) / 1021;
            x[i][k] = i == G ? -0.2f * v : i == BETA ? v : v - 0.5f;
        }
}

static void print_row(rlx_context *cx, const rlx_weights *w, int64_t tokens, int64_t sequences)
{
    form forms[FORMS];
    float *x[INPUTS];
    const int64_t most = (tokens > PAST ? tokens : PAST) * sequences;
    for (int i = 0; i < INPUTS; i++) {
        x[i] = malloc(sizeof(float) * (size_t)elems_of(i, most));
        if (!x[i])
            exit(1);
    }
    fill(x, most);
    for (int i = 0; i < FORMS; i++) {
        make_form(cx, w, chunks[i], tokens, sequences, &forms[i]);
        if (tokens == 1)
            run(&forms[i], forms[i].prompt, x, PAST, sequences);
        run(&forms[i], forms[i].step, x, tokens, sequences);
    }
    printf("%6lld %4lld", (long long)tokens, (long long)sequences);
    double away[FORMS];
    for (int i = 0; i < FORMS; i++)
        away[i] = worst_difference(&forms[0], &forms[i]);
    for (int round = 0; round < ROUNDS; round++)
        for (int i = 0; i < FORMS; i++)
            forms[i].best = fmin(forms[i].best, time_round(&forms[i], x, tokens, sequences));
    for (int i = 0; i < FORMS; i++)
        printf("  %8.1f us %.1e", 1e6 * forms[i].best, away[i]);
    printf("\n");
    for (int i = 0; i < FORMS; i++)
        destroy_form(&forms[i]);
    for (int i = 0; i < INPUTS; i++)
        free(x[i]);
}

int main(int argc, char **argv)
{
    rlx_context_options options = {.threads = 1};
    int64_t tokens[MAX_LIST] = {1, 128, 512}, sequences = 1;
    int n = 3;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "-t") == 0)
            options.threads = atoi(argv[i + 1]);
        else if (strcmp(argv[i], "--device") == 0)
            options.device = argv[i + 1];
        else if (strcmp(argv[i], "-s") == 0)
            sequences = atoi(argv[i + 1]);
        else if (strcmp(argv[i], "-p") == 0) {
            n = 0;
            for (char *p = argv[i + 1]; *p && n < MAX_LIST; p += *p == ',')
                tokens[n++] = strtol(p, &p, 10);
        }
    }
    rlx_context *cx;
    rlx_weights *w;
    check(rlx_context_create(&options, &cx));
    check(rlx_weights_create(&w));
    printf("%6s %4s  %19s  %19s  %19s  %19s\n", "tokens", "seqs", "step by step", "chunks of 16",
           "of 32", "of 64");
    for (int i = 0; i < n; i++)
        print_row(cx, w, tokens[i], sequences);
    rlx_weights_destroy(w);
    rlx_context_destroy(cx);
    return 0;
}
