#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/suites/suites.h"

enum { MAX_ARGS = 24 + 2 * MAX_PROBES, NUMBER_CHARS = 24 };

static void fill_args(const conformance *c, const eval_run *r, const char *out,
                      char numbers[2][NUMBER_CHARS], const char **argv)
{
    int n = 0;
    const char *const fixed[] = {c->is_gpu ? RLX_STAND_IN : RLX_TOOL,
                                 "eval",
                                 r->model,
                                 "--inputs",
                                 r->inputs,
                                 "--outputs",
                                 out};
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
        argv[n++] = fixed[i];
    const struct {
        const char *name, *value;
    } given[] = {{"--device", c->device},
                 {"--threads", r->way.threads},
                 {"--decode-from", r->way.decode_from < 0 ? NULL : numbers[0]},
                 {"--generate", r->generate ? numbers[1] : NULL}};
    snprintf(numbers[0], NUMBER_CHARS, "%lld", (long long)r->way.decode_from);
    snprintf(numbers[1], NUMBER_CHARS, "%lld", (long long)r->generate);
    for (size_t i = 0; i < sizeof given / sizeof *given; i++)
        if (given[i].value) {
            argv[n++] = given[i].name;
            argv[n++] = given[i].value;
        }
    for (int i = 0; i < r->nprobes; i++) {
        argv[n++] = "--probe";
        argv[n++] = r->probe[i];
    }
    argv[n] = NULL;
}

/* What was written to a file, without a last newline, and the file's end. */
static char *slurp(FILE *f)
{
    char *text = NULL;
    size_t n = 0;
    rewind(f);
    FILE *copy = open_memstream(&text, &n);
    for (int ch; copy && (ch = getc(f)) != EOF;)
        putc(ch, copy);
    if (copy)
        fclose(copy);
    while (n && text[n - 1] == '\n')
        text[--n] = 0;
    fclose(f);
    return text;
}

bool program_run(const char *const *argv, program *p)
{
    FILE *out = tmpfile(), *err = tmpfile();
    *p = (program){.code = -1};
    if (!out || !err)
        return false;
    fflush(NULL);
    pid_t pid = fork();
    if (!pid) {
        dup2(fileno(out), 1);
        dup2(fileno(err), 2);
        execv(argv[0], (char *const *)argv);
        dprintf(2, "%s: %s\n", argv[0], strerror(errno));
        _exit(127);
    }
    int status = -1;
    bool ended = pid > 0 && waitpid(pid, &status, 0) == pid;
    if (ended)
        p->code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    p->out = slurp(out);
    p->err = slurp(err);
    return ended;
}

void program_deinit(program *p)
{
    free(p->out);
    free(p->err);
}

/* r->error: NULL when it went well, and in silence where that is asked for: the validation layer speaks on stdout. */
static bool run(const char *const *argv, bool silent, eval_run *r)
{
    program p;
    bool ended = program_run(argv, &p);
    r->error = NULL;
    if (ended && p.code > 128 && asprintf(&r->error, "ended by signal %d", p.code - 128) < 0)
        r->error = NULL;
    if (p.code && !r->error) {
        r->error = p.err;
        p.err = NULL;
    }
    if (ended && !r->error && silent && p.out && *p.out) {
        r->error = p.out;
        p.out = NULL;
    }
    program_deinit(&p);
    return ended;
}

way way_of(const conformance *c, int i, int64_t S)
{
    way w = c->ways[i];
    if (w.decode_from == FROM_MIDDLE)
        w.decode_from = S / 2;
    if (w.decode_from > S)
        w.decode_from = S;
    if (c->threads)
        w.threads = c->threads;
    return w;
}

void put_way(const char *dir, const way *w, char text[PATH_CHARS])
{
    char from[48] = "prefill";
    if (w->decode_from >= 0)
        snprintf(from, sizeof from, "decoding from %lld", (long long)w->decode_from);
    snprintf(text, PATH_CHARS, "%s (%s%s%s)", dir, from, w->threads ? ", threads " : "",
             w->threads ? w->threads : "");
}

rlx_status eval_run_start(const conformance *c, eval_run *r)
{
    char path[] = "/tmp/rlx-conformance-XXXXXX", numbers[2][NUMBER_CHARS];
    const char *argv[MAX_ARGS];
    r->out = NULL;
    r->error = NULL;
    int fd = mkstemp(path);
    if (fd < 0) {
        r->error = strdup("cannot make a file in /tmp");
        return NULL;
    }
    close(fd);
    fill_args(c, r, path, numbers, argv);
    bool ended = run(argv, c->validated, r);
    rlx_status st = NULL;
    if (ended && !r->error) {
        st = rlx_weights_create(&r->out);
        if (!st)
            st = rlx_weights_add_safetensors(r->out, path);
    }
    unlink(path);
    return st;
}

void eval_run_deinit(eval_run *r)
{
    rlx_weights_destroy(r->out);
    free(r->error);
}
