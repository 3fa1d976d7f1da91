/* frontend/tool/run.h: what the files of `rlx run` share.
 *   cmd_run.c   the command line, and texts that are gone on from as they are
 *   run_text.c  generating, Ctrl-C, the summary
 *   run_chat.c  conversations
 */
#ifndef RLX_TOOL_RUN_H
#define RLX_TOOL_RUN_H

#include <stdio.h>

#include "frontend/tool/args.h"

enum { EXIT_INTERRUPTED = 130 };

/* What the command line says; absent numbers are negative. */
typedef struct run_options {
    run_where where;
    const char *prompt, *file;
    const char *system, *chat_template; /* NULL: none; the model's own */
    int64_t tokens, context, seed;
    double temperature, top_p, min_p, repeat_penalty;
    int64_t top_k, repeat_last_n;
    text_list stops;
    bool ignore_eos, no_prompt, chat, no_chat, json;
} run_options;

enum { ABSENT = -2 }; /* -1 means something to whole numbers that may be negative */

typedef struct runner {
    const run_options *options;
    rlx_model_options how;
    rlx_context *cx;
    rlx_chat *chat; /* NULL: texts are gone on from as they are */
    rlx_model *model;
    rlx_session *session;
    rlx_model_info info;
    int64_t positions;
    rlx_sampling sampling;
    uint64_t seed;
    rlx_generate_stats total; /* of all texts */
    int64_t steps;            /* decode steps: of new tokens the first comes out of the prefill */
} runner;

/* ---- run_text.c */

/* A text as it is generated: to stdout, piece by piece, or kept, or both. */
typedef struct text_out {
    const char *before; /* is printed before the first piece; NULL: nothing, or it was */
    bool quiet;         /* nothing is printed */
    FILE *kept;         /* NULL: nothing is kept */
    int error;          /* errno of a write that failed */
} text_out;

/* What the command line says of generating, in `g`; the prompt and who is told are the caller's. */
void run_fill(const runner *r, rlx_generate_options *g);
/* Generates; adds to r->total. Ctrl-C is no error: run_interrupted tells. */
rlx_status run_generate(runner *r, const rlx_generate_options *g, text_out *out,
                        rlx_generate_stats *stats);
bool run_interrupted(void);
void run_begin_text(text_out *out); /* prints what stands before, unless it was */
void run_end_text(text_out *out);   /* ends the line; errors in out->error */
/* The summary to stderr; `error`: errno of a write. The exit code. */
int run_finish(const runner *r, int error);
/* One line to stdout: {"role": ROLE, "content": TEXT, "finish": ..., ...}; role may be NULL.
 * `cached`: tokens of the prompt that were not computed again. */
void run_print_json(const runner *r, const char *role, const char *text,
                    const rlx_generate_stats *stats, int64_t cached);
void run_choose_sampling(runner *r);

/* ---- run_chat.c */

/* A conversation that begins with `prompt` (NULL: with the first line of stdin); ends with it, or,
 * with --conversation, with stdin. The exit code. */
int run_chat(runner *r, const char *prompt);

#endif
