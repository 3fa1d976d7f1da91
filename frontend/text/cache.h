/* frontend/text/cache.h: compiled tables in the user's cache folder, to be mapped by later starts.
 *
 *   KEY.table    a table; KEY is the hash of what it was made of
 *   KEY.stamp    of files: their devices, inodes, sizes and times, and the key of their table
 *
 * The folder is the one that compiled code is kept in (rlx_tokenizer_options.cache_folder), and there tokenizers.
 * Beyond RLX_TEXT_CACHE_BYTES those go that were not used for the longest time.
 *
 * It is a help and never an error: what is missing, of another version, damaged or not the user's
 * own is a miss, and what cannot be written is not. */
#ifndef RLX_FRONTEND_TEXT_CACHE_H
#define RLX_FRONTEND_TEXT_CACHE_H

#include "frontend/text/table.h"
#include "runtime/base/hash.h"

enum { RLX_TEXT_FILES = 3 };
#define RLX_TEXT_CACHE_BYTES (256u << 20) /* some thirty vocabularies of 128k tokens */

typedef struct rlx_file_identity {
    uint64_t device, inode, size;
    int64_t modified_s, modified_ns, changed_s, changed_ns;
} rlx_file_identity;

/* What a tokenizer is read from. */
typedef struct rlx_text_files {
    const char *path[RLX_TEXT_FILES]; /* borrowed */
    int n;
    const char *folder; /* of all of rlx's caches; NULL: the default one */
    const char *how;    /* whatever else decides what is read: options; may be NULL */
    rlx_file_identity identity[RLX_TEXT_FILES];
} rlx_text_files;

typedef struct rlx_text_cache {
    char *folder; /* NULL: there is none to be trusted */
    rlx_text_files files;
    rlx_hash place; /* of the stamp */
    bool fresh;     /* the files changed so lately that their times do not tell them apart */
} rlx_text_cache;

/* Looks at the files, before they are read. */
void rlx_text_cache_init(rlx_text_cache *c, const rlx_text_files *files);
void rlx_text_cache_deinit(rlx_text_cache *c);
/* The table of these very files; NULL: none. */
rlx_tokenizer *rlx_text_cache_find(const rlx_text_cache *c);
/* The table of this content, wherever it was read; remembers the files for it. NULL: none. */
rlx_tokenizer *rlx_text_cache_find_content(const rlx_text_cache *c, const rlx_hash *key);
void rlx_text_cache_put(const rlx_text_cache *c, const rlx_hash *key, const void *block,
                        size_t bytes);
/* Removes tables and stamps, those first that were not used for the longest time, until the
 * folder's have no more than `most` bytes. */
void rlx_text_cache_trim(const char *folder, uint64_t most);

#endif
