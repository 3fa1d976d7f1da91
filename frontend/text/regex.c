/* frontend/text/regex.c: patterns by PCRE2: compiled, and their matches one after the other. */
#include "frontend/text/regex.h"

rlx_status rlx_regex_compile(const char *pattern, pcre2_code **out)
{
    rlx_text own = {0};
    int error;
    PCRE2_SIZE offset;
    *out = NULL;
    rlx_status st = rlx_regex_translate(pattern, &own);
    if (st)
        goto done;
    *out = pcre2_compile((PCRE2_SPTR)(own.data ? own.data : ""), PCRE2_ZERO_TERMINATED,
                         PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error,
                         &offset, NULL);
    if (!*out) {
        PCRE2_UCHAR message[128];
        pcre2_get_error_message(error, message, sizeof message);
        st = RLX_FAIL(RLX_UNSUPPORTED, "regular expression \"%s\": %s at %zu of \"%s\"", pattern,
                      (const char *)message, (size_t)offset, own.data ? own.data : "");
        goto done;
    }
    pcre2_jit_compile(*out, PCRE2_JIT_COMPLETE); /* where there is no JIT, matching interprets */
done:
    rlx_text_deinit(&own);
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
