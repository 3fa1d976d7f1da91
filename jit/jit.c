#include "jit/jit.h"

#include <stdlib.h>
#include <string.h>

#include "jit/build_id.h"
#include "jit/gpu_target.h"
#include "jit/module.h"
#include "jit/spirv_emit.h"
#include "jit/step.h"
#include "jit/vulkan_target.h"
#include "lir/lir_team.h"
#include "lir/schedule/schedule.h"
#include "runtime/cpu.h"

const char *rlx_jit_compiler(void)
{
    return "LLVM " LLVM_VERSION_TEXT;
}

const char *rlx_jit_build(void)
{
    return RLX_BUILD_ID;
}

/* ---- targets ---- */

/* What lowering reads of a machine beside its features. */
typedef struct rlx_jit_machine {
    const char *name, *features;
    int64_t l1_bytes, l2_bytes, cores;
} rlx_jit_machine;

static const rlx_jit_machine machines[] = {
#define CPU_TARGET(name, features, l1, l2, cores) {name, features, l1, l2, cores},
#include "jit/cpu_targets.def"
#undef CPU_TARGET
};
enum { NMACHINES = sizeof machines / sizeof *machines };
static const char *const aarch64_processors[] = {
#define AARCH64_TARGET(processor, features, dotprod) processor,
#include "jit/cpu_targets.def"
#undef AARCH64_TARGET
};
enum { NAARCH64 = sizeof aarch64_processors / sizeof *aarch64_processors };

static rlx_status target_of(const rlx_jit_machine *m, rlx_jit_target *out)
{
    *out = (rlx_jit_target){.kind = RLX_JIT_CPU, .machine = m};
    return rlx_cpu_parse(m->features, false, &out->features);
}

rlx_status rlx_jit_target_named(const char *name, rlx_jit_target *out)
{
    const char *names[NMACHINES + NAARCH64];
    if (!strncmp(name, "vulkan:", 7))
        return rlx_jit_vulkan_target(name + 7, out);
    if (rlx_gpu_is_name(name))
        return rlx_gpu_target(name, out);
    for (int i = 0; i < NMACHINES; i++) {
        names[i] = machines[i].name;
        if (!strcmp(name, machines[i].name))
            return target_of(&machines[i], out);
    }
    for (int i = 0; i < NAARCH64; i++) {
        names[NMACHINES + i] = aarch64_processors[i];
        if (!strcmp(name, aarch64_processors[i])) {
            *out = (rlx_jit_target){.kind = RLX_JIT_AARCH64, .processor = aarch64_processors[i]};
            return RLX_OK;
        }
    }
    const char *near = rlx_text_nearest(name, names, NMACHINES + NAARCH64);
    rlx_text all = {0};
    for (int i = 0; i < NMACHINES + NAARCH64; i++)
        rlx_text_putf(&all, "%s%s", i ? ", " : "", names[i]);
    rlx_text_put(&all, ", cuda:PROCESSOR, hip:PROCESSOR, vulkan:KIND");
    rlx_status st = RLX_FAIL(RLX_INVALID_ARGUMENT, "no target \"%s\"; %s%s%sthere are %s", name,
                             near ? "did you mean \"" : "", near ? near : "", near ? "\"? " : "",
                             all.data ? all.data : "none");
    rlx_text_deinit(&all);
    return st;
}

bool rlx_jit_target_below(const rlx_jit_target *host, int i, rlx_jit_target *out)
{
    if (i >= NMACHINES)
        return rlx_jit_vulkan_below(host, i - NMACHINES, out);
    if (host->kind != RLX_JIT_CPU || host->machine || host->emulation || host->team)
        return false;
    rlx_status st = target_of(&machines[i], out);
    bool fits = !st && !(rlx_jit_code_features(out) & ~(host->features | host->slow_features));
    rlx_status_free(st);
    return fits;
}

void rlx_jit_drop_matrix(rlx_jit_target *t)
{
    if (t->kind == RLX_JIT_SPIRV)
        t->features &= ~RLX_VULKAN_BIT(MATRIX);
}

bool rlx_jit_same_features(const rlx_jit_target *a, const rlx_jit_target *b)
{
    return a->kind == b->kind && rlx_jit_code_features(a) == rlx_jit_code_features(b);
}

int rlx_jit_target_count(void)
{
    return NMACHINES + rlx_jit_vulkan_count();
}

void rlx_jit_describe(const rlx_jit_target *t, rlx_text *out)
{
    const char *processor = t->processor ? t->processor : "";
    switch (t->kind) {
    case RLX_JIT_CPU:
        rlx_cpu_describe(t->features, out);
        return;
    case RLX_JIT_AARCH64:
        rlx_text_putf(out, "aarch64:%s", processor);
        return;
    case RLX_JIT_NVPTX:
        rlx_text_putf(out, "cuda:%s", processor);
        if (t->step)
            rlx_text_putf(out, ",step=%s", rlx_jit_step_name(t->step));
        return;
    case RLX_JIT_AMDGPU:
        rlx_text_putf(out, "hip:%s", processor);
        return;
    case RLX_JIT_SPIRV:
        rlx_text_put(out, "vulkan:");
        rlx_vulkan_list_features(t->features, "+", out);
        return;
    }
}

/* The largest power of two up to `size`, within [least, most]: caches and cores by class, so that
 * machines that differ little share compiled code. */
static int64_t size_class(int64_t size, int64_t least, int64_t most)
{
    int64_t c = least;
    while (c * 2 <= size && c * 2 <= most)
        c *= 2;
    return c;
}

static int team_of(const rlx_jit_target *t)
{
    return t->team > 0 ? t->team : RLX_JIT_DEFAULT_TEAM;
}

static rlx_lir_target cpu_target(const rlx_jit_target *t)
{
    const rlx_cpu *host = rlx_cpu_host();
    const rlx_jit_machine *m = t->machine;
    uint64_t features = rlx_jit_code_features(t);
    bool avx512 = features >> RLX_CPU_AVX512F & 1;
    int64_t l2 = size_class(m ? m->l2_bytes : host->l2_bytes, 256 << 10, 2 << 20);
    bool pairs = features >> RLX_CPU_AVX512BF16 & 1, tiles = features >> RLX_CPU_AMXBF16 & 1;
    return (rlx_lir_target){
        .unit = RLX_UNIT_CPU,
        .vector_f32 = avx512 ? 16 : 8,
        .vector_regs = avx512 ? 32 : 16,
        .team = 1,
        .threads = (int)size_class(m ? m->cores : host->cores, 1, 128),
        .l1_bytes = size_class(m ? m->l1_bytes : host->l1_bytes, 32 << 10, 64 << 10),
        .l2_bytes = l2,
        .team_bytes = l2 / 2,
        .bf16_width = tiles   ? 32
                      : pairs ? 2
                              : 0,
        .byte_tiles = features >> RLX_CPU_AMXINT8 & 1,
        .raised_bytes = rlx_jit_has_vnni(features) && !(features >> RLX_CPU_AMXINT8 & 1)};
}

/* Of a machine that is elsewhere: small caches, which suit every one. */
static rlx_lir_target aarch64_target(void)
{
    int64_t l2 = 512 << 10;
    return (rlx_lir_target){.unit = RLX_UNIT_CPU,
                            .vector_f32 = 4,
                            .vector_regs = 32,
                            .team = 1,
                            .threads = 16,
                            .l1_bytes = 32 << 10,
                            .l2_bytes = l2,
                            .team_bytes = l2 / 2};
}

/* What code takes of workgroup memory, by class. */
static int64_t vulkan_team_bytes(const rlx_jit_target *t)
{
    return size_class(t->team_bytes, 16 << 10, RLX_SPIRV_TEAM_BYTES);
}

static rlx_lir_fragment float_fragment(const rlx_matrix_unit *u)
{
    return (rlx_lir_fragment){u->m, u->n, u->floats->k, u->lanes, false, u->floats->paired};
}

/* Cycles of a copy: what a load from far memory takes where others wait beside it, in round numbers; not measured. */
static void set_matrix(const rlx_jit_target *t, rlx_lir_target *out)
{
    enum { COPY_CYCLES = 800 };
    const rlx_matrix_unit *u = rlx_jit_matrix_unit(t), *f = rlx_jit_float_unit(t);
    const bool copies = rlx_jit_copies(t);
    if (u)
        out->byte_matrix = (rlx_lir_fragment){u->m, u->n, u->k, u->lanes, false, false};
    if (f) {
        out->float_matrix = float_fragment(f);
        out->column_matrix = float_fragment(rlx_jit_column_unit(t));
    }
    out->copy_cycles = copies ? COPY_CYCLES : 0;
    out->float_stages = copies && f && rlx_matrix_reads_memory(f);
}

/* A subgroup that multiplies matrices of bytes: its size is known, and words are made of its own bytes. */
static void set_vulkan_matrix(const rlx_jit_target *t, rlx_lir_target *out)
{
    const int lanes = rlx_jit_vulkan_lanes(t);
    if (lanes)
        out->byte_matrix =
            (rlx_lir_fragment){t->matrix.m, t->matrix.n, t->matrix.k, lanes, true, false};
}

/* Not one whose tiles are larger than what there is. */
static void drop_large_matrix(rlx_lir_target *t)
{
    if (t->byte_matrix.m && !rlx_lir_schedule_stores(t))
        t->byte_matrix = (rlx_lir_fragment){0};
}

/* Half of the team memory; emitters exchange tiles through the rest. */
static rlx_lir_target gpu_target(const rlx_jit_target *t, int64_t team_bytes)
{
    return (rlx_lir_target){.unit = RLX_UNIT_GPU,
                            .vector_f32 = 1,
                            .vector_regs = 128,
                            .team = team_of(t),
                            .threads = 64,
                            .l1_bytes = 64 << 10,
                            .l2_bytes = 4 << 20,
                            .team_bytes = team_bytes / 2};
}

rlx_status rlx_jit_lir_target(const rlx_jit_target *t, rlx_lir_target *out)
{
    const rlx_gpu_processor *p;
    switch (t->kind) {
    case RLX_JIT_CPU:
        *out = cpu_target(t);
        return RLX_OK;
    case RLX_JIT_AARCH64:
        *out = aarch64_target();
        return RLX_OK;
    case RLX_JIT_SPIRV:
        *out = gpu_target(t, vulkan_team_bytes(t));
        set_vulkan_matrix(t, out);
        drop_large_matrix(out);
        return RLX_OK;
    case RLX_JIT_NVPTX:
    case RLX_JIT_AMDGPU:
        RLX_TRY(rlx_gpu_find(t->kind, t->processor, &p));
        RLX_TRY(rlx_jit_matrix_check_team(t));
        *out = gpu_target(t, p->team_bytes);
        out->l1_bytes = p->unit_bytes; /* as near as a cache, and larger */
        set_matrix(t, out);
        return RLX_OK;
    }
    return RLX_FAIL(RLX_INTERNAL, "no target of kind %d", (int)t->kind);
}

rlx_status rlx_jit_describe_code(const rlx_jit_target *t, rlx_text *out)
{
    rlx_jit_target code = *t;
    rlx_lir_target lir;
    RLX_TRY(rlx_jit_lir_target(t, &lir));
    code.features = rlx_jit_code_features(t);
    rlx_jit_describe(&code, out);
    rlx_text_putf(
        out,
        "; unit %d, vector %d x %d, team %d, cores %d, l1 %lld, l2 %lld, team memory %lld, "
        "bf16 %d, byte tiles %d",
        lir.unit, lir.vector_f32, lir.vector_regs, lir.team, lir.threads, (long long)lir.l1_bytes,
        (long long)lir.l2_bytes, (long long)lir.team_bytes, lir.bf16_width, lir.byte_tiles);
    if (lir.raised_bytes)
        rlx_text_put(out, ", raised bytes");
    if (lir.byte_matrix.m)
        rlx_text_putf(out, ", byte matrix %dx%dx%d of %d", lir.byte_matrix.m, lir.byte_matrix.n,
                      lir.byte_matrix.k, lir.byte_matrix.lanes);
    if (lir.float_matrix.m)
        rlx_text_putf(out, ", float matrix %dx%dx%d of %d", lir.float_matrix.m, lir.float_matrix.n,
                      lir.float_matrix.k, lir.float_matrix.lanes);
    if (lir.column_matrix.m)
        rlx_text_putf(out, ", of columns %dx%dx%d of %d%s", lir.column_matrix.m,
                      lir.column_matrix.n, lir.column_matrix.k, lir.column_matrix.lanes,
                      lir.column_matrix.paired ? " paired" : "");
    if (lir.copy_cycles)
        rlx_text_putf(out, ", copies %d%s", lir.copy_cycles, lir.float_stages ? " of floats" : "");
    if (t->range_bytes)
        rlx_text_putf(out, ", range %lld", (long long)t->range_bytes);
    if (t->kind == RLX_JIT_SPIRV && code.features & RLX_VULKAN_BIT(SUBGROUP))
        rlx_text_putf(out, ", subgroup %d", t->subgroup);
    return out->oom ? RLX_OOM() : RLX_OK;
}

/* ---- one kernel ---- */

enum { LEAST_RANGE = 128 << 20 }; /* that every Vulkan device binds */

rlx_status rlx_jit_emit_spirv(const rlx_ir_func *kernel, const rlx_jit_target *t, rlx_text *out)
{
    rlx_lir_target lir;
    RLX_TRY(rlx_jit_lir_target(t, &lir));
    const rlx_spirv_options o = {
        .team = team_of(t),
        .features = t->features,
        .subgroup = t->subgroup,
        .matrix = {lir.byte_matrix.m, lir.byte_matrix.n, lir.byte_matrix.k},
        .team_bytes = vulkan_team_bytes(t),
        .range_bytes = t->range_bytes ? t->range_bytes : LEAST_RANGE,
        .upper = t->upper};
    return rlx_spirv_emit_kernel(kernel, &o, out);
}

static rlx_status emit_spirv(const rlx_ir_func *kernel, const rlx_jit_target *t, rlx_llvm_form form,
                             rlx_text *out)
{
    if (form == RLX_LLVM_CODE)
        return rlx_jit_emit_spirv(kernel, t, out);
    if (form == RLX_LLVM_IR)
        return RLX_FAIL(RLX_UNSUPPORTED, "kernel @%s as LLVM IR: SPIR-V is made without LLVM",
                        kernel->name);
    rlx_text code = {0};
    bool known = true;
    rlx_status st = rlx_jit_emit_spirv(kernel, t, &code);
    if (!st && rlx_spirv_uses_matrices(kernel->body))
        st = rlx_spirv_knows_matrices(&known);
    if (!known) /* the others of its module are printed all the same */
        rlx_text_putf(out,
                      "; kernel @%s is not printed: it multiplies matrices, which the SPIRV-Tools "
                      "that are installed are older than (SPV_KHR_cooperative_matrix)\n",
                      kernel->name);
    else if (!st)
        st = rlx_spirv_disassemble((const uint32_t *)(const void *)code.data,
                                   code.len / sizeof(uint32_t), out);
    rlx_text_deinit(&code);
    return st;
}

static rlx_status emit(const rlx_ir_func *kernel, const rlx_jit_target *t, rlx_llvm_form form,
                       rlx_text *out)
{
    const rlx_llvm_module *m;
    rlx_llvm *worker = NULL;
    RLX_TRY(rlx_jit_check_budget(kernel, t->kind));
    if (t->kind == RLX_JIT_SPIRV)
        return emit_spirv(kernel, t, form, out);
    RLX_TRY(rlx_jit_module_open(&m));
    RLX_TRY(rlx_jit_worker_create(m, t, &worker));
    rlx_status st = rlx_jit_worker_emit(m, worker, t, kernel, form, NULL, out);
    m->destroy(worker);
    return st;
}

rlx_status rlx_jit_emit_kernel(const rlx_ir_func *kernel, const rlx_jit_target *t, uint8_t **code,
                               size_t *bytes)
{
    rlx_text out = {0};
    rlx_status st = emit(kernel, t, RLX_LLVM_CODE, &out);
    if (st) {
        rlx_text_deinit(&out);
        return st;
    }
    *bytes = out.len;
    *code = (uint8_t *)rlx_text_take(&out);
    return RLX_OK;
}

rlx_status rlx_jit_print_kernel(const rlx_ir_func *kernel, const rlx_jit_target *t,
                                rlx_jit_text what, rlx_text *out)
{
    return emit(kernel, t, what == RLX_JIT_LLVM ? RLX_LLVM_IR : RLX_LLVM_ASM, out);
}
