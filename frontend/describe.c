/* frontend/describe.c: what a model's files hold: tensors and metadata.
 *
 *   files --mapped and checked--> one JSON document --> text for people, or as it is
 *
 *   {"files":    [{"path", "bytes"}],
 *    "metadata": [{"file": index, "key", "type", "value"}],
 *    "tensors":  [{"name", "type", "shape", "bytes", "file": index, "offset"}]} */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "frontend/model_path.h"
#include "runtime/tensor_file.h"

enum { LONG_LIST = 16, FIRST = 8, LINE_CHARS = 100 };

typedef struct description {
    cJSON *root, *files, *metadata, *tensors; /* of root */
} description;

/* ---- the document ---------------------------------------------------------------------------- */

/* Adds an item; NULL, or one that finds no memory, is freed and an error. */
static rlx_status add(cJSON *to, const char *key, cJSON *item)
{
    if (item && (key ? cJSON_AddItemToObject(to, key, item) : cJSON_AddItemToArray(to, item)))
        return RLX_OK;
    cJSON_Delete(item);
    return RLX_OOM();
}

/* Bytes that need not be UTF-8: what is not becomes U+FFFD, as does a NUL. */
static void put_clean(const char *bytes, size_t n, rlx_text *out)
{
    rlx_text_put(out, "");
    for (size_t i = 0; i < n;) {
        const size_t len = bytes[i] ? rlx_text_utf8(bytes + i, n - i) : 0;
        rlx_text_put_bytes(out, len ? bytes + i : "\xef\xbf\xbd", len ? len : 3);
        i += len ? len : 1;
    }
}

static cJSON *make_text(const char *bytes, size_t n)
{
    rlx_text t = {0};
    put_clean(bytes, n, &t);
    cJSON *s = t.oom ? NULL : cJSON_CreateString(t.data);
    rlx_text_deinit(&t);
    return s;
}

static rlx_status add_text(cJSON *to, const char *key, const char *text)
{
    return add(to, key, make_text(text, strlen(text)));
}

static rlx_status add_int(cJSON *to, const char *key, int64_t v)
{
    return add(to, key, cJSON_CreateNumber((double)v));
}

/* All digits, also of what a double does not hold. */
static cJSON *make_int(const rlx_gguf_value *v)
{
    char digits[32];
    int64_t i = 0;
    if (rlx_gguf_int(v, &i))
        snprintf(digits, sizeof digits, "%lld", (long long)i);
    else
        snprintf(digits, sizeof digits, "%llu", (unsigned long long)v->u);
    return cJSON_CreateRaw(digits);
}

static cJSON *make_scalar(const rlx_gguf_value *v)
{
    switch (v->type) {
    case RLX_GGUF_STRING:
        return make_text(v->text, strlen(v->text));
    case RLX_GGUF_BOOL:
        return cJSON_CreateBool(v->u != 0);
    case RLX_GGUF_F32:
    case RLX_GGUF_F64:
        return cJSON_CreateNumber(v->f);
    default:
        return make_int(v);
    }
}

static rlx_status add_items(cJSON *list, const rlx_gguf_value *array)
{
    const uint64_t most = array->count > LONG_LIST ? FIRST : array->count;
    rlx_gguf_items it = rlx_gguf_walk(array);
    for (uint64_t i = 0; i < most; i++) {
        rlx_gguf_value item;
        const char *text;
        size_t n;
        if (array->elem == RLX_GGUF_STRING) {
            rlx_gguf_next_text(&it, &text, &n);
            RLX_TRY(add(list, NULL, make_text(text, n)));
        } else {
            rlx_gguf_next(&it, &item);
            RLX_TRY(add(list, NULL, make_scalar(&item)));
        }
    }
    return RLX_OK;
}

static rlx_status add_value(const description *d, int file, const rlx_gguf_value *v)
{
    static const char *const types[RLX_GGUF_TYPES] = {"u8",  "i8",  "u16",  "i16",    "u32",
                                                      "i32", "f32", "bool", "string", "list",
                                                      "u64", "i64", "f64"};
    cJSON *entry = cJSON_CreateObject();
    RLX_TRY(add(d->metadata, NULL, entry));
    RLX_TRY(add_int(entry, "file", file));
    RLX_TRY(add_text(entry, "key", v->key));
    if (v->type != RLX_GGUF_ARRAY) {
        RLX_TRY(add_text(entry, "type", types[v->type]));
        return add(entry, "value", make_scalar(v));
    }
    char type[48];
    snprintf(type, sizeof type, "%s[%llu]", types[v->elem], (unsigned long long)v->count);
    RLX_TRY(add_text(entry, "type", type));
    cJSON *list = cJSON_CreateArray();
    RLX_TRY(add(entry, "value", list));
    return add_items(list, v);
}

static rlx_status add_file(const description *d, const char *path, size_t bytes)
{
    cJSON *entry = cJSON_CreateObject();
    RLX_TRY(add(d->files, NULL, entry));
    RLX_TRY(add_text(entry, "path", path));
    return add_int(entry, "bytes", (int64_t)bytes);
}

static rlx_status add_tensor(const description *d, int file, const rlx_file_tensor *t)
{
    cJSON *entry = cJSON_CreateObject(), *shape = cJSON_CreateArray();
    rlx_status st = add(d->tensors, NULL, entry);
    if (st) {
        cJSON_Delete(shape);
        return st;
    }
    RLX_TRY(add(entry, "shape", shape));
    RLX_TRY(add_text(entry, "name", t->tensor.name));
    RLX_TRY(add_text(entry, "type", t->type));
    for (int i = 0; i < t->tensor.rank; i++)
        RLX_TRY(add_int(shape, NULL, t->tensor.dim[i]));
    RLX_TRY(add_int(entry, "bytes", (int64_t)t->tensor.bytes));
    RLX_TRY(add_int(entry, "file", file));
    return add_int(entry, "offset", (int64_t)t->offset);
}

static rlx_status add_weights(const description *d, const rlx_weights *w)
{
    int n;
    const rlx_tensor_file *const *files = rlx_weights_files(w, &n);
    const int before = cJSON_GetArraySize(d->files);
    for (int i = 0; i < n; i++) {
        const rlx_tensor_file *f = files[i];
        RLX_TRY(add_file(d, f->path, f->bytes));
        for (int v = 0; v < f->nvalues; v++)
            RLX_TRY(add_value(d, before + i, &f->values[v]));
        for (int t = 0; t < f->n; t++)
            RLX_TRY(add_tensor(d, before + i, &f->tensors[t]));
    }
    return RLX_OK;
}

/* Moves config.json's keys into the document. */
static rlx_status add_config_keys(const description *d, cJSON *config)
{
    while (config->child) {
        cJSON *value = cJSON_DetachItemViaPointer(config, config->child);
        cJSON *entry = cJSON_CreateObject();
        rlx_status st = add(d->metadata, NULL, entry);
        if (!st)
            st = add_int(entry, "file", cJSON_GetArraySize(d->files) - 1);
        if (!st)
            st = add_text(entry, "key", value->string);
        if (!st)
            st = add_text(entry, "type", "json");
        if (st) {
            cJSON_Delete(value);
            return st;
        }
        RLX_TRY(add(entry, "value", value));
    }
    return RLX_OK;
}

static rlx_status parse_config(const char *path, size_t *bytes, cJSON **out)
{
    char *text;
    rlx_text clean = {0};
    RLX_TRY(rlx_file_read(path, &text, bytes));
    put_clean(text, *bytes, &clean);
    *out = clean.oom ? NULL : cJSON_Parse(clean.data);
    rlx_status st = clean.oom              ? RLX_OOM()
                    : cJSON_IsObject(*out) ? RLX_OK
                                           : RLX_FAIL(RLX_INVALID_FILE, "%s: no JSON object", path);
    rlx_text_deinit(&clean);
    free(text);
    return st;
}

/* config.json, where there is one. */
static rlx_status add_config(const description *d, const char *dir)
{
    char *path;
    size_t bytes = 0;
    cJSON *config = NULL;
    RLX_TRY(rlx_path_find(dir, "config.json", &path));
    if (!path)
        return RLX_OK;
    rlx_status st = parse_config(path, &bytes, &config);
    if (!st)
        st = add_file(d, path, bytes);
    if (!st)
        st = add_config_keys(d, config);
    cJSON_Delete(config);
    free(path);
    return st;
}

static rlx_status describe(const rlx_model_path *p, const rlx_weights *w, description *d)
{
    d->root = cJSON_CreateObject();
    d->files = cJSON_AddArrayToObject(d->root, "files");
    d->metadata = cJSON_AddArrayToObject(d->root, "metadata");
    d->tensors = cJSON_AddArrayToObject(d->root, "tensors");
    if (!d->tensors || !d->metadata || !d->files)
        return RLX_OOM();
    if (!p->gguf)
        RLX_TRY(add_config(d, p->dir));
    return add_weights(d, w);
}

/* ---- text ------------------------------------------------------------------------------------ */

static const char *text_of(const cJSON *entry, const char *key)
{
    return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(entry, key));
}

static double number_of(const cJSON *entry, const char *key)
{
    return cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(entry, key));
}

/* Could this character change what a terminal shows? */
static bool is_control(const char *c)
{
    const unsigned char first = (unsigned char)c[0];
    return first < ' ' || first == 0x7f || (first == 0xc2 && (unsigned char)c[1] < 0xa0);
}

/* A value on a line, as JSON; what is long is cut at a character, and its length follows. */
static void put_value(const cJSON *value, rlx_text *out)
{
    char *json = cJSON_PrintUnformatted(value);
    const size_t n = json ? strlen(json) : 0;
    size_t i = 0;
    out->oom = out->oom || !json;
    while (i < n && i < LINE_CHARS) {
        const size_t len = rlx_text_utf8(json + i, n - i);
        if (is_control(json + i))
            rlx_text_putf(out, "\\u%04x", (unsigned char)json[i + len - 1]);
        else
            rlx_text_put_bytes(out, json + i, len);
        i += len;
    }
    if (i < n)
        rlx_text_putf(out, "... (%zu bytes)", n);
    cJSON_free(json);
}

/* A name as it is, or in quotes where it could change what a terminal shows. */
static const char *put_name(const cJSON *entry, const char *key, rlx_text *line)
{
    const cJSON *name = cJSON_GetObjectItemCaseSensitive(entry, key);
    const char *s = cJSON_GetStringValue(name);
    bool plain = true;
    for (const char *c = s; *c; c++)
        plain = plain && !is_control(c);
    rlx_text_clear(line);
    if (plain)
        rlx_text_put(line, s);
    else
        put_value(name, line);
    return line->oom ? "" : line->data;
}

static void put_metadata(const cJSON *m, rlx_text *out)
{
    const char *type = text_of(m, "type");
    rlx_text name = {0};
    rlx_text_putf(out, "  %s", put_name(m, "key", &name));
    out->oom = out->oom || name.oom;
    rlx_text_deinit(&name);
    if (strcmp(type, "json") && strcmp(type, "string"))
        rlx_text_putf(out, " %s", type);
    rlx_text_put(out, " = ");
    put_value(cJSON_GetObjectItemCaseSensitive(m, "value"), out);
    rlx_text_put(out, "\n");
}

static void put_tensor(const cJSON *t, int width, rlx_text *out)
{
    char *shape = cJSON_PrintUnformatted(cJSON_GetObjectItemCaseSensitive(t, "shape"));
    rlx_text name = {0};
    rlx_text_putf(out, "  %-*s %-7s %-16s %12.0f bytes at %.0f\n", width,
                  put_name(t, "name", &name), text_of(t, "type"), shape ? shape : "",
                  number_of(t, "bytes"), number_of(t, "offset"));
    out->oom = out->oom || !shape || name.oom;
    rlx_text_deinit(&name);
    cJSON_free(shape);
}

static void put_file(const description *d, const cJSON *file, int index, rlx_text *out)
{
    const cJSON *item;
    int n = 0, width = 0;
    cJSON_ArrayForEach(item, d->tensors)
    {
        const bool here = (int)number_of(item, "file") == index;
        const int len = here ? (int)strlen(text_of(item, "name")) : 0;
        n += here;
        width = len > width ? len : width;
    }
    rlx_text_putf(out, "%s: %.0f bytes", text_of(file, "path"), number_of(file, "bytes"));
    if (n)
        rlx_text_putf(out, ", %d tensor%s", n, n == 1 ? "" : "s");
    rlx_text_put(out, "\n");
    cJSON_ArrayForEach(item, d->metadata)
    {
        if ((int)number_of(item, "file") == index)
            put_metadata(item, out);
    }
    cJSON_ArrayForEach(item, d->tensors)
    {
        if ((int)number_of(item, "file") == index)
            put_tensor(item, width, out);
    }
}

static rlx_status print(const description *d, bool json, char **text)
{
    rlx_text out = {0};
    const cJSON *file;
    int index = 0;
    if (json) {
        *text = cJSON_Print(d->root);
        return *text ? RLX_OK : RLX_OOM();
    }
    cJSON_ArrayForEach(file, d->files)
    {
        put_file(d, file, index++, &out);
    }
    *text = rlx_text_take(&out);
    return *text ? RLX_OK : RLX_OOM();
}

rlx_status rlx_model_describe(const char *path, bool json, char **text)
{
    rlx_model_path p;
    rlx_weights *w = NULL;
    description d = {0};
    *text = NULL;
    rlx_status st = rlx_model_path_init(path, &p);
    if (!st)
        st = rlx_weights_create(&w);
    if (!st)
        st = rlx_model_path_add_weights(&p, w);
    if (!st)
        st = describe(&p, w, &d);
    if (!st)
        st = print(&d, json, text);
    cJSON_Delete(d.root);
    rlx_weights_destroy(w);
    rlx_model_path_deinit(&p);
    RLX_TRY_NOTE(st, "listing the model %s", path);
    return RLX_OK;
}
