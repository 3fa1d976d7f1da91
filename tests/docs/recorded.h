/* tests/docs/recorded.h: what an example of a stage that records others records. */
#ifndef RLX_TESTS_RECORDED_H
#define RLX_TESTS_RECORDED_H

#include "runtime/base/status.h"
#include "runtime/base/text.h"

/* The flow of the function NAME of docs/examples/layers.c, as flows print. */
rlx_status record_example(const char *name, rlx_text *out);

#endif
