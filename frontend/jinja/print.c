/* frontend/jinja/print.c: values as Python's str() and repr() write them. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "frontend/jinja/impl.h"

void rlx_jinja_put_int(rlx_jinja_buffer *b, int64_t v)
{
    char text[32];
    snprintf(text, sizeof text, "%" PRId64, v);
    rlx_jinja_puts(b, text);
}

/* The shortest digits that read back as `v`: digits without a point, and the exponent of the first.
 */
static int shortest(double v, char digits[24])
{
    char text[40];
    for (int n = 0; n < 17; n++) {
        snprintf(text, sizeof text, "%.*e", n, v);
        if (strtod(text, NULL) == v)
            break;
    }
    int len = 0;
    const char *p = text;
    for (; *p && *p != 'e'; p++)
        if (*p >= '0' && *p <= '9') /* the point may be a locale's */
            digits[len++] = *p;
    digits[len] = 0;
    return atoi(p + 1);
}

void rlx_jinja_put_float(rlx_jinja_buffer *b, double v)
{
    char digits[24], text[64];
    if (isnan(v) || isinf(v)) {
        rlx_jinja_puts(b, isnan(v) ? "nan" : v > 0 ? "inf" : "-inf");
        return;
    }
    int exponent = shortest(fabs(v), digits), len = (int)strlen(digits);
    if (signbit(v))
        rlx_jinja_puts(b, "-");
    if (exponent < -4 || exponent >= 16) {
        snprintf(text, sizeof text, "%c%s%se%c%02d", digits[0], len > 1 ? "." : "", digits + 1,
                 exponent < 0 ? '-' : '+', abs(exponent));
        rlx_jinja_puts(b, text);
    } else if (exponent < 0) {
        rlx_jinja_puts(b, "0.");
        rlx_jinja_put_fill(b, '0', -exponent - 1);
        rlx_jinja_puts(b, digits);
    } else {
        int before = exponent + 1;
        rlx_jinja_put(b, digits, (size_t)(len < before ? len : before));
        rlx_jinja_put_fill(b, '0', before - len);
        rlx_jinja_puts(b, ".");
        rlx_jinja_puts(b, len > before ? digits + before : "0");
    }
}

static void put_quoted_char(rlx_jinja_buffer *b, uint32_t c, char quote)
{
    char text[16];
    if (c == (uint32_t)quote || c == '\\') {
        rlx_jinja_puts(b, "\\");
        rlx_jinja_put_char(b, c);
    } else if (c == '\n' || c == '\r' || c == '\t') {
        rlx_jinja_puts(b, c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t");
    } else if (rlx_jinja_is_printable(c)) {
        rlx_jinja_put_char(b, c);
    } else {
        snprintf(text, sizeof text, c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x", c);
        rlx_jinja_puts(b, text);
    }
}

static void put_quoted(rlx_jinja_buffer *b, const rlx_jinja_string *s)
{
    bool single = s->len && memchr(s->data, '\'', s->len);
    char quote = single && !memchr(s->data, '"', s->len) ? '"' : '\'';
    const char *p = s->data, *end = p + s->len;
    rlx_jinja_put_char(b, (uint8_t)quote);
    while (p < end && rlx_jinja_step(b->x, 1))
        put_quoted_char(b, rlx_jinja_next(&p), quote);
    rlx_jinja_put_char(b, (uint8_t)quote);
}

static void put_items(rlx_jinja_buffer *b, const rlx_jinja_list *l, const char *open,
                      const char *close)
{
    rlx_jinja_puts(b, open);
    for (int64_t i = 0; i < l->n && rlx_jinja_step(b->x, 1); i++) {
        if (i)
            rlx_jinja_puts(b, ", ");
        rlx_jinja_put_repr(b, l->items[i]);
    }
    rlx_jinja_puts(b, close);
}

static void put_dict(rlx_jinja_buffer *b, const rlx_jinja_dict *d)
{
    rlx_jinja_puts(b, "{");
    for (int64_t i = 0; i < d->n && rlx_jinja_step(b->x, 1); i++) {
        if (i)
            rlx_jinja_puts(b, ", ");
        rlx_jinja_put_repr(b, d->entries[i].key);
        rlx_jinja_puts(b, ": ");
        rlx_jinja_put_repr(b, d->entries[i].value);
    }
    rlx_jinja_puts(b, "}");
}

static void put_range(rlx_jinja_buffer *b, const rlx_jinja_range *r)
{
    rlx_jinja_puts(b, "range(");
    rlx_jinja_put_int(b, r->start);
    rlx_jinja_puts(b, ", ");
    rlx_jinja_put_int(b, r->stop);
    if (r->step != 1) {
        rlx_jinja_puts(b, ", ");
        rlx_jinja_put_int(b, r->step);
    }
    rlx_jinja_puts(b, ")");
}

/* Objects that show only what they are; where Python adds an address we do not. */
static void put_object(rlx_jinja_buffer *b, rlx_jinja_value v)
{
    rlx_jinja_puts(b, "<");
    rlx_jinja_puts(b, rlx_jinja_type_name(v));
    if (v.kind == RLX_JINJA_NAMESPACE) {
        rlx_jinja_puts(b, " ");
        put_dict(b, v.d);
    } else if (v.kind == RLX_JINJA_LOOP) {
        rlx_jinja_puts(b, " ");
        rlx_jinja_put_int(b, v.loop->index0 + 1);
        rlx_jinja_puts(b, "/");
        rlx_jinja_put_int(b, rlx_jinja_loop_length(b->x, v.loop));
    } else if (v.kind == RLX_JINJA_MACRO && !v.macro->name) {
        rlx_jinja_puts(b, " anonymous");
    } else if (v.kind == RLX_JINJA_MACRO) {
        rlx_jinja_puts(b, " ");
        put_quoted(b, v.macro->name);
    } else {
        rlx_jinja_puts(b, " object");
    }
    rlx_jinja_puts(b, ">");
}

static void put_view(rlx_jinja_buffer *b, rlx_jinja_value v)
{
    rlx_jinja_puts(b, rlx_jinja_type_name(v));
    put_items(b, rlx_jinja_iterate(b->x, v), "([", "])");
}

static void put_container(rlx_jinja_buffer *b, rlx_jinja_value v)
{
    switch (v.kind) {
    case RLX_JINJA_LIST:
        put_items(b, v.l, "[", "]");
        break;
    case RLX_JINJA_TUPLE:
        put_items(b, v.l, "(", v.l->n == 1 ? ",)" : ")");
        break;
    case RLX_JINJA_DICT:
        put_dict(b, v.d);
        break;
    case RLX_JINJA_VIEW:
        put_view(b, v);
        break;
    case RLX_JINJA_RANGE:
        put_range(b, v.range);
        break;
    default:
        put_object(b, v);
    }
}

void rlx_jinja_put_repr(rlx_jinja_buffer *b, rlx_jinja_value v)
{
    switch (v.kind) {
    case RLX_JINJA_MISSING:
    case RLX_JINJA_UNDEFINED:
        rlx_jinja_puts(b, "Undefined");
        break;
    case RLX_JINJA_STRING:
        if (v.markup)
            rlx_jinja_puts(b, "Markup(");
        put_quoted(b, v.s);
        if (v.markup)
            rlx_jinja_puts(b, ")");
        break;
    case RLX_JINJA_NONE:
        rlx_jinja_puts(b, "None");
        break;
    case RLX_JINJA_BOOL:
        rlx_jinja_puts(b, v.b ? "True" : "False");
        break;
    case RLX_JINJA_INT:
        rlx_jinja_put_int(b, v.i);
        break;
    case RLX_JINJA_FLOAT:
        rlx_jinja_put_float(b, v.f);
        break;
    default:
        if (!rlx_jinja_deeper(b->x))
            return;
        put_container(b, v);
        rlx_jinja_shallower(b->x);
    }
}

void rlx_jinja_put_str(rlx_jinja_buffer *b, rlx_jinja_value v)
{
    if (v.kind == RLX_JINJA_STRING)
        rlx_jinja_put(b, v.s->data, v.s->len);
    else if (v.kind != RLX_JINJA_UNDEFINED && v.kind != RLX_JINJA_MISSING)
        rlx_jinja_put_repr(b, v);
}

rlx_jinja_value rlx_jinja_str(rlx_jinja_run *x, rlx_jinja_value v)
{
    if (v.kind == RLX_JINJA_STRING)
        return v;
    rlx_jinja_buffer b = {.x = x};
    rlx_jinja_put_str(&b, v);
    return rlx_jinja_taken(&b);
}

rlx_jinja_value rlx_jinja_repr(rlx_jinja_run *x, rlx_jinja_value v)
{
    rlx_jinja_buffer b = {.x = x};
    rlx_jinja_put_repr(&b, v);
    return rlx_jinja_taken(&b);
}

/* For HTML, as Markup; what is marked already stays. */
rlx_jinja_value rlx_jinja_escape(rlx_jinja_run *x, rlx_jinja_value v)
{
    static const char from[] = "&<>'\"";
    static const char *const to[] = {"&amp;", "&lt;", "&gt;", "&#39;", "&#34;"};
    v = rlx_jinja_str(x, v);
    if (v.markup)
        return v;
    rlx_jinja_buffer b = {.x = x};
    for (size_t i = 0; i < v.s->len && rlx_jinja_step(x, 1); i++) {
        const char *at = v.s->data[i] ? strchr(from, v.s->data[i]) : NULL;
        if (at)
            rlx_jinja_puts(&b, to[at - from]);
        else
            rlx_jinja_put(&b, &v.s->data[i], 1);
    }
    v = rlx_jinja_taken(&b);
    v.markup = true;
    return v;
}
