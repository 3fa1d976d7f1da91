/* frontend/devices.c: devices by name: which there are, what they have, how fast they copy. */
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/context.h"
#include "jit/step.h"
#include "runtime/base/clock.h"

/* ---- targets */

/* On a software device a team is what its processor's vectors hold a few times. */
enum { TEAM_OF_CPU = 32 };

void rlx_vulkan_target(const rlx_vulkan_info *info, rlx_jit_target *out)
{
    *out = (rlx_jit_target){.kind = RLX_JIT_SPIRV,
                            .features = info->features,
                            .team = info->is_cpu ? TEAM_OF_CPU : RLX_JIT_DEFAULT_TEAM,
                            .subgroup = info->subgroup,
                            .matrix = info->matrix,
                            .team_bytes = info->team_bytes};
    if (info->subgroup > 0 && out->team / info->subgroup > info->max_subgroups)
        rlx_jit_drop_matrix(out); /* whose kernels ask for subgroups of that size */
}

rlx_status rlx_gpu_device_target(rlx_gpu_kind k, const rlx_gpu_info *info, rlx_jit_target *out)
{
    char name[sizeof info->arch + 8];
    snprintf(name, sizeof name, "%s:%s", rlx_gpu_kind_name(k), info->arch);
    return rlx_jit_target_named(name, out);
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
    rlx_cpu_describe(rlx_cpu_host()->native, &host_target);
    rlx_cpu_list(rlx_cpu_host()->features, &host_features);
}

/* Vulkan's devices, which are asked for once; where there is no Vulkan there are none. */
static rlx_vulkan_info *vulkans;
static int nvulkans;
static pthread_once_t vulkans_once = PTHREAD_ONCE_INIT;

static void list_vulkans(void)
{
    rlx_status_free(rlx_vulkan_list(&vulkans, &nvulkans));
}

/* GPUs of a maker, likewise; where there are none: why. */
static struct gpus {
    pthread_once_t once;
    rlx_gpu_info *all;
    int n;
    rlx_text why_none;
} gpus[RLX_GPU_KINDS] = {{.once = PTHREAD_ONCE_INIT}, {.once = PTHREAD_ONCE_INIT}};

/* A device that its driver has, and that no code is made for. */
static void judge_gpu(rlx_gpu_kind k, rlx_gpu_info *g)
{
    rlx_jit_target target;
    rlx_status st = g->why_not[0] ? RLX_OK : rlx_gpu_device_target(k, g, &target);
    if (st)
        snprintf(g->why_not, sizeof g->why_not, "%s", rlx_status_message(st));
    rlx_status_free(st);
}

static void list_kind(rlx_gpu_kind k)
{
    struct gpus *g = &gpus[k];
    rlx_status st = rlx_gpu_list(k, &g->all, &g->n);
    if (st)
        rlx_text_put(&g->why_none, rlx_status_message(st));
    rlx_status_free(st);
    for (int i = 0; i < g->n; i++)
        judge_gpu(k, &g->all[i]);
}

static void list_cuda(void)
{
    list_kind(RLX_GPU_CUDA);
}

static void list_hip(void)
{
    list_kind(RLX_GPU_HIP);
}

static const struct gpus *list_gpus(rlx_gpu_kind k)
{
    pthread_once(&gpus[k].once, k == RLX_GPU_CUDA ? list_cuda : list_hip);
    return &gpus[k];
}

/* What a program's user reads of a device that is not in the table above. */
typedef struct found {
    char name[24];
    rlx_text description, target, features, why_not;
    int64_t memory_bytes, team_bytes, range_bytes;
} found;
static found *all_found; /* lives as long as the process */
static int nfound;
static pthread_once_t found_once = PTHREAD_ONCE_INIT;

static void describe_vulkan(const rlx_vulkan_info *v, int i, found *out)
{
    rlx_jit_target target;
    rlx_vulkan_target(v, &target);
    snprintf(out->name, sizeof out->name, "vulkan:%d", i);
    out->memory_bytes = v->memory_bytes;
    out->team_bytes = v->team_bytes;
    out->range_bytes =
        v->features & RLX_VULKAN_BIT(ADDRESS) ? v->max_memory_bytes : v->max_buffer_bytes;
    rlx_text_putf(&out->description, "%s%s", v->name, v->is_cpu ? ", software" : "");
    rlx_text_put(&out->why_not, v->why_not);
    if (v->why_not[0])
        return;
    rlx_jit_describe(&target, &out->target);
    rlx_vulkan_list_features(v->features, " ", &out->features);
    if (v->features & RLX_VULKAN_BIT(MATRIX)) /* the last of them */
        rlx_text_putf(&out->features, "=%dx%dx%d", v->matrix.m, v->matrix.n, v->matrix.k);
}

/* "NVIDIA H200, compute capability 9.0, CUDA 12.4"; of one that its driver does not describe what is known. */
static void put_gpu(rlx_gpu_kind k, const rlx_gpu_info *g, rlx_text *out)
{
    const bool cuda = k == RLX_GPU_CUDA;
    rlx_text_put(out, g->name[0] ? g->name : "a device without a name");
    if (g->major)
        rlx_text_putf(out, ", compute capability %d.%d", g->major, g->minor);
    if (!cuda && g->arch[0])
        rlx_text_putf(out, ", %s", g->arch);
    if (cuda)
        rlx_text_putf(out, ", CUDA %d.%d", g->driver / 1000, g->driver % 1000 / 10);
    else
        rlx_text_putf(out, ", HIP %d.%d", g->driver / 10000000, g->driver / 100000 % 100);
}

static void describe_gpu(rlx_gpu_kind k, const rlx_gpu_info *g, int i, found *out)
{
    rlx_jit_target target;
    snprintf(out->name, sizeof out->name, "%s:%d", rlx_gpu_kind_name(k), i);
    out->memory_bytes = out->range_bytes = g->memory_bytes;
    out->team_bytes = g->team_bytes;
    put_gpu(k, g, &out->description);
    rlx_text_put(&out->why_not, g->why_not);
    rlx_status st = g->why_not[0] ? RLX_OK : rlx_gpu_device_target(k, g, &target);
    if (!st && !g->why_not[0])
        rlx_jit_describe(&target, &out->target);
    rlx_status_free(st);
}

static void describe_gpus(rlx_gpu_kind k)
{
    const struct gpus *g = list_gpus(k);
    for (int i = 0; i < g->n; i++)
        describe_gpu(k, &g->all[i], i, &all_found[nfound++]);
}

static void find_all(void)
{
    pthread_once(&vulkans_once, list_vulkans);
    int most = nvulkans + 1;
    for (int k = 0; k < RLX_GPU_KINDS; k++)
        most += list_gpus((rlx_gpu_kind)k)->n;
    all_found = calloc((size_t)most, sizeof *all_found);
    if (!all_found)
        return;
    for (int i = 0; i < nvulkans; i++)
        describe_vulkan(&vulkans[i], i, &all_found[nfound++]);
    for (int k = 0; k < RLX_GPU_KINDS; k++)
        describe_gpus((rlx_gpu_kind)k);
}

int rlx_device_count(void)
{
    pthread_once(&found_once, find_all);
    return NDEVICES + nfound;
}

static const char *text_of(const rlx_text *t)
{
    return t->data ? t->data : "";
}

const char *rlx_device_why_none(const char *maker)
{
    for (int k = 0; k < RLX_GPU_KINDS; k++)
        if (!strcmp(maker, rlx_gpu_kind_name((rlx_gpu_kind)k)))
            return text_of(&list_gpus((rlx_gpu_kind)k)->why_none);
    return NULL;
}

static void get_found(int i, rlx_device_info *out)
{
    pthread_once(&found_once, find_all);
    const found *f = &all_found[i];
    *out = (rlx_device_info){.name = f->name,
                             .target = text_of(&f->target),
                             .features = text_of(&f->features),
                             .description = text_of(&f->description),
                             .memory_bytes = f->memory_bytes,
                             .team_bytes = f->team_bytes,
                             .range_bytes = f->range_bytes,
                             .why_not = text_of(&f->why_not)};
}

void rlx_device_get_info(int i, rlx_device_info *out)
{
    const rlx_cpu *cpu = rlx_cpu_host();
    if (i >= NDEVICES) {
        get_found(i - NDEVICES, out);
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
        .why_not = "",
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
    const char *names[NDEVICES + 3] = {"vulkan", "cuda", "hip"};
    for (int i = 0; i < NDEVICES; i++)
        names[i + 3] = devices[i].name;
    const char *near = rlx_text_nearest(text, names, NDEVICES + 3);
    return RLX_FAIL(RLX_INVALID_ARGUMENT,
                    "no device \"%s\"; %s%s%sthere are cpu, cpu:FEATURES, vulkan, "
                    "vulkan:N,-FEATURE,range=BYTES,memory=BYTES, cuda:N,memory=BYTES,step=kernel, "
                    "hip:N,memory=BYTES, ref:lir, ref:mir",
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

/* ":1" behind a device's name: its number, and what is behind that; false: the user leaves it to us. */
static rlx_status parse_index(const char *name, const char **rest, int *index, bool *given)
{
    const char *text = *rest;
    char *end;
    *given = *text == ':';
    if (!*given)
        return RLX_OK;
    errno = 0;
    const long number = strtol(text + 1, &end, 10);
    if (end == text + 1 || !isdigit((unsigned char)text[1]) || errno || number > INT_MAX ||
        (*end && *end != ','))
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "device \"%s%s\": expected a number: %s:0", name,
                        text, name);
    *index = (int)number;
    *rest = end;
    return RLX_OK;
}

/* What follows "vulkan": ":1", ":1,-int8", ",-int8,memory=64M", nothing. */
static rlx_status parse_vulkan(const char *text, rlx_device_choice *out)
{
    const char *rest = text;
    bool given;
    *out = (rlx_device_choice){.runner = RLX_RUN_CODE, .is_vulkan = true};
    RLX_TRY(parse_index("vulkan", &rest, &out->vulkan.index, &given));
    if (!given) {
        pthread_once(&vulkans_once, list_vulkans);
        out->vulkan.index = rlx_vulkan_choose(vulkans, nvulkans);
        out->chosen = true;
    }
    RLX_TRY_NOTE(parse_masks(rest, &out->vulkan), "device \"vulkan%s\"", text);
    return RLX_OK;
}

/* The first that can be used, else the first, which says what is wrong with it. */
static int choose_gpu(rlx_gpu_kind k)
{
    const struct gpus *g = list_gpus(k);
    for (int i = 0; i < g->n; i++)
        if (!g->all[i].why_not[0])
            return i;
    return 0;
}

/* ",memory=64M,step=kernel", in any order. */
static rlx_status parse_gpu_limits(rlx_gpu_kind k, const char *text, rlx_device_choice *out)
{
    const char *name = rlx_gpu_kind_name(k);
    for (size_t n; *text; text += 1 + n) {
        char word[64];
        bool is_memory;
        n = strcspn(text + 1, ",");
        snprintf(word, sizeof word, "%.*s", (int)n, text + 1);
        RLX_TRY(parse_limit(text + 1, n, "memory", &is_memory, &out->gpu.memory));
        if (!is_memory && strncmp(word, "step=", 5) != 0)
            return RLX_FAIL(RLX_INVALID_ARGUMENT, "\"%s\": expected %s:0,memory=64M%s", word, name,
                            k == RLX_GPU_CUDA ? " or step=graph, kernel or auto" : "");
        if (!is_memory)
            RLX_TRY(rlx_jit_step_parse(k == RLX_GPU_CUDA ? RLX_JIT_NVPTX : RLX_JIT_AMDGPU, word,
                                       &out->step));
    }
    return RLX_OK;
}

/* What follows "cuda" or "hip": ":1", ":1,memory=64M", ",step=kernel", nothing. */
static rlx_status parse_gpu(rlx_gpu_kind k, const char *text, rlx_device_choice *out)
{
    const char *name = rlx_gpu_kind_name(k), *rest = text;
    bool given;
    *out = (rlx_device_choice){.runner = RLX_RUN_CODE, .is_gpu = true, .gpu = {.kind = k}};
    RLX_TRY(parse_index(name, &rest, &out->gpu.index, &given));
    RLX_TRY_NOTE(parse_gpu_limits(k, rest, out), "device \"%s%s\"", name, text);
    if (!given)
        out->gpu.index = choose_gpu(k);
    return RLX_OK;
}

/* What follows a device's name in a text; NULL: it is another's. */
static const char *behind(const char *text, const char *name)
{
    const size_t n = strlen(name);
    const bool is_it = !strncmp(text, name, n) && (!text[n] || text[n] == ':' || text[n] == ',');
    return is_it ? text + n : NULL;
}

rlx_jit_target rlx_context_host_target(void)
{
    const rlx_cpu *host = rlx_cpu_host();
    return (rlx_jit_target){.kind = RLX_JIT_CPU,
                            .features = host->native,
                            .slow_features = host->features & ~host->native};
}

rlx_status rlx_context_parse_device(const char *text, rlx_device_choice *out)
{
    *out = (rlx_device_choice){.target = rlx_context_host_target()};
    for (int i = 0; i < NDEVICES; i++)
        if (!strcmp(text, devices[i].name)) {
            out->runner = devices[i].runner;
            return RLX_OK;
        }
    if (!strncmp(text, "cpu:", 4)) {
        out->runner = RLX_RUN_CODE;
        if (strcmp(text + 4, "native"))
            out->target.slow_features = 0; /* who masks features means it */
        return rlx_cpu_parse(text + 4, true, &out->target.features);
    }
    if (behind(text, "vulkan"))
        return parse_vulkan(behind(text, "vulkan"), out);
    for (int k = 0; k < RLX_GPU_KINDS; k++) {
        const char *rest = behind(text, rlx_gpu_kind_name((rlx_gpu_kind)k));
        if (rest)
            return parse_gpu((rlx_gpu_kind)k, rest, out);
    }
    return unknown_device(text);
}

/* ---- opening */

static rlx_status open_vulkan(const rlx_vulkan_options *o, rlx_device **out, rlx_jit_target *target)
{
    RLX_TRY(rlx_vulkan_open(o, out));
    rlx_vulkan_target(rlx_vulkan_device_get_info(rlx_vulkan_device_of(*out)), target);
    target->range_bytes = o->range;
    return RLX_OK;
}

static rlx_status open_gpu(const rlx_device_choice *c, rlx_device **out, rlx_jit_target *target)
{
    const rlx_gpu_options *o = &c->gpu;
    RLX_TRY(rlx_gpu_open(o, out));
    rlx_status st = rlx_gpu_device_target(o->kind, rlx_gpu_get_info(*out), target);
    if (st) {
        rlx_device_destroy(*out);
        *out = NULL;
        return st;
    }
    target->step = c->step;
    return RLX_OK;
}

bool rlx_device_has_memory(const rlx_device_choice *c)
{
    return c->is_vulkan || c->is_gpu;
}

rlx_status rlx_device_open(const rlx_device_choice *c, rlx_device **out, rlx_jit_target *target)
{
    return c->is_gpu ? open_gpu(c, out, target) : open_vulkan(&c->vulkan, out, target);
}

bool rlx_device_is_same(const rlx_device_choice *c, rlx_device *a, rlx_device *b)
{
    return c->is_gpu ? rlx_gpu_is_same(a, b) : rlx_vulkan_is_same(a, b);
}

void rlx_device_put_name(const rlx_device_choice *c, rlx_text *name)
{
    const int64_t memory = c->is_gpu ? c->gpu.memory : c->vulkan.memory;
    if (c->is_gpu) {
        rlx_text_putf(name, "%s:%d", rlx_gpu_kind_name(c->gpu.kind), c->gpu.index);
    } else {
        rlx_text_putf(name, "vulkan:%d", c->vulkan.index);
        if (c->vulkan.without)
            rlx_text_put(name, ",-");
        rlx_vulkan_list_features(c->vulkan.without, ",-", name);
        if (c->vulkan.range)
            rlx_text_putf(name, ",range=%lld", (long long)c->vulkan.range);
    }
    if (memory)
        rlx_text_putf(name, ",memory=%lld", (long long)memory);
    if (c->step)
        rlx_text_putf(name, ",step=%s", rlx_jit_step_name(c->step));
}

/* ---- speeds */

enum { TRIALS = 3 };

/* Bytes that are copied: to and from the host, and within, where starting it must be nothing beside it on devices that copy terabytes in a
 * second. */
typedef struct copied {
    size_t host, within;
} copied;

static copied choose_bytes(const rlx_device *d)
{
    enum { PART = 8 };
    const size_t host = 64u << 20, most = 1u << 30, part = (size_t)d->memory_bytes / PART;
    const size_t range = d->max_range / 2, room = part < range ? part : range;
    return (copied){room < host ? room : host, room < most ? room : most};
}

static double faster(double before, size_t bytes, double start)
{
    const double rate = (double)bytes / (rlx_seconds() - start);
    return rate > before ? rate : before;
}

/* Copies to, from and within the device's memory: the best of a few. */
static rlx_status measure(rlx_device *d, const copied *c, rlx_device_memory *m, char *host,
                          rlx_device_speeds *out)
{
    for (int i = 0; i < TRIALS; i++) {
        double start = rlx_seconds();
        RLX_TRY(d->fn->write(d, m, 0, host, c->host));
        out->upload = faster(out->upload, c->host, start);
        start = rlx_seconds();
        RLX_TRY(d->fn->read(d, m, 0, host, c->host));
        out->download = faster(out->download, c->host, start);
        start = rlx_seconds();
        RLX_TRY(d->fn->copy(d, m, 0, c->within, c->within));
        out->copy = faster(out->copy, c->within, start);
    }
    return RLX_OK;
}

rlx_status rlx_device_measure(const char *name, rlx_device_speeds *out)
{
    rlx_device_choice choice;
    rlx_jit_target target;
    rlx_device *d;
    rlx_device_memory *m = NULL;
    *out = (rlx_device_speeds){0};
    RLX_TRY(rlx_context_parse_device(name, &choice));
    if (!rlx_device_has_memory(&choice))
        return RLX_FAIL(RLX_UNSUPPORTED, "device \"%s\" has no memory of its own", name);
    choice.vulkan.hides = true; /* so that the device's queue copies */
    RLX_TRY_NOTE(rlx_device_open(&choice, &d, &target), "device \"%s\"", name);
    const copied c = choose_bytes(d);
    char *host = calloc(1, c.host);
    rlx_status st = host ? RLX_OK : RLX_OOM();
    if (!st)
        st = d->fn->create_memory(d, 2 * c.within, RLX_MEMORY_KEPT, &m);
    if (!st)
        st = measure(d, &c, m, host, out);
    free(host);
    d->fn->destroy_memory(d, m);
    rlx_device_destroy(d);
    return rlx_status_note(st, __FILE__, __LINE__, "measuring \"%s\"", name);
}
