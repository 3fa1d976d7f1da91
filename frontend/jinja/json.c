/* frontend/jinja/json.c: JSON to values, and back as Python's json.dumps writes it. A reader of our
 * own: cJSON keeps numbers as doubles, and a template must print 1 and 1.0 as they were. */
#include <math.h>
#include <stdio.h>

#include "frontend/jinja/impl.h"

/* ---- writing */

static void put_json_char(rlx_jinja_buffer *b, uint32_t c, bool ascii)
{
    static const char from[] = "\"\\\n\r\t\b\f", to[] = "\"\\nrtbf";
    const char *at = c && c < 0x80 ? strchr(from, (int)c) : NULL;
    char text[16];
    if (at) {
        rlx_jinja_puts(b, "\\");
        rlx_jinja_put(b, &to[at - from], 1);
    } else if (c >= 0x10000 && ascii) {
        snprintf(text, sizeof text, "\\u%04x\\u%04x", 0xd7c0 + (c >> 10), 0xdc00 + (c & 0x3ff));
        rlx_jinja_puts(b, text);
    } else if (c < ' ' || (ascii && c >= 0x7f)) {
        snprintf(text, sizeof text, "\\u%04x", c);
        rlx_jinja_puts(b, text);
    } else {
        rlx_jinja_put_char(b, c);
    }
}

static void put_json_string(rlx_jinja_buffer *b, const rlx_jinja_string *s, bool ascii)
{
    const char *p = s->data, *end = p + s->len;
    rlx_jinja_puts(b, "\"");
    while (p < end && rlx_jinja_step(b->x, 1))
        put_json_char(b, rlx_jinja_next(&p), ascii);
    rlx_jinja_puts(b, "\"");
}

static void put_json_float(rlx_jinja_buffer *b, double v)
{
    if (isnan(v) || isinf(v))
        rlx_jinja_puts(b, isnan(v) ? "NaN" : v > 0 ? "Infinity" : "-Infinity");
    else
        rlx_jinja_put_float(b, v);
}

static void put_line(rlx_jinja_buffer *b, const rlx_jinja_json_style *style, int depth)
{
    if (!style->pretty)
        return;
    rlx_jinja_puts(b, "\n");
    for (int i = 0; i < depth && rlx_jinja_step(b->x, 1); i++)
        rlx_jinja_puts(b, style->indent);
}

static void put_json_list(rlx_jinja_buffer *b, const rlx_jinja_list *l,
                          const rlx_jinja_json_style *style, int depth)
{
    rlx_jinja_puts(b, "[");
    for (int64_t i = 0; i < l->n && rlx_jinja_step(b->x, 1); i++) {
        if (i)
            rlx_jinja_puts(b, style->item);
        put_line(b, style, depth + 1);
        rlx_jinja_put_json(b, l->items[i], style, depth + 1);
    }
    if (l->n)
        put_line(b, style, depth);
    rlx_jinja_puts(b, "]");
}

static void put_json_key(rlx_jinja_buffer *b, rlx_jinja_value k, const rlx_jinja_json_style *style)
{
    if (k.kind == RLX_JINJA_STRING) {
        put_json_string(b, k.s, style->ascii);
    } else if (k.kind == RLX_JINJA_NONE || rlx_jinja_is_number(k)) {
        rlx_jinja_puts(b, "\"");
        rlx_jinja_put_json(b, k, style, 0);
        rlx_jinja_puts(b, "\"");
    } else {
        rlx_jinja_type_error(b->x, "keys must be str, int, float, bool or None, not %s",
                             rlx_jinja_type_name(k));
    }
}

static const rlx_jinja_list *sorted_entries(rlx_jinja_run *x, const rlx_jinja_dict *d)
{
    rlx_jinja_list *pairs = rlx_jinja_list_new(x), *keys = rlx_jinja_list_new(x);
    for (int64_t i = 0; i < d->n && rlx_jinja_step(x, 1); i++) {
        rlx_jinja_push(x, pairs, rlx_jinja_pair(x, d->entries[i].key, d->entries[i].value));
        rlx_jinja_push(x, keys, d->entries[i].key);
    }
    rlx_jinja_sort(x, pairs, keys, false);
    return pairs;
}

static void put_json_dict(rlx_jinja_buffer *b, const rlx_jinja_dict *d,
                          const rlx_jinja_json_style *style, int depth)
{
    const rlx_jinja_list *sorted = style->sort_keys ? sorted_entries(b->x, d) : NULL;
    rlx_jinja_puts(b, "{");
    for (int64_t i = 0; i < d->n && rlx_jinja_step(b->x, 1); i++) {
        const rlx_jinja_value *pair = sorted ? sorted->items[i].l->items : NULL;
        if (i)
            rlx_jinja_puts(b, style->item);
        put_line(b, style, depth + 1);
        put_json_key(b, pair ? pair[0] : d->entries[i].key, style);
        rlx_jinja_puts(b, style->key);
        rlx_jinja_put_json(b, pair ? pair[1] : d->entries[i].value, style, depth + 1);
    }
    if (d->n)
        put_line(b, style, depth);
    rlx_jinja_puts(b, "}");
}

void rlx_jinja_put_json(rlx_jinja_buffer *b, rlx_jinja_value v, const rlx_jinja_json_style *style,
                        int depth)
{
    if (!rlx_jinja_deeper(b->x))
        return;
    switch (v.kind) {
    case RLX_JINJA_NONE:
        rlx_jinja_puts(b, "null");
        break;
    case RLX_JINJA_BOOL:
        rlx_jinja_puts(b, v.b ? "true" : "false");
        break;
    case RLX_JINJA_INT:
        rlx_jinja_put_int(b, v.i);
        break;
    case RLX_JINJA_FLOAT:
        put_json_float(b, v.f);
        break;
    case RLX_JINJA_STRING:
        put_json_string(b, v.s, style->ascii);
        break;
    case RLX_JINJA_LIST:
    case RLX_JINJA_TUPLE:
        put_json_list(b, v.l, style, depth);
        break;
    case RLX_JINJA_DICT:
        put_json_dict(b, v.d, style, depth);
        break;
    default:
        rlx_jinja_type_error(b->x, "Object of type %s is not JSON serializable",
                             rlx_jinja_type_name(v));
    }
    rlx_jinja_shallower(b->x);
}

/* ---- reading */

typedef struct reader {
    rlx_jinja_run *x;
    const char *what; /* is read, for messages */
    const char *s;
    size_t n, at;
} reader;

static rlx_jinja_value read_value(reader *r);

static rlx_jinja_value bad_json(reader *r, const char *what)
{
    if (!r->x->error)
        r->x->error = RLX_FAIL(RLX_INVALID_ARGUMENT, "%s for %s: not JSON at byte %zu: %s", r->what,
                               r->x->t->name, r->at, what);
    return rlx_jinja_none();
}

static void skip_blanks(reader *r)
{
    while (r->at < r->n && r->s[r->at] && strchr(" \t\n\r", r->s[r->at]))
        r->at++;
}

static bool skip(reader *r, const char *text)
{
    size_t len = strlen(text);
    bool is = r->n - r->at >= len && !memcmp(r->s + r->at, text, len);
    r->at += is ? len : 0;
    return is;
}

/* Four digits behind "\u", or -1. */
static int32_t read_hex(reader *r)
{
    int32_t v = 0;
    for (int i = 0; i < 4; i++, r->at++) {
        int d = r->at < r->n && (unsigned char)r->s[r->at] < 0x80
                    ? rlx_jinja_digit_value((unsigned char)r->s[r->at])
                    : -1;
        if (d < 0 || d > 15)
            return -1;
        v = 16 * v + d;
    }
    return v;
}

static void read_escape(reader *r, rlx_jinja_buffer *b)
{
    static const char from[] = "\"\\/nrtbf", to[] = "\"\\/\n\r\t\b\f";
    if (r->at == r->n)
        return; /* the string has no end, as its reader will say */
    char c = r->s[r->at++];
    const char *simple = c ? strchr(from, c) : NULL;
    if (simple) {
        rlx_jinja_put(b, &to[simple - from], 1);
        return;
    }
    int32_t code = c == 'u' ? read_hex(r) : -1;
    if (code >= 0xd800 && code < 0xdc00 && skip(r, "\\u")) {
        int32_t low = read_hex(r);
        code =
            low >= 0xdc00 && low < 0xe000 ? 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00) : -1;
    }
    if (code < 0 || (code >= 0xd800 && code < 0xe000))
        bad_json(r, "a wrong escape");
    else
        rlx_jinja_put_char(b, (uint32_t)code);
}

static rlx_jinja_value read_string(reader *r)
{
    rlx_jinja_buffer b = {.x = r->x};
    r->at++;
    while (!r->x->error && r->at < r->n && r->s[r->at] != '"') {
        size_t len = rlx_text_utf8(r->s + r->at, r->n - r->at);
        if (!len || (unsigned char)r->s[r->at] < ' ')
            return bad_json(r, len ? "a control character in a string" : "not UTF-8");
        if (r->s[r->at] == '\\') {
            r->at++;
            read_escape(r, &b);
        } else {
            rlx_jinja_put(&b, r->s + r->at, len);
            r->at += len;
        }
    }
    if (r->at >= r->n)
        return bad_json(r, "a string has no end");
    r->at++;
    return rlx_jinja_taken(&b);
}

static size_t skip_digits(reader *r)
{
    size_t from = r->at;
    while (r->at < r->n && r->s[r->at] >= '0' && r->s[r->at] <= '9')
        r->at++;
    return r->at - from;
}

static rlx_jinja_value read_number(reader *r)
{
    size_t from = r->at;
    skip(r, "-");
    bool zero = r->at < r->n && r->s[r->at] == '0';
    size_t digits = skip_digits(r);
    bool whole = true, good = digits && !(zero && digits > 1);
    if (good && skip(r, ".")) {
        good = skip_digits(r) > 0;
        whole = false;
    }
    if (good && (skip(r, "e") || skip(r, "E"))) {
        if (!skip(r, "+"))
            skip(r, "-");
        good = skip_digits(r) > 0;
        whole = false;
    }
    if (!good)
        return bad_json(r, "no value");
    const char *text = rlx_jinja_cstr(r->x, rlx_jinja_text(r->x, r->s + from, r->at - from)),
               *p = text;
    rlx_jinja_value v = rlx_jinja_float(0);
    if (!whole) {
        rlx_text_parse_double(&p, &v.f);
        return v;
    }
    v = rlx_jinja_int(0);
    bool minus = *p == '-';
    for (p += minus; *p; p++)
        if (__builtin_mul_overflow(v.i, 10, &v.i) ||
            __builtin_add_overflow(v.i, minus ? '0' - *p : *p - '0', &v.i))
            return bad_json(r, "an integer beyond 64 bits");
    return v;
}

static rlx_jinja_value read_list(reader *r)
{
    rlx_jinja_list *l = rlx_jinja_list_new(r->x);
    r->at++;
    skip_blanks(r);
    if (skip(r, "]"))
        return rlx_jinja_list_value(l, RLX_JINJA_LIST);
    do
        rlx_jinja_push(r->x, l, read_value(r));
    while (!r->x->error && skip(r, ","));
    return skip(r, "]") ? rlx_jinja_list_value(l, RLX_JINJA_LIST) : bad_json(r, "expected , or ]");
}

static rlx_jinja_value read_object(reader *r)
{
    rlx_jinja_dict *d = rlx_jinja_dict_new(r->x);
    r->at++;
    skip_blanks(r);
    if (skip(r, "}"))
        return rlx_jinja_dict_value(d);
    do {
        skip_blanks(r);
        if (r->at >= r->n || r->s[r->at] != '"')
            return bad_json(r, "expected a key");
        rlx_jinja_value key = read_string(r);
        skip_blanks(r);
        if (!skip(r, ":"))
            return bad_json(r, "expected :");
        rlx_jinja_dict_set(r->x, d, key, read_value(r));
    } while (!r->x->error && skip(r, ","));
    return skip(r, "}") ? rlx_jinja_dict_value(d) : bad_json(r, "expected , or }");
}

static rlx_jinja_value read_simple(reader *r)
{
    if (skip(r, "null"))
        return rlx_jinja_none();
    if (skip(r, "true"))
        return rlx_jinja_bool(true);
    if (skip(r, "false"))
        return rlx_jinja_bool(false);
    return read_number(r);
}

/* A value and the blanks around it. */
static rlx_jinja_value read_value(reader *r)
{
    if (!rlx_jinja_step(r->x, 1) || !rlx_jinja_deeper(r->x))
        return rlx_jinja_none();
    skip_blanks(r);
    char c = r->at < r->n ? r->s[r->at] : 0;
    rlx_jinja_value v = c == '"'   ? read_string(r)
                        : c == '[' ? read_list(r)
                        : c == '{' ? read_object(r)
                                   : read_simple(r);
    skip_blanks(r);
    rlx_jinja_shallower(r->x);
    return v;
}

rlx_jinja_value rlx_jinja_read_json(rlx_jinja_run *x, const rlx_jinja_names *given)
{
    reader r = {x, given->name ? given->name : "names", given->json, given->bytes, 0};
    rlx_jinja_value v = read_value(&r);
    if (!x->error && r.at < r.n)
        return bad_json(&r, "something follows the value");
    return v;
}
