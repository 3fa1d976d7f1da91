/* Fuzz target: any bytes as a profile's TOML. Whatever is read says where it stands, and lies in
 * the text's lines. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/toml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct seen {
    int lines, last;
} seen;

static rlx_status visit(void *user, const rlx_toml_entry *e)
{
    seen *s = user;
    if (e->line < s->last || e->line > s->lines || !e->path[0] ||
        (e->kind != RLX_TOML_TABLE && !e->text))
        abort();
    s->last = e->line;
    return RLX_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size ? size : 1); /* reading on is found */
    seen s = {.lines = 1, .last = 1};
    if (!text)
        return 0;
    memcpy(text, data, size);
    for (size_t i = 0; i < size; i++)
        s.lines += text[i] == '\n';
    rlx_status_free(rlx_toml_read("fuzz", text, size, visit, &s));
    free(text);
    return 0;
}
