#include "tests/tool/process.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char *slurp(FILE *f, size_t *bytes)
{
    ck_assert_int_eq(fseek(f, 0, SEEK_END), 0);
    long n = ftell(f);
    ck_assert_int_ge(n, 0);
    rewind(f);
    char *text = malloc((size_t)n + 1);
    ck_assert_ptr_nonnull(text);
    ck_assert_uint_eq(fread(text, 1, (size_t)n, f), (size_t)n);
    text[n] = 0;
    *bytes = (size_t)n;
    fclose(f);
    return text;
}

void process_run(process *p, const char *out_path, const char *const *argv)
{
    FILE *out = tmpfile(), *err = tmpfile();
    ck_assert(out && err);
    fflush(NULL);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (!pid) {
        int to = out_path ? open(out_path, O_WRONLY) : fileno(out);
        if (dup2(to, 1) < 0 || dup2(fileno(err), 2) < 0)
            _exit(126);
        execv(argv[0], (char *const *)argv);
        dprintf(2, "%s: %s\n", argv[0], strerror(errno));
        _exit(127);
    }
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    p->code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    p->out = slurp(out, &p->out_bytes);
    p->err = slurp(err, &p->err_bytes);
}

void process_free(process *p)
{
    free(p->out);
    free(p->err);
}

void process_says(process *p, const char *want)
{
    ck_assert_msg(p->code == 0, "exit code %d: %s", p->code, p->err);
    ck_assert_str_eq(p->out, want);
    process_free(p);
}

void process_complains(process *p, int code, const char *word)
{
    ck_assert_msg(p->code == code, "looking for %s: exit code %d, not %d: %s", word, p->code, code,
                  p->err);
    ck_assert_msg(strstr(p->err, word), "\"%s\" does not say %s", p->err, word);
    process_free(p);
}
