/* tests/flow/test_cpu_paths.c: the bundled model for every CPU path, both precisions and both kinds
 * of step: each kernel is emitted and assembled to an object, on whatever CPU the test runs. Paths
 * that this CPU has are executed by the conformance runs; a line names the others. */
#include <elf.h>
#include <stdio.h>

#include "frontend/compilation.h"
#include "runtime/cpu.h"
#include "runtime/program.h"
#include "tests/base/suite.h"
#include "tests/flow/model.h"

static const char *const paths[] = {
#define LEVEL(name) name,
#include "frontend/tool/cpu_levels.def"
#undef LEVEL
};
enum { PATHS = sizeof paths / sizeof *paths };

/* parts: there are loops that its kernels have in common. */
static void check_objects(const rlx_text *entry, const char *path, bool parts)
{
    rlx_program *p;
    assert_ok(rlx_program_decode(entry->data, entry->len, &p));
    ck_assert_uint_gt(p->nkernels, 4);
    if (strstr(path, "amx"))
        ck_assert_uint_eq(p->nparts, 0);
    if (parts)
        ck_assert_uint_gt(p->nparts, 0);
    for (uint32_t i = 0; i < p->nkernels + p->nparts; i++) {
        Elf64_Ehdr head;
        ck_assert_uint_gt(p->kernels[i].code_bytes, sizeof head);
        memcpy(&head, p->kernels[i].code, sizeof head);
        ck_assert_msg(!memcmp(head.e_ident, ELFMAG, SELFMAG) && head.e_machine == EM_X86_64 &&
                          head.e_type == ET_REL,
                      "%s: kernel %u is no object of this machine", path, i);
    }
    rlx_program_destroy(p);
}

/* What the whole way tells of code is what the compiler made of it, parts included. */
static void check_stats(rlx_context *cx, const test_model *m, const rlx_compile_options *o,
                        int64_t code_bytes)
{
    rlx_compile_stats stats;
    rlx_executable *exe;
    assert_ok(rlx_flow_compile(cx, m->flow, m->w, o, &stats, &exe));
    rlx_executable_destroy(exe);
    ck_assert_int_eq(stats.code_bytes, code_bytes);
}

static void compile_model(const test_model *m, const char *path, rlx_precision precision,
                          int64_t tokens)
{
    rlx_context cx = {.runner = RLX_RUN_CODE, .target = {.kind = RLX_JIT_CPU}};
    const rlx_bucket buckets[] = {{"TOKENS", tokens}, {"ROWS", tokens}};
    const rlx_compile_options o = {.buckets = buckets, .nbuckets = 2, .precision = precision};
    rlx_compilation c;
    rlx_text entry = {0};
    rlx_jit_stats stats;
    assert_ok(rlx_cpu_parse(path, false, &cx.target.features));
    assert_ok(rlx_compilation_run(&c, &cx, m->flow, m->w, &o, RLX_LEVEL_LIR));
    const rlx_jit_options jo = {.entry = RLX_ENTRY,
                                .output_names = (const char *const *)c.outputs.name,
                                .upper = c.upper,
                                .provenance = "test_cpu_paths"};
    assert_ok(rlx_jit_compile(c.lir, &cx.target, &jo, &entry, &stats));
    /* prompts in panels of bf16; kernels for AMX are never cut */
    const bool parts = !strcmp(path, "x86-64-v3") && tokens > 1 && precision == RLX_FAST;
    check_objects(&entry, path, parts);
    if (parts)
        check_stats(&cx, m, &o, stats.code_bytes);
    rlx_text_deinit(&entry);
    rlx_compilation_deinit(&c);
}

START_TEST(assembles)
{
    test_model m;
    uint64_t features;
    model_init_directory(&m, RLX_SOURCE_DIR "/models/bundled", NULL);
    assert_ok(model_make_flow(&m));
    for (int fast = 0; fast < 2; fast++)
        for (int64_t tokens = 1; tokens <= 128; tokens += 127)
            compile_model(&m, paths[_i], fast ? RLX_FAST : RLX_EXACT, tokens);
    rlx_status st = rlx_cpu_parse(paths[_i], true, &features);
    if (st)
        printf("%s: emitted and assembled, not executed: %s\n", paths[_i], rlx_status_message(st));
    rlx_status_free(st);
    model_deinit(&m);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("cpu paths");
    TCase *c = tcase_create("cpu paths");
    tcase_set_timeout(c, 100);
    tcase_add_loop_test(c, assembles, 0, PATHS);
    suite_add_tcase(s, c);
    return run_suite(s, PATHS);
}
