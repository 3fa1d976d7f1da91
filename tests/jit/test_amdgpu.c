/* Code objects for AMD GPUs: every kernel of tests/jit/kernels/ and of the block formats is emitted, linked, and read
 * back as a loader would: descriptor, symbols, metadata; no spills, no scratch; registers and waves are reported. (What the code computes is tested on
 * the host: test_kernels.c, host_team.h.) The reader is held against llvm-readelf-19 where that is there; the linker:
 * test_hsaco_link.c. Without arguments a sample; `test_jit_amdgpu all`: everything, for all processors (ctest: jit_amdgpu_all). */
#include <dirent.h>
#include <string.h>

#include "bench/gpu_facts.h"
#include "jit/code_object.h"
#include "jit/objects.h"
#include "runtime/cpu.h"
#include "tests/jit/amd_objects.h"
#include "tests/jit/block_kernels.h"
#include "tests/runtime/suite.h"

enum { HIDDEN_BYTES = 256, OF_FILE = 2 };

static bool all_processors;

/* ---- what a code object says ---- */

static int kernels;

/* Of a processor's kernels: the most registers of an invocation, and the least and most waves that run side by side. */
static struct {
    int kernels, vgprs, least, most, all;
} reported[AMD_PROCESSORS];

/* A team runs, whatever it takes. */
static void report(int processor, const rlx_code_object *o)
{
    const rlx_gpu_processor *p;
    int all;
    EXPECT_OK(rlx_gpu_find(RLX_JIT_AMDGPU, amd_processors[processor].name, &p));
    const int waves = rlx_gpu_waves(p, o->vgprs, o->team_bytes, &all);
    ck_assert_int_ge(waves, AMD_TEAM / (int)o->lanes);
    ck_assert_int_le(waves, all);
    const bool first = !reported[processor].kernels++;
    reported[processor].all = all;
    if (reported[processor].vgprs < o->vgprs)
        reported[processor].vgprs = (int)o->vgprs;
    if (first || waves < reported[processor].least)
        reported[processor].least = waves;
    if (waves > reported[processor].most)
        reported[processor].most = waves;
}

static void print_report(void)
{
    for (int i = 0; i < AMD_PROCESSORS; i++)
        if (reported[i].kernels)
            printf("%s: %d kernels of at most %d VGPRs; %d to %d of %d waves of a compute unit\n",
                   amd_processors[i].name, reported[i].kernels, reported[i].vgprs,
                   reported[i].least, reported[i].most, reported[i].all);
}

static void check_object(const rlx_ir_func *k, int processor, const uint8_t *code, size_t bytes)
{
    rlx_code_object o;
    char want[160];
    EXPECT_OK(rlx_code_object_read(code, bytes, &o));
    snprintf(want, sizeof want, "amdgcn-amd-amdhsa--%s", amd_processors[processor].name);
    ck_assert_str_eq(o.target, want);
    snprintf(want, sizeof want, "%s.kd", k->name);
    ck_assert_str_eq(o.symbol, want);
    ck_assert_int_eq(o.version[0], 1);
    ck_assert_int_eq(o.version[1], 2);
    ck_assert_int_eq(o.buffers, k->body->nargs + 1);
    ck_assert_int_eq(o.kernarg_bytes, 8 * (k->body->nargs + 1) + HIDDEN_BYTES);
    ck_assert_int_le(o.arguments_end, o.kernarg_bytes);
    ck_assert_int_eq(o.lanes, amd_processors[processor].lanes);
    ck_assert_int_eq(o.max_team, AMD_TEAM);
    ck_assert_int_le(o.team_bytes, 64 << 10);
    ck_assert_msg(!o.vgpr_spills && !o.sgpr_spills && !o.scratch_bytes,
                  "@%s for %s spills %lld, %lld registers; %lld bytes of scratch", k->name,
                  amd_processors[processor].name, (long long)o.vgpr_spills,
                  (long long)o.sgpr_spills, (long long)o.scratch_bytes);
    ck_assert_int_ge(o.vgprs, 1);
    ck_assert_int_le(o.vgprs, amd_processors[processor].most_vgprs);
    ck_assert_int_eq(o.descriptor.team_bytes, o.team_bytes);
    ck_assert_int_eq(o.descriptor.kernarg_bytes, o.kernarg_bytes);
    ck_assert_int_eq(o.descriptor.scratch_bytes, o.scratch_bytes);
    ck_assert_int_eq(o.descriptor.lanes, o.lanes);
    ck_assert_int_eq(o.descriptor.entry, o.entry_address);
    ck_assert_int_eq(o.entry_address % 256, 0);
    report(processor, &o);
    kernels++;
}

static void check_kernel(const rlx_ir_func *k, int processor)
{
    const rlx_jit_target t = amd_target(processor);
    uint8_t *code;
    size_t bytes;
    EXPECT_OK(rlx_jit_emit_kernel(k, &t, &code, &bytes));
    check_object(k, processor, code, bytes);
    free(code);
}

/* All kernels for all of them, or the first `some`, each for the next one. */
static void check_module(const subject *s, int some)
{
    int n = 0;
    for (const rlx_ir_func *k = s->module->first; k && (all_processors || n++ < some);
         k = k->next) {
        const int first = all_processors ? 0 : kernels % AMD_PROCESSORS;
        for (int p = first; p < (all_processors ? AMD_PROCESSORS : first + 1); p++)
            check_kernel(k, p);
    }
}

START_TEST(files)
{
    DIR *d = opendir(RLX_SOURCE_DIR "/tests/jit/kernels");
    ck_assert(d != NULL);
    kernels = 0;
    for (struct dirent *f = readdir(d); f; f = readdir(d)) {
        subject s;
        if (f->d_name[0] == '.')
            continue;
        amd_read_kernels(&s, f->d_name);
        check_module(&s, OF_FILE);
        subject_destroy(&s);
    }
    closedir(d);
    ck_assert_int_ge(kernels, all_processors ? 25 * AMD_PROCESSORS : 10);
}
END_TEST

START_TEST(block_loads)
{
    subject s;
    if (!all_processors && _i % 2)
        return;
    block_kernels_few(&s, block_formats[_i]);
    check_module(&s, 1);
    subject_destroy(&s);
}
END_TEST

/* ---- LLVM's own tools ---- */

/* The number behind a key of the notes as text. */
static int64_t noted(const char *text, const char *key)
{
    const char *p = strstr(text, key);
    ck_assert_msg(p != NULL, "no %s in:\n%s", key, text);
    return strtoll(p + strlen(key), NULL, 10);
}

static void compare_notes(const rlx_ir_func *k, int processor)
{
    const rlx_jit_target t = amd_target(processor);
    rlx_code_object o;
    amd_files f;
    uint8_t *code;
    char *text;
    size_t bytes;
    amd_make_files(&f);
    EXPECT_OK(rlx_jit_emit_kernel(k, &t, &code, &bytes));
    EXPECT_OK(rlx_code_object_read(code, bytes, &o));
    amd_write_file(f.out, code, bytes);
    char *notes[] = {"llvm-readelf-19", "--notes", f.out, NULL};
    ck_assert_int_eq(amd_run(notes, f.text), 0);
    EXPECT_OK(rlx_file_read(f.text, &text, &bytes));
    ck_assert_int_eq(noted(text, ".kernarg_segment_size:"), o.kernarg_bytes);
    ck_assert_int_eq(noted(text, ".group_segment_fixed_size:"), o.team_bytes);
    ck_assert_int_eq(noted(text, ".vgpr_count:"), o.vgprs);
    ck_assert_int_eq(noted(text, ".sgpr_count:"), o.sgprs);
    ck_assert_int_eq(noted(text, ".wavefront_size:"), o.lanes);
    ck_assert_int_eq(noted(text, ".max_flat_workgroup_size:"), o.max_team);
    ck_assert(strstr(text, o.target) != NULL);
    free(text);
    char *symbols[] = {"llvm-readelf-19", "--symbols", "--dyn-symbols",
                       "--hash-table",    f.out,       NULL};
    ck_assert_int_eq(amd_run(symbols, f.text), 0);
    EXPECT_OK(rlx_file_read(f.text, &text, &bytes));
    ck_assert_msg(strstr(text, "warning:") == NULL && strstr(text, o.symbol) != NULL, "%s", text);
    free(text);
    amd_remove_files(&f);
    free(code);
}

START_TEST(notes_as_llvm_reads_them)
{
    subject s;
    if (!amd_is_there("llvm-readelf-19"))
        return;
    amd_read_kernels(&s, "memory.rlx");
    for (int p = 0; p < AMD_PROCESSORS; p++)
        compare_notes(s.module->first, p);
    subject_destroy(&s);
}
END_TEST

/* ---- text ---- */

/* Whether each barrier that has writes to team memory before it waits for them; *found counts those. */
static bool waits_for_team(const char *text, int *found)
{
    bool writes = false, waited = false;
    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (!strncmp(line, "\tds_write", 9) || !strncmp(line, "\tds_store", 9)) {
            writes = true;
            waited = false;
        }
        const char *wait = strncmp(line, "\ts_wait", 7) ? NULL : line;
        const size_t n = strcspn(line, "\n");
        waited |= wait && (memmem(wait, n, "lgkmcnt(0)", 10) || memmem(wait, n, "dscnt 0x0", 9));
        if (strncmp(line, "\ts_barrier", 10) != 0)
            continue;
        if (writes && !waited)
            return false;
        *found += writes;
        writes = false;
    }
    return true;
}

/* Barriers wait for team memory alone, and empty no cache; no special function is called. */
START_TEST(instructions)
{
    static const char *const none[] = {"buffer_inv", "buffer_wb", "buffer_gl", "gl0_inv",
                                       "global_inv", "global_wb", "s_swappc",  "rlx.fences"};
    subject s;
    amd_read_kernels(&s, "control.rlx");
    for (int p = 0; p < AMD_PROCESSORS; p += all_processors ? 1 : AMD_PROCESSORS - 1) {
        rlx_text text = {0};
        int found = 0;
        const rlx_jit_target t = amd_target(p);
        for (const rlx_ir_func *k = s.module->first; k; k = k->next)
            EXPECT_OK(rlx_jit_print_kernel(k, &t, RLX_JIT_ASM, &text));
        ck_assert_msg(waits_for_team(text.data, &found), "%s:\n%s", amd_processors[p].name,
                      text.data);
        ck_assert_int_ge(found, 1);
        for (size_t i = 0; i < sizeof none / sizeof *none; i++)
            ck_assert_msg(!strstr(text.data, none[i]), "%s for %s", none[i],
                          amd_processors[p].name);
        rlx_text_deinit(&text);
    }
    subject_destroy(&s);
}
END_TEST

/* A kernel that unrolls to about so many operations is compiled for teams and not for a CPU, whichever way it is asked for. */
START_TEST(budgets)
{
    enum { MAPS = 40, SIDE = 64 }; /* 256 vectors each */
    static const rlx_jit_target targets[] = {
        {.kind = RLX_JIT_NVPTX, .processor = "sm_80", .team = AMD_TEAM},
        {.kind = RLX_JIT_AMDGPU, .processor = "gfx942", .team = AMD_TEAM}};
    const rlx_jit_target cpu = {.kind = RLX_JIT_CPU, .features = rlx_cpu_host()->features};
    rlx_text kernel = {0}, out = {0};
    uint8_t *code;
    size_t bytes;
    subject s;
    rlx_text_putf(&kernel,
                  "lir module @m {\n kernel @k(%%x: global f32[%d,%d]) {\n"
                  "  %%one = const {ivalue=1} : i64\n  grid %%one (%%i: i64) {\n",
                  SIDE, SIDE);
    rlx_text_putf(&kernel,
                  "  %%z = const {ivalue=0} : i64\n  %%v0 = load %%x, %%z, %%z "
                  "{axes=[0,1]} : f32<%dx%d>\n",
                  SIDE, SIDE);
    for (int i = 0; i < MAPS; i++)
        rlx_text_putf(&kernel, "  %%v%d = map %%v%d, %%v0 {fn=add} : f32<%dx%d>\n", i + 1, i, SIDE,
                      SIDE);
    rlx_text_putf(&kernel,
                  "  store %%x, %%v%d, %%z, %%z {axes=[0,1]}\n  yield\n  }\n  return\n }\n}\n",
                  MAPS);
    EXPECT_OK(subject_parse(&s, "budgets", kernel.data));
    for (int i = 0; i < 2; i++) {
        EXPECT_OK(rlx_jit_emit_kernel(s.module->first, &targets[i], &code, &bytes));
        free(code);
        EXPECT_OK(rlx_jit_print_module(s.module, &targets[i], RLX_JIT_ASM, &out));
    }
    EXPECT_ERROR(rlx_jit_print_module(s.module, &cpu, RLX_JIT_ASM, &out), RLX_UNSUPPORTED,
                 "unrolls to");
    subject_destroy(&s);
    rlx_text_deinit(&kernel);
    rlx_text_deinit(&out);
}
END_TEST

/* As objects, too, a kernel is linked. */
START_TEST(objects)
{
    const rlx_jit_target t = amd_target(0);
    subject s;
    rlx_jit_objects o;
    amd_read_kernels(&s, "memory.rlx");
    EXPECT_OK(rlx_jit_emit_objects(s.module->first, &t, &o));
    ck_assert_int_eq(o.n, 1);
    check_object(s.module->first, 0, (const uint8_t *)o.object[0].code.data, o.object[0].code.len);
    rlx_jit_objects_deinit(&o);
    subject_destroy(&s);
}
END_TEST

/* Rows of a wave's width are combined without team memory, by the primitives that name the pairs. */
START_TEST(rows_in_waves)
{
    static const char text[] =
        "lir module @m {\n"
        " kernel @k(%%x: global f32[%d,%d], %%y: global f32[%d]) {\n"
        "  %%zero = const {ivalue=0} : i64\n"
        "  %%one = const {ivalue=1} : i64\n"
        "  grid %%one (%%i: i64) {\n"
        "  %%v = load %%x, %%zero, %%zero {axes=[0,1]} : f32<%dx%d>\n"
        "  %%s = reduce %%v {fn=add} : f32<%d>\n"
        "  store %%y, %%s, %%zero {axes=[0]}\n  yield\n  }\n  return\n }\n}\n";
    static const char *const cdna[] = {"quad_perm:[1,0,3,2]", "quad_perm:[2,3,0,1]",
                                       "swizzle(SWAP,4)",     "row_ror:8",
                                       "swizzle(SWAP,16)",    "ds_bpermute_b32"};
    static const char *const rdna[] = {"row_xmask:1 ", "row_xmask:2 ", "row_xmask:4 ",
                                       "row_xmask:8 ", "v_permlanex16_b32"};
    for (int p = 0; p < AMD_PROCESSORS; p++) {
        subject s;
        rlx_text out = {0};
        char kernel[sizeof text];
        const int n = amd_processors[p].lanes;
        const rlx_jit_target t = amd_target(p);
        snprintf(kernel, sizeof kernel, text, n, n, n, n, n, n);
        EXPECT_OK(subject_parse(&s, "rows", kernel));
        EXPECT_OK(rlx_jit_print_kernel(s.module->first, &t, RLX_JIT_ASM, &out));
        for (int i = 0; i < (n == 64 ? 6 : 5); i++)
            ck_assert_msg(strstr(out.data, n == 64 ? cdna[i] : rdna[i]) != NULL,
                          "no %s for %s:\n%s", n == 64 ? cdna[i] : rdna[i], amd_processors[p].name,
                          out.data);
        rlx_text_deinit(&out);
        subject_destroy(&s);
    }
}
END_TEST

/* Products of codes are made four at a time. */
START_TEST(products_of_codes)
{
    subject s;
    amd_read_kernels(&s, "dot.rlx");
    for (int p = 0; p < AMD_PROCESSORS; p++) {
        rlx_text out = {0};
        const rlx_jit_target t = amd_target(p);
        EXPECT_OK(rlx_jit_print_kernel(s.module->first, &t, RLX_JIT_ASM, &out));
        ck_assert_int_ge(
            subject_count(out.data, amd_processors[p].lanes == 64 ? "v_dot4" : "v_dot4_i32_iu8"),
            8);
        rlx_text_deinit(&out);
    }
    subject_destroy(&s);
}
END_TEST

/* ---- names ---- */

START_TEST(names)
{
    rlx_jit_target t;
    rlx_text text = {0};
    rlx_lir_target lir;
    EXPECT_OK(rlx_jit_target_named("hip:gfx942", &t));
    ck_assert_int_eq(t.kind, RLX_JIT_AMDGPU);
    rlx_jit_describe(&t, &text);
    ck_assert_str_eq(text.data, "hip:gfx942");
    EXPECT_OK(rlx_jit_lir_target(&t, &lir));
    ck_assert_int_eq(lir.team_bytes, 32 << 10);
    rlx_text_deinit(&text);
    EXPECT_OK(rlx_jit_target_named("cuda:sm_90a", &t));
    ck_assert_int_eq(t.kind, RLX_JIT_NVPTX);
    EXPECT_ERROR(rlx_jit_target_named("hip:gfx943", &t), RLX_INVALID_ARGUMENT,
                 "did you mean \"gfx942\"");
    EXPECT_ERROR(rlx_jit_target_named("cuda:sm_99", &t), RLX_INVALID_ARGUMENT, "NVIDIA processor");
    EXPECT_ERROR(rlx_jit_target_named("hip:", &t), RLX_INVALID_ARGUMENT, "gfx1200");
}
END_TEST

static void add_blocks(Suite *s)
{
    TCase *tc = tcase_create("block_loads");
    tcase_set_timeout(tc, 0);
    tcase_add_loop_test(tc, block_loads, 0, BLOCK_FORMATS);
    suite_add_tcase(s, tc);
}

int main(int argc, char **argv)
{
    all_processors = argc > 1 && !strcmp(argv[1], "all");
    Suite *s = suite_create("jit amdgpu");
    SUITE_TEST(s, "files", files);
    SUITE_TEST(s, "notes_as_llvm_reads_them", notes_as_llvm_reads_them);
    SUITE_TEST(s, "instructions", instructions);
    SUITE_TEST(s, "budgets", budgets);
    SUITE_TEST(s, "objects", objects);
    SUITE_TEST(s, "rows_in_waves", rows_in_waves);
    SUITE_TEST(s, "products_of_codes", products_of_codes);
    SUITE_TEST(s, "names", names);
    add_blocks(s);
    const int status = suite_run(s, 8 + BLOCK_FORMATS);
    print_report();
    return status;
}
