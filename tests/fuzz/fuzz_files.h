/* tests/fuzz/fuzz_files.h: an input as the files of a folder: pieces, parted by lines of "====". */
#ifndef RLX_TESTS_FUZZ_FILES_H
#define RLX_TESTS_FUZZ_FILES_H

#include <dirent.h>
#include <fcntl.h>

#include "tests/fuzz/fuzz.h"

static char fuzz_folder_path[FUZZ_PATH_CHARS];

static void fuzz_remove_folder(void)
{
    DIR *d = opendir(fuzz_folder_path);
    for (struct dirent *e; d && (e = readdir(d));)
        unlinkat(dirfd(d), e->d_name, 0);
    must(d && !closedir(d) && !rmdir(fuzz_folder_path), "the folder stays");
}

/* A folder of this process's own, in memory where there is such a place. */
static inline const char *fuzz_folder(void)
{
    if (!*fuzz_folder_path) {
        const char *base = access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm";
        snprintf(fuzz_folder_path, sizeof fuzz_folder_path, "%s/fuzz-XXXXXX", base);
        must(mkdtemp(fuzz_folder_path) != NULL, "no folder");
        atexit(fuzz_remove_folder);
    }
    return fuzz_folder_path;
}

/* Piece i becomes `names[i]` in the folder; the last takes the rest. A file is not there when its
 * piece is empty. */
static inline void fuzz_put_files(const uint8_t *data, size_t size, const char *const *names, int n)
{
    static const char line[] = "\n====\n";
    const uint8_t *end = data + size;
    for (int i = 0; i < n; i++) {
        char path[2 * FUZZ_PATH_CHARS];
        const size_t left = (size_t)(end - data);
        const uint8_t *cut = i + 1 < n && left ? memmem(data, left, line, sizeof line - 1) : NULL;
        const size_t bytes = cut ? (size_t)(cut - data) : left;
        snprintf(path, sizeof path, "%s/%s", fuzz_folder(), names[i]);
        unlink(path);
        FILE *f = bytes ? fopen(path, "wb") : NULL;
        must(!bytes || (f && fwrite(data, 1, bytes, f) == bytes && !fclose(f)), "a file stays out");
        data = cut ? cut + sizeof line - 1 : end;
    }
}

#endif
