/* frontend/warm.c: a model's code into the cache, for this machine or others, before anybody runs
 * it. */
#include <stdlib.h>
#include <string.h>

#include "frontend/compile.h"
#include "frontend/model.h"
#include "runtime/base/clock.h"

typedef struct warming {
    rlx_context *cx;
    const rlx_model *model;
    rlx_model_options how;
    rlx_model_plan plan;
    const rlx_warm_options *options;
    rlx_warm_step step; /* as the caller sees it */
} warming;

static rlx_status tell(warming *w)
{
    if (w->options->progress && !w->options->progress(w->options->user, &w->step))
        return RLX_FAIL(RLX_CANCELLED, "ended by the caller");
    return RLX_OK;
}

static rlx_status warm_bucket(warming *w, const rlx_jit_target *target, int which)
{
    rlx_model_bucket o;
    rlx_text why = {0};
    bool there = false;
    rlx_model_get_bucket(&w->how, &w->plan, which, &o);
    const double start = rlx_seconds();
    w->step.bucket = o.name;
    w->step.tokens = o.bucket[0].upper;
    rlx_status st = rlx_flow_warm(w->cx, target, w->model->flow, w->model->weights, &o.compile,
                                  w->options->dry_run, &there, w->options->dry_run ? &why : NULL);
    if (!st) {
        w->step.done++;
        w->step.there = there;
        w->step.why = why.data ? why.data : "";
        w->step.seconds = rlx_seconds() - start;
        st = tell(w);
    }
    rlx_text_deinit(&why);
    return rlx_status_note(st, __FILE__, __LINE__, "the bucket %s of %lld tokens for %s", o.name,
                           (long long)o.bucket[0].upper, w->step.target);
}

/* NULL: this machine, as the context has it. What its buckets are hangs on what it computes. */
static rlx_status turn_to_target(warming *w, const char *name, rlx_jit_target *out)
{
    if (name)
        RLX_TRY(rlx_jit_target_named(name, out));
    else
        *out = w->cx->target;
    return rlx_model_make_plan(&w->how, &w->plan);
}

static rlx_status warm_target(warming *w, const char *name)
{
    rlx_jit_target target;
    RLX_TRY(turn_to_target(w, name, &target));
    w->step.target = name ? name : w->cx->device;
    for (int b = 0; b < rlx_model_bucket_count(&w->plan); b++)
        RLX_TRY(warm_bucket(w, &target, b));
    return RLX_OK;
}

static rlx_status warm(warming *w)
{
    const rlx_warm_options *o = w->options;
    rlx_jit_target ignored;
    const int n = o->ntargets ? o->ntargets : 1;
    for (int i = 0; i < n; i++) { /* all names, before the work */
        RLX_TRY(turn_to_target(w, o->ntargets ? o->targets[i] : NULL, &ignored));
        w->step.total += rlx_model_bucket_count(&w->plan);
    }
    for (int i = 0; i < n; i++)
        RLX_TRY(warm_target(w, o->ntargets ? o->targets[i] : NULL));
    return RLX_OK;
}

rlx_status rlx_model_warm(rlx_context *cx, const char *path, const rlx_model_options *how,
                          const rlx_warm_options *options)
{
    const rlx_warm_options none = {0};
    if (!cx->cache || !rlx_cache_folder(cx->cache))
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "warming %s: there is no cache to put code into",
                        path);
    rlx_model m = {.path = strdup(path)};
    warming w = {.cx = cx, .model = &m, .options = options ? options : &none};
    if (how)
        w.how = *how;
    rlx_status st = m.path ? rlx_model_check_options(&w.how) : RLX_OOM();
    if (!st)
        st = rlx_model_read_files(cx, &m);
    if (!st)
        st = warm(&w);
    rlx_model_deinit_files(&m);
    RLX_TRY_NOTE(st, "warming the model %s", path);
    return RLX_OK;
}
