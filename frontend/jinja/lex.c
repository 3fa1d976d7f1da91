/* frontend/jinja/lex.c: a template's text to tokens. White space around tags is settled here: a "-"
 * inside a delimiter takes all of it away; without a sign the blanks before a statement or comment
 * that begins its line go, and the newline behind it (lstrip_blocks, trim_blocks); "+" keeps it. */
#include <stdlib.h>

#include "frontend/jinja/impl.h"

typedef struct lexer {
    rlx_jinja_parser *p;
    const char *s; /* newlines are "\n"; a NUL behind */
    size_t n, at;
    int line;
    bool line_starts; /* the last match ended with a newline */
} lexer;

static const char *const operators[] = {"//", "**", "==", "!=", "<=", ">=", "+", "-", "/",
                                        "*",  "%",  "~",  "[",  "]",  "(",  ")", "{", "}",
                                        ">",  "<",  "=",  ".",  ":",  "|",  ",", ";"};
enum { NOPERATORS = sizeof operators / sizeof *operators, MOST_OPEN = 256 };

/* ---- tokens */

static rlx_jinja_token *push(lexer *l, rlx_jinja_token_kind kind, const char *text, size_t len)
{
    rlx_jinja_parser *p = l->p;
    if (p->ntokens == p->cap_tokens) {
        int64_t cap = p->cap_tokens ? 2 * p->cap_tokens : 256;
        rlx_jinja_token *grown = rlx_jinja_parse_alloc(p, (size_t)cap * sizeof *grown);
        if (!grown)
            return NULL;
        if (p->ntokens)
            memcpy(grown, p->tokens, (size_t)p->ntokens * sizeof *grown);
        p->tokens = grown;
        p->cap_tokens = cap;
    }
    rlx_jinja_token *t = &p->tokens[p->ntokens++];
    *t = (rlx_jinja_token){.kind = kind, .line = l->line, .text = text, .len = len};
    return t;
}

/* Goes on to `to`, counting lines. */
static void advance(lexer *l, size_t to)
{
    for (; l->at < to; l->at++)
        l->line += l->s[l->at] == '\n';
    if (to)
        l->line_starts = l->s[to - 1] == '\n';
}

static size_t skip_space(const lexer *l, size_t at)
{
    while (at < l->n) {
        const char *p = l->s + at;
        if (!rlx_jinja_is_space(rlx_jinja_next(&p)))
            break;
        at = (size_t)(p - l->s);
    }
    return at;
}

static bool is_at(const lexer *l, size_t at, const char *text)
{
    size_t len = strlen(text);
    return at + len <= l->n && !memcmp(l->s + at, text, len);
}

/* ---- text between tags */

static size_t rstrip(const lexer *l, size_t from, size_t to)
{
    while (to > from) {
        const char *p = l->s + to;
        if (!rlx_jinja_is_space(rlx_jinja_before(l->s + from, &p)))
            break;
        to = (size_t)(p - l->s);
    }
    return to;
}

/* Where the text from..to ends that stands before a tag with this sign. */
static size_t text_end(const lexer *l, size_t from, size_t to, char sign, bool variable)
{
    if (sign == '-')
        return rstrip(l, from, to);
    if (sign == '+' || variable)
        return to;
    size_t start = to;
    while (start > from && l->s[start - 1] != '\n')
        start--;
    if (start == from && !l->line_starts)
        return to;
    return rstrip(l, start, to) == start ? start : to;
}

static void put_data(lexer *l, size_t from, size_t to)
{
    rlx_jinja_token *t = from < to ? push(l, RLX_JINJA_T_DATA, l->s + from, to - from) : NULL;
    if (t)
        t->value = rlx_jinja_parse_string(l->p, l->s + from, to - from);
}

static char sign_at(const lexer *l, size_t at)
{
    return at < l->n && (l->s[at] == '-' || l->s[at] == '+') ? l->s[at] : 0;
}

/* Behind a statement's or comment's end `mark` at `at`, with its sign; 0: none is there. */
static size_t tag_end(const lexer *l, size_t at, const char *mark, bool newline, bool plus)
{
    if (is_at(l, at, "-") && is_at(l, at + 1, mark))
        return skip_space(l, at + 1 + strlen(mark));
    if (plus && is_at(l, at, "+") && is_at(l, at + 1, mark))
        return at + 1 + strlen(mark);
    if (!is_at(l, at, mark))
        return 0;
    at += strlen(mark);
    return newline && is_at(l, at, "\n") ? at + 1 : at;
}

/* ---- raw */

/* Behind "{% raw %}" at `at`, or 0. */
static size_t raw_begin(const lexer *l, size_t at)
{
    at += 2;
    at = skip_space(l, at + (sign_at(l, at) != 0));
    if (!is_at(l, at, "raw"))
        return 0;
    return tag_end(l, skip_space(l, at + 3), "%}", false, false);
}

static size_t raw_end(const lexer *l, size_t at, char *sign)
{
    at += 2;
    *sign = sign_at(l, at);
    at = skip_space(l, at + (*sign != 0));
    if (!is_at(l, at, "endraw"))
        return 0;
    return tag_end(l, skip_space(l, at + 6), "%}", true, true);
}

static void lex_raw(lexer *l)
{
    int line = l->line;
    size_t from = l->at;
    for (size_t at = from; at + 1 < l->n; at++) {
        char sign;
        size_t end = is_at(l, at, "{%") ? raw_end(l, at, &sign) : 0;
        if (end) {
            put_data(l, from, text_end(l, from, at, sign, false));
            advance(l, end);
            return;
        }
    }
    rlx_jinja_parse_fail(l->p, RLX_INVALID_FILE, line, "the raw block has no end");
}

/* ---- inside tags */

static bool is_word_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

static size_t word_end(const lexer *l, size_t at)
{
    while (at < l->n) {
        const char *p = l->s + at;
        if (!is_word_byte(*p) &&
            !((unsigned char)*p >= 0x80 && rlx_jinja_is_word(rlx_jinja_next(&p))))
            break;
        at += is_word_byte(l->s[at]) ? 1 : (size_t)(p - l->s) - at;
    }
    return at;
}

/* Behind digits of `base` with single "_" between them; `at` when there are none. */
static size_t digits_end(const lexer *l, size_t at, int base, bool lead)
{
    size_t end = at;
    for (;;) {
        size_t next = end + (lead && is_at(l, end, "_"));
        int v = next < l->n && (unsigned char)l->s[next] < 0x80
                    ? rlx_jinja_digit_value((unsigned char)l->s[next])
                    : -1;
        if (v < 0 || v >= base)
            return end;
        end = next + 1;
        lead = true;
    }
}

static size_t exponent_end(const lexer *l, size_t at)
{
    if (!is_at(l, at, "e") && !is_at(l, at, "E"))
        return at;
    size_t from = at + 1 + (is_at(l, at + 1, "+") || is_at(l, at + 1, "-"));
    size_t end = digits_end(l, from, 10, false);
    return end > from ? end : at;
}

/* Behind the float at `at`, or `at`. One that follows a "." is none: x.1.2 has two indices. */
static size_t float_end(const lexer *l, size_t at)
{
    size_t whole = digits_end(l, at, 10, false), end = whole;
    if (whole == at || (at && l->s[at - 1] == '.'))
        return at;
    if (is_at(l, whole, ".")) {
        size_t fraction = digits_end(l, whole + 1, 10, false);
        if (fraction > whole + 1)
            end = fraction;
    }
    size_t exponent = exponent_end(l, end);
    return exponent > whole ? exponent : at;
}

static size_t copy_digits(const lexer *l, size_t at, size_t end, char *to, size_t cap)
{
    size_t n = 0;
    for (; at < end && n + 1 < cap; at++)
        if (l->s[at] != '_')
            to[n++] = l->s[at];
    to[n] = 0;
    return at == end ? n : 0;
}

static bool lex_number(lexer *l)
{
    enum { LONGEST = 512 };
    char text[LONGEST];
    size_t end = float_end(l, l->at);
    if (end > l->at) {
        const char *s = text;
        rlx_jinja_token *t = push(l, RLX_JINJA_T_FLOAT, l->s + l->at, end - l->at);
        if (!t || !copy_digits(l, l->at, end, text, sizeof text))
            return !rlx_jinja_parse_fail(l->p, RLX_INVALID_FILE, l->line,
                                         "a number of too many digits");
        t->value = (rlx_jinja_value){.kind = RLX_JINJA_FLOAT};
        rlx_text_parse_double(&s, &t->value.f);
        advance(l, end);
        return true;
    }
    int base = 10;
    size_t from = l->at;
    if (l->s[from] == '0' && from + 1 < l->n) {
        char c = l->s[from + 1] | 0x20;
        base = c == 'x' ? 16 : c == 'o' ? 8 : c == 'b' ? 2 : 10;
        if (base != 10 && digits_end(l, from + 2, base, true) == from + 2)
            base = 10;
        from += base != 10 ? 2 : 0;
    }
    end = digits_end(l, from, base, base != 10);
    if (base == 10 && l->s[from] == '0') /* zeros only, as in Python */
        for (end = from + 1; is_at(l, end, "0") || is_at(l, end, "_0");)
            end += is_at(l, end, "0") ? 1 : 2;
    if (end == from)
        return false;
    int64_t v = 0;
    for (size_t i = from; i < end; i++)
        if (l->s[i] != '_' &&
            (__builtin_mul_overflow(v, base, &v) ||
             __builtin_add_overflow(v, rlx_jinja_digit_value((uint8_t)l->s[i]), &v)))
            return !rlx_jinja_parse_fail(l->p, RLX_UNSUPPORTED, l->line,
                                         "an integer beyond 64 bits");
    rlx_jinja_token *t = push(l, RLX_JINJA_T_INT, l->s + l->at, end - l->at);
    if (t)
        t->value = rlx_jinja_int(v);
    advance(l, end);
    return true;
}

/* `n` hexadecimal digits at s[*at]; -1 when they are not there. */
static int64_t hex_digits(const char *s, size_t end, size_t *at, int n)
{
    int64_t v = 0;
    for (int i = 0; i < n; i++, (*at)++) {
        int d =
            *at < end && (unsigned char)s[*at] < 0x80 ? rlx_jinja_digit_value((uint8_t)s[*at]) : -1;
        if (d < 0 || d > 15)
            return -1;
        v = 16 * v + d;
    }
    return v;
}

/* The character of the escape at s[*at], behind the backslash; -1: a backslash and what follows;
 * -2: none (a newline); -3: a wrong one. */
static int64_t escape(const char *s, size_t end, size_t *at)
{
    static const char from[] = "abfnrtv\\'\"", to[] = "\a\b\f\n\r\t\v\\'\"";
    char c = s[*at];
    const char *simple = c ? strchr(from, c) : NULL;
    if (simple || c == '\n') {
        ++*at;
        return simple ? to[simple - from] : -2;
    }
    if (c >= '0' && c <= '7') {
        int64_t v = 0;
        for (int i = 0; i < 3 && *at < end && s[*at] >= '0' && s[*at] <= '7'; i++)
            v = 8 * v + s[(*at)++] - '0';
        return v;
    }
    int digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (!digits)
        return c == 'N' ? -3 : -1;
    ++*at;
    int64_t v = hex_digits(s, end, at, digits);
    return v < 0 || v > 0x10ffff || (v >= 0xd800 && v < 0xe000) ? -3 : v;
}

static void lex_string(lexer *l, size_t end)
{
    size_t at = l->at + 1, len = 0, stop = end - 1;
    char *out = rlx_jinja_parse_alloc(l->p, end - l->at);
    rlx_jinja_token *t = push(l, RLX_JINJA_T_STRING, l->s + l->at, end - l->at);
    if (!t || !out)
        return;
    while (at < stop) {
        if (l->s[at] != '\\') {
            out[len++] = l->s[at++];
            continue;
        }
        at++;
        int64_t c = escape(l->s, stop, &at);
        if (c == -3) {
            rlx_jinja_parse_fail(l->p, RLX_INVALID_FILE, l->line, "a wrong escape in a string");
            return;
        }
        if (c == -1)
            out[len++] = '\\';
        else if (c >= 0)
            len += rlx_jinja_encode((uint32_t)c, out + len);
    }
    t->value = rlx_jinja_parse_string(l->p, out, len);
    advance(l, end);
}

/* Behind the string that begins at `at`; 0: it does not end. */
static size_t string_end(const lexer *l, size_t at)
{
    char quote = l->s[at++];
    for (; at < l->n && l->s[at] != quote; at++)
        at += l->s[at] == '\\';
    return at < l->n ? at + 1 : 0;
}

/* Brackets inside a tag: what is open. */
typedef struct open_brackets {
    char at[MOST_OPEN];
    int n;
} open_brackets;

static bool track_bracket(lexer *l, open_brackets *open, char c)
{
    char opposite = c == ')' ? '(' : c == ']' ? '[' : c == '}' ? '{' : 0;
    if (c == '(' || c == '[' || c == '{') {
        if (open->n == MOST_OPEN)
            return rlx_jinja_parse_fail(l->p, RLX_EXHAUSTED, l->line, "more than %d open brackets",
                                        (int)MOST_OPEN);
        open->at[open->n++] = c;
    }
    if (!opposite)
        return true;
    if (!open->n || open->at[open->n - 1] != opposite)
        return rlx_jinja_parse_fail(l->p, RLX_INVALID_FILE, l->line, "unexpected '%c'", c);
    open->n--;
    return true;
}

static void lex_operator(lexer *l, open_brackets *open)
{
    for (int i = 0; i < NOPERATORS; i++)
        if (is_at(l, l->at, operators[i])) {
            size_t len = strlen(operators[i]);
            push(l, RLX_JINJA_T_OP, operators[i], len);
            if (track_bracket(l, open, operators[i][0]))
                advance(l, l->at + len);
            return;
        }
    const char *end = l->s + l->at;
    rlx_jinja_next(&end);
    rlx_jinja_parse_fail(l->p, RLX_INVALID_FILE, l->line, "unexpected character '%.*s'",
                         (int)(end - (l->s + l->at)), l->s + l->at);
}

static void lex_token(lexer *l, open_brackets *open)
{
    char c = l->s[l->at];
    if (c >= '0' && c <= '9' && lex_number(l))
        return;
    if (c == '\'' || c == '"') {
        size_t end = string_end(l, l->at);
        if (end)
            lex_string(l, end);
        else
            rlx_jinja_parse_fail(l->p, RLX_INVALID_FILE, l->line, "the string has no end");
        return;
    }
    size_t end = word_end(l, l->at);
    if (end > l->at) {
        rlx_jinja_string *name = rlx_jinja_intern(l->p, l->s + l->at, end - l->at);
        if (name)
            push(l, RLX_JINJA_T_NAME, name->data, name->len);
        advance(l, end);
        return;
    }
    lex_operator(l, open);
}

/* From behind a tag's opening to behind its end. */
static void lex_tag(lexer *l, bool variable)
{
    open_brackets open = {.n = 0};
    const char *mark = variable ? "}}" : "%}";
    while (!l->p->error) {
        size_t end = open.n ? 0 : tag_end(l, l->at, mark, !variable, !variable);
        if (end) {
            push(l, variable ? RLX_JINJA_T_VARIABLE_END : RLX_JINJA_T_BLOCK_END, mark, 2);
            advance(l, end);
            return;
        }
        size_t next = skip_space(l, l->at);
        if (next > l->at) {
            advance(l, next);
            continue;
        }
        if (l->at == l->n) {
            rlx_jinja_parse_fail(l->p, RLX_INVALID_FILE, l->line, "unexpected end of template");
            return;
        }
        lex_token(l, &open);
    }
}

static void lex_comment(lexer *l)
{
    int line = l->line;
    for (size_t at = l->at; at < l->n; at++) {
        size_t end = tag_end(l, at, "#}", true, true);
        if (end) {
            advance(l, end);
            return;
        }
    }
    rlx_jinja_parse_fail(l->p, RLX_INVALID_FILE, line, "the comment has no end");
}

/* ---- the template */

static size_t next_tag(const lexer *l, size_t at)
{
    for (; at + 1 < l->n; at++)
        if (l->s[at] == '{' && strchr("%{#", l->s[at + 1]) && l->s[at + 1])
            return at;
    return l->n;
}

static void lex_part(lexer *l)
{
    size_t from = l->at, tag = next_tag(l, from);
    if (tag == l->n) {
        put_data(l, from, tag);
        advance(l, tag);
        return;
    }
    char kind = l->s[tag + 1], sign = sign_at(l, tag + 2);
    size_t raw = kind == '%' ? raw_begin(l, tag) : 0;
    put_data(l, from, text_end(l, from, tag, sign, kind == '{'));
    advance(l, raw ? raw : tag + 2 + (sign != 0));
    if (raw) {
        lex_raw(l);
    } else if (kind == '#') {
        lex_comment(l);
    } else {
        push(l, kind == '%' ? RLX_JINJA_T_BLOCK_BEGIN : RLX_JINJA_T_VARIABLE_BEGIN,
             kind == '%' ? "{%" : "{{", 2);
        lex_tag(l, kind == '{');
    }
}

/* "\r\n" and "\r" become "\n"; one newline at the end goes. */
static bool normalize(lexer *l, const char *text, size_t bytes)
{
    char *s = rlx_jinja_parse_alloc(l->p, bytes + 1);
    if (!s)
        return false;
    for (size_t i = 0, len; i < bytes; i += len) {
        len = rlx_text_utf8(text + i, bytes - i);
        if (!len)
            return rlx_jinja_parse_fail(l->p, RLX_INVALID_FILE, l->line, "not UTF-8");
        l->line += text[i] == '\n';
        if (text[i] == '\r') {
            s[l->n++] = '\n';
            len += i + 1 < bytes && text[i + 1] == '\n';
        } else {
            memcpy(s + l->n, text + i, len);
            l->n += len;
        }
    }
    l->n -= l->n && s[l->n - 1] == '\n';
    s[l->n] = 0;
    l->s = s;
    l->line = 1;
    return true;
}

void rlx_jinja_lex(rlx_jinja_parser *p, const char *text, size_t bytes)
{
    lexer l = {.p = p, .line = 1, .line_starts = true};
    if (!normalize(&l, text, bytes))
        return;
    while (l.at < l.n && !p->error)
        lex_part(&l);
    push(&l, RLX_JINJA_T_END, "", 0);
}
