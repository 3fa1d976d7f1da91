#include "runtime/perf.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "runtime/base/clock.h"
#include "runtime/base/text.h"
#include "runtime/write_file.h"

/* A form's file. perf knows it by the process's number, so there is one for each form; it is closed with the last that uses
 * it. A jitdump's first page is mapped executable: that is how perf learns of it. */
struct rlx_perf {
    rlx_perf_form form;
    char *path;
    int fd, users;
    pid_t pid;      /* that opened it */
    bool made;      /* by this process: what another of its number left is not added to */
    void *mark;     /* the mapped page; NULL: none */
    uint64_t index; /* of the next code */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of all below */
static rlx_perf files[] = {{.form = RLX_PERF_MAP, .fd = -1}, {.form = RLX_PERF_JITDUMP, .fd = -1}};

/* ---- records of a jitdump ---------------------------------------------------------------------
 * The format's words, in the order of the machine: linux/tools/perf/Documentation/jitdump-specification.txt */

enum { MAGIC = 0x4a695444, VERSION = 1, CODE_LOAD = 0 };

typedef struct dump_head {
    uint32_t magic, version, bytes, machine, pad, pid;
    uint64_t time, flags;
} dump_head;
_Static_assert(sizeof(dump_head) == 40, "as perf reads it");

typedef struct dump_code { /* then the name with its NUL, then the code */
    uint32_t kind, bytes;
    uint64_t time;
    uint32_t pid, tid;
    uint64_t address, start, code_bytes, index;
} dump_code;
_Static_assert(sizeof(dump_code) == 56, "as perf reads it");

static void put_head(rlx_text *out)
{
    const dump_head h = {.magic = MAGIC,
                         .version = VERSION,
                         .bytes = sizeof h,
                         .machine = EM_X86_64,
                         .pid = (uint32_t)getpid(),
                         .time = (uint64_t)rlx_nanoseconds()};
    rlx_text_put_bytes(out, (const char *)&h, sizeof h);
}

static void put_code(rlx_perf *p, const rlx_perf_code *c, rlx_text *out)
{
    const size_t name = strlen(c->name) + 1;
    const uint64_t at = (uintptr_t)c->start;
    const dump_code d = {.kind = CODE_LOAD,
                         .bytes = (uint32_t)(sizeof d + name + c->bytes),
                         .time = (uint64_t)rlx_nanoseconds(),
                         .pid = (uint32_t)getpid(),
                         .tid = (uint32_t)syscall(SYS_gettid),
                         .address = at,
                         .start = at,
                         .code_bytes = c->bytes,
                         .index = p->index++};
    rlx_text_put_bytes(out, (const char *)&d, sizeof d);
    rlx_text_put_bytes(out, c->name, name);
    rlx_text_put_bytes(out, c->start, c->bytes);
}

/* ---- files ------------------------------------------------------------------------------------ */

static char *path_of(rlx_perf_form form, const char *folder)
{
    rlx_text t = {0};
    if (form == RLX_PERF_MAP)
        rlx_text_putf(&t, "/tmp/perf-%ld.map", (long)getpid());
    else
        rlx_text_putf(&t, "%s/jit-%ld.dump", folder ? folder : ".", (long)getpid());
    return rlx_text_take(&t);
}

static rlx_status begin_dump(rlx_perf *p)
{
    rlx_text head = {0};
    if (!p->made)
        put_head(&head);
    rlx_status st = head.oom ? RLX_OOM() : rlx_write_bytes(p->fd, head.data, head.len);
    rlx_text_deinit(&head);
    RLX_TRY(st);
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    p->mark = mmap(NULL, page, PROT_READ | PROT_EXEC, MAP_PRIVATE, p->fd, 0);
    if (p->mark != MAP_FAILED)
        return RLX_OK;
    p->mark = NULL;
    return RLX_FAIL(RLX_IO, "mapping it for perf to see: %s", strerror(errno));
}

/* The folder may be everybody's: what lies there is looked at before it is touched. */
static rlx_status open_file(rlx_perf *p)
{
    const int how = O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
    struct stat st;
    p->fd = open(p->path, how, 0600);
    if (p->fd < 0)
        return RLX_FAIL(RLX_IO, "%s", strerror(errno));
    if (fstat(p->fd, &st) || !S_ISREG(st.st_mode) || st.st_uid != geteuid())
        return RLX_FAIL(RLX_IO, "it is another user's, or no regular file");
    if (st.st_nlink != 1)
        return RLX_FAIL(RLX_IO, "it has another name besides");
    if (!p->made && ftruncate(p->fd, 0))
        return RLX_FAIL(RLX_IO, "%s", strerror(errno));
    p->index = p->made ? p->index : 0;
    if (p->form == RLX_PERF_JITDUMP)
        RLX_TRY(begin_dump(p));
    p->made = true;
    p->pid = getpid();
    return RLX_OK;
}

static void close_file(rlx_perf *p)
{
    if (p->mark)
        munmap(p->mark, (size_t)sysconf(_SC_PAGESIZE));
    if (p->fd >= 0)
        close(p->fd);
    p->mark = NULL;
    p->fd = -1;
}

static rlx_status open_named(rlx_perf *p)
{
    rlx_status st = open_file(p);
    if (st)
        close_file(p);
    RLX_TRY_NOTE(st, "telling perf of code: %s", p->path);
    return RLX_OK;
}

/* In a forked child the file is its parent's: those who use it get one of the child's own. */
static rlx_status begin_process(rlx_perf *p)
{
    if (!p->users || p->pid == getpid())
        return RLX_OK;
    char *slash = strrchr(p->path, '/');
    *slash = 0;
    char *path = path_of(p->form, p->path);
    *slash = '/';
    if (!path)
        return RLX_OOM();
    close_file(p);
    free(p->path);
    p->path = path;
    p->made = false;
    return open_named(p);
}

/* The form's file for one user more. */
static rlx_status use(rlx_perf *p, const char *folder)
{
    RLX_TRY(begin_process(p));
    char *path = path_of(p->form, folder);
    if (!path)
        return RLX_OOM();
    if (p->path && !strcmp(p->path, path) && p->users) {
        free(path);
        p->users++;
        return RLX_OK;
    }
    if (p->users) {
        rlx_status st = RLX_FAIL(RLX_INVALID_ARGUMENT, "%s: the process has its dump already, %s",
                                 path, p->path);
        free(path);
        return st;
    }
    p->made = p->made && !strcmp(p->path, path);
    free(p->path);
    p->path = path;
    RLX_TRY(open_named(p));
    p->users = 1;
    return RLX_OK;
}

rlx_status rlx_perf_open(rlx_perf_form form, const char *folder, rlx_perf **out)
{
    *out = NULL;
    if (form != RLX_PERF_MAP && form != RLX_PERF_JITDUMP)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "perf has no form %d", (int)form);
    rlx_perf *p = &files[form == RLX_PERF_JITDUMP];
    pthread_mutex_lock(&lock);
    rlx_status st = use(p, folder);
    pthread_mutex_unlock(&lock);
    *out = st ? NULL : p;
    return st;
}

void rlx_perf_close(rlx_perf *p)
{
    pthread_mutex_lock(&lock);
    if (p && --p->users == 0)
        close_file(p);
    pthread_mutex_unlock(&lock);
}

rlx_status rlx_perf_add(rlx_perf *p, const rlx_perf_code *codes, size_t n)
{
    rlx_text out = {0};
    pthread_mutex_lock(&lock);
    rlx_status st = begin_process(p);
    for (size_t i = 0; i < n && !st; i++)
        if (p->form == RLX_PERF_MAP)
            rlx_text_putf(&out, "%" PRIxPTR " %zx %s\n", (uintptr_t)codes[i].start, codes[i].bytes,
                          codes[i].name);
        else
            put_code(p, &codes[i], &out);
    if (!st)
        st = out.oom ? RLX_OOM() : rlx_write_bytes(p->fd, out.data, out.len);
    rlx_text_deinit(&out);
    pthread_mutex_unlock(&lock);
    RLX_TRY_NOTE(st, "writing %s", p->path);
    return RLX_OK;
}
