/* frontend/quantize.h: the parts of rlx_quantize.
 *
 *   IN --quantize_source--> tensors under GGUF's names, metadata
 *      --quantize_mix--> the format of each      importance file --quantize_imatrix--> weights of
 * its columns
 *      --quantize.c: rows over all cores--> OUT, whole or not at all
 */
#ifndef RLX_FRONTEND_QUANTIZE_H
#define RLX_FRONTEND_QUANTIZE_H

#include <stdint.h>

#include "frontend/model.h"
#include "runtime/gguf_write.h"

/* ---- mixes ---------------------------------------------------------------------------------- */

typedef struct rlx_quantize_model {
    int layers;
    int queries_per_key; /* 1 where it is not known */
    bool tied;           /* there is no output.weight */
    bool weighed;        /* importance is given */
} rlx_quantize_model;

/* By name ("Q4_K_M", "q4_k_m"; "Q4_K" is "Q4_K_M"); -1: there is none. */
int rlx_quantize_find_mix(const char *name);
int rlx_quantize_mix_id(int mix); /* general.file_type */
/* The format for a tensor that has the name, as GGUF files have it; *wanted: what the mix has for it, whatever its
 * rows are. */
rlx_format rlx_quantize_choose(int mix, const rlx_quantize_model *m, const rlx_tensor *t,
                               rlx_format *wanted);

/* ---- sources -------------------------------------------------------------------------------- */

typedef struct rlx_quantize_source {
    rlx_gguf_head head;  /* metadata, without what quantizing decides */
    rlx_tensor *tensors; /* under GGUF's names */
    int n;
    rlx_quantize_model model;
    rlx_gguf **parts; /* what the tensors lie in */
    int nparts;
    rlx_weights *weights; /* or this; then: */
    char **names;         /* of the tensors */
    float *rope_factors[2]; /* data of some */
    int *heads;     /* of each tensor: 0, or heads whose first `rotary` rows become .. */
    int64_t rotary; /* .. those of rotary pairs 2i, 2i + 1 */
} rlx_quantize_source;

/* Metadata and tensors of IN. After an error there is nothing to deinit. */
rlx_status rlx_quantize_source_init(rlx_quantize_source *s, const char *path);
void rlx_quantize_source_deinit(rlx_quantize_source *s);
/* RLX_IO when what was read so far is not the files' any more: one was made shorter. */
rlx_status rlx_quantize_source_check(const rlx_quantize_source *s);
/* quantize_hf.c: of a hub's directory. */
struct rlx_model_path;
rlx_status rlx_quantize_read_directory(rlx_quantize_source *s, const struct rlx_model_path *p);
/* quantize_text.c: what it says about text as metadata. */
rlx_status rlx_quantize_put_text(rlx_gguf_head *h, const char *dir, const rlx_model *m);
/* The tokens of a tokenizer, by id. */
enum {
    RLX_QUANTIZE_NORMAL = 1, /* as GGUF files number them */
    RLX_QUANTIZE_UNKNOWN,
    RLX_QUANTIZE_CONTROL,
    RLX_QUANTIZE_USER_DEFINED,
    RLX_QUANTIZE_UNUSED,
    RLX_QUANTIZE_BYTE
};
typedef struct rlx_quantize_tokens {
    char **text; /* heap; NULL: unused */
    int32_t *type;
    int64_t n;
} rlx_quantize_tokens;
rlx_status rlx_quantize_put_tokens(rlx_gguf_head *h, const rlx_quantize_tokens *t);
/* Refuses what changes where an added token is found, `what` of it, and has no metadata. */
rlx_status rlx_quantize_refuse_added(const char *what, const char *text);
/* quantize_spm.c: of a directory whose tokenizer is not byte-level; fills *t, which has room. */
rlx_status rlx_quantize_put_sentencepiece(rlx_gguf_head *h, const char *dir, bool phi3,
                                          rlx_quantize_tokens *t);

/* ---- importance ----------------------------------------------------------------------------- */

typedef struct rlx_imatrix rlx_imatrix;
/* A file of mean squares of activations, by matrix and column, as llama-imatrix writes them: GGUF,
 * or the older binary form. */
rlx_status rlx_imatrix_load(const char *path, rlx_imatrix **out);
void rlx_imatrix_destroy(rlx_imatrix *m); /* accepts NULL */
int rlx_imatrix_count(const rlx_imatrix *m);
/* Numbers for the columns of all the matrices that tensor `t` is made of, or NULL: it has none. */
rlx_status rlx_imatrix_find(const rlx_imatrix *m, const rlx_tensor *t, const float **out);

#endif
