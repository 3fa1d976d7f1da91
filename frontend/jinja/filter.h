/* frontend/jinja/filter.h: the functions that filters.def names. */
#ifndef RLX_JINJA_FILTER_H
#define RLX_JINJA_FILTER_H

#include "frontend/jinja/impl.h"

/* Some names of the table share a function: a declaration may be there twice. */
#define RLX_JINJA_FILTER(name, params, function)                                      \
    rlx_jinja_value rlx_jinja_filter_##function(rlx_jinja_run *x, rlx_jinja_value *a, \
                                                const rlx_jinja_args *args);
#include "frontend/jinja/filters.def"
#undef RLX_JINJA_FILTER

#endif
