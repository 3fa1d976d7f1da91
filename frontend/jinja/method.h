/* frontend/jinja/method.h: the functions that methods.def names. */
#ifndef RLX_JINJA_METHOD_H
#define RLX_JINJA_METHOD_H

#include "frontend/jinja/impl.h"

#define RLX_JINJA_METHOD(kind, name, params, function)                         \
    rlx_jinja_value rlx_jinja_##function(rlx_jinja_run *x, rlx_jinja_value *a, \
                                         const rlx_jinja_args *args);
#include "frontend/jinja/methods.def"
#undef RLX_JINJA_METHOD

#endif
