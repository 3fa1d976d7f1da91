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

/* In the body of a loop; global: of loads, those from buffers. */
typedef struct counts {
    int instructions, loads, global, barriers, fmas, dots, shuffles;
} counts;

/* A module's words; of each id the storage class that it, a pointer or the type of one, leads to. */
typedef struct module_words {
    const uint32_t *words;
    size_t n;
    uint8_t *leads;
} module_words;

enum { HEADER = 5 };

static SpvOp op_of(const uint32_t *words, size_t i)
{
    return (SpvOp)(words[i] & SpvOpCodeMask);
}

static size_t next_of(const uint32_t *words, size_t i)
{
    return i + (words[i] >> SpvWordCountShift);
}

static void find_pointers(module_words *m)
{
    const uint32_t *words = m->words;
    m->leads = calloc(words[3], 1); /* its bound */
    for (size_t i = HEADER; i < m->n; i = next_of(words, i)) {
        if (op_of(words, i) == SpvOpTypePointer)
            m->leads[words[i + 1]] = (uint8_t)words[i + 2];
        if (op_of(words, i) == SpvOpAccessChain)
            m->leads[words[i + 2]] = m->leads[words[i + 1]];
    }
}

static void count(const module_words *m, size_t i, counts *c)
{
    const uint32_t *words = m->words;
    const SpvOp op = op_of(words, i);
    c->instructions += op != SpvOpLine && op != SpvOpLabel;
    c->loads += op == SpvOpLoad;
    c->global += op == SpvOpLoad && m->leads[words[i + 3]] == SpvStorageClassStorageBuffer;
    c->barriers += op == SpvOpControlBarrier;
    c->fmas += op == SpvOpExtInst && words[i + 4] == GLSLstd450Fma;
    c->dots += op == SpvOpSDotKHR;
    c->shuffles += op == SpvOpGroupNonUniformShuffleXor;
}

/* An innermost loop, from what names its end to that end; false: there is another one in it. */
static bool count_loop(const module_words *m, size_t i, counts *c)
{
    const uint32_t *words = m->words;
    *c = (counts){0};
    for (size_t k = next_of(words, i); k < m->n; k = next_of(words, k)) {
        if (op_of(words, k) == SpvOpLabel && words[k + 1] == words[i + 1])
            break;
        if (op_of(words, k) == SpvOpLoopMerge)
            return false;
        count(m, k, c);
    }
    return true;
}

/* The innermost loops that have most products, `n` of them, most first. */
static void heaviest_loops(const uint32_t *words, size_t nwords, counts *most, int n)
{
    module_words m = {.words = words, .n = nwords};
    find_pointers(&m);
    for (size_t i = HEADER; i < nwords; i = next_of(words, i)) {
        counts c;
        if (op_of(words, i) != SpvOpLoopMerge || !count_loop(&m, i, &c))
            continue;
        for (int k = 0; k < n; k++)
            if (c.fmas + c.dots > most[k].fmas + most[k].dots) {
                const counts less = most[k];
                most[k] = c;
                c = less;
            }
    }
    free(m.leads);
}

typedef struct kernel_case {
    const char *format;
    int tokens;
    bool fast;
    double most; /* instructions per product */
} kernel_case;

/* The heaviest loops of all kernels of a module of HIR. */
static void count_module(const char *text, int tokens, bool fast, const char *target_name,
                         counts *most, int n)
{
    rlx_jit_target target;
    rlx_lir_target lir_target;
    rlx_ir_module *hir, *mir, *lir;
    int64_t upper[RLX_MAX_SYMBOLS];
    rlx_dims *dims = rlx_dims_create();
    for (int i = 0; i < RLX_MAX_SYMBOLS; i++)
        upper[i] = 1;
    EXPECT_OK(rlx_jit_target_named(target_name, &target));
    EXPECT_OK(rlx_jit_lir_target(&target, &lir_target));
    EXPECT_OK(rlx_ir_parse(&rlx_hir_level, dims, "counts", text, &hir));
    EXPECT_OK(rlx_hir_lower(hir, &mir));
    EXPECT_OK(rlx_mir_choose_precision(mir, fast ? RLX_MIR_DECODE : RLX_MIR_EXACT, &lir_target));
    EXPECT_OK(rlx_mir_optimize(mir));
    upper[rlx_dim_symbol_index(dims, "TOKENS")] = tokens;
    EXPECT_OK(
        rlx_mir_lower(mir, &(rlx_mir_lower_options){.target = &lir_target, .upper = upper}, &lir));
    for (const rlx_ir_func *k = lir->first; k; k = k->next) {
        uint8_t *code;
        size_t bytes;
        if (!k->is_kernel)
            continue;
        EXPECT_OK(rlx_jit_emit_kernel(k, &target, &code, &bytes));
        heaviest_loops((const uint32_t *)(const void *)code, bytes / 4, most, n);
        free(code);
    }
    rlx_ir_module_destroy(lir);
    rlx_ir_module_destroy(mir);
    rlx_ir_module_destroy(hir);
    rlx_dims_destroy(dims);
}

static counts count_kernel(const kernel_case *x, const char *target_name)
{
    char text[512];
    counts most = {0};
    snprintf(text, sizeof text,
             "hir module @m {\n  func @main(%%x: f32[TOKENS,2048] input \"x\", %%w: %s[2048,2048] "
             "weight \"w\") -> (f32[TOKENS,2048]) {\n    %%0 = linear %%x, %%w : "
             "f32[TOKENS,2048]\n    return %%0\n  }\n}\n",
             x->format);
    count_module(text, x->tokens, x->fast, target_name, &most, 1);
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

/* ---- attention ---- */

#define PAGED(format)                                                                            \
    "hir module @m {\n  func @main(%q: f32[TOKENS,2048] input \"q\", %k: f32[TOKENS,512] input " \
    "\"k\", %v: f32[TOKENS,512] input \"v\", %kp: " format "[PAGES,8,64,256] state \"kv.k\", "   \
    "%vp: " format "[PAGES,8,256,64] state \"kv.v\", %pos: i32[TOKENS] input \"pos\", "          \
    "%seq: i32[TOKENS] input \"seq\", %table: i32[SEQS,SLOTS] input \"table\") -> "              \
    "(f32[TOKENS,2048]) {\n    %0, %1, %2 = attention %q, %k, %v, %kp, %vp, %pos, %seq, %table " \
    "{scale=0.125, heads=32, kv_heads=8, head_dim=64} : (f32[TOKENS,2048], " format              \
    "[PAGES,8,64,256], " format "[PAGES,8,256,64])\n    return %0\n  }\n}\n"
#define DENSE                                                                                 \
    "hir module @m {\n  func @main(%q: f32[TOKENS,12,64] input \"q\", %k: f32[TOKENS,12,64] " \
    "input \"k\", %v: f32[TOKENS,12,64] input \"v\") -> (f32[TOKENS,12,64]) {\n    %0 = "     \
    "dense_attention %q, %k, %v {scale=0.125} : f32[TOKENS,12,64]\n    return %0\n  }\n}\n"

static const struct {
    const char *what, *text;
    int tokens;
    double most; /* instructions per product, in each of the two loops */
} attentions[] = {{"pages of f32", PAGED("f32"), 512, 10},
                  {"pages of f16", PAGED("f16"), 512, 15},
                  {"pages of f16", PAGED("f16"), 1, 25},
                  {"tensors", DENSE, 512, 12}};

/* The loops over scores' and values' products: those that read memory. */
START_TEST(attention_loops)
{
    enum { LOOPS = 4 };
    if (getenv("RLX_PRINT_COUNTS"))
        printf("| attention | T | products | instructions | per product | loads | of memory | "
               "barriers |\n");
    for (size_t i = 0; i < sizeof attentions / sizeof *attentions; i++) {
        counts c[LOOPS] = {{0}};
        int loops = 0;
        count_module(attentions[i].text, attentions[i].tokens, false, "vulkan:nvidia", c, LOOPS);
        for (int k = 0; k < LOOPS; k++) {
            const double each = (double)c[k].instructions / c[k].fmas;
            if (c[k].global == 0 || loops == 2) /* exponentials are of team memory */
                continue;
            loops++;
            if (getenv("RLX_PRINT_COUNTS"))
                printf("| %s | %d | %d | %d | %.1f | %d | %d | %d |\n", attentions[i].what,
                       attentions[i].tokens, c[k].fmas, c[k].instructions, each, c[k].loads,
                       c[k].global, c[k].barriers);
            ck_assert_msg(each <= attentions[i].most,
                          "%s, %d tokens: %.1f instructions per product", attentions[i].what,
                          attentions[i].tokens, each);
        }
        ck_assert_int_eq(loops, 2);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("spirv counts");
    SUITE_TEST(s, "inner_loops", inner_loops);
    SUITE_TEST(s, "masked", masked);
    SUITE_TEST(s, "attention_loops", attention_loops);
    return suite_run(s, 3);
}
