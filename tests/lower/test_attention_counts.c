/* tests/lower/test_attention_counts.c: a prompt's attention over pages for NVIDIA and AMD, by matrix units and in f32: what
 * assemblers say, no spills; with RLX_PRINT_COUNTS=1 the tables of
 * bench/results/2026-11-30-gpu-kernels.md, for all processors. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jit/code_object.h"
#include "jit/jit.h"
#include "mir/mir.h"
#include "tests/jit/ptxas.h"
#include "tests/runtime/suite.h"

enum { TOKENS = 512, RATIO = 4, PAGE = 256 };

typedef struct shape {
    const char *keys, *values, *more;
    int width;
} shape;

static const shape shapes[] = {{"f16", "f16", "", 64},
                               {"bf16", "bf16", "", 64},
                               {"f16", "f16", ", window=600", 64},
                               {"f16", "f16", ", softcap=30", 64},
                               {"i8", "i8", "", 64},
                               {"f16", "f16", "", 80},
                               {"bf16", "bf16", "", 96},
                               {"f16", "f16", "", 128},
                               {"bf16", "bf16", "", 128},
                               {"i8", "i8", "", 128},
                               {"f16", "i8", "", 128},
                               {"f16", "f16", "", 256},
                               {"bf16", "bf16", "", 256},
                               {"i8", "i8", "", 256}};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static void put_module(rlx_text *t, const shape *s, int width)
{
    const bool ks = strcmp(s->keys, "i8") == 0, vs = strcmp(s->values, "i8") == 0;
    const int d = s->width;
    rlx_text_putf(t,
                  "mir module @m {\n  func @main(%%q: f32[T,%d,%d] input \"q\", %%k: "
                  "%s[PAGES,2,%d,%d] state \"k\", %%v: %s[PAGES,2,%d,%d] state \"v\", %%pos: "
                  "i32[T] input \"pos\", %%seq: i32[T] input \"seq\", %%table: i32[SEQS,SLOTS] "
                  "input \"table\"",
                  2 * RATIO, d, s->keys, d, PAGE, s->values, PAGE, d);
    if (ks)
        rlx_text_putf(t, ", %%ks: f16[PAGES,2,%d,%d] state \"ks\"", d / 32, PAGE);
    if (vs)
        rlx_text_putf(t, ", %%vs: f16[PAGES,2,%d,%d] state \"vs\"", PAGE, d / 32);
    rlx_text_putf(t,
                  ") -> (f32[T,%d,%d]) {\n    %%o = attention %%q, %%k, %%v, %%pos, %%seq, "
                  "%%table%s%s {scale=0.125%s",
                  2 * RATIO, d, ks ? ", %ks" : "", vs ? ", %vs" : "", s->more);
    if (width)
        rlx_text_putf(t, ", width=%d", width);
    rlx_text_putf(t, "} : f32[T,%d,%d]\n    return %%o\n  }\n}\n", 2 * RATIO, d);
    ck_assert(!t->oom);
}

static rlx_ir_module *lower(const shape *s, int width, const rlx_jit_target *target, rlx_dims *dims)
{
    int64_t upper[RLX_MAX_SYMBOLS] = {0};
    static const struct {
        const char *name;
        int64_t value;
    } symbols[] = {{"T", TOKENS}, {"PAGES", 64}, {"SEQS", 1}, {"SLOTS", 64}};
    rlx_text t = {0};
    rlx_lir_target target_of;
    rlx_ir_module *mir, *lir;
    put_module(&t, s, width);
    EXPECT_OK(rlx_ir_parse(&rlx_mir_level, dims, "attention", t.data, &mir));
    for (int i = 0; i < 4; i++)
        upper[rlx_dim_symbol_index(dims, symbols[i].name)] = symbols[i].value;
    EXPECT_OK(rlx_jit_lir_target(target, &target_of));
    EXPECT_OK(rlx_mir_optimize(mir));
    EXPECT_OK(
        rlx_mir_lower(mir, &(rlx_mir_lower_options){.target = &target_of, .upper = upper}, &lir));
    rlx_text_deinit(&t);
    rlx_ir_module_destroy(mir);
    return lir;
}

static const rlx_ir_func *kernel_of(const rlx_ir_module *lir)
{
    for (const rlx_ir_func *f = lir->first; f; f = f->next)
        if (f->is_kernel)
            return f;
    ck_abort_msg("no kernel");
}

/* ---- the loop over blocks ---- */

typedef struct loop {
    const char *first, *last; /* lines */
    int instructions, multiplications;
} loop;

static const char *after(const char *p)
{
    p = strchr(p, '\n');
    return p ? p + 1 : NULL;
}

/* Lines from a label to the last branch back to it. */
static loop loop_of(const char *label, const char *product)
{
    const int n = (int)strcspn(label, ":");
    loop l = {.first = label};
    for (const char *p = label; (p = strstr(p, "bra")) != NULL; p++) {
        const char *to = strchr(p, '$');
        if (to && to < strchr(p, '\n') && strncmp(to, label, (size_t)n) == 0 && to[n] == ';')
            l.last = p;
    }
    for (const char *p = label; l.last && p && p < l.last; p = after(p)) {
        l.instructions += p[0] == '\t' && !strchr("./{}\t", p[1]);
        l.multiplications += strncmp(p, product, strlen(product)) == 0;
    }
    return l;
}

/* The least of those with the most products. */
static loop busiest_loop(const char *ptx, const char *product)
{
    loop best = {0};
    for (const char *p = ptx; p; p = after(p)) {
        if (strncmp(p, "$L__BB", 6) != 0)
            continue;
        const loop l = loop_of(p, product);
        if (l.multiplications > best.multiplications ||
            (l.multiplications == best.multiplications && l.instructions < best.instructions))
            best = l;
    }
    return best;
}

static void count_nvidia(const shape *s, const char *processor, bool prints)
{
    enum { WIDTH = 16, FRAGMENT = 16 * 8 * 16, LANES = 32 };
    const rlx_jit_target t = {.kind = RLX_JIT_NVPTX, .processor = processor};
    for (int unit = prints ? 0 : 1; unit < 2; unit++) {
        rlx_dims *dims = rlx_dims_create();
        rlx_ir_module *lir = lower(s, unit ? WIDTH : 0, &t, dims);
        const rlx_ir_func *k = kernel_of(lir);
        ptxas_report r = {0};
        uint8_t *ptx;
        size_t bytes;
        EXPECT_OK(rlx_jit_emit_kernel(k, &t, &ptx, &bytes));
        if (have_ptxas())
            r = ptxas_assemble(k->name, (char *)ptx, bytes, processor);
        const loop l = busiest_loop((char *)ptx, unit ? "\tmma.sync" : "\tfma.rn.f32");
        const double products = l.multiplications * (unit ? (double)FRAGMENT / LANES : 1);
        if (prints)
            printf("| %s, %s%s, %d | %s | %s | %d | %d | %.3f | %d | %d | %d |\n", s->keys,
                   s->values, s->more, s->width, processor, unit ? "unit" : "f32",
                   l.multiplications, l.instructions, l.instructions / products, r.registers,
                   r.spills, r.shared);
        if (unit && !prints)
            ck_assert_msg(!r.spills, "%s: %d bytes spilled", k->name, r.spills);
        free(ptx);
        rlx_ir_module_destroy(lir);
        rlx_dims_destroy(dims);
    }
}

START_TEST(for_nvidia)
{
    static const char *const processors[] = {"sm_80", "sm_90", "sm_90a"};
    const bool prints = getenv("RLX_PRINT_COUNTS");
    for (int i = 0; i < SHAPES * 3; i++)
        count_nvidia(&shapes[i % SHAPES], processors[i / SHAPES], prints);
}
END_TEST

START_TEST(for_amd)
{
    static const char *const processors[] = {"gfx942", "gfx1100", "gfx1200"};
    const bool prints = getenv("RLX_PRINT_COUNTS");
    for (int i = 0; i < SHAPES * (prints ? 3 : 1); i++) {
        const shape *s = &shapes[i % SHAPES];
        const char *processor = processors[prints ? i / SHAPES : i % 3];
        const rlx_jit_target t = {.kind = RLX_JIT_AMDGPU, .processor = processor};
        rlx_dims *dims = rlx_dims_create();
        rlx_ir_module *lir = lower(s, 16, &t, dims);
        const rlx_ir_func *k = kernel_of(lir);
        rlx_code_object o;
        uint8_t *code;
        size_t bytes;
        EXPECT_OK(rlx_jit_emit_kernel(k, &t, &code, &bytes));
        EXPECT_OK(rlx_code_object_read(code, bytes, &o));
        if (prints)
            printf("| %s, %s%s, %d | %s | %d | %d | %d | %lld |\n", s->keys, s->values, s->more,
                   s->width, processor, (int)o.vgprs, (int)o.vgpr_spills, (int)o.sgpr_spills,
                   (long long)o.team_bytes);
        /* masks of scalars may lie in lanes of vectors */
        if (!prints)
            ck_assert_msg(o.vgpr_spills + o.scratch_bytes == 0, "%s for %s spills", k->name,
                          processor);
        free(code);
        rlx_ir_module_destroy(lir);
        rlx_dims_destroy(dims);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("attention counts");
    SUITE_TEST(s, "for_nvidia", for_nvidia);
    SUITE_TEST(s, "for_amd", for_amd);
    return suite_run(s, 2);
}
