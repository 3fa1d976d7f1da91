#include "jit/jit.h"

#include <stdlib.h>

#include "jit/module.h"
#include "jit/spirv_emit.h"
#include "runtime/cpu.h"

const char *rlx_jit_compiler(void)
{
    return "LLVM " LLVM_VERSION_TEXT;
}

/* ---- targets ---- */

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
        return;
    case RLX_JIT_SPIRV:
        rlx_text_put(out, "vulkan");
        return;
    }
}

/* The largest power of two up to `bytes`, within [least, most]: caches by class, so that machines
 * that differ little share compiled code. */
static int64_t cache_class(int64_t bytes, int64_t least, int64_t most)
{
    int64_t c = least;
    while (c * 2 <= bytes && c * 2 <= most)
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
    uint64_t features = rlx_jit_code_features(t);
    bool avx512 = features >> RLX_CPU_AVX512F & 1;
    int64_t l2 = cache_class(host->l2_bytes, 256 << 10, 2 << 20);
    bool pairs = features >> RLX_CPU_AVX512BF16 & 1, tiles = features >> RLX_CPU_AMXBF16 & 1;
    return (rlx_lir_target){.unit = RLX_UNIT_CPU,
                            .vector_f32 = avx512 ? 16 : 8,
                            .vector_regs = avx512 ? 32 : 16,
                            .team = 1,
                            .threads = host->cores,
                            .l1_bytes = cache_class(host->l1_bytes, 32 << 10, 64 << 10),
                            .l2_bytes = l2,
                            .team_bytes = l2 / 2,
                            .bf16_width = tiles   ? 32
                                          : pairs ? 2
                                                  : 0,
                            .byte_tiles = features >> RLX_CPU_AMXINT8 & 1};
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

rlx_status rlx_jit_lir_target(const rlx_jit_target *t, rlx_lir_target *out)
{
    if (t->kind == RLX_JIT_CPU || t->kind == RLX_JIT_AARCH64) {
        *out = t->kind == RLX_JIT_CPU ? cpu_target(t) : aarch64_target();
        return RLX_OK;
    }
    /* Half of the team memory that every device of the kind has; emitters exchange tiles through
     * the rest. */
    *out = (rlx_lir_target){.unit = RLX_UNIT_GPU,
                            .vector_f32 = 1,
                            .vector_regs = 128,
                            .team = team_of(t),
                            .threads = 64,
                            .l1_bytes = 64 << 10,
                            .l2_bytes = 4 << 20,
                            .team_bytes = t->kind == RLX_JIT_NVPTX ? 24 << 10 : 8 << 10};
    return RLX_OK;
}

/* ---- one kernel ---- */

static rlx_status emit_spirv(const rlx_ir_func *kernel, const rlx_jit_target *t, rlx_llvm_form form,
                             rlx_text *out)
{
    if (form == RLX_LLVM_CODE)
        return rlx_spirv_emit_kernel(kernel, team_of(t), out);
    if (form == RLX_LLVM_IR)
        return RLX_FAIL(RLX_UNSUPPORTED, "kernel @%s as LLVM IR: SPIR-V is made without LLVM",
                        kernel->name);
    rlx_text code = {0};
    rlx_status st = rlx_spirv_emit_kernel(kernel, team_of(t), &code);
    if (!st)
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
    RLX_TRY(rlx_jit_check_budget(kernel));
    if (t->kind == RLX_JIT_SPIRV)
        return emit_spirv(kernel, t, form, out);
    RLX_TRY(rlx_jit_module_open(&m));
    RLX_TRY(rlx_jit_worker_create(m, t, &worker));
    rlx_status st = rlx_jit_adopt_status(m->emit(worker, kernel, form, out));
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
