/* frontend/inspect.c: a flow at each level, as text. */
#include <stdlib.h>
#include <string.h>

#include "frontend/compilation.h"
#include "jit/step.h"

static rlx_status print_kernels(const rlx_compilation *c, rlx_jit_text what, rlx_text *out)
{
    rlx_jit_target target = c->target;
    target.upper = c->upper;
    if (target.step == RLX_JIT_STEP_AUTO) {
        const rlx_jit_options o = {.entry = RLX_ENTRY,
                                   .output_names = (const char *const *)c->outputs.name,
                                   .upper = c->upper};
        RLX_TRY(rlx_jit_step_choose(c->lir, &o, &target.step));
    }
    return rlx_jit_print_module(c->lir, &target, what, out);
}

static rlx_status print_hir(const rlx_compilation *c, rlx_text *out)
{
    rlx_ir_print(c->hir, 0, out);
    return RLX_OK;
}

static rlx_status print_mir(const rlx_compilation *c, rlx_text *out)
{
    rlx_ir_print(c->mir, 0, out);
    return RLX_OK;
}

static rlx_status print_fusion(const rlx_compilation *c, rlx_text *out)
{
    return rlx_mir_fusion_report(c->mir, out);
}

static rlx_status print_composition(const rlx_compilation *c, rlx_text *out)
{
    return rlx_flow_print_composition(c->hir, out);
}

static rlx_status print_lir(const rlx_compilation *c, rlx_text *out)
{
    rlx_ir_print(c->lir, 0, out);
    return RLX_OK;
}

static rlx_status print_memory(const rlx_compilation *c, rlx_text *out)
{
    return rlx_lir_print_plan(c->lir, RLX_ENTRY, c->upper, out);
}

static rlx_status print_llvm(const rlx_compilation *c, rlx_text *out)
{
    return print_kernels(c, RLX_JIT_LLVM, out);
}

static rlx_status print_asm(const rlx_compilation *c, rlx_text *out)
{
    return print_kernels(c, RLX_JIT_ASM, out);
}

static const struct {
    const char *name;
    rlx_level level; /* that must be reached for it */
    rlx_status (*print)(const rlx_compilation *c, rlx_text *out);
    const char *target; /* of devices of a kind: what is taken where the context is on none of it */
} views[] = {
    {"flow", RLX_LEVEL_HIR, NULL, NULL}, /* needs no lowering */
    {"composition", RLX_LEVEL_HIR, print_composition, NULL},
    {"hir", RLX_LEVEL_HIR, print_hir, NULL},
    {"mir", RLX_LEVEL_MIR, print_mir, NULL},
    {"fusion", RLX_LEVEL_MIR, print_fusion, NULL},
    {"lir", RLX_LEVEL_LIR, print_lir, NULL},
    {"memory", RLX_LEVEL_LIR, print_memory, NULL},
    {"llvm", RLX_LEVEL_LIR, print_llvm, NULL},
    {"asm", RLX_LEVEL_LIR, print_asm, NULL},
    {"spirv", RLX_LEVEL_LIR, print_asm, "vulkan:base"},
    {"ptx", RLX_LEVEL_LIR, print_asm, "cuda:sm_80"},
    {"amdgcn", RLX_LEVEL_LIR, print_asm, "hip:gfx942"},
};
enum { NVIEWS = sizeof views / sizeof *views };

static rlx_status unknown_view(const char *what)
{
    const char *names[NVIEWS];
    for (int i = 0; i < NVIEWS; i++)
        names[i] = views[i].name;
    const char *near = rlx_text_nearest(what, names, NVIEWS);
    return RLX_FAIL(RLX_INVALID_ARGUMENT,
                    "no level \"%s\"%s%s%s: flow, hir, mir, lir, llvm, asm, spirv, ptx, amdgcn, "
                    "fusion, memory, "
                    "composition",
                    what, near ? " (did you mean " : "", near ? near : "", near ? "?)" : "");
}

/* What to print, and for which target: "LEVEL", or "LEVEL@TARGET". */
typedef struct wanted {
    int view;
    bool named; /* the target was */
    rlx_jit_target target;
} wanted;

/* The target of a view that one kind of devices has: the context's, or one that stands for its kind. */
static rlx_status choose_target(const rlx_context *cx, const char *what, wanted *w)
{
    const char *of = views[w->view].target;
    rlx_jit_target standard;
    if (!of)
        return RLX_OK;
    RLX_TRY(rlx_jit_target_named(of, &standard));
    if (standard.kind == w->target.kind)
        return RLX_OK;
    if (w->named)
        return RLX_FAIL(RLX_INVALID_ARGUMENT, "level \"%s\": that target has none such, as %s has",
                        what, of);
    if (cx->parted)
        return RLX_FAIL(RLX_UNSUPPORTED, "level %s of a flow whose layers are partly on %s", what,
                        cx->device);
    w->target = standard;
    return RLX_OK;
}

static rlx_status read_wanted(const rlx_context *cx, const char *what, wanted *out)
{
    const size_t n = strcspn(what, "@");
    char name[32] = "";
    memcpy(name, what, n < sizeof name ? n : sizeof name - 1);
    *out = (wanted){.named = what[n] == '@', .target = cx->target};
    while (out->view < NVIEWS && strcmp(views[out->view].name, name))
        out->view++;
    if (out->view == NVIEWS)
        return unknown_view(name);
    if (out->named)
        RLX_TRY(rlx_jit_target_named(what + n + 1, &out->target));
    return choose_target(cx, what, out);
}

/* The flow as far as the view wants it, for the target that it is of. */
static rlx_status lower(rlx_compilation *c, const rlx_context *cx, const rlx_flow *f,
                        const rlx_weights *w, const rlx_compile_options *o, rlx_part part,
                        const wanted *what)
{
    const rlx_level level = views[what->view].level;
    if (part == RLX_PART_ALL)
        return rlx_compilation_run_for(c, cx, &what->target, f, w, o, level);
    RLX_TRY(rlx_compilation_begin(c, cx, &cx->target, f, w, o, part));
    rlx_status st = rlx_compilation_lower(c, level);
    if (st)
        rlx_compilation_deinit(c);
    return st;
}

/* What runs on the CPU, where the context wants that, then what runs on its device. */
static rlx_status print_parts(const rlx_context *cx, const rlx_flow *f, const rlx_weights *w,
                              const rlx_compile_options *o, const wanted *what, rlx_text *out)
{
    const bool parts = cx->parted && !what->named;
    rlx_part next = parts ? RLX_PART_FRONT : RLX_PART_ALL;
    rlx_status st = RLX_OK;
    for (bool more = true; more && !st;) {
        rlx_compilation c;
        RLX_TRY_NOTE(lower(&c, cx, f, w, o, next, what), "lowering %s for %s", f->name,
                     what->named ? "another target" : cx->device);
        if (parts)
            rlx_text_putf(out, "// on %s\n", c.on_cpu ? "the CPU" : cx->device);
        if (parts && c.on_cpu && views[what->view].target)
            rlx_text_putf(out, "// which runs no %s\n", views[what->view].name);
        else
            st = views[what->view].print(&c, out);
        more = c.part == RLX_PART_FRONT;
        next = RLX_PART_BACK;
        rlx_compilation_deinit(&c);
    }
    return st;
}

rlx_status rlx_flow_inspect(rlx_context *cx, const rlx_flow *f, const rlx_weights *w,
                            const rlx_compile_options *options, const char *what, char **text)
{
    wanted want;
    rlx_text out = {0};
    rlx_status st = RLX_OK;
    *text = NULL;
    RLX_TRY(read_wanted(cx, what, &want));
    if (!views[want.view].print) {
        rlx_flow_print(f, &out);
    } else {
        st = print_parts(cx, f, w, options, &want, &out);
    }
    if (!st && !(*text = rlx_text_take(&out)))
        st = RLX_OOM();
    rlx_text_deinit(&out);
    return st;
}

rlx_status rlx_flow_compose(rlx_context *cx, const rlx_flow *f, const rlx_weights *w,
                            const rlx_compile_options *options, rlx_composition *out)
{
    rlx_compilation c;
    rlx_layer_composition layers;
    *out = (rlx_composition){0};
    RLX_TRY_NOTE(rlx_compilation_run(&c, cx, f, w, options, RLX_LEVEL_HIR), "composing %s",
                 f->name);
    rlx_status st = rlx_flow_get_composition(c.hir, &layers);
    if (!st) {
        out->kind = layers.kind;
        out->runs = calloc((size_t)layers.n + 1, sizeof *out->runs);
        st = out->runs ? RLX_OK : RLX_OOM();
        for (int i = 0; !st && i < layers.n; i++) {
            rlx_composition_run *r = &out->runs[out->nruns++];
            r->first = layers.runs[i].first;
            r->count = layers.runs[i].count;
            rlx_hash_hex(layers.runs[i].fingerprint, r->fingerprint);
        }
        rlx_hash_hex(rlx_ir_func_fingerprint(rlx_ir_func_find(c.hir, RLX_ENTRY)), out->fingerprint);
        rlx_layer_composition_deinit(&layers);
    }
    rlx_compilation_deinit(&c);
    return st;
}

void rlx_composition_deinit(rlx_composition *c)
{
    free(c->runs);
    *c = (rlx_composition){0};
}
