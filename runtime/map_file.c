#include "runtime/map_file.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/runtime.h"

/* ---- the list of mappings -----------------------------------------------------------------------
 * A signal handler reads it: entries are never freed, and used again. */

typedef struct mapping {
    atomic_uintptr_t begin; /* 0: free */
    atomic_size_t bytes;
    atomic_bool lost; /* a read found no file there */
    struct mapping *next;
} mapping;

static _Atomic(mapping *) mappings;
static atomic_bool any_lost;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* whoever changes the list */

static mapping *find_mapping(uintptr_t address)
{
    for (mapping *m = atomic_load(&mappings); m; m = m->next) {
        const uintptr_t begin = atomic_load(&m->begin);
        if (begin && address >= begin && address - begin < atomic_load(&m->bytes))
            return m;
    }
    return NULL;
}

static rlx_status list_mapping(const void *map, size_t bytes)
{
    pthread_mutex_lock(&lock);
    mapping *m = atomic_load(&mappings);
    while (m && atomic_load(&m->begin))
        m = m->next;
    if (!m && (m = calloc(1, sizeof *m))) {
        m->next = atomic_load(&mappings);
        atomic_store(&mappings, m);
    }
    if (m) {
        atomic_store(&m->lost, false);
        atomic_store(&m->bytes, bytes);
        atomic_store(&m->begin, (uintptr_t)map);
    }
    pthread_mutex_unlock(&lock);
    return m ? RLX_OK : RLX_OOM();
}

/* ---- files --------------------------------------------------------------------------------------
 */

static rlx_status map_descriptor(int fd, void **map, size_t *bytes)
{
    struct stat info;
    if (fstat(fd, &info) != 0)
        return RLX_FAIL(RLX_IO, "%s", strerror(errno));
    if (!S_ISREG(info.st_mode))
        return RLX_FAIL(RLX_IO, "not a regular file");
    if (info.st_size == 0)
        return RLX_OK;
    void *p = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED)
        return RLX_FAIL(RLX_IO, "mapping %lld bytes: %s", (long long)info.st_size, strerror(errno));
    rlx_status st = list_mapping(p, (size_t)info.st_size);
    if (st) {
        munmap(p, (size_t)info.st_size);
        return st;
    }
    *map = p;
    *bytes = (size_t)info.st_size;
    return RLX_OK;
}

rlx_status rlx_map_file(const char *path, void **map, size_t *bytes)
{
    *map = NULL;
    *bytes = 0;
    /* Opening a pipe would wait for its writer; regular files do not know the difference. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return RLX_FAIL(errno == ENOENT ? RLX_NOT_FOUND : RLX_IO, "%s", strerror(errno));
    rlx_status st = map_descriptor(fd, map, bytes);
    close(fd);
    return st;
}

void rlx_unmap_file(void *map, size_t bytes)
{
    if (!map)
        return;
    pthread_mutex_lock(&lock);
    mapping *m = find_mapping((uintptr_t)map);
    if (m)
        atomic_store(&m->begin, 0);
    pthread_mutex_unlock(&lock);
    munmap(map, bytes);
}

rlx_status rlx_map_check(const void *map, const char *path)
{
    const mapping *m = map && atomic_load(&any_lost) ? find_mapping((uintptr_t)map) : NULL;
    return m && atomic_load(&m->lost)
               ? RLX_FAIL(RLX_IO, "'%s' was made shorter while it was read", path)
               : RLX_OK;
}

/* ---- the guard ----------------------------------------------------------------------------------
 */

static struct sigaction before; /* what SIGBUS did */
static size_t page_bytes;

/* Zeros from the page on that is not there, to the mapping's end: the file ends before. */
static bool replace(uintptr_t address)
{
    mapping *m = find_mapping(address);
    if (!m)
        return false;
    const uintptr_t page = address & ~(uintptr_t)(page_bytes - 1);
    const uintptr_t end = atomic_load(&m->begin) + atomic_load(&m->bytes);
    if (mmap((void *)page, end - page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
        MAP_FAILED)
        return false;
    atomic_store(&m->lost, true);
    atomic_store(&any_lost, true);
    return true;
}

static void on_bus_error(int signal, siginfo_t *info, void *context)
{
    const int kept = errno;
    const bool ours = info->si_code > 0 && replace((uintptr_t)info->si_addr);
    errno = kept;
    if (ours)
        return;
    if (before.sa_flags & SA_SIGINFO)
        before.sa_sigaction(signal, info, context);
    else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN)
        before.sa_handler(signal);
    else
        sigaction(signal, &before, NULL); /* the read that failed is tried again */
}

static rlx_status guard_status;

static void guard(void)
{
    struct sigaction action = {.sa_flags = SA_SIGINFO | SA_ONSTACK};
    page_bytes = (size_t)sysconf(_SC_PAGESIZE);
    sigemptyset(&action.sa_mask);
    action.sa_sigaction = on_bus_error;
    if (sigaction(SIGBUS, NULL, &before) || sigaction(SIGBUS, &action, NULL))
        guard_status = RLX_FAIL(RLX_IO, "a handler of SIGBUS: %s", strerror(errno));
}

rlx_status rlx_guard_files(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, guard);
    rlx_status st = guard_status;
    guard_status = RLX_OK; /* told once */
    return st;
}
