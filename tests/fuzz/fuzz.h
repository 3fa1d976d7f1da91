/* tests/fuzz/fuzz.h: what fuzz targets share. A broken promise ends the process: the fuzzer keeps
 * the input. */
#ifndef RLX_TESTS_FUZZ_H
#define RLX_TESTS_FUZZ_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "runtime/base/status.h"

enum { FUZZ_PATH_CHARS = 64, FUZZ_MAX_BYTES = 1 << 16 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline void must(int holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "%s\n", what);
        abort();
    }
}

/* A file in memory of these bytes: its descriptor, to be closed, and a path that opens it. */
static inline int fuzz_file(const uint8_t *data, size_t size, char path[FUZZ_PATH_CHARS])
{
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    must(fd >= 0 && write(fd, data, size) == (ssize_t)size, "no file in memory");
    snprintf(path, FUZZ_PATH_CHARS, "/proc/self/fd/%d", fd);
    return fd;
}

/* Frees the status, which has a story when it is one. */
static inline void fuzz_end(rlx_status st)
{
    if (st) {
        char *story = rlx_status_text(st);
        must(story && *story, "an error without a story");
        free(story);
    }
    rlx_status_free(st);
}

#endif
