/* The linker of code objects for AMD GPUs: held against ld.lld-19 where that is there; what it refuses, and what
 * the reader of code objects does. */
#include <elf.h>
#include <stdlib.h>
#include <string.h>

#include "jit/code_object.h"
#include "jit/hsaco_link.h"
#include "jit/module.h"
#include "tests/jit/amd_objects.h"
#include "tests/jit/block_kernels.h"
#include "tests/runtime/suite.h"

/* LLVM's object of a kernel, before it is linked. */
static void make_object(const rlx_ir_func *k, int processor, rlx_text *out)
{
    const rlx_jit_target t = amd_target(processor);
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
    amd_files f;
    char *theirs;
    size_t bytes;
    amd_make_files(&f);
    amd_write_file(f.object, object->data, object->len);
    char *argv[] = {"ld.lld-19", "-shared", "--no-undefined", f.object, "-o", f.out, NULL};
    ck_assert_int_eq(amd_run(argv, NULL), 0);
    EXPECT_OK(rlx_file_read(f.out, &theirs, &bytes));
    compare_sections(object->data, ours->data, theirs, ".text", ".rela.text");
    compare_sections(object->data, ours->data, theirs, ".rodata", ".rela.rodata");
    compare_sections(object->data, ours->data, theirs, ".note", "");
    compare_facts(ours, theirs, bytes);
    free(theirs);
    amd_remove_files(&f);
}

/* How many tables the code reaches. */
static int check_links(const char *format, bool lld)
{
    subject s;
    int tables = 0;
    block_kernels_few(&s, format);
    for (int p = 0; p < AMD_PROCESSORS; p++) {
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
    const bool lld = amd_is_there("ld.lld-19");
    ck_assert_int_eq(check_links("q8_0", lld), 0);
    ck_assert_int_ge(check_links("iq3_s", lld), AMD_PROCESSORS);
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

int main(void)
{
    Suite *s = suite_create("hsaco link");
    SUITE_TEST(s, "links_as_lld", links_as_lld);
    SUITE_TEST(s, "refuses", refuses);
    SUITE_TEST(s, "damaged", damaged);
    SUITE_TEST(s, "numbers_of_metadata", numbers_of_metadata);
    return suite_run(s, 4);
}
