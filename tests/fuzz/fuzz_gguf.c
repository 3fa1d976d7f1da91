/* A .gguf file of arbitrary bytes: its metadata can be walked, its tensors used, and a family makes
 * of it a flow or an error. */
#include <cjson/cJSON.h>

#include "frontend/family.h"
#include "frontend/rope.h"
#include "runtime/gguf.h"
#include "tests/fuzz/fuzz_weights.h"

static void walk(const rlx_gguf_value *v)
{
    rlx_gguf_items it = rlx_gguf_walk(v);
    rlx_gguf_value item;
    const char *text;
    size_t bytes;
    uint64_t n = 0;
    if (v->elem == RLX_GGUF_STRING)
        while (rlx_gguf_next_text(&it, &text, &bytes))
            n += bytes ? 1 + (text[bytes - 1] & 0) : 1;
    else
        while (rlx_gguf_next(&it, &item))
            n++;
    must(n == v->count, "a list of another length");
}

static void use_metadata(const rlx_gguf *f)
{
    for (int i = 0; i < rlx_gguf_value_count(f); i++) {
        const rlx_gguf_value *v = rlx_gguf_value_at(f, i);
        must(rlx_gguf_find(f, v->key) == v, "a key is not found");
        if (v->type == RLX_GGUF_STRING)
            must(v->text != NULL, "no text");
        if (v->type == RLX_GGUF_ARRAY)
            walk(v);
    }
}

static rlx_status build(const cJSON *config, rlx_weights *w)
{
    const char *type = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(config, "model_type"));
    const rlx_family *family = type ? rlx_family_find(type) : NULL;
    rlx_flow *flow;
    rlx_model_config out;
    must(family != NULL, "a config of no family");
    RLX_TRY(family->build(config, w, &flow, &out));
    rlx_flow_destroy(flow);
    rlx_rope_destroy(out.rope);
    return RLX_OK;
}

static rlx_status read_file(const char *path, rlx_weights *w)
{
    rlx_gguf *f;
    cJSON *config = NULL;
    RLX_TRY(rlx_gguf_open(path, &f));
    use_metadata(f);
    rlx_status unread = rlx_family_read_gguf(&f, 1, &config);
    rlx_status st = rlx_family_add_gguf(w, config, f);
    fuzz_use_weights(w);
    if (!st && !unread)
        st = build(config, w);
    cJSON_Delete(config);
    fuzz_end(unread);
    return st;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[FUZZ_PATH_CHARS];
    rlx_weights *w;
    if (size > FUZZ_MAX_BYTES)
        return 0;
    must(!rlx_weights_create(&w), "out of memory");
    int fd = fuzz_file(data, size, path);
    fuzz_end(read_file(path, w));
    rlx_weights_destroy(w);
    close(fd);
    return 0;
}
