/* frontend/quantize_source.c: what is quantized: the tensors of a GGUF file, or of its parts, and
 * its metadata. */
#include <stdlib.h>
#include <string.h>

#include "frontend/model_path.h"
#include "frontend/quantize.h"

/* Keys that the new file has of its own. */
static bool is_dropped(const char *key)
{
    return !strncmp(key, "split.", 6) || !strcmp(key, "general.file_type") ||
           !strcmp(key, "general.quantization_version") || !strcmp(key, "general.alignment");
}

/* ARCH.suffix as a whole number; `absent` without it, or where every layer has its own. */
static int64_t number_of(const rlx_gguf *f, const char *suffix, int64_t absent)
{
    const rlx_gguf_value *arch = rlx_gguf_find(f, "general.architecture");
    int64_t n = absent;
    rlx_text key = {0};
    rlx_text_putf(&key, "%s.%s", arch ? arch->text : "", suffix);
    const rlx_gguf_value *v = key.oom ? NULL : rlx_gguf_find(f, key.data);
    if (v && !rlx_gguf_int(v, &n))
        n = absent;
    rlx_text_deinit(&key);
    return n;
}

static rlx_status list_tensors(rlx_quantize_source *s)
{
    int n = 0;
    for (int p = 0; p < s->nparts; p++)
        n += rlx_gguf_count(s->parts[p]);
    s->tensors = calloc((size_t)n + 1, sizeof *s->tensors);
    if (!s->tensors)
        return RLX_OOM();
    for (int p = 0; p < s->nparts; p++)
        for (int i = 0; i < rlx_gguf_count(s->parts[p]); i++)
            s->tensors[s->n++] = *rlx_gguf_at(s->parts[p], i);
    return RLX_OK;
}

static rlx_status read_gguf(rlx_quantize_source *s, const char *path)
{
    RLX_TRY(rlx_gguf_open_parts(path, &s->parts, &s->nparts));
    const rlx_gguf *first = s->parts[0];
    for (int i = 0; i < rlx_gguf_value_count(first); i++)
        if (!is_dropped(rlx_gguf_value_at(first, i)->key))
            rlx_gguf_put_value(&s->head, rlx_gguf_value_at(first, i));
    RLX_TRY(list_tensors(s));
    int64_t queries = number_of(first, "attention.head_count", 1);
    int64_t keys = number_of(first, "attention.head_count_kv", queries);
    s->model.layers = (int)number_of(first, "block_count", 0);
    s->model.queries_per_key = keys > 0 && queries >= keys ? (int)(queries / keys) : 1;
    return RLX_OK;
}

rlx_status rlx_quantize_source_init(rlx_quantize_source *s, const char *path)
{
    rlx_model_path p;
    *s = (rlx_quantize_source){0};
    RLX_TRY(rlx_model_path_init(path, &p));
    rlx_status st = p.gguf ? read_gguf(s, path) : rlx_quantize_read_directory(s, &p);
    s->model.tied = true;
    for (int i = 0; i < s->n; i++)
        if (!strcmp(s->tensors[i].name, "output.weight"))
            s->model.tied = false;
    rlx_model_path_deinit(&p);
    if (st)
        rlx_quantize_source_deinit(s);
    return st;
}

rlx_status rlx_quantize_source_check(const rlx_quantize_source *s)
{
    for (int i = 0; i < s->nparts; i++)
        RLX_TRY(rlx_gguf_check(s->parts[i]));
    return s->weights ? rlx_weights_check_files(s->weights) : RLX_OK;
}

void rlx_quantize_source_deinit(rlx_quantize_source *s)
{
    rlx_gguf_head_deinit(&s->head);
    rlx_gguf_close_parts(s->parts, s->nparts);
    for (int i = 0; s->names && i < s->n; i++)
        free(s->names[i]);
    free(s->names);
    free(s->heads);
    free(s->rope_factors[0]);
    free(s->rope_factors[1]);
    free(s->tensors);
    rlx_weights_destroy(s->weights);
    *s = (rlx_quantize_source){0};
}
