/* The inner loops of contractions for `vulkan:nvidia`, counted in the words that are emitted, before any
 * driver optimises: that nobody waits for others in them, that four products of codes are one
 * instruction, and what a product costs at most. RLX_PRINT_COUNTS=1 prints the table of
 * bench/results/2026-11-30-spirv-counts.md. */
#include <spirv/unified1/GLSL.std.450.h>
#include <spirv/unified1/spirv.h>
#include <string.h>

#include "hir/hir.h"
#include "jit/jit.h"
#include "jit/spirv_module.h"
#include "mir/mir.h"
#include "tests/runtime/suite.h"

/* In the body of a loop; global: of loads, those from buffers. */
typedef struct counts {
    int instructions, loads, global, barriers, fmas, dots, shuffles;
    int matrices, matrix_loads, matrix_stores; /* cooperative ones: multiplied, loaded, stored */
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
    c->matrices += op == (SpvOp)RLX_SPIRV_MATRIX_MULADD;
    c->matrix_loads += op == (SpvOp)RLX_SPIRV_MATRIX_LOAD;
    c->matrix_stores += op == (SpvOp)RLX_SPIRV_MATRIX_STORE;
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
    rlx_mir_precision precision;
    double most; /* instructions per product */
} kernel_case;

/* The heaviest loops of all kernels of a module of HIR. */
static void count_module(const char *text, int tokens, rlx_mir_precision precision,
                         const char *target_name, counts *most, int n)
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
    EXPECT_OK(rlx_mir_choose_precision(mir, precision, &lir_target));
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
    count_module(text, x->tokens, x->precision, target_name, &most, 1);
    return most;
}

static const kernel_case cases[] = {
    {"f32", 1, RLX_MIR_EXACT, 20},    {"f16", 1, RLX_MIR_EXACT, 40},
    {"q8_0", 1, RLX_MIR_EXACT, 60},   {"q4_0", 1, RLX_MIR_EXACT, 60},
    {"q4_k", 1, RLX_MIR_EXACT, 140},  {"q6_k", 1, RLX_MIR_EXACT, 100},
    {"f32", 512, RLX_MIR_EXACT, 10},  {"q8_0", 512, RLX_MIR_EXACT, 14},
    {"q4_k", 512, RLX_MIR_EXACT, 25}, {"q6_k", 512, RLX_MIR_EXACT, 20},
    {"q8_0", 1, RLX_MIR_DECODE, 10},  {"q4_0", 1, RLX_MIR_DECODE, 12},
    {"q4_k", 1, RLX_MIR_DECODE, 17},  {"q6_k", 1, RLX_MIR_DECODE, 20},
    {"q8_0", 512, RLX_MIR_DECODE, 5}, {"q4_0", 512, RLX_MIR_DECODE, 5},
    {"q4_k", 512, RLX_MIR_DECODE, 6}, {"q6_k", 512, RLX_MIR_DECODE, 7}};

START_TEST(inner_loops)
{
    if (getenv("RLX_PRINT_COUNTS"))
        printf("| format | T | products | of four | instructions | per product | loads |\n");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const kernel_case *x = &cases[i];
        const counts c = count_kernel(x, "vulkan:nvidia");
        const int products = x->precision == RLX_MIR_DECODE ? 4 * c.dots : c.fmas;
        const double each = (double)c.instructions / products;
        ck_assert_int_gt(products, 0);
        ck_assert_int_eq(c.dots > 0, x->precision == RLX_MIR_DECODE);
        ck_assert_int_eq(c.barriers, 0);
        if (getenv("RLX_PRINT_COUNTS"))
            printf("| %s%s | %d | %d | %d | %d | %.1f | %d |\n", x->format,
                   x->precision == RLX_MIR_DECODE ? ", fast" : "", x->tokens, products, c.dots,
                   c.instructions, each, c.loads);
        ck_assert_msg(each <= x->most, "%s%s of %d tokens: %.1f instructions per product",
                      x->format, x->precision == RLX_MIR_DECODE ? ", fast" : "", x->tokens, each);
    }
}
END_TEST

/* Without the instruction: none of it, the same loop. */
START_TEST(masked)
{
    const kernel_case x = {"q4_0", 1, RLX_MIR_DECODE, 0};
    const counts with = count_kernel(&x, "vulkan:nvidia");
    const counts without = count_kernel(&x, "vulkan:nvidia,-dot");
    ck_assert_int_gt(with.dots, 0);
    ck_assert_int_eq(without.dots, 0);
    ck_assert_int_gt(without.instructions, with.instructions);
    ck_assert_int_eq(without.fmas, with.fmas);
}
END_TEST

/* ---- cooperative matrices ---- */

static const struct {
    const char *format, *target;
    int sums, barriers; /* of the loop over groups: an invocation's; what it waits for */
    double most;        /* instructions per product */
} units[] = {{"q8_0", "vulkan:nvidia,matrix=16x16x32", 16, 2, 0.6},
             {"q4_k", "vulkan:nvidia,matrix=16x16x32", 16, 2, 0.9},
             {"q6_k", "vulkan:nvidia,matrix=16x16x32", 16, 2, 1.2},
             {"q8_0", "vulkan:amd,matrix=16x16x16", 16, 2, 0.6},
             {"q4_k", "vulkan:lavapipe,matrix=8x8x8", 64, 2, 0.9}};

/* A group of K: every sum is scaled once, and products are the matrices'. */
START_TEST(matrix_loops)
{
    if (getenv("RLX_PRINT_COUNTS"))
        printf(
            "| format | target | sums | products | instructions | per product | loads | matrices | "
            "loaded | stored | barriers |\n");
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        const kernel_case x = {units[i].format, 512, RLX_MIR_PREFILL, 0};
        const counts c = count_kernel(&x, units[i].target);
        const int minima = strcmp(x.format, "q4_k") == 0,
                  group = strcmp(x.format, "q6_k") ? 32 : 16;
        const int sums = c.fmas / (1 + minima);
        const double each = (double)c.instructions / (sums * group);
        ck_assert_int_gt(c.matrices, 0);
        ck_assert_int_eq(c.dots, 0);
        ck_assert_int_eq(c.global, 0);
        if (getenv("RLX_PRINT_COUNTS"))
            printf("| %s | %s | %d | %d | %d | %.2f | %d | %d | %d | %d | %d |\n", x.format,
                   units[i].target + 7, sums, sums * group, c.instructions, each, c.loads,
                   c.matrices, c.matrix_loads, c.matrix_stores, c.barriers);
        ck_assert_int_eq(sums, units[i].sums);
        ck_assert_int_eq(c.barriers, units[i].barriers);
        ck_assert_msg(each <= units[i].most, "%s for %s: %.2f instructions per product", x.format,
                      units[i].target, each);
    }
    const kernel_case x = {"q4_k", 512, RLX_MIR_PREFILL, 0};
    ck_assert_int_eq(count_kernel(&x, "vulkan:nvidia,matrix=16x16x32,-matrix").matrices, 0);
}
END_TEST

enum { SIDES = 3 }; /* 8, 16 and 32 */
static bool all_units;

/* A module with two heads whose columns wait in team memory for their rotation. */
static void lower_heads(const char *target, const char *format, int head, int rows)
{
    char text[640];
    snprintf(
        text, sizeof text,
        "hir module @m {\n  func @main(%%x: f32[TOKENS,256] input \"x\", %%w: %s[%d,256] weight "
        "\"w\", %%cos: f32[TOKENS,%d] input \"cos\", %%sin: f32[TOKENS,%d] input \"sin\") -> "
        "(f32[TOKENS,%d]) {\n    %%0 = linear %%x, %%w : f32[TOKENS,%d]\n    %%1 = rope %%0, "
        "%%cos, %%sin {heads=2, head_dim=%d} : f32[TOKENS,%d]\n    return %%1\n  }\n}\n",
        format, 2 * head, head / 2, head / 2, 2 * head, 2 * head, head, 2 * head);
    count_module(text, rows, RLX_MIR_PREFILL, target, NULL, 0);
}

/* A device of every kind has room for a shape of these sides, or makes no use of it. The largest tiles of those with least
 * memory; with `all` (ctest: spirv_counts_all) rows from 1 to as many as make another tile. */
START_TEST(units_have_room)
{
    static const char *const kinds[] = {"intel", "lavapipe", "nvidia", "amd"};
    static const char *const formats[] = {"q4_k", "q6_k", "q8_0"};
    static const int rows[] = {64, 1, 9, 16, 17, 32, 33};
    const int m = 8 << _i % SIDES, n = 8 << _i / SIDES % SIDES, k = 8 << _i / (SIDES * SIDES);
    for (int i = 0; i < (all_units ? 4 : 2); i++) {
        char target[64];
        snprintf(target, sizeof target, "vulkan:%s,matrix=%dx%dx%d", kinds[i], m, n, k);
        for (int r = 0; r < (all_units ? 7 : 1); r++) {
            lower_heads(target, formats[(_i + r) % 3], 128, rows[r]);
            if (all_units)
                lower_heads(target, formats[(_i + r + 1) % 3], 64, rows[r]);
        }
    }
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
        count_module(attentions[i].text, attentions[i].tokens, RLX_MIR_EXACT, "vulkan:nvidia", c,
                     LOOPS);
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

int main(int argc, char **argv)
{
    all_units = argc > 1 && !strcmp(argv[1], "all");
    Suite *s = suite_create("spirv counts");
    SUITE_TEST(s, "inner_loops", inner_loops);
    SUITE_TEST(s, "masked", masked);
    SUITE_TEST(s, "matrix_loops", matrix_loops);
    SUITE_TEST(s, "attention_loops", attention_loops);
    TCase *sides = tcase_create("units_have_room");
    tcase_set_timeout(sides, 0);
    tcase_add_loop_test(sides, units_have_room, 0, SIDES * SIDES * SIDES);
    suite_add_tcase(s, sides);
    return suite_run(s, 4 + SIDES * SIDES * SIDES);
}
