/* frontend/model.h: a loaded causal language model. */
#ifndef RLX_FRONTEND_MODEL_H
#define RLX_FRONTEND_MODEL_H

#include <pthread.h>

#include "frontend/context.h"
#include "frontend/family.h"
#include "frontend/rope.h"
#include "frontend/sampler.h"
#include "frontend/tokenizer.h"

/* Tokens of the bucket that decodes several sequences at once, in a fast model. */
enum { RLX_DECODE_BATCH = 16 };

struct rlx_model {
    rlx_context *cx; /* borrowed: outlives the model */
    char *path;      /* as it was given, or what stands for a source in messages */
    const rlx_model_source *source; /* in place of files, while they are read; NULL: there are files */
    bool lent_weights;              /* by the source */
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
    rlx_executable *decode_exe, *prefill_exe; /* one token; up to `prefill` tokens */
    rlx_executable *batch_exe; /* fast: one token of each of several sequences; made when needed */
    pthread_mutex_t lock;      /* batch_exe's making */
    rlx_compile_stats decode_stats, prefill_stats;
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

/* What a model is compiled for. */
typedef enum rlx_model_bucket {
    RLX_BUCKET_DECODE,
    RLX_BUCKET_PREFILL,
    RLX_BUCKET_DECODE_BATCH, /* fast models */
    RLX_MODEL_BUCKETS
} rlx_model_bucket;
typedef struct rlx_bucket_options {
    const char *name; /* static */
    rlx_bucket bucket[2];
    rlx_compile_options compile; /* refers to `bucket`: not to be copied */
} rlx_bucket_options;
/* False: models with these options have no such bucket. */
bool rlx_model_get_bucket(const rlx_model_options *o, rlx_model_bucket which,
                          rlx_bucket_options *out);

/* The bucket that decodes up to RLX_DECODE_BATCH tokens, compiled by whoever needs it first. */
rlx_status rlx_model_decode_batch(rlx_model *m, rlx_executable **out);

#endif
