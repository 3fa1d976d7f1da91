/* tests/suites/onnx/build.c: what operators read of a case, and shorthands. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "runtime/base/format.h"
#include "tests/suites/onnx/onnx.h"

void ox_refuse(onnx *x, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(x->why, sizeof x->why, fmt, args);
    va_end(args);
    if (x->b)
        rlx_builder_fail(x->b, RLX_UNSUPPORTED, x->why);
}

bool ox_has(const onnx *x, int i)
{
    return i < x->nin && x->in[i].format != RLX_FORMAT_NONE;
}

val ox_raw(onnx *x, int i)
{
    if (!ox_has(x, i)) {
        ox_refuse(x, "input %d is left out", i);
        return NULL;
    }
    const rlx_tensor t = onnx_as_tensor(&x->in[i]);
    x->given[i] = true;
    val v = i || x->makes ? rlx_build_input(x->b, t.name, t.format, t.rank, t.dim) : x->entry;
    return rlx_build_reshape(x->b, v, x->in[i].rank, x->in[i].dim);
}

val ox_in(onnx *x, int i)
{
    val v = ox_raw(x, i);
    const rlx_format f = rlx_value_format(v);
    return f == RLX_F16 || f == RLX_BF16 ? rlx_build_cast(x->b, v, RLX_F32) : v;
}

val ox_weight(onnx *x, int i)
{
    return ox_has(x, i) ? rlx_build_weight(x->b, x->in[i].name) : NULL;
}

void ox_out(onnx *x, int i, val v)
{
    if (i < x->nout && x->out[i].format != RLX_FORMAT_NONE)
        x->result[i] = v;
}

int ox_ints(onnx *x, int i, int64_t *out)
{
    if (!ox_has(x, i))
        return 0;
    const onnx_tensor *t = &x->in[i];
    if (t->elems > ONNX_MAX_INTS) {
        ox_refuse(x, "%lld constants", (long long)t->elems);
        return 0;
    }
    if (t->format == RLX_I64) /* of any value, at any address */
        memcpy(out, t->data, sizeof *out * (size_t)t->elems);
    else
        for (int64_t k = 0; k < t->elems; k++)
            out[k] = (int64_t)rlx_format_load(t->format, t->data, k);
    return (int)t->elems;
}

double ox_number(onnx *x, int i, double absent)
{
    return ox_has(x, i) && x->in[i].elems == 1 ? rlx_format_load(x->in[i].format, x->in[i].data, 0)
                                               : absent;
}

static const cJSON *attribute(const onnx *x, const char *name)
{
    return cJSON_GetObjectItemCaseSensitive(x->attributes, name);
}

/* Saturating: attributes are of any size. */
static int64_t to_int(double v)
{
    int64_t i;
    rlx_format_store(RLX_I64, &i, 0, v);
    return i;
}

int64_t ox_int(const onnx *x, const char *name, int64_t absent)
{
    const cJSON *a = attribute(x, name);
    return cJSON_IsNumber(a) ? to_int(a->valuedouble) : absent;
}

double ox_float(const onnx *x, const char *name, double absent)
{
    const cJSON *a = attribute(x, name);
    return cJSON_IsNumber(a) ? a->valuedouble : absent;
}

const char *ox_text(const onnx *x, const char *name, const char *absent)
{
    const cJSON *a = attribute(x, name);
    return cJSON_IsString(a) ? a->valuestring : absent;
}

int ox_list(const onnx *x, const char *name, int64_t *out)
{
    const cJSON *a = attribute(x, name), *item;
    int n = 0;
    if (!cJSON_IsArray(a))
        return -1;
    cJSON_ArrayForEach(item, a) if (n < ONNX_MAX_INTS) out[n++] = to_int(item->valuedouble);
    return n;
}

rlx_format ox_dtype(onnx *x, int64_t code)
{
    static const rlx_format formats[] = {
        [1] = RLX_F32,  [2] = RLX_U8,   [3] = RLX_I8,   [4] = RLX_U16,  [5] = RLX_I16,
        [6] = RLX_I32,  [7] = RLX_I64,  [9] = RLX_BOOL, [10] = RLX_F16, [11] = RLX_F64,
        [12] = RLX_U32, [13] = RLX_U64, [16] = RLX_BF16};
    if (code > 0 && code <= 16 && formats[code])
        return formats[code];
    ox_refuse(x, "elements of type %lld", (long long)code);
    return RLX_F32;
}

/* ---- shorthands ------------------------------------------------------------------------------- */

int ox_axis(val v, int64_t axis)
{
    return (int)(axis < 0 ? axis + rlx_value_rank(v) : axis);
}

int64_t ox_dim(val v, int axis)
{
    return v ? rlx_value_dim(v, ox_axis(v, axis)) : 1;
}

int64_t ox_elems(val v)
{
    int64_t n = 1;
    for (int i = 0; i < rlx_value_rank(v); i++)
        n *= rlx_value_dim(v, i);
    return n;
}

void ox_dims(val v, int64_t dims[ONNX_MAX_RANK])
{
    for (int i = 0; i < ONNX_MAX_RANK; i++)
        dims[i] = i < rlx_value_rank(v) ? rlx_value_dim(v, i) : 1;
}

val ox_number_of(onnx *x, val like, double value)
{
    return like ? rlx_build_number(x->b, rlx_value_format(like), value) : NULL;
}

val ox_iota(onnx *x, rlx_format f, val v, int axis)
{
    int64_t dims[ONNX_MAX_RANK] = {1, 1, 1, 1, 1, 1, 1, 1};
    if (!v)
        return NULL;
    dims[axis] = ox_dim(v, axis);
    return rlx_build_reshape(x->b, rlx_build_iota(x->b, f, dims[axis]), rlx_value_rank(v), dims);
}

unsigned ox_axes(val v, int first)
{
    return v ? (1u << rlx_value_rank(v)) - (1u << first) : 0;
}

/* The axes as lists; returns how many. */
static int list_axes(unsigned axes, int list[ONNX_MAX_RANK])
{
    int n = 0;
    for (int i = 0; i < ONNX_MAX_RANK; i++)
        if (axes >> i & 1)
            list[n++] = i;
    return n;
}

val ox_fold(onnx *x, rlx_map fn, val v, unsigned axes, bool keep)
{
    int list[ONNX_MAX_RANK];
    const int n = list_axes(axes, list);
    return rlx_build_reduce(x->b, fn, v, n, list, keep);
}

val ox_mean(onnx *x, val v, unsigned axes)
{
    int list[ONNX_MAX_RANK];
    const int n = list_axes(axes, list);
    return rlx_build_mean(x->b, v, n, list);
}

val ox_like(onnx *x, val v, val shape)
{
    int64_t dims[ONNX_MAX_RANK];
    ox_dims(shape, dims);
    return rlx_build_reshape(x->b, v, rlx_value_rank(shape), dims);
}

val ox_expand(onnx *x, val v, val shape)
{
    int64_t dims[ONNX_MAX_RANK];
    ox_dims(shape, dims);
    return rlx_build_expand(x->b, v, rlx_value_rank(shape), dims);
}

val ox_place(onnx *x, val v, int n, const val *at)
{
    val place = NULL;
    for (int i = 0; i < n; i++)
        place = place ? ADD(MUL(place, LIKE(place, (double)ox_dim(v, i))), at[i]) : at[i];
    return place;
}

val ox_at(onnx *x, val v, const val *at)
{
    val all = rlx_build_reshape(x->b, v, 1, (int64_t[]){ox_elems(v)});
    return rlx_build_take(x->b, all, ox_place(x, v, rlx_value_rank(v), at), 0);
}
