/* frontend/model.h: a loaded causal language model. */
#ifndef RLX_FRONTEND_MODEL_H
#define RLX_FRONTEND_MODEL_H

#include "frontend/context.h"
#include "frontend/family.h"
#include "frontend/ladder.h"
#include "frontend/rope.h"
#include "frontend/sampler.h"
#include "frontend/tokenizer.h"

/* What a model is compiled for: one token that is decoded; tokens of prompts (in an exact model any tokens); and in a
 * fast one tokens that are each of another sequence. Neither ladder has 1, unless it is all that was asked for of a fast model's prompts. */
typedef struct rlx_model_plan {
    rlx_ladder prefill, batch; /* n 0: none */
} rlx_model_plan;
enum { RLX_MODEL_BUCKETS = 1 + 2 * RLX_LADDER_RUNGS, RLX_MODEL_TOKENS = 1 << 20 /* of a step */ };

typedef struct rlx_model_bucket {
    const char *name; /* "decode", "prefill", "decode of several"; static */
    rlx_bucket bucket[2];
    rlx_compile_options compile; /* refers to `bucket`: not to be copied */
} rlx_model_bucket;

struct rlx_model {
    rlx_context *cx; /* borrowed: outlives the model */
    char *path;      /* as it was given, or what stands for a source in messages */
    const rlx_model_source
        *source;       /* in place of files, while they are read; NULL: there are files */
    bool lent_weights; /* by the source */
    rlx_model_config config;
    rlx_weights *weights;
    rlx_flow *flow;
    rlx_tokenizer *tokenizer;               /* NULL: the files have none, or .. */
    char *tokenizer_error;                  /* .. one that is not offered: the story */
    rlx_sampling sampling;                  /* what the files ask for */
    int64_t prefill, max_positions, length; /* as in the options */
    int64_t width;                          /* of an output row */
    rlx_precision precision;
    rlx_model_options options; /* as loading had them; probes point to: */
    char **probes;
    int nprobes;
    rlx_model_plan plan;
    rlx_lazy lazy[RLX_MODEL_BUCKETS]; /* by bucket; the first is there once the model is loaded */
    uint64_t loaded;                  /* bits of those that were compiled at loading, together */
    double load_seconds, compile_seconds;
};

/* Reads all that `path` stands for, but compiles nothing (model_files.c). What was read before an
 * error is m's. */
rlx_status rlx_model_read_files(const rlx_context *cx, rlx_model *m);
/* Frees what it read, and m->path. */
void rlx_model_deinit_files(rlx_model *m);
/* How to sample, and what ends a text: generation_config.json (NULL: not there), or a GGUF file's
 * metadata (model_generation.c). The config and the tokenizer are read before. */
rlx_status rlx_model_read_generation(const rlx_context *cx, rlx_model *m, const struct cJSON *json);
rlx_status rlx_model_read_generation_gguf(const rlx_context *cx, rlx_model *m,
                                          const struct rlx_gguf *f);
/* The way back into metadata: what is not as it is without any. */
void rlx_model_put_sampling(const rlx_sampling *s, struct rlx_gguf_head *h);
/* RLX_NOT_FOUND, saying what is missing, when the model has no tokenizer; RLX_UNSUPPORTED when it
 * is not offered. */
rlx_status rlx_model_need_tokenizer(const rlx_model *m);

/* Fails with RLX_EXHAUSTED, saying how full it is, when `n` more tokens do not fit. */
rlx_status rlx_model_check_room(const rlx_model *m, const rlx_session *s, int seq, int64_t n);

/* As rlx_model_step for one token of sequence 0. *likeliest: which token follows, as a device says it; `out` is left alone then. -1: it
 * says none, and `out` has the logits. */
rlx_status rlx_model_step_greedy(rlx_model *m, rlx_session *s, int32_t id, float *out,
                                 int32_t *likeliest);

/* RLX_INVALID_ARGUMENT for numbers that no model takes. */
rlx_status rlx_model_check_options(const rlx_model_options *o);
/* RLX_INVALID_ARGUMENT when ladders are wrong, or of symbols that models have not. */
rlx_status rlx_model_make_plan(const rlx_model_options *o, rlx_model_plan *out);
int rlx_model_bucket_count(const rlx_model_plan *p);
/* Bucket 0 decodes a token; those of prompts follow, then those of several sequences. */
void rlx_model_get_bucket(const rlx_model_options *o, const rlx_model_plan *p, int i,
                          rlx_model_bucket *out);
/* The first bucket that `left` tokens go through, and how many of them: `decoded` ones, each of another sequence, or others. */
int rlx_model_choose_bucket(const rlx_model *m, bool decoded, int64_t left, int64_t *n);
/* Its code, compiled when it is first needed. */
rlx_status rlx_model_get_executable(rlx_model *m, int bucket, rlx_executable **out);

#endif
