#include "frontend/context.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/cache_folder.h"

/* ---- contexts */

static rlx_status open_memory(rlx_context *cx, const char *text, rlx_text *name)
{
    const rlx_device_choice *c = &cx->choice;
    RLX_TRY_NOTE(rlx_device_open(c, &cx->gpu, &cx->target), "device \"%s\"", text);
    rlx_device_put_name(c, name);
    if (c->is_vulkan && c->chosen &&
        rlx_vulkan_device_get_info(rlx_vulkan_device_of(cx->gpu))->is_cpu)
        rlx_context_log(cx, RLX_LOG_WARNING,
                        "no Vulkan device but a software one (%s): the CPU is faster by itself",
                        cx->gpu->name);
    return RLX_OK;
}

static rlx_status open_device(rlx_context *cx, const char *text)
{
    rlx_text name = {0};
    RLX_TRY(rlx_context_parse_device(text, &cx->choice));
    cx->runner = cx->choice.runner;
    cx->target = cx->choice.target;
    if (rlx_device_has_memory(&cx->choice)) {
        RLX_TRY(open_memory(cx, text, &name));
    } else if (cx->runner == RLX_RUN_CODE) {
        rlx_text_put(&name, "cpu:");
        rlx_cpu_describe(cx->target.features, &name);
    } else {
        rlx_text_put(&name, cx->runner == RLX_RUN_EVAL_LIR ? "ref:lir" : "ref:mir");
    }
    cx->device = rlx_text_take(&name);
    return cx->device ? RLX_OK : RLX_OOM();
}

/* "all", or a number of them. */
static rlx_status read_layers(rlx_context *cx, const char *text)
{
    char *end;
    if (!text || !strcmp(text, "all"))
        return RLX_OK;
    errno = 0;
    cx->layers = strtoll(text, &end, 10);
    if (end == text || *end || errno || cx->layers < 0)
        return RLX_FAIL(RLX_INVALID_ARGUMENT,
                        "\"%s\" layers on the device: a number, from 0, or all", text);
    cx->parted = cx->gpu != NULL;
    if (!cx->gpu && cx->layers)
        return RLX_FAIL(RLX_INVALID_ARGUMENT,
                        "%s layers on the device: %s is none with a memory of its own, as vulkan, "
                        "cuda and hip are",
                        text, cx->device);
    return RLX_OK;
}

static void warn_of_cache(void *user, const char *message)
{
    rlx_context_log(user, RLX_LOG_WARNING, "%s", message);
}

/* Evaluators have no code to keep. */
static rlx_status open_code_cache(rlx_context *cx, const rlx_context_options *o)
{
    if (o->no_compile && (o->no_cache || cx->runner != RLX_RUN_CODE))
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "nothing may be compiled, and %s: nothing could run",
                        o->no_cache ? "there is to be no cache" : "an evaluator has none");
    cx->no_compile = o->no_compile;
    if (o->no_cache || cx->runner != RLX_RUN_CODE)
        return RLX_OK;
    rlx_cache_options cache = o->cache;
    if (!cache.warn) {
        cache.warn = warn_of_cache;
        cache.warn_user = cx;
    }
    return rlx_cache_open(&cache, &cx->cache);
}

/* The cache, and the folder that all that is kept goes to: where code is kept, that of the code. */
static rlx_status open_cache(rlx_context *cx, const rlx_context_options *o)
{
    RLX_TRY(open_code_cache(cx, o));
    if (o->no_cache)
        return RLX_OK;
    const char *folder = cx->cache ? rlx_cache_folder(cx->cache) : o->cache.folder;
    if (folder && !(cx->cache_folder = strdup(folder)))
        return RLX_OOM();
    if (!cx->cache && !folder)
        cx->cache_folder = rlx_cache_default_folder();
    return RLX_OK;
}

/* As the options want it, else RLX_PERF in the environment: "map", "jitdump". */
static rlx_status open_perf(rlx_context *cx, const rlx_context_options *o)
{
    static const char *const names[] = {[RLX_PERF_MAP] = "map", [RLX_PERF_JITDUMP] = "jitdump"};
    const char *want = secure_getenv("RLX_PERF");
    rlx_perf_form form = o->perf;
    for (int f = RLX_PERF_MAP; want && !o->perf && f <= RLX_PERF_JITDUMP; f++)
        if (!strcmp(want, names[f]))
            form = (rlx_perf_form)f;
    if (want && *want && !form)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "RLX_PERF is \"%s\": map, jitdump", want);
    return form ? rlx_perf_open(form, o->perf_folder, &cx->perf) : RLX_OK;
}

rlx_status rlx_context_create_for(int abi, const rlx_context_options *options, rlx_context **out)
{
    rlx_status st;
    *out = NULL;
    if (abi != RLX_ABI_VERSION)
        return RLX_FAIL(
            RLX_UNSUPPORTED,
            "the program was compiled with the rlx.h of ABI %d; this librlx %s has ABI %d", abi,
            RLX_VERSION, RLX_ABI_VERSION);
    const rlx_context_options o = options ? *options : (rlx_context_options){0};
    if (o.threads < 0)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "%d threads", o.threads);
    rlx_context *cx = calloc(1, sizeof *cx);
    if (!cx)
        return RLX_OOM();
    cx->log = o.log;
    cx->log_user = o.log_user;
    RLX_TRY_TO(failed, open_device(cx, o.device ? o.device : "cpu"));
    RLX_TRY_TO(failed, read_layers(cx, o.device_layers));
    RLX_TRY_TO(failed, open_cache(cx, &o));
    if (cx->gpu)
        cx->gpu->cache = cx->cache;
    RLX_TRY_TO(failed, open_perf(cx, &o));
    RLX_TRY_TO(failed, rlx_team_create(o.threads, &cx->team));
    if (cx->gpu)
        cx->gpu->threads = rlx_team_size(cx->team);
    *out = cx;
    return RLX_OK;
failed:
    rlx_context_destroy(cx);
    return st;
}

void rlx_context_destroy(rlx_context *cx)
{
    if (!cx)
        return;
    rlx_team_destroy(cx->team);
    rlx_perf_close(cx->perf);
    rlx_cache_close(cx->cache);
    rlx_device_destroy(cx->gpu);
    for (int i = 0; i < cx->nlost; i++)
        rlx_device_destroy(cx->lost[i]);
    free(cx->lost);
    free(cx->cache_folder);
    free(cx->device);
    free(cx);
}

rlx_status rlx_context_reopen(rlx_context *cx)
{
    rlx_device_choice choice = cx->choice;
    rlx_jit_target target; /* the same as before, of the same device */
    rlx_device *now;
    if (!cx->gpu || !cx->gpu->fn->is_lost(cx->gpu))
        return RLX_OK;
    rlx_device **lost = realloc(cx->lost, sizeof *lost * ((size_t)cx->nlost + 1));
    if (!lost)
        return RLX_OOM();
    cx->lost = lost;
    choice.gpu.lost = cx->gpu;
    RLX_TRY_NOTE(rlx_device_open(&choice, &now, &target), "opening %s anew", cx->device);
    if (!rlx_device_is_same(&choice, now, cx->gpu)) { /* devices are numbered as they are there */
        rlx_status st = RLX_FAIL(RLX_NOT_FOUND,
                                 "opening %s anew: it was %s, and is now %s, or another driver or "
                                 "other features of it",
                                 cx->device, cx->gpu->name, now->name);
        rlx_device_destroy(now);
        return st;
    }
    now->cache = cx->gpu->cache;
    now->threads = cx->gpu->threads;
    cx->lost[cx->nlost++] = cx->gpu;
    cx->gpu = now;
    return RLX_OK;
}

const char *rlx_context_device(const rlx_context *cx)
{
    return cx->device;
}

int rlx_context_threads(const rlx_context *cx)
{
    return rlx_team_size(cx->team);
}

void rlx_context_log(const rlx_context *cx, rlx_log_level level, const char *fmt, ...)
{
    if (!cx->log)
        return;
    char *message = NULL;
    va_list args;
    va_start(args, fmt);
    if (vasprintf(&message, fmt, args) < 0)
        message = NULL;
    va_end(args);
    cx->log(cx->log_user, level, message ? message : "out of memory: what was to be said is lost");
    free(message);
}

void rlx_context_get_stats(const rlx_context *cx, rlx_context_stats *out)
{
    *out = (rlx_context_stats){
        .compiled = atomic_load(&cx->compiled),
        .loaded = atomic_load(&cx->loaded),
        .compile_seconds = 1e-9 * (double)atomic_load(&cx->compile_nanoseconds),
        .load_seconds = 1e-9 * (double)atomic_load(&cx->load_nanoseconds),
    };
}

rlx_cache *rlx_context_cache(const rlx_context *cx)
{
    return cx->cache;
}

void rlx_context_warn(const rlx_context *cx, rlx_status st)
{
    char *text = st ? rlx_status_text(st) : NULL;
    if (st)
        rlx_context_log(cx, RLX_LOG_WARNING, "%s", text ? text : rlx_status_message(st));
    free(text);
    rlx_status_free(st);
}

rlx_status rlx_session_create(rlx_context *cx, const rlx_session_options *options,
                              rlx_session **out)
{
    return rlx_session_create_device(cx->gpu, cx->team, options, out);
}

const char *rlx_version(void)
{
    return RLX_VERSION;
}

int rlx_abi_version(void)
{
    return RLX_ABI_VERSION;
}
