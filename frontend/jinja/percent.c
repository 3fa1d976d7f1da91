/* frontend/jinja/percent.c: "%s and %d" % values, and numbers as format strings ask for them. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "frontend/jinja/impl.h"

/* ---- numbers */

/* Digits with `mark` between groups, which end where `digits` do. */
static void put_grouped(rlx_jinja_buffer *b, const char *digits, char mark, int group)
{
    int whole = (int)strspn(digits, "0123456789abcdefABCDEF");
    for (int i = 0; i < whole; i++) {
        if (mark && i && (whole - i) % group == 0)
            rlx_jinja_put(b, &mark, 1);
        rlx_jinja_put(b, &digits[i], 1);
    }
    rlx_jinja_puts(b, digits + whole);
}

static void put_sign(rlx_jinja_buffer *b, bool minus, const rlx_jinja_number_spec *spec)
{
    char sign = minus ? '-' : spec->sign;
    if (sign)
        rlx_jinja_put(b, &sign, 1);
}

static void put_int(rlx_jinja_buffer *b, int64_t v, const rlx_jinja_number_spec *spec,
                    size_t *digits)
{
    uint64_t size = v < 0 ? -(uint64_t)v : (uint64_t)v;
    char text[72];
    put_sign(b, v < 0, spec);
    if (spec->alternate && spec->type != 'd') {
        char prefix[] = {'0', spec->type};
        rlx_jinja_put(b, prefix, 2);
    }
    *digits = b->len;
    if (spec->type == 'b') {
        int n = 0;
        for (int bit = 63; bit >= 0; bit--)
            if (n || (size >> bit & 1) || bit == 0)
                text[n++] = (char)('0' + (size >> bit & 1));
        text[n] = 0;
    } else {
        snprintf(text, sizeof text,
                 spec->type == 'x'   ? "%" PRIx64
                 : spec->type == 'X' ? "%" PRIX64
                 : spec->type == 'o' ? "%" PRIo64
                                     : "%" PRIu64,
                 size);
    }
    rlx_jinja_put_fill(b, '0', spec->precision - (int)strlen(text));
    put_grouped(b, text, spec->comma, spec->type == 'd' ? 3 : 4);
}

/* As str() has it, to so many significant digits. */
static void put_general(char *out, size_t cap, double v, int precision)
{
    snprintf(out, cap, "%.*g", precision, v);
    if (isfinite(v) && !strpbrk(out, ".e"))
        snprintf(out + strlen(out), cap - strlen(out), ".0");
}

static bool put_float(rlx_jinja_buffer *b, double v, const rlx_jinja_number_spec *spec,
                      size_t *digits)
{
    enum { MOST = 1024 };
    char text[MOST + 400], format[8];
    int precision = spec->precision < 0 ? 6 : spec->precision;
    char type = spec->type == '%' ? 'f' : spec->type;
    if (precision > MOST)
        return !rlx_jinja_type_error(b->x, "precision too big").b && false;
    double size = fabs(spec->type == '%' ? v * 100 : v);
    put_sign(b, signbit(v) && !isnan(v), spec);
    *digits = b->len;
    if (isnan(v) || isinf(v)) {
        bool upper = type == 'E' || type == 'F' || type == 'G';
        rlx_jinja_puts(b, isnan(v) ? (upper ? "NAN" : "nan") : upper ? "INF" : "inf");
    } else if (!type && spec->precision < 0) {
        rlx_jinja_put_float(b, size);
    } else if (!type) {
        put_general(text, sizeof text, size, precision ? precision : 1);
        put_grouped(b, text, spec->comma, 3);
    } else {
        snprintf(format, sizeof format, spec->alternate ? "%%#.*%c" : "%%.*%c", type);
        snprintf(text, sizeof text, format, precision, size);
        put_grouped(b, text, spec->comma, 3);
    }
    if (spec->type == '%')
        rlx_jinja_puts(b, "%");
    return true;
}

bool rlx_jinja_put_number(rlx_jinja_buffer *b, rlx_jinja_value v, const rlx_jinja_number_spec *spec,
                          size_t *digits)
{
    int64_t i;
    *digits = b->len;
    if (spec->type && strchr("dxXob", spec->type)) {
        if (rlx_jinja_as_int(b->x, v, &i))
            put_int(b, i, spec, digits);
        return !b->x->error;
    }
    if (!rlx_jinja_is_number(v)) {
        rlx_jinja_type_error(b->x, "must be real number, not %s", rlx_jinja_type_name(v));
        return false;
    }
    return put_float(b, rlx_jinja_number(v), spec, digits);
}

/* ---- the format string */

typedef struct percent {
    rlx_jinja_run *x;
    rlx_jinja_buffer b;
    const char *p, *end;
    rlx_jinja_value args;
    int64_t next; /* of a tuple */
    bool markup;
} percent;

typedef struct conversion {
    bool left, zero;
    rlx_jinja_number_spec number;
    int64_t width;
} conversion;

static rlx_jinja_value next_argument(percent *f)
{
    if (f->args.kind != RLX_JINJA_TUPLE)
        return f->next++ == 0
                   ? f->args
                   : rlx_jinja_type_error(f->x, "not enough arguments for format string");
    if (f->next >= f->args.l->n)
        return rlx_jinja_type_error(f->x, "not enough arguments for format string");
    return f->args.l->items[f->next++];
}

/* "(name)": that item of the dict. */
static rlx_jinja_value named_argument(percent *f)
{
    const char *from = ++f->p;
    for (int open = 1; f->p < f->end; f->p++) {
        open += *f->p == '(' ? 1 : *f->p == ')' ? -1 : 0;
        if (!open)
            break;
    }
    if (f->p == f->end)
        return rlx_jinja_type_error(f->x, "incomplete format key");
    rlx_jinja_value name = rlx_jinja_text(f->x, from, (size_t)(f->p - from));
    f->p++;
    if (f->args.kind != RLX_JINJA_DICT)
        return rlx_jinja_type_error(f->x, "format requires a mapping");
    const rlx_jinja_value *found = rlx_jinja_dict_get(f->x, f->args.d, name);
    f->next = 1;
    return found ? *found
                 : rlx_jinja_type_error(f->x, "no key '%.*s'", (int)name.s->len, name.s->data);
}

static int64_t read_count(percent *f)
{
    int64_t n = 0;
    if (f->p < f->end && *f->p == '*') {
        f->p++;
        rlx_jinja_as_int(f->x, next_argument(f), &n);
        return n;
    }
    for (; f->p < f->end && *f->p >= '0' && *f->p <= '9'; f->p++)
        n = n > INT32_MAX / 16 ? n : 10 * n + (*f->p - '0');
    return n;
}

static void read_flags(percent *f, conversion *c)
{
    for (; f->p < f->end && *f->p && strchr("-+ #0", *f->p); f->p++) {
        c->left |= *f->p == '-';
        c->zero |= *f->p == '0';
        c->number.alternate |= *f->p == '#';
        if (*f->p == '+' || (*f->p == ' ' && !c->number.sign))
            c->number.sign = *f->p;
    }
}

static void read_conversion(percent *f, conversion *c)
{
    *c = (conversion){.number = {.precision = -1}};
    read_flags(f, c);
    c->width = read_count(f);
    if (c->width < 0) {
        c->left = true;
        c->width = -c->width;
    }
    if (f->p < f->end && *f->p == '.') {
        f->p++;
        int64_t precision = read_count(f);
        c->number.precision = precision < 0 ? 0 : precision > 4096 ? 4096 : (int)precision;
    }
    while (f->p < f->end && *f->p && strchr("hlL", *f->p))
        f->p++;
}

/* `text`, filled to the width; zeros go in at byte `digits`. */
static void put_filled(percent *f, const conversion *c, rlx_jinja_value text, size_t digits)
{
    int64_t pad = c->width - rlx_jinja_chars(f->x, text.s);
    bool zeros = c->zero && !c->left && digits <= text.s->len;
    if (!c->left && !zeros)
        rlx_jinja_put_fill(&f->b, ' ', pad);
    rlx_jinja_put(&f->b, text.s->data, zeros ? digits : text.s->len);
    if (zeros) {
        rlx_jinja_put_fill(&f->b, '0', pad);
        rlx_jinja_put(&f->b, text.s->data + digits, text.s->len - digits);
    }
    if (c->left)
        rlx_jinja_put_fill(&f->b, ' ', pad);
}

static rlx_jinja_value text_of(percent *f, char kind, rlx_jinja_value v)
{
    rlx_jinja_value text = kind == 's' ? rlx_jinja_str(f->x, v) : rlx_jinja_repr(f->x, v);
    return f->markup ? rlx_jinja_escape(f->x, text) : text;
}

static rlx_jinja_value character(percent *f, rlx_jinja_value v)
{
    int64_t code;
    rlx_jinja_buffer b = {.x = f->x};
    if (v.kind == RLX_JINJA_STRING && rlx_jinja_chars(f->x, v.s) == 1)
        return v;
    if (!rlx_jinja_is_int(v) || !rlx_jinja_as_int(f->x, v, &code) || code < 0 || code > 0x10ffff ||
        (code >= 0xd800 && code < 0xe000))
        return rlx_jinja_type_error(f->x, "%%c requires int or char");
    rlx_jinja_put_char(&b, (uint32_t)code);
    return rlx_jinja_taken(&b);
}

static void put_conversion(percent *f, const conversion *c, char kind, rlx_jinja_value v)
{
    conversion own = *c;
    size_t digits = SIZE_MAX;
    if (kind == 's' || kind == 'r' || kind == 'a' || kind == 'c') {
        rlx_jinja_value text = kind == 'c' ? character(f, v) : text_of(f, kind, v);
        if (f->x->error)
            return;
        if (kind != 'c' && c->number.precision >= 0 &&
            c->number.precision < rlx_jinja_chars(f->x, text.s))
            text =
                rlx_jinja_part(f->x, text, 0, rlx_jinja_offset(f->x, text.s, c->number.precision));
        own.zero = false;
        put_filled(f, &own, text, digits);
        return;
    }
    rlx_jinja_buffer b = {.x = f->x};
    own.number.type = kind == 'i' || kind == 'u' ? 'd' : kind;
    if (own.number.type == 'd' && v.kind == RLX_JINJA_FLOAT) {
        int64_t i;
        if (!rlx_jinja_double_to_int(v.f, &i)) {
            rlx_jinja_type_error(f->x, "cannot convert a float to an integer");
            return;
        }
        v = rlx_jinja_int(i);
    }
    if (own.number.type == 'd' && !rlx_jinja_is_int(v) && v.kind != RLX_JINJA_UNDEFINED)
        rlx_jinja_type_error(f->x, "%%%c format: a real number is required, not %s", kind,
                             rlx_jinja_type_name(v));
    else if (rlx_jinja_put_number(&b, v, &own.number, &digits))
        put_filled(f, &own, rlx_jinja_taken(&b), digits);
}

static void put_one(percent *f)
{
    conversion c;
    rlx_jinja_value v = {.kind = RLX_JINJA_MISSING};
    if (f->p < f->end && *f->p == '(')
        v = named_argument(f);
    read_conversion(f, &c);
    if (f->p >= f->end) {
        rlx_jinja_type_error(f->x, "incomplete format");
        return;
    }
    char kind = *f->p++;
    if (kind == '%') {
        rlx_jinja_puts(&f->b, "%");
    } else if (!kind || !strchr("diuoxXeEfFgGcrsa", kind)) {
        rlx_jinja_type_error(f->x, "unsupported format character '%c'", kind);
    } else {
        v = rlx_jinja_given(v) ? v : next_argument(f);
        if (!f->x->error)
            put_conversion(f, &c, kind, v);
    }
}

rlx_jinja_value rlx_jinja_percent(rlx_jinja_run *x, rlx_jinja_value format, rlx_jinja_value args)
{
    percent f = {.x = x,
                 .b = {.x = x},
                 .p = format.s->data,
                 .end = format.s->data + format.s->len,
                 .args = args,
                 .markup = format.markup};
    while (f.p < f.end && rlx_jinja_step(x, 1)) {
        const char *at = memchr(f.p, '%', (size_t)(f.end - f.p));
        at = at ? at : f.end;
        rlx_jinja_put(&f.b, f.p, (size_t)(at - f.p));
        f.p = at < f.end ? at + 1 : at;
        if (at < f.end)
            put_one(&f);
    }
    bool used = args.kind == RLX_JINJA_TUPLE
                    ? f.next >= args.l->n
                    : f.next > 0 || args.kind == RLX_JINJA_DICT || args.kind == RLX_JINJA_LIST;
    if (!used)
        return rlx_jinja_type_error(x, "not all arguments converted during string formatting");
    rlx_jinja_value v = rlx_jinja_taken(&f.b);
    v.markup = format.markup;
    return v;
}

rlx_jinja_value rlx_jinja_percent_args(rlx_jinja_run *x, rlx_jinja_value format,
                                       const rlx_jinja_args *args)
{
    rlx_jinja_list *pos = rlx_jinja_list_new(x);
    for (int i = 0; i < args->npos; i++)
        rlx_jinja_push(x, pos, args->pos[i]);
    rlx_jinja_dict *named = rlx_jinja_dict_new(x);
    for (int i = 0; i < args->nnamed; i++)
        rlx_jinja_dict_set(x, named,
                           (rlx_jinja_value){.kind = RLX_JINJA_STRING, .s = args->names[i]},
                           args->named[i]);
    return rlx_jinja_percent(x, format,
                             named->n ? rlx_jinja_dict_value(named)
                                      : rlx_jinja_list_value(pos, RLX_JINJA_TUPLE));
}
