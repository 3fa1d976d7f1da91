/* runtime/base/status.h: errors as owned stories.
 *
 * A fallible function returns rlx_status: NULL is success, anything else is a chain of notes that
 * the receiver owns and either returns, notes and returns, or frees. Making a status never fails:
 * when memory is short a static out-of-memory status is handed out, which free accepts too.
 */
#ifndef RLX_BASE_STATUS_H
#define RLX_BASE_STATUS_H

#include <stdarg.h>
#include <stddef.h>

#ifndef RLX_STATUS_TYPES /* frontend/rlx.h declares the same for users */
#define RLX_STATUS_TYPES
typedef struct rlx_error *rlx_status;
typedef enum rlx_code {
    RLX_CODE_OK = 0,
    RLX_INVALID_ARGUMENT, /* the caller passed something wrong: flag, shape, name */
    RLX_INVALID_IR,       /* a module breaks a rule of its level */
    RLX_INVALID_FILE,     /* a file is malformed, truncated or inconsistent */
    RLX_NOT_FOUND,        /* a file, tensor, symbol or device is not there */
    RLX_UNSUPPORTED,      /* understood, and not offered: the message names what and where */
    RLX_OUT_OF_MEMORY,
    RLX_IO,        /* the operating system refused: message has errno's text */
    RLX_EXHAUSTED, /* a limit was reached: context full, bucket exceeded */
    RLX_CANCELLED,
    RLX_INTERNAL /* our own mistake, caught before it did harm */
} rlx_code;
#define RLX_OK ((rlx_status)0)
#endif

#if defined(__GNUC__)
#define RLX_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define RLX_PRINTF(fmt, args)
#endif

/* Makes a status. `file` must be a string literal: it is kept (the build maps __FILE__ to the path
 * in the tree). */
rlx_status rlx_status_make(rlx_code code, const char *file, int line, const char *fmt, ...)
    RLX_PRINTF(4, 5);
/* Puts a note above `cause` (which it takes over); the code stays the cause's. NULL stays NULL. */
rlx_status rlx_status_note(rlx_status cause, const char *file, int line, const char *fmt, ...)
    RLX_PRINTF(4, 5);
rlx_code rlx_status_code(rlx_status s); /* RLX_CODE_OK for NULL */
/* The innermost message, without place: lent, lives as long as `s`. */
const char *rlx_status_message(rlx_status s);
/* The whole story, one line per note ("invalid IR: ... (mir/mir.c:64)\n  caused by: ..."), as a
 * heap string that the caller frees. */
char *rlx_status_text(rlx_status s);
void rlx_status_free(rlx_status s); /* accepts NULL */
const char *rlx_code_name(rlx_code code);

#define RLX_FAIL(code, ...) rlx_status_make((code), __FILE__, __LINE__, __VA_ARGS__)
#define RLX_OOM() RLX_FAIL(RLX_OUT_OF_MEMORY, "out of memory")
#define RLX_TRY(expr)             \
    do {                          \
        rlx_status try_ = (expr); \
        if (try_)                 \
            return try_;          \
    } while (0)
#define RLX_TRY_NOTE(expr, ...)                                            \
    do {                                                                   \
        rlx_status try_ = (expr);                                          \
        if (try_)                                                          \
            return rlx_status_note(try_, __FILE__, __LINE__, __VA_ARGS__); \
    } while (0)
/* For functions with one exit: stores into a variable `st` and jumps. */
#define RLX_TRY_TO(label, expr) \
    do {                        \
        st = (expr);            \
        if (st)                 \
            goto label;         \
    } while (0)

#endif
