#include "bench/options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int bench_read_options(int argc, char **argv, const char *usage, bench_options *o)
{
    int at = 1;
    *o = (bench_options){.threads = 1, .repeats = 5};
    for (; at + 1 < argc && argv[at][0] == '-'; at += 2) {
        int *to = !strcmp(argv[at], "-t")   ? &o->threads
                  : !strcmp(argv[at], "-r") ? &o->repeats
                                            : NULL;
        if (!to || (*to = atoi(argv[at + 1])) < 1)
            break;
    }
    if ((at >= argc || argv[at][0] != '-') && o->repeats <= BENCH_MAX_REPEATS)
        return at;
    fprintf(stderr, "usage: %s\n", usage);
    return 0;
}

int bench_end(const char *program, rlx_status st, rlx_context *cx)
{
    if (st) {
        char *text = rlx_status_text(st);
        fprintf(stderr, "%s: %s\n", program, text ? text : rlx_status_message(st));
        free(text);
    }
    const int code = st != NULL;
    rlx_status_free(st);
    rlx_context_destroy(cx);
    return code;
}
