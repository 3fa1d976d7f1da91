/* tests/lower/test_panel.c: contractions in the order of one partial sum, by panels of weights, and of
 * codes in that of eight, by rows that are turned, and of floats in that of sixteen, by columns that share
 * what is converted of a weight: random regions in every weight format, on targets so small that rows, columns
 * and K all go by blocks, some of whose packed rows share panels, or panels stream past rows, and by a GPU's matrix unit, of f16 and bf16, too. MIR's evaluator,
 * LIR's and machine code give the same bits; code for other machines has their instructions emulated. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/base/suite.h"
#include "tests/jit/emulated.h"
#include "tests/jit/subject.h"
#include "tests/lower/engines.h"

enum {
    PANELS = 96,
    TURNED = 24,
    COLUMNS = 24,
    PACKED = 16,
    SHORT = 16,
    STREAMED = 12,
    ON_CPUS = PANELS + TURNED + COLUMNS + PACKED + SHORT + STREAMED,
    CHUNKS = 12,
    CASES = ON_CPUS + CHUNKS,
    CODE_EVERY = 12
};

typedef struct world {
    engines e;
    int64_t rows, upper, k;
    int width;        /* of products of halves; 0: of f32 */
    const char *half; /* their format; NULL: f16 or bf16 */
    bool turned, columns, packed, streamed;
    bool shallow; /* packed: K is one chunk, and tiles are stored as they are made */
    bool apart;   /* K is so long that rows of codes lie apart */
} world;

static uint64_t pick(world *w, uint64_t n)
{
    return engines_pick(&w->e, n);
}

/* ---- modules ---- */

static const char *const floats[] = {"f32", "f16", "bf16"};
static const char *const blocks[] = {"q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "q4_k", "q5_k", "q6_k"};
static const char *const more[] = {"q2_k", "q3_k", "iq4_xs", "iq4_nl", "mxfp4", "iq3_s"};
enum { MORE = sizeof more / sizeof *more };

static const char *random_format(world *w, bool quantized, int64_t k)
{
    if (w->width)
        return w->half ? w->half : floats[1 + pick(w, 2)];
    if (w->turned && pick(w, 3) == 0)
        return more[pick(w, MORE)];
    if (w->columns && k % 256 == 0)
        return pick(w, 2) ? blocks[pick(w, 8)] : more[pick(w, MORE)];
    return quantized ? blocks[pick(w, k % 256 == 0 ? 8 : 5)] : floats[pick(w, 3)];
}

/* %c<i> = the contraction of x with weight %w<i>. */
static void put_contraction(world *w, int i, int64_t n, int64_t k, const char *format)
{
    const rlx_format f = rlx_format_parse(format, strlen(format));
    if (rlx_format_get(f)->kind == RLX_KIND_BLOCK && !w->columns) {
        rlx_text_putf(&w->e.text, "    %%c%d = contract_q %%codes, %%scale, %%sums%d, %%w%d {lanes=%d} : f32[T,%lld]\n", i,
                      rlx_format_group(f), i, w->turned ? 8 : 1, (long long)n);
        return;
    }
    if (w->width) {
        rlx_text_putf(&w->e.text,
                      "    %%c%d = contract %%x_%s, %%w%d {lanes=1, width=%d} : f32[T,%lld]\n", i,
                      format, i, w->width, (long long)n);
        return;
    }
    rlx_text_putf(&w->e.text, "    %%f%d = cast %%w%d : f32[%lld,%lld]\n", i, i, (long long)n, (long long)k);
    rlx_text_putf(&w->e.text, "    %%c%d = contract %%x, %%f%d {lanes=%d} : f32[T,%lld]\n", i, i, w->columns ? 16 : 1,
                  (long long)n);
}

/* Two to three contractions: two of one shape multiplied (where K is short, one of them), with a
 * residual; one alone, its columns as heads whose halves change places. */
static void make_text(world *w, bool quantized)
{
    int64_t k = quantized ? (pick(w, 2) ? 32 * (1 + (int64_t)pick(w, 9)) : 256 * (1 + (int64_t)pick(w, 2)))
                          : 1 + (int64_t)pick(w, 90);
    if (w->turned)
        k = 256 * (1 + (int64_t)pick(w, 3));
    if (w->columns)
        k = pick(w, 3) ? 20 + (int64_t)pick(w, 300) : 256;
    if (w->packed)
        k = w->shallow ? 96 + 4 * (int64_t)pick(w, 17) : 192 + (int64_t)pick(w, 200);
    if (w->streamed) /* often in a few pieces */
        k = pick(w, 3) ? 16 * (1 + (int64_t)pick(w, 50)) : 1 + (int64_t)pick(w, 700);
    if (w->e.code.emulation && w->width == 32) /* limits inside of rows take long to compile emulated */
        k = 32 * (1 + k % 3);
    if (w->apart)
        k = 1024;
    int64_t heads = 1 + (int64_t)pick(w, 6), half = w->turned ? 4 * (1 + (int64_t)pick(w, 3)) : 1 + (int64_t)pick(w, 20);
    int64_t n[3] = {1 + (int64_t)pick(w, 150), 0, heads * 2 * half};
    const char *format[3];
    w->k = k;
    if (w->packed)
        n[0] += w->shallow ? 190 : 90;
    n[1] = n[0];
    rlx_text_put(&w->e.text, "mir module @m {\n  func @main(");
    rlx_text_putf(&w->e.text, "%%x: f32[T,%lld] input \"x\", %%r: f32[T,%lld] input \"r\"", (long long)k, (long long)n[0]);
    for (int i = 0; i < 3; i++) {
        format[i] = random_format(w, quantized, k);
        rlx_text_putf(&w->e.text, ", %%w%d: %s[%lld,%lld] weight \"w%d\"", i, format[i], (long long)n[i], (long long)k, i);
    }
    rlx_text_putf(&w->e.text, ") -> (f32[T,%lld], f32[T,%lld]) {\n", (long long)n[0], (long long)n[2]);
    if (quantized)
        rlx_text_putf(&w->e.text, "    %%codes, %%scale, %%sums32, %%sums16 = quantize %%x : (i8[T,%lld], f32[T,%lld], f32[T,%lld], f32[T,%lld])\n",
                      (long long)k, (long long)k / 32, (long long)k / 32, (long long)k / 16);
    for (int i = 1; i < 3 && w->width; i++)
        rlx_text_putf(&w->e.text, "    %%x_%s = cast %%x : %s[T,%lld]\n", floats[i], floats[i],
                      (long long)k);
    for (int i = 0; i < 3; i++)
        put_contraction(w, i, n[i], k, format[i]);
    rlx_text_putf(&w->e.text, "    %%m = map %%c0, %s {fn=mul} : f32[T,%lld]\n", w->shallow ? "%r" : "%c1", (long long)n[0]);
    rlx_text_putf(&w->e.text, "    %%y = map %%m, %%r {fn=add} : f32[T,%lld]\n", (long long)n[0]);
    rlx_text_putf(&w->e.text, "    %%h = reshape %%c2 : f32[T,%lld,%lld]\n", (long long)heads, (long long)(2 * half));
    for (int i = 0; i < 2; i++)
        rlx_text_putf(&w->e.text, "    %%h%d = slice %%h {axis=2, start=%lld, size=%lld} : f32[T,%lld,%lld]\n", i,
                      (long long)(i * half), (long long)half, (long long)heads, (long long)half);
    rlx_text_putf(&w->e.text, "    %%z = concat %%h1, %%h0 {axis=2} : f32[T,%lld,%lld]\n", (long long)heads, (long long)(2 * half));
    rlx_text_putf(&w->e.text, "    %%zz = reshape %%z : f32[T,%lld]\n    return %%y, %%zz\n  }\n}\n", (long long)n[2]);
    ck_assert(!w->e.text.oom);
}

/* Whether a case is compiled, which takes longer than all the rest: for this machine, or another. */
static bool compiles(world *w, int number, bool *wide)
{
    rlx_jit_target own[2];
    int which = number % (2 * CODE_EVERY);
    cpu_targets(own);
    *wide = which == 5 || which == 10 || (number % CODE_EVERY != 0 && pick(w, 2));
    w->e.code = which == 5    ? emulated_target("x86-64-v4+avx512vnni+avx512bf16")
              : which == 10 ? emulated_target("x86-64-v4+amx-int8+amx-bf16")
                            : own[0];
    return number % CODE_EVERY == 0 || which == 5 || which == 10;
}

static const int widths[3] = {0, 2, 32};
enum { CHUNK = 16 }; /* of a GPU's */

/* A case's module with its tensors; whether it is compiled, and for which vectors. */
static rlx_ir_module *make_case(world *w, int number, rlx_dims *dims, bool *code, bool *wide)
{
    rlx_ir_module *mir;
    w->e.seed = (uint64_t)number * 77 + 5;
    *code = compiles(w, number, wide);
    w->turned = number >= PANELS && number < PANELS + TURNED;
    w->streamed = number >= ON_CPUS - STREAMED && number < ON_CPUS;
    w->packed = number >= PANELS + TURNED + COLUMNS && number < ON_CPUS - STREAMED;
    w->shallow = w->packed && number >= PANELS + TURNED + COLUMNS + PACKED;
    w->columns = number >= PANELS + TURNED && number < ON_CPUS && !w->packed && !w->streamed;
    w->width = number >= ON_CPUS                    ? CHUNK
               : number % 5 == 0 && number < PANELS ? widths[number / 5 % 3]
                                                    : 0;
    w->apart = number == 2 * CODE_EVERY;
    w->half = number < ON_CPUS || number % 3 == 0 ? "bf16" : number % 3 == 1 ? "f16" : NULL;
    make_text(w, !w->columns && !w->packed && !w->streamed && number < ON_CPUS && (w->turned || number % 5 != 0));
    w->rows = pick(w, 3) ? 1 + (int64_t)pick(w, 40) : 1 + (int64_t)pick(w, 4);
    if (w->packed) { /* as many rows are by narrow registers */
        w->rows += 56;
        *wide = false;
    }
    w->upper = w->rows + (int64_t)pick(w, 30);
    if (w->streamed) { /* as prompts of many rows are, by wide registers */
        w->upper += 256;
        *wide = true;
    }
    engines_must(rlx_ir_parse(&rlx_mir_level, dims, "panels", w->e.text.data, &mir), &w->e);
    w->e.symbols[rlx_dim_symbol_index(dims, "T")] = w->rows;
    engines_make_tensors(&w->e, mir);
    engines_must(rlx_mir_optimize(mir), &w->e);
    *code |= w->columns && w->rows == 2; /* which streams weights */
    return mir;
}

static rlx_ir_module *lower(world *w, const rlx_ir_module *mir, rlx_dims *dims, bool wide)
{
    rlx_ir_module *lir;
    rlx_lir_target target = engines_target(&w->e, wide);
    if (w->turned && pick(w, 4)) /* else there is not always room for the rows */
        target.team_bytes = 256 << 10;
    if (w->columns) {
        target.team_bytes = 256 << 10;
        target.l1_bytes = 1 << (9 + pick(w, 4));
    }
    if (w->packed) { /* a few rows, but six column tiles */
        target.l1_bytes = 16 << 10;
        target.l2_bytes = 16 << (10 + pick(w, 2));
        target.threads = 1 + (pick(w, 4) == 0);
    }
    if (w->streamed)
        target.l2_bytes = 64 << (10 + pick(w, 4));
    int64_t upper[RLX_MAX_SYMBOLS] = {0};
    upper[rlx_dim_symbol_index(dims, "T")] = w->upper;
    engines_must(rlx_mir_lower(mir, &(rlx_mir_lower_options){.target = &target, .upper = upper}, &lir), &w->e);
    return lir;
}

static bool has_text(const rlx_ir_module *lir, const char *what)
{
    rlx_text text = {0};
    rlx_ir_print(lir, 0, &text);
    const bool found = strstr(text.data, what) != NULL;
    rlx_text_deinit(&text);
    return found;
}

/* The same module for a GPU with a matrix unit, AMD's or sm_80: on the interpreter; as a host team's code, whose
 * mma.sync, MFMA or WMMA is emulated, and as the GPU's. */
static void compare_matrix(world *w, const rlx_ir_module *mir, rlx_dims *dims, const rlx_eval_tensor *want, const char *amd,
                           bool code, bool few)
{
    enum { FEW_BYTES = 3 << 10, FEW_ROWS = 4 }; /* in which a head's columns leave room for fewer rows than a fragment has */
    const rlx_jit_target gpu = {.kind = amd ? RLX_JIT_AMDGPU : RLX_JIT_NVPTX, .processor = amd ? amd : "sm_80"};
    const rlx_jit_target own = w->e.code;
    rlx_lir_target target;
    rlx_ir_module *lir;
    int64_t upper[RLX_MAX_SYMBOLS] = {0};
    upper[rlx_dim_symbol_index(dims, "T")] = w->upper;
    engines_must(rlx_jit_lir_target(&gpu, &target), &w->e);
    if (few)
        target.team_bytes = FEW_BYTES;
    engines_must(rlx_mir_lower(mir, &(rlx_mir_lower_options){.target = &target, .upper = upper}, &lir), &w->e);
    ck_assert(!few || w->upper <= FEW_ROWS || has_text(lir, " block 8x"));
    ck_assert(has_text(lir, w->width ? " = contract_rows " : " = dot_rows "));
    engines_compare(&w->e, lir, want, 2, false);
    if (code) {
        w->e.code = amd ? emulated_amd_target(amd, RLX_JIT_DEFAULT_TEAM) : emulated_gpu_target(RLX_JIT_DEFAULT_TEAM);
        engines_compare(&w->e, lir, want, 2, true);
        w->e.code = own;
    }
    for (const rlx_ir_func *f = lir->first; f && code; f = f->next) {
        uint8_t *text;
        size_t bytes;
        if (!f->is_kernel)
            continue;
        engines_must(rlx_jit_emit_kernel(f, &gpu, &text, &bytes), &w->e);
        free(text);
    }
    rlx_ir_module_destroy(lir);
}

/* AMD's that multiply f16 and bf16, and by which case of CHUNKS: of bf16, of f16, of f16. */
static const struct {
    int number;
    const char *processor;
} amd_units[] = {{1, "gfx942"}, {5, "gfx1100"}, {8, "gfx1200"}};

START_TEST(panels_are_the_same_everywhere)
{
    world w = {0};
    bool wide, code;
    rlx_dims *dims = rlx_dims_create();
    rlx_ir_module *mir = make_case(&w, _i, dims, &code, &wide);
    rlx_eval_env env = {.find = engines_find, .user = &w.e, .symbols = w.e.symbols};
    rlx_eval_tensor want[2];
    engines_must(rlx_mir_eval(mir, "main", &env, want, 2), &w.e);
    rlx_ir_module *lir = _i < ON_CPUS ? lower(&w, mir, dims, wide) : NULL;
    ck_assert(!w.apart || has_text(lir, "i8[T,1088]"));
    if (lir)
        engines_compare(&w.e, lir, want, 2, false);
    if (lir && code) {
        w.e.uncut = _i == CODE_EVERY;
        engines_compare(&w.e, lir, want, 2, true);
        if (_i % CODE_EVERY == 0 && _i < PANELS) /* weights by panels: in every format there are loops to be cut out */
            ck_assert_msg(w.e.uncut == !w.e.parts, "%d parts", w.e.parts);
    }
    if ((_i % 5 != 0 && _i < PANELS) || !lir)
        compare_matrix(&w, mir, dims, want, NULL, _i == 1 || _i == 49 || _i == ON_CPUS,
                       _i % 4 == 1 && _i != 49);
    for (size_t i = 0; i < sizeof amd_units / sizeof *amd_units; i++)
        if (_i == ON_CPUS + amd_units[i].number)
            compare_matrix(&w, mir, dims, want, amd_units[i].processor, true, false);
    for (int i = 0; i < 2; i++)
        free(want[i].data);
    rlx_ir_module_destroy(lir);
    rlx_ir_module_destroy(mir);
    rlx_dims_destroy(dims);
    engines_deinit(&w.e);
}
END_TEST

/* Whether a kernel of packed rows has no sums in team memory: nothing but panels and rows. */
static bool stores_packed_tiles(const rlx_ir_module *lir)
{
    bool found = false;
    for (const rlx_ir_func *f = lir->first; f; f = f->next) {
        const rlx_attr *schedule = rlx_ir_func_attr(f, RLX_ATTR_SCHEDULE);
        int allocs = 0;
        if (!schedule || !strstr(schedule->text, " packed by 4"))
            continue;
        for (const rlx_ir_node *n = f->body->first; n; n = n->next)
            allocs += n->op == RLX_LIR_ALLOC;
        found |= allocs == 2;
    }
    return found;
}

static const struct {
    int first, count;
    const char *text, *what; /* NULL: packed, with tiles that are stored as they are made */
    int least, least_compiled, least_few;
} ways[] = {{PANELS, TURNED, " = turn ", "turned", 20, 2, 0}, {PANELS + TURNED, COLUMNS, " panel ", "by columns", 16, 4, 4},
            {PANELS + TURNED + COLUMNS, PACKED, " blocks packed by 4", "packed", 10, 2, 0},
            {PANELS + TURNED + COLUMNS + PACKED, SHORT, NULL, "packed and shallow", 10, 1, 0},
            {ON_CPUS - STREAMED, STREAMED, " streamed", "streamed", 12, 1, 0}};
enum { WAYS = sizeof ways / sizeof *ways };

/* Nearly all of the cases that may be turned, or go by columns, do, most of those that may be packed; some of
 * them are compiled. Blocks of columns that have three live rows or fewer stream weights. */
START_TEST(cases_go_their_way)
{
    int done = 0, compiled = 0, few = 0;
    for (int i = ways[_i].first; i < ways[_i].first + ways[_i].count; i++) {
        world w = {0};
        bool wide, code;
        rlx_dims *dims = rlx_dims_create();
        rlx_ir_module *mir = make_case(&w, i, dims, &code, &wide), *lir = lower(&w, mir, dims, wide);
        const bool is = ways[_i].text ? has_text(lir, ways[_i].text) : stores_packed_tiles(lir);
        done += is;
        compiled += is && code;
        few += is && w.rows <= 3;
        rlx_ir_module_destroy(lir);
        rlx_ir_module_destroy(mir);
        rlx_dims_destroy(dims);
        engines_deinit(&w.e);
    }
    printf("%d of %d cases are %s, %d of them compiled, %d have three live rows or fewer\n", done, ways[_i].count, ways[_i].what,
           compiled, few);
    ck_assert_int_ge(done, ways[_i].least);
    ck_assert_int_ge(compiled, ways[_i].least_compiled);
    ck_assert_int_ge(few, ways[_i].least_few);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("panel");
    TCase *c = tcase_create("random");
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, panels_are_the_same_everywhere, 0, CASES);
    tcase_add_loop_test(c, cases_go_their_way, 0, WAYS);
    suite_add_tcase(s, c);
    return run_suite(s, CASES + WAYS);
}
