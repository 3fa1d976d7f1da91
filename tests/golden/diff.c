#include "tests/golden/diff.h"

#include <stdlib.h>
#include <string.h>

enum { CONTEXT = 2 };

typedef struct lines {
    int n;
    const char **at;
    size_t *len;
} lines;

static lines split(const char *text)
{
    size_t most = 1;
    for (const char *c = text; *c; c++)
        most += *c == '\n';
    lines l = {0, calloc(most, sizeof(char *)), calloc(most, sizeof(size_t))};
    while (l.at && l.len && *text) {
        l.at[l.n] = text;
        l.len[l.n] = strcspn(text, "\n");
        text += l.len[l.n];
        text += *text == '\n';
        l.n++;
    }
    return l;
}

static bool same(const lines *a, int i, const lines *b, int j)
{
    return a->len[i] == b->len[j] && memcmp(a->at[i], b->at[j], a->len[i]) == 0;
}

/* One line of the edit script: ' ' in both, '-' in the first only, '+' in the second only. */
typedef struct edit {
    char kind;
    const char *at;
    size_t len;
} edit;

/* The script with the fewest changes, from the lengths of common subsequences of all tails. */
static int make_script(const lines *a, const lines *b, const int *tail, edit *script)
{
    int i = 0, j = 0, n = 0, width = b->n + 1;
    while (i < a->n || j < b->n) {
        if (i < a->n && j < b->n && same(a, i, b, j)) {
            script[n++] = (edit){' ', a->at[i], a->len[i]};
            i++, j++;
        } else if (j == b->n ||
                   (i < a->n && tail[(i + 1) * width + j] >= tail[i * width + j + 1])) {
            script[n++] = (edit){'-', a->at[i], a->len[i]};
            i++;
        } else {
            script[n++] = (edit){'+', b->at[j], b->len[j]};
            j++;
        }
    }
    return n;
}

static void put_script(const edit *script, int n, rlx_text *out)
{
    int last = -1; /* line printed last */
    for (int i = 0; i < n; i++) {
        bool near = false;
        for (int k = i - CONTEXT; k <= i + CONTEXT; k++)
            near = near || (k >= 0 && k < n && script[k].kind != ' ');
        if (!near)
            continue;
        if (i != last + 1)
            rlx_text_put(out, "  ...\n");
        rlx_text_putf(out, "%c %.*s\n", script[i].kind, (int)script[i].len, script[i].at);
        last = i;
    }
}

void diff_lines(const char *want, const char *got, rlx_text *out)
{
    if (strcmp(want, got) == 0)
        return;
    lines a = split(want), b = split(got);
    size_t width = (size_t)b.n + 1;
    int *tail = calloc(((size_t)a.n + 1) * width, sizeof(int));
    edit *script = calloc((size_t)a.n + (size_t)b.n + 1, sizeof(edit));
    if (tail && script && a.at && a.len && b.at && b.len) {
        for (int i = a.n - 1; i >= 0; i--)
            for (int j = b.n - 1; j >= 0; j--) {
                int *t = &tail[(size_t)i * width + (size_t)j];
                int down = t[width], right = t[1];
                *t = same(&a, i, &b, j) ? t[width + 1] + 1 : down > right ? down : right;
            }
        put_script(script, make_script(&a, &b, tail, script), out);
    }
    free(tail);
    free(script);
    free(a.at);
    free(a.len);
    free(b.at);
    free(b.len);
}
