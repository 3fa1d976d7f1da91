/* runtime/map_file.h: whole files in memory, read only. Internal to runtime/. */
#ifndef RLX_RUNTIME_MAP_FILE_H
#define RLX_RUNTIME_MAP_FILE_H

#include "runtime/base/status.h"

/* Maps a regular file. An empty one gives NULL and 0 bytes. munmap is the caller's. */
rlx_status rlx_map_file(const char *path, void **map, size_t *bytes);

#endif
