/* runtime/cache_folder.h: folders that nobody but the user can have written to. What lies in them
 * is trusted as the program itself is: compiled code is run, compiled tables are read unchecked. */
#ifndef RLX_RUNTIME_CACHE_FOLDER_H
#define RLX_RUNTIME_CACHE_FOLDER_H

#include <stdbool.h>
#include <stddef.h>

#include "runtime/base/status.h"

/* The folder of all of rlx's caches: $RLX_CACHE_DIR, else rlx in $XDG_CACHE_HOME or $HOME/.cache;
 * heap. NULL: the environment names none, or has RLX_CACHE_DIR empty, which means that nothing is
 * to be kept. A relative XDG_CACHE_HOME is ignored, as
 * the standard wants it. */
char *rlx_cache_default_folder(void);

/* Opens a folder for the functions of the openat family. `make`: it and those above it are made
 * (mode 0700) where they are missing. Others must not be able to write to it: it belongs to the
 * user or to root, and neither its group nor the world may write; `shared`: whoever may.
 * RLX_NOT_FOUND, RLX_IO; RLX_INVALID_ARGUMENT with the reason for which it is not trusted. Errors
 * name the path. */
rlx_status rlx_cache_folder_open(const char *path, bool make, bool shared, int *fd);

/* Opens a file of a folder (AT_FDCWD: of any) for reading: a regular one, no link, that others
 * cannot have written (as above). -1: there is no such file; errno has ENOENT when it is not there,
 * EPERM when it is not trusted. */
int rlx_cache_file_open(int folder, const char *name, bool shared, size_t *bytes);

/* Whether this process may not write to it. */
bool rlx_cache_folder_is_read_only(int folder);

#endif
