/* frontend/devices.c: devices by name: which there are, what they have, how fast they copy. */
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/compile.h"

/* ---- targets */

/* On a software device a team is what its processor's vectors hold a few times. */
enum { TEAM_OF_CPU = 32 };

void rlx_vulkan_target(const rlx_vulkan_info *info, rlx_jit_target *out)
{
    *out = (rlx_jit_target){.kind = RLX_JIT_SPIRV,
                            .features = info->features,
                            .team = info->is_cpu ? TEAM_OF_CPU : RLX_JIT_DEFAULT_TEAM,
                            .subgroup = info->subgroup,
                            .team_bytes = info->team_bytes};
}

/* ---- those that are there */

static const struct {
    const char *name;
    rlx_runner runner;
    const char *description; /* NULL: the processor's own name */
} devices[] = {
    {"cpu", RLX_RUN_CODE, NULL},
    {"ref:lir", RLX_RUN_EVAL_LIR, "evaluates the LIR of every kernel; checks bounds and races"},
    {"ref:mir", RLX_RUN_EVAL_MIR, "evaluates the MIR of every step"},
};
enum { NDEVICES = sizeof devices / sizeof *devices };

static rlx_text host_target, host_features; /* live as long as the process */
static pthread_once_t host_once = PTHREAD_ONCE_INIT;

static void describe_host(void)
{
    rlx_cpu_describe(rlx_cpu_host()->features, &host_target);
    rlx_cpu_list(rlx_cpu_host()->features, &host_features);
}

/* Vulkan's devices come behind the others. They are asked for once; where there is no Vulkan there are none. */
static rlx_vulkan_info *vulkans;
static int nvulkans;
static pthread_once_t vulkans_once = PTHREAD_ONCE_INIT;

/* What a program's user reads of a device. */
typedef struct vulkan_text {
    char name[24];
    rlx_text description, target, features;
} vulkan_text;
static vulkan_text *texts;

static void list_vulkans(void)
{
    rlx_status_free(rlx_vulkan_list(&vulkans, &nvulkans));
    texts = calloc((size_t)nvulkans + 1, sizeof *texts);
    for (int i = 0; texts && i < nvulkans; i++) {
        const rlx_vulkan_info *v = &vulkans[i];
        rlx_jit_target target;
        rlx_vulkan_target(v, &target);
        snprintf(texts[i].name, sizeof texts[i].name, "vulkan:%d", i);
        rlx_text_putf(&texts[i].description, "%s%s%s%s", v->name, v->is_cpu ? ", software" : "",
                      v->why_not[0] ? ", cannot be used: " : "", v->why_not);
        if (v->why_not[0])
            continue;
        rlx_jit_describe(&target, &texts[i].target);
        rlx_vulkan_list_features(vulkans[i].features, " ", &texts[i].features);
    }
    if (!texts)
        nvulkans = 0;
}

int rlx_device_count(void)
{
    pthread_once(&vulkans_once, list_vulkans);
    return NDEVICES + nvulkans;
}

static const char *text_of(const rlx_text *t)
{
    return t->data ? t->data : "";
}

static void describe_vulkan(int i, rlx_device_info *out)
{
    pthread_once(&vulkans_once, list_vulkans);
    *out = (rlx_device_info){.name = texts[i].name,
                             .target = text_of(&texts[i].target),
                             .features = text_of(&texts[i].features),
                             .description = text_of(&texts[i].description),
                             .memory_bytes = vulkans[i].memory_bytes,
                             .team_bytes = vulkans[i].team_bytes,
                             .range_bytes = vulkans[i].features & RLX_VULKAN_BIT(ADDRESS)
                                                ? vulkans[i].max_memory_bytes
                                                : vulkans[i].max_buffer_bytes};
}

void rlx_device_get_info(int i, rlx_device_info *out)
{
    const rlx_cpu *cpu = rlx_cpu_host();
    if (i >= NDEVICES) {
        describe_vulkan(i - NDEVICES, out);
        return;
    }
    pthread_once(&host_once, describe_host);
    bool code = devices[i].runner == RLX_RUN_CODE;
    *out = (rlx_device_info){
        .name = devices[i].name,
        .target = code && host_target.data ? host_target.data : "",
        .features = code && host_features.data ? host_features.data : "",
        .description = devices[i].description ? devices[i].description : cpu->brand,
        .cores = cpu->cores,
        .l1_bytes = code ? cpu->l1_bytes : 0,
        .l2_bytes = code ? cpu->l2_bytes : 0,
        .l3_bytes = code ? cpu->l3_bytes : 0,
    };
}

int rlx_vulkan_choose(const rlx_vulkan_info *all, int n)
{
    int software = -1;
    for (int i = 0; i < n; i++) {
        if (all[i].why_not[0])
            continue;
        if (!all[i].is_cpu)
            return i;
        software = software < 0 ? i : software;
    }
    return software < 0 ? 0 : software; /* which says what is wrong with it */
}

/* ---- by name */

static rlx_status unknown_device(const char *text)
{
    const char *names[NDEVICES + 1] = {"vulkan"};
    for (int i = 0; i < NDEVICES; i++)
        names[i + 1] = devices[i].name;
    const char *near = rlx_text_nearest(text, names, NDEVICES + 1);
    return RLX_FAIL(RLX_INVALID_ARGUMENT,
                    "no device \"%s\"; %s%s%sthere are cpu, cpu:FEATURES, vulkan, "
                    "vulkan:N,-FEATURE,range=BYTES,memory=BYTES, ref:lir, ref:mir",
                    text, near ? "did you mean \"" : "", near ? near : "", near ? "\"? " : "");
}

/* "range=65536", "memory=64M": of `n` characters; *is_it: whether it is the one of that name. */
static rlx_status parse_limit(const char *word, size_t n, const char *name, bool *is_it,
                              int64_t *out)
{
    static const char units[] = "KMG";
    const size_t len = strlen(name);
    char *end;
    *is_it = n > len && !strncmp(word, name, len) && word[len] == '=';
    if (!*is_it)
        return RLX_OK;
    errno = 0;
    *out = strtoll(word + len + 1, &end, 10);
    const char *unit = *end ? strchr(units, *end) : NULL;
    const int shift = unit ? 10 * (int)(unit - units + 1) : 0;
    if (!isdigit((unsigned char)word[len + 1]) || errno || end + (unit != NULL) != word + n ||
        *out < 1 || *out > INT64_MAX >> shift)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "\"%.*s\": expected bytes: %s=65536, %s=64M", (int)n,
                        word, name, name);
    *out <<= shift;
    return RLX_OK;
}

enum { LEAST_RANGE = 4096 }; /* a step's symbols go into one */

/* ",-int8,range=65536,memory=64M", in any order. */
static rlx_status parse_masks(const char *text, rlx_vulkan_options *out)
{
    rlx_text features = {0};
    uint64_t left = RLX_VULKAN_ALL;
    rlx_status st = RLX_OK;
    for (size_t n; *text && !st; text += 1 + n) {
        bool is_limit;
        n = strcspn(text + 1, ",");
        st = parse_limit(text + 1, n, "range", &is_limit, &out->range);
        if (!st && !is_limit)
            st = parse_limit(text + 1, n, "memory", &is_limit, &out->memory);
        if (!st && !is_limit)
            rlx_text_put_bytes(&features, text, 1 + n);
    }
    if (!st && out->range && out->range < LEAST_RANGE)
        st = RLX_FAIL(RLX_INVALID_ARGUMENT, "ranges of %lld bytes: at least %d",
                      (long long)out->range, LEAST_RANGE);
    if (!st)
        st = features.oom ? RLX_OOM()
                          : rlx_vulkan_mask_features(features.data ? features.data : "", &left);
    rlx_text_deinit(&features);
    out->without = RLX_VULKAN_ALL & ~left;
    return st;
}

/* What follows "vulkan": ":1", ":1,-int8", ",-int8,memory=64M", nothing. */
static rlx_status parse_vulkan(const char *text, rlx_device_choice *out)
{
    const char *rest = text;
    char *end;
    *out = (rlx_device_choice){.runner = RLX_RUN_CODE, .is_vulkan = true};
    if (*rest == ':') {
        errno = 0;
        const long index = strtol(rest + 1, &end, 10);
        if (end == rest + 1 || !isdigit((unsigned char)rest[1]) || errno || index > INT_MAX ||
            (*end && *end != ','))
            return RLX_FAIL(RLX_INVALID_ARGUMENT,
                            "device \"vulkan%s\": expected a number: vulkan:0", text);
        out->vulkan.index = (int)index;
        rest = end;
    } else {
        pthread_once(&vulkans_once, list_vulkans);
        out->vulkan.index = rlx_vulkan_choose(vulkans, nvulkans);
        out->chosen = true;
    }
    RLX_TRY_NOTE(parse_masks(rest, &out->vulkan), "device \"vulkan%s\"", text);
    return RLX_OK;
}

rlx_status rlx_context_parse_device(const char *text, rlx_device_choice *out)
{
    static const char vulkan[] = "vulkan";
    const size_t n = sizeof vulkan - 1;
    *out =
        (rlx_device_choice){.target = {.kind = RLX_JIT_CPU, .features = rlx_cpu_host()->features}};
    for (int i = 0; i < NDEVICES; i++)
        if (!strcmp(text, devices[i].name)) {
            out->runner = devices[i].runner;
            return RLX_OK;
        }
    if (!strncmp(text, "cpu:", 4)) {
        out->runner = RLX_RUN_CODE;
        return rlx_cpu_parse(text + 4, true, &out->target.features);
    }
    if (!strncmp(text, vulkan, n) && (!text[n] || text[n] == ':' || text[n] == ','))
        return parse_vulkan(text + n, out);
    return unknown_device(text);
}

/* ---- speeds */

enum { COPIED_BYTES = 64 << 20, TRIALS = 3 };

static double rate(double start)
{
    return COPIED_BYTES / (rlx_seconds() - start);
}

static double larger(double a, double b)
{
    return a > b ? a : b;
}

/* Copies to, from and within the device's memory: the best of a few. */
static rlx_status measure(rlx_device *d, rlx_device_memory *m, char *host, rlx_device_speeds *out)
{
    for (int i = 0; i < TRIALS; i++) {
        double start = rlx_seconds();
        RLX_TRY(d->fn->write(d, m, 0, host, COPIED_BYTES));
        out->upload = larger(out->upload, rate(start));
        start = rlx_seconds();
        RLX_TRY(d->fn->read(d, m, 0, host, COPIED_BYTES));
        out->download = larger(out->download, rate(start));
        start = rlx_seconds();
        RLX_TRY(d->fn->copy(d, m, 0, COPIED_BYTES, COPIED_BYTES));
        out->copy = larger(out->copy, rate(start));
    }
    return RLX_OK;
}

rlx_status rlx_device_measure(const char *name, rlx_device_speeds *out)
{
    rlx_device_choice choice;
    rlx_device *d;
    rlx_device_memory *m = NULL;
    *out = (rlx_device_speeds){0};
    RLX_TRY(rlx_context_parse_device(name, &choice));
    if (!choice.is_vulkan)
        return RLX_FAIL(RLX_UNSUPPORTED, "device \"%s\" has no memory of its own", name);
    choice.vulkan.hides = true; /* so that the device's queue copies */
    RLX_TRY_NOTE(rlx_vulkan_open(&choice.vulkan, &d), "device \"%s\"", name);
    char *host = calloc(1, COPIED_BYTES);
    rlx_status st = host ? RLX_OK : RLX_OOM();
    if (!st)
        st = d->fn->create_memory(d, 2 * (size_t)COPIED_BYTES, RLX_MEMORY_KEPT, &m);
    if (!st)
        st = measure(d, m, host, out);
    free(host);
    d->fn->destroy_memory(d, m);
    rlx_device_destroy(d);
    return rlx_status_note(st, __FILE__, __LINE__, "measuring \"%s\"", name);
}
