#include "frontend/tool/logits_file.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "frontend/tool/args.h"

static const char magic[8] = {'_', 'l', 'o', 'g', 'i', 't', 's', '_'};

enum {
    HEAD = sizeof magic + 3 * sizeof(int32_t),
    SCALES = 2 * sizeof(float) / sizeof(uint16_t), /* in front of a row's codes */
    CODES = 65535,                                 /* the largest code */
    RANGE = 16                                     /* of a row's logs */
};

static size_t row_codes(const logits_file *l)
{
    return SCALES + ((size_t)l->vocab + 1) / 2 * 2;
}

static bool make_row(logits_file *l)
{
    l->row = calloc(row_codes(l), sizeof *l->row);
    return l->row;
}

static int write_failed(const logits_file *l)
{
    return failure("writing %s: %s", l->path, strerror(errno));
}

int logits_file_create(logits_file *l, const char *path, int32_t context, int32_t vocab,
                       int32_t chunks, const int32_t *tokens)
{
    const int32_t head[3] = {context, vocab, chunks};
    const size_t n = (size_t)context * (size_t)chunks;
    *l = (logits_file){.path = path, .context = context, .vocab = vocab, .chunks = chunks};
    if (!make_row(l))
        return failure("out of memory");
    l->file = fopen(path, "wb");
    if (!l->file)
        return write_failed(l);
    if (fwrite(magic, sizeof magic, 1, l->file) != 1 ||
        fwrite(head, sizeof head, 1, l->file) != 1 ||
        fwrite(tokens, sizeof *tokens, n, l->file) != n)
        return write_failed(l);
    return EXIT_OK;
}

/* Are the numbers of the head ones that a file of this size can have? */
static int check_size(const logits_file *l)
{
    struct stat s;
    if (fstat(fileno(l->file), &s))
        return failure("reading %s: %s", l->path, strerror(errno));
    if (l->context < 4 || l->vocab < 1 || l->chunks < 1)
        return failure("%s: bytes 8 to 19: context %d, vocabulary %d, %d chunks: not a file of log "
                       "probabilities",
                       l->path, l->context, l->vocab, l->chunks);
    const double chunk = (double)l->context * sizeof *l->tokens +
                         (double)logits_file_rows(l->context) * (double)row_codes(l) * 2;
    const double want = HEAD + chunk * l->chunks;
    if ((double)s.st_size != want)
        return failure("%s has %lld bytes; %d chunks of %d tokens over a vocabulary of %d are "
                       "%.0f",
                       l->path, (long long)s.st_size, l->chunks, l->context, l->vocab, want);
    return EXIT_OK;
}

static int read_head(logits_file *l)
{
    char first[sizeof magic];
    int32_t head[3];
    if (fread(first, sizeof first, 1, l->file) != 1 || memcmp(first, magic, sizeof magic) ||
        fread(head, sizeof head, 1, l->file) != 1)
        return failure("%s does not begin with \"%.8s\" and three numbers: not a file of log "
                       "probabilities",
                       l->path, magic);
    l->context = head[0];
    l->vocab = head[1];
    l->chunks = head[2];
    return check_size(l);
}

int logits_file_open(logits_file *l, const char *path)
{
    *l = (logits_file){.path = path, .file = fopen(path, "rb")};
    if (!l->file)
        return failure("reading %s: %s", path, strerror(errno));
    int code = read_head(l);
    if (code)
        return code;
    const size_t n = (size_t)l->context * (size_t)l->chunks;
    l->tokens = malloc(n * sizeof *l->tokens);
    if (!l->tokens || !make_row(l))
        return failure("out of memory");
    if (fread(l->tokens, sizeof *l->tokens, n, l->file) != n)
        return failure("reading %s: it ends within the tokens", path);
    for (size_t i = 0; i < n; i++)
        if (l->tokens[i] < 0 || l->tokens[i] >= l->vocab)
            return failure("%s: token %zu is %d, and the vocabulary has %d", path, i, l->tokens[i],
                           l->vocab);
    return EXIT_OK;
}

int logits_file_put(logits_file *l, const float *logits)
{
    float largest = logits[0], smallest = logits[0];
    double sum = 0;
    for (int32_t i = 1; i < l->vocab; i++) {
        largest = logits[i] > largest ? logits[i] : largest;
        smallest = logits[i] < smallest ? logits[i] : smallest;
    }
    for (int32_t i = 0; i < l->vocab; i++)
        sum += exp((double)logits[i] - (double)largest);
    smallest = smallest > largest - RANGE ? smallest : largest - RANGE;
    const float scales[2] = {(largest - smallest) / CODES,
                             (float)((double)smallest - (double)largest - log(sum))};
    memcpy(l->row, scales, sizeof scales);
    for (int32_t i = 0; i < l->vocab; i++) {
        const float above = logits[i] - smallest;
        l->row[SCALES + i] =
            above > 0 && scales[0] > 0 ? (uint16_t)fminf(above / scales[0] + 0.5f, CODES) : 0;
    }
    const size_t n = row_codes(l);
    return fwrite(l->row, sizeof *l->row, n, l->file) == n ? EXIT_OK : write_failed(l);
}

int logits_file_get(logits_file *l, float *log_p)
{
    float scales[2];
    const size_t n = row_codes(l);
    if (fread(l->row, sizeof *l->row, n, l->file) != n)
        return failure("reading %s: %s", l->path,
                       ferror(l->file) ? strerror(errno) : "it has become shorter");
    memcpy(scales, l->row, sizeof scales);
    if (!(scales[0] >= 0) || !isfinite(scales[1]) || !isfinite(scales[0] * CODES + scales[1]))
        return failure("%s: row %lld: steps of %g from %g: not log probabilities", l->path,
                       (long long)l->rows_read, (double)scales[0], (double)scales[1]);
    l->rows_read++;
    for (int32_t i = 0; i < l->vocab; i++)
        log_p[i] = scales[0] * (float)l->row[SCALES + i] + scales[1];
    return EXIT_OK;
}

int logits_file_close(logits_file *l, bool keep)
{
    int code = EXIT_OK;
    const bool writing = l->file && !l->tokens && l->row;
    if (l->file && fclose(l->file) && writing && keep) {
        code = write_failed(l);
        keep = false;
    }
    struct stat s;
    if (writing && !keep && !stat(l->path, &s) && S_ISREG(s.st_mode)) /* never a device */
        unlink(l->path);
    free(l->tokens);
    free(l->row);
    *l = (logits_file){0};
    return code;
}
