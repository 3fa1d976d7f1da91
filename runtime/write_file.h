/* runtime/write_file.h: files that are there whole or not at all. Internal to runtime/. */
#ifndef RLX_RUNTIME_WRITE_FILE_H
#define RLX_RUNTIME_WRITE_FILE_H

#include <stddef.h>

#include "runtime/base/status.h"

/* Writes the contents, by rlx_write_bytes. */
typedef rlx_status rlx_write_fn(void *user, int fd);
/* A new file, or a regular one's successor, is made beside its place, synced and renamed. What a
 * link leads to is written, never the link; a device or a pipe is written to in place. Errors do
 * not name the path. */
rlx_status rlx_write_file(const char *path, rlx_write_fn *contents, void *user);
/* The same of a file of an open folder, for the user alone. A process that is killed meanwhile leaves a file
 * whose name ends in RLX_TEMPORARY. */
rlx_status rlx_write_file_in(int folder, const char *name, rlx_write_fn *contents, void *user);
#define RLX_TEMPORARY ".tmp"
rlx_status rlx_write_bytes(int fd, const void *data, size_t n);

#endif
