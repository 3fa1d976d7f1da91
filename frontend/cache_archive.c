/* frontend/cache_archive.c: entries in one file, to be carried elsewhere, and keys to sign them
 * with.
 *
 *   "rlxarch1", then for each entry: its bytes' number (u64, little-endian), 64 bytes of signature
 * (zeros: none), the bytes */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "frontend/cache.h"
#include "runtime/base/sign.h"
#include "runtime/write_file.h"

static const char magic[8] = {'r', 'l', 'x', 'a', 'r', 'c', 'h', '1'};
enum { HEAD = 8 + RLX_SIGNATURE_BYTES };

/* ---- out ------------------------------------------------------------------------------------- */

typedef struct archive {
    rlx_cache *cache;
    const rlx_secret_key *key; /* NULL: unsigned */
    int fd;
    int64_t count;
    rlx_status status;
} archive;

static rlx_status write_entry(archive *a, const void *bytes, size_t n)
{
    uint8_t head[HEAD] = {0};
    for (int i = 0; i < 8; i++)
        head[i] = (uint8_t)((uint64_t)n >> 8 * i);
    if (a->key)
        rlx_sign(a->key, bytes, n, head + 8);
    RLX_TRY(rlx_write_bytes(a->fd, head, sizeof head));
    return rlx_write_bytes(a->fd, bytes, n);
}

/* The bytes of a whole entry; NULL when it is damaged, which is told, or gone meanwhile. */
static void *read_whole(archive *a, const rlx_cache_entry *e, size_t *n)
{
    void *bytes = NULL;
    rlx_program *p = NULL;
    rlx_status st = rlx_cache_read_bytes(a->cache, e, &bytes, n);
    if (!st && (st = rlx_program_decode(bytes, *n, &p))) {
        free(bytes);
        bytes = NULL;
    }
    rlx_program_destroy(p);
    if (rlx_status_code(st) == RLX_NOT_FOUND)
        rlx_status_free(st);
    else if (st)
        rlx_cache_tell_damage(
            a->cache, rlx_status_note(st, __FILE__, __LINE__, "left out: the entry %.16s", e->key));
    return bytes;
}

/* What is damaged stays where it is. */
static bool add_entry(void *user, const rlx_cache_entry *e)
{
    archive *a = user;
    size_t n;
    void *bytes = read_whole(a, e, &n);
    if (!bytes)
        return true;
    a->status = write_entry(a, bytes, n);
    free(bytes);
    a->count += !a->status;
    return !a->status;
}

static rlx_status write_archive(void *user, int fd)
{
    archive *a = user;
    a->fd = fd;
    RLX_TRY(rlx_write_bytes(fd, magic, sizeof magic));
    rlx_status st = rlx_cache_each(a->cache, add_entry, a);
    if (!st)
        return a->status;
    rlx_status_free(a->status);
    return st;
}

rlx_status rlx_cache_export(rlx_cache *c, const char *path, const char *secret_key, int64_t *count)
{
    rlx_secret_key key;
    archive a = {.cache = c};
    *count = 0;
    if (secret_key) {
        RLX_TRY(rlx_sign_read_secret(secret_key, &key));
        a.key = &key;
    }
    rlx_status st = rlx_write_file(path, write_archive, &a);
    rlx_sign_wipe(&key, sizeof key);
    *count = a.count;
    RLX_TRY_NOTE(st, "writing %s", path);
    return RLX_OK;
}

/* ---- in -------------------------------------------------------------------------------------- */

/* One entry at byte `at` of a file; *next: the byte behind it. */
static rlx_status take_entry(rlx_cache *c, const rlx_public_key *key, const uint8_t *data,
                             size_t size, size_t at, size_t *next)
{
    uint64_t n = 0;
    rlx_program *p;
    if (size - at < HEAD)
        return RLX_FAIL(RLX_INVALID_FILE, "it ends inside the head of an entry");
    for (int i = 0; i < 8; i++)
        n |= (uint64_t)data[at + (size_t)i] << 8 * i;
    const uint8_t *signature = data + at + 8, *bytes = data + at + HEAD;
    if (n > size - at - HEAD)
        return RLX_FAIL(RLX_INVALID_FILE, "an entry of %llu bytes, %zu are left",
                        (unsigned long long)n, size - at - HEAD);
    if (key && !rlx_sign_verify(key, bytes, (size_t)n, signature))
        return RLX_FAIL(RLX_INVALID_FILE, "an entry is not signed with the key that is trusted");
    RLX_TRY(rlx_program_decode(bytes, (size_t)n, &p));
    const rlx_hash own = rlx_hash_bytes(p->preimage, strlen(p->preimage));
    const bool right = !memcmp(own.bytes, p->key.bytes, sizeof own.bytes);
    rlx_program_destroy(p);
    if (!right)
        return RLX_FAIL(RLX_INVALID_FILE, "an entry's key is not of what it says");
    RLX_TRY(rlx_cache_put(c, &own, bytes, (size_t)n));
    *next = at + HEAD + (size_t)n;
    return RLX_OK;
}

static rlx_status take_all(rlx_cache *c, const rlx_public_key *key, const uint8_t *data,
                           size_t size, int64_t *count)
{
    if (size < sizeof magic || memcmp(data, magic, sizeof magic) != 0)
        return RLX_FAIL(RLX_INVALID_FILE, "it does not begin with %.8s", magic);
    for (size_t at = sizeof magic; at < size; ++*count)
        RLX_TRY_NOTE(take_entry(c, key, data, size, at, &at), "byte %zu", at);
    return RLX_OK;
}

rlx_status rlx_cache_import(rlx_cache *c, const char *path, const char *trusted_key, int64_t *count)
{
    rlx_public_key key;
    char *data;
    size_t size;
    *count = 0;
    if (!rlx_cache_folder(c))
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "there is no cache folder to put entries into");
    if (trusted_key)
        RLX_TRY(rlx_sign_read_public(trusted_key, &key));
    RLX_TRY(rlx_file_read(path, &data, &size));
    rlx_status st = take_all(c, trusted_key ? &key : NULL, (const uint8_t *)data, size, count);
    free(data);
    RLX_TRY_NOTE(st, "taking entries from %s", path);
    return RLX_OK;
}

/* ---- keys ------------------------------------------------------------------------------------ */

/* A file that is not there yet. */
static rlx_status write_new(const char *path, int mode, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (fd < 0)
        return RLX_FAIL(RLX_IO, "%s: %s", path, strerror(errno));
    rlx_status st = rlx_write_bytes(fd, text, strlen(text));
    if (close(fd) && !st)
        st = RLX_FAIL(RLX_IO, "%s", strerror(errno));
    if (st)
        unlink(path);
    RLX_TRY_NOTE(st, "writing %s", path);
    return RLX_OK;
}

rlx_status rlx_cache_make_keys(const char *path)
{
    char *secret, *public;
    rlx_text public_path = {0};
    RLX_TRY(rlx_sign_make_keys(&secret, &public));
    rlx_text_putf(&public_path, "%s.pub", path);
    rlx_status st = public_path.oom ? RLX_OOM() : write_new(path, 0600, secret);
    if (!st && (st = write_new(public_path.data, 0644, public)))
        unlink(path);
    rlx_sign_wipe(secret, strlen(secret));
    free(secret);
    free(public);
    rlx_text_deinit(&public_path);
    return st;
}
