#include "runtime/cache_folder.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/base/text.h"

char *rlx_cache_default_folder(void)
{
    rlx_text t = {0};
    const char *own = secure_getenv("RLX_CACHE_DIR"), *xdg = secure_getenv("XDG_CACHE_HOME"),
               *home = secure_getenv("HOME");
    if (own)
        rlx_text_put(&t, own);
    else if (xdg && *xdg == '/')
        rlx_text_putf(&t, "%s/rlx", xdg);
    else if (home && *home == '/')
        rlx_text_putf(&t, "%s/.cache/rlx", home);
    if (t.oom || !t.len)
        rlx_text_deinit(&t);
    return t.len ? rlx_text_take(&t) : NULL;
}

/* Makes a folder and those above it. */
static rlx_status make_folder(const char *path)
{
    char *part = strdup(path);
    if (!part)
        return RLX_OOM();
    int error = 0;
    for (char *p = part + 1; *p && !error; p++) {
        if (*p != '/')
            continue;
        *p = 0;
        error = mkdir(part, 0700) && errno != EEXIST ? errno : 0;
        *p = '/';
    }
    free(part);
    if (!error && mkdir(path, 0700) && errno != EEXIST)
        error = errno;
    return error ? RLX_FAIL(RLX_IO, "making the folder %s: %s", path, strerror(error)) : RLX_OK;
}

/* Only the user, or root, can have written there. */
static bool is_own(const struct stat *st)
{
    return (st->st_uid == geteuid() || st->st_uid == 0) && !(st->st_mode & (S_IWGRP | S_IWOTH));
}

static rlx_status check_folder(const char *path, int fd, bool shared)
{
    struct stat st;
    if (fstat(fd, &st))
        return RLX_FAIL(RLX_IO, "%s: %s", path, strerror(errno));
    if (shared || is_own(&st))
        return RLX_OK;
    if (st.st_uid != geteuid() && st.st_uid != 0)
        return RLX_FAIL(RLX_INVALID_ARGUMENT,
                        "%s belongs to another user (%ld): code from there is not run", path,
                        (long)st.st_uid);
    return RLX_FAIL(RLX_INVALID_ARGUMENT,
                    "%s can be written to by others (mode %03o): code from there is not run; "
                    "chmod go-w makes it one's own",
                    path, (unsigned)(st.st_mode & 0777));
}

rlx_status rlx_cache_folder_open(const char *path, bool make, bool shared, int *fd)
{
    *fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*fd < 0 && errno == ENOENT && make) {
        RLX_TRY(make_folder(path));
        *fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    }
    if (*fd < 0)
        return RLX_FAIL(errno == ENOENT ? RLX_NOT_FOUND : RLX_IO, "%s: %s", path, strerror(errno));
    rlx_status st = check_folder(path, *fd, shared);
    if (st) {
        close(*fd);
        *fd = -1;
    }
    return st;
}

int rlx_cache_file_open(int folder, const char *name, bool shared, size_t *bytes)
{
    struct stat st;
    int fd = openat(folder, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return -1;
    int error = fstat(fd, &st) ? errno : S_ISREG(st.st_mode) && (shared || is_own(&st)) ? 0 : EPERM;
    if (error) {
        close(fd);
        errno = error;
        return -1;
    }
    *bytes = (size_t)st.st_size;
    return fd;
}

bool rlx_cache_folder_is_read_only(int folder)
{
    return faccessat(folder, ".", W_OK, AT_EACCESS) &&
           (errno == EROFS || errno == EACCES || errno == EPERM);
}
