/* frontend/text/description.h: what readers fill and rlx_description_compile makes a table of.
 *
 *   read_json.c, read_json_steps.c  tokenizer.json      read_gguf.c      tokenizer.ggml.* of GGUF
 *   read_sentencepiece.c            tokenizer.model     read_tiktoken.c  lists of ranks
 *   read_lists.c                    vocab.txt; vocab.json and merges.txt
 */
#ifndef RLX_FRONTEND_TEXT_DESCRIPTION_H
#define RLX_FRONTEND_TEXT_DESCRIPTION_H

#include "frontend/text/table.h"
#include "frontend/text/unicode.h"
#include "runtime/base/text.h"

enum { RLX_MAX_TOKENS = 1 << 22 };

typedef struct rlx_description {
    const char *name; /* of the file, for messages; borrowed */
    const char
        *pre; /* a pattern that the caller names (pre.def); borrowed; NULL once a reader took it */
    uint8_t source[32]; /* the table's key in the cache */
    rlx_text_settings settings;
    rlx_text strings;
    rlx_token *tokens; /* by id */
    int64_t ntokens;
    int32_t *slots; /* by text: open addressing, -1: empty */
    uint32_t slot_mask;
    rlx_merge *merges;
    int64_t nmerges, cap_merges;
    rlx_added_token *added;
    int64_t nadded, cap_added;
    rlx_text scratch;
} rlx_description;

void rlx_description_init(rlx_description *d, const char *name);
void rlx_description_deinit(rlx_description *d);
/* What a tokenizer's files say (load.c; rlx_tokenizer_load has what `path` may be, and lends it to the
 * description). Initialises it, which is to be freed after an error, too. */
rlx_status rlx_description_load(rlx_description *d, const char *path);

/* The file's name, a colon and the message. */
#define RLX_DESCRIPTION_FAIL(d, code, fmt, ...) RLX_FAIL(code, "%s: " fmt, (d)->name, __VA_ARGS__)

/* Copies a text; memory that is short is noticed when the table is made. */
rlx_span rlx_description_text(rlx_description *d, const char *text, size_t bytes);
rlx_span rlx_description_string(rlx_description *d, const char *text);
const char *rlx_description_get(const rlx_description *d, rlx_span s);

/* Room for ids 0 .. count-1; once. */
rlx_status rlx_description_reserve(rlx_description *d, int64_t count);
/* RLX_INVALID_FILE when the id has another text already, or the text another id. */
rlx_status rlx_description_set_token(rlx_description *d, int32_t id, const char *text, size_t bytes,
                                     uint32_t flags);
/* The same with a text that another id may have: then only that one is found by it. */
rlx_status rlx_description_set_copy(rlx_description *d, int32_t id, const char *text, size_t bytes,
                                    uint32_t flags);
int32_t rlx_description_find(const rlx_description *d, const char *text, size_t bytes);
rlx_status rlx_description_add_merge(rlx_description *d, int32_t left, int32_t right);
/* "a b": the two sides, which may themselves hold spaces. */
rlx_status rlx_description_add_merge_text(rlx_description *d, const char *merge, size_t bytes);
/* `flags`: RLX_ADDED_*. */
rlx_status rlx_description_add_added(rlx_description *d, int32_t id, const char *text, size_t bytes,
                                     uint32_t flags);

/* The next step, zeroed. RLX_UNSUPPORTED when there are too many. */
rlx_status rlx_description_add_normal(rlx_description *d, rlx_normal_kind kind,
                                      rlx_text_step **out);
rlx_status rlx_description_add_split(rlx_description *d, rlx_split_kind kind, rlx_text_step **out);
rlx_status rlx_description_add_decode(rlx_description *d, rlx_decode_kind kind,
                                      rlx_decode_step **out);
rlx_status rlx_description_split_regex(rlx_description *d, const char *pattern);
rlx_status rlx_description_put_template(rlx_description *d, rlx_text_template *t, int32_t what,
                                        int32_t type);
/* Templates [prefix] A [suffix] and, for pairs, [prefix] A [suffix] [prefix] B [suffix]; -1: none.
 */
rlx_status rlx_description_set_ends(rlx_description *d, int32_t bos, int32_t eos);

/* The parts of which BERT's tokenizer and the byte-level ones are made. */
rlx_status rlx_description_set_bert(rlx_description *d, bool lowercase);
rlx_status rlx_description_set_byte_level(rlx_description *d);
/* Sentencepiece's normalizer (RLX_SPM_*) and decoder; `ranks` are of scores. */
rlx_status rlx_description_set_sentencepiece(rlx_description *d, uint32_t flags);
int32_t rlx_description_rank_of_score(float score);
float rlx_description_score_of_rank(int32_t rank);

/* Which added tokens of Phi-3 take the white space behind them: files of models that are named so do
 * not say it. */
#define RLX_PHI3_NAME "Phi-3"
bool rlx_text_phi3_strips(const char *added);

/* What `pre` names: pre.def. NULL: no such name. */
typedef struct rlx_text_pre {
    const char *name;
    const char *const *patterns; /* RLX_PRE_PATTERNS of them at most, ended by NULL */
    bool whole_words, bos, nfc;
} rlx_text_pre;
enum { RLX_PRE_PATTERNS = 6 };
const rlx_text_pre *rlx_text_pre_find(const char *name);
/* A name of these `n` patterns, if it can be one with this `nfc`; NULL: none has exactly them. */
const char *rlx_text_pre_name(const char *const *patterns, int n, bool whole_words, bool nfc);
/* The pre-tokenizer of a name, and byte-level BPE after it. */
/* The name that the caller gave, to a reader that goes by it; else `absent`. */
const char *rlx_description_take_pre(rlx_description *d, const char *absent);
rlx_status rlx_description_set_pre(rlx_description *d, const rlx_text_pre *pre);

/* One block, from malloc. */
rlx_status rlx_description_compile(rlx_description *d, void **block, size_t *bytes);

#endif
