#include "tests/jit/ptxas.h"

#include <check.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/base/hash.h"
#include "runtime/base/text.h"

extern char **environ;

static int nseen;

bool is_new_code(const void *code, size_t bytes)
{
    enum { MOST = 1 << 15 };
    static rlx_hash seen[MOST];
    const rlx_hash hash = rlx_hash_bytes(code, bytes);
    for (int i = 0; i < nseen; i++)
        if (!memcmp(&seen[i], &hash, sizeof hash))
            return false;
    ck_assert_int_lt(nseen, MOST);
    seen[nseen++] = hash;
    return true;
}

int count_codes(void)
{
    return nseen;
}

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

/* The sum of the numbers in front of `what`, which is said of each function; -1: it is not said. */
static int numbers_before(const char *text, const char *what)
{
    int sum = -1;
    for (const char *at = text; (at = strstr(at, what)) != NULL; at++) {
        const char *p = at;
        while (p > text && p[-1] == ' ')
            p--;
        while (p > text && p[-1] >= '0' && p[-1] <= '9')
            p--;
        sum = atoi(p) + (sum > 0 ? sum : 0);
    }
    return sum;
}

static void read_all(FILE *f, rlx_text *out)
{
    char part[4096];
    for (size_t n; (n = fread(part, 1, sizeof part, f)) > 0;)
        rlx_text_put_bytes(out, part, n);
    ck_assert(!out->oom);
}

/* What ptxas says of the one kernel and of functions that it calls; all must be there but shared memory, which it may lack. */
static ptxas_report report_of(const char *text)
{
    const int stores = numbers_before(text, " bytes spill stores"),
              loads = numbers_before(text, " bytes spill loads"),
              registers = numbers_before(text, " registers"),
              shared = numbers_before(text, " bytes smem");
    ck_assert_msg(stores >= 0 && loads >= 0 && registers > 0, "ptxas says: %s", text);
    return (ptxas_report){
        .registers = registers, .spills = stores + loads, .shared = shared > 0 ? shared : 0};
}

/* What it says. */
static rlx_text assemble(const char *kernel, const char *ptx, size_t bytes, const char *arch)
{
    char path[] = "/tmp/rlx-test-XXXXXX", command[256];
    rlx_text text = {0};
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, ptx, bytes), (ssize_t)bytes);
    close(fd);
    snprintf(command, sizeof command, "ptxas -v -arch=%s -o /dev/null %s 2>&1", arch, path);
    FILE *out = popen(command, "r");
    ck_assert_ptr_nonnull(out);
    read_all(out, &text);
    const int status = pclose(out);
    unlink(path);
    ck_assert_msg(status == 0, "ptxas refuses @%s for %s: %s\n%s", kernel, arch,
                  text.data ? text.data : "", ptx);
    ck_assert_ptr_nonnull(text.data);
    return text;
}

/* Messages C7510 to C7519: products one after the other; fences and waits that it adds. */
static bool changes_wgmma(const rlx_text *said)
{
    return strstr(said->data, "(C751") != NULL;
}

ptxas_report ptxas_assemble(const char *kernel, const char *ptx, size_t bytes, const char *arch)
{
    rlx_text said = assemble(kernel, ptx, bytes, arch);
    ck_assert_msg(!changes_wgmma(&said), "ptxas on @%s: %s", kernel, said.data);
    const ptxas_report report = report_of(said.data);
    rlx_text_deinit(&said);
    return report;
}

bool ptxas_changes_wgmma(const char *kernel, const char *ptx, size_t bytes, const char *arch)
{
    rlx_text said = assemble(kernel, ptx, bytes, arch);
    const bool changes = changes_wgmma(&said);
    rlx_text_deinit(&said);
    return changes;
}
