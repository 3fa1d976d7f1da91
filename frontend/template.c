/* frontend/template.c: chat templates for users of rlx.h; jinja/ is the engine. */
#include <string.h>

#include "frontend/jinja/jinja.h"
#include "frontend/rlx.h"

/* The public handle is the engine's. */
static rlx_jinja_template *engine(const rlx_template *t)
{
    return (rlx_jinja_template *)t;
}

rlx_status rlx_template_parse(const char *name, const char *text, size_t bytes, rlx_template **out)
{
    rlx_jinja_template *t = NULL;
    rlx_status st = rlx_jinja_parse(name, text, bytes, &t);
    *out = (rlx_template *)t;
    return st;
}

void rlx_template_destroy(rlx_template *t)
{
    rlx_jinja_destroy(engine(t));
}

rlx_status rlx_template_render(const rlx_template *t, const char *names,
                               const rlx_template_options *options, char **text, size_t *bytes)
{
    rlx_template_options o = options ? *options : (rlx_template_options){0};
    rlx_jinja_limits limits = {o.max_steps, o.max_memory, o.max_text};
    size_t n = 0;
    rlx_jinja_names given = {NULL, names, strlen(names)};
    rlx_status st = rlx_jinja_render(engine(t), &given, 1, o.now ? o.now : -1, &limits, text, &n);
    if (bytes)
        *bytes = n;
    return st;
}
