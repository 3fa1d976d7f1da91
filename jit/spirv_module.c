#include "jit/spirv_module.h"

#include <stdlib.h>
#include <string.h>

/* ---- words ---- */

static void put_words(rlx_spirv_module *m, rlx_spirv_section s, int n, const uint32_t *words)
{
    if (n)
        rlx_text_put_bytes(&m->section[s], words, (size_t)n * sizeof *words);
}

static void put_head(rlx_spirv_module *m, rlx_spirv_section s, SpvOp op, int words)
{
    uint32_t head = (uint32_t)words << SpvWordCountShift | (uint32_t)op;
    put_words(m, s, 1, &head);
}

void rlx_spirv_put(rlx_spirv_module *m, rlx_spirv_section s, SpvOp op, int n, const uint32_t *words)
{
    m->met &= op != SpvOpStore && op != (SpvOp)RLX_SPIRV_MATRIX_STORE;
    put_head(m, s, op, 1 + n);
    put_words(m, s, n, words);
}

void rlx_spirv_put_text(rlx_spirv_module *m, rlx_spirv_section s, SpvOp op, int nbefore,
                        const uint32_t *before, const char *text, int nafter, const uint32_t *after)
{
    size_t len = strlen(text) + 1, padding = -len & 3;
    put_head(m, s, op, 1 + nbefore + (int)((len + padding) / 4) + nafter);
    put_words(m, s, nbefore, before);
    rlx_text_put_bytes(&m->section[s], text, len);
    rlx_text_put_bytes(&m->section[s], "\0\0", padding);
    put_words(m, s, nafter, after);
}

rlx_spirv_id rlx_spirv_put_result(rlx_spirv_module *m, SpvOp op, rlx_spirv_id type, rlx_spirv_id id,
                                  int n, const uint32_t *words)
{
    uint32_t result[2] = {type, id ? id : rlx_spirv_new_id(m)};
    m->met &= op != SpvOpLoad && op != (SpvOp)RLX_SPIRV_MATRIX_LOAD;
    put_head(m, m->into, op, 3 + n);
    put_words(m, m->into, 2, result);
    put_words(m, m->into, n, words);
    return result[1];
}

rlx_spirv_id rlx_spirv_put_glsl(rlx_spirv_module *m, enum GLSLstd450 op, rlx_spirv_id type, int n,
                                const rlx_spirv_id *args)
{
    uint32_t head[4] = {type, rlx_spirv_new_id(m), m->glsl, (uint32_t)op};
    put_head(m, m->into, SpvOpExtInst, 5 + n);
    put_words(m, m->into, 4, head);
    put_words(m, m->into, n, args);
    return head[1];
}

bool rlx_spirv_needs(const rlx_spirv_module *m, SpvCapability c)
{
    for (int i = 0; i < m->ncapabilities; i++)
        if (m->capabilities[i] == (uint32_t)c)
            return true;
    return false;
}

void rlx_spirv_capability(rlx_spirv_module *m, SpvCapability c)
{
    if (rlx_spirv_needs(m, c))
        return;
    m->capabilities[m->ncapabilities++] = (uint32_t)c;
    const char *extension = NULL; /* core in later versions, but the last */
    switch ((int)c) {
    case SpvCapabilityStorageBuffer8BitAccess:
        extension = "SPV_KHR_8bit_storage";
        break;
    case SpvCapabilitySignedZeroInfNanPreserve:
        extension = "SPV_KHR_float_controls";
        break;
    case SpvCapabilityDotProductKHR:
        extension = "SPV_KHR_integer_dot_product";
        break;
    case SpvCapabilityPhysicalStorageBufferAddresses:
        extension = "SPV_KHR_physical_storage_buffer";
        break;
    case SpvCapabilityVulkanMemoryModel:
        extension = "SPV_KHR_vulkan_memory_model";
        break;
    case RLX_SPIRV_CAPABILITY_MATRIX:
        extension = "SPV_KHR_cooperative_matrix";
        break;
    }
    if (extension)
        rlx_spirv_put_text(m, RLX_SPIRV_EXTENSIONS, SpvOpExtension, 0, NULL, extension, 0, NULL);
    rlx_spirv_inst(m, RLX_SPIRV_CAPABILITIES, SpvOpCapability, (uint32_t)c);
}

rlx_spirv_id rlx_spirv_variable_with(rlx_spirv_module *m, SpvStorageClass c, rlx_spirv_id to,
                                     rlx_spirv_id values, const char *name)
{
    rlx_spirv_id words[4] = {rlx_spirv_type_pointer(m, c, to), rlx_spirv_new_id(m), (uint32_t)c,
                             values};
    rlx_spirv_put(m, RLX_SPIRV_GLOBALS, SpvOpVariable, values ? 4 : 3, words);
    rlx_spirv_name(m, words[1], name);
    return words[1];
}

rlx_spirv_id rlx_spirv_variable(rlx_spirv_module *m, SpvStorageClass c, rlx_spirv_id to,
                                const char *name)
{
    return rlx_spirv_variable_with(m, c, to, 0, name);
}

void rlx_spirv_name(rlx_spirv_module *m, rlx_spirv_id id, const char *name)
{
    if (name)
        rlx_spirv_put_text(m, RLX_SPIRV_NAMES, SpvOpName, 1, &id, name, 0, NULL);
}

/* ---- the module ---- */

void rlx_spirv_module_init(rlx_spirv_module *m)
{
    *m = (rlx_spirv_module){.into = RLX_SPIRV_BODY};
    rlx_spirv_capability(m, SpvCapabilityShader);
    m->glsl = rlx_spirv_new_id(m);
    rlx_spirv_put_text(m, RLX_SPIRV_HEAD, SpvOpExtInstImport, 1, &m->glsl, "GLSL.std.450", 0, NULL);
}

void rlx_spirv_memory_model(rlx_spirv_module *m, bool far, bool matrices)
{
    m->vulkan_memory = matrices;
    if (matrices)
        rlx_spirv_capability(m, SpvCapabilityVulkanMemoryModel);
    if (far)
        rlx_spirv_capability(m, SpvCapabilityPhysicalStorageBufferAddresses);
    rlx_spirv_inst(m, RLX_SPIRV_HEAD, SpvOpMemoryModel,
                   far ? SpvAddressingModelPhysicalStorageBuffer64 : SpvAddressingModelLogical,
                   matrices ? SpvMemoryModelVulkan : SpvMemoryModelGLSL450);
}

void rlx_spirv_module_deinit(rlx_spirv_module *m)
{
    for (int s = 0; s < RLX_SPIRV_SECTIONS; s++)
        rlx_text_deinit(&m->section[s]);
    free(m->interned);
}

rlx_status rlx_spirv_module_write(const rlx_spirv_module *m, uint32_t version, rlx_text *out)
{
    uint32_t head[5] = {SpvMagicNumber, version, 0, m->last + 1, 0};
    bool oom = m->oom;
    rlx_text_put_bytes(out, head, sizeof head);
    for (int s = 0; s < RLX_SPIRV_SECTIONS; s++) {
        oom |= m->section[s].oom;
        if (m->section[s].len)
            rlx_text_put_bytes(out, m->section[s].data, m->section[s].len);
    }
    return oom || out->oom ? RLX_OOM() : RLX_OK;
}

/* ---- interned ---- */

/* Words of an interned instruction, without its result: op, type (0 for types), operands. */
static bool same(const rlx_spirv_module *m, const rlx_spirv_interned *i, SpvOp op,
                 rlx_spirv_id type, int n, const uint32_t *words)
{
    const uint32_t *have =
        (const uint32_t *)(const void *)(m->section[RLX_SPIRV_GLOBALS].data + i->at);
    int fixed = type ? 3 : 2; /* head, type if any, result */
    if (have[0] != ((uint32_t)(fixed + n) << SpvWordCountShift | (uint32_t)op))
        return false;
    if (type && have[1] != type)
        return false;
    return n == 0 || memcmp(have + fixed, words, (size_t)n * sizeof *words) == 0;
}

static size_t hash(SpvOp op, rlx_spirv_id type, int n, const uint32_t *words)
{
    uint64_t h = ((uint64_t)op << 32 | type) * 0x9E3779B97F4A7C15u;
    for (int i = 0; i < n; i++)
        h = (h ^ h >> 29 ^ words[i]) * 0x9E3779B97F4A7C15u;
    return (size_t)(h >> 20);
}

/* Twice the slots; entries are found again by the words that they stand for. */
static bool grow(rlx_spirv_module *m)
{
    size_t old_n = m->nslots;
    rlx_spirv_interned *old = m->interned, *fresh;
    m->nslots = old_n ? old_n * 2 : 128;
    fresh = calloc(m->nslots, sizeof *fresh);
    if (!fresh || m->section[RLX_SPIRV_GLOBALS].oom) {
        free(fresh);
        m->nslots = old_n;
        m->oom = true;
        return false;
    }
    m->interned = fresh;
    const char *globals = m->section[RLX_SPIRV_GLOBALS].data;
    for (size_t i = 0; i < old_n; i++) {
        if (!old[i].id)
            continue;
        const uint32_t *w = (const uint32_t *)(const void *)(globals + old[i].at);
        SpvOp op = (SpvOp)(w[0] & SpvOpCodeMask);
        bool typed = w[1] != old[i].id;
        int n = (int)(w[0] >> SpvWordCountShift) - (typed ? 3 : 2);
        size_t at = hash(op, typed ? w[1] : 0, n, w + (typed ? 3 : 2)) & (m->nslots - 1);
        while (fresh[at].id)
            at = (at + 1) & (m->nslots - 1);
        fresh[at] = old[i];
    }
    free(old);
    return true;
}

rlx_spirv_id rlx_spirv_intern(rlx_spirv_module *m, SpvOp op, rlx_spirv_id type, int n,
                              const uint32_t *words)
{
    if (2 * (m->ninterned + 1) > m->nslots && !grow(m))
        return rlx_spirv_new_id(m);
    size_t at = hash(op, type, n, words) & (m->nslots - 1);
    while (m->interned[at].id) {
        if (same(m, &m->interned[at], op, type, n, words))
            return m->interned[at].id;
        at = (at + 1) & (m->nslots - 1);
    }
    rlx_text *globals = &m->section[RLX_SPIRV_GLOBALS];
    rlx_spirv_interned made = {.at = globals->len, .id = rlx_spirv_new_id(m)};
    uint32_t fixed[2] = {type ? type : made.id, made.id};
    put_head(m, RLX_SPIRV_GLOBALS, op, n + (type ? 3 : 2));
    put_words(m, RLX_SPIRV_GLOBALS, type ? 2 : 1, fixed);
    put_words(m, RLX_SPIRV_GLOBALS, n, words);
    if (!globals->oom) {
        m->interned[at] = made;
        m->ninterned++;
    }
    return made.id;
}

static rlx_spirv_id type_of(rlx_spirv_module *m, SpvOp op, int n, const uint32_t *words)
{
    return rlx_spirv_intern(m, op, 0, n, words);
}

rlx_spirv_id rlx_spirv_type_void(rlx_spirv_module *m)
{
    return type_of(m, SpvOpTypeVoid, 0, NULL);
}

rlx_spirv_id rlx_spirv_type_bool(rlx_spirv_module *m)
{
    return type_of(m, SpvOpTypeBool, 0, NULL);
}

rlx_spirv_id rlx_spirv_type_int(rlx_spirv_module *m, int bits)
{
    if (bits == 8)
        rlx_spirv_capability(m, SpvCapabilityStorageBuffer8BitAccess);
    if (bits == 16)
        rlx_spirv_capability(m, SpvCapabilityStorageBuffer16BitAccess);
    if (bits == 64)
        rlx_spirv_capability(m, SpvCapabilityInt64);
    return type_of(m, SpvOpTypeInt, RLX_SPIRV_WORDS((uint32_t)bits, 0));
}

rlx_spirv_id rlx_spirv_type_float(rlx_spirv_module *m, int bits)
{
    if (bits == 64)
        rlx_spirv_capability(m, SpvCapabilityFloat64);
    return type_of(m, SpvOpTypeFloat, RLX_SPIRV_WORDS((uint32_t)bits));
}

rlx_spirv_id rlx_spirv_type_vector(rlx_spirv_module *m, rlx_spirv_id elem, int n)
{
    return type_of(m, SpvOpTypeVector, RLX_SPIRV_WORDS(elem, (uint32_t)n));
}

rlx_spirv_id rlx_spirv_type_matrix(rlx_spirv_module *m, int use, int rows, int columns)
{
    const int bits = use == RLX_SPIRV_MATRIX_SUMS ? 32 : 8;
    rlx_spirv_capability(m, (SpvCapability)RLX_SPIRV_CAPABILITY_MATRIX);
    if (bits == 8)
        rlx_spirv_capability(m, SpvCapabilityInt8);
    rlx_spirv_id component = type_of(m, SpvOpTypeInt, RLX_SPIRV_WORDS((uint32_t)bits, 0));
    rlx_spirv_id scope = rlx_spirv_const_u32(m, SpvScopeSubgroup);
    rlx_spirv_id extent[2] = {rlx_spirv_const_u32(m, (uint32_t)rows),
                              rlx_spirv_const_u32(m, (uint32_t)columns)};
    return type_of(m, (SpvOp)RLX_SPIRV_TYPE_MATRIX,
                   RLX_SPIRV_WORDS(component, scope, extent[0], extent[1],
                                   rlx_spirv_const_u32(m, (uint32_t)use)));
}

rlx_spirv_id rlx_spirv_type_pointer(rlx_spirv_module *m, SpvStorageClass c, rlx_spirv_id to)
{
    return type_of(m, SpvOpTypePointer, RLX_SPIRV_WORDS((uint32_t)c, to));
}

/* Types are decorated when they are made, which shows in the number of interned words. */
static rlx_spirv_id array_of(rlx_spirv_module *m, rlx_spirv_id elem, int bytes)
{
    const size_t before = m->ninterned;
    rlx_spirv_id array = type_of(m, SpvOpTypeRuntimeArray, RLX_SPIRV_WORDS(elem));
    if (m->ninterned != before)
        rlx_spirv_inst(m, RLX_SPIRV_DECORATIONS, SpvOpDecorate, array, SpvDecorationArrayStride,
                       (uint32_t)bytes);
    return array;
}

static void decorate_block(rlx_spirv_module *m, rlx_spirv_id block, int members, int bytes)
{
    rlx_spirv_inst(m, RLX_SPIRV_DECORATIONS, SpvOpDecorate, block, SpvDecorationBlock);
    for (int i = 0; i < members; i++)
        rlx_spirv_inst(m, RLX_SPIRV_DECORATIONS, SpvOpMemberDecorate, block, (uint32_t)i,
                       SpvDecorationOffset, (uint32_t)(i * bytes));
}

rlx_spirv_id rlx_spirv_type_buffer(rlx_spirv_module *m, rlx_spirv_id elem, int bytes)
{
    rlx_spirv_id array = array_of(m, elem, bytes);
    const size_t before = m->ninterned;
    rlx_spirv_id block = type_of(m, SpvOpTypeStruct, RLX_SPIRV_WORDS(array));
    if (m->ninterned != before)
        decorate_block(m, block, 1, bytes);
    return block;
}

rlx_spirv_id rlx_spirv_type_coherent_buffer(rlx_spirv_module *m, rlx_spirv_id elem, int bytes)
{
    rlx_spirv_id array = array_of(m, elem, bytes), block = rlx_spirv_new_id(m);
    rlx_spirv_inst(m, RLX_SPIRV_GLOBALS, SpvOpTypeStruct, block, array);
    decorate_block(m, block, 1, bytes);
    if (!m->vulkan_memory)
        rlx_spirv_inst(m, RLX_SPIRV_DECORATIONS, SpvOpMemberDecorate, block, 0,
                       SpvDecorationCoherent);
    return block;
}

rlx_spirv_id rlx_spirv_type_addresses(rlx_spirv_module *m, int n)
{
    enum { BYTES = 8 };
    rlx_spirv_id words[RLX_SPIRV_MAX_ADDRESSES + 1] = {rlx_spirv_new_id(m)};
    for (int i = 0; i < n; i++)
        words[i + 1] = rlx_spirv_type_int(m, 64);
    rlx_spirv_put(m, RLX_SPIRV_GLOBALS, SpvOpTypeStruct, n + 1, words);
    decorate_block(m, words[0], n, BYTES);
    return words[0];
}

rlx_spirv_id rlx_spirv_const_u32(rlx_spirv_module *m, uint32_t v)
{
    return rlx_spirv_intern(m, SpvOpConstant, rlx_spirv_type_int(m, 32), 1, &v);
}

static rlx_spirv_id constant_64(rlx_spirv_module *m, rlx_spirv_id type, uint64_t bits)
{
    return rlx_spirv_intern(m, SpvOpConstant, type,
                            RLX_SPIRV_WORDS((uint32_t)bits, (uint32_t)(bits >> 32)));
}

rlx_spirv_id rlx_spirv_const_i64(rlx_spirv_module *m, int64_t v)
{
    return constant_64(m, rlx_spirv_type_int(m, 64), (uint64_t)v);
}

rlx_spirv_id rlx_spirv_const_f32(rlx_spirv_module *m, float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    return rlx_spirv_intern(m, SpvOpConstant, rlx_spirv_type_float(m, 32), 1, &bits);
}

rlx_spirv_id rlx_spirv_const_f64(rlx_spirv_module *m, double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    return constant_64(m, rlx_spirv_type_float(m, 64), bits);
}

rlx_spirv_id rlx_spirv_const_bool(rlx_spirv_module *m, bool v)
{
    return rlx_spirv_intern(m, v ? SpvOpConstantTrue : SpvOpConstantFalse, rlx_spirv_type_bool(m),
                            0, NULL);
}

/* ---- blocks ---- */

void rlx_spirv_label(rlx_spirv_module *m, rlx_spirv_id label)
{
    rlx_spirv_inst(m, RLX_SPIRV_BODY, SpvOpLabel, label);
    m->block = label;
    m->met = false;
}

void rlx_spirv_branch(rlx_spirv_module *m, rlx_spirv_id to)
{
    rlx_spirv_inst(m, RLX_SPIRV_BODY, SpvOpBranch, to);
}

void rlx_spirv_select_branch(rlx_spirv_module *m, rlx_spirv_id cond, rlx_spirv_id then,
                             rlx_spirv_id other, rlx_spirv_id join)
{
    rlx_spirv_inst(m, RLX_SPIRV_BODY, SpvOpSelectionMerge, join, SpvSelectionControlMaskNone);
    rlx_spirv_inst(m, RLX_SPIRV_BODY, SpvOpBranchConditional, cond, then, other);
}

void rlx_spirv_barrier(rlx_spirv_module *m)
{
    rlx_spirv_id scope = rlx_spirv_const_u32(m, SpvScopeWorkgroup);
    const uint32_t seen =
        m->vulkan_memory ? SpvMemorySemanticsMakeAvailableMask | SpvMemorySemanticsMakeVisibleMask
                         : 0;
    rlx_spirv_id order = rlx_spirv_const_u32(m, SpvMemorySemanticsAcquireReleaseMask |
                                                    SpvMemorySemanticsUniformMemoryMask |
                                                    SpvMemorySemanticsWorkgroupMemoryMask | seen);
    if (!m->met)
        rlx_spirv_inst(m, RLX_SPIRV_BODY, SpvOpControlBarrier, scope, scope, order);
    m->met = true;
}
