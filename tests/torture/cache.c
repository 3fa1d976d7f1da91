/* tests/torture/cache.c: the compile cache under faults: a process that writes, reads or makes room
 * is killed at any of its system calls, or told by any of them that the disk is full, broken, read
 * only or not its own, or that there is no memory, or its folder is removed; files are cut off and bits turned over
 * between. First, once: a write that meets each of these at each of its calls, and an entry that is cut off at every byte and
 * has every bit turned over. Then FAULTS at random places.
 * Afterwards: never another program than the one that was put, never a crash or a hang, nothing
 * left behind that stays; and the next write heals.
 *
 *   torture_cache FAULTS [SEED]      ends with a count; prints the seed of what failed */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "runtime/base/text.h"
#include "runtime/cache.h"
#include "tests/torture/entry.h"

enum {
    ENTRIES = 5,
    PATH = 256,
    MOST_CALLS = 20000, /* of one operation; more is a hang */
    WRONG_PROGRAM =
        77,           /* exit code of a process that was given another program than it asked for */
    CHECK_EVERY = 16, /* faults between looks at everything */
};

static char folder[PATH];
static torture_entry entries[ENTRIES];
static uint64_t state;
static int64_t killed, refused, removed, unhurt; /* what became of the processes */
static int64_t damaged;                          /* files */

static uint64_t next_random(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static int below(int n)
{
    return (int)(next_random() % (uint64_t)n);
}

static int fail(const char *what, int64_t fault)
{
    printf("fault %lld: %s\n", (long long)fault, what);
    return 1;
}

/* ---- what the victim does
 * ------------------------------------------------------------------------ */

typedef enum operation { PUT, GET, TRIM, OPERATIONS } operation;

static rlx_cache *open_cache(void)
{
    rlx_cache *c = NULL;
    rlx_status_free(rlx_cache_open(&(rlx_cache_options){.folder = folder}, &c));
    return c;
}

/* Whether what is under the entry's key is the entry, or nothing. */
static bool is_right(rlx_cache *c, const torture_entry *e, bool *there)
{
    rlx_program *p = rlx_cache_get(c, &e->key, e->preimage);
    *there = p != NULL;
    const bool right = !p || (!strcmp(p->preimage, e->preimage) && p->nkernels == 1 &&
                              p->kernels[0].code_bytes == e->code_bytes &&
                              !memcmp(p->kernels[0].code, e->code, e->code_bytes));
    rlx_program_destroy(p);
    return right;
}

static void operate(operation op, const torture_entry *e)
{
    bool there;
    rlx_cache *c = open_cache();
    if (!c)
        _exit(0);
    if (op == PUT)
        rlx_status_free(rlx_cache_put(c, &e->key, e->bytes.data, e->bytes.len));
    else if (op == TRIM)
        rlx_status_free(rlx_cache_trim(c, (int64_t)e->bytes.len * 3, NULL));
    else if (!is_right(c, e, &there))
        _exit(WRONG_PROGRAM);
    rlx_cache_close(c);
    _exit(0);
}

/* ---- faults
 * -------------------------------------------------------------------------------------- */

/* A child that stops before its operation; its parent traces it. */
static pid_t start(operation op, const torture_entry *e)
{
    fflush(stdout);
    pid_t pid = fork();
    if (pid)
        return pid;
    ptrace(PTRACE_TRACEME, 0, NULL, NULL);
    raise(SIGSTOP);
    operate(op, e);
    _exit(0);
}

/* Runs the child to its n-th system call; false: it ended before. *status: as wait leaves it. */
static bool run_to_call(pid_t pid, int n, int *status)
{
    waitpid(pid, status, 0);
    for (int call = 0; WIFSTOPPED(*status) && call <= n; call++) {
        if (call == n)
            return true;
        for (int half = 0; half < 2 && WIFSTOPPED(*status); half++) { /* its entry and its exit */
            ptrace(PTRACE_SYSCALL, pid, NULL, NULL);
            waitpid(pid, status, 0);
        }
    }
    return false;
}

/* The next system call is not made and gives `error`. */
static void refuse_next_call(pid_t pid, int error, int *status)
{
    struct user_regs_struct regs;
    ptrace(PTRACE_SYSCALL, pid, NULL, NULL);
    waitpid(pid, status, 0);
    if (!WIFSTOPPED(*status))
        return;
    ptrace(PTRACE_GETREGS, pid, NULL, &regs);
    regs.orig_rax = ~0ull;
    ptrace(PTRACE_SETREGS, pid, NULL, &regs);
    ptrace(PTRACE_SYSCALL, pid, NULL, NULL);
    waitpid(pid, status, 0);
    if (!WIFSTOPPED(*status))
        return;
    ptrace(PTRACE_GETREGS, pid, NULL, &regs);
    regs.rax = (unsigned long long)-(long long)error;
    ptrace(PTRACE_SETREGS, pid, NULL, &regs);
}

/* How many system calls an operation makes, on a folder as it is now. */
static int measure(operation op)
{
    int status, calls = 0;
    pid_t pid = start(op, &entries[0]);
    waitpid(pid, &status, 0);
    while (WIFSTOPPED(status) && calls < 2 * MOST_CALLS) {
        ptrace(PTRACE_SYSCALL, pid, NULL, NULL);
        waitpid(pid, &status, 0);
        calls++;
    }
    if (WIFSTOPPED(status)) {
        kill(pid, SIGKILL);
        waitpid(pid, &status, 0);
    }
    return calls / 2 + 1;
}

static int end_of(pid_t pid, int *status)
{
    struct timespec pause = {.tv_nsec = 1000000};
    ptrace(PTRACE_DETACH, pid, NULL, NULL);
    for (int ms = 0; ms < 20000; ms++) {
        if (waitpid(pid, status, WNOHANG) == pid)
            return 0;
        nanosleep(&pause, NULL);
    }
    kill(pid, SIGKILL);
    waitpid(pid, status, 0);
    return 1;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st, (void)type, (void)at;
    return remove(path);
}

static void remove_folder(void)
{
    nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* What may befall a process at one of its system calls: the call fails, or one of these. */
static const int errors[] = {ENOSPC, EIO, EACCES, EROFS, ENOMEM, EMFILE, EINTR};
enum { ERRORS = sizeof errors / sizeof *errors, KILL = ERRORS, REMOVE, FATES };

/* An operation that meets its fate at its n-th system call. */
static int strike(operation op, const torture_entry *e, int n, int fate, int64_t fault)
{
    int status;
    pid_t pid = start(op, e);
    if (run_to_call(pid, n, &status)) {
        if (fate == KILL) {
            kill(pid, SIGKILL);
            waitpid(pid, &status, 0);
            killed++;
            return 0;
        }
        if (fate == REMOVE)
            remove_folder();
        else
            refuse_next_call(pid, errors[fate], &status);
        removed += fate == REMOVE;
        refused += fate != REMOVE;
        if (WIFSTOPPED(status) && end_of(pid, &status))
            return fail("the process hangs", fault);
    } else {
        unhurt++;
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == WRONG_PROGRAM)
        return fail("another program was given out", fault);
    return WIFEXITED(status) ? 0 : fail("the process crashed", fault);
}

/* Being killed is as likely as being refused something twice. */
static int strike_somewhere(const int *calls, int64_t fault)
{
    const operation op = (operation)below(OPERATIONS);
    const int what = below(FATES + 3);
    return strike(op, &entries[below(ENTRIES)], below(calls[op]), what < FATES ? what : KILL,
                  fault);
}

/* ---- damage between
 * ------------------------------------------------------------------------------ */

static void path_of(const torture_entry *e, char path[PATH])
{
    char hex[65];
    rlx_hash_hex(e->key, hex);
    snprintf(path, PATH, "%.150s/code/%s.rlx", folder, hex);
}

static void damage(void)
{
    char path[PATH], byte;
    path_of(&entries[below(ENTRIES)], path);
    const int which = below(6);
    int fd = open(path, O_RDWR);
    struct stat st;
    if (fd >= 0 && !fstat(fd, &st) && st.st_size) {
        const off_t at = (off_t)(next_random() % (uint64_t)st.st_size);
        if (which == 0 && ftruncate(fd, at))
            perror("ftruncate");
        if (which == 1 && pread(fd, &byte, 1, at) == 1) {
            byte ^= (char)(1 << below(8));
            if (pwrite(fd, &byte, 1, at) != 1)
                perror("pwrite");
        }
    }
    if (fd >= 0)
        close(fd);
    if (which == 2) /* under another's name */
        path_of(&entries[below(ENTRIES)], path);
    if (which == 2 && (fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600)) >= 0) {
        const torture_entry *e = &entries[below(ENTRIES)];
        if (write(fd, e->bytes.data, e->bytes.len) < 0)
            perror("write");
        close(fd);
    }
    if (which == 3) { /* the clock is elsewhere */
        const time_t when = time(NULL) + (below(2) ? 1 : -1) * 86400 * below(1000);
        const struct timespec times[2] = {{.tv_sec = when}, {.tv_sec = when}};
        utimensat(AT_FDCWD, path, times, 0);
    }
}

/* ---- looking at everything
 * ------------------------------------------------------------------------- */

/* Files that are no entries become old, as they do by themselves; how many there are. */
static int age_leftovers(void)
{
    char code[PATH], path[2 * PATH];
    int n = 0;
    snprintf(code, sizeof code, "%.200s/code", folder);
    DIR *d = opendir(code);
    for (struct dirent *f; d && (f = readdir(d));) {
        const size_t len = strlen(f->d_name);
        if (len < 4 || strcmp(f->d_name + len - 4, ".tmp") != 0)
            continue;
        const time_t when = time(NULL) - 7200;
        const struct timespec times[2] = {{.tv_sec = when}, {.tv_sec = when}};
        snprintf(path, sizeof path, "%s/%s", code, f->d_name);
        utimensat(AT_FDCWD, path, times, 0);
        n++;
    }
    if (d)
        closedir(d);
    return n;
}

static int look(int64_t fault)
{
    bool there;
    rlx_cache *c = open_cache();
    if (!c)
        return fail("the folder cannot be opened any more", fault);
    int failed = 0;
    for (int i = 0; i < ENTRIES && !failed; i++)
        if (!is_right(c, &entries[i], &there))
            failed = fail("another program lies under a key", fault);
    age_leftovers();
    for (int i = 0; i < ENTRIES && !failed; i++) {
        rlx_status st =
            rlx_cache_put(c, &entries[i].key, entries[i].bytes.data, entries[i].bytes.len);
        if (st)
            failed = fail(rlx_status_message(st), fault);
        rlx_status_free(st);
        if (!failed && (!is_right(c, &entries[i], &there) || !there))
            failed = fail("a write does not heal", fault);
    }
    if (!failed && age_leftovers())
        failed = fail("something is left behind", fault);
    rlx_cache_close(c);
    return failed;
}

/* ---- everywhere, once --------------------------------------------------------------------------- */

/* A file that is not what was put: nothing is given out. */
static int expect_miss(rlx_cache *c, const torture_entry *e, const char *what, int64_t at)
{
    bool there;
    damaged++;
    return is_right(c, e, &there) && !there ? 0 : fail(what, at);
}

/* An entry that is cut off at every byte, and that has every one of its bits turned over. */
static int damage_everywhere(const torture_entry *e)
{
    char path[PATH];
    rlx_cache *c = open_cache();
    const uint8_t *bytes = (const uint8_t *)e->bytes.data;
    const size_t n = e->bytes.len;
    path_of(e, path);
    int failed = c ? 0 : fail("the folder cannot be opened", 0);
    if (!failed && rlx_cache_put(c, &e->key, bytes, n))
        failed = fail("an entry cannot be put", 0);
    int fd = open(path, O_RDWR);
    for (size_t bit = 0; bit < 8 * n && !failed && fd >= 0; bit++) {
        const uint8_t turned = bytes[bit / 8] ^ (uint8_t)(1 << bit % 8);
        if (pwrite(fd, &turned, 1, (off_t)(bit / 8)) != 1)
            perror("pwrite");
        failed = expect_miss(c, e, "a bit was turned over", (int64_t)bit);
        if (pwrite(fd, &bytes[bit / 8], 1, (off_t)(bit / 8)) != 1)
            perror("pwrite");
    }
    for (size_t at = n; at-- > 0 && !failed && fd >= 0;) {
        if (ftruncate(fd, (off_t)at))
            perror("ftruncate");
        failed = expect_miss(c, e, "it was cut off", (int64_t)at);
    }
    if (fd >= 0)
        close(fd);
    rlx_cache_close(c);
    return failed || fd >= 0 ? failed : fail("an entry that was put is not there", 0);
}

/* A write that meets every fate at each of its system calls. */
static int strike_everywhere(int calls)
{
    int failed = 0;
    for (int n = 0; n < calls && !failed; n++)
        for (int fate = 0; fate < FATES && !failed; fate++)
            failed = strike(PUT, &entries[n % ENTRIES], n, fate, n);
    return failed;
}

/* ---- the run
 * --------------------------------------------------------------------------------------- */

static int run(int64_t faults)
{
    int calls[OPERATIONS], failed = look(0);
    for (int op = 0; op < OPERATIONS; op++)
        calls[op] = measure((operation)op) + 4;
    if (!failed)
        failed = damage_everywhere(&entries[0]);
    if (!failed)
        failed = strike_everywhere(calls[PUT]);
    if (!failed)
        failed = look(0);
    for (int64_t i = 1; i <= faults && !failed; i++) {
        failed = strike_somewhere(calls, i);
        if (!failed && below(2))
            damage();
        if (!failed && i % CHECK_EVERY == 0)
            failed = look(i);
    }
    return failed ? failed : look(faults);
}

int main(int argc, char **argv)
{
    const int64_t faults = argc > 1 ? strtoll(argv[1], NULL, 10) : 0;
    const uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    char dir[PATH];
    if (faults <= 0) {
        fprintf(stderr, "torture_cache FAULTS [SEED]\n");
        return 2;
    }
    state = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    snprintf(dir, sizeof dir, "%s/rlx-torture-XXXXXX",
             access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
    if (!mkdtemp(dir))
        return 2;
    snprintf(folder, sizeof folder, "%.200s/cache", dir);
    for (int i = 0; i < ENTRIES; i++)
        entries[i] = torture_make_entry(i);
    const int failed = run(faults);
    nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    for (int i = 0; i < ENTRIES; i++)
        torture_free_entry(&entries[i]);
    printf("seed %llu: %lld processes killed, %lld with a system call refused, %lld whose folder "
           "went, %lld unhurt; "
           "%lld damaged files\n",
           (unsigned long long)seed, (long long)killed, (long long)refused, (long long)removed,
           (long long)unhurt, (long long)damaged);
    printf("%d passed, %d failed, 0 skipped\n", !failed, failed);
    return failed;
}
