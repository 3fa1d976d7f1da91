/* Arbitrary bytes as a profile: whatever its TOML says lies in the text's lines, in their order;
 * what the profile takes of it can be applied. */
#include "frontend/rlx.h"
#include "frontend/toml.h"
#include "tests/fuzz/fuzz.h"

typedef struct seen {
    int lines, last;
} seen;

static rlx_status visit(void *user, const rlx_toml_entry *e)
{
    seen *s = user;
    must(e->line >= s->last && e->line <= s->lines, "an entry that is on none of the next lines");
    must(e->path[0] && (e->kind == RLX_TOML_TABLE || e->text), "an entry without path or text");
    s->last = e->line;
    return RLX_OK;
}

static void read_toml(const uint8_t *data, size_t size)
{
    char *text = malloc(size ? size : 1); /* reading on is found */
    seen s = {.lines = 1, .last = 1};
    must(text != NULL, "out of memory");
    memcpy(text, data, size);
    for (size_t i = 0; i < size; i++)
        s.lines += text[i] == '\n';
    fuzz_end(rlx_toml_read("fuzz", text, size, visit, &s));
    free(text);
}

static void read_profile(const uint8_t *data, size_t size)
{
    char path[FUZZ_PATH_CHARS];
    rlx_profile *p;
    rlx_context_options context = {0};
    rlx_model_options model = {0};
    int fd = fuzz_file(data, size, path);
    rlx_status st = rlx_profile_load(path, &p);
    if (!st) {
        rlx_profile_apply_context(p, &context);
        rlx_profile_apply_model(p, &model);
        must(context.threads >= 0 && model.prefill >= 0 && model.max_positions >= 0,
             "a number below zero");
        rlx_profile_destroy(p);
    }
    fuzz_end(st);
    close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > FUZZ_MAX_BYTES)
        return 0;
    read_toml(data, size);
    read_profile(data, size);
    return 0;
}
