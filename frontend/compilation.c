#include "frontend/compilation.h"

#include <stdlib.h>
#include <string.h>

#include "jit/step.h"
#include "runtime/base/clock.h"

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

rlx_status rlx_compilation_begin(rlx_compilation *c, const rlx_context *cx,
                                 const rlx_jit_target *target, const rlx_flow *f,
                                 const rlx_weights *w, const rlx_compile_options *options,
                                 rlx_part part)
{
    const rlx_compile_options none = {0};
    *c = (rlx_compilation){0};
    rlx_status st = build(c, cx, target, f, w, options ? options : &none, part);
    if (st)
        rlx_compilation_deinit(c);
    return st;
}

rlx_status rlx_compilation_run_for(rlx_compilation *c, const rlx_context *cx,
                                   const rlx_jit_target *target, const rlx_flow *f,
                                   const rlx_weights *w, const rlx_compile_options *options,
                                   rlx_level to)
{
    RLX_TRY(rlx_compilation_begin(c, cx, target, f, w, options, RLX_PART_ALL));
    rlx_status st = rlx_compilation_lower(c, to);
    if (st)
        rlx_compilation_deinit(c);
    return st;
}
