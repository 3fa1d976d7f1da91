/* Fuzz target: any bytes as a chat template, rendered for a small conversation under small limits.
 * With "JSON:" in front they are the names that a fixed template is rendered for. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/jinja/jinja.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char names[] =
    "{\"messages\": [{\"role\": \"system\", \"content\": \"S\\u00e9\"}, {\"role\": \"user\", "
    "\"content\": \"Hi <b> 'q'\\n\"}, {\"role\": \"assistant\", \"content\": null, "
    "\"tool_calls\": [{\"function\": {\"name\": \"f\", \"arguments\": {\"x\": 1.5, \"y\": [1, "
    "-2]}}}]}], \"tools\": [{\"type\": \"function\", \"function\": {\"name\": \"f\", "
    "\"parameters\": {}}}], \"bos_token\": \"<s>\", \"add_generation_prompt\": true, \"n\": 3, "
    "\"l\": [3, 1, 2], \"d\": {\"b\": 1, \"a\": 2}}";
static const char fixed[] = "{{ messages }}{{ messages|tojson(indent=2) }}{{ x is defined }}";

static void render(const char *text, size_t bytes, const char *json, size_t json_bytes)
{
    const rlx_jinja_limits limits = {.steps = 20000, .bytes = 1 << 20, .output_bytes = 1 << 16};
    rlx_jinja_template *t;
    char *out = NULL;
    size_t n = 0;
    rlx_status st = rlx_jinja_parse("fuzz", text, bytes, &t);
    const rlx_jinja_names given[] = {{NULL, json, json_bytes}, {"more", "[1.5]", 5}};
    if (!st)
        st = rlx_jinja_render(t, given, 2, 1700000000, &limits, &out, &n);
    if (!st != (out != NULL) || (out && (strlen(out) > n || n > (1 << 16) + (1 << 20))))
        abort();
    free(out);
    rlx_status_free(st);
    rlx_jinja_destroy(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char mark[] = "JSON:";
    const size_t skip = sizeof mark - 1;
    char *copy = malloc(size ? size : 1); /* reading on is found */
    if (!copy)
        return 0;
    memcpy(copy, data, size);
    if (size >= skip && !memcmp(copy, mark, skip))
        render(fixed, sizeof fixed - 1, copy + skip, size - skip);
    else
        render(copy, size, names, sizeof names - 1);
    free(copy);
    return 0;
}
