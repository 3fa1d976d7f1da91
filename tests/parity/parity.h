/* tests/parity/parity.h: `rlx eval` on a model, and comparing what it writes: on the CPU and the
 * evaluators, or on a device, held against the CPU. */
#ifndef RLX_TESTS_PARITY_H
#define RLX_TESTS_PARITY_H

#include <check.h>

#include "frontend/rlx.h"
#include "tests/vulkan/chosen.h"

/* Runs the suite; what main returns. Fewer than `least` tests are a failure. */
int parity_run(Suite *s, int least);

typedef struct parity_way {
    const char *model, *inputs;
    const char *device, *threads; /* NULL: the program's own choice */
    const char *decode_from, *generate;
    const char *type_k, *type_v;
    const char *precision;
    const char *const *probes; /* paths */
    int nprobes;
} parity_way;

/* Runs it; the outputs stay mapped until the set is destroyed. Aborts the test when it fails, or
 * says anything on stdout, as the validation layer does. */
rlx_weights *parity_eval(const parity_way *way);

rlx_weights *parity_open(const char *path);
const rlx_tensor *parity_need(const rlx_weights *w, const char *name);
void parity_must(rlx_status st);

/* The largest distance between elements; a NaN stays. */
double parity_distance(const float *x, const float *y, int64_t n);

#endif
