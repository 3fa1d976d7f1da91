/* Vocabularies as they lie beside the project, in forms that a model's own files have: GPT-2 style
 * vocab.json and merges.txt, and tiktoken's list of ranks, as tokenizer.json and as GGUF. */
#ifndef RLX_TESTS_VOCABULARY_H
#define RLX_TESTS_VOCABULARY_H

#include <stdbool.h>
#include <stdint.h>

#include "frontend/tokenizer.h"
#include "tests/frontend/gguf_file.h"

typedef struct vocabulary {
    char **token; /* by id, in the byte alphabet; NULL: unused */
    int32_t ntokens, ncontrol;
    char **merge; /* "a b", by rank */
    int32_t nmerges;
    const char *pattern; /* of the pre-tokenizer: a regular expression; borrowed */
    bool ignore_merges;
} vocabulary;

/* false, with a line that says so: the files are not there. */
bool vocabulary_read_gpt2(vocabulary *v, const char *vocab_json, const char *merges_txt);
bool vocabulary_read_tiktoken(vocabulary *v, const char *path);
void vocabulary_deinit(vocabulary *v);
/* One more token, of type control. */
void vocabulary_add_control(vocabulary *v, const char *text);

rlx_tokenizer *vocabulary_as_json(const vocabulary *v);
rlx_tokenizer *vocabulary_as_gguf(const vocabulary *v, const char *pre);

/* The file's content, or NULL and a line that says that it is not there. */
char *read_or_skip(const char *path, size_t *bytes);

#endif
