/* A fuzz target without a fuzzer: every file of some folders, then mutations of them from a fixed
 * seed, and with RLX_FUZZ_SECONDS set more of them until that time is over.
 *   replay FOLDER... ROUNDS          ?FOLDER: one that need not be there */
#include <dirent.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "runtime/base/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_FILES = 1024, MAX_BYTES = 1 << 14, BETWEEN_LOOKS = 256 };

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

static void add_input(const char *data, size_t size)
{
    char *copy = nfiles < MAX_FILES ? malloc(size ? size : 1) : NULL;
    if (!copy)
        return;
    memcpy(copy, data, size);
    files[nfiles].data = copy;
    files[nfiles++].size = size;
}

/* A file as tests/golden has them is an input for each of its cases, and of what they give. */
static void add_cases(const char *text, size_t size)
{
    const char *end = text + size;
    for (const char *p = text; p < end; p++)
        if (end - p > 9 && (!memcmp(p, "\n// ====\n", 9) || !memcmp(p, "\n// ----\n", 9))) {
            add_input(text, (size_t)(p + 1 - text));
            text = p + 9;
        }
    add_input(text, (size_t)(end - text));
}

static int read_corpus_file(const char *path)
{
    char *data;
    size_t size;
    rlx_status st = rlx_file_read(path, &data, &size);
    if (st) {
        rlx_status_free(st);
        return 1;
    }
    add_cases(data, size);
    free(data);
    return 0;
}

static int read_corpus(const char *dir)
{
    struct dirent **names;
    const bool optional = *dir == '?';
    dir += optional;
    int n = scandir(dir, &names, NULL, alphasort), bad = n < 0 && !optional;
    if (n < 0)
        fprintf(stderr, "%s: there is no %s\n", optional ? "skipped" : "replay", dir);
    for (int i = 0; i < n; i++) {
        char path[4096];
        snprintf(path, sizeof(path), "%s/%s", dir, names[i]->d_name);
        if (names[i]->d_name[0] != '.')
            bad |= read_corpus_file(path);
        free(names[i]);
    }
    if (n >= 0)
        free(names);
    return bad;
}

/* A number of the kinds that sizes and offsets go wrong with, over the next 4 or 8 bytes. */
static void put_number(char *s, size_t n, size_t at)
{
    static const uint64_t kinds[] = {0,        1,         2,          31,        255,
                                     1u << 16, INT32_MAX, UINT32_MAX, INT64_MAX, UINT64_MAX};
    const size_t bytes = next(2) ? 8 : 4;
    uint64_t v = kinds[next(sizeof kinds / sizeof *kinds)] - next(2);
    if (at + bytes <= n)
        memcpy(s + at, &v, bytes);
}

/* One small change: a byte, a number, a piece that goes, or a piece of another file that comes in.
 */
static size_t mutate(char *s, size_t n)
{
    size_t at = next(n + 1), len = 1 + next(12);
    switch (next(5)) {
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
        put_number(s, n, at);
        return n;
    case 3:
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

static void run_mutation(void)
{
    static char input[MAX_BYTES];
    int i = (int)next((size_t)nfiles);
    size_t n = files[i].size < MAX_BYTES ? files[i].size : MAX_BYTES;
    memcpy(input, files[i].data, n);
    for (size_t k = 1 + next(4); k > 0; k--)
        n = mutate(input, n);
    LLVMFuzzerTestOneInput((const uint8_t *)input, n);
}

int main(int argc, char **argv)
{
    const char *text = getenv("RLX_FUZZ_SECONDS");
    const time_t end = time(NULL) + (text ? strtol(text, NULL, 10) : 0);
    long rounds = argc > 2 ? strtol(argv[argc - 1], NULL, 10) : 0, done = 0;
    int bad = rounds <= 0;
    for (int i = 1; i < argc - 1 && !bad; i++)
        bad = read_corpus(argv[i]);
    if (bad || nfiles == 0) {
        fprintf(stderr, "replay FOLDER... ROUNDS: no files or no rounds\n");
        return 1;
    }
    for (int i = 0; i < nfiles; i++)
        LLVMFuzzerTestOneInput((const uint8_t *)files[i].data, files[i].size);
    while (done < rounds || (text && (done % BETWEEN_LOOKS || time(NULL) < end))) {
        run_mutation();
        done++;
    }
    printf("%d files and %ld mutations\n", nfiles, done);
    for (int i = 0; i < nfiles; i++)
        free(files[i].data);
    return 0;
}
