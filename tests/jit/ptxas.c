#include "tests/jit/ptxas.h"

#include <check.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

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

bool have_ptxas(void)
{
    static int have = -1;
    if (have < 0) {
        char *argv[] = {"sh", "-c", "command -v ptxas >/dev/null 2>&1", NULL};
        have = run(argv) == 0;
        if (!have)
            printf("skipped: ptxas is not on PATH: PTX is emitted, not assembled\n");
    }
    return have;
}

/* The number in front of `what`. */
static int number_before(const char *text, const char *what)
{
    const char *p = strstr(text, what);
    if (!p)
        return 0;
    while (p > text && p[-1] == ' ')
        p--;
    while (p > text && p[-1] >= '0' && p[-1] <= '9')
        p--;
    return atoi(p);
}

ptxas_report ptxas_assemble(const char *kernel, const char *ptx, size_t bytes, const char *arch)
{
    char path[] = "/tmp/rlx-test-XXXXXX", command[256], text[8192] = "";
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, ptx, bytes), (ssize_t)bytes);
    close(fd);
    snprintf(command, sizeof command, "ptxas -v -arch=%s -o /dev/null %s 2>&1", arch, path);
    FILE *out = popen(command, "r");
    ck_assert_ptr_nonnull(out);
    text[fread(text, 1, sizeof text - 1, out)] = 0;
    const int status = pclose(out);
    unlink(path);
    ck_assert_msg(status == 0, "ptxas refuses @%s for %s: %s\n%s", kernel, arch, text, ptx);
    return (ptxas_report){.registers = number_before(text, " registers"),
                          .spills = number_before(text, " bytes spill stores") +
                                    number_before(text, " bytes spill loads"),
                          .shared = number_before(text, " bytes smem")};
}
