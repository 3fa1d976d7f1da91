/* tests/suites/onnx/onnx.c: a case file, and what operators read of it. */
#include "tests/suites/onnx/onnx.h"
#include "runtime/base/format.h"
#include "runtime/base/status.h"

#include <ctype.h>
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
        if (t->rank == ONNX_MAX_RANK)
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

rlx_tensor onnx_as_tensor(const onnx_tensor *t)
{
    rlx_tensor v = {.name = t->name,
                    .format = t->format,
                    .rank = t->rank > ONNX_MAX_DIMS ? 1 : t->rank,
                    .dim = {t->elems},
                    .data = t->data,
                    .bytes = t->format ? rlx_format_bytes(t->format, t->elems) : 0};
    if (t->rank <= ONNX_MAX_DIMS)
        memcpy(v.dim, t->dim, sizeof v.dim);
    return v;
}

/* Input i is "in<i>". All floats that may be weights are in the set; operators ask for some. */
static rlx_status add_weights(onnx *x)
{
    RLX_TRY(rlx_weights_create(&x->weights));
    for (int i = 0; i < x->nin; i++) {
        snprintf(x->in[i].name, sizeof x->in[i].name, "in%d", i);
        if (!rlx_format_is_float(x->in[i].format) || !x->in[i].elems)
            continue;
        const rlx_tensor t = onnx_as_tensor(&x->in[i]);
        RLX_TRY(rlx_weights_add(x->weights, &t));
    }
    return RLX_OK;
}

rlx_status onnx_read(const char *path, onnx *x)
{
    size_t bytes;
    *x = (onnx){0};
    char *file = read_all(path, &bytes);
    const bool ok = file && parse(x, file, bytes);
    free(file);
    if (ok)
        return add_weights(x);
    onnx_free(x);
    return RLX_FAIL(RLX_INVALID_FILE, "%s is no case of an operator", path);
}

void onnx_free(onnx *x)
{
    rlx_weights_destroy(x->weights);
    cJSON_Delete(x->attributes);
    for (int i = 0; i < ONNX_MAX_IO; i++) {
        free(x->in[i].data);
        free(x->out[i].data);
    }
    *x = (onnx){0};
}

/* ---- the flow --------------------------------------------------------------------------------- */

typedef struct onnx_op {
    const char *name;
    void (*build)(onnx *x);
    bool makes;
} onnx_op;

static const onnx_op operators[] = {
#define OP(name) {#name, op_##name, false},
#define AS(name, other) {#name, op_##other, false},
#define MAKES(name) {#name, op_##name, true},
#include "tests/suites/onnx/operators.def"
#undef OP
#undef AS
#undef MAKES
};

static const onnx_op *find_op(const char *name)
{
    for (size_t i = 0; i < sizeof operators / sizeof *operators; i++)
        if (strcmp(operators[i].name, name) == 0)
            return &operators[i];
    return NULL;
}

/* Output i in the width and the shape that the graph declares for it, as the stream "out<i>". */
static void store(onnx *x, int i)
{
    const onnx_tensor *want = &x->out[i];
    const rlx_tensor as = onnx_as_tensor(want);
    char stream[16], why[64];
    val v = x->result[i];
    snprintf(stream, sizeof stream, "out%d", i);
    if (!v)
        ox_refuse(x, "output %d is not made", i);
    if (rlx_value_format(v) == RLX_F32 && (want->format == RLX_F16 || want->format == RLX_BF16))
        v = rlx_build_cast(x->b, v, want->format);
    bool same = rlx_value_format(v) == want->format && rlx_value_rank(v) == want->rank;
    for (int d = 0; d < want->rank; d++)
        same = same && rlx_value_dim(v, d) == want->dim[d];
    snprintf(why, sizeof why, "output %d has another type than expected", i);
    if (!same)
        rlx_builder_fail(x->b, RLX_INVALID_ARGUMENT, why);
    rlx_build_store(x->b, stream, rlx_build_reshape(x->b, v, as.rank, as.dim));
}

/* What passes on is of no interest: outputs are streams. */
static val build(rlx_builder *b, val entry, void *user)
{
    onnx *x = user;
    x->b = b;
    x->entry = entry;
    memset(x->given, 0, sizeof x->given);
    memset(x->result, 0, sizeof x->result);
    find_op(x->op)->build(x);
    for (int i = 0; i < x->nout; i++)
        if (x->out[i].format != RLX_FORMAT_NONE)
            store(x, i);
    return entry;
}

static void record(onnx *x, const onnx_op *op, rlx_flow *f)
{
    const rlx_tensor t = onnx_as_tensor(&x->in[0]);
    char stream[16];
    if (op->makes)
        rlx_flow_input(f, "entry", RLX_F32, 0, NULL);
    else
        rlx_flow_input(f, t.name, t.format, t.rank, t.dim);
    rlx_flow_custom(f, x->op, build, x);
    for (int i = 0; i < x->nout; i++) {
        snprintf(stream, sizeof stream, "out%d", i);
        if (x->out[i].format != RLX_FORMAT_NONE)
            rlx_flow_output_stream(f, x->out[i].name, stream);
    }
    if (op->makes)
        rlx_flow_output(f, "exit");
}

rlx_status onnx_record(onnx *x, rlx_flow **out)
{
    const onnx_op *op = find_op(x->op);
    *out = NULL;
    if (!op)
        return RLX_FAIL(RLX_UNSUPPORTED, "no %s in the importer", x->op);
    if (x->why[0])
        return RLX_FAIL(RLX_UNSUPPORTED, "%s", x->why);
    RLX_TRY(rlx_flow_create(x->op, out));
    x->makes = op->makes;
    record(x, op, *out);
    return RLX_OK;
}
