/* frontend/tool/cmd_quantize.c: a model's file in other formats. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "frontend/tool/args.h"

enum {
    NAME = 40,
    KINDS = 32,
    EXIT_SIGNAL = 128,     /* and the signal's number */
    MOST_THREADS = 1 << 20 /* an int holds it, and the library refuses it */
};

static volatile sig_atomic_t interrupted; /* by this signal */

static void interrupt(int number)
{
    interrupted = number;
}

/* The first Ctrl-C, or request to end, ends it in order: nothing is left where OUT was to be. A
 * second one ends it at once. */
static void catch_interrupts(void)
{
    struct sigaction on_interrupt = {.sa_handler = interrupt, .sa_flags = (int)SA_RESETHAND};
    sigemptyset(&on_interrupt.sa_mask);
    sigaction(SIGINT, &on_interrupt, NULL);
    sigaction(SIGTERM, &on_interrupt, NULL);
}

/* Tensors that are not what the type says, by what they would have been and are. */
typedef struct replacement {
    const char *wanted, *got;
    int n;
} replacement;

typedef struct watch {
    bool terminal; /* somebody sees a bar */
    bool verbose;
    replacement kinds[KINDS];
    int nkinds;
} watch;

/* Names come from files: none shall steer the terminal. */
static void put_plain(char *to, size_t n, const char *name)
{
    snprintf(to, n, "%s", name);
    for (char *c = to; *c; c++)
        *c = *c < ' ' || *c == 0x7f ? '?' : *c;
}

static bool show_progress(void *user, int64_t done, int64_t total, const char *tensor)
{
    if (((const watch *)user)->terminal)
        draw_progress(done, total, "%s", tensor);
    return !interrupted;
}

static void note_replaced(void *user, const char *tensor, const char *wanted, const char *got)
{
    watch *w = user;
    char name[NAME + 1];
    int i = 0;
    put_plain(name, sizeof name, tensor);
    if (w->verbose)
        fprintf(stderr, "%s: %s, not %s: its rows are no whole blocks\n", name, got, wanted);
    while (i < w->nkinds && (w->kinds[i].wanted != wanted || w->kinds[i].got != got))
        i++;
    if (i == KINDS)
        return;
    w->kinds[i] = (replacement){wanted, got, i < w->nkinds ? w->kinds[i].n + 1 : 1};
    w->nkinds += i == w->nkinds;
}

static void tell_replaced(const watch *w)
{
    for (int i = 0; i < w->nkinds; i++)
        fprintf(stderr, "rlx: quantize: %d tensor%s %s, not %s: rows are no whole blocks%s\n",
                w->kinds[i].n, w->kinds[i].n > 1 ? "s are" : " is", w->kinds[i].got,
                w->kinds[i].wanted, w->verbose ? "" : " (-v names them)");
}

static void list_types(void)
{
    for (int i = 0; i < rlx_quantize_type_count(); i++)
        printf("  %-8s %s\n", rlx_quantize_type_name(i), rlx_quantize_type_about(i));
}

int command_quantize(int argc, char **argv)
{
    rlx_quantize_options o = {0};
    enum { IN, OUT, TYPE, COUNT };
    const char *given[COUNT] = {NULL};
    int64_t threads = 0;
    bool types = false;
    watch w = {.terminal = isatty(STDERR_FILENO)};
    const option_spec options[] = {
        {"type", NULL, OPTION_TEXT, "TYPE", "instead of TYPE", &o.type},
        {"types", NULL, OPTION_FLAG, NULL, "lists all types", &types},
        {"imatrix", NULL, OPTION_TEXT, "FILE",
         "how much columns matter, as llama-imatrix writes it", &o.imatrix},
        {"threads", "t", OPTION_INT, "N", "threads (all cores that the process may use)", &threads},
        {"verbose", "v", OPTION_FLAG, NULL,
         "names the tensors that are not what TYPE says, as their rows are no whole blocks",
         &w.verbose},
    };
    const command_spec spec = {
        .name = "quantize",
        .about = "writes a directory or .gguf file as a .gguf file of Q4_K_M, Q8_0, ...",
        .positional = "IN OUT TYPE",
        .target = given,
        .options = options,
        .noptions = sizeof options / sizeof *options};
    if (argc == 1 && !strcmp(argv[0], "--types")) {
        list_types();
        return finish_output();
    }
    int code = args_parse(&spec, argc, argv);
    if (code >= 0)
        return code;
    if (types)
        return usage_error("quantize: --types stands alone");
    if (given[TYPE] && o.type)
        return usage_error("quantize: TYPE and --type are both given");
    o.type = given[TYPE] ? given[TYPE] : o.type;
    if (!given[OUT] || !o.type)
        return usage_error("quantize: no %s given; see rlx quantize --help",
                           given[OUT] ? "TYPE" : "OUT");
    o.progress = show_progress;
    o.replaced = note_replaced;
    o.user = &w;
    o.threads = threads < MOST_THREADS ? (int)threads : MOST_THREADS;
    catch_interrupts();
    rlx_status st = rlx_quantize(given[IN], given[OUT], &o);
    if (w.terminal)
        end_progress();
    if (interrupted && rlx_status_code(st) == RLX_CANCELLED) {
        rlx_status_free(st);
        return EXIT_SIGNAL + interrupted;
    }
    if (!st)
        tell_replaced(&w);
    return report_usage("quantize", st);
}
