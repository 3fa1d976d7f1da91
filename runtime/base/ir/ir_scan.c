#include "runtime/base/ir/ir_scan.h"

#include <stdio.h>
#include <string.h>

/* ---- position
 * ------------------------------------------------------------------------------------ */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static void note_comment(rlx_ir_scan *sc, const char *s, const char *end)
{
    while (s < end && is_blank(*s))
        s++;
    while (end > s && is_blank(end[-1]))
        end--;
    sc->comment = s < end ? s : NULL;
    sc->comment_len = (size_t)(end - s);
}

void rlx_ir_scan_to(rlx_ir_scan *sc, const char *s)
{
    sc->newline = false;
    sc->comment = NULL;
    for (;; s++) {
        if (*s == '\n') {
            sc->newline = true;
        } else if (s[0] == '/' && s[1] == '/') {
            const char *end = s + strcspn(s, "\n");
            if (!sc->newline)
                note_comment(sc, s + 2, end);
            s = end - 1;
        } else if (!is_blank(*s)) {
            break;
        }
    }
    sc->s = s;
}

void rlx_ir_scan_init(rlx_ir_scan *sc, const char *name, const char *text)
{
    *sc = (rlx_ir_scan){.name = name, .text = text};
    rlx_ir_scan_to(sc, text);
}

static void locate(const rlx_ir_scan *sc, const char *at, int *line, int *column)
{
    *line = 1;
    const char *start = sc->text;
    for (const char *c = sc->text; c < at; c++) {
        if (*c == '\n') {
            ++*line;
            start = c + 1;
        }
    }
    *column = (int)(at - start) + 1;
}

rlx_status rlx_ir_scan_fail(const rlx_ir_scan *sc, const char *at, const char *fmt, ...)
{
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    int line, column;
    locate(sc, at, &line, &column);
    return RLX_FAIL(RLX_INVALID_IR, "%s:%d:%d: %s", sc->name, line, column, text);
}

rlx_status rlx_ir_scan_note(const rlx_ir_scan *sc, const char *at, rlx_status cause)
{
    if (!cause)
        return RLX_OK;
    int line, column;
    locate(sc, at, &line, &column);
    /* one line that says where and what, for tools that show a message beside its line */
    return rlx_status_note(cause, __FILE__, __LINE__, "%s:%d:%d: %s", sc->name, line, column,
                           rlx_status_message(cause));
}

/* ---- pieces
 * --------------------------------------------------------------------------------------- */

bool rlx_ir_scan_is(const rlx_ir_scan *sc, char c)
{
    return *sc->s == c;
}

bool rlx_ir_scan_accept(rlx_ir_scan *sc, char c)
{
    if (*sc->s != c)
        return false;
    rlx_ir_scan_to(sc, sc->s + 1);
    return true;
}

/* What stands here, for messages: a word, or one character. */
static int here(const rlx_ir_scan *sc)
{
    size_t n = 0;
    while (n < 24 && rlx_ir_is_name_char(sc->s[n]))
        n++;
    return n ? (int)n : *sc->s != 0;
}

rlx_status rlx_ir_scan_expect(rlx_ir_scan *sc, char c, const char *where)
{
    if (rlx_ir_scan_accept(sc, c))
        return RLX_OK;
    if (!*sc->s)
        return rlx_ir_scan_fail(sc, sc->s, "expected '%c' %s, and the text ends", c, where);
    return rlx_ir_scan_fail(sc, sc->s, "expected '%c' %s, not '%.*s'", c, where, here(sc), sc->s);
}

static bool is_word_char(char c)
{
    return c == '_' || (rlx_ir_is_name_char(c) && !strchr(".-$", c));
}

size_t rlx_ir_scan_word(const rlx_ir_scan *sc)
{
    size_t n = 0;
    while (is_word_char(sc->s[n]))
        n++;
    return n;
}

bool rlx_ir_scan_word_is(const rlx_ir_scan *sc, const char *word)
{
    size_t n = rlx_ir_scan_word(sc);
    return n && strlen(word) == n && memcmp(sc->s, word, n) == 0;
}

bool rlx_ir_scan_accept_word(rlx_ir_scan *sc, const char *word)
{
    if (!rlx_ir_scan_word_is(sc, word))
        return false;
    rlx_ir_scan_to(sc, sc->s + strlen(word));
    return true;
}

rlx_status rlx_ir_scan_name(rlx_ir_scan *sc, char sigil, rlx_arena *arena, const char **out)
{
    if (*sc->s != sigil)
        return rlx_ir_scan_fail(sc, sc->s, "expected a name that begins with '%c', not '%.*s'",
                                sigil, here(sc), sc->s);
    size_t n = 0;
    while (rlx_ir_is_name_char(sc->s[1 + n]))
        n++;
    if (n == 0)
        return rlx_ir_scan_fail(sc, sc->s, "there is no name after '%c'", sigil);
    *out = rlx_arena_strndup(arena, sc->s + 1, n);
    if (!*out)
        return RLX_OOM();
    rlx_ir_scan_to(sc, sc->s + 1 + n);
    return RLX_OK;
}

rlx_status rlx_ir_scan_int(rlx_ir_scan *sc, int64_t *out)
{
    const char *s = sc->s;
    bool negative = *s == '-';
    s += negative;
    const char *digits = s;
    int64_t v = 0;
    for (; *s >= '0' && *s <= '9'; s++) {
        int64_t digit = negative ? '0' - *s : *s - '0';
        if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, digit, &v))
            return rlx_ir_scan_fail(sc, sc->s, "this integer does not fit 64 bits");
    }
    if (s == digits)
        return rlx_ir_scan_fail(sc, sc->s, "expected an integer, not '%.*s'", here(sc), sc->s);
    if (*s == '.' || *s == 'e' || *s == 'E')
        return rlx_ir_scan_fail(sc, sc->s, "expected an integer, not a fraction");
    *out = v;
    rlx_ir_scan_to(sc, s);
    return RLX_OK;
}

rlx_status rlx_ir_scan_float(rlx_ir_scan *sc, double *out)
{
    const char *s = sc->s;
    if (!*s || !rlx_text_parse_double(&s, out))
        return rlx_ir_scan_fail(sc, sc->s, "expected a number, not '%.*s'", here(sc), sc->s);
    rlx_ir_scan_to(sc, s);
    return RLX_OK;
}

rlx_status rlx_ir_scan_dim(rlx_ir_scan *sc, rlx_dims *dims, rlx_dim *out)
{
    const char *s = sc->s;
    rlx_status st = rlx_dim_parse(dims, &s, out);
    if (rlx_status_code(st) == RLX_INVALID_ARGUMENT) { /* here it is the text that is wrong */
        rlx_status wrong = rlx_ir_scan_fail(sc, s, "%s", rlx_status_message(st));
        rlx_status_free(st);
        return wrong;
    }
    if (st)
        return rlx_ir_scan_note(sc, s, st);
    rlx_ir_scan_to(sc, s);
    return RLX_OK;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return -1;
}

/* One escape after a backslash: how many bytes it takes, 0 when it is none. */
static size_t read_escape(const char *s, char *out)
{
    if (*s == '"' || *s == '\\') {
        *out = *s;
        return 1;
    }
    if (*s != 'x' || hex_digit(s[1]) < 0 || hex_digit(s[2]) < 0)
        return 0;
    *out = (char)(hex_digit(s[1]) * 16 + hex_digit(s[2]));
    return *out ? 3 : 0;
}

rlx_status rlx_ir_scan_string(rlx_ir_scan *sc, rlx_arena *arena, const char **out)
{
    if (*sc->s != '"')
        return rlx_ir_scan_fail(sc, sc->s, "expected a quoted text, not '%.*s'", here(sc), sc->s);
    const char *s = sc->s + 1;
    char *to = rlx_arena_alloc(arena, strcspn(s, "\n") + 1); /* at least as long as what is read */
    if (!to)
        return RLX_OOM();
    *out = to;
    for (; *s != '"'; s++) {
        if (!*s || *s == '\n')
            return rlx_ir_scan_fail(sc, sc->s, "this text has no end on its line");
        if (*s != '\\') {
            *to++ = *s;
            continue;
        }
        size_t n = read_escape(s + 1, to++);
        if (n == 0)
            return rlx_ir_scan_fail(sc, s,
                                    "unknown escape: there are \\\", \\\\ and \\x01 to \\xff");
        s += n;
    }
    rlx_ir_scan_to(sc, s + 1);
    return RLX_OK;
}

bool rlx_ir_scan_at_attrs(const rlx_ir_scan *sc)
{
    rlx_ir_scan ahead = *sc;
    if (!rlx_ir_scan_accept(&ahead, '{'))
        return false;
    size_t n = rlx_ir_scan_word(&ahead);
    rlx_ir_scan_to(&ahead, ahead.s + n);
    return n && rlx_ir_scan_is(&ahead, '=');
}

/* The last character of the string that begins at `s`, or of its line. */
static const char *skip_string(const char *s)
{
    for (s++; *s && *s != '"' && *s != '\n'; s++)
        if (*s == '\\' && s[1] && s[1] != '\n')
            s++;
    return s;
}

rlx_status rlx_ir_scan_skip_braces(rlx_ir_scan *sc)
{
    const char *open = sc->s, *attrs = NULL; /* where attributes began that are still open */
    int depth = 0;
    do {
        const char *s = sc->s;
        if (attrs && (sc->newline || !*s))
            return rlx_ir_scan_fail(sc, attrs, "these attributes do not end on their line");
        if (!*s)
            return rlx_ir_scan_fail(sc, open, "this '{' is never closed");
        if (*s == '{') {
            attrs = rlx_ir_scan_at_attrs(sc) ? s : NULL;
            depth++;
        } else if (*s == '}') {
            attrs = NULL;
            depth--;
        } else if (*s == '"') {
            s = skip_string(s);
        }
        rlx_ir_scan_to(sc, *s ? s + 1 : s);
    } while (depth > 0);
    return RLX_OK;
}

/* ---- types and attributes
 * ------------------------------------------------------------------------- */

static rlx_status scan_tile_shape(rlx_ir_scan *sc, rlx_ir_type *type)
{
    for (;;) {
        int64_t extent;
        const char *at = sc->s;
        if (type->rank == RLX_MAX_RANK)
            return rlx_ir_scan_fail(sc, at, "more than %d extents", RLX_MAX_RANK);
        RLX_TRY(rlx_ir_scan_int(sc, &extent));
        if (extent <= 0)
            return rlx_ir_scan_fail(sc, at, "extents of a tile are > 0");
        type->dim[type->rank++] = extent;
        if (rlx_ir_scan_accept(sc, '>'))
            return RLX_OK;
        RLX_TRY(rlx_ir_scan_expect(sc, 'x', "or '>' in a tile"));
    }
}

static rlx_status scan_shape(rlx_ir_scan *sc, rlx_dims *dims, rlx_ir_type *type)
{
    for (;;) {
        if (type->rank == RLX_MAX_RANK)
            return rlx_ir_scan_fail(sc, sc->s, "more than %d extents", RLX_MAX_RANK);
        RLX_TRY(rlx_ir_scan_dim(sc, dims, &type->dim[type->rank++]));
        if (rlx_ir_scan_accept(sc, ']'))
            return RLX_OK;
        RLX_TRY(rlx_ir_scan_expect(sc, ',', "or ']' in a shape"));
    }
}

rlx_status rlx_ir_scan_type(rlx_ir_scan *sc, rlx_dims *dims, bool scalar_tiles, rlx_ir_type *out)
{
    rlx_ir_type type = {.kind = scalar_tiles ? RLX_TYPE_TILE : RLX_TYPE_TENSOR};
    const char *at = sc->s;
    if (rlx_ir_scan_accept_word(sc, "global")) {
        type.kind = RLX_TYPE_BUFFER;
        type.space = RLX_SPACE_GLOBAL;
    } else if (rlx_ir_scan_accept_word(sc, "team")) {
        type.kind = RLX_TYPE_BUFFER;
        type.space = RLX_SPACE_TEAM;
    }
    size_t n = rlx_ir_scan_word(sc);
    type.format = rlx_format_parse(sc->s, n);
    if (type.format == RLX_FORMAT_NONE)
        return rlx_ir_scan_fail(sc, sc->s, "expected a type; '%.*s' is no format", here(sc), sc->s);
    rlx_ir_scan_to(sc, sc->s + n);
    bool shape = !sc->newline && *sc->s == '[';
    bool tile = !sc->newline && *sc->s == '<' && type.kind != RLX_TYPE_BUFFER;
    if (shape || tile)
        rlx_ir_scan_to(sc, sc->s + 1);
    if (shape) {
        if (type.kind != RLX_TYPE_BUFFER)
            type.kind = RLX_TYPE_TENSOR;
        RLX_TRY(scan_shape(sc, dims, &type));
    } else if (tile) {
        type.kind = RLX_TYPE_TILE;
        RLX_TRY(scan_tile_shape(sc, &type));
    }
    rlx_status st = rlx_ir_type_check(&type);
    if (st)
        return rlx_ir_scan_note(sc, at, st);
    *out = type;
    return RLX_OK;
}

enum { MAX_INTS = 64 };

static rlx_status scan_ints(rlx_ir_scan *sc, rlx_arena *arena, rlx_attr *attr)
{
    int64_t list[MAX_INTS];
    int n = 0;
    RLX_TRY(rlx_ir_scan_expect(sc, '[', "before a list"));
    if (!rlx_ir_scan_accept(sc, ']')) {
        do {
            if (n == MAX_INTS)
                return rlx_ir_scan_fail(sc, sc->s, "more than %d integers", MAX_INTS);
            RLX_TRY(rlx_ir_scan_int(sc, &list[n++]));
        } while (rlx_ir_scan_accept(sc, ','));
        RLX_TRY(rlx_ir_scan_expect(sc, ']', "after a list"));
    }
    attr->n = n;
    attr->ints = rlx_arena_copy(arena, list, sizeof(*list) * (size_t)n);
    return attr->ints ? RLX_OK : RLX_OOM();
}

static rlx_status scan_format(rlx_ir_scan *sc, rlx_attr *attr)
{
    size_t n = rlx_ir_scan_word(sc);
    attr->i = rlx_format_parse(sc->s, n);
    if (attr->i == RLX_FORMAT_NONE)
        return rlx_ir_scan_fail(sc, sc->s, "'%.*s' is no format", here(sc), sc->s);
    rlx_ir_scan_to(sc, sc->s + n);
    return RLX_OK;
}

static rlx_status scan_fn(rlx_ir_scan *sc, rlx_attr *attr)
{
    size_t n = rlx_ir_scan_word(sc);
    rlx_map_fn fn;
    rlx_status st = rlx_map_fn_parse(sc->s, n, &fn);
    if (st)
        return rlx_ir_scan_note(sc, sc->s, st);
    attr->i = fn;
    rlx_ir_scan_to(sc, sc->s + n);
    return RLX_OK;
}

static rlx_status scan_attr(rlx_ir_scan *sc, rlx_dims *dims, rlx_arena *arena, rlx_attr *attr)
{
    size_t n = rlx_ir_scan_word(sc);
    attr->key = rlx_attr_key_parse(sc->s, n);
    if (attr->key == RLX_ATTR_NONE)
        return rlx_ir_scan_fail(sc, sc->s, "unknown attribute '%.*s'", here(sc), sc->s);
    rlx_ir_scan_to(sc, sc->s + n);
    RLX_TRY(rlx_ir_scan_expect(sc, '=', "after an attribute's name"));
    switch (rlx_attr_kind_of(attr->key)) {
    case RLX_ATTR_KIND_INT:
        return rlx_ir_scan_int(sc, &attr->i);
    case RLX_ATTR_KIND_FLOAT:
        return rlx_ir_scan_float(sc, &attr->f);
    case RLX_ATTR_KIND_INTS:
        return scan_ints(sc, arena, attr);
    case RLX_ATTR_KIND_FORMAT:
        return scan_format(sc, attr);
    case RLX_ATTR_KIND_DIM:
        return rlx_ir_scan_dim(sc, dims, &attr->i);
    case RLX_ATTR_KIND_TEXT:
        return rlx_ir_scan_string(sc, arena, &attr->text);
    case RLX_ATTR_KIND_SYM:
        return rlx_ir_scan_name(sc, '@', arena, &attr->text);
    case RLX_ATTR_KIND_FN:
        return scan_fn(sc, attr);
    }
    return RLX_FAIL(RLX_INTERNAL, "an attribute of unknown kind");
}

rlx_status rlx_ir_scan_attrs(rlx_ir_scan *sc, rlx_dims *dims, rlx_arena *arena, int *n,
                             rlx_attr **out)
{
    *n = 0;
    *out = NULL;
    if (!rlx_ir_scan_at_attrs(sc))
        return RLX_OK;
    rlx_attr *attrs = RLX_NEW_ARRAY(arena, rlx_attr, RLX_ATTR_NONE);
    if (!attrs)
        return RLX_OOM();
    rlx_ir_scan_accept(sc, '{');
    do {
        const char *at = sc->s;
        rlx_attr attr = {0};
        RLX_TRY(scan_attr(sc, dims, arena, &attr));
        if (rlx_attr_find(*n, attrs, attr.key))
            return rlx_ir_scan_fail(sc, at, "attribute %s is given twice", rlx_attr_name(attr.key));
        attrs[(*n)++] = attr;
    } while (rlx_ir_scan_accept(sc, ','));
    *out = attrs;
    return rlx_ir_scan_expect(sc, '}', "after attributes");
}
