/* A model in two parts of arbitrary bytes: opened from either, it is the same tensors or an error.
 */
#include "runtime/gguf.h"
#include "tests/fuzz/fuzz_files.h"
#include "tests/fuzz/fuzz_weights.h"

static int open_from(const char *name)
{
    char path[2 * FUZZ_PATH_CHARS];
    rlx_gguf **parts;
    int n, tensors = -1;
    snprintf(path, sizeof path, "%s/%s", fuzz_folder(), name);
    rlx_status st = rlx_gguf_open_parts(path, &parts, &n);
    must(!st == (parts != NULL), "neither parts nor an error");
    if (!st) {
        must(n == 1 || n == 2, "another number of parts than there are");
        tensors = 0;
        for (int i = 0; i < n; i++)
            tensors += rlx_gguf_count(parts[i]);
        rlx_gguf_close_parts(parts, n);
        tensors = n == 2 ? tensors : -1;
    }
    fuzz_end(st);
    return tensors;
}

static void use(const char *name)
{
    char path[2 * FUZZ_PATH_CHARS];
    rlx_weights *w;
    snprintf(path, sizeof path, "%s/%s", fuzz_folder(), name);
    must(!rlx_weights_create(&w), "out of memory");
    fuzz_end(rlx_weights_add_gguf(w, path));
    fuzz_use_weights(w);
    rlx_weights_destroy(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = {"m-00001-of-00002.gguf", "m-00002-of-00002.gguf"};
    if (size > FUZZ_MAX_BYTES)
        return 0;
    fuzz_put_files(data, size, names, 2);
    const int n = open_from(names[0]);
    if (n >= 0) {
        must(open_from(names[1]) == n, "the other part says something else");
        use(names[0]);
    }
    return 0;
}
