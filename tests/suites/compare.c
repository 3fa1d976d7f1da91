#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tests/suites/suites.h"

double element(const rlx_tensor *t, int64_t i)
{
    switch (t->format) {
    case RLX_F32:
        return ((const float *)t->data)[i];
    case RLX_F64:
        return ((const double *)t->data)[i];
    case RLX_I64:
        return (double)((const int64_t *)t->data)[i];
    case RLX_I32:
        return ((const int32_t *)t->data)[i];
    default:
        return NAN;
    }
}

/* The shape without leading axes of one element. */
static int core_shape(const rlx_tensor *t, int64_t *dims)
{
    int first = 0;
    while (first < t->rank && t->dim[first] == 1)
        first++;
    for (int i = first; i < t->rank; i++)
        dims[i - first] = t->dim[i];
    return t->rank - first;
}

static void put_index(const rlx_tensor *t, int64_t i, char *text, size_t room)
{
    int64_t at[6];
    size_t n = 0;
    for (int d = t->rank - 1; d >= 0; d--) {
        at[d] = i % t->dim[d];
        i /= t->dim[d];
    }
    for (int d = 0; d < t->rank; d++)
        n += (size_t)snprintf(text + n, room - n, "%s%lld", d ? "," : "", (long long)at[d]);
}

bool is_within(const rlx_tensor *got, const rlx_tensor *want, const rlx_tensor *valid, double bound,
               mismatch *out)
{
    int64_t a[6] = {0}, b[6] = {0}, elems = 1, places = 1, compared = 0;
    if (core_shape(got, a) != core_shape(want, b) || memcmp(a, b, sizeof a)) {
        snprintf(out->text, sizeof out->text, "has another shape");
        return false;
    }
    for (int d = 0; d < want->rank; d++)
        elems *= want->dim[d];
    for (int d = 0; valid && d < valid->rank; d++)
        places *= valid->dim[d];
    for (int64_t i = 0; i < elems; i++) {
        if (valid && element(valid, i / (elems / places)) != 1)
            continue;
        double g = element(got, i), w = element(want, i);
        compared++;
        if (fabs(g - w) <= bound)
            continue;
        char index[96];
        put_index(want, i, index, sizeof index);
        snprintf(out->text, sizeof out->text, "[%s] is %.7g, not %.7g (bound %.2g)", index, g, w,
                 bound);
        return false;
    }
    snprintf(out->text, sizeof out->text, "has nothing to compare");
    return compared > 0;
}
