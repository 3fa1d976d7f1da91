/* Products of codes of 512 tokens for NVIDIA, with the matrix unit and without: the PTX of their inner
 * loops counted, and what ptxas says where it is on PATH: no spills. RLX_PRINT_COUNTS=1 prints the table
 * of bench/results/2026-11-30-gpu-kernels.md. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hir/hir.h"
#include "jit/jit.h"
#include "mir/mir.h"
#include "tests/jit/ptxas.h"
#include "tests/runtime/suite.h"

enum { TOKENS = 512, WIDTH = 2048 };

typedef struct counts {
    int instructions, mmas;
    double products; /* of one invocation in the loop's body */
    ptxas_report report;
} counts;

static bool is_instruction(const char *line)
{
    return line[0] == '\t' && line[1] != '.' && line[1] != '/' && line[1] != '{' && line[1] != '}';
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
            for (p = after(p); p && p <= inner_end; p = after(p)) {
                out->instructions += times * is_instruction(p);
                out->mmas += times * (strncmp(p, "\tmma.sync", 9) == 0);
            }
            if (!p)
                return;
        }
        out->instructions += is_instruction(p);
    }
}

/* The innermost loop with barriers: a step of K. */
static void count_loop(const char *ptx, int times, counts *out)
{
    const char *label = NULL, *end, *last = NULL;
    for (const char *p = ptx; p; p = after(p))
        if (strncmp(p, "$L__BB", 6) == 0 && loop_of(p, &end)) {
            const char *sync = strstr(p, "bar.sync");
            if (sync && sync < end) {
                label = p;
                last = end;
            }
        }
    out->instructions = out->mmas = 0;
    if (label)
        count_lines(after(label), last, times, out);
}

static const rlx_ir_node *find_products(const rlx_ir_block *block)
{
    for (const rlx_ir_node *n = block->first; n; n = n->next) {
        if (n->op == RLX_LIR_DOT || n->op == RLX_LIR_DOT_ROWS)
            return n;
        for (int i = 0; i < n->nblock; i++) {
            const rlx_ir_node *found = find_products(n->blocks[i]);
            if (found)
                return found;
        }
    }
    return NULL;
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
        const rlx_ir_type *a = &n->in[1]->type, *b = &n->in[3]->type;
        count_loop((char *)ptx, (int)n->in[4]->type.dim[1], &c);
        c.products = (double)(a->dim[0] * b->dim[0] * a->dim[1]) / RLX_JIT_DEFAULT_TEAM;
        if (have_ptxas())
            c.report = ptxas_assemble(k->name, (char *)ptx, bytes, t->processor);
        free(ptx);
    }
    return c;
}

static counts count(const char *format, const char *processor, bool unit)
{
    char text[512];
    const rlx_jit_target target = {.kind = RLX_JIT_NVPTX, .processor = processor};
    rlx_lir_target lir_target;
    rlx_ir_module *hir, *mir, *lir;
    int64_t upper[RLX_MAX_SYMBOLS] = {0};
    rlx_dims *dims = rlx_dims_create();
    snprintf(text, sizeof text,
             "hir module @m {\n  func @main(%%x: f32[TOKENS,%d] input \"x\", %%w: %s[%d,%d] "
             "weight \"w\") -> (f32[TOKENS,%d]) {\n    %%0 = linear %%x, %%w : "
             "f32[TOKENS,%d]\n    return %%0\n  }\n}\n",
             WIDTH, format, WIDTH, WIDTH, WIDTH, WIDTH);
    EXPECT_OK(rlx_jit_lir_target(&target, &lir_target));
    if (!unit)
        memset(&lir_target.byte_matrix, 0, sizeof lir_target.byte_matrix);
    EXPECT_OK(rlx_ir_parse(&rlx_hir_level, dims, "counts", text, &hir));
    EXPECT_OK(rlx_hir_lower(hir, &mir));
    EXPECT_OK(rlx_mir_choose_precision(mir, RLX_MIR_PREFILL, &lir_target));
    EXPECT_OK(rlx_mir_optimize(mir));
    upper[rlx_dim_symbol_index(dims, "TOKENS")] = TOKENS;
    EXPECT_OK(
        rlx_mir_lower(mir, &(rlx_mir_lower_options){.target = &lir_target, .upper = upper}, &lir));
    const counts c = count_kernels(lir, &target);
    rlx_ir_module_destroy(lir);
    rlx_ir_module_destroy(mir);
    rlx_ir_module_destroy(hir);
    rlx_dims_destroy(dims);
    return c;
}

static const struct {
    const char *format;
    int mmas;    /* of a step */
    double most; /* instructions per product */
} cases[] = {{"q8_0", 32, 1.0}, {"q4_0", 32, 1.0}, {"q4_k", 32, 1.0}, {"q6_k", 64, 1.5}};

START_TEST(inner_loops)
{
    static const char *const processors[] = {"sm_80", "sm_90", "sm_90a"};
    const bool prints = getenv("RLX_PRINT_COUNTS");
    for (int i = 0; i < 4 * (prints ? 3 : 1); i++) {
        const char *format = cases[i % 4].format;
        const char *processor = processors[prints ? i / 4 : i % 3];
        counts c[2];
        for (int unit = prints ? 0 : 1; unit < 2; unit++) {
            c[unit] = count(format, processor, unit);
            const double each = c[unit].instructions / c[unit].products;
            if (prints)
                printf("| %s | %s | %s | %.0f | %d | %d | %.2f | %d | %d | %d |\n", format,
                       processor, unit ? "matrix unit" : "bytes", c[unit].products, c[unit].mmas,
                       c[unit].instructions, each, c[unit].report.registers, c[unit].report.spills,
                       c[unit].report.shared);
        }
        ck_assert_int_eq(c[1].mmas, cases[i % 4].mmas);
        ck_assert_int_eq(c[1].report.spills, 0);
        ck_assert(c[1].instructions <= cases[i % 4].most * c[1].products);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("gpu counts");
    SUITE_TEST(s, "inner_loops", inner_loops);
    return suite_run(s, 1);
}
