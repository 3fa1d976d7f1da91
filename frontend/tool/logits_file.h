/* frontend/tool/logits_file.h: the log probabilities that a model gave a text's tokens, kept as
 * llama-perplexity keeps them (--kl-divergence-base), so that each program reads the other's.
 *
 * Little endian: "_logits_"; i32 context, vocab, chunks; i32 tokens[chunks, context]; then a row for
 * each token of a chunk's second half but the last: f32 step, f32 least, u16 code[vocab, made even].
 * The log of a probability is step * code + least: 65536 steps from the row's largest down to at
 * most 16 below it, where all that is less is held. A row of a chunk is of the token after it.
 */
#ifndef RLX_TOOL_LOGITS_FILE_H
#define RLX_TOOL_LOGITS_FILE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

typedef struct logits_file {
    const char *path; /* lent */
    FILE *file;       /* NULL: not open */
    int32_t context, vocab, chunks;
    int32_t *tokens; /* [chunks, context] */
    uint16_t *row;   /* one row as it is in the file */
    int64_t rows_read;
} logits_file;

/* The number of rows that a chunk has, and the first of the chunk's tokens that has one. */
static inline int32_t logits_file_first(int32_t context)
{
    return context / 2;
}
static inline int32_t logits_file_rows(int32_t context)
{
    return context - 1 - logits_file_first(context);
}

/* These return exit codes and complain themselves. A file that is opened has been held against its
 * size; `tokens` are copied. */
int logits_file_create(logits_file *l, const char *path, int32_t context, int32_t vocab,
                       int32_t chunks, const int32_t *tokens);
int logits_file_open(logits_file *l, const char *path);
/* The next row: f32[vocab]. */
int logits_file_put(logits_file *l, const float *logits);
int logits_file_get(logits_file *l, float *log_p);
/* `keep` false: a file that was being made is removed. Accepts what is not open. */
int logits_file_close(logits_file *l, bool keep);

#endif
