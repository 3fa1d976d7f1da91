/* frontend/tokenizer_impl.h: what the tokenizer's files share.
 *   tokenizer_json.c   tokenizer.json to this structure
 *   tokenizer_gguf.c   tokenizer.ggml.* of a GGUF file to this structure
 *   tokenizer_spm.c    tokenizer.model (sentencepiece) to this structure
 *   tokenizer_build.c  what these readers share
 *   tokenizer_split.c  normalizer and pre-tokenizer: text to pieces
 *   tokenizer_bpe.c    vocabulary, merges: a piece to ids
 *   tokenizer.c        the whole way, and back
 */
#ifndef RLX_FRONTEND_TOKENIZER_IMPL_H
#define RLX_FRONTEND_TOKENIZER_IMPL_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "frontend/tokenizer.h"
#include "runtime/base/arena.h"
#include "runtime/base/text.h"

typedef struct rlx_token {
    const char *text; /* as in the file; NULL: the id is unused */
    uint32_t text_bytes;
    const char *bytes; /* decoded */
    uint32_t nbytes;
    int32_t rank; /* with `by_text`: lower merges first */
    bool special;
} rlx_token;

enum { RLX_RANK_NEVER = INT32_MAX }; /* no text becomes this token by merging */

/* Cut out of the text before anything else is done with it. */
typedef struct rlx_added_token {
    const char *text; /* for those that match normalized text: already normalized */
    uint32_t bytes;
    int32_t id;
    bool lstrip, rstrip;          /* takes the white space beside it */
    struct rlx_added_token *next; /* with the same first byte, not longer */
} rlx_added_token;

typedef struct rlx_added_set {
    rlx_added_token *by_byte[256];
} rlx_added_set;

typedef struct rlx_merge {
    uint64_t pair; /* left id << 32 | right id */
    int32_t rank;  /* lower merges first; -1: an empty slot */
    int32_t id;    /* of the merged token */
} rlx_merge;

/* Normalizer steps, applied to a whole part. */
typedef struct rlx_normal_step {
    enum {
        RLX_NORMAL_PREPEND,
        RLX_NORMAL_REPLACE,
        RLX_NORMAL_SQUEEZE /* spaces: none at the ends, one in a row */
    } kind;
    const char *pattern; /* replace: what */
    const char *text;
} rlx_normal_step;

/* Pre-tokenizer steps, each applied to every piece of the last. */
typedef struct rlx_split_step {
    enum {
        RLX_SPLIT_REGEX,      /* matches and what lies between them are pieces */
        RLX_SPLIT_REGEX_DROP, /* only what lies between matches (`keep_matches`: only matches) */
        RLX_SPLIT_PREFIX,     /* a space in front when there is none */
        RLX_SPLIT_BYTES,      /* bytes to the byte alphabet */
        RLX_SPLIT_SPACE       /* spaces to `text`, perhaps one in front */
    } kind;
    pcre2_code *regex;
    bool keep_matches;
    bool add_prefix;  /* SPACE: `text` in front when there is none */
    bool prefix_once; /* the same, at the text's start only */
    bool split;       /* SPACE: a piece begins at every `text` */
    const char *text;
} rlx_split_step;

enum { RLX_MAX_STEPS = 8, RLX_MAX_TEMPLATE = 8 };

struct rlx_tokenizer {
    rlx_arena *arena;
    int64_t ntokens;
    rlx_token *tokens; /* by id */
    int32_t *slots;    /* text to id: open addressing, -1 empty */
    uint64_t slot_mask;
    bool by_text; /* two neighbours merge when their joined text is a token (sentencepiece), else
                     when the pair is in `merges` */
    rlx_merge *merges; /* pair to merge: open addressing */
    uint64_t merge_mask;
    int32_t byte_id[256]; /* "<0x00>".. ; -1 without byte fallback */
    int32_t unknown;      /* -1: characters without a token vanish, as in the reference */
    bool fuse_unknown, ignore_merges, byte_fallback;
    const char *word_mark; /* what words begin with (spaces' mark), when no token holds it behind
                              anything else; or NULL */

    rlx_added_set raw, normalized; /* matched before, after the normalizer */
    int nnormal, nsplit;
    rlx_normal_step normal[RLX_MAX_STEPS];
    rlx_split_step split[RLX_MAX_STEPS];
    int nprefix, nsuffix; /* of the post-processor's template */
    int32_t prefix[RLX_MAX_TEMPLATE], suffix[RLX_MAX_TEMPLATE];

    bool decode_bytes;        /* token texts are in the byte alphabet */
    const char *decode_space; /* becomes a space, or NULL */
    bool decode_fallback;     /* "<0x41>" becomes a byte */
    int decode_strip;         /* spaces taken from the text's start */
};

/* ---- tokenizer_bpe.c */

uint64_t rlx_tokenizer_hash(const void *p, size_t n);
int32_t rlx_tokenizer_lookup(const rlx_tokenizer *t, const char *text, size_t bytes); /* -1: none */
/* Makes the tables for `count` tokens and merges; tokens and merges are then put in. */
rlx_status rlx_tokenizer_reserve(rlx_tokenizer *t, int64_t tokens, int64_t merges);
void rlx_tokenizer_index(rlx_tokenizer *t, int32_t id); /* after its text is set */
void rlx_tokenizer_put_merge(rlx_tokenizer *t, int32_t left, int32_t right, int32_t rank,
                             int32_t id);

/* ---- tokenizer_build.c: for readers */

rlx_status rlx_tokenizer_create(rlx_tokenizer **out); /* empty */
/* Copies the text and puts it into the index. */
rlx_status rlx_tokenizer_set_token(rlx_tokenizer *t, int32_t id, const char *text, size_t bytes);
/* "a b": the two sides, which may themselves hold spaces; false when they are no tokens. */
bool rlx_tokenizer_find_sides(const rlx_tokenizer *t, const char *merge, size_t bytes,
                              int32_t *left, int32_t *right);
/* `joined` is scratch. */
rlx_status rlx_tokenizer_add_merge(rlx_tokenizer *t, int32_t left, int32_t right, int32_t rank,
                                   rlx_text *joined);
rlx_status rlx_tokenizer_add_added(rlx_tokenizer *t, rlx_added_set *set,
                                   const rlx_added_token *a); /* copies it and its text */
rlx_status rlx_tokenizer_add_split(rlx_tokenizer *t, rlx_split_step **out);
rlx_status rlx_tokenizer_add_split_regex(rlx_tokenizer *t, const char *pattern);
void rlx_tokenizer_find_byte_ids(rlx_tokenizer *t);
/* What tokens decode to, and where words can be parted: after everything else is set. */
rlx_status rlx_tokenizer_finish(rlx_tokenizer *t);
/* Sentencepiece's BPE (tokenizer_spm.c): scores to ranks; spaces to marks, byte fallback, and back.
 */
int32_t rlx_tokenizer_rank_of_score(float score);
void rlx_tokenizer_set_sentencepiece(rlx_tokenizer *t, bool squeeze, bool prefix);

/* ---- tokenizer_bpe.c */

/* One encoding: the ids so far and scratch that its pieces reuse. */
typedef struct rlx_encoding {
    const rlx_tokenizer *tokenizer;
    int32_t *ids;
    int64_t nids, cap_ids;
    struct rlx_bpe_symbol *symbols;
    struct rlx_bpe_candidate *heap;
    int64_t cap_symbols, nheap, cap_heap;
    rlx_text mapped;   /* a piece in the byte alphabet */
    const char *piece; /* that is being merged */
    bool at_start;     /* nothing of the text was encoded yet */
} rlx_encoding;

rlx_status rlx_encoding_push(rlx_encoding *e, int32_t id);
rlx_status rlx_encoding_push_piece(rlx_encoding *e, const char *piece, size_t bytes);
void rlx_encoding_deinit(rlx_encoding *e);

/* ---- tokenizer_split.c */

void rlx_tokenizer_normalize(const rlx_tokenizer *t, const char *text, size_t bytes, rlx_text *out);
/* Splits normalized text into pieces and pushes each. */
rlx_status rlx_encoding_split(rlx_encoding *e, const char *text, size_t bytes);
rlx_status rlx_tokenizer_compile_regex(const char *pattern, pcre2_code **out);
extern const char rlx_tokenizer_gpt2_pattern[];

/* The byte alphabet: each byte as a printable character; and back (-1: not of the alphabet). */
void rlx_byte_alphabet_put(rlx_text *out, const char *bytes, size_t n);
int rlx_byte_alphabet_get(uint32_t codepoint);

/* Bytes of the character at p (n > 0 left), or 0 when it is not UTF-8. *codepoint may be NULL. */
size_t rlx_utf8_read(const char *p, size_t n, uint32_t *codepoint);
bool rlx_codepoint_is_space(uint32_t c);

#endif
