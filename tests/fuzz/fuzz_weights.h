/* tests/fuzz/fuzz_weights.h: using a set of weights as whoever binds them does. */
#ifndef RLX_TESTS_FUZZ_WEIGHTS_H
#define RLX_TESTS_FUZZ_WEIGHTS_H

#include "runtime/runtime.h"
#include "tests/fuzz/fuzz.h"

/* Every tensor is found by its name; its first and last byte can be read, and its shape counts its
 * bytes. */
static inline void fuzz_use_weights(const rlx_weights *w)
{
    volatile uint8_t sum = 0;
    for (int i = 0; i < rlx_weights_count(w); i++) {
        const rlx_tensor *t = rlx_weights_at(w, i);
        const uint8_t *bytes = t->data;
        must(rlx_weights_find(w, t->name) == t, "a tensor is not found by its name");
        must(t->data != NULL, "a tensor without data");
        if (t->bytes)
            sum = (uint8_t)(sum + bytes[0] + bytes[t->bytes - 1]);
        int64_t elems = 1;
        for (int d = 0; d < t->rank; d++)
            elems *= t->dim[d];
        if (t->format == RLX_FORMAT_NONE)
            continue;
        const rlx_format_info *f = rlx_format_get(t->format);
        must((size_t)(elems / f->block_elems * f->block_bytes) == t->bytes,
             "a shape that does not make the bytes");
    }
}

#endif
