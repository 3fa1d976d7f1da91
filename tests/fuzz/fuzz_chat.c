/* What a folder of arbitrary files says about conversations: templates that have names and texts,
 * and special tokens that a template is rendered with. */
#include "frontend/chat.h"
#include "frontend/jinja/jinja.h"
#include "tests/fuzz/fuzz_files.h"

/* The tokens are JSON that a template takes. */
static void use_tokens(const rlx_chat *c)
{
    static const char text[] = "{{ bos_token }}{{ eos_token }}{{ pad_token }}";
    const rlx_jinja_limits limits = {.steps = 20000, .bytes = 1 << 20, .output_bytes = 1 << 18};
    const rlx_jinja_names names = {NULL, c->tokens, strlen(c->tokens)};
    rlx_jinja_template *t;
    char *out = NULL;
    size_t bytes;
    must(!rlx_jinja_parse("fuzz", text, sizeof text - 1, &t), "the template is refused");
    fuzz_end(rlx_jinja_render(t, &names, 1, 0, &limits, &out, &bytes));
    free(out);
    rlx_jinja_destroy(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = {"tokenizer_config.json", "special_tokens_map.json",
                                        "chat_template.json", "chat_template.jinja"};
    rlx_chat *c;
    if (size > FUZZ_MAX_BYTES)
        return 0;
    fuzz_put_files(data, size, names, 4);
    rlx_status st = rlx_chat_load(fuzz_folder(), &c);
    for (int i = 0; !st && i < rlx_chat_count(c); i++)
        must(rlx_chat_name(c, i) && rlx_chat_template(c, i), "a template without name or text");
    if (!st)
        use_tokens(c);
    fuzz_end(st);
    rlx_chat_destroy(c);
    return 0;
}
