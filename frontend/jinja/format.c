/* frontend/jinja/format.c: "{} and {name:>10}".format(...). */
#include "frontend/jinja/impl.h"

typedef struct formatter {
    rlx_jinja_run *x;
    rlx_jinja_buffer b;
    const rlx_jinja_args *args;
    int next;    /* of the positional arguments */
    bool counts; /* "{}" was seen */
    bool names;  /* "{0}" was seen */
} formatter;

typedef struct layout {
    uint32_t fill;
    char align; /* < > = ^, or 0 */
    int64_t width;
    rlx_jinja_number_spec number;
} layout;

static void format_part(formatter *f, const char *p, const char *end, int depth);

static rlx_jinja_value bad(formatter *f, const char *what)
{
    return rlx_jinja_type_error(f->x, "%s", what);
}

/* ---- fields: "name.attr[item]" */

static rlx_jinja_value position(formatter *f, int64_t i)
{
    if (i < 0 || i >= f->args->npos)
        return bad(f, "Replacement index out of range for positional args tuple");
    return f->args->pos[i];
}

static rlx_jinja_value first_of_field(formatter *f, const char *p, const char *end)
{
    int64_t i;
    if (p == end) {
        f->counts = true;
        return f->names ? bad(f, "cannot switch from manual field specification to automatic field "
                                 "numbering")
                        : position(f, f->next++);
    }
    rlx_jinja_value name = rlx_jinja_text(f->x, p, (size_t)(end - p));
    if (*p >= '0' && *p <= '9' && rlx_jinja_parse_int(name, 10, &i)) {
        f->names = true;
        return f->counts ? bad(f, "cannot switch from automatic field numbering to manual field "
                                  "specification")
                         : position(f, i);
    }
    for (int k = 0; k < f->args->nnamed; k++)
        if (rlx_jinja_equal(
                f->x, (rlx_jinja_value){.kind = RLX_JINJA_STRING, .s = f->args->names[k]}, name))
            return f->args->named[k];
    return rlx_jinja_type_error(f->x, "no argument '%.*s'", (int)(end - p), p);
}

static rlx_jinja_value read_field(formatter *f, const char *p, const char *end)
{
    const char *at = p;
    while (at < end && *at != '.' && *at != '[')
        at++;
    rlx_jinja_value v = first_of_field(f, p, at);
    while (at < end && rlx_jinja_step(f->x, 1)) {
        bool item = *at++ == '[';
        const char *from = at;
        while (at < end && (item ? *at != ']' : *at != '.' && *at != '['))
            at++;
        if (at == from || (item && at == end))
            return bad(f, "Empty attribute in format string");
        rlx_jinja_value name = rlx_jinja_text(f->x, from, (size_t)(at - from));
        int64_t i;
        bool index = item && *from >= '0' && *from <= '9' && rlx_jinja_parse_int(name, 10, &i);
        v = !item ? rlx_jinja_attr(f->x, v, name)
                  : rlx_jinja_item(f->x, v, index ? rlx_jinja_int(i) : name);
        if (v.kind == RLX_JINJA_UNDEFINED)
            return rlx_jinja_fail_undefined(f->x, v);
        at += item;
    }
    return v;
}

/* ---- layouts: "[[fill]align][sign][#][0][width][,][.precision][type]" */

static int64_t read_digits(const char **p, const char *end)
{
    int64_t n = 0;
    for (; *p < end && **p >= '0' && **p <= '9'; ++*p)
        n = n > INT32_MAX / 16 ? n : 10 * n + (**p - '0');
    return n;
}

static bool is_align(const char *p, const char *end)
{
    return p < end && *p && strchr("<>=^", *p) != NULL;
}

static bool skip(const char **p, const char *end, char c)
{
    bool is = *p < end && **p == c;
    *p += is;
    return is;
}

static void read_align(const char **p, const char *end, layout *l)
{
    const char *behind = *p;
    if (behind < end)
        rlx_jinja_next(&behind);
    if (is_align(behind, end)) {
        l->fill = rlx_jinja_next(p);
        l->align = *(*p)++;
    } else if (is_align(*p, end)) {
        l->align = *(*p)++;
    }
}

static bool read_layout(formatter *f, rlx_jinja_value text, layout *l)
{
    const char *p = text.s->data, *end = p + text.s->len;
    *l = (layout){.fill = ' ', .number = {.precision = -1}};
    read_align(&p, end, l);
    if (p < end && *p && strchr("+- ", *p)) {
        l->number.sign = *p == '-' ? 0 : *p;
        p++;
    }
    l->number.alternate = skip(&p, end, '#');
    if (skip(&p, end, '0')) {
        l->fill = l->align ? l->fill : '0';
        l->align = l->align ? l->align : '=';
    }
    l->width = read_digits(&p, end);
    l->number.comma = skip(&p, end, ',') ? ',' : skip(&p, end, '_') ? '_' : 0;
    if (skip(&p, end, '.')) {
        int64_t precision = read_digits(&p, end);
        l->number.precision = precision > 4096 ? 4096 : (int)precision;
    }
    l->number.type = p < end ? *p++ : 0;
    if (p < end)
        bad(f, "Invalid format specifier");
    return !f->x->error;
}

/* `text`, filled to the width; of numbers "=" fills at byte `digits`. */
static void put_aligned(formatter *f, const layout *l, rlx_jinja_value text, char align,
                        size_t digits)
{
    int64_t pad = l->width - rlx_jinja_chars(f->x, text.s);
    pad = pad < 0 ? 0 : pad;
    int64_t left = align == '>' ? pad : align == '^' ? pad / 2 : 0;
    rlx_jinja_put_fill(&f->b, l->fill, left);
    rlx_jinja_put(&f->b, text.s->data, align == '=' ? digits : text.s->len);
    if (align == '=') {
        rlx_jinja_put_fill(&f->b, l->fill, pad);
        rlx_jinja_put(&f->b, text.s->data + digits, text.s->len - digits);
    } else {
        rlx_jinja_put_fill(&f->b, l->fill, pad - left);
    }
}

static void put_number(formatter *f, rlx_jinja_value v, layout *l)
{
    rlx_jinja_buffer b = {.x = f->x};
    size_t digits;
    char type = l->number.type;
    bool whole = rlx_jinja_is_int(v);
    if (!type && whole)
        l->number.type = 'd';
    if (type == 'n')
        l->number.type = whole ? 'd' : 'g';
    if (type && !strchr(whole ? "dxXobeEfFgGn%" : "eEfFgGn%", type)) {
        rlx_jinja_type_error(f->x, "Unknown format code '%c' for object of type '%s'", type,
                             rlx_jinja_type_name(v));
        return;
    }
    if (whole && strchr("dxXob", l->number.type) && l->number.precision >= 0) {
        bad(f, "Precision not allowed in integer format specifier");
        return;
    }
    if (rlx_jinja_put_number(&b, v, &l->number, &digits))
        put_aligned(f, l, rlx_jinja_taken(&b), l->align ? l->align : '>', digits);
}

static void put_text(formatter *f, rlx_jinja_value text, const layout *l, const char *type)
{
    if (l->number.type && l->number.type != 's') {
        rlx_jinja_type_error(f->x, "Unknown format code '%c' for object of type '%s'",
                             l->number.type, type);
        return;
    }
    if (l->align == '=') {
        bad(f, "'=' alignment not allowed in string format specifier");
        return;
    }
    if (l->number.precision >= 0 && l->number.precision < rlx_jinja_chars(f->x, text.s))
        text = rlx_jinja_part(f->x, text, 0, rlx_jinja_offset(f->x, text.s, l->number.precision));
    put_aligned(f, l, text, l->align ? l->align : '<', 0);
}

static void put_value(formatter *f, rlx_jinja_value v, rlx_jinja_value spec)
{
    layout l;
    if (!spec.s->len) {
        rlx_jinja_put_str(&f->b, v);
        return;
    }
    if (!read_layout(f, spec, &l))
        return;
    if (v.kind == RLX_JINJA_STRING)
        put_text(f, v, &l, "str");
    else if (rlx_jinja_is_number(v))
        put_number(f, v, &l);
    else
        rlx_jinja_type_error(f->x, "unsupported format string passed to %s.__format__",
                             rlx_jinja_type_name(v));
}

/* ---- the format string */

/* One field between braces: "field!r:spec", where the spec may have fields of its own. */
static void put_field(formatter *f, const char *p, const char *end, int depth)
{
    const char *at = p;
    for (int open = 0; at < end && (open || (*at != '!' && *at != ':')); at++)
        open += *at == '[' ? 1 : *at == ']' ? -1 : 0;
    rlx_jinja_value v = read_field(f, p, at);
    if (at < end && *at == '!') {
        char kind = at + 1 < end ? at[1] : 0;
        if (kind != 'r' && kind != 's')
            bad(f, "Unknown conversion specifier");
        v = kind == 'r' ? rlx_jinja_repr(f->x, v) : rlx_jinja_str(f->x, v);
        at += 2;
    }
    if (at < end && *at != ':')
        bad(f, "expected ':' after conversion specifier");
    if (f->x->error)
        return;
    rlx_jinja_buffer around = f->b;
    f->b = (rlx_jinja_buffer){.x = f->x};
    if (at < end)
        format_part(f, at + 1, end, depth + 1);
    rlx_jinja_value spec = rlx_jinja_taken(&f->b);
    f->b = around;
    put_value(f, v, spec);
}

/* The brace that closes the one before `p`, or NULL. */
static const char *closing(const char *p, const char *end)
{
    for (int open = 1; p < end; p++) {
        open += *p == '{' ? 1 : *p == '}' ? -1 : 0;
        if (!open)
            return p;
    }
    return NULL;
}

static void format_part(formatter *f, const char *p, const char *end, int depth)
{
    if (depth > 1)
        bad(f, "Max string recursion exceeded");
    while (p < end && rlx_jinja_step(f->x, 1)) {
        bool twice = p + 1 < end && p[0] == p[1];
        if (*p != '{' && *p != '}') {
            rlx_jinja_put(&f->b, p++, 1);
        } else if (twice) {
            rlx_jinja_put(&f->b, p, 1);
            p += 2;
        } else {
            const char *close = *p == '{' ? closing(p + 1, end) : NULL;
            if (!close) {
                bad(f, *p == '{' ? "Single '{' encountered in format string"
                                 : "Single '}' encountered in format string");
                return;
            }
            put_field(f, p + 1, close, depth);
            p = close + 1;
        }
    }
}

rlx_jinja_value rlx_jinja_format(rlx_jinja_run *x, rlx_jinja_value format,
                                 const rlx_jinja_args *args)
{
    formatter f = {.x = x, .b = {.x = x}, .args = args};
    format_part(&f, format.s->data, format.s->data + format.s->len, 0);
    return rlx_jinja_taken(&f.b);
}
