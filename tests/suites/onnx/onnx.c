/* tests/suites/onnx/onnx.c: a case file, and what operators read of it. */
#include "tests/suites/onnx/onnx.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the file: u64 header bytes, a JSON object of tensors, their data
 * ------------------------------- */

static char *read_all(const char *path, size_t *bytes)
{
    FILE *f = fopen(path, "rb");
    char *data = NULL;
    long n = -1;
    if (f && fseek(f, 0, SEEK_END) == 0)
        n = ftell(f);
    if (n >= 8 && fseek(f, 0, SEEK_SET) == 0)
        data = malloc((size_t)n + 1);
    if (data && fread(data, 1, (size_t)n, f) != (size_t)n) {
        free(data);
        data = NULL;
    }
    if (f)
        fclose(f);
    *bytes = (size_t)n;
    return data;
}

static rlx_format format_named(const char *dtype)
{
    char name[16] = {0};
    for (int i = 0; dtype[i] && i < 15; i++)
        name[i] = (char)tolower((unsigned char)dtype[i]);
    return rlx_format_parse(name, strlen(name));
}

/* False when it is not there or is no tensor. One of elements that rlx has no format for is there,
 * and the case is refused for it. */
static bool read_tensor(onnx *x, const cJSON *header, const char *kind, const char *name,
                        const char *data, size_t bytes, onnx_tensor *t)
{
    char key[80];
    snprintf(key, sizeof key, "%s.%s", kind, name);
    snprintf(t->name, sizeof t->name, "%s", name);
    const cJSON *j = cJSON_GetObjectItemCaseSensitive(header, key), *item;
    const cJSON *dtype = cJSON_GetObjectItem(j, "dtype");
    const cJSON *offsets = cJSON_GetObjectItem(j, "data_offsets");
    if (!cJSON_IsString(dtype) || cJSON_GetArraySize(offsets) != 2)
        return false;
    t->format = format_named(dtype->valuestring);
    t->elems = 1;
    cJSON_ArrayForEach(item, cJSON_GetObjectItem(j, "shape"))
    {
        if (t->rank == RLX_MAX_RANK)
            return false;
        t->dim[t->rank++] = (int64_t)item->valuedouble;
        t->elems *= (int64_t)item->valuedouble;
    }
    size_t begin = (size_t)cJSON_GetArrayItem(offsets, 0)->valuedouble;
    size_t end = (size_t)cJSON_GetArrayItem(offsets, 1)->valuedouble;
    if (t->format == RLX_FORMAT_NONE) {
        ox_refuse(x, "elements of type %s", dtype->valuestring);
        return true;
    }
    if (end > bytes || begin > end || end - begin != rlx_format_bytes(t->format, t->elems))
        return false;
    t->data = malloc(end - begin + 1); /* aligned, which the file is not */
    if (t->data)
        memcpy(t->data, data + begin, end - begin);
    return t->data;
}

static bool read_list(onnx *x, const cJSON *header, const char *kind, const char *data,
                      size_t bytes, onnx_tensor *list, int *n)
{
    const cJSON *meta = cJSON_GetObjectItem(header, "__metadata__"), *item;
    char key[16];
    snprintf(key, sizeof key, "%sputs", kind);
    const cJSON *text = cJSON_GetObjectItem(meta, key);
    cJSON *names = cJSON_Parse(cJSON_IsString(text) ? text->valuestring : "");
    bool ok = cJSON_IsArray(names) && cJSON_GetArraySize(names) <= ONNX_MAX_IO;
    cJSON_ArrayForEach(item, names)
    {
        if (!ok)
            break;
        onnx_tensor *t = &list[(*n)++];
        if (item->valuestring[0])
            ok = read_tensor(x, header, kind, item->valuestring, data, bytes, t);
    }
    cJSON_Delete(names);
    return ok;
}

static bool parse(onnx *x, const char *file, size_t bytes)
{
    uint64_t length;
    memcpy(&length, file, sizeof length);
    if (length > bytes - 8)
        return false;
    cJSON *header = cJSON_ParseWithLength(file + 8, length);
    const cJSON *meta = cJSON_GetObjectItem(header, "__metadata__");
    const cJSON *op = cJSON_GetObjectItem(meta, "op"), *opset = cJSON_GetObjectItem(meta, "opset");
    const cJSON *attributes = cJSON_GetObjectItem(meta, "attributes");
    const char *data = file + 8 + length;
    bytes -= 8 + length;
    bool ok = cJSON_IsString(op) && cJSON_IsString(opset) && cJSON_IsString(attributes) &&
              read_list(x, header, "in", data, bytes, x->in, &x->nin) &&
              read_list(x, header, "out", data, bytes, x->out, &x->nout);
    if (ok) {
        snprintf(x->op, sizeof x->op, "%s", op->valuestring);
        x->opset = atoi(opset->valuestring);
        x->attributes = cJSON_Parse(attributes->valuestring);
    }
    cJSON_Delete(header);
    return ok && x->attributes;
}

rlx_status onnx_read(const char *path, onnx *x)
{
    size_t bytes;
    *x = (onnx){0};
    char *file = read_all(path, &bytes);
    const bool ok = file && parse(x, file, bytes);
    free(file);
    if (ok)
        return RLX_OK;
    onnx_free(x);
    return RLX_FAIL(RLX_INVALID_FILE, "%s is no case of an operator", path);
}

void onnx_free(onnx *x)
{
    cJSON_Delete(x->attributes);
    for (int i = 0; i < ONNX_MAX_IO; i++) {
        free(x->in[i].data);
        free(x->out[i].data);
    }
    *x = (onnx){0};
}

/* ---- reading it
 * --------------------------------------------------------------------------------------- */

void ox_refuse(onnx *x, const char *fmt, ...)
{
    va_list args;
    if (x->why[0])
        return;
    va_start(args, fmt);
    vsnprintf(x->why, sizeof x->why, fmt, args);
    va_end(args);
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
    const onnx_tensor *t = &x->in[i];
    if (!x->arg[i])
        x->arg[i] = rlx_ir_build_arg(x->b, x->func, RLX_ROLE_INPUT, t->name, NULL,
                                     rlx_ir_tensor(t->format, 1, &t->elems));
    return rlx_mir_reshape(x->b, x->arg[i], t->rank, t->dim);
}

val ox_in(onnx *x, int i)
{
    val v = ox_raw(x, i);
    bool half = v && (v->type.format == RLX_F16 || v->type.format == RLX_BF16);
    return half ? rlx_mir_cast(x->b, v, RLX_F32) : v;
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

int64_t ox_int(const onnx *x, const char *name, int64_t absent)
{
    const cJSON *a = attribute(x, name);
    return cJSON_IsNumber(a) ? (int64_t)a->valuedouble : absent;
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
    cJSON_ArrayForEach(item, a) if (n < ONNX_MAX_INTS) out[n++] = (int64_t)item->valuedouble;
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

/* ---- building it
 * ---------------------------------------------------------------------------------------- */

static const onnx_op *find_op(const char *name)
{
    static const onnx_op *const lists[] = {onnx_math,  onnx_move,  onnx_fold,   onnx_conv,
                                           onnx_image, onnx_model, onnx_signal, onnx_quant};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        for (const onnx_op *op = lists[i]; op->name; op++)
            if (strcmp(op->name, name) == 0)
                return op;
    return NULL;
}

/* Results flat, in the width that the graph declares for them. */
static rlx_status finish(onnx *x)
{
    val results[ONNX_MAX_IO];
    rlx_ir_type types[ONNX_MAX_IO];
    int n = 0;
    for (int i = 0; i < x->nout; i++) {
        const onnx_tensor *want = &x->out[i];
        val v = x->result[i];
        if (want->format == RLX_FORMAT_NONE)
            continue;
        if (!v)
            return rlx_ir_builder_finish(x->b)
                       ?: RLX_FAIL(RLX_UNSUPPORTED, "output %d is not made", i);
        bool narrows =
            v->type.format == RLX_F32 && (want->format == RLX_F16 || want->format == RLX_BF16);
        if (narrows)
            v = rlx_mir_cast(x->b, v, want->format);
        if (v && (v->type.format != want->format || v->type.rank != want->rank ||
                  memcmp(v->type.dim, want->dim, sizeof *want->dim * (size_t)want->rank)))
            return RLX_FAIL(RLX_INVALID_ARGUMENT, "output %d has another type than expected", i);
        results[n] = rlx_mir_reshape(x->b, v, 1, &want->elems);
        types[n++] = rlx_ir_tensor(want->format, 1, &want->elems);
    }
    rlx_ir_func_set_results(x->b, x->func, n, types);
    rlx_ir_build_return(x->b, n, results);
    return rlx_ir_builder_finish(x->b);
}

rlx_status onnx_build(onnx *x, rlx_ir_module *m)
{
    rlx_ir_builder b;
    const onnx_op *op = find_op(x->op);
    if (!op)
        return RLX_FAIL(RLX_UNSUPPORTED, "no %s in the importer", x->op);
    rlx_ir_builder_init(&b, m);
    x->b = &b;
    b.place = x->op;
    x->func = rlx_ir_build_func(&b, "main", 0, NULL);
    if (!x->why[0])
        op->build(x);
    if (x->why[0]) {
        rlx_status_free(rlx_ir_builder_finish(&b));
        return RLX_FAIL(RLX_UNSUPPORTED, "%s", x->why);
    }
    RLX_TRY(rlx_ir_builder_finish(&b));
    return finish(x);
}
