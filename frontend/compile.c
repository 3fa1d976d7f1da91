#include "frontend/compile.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "frontend/cache.h"
#include "frontend/compile_key.h"
#include "jit/step.h"

double rlx_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void rlx_compilation_deinit(rlx_compilation *c)
{
    rlx_flow_outputs_deinit(&c->outputs);
    rlx_ir_module_destroy(c->lir);
    rlx_ir_module_destroy(c->mir);
    rlx_ir_module_destroy(c->hir);
    rlx_dims_destroy(c->dims);
    *c = (rlx_compilation){0};
}

/* ---- the bucket */

/* What sessions bind themselves. No buffer of the arena depends on these; the limits bound what a
 * session may ask for. How many sequences there may be tells schedules whether so many tokens are a
 * prompt or sequences that decode together: a bucket of SEQS says it better. */
static const rlx_bucket session_symbols[] = {
    {"SEQS", 64},
    {"SLOTS", 4096}, /* 2^20 positions of a sequence */
    {"PAGES", 64 * 4096},
};

static int64_t find_upper(const rlx_bucket *buckets, size_t n, const char *symbol)
{
    for (size_t i = 0; i < n; i++)
        if (!strcmp(buckets[i].symbol, symbol))
            return buckets[i].upper;
    return 0;
}

/* The pages of every window ("PAGES_4096") are bounded alike. */
static int64_t find_session_upper(const char *symbol)
{
    if (!strncmp(symbol, "PAGES_", 6))
        symbol = "PAGES";
    return find_upper(session_symbols, sizeof session_symbols / sizeof *session_symbols, symbol);
}

static rlx_status bind_buckets(rlx_compilation *c, const rlx_compile_options *o)
{
    for (int i = 0; i < o->nbuckets; i++) {
        const rlx_bucket *b = &o->buckets[i];
        if (b->upper < 1)
            return RLX_FAIL(RLX_INVALID_ARGUMENT, "bucket %s=%lld: the upper bound is below 1",
                            b->symbol, (long long)b->upper);
        if (rlx_dim_symbol_index(c->dims, b->symbol) < 0)
            return RLX_FAIL(RLX_INVALID_ARGUMENT, "bucket %s: the flow has no such symbol",
                            b->symbol);
    }
    for (int i = 0; i < rlx_dim_symbol_count(c->dims); i++) {
        const char *symbol = rlx_dim_symbol_name(c->dims, i);
        c->upper[i] = find_upper(o->buckets, (size_t)o->nbuckets, symbol);
        if (!c->upper[i])
            c->upper[i] = find_session_upper(symbol);
        if (!c->upper[i])
            return RLX_FAIL(RLX_INVALID_ARGUMENT, "the flow's symbol %s has no bucket", symbol);
    }
    return RLX_OK;
}

/* ---- down the levels */

/* What schedules read of the target. */
static rlx_status describe_target(rlx_compilation *c)
{
    const rlx_tuning *t = &c->tuning;
    RLX_TRY(rlx_jit_lir_target(&c->target, &c->lir_target));
    if (t->l1_bytes)
        c->lir_target.l1_bytes = t->l1_bytes;
    if (t->l2_bytes)
        c->lir_target.l2_bytes = t->l2_bytes;
    if (t->teams)
        c->lir_target.threads = t->teams;
    return RLX_OK;
}

static rlx_status fuse(rlx_compilation *c)
{
    static const rlx_mir_fusion how[] = {[RLX_FUSION_FULL] = RLX_MIR_FUSE_ALL,
                                         [RLX_FUSION_BLOCKS] = RLX_MIR_FUSE_PLACES,
                                         [RLX_FUSION_NONE] = RLX_MIR_FUSE_ROOTS};
    const rlx_mir_optimize_options options = {how[c->tuning.fusion], c->tuning.unfuse_maps};
    RLX_TRY(rlx_mir_optimize_with(c->mir, &options));
    if (c->tuning.assert_clean)
        RLX_TRY(rlx_mir_check_fusion(c->mir));
    if (!c->tuning.verbose)
        return RLX_OK;
    rlx_text report = {0};
    rlx_status st = rlx_mir_fusion_report(c->mir, &report);
    if (!st)
        rlx_context_log(c->log, RLX_LOG_WARNING, "%s: fusion\n%s", c->hir->name, report.data);
    rlx_text_deinit(&report);
    return st;
}

rlx_status rlx_compile_check_tuning(const rlx_tuning *t)
{
    if (t->l1_bytes < 0 || t->l2_bytes < 0 || t->teams < 0 || (unsigned)t->fusion > RLX_FUSION_NONE)
        return RLX_FAIL(RLX_INVALID_ARGUMENT,
                        "tuning: fusion %d, l1_bytes %lld, l2_bytes %lld, teams %d", (int)t->fusion,
                        (long long)t->l1_bytes, (long long)t->l2_bytes, t->teams);
    return RLX_OK;
}

static bool is_for_device(const rlx_jit_target *t)
{
    return t->kind != RLX_JIT_CPU && t->kind != RLX_JIT_AARCH64;
}

/* A device says itself which token is the likeliest: greedy decoding then reads that, and no logits. On the CPU they are where they
 * are read. */
static const char *likeliest_of(const rlx_compilation *c, const rlx_compile_options *o)
{
    const bool one = find_upper(o->buckets, (size_t)o->nbuckets, "ROWS") == 1;
    return one && is_for_device(&c->target) ? "logits" : NULL;
}

/* The side of the cut that the context wants; all of it where the other one would be empty. */
static rlx_status take_part(rlx_compilation *c, int64_t layers, rlx_part part)
{
    const int64_t all = rlx_flow_count_layers(c->hir);
    if (!all)
        return RLX_FAIL(RLX_UNSUPPORTED,
                        "%lld layers on the device: the flow has no layers, and runs on one device",
                        (long long)layers);
    bool whole = layers == 0 || layers > all;
    if (!whole)
        RLX_TRY(rlx_flow_cut(c->hir, &c->outputs, layers, part == RLX_PART_FRONT, &whole));
    c->part = whole ? RLX_PART_ALL : part;
    c->on_cpu = whole ? layers == 0 : part == RLX_PART_FRONT;
    if (c->on_cpu && is_for_device(&c->target))
        c->target = rlx_context_host_target();
    if (c->on_cpu)
        c->precision = RLX_MIR_EXACT; /* as the device has it */
    return RLX_OK;
}

static rlx_status build(rlx_compilation *c, const rlx_context *cx, const rlx_jit_target *target,
                        const rlx_flow *f, const rlx_weights *w, const rlx_compile_options *o,
                        rlx_part part)
{
    double start = rlx_seconds();
    c->precision = o->precision == RLX_EXACT ? RLX_MIR_EXACT
                   : o->phase == RLX_PREFILL ? RLX_MIR_PREFILL
                                             : RLX_MIR_DECODE;
    RLX_TRY(rlx_compile_check_tuning(&o->tuning));
    c->target = *target;
    c->log = cx;
    c->tuning = o->tuning;
    c->dims = rlx_dims_create();
    if (!c->dims)
        return RLX_OOM();
    RLX_TRY(rlx_flow_build_likeliest(f, w, o, likeliest_of(c, o), c->dims, &c->hir, &c->outputs));
    if (part != RLX_PART_ALL)
        RLX_TRY(take_part(c, cx->layers, part));
    if (c->precision != RLX_MIR_PREFILL) /* prompts alone fill a unit's rows */
        rlx_jit_drop_matrix(&c->target);
    else
        rlx_jit_step_settle(&c->target);
    RLX_TRY(bind_buckets(c, o));
    c->seconds[RLX_LEVEL_HIR] = rlx_seconds() - start;
    return RLX_OK;
}

rlx_status rlx_compilation_lower(rlx_compilation *c, rlx_level to)
{
    if (to == RLX_LEVEL_HIR)
        return RLX_OK;

    double start = rlx_seconds();
    RLX_TRY(describe_target(c));
    RLX_TRY(rlx_hir_lower(c->hir, &c->mir));
    RLX_TRY_NOTE(rlx_ir_verify(c->mir), "after lowering to mir");
    RLX_TRY(rlx_mir_choose_precision(c->mir, c->precision, &c->lir_target));
    RLX_TRY(fuse(c));
    c->seconds[RLX_LEVEL_MIR] = rlx_seconds() - start;
    if (to == RLX_LEVEL_MIR)
        return RLX_OK;

    start = rlx_seconds();
    rlx_mir_lower_options lo = {.target = &c->lir_target, .upper = c->upper};
    RLX_TRY(rlx_mir_lower(c->mir, &lo, &c->lir));
    c->seconds[RLX_LEVEL_LIR] = rlx_seconds() - start;
    return RLX_OK;
}

rlx_status rlx_compilation_run(rlx_compilation *c, const rlx_context *cx, const rlx_flow *f,
                               const rlx_weights *w, const rlx_compile_options *options,
                               rlx_level to)
{
    return rlx_compilation_run_for(c, cx, &cx->target, f, w, options, to);
}

/* As far as HIR. */
static rlx_status begin(rlx_compilation *c, const rlx_context *cx, const rlx_jit_target *target,
                        const rlx_flow *f, const rlx_weights *w, const rlx_compile_options *options,
                        rlx_part part)
{
    const rlx_compile_options none = {0};
    *c = (rlx_compilation){0};
    rlx_status st = build(c, cx, target, f, w, options ? options : &none, part);
    if (st)
        rlx_compilation_deinit(c);
    return st;
}

rlx_status rlx_compilation_begin(rlx_compilation *c, const rlx_context *cx, const rlx_flow *f,
                                 const rlx_weights *w, const rlx_compile_options *options,
                                 rlx_part part)
{
    return begin(c, cx, &cx->target, f, w, options, part);
}

rlx_status rlx_compilation_run_for(rlx_compilation *c, const rlx_context *cx,
                                   const rlx_jit_target *target, const rlx_flow *f,
                                   const rlx_weights *w, const rlx_compile_options *options,
                                   rlx_level to)
{
    RLX_TRY(begin(c, cx, target, f, w, options, RLX_PART_ALL));
    rlx_status st = rlx_compilation_lower(c, to);
    if (st)
        rlx_compilation_deinit(c);
    return st;
}

/* ---- statistics */

/* Bytes of weights that one run of a function reads for one token: all of each, but one row of a
 * table that is only looked up in. */
static int64_t function_weight_bytes(const rlx_ir_func *f)
{
    int64_t bytes = 0;
    for (int i = 0; i < f->body->nargs; i++) {
        const rlx_ir_value *w = f->body->args[i];
        if (f->arg_info[i].role != RLX_ROLE_WEIGHT)
            continue;
        int looked_up = 0;
        for (const rlx_ir_node *n = f->body->first; n; n = n->next)
            looked_up += n->op == RLX_HIR_EMBED && n->in[1] == w;
        bool table = looked_up == rlx_ir_count_uses(f->body, w);
        int64_t elems = 1;
        for (int d = table ? 1 : 0; d < w->type.rank; d++)
            elems *= w->type.dim[d];
        bytes += (int64_t)rlx_format_bytes(w->type.format, elems);
    }
    return bytes;
}

static int64_t token_weight_bytes(const rlx_ir_module *hir)
{
    const rlx_ir_func *entry = rlx_ir_func_find(hir, RLX_ENTRY);
    int64_t bytes = function_weight_bytes(entry);
    for (const rlx_ir_node *n = entry->body->first; n; n = n->next) {
        if (n->op != RLX_HIR_CALL)
            continue;
        const rlx_ir_func *callee = rlx_ir_func_find(hir, rlx_ir_attr_text(n, RLX_ATTR_CALLEE, ""));
        bytes += function_weight_bytes(callee) * rlx_ir_attr_int(n, RLX_ATTR_COUNT, 1);
    }
    return bytes;
}

/* Operations of contracting with weights, in `times` runs of a function. */
static void function_operations(const rlx_ir_func *f, int64_t times, const rlx_dims *dims,
                                rlx_compile_stats *stats)
{
    for (const rlx_ir_node *n = f->body->first; n; n = n->next) {
        if (n->op != RLX_HIR_LINEAR)
            continue;
        const rlx_ir_type *w = &n->in[1]->type;
        int64_t operations = 2 * w->dim[0] * w->dim[1] * times;
        if (rlx_dim_is_symbol(dims, n->in[0]->type.dim[0], "ROWS")) /* of selected rows */
            stats->row_operations += operations;
        else
            stats->token_operations += operations;
    }
}

/* Bytes of keys and values that attending to one position reads: of states that are pages. */
static int64_t function_position_bytes(const rlx_ir_func *f, const rlx_dims *dims)
{
    int64_t bytes = 0;
    for (int i = 0; i < f->body->nargs; i++) {
        const rlx_ir_type *t = &f->body->args[i]->type;
        if (f->arg_info[i].role != RLX_ROLE_STATE || !rlx_dim_is_symbol(dims, t->dim[0], "PAGES"))
            continue;
        int64_t elems = 1;
        for (int d = 1; d < t->rank; d++)
            elems *= t->dim[d];
        bytes += (int64_t)rlx_format_bytes(t->format, elems) / RLX_PAGE_POSITIONS;
    }
    return bytes;
}

/* `times` runs of a layer: by whether its attention has a window. */
static void layer_position_bytes(const rlx_ir_func *f, int64_t times, const rlx_dims *dims,
                                 rlx_compile_stats *stats)
{
    int64_t window = 0, bytes = function_position_bytes(f, dims) * times;
    for (const rlx_ir_node *n = f->body->first; n; n = n->next)
        if (n->op == RLX_HIR_ATTENTION)
            window = rlx_ir_attr_int(n, RLX_ATTR_WINDOW, rlx_ir_attr_int(n, RLX_ATTR_CHUNK, 0));
    if (window)
        stats->window_position_bytes += bytes;
    else
        stats->position_bytes += bytes;
    stats->window = window > stats->window ? window : stats->window;
}

static void count_work(const rlx_ir_module *hir, rlx_compile_stats *stats)
{
    const rlx_ir_func *entry = rlx_ir_func_find(hir, RLX_ENTRY);
    function_operations(entry, 1, hir->dims, stats);
    layer_position_bytes(entry, 1, hir->dims, stats);
    for (const rlx_ir_node *n = entry->body->first; n; n = n->next) {
        if (n->op != RLX_HIR_CALL)
            continue;
        const rlx_ir_func *callee = rlx_ir_func_find(hir, rlx_ir_attr_text(n, RLX_ATTR_CALLEE, ""));
        int64_t count = rlx_ir_attr_int(n, RLX_ATTR_COUNT, 1);
        function_operations(callee, count, hir->dims, stats);
        layer_position_bytes(callee, count, hir->dims, stats);
    }
}

static void fill_stats(const rlx_compilation *c, const rlx_program *p, rlx_compile_stats *stats)
{
    *stats = (rlx_compile_stats){
        .kernels = (int)p->nkernels,
        .arena_bytes = p->funcs[p->nfuncs - 1].frame_bytes,
        .arena_lower_bound = p->plan_least,
        .token_weight_bytes = token_weight_bytes(c->hir),
    };
    for (uint32_t i = 0; i < p->nkernels + p->nparts; i++)
        stats->code_bytes += (int64_t)p->kernels[i].code_bytes;
    for (const rlx_ir_func *f = c->hir->first; f; f = f->next)
        stats->functions++;
    count_work(c->hir, stats);
}

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
    fill_stats(c, p, stats);
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
    RLX_TRY(rlx_compilation_begin(&c, cx, f, w, o, part));
    rlx_status st = part == RLX_PART_ALL ? check_unused(cx, &c, w, o) : RLX_OK;
    *whole = c.part == RLX_PART_ALL;
    if (!st)
        st = compile(cx, &c, f, w, o, stats, out);
    rlx_compilation_deinit(&c);
    return st;
}

static void add_stats(rlx_compile_stats *s, const rlx_compile_stats *more)
{
    s->cached = s->cached && more->cached;
    s->kernels += more->kernels;
    s->functions += more->functions - 1;
    s->code_bytes += more->code_bytes;
    s->arena_bytes += more->arena_bytes;
    s->arena_lower_bound += more->arena_lower_bound;
    s->token_weight_bytes += more->token_weight_bytes;
    s->token_operations += more->token_operations;
    s->row_operations += more->row_operations;
    s->position_bytes += more->position_bytes;
    s->window_position_bytes += more->window_position_bytes;
    s->window = s->window > more->window ? s->window : more->window;
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
    add_stats(stats, &back);
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
    RLX_TRY_NOTE(begin(&c, cx, target, f, w, o, cx->parted ? RLX_PART_FRONT : RLX_PART_ALL),
                 "compiling %s", f->name);
    rlx_status st = c.part == RLX_PART_ALL
                        ? warm(cx, &c, f->name, dry_run, there, why)
                        : RLX_FAIL(RLX_UNSUPPORTED, "the context runs it on two devices, for which "
                                                    "loading compiles");
    rlx_compilation_deinit(&c);
    RLX_TRY_NOTE(st, "compiling %s", f->name);
    return RLX_OK;
}
