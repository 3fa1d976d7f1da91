/* conformance SUITE DIR [--device D] [--threads N] [--decode-from P] [--least N] [--optional] [--assemble PROCESSOR]
 *
 * Runs every case of the suite in DIR and the folders below it: by one prefill on one thread and on
 * two, and by decoding, position by position, from the first, the second and the middle one on; or
 * only as --decode-from says; operators (opvectors) once, or, with --assemble sm_80, not at all: ptxas
 * spills none of their kernels. What is compiled is kept from way to way, not from run to run. One line
 * per failure and per skipped case; at last "N passed, N failed, N skipped". Exit code 0 when nothing
 * failed and at least N (1) passed; also, with
 * --optional, when DIR is not there or this machine has no such device. */
#include <dirent.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "frontend/context.h"
#include "tests/suites/suites.h"
#include "tests/vulkan/environment.h"
#include "tests/vulkan/validation.h"

static const struct {
    const char *name;
    void (*run)(conformance *c, const char *dir);
    bool caches;
} suites[] = {{"fixtures", fixtures_run, true},      {"goldens", goldens_run, true},
              {"malformed", malformed_run, false},   {"gguf-quant", gguf_quant_run, false},
              {"tokenizers", tokenizers_run, false}, {"templates", templates_run, false},
              {"opvectors", opvectors_run, false}};
enum { NSUITES = sizeof suites / sizeof *suites };

/* ---- outcomes ------------------------------------------------------------------------------- */

static void put_line(const char *kind, const char *where, const char *fmt, va_list args)
{
    printf("%s %s: ", kind, where);
    vprintf(fmt, args);
    printf("\n");
    fflush(stdout);
}

void case_passed(conformance *c)
{
    c->passed++;
}

void case_failed(conformance *c, const char *where, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    put_line("FAIL", where, fmt, args);
    va_end(args);
    c->failed++;
}

void case_skipped(conformance *c, const char *where, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    put_line("skip", where, fmt, args);
    va_end(args);
    c->skipped++;
}

bool case_broke(conformance *c, const char *where, rlx_status st)
{
    if (!st)
        return false;
    char *text = rlx_status_text(st);
    case_failed(c, where, "%s", text ? text : "out of memory");
    free(text);
    rlx_status_free(st);
    return true;
}

/* ---- folders -------------------------------------------------------------------------------- */

bool has_file(const char *dir, const char *file)
{
    char path[PATH_CHARS];
    snprintf(path, sizeof path, "%s/%s", dir, file);
    return access(path, R_OK) == 0;
}

static int is_visible(const struct dirent *d)
{
    return d->d_name[0] != '.';
}

static void walk(conformance *c, int suite, const char *dir)
{
    struct dirent **list;
    char path[PATH_CHARS];
    struct stat info;
    suites[suite].run(c, dir);
    int n = scandir(dir, &list, is_visible, alphasort);
    for (int i = 0; i < n; i++) {
        int len = snprintf(path, sizeof path, "%s/%s", dir, list[i]->d_name);
        if (len < PATH_CHARS && !stat(path, &info) && S_ISDIR(info.st_mode))
            walk(c, suite, path);
        free(list[i]);
    }
    if (n >= 0)
        free(list);
}

/* ---- compiled code --------------------------------------------------------------------------- */

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st, (void)kind, (void)at;
    return remove(path);
}

/* Compiled anew by every run of a suite, and once: ways and cases of like shapes share what is in a folder of the run's own. */
static void walk_caching(conformance *c, int suite, const char *dir)
{
    char cache[] = "/tmp/rlx-conformance-cache-XXXXXX";
    if (!mkdtemp(cache) || setenv("RLX_CACHE_DIR", cache, 1)) {
        case_failed(c, dir, "cannot make a folder in /tmp");
        return;
    }
    walk(c, suite, dir);
    nftw(cache, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* ---- the program ---------------------------------------------------------------------------- */

static int usage(void)
{
    fprintf(stderr, "conformance SUITE DIR [--device D] [--threads N] [--decode-from P] "
                    "[--least N] [--optional] [--assemble PROCESSOR]\nsuites:");
    for (int i = 0; i < NSUITES; i++)
        fprintf(stderr, " %s", suites[i].name);
    fprintf(stderr, "\n");
    return 2;
}

/* Vulkan devices run under the validation layer where that is installed. */
static rlx_status find_layer(conformance *c)
{
    rlx_device *device;
    RLX_TRY(validation_open((rlx_vulkan_options){0}, &device, &c->validated));
    rlx_device_destroy(device);
    if (c->validated)
        environment_validate();
    printf("%s the validation layer\n", c->validated ? "under" : "without");
    return RLX_OK;
}

/* Whether the device can run here. One that this machine lacks is a failure, or, where that is
 * allowed, a line. */
static bool has_device(conformance *c, bool optional)
{
    rlx_context *cx;
    rlx_status st =
        rlx_context_create(&(rlx_context_options){.device = c->device, .threads = 1}, &cx);
    c->is_vulkan = !st && cx->choice.is_vulkan;
    c->is_gpu = !st && cx->choice.is_gpu;
    if (c->is_gpu)
        printf("on %s\n", cx->gpu->name);
    rlx_context_destroy(cx);
    if (!st && c->is_vulkan)
        st = find_layer(c);
    if (!st)
        return true;
    char *text = rlx_status_text(st);
    if (optional &&
        (rlx_status_code(st) == RLX_UNSUPPORTED || rlx_status_code(st) == RLX_NOT_FOUND))
        printf("skipped: not executed on this machine: %s\n", text ? text : "out of memory");
    else
        case_failed(c, c->device, "%s", text ? text : "out of memory");
    free(text);
    rlx_status_free(st);
    return false;
}

int main(int argc, char **argv)
{
    conformance c = {
        .ways = {{PREFILL, "1"}, {PREFILL, "2"}, {0, "1"}, {1, "2"}, {FROM_MIDDLE, "1"}},
        .nways = 5};
    const char *decode_from = NULL, *least = "1";
    bool optional = false;
    const struct {
        const char *name, **value;
    } options[] = {{"--device", &c.device},
                   {"--threads", &c.threads},
                   {"--decode-from", &decode_from},
                   {"--least", &least},
                   {"--assemble", &c.processor}};
    enum { OPTIONS = sizeof options / sizeof *options };
    int suite = 0;
    while (argc > 1 && suite < NSUITES && strcmp(argv[1], suites[suite].name))
        suite++;
    if (argc > 1 && suite == NSUITES)
        fprintf(stderr, "conformance: no suite \"%s\"\n", argv[1]);
    if (argc < 3 || suite == NSUITES)
        return usage();
    for (int i = 3; i < argc; i++) {
        size_t o = 0;
        while (o < OPTIONS && strcmp(argv[i], options[o].name))
            o++;
        if (o < OPTIONS && i + 1 < argc)
            *options[o].value = argv[++i];
        else if (!strcmp(argv[i], "--optional"))
            optional = true;
        else
            return usage();
    }
    if (c.processor && suites[suite].run != opvectors_run)
        return usage();
    if (decode_from) {
        c.ways[0] = (way){atoll(decode_from), NULL};
        c.nways = 1;
    }
    if (optional && access(argv[2], R_OK)) {
        printf("skipped: %s is not there\n", argv[2]);
        return 0;
    }
    environment_prepare();
    if (c.device && !has_device(&c, optional) && !c.failed)
        return 0;
    if (!c.failed)
        (suites[suite].caches ? walk_caching : walk)(&c, suite, argv[2]);
    printf("%d passed, %d failed, %d skipped\n", c.passed, c.failed, c.skipped);
    return c.failed || c.passed < atoi(least);
}
