/* tests/random_graphs/main.c: random_graphs [--device vulkan[:I,-FEATURE]] FIRST COUNT runs the graphs of those seeds;
 * random_graphs [--device D] FILE... runs files as it prints them. With a device code runs there in place of the CPU, under the
 * validation layer, for every other seed without some features. Ends with 1 when one fails, after printing it. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/random_graphs/device.h"
#include "tests/random_graphs/graphs.h"
#include "tests/vulkan/environment.h"

enum { SKIPPED = 77 };

static bool report(random_graph *g, rlx_status st, const char *what)
{
    if (!st)
        return true;
    char *story = rlx_status_text(st);
    rlx_text text = {0};
    printf("%s: %s\n", what, story ? story : "out of memory");
    if (g->hir)
        graph_reduce(g, &text);
    printf("%.*s\n", (int)text.len, text.data ? text.data : "");
    fflush(stdout);
    rlx_text_deinit(&text);
    free(story);
    rlx_status_free(st);
    return false;
}

static bool run_seed(uint64_t seed)
{
    random_graph g;
    char what[32];
    snprintf(what, sizeof what, "seed %llu", (unsigned long long)seed);
    rlx_status st = graph_generate(seed, &g);
    const bool good = report(&g, st ? st : graph_check(&g), what);
    graph_deinit(&g);
    return good;
}

static bool run_file(const char *path)
{
    rlx_text text = {0};
    random_graph g = {0};
    char part[4096];
    FILE *file = fopen(path, "r");
    for (size_t n; file && (n = fread(part, 1, sizeof part, file)) > 0;)
        rlx_text_put_bytes(&text, part, n);
    rlx_status st = file ? graph_parse(path, text.data ? text.data : "", &g)
                         : RLX_FAIL(RLX_NOT_FOUND, "no file %s", path);
    if (file)
        fclose(file);
    const bool good = report(&g, st ? st : graph_check(&g), path);
    graph_deinit(&g);
    rlx_text_deinit(&text);
    return good;
}

int main(int argc, char **argv)
{
    long long bad = 0, count = 0;
    if (argc > 2 && !strcmp(argv[1], "--device")) {
        environment_prepare();
        const int code = graph_device_is_there(argv[2]);
        if (code)
            return code == RLX_NOT_FOUND ? SKIPPED : EXIT_FAILURE;
        graph_check_on(argv[2]);
        argv += 2;
        argc -= 2;
    }
    if (argc < 2) {
        fprintf(stderr, "usage: random_graphs [--device vulkan] FIRST COUNT, or FILE...\n");
        return 2;
    }
    if (argc == 3 && isdigit((unsigned char)argv[1][0])) {
        const unsigned long long first = strtoull(argv[1], NULL, 10);
        for (; count < atoll(argv[2]); count++)
            bad += !run_seed(first + (unsigned long long)count);
    } else {
        for (; count < argc - 1; count++)
            bad += !run_file(argv[count + 1]);
    }
    printf("%lld graphs, %lld failed\n", count, bad);
    return bad || !count;
}
