/* Quantized rows and integer products against f64: every block format, both orders of sums. */
#include <math.h>

#include "tests/mir/world.h"

enum { ROWS = 3, COLUMNS = 5 };

static const rlx_format formats[] = {RLX_Q8_0, RLX_Q4_0, RLX_Q4_1, RLX_Q5_0,
                                     RLX_Q5_1, RLX_Q4_K, RLX_Q5_K, RLX_Q6_K};
enum { FORMATS = sizeof formats / sizeof *formats, CASES = 2 * FORMATS };

/* Rows of mixed magnitude: an outlier in each group, a group of zeros, a group of tiny numbers. */
static void fill_rows(rlx_eval_tensor *x, int64_t n, uint64_t seed)
{
    for (int64_t i = 0; i < n; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        double v = (double)(seed >> 40) / (1 << 23) - 1;
        if (i / 32 % 5 == 1)
            v = 0;
        if (i / 32 % 5 == 2)
            v *= 1e-20;
        if (i % 32 == 7)
            v *= 9;
        rlx_format_store(RLX_F32, x->data, i, v);
    }
}

START_TEST(codes_are_within_half_a_step)
{
    enum { K = 320 };
    world w;
    world_open(&w,
               "mir module @t { func @main(%x: f32[T,320] input \"x\") -> (i8[T,320], f32[T,10], "
               "f32[T,10], f32[T,20]) {\n"
               "%c, %s, %t, %u = quantize %x : (i8[T,320], f32[T,10], f32[T,10], f32[T,20])\n"
               "return %c, %s, %t, %u\n}\n}\n");
    world_symbol(&w, "T", ROWS);
    rlx_eval_tensor *x = world_tensor(&w, "x", RLX_F32, SHAPE(ROWS, K));
    fill_rows(x, ROWS * K, 1);
    rlx_eval_tensor y[4];
    assert_ok(rlx_mir_eval(w.module, "main", &w.env, y, 4));
    for (int64_t g = 0; g < ROWS * K / 32; g++) {
        double most = 0, sum[2] = {0};
        for (int64_t i = 32 * g; i < 32 * g + 32; i++)
            most = fmax(most, fabs(f32_at(x, i)));
        double scale = f32_at(&y[1], g);
        ck_assert(fabs(scale - most / 127) <= 1e-6 * most);
        for (int64_t i = 32 * g; i < 32 * g + 32; i++) {
            int code = ((int8_t *)y[0].data)[i];
            ck_assert_int_le(abs(code), 127);
            ck_assert(fabs(scale * code - f32_at(x, i)) <= 0.50001 * scale);
            sum[i / 16 % 2] += scale * code;
        }
        for (int h = 0; h < 2; h++)
            ck_assert(fabs(f32_at(&y[3], 2 * g + h) - sum[h]) <= 1e-6 * most * 16);
        ck_assert(fabs(f32_at(&y[2], g) - sum[0] - sum[1]) <= 1e-6 * most * 32);
    }
    for (int i = 0; i < 4; i++)
        free(y[i].data);
    world_close(&w);
}
END_TEST

/* What rounding to codes costs at most: half a step of every product, beside the f32 sums. */
static double bound(const float *x, const float *weight, int64_t k)
{
    double bound = 0, all = 0;
    for (int64_t g = 0; g < k; g += 32) {
        double most = 0, weights = 0;
        for (int64_t i = g; i < g + 32; i++) {
            most = fmax(most, fabs((double)x[i]));
            weights += fabs((double)weight[i]);
            all += fabs((double)x[i] * (double)weight[i]);
        }
        bound += 0.501 * most / 127 * weights;
    }
    return bound + 1e-5 * all;
}

/* contract of f32 rows with a weight in blocks, as `precision` has it, against f64. */
START_TEST(products_are_within_their_bound)
{
    rlx_format f = formats[_i / 2];
    rlx_mir_precision precision = _i % 2 ? RLX_MIR_DECODE : RLX_MIR_PREFILL;
    const char *name = rlx_format_get(f)->name;
    int64_t k = rlx_format_get(f)->block_elems == 256 ? 768 : 320;
    char text[512];
    snprintf(
        text, sizeof text,
        "mir module @t { func @main(%%x: f32[T,%lld] input \"x\", %%w: %s[5,%lld] weight \"w\")"
        " -> (f32[T,5]) {\n%%1 = cast %%w : f32[5,%lld]\n"
        "%%2 = contract %%x, %%1 {lanes=16} : f32[T,5]\nreturn %%2\n}\n}\n",
        (long long)k, name, (long long)k, (long long)k);
    world w;
    world_open(&w, text);
    world_symbol(&w, "T", ROWS);
    rlx_eval_tensor *x = world_tensor(&w, "x", RLX_F32, SHAPE(ROWS, k));
    rlx_eval_tensor *b = world_tensor(&w, "w", f, SHAPE(COLUMNS, k));
    fill_rows(x, ROWS * k, 7 + (uint64_t)_i);
    rlx_format_make_blocks(f, b->data, COLUMNS * k, 99 + (uint64_t)_i);
    float *weight = malloc((size_t)(COLUMNS * k) * sizeof *weight);
    rlx_format_decode(f, b->data, 0, COLUMNS * k, weight);
    assert_ok(rlx_mir_choose_precision(w.module, precision, NULL));
    int found = 0;
    for (const rlx_ir_node *n = w.module->first->body->first; n; n = n->next)
        found += n->op == RLX_MIR_CONTRACT_Q;
    ck_assert_int_eq(found, 1);
    rlx_eval_tensor y = world_run(&w);
    int rounded = 0;
    for (int64_t t = 0; t < ROWS; t++)
        for (int64_t n = 0; n < COLUMNS; n++) {
            const float *row = (float *)x->data + t * k, *column = weight + n * k;
            double want = 0, got = f32_at(&y, t * COLUMNS + n);
            for (int64_t i = 0; i < k; i++)
                want += (double)row[i] * (double)column[i];
            ck_assert_msg(fabs(got - want) <= bound(row, column, k), "%s (%lld,%lld): %g for %g",
                          name, (long long)t, (long long)n, got, want);
            rounded += fabs(got - want) > 1e-6 * fabs(want);
        }
    ck_assert_int_gt(rounded, 0); /* it did go by codes */
    free(y.data);
    free(weight);
    world_close(&w);
}
END_TEST

static const rlx_lir_target bf16_targets[] = {{.bf16_width = 2}, {.bf16_width = 32}};

/* Rows rounded to bf16, 8 bits of them, by weights of bf16: against f64. */
START_TEST(bf16_products_are_within_their_bound)
{
    enum { K = 75 };
    static const char text[] =
        "mir module @t { func @main(%x: f32[T,75] input \"x\", %w: bf16[5,75] weight \"w\")"
        " -> (f32[T,5]) {\n%1 = cast %w : f32[5,75]\n"
        "%2 = contract %x, %1 {lanes=16} : f32[T,5]\nreturn %2\n}\n}\n";
    world w;
    world_open(&w, text);
    world_symbol(&w, "T", ROWS);
    rlx_eval_tensor *x = world_tensor(&w, "x", RLX_F32, SHAPE(ROWS, K));
    rlx_eval_tensor *b = world_tensor(&w, "w", RLX_BF16, SHAPE(COLUMNS, K));
    fill_rows(x, ROWS * K, 5);
    for (int64_t i = 0; i < COLUMNS * K; i++)
        rlx_format_store(RLX_BF16, b->data, i, sin((double)i));
    assert_ok(rlx_mir_choose_precision(w.module, RLX_MIR_PREFILL, &bf16_targets[_i]));
    rlx_eval_tensor y = world_run(&w);
    int rounded = 0;
    for (int64_t t = 0; t < ROWS; t++)
        for (int64_t n = 0; n < COLUMNS; n++) {
            double want = 0, all = 0, got = f32_at(&y, t * COLUMNS + n);
            for (int64_t i = 0; i < K; i++) {
                double term =
                    (double)f32_at(x, t * K + i) * rlx_format_load(RLX_BF16, b->data, n * K + i);
                want += term;
                all += fabs(term);
            }
            ck_assert_msg(fabs(got - want) <= (0x1p-8 + 1e-5) * all, "(%lld,%lld): %g for %g",
                          (long long)t, (long long)n, got, want);
            rounded += fabs(got - want) > 1e-5 * all;
        }
    ck_assert_int_gt(rounded, 0);
    free(y.data);
    world_close(&w);
}
END_TEST

/* Rows that are rounded to bf16 are rounded once, in prefill alone, and for weights of bf16 alone.
 */
START_TEST(targets_choose_bf16)
{
    static const char text[] =
        "mir module @t { func @main(%x: f32[T,64] input \"x\", %r: f32[ROWS,64] input \"r\", "
        "%a: bf16[5,64] weight \"a\", %b: bf16[6,64] weight \"b\", %c: f16[5,64] weight \"c\") "
        "-> (f32[T,5], f32[T,6], f32[T,5], f32[ROWS,5]) {\n"
        "%1 = cast %a : f32[5,64]\n%2 = contract %x, %1 {lanes=16} : f32[T,5]\n"
        "%3 = cast %b : f32[6,64]\n%4 = contract %x, %3 {lanes=16} : f32[T,6]\n"
        "%5 = cast %c : f32[5,64]\n%6 = contract %x, %5 {lanes=16} : f32[T,5]\n"
        "%7 = contract %r, %1 {lanes=16} : f32[ROWS,5]\n"
        "return %2, %4, %6, %7\n}\n}\n";
    for (int p = RLX_MIR_EXACT; p <= RLX_MIR_DECODE; p++) {
        world w;
        world_open(&w, text);
        assert_ok(rlx_mir_choose_precision(w.module, (rlx_mir_precision)p, &bf16_targets[_i]));
        int casts = 0, products = 0;
        for (const rlx_ir_node *n = w.module->first->body->first; n; n = n->next) {
            casts += n->op == RLX_MIR_CAST && n->out[0]->type.format == RLX_BF16;
            products += n->op == RLX_MIR_CONTRACT &&
                        rlx_ir_attr_int(n, RLX_ATTR_WIDTH, 0) == bf16_targets[_i].bf16_width;
        }
        ck_assert_int_eq(casts, p == RLX_MIR_PREFILL);
        ck_assert_int_eq(products, p == RLX_MIR_PREFILL ? 2 : 0);
        world_close(&w);
    }
}
END_TEST

/* A GPU with a matrix unit multiplies f16 and bf16 in prefill, of weights that no row chooses; each format's rows
 * are rounded once. */
START_TEST(gpus_choose_chunks)
{
    static const rlx_lir_target with = {.unit = RLX_UNIT_GPU, .float_matrix = {16, 8, 16, 32}},
                                without = {.unit = RLX_UNIT_GPU, .byte_matrix = {16, 8, 32, 32, false}};
    static const char text[] =
        "mir module @t { func @main(%x: f32[T,64] input \"x\", %r: f32[ROWS,64] input \"r\", "
        "%i: i32[T] input \"i\", %a: bf16[5,64] weight \"a\", %b: bf16[6,64] weight \"b\", "
        "%c: f16[5,64] weight \"c\", %d: f16[7,64] weight \"d\", %e: f32[5,64] weight \"e\", "
        "%f: f16[3,5,64] weight \"f\") "
        "-> (f32[T,5], f32[T,6], f32[T,5], f32[T,7], f32[T,5], f32[ROWS,5], f32[T,5]) {\n"
        "%1 = cast %a : f32[5,64]\n%2 = contract %x, %1 {lanes=16} : f32[T,5]\n"
        "%3 = cast %b : f32[6,64]\n%4 = contract %x, %3 {lanes=16} : f32[T,6]\n"
        "%5 = cast %c : f32[5,64]\n%6 = contract %x, %5 {lanes=16} : f32[T,5]\n"
        "%7 = cast %d : f32[7,64]\n%8 = contract %x, %7 {lanes=16} : f32[T,7]\n"
        "%9 = contract %x, %e {lanes=16} : f32[T,5]\n"
        "%10 = contract %r, %1 {lanes=16} : f32[ROWS,5]\n"
        "%11 = cast %f : f32[3,5,64]\n%12 = contract %x, %11, %i {lanes=16} : f32[T,5]\n"
        "return %2, %4, %6, %8, %9, %10, %12\n}\n}\n";
    for (int p = RLX_MIR_EXACT; p <= RLX_MIR_DECODE; p++)
        for (int unit = 0; unit < 2; unit++) {
            world w;
            world_open(&w, text);
            assert_ok(
                rlx_mir_choose_precision(w.module, (rlx_mir_precision)p, unit ? &with : &without));
            int rounded = 0, products = 0, others = 0;
            for (const rlx_ir_node *n = w.module->first->body->first; n; n = n->next) {
                rounded += n->op == RLX_MIR_CAST && n->out[0]->type.format != RLX_F32;
                products +=
                    n->op == RLX_MIR_CONTRACT && rlx_ir_attr_int(n, RLX_ATTR_WIDTH, 0) == 16;
                others += n->op == RLX_MIR_CONTRACT && rlx_ir_attr_int(n, RLX_ATTR_LANES, 0) == 16;
            }
            const bool by_unit = unit && p == RLX_MIR_PREFILL;
            ck_assert_int_eq(rounded, by_unit ? 2 : 0);
            ck_assert_int_eq(products, by_unit ? 4 : 0);
            ck_assert_int_eq(others, by_unit ? 3 : 7);
            world_close(&w);
        }
}
END_TEST

/* Rows beyond f16's range are held at its ends, where bf16 has them; NaNs stay. */
START_TEST(halves_are_held_in_range)
{
    enum { K = 20 };
    static const rlx_lir_target gpu = {.unit = RLX_UNIT_GPU, .float_matrix = {16, 8, 16, 32}};
    static const rlx_format halves[] = {RLX_F16, RLX_BF16};
    static const float x0[3] = {1e6f, -3e38f, NAN};
    for (int f = 0; f < 2; f++) {
        char text[256];
        world w;
        snprintf(
            text, sizeof text,
            "mir module @t { func @main(%%x: f32[T,20] input \"x\", %%w: %s[1,20] weight \"w\")"
            " -> (f32[T,1]) {\n%%1 = cast %%w : f32[1,20]\n"
            "%%2 = contract %%x, %%1 {lanes=16} : f32[T,1]\nreturn %%2\n}\n}\n",
            rlx_format_get(halves[f])->name);
        world_open(&w, text);
        world_symbol(&w, "T", 3);
        rlx_eval_tensor *x = world_tensor(&w, "x", RLX_F32, SHAPE(3, K));
        rlx_eval_tensor *b = world_tensor(&w, "w", halves[f], SHAPE(1, K));
        for (int i = 0; i < 3 * K; i++)
            ((float *)x->data)[i] = i % K ? 0 : x0[i / K];
        for (int i = 0; i < K; i++)
            rlx_format_store(halves[f], b->data, i, i ? 1 : 0.5);
        assert_ok(rlx_mir_choose_precision(w.module, RLX_MIR_PREFILL, &gpu));
        rlx_eval_tensor y = world_run(&w);
        for (int i = 0; i < 2; i++)
            if (halves[f] == RLX_F16)
                ck_assert(f32_at(&y, i) == copysignf(32752, x0[i]));
            else
                ck_assert(fabsf(f32_at(&y, i) - x0[i] / 2) <= 0x1p-8f * fabsf(x0[i]));
        ck_assert(isnan(f32_at(&y, 2)));
        free(y.data);
        world_close(&w);
    }
}
END_TEST

/* Nor is what others cast to f16 taken for such rows: out of range, or in another range. */
START_TEST(casts_of_others_are_not_taken)
{
    enum { K = 16 };
    static const rlx_lir_target gpu = {.unit = RLX_UNIT_GPU, .float_matrix = {16, 8, 16, 32}};
    world w;
    world_open(
        &w,
        "mir module @t { func @main(%x: f32[T,16] input \"x\", %w: f16[1,16] weight \"w\")"
        " -> (f32[T,1], f16[T,16], f16[T,16]) {\n"
        "%a = cast %x : f16[T,16]\n%hi = const {value=65504} : f32\n%lo = const {value=-1} : f32\n"
        "%l = map %hi, %x {fn=min} : f32[T,16]\n%h = map %lo, %l {fn=max} : f32[T,16]\n"
        "%b = cast %h : f16[T,16]\n%c = cast %w : f32[1,16]\n"
        "%y = contract %x, %c {lanes=16} : f32[T,1]\nreturn %y, %a, %b\n}\n}\n");
    world_symbol(&w, "T", 2);
    rlx_eval_tensor *x = world_tensor(&w, "x", RLX_F32, SHAPE(2, K));
    rlx_eval_tensor *b = world_tensor(&w, "w", RLX_F16, SHAPE(1, K));
    for (int i = 0; i < 2 * K; i++)
        ((float *)x->data)[i] = i % K ? 0 : i ? -1e6F : 1e6F;
    for (int i = 0; i < K; i++)
        rlx_format_store(RLX_F16, b->data, i, 0.5);
    assert_ok(rlx_mir_choose_precision(w.module, RLX_MIR_PREFILL, &gpu));
    rlx_eval_tensor y[3];
    assert_ok(rlx_mir_eval(w.module, "main", &w.env, y, 3));
    ck_assert(f32_at(&y[0], 0) == 32752);
    ck_assert(f32_at(&y[0], 1) == -32752);
    for (int i = 0; i < 3; i++)
        free(y[i].data);
    world_close(&w);
}
END_TEST

/* Shared rows are quantized once; exact changes nothing; float weights change their order alone. */
START_TEST(precision_chooses)
{
    static const char text[] =
        "mir module @t { func @main(%x: f32[T,64] input \"x\", %a: q4_0[5,64] weight \"a\", "
        "%b: q8_0[5,64] weight \"b\", %c: bf16[5,64] weight \"c\", %d: q8_0[64,96] weight \"d\") "
        "-> (f32[T,5], f32[T,5], f32[T,5]) {\n"
        "%1 = cast %a : f32[5,64]\n%2 = contract %x, %1 {lanes=16} : f32[T,5]\n"
        "%3 = cast %b : f32[5,64]\n%4 = contract %x, %3 {lanes=16} : f32[T,5]\n"
        "%5 = cast %c : f32[5,64]\n%6 = contract %x, %5 {lanes=16} : f32[T,5]\n"
        "return %2, %4, %6\n}\n}\n";
    static const int quantizes[] = {0, 1, 1}, exact_lanes[] = {16, 1, 16}, lanes[] = {0, 1, 8};
    for (int p = RLX_MIR_EXACT; p <= RLX_MIR_DECODE; p++) {
        world w;
        world_open(&w, text);
        assert_ok(rlx_mir_choose_precision(w.module, (rlx_mir_precision)p, NULL));
        int found = 0, contracts = 0;
        for (const rlx_ir_node *n = w.module->first->body->first; n; n = n->next) {
            found += n->op == RLX_MIR_QUANTIZE;
            contracts += n->op == RLX_MIR_CONTRACT;
            if (n->op == RLX_MIR_CONTRACT && n->in[1]->def->in[0]->type.format == RLX_BF16)
                ck_assert_int_eq(rlx_ir_attr_int(n, RLX_ATTR_LANES, 0), exact_lanes[p]);
            if (n->op == RLX_MIR_CONTRACT_Q)
                ck_assert_int_eq(rlx_ir_attr_int(n, RLX_ATTR_LANES, 0), lanes[p]);
        }
        ck_assert_int_eq(found, quantizes[p]);
        ck_assert_int_eq(contracts, p == RLX_MIR_EXACT ? 3 : 1);
        world_close(&w);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("mir_quantize");
    TCase *t = tcase_create("quantize");
    tcase_add_test(t, codes_are_within_half_a_step);
    tcase_add_loop_test(t, products_are_within_their_bound, 0, CASES);
    tcase_add_test(t, precision_chooses);
    tcase_add_loop_test(t, bf16_products_are_within_their_bound, 0, 2);
    tcase_add_loop_test(t, targets_choose_bf16, 0, 2);
    tcase_add_test(t, gpus_choose_chunks);
    tcase_add_test(t, halves_are_held_in_range);
    tcase_add_test(t, casts_of_others_are_not_taken);
    suite_add_tcase(s, t);
    return run_suite(s, CASES + 9);
}
