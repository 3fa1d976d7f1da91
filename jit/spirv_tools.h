/* jit/spirv_tools.h: what librlx-spirv.so gives: SPIRV-Tools, which is C++ and which nobody needs who compiles no SPIR-V.
 * Internal to jit/. Texts are heap; NULL where there was no memory. */
#ifndef RLX_JIT_SPIRV_TOOLS_H
#define RLX_JIT_SPIRV_TOOLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RLX_SPIRV_TOOLS_FILE "librlx-spirv.so"
#define RLX_SPIRV_TOOLS_ENTRY "rlx_spirv_tools_get"
enum { RLX_SPIRV_TOOLS_VERSION = 2 }; /* of this interface */

typedef struct rlx_spirv_tools {
    int version;
    /* Whether the words are a module as Vulkan 1.1 wants it; *why: what is wrong, and at which word. */
    bool (*validate)(const uint32_t *words, size_t nwords, char **why);
    /* *text: its assembly; false, and *why: it cannot be printed. */
    bool (*disassemble)(const uint32_t *words, size_t nwords, char **text, char **why);
    /* Whether these tools are new enough to know the instruction. */
    bool (*knows)(uint32_t op);
} rlx_spirv_tools;

typedef const rlx_spirv_tools *rlx_spirv_tools_get_fn(void);

#endif
