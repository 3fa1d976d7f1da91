/* frontend/text/regex_translate.c: Oniguruma's patterns (of Ruby's syntax) as PCRE2's.
 *
 *   \s \S        White_Space; PCRE2's has U+180E, too, which the standard took out
 *   \w \W \b \B  by Alphabetic, marks, digits, connectors and, outside of sets, Latin-1's numbers;
 *                PCRE2 has no marks
 *   \h \H        hexadecimal digits; PCRE2's are spaces
 *   \p{Han}      characters of the script; PCRE2's are those that are used with it, too
 *   [a[bc]]      sets in sets, [a&&[^b]] what is in both, [[:alpha:]]: as alternatives of sets and
 *                look-aheads where PCRE2's own sets do not do
 *   (?m)         . is any character: (?s)
 *   ^ $          at every line (an option of the compiled pattern)
 *   a{1,3}+      one or more of a{1,3}: only + behind *, + and ? is possessive */
#include <stdbool.h>
#include <string.h>
#include <strings.h>

#include "frontend/text/regex.h"

#define LETTERS "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}"
#define WORD LETTERS "\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}"
#define HEX "0-9A-Fa-f"

enum { MAX_GROUPS = 64, MAX_SETS = 16 };

typedef struct translation {
    const char *pattern, *at;
    rlx_text out;
    size_t atom;              /* where in `out` the last atom begins: what a quantifier repeats */
    size_t group[MAX_GROUPS]; /* where the open groups begin */
    int ngroups, nsets;       /* open ones */
} translation;

static rlx_status refuse(const translation *t, const char *what)
{
    return RLX_FAIL(RLX_UNSUPPORTED, "regular expression \"%s\": %s at %td is not offered",
                    t->pattern, what, t->at - t->pattern);
}

/* ---- members of sets */

/* Those that can stand between PCRE2's brackets, and the others: sets of their own, each behind
 * a "|". */
typedef struct members {
    rlx_text plain, others;
    int nothers;
} members;

static void members_deinit(members *m)
{
    rlx_text_deinit(&m->plain);
    rlx_text_deinit(&m->others);
}

static void add_other(members *m, const char *set)
{
    rlx_text_put(&m->others, "|");
    rlx_text_put(&m->others, set);
    m->nothers++;
}

/* One character of the members, as one atom. */
static void put_members(const members *m, rlx_text *out)
{
    bool alone = m->plain.len ? !m->nothers : m->nothers == 1;
    rlx_text_put(out, alone ? "" : "(?:");
    if (m->plain.len) {
        rlx_text_put(out, "[");
        rlx_text_put_bytes(out, m->plain.data, m->plain.len);
        rlx_text_put(out, "]");
    }
    size_t skip = !m->plain.len && m->nothers; /* the first "|" */
    if (m->nothers)
        rlx_text_put_bytes(out, m->others.data + skip, m->others.len - skip);
    rlx_text_put(out, alone ? "" : ")");
    out->oom |= m->plain.oom || m->others.oom;
}

/* ---- classes by name */

/* What stands between brackets for [:alpha:] and for \p{alpha}, which are not always the same. */
static const struct class_name {
    const char *name, *members, *property; /* NULL: the same */
} classes[] = {
    {"alnum", "\\p{Alphabetic}\\p{Nd}", NULL},
    {"alpha", "\\p{Alphabetic}", NULL},
    {"ascii", "\\x00-\\x7f", NULL},
    {"blank", "\\p{Zs}\\t", NULL},
    {"cntrl", "\\p{Cc}", NULL},
    {"digit", "\\p{Nd}", NULL},
    {"graph", "^\\p{White_Space}\\p{Cc}\\p{Cn}\\p{Cs}", NULL},
    {"lower", "\\p{Lowercase}", NULL},
    {"print", "^\\p{Cc}\\p{Cn}\\p{Cs}\\p{Zl}\\p{Zp}", NULL},
    {"punct", "\\p{P}\\p{S}", "\\p{P}"},
    {"space", "\\p{White_Space}", NULL},
    {"upper", "\\p{Uppercase}", NULL},
    {"word", LETTERS, WORD},
    {"xdigit", HEX, NULL},
};

static const struct class_name *find_class(const char *name, size_t n)
{
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
        if (strlen(classes[i].name) == n && !strncasecmp(classes[i].name, name, n))
            return &classes[i];
    return NULL;
}

/* Names are the same without regard to case, spaces, hyphens and underscores. */
static bool is_name(const char *known, const char *name, size_t n)
{
    size_t i = 0;
    for (; *known; known++) {
        if (*known == '_')
            continue;
        while (i < n && strchr(" -_", name[i]))
            i++;
        if (i == n || (name[i] | 32) != (*known | 32))
            return false;
        i++;
    }
    return i == n;
}

static const char *find_script(const char *name, size_t n)
{
    static const char *const scripts[] = {
#define SCRIPT(name) #name,
#define KANA(name) #name,
#define COMMON(name) #name,
#include "frontend/text/scripts.def"
#undef SCRIPT
#undef KANA
#undef COMMON
    };
    for (size_t i = 0; i < sizeof scripts / sizeof *scripts; i++)
        if (is_name(scripts[i], name, n))
            return scripts[i];
    return NULL;
}

static void put_class(const char *text, bool inverted, members *m)
{
    inverted ^= *text == '^';
    text += *text == '^';
    bool property = !strncmp(text, "\\p{", 3) && !strchr(text, '}')[1];
    rlx_text set = {0};
    if (!inverted || property) {
        rlx_text_put(&m->plain, inverted ? "\\P" : "");
        rlx_text_put(&m->plain, inverted ? text + 2 : text);
        return;
    }
    rlx_text_putf(&set, "[^%s]", text);
    add_other(m, set.oom ? "" : set.data);
    m->others.oom |= set.oom;
    rlx_text_deinit(&set);
}

/* At "\p{" or "\P{", whose "}" is at `close`. */
static void read_property(translation *t, const char *close, members *m)
{
    const char *name = t->at + 3;
    bool inverted = (t->at[1] == 'P') != (*name == '^');
    name += *name == '^';
    size_t n = (size_t)(close - name);
    const char *script = find_script(name, n);
    const struct class_name *class = script ? NULL : find_class(name, n);
    t->at = close + 1;
    if (class)
        put_class(class->property ? class->property : class->members, inverted, m);
    else if (script)
        rlx_text_putf(&m->plain, "\\%c{sc:%s}", inverted ? 'P' : 'p', script);
    else
        rlx_text_putf(&m->plain, "\\%c{%.*s}", inverted ? 'P' : 'p', (int)n, name);
}

/* ---- escapes */

/* At a backslash. `set`: inside [..]. What is no member of a set, outside of one, is put into the
 * pattern; *m has the rest. */
static rlx_status read_escape(translation *t, bool set, members *m)
{
    const struct {
        char c;
        bool inverted;
        const char *members;
    } rules[] = {
        {'s', false, "\\p{White_Space}"},
        {'S', true, "\\p{White_Space}"},
        {'w', false, set ? LETTERS : WORD},
        {'W', true, set ? LETTERS : WORD},
        {'h', false, HEX},
        {'H', true, HEX},
    };
    static const char border[] = "(?:(?<=[" WORD "])(?![" WORD "])|(?<![" WORD "])(?=[" WORD "]))";
    static const char inner[] = "(?:(?<=[" WORD "])(?=[" WORD "])|(?<![" WORD "])(?![" WORD "]))";
    char c = t->at[1];
    const char *close = c && strchr("pPxoN", c) && t->at[2] == '{' ? strchr(t->at, '}') : NULL;
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (c == rules[i].c) {
            put_class(rules[i].members, rules[i].inverted, m);
            t->at += 2;
            return RLX_OK;
        }
    if (close && (c == 'p' || c == 'P')) {
        read_property(t, close, m);
        return RLX_OK;
    }
    if (c == 'B' && set)
        return refuse(t, "an escape that PCRE2 reads otherwise");
    if ((c == 'b' || c == 'B') && !set) {
        rlx_text_put(&t->out, c == 'b' ? border : inner);
        t->at += 2;
        return RLX_OK;
    }
    size_t n = close ? (size_t)(close - t->at) + 1
                     : 1 + (c ? rlx_text_utf8(t->at + 1, strlen(t->at + 1)) : 0);
    rlx_text_put_bytes(set ? &m->plain : &t->out, t->at, n);
    t->at += n;
    return RLX_OK;
}

static rlx_status translate_escape(translation *t)
{
    members m = {0};
    rlx_status st = read_escape(t, false, &m);
    if (m.plain.len || m.nothers)
        put_members(&m, &t->out);
    members_deinit(&m);
    return st;
}

/* ---- sets */

static rlx_status read_set(translation *t, members *out);

/* At "[:": true when it was a class's name. */
static bool read_posix(translation *t, members *m)
{
    const char *name = t->at + 2;
    bool inverted = *name == '^';
    name += inverted;
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz");
    const struct class_name *class = !strncmp(name + n, ":]", 2) ? find_class(name, n) : NULL;
    if (!class)
        return false;
    put_class(class->members, inverted, m);
    t->at = name + n + 2;
    return true;
}

static rlx_status read_member(translation *t, members *m)
{
    const char *next = t->at + 1;
    if (*t->at == '\\')
        return read_escape(t, true, m);
    if (*t->at == '[') {
        if (*next == ':' && read_posix(t, m))
            return RLX_OK;
        return *next == ':' ? refuse(t, "a class of this name") : read_set(t, m);
    }
    /* A hyphen beside nothing that it could make a range of is one. */
    bool bare = !m->plain.len || *next == ']' || *next == '[' || !strncmp(next, "&&", 2);
    if (*t->at == '^' || (*t->at == '-' && bare))
        rlx_text_put(&m->plain, "\\");
    rlx_text_put_bytes(&m->plain, t->at++, 1);
    return RLX_OK;
}

/* What stands before "&&": it must match here, too. */
static rlx_status end_operand(translation *t, members *m, rlx_text *both)
{
    if (!m->plain.len && !m->nothers)
        return refuse(t, "nothing beside &&");
    rlx_text_put(both, "(?=");
    put_members(m, both);
    rlx_text_put(both, ")");
    members_deinit(m);
    *m = (members){0};
    return RLX_OK;
}

/* The set whose last operand is *m, as members of the one around it. */
static void put_set(const members *m, const rlx_text *both, bool inverted, members *out)
{
    rlx_text set = {0};
    if (!inverted && !both->len) {
        rlx_text_put_bytes(&out->plain, m->plain.data, m->plain.len);
        if (m->nothers)
            rlx_text_put_bytes(&out->others, m->others.data, m->others.len);
        out->nothers += m->nothers;
        return;
    }
    if (!both->len && !m->nothers) {
        rlx_text_putf(&set, "[^%.*s]", (int)m->plain.len, m->plain.data);
    } else {
        rlx_text_put(&set, inverted ? "(?:(?!" : "(?:");
        rlx_text_put_bytes(&set, both->data, both->len);
        put_members(m, &set);
        rlx_text_put(&set, inverted ? ")(?s:.))" : ")");
    }
    add_other(out, set.oom ? "" : set.data);
    out->others.oom |= set.oom || both->oom;
    rlx_text_deinit(&set);
}

/* At "[". Appends to *out. */
static rlx_status read_set(translation *t, members *out)
{
    const char *start = t->at;
    members m = {0};
    rlx_text both = {0};
    rlx_status st = t->nsets++ == MAX_SETS ? refuse(t, "a set so deep") : RLX_OK;
    bool inverted = *++t->at == '^';
    t->at += inverted;
    if (*t->at == ']') {
        rlx_text_put(&m.plain, "\\]");
        t->at++;
    }
    while (!st && *t->at && *t->at != ']') {
        bool and = !strncmp(t->at, "&&", 2);
        st = and? end_operand(t, &m, &both) : read_member(t, &m);
        t->at += and&&!st ? 2 : 0;
    }
    if (!st && !*t->at) {
        t->at = start;
        st = refuse(t, "a set without an end");
    }
    if (!st && !m.plain.len && !m.nothers)
        st = refuse(t, "nothing beside &&");
    if (!st) {
        put_set(&m, &both, inverted, out);
        t->at++;
    }
    t->nsets--;
    members_deinit(&m);
    rlx_text_deinit(&both);
    return st;
}

static rlx_status translate_set(translation *t)
{
    members m = {0};
    rlx_status st = read_set(t, &m);
    if (!st)
        put_members(&m, &t->out);
    members_deinit(&m);
    return st;
}

/* ---- groups and repeats */

/* At "(", or "(?im-x:" and the like. */
static rlx_status translate_open(translation *t)
{
    if (t->ngroups == MAX_GROUPS)
        return refuse(t, "a group so deep");
    t->group[t->ngroups++] = t->out.len;
    size_t n = t->at[1] == '?' ? 2 + strspn(t->at + 2, "imxs-") : 1;
    if (memchr(t->at, 's', n))
        return refuse(t, "option s");
    for (size_t i = 0; i < n; i++)
        rlx_text_put_bytes(&t->out, t->at[i] == 'm' ? "s" : &t->at[i], 1);
    t->at += n;
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
        RLX_TRY(translate_escape(t));
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

rlx_status rlx_regex_translate(const char *pattern, rlx_text *out)
{
    translation t = {.pattern = pattern, .at = pattern};
    rlx_status st = RLX_OK;
    while (!st && *t.at)
        st = translate_next(&t);
    *out = t.out;
    return st || !t.out.oom ? st : RLX_OOM();
}
