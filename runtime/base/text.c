#include "runtime/base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- growing text ------------------------------------------------------------------------------
 */

/* Room for n more bytes and the NUL after them. */
static bool reserve(rlx_text *t, size_t n)
{
    if (t->oom)
        return false;
    if (t->data && n < t->cap - t->len)
        return true;
    size_t cap = t->cap ? t->cap : 64;
    while (cap - t->len <= n) {
        if (cap > SIZE_MAX / 2) {
            t->oom = true;
            return false;
        }
        cap *= 2;
    }
    char *data = realloc(t->data, cap);
    if (!data) {
        t->oom = true;
        return false;
    }
    t->data = data;
    t->cap = cap;
    return true;
}

void rlx_text_deinit(rlx_text *t)
{
    free(t->data);
    *t = (rlx_text){0};
}

void rlx_text_clear(rlx_text *t)
{
    t->len = 0;
    t->oom = false;
    if (t->data)
        t->data[0] = 0;
}

void rlx_text_put_bytes(rlx_text *t, const void *p, size_t n)
{
    if (!reserve(t, n))
        return;
    if (n)
        memcpy(t->data + t->len, p, n);
    t->len += n;
    t->data[t->len] = 0;
}

void rlx_text_put(rlx_text *t, const char *s)
{
    rlx_text_put_bytes(t, s, strlen(s));
}

void rlx_text_putf(rlx_text *t, const char *fmt, ...)
{
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    const bool room = !t->oom && t->data;
    int n = vsnprintf(room ? t->data + t->len : NULL, room ? t->cap - t->len : 0, fmt, args);
    va_end(args);
    if (n > 0 && room && (size_t)n < t->cap - t->len) {
        t->len += (size_t)n;
    } else if (n > 0 && reserve(t, (size_t)n)) {
        vsnprintf(t->data + t->len, (size_t)n + 1, fmt, again);
        t->len += (size_t)n;
    } else if (room) {
        t->data[t->len] = 0;
    }
    va_end(again);
}

char *rlx_text_take(rlx_text *t)
{
    if (!reserve(t, 0)) {
        rlx_text_deinit(t);
        return NULL;
    }
    char *data = t->data;
    data[t->len] = 0;
    *t = (rlx_text){0};
    return data;
}

/* ---- numbers -----------------------------------------------------------------------------------
 */

/* Numbers in text are the C locale's, whatever the program that loads the library has set. */
static locale_t c_locale;
static pthread_once_t c_locale_once = PTHREAD_ONCE_INIT;

static void make_c_locale(void)
{
    c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
}

void rlx_text_put_double(rlx_text *t, double v)
{
    if (isnan(v)) {
        rlx_text_put(t, "nan");
        return;
    }
    if (isinf(v)) {
        rlx_text_put(t, v > 0 ? "inf" : "-inf");
        return;
    }
    pthread_once(&c_locale_once, make_c_locale);
    locale_t old = c_locale ? uselocale(c_locale) : (locale_t)0;
    char s[40];
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(s, sizeof(s), "%.*g", digits, v);
        if (strtod(s, NULL) == v)
            break;
    }
    if (old)
        uselocale(old);
    rlx_text_put(t, s);
}

bool rlx_text_parse_double(const char **s, double *out)
{
    pthread_once(&c_locale_once, make_c_locale);
    char *end;
    *out = c_locale ? strtod_l(*s, &end, c_locale) : strtod(*s, &end);
    if (end == *s)
        return false;
    *s = end;
    return true;
}

/* ---- words -------------------------------------------------------------------------------------
 */

enum { LONGEST_WORD = 64 };

static size_t min3(size_t a, size_t b, size_t c)
{
    size_t m = a < b ? a : b;
    return m < c ? m : c;
}

/* Edit distance with swapped neighbours counted once. */
static size_t distance(const char *a, size_t na, const char *b, size_t nb)
{
    size_t rows[3][LONGEST_WORD + 1];
    size_t *before = rows[0], *last = rows[1], *now = rows[2];
    for (size_t j = 0; j <= nb; j++)
        last[j] = j;
    for (size_t i = 1; i <= na; i++) {
        now[0] = i;
        for (size_t j = 1; j <= nb; j++) {
            now[j] = min3(last[j] + 1, now[j - 1] + 1, last[j - 1] + (a[i - 1] != b[j - 1]));
            bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            if (swapped && before[j - 2] + 1 < now[j])
                now[j] = before[j - 2] + 1;
        }
        size_t *recycled = before;
        before = last;
        last = now;
        now = recycled;
    }
    return last[nb];
}

const char *rlx_text_nearest(const char *word, const char *const *candidates, size_t n)
{
    size_t len = strlen(word);
    if (len > LONGEST_WORD)
        return NULL;
    size_t limit = len <= 3 ? 1 : len <= 6 ? 2 : 3;
    const char *best = NULL;
    for (size_t i = 0; i < n; i++) {
        size_t nc = strlen(candidates[i]);
        if (nc > LONGEST_WORD)
            continue;
        size_t d = distance(word, len, candidates[i], nc);
        if (d > limit || d >= nc)
            continue;
        best = candidates[i];
        if (d == 0)
            break;
        limit = d - 1; /* only a nearer one replaces it */
    }
    return best;
}

/* ---- files -------------------------------------------------------------------------------------
 */

static rlx_status read_stream(FILE *f, const char *path, rlx_text *t)
{
    for (;;) {
        if (!reserve(t, 1 << 16))
            return RLX_FAIL(RLX_OUT_OF_MEMORY, "out of memory while reading '%s'", path);
        size_t n = fread(t->data + t->len, 1, t->cap - t->len - 1, f);
        t->len += n;
        t->data[t->len] = 0;
        if (ferror(f))
            return RLX_FAIL(RLX_IO, "reading '%s': %s", path, strerror(errno));
        if (n == 0)
            return RLX_OK;
    }
}

/* A pipe that nobody writes to would be waited for without end: none is read. */
static rlx_status open_file(const char *path, FILE **out)
{
    struct stat info;
    const int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return RLX_FAIL(errno == ENOENT ? RLX_NOT_FOUND : RLX_IO, "opening '%s': %s", path,
                        strerror(errno));
    const bool pipe = fstat(fd, &info) == 0 && S_ISFIFO(info.st_mode);
    *out = pipe ? NULL : fdopen(fd, "rb");
    if (*out)
        return RLX_OK;
    close(fd);
    return pipe ? RLX_FAIL(RLX_IO, "opening '%s': a pipe, not a file", path) : RLX_OOM();
}

rlx_status rlx_file_read(const char *path, char **data, size_t *bytes)
{
    FILE *f;
    RLX_TRY(open_file(path, &f));
    rlx_text t = {0};
    rlx_status st = read_stream(f, path, &t);
    fclose(f);
    if (st) {
        rlx_text_deinit(&t);
        return st;
    }
    *bytes = t.len;
    *data = rlx_text_take(&t);
    return RLX_OK;
}

size_t rlx_text_utf8(const char *text, size_t n)
{
    const unsigned char *s = (const unsigned char *)text;
    size_t len = s[0] < 0x80   ? 1
                 : s[0] < 0xc2 ? 0
                 : s[0] < 0xe0 ? 2
                 : s[0] < 0xf0 ? 3
                 : s[0] < 0xf5 ? 4
                               : 0;
    if (len == 0 || len > n)
        return 0;
    for (size_t i = 1; i < len; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    bool overlong = (s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xf0 && s[1] < 0x90);
    bool surrogate = s[0] == 0xed && s[1] >= 0xa0;
    bool beyond = s[0] == 0xf4 && s[1] >= 0x90;
    return overlong || surrogate || beyond ? 0 : len;
}
