/* frontend/jinja/jinja.h: chat templates: the Jinja template language as Jinja2 runs it with the
 * settings of Hugging Face's chat templates.
 *
 *   text --rlx_jinja_parse--> template --rlx_jinja_render, with names from JSON--> text
 *
 * trim_blocks and lstrip_blocks are on, autoescape is off; `raise_exception`, `strftime_now`, their
 * `tojson`, `break`, `continue` and `generation` are there. Everything that a template could load
 * (include, import, extends) is refused. A template is untrusted: steps, memory, output and depth
 * have limits, and no template reaches anything but the names that it was given and the clock.
 */
#ifndef RLX_FRONTEND_JINJA_H
#define RLX_FRONTEND_JINJA_H

#include <stddef.h>
#include <stdint.h>

#include "runtime/base/status.h"

typedef struct rlx_jinja_template rlx_jinja_template;

/* A field that is 0 is the default. */
typedef struct rlx_jinja_limits {
    int64_t steps;       /* evaluated nodes, visited elements, 16 bytes of text: 50 million */
    size_t bytes;        /* memory that one rendering may ask for: 256 MiB */
    size_t output_bytes; /* 32 MiB */
} rlx_jinja_limits;

/* Reads a template of `bytes` bytes of UTF-8; `name` stands for it in messages. It is immutable
 * afterwards: any number of threads may render it. RLX_INVALID_FILE "NAME:LINE: ..." when it is no
 * template, RLX_UNSUPPORTED for what is refused. */
rlx_status rlx_jinja_parse(const char *name, const char *text, size_t bytes,
                           rlx_jinja_template **out);
void rlx_jinja_destroy(rlx_jinja_template *t); /* accepts NULL */

/* What a template is given, as JSON: a value and its name, or, with no name, an object of names. Of
 * equal names the last one counts. */
typedef struct rlx_jinja_names {
    const char *name; /* NULL: an object */
    const char *json;
    size_t bytes;
} rlx_jinja_names;

/* Renders with n such names. *out: malloc'ed, *out_bytes of UTF-8 and a NUL. `now`:
 * seconds since 1970 for strftime_now, in local time; -1: the clock's. `limits` may be NULL.
 * RLX_INVALID_ARGUMENT "NAME:LINE: ..." when the template raises an exception or does what its
 * values do not allow, and when what is given is no JSON; RLX_EXHAUSTED when a limit is reached. */
rlx_status rlx_jinja_render(const rlx_jinja_template *t, const rlx_jinja_names *given, int n,
                            int64_t now, const rlx_jinja_limits *limits, char **out,
                            size_t *out_bytes);

#endif
