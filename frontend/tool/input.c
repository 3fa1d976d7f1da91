/* frontend/tool/input.c: texts that commands take from files and from standard input. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/tool/args.h"

/* NULL when memory is short. */
static char *read_stream(FILE *in, size_t *bytes)
{
    size_t cap = 1 << 16, n = 0;
    char *text = malloc(cap + 1), *more;
    while (text && (n += fread(text + n, 1, cap - n, in)) == cap) {
        more = realloc(text, 2 * cap + 1);
        if (!more)
            free(text);
        text = more;
        cap *= 2;
    }
    *bytes = n;
    if (text)
        text[n] = 0;
    return text;
}

int read_text(const char *reading, const char *file, char **text, size_t *bytes)
{
    const bool standard = !file || !strcmp(file, "-");
    const char *name = standard ? "standard input" : file;
    FILE *in = standard ? stdin : fopen(file, "rb");
    errno = in ? 0 : errno;
    *text = in ? read_stream(in, bytes) : NULL;
    const int bad = !in || ferror(in) ? (errno ? errno : EIO) : 0;
    if (in && !standard)
        fclose(in);
    if (bad) {
        free(*text);
        *text = NULL;
        return failure("%s %s: %s", reading, name, strerror(bad));
    }
    return *text ? -1 : failure("%s %s: out of memory", reading, name);
}
