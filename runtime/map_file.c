#include "runtime/map_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

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
