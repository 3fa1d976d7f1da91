/* frontend/tool/cmd_devices.c: what models can run on here, and on request how fast that is. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/tool/args.h"
#include "frontend/tool/ceilings.h"

static const char *const levels[] = {
#define LEVEL(name) name,
#include "frontend/tool/cpu_levels.def"
#undef LEVEL
};
enum { NLEVELS = sizeof levels / sizeof *levels, TRIALS = 5 };

/* Speeds of one number of threads; zeros: not measured. */
typedef struct measured {
    int threads;
    double read;
    double unit[CEILING_MAX_UNITS];
} measured;

typedef struct device {
    rlx_device_info info;
    const char *level[NLEVELS]; /* below the target, that can run here */
    int nlevels;
    const ceiling_unit *units[CEILING_MAX_UNITS];
    size_t nunits;
    measured at[2]; /* one thread, all cores */
    int nmeasured;
    char *cannot;             /* why it cannot be opened; NULL: it can, or nobody tried; heap */
    rlx_device_speeds copies; /* of a device with memory of its own; zeros: not measured */
} device;

static bool has_memory(const device *d)
{
    return d->info.memory_bytes > 0;
}

/* ---- finding out */

static bool runs(const char *level)
{
    char name[128];
    rlx_context *cx;
    snprintf(name, sizeof name, "cpu:%s", level);
    rlx_status st = rlx_context_create(
        &(rlx_context_options){.device = name, .threads = 1, .no_cache = true}, &cx);
    if (!st)
        rlx_context_destroy(cx);
    rlx_status_free(st);
    return st == NULL;
}

/* The story of opening it; NULL: it opens. */
static char *why_not(const char *name)
{
    rlx_context *cx = NULL;
    rlx_status st = rlx_context_create(
        &(rlx_context_options){.device = name, .threads = 1, .no_cache = true}, &cx);
    char *why = st ? rlx_status_text(st) : NULL;
    rlx_status_free(st);
    rlx_context_destroy(cx);
    return why;
}

/* Memory of four times the last-level cache, so that little of it is read from there. */
static int measure(device *d)
{
    size_t most = (size_t)1 << 30, bytes = (size_t)d->info.l3_bytes * 4;
    bytes = bytes < most / 4 ? most / 4 : bytes > most ? most : bytes;
    char *data = malloc(bytes);
    if (!data)
        return failure("devices: out of memory: %zu bytes to read", bytes);
    memset(data, 1, bytes);
    d->nmeasured = d->info.cores > 1 ? 2 : 1;
    for (int i = 0; i < d->nmeasured; i++) {
        measured *m = &d->at[i];
        int cores = d->info.cores < CEILING_MAX_THREADS ? d->info.cores : CEILING_MAX_THREADS;
        m->threads = i ? cores : 1;
        m->read = ceiling_read(&(byte_span){data, bytes}, 1, m->threads, 1, TRIALS);
        for (size_t u = 0; u < d->nunits; u++)
            m->unit[u] = ceiling_unit_rate(d->units[u], m->threads, TRIALS);
    }
    free(data);
    return EXIT_OK;
}

/* The best of a device's units for operands of a kind: what the compiler takes, too. */
static const char *unit_for(const device *d, const char *kind)
{
    const char *best = NULL;
    for (size_t u = 0; u < d->nunits; u++)
        if (!strncmp(d->units[u]->name, kind, strlen(kind)))
            best = d->units[u]->name;
    return best ? best : "f32";
}

/* What multiplies and adds: exactly, and when fast by the weights' format. */
typedef struct chosen {
    const char *exact, *blocks, *bf16;
} chosen;

static chosen choose_units(const device *d)
{
    chosen c = {.exact = unit_for(d, "f32"), .blocks = unit_for(d, "int8"), .bf16 = NULL};
    c.bf16 = strcmp(unit_for(d, "bf16"), "f32") ? unit_for(d, "bf16") : c.exact;
    return c;
}

static int look_at(int i, bool speeds, device *d)
{
    char name[256];
    *d = (device){0};
    rlx_device_get_info(i, &d->info);
    if (d->info.why_not[0] && !(d->cannot = strdup(d->info.why_not)))
        return failure("devices: out of memory");
    if (!d->info.target[0])
        return EXIT_OK; /* an evaluator, or what cannot be used: nothing to measure */
    if (has_memory(d)) {
        d->cannot = why_not(d->info.name);
        if (speeds &&
            !d->cannot) /* one that fails says so, and is no reason not to look at the others */
            report(rlx_device_measure(d->info.name, &d->copies));
        return EXIT_OK;
    }
    for (int k = 0; k < NLEVELS; k++)
        if (strcmp(levels[k], d->info.target) && runs(levels[k]))
            d->level[d->nlevels++] = levels[k];
    snprintf(name, sizeof name, "cpu:%s", d->info.target);
    d->nunits = ceiling_units(name, d->units);
    return speeds ? measure(d) : EXIT_OK;
}

/* ---- text */

static double mib(int64_t bytes)
{
    return (double)bytes / (1 << 20);
}

static void put_bytes(const char *name, int64_t bytes)
{
    if (bytes >= 1 << 20)
        printf(", %s %.4g MiB", name, (double)bytes / (1 << 20));
    else if (bytes)
        printf(", %s %.4g KiB", name, (double)bytes / 1024);
}

static void put_text(const device *d)
{
    const rlx_device_info *i = &d->info;
    printf("%-8s %s", i->name, i->description);
    if (has_memory(d))
        printf("; %.4g MiB of memory, %.4g MiB of one tensor at most", mib(i->memory_bytes),
               mib(i->range_bytes));
    else if (i->target[0])
        printf("; %s; %d core%s", i->target, i->cores, i->cores == 1 ? "" : "s");
    put_bytes("L1", i->l1_bytes);
    put_bytes("L2", i->l2_bytes);
    put_bytes("L3", i->l3_bytes);
    putchar('\n');
    if (d->cannot)
        printf("         cannot be used: %s\n", d->cannot);
    if (i->features[0])
        printf("         has %s\n", i->features);
    if (d->copies.copy > 0)
        printf("         copies %.1f GB/s to it, %.1f GB/s from it, %.1f GB/s within it\n",
               d->copies.upload / 1e9, d->copies.download / 1e9, d->copies.copy / 1e9);
    chosen c = choose_units(d);
    if (d->nunits)
        printf(
            "         multiplies by %s; fast: weights in blocks by %s, in bf16 by %s in prefill\n",
            c.exact, c.blocks, c.bf16);
    for (int k = 0; k < d->nlevels; k++)
        printf("%s cpu:%s", k ? "," : "         also as", d->level[k]);
    if (d->nlevels)
        putchar('\n');
    for (int k = 0; k < d->nmeasured; k++) {
        const measured *m = &d->at[k];
        printf("         %d thread%s: reads %.1f GB/s", m->threads, m->threads == 1 ? "" : "s",
               m->read / 1e9);
        for (size_t u = 0; u < d->nunits; u++)
            printf(", %s %.0f GFLOP/s", d->units[u]->name, m->unit[u] / 1e9);
        putchar('\n');
    }
}

/* What there could be, and why there is none. */
static void put_missing(void)
{
    static const char *const makers[] = {"cuda", "hip"};
    for (size_t i = 0; i < sizeof makers / sizeof *makers; i++) {
        const char *why = rlx_device_why_none(makers[i]);
        if (*why)
            printf("%-8s not available: %s\n", makers[i], why);
    }
}

/* ---- JSON */

static void put_json_words(const char *words)
{
    putchar('[');
    for (const char *w = words; *w;) {
        size_t n = strcspn(w, " ");
        printf("%s\"%.*s\"", w == words ? "" : ", ", (int)n, w);
        w += n + (w[n] == ' ');
    }
    putchar(']');
}

static void put_json_speeds(const device *d)
{
    printf(", \"measured\": [");
    for (int k = 0; k < d->nmeasured; k++) {
        const measured *m = &d->at[k];
        printf("%s\n    {\"threads\": %d, \"read_bytes_per_second\": %.0f, "
               "\"operations_per_second\": {",
               k ? "," : "", m->threads, m->read);
        for (size_t u = 0; u < d->nunits; u++)
            printf("%s\"%s\": %.0f", u ? ", " : "", d->units[u]->name, m->unit[u]);
        printf("}}");
    }
    putchar(']');
}

static void put_json(const device *d, bool first)
{
    const rlx_device_info *i = &d->info;
    printf("%s\n  {\"name\": \"%s\", \"description\": ", first ? "[" : ",", i->name);
    put_json_text(i->description);
    printf(", \"target\": \"%s\", \"cores\": %d,\n   \"l1_bytes\": %lld, \"l2_bytes\": %lld, "
           "\"l3_bytes\": %lld,\n   \"features\": ",
           i->target, i->cores, (long long)i->l1_bytes, (long long)i->l2_bytes,
           (long long)i->l3_bytes);
    put_json_words(i->features);
    if (has_memory(d))
        printf(",\n   \"memory_bytes\": %lld, \"team_bytes\": %lld, \"range_bytes\": %lld",
               (long long)i->memory_bytes, (long long)i->team_bytes, (long long)i->range_bytes);
    if (d->cannot) {
        printf(",\n   \"cannot\": ");
        put_json_text(d->cannot);
    }
    if (d->copies.copy > 0)
        printf(",\n   \"measured\": {\"upload_bytes_per_second\": %.0f, "
               "\"download_bytes_per_second\": %.0f, \"copy_bytes_per_second\": %.0f}",
               d->copies.upload, d->copies.download, d->copies.copy);
    printf(",\n   \"levels\": [");
    for (int k = 0; k < d->nlevels; k++)
        printf("%s\"%s\"", k ? ", " : "", d->level[k]);
    putchar(']');
    chosen c = choose_units(d);
    if (d->nunits)
        printf(",\n   \"units\": {\"exact\": \"%s\", \"fast_blocks\": \"%s\", "
               "\"fast_bf16_prefill\": \"%s\"}",
               c.exact, c.blocks, c.bf16);
    if (d->nmeasured)
        put_json_speeds(d);
    putchar('}');
}

/* `only`: a device's name; NULL: all of them. */
static int list_devices(const char *only, bool json, bool speeds)
{
    int shown = 0;
    for (int i = 0; i < rlx_device_count(); i++) {
        rlx_device_info info;
        device d;
        rlx_device_get_info(i, &info);
        if (only && strcmp(info.name, only) != 0)
            continue;
        const int code = look_at(i, speeds, &d);
        if (code != EXIT_OK)
            return code;
        if (json)
            put_json(&d, !shown);
        else
            put_text(&d);
        free(d.cannot);
        shown++;
    }
    if (!shown)
        return failure("devices: no device \"%s\"; rlx devices lists those that there are", only);
    if (json)
        printf("\n]\n");
    else if (!only)
        put_missing();
    return finish_output();
}

int command_devices(int argc, char **argv)
{
    bool json = false, speeds = false;
    const char *only = NULL;
    const option_spec options[] = {
        {"json", NULL, OPTION_FLAG, NULL, "for programs", &json},
        {"measure", NULL, OPTION_FLAG, NULL,
         "how fast the CPU reads, multiplies and adds; how fast other devices copy", &speeds},
        {"device", NULL, OPTION_TEXT, "NAME", "that one alone: cpu, cuda:0, ... (all)", &only},
    };
    const command_spec spec = {.name = "devices",
                               .about = "what models can run on here (--device)",
                               .options = options,
                               .noptions = sizeof options / sizeof *options};
    const int code = args_parse(&spec, argc, argv);
    return code >= 0 ? code : list_devices(only, json, speeds);
}
