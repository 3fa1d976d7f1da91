/* frontend/text/regex.c: Oniguruma's patterns by PCRE2.
 *
 *   \s \S        White_Space; PCRE2's has U+180E, too, which the standard took out
 *   \w \W \b \B  by Alphabetic, marks, digits, connectors and Latin-1's numbers; PCRE2 has no marks
 *   ^ $          at every line
 *   a{1,3}+      one or more of a{1,3}: only + behind *, + and ? is possessive
 *
 * Refused, because PCRE2 would silently read something else: sets in sets ([:punct:] among
 * them), &&, \h, (?m). */
#include <stdbool.h>
#include <string.h>

#include "frontend/text/regex.h"
#include "runtime/base/text.h"

#define WORD "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}"

enum { MAX_GROUPS = 64 };

typedef struct translation {
    const char *pattern, *at;
    rlx_text out;
    size_t atom;              /* where in `out` the last atom begins: what a quantifier repeats */
    size_t group[MAX_GROUPS]; /* where the open groups begin */
    int ngroups;
} translation;

static rlx_status refuse(const translation *t, const char *what)
{
    return RLX_FAIL(RLX_UNSUPPORTED, "regular expression \"%s\": %s at %td is not offered",
                    t->pattern, what, t->at - t->pattern);
}

/* At a backslash. `set`: inside [..]. */
static rlx_status translate_escape(translation *t, bool set)
{
    static const struct {
        char c;
        const char *outside, *inside; /* NULL: not offered */
    } rules[] = {
        {'s', "\\p{White_Space}", "\\p{White_Space}"},
        {'S', "\\P{White_Space}", "\\P{White_Space}"},
        {'w', "[" WORD "]", WORD},
        {'W', "[^" WORD "]", NULL},
        {'b', "(?:(?<=[" WORD "])(?![" WORD "])|(?<![" WORD "])(?=[" WORD "]))", "\\b"},
        {'B', "(?:(?<=[" WORD "])(?=[" WORD "])|(?<![" WORD "])(?![" WORD "]))", NULL},
        {'h', NULL, NULL},
        {'H', NULL, NULL},
    };
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        if (t->at[1] != rules[i].c)
            continue;
        const char *text = set ? rules[i].inside : rules[i].outside;
        if (!text)
            return refuse(t, "an escape that PCRE2 reads otherwise");
        rlx_text_put(&t->out, text);
        t->at += 2;
        return RLX_OK;
    }
    size_t n = !t->at[1] ? 1 : 1 + rlx_text_utf8(t->at + 1, strlen(t->at + 1));
    const char *close =
        strchr("pPxoN", t->at[1]) && t->at[1] && t->at[2] == '{' ? strchr(t->at, '}') : NULL;
    if (close)
        n = (size_t)(close - t->at) + 1;
    rlx_text_put_bytes(&t->out, t->at, n);
    t->at += n;
    return RLX_OK;
}

/* At "[". */
static rlx_status translate_set(translation *t)
{
    const char *start = t->at;
    rlx_text_put_bytes(&t->out, t->at++, 1);
    if (*t->at == '^')
        rlx_text_put_bytes(&t->out, t->at++, 1);
    if (*t->at == ']') {
        rlx_text_put(&t->out, "\\]");
        t->at++;
    }
    while (*t->at && *t->at != ']') {
        if (*t->at == '\\') {
            RLX_TRY(translate_escape(t, true));
        } else if (*t->at == '[' || (*t->at == '&' && t->at[1] == '&')) {
            return refuse(t, "a set inside a set");
        } else {
            rlx_text_put_bytes(&t->out, t->at++, 1);
        }
    }
    if (!*t->at) {
        t->at = start;
        return refuse(t, "a set without an end");
    }
    rlx_text_put_bytes(&t->out, t->at++, 1);
    return RLX_OK;
}

static rlx_status translate_open(translation *t)
{
    if (t->ngroups == MAX_GROUPS)
        return refuse(t, "a group so deep");
    t->group[t->ngroups++] = t->out.len;
    if (t->at[1] == '?') { /* (?im-x: */
        for (const char *p = t->at + 2; strchr("imxs-", *p) && *p; p++)
            if (*p == 'm' || *p == 's')
                return refuse(t, "option m or s");
    }
    rlx_text_put_bytes(&t->out, t->at++, 1);
    return RLX_OK;
}

/* {n,m}+ repeats the whole once more. */
static void wrap_repeat(translation *t, size_t brace)
{
    rlx_text whole = {0};
    rlx_text_put_bytes(&whole, t->out.data, t->atom);
    rlx_text_put(&whole, "(?:");
    rlx_text_put_bytes(&whole, t->out.data + t->atom, brace - t->atom);
    rlx_text_put_bytes(&whole, t->out.data + brace, t->out.len - brace);
    rlx_text_put(&whole, ")");
    whole.oom |= t->out.oom;
    rlx_text_deinit(&t->out);
    t->out = whole;
}

static bool at_repeat(const char *p)
{
    size_t digits = strspn(p + 1, "0123456789,");
    return *p == '{' && digits && p[1 + digits] == '}';
}

static rlx_status translate_next(translation *t)
{
    size_t begins = t->out.len;
    switch (*t->at) {
    case '\\':
        RLX_TRY(translate_escape(t, false));
        t->atom = begins;
        return RLX_OK;
    case '[':
        RLX_TRY(translate_set(t));
        t->atom = begins;
        return RLX_OK;
    case '(':
        return translate_open(t);
    case ')':
        t->atom = t->ngroups ? t->group[--t->ngroups] : begins;
        break;
    case '*':
    case '+':
    case '?':
    case '|':
        break;
    case '{':
        if (at_repeat(t->at)) {
            size_t n = strcspn(t->at, "}") + 1;
            rlx_text_put_bytes(&t->out, t->at, n);
            t->at += n;
            if (*t->at == '+' && t->out.data)
                wrap_repeat(t, begins);
            return RLX_OK;
        }
        break;
    default:
        if (((unsigned char)*t->at & 0xc0) != 0x80)
            t->atom = begins;
    }
    rlx_text_put_bytes(&t->out, t->at++, 1);
    return RLX_OK;
}

rlx_status rlx_regex_compile(const char *pattern, pcre2_code **out)
{
    translation t = {.pattern = pattern, .at = pattern};
    int error;
    PCRE2_SIZE offset;
    rlx_status st = RLX_OK;
    *out = NULL;
    while (!st && *t.at)
        st = translate_next(&t);
    if (!st && t.out.oom)
        st = RLX_OOM();
    if (st)
        goto done;
    *out = pcre2_compile((PCRE2_SPTR)(t.out.data ? t.out.data : ""), PCRE2_ZERO_TERMINATED,
                         PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error,
                         &offset, NULL);
    if (!*out) {
        PCRE2_UCHAR message[128];
        pcre2_get_error_message(error, message, sizeof message);
        st = RLX_FAIL(RLX_UNSUPPORTED, "regular expression \"%s\": %s at %zu of \"%s\"", pattern,
                      (const char *)message, (size_t)offset, t.out.data ? t.out.data : "");
        goto done;
    }
    pcre2_jit_compile(*out, PCRE2_JIT_COMPLETE); /* where there is no JIT, matching interprets */
done:
    rlx_text_deinit(&t.out);
    return st;
}

/* ---- matching */

enum { STACK_LEAST = 32 << 10, STACK_MOST = 16 << 20 };

void rlx_regex_scratch_deinit(rlx_regex_scratch *s)
{
    pcre2_match_data_free(s->data);
    pcre2_match_context_free(s->context);
    pcre2_jit_stack_free(s->stack);
}

static rlx_status make_scratch(rlx_regex_scratch *s)
{
    if (s->data)
        return RLX_OK;
    s->data = pcre2_match_data_create(1, NULL);
    s->context = pcre2_match_context_create(NULL);
    if (!s->data || !s->context)
        return RLX_OOM();
    s->stack = pcre2_jit_stack_create(STACK_LEAST, STACK_MOST, NULL); /* NULL: 32 KiB */
    if (s->stack)
        pcre2_jit_stack_assign(s->context, NULL, s->stack);
    return RLX_OK;
}

rlx_status rlx_regex_next(const pcre2_code *regex, rlx_regex_scratch *s, const char *text,
                          size_t bytes, rlx_regex_walk *walk, bool *found)
{
    RLX_TRY(make_scratch(s));
    for (*found = false; walk->at <= bytes;) {
        int n = pcre2_match(regex, (PCRE2_SPTR)text, bytes, walk->at, PCRE2_NO_UTF_CHECK, s->data,
                            s->context);
        if (n == PCRE2_ERROR_NOMATCH)
            return RLX_OK;
        if (n < 0)
            return RLX_FAIL(RLX_EXHAUSTED,
                            "the tokenizer's pattern gave up at byte %zu (PCRE2 error %d)",
                            walk->at, n);
        const PCRE2_SIZE *span = pcre2_get_ovector_pointer(s->data);
        if (span[0] == span[1] && walk->any && span[1] == walk->to) {
            /* Nothing, right behind the last match: looked for from the next character on. */
            walk->at += walk->at < bytes ? rlx_text_utf8(text + walk->at, bytes - walk->at) : 1;
            continue;
        }
        *walk = (rlx_regex_walk){span[0], span[1], span[1], true};
        *found = true;
        return RLX_OK;
    }
    return RLX_OK;
}
