/* runtime/map_file.h: whole files in memory, read only. Internal to runtime/.
 *
 * A file that is made shorter while it is mapped raises SIGBUS at the next read beyond its end. With
 * rlx_guard_files (runtime.h) such reads give zeros instead, and whoever used them asks afterwards. */
#ifndef RLX_RUNTIME_MAP_FILE_H
#define RLX_RUNTIME_MAP_FILE_H

#include "runtime/base/status.h"

/* Maps a regular file. An empty one gives NULL and 0 bytes. */
rlx_status rlx_map_file(const char *path, void **map, size_t *bytes);
void rlx_unmap_file(void *map, size_t bytes); /* accepts NULL */
/* RLX_IO, naming `path`, when a guarded read found the file shorter than it was. */
rlx_status rlx_map_check(const void *map, const char *path);

#endif
