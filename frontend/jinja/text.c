/* frontend/jinja/text.c: what filters and methods of strings share. */
#include <stdlib.h>

#include "frontend/jinja/impl.h"

bool rlx_jinja_need_string(rlx_jinja_run *x, rlx_jinja_value v, const char *what)
{
    if (v.kind == RLX_JINJA_UNDEFINED)
        rlx_jinja_fail_undefined(x, v);
    else if (v.kind != RLX_JINJA_STRING)
        rlx_jinja_type_error(x, "%s must be str, not %s", what, rlx_jinja_type_name(v));
    return v.kind == RLX_JINJA_STRING && !x->error;
}

bool rlx_jinja_need_int(rlx_jinja_run *x, rlx_jinja_value v, int64_t absent, int64_t *out)
{
    *out = absent;
    return v.kind == RLX_JINJA_MISSING || v.kind == RLX_JINJA_NONE || rlx_jinja_as_int(x, v, out);
}

/* ---- stripping */

static bool is_in(uint32_t c, rlx_jinja_value chars)
{
    if (chars.kind != RLX_JINJA_STRING)
        return rlx_jinja_is_space(c);
    const char *p = chars.s->data, *end = p + chars.s->len;
    while (p < end)
        if (rlx_jinja_next(&p) == c)
            return true;
    return false;
}

rlx_jinja_value rlx_jinja_strip(rlx_jinja_run *x, rlx_jinja_value s, rlx_jinja_value chars,
                                rlx_jinja_side sides)
{
    bool blanks = chars.kind == RLX_JINJA_MISSING || chars.kind == RLX_JINJA_NONE;
    if (!blanks && !rlx_jinja_need_string(x, chars, "strip arg"))
        return rlx_jinja_none();
    const int64_t cost = blanks ? 1 : 1 + (int64_t)chars.s->len / 4;
    const char *from = s.s->data, *to = from + s.s->len;
    for (const char *p = from; (sides & RLX_JINJA_LEFT) && p < to && rlx_jinja_step(x, cost);
         from = p)
        if (!is_in(rlx_jinja_next(&p), chars))
            break;
    for (const char *p = to; (sides & RLX_JINJA_RIGHT) && p > from && rlx_jinja_step(x, cost);
         to = p)
        if (!is_in(rlx_jinja_before(from, &p), chars))
            break;
    return rlx_jinja_part(x, s, (size_t)(from - s.s->data), (size_t)(to - s.s->data));
}

/* ---- searching, replacing */

/* Searched in blocks, so that a limit holds soon. memmem compares up to 256 bytes at each byte. */
const char *rlx_jinja_find_bytes(rlx_jinja_run *x, const rlx_jinja_string *s, size_t from,
                                 size_t to, const rlx_jinja_string *what)
{
    const size_t block = what->len > 1 << 16 ? what->len : 1 << 16;
    const size_t weight = 1 + (what->len < 256 ? what->len : 256) / 32;
    if (!what->len && from <= to)
        return s->data + from;
    for (; from < to && what->len <= to - from; from += block) {
        size_t n = to - from < block + what->len - 1 ? to - from : block + what->len - 1;
        const char *found = memmem(s->data + from, n, what->data, what->len);
        n = found ? (size_t)(found - s->data) - from + what->len : n;
        if (!rlx_jinja_walk(x, n * weight) || found)
            return x->error ? NULL : found;
    }
    return NULL;
}

const char *rlx_jinja_find_last_bytes(rlx_jinja_run *x, const rlx_jinja_string *s, size_t from,
                                      size_t to, const rlx_jinja_string *what)
{
    if (from > to || what->len > to - from)
        return NULL;
    if (!what->len)
        return s->data + to;
    for (size_t before = to - what->len + 1; before > from;) {
        const char *p = memrchr(s->data + from, what->data[0], before - from);
        size_t at = p ? (size_t)(p - s->data) : from;
        if (!rlx_jinja_walk(x, before - at + what->len) || !p)
            return NULL;
        if (!memcmp(p, what->data, what->len))
            return p;
        before = at;
    }
    return NULL;
}

/* With nothing to look for: before every character and at the end. */
static rlx_jinja_value insert_everywhere(rlx_jinja_run *x, rlx_jinja_value s, rlx_jinja_value to,
                                         int64_t count)
{
    rlx_jinja_buffer b = {.x = x};
    const char *p = s.s->data, *end = p + s.s->len;
    for (; rlx_jinja_step(x, 1); count--) {
        const char *c = p;
        if (count == 0) {
            rlx_jinja_put(&b, p, (size_t)(end - p));
            break;
        }
        rlx_jinja_put(&b, to.s->data, to.s->len);
        if (p == end)
            break;
        rlx_jinja_next(&p);
        rlx_jinja_put(&b, c, (size_t)(p - c));
    }
    return rlx_jinja_taken(&b);
}

rlx_jinja_value rlx_jinja_replace(rlx_jinja_run *x, rlx_jinja_value s, rlx_jinja_value from,
                                  rlx_jinja_value to, int64_t count)
{
    if (!from.s->len)
        return insert_everywhere(x, s, to, count);
    rlx_jinja_buffer b = {.x = x};
    size_t at = 0;
    for (; count != 0 && rlx_jinja_step(x, 1); count--) {
        const char *found = rlx_jinja_find_bytes(x, s.s, at, s.s->len, from.s);
        if (!found)
            break;
        rlx_jinja_put(&b, s.s->data + at, (size_t)(found - s.s->data) - at);
        rlx_jinja_put(&b, to.s->data, to.s->len);
        at = (size_t)(found - s.s->data) + from.s->len;
    }
    if (!at)
        return s;
    rlx_jinja_put(&b, s.s->data + at, s.s->len - at);
    return rlx_jinja_taken(&b);
}

/* ---- case, padding */

rlx_jinja_value rlx_jinja_capitalized(rlx_jinja_run *x, rlx_jinja_value s)
{
    rlx_jinja_buffer b = {.x = x};
    const char *p = s.s->data, *end = p + s.s->len;
    while (p < end && rlx_jinja_step(x, 1)) {
        bool first = p == s.s->data;
        rlx_jinja_put_case(&b, rlx_jinja_next(&p), first ? RLX_JINJA_TITLE : RLX_JINJA_LOWER);
    }
    rlx_jinja_value v = rlx_jinja_taken(&b);
    v.markup = s.markup;
    return v;
}

rlx_jinja_value rlx_jinja_padded(rlx_jinja_run *x, rlx_jinja_value s, int64_t width, uint32_t fill,
                                 rlx_jinja_side text_at)
{
    int64_t pad = width - rlx_jinja_chars(x, s.s);
    if (pad <= 0)
        return s;
    int64_t left = text_at == RLX_JINJA_LEFT    ? 0
                   : text_at == RLX_JINJA_RIGHT ? pad
                                                : pad / 2 + (pad & width & 1);
    rlx_jinja_buffer b = {.x = x};
    rlx_jinja_put_fill(&b, fill, left);
    rlx_jinja_put(&b, s.s->data, s.s->len);
    rlx_jinja_put_fill(&b, fill, pad - left);
    rlx_jinja_value v = rlx_jinja_taken(&b);
    v.markup = s.markup;
    return v;
}

/* ---- splitting, joining */

static bool is_line_end(uint32_t c)
{
    return (c >= '\n' && c <= '\r') || (c >= 0x1c && c <= 0x1e) || c == 0x85 || c == 0x2028 ||
           c == 0x2029;
}

rlx_jinja_list *rlx_jinja_split_lines(rlx_jinja_run *x, rlx_jinja_value s, bool keep_ends)
{
    rlx_jinja_list *out = rlx_jinja_list_new(x);
    const char *p = s.s->data, *end = p + s.s->len, *start = p;
    while (p < end && rlx_jinja_step(x, 1)) {
        const char *at = p;
        uint32_t c = rlx_jinja_next(&p);
        if (!is_line_end(c))
            continue;
        p += c == '\r' && p < end && *p == '\n';
        rlx_jinja_push(x, out,
                       rlx_jinja_part(x, s, (size_t)(start - s.s->data),
                                      (size_t)((keep_ends ? p : at) - s.s->data)));
        start = p;
    }
    if (start < end)
        rlx_jinja_push(x, out, rlx_jinja_part(x, s, (size_t)(start - s.s->data), s.s->len));
    return out;
}

/* Words as byte ranges, from the left: start, end, start, end, ... */
static void find_words(rlx_jinja_run *x, rlx_jinja_value s, rlx_jinja_list *out)
{
    const char *p = s.s->data, *end = p + s.s->len;
    bool in_word = false;
    while (p < end && rlx_jinja_step(x, 1)) {
        const char *at = p;
        bool blank = rlx_jinja_is_space(rlx_jinja_next(&p));
        if (blank == in_word)
            rlx_jinja_push(x, out, rlx_jinja_int(at - s.s->data));
        in_word = !blank;
    }
    if (in_word)
        rlx_jinja_push(x, out, rlx_jinja_int((int64_t)s.s->len));
}

rlx_jinja_list *rlx_jinja_split_blanks(rlx_jinja_run *x, rlx_jinja_value s, int64_t most,
                                       bool from_right)
{
    rlx_jinja_list *out = rlx_jinja_list_new(x), *at = rlx_jinja_list_new(x);
    find_words(x, s, at);
    int64_t words = at->n / 2, kept = most < 0 || most >= words ? words : most;
    if (kept == words || x->error) {
        for (int64_t i = 0; i < words && !x->error; i++)
            rlx_jinja_push(
                x, out,
                rlx_jinja_part(x, s, (size_t)at->items[2 * i].i, (size_t)at->items[2 * i + 1].i));
        return out;
    }
    int64_t first = from_right ? words - kept : 0;
    size_t rest_from = from_right ? (size_t)at->items[0].i : (size_t)at->items[2 * kept].i;
    size_t rest_to = from_right ? (size_t)at->items[2 * first - 1].i : s.s->len;
    rlx_jinja_value rest = rlx_jinja_part(x, s, rest_from, rest_to);
    rest = rlx_jinja_strip(x, rlx_jinja_part(x, s, from_right ? 0 : rest_from, rest_to),
                           (rlx_jinja_value){.kind = RLX_JINJA_MISSING},
                           from_right ? RLX_JINJA_RIGHT : RLX_JINJA_LEFT);
    if (from_right)
        rlx_jinja_push(x, out, rest);
    for (int64_t i = first; i < first + kept; i++)
        rlx_jinja_push(
            x, out,
            rlx_jinja_part(x, s, (size_t)at->items[2 * i].i, (size_t)at->items[2 * i + 1].i));
    if (!from_right)
        rlx_jinja_push(x, out, rest);
    return out;
}

rlx_jinja_value rlx_jinja_join(rlx_jinja_run *x, rlx_jinja_value separator,
                               const rlx_jinja_list *items, bool any)
{
    rlx_jinja_buffer b = {.x = x};
    for (int64_t i = 0; i < items->n && rlx_jinja_step(x, 1); i++) {
        if (i)
            rlx_jinja_put(&b, separator.s->data, separator.s->len);
        if (!any && items->items[i].kind != RLX_JINJA_STRING)
            return rlx_jinja_type_error(x, "sequence item %lld: expected str instance, %s found",
                                        (long long)i, rlx_jinja_type_name(items->items[i]));
        rlx_jinja_put_str(&b, items->items[i]);
    }
    return rlx_jinja_taken(&b);
}

/* ---- numbers */

/* Without the blanks around; the ends as bytes. */
static void trim(const rlx_jinja_string *s, const char **from, const char **to)
{
    *from = s->data;
    *to = s->data + s->len;
    for (const char *p = *from; p < *to && rlx_jinja_is_space(rlx_jinja_next(&p));)
        *from = p;
    for (const char *p = *to; p > *from && rlx_jinja_is_space(rlx_jinja_before(*from, &p));)
        *to = p;
}

/* The base that a prefix says, where `base` lets it. */
static int skip_prefix(const char **p, const char *end, int base)
{
    if (end - *p < 2 || **p != '0')
        return base ? base : 10;
    char c = (*p)[1] | 0x20;
    int said = c == 'x' ? 16 : c == 'o' ? 8 : c == 'b' ? 2 : 0;
    if (said && (base == 0 || base == said)) {
        *p += 2;
        *p += *p < end && **p == '_';
        return said;
    }
    return base ? base : 10;
}

bool rlx_jinja_parse_int(rlx_jinja_value s, int base, int64_t *out)
{
    const char *p, *end;
    trim(s.s, &p, &end);
    bool minus = p < end && *p == '-';
    p += minus || (p < end && *p == '+');
    base = skip_prefix(&p, end, base);
    bool digit = false;
    for (*out = 0; p < end; p++) {
        int d = (unsigned char)*p < 0x80 ? rlx_jinja_digit_value((unsigned char)*p) : -1;
        if (*p == '_' && digit && p + 1 < end) {
            digit = false;
            continue;
        }
        if (d < 0 || d >= base || __builtin_mul_overflow(*out, base, out) ||
            __builtin_add_overflow(*out, minus ? -d : d, out))
            return false;
        digit = true;
    }
    return digit;
}

bool rlx_jinja_parse_float(rlx_jinja_run *x, rlx_jinja_value s, double *out)
{
    const char *from, *to;
    rlx_jinja_walk(x, s.s->len);
    trim(s.s, &from, &to);
    rlx_jinja_buffer b = {.x = x};
    for (const char *p = from; p < to; p++) {
        bool between = *p == '_' && p > from && p + 1 < to && p[-1] >= '0' && p[-1] <= '9' &&
                       p[1] >= '0' && p[1] <= '9';
        if (*p == 'x' || *p == 'X' || *p == '(') /* strtod's hexadecimal, nan(...) */
            return false;
        if (!between)
            rlx_jinja_put(&b, p, 1);
    }
    rlx_jinja_put(&b, "", 1);
    const char *p = b.data;
    if (!p || b.len < 2 || rlx_jinja_is_space((unsigned char)*p) || !rlx_text_parse_double(&p, out))
        return false;
    return p == b.data + b.len - 1;
}
