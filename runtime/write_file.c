#include "runtime/write_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/base/text.h"

rlx_status rlx_write_bytes(int fd, const void *data, size_t n)
{
    for (const char *p = data; n > 0;) {
        ssize_t done = write(fd, p, n < (1 << 30) ? n : (1 << 30));
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return RLX_FAIL(RLX_IO, "%s", strerror(errno));
        p += done;
        n -= (size_t)done;
    }
    return RLX_OK;
}

static rlx_status write_and_sync(int fd, rlx_write_fn *contents, void *user)
{
    RLX_TRY(contents(user, fd));
    if (fsync(fd) != 0 && errno != EINVAL && errno != EROFS) /* those: a pipe or a device */
        return RLX_FAIL(RLX_IO, "%s", strerror(errno));
    return RLX_OK;
}

/* Takes `fd`, which may be what open() gave when it failed. */
static rlx_status write_and_close(int fd, rlx_write_fn *contents, void *user)
{
    if (fd < 0)
        return RLX_FAIL(RLX_IO, "%s", strerror(errno));
    rlx_status st = write_and_sync(fd, contents, user);
    if (close(fd) != 0 && !st)
        st = RLX_FAIL(RLX_IO, "%s", strerror(errno));
    return st;
}

/* After a rename, the name itself is only on disk when the directory is. */
static void sync_directory(int folder, const char *path)
{
    const char *slash = strrchr(path, '/');
    char *dir = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
    int fd = dir ? openat(folder, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        fsync(fd); /* file systems without it have nothing to sync */
        close(fd);
    }
    free(dir);
}

/* A file of a name that nobody else has: processes of two machines, or of two containers, may have
 * one number. */
static rlx_status make_temporary(int folder, const char *path, int mode, rlx_text *name, int *fd)
{
    enum { TRIES = 16 };
    *fd = -1;
    for (int i = 0; i < TRIES && *fd < 0; i++) {
        uint64_t random;
        if (getrandom(&random, sizeof random, 0) != sizeof random)
            return RLX_FAIL(RLX_IO, "%s", strerror(errno));
        rlx_text_clear(name);
        rlx_text_putf(name, "%s.%016llx" RLX_TEMPORARY, path, (unsigned long long)random);
        if (name->oom)
            return RLX_OOM();
        *fd = openat(folder, name->data, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
        if (*fd < 0 && errno != EEXIST)
            break;
    }
    return RLX_OK; /* write_and_close says what is wrong */
}

static rlx_status replace_file(int folder, const char *path, int mode, rlx_write_fn *contents,
                               void *user)
{
    rlx_text temporary = {0};
    int fd = -1;
    RLX_TRY(make_temporary(folder, path, mode, &temporary, &fd));
    rlx_status st = write_and_close(fd, contents, user);
    if (!st && renameat(folder, temporary.data, folder, path) != 0)
        st = RLX_FAIL(RLX_IO, "%s", strerror(errno));
    if (st && fd >= 0)
        unlinkat(folder, temporary.data, 0);
    if (!st)
        sync_directory(folder, path);
    rlx_text_deinit(&temporary);
    return st;
}

rlx_status rlx_write_file_in(int folder, const char *name, rlx_write_fn *contents, void *user)
{
    return replace_file(folder, name, 0600, contents, user);
}

/* Renaming over a device or a pipe would put a file in its place. */
rlx_status rlx_write_file(const char *path, rlx_write_fn *contents, void *user)
{
    struct stat info;
    if (stat(path, &info) != 0) {
        struct stat link;
        if (errno != ENOENT || lstat(path, &link) == 0)
            return RLX_FAIL(RLX_IO, "%s", strerror(errno));
        return replace_file(AT_FDCWD, path, 0666, contents, user);
    }
    if (!S_ISREG(info.st_mode))
        return write_and_close(open(path, O_WRONLY | O_CLOEXEC), contents, user);
    char *target = realpath(path, NULL);
    if (!target)
        return RLX_FAIL(RLX_IO, "%s", strerror(errno));
    rlx_status st = replace_file(AT_FDCWD, target, 0666, contents, user);
    free(target);
    return st;
}
