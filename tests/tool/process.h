/* tests/tool/process.h: running a program and keeping what it says. */
#ifndef RLX_TESTS_PROCESS_H
#define RLX_TESTS_PROCESS_H

#include <stddef.h>

#define RLX_TOOL RLX_BINARY_DIR "/bin/rlx"

typedef struct process {
    int code;        /* exit code; 128 + the signal when one ended it */
    char *out, *err; /* what it wrote, NUL-terminated */
    size_t out_bytes, err_bytes;
} process;

/* Runs argv[0] with its arguments (NULL-ended) to its end. Aborts the test when that cannot be
 * done. `out_path`: where stdout goes instead of into `out`; may be NULL. */
void process_run(process *p, const char *out_path, const char *const *argv);
void process_free(process *p);

/* Fails unless it ended well and wrote `want`, all of it, to stdout; frees. */
void process_says(process *p, const char *want);
/* Fails unless it ended with that code and stderr has `word`; frees. */
void process_complains(process *p, int code, const char *word);

/* process_run with the arguments written out. */
#define RUN(p, ...) process_run((p), NULL, (const char *const[]){__VA_ARGS__, NULL})

#endif
