/* Code objects for AMD GPUs: every kernel of tests/jit/kernels/ and of the block formats is emitted, linked, and read
 * back as a loader would: descriptor, symbols, metadata; no spills, no scratch. (What the code computes is tested on
 * the host: test_kernels.c, host_team.h.) The linker is held against ld.lld-19, the reader against llvm-readelf-19,
 * where they are there. Without arguments a sample; `test_jit_amdgpu all`: everything, for all processors (ctest: jit_amdgpu_all). */
#include <dirent.h>
#include <elf.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "jit/code_object.h"
#include "jit/gpu_target.h"
#include "jit/hsaco_link.h"
#include "jit/module.h"
#include "jit/objects.h"
#include "runtime/cpu.h"
#include "tests/jit/block_kernels.h"
#include "tests/runtime/suite.h"

extern char **environ;

enum { TEAM = 128, HIDDEN_BYTES = 256, OF_FILE = 2 };

static const struct {
    const char *name;
    int lanes, most_vgprs;
} processors[] = {
    {"gfx942", 64, 512}, {"gfx1100", 32, 256}, {"gfx90a", 64, 512}, {"gfx1200", 32, 256}};
enum { PROCESSORS = sizeof processors / sizeof *processors };
static bool all_processors;

static rlx_jit_target target_of(int processor)
{
    return (rlx_jit_target){
        .kind = RLX_JIT_AMDGPU, .processor = processors[processor].name, .team = TEAM};
}

/* ---- what a code object says ---- */

static int kernels;

static void check_object(const rlx_ir_func *k, int processor, const uint8_t *code, size_t bytes)
{
    rlx_code_object o;
    char want[160];
    EXPECT_OK(rlx_code_object_read(code, bytes, &o));
    snprintf(want, sizeof want, "amdgcn-amd-amdhsa--%s", processors[processor].name);
    ck_assert_str_eq(o.target, want);
    snprintf(want, sizeof want, "%s.kd", k->name);
    ck_assert_str_eq(o.symbol, want);
    ck_assert_int_eq(o.version[0], 1);
    ck_assert_int_eq(o.version[1], 2);
    ck_assert_int_eq(o.buffers, k->body->nargs + 1);
    ck_assert_int_eq(o.kernarg_bytes, 8 * (k->body->nargs + 1) + HIDDEN_BYTES);
    ck_assert_int_le(o.arguments_end, o.kernarg_bytes);
    ck_assert_int_eq(o.lanes, processors[processor].lanes);
    ck_assert_int_eq(o.max_team, TEAM);
    ck_assert_int_le(o.team_bytes, 64 << 10);
    ck_assert_msg(!o.vgpr_spills && !o.sgpr_spills && !o.scratch_bytes,
                  "@%s for %s spills %lld, %lld registers; %lld bytes of scratch", k->name,
                  processors[processor].name, (long long)o.vgpr_spills, (long long)o.sgpr_spills,
                  (long long)o.scratch_bytes);
    ck_assert_int_ge(o.vgprs, 1);
    ck_assert_int_le(o.vgprs, processors[processor].most_vgprs);
    ck_assert_int_eq(o.descriptor.team_bytes, o.team_bytes);
    ck_assert_int_eq(o.descriptor.kernarg_bytes, o.kernarg_bytes);
    ck_assert_int_eq(o.descriptor.scratch_bytes, o.scratch_bytes);
    ck_assert_int_eq(o.descriptor.lanes, o.lanes);
    ck_assert_int_eq(o.descriptor.entry, o.entry_address);
    ck_assert_int_eq(o.entry_address % 256, 0);
    kernels++;
}

static void check_kernel(const rlx_ir_func *k, int processor)
{
    const rlx_jit_target t = target_of(processor);
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
        const int first = all_processors ? 0 : kernels % PROCESSORS;
        for (int p = first; p < (all_processors ? PROCESSORS : first + 1); p++)
            check_kernel(k, p);
    }
}

static void read_kernels(subject *s, const char *file)
{
    char *text;
    size_t bytes;
    char path[4096];
    snprintf(path, sizeof path, "%s/tests/jit/kernels/%s", RLX_SOURCE_DIR, file);
    EXPECT_OK(rlx_file_read(path, &text, &bytes));
    EXPECT_OK(subject_parse(s, path, text));
    free(text);
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
        read_kernels(&s, f->d_name);
        check_module(&s, OF_FILE);
        subject_destroy(&s);
    }
    closedir(d);
    ck_assert_int_ge(kernels, all_processors ? 25 * PROCESSORS : 10);
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

/* ---- other programs ---- */

/* Exit status; -1 when the program is not there. What it prints goes to `output`, if given. */
static int run(char *const argv[], const char *output)
{
    posix_spawn_file_actions_t actions;
    pid_t pid;
    int status;
    posix_spawn_file_actions_init(&actions);
    if (output)
        posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, output, 01101 /* write, new */,
                                         0600);
    const int failed = posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (failed)
        return -1;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

static bool is_there(const char *program)
{
    char *argv[] = {(char *)program, "--version", NULL};
    const bool there = run(argv, "/dev/null") == 0;
    if (!there)
        printf("skipped: %s is not on PATH\n", program);
    return there;
}

typedef struct files_of {
    char folder[32], object[64], out[64], text[64];
} files_of;

static void make_files(files_of *f)
{
    strcpy(f->folder, "/tmp/rlx-test-XXXXXX");
    ck_assert(mkdtemp(f->folder) != NULL);
    snprintf(f->object, sizeof f->object, "%s/k.o", f->folder);
    snprintf(f->out, sizeof f->out, "%s/k.hsaco", f->folder);
    snprintf(f->text, sizeof f->text, "%s/text", f->folder);
}

static void remove_files(const files_of *f)
{
    unlink(f->object);
    unlink(f->out);
    unlink(f->text);
    rmdir(f->folder);
}

static void write_file(const char *path, const void *data, size_t bytes)
{
    FILE *f = fopen(path, "wb");
    ck_assert(f != NULL && fwrite(data, 1, bytes, f) == bytes);
    fclose(f);
}

/* ---- the linker ---- */

/* LLVM's object of a kernel, before it is linked. */
static void make_object(const rlx_ir_func *k, int processor, rlx_text *out)
{
    const rlx_jit_target t = target_of(processor);
    const rlx_llvm_module *m;
    rlx_llvm *worker;
    EXPECT_OK(rlx_jit_module_open(&m));
    EXPECT_OK(rlx_jit_worker_create(m, &t, &worker));
    EXPECT_OK(m->emit(worker, k, RLX_LLVM_CODE, NULL, RLX_LLVM_KERNEL, out));
    m->destroy(worker);
}

typedef struct section {
    const char *data;
    size_t bytes;
    uint64_t address;
} section;

static section find_section(const char *data, const char *name)
{
    Elf64_Ehdr h;
    Elf64_Shdr names, s;
    memcpy(&h, data, sizeof h);
    memcpy(&names, data + h.e_shoff + sizeof s * h.e_shstrndx, sizeof names);
    for (int i = 1; i < h.e_shnum; i++) {
        memcpy(&s, data + h.e_shoff + sizeof s * (size_t)i, sizeof s);
        if (!strcmp(data + names.sh_offset + s.sh_name, name))
            return (section){data + s.sh_offset, s.sh_size, s.sh_addr};
    }
    return (section){NULL, 0, 0};
}

/* Equal but for the bytes that differ by where things lie: those of relocations, which the object names. */
static void compare_sections(const char *object, const char *ours, const char *theirs,
                             const char *name, const char *relocations)
{
    const section a = find_section(ours, name), b = find_section(theirs, name);
    const section r = find_section(object, relocations);
    ck_assert_msg(a.data && b.data && a.bytes == b.bytes, "%s", name);
    char *x = malloc(a.bytes), *y = malloc(b.bytes);
    ck_assert(x && y);
    memcpy(x, a.data, a.bytes);
    memcpy(y, b.data, b.bytes);
    for (size_t at = 0; at < r.bytes; at += sizeof(Elf64_Rela)) {
        Elf64_Rela rela;
        memcpy(&rela, r.data + at, sizeof rela);
        const size_t width = ELF64_R_TYPE(rela.r_info) == 5 /* REL64 */ ? 8 : 4;
        memset(x + rela.r_offset, 0, width);
        memset(y + rela.r_offset, 0, width);
    }
    ck_assert_msg(!memcmp(x, y, a.bytes), "%s differs", name);
    free(x);
    free(y);
}

static void compare_facts(const rlx_text *ours, const char *theirs, size_t bytes)
{
    rlx_code_object a, b;
    EXPECT_OK(rlx_code_object_read(ours->data, ours->len, &a));
    EXPECT_OK(rlx_code_object_read(theirs, bytes, &b));
    ck_assert_int_eq(a.descriptor.entry, a.entry_address);
    ck_assert_int_eq(b.descriptor.entry, b.entry_address);
    ck_assert_int_eq(a.code_bytes, b.code_bytes);
    Elf64_Ehdr x, y;
    memcpy(&x, ours->data, sizeof x);
    memcpy(&y, theirs, sizeof y);
    ck_assert_int_eq(x.e_flags, y.e_flags);
    ck_assert(!memcmp(x.e_ident, y.e_ident, sizeof x.e_ident));
    ck_assert_int_eq(x.e_machine, y.e_machine);
}

/* What relocations of code reach: constants, found by the distance in the instructions. */
static int check_tables(const rlx_text *object, const char *linked)
{
    enum {
        REL32_LO = 10,
        TO_INSTRUCTION = 4
    }; /* of s_add_u32, from whose address distances count */
    const section r = find_section(object->data, ".rela.text");
    const section text = find_section(linked, ".text"), to = find_section(linked, ".rodata");
    int found = 0;
    for (size_t at = 0; at < r.bytes; at += sizeof(Elf64_Rela)) {
        Elf64_Rela rela;
        int32_t low;
        memcpy(&rela, r.data + at, sizeof rela);
        if (ELF64_R_TYPE(rela.r_info) != REL32_LO)
            continue;
        memcpy(&low, text.data + rela.r_offset, sizeof low);
        const int64_t reached = (int64_t)(text.address + rela.r_offset) - TO_INSTRUCTION + low;
        ck_assert_int_ge(reached, (int64_t)to.address);
        ck_assert_int_lt(reached, (int64_t)(to.address + to.bytes));
        found++;
    }
    return found;
}

static void compare_with_lld(const rlx_text *object, const rlx_text *ours)
{
    files_of f;
    char *theirs;
    size_t bytes;
    make_files(&f);
    write_file(f.object, object->data, object->len);
    char *argv[] = {"ld.lld-19", "-shared", "--no-undefined", f.object, "-o", f.out, NULL};
    ck_assert_int_eq(run(argv, NULL), 0);
    EXPECT_OK(rlx_file_read(f.out, &theirs, &bytes));
    compare_sections(object->data, ours->data, theirs, ".text", ".rela.text");
    compare_sections(object->data, ours->data, theirs, ".rodata", ".rela.rodata");
    compare_sections(object->data, ours->data, theirs, ".note", "");
    compare_facts(ours, theirs, bytes);
    free(theirs);
    remove_files(&f);
}

/* How many tables the code reaches. */
static int check_links(const char *format, bool lld)
{
    subject s;
    int tables = 0;
    block_kernels_few(&s, format);
    for (int p = 0; p < PROCESSORS; p++) {
        rlx_text object = {0}, ours = {0};
        make_object(s.module->first, p, &object);
        EXPECT_OK(rlx_hsaco_link("k", object.data, object.len, &ours));
        tables += check_tables(&object, ours.data);
        if (lld)
            compare_with_lld(&object, &ours);
        rlx_text_deinit(&object);
        rlx_text_deinit(&ours);
    }
    subject_destroy(&s);
    return tables;
}

START_TEST(links_as_lld)
{
    const bool lld = is_there("ld.lld-19");
    ck_assert_int_eq(check_links("q8_0", lld), 0);
    ck_assert_int_ge(check_links("iq3_s", lld), PROCESSORS);
}
END_TEST

/* ---- what the linker refuses ---- */

typedef struct broken {
    rlx_text object; /* good */
    Elf64_Ehdr header;
} broken;

static void broken_init(broken *b)
{
    subject s;
    *b = (broken){0};
    block_kernels_few(&s, "iq3_s");
    make_object(s.module->first, 0, &b->object);
    subject_destroy(&s);
    memcpy(&b->header, b->object.data, sizeof b->header);
}

static rlx_status link_copy(const broken *b, const void *patch, size_t at, size_t n)
{
    rlx_text copy = {0}, out = {0};
    rlx_text_put_bytes(&copy, b->object.data, b->object.len);
    memcpy(copy.data + at, patch, n);
    rlx_status st = rlx_hsaco_link("broken", copy.data, copy.len, &out);
    rlx_text_deinit(&copy);
    rlx_text_deinit(&out);
    return st;
}

/* Where the header of a section lies. */
static size_t section_header(const broken *b, const char *name, Elf64_Shdr *out)
{
    for (int i = 1; i < b->header.e_shnum; i++) {
        const size_t at = b->header.e_shoff + sizeof *out * (size_t)i;
        Elf64_Shdr names;
        memcpy(&names, b->object.data + b->header.e_shoff + sizeof names * b->header.e_shstrndx,
               sizeof names);
        memcpy(out, b->object.data + at, sizeof *out);
        if (!strcmp(b->object.data + names.sh_offset + out->sh_name, name))
            return at;
    }
    ck_abort_msg("no section %s", name);
    return 0;
}

static rlx_status with_flags(const broken *b, const char *name, uint64_t more)
{
    Elf64_Shdr s;
    const size_t at = section_header(b, name, &s);
    s.sh_flags |= more;
    return link_copy(b, &s, at, sizeof s);
}

static rlx_status with_addend(const broken *b, uint64_t offset, uint32_t symbol, uint32_t type,
                              int64_t addend)
{
    Elf64_Shdr s;
    section_header(b, ".rela.text", &s);
    const Elf64_Rela r = {offset, ELF64_R_INFO((uint64_t)symbol, type), addend};
    return link_copy(b, &r, s.sh_offset, sizeof r);
}

static rlx_status with_relocation(const broken *b, uint64_t offset, uint32_t symbol, uint32_t type)
{
    return with_addend(b, offset, symbol, type, 0);
}

/* The first symbol that is global: the kernel, or its descriptor. */
static uint32_t first_global(const broken *b)
{
    Elf64_Shdr table;
    section_header(b, ".symtab", &table);
    return table.sh_info;
}

static rlx_status with_symbol(const broken *b, uint16_t number)
{
    Elf64_Shdr table;
    Elf64_Sym sym;
    section_header(b, ".symtab", &table);
    const size_t at = table.sh_offset + sizeof sym * table.sh_info; /* the first that is global */
    memcpy(&sym, b->object.data + at, sizeof sym);
    sym.st_shndx = number;
    return link_copy(b, &sym, at, sizeof sym);
}

START_TEST(refuses)
{
    broken b;
    Elf64_Ehdr h;
    broken_init(&b);
    h = b.header;
    h.e_machine = EM_X86_64;
    EXPECT_ERROR(link_copy(&b, &h, 0, sizeof h), RLX_INVALID_FILE, "for AMD GPUs");
    h = b.header;
    h.e_ident[EI_ABIVERSION] = 2;
    EXPECT_ERROR(link_copy(&b, &h, 0, sizeof h), RLX_UNSUPPORTED, "version 2");
    h = b.header;
    h.e_shoff = b.object.len - 8;
    EXPECT_ERROR(link_copy(&b, &h, 0, sizeof h), RLX_INVALID_FILE, "sections at byte");
    EXPECT_ERROR(with_flags(&b, ".rodata", SHF_WRITE), RLX_UNSUPPORTED, "section .rodata");
    EXPECT_ERROR(with_flags(&b, ".text", SHF_TLS), RLX_UNSUPPORTED, "section .text");
    EXPECT_ERROR(with_relocation(&b, 0, 1, 3), RLX_UNSUPPORTED, "relocation of type 3");
    EXPECT_ERROR(with_relocation(&b, 1 << 30, 1, 10), RLX_INVALID_FILE, "at byte 1073741824");
    EXPECT_ERROR(with_relocation(&b, 0, 1 << 20, 10), RLX_INVALID_FILE, "of symbol 1048576");
    const uint32_t kernel = first_global(&b);
    EXPECT_OK(with_addend(&b, 0, kernel, 10, 4));
    EXPECT_ERROR(with_addend(&b, 0, kernel, 10, 1 << 30), RLX_INVALID_FILE, "leads out of section");
    EXPECT_ERROR(with_addend(&b, 0, kernel, 10, -(1 << 30)), RLX_INVALID_FILE, "leads out of");
    EXPECT_ERROR(with_addend(&b, 0, kernel, 5, INT64_MAX), RLX_INVALID_FILE, "leads out of");
    EXPECT_ERROR(with_symbol(&b, SHN_UNDEF), RLX_UNSUPPORTED, "which nothing offers");
    EXPECT_ERROR(with_symbol(&b, SHN_ABS), RLX_UNSUPPORTED, "in no section");
    EXPECT_ERROR(with_symbol(&b, SHN_UNDEF), RLX_UNSUPPORTED, "linking kernel @broken");
    rlx_text_deinit(&b.object);
}
END_TEST

/* The note's text `key` in a code object; what follows it is the value. */
static char *find_key(const rlx_text *code, const char *key)
{
    char *p = memmem(code->data, code->len, key, strlen(key));
    ck_assert_msg(p != NULL, "no %s", key);
    return p + strlen(key);
}

/* Numbers that no 32 bits hold, and a descriptor's entry that wraps. */
START_TEST(numbers_of_metadata)
{
    enum { SHORT = 3, LONG = 9, WORD_16 = 0xcd, WORD_64 = 0xcf, TEXT = 0xa0, ENTRY = 16 };
    broken b;
    rlx_text out = {0};
    rlx_code_object o;
    broken_init(&b);
    EXPECT_OK(rlx_hsaco_link("k", b.object.data, b.object.len, &out));
    char *p = find_key(&out, ".kernarg_segment_size");
    ck_assert_int_eq((unsigned char)p[0], WORD_16);
    const int left = (p[SHORT] & 31) - (LONG - SHORT); /* of the key behind it, which is cut */
    ck_assert_int_ge(left, 0);
    memset(p + 1, 0xff, LONG - 1);
    p[0] = (char)WORD_64;
    p[LONG] = (char)(TEXT | left);
    EXPECT_ERROR(rlx_code_object_read(out.data, out.len, &o), RLX_INVALID_FILE, "broken");
    rlx_text_deinit(&out);
    EXPECT_OK(rlx_hsaco_link("k", b.object.data, b.object.len, &out));
    const section constants = find_section(out.data, ".rodata");
    const int64_t far = INT64_MAX;
    EXPECT_OK(rlx_code_object_read(out.data, out.len, &o));
    for (size_t at = 0; at + 64 <= constants.bytes; at += 64) {
        int64_t entry;
        memcpy(&entry, constants.data + at + ENTRY, sizeof entry);
        if ((int64_t)(constants.address + at) + entry == o.entry_address)
            memcpy(out.data + (constants.data - out.data) + at + ENTRY, &far, sizeof far);
    }
    EXPECT_ERROR(rlx_code_object_read(out.data, out.len, &o), RLX_INVALID_FILE, "is no code");
    rlx_text_deinit(&out);
    rlx_text_deinit(&b.object);
}
END_TEST

/* Objects cut off, and with bytes changed: linked or refused, and what is linked is read or refused. */
START_TEST(damaged)
{
    broken b;
    int linked = 0;
    uint32_t random = 1;
    broken_init(&b);
    for (size_t n = 0; n < b.object.len; n += 7) {
        rlx_text out = {0};
        char *cut = malloc(n + 1);
        memcpy(cut, b.object.data, n);
        rlx_status_free(rlx_hsaco_link("cut", cut, n, &out));
        rlx_text_deinit(&out);
        free(cut);
    }
    for (int i = 0; i < 1000; i++) {
        rlx_text copy = {0}, out = {0};
        rlx_code_object facts;
        rlx_text_put_bytes(&copy, b.object.data, b.object.len);
        for (int k = 0; k < 3; k++) {
            random = random * 1664525 + 1013904223;
            copy.data[random % copy.len] ^= (char)(1 << (random >> 29));
        }
        rlx_status st = rlx_hsaco_link("damaged", copy.data, copy.len, &out);
        linked += !st;
        if (!st)
            rlx_status_free(rlx_code_object_read(out.data, out.len, &facts));
        rlx_status_free(st);
        rlx_text_deinit(&copy);
        rlx_text_deinit(&out);
    }
    ck_assert_int_ge(linked, 30);
    ck_assert_int_lt(linked, 1000);
    rlx_text_deinit(&b.object);
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
    const rlx_jit_target t = target_of(processor);
    rlx_code_object o;
    files_of f;
    uint8_t *code;
    char *text;
    size_t bytes;
    make_files(&f);
    EXPECT_OK(rlx_jit_emit_kernel(k, &t, &code, &bytes));
    EXPECT_OK(rlx_code_object_read(code, bytes, &o));
    write_file(f.out, code, bytes);
    char *notes[] = {"llvm-readelf-19", "--notes", f.out, NULL};
    ck_assert_int_eq(run(notes, f.text), 0);
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
    ck_assert_int_eq(run(symbols, f.text), 0);
    EXPECT_OK(rlx_file_read(f.text, &text, &bytes));
    ck_assert_msg(strstr(text, "warning:") == NULL && strstr(text, o.symbol) != NULL, "%s", text);
    free(text);
    remove_files(&f);
    free(code);
}

START_TEST(notes_as_llvm_reads_them)
{
    subject s;
    if (!is_there("llvm-readelf-19"))
        return;
    read_kernels(&s, "memory.rlx");
    for (int p = 0; p < PROCESSORS; p++)
        compare_notes(s.module->first, p);
    subject_destroy(&s);
}
END_TEST

/* ---- text ---- */

static int count(const char *text, const char *word)
{
    int n = 0;
    for (const char *p = strstr(text, word); p; p = strstr(p + 1, word))
        n++;
    return n;
}

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
    read_kernels(&s, "control.rlx");
    for (int p = 0; p < PROCESSORS; p += all_processors ? 1 : PROCESSORS - 1) {
        rlx_text text = {0};
        int found = 0;
        const rlx_jit_target t = target_of(p);
        for (const rlx_ir_func *k = s.module->first; k; k = k->next)
            EXPECT_OK(rlx_jit_print_kernel(k, &t, RLX_JIT_ASM, &text));
        ck_assert_msg(waits_for_team(text.data, &found), "%s:\n%s", processors[p].name, text.data);
        ck_assert_int_ge(found, 1);
        for (size_t i = 0; i < sizeof none / sizeof *none; i++)
            ck_assert_msg(!strstr(text.data, none[i]), "%s for %s", none[i], processors[p].name);
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
        {.kind = RLX_JIT_NVPTX, .processor = "sm_80", .team = TEAM},
        {.kind = RLX_JIT_AMDGPU, .processor = "gfx942", .team = TEAM}};
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
    const rlx_jit_target t = target_of(0);
    subject s;
    rlx_jit_objects o;
    read_kernels(&s, "memory.rlx");
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
    for (int p = 0; p < PROCESSORS; p++) {
        subject s;
        rlx_text out = {0};
        char kernel[sizeof text];
        const int n = processors[p].lanes;
        const rlx_jit_target t = target_of(p);
        snprintf(kernel, sizeof kernel, text, n, n, n, n, n, n);
        EXPECT_OK(subject_parse(&s, "rows", kernel));
        EXPECT_OK(rlx_jit_print_kernel(s.module->first, &t, RLX_JIT_ASM, &out));
        for (int i = 0; i < (n == 64 ? 6 : 5); i++)
            ck_assert_msg(strstr(out.data, n == 64 ? cdna[i] : rdna[i]) != NULL,
                          "no %s for %s:\n%s", n == 64 ? cdna[i] : rdna[i], processors[p].name,
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
    read_kernels(&s, "dot.rlx");
    for (int p = 0; p < PROCESSORS; p++) {
        rlx_text out = {0};
        const rlx_jit_target t = target_of(p);
        EXPECT_OK(rlx_jit_print_kernel(s.module->first, &t, RLX_JIT_ASM, &out));
        ck_assert_int_ge(count(out.data, processors[p].lanes == 64 ? "v_dot4" : "v_dot4_i32_iu8"),
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
    SUITE_TEST(s, "links_as_lld", links_as_lld);
    SUITE_TEST(s, "refuses", refuses);
    SUITE_TEST(s, "damaged", damaged);
    SUITE_TEST(s, "notes_as_llvm_reads_them", notes_as_llvm_reads_them);
    SUITE_TEST(s, "numbers_of_metadata", numbers_of_metadata);
    SUITE_TEST(s, "instructions", instructions);
    SUITE_TEST(s, "budgets", budgets);
    SUITE_TEST(s, "objects", objects);
    SUITE_TEST(s, "rows_in_waves", rows_in_waves);
    SUITE_TEST(s, "products_of_codes", products_of_codes);
    SUITE_TEST(s, "names", names);
    add_blocks(s);
    return suite_run(s, 12 + BLOCK_FORMATS);
}
