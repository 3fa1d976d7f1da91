/* runtime/cache.h: compiled programs in folders: one file per key, which is there whole or not at
 * all.
 *
 *   FOLDER/code/KEY.rlx          entry bytes (program.h), KEY in hex
 *   FOLDER/code/KEY-DRIVER.drv   what a driver made of them (driver_code.h); goes with the entry
 *   FOLDER/code/sealed           nothing is to be compiled any more
 *
 * Whatever is wrong with an entry is a miss, with a warning; the compile that follows puts another
 * in its place. Writers race harmlessly: each renames its own file into place, and equal keys have
 * equal contents. Nothing is locked and there is no index: an entry's time of use is its file's.
 * Any number of threads may use a cache; any number of processes a folder. */
#ifndef RLX_RUNTIME_CACHE_H
#define RLX_RUNTIME_CACHE_H

#include <stdbool.h>

#include "runtime/program.h"

typedef struct rlx_cache rlx_cache;

#ifndef RLX_CACHE_TYPES /* frontend/rlx.h declares the same for users */
#define RLX_CACHE_TYPES
typedef struct rlx_cache_options {
    const char *folder; /* NULL: $RLX_CACHE_DIR, else rlx in $XDG_CACHE_HOME or $HOME/.cache */
    const char *
        system_folder; /* looked in when `folder` has no entry, never written; NULL: $RLX_CACHE_SYSTEM_DIR */
    const char *
        trusted_key; /* a file with a public key: of the system folder, which anybody may then have written, only
                                  entries that were signed with it are taken; NULL: $RLX_CACHE_KEY, or none */
    int64_t max_bytes; /* of `folder`; beyond it what was used least recently goes; 0: 4 GiB */
    bool shared;       /* folders that others can write to are taken, too: their code is run */
    void (*warn)(void *user,
                 const char *message); /* damaged entries, writes that fail; may be NULL */
    void *warn_user;
} rlx_cache_options;

/* An entry as its file is; nothing of it is read. */
typedef struct rlx_cache_entry {
    char key[65]; /* hex */
    int64_t bytes;
    int64_t used;         /* seconds since 1970, within an hour */
    bool system;          /* in the system folder */
    int64_t driver_bytes; /* beside it, and not in `bytes`: what drivers of devices made of it */
} rlx_cache_entry;

typedef struct rlx_cache_stats {
    int64_t hits, misses, written, damaged;
} rlx_cache_stats;
#endif

/* A folder that `o` names and that cannot be used is RLX_INVALID_ARGUMENT (others can write to it)
 * or RLX_IO. With folder NULL that is a warning, and nothing is kept; no HOME, or a read-only one,
 * is not even that. */
rlx_status rlx_cache_open(const rlx_cache_options *o, rlx_cache **out);
void rlx_cache_close(rlx_cache *c);
const char *rlx_cache_folder(const rlx_cache *c); /* NULL: nothing is kept; lent */
bool rlx_cache_is_sealed(const rlx_cache *c);
void rlx_cache_get_stats(const rlx_cache *c, rlx_cache_stats *out);

/* The program of a key whose text is `preimage`, which the caller destroys; NULL when there is
 * none. */
rlx_program *rlx_cache_get(rlx_cache *c, const rlx_hash *key, const char *preimage);
/* The same for who looks under several keys for one program: neither a hit nor a miss; and what it was. */
rlx_program *rlx_cache_look(rlx_cache *c, const rlx_hash *key, const char *preimage);
void rlx_cache_count(rlx_cache *c, bool hit);
/* Counts an entry as damaged and warns of it; takes the status over. */
void rlx_cache_tell_damage(rlx_cache *c, rlx_status st);
/* Keeps an entry, and makes room for it. RLX_IO; RLX_UNSUPPORTED when the cache is sealed. No error
 * when nothing is kept. */
rlx_status rlx_cache_put(rlx_cache *c, const rlx_hash *key, const void *bytes, size_t n);

/* Tells what went wrong, and frees it. */
void rlx_cache_warn(const rlx_cache *c, rlx_status st);

/* What a driver made of an entry, by the text that names device, driver and version; the caller frees it. NULL: nothing is there, or it is
 * damaged, which is told. Nothing is taken from a folder whose entries are signed. */
void *rlx_cache_get_driver_code(rlx_cache *c, const rlx_hash *key, const char *driver, size_t *n);
/* Keeps it. What fails is told; in a sealed cache nothing is kept. */
void rlx_cache_put_driver_code(rlx_cache *c, const rlx_hash *key, const char *driver,
                               const void *code, size_t n);

/* Calls `fn` for every entry, those of the user's folder first; false from it ends. */
typedef bool rlx_cache_visit(void *user, const rlx_cache_entry *e);
rlx_status rlx_cache_each(rlx_cache *c, rlx_cache_visit *fn, void *user);
/* Reads and checks an entry: RLX_INVALID_FILE, naming the file and the byte. The caller destroys
 * *out. */
rlx_status rlx_cache_read(rlx_cache *c, const rlx_cache_entry *e, rlx_program **out);
/* The bytes themselves, unchecked; the caller frees them. */
rlx_status rlx_cache_read_bytes(rlx_cache *c, const rlx_cache_entry *e, void **bytes, size_t *n);
rlx_status rlx_cache_remove(rlx_cache *c, const rlx_cache_entry *e); /* of the user's folder */
/* Checks what drivers made of an entry: RLX_INVALID_FILE, naming the file. */
rlx_status rlx_cache_check_drivers(rlx_cache *c, const rlx_cache_entry *e);
/* Removes what was used least recently until at most `max_bytes` are left, and what killed writers
 * left. *removed: how many entries; may be NULL. */
rlx_status rlx_cache_trim(rlx_cache *c, int64_t max_bytes, int64_t *removed);
/* From then on rlx_cache_put refuses; or it does no longer. */
rlx_status rlx_cache_seal(rlx_cache *c, bool sealed);

/* Puts a signature beside each entry of the folder, by the secret key in a file: the folder can then be another's system folder
 * (rlx_cache_options.trusted_key). *count: how many. */
rlx_status rlx_cache_sign(rlx_cache *c, const char *secret_key, int64_t *count);

#endif
