#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/ir/ir_internal.h"

/* Is `word` in a comma-separated list? `all` stands for any. */
static bool listed(const char *list, const char *word)
{
    size_t n = strlen(word);
    while (list && *list) {
        size_t len = strcspn(list, ",");
        if ((len == n && memcmp(list, word, n) == 0) || (len == 3 && memcmp(list, "all", 3) == 0))
            return true;
        list += len + (list[len] == ',');
    }
    return false;
}

static rlx_status print_text(const rlx_ir_module *m, rlx_text *out)
{
    rlx_ir_print(m, 0, out);
    return out->oom ? RLX_OOM() : RLX_OK;
}

/* The module's text must read back to a module that prints the same. */
static rlx_status check_text(const rlx_ir_module *m)
{
    rlx_text once = {0}, twice = {0};
    rlx_ir_module *copy = NULL;
    rlx_status st;
    RLX_TRY_TO(done, print_text(m, &once));
    RLX_TRY_TO(done, rlx_ir_parse(m->level, m->dims, m->name, once.data, &copy));
    RLX_TRY_TO(done, print_text(copy, &twice));
    if (strcmp(once.data, twice.data) != 0) {
        size_t at = 0, line = 1;
        for (; once.data[at] == twice.data[at]; at++)
            line += once.data[at] == '\n';
        st = RLX_FAIL(RLX_INTERNAL, "@%s reads back differently from line %zu of its text", m->name,
                      line);
    }
done:
    rlx_ir_module_destroy(copy);
    rlx_text_deinit(&once);
    rlx_text_deinit(&twice);
    return st;
}

/* What is done beside running: from the environment, once per pipeline. */
typedef struct checks {
    const char *print; /* names of passes */
    bool text, eval;
} checks;

/* Asked for by RLX_CHECK=text: a pass that changes the text must say so. */
static rlx_status check_changed(const rlx_ir_module *m, const rlx_text *before)
{
    rlx_text after = {0};
    rlx_status st = print_text(m, &after);
    if (!st && strcmp(before->data, after.data) != 0)
        st = RLX_FAIL(RLX_INTERNAL, "it changed the module and did not say so");
    rlx_text_deinit(&after);
    return st;
}

static void print_change(const rlx_ir_module *m, const rlx_pass *pass)
{
    rlx_text t = {0};
    rlx_ir_print(m, 0, &t);
    fprintf(stderr, "// after %s\n%s", pass->name, t.data ? t.data : "");
    rlx_text_deinit(&t);
}

/* What follows a pass that succeeded. `before` is NULL, and `text` empty, when not asked for. */
static rlx_status check_after(rlx_ir_module *m, const rlx_pass *pass, const rlx_pass_cx *cx,
                              const checks *c, const rlx_pass_options *options,
                              rlx_ir_module *before, const rlx_text *text)
{
    if (cx->changed && listed(c->print, pass->name))
        print_change(m, pass);
    RLX_TRY(rlx_ir_verify(m));
    if (c->text) {
        RLX_TRY(check_text(m));
        if (!cx->changed)
            RLX_TRY(check_changed(m, text));
    }
    if (before && cx->changed)
        RLX_TRY_NOTE(options->compare(options->user, before, m), "comparing before and after");
    return RLX_OK;
}

static rlx_status run_pass(rlx_ir_module *m, const rlx_pass *pass, const checks *c,
                           const rlx_pass_options *options)
{
    rlx_ir_module *before = NULL;
    rlx_text text = {0};
    rlx_status st = RLX_OK;
    rlx_pass_cx cx = {.module = m, .scratch = rlx_arena_create()};
    if (!cx.scratch)
        return RLX_OOM();
    if (options)
        cx.options = options->options;
    if (c->eval && options && options->compare)
        RLX_TRY_TO(done, rlx_ir_module_clone(m, &before));
    if (c->text)
        RLX_TRY_TO(done, print_text(m, &text));
    RLX_TRY_TO(done, pass->run(&cx));
    st = rlx_status_note(check_after(m, pass, &cx, c, options, before, &text), __FILE__, __LINE__,
                         "%s left the module wrong", pass->name);
done:
    rlx_arena_destroy(cx.scratch);
    rlx_ir_module_destroy(before);
    rlx_text_deinit(&text);
    return st;
}

rlx_status rlx_ir_run_passes(rlx_ir_module *m, const rlx_pass *passes, int n,
                             const rlx_pass_options *options)
{
    const char *check = getenv("RLX_CHECK");
    checks c = {getenv("RLX_PRINT"), listed(check, "text"), listed(check, "eval")};
    for (int i = 0; i < n; i++)
        RLX_TRY_NOTE(run_pass(m, &passes[i], &c, options), "running %s on @%s", passes[i].name,
                     m->name);
    return RLX_OK;
}
