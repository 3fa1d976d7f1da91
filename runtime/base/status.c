#include "runtime/base/status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/text.h"

struct rlx_error {
    rlx_code code;
    int line;
    const char *file;
    struct rlx_error *cause; /* owned; NULL for the innermost */
    char message[];
};

/* Handed out when there is no memory for a story. Shared, immutable, never freed. */
static struct {
    rlx_code code;
    int line;
    const char *file;
    struct rlx_error *cause;
    char message[16];
} no_memory = {RLX_OUT_OF_MEMORY, __LINE__, "runtime/base/status.c", NULL, "out of memory"};

static rlx_status no_memory_status(void)
{
    return (rlx_status)(void *)&no_memory;
}

static rlx_status make(rlx_code code, const char *file, int line, rlx_status cause, const char *fmt,
                       va_list args)
{
    va_list again;
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, fmt, args);
    size_t len = n > 0 ? (size_t)n : 0;
    rlx_status s = malloc(sizeof(*s) + len + 1);
    if (s) {
        s->code = code;
        s->line = line;
        s->file = file;
        s->cause = cause;
        s->message[0] = 0;
        if (n > 0)
            vsnprintf(s->message, len + 1, fmt, again);
    }
    va_end(again);
    return s;
}

rlx_status rlx_status_make(rlx_code code, const char *file, int line, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    rlx_status s = make(code, file, line, NULL, fmt, args);
    va_end(args);
    return s ? s : no_memory_status();
}

rlx_status rlx_status_note(rlx_status cause, const char *file, int line, const char *fmt, ...)
{
    if (!cause)
        return NULL;
    va_list args;
    va_start(args, fmt);
    rlx_status s = make(cause->code, file, line, cause, fmt, args);
    va_end(args);
    return s ? s : cause; /* a story without this note is better than none */
}

rlx_code rlx_status_code(rlx_status s)
{
    return s ? s->code : RLX_CODE_OK;
}

const char *rlx_status_message(rlx_status s)
{
    if (!s)
        return "ok";
    while (s->cause)
        s = s->cause;
    return s->message;
}

char *rlx_status_text(rlx_status s)
{
    rlx_text t = {0};
    rlx_text_putf(&t, "%s", rlx_code_name(rlx_status_code(s)));
    for (rlx_status e = s; e; e = e->cause)
        rlx_text_putf(&t, "%s%s (%s:%d)", e == s ? ": " : "\n  caused by: ", e->message, e->file,
                      e->line);
    return rlx_text_take(&t);
}

void rlx_status_free(rlx_status s)
{
    while (s && s != no_memory_status()) {
        rlx_status cause = s->cause;
        free(s);
        s = cause;
    }
}

const char *rlx_code_name(rlx_code code)
{
    switch (code) {
    case RLX_CODE_OK:
        return "ok";
    case RLX_INVALID_ARGUMENT:
        return "invalid argument";
    case RLX_INVALID_IR:
        return "invalid IR";
    case RLX_INVALID_FILE:
        return "invalid file";
    case RLX_NOT_FOUND:
        return "not found";
    case RLX_UNSUPPORTED:
        return "unsupported";
    case RLX_OUT_OF_MEMORY:
        return "out of memory";
    case RLX_IO:
        return "input/output error";
    case RLX_EXHAUSTED:
        return "exhausted";
    case RLX_CANCELLED:
        return "cancelled";
    case RLX_INTERNAL:
        return "internal error";
    }
    return "unknown code";
}
