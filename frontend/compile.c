#include "frontend/compile.h"

#include <string.h>

#include "frontend/cache.h"
#include "frontend/compile_key.h"
#include "frontend/evaluate.h"
#include "runtime/base/clock.h"

/* ---- a flow to an entry */

rlx_status rlx_compile_entry(const rlx_context *cx, rlx_compilation *c, const char *provenance,
                             const char *preimage, rlx_text *entry)
{
    rlx_text source = {0};
    rlx_jit_stats jit = {0};
    rlx_lir_plan_report plan;
    RLX_TRY(rlx_compilation_lower(c, RLX_LEVEL_LIR));
    RLX_TRY(rlx_lir_check_plan(c->lir, RLX_ENTRY, c->upper, &plan));
    rlx_ir_print(c->hir, 0, &source);
    rlx_jit_options jo = {
        .entry = RLX_ENTRY,
        .output_names = (const char *const *)c->outputs.name,
        .upper = c->upper,
        .threads = cx->team ? rlx_team_size(cx->team) : 0,
        .no_code = cx->runner != RLX_RUN_CODE,
        .preimage = preimage,
        .plan_least = plan.lower_bound,
        .provenance = provenance,
        .source = source.data,
        .key = rlx_hash_bytes(preimage, strlen(preimage)),
    };
    rlx_status st = source.oom ? RLX_OOM() : rlx_jit_compile(c->lir, &c->target, &jo, entry, &jit);
    rlx_text_deinit(&source);
    RLX_TRY(st);
    rlx_context_log(cx, RLX_LOG_INFO,
                    "%s: hir %.1f ms, mir %.1f ms, lir %.1f ms, code %.1f ms (%d kernels%s)",
                    c->hir->name, 1e3 * c->seconds[RLX_LEVEL_HIR], 1e3 * c->seconds[RLX_LEVEL_MIR],
                    1e3 * c->seconds[RLX_LEVEL_LIR], 1e3 * jit.seconds, jit.kernels,
                    jit.step ? ", and a step of them in one launch" : "");
    return RLX_OK;
}

static rlx_status compile_entry(const rlx_context *cx, rlx_compilation *c, const char *name,
                                const char *preimage, rlx_text *entry)
{
    rlx_text provenance = {0};
    rlx_text_putf(&provenance, "%s, rlx %s, %s", name, RLX_VERSION, rlx_jit_compiler());
    rlx_status st =
        provenance.oom ? RLX_OOM() : rlx_compile_entry(cx, c, provenance.data, preimage, entry);
    rlx_text_deinit(&provenance);
    return st;
}

/* ---- the cache */

/* What a bucket is called in messages: "TOKENS 512, ROWS 512, fast, prefill". */
static void put_bucket(const rlx_compilation *c, const rlx_compile_options *o, rlx_text *out)
{
    for (int i = 0; o && i < o->nbuckets; i++)
        rlx_text_putf(out, "%s %lld, ", o->buckets[i].symbol, (long long)o->buckets[i].upper);
    rlx_text_put(out, rlx_compile_precision_name(c->precision));
}

/* The code of a machine with a name that is under that machine's key. */
static rlx_status find_below(const rlx_context *cx, const rlx_compilation *c, int i, bool lesser,
                             rlx_program **out)
{
    rlx_jit_target below;
    rlx_text text = {0};
    if (!rlx_jit_target_below(&c->target, i, &below) ||
        (!lesser && !rlx_jit_same_features(&c->target, &below)))
        return RLX_OK;
    rlx_status st = rlx_compile_key(c, &below, &text);
    const rlx_hash key = rlx_hash_bytes(text.data ? text.data : "", text.len);
    if (!st)
        *out = rlx_cache_look(cx->cache, &key, text.data);
    rlx_text_deinit(&text);
    if (*out)
        rlx_context_log(cx, RLX_LOG_INFO, "%s: code for %s stands in", c->hir->name,
                        (*out)->target);
    return st;
}

/* Code of this machine's kind, else of a named one that has the same features and other sizes. Code
 * of one that has less is slower, and in fast mode rounds otherwise: it stands in where nothing may
 * be compiled. */
static rlx_status find_program(const rlx_context *cx, const rlx_compilation *c,
                               const char *preimage, bool may_compile, rlx_program **out)
{
    const rlx_hash key = rlx_hash_bytes(preimage, strlen(preimage));
    *out = rlx_cache_look(cx->cache, &key, preimage);
    for (int i = 0; !*out && i < rlx_jit_target_count(); i++)
        RLX_TRY(find_below(cx, c, i, !may_compile, out));
    rlx_cache_count(cx->cache, *out != NULL);
    return RLX_OK;
}

static rlx_status refuse_to_compile(const rlx_context *cx, const rlx_compilation *c,
                                    const rlx_compile_options *o, const char *preimage)
{
    rlx_text bucket = {0}, why = {0};
    put_bucket(c, o, &bucket);
    rlx_status st = rlx_cache_explain_key(cx->cache, preimage, &why);
    if (!st)
        st = RLX_FAIL(RLX_NOT_FOUND, "the bucket %s is not in the compile cache%s%s, and %s: %s",
                      bucket.data ? bucket.data : "", rlx_cache_folder(cx->cache) ? " " : "",
                      rlx_cache_folder(cx->cache) ? rlx_cache_folder(cx->cache) : "",
                      cx->no_compile ? "nothing may be compiled" : "the cache is sealed",
                      why.data ? why.data : "");
    rlx_text_deinit(&bucket);
    rlx_text_deinit(&why);
    return st;
}

/* A program for the compilation: out of the cache, or compiled and put there. */
static rlx_status get_program(const rlx_context *cx, rlx_compilation *c, const char *name,
                              const rlx_compile_options *o, rlx_program **out, bool *cached)
{
    rlx_text preimage = {0}, entry = {0};
    rlx_status st;
    *out = NULL;
    const bool may_compile = !cx->cache || !(cx->no_compile || rlx_cache_is_sealed(cx->cache));
    RLX_TRY_TO(done, rlx_compile_key(c, &c->target, &preimage));
    if (cx->cache && !(c->tuning.verbose && may_compile)) /* compiling tells what is asked for */
        RLX_TRY_TO(done, find_program(cx, c, preimage.data, may_compile, out));
    *cached = *out != NULL;
    if (*out)
        goto done;
    if (!may_compile) {
        st = refuse_to_compile(cx, c, o, preimage.data);
        goto done;
    }
    RLX_TRY_TO(done, compile_entry(cx, c, name, preimage.data, &entry));
    RLX_TRY_TO(done, rlx_program_decode(entry.data, entry.len, out));
    if (cx->cache)
        rlx_context_warn(cx, rlx_cache_put(cx->cache, &(*out)->key, entry.data, entry.len));
done:
    rlx_text_deinit(&preimage);
    rlx_text_deinit(&entry);
    return st;
}

/* ---- a flow to an executable */

/* An executable of a program, which it takes over, on the context's device; it has the flow's tables. */
static rlx_status load_program(const rlx_context *cx, rlx_compilation *c, rlx_program *p,
                               const rlx_weights *w, rlx_executable **out)
{
    rlx_weights *tables = c->outputs.tables;
    const rlx_weights *all = tables ? tables : w;
    if (cx->gpu && !c->on_cpu)
        RLX_TRY(rlx_executable_create_on(cx->gpu, p, all, out));
    else
        RLX_TRY(rlx_executable_create_program(p, all, NULL, out));
    rlx_executable_own_weights(*out, tables);
    c->outputs.tables = NULL;
    if (cx->perf) /* a file that cannot be written is no reason to fail */
        rlx_context_warn(cx, rlx_executable_tell_perf(*out, cx->perf));
    return RLX_OK;
}

static rlx_status compile(const rlx_context *cx, rlx_compilation *c, const rlx_flow *f,
                          const rlx_weights *w, const rlx_compile_options *o,
                          rlx_compile_stats *stats, rlx_executable **out)
{
    rlx_program *p;
    bool cached = false;
    RLX_TRY(get_program(cx, c, f->name, o, &p, &cached));
    rlx_compile_fill_stats(c, p, stats);
    stats->cached = cached;
    if (cx->runner == RLX_RUN_CODE)
        return load_program(cx, c, p, w, out);
    return rlx_evaluator_create(c, cx->runner, p, w, out);
}

/* Tensors of the set that the flow leaves alone, as the options want it. */
static rlx_status check_unused(const rlx_context *cx, const rlx_compilation *c,
                               const rlx_weights *w, const rlx_compile_options *o)
{
    if (!o || o->unused == RLX_UNUSED_IGNORE || !w)
        return RLX_OK;
    rlx_status st =
        rlx_flow_check_unused(rlx_ir_func_find(c->hir, RLX_ENTRY), c->hir, w, o->may_unused);
    if (rlx_status_code(st) != RLX_INVALID_FILE || o->unused == RLX_UNUSED_REFUSE)
        return st;
    rlx_context_warn(cx, st);
    return RLX_OK;
}

static void count_executable(rlx_context *cx, const rlx_compile_stats *s)
{
    const int64_t nanoseconds = (int64_t)(1e9 * s->seconds);
    atomic_fetch_add(s->cached ? &cx->loaded : &cx->compiled, 1);
    atomic_fetch_add(s->cached ? &cx->load_nanoseconds : &cx->compile_nanoseconds, nanoseconds);
}

/* *whole: the part is all of the flow. */
static rlx_status compile_part(const rlx_context *cx, const rlx_flow *f, const rlx_weights *w,
                               const rlx_compile_options *o, rlx_part part,
                               rlx_compile_stats *stats, bool *whole, rlx_executable **out)
{
    rlx_compilation c;
    RLX_TRY(rlx_compilation_begin(&c, cx, &cx->target, f, w, o, part));
    rlx_status st = part == RLX_PART_ALL ? check_unused(cx, &c, w, o) : RLX_OK;
    *whole = c.part == RLX_PART_ALL;
    if (!st)
        st = compile(cx, &c, f, w, o, stats, out);
    rlx_compilation_deinit(&c);
    return st;
}

/* Of the whole flow, of which each part leaves something alone. */
static rlx_status check_parts(const rlx_context *cx, const rlx_flow *f, const rlx_weights *w,
                              const rlx_compile_options *o)
{
    rlx_compilation c;
    if (!o || o->unused == RLX_UNUSED_IGNORE)
        return RLX_OK;
    RLX_TRY(rlx_compilation_run(&c, cx, f, w, o, RLX_LEVEL_HIR));
    rlx_status st = check_unused(cx, &c, w, o);
    rlx_compilation_deinit(&c);
    return st;
}

/* Layers on the CPU, and others on the device. */
static rlx_status compile_parts(const rlx_context *cx, const rlx_flow *f, const rlx_weights *w,
                                const rlx_compile_options *o, rlx_compile_stats *stats,
                                rlx_executable **out)
{
    rlx_compile_stats back;
    rlx_executable *front;
    bool whole;
    RLX_TRY(check_parts(cx, f, w, o));
    RLX_TRY(compile_part(cx, f, w, o, RLX_PART_FRONT, stats, &whole, &front));
    if (whole) {
        *out = front;
        return RLX_OK;
    }
    rlx_status st = compile_part(cx, f, w, o, RLX_PART_BACK, &back, &whole, out);
    if (st) {
        rlx_executable_destroy(front);
        return st;
    }
    rlx_compile_add_stats(stats, &back);
    rlx_executable_put_front(*out, front);
    return RLX_OK;
}

rlx_status rlx_flow_compile(rlx_context *cx, const rlx_flow *f, const rlx_weights *w,
                            const rlx_compile_options *options, rlx_compile_stats *stats,
                            rlx_executable **out)
{
    double start = rlx_seconds();
    rlx_compile_stats s;
    bool whole;
    *out = NULL;
    rlx_status st = cx->parted ? compile_parts(cx, f, w, options, &s, out)
                               : compile_part(cx, f, w, options, RLX_PART_ALL, &s, &whole, out);
    RLX_TRY_NOTE(st, "compiling %s for %s", f->name, cx->device);
    s.seconds = rlx_seconds() - start;
    count_executable(cx, &s);
    if (stats)
        *stats = s;
    return RLX_OK;
}

/* ---- a flow to an entry of the cache */

static rlx_status warm(const rlx_context *cx, rlx_compilation *c, const char *name, bool dry_run,
                       bool *there, rlx_text *why)
{
    rlx_text preimage = {0}, entry = {0};
    rlx_status st;
    RLX_TRY_TO(done, rlx_compile_key(c, &c->target, &preimage));
    const rlx_hash key = rlx_hash_bytes(preimage.data, preimage.len);
    rlx_program *p;
    RLX_TRY_TO(done, find_program(cx, c, preimage.data, true, &p));
    *there = p != NULL;
    rlx_program_destroy(p);
    if (!*there && why)
        RLX_TRY_TO(done, rlx_cache_explain_key(cx->cache, preimage.data, why));
    if (*there || dry_run)
        goto done;
    if (cx->no_compile || rlx_cache_is_sealed(cx->cache)) {
        st = RLX_FAIL(RLX_UNSUPPORTED, "%s: nothing may be compiled",
                      cx->no_compile ? "the context says" : "the cache is sealed");
        goto done;
    }
    RLX_TRY_TO(done, compile_entry(cx, c, name, preimage.data, &entry));
    RLX_TRY_TO(done, rlx_cache_put(cx->cache, &key, entry.data, entry.len));
done:
    rlx_text_deinit(&preimage);
    rlx_text_deinit(&entry);
    return st;
}

rlx_status rlx_flow_warm(const rlx_context *cx, const rlx_jit_target *target, const rlx_flow *f,
                         const rlx_weights *w, const rlx_compile_options *o, bool dry_run,
                         bool *there, rlx_text *why)
{
    rlx_compilation c;
    RLX_TRY_NOTE(
        rlx_compilation_begin(&c, cx, target, f, w, o, cx->parted ? RLX_PART_FRONT : RLX_PART_ALL),
        "compiling %s", f->name);
    rlx_status st = c.part == RLX_PART_ALL
                        ? warm(cx, &c, f->name, dry_run, there, why)
                        : RLX_FAIL(RLX_UNSUPPORTED, "the context runs it on two devices, for which "
                                                    "loading compiles");
    rlx_compilation_deinit(&c);
    RLX_TRY_NOTE(st, "compiling %s", f->name);
    return RLX_OK;
}
