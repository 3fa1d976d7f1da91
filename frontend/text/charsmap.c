/* frontend/text/charsmap.c: sentencepiece's normalizer and its compiled rules.
 *
 *   u32 bytes of the trie | a double-array trie of u32 units | texts, each ended by a NUL
 *
 * A unit of the trie: bits 0-7 the label, bit 8 whether a leaf hangs on it, bits 10-30 (shifted
 * left by 8 when bit 9 is set) where its children are; a leaf has bit 31 and an offset into the
 * texts. */
#include <string.h>

#include "frontend/text/normalize.h"
#include "frontend/text/unicode.h"

/* U+2581, which stands for a space. */
#define MARK "\xe2\x96\x81"

typedef struct rules {
    const char *units, *texts;
    size_t nunits, ntexts;
} rules;

static uint32_t u32_at(const char *p)
{
    const unsigned char *s = (const unsigned char *)p;
    return s[0] | (uint32_t)s[1] << 8 | (uint32_t)s[2] << 16 | (uint32_t)s[3] << 24;
}

static bool read_rules(const char *data, size_t bytes, rules *r)
{
    *r = (rules){0};
    if (bytes < 4)
        return false;
    size_t trie = u32_at(data);
    if (trie < 4 || trie % 4 || trie > bytes - 4)
        return false;
    *r = (rules){data + 4, data + 4 + trie, trie / 4, bytes - 4 - trie};
    return true;
}

rlx_status rlx_charsmap_check(const char *data, size_t bytes)
{
    rules r;
    if (!read_rules(data, bytes, &r) || !r.ntexts || r.texts[r.ntexts - 1])
        return RLX_FAIL(RLX_INVALID_FILE, "the compiled rules of %zu bytes are cut off or damaged",
                        bytes);
    return RLX_OK;
}

/* The text that a rule for the first *used bytes, which are whole characters, puts; NULL: there is
 * none. The longest rule, or the shortest. */
static const char *find_rule(const rules *r, const char *p, size_t n, bool longest, size_t *used)
{
    const char *found = NULL;
    size_t at = 0;
    if (!r->nunits)
        return NULL;
    uint32_t unit = u32_at(r->units);
    for (size_t i = 0; i < n; i++) {
        at ^= (size_t)(unit >> 10) << ((unit >> 9 & 1) * 8);
        at ^= (unsigned char)p[i];
        if (at >= r->nunits)
            break;
        unit = u32_at(r->units + 4 * at);
        if ((unit & 0x800000ffu) != (unsigned char)p[i])
            break;
        size_t leaf = at ^ (size_t)(unit >> 10) << ((unit >> 9 & 1) * 8);
        if (!(unit >> 8 & 1) || leaf >= r->nunits)
            continue;
        size_t text = u32_at(r->units + 4 * leaf) & 0x7fffffffu;
        bool inside = i + 1 < n && ((unsigned char)p[i + 1] & 0xc0) == 0x80;
        if (text >= r->ntexts || inside)
            continue;
        size_t len = strlen(r->texts + text); /* ended by a NUL: the last byte of all is one */
        if (rlx_utf8_valid(r->texts + text, len) != len)
            continue; /* a damaged rule is none */
        found = r->texts + text;
        *used = i + 1;
        if (!longest)
            break;
    }
    return found;
}

/* ---- Hugging Face's way */

void rlx_charsmap_put(const char *data, size_t ndata, const char *text, size_t bytes, rlx_text *out)
{
    rules r;
    size_t used;
    read_rules(data, ndata, &r);
    for (size_t at = 0, n; at < bytes; at += n) {
        n = rlx_grapheme_read(text + at, bytes - at);
        const char *to = n < 6 ? find_rule(&r, text + at, n, false, &used) : NULL;
        if (to) {
            rlx_text_put(out, to);
            continue;
        }
        for (size_t i = 0, len; i < n; i += len) {
            len = rlx_utf8_read(text + at + i, n - i, NULL);
            to = find_rule(&r, text + at + i, len, false, &used);
            if (to)
                rlx_text_put(out, to);
            else
                rlx_text_put_bytes(out, text + at + i, len);
        }
    }
}

/* ---- sentencepiece's */

/* The next stretch of the input, and what it becomes. */
typedef struct prefix {
    const char *text;
    size_t bytes, used;
} prefix;

static prefix read_prefix(const rlx_tokenizer *t, const rules *r, const char *p, size_t n)
{
    size_t used = 0;
    uint32_t node = 0;
    if (t->normalized.any) {
        const rlx_trie *user = &t->normalized.trie;
        for (size_t i = 0; i < n && (node = rlx_trie_step(user, node, (unsigned char)p[i])); i++)
            used = user->values[node] >= 0 ? i + 1 : used;
        if (used)
            return (prefix){p, used, used};
    }
    const char *to = find_rule(r, p, n, true, &used);
    if (to)
        return (prefix){to, strlen(to), used};
    used = rlx_utf8_read(p, n, NULL);
    return (prefix){p, used, used};
}

static void put_marked(const char *p, size_t n, bool marks, rlx_text *out)
{
    for (size_t i = 0; i < n;) {
        if (marks && p[i] == ' ') {
            rlx_text_put(out, MARK);
            i++;
            continue;
        }
        size_t from = i;
        while (i < n && !(marks && p[i] == ' '))
            i++;
        rlx_text_put_bytes(out, p + from, i - from);
    }
}

void rlx_sentencepiece_put(const rlx_tokenizer *t, uint32_t flags, const char *text, size_t bytes,
                           rlx_text *out)
{
    bool squeeze = flags & RLX_SPM_SQUEEZE, marks = flags & RLX_SPM_MARKS;
    bool prefix_space = flags & RLX_SPM_PREFIX, behind = flags & RLX_SPM_SUFFIX, spaces = false;
    const char *space = marks ? MARK : " ";
    size_t at = 0, nspace = strlen(space);
    rlx_span map = t->settings->charsmap;
    rules r;
    read_rules(t->strings + map.at, map.bytes, &r);
    while (squeeze && at < bytes) {
        prefix p = read_prefix(t, &r, text + at, bytes - at);
        if (p.bytes != 1 || p.text[0] != ' ')
            break;
        at += p.used;
        spaces = true;
    }
    if (at == bytes)
        return;
    if ((prefix_space && !behind) || (spaces && (flags & RLX_SPM_KEEP)))
        rlx_text_put(out, space);
    bool after_space = squeeze;
    while (at < bytes) {
        prefix p = read_prefix(t, &r, text + at, bytes - at);
        while (after_space && p.bytes && *p.text == ' ') {
            p.text++;
            p.bytes--;
        }
        if (p.bytes) {
            put_marked(p.text, p.bytes, marks, out);
            after_space = p.text[p.bytes - 1] == ' ';
        }
        at += p.used;
        after_space = after_space && squeeze;
    }
    while (squeeze && out->len >= nspace && !memcmp(out->data + out->len - nspace, space, nspace))
        out->data[out->len -= nspace] = '\0';
    if (prefix_space && behind)
        rlx_text_put(out, space);
}
