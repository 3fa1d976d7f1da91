/* dot_rows by cooperative matrices, without a device: modules for units of several shapes, their words looked at one by one, since
 * validators may be older than the extension; which targets have the unit. */
#include <spirv/unified1/spirv.h>
#include <string.h>

#include "jit/spirv_emit.h"
#include "tests/jit/matrix_kernels.h"
#include "tests/runtime/suite.h"

static const matrix_kernel kernels[] = {
    {64, 64, 64, 256, 100, "q8_0", false, false, 0},
    {32, 64, 128, 512, 100, "q4_k", false, false, 0},
    {64, 64, 64, 512, 100, "q6_k", false, true, 0},
    {32, 64, 32, 160, 23, "i8", false, false, 0},
    {16, 128, 32, 256, 40, "q2_k", false, false, 0},
};
enum { KERNELS = sizeof kernels / sizeof *kernels };

static const char *const targets[] = {"vulkan:lavapipe,matrix=8x8x8",
                                      "vulkan:nvidia,matrix=16x16x32", "vulkan:amd,matrix=16x16x16",
                                      "vulkan:intel,matrix=8x8x32", "vulkan:nvidia,matrix=16x8x32"};
enum { TARGETS = sizeof targets / sizeof *targets };

/* What the module has of the extension. */
typedef struct words {
    int types, loads, stores, products, barriers;
    bool capability, memory_model, bytes, extension, model, coherent;
    uint32_t four; /* a vector of four words */
    bool aligned;  /* there is a structure with one: the exchange is placed as one is */
} words;

static void take(const uint32_t *w, words *out)
{
    static const char extension[] = "SPV_KHR_cooperative_matrix";
    const uint32_t length = *w >> SpvWordCountShift;
    switch (*w & SpvOpCodeMask) {
    case SpvOpCapability:
        out->capability |= w[1] == RLX_SPIRV_CAPABILITY_MATRIX;
        out->memory_model |= w[1] == SpvCapabilityVulkanMemoryModel;
        out->bytes |= w[1] == SpvCapabilityInt8;
        break;
    case SpvOpExtension:
        out->extension |= !strcmp((const char *)(w + 1), extension);
        break;
    case SpvOpMemoryModel:
        out->model = w[2] == SpvMemoryModelVulkan;
        break;
    case SpvOpDecorate:
        out->coherent |= w[2] == SpvDecorationCoherent;
        break;
    case SpvOpTypeVector:
        out->four = w[3] == 4 ? w[1] : out->four;
        break;
    case SpvOpTypeStruct:
        out->aligned |= out->four && length == 4 && w[3] == out->four;
        break;
    case SpvOpControlBarrier:
        out->barriers++;
        break;
    case RLX_SPIRV_TYPE_MATRIX: /* component, scope, rows, columns, use */
        ck_assert_uint_eq(length, 7);
        out->types++;
        break;
    case RLX_SPIRV_MATRIX_LOAD: /* type, result, pointer, layout, stride, access */
        ck_assert_uint_eq(length, 7);
        ck_assert_uint_eq(w[6], SpvMemoryAccessNonPrivatePointerMask);
        out->loads++;
        break;
    case RLX_SPIRV_MATRIX_STORE: /* pointer, matrix, layout, stride, access */
        ck_assert_uint_eq(length, 6);
        ck_assert_uint_eq(w[5], SpvMemoryAccessNonPrivatePointerMask);
        out->stores++;
        break;
    case RLX_SPIRV_MATRIX_MULADD: /* type, result, a, b, sums, signs */
        ck_assert_uint_eq(length, 7);
        ck_assert_uint_eq(w[6], RLX_SPIRV_ALL_SIGNED);
        out->products++;
        break;
    }
}

static words look(const uint8_t *code, size_t bytes)
{
    enum { HEADER = 5 };
    const uint32_t *w = (const uint32_t *)(const void *)code, *end = w + bytes / 4;
    words out = {0};
    for (w += HEADER; w < end; w += *w >> SpvWordCountShift) {
        ck_assert_uint_gt(*w >> SpvWordCountShift, 0);
        take(w, &out);
    }
    ck_assert(w == end);
    return out;
}

/* ---- where matrices lie ---- */

enum { MOST_IDS = 1 << 14 };

/* What is known of ids, and what the exchange waits for. */
typedef struct walk {
    const matrix_kernel *k;
    rlx_vulkan_matrix unit;
    uint32_t exchange;
    uint32_t multiple[MOST_IDS]; /* of what it is a multiple; 0: it is 0 */
    uint32_t index[MOST_IDS];    /* of a pointer to one of its words; 0: to something else */
    uint32_t use[MOST_IDS];      /* of a type of matrices, one more; 0: another */
    bool constant[MOST_IDS], label[MOST_IDS];
    bool words, sums, read; /* since a barrier: words were put, matrices stored, words read */
    int loads, stores;
} walk;

static uint32_t common(uint32_t a, uint32_t b)
{
    return b ? common(b, a % b) : a;
}

static uint32_t multiple_of(const walk *w, const uint32_t *i)
{
    enum { MOST = 1 << 20 };
    uint64_t m = 1;
    switch (*i & SpvOpCodeMask) {
    case SpvOpConstant:
        return i[3];
    case SpvOpUConvert:
        return w->multiple[i[3]];
    case SpvOpIAdd:
        return common(w->multiple[i[3]], w->multiple[i[4]]);
    case SpvOpIMul:
        m = (uint64_t)w->multiple[i[3]] * w->multiple[i[4]];
        break;
    case SpvOpShiftLeftLogical:
        m = (uint64_t)w->multiple[i[3]] << (w->constant[i[4]] ? w->multiple[i[4]] & 15 : 0);
        break;
    }
    return m < MOST ? (uint32_t)m : 1;
}

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* The Vulkan specification: pointer and stride are multiples of 16 bytes, or of a row that is shorter. */
static void check_place(const walk *w, uint32_t pointer, uint32_t stride, uint32_t row_bytes)
{
    const uint32_t by = least(16, row_bytes) / 4;
    ck_assert_uint_ne(w->index[pointer], 0);
    ck_assert(w->constant[stride]);
    ck_assert_uint_eq(w->multiple[stride] % by, 0);
    ck_assert_uint_eq(w->multiple[w->index[pointer]] % by, 0);
}

/* Words of a row of codes: a step's or the last, shorter one's, with room behind each group of weights where a unit takes more. */
static bool is_row(const walk *w, bool weights, uint32_t stride)
{
    const int group = matrix_kernel_group(w->k), rest = w->k->depth % w->k->k;
    const int longer = weights && w->unit.k > group ? w->unit.k / group : 1;
    return stride == (uint32_t)(w->k->k * longer + 16) / 4 ||
           (rest && stride == (uint32_t)(rest * longer + 16) / 4);
}

static void follow_load(walk *w, const uint32_t *i)
{
    const uint32_t use = w->use[i[1]] - 1;
    ck_assert(use == RLX_SPIRV_MATRIX_A || use == RLX_SPIRV_MATRIX_B);
    ck_assert_msg(!w->words, "no barrier between words that are put and a matrix of them");
    ck_assert(w->constant[i[4]]);
    ck_assert_uint_eq(w->multiple[i[4]],
                      use == RLX_SPIRV_MATRIX_A ? RLX_SPIRV_ROWS : RLX_SPIRV_COLUMNS);
    check_place(w, i[3], i[5], (uint32_t)w->unit.k);
    ck_assert(is_row(w, use == RLX_SPIRV_MATRIX_B, w->multiple[i[5]]));
    w->loads++;
}

static void follow_store(walk *w, const uint32_t *i)
{
    ck_assert_msg(!w->read, "no barrier between sums that are read and the next ones");
    ck_assert(w->constant[i[3]]);
    ck_assert_uint_eq(w->multiple[i[3]], RLX_SPIRV_ROWS);
    check_place(w, i[1], i[4], (uint32_t)w->unit.n * 4);
    ck_assert_uint_eq(w->multiple[i[4]], (uint32_t)w->k->n);
    w->sums = true;
    w->stores++;
}

static void follow(walk *w, const uint32_t *i)
{
    switch (*i & SpvOpCodeMask) {
    case SpvOpName:
        if (!strcmp((const char *)(i + 2), "exchange"))
            w->exchange = i[1];
        break;
    case RLX_SPIRV_TYPE_MATRIX:
        w->use[i[1]] = w->multiple[i[6]] + 1;
        break;
    case SpvOpConstant:
        w->constant[i[2]] = true;
        /* fall through */
    case SpvOpUConvert:
    case SpvOpIAdd:
    case SpvOpIMul:
    case SpvOpShiftLeftLogical:
        w->multiple[i[2]] = multiple_of(w, i);
        break;
    case SpvOpAccessChain:
        if (i[3] == w->exchange)
            w->index[i[2]] = i[(*i >> SpvWordCountShift) - 1];
        break;
    case SpvOpStore:
        w->words |= w->index[i[1]] != 0;
        break;
    case SpvOpLoad:
        ck_assert_msg(!w->sums || !w->index[i[3]], "no barrier between sums and who reads them");
        w->read |= w->index[i[3]] != 0;
        break;
    case SpvOpControlBarrier:
        w->words = w->sums = w->read = false;
        break;
    case SpvOpLabel:
        w->label[i[1]] = true;
        break;
    case SpvOpBranch: /* a loop begins anew */
        ck_assert_msg(!w->label[i[1]] || !w->sums, "no barrier between two steps");
        ck_assert_msg(!w->label[i[1]] || !w->loads || !w->read, "no barrier between two steps");
        break;
    case RLX_SPIRV_MATRIX_LOAD:
        follow_load(w, i);
        break;
    case RLX_SPIRV_MATRIX_STORE:
        follow_store(w, i);
        break;
    }
}

/* Matrices lie where words are put and read, at multiples that the device takes, and nobody is there before the others are ready. */
static void check_places(const uint8_t *code, size_t bytes, const matrix_kernel *k,
                         const rlx_jit_target *t)
{
    enum { HEADER = 5, BOUND = 3 };
    const uint32_t *i = (const uint32_t *)(const void *)code, *end = i + bytes / 4;
    walk *w = calloc(1, sizeof *w);
    ck_assert_ptr_nonnull(w);
    ck_assert_uint_le(i[BOUND], MOST_IDS);
    w->k = k;
    w->unit = t->matrix;
    for (int n = 0; n < MOST_IDS; n++)
        w->multiple[n] = 1;
    for (i += HEADER; i < end; i += *i >> SpvWordCountShift)
        follow(w, i);
    ck_assert_int_gt(w->loads, 0);
    ck_assert_int_gt(w->stores, 0);
    free(w);
}

/* ---- modules ---- */

/* Every matrix of a pass is made, multiplied so often as K asks for and stored once. */
static void check_words(const words *x, const matrix_kernel *k, const rlx_jit_target *t)
{
    const int subgroups = t->team / t->subgroup, steps = k->depth % k->k ? 2 : 1;
    const int each = k->m * k->n / (t->matrix.m * t->matrix.n) / subgroups;
    const int group = strstr("q6_k q2_k", k->format) ? 16 : 32;
    const int times = group > t->matrix.k ? group / t->matrix.k : 1;
    ck_assert(x->capability && x->memory_model && x->bytes && x->extension && x->model);
    ck_assert(!x->coherent);
    ck_assert(x->aligned);
    ck_assert_int_eq(x->types, 3);
    ck_assert_int_eq(x->stores, steps * each);
    ck_assert_int_eq(x->products, steps * each * times);
    ck_assert_int_gt(x->loads, 0);
    ck_assert_int_gt(x->barriers, 0);
}

START_TEST(words_of_modules)
{
    bool known;
    subject s;
    EXPECT_OK(rlx_spirv_knows_matrices(&known));
    if (!known)
        printf(
            "skipped: the validator of SPIR-V is older than cooperative matrices; words alone are "
            "looked at\n");
    matrix_kernels_parse(&s, kernels, KERNELS);
    for (int i = 0; i < TARGETS; i++) {
        rlx_jit_target t;
        int n = 0;
        EXPECT_OK(rlx_jit_target_named(targets[i], &t));
        for (const rlx_ir_func *k = s.module->first; k; k = k->next, n++) {
            uint8_t *code;
            size_t bytes;
            EXPECT_OK(rlx_jit_emit_kernel(k, &t, &code, &bytes));
            const words x = look(code, bytes);
            check_words(&x, &kernels[n], &t);
            check_places(code, bytes, &kernels[n], &t);
            free(code);
        }
        ck_assert_int_eq(n, KERNELS);
    }
    subject_destroy(&s);
}
END_TEST

/* ---- targets ---- */

static void expect_described(const char *name, const char *part, bool there)
{
    rlx_jit_target t;
    rlx_text text = {0};
    EXPECT_OK(rlx_jit_target_named(name, &t));
    EXPECT_OK(rlx_jit_describe_code(&t, &text));
    ck_assert_msg(!strstr(text.data, part) == !there, "%s: %s", name, text.data);
    rlx_text_deinit(&text);
}

/* That there is a unit, and which, is part of the key. */
START_TEST(units_of_targets)
{
    expect_described("vulkan:nvidia,matrix=16x16x32", ", byte matrix 16x16x32 of 32", true);
    expect_described("vulkan:amd,matrix=16x16x16,-f16", ", byte matrix 16x16x16 of 64", true);
    expect_described("vulkan:nvidia", "matrix", false);
    expect_described("vulkan:nvidia,matrix=16x16x32,-matrix", "matrix", false);
    expect_described("vulkan:nvidia,-f16,matrix=16x16x32,-dot", ", byte matrix 16x16x32 of 32",
                     true);
    expect_described("vulkan:base,matrix=16x16x32,-matrix", "matrix", false);
    expect_described("vulkan:amd,matrix=32x32x32", ", byte matrix 32x32x32 of 64", true);
    expect_described("vulkan:intel,matrix=32x32x32", "byte matrix", false); /* no room for a tile */
}
END_TEST

/* As a device is described that is opened without what its unit goes with. */
START_TEST(units_that_are_of_no_use)
{
    static const uint64_t without[] = {RLX_VULKAN_BIT(SUBGROUP), RLX_VULKAN_BIT(INT8)};
    rlx_jit_target host, plain;
    for (size_t i = 0; i < sizeof without / sizeof *without; i++) {
        rlx_text text = {0};
        EXPECT_OK(rlx_jit_target_named("vulkan:nvidia,matrix=16x16x32", &host));
        EXPECT_OK(rlx_jit_target_named("vulkan:nvidia", &plain));
        ck_assert(!rlx_jit_same_features(&host, &plain));
        host.features &= ~without[i];
        plain.features &= ~without[i];
        ck_assert(rlx_jit_same_features(&host, &plain));
        EXPECT_OK(rlx_jit_describe_code(&host, &text));
        ck_assert_msg(strstr(text.data, "matrix") == NULL, "%s", text.data);
        rlx_text_deinit(&text);
    }
}
END_TEST

/* Code that was made for a kind with the host's unit comes before all without; with another unit it is never taken. */
START_TEST(kinds_with_the_hosts_unit)
{
    rlx_jit_target host, below;
    int with = 0, without = 0;
    EXPECT_OK(rlx_jit_target_named("vulkan:nvidia,matrix=16x8x32", &host));
    for (int i = 0; i < rlx_jit_target_count(); i++) {
        if (!rlx_jit_target_below(&host, i, &below))
            continue;
        rlx_lir_target lir;
        EXPECT_OK(rlx_jit_lir_target(&below, &lir));
        if (!lir.byte_matrix.m) {
            without++;
            continue;
        }
        ck_assert_int_eq(without, 0);
        ck_assert_int_eq(lir.byte_matrix.n, 8);
        ck_assert_int_eq(lir.byte_matrix.lanes, 32);
        with++;
    }
    ck_assert_int_ge(with, 1);
    ck_assert_int_ge(without, 2);
}
END_TEST

/* Tools that are older print a module's other kernels, and say why not this one. */
START_TEST(printed)
{
    bool known;
    subject s;
    rlx_jit_target t;
    rlx_text text = {0};
    EXPECT_OK(rlx_spirv_knows_matrices(&known));
    EXPECT_OK(rlx_jit_target_named("vulkan:nvidia,matrix=16x16x32", &t));
    matrix_kernels_parse(&s, kernels, 1);
    EXPECT_OK(rlx_jit_print_kernel(s.module->first, &t, RLX_JIT_ASM, &text));
    const char *says =
        known ? "OpTypeCooperativeMatrixKHR" : "is not printed: it multiplies matrices";
    ck_assert_msg(strstr(text.data, says) != NULL, "no '%s' in\n%s", says, text.data);
    rlx_text_deinit(&text);
    subject_destroy(&s);
}
END_TEST

START_TEST(refused)
{
    static const char *const wrong[] = {"vulkan:nvidia,matrix=16x16", "vulkan:nvidia,matrix=4x8x8",
                                        "vulkan:nvidia,matrix=8x8x64",
                                        "vulkan:nvidia,-f16,matrix=8x8x8x8"};
    static const struct {
        const char *name, *says;
    } lacking[] = {
        {"vulkan:base,matrix=16x16x32", "a matrix unit goes with subgroup"},
        {"vulkan:nvidia,matrix=16x16x32,-subgroup", "a matrix unit goes with subgroup"},
        {"vulkan:nvidia,-int8,matrix=16x16x32", "a matrix unit goes with int8"},
    };
    static const matrix_kernel odd = {24, 32, 64, 64, 32, "q8_0", false, false, 0};
    static const matrix_kernel early = {32, 32, 64, 64, 32, "q8_0", true, false, 0};
    rlx_jit_target t, none;
    uint8_t *code;
    size_t bytes;
    subject s;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        EXPECT_ERROR(rlx_jit_target_named(wrong[i], &t), RLX_INVALID_ARGUMENT,
                     "expected rows, columns and bytes of K");
    for (size_t i = 0; i < sizeof lacking / sizeof *lacking; i++)
        EXPECT_ERROR(rlx_jit_target_named(lacking[i].name, &t), RLX_INVALID_ARGUMENT,
                     lacking[i].says);
    EXPECT_OK(rlx_jit_target_named("vulkan:nvidia,matrix=16x16x32", &t));
    EXPECT_OK(rlx_jit_target_named("vulkan:nvidia", &none));
    matrix_kernels_parse(&s, &odd, 1);
    EXPECT_ERROR(rlx_jit_emit_kernel(s.module->first, &none, &code, &bytes), RLX_UNSUPPORTED,
                 "there are no matrices of bytes");
    EXPECT_ERROR(rlx_jit_emit_kernel(s.module->first, &t, &code, &bytes), RLX_UNSUPPORTED,
                 "24x32 are no matrices of 16x16 for 4 subgroups");
    subject_destroy(&s);
    matrix_kernels_parse(&s, &early, 1);
    EXPECT_OK(rlx_jit_target_named("vulkan:lavapipe,matrix=8x8x8", &t));
    EXPECT_ERROR(rlx_jit_emit_kernel(s.module->first, &t, &code, &bytes), RLX_UNSUPPORTED,
                 "codes that are not loaded for it alone");
    subject_destroy(&s);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("spirv matrix");
    SUITE_TEST(s, "words_of_modules", words_of_modules);
    SUITE_TEST(s, "units_of_targets", units_of_targets);
    SUITE_TEST(s, "units_that_are_of_no_use", units_that_are_of_no_use);
    SUITE_TEST(s, "kinds_with_the_hosts_unit", kinds_with_the_hosts_unit);
    SUITE_TEST(s, "printed", printed);
    SUITE_TEST(s, "refused", refused);
    return suite_run(s, 6);
}
