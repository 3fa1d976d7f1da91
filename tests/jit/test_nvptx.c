/* PTX: every kernel of tests/jit/kernels/ is emitted, and assembled by ptxas where that is on PATH.
 * (What the code computes is tested on the host: test_kernels.c, host_team.h.) */
#include <dirent.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/jit/subject.h"
#include "tests/runtime/suite.h"

extern char **environ;

/* Exit status; -1 when the program is not there. */
static int run(char *const argv[])
{
    pid_t pid;
    int status;
    if (posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ) != 0)
        return -1;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

static bool have_ptxas(void)
{
    static int have = -1;
    if (have < 0) {
        char *argv[] = {"sh", "-c", "command -v ptxas >/dev/null 2>&1", NULL};
        have = run(argv) == 0;
        if (!have)
            printf("ptxas is not on PATH: PTX is emitted, not assembled\n");
    }
    return have;
}

static void assemble(const char *kernel, const char *ptx, size_t bytes, const char *arch)
{
    char path[] = "/tmp/rlx-test-XXXXXX", flag[32];
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, ptx, bytes), (ssize_t)bytes);
    close(fd);
    snprintf(flag, sizeof flag, "-arch=%s", arch);
    char *argv[] = {"ptxas", flag, "-o", "/dev/null", path, NULL};
    int status = run(argv);
    unlink(path);
    ck_assert_msg(status == 0, "ptxas refuses @%s for %s:\n%s", kernel, arch, ptx);
}

static int kernels, assembled;

static void check_kernel(const rlx_ir_func *k, const char *processor)
{
    rlx_jit_target t = {.kind = RLX_JIT_NVPTX, .processor = processor, .team = 64};
    uint8_t *ptx;
    size_t bytes;
    char entry[128];
    EXPECT_OK(rlx_jit_emit_kernel(k, &t, &ptx, &bytes));
    snprintf(entry, sizeof entry, ".visible .entry %s(", k->name);
    ck_assert_msg(strstr((char *)ptx, entry) != NULL, "no entry for @%s", k->name);
    kernels++;
    if (have_ptxas()) {
        assemble(k->name, (char *)ptx, bytes, processor);
        assembled++;
    }
    free(ptx);
}

static void check_file(const char *path, bool old)
{
    char *text;
    size_t bytes;
    subject s;
    EXPECT_OK(rlx_file_read(path, &text, &bytes));
    EXPECT_OK(subject_parse(&s, path, text));
    for (const rlx_ir_func *k = s.module->first; k; k = k->next) {
        check_kernel(k, "sm_80");
        if (old)
            check_kernel(k, "sm_75");
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
            check_file(path, strcmp(f->d_name, "blocks.rlx") == 0);
    }
    closedir(d);
    ck_assert_int_ge(kernels, 25);
    ck_assert_int_eq(assembled, have_ptxas() ? kernels : 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("jit nvptx");
    SUITE_TEST(s, "files", files);
    return suite_run(s, 1);
}
