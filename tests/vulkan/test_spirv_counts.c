/* The inner loops of contractions for `vulkan:nvidia`, counted in the words that are emitted, before any
 * driver optimises: that nobody waits for others in them, that four products of codes are one
 * instruction, and what a product costs at most. RLX_PRINT_COUNTS=1 prints the table of
 * bench/results/2026-11-30-spirv-counts.md. */
#include <spirv/unified1/GLSL.std.450.h>
#include <spirv/unified1/spirv.h>
#include <string.h>

#include "hir/hir.h"
#include "jit/jit.h"
#include "mir/mir.h"
#include "tests/runtime/suite.h"

/* In the body of a loop. */
typedef struct counts {
    int instructions, loads, barriers, fmas, dots, shuffles;
} counts;

enum { HEADER = 5 };

static SpvOp op_of(const uint32_t *words, size_t i)
{
    return (SpvOp)(words[i] & SpvOpCodeMask);
}

static size_t next_of(const uint32_t *words, size_t i)
{
    return i + (words[i] >> SpvWordCountShift);
}

static void count(const uint32_t *words, size_t i, counts *c)
{
    const SpvOp op = op_of(words, i);
    c->instructions += op != SpvOpLine && op != SpvOpLabel;
    c->loads += op == SpvOpLoad;
    c->barriers += op == SpvOpControlBarrier;
    c->fmas += op == SpvOpExtInst && words[i + 4] == GLSLstd450Fma;
    c->dots += op == SpvOpSDotKHR;
    c->shuffles += op == SpvOpGroupNonUniformShuffleXor;
}

/* The innermost loop that has most products: from what names its end to that end. */
static counts heaviest_loop(const uint32_t *words, size_t n)
{
    counts most = {0};
    for (size_t i = HEADER; i < n; i = next_of(words, i)) {
        counts c = {0};
        bool inner = true;
        if (op_of(words, i) != SpvOpLoopMerge)
            continue;
        for (size_t k = next_of(words, i); k < n; k = next_of(words, k)) {
            if (op_of(words, k) == SpvOpLabel && words[k + 1] == words[i + 1])
                break;
            inner &= op_of(words, k) != SpvOpLoopMerge;
            count(words, k, &c);
        }
        if (inner && c.fmas + c.dots > most.fmas + most.dots)
            most = c;
    }
    return most;
}

typedef struct kernel_case {
    const char *format;
    int tokens;
    bool fast;
    double most; /* instructions per product */
} kernel_case;

static counts count_kernel(const kernel_case *x, const char *target_name)
{
    char text[512];
    rlx_jit_target target;
    rlx_lir_target lir_target;
    rlx_ir_module *hir, *mir, *lir;
    int64_t upper[RLX_MAX_SYMBOLS] = {0};
    counts most = {0};
    rlx_dims *dims = rlx_dims_create();
    snprintf(text, sizeof text,
             "hir module @m {\n  func @main(%%x: f32[TOKENS,2048] input \"x\", %%w: %s[2048,2048] "
             "weight \"w\") -> (f32[TOKENS,2048]) {\n    %%0 = linear %%x, %%w : "
             "f32[TOKENS,2048]\n    return %%0\n  }\n}\n",
             x->format);
    EXPECT_OK(rlx_jit_target_named(target_name, &target));
    EXPECT_OK(rlx_jit_lir_target(&target, &lir_target));
    EXPECT_OK(rlx_ir_parse(&rlx_hir_level, dims, "counts", text, &hir));
    EXPECT_OK(rlx_hir_lower(hir, &mir));
    EXPECT_OK(rlx_mir_choose_precision(mir, x->fast ? RLX_MIR_DECODE : RLX_MIR_EXACT, &lir_target));
    EXPECT_OK(rlx_mir_optimize(mir));
    upper[rlx_dim_symbol_index(dims, "TOKENS")] = x->tokens;
    EXPECT_OK(
        rlx_mir_lower(mir, &(rlx_mir_lower_options){.target = &lir_target, .upper = upper}, &lir));
    for (const rlx_ir_func *k = lir->first; k; k = k->next) {
        uint8_t *code;
        size_t bytes;
        if (!k->is_kernel)
            continue;
        EXPECT_OK(rlx_jit_emit_kernel(k, &target, &code, &bytes));
        const counts c = heaviest_loop((const uint32_t *)(const void *)code, bytes / 4);
        if (c.fmas + c.dots > most.fmas + most.dots)
            most = c;
        free(code);
    }
    rlx_ir_module_destroy(lir);
    rlx_ir_module_destroy(mir);
    rlx_ir_module_destroy(hir);
    rlx_dims_destroy(dims);
    return most;
}

static const kernel_case cases[] = {
    {"f32", 1, false, 20},    {"f16", 1, false, 40},    {"q8_0", 1, false, 60},
    {"q4_0", 1, false, 60},   {"q4_k", 1, false, 140},  {"q6_k", 1, false, 100},
    {"f32", 512, false, 10},  {"q8_0", 512, false, 14}, {"q4_k", 512, false, 25},
    {"q6_k", 512, false, 20}, {"q8_0", 1, true, 10},    {"q4_0", 1, true, 12},
    {"q4_k", 1, true, 25},    {"q6_k", 1, true, 40},    {"q8_0", 512, true, 8},
    {"q4_0", 512, true, 8},   {"q4_k", 512, true, 8},   {"q6_k", 512, true, 10}};

START_TEST(inner_loops)
{
    if (getenv("RLX_PRINT_COUNTS"))
        printf("| format | T | products | of four | instructions | per product | loads |\n");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const kernel_case *x = &cases[i];
        const counts c = count_kernel(x, "vulkan:nvidia");
        const int products = x->fast ? 4 * c.dots : c.fmas;
        const double each = (double)c.instructions / products;
        ck_assert_int_gt(products, 0);
        ck_assert_int_eq(c.dots > 0, x->fast);
        ck_assert_int_eq(c.barriers, 0);
        if (getenv("RLX_PRINT_COUNTS"))
            printf("| %s%s | %d | %d | %d | %d | %.1f | %d |\n", x->format, x->fast ? ", fast" : "",
                   x->tokens, products, c.dots, c.instructions, each, c.loads);
        ck_assert_msg(each <= x->most, "%s%s of %d tokens: %.1f instructions per product",
                      x->format, x->fast ? ", fast" : "", x->tokens, each);
    }
}
END_TEST

/* Without the instruction: none of it, the same loop. */
START_TEST(masked)
{
    const kernel_case x = {"q4_0", 1, true, 0};
    const counts with = count_kernel(&x, "vulkan:nvidia");
    const counts without = count_kernel(&x, "vulkan:nvidia,-dot");
    ck_assert_int_gt(with.dots, 0);
    ck_assert_int_eq(without.dots, 0);
    ck_assert_int_gt(without.instructions, with.instructions);
    ck_assert_int_eq(without.fmas, with.fmas);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("spirv counts");
    SUITE_TEST(s, "inner_loops", inner_loops);
    SUITE_TEST(s, "masked", masked);
    return suite_run(s, 2);
}
