/* PTX: every kernel of tests/jit/kernels/ is emitted and, where ptxas is on PATH, assembled: without spills, and without a message
 * that products wait for each other. (What the code computes is tested on the host: test_kernels.c, host_team.h.)
 * Without arguments each kernel for one more processor; `test_jit_nvptx all`: all for all of them (ctest: jit_nvptx_all). */
#include <dirent.h>
#include <string.h>

#include "jit/kernel_info.h"
#include "tests/jit/ptxas.h"
#include "tests/jit/subject.h"
#include "tests/runtime/suite.h"

static const char *const processors[] = {"sm_75", "sm_80", "sm_90", "sm_90a"};
enum { PROCESSORS = sizeof processors / sizeof *processors };

static bool all_processors;
static int kernels, assembled;

static void check_kernel(const rlx_ir_func *k, const char *processor)
{
    const rlx_jit_target t = {.kind = RLX_JIT_NVPTX, .processor = processor};
    uint8_t *ptx;
    size_t bytes;
    char entry[128];
    EXPECT_OK(rlx_jit_emit_kernel(k, &t, &ptx, &bytes));
    snprintf(entry, sizeof entry, ".visible .entry %s(", k->name);
    ck_assert_msg(strstr((char *)ptx, entry) != NULL, "no entry for @%s", k->name);
    kernels++;
    if (have_ptxas()) {
        const int spills = ptxas_assemble(k->name, (char *)ptx, bytes, processor).spills;
        ck_assert_msg(!spills, "@%s for %s spills %d bytes", k->name, processor, spills);
        assembled++;
    }
    free(ptx);
}

static void check_file(const char *path)
{
    char *text;
    size_t bytes;
    subject s;
    EXPECT_OK(rlx_file_read(path, &text, &bytes));
    EXPECT_OK(subject_parse(&s, path, text));
    for (const rlx_ir_func *k = s.module->first; k; k = k->next) {
        const int first = all_processors ? 0 : kernels % PROCESSORS;
        for (int p = first; p < (all_processors ? PROCESSORS : first + 1); p++)
            check_kernel(k, processors[p]);
    }
    subject_destroy(&s);
    free(text);
}

START_TEST(files)
{
    static const char dir[] = RLX_SOURCE_DIR "/tests/jit/kernels";
    DIR *d = opendir(dir);
    ck_assert_msg(d != NULL, "no directory %s", dir);
    for (struct dirent *f = readdir(d); f; f = readdir(d)) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", dir, f->d_name);
        if (f->d_name[0] != '.')
            check_file(path);
    }
    closedir(d);
    ck_assert_int_ge(kernels, all_processors ? 25 * PROCESSORS : 25);
    ck_assert_int_eq(assembled, have_ptxas() ? kernels : 0);
}
END_TEST

/* What dot_rows costs does not depend on its groups, which are a loop. */
static int64_t cost_of_rows(int groups)
{
    static const char text[] =
        "lir module @m {\n"
        " kernel @k(%%a: global i8[64,256], %%sa: global f32[64,8], %%b: global i8[64,256], "
        "%%sb: global f32[64,%d], %%y: global f32[64,64]) {\n"
        "  %%z = const {ivalue=0} : i64\n  %%one = const {ivalue=1} : i64\n"
        "  grid %%one (%%i: i64) {\n"
        "   %%acc = const {value=0} : f32<64x64>\n"
        "   %%x = load %%a, %%z, %%z {axes=[0,1]} : i8<64x256>\n"
        "   %%sx = load %%sa, %%z, %%z {axes=[0,1]} : f32<64x8>\n"
        "   %%w = load %%b, %%z, %%z {axes=[0,1]} : i8<64x256>\n"
        "   %%sw = load %%sb, %%z, %%z {axes=[0,1]} : f32<64x%d>\n"
        "   %%d = dot_rows %%acc, %%x, %%sx, %%w, %%sw : f32<64x64>\n"
        "   store %%y, %%d, %%z, %%z {axes=[0,1]}\n"
        "   yield\n  }\n  return\n }\n}\n";
    char kernel[sizeof text + 16];
    subject s;
    snprintf(kernel, sizeof kernel, text, groups, groups);
    EXPECT_OK(subject_parse(&s, "rows", kernel));
    const int64_t cost = rlx_jit_kernel_cost(s.module->first);
    subject_destroy(&s);
    return cost;
}

START_TEST(cost_of_groups)
{
    enum { LOAD = 64 * (16 - 8) / 16 }; /* of the scales */
    ck_assert_int_eq(cost_of_rows(16), cost_of_rows(8) + LOAD);
}
END_TEST

int main(int argc, char **argv)
{
    all_processors = argc > 1 && !strcmp(argv[1], "all");
    Suite *s = suite_create("jit nvptx");
    SUITE_TEST(s, "files", files);
    SUITE_TEST(s, "cost_of_groups", cost_of_groups);
    return suite_run(s, 2);
}
