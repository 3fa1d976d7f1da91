/* Products of 512 tokens, and of few of a prompt, as code for AMD's GPUs: of codes by matrix units, and by words of four as the
 * rows behind a selection are multiplied; of f16 and bf16 by matrix units, and in f32; one matrix, and two that go
 * together. No register is spilled, of any format; nothing lies in accumulators, and
 * matrix instructions are as many as fragments want: of f16 and bf16 none on gfx90a.
 * RLX_PRINT_COUNTS=1 prints the table of bench/results/2026-11-30-gpu-kernels.md. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/rlx.h"
#include "runtime/base/format.h"
#include "tests/runtime/suite.h"

enum { WIDTH = 2048, HEAD = 128, TEAM = 128, ROWS = 64 };
/* Of a prompt; the first are those of the table. Steps of fewer rows are longer. */
static const int buckets[] = {512, 32, 16};
enum { BUCKETS = sizeof buckets / sizeof *buckets };

static const struct {
    const char *name, *matrix, *floats; /* the instruction; that of f16 and bf16 */
    int fragments, halves;              /* of a wave; instructions for 32 elements of codes */
} processors[] = {{"gfx90a", "\tv_mfma_i32_16x16x16", NULL, 8, 2},
                  {"gfx942", "\tv_mfma_i32_16x16x32", "\tv_mfma_f32_16x16x16_", 8, 1},
                  {"gfx1100", "\tv_wmma_i32_16x16x16_iu8", "\tv_wmma_f32_16x16x16_", 4, 2},
                  {"gfx1200", "\tv_wmma_i32_16x16x16_iu8", "\tv_wmma_f32_16x16x16_", 4, 2}};
enum { PROCESSORS = sizeof processors / sizeof *processors };

static const struct {
    rlx_format format;
    const char *name;
    int group;
    bool two; /* gate and up, in one kernel */
} cases[] = {
    {RLX_Q8_0, "q8_0", 32, false}, {RLX_Q4_0, "q4_0", 32, false}, {RLX_Q4_K, "q4_k", 32, false},
    {RLX_Q6_K, "q6_k", 16, false}, {RLX_Q8_0, "q8_0", 32, true},  {RLX_Q4_K, "q4_k", 32, true},
    {RLX_Q6_K, "q6_k", 16, true},  {RLX_F16, "f16", 16, false},   {RLX_BF16, "bf16", 16, false},
    {RLX_BF16, "bf16", 16, true},  {RLX_F16, "f16", 16, true}};
enum { CASES = sizeof cases / sizeof *cases };

static bool is_float(int number)
{
    return rlx_format_get(cases[number].format)->kind == RLX_KIND_FLOAT;
}

static const char *matrix_of(int number, int processor)
{
    return is_float(number) ? processors[processor].floats : processors[processor].matrix;
}

/* ---- assembly ---- */

/* The line after p's. */
static const char *after(const char *p)
{
    p = strchr(p, '\n');
    return p ? p + 1 : NULL;
}

static bool begins(const char *line, const char *word)
{
    return strncmp(line, word, strlen(word)) == 0;
}

static bool is_instruction(const char *line)
{
    return line[0] == '\t' && line[1] >= 'a' && line[1] <= 'z';
}

/* From the line of a label to the last branch back to it before `stop`; NULL: there is none. */
static const char *loop_end(const char *label, const char *stop)
{
    const size_t n = strcspn(label, ":");
    const char *end = NULL;
    for (const char *p = after(label); p && p < stop; p = after(p)) {
        const char *to =
            begins(p, "\ts_cbranch") || begins(p, "\ts_branch") ? strstr(p, ".LBB") : NULL;
        if (to && to < strchr(p, '\n') && !strncmp(to, label, n) && to[n] == '\n')
            end = p;
    }
    return end;
}

/* Instructions of a loop's body, those of loops inside `times` times. */
static int count_loop(const char *p, const char *end, int times)
{
    int n = 0;
    for (p = after(p); p && p <= end; p = after(p)) {
        const char *inner = begins(p, ".LBB") ? loop_end(p, end) : NULL;
        if (inner) {
            for (; p < inner; p = after(p))
                n += times * is_instruction(p);
        }
        n += is_instruction(p);
    }
    return n;
}

/* The last loop with a barrier that has no such loop inside: a step of K. */
static int count_step(const char *text, const char *stop, int times)
{
    const char *label = NULL, *last = NULL;
    for (const char *p = text; p && p < stop; p = after(p)) {
        const char *end = begins(p, ".LBB") ? loop_end(p, stop) : NULL;
        const char *barrier = end ? strstr(p, "\ts_barrier") : NULL;
        if (barrier && barrier < end) {
            label = p;
            last = end;
        }
    }
    return label ? count_loop(label, last, times) : 0;
}

static int64_t noted(const char *text, const char *key)
{
    const char *p = strstr(text, key);
    ck_assert_msg(p != NULL, "no %s", key);
    return strtoll(p + strlen(key), NULL, 10);
}

/* ---- a kernel ---- */

typedef struct facts {
    int64_t vgprs, spills, team_bytes;
    int matrix, instructions,
        products; /* of a wave; of a step; multiply-adds of an invocation in a step */
} facts;

static facts look_at(const char *text, int number, int tokens, int processor, bool unit)
{
    const int rows = unit ? tokens < ROWS ? tokens : ROWS : 8, columns = unit ? 64 : 16;
    char tile[32];
    snprintf(tile, sizeof tile, unit ? "__m%dn%dk" : "m%dn%dk", rows, columns);
    const char *stop = strstr(text, "s_endpgm"), *step = strstr(text, tile);
    facts f = {.vgprs = noted(text, ".vgpr_count:"),
               .spills = noted(text, ".vgpr_spill_count:") + noted(text, ".sgpr_spill_count:"),
               .team_bytes = noted(text, ".group_segment_fixed_size:")};
    ck_assert(stop != NULL && step != NULL);
    const int k = atoi(step + strlen(tile));
    f.products = rows * columns * k / TEAM * (cases[number].two ? 2 : 1);
    f.instructions = count_step(text, stop, unit ? k / cases[number].group : 1);
    const char *matrix = matrix_of(number, processor);
    for (const char *p = text; matrix && (p = strstr(p, matrix)) && p < stop; p++)
        f.matrix++;
    return f;
}

/* The first kernel of the text that multiplies codes. */
static facts check_text(char *text, int number, int tokens, int processor, bool unit)
{
    char *kernel = strstr(text, "_contract_");
    ck_assert_ptr_nonnull(kernel);
    ck_assert(!unit || !strstr(text, "accvgpr"));
    return look_at(kernel, number, tokens, processor, unit);
}

/* Kernels of prompts by a processor's code, to be freed. `names` of weights [WIDTH,WIDTH]. */
static char *inspect(rlx_context *cx, const rlx_flow *f, const char *const *names, int n,
                     rlx_format format, rlx_phase phase, int tokens, int processor)
{
    const rlx_bucket bucket = {"TOKENS", tokens};
    const rlx_compile_options o = {.buckets = &bucket,
                                   .nbuckets = 1,
                                   .precision = RLX_FAST,
                                   .phase = phase,
                                   .kv_key_format = RLX_F32, /* whose attention is no unit's */
                                   .kv_value_format = RLX_F32};
    const size_t bytes = (size_t)rlx_format_bytes(format, (int64_t)WIDTH * WIDTH);
    void *zeros = calloc(1, bytes);
    char level[32], *text;
    rlx_weights *w;
    ck_assert_ptr_nonnull(zeros);
    EXPECT_OK(rlx_weights_create(&w));
    for (int i = 0; i < n; i++)
        EXPECT_OK(rlx_weights_add(w, &(rlx_tensor){.name = names[i],
                                                   .format = format,
                                                   .rank = 2,
                                                   .dim = {WIDTH, WIDTH},
                                                   .data = zeros,
                                                   .bytes = bytes}));
    snprintf(level, sizeof level, "amdgcn@hip:%s", processors[processor].name);
    EXPECT_OK(rlx_flow_inspect(cx, f, w, &o, level, &text));
    rlx_weights_destroy(w);
    free(zeros);
    return text;
}

static rlx_flow *make_flow(bool two)
{
    rlx_flow *f;
    EXPECT_OK(rlx_flow_create("codes", &f));
    rlx_flow_input(f, "x", RLX_F32, 2, (int64_t[]){rlx_flow_symbol(f, "TOKENS"), WIDTH});
    if (two)
        rlx_flow_swiglu(f, "w", "u", "d");
    else
        rlx_flow_linear(f, "w", NULL);
    rlx_flow_output(f, "y");
    return f;
}

static facts compile(rlx_context *cx, int number, int tokens, int processor, bool unit)
{
    static const char *const names[] = {"w", "u", "d"};
    rlx_flow *f = make_flow(cases[number].two);
    char *text = inspect(cx, f, names, cases[number].two ? 3 : 1, cases[number].format,
                         unit ? RLX_PREFILL : RLX_DECODE, tokens, processor);
    const facts found = check_text(text, number, tokens, processor, unit);
    free(text);
    rlx_flow_destroy(f);
    return found;
}

static void print_row(const facts *f, int number, int processor, const char *by)
{
    printf("| %s%s | %s | %s | %d | %d | %.2f | %lld | %lld | %lld |\n", cases[number].name,
           cases[number].two ? ", gate and up" : "", processors[processor].name, by, f->products,
           f->instructions, (double)f->instructions / f->products, (long long)f->vgprs,
           (long long)f->spills, (long long)f->team_bytes);
}

static void check_unit(const facts *f, int number, int tokens, int processor)
{
    const int halves =
        is_float(number) || cases[number].group == 16 ? 1 : processors[processor].halves;
    const int fragments = processors[processor].fragments * (cases[number].two ? 2 : 1);
    const int rows = tokens < ROWS ? tokens : ROWS;
    ck_assert_int_eq(f->matrix, fragments * halves * rows / ROWS);
    ck_assert_int_gt(f->instructions, 0);
    ck_assert_msg(!f->spills, "%s of %d tokens for %s spills %lld registers", cases[number].name,
                  tokens, processors[processor].name, (long long)f->spills);
}

static void check_words(const facts *f, int number, int processor)
{
    ck_assert_int_eq(f->matrix, 0);
    ck_assert_int_gt(f->instructions, 0);
    ck_assert_msg(!f->spills, "%s for %s spills %lld registers", cases[number].name,
                  processors[processor].name, (long long)f->spills);
}

static void check_case(rlx_context *cx, int number, int processor, bool prints)
{
    const facts words = compile(cx, number, buckets[0], processor, false);
    if (prints)
        print_row(&words, number, processor, is_float(number) ? "f32" : "bytes");
    check_words(&words, number, processor);
    for (int i = 0; matrix_of(number, processor) && i < BUCKETS; i++) {
        const facts f = compile(cx, number, buckets[i], processor, true);
        if (prints && i == 0)
            print_row(&f, number, processor, "matrix unit");
        check_unit(&f, number, buckets[i], processor);
    }
}

/* Each case for one processor; to print, all for all. */
START_TEST(products)
{
    const bool prints = getenv("RLX_PRINT_COUNTS");
    rlx_context *cx;
    EXPECT_OK(rlx_context_create(&(rlx_context_options){.no_cache = true}, &cx));
    for (int i = 0; i < CASES; i++)
        for (int p = 0; p < PROCESSORS; p++)
            if (prints || p == i % PROCESSORS)
                check_case(cx, i, p, prints);
    rlx_context_destroy(cx);
}
END_TEST

static void check_format(rlx_context *cx, const rlx_flow *f, rlx_format format, int processor)
{
    enum { ROWS_TOGETHER = 8 };
    static const char *const names[] = {"w", "u", "d"};
    char *text = inspect(cx, f, names, 3, format, RLX_DECODE, ROWS_TOGETHER, processor);
    int kernels = 0;
    for (const char *k = text; (k = strstr(k, ".private_segment_fixed_size:")); kernels++, k++)
        ck_assert_msg(noted(k, ":") + noted(k, ".vgpr_spill_count:") == 0, "%s for %s spills",
                      rlx_format_get(format)->name, processors[processor].name);
    ck_assert_int_ge(kernels, 2);
    free(text);
}

/* Eight rows that decode together, by two matrices at once and by one, in every block format. */
START_TEST(rows_of_blocks)
{
    enum { LEAST = 20 };
    int formats = 0;
    rlx_context *cx;
    EXPECT_OK(rlx_context_create(&(rlx_context_options){.no_cache = true}, &cx));
    rlx_flow *f = make_flow(true);
    for (int i = RLX_FORMAT_NONE + 1; i < RLX_FORMAT_COUNT; i++) {
        if (rlx_format_get((rlx_format)i)->kind != RLX_KIND_BLOCK)
            continue;
        for (int p = 0; p < PROCESSORS; p++)
            check_format(cx, f, (rlx_format)i, p);
        formats++;
    }
    ck_assert_int_ge(formats, LEAST);
    rlx_flow_destroy(f);
    rlx_context_destroy(cx);
}
END_TEST

static void attend(rlx_flow *f, int64_t index, void *user)
{
    (void)index;
    (void)user;
    rlx_flow_self_attention(f, &(rlx_attention_spec){.q_key = "q",
                                                     .k_key = "k",
                                                     .v_key = "v",
                                                     .heads = WIDTH / HEAD,
                                                     .kv_heads = WIDTH / HEAD,
                                                     .head_dim = HEAD});
}

/* Queries and keys are rotated head by head, out of the sums. Nothing spills there either. */
START_TEST(heads)
{
    static const char *const names[] = {"q", "k", "v"};
    static const rlx_format formats[] = {RLX_BF16, RLX_F16, RLX_BF16};
    rlx_context *cx;
    rlx_flow *f;
    EXPECT_OK(rlx_context_create(&(rlx_context_options){.no_cache = true}, &cx));
    EXPECT_OK(rlx_flow_create("heads", &f));
    const int64_t tokens = rlx_flow_symbol(f, "TOKENS");
    rlx_flow_input(f, "x", RLX_F32, 2, (int64_t[]){tokens, WIDTH});
    rlx_flow_input(f, "rope_cos", RLX_F32, 2, (int64_t[]){tokens, HEAD / 2});
    rlx_flow_input(f, "rope_sin", RLX_F32, 2, (int64_t[]){tokens, HEAD / 2});
    rlx_flow_repeat_layers(f, 1, attend, NULL);
    rlx_flow_output(f, "y");
    for (int p = 1; p < PROCESSORS; p++) {
        char *text = inspect(cx, f, names, 3, formats[p - 1], RLX_PREFILL, buckets[0], p);
        int kernels = 0;
        for (const char *k = text; (k = strstr(k, processors[p].floats)); kernels++) {
            ck_assert_int_eq(noted(k, ".vgpr_spill_count:") + noted(k, ".sgpr_spill_count:"), 0);
            k = strstr(k, ".vgpr_spill_count:");
        }
        ck_assert_int_eq(kernels, 3);
        ck_assert_ptr_null(strstr(text, "accvgpr"));
        free(text);
    }
    rlx_flow_destroy(f);
    rlx_context_destroy(cx);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("amd codes");
    SUITE_TEST(s, "products", products);
    SUITE_TEST(s, "rows of blocks", rows_of_blocks);
    SUITE_TEST(s, "heads", heads);
    return suite_run(s, 3);
}
