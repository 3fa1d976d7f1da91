/* tests/suites/onnx/onnx.c: a case file, and what operators read of it. */
#include "tests/suites/onnx/onnx.h"
#include "runtime/base/format.h"
#include "runtime/base/status.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the file: u64 header bytes, a JSON object of tensors, their data ------------------------ */

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
    const rlx_format f = rlx_format_parse(name, strlen(name));
    return f != RLX_FORMAT_NONE && rlx_format_get(f)->kind == RLX_KIND_BLOCK ? RLX_FORMAT_NONE : f;
}

typedef struct contents {
    cJSON *header;
    const char *data;
    size_t bytes; /* of data */
} contents;

/* Whole, not negative, and small enough for a double to be sure of it. */
static bool is_count(const cJSON *j, int64_t *out)
{
    enum { BITS = 53 };
    if (!cJSON_IsNumber(j) || !(j->valuedouble >= 0) ||
        j->valuedouble > (double)((int64_t)1 << BITS) || j->valuedouble != floor(j->valuedouble))
        return false;
    *out = (int64_t)j->valuedouble;
    return true;
}

static rlx_status read_shape(const cJSON *shape, const char *key, onnx_tensor *t)
{
    const cJSON *item;
    t->elems = 1;
    if (!cJSON_IsArray(shape) || cJSON_GetArraySize(shape) > ONNX_MAX_RANK)
        return RLX_FAIL(RLX_INVALID_FILE, "%s: shape is no list of at most %d extents", key,
                        ONNX_MAX_RANK);
    cJSON_ArrayForEach(item, shape)
    {
        int64_t *dim = &t->dim[t->rank++];
        if (!is_count(item, dim))
            return RLX_FAIL(RLX_INVALID_FILE, "%s: shape has what is no extent", key);
        if (__builtin_mul_overflow(t->elems, *dim, &t->elems))
            return RLX_FAIL(RLX_INVALID_FILE, "%s: shape has more elements than can be counted",
                            key);
    }
    return RLX_OK;
}

/* The tensor's bytes, aligned, which the file's are not. */
static rlx_status read_data(const contents *c, const cJSON *offsets, const char *key,
                            onnx_tensor *t)
{
    const int64_t each = (int64_t)rlx_format_bytes(t->format, 1);
    int64_t begin, end, bytes;
    if (!cJSON_IsArray(offsets) || cJSON_GetArraySize(offsets) != 2 ||
        !is_count(cJSON_GetArrayItem(offsets, 0), &begin) ||
        !is_count(cJSON_GetArrayItem(offsets, 1), &end) || begin > end)
        return RLX_FAIL(RLX_INVALID_FILE, "%s: data_offsets are no two ascending places", key);
    if ((uint64_t)end > c->bytes)
        return RLX_FAIL(RLX_INVALID_FILE, "%s: data_offsets end at %lld of %zu bytes", key,
                        (long long)end, c->bytes);
    if (__builtin_mul_overflow(t->elems, each, &bytes) || end - begin != bytes)
        return RLX_FAIL(RLX_INVALID_FILE, "%s: %lld bytes for %lld elements of %s", key,
                        (long long)(end - begin), (long long)t->elems,
                        rlx_format_get(t->format)->name);
    t->data = malloc((size_t)bytes + 1);
    if (!t->data)
        return RLX_FAIL(RLX_OUT_OF_MEMORY, "%s: %lld bytes", key, (long long)bytes);
    memcpy(t->data, c->data + begin, (size_t)bytes);
    return RLX_OK;
}

/* Tensor "KIND.NAME". For elements that rlx has no format for the whole case is refused. */
static rlx_status read_tensor(onnx *x, const contents *c, const char *kind, const char *name,
                              onnx_tensor *t)
{
    char key[80];
    if (strlen(name) >= sizeof t->name)
        return RLX_FAIL(RLX_INVALID_FILE, "%sputs has a name of %zu bytes", kind, strlen(name));
    snprintf(key, sizeof key, "%s.%s", kind, name);
    snprintf(t->name, sizeof t->name, "%s", name);
    const cJSON *j = cJSON_GetObjectItemCaseSensitive(c->header, key);
    const cJSON *dtype = cJSON_GetObjectItemCaseSensitive(j, "dtype");
    if (!cJSON_IsString(dtype))
        return RLX_FAIL(RLX_INVALID_FILE, "%s: no tensor with a dtype", key);
    t->format = format_named(dtype->valuestring);
    RLX_TRY(read_shape(cJSON_GetObjectItemCaseSensitive(j, "shape"), key, t));
    if (t->format == RLX_FORMAT_NONE) {
        ox_refuse(x, "elements of type %s", dtype->valuestring);
        return RLX_OK;
    }
    return read_data(c, cJSON_GetObjectItemCaseSensitive(j, "data_offsets"), key, t);
}

static rlx_status read_listed(onnx *x, const contents *c, const char *kind, const cJSON *names,
                              onnx_tensor *list, int *n)
{
    const cJSON *item;
    if (!cJSON_IsArray(names) || cJSON_GetArraySize(names) > ONNX_MAX_IO)
        return RLX_FAIL(RLX_INVALID_FILE, "%sputs is no list of at most %d names", kind,
                        ONNX_MAX_IO);
    cJSON_ArrayForEach(item, names)
    {
        if (!cJSON_IsString(item))
            return RLX_FAIL(RLX_INVALID_FILE, "%sputs[%d] is no name", kind, *n);
        onnx_tensor *t = &list[(*n)++];
        if (item->valuestring[0])
            RLX_TRY(read_tensor(x, c, kind, item->valuestring, t));
    }
    return RLX_OK;
}

/* What the metadata says under `key`, which is text; NULL: nothing. */
static const char *metadata(const contents *c, const char *key)
{
    const cJSON *meta = cJSON_GetObjectItemCaseSensitive(c->header, "__metadata__");
    return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(meta, key));
}

static rlx_status read_list(onnx *x, const contents *c, const char *kind, onnx_tensor *list, int *n)
{
    char key[16];
    snprintf(key, sizeof key, "%sputs", kind);
    const char *text = metadata(c, key);
    cJSON *names = text ? cJSON_Parse(text) : NULL;
    rlx_status st = read_listed(x, c, kind, names, list, n);
    cJSON_Delete(names);
    return st;
}

static rlx_status read_case(onnx *x, const contents *c)
{
    const char *op = metadata(c, "op"), *opset = metadata(c, "opset");
    const char *attributes = metadata(c, "attributes");
    if (!op || !opset || !attributes)
        return RLX_FAIL(RLX_INVALID_FILE, "no metadata op, opset and attributes");
    snprintf(x->op, sizeof x->op, "%s", op);
    x->opset = (int)strtol(opset, NULL, 10);
    x->attributes = cJSON_Parse(attributes);
    if (!cJSON_IsObject(x->attributes))
        return RLX_FAIL(RLX_INVALID_FILE, "attributes is no JSON object");
    RLX_TRY(read_list(x, c, "in", x->in, &x->nin));
    return read_list(x, c, "out", x->out, &x->nout);
}

static rlx_status parse(onnx *x, const char *file, size_t bytes)
{
    uint64_t length;
    memcpy(&length, file, sizeof length);
    if (length > bytes - sizeof length)
        return RLX_FAIL(RLX_INVALID_FILE, "a header of %llu bytes", (unsigned long long)length);
    const contents c = {cJSON_ParseWithLength(file + sizeof length, length),
                        file + sizeof length + length, bytes - sizeof length - length};
    rlx_status st = c.header ? read_case(x, &c) : RLX_FAIL(RLX_INVALID_FILE, "no JSON header");
    cJSON_Delete(c.header);
    return st;
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
    rlx_status st = file ? parse(x, file, bytes)
                         : RLX_FAIL(RLX_INVALID_FILE, "it cannot be read, or is too short");
    free(file);
    if (!st)
        return add_weights(x);
    onnx_free(x);
    return rlx_status_note(st, __FILE__, __LINE__, "%s is no case of an operator", path);
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
