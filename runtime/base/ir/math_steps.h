/* runtime/base/ir/math_steps.h: scalar functions as steps of simpler ones, written once.
 *
 * An engine takes the steps: the evaluators compute each at once (rlx_math_eval), the LIR pass
 * expand_math builds a map for each. So every engine gives the same bits. */
#ifndef RLX_BASE_MATH_STEPS_H
#define RLX_BASE_MATH_STEPS_H

#include "runtime/base/ir/ir.h"

typedef struct rlx_math_value {
    rlx_format format;
    rlx_scalar scalar;  /* of engines that compute */
    rlx_ir_value *node; /* of engines that build */
} rlx_math_value;

typedef struct rlx_math_engine rlx_math_engine;
struct rlx_math_engine {
    rlx_math_value (*constant)(rlx_math_engine *e, rlx_format f, double v);
    rlx_math_value (*map)(rlx_math_engine *e, rlx_map_fn fn, int n, const rlx_math_value *in);
    rlx_math_value (*cast)(rlx_math_engine *e, rlx_math_value x, rlx_format f);
    rlx_math_value (*bitcast)(rlx_math_engine *e, rlx_math_value x, rlx_format f);
};

/* Whether a function of elements of format `f` is taken apart into these steps. */
bool rlx_math_is_stepped(rlx_map_fn fn, rlx_format f);
rlx_math_value rlx_math_steps(rlx_math_engine *e, rlx_map_fn fn, rlx_math_value x);
/* The steps computed at once. */
rlx_scalar rlx_math_eval(rlx_map_fn fn, rlx_format f, rlx_scalar x);

#endif
