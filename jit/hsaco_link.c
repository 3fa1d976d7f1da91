/* jit/hsaco_link.c: the linker of AMD GPUs' kernels: one relocatable object in, one shared object out, as ROCm's loader
 * takes it.
 *
 *   read      headers, sections and symbols of the object, all checked
 *   place     notes, symbols and constants; code; the dynamic section. Each of the three is a segment: in memory it
 *             begins on a page of its own, in the file where the last one ended
 *   tell      symbols (twice: loaders look into .dynsym or .symtab), sections, segments
 *   relocate  distances inside the object: there are no others
 *
 * Only what kernels are made of is linked: code, constants, notes. Variables and whatever another object would
 * have to give are refused by name. */
#include "jit/hsaco_link.h"

#include <elf.h>
#include <stdbool.h>
#include <string.h>

#include "runtime/base/arena.h"

/* LLVM's AMDGPU usage guide: ELF code object, relocation records. */
enum { MACHINE_AMDGPU = 224, ABI_HSA = 64, CODE_OBJECT_V5 = 3 };
enum { R_REL32 = 4, R_REL64 = 5, R_REL32_LO = 10, R_REL32_HI = 11 };

enum { PAGE = 0x1000, MAX_SECTIONS = 64, MAX_SYMBOLS = 1 << 16 };

/* Which sections lie in which segment, in their order. */
enum { SEGMENT_READ, SEGMENT_CODE, SEGMENT_DYNAMIC, SEGMENTS };
enum { HEADER_SELF, HEADER_LOAD, HEADER_DYNAMIC = HEADER_LOAD + SEGMENTS, HEADER_NOTE, HEADERS };
enum { DYNSYM, HASH, DYNSTR, DYNAMIC, SYMTAB, STRTAB, SHSTRTAB, OWN_SECTIONS };

typedef struct linker {
    const char *data; /* the object */
    size_t bytes;
    rlx_arena *arena;
    Elf64_Ehdr header;
    Elf64_Shdr *sections;
    Elf64_Sym *symbols;
    size_t nsymbols;
    Elf64_Shdr strings; /* the symbols' names */

    /* What becomes of a section: its number in the code object (0: left out) and its address. */
    uint16_t number[MAX_SECTIONS];
    uint64_t address[MAX_SECTIONS];

    rlx_text file;
    Elf64_Shdr out[MAX_SECTIONS + OWN_SECTIONS];
    int nout, own[OWN_SECTIONS], notes; /* numbers of sections */
    rlx_text section_names;
    Elf64_Sym *dynamic; /* the code object's symbols; the first is none */
    uint32_t ndynamic;
    rlx_text symbol_names;
    uint64_t begin[SEGMENTS + 1]; /* of segments, in the file */
} linker;

#define BAD(...) RLX_FAIL(RLX_INVALID_FILE, __VA_ARGS__)
#define REFUSE(...) RLX_FAIL(RLX_UNSUPPORTED, __VA_ARGS__)

static bool inside(uint64_t offset, uint64_t bytes, uint64_t total)
{
    return offset <= total && bytes <= total - offset;
}

/* ---- read ---- */

static rlx_status read_header(linker *l)
{
    const Elf64_Ehdr *h = &l->header;
    const unsigned char *id = h->e_ident;
    if (l->bytes < sizeof *h)
        return BAD("%zu bytes are no object", l->bytes);
    memcpy(&l->header, l->data, sizeof *h);
    if (memcmp(id, ELFMAG, SELFMAG) || id[EI_CLASS] != ELFCLASS64 || id[EI_DATA] != ELFDATA2LSB ||
        h->e_type != ET_REL || h->e_machine != MACHINE_AMDGPU)
        return BAD("no relocatable object for AMD GPUs: type %d, machine %d", h->e_type,
                   h->e_machine);
    if (id[EI_OSABI] != ABI_HSA || id[EI_ABIVERSION] != CODE_OBJECT_V5)
        return REFUSE("ABI %d of version %d: expected %d, %d", id[EI_OSABI], id[EI_ABIVERSION],
                      ABI_HSA, CODE_OBJECT_V5);
    if (h->e_shentsize != sizeof(Elf64_Shdr) || h->e_shnum > MAX_SECTIONS ||
        !inside(h->e_shoff, sizeof(Elf64_Shdr) * h->e_shnum, l->bytes) ||
        h->e_shstrndx >= h->e_shnum)
        return BAD("%d sections at byte %llu, names in section %d", h->e_shnum,
                   (unsigned long long)h->e_shoff, h->e_shstrndx);
    return RLX_OK;
}

static rlx_status read_sections(linker *l)
{
    const int n = l->header.e_shnum;
    l->sections =
        rlx_arena_copy(l->arena, l->data + l->header.e_shoff, sizeof(Elf64_Shdr) * (size_t)n);
    if (!l->sections)
        return RLX_OOM();
    for (int i = 0; i < n; i++)
        if (l->sections[i].sh_type != SHT_NOBITS && l->sections[i].sh_type != SHT_NULL &&
            !inside(l->sections[i].sh_offset, l->sections[i].sh_size, l->bytes))
            return BAD("section %d lies outside", i);
    return RLX_OK;
}

/* A text of a table of names. */
static rlx_status get_name(const linker *l, const Elf64_Shdr *table, uint64_t at, const char **out)
{
    *out = l->data + table->sh_offset + at;
    if (table->sh_type != SHT_STRTAB || at >= table->sh_size ||
        !memchr(*out, 0, table->sh_size - at))
        return BAD("no name at byte %llu of a table", (unsigned long long)at);
    return RLX_OK;
}

static rlx_status section_name(const linker *l, int i, const char **out)
{
    return get_name(l, &l->sections[l->header.e_shstrndx], l->sections[i].sh_name, out);
}

static rlx_status read_symbols(linker *l)
{
    const Elf64_Shdr *table = NULL;
    for (int i = 0; i < l->header.e_shnum; i++) {
        if (l->sections[i].sh_type != SHT_SYMTAB)
            continue;
        if (table)
            return BAD("more than one table of symbols");
        table = &l->sections[i];
    }
    if (!table || table->sh_entsize != sizeof(Elf64_Sym) || table->sh_link >= l->header.e_shnum ||
        table->sh_size / sizeof(Elf64_Sym) > MAX_SYMBOLS)
        return BAD("no table of symbols");
    l->nsymbols = table->sh_size / sizeof(Elf64_Sym);
    l->strings = l->sections[table->sh_link];
    l->symbols = rlx_arena_copy(l->arena, l->data + table->sh_offset, table->sh_size);
    return l->symbols ? RLX_OK : RLX_OOM();
}

static bool is_linked(const linker *l, uint64_t i)
{
    return i < l->header.e_shnum && l->sections[i].sh_flags & SHF_ALLOC && l->sections[i].sh_size;
}

/* Whether the section is one that kernels are made of. */
static rlx_status check_section(const linker *l, int i)
{
    const Elf64_Shdr *s = &l->sections[i];
    const bool code = s->sh_flags & SHF_EXECINSTR, note = s->sh_type == SHT_NOTE;
    const uint64_t known = SHF_ALLOC | SHF_EXECINSTR | SHF_MERGE | SHF_STRINGS;
    const char *name;
    RLX_TRY(section_name(l, i, &name));
    if ((s->sh_type != SHT_PROGBITS && !note) || s->sh_flags & ~known || (code && note))
        return REFUSE("section %s, of type %u and flags %#llx, is none that a kernel has", name,
                      s->sh_type, (unsigned long long)s->sh_flags);
    if (s->sh_addralign & (s->sh_addralign - 1) || s->sh_addralign > PAGE)
        return REFUSE("section %s is aligned to %llu", name, (unsigned long long)s->sh_addralign);
    return RLX_OK;
}

static rlx_status check_sections(const linker *l)
{
    int notes = 0;
    for (int i = 0; i < l->header.e_shnum; i++) {
        if (!is_linked(l, (uint64_t)i))
            continue;
        RLX_TRY(check_section(l, i));
        notes += l->sections[i].sh_type == SHT_NOTE;
    }
    if (notes != 1)
        return REFUSE("%d sections of notes; one tells what the kernel takes", notes);
    return RLX_OK;
}

/* Those that others see go into the code object; st_shndx and st_value are still the object's. */
static rlx_status choose_symbols(linker *l)
{
    l->dynamic = RLX_NEW_ARRAY(l->arena, Elf64_Sym, l->nsymbols + 1);
    if (!l->dynamic)
        return RLX_OOM();
    l->ndynamic = 1;
    rlx_text_put_bytes(&l->symbol_names, "", 1);
    for (size_t i = 1; i < l->nsymbols; i++) {
        Elf64_Sym s = l->symbols[i];
        const char *name;
        RLX_TRY(get_name(l, &l->strings, s.st_name, &name));
        if (ELF64_ST_BIND(s.st_info) == STB_LOCAL)
            continue;
        if (s.st_shndx == SHN_UNDEF)
            return REFUSE("it wants %s, which nothing offers", name);
        if (!is_linked(l, s.st_shndx) || s.st_value > l->sections[s.st_shndx].sh_size)
            return REFUSE("%s lies in no section that is linked", name);
        s.st_name = (uint32_t)l->symbol_names.len;
        rlx_text_put_bytes(&l->symbol_names, name, strlen(name) + 1);
        l->dynamic[l->ndynamic++] = s;
    }
    return RLX_OK;
}

/* ---- place ---- */

/* Where `n` bytes come to lie in the file; zeros for NULL. */
static uint64_t put(linker *l, const void *p, size_t n, uint64_t align)
{
    static const char zeros[PAGE];
    const uint64_t gap = align > 1 ? -(uint64_t)l->file.len & (align - 1) : 0;
    rlx_text_put_bytes(&l->file, zeros, gap);
    const uint64_t at = l->file.len;
    for (size_t some; !p && n; n -= some) {
        some = n < sizeof zeros ? n : sizeof zeros;
        rlx_text_put_bytes(&l->file, zeros, some);
    }
    if (n)
        rlx_text_put_bytes(&l->file, p, n);
    return at;
}

/* Places a section and lists it under `name`; s.sh_size bytes. Returns its number. */
static int add_section(linker *l, const char *name, const void *p, int segment, Elf64_Shdr s)
{
    s.sh_offset = put(l, p, s.sh_size, s.sh_addralign);
    s.sh_addr = s.sh_flags & SHF_ALLOC ? s.sh_offset + (uint64_t)segment * PAGE : 0;
    s.sh_name = (uint32_t)l->section_names.len;
    rlx_text_put_bytes(&l->section_names, name, strlen(name) + 1);
    l->out[l->nout] = s;
    return l->nout++;
}

static void add_own(linker *l, int which, const char *name, const void *p, int segment,
                    Elf64_Shdr s)
{
    l->own[which] = add_section(l, name, p, segment, s);
}

/* The object's sections of one segment: notes, or what else it has. */
static rlx_status place_sections(linker *l, int segment, bool notes)
{
    for (int i = 0; i < l->header.e_shnum; i++) {
        const Elf64_Shdr *s = &l->sections[i];
        const char *name;
        const bool code = s->sh_flags & SHF_EXECINSTR;
        if (!is_linked(l, (uint64_t)i) || code != (segment == SEGMENT_CODE) ||
            (s->sh_type == SHT_NOTE) != notes)
            continue;
        RLX_TRY(section_name(l, i, &name));
        const int number =
            add_section(l, name, l->data + s->sh_offset, segment,
                        (Elf64_Shdr){.sh_type = s->sh_type,
                                     .sh_flags = s->sh_flags & (SHF_ALLOC | SHF_EXECINSTR),
                                     .sh_size = s->sh_size,
                                     .sh_addralign = s->sh_addralign});
        l->number[i] = (uint16_t)number;
        l->address[i] = l->out[number].sh_addr;
        if (notes)
            l->notes = number;
    }
    return RLX_OK;
}

/* System V's, of the ELF specification. */
static uint32_t hash_name(const char *s)
{
    uint32_t h = 0;
    for (; *s; s++) {
        h = (h << 4) + (unsigned char)*s;
        h ^= (h & 0xf0000000) >> 24;
        h &= 0x0fffffff;
    }
    return h;
}

/* As many buckets as symbols: counts, then buckets, then chains. */
static uint32_t *make_hash(linker *l, size_t *bytes)
{
    const uint32_t n = l->ndynamic;
    uint32_t *h = RLX_NEW_ARRAY(l->arena, uint32_t, 2 + 2 * n);
    *bytes = sizeof *h * (2 + 2 * n);
    if (!h || l->symbol_names.oom)
        return NULL;
    h[0] = h[1] = n;
    for (uint32_t i = 1; i < n; i++) {
        uint32_t *bucket = &h[2 + hash_name(l->symbol_names.data + l->dynamic[i].st_name) % n];
        h[2 + n + i] = *bucket;
        *bucket = i;
    }
    return h;
}

static rlx_status place_tables(linker *l)
{
    size_t bytes;
    const uint32_t *hash = make_hash(l, &bytes);
    if (!hash)
        return RLX_OOM();
    const uint32_t symbols = (uint32_t)l->nout;
    add_own(l, DYNSYM, ".dynsym", NULL, SEGMENT_READ,
            (Elf64_Shdr){.sh_type = SHT_DYNSYM,
                         .sh_flags = SHF_ALLOC,
                         .sh_size = sizeof(Elf64_Sym) * l->ndynamic,
                         .sh_link = symbols + 2,
                         .sh_info = 1,
                         .sh_addralign = 8,
                         .sh_entsize = sizeof(Elf64_Sym)});
    add_own(l, HASH, ".hash", hash, SEGMENT_READ,
            (Elf64_Shdr){.sh_type = SHT_HASH,
                         .sh_flags = SHF_ALLOC,
                         .sh_size = bytes,
                         .sh_link = symbols,
                         .sh_addralign = 4,
                         .sh_entsize = sizeof *hash});
    add_own(l, DYNSTR, ".dynstr", l->symbol_names.data, SEGMENT_READ,
            (Elf64_Shdr){.sh_type = SHT_STRTAB,
                         .sh_flags = SHF_ALLOC,
                         .sh_size = l->symbol_names.len,
                         .sh_addralign = 1});
    return RLX_OK;
}

static uint64_t address_of(const linker *l, int own)
{
    return l->out[l->own[own]].sh_addr;
}

static void place_dynamic(linker *l)
{
    const Elf64_Dyn entries[] = {
        {DT_SYMTAB, {address_of(l, DYNSYM)}}, {DT_SYMENT, {sizeof(Elf64_Sym)}},
        {DT_STRTAB, {address_of(l, DYNSTR)}}, {DT_STRSZ, {l->symbol_names.len}},
        {DT_HASH, {address_of(l, HASH)}},     {DT_NULL, {0}}};
    add_own(l, DYNAMIC, ".dynamic", entries, SEGMENT_DYNAMIC,
            (Elf64_Shdr){.sh_type = SHT_DYNAMIC,
                         .sh_flags = SHF_ALLOC | SHF_WRITE,
                         .sh_size = sizeof entries,
                         .sh_link = (uint32_t)l->own[DYNSTR],
                         .sh_addralign = 8,
                         .sh_entsize = sizeof *entries});
}

/* What no segment has. */
static void place_rest(linker *l)
{
    const uint32_t symbols = (uint32_t)l->nout;
    add_own(l, SYMTAB, ".symtab", NULL, 0,
            (Elf64_Shdr){.sh_type = SHT_SYMTAB,
                         .sh_size = sizeof(Elf64_Sym) * l->ndynamic,
                         .sh_link = symbols + 1,
                         .sh_info = 1,
                         .sh_addralign = 8,
                         .sh_entsize = sizeof(Elf64_Sym)});
    add_own(l, STRTAB, ".strtab", l->symbol_names.data, 0,
            (Elf64_Shdr){.sh_type = SHT_STRTAB, .sh_size = l->symbol_names.len, .sh_addralign = 1});
    static const char last[] = ".shstrtab";
    const size_t names = l->section_names.len + sizeof last;
    add_own(l, SHSTRTAB, last, NULL, 0,
            (Elf64_Shdr){.sh_type = SHT_STRTAB, .sh_size = names, .sh_addralign = 1});
}

static uint64_t alignment_of_code(const linker *l)
{
    uint64_t align = 1;
    for (int i = 0; i < l->header.e_shnum; i++)
        if (is_linked(l, (uint64_t)i) && l->sections[i].sh_flags & SHF_EXECINSTR &&
            l->sections[i].sh_addralign > align)
            align = l->sections[i].sh_addralign;
    return align;
}

static rlx_status place(linker *l)
{
    l->nout = 1; /* the first section is none */
    rlx_text_put_bytes(&l->section_names, "", 1);
    put(l, NULL, sizeof(Elf64_Ehdr) + HEADERS * sizeof(Elf64_Phdr), 1);
    RLX_TRY(place_sections(l, SEGMENT_READ, true));
    RLX_TRY(place_tables(l));
    RLX_TRY(place_sections(l, SEGMENT_READ, false));
    l->begin[SEGMENT_CODE] = put(l, "", 0, alignment_of_code(l));
    RLX_TRY(place_sections(l, SEGMENT_CODE, false));
    l->begin[SEGMENT_DYNAMIC] = put(l, "", 0, 8);
    place_dynamic(l);
    l->begin[SEGMENTS] = l->file.len;
    place_rest(l);
    return RLX_OK;
}

/* ---- tell ---- */

static void write_symbols(linker *l)
{
    for (uint32_t i = 1; i < l->ndynamic; i++) {
        Elf64_Sym *s = &l->dynamic[i];
        s->st_value += l->address[s->st_shndx];
        s->st_shndx = l->number[s->st_shndx];
    }
    const size_t bytes = sizeof(Elf64_Sym) * l->ndynamic;
    memcpy(l->file.data + l->out[l->own[DYNSYM]].sh_offset, l->dynamic, bytes);
    memcpy(l->file.data + l->out[l->own[SYMTAB]].sh_offset, l->dynamic, bytes);
    memcpy(l->file.data + l->out[l->own[SHSTRTAB]].sh_offset, l->section_names.data,
           l->section_names.len);
}

static Elf64_Phdr segment_at(uint32_t type, uint32_t flags, uint64_t at, uint64_t address,
                             uint64_t bytes, uint64_t align)
{
    return (Elf64_Phdr){type, flags, at, address, address, bytes, bytes, align};
}

static Elf64_Phdr segment_of(const linker *l, uint32_t type, uint32_t flags, int section)
{
    const Elf64_Shdr *s = &l->out[section];
    return segment_at(type, flags, s->sh_offset, s->sh_addr, s->sh_size, s->sh_addralign);
}

static void write_segments(linker *l)
{
    static const uint32_t access[SEGMENTS] = {PF_R, PF_R | PF_X, PF_R | PF_W};
    const uint64_t at = sizeof(Elf64_Ehdr);
    Elf64_Phdr p[HEADERS];
    p[HEADER_SELF] = segment_at(PT_PHDR, PF_R, at, at, sizeof p, 8);
    for (int s = 0; s < SEGMENTS; s++)
        p[HEADER_LOAD + s] =
            segment_at(PT_LOAD, access[s], l->begin[s], l->begin[s] + (uint64_t)s * PAGE,
                       l->begin[s + 1] - l->begin[s], PAGE);
    p[HEADER_DYNAMIC] = segment_of(l, PT_DYNAMIC, PF_R | PF_W, l->own[DYNAMIC]);
    p[HEADER_NOTE] = segment_of(l, PT_NOTE, PF_R, l->notes);
    memcpy(l->file.data + at, p, sizeof p);
}

static void write_header(linker *l, uint64_t sections)
{
    Elf64_Ehdr h = l->header; /* with what it says of the processor */
    h.e_type = ET_DYN;
    h.e_entry = 0;
    h.e_phoff = sizeof h;
    h.e_phentsize = sizeof(Elf64_Phdr);
    h.e_phnum = HEADERS;
    h.e_shoff = sections;
    h.e_shnum = (uint16_t)l->nout;
    h.e_shstrndx = (uint16_t)l->own[SHSTRTAB];
    memcpy(l->file.data, &h, sizeof h);
}

/* ---- relocate ---- */

static rlx_status write_distance(linker *l, uint32_t type, uint64_t at, int64_t distance)
{
    static const struct {
        uint32_t type;
        int bytes, shift;
    } kinds[] = {{R_REL32, 4, 0}, {R_REL64, 8, 0}, {R_REL32_LO, 4, 0}, {R_REL32_HI, 4, 32}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (kinds[i].type != type)
            continue;
        if (type == R_REL32 && distance != (int32_t)distance)
            return BAD("a distance of %lld in 32 bits", (long long)distance);
        const int64_t part = distance >> kinds[i].shift;
        memcpy(l->file.data + at, &part, (size_t)kinds[i].bytes);
        return RLX_OK;
    }
    return REFUSE("a relocation of type %u, which no kernel has", type);
}

/* Distances count from an instruction or a descriptor, so many bytes before their own place at most: addends have these in them. */
enum { BEFORE = 16 };

static rlx_status relocate(linker *l, int section, const Elf64_Rela *r)
{
    const Elf64_Shdr *s = &l->sections[section];
    const uint64_t symbol = ELF64_R_SYM(r->r_info);
    const uint32_t type = (uint32_t)ELF64_R_TYPE(r->r_info);
    if (!inside(r->r_offset, type == R_REL64 ? 8 : 4, s->sh_size) || symbol >= l->nsymbols)
        return BAD("a relocation at byte %llu of section %d, of symbol %llu",
                   (unsigned long long)r->r_offset, section, (unsigned long long)symbol);
    const Elf64_Sym *to = &l->symbols[symbol];
    if (!is_linked(l, to->st_shndx))
        return REFUSE("a relocation to section %d, which is not linked", to->st_shndx);
    const uint64_t reached = to->st_value + (uint64_t)r->r_addend; /* in its section; wraps */
    if (reached > l->sections[to->st_shndx].sh_size + BEFORE)
        return BAD("a relocation at byte %llu of section %d, which leads out of section %d",
                   (unsigned long long)r->r_offset, section, to->st_shndx);
    const uint64_t place = l->address[section] + r->r_offset;
    return write_distance(l, type, l->out[l->number[section]].sh_offset + r->r_offset,
                          (int64_t)(l->address[to->st_shndx] + reached - place));
}

static rlx_status relocate_all(linker *l)
{
    for (int i = 0; i < l->header.e_shnum; i++) {
        const Elf64_Shdr *s = &l->sections[i];
        if ((s->sh_type != SHT_RELA && s->sh_type != SHT_REL) || !is_linked(l, s->sh_info))
            continue;
        if (s->sh_type == SHT_REL || s->sh_entsize != sizeof(Elf64_Rela))
            return REFUSE("relocations of section %u without addends", s->sh_info);
        for (uint64_t at = 0; at + sizeof(Elf64_Rela) <= s->sh_size; at += sizeof(Elf64_Rela)) {
            Elf64_Rela r;
            memcpy(&r, l->data + s->sh_offset + at, sizeof r);
            RLX_TRY(relocate(l, (int)s->sh_info, &r));
        }
    }
    return RLX_OK;
}

/* ---- all ---- */

static rlx_status link_object(linker *l)
{
    RLX_TRY(read_header(l));
    RLX_TRY(read_sections(l));
    RLX_TRY(read_symbols(l));
    RLX_TRY(check_sections(l));
    RLX_TRY(choose_symbols(l));
    RLX_TRY(place(l));
    const uint64_t sections = put(l, l->out, sizeof *l->out * (size_t)l->nout, 8);
    if (l->file.oom || l->section_names.oom || l->symbol_names.oom)
        return RLX_OOM();
    write_symbols(l);
    write_segments(l);
    write_header(l, sections);
    return relocate_all(l);
}

rlx_status rlx_hsaco_link(const char *name, const void *data, size_t bytes, rlx_text *out)
{
    linker l = {.data = data, .bytes = bytes, .arena = rlx_arena_create()};
    if (!l.arena)
        return RLX_OOM();
    rlx_status st = link_object(&l);
    if (!st) {
        rlx_text_put_bytes(out, l.file.data, l.file.len);
        st = out->oom ? RLX_OOM() : RLX_OK;
    }
    rlx_text_deinit(&l.file);
    rlx_text_deinit(&l.section_names);
    rlx_text_deinit(&l.symbol_names);
    rlx_arena_destroy(l.arena);
    return rlx_status_note(st, __FILE__, __LINE__, "linking kernel @%s", name);
}
