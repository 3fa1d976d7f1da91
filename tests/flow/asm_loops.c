#include "tests/flow/asm_loops.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { LEAST_PRODUCTS = 8 };

/* An instruction, or a label, that a kernel's text has. */
typedef struct line {
    const char *text;
    int bytes;
    bool begins; /* a function: labels before it are others, of the same names */
} line;

typedef struct listing {
    line *lines;
    int n;
} listing;

static listing read_lines(const char *text)
{
    listing l = {0};
    int room = 0;
    for (const char *at = text; *at;) {
        const int bytes = (int)strcspn(at, "\n");
        const bool code = at[0] == '\t' && at[1] >= 'a' && at[1] <= 'z',
                   label = !strncmp(at, ".L", 2), begins = isalpha((unsigned char)at[0]);
        if (l.n == room)
            l.lines = realloc(l.lines, sizeof *l.lines * (size_t)(room = 2 * room + 256));
        if (code || label || begins)
            l.lines[l.n++] = (line){at, bytes, begins};
        at += bytes + (at[bytes] == '\n');
    }
    return l;
}

static bool has(const line *l, const char *word)
{
    const char *at = strstr(l->text, word);
    return at && at < l->text + l->bytes;
}

/* The line of the label that a jump goes back to, or -1. */
static int target_of(const listing *l, int jump)
{
    const char *to = strstr(l->lines[jump].text, ".L");
    if (l->lines[jump].text[1] != 'j' || !to || to > l->lines[jump].text + l->lines[jump].bytes)
        return -1;
    const size_t bytes = (size_t)(l->lines[jump].text + l->lines[jump].bytes - to);
    for (int i = jump; i >= 0 && !l->lines[i].begins; i--)
        if (!strncmp(l->lines[i].text, to, bytes) && l->lines[i].text[bytes] == ':')
            return i;
    return -1;
}

static bool multiplies(const line *l)
{
    return has(l, "\tvfmadd") || has(l, "\tvpmaddubsw") || has(l, "\tvpdpbusd") ||
           has(l, "\tvdpbf16ps");
}

void asm_loops_count(const char *text, asm_loops *out)
{
    listing l = read_lines(text);
    int after = -1; /* the last loop began there: a loop around it is no innermost one */
    for (int i = 0; i < l.n; i++) {
        const int from = target_of(&l, i);
        int products = 0, stack = 0;
        if (from < 0 || from < after)
            continue;
        after = from;
        for (int k = from; k <= i; k++) {
            products += multiplies(&l.lines[k]);
            stack += has(&l.lines[k], "(%rsp)");
        }
        if (products < LEAST_PRODUCTS)
            continue;
        const int percent = 100 * stack / (i - from);
        out->stack = stack > out->stack ? stack : out->stack;
        out->percent = percent > out->percent ? percent : out->percent;
        out->count++;
    }
    free(l.lines);
}
