/* runtime/gguf_split.c: a model in several GGUF files.
 *
 *   NAME-00001-of-00003.gguf   all metadata, its share of the tensors
 *   NAME-00002-of-00003.gguf   split.* only, its share
 *
 * Each part says which it is (split.no, from 0), of how many (split.count), and how many tensors
 * all have together (split.tensors.count). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/text.h"
#include "runtime/gguf.h"

enum { MAX_PARTS = 99999 }; /* five digits */

/* A split.* key, `absent` when it is not there. */
static rlx_status find(const rlx_gguf *f, const char *key, int64_t absent, int64_t *out)
{
    const rlx_gguf_value *v = rlx_gguf_find(f, key);
    *out = absent;
    if (v && (!rlx_gguf_int(v, out) || *out < 0))
        return RLX_FAIL(RLX_INVALID_FILE, "metadata %s is no count", key);
    return RLX_OK;
}

static void part_path(const char *stem, size_t len, int64_t no, int64_t count, rlx_text *out)
{
    rlx_text_clear(out);
    rlx_text_putf(out, "%.*s-%05lld-of-%05lld.gguf", (int)len, stem, (long long)no + 1,
                  (long long)count);
}

/* Is this the part that it should be? */
static rlx_status check_part(const rlx_gguf *f, int64_t no, int64_t count, int64_t tensors)
{
    static const char *const keys[] = {"split.no", "split.count", "split.tensors.count"};
    const int64_t want[] = {no, count, tensors};
    for (int i = 0; i < 3; i++) {
        int64_t got;
        RLX_TRY(find(f, keys[i], -1, &got));
        if (got != want[i])
            return RLX_FAIL(RLX_INVALID_FILE, "metadata %s is %lld, and should be %lld", keys[i],
                            (long long)got, (long long)want[i]);
    }
    return RLX_OK;
}

static rlx_status open_part(const char *path, int64_t no, int64_t count, int64_t tensors,
                            rlx_gguf **out)
{
    RLX_TRY(rlx_gguf_open(path, out));
    rlx_status st = check_part(*out, no, count, tensors);
    RLX_TRY_NOTE(st, "%s, part %lld of %lld", path, (long long)no + 1, (long long)count);
    return RLX_OK;
}

/* `path` names part `no`: the length of what stands before "-00001-of-..". */
static rlx_status find_stem(const char *path, int64_t no, int64_t count, size_t *stem)
{
    rlx_text end = {0};
    part_path("", 0, no, count, &end);
    if (end.oom)
        return RLX_OOM();
    size_t n = strlen(path);
    bool fits = n >= end.len && !strcmp(path + n - end.len, end.data);
    rlx_status st = fits ? RLX_OK
                         : RLX_FAIL(RLX_INVALID_FILE,
                                    "%s is part %lld of %lld by its metadata, and its name does "
                                    "not end in %s",
                                    path, (long long)no + 1, (long long)count, end.data);
    *stem = fits ? n - end.len : 0;
    rlx_text_deinit(&end);
    return st;
}

/* All parts but the one that is open. */
static rlx_status open_others(const char *path, rlx_gguf **files, int64_t given, int64_t count)
{
    rlx_text name = {0};
    size_t stem = 0;
    int64_t tensors, sum = 0;
    rlx_status st;
    RLX_TRY_TO(done, find(files[given], "split.tensors.count", -1, &tensors));
    RLX_TRY_TO(done, find_stem(path, given, count, &stem));
    RLX_TRY_TO(done, check_part(files[given], given, count, tensors));
    for (int64_t i = 0; i < count; i++) {
        part_path(path, stem, i, count, &name);
        if (!files[i])
            RLX_TRY_TO(done,
                       name.oom ? RLX_OOM() : open_part(name.data, i, count, tensors, &files[i]));
        sum += rlx_gguf_count(files[i]);
    }
    if (sum != tensors)
        st = RLX_FAIL(RLX_INVALID_FILE,
                      "%s: the %lld parts hold %lld tensors, and metadata split.tensors.count is "
                      "%lld",
                      path, (long long)count, (long long)sum, (long long)tensors);
done:
    rlx_text_deinit(&name);
    return st;
}

void rlx_gguf_close_parts(rlx_gguf **files, int n)
{
    for (int i = 0; files && i < n; i++)
        rlx_gguf_close(files[i]);
    free(files);
}

rlx_status rlx_gguf_open_parts(const char *path, rlx_gguf ***out, int *n)
{
    rlx_gguf *first;
    int64_t count = 1, no = 0;
    *out = NULL;
    *n = 0;
    RLX_TRY(rlx_gguf_open(path, &first));
    rlx_status st = find(first, "split.count", 1, &count);
    if (!st)
        st = find(first, "split.no", 0, &no);
    if (!st && (count > MAX_PARTS || no >= (count ? count : 1)))
        st = RLX_FAIL(RLX_INVALID_FILE, "metadata split.no is %lld, split.count %lld",
                      (long long)no, (long long)count);
    count = count > 1 && !st ? count : 1;
    rlx_gguf **files = calloc((size_t)count, sizeof *files);
    if (!st && !files)
        st = RLX_OOM();
    if (st) {
        free(files);
        rlx_gguf_close(first);
        return rlx_status_note(st, __FILE__, __LINE__, "%s", path);
    }
    files[no] = first;
    st = count > 1 ? open_others(path, files, no, count) : RLX_OK;
    if (st) {
        rlx_gguf_close_parts(files, (int)count);
        return st;
    }
    *out = files;
    *n = (int)count;
    return RLX_OK;
}
