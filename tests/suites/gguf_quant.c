/* tests/suites/gguf_quant.c: a FORMAT.safetensors is a case: NAME.bytes u8[rows, bytes] decode, bit
 * for bit, to NAME.dequant f32[rows, elements]; any NaN is as good as another. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "runtime/base/format.h"
#include "tests/suites/suites.h"

static const char suffix[] = ".safetensors";
static const char *const sets[] = {"real", "random"};
enum { SETS = sizeof sets / sizeof *sets };

/* The format of that name whose rows of bytes have so many elements. */
static rlx_format format_of(const char *name, int64_t elems, int64_t bytes)
{
    for (int f = RLX_FORMAT_NONE + 1; f < RLX_FORMAT_COUNT; f++) {
        const rlx_format_info *info = rlx_format_get((rlx_format)f);
        size_t len = strlen(name);
        bool same = strncasecmp(info->name, name, len) == 0 &&
                    (info->name[len] == 0 || info->name[len] == '_');
        if (same && elems % info->block_elems == 0 &&
            elems / info->block_elems * info->block_bytes == bytes)
            return (rlx_format)f;
    }
    return RLX_FORMAT_NONE;
}

static bool same_bits(float a, float b)
{
    return memcmp(&a, &b, sizeof a) == 0 || (a != a && b != b);
}

/* Whether all rows decode to what is wanted; the first that does not is told. */
static bool decodes(conformance *c, const char *path, rlx_format f, const rlx_tensor *bytes,
                    const rlx_tensor *want)
{
    for (int64_t i = 0; i < want->dim[0] * want->dim[1]; i++) {
        int64_t row = i / want->dim[1], column = i % want->dim[1];
        const uint8_t *from = (const uint8_t *)bytes->data + row * bytes->dim[1];
        float is = (float)rlx_format_load(f, from, column), wanted = ((const float *)want->data)[i];
        if (same_bits(is, wanted))
            continue;
        case_failed(c, path, "%s [%lld,%lld] is %.9g, not %.9g", want->name, (long long)row,
                    (long long)column, is, wanted);
        return false;
    }
    return true;
}

/* Whether the set's bytes, where the file has it, decode; counts it. */
static bool check_set(conformance *c, const char *path, const char *format, const rlx_weights *w,
                      const char *set, int *n)
{
    char name[32];
    snprintf(name, sizeof name, "%s.bytes", set);
    const rlx_tensor *bytes = rlx_weights_find(w, name);
    snprintf(name, sizeof name, "%s.dequant", set);
    const rlx_tensor *want = rlx_weights_find(w, name);
    if (!bytes || !want)
        return true;
    bool fits = bytes->format == RLX_U8 && want->format == RLX_F32 && bytes->rank == 2 &&
                want->rank == 2 && bytes->dim[0] == want->dim[0];
    rlx_format f = fits ? format_of(format, want->dim[1], bytes->dim[1]) : RLX_FORMAT_NONE;
    if (f == RLX_FORMAT_NONE) {
        case_failed(c, path, "%s.bytes and %s.dequant are no rows of a format %s", set, set,
                    format);
        return false;
    }
    *n += want->dim[0] * want->dim[1] > 0;
    return decodes(c, path, f, bytes, want);
}

static void check_file(conformance *c, const char *path, const char *format)
{
    rlx_weights *w = NULL;
    rlx_status st = rlx_weights_create(&w);
    if (!st)
        st = rlx_weights_add_safetensors(w, path);
    if (!case_broke(c, path, st)) {
        int n = 0;
        bool good = true;
        for (int i = 0; good && i < SETS; i++)
            good = check_set(c, path, format, w, sets[i], &n);
        if (good && n == 0)
            case_skipped(c, path, "no bytes with their values");
        else if (good)
            case_passed(c);
    }
    rlx_weights_destroy(w);
}

void gguf_quant_run(conformance *c, const char *dir)
{
    struct dirent **list;
    int n = scandir(dir, &list, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        char path[PATH_CHARS], format[64];
        size_t len = strlen(list[i]->d_name), tail = sizeof suffix - 1;
        if (len > tail && len - tail < sizeof format &&
            strcmp(list[i]->d_name + len - tail, suffix) == 0) {
            snprintf(format, sizeof format, "%.*s", (int)(len - tail), list[i]->d_name);
            if (snprintf(path, sizeof path, "%s/%s", dir, list[i]->d_name) < PATH_CHARS)
                check_file(c, path, format);
        }
        free(list[i]);
    }
    if (n >= 0)
        free(list);
}
