#include "frontend/toml.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/text.h"

typedef struct reader {
    const char *name;
    const char *p, *end;
    int line;
    rlx_text table, path, value;   /* the running table; a key with it in front; a value's text */
    int64_t items[RLX_TOML_ITEMS]; /* of an array */
    rlx_text seen;                 /* "\n[table\n" and "\npath\n" of all that came */
    rlx_status (*visit)(void *user, const rlx_toml_entry *entry);
    void *user;
} reader;

#define BAD(r, fmt, ...) \
    RLX_FAIL(RLX_INVALID_FILE, "%s:%d: " fmt, (r)->name, (r)->line, __VA_ARGS__)

/* The byte at p; 0 at the end, where no file has one: a NUL is refused as any control character. */
static char peek(const reader *r)
{
    return r->p < r->end ? *r->p : 0;
}

static bool starts(const reader *r, const char *s)
{
    const size_t n = strlen(s);
    return (size_t)(r->end - r->p) >= n && !memcmp(r->p, s, n);
}

static void skip_blank(reader *r)
{
    while (peek(r) == ' ' || peek(r) == '\t')
        r->p++;
}

static bool at_line_end(const reader *r)
{
    return r->p == r->end || *r->p == '\n' || starts(r, "\r\n");
}

/* One character of a comment or a string, appended to `out` unless that is NULL. */
static rlx_status take_char(reader *r, rlx_text *out)
{
    const unsigned char c = (unsigned char)*r->p;
    if ((c < 0x20 && c != '\t') || c == 0x7f)
        return BAD(r, "a control character (byte %d)", c);
    const size_t n = rlx_text_utf8(r->p, (size_t)(r->end - r->p));
    if (!n)
        return BAD(r, "byte %d is not UTF-8", c);
    if (out)
        rlx_text_put_bytes(out, r->p, n);
    r->p += n;
    return RLX_OK;
}

static rlx_status skip_comment(reader *r)
{
    skip_blank(r);
    if (peek(r) == '#')
        while (!at_line_end(r))
            RLX_TRY(take_char(r, NULL));
    return RLX_OK;
}

static void next_line(reader *r)
{
    if (r->p < r->end)
        r->p += *r->p == '\r' ? 2 : 1;
    r->line++;
}

/* What may stand behind a key's value or a table's name: blanks and a comment. */
static rlx_status end_line(reader *r)
{
    RLX_TRY(skip_comment(r));
    if (!at_line_end(r)) {
        const char *at = r->p;
        RLX_TRY(take_char(r, NULL));
        return BAD(r, "the line should end before \"%.*s\"", (int)(r->p - at), at);
    }
    next_line(r);
    return RLX_OK;
}

/* ---- names ----------------------------------------------------------------------------------- */

static bool is_bare(char c)
{
    return c && strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-", c);
}

/* a, a.b, a . b: appended to `out`. */
static rlx_status read_path(reader *r, rlx_text *out)
{
    for (;;) {
        const char *start = r->p;
        while (is_bare(peek(r)))
            r->p++;
        if (peek(r) == '"' || peek(r) == '\'')
            return BAD(r, "%s are not read: no key needs them", "keys in quotes");
        if (r->p == start)
            return BAD(r, "a name of %s should stand here", "letters, digits, _ and -");
        rlx_text_put_bytes(out, start, (size_t)(r->p - start));
        skip_blank(r);
        if (peek(r) != '.')
            return out->oom ? RLX_OOM() : RLX_OK;
        rlx_text_put(out, ".");
        r->p++;
        skip_blank(r);
    }
}

/* Notes a table ("[" in front) or key, which must be new. */
static rlx_status note(reader *r, const char *kind, const char *path)
{
    const size_t before = r->seen.len;
    rlx_text_putf(&r->seen, "\n%s%s\n", kind, path);
    if (r->seen.oom)
        return RLX_OOM();
    const char *first = strstr(r->seen.data, r->seen.data + before);
    if (first != r->seen.data + before)
        return BAD(r, "%s %s is there twice", *kind ? "table" : "key", path);
    return RLX_OK;
}

static rlx_status read_table(reader *r)
{
    r->p++;
    if (peek(r) == '[')
        return BAD(r, "%s are not read: no key needs them", "arrays of tables");
    skip_blank(r);
    rlx_text_clear(&r->table);
    RLX_TRY(read_path(r, &r->table));
    if (peek(r) != ']')
        return BAD(r, "the name of table %s should end with ]", r->table.data);
    r->p++;
    RLX_TRY(note(r, "[", r->table.data));
    const rlx_toml_entry e = {.path = r->table.data, .line = r->line, .kind = RLX_TOML_TABLE};
    return r->visit(r->user, &e);
}

/* ---- strings --------------------------------------------------------------------------------- */

static void put_codepoint(rlx_text *out, uint32_t c)
{
    const int more = c < 0x80 ? 0 : c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    static const uint32_t lead[] = {0, 0xc0, 0xe0, 0xf0};
    char bytes[4];
    for (int i = more; i > 0; i--, c >>= 6)
        bytes[i] = (char)(0x80 | (c & 0x3f));
    bytes[0] = (char)(lead[more] | c);
    rlx_text_put_bytes(out, bytes, (size_t)more + 1);
}

static rlx_status read_unicode(reader *r, int digits)
{
    uint32_t c = 0;
    for (int i = 0; i < digits; i++, r->p++) {
        const char *hex = "0123456789abcdef", d = peek(r);
        const char *at = d ? strchr(hex, d >= 'A' && d <= 'F' ? d + 32 : d) : NULL;
        if (!at)
            return BAD(r, "\\%c takes %d hexadecimal digits", digits == 4 ? 'u' : 'U', digits);
        c = c << 4 | (uint32_t)(at - hex);
    }
    if (!c || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
        return BAD(r, "U+%04X is no character of a string", c);
    put_codepoint(&r->value, c);
    return RLX_OK;
}

static rlx_status read_escape(reader *r)
{
    static const char letters[] = "btnfr\"\\", meant[] = "\b\t\n\f\r\"\\";
    const char c = peek(r);
    const char *at = c ? strchr(letters, c) : NULL;
    if (at)
        rlx_text_put_bytes(&r->value, &meant[at - letters], 1);
    else if (c != 'u' && c != 'U')
        return BAD(r, "no escape \\%.*s", c >= ' ' && c < 0x7f, &c);
    r->p++;
    return at ? RLX_OK : read_unicode(r, c == 'u' ? 4 : 8);
}

static rlx_status read_string(reader *r, rlx_toml_entry *e)
{
    const char quote = *r->p;
    if (starts(r, quote == '"' ? "\"\"\"" : "'''"))
        return BAD(r, "%s are not read: no key needs them", "strings of several lines");
    for (r->p++; peek(r) != quote;) {
        if (at_line_end(r))
            return BAD(r, "the string has no %c at its end", quote);
        if (*r->p == '\\' && quote == '"') {
            r->p++;
            RLX_TRY(read_escape(r));
        } else {
            RLX_TRY(take_char(r, &r->value));
        }
    }
    r->p++;
    e->kind = RLX_TOML_TEXT;
    return RLX_OK;
}

/* ---- numbers --------------------------------------------------------------------------------- */

/* Digits with single _ between them, at *s, which moves behind; appended without _. How many. */
static int take_digits(const char **s, rlx_text *out)
{
    int n = 0;
    while ((**s >= '0' && **s <= '9') || (**s == '_' && n && (*s)[1] >= '0' && (*s)[1] <= '9')) {
        if (**s != '_') {
            rlx_text_put_bytes(out, *s, 1);
            n++;
        }
        ++*s;
    }
    return n;
}

static void take_sign(const char **s, rlx_text *out)
{
    if (**s == '-')
        rlx_text_put(out, "-");
    if (**s == '-' || **s == '+')
        ++*s;
}

/* The decimal numbers of TOML: no leading zeros, digits on both sides of a point. `plain` gets them
 * as C reads them. */
static bool read_decimal(const char *s, rlx_text *plain, bool *whole)
{
    take_sign(&s, plain);
    const bool zero = *s == '0';
    const int digits = take_digits(&s, plain);
    *whole = !*s;
    if (!digits || (zero && digits > 1))
        return false;
    if (*s == '.') {
        s++;
        rlx_text_put(plain, ".");
        if (!take_digits(&s, plain))
            return false;
    }
    if (*s == 'e' || *s == 'E') {
        s++;
        rlx_text_put(plain, "e");
        take_sign(&s, plain);
        if (!take_digits(&s, plain))
            return false;
    }
    return !*s;
}

static rlx_status read_number(reader *r, rlx_toml_entry *e, const char *word)
{
    rlx_text plain = {0};
    bool whole = false, number = read_decimal(word, &plain, &whole);
    rlx_status st = plain.oom ? RLX_OOM() : RLX_OK;
    if (!st && number && whole) {
        errno = 0;
        e->kind = RLX_TOML_INT;
        e->integer = strtoll(plain.data, NULL, 10);
        if (errno)
            st = BAD(r, "%s is beyond 64 bits", word);
    } else if (!st && number) {
        const char *s = plain.data;
        e->kind = RLX_TOML_REAL;
        number = rlx_text_parse_double(&s, &e->real);
    }
    if (!st && !number)
        st = BAD(r, "\"%s\" is no value: \"text\", a decimal number, true or false", word);
    rlx_text_deinit(&plain);
    return st;
}

/* ---- values ---------------------------------------------------------------------------------- */

static rlx_status read_word(reader *r, rlx_toml_entry *e)
{
    while (peek(r) == '+' || peek(r) == '.' || peek(r) == ':' || is_bare(peek(r)))
        rlx_text_put_bytes(&r->value, r->p++, 1);
    if (r->value.oom)
        return RLX_OOM();
    const char *word = r->value.data;
    if (!r->value.len)
        return BAD(r, "%s has no value", r->path.data);
    e->kind = RLX_TOML_BOOL;
    e->integer = !strcmp(word, "true");
    return e->integer || !strcmp(word, "false") ? RLX_OK : read_number(r, e, word);
}

/* Between the elements of an array there may be lines and comments. */
static rlx_status skip_lines(reader *r)
{
    RLX_TRY(skip_comment(r));
    while (at_line_end(r) && r->p < r->end) {
        next_line(r);
        RLX_TRY(skip_comment(r));
    }
    return RLX_OK;
}

static rlx_status read_item(reader *r, rlx_toml_entry *e)
{
    rlx_toml_entry item = {.path = e->path};
    rlx_text_clear(&r->value);
    if (peek(r) && strchr("\"'[{", peek(r)))
        return BAD(r, "%s: arrays of anything but whole numbers are not read: no key takes one",
                   e->path);
    RLX_TRY(read_word(r, &item));
    if (item.kind != RLX_TOML_INT)
        return BAD(r, "%s: arrays of anything but whole numbers are not read: no key takes one",
                   e->path);
    if (e->nitems == RLX_TOML_ITEMS)
        return BAD(r, "%s has more than %d elements", e->path, RLX_TOML_ITEMS);
    r->items[e->nitems++] = item.integer;
    return RLX_OK;
}

/* [1, 2, 3], in the file on one line or several; its text is as here. */
static rlx_status read_array(reader *r, rlx_toml_entry *e)
{
    e->kind = RLX_TOML_INTS;
    e->items = r->items;
    r->p++;
    RLX_TRY(skip_lines(r));
    while (peek(r) != ']') {
        RLX_TRY(read_item(r, e));
        RLX_TRY(skip_lines(r));
        if (peek(r) != ',' && peek(r) != ']')
            return BAD(r, "%s should go on with , or ] behind an element", e->path);
        if (peek(r) == ',') {
            r->p++;
            RLX_TRY(skip_lines(r));
        }
    }
    r->p++;
    rlx_text_clear(&r->value);
    rlx_text_put(&r->value, "[");
    for (int i = 0; i < e->nitems; i++)
        rlx_text_putf(&r->value, "%s%lld", i ? ", " : "", (long long)r->items[i]);
    rlx_text_put(&r->value, "]");
    return RLX_OK;
}

static rlx_status read_value(reader *r, rlx_toml_entry *e)
{
    rlx_text_clear(&r->value);
    rlx_text_put(&r->value, ""); /* there is text, also of an empty string */
    switch (peek(r)) {
    case '"':
    case '\'':
        RLX_TRY(read_string(r, e));
        break;
    case '[':
        RLX_TRY(read_array(r, e));
        break;
    case '{':
        return BAD(r, "%s are not read: no key takes one", "inline tables");
    default:
        RLX_TRY(read_word(r, e));
    }
    e->text = r->value.data;
    return r->value.oom ? RLX_OOM() : RLX_OK;
}

static rlx_status read_pair(reader *r)
{
    rlx_text_clear(&r->path);
    if (r->table.len)
        rlx_text_putf(&r->path, "%s.", r->table.data);
    RLX_TRY(read_path(r, &r->path));
    if (peek(r) != '=')
        return BAD(r, "%s should be followed by =", r->path.data);
    r->p++;
    skip_blank(r);
    rlx_toml_entry e = {.path = r->path.data, .line = r->line};
    RLX_TRY(read_value(r, &e));
    RLX_TRY(note(r, "", r->path.data));
    return r->visit(r->user, &e);
}

static rlx_status read_all(reader *r)
{
    while (r->p < r->end) {
        skip_blank(r);
        if (peek(r) == '[')
            RLX_TRY(read_table(r));
        else if (!at_line_end(r) && peek(r) != '#')
            RLX_TRY(read_pair(r));
        RLX_TRY(end_line(r));
    }
    return RLX_OK;
}

rlx_status rlx_toml_read(const char *name, const char *text, size_t bytes,
                         rlx_status (*visit)(void *user, const rlx_toml_entry *entry), void *user)
{
    reader r = {
        .name = name, .p = text, .end = text + bytes, .line = 1, .visit = visit, .user = user};
    rlx_status st = read_all(&r);
    rlx_text_deinit(&r.table);
    rlx_text_deinit(&r.path);
    rlx_text_deinit(&r.value);
    rlx_text_deinit(&r.seen);
    return st;
}
