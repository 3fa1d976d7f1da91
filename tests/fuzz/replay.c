/* A fuzz target without a fuzzer: every file of a corpus, then mutations of them from a fixed seed.
 *   replay CORPUS ROUNDS */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_FILES = 256, MAX_BYTES = 1 << 14 };

static struct {
    char *data;
    size_t size;
} files[MAX_FILES];
static int nfiles;

static uint64_t state = 0x9e3779b97f4a7c15u;

static size_t next(size_t n)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (size_t)(state >> 11) % n;
}

static int read_corpus(const char *dir)
{
    struct dirent **names;
    int n = scandir(dir, &names, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        char path[4096];
        snprintf(path, sizeof(path), "%s/%s", dir, names[i]->d_name);
        if (names[i]->d_name[0] != '.' && nfiles < MAX_FILES) {
            if (rlx_file_read(path, &files[nfiles].data, &files[nfiles].size) != RLX_OK)
                return 1;
            nfiles++;
        }
        free(names[i]);
    }
    if (n >= 0)
        free(names);
    return 0;
}

/* One small change: a byte, a piece that goes, or a piece of another file that comes in. */
static size_t mutate(char *s, size_t n)
{
    size_t at = next(n + 1), len = 1 + next(12);
    switch (next(4)) {
    case 0:
        if (at < n)
            s[at] = (char)next(256);
        return n;
    case 1: {
        static const char marks[] = "{}()[]<>%@:,=\"/\n -0129x.";
        if (at < n)
            s[at] = marks[next(sizeof(marks) - 1)];
        return n;
    }
    case 2:
        if (len > n - at)
            len = n - at;
        memmove(s + at, s + at + len, n - at - len);
        return n - len;
    default: {
        int from = (int)next((size_t)nfiles);
        size_t start = next(files[from].size + 1);
        if (len > files[from].size - start)
            len = files[from].size - start;
        if (n + len > MAX_BYTES)
            return n;
        memmove(s + at + len, s + at, n - at);
        memcpy(s + at, files[from].data + start, len);
        return n + len;
    }
    }
}

int main(int argc, char **argv)
{
    static char input[MAX_BYTES];
    long rounds = argc == 3 ? strtol(argv[2], NULL, 10) : 0;
    if (rounds <= 0 || read_corpus(argv[1]) || nfiles == 0) {
        fprintf(stderr, "replay CORPUS ROUNDS: no corpus or no rounds\n");
        return 1;
    }
    for (int i = 0; i < nfiles; i++)
        LLVMFuzzerTestOneInput((const uint8_t *)files[i].data, files[i].size);
    for (long r = 0; r < rounds; r++) {
        int i = (int)next((size_t)nfiles);
        size_t n = files[i].size < MAX_BYTES ? files[i].size : MAX_BYTES;
        memcpy(input, files[i].data, n);
        for (size_t k = 1 + next(4); k > 0; k--)
            n = mutate(input, n);
        LLVMFuzzerTestOneInput((const uint8_t *)input, n);
    }
    printf("%d files and %ld mutations\n", nfiles, rounds);
    for (int i = 0; i < nfiles; i++)
        free(files[i].data);
    return 0;
}
