/* The kernels of tests/jit/kernels/: each file's `// run` lines bind its symbols; every kernel of
 * it runs with each binding on every CPU target, and as GPUs run it, against the interpreter; and
 * is assembled for AArch64. */
#include <dirent.h>
#include <string.h>

#include "tests/jit/subject.h"
#include "tests/runtime/suite.h"

static int runs;

static void run_file(const char *path)
{
    char *text;
    size_t bytes;
    subject s;
    rlx_jit_target targets[5];
    int ntargets = cpu_targets(targets);
    targets[ntargets++] = host_team_target(32);
    targets[ntargets++] = host_team_target(5);
    targets[ntargets++] = host_subgroup_target(64, 16);
    EXPECT_OK(rlx_file_read(path, &text, &bytes));
    EXPECT_OK(subject_parse(&s, path, text));
    static const char mark[] = "// run";
    for (const char *line = text; strncmp(line, mark, sizeof mark - 1) == 0;) {
        const char *end = strchr(line, '\n');
        char bindings[256] = "";
        memcpy(bindings, line + sizeof mark - 1, (size_t)(end - line) - (sizeof mark - 1));
        ck_assert_msg(subject_bind(&s, bindings), "%s: no such symbol in '%s'", path, bindings);
        for (int t = 0; t < ntargets; t++, runs++)
            subject_check_all(&s, &targets[t], (uint64_t)runs + 1);
        line = end + 1;
    }
    subject_assemble_aarch64(&s);
    subject_destroy(&s);
    free(text);
}

START_TEST(files)
{
    static const char dir[] = RLX_SOURCE_DIR "/tests/jit/kernels";
    DIR *d = opendir(dir);
    ck_assert_msg(d != NULL, "no directory %s", dir);
    for (struct dirent *f = readdir(d); f; f = readdir(d)) {
        size_t n = strlen(f->d_name);
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", dir, f->d_name);
        if (n > 4 && strcmp(f->d_name + n - 4, ".rlx") == 0)
            run_file(path);
    }
    closedir(d);
    ck_assert_int_ge(runs, 20);
}
END_TEST

/* Which kernels with a long product have in common. */
START_TEST(carried_sums_are_a_part)
{
    rlx_jit_target targets[2];
    char *text;
    size_t bytes;
    subject s;
    EXPECT_OK(rlx_file_read(RLX_SOURCE_DIR "/tests/jit/kernels/carried_sums.rlx", &text, &bytes));
    EXPECT_OK(subject_parse(&s, "carried sums", text));
    for (int i = cpu_targets(targets) - 1; i >= 0; i--) {
        loaded l;
        EXPECT_OK(loaded_create(s.module->first, &targets[i], &l));
        ck_assert_int_eq(l.parts, 1);
        loaded_destroy(&l);
    }
    subject_destroy(&s);
    free(text);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("jit kernels");
    SUITE_TEST(s, "files", files);
    SUITE_TEST(s, "carried sums are a part", carried_sums_are_a_part);
    return suite_run(s, 2);
}
