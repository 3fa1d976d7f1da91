/* jit/code_object.c: the reader of AMD code objects: symbols, the kernel's descriptor, and the note, which is a map in
 * MessagePack. It follows LLVM's AMDGPU usage guide ("Code Object Metadata", "Kernel Descriptor") and nothing of
 * what wrote the object. */
#include "jit/code_object.h"

#include <elf.h>
#include <stdbool.h>
#include <string.h>

#define BAD(...) RLX_FAIL(RLX_INVALID_FILE, __VA_ARGS__)

/* ---- MessagePack ---- */

typedef struct packed {
    const uint8_t *at, *end;
    bool bad; /* ended too early, or of a kind that metadata has not */
} packed;

typedef enum item_kind { ITEM_INT, ITEM_TEXT, ITEM_ARRAY, ITEM_MAP, ITEM_OTHER } item_kind;

typedef struct item {
    item_kind kind;
    int64_t n; /* the value; bytes; elements; pairs */
    const char *text;
} item;

static uint64_t take(packed *p, int bytes)
{
    uint64_t v = 0;
    if (p->end - p->at < bytes) {
        p->bad = true;
        p->at = p->end;
        return 0;
    }
    for (int i = 0; i < bytes; i++)
        v = v << 8 | *p->at++;
    return v;
}

static item take_text(packed *p, uint64_t n)
{
    item i = {ITEM_TEXT, (int64_t)n, (const char *)p->at};
    if ((uint64_t)(p->end - p->at) < n) {
        p->bad = true;
        return (item){ITEM_OTHER, 0, NULL};
    }
    p->at += n;
    return i;
}

/* A number; nothing that metadata counts has more than 32 bits. */
static item take_int(packed *p, int bytes)
{
    const uint64_t v = take(p, bytes);
    p->bad |= v > UINT32_MAX;
    return (item){ITEM_INT, (int64_t)(v & UINT32_MAX), NULL};
}

/* An array or a map, whose elements take a byte each at least. */
static item take_many(packed *p, item_kind kind, uint64_t n)
{
    if (n > (uint64_t)(p->end - p->at)) {
        p->bad = true;
        return (item){ITEM_OTHER, 0, NULL};
    }
    return (item){kind, (int64_t)n, NULL};
}

static item next(packed *p)
{
    const unsigned tag = (unsigned)take(p, 1);
    if (tag < 0x80)
        return (item){ITEM_INT, tag, NULL};
    if (tag < 0x90)
        return take_many(p, ITEM_MAP, tag & 15);
    if (tag < 0xa0)
        return take_many(p, ITEM_ARRAY, tag & 15);
    if (tag < 0xc0)
        return take_text(p, tag & 31);
    switch (tag) {
    case 0xc0: /* nil, false, true */
    case 0xc2:
    case 0xc3:
        return (item){ITEM_OTHER, 0, NULL};
    case 0xcc:
    case 0xcd:
    case 0xce:
    case 0xcf:
        return take_int(p, 1 << (tag - 0xcc));
    case 0xd9:
    case 0xda:
    case 0xdb:
        return take_text(p, take(p, 1 << (tag - 0xd9)));
    case 0xdc:
    case 0xdd:
        return take_many(p, ITEM_ARRAY, take(p, 2 << (tag - 0xdc)));
    case 0xde:
    case 0xdf:
        return take_many(p, ITEM_MAP, take(p, 2 << (tag - 0xde)));
    default: /* negative and broken numbers, bytes: not in this metadata */
        p->bad = true;
        return (item){ITEM_OTHER, 0, NULL};
    }
}

/* Passes over whatever `i` holds. */
static void skip(packed *p, item i)
{
    int64_t left = i.kind == ITEM_ARRAY ? i.n : i.kind == ITEM_MAP ? 2 * i.n : 0;
    for (; left > 0 && !p->bad; left--) {
        const item inner = next(p);
        left += inner.kind == ITEM_ARRAY ? inner.n : inner.kind == ITEM_MAP ? 2 * inner.n : 0;
    }
}

static bool is(item i, const char *text)
{
    return i.kind == ITEM_TEXT && i.n == (int64_t)strlen(text) &&
           !memcmp(i.text, text, (size_t)i.n);
}

static void copy_text(packed *p, item i, char *out, size_t room)
{
    if (i.kind != ITEM_TEXT || (size_t)i.n >= room) {
        p->bad = true;
        return;
    }
    memcpy(out, i.text, (size_t)i.n);
    out[i.n] = 0;
}

/* ---- metadata ---- */

static void read_argument(packed *p, rlx_code_object *out)
{
    static const char hidden[] = "hidden_";
    const item map = next(p);
    int64_t end = 0;
    for (int64_t i = 0; i < map.n && !p->bad && map.kind == ITEM_MAP; i++) {
        const item key = next(p), value = next(p);
        if (is(key, ".offset") || is(key, ".size"))
            end += value.n;
        if (is(key, ".value_kind")) {
            out->buffers += is(value, "global_buffer");
            out->hidden += value.kind == ITEM_TEXT && value.n > (int64_t)sizeof hidden - 1 &&
                           !memcmp(value.text, hidden, sizeof hidden - 1);
        }
        skip(p, value);
    }
    out->arguments_end = end > out->arguments_end ? end : out->arguments_end;
}

static void read_kernel(packed *p, rlx_code_object *out)
{
    const struct {
        const char *key;
        int64_t *to;
    } numbers[] = {
        {".kernarg_segment_size", &out->kernarg_bytes},
        {".group_segment_fixed_size", &out->team_bytes},
        {".private_segment_fixed_size", &out->scratch_bytes},
        {".wavefront_size", &out->lanes},
        {".max_flat_workgroup_size", &out->max_team},
        {".vgpr_count", &out->vgprs},
        {".agpr_count", &out->agprs},
        {".sgpr_count", &out->sgprs},
        {".vgpr_spill_count", &out->vgpr_spills},
        {".sgpr_spill_count", &out->sgpr_spills},
    };
    const item map = next(p);
    for (int64_t i = 0; i < map.n && !p->bad && map.kind == ITEM_MAP; i++) {
        const item key = next(p), value = next(p);
        for (size_t k = 0; k < sizeof numbers / sizeof *numbers; k++)
            if (is(key, numbers[k].key) && value.kind == ITEM_INT)
                *numbers[k].to = value.n;
        if (is(key, ".symbol"))
            copy_text(p, value, out->symbol, sizeof out->symbol);
        if (is(key, ".args") && value.kind == ITEM_ARRAY)
            for (int64_t a = 0; a < value.n && !p->bad; a++)
                read_argument(p, out);
        else
            skip(p, value);
    }
}

static rlx_status read_metadata(packed *p, rlx_code_object *out)
{
    int64_t kernels = 0;
    const item map = next(p);
    for (int64_t i = 0; i < map.n && !p->bad && map.kind == ITEM_MAP; i++) {
        const item key = next(p), value = next(p);
        const bool array = value.kind == ITEM_ARRAY;
        if (is(key, "amdhsa.target"))
            copy_text(p, value, out->target, sizeof out->target);
        if (is(key, "amdhsa.kernels") && array)
            kernels = value.n;
        if (is(key, "amdhsa.kernels") && array && kernels == 1) {
            read_kernel(p, out);
        } else if (is(key, "amdhsa.version") && array && value.n == 2) {
            out->version[0] = next(p).n;
            out->version[1] = next(p).n;
        } else {
            skip(p, value);
        }
    }
    if (p->bad || kernels != 1)
        return BAD("metadata of %lld kernels%s", (long long)kernels, p->bad ? ", broken" : "");
    return RLX_OK;
}

/* ---- the object ---- */

typedef struct object {
    const char *data;
    size_t bytes;
    Elf64_Ehdr header;
    Elf64_Phdr segments[16];
    uint64_t symbols, strings, hash; /* addresses of the dynamic section's tables */
} object;

/* Where `bytes` bytes at an address lie in the file; NULL: not in one segment. */
static const char *at_address(const object *o, uint64_t address, uint64_t bytes, uint32_t access)
{
    for (int i = 0; i < o->header.e_phnum; i++) {
        const Elf64_Phdr *s = &o->segments[i];
        if (s->p_type == PT_LOAD && (s->p_flags & access) == access && address >= s->p_vaddr &&
            address - s->p_vaddr <= s->p_filesz && bytes <= s->p_filesz - (address - s->p_vaddr))
            return o->data + s->p_offset + (address - s->p_vaddr);
    }
    return NULL;
}

static bool inside(uint64_t offset, uint64_t bytes, uint64_t total)
{
    return offset <= total && bytes <= total - offset;
}

static rlx_status read_segments(object *o)
{
    const Elf64_Ehdr *h = &o->header;
    if (o->bytes < sizeof *h || memcmp(o->data, ELFMAG, SELFMAG))
        return BAD("no ELF object");
    memcpy(&o->header, o->data, sizeof *h);
    if (h->e_type != ET_DYN || h->e_phentsize != sizeof(Elf64_Phdr) || h->e_phnum > 16 ||
        !inside(h->e_phoff, sizeof(Elf64_Phdr) * h->e_phnum, o->bytes))
        return BAD("no code object: type %d, %d segments", h->e_type, h->e_phnum);
    memcpy(o->segments, o->data + h->e_phoff, sizeof(Elf64_Phdr) * h->e_phnum);
    for (int i = 0; i < h->e_phnum; i++)
        if (!inside(o->segments[i].p_offset, o->segments[i].p_filesz, o->bytes) ||
            (o->segments[i].p_type == PT_LOAD && o->segments[i].p_align &&
             (o->segments[i].p_vaddr - o->segments[i].p_offset) % o->segments[i].p_align))
            return BAD("segment %d lies outside, or not as in memory", i);
    return RLX_OK;
}

static const Elf64_Phdr *segment_of(const object *o, uint32_t type)
{
    for (int i = 0; i < o->header.e_phnum; i++)
        if (o->segments[i].p_type == type)
            return &o->segments[i];
    return NULL;
}

static rlx_status read_dynamic(object *o)
{
    const Elf64_Phdr *s = segment_of(o, PT_DYNAMIC);
    Elf64_Dyn d = {0};
    for (uint64_t at = 0; s && at + sizeof d <= s->p_filesz; at += sizeof d) {
        memcpy(&d, o->data + s->p_offset + at, sizeof d);
        if (d.d_tag == DT_SYMTAB)
            o->symbols = d.d_un.d_ptr;
        if (d.d_tag == DT_STRTAB)
            o->strings = d.d_un.d_ptr;
        if (d.d_tag == DT_HASH)
            o->hash = d.d_un.d_ptr;
    }
    if (!o->symbols || !o->strings || !o->hash || d.d_tag != DT_NULL)
        return BAD("no dynamic section with symbols, their names and hash");
    return RLX_OK;
}

static uint32_t word(const object *o, uint64_t address)
{
    uint32_t v = 0;
    const char *p = at_address(o, address, sizeof v, PF_R);
    if (p)
        memcpy(&v, p, sizeof v);
    return v;
}

static uint32_t hash_of(const char *name)
{
    uint32_t h = 0, high;
    for (; *name; name++) {
        h = (h << 4) + (unsigned char)*name;
        high = h & 0xf0000000;
        h = (h ^ high >> 24) & ~high;
    }
    return h;
}

/* As a loader does: by the hash. */
static rlx_status find_symbol(const object *o, const char *name, int type, Elf64_Sym *out)
{
    const uint32_t buckets = word(o, o->hash), chains = word(o, o->hash + 4);
    uint32_t i = buckets ? word(o, o->hash + 8 + 4 * (uint64_t)(hash_of(name) % buckets)) : 0;
    for (uint32_t n = 0; i && i < chains && n < chains; n++) {
        const char *p = at_address(o, o->symbols + sizeof *out * i, sizeof *out, PF_R);
        if (!p)
            break;
        memcpy(out, p, sizeof *out);
        const char *text = at_address(o, o->strings + out->st_name, strlen(name) + 1, PF_R);
        if (text && !strcmp(text, name) && ELF64_ST_TYPE(out->st_info) == type)
            return RLX_OK;
        i = word(o, o->hash + 8 + 4 * (uint64_t)(buckets + i));
    }
    return BAD("no symbol %s of type %d", name, type);
}

/* ---- the descriptor ---- */

enum { DESCRIPTOR_BYTES = 64, DESCRIPTOR_ALIGN = 64, PROPERTY_WAVE32 = 1 << 10 };

static rlx_status read_descriptor(const object *o, const char *p, uint64_t address,
                                  rlx_code_object *out)
{
    uint32_t sizes[3];
    int64_t entry;
    uint16_t properties;
    memcpy(sizes, p, sizeof sizes);
    memcpy(&entry, p + 16, sizeof entry);
    memcpy(&properties, p + 56, sizeof properties);
    out->descriptor.team_bytes = sizes[0];
    out->descriptor.scratch_bytes = sizes[1];
    out->descriptor.kernarg_bytes = sizes[2];
    out->descriptor.entry = (int64_t)(address + (uint64_t)entry); /* which may wrap */
    out->descriptor.lanes = properties & PROPERTY_WAVE32 ? 32 : 64;
    if (!at_address(o, (uint64_t)out->descriptor.entry, 1, PF_R | PF_X))
        return BAD("the descriptor's entry is no code");
    return RLX_OK;
}

static rlx_status read_kernel_symbols(const object *o, rlx_code_object *out)
{
    char name[sizeof out->symbol];
    const size_t n = strlen(out->symbol);
    Elf64_Sym descriptor, code;
    if (n < 4 || strcmp(out->symbol + n - 3, ".kd"))
        return BAD("a descriptor's symbol %s", out->symbol);
    memcpy(name, out->symbol, n - 3);
    name[n - 3] = 0;
    RLX_TRY(find_symbol(o, out->symbol, STT_OBJECT, &descriptor));
    RLX_TRY(find_symbol(o, name, STT_FUNC, &code));
    const char *p = at_address(o, descriptor.st_value, DESCRIPTOR_BYTES, PF_R);
    const char *instructions = at_address(o, code.st_value, code.st_size, PF_R | PF_X);
    if (!p || descriptor.st_size != DESCRIPTOR_BYTES || descriptor.st_value % DESCRIPTOR_ALIGN)
        return BAD("no descriptor at %#llx", (unsigned long long)descriptor.st_value);
    if (!instructions || !code.st_size)
        return BAD("no code at %#llx", (unsigned long long)code.st_value);
    out->entry_address = (int64_t)code.st_value;
    out->code_at = (size_t)(instructions - o->data);
    out->code_bytes = code.st_size;
    return read_descriptor(o, p, descriptor.st_value, out);
}

enum { NOTE_METADATA = 32 };

/* The note's contents. */
static rlx_status read_note(const object *o, packed *out)
{
    static const char owner[8] = "AMDGPU";
    const Elf64_Phdr *s = segment_of(o, PT_NOTE);
    Elf64_Nhdr n;
    if (!s || s->p_filesz < sizeof n + sizeof owner)
        return BAD("no note");
    const char *p = o->data + s->p_offset;
    memcpy(&n, p, sizeof n);
    if (n.n_type != NOTE_METADATA || n.n_namesz != 7 || memcmp(p + sizeof n, owner, sizeof owner) ||
        n.n_descsz > s->p_filesz - sizeof n - sizeof owner)
        return BAD("a note of type %u", n.n_type);
    out->at = (const uint8_t *)p + sizeof n + sizeof owner;
    out->end = out->at + n.n_descsz;
    return RLX_OK;
}

rlx_status rlx_code_object_read(const void *data, size_t bytes, rlx_code_object *out)
{
    object o = {.data = data, .bytes = bytes};
    packed note = {0};
    *out = (rlx_code_object){0};
    RLX_TRY(read_segments(&o));
    RLX_TRY(read_note(&o, &note));
    RLX_TRY(read_metadata(&note, out));
    RLX_TRY(read_dynamic(&o));
    return read_kernel_symbols(&o, out);
}
