/* frontend/jinja/unicode.c: what Python's strings ask of a character. */
#include <utf8proc.h>

#include "frontend/jinja/impl.h"

/* ---- UTF-8; strings are valid */

uint32_t rlx_jinja_next(const char **p)
{
    const unsigned char *s = (const unsigned char *)*p;
    int more = s[0] < 0x80 ? 0 : s[0] < 0xe0 ? 1 : s[0] < 0xf0 ? 2 : 3;
    uint32_t c = more == 0 ? s[0] : s[0] & (0x3fu >> more);
    for (int i = 1; i <= more; i++)
        c = c << 6 | (s[i] & 0x3fu);
    *p += 1 + more;
    return c;
}

uint32_t rlx_jinja_before(const char *start, const char **p)
{
    do
        --*p;
    while (*p > start && ((unsigned char)**p & 0xc0) == 0x80);
    const char *at = *p;
    return rlx_jinja_next(&at);
}

size_t rlx_jinja_encode(uint32_t c, char out[4])
{
    return (size_t)utf8proc_encode_char((utf8proc_int32_t)c, (utf8proc_uint8_t *)out);
}

/* ---- classes */

static utf8proc_category_t category(uint32_t c)
{
    return utf8proc_category((utf8proc_int32_t)c);
}

bool rlx_jinja_is_space(uint32_t c)
{
    if (c < 0x80)
        return c == ' ' || (c >= '\t' && c <= '\r') || (c >= 0x1c && c <= 0x1f);
    return c == 0x85 || category(c) == UTF8PROC_CATEGORY_ZS || c == 0x2028 || c == 0x2029;
}

bool rlx_jinja_is_printable(uint32_t c)
{
    if (c < 0x80)
        return c >= ' ' && c < 0x7f;
    switch (category(c)) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS:
        return false;
    default:
        return true;
    }
}

bool rlx_jinja_is_alpha(uint32_t c)
{
    utf8proc_category_t k = category(c);
    return k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO;
}

bool rlx_jinja_is_decimal(uint32_t c)
{
    return category(c) == UTF8PROC_CATEGORY_ND;
}

bool rlx_jinja_is_digit(uint32_t c)
{
    bool superscript = c == 0xb2 || c == 0xb3 || c == 0xb9 || c == 0x2070 ||
                       (c >= 0x2074 && c <= 0x2079) || (c >= 0x2080 && c <= 0x2089);
    return superscript || rlx_jinja_is_decimal(c);
}

bool rlx_jinja_is_numeric(uint32_t c)
{
    utf8proc_category_t k = category(c);
    return k >= UTF8PROC_CATEGORY_ND && k <= UTF8PROC_CATEGORY_NO;
}

bool rlx_jinja_is_word(uint32_t c)
{
    return c == '_' || rlx_jinja_is_alpha(c) || rlx_jinja_is_numeric(c);
}

bool rlx_jinja_is_upper(uint32_t c)
{
    return category(c) == UTF8PROC_CATEGORY_LU;
}

bool rlx_jinja_is_lower(uint32_t c)
{
    return category(c) == UTF8PROC_CATEGORY_LL || c == 0xaa || c == 0xba;
}

bool rlx_jinja_is_title(uint32_t c)
{
    return category(c) == UTF8PROC_CATEGORY_LT;
}

int rlx_jinja_digit_value(uint32_t c)
{
    if (c >= '0' && c <= '9')
        return (int)(c - '0');
    if (c >= 'a' && c <= 'z')
        return (int)(c - 'a') + 10;
    if (c >= 'A' && c <= 'Z')
        return (int)(c - 'A') + 10;
    return -1;
}

/* ---- case */

/* Characters whose upper case is several (SpecialCasing of Unicode, without conditions). Their
 * title case has all but the first in lower case. */
static const struct {
    uint32_t from, to[3];
} expansions[] = {
    {0xdf, {'S', 'S'}},
    {0x149, {0x2bc, 'N'}},
    {0x1f0, {'J', 0x30c}},
    {0x390, {0x399, 0x308, 0x301}},
    {0x3b0, {0x3a5, 0x308, 0x301}},
    {0x587, {0x535, 0x552}},
    {0x1e96, {'H', 0x331}},
    {0x1e97, {'T', 0x308}},
    {0x1e98, {'W', 0x30a}},
    {0x1e99, {'Y', 0x30a}},
    {0x1e9a, {'A', 0x2be}},
    {0xfb00, {'F', 'F'}},
    {0xfb01, {'F', 'I'}},
    {0xfb02, {'F', 'L'}},
    {0xfb03, {'F', 'F', 'I'}},
    {0xfb04, {'F', 'F', 'L'}},
    {0xfb05, {'S', 'T'}},
    {0xfb06, {'S', 'T'}},
};

static uint32_t lower(uint32_t c)
{
    return (uint32_t)utf8proc_tolower((utf8proc_int32_t)c);
}

static void put_upper(rlx_jinja_buffer *b, uint32_t c, bool title)
{
    for (size_t i = 0; c >= 0x80 && i < sizeof expansions / sizeof *expansions; i++)
        if (expansions[i].from == c) {
            for (int k = 0; k < 3 && expansions[i].to[k]; k++)
                rlx_jinja_put_char(b,
                                   title && k ? lower(expansions[i].to[k]) : expansions[i].to[k]);
            return;
        }
    utf8proc_int32_t u = (utf8proc_int32_t)c;
    rlx_jinja_put_char(b, (uint32_t)(title ? utf8proc_totitle(u) : utf8proc_toupper(u)));
}

void rlx_jinja_put_case(rlx_jinja_buffer *b, uint32_t c, rlx_jinja_case to)
{
    if (to == RLX_JINJA_SWAP)
        to = rlx_jinja_is_upper(c)   ? RLX_JINJA_LOWER
             : rlx_jinja_is_lower(c) ? RLX_JINJA_UPPER
                                     : RLX_JINJA_FOLD;
    else if (to == RLX_JINJA_FOLD && c == 0xdf)
        rlx_jinja_puts(b, "s");
    if (to == RLX_JINJA_UPPER || to == RLX_JINJA_TITLE) {
        put_upper(b, c, to == RLX_JINJA_TITLE);
    } else if (c == 0x130) {
        rlx_jinja_put_char(b, 'i');
        rlx_jinja_put_char(b, 0x307);
    } else {
        rlx_jinja_put_char(b, to == RLX_JINJA_FOLD && c == 0xdf ? 's' : lower(c));
    }
}

rlx_jinja_value rlx_jinja_cased(rlx_jinja_run *x, rlx_jinja_value s, rlx_jinja_case to)
{
    rlx_jinja_buffer b = {.x = x};
    const char *p = s.s->data, *end = p + s.s->len;
    while (p < end && rlx_jinja_step(x, 1))
        rlx_jinja_put_case(&b, rlx_jinja_next(&p), to);
    rlx_jinja_value v = rlx_jinja_taken(&b);
    v.markup = s.markup;
    return v;
}
