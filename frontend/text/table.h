/* frontend/text/table.h: a tokenizer as one flat block of memory, which is what a reader's
 * description is compiled into, what encoding and decoding read, and what a file of the cache
 * holds, to be mapped.
 *
 *   head | strings | tokens | text index | key index | merges | merge index | added tokens | tries
 *
 * Offsets are bytes from the head; numbers are the machine's own (a file of another machine has
 * another `order`). Nothing in it is a pointer. */
#ifndef RLX_FRONTEND_TEXT_TABLE_H
#define RLX_FRONTEND_TEXT_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "frontend/text/regex.h"
#include "frontend/text/trie.h"
#include "frontend/tokenizer.h"

/* Bytes of `strings`. */
typedef struct rlx_span {
    uint32_t at, bytes;
} rlx_span;

/* ---- what a tokenizer does: the same in a description and in the flat form */

typedef enum rlx_normal_kind {
    RLX_NORMAL_NONE,
    RLX_NORMAL_PREPEND,       /* a in front of what is not empty */
    RLX_NORMAL_REPLACE,       /* a by b */
    RLX_NORMAL_REPLACE_REGEX, /* matches of a by b */
    RLX_NORMAL_FORM,          /* n: rlx_normal_form */
    RLX_NORMAL_LOWERCASE,
    RLX_NORMAL_STRIP, /* white space, RLX_AT_LEFT and RLX_AT_RIGHT */
    RLX_NORMAL_STRIP_MARKS,
    RLX_NORMAL_NMT,           /* control characters go, odd spaces become spaces */
    RLX_NORMAL_BERT,          /* RLX_BERT_* */
    RLX_NORMAL_CHARSMAP,      /* sentencepiece's compiled rules as Hugging Face applies them */
    RLX_NORMAL_SENTENCEPIECE, /* all that its normalizer does, RLX_SPM_* */
    RLX_NORMAL_BYTES          /* bytes to the byte alphabet */
} rlx_normal_kind;

enum { RLX_AT_LEFT = 1, RLX_AT_RIGHT = 2 };
enum { RLX_BERT_CLEAN = 1, RLX_BERT_CJK = 2, RLX_BERT_STRIP_MARKS = 4, RLX_BERT_LOWERCASE = 8 };
enum {
    RLX_SPM_PREFIX = 1,  /* a space in front */
    RLX_SPM_SQUEEZE = 2, /* spaces: none at the ends, one in a row */
    RLX_SPM_MARKS = 4,   /* spaces become U+2581 */
    RLX_SPM_SUFFIX = 8,  /* the space of PREFIX behind instead */
    RLX_SPM_KEEP = 16    /* with SQUEEZE: one at the beginning where there are any */
};

typedef enum rlx_split_kind {
    RLX_SPLIT_NONE,
    RLX_SPLIT_REGEX,    /* a */
    RLX_SPLIT_LITERAL,  /* a */
    RLX_SPLIT_CLASS,    /* characters of rlx_char_class n, each a match */
    RLX_SPLIT_COUNT,    /* every n characters */
    RLX_SPLIT_PREFIX,   /* a space in front when there is none */
    RLX_SPLIT_BYTES,    /* bytes to the byte alphabet */
    RLX_SPLIT_METASPACE /* spaces to a; RLX_METASPACE_* */
} rlx_split_kind;

/* What becomes of matches and of what lies between them. */
typedef enum rlx_split_behavior {
    RLX_SPLIT_ISOLATED,
    RLX_SPLIT_REMOVED,
    RLX_SPLIT_MERGED_PREVIOUS,
    RLX_SPLIT_MERGED_NEXT,
    RLX_SPLIT_CONTIGUOUS
} rlx_split_behavior;

enum {
    RLX_METASPACE_PREFIX = 1, /* a in front when there is none .. */
    RLX_METASPACE_FIRST = 2,  /* .. at the text's beginning only */
    RLX_METASPACE_SPLIT = 4   /* a piece begins at every a */
};

typedef struct rlx_text_step {
    uint32_t kind; /* rlx_normal_kind or rlx_split_kind */
    uint32_t flags, n;
    uint16_t behavior, invert; /* invert: matches are what lies between matches */
    rlx_span a, b;
} rlx_text_step;

typedef enum rlx_text_model {
    RLX_MODEL_BPE,
    RLX_MODEL_WORDPIECE,
    RLX_MODEL_UNIGRAM,
    RLX_MODEL_WORDS /* a piece is a token, or unknown */
} rlx_text_model;

/* Of the text's first token when it is decoded. */
typedef enum rlx_decode_first {
    RLX_FIRST_SAME,
    RLX_FIRST_STRIP,    /* without `decode_strip` leading spaces */
    RLX_FIRST_NO_SPACE, /* without any space */
    RLX_FIRST_WORDPIECE /* a continuation as its text, others without a leading space */
} rlx_decode_first;

enum { RLX_MAX_STEPS = 12, RLX_MAX_TEMPLATE = 24, RLX_MAX_DECODERS = 8 };

typedef enum rlx_decode_kind {
    RLX_DECODE_BYTES = 1, /* the byte alphabet */
    RLX_DECODE_REPLACE,   /* a by b */
    RLX_DECODE_FALLBACK,  /* "<0x41>" */
    RLX_DECODE_STRIP,     /* up to n and m characters a from a token's ends */
    RLX_DECODE_WORDPIECE, /* a space in front, unless a is there */
    RLX_DECODE_CLEANUP,   /* WordPiece's, of spaces before punctuation */
    RLX_DECODE_SPACE      /* a space in front */
} rlx_decode_kind;

typedef struct rlx_decode_step {
    uint32_t kind, n, m;
    rlx_span a, b;
} rlx_decode_step;

enum { RLX_TEMPLATE_A = -1, RLX_TEMPLATE_B = -2 };
typedef struct rlx_template_part {
    int32_t what; /* an id, or a sequence */
    int32_t type; /* type id */
} rlx_template_part;

typedef struct rlx_text_template {
    int32_t n; /* 0: none; the sequences alone, with types 0 and 1 */
    rlx_template_part part[RLX_MAX_TEMPLATE];
} rlx_text_template;

typedef struct rlx_text_settings {
    uint32_t model; /* rlx_text_model */
    uint32_t nnormal, nsplit, ndecode;
    rlx_text_step
        normal[RLX_MAX_STEPS];          /* one after the other, on what lies between added tokens */
    rlx_text_step split[RLX_MAX_STEPS]; /* each on every piece of the last */
    rlx_text_template single, pair;

    /* BPE */
    bool by_text; /* two neighbours merge when their joined text is a token (lowest rank first),
                     else when the pair is among the merges */
    bool bytes; /* a piece starts as bytes, and tokens match as bytes; else as characters and texts
                 */
    bool ignore_merges;   /* a piece that is a token is taken as it is */
    bool fuse_unknown;    /* one unknown token for neighbours that are unknown */
    bool byte_fallback;   /* what is unknown is spelled in bytes when all have tokens */
    int32_t unknown;      /* -1: what has no token vanishes */
    int32_t byte_id[256]; /* "<0x00>" ..; -1: no such token */
    rlx_span mark;        /* what words begin with, when no token holds it behind anything else */
    rlx_span prefix;      /* of tokens that continue a word: "##" */
    rlx_span suffix;      /* of tokens that end a piece: "</w>" */
    uint32_t max_chars;   /* WordPiece: longer words are unknown */
    double unknown_score; /* Unigram */

    rlx_decode_step
        decode[RLX_MAX_DECODERS]; /* token by token; `bytes` of a token is their result */
    uint32_t decode_first;        /* rlx_decode_first */
    uint32_t decode_strip;
    rlx_span decode_end; /* a token's text ends in it: the space that this is, is none at the end */
    bool decode_collapse; /* neighbours that are the same are one */
    rlx_span charsmap;    /* sentencepiece's compiled rules */
} rlx_text_settings;

/* ---- parts */

enum {
    RLX_TOKEN_PRESENT = 1, /* the id is used */
    RLX_TOKEN_SPECIAL = 2, /* decodes to nothing */
    RLX_TOKEN_MODEL = 4,   /* the model can make it */
    RLX_TOKEN_USER = 8,    /* sentencepiece's user-defined: beats every other way */
    RLX_TOKEN_UNUSED = 16  /* merged like others, and in the end what it was merged from */
};
enum { RLX_RANK_NEVER = INT32_MAX }; /* no text becomes this token by merging */

typedef struct rlx_token {
    rlx_span text;  /* as in the file */
    rlx_span bytes; /* decoded, inside a text */
    union {
        double score; /* Unigram */
        rlx_span key; /* BPE that matches bytes: which */
    };
    int32_t rank; /* by_text: lower merges first */
    uint32_t flags;
} rlx_token;

typedef struct rlx_merge { /* its index is its rank */
    int32_t left, right, id;
} rlx_merge;

enum {
    RLX_ADDED_LSTRIP = 1, /* takes the white space beside it */
    RLX_ADDED_RSTRIP = 2,
    RLX_ADDED_WORD = 4,      /* only where no word goes on */
    RLX_ADDED_NORMALIZED = 8 /* matched in normalized text */
};
/* Cut out of the text before anything else is done with it. */
typedef struct rlx_added_token {
    rlx_span text;
    int32_t id;
    uint32_t flags;
} rlx_added_token;

/* ---- the flat form */

typedef struct rlx_section {
    uint64_t at, count; /* bytes from the head; elements */
} rlx_section;

typedef struct rlx_flat_trie {
    rlx_section edges, values; /* no edges: empty */
} rlx_flat_trie;

typedef struct rlx_table {
    char magic[8];
    uint32_t order, version, head_bytes, reserved;
    uint64_t bytes;     /* of all */
    uint64_t checksum;  /* of what follows this field */
    uint8_t source[32]; /* what it was made of: the cache's key */
    rlx_text_settings settings;
    rlx_section strings, tokens, text_slots, key_slots, merges, merge_slots, added;
    rlx_flat_trie model, raw, normalized;
} rlx_table;

/* ---- in use */

typedef struct rlx_added_set {
    rlx_trie trie;
    bool first[256]; /* bytes that one of them begins with */
    bool any;
} rlx_added_set;

struct rlx_tokenizer {
    const rlx_table *head;
    size_t bytes; /* of the block */
    bool mapped;
    const rlx_text_settings *settings;
    const char *strings;
    const rlx_token *tokens;
    int64_t ntokens;
    const int32_t *text_slots, *key_slots; /* open addressing, -1: empty */
    uint32_t text_mask, key_mask;
    const rlx_merge *merges;
    const int32_t *merge_slots;
    uint32_t merge_mask;
    const rlx_added_token *added;
    rlx_trie model;     /* Unigram, WordPiece */
    uint32_t continued; /* the model's node behind `prefix` */
    bool whole_prefix;  /* there is such a node */
    rlx_added_set raw, normalized;
    pcre2_code *normal_regex[RLX_MAX_STEPS], *split_regex[RLX_MAX_STEPS];
    int32_t unit[256]; /* ids of bytes or of ASCII characters, as pieces start with; -1: none */
};

/* Takes the block over (munmap or free), also when it fails: RLX_INVALID_FILE when it is none, of
 * another version or damaged. */
rlx_status rlx_table_open(void *block, size_t bytes, bool mapped, rlx_tokenizer **out);
/* Part of every key: what a reader makes of a file changes with the library. Rises with whatever
 * changes a table of the same files. */
#define RLX_TABLE_BUILD RLX_VERSION " 4"
/* A head before anything is known, and the last thing that is written into it. */
#define RLX_TABLE_HEAD                                                                         \
    {                                                                                          \
        .magic = "rlxtext", .order = 0x01020304, .version = 1, .head_bytes = sizeof(rlx_table) \
    }
void rlx_table_seal(void *block, size_t bytes);

static inline const char *rlx_table_text(const rlx_tokenizer *t, rlx_span s)
{
    return t->strings + s.at;
}

/* ---- indices */

uint64_t rlx_text_hash(const void *p, size_t n);
/* A token by its text, or by what the model matches; -1: none. */
int32_t rlx_table_find_text(const rlx_tokenizer *t, const char *text, size_t bytes);
int32_t rlx_table_find_key(const rlx_tokenizer *t, const char *key, size_t bytes);

static inline uint64_t rlx_merge_hash(int32_t left, int32_t right)
{
    uint64_t h = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9e3779b97f4a7c15u;
    return h ^ h >> 32;
}

#endif
