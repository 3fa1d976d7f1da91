/* tests/flow/test_spills.c: inner loops keep what they multiply in registers. The bundled model for
 * several CPU paths, as assembly: of each innermost loop that multiplies vectors, how many of its
 * instructions touch the stack. */
#include <stdio.h>
#include <stdlib.h>

#include "frontend/compile.h"
#include "runtime/cpu.h"
#include "tests/base/suite.h"
#include "tests/flow/model.h"

/* In percent of a loop's instructions: a little above what is there, so that worse is seen. */
static const struct {
    const char *path;
    int most;
} paths[] = {{"x86-64-v3", 25},
             {"x86-64-v4", 10},
             {"x86-64-v4+avx512vnni+avx512bf16", 10},
             {"x86-64-v4+avx512vnni+avx512bf16+amx-tile+amx-int8+amx-bf16", 10}};
enum { PATHS = sizeof paths / sizeof *paths, LEAST_PRODUCTS = 8 };

/* An instruction, or a label, that a kernel's text has. */
typedef struct line {
    const char *text;
    int bytes;
} line;

typedef struct listing {
    line *lines;
    int n;
} listing;

static listing read_lines(const char *text)
{
    listing l = {0};
    int room = 0;
    for (const char *at = text; *at;) {
        const int bytes = (int)strcspn(at, "\n");
        const bool code = at[0] == '\t' && at[1] >= 'a' && at[1] <= 'z',
                   label = !strncmp(at, ".L", 2);
        if (l.n == room)
            l.lines = realloc(l.lines, sizeof *l.lines * (size_t)(room = 2 * room + 256));
        if (code || label)
            l.lines[l.n++] = (line){at, bytes};
        at += bytes + (at[bytes] == '\n');
    }
    return l;
}

static bool has(const line *l, const char *word)
{
    const char *at = strstr(l->text, word);
    return at && at < l->text + l->bytes;
}

/* The line of the label that a jump goes back to, or -1. */
static int target_of(const listing *l, int jump)
{
    const char *to = strstr(l->lines[jump].text, ".L");
    if (l->lines[jump].text[1] != 'j' || !to || to > l->lines[jump].text + l->lines[jump].bytes)
        return -1;
    const size_t bytes = (size_t)(l->lines[jump].text + l->lines[jump].bytes - to);
    for (int i = jump; i >= 0; i--)
        if (!strncmp(l->lines[i].text, to, bytes) && l->lines[i].text[bytes] == ':')
            return i;
    return -1;
}

/* Percent of stack accesses of the worst innermost loop. */
static int worst_loop(const char *text, int *loops)
{
    listing l = read_lines(text);
    int worst = 0, after = -1; /* the last loop began there: a loop around it is no innermost one */
    for (int i = 0; i < l.n; i++) {
        const int from = target_of(&l, i);
        int products = 0, stack = 0;
        if (from < 0 || from < after)
            continue;
        after = from;
        for (int k = from; k <= i; k++) {
            products += has(&l.lines[k], "\tvfmadd") || has(&l.lines[k], "\tvpmaddubsw") ||
                        has(&l.lines[k], "\tvpdpbusd") || has(&l.lines[k], "\tvdpbf16ps");
            stack += has(&l.lines[k], "(%rsp)");
        }
        if (products < LEAST_PRODUCTS)
            continue;
        const int percent = 100 * stack / (i - from);
        worst = percent > worst ? percent : worst;
        (*loops)++;
    }
    free(l.lines);
    return worst;
}

static void check_bucket(const test_model *m, int path, rlx_precision precision, int64_t tokens)
{
    rlx_context cx = {.runner = RLX_RUN_CODE, .target = {.kind = RLX_JIT_CPU}};
    const rlx_bucket buckets[] = {{"TOKENS", tokens}, {"ROWS", tokens}};
    const rlx_compile_options o = {.buckets = buckets, .nbuckets = 2, .precision = precision};
    rlx_compilation c;
    int loops = 0;
    assert_ok(rlx_cpu_parse(paths[path].path, false, &cx.target.features));
    assert_ok(rlx_compilation_run(&c, &cx, m->flow, m->w, &o, RLX_LEVEL_LIR));
    for (const rlx_ir_func *f = c.lir->first; f; f = f->next) {
        rlx_text text = {0};
        if (!f->is_kernel)
            continue;
        assert_ok(rlx_jit_print_kernel(f, &cx.target, RLX_JIT_ASM, &text));
        const int percent = worst_loop(text.data, &loops);
        if (percent)
            printf("%s: @%s: %d %% of a loop\n", paths[path].path, f->name, percent);
        ck_assert_msg(percent <= paths[path].most,
                      "%s: %d %% of an inner loop of @%s touch the stack, at most %d are known",
                      paths[path].path, percent, f->name, paths[path].most);
        rlx_text_deinit(&text);
    }
    ck_assert_int_ge(loops, 3);
    rlx_compilation_deinit(&c);
}

START_TEST(registers_hold)
{
    test_model m;
    model_init_directory(&m, RLX_SOURCE_DIR "/models/bundled", NULL);
    assert_ok(model_make_flow(&m));
    check_bucket(&m, _i, RLX_FAST, 128);
    check_bucket(&m, _i, RLX_EXACT, 1);
    model_deinit(&m);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("spills");
    TCase *c = tcase_create("spills");
    tcase_set_timeout(c, 100);
    tcase_add_loop_test(c, registers_hold, 0, PATHS);
    suite_add_tcase(s, c);
    return run_suite(s, PATHS);
}
