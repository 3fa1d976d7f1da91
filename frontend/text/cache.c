/* frontend/text/cache.c: compiled tables in the user's cache folder. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "frontend/text/cache.h"
#include "runtime/base/text.h"
#include "runtime/cache_folder.h"
#include "runtime/write_file.h"

/* ---- the folder */

static bool is_trusted(const char *folder)
{
    int fd = -1;
    rlx_status st = rlx_cache_folder_open(folder, true, false, &fd);
    const bool trusted = !st;
    if (fd >= 0)
        close(fd);
    rlx_status_free(st);
    return trusted;
}

/* `given`: of all caches; NULL: the default one. */
static char *find_folder(const char *given)
{
    char *base = given ? strdup(given) : rlx_cache_default_folder();
    rlx_text t = {0};
    if (base && is_trusted(base))
        rlx_text_putf(&t, "%s/tokenizers", base);
    free(base);
    if (t.oom || !t.len || !is_trusted(t.data))
        rlx_text_deinit(&t);
    return t.len ? rlx_text_take(&t) : NULL;
}

static char *entry_path(const rlx_text_cache *c, const rlx_hash *key, const char *ending)
{
    char hex[65];
    rlx_text t = {0};
    rlx_hash_hex(*key, hex);
    rlx_text_putf(&t, "%s/%s%s", c->folder, hex, ending);
    return rlx_text_take(&t);
}

/* A file that only the user can have written; -1: there is none. */
static int open_own(const char *path, size_t *bytes)
{
    int fd = path ? rlx_cache_file_open(AT_FDCWD, path, false, bytes) : -1;
    if (fd >= 0 && !*bytes) {
        close(fd);
        return -1;
    }
    if (fd >= 0)
        futimens(fd, NULL); /* in use: what is not goes first */
    return fd;
}

typedef struct contents {
    const void *data;
    size_t bytes;
} contents;

static rlx_status write_contents(void *user, int fd)
{
    const contents *c = user;
    if (fchmod(fd, 0600))
        return RLX_FAIL(RLX_IO, "%s", strerror(errno));
    return rlx_write_bytes(fd, c->data, c->bytes);
}

static void write_entry(const rlx_text_cache *c, const rlx_hash *key, const char *ending,
                        const void *data, size_t bytes)
{
    contents w = {data, bytes};
    char *path = entry_path(c, key, ending);
    if (path)
        rlx_status_free(rlx_write_file(path, write_contents, &w));
    free(path);
}

/* ---- removing */

typedef struct entry {
    char *path;
    uint64_t bytes;
    struct timespec used;
} entry;

/* 64 hexadecimal digits and an ending of ours: nothing else is ever removed. */
static int is_entry(const struct dirent *d)
{
    size_t hex = strspn(d->d_name, "0123456789abcdef");
    const char *end = d->d_name + hex;
    return hex == 64 && (!strcmp(end, ".table") || !strcmp(end, ".stamp"));
}

static int older_first(const void *a, const void *b)
{
    const struct timespec *p = &((const entry *)a)->used, *q = &((const entry *)b)->used;
    return p->tv_sec != q->tv_sec     ? (p->tv_sec < q->tv_sec ? -1 : 1)
           : p->tv_nsec != q->tv_nsec ? (p->tv_nsec < q->tv_nsec ? -1 : 1)
                                      : 0;
}

static bool look_at(const char *folder, const char *name, entry *out)
{
    struct stat st;
    rlx_text t = {0};
    rlx_text_putf(&t, "%s/%s", folder, name);
    bool there = !t.oom && !lstat(t.data, &st) && S_ISREG(st.st_mode);
    if (there)
        *out = (entry){rlx_text_take(&t), (uint64_t)st.st_size, st.st_mtim};
    else
        rlx_text_deinit(&t);
    return there;
}

void rlx_text_cache_trim(const char *folder, uint64_t most)
{
    struct dirent **list;
    int n = scandir(folder, &list, is_entry, NULL);
    entry *all = n > 0 ? calloc((size_t)n, sizeof *all) : NULL;
    size_t found = 0;
    uint64_t bytes = 0;
    for (int i = 0; i < n; i++) {
        if (all && look_at(folder, list[i]->d_name, &all[found]))
            bytes += all[found++].bytes;
        free(list[i]);
    }
    if (n >= 0)
        free(list);
    if (found)
        qsort(all, found, sizeof *all, older_first);
    for (size_t i = 0; i < found; i++) {
        if (bytes > most && !unlink(all[i].path))
            bytes -= all[i].bytes;
        free(all[i].path);
    }
    free(all);
}

/* ---- files */

enum { FRESH_SECONDS = 2 }; /* file systems keep times no worse than this */

static bool identify(const char *path, rlx_file_identity *out, bool *fresh)
{
    struct stat st;
    if (stat(path, &st) || !S_ISREG(st.st_mode))
        return false;
    *out = (rlx_file_identity){.device = (uint64_t)st.st_dev,
                               .inode = (uint64_t)st.st_ino,
                               .size = (uint64_t)st.st_size,
                               .modified_s = st.st_mtim.tv_sec,
                               .modified_ns = st.st_mtim.tv_nsec,
                               .changed_s = st.st_ctim.tv_sec,
                               .changed_ns = st.st_ctim.tv_nsec};
    *fresh |= st.st_ctim.tv_sec + FRESH_SECONDS > time(NULL);
    return true;
}

void rlx_text_cache_init(rlx_text_cache *c, const rlx_text_files *files)
{
    rlx_hasher h;
    *c = (rlx_text_cache){.files = *files};
    rlx_hasher_init(&h);
    for (int i = 0; i < files->n; i++) {
        rlx_file_identity *id = &c->files.identity[i];
        if (!identify(files->path[i], id, &c->fresh))
            return;
        rlx_hasher_add(&h, &id->device, sizeof id->device);
        rlx_hasher_add(&h, &id->inode, sizeof id->inode);
    }
    if (files->how)
        rlx_hasher_add(&h, files->how, strlen(files->how));
    c->place = rlx_hasher_finish(&h);
    c->folder = find_folder(files->folder);
}

void rlx_text_cache_deinit(rlx_text_cache *c)
{
    free(c->folder);
}

/* ---- stamps */

typedef struct stamp {
    char magic[8];
    uint64_t nfiles;
    rlx_file_identity file[RLX_TEXT_FILES];
    rlx_hash table;
} stamp;

/* All of a stamp but the key of the table. */
static stamp stamp_of(const rlx_text_cache *c)
{
    stamp s;
    memset(&s, 0, sizeof s);
    memcpy(s.magic, "rlxstmp", sizeof s.magic);
    s.nfiles = (uint64_t)c->files.n;
    memcpy(s.file, c->files.identity, sizeof s.file);
    return s;
}

static void put_stamp(const rlx_text_cache *c, const rlx_hash *key)
{
    stamp s = stamp_of(c);
    s.table = *key;
    if (!c->fresh)
        write_entry(c, &c->place, ".stamp", &s, sizeof s);
}

static bool get_stamp(const rlx_text_cache *c, rlx_hash *key)
{
    stamp s, want = stamp_of(c);
    size_t bytes = 0;
    char *path = entry_path(c, &c->place, ".stamp");
    int fd = open_own(path, &bytes);
    bool got = fd >= 0 && bytes == sizeof s && read(fd, &s, sizeof s) == (ssize_t)sizeof s &&
               !memcmp(&s, &want, offsetof(stamp, table));
    if (fd >= 0)
        close(fd);
    free(path);
    if (got)
        *key = s.table;
    return got;
}

/* ---- tables */

enum {
    CACHED_TABLE = 8 << 10
}; /* smaller ones, of large files too, are made as quickly as mapped */

static rlx_tokenizer *map_table(const rlx_text_cache *c, const rlx_hash *key)
{
    size_t bytes = 0;
    char *path = entry_path(c, key, ".table");
    int fd = open_own(path, &bytes);
    void *map =
        fd < 0 ? MAP_FAILED : mmap(NULL, bytes, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    rlx_tokenizer *t = NULL;
    if (fd >= 0)
        close(fd);
    free(path);
    if (map == MAP_FAILED)
        return NULL;
    rlx_status_free(rlx_table_open(map, bytes, true, &t)); /* unmaps what it refuses */
    if (t && memcmp(t->head->source, key->bytes, sizeof t->head->source) != 0) {
        rlx_tokenizer_destroy(t); /* under another's name */
        t = NULL;
    }
    return t;
}

rlx_tokenizer *rlx_text_cache_find(const rlx_text_cache *c)
{
    rlx_hash key;
    return c->folder && get_stamp(c, &key) ? map_table(c, &key) : NULL;
}

rlx_tokenizer *rlx_text_cache_find_content(const rlx_text_cache *c, const rlx_hash *key)
{
    rlx_tokenizer *t = c->folder ? map_table(c, key) : NULL;
    if (t)
        put_stamp(c, key);
    return t;
}

void rlx_text_cache_put(const rlx_text_cache *c, const rlx_hash *key, const void *block,
                        size_t bytes)
{
    if (!c->folder || bytes < CACHED_TABLE)
        return;
    write_entry(c, key, ".table", block, bytes);
    put_stamp(c, key);
    rlx_text_cache_trim(c->folder, RLX_TEXT_CACHE_BYTES);
}
