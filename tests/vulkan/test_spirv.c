/* SPIR-V without a device: every kernel of tests/jit/kernels/ and of the lowered regions is emitted
 * and passes the validator; the validator bites; what cannot be emitted says so. The regions'
 * kernels go to PTX too, through ptxas where that is on PATH, and to code objects for AMD GPUs. */
#include <dirent.h>
#include <string.h>

#include "jit/code_object.h"
#include "jit/spirv_emit.h"
#include "tests/jit/ptxas.h"
#include "tests/jit/subject.h"
#include "tests/runtime/suite.h"
#include "tests/vulkan/regions.h"

static rlx_jit_target spirv_target(int team)
{
    return (rlx_jit_target){
        .kind = RLX_JIT_SPIRV, .features = RLX_VULKAN_ALL, .team = team, .team_bytes = 32 << 10};
}

/* ---- the kernels of tests/jit ---- */

static void emit_file(const char *path, int *kernels)
{
    char *text;
    size_t bytes;
    subject s;
    EXPECT_OK(rlx_file_read(path, &text, &bytes));
    EXPECT_OK(subject_parse(&s, path, text));
    for (const rlx_ir_func *k = s.module->first; k; k = k->next) {
        const int teams[] = {1, 5, 64, 128}, lanes[] = {0, 8, 16, 64};
        for (size_t i = 0; i < sizeof teams / sizeof *teams; i++, ++*kernels) {
            rlx_jit_target t = spirv_target(teams[i]);
            t.subgroup = lanes[i];
            uint8_t *code;
            EXPECT_OK(rlx_jit_emit_kernel(k, &t, &code, &bytes));
            ck_assert_uint_eq(bytes % 4, 0);
            free(code);
        }
    }
    subject_destroy(&s);
    free(text);
}

START_TEST(kernels_are_valid)
{
    static const char dir[] = RLX_SOURCE_DIR "/tests/jit/kernels";
    int kernels = 0;
    DIR *d = opendir(dir);
    ck_assert_msg(d != NULL, "no directory %s", dir);
    for (struct dirent *f = readdir(d); f; f = readdir(d)) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", dir, f->d_name);
        if (f->d_name[0] != '.')
            emit_file(path, &kernels);
    }
    closedir(d);
    ck_assert_int_ge(kernels, 100);
}
END_TEST

/* ---- the lowered regions ---- */

typedef struct counts {
    int spirv, ptx, assembled, amd;
} counts;

/* Each kernel for another processor. Their tiles are a Vulkan device's, for teams of 64: what ptxas spills of those says nothing. */
static void emit_for_nvidia(const rlx_ir_func *k, counts *c)
{
    static const char *const processors[] = {"sm_75", "sm_80", "sm_90", "sm_90a"};
    const rlx_jit_target t = {
        .kind = RLX_JIT_NVPTX, .processor = processors[c->ptx++ % 4], .team = REGION_TEAM};
    uint8_t *ptx;
    size_t bytes;
    EXPECT_OK(rlx_jit_emit_kernel(k, &t, &ptx, &bytes));
    if (have_ptxas()) {
        ptxas_assemble(k->name, (char *)ptx, bytes, t.processor);
        c->assembled++;
    }
    free(ptx);
}

/* RDNA has 256 registers for an invocation: two products of a prompt at once may not find room for so many. */
enum { MOST_SPILLED = 64 };

static bool may_spill(const rlx_ir_func *k, const rlx_code_object *o)
{
    return o->lanes == 32 && strstr(k->name, "_x2__") && o->vgpr_spills <= MOST_SPILLED &&
           !o->sgpr_spills;
}

/* Each kernel for another processor. */
static void emit_for_amd(const rlx_ir_func *k, counts *c)
{
    static const char *const processors[] = {"gfx90a", "gfx942", "gfx1100", "gfx1200"};
    const rlx_jit_target t = {.kind = RLX_JIT_AMDGPU, .processor = processors[c->amd++ % 4]};
    rlx_code_object o;
    uint8_t *code;
    size_t bytes;
    EXPECT_OK(rlx_jit_emit_kernel(k, &t, &code, &bytes));
    EXPECT_OK(rlx_code_object_read(code, bytes, &o));
    if (o.scratch_bytes && may_spill(k, &o))
        printf("@%s spills %lld registers on %s\n", k->name, (long long)o.vgpr_spills, t.processor);
    else
        ck_assert_msg(!o.vgpr_spills && !o.sgpr_spills && !o.scratch_bytes,
                      "@%s spills %lld registers on %s", k->name, (long long)o.vgpr_spills,
                      t.processor);
    free(code);
}

static void emit_region(void *user, const region *r)
{
    counts *c = user;
    for (const rlx_ir_func *k = r->lir->first; k; k = k->next) {
        const rlx_jit_target t = spirv_target(REGION_TEAM);
        uint8_t *code;
        size_t bytes;
        if (!k->is_kernel)
            continue;
        EXPECT_OK(rlx_jit_emit_kernel(k, &t, &code, &bytes));
        c->spirv++;
        free(code);
        emit_for_nvidia(k, c);
        emit_for_amd(k, c);
    }
}

START_TEST(regions_are_valid)
{
    counts c = {0};
    ck_assert_int_ge(regions_each(emit_region, &c), 10);
    ck_assert_int_ge(c.spirv, 25);
    ck_assert_int_eq(c.ptx, c.spirv);
    ck_assert_int_eq(c.amd, c.spirv);
    ck_assert_int_eq(c.assembled, have_ptxas() ? c.ptx : 0);
}
END_TEST

/* ---- the validator and the text ---- */

static const char kernel_text[] =
    "lir module @m {\n"
    " kernel @scale(%x: global f16[N], %y: global f32[N]) {\n"
    "  %n = extent {extent=N} : i64\n"
    "  %c = const {ivalue=16} : i64\n"
    "  grid %n (%g: i64) {\n"
    "   %i = map %g, %c {fn=mul} : i64  // layers.3.mlp\n"
    "   %v = load %x, %i, %n {axes=[0], limits=[0]} : f32<16>  // layers.3.mlp\n"
    "   %w = map %v {fn=FN} : f32<16>  // layers.3.mlp\n"
    "   store %y, %w, %i, %n {axes=[0], limits=[0]}  // layers.3.mlp\n"
    "   yield\n"
    "  }\n  return\n }\n}\n";

static void parse_kernel(const char *fn, rlx_dims **dims, rlx_ir_module **m)
{
    char text[sizeof kernel_text + 16];
    const char *at = strstr(kernel_text, "FN");
    snprintf(text, sizeof text, "%.*s%s%s", (int)(at - kernel_text), kernel_text, fn, at + 2);
    *dims = rlx_dims_create();
    EXPECT_OK(rlx_ir_parse(&rlx_lir_level, *dims, "scale", text, m));
    EXPECT_OK(rlx_ir_verify(*m));
}

START_TEST(corrupted_modules_are_refused)
{
    rlx_dims *dims;
    rlx_ir_module *m;
    uint8_t *code;
    size_t bytes;
    parse_kernel("neg", &dims, &m);
    rlx_jit_target t = spirv_target(64);
    EXPECT_OK(rlx_jit_emit_kernel(m->first, &t, &code, &bytes));
    uint32_t *words = (uint32_t *)(void *)code;
    size_t n = bytes / 4, refused = 0;
    EXPECT_OK(rlx_spirv_validate(words, n));
    /* Cut short anywhere but at the end, it is never valid. */
    for (size_t cut = 0; cut < n; cut += 7, refused++)
        EXPECT_ERROR(rlx_spirv_validate(words, cut), RLX_INTERNAL, "not valid");
    ck_assert_uint_ge(refused, 40);
    /* A negation of floats that says it is one of integers. */
    size_t changed = 0;
    for (size_t i = 5; i < n; i += words[i] >> 16)
        if ((words[i] & 0xffff) == SpvOpFNegate) {
            words[i] = (words[i] & ~0xffffu) | SpvOpSNegate;
            changed++;
        }
    ck_assert_uint_eq(changed, 1);
    EXPECT_ERROR(rlx_spirv_validate(words, n), RLX_INTERNAL, "SNegate");
    free(code);
    rlx_ir_module_destroy(m);
    rlx_dims_destroy(dims);
}
END_TEST

START_TEST(text_has_names_and_places)
{
    rlx_dims *dims;
    rlx_ir_module *m;
    rlx_text text = {0};
    parse_kernel("neg", &dims, &m);
    rlx_jit_target t = spirv_target(64);
    EXPECT_OK(rlx_jit_print_kernel(m->first, &t, RLX_JIT_ASM, &text));
    static const char *const wanted[] = {"OpEntryPoint GLCompute",
                                         "\"scale\"",
                                         "LocalSize 64 1 1",
                                         "OpCapability StorageBuffer16BitAccess",
                                         "OpName %x \"x\"",
                                         "OpDecorate %x NonWritable",
                                         "OpDecorate %y Binding 1",
                                         "OpDecorate %symbols Binding 2",
                                         "OpString \"layers.3.mlp\"",
                                         "OpLine",
                                         "%w = OpFNegate",
                                         "OpLoopMerge",
                                         "OpSelectionMerge",
                                         "OpControlBarrier"};
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        ck_assert_msg(strstr(text.data, wanted[i]) != NULL, "no '%s' in\n%s", wanted[i], text.data);
    ck_assert_ptr_null(strstr(text.data, "OpDecorate %y NonWritable"));
    ck_assert_ptr_null(strstr(text.data, "8BitAccess"));
    EXPECT_ERROR(rlx_jit_print_kernel(m->first, &t, RLX_JIT_LLVM, &text), RLX_UNSUPPORTED,
                 "without LLVM");
    rlx_text_deinit(&text);
    rlx_ir_module_destroy(m);
    rlx_dims_destroy(dims);
}
END_TEST

static void expect_unsupported(const rlx_jit_target *t, const char *text, const char *part)
{
    rlx_dims *dims = rlx_dims_create();
    rlx_ir_module *m;
    uint8_t *code = NULL;
    size_t bytes;
    EXPECT_OK(rlx_ir_parse(&rlx_lir_level, dims, "unsupported", text, &m));
    EXPECT_OK(rlx_ir_verify(m));
    EXPECT_ERROR(rlx_jit_emit_kernel(m->first, t, &code, &bytes), RLX_UNSUPPORTED, part);
    free(code);
    rlx_ir_module_destroy(m);
    rlx_dims_destroy(dims);
}

START_TEST(unsupported_kernels)
{
    rlx_dims *dims;
    rlx_ir_module *m;
    uint8_t *code = NULL;
    size_t bytes;
    rlx_jit_target t = spirv_target(64);
    parse_kernel("exp", &dims, &m);
    EXPECT_ERROR(rlx_jit_emit_kernel(m->first, &t, &code, &bytes), RLX_UNSUPPORTED,
                 "the SPIR-V emitter cannot emit `map` in kernel @scale at layers.3.mlp: exp was "
                 "not expanded");
    rlx_ir_module_destroy(m);
    rlx_dims_destroy(dims);
    expect_unsupported(&t,
                       "lir module @m {\n kernel @k(%x: global f32[64]) {\n"
                       "  %t = alloc : team f32[128,128]\n  return\n }\n}\n",
                       "takes 65536 bytes of team memory");
    rlx_jit_target base = spirv_target(64);
    base.features = 0;
    expect_unsupported(&base,
                       "lir module @m {\n kernel @k(%x: global f32[64]) {\n  return\n }\n}\n",
                       "takes 64-bit integers, which the Vulkan target has not (int64)");
    base.features = RLX_VULKAN_BIT(INT64);
    expect_unsupported(&base,
                       "lir module @m {\n kernel @k(%x: global f64[64], %y: global f32[64]) {\n"
                       "  %one = const {ivalue=1} : i64\n  grid %one (%g: i64) {\n"
                       "   %v = load %x, %g {axes=[0]} : f64<16>\n   %w = cast %v : f32<16>\n"
                       "   store %y, %w, %g {axes=[0]}\n   yield\n  }\n  return\n }\n}\n",
                       "takes 64-bit floats, which the Vulkan target has not (f64)");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("spirv");
    SUITE_TEST(s, "kernels_are_valid", kernels_are_valid);
    SUITE_TEST(s, "regions_are_valid", regions_are_valid);
    SUITE_TEST(s, "corrupted_modules_are_refused", corrupted_modules_are_refused);
    SUITE_TEST(s, "text_has_names_and_places", text_has_names_and_places);
    SUITE_TEST(s, "unsupported_kernels", unsupported_kernels);
    return suite_run(s, 5);
}
