/* tests/docs/declaration.c: what rlx.h says of a stage. */
#include <check.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "tests/docs/declaration.h"

#define LETTERS "abcdefghijklmnopqrstuvwxyz_0123456789"

void put_comment(const char *at, rlx_text *out)
{
    const char *end = strstr(at, "*/");
    ck_assert_ptr_nonnull(end);
    for (at += 2; at < end;) {
        at += strspn(at, " ");
        if (at < end && *at == '*' && at + 1 <= end)
            at += at[1] == ' ' ? 2 : 1;
        size_t n = strcspn(at, "\n");
        if (at + n >= end)
            n = (size_t)(end - at);
        while (n && at[n - 1] == ' ')
            n--;
        rlx_text_put_bytes(out, at, n);
        rlx_text_put(out, "\n");
        at += strcspn(at, "\n");
        at += *at == '\n';
    }
}

/* ---- places in the header ----------------------------------------------------------------------
 */

static const char *line_above(const char *header, const char *line)
{
    if (line == header)
        return line;
    for (line--; line > header && line[-1] != '\n';)
        line--;
    return line;
}

static bool begins(const char *at, const char *with)
{
    return !strncmp(at, with, strlen(with));
}

static const char *find_function(const char *header, const char *name)
{
    char call[80];
    snprintf(call, sizeof call, "RLX_API void rlx_flow_%s(", name);
    const char *at = strstr(header, call);
    ck_assert_msg(at != NULL, "rlx.h has no rlx_flow_%s", name);
    return at;
}

static const char *end_of_function(const char *at)
{
    return strchr(strchr(at, ';'), '\n');
}

/* "typedef struct NAME {" or enum; NULL: the header does not say what NAME is made of, or it is of
 * every tensor. */
static const char *find_type(const char *header, const char *name)
{
    static const char *const kinds[] = {"struct", "enum"};
    const char *at = NULL;
    for (int i = 0; i < 2 && !at && strcmp(name, "rlx_format"); i++) {
        char head[96];
        snprintf(head, sizeof head, "typedef %s %s {", kinds[i], name);
        at = strstr(header, head);
    }
    return at;
}

static const char *end_of_type(const char *at)
{
    return strchr(strstr(at, "} rlx_"), '\n');
}

/* ---- comments ----------------------------------------------------------------------------------
 */

/* The comment whose last line stands above `at`; NULL: there is none. */
static const char *comment_above(const char *header, const char *at)
{
    const char *line = line_above(header, at);
    const char *close = strstr(line, "*/");
    if (!close || close + 3 != at)
        return NULL;
    while (line > header && !begins(line, "/*") && (begins(line, " *") || line == close))
        line = line_above(header, line);
    return begins(line, "/*") ? line : NULL;
}

void declaration_comment(const char *header, const char *name, rlx_text *out)
{
    const char *at = find_function(header, name);
    while (begins(line_above(header, at), "RLX_API"))
        at = line_above(header, at);
    const char *comment = comment_above(header, at);
    const char *above = line_above(header, at);
    if (!comment && begins(above, "} rlx_")) {
        char type[80];
        snprintf(type, sizeof type, "%.*s", (int)strspn(above + 2, LETTERS), above + 2);
        comment = comment_above(header, find_type(header, type));
    }
    if (comment)
        put_comment(comment, out);
}

/* ---- code --------------------------------------------------------------------------------------
 */

/* Types that are named from `at` to `end` and not in `out` yet, what they need first. */
static void put_types(const char *header, const char *at, const char *end, rlx_text *out)
{
    while (at < end) {
        char name[80];
        const size_t n = strspn(at, LETTERS);
        snprintf(name, sizeof name, "%.*s", (int)n, at);
        at = begins(at, "/*") ? strstr(at, "*/") + 2 : at + (n ? n : 1);
        const char *type = n ? find_type(header, name) : NULL;
        if (!type || (out->data && find_type(out->data, name)))
            continue;
        const char *body = strchr(type, '{'), *stop = end_of_type(type);
        put_types(header, body, strstr(body, "} rlx_"), out);
        rlx_text_putf(out, "%.*s\n", (int)(stop - type), type);
    }
}

void declaration_code(const char *header, const char *name, rlx_text *out)
{
    const char *at = find_function(header, name), *end = end_of_function(at);
    put_types(header, at, end, out);
    rlx_text_putf(out, "%.*s\n", (int)(end - at), at);
}

bool code_has(const char *code, const char *word)
{
    const size_t n = strlen(word);
    for (; *code; code++) {
        if (begins(code, "/*"))
            code = strstr(code, "*/") + 1;
        else if (begins(code, word) && !strspn(code + n, LETTERS))
            return true;
    }
    return false;
}
