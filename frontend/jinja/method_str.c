/* frontend/jinja/method_str.c: methods of strings: searching, splitting, changing. */
#include "frontend/jinja/method.h"

/* ---- searching */

typedef struct span {
    size_t from, to; /* bytes */
    bool valid;      /* false: empty because the start lies behind the end */
} span;

/* s[start:end]; false after an error. */
static bool get_span(rlx_jinja_run *x, rlx_jinja_value s, rlx_jinja_value start,
                     rlx_jinja_value end, span *out)
{
    int64_t n = rlx_jinja_chars(x, s.s), from, to;
    if (!rlx_jinja_need_int(x, start, 0, &from) || !rlx_jinja_need_int(x, end, n, &to))
        return false;
    from += from < 0 ? n : 0;
    to += to < 0 ? n : 0;
    from = from < 0 ? 0 : from;
    to = to < 0 ? 0 : to > n ? n : to;
    out->valid = from <= to;
    out->from = out->valid ? rlx_jinja_offset(x, s.s, from) : 0;
    out->to = out->valid ? rlx_jinja_offset(x, s.s, to) : 0;
    return true;
}

static int64_t chars_before(rlx_jinja_run *x, rlx_jinja_value s, const char *p)
{
    return rlx_jinja_chars(x, rlx_jinja_part(x, s, 0, (size_t)(p - s.s->data)).s);
}

/* Where a[1] is in a[0], in characters; -1: nowhere. */
static int64_t find(rlx_jinja_run *x, rlx_jinja_value *a, bool last)
{
    span in;
    if (!rlx_jinja_need_string(x, a[1], "sub") || !get_span(x, a[0], a[2], a[3], &in) || !in.valid)
        return -1;
    const char *found = (last ? rlx_jinja_find_last_bytes
                              : rlx_jinja_find_bytes)(x, a[0].s, in.from, in.to, a[1].s);
    return found ? chars_before(x, a[0], found) : -1;
}

static rlx_jinja_value must_find(rlx_jinja_run *x, rlx_jinja_value *a, bool last)
{
    int64_t at = find(x, a, last);
    return at < 0 ? rlx_jinja_type_error(x, "substring not found") : rlx_jinja_int(at);
}

rlx_jinja_value rlx_jinja_str_find(rlx_jinja_run *x, rlx_jinja_value *a, const rlx_jinja_args *args)
{
    (void)args;
    return rlx_jinja_int(find(x, a, false));
}

rlx_jinja_value rlx_jinja_str_rfind(rlx_jinja_run *x, rlx_jinja_value *a,
                                    const rlx_jinja_args *args)
{
    (void)args;
    return rlx_jinja_int(find(x, a, true));
}

rlx_jinja_value rlx_jinja_str_index(rlx_jinja_run *x, rlx_jinja_value *a,
                                    const rlx_jinja_args *args)
{
    (void)args;
    return must_find(x, a, false);
}

rlx_jinja_value rlx_jinja_str_rindex(rlx_jinja_run *x, rlx_jinja_value *a,
                                     const rlx_jinja_args *args)
{
    (void)args;
    return must_find(x, a, true);
}

rlx_jinja_value rlx_jinja_str_count(rlx_jinja_run *x, rlx_jinja_value *a,
                                    const rlx_jinja_args *args)
{
    span in;
    int64_t n = 0;
    (void)args;
    if (!rlx_jinja_need_string(x, a[1], "sub") || !get_span(x, a[0], a[2], a[3], &in) || !in.valid)
        return rlx_jinja_int(0);
    if (!a[1].s->len)
        return rlx_jinja_int(rlx_jinja_chars(x, rlx_jinja_part(x, a[0], in.from, in.to).s) + 1);
    for (const char *p;
         rlx_jinja_step(x, 1) && (p = rlx_jinja_find_bytes(x, a[0].s, in.from, in.to, a[1].s)); n++)
        in.from = (size_t)(p - a[0].s->data) + a[1].s->len;
    return rlx_jinja_int(n);
}

static bool matches_end(rlx_jinja_run *x, rlx_jinja_value s, span in, const rlx_jinja_string *part,
                        bool at_end)
{
    if (!in.valid || part->len > in.to - in.from)
        return false;
    size_t at = at_end ? in.to - part->len : in.from;
    return !part->len ||
           (rlx_jinja_walk(x, part->len) && !memcmp(s.s->data + at, part->data, part->len));
}

static rlx_jinja_value has_end(rlx_jinja_run *x, rlx_jinja_value *a, bool at_end)
{
    span in;
    if (!get_span(x, a[0], a[2], a[3], &in))
        return rlx_jinja_none();
    if (a[1].kind != RLX_JINJA_TUPLE)
        return rlx_jinja_need_string(x, a[1],
                                     at_end ? "endswith first arg" : "startswith first arg")
                   ? rlx_jinja_bool(matches_end(x, a[0], in, a[1].s, at_end))
                   : rlx_jinja_none();
    bool any = false;
    for (int64_t i = 0; i < a[1].l->n && !any && rlx_jinja_step(x, 1); i++)
        any = rlx_jinja_need_string(x, a[1].l->items[i], "tuple item") &&
              matches_end(x, a[0], in, a[1].l->items[i].s, at_end);
    return rlx_jinja_bool(any);
}

rlx_jinja_value rlx_jinja_str_startswith(rlx_jinja_run *x, rlx_jinja_value *a,
                                         const rlx_jinja_args *args)
{
    (void)args;
    return has_end(x, a, false);
}

rlx_jinja_value rlx_jinja_str_endswith(rlx_jinja_run *x, rlx_jinja_value *a,
                                       const rlx_jinja_args *args)
{
    (void)args;
    return has_end(x, a, true);
}

/* ---- splitting, joining */

static rlx_jinja_list *split_at(rlx_jinja_run *x, rlx_jinja_value s,
                                const rlx_jinja_string *separator, int64_t most)
{
    rlx_jinja_list *out = rlx_jinja_list_new(x);
    size_t from = 0;
    for (; most != 0 && rlx_jinja_step(x, 1); most--) {
        const char *p = rlx_jinja_find_bytes(x, s.s, from, s.s->len, separator);
        if (!p)
            break;
        rlx_jinja_push(x, out, rlx_jinja_part(x, s, from, (size_t)(p - s.s->data)));
        from = (size_t)(p - s.s->data) + separator->len;
    }
    rlx_jinja_push(x, out, rlx_jinja_part(x, s, from, s.s->len));
    return out;
}

static rlx_jinja_list *rsplit_at(rlx_jinja_run *x, rlx_jinja_value s,
                                 const rlx_jinja_string *separator, int64_t most)
{
    rlx_jinja_list *out = rlx_jinja_list_new(x);
    size_t to = s.s->len;
    for (; most != 0 && rlx_jinja_step(x, 1); most--) {
        const char *p = rlx_jinja_find_last_bytes(x, s.s, 0, to, separator);
        if (!p)
            break;
        rlx_jinja_push(x, out, rlx_jinja_part(x, s, (size_t)(p - s.s->data) + separator->len, to));
        to = (size_t)(p - s.s->data);
    }
    rlx_jinja_push(x, out, rlx_jinja_part(x, s, 0, to));
    for (int64_t i = 0, k = out->n - 1; i < k; i++, k--) {
        rlx_jinja_value v = out->items[i];
        out->items[i] = out->items[k];
        out->items[k] = v;
    }
    return out;
}

static rlx_jinja_value split(rlx_jinja_run *x, rlx_jinja_value *a, bool from_right)
{
    int64_t most;
    if (!rlx_jinja_need_int(x, a[2], -1, &most))
        return rlx_jinja_none();
    if (a[1].kind == RLX_JINJA_MISSING || a[1].kind == RLX_JINJA_NONE)
        return rlx_jinja_list_value(rlx_jinja_split_blanks(x, a[0], most, from_right),
                                    RLX_JINJA_LIST);
    if (!rlx_jinja_need_string(x, a[1], "sep"))
        return rlx_jinja_none();
    if (!a[1].s->len)
        return rlx_jinja_type_error(x, "empty separator");
    return rlx_jinja_list_value(from_right ? rsplit_at(x, a[0], a[1].s, most)
                                           : split_at(x, a[0], a[1].s, most),
                                RLX_JINJA_LIST);
}

rlx_jinja_value rlx_jinja_str_split(rlx_jinja_run *x, rlx_jinja_value *a,
                                    const rlx_jinja_args *args)
{
    (void)args;
    return split(x, a, false);
}

rlx_jinja_value rlx_jinja_str_rsplit(rlx_jinja_run *x, rlx_jinja_value *a,
                                     const rlx_jinja_args *args)
{
    (void)args;
    return split(x, a, true);
}

rlx_jinja_value rlx_jinja_str_splitlines(rlx_jinja_run *x, rlx_jinja_value *a,
                                         const rlx_jinja_args *args)
{
    (void)args;
    return rlx_jinja_list_value(rlx_jinja_split_lines(x, a[0], rlx_jinja_truth(a[1])),
                                RLX_JINJA_LIST);
}

static rlx_jinja_value partition(rlx_jinja_run *x, rlx_jinja_value *a, bool last)
{
    if (!rlx_jinja_need_string(x, a[1], "sep"))
        return rlx_jinja_none();
    if (!a[1].s->len)
        return rlx_jinja_type_error(x, "empty separator");
    rlx_jinja_list *found = last ? rsplit_at(x, a[0], a[1].s, 1) : split_at(x, a[0], a[1].s, 1);
    rlx_jinja_list *out = rlx_jinja_list_new(x);
    rlx_jinja_value empty = rlx_jinja_literal(x, "");
    if (found->n == 2) {
        rlx_jinja_push(x, out, found->items[0]);
        rlx_jinja_push(x, out, a[1]);
        rlx_jinja_push(x, out, found->items[1]);
    } else {
        rlx_jinja_push(x, out, last ? empty : a[0]);
        rlx_jinja_push(x, out, empty);
        rlx_jinja_push(x, out, last ? a[0] : empty);
    }
    return rlx_jinja_list_value(out, RLX_JINJA_TUPLE);
}

rlx_jinja_value rlx_jinja_str_partition(rlx_jinja_run *x, rlx_jinja_value *a,
                                        const rlx_jinja_args *args)
{
    (void)args;
    return partition(x, a, false);
}

rlx_jinja_value rlx_jinja_str_rpartition(rlx_jinja_run *x, rlx_jinja_value *a,
                                         const rlx_jinja_args *args)
{
    (void)args;
    return partition(x, a, true);
}

rlx_jinja_value rlx_jinja_str_join(rlx_jinja_run *x, rlx_jinja_value *a, const rlx_jinja_args *args)
{
    (void)args;
    return rlx_jinja_join(x, a[0], rlx_jinja_iterate(x, a[1]), false);
}

/* ---- cutting, filling */

rlx_jinja_value rlx_jinja_str_strip(rlx_jinja_run *x, rlx_jinja_value *a,
                                    const rlx_jinja_args *args)
{
    (void)args;
    return rlx_jinja_strip(x, a[0], a[1], RLX_JINJA_BOTH);
}

rlx_jinja_value rlx_jinja_str_lstrip(rlx_jinja_run *x, rlx_jinja_value *a,
                                     const rlx_jinja_args *args)
{
    (void)args;
    return rlx_jinja_strip(x, a[0], a[1], RLX_JINJA_LEFT);
}

rlx_jinja_value rlx_jinja_str_rstrip(rlx_jinja_run *x, rlx_jinja_value *a,
                                     const rlx_jinja_args *args)
{
    (void)args;
    return rlx_jinja_strip(x, a[0], a[1], RLX_JINJA_RIGHT);
}

rlx_jinja_value rlx_jinja_str_removeprefix(rlx_jinja_run *x, rlx_jinja_value *a,
                                           const rlx_jinja_args *args)
{
    const span all = {0, a[0].s->len, true};
    (void)args;
    if (!rlx_jinja_need_string(x, a[1], "prefix"))
        return rlx_jinja_none();
    return matches_end(x, a[0], all, a[1].s, false) ? rlx_jinja_part(x, a[0], a[1].s->len, all.to)
                                                    : a[0];
}

rlx_jinja_value rlx_jinja_str_removesuffix(rlx_jinja_run *x, rlx_jinja_value *a,
                                           const rlx_jinja_args *args)
{
    const span all = {0, a[0].s->len, true};
    (void)args;
    if (!rlx_jinja_need_string(x, a[1], "suffix"))
        return rlx_jinja_none();
    return matches_end(x, a[0], all, a[1].s, true)
               ? rlx_jinja_part(x, a[0], 0, all.to - a[1].s->len)
               : a[0];
}

rlx_jinja_value rlx_jinja_str_replace(rlx_jinja_run *x, rlx_jinja_value *a,
                                      const rlx_jinja_args *args)
{
    int64_t count;
    (void)args;
    if (!rlx_jinja_need_string(x, a[1], "replace() argument 1") ||
        !rlx_jinja_need_string(x, a[2], "replace() argument 2") ||
        !rlx_jinja_need_int(x, a[3], -1, &count))
        return rlx_jinja_none();
    return rlx_jinja_replace(x, a[0], a[1], a[2], count);
}

static rlx_jinja_value pad(rlx_jinja_run *x, rlx_jinja_value *a, rlx_jinja_side text_at)
{
    int64_t width;
    uint32_t fill = ' ';
    if (!rlx_jinja_as_int(x, a[1], &width))
        return rlx_jinja_none();
    if (rlx_jinja_given(a[2])) {
        if (a[2].kind != RLX_JINJA_STRING || rlx_jinja_chars(x, a[2].s) != 1)
            return rlx_jinja_type_error(x, "The fill character must be exactly one character long");
        const char *p = a[2].s->data;
        fill = rlx_jinja_next(&p);
    }
    return rlx_jinja_padded(x, a[0], width, fill, text_at);
}

rlx_jinja_value rlx_jinja_str_center(rlx_jinja_run *x, rlx_jinja_value *a,
                                     const rlx_jinja_args *args)
{
    (void)args;
    return pad(x, a, RLX_JINJA_BOTH);
}

rlx_jinja_value rlx_jinja_str_ljust(rlx_jinja_run *x, rlx_jinja_value *a,
                                    const rlx_jinja_args *args)
{
    (void)args;
    return pad(x, a, RLX_JINJA_LEFT);
}

rlx_jinja_value rlx_jinja_str_rjust(rlx_jinja_run *x, rlx_jinja_value *a,
                                    const rlx_jinja_args *args)
{
    (void)args;
    return pad(x, a, RLX_JINJA_RIGHT);
}

rlx_jinja_value rlx_jinja_str_zfill(rlx_jinja_run *x, rlx_jinja_value *a,
                                    const rlx_jinja_args *args)
{
    int64_t width;
    (void)args;
    if (!rlx_jinja_as_int(x, a[1], &width))
        return rlx_jinja_none();
    bool sign = a[0].s->len && (a[0].s->data[0] == '+' || a[0].s->data[0] == '-');
    rlx_jinja_buffer b = {.x = x};
    rlx_jinja_put(&b, a[0].s->data, sign);
    rlx_jinja_put_fill(&b, '0', width - rlx_jinja_chars(x, a[0].s));
    rlx_jinja_put(&b, a[0].s->data + sign, a[0].s->len - sign);
    return rlx_jinja_taken(&b);
}

rlx_jinja_value rlx_jinja_str_expandtabs(rlx_jinja_run *x, rlx_jinja_value *a,
                                         const rlx_jinja_args *args)
{
    int64_t size, column = 0;
    rlx_jinja_buffer b = {.x = x};
    (void)args;
    if (!rlx_jinja_need_int(x, a[1], 8, &size))
        return rlx_jinja_none();
    const char *p = a[0].s->data, *end = p + a[0].s->len;
    while (p < end && rlx_jinja_step(x, 1)) {
        uint32_t c = rlx_jinja_next(&p);
        int64_t width = c == '\t' ? (size > 0 ? size - column % size : 0) : 1;
        if (c == '\t')
            rlx_jinja_put_fill(&b, ' ', width);
        else
            rlx_jinja_put_char(&b, c);
        column = c == '\n' || c == '\r' ? 0 : column + width;
    }
    return rlx_jinja_taken(&b);
}

/* ---- case */

rlx_jinja_value rlx_jinja_str_upper(rlx_jinja_run *x, rlx_jinja_value *a,
                                    const rlx_jinja_args *args)
{
    (void)args;
    return rlx_jinja_cased(x, a[0], RLX_JINJA_UPPER);
}

rlx_jinja_value rlx_jinja_str_lower(rlx_jinja_run *x, rlx_jinja_value *a,
                                    const rlx_jinja_args *args)
{
    (void)args;
    return rlx_jinja_cased(x, a[0], RLX_JINJA_LOWER);
}

rlx_jinja_value rlx_jinja_str_casefold(rlx_jinja_run *x, rlx_jinja_value *a,
                                       const rlx_jinja_args *args)
{
    (void)args;
    return rlx_jinja_cased(x, a[0], RLX_JINJA_FOLD);
}

rlx_jinja_value rlx_jinja_str_swapcase(rlx_jinja_run *x, rlx_jinja_value *a,
                                       const rlx_jinja_args *args)
{
    (void)args;
    return rlx_jinja_cased(x, a[0], RLX_JINJA_SWAP);
}

rlx_jinja_value rlx_jinja_str_capitalize(rlx_jinja_run *x, rlx_jinja_value *a,
                                         const rlx_jinja_args *args)
{
    (void)args;
    return rlx_jinja_capitalized(x, a[0]);
}

rlx_jinja_value rlx_jinja_str_title(rlx_jinja_run *x, rlx_jinja_value *a,
                                    const rlx_jinja_args *args)
{
    rlx_jinja_buffer b = {.x = x};
    bool inside = false;
    (void)args;
    const char *p = a[0].s->data, *end = p + a[0].s->len;
    while (p < end && rlx_jinja_step(x, 1)) {
        uint32_t c = rlx_jinja_next(&p);
        rlx_jinja_put_case(&b, c, inside ? RLX_JINJA_LOWER : RLX_JINJA_TITLE);
        inside = rlx_jinja_is_upper(c) || rlx_jinja_is_lower(c) || rlx_jinja_is_title(c);
    }
    return rlx_jinja_taken(&b);
}

rlx_jinja_value rlx_jinja_str_format(rlx_jinja_run *x, rlx_jinja_value *a,
                                     const rlx_jinja_args *args)
{
    return rlx_jinja_format(x, a[0], args);
}
