/* bench/start.c: a warm start from outside: from the process's birth to its first kernel and to its first byte of text.
 *
 *   start TOOL MODEL [REPEATS [PROMPT]]
 *
 * Each repetition runs `TOOL run MODEL` for one token behind the prompt (RLX_VERBOSE has it tell when its first kernel began); the first, which
 * may compile, is not counted. Files are in the page cache then. Prints medians, and the least, of milliseconds. */
#include <poll.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 1000, USUAL = 30 };
enum { KERNEL, TEXT, END, TIMES };
static const char *const names[TIMES] = {"first kernel", "first byte of text",
                                         "end of the process"};
static const char mark[] = "first kernel at ";

extern char **environ;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Both ends of the process's output until they close; *text: when the first byte came. */
static void listen(int out, int err, char *said, size_t room, double *text)
{
    struct pollfd ends[] = {{.fd = out, .events = POLLIN}, {.fd = err, .events = POLLIN}};
    size_t len = 0;
    char skip[4096];
    for (int open = 2; open;) {
        poll(ends, 2, -1);
        if (ends[0].revents) {
            const double at = now();
            const ssize_t n = read(out, skip, sizeof skip);
            *text = n > 0 && !*text ? at : *text;
            open -= n <= 0;
            ends[0].fd = n <= 0 ? -1 : out;
        }
        if (ends[1].revents) {
            const bool full = len == room - 1; /* what comes then is read, and not kept */
            const ssize_t n =
                full ? read(err, skip, sizeof skip) : read(err, said + len, room - 1 - len);
            len += n > 0 && !full ? (size_t)n : 0;
            open -= n <= 0;
            ends[1].fd = n <= 0 ? -1 : err;
        }
    }
    said[len] = 0;
}

/* false: it failed; what it said is on stderr. */
static bool start(char *tool, char *model, char *prompt, double times[TIMES])
{
    char *argv[] = {tool,
                    "run",
                    model,
                    "-p",
                    prompt,
                    "-n",
                    "1",
                    "--temp",
                    "0",
                    "--no-conversation",
                    "--no-display-prompt",
                    NULL};
    int out[2], err[2], status = 1;
    char said[1 << 16];
    double text = 0;
    pid_t child;
    posix_spawn_file_actions_t to;
    if (pipe(out) || pipe(err))
        return false;
    posix_spawn_file_actions_init(&to);
    posix_spawn_file_actions_adddup2(&to, out[1], 1);
    posix_spawn_file_actions_adddup2(&to, err[1], 2);
    for (int i = 0; i < 2; i++) {
        posix_spawn_file_actions_addclose(&to, out[i]);
        posix_spawn_file_actions_addclose(&to, err[i]);
    }
    const double begin = now();
    const bool born = !posix_spawn(&child, tool, &to, NULL, argv, environ);
    close(out[1]);
    close(err[1]);
    listen(out[0], err[0], said, sizeof said, &text);
    if (born)
        waitpid(child, &status, 0);
    times[END] = now() - begin;
    times[TEXT] = text - begin;
    posix_spawn_file_actions_destroy(&to);
    close(out[0]);
    close(err[0]);
    const char *at = strstr(said, mark);
    if (!born || status || !at || !text) {
        fprintf(stderr, "start: %s run %s: %s%s\n", tool, model, said,
                born && !status && !text ? "no text came" : "");
        return false;
    }
    times[KERNEL] = strtod(at + strlen(mark), NULL) - begin;
    return true;
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    static double times[TIMES][MOST];
    const int n = argc > 3 ? atoi(argv[3]) : USUAL;
    if (argc < 3 || n < 1 || n > MOST) {
        fprintf(stderr, "start TOOL MODEL [REPEATS [PROMPT]]\n");
        return 2;
    }
    setenv("RLX_VERBOSE", "1", 1);
    for (int i = -1; i < n; i++) {
        double t[TIMES];
        if (!start(argv[1], argv[2], argc > 4 ? argv[4] : "Once upon a time", t))
            return 1;
        for (int k = 0; i >= 0 && k < TIMES; k++)
            times[k][i] = t[k];
    }
    for (int k = 0; k < TIMES; k++) {
        qsort(times[k], (size_t)n, sizeof(double), ascending);
        printf("%-20s %6.2f ms (least %.2f)\n", names[k], 1e3 * times[k][n / 2], 1e3 * times[k][0]);
    }
    return 0;
}
