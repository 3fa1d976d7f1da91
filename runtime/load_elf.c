/* runtime/load_elf.c: the loader of CPU kernels.
 *
 *   measure   read section headers, give every allocated section its place in the mapping
 *   copy      contents into writable memory
 *   find      look up the functions
 *   relocate  write addresses and distances, of one another's functions too
 *   seal      mprotect to read and execute
 *
 * An object comes from a file that anybody may have damaged: headers are copied out before use (the
 * bytes may lie at any address), every index is checked against its table, every range against its
 * section.
 */
#include "runtime/load_elf.h"

#include <elf.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    MAX_SECTIONS = 4096,
    MAX_ALIGN = 4096,
    MAX_IMAGE_BYTES = 1 << 30,
    TRAP = 0xcc /* fills what lies between sections */
};

#define NOT_PLACED SIZE_MAX

/* One object while it is being loaded, in an array of all. */
typedef struct object {
    const rlx_elf_object *file;
    const rlx_elf_image *image;
    Elf64_Ehdr header;
    size_t nsections;
    size_t *place;               /* section -> offset in the mapping, or NOT_PLACED */
    Elf64_Shdr symbols, strings; /* zero when there are none */
    size_t nsymbols;
} object;

typedef struct function {
    const char *name; /* while objects are loaded */
    void *address;
    size_t bytes;
} function;

struct rlx_elf_image {
    uint8_t *base;
    size_t bytes;
    size_t n;
    function functions[];
};

#define BAD(o, ...) bad((o), __LINE__, __VA_ARGS__)

static rlx_status bad(const object *o, int line, const char *fmt, ...) RLX_PRINTF(3, 4);

static rlx_status bad(const object *o, int line, const char *fmt, ...)
{
    char what[256];
    va_list args;
    va_start(args, fmt);
    vsnprintf(what, sizeof(what), fmt, args);
    va_end(args);
    return rlx_status_make(RLX_INVALID_FILE, __FILE__, line, "object of kernel %s: %s",
                           o->file->name, what);
}

static bool inside(uint64_t offset, uint64_t bytes, uint64_t total)
{
    return offset <= total && bytes <= total - offset;
}

/* ---- reading -------------------------------------------------------------------------------- */

static Elf64_Shdr section(const object *o, size_t i)
{
    Elf64_Shdr s;
    memcpy(&s, o->file->data + o->header.e_shoff + i * sizeof(s), sizeof(s));
    return s;
}

static Elf64_Sym symbol(const object *o, size_t i)
{
    Elf64_Sym s;
    memcpy(&s, o->file->data + o->symbols.sh_offset + i * sizeof(s), sizeof(s));
    return s;
}

/* Names end inside their table: its last byte is NUL (checked by read_tables). */
static const char *symbol_name(const object *o, const Elf64_Sym *s)
{
    if (s->st_name >= o->strings.sh_size)
        return "";
    return (const char *)o->file->data + o->strings.sh_offset + s->st_name;
}

static rlx_status read_header(object *o)
{
    if (o->file->bytes < sizeof(o->header))
        return BAD(o, "%zu bytes are too few for an ELF header", o->file->bytes);
    memcpy(&o->header, o->file->data, sizeof(o->header));
    const Elf64_Ehdr *h = &o->header;
    if (memcmp(h->e_ident, ELFMAG, SELFMAG) != 0)
        return BAD(o, "not an ELF file");
    if (h->e_ident[EI_CLASS] != ELFCLASS64 || h->e_ident[EI_DATA] != ELFDATA2LSB ||
        h->e_machine != EM_X86_64 || h->e_type != ET_REL)
        return BAD(o, "not a relocatable x86-64 object (class %d, machine %d, type %d)",
                   h->e_ident[EI_CLASS], h->e_machine, h->e_type);
    if (h->e_shentsize != sizeof(Elf64_Shdr) || h->e_shnum == 0 || h->e_shnum > MAX_SECTIONS)
        return BAD(o, "%d section headers of %d bytes", h->e_shnum, h->e_shentsize);
    if (!inside(h->e_shoff, (uint64_t)h->e_shnum * sizeof(Elf64_Shdr), o->file->bytes))
        return BAD(o, "section headers at byte %llu of %zu", (unsigned long long)h->e_shoff,
                   o->file->bytes);
    o->nsections = h->e_shnum;
    for (size_t i = 0; i < o->nsections; i++) {
        Elf64_Shdr s = section(o, i);
        if (s.sh_type != SHT_NOBITS && !inside(s.sh_offset, s.sh_size, o->file->bytes))
            return BAD(o, "section %zu lies outside the file", i);
    }
    return RLX_OK;
}

static rlx_status read_tables(object *o)
{
    for (size_t i = 0; i < o->nsections; i++) {
        Elf64_Shdr s = section(o, i);
        if (s.sh_type != SHT_SYMTAB)
            continue;
        if (o->nsymbols)
            return BAD(o, "two symbol tables");
        if (s.sh_entsize != sizeof(Elf64_Sym) || s.sh_size % sizeof(Elf64_Sym) || s.sh_size == 0)
            return BAD(o, "a symbol table of %llu bytes", (unsigned long long)s.sh_size);
        if (s.sh_link >= o->nsections || section(o, s.sh_link).sh_type != SHT_STRTAB)
            return BAD(o, "the symbol table's names are in section %u", s.sh_link);
        o->symbols = s;
        o->strings = section(o, s.sh_link);
        o->nsymbols = s.sh_size / sizeof(Elf64_Sym);
    }
    if (!o->nsymbols)
        return BAD(o, "no symbol table");
    if (o->strings.sh_size == 0 ||
        o->file->data[o->strings.sh_offset + o->strings.sh_size - 1] != 0)
        return BAD(o, "symbol names without an end");
    return RLX_OK;
}

/* ---- places --------------------------------------------------------------------------------- */

/* Gives section i its place after *end. */
static rlx_status place_section(object *o, size_t i, size_t *end)
{
    Elf64_Shdr s = section(o, i);
    o->place[i] = NOT_PLACED;
    if (!(s.sh_flags & SHF_ALLOC))
        return RLX_OK;
    if (s.sh_size && (s.sh_flags & (SHF_WRITE | SHF_TLS)))
        return RLX_FAIL(RLX_UNSUPPORTED, "object of kernel %s: section %zu is %s data",
                        o->file->name, i, s.sh_flags & SHF_TLS ? "thread-local" : "writable");
    if (s.sh_flags & SHF_COMPRESSED)
        return BAD(o, "section %zu is compressed and allocated", i);
    size_t align = s.sh_addralign ? s.sh_addralign : 1;
    if (align > MAX_ALIGN || (align & (align - 1)))
        return BAD(o, "section %zu is aligned to %llu", i, (unsigned long long)s.sh_addralign);
    size_t at = (*end + align - 1) & ~(align - 1);
    if (s.sh_size > MAX_IMAGE_BYTES || at > MAX_IMAGE_BYTES - s.sh_size)
        return RLX_FAIL(RLX_UNSUPPORTED, "object of kernel %s: code of more than %d bytes",
                        o->file->name, MAX_IMAGE_BYTES);
    o->place[i] = at;
    *end = at + s.sh_size;
    return RLX_OK;
}

static rlx_status measure(object *o, size_t *end)
{
    RLX_TRY(read_header(o));
    RLX_TRY(read_tables(o));
    o->place = malloc(sizeof(*o->place) * o->nsections);
    if (!o->place)
        return RLX_OOM();
    for (size_t i = 0; i < o->nsections; i++)
        RLX_TRY(place_section(o, i, end));
    return RLX_OK;
}

static void copy(const object *o, uint8_t *base)
{
    for (size_t i = 0; i < o->nsections; i++) {
        Elf64_Shdr s = section(o, i);
        if (o->place[i] == NOT_PLACED || s.sh_size == 0)
            continue;
        if (s.sh_type == SHT_NOBITS)
            memset(base + o->place[i], 0, s.sh_size);
        else
            memcpy(base + o->place[i], o->file->data + s.sh_offset, s.sh_size);
    }
}

/* ---- relocation ----------------------------------------------------------------------------- */

/* Another object's function. */
static rlx_status resolve_elsewhere(const object *o, const char *name, uint64_t *address)
{
    for (size_t i = 0; i < o->image->n; i++)
        if (strcmp(o->image->functions[i].name, name) == 0) {
            *address = (uint64_t)(uintptr_t)o->image->functions[i].address;
            return RLX_OK;
        }
    return RLX_FAIL(RLX_UNSUPPORTED, "object of kernel %s calls '%s', which is in no object",
                    o->file->name, name);
}

/* Where symbol i ends up. */
static rlx_status resolve(const object *o, const uint8_t *base, uint64_t i, uint64_t *address)
{
    if (i >= o->nsymbols)
        return BAD(o, "symbol %llu of %zu", (unsigned long long)i, o->nsymbols);
    Elf64_Sym s = symbol(o, i);
    if (s.st_shndx == SHN_ABS) {
        *address = s.st_value;
        return RLX_OK;
    }
    if (s.st_shndx == SHN_UNDEF)
        return resolve_elsewhere(o, symbol_name(o, &s), address);
    if (s.st_shndx >= o->nsections || o->place[s.st_shndx] == NOT_PLACED)
        return BAD(o, "symbol '%s' is in section %u, which is not loaded", symbol_name(o, &s),
                   s.st_shndx);
    if (s.st_value > section(o, s.st_shndx).sh_size)
        return BAD(o, "symbol '%s' lies outside its section", symbol_name(o, &s));
    *address = (uint64_t)(uintptr_t)(base + o->place[s.st_shndx]) + s.st_value;
    return RLX_OK;
}

static rlx_status apply(const object *o, uint8_t *base, size_t target, const Elf64_Rela *r)
{
    uint32_t type = (uint32_t)ELF64_R_TYPE(r->r_info);
    bool wide = type == R_X86_64_64 || type == R_X86_64_PC64;
    if (type == R_X86_64_NONE)
        return RLX_OK;
    if (!wide && type != R_X86_64_PC32 && type != R_X86_64_PLT32 && type != R_X86_64_32S)
        return RLX_FAIL(RLX_UNSUPPORTED, "object of kernel %s: relocation type %u", o->file->name,
                        type);
    if (!inside(r->r_offset, wide ? 8 : 4, section(o, target).sh_size))
        return BAD(o, "a relocation at byte %llu of section %zu", (unsigned long long)r->r_offset,
                   target);
    uint64_t value;
    RLX_TRY(resolve(o, base, ELF64_R_SYM(r->r_info), &value));
    uint8_t *at = base + o->place[target] + r->r_offset;
    value += (uint64_t)r->r_addend;
    if (type != R_X86_64_64 && type != R_X86_64_32S)
        value -= (uint64_t)(uintptr_t)at;
    if (wide) {
        memcpy(at, &value, 8);
        return RLX_OK;
    }
    if ((int64_t)value != (int32_t)value)
        return BAD(o, "a 32-bit relocation (type %u) at byte %llu of section %zu does not reach",
                   type, (unsigned long long)r->r_offset, target);
    uint32_t low = (uint32_t)value;
    memcpy(at, &low, 4);
    return RLX_OK;
}

static rlx_status relocate(const object *o, uint8_t *base)
{
    for (size_t i = 0; i < o->nsections; i++) {
        Elf64_Shdr s = section(o, i);
        if (s.sh_type != SHT_RELA && s.sh_type != SHT_REL)
            continue;
        if (s.sh_info >= o->nsections)
            return BAD(o, "relocations of section %u of %zu", s.sh_info, o->nsections);
        if (o->place[s.sh_info] == NOT_PLACED) /* of debug information */
            continue;
        if (section(o, s.sh_info).sh_type == SHT_NOBITS)
            return BAD(o, "relocations of section %u, which has no contents", s.sh_info);
        if (s.sh_type == SHT_REL || s.sh_entsize != sizeof(Elf64_Rela) ||
            s.sh_size % sizeof(Elf64_Rela))
            return BAD(o, "relocations in section %zu are not of the x86-64 kind", i);
        if (s.sh_link >= o->nsections || section(o, s.sh_link).sh_type != SHT_SYMTAB)
            return BAD(o, "relocations in section %zu refer to symbols in section %u", i,
                       s.sh_link);
        for (uint64_t at = 0; at < s.sh_size; at += sizeof(Elf64_Rela)) {
            Elf64_Rela r;
            memcpy(&r, o->file->data + s.sh_offset + at, sizeof(r));
            RLX_TRY(apply(o, base, s.sh_info, &r));
        }
    }
    return RLX_OK;
}

static rlx_status find_function(const object *o, const uint8_t *base, function *out)
{
    for (size_t i = 1; i < o->nsymbols; i++) {
        Elf64_Sym s = symbol(o, i);
        if (ELF64_ST_BIND(s.st_info) == STB_LOCAL || s.st_shndx == SHN_UNDEF ||
            s.st_shndx >= o->nsections || strcmp(symbol_name(o, &s), o->file->name) != 0)
            continue;
        Elf64_Shdr in = section(o, s.st_shndx);
        if (!(in.sh_flags & SHF_EXECINSTR) || in.sh_type != SHT_PROGBITS ||
            s.st_value >= in.sh_size)
            return BAD(o, "the symbol of that name is no code");
        uint64_t address;
        RLX_TRY(resolve(o, base, i, &address));
        out->name = o->file->name;
        out->address = (void *)(uintptr_t)address;
        out->bytes = s.st_size < in.sh_size - s.st_value ? s.st_size : in.sh_size - s.st_value;
        return RLX_OK;
    }
    return BAD(o, "no function of that name");
}

/* ---- images --------------------------------------------------------------------------------- */

static rlx_status map(rlx_elf_image *image, size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    bytes = (bytes + page - 1) & ~(page - 1);
    uint8_t *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED)
        return RLX_FAIL(RLX_OUT_OF_MEMORY, "mapping %zu bytes for code: %s", bytes,
                        strerror(errno));
    image->base = base;
    image->bytes = bytes;
    memset(base, TRAP, bytes);
    return RLX_OK;
}

static rlx_status load(rlx_elf_image *image, object *objects)
{
    size_t bytes = 1; /* a mapping is never empty */
    for (size_t i = 0; i < image->n; i++)
        RLX_TRY(measure(&objects[i], &bytes));
    RLX_TRY(map(image, bytes));
    for (size_t i = 0; i < image->n; i++) {
        copy(&objects[i], image->base);
        RLX_TRY(find_function(&objects[i], image->base, &image->functions[i]));
    }
    for (size_t i = 0; i < image->n; i++)
        RLX_TRY(relocate(&objects[i], image->base));
    if (mprotect(image->base, image->bytes, PROT_READ | PROT_EXEC) != 0)
        return RLX_FAIL(RLX_IO, "making code executable: %s", strerror(errno));
    return RLX_OK;
}

rlx_status rlx_elf_image_create(const rlx_elf_object *objects, size_t n, rlx_elf_image **out)
{
    rlx_elf_image *image = calloc(1, sizeof(*image) + n * sizeof(image->functions[0]));
    object *loading = calloc(n ? n : 1, sizeof(*loading));
    rlx_status st = RLX_OK;
    if (!image || !loading) {
        st = RLX_OOM();
    } else {
        image->n = n;
        for (size_t i = 0; i < n; i++)
            loading[i] = (object){.file = &objects[i], .image = image};
        st = load(image, loading);
    }
    for (size_t i = 0; loading && i < n; i++)
        free(loading[i].place);
    free(loading);
    if (st) {
        rlx_elf_image_destroy(image);
        return st;
    }
    *out = image;
    return RLX_OK;
}

void rlx_elf_image_destroy(rlx_elf_image *image)
{
    if (!image)
        return;
    if (image->base)
        munmap(image->base, image->bytes);
    free(image);
}

void *rlx_elf_image_get(const rlx_elf_image *image, size_t i)
{
    return image->functions[i].address;
}

size_t rlx_elf_image_function_bytes(const rlx_elf_image *image, size_t i)
{
    return image->functions[i].bytes;
}

size_t rlx_elf_image_bytes(const rlx_elf_image *image)
{
    return image->bytes;
}
