/* frontend/toml.h: the part of TOML 1.0 that profiles are written in: tables, keys, strings of one
 * line, decimal numbers, true and false, arrays of whole numbers. The rest (other arrays, inline
 * tables, quoted keys, dates, strings of several lines, other bases) is refused by name. Whatever is read means what TOML says.
 */
#ifndef RLX_FRONTEND_TOML_H
#define RLX_FRONTEND_TOML_H

#include <stddef.h>
#include <stdint.h>

#include "runtime/base/status.h"

typedef enum rlx_toml_kind {
    RLX_TOML_TABLE, /* [name] */
    RLX_TOML_TEXT,
    RLX_TOML_INT,
    RLX_TOML_REAL,
    RLX_TOML_BOOL,
    RLX_TOML_INTS /* [1, 2] */
} rlx_toml_kind;

enum { RLX_TOML_ITEMS = 64 }; /* of an array, at most */

typedef struct rlx_toml_entry {
    const char *path; /* "table.key", or a table's name; lent, as `text` */
    int line;         /* from 1 */
    rlx_toml_kind kind;
    const char *text;
    int64_t integer; /* of a bool 0 or 1 */
    double real;
    const int64_t *items; /* of an array; lent */
    int nitems;
} rlx_toml_entry;

/* Calls `visit` for every table and key, in order. `bytes` bytes of text; `name` is the file's.
 * RLX_INVALID_FILE "NAME:LINE: ...", also for a table or key that is there twice; or the visitor's
 * error, which ends it. */
rlx_status rlx_toml_read(const char *name, const char *text, size_t bytes,
                         rlx_status (*visit)(void *user, const rlx_toml_entry *entry), void *user);

#endif
