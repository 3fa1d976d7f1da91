/* Products of codes, f16 and bf16 of 512 tokens for NVIDIA, with the matrix unit and without: the PTX of their inner
 * loops counted, and what ptxas says where it is on PATH: no spills. RLX_PRINT_COUNTS=1 prints the table
 * of bench/results/2026-11-30-gpu-kernels.md. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hir/hir.h"
#include "jit/jit.h"
#include "lir/schedule/schedule.h"
#include "mir/mir.h"
#include "tests/jit/ptxas.h"
#include "tests/runtime/suite.h"

enum { TOKENS = 512, WIDTH = 2048 };

typedef struct counts {
    int instructions, mmas;
    double products; /* of one invocation in the loop's body */
    ptxas_report report;
} counts;

/* Not the further lines of one with lists of operands. */
static bool is_instruction(const char *line)
{
    return line[0] == '\t' && !strchr("./{}\t", line[1]);
}

static bool is_multiplication(const char *line)
{
    return strncmp(line, "\tmma.sync", 9) == 0 || strncmp(line, "\twgmma.mma_async", 16) == 0;
}

/* The line after p's. */
static const char *after(const char *p)
{
    p = strchr(p, '\n');
    return p ? p + 1 : NULL;
}

/* Lines from a label to the last branch back to it; false: there is none. */
static bool loop_of(const char *label, const char **end)
{
    const int n = (int)strcspn(label, ":");
    *end = NULL;
    for (const char *p = label; (p = strstr(p, "bra")) != NULL; p++) {
        const char *to = strchr(p, '$');
        if (to && to < strchr(p, '\n') && strncmp(to, label, (size_t)n) == 0 && to[n] == ';')
            *end = p;
    }
    return *end != NULL;
}

/* Lines of a loop's body, those of loops inside `times` times. */
static void count_lines(const char *p, const char *end, int times, counts *out)
{
    for (const char *inner_end; p && p <= end; p = after(p)) {
        if (strncmp(p, "$L__BB", 6) == 0 && loop_of(p, &inner_end) && inner_end < end) {
            const char *wait = strstr(p, "mbarrier.try_wait");
            const int turns = wait && wait < inner_end ? 1 : times; /* over groups of copies */
            for (p = after(p); p && p <= inner_end; p = after(p)) {
                out->instructions += turns * is_instruction(p);
                out->mmas += turns * is_multiplication(p);
            }
            if (!p)
                return;
        }
        out->instructions += is_instruction(p);
        out->mmas += is_multiplication(p);
    }
}

static int count_syncs(const char *p, const char *end)
{
    int n = 0;
    while ((p = strstr(p, "bar.sync")) != NULL && p < end) {
        n++;
        p++;
    }
    return n;
}

/* The innermost loop with barriers: a step of K. */
static void count_loop(const char *ptx, int times, counts *out)
{
    const char *label = NULL, *end, *last = NULL;
    int syncs = 0;
    for (const char *p = ptx; p; p = after(p))
        if (strncmp(p, "$L__BB", 6) == 0 && loop_of(p, &end)) {
            const int n = count_syncs(p, end);
            if (!n || (last && end <= last && n == syncs))
                continue; /* a block of that step which lies behind what follows it is no loop */
            label = p;
            last = end;
            syncs = n;
        }
    out->instructions = out->mmas = 0;
    if (label)
        count_lines(after(label), last, times, out);
}

static bool is_of_floats(const rlx_ir_node *n)
{
    return n->op == RLX_LIR_CONTRACT || n->op == RLX_LIR_CONTRACT_ROWS;
}

static const rlx_ir_node *find_products(const rlx_ir_block *block)
{
    for (const rlx_ir_node *n = block->first; n; n = n->next) {
        if (n->op == RLX_LIR_DOT || n->op == RLX_LIR_DOT_ROWS || is_of_floats(n))
            return n;
        for (int i = 0; i < n->nblock; i++) {
            const rlx_ir_node *found = find_products(n->blocks[i]);
            if (found)
                return found;
        }
    }
    return NULL;
}

/* How often a loop inside of the step runs: over groups of codes, or chunks. */
static int inner_trips(const rlx_ir_node *n)
{
    return is_of_floats(n) ? (int)(n->in[1]->type.dim[1] / rlx_ir_attr_int(n, RLX_ATTR_WIDTH, 1))
                           : (int)n->in[4]->type.dim[1];
}

static counts count_kernels(const rlx_ir_module *lir, const rlx_jit_target *t)
{
    counts c = {0};
    for (const rlx_ir_func *k = lir->first; k; k = k->next) {
        const rlx_ir_node *n = k->is_kernel ? find_products(k->body) : NULL;
        uint8_t *ptx;
        size_t bytes;
        if (!n)
            continue;
        EXPECT_OK(rlx_jit_emit_kernel(k, t, &ptx, &bytes));
        const rlx_ir_type *a = &n->in[1]->type, *b = &n->in[is_of_floats(n) ? 2 : 3]->type;
        count_loop((char *)ptx, inner_trips(n), &c);
        c.products = (double)(a->dim[0] * b->dim[0] * a->dim[1]) / RLX_JIT_DEFAULT_TEAM;
        if (have_ptxas())
            c.report = ptxas_assemble(k->name, (char *)ptx, bytes, t->processor);
        free(ptx);
    }
    return c;
}

/* y = x w^T, or with `gate` silu(x w^T) * x u^T, whose products go together. */
static void put_module(rlx_text *text, const char *format, bool gate)
{
    rlx_text_putf(text,
                  "hir module @m {\n  func @main(%%x: f32[TOKENS,%d] input \"x\", %%w: %s[%d,%d] "
                  "weight \"w\"",
                  WIDTH, format, WIDTH, WIDTH);
    if (gate)
        rlx_text_putf(text, ", %%u: %s[%d,%d] weight \"u\"", format, WIDTH, WIDTH);
    rlx_text_putf(text, ") -> (f32[TOKENS,%d]) {\n    %%0 = linear %%x, %%w : f32[TOKENS,%d]\n",
                  WIDTH, WIDTH);
    if (gate)
        rlx_text_putf(text,
                      "    %%1 = linear %%x, %%u : f32[TOKENS,%d]\n"
                      "    %%2 = swiglu %%0, %%1 : f32[TOKENS,%d]\n",
                      WIDTH, WIDTH);
    rlx_text_putf(text, "    return %%%d\n  }\n}\n", gate ? 2 : 0);
    ck_assert(!text->oom);
}

static counts count(const char *format, const char *processor, bool unit, bool gate)
{
    rlx_text text = {0};
    const rlx_jit_target target = {.kind = RLX_JIT_NVPTX, .processor = processor};
    rlx_lir_target lir_target;
    rlx_ir_module *hir, *mir, *lir;
    int64_t upper[RLX_MAX_SYMBOLS] = {0};
    rlx_dims *dims = rlx_dims_create();
    put_module(&text, format, gate);
    EXPECT_OK(rlx_jit_lir_target(&target, &lir_target));
    if (!unit)
        lir_target.byte_matrix = lir_target.float_matrix = lir_target.column_matrix =
            (rlx_lir_fragment){0};
    EXPECT_OK(rlx_ir_parse(&rlx_hir_level, dims, "counts", text.data, &hir));
    EXPECT_OK(rlx_hir_lower(hir, &mir));
    EXPECT_OK(rlx_mir_choose_precision(mir, RLX_MIR_PREFILL, &lir_target));
    EXPECT_OK(rlx_mir_optimize(mir));
    upper[rlx_dim_symbol_index(dims, "TOKENS")] = TOKENS;
    EXPECT_OK(
        rlx_mir_lower(mir, &(rlx_mir_lower_options){.target = &lir_target, .upper = upper}, &lir));
    counts c = count_kernels(lir, &target);
    c.products *= gate ? 2 : 1;
    rlx_text_deinit(&text);
    rlx_ir_module_destroy(lir);
    rlx_ir_module_destroy(mir);
    rlx_ir_module_destroy(hir);
    rlx_dims_destroy(dims);
    return c;
}

static const struct {
    const char *format;
    bool gate;
    int mmas; /* of a step, by mma.sync; by wgmma a quarter, of floats an eighth; two together by half steps */
    /* Instructions per product: a tenth more than was counted. By wgmma a step has blocks that few go through (tiles that a limit cuts, the
     * first invocation's copies), and what stands before its label in the text is not counted. */
    double most, most_of_wgmma;
} cases[] = {
    {"q8_0", false, 32, 0.235, 0.272}, {"q4_0", false, 32, 0.252, 0.292},
    {"q4_k", false, 32, 0.306, 0.351}, {"q6_k", false, 64, 0.503, 0.554},
    {"q8_0", true, 64, 0.220, 0.253},  {"q4_k", true, 64, 0.286, 0.325},
    {"q6_k", true, 128, 0.472, 0.524}, {"f16", false, 32, 0.071, 0.064},
    {"bf16", false, 32, 0.071, 0.064}, {"bf16", true, 64, 0.060, 0.095},
};
enum { CASES = sizeof cases / sizeof *cases };

static void print_counts(int number, const char *processor, bool unit, const counts *c)
{
    printf("| %s%s | %s | %s | %.0f | %d | %d | %.2f | %d | %d | %d |\n", cases[number].format,
           cases[number].gate ? ", gate and up" : "", processor,
           unit                                  ? "matrix unit"
           : strstr(cases[number].format, "f16") ? "f32"
                                                 : "bytes",
           c->products, c->mmas, c->instructions, c->instructions / c->products,
           c->report.registers, c->report.spills, c->report.shared);
}

static void check_case(int number, const char *processor, bool prints)
{
    const bool gate = cases[number].gate, wgmma = strcmp(processor, "sm_90a") == 0,
               floats = strstr(cases[number].format, "f16") != NULL;
    const double most = wgmma ? cases[number].most_of_wgmma : cases[number].most;
    const counts c = count(cases[number].format, processor, true, gate);
    if (prints) {
        const counts bytes = count(cases[number].format, processor, false, gate);
        print_counts(number, processor, false, &bytes);
        print_counts(number, processor, true, &c);
    }
    ck_assert_int_eq(c.mmas, cases[number].mmas / (!wgmma ? 1 : !floats ? 4 : gate ? 16 : 8));
    if (have_ptxas())
        ck_assert_int_eq(c.report.spills, 0);
    ck_assert_msg(c.instructions <= most * c.products, "case %d: %.3f", number,
                  c.instructions / c.products);
}

START_TEST(inner_loops)
{
    static const char *const processors[] = {"sm_80", "sm_90", "sm_90a"};
    const bool prints = getenv("RLX_PRINT_COUNTS");
    for (int i = 0; i < CASES * (prints ? 3 : 1); i++)
        check_case(i % CASES, processors[prints ? i / CASES : i % 3], prints);
}
END_TEST

/* However many contractions go together, an invocation has no more sums than two of the above, which
 * do not spill, unless they have one fragment's rows. */
enum { TEAMS = 6 };

START_TEST(sums_are_few)
{
    const rlx_jit_target target = {.kind = RLX_JIT_NVPTX, .processor = "sm_80", .team = 32 << _i};
    enum { SUMS = 64 };
    rlx_lir_target t;
    rlx_lir_schedule s;
    EXPECT_OK(rlx_jit_lir_target(&target, &t));
    rlx_lir_contract_shape shape = {.m = TOKENS, .n = WIDTH, .k = WIDTH, .lanes = 1};
    for (int i = 0; i < 8; i++) {
        shape.contracts = 1 + i / 2;
        shape.quantized = i % 2;
        shape.width = shape.quantized ? 0 : t.float_matrix.k;
        rlx_lir_schedule_contract(&t, &shape, &s);
        ck_assert_int_eq(s.k, shape.quantized ? 128 : 64);
        ck_assert(s.m == 16 || s.m * s.n * shape.contracts <= SUMS * t.team);
        ck_assert(s.m == 64 || s.m * s.n * shape.contracts > SUMS * t.team / 4);
        ck_assert_int_eq(s.block_m, s.m);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("gpu counts");
    SUITE_TEST(s, "inner_loops", inner_loops);
    TCase *c = tcase_create("sums");
    tcase_add_loop_test(c, sums_are_few, 0, TEAMS);
    suite_add_tcase(s, c);
    return suite_run(s, 1 + TEAMS);
}
