#include "runtime/cache.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "runtime/base/sign.h"
#include "runtime/base/text.h"
#include "runtime/cache_folder.h"
#include "runtime/driver_code.h"
#include "runtime/write_file.h"

#define DEFAULT_MAX_BYTES ((int64_t)4 << 30)
#define ENDING ".rlx"
#define SEAL "sealed"
#define SIGNATURE ".sig"
#define DRIVER_ENDING ".drv"
enum {
    KEY_CHARS = 64,
    DRIVER_CHARS = 16, /* of the hash of a driver's name */
    NAME_CHARS =
        KEY_CHARS + 1 + DRIVER_CHARS + sizeof DRIVER_ENDING, /* the longest, with its NUL */
    TOUCH_SECONDS = 3600, /* how exactly an entry knows when it was used */
    STALE_SECONDS = 3600, /* a temporary file of that age has no writer */
};

/* A folder of entries. */
typedef struct layer {
    char *path; /* FOLDER/code; NULL: there is none */
    int fd;     /* of it; -1: it could not be opened yet */
    bool is_system;
    bool is_signed; /* what has no signature by the cache's key is not taken */
} layer;

enum { USER, SYSTEM, NLAYERS };

struct rlx_cache {
    layer layers[NLAYERS];
    char *folder; /* without "code" */
    int64_t max_bytes;
    bool shared;
    rlx_public_key key; /* of signed layers */
    void (*warn)(void *user, const char *message);
    void *warn_user;
    pthread_mutex_t lock; /* of the user's layer being made anew */
    _Atomic int64_t hits, misses, written, damaged;
};

/* ---- opening */

void rlx_cache_warn(const rlx_cache *c, rlx_status st)
{
    char *text = c->warn ? rlx_status_text(st) : NULL;
    if (text)
        c->warn(c->warn_user, text);
    free(text);
    rlx_status_free(st);
}

static rlx_status open_layer(rlx_cache *c, int which, const char *folder)
{
    rlx_text path = {0};
    layer *l = &c->layers[which];
    rlx_text_putf(&path, "%s/code", folder);
    l->is_system = which == SYSTEM;
    l->path = rlx_text_take(&path);
    if (!l->path)
        return RLX_OOM();
    rlx_status st = RLX_OK;
    int outer = -1; /* who can write to the folder above can put another in its place */
    if (which == USER)
        st = rlx_cache_folder_open(folder, true, c->shared, &outer);
    if (outer >= 0)
        close(outer);
    if (!st)
        st = rlx_cache_folder_open(l->path, which == USER, c->shared || l->is_signed, &l->fd);
    if (st) {
        free(l->path);
        l->path = NULL;
    }
    return st;
}

static rlx_status open_user(rlx_cache *c, const rlx_cache_options *o)
{
    c->folder = o->folder ? strdup(o->folder) : rlx_cache_default_folder();
    if (!c->folder)
        return o->folder ? RLX_OOM() : RLX_OK;
    rlx_status st = open_layer(c, USER, c->folder);
    if (!st)
        return RLX_OK;
    free(c->folder);
    c->folder = NULL;
    if (o->folder || rlx_status_code(st) == RLX_OUT_OF_MEMORY)
        return st;
    if (rlx_status_code(st) == RLX_INVALID_ARGUMENT || secure_getenv("RLX_CACHE_DIR"))
        rlx_cache_warn(c, st); /* somebody chose it */
    else
        rlx_status_free(st);
    return RLX_OK;
}

static rlx_status open_system(rlx_cache *c, const rlx_cache_options *o)
{
    const char *folder =
        o->system_folder ? o->system_folder : secure_getenv("RLX_CACHE_SYSTEM_DIR");
    const char *key = o->trusted_key ? o->trusted_key : secure_getenv("RLX_CACHE_KEY");
    if (!folder || !*folder)
        return RLX_OK;
    if (key && *key) {
        RLX_TRY(rlx_sign_read_public(key, &c->key));
        c->layers[SYSTEM].is_signed = true;
    }
    rlx_status st = open_layer(c, SYSTEM, folder);
    if (o->system_folder || (rlx_status_code(st) != RLX_NOT_FOUND && rlx_status_code(st) != RLX_IO))
        return st;
    if (rlx_status_code(st) == RLX_IO)
        rlx_cache_warn(c, st);
    else
        rlx_status_free(st); /* the environment names what may come later */
    return RLX_OK;
}

rlx_status rlx_cache_open(const rlx_cache_options *options, rlx_cache **out)
{
    const rlx_cache_options o = options ? *options : (rlx_cache_options){0};
    *out = NULL;
    if (o.max_bytes < 0)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "a cache of %lld bytes", (long long)o.max_bytes);
    rlx_cache *c = calloc(1, sizeof *c);
    if (!c)
        return RLX_OOM();
    pthread_mutex_init(&c->lock, NULL);
    c->layers[USER].fd = c->layers[SYSTEM].fd = -1;
    c->max_bytes = o.max_bytes ? o.max_bytes : DEFAULT_MAX_BYTES;
    c->shared = o.shared;
    c->warn = o.warn;
    c->warn_user = o.warn_user;
    rlx_status st = open_user(c, &o);
    if (!st)
        st = open_system(c, &o);
    if (st) {
        rlx_cache_close(c);
        RLX_TRY_NOTE(st, "opening the compile cache");
    }
    *out = c;
    return RLX_OK;
}

void rlx_cache_close(rlx_cache *c)
{
    if (!c)
        return;
    for (int i = 0; i < NLAYERS; i++) {
        if (c->layers[i].fd >= 0)
            close(c->layers[i].fd);
        free(c->layers[i].path);
    }
    pthread_mutex_destroy(&c->lock);
    free(c->folder);
    free(c);
}

const char *rlx_cache_folder(const rlx_cache *c)
{
    return c->folder;
}

void rlx_cache_get_stats(const rlx_cache *c, rlx_cache_stats *out)
{
    *out = (rlx_cache_stats){.hits = atomic_load(&c->hits),
                             .misses = atomic_load(&c->misses),
                             .written = atomic_load(&c->written),
                             .damaged = atomic_load(&c->damaged)};
}

/* ---- reading */

static void entry_name(const char *key, char name[NAME_CHARS])
{
    memcpy(name, key, KEY_CHARS);
    memcpy(name + KEY_CHARS, ENDING, sizeof ENDING);
}

/* All of a file, in memory of its own: what another process does to it then changes nothing. */
static rlx_status read_all(int fd, size_t bytes, void **out)
{
    char *data = malloc(bytes + 1);
    if (!data)
        return RLX_OOM();
    size_t got = 0;
    while (got < bytes) {
        ssize_t n = read(fd, data + got, bytes - got);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            free(data);
            return n < 0 ? RLX_FAIL(RLX_IO, "%s", strerror(errno))
                         : RLX_FAIL(RLX_INVALID_FILE, "it ends at byte %zu of %zu", got, bytes);
        }
        got += (size_t)n;
    }
    *out = data;
    return RLX_OK;
}

/* Whether the file beside an entry has the signature of its bytes. */
static bool is_signed(const rlx_cache *c, const layer *l, const char *key, const void *bytes,
                      size_t n)
{
    char name[NAME_CHARS + sizeof SIGNATURE];
    void *signature = NULL;
    size_t have;
    snprintf(name, sizeof name, "%.64s" SIGNATURE, key);
    int fd = rlx_cache_file_open(l->fd, name, true, &have);
    if (fd < 0)
        return false;
    rlx_status st = have == RLX_SIGNATURE_BYTES ? read_all(fd, have, &signature)
                                                : RLX_FAIL(RLX_INVALID_FILE, "%zu bytes", have);
    close(fd);
    const bool right = !st && rlx_sign_verify(&c->key, bytes, n, signature);
    rlx_status_free(st);
    free(signature);
    return right;
}

/* RLX_NOT_FOUND, without a note: there is no such file. `touch`: it counts as used. */
static rlx_status read_file(const rlx_cache *c, const layer *l, const char *name, bool touch,
                            void **bytes, size_t *n)
{
    int fd = l->fd < 0 ? -1 : rlx_cache_file_open(l->fd, name, c->shared || l->is_signed, n);
    if (fd < 0 && (l->fd < 0 || errno == ENOENT))
        return RLX_FAIL(RLX_NOT_FOUND, "%.16s..: no such entry", name);
    if (fd < 0)
        return RLX_FAIL(RLX_INVALID_FILE, "%s/%s: %s", l->path, name,
                        errno == EPERM ? "others can write to it, or it is no regular file"
                                       : strerror(errno));
    rlx_status st = read_all(fd, *n, bytes);
    struct stat info;
    if (!st && touch && !l->is_system && !fstat(fd, &info) &&
        llabs((long long)time(NULL) - info.st_mtim.tv_sec) > TOUCH_SECONDS)
        futimens(fd, NULL); /* a folder that is read only keeps its times */
    close(fd);
    RLX_TRY_NOTE(st, "%s/%s", l->path, name);
    if (l->is_signed && !is_signed(c, l, name, *bytes, *n)) {
        free(*bytes);
        *bytes = NULL;
        return RLX_FAIL(RLX_INVALID_FILE, "%s/%s is not signed with the key that is trusted",
                        l->path, name);
    }
    return RLX_OK;
}

/* An entry as a program; `preimage` NULL: whatever it is of. */
static rlx_status read_program(const rlx_cache *c, const layer *l, const char *key,
                               const char *preimage, rlx_program **out)
{
    void *bytes;
    size_t n;
    char hex[KEY_CHARS + 1], name[NAME_CHARS];
    entry_name(key, name);
    RLX_TRY(read_file(c, l, name, preimage != NULL, &bytes, &n));
    rlx_status st = rlx_program_decode(bytes, n, out);
    free(bytes);
    if (st)
        return rlx_status_note(st, __FILE__, __LINE__, "%s/%s" ENDING, l->path, key);
    rlx_hash own = rlx_hash_bytes((*out)->preimage, strlen((*out)->preimage));
    rlx_hash_hex(own, hex);
    if (memcmp(own.bytes, (*out)->key.bytes, sizeof own.bytes) == 0 && !strcmp(hex, key) &&
        (!preimage || !strcmp(preimage, (*out)->preimage)))
        return RLX_OK;
    rlx_program_destroy(*out);
    *out = NULL;
    return RLX_FAIL(RLX_INVALID_FILE, "%s/%s" ENDING " is another entry, %s", l->path, key, hex);
}

void rlx_cache_count(rlx_cache *c, bool hit)
{
    atomic_fetch_add(hit ? &c->hits : &c->misses, 1);
}

void rlx_cache_tell_damage(rlx_cache *c, rlx_status st)
{
    atomic_fetch_add(&c->damaged, 1);
    rlx_cache_warn(c, st);
}

rlx_program *rlx_cache_get(rlx_cache *c, const rlx_hash *key, const char *preimage)
{
    rlx_program *p = rlx_cache_look(c, key, preimage);
    rlx_cache_count(c, p != NULL);
    return p;
}

rlx_program *rlx_cache_look(rlx_cache *c, const rlx_hash *key, const char *preimage)
{
    char hex[KEY_CHARS + 1];
    rlx_hash_hex(*key, hex);
    for (int i = 0; i < NLAYERS; i++) {
        rlx_program *p = NULL;
        rlx_status st = read_program(c, &c->layers[i], hex, preimage, &p);
        if (!st)
            return p;
        if (rlx_status_code(st) == RLX_NOT_FOUND) {
            rlx_status_free(st);
            continue;
        }
        rlx_cache_tell_damage(c, rlx_status_note(st, __FILE__, __LINE__, "compiling anew"));
    }
    return NULL;
}

rlx_status rlx_cache_read(rlx_cache *c, const rlx_cache_entry *e, rlx_program **out)
{
    return read_program(c, &c->layers[e->system ? SYSTEM : USER], e->key, NULL, out);
}

rlx_status rlx_cache_read_bytes(rlx_cache *c, const rlx_cache_entry *e, void **bytes, size_t *n)
{
    char name[NAME_CHARS];
    entry_name(e->key, name);
    return read_file(c, &c->layers[e->system ? SYSTEM : USER], name, false, bytes, n);
}

/* ---- what drivers made of entries */

static void driver_name(const rlx_hash *key, const char *driver, char name[NAME_CHARS])
{
    char hex[KEY_CHARS + 1], whose[KEY_CHARS + 1];
    rlx_hash_hex(*key, hex);
    rlx_hash_hex(rlx_hash_bytes(driver, strlen(driver)), whose);
    snprintf(name, NAME_CHARS, "%s-%.*s" DRIVER_ENDING, hex, DRIVER_CHARS, whose);
}

/* The code in a file, moved to the beginning of its bytes. */
static rlx_status read_driver_code(const rlx_cache *c, const layer *l, const char *name,
                                   const rlx_hash *key, const char *driver, void **code, size_t *n)
{
    size_t size, at;
    RLX_TRY(read_file(c, l, name, driver != NULL, code, &size));
    rlx_status st = rlx_driver_code_decode(*code, size, key, driver, &at, n);
    if (!st) {
        memmove(*code, (char *)*code + at, *n);
        return RLX_OK;
    }
    free(*code);
    *code = NULL;
    return rlx_status_note(st, __FILE__, __LINE__, "%s/%s", l->path, name);
}

void *rlx_cache_get_driver_code(rlx_cache *c, const rlx_hash *key, const char *driver, size_t *n)
{
    char name[NAME_CHARS];
    driver_name(key, driver, name);
    for (int i = 0; i < NLAYERS; i++) {
        void *code = NULL;
        if (c->layers[i].is_signed)
            continue; /* a signature is of an entry */
        rlx_status st = read_driver_code(c, &c->layers[i], name, key, driver, &code, n);
        if (!st)
            return code;
        if (rlx_status_code(st) == RLX_NOT_FOUND)
            rlx_status_free(st);
        else
            rlx_cache_tell_damage(c, rlx_status_note(st, __FILE__, __LINE__, "making it anew"));
    }
    return NULL;
}

/* ---- what is there */

static bool is_hex(const char *s, size_t n)
{
    return strspn(s, "0123456789abcdef") >= n;
}

static bool is_key(const char *name)
{
    return is_hex(name, KEY_CHARS) && !strcmp(name + KEY_CHARS, ENDING);
}

static bool is_driver(const char *name)
{
    const char *whose = name + KEY_CHARS + 1;
    return is_hex(name, KEY_CHARS) && whose[-1] == '-' && is_hex(whose, DRIVER_CHARS) &&
           !strcmp(whose + DRIVER_CHARS, DRIVER_ENDING);
}

/* Calls `fn` with the name of every file of a layer and what it is. */
typedef bool file_fn(void *user, const char *name, const struct stat *st);
static rlx_status each_file(const layer *l, file_fn *fn, void *user)
{
    if (l->fd < 0)
        return RLX_OK;
    int fd = openat(l->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC); /* with a place of its own */
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir) {
        int error = errno;
        if (fd >= 0)
            close(fd);
        return error == ENOENT ? RLX_OK /* somebody removed it */
                               : RLX_FAIL(RLX_IO, "%s: %s", l->path, strerror(error));
    }
    struct stat st;
    for (struct dirent *e = readdir(dir); e; e = readdir(dir))
        if (!fstatat(l->fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) && S_ISREG(st.st_mode) &&
            !fn(user, e->d_name, &st))
            break;
    closedir(dir);
    return RLX_OK;
}

/* A file that counts: an entry, or what a driver made of one. */
typedef struct item {
    rlx_cache_entry entry;
    char name[NAME_CHARS];
    bool is_entry, gone;
} item;

typedef struct inventory {
    item *items;
    size_t n, cap;
    int64_t bytes;
    int cleaned; /* the folder from which what killed writers left goes; -1: it stays */
    bool oom;
} inventory;

static void remove_stale(int folder, const char *name, const struct stat *st)
{
    size_t len = strlen(name), ending = strlen(RLX_TEMPORARY);
    if (len > ending && !strcmp(name + len - ending, RLX_TEMPORARY) &&
        llabs((long long)time(NULL) - st->st_mtim.tv_sec) > STALE_SECONDS)
        unlinkat(folder, name, 0);
}

static bool take_stock(void *user, const char *name, const struct stat *st)
{
    inventory *v = user;
    if (v->cleaned >= 0)
        remove_stale(v->cleaned, name, st);
    if (!is_key(name) && !is_driver(name))
        return true;
    if (v->n == v->cap) {
        size_t cap = v->cap ? 2 * v->cap : 64;
        item *more = realloc(v->items, cap * sizeof *more);
        v->oom = !more;
        if (!more)
            return false;
        v->items = more;
        v->cap = cap;
    }
    item *i = &v->items[v->n++];
    *i = (item){.entry = {.bytes = st->st_size, .used = st->st_mtim.tv_sec},
                .is_entry = is_key(name)};
    memcpy(i->entry.key, name, KEY_CHARS);
    memcpy(i->name, name, strlen(name) + 1);
    v->bytes += i->entry.bytes;
    return true;
}

static bool take_driver(void *user, const char *name, const struct stat *st)
{
    return is_key(name) || take_stock(user, name, st);
}

static rlx_status list_items(const layer *l, file_fn *take, inventory *v)
{
    rlx_status st = each_file(l, take, v);
    return st ? st : v->oom ? RLX_OOM() : RLX_OK;
}

/* An entry, then what drivers made of it. */
static int by_key(const void *a, const void *b)
{
    const item *x = a, *y = b;
    const int order = strcmp(x->entry.key, y->entry.key);
    return order ? order : (int)y->is_entry - (int)x->is_entry;
}

/* False: `fn` ends. */
static bool visit_items(inventory *v, bool is_system, rlx_cache_visit *fn, void *user)
{
    if (v->n)
        qsort(v->items, v->n, sizeof *v->items, by_key);
    for (size_t i = 0, k; i < v->n; i = k) {
        rlx_cache_entry *e = &v->items[i].entry;
        for (k = i + 1; k < v->n && !strcmp(v->items[k].entry.key, e->key); k++)
            e->driver_bytes += v->items[k].entry.bytes;
        e->system = is_system;
        if (v->items[i].is_entry && !fn(user, e))
            return false;
    }
    return true;
}

rlx_status rlx_cache_each(rlx_cache *c, rlx_cache_visit *fn, void *user)
{
    bool going = true;
    for (int i = 0; i < NLAYERS && going; i++) {
        inventory v = {.cleaned = -1};
        rlx_status st = list_items(&c->layers[i], take_stock, &v);
        if (!st && i == SYSTEM) /* what was made here of its entries is in the user's */
            st = list_items(&c->layers[USER], take_driver, &v);
        if (!st)
            going = visit_items(&v, c->layers[i].is_system, fn, user);
        free(v.items);
        RLX_TRY(st);
    }
    return RLX_OK;
}

/* ---- what belongs to an entry */

typedef struct drivers {
    rlx_cache *cache;
    const layer *layer;
    const char *key;
    bool remove;       /* else: check */
    rlx_status status; /* of the first that is damaged, or stays */
} drivers;

static rlx_status check_driver(const drivers *d, const char *name)
{
    rlx_hash key = {{0}};
    void *code = NULL;
    size_t n;
    for (size_t i = 0; i < sizeof key.bytes; i++)
        key.bytes[i] = (uint8_t)strtoul((char[]){d->key[2 * i], d->key[2 * i + 1], 0}, NULL, 16);
    rlx_status st = read_driver_code(d->cache, d->layer, name, &key, NULL, &code, &n);
    free(code);
    if (rlx_status_code(st) != RLX_NOT_FOUND)
        return st;
    rlx_status_free(st); /* somebody made room meanwhile */
    return RLX_OK;
}

static bool handle_driver(void *user, const char *name, const struct stat *st)
{
    drivers *d = user;
    (void)st;
    if (!is_driver(name) || strncmp(name, d->key, KEY_CHARS) != 0)
        return true;
    if (!d->remove)
        d->status = check_driver(d, name);
    else if (unlinkat(d->layer->fd, name, 0) && errno != ENOENT)
        d->status = RLX_FAIL(RLX_IO, "%s/%s: %s", d->layer->path, name, strerror(errno));
    return !d->status;
}

static rlx_status each_driver(rlx_cache *c, int which, const rlx_cache_entry *e, bool remove)
{
    drivers d = {c, &c->layers[which], e->key, remove, RLX_OK};
    if (!e->driver_bytes)
        return RLX_OK;
    rlx_status st = each_file(d.layer, handle_driver, &d);
    return st ? st : d.status;
}

rlx_status rlx_cache_check_drivers(rlx_cache *c, const rlx_cache_entry *e)
{
    RLX_TRY(each_driver(c, USER, e, false));
    if (!e->system || c->layers[SYSTEM].is_signed) /* a signature is of an entry */
        return RLX_OK;
    return each_driver(c, SYSTEM, e, false);
}

/* The entry's file and its signature. */
static rlx_status remove_entry(const layer *l, const char *key)
{
    char name[NAME_CHARS];
    entry_name(key, name);
    if (unlinkat(l->fd, name, 0) && errno != ENOENT)
        return RLX_FAIL(RLX_IO, "%s/%s: %s", l->path, name, strerror(errno));
    memcpy(name + KEY_CHARS, SIGNATURE, sizeof SIGNATURE);
    unlinkat(l->fd, name, 0);
    return RLX_OK;
}

rlx_status rlx_cache_remove(rlx_cache *c, const rlx_cache_entry *e)
{
    const layer *l = &c->layers[USER];
    if (e->system || l->fd < 0)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "%.16s..: entries of the system's folder stay",
                        e->key);
    RLX_TRY(each_driver(c, USER, e, true));
    return remove_entry(l, e->key);
}

/* ---- making room */

static int least_recent_first(const void *a, const void *b)
{
    const item *x = a, *y = b;
    if (x->entry.used != y->entry.used)
        return x->entry.used < y->entry.used ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* A file, and with an entry what drivers made of it. */
static rlx_status remove_item(const layer *l, inventory *v, item *which)
{
    rlx_status st = which->is_entry ? remove_entry(l, which->entry.key) : RLX_OK;
    for (item *i = v->items; i < v->items + v->n && !st; i++) {
        if (i != which && (!which->is_entry || i->gone || strcmp(i->entry.key, which->entry.key)))
            continue;
        if (!i->is_entry && unlinkat(l->fd, i->name, 0) && errno != ENOENT)
            st = RLX_FAIL(RLX_IO, "%s/%s: %s", l->path, i->name, strerror(errno));
        i->gone = true;
        v->bytes -= i->entry.bytes;
    }
    return st;
}

/* As rlx_cache_trim; the entry `keep` (may be NULL) stays. */
static rlx_status trim(rlx_cache *c, int64_t max_bytes, const char *keep, int64_t *removed)
{
    const layer *l = &c->layers[USER];
    inventory v = {.cleaned = l->fd};
    rlx_status st = list_items(l, take_stock, &v);
    if (!st && v.bytes > max_bytes)
        qsort(v.items, v.n, sizeof *v.items, least_recent_first);
    for (size_t i = 0; !st && i < v.n && v.bytes > max_bytes; i++) {
        if (v.items[i].gone || (keep && !strcmp(v.items[i].entry.key, keep)))
            continue;
        st = remove_item(l, &v, &v.items[i]);
        *removed += v.items[i].is_entry && !st;
    }
    free(v.items);
    return st;
}

rlx_status rlx_cache_trim(rlx_cache *c, int64_t max_bytes, int64_t *removed)
{
    int64_t ignored = 0;
    if (removed)
        *removed = 0;
    return trim(c, max_bytes, NULL, removed ? removed : &ignored);
}

/* ---- writing */

typedef struct contents {
    const void *data;
    size_t bytes;
} contents;

static rlx_status write_contents(void *user, int fd)
{
    const contents *c = user;
    return rlx_write_bytes(fd, c->data, c->bytes);
}

/* The folder may have been removed meanwhile, by hand or by another process: it is made again. */
static rlx_status reopen(rlx_cache *c)
{
    layer *l = &c->layers[USER];
    int fd;
    RLX_TRY(rlx_cache_folder_open(l->path, true, c->shared, &fd));
    dup3(fd, l->fd, O_CLOEXEC); /* for threads that use its number */
    close(fd);
    return RLX_OK;
}

static rlx_status write_file(rlx_cache *c, const char *name, const void *data, size_t bytes)
{
    layer *l = &c->layers[USER];
    contents w = {data, bytes};
    struct stat st;
    pthread_mutex_lock(&c->lock);
    rlx_status s = !fstat(l->fd, &st) && st.st_nlink ? RLX_OK : reopen(c);
    pthread_mutex_unlock(&c->lock);
    if (!s)
        s = rlx_write_file_in(l->fd, name, write_contents, &w);
    RLX_TRY_NOTE(s, "writing %s/%s", l->path, name);
    return RLX_OK;
}

rlx_status rlx_cache_put(rlx_cache *c, const rlx_hash *key, const void *bytes, size_t n)
{
    char hex[KEY_CHARS + 1], name[NAME_CHARS];
    int64_t removed = 0;
    if (c->layers[USER].fd < 0)
        return RLX_OK;
    if (rlx_cache_is_sealed(c))
        return RLX_FAIL(RLX_UNSUPPORTED, "the compile cache %s is sealed", c->folder);
    rlx_hash_hex(*key, hex);
    entry_name(hex, name);
    RLX_TRY(write_file(c, name, bytes, n));
    atomic_fetch_add(&c->written, 1);
    return trim(c, c->max_bytes, hex, &removed);
}

/* Nobody waits for it: what fails is told. A folder that is read only has what it has. */
void rlx_cache_put_driver_code(rlx_cache *c, const rlx_hash *key, const char *driver,
                               const void *code, size_t n)
{
    char hex[KEY_CHARS + 1], name[NAME_CHARS];
    int64_t removed = 0;
    rlx_text file = {0};
    if (c->layers[USER].fd < 0 || rlx_cache_is_sealed(c) ||
        rlx_cache_folder_is_read_only(c->layers[USER].fd))
        return;
    rlx_hash_hex(*key, hex);
    driver_name(key, driver, name);
    rlx_status st = rlx_driver_code_encode(key, driver, code, n, &file);
    if (!st)
        st = write_file(c, name, file.data, file.len);
    if (!st)
        st = trim(c, c->max_bytes, hex, &removed);
    rlx_text_deinit(&file);
    if (st)
        rlx_cache_warn(c, st);
}

/* ---- sealing */

static const layer *sealed_layer(const rlx_cache *c)
{
    return &c->layers[c->layers[USER].fd >= 0 ? USER : SYSTEM];
}

bool rlx_cache_is_sealed(const rlx_cache *c)
{
    const layer *l = sealed_layer(c);
    return l->fd >= 0 && !faccessat(l->fd, SEAL, F_OK, 0);
}

rlx_status rlx_cache_seal(rlx_cache *c, bool sealed)
{
    const layer *l = &c->layers[USER];
    if (l->fd < 0)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "there is no cache folder to seal");
    if (sealed)
        return write_file(c, SEAL, "", 0);
    if (unlinkat(l->fd, SEAL, 0) && errno != ENOENT)
        return RLX_FAIL(RLX_IO, "%s/" SEAL ": %s", l->path, strerror(errno));
    return RLX_OK;
}

/* ---- signing --------------------------------------------------------------------------------- */

typedef struct signing {
    rlx_cache *cache;
    const rlx_secret_key *key;
    int64_t count;
    rlx_status status;
} signing;

static bool sign_entry(void *user, const rlx_cache_entry *e)
{
    signing *s = user;
    void *bytes;
    size_t n;
    uint8_t signature[RLX_SIGNATURE_BYTES];
    char name[NAME_CHARS + sizeof SIGNATURE];
    if (e->system)
        return false;
    rlx_program *p;
    s->status = rlx_cache_read(s->cache, e, &p); /* what is damaged gets no signature */
    if (!s->status) {
        rlx_program_destroy(p);
        s->status = rlx_cache_read_bytes(s->cache, e, &bytes, &n);
    }
    if (s->status)
        return false;
    rlx_sign(s->key, bytes, n, signature);
    free(bytes);
    snprintf(name, sizeof name, "%.64s" SIGNATURE, e->key);
    s->status = write_file(s->cache, name, signature, sizeof signature);
    s->count += !s->status;
    return !s->status;
}

rlx_status rlx_cache_sign(rlx_cache *c, const char *secret_key, int64_t *count)
{
    rlx_secret_key key;
    *count = 0;
    RLX_TRY(rlx_sign_read_secret(secret_key, &key));
    signing s = {.cache = c, .key = &key};
    rlx_status st = rlx_cache_each(c, sign_entry, &s);
    rlx_sign_wipe(&key, sizeof key);
    *count = s.count;
    if (!st)
        return s.status;
    rlx_status_free(s.status);
    return st;
}
