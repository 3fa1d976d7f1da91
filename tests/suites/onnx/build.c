/* tests/suites/onnx/build.c: extents, which are constants here. */
#include "tests/suites/onnx/onnx.h"

int ox_axis(val v, int64_t axis)
{
    return (int)(axis < 0 && v ? axis + v->type.rank : axis);
}

int64_t ox_dim(val v, int axis)
{
    return v ? v->type.dim[ox_axis(v, axis)] : 1;
}

int64_t ox_elems(val v)
{
    int64_t n = 1;
    for (int i = 0; v && i < v->type.rank; i++)
        n *= v->type.dim[i];
    return n;
}
