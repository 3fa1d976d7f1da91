/* frontend/jinja/filter_text.c: filters of texts. Those that Jinja gives any value see its str().
 */
#include <stdio.h>
#include <stdlib.h>

#include "frontend/jinja/filter.h"

/* str(v) that is no Markup. */
static rlx_jinja_value plain(rlx_jinja_run *x, rlx_jinja_value v)
{
    v = rlx_jinja_str(x, v);
    v.markup = false;
    return v;
}

rlx_jinja_value rlx_jinja_filter_string(rlx_jinja_run *x, rlx_jinja_value *a,
                                        const rlx_jinja_args *args)
{
    (void)args;
    return rlx_jinja_str(x, a[0]);
}

rlx_jinja_value rlx_jinja_filter_safe(rlx_jinja_run *x, rlx_jinja_value *a,
                                      const rlx_jinja_args *args)
{
    (void)args;
    rlx_jinja_value v = rlx_jinja_str(x, a[0]);
    v.markup = true;
    return v;
}

rlx_jinja_value rlx_jinja_filter_escape(rlx_jinja_run *x, rlx_jinja_value *a,
                                        const rlx_jinja_args *args)
{
    (void)args;
    return rlx_jinja_escape(x, a[0]);
}

rlx_jinja_value rlx_jinja_filter_forceescape(rlx_jinja_run *x, rlx_jinja_value *a,
                                             const rlx_jinja_args *args)
{
    (void)args;
    return rlx_jinja_escape(x, plain(x, a[0]));
}

rlx_jinja_value rlx_jinja_filter_upper(rlx_jinja_run *x, rlx_jinja_value *a,
                                       const rlx_jinja_args *args)
{
    (void)args;
    return rlx_jinja_cased(x, rlx_jinja_str(x, a[0]), RLX_JINJA_UPPER);
}

rlx_jinja_value rlx_jinja_filter_lower(rlx_jinja_run *x, rlx_jinja_value *a,
                                       const rlx_jinja_args *args)
{
    (void)args;
    return rlx_jinja_cased(x, rlx_jinja_str(x, a[0]), RLX_JINJA_LOWER);
}

rlx_jinja_value rlx_jinja_filter_capitalize(rlx_jinja_run *x, rlx_jinja_value *a,
                                            const rlx_jinja_args *args)
{
    (void)args;
    return rlx_jinja_capitalized(x, rlx_jinja_str(x, a[0]));
}

/* A word begins behind white space, "-", "(", "{", "[" and "<". */
rlx_jinja_value rlx_jinja_filter_title(rlx_jinja_run *x, rlx_jinja_value *a,
                                       const rlx_jinja_args *args)
{
    (void)args;
    rlx_jinja_value s = rlx_jinja_str(x, a[0]);
    rlx_jinja_buffer b = {.x = x};
    const char *p = s.s->data, *end = p + s.s->len;
    bool begins = true;
    while (p < end && rlx_jinja_step(x, 1)) {
        uint32_t c = rlx_jinja_next(&p);
        bool opens = rlx_jinja_is_space(c) || (c < 0x80 && c && strchr("-({[<", (int)c));
        rlx_jinja_put_case(&b, c, begins && !opens ? RLX_JINJA_UPPER : RLX_JINJA_LOWER);
        begins = opens;
    }
    return rlx_jinja_taken(&b);
}

rlx_jinja_value rlx_jinja_filter_center(rlx_jinja_run *x, rlx_jinja_value *a,
                                        const rlx_jinja_args *args)
{
    int64_t width;
    (void)args;
    if (!rlx_jinja_need_int(x, a[1], 80, &width))
        return rlx_jinja_none();
    return rlx_jinja_padded(x, rlx_jinja_str(x, a[0]), width, ' ', RLX_JINJA_BOTH);
}

rlx_jinja_value rlx_jinja_filter_trim(rlx_jinja_run *x, rlx_jinja_value *a,
                                      const rlx_jinja_args *args)
{
    (void)args;
    return rlx_jinja_strip(x, rlx_jinja_str(x, a[0]), a[1], RLX_JINJA_BOTH);
}

rlx_jinja_value rlx_jinja_filter_replace(rlx_jinja_run *x, rlx_jinja_value *a,
                                         const rlx_jinja_args *args)
{
    int64_t count;
    (void)args;
    if (!rlx_jinja_need_int(x, a[3], -1, &count))
        return rlx_jinja_none();
    return rlx_jinja_replace(x, plain(x, a[0]), plain(x, a[1]), plain(x, a[2]), count);
}

rlx_jinja_value rlx_jinja_filter_format(rlx_jinja_run *x, rlx_jinja_value *a,
                                        const rlx_jinja_args *args)
{
    if (args->npos && args->nnamed)
        return rlx_jinja_type_error(
            x, "can't handle positional and keyword arguments at the same time");
    return rlx_jinja_percent_args(x, rlx_jinja_str(x, a[0]), args);
}

rlx_jinja_value rlx_jinja_filter_indent(rlx_jinja_run *x, rlx_jinja_value *a,
                                        const rlx_jinja_args *args)
{
    int64_t width = 0;
    (void)args;
    if (!rlx_jinja_need_string(x, a[0], "the value to indent") ||
        (a[1].kind != RLX_JINJA_STRING && !rlx_jinja_need_int(x, a[1], 4, &width)))
        return rlx_jinja_none();
    rlx_jinja_buffer indent = {.x = x}, b = {.x = x};
    if (a[1].kind == RLX_JINJA_STRING)
        rlx_jinja_put_str(&indent, a[1]);
    rlx_jinja_put_fill(&indent, ' ', width);
    rlx_jinja_value line_end = rlx_jinja_literal(x, "\n");
    const rlx_jinja_list *lines = rlx_jinja_split_lines(
        x, rlx_jinja_binary(x, RLX_JINJA_ADD, plain(x, a[0]), line_end), false);
    for (int64_t i = 0; i < lines->n && rlx_jinja_step(x, 1); i++) {
        const rlx_jinja_string *line = lines->items[i].s;
        if (i)
            rlx_jinja_puts(&b, "\n");
        if (i ? line->len || rlx_jinja_truth(a[3]) : rlx_jinja_truth(a[2]))
            rlx_jinja_put(&b, indent.data, indent.len);
        rlx_jinja_put(&b, line->data, line->len);
    }
    rlx_jinja_value v = rlx_jinja_taken(&b);
    v.markup = a[0].markup;
    return v;
}

rlx_jinja_value rlx_jinja_filter_truncate(rlx_jinja_run *x, rlx_jinja_value *a,
                                          const rlx_jinja_args *args)
{
    int64_t length, leeway;
    (void)args;
    rlx_jinja_value end = rlx_jinja_given(a[3]) ? a[3] : rlx_jinja_literal(x, "...");
    if (!rlx_jinja_need_string(x, a[0], "the value to truncate") ||
        !rlx_jinja_need_string(x, end, "end") || !rlx_jinja_need_int(x, a[1], 255, &length) ||
        !rlx_jinja_need_int(x, a[4], 5, &leeway))
        return rlx_jinja_none();
    if (length < rlx_jinja_chars(x, end.s))
        return rlx_jinja_type_error(x, "expected length >= %lld, got %lld",
                                    (long long)rlx_jinja_chars(x, end.s), (long long)length);
    if (leeway < 0)
        return rlx_jinja_type_error(x, "expected leeway >= 0, got %lld", (long long)leeway);
    if (rlx_jinja_chars(x, a[0].s) - leeway <= length)
        return a[0];
    size_t to = rlx_jinja_offset(x, a[0].s, length - rlx_jinja_chars(x, end.s));
    rlx_jinja_walk(x, to);
    const char *blank = rlx_jinja_truth(a[2]) ? NULL : memrchr(a[0].s->data, ' ', to);
    rlx_jinja_value head = rlx_jinja_part(x, a[0], 0, blank ? (size_t)(blank - a[0].s->data) : to);
    return rlx_jinja_binary(x, RLX_JINJA_ADD, head, end);
}

rlx_jinja_value rlx_jinja_filter_wordcount(rlx_jinja_run *x, rlx_jinja_value *a,
                                           const rlx_jinja_args *args)
{
    (void)args;
    rlx_jinja_value s = rlx_jinja_str(x, a[0]);
    const char *p = s.s->data, *end = p + s.s->len;
    bool inside = false;
    int64_t words = 0;
    while (p < end && rlx_jinja_step(x, 1)) {
        bool word = rlx_jinja_is_word(rlx_jinja_next(&p));
        words += word && !inside;
        inside = word;
    }
    return rlx_jinja_int(words);
}

/* ---- HTML */

static void put_quoted_url(rlx_jinja_buffer *b, rlx_jinja_value v, bool query)
{
    static const char safe[] = "_.-~";
    char text[4];
    v = rlx_jinja_str(b->x, v);
    for (size_t i = 0; i < v.s->len && rlx_jinja_step(b->x, 1); i++) {
        char c = v.s->data[i];
        bool plain_char = (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') ||
                          (c && strchr(safe, c)) || (c == '/' && !query);
        if (plain_char && !(c & 0x80)) {
            rlx_jinja_put(b, &c, 1);
        } else if (c == ' ' && query) {
            rlx_jinja_puts(b, "+");
        } else {
            snprintf(text, sizeof text, "%%%02X", (unsigned)(unsigned char)c);
            rlx_jinja_puts(b, text);
        }
    }
}

rlx_jinja_value rlx_jinja_filter_urlencode(rlx_jinja_run *x, rlx_jinja_value *a,
                                           const rlx_jinja_args *args)
{
    rlx_jinja_buffer b = {.x = x};
    (void)args;
    if (a[0].kind == RLX_JINJA_STRING || !rlx_jinja_is_iterable(a[0])) {
        put_quoted_url(&b, a[0], false);
        return rlx_jinja_taken(&b);
    }
    rlx_jinja_view view = {a[0].kind == RLX_JINJA_DICT ? a[0].d : NULL, RLX_JINJA_ITEMS};
    const rlx_jinja_list *pairs = rlx_jinja_iterate(
        x, view.dict ? (rlx_jinja_value){.kind = RLX_JINJA_VIEW, .view = &view} : a[0]);
    for (int64_t i = 0; i < pairs->n && rlx_jinja_step(x, 1); i++) {
        const rlx_jinja_list *pair = rlx_jinja_iterate(x, pairs->items[i]);
        if (pair->n != 2)
            return rlx_jinja_type_error(x, "urlencode takes pairs");
        rlx_jinja_puts(&b, i ? "&" : "");
        put_quoted_url(&b, pair->items[0], true);
        rlx_jinja_puts(&b, "=");
        put_quoted_url(&b, pair->items[1], true);
    }
    return rlx_jinja_taken(&b);
}

static bool is_attribute_name(rlx_jinja_run *x, rlx_jinja_value key)
{
    for (size_t i = 0; i < key.s->len && rlx_jinja_step(x, 1); i++)
        if (!key.s->data[i] || strchr(" \t\n\r\f\v/>=", key.s->data[i]))
            return false;
    return true;
}

rlx_jinja_value rlx_jinja_filter_xmlattr(rlx_jinja_run *x, rlx_jinja_value *a,
                                         const rlx_jinja_args *args)
{
    rlx_jinja_buffer b = {.x = x};
    (void)args;
    if (a[0].kind != RLX_JINJA_DICT)
        return rlx_jinja_type_error(x, "xmlattr takes a dict, not %s", rlx_jinja_type_name(a[0]));
    bool space = !rlx_jinja_given(a[1]) || rlx_jinja_truth(a[1]), first = true;
    for (int64_t i = 0; i < a[0].d->n && rlx_jinja_step(x, 1); i++) {
        const rlx_jinja_entry *e = &a[0].d->entries[i];
        if (e->value.kind == RLX_JINJA_NONE || e->value.kind == RLX_JINJA_UNDEFINED)
            continue;
        if (e->key.kind != RLX_JINJA_STRING || !is_attribute_name(x, e->key))
            return rlx_jinja_type_error(x, "Invalid character in attribute name");
        rlx_jinja_puts(&b, first && !space ? "" : " ");
        first = false;
        rlx_jinja_put_str(&b, rlx_jinja_escape(x, e->key));
        rlx_jinja_puts(&b, "=\"");
        rlx_jinja_put_str(&b, rlx_jinja_escape(x, e->value));
        rlx_jinja_puts(&b, "\"");
    }
    return rlx_jinja_taken(&b);
}

/* A text with tags, and behind its last ">" and "-->", so that nothing is looked for in vain. */
typedef struct marked {
    const rlx_jinja_string *s;
    size_t last_tag, last_comment;
} marked;

static const rlx_jinja_string tag_end = {">", 1, 1}, comment_end = {"-->", 3, 3};

static size_t behind_last(rlx_jinja_run *x, const rlx_jinja_string *s, const rlx_jinja_string *what)
{
    const char *p = rlx_jinja_find_last_bytes(x, s, 0, s->len, what);
    return p ? (size_t)(p - s->data) + what->len : 0;
}

/* Behind the comment or tag at `at`, or 0. */
static size_t skip_markup(rlx_jinja_run *x, const marked *m, size_t at)
{
    const char *p = m->s->data + at;
    const rlx_jinja_string *close = NULL;
    if (*p == '<' && at + 7 <= m->last_comment && !memcmp(p, "<!--", 4))
        close = &comment_end;
    else if (*p == '<' && at < m->last_tag)
        close = &tag_end;
    if (!close)
        return 0;
    p = rlx_jinja_find_bytes(x, m->s, close == &comment_end ? at + 4 : at, m->s->len, close);
    return p ? (size_t)(p - m->s->data) + close->len : 0;
}

/* The entities that escape writes, by name or number. */
static const char *read_entity(const char *p, const char *end, uint32_t *c)
{
    static const struct {
        const char *text;
        uint32_t c;
    } known[] = {{"&amp;", '&'},  {"&lt;", '<'},  {"&gt;", '>'},   {"&quot;", '"'},
                 {"&#39;", '\''}, {"&#34;", '"'}, {"&nbsp;", 0xa0}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        size_t len = strlen(known[i].text);
        if ((size_t)(end - p) >= len && !memcmp(p, known[i].text, len)) {
            *c = known[i].c;
            return p + len;
        }
    }
    return NULL;
}

rlx_jinja_value rlx_jinja_filter_striptags(rlx_jinja_run *x, rlx_jinja_value *a,
                                           const rlx_jinja_args *args)
{
    rlx_jinja_buffer text = {.x = x}, b = {.x = x};
    uint32_t c;
    (void)args;
    rlx_jinja_value s = rlx_jinja_str(x, a[0]);
    const marked m = {s.s, behind_last(x, s.s, &tag_end), behind_last(x, s.s, &comment_end)};
    for (size_t at = 0; at < s.s->len && rlx_jinja_step(x, 1);) {
        size_t behind = skip_markup(x, &m, at);
        if (!behind)
            rlx_jinja_put(&text, s.s->data + at, 1);
        at = behind ? behind : at + 1;
    }
    rlx_jinja_value words =
        rlx_jinja_join(x, rlx_jinja_literal(x, " "),
                       rlx_jinja_split_blanks(x, rlx_jinja_taken(&text), -1, false), true);
    if (x->error)
        return rlx_jinja_none();
    for (const char *p = words.s->data, *end = p + words.s->len; p < end && rlx_jinja_step(x, 1);) {
        const char *behind = *p == '&' ? read_entity(p, end, &c) : NULL;
        if (behind)
            rlx_jinja_put_char(&b, c);
        else
            rlx_jinja_put(&b, p, 1);
        p = behind ? behind : p + 1;
    }
    return rlx_jinja_taken(&b);
}
